/**
 * A conversation as those see it who may be on another machine (rule R6): nothing but data goes in and comes out.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Service } from "../../AgentSession.js"
import type { ChatItem } from "../../ChatContext.js"
import type { SessionEvent } from "../../SessionEvent.js"
import type { Handle } from "../../Sessions.js"
import { SessionsError, ToolError } from "../../Tags.js"
import { printable } from "../model/errors.js"
import { outsideSpans } from "../telemetry/recorder.js"
import { end as endSession } from "./closing.js"
import { type Host, hostOf } from "./host.js"

/** Does something with the session, which is there for at least so long. */
export type Use = <A, E, R>(f: (session: Service) => Effect.Effect<A, E, R>) => Effect.Effect<A, E | SessionsError, R>

export const handle = (id: string, use: Use, end: Effect.Effect<void, SessionsError>): Handle => ({
  id,
  send: (input, options) => use((session) => Effect.asVoid(session.send(input, options))),
  run: (input, options) => use((session) => session.run(input, options)),
  interrupt: use((session) =>
    Effect.mapError(session.interrupt(), ({ message }) => new SessionsError({ sessionId: id, message }))
  ),
  cancelTool: (callId) => use((session) => session.cancelTool(callId)),
  messageTool: (callId, message) => use((session) => session.messageTool(callId, message)),
  release: (callId) => use((session) => session.release(callId)),
  approvals: use((session) => session.approvals),
  approve: (callId, options) => use((session) => session.approve(callId, options)),
  deny: (callId, options) => use((session) => session.deny(callId, options)),
  respond: (callId, output, options) => use((session) => session.respond(callId, output, options)),
  handoff: (agent) => use((session) => handoff(id, session, agent)),
  history: use((session) => session.history),
  runningTools: use((session) => session.runningTools),
  events: (options) => Stream.unwrapScoped(use((session) => events(session, options?.after))),
  end
})

const handoff = (id: string, session: Service, name: string): Effect.Effect<void, ToolError | SessionsError> => {
  const agent = hostOf(session)?.agents.find((one) => one.name === name)
  if (agent === undefined) {
    return Effect.fail(new ToolError({ message: `The session has no agent "${name}".` }))
  }
  // what listed agents need, the session was given as it was made
  return Effect.catchAllCause(
    session.handoff(agent as typeof agent & { readonly _R: (_: never) => never }),
    (cause): Effect.Effect<never, ToolError | SessionsError> => {
      if (Cause.isInterruptedOnly(cause)) return Effect.failCause(cause as Cause.Cause<never>)
      if (Cause.isFailure(cause)) {
        return Effect.fail(new SessionsError({ sessionId: id, message: "The session closed before the hand-off." }))
      }
      return Effect.zipRight(
        outsideSpans(Effect.logError(`The agent "${name}" could not be built.`, printable(Cause.squash(cause)))),
        Effect.fail(new ToolError({ message: `The agent "${name}" is not available.` }))
      )
    }
  )
}

const told = (item: ChatItem): SessionEvent => ({ _tag: "ItemAdded", at: item.createdAt, item })

/** Of a history what comes behind that item; all of it if it is not there. */
const behind = (items: ReadonlyArray<ChatItem>, after: string): Stream.Stream<SessionEvent> =>
  Stream.map(Stream.fromIterable(items.slice(items.findLastIndex(({ id }) => id === after) + 1)), told)

/** The look at the history and the subscription are one: what comes later is an event, what came before is not. */
const events = (
  session: Service,
  after: string | undefined
): Effect.Effect<Stream.Stream<SessionEvent>, never, Scope.Scope> => {
  const host = hostOf(session)
  if (after === undefined) return Effect.succeed(session.events)
  if (host === undefined) return Effect.map(session.history, ({ items }) => withLater(session, items, after))
  return Effect.uninterruptible(
    Effect.suspend(() => {
      const items = host.state.history.slice()
      return Effect.map(host.hub.since, (live) =>
        // of a durable session an item is in the history before it is stored, and so before it is told
        Stream.concat(behind(items, after), host.storing === undefined ? live : without(items, live))
      )
    })
  )
}

/** A double has no place where both can be done at once: what is in the history is not told again. */
const withLater = (session: Service, items: ReadonlyArray<ChatItem>, after: string): Stream.Stream<SessionEvent> =>
  Stream.concat(behind(items, after), without(items, session.events))

const without = (items: ReadonlyArray<ChatItem>, live: Stream.Stream<SessionEvent>): Stream.Stream<SessionEvent> => {
  const known = new Set(items.map(({ id }) => id))
  return Stream.filter(live, (event) => event._tag !== "ItemAdded" || !known.delete(event.item.id))
}

/** For good. */
export const endFor = (id: string, host: Host): Effect.Effect<void, SessionsError> =>
  Effect.mapError(endSession(host), ({ message }) => new SessionsError({ sessionId: id, message }))

/** The one session that the program made itself. */
export const fromSession = (session: Service): Handle => {
  const id = "session"
  const end = Effect.suspend((): Effect.Effect<void, SessionsError> => {
    const host = hostOf(session)
    return host === undefined
      ? Effect.fail(
          new SessionsError({ sessionId: id, message: "This is a copy of a session: it ends with its scope." })
        )
      : // a caller that gives up leaves it to end
        Effect.flatMap(Effect.forkDaemon(Effect.uninterruptible(endFor(id, host))), Fiber.join)
  })
  return handle(id, (f) => f(session), end)
}
