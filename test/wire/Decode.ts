/**
 * A request of a provider's API, read back: the conversation as a `Prompt`, the tools and the tool choice. Tests look
 * at it in one form for all providers, and a `LanguageModel` can answer from behind a local server.
 */
import { Prompt } from "@effect/ai"

export interface WireTool {
  readonly name: string
  readonly description: string | undefined
  readonly schema: any
}

export interface Decoded {
  readonly prompt: Prompt.Prompt
  readonly tools: ReadonlyArray<WireTool>
  readonly toolChoice: "auto" | "none" | "required" | { readonly tool: string }
}

type Part = Prompt.AssistantMessagePartEncoded | Prompt.ToolMessagePartEncoded

/** Puts parts together: what follows in the same role is one message. */
const assemble = (pieces: ReadonlyArray<readonly [role: "user" | "assistant" | "tool" | "system", part: any]>) => {
  const messages: Array<any> = []
  for (const [role, part] of pieces) {
    const last = messages[messages.length - 1]
    if (role === "system") messages.push({ role, content: part.text })
    else if (last?.role === role && role !== "user") last.content.push(part)
    else messages.push({ role, content: [part] })
  }
  return Prompt.make(messages)
}

const textOf = (content: any): string =>
  typeof content === "string" ? content : content.map((part: any) => part.text ?? "").join("")

const valueOf = (json: unknown): unknown => {
  if (typeof json !== "string") return json
  try {
    return JSON.parse(json)
  } catch {
    return json
  }
}

export const openai = (body: any): Decoded => {
  const names = new Map<string, string>()
  const pieces: Array<readonly ["user" | "assistant" | "tool" | "system", Part | { type: "text"; text: string }]> = []
  for (const item of body.input) {
    switch (item.type) {
      case "function_call": {
        names.set(item.call_id, item.name)
        pieces.push([
          "assistant",
          {
            type: "tool-call",
            id: item.call_id,
            name: item.name,
            params: valueOf(item.arguments),
            providerExecuted: false
          }
        ])
        break
      }
      case "function_call_output": {
        const name = names.get(item.call_id) ?? ""
        pieces.push([
          "tool",
          {
            type: "tool-result",
            id: item.call_id,
            name,
            isFailure: false,
            result: valueOf(item.output),
            providerExecuted: false
          }
        ])
        break
      }
      case "reasoning": {
        pieces.push(["assistant", { type: "reasoning", text: textOf(item.summary) }])
        break
      }
      default: {
        const role = item.role === "developer" ? "system" : item.role
        pieces.push([role, { type: "text", text: textOf(item.content) }])
      }
    }
  }
  const choice = body.tool_choice ?? "auto"
  return {
    prompt: assemble(pieces),
    tools: (body.tools ?? []).map((tool: any) => ({
      name: tool.name,
      description: tool.description,
      schema: tool.parameters
    })),
    toolChoice: typeof choice === "string" ? (choice as "auto") : { tool: choice.name }
  }
}

export const anthropic = (body: any): Decoded => {
  const names = new Map<string, string>()
  const pieces: Array<readonly ["user" | "assistant" | "tool" | "system", Part | { type: "text"; text: string }]> = []
  if (body.system !== undefined) pieces.push(["system", { type: "text", text: textOf(body.system) }])
  for (const message of body.messages) {
    const blocks = typeof message.content === "string" ? [{ type: "text", text: message.content }] : message.content
    for (const block of blocks) {
      switch (block.type) {
        case "tool_use": {
          names.set(block.id, block.name)
          pieces.push([
            "assistant",
            { type: "tool-call", id: block.id, name: block.name, params: block.input, providerExecuted: false }
          ])
          break
        }
        case "tool_result": {
          pieces.push([
            "tool",
            {
              type: "tool-result",
              id: block.tool_use_id,
              name: names.get(block.tool_use_id) ?? "",
              isFailure: block.is_error === true,
              result: valueOf(block.content),
              providerExecuted: false
            }
          ])
          break
        }
        case "thinking": {
          pieces.push(["assistant", { type: "reasoning", text: block.thinking }])
          break
        }
        case "redacted_thinking": {
          pieces.push(["assistant", { type: "reasoning", text: "" }])
          break
        }
        default:
          pieces.push([message.role, { type: "text", text: block.text }])
      }
    }
  }
  const choice = body.tool_choice
  return {
    prompt: assemble(pieces),
    tools: (body.tools ?? []).map((tool: any) => ({
      name: tool.name,
      description: tool.description,
      schema: tool.input_schema
    })),
    toolChoice:
      choice === undefined || choice.type === "auto"
        ? "auto"
        : choice.type === "any"
          ? "required"
          : choice.type === "tool"
            ? { tool: choice.name }
            : "none"
  }
}
