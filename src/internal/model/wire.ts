/**
 * What stands in a request, as a provider takes it: whole characters, arguments that are objects, names and ids of its
 * alphabet and length (rule M3b).
 */
import type { File } from "../../ChatContext.js"
import { isRecord, toJson } from "../values/json.js"
import { isBlank, isWellFormed, wellFormed } from "../values/text.js"
import { quoted } from "./frames.js"
import type { Provider } from "./providers.js"

// ------------------------------------------------------------------------------------------------------------- values

const notJson = Symbol()

const maxDepth = 256
const maxValues = 250_000

/** how many values the walk under way may still look at */
let left = 0

/** The value itself if there is nothing to change, as nearly always; `notJson` for what JSON has no words for. */
const walk = (value: unknown, text: (text: string) => string, depth: number): unknown => {
  switch (typeof value) {
    case "string":
      return text(value)
    case "boolean":
      return value
    case "number":
      return Number.isFinite(value) ? value : notJson
    case "object":
      break
    default:
      return notJson
  }
  if (value === null) return null
  if (depth > maxDepth || --left < 0) return notJson
  if (Array.isArray(value)) {
    let out: Array<unknown> | undefined
    for (let i = 0; i < value.length; i++) {
      const part = walk(value[i], text, depth + 1)
      if (part === notJson) return notJson
      if (out === undefined && part !== value[i]) out = value.slice(0, i)
      out?.push(part)
    }
    return out ?? value
  }
  const prototype = Object.getPrototypeOf(value)
  if ((prototype !== Object.prototype && prototype !== null) || "toJSON" in value) return notJson
  let out: Array<readonly [string, unknown]> | undefined
  const own = value as Record<string, unknown>
  const keys = Object.keys(own)
  for (let i = 0; i < keys.length; i++) {
    const key = keys[i] as string
    const part = own[key]
    const name = text(key)
    const inner = walk(part, text, depth + 1)
    if (inner === notJson) return notJson
    if (out === undefined && (name !== key || inner !== part)) {
      out = keys.slice(0, i).map((before) => [before, own[before]] as const)
    }
    out?.push([name, inner])
  }
  if (out === undefined) return value
  return Object.fromEntries(apart(out))
}

/** Two keys that have become one are kept apart. */
const apart = (entries: ReadonlyArray<readonly [string, unknown]>): ReadonlyArray<readonly [string, unknown]> => {
  const taken = new Set<string>()
  return entries.map(([key, value]) => {
    let name = key
    for (let n = 2; taken.has(name); n++) name = `${key} (${n})`
    taken.add(name)
    return [name, value]
  })
}

/** A value as JSON has it, its texts as they are to be; what cannot be looked at becomes text. */
const shown = (value: unknown, text: (text: string) => string): unknown => {
  let out: unknown = notJson
  try {
    left = maxValues
    out = walk(value, text, 0)
  } catch {
    // a getter that throws
  }
  if (out !== notJson) return out
  left = maxValues
  const json = walk(toJson(value), text, 0)
  return json === notJson ? null : json
}

/** What others report: it is theirs, and must not pass for the application's. */
const reported = (text: string): string => quoted(wellFormed(text))

/** in the place of a text that has nothing to read */
export const nothing = "(There is no text here.)"

export interface Result {
  readonly value: unknown
  readonly isError: boolean
  readonly files?: ReadonlyArray<File> | undefined
}

/** The status stands in the value too, since most providers have no place for it; some take nothing but objects. */
export const wireResult = (result: Result, provider: Provider | undefined): unknown => {
  let value = result.value === undefined ? null : shown(result.value, reported)
  if (typeof value === "string" && isBlank(value)) value = nothing
  if (result.isError) return { error: value }
  return provider?.objectResults === true && !isRecord(value) ? { output: value } : value
}

/** What a provider reported goes back as it came, as long as a request can be written with it. */
export const wireValue = (value: unknown): unknown => (value === undefined ? null : shown(value, wellFormed))

/** Arguments are an object, an empty one if they were none. */
export const wireArguments = (args: unknown): Record<string, unknown> => {
  if (!isRecord(args)) return {}
  const out = shown(args, wellFormed)
  return isRecord(out) ? out : {}
}

// ------------------------------------------------------------------------------------------------------ names and ids

/** Which names or ids a provider takes, and how others are made to fit. */
export interface Alphabet {
  readonly pattern: RegExp
  /** a text that fits, as good as certainly another one for each text and each number */
  readonly fit: (text: string, attempt: number) => string
}

/** 53 bits of a text, as lower-case letters and digits. */
const digest = (text: string): string => {
  let a = 0x9e3779b9
  let b = 0x85ebca6b
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    a = Math.imul(a ^ unit, 0xcc9e2d51)
    b = Math.imul(b ^ unit, 0x1b873593)
    a = (a << 13) | (a >>> 19)
    b = (b << 15) | (b >>> 17)
  }
  a = Math.imul(a ^ (b >>> 16), 0xc2b2ae35)
  b = Math.imul(b ^ (a >>> 13), 0x27d4eb2f)
  a ^= b >>> 15
  return ((b & 0x1fffff) * 0x100000000 + (a >>> 0)).toString(36)
}

const numbered = (text: string, attempt: number): string => (attempt === 0 ? text : `${attempt}\n${text}`)

/** Letters, digits, `_` and `-`, at most so many. */
export const wordy = (pattern: RegExp, length: number): Alphabet => ({
  pattern,
  fit: (text, attempt) => {
    const clean = text.slice(0, length - 13).replace(/[^a-zA-Z0-9_-]/g, "_")
    return `${/^[a-zA-Z_]/.test(clean) ? "" : "_"}${clean}_${digest(numbered(text, attempt))}`
  }
})

/** Exactly so many letters and digits. */
export const exactly = (length: number): Alphabet => ({
  pattern: new RegExp(`^[a-zA-Z0-9]{${length}}$`),
  fit: (text, attempt) => digest(numbered(text, attempt)).padStart(length, "0").slice(-length)
})

/** nearly all names and ids */
const plain = /^[\w-]+$/

const isSound = (text: string): boolean => plain.test(text) || (isWellFormed(text) && !isBlank(text))

/** Packages look names up in plain objects. A set: `in` would keep each id in V8's table of names. */
const inherited: ReadonlySet<string> = new Set(Object.getOwnPropertyNames(Object.prototype))

/** For providers of which nothing is known: others write and read them as text all the same. */
const anything = wordy(/[\s\S]/, 64)

/** Names or ids of one conversation: the same for the same each time, different for different ones. */
export class Fitting {
  private readonly alphabet: Alphabet
  private readonly fitted = new Map<string, string>()
  /** what was made to fit, and all that came as it is; known once something has to be made to fit */
  private taken: Set<string> | undefined

  constructor(alphabet: Alphabet | undefined) {
    this.alphabet = alphabet ?? anything
  }

  /** `all` has those that are, or will be, in the conversation: looked at once, if at all. */
  of(text: string, all: () => Iterable<string>): string {
    const known = this.fitted.get(text)
    if (known !== undefined) return known
    const fits = this.alphabet.pattern.test(text) && isSound(text) && !inherited.has(text)
    if (fits && !this.made.has(text)) {
      this.taken?.add(text)
      return text
    }
    this.taken ??= new Set(all())
    let made: string
    let attempt = 0
    do made = this.alphabet.fit(text, attempt++)
    while (this.taken.has(made) || this.made.has(made))
    this.made.add(made)
    this.fitted.set(text, made)
    return made
  }

  private readonly made = new Set<string>()
}
