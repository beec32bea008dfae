/**
 * Calling foreign code: a function that throws, an effect that is none.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"

/** The value of foreign code, or what to do about what it threw. */
export const guarded = <A>(f: () => A, otherwise: (thrown: unknown) => A): A => {
  try {
    return f()
  } catch (thrown) {
    return otherwise(thrown)
  }
}

/** As `Effect.die`, which looks at the value. */
export const die = (thrown: unknown): Effect.Effect<never> => Effect.failCause(Cause.die(thrown))

/** A value that is no effect would stop the fiber that ran it, without an end. */
const isEffect = (u: unknown): u is Effect.Effect<any, any, any> =>
  Effect.isEffect(u) && typeof (u as { readonly _op?: unknown })._op === "string"

/** The effect that foreign code gives; what it throws, or gives in its place, is a defect. */
export const given = <A, E, R>(f: () => Effect.Effect<A, E, R>): Effect.Effect<A, E, R> => {
  try {
    const effect: unknown = f()
    return isEffect(effect) ? effect : Effect.die(new TypeError("What was given in place of an Effect is none."))
  } catch (thrown) {
    return die(thrown)
  }
}

/** The same, once it is run. */
export const suspended = <A, E, R>(f: () => Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.suspend(() => given(f))

/**
 * Ends with the exit of the effect, however that ends. Effect reports a fiber that fails, at the level Debug if nobody
 * changed that, before it tells anybody that the fiber has ended: a logger that cannot print what foreign code failed with
 * would take the end with it.
 */
export const kept = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<Exit.Exit<A, E>, never, R> =>
  Effect.uninterruptibleMask((restore) => Effect.exit(restore(effect)))
