/**
 * What takes back the steps of a handler that was stopped or has failed (rule Q12).
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type { StepOptions } from "../../RunContext.js"
import { printable } from "../model/errors.js"
import { suspended } from "../values/guarded.js"

export type Undo<A> = (value: A) => Effect.Effect<void, never, any>

/** The last one first; one that dies is logged, and the others run. */
export const undoAll = (undos: ReadonlyArray<Effect.Effect<unknown>>, of: string): Effect.Effect<void> =>
  Effect.uninterruptible(
    Effect.forEach(
      undos.toReversed(),
      (undo) => Effect.catchAllCause(undo, (cause) => Effect.logError(`An undo of ${of} failed.`, printable(cause))),
      { discard: true }
    )
  )

/** What takes a step back, with the services that it was given. */
export const undoOf = <A>(value: A, undo: Undo<A>): Effect.Effect<Effect.Effect<void>, never, any> =>
  Effect.contextWith((context: Context.Context<any>) =>
    Effect.provide(
      suspended(() => undo(value)),
      context
    )
  )

/** A step that is not stored: the effect itself, and what takes it back. */
export const stepOf = <A, E, R, R2>(
  effect: Effect.Effect<A, E, R>,
  options: StepOptions<A, R2> | undefined,
  add: (undo: Effect.Effect<void>) => void
): Effect.Effect<A, E, R | R2> => {
  const undo = options?.undo
  if (undo === undefined) return effect
  // what the undo needs is there: `step` asks for it
  return Effect.uninterruptibleMask((restore) =>
    Effect.tap(restore(effect), (value) => Effect.map(undoOf(value, undo), add))
  ) as Effect.Effect<A, E, R | R2>
}

/** Of a handler that runs outside of any session. */
export class Undoing {
  private undos: Array<Effect.Effect<void>> = []

  readonly step = <A, E, R, R2 = never>(
    _name: string,
    effect: Effect.Effect<A, E, R>,
    options?: StepOptions<A, R2>
  ): Effect.Effect<A, E, R | R2> => stepOf(effect, options, (undo) => this.undos.push(undo))

  readonly commit = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.uninterruptible(
      Effect.map(effect, (value) => {
        this.undos = []
        return value
      })
    )

  all(name: string): Effect.Effect<void> {
    return Effect.suspend(() => undoAll(this.undos, name))
  }
}
