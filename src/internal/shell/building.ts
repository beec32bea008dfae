/**
 * Agents that are built for somebody outside of a call: a layer may take for ever, and who asked is told when the session
 * closes.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { SessionClosed } from "../../Tags.js"
import type * as State from "../machine/state.js"
import type { Restore } from "../scope/build.js"
import { kept } from "../values/guarded.js"
import { discard } from "./agents.js"
import { closing } from "./closing.js"
import type { Host } from "./host.js"

/** Who gives up gets nothing, and what was built by then, or is later, is released. */
export const built = (
  host: Host,
  build: Effect.Effect<State.Activity>,
  restore: Restore
): Effect.Effect<State.Activity, SessionClosed> =>
  Effect.flatMap(Effect.forkDaemon(kept(build)), (building) => {
    // in here, a race must be able to end the one that lost
    const closed = Effect.interruptible(Effect.zipRight(closing(host), Effect.fail(new SessionClosed())))
    const released = Effect.flatMap(Effect.map(Fiber.interrupt(building), Exit.flatten), (exit) =>
      Exit.isSuccess(exit) ? discard(exit.value) : Effect.void
    )
    return restore(Effect.raceFirst(Effect.disconnect(Fiber.await(building)), closed)).pipe(
      // if the caller no longer waits for the release, the release goes on
      Effect.onError(() =>
        Effect.flatMap(Effect.forkDaemon(released), (releasing) =>
          Effect.ignore(Effect.raceFirst(Effect.interruptible(Effect.disconnect(Fiber.await(releasing))), closed))
        )
      ),
      Effect.flatten,
      Effect.flatten
    )
  })
