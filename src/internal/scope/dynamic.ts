/**
 * Tools whose parameters are given as a JSON Schema (rule B7): it is shown to the model as it is, and nothing is decoded.
 */
import type * as Tool from "@effect/ai/Tool"
import * as Schema from "effect/Schema"
import { guarded } from "../values/guarded.js"
import { plainJson } from "../values/json.js"
import { isRecord } from "../values/record.js"
import { withoutNulls } from "../values/schemas.js"
import type { BoundTool } from "./tool.js"

export type Parameters = Schema.Struct<Record<string, typeof Schema.Unknown>>

const given = Symbol.for("effect-meantime/internal/JsonSchema")

/** Read once: who gave it may change it, and it may be anything. None if it is no JSON object. */
export const read = (jsonSchema: unknown): Record<string, unknown> | undefined =>
  guarded(
    () => {
      // a Schema of Effect is a function, and one of another library has a key of this name
      const json = isRecord(jsonSchema) && !("~standard" in jsonSchema) ? plainJson(jsonSchema) : undefined
      return isRecord(json) ? json : undefined
    },
    () => undefined
  )

/** Any object, with all that it has. */
export const parameters = (jsonSchema: Record<string, unknown>): Parameters =>
  // a struct whose fields are not known when the program is compiled
  Schema.Struct({}, Schema.Record({ key: Schema.String, value: Schema.Unknown })).annotations({
    jsonSchema,
    [given]: jsonSchema
  }) as unknown as Parameters

/** The JSON Schema that the tool was made of, if it was made of one. */
export const givenOf = (tool: Tool.Any): Record<string, any> | undefined =>
  tool.parametersSchema?.ast?.annotations[given] as Record<string, any> | undefined

/**
 * The tool for a model that was shown its strict form, where null stands for what is left out: the handler gets what the
 * given schema knows. What it knows of no null gets none else, as it was sent.
 */
export const inStrictForm = (bound: BoundTool): BoundTool => {
  const schema = givenOf(bound.tool)
  if (schema === undefined) return bound
  const prepare = withoutNulls(schema)
  return prepare === undefined ? bound : { ...bound, ownArguments: (args) => prepare(bound.ownArguments(args)) }
}
