/**
 * OpenAI, Responses API: https://platform.openai.com/docs/api-reference/responses/create, and the pages and reports named
 * in `../wire/FORMATS.md`.
 */
import * as Strict from "../wire/Strict.js"
import {
  address,
  type Checker,
  isObjectText,
  isRecord,
  name,
  onceEach,
  Problems,
  pictures,
  toolNames,
  wholeCharacters
} from "./rules.js"

const prefixes: Record<string, string> = { message: "msg", function_call: "fc", reasoning: "rs" }

const typeOf = (item: any): string => item?.type ?? (item?.role === undefined ? "?" : "message")

/** Is it something that a model makes? A reference is to one of those. */
const isOutput = (item: any): boolean =>
  ["reasoning", "function_call", "item_reference"].includes(typeOf(item)) || item?.role === "assistant"

const parts: Record<string, ReadonlyArray<string>> = {
  assistant: ["output_text", "refusal"],
  user: ["input_text", "input_image", "input_file"],
  system: ["input_text"],
  developer: ["input_text"]
}

/** https://platform.openai.com/docs/guides/images-vision and /guides/pdf-files */
const file = (problems: Problems, part: any, at: string): void => {
  if (part?.type === "input_image") {
    const one = [part.image_url, part.file_id].filter((place) => place !== undefined && place !== null).length === 1
    if (problems.holds(one, at, "an image has one of image_url and file_id") && part.file_id === undefined) {
      address(problems, at, part.image_url, pictures)
    }
  }
  if (part?.type === "input_file") {
    const places = [part.file_data, part.file_url, part.file_id].filter((place) => place !== undefined)
    if (!problems.holds(places.length === 1, at, "a file has one of its places")) return
    if (part.file_data !== undefined) {
      problems.holds(typeof part.filename === "string" && part.filename !== "", at, "file_data needs a filename")
      address(problems, at, part.file_data, ["application/pdf"])
    }
    if (part.file_url !== undefined) address(problems, at, part.file_url, [])
  }
}

const item = (problems: Problems, value: any, at: string): void => {
  if (!problems.holds(isRecord(value), at, "no item")) return
  for (const key of ["id", "call_id"]) {
    if (value[key] === undefined || value[key] === null) continue
    const fits = typeof value[key] === "string" && value[key].length > 0 && value[key].length <= 64
    problems.holds(fits, at, `${key} has not 1 to 64 characters`)
  }
  const type = typeOf(value)
  const prefix = prefixes[type]
  if (value.id !== undefined && prefix !== undefined) {
    problems.holds(String(value.id).startsWith(prefix), at, `the id ${value.id} does not begin with ${prefix}`)
  }
  switch (type) {
    case "message": {
      const allowed = parts[value.role]
      if (!problems.holds(allowed !== undefined, at, `no role ${value.role}`) || typeof value.content === "string")
        return
      if (!problems.holds(Array.isArray(value.content) && value.content.length > 0, at, "content is empty")) return
      for (const part of value.content) {
        problems.holds(
          (allowed as ReadonlyArray<string>).includes(part?.type),
          at,
          `no ${part?.type} for ${value.role}`
        )
        if (part?.type === "output_text" || part?.type === "input_text") {
          problems.holds(typeof part.text === "string", at, "text is missing")
        }
        file(problems, part, at)
      }
      return
    }
    case "function_call": {
      problems.holds(typeof value.call_id === "string", at, "call_id is missing")
      problems.holds(
        typeof value.name === "string" && name.test(value.name),
        at,
        `the name ${value.name} does not match`
      )
      problems.holds(isObjectText(value.arguments), at, "arguments are not the text of an object")
      return
    }
    case "function_call_output": {
      problems.holds(typeof value.call_id === "string", at, "call_id is missing")
      const { output } = value
      problems.holds(typeof output === "string" || Array.isArray(output), at, "output is neither a string nor a list")
      if (!Array.isArray(output)) return
      for (const part of output) {
        problems.holds(
          ["input_text", "input_image", "input_file"].includes(part?.type),
          at,
          `no ${part?.type} in an output`
        )
        file(problems, part, at)
      }
      return
    }
    case "reasoning": {
      problems.holds(Array.isArray(value.summary), at, "summary is missing")
      const known = typeof value.id === "string" || typeof value.encrypted_content === "string"
      problems.holds(known, at, "neither an id nor encrypted content")
      return
    }
    case "item_reference": {
      problems.holds(typeof value.id === "string" && /^[a-z]+_/.test(value.id), at, "no id of an item")
      return
    }
    default:
      problems.holds(false, at, `no item of type ${type}`)
  }
}

export const check: Checker = (body) => {
  const problems = new Problems()
  wholeCharacters(problems, body)
  problems.holds(typeof body?.model === "string", "model", "missing")
  if (!problems.holds(Array.isArray(body?.input) && body.input.length > 0, "input", "must be provided")) {
    return problems.found
  }
  const input: ReadonlyArray<any> = body.input
  const calls: Array<unknown> = []
  const outputs: Array<unknown> = []
  const ids: Array<unknown> = []
  for (const [i, value] of input.entries()) {
    const at = `input.${i}`
    item(problems, value, at)
    if (value?.id !== undefined && value?.id !== null) ids.push(value.id)
    if (value?.type === "function_call") calls.push(value.call_id)
    if (value?.type === "function_call_output") {
      problems.holds(calls.includes(value.call_id), at, `no tool call found for ${value.call_id}`)
      problems.holds(!outputs.includes(value.call_id), at, `a second output for ${value.call_id}`)
      outputs.push(value.call_id)
    }
    if (value?.type === "reasoning") {
      problems.holds(isOutput(input[i + 1]), at, "provided without its required following item")
    }
  }
  for (const id of calls) problems.holds(outputs.includes(id), "input", `no tool output found for ${id}`)
  onceEach(problems, calls)
  for (const [i, id] of ids.entries()) problems.holds(ids.indexOf(id) === i, "input", `duplicate item ${id}`)
  const said = input.filter((value) => !["system", "developer"].includes(value?.role))
  problems.holds(said.length > 0, "input", "nothing but instructions")
  problems.holds(said.at(-1)?.role !== "assistant", "input", "ends with the assistant's")
  const tools: ReadonlyArray<any> = (body.tools ?? []).filter((tool: any) => tool.type === "function")
  toolNames(
    problems,
    tools.map((tool) => tool.name)
  )
  for (const tool of tools) {
    const problem = tool.strict === true ? Strict.problem(tool.parameters) : undefined
    problems.holds(problem === undefined, `tool ${tool.name}`, String(problem))
    problems.holds(tool.parameters?.type === "object", `tool ${tool.name}`, "parameters are not those of an object")
  }
  problems.holds(body.tool_choice === undefined || (body.tools ?? []).length > 0, "tool_choice", "only with tools")
  return problems.found
}
