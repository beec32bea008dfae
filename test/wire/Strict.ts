/**
 * Does a JSON Schema keep the rules of strict mode? See "Supported schemas" in `FORMATS.md`.
 */

/** Keywords that strict mode takes; all others are refused. */
const known = new Set([
  "type",
  "properties",
  "required",
  "additionalProperties",
  "items",
  "enum",
  "const",
  "anyOf",
  "$ref",
  "$defs",
  "definitions",
  "description",
  "title",
  "$schema",
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

const at = (path: ReadonlyArray<string>): string => `In context=(${path.map((part) => `'${part}'`).join(", ")})`

const walk = (schema: any, path: ReadonlyArray<string>): string | undefined => {
  if (typeof schema !== "object" || schema === null) return `${at(path)}, schema must be an object.`
  for (const keyword of Object.keys(schema)) {
    if (!known.has(keyword)) return `${at(path)}, '${keyword}' is not permitted.`
  }
  if (!["type", "enum", "const", "anyOf", "$ref"].some((keyword) => keyword in schema)) {
    return `${at(path)}, schema must have a 'type' key.`
  }
  if (schema.format !== undefined && !formats.has(schema.format)) {
    return `${at(path)}, '${schema.format}' is not a valid format.`
  }
  if (schema.type === "object" || (Array.isArray(schema.type) && schema.type.includes("object"))) {
    const names = Object.keys(schema.properties ?? {})
    if (schema.additionalProperties !== false) {
      return `${at(path)}, 'additionalProperties' is required to be supplied and to be false.`
    }
    const required: ReadonlyArray<string> = schema.required ?? []
    const missing = names.find((name) => !required.includes(name))
    if (missing !== undefined || !Array.isArray(schema.required)) {
      return `${at(path)}, 'required' is required to be supplied and to be an array including every key in properties.${missing === undefined ? "" : ` Missing '${missing}'.`}`
    }
    const extra = required.find((name) => !names.includes(name))
    if (extra !== undefined) return `${at(path)}, extra required key '${extra}' supplied.`
    for (const name of names) {
      const found = walk(schema.properties[name], [...path, "properties", name])
      if (found !== undefined) return found
    }
  }
  if (schema.type === "array") {
    const found =
      schema.items === undefined ? `${at(path)}, array schema missing items.` : walk(schema.items, [...path, "items"])
    if (found !== undefined) return found
  }
  for (const [i, option] of (schema.anyOf ?? []).entries()) {
    const found = walk(option, [...path, "anyOf", String(i)])
    if (found !== undefined) return found
  }
  for (const keyword of ["$defs", "definitions"]) {
    for (const [name, definition] of Object.entries(schema[keyword] ?? {})) {
      const found = walk(definition, [...path, keyword, name])
      if (found !== undefined) return found
    }
  }
  return undefined
}

/** What of the schema strict mode refuses, in words like the provider's. */
export const problem = (schema: any): string | undefined => {
  if (schema?.type !== "object")
    return `schema must be a JSON Schema of 'type: "object"', got 'type: "${schema?.type}"'.`
  if (schema.anyOf !== undefined) return `${at([])}, 'anyOf' is not permitted at the top level.`
  return walk(schema, [])
}
