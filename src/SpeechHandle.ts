/**
 * A handle on one speech of the agent: what it said, whether it was cut, and when it has ended.
 *
 * @since 0.1.0
 */
import type * as AiError from "@effect/ai/AiError"
import * as Data from "effect/Data"
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type { ChatItem } from "./ChatContext.js"

/**
 * The speech disallows interruptions; `interrupt({ force: true })` cuts it all the same.
 *
 * @since 0.1.0
 * @category errors
 */
export class InterruptionDisallowed extends Data.TaggedError("InterruptionDisallowed")<{
  readonly speechId: string
}> {
  override get message(): string {
    return `Speech ${this.speechId} disallows interruptions. Pass { force: true } to cut it all the same.`
  }
}

/**
 * The handler of an inline call waits for the speech of its own turn, which waits for the handler. Send an update
 * first, or wait with `RunContext.waitForPlayout`. So it is where another call of the turn joined the handler or is
 * queued behind it: whichever of the handler's fibers waits is told so, as nobody knows which of them its end needs.
 *
 * @since 0.1.0
 * @category errors
 */
export class CircularWait extends Data.TaggedError("CircularWait")<{
  readonly speechId: string
  readonly tool: string
}> {
  override get message(): string {
    return (
      `The handler of ${this.tool} waits for speech ${this.speechId}, which waits for that handler. ` +
      `Send an update first, or use RunContext.waitForPlayout.`
    )
  }
}

/**
 * The speech has been interrupted already; interruptions can no longer be disallowed.
 *
 * @since 0.1.0
 * @category errors
 */
export class AlreadyInterrupted extends Data.TaggedError("AlreadyInterrupted")<{ readonly speechId: string }> {
  override get message(): string {
    return `Speech ${this.speechId} has already been interrupted.`
  }
}

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
