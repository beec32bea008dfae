/**
 * A handle on one speech of the agent: what it said, whether it was cut, and when it has ended.
 *
 * @since 0.1.0
 */
import type * as AiError from "@effect/ai/AiError"
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type { ChatItem } from "./ChatContext.js"
import type { Usage } from "./SessionEvent.js"
import { AlreadyInterrupted, CircularWait, InterruptionDisallowed } from "./Tags.js"

export { AlreadyInterrupted, CircularWait, InterruptionDisallowed }

/**
 * One speech of the agent, from the moment it is queued.
 *
 * @since 0.1.0
 * @category models
 */
export interface SpeechHandle {
  readonly id: string
  readonly interrupted: Effect.Effect<boolean>
  readonly done: Effect.Effect<boolean>
  readonly allowInterruptions: Effect.Effect<boolean>
  /** May the user cut the speech? Fails if the speech has been cut already and `value` is false. */
  readonly setAllowInterruptions: (value: boolean) => Effect.Effect<void, AlreadyInterrupted>
  /** Cuts the speech, and does nothing if it has ended. Fails if the speech disallows it, unless `force` is true. */
  readonly interrupt: (options?: {
    readonly force?: boolean | undefined
  }) => Effect.Effect<void, InterruptionDisallowed>
  /**
   * Ends when the whole turn has been played, with tool steps and their replies. Fails if the speech waits for the
   * caller.
   */
  readonly wait: Effect.Effect<void, CircularWait>
  /** What this speech added to the history. */
  readonly items: Effect.Effect<ReadonlyArray<ChatItem>>
  /**
   * The sum of the model steps of this speech that have ended so far. A field that no step reported is absent. Deferred
   * replies are speeches of their own.
   */
  readonly usage: Effect.Effect<Usage>
  /**
   * The failure of the model that ended the speech; none if no model failed. A failure is logged as a warning, unless
   * this was read before the speech ended.
   */
  readonly error: Effect.Effect<Option.Option<AiError.AiError>>
}
