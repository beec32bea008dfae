/**
 * The end of a session.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as Closing from "../machine/closing.js"
import { releaseAgent } from "./agents.js"
import { noLonger } from "./fibers.js"
import { type Host, interrupt } from "./host.js"

/** Ends when the session begins to close. */
export const closing = (host: Host): Effect.Effect<void> =>
  Effect.async<void>((resume) => {
    if (host.state.phase !== "open") return resume(Effect.void)
    const waiter = () => resume(Effect.void)
    host.closeWaiters.add(waiter)
    return Effect.sync(() => host.closeWaiters.delete(waiter))
  })

/** Ends when the session has begun, or when it is clear that it will not. */
export const begun = (host: Host): Effect.Effect<void> =>
  Effect.async<void>((resume) => {
    if (host.begun || host.state.phase !== "open") return resume(Effect.void)
    const waiter = () => resume(Effect.void)
    host.beginWaiters.add(waiter)
    return Effect.sync(() => host.beginWaiters.delete(waiter))
  })

/** The session could not be made: layers may have left fibers that wait for it. */
export const abandon = (host: Host): void => {
  host.transact(Closing.close)
  for (const waiter of [...host.beginWaiters, ...host.closeWaiters]) waiter()
  host.hub.close()
}

/** All calls have ended. */
export const drained = (host: Host): void => {
  const resume = host.drained
  host.drained = undefined
  resume?.()
}

const drain = (host: Host): Effect.Effect<void> =>
  Effect.async<void>((resume) => {
    host.drained = () => resume(Effect.void)
    host.transact(Closing.close)
    for (const waiter of Array.from(host.closeWaiters)) waiter()
  })

const endFibers = (host: Host): Effect.Effect<void> =>
  Effect.suspend(() => {
    const fibers = Array.from(host.fibers)
    for (const fiber of fibers) interrupt(fiber)
    const alive = [...fibers.filter((fiber) => fiber.unsafePoll() === null), ...host.releasing]
    if (alive.length === 0) return Effect.void
    return noLonger(
      host,
      Effect.forEach(alive, Fiber.await, { discard: true, concurrency: "unbounded" }),
      Effect.logError("Something that the session started does not let itself be interrupted.")
    )
  })

const beside = (one: Effect.Effect<void>, other: Effect.Effect<void> | undefined): Effect.Effect<void> =>
  other === undefined ? one : Effect.zipRight(one, other, { concurrent: true })

/** Ends all calls as rule S2 says, then every other fiber, then the agents' resources. */
export const close = (host: Host): Effect.Effect<void> =>
  drain(host).pipe(
    Effect.zipRight(endFibers(host)),
    // side by side: nothing is added to the history any more
    Effect.zipRight(beside(releaseAgent(host, host.scope.scope), host.saver?.finish)),
    Effect.ensuring(
      Effect.sync(() => {
        host.hub.publish({ _tag: "SessionClosed", at: host.clock.unsafeCurrentTimeMillis() })
        host.hub.close()
        host.telemetry.close()
      })
    )
  )

/** The same, once: whoever comes later waits for it. */
export const closeOnce = (host: Host): Effect.Effect<void> =>
  Effect.suspend(() => {
    if (host.ending !== undefined) return Deferred.await(host.ending)
    const over = Deferred.unsafeMake<void>(FiberId.none)
    host.ending = over
    return Effect.ensuring(
      close(host),
      Effect.sync(() => Deferred.unsafeDone(over, Exit.void))
    )
  })
