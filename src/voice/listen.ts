/**
 * The user's turns, from what was heard.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Stream from "effect/Stream"
import type * as AgentSession from "../AgentSession.js"
import { check, ofBargeIn, ofEndpoint } from "../internal/values/options.js"
import * as Listening from "../internal/voice/listening.js"
import type { SessionClosed } from "../Tags.js"
import type { Heard } from "./Audio.js"

/**
 * What happens to the agent's speech if the user speaks.
 *
 * @since 0.1.0
 * @category models
 */
export interface BargeIn {
  /** How long the user has to speak before the agent's speech stops. Default: 500 milliseconds. */
  readonly after?: Duration.DurationInput | undefined
  /** How many words have to be understood before it stops. Default: 0. */
  readonly minWords?: number | undefined
  /**
   * Is this text, said while the agent speaks, no turn ("mhm")? It is asked once about the whole text of the turn. The turn
   * is then discarded, and the agent goes on. What is said after the agent has ended is always a turn. For this, `listen`
   * subscribes to `session.events`: if another subscriber is to get what happened before, let it come first.
   */
  readonly isBackchannel?: ((text: string) => boolean) | undefined
  /** Does the agent's speech pause, so that it can go on if there was nothing, or is it cut at once? Default: `pause`. */
  readonly speech?: "pause" | "interrupt" | undefined
  /** A turn in which nothing was understood is discarded so long after the user's speech ended. Default: 2 seconds. */
  readonly falseAfter?: Duration.DurationInput | undefined
}

/**
 * When a turn ends.
 *
 * @since 0.1.0
 * @category models
 */
export interface Endpoint {
  /** How long the user has to be silent. Default: 700 milliseconds. */
  readonly silence?: Duration.DurationInput | undefined
  /**
   * The longest silence within a turn: while a final is still to come, or while `isComplete` says no. Default: 3 seconds, or
   * `silence` if that is longer.
   */
  readonly maxSilence?: Duration.DurationInput | undefined
  /**
   * Has the user said all there is to say? It is asked when the user has become silent and the finals are there. With `true`
   * the turn ends at once; else the user gets time until `maxSilence`. If it dies, `silence` decides.
   */
  readonly isComplete?: ((text: string) => Effect.Effect<boolean>) | undefined
}

/**
 * The policies of `listen`.
 *
 * @since 0.1.0
 * @category models
 */
export interface ListenOptions {
  readonly bargeIn?: BargeIn | undefined
  readonly endpoint?: Endpoint | undefined
}

/**
 * Drives the user's turns of a session from what was heard, and ends with the stream.
 *
 * - The floor is the user's from `SpeechStarted` on: nothing new begins to be played. What the agent is saying goes on until
 *   the user has spoken for `bargeIn.after`; then it pauses.
 * - A turn ends after `endpoint.silence`, or when `isComplete` says so. Its finals are joined and sent. A final that comes
 *   later than the silence ends it; at the latest after `maxSilence` the partial text is sent.
 * - If nothing was understood within `falseAfter`, the turn is discarded, and the agent goes on. So is a backchannel, and a
 *   turn that is open when the stream ends.
 * - A final without a `SpeechStarted` is a turn as well: a recogniser without a detector will do.
 *
 * It dies with an `OptionsError` if an option is no sensible number or time.
 *
 * ```ts
 * import { Effect, Stream } from "effect"
 * import { AgentSession } from "effect-meantime"
 * import * as Voice from "effect-meantime/voice"
 *
 * declare const heard: Stream.Stream<Voice.Heard>
 *
 * export const conversation = Effect.flatMap(AgentSession.AgentSession, (session) =>
 *   Voice.listen(session, heard, { bargeIn: { minWords: 2 }, endpoint: { silence: "500 millis" } })
 * )
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const listen = (
  session: AgentSession.Service,
  heard: Stream.Stream<Heard>,
  options?: ListenOptions
): Effect.Effect<void, SessionClosed> =>
  check("voice.listen: bargeIn", options?.bargeIn, ofBargeIn).pipe(
    Effect.zipRight(check("voice.listen: endpoint", options?.endpoint, ofEndpoint)),
    Effect.zipRight(Effect.suspend(() => Listening.listen(session, heard, settingsOf(options))))
  )

const settingsOf = ({ bargeIn, endpoint }: ListenOptions = {}): Listening.Settings => {
  const silence = Duration.toMillis(endpoint?.silence ?? 700)
  return {
    after: Duration.toMillis(bargeIn?.after ?? 500),
    minWords: bargeIn?.minWords ?? 0,
    speech: bargeIn?.speech ?? "pause",
    isBackchannel: bargeIn?.isBackchannel,
    falseAfter: Duration.toMillis(bargeIn?.falseAfter ?? 2000),
    silence,
    maxSilence: endpoint?.maxSilence === undefined ? Math.max(3000, silence) : Duration.toMillis(endpoint.maxSilence),
    isComplete: endpoint?.isComplete,
    asks: endpoint?.isComplete !== undefined
  }
}
