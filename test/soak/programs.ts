/**
 * Long conversations, each a program of rounds: after every round the session is at rest, and what it retains should
 * not have grown. They run on a `VirtualClock`, with a model that answers at once.
 */
import { LanguageModel, type Response, Toolkit } from "@effect/ai"
import { Effect, Exit, Layer, Logger, LogLevel, Schema, Scope, Stream } from "effect"
import { Agent, AgentSession, AsyncTool, ChatContext, RunContext, SessionModel } from "effect-meantime"
import { VirtualClock } from "effect-meantime/testing"
import { Alive } from "../support/alive.js"

type Part = Response.StreamPartEncoded

// ------------------------------------------------------------------------------------------------------------- a model

const textOf = (text: string): ReadonlyArray<Part> => [
  { type: "text-start", id: "t" },
  { type: "text-delta", id: "t", delta: text },
  { type: "text-end", id: "t" }
]

let calls = 0

/**
 * It calls the tools that the user names (`call inline slow`), and in a reply that may act the one that the last result
 * names (`next act`); anything else it answers with a word.
 */
const model: SessionModel.Service = SessionModel.make({
  run: ({ prompt, toolChoice }, onParts) =>
    Effect.sync(() => {
      const last = prompt.content.at(-1)
      const text =
        last?.role === "user" ? last.content.map((part) => (part.type === "text" ? part.text : "")).join() : ""
      const names = toolChoice === "none" || !text.startsWith("call ") ? [] : text.split(" ").slice(1)
      if (names.length === 0 && toolChoice !== "none" && text.includes("Background work")) {
        const results = prompt.content.flatMap((message) => (message.role === "tool" ? message.content : []))
        if (results.at(-1)?.result === "next act") names.push("act")
      }
      onParts(
        names.length === 0
          ? textOf("Noted.")
          : names.map((name): Part => ({ type: "tool-call", id: `call_${++calls}`, name, params: { n: calls } }))
      )
    })
})

// ------------------------------------------------------------------------------------------------------------ witnesses

/** Weak references to what belongs to a call and to its speech: dead once the session has let go of them. */
export interface Witnesses {
  readonly calls: Array<WeakRef<object>>
  readonly speeches: Array<WeakRef<object>>
  readonly contexts: Array<WeakRef<object>>
}

const witness = (witnesses: Witnesses | undefined): Effect.Effect<void, never, RunContext.RunContext> =>
  witnesses === undefined
    ? Effect.void
    : Effect.map(RunContext.RunContext, (context) => {
        witnesses.calls.push(new WeakRef(context.call))
        witnesses.speeches.push(new WeakRef(context.speech))
        witnesses.contexts.push(new WeakRef(context))
      })

// --------------------------------------------------------------------------------------------------------------- tools

const n = { n: Schema.Number }
const tool = (name: string, options: AsyncTool.Options = {}) =>
  AsyncTool.make(name, { parameters: n, success: Schema.Unknown, ...options })

const kit = Toolkit.make(
  tool("inline"),
  tool("slow"),
  tool("reporting"),
  tool("silent"),
  tool("failing"),
  tool("dying"),
  tool("forever", { allowCancellation: true, timeout: "1 hour" }),
  tool("released", { releaseAfter: "1 second" }),
  tool("rejected", { onDuplicate: "reject" }),
  tool("replaced", { onDuplicate: "replace", allowCancellation: true }),
  tool("joined", { onDuplicate: "join", duplicateScope: "name" }),
  tool("floor"),
  tool("filling"),
  tool("asking"),
  tool("leaving"),
  tool("act", { onResult: "act" }),
  tool("chatty"),
  tool("muttering")
)

const Asking = Agent.task("asking", {
  instructions: "You ask.",
  result: Schema.Struct({ answer: Schema.String }),
  onEnter: Effect.void
})

const handlers = (witnesses: Witnesses | undefined) => {
  const seen = witness(witnesses)
  const background = (seconds: number) =>
    Effect.gen(function* () {
      yield* seen
      yield* RunContext.update("on it")
      yield* Effect.sleep(`${seconds} seconds`)
      yield* RunContext.update({ half: "way" })
      yield* Effect.sleep(`${seconds} seconds`)
      return { found: "it" }
    })
  return kit.toLayer({
    inline: () => Effect.as(seen, "at once"),
    slow: () => Effect.zipRight(seen, Effect.as(Effect.sleep("2 seconds"), "at last")),
    reporting: () => background(1),
    silent: () => Effect.zipRight(seen, Effect.as(RunContext.update("on it", { delivery: "silent" }), "done")),
    failing: () => Effect.zipRight(seen, Effect.fail(new AsyncTool.ToolError({ message: "no" }))),
    dying: () => Effect.zipRight(seen, Effect.die(new Error("a bug"))),
    forever: () => Effect.zipRight(seen, Effect.zipRight(RunContext.update("on it"), Effect.never)),
    released: () => Effect.zipRight(seen, Effect.as(Effect.sleep("3 seconds"), "at last")),
    rejected: () => background(1),
    replaced: () => background(1),
    joined: () => background(1),
    floor: () =>
      Effect.gen(function* () {
        yield* seen
        yield* RunContext.update("on it")
        yield* RunContext.foreground(Effect.sleep("1 second"))
        return "held"
      }).pipe(Effect.catchTag("SessionClosed", () => Effect.succeed("closed"))),
    filling: () =>
      Effect.zipRight(
        seen,
        RunContext.withFiller(Effect.as(Effect.sleep("5 seconds"), "filled"), {
          say: "One moment.",
          delay: "1 second",
          interval: "1 second"
        })
      ),
    asking: () =>
      Effect.gen(function* () {
        yield* seen
        yield* RunContext.update("on it")
        return yield* RunContext.foreground(
          Effect.raceFirst(RunContext.runTask(Asking), Effect.as(Effect.sleep("1 second"), { answer: "late" }))
        )
      }).pipe(Effect.catchTag("SessionClosed", () => Effect.succeed({ answer: "closed" }))),
    leaving: () => Effect.zipRight(seen, Effect.orDie(RunContext.handoff(Next))),
    chatty: () =>
      Effect.zipRight(
        seen,
        Effect.forEach(
          Array.from({ length: 10_000 }, (_, i) => i),
          (i) =>
            Effect.zipRight(RunContext.update(`update ${i}`), i % 100 === 0 ? Effect.sleep("10 millis") : Effect.void),
          { discard: true }
        )
      ),
    muttering: () =>
      Effect.zipRight(
        seen,
        Effect.forEach(
          Array.from({ length: 10_000 }, (_, i) => i),
          (i) => Effect.zipRight(RunContext.update({ i }, { delivery: "silent" }), RunContext.progress(i)),
          { discard: true }
        )
      ),
    act: () =>
      Effect.gen(function* () {
        yield* seen
        yield* RunContext.update("on it")
        yield* Effect.sleep("1 second")
        return "next act"
      })
  })
}

const Next: Agent.Agent<never> = Agent.make("next", { instructions: "You are next." })

const helper = (witnesses?: Witnesses): Agent.Agent<never> =>
  Agent.make("helper", { instructions: "You help.", tools: [kit], onEnter: Effect.void, onExit: Effect.void }).pipe(
    Agent.provide(handlers(witnesses) as Layer.Layer<any>)
  ) as Agent.Agent<never>

// ---------------------------------------------------------------------------------------------------------- the rounds

/** One round of a conversation; it returns how many calls it made. */
export type Round = (session: AgentSession.Service, i: number, witnesses?: Witnesses) => Effect.Effect<number, unknown>

const turn = (session: AgentSession.Service, ...names: ReadonlyArray<string>) =>
  Effect.as(Effect.zipLeft(session.send(`call ${names.join(" ")}`), VirtualClock.settle), names.length)

/** Time for all that was asked for. */
const rest = VirtualClock.advance("20 seconds")

const rounds = {
  /** calls of every kind, several in one turn, some cut short by the user */
  day: (session, i) =>
    Effect.gen(function* () {
      let made = yield* turn(session, "inline", "slow", "reporting", "silent", "failing", "dying", "released")
      if (i % 3 === 0) yield* VirtualClock.advance("1 second")
      made += yield* turn(session, "rejected", "rejected", "replaced", "replaced", "joined", "joined", "forever")
      if (i % 5 === 0) made += yield* turn(session, "filling", "floor", "asking")
      yield* VirtualClock.advance("2 seconds")
      for (const { callId, name } of yield* session.runningTools) {
        if (name === "forever") yield* session.cancelTool(callId)
      }
      yield* rest
      return made
    }),
  calls: (session) => turn(session, "inline"),
  /** 10,000 updates in a second, and as many that nobody is told of */
  updates: (session) => Effect.zipLeft(turn(session, "chatty", "muttering"), rest),
  cancelled: (session) =>
    Effect.gen(function* () {
      yield* turn(session, "forever", "forever")
      for (const { callId } of yield* session.runningTools) yield* session.cancelTool(callId)
      yield* VirtualClock.settle
      return 2
    }),
  "timed out": (session) => Effect.zipLeft(turn(session, "forever", "forever"), VirtualClock.advance("2 hours")),
  tasks: (session) => Effect.zipLeft(turn(session, "asking"), rest),
  fillers: (session) => Effect.zipLeft(turn(session, "filling", "floor"), rest),
  "acting replies": (session) => Effect.zipLeft(turn(session, "act"), rest),
  "interrupted turns": (session) =>
    Effect.gen(function* () {
      const made = yield* turn(session, "slow", "reporting")
      yield* turn(session, "released")
      yield* session.interrupt({ force: true })
      yield* session.say(Stream.make("One. ", "Two."))
      const waiting = yield* Effect.fork(session.waitForIdle)
      yield* Effect.scoped(Effect.zipRight(session.claimUserTurn, VirtualClock.advance("1 second")))
      yield* rest
      yield* waiting.await
      return made + 1
    }),
  "hand-offs": (session, i, witnesses) =>
    Effect.gen(function* () {
      const made = yield* turn(session, "reporting", "leaving")
      yield* rest
      yield* session.handoff(i % 2 === 0 ? helper(witnesses) : Agent.provide(Layer.empty)(helper(witnesses)))
      return made
    })
} satisfies Record<string, Round>

export type Name = keyof typeof rounds
export const names = Object.keys(rounds) as ReadonlyArray<Name>
export const roundOf = (name: Name): Round => rounds[name]

// ---------------------------------------------------------------------------------------------------------- the session

const lastTwenty = Layer.succeed(ChatContext.ModelView, ({ items }: ChatContext.ChatContext) => ({
  items: items.slice(-20)
}))

/** What a conversation needs around it; the log is off. */
export const surroundings = Layer.mergeAll(
  Layer.succeed(SessionModel.SessionModel, model),
  Layer.succeed(LanguageModel.LanguageModel, {} as LanguageModel.Service),
  lastTwenty as Layer.Layer<never>,
  Logger.minimumLogLevel(LogLevel.None)
)

export interface Opened {
  readonly session: AgentSession.Service
  readonly alive: Alive
  readonly close: Effect.Effect<void>
}

/** A session of its own scope, with its fibers counted. */
export const open = (
  witnesses?: Witnesses,
  options: Omit<AgentSession.Options<never, []>, "agent" | "tools"> = {}
): Effect.Effect<Opened> =>
  Effect.gen(function* () {
    const alive = new Alive()
    const scope = yield* Scope.make()
    const session = yield* AgentSession.make({ ...options, agent: helper(witnesses), drainTimeout: 0 }).pipe(
      Scope.extend(scope),
      Effect.supervised(alive),
      Effect.provide(surroundings)
    ) as Effect.Effect<AgentSession.Service>
    return { session, alive, close: Scope.close(scope, Exit.void) }
  })

/** Listens to everything and keeps nothing. */
export const listen = (session: AgentSession.Service) => Effect.forkDaemon(Stream.runDrain(session.events))

/** Takes a minute for each event, and so falls behind for good. */
export const listenSlowly = (session: AgentSession.Service) =>
  Effect.forkDaemon(Stream.runForEach(session.events, () => Effect.sleep("1 minute")))
