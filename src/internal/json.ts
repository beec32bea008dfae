/**
 * JSON values: what the history may hold, and a canonical text by which arguments are compared.
 */
const maxDepth = 256

const notJson = Symbol()

const copy = (value: unknown, depth: number): unknown => {
  switch (typeof value) {
    case "string":
    case "boolean":
      return value
    case "number":
      return Number.isFinite(value) ? value : notJson
    case "object": {
      if (value === null) return null
      if (depth > maxDepth) return notJson
      if (typeof (value as any).toJSON === "function") return copy((value as any).toJSON(), depth + 1)
      if (value instanceof Error) return notJson
      if (Array.isArray(value)) {
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
        const raw = (value as any)[key]
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

/** A copy of a value as JSON has it; what JSON cannot carry becomes text. */
export const toJson = (value: unknown): unknown => {
  if (typeof value === "string") return value
  try {
    const json = copy(value, 0)
    if (json !== notJson) return json
  } catch {
    // a getter or a toJSON that throws: text, as for any other value that JSON cannot carry
  }
  return toText(value)
}

/** Text for what JSON cannot carry. It reads the value with care, and never throws. */
export const toText = (value: unknown): string => {
  try {
    if (value instanceof Error) return value.message
    if (typeof value !== "object" || value === null) return String(value)
    const shown = value instanceof Map || value instanceof Set ? Array.from(value) : value
    const open = new Set<unknown>()
    const show = (part: unknown, depth: number): unknown => {
      if (typeof part !== "object" || part === null) {
        return typeof part === "string" || typeof part === "boolean" || part === null ? part : String(part)
      }
      if (part instanceof Error) return part.message
      if (depth > 16 || open.has(part)) return "…"
      open.add(part)
      const out = Array.isArray(part)
        ? part.map((inner) => show(inner, depth + 1))
        : Object.fromEntries(Object.entries(part).map(([key, inner]) => [key, show(inner, depth + 1)]))
      open.delete(part)
      return out
    }
    return JSON.stringify(show(shown, 0))
  } catch {
    return "(a value that cannot be shown)"
  }
}

const write = (value: unknown, depth: number): string => {
  if (depth > maxDepth) throw new RangeError("nested too deeply")
  if (Array.isArray(value)) return `[${value.map((part) => write(part, depth + 1)).join(",")}]`
  if (typeof value === "object" && value !== null) {
    const keys = Object.keys(value)
      .filter((key) => (value as any)[key] !== undefined)
      .sort()
    return `{${keys.map((key) => `${JSON.stringify(key)}:${write((value as any)[key], depth + 1)}`).join(",")}}`
  }
  return JSON.stringify(value) ?? "null"
}

/** Canonical text of a value: keys sorted, arrays in order. */
export const canonical = (value: unknown): string => {
  try {
    const json = copy(value, 0)
    return json === notJson ? toText(value) : write(json, 0)
  } catch {
    return toText(value)
  }
}

/** A plain JSON object, the only legal shape of arguments. */
export const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value)
