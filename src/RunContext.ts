/**
 * The actions of a handler in the conversation that it works for.
 *
 * ```ts
 * import { RunContext } from "effect-meantime"
 * import { Effect } from "effect"
 *
 * const search = Effect.gen(function*() {
 *   yield* RunContext.update("Searching.") // the agent speaks at once, this fiber runs on
 *   yield* RunContext.progress({ percent: 50 }) // for listeners of events only
 *   yield* Effect.sleep("10 seconds").pipe(
 *     RunContext.withFiller({ say: "Still searching.", delay: "5 seconds" })
 *   )
 *   return "found"
 * })
 * ```
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { Agent, AgentTask } from "./Agent.js"
import type { Service as AgentSession } from "./AgentSession.js"
import type { ToolCall } from "./ChatContext.js"
import * as internal from "./internal/shell/outside.js"
import type { SpeechHandle } from "./SpeechHandle.js"
import { RunContext, type SessionClosed, type ToolError } from "./Tags.js"
import type { Template, UpdateArgs } from "./ToolPrompts.js"

/**
 * How an update or a result reaches the user: `when-idle`, in a reply at the next idle moment; `interrupt`, in a reply
 * that cuts the current speech if that speech allows it; `silent`, not at all: only the history has it.
 *
 * @since 0.1.0
 * @category models
 */
export type Delivery = "when-idle" | "interrupt" | "silent"

/**
 * How an update is worded and delivered.
 *
 * @since 0.1.0
 * @category models
 */
export interface UpdateOptions {
  /** The template of this update, if the message is a string. Default: the scope's `update` template. */
  readonly template?: Template<UpdateArgs> | undefined
  /** Default: `when-idle`. */
  readonly delivery?: Delivery | undefined
}

/**
 * What is said while an effect takes long. A count or a time that makes no sense is a defect of the call, an
 * `AgentSession.OptionsError`.
 *
 * @since 0.1.0
 * @category models
 */
export interface FillerOptions {
  /** The text, or a function of the step (0, 1, …). If it returns undefined, this step says nothing. */
  readonly say: string | ((step: number) => string | undefined)
  /** How long the session has to be idle before the first step. Default: no wait. */
  readonly delay?: Duration.DurationInput | undefined
  /** How long the session has to be idle before each further step, more than 0. Default: the filler is said once. */
  readonly interval?: Duration.DurationInput | undefined
  /** How many steps there are at most; with 0 there is none. Default: no limit. */
  readonly maxSteps?: number | undefined
}

/**
 * What a handler can do.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** The call that this handler works on. */
  readonly call: ToolCall
  readonly session: AgentSession
  /** The speech of the turn that asked for the call. */
  readonly speech: SpeechHandle
  /** Pushes a message into the conversation; the first one moves the call to the background. Never fails or waits. */
  readonly update: (message: unknown, options?: UpdateOptions) => Effect.Effect<void>
  /** Sends a value to the listeners of events, and to nobody else. */
  readonly progress: (value: unknown) => Effect.Effect<void>
  /** Leaves the turn without words of its own. A context of your own need not have it. */
  readonly release?: Effect.Effect<void> | undefined
  /** What the call is told while it runs. A context of your own need not have it. */
  readonly messages?: Stream.Stream<unknown> | undefined
  /** Has somebody asked to cancel the call? For regions that must not be interrupted. */
  readonly isCancelled: Effect.Effect<boolean>
  /** Ends once somebody has asked to cancel the call. A context of your own need not have it. */
  readonly cancelled?: Effect.Effect<void> | undefined
  /** The point of no return: from its start on the call cannot be cancelled. */
  readonly commit: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  /** Hands the conversation to another agent. It does not end this call. */
  readonly handoff: (agent: Agent<never>) => Effect.Effect<void, ToolError>
  /** Waits for idle, and holds the floor while the effect runs: no deferred reply of anyone else starts. */
  readonly foreground: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | SessionClosed, R>
  /** Says something when the session has been idle for a while, as long as the effect runs. */
  readonly withFiller: <A, E, R>(effect: Effect.Effect<A, E, R>, options: FillerOptions) => Effect.Effect<A, E, R>
  /** Runs a sub-conversation that ends with a value. It holds the floor. A context of your own need not have it. */
  readonly runTask?: (<A>(task: AgentTask<A, never>) => Effect.Effect<A, SessionClosed | ToolError>) | undefined
  /** Waits until what the agent said before the call has been played. */
  readonly waitForPlayout: Effect.Effect<void>
  /** From here on the speech of the call's turn cannot be interrupted, unless forced. */
  readonly disallowInterruptions: Effect.Effect<void>
}

export {
  RunContext,
  /**
   * @since 0.1.0
   * @category tags
   * @deprecated the name that LiveKit Agents has for it; write `RunContext`
   */
  RunContext as AsyncRunContext
}

/**
 * Pushes a message into the conversation. The first update of a call becomes its output: the agent speaks at once, and
 * the handler runs on in the background. Later updates are delivered when the conversation is idle, unless `delivery`
 * says otherwise. A string goes through the `update` template, and any other value is encoded as JSON. Never fails, and
 * never waits for speech.
 *
 * @since 0.1.0
 * @category conversation
 */
export const update = (message: unknown, options?: UpdateOptions): Effect.Effect<void, never, RunContext> =>
  Effect.flatMap(RunContext, (context) => context.update(message, options))

/**
 * Sends a value to the listeners of events only: the model does not see it, and the call does not leave the turn. Never
 * fails.
 *
 * @since 0.1.0
 * @category conversation
 */
export const progress = (value: unknown): Effect.Effect<void, never, RunContext> =>
  Effect.flatMap(RunContext, (context) => context.progress(value))

/**
 * Leaves the turn without words of its own: the `released` template becomes the call's output, the agent goes on, and the
 * handler works in the background. If the call has left its turn already, nothing happens. Never fails or waits.
 *
 * ```ts
 * import { RunContext } from "effect-meantime"
 * import { Effect } from "effect"
 *
 * // what is in the cache is answered at once, in the same turn
 * const report = (cached: string | undefined) =>
 *   cached !== undefined
 *     ? Effect.succeed(cached)
 *     : Effect.zipRight(RunContext.release, Effect.delay(Effect.succeed("a new report"), "1 minute"))
 * ```
 *
 * @since 0.1.0
 * @category conversation
 */
export const release: Effect.Effect<void, never, RunContext> = Effect.flatMap(
  RunContext,
  (context) => context.release ?? Effect.void
)

/**
 * What the call is told while it runs, by `message_task` and `session.messageTool`, if its tool has the option `messages`.
 * Each message is taken once, in the order in which they were sent, by one of the readers: a reader takes one at a time, as
 * it asks for it. What was sent before anybody reads is kept, up to `maxMessages`. The stream ends with the call. Without
 * the option, and outside a session, it is empty.
 *
 * ```ts
 * import { RunContext } from "effect-meantime"
 * import { Effect, Ref, Stream } from "effect"
 *
 * // what the user changes their mind about while the search runs
 * const search = (first: string) =>
 *   Effect.gen(function* () {
 *     const wish = yield* Ref.make(first)
 *     const listen = Stream.runForEach(RunContext.messages, (message) => Ref.set(wish, String(message)))
 *     yield* Effect.fork(listen)
 *     yield* RunContext.update("Searching.")
 *     yield* Effect.sleep("1 minute")
 *     return `found: ${yield* Ref.get(wish)}`
 *   })
 * ```
 *
 * @since 0.1.0
 * @category conversation
 */
export const messages: Stream.Stream<unknown, never, RunContext> = Stream.unwrap(
  Effect.map(RunContext, (context) => context.messages ?? Stream.empty)
)

/**
 * `messages` with the type of the tool's own `messages` Schema. The messages have been decoded by it already; no other
 * Schema fits.
 *
 * ```ts
 * import { AsyncTool, RunContext } from "effect-meantime"
 * import { Effect, Schema, Stream } from "effect"
 *
 * const Budget = Schema.Struct({ budget: Schema.Number })
 *
 * export const Book = AsyncTool.make("book", { success: Schema.String, messages: Budget })
 *
 * export const told = Stream.runForEach(RunContext.messagesOf(Budget), ({ budget }) => Effect.log(budget))
 * ```
 *
 * @since 0.1.0
 * @category conversation
 */
export const messagesOf = <A, I>(_schema: Schema.Schema<A, I>): Stream.Stream<A, never, RunContext> =>
  // what the session has let through is of this type
  messages as Stream.Stream<A, never, RunContext>

/**
 * The call that this handler works on.
 *
 * @since 0.1.0
 * @category accessors
 */
export const call: Effect.Effect<ToolCall, never, RunContext> = Effect.map(RunContext, (context) => context.call)

/**
 * Has somebody asked to cancel the call? A handler can look inside a region that must not be interrupted.
 *
 * @since 0.1.0
 * @category cancellation
 */
export const isCancelled: Effect.Effect<boolean, never, RunContext> = Effect.flatMap(
  RunContext,
  (context) => context.isCancelled
)

/**
 * The effect's value, or none as soon as somebody asks to cancel the call. The effect is then interrupted, also inside
 * an uninterruptible region.
 *
 * @since 0.1.0
 * @category cancellation
 */
export const orCancelled = <A, E, R>(
  effect: Effect.Effect<A, E, R>
): Effect.Effect<Option.Option<A>, E, R | RunContext> =>
  Effect.flatMap(RunContext, (context) =>
    Effect.if(context.isCancelled, {
      onTrue: () => Effect.succeedNone,
      onFalse: () =>
        Effect.raceFirst(
          Effect.interruptible(Effect.asSome(effect)),
          Effect.interruptible(Effect.as(context.cancelled ?? Effect.never, Option.none<A>()))
        )
    })
  )

/**
 * The point of no return: from its start on nobody can cancel the call, the effect runs uninterruptibly, and the end of
 * the handler is recorded. If a cancellation came first, the effect does not run, and the handler is interrupted.
 *
 * @since 0.1.0
 * @category cancellation
 */
export const commit = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R | RunContext> =>
  Effect.flatMap(RunContext, (context) => context.commit(effect))

/**
 * Hands the conversation to another agent: for an inline call with the rest of the turn, after an update at the next
 * idle moment. Fails with `ToolError` if another hand-off came first, or if the agent's layers fail to build.
 *
 * @since 0.1.0
 * @category agents
 */
export const handoff = (agent: Agent<never>): Effect.Effect<void, ToolError, RunContext> =>
  Effect.flatMap(RunContext, (context) => context.handoff(agent))

/**
 * Lets the call's own waiting reply go first, waits until the session is idle, and holds the floor while the effect
 * runs: no other reply starts. Fails with `SessionClosed` if the session closes first.
 *
 * @since 0.1.0
 * @category conversation
 */
export const foreground = <A, E, R>(
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E | SessionClosed, R | RunContext> =>
  Effect.flatMap(RunContext, (context) => context.foreground(effect))

/**
 * Says a filler while the effect runs: first when the session has been idle for `delay` without a break, then again
 * after each `interval` of idleness.
 *
 * @since 0.1.0
 * @category conversation
 */
export const withFiller: {
  (options: FillerOptions): <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R | RunContext>
  <A, E, R>(effect: Effect.Effect<A, E, R>, options: FillerOptions): Effect.Effect<A, E, R | RunContext>
} = dual(
  2,
  <A, E, R>(effect: Effect.Effect<A, E, R>, options: FillerOptions): Effect.Effect<A, E, R | RunContext> =>
    Effect.flatMap(RunContext, (context) => context.withFiller(effect, options))
)

/**
 * Runs a sub-conversation that ends with a value, while the current agent and its turn are paused. Outside of
 * `foreground` it takes the floor itself. A task without `onEnter` begins with the model. Fails with `ToolError` if the
 * task declines, and with `SessionClosed` if the session closes. A context of your own that has no `runTask` makes this a
 * defect.
 *
 * @since 0.1.0
 * @category agents
 */
export const runTask = <A>(task: AgentTask<A, never>): Effect.Effect<A, SessionClosed | ToolError, RunContext> =>
  Effect.flatMap(
    RunContext,
    (context) => context.runTask?.(task) ?? Effect.dieMessage("This RunContext has no runTask.")
  )

/**
 * From here on the speech of the call's turn cannot be interrupted, unless forced.
 *
 * @since 0.1.0
 * @category conversation
 */
export const disallowInterruptions: Effect.Effect<void, never, RunContext> = Effect.flatMap(
  RunContext,
  (context) => context.disallowInterruptions
)

/**
 * Waits until what the agent said before the call has been played.
 *
 * @since 0.1.0
 * @category conversation
 */
export const waitForPlayout: Effect.Effect<void, never, RunContext> = Effect.flatMap(
  RunContext,
  (context) => context.waitForPlayout
)

/**
 * A context for unit tests of a handler. `members` is what the test cares about. For everything else nobody listens and
 * nobody interferes: updates and progress go nowhere, `foreground` and `withFiller` run their effect as it is, `commit`
 * runs it uninterruptibly (and not at all if `isCancelled` is true), `messages` is empty, `runTask` and the session fail with `SessionClosed`,
 * `handoff` fails with `ToolError`. A later version may add members to the context; a test that uses `test` compiles as
 * before.
 *
 * ```ts
 * import { RunContext } from "effect-meantime"
 * import { Effect } from "effect"
 *
 * const search = Effect.as(RunContext.update("Searching."), "found")
 *
 * const program = Effect.gen(function* () {
 *   const updates: Array<unknown> = []
 *   const context = RunContext.test({
 *     update: (message) => Effect.sync(() => void updates.push(message))
 *   })
 *   const result = yield* Effect.provideService(search, RunContext.RunContext, context)
 *   return { result, updates } // { result: "found", updates: ["Searching."] }
 * })
 * ```
 *
 * @since 0.1.0
 * @category testing
 */
export const test = (members: Partial<Service> = {}): Service => internal.make(members)

/**
 * The context of `test` as a layer.
 *
 * @since 0.1.0
 * @category testing
 */
export const layerTest = (members: Partial<Service> = {}): Layer.Layer<RunContext> =>
  Layer.sync(RunContext, () => test(members))
