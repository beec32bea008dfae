/**
 * JSON values: what the history may hold, and a canonical text by which arguments are compared. A foreign value is read
 * in bounded time, whatever its size.
 */
import { guarded } from "./guarded.js"
import { isRecord } from "./record.js"
import { clip } from "./text.js"

export { isRecord } from "./record.js"

const maxDepth = 256

/** More values than this are no message to a model. It also ends the walk through an object that repeats its parts. */
const maxValues = 250_000

const notJson = Symbol()

/** An object as what it has under its names. TypeScript knows nothing of an `object`, and a read is safe with any. */
const fieldsOf = (value: object): Readonly<Record<string, unknown>> => value as Readonly<Record<string, unknown>>

// -------------------------------------------------------------------------------------------- what is told by its kind

const TypedArray = Object.getPrototypeOf(Uint8Array) as abstract new () => unknown

/** Data without an end, or none at all to be seen: nobody looks at its elements, and no `toJSON` of theirs is called. */
const isBytes = (value: object): boolean => {
  if (ArrayBuffer.isView(value)) return true
  const prototype = Object.getPrototypeOf(value)
  // a proxy of bytes is no view
  return prototype !== Object.prototype && prototype !== null && value instanceof TypedArray
}

/** A count, if the value says one and does not fail. */
const countIn = (value: object, key: string): number | undefined =>
  guarded(
    () => {
      const count = fieldsOf(value)[key]
      return Number.isSafeInteger(count) && (count as number) >= 0 ? (count as number) : undefined
    },
    () => undefined
  )

const className = /^[\p{L}_$][\p{L}\p{N}_$]{0,63}$/u
const tagName = /^[\p{L}_$][\p{L}\p{N}_$ ]{0,63}$/u

/** The name of its class, or what it calls itself; none for a plain object. */
const kindOf = (value: object): string | undefined =>
  guarded(
    () => {
      const prototype = Object.getPrototypeOf(value)
      const { constructor } = fieldsOf(value)
      const name: unknown = typeof constructor === "function" ? constructor.name : undefined
      if (name !== "Object" && typeof name === "string" && className.test(name)) return name
      const tag = (value as { readonly [Symbol.toStringTag]?: unknown })[Symbol.toStringTag]
      if (typeof tag === "string" && tagName.test(tag)) return tag
      return prototype === Object.prototype || prototype === null || name === "Object" ? undefined : nameless
    },
    () => nameless
  )

const nameless = "an object without fields"

const lengthOf = (value: object): string => {
  const bytes = countIn(value, "byteLength")
  const elements = countIn(value, "length")
  if (bytes !== undefined) {
    return elements === undefined || elements === bytes
      ? ` of ${bytes} bytes`
      : ` of ${elements} elements, ${bytes} bytes`
  }
  if (elements !== undefined) return ` of ${elements} elements`
  const size = countIn(value, "size")
  if (size === undefined) return ""
  return ` of ${size} ${typeof fieldsOf(value).arrayBuffer === "function" ? "bytes" : "entries"}`
}

/** A value by its kind and its length. */
const told = (value: object): string =>
  `(${kindOf(value) ?? nameless}${guarded(
    () => lengthOf(value),
    () => ""
  )})`

// ------------------------------------------------------------------------------------------------------------- copies

interface Walk {
  /** how many values it may still look at */
  left: number
  /** a value that is shown by its kind alone is no JSON: two of a kind cannot be told apart */
  readonly exact: boolean
  readonly freeze: boolean
}

/** The length of an array, of which a proxy may say anything. */
const arrayLength = (value: ReadonlyArray<unknown>): number => {
  const { length } = value
  return Number.isSafeInteger(length) && length >= 0 ? length : Number.POSITIVE_INFINITY
}

const put = (out: Record<string, unknown>, key: string, value: unknown): void => {
  if (key === "__proto__") Object.defineProperty(out, key, { value, enumerable: true, writable: true })
  else out[key] = value
}

const copyArray = (value: ReadonlyArray<unknown>, depth: number, walk: Walk): unknown => {
  const length = arrayLength(value)
  walk.left -= length
  if (walk.left < 0) return notJson
  const out = new Array<unknown>(length)
  for (let i = 0; i < length; i++) {
    const raw = value[i]
    const part = raw === undefined ? null : copy(raw, depth + 1, walk)
    if (part === notJson) return notJson
    out[i] = part
  }
  return walk.freeze ? Object.freeze(out) : out
}

const copyFields = (value: object, depth: number, walk: Walk): unknown => {
  const fields = fieldsOf(value)
  const keys = Object.keys(value)
  walk.left -= keys.length
  if (walk.left < 0) return notJson
  const out: Record<string, unknown> = {}
  let empty = true
  let hidden = false
  for (const key of keys) {
    const raw = fields[key]
    if (raw === undefined) continue
    if (typeof raw === "function" || typeof raw === "symbol") {
      hidden = true
      continue
    }
    const part = copy(raw, depth + 1, walk)
    if (part === notJson) return notJson
    empty = false
    put(out, key, part)
  }
  if (empty && !walk.exact && (hidden || kindOf(value) !== undefined)) return told(value)
  return walk.freeze ? Object.freeze(out) : out
}

const copy = (value: unknown, depth: number, walk: Walk): unknown => {
  switch (typeof value) {
    case "string":
    case "boolean":
      return value
    case "number":
      return Number.isFinite(value) ? value : notJson
    case "object": {
      if (value === null) return null
      if (depth > maxDepth || --walk.left < 0) return notJson
      if (isBytes(value)) return walk.exact ? notJson : told(value)
      const { toJSON } = fieldsOf(value)
      if (typeof toJSON === "function") return copy(Reflect.apply(toJSON, value, []), depth + 1, walk)
      if (value instanceof Error) return notJson
      if (Array.isArray(value)) return copyArray(value, depth, walk)
      if (value instanceof Map || value instanceof Set) return notJson
      if (value instanceof Promise) return walk.exact ? notJson : told(value)
      return value instanceof String ? String.prototype.valueOf.call(value) : copyFields(value, depth, walk)
    }
    default:
      return notJson
  }
}

/** A copy as JSON has it, or `notJson`. */
const copyOf = (value: unknown, how: Omit<Walk, "left">): unknown =>
  guarded(
    () => copy(value, 0, { left: maxValues, ...how }),
    // a getter or a toJSON that throws
    () => notJson
  )

const readable = { exact: false, freeze: false }
const exact = { exact: true, freeze: false }
const forGood = { exact: true, freeze: true }

/** A copy of records and arrays; what is in them and is neither stays what it is. */
export const copyPlain = (value: unknown, depth = 0): unknown => {
  if (typeof value !== "object" || value === null || depth > maxDepth) return value
  if (Array.isArray(value)) return value.map((part) => copyPlain(part, depth + 1))
  const prototype = Object.getPrototypeOf(value)
  if (prototype !== Object.prototype && prototype !== null) return value
  const out: Record<string, unknown> = {}
  for (const key of Object.keys(value)) put(out, key, copyPlain(fieldsOf(value)[key], depth + 1))
  return out
}

/** The same, or nothing: bytes, maps and the like are no JSON. */
export const plainJson = (value: unknown): unknown => {
  const json = copyOf(value, exact)
  return json === notJson ? undefined : json
}

/** A copy of a value as JSON has it; what JSON cannot carry becomes text. */
export const toJson = (value: unknown): unknown => {
  if (typeof value === "string") return value
  const json = copyOf(value, readable)
  return json === notJson ? toText(value) : json
}

// --------------------------------------------------------------------------------------------------------------- text

/** How much of a value is shown as text. */
interface Sight {
  /** values */
  left: number
  /** characters of strings */
  room: number
  /** the objects that the one at hand is in */
  readonly open: Set<unknown>
}

const maxShown = 1_000
const unshowable = "(a value that cannot be shown)"

/** Text for what JSON cannot carry. It reads the value with care, shows no code and no end of parts, and never throws. */
export const toText = (value: unknown): string =>
  guarded(
    () => {
      if (typeof value === "string") return value
      if (value instanceof Error) {
        const { message } = value
        if (typeof message === "string") return message
      }
      const shown = show(value, 0, { left: 50_000, room: 2 ** 24, open: new Set() })
      return typeof shown === "string" ? shown : JSON.stringify(shown)
    },
    () => unshowable
  )

/** To write down a larger one takes time without an end. */
const largest = 10n ** 1_000n

const show = (part: unknown, depth: number, sight: Sight): unknown => {
  switch (typeof part) {
    case "string": {
      const kept = clip(part, Math.max(0, sight.room), "…")
      sight.room -= kept.length
      return kept
    }
    case "boolean":
      return part
    case "number":
      return Number.isFinite(part) && depth > 0 ? part : String(part)
    case "bigint":
      return part > largest || part < -largest ? "(a bigint of more than 1000 digits)" : String(part)
    case "function":
      return "(a function)"
    case "object":
      break
    default:
      return String(part)
  }
  if (part === null) return null
  if (depth > 16 || sight.open.has(part) || --sight.left < 0) return "…"
  sight.open.add(part)
  const out = guarded(
    () => showParts(part, depth + 1, sight),
    () => unshowable
  )
  sight.open.delete(part)
  return out
}

/** In place of the parts that are not shown. */
const rest = (part: object): string => `… ${told(part)}`

const showAll = (part: object, all: Iterable<unknown>, depth: number, sight: Sight): unknown => {
  const shown: Array<unknown> = []
  for (const inner of all) {
    if (shown.length === maxShown || --sight.left < 0) {
      shown.push(rest(part))
      break
    }
    shown.push(show(inner ?? null, depth, sight))
  }
  return shown
}

function* elements(part: ReadonlyArray<unknown>): Iterable<unknown> {
  const length = arrayLength(part)
  for (let i = 0; i < length; i++) yield part[i]
}

const showParts = (part: object, depth: number, sight: Sight): unknown => {
  if (isBytes(part)) return told(part)
  const fields = fieldsOf(part)
  const { toJSON } = fields
  if (typeof toJSON === "function") return show(Reflect.apply(toJSON, part, []), depth, sight)
  if (part instanceof Error) return show(part.message, depth, sight)
  if (part instanceof Map || part instanceof Set) return showAll(part, part, depth, sight)
  if (Array.isArray(part)) return showAll(part, elements(part), depth, sight)
  if (part instanceof Promise) return told(part)
  if (part instanceof String) return show(String.prototype.valueOf.call(part), depth, sight)
  const shown: Array<readonly [string, unknown]> = []
  let hidden = false
  for (const key of Object.keys(part)) {
    if (shown.length === maxShown || sight.left < 0) {
      shown.push(["…", "…"])
      break
    }
    sight.left--
    const inner = guarded(
      () => fields[key],
      () => unshowable
    )
    if (inner === undefined) continue
    if (typeof inner === "function" || typeof inner === "symbol") hidden = true
    else shown.push([key, show(inner, depth, sight)])
  }
  if (shown.length === 0 && (hidden || kindOf(part) !== undefined)) return told(part)
  return Object.fromEntries(shown)
}

// ------------------------------------------------------------------------------------------------------------- bounds

/** How many characters the text of a JSON value has, each of those in a string counted by `of`. */
const measure = (json: unknown, of: (text: string) => number): number => {
  if (typeof json === "string") return of(json)
  if (typeof json !== "object" || json === null) return String(json).length
  let length = 2
  if (Array.isArray(json)) {
    for (const part of json) length += measure(part, of) + 1
    return json.length === 0 ? length : length - 1
  }
  const fields = fieldsOf(json)
  const keys = Object.keys(json)
  for (const key of keys) length += of(key) + measure(fields[key], of) + 2
  return keys.length === 0 ? length : length - 1
}

const atMost = (text: string): number => text.length * 6 + 2

/** The length of a string in JSON, without the string in JSON: that may be longer than a string can be. */
const quoted = (text: string): number => {
  let length = text.length + 2
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    if (unit < 0x20) length += unit >= 0x08 && unit <= 0x0d && unit !== 0x0b ? 1 : 5
    else if (unit === 0x22 || unit === 0x5c) length++
    else if (unit >= 0xd800 && unit <= 0xdfff) {
      const next = text.charCodeAt(i + 1)
      if (unit <= 0xdbff && next >= 0xdc00 && next <= 0xdfff) i++
      else length += 5
    }
  }
  return length
}

/** A string that a value has a thousand times is counted once. */
const exactly = (): ((text: string) => number) => {
  const known = new Map<string, number>()
  return (text) => {
    const length = known.get(text) ?? quoted(text)
    if (text.length > 256) known.set(text, length)
    return length
  }
}

/** The beginning of the text of a JSON value, at least so many characters if it has them. */
const beginning = (json: unknown, length: number): string => {
  let out = ""
  const add = (part: unknown): void => {
    if (out.length >= length) return
    if (typeof part !== "object" || part === null) {
      out += JSON.stringify(typeof part === "string" ? clip(part, length) : part)
      return
    }
    let mark = Array.isArray(part) ? "[" : "{"
    const keys = Array.isArray(part) ? undefined : Object.keys(part)
    const count = keys?.length ?? (part as ReadonlyArray<unknown>).length
    for (let i = 0; i < count && out.length < length; i++) {
      out += mark
      mark = ","
      const key = keys?.[i] ?? String(i)
      if (keys !== undefined) out += `${JSON.stringify(clip(key, length))}:`
      add(fieldsOf(part)[key])
    }
    if (count === 0) out += mark
    out += keys === undefined ? "]" : "}"
  }
  add(json)
  return out
}

interface Bounded {
  readonly value: unknown
  /** how many characters it had, if it was cut */
  readonly cut: number | undefined
}

/**
 * A JSON value of at most so many characters: a longer string is cut, and a longer value of another kind becomes its
 * text, which is cut. What follows the text says how much is missing (rule U4).
 */
export const bounded = (json: unknown, length: number): Bounded => {
  const isText = typeof json === "string"
  if (isText ? json.length <= length : measure(json, atMost) <= length) return { value: json, cut: undefined }
  const all = isText ? json.length : measure(json, exactly())
  if (all <= length) return { value: json, cut: undefined }
  const kept = clip(isText ? json : beginning(json, length), length)
  return { value: `${kept}\n[Cut here: ${all - kept.length} more characters are missing.]`, cut: all }
}

// --------------------------------------------------------------------------------------------------- canonical texts

const write = (value: unknown): string => {
  if (Array.isArray(value)) return `[${value.map(write).join(",")}]`
  if (typeof value === "object" && value !== null) {
    const fields = fieldsOf(value)
    const keys = Object.keys(value).sort()
    return `{${keys.map((key) => `${JSON.stringify(key)}:${write(fields[key])}`).join(",")}}`
  }
  return JSON.stringify(value)
}

/** Canonical text of a value: keys sorted, arrays in order. None if it is no JSON: two such values cannot be told apart. */
export const canonical = (value: unknown): string | undefined => {
  const json = copyOf(value, exact)
  return json === notJson ? undefined : write(json)
}

// ---------------------------------------------------------------------------------------------------------- arguments

/**
 * Arguments as a model sent them, as a copy that nobody can change: listeners, templates and whoever reads the history
 * get it as it is (rule T3). None if they are no JSON, or are nested so deeply that no request with them could be written.
 */
export const plainArguments = (value: Record<string, unknown>): Record<string, unknown> | undefined => {
  const json = copyOf(value, forGood)
  return isRecord(json) ? json : undefined
}

const hasProto = (value: unknown): boolean => {
  if (typeof value !== "object" || value === null) return false
  if (Array.isArray(value)) return value.some(hasProto)
  const fields = fieldsOf(value)
  for (const key of Object.keys(value)) if (key === "__proto__" || hasProto(fields[key])) return true
  return false
}

/** A copy of a JSON value, wherever `__proto__` is a key in it without that. */
export const leaveOutProto = (value: unknown): unknown => {
  if (typeof value !== "object" || value === null) return value
  if (Array.isArray(value)) return value.map(leaveOutProto)
  const kept = Object.entries(value).filter(([key]) => key !== "__proto__")
  return Object.fromEntries(kept.map(([key, inner]) => [key, leaveOutProto(inner)]))
}

/** A schema that copies the key `__proto__` gives its result another prototype: no handler is to see what that grants. */
export const withoutProto = (args: Record<string, unknown>): Record<string, unknown> =>
  hasProto(args) ? (leaveOutProto(args) as Record<string, unknown>) : args
