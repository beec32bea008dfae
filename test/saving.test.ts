/**
 * `onItems`: a conversation is saved as it grows.
 */
import { Deferred, Effect } from "effect"
import type { AgentSession, ChatContext } from "effect-meantime"
import { RunContext } from "effect-meantime"
import { ScriptedModel, TestSession } from "effect-meantime/testing"
import { describe, expect } from "vitest"
import { now, talk } from "./support/talk.js"
import { it } from "./support/virtual.js"

const { toolCall } = ScriptedModel

type Item = ChatContext.ChatItem
type OnItems = (items: ReadonlyArray<Item>) => Effect.Effect<void>

const short = (item: Item): string =>
  item._tag === "Message"
    ? item.text.trim()
    : "callId" in item
      ? `${item._tag === "FunctionCall" ? "?" : "!"}${item.callId}`
      : item._tag

/** Keeps the batches; what is done with one is up to the test. */
const store = (then: (n: number) => Effect.Effect<void> = () => Effect.void) => {
  const batches: Array<ReadonlyArray<Item>> = []
  const onItems: OnItems = (items) =>
    Effect.suspend(() => {
      batches.push(items)
      return then(batches.length)
    })
  return { onItems, all: () => batches.flat(), said: () => batches.map((items) => items.map(short).join(" ")) }
}

const problems = (events: TestSession.Collected) =>
  Effect.map(events.filter("SessionError"), (errors) => errors.map(({ error }) => error.tag))

const failed = /^ERROR: onItems failed/

describe("onItems", () => {
  it.scoped("[R7] is given all that is added, in order and once, and nothing of what was given to the session", () =>
    Effect.gen(function* () {
      const { all, onItems, said } = store()
      const user: Item = { _tag: "Message", id: "item_1", role: "user", text: "Old", interrupted: false, createdAt: 0 }
      const { close, session } = yield* talk({
        onItems,
        pace: "instant",
        history: { items: [user] },
        tools: { slow: () => Effect.zipRight(RunContext.update("one"), Effect.as(Effect.sleep("3 seconds"), "done")) },
        script: [toolCall("slow", {}, { id: "a" }), "At it.", "Done.", "Bye."]
      })
      yield* TestSession.settle
      expect(said()).toEqual([])
      yield* session.run("Go").pipe(TestSession.drive)
      yield* session.run("Stop").pipe(TestSession.drive)
      yield* close
      expect(all()).toEqual((yield* session.history).items.slice(1))
      expect(all().map(short)).toEqual(["Go", "?a", "!a", "At it.", "?a_final", "!a_final", "Done.", "Stop", "Bye."])
    })
  )

  it.scoped("[R7] [R5] what is told as a conversation is gone on with is added, too", () =>
    Effect.gen(function* () {
      const { onItems, said } = store()
      const call: Item = { _tag: "FunctionCall", id: "x", callId: "a", name: "slow", arguments: {}, createdAt: 0 }
      yield* talk({ onItems, history: { items: [call] }, resume: true, script: [] })
      yield* TestSession.settle
      expect(said()).toEqual(["!a"])
    })
  )

  it.scoped("[R7] one batch is awaited before the next; a slow one holds up nothing but itself", () =>
    Effect.gen(function* () {
      const { onItems, said } = store(() => Effect.sleep("10 seconds"))
      const { session } = yield* talk({ onItems, pace: "instant", script: ["One.", "Two.", "Three."] })
      for (const text of ["A", "B", "C"]) yield* session.run(text).pipe(TestSession.drive)
      expect(yield* now).toBe(0)
      expect(said()).toEqual(["A"])
      yield* TestSession.advance("9 seconds")
      expect(said()).toEqual(["A"])
      yield* TestSession.advance("1 second")
      expect(said()).toEqual(["A", "One. B Two. C Three."])
      yield* TestSession.advance("1 minute")
      expect(said()).toHaveLength(2)
    })
  )

  for (const [how, effect] of Object.entries<Effect.Effect<void>>({
    dies: Effect.die(new Error("disk full")),
    fails: Effect.fail("disk full") as unknown as Effect.Effect<void>,
    "is interrupted": Effect.interrupt,
    "is no effect": undefined as unknown as Effect.Effect<void>,
    throws: Effect.suspend(() => {
      throw new Error("disk full")
    })
  })) {
    it.scoped(`[R7] one that ${how} is told, and gets the batch again with the next`, () =>
      Effect.gen(function* () {
        const { onItems, said } = store((n) => (n <= 2 ? effect : Effect.void))
        const { events, session } = yield* talk({ onItems, pace: "instant", script: ["One.", "Two."], logs: [failed] })
        yield* session.send("A")
        yield* TestSession.advance("1 hour")
        // the user's message, and what was said since; nothing is tried again by itself
        const first = said()
        expect(first[0]).toBe("A")
        expect(first.at(-1)).toBe("A One.")
        expect(yield* problems(events)).toEqual(["OnItemsFailed", "OnItemsFailed"])
        yield* session.send("B")
        yield* TestSession.advance("1 hour")
        expect(said()[2]).toBe("A One. B")
        expect(said().slice(3)).toEqual(["Two."])
        expect(yield* problems(events)).toHaveLength(2)
      })
    )
  }

  it.scoped("[R7] one that throws by itself is told, too", () =>
    Effect.gen(function* () {
      const { events, session } = yield* talk({
        onItems: () => {
          throw new Error("no")
        },
        pace: "instant",
        script: ["One."],
        logs: [failed]
      })
      yield* session.run("A").pipe(TestSession.drive)
      expect(new Set(yield* problems(events))).toEqual(new Set(["OnItemsFailed"]))
    })
  )

  it.scoped("[R7] what was not taken is given once more as the session closes, if nothing comes after it", () =>
    Effect.gen(function* () {
      let broken = true
      const { onItems, said } = store(() => (broken ? Effect.die("disk full") : Effect.void))
      const { close, session } = yield* talk({ onItems, pace: "instant", script: ["One."], logs: [failed] })
      yield* session.run("A").pipe(TestSession.drive)
      yield* TestSession.advance("1 day")
      const before = said().length
      broken = false
      yield* close
      expect(said().slice(before)).toEqual(["A One."])
    })
  )

  it.scoped("[R7] [S2] closing waits for the batch in the middle, and for what is added while it closes", () =>
    Effect.gen(function* () {
      const { onItems, said } = store((n) => (n === 1 ? Effect.sleep("20 seconds") : Effect.void))
      const { close, session } = yield* talk({
        onItems,
        pace: "instant",
        drainTimeout: "1 hour",
        tools: { slow: () => Effect.zipRight(RunContext.update("one"), Effect.as(Effect.sleep("40 seconds"), "done")) },
        script: [toolCall("slow", {}, { id: "a" }), "At it."]
      })
      yield* session.send("A")
      yield* TestSession.advance("1 second")
      yield* close
      expect(said()[0]).toBe("A")
      expect(said().join(" ")).toBe("A ?a !a At it. ?a_final !a_final")
      expect(yield* now).toBe(40_000)
    })
  )

  for (const [how, effect] of Object.entries({
    "never ends": Effect.never,
    "never ends and cannot be interrupted": Effect.uninterruptible(Effect.never)
  })) {
    it.scoped(`[R7] [S2] one that ${how} is given up on after drainTimeout, with a warning and an event`, () =>
      Effect.gen(function* () {
        const { onItems, said } = store(() => effect)
        const { close, events, session } = yield* talk({
          onItems,
          pace: "instant",
          drainTimeout: "30 seconds",
          script: ["One."],
          logs: [/^WARN: onItems did not end in time/]
        })
        yield* session.run("A").pipe(TestSession.drive)
        yield* TestSession.advance("1 hour")
        const closing = yield* now
        yield* close
        expect((yield* now) - closing).toBe(30_000)
        expect(said()).toHaveLength(1)
        expect((yield* events.tags).slice(-2)).toEqual(["SessionError", "SessionClosed"])
        expect(yield* problems(events)).toEqual(["OnItemsFailed"])
      })
    )
  }

  it.scoped("[R7] with a drainTimeout of 0 the last batch still has cancellationTimeout", () =>
    Effect.gen(function* () {
      const saved: Array<string> = []
      const { close, session } = yield* talk({
        onItems: (items) => Effect.sync(() => void saved.push(...items.map(short))).pipe(Effect.delay("2 seconds")),
        pace: "instant",
        drainTimeout: 0,
        script: ["One."]
      })
      yield* session.run("A").pipe(TestSession.drive)
      yield* close
      expect(saved).toEqual(["A", "One."])
      expect(yield* now).toBe(4000)
    })
  )

  it.scoped("[R7] [U6] dropped updates shift nothing: each item is given once, at whichever batch it is slow", () =>
    Effect.gen(function* () {
      const extra: Array<number> = []
      for (let slow = 1; slow < 12; slow++) {
        const gate = yield* Deferred.make<void>()
        const { all, onItems } = store((n) => (n === slow ? Deferred.await(gate) : Effect.void))
        yield* Effect.gen(function* () {
          const { session } = yield* talk({
            onItems,
            pace: "instant",
            maxPendingUpdates: 2,
            tools: {
              slow: () =>
                Effect.forEach(["0", "1", "2", "3", "4", "5"], (n) =>
                  Effect.zipRight(RunContext.update(n), Effect.sleep("1 second"))
                )
            },
            script: [toolCall("slow", {}, { id: "a" }), "At it.", "Done."]
          })
          yield* session.send("A")
          yield* TestSession.settle
          // the floor is the user's: nothing is voiced
          yield* Effect.scoped(Effect.zipRight(session.claimUserTurn, TestSession.advance("10 seconds")))
          yield* Deferred.succeed(gate, undefined)
          yield* TestSession.advance("1 minute")
          const { items } = yield* session.history
          const given = all().map((item) => item.id)
          expect(new Set(given).size).toBe(given.length)
          // all that is left, in its order; what was dropped meanwhile may have been given before
          expect(all().filter((item) => items.includes(item))).toEqual(items)
          extra.push(all().length - items.length)
        }).pipe(Effect.scoped)
      }
      // two items for each of three updates
      expect(Math.max(...extra)).toBe(6)
      expect(Math.min(...extra)).toBe(0)
    })
  )

  it.scoped("[R7] [F3] a message that was cut is given as it stays", () =>
    Effect.gen(function* () {
      const { all, onItems } = store()
      const { session } = yield* talk({ onItems, script: ["This is a long sentence.", "Yes."] })
      yield* session.send("A")
      yield* TestSession.advance("2 seconds")
      yield* session.send("B")
      yield* TestSession.advance("1 minute")
      expect(all()).toEqual((yield* session.history).items)
      expect(all()).toContainEqual(expect.objectContaining({ role: "assistant", interrupted: true }))
    })
  )

  it.scoped("[R7] may use the session, and wait for it", () =>
    Effect.gen(function* () {
      let session: AgentSession.Service | undefined
      const seen: Array<number> = []
      const talking = yield* talk({
        onItems: () =>
          Effect.gen(function* () {
            yield* Effect.ignore((session as AgentSession.Service).waitForIdle)
            seen.push((yield* (session as AgentSession.Service).history).items.length)
          }),
        pace: "instant",
        script: ["One.", "Two."]
      })
      session = talking.session
      yield* session.run("A").pipe(TestSession.drive)
      yield* session.send("B")
      yield* talking.close
      expect(seen.at(-1)).toBe((yield* session.history).items.length)
    })
  )
})
