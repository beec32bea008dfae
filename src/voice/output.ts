/**
 * An output of a session from a synthesizer and a sink of audio.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { Service } from "../AgentOutput.js"
import { check, ofVoice } from "../internal/values/options.js"
import * as Playing from "../internal/voice/playing.js"
import { AgentOutput } from "../Tags.js"
import type { AudioSink, Synthesizer } from "./Audio.js"
import { sentences } from "./sentences.js"

/**
 * The parts of an output, and how it plays.
 *
 * @since 0.1.0
 * @category models
 */
export interface OutputOptions {
  readonly synthesizer: Synthesizer
  readonly sink: AudioSink
  /**
   * How many sentences are asked for beyond the one that sounds. Default: 1, the next one is asked for when the one before
   * it begins to sound. 0: when it has been played.
   */
  readonly ahead?: number | undefined
  /** The longest text that the synthesizer is given at once, as in `sentences`. Default: 300. */
  readonly maxLength?: number | undefined
  /** How long it may be silent while it has text to speak, see `AgentOutput`. Default: without a limit. */
  readonly stallTimeout?: Duration.DurationInput | undefined
  /** How long it may take to stop, see `AgentOutput`. Default: 1 second. */
  readonly stopTimeout?: Duration.DurationInput | undefined
}

/**
 * Speech that is heard. Text is spoken sentence by sentence as it streams in. With each frame that has been played the
 * session is told how far it has come in the text: by the offsets of the frames if the synthesizer gives them, else by
 * the share of the sentence's sound. So the history keeps what was heard. An interruption or a pause lets at most the frame
 * that sounds come to its end.
 *
 * A `VoiceError` of the synthesizer or the sink ends the speech and is told as a `SessionError`. Building the layer dies
 * with an `OptionsError` if an option is no sensible number.
 *
 * ```ts
 * import type { Layer } from "effect"
 * import * as Voice from "effect-meantime/voice"
 *
 * declare const synthesizer: Voice.Synthesizer
 * declare const sink: Voice.AudioSink
 *
 * export const Speaker: Layer.Layer<never> = Voice.output({ synthesizer, sink })
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const output = (options: OutputOptions): Layer.Layer<never> =>
  Layer.effect(
    AgentOutput,
    Effect.map(check("voice.output", options, ofVoice), (): Service => {
      const { ahead = 1, maxLength, sink, stallTimeout, stopTimeout, synthesizer } = options
      return {
        ...Playing.make({ synthesizer, sink, ahead, sentences: (text) => sentences(text, { maxLength }) }),
        ...(stallTimeout === undefined ? {} : { stallTimeout }),
        ...(stopTimeout === undefined ? {} : { stopTimeout })
      }
    })
  ) as Layer.Layer<never>
