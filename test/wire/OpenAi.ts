/**
 * A local server that speaks OpenAI's Responses API, streaming. `FORMATS.md` says where each rule and format is
 * documented.
 */
import type { Effect, Scope } from "effect"
import { HttpError, type Piece, type Script } from "./Script.js"
import * as Server from "./Server.js"
import * as Strict from "./Strict.js"

const invalid = (message: string): HttpError => new HttpError({ status: 400, message, headers: {} })

const errorTypes: Record<number, readonly [type: string, code: string | null]> = {
  401: ["invalid_request_error", "invalid_api_key"],
  429: ["requests", "rate_limit_exceeded"],
  500: ["server_error", "server_error"],
  503: ["server_error", "server_is_overloaded"]
}

const errorBody = ({ message, status }: HttpError): unknown => {
  const [type, code] = errorTypes[status] ?? ["invalid_request_error", null]
  return { error: { message, type, param: null, code } }
}

/** What the server remembers of an item that it sent. */
interface Sent {
  readonly item: any
  /** the item that came right after it in its response */
  next: string | undefined
  /** the reasoning that came before it in its response */
  readonly reasoning: string | undefined
  readonly stored: boolean
}

const prefixes: Record<string, string> = { message: "msg", function_call: "fc", reasoning: "rs" }

const typeOf = (item: any): string => item.type ?? (item.role === undefined ? "?" : "message")

/** Is this something that a model made? */
const isOutput = (item: any): boolean =>
  typeOf(item) === "reasoning" || typeOf(item) === "function_call" || item.role === "assistant"

const toolProblem = (body: any): string | undefined => {
  const tools: ReadonlyArray<any> = body.tools ?? []
  const names = new Set<string>()
  for (const [i, tool] of tools.entries()) {
    if (tool.type !== "function") continue
    if (typeof tool.name !== "string" || !/^[a-zA-Z0-9_-]{1,64}$/.test(tool.name)) {
      return `Invalid 'tools[${i}].name': string does not match pattern. Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$', with maximum length 64.`
    }
    if (names.has(tool.name)) return `Duplicate tool name '${tool.name}'.`
    names.add(tool.name)
    if (tool.strict === true) {
      const problem = Strict.problem(tool.parameters)
      if (problem !== undefined) return `Invalid schema for function '${tool.name}': ${problem}`
    } else if (tool.parameters?.type !== "object") {
      return `Invalid schema for function '${tool.name}': schema must be a JSON Schema of 'type: "object"'.`
    }
  }
  const choice = body.tool_choice
  if (choice !== undefined && tools.length === 0) {
    return "Invalid value: tool_choice is only allowed when 'tools' are specified."
  }
  if (typeof choice === "object" && choice !== null && choice.type === "function" && !names.has(choice.name)) {
    return `Tool choice '${choice.name}' not found in 'tools' parameter.`
  }
  return undefined
}

const itemProblem = (item: any, i: number): string | undefined => {
  const at = `input[${i}]`
  for (const key of ["id", "call_id"]) {
    const value = item[key]
    if (typeof value === "string" && value.length > 64) {
      return `Invalid '${at}.${key}': string too long. Expected a string with maximum length 64, but got a string with length ${value.length} instead.`
    }
    if (value === "") return `Invalid '${at}.${key}': empty string. Expected a string with minimum length 1.`
  }
  const type = typeOf(item)
  const prefix = prefixes[type]
  if (item.id !== undefined && prefix !== undefined && !String(item.id).startsWith(prefix)) {
    return `Invalid '${at}.id': '${item.id}'. Expected an ID that begins with '${prefix}'.`
  }
  switch (type) {
    case "message": {
      if (!["user", "assistant", "system", "developer"].includes(item.role)) {
        return `Invalid value: '${item.role}'. Supported values are: 'assistant', 'system', 'developer', and 'user'.`
      }
      if (typeof item.content === "string") return undefined
      if (!Array.isArray(item.content) || item.content.length === 0) {
        return `Invalid '${at}.content': expected a string or a non-empty array.`
      }
      const wanted =
        item.role === "assistant" ? ["output_text", "refusal"] : ["input_text", "input_image", "input_file"]
      const wrong = item.content.find((part: any) => !wanted.includes(part.type))
      return wrong === undefined
        ? undefined
        : `Invalid value: '${wrong.type}'. Supported values are: ${wanted.map((type) => `'${type}'`).join(" and ")}.`
    }
    case "function_call": {
      if (typeof item.call_id !== "string") return `Missing required parameter: '${at}.call_id'.`
      if (typeof item.name !== "string") return `Missing required parameter: '${at}.name'.`
      return typeof item.arguments === "string"
        ? undefined
        : `Invalid type for '${at}.arguments': expected a string, but got an object instead.`
    }
    case "function_call_output": {
      if (typeof item.call_id !== "string") return `Missing required parameter: '${at}.call_id'.`
      return typeof item.output === "string" || Array.isArray(item.output)
        ? undefined
        : `Invalid type for '${at}.output': expected a string or an array.`
    }
    case "reasoning":
      return Array.isArray(item.summary) ? undefined : `Missing required parameter: '${at}.summary'.`
    case "item_reference":
      return undefined
    default:
      return `Invalid value: '${type}'.`
  }
}

const pairingProblem = (input: ReadonlyArray<any>): string | undefined => {
  const calls = new Set<string>()
  const answered = new Set<string>()
  for (const item of input) {
    if (item.type === "function_call") {
      if (calls.has(item.call_id)) return `Duplicate function call with call_id ${item.call_id}.`
      calls.add(item.call_id)
    }
    if (item.type === "function_call_output") {
      if (!calls.has(item.call_id)) return `No tool call found for function call output with call_id ${item.call_id}.`
      if (answered.has(item.call_id)) return `Duplicate output for function call ${item.call_id}.`
      answered.add(item.call_id)
    }
  }
  for (const callId of calls) if (!answered.has(callId)) return `No tool output found for function call ${callId}.`
  return undefined
}

/** The dialect with its memory: what it sent, by item id. */
export const makeDialect = (): Server.Dialect => {
  const sent = new Map<string, Sent>()
  let responses = 0
  let cached = ""

  const reasoningProblem = (input: ReadonlyArray<any>): string | undefined => {
    const ids = new Set(input.map((item) => item.id).filter((id) => id !== undefined))
    for (const [i, item] of input.entries()) {
      const known = sent.get(item.id)
      if (typeOf(item) === "reasoning") {
        if (known === undefined) return `Item with id '${item.id}' not found.`
        if (!known.stored && item.encrypted_content == null) {
          return `Item with id '${item.id}' not found. Items are not persisted when \`store\` is set to false. Try again with \`store\` set to true, or remove this item from your input.`
        }
        if (item.encrypted_content != null && item.encrypted_content !== known.item.encrypted_content) {
          return `The encrypted content for item ${item.id} could not be verified. Reason: Encrypted content could not be decrypted or parsed.`
        }
        if (JSON.stringify(item.summary) !== JSON.stringify(known.item.summary)) {
          return `The summary of item ${item.id} is not the one that was sent.`
        }
        const next = input[i + 1]
        if (
          next === undefined ||
          !isOutput(next) ||
          (known.next !== undefined && next.id !== undefined && next.id !== known.next)
        ) {
          return `Item '${item.id}' of type 'reasoning' was provided without its required following item.`
        }
      } else if (known?.reasoning !== undefined && !ids.has(known.reasoning)) {
        return `Item '${item.id}' of type '${typeOf(item)}' was provided without its required 'reasoning' item: '${known.reasoning}'.`
      }
    }
    return undefined
  }

  /** References to stored items stand for the items. */
  const resolve = (input: ReadonlyArray<any>): ReadonlyArray<any> | string => {
    const out: Array<any> = []
    for (const item of input) {
      if (item.type !== "item_reference") out.push(item)
      else {
        const known = sent.get(item.id)
        if (known === undefined || !known.stored) return `Item with id '${item.id}' not found.`
        out.push(known.item)
      }
    }
    return out
  }

  const violation: Server.Dialect["violation"] = (body, headers) => {
    if (!/^Bearer \S+$/.test(headers.authorization ?? "")) {
      return new HttpError({ status: 401, message: "Missing bearer authentication in header", headers: {} })
    }
    if (typeof body?.model !== "string") return invalid("Missing required parameter: 'model'.")
    if (body.stream !== true) return invalid("this server only streams: set 'stream' to true")
    if (typeof body.input === "string")
      return toolProblem(body) === undefined ? undefined : invalid(toolProblem(body) as string)
    if (!Array.isArray(body.input) || body.input.length === 0) {
      return invalid("One of 'input' or 'previous_response_id' or 'prompt' or 'conversation_id' must be provided.")
    }
    const input = resolve(body.input)
    if (typeof input === "string") return invalid(input)
    const seen = new Set<string>()
    for (const [i, item] of input.entries()) {
      const problem = itemProblem(item, i)
      if (problem !== undefined) return invalid(problem)
      if (item.id === undefined) continue
      if (seen.has(item.id)) {
        return invalid(`Duplicate item found with id ${item.id}. Remove duplicate items from your input and try again.`)
      }
      seen.add(item.id)
    }
    const problem = pairingProblem(input) ?? reasoningProblem(input) ?? toolProblem(body)
    return problem === undefined ? undefined : invalid(problem)
  }

  function* events(pieces: ReadonlyArray<Piece>, body: any): Generator<Server.WireEvent> {
    const n = ++responses
    const id = `resp_${String(n).padStart(4, "0")}`
    const stored = body.store !== false
    const encrypted = (body.include ?? []).includes("reasoning.encrypted_content")
    const output: Array<any> = []
    let sequence = 0
    const event = (type: string, rest: Record<string, unknown>): Server.WireEvent => ({
      _tag: "Event",
      name: type,
      data: { type, sequence_number: sequence++, ...rest }
    })
    const snapshot = (status: string, rest: Record<string, unknown> = {}) => ({
      id,
      object: "response",
      created_at: 1_700_000_000 + n,
      status,
      background: false,
      error: null,
      incomplete_details: null,
      instructions: null,
      max_output_tokens: null,
      max_tool_calls: null,
      model: body.model,
      output: [...output],
      parallel_tool_calls: true,
      previous_response_id: null,
      prompt_cache_key: null,
      reasoning: { effort: body.reasoning?.effort ?? null, summary: body.reasoning?.summary ?? null },
      safety_identifier: null,
      service_tier: "default",
      store: stored,
      temperature: 1,
      text: { format: { type: "text" }, verbosity: "medium" },
      tool_choice: body.tool_choice ?? "auto",
      tools: body.tools ?? [],
      top_logprobs: 0,
      top_p: 1,
      truncation: "disabled",
      usage: null,
      user: null,
      metadata: {},
      ...rest
    })
    let reasoningId: string | undefined
    let before: Sent | undefined
    const remember = (item: any): void => {
      output.push(item)
      if (before !== undefined) before.next = item.id
      before = { item, next: undefined, reasoning: item.type === "reasoning" ? undefined : reasoningId, stored }
      if (item.type === "reasoning") reasoningId = item.id
      sent.set(item.id, before)
    }

    yield event("response.created", { response: snapshot("in_progress") })
    yield event("response.in_progress", { response: snapshot("in_progress") })
    for (const piece of pieces) {
      const output_index = output.length
      const key = `${String(n).padStart(4, "0")}${String(output_index).padStart(2, "0")}`
      switch (piece._tag) {
        case "Text": {
          const item_id = `msg_${key}`
          const message = { id: item_id, type: "message", status: "in_progress", role: "assistant" }
          const at = { item_id, output_index, content_index: 0 }
          const part = { type: "output_text", annotations: [], logprobs: [] }
          yield event("response.output_item.added", { output_index, item: { ...message, content: [] } })
          yield event("response.content_part.added", { ...at, part: { ...part, text: "" } })
          for (const delta of piece.deltas) yield event("response.output_text.delta", { ...at, delta, logprobs: [] })
          const text = piece.deltas.join("")
          yield event("response.output_text.done", { ...at, text, logprobs: [] })
          yield event("response.content_part.done", { ...at, part: { ...part, text } })
          const item = { ...message, status: "completed", content: [{ ...part, text }] }
          remember(item)
          yield event("response.output_item.done", { output_index, item })
          break
        }
        case "Reasoning": {
          const item_id = `rs_${key}`
          const at = { item_id, output_index, summary_index: 0 }
          const text = piece.deltas.join("")
          const part = { type: "summary_text", text }
          // the content is complete in the last event only
          const content = (state: string) => (encrypted ? { encrypted_content: `gAAAA-${state}-${item_id}` } : {})
          yield event("response.output_item.added", {
            output_index,
            item: { id: item_id, type: "reasoning", summary: [], ...content("begun") }
          })
          if (!piece.hidden) {
            yield event("response.reasoning_summary_part.added", { ...at, part: { ...part, text: "" } })
            for (const delta of piece.deltas) yield event("response.reasoning_summary_text.delta", { ...at, delta })
            yield event("response.reasoning_summary_text.done", { ...at, text })
            yield event("response.reasoning_summary_part.done", { ...at, part })
          }
          const item = { id: item_id, type: "reasoning", summary: piece.hidden ? [] : [part], ...content("complete") }
          remember(item)
          yield event("response.output_item.done", { output_index, item })
          break
        }
        case "Call": {
          const item_id = `fc_${key}`
          const call = { id: item_id, type: "function_call", call_id: piece.id ?? `call_${key}`, name: piece.name }
          yield event("response.output_item.added", {
            output_index,
            item: { ...call, status: "in_progress", arguments: "" }
          })
          for (const delta of piece.json.match(/[\s\S]{1,12}/g) ?? []) {
            yield event("response.function_call_arguments.delta", { item_id, output_index, delta })
          }
          yield event("response.function_call_arguments.done", { item_id, output_index, arguments: piece.json })
          const item = { ...call, status: "completed", arguments: piece.json }
          remember(item)
          yield event("response.output_item.done", { output_index, item })
          break
        }
        case "ErrorEvent": {
          yield event("error", { code: piece.type, message: piece.message, param: null })
          const error = { code: piece.type, message: piece.message }
          yield event("response.failed", { response: snapshot("failed", { error }) })
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
    }
    const tokens = (value: unknown) => Math.ceil(JSON.stringify(value ?? "").length / 4)
    const prompt = JSON.stringify(body.tools ?? []) + JSON.stringify(body.input)
    let same = 0
    while (same < prompt.length && prompt[same] === cached[same]) same++
    cached = prompt
    const usage = {
      input_tokens: Math.ceil(prompt.length / 4),
      input_tokens_details: { cached_tokens: Math.floor(same / 4) },
      output_tokens: tokens(output),
      output_tokens_details: { reasoning_tokens: tokens(output.filter((item) => item.type === "reasoning")) }
    }
    yield event("response.completed", {
      response: snapshot("completed", {
        usage: { ...usage, total_tokens: usage.input_tokens + usage.output_tokens }
      })
    })
  }

  return { base: "/v1", path: "/responses", violation, errorBody, events }
}

export const make = (script: Script): Effect.Effect<Server.Server, never, Scope.Scope> =>
  Server.make(makeDialect(), script)
