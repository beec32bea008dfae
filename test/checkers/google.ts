/**
 * Google, generateContent: https://ai.google.dev/api/generate-content, https://ai.google.dev/api/caching#Content,
 * https://ai.google.dev/gemini-api/docs/function-calling and https://ai.google.dev/gemini-api/docs/thought-signatures.
 */
import { type Checker, data, isBlank, isRecord, Problems, toolNames, wholeCharacters } from "./rules.js"

const name = /^[a-zA-Z_][a-zA-Z0-9_.:-]{0,63}$/

const kinds = [
  "text",
  "inlineData",
  "fileData",
  "functionCall",
  "functionResponse",
  "executableCode",
  "codeExecutionResult"
]

const partsOf = (content: any): ReadonlyArray<any> => (Array.isArray(content?.parts) ? content.parts : [])

const field = (content: any, kind: string): ReadonlyArray<any> =>
  partsOf(content).flatMap((part) => (part?.[kind] === undefined ? [] : [part[kind]]))

const part = (problems: Problems, value: any, role: string, at: string): void => {
  const has = kinds.filter((kind) => value?.[kind] !== undefined)
  if (!problems.holds(has.length === 1, at, `a part has exactly one of its kinds of data, not ${has.length}`)) return
  if (value.thoughtSignature !== undefined) {
    const encoded = typeof value.thoughtSignature === "string" && /^[\w+/-]+={0,2}$/.test(value.thoughtSignature)
    problems.holds(encoded, at, "the thought signature is not Base64")
  }
  if (value.text !== undefined) problems.holds(!isBlank(value.text) || value.thought === true, at, "no text in a part")
  if (value.inlineData !== undefined) {
    const { data: base64, mimeType } = value.inlineData
    const known = /^(?:image\/(?:png|jpeg|webp|heic|heif)|application\/pdf|(?:text|audio|video)\/.+)$/.test(mimeType)
    problems.holds(known, at, `no data of type ${mimeType}`)
    data(problems, at, mimeType, base64, [mimeType])
  }
  if (value.fileData !== undefined) {
    const { fileUri } = value.fileData
    problems.holds(/^https:\/\/generativelanguage\.googleapis\.com\/|^gs:\/\//.test(fileUri), at, `no file: ${fileUri}`)
  }
  if (value.functionCall !== undefined) {
    problems.holds(role === "model", at, "a call that is not the model's")
    problems.holds(name.test(value.functionCall.name ?? ""), at, `the name ${value.functionCall.name} does not match`)
    problems.holds(isRecord(value.functionCall.args), at, "args are no Struct")
  }
  if (value.functionResponse !== undefined) {
    problems.holds(role === "user", at, "a response of the model")
    problems.holds(name.test(value.functionResponse.name ?? ""), at, "the name of a response does not match")
    problems.holds(isRecord(value.functionResponse.response), at, "the response is no Struct")
  }
}

export const check: Checker = (body) => {
  const problems = new Problems()
  wholeCharacters(problems, body)
  const contents: ReadonlyArray<any> = Array.isArray(body?.contents) ? body.contents : []
  if (!problems.holds(contents.length > 0, "contents", "not specified")) return problems.found
  if (body.systemInstruction !== undefined) {
    const parts = partsOf(body.systemInstruction)
    problems.holds(parts.length > 0 && parts.every(({ text }) => !isBlank(text)), "systemInstruction", "no text")
  }
  for (const [i, content] of contents.entries()) {
    const at = `contents.${i}`
    problems.holds(["user", "model"].includes(content?.role), at, "please use a valid role: user, model")
    problems.holds(partsOf(content).length > 0, at, "must include at least one parts field")
    for (const [j, value] of partsOf(content).entries()) part(problems, value, content.role, `${at}.parts.${j}`)
    const calls = field(content, "functionCall").map((call) => call.name)
    const responses = field(content, "functionResponse").map((response) => response.name)
    if (calls.length > 0) {
      problems.holds(contents[i - 1]?.role === "user", at, "a call comes immediately after a user or response turn")
      const answers = field(contents[i + 1], "functionResponse").map((response) => response.name)
      problems.holds(
        JSON.stringify(answers) === JSON.stringify(calls),
        at,
        `the responses ${answers} are not those of the calls ${calls}`
      )
    }
    if (responses.length > 0) {
      const asked = field(contents[i - 1], "functionCall").length
      problems.holds(asked > 0, at, "a response comes immediately after a call")
    }
  }
  problems.holds(contents[0]?.role === "user", "contents", "a conversation begins with the user")
  problems.holds(contents.at(-1)?.role === "user", "contents", "a conversation ends with the user or a response")
  // one that stands alone is taken for a list of one
  const tools = [body.tools ?? []].flat().flatMap((tool: any) => tool.functionDeclarations ?? [])
  toolNames(
    problems,
    tools.map((tool: any) => tool.name),
    name
  )
  return problems.found
}
