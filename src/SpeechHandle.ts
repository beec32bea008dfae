/**
 * A handle on one speech of the agent: what it said, whether it was cut, and when it has ended.
 *
 * @since 0.1.0
 */
import type * as AiError from "@effect/ai/AiError"
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type { ChatItem } from "./ChatContext.js"
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
  /** May the user cut it? Fails when it has been cut already, and `value` is false. */
  readonly setAllowInterruptions: (value: boolean) => Effect.Effect<void, AlreadyInterrupted>
  /** Cuts the speech. On one that has ended it does nothing. */
  readonly interrupt: (options?: {
    readonly force?: boolean | undefined
  }) => Effect.Effect<void, InterruptionDisallowed>
  /** Ends when the whole turn has been played: tool steps and their replies too. */
  readonly wait: Effect.Effect<void, CircularWait>
  /** What this speech added to the history. */
  readonly items: Effect.Effect<ReadonlyArray<ChatItem>>
  /** The failure of the model that ended the speech. */
  readonly error: Effect.Effect<Option.Option<AiError.AiError>>
}
