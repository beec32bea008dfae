/**
 * What happened, as lines for the eyes of whoever reads a failed test.
 */
import type { ChatItem, Message } from "../../ChatContext.js"
import { read } from "../model/errors.js"
import { guarded } from "../values/guarded.js"
import { toJson } from "../values/json.js"
import { clip } from "../values/text.js"

/** The files of an item, by their names, behind what it says. */
const filesOf = ({ files }: Pick<Message, "files">): string =>
  files === undefined ? "" : files.map((file) => ` [${file.name ?? file.mediaType}]`).join("")

/** An item of the history, in one line if its text has one. */
export const itemLine = (item: ChatItem): string => {
  switch (item._tag) {
    case "Message":
      return `${item.role}: ${item.interrupted ? `${item.text.trimEnd()} …` : item.text}${filesOf(item)}`
    case "Reasoning":
      return `reasoning: ${item.text}`
    case "FunctionCall":
      return `call ${item.callId}: ${item.name}(${JSON.stringify(item.arguments)})`
    case "FunctionCallOutput":
      return `${item.isError ? "error" : "output"} ${item.callId}: ${JSON.stringify(item.output)}${filesOf(item)}`
    case "AgentHandoff":
      return `hand-off: ${item.from === undefined ? "" : `${item.from} → `}${item.to}`
  }
}

/** Any value in one line; a matcher of a test library says its own name. Never throws. */
export const short = (value: unknown, length = 80): string =>
  oneLine(
    guarded(
      () => (value === undefined ? "undefined" : isMatcher(value) ? matcher(value) : written(value)),
      () => "(a value that cannot be shown)"
    ),
    length
  )

/** What Vitest and Jest take in place of a value. */
interface Matcher {
  readonly asymmetricMatch: (actual: unknown) => boolean
}

export const isMatcher = (value: unknown): value is Matcher => typeof read(value, "asymmetricMatch") === "function"

const matcher = (value: Matcher): string => {
  const sample = read(value, "sample")
  return `${String(value)}${sample === undefined ? "" : ` ${short(sample)}`}`
}

/** As it would stand in a program. */
const written = (value: unknown): string => {
  if (Array.isArray(value)) return `[${value.map((part) => short(part)).join(", ")}]`
  if (isPlain(value)) {
    const fields = Object.entries(value).map(([key, part]) => `${keyOf(key)}: ${short(part)}`)
    return fields.length === 0 ? "{}" : `{ ${fields.join(", ")} }`
  }
  return JSON.stringify(toJson(value)) ?? String(value)
}

/** An object of fields, and of nothing else. */
export const isPlain = (value: unknown): value is Readonly<Record<string, unknown>> => {
  if (typeof value !== "object" || value === null) return false
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}

const keyOf = (key: string): string => (/^[A-Za-z_$][\w$]*$/.test(key) ? key : JSON.stringify(key))

/** What ends a line, for some reader or other. */
export const lineEnds = /\r\n|[\n\v\f\r\u0085\u2028\u2029]/g

/** A text without ends of lines. */
export const oneLine = (text: string, length: number): string => clip(text.replace(lineEnds, " ⏎ "), length, "…")
