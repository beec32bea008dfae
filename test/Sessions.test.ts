/**
 * Many conversations by id, in this process.
 */
import { LanguageModel } from "@effect/ai"
import { Cause, Context, Deferred, Effect, Exit, Fiber, Layer, Logger, Option, type Scope, Stream } from "effect"
import { Agent, AgentSession, RunContext, Sessions, Telemetry } from "effect-meantime"
import { ScriptedModel, TestSession } from "effect-meantime/testing"
import { describe, expect } from "vitest"
import { Alive } from "./support/alive.js"
import {
  Front,
  type LayerOf,
  lines,
  listen,
  type Options,
  open as openAny,
  sessionsSuite
} from "./support/sessionsSuite.js"
import { now, started, toolkit } from "./support/talk.js"
import { it } from "./support/virtual.js"

const inThisProcess: LayerOf = (options, settings) =>
  Sessions.layer(options, settings) as Layer.Layer<Sessions.Sessions, never, LanguageModel.LanguageModel>

sessionsSuite("in this process", inThisProcess)

type Given = (sessionId: string) => Effect.Effect<Partial<Options>, unknown, Scope.Scope>

const open = (options?: Given, settings?: Sessions.Settings) => openAny(inThisProcess, options, settings)

const range = (n: number): ReadonlyArray<number> => Array.from({ length: n }, (_, i) => i)

describe("options of a session", () => {
  it.scoped("[R6] what they acquire lives as long as the session does, and goes after it", () =>
    Effect.gen(function* () {
      const log: Array<string> = []
      const { sessions } = yield* open((id) =>
        Effect.as(
          Effect.acquireRelease(
            Effect.sync(() => log.push(`open ${id}`)),
            () => Effect.sync(() => log.push(`close ${id}`))
          ),
          {
            agent: Front.pipe(
              Agent.provide(Layer.scopedDiscard(Effect.addFinalizer(() => Effect.sync(() => log.push("agent")))))
            )
          }
        )
      )
      const one = yield* sessions.get("one")
      yield* sessions.get("two")
      yield* one.run("a").pipe(TestSession.drive)
      expect(log).toEqual(["open one", "open two"])
      yield* sessions.close("one")
      expect(log).toEqual(["open one", "open two", "agent", "close one"])
      yield* one.history
      expect(log.at(-1)).toBe("open one")
    })
  )

  it.scoped("[R6] those that fail fail get with their message; the next one who asks tries again", () =>
    Effect.gen(function* () {
      let closed = 0
      let fails: unknown = new Error("no such user")
      const { sessions } = yield* open(() =>
        Effect.zipRight(
          Effect.addFinalizer(() => Effect.sync(() => closed++)),
          Effect.suspend(() => (fails === undefined ? Effect.succeed({}) : Effect.fail(fails)))
        )
      )
      const error = yield* Effect.flip(sessions.get("one"))
      expect(error).toMatchObject({ _tag: "SessionsError", sessionId: "one", message: "no such user" })
      expect(closed).toBe(1)
      for (const odd of [{}, null, "", 7, { message: 3 }]) {
        fails = odd
        expect((yield* Effect.flip(sessions.get("one"))).message).toMatch(/options/)
      }
      expect(yield* sessions.ids).toEqual([])
      fails = undefined
      yield* sessions.get("one")
      expect(yield* sessions.ids).toEqual(["one"])
    })
  )

  for (const [how, options] of Object.entries<Given>({
    dies: () => Effect.die(new Error("a bug")),
    throws: () => {
      throw new Error("a bug")
    },
    "is no effect": (() => undefined) as unknown as Given,
    "gives no options": () => Effect.succeed(null as unknown as {}),
    "gives an option that makes no sense": () => Effect.succeed({ maxRunning: -1 })
  })) {
    it.scoped(`[R6] [L3] one that ${how} is a defect of get, for all who wait, and leaves nothing`, () =>
      Effect.gen(function* () {
        let closed = 0
        const { sessions } = yield* openAny(
          (_, settings) =>
            inThisProcess(
              (id) =>
                Effect.zipRight(
                  Effect.addFinalizer(() => Effect.sync(() => closed++)),
                  Effect.zipRight(
                    Effect.sleep("1 second"),
                    Effect.suspend(() => options(id))
                  )
                ) as Effect.Effect<Options, unknown, Scope.Scope>,
              settings
            ),
          undefined,
          { maxSessions: 1 }
        )
        const asked = yield* Effect.forkScoped(
          Effect.all([Effect.exit(sessions.get("one")), Effect.exit(sessions.get("one"))], { concurrency: "unbounded" })
        )
        yield* TestSession.advance("1 second")
        for (const exit of yield* Fiber.join(asked)) {
          expect(Exit.isFailure(exit) && Option.isSome(Cause.dieOption(exit.cause))).toBe(true)
        }
        expect(closed).toBe(1)
        expect(yield* sessions.ids).toEqual([])
        // its place is free
        const again = yield* started(Effect.exit(sessions.get("two")))
        yield* TestSession.advance("1 second")
        expect(yield* again).toBe("done")
        expect(closed).toBe(2)
      })
    )
  }

  it.scoped("[R6] one that interrupts itself fails get", () =>
    Effect.gen(function* () {
      const { sessions } = yield* open(() => Effect.interrupt)
      expect((yield* Effect.flip(sessions.get("one"))).message).toMatch(/interrupted/)
    })
  )

  it.scoped("[R6] who asks may give up: the last one to do so ends the making, and what it had is released", () =>
    Effect.gen(function* () {
      const log: Array<string> = []
      const { sessions } = yield* open((id) =>
        Effect.zipRight(
          Effect.acquireRelease(
            Effect.sync(() => log.push(`open ${id}`)),
            () =>
              Effect.zipRight(
                Effect.sleep("1 second"),
                Effect.sync(() => log.push(`close ${id}`))
              )
          ),
          log.length > 1 ? Effect.succeed({}) : Effect.never
        )
      )
      const first = yield* Effect.fork(sessions.get("one"))
      const second = yield* Effect.fork((yield* handleOf(sessions, "one")).history)
      yield* TestSession.settle
      yield* Fiber.interrupt(first)
      yield* TestSession.advance("1 second")
      expect(log).toEqual(["open one"])
      const giving = yield* Effect.fork(Fiber.interrupt(second))
      yield* TestSession.settle
      // it comes while that is under way: it waits for it
      const third = yield* Effect.fork(sessions.get("one"))
      yield* TestSession.settle
      expect(log).toEqual(["open one"])
      yield* TestSession.advance("1 second")
      yield* Fiber.join(giving)
      yield* Fiber.join(third)
      expect(log).toEqual(["open one", "close one", "open one"])
      expect(yield* sessions.ids).toEqual(["one"])
    })
  )

  it.scoped("[R6] [S2] closing the layer ends a making that goes on for ever; who waits is told", () =>
    Effect.gen(function* () {
      let closed = 0
      const { close, sessions } = yield* open(() =>
        Effect.zipRight(
          Effect.addFinalizer(() => Effect.sync(() => closed++)),
          Effect.never
        )
      )
      const asked = yield* Effect.fork(Effect.flip(sessions.get("one")))
      yield* TestSession.settle
      yield* close
      expect(yield* now).toBe(0)
      expect(closed).toBe(1)
      expect((yield* Fiber.join(asked))._tag).toBe("SessionsError")
    })
  )

  it.scoped("[R6] [S2] closing gives up on one that does not let itself be interrupted, and says so", () =>
    Effect.gen(function* () {
      const logs: Array<string> = []
      const { close, sessions } = yield* open((id) =>
        id === "bad" ? Effect.uninterruptible(Effect.never) : Effect.succeed({})
      ).pipe(
        Effect.provide(
          Logger.replace(
            Logger.defaultLogger,
            Logger.make(({ message }) => void logs.push(String(message)))
          )
        )
      )
      yield* sessions.get("good")
      const asked = yield* started(sessions.get("bad"))
      expect(yield* asked).toBe("pending")
      yield* close
      expect(yield* now).toBe(30_000)
      expect(yield* asked).toBe("SessionsError")
      expect(logs).toEqual(['The options of the session "bad" do not let themselves be interrupted.'])
    })
  )

  it.scoped("[R6] closing an id while it is made fails who waits, and ends the making", () =>
    Effect.gen(function* () {
      let forever = true
      const { sessions } = yield* open(() => (forever ? Effect.never : Effect.succeed({})))
      const asked = yield* started(sessions.get("one"))
      expect(yield* asked).toBe("pending")
      yield* sessions.close("one")
      expect(yield* asked).toBe("SessionsError")
      forever = false
      yield* sessions.get("one")
      expect(yield* sessions.ids).toEqual(["one"])
    })
  )

  it.scoped("[R6] [R5] a history that they bring is gone on with as they say; what was kept is not used", () =>
    Effect.gen(function* () {
      const stored: Array<any> = []
      const { sessions } = yield* open(() =>
        Effect.sync(() => ({
          onItems: (items: ReadonlyArray<unknown>) => Effect.sync(() => void stored.push(...items)),
          ...(stored.length === 0 ? {} : { history: { items: stored.slice(0, 2) }, resume: true })
        }))
      )
      const one = yield* sessions.get("one")
      for (const text of ["a", "b"]) yield* one.run(text).pipe(TestSession.drive)
      yield* sessions.close("one").pipe(TestSession.drive)
      expect(stored).toHaveLength(4)
      expect(lines(yield* one.history)).toEqual(["a", "You said a."])
    })
  )

  it.scoped("[R6] [R5] a call that was at work when its session closed is told as unknown to the next one", () =>
    Effect.gen(function* () {
      const { sessions } = yield* open(() => Effect.succeed({ drainTimeout: 0 }))
      const one = yield* sessions.get("one")
      yield* one.send("slow")
      yield* TestSession.advance("1 second")
      yield* sessions.close("one").pipe(TestSession.drive)
      const before = lines(yield* one.history)
      // closing told its end, so nothing is left open
      expect(before.at(-1)).toMatch(/_final$/)
      yield* one.run("b").pipe(TestSession.drive)
      expect(lines(yield* one.history)).toEqual([...before, "b", "You said b."])
    })
  )

  it.scoped("[R6] [E3] the context is that of the layer, not of who asks first; traces have the id", () =>
    Effect.gen(function* () {
      class User extends Context.Tag("User")<User, string>() {}
      const seen: Array<unknown> = []
      const { sessions } = yield* open((id) =>
        Effect.gen(function* () {
          const context = yield* Effect.context<never>()
          seen.push(
            id,
            Context.getOption(context as Context.Context<any>, User),
            (yield* Telemetry.Telemetry).conversationId
          )
          return { agent: Front }
        })
      )
      yield* sessions.get("one").pipe(Effect.provideService(User, "me"))
      expect(seen).toEqual(["one", Option.none(), "one"])
    })
  )
})

/** A handle, without asking for its session first: it is what `get` gives, and holds nothing. */
const handleOf = (sessions: Sessions.Service, id: string) =>
  Effect.succeed({
    history: Effect.flatMap(sessions.get(id), (handle) => handle.history)
  })

describe("how many sessions there are", () => {
  it.scoped("[R6] for one more than maxSessions the longest idle one is closed", () =>
    Effect.gen(function* () {
      const { sessions } = yield* open(undefined, { maxSessions: 3 })
      for (const id of ["a", "b", "c"]) {
        yield* sessions.get(id)
        yield* TestSession.advance("1 second")
      }
      yield* (yield* sessions.get("a")).run("x").pipe(TestSession.drive)
      yield* sessions.get("d")
      expect(yield* sessions.ids).toEqual(["a", "c", "d"])
      yield* sessions.get("b")
      expect(yield* sessions.ids).toEqual(["a", "d", "b"])
      yield* sessions.get("c")
      expect(yield* sessions.ids).toEqual(["d", "b", "c"])
      expect(lines(yield* (yield* sessions.get("a")).history)).toEqual(["x", "You said x."])
    })
  )

  it.scoped("[R6] if none is idle, get fails, and says why; as soon as one is, it does not", () =>
    Effect.gen(function* () {
      const { sessions } = yield* open(undefined, { maxSessions: 2 })
      const one = yield* sessions.get("one")
      yield* one.send("slow")
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* sessions.local("two")
          const error = yield* Effect.flip(sessions.get("three"))
          expect(error).toMatchObject({ _tag: "SessionsError", sessionId: "three" })
          expect(error.message).toMatch(/2 sessions/)
        })
      )
      yield* sessions.get("three")
      expect(yield* sessions.ids).toEqual(["one", "three"])
      yield* TestSession.advance("1 minute")
      yield* sessions.get("four")
      expect((yield* sessions.ids).length).toBe(2)
    })
  )

  it.scoped("[R6] one that is being made, or that has not given back what it had, counts", () =>
    Effect.gen(function* () {
      let alive = 0
      let most = 0
      const { sessions } = yield* open(
        () =>
          Effect.acquireRelease(
            Effect.sync(() => {
              most = Math.max(most, ++alive)
              return {}
            }),
            () =>
              Effect.zipRight(
                Effect.sleep("1 second"),
                Effect.sync(() => alive--)
              )
          ),
        { maxSessions: 2 }
      )
      yield* sessions.get("a")
      yield* sessions.get("b")
      const all = yield* Effect.fork(Effect.forEach(["c", "d"], (id) => sessions.get(id), { concurrency: "unbounded" }))
      yield* TestSession.settle
      // both places are taken by those that are being made
      expect((yield* Effect.flip(sessions.get("e"))).message).toMatch(/2 sessions/)
      expect(yield* sessions.ids).toEqual([])
      yield* TestSession.advance("1 second")
      yield* Fiber.join(all)
      expect(most).toBe(2)
      expect(yield* sessions.ids).toEqual(["c", "d"])
      // one gives up before there is room
      const e = yield* Effect.fork(sessions.get("e"))
      yield* TestSession.settle
      yield* Fiber.interrupt(e)
      yield* TestSession.advance("1 second")
      yield* sessions.get("f")
      expect(yield* sessions.ids).toEqual(["d", "f"])
      expect(most).toBe(2)
    })
  )

  it.scoped("[R6] of closed sessions maxKept histories are kept, those that closed last", () =>
    Effect.gen(function* () {
      const { sessions } = yield* open(undefined, { maxKept: 2 })
      for (const id of ["a", "b", "c"]) yield* (yield* sessions.get(id)).run(id).pipe(TestSession.drive)
      for (const id of ["b", "a", "c"]) yield* sessions.close(id)
      const sizes = yield* Effect.forEach(["a", "b", "c"], (id) =>
        Effect.map(
          Effect.flatMap(sessions.get(id), ({ history }) => history),
          ({ items }) => items.length
        )
      )
      expect(sizes).toEqual([2, 0, 2])
    })
  )

  it.scoped("[R6] with maxKept 0 nothing is kept", () =>
    Effect.gen(function* () {
      const { sessions } = yield* open(undefined, { maxKept: 0 })
      const one = yield* sessions.get("one")
      yield* one.run("a").pipe(TestSession.drive)
      yield* sessions.close("one")
      expect(lines(yield* one.history)).toEqual([])
    })
  )

  it.scoped("[R6] [R5] what was kept is not lost if the options fail in between", () =>
    Effect.gen(function* () {
      let fails = false
      const { sessions } = yield* open(() => (fails ? Effect.fail("no") : Effect.succeed({})))
      const one = yield* sessions.get("one")
      yield* one.run("a").pipe(TestSession.drive)
      yield* sessions.close("one")
      fails = true
      yield* Effect.flip(one.history)
      fails = false
      expect(lines(yield* one.history)).toEqual(["a", "You said a."])
    })
  )

  it.scoped("[L3] settings that make no sense are refused by name", () =>
    Effect.gen(function* () {
      for (const [settings, option] of [
        [{ idleAfter: -1 }, "idleAfter"],
        [{ maxSessions: 0 }, "maxSessions"],
        [{ maxSessions: Number.POSITIVE_INFINITY }, "maxSessions"],
        [{ maxKept: 1.5 }, "maxKept"]
      ] as const) {
        const exit = yield* Effect.exit(Effect.scoped(open(undefined, settings)))
        expect(exit).toEqual(Exit.die(expect.objectContaining({ _tag: "OptionsError", option })))
      }
    })
  )
})

describe("being idle", () => {
  it.scoped("[R6] while somebody has the session itself, or the user speaks, it is not idle", () =>
    Effect.gen(function* () {
      const { sessions } = yield* open(undefined, { idleAfter: "1 second" })
      yield* Effect.scoped(
        Effect.gen(function* () {
          const local = yield* sessions.local("one")
          yield* TestSession.advance("1 hour")
          expect(yield* sessions.ids).toEqual(["one"])
          yield* Effect.forkDaemon(Effect.scoped(Effect.zipRight(local.claimUserTurn, Effect.sleep("1 hour"))))
          yield* TestSession.settle
        })
      )
      yield* TestSession.advance("59 minutes")
      expect(yield* sessions.ids).toEqual(["one"])
      yield* TestSession.advance("2 minutes")
      expect(yield* sessions.ids).toEqual([])
    })
  )

  it.scoped("[R6] what the session does by itself starts the time anew", () =>
    Effect.gen(function* () {
      const Ticker = Agent.make("ticker", {
        instructions: "I tick.",
        onEnter: Effect.repeatN(Effect.zipRight(Effect.sleep("50 seconds"), AgentSession.say("tick")), 2)
      })
      const { sessions } = yield* open(() => Effect.succeed({ agent: Ticker }), { idleAfter: "1 minute" })
      const one = yield* sessions.get("one")
      yield* TestSession.advance("209 seconds")
      expect(yield* sessions.ids).toEqual(["one"])
      yield* TestSession.advance("1 second")
      expect(yield* sessions.ids).toEqual([])
      expect(lines(yield* one.history)).toEqual(["tick", "tick", "tick"])
    })
  )

  it.scoped("[R6] with idleAfter 0 it is closed once nothing is open, and each use opens it again", () =>
    Effect.gen(function* () {
      const { sessions } = yield* open(undefined, { idleAfter: 0 })
      const one = yield* sessions.get("one")
      yield* one.run("a").pipe(TestSession.drive)
      yield* TestSession.settle
      expect(yield* sessions.ids).toEqual([])
      yield* one.send("slow")
      yield* TestSession.advance("5 seconds")
      expect(yield* sessions.ids).toEqual(["one"])
      yield* TestSession.advance("5 seconds")
      expect(yield* sessions.ids).toEqual([])
      expect(lines(yield* one.history).length).toBe(9)
    })
  )

  it.scoped("[R6] whoever asks while an idle one closes gets it once it is closed, with what was said", () =>
    Effect.gen(function* () {
      const { sessions } = yield* open(
        () =>
          Effect.as(
            Effect.addFinalizer(() => Effect.sleep("5 seconds")),
            {}
          ),
        { idleAfter: "1 minute" }
      )
      const one = yield* sessions.get("one")
      yield* one.run("a").pipe(TestSession.drive)
      yield* TestSession.advance("1 minute")
      const asked = yield* started(one.run("b"))
      const ended = yield* started(sessions.close("one"))
      expect(yield* asked).toBe("pending")
      expect(yield* ended).toBe("pending")
      yield* TestSession.advance("5 seconds")
      expect(yield* asked).toBe("done")
      expect(yield* ended).toBe("done")
      expect(lines(yield* one.history)).toEqual(["a", "You said a.", "b", "You said b."])
    })
  )

  it.scoped("[R6] end while it closes forgets it, too", () =>
    Effect.gen(function* () {
      const { sessions } = yield* open(() =>
        Effect.as(
          Effect.addFinalizer(() => Effect.sleep("5 seconds")),
          {}
        )
      )
      const one = yield* sessions.get("one")
      yield* one.run("a").pipe(TestSession.drive)
      const closing = yield* Effect.fork(sessions.close("one"))
      yield* TestSession.settle
      const ending = yield* Effect.fork(one.end)
      yield* TestSession.advance("5 seconds")
      yield* Fiber.join(closing)
      yield* Fiber.join(ending)
      expect(lines(yield* one.history)).toEqual([])
    })
  )

  it.scoped("[R6] [S2] what fails as it is released is logged, and the id is free", () =>
    Effect.gen(function* () {
      const logs: Array<string> = []
      const { sessions } = yield* open(() =>
        Effect.as(
          Effect.addFinalizer(() => Effect.die(new Error("disk full"))),
          {}
        )
      ).pipe(
        Effect.provide(
          Logger.replace(
            Logger.defaultLogger,
            Logger.make(({ message }) => void logs.push(String(message)))
          )
        )
      )
      yield* sessions.get("one")
      yield* sessions.close("one")
      expect(logs).toHaveLength(1)
      expect(logs[0]).toMatch(/^What the session "one" had failed to be released/)
      yield* sessions.get("one")
      expect(yield* sessions.ids).toEqual(["one"])
    })
  )

  it.scoped("[R6] a handler may close its own session", () =>
    Effect.gen(function* () {
      const sessionsOf = yield* Deferred.make<Sessions.Service>()
      const { kit, layer } = toolkit({
        bye: () =>
          Effect.zipRight(
            RunContext.update("bye"),
            Effect.flatMap(Deferred.await(sessionsOf), ({ close }) => Effect.orDie(close("one")))
          )
      })
      const agent = Agent.make("one", { instructions: "I go.", tools: [kit] }).pipe(Agent.provide(layer))
      const { sessions } = yield* open(() => Effect.succeed({ agent, drainTimeout: "5 seconds" }))
      yield* Deferred.succeed(sessionsOf, sessions)
      const one = yield* sessions.get("one")
      yield* one.send("bye")
      yield* TestSession.advance("10 seconds")
      expect(yield* sessions.ids).toEqual([])
      expect(lines(yield* one.history).at(-1)).toMatch(/_final$/)
    })
  )
})

describe("what stays", () => {
  it.scoped("[R6] [K1] no fiber and no timer for sessions without bounds; one timer for all that may be idle", () =>
    Effect.gen(function* () {
      for (const [settings, fibers] of [
        [undefined, 0],
        [{ idleAfter: "1 minute", maxSessions: 100 }, 1]
      ] as const) {
        const alive = new Alive()
        const { close, sessions } = yield* open(undefined, settings).pipe(Effect.supervised(alive))
        for (const n of range(50)) yield* sessions.get(`s${n}`)
        yield* TestSession.settle
        expect(alive.fibers.size).toBe(fibers)
        yield* TestSession.advance("1 hour")
        expect((yield* sessions.ids).length).toBe(fibers === 0 ? 50 : 0)
        yield* close
        expect(alive.fibers.size).toBe(0)
      }
    })
  )

  it.scoped("[R6] closing in the middle of everything leaves no fiber", () =>
    Effect.gen(function* () {
      const alive = new Alive()
      const { close, sessions } = yield* open(
        (id) =>
          id.startsWith("never")
            ? Effect.never
            : id.startsWith("late")
              ? Effect.as(Effect.sleep("1 second"), {})
              : Effect.succeed({}),
        { idleAfter: "1 minute", maxSessions: 60 }
      ).pipe(Effect.supervised(alive))
      yield* Effect.forEach(range(40), (n) =>
        Effect.forkScoped(
          Effect.flatMap(sessions.get(`${["never", "late", "s"][n % 3]}${n}`), (handle) =>
            n % 2 === 0 ? Effect.asVoid(handle.run("slow")) : Stream.runDrain(handle.events({ after: "" }))
          )
        )
      )
      yield* TestSession.advance("500 millis")
      for (const n of range(5)) yield* Effect.forkScoped(sessions.close(`s${n * 3 + 2}`))
      yield* close
      yield* TestSession.settle
      expect(alive.fibers.size).toBe(0)
    })
  )
})

describe("a handle of one session", () => {
  const made = Effect.gen(function* () {
    const { languageModel } = yield* ScriptedModel.make(["One.", "Two."])
    return yield* TestSession.make({ agent: Front }).pipe(
      Effect.provideService(LanguageModel.LanguageModel, languageModel)
    )
  })

  it.scoped("[R6] fromSession gives what a handle of the service is; end closes the session, once", () =>
    Effect.gen(function* () {
      const { close, session } = yield* made
      const handle = Sessions.fromSession(session)
      expect(handle.id).toBe("session")
      yield* handle.run("a").pipe(TestSession.drive)
      const { items } = yield* handle.history
      const listener = yield* listen(handle.events({ after: items[0]?.id ?? "" }))
      yield* handle.run("b").pipe(TestSession.drive)
      expect((yield* Effect.flip(handle.handoff("nobody")))._tag).toBe("ToolError")
      yield* Effect.all([handle.end, handle.end], { concurrency: "unbounded" })
      expect(yield* listener.ended).toBe(true)
      expect(listener.items()).toEqual(["One.", "b", "Two."])
      expect(listener.shown().filter((tag) => tag === "SessionClosed")).toHaveLength(1)
      expect((yield* Effect.flip(handle.send("c")))._tag).toBe("SessionClosed")
      yield* close
      yield* handle.end
    })
  )

  it.scoped("[R6] of a double it does what the double does", () =>
    Effect.gen(function* () {
      const { session } = yield* made
      const handle = Sessions.fromSession({ ...session })
      yield* handle.run("a").pipe(TestSession.drive)
      const listener = yield* listen(handle.events({ after: "" }))
      yield* handle.run("b").pipe(TestSession.drive)
      yield* TestSession.settle
      expect(listener.items()).toEqual(["a", "One.", "b", "Two."])
      expect((yield* Effect.flip(handle.end))._tag).toBe("SessionsError")
      expect((yield* Effect.flip(handle.handoff("front")))._tag).toBe("ToolError")
    })
  )
})
