/**
 * OpenRouter, chat completions: https://openrouter.ai/docs/api-reference/chat-completion and
 * https://openrouter.ai/docs/features/tool-calling. It passes requests on; names, ids and blanks are held to what the
 * strictest of those behind it take.
 */
import * as Strict from "../wire/Strict.js"
import * as Chat from "./chat.js"
import { type Checker, name, Problems, toolNames, wholeCharacters } from "./rules.js"

export const check: Checker = (body) => {
  const problems = new Problems()
  wholeCharacters(problems, body)
  problems.holds(typeof body?.model === "string", "model", "missing")
  const messages: ReadonlyArray<any> = Array.isArray(body?.messages) ? body.messages : []
  const said = messages.filter((message) => message?.role !== "system")
  if (!problems.holds(said.length > 0, "messages", "at least one message")) return problems.found
  Chat.messages(problems, messages, name)
  problems.holds(said[0]?.role === "user", "messages", "a conversation begins with the user")
  problems.holds(said.at(-1)?.role !== "assistant", "messages", "ends with the assistant's")
  const tools: ReadonlyArray<any> = body.tools ?? []
  const hasTools = messages.some((message) => message?.role === "tool" || Chat.idsOf(message).length > 0)
  problems.holds(!hasTools || tools.length > 0, "tools", "must be in every request of a conversation with calls")
  toolNames(
    problems,
    tools.map((tool) => tool.function?.name)
  )
  for (const { function: tool } of tools) {
    const problem = tool?.strict === true ? Strict.problem(tool.parameters) : undefined
    problems.holds(problem === undefined, `tool ${tool?.name}`, String(problem))
  }
  return problems.found
}
