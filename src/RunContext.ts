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
  /**
   * Which update this is, in a durable session: a handler that runs again skips it if one with this key was stored. Handlers
   * that update from several fibers need keys. Default: the nth update without a key is the nth one again.
   */
  readonly key?: string | undefined
}

/**
 * How the value of a step is stored, and how the step is taken back.
 *
 * @since 0.1.0
 * @category models
 */
export interface StepOptions<A, R2 = never> {
  /** Encodes the value for the storage. Default: none, the value is JSON as it is. */
  readonly success?: Schema.Schema<A, any> | undefined
  /**
   * Takes the step back if the call is cancelled, replaced or timed out, or fails; the last step first. It is given the
   * value. Default: nothing.
   */
  readonly undo?: ((value: A) => Effect.Effect<void, never, R2>) | undefined
}

/**
 * How the value of a `commit` is stored.
 *
 * @since 0.1.0
 * @category models
 */
export interface CommitOptions<A> {
  /** Encodes the value for the storage. Default: none, the value is JSON as it is. */
  readonly success?: Schema.Schema<A, any> | undefined
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
  readonly commit: <A, E, R>(effect: Effect.Effect<A, E, R>, options?: CommitOptions<A>) => Effect.Effect<A, E, R>
  /** Does something once, also if the handler runs again. A context of your own need not have it. */
  readonly step?:
    | (<A, E, R, R2 = never>(
        name: string,
        effect: Effect.Effect<A, E, R>,
        options?: StepOptions<A, R2>
      ) => Effect.Effect<A, E, R | R2>)
    | undefined
  /** Waits until a time that is stored. A context of your own need not have it. */
  readonly sleep?: ((name: string, duration: Duration.DurationInput) => Effect.Effect<void>) | undefined
  /** The same for each run of this call. A context of your own need not have it. */
  readonly idempotencyKey?: Effect.Effect<string> | undefined
  /** 1, and one more after each crash. A context of your own need not have it. */
  readonly attempt?: Effect.Effect<number> | undefined
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
 * the handler is recorded. If a cancellation came first, the effect does not run, and the handler is interrupted. In a
 * durable session that is stored before the effect begins: if it was under way in a crash, it does not begin again, and the
 * outcome of the call is not known, unless its tool is annotated `Tool.Idempotent`; if it had ended, its value is given
 * back.
 *
 * @since 0.1.0
 * @category cancellation
 */
export const commit = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  options?: CommitOptions<A>
): Effect.Effect<A, E, R | RunContext> => Effect.flatMap(RunContext, (context) => context.commit(effect, options))

/**
 * Does something once, also if the handler runs again: the value of the effect is stored before `step` returns it, and a
 * handler that runs again after a crash gets it without running the effect. Until it is stored, the effect runs at least
 * once; a failure is not stored. Names are counted within a call (`poll`, `poll#2`, …), so a handler that runs again has to
 * come to its steps in the same order. The value goes through the schema `success`; without one JSON has to carry it
 * unchanged, else the step dies with an error that names it. `undo` takes the step back, see `StepOptions`; once a `commit`
 * has ended, no step before it is taken back. In a session that is not durable, and outside any, it is the effect itself,
 * with its `undo`.
 *
 * ```ts
 * import { RunContext } from "effect-meantime"
 * import { Effect } from "effect"
 *
 * declare const hold: (key: string) => Effect.Effect<{ readonly seat: string }>
 * declare const release: (seat: string) => Effect.Effect<void>
 * declare const pay: (seat: string) => Effect.Effect<string>
 *
 * export const book = Effect.gen(function* () {
 *   const key = yield* RunContext.idempotencyKey
 *   const { seat } = yield* RunContext.step("hold", hold(key), { undo: ({ seat }) => release(seat) })
 *   yield* RunContext.sleep("think it over", "1 hour")
 *   return yield* RunContext.commit(pay(seat))
 * })
 * ```
 *
 * @since 0.1.0
 * @category durability
 */
export const step = <A, E, R, R2 = never>(
  name: string,
  effect: Effect.Effect<A, E, R>,
  options?: StepOptions<A, R2>
): Effect.Effect<A, E, R | R2 | RunContext> =>
  Effect.flatMap(RunContext, (context): Effect.Effect<A, E, R | R2> => context.step?.(name, effect, options) ?? effect)

/**
 * Waits. In a durable session the end is stored: a handler that runs again waits only for what is left. The name is counted
 * with those of the steps.
 *
 * @since 0.1.0
 * @category durability
 */
export const sleep = (name: string, duration: Duration.DurationInput): Effect.Effect<void, never, RunContext> =>
  Effect.flatMap(RunContext, (context) => context.sleep?.(name, duration) ?? Effect.sleep(duration))

/**
 * A key that is the same for each run of this call, and no other call has: for the systems that a handler talks to.
 *
 * @since 0.1.0
 * @category durability
 */
export const idempotencyKey: Effect.Effect<string, never, RunContext> = Effect.flatMap(
  RunContext,
  (context) => context.idempotencyKey ?? Effect.succeed(context.call.callId)
)

/**
 * How often this handler has begun: 1, and one more after each crash of a durable session.
 *
 * @since 0.1.0
 * @category durability
 */
export const attempt: Effect.Effect<number, never, RunContext> = Effect.flatMap(
  RunContext,
  (context) => context.attempt ?? Effect.succeed(1)
)

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
