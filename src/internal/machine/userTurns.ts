/**
 * Turns of the user that are being spoken (rule O7): several may be open, each holds the floor as a claim does, and each
 * ends once.
 *
 *     Open ──▶ Committed (its message was sent)
 *       └────▶ Discarded (as if nothing had been said)
 */
import * as Idle from "./idle.js"
import * as Speech from "./speech.js"
import { emit, type Input, type Job, type Speech as SpeechState, type State } from "./state.js"
import * as Turns from "./turns.js"

export interface UserTurn {
  /** the last one; none: nothing was understood yet */
  partial: string | undefined
  state:
    | { readonly _tag: "Open" }
    | { readonly _tag: "Committed"; readonly speech: SpeechState }
    | { readonly _tag: "Discarded" }
}

const Open: UserTurn["state"] = { _tag: "Open" }
const Discarded: UserTurn["state"] = { _tag: "Discarded" }

/** The user begins to speak. What may not be interrupted goes on; what has not begun has given the mouth back. */
export const open = (s: State, speech: "keep" | "pause" | "interrupt"): UserTurn => {
  Idle.claimUserTurn(s)
  const speaking = s.mouth
  if (speech !== "keep" && speaking?.allowInterruptions === true && !Speech.isPassed(speaking)) {
    if (speech === "pause") Speech.pause(s, speaking)
    else Turns.interrupt(s, speaking)
  }
  return { partial: undefined, state: Open }
}

export const partial = (s: State, turn: UserTurn, text: string): void => {
  if (turn.state._tag !== "Open" || s.phase !== "open") return
  turn.partial = text
  emit(s, { _tag: "UserTurnPartial", text })
}

/** The user has spoken: the message is sent inside the claim, which then ends. */
export const commit = (
  s: State,
  turn: UserTurn,
  input: Input,
  options: Turns.TurnOptions,
  jobs: ReadonlyArray<Job>
): SpeechState => {
  if (turn.state._tag === "Committed") return turn.state.speech
  const speech = Turns.send(s, input, options, jobs)
  turn.state = { _tag: "Committed", speech }
  Idle.releaseUserTurn(s)
  return speech
}

export const discard = (s: State, turn: UserTurn): void => {
  if (turn.state._tag !== "Open") return
  turn.state = Discarded
  Idle.releaseUserTurn(s)
}
