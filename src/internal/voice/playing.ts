/**
 * An output of speech that is heard: sentences are synthesized a little ahead of the one that sounds, and each frame that
 * has been played says how much of the text has been heard.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Service, Speech } from "../../AgentOutput.js"
import type { VoiceError } from "../../Tags.js"
import type { AudioFrame, AudioSink, Synthesizer } from "../../voice/Audio.js"
import { suspended } from "../values/guarded.js"
import { isBlank, wellFormed } from "../values/text.js"
import type { Sentence } from "./sentences.js"

export interface Parts {
  readonly synthesizer: Synthesizer
  readonly sink: AudioSink
  /** how many sentences are asked for beyond the one that sounds */
  readonly ahead: number
  readonly sentences: (text: Stream.Stream<string>) => Stream.Stream<Sentence>
}

type End = Exit.Exit<void, VoiceError>

/** A sentence whose sound is being made. */
interface Voiced {
  readonly sentence: Sentence
  /** bounded by the length of a sentence: whoever makes the sound need not wait for whoever plays it */
  readonly frames: Queue.Queue<AudioFrame | End>
  /** seconds of sound so far */
  seconds: number
  /** all of the sound is there */
  complete: boolean
}

const isFrame = (item: AudioFrame | End): item is AudioFrame => "samples" in item

/** Fifteen characters a second, until it is known better. */
const secondsForUnit = 1 / 15

/** A frame without a rate has no length. */
const secondsOf = ({ sampleRate, samples }: AudioFrame): number => (sampleRate > 0 ? samples.length / sampleRate : 0)

/** A short sentence says little about how fast a voice speaks. */
const tellingLength = 10

export const make = (parts: Parts): Required<Pick<Service, "play" | "pause" | "resume">> => {
  const gate = Effect.unsafeMakeLatch(true)
  let pace = secondsForUnit

  /** Makes the sound of a sentence, in a fiber of the speech. */
  const voice = (sentence: Sentence): Effect.Effect<Voiced, never, Scope.Scope> =>
    Effect.gen(function* () {
      const frames = yield* Queue.unbounded<AudioFrame | End>()
      const voiced: Voiced = { sentence, frames, seconds: 0, complete: false }
      const finished = (end: End): Effect.Effect<unknown> => {
        voiced.complete = Exit.isSuccess(end)
        if (voiced.complete && voiced.seconds > 0 && sentence.text.length >= tellingLength) {
          pace = (pace + voiced.seconds / sentence.text.length) / 2
        }
        return Queue.offer(frames, end)
      }
      if (isBlank(sentence.text)) {
        yield* finished(Exit.void)
        return voiced
      }
      // half a character has no sound, and would not survive the way to most synthesizers
      yield* Stream.suspend(() => parts.synthesizer.synthesize(wellFormed(sentence.text))).pipe(
        Stream.runForEach((frame) => {
          voiced.seconds += secondsOf(frame)
          return Queue.offer(frames, frame)
        }),
        Effect.exit,
        Effect.flatMap(finished),
        Effect.interruptible,
        Effect.forkScoped
      )
      return voiced
    })

  const play = (text: Stream.Stream<string>, speech: Speech): Effect.Effect<void, VoiceError, Scope.Scope> =>
    Effect.gen(function* () {
      // as many as `mayAsk` lets through
      const queue = yield* Queue.unbounded<Voiced | End>()
      const mayAsk = yield* Effect.makeSemaphore(1)
      let sounding = false

      yield* parts.sentences(text).pipe(
        Stream.runForEach((sentence) =>
          Effect.flatMap(Effect.zipRight(mayAsk.take(1), voice(sentence)), (voiced) => Queue.offer(queue, voiced))
        ),
        Effect.exit,
        Effect.flatMap((end) => Queue.offer(queue, end)),
        Effect.interruptible,
        Effect.forkScoped
      )

      /** Plays one sentence. */
      const sound = Effect.fnUntraced(function* (voiced: Voiced) {
        const { from, text, to } = voiced.sentence
        const audible = text.trimEnd().length
        let played = 0
        let first = true
        /** the synthesizer knows where in the text each frame is */
        let marked = false
        const heard = (): number => {
          const total = voiced.complete ? voiced.seconds : Math.max(voiced.seconds, audible * pace)
          return total > 0 ? from + Math.floor(audible * Math.min(1, played / total)) : from
        }
        while (true) {
          const frame = yield* Queue.take(voiced.frames)
          if (!isFrame(frame)) {
            if (Exit.isFailure(frame)) return yield* frame
            // what has no sound counts once something has been heard
            if (sounding) yield* speech.playedTo(to)
            if (first || parts.ahead === 0) yield* mayAsk.release(1)
            return
          }
          yield* gate.await
          if (!sounding) yield* speech.started
          if (first && parts.ahead > 0) yield* mayAsk.release(sounding ? 1 : parts.ahead)
          const mark = frame.textOffset
          if (mark !== undefined && Number.isFinite(mark)) {
            marked = true
            // all before it has been heard
            if (sounding) yield* speech.playedTo(from + Math.min(Math.max(0, Math.trunc(mark)), text.length))
          }
          sounding = true
          first = false
          // what has been played is told, also if the speech is cut at the same moment
          yield* Effect.uninterruptibleMask((restore) =>
            Effect.zipRight(
              restore(suspended(() => parts.sink.write(frame))),
              Effect.suspend(() => {
                played += secondsOf(frame)
                return marked ? Effect.void : speech.playedTo(heard())
              })
            )
          )
        }
      })

      const next: Effect.Effect<void, VoiceError> = Effect.flatMap(Queue.take(queue), (item) =>
        "frames" in item ? Effect.zipRight(sound(item), next) : item
      )
      yield* Effect.onInterrupt(next, () => (sounding ? suspended(() => parts.sink.clear) : Effect.void))
    })

  return {
    play: (text, _, speech) => Effect.orDie(Effect.scoped(play(text, speech))),
    pause: Effect.asVoid(gate.close),
    resume: Effect.asVoid(gate.open)
  }
}
