/**
 * What the compiler refuses, for programs that it did not check: each mistake is told with what to write instead, when
 * the session, or the agent, is built (rule L3).
 */
import type * as Tool from "@effect/ai/Tool"
import * as Context from "effect/Context"
import { isObject } from "effect/Predicate"
import * as Schema from "effect/Schema"
import { OptionsError, ToolOptionsError } from "../../Tags.js"
import { guarded } from "../values/guarded.js"
import { isRecord } from "../values/json.js"

/** What was wrong with the schemas that a tool was made of; there are others in their place. */
class Mistake extends Context.Tag("effect-meantime/internal/Mistake")<Mistake, string>() {}

export const annotate = <T extends Tool.Any>(tool: T, problem: string | undefined): T =>
  problem === undefined ? tool : ((tool as any).annotate(Mistake, problem) as T)

const write = "a Schema of Effect: write Schema.String and the like"

export const noJsonSchema =
  "jsonSchema has to be a JSON Schema, as an object that JSON can carry: write " +
  `{ type: "object", properties: { city: { type: "string" } } }. For schemas of Effect there is AsyncTool.make.`

/** What is wrong with the schemas that a tool is to be made of. */
export const inSchemas = (schemas: {
  readonly parameters?: unknown
  readonly success?: unknown
  readonly failure?: unknown
}): string | undefined => {
  const { parameters } = schemas
  if (parameters !== undefined) {
    if (Schema.isSchema(parameters)) {
      return "parameters has to be fields without Schema.Struct around them: write { city: Schema.String }."
    }
    if (!isRecord(parameters) || isOfOthers(parameters)) {
      return "parameters has to be fields, each a Schema of Effect: write { city: Schema.String }."
    }
    for (const [name, field] of Object.entries(parameters)) {
      if (!Schema.isSchema(field) && !Schema.isPropertySignature(field)) {
        return `the parameter "${name}" has to be ${write}.`
      }
    }
  }
  for (const name of ["success", "failure"] as const) {
    if (schemas[name] !== undefined && !Schema.isSchema(schemas[name])) return `${name} has to be ${write}.`
  }
  return undefined
}

/** A schema of another library: they have a property of this name in common. */
const isOfOthers = (value: object): boolean =>
  guarded(
    () => "~standard" in value,
    () => true
  )

export const inTool = (tool: Tool.Any): ToolOptionsError | undefined => {
  const problem =
    (tool.annotations?.unsafeMap.get(Mistake.key) as string | undefined) ??
    inSchemas({ success: tool.successSchema, failure: tool.failureSchema })
  return problem === undefined ? undefined : new ToolOptionsError({ tool: tool.name, problem })
}

/** As it is written in an object. */
const keyOf = (name: string): string => (/^[A-Za-z_$][\w$]*$/.test(name) ? name : JSON.stringify(name))

export const noHandler = (tool: string, place: string): ToolOptionsError =>
  new ToolOptionsError({
    tool,
    problem:
      `${place} has no handler for it: provide toolkit.toLayer({ ${keyOf(tool)}: … }) to the session, ` +
      "the agent or the toolset."
  })

export const isToolset = (value: unknown): boolean =>
  guarded(
    () => isRecord(value) && value._tag === "AsyncToolset",
    () => false
  )

export const noToolset = (owner: string): OptionsError =>
  new OptionsError({ owner, option: "unwrap", problem: "has to be an effect that gives an AsyncToolset" })

/** What is wrong with a list of toolkits and toolsets. */
export const inEntries = (owner: string, entries: unknown): OptionsError | undefined => {
  const wrong = (problem: string) => new OptionsError({ owner, option: "tools", problem })
  if (!Array.isArray(entries)) return wrong("has to be a list of toolkits and toolsets: write [Toolkit.make(tool)]")
  for (const entry of entries as ReadonlyArray<unknown>) {
    // a toolkit is a function
    const { _tag, name, parametersSchema, tools } = (isObject(entry) ? entry : {}) as Readonly<Record<string, unknown>>
    if (_tag === "AsyncToolset" || isRecord(tools)) continue
    return wrong(
      typeof name === "string" && parametersSchema !== undefined
        ? `has the tool "${name}" in it, which belongs in a toolkit: write Toolkit.make(tool)`
        : "has something in it that is neither a toolkit nor a toolset"
    )
  }
  return undefined
}

/** What is wrong with the agents of a session: they are found by name. */
export const inAgents = (first: unknown, agents: unknown): OptionsError | undefined => {
  const wrong = (problem: string) => new OptionsError({ owner: "the session", option: "agents", problem })
  if (agents === undefined) return undefined
  if (!Array.isArray(agents)) return wrong("has to be a list of agents: write [Billing]")
  const known = new Map<unknown, unknown>()
  for (const agent of [first, ...(agents as ReadonlyArray<unknown>)]) {
    const { _tag, name } = (isObject(agent) ? agent : {}) as Readonly<Record<string, unknown>>
    if (_tag !== "Agent") return wrong("has something in it that is no agent")
    // the first one may be named again
    if (known.has(name) && known.get(name) !== agent) return wrong(`has two agents named ${JSON.stringify(name)}`)
    known.set(name, agent)
  }
  return undefined
}

export const noAgent = (name: string): OptionsError =>
  new OptionsError({
    owner: "the session",
    option: "agents",
    problem: `has no agent named ${JSON.stringify(name)}, to whom the given history was handed last: add it`
  })

/** What is wrong with the result of a task. */
export const inResult = (owner: string, result: unknown): OptionsError | undefined =>
  result !== undefined && (Schema.isSchema(result) || inSchemas({ parameters: result }) === undefined)
    ? undefined
    : new OptionsError({
        owner,
        option: "result",
        problem: "has to be a Schema of Effect with fields: write Schema.Struct({ email: Schema.String })"
      })
