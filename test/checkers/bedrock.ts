/**
 * Amazon Bedrock, Converse: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html with
 * ContentBlock, ToolUseBlock, ToolResultBlock, ToolSpecification and SystemContentBlock; what models of Anthropic behind
 * it refuse is refused, too.
 */
import {
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

const kinds = [
  "text",
  "image",
  "document",
  "video",
  "toolUse",
  "toolResult",
  "reasoningContent",
  "cachePoint",
  "guardContent"
]

const blocksOf = (message: any): ReadonlyArray<any> => (Array.isArray(message?.content) ? message.content : [])

const field = (message: any, kind: string): ReadonlyArray<any> =>
  blocksOf(message).flatMap((block) => (block?.[kind] === undefined ? [] : [block[kind]]))

const result = (problems: Problems, value: any, at: string): void => {
  if (!problems.holds(Array.isArray(value.content) && value.content.length > 0, at, "a result has content")) return
  for (const block of value.content) {
    if (block.text !== undefined) problems.holds(!isBlank(block.text), at, "the text field in the result is blank")
    if (block.json !== undefined) problems.holds(isRecord(block.json), at, "the json of a result is no object")
  }
  problems.holds([undefined, "success", "error"].includes(value.status), at, `no status ${value.status}`)
}

const block = (problems: Problems, value: any, role: string, at: string): void => {
  const has = kinds.filter((kind) => value?.[kind] !== undefined)
  if (!problems.holds(has.length === 1, at, `a block is exactly one of a union, not ${has.length}`)) return
  if (value.text !== undefined) problems.holds(!isBlank(value.text), at, "the text field is blank")
  if (value.image !== undefined) {
    const { format, source } = value.image
    data(problems, at, `image/${format}`, source?.bytes, pictures)
  }
  if (value.document !== undefined) {
    const { format, name: title, source } = value.document
    const known = ["pdf", "csv", "doc", "docx", "xls", "xlsx", "html", "txt", "md"].includes(format)
    problems.holds(known, at, `no document of format ${format}`)
    problems.holds(/^[\w ()[\]-]+$/.test(title ?? ""), at, "the name of a document does not match")
    const type = format === "pdf" ? "application/pdf" : format
    data(problems, at, type, source?.bytes, [type])
  }
  if (value.toolUse !== undefined) {
    problems.holds(role === "assistant", at, "a call of the user")
    problems.holds(name.test(value.toolUse.toolUseId ?? ""), at, `toolUseId ${value.toolUse.toolUseId} does not match`)
    problems.holds(name.test(value.toolUse.name ?? ""), at, `the name ${value.toolUse.name} does not match`)
    problems.holds(isRecord(value.toolUse.input), at, "input is no JSON object")
  }
  if (value.toolResult !== undefined) {
    problems.holds(role === "user", at, "a result of the assistant")
    result(problems, value.toolResult, at)
  }
  if (value.reasoningContent !== undefined) {
    const { reasoningText, redactedContent } = value.reasoningContent
    problems.holds(role === "assistant", at, "reasoning of the user")
    problems.holds(
      typeof redactedContent === "string" ||
        (typeof reasoningText?.text === "string" && typeof reasoningText.signature === "string"),
      at,
      "reasoning has neither text and signature nor redacted content"
    )
  }
}

export const check: Checker = (body) => {
  const problems = new Problems()
  wholeCharacters(problems, body)
  const messages: ReadonlyArray<any> = Array.isArray(body?.messages) ? body.messages : []
  if (!problems.holds(messages.length > 0, "messages", "a conversation must start with a user message")) {
    return problems.found
  }
  for (const [i, value] of (body.system ?? []).entries()) {
    if (value.text !== undefined) problems.holds(!isBlank(value.text), `system.${i}`, "the text field is blank")
  }
  let hasTools = false
  for (const [i, message] of messages.entries()) {
    const at = `messages.${i}`
    problems.holds(
      message?.role === (i % 2 === 0 ? "user" : "assistant"),
      at,
      "roles must alternate, beginning with user"
    )
    problems.holds(blocksOf(message).length > 0, at, "the content field is empty")
    for (const [j, value] of blocksOf(message).entries()) block(problems, value, message.role, `${at}.${j}`)
    const bare = field(message, "document").length > 0 && field(message, "text").length === 0
    problems.holds(!bare, at, "a message with a document has a text block")
    const uses = field(message, "toolUse").map((use) => use.toolUseId)
    const results = field(message, "toolResult").map((value) => value.toolUseId)
    hasTools ||= uses.length + results.length > 0
    if (message?.role === "user") {
      sameIds(
        problems,
        at,
        field(messages[i - 1], "toolUse").map((use) => use.toolUseId),
        results
      )
    } else if (i === messages.length - 1) sameIds(problems, at, uses, [])
  }
  problems.holds(messages.at(-1)?.role === "user", "messages", "a conversation must end with a user message")
  onceEach(
    problems,
    messages.flatMap((message) => field(message, "toolUse").map((use) => use.toolUseId))
  )
  const tools: ReadonlyArray<any> = body.toolConfig?.tools ?? []
  problems.holds(
    !hasTools || tools.length > 0,
    "toolConfig",
    "must be defined when using toolUse and toolResult blocks"
  )
  problems.holds(body.toolConfig === undefined || tools.length > 0, "toolConfig", "has at least one tool")
  const specs = tools.flatMap((tool) => (tool.toolSpec === undefined ? [] : [tool.toolSpec]))
  toolNames(
    problems,
    specs.map((spec) => spec.name)
  )
  for (const spec of specs) {
    problems.holds(spec.description === undefined || spec.description !== "", `tool ${spec.name}`, "empty description")
    problems.holds(
      spec.inputSchema?.json?.type === "object",
      `tool ${spec.name}`,
      "inputSchema.json.type is not object"
    )
  }
  return problems.found
}
