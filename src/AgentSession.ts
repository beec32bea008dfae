/**
 * A conversation whose tools work in the background.
 *
 * ```ts
 * import { Agent, AgentSession } from "effect-meantime"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const session = yield* AgentSession.make({ agent: Agent.make("host", { instructions: "Be brief." }) })
 *   const { text } = yield* session.run("Hello!")
 *   return text
 * }).pipe(Effect.scoped)
 * ```
 *
 * @since 0.1.0
 */
import type * as AiError from "@effect/ai/AiError"
import type * as LanguageModel from "@effect/ai/LanguageModel"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import type { Agent, AgentTask, RequirementsOf } from "./Agent.js"
import { PendingApproval } from "./ApprovalPolicy.js"
import type { Entries, HandlersOf } from "./AsyncToolset.js"
import type { ChatContext, ChatItem, File, ToolCall } from "./ChatContext.js"
import * as internal from "./internal/shell/session.js"
import type { SessionEvent, Usage } from "./SessionEvent.js"
import type { SpeechHandle } from "./SpeechHandle.js"
import {
  AgentSession,
  type InterruptionDisallowed,
  OptionsError,
  SessionClosed,
  type SessionStorage,
  type StorageError,
  type ToolError,
  ToolNameConflict
} from "./Tags.js"

export type { Usage }
export { AgentSession, OptionsError, PendingApproval, SessionClosed, ToolNameConflict }

/**
 * A call at work, inline or in the background.
 *
 * @since 0.1.0
 * @category models
 */
export interface RunningTool extends ToolCall {
  /** Milliseconds of Effect's `Clock`. */
  readonly startedAt: number
  /** The message of the last update; undefined before the first. */
  readonly lastUpdate: unknown
  readonly allowCancellation: boolean
}

/**
 * How a reply is asked for.
 *
 * @since 0.1.0
 * @category models
 */
export interface ReplyOptions {
  /**
   * An instruction for this reply. Its frame says that it does not come from the user; it is never stored. Default:
   * none.
   */
  readonly instructions?: string | undefined
  /** Holds for the first model step of the reply; `none` holds for all steps. Default: `auto`. */
  readonly toolChoice?: "auto" | "none" | "required" | { readonly tool: string } | undefined
  /** May the speech be interrupted without `force`? Default: true. */
  readonly allowInterruptions?: boolean | undefined
  /** Speeches of a higher priority are played first. Default: 0. */
  readonly priority?: number | undefined
}

/**
 * What a user says in one turn: a text, or a text with files. A file beyond `maxFileBytes`, or one that cannot be read,
 * becomes a note that says so.
 *
 * @since 0.1.0
 * @category models
 */
export type Input = string | { readonly text: string; readonly files?: ReadonlyArray<File> | undefined }

/**
 * How a user's turn is asked for.
 *
 * @since 0.1.0
 * @category models
 */
export interface SendOptions extends ReplyOptions {
  /**
   * With false the turn cuts nothing: it comes behind the current turn, and behind others that came before it. Its message
   * is recorded when it begins; if it is interrupted before, or the session closes, it never is. What `say` and
   * `generateReply` ask for, while the current turn waits for its calls, may be played first. A turn that an inline handler
   * waits for with `run` does not wait for the turn of that handler. Default: true.
   */
  readonly interrupt?: boolean | undefined
  /**
   * Who says it, if several people talk in one session: recorded with the message, and shown to the model in front of the
   * text, in one line of at most 80 characters. Default: nobody is named.
   */
  readonly author?: string | undefined
  /**
   * The same id is the same turn. Asked for again while it runs, it is joined: `send` gives the same handle, `run` waits for
   * the same result, which is a failure of the model, too. Once it has ended, its result is kept for an hour, and of the
   * last 256 such turns. Another text, or another list of files, is ignored, with a warning. The handler of a call that the
   * turn waits for cannot join it: `run` then fails with an `UnknownError` of `AiError`. Default: each turn is a new one.
   */
  readonly id?: string | undefined
}

/**
 * How a turn is asked for and waited for.
 *
 * @since 0.1.0
 * @category models
 */
export interface RunOptions extends SendOptions {
  /**
   * What becomes of the turn if the effect of `run` is interrupted. `stop`: the turn is interrupted, also if it disallows
   * interruptions, and its calls that may be cancelled are cancelled. Default: `continue`, it is left alone.
   */
  readonly onInterrupt?: "continue" | "stop" | undefined
}

/**
 * The result of `run`.
 *
 * @since 0.1.0
 * @category models
 */
export interface RunResult {
  /** What the last reply said. */
  readonly text: string
  /** What was added to the history. */
  readonly items: ReadonlyArray<ChatItem>
  /**
   * The sum of the model steps of the turn and of the deferred replies that `run` waited for; a reply that tells of calls
   * of several turns counts in each. A field that no step reported is absent.
   */
  readonly usage: Usage
  /** The calls of the turn that waited for approval when it ended: it did not wait for these. */
  readonly approvals: ReadonlyArray<PendingApproval>
}

/**
 * How a call that waits is approved.
 *
 * @since 0.1.0
 * @category models
 */
export interface ApproveOptions {
  /** Other arguments, in the form in which the model sends them. Default: those of the call. */
  readonly arguments?: unknown
  /** Who decides, for the event. Default: nobody is named. */
  readonly by?: string | undefined
}

/**
 * How a call that waits is denied.
 *
 * @since 0.1.0
 * @category models
 */
export interface DenyOptions {
  /** Told to the model, and in the event. Default: none. */
  readonly reason?: string | undefined
  /** Who decides, for the event. Default: nobody is named. */
  readonly by?: string | undefined
}

/**
 * How a call that waits is answered in place of its tool.
 *
 * @since 0.1.0
 * @category models
 */
export interface RespondOptions {
  /** Who decides, for the event. Default: nobody is named. */
  readonly by?: string | undefined
}

/**
 * What a user who begins to speak does to the speech that is being played.
 *
 * @since 0.1.0
 * @category options
 */
export interface UserTurnOptions {
  /**
   * `"keep"` (default): it goes on. `"pause"`: it is paused; if the turn is discarded, it goes on where the output can
   * pause, and begins the interrupted sentence anew where it cannot. `"interrupt"`: it is cut. A speech that disallows
   * interruptions is always kept, and one that has not begun waits.
   */
  readonly speech?: "keep" | "pause" | "interrupt"
}

/**
 * A turn that is being spoken. It ends once: what comes after its end does nothing, but for `commit`.
 *
 * @since 0.1.0
 * @category models
 */
export interface UserTurn {
  /** What was understood so far: listeners are told with a `UserTurnPartial`. */
  readonly partial: (text: string) => Effect.Effect<void>
  /**
   * Sends what the user has said, by default the last partial, as `send` does, and gives the floor back. A later `commit`
   * gives the same handle. Fails with a `ToolError` if the turn was discarded, or has no text: then it is discarded.
   * Fails with `SessionClosed` if the session is closed.
   */
  readonly commit: (input?: Input, options?: ReplyOptions) => Effect.Effect<SpeechHandle, SessionClosed | ToolError>
  /** Gives the floor back as if nothing had been said. */
  readonly discard: Effect.Effect<void>
}

/**
 * A conversation at work. Layers of its tools and its first agent may use it while it is made: what is said and asked for
 * waits until the session has begun, and so does a fiber of theirs that calls `handoff`, or waits for an answer. A layer
 * must not wait for that itself, since the session waits for the layer.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /**
   * A user's turn: interrupts the current speech if that speech allows it, records the message, and starts the reply. If
   * the model fails, the handle's `error` has it; it is logged unless that was read before the speech ended.
   */
  readonly send: (input: Input, options?: SendOptions) => Effect.Effect<SpeechHandle, SessionClosed>
  /**
   * As `send`, but waits until the turn, the background calls that the turn started, and their replies have ended. A
   * hand-off that the turn asked for is a part of the turn, and so is what the new agent's `onEnter` asks for before it
   * first waits. If a model fails in the turn, or in a reply that it waits for, it fails in the end with the first such
   * `AiError`; what was added to the history stays.
   */
  readonly run: (input: Input, options?: RunOptions) => Effect.Effect<RunResult, SessionClosed | AiError.AiError>
  /** The agent speaks without a user's turn. */
  readonly generateReply: (options?: ReplyOptions) => Effect.Effect<SpeechHandle, SessionClosed>
  /** The agent says this text. */
  readonly say: (
    text: string | Stream.Stream<string>,
    options?: Omit<ReplyOptions, "toolChoice" | "instructions">
  ) => Effect.Effect<SpeechHandle, SessionClosed>
  /**
   * Cuts the current speech, and turns that wait for their calls. Fails if a speech disallows it, unless `force` is
   * true.
   */
  readonly interrupt: (options?: {
    readonly force?: boolean | undefined
  }) => Effect.Effect<void, InterruptionDisallowed>
  /**
   * Hands the conversation to another agent, once the current speech has ended. If the new agent cannot be built, the
   * effect dies and the old agent stays. Services of the session win over those of the caller's context.
   */
  readonly handoff: <R>(agent: Agent<R>) => Effect.Effect<void, SessionClosed, R>
  /**
   * Runs a task, and gives its value: the way to structured output. It waits for idle and holds the floor, as
   * `RunContext.foreground` does; further ones wait in a queue. Meanwhile the current agent is paused, and what the user
   * says is said to the task.
   *
   * `text` is a user's message to the task, behind what its `onEnter` does and says. If the task then comes to rest without
   * a result (its turn, and the calls that it made, have ended), the model is asked for one more turn in which it has to
   * call `complete`; if that brings none either, the effect fails with a `ToolError`. Without `text` the task goes on until
   * it ends, and without `text` and `onEnter` the model is asked at once.
   *
   * Fails with the `AiError` if a model fails in the task; with `ToolError` if the task declines, the conversation is handed
   * to another agent, or an agent that leaves asks for it in its `onExit`; with `SessionClosed` if the session closes.
   * Interrupting the effect ends the task. Inside a handler use `RunContext.runTask`; this works there, too, on the
   * handler's own hold of the floor.
   */
  readonly runTask: <A, R>(
    task: AgentTask<A, R>,
    text?: Input
  ) => Effect.Effect<A, SessionClosed | ToolError | AiError.AiError, R>
  readonly currentAgent: Effect.Effect<{ readonly name: string }>
  readonly history: Effect.Effect<ChatContext>
  /**
   * What happens in the session. If a subscriber falls behind, it loses the oldest events, and an `EventsMissed` says
   * how many. Events from before the first subscription are kept for the first subscriber, as far as its buffer
   * reaches.
   */
  readonly events: Stream.Stream<SessionEvent>
  /** Ends when nobody speaks or thinks, nothing is queued, and nobody holds the floor. */
  readonly waitForIdle: Effect.Effect<void, SessionClosed>
  /**
   * The user has the floor while the scope is open: what is being said goes on, and nothing new begins. What is sent
   * inside the claim is answered at once; all else waits and keeps its place.
   */
  readonly claimUserTurn: Effect.Effect<void, never, Scope.Scope>
  /**
   * A turn that the user is speaking: the floor is the user's, as in `claimUserTurn`, until the turn is committed or
   * discarded, or its scope is closed. Fails with `SessionClosed` if the session is closed. Dies with an `OptionsError`
   * if `speech` is none of its values.
   */
  readonly userTurn: (options?: UserTurnOptions) => Effect.Effect<UserTurn, SessionClosed, Scope.Scope>
  readonly runningTools: Effect.Effect<ReadonlyArray<RunningTool>>
  /**
   * Cancels a running call, and waits until it has stopped, for `cancellationTimeout` at most. Fails with a `ToolError`
   * if the call does not run, may not be cancelled, or is still stopping.
   */
  readonly cancelTool: (callId: string) => Effect.Effect<void, ToolError>
  /** The calls that wait until somebody agrees, oldest first; of calls that share one handler, the first. */
  readonly approvals: Effect.Effect<ReadonlyArray<PendingApproval>>
  /**
   * Somebody agrees: the call runs, with the arguments that the session has of it. With other `arguments`, these are decoded
   * by the tool's schema, and stand in all that is written of the call from then on. The first decision about a call wins.
   * Fails with a `ToolError` if the call does not wait (any more), or if the arguments do not fit: then it waits on.
   */
  readonly approve: (callId: string, options?: ApproveOptions) => Effect.Effect<void, ToolError>
  /**
   * Nobody is to run the call: it ends as an error, and the model is told, with the reason. Fails with a `ToolError` if it
   * does not wait (any more).
   */
  readonly deny: (callId: string, options?: DenyOptions) => Effect.Effect<void, ToolError>
  /**
   * The call ends with this output, in place of its tool. The output is decoded by the tool's success schema; with
   * `AsyncTool.content` it carries files. Fails with a `ToolError` if the call does not wait (any more), or if the output
   * does not fit: then it waits on.
   */
  readonly respond: (callId: string, output: unknown, options?: RespondOptions) => Effect.Effect<void, ToolError>
  /**
   * Tells a running call something, which its handler reads from `RunContext.messages`; the call may be inline, in the
   * background, or not have begun yet. If the tool's `messages` is a Schema, the message is decoded by it; with true it is
   * any JSON. The effect ends once the call has the message. Fails with a `ToolError` if the call does not run, is being
   * stopped or takes no messages, if `maxMessages` wait to be read, or if the message does not fit.
   */
  readonly messageTool: (callId: string, message: unknown) => Effect.Effect<void, ToolError>
  /**
   * Ends the session for good, as closing its Scope does if it is not durable. Of a durable session only the history stays
   * stored; if the storage fails, so does this, and it can be tried again.
   */
  readonly end: Effect.Effect<void, StorageError>
  /**
   * An inline call leaves its turn: it works on in the background, and the turn goes on without its result. Fails with a
   * `ToolError` if there is no such call, or if it has left its turn or ended already.
   */
  readonly release: (callId: string) => Effect.Effect<void, ToolError>
}

/**
 * The service behind the tag, for signatures that would name the tag otherwise.
 *
 * @since 0.1.0
 * @category models
 */
export type AgentSession_ = Service

/**
 * What a session is made of, and its bounds. Counts are whole numbers, of at least 1 if nothing else is said; times are
 * not negative. Building the session dies with an `OptionsError` otherwise. `Infinity` as a time means that there is no
 * limit. As a count it is refused if the count bounds memory.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<R, T extends Entries, A extends ReadonlyArray<Agent<any>> = []> {
  /** The first agent. */
  readonly agent: Agent<R>
  /**
   * The agents that a stored conversation may go on with, beside `agent`, which may be among them. Their names have to
   * differ. Default: none.
   */
  readonly agents?: A | undefined
  /** Tools that every agent has; they outlive hand-offs. */
  readonly tools?: T | undefined
  /** Model steps with tool calls in one turn. 0: no tool is called; Infinity: no bound. Default: 3. */
  readonly maxToolSteps?: number | undefined
  /** Updates of one call that wait for delivery; bounds memory. Default: 32. */
  readonly maxPendingUpdates?: number | undefined
  /** Messages to one call that nobody has read; bounds memory. One more is refused. Default: 32. */
  readonly maxMessages?: number | undefined
  /** Calls at work at once; bounds memory. Default: 64. */
  readonly maxRunning?: number | undefined
  /**
   * An inline call leaves the turn after this time, with 0 before its handler starts. A tool's own `releaseAfter` wins.
   * Default: never.
   */
  readonly releaseAfter?: Duration.DurationInput | undefined
  /**
   * When a call begins: `call`, as soon as the model has asked for it, while the answer still streams in; `step`, once
   * the answer has ended well. If the answer is cut off (by its limit of tokens, a filter, a failure of the model or an
   * interruption), such a call does not run and ends as an error. A tool's own `startAfter` wins. Default: `call`.
   */
  readonly startAfter?: "call" | "step" | undefined
  /** How long closing waits for calls that may not be cancelled; 0: it interrupts them at once. Default: 30 seconds. */
  readonly drainTimeout?: Duration.DurationInput | undefined
  /** How long the canceller of a call waits for the call to stop. Default: 5 seconds. */
  readonly cancellationTimeout?: Duration.DurationInput | undefined
  /**
   * Are the items of an interrupted deferred reply voiced again? Default: `drop`, they are not; they stay in the
   * history.
   */
  readonly onInterruptedReply?: "drop" | "redeliver" | undefined
  /** How many events are kept for each subscriber that is slow; it bounds memory. Default: 1024. */
  readonly eventBuffer?: number | undefined
  /**
   * Characters of an update, a result or a failure of a call; bounds memory. A longer text is cut, with a note that says
   * how much is missing and a warning in the log; any other value whose JSON is longer becomes text. Default: 400,000.
   */
  readonly maxOutputLength?: number | undefined
  /**
   * Bytes of a file, whoever sends it; base64 counts as what it stands for. It bounds memory. In the place of a larger file
   * the model is told that it is not there. Default: 5,000,000.
   */
  readonly maxFileBytes?: number | undefined
  /**
   * Do the events have what is written as it is written: `TextDelta`, `ReasoningDelta` and `ToolInputDelta`? Default:
   * false.
   */
  readonly deltas?: boolean | undefined
  /** A stored conversation to go on with. Default: an empty one. */
  readonly history?: ChatContext | undefined
  /**
   * With true the session goes on with the conversation of `history` as if it had never stopped. The agent that it was
   * last handed to takes it up, found by name among `agent` and `agents`; if it is not there, building the session dies with an
   * `OptionsError`. Its `onEnter` does not run. Of each call that was at work when the conversation was stored the history
   * is told that its outcome is not known (the `outcomeUnknown` template); no reply is asked for. A history without items
   * begins a new conversation, with `onEnter`. Default: false, `agent` begins behind the history.
   */
  readonly resume?: boolean | undefined
  /**
   * What waited for approval when the conversation of `history` was stored, as `session.approvals` gave it then: these calls
   * wait on under their ids, with the arguments of the history. Their policy is not asked again. One whose tool is gone, or
   * whose arguments its schema refuses now, ends as an error. Default: none; with `resume` such calls end, as cancelled.
   */
  readonly approvals?: ReadonlyArray<PendingApproval> | undefined
  /**
   * Saves the conversation: it is given what was added to the history since its last batch, without what `history`
   * brought. One batch is awaited before the next; the session does not wait for it, but when it closes, and then for
   * `drainTimeout` at most (with 0: for `cancellationTimeout`). If it fails, a `SessionError` with the tag `OnItemsFailed`
   * says so, the cause is logged, and the batch is given again with the next items, or once more as the session closes.
   * An update that is dropped (`maxPendingUpdates`) is given only if it was still there. Default: nothing is saved.
   */
  readonly onItems?: ((items: ReadonlyArray<ChatItem>) => Effect.Effect<void>) | undefined
}

/**
 * The options of a durable session, which asks for a `SessionStorage`.
 *
 * @since 0.1.0
 * @category models
 */
export interface DurableOptions<R, T extends Entries = [], A extends ReadonlyArray<Agent<any>> = []>
  extends Options<R, T, A> {
  /**
   * What it is stored under. A session that is made under an id that is stored goes on where that one stopped, with the
   * agent that it had then, found by name among `agent` and `agents`; `history` and `approvals` count only if nothing is
   * stored. Whoever had the session before can write nothing more.
   */
  readonly id: string
}

/**
 * Starts a session, which ends with its Scope; the Scope of a durable one only suspends it, and `session.end` ends it.
 * With an `id` it is durable, and making it fails with `StorageError` if the storage does, or if what is stored cannot be
 * used. Handlers, prompts and policies come from the context that surrounds
 * `make`. Building dies with `OptionsError`, `ToolOptionsError`, `ToolNameConflict` or `TemplateError` if its parts do not
 * fit together.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: <
  R,
  const T extends Entries = [],
  const A extends ReadonlyArray<Agent<any>> = [],
  Id extends string | undefined = undefined
>(
  options: Options<R, T, A> & { readonly id?: Id }
) => Effect.Effect<
  Service,
  IfDurable<Id, StorageError>,
  | R
  | RequirementsOf<A>
  | HandlersOf<T[number]>
  | LanguageModel.LanguageModel
  | IfDurable<Id, SessionStorage>
  | Scope.Scope
> = internal.make as (options: Options<any, any, any>) => Effect.Effect<Service, never, any>

/** What a session with an id adds (rule Q1): overloads would hide what is wrong with the options behind their list. */
type IfDurable<Id extends string | undefined, A> = [Id] extends [undefined] ? never : A

/**
 * A session as a layer.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: <
  R,
  const T extends Entries = [],
  const A extends ReadonlyArray<Agent<any>> = [],
  Id extends string | undefined = undefined
>(
  options: Options<R, T, A> & { readonly id?: Id }
) => Layer.Layer<
  AgentSession,
  IfDurable<Id, StorageError>,
  R | RequirementsOf<A> | HandlersOf<T[number]> | LanguageModel.LanguageModel | IfDurable<Id, SessionStorage>
> = (options: Options<any, any, any>): Layer.Layer<AgentSession, never, any> =>
  Layer.scoped(AgentSession, make(options) as Effect.Effect<Service, never, any>)

/**
 * A user's turn in the session of the context, see `Service.send`.
 *
 * @since 0.1.0
 * @category accessors
 */
export const send = (input: Input, options?: SendOptions): Effect.Effect<SpeechHandle, SessionClosed, AgentSession> =>
  Effect.flatMap(AgentSession, (session) => session.send(input, options))

/**
 * The agent of the context's session speaks without a user's turn, see `Service.generateReply`.
 *
 * @since 0.1.0
 * @category accessors
 */
export const generateReply = (options?: ReplyOptions): Effect.Effect<SpeechHandle, SessionClosed, AgentSession> =>
  Effect.flatMap(AgentSession, (session) => session.generateReply(options))

/**
 * The agent of the context's session says this text, see `Service.say`.
 *
 * @since 0.1.0
 * @category accessors
 */
export const say = (
  text: string | Stream.Stream<string>,
  options?: Omit<ReplyOptions, "toolChoice" | "instructions">
): Effect.Effect<SpeechHandle, SessionClosed, AgentSession> =>
  Effect.flatMap(AgentSession, (session) => session.say(text, options))
