/**
 * Where speech goes.
 *
 * @since 0.1.0
 */
import * as Terminal from "@effect/platform/Terminal"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { check, ofPace } from "./internal/values/options.js"
import { forTerminal } from "./internal/values/text.js"
import { AgentOutput } from "./Tags.js"

export { AgentOutput }

/**
 * The speech that is played, and what is to be reported of it. A report never fails; what is reported after `play` has
 * ended is ignored.
 *
 * @since 0.1.0
 * @category models
 */
export interface Speech {
  /** The id of its `SpeechHandle` and of its events. A speech of several texts is several calls of `play`. */
  readonly id: string
  readonly source: "say" | "reply" | "tool-reply"
  /** The name of the agent that speaks. */
  readonly agent: string
  /** The ids of the updates and results that it voices (`call_1_final`); empty if it is no deferred reply. */
  readonly covers: ReadonlyArray<string>
  /** Whether the user may interrupt it, as it stands now. */
  readonly allowInterruptions: Effect.Effect<boolean>
  /** Sound begins. To be called before the first sound, if the output knows when that is. */
  readonly started: Effect.Effect<void>
  /**
   * How much of the text that this `play` was given has been played: an offset in UTF-16 code units, as the length of a
   * string. The last one counts, also a smaller one, and once one is given, pieces do not count. It is clamped to the
   * text that was given, and to whole characters.
   */
  readonly playedTo: (offset: number) => Effect.Effect<void>
}

/**
 * What plays the agent's speech.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /**
   * Plays a speech as its text streams in and ends when it has been played. It says how far it has come: by offsets
   * (`speech.playedTo`), so that the history keeps the text of the model up to there, or by pieces: it calls `played`
   * with each piece once that piece has been played, and the history keeps the pieces. An output that reports neither,
   * and ends by itself, has played everything.
   *
   * A speech counts as begun with the first report. If `play` is interrupted, it stops at once; its finalizers may
   * still report where it stopped. An output that plays through another one passes the third argument on.
   */
  readonly play: (
    text: Stream.Stream<string>,
    played: (piece: string) => Effect.Effect<void>,
    speech: Speech
  ) => Effect.Effect<void>
  /**
   * Stops the sound of the current `play` until `resume`, without ending it. An output that has both can be paused by a
   * user who begins to speak; one that has not is interrupted instead, and asked to play the interrupted sentence anew.
   */
  readonly pause?: Effect.Effect<void>
  /** Called once for each `pause`, before anything else is played: also if the speech was interrupted meanwhile. */
  readonly resume?: Effect.Effect<void>
  /**
   * How long it may be without a report while it plays: past it the speech ends as failed, and the next one is played.
   * Time in which it is paused, or waits for text, does not count. Milliseconds or a text; default: for ever.
   */
  readonly stallTimeout?: Duration.DurationInput
  /**
   * How long its finalizers may still report where it stopped, once it is interrupted: what the user said is answered
   * when that is known. Default: one second. Infinity: as long as the session's `cancellationTimeout`.
   */
  readonly stopTimeout?: Duration.DurationInput
}

/**
 * Plays text at the pace of speech, without sound: for tests and simulations. A piece is a word with the space behind
 * it. Default: 15 characters a second. Building the layer dies with an `OptionsError` if that is no number above 0.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerPaced = (options?: { readonly charactersPerSecond?: number | undefined }): Layer.Layer<never> => {
  const paced =
    (millisPerCharacter: number): Service["play"] =>
    (text, played) =>
      text.pipe(
        Stream.mapConcat((part) => part.match(/\s*\S+\s*|\s+/g) ?? []),
        Stream.runForEach((word) => Effect.zipRight(Effect.sleep(word.length * millisPerCharacter), played(word)))
      )
  return Layer.effect(
    AgentOutput,
    Effect.map(check("AgentOutput.layerPaced", options, ofPace), () => ({
      play: paced(1000 / (options?.charactersPerSecond ?? 15))
    }))
  ) as Layer.Layer<never>
}

/**
 * Writes to the terminal through `Terminal` of `@effect/platform`, each speech on a line of its own.
 * Control characters other than line feeds and tabs are left out, so that no text of a model commands the terminal; the
 * history keeps them.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerTerminal: Layer.Layer<never, never, Terminal.Terminal> = Layer.effect(
  AgentOutput,
  Effect.map(
    Terminal.Terminal,
    (terminal): Service => ({
      play: (text, played) =>
        text.pipe(
          Stream.runForEach((part) => Effect.zipRight(Effect.orDie(terminal.display(forTerminal(part))), played(part))),
          Effect.ensuring(Effect.orDie(terminal.display("\n")))
        )
    })
  )
) as Layer.Layer<never, never, Terminal.Terminal>
