/**
 * Tools as a model is shown them.
 */
import * as Tool from "@effect/ai/Tool"
import * as Schema from "effect/Schema"
import { backgroundParameter, confirmParameter } from "../machine/texts.js"
import { wireValue } from "../model/wire.js"
import { isRecord } from "../values/json.js"
import { strict } from "../values/schemas.js"
import { isBlank, wellFormed } from "../values/text.js"
import { givenOf } from "./dynamic.js"
import type { BoundTool } from "./tool.js"

const nullableBoolean = (description: string) => ({
  anyOf: [{ type: "boolean" }, { type: "null" }],
  description
})

const descriptions: Record<string, string> = {
  [confirmParameter]: "true only if the user agreed to start this beside one that is already running; otherwise null.",
  [backgroundParameter]: "true to let it work in the background while the conversation goes on; otherwise null."
}

const ownJsonSchema = (tool: Tool.Any): Record<string, any> =>
  Tool.getJsonSchemaFromSchemaAst(tool.parametersSchema.ast) as Record<string, any>

/** The fields of a tool's parameters, if they are a struct. */
export const fieldsOf = (tool: Tool.Any): Record<string, unknown> | undefined => {
  const fields: unknown = Reflect.get(tool.parametersSchema, "fields")
  return isRecord(fields) ? fields : undefined
}

/** The JSON Schema of a tool's parameters, always that of an object, with the parameters of ours. */
export const jsonSchemaOf = (tool: Tool.Any, added: ReadonlyArray<string>): Record<string, any> => {
  const given = givenOf(tool)
  const own = given ?? ownJsonSchema(tool)
  const schema: Record<string, any> =
    own.type === "object" || given !== undefined
      ? own
      : fieldsOf(tool) !== undefined || own.$id === "/schemas/void"
        ? { type: "object", properties: {}, required: [], additionalProperties: false }
        : own.$id === "/schemas/unknown" || own.$id === "/schemas/any" || own.$id === "/schemas/object"
          ? { type: "object", properties: {}, additionalProperties: true }
          : own
  if (added.length === 0) return schema
  const extra = Object.fromEntries(added.map((name) => [name, nullableBoolean(descriptions[name] as string)]))
  return {
    ...schema,
    properties: { ...schema.properties, ...extra },
    required: [...(Array.isArray(schema.required) ? schema.required : []), ...added]
  }
}

/**
 * Effect writes what it knows itself beside an annotation that names no type. One that has the key, if only from its
 * prototype, is taken as it is.
 */
const named: object = Object.freeze({ type: undefined })

const asItIs = (jsonSchema: Record<string, any>): Record<string, any> =>
  "type" in jsonSchema ? jsonSchema : Object.assign(Object.create(named), jsonSchema)

/** The tool with parameters that are shown as this schema and take anything. */
const withJsonSchema = (tool: Tool.Tool<any, any>, jsonSchema: Record<string, any>): Tool.Tool<any, any> =>
  // `setParameters` is typed for structs; whatever a model sends is to get to the session
  tool.setParameters(Schema.Unknown.annotations({ jsonSchema: asItIs(jsonSchema) }) as never)

/**
 * What is sent to the model: the tool with its JSON Schema unchanged but a schema that takes anything, so that bad
 * arguments become an error output of ours and never fail the model's step.
 */
export const wireOf = (tool: Tool.Any, added: ReadonlyArray<string>): Tool.Any => {
  let known = wires.get(tool)
  if (known === undefined) {
    known = new Map()
    wires.set(tool, known)
  }
  const key = added.join()
  let wire = known.get(key)
  if (wire === undefined) {
    wire = makeWire(tool, added)
    known.set(key, wire)
  }
  return wire
}

/** Made once for each tool and what is added to it, whoever binds it: schemas are most of a new session. */
const wires = new WeakMap<Tool.Any, Map<string, Tool.Any>>()

const makeWire = (tool: Tool.Any, added: ReadonlyArray<string>): Tool.Any => {
  if (Tool.isProviderDefined(tool)) {
    return tool.requiresHandler
      ? Object.assign(Object.create(Object.getPrototypeOf(tool)), tool, { parametersSchema: Schema.Unknown })
      : tool
  }
  const description = tool.description ?? Tool.getDescriptionFromSchemaAst(tool.parametersSchema.ast)
  return withJsonSchema(
    Tool.make(
      tool.name,
      description === undefined || isBlank(description) ? {} : { description: wellFormed(description) }
    ),
    wireValue(jsonSchemaOf(tool, added)) as Record<string, any>
  )
    .setSuccess(Schema.Unknown)
    .setFailure(Schema.Unknown)
    .annotateContext(tool.annotations)
}

const strictWires = new WeakMap<BoundTool, Tool.Any | string>()

/** The same for a provider's strict mode; a string says why that cannot be. */
export const strictWireOf = (bound: BoundTool): Tool.Any | string => {
  if (bound.kind === "provider" || Tool.isProviderDefined(bound.tool)) return bound.wire
  const cached = strictWires.get(bound)
  if (cached !== undefined) return cached
  const own = ownJsonSchema(bound.wire)
  const schema = strict(own)
  const wire =
    typeof schema === "string"
      ? schema
      : schema === own
        ? bound.wire
        : withJsonSchema(bound.wire as Tool.Tool<any, any>, schema)
  strictWires.set(bound, wire)
  return wire
}
