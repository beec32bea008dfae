/**
 * A session behind a page that uses `useChat` of `@ai-sdk/react` with its default transport, or one that speaks AG-UI. It
 * has no dependency: the page's side is the AI SDK's own, and `effect-meantime/ui/client` has what that does not do by
 * itself. The session needs `deltas: true` for words that stream.
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Agent, Sessions } from "effect-meantime"
 * import * as Ui from "effect-meantime/ui"
 *
 * const agent = Agent.make("host", { instructions: "Be brief." })
 *
 * // (request: Request) => Effect<Response>: for any server that has the web's requests
 * const chat = Ui.handler({
 *   authorize: (chatId) =>
 *     chatId.startsWith("mine-") ? Effect.void : Effect.fail(new Ui.UiRequestError({ message: "Not yours.", status: 403 }))
 * }).pipe(Effect.provide(Sessions.layer(() => Effect.succeed({ agent, deltas: true }))))
 * ```
 *
 * @since 0.1.0
 */
import type * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import type { Service as AgentSession } from "../AgentSession.js"
import type { ChatContext } from "../ChatContext.js"
import type { AgUiEvent, AgUiInterrupt, AgUiMessage } from "../internal/ui/agui.js"
import * as agui from "../internal/ui/agui.js"
import type { CallData, MessageMetadata, ToolPart, UIMessage, UIPart, UiChunk } from "../internal/ui/chunks.js"
import * as handlers from "../internal/ui/handler.js"
import * as messages from "../internal/ui/messages.js"
import * as responses from "../internal/ui/responses.js"
import * as internal from "../internal/ui/ui.js"
import type { Handle } from "../Sessions.js"
import { type SessionClosed, type Sessions, UiRequestError } from "../Tags.js"

export type { AgUiEvent, AgUiInterrupt, AgUiMessage, CallData, MessageMetadata, ToolPart, UIMessage, UIPart, UiChunk }
export { UiRequestError }

/**
 * How a page is served.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /**
   * How many messages are kept for a page that comes back, those of which nobody has heard among them; at least 1. Beyond
   * that the oldest one goes: it is in the history only. Default: 20.
   */
  readonly keep?: number | undefined
  /**
   * What becomes of an answer whose page is gone. A connection that is lost looks like a page that is loaded again, so by
   * default (`continue`) the answer goes on, and the next GET has it; `interrupt` cuts it.
   */
  readonly onDisconnect?: "continue" | "interrupt" | undefined
}

/**
 * One conversation as a page has it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Ui {
  /**
   * The body of the transport's POST, as JSON: sends the user's message, or decides about calls that wait, and gives the
   * chunks of the answer until the turn ends. A message whose id was sent before is not sent again: its answer comes from
   * the beginning. A newer `post` ends the stream of an older one. Fails with a `UiRequestError` if the body cannot be read,
   * edits what was said, asks for an answer again, or decides about nothing that there is; nothing is sent then.
   */
  readonly post: (body: unknown) => Effect.Effect<Stream.Stream<UiChunk>, UiRequestError | SessionClosed>
  /**
   * The next message of which nobody has heard: what was said since, or the answer to a POST whose stream broke. Waits for
   * one, for `wait` (default: 25 seconds); none then. Each message is given once; one whose stream breaks, again.
   */
  readonly get: (options?: {
    readonly wait?: Duration.DurationInput | undefined
  }) => Effect.Effect<Option.Option<Stream.Stream<UiChunk>>>
  /** Interrupts what is said, if it may be. */
  readonly stop: Effect.Effect<void>
}

/**
 * Serves a session, or a handle, while the scope is open. Dies with an `OptionsError` if an option makes no sense.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: (session: AgentSession | Handle, options?: Options) => Effect.Effect<Ui, never, Scope.Scope> =
  internal.make

/**
 * What one `Ui` answers to a POST, a GET or a DELETE (stop) of the default transport. It never fails: what is wrong with a
 * request is a status and a sentence.
 *
 * @since 0.1.0
 * @category combinators
 */
export const respond: (ui: Ui, request: Request) => Effect.Effect<Response> = responses.respond

/**
 * Chunks as a response of the web (`text/event-stream`). A body that is cancelled ends the stream.
 *
 * @since 0.1.0
 * @category conversions
 */
export const toResponse: (stream: Stream.Stream<UiChunk>) => Effect.Effect<Response> = responses.toResponse

/**
 * Chunks as a response of `@effect/platform`.
 *
 * @since 0.1.0
 * @category conversions
 */
export const toHttpServerResponse: (
  stream: Stream.Stream<UiChunk>
) => Effect.Effect<HttpServerResponse.HttpServerResponse> = responses.toHttpServerResponse

/**
 * The options of `handler`.
 *
 * @since 0.1.0
 * @category models
 */
export interface HandlerOptions<R> extends Options {
  /** May whoever sends the request use the conversation of this id? The page chooses the id, so the program has to say. */
  readonly authorize: (chatId: string, request: Request) => Effect.Effect<void, UiRequestError, R>
}

/**
 * The route behind `useChat`: a POST with the id of the chat in its body, a GET of `…/<id>/stream`, a DELETE of `…/<id>`.
 * It makes a session for each id that is authorized, and keeps one `Ui` for each.
 *
 * @since 0.1.0
 * @category constructors
 */
export const handler: <R = never>(
  options: HandlerOptions<R>
) => Effect.Effect<(request: Request) => Effect.Effect<Response, never, R>, never, Sessions | Scope.Scope> =
  handlers.handler

/**
 * A history as the messages of a page, for the first ones of a chat.
 *
 * @since 0.1.0
 * @category conversions
 */
export const toMessages: (context: ChatContext) => ReadonlyArray<UIMessage> = messages.toMessages

/**
 * The same conversation as events of AG-UI 1.0, one run for each request: `input` is its `RunAgentInput`, of which the last
 * user's message and the answers to interrupts (`resume`) are read. Calls that wait for approval end the run as interrupts;
 * the answer is `{ approved, reason?, editedArgs? }`, and one that is cancelled is a denial. What was said between two runs
 * is in a snapshot at the beginning of the next. Bad input is a `RUN_ERROR`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const agUi: (session: Handle, input: unknown) => Stream.Stream<AgUiEvent> = agui.agUi

/**
 * Events of AG-UI as a response of the web (`text/event-stream`), as `HttpAgent` of `@ag-ui/client` reads it.
 *
 * @since 0.1.0
 * @category conversions
 */
export const agUiResponse: (events: Stream.Stream<AgUiEvent>) => Effect.Effect<Response> = responses.agUiResponse
