import { Clock, type Duration, Effect, Layer, Stream } from "effect"
import { AgentOutput } from "effect-meantime"

/** What a deck does; times are milliseconds. */
export interface DeckOptions {
  /** until sound begins; default 200 */
  readonly latency?: number
  /** for each character; default 100 */
  readonly pace?: number
  /** it can pause */
  readonly pauses?: boolean
  /** it takes so long to stop, and reports where then */
  readonly stops?: number
  /** by speech, in the order of the plays: dies before it has reported anything, or after its first word */
  readonly dies?: (play: number) => "before" | "after" | undefined
  /** hangs in that play once it has reported so many words */
  readonly hangs?: (play: number) => number | undefined
  readonly stallTimeout?: Duration.DurationInput
  readonly stopTimeout?: Duration.DurationInput
}

export interface Deck {
  readonly layer: Layer.Layer<never>
  /** what it was told and did, each line behind its time */
  readonly log: Array<string>
  readonly speeches: Array<AgentOutput.Speech>
}

/**
 * An output as a synthesizer with a loudspeaker is one: sound begins after a while, it reports offsets word by word, and
 * may pause, die, hang, or say late where it stopped.
 */
export const deck = (options: DeckOptions = {}): Deck => {
  const { dies, hangs, latency = 200, pace = 100, pauses = false, stallTimeout, stopTimeout, stops = 0 } = options
  const log: Array<string> = []
  const speeches: Array<AgentOutput.Speech> = []
  const note = (line: string) => Effect.map(Clock.currentTimeMillis, (at) => void log.push(`${at} ${line}`))
  let resumed: (() => void) | undefined
  let paused = false
  const whilePaused: Effect.Effect<void> = Effect.suspend(() =>
    paused
      ? Effect.async<void>((resume) => {
          resumed = () => resume(Effect.void)
        })
      : Effect.void
  )
  let plays = 0
  const play: AgentOutput.Service["play"] = (text, _, speech) =>
    Effect.suspend(() => {
      const n = ++plays
      speeches.push(speech)
      let to = 0
      let words = 0
      const word = (one: string) =>
        Effect.gen(function* () {
          if (to === 0) {
            yield* Effect.sleep(latency)
            yield* whilePaused
            if (dies?.(n) === "before") return yield* Effect.die(new Error("no device"))
            yield* note("sounds")
            yield* speech.started
          }
          if (hangs?.(n) === words) return yield* Effect.never
          yield* whilePaused
          yield* Effect.sleep(one.length * pace)
          yield* whilePaused
          to += one.length
          words++
          yield* speech.playedTo(to)
          if (dies?.(n) === "after") return yield* Effect.die(new Error("no device"))
        })
      return note(`plays ${speech.id}`).pipe(
        Effect.zipRight(
          Stream.runForEach(
            Stream.mapConcat(text, (part) => part.match(/\s*\S+\s*|\s+/g) ?? []),
            word
          )
        ),
        Effect.onInterrupt(() =>
          stops === 0
            ? note("stops")
            : Effect.sleep(stops).pipe(Effect.zipRight(speech.playedTo(to + 2)), Effect.zipRight(note("stops")))
        )
      )
    })
  const pause = Effect.suspend(() => {
    paused = true
    return note("pauses")
  })
  const resume = Effect.suspend(() => {
    paused = false
    resumed?.()
    resumed = undefined
    return note("resumes")
  })
  const service: AgentOutput.Service = {
    play,
    ...(pauses ? { pause, resume } : {}),
    ...(stallTimeout === undefined ? {} : { stallTimeout }),
    ...(stopTimeout === undefined ? {} : { stopTimeout })
  }
  return { layer: Layer.succeed(AgentOutput.AgentOutput, service) as Layer.Layer<never>, log, speeches }
}
