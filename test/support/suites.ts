import { Effect, Exit } from "effect"
import { type contract, VirtualClock } from "effect-meantime/testing"
import { scoped } from "./virtual.js"

/** The suites run on either clock; those with the most time in them on the cheap one. */
export const virtual: contract.It = { effect: (name, self) => scoped(name, self) }

/** The names of the tests that fail, of those with such a name. */
export const failing = (suite: (it: contract.It) => void, named = /./): Effect.Effect<ReadonlyArray<string>> =>
  Effect.suspend(() => {
    const tests: Array<readonly [string, () => Effect.Effect<void, unknown>]> = []
    suite({ effect: (name, self) => named.test(name) && tests.push([name, self]) })
    return Effect.map(
      Effect.forEach(tests, ([name, self]) =>
        Effect.map(Effect.exit(Effect.provide(self(), VirtualClock.layer())), (exit) =>
          Exit.isFailure(exit) ? [name] : []
        )
      ),
      (names) => names.flat()
    )
  })
