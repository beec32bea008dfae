/**
 * The one turn that the user is speaking. A page takes the floor with the first words of it, and tells what is typed; it
 * ends when it is sent or cleared, and by itself when no page has told of it for a while: a page that is gone holds
 * nothing.
 */
import { Effect, Exit, FiberHandle, Scope } from "effect"
import type { AgentSession } from "effect-meantime"

/** How long a page may be silent. One that holds the floor tells of it more often. */
export const patience = "15 seconds"

export interface Service {
  readonly speak: (text: string) => Effect.Effect<void, AgentSession.SessionClosed>
  /** Commits the turn, or begins and ends one. */
  readonly say: (text: string) => Effect.Effect<void, AgentSession.SessionClosed>
  readonly hush: Effect.Effect<void>
}

interface Open {
  readonly turn: AgentSession.UserTurn
  readonly scope: Scope.CloseableScope
  text: string
}

export const make = (session: AgentSession.Service): Effect.Effect<Service, never, Scope.Scope> =>
  Effect.gen(function* () {
    const outer = yield* Effect.scope
    const watch = yield* FiberHandle.make()
    const one = yield* Effect.makeSemaphore(1)
    let open: Open | undefined

    const begin = Effect.gen(function* () {
      const scope = yield* Scope.make()
      const turn = yield* session.userTurn({ speech: "pause" }).pipe(
        Scope.extend(scope),
        Effect.onError((cause) => Scope.close(scope, Exit.failCause(cause)))
      )
      open = { turn, scope, text: "" }
      return open
    }).pipe(Effect.uninterruptible)
    /** Closing its scope discards what was not sent. */
    const end = Effect.suspend(() => {
      const ended = open
      open = undefined
      return ended === undefined ? Effect.void : Scope.close(ended.scope, Exit.void)
    })
    yield* Scope.addFinalizer(outer, end)
    const hush = one.withPermits(1)(end)

    return {
      speak: (text) =>
        one.withPermits(1)(
          Effect.gen(function* () {
            const current = open ?? (yield* begin)
            yield* FiberHandle.run(watch, Effect.delay(hush, patience))
            if (text === current.text) return
            current.text = text
            yield* current.turn.partial(text)
          })
        ),
      say: (text) =>
        one.withPermits(1)(
          Effect.suspend(() => (open === undefined ? session.send(text) : open.turn.commit(text))).pipe(
            // discarded meanwhile, by the end of its scope
            Effect.catchTag("ToolError", () => session.send(text)),
            Effect.zipRight(FiberHandle.clear(watch)),
            Effect.ensuring(end)
          )
        ),
      hush: Effect.zipRight(FiberHandle.clear(watch), hush)
    }
  })
