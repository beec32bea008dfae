/**
 * Where speech goes.
 *
 * @since 0.1.0
 */
import * as Terminal from "@effect/platform/Terminal"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { check, ofPace } from "./internal/values/options.js"
import { forTerminal } from "./internal/values/text.js"
import { AgentOutput } from "./Tags.js"

export { AgentOutput }

/**
 * What plays the agent's speech.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /**
   * Plays a speech as its text streams in and ends when it has been played. It calls `played` with each piece once that
   * piece has been played. If it is interrupted, it stops at once. The history keeps the pieces that were reported.
   */
  readonly play: (text: Stream.Stream<string>, played: (piece: string) => Effect.Effect<void>) => Effect.Effect<void>
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
