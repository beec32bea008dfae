/**
 * Durable sessions whose storage takes its time (rules Q2, Q3, R6).
 */
import { Effect, Layer, Stream } from "effect"
import { Agent, AgentSession, SessionStorage, Sessions } from "effect-meantime"
import { ScriptedModel, TestSession } from "effect-meantime/testing"
import { describe, expect } from "vitest"
import { it } from "./support/virtual.js"

/** Each write takes a second. */
const slow = Layer.effect(
  SessionStorage.SessionStorage,
  Effect.map(SessionStorage.SessionStorage, (storage) => ({
    ...storage,
    write: (...args: Parameters<SessionStorage.Service["write"]>) => Effect.delay(storage.write(...args), "1 second")
  }))
).pipe(Layer.provide(SessionStorage.layerMemory))

const world = Layer.merge(slow, ScriptedModel.layer(["Hello.", "Noted."]))

describe("a storage that takes its time", () => {
  it.scoped("[Q2] [Q3] who waits for idle waits for the greeting, which begins once it is stored that it does", () =>
    Effect.gen(function* () {
      const onEnter = AgentSession.generateReply({ instructions: "Greet." })
      const agent = Agent.make("host", { instructions: "Be brief.", onEnter })
      const session = yield* AgentSession.make({ agent, id: "one" })
      yield* TestSession.drive(session.waitForIdle)
      expect(yield* TestSession.said(session)).toEqual(["Hello."])
    }).pipe(Effect.provide(world))
  )

  it.scoped("[R6] who listens from an item on is told each item once, also those that are being stored", () =>
    Effect.gen(function* () {
      const agent = Agent.make("host", { instructions: "Be brief." })
      const session = yield* AgentSession.make({ agent, id: "one" })
      const told: Array<string> = []
      yield* Effect.fork(session.send("A message."))
      yield* TestSession.settle
      // in the history already, and not stored
      expect((yield* session.history).items).toHaveLength(1)
      yield* Sessions.fromSession(session)
        .events({ after: "" })
        .pipe(
          Stream.runForEach((event) => Effect.sync(() => event._tag === "ItemAdded" && told.push(event.item.id))),
          Effect.fork
        )
      yield* TestSession.advance("1 minute")
      const { items } = yield* session.history
      expect(items).toHaveLength(2)
      expect(told).toEqual(items.map(({ id }) => id))
    }).pipe(Effect.provide(world))
  )
})
