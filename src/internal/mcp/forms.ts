/**
 * The form of a server's question as a schema of Effect: a flat object of texts, numbers, truth values and choices. So what
 * a model completes it with is checked before the server gets it (rule J6).
 */
import * as Schema from "effect/Schema"
import { isRecord } from "../values/record.js"

type Json = Readonly<Record<string, unknown>>

const textsIn = (value: unknown): ReadonlyArray<string> | undefined => {
  const texts = Array.isArray(value) ? value.filter((one) => typeof one === "string") : []
  return texts.length === 0 ? undefined : texts
}

/** The values that may be chosen, and what they are called. */
const choicesOf = (json: Json): { readonly values: ReadonlyArray<string>; readonly told: string } | undefined => {
  const listed = textsIn(json.enum)
  if (listed !== undefined) {
    const names = textsIn(json.enumNames)
    return {
      values: listed,
      told: names === undefined ? "" : listed.map((one, i) => `${one}: ${names[i] ?? one}`).join("; ")
    }
  }
  const options = [json.oneOf, json.anyOf].find(Array.isArray)?.filter(isRecord) ?? []
  const values = textsIn(options.map((option) => option.const))
  if (values === undefined) return undefined
  return { values, told: options.map((option) => `${option.const}: ${option.title ?? option.const}`).join("; ") }
}

const choice = (values: ReadonlyArray<string>): Schema.Schema<any, any> => Schema.Literal(...values)

const bounds = (json: Json, least: string, most: string): readonly [number | undefined, number | undefined] => [
  typeof json[least] === "number" ? json[least] : undefined,
  typeof json[most] === "number" ? json[most] : undefined
]

const plainOf = (json: Json): Schema.Schema<any, any> => {
  switch (json.type) {
    case "boolean":
      return Schema.Boolean
    case "integer":
    case "number": {
      const [least, most] = bounds(json, "minimum", "maximum")
      let number: Schema.Schema<number> = json.type === "integer" ? Schema.Int : Schema.Number
      if (least !== undefined) number = number.pipe(Schema.greaterThanOrEqualTo(least))
      if (most !== undefined) number = number.pipe(Schema.lessThanOrEqualTo(most))
      return number
    }
    default: {
      const [least, most] = bounds(json, "minLength", "maxLength")
      let text: Schema.Schema<string> = Schema.String
      if (least !== undefined) text = text.pipe(Schema.minLength(least))
      if (most !== undefined) text = text.pipe(Schema.maxLength(most))
      return text
    }
  }
}

const fieldOf = (json: Json): Schema.Schema<any, any> => {
  const items = json.type === "array" && isRecord(json.items) ? json.items : undefined
  const choices = choicesOf(items ?? json)
  const one = choices === undefined ? plainOf(items ?? json) : choice(choices.values)
  const [least, most] = bounds(json, "minItems", "maxItems")
  let field = one
  if (items !== undefined) {
    let list: Schema.Schema<ReadonlyArray<any>, any> = Schema.Array(one)
    if (least !== undefined) list = list.pipe(Schema.minItems(least))
    if (most !== undefined) list = list.pipe(Schema.maxItems(most))
    field = list
  }
  const said = [
    json.title,
    json.description,
    json.format,
    choices?.told,
    "default" in json ? `default: ${JSON.stringify(json.default)}` : ""
  ]
  const description = said.filter((part) => typeof part === "string" && part !== "").join(". ")
  return description === "" ? field : field.annotations({ description })
}

/** Any object, if nothing is known of it. */
export const schemaOf = (form: object | undefined): Schema.Schema<any, any> => {
  const { properties, required } = (form ?? {}) as Json
  const needed = textsIn(required) ?? []
  return Schema.Struct(
    Object.fromEntries(
      Object.entries(isRecord(properties) ? properties : {}).map(([name, json]) => {
        const field = fieldOf(isRecord(json) ? json : {})
        return [name, needed.includes(name) ? field : Schema.optional(field)]
      })
    )
  )
}
