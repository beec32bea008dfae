/**
 * Text to sentences, as it streams.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { check, ofSentences } from "../internal/values/options.js"
import { Splitter } from "../internal/voice/sentences.js"

/**
 * A sentence, and where it stands: UTF-16 offsets into the whole text. `text` is what stands between `from` and `to`, the
 * space behind the sentence included.
 *
 * @since 0.1.0
 * @category models
 */
export interface Sentence {
  readonly text: string
  readonly from: number
  readonly to: number
}

/** So many that most sentences fit, and that a synthesizer does not think for long about one. */
export const defaultMaxLength = 300

/**
 * Gives the sentences of a text as it streams, each as soon as the character behind it shows that it has ended. Together
 * they are the text, and they are the same however the text was cut into pieces. A full stop that belongs to an
 * abbreviation or a number ends no sentence; a line's end does; in scripts without spaces the mark alone does.
 *
 * A sentence of more than `maxLength` UTF-16 units (default 300, at least 2) is cut behind a clause, a word or a character,
 * never within one.
 *
 * ```ts
 * import { Stream } from "effect"
 * import * as Voice from "effect-meantime/voice"
 *
 * // "Dr. Who pays $3.50. ", "Really?"
 * export const two = Voice.sentences(Stream.make("Dr. Who pays $3", ".50. Rea", "lly?"))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const sentences = (
  text: Stream.Stream<string>,
  options?: { readonly maxLength?: number | undefined }
): Stream.Stream<Sentence> =>
  Stream.unwrap(
    Effect.map(check("voice.sentences", options, ofSentences), () => {
      const splitter = new Splitter(options?.maxLength ?? defaultMaxLength)
      return Stream.concat(
        Stream.mapConcat(text, (piece) => splitter.add(piece)),
        Stream.suspend(() => Stream.fromIterable(splitter.end()))
      )
    })
  )
