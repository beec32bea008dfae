/**
 * Sound: what makes it of text, what makes text of it, and what plays it.
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import type * as Stream from "effect/Stream"
import { VoiceError } from "../Tags.js"

export { VoiceError }

/**
 * A piece of sound: 16-bit samples of one channel.
 *
 * @since 0.1.0
 * @category models
 */
export interface AudioFrame {
  readonly samples: Int16Array
  /** Samples a second. */
  readonly sampleRate: number
  /**
   * Where in the sentence the frame begins to sound, in UTF-16 units, if the synthesizer knows. A frame without one goes
   * on with the text of the frame before it.
   */
  readonly textOffset?: number | undefined
}

/**
 * Makes sound of a sentence.
 *
 * @since 0.1.0
 * @category models
 */
export interface Synthesizer {
  /**
   * The frames of one sentence, in order. Short ones are best (20 ms): speech stops and pauses between two frames. If the
   * stream is interrupted, nothing more of it is needed.
   */
  readonly synthesize: (text: string) => Stream.Stream<AudioFrame, VoiceError>
}

/**
 * Plays sound.
 *
 * @since 0.1.0
 * @category models
 */
export interface AudioSink {
  /** Plays a frame, and returns when it has been played. */
  readonly write: (frame: AudioFrame) => Effect.Effect<void, VoiceError>
  /** Throws away what it still keeps of the frames so far: a speech was cut. */
  readonly clear: Effect.Effect<void>
}

/**
 * What a voice detector and a recogniser report of the user. `SpeechStarted` and `SpeechEnded` are the detector's.
 * `Partial` is what the recogniser has understood so far of words that go on; `Final` is what it will not change.
 *
 * @since 0.1.0
 * @category models
 */
export type Heard =
  | { readonly _tag: "SpeechStarted" }
  | { readonly _tag: "SpeechEnded" }
  | { readonly _tag: "Partial"; readonly text: string }
  | { readonly _tag: "Final"; readonly text: string }

/**
 * Makes text of sound.
 *
 * @since 0.1.0
 * @category models
 */
export interface Recogniser {
  /** What it understands of one utterance: the frames between the detector's start and its end. */
  readonly recognise: (
    utterance: Stream.Stream<AudioFrame, VoiceError>
  ) => Stream.Stream<Extract<Heard, { readonly _tag: "Partial" | "Final" }>, VoiceError>
}
