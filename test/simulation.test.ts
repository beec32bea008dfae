import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Program from "./simulation/program.js"
import { run } from "./simulation/world.js"

/** What went wrong, with the command that shows it. */
const wrong = (seed: number) =>
  Effect.map(
    Effect.promise(() => run(Program.make(seed))),
    ({ violation }) => (violation === undefined ? [] : [`npm run simulate -- --program ${seed}: ${violation.message}`])
  )

describe("simulation", () => {
  // the next thirty, and those of any seed, are in test/soak
  it.effect(
    "[T9, U2, D9, M3, F1, C4, S2] random programs follow the reference",
    () =>
      Effect.map(
        // in the last one a turn of a paused agent was let in again and again, within one input
        Effect.forEach([...Array.from({ length: 10 }, (_, i) => i + 1), 771_021_747], wrong),
        (all) => expect(all.flat()).toEqual([])
      ),
    60_000
  )

  it.effect("a seed gives the same run each time", () =>
    Effect.gen(function* () {
      for (const seed of [3, 8]) {
        const once = yield* Effect.promise(() => run(Program.make(seed), { record: true }))
        const again = yield* Effect.promise(() => run(Program.make(seed), { record: true }))
        expect(once.trace.length).toBeGreaterThan(20)
        expect(again.trace).toEqual(once.trace)
      }
    })
  )
})
