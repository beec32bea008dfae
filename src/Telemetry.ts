/**
 * The switches for tracing and metrics of a session. Spans and metrics need none of them: a session makes spans if it
 * finds a tracer other than Effect's own, and its metrics are `Metric`s of Effect.
 *
 * ```ts
 * import { Agent, Telemetry } from "effect-meantime"
 *
 * // for a whole session, as a layer: messages, arguments and results are recorded too
 * const recorded = Telemetry.layer({ recordContent: true })
 *
 * // one agent hears what is nobody's business: the more specific scope wins
 * const Clerk = Agent.make("clerk", { instructions: "You take card numbers." }).pipe(
 *   Agent.provide(Telemetry.layer({ recordContent: false }))
 * )
 * ```
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Telemetry } from "./Tags.js"

export { Telemetry }

/**
 * What is recorded, and under which names.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /**
   * Are the contents of messages, arguments, results, updates and errors recorded in spans? They may be confidential.
   * Default: no.
   */
  readonly recordContent?: boolean | undefined
  /**
   * `"session"` (default): the whole conversation is one trace. `"turn"`: each turn is a trace of its own, with a link to
   * the session's span, for conversations that last longer than a backend keeps a trace open.
   */
  readonly trace?: "session" | "turn" | undefined
  /** `gen_ai.conversation.id`. Default: a random id for each session. */
  readonly conversationId?: string | undefined
  /** `gen_ai.provider.name`. Default: the model's `ProviderName` if there is one, else `unknown`. */
  readonly provider?: string | undefined
  /** `gen_ai.request.model`, which a `LanguageModel` does not report. Default: absent. */
  readonly model?: string | undefined
}

/**
 * Sets the given options for one scope. The next broader scope decides the others.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options): Layer.Layer<never> =>
  Layer.effect(
    Telemetry,
    Effect.map(Telemetry, (outer): Options => ({ ...outer, ...options }))
  ) as Layer.Layer<never>
