/**
 * A tool as a scope has it: its handler bound, its schemas compiled once, its policy and its prompts decided.
 */
import * as Tool from "@effect/ai/Tool"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import type * as FiberRefs from "effect/FiberRefs"
import { identity } from "effect/Function"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import { isTypeLiteral, type ParseOptions } from "effect/SchemaAST"
import type { Mode, Options } from "../../AsyncTool.js"
import type { DuplicateScope, Policy } from "../../DuplicatePolicy.js"
import { Annotations, RunContext, StopResponse, ToolError } from "../../Tags.js"
import type { Prompts } from "../../ToolPrompts.js"
import type { Executor, Outcome } from "../machine/state.js"
import { wireValue } from "../model/wire.js"
import { isRecord, toJson, withoutProto } from "../values/json.js"
import { strict, withoutNulls } from "../values/schemas.js"
import { clip, isBlank, wellFormed } from "../values/text.js"

export const confirmParameter = "confirm_duplicate"
export const backgroundParameter = "run_in_background"

export type BoundPolicy =
  | { readonly _tag: "Mode"; readonly mode: Mode; readonly scope: DuplicateScope }
  | { readonly _tag: "Custom"; readonly policy: Policy; readonly scope: DuplicateScope }

export interface BoundTool {
  readonly name: string
  readonly tool: Tool.Any
  readonly kind: "user" | "companion" | "provider"
  readonly options: Options
  readonly executor: Executor
  readonly policy: BoundPolicy
  readonly prompts: Prompts
  /** what the model is shown */
  readonly wire: Tool.Any
  /** milliseconds */
  readonly releaseAfter: number | undefined
  readonly timeout: number | undefined
  /** parameters of ours, which the handler never sees */
  readonly added: ReadonlyArray<string>
  readonly codec: Codec
  readonly context: Context.Context<any>
  readonly fiberRefs: FiberRefs.FiberRefs
  /** what a call's fiber does */
  readonly work: Work
}

// ------------------------------------------------------------------------------------------------------------- codec

type Coder = (u: unknown) => Effect.Effect<unknown, ParseResult.ParseIssue, any>

interface Coders {
  readonly decode: Coder
  readonly encodeParams: Coder
  readonly encodeSuccess: Coder
  readonly encodeFailure: Coder
}

export interface Codec extends Coders {
  /** leaves out null for a parameter that is optional, as strict modes and many models send it; all, where there is none */
  readonly prepare: (args: Record<string, unknown>) => Record<string, unknown>
  /** what the end of a handler is to the conversation */
  readonly outcome: {
    readonly onSuccess: (value: unknown) => Effect.Effect<Outcome, RefusedResult, any>
    readonly onFailure: (error: unknown) => Effect.Effect<Outcome, RefusedResult, any>
  }
}

type Handler = (params: any) => Effect.Effect<unknown, unknown, any>

/** A schema, or a handler, that throws is a defect of its call. */
export const total =
  <E>(f: (u: any) => Effect.Effect<unknown, E, any>): ((u: any) => Effect.Effect<unknown, E, any>) =>
  (u) => {
    try {
      return f(u)
    } catch (cause) {
      return Effect.die(cause)
    }
  }

const codecs = new WeakMap<Tool.Any, Codec>()

/**
 * `ParseResult.decodeUnknown` is `decodeUnknownEither` with the option that lets a schema take its time, which it adds
 * anew for each value: half of what it costs to decode one.
 */
const inTime = { isEffectAllowed: true } as ParseOptions
const all: ParseOptions = { ...inTime, errors: "all" }

/** A struct without fields takes any value as it is, where others leave out what they do not have. */
const hasNoFields = ({ ast }: Schema.Schema.Any): boolean =>
  isTypeLiteral(ast) && ast.propertySignatures.length === 0 && ast.indexSignatures.length === 0

const nothing = (): Record<string, unknown> => ({})

/** Compiled once for each tool, whoever binds it. */
export const codecOf = (tool: Tool.Any): Codec => {
  let codec = codecs.get(tool)
  if (codec === undefined) {
    const parameters = tool.parametersSchema as unknown as Schema.Schema<any, any, any>
    const coders: Coders = {
      decode: total(ParseResult.decodeUnknownEither(parameters as any, all) as Coder),
      encodeParams: total(ParseResult.encodeUnknownEither(parameters as any, inTime) as Coder),
      encodeSuccess: total(ParseResult.encodeUnknownEither(tool.successSchema as any, inTime) as Coder),
      encodeFailure: total(ParseResult.encodeUnknownEither(tool.failureSchema as any, inTime) as Coder)
    }
    codec = {
      ...coders,
      prepare: Tool.isProviderDefined(tool)
        ? identity
        : hasNoFields(parameters)
          ? nothing
          : (withoutNulls(jsonSchemaOf(tool, [])) ?? identity),
      outcome: { onFailure: failure(tool.name, coders), onSuccess: success(tool.name, coders) }
    }
    codecs.set(tool, codec)
  }
  return codec
}

/** Names each bad field. */
export const describeIssue = (issue: ParseResult.ParseIssue): string => {
  try {
    const lines = ParseResult.ArrayFormatter.formatIssueSync(issue).map(
      ({ message, path }) => `${path.length === 0 ? "" : `${path.map(String).join(".")}: `}${clip(message, 240, "…")}`
    )
    return clip(Array.from(new Set(lines)).join("; "), 2000, "…")
  } catch {
    // a message of the schema's own that throws or takes time, or a value too deep to be shown
    return "they do not fit its schema"
  }
}

export const invalidArguments = (name: string, detail: string): string =>
  `Invalid arguments for ${name}: ${detail}. Correct them and call the tool again.`

/** A result that the tool's own schema refuses: a bug of the tool. */
export class RefusedResult {
  readonly _tag = "RefusedResult"
  constructor(
    readonly tool: string,
    readonly detail: string
  ) {}
}

/** All that the model is shown of a defect (rule T8). */
export const unexpected = (name: string): string => `${name} failed because of an unexpected error.`

export const timedOut = (name: string, millis: number): string =>
  `${name} was stopped: it took longer than its time limit of ${millis / 1000} seconds.`

/** The parameters of ours that a tool with these options has. */
export const addedParameters = (mode: Mode | undefined, { background }: Options): ReadonlyArray<string> => [
  ...(mode === "confirm" ? [confirmParameter] : []),
  ...(background === "model" ? [backgroundParameter] : [])
]

/** The tool's own arguments: without the parameters that are ours, and without null for what is left out. */
export const ownArguments = (
  { added, codec }: Pick<BoundTool, "added" | "codec">,
  args: Record<string, unknown>
): Record<string, unknown> => {
  if (added.length === 0) return codec.prepare(args)
  const out: Record<string, unknown> = { ...args }
  for (const name of added) delete out[name]
  return codec.prepare(out)
}

/** What the schema is given to decode. */
export const toDecode = (
  tool: Pick<BoundTool, "added" | "codec">,
  args: Record<string, unknown>
): Record<string, unknown> => ownArguments(tool, withoutProto(args))

// ---------------------------------------------------------------------------------------------------------- the work

const stopped: Outcome = { _tag: "Nothing" }

const success =
  (name: string, codec: Coders) =>
  (value: unknown): Effect.Effect<Outcome, RefusedResult, any> => {
    const encoded = codec.encodeSuccess(value)
    return Either.isEither(encoded)
      ? Either.isRight(encoded)
        ? Effect.succeed(succeeded(encoded.right))
        : Effect.fail(new RefusedResult(name, describeIssue(encoded.left as ParseResult.ParseIssue)))
      : Effect.match(encoded, {
          onSuccess: succeeded,
          onFailure: (issue): Outcome => {
            throw new RefusedResult(name, describeIssue(issue))
          }
        })
  }

const succeeded = (encoded: unknown): Outcome =>
  encoded === undefined ? { _tag: "Nothing" } : { _tag: "Success", output: toJson(encoded) }

const failure =
  (name: string, codec: Coders) =>
  (error: unknown): Effect.Effect<Outcome, RefusedResult, any> => {
    if (error instanceof StopResponse) return Effect.succeed(stopped)
    if (error instanceof ToolError) return Effect.succeed(failed("ToolError", error.message))
    return Effect.matchEffect(codec.encodeFailure(error), {
      onSuccess: (encoded) => Effect.succeed(failed(errorTypeOf(error), toJson(encoded))),
      // what the failure schema does not know of was not expected
      onFailure: () => Effect.die(error ?? new RefusedResult(name, "failed with nothing"))
    })
  }

/** A failure that was to be expected. */
export const failed = (errorType: string, output: unknown): Outcome => ({
  _tag: "Failure",
  output,
  how: "failed",
  errorType
})

/** What kind of error it is, in one word that says nothing of what it is about: its tag, else its class. */
export const errorTypeOf = (error: unknown): string => {
  if (typeof error !== "object" || error === null) return otherError
  const { _tag, name } = error as { readonly _tag?: unknown; readonly name?: unknown }
  const type = typeof _tag === "string" ? _tag : error instanceof Error ? name : undefined
  return typeof type === "string" && /^[\w.$/@-]{1,80}$/.test(type) ? type : otherError
}

const otherError = "_OTHER"

export type Work = Effect.Effect<Outcome, RefusedResult, any>

/** A handler and the encoding of what it ends with. Defects and interruption are left in the exit. */
export const work = (handled: Effect.Effect<unknown, unknown, any>, codec: Codec): Work =>
  Effect.matchEffect(handled, codec.outcome)

/** What the context of a call in a session has. */
interface AtWork {
  readonly run: { readonly params: unknown }
}

/**
 * The same effect for all calls of a tool, which finds its arguments in the call's context. So the frame that waits for
 * the end holds nothing of the call, and what the handler has done already need not be kept.
 */
export const workInSession = (handler: Handler, codec: Codec): Work => {
  const handle = total(handler)
  const handled = Effect.withFiberRuntime<unknown, unknown, any>((fiber) =>
    handle((fiber.currentContext.unsafeMap.get(RunContext.key) as AtWork).run.params)
  )
  return work(handled, codec)
}

// ------------------------------------------------------------------------------------------------------------- wire

const nullableBoolean = (description: string) => ({
  anyOf: [{ type: "boolean" }, { type: "null" }],
  description
})

const descriptions: Record<string, string> = {
  [confirmParameter]: "true only if the user agreed to start this beside one that is already running; otherwise null.",
  [backgroundParameter]: "true to let it work in the background while the conversation goes on; otherwise null."
}

/** The JSON Schema of a tool's parameters, always that of an object, with the parameters of ours. */
export const jsonSchemaOf = (tool: Tool.Any, added: ReadonlyArray<string>): Record<string, any> => {
  const own = Tool.getJsonSchema(tool as any) as Record<string, any>
  const schema: Record<string, any> =
    own.type === "object"
      ? own
      : isRecord((tool.parametersSchema as any).fields) || own.$id === "/schemas/void"
        ? { type: "object", properties: {}, required: [], additionalProperties: false }
        : own.$id === "/schemas/unknown" || own.$id === "/schemas/any" || own.$id === "/schemas/object"
          ? { type: "object", properties: {}, additionalProperties: true }
          : own
  if (added.length === 0) return schema
  const extra = Object.fromEntries(added.map((name) => [name, nullableBoolean(descriptions[name] as string)]))
  return {
    ...schema,
    properties: { ...schema.properties, ...extra },
    required: [...(schema.required ?? []), ...added]
  }
}

/** The tool with parameters that are shown as this schema and take anything. */
const withJsonSchema = (tool: Tool.Tool<any, any>, jsonSchema: Record<string, any>): Tool.Tool<any, any> =>
  tool.setParameters(Schema.Unknown.annotations({ jsonSchema }) as any) as any

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
  const description = Tool.getDescription(tool as any)
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
  const own = Tool.getJsonSchema(bound.wire as any) as Record<string, any>
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

export const optionsOf = (tool: Tool.Any): Options =>
  tool.annotations === undefined ? {} : ((tool.annotations.unsafeMap.get(Annotations.key) as Options | undefined) ?? {})

export const ownParameters = (tool: Tool.Any): ReadonlyArray<string> => {
  const fields = (tool.parametersSchema as any).fields
  return isRecord(fields) ? Object.keys(fields) : []
}
