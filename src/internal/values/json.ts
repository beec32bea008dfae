/**
 * JSON values: what the history may hold, and a canonical text by which arguments are compared.
 */
const maxDepth = 256

/** More values than this are no message to a model. It also ends the walk through an object that repeats its parts. */
const maxValues = 250_000

const notJson = Symbol()

/** An object as what it has under its names. TypeScript knows nothing of an `object`, and a read is safe with any. */
const fieldsOf = (value: object): Readonly<Record<string, unknown>> => value as Readonly<Record<string, unknown>>

/** how many values the walk under way may still look at */
let left = 0

const copy = (value: unknown, depth: number): unknown => {
  switch (typeof value) {
    case "string":
    case "boolean":
      return value
    case "number":
      return Number.isFinite(value) ? value : notJson
    case "object": {
      if (value === null) return null
      if (depth > maxDepth || --left < 0) return notJson
      const fields = fieldsOf(value)
      const { toJSON } = fields
      if (typeof toJSON === "function") return copy(Reflect.apply(toJSON, value, []), depth + 1)
      if (value instanceof Error) return notJson
      if (Array.isArray(value)) {
        left -= value.length
        if (left < 0) return notJson
        const out = new Array<unknown>(value.length)
        for (let i = 0; i < value.length; i++) {
          const part = value[i] === undefined ? null : copy(value[i], depth + 1)
          if (part === notJson) return notJson
          out[i] = part
        }
        return out
      }
      if (value instanceof Map || value instanceof Set || ArrayBuffer.isView(value) || value instanceof Promise) {
        return notJson
      }
      const out: Record<string, unknown> = {}
      for (const key of Object.keys(value)) {
        const raw = fields[key]
        if (raw === undefined || typeof raw === "function" || typeof raw === "symbol") continue
        const part = copy(raw, depth + 1)
        if (part === notJson) return notJson
        if (key === "__proto__") Object.defineProperty(out, key, { value: part, enumerable: true, writable: true })
        else out[key] = part
      }
      return out
    }
    default:
      return notJson
  }
}

/** A copy as JSON has it, or `notJson`. */
const copyOf = (value: unknown): unknown => {
  left = maxValues
  try {
    return copy(value, 0)
  } catch {
    // a getter or a toJSON that throws
    return notJson
  }
}

/** A copy of records and arrays; what is in them and is neither stays what it is. */
export const copyPlain = (value: unknown, depth = 0): unknown => {
  if (typeof value !== "object" || value === null || depth > maxDepth) return value
  if (Array.isArray(value)) return value.map((part) => copyPlain(part, depth + 1))
  const prototype = Object.getPrototypeOf(value)
  if (prototype !== Object.prototype && prototype !== null) return value
  const out: Record<string, unknown> = {}
  for (const key of Object.keys(value)) {
    const part = copyPlain((value as Record<string, unknown>)[key], depth + 1)
    if (key === "__proto__") Object.defineProperty(out, key, { value: part, enumerable: true, writable: true })
    else out[key] = part
  }
  return out
}

/** A copy of a value as JSON has it; what JSON cannot carry becomes text. */
export const toJson = (value: unknown): unknown => {
  if (typeof value === "string") return value
  const json = copyOf(value)
  return json === notJson ? toText(value) : json
}

/** Text for what JSON cannot carry. It reads the value with care, shows no code and no end of parts, and never throws. */
export const toText = (value: unknown): string => {
  try {
    if (typeof value === "function") return "(a function)"
    if (value instanceof Error) return messageOf(value)
    if (typeof value !== "object" || value === null) return String(value)
    left = 10_000
    return JSON.stringify(show(value, 0, new Set()))
  } catch {
    return "(a value that cannot be shown)"
  }
}

/** An error's message is a text, unless somebody made it something else. */
const messageOf = ({ message }: Error): string => (typeof message === "string" ? message : toText(message))

const maxShown = 1_000

const show = (part: unknown, depth: number, open: Set<unknown>): unknown => {
  if (typeof part !== "object" || part === null) {
    if (typeof part === "function") return "(a function)"
    if (typeof part === "number" && Number.isFinite(part)) return part
    return typeof part === "string" || typeof part === "boolean" || part === null ? part : String(part)
  }
  if (part instanceof Error) return messageOf(part)
  if (depth > 16 || open.has(part) || --left < 0) return "…"
  open.add(part)
  const out = showParts(part, depth + 1, open)
  open.delete(part)
  return out
}

const showParts = (part: object, depth: number, open: Set<unknown>): unknown => {
  const { toJSON } = fieldsOf(part)
  if (typeof toJSON === "function") return show(Reflect.apply(toJSON, part, []), depth, open)
  if (part instanceof Map || part instanceof Set) return show(Array.from(part), depth, open)
  if (Array.isArray(part)) {
    const shown = part.slice(0, maxShown).map((inner) => show(inner ?? null, depth, open))
    return part.length > maxShown ? [...shown, "…"] : shown
  }
  const shown: Array<readonly [string, unknown]> = []
  for (const [key, inner] of Object.entries(part)) {
    if (inner === undefined || typeof inner === "function" || typeof inner === "symbol") continue
    if (shown.length === maxShown) {
      shown.push(["…", "…"])
      break
    }
    shown.push([key, show(inner, depth, open)])
  }
  return Object.fromEntries(shown)
}

const write = (value: unknown): string => {
  if (Array.isArray(value)) return `[${value.map(write).join(",")}]`
  if (typeof value === "object" && value !== null) {
    const fields = fieldsOf(value)
    const keys = Object.keys(value).sort()
    return `{${keys.map((key) => `${JSON.stringify(key)}:${write(fields[key])}`).join(",")}}`
  }
  return JSON.stringify(value)
}

/** Canonical text of a value: keys sorted, arrays in order. None where it is no JSON: two such cannot be told apart. */
export const canonical = (value: unknown): string | undefined => {
  const json = copyOf(value)
  return json === notJson ? undefined : write(json)
}

/** A plain JSON object, the only legal shape of arguments. */
export const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value)

// ---------------------------------------------------------------------------------------------------------- arguments

/**
 * Arguments as a model sent them, as a copy that is nobody else's; none if they are no JSON, or are nested so deeply that
 * no request with them could be written.
 */
export const plainArguments = (value: Record<string, unknown>): Record<string, unknown> | undefined => {
  const json = copyOf(value)
  return isRecord(json) ? json : undefined
}

const hasProto = (value: unknown): boolean => {
  if (typeof value !== "object" || value === null) return false
  if (Array.isArray(value)) return value.some(hasProto)
  const fields = fieldsOf(value)
  for (const key of Object.keys(value)) if (key === "__proto__" || hasProto(fields[key])) return true
  return false
}

const leaveOutProto = (value: unknown): unknown => {
  if (typeof value !== "object" || value === null) return value
  if (Array.isArray(value)) return value.map(leaveOutProto)
  const kept = Object.entries(value).filter(([key]) => key !== "__proto__")
  return Object.fromEntries(kept.map(([key, inner]) => [key, leaveOutProto(inner)]))
}

/** A schema that copies the key `__proto__` gives its result another prototype: no handler is to see what that grants. */
export const withoutProto = (args: Record<string, unknown>): Record<string, unknown> =>
  hasProto(args) ? (leaveOutProto(args) as Record<string, unknown>) : args
