/**
 * What takes back the steps of a handler that was stopped or has failed (rule Q12).
 */
import * as Effect from "effect/Effect"
import { printable } from "../model/errors.js"

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
