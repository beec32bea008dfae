/**
 * A form for the arguments of a call, from the JSON Schema of its tool: what a person changes before they agree. Pure: texts
 * go in, arguments come out. What nobody touches stays as it was, whatever it is.
 */

export interface Field {
  /** empty: all of the arguments, of a tool whose schema has no fields */
  readonly name: string
  readonly kind: "text" | "number" | "flag" | "choice" | "json"
  readonly description: string | undefined
  readonly choices: ReadonlyArray<string>
  /** what an empty text stands for */
  readonly empty: "text" | "null" | "absent" | "missing"
  /** as it is shown at first */
  readonly text: string
}

export type Read =
  | { readonly _tag: "Arguments"; readonly arguments: unknown }
  | { readonly _tag: "Problems"; readonly problems: ReadonlyMap<string, string> }

type Json = Readonly<Record<string, unknown>>

const isObject = (value: unknown): value is Json => typeof value === "object" && value !== null && !Array.isArray(value)

const own = (value: unknown, name: string): unknown =>
  isObject(value) && Object.hasOwn(value, name) ? value[name] : undefined

/** The schema itself, of one that may be null or stands elsewhere. */
const plain = (schema: unknown, root: unknown): { readonly schema: Json; readonly nullable: boolean } => {
  if (!isObject(schema)) return { schema: {}, nullable: false }
  const { $ref, anyOf } = schema
  if (typeof $ref === "string") {
    const name = /^#\/(?:\$defs|definitions)\/(.+)$/.exec($ref)?.[1] ?? ""
    const found = own(own(root, "$defs") ?? own(root, "definitions"), name)
    // one that refers to another is more than a field can show
    return { schema: isObject(found) && found.$ref === undefined ? { ...found, ...schema } : {}, nullable: false }
  }
  if (!Array.isArray(anyOf)) return { schema, nullable: schema.type === "null" }
  const others = anyOf.filter((one) => own(one, "type") !== "null")
  return {
    schema: others.length === 1 && isObject(others[0]) ? { ...others[0], ...described(schema) } : {},
    nullable: others.length < anyOf.length
  }
}

const described = ({ description }: Json): Json => (description === undefined ? {} : { description })

const kindOf = ({ enum: choices, type }: Json): Field["kind"] => {
  if (Array.isArray(choices)) return choices.every((choice) => typeof choice === "string") ? "choice" : "json"
  switch (type) {
    case "string":
      return "text"
    case "number":
    case "integer":
      return "number"
    case "boolean":
      return "flag"
    default:
      return "json"
  }
}

const textOf = (kind: Field["kind"], value: unknown): string => {
  if (value === undefined || (value === null && kind !== "json")) return ""
  if (typeof value === "string" && kind !== "json") return value
  return JSON.stringify(value, undefined, 2) ?? ""
}

/** Whether a text of the field can say this value: a model may have sent what the schema takes in some other way. */
const fits = (kind: Field["kind"], choices: ReadonlyArray<string>, value: unknown): boolean => {
  if (value === undefined || value === null) return true
  switch (kind) {
    case "text":
      return typeof value === "string"
    case "number":
      return typeof value === "number"
    case "flag":
      return typeof value === "boolean"
    case "choice":
      return typeof value === "string" && choices.includes(value)
    case "json":
      return true
  }
}

export const fields = (schema: unknown, value: unknown): ReadonlyArray<Field> => {
  const properties = own(schema, "properties")
  if (!isObject(properties) || !isObject(value)) {
    return [
      { name: "", kind: "json", description: undefined, choices: [], empty: "missing", text: textOf("json", value) }
    ]
  }
  const required = own(schema, "required")
  return Object.entries(properties).map(([name, given]): Field => {
    const { nullable, schema: found } = plain(given, schema)
    const choices = Array.isArray(found.enum) ? found.enum.filter((choice) => typeof choice === "string") : []
    const known = kindOf(found)
    const kind = fits(known, choices, own(value, name)) ? known : "json"
    const needed = Array.isArray(required) && required.includes(name)
    return {
      name,
      kind,
      description: typeof found.description === "string" ? found.description : undefined,
      choices,
      empty: needed ? (nullable ? "null" : kind === "text" ? "text" : "missing") : "absent",
      text: textOf(kind, own(value, name))
    }
  })
}

const missing = "is missing"

/** What a text stands for, or what is wrong with it. */
const parse = (field: Field, text: string): { readonly value: unknown } | { readonly problem: string } => {
  if (text.trim() === "") {
    switch (field.empty) {
      case "text":
        return { value: text }
      case "null":
        return { value: null }
      case "absent":
        return { value: undefined }
      case "missing":
        return { problem: missing }
    }
  }
  switch (field.kind) {
    case "number":
      return Number.isFinite(Number(text)) ? { value: Number(text) } : { problem: "has to be a number" }
    case "flag":
      return { value: text === "true" }
    case "json":
      try {
        return { value: JSON.parse(text) as unknown }
      } catch {
        return { problem: "has to be JSON" }
      }
    default:
      return { value: text }
  }
}

/** The arguments, with what has been changed: texts by the names of their fields. */
export const read = (all: ReadonlyArray<Field>, changed: ReadonlyMap<string, string>, value: unknown): Read => {
  const problems = new Map<string, string>()
  const entries = new Map(isObject(value) ? Object.entries(value) : [])
  let whole = value
  for (const field of all) {
    const text = changed.get(field.name)
    if (text === undefined || text === field.text) continue
    const parsed = parse(field, text)
    if ("problem" in parsed) problems.set(field.name, parsed.problem)
    else if (field.name === "" && all.length === 1) whole = parsed.value
    else if (parsed.value === undefined) entries.delete(field.name)
    else entries.set(field.name, parsed.value)
  }
  if (problems.size > 0) return { _tag: "Problems", problems }
  return { _tag: "Arguments", arguments: whole === value && isObject(value) ? Object.fromEntries(entries) : whole }
}
