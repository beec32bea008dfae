/**
 * Many durable sessions by id (rules R6, Q18).
 */
import { LanguageModel } from "@effect/ai"
import { Effect, Exit, Layer, Logger, Scope } from "effect"
import { Agent, RunContext, SessionStorage, Sessions } from "effect-meantime"
import { ScriptedModel, TestSession } from "effect-meantime/testing"
import { describe, expect } from "vitest"
import { makeWorld, type World } from "./support/lives.js"
import { toolkit } from "./support/talk.js"
import { it } from "./support/virtual.js"

const { advance } = TestSession

const script: ScriptedModel.Respond = (request) => {
  const last = request.prompt.content.at(-1)
  const text = last?.role === "user" ? ScriptedModel.lastUserText(request) : ""
  return ["trip", "pay"].includes(text) ? [ScriptedModel.toolCall(text, {}, { id: text })] : "Noted."
}

/** A process with the sessions of the world. */
const process = (world: World, settings: Sessions.Settings = {}) =>
  Effect.gen(function* () {
    const note = (what: string) => Effect.sync(() => void world.journal.push(what))
    const own = toolkit({
      trip: {
        onRestart: "rerun",
        allowCancellation: true,
        run: () =>
          Effect.gen(function* () {
            yield* RunContext.update("Under way.")
            yield* RunContext.step("book", note("book"), { undo: () => note("unbook") })
            yield* RunContext.sleep("travel", "1 hour")
            return "back"
          })
      },
      pay: { needsApproval: true, run: () => note("pay") }
    })
    const agent = Agent.make("helper", { instructions: "You help.", tools: [own.kit] })
    const { languageModel } = yield* ScriptedModel.make(script)
    const scope = yield* Scope.make()
    const context = yield* Layer.buildWithScope(
      Sessions.layer(() => Effect.succeed({ agent }), { ...settings, durable: true }).pipe(
        Layer.provide(own.layer),
        Layer.provide(Logger.remove(Logger.defaultLogger)),
        Layer.provide(Layer.succeed(LanguageModel.LanguageModel, languageModel)),
        Layer.provide(Layer.succeed(SessionStorage.SessionStorage, world.storage))
      ) as Layer.Layer<Sessions.Sessions, SessionStorage.StorageError>,
      scope
    )
    const sessions = yield* Effect.provide(Sessions.Sessions, context)
    const close = TestSession.drive(Effect.uninterruptible(Scope.close(scope, Exit.void)))
    yield* Effect.addFinalizer(() => close)
    return { sessions, close }
  })

const lines = (handle: Sessions.Handle) =>
  Effect.map(handle.history, ({ items }) => items.map((item) => ("text" in item ? item.text : item._tag)))

describe("Sessions with durable: true", () => {
  it.scoped("[R6] [Q18] closing the layer suspends; building it opens the unfinished, and only these", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      const first = yield* process(world)
      for (const id of ["busy", "quiet"]) {
        const handle = yield* first.sessions.get(id)
        yield* handle.send(id === "busy" ? "trip" : "hello")
      }
      yield* advance("10 minutes")
      yield* first.close
      const second = yield* process(world)
      expect(yield* second.sessions.ids).toEqual(["busy"])
      yield* advance("1 hour")
      const handle = yield* second.sessions.get("busy")
      expect(world.journal).toEqual(["book"])
      expect((yield* handle.history).items.at(-2)).toMatchObject({ output: "back" })
      expect(yield* lines(yield* second.sessions.get("quiet"))).toEqual(["hello", "Noted."])
    })
  )

  it.scoped("[R6] [A10] one that is quiet leaves memory, also if a call waits for approval, and comes back", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      const { sessions } = yield* process(world, { idleAfter: "1 minute" })
      const handle = yield* sessions.get("a")
      yield* handle.send("pay")
      yield* advance("30 seconds")
      expect(yield* sessions.ids).toEqual(["a"])
      yield* advance("1 minute")
      expect(yield* sessions.ids).toEqual([])
      yield* handle.approve("pay")
      yield* advance("1 second")
      expect(world.journal).toEqual(["pay"])
      expect(yield* sessions.ids).toEqual(["a"])
    })
  )

  it.scoped("[R6] [Q18] close suspends, end ends: its calls are undone, and the history stays stored", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      const { sessions } = yield* process(world)
      const handle = yield* sessions.get("a")
      yield* handle.send("trip")
      yield* advance("1 second")
      yield* TestSession.drive(sessions.close("a"))
      expect(world.journal).toEqual(["book"])
      // a session that is not open is opened for it
      yield* TestSession.drive(handle.end)
      expect(world.journal).toEqual(["book", "unbook"])
      expect(yield* world.storage.unfinished).toEqual([])
      expect((yield* world.rows()).every(({ kind }) => kind === "item")).toBe(true)
      expect((yield* lines(handle)).slice(0, 1)).toEqual(["trip"])
    })
  )

  it.scoped(
    "[R6] [Q4] a session that another process has taken over is closed, and taken over again if it is asked for",
    () =>
      Effect.gen(function* () {
        const world = yield* makeWorld
        const one = yield* process(world)
        const handle = yield* one.sessions.get("a")
        yield* handle.send("hello")
        yield* advance("1 second")
        const other = yield* process(world)
        yield* (yield* other.sessions.get("a")).send("again")
        yield* advance("1 second")
        expect(Exit.isFailure(yield* Effect.exit(handle.send("me?")))).toBe(true)
        yield* advance("1 second")
        expect(yield* one.sessions.ids).toEqual([])
        yield* handle.send("me!")
        yield* advance("1 second")
        expect(yield* lines(handle)).toEqual(["hello", "Noted.", "again", "Noted.", "me!", "Noted."])
      })
  )
})
