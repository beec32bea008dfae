/**
 * Tools whose handlers may go on in the background. `make` makes an ordinary `Tool` of `@effect/ai`; the options are
 * annotations, so that an existing tool gets them with `.annotate(AsyncTool.Annotations, {...})`.
 *
 * ```ts
 * import { Toolkit } from "@effect/ai"
 * import { AsyncTool, RunContext } from "effect-meantime"
 * import { Effect, Schema } from "effect"
 *
 * const Report = AsyncTool.make("report", {
 *   description: "Writes a report.",
 *   parameters: { topic: Schema.String },
 *   success: Schema.String,
 *   allowCancellation: true
 * })
 *
 * export const ReportsLive = Toolkit.make(Report).toLayer({
 *   report: ({ topic }) =>
 *     RunContext.update(`Reading about ${topic}.`).pipe(
 *       Effect.zipRight(Effect.sleep("1 minute")),
 *       Effect.as(`All about ${topic}.`)
 *     )
 * })
 * ```
 *
 * @since 0.1.0
 */
import * as Tool from "@effect/ai/Tool"
import type * as Toolkit from "@effect/ai/Toolkit"
import type * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { File, ToolCall } from "./ChatContext.js"
import type { DuplicateScope, Mode } from "./DuplicatePolicy.js"
import * as Dynamic from "./internal/scope/dynamic.js"
import * as Mistakes from "./internal/scope/mistakes.js"
import * as internal from "./internal/shell/execute.js"
import { Content } from "./internal/values/files.js"
import type { Delivery } from "./RunContext.js"
import { Annotations, RunContext, StopResponse, ToolError, ToolOptionsError } from "./Tags.js"

export type { Mode } from "./DuplicatePolicy.js"
export { Annotations, StopResponse, ToolError, ToolOptionsError }

/**
 * The options of a tool, all of them optional. Durations are `Duration.DurationInput`: a number is milliseconds.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /**
   * What happens to a call that repeats a running one. Default: the policy of toolset, agent or session, else `allow`.
   */
  readonly onDuplicate?: Mode | undefined
  /** What counts as a duplicate. Default: `name`; for `join`, `name_and_args`. */
  readonly duplicateScope?: DuplicateScope | undefined
  /** The model, `replace` and a hand-off may cancel the call. Default: false. */
  readonly allowCancellation?: boolean | undefined
  /** An inline call is cancelled when the user interrupts its turn; needs `allowCancellation`. Default: false. */
  readonly cancelOnInterruption?: boolean | undefined
  /** Delivery of the final result of a background call. Default: `when-idle`. */
  readonly delivery?: Delivery | undefined
  /** May the reply to the final result of a background call call tools? Default: `speak`, it may not. */
  readonly onResult?: "speak" | "act" | undefined
  /**
   * An inline call leaves the turn after this time; with 0, before its handler starts. Default: that of the session.
   */
  readonly releaseAfter?: Duration.DurationInput | undefined
  /**
   * When a call begins: as soon as the model has asked for it (`call`), or once the whole answer has ended well (`step`).
   * If the answer is cut off before, a call with `step` does not run and ends as an error. Default: that of the session.
   */
  readonly startAfter?: "call" | "step" | undefined
  /**
   * With `model`, the model may ask for the background itself, with the parameter `run_in_background`. Default: it may
   * not.
   */
  readonly background?: "model" | undefined
  /** What a hand-off does to the running call. Default: `cancel` if cancellation is allowed, else `await`. */
  readonly onHandoff?: "cancel" | "await" | "promote" | undefined
  /** After this time, which is more than 0, the handler is interrupted and the call ends as an error. Default: none. */
  readonly timeout?: Duration.DurationInput | undefined
  /**
   * A running call can be told something, by the model with the tool `message_task` and by a program with
   * `session.messageTool`; the handler reads `RunContext.messages`. With a Schema what does not fit is refused to the
   * sender. Default: it cannot.
   */
  readonly messages?: true | Schema.Schema<any, any> | undefined
  /**
   * Does a call wait until a person agrees, before it runs? A function is given the arguments as the handler gets them, and
   * the call; if it dies, a person is asked. Default: what the `ApprovalPolicy` of toolset, agent or session says, else no.
   */
  readonly needsApproval?: boolean | ((args: any, call: ToolCall) => Effect.Effect<boolean>) | undefined
  /**
   * After this time, which is more than 0, a call that waits for approval ends as an error and does not run. Default: that
   * of the `ApprovalPolicy` of its scope, else never.
   */
  readonly approvalTimeout?: Duration.DurationInput | undefined
  /**
   * What becomes of a call that was at work in a durable session as its process stopped. `rerun`: its handler runs again
   * from its start, with the same call id and arguments. `unknown`: it does not, and the call ends as an error that says
   * that its outcome is not known. Default: `rerun` for tools that are annotated `Tool.Readonly` or `Tool.Idempotent`, else
   * `unknown`.
   */
  readonly onRestart?: "rerun" | "unknown" | undefined
}

/**
 * What the compiler names if something else was given: no value has this type, it is there to be read in an error.
 *
 * @since 0.1.0
 * @category type-level
 */
export interface Expected<What extends string> {
  readonly [expected]: What
}

declare const expected: unique symbol

/**
 * The parameters of a tool; an error at one of them says what a parameter is.
 *
 * @since 0.1.0
 * @category type-level
 */
export interface CheckedFields {
  readonly [name: string]: Schema.Struct.Field | Expected<"a Schema of Effect, such as Schema.String">
}

/**
 * What a tool is made of, beside its name.
 *
 * @since 0.1.0
 * @category models
 */
export interface MakeOptions<
  Parameters extends Schema.Struct.Fields,
  Success extends Schema.Schema.Any,
  Failure extends Schema.Schema.All,
  Dependencies extends Array<Context.Tag<any, any>>
> extends Options {
  /** What the model is told of the tool. Default: nothing. */
  readonly description?: string | undefined
  /** The fields of the arguments. Default: none. */
  readonly parameters?:
    | Parameters
    | CheckedFields
    | Expected<"fields without Schema.Struct around them: { city: Schema.String }">
    | undefined
  /** What the handler succeeds with. Default: `Schema.Void`. */
  readonly success?: Success | Expected<"a Schema of Effect, such as Schema.String"> | undefined
  /** What the handler may fail with, beside `ToolError` and `StopResponse`. Default: nothing. */
  readonly failure?: Failure | Expected<"a Schema of Effect, such as Schema.String"> | undefined
  /** The services that the handler uses for each call. Default: none. */
  readonly dependencies?: Dependencies | undefined
  readonly needsApproval?:
    | boolean
    | ((args: Schema.Struct.Type<Parameters>, call: ToolCall) => Effect.Effect<boolean>)
    | undefined
}

/**
 * Makes a tool whose handler may use `RunContext`, and may fail with `ToolError` and `StopResponse` beside its own
 * failures.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <
  const Name extends string,
  Parameters extends Schema.Struct.Fields = {},
  Success extends Schema.Schema.Any = typeof Schema.Void,
  Failure extends Schema.Schema.All = typeof Schema.Never,
  Dependencies extends Array<Context.Tag<any, any>> = []
>(
  name: Name,
  options?: MakeOptions<Parameters, Success, Failure, Dependencies>
): Tool.Tool<
  Name,
  {
    readonly parameters: Schema.Struct<Parameters>
    readonly success: Success
    readonly failure: Schema.Union<[Failure, typeof ToolError, typeof StopResponse]>
    readonly failureMode: "return"
  },
  RunContext | Context.Tag.Identifier<Dependencies[number]>
> => {
  const { dependencies, description, failure, parameters, success, ...flags } = options ?? {}
  const mistake = Mistakes.inSchemas({ failure, parameters, success })
  const schemas = mistake === undefined ? ({ failure, parameters, success } as Schemas) : {}
  const tool = Tool.make(name, {
    ...(description === undefined ? {} : { description }),
    parameters: schemas.parameters ?? {},
    success: schemas.success ?? Schema.Void,
    failure: Schema.Union(schemas.failure ?? Schema.Never, ToolError, StopResponse),
    failureMode: "return",
    dependencies: [RunContext, ...(dependencies ?? [])]
  }).annotate(Annotations, flags)
  // what stands for an option that is absent is the default of its type parameter, which TypeScript cannot know
  return Mistakes.annotate(tool, mistake) as any
}

/**
 * A value with files, for the success of a handler or for `RunContext.update`. It has the type of the value, so a handler
 * whose tool promises a `string` may return it; the schema of the tool encodes the value alone. Put it around the whole
 * success: inside of it only a schema that takes anything lets it pass, and its files come along then. Models that take files in
 * results get them there, and others in a message behind the results. Only the library unwraps it: a handler that is called
 * by another loop returns an object.
 *
 * ```ts
 * import { AsyncTool } from "effect-meantime"
 * import { Effect } from "effect"
 *
 * const chart = (png: string) =>
 *   Effect.succeed(AsyncTool.content("Sales by month.", [{ data: png, mediaType: "image/png", name: "sales.png" }]))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const content = <A>(value: A, files: ReadonlyArray<File>): A =>
  // what it is in truth only the library looks at
  new Content(value, files) as A

export type { File }

interface Schemas {
  readonly parameters?: Schema.Struct.Fields | undefined
  readonly success?: Schema.Schema.Any | undefined
  readonly failure?: Schema.Schema.All | undefined
}

/**
 * Makes a tool whose parameters are given as a JSON Schema, for tools that are known only when the program runs. The
 * schema reaches the model as it is, but for parameters that the session adds and for a provider whose strict mode takes
 * none but its own form. The handler gets the object that the model sent: nothing of it is checked, so the handler, or
 * what it calls, does that. Arguments that are no object are an error output, and the handler does not run. The schema is
 * read once, here; if it is not an object that JSON can carry, building the session, or the agent, dies with a
 * `ToolOptionsError`.
 *
 * ```ts
 * import { Toolkit } from "@effect/ai"
 * import { AsyncTool } from "effect-meantime"
 * import { Effect } from "effect"
 *
 * const Search = AsyncTool.dynamic("search", {
 *   description: "Searches the catalogue.",
 *   jsonSchema: { type: "object", properties: { query: { type: "string" } }, required: ["query"] },
 *   allowCancellation: true
 * })
 *
 * export const SearchLive = Toolkit.make(Search).toLayer({
 *   search: ({ query }) => Effect.succeed(`Nothing was found for ${query}.`)
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const dynamic = <const Name extends string>(
  name: Name,
  options: Options & {
    /** What the model is told of the tool. Default: nothing. */
    readonly description?: string | undefined
    readonly jsonSchema: object
  }
): Tool.Tool<
  Name,
  {
    readonly parameters: Schema.Struct<Record<string, typeof Schema.Unknown>>
    readonly success: typeof Schema.Unknown
    readonly failure: Schema.Union<[typeof ToolError, typeof StopResponse]>
    readonly failureMode: "return"
  },
  RunContext
> => {
  const { description, jsonSchema, ...flags } = options
  const read = Dynamic.read(jsonSchema)
  const tool = Tool.make(name, {
    ...(description === undefined ? {} : { description }),
    success: Schema.Unknown,
    failure: Schema.Union(ToolError, StopResponse),
    failureMode: "return",
    dependencies: [RunContext]
  })
    .setParameters(Dynamic.parameters(read ?? {}))
    .annotate(Annotations, flags)
  return Mistakes.annotate(tool, read === undefined ? Mistakes.noJsonSchema : undefined)
}

/**
 * The outcome of a call that ran outside any session: the encoded success or failure, and the messages of its updates.
 *
 * @since 0.1.0
 * @category models
 */
export interface Executed {
  readonly output: unknown
  readonly isError: boolean
  readonly updates: ReadonlyArray<unknown>
  /** The files that came with the output, if any did. */
  readonly files?: ReadonlyArray<File>
  /** The files of each update, in the order of `updates`; absent if no update had any. */
  readonly updateFiles?: ReadonlyArray<ReadonlyArray<File>>
}

/**
 * Listeners of a call that runs outside any session. One that throws is logged; the call goes on.
 *
 * @since 0.1.0
 * @category models
 */
export interface ExecuteOptions {
  /** Gets each update as it comes, as it is kept in `updates`. Default: nobody does. */
  readonly onUpdate?: ((value: unknown) => void) | undefined
  /** Gets what the handler shows with `RunContext.progress`, as JSON. Default: nobody does. */
  readonly onProgress?: ((value: unknown) => void) | undefined
  /**
   * Decides about a call that may not run before somebody agrees: by its `needsApproval`, or by the `ApprovalPolicy` around
   * the effect. If it dies, the call is denied. Default: such a call is denied, and ends as an error.
   */
  readonly decide?: ((call: ToolCall) => Effect.Effect<"approve" | "deny">) | undefined
}

/**
 * Runs one call outside any session and never fails: a failure of the handler is an output with `isError`. Updates are
 * collected, `foreground` and `withFiller` run their effect as it is, `runTask` fails with `SessionClosed` and
 * `handoff` with `ToolError`; `release` does nothing. An output or an update of more than 400,000 characters is cut, and a
 * file of more than 5 MB is left out, as in a session.
 *
 * @since 0.1.0
 * @category execution
 */
export const execute: <Tools extends Record<string, Tool.Any>>(
  toolkit: Toolkit.Toolkit<Tools>,
  call: { readonly callId?: string | undefined; readonly name: string; readonly arguments: unknown },
  options?: ExecuteOptions
) => Effect.Effect<
  Executed,
  never,
  Tool.HandlersFor<Tools> | Exclude<Tool.Requirements<Tools[keyof Tools]>, RunContext>
> = internal.execute
