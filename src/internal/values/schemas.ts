/**
 * JSON Schemas of parameters: what strict mode takes, what a provider cannot take at all, and null for what is optional.
 */
import { isRecord } from "./record.js"

type Json = Record<string, any>

const definitionOf = (root: Json, ref: unknown): Json | undefined => {
  const name = typeof ref === "string" ? /^#\/\$defs\/(.+)$/.exec(ref)?.[1] : undefined
  if (name === undefined) return undefined
  const found = root.$defs?.[decodeURIComponent(name).replaceAll("~1", "/").replaceAll("~0", "~")]
  return isRecord(found) ? found : undefined
}

const requiredIn = ({ required }: Json): ReadonlyArray<string> => (Array.isArray(required) ? required : [])

const nullSchema = { type: "null" }

/** Does the schema take null? */
const takesNull = (root: Json, schema: Json): boolean => {
  if (!isRecord(schema)) return true
  if (schema.$ref !== undefined) {
    const definition = definitionOf(root, schema.$ref)
    return definition === undefined || takesNull(root, definition)
  }
  if (Array.isArray(schema.anyOf)) return schema.anyOf.some((option: Json) => takesNull(root, option))
  if (Array.isArray(schema.oneOf)) return schema.oneOf.some((option: Json) => takesNull(root, option))
  if (Array.isArray(schema.enum)) return schema.enum.includes(null)
  if (Array.isArray(schema.type)) return schema.type.includes("null")
  return schema.type === undefined ? !("not" in schema) : schema.type === "null"
}

// --------------------------------------------------------------------------------------------------------- strict mode

/** What strict mode knows besides the structure; other keywords are left out, and the tool's own schema still decides. */
const kept = new Set([
  "type",
  "enum",
  "const",
  "description",
  "title",
  "$ref",
  "pattern",
  "format",
  "multipleOf",
  "maximum",
  "exclusiveMaximum",
  "minimum",
  "exclusiveMinimum",
  "minItems",
  "maxItems"
])

const formats = new Set(["date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"])

class NotStrict {
  constructor(readonly problem: string) {}
}

const at = (path: ReadonlyArray<string>): string => (path.length === 0 ? "they are" : `"${path.join(".")}" is`)

const strictPart = (root: Json, schema: Json, path: ReadonlyArray<string>): Json => {
  // true and false are schemas, too
  if (!isRecord(schema as unknown)) throw new NotStrict(`${at(path)} of any type`)
  if (Array.isArray(schema.type) && schema.type.some((type: unknown) => type === "object" || type === "array")) {
    const { description, type: types, ...rest } = schema
    return strictPart(
      root,
      {
        ...(description === undefined ? {} : { description }),
        anyOf: types.map((type: unknown) => ({ ...rest, type }))
      },
      path
    )
  }
  if (schema.$ref !== undefined && schema.$ref !== "#" && definitionOf(root, schema.$ref) === undefined) {
    throw new NotStrict(`${at(path)} defined elsewhere`)
  }
  if (Array.isArray(schema.allOf)) {
    // refinements and annotations of one schema; what they narrow is decided by the tool's own schema
    const { allOf, ...rest } = schema
    return strictPart(root, Object.assign({}, ...allOf, rest), path)
  }
  const out: Json = {}
  for (const [keyword, value] of Object.entries(schema)) {
    if (!kept.has(keyword)) continue
    if (keyword === "format" && !formats.has(value)) continue
    // looking around is not supported
    if (keyword === "pattern" && typeof value === "string" && /\(\?[=!<]/.test(value)) continue
    out[keyword] = value
  }
  const options = schema.anyOf ?? schema.oneOf
  if (schema.$id === "/schemas/unknown" || schema.$id === "/schemas/any" || schema.$id === "/schemas/object") {
    throw new NotStrict(`${at(path)} of any type`)
  }
  if (Array.isArray(options)) {
    out.anyOf = options.map((option: Json) => strictPart(root, option, path))
    return out
  }
  if (schema.type === "object") {
    const open = schema.additionalProperties
    if ((open !== undefined && open !== false) || schema.patternProperties !== undefined) {
      throw new NotStrict(`${at(path)} a record, with keys that are not known`)
    }
    const properties: Json = isRecord(schema.properties) ? schema.properties : {}
    const required = requiredIn(schema)
    out.properties = {}
    for (const [name, property] of Object.entries(properties) as Array<[string, Json]>) {
      const strict = strictPart(root, property, [...path, name])
      out.properties[name] =
        required.includes(name) || takesNull(root, property)
          ? strict
          : {
              anyOf: [strict, nullSchema],
              ...(property.description === undefined ? {} : { description: property.description })
            }
    }
    out.required = Object.keys(properties)
    out.additionalProperties = false
    return out
  }
  if (schema.type === "array") {
    if (!isRecord(schema.items)) throw new NotStrict(`${at(path)} a tuple`)
    out.items = strictPart(root, schema.items, [...path, "[]"])
    return out
  }
  if (!["type", "enum", "const", "$ref"].some((keyword) => keyword in out)) {
    throw new NotStrict(`${at(path)} of any type`)
  }
  return out
}

/**
 * The same parameters for strict mode: every property is required, and null stands for one that is left out. Where
 * that is so already the schema is returned as it is; a string says why there is none.
 */
export const strict = (schema: Json): Json | string => {
  try {
    const out = strictPart(schema, schema, [])
    if (schema.$defs !== undefined) {
      out.$defs = Object.fromEntries(
        Object.entries(schema.$defs as Json).map(([name, definition]) => [name, strictPart(schema, definition, [name])])
      )
    }
    return sameJson(out, schema) ? schema : out
  } catch (error) {
    if (error instanceof NotStrict) return error.problem
    throw error
  }
}

const sameJson = (a: unknown, b: unknown): boolean => {
  if (a === b) return true
  if (Array.isArray(a)) return Array.isArray(b) && a.length === b.length && a.every((item, i) => sameJson(item, b[i]))
  if (!isRecord(a) || !isRecord(b)) return false
  const keys = Object.keys(a)
  return keys.length === Object.keys(b).length && keys.every((key) => key in b && sameJson(a[key], b[key]))
}

/** Does it refer to a definition, as recursive schemas do? */
export const hasReference = (schema: unknown): boolean =>
  Array.isArray(schema)
    ? schema.some(hasReference)
    : isRecord(schema) && ("$ref" in schema || Object.values(schema).some(hasReference))

// ------------------------------------------------------------------------------------------------- null for an optional

type Prepare = (value: unknown) => unknown

const prepareOf = (root: Json, schema: Json, seen: ReadonlyArray<unknown>): Prepare | undefined => {
  if (!isRecord(schema)) return undefined
  if (schema.$ref !== undefined) {
    const definition = definitionOf(root, schema.$ref)
    if (definition === undefined) return undefined
    // a recursive schema: its preparation is looked up when it is needed
    if (seen.includes(definition)) return (value) => prepareOf(root, definition, [])?.(value) ?? value
    return prepareOf(root, definition, [...seen, definition])
  }
  if (Array.isArray(schema.anyOf)) {
    const options = schema.anyOf.filter((option: Json) => option?.type !== "null")
    return options.length === 1 ? prepareOf(root, options[0], seen) : undefined
  }
  if (schema.type === "array" && isRecord(schema.items)) {
    const item = prepareOf(root, schema.items, seen)
    return item === undefined ? undefined : (value) => (Array.isArray(value) ? value.map(item) : value)
  }
  if (schema.type !== "object" || !isRecord(schema.properties)) return undefined
  const required = requiredIn(schema)
  const left = new Set<string>()
  const inner = new Map<string, Prepare>()
  for (const [name, property] of Object.entries(schema.properties) as Array<[string, Json]>) {
    if (!required.includes(name) && !takesNull(root, property)) left.add(name)
    const prepare = prepareOf(root, property, seen)
    if (prepare !== undefined) inner.set(name, prepare)
  }
  if (left.size === 0 && inner.size === 0) return undefined
  return (value) => {
    if (!isRecord(value)) return value
    const out: Record<string, unknown> = {}
    for (const [name, part] of Object.entries(value)) {
      if (part === null && left.has(name)) continue
      out[name] = inner.get(name)?.(part) ?? part
    }
    return out
  }
}

/** Leaves out null if a property is optional and does not take it; `undefined` if there is nothing to do. */
export const withoutNulls = (
  schema: Json
): ((args: Record<string, unknown>) => Record<string, unknown>) | undefined => {
  const prepare = prepareOf(schema, schema, [])
  // it makes a record of a record
  return prepare === undefined ? undefined : (args) => prepare(args) as Record<string, unknown>
}
