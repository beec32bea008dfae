/**
 * Anthropic, Messages API: https://platform.claude.com/docs/en/api/messages, and the pages named in
 * `../wire/FORMATS.md`.
 */
import {
  address,
  type Checker,
  data,
  isBlank,
  isRecord,
  name,
  onceEach,
  Problems,
  pictures,
  sameIds,
  toolNames,
  wholeCharacters
} from "./rules.js"

const userBlocks = ["text", "image", "document", "search_result", "tool_result"]
const serverResults = [
  "web_search_tool_result",
  "web_fetch_tool_result",
  "code_execution_tool_result",
  "bash_code_execution_tool_result",
  "text_editor_code_execution_tool_result"
]
const assistantBlocks = ["text", "thinking", "redacted_thinking", "tool_use", "server_tool_use", ...serverResults]

const blocksOf = (content: unknown): ReadonlyArray<any> =>
  typeof content === "string" ? [{ type: "text", text: content }] : Array.isArray(content) ? content : []

const isSigned = (text: unknown): boolean => typeof text === "string" && text !== ""

/** https://platform.claude.com/docs/en/build-with-claude/vision and /pdf-support */
const source = (problems: Problems, { source: from, type }: any, at: string): void => {
  switch (from?.type) {
    case "base64":
      return data(problems, at, from.media_type, from.data, type === "image" ? pictures : ["application/pdf"])
    case "url":
      return address(problems, at, from.url, [])
    case "text": {
      problems.holds(type === "document" && from.media_type === "text/plain", at, "a text is a plain document")
      problems.holds(!isBlank(from.data), at, "the document has no text")
      return
    }
    default:
      problems.holds(false, at, `no source of type ${from?.type}`)
  }
}

const block = (problems: Problems, value: any, role: string, at: string): void => {
  const types = role === "user" ? userBlocks : assistantBlocks
  if (!problems.holds(types.includes(value?.type), at, `the role ${role} has no block of type ${value?.type}`)) return
  if (value.cache_control !== undefined && value.cache_control !== null) {
    problems.holds(value.cache_control.type === "ephemeral", at, "cache_control is not ephemeral")
  }
  switch (value.type) {
    case "text": {
      problems.holds(!isBlank(value.text), at, "text content blocks must contain non-whitespace text")
      return
    }
    case "image":
    case "document":
      return source(problems, value, at)
    case "thinking": {
      problems.holds(typeof value.thinking === "string" && isSigned(value.signature), at, "thinking has no signature")
      return
    }
    case "redacted_thinking": {
      problems.holds(isSigned(value.data), at, "redacted thinking has no data")
      return
    }
    case "tool_use": {
      problems.holds(/^[a-zA-Z0-9_-]+$/.test(value.id), at, `the id ${value.id} does not match its pattern`)
      problems.holds(
        typeof value.name === "string" && name.test(value.name),
        at,
        `the name ${value.name} does not match`
      )
      problems.holds(isRecord(value.input), at, "input is no dictionary")
      return
    }
    case "server_tool_use": {
      problems.holds(/^srvtoolu_[a-zA-Z0-9_]+$/.test(value.id), at, `the id ${value.id} is not one of the server's`)
      problems.holds(isRecord(value.input), at, "input is no dictionary")
      return
    }
    case "tool_result": {
      if (value.content === undefined || typeof value.content === "string") return
      if (!problems.holds(Array.isArray(value.content), at, "the content is neither a string nor a list")) return
      for (const part of value.content) {
        const known = ["text", "image", "document", "search_result", "tool_reference"].includes(part?.type)
        if (!problems.holds(known, at, `a result has no block of type ${part?.type}`)) continue
        if (part.type === "text") problems.holds(!isBlank(part.text), at, "text content blocks must contain text")
        if (part.type === "image" || part.type === "document") source(problems, part, at)
      }
      return
    }
    default: {
      if (serverResults.includes(value.type)) {
        problems.holds(typeof value.content === "object" && value.content !== null, at, "the result is no block")
      }
    }
  }
}

const idsOf = (blocks: ReadonlyArray<any>, type: string, field: string): ReadonlyArray<unknown> =>
  blocks.filter((value) => value?.type === type).map((value) => value[field])

export const check: Checker = (body) => {
  const problems = new Problems()
  wholeCharacters(problems, body)
  problems.holds(typeof body?.model === "string", "model", "missing")
  problems.holds(Number.isInteger(body?.max_tokens) && body.max_tokens > 0, "max_tokens", "missing")
  if (!problems.holds(Array.isArray(body?.messages) && body.messages.length > 0, "messages", "at least one message")) {
    return problems.found
  }
  for (const [i, value] of blocksOf(body.system).entries()) {
    problems.holds(value.type === "text" && !isBlank(value.text), `system.${i}`, "must contain non-whitespace text")
  }
  // consecutive messages of one role are one turn
  const turns: Array<{ role: string; blocks: Array<any> }> = []
  for (const [i, message] of body.messages.entries()) {
    problems.holds(["user", "assistant"].includes(message.role), `messages.${i}`, `no role ${message.role}`)
    const blocks = blocksOf(message.content)
    problems.holds(blocks.length > 0, `messages.${i}`, "content is empty")
    for (const [j, value] of blocks.entries()) block(problems, value, message.role, `messages.${i}.${j}`)
    const last = turns.at(-1)
    if (last?.role === message.role) last?.blocks.push(...blocks)
    else turns.push({ role: message.role, blocks: [...blocks] })
  }
  problems.holds(turns[0]?.role === "user", "messages", "the first message must use the user role")
  problems.holds(turns.at(-1)?.role === "user", "messages", "the conversation must end with a user message")
  let hasTools = false
  for (const [i, { blocks, role }] of turns.entries()) {
    const at = `turn ${i}`
    if (role === "user") {
      const results = idsOf(blocks, "tool_result", "tool_use_id")
      hasTools ||= results.length > 0
      sameIds(problems, at, idsOf(turns[i - 1]?.blocks ?? [], "tool_use", "id"), results)
      problems.holds(
        blocks.slice(0, results.length).every((value) => value?.type === "tool_result"),
        at,
        "results come first in the content"
      )
    } else {
      hasTools ||= blocks.some((value) => value?.type === "tool_use")
      if (i === turns.length - 1) sameIds(problems, at, idsOf(blocks, "tool_use", "id"), [])
      const used = idsOf(blocks, "server_tool_use", "id")
      const found = blocks.filter((value) => serverResults.includes(value?.type)).map((value) => value.tool_use_id)
      sameIds(problems, at, used, found)
    }
  }
  onceEach(
    problems,
    turns.flatMap(({ blocks }) => [...idsOf(blocks, "tool_use", "id"), ...idsOf(blocks, "server_tool_use", "id")])
  )
  const tools: ReadonlyArray<any> = body.tools ?? []
  problems.holds(!hasTools || tools.length > 0, "tools", "requests with tool blocks must define tools")
  problems.holds(body.tool_choice === undefined || tools.length > 0, "tool_choice", "only with tools")
  const own = tools.filter((tool) => tool.type === undefined || tool.type === "custom")
  toolNames(
    problems,
    own.map((tool) => tool.name)
  )
  for (const [i, tool] of own.entries()) {
    problems.holds(tool.input_schema?.type === "object", `tools.${i}`, "input_schema is not that of an object")
  }
  return problems.found
}
