/**
 * Many conversations by id, behind one service. A program depends on the tag; the layer decides how they are made, and
 * where they run.
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Agent, Sessions } from "effect-meantime"
 *
 * const agent = Agent.make("host", { instructions: "Be brief." })
 *
 * const SessionsLive = Sessions.layer(() => Effect.succeed({ agent }), { idleAfter: "10 minutes", maxSessions: 1000 })
 *
 * const answer = (sessionId: string, text: string) =>
 *   Effect.gen(function* () {
 *     const sessions = yield* Sessions.Sessions
 *     const session = yield* sessions.get(sessionId)
 *     return (yield* session.run(text)).text
 *   })
 * ```
 *
 * @since 0.1.0
 */
import type * as AiError from "@effect/ai/AiError"
import type * as LanguageModel from "@effect/ai/LanguageModel"
import * as Chunk from "effect/Chunk"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Agent, RequirementsOf } from "./Agent.js"
import type {
  Service as AgentSession,
  ApproveOptions,
  DenyOptions,
  Input,
  RespondOptions,
  RunningTool,
  RunOptions,
  RunResult,
  SendOptions,
  Options as SessionOptions
} from "./AgentSession.js"
import type { PendingApproval } from "./ApprovalPolicy.js"
import type { Entries, HandlersOf } from "./AsyncToolset.js"
import type { ChatContext } from "./ChatContext.js"
import * as handles from "./internal/shell/sessionHandle.js"
import * as internal from "./internal/shell/sessions.js"
import { SessionEvent } from "./SessionEvent.js"
import {
  type SessionClosed,
  type SessionStorage,
  Sessions,
  SessionsError,
  type StorageError,
  type ToolError
} from "./Tags.js"

export { Sessions, SessionsError }

/**
 * A conversation by its id. A handle holds nothing: if its session has closed, each of its methods but `end` opens it
 * again. What it takes and gives is data, so it does not matter on which machine the session runs.
 *
 * @since 0.1.0
 * @category models
 */
export interface Handle {
  readonly id: string
  /** As the session's `send`; ends once the session has the message. */
  readonly send: (input: Input, options?: SendOptions) => Effect.Effect<void, SessionClosed | SessionsError>
  /** As the session's `run`. Fails with `SessionClosed` if the session closes in the middle. */
  readonly run: (
    input: Input,
    options?: RunOptions
  ) => Effect.Effect<RunResult, SessionClosed | AiError.AiError | SessionsError>
  /** As the session's `interrupt`; a speech that disallows it is a `SessionsError`. */
  readonly interrupt: Effect.Effect<void, SessionsError>
  readonly cancelTool: (callId: string) => Effect.Effect<void, ToolError | SessionsError>
  /** As the session's `messageTool`: a running call is told something, which JSON can carry. */
  readonly messageTool: (callId: string, message: unknown) => Effect.Effect<void, ToolError | SessionsError>
  /** As the session's `release`: an inline call leaves its turn. */
  readonly release: (callId: string) => Effect.Effect<void, ToolError | SessionsError>
  /** The calls that wait until somebody agrees, oldest first. They keep their session open. */
  readonly approvals: Effect.Effect<ReadonlyArray<PendingApproval>, SessionsError>
  /** As the session's `approve`: the call runs, with other arguments if they are given. */
  readonly approve: (callId: string, options?: ApproveOptions) => Effect.Effect<void, ToolError | SessionsError>
  /** As the session's `deny`: the call ends as an error, and the model is told why. */
  readonly deny: (callId: string, options?: DenyOptions) => Effect.Effect<void, ToolError | SessionsError>
  /** As the session's `respond`: the call ends with this output, which may carry files, in place of the tool. */
  readonly respond: (
    callId: string,
    output: unknown,
    options?: RespondOptions
  ) => Effect.Effect<void, ToolError | SessionsError>
  /**
   * Hands the conversation to the agent of that name among `agent` and `agents` of the session's options. Fails with a
   * `ToolError` if there is none, or if it cannot be built.
   */
  readonly handoff: (agent: string) => Effect.Effect<void, ToolError | SessionsError>
  readonly history: Effect.Effect<ChatContext, SessionsError>
  readonly runningTools: Effect.Effect<ReadonlyArray<RunningTool>, SessionsError>
  /** Closes the session for good: its history is forgotten. Does not open it. */
  readonly end: Effect.Effect<void, SessionsError>
  /**
   * What happens in the session, until it closes; listening does not keep it from being idle. With `after`, the id of the
   * last item that the listener has, the items behind that one come first, each as an `ItemAdded`, and then what happens:
   * no item is lost or told twice in between. An id that is not in the history, such as the empty text, stands for all of
   * it. Without `after` the stream is that of the session.
   */
  readonly events: (options?: { readonly after?: string | undefined }) => Stream.Stream<SessionEvent, SessionsError>
}

/**
 * Conversations by their ids.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /**
   * Finds a session, or makes it. Fails with a `SessionsError` if its options fail, if there are `maxSessions` and none of
   * them is idle, or if the service is closed; dies if its options or its parts do. Of several who ask at once one session
   * is made; if all of them give up, it is not.
   */
  readonly get: (sessionId: string) => Effect.Effect<Handle, SessionsError>
  /** The session itself, for what a handle cannot say. It is not closed for being idle while the scope is open. */
  readonly local: (sessionId: string) => Effect.Effect<AgentSession, SessionsError, Scope.Scope>
  /** Those of the open sessions. */
  readonly ids: Effect.Effect<ReadonlyArray<string>>
  /** Closes a session, and waits for that; its history is kept. Does nothing if there is none. */
  readonly close: (sessionId: string) => Effect.Effect<void, SessionsError>
}

/**
 * Bounds of the service. Building the layer dies with an `OptionsError` if one makes no sense.
 *
 * @since 0.1.0
 * @category models
 */
export interface Settings {
  /**
   * A session is closed after this time without a turn, a call that works or waits for approval, something that is to be
   * voiced, or a user who speaks. Using a handle starts the time anew, listening to events does not. Default: never.
   */
  readonly idleAfter?: Duration.DurationInput | undefined
  /**
   * Sessions at once, at least 1. For one more the longest idle one is closed; if none is idle, `get` fails. Default: no
   * bound.
   */
  readonly maxSessions?: number | undefined
  /**
   * Closed sessions whose history is kept in memory; the one that closed first goes. Such a session comes back with its
   * history and `resume: true`, unless its options bring a history. 0: none is kept. Default: 10,000.
   */
  readonly maxKept?: number | undefined
  /**
   * Are the sessions durable, with their ids? The layer then asks for a `SessionStorage`, and opens the sessions that had
   * something open; one that cannot be opened is logged. A session with nothing open is closed after `idleAfter`, which is 5
   * minutes by default, and comes back when it is asked for. `close` suspends a session, the handle's `end` ends it and
   * keeps its history stored. Default: false.
   */
  readonly durable?: boolean | undefined
}

/**
 * Sessions in this process. The function gives a session's options by its id; its effect runs in the session's scope, so
 * what it acquires lives as long as the session does. Handlers, models, prompts and policies come from the layer's context.
 * Closing the layer closes all sessions, side by side.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: {
  <R, R2, const T extends Entries = [], const A extends ReadonlyArray<Agent<any>> = [], E = never>(
    options: (sessionId: string) => Effect.Effect<SessionOptions<R, T, A>, E, R2>,
    settings: Settings & { readonly durable: boolean }
  ): Layer.Layer<
    Sessions,
    StorageError,
    | R
    | Exclude<R2, Scope.Scope>
    | RequirementsOf<A>
    | HandlersOf<T[number]>
    | LanguageModel.LanguageModel
    | SessionStorage
  >
  <R, R2, const T extends Entries = [], const A extends ReadonlyArray<Agent<any>> = [], E = never>(
    options: (sessionId: string) => Effect.Effect<SessionOptions<R, T, A>, E, R2>,
    settings?: Settings
  ): Layer.Layer<
    Sessions,
    never,
    R | Exclude<R2, Scope.Scope> | RequirementsOf<A> | HandlersOf<T[number]> | LanguageModel.LanguageModel
  >
} = (
  options: (sessionId: string) => Effect.Effect<SessionOptions<any, any, any>, unknown, any>,
  settings?: Settings
): Layer.Layer<Sessions, never, any> =>
  Layer.scoped(Sessions, internal.make(options, settings) as Effect.Effect<Service, never, any>)

/**
 * A handle of a session that the program made itself, for parts that work with handles. Its id is `session`; its `end`
 * closes the session before its scope does. Of a copy of a session it ends nothing and hands over to nobody.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromSession: (session: AgentSession) => Handle = handles.fromSession

const encode = Schema.encodeSync(SessionEvent)

/** An id that a header of HTTP can bring back. */
const isLine = (id: string): boolean => /^[\x20-\x7e]+$/.test(id)

/** JSON has no line breaks, so an event is one line. */
const frame = (event: SessionEvent): string => {
  const id = event._tag === "ItemAdded" && isLine(event.item.id) ? `id: ${event.item.id}\n` : ""
  return `${id}data: ${JSON.stringify(encode(event))}\n\n`
}

/**
 * The events of a session as the body of an HTTP response of the type `text/event-stream`, which a page reads with
 * `EventSource`. The data of each message is an event as JSON, in the form of `SessionEvent.SessionEventEncoded`. The id
 * of a message is that of the item that it adds, so a browser that connects again sends the last one that it has, as the
 * header `last-event-id`: give it as `after`. Default: nothing, all items come first. The stream ends behind
 * `SessionClosed`. Every `heartbeat` (default: 15 seconds) there is a comment, so that a connection that is dead is found.
 *
 * @example
 * import { HttpServerRequest, HttpServerResponse } from "@effect/platform"
 * import { Effect } from "effect"
 * import { Sessions } from "effect-meantime"
 *
 * const events = (session: Sessions.Handle) =>
 *   Effect.map(HttpServerRequest.HttpServerRequest, ({ headers }) =>
 *     HttpServerResponse.stream(Sessions.serverSentEvents(session, { after: headers["last-event-id"] }), {
 *       contentType: "text/event-stream"
 *     })
 *   )
 *
 * @since 0.1.0
 * @category combinators
 */
export const serverSentEvents = (
  session: Handle,
  options?: { readonly after?: string | undefined; readonly heartbeat?: Duration.DurationInput | undefined }
): Stream.Stream<Uint8Array, SessionsError> => {
  const frames = Stream.mapChunks(session.events({ after: options?.after ?? "" }), (events) =>
    Chunk.of(Chunk.toReadonlyArray(events).map(frame).join(""))
  )
  const beats = Stream.schedule(
    Stream.forever(Stream.make(":\n\n")),
    Schedule.spaced(options?.heartbeat ?? "15 seconds")
  )
  // the first line at once: a proxy, or the page, may wait for the beginning of the body. It comes behind the subscription:
  // a page that sends something once it has the headers misses nothing of it
  return Stream.encodeText(Stream.merge(frames, Stream.concat(Stream.make(":\n\n"), beats), { haltStrategy: "left" }))
}
