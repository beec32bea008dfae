import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { describe, expect, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { VirtualClock } from "effect-meantime/testing"
import { listen, names, open, roundOf, type Witnesses } from "./programs.js"

setFlagsFromString("--expose-gc")
const gc = runInNewContext("gc") as () => void

/** What nobody holds is gone after this: weak references are kept until the end of the job that looked at them. */
const collected = Effect.gen(function* () {
  for (let i = 0; i < 6; i++) {
    yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
    yield* Effect.sync(gc)
  }
})

const living = (refs: ReadonlyArray<WeakRef<object>>): number =>
  refs.reduce((count, ref) => (ref.deref() === undefined ? count : count + 1), 0)

/** What belongs to calls is dead once they have ended, but for the last ones, which the listener may still hold. */
const retained = (witnesses: Witnesses, alive: { readonly fibers: ReadonlySet<unknown> }) =>
  Effect.map(collected, () => ({
    calls: living(witnesses.calls),
    speeches: living(witnesses.speeches),
    contexts: living(witnesses.contexts),
    fibers: alive.fibers.size
  }))

type Retained = Effect.Effect.Success<ReturnType<typeof retained>>

/** A leak would add one for each of the many rounds between; a register or the stack may still hold the last of them. */
const expectNoMore = (late: Retained, early: Retained): void => {
  for (const key of ["calls", "speeches", "contexts"] as const) expect(late[key], key).toBeLessThan(early[key] + 3)
  expect(late.fibers).toBe(early.fibers)
}

describe("a session that goes on for long", () => {
  for (const name of names.filter((name) => name !== "updates")) {
    it.effect(`[S2] [T9] retains nothing of what has ended: ${name}`, () =>
      Effect.gen(function* () {
        const witnesses: Witnesses = { calls: [], speeches: [], contexts: [] }
        const { alive, close, session } = yield* open(witnesses)
        const listener = yield* listen(session)
        const many = (from: number, to: number) =>
          Effect.forEach(
            Array.from({ length: to - from }, (_, i) => from + i),
            (i) => roundOf(name)(session, i, witnesses),
            { discard: true }
          )
        yield* many(0, 8)
        const early = yield* retained(witnesses, alive)
        yield* many(8, 32)
        const late = yield* retained(witnesses, alive)
        expect(witnesses.calls.length).toBeGreaterThan(30)
        expect(early.calls).toBeLessThan(5)
        expectNoMore(late, early)
        expect(early.fibers).toBe(0)
        expect(yield* session.runningTools).toEqual([])
        yield* close
        yield* VirtualClock.settle
        yield* Fiber.join(listener)
        expect(alive.fibers.size).toBe(0)
      }).pipe(Effect.provide(VirtualClock.layer()))
    )
  }

  it.effect("[D8] [T10] retains nothing of the calls before, in a chain of replies that act and never ends", () =>
    Effect.gen(function* () {
      const witnesses: Witnesses = { calls: [], speeches: [], contexts: [] }
      const { alive, close, session } = yield* open(witnesses, { maxToolSteps: Number.POSITIVE_INFINITY })
      const listener = yield* listen(session)
      yield* session.send("call act")
      yield* VirtualClock.advance("20 seconds")
      const early = yield* retained(witnesses, alive)
      yield* VirtualClock.advance("2 minutes")
      const late = yield* retained(witnesses, alive)
      expect(witnesses.calls.length).toBeGreaterThan(100)
      expectNoMore(late, early)
      yield* close
      yield* Fiber.join(listener)
      expect(alive.fibers.size).toBe(0)
    }).pipe(Effect.provide(VirtualClock.layer()))
  )
})
