import { it as on, type Vitest } from "@effect/vitest"
import { Effect, Layer, Logger, type Scope } from "effect"
import { VirtualClock } from "effect-meantime/testing"

type Test = Vitest.Test<Scope.Scope>

/** As `it.effect`: what a test does not collect is not printed. */
const silence = Logger.remove(Logger.defaultLogger)

/** On a virtual clock of its own, its finalizers too. Effect's `TestContext` would cost more than a short conversation. */
const virtually =
  (run: Vitest.Test<never>): Test =>
  (title, test, options) =>
    run(
      title,
      (context) =>
        Effect.suspend(() => test(context)).pipe(
          Effect.scoped,
          Effect.provide(Layer.merge(VirtualClock.layer(), silence))
        ),
      options
    )

/**
 * `it.scoped` on a `VirtualClock`: the same time, at microseconds for each sleep that comes due instead of milliseconds,
 * and no timer for each look whether all has settled. Most files use it; the others run on the `TestClock`, as users'
 * tests do.
 */
export const scoped = Object.assign(virtually(on.live), {
  only: virtually(on.live.only),
  skip: virtually(on.live.skip)
})

/** `it`, with this `scoped`. */
export const it = new Proxy(on, {
  get: (target, key, receiver) => (key === "scoped" ? scoped : Reflect.get(target, key, receiver))
}) as typeof on & { readonly scoped: typeof scoped }

/** What depends on the order in which the `TestClock` ends sleeps of one time. */
export const onTestClock = on.scoped
