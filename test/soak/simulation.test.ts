/** More of what `test/simulation.test.ts` does. */
import { describe, expect, it } from "@effect/vitest"
import { Effect, FastCheck } from "effect"
import * as Program from "../simulation/program.js"
import { run } from "../simulation/world.js"

/** What went wrong, with the command that shows it. */
const wrong = (seed: number) =>
  Effect.map(
    Effect.promise(() => run(Program.make(seed))),
    ({ violation }) => (violation === undefined ? [] : [`npm run simulate -- --program ${seed}: ${violation.message}`])
  )

describe("simulation", () => {
  it.effect(
    "[T9, U2, D9, M3, F1, C4, S2] random programs follow the reference",
    () =>
      Effect.map(
        Effect.forEach(
          Array.from({ length: 30 }, (_, i) => i + 11),
          wrong
        ),
        (all) => expect(all.flat()).toEqual([])
      ),
    60_000
  )

  it.effect.prop(
    "[T9, U2, D9, M3, F1, C4, S2] so do those of any seed",
    [FastCheck.integer({ min: 1, max: 1_000_000_000 })],
    ([seed]) =>
      Effect.gen(function* () {
        expect(yield* wrong(seed)).toEqual([])
      }),
    { fastCheck: { numRuns: 10, seed: 1 }, timeout: 60_000 }
  )
})
