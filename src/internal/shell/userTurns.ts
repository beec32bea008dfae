/**
 * A turn of the user that is being spoken, as programs see it (rule O7).
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Input, ReplyOptions, UserTurn, UserTurnOptions } from "../../AgentSession.js"
import type { SpeechHandle } from "../../SpeechHandle.js"
import { SessionClosed, type ToolError } from "../../Tags.js"
import * as UserTurns from "../machine/userTurns.js"
import { check, ofUserTurn } from "../values/options.js"
import { isBlank } from "../values/text.js"
import { jobsIn } from "./agents.js"
import { inputOf } from "./door.js"
import { handleOf } from "./handles.js"
import { type Host, logOf, refused } from "./host.js"
import { turnOptions } from "./turnOptions.js"

const noText = "The user's turn has no text: it was discarded. Give commit a text, or report a partial before."
const wasDiscarded = "The user's turn was discarded, or its scope was closed: nothing can be sent in it any more."

/** Its end, by its scope too, gives the floor back. */
export const userTurn = (
  host: Host,
  options: UserTurnOptions | undefined
): Effect.Effect<UserTurn, SessionClosed, Scope.Scope> =>
  Effect.zipRight(
    check("session.userTurn", options, ofUserTurn),
    Effect.map(
      Effect.acquireRelease(
        Effect.suspend(() => {
          if (host.state.phase !== "open") return Effect.fail(new SessionClosed())
          const speech = options?.speech ?? "keep"
          return Effect.succeed(host.transact((s) => UserTurns.open(s, speech)))
        }),
        (turn) => Effect.sync(() => host.transact((s) => UserTurns.discard(s, turn)))
      ),
      (turn): UserTurn => ({
        partial: (text) =>
          Effect.sync(() => {
            if (typeof text === "string") host.transact((s) => UserTurns.partial(s, turn, text))
          }),
        commit: (input, options) => commit(host, turn, input, options),
        discard: Effect.sync(() => host.transact((s) => UserTurns.discard(s, turn)))
      })
    )
  )

const commit = (
  host: Host,
  turn: UserTurns.UserTurn,
  given: Input | undefined,
  options: ReplyOptions | undefined
): Effect.Effect<SpeechHandle, SessionClosed | ToolError> =>
  Effect.contextWithEffect((context) =>
    Effect.suspend((): Effect.Effect<SpeechHandle, SessionClosed | ToolError> => {
      if (turn.state._tag === "Committed") return Effect.succeed(handleOf(host, turn.state.speech))
      if (turn.state._tag === "Discarded") return refused(wasDiscarded)
      if (host.state.phase !== "open") return Effect.fail(new SessionClosed())
      const read = given ?? turn.partial
      const input = read === undefined ? undefined : inputOf(read, host, logOf(host))
      if (input === undefined || (isBlank(input.text) && (input.files ?? []).length === 0)) {
        host.transact((s) => UserTurns.discard(s, turn))
        return refused(noText)
      }
      const how = turnOptions(options)
      return Effect.succeed(
        handleOf(
          host,
          host.transact((s) => UserTurns.commit(s, turn, input, how, jobsIn(context)))
        )
      )
    })
  )
