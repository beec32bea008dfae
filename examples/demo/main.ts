/**
 * A conversation with a travel agent in the terminal: `npm run demo`.
 */

import { fstatSync } from "node:fs"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeStream from "@effect/platform-node/NodeStream"
import {
  Cause,
  Data,
  Deferred,
  Effect,
  Exit,
  Fiber,
  Logger,
  LogLevel,
  Mailbox,
  Option,
  Predicate,
  Ref,
  Schedule,
  Stream
} from "effect"
import { AgentSession, type SessionEvent } from "effect-meantime"
import * as Deciding from "../shared/Deciding.js"
import * as Keeping from "../shared/Keeping.js"
import { choose, Settings } from "./Providers.js"
import * as Screen from "./Screen.js"
import { flightsLayer, type SeatChange, Support, TravelAgent } from "./Travel.js"

const usage = `Talk with a travel agent that books flights, pays bills and looks up the weather (all simulated).

  npm run demo                               type your lines; Ctrl-D ends, Ctrl-C ends at once
  printf 'book a flight from Oslo to Tokyo\\nhow is the weather in Tokyo?\\n' | npm run demo
  npm run demo -- --file talk.db             keeps the conversation: kill the terminal in the middle of a booking, and
                                             start again with the same file; Ctrl-C only interrupts it then

Try: book a flight from Oslo to Tokyo · I want a window seat · how is the weather in Tokyo? · book another one to Paris ·
     pay the hotel deposit of 300 euros · what are you doing? · cancel it · I want to complain · quit

A payment waits until you approve it, and the talk goes on meanwhile:
  ${Deciding.help.join("\n  ")}

Piped lines are said one after another, each once the agent has finished speaking; at their end the
demo waits for what still runs, and not for what waits for you. Ctrl-C closes the session: what runs is cancelled, held seats are released.

Environment:
  OPENAI_API_KEY      talk through OpenAI (OPENAI_MODEL, default gpt-5-mini; OPENAI_BASE_URL)
  ANTHROPIC_API_KEY   talk through Anthropic (ANTHROPIC_MODEL, default claude-haiku-4-5; ANTHROPIC_BASE_URL)
                      without a key: an embedded model that answers offline, by keywords
  DEMO_SPEED          how fast simulated time passes, default 1
  NO_COLOR            no colours

Exit status: 0 when the conversation ended, 1 when there was no input, it could not be read, or the model
failed, 2 for a wrong option or setting, 130 after Ctrl-C.
`

/** An end of the demo that is told in one sentence. */
class Trouble extends Data.TaggedError("Trouble")<{ readonly message: string; readonly code: number }> {}

// --- what is shown --------------------------------------------------------------------------------------------------

const compact = (value: unknown): string => {
  if (typeof value === "string") return value.split("\n")[0] ?? ""
  if (typeof value !== "object" || value === null) return String(value)
  if (Array.isArray(value)) return value.length === 0 ? "nothing" : value.map(compact).join(" | ")
  return Object.entries(value)
    .filter(([, part]) => part !== null && part !== undefined)
    .map(([key, part]) => `${key}: ${typeof part === "object" ? `(${compact(part)})` : part}`)
    .join(", ")
}

const progress = (value: unknown): string =>
  Predicate.hasProperty(value, "percent") ? `${value.percent} %` : compact(value)

const marks = { done: "✓", error: "✗", cancelled: "■" }
const styles = { done: "good", error: "bad", cancelled: "bad" } as const

/** Shows the events of a session until it is closed, and the items that were said `before`. */
const follow = (
  events: Stream.Stream<SessionEvent.SessionEvent>,
  screen: Screen.Screen["Type"],
  before: ReadonlySet<string>
) => {
  const names = new Map<string, string>()
  const named = (callId: string) => `${names.get(callId) ?? "call"}(${callId})`
  const show = (event: SessionEvent.SessionEvent): Effect.Effect<void> => {
    switch (event._tag) {
      case "ItemAdded": {
        const { item } = event
        // what is said now is shown as it is said
        if (item._tag !== "Message" || !before.has(item.id)) return Effect.void
        return item.role === "user"
          ? screen.line("you", item.text, "user", item.createdAt)
          : screen.line("agent", item.interrupted ? `${item.text} —` : item.text, "plain", item.createdAt)
      }
      case "ToolCallStarted": {
        const { arguments: args, callId, name } = event.call
        names.set(callId, name)
        return screen.line("  ▶", `${named(callId)} ${compact(args)}`, "faint", event.at)
      }
      case "ToolCallUpdated":
        return screen.line("  ⋯", `${named(event.callId)} ${compact(event.message)}`, "faint", event.at)
      case "ToolCallProgress":
        return screen.line("  ⋯", `${named(event.callId)} ${progress(event.value)}`, "faint", event.at)
      case "ToolCallEnded":
        return screen.line(
          `  ${marks[event.status]}`,
          `${named(event.callId)} ${compact(event.output)}`,
          styles[event.status],
          event.at
        )
      case "ApprovalRequested": {
        const { callId } = event.call
        const why = event.reason === undefined ? "" : ` (${event.reason})`
        return screen.line(
          "  ?",
          `${named(callId)} waits for you${why}: /approve ${callId} or /deny ${callId}`,
          "bad",
          event.at
        )
      }
      case "ApprovalDecided": {
        const { by, callId, decision, reason } = event
        const who = by === undefined ? "" : ` by ${by}`
        return screen.line(
          "  ?",
          `${named(callId)} ${decision}${who}${reason === undefined ? "" : `: ${reason}`}`,
          "faint",
          event.at
        )
      }
      case "ToolCallMessaged":
        return screen.line("  ⋯", `${named(event.callId)} was told: ${compact(event.message)}`, "faint", event.at)
      case "ToolCallMessagesLost":
        return screen.line("  !", `${named(event.callId)} has not read ${event.count} messages`, "faint", event.at)
      case "ReplyScheduled":
        return screen.line("  ↳", `reply to ${event.updateIds.join(", ")}`, "faint", event.at)
      case "ReplyEnded":
        return event.status === "completed"
          ? Effect.void
          : screen.line("  ↳", `reply to ${event.updateIds.join(", ")}: ${event.status}`, "faint", event.at)
      case "AgentHandoff":
        return event.from === undefined ? Effect.void : screen.line("  ⇒", event.to, "faint", event.at)
      case "SessionError":
        return screen.line("  !", event.error.message, "bad", event.at)
      case "EventsMissed":
        return screen.line("  !", `${event.count} events were missed`, "faint", event.at)
      default:
        return Effect.void
    }
  }
  return Stream.runForEach(events, show)
}

const showSeat = (screen: Screen.Screen["Type"]) => (change: SeatChange) => {
  const { offer, seat } = change.hold
  const what = `seat ${seat} on ${offer.airline} ${offer.flight}`
  switch (change._tag) {
    case "Held":
      return screen.line("  ◆", `held: ${what}`, "faint")
    case "Released":
      return screen.line("  ◇", `released: ${what}`, "bad")
    case "Booked":
      return screen.line("  ◆", `booked: ${what}`, "good")
  }
}

// --- what is said ---------------------------------------------------------------------------------------------------

const quits = (line: string) => /^[/:]?(q|quit|exit)[.!]?$/i.test(line)
const leaves = (line: string) => /^((good\s?)?bye|bye bye|see you|ciao|farewell)( then)?[.!]*$/i.test(line)

/** Waits until nothing works any more and everything has been said. Nobody comes to decide about what waits for a person. */
const settled = (session: AgentSession.Service) =>
  session.waitForIdle.pipe(
    Effect.zipRight(Deciding.works(session)),
    Effect.repeat({ until: (works) => !works, schedule: Schedule.spaced("50 millis") }),
    Effect.zipRight(session.waitForIdle)
  )

/** What the line means to the program, rather than to the agent. */
const commandOf = (line: string): Deciding.Command | undefined => {
  const [, name, rest = ""] = /^\/(\w+)\s*(.*)$/s.exec(line) ?? []
  return name === undefined ? undefined : Deciding.parse(name.toLowerCase(), rest)
}

const unreadable = (cause: unknown): Trouble =>
  new Trouble({
    message: `Standard input cannot be read (${cause instanceof Error ? cause.message : String(cause)}).`,
    code: 1
  })

const pipedLines: Stream.Stream<string, Trouble> = Stream.unwrap(
  Effect.try({
    try: () => {
      // Node reads a directory as if it were empty
      if (fstatSync(0).isDirectory()) throw new Error("it is a directory")
      return NodeStream.fromReadable(() => process.stdin, unreadable).pipe(Stream.decodeText(), Stream.splitLines)
    },
    catch: unreadable
  })
)

const typedLines = (screen: Screen.Screen["Type"]): Stream.Stream<string> =>
  Stream.unwrapScoped(
    Effect.gen(function* () {
      // typed by hand: it stays small
      const lines = yield* Mailbox.make<string>()
      yield* screen.prompt((line) => {
        if (line === undefined) lines.unsafeDone(Exit.void)
        else lines.unsafeOffer(line)
      })
      return Mailbox.toStream(lines)
    })
  )

/**
 * The whole talk. Typed lines are said at once and cut what is being said, as people do; piped ones wait until the agent
 * has finished speaking. What runs in the background runs on either way.
 */
const talk = (
  session: AgentSession.Service,
  screen: Screen.Screen["Type"],
  typed: boolean,
  /** it goes on with an earlier one: whoever says nothing may want to hear what came of it */
  goesOn: boolean
) =>
  Effect.gen(function* () {
    const count = yield* Ref.make(0)
    const failed = yield* Ref.make(false)
    const quit = yield* Ref.make(false)
    // the greeting is heard out before the first line of a pipe
    if (!typed) yield* session.waitForIdle

    const say = Effect.fnUntraced(function* (line: string) {
      yield* Ref.update(count, (n) => n + 1)
      if (quits(line)) return yield* Ref.set(quit, true)
      yield* screen.line("you", line, "user")
      const command = commandOf(line)
      if (command !== undefined) {
        const problem = yield* Deciding.carryOut(session, command)
        if (problem !== undefined) yield* screen.line("  !", problem, "bad")
        return yield* typed ? Effect.void : session.waitForIdle
      }
      const speech = yield* session.send(line)
      if (typed && !leaves(line)) return
      yield* Effect.ignore(speech.wait)
      if (Option.isSome(yield* speech.error)) yield* Ref.set(failed, true)
      yield* session.waitForIdle
    })

    yield* (typed ? typedLines(screen) : pipedLines).pipe(
      Stream.map((line) => line.trim()),
      Stream.filter((line) => line !== ""),
      Stream.takeUntil((line) => quits(line) || leaves(line)),
      Stream.runForEach(say)
    )

    if (!typed && !goesOn && (yield* Ref.get(count)) === 0) {
      return yield* new Trouble({
        message: "There was nothing to read on standard input: type at a terminal, or pipe lines in (see --help).",
        code: 1
      })
    }
    if (!(yield* Ref.get(quit))) {
      if (yield* Deciding.works(session)) {
        yield* screen.line("  ·", "waiting for what still runs; Ctrl-C ends at once", "faint")
      }
      yield* settled(session)
    }
    if (!typed && (yield* Ref.get(failed))) {
      return yield* new Trouble({ message: "The model failed; see above.", code: 1 })
    }
  })

// --- the program ----------------------------------------------------------------------------------------------------

// news that the user talked over are told once more
const options = { agent: TravelAgent, agents: [Support], onInterruptedReply: "redeliver" } as const

const conversation = (file: string | undefined) =>
  Effect.gen(function* () {
    const screen = yield* Screen.Screen
    const outer = yield* Effect.scope
    const typed = process.stdin.isTTY === true && screen.live

    yield* Effect.scoped(
      Effect.gen(function* () {
        // added before the session, so it runs once that has been closed: the last events are still shown
        const following = yield* Deferred.make<Fiber.Fiber<void>>()
        yield* Effect.addFinalizer(() =>
          Effect.gen(function* () {
            const fiber = yield* Deferred.poll(following)
            if (Option.isNone(fiber)) return
            yield* Effect.interruptible(Effect.flatMap(fiber.value, Fiber.await)).pipe(
              Effect.timeoutOption("2 seconds")
            )
            const how = file === undefined ? "the session is closed" : `it goes on with --file ${file}`
            yield* screen.line("  ·", how, "faint")
          })
        )
        const session = yield* file === undefined
          ? AgentSession.make(options)
          : AgentSession.make({ ...options, id: "demo" }).pipe(
              Keeping.provided(file),
              Effect.mapError(({ message }) => new Trouble({ message, code: 1 }))
            )
        const { before, events } =
          file === undefined ? { before: new Set<string>(), events: session.events } : yield* Keeping.resumed(session)
        yield* Effect.forkIn(follow(events, screen, before), outer).pipe(
          Effect.flatMap((fiber) => Deferred.succeed(following, fiber))
        )
        yield* talk(session, screen, typed, before.size > 0).pipe(
          Effect.catchTag(
            "SessionClosed",
            () =>
              new Trouble({ message: "The conversation goes on in another process, or its file has failed.", code: 1 })
          )
        )
      })
    )
  }).pipe(Effect.scoped)

const program = Effect.gen(function* () {
  const given = Keeping.given(process.argv.slice(2))
  if (typeof given === "string") return yield* new Trouble({ message: given, code: 2 })
  if (given.help) {
    process.stdout.write(usage)
    return
  }

  const settings = yield* Effect.mapError(Settings, (error) => new Trouble({ message: String(error), code: 2 }))
  const provider = choose(settings)
  const screen = yield* Screen.Screen
  yield* screen.line("  ·", `talking through ${provider.name}`, "faint")
  yield* conversation(given.file).pipe(
    Effect.provide(provider.layer),
    Effect.provide(flightsLayer({ pace: 1 / settings.speed, watch: showSeat(screen) })),
    Effect.provide(Screen.layerSpeech),
    // a bug is shown; what tools report as errors is on the screen already
    Effect.provide(
      Logger.replace(
        Logger.defaultLogger,
        Logger.make(({ cause, message }) => {
          const text = Cause.isEmpty(cause) ? "" : `: ${Cause.pretty(cause)}`
          process.stderr.write(`${Array.isArray(message) ? message.join(" ") : String(message)}${text}\n`)
        })
      )
    ),
    Logger.withMinimumLogLevel(LogLevel.Error)
  )
}).pipe(Effect.provide(Screen.layer))

// Where nothing can be written any more (the reader of a pipe has gone, or the terminal), the session is closed in order.
let unwritable: NodeJS.ErrnoException | undefined
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (unwritable === undefined) process.kill(process.pid, "SIGTERM")
  unwritable ??= error
})
process.once("SIGHUP", () => process.kill(process.pid, "SIGTERM"))

/** The exit code, and what there is to say about it. */
const outcome = (exit: Exit.Exit<unknown, unknown>): readonly [code: number, message: string] => {
  if (unwritable !== undefined) {
    return unwritable.code === "EPIPE" ? [0, ""] : [1, `Standard output cannot be written (${unwritable.message}).`]
  }
  if (Exit.isSuccess(exit)) return [0, ""]
  const trouble = Cause.failureOption(exit.cause)
  if (Option.isSome(trouble) && trouble.value instanceof Trouble) return [trouble.value.code, trouble.value.message]
  return Cause.isInterruptedOnly(exit.cause) ? [130, ""] : [1, Cause.pretty(exit.cause)]
}

NodeRuntime.runMain(program, {
  disableErrorReporting: true,
  teardown: (exit, end) => {
    const [code, message] = outcome(exit)
    if (message !== "") process.stderr.write(`${message}\n`)
    end(code)
    process.exit(code)
  }
})
