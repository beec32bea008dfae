/**
 * The end of a session.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import type { StorageError } from "../../Tags.js"
import * as Closing from "../machine/closing.js"
import { releaseAgent } from "./agents.js"
import { noLonger } from "./fibers.js"
import { type Host, interrupt } from "./host.js"
import type { Storing } from "./storing.js"

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

/** What has changed is written, if the storage takes it in time. */
const stored = (host: Host, { idle }: Storing): Effect.Effect<void> =>
  noLonger(host, idle, Effect.logError("What changed last in the session could not be stored in time."))

/** Ends all calls as rule S2 says, then every other fiber, then the agents' resources. */
export const close = (host: Host): Effect.Effect<void> =>
  drain(host).pipe(
    Effect.zipRight(endFibers(host)),
    (ends) => (host.storing === undefined ? ends : Effect.zipRight(ends, stored(host, host.storing))),
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
export const closeOnce = (host: Host): Effect.Effect<void> => once(host, close(host))

const once = (host: Host, ends: Effect.Effect<void>): Effect.Effect<void> =>
  Effect.suspend(() => {
    if (host.ending !== undefined) return Deferred.await(host.ending)
    const over = Deferred.unsafeMake<void>(FiberId.none)
    host.ending = over
    return Effect.ensuring(
      ends,
      Effect.sync(() => Deferred.unsafeDone(over, Exit.void))
    )
  })

/** A session that can be left for another life of it. */
export interface Suspendable extends Host {
  readonly stop: () => void
}

/**
 * A durable session is left as it is (rule Q18): handlers are interrupted, and nothing ends. What has begun to commit is
 * waited for, as closing waits for a call.
 */
const suspend = (host: Suspendable): Effect.Effect<void> =>
  Effect.suspend(() => {
    const { storing } = host
    const runs = Array.from(host.state.runs, (run) => run.fiber).filter((fiber) => fiber !== undefined)
    const isFenced = storing?.phase === "fenced"
    host.stop()
    const alive = runs.filter((fiber) => fiber.unsafePoll() === null)
    const handlers =
      alive.length === 0
        ? Effect.void
        : noLonger(
            host,
            Effect.forEach(alive, Fiber.await, { discard: true, concurrency: "unbounded" }),
            Effect.logWarning("A handler did not stop in time as the session was suspended.")
          )
    return handlers.pipe(
      Effect.zipRight(endFibers(host)),
      Effect.zipRight(storing === undefined ? Effect.void : stored(host, storing)),
      Effect.zipRight(beside(releaseAgent(host, host.scope.scope), host.saver?.finish)),
      Effect.ensuring(
        Effect.sync(() => {
          // one that another one has tells nothing more
          if (!isFenced) host.hub.publish({ _tag: "SessionClosed", at: host.clock.unsafeCurrentTimeMillis() })
          host.hub.close()
          host.telemetry.close()
        })
      )
    )
  })

export const suspendOnce = (host: Suspendable): Effect.Effect<void> => once(host, suspend(host))

/** It ends for good; of what is stored only the history is left. */
export const end = (host: Host): Effect.Effect<void, StorageError> =>
  host.storing === undefined
    ? closeOnce(host)
    : Effect.zipRight(
        closeOnce(host),
        Effect.suspend(() => host.storing?.forget ?? Effect.void)
      )
