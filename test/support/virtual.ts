import { it as on } from "@effect/vitest"
import { Effect, type Scope, type TestServices } from "effect"
import { VirtualClock } from "effect-meantime/testing"

/** Runs on a virtual clock of its own, its finalizers too. */
const virtually = <A, E>(test: () => Effect.Effect<A, E, Scope.Scope | TestServices.TestServices>) =>
  Effect.suspend(test).pipe(Effect.scoped, Effect.provide(VirtualClock.layer()))

/**
 * `it.scoped` on a `VirtualClock`: the same time, at microseconds for each sleep that comes due instead of
 * milliseconds. For files with many or long conversations; the others run on the `TestClock`, as users' tests do.
 */
export const scoped = <A, E>(
  title: string,
  test: () => Effect.Effect<A, E, Scope.Scope | TestServices.TestServices>,
  options?: number
): void => on.effect(title, () => virtually(test), options)
