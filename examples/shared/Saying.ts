/**
 * An output for text that tells what is being said, as far as it has been said: for those who show speech as it comes.
 */
import { Effect, Stream } from "effect"
import type { AgentOutput } from "effect-meantime"

/** `hear` gets an empty text when a speech begins, and the whole of it so far with each piece. */
export const make = (hear: (soFar: string) => Effect.Effect<unknown>): AgentOutput.Service => ({
  play: (text, played) =>
    Effect.suspend(() => {
      let soFar = ""
      return Effect.zipRight(
        hear(soFar),
        Stream.runForEach(text, (piece) => {
          soFar += piece
          return Effect.zipRight(hear(soFar), played(piece))
        })
      )
    })
})
