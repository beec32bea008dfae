/**
 * A local server that speaks Anthropic's Messages API, streaming. `FORMATS.md` says where each rule and format is
 * documented.
 */
import type { Effect, Scope } from "effect"
import { HttpError, type Piece, type Script } from "./Script.js"
import * as Server from "./Server.js"

const invalid = (message: string): HttpError => new HttpError({ status: 400, message, headers: {} })

const errorTypes: Record<number, string> = {
  400: "invalid_request_error",
  401: "authentication_error",
  403: "permission_error",
  404: "not_found_error",
  413: "request_too_large",
  429: "rate_limit_error",
  500: "api_error",
  529: "overloaded_error"
}

const errorBody = ({ message, status }: HttpError): unknown => ({
  type: "error",
  error: { type: errorTypes[status] ?? "api_error", message },
  request_id: "req_0001"
})

interface Turn {
  readonly role: "user" | "assistant"
  readonly blocks: ReadonlyArray<any>
}

/** Consecutive messages of one role are one turn. */
const turnsOf = (messages: ReadonlyArray<any>): ReadonlyArray<Turn> => {
  const turns: Array<{ role: "user" | "assistant"; blocks: Array<any> }> = []
  for (const message of messages) {
    const blocks =
      typeof message.content === "string" ? [{ type: "text", text: message.content }] : (message.content as Array<any>)
    const last = turns[turns.length - 1]
    if (last !== undefined && last.role === message.role) last.blocks.push(...blocks)
    else turns.push({ role: message.role, blocks: [...blocks] })
  }
  return turns
}

const isThinking = (block: any): boolean => block.type === "thinking" || block.type === "redacted_thinking"

const blockTypes = {
  user: ["text", "image", "document", "tool_result"],
  assistant: ["text", "thinking", "redacted_thinking", "tool_use"]
}

const cacheControlProblem = (value: any): string | undefined => {
  if (value === undefined || value === null) return undefined
  if (value.type !== "ephemeral") return "cache_control.type: Input should be 'ephemeral'"
  return value.ttl === undefined || ["5m", "1h"].includes(value.ttl)
    ? undefined
    : "cache_control.ttl: Input should be '5m' or '1h'"
}

const toolProblem = (body: any): string | undefined => {
  const tools: ReadonlyArray<any> = body.tools ?? []
  const names = new Set<string>()
  for (const [i, tool] of tools.entries()) {
    if (tool.type !== undefined && tool.type !== "custom") continue
    if (typeof tool.name !== "string" || !/^[a-zA-Z0-9_-]{1,64}$/.test(tool.name)) {
      return `tools.${i}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{1,64}$'`
    }
    if (names.has(tool.name)) return "tools: Tool names must be unique."
    names.add(tool.name)
    if (tool.input_schema?.type !== "object") return `tools.${i}.custom.input_schema.type: Input should be 'object'`
    for (const keyword of ["oneOf", "allOf", "anyOf"]) {
      if (keyword in tool.input_schema) {
        return `tools.${i}.custom.input_schema: input_schema does not support oneOf, allOf, or anyOf at the top level`
      }
    }
    const problem = cacheControlProblem(tool.cache_control)
    if (problem !== undefined) return `tools.${i}.${problem}`
  }
  const choice = body.tool_choice
  if (choice === undefined) return undefined
  if (tools.length === 0) return "tool_choice may only be specified while providing tools"
  if (!["auto", "any", "tool", "none"].includes(choice.type)) return `tool_choice: unknown type '${choice.type}'`
  if (choice.type === "tool" && !names.has(choice.name)) return `Tool '${choice.name}' not found in provided tools`
  return body.thinking?.type === "enabled" && ["any", "tool"].includes(choice.type)
    ? "Thinking may not be enabled when tool_choice forces tool use."
    : undefined
}

const turnProblem = (turns: ReadonlyArray<Turn>): string | undefined => {
  const ids = new Set<string>()
  for (const [i, turn] of turns.entries()) {
    for (const [j, block] of turn.blocks.entries()) {
      const at = `messages.${i}.content.${j}`
      if (!blockTypes[turn.role].includes(block.type)) {
        return `${at}: Input tag '${block.type}' found using 'type' does not match any of the expected tags`
      }
      const cache = cacheControlProblem(block.cache_control)
      if (cache !== undefined) return `${at}.${cache}`
      switch (block.type) {
        case "text": {
          if (block.text === "") return "messages: text content blocks must be non-empty"
          if (block.text.trim() === "") return "messages: text content blocks must contain non-whitespace text"
          break
        }
        case "tool_use": {
          if (!/^[a-zA-Z0-9_-]+$/.test(block.id)) {
            return `${at}.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'`
          }
          if (!/^[a-zA-Z0-9_-]{1,64}$/.test(block.name)) {
            return `${at}.tool_use.name: String should match pattern '^[a-zA-Z0-9_-]{1,64}$'`
          }
          if (typeof block.input !== "object" || block.input === null || Array.isArray(block.input)) {
            return `${at}.tool_use.input: Input should be a valid dictionary`
          }
          if (ids.has(block.id)) return `${at}: \`tool_use\` ids must be unique`
          ids.add(block.id)
          break
        }
        case "tool_result": {
          if (block.content !== undefined && typeof block.content !== "string" && !Array.isArray(block.content)) {
            return `${at}.tool_result.content: Input should be a valid string or list`
          }
          break
        }
      }
    }
    const uses: ReadonlyArray<string> = turn.blocks.filter((b) => b.type === "tool_use").map((b) => b.id)
    const following = turns[i + 1]?.blocks ?? []
    const results: ReadonlyArray<string> = following.filter((b) => b.type === "tool_result").map((b) => b.tool_use_id)
    const missing = uses.filter((id) => !results.includes(id))
    if (missing.length > 0) {
      return `messages.${i}: \`tool_use\` ids were found without \`tool_result\` blocks immediately after: ${missing.join(", ")}. Each \`tool_use\` block must have a corresponding \`tool_result\` block in the next message.`
    }
    if (turn.role === "user") {
      const before = turns[i - 1]?.blocks.filter((b) => b.type === "tool_use").map((b) => b.id) ?? []
      const own: ReadonlyArray<string> = turn.blocks.filter((b) => b.type === "tool_result").map((b) => b.tool_use_id)
      const unexpected = own.find((id) => !before.includes(id))
      if (unexpected !== undefined) {
        return `messages.${i}: unexpected \`tool_use_id\` found in \`tool_result\` blocks: ${unexpected}. Each \`tool_result\` block must have a corresponding \`tool_use\` block in the previous message.`
      }
      const twice = own.find((id, k) => own.indexOf(id) !== k)
      if (twice !== undefined)
        return `messages.${i}: each tool_use must have a single result. Found multiple \`tool_result\` blocks with id: ${twice}`
      const firstOther = turn.blocks.findIndex((b) => b.type !== "tool_result")
      if (firstOther >= 0 && turn.blocks.slice(firstOther).some((b) => b.type === "tool_result")) {
        return `messages.${i}: \`tool_result\` blocks must come first in the content of a message`
      }
    }
  }
  return undefined
}

/** The dialect with its memory: the thinking that it signed, and which calls came behind it. */
export const makeDialect = (): Server.Dialect => {
  const signed = new Map<string, string>()
  const redacted = new Set<string>()
  /** by tool use id: the thinking blocks of its response that came before it */
  const before = new Map<string, ReadonlyArray<any>>()
  let responses = 0
  let cached = ""

  const thinkingProblem = (body: any, turns: ReadonlyArray<Turn>): string | undefined => {
    const thinks = body.thinking !== undefined && body.thinking.type !== "disabled"
    for (const [i, turn] of turns.entries()) {
      for (const [j, block] of turn.blocks.entries()) {
        if (block.type === "thinking" && signed.get(block.signature) !== block.thinking) {
          return `messages.${i}.content.${j}: Invalid \`signature\` in \`thinking\` block`
        }
        if (block.type === "redacted_thinking" && !redacted.has(block.data)) {
          return `messages.${i}.content.${j}: Invalid \`data\` in \`redacted_thinking\` block`
        }
        const next = turn.blocks.slice(j).find((other) => !isThinking(other))
        if (isThinking(block) && next === undefined) {
          return `messages.${i}: the final block in an assistant message cannot be \`thinking\`.`
        }
      }
    }
    if (!thinks) return undefined
    if (body.thinking.type === "enabled") {
      if (!(body.thinking.budget_tokens >= 1024)) {
        return "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024"
      }
      if (body.thinking.budget_tokens >= body.max_tokens)
        return "`max_tokens` must be greater than `thinking.budget_tokens`."
    }
    // what came after the last message that is the user's own is one turn of the assistant, with its tool loop
    const begin = turns.findLastIndex(
      (turn) => turn.role === "user" && !turn.blocks.some((b) => b.type === "tool_result")
    )
    const turn = turns[begin + 1]
    const first = turn?.blocks[0]
    if (
      turn !== undefined &&
      body.thinking.type === "enabled" &&
      turn.blocks.some((block) => block.type === "tool_use") &&
      !isThinking(first)
    ) {
      return `messages.${begin + 1}.content.0.type: Expected \`thinking\` or \`redacted_thinking\`, but found \`${first.type}\`. When \`thinking\` is enabled, a final \`assistant\` message must start with a thinking block (preceding the lastmost set of \`tool_use\` and \`tool_result\` blocks).`
    }
    for (let i = begin + 1; i < turns.length; i++) {
      for (const [j, block] of (turns[i]?.blocks ?? []).entries()) {
        if (block.type !== "tool_use") continue
        const wanted = before.get(block.id) ?? []
        const found = turns[i]?.blocks.slice(0, j).filter(isThinking) ?? []
        if (!wanted.every((other) => found.some((b) => JSON.stringify(b) === JSON.stringify(other)))) {
          return `messages.${i}.content.${j}: \`thinking\` or \`redacted_thinking\` blocks in the latest assistant message cannot be modified. These blocks must remain as they were in the original response.`
        }
      }
    }
    return undefined
  }

  const violation: Server.Dialect["violation"] = (body, headers) => {
    if ((headers["x-api-key"] ?? "") === "") {
      return new HttpError({ status: 401, message: "x-api-key header is required", headers: {} })
    }
    if (headers["anthropic-version"] === undefined) return invalid("anthropic-version: header is required")
    if (typeof body?.model !== "string") return invalid("model: Field required")
    if (!Number.isInteger(body.max_tokens) || body.max_tokens < 1) return invalid("max_tokens: Field required")
    if (body.stream !== true) return invalid("this server only streams: set 'stream' to true")
    if (!Array.isArray(body.messages) || body.messages.length === 0) {
      return invalid("messages: at least one message is required")
    }
    for (const [i, message] of body.messages.entries()) {
      if (message.role !== "user" && message.role !== "assistant") {
        return invalid(`messages.${i}.role: Input should be 'user' or 'assistant'`)
      }
      if (typeof message.content !== "string" && !(Array.isArray(message.content) && message.content.length > 0)) {
        return invalid(`messages.${i}: all messages must have non-empty content`)
      }
    }
    if (body.messages[0].role !== "user") return invalid('messages: first message must use the "user" role')
    const system: ReadonlyArray<any> = typeof body.system === "string" ? [{ text: body.system }] : (body.system ?? [])
    for (const [i, block] of system.entries()) {
      if (block.text === "") return invalid("system: text content blocks must be non-empty")
      const problem = cacheControlProblem(block.cache_control)
      if (problem !== undefined) return invalid(`system.${i}.${problem}`)
    }
    const turns = turnsOf(body.messages)
    if (turns[turns.length - 1]?.role === "assistant") {
      return invalid(
        "This model does not support assistant message prefill. The conversation must end with a user message."
      )
    }
    const usesTools = turns.some((turn) => turn.blocks.some((b) => b.type === "tool_use" || b.type === "tool_result"))
    if (usesTools && (body.tools ?? []).length === 0) {
      return invalid("Requests which include `tool_use` or `tool_result` blocks must define tools")
    }
    const breakpoints = JSON.stringify([body.tools, body.system, body.messages]).split('"cache_control":{').length - 1
    if (breakpoints > 4)
      return invalid(`A maximum of 4 blocks with cache_control may be provided. Found ${breakpoints}.`)
    const problem = turnProblem(turns) ?? thinkingProblem(body, turns) ?? toolProblem(body)
    return problem === undefined ? undefined : invalid(problem)
  }

  function* events(pieces: ReadonlyArray<Piece>, body: any): Generator<Server.WireEvent> {
    const n = ++responses
    const event = (type: string, rest: Record<string, unknown> = {}): Server.WireEvent => ({
      _tag: "Event",
      name: type,
      data: { type, ...rest }
    })
    const prompt = JSON.stringify([body.tools ?? [], body.system ?? [], body.messages])
    let same = 0
    while (same < prompt.length && prompt[same] === cached[same]) same++
    cached = prompt
    const caches = prompt.includes('"cache_control":{')
    const read = caches ? Math.floor(same / 4) : 0
    const total = Math.ceil(prompt.length / 4)
    const usage = {
      input_tokens: caches ? 0 : total,
      cache_creation_input_tokens: caches ? total - read : 0,
      cache_read_input_tokens: read,
      cache_creation: { ephemeral_5m_input_tokens: caches ? total - read : 0, ephemeral_1h_input_tokens: 0 },
      output_tokens: 1,
      service_tier: "standard"
    }
    yield event("message_start", {
      message: {
        id: `msg_${String(n).padStart(4, "0")}`,
        type: "message",
        role: "assistant",
        model: body.model,
        content: [],
        stop_reason: null,
        stop_sequence: null,
        usage
      }
    })
    let index = 0
    let length = 0
    let called = false
    const thinking: Array<any> = []
    for (const piece of pieces) {
      const at = { index }
      const key = `${String(n).padStart(4, "0")}${String(index).padStart(2, "0")}`
      switch (piece._tag) {
        case "Text": {
          yield event("content_block_start", { ...at, content_block: { type: "text", text: "" } })
          yield event("ping")
          for (const text of piece.deltas) {
            length += text.length
            yield event("content_block_delta", { ...at, delta: { type: "text_delta", text } })
          }
          yield event("content_block_stop", at)
          break
        }
        case "Reasoning": {
          if (piece.hidden) {
            const block = { type: "redacted_thinking", data: `EmwK-${key}` }
            redacted.add(block.data)
            thinking.push(block)
            yield event("content_block_start", { ...at, content_block: block })
          } else {
            const text = piece.deltas.join("")
            const signature = `EqQB-${key}`
            signed.set(signature, text)
            thinking.push({ type: "thinking", thinking: text, signature })
            length += text.length
            const content_block = { type: "thinking", thinking: "", signature: "" }
            yield event("content_block_start", { ...at, content_block })
            for (const delta of piece.deltas) {
              yield event("content_block_delta", { ...at, delta: { type: "thinking_delta", thinking: delta } })
            }
            yield event("content_block_delta", { ...at, delta: { type: "signature_delta", signature } })
          }
          yield event("content_block_stop", at)
          break
        }
        case "Call": {
          called = true
          const id = piece.id ?? `toolu_${key}`
          before.set(id, [...thinking])
          yield event("content_block_start", {
            ...at,
            content_block: { type: "tool_use", id, name: piece.name, input: {} }
          })
          yield event("content_block_delta", { ...at, delta: { type: "input_json_delta", partial_json: "" } })
          for (const partial_json of piece.json.match(/[\s\S]{1,12}/g) ?? []) {
            length += partial_json.length
            yield event("content_block_delta", { ...at, delta: { type: "input_json_delta", partial_json } })
          }
          yield event("content_block_stop", at)
          break
        }
        case "ErrorEvent": {
          yield event("error", { error: { type: piece.type, message: piece.message } })
          return
        }
        case "Event": {
          const data = piece.data as any
          yield { _tag: "Event", name: String(data?.type), data }
          break
        }
        default: {
          yield piece
          return
        }
      }
      index++
    }
    yield event("message_delta", {
      delta: { stop_reason: called ? "tool_use" : "end_turn", stop_sequence: null },
      usage: { output_tokens: Math.ceil(length / 4) + 1 }
    })
    yield event("message_stop")
  }

  return { base: "", path: "/v1/messages", violation, errorBody, events }
}

export const make = (script: Script): Effect.Effect<Server.Server, never, Scope.Scope> =>
  Server.make(makeDialect(), script)
