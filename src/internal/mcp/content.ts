/**
 * What a tool of a server gives, as the output of a call: structured content or texts, and files (rule J7).
 */
import * as Encoding from "effect/Encoding"
import type { File } from "../../ChatContext.js"
import { isRecord } from "../values/record.js"

export interface Output {
  readonly value: unknown
  readonly files: ReadonlyArray<File>
  readonly isError: boolean
}

const textOf = (value: unknown): string | undefined => (typeof value === "string" ? value : undefined)

/** The last part of an address, for a name. */
const nameIn = (uri: unknown): { readonly name?: string } => {
  const name = textOf(uri)
    ?.split(/[?#]/, 1)[0]
    ?.split("/")
    .filter((part) => part !== "")
    .at(-1)
  return name === undefined ? {} : { name }
}

/** A link is told, not followed: what is behind it is the server's, and it may ask to be read first. */
const linkText = ({ description, name, title, uri }: Readonly<Record<string, unknown>>): string =>
  [textOf(title) ?? textOf(name), textOf(description), textOf(uri)].filter((part) => part !== undefined).join(" – ")

export const outputOf = (result: unknown): Output => {
  const { content, isError, structuredContent } = (isRecord(result) ? result : {}) as Record<string, unknown>
  const texts: Array<string> = []
  const files: Array<File> = []
  for (const block of Array.isArray(content) ? content : []) {
    if (!isRecord(block)) continue
    const { data, mimeType, resource, text, type } = block
    if (type === "text") texts.push(textOf(text) ?? "")
    else if ((type === "image" || type === "audio") && typeof data === "string") {
      files.push({ data, mediaType: textOf(mimeType) ?? "application/octet-stream" })
    } else if (type === "resource" && isRecord(resource)) {
      const { blob, mimeType, text, uri } = resource
      const written = textOf(text)
      files.push({
        data: written === undefined ? (textOf(blob) ?? "") : Encoding.encodeBase64(new TextEncoder().encode(written)),
        mediaType: textOf(mimeType) ?? (written === undefined ? "application/octet-stream" : "text/plain"),
        ...nameIn(uri)
      })
    } else if (type === "resource_link") texts.push(linkText(block))
  }
  const value = structuredContent !== undefined && isError !== true ? structuredContent : texts.join("\n")
  return { value, files, isError: isError === true }
}
