/**
 * Items on their way to `onItems` (rule R7): two places in the history, which itself is what waits.
 */
import { emit, type State } from "./state.js"
import type { ChatItem } from "./words.js"

export interface Saving {
  /** what stands before it is with the program */
  given: number
  /** what stands before it has been offered */
  offered: number
}

/** From here on; a history that was given to the session is with the program already. */
export const begin = (s: State): void => {
  s.saving = { given: s.history.length, offered: s.history.length }
}

/** A durable session shows only what is stored (rule R7). */
const lengthOf = (s: State): number => s.durable?.safe ?? s.history.length

/** There is something that has not been offered yet; with `again` also something that was not taken. */
export const waits = (s: State, again: boolean): boolean =>
  s.saving !== undefined && lengthOf(s) > (again ? s.saving.given : s.saving.offered)

/** All that is not with the program yet, what it did not take included. */
export const offer = (s: State): ReadonlyArray<ChatItem> => {
  if (s.saving === undefined) return []
  s.saving.offered = lengthOf(s)
  return s.history.slice(s.saving.given, s.saving.offered)
}

export const taken = (s: State): void => {
  if (s.saving !== undefined) s.saving.given = s.saving.offered
}

export const notTaken = (s: State, message: string): void => {
  emit(s, { _tag: "SessionError", error: { tag: "OnItemsFailed", message } })
}
