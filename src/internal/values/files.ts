/**
 * Files as the history has them: plain, frozen, with data that is base64, or a URL of our own. What programs, handlers,
 * models and stored histories give is read here, with care and in bounded time (rules B1, B3).
 */
import * as Encoding from "effect/Encoding"
import { globalValue } from "effect/GlobalValue"
import type { File } from "../../ChatContext.js"
import { guarded } from "./guarded.js"
import { isRecord, toJson } from "./json.js"
import { clip, wellFormed } from "./text.js"

/** Bytes of a file, if nobody says how many. */
export const defaultFileBytes = 5_000_000

/** More files than these are no message to a model. */
const maxFiles = 100

/** Those that were made here: nothing in them is to be looked at again. */
const made = new WeakSet<File>()

const type = /^[a-z0-9][a-z0-9!#$&^_.+-]{0,126}\/[a-z0-9*][a-z0-9!#$&^_.+-]{0,126}$/

/** Without parameters such as a character set. */
const typeOf = (given: unknown): string | undefined => {
  const plain = typeof given === "string" ? (given.split(";", 1)[0] ?? "").trim().toLowerCase() : ""
  return type.test(plain) ? plain : undefined
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: no name has them, nor what ends a line in some other way
const control = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g

const lineOf = (given: string, length: number): string | undefined => {
  const line = wellFormed(clip(given, length)).replace(control, " ").trim()
  return line === "" ? undefined : line
}

const nameOf = (given: unknown): string | undefined => (typeof given === "string" ? lineOf(given, 200) : undefined)

const make = (fields: Omit<File, "name"> & { readonly name: string | undefined }): File => {
  const { name, ...rest } = fields
  const file: File = Object.freeze(name === undefined ? rest : { ...rest, name })
  made.add(file)
  return file
}

/** A file that is not here: the model is told why. */
const omitted = (given: Record<string, unknown> | undefined, why: string): File =>
  make({
    data: "",
    mediaType: typeOf(given?.mediaType) ?? "application/octet-stream",
    name: nameOf(given?.name),
    omitted: why
  })

const tooLarge = (bytes: number, most: number): string => `It has ${bytes} bytes, and at most ${most} are taken.`

/** How many bytes some base64 stands for. */
const bytesOf = (base64: string): number =>
  (base64.length / 4) * 3 - (base64.endsWith("==") ? 2 : base64.endsWith("=") ? 1 : 0)

const base64 = /^[A-Za-z0-9+/]+={0,2}$/

/** By hand: `/=+$/` looks at a long run of them once for each of its places. */
const withoutPadding = (text: string): string => {
  let end = text.length
  while (text[end - 1] === "=") end--
  return text.slice(0, end)
}

/** In the one form that every provider takes; none: it is no base64. */
const normal = (given: string): string | undefined => {
  let text = given
  if (/\s/.test(text)) text = text.replace(/\s+/g, "")
  if (/[-_]/.test(text)) text = text.replace(/-/g, "+").replace(/_/g, "/")
  const bare = text.length % 4 === 0 ? text : withoutPadding(text)
  if (bare.length % 4 === 1) return undefined
  const padded = bare.padEnd(Math.ceil(bare.length / 4) * 4, "=")
  return base64.test(padded) ? padded : undefined
}

/** Where the data of a `data:` URL begins, and how it is written. */
const inUrl = /^data:([^,]*),/i

const fromDataUrl = (href: string): { readonly data: string; readonly mediaType: string } | undefined => {
  const [head = "", about = ""] = inUrl.exec(href) ?? []
  const rest = href.slice(head.length)
  if (/;\s*base64\s*$/i.test(about)) return { data: decodeURIComponent(rest), mediaType: about }
  return { data: Encoding.encodeBase64(new TextEncoder().encode(decodeURIComponent(rest))), mediaType: about }
}

const readUrl = (given: Record<string, unknown>, url: URL, most: number): File => {
  const { href } = url
  if (/^data:/i.test(href)) {
    // base64 has 4 characters for 3 bytes; what is written otherwise has no fewer than one for each
    if (href.length > most * 4 + 1000) return omitted(given, tooLarge(Math.floor((href.length * 3) / 4), most))
    const inside = fromDataUrl(href)
    if (inside === undefined) return omitted(given, "Its address cannot be read.")
    return readData({ ...given, mediaType: given.mediaType ?? inside.mediaType }, inside.data, most)
  }
  if (href.length > 8192) return omitted(given, "Its address is too long.")
  const mediaType = typeOf(given.mediaType)
  if (mediaType === undefined) return omitted(given, "It has no media type.")
  return make({ data: new URL(href), mediaType, name: nameOf(given.name) })
}

const readData = (given: Record<string, unknown>, data: string | Uint8Array, most: number): File => {
  const mediaType = typeOf(given.mediaType)
  if (mediaType === undefined) return omitted(given, "It has no media type.")
  const name = nameOf(given.name)
  if (typeof data !== "string") {
    const { byteLength } = data
    if (byteLength > most) return omitted(given, tooLarge(byteLength, most))
    if (byteLength === 0) return omitted(given, "It is empty.")
    return make({ data: Encoding.encodeBase64(data), mediaType, name })
  }
  // with room for the breaks of lines; beyond that nobody looks at it
  if (data.length > (most + 3) * 1.4 + 1000) return omitted(given, tooLarge(Math.floor((data.length * 3) / 4), most))
  if (data.trim() === "") return omitted(given, "It is empty.")
  const plain = normal(data)
  if (plain === undefined) return omitted(given, "Its data is not base64.")
  const bytes = bytesOf(plain)
  return bytes > most ? omitted(given, tooLarge(bytes, most)) : make({ data: plain, mediaType, name })
}

/** What a history says of a file that was not taken, in one line. */
const omittedBefore = (given: Record<string, unknown>): File | undefined =>
  typeof given.omitted === "string" && given.data === ""
    ? omitted(given, lineOf(given.omitted, 300) ?? unreadable)
    : undefined

const unreadable = "It cannot be read."

/**
 * A file, of at most so many bytes. Why a file is not there is told in a note of the application, so only a conversation
 * that is stored may say it.
 */
export const readFile = (given: unknown, most: number, stored = false): File =>
  guarded(
    () => {
      if (!isRecord(given)) return omitted(undefined, unreadable)
      if (made.has(given as unknown as File)) {
        // it was read with another bound, perhaps
        const file = given as unknown as File
        const bytes = typeof file.data === "string" && file.omitted === undefined ? bytesOf(file.data) : 0
        return bytes > most ? omitted(given, tooLarge(bytes, most)) : file
      }
      const fields: Record<string, unknown> = {
        data: given.data,
        mediaType: given.mediaType,
        name: given.name,
        omitted: stored ? given.omitted : undefined
      }
      const { data } = fields
      if (typeof data === "string") return omittedBefore(fields) ?? readData(fields, data, most)
      if (data instanceof Uint8Array) return readData(fields, data, most)
      if (data instanceof URL) return readUrl(fields, data, most)
      return omitted(fields, unreadable)
    },
    () => omitted(undefined, unreadable)
  )

/** Files, if there are any. */
export const readFiles = (given: unknown, most: number, stored = false): ReadonlyArray<File> | undefined =>
  guarded(
    () => {
      if (given === undefined || given === null) return undefined
      if (!Array.isArray(given)) return [omitted(undefined, unreadable)]
      const { length } = given
      if (length === 0) return undefined
      const read: Array<File> = []
      const count = Math.min(length, maxFiles)
      for (let i = 0; i < count; i++) {
        read.push(
          guarded(
            () => readFile(given[i], most, stored),
            () => omitted(undefined, unreadable)
          )
        )
      }
      if (length > count) {
        read.push(omitted(undefined, `There are ${length - count} more files, and at most ${maxFiles} are taken.`))
      }
      return Object.freeze(read)
    },
    () => [omitted(undefined, unreadable)]
  )

/** An item that was given, with files that are ours. */
export const withOwnFiles = <I>(item: I, most: number): I => {
  if (!isRecord(item) || !("files" in item)) return item
  const { files: given, ...rest } = item
  const files = readFiles(given, most, true)
  return (files === undefined ? rest : { ...rest, files }) as I
}

// --------------------------------------------------------------------------------------------- values that carry files

/** Those that were made, by whichever copy of this module: nobody else can pass for one, and none is looked into. */
const contents = globalValue("effect-meantime/contents", () => new WeakSet<object>())

/** A value with files, as a handler gives it. */
export class Content {
  constructor(
    readonly value: unknown,
    readonly files: unknown
  ) {
    contents.add(this)
  }

  /** Where nobody looks for files there are none. */
  toJSON(): unknown {
    if (looking) {
      found ??= new Set()
      found.add(this)
    }
    return this.value
  }
}

/** A value becomes JSON whose files are wanted. */
let looking = false
/** those that it has inside */
let found: Set<Content> | undefined

const isContent = (u: unknown): u is Content => typeof u === "object" && u !== null && contents.has(u)

/** The value, and the files that it carries; those of a value with files in a value with files come first. */
export const unwrap = (given: unknown): { readonly value: unknown; readonly files: unknown } => {
  if (!isContent(given)) return { value: given, files: undefined }
  let { files, value } = given
  while (isContent(value)) {
    files = joined(value.files, files)
    value = value.value
  }
  return { value, files }
}

const joined = (first: unknown, second: unknown): unknown =>
  guarded(
    () => (Array.isArray(first) && Array.isArray(second) ? [...first, ...second] : (second ?? first)),
    () => second
  )

/** The value as JSON, and its files: beside those that it came with, those of values with files inside of it. */
export const jsonWithFiles = (value: unknown, files: unknown): { readonly json: unknown; readonly files: unknown } => {
  if (typeof value === "string") return { json: value, files }
  looking = true
  const json = toJson(value)
  looking = false
  if (found === undefined) return { json, files }
  let all = files
  for (const content of found) all = joined(all, content.files)
  found = undefined
  return { json, files: all }
}
