/**
 * The chat itself: a session, what the user enters, and what there is to show. It knows nothing of terminals; a face
 * shows it, be it rows of a terminal that are drawn again and again, or plain lines.
 */
import type { LanguageModel } from "@effect/ai"
import {
  Cause,
  Clock,
  Data,
  Deferred,
  Effect,
  type Fiber,
  Logger,
  LogLevel,
  Option,
  Schedule,
  type Scope,
  Stream
} from "effect"
import { AgentOutput, AgentSession, type SessionEvent } from "effect-meantime"
import type { Flights } from "../demo/Travel.js"
import { Support, TravelAgent } from "../demo/Travel.js"
import * as Deciding from "../shared/Deciding.js"
import * as Keeping from "../shared/Keeping.js"
import * as Saying from "../shared/Saying.js"
import * as View from "../shared/View.js"
import * as Command from "./Command.js"

// --- models ---------------------------------------------------------------------------------------------------------

/** An end of the chat that is told in one sentence. */
export class Trouble extends Data.TaggedError("Trouble")<{ readonly message: string; readonly code: number }> {}

/** Something that has happened, for good. */
export interface Entry {
  readonly style: "user" | "agent" | "note" | "good" | "bad"
  /** who, or a sign for what */
  readonly label: string
  readonly text: string
  readonly at: number
}

export interface Face<E = never> {
  /** what the user enters, until there is no more */
  readonly lines: Stream.Stream<string, E>
  /** entered by hand, and so said at once; lines of a pipe wait until the agent has finished speaking */
  readonly typed: boolean
  readonly entry: (entry: Entry) => Effect.Effect<void>
  /** the session as it is now */
  readonly view: (view: View.View) => Effect.Effect<void>
  /** what is being said, as far as it has been said */
  readonly saying: (text: string) => Effect.Effect<void>
}

// --- what is shown --------------------------------------------------------------------------------------------------

/** What moves the cursor or rings the bell does not come from a model, a tool or a pipe onto a terminal. */
export const printable = (text: string): string =>
  text.replace(/\p{Cc}/gu, (char) => (char === "\n" || char === "\t" ? " " : "")).trim()

const marks = { done: "✓", error: "✗", cancelled: "■", unknown: "?" }

/** What an event adds to what is shown for good. */
export const entries = (view: View.View, event: SessionEvent.SessionEvent): ReadonlyArray<Entry> => {
  const entry = (style: Entry["style"], label: string, text: string): ReadonlyArray<Entry> => {
    const clean = printable(text)
    return clean === "" ? [] : [{ style, label: printable(label), text: clean, at: event.at }]
  }
  const call = (callId: string) => {
    const name = view.calls.findLast((call) => call.callId === callId)?.name
    return `${name ?? "call"} (${callId})`
  }
  switch (event._tag) {
    case "ItemAdded": {
      const { item } = event
      if (item._tag !== "Message") return []
      return item.role === "user"
        ? entry("user", "you", item.text)
        : entry("agent", view.agent ?? "agent", item.interrupted ? `${item.text} —` : item.text)
    }
    case "ToolCallStarted":
      return entry("note", "▶", `${call(event.call.callId)} ${View.brief(event.call.arguments)}`)
    case "ToolCallUpdated":
      return entry("note", "⋯", `${call(event.callId)} ${View.brief(event.message)}`)
    case "ToolCallEnded": {
      const style = event.status === "done" ? "good" : "bad"
      return entry(style, marks[event.status], `${call(event.callId)} ${View.brief(event.output)}`)
    }
    case "ApprovalRequested": {
      const { callId } = event.call
      const why = event.reason === undefined ? "" : ` (${event.reason})`
      return entry("bad", "?", `${call(callId)} waits for you${why}: /approve ${callId} or /deny ${callId}`)
    }
    case "ApprovalDecided": {
      const who = event.by === undefined ? "" : ` by ${event.by}`
      const why = event.reason === undefined ? "" : `: ${event.reason}`
      return entry("note", "?", `${call(event.callId)} ${event.decision}${who}${why}`)
    }
    case "ToolCallMessaged":
      return entry("note", "⋯", `${call(event.callId)} was told: ${View.brief(event.message)}`)
    case "ToolCallMessagesLost":
      return entry("note", "!", `${call(event.callId)} has not read ${event.count} messages`)
    case "ReplyEnded":
      return event.status === "completed" || event.status === "skipped"
        ? []
        : entry("note", "↳", `the reply to ${event.updateIds.join(", ")} was ${event.status}`)
    case "AgentHandoff":
      return entry("note", "⇒", event.to)
    case "SessionError":
      return entry("bad", "!", event.error.message)
    case "EventsMissed":
      return entry("note", "!", `${event.count} events were missed`)
    default:
      return []
  }
}

/** One line about a running call, for `/tasks` and for the status of the terminal. */
export const status = (call: View.Call, now: number): string => {
  const latest = View.waits(call) ? "waits for you" : printable(View.latest(call) ?? "")
  return `${call.name ?? "call"} (${call.callId})  ${View.duration(now - call.startedAt)}${latest === "" ? "" : `  ${latest}`}`
}

// --- the talk -------------------------------------------------------------------------------------------------------

/** Waits until nothing works any more and everything has been said. Nobody comes to decide about what waits for a person. */
const settled = (session: AgentSession.Service) =>
  session.waitForIdle.pipe(
    Effect.zipRight(Deciding.works(session)),
    Effect.repeat({ until: (works) => !works, schedule: Schedule.spaced("50 millis") }),
    Effect.zipRight(session.waitForIdle)
  )

const talk = <E>(
  session: AgentSession.Service,
  face: Face<E>,
  seen: () => View.View,
  /** it goes on with an earlier one: whoever says nothing may want to hear what came of it */
  goesOn: boolean
) =>
  Effect.gen(function* () {
    const note = (text: string, style: Entry["style"] = "note") =>
      Effect.flatMap(Clock.currentTimeMillis, (at) => face.entry({ style, label: "·", text, at }))
    let entered = 0
    let failed = false
    let quit = false

    const cancel = Effect.fnUntraced(function* (callId: string | undefined) {
      const may = (yield* session.runningTools).filter(({ allowCancellation }) => allowCancellation)
      const [only, another] = may
      if (callId === undefined && only === undefined) return yield* note("Nothing runs that may be cancelled.")
      if (callId === undefined && another !== undefined) {
        return yield* note(`Which one? ${may.map(({ callId, name }) => `${callId} (${name})`).join(", ")}`)
      }
      yield* Effect.catchAll(session.cancelTool(callId ?? only?.callId ?? ""), ({ message }) =>
        note(printable(message), "bad")
      )
    })

    const obey = Effect.fnUntraced(function* (line: string) {
      const command = Command.parse(line)
      if (command === undefined) return
      entered++
      switch (command._tag) {
        case "Say": {
          const speech = yield* session.send(command.text)
          if (face.typed) return
          yield* Effect.ignore(speech.wait)
          if (Option.isSome(yield* speech.error)) failed = true
          return yield* session.waitForIdle
        }
        case "Tasks": {
          const now = yield* Clock.currentTimeMillis
          const running = View.running(seen())
          if (running.length === 0) return yield* note("Nothing is running.")
          return yield* Effect.forEach(running, (call) => note(status(call, now)), { discard: true })
        }
        case "Cancel":
          // it waits until the call has stopped; who types goes on meanwhile
          return yield* face.typed ? Effect.forkScoped(cancel(command.callId)) : cancel(command.callId)
        case "Decide": {
          const problem = yield* Deciding.carryOut(session, command.command)
          if (problem !== undefined) yield* note(printable(problem), "bad")
          return yield* face.typed ? Effect.void : session.waitForIdle
        }
        case "Help":
          return yield* Effect.forEach(Command.help, (text) => note(text), { discard: true })
        case "Quit":
          quit = true
          return
        case "Unknown":
          return yield* note(`There is no command /${printable(command.name)}; see /help.`, "bad")
      }
    })

    // the greeting is heard out before the first line of a pipe
    if (!face.typed) yield* session.waitForIdle
    yield* face.lines.pipe(
      Stream.takeUntil((line) => Command.parse(line)?._tag === "Quit"),
      Stream.runForEach(obey)
    )
    if (quit || face.typed) return
    if (entered === 0 && !goesOn) {
      return yield* new Trouble({
        message: "There was nothing to read on standard input: type at a terminal, or pipe lines in (see --help).",
        code: 1
      })
    }
    if (yield* Deciding.works(session)) yield* note("waiting for what still runs; Ctrl-C ends at once")
    yield* settled(session)
    if (failed) return yield* new Trouble({ message: "The model failed; see above.", code: 1 })
  }).pipe(Effect.catchTag("SessionClosed", () => Effect.void))

/** A bug is shown; what tools report as errors is among the entries already. */
const logger = <E>(face: Face<E>) =>
  Logger.replace(
    Logger.defaultLogger,
    Logger.make(({ cause, date, message }) => {
      const text = `${Array.isArray(message) ? message.join(" ") : String(message)} ${Cause.isEmpty(cause) ? "" : Cause.pretty(cause)}`
      Effect.runSync(face.entry({ style: "bad", label: "!", text: printable(text), at: date.getTime() }))
    })
  )

// news that the user talked over are told once more
const options = { agent: TravelAgent, agents: [Support], onInterruptedReply: "redeliver" } as const

/**
 * Holds the conversation until the user leaves; then it is closed in order, and what happens meanwhile is still shown. With
 * a file it goes on with the one that is kept there, and leaving only interrupts it.
 */
export const converse = <E>(
  face: Face<E>,
  file?: string
): Effect.Effect<void, E | Trouble, LanguageModel.LanguageModel | Flights> =>
  Effect.gen(function* () {
    const outer: Scope.Scope = yield* Effect.scope
    yield* Effect.scoped(
      Effect.gen(function* () {
        // added before the session, so it runs once that has been closed
        const following = yield* Deferred.make<Fiber.Fiber<void>>()
        yield* Effect.addFinalizer(() =>
          Effect.gen(function* () {
            const fiber = yield* Deferred.poll(following)
            if (Option.isNone(fiber)) return
            yield* Effect.flatMap(fiber.value, (fiber) => fiber.await)
            const at = yield* Clock.currentTimeMillis
            const closed = file === undefined ? "the session is closed" : `it goes on with --file ${file}`
            yield* face.entry({ style: "note", label: "·", text: closed, at })
          })
        )
        const made =
          file === undefined
            ? AgentSession.make(options)
            : AgentSession.make({ ...options, id: "chat" }).pipe(
                Keeping.provided(file),
                Effect.mapError(({ message }) => new Trouble({ message, code: 1 }))
              )
        const session = yield* Effect.provideService(made, AgentOutput.AgentOutput, Saying.make(face.saying))
        const { before, events } =
          file === undefined ? { before: new Set<string>(), events: session.events } : yield* Keeping.resumed(session)
        let view = View.empty
        const follow = Stream.runForEach(events, (event) => {
          view = View.step(view, event)
          return Effect.zipRight(Effect.forEach(entries(view, event), face.entry, { discard: true }), face.view(view))
        })
        yield* Effect.flatMap(Effect.forkIn(follow, outer), (fiber) => Deferred.succeed(following, fiber))
        yield* talk(session, face, () => view, before.size > 0)
      })
    )
  }).pipe(Effect.scoped, Effect.provide(logger(face)), Logger.withMinimumLogLevel(LogLevel.Error))
