/**
 * The output of the playground: text that is played word by word, as a voice would. It tells what was written of a speech,
 * how much of that has been played, and whether it is paused; these are in no event of the session.
 */
import { Effect, Stream } from "effect"
import type { AgentOutput } from "effect-meantime"

export interface Saying {
  /** the id of the speech */
  readonly speech: string
  /** what the model has written of it so far */
  readonly text: string
  /** how much of that was played: an offset */
  readonly played: number
  readonly paused: boolean
}

export interface Options {
  /** how long a character takes; default: each piece is played as soon as it is written */
  readonly millisPerCharacter?: number | undefined
  /** gets each change of what is being said; the last one of a speech stays until another one begins */
  readonly tell: (saying: Saying) => Effect.Effect<unknown>
}

export const make = ({ millisPerCharacter = 0, tell }: Options): AgentOutput.Service => {
  const gate = Effect.unsafeMakeLatch(true)
  let saying: Saying | undefined
  const change = (to: Partial<Saying>) =>
    Effect.suspend(() => {
      if (saying === undefined) return Effect.void
      saying = { ...saying, ...to }
      return tell(saying)
    })
  const words = (text: string): ReadonlyArray<string> =>
    millisPerCharacter === 0 ? [text] : (text.match(/\s*\S+\s*|\s+/g) ?? [])
  return {
    play: (text, _, speech) =>
      Effect.suspend(() => {
        let written = ""
        let played = 0
        saying = { speech: speech.id, text: written, played, paused: false }
        return text.pipe(
          Stream.tap((piece) => {
            written += piece
            return change({ text: written })
          }),
          // the model writes on while it is played
          Stream.buffer({ capacity: "unbounded" }),
          Stream.mapConcat(words),
          Stream.runForEach((word) =>
            gate.await.pipe(
              Effect.zipRight(speech.started),
              Effect.zipRight(millisPerCharacter === 0 ? Effect.void : Effect.sleep(millisPerCharacter * word.length)),
              // a word that was in the middle when it was paused counts once it goes on
              Effect.zipRight(gate.await),
              Effect.zipRight(
                Effect.suspend(() => {
                  played += word.length
                  return Effect.zipRight(speech.playedTo(played), change({ played }))
                })
              )
            )
          ),
          // what is resumed after its end has nothing to tell
          Effect.ensuring(
            Effect.sync(() => {
              saying = undefined
            })
          )
        )
      }),
    pause: Effect.zipRight(gate.close, change({ paused: true })),
    resume: Effect.zipRight(gate.open, change({ paused: false }))
  }
}
