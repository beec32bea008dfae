/**
 * Mistral, chat completions: https://docs.mistral.ai/api/ and https://docs.mistral.ai/capabilities/function_calling/. The
 * order of roles, and the form of ids, are those that its public validator of requests (mistral-common) holds to.
 */
import * as Chat from "./chat.js"
import { type Checker, Problems, toolNames, wholeCharacters } from "./rules.js"

/** Which roles may come behind a role. */
const behind: Record<string, ReadonlyArray<string>> = {
  system: ["system", "user", "assistant"],
  user: ["system", "user", "assistant"],
  assistant: ["user", "assistant", "tool"],
  tool: ["assistant", "tool"]
}

export const check: Checker = (body) => {
  const problems = new Problems()
  wholeCharacters(problems, body)
  problems.holds(typeof body?.model === "string", "model", "missing")
  const messages: ReadonlyArray<any> = Array.isArray(body?.messages) ? body.messages : []
  if (!problems.holds(messages.length > 0, "messages", "at least one message")) return problems.found
  Chat.messages(problems, messages, /^[a-zA-Z0-9]{9}$/)
  for (const [i, { role }] of messages.entries()) {
    const before = messages[i - 1]?.role
    const allowed = before === undefined ? ["system", "user", "assistant"] : (behind[before] ?? [])
    problems.holds(allowed.includes(role), `messages.${i}`, `unexpected role '${role}' after role '${before}'`)
  }
  const last = messages.at(-1)?.role
  problems.holds(last === "user" || last === "tool", "messages", `expected last role user or tool, but got ${last}`)
  toolNames(
    problems,
    (body.tools ?? []).map((tool: any) => tool.function?.name)
  )
  return problems.found
}
