/**
 * The floor, and the tasks that are run on it: by a handler (rule S7), or by a program (rule B5).
 */
import type { AiError } from "@effect/ai/AiError"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FiberId from "effect/FiberId"
import { SessionClosed, ToolError } from "../../Tags.js"
import * as Agents from "../machine/agents.js"
import * as Idle from "../machine/idle.js"
import type * as State from "../machine/state.js"
import type { Restore } from "../scope/build.js"
import { discard } from "./agents.js"
import type { Host } from "./host.js"

/** Waits for idle, and holds the floor while the effect runs. */
export const inForeground = <A, E, R>(
  host: Host,
  call: State.Call,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E | SessionClosed, R> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.suspend(() => {
      const granted = Deferred.unsafeMake<void, SessionClosed>(FiberId.none)
      const request = host.transact((s) =>
        Idle.requestFloor(s, call, (yes) =>
          Deferred.unsafeDone(granted, yes ? Effect.void : Effect.fail(new SessionClosed()))
        )
      )
      // around both: an interruption may come between the grant and the effect
      return Effect.ensuring(
        Effect.zipRight(restore(Deferred.await(granted)), restore(effect)),
        Effect.sync(() => host.transact((s) => Idle.leaveFloor(s, request)))
      )
    })
  )

export type Build = (
  resume: (result: State.TaskResult) => void,
  restore: Restore
) => Effect.Effect<State.Activity, SessionClosed>

/** Runs a task on the floor that this call holds, or takes. */
export const runTask = <A>(
  host: Host,
  call: State.Call,
  build: Build
): Effect.Effect<A, SessionClosed | ToolError | AiError> =>
  inForeground(
    host,
    call,
    Effect.uninterruptibleMask((restore) =>
      Effect.suspend(() => {
        const ended = Deferred.unsafeMake<State.TaskResult>(FiberId.none)
        const resume = (result: State.TaskResult): void => Deferred.unsafeDone(ended, Effect.succeed(result))
        return Effect.flatMap(
          build(resume, restore),
          (activity): Effect.Effect<A, SessionClosed | ToolError | AiError> => {
            if (!host.transact((s) => Agents.startTask(s, activity))) {
              const error =
                host.state.phase === "open"
                  ? new ToolError({ message: "The conversation is being handed to another agent." })
                  : new SessionClosed()
              return Effect.zipRight(discard(activity), Effect.fail(error))
            }
            return Deferred.await(ended).pipe(
              restore,
              Effect.onInterrupt(() => Effect.sync(() => host.transact((s) => Agents.abandonTask(s, activity)))),
              Effect.flatMap(valueOf<A>)
            )
          }
        )
      })
    )
  )

const valueOf = <A>(result: State.TaskResult): Effect.Effect<A, SessionClosed | ToolError | AiError> => {
  switch (result._tag) {
    case "Completed":
      return Effect.succeed(result.value as A)
    case "Declined":
      return Effect.fail(new ToolError({ message: result.reason }))
    case "Failed":
      return Effect.fail(result.failure.error)
    case "SessionClosed":
      return Effect.fail(new SessionClosed())
  }
}
