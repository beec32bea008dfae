/**
 * Values that a handler stores, as JSON: through a schema, or as they are, if JSON carries them unchanged (rule Q10).
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { Kept } from "../machine/durable.js"
import { suspended } from "./guarded.js"
import { copyPlain, isRecord } from "./json.js"

type AnySchema = Schema.Schema<any, any, any>

/** Does JSON carry it unchanged? What is left out of an object may as well be undefined. */
const survives = (value: unknown, read: unknown): boolean => {
  if (value === null || typeof value !== "object") return value === read
  if (Array.isArray(value)) {
    return Array.isArray(read) && value.length === read.length && value.every((one, i) => survives(one, read[i]))
  }
  const prototype = Object.getPrototypeOf(value)
  if (!isRecord(value) || !isRecord(read) || (prototype !== Object.prototype && prototype !== null)) return false
  if (Object.getOwnPropertySymbols(value).length > 0) return false
  const names = Object.keys(value)
  return names.every((name) =>
    value[name] === undefined ? !Object.hasOwn(read, name) : survives(value[name], read[name])
  )
}

/** None: JSON does not carry it. */
const asJson = (value: unknown): Kept | undefined => {
  if (value === undefined) return {}
  try {
    const text = JSON.stringify(value) as string | undefined
    if (text === undefined) return undefined
    const read: unknown = JSON.parse(text)
    return survives(value, read) ? { value: read } : undefined
  } catch {
    // a bigint, a circle, or a `toJSON` that throws
    return undefined
  }
}

const noJson = (what: string, schema: AnySchema | undefined): Effect.Effect<never> =>
  Effect.dieMessage(
    schema === undefined
      ? `The value of ${what} cannot be stored: JSON does not carry it unchanged. Give a schema: { success: … }.`
      : `The value of ${what} cannot be stored: its schema does not encode it as JSON.`
  )

/** `what`: names it in the defect of a value that cannot be stored. */
export const keep = (what: string, value: unknown, schema: AnySchema | undefined): Effect.Effect<Kept, never, any> => {
  if (schema === undefined) {
    const kept = asJson(value)
    return kept === undefined ? noJson(what, schema) : Effect.succeed(kept)
  }
  return suspended(() => Schema.encode(schema)(value)).pipe(
    Effect.mapError((error) => new Error(`The value of ${what} cannot be stored: ${String(error)}`)),
    Effect.orDie,
    Effect.flatMap((encoded) => {
      const kept = asJson(encoded)
      return kept === undefined ? noJson(what, schema) : Effect.succeed(kept)
    })
  )
}

/** What was kept, as the handler had it. */
export const given = (what: string, kept: Kept, schema: AnySchema | undefined): Effect.Effect<any, never, any> => {
  const value = copyPlain(kept.value)
  if (schema === undefined) return Effect.succeed(value)
  return suspended(() => Schema.decodeUnknown(schema)(value)).pipe(
    Effect.mapError(
      (error) => new Error(`What is stored of ${what} does not fit its schema any more: ${String(error)}`)
    ),
    Effect.orDie
  )
}

/** Short, and different for different values: to know whether an update is the one that was told. */
export const digestOf = (value: unknown): string => {
  const text = JSON.stringify(value) ?? ""
  let one = 0x811c9dc5
  let other = 0x9e3779b9
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    one = Math.imul(one ^ code, 0x01000193)
    other = Math.imul(other ^ code, 0x85ebca6b) + i
  }
  return `${text.length}.${(one >>> 0).toString(36)}.${(other >>> 0).toString(36)}`
}
