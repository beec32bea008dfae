/**
 * How the shell starts fibers, which of them the session ends when it closes, and how long it waits for any.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as FiberRef from "effect/FiberRef"
import * as FiberRefs from "effect/FiberRefs"
import * as LogLevel from "effect/LogLevel"
import * as Option from "effect/Option"
import * as Runtime from "effect/Runtime"
import type * as RuntimeFlags from "effect/RuntimeFlags"
import * as Scheduler from "effect/Scheduler"
import * as Closing from "../machine/closing.js"
import type { Timer } from "../machine/protocol.js"
import * as Machine from "../machine/pump.js"
import { printable, read } from "../model/errors.js"
import type { Environment } from "../scope/build.js"
import { outsideSpans } from "../telemetry/recorder.js"
import { kept, suspended } from "../values/guarded.js"
import { type Host, interrupt } from "./host.js"

/** Starts at once: a fiber that is interrupted before it has begun would skip its finalizers. */
export const start = <A, E>(
  host: Host,
  effect: Effect.Effect<A, E, any>,
  { context, fiberRefs }: Environment,
  onExit?: (exit: Exit.Exit<A, E>) => void,
  runtimeFlags: RuntimeFlags.RuntimeFlags = host.runtime.runtimeFlags
): Fiber.RuntimeFiber<unknown, unknown> => {
  const runtime = Runtime.make({ context, fiberRefs, runtimeFlags })

  if (!reportsFailures(fiberRefs)) {
    const fiber = Runtime.runFork(runtime, effect)
    if (onExit !== undefined) fiber.addObserver(onExit)
    return fiber
  }
  const fiber = Runtime.runFork(runtime, kept(effect))
  if (onExit !== undefined) fiber.addObserver((exit) => onExit(Exit.flatten(exit)))
  return fiber
}

/** If they do, the failure is kept from them. Most do not: then a call saves the frames. */
const reportsFailures = (fiberRefs: FiberRefs.FiberRefs): boolean => {
  const level = FiberRefs.getOrDefault(fiberRefs, FiberRef.unhandledErrorLogLevel)
  if (Option.isNone(level)) return false
  const minimum = FiberRefs.getOrDefault(fiberRefs, FiberRef.currentMinimumLogLevel)
  return LogLevel.lessThanEqual(minimum, level.value)
}

/** A fiber that the session ends when it closes. */
export const fork = <A, E>(
  host: Host,
  effect: Effect.Effect<A, E, any>,
  place: Environment,
  onExit?: (exit: Exit.Exit<A, E>) => void,
  runtimeFlags?: RuntimeFlags.RuntimeFlags
): Fiber.RuntimeFiber<unknown, unknown> => {
  const left = (exit: Exit.Exit<A, E>): void => {
    over = true
    if (fiber !== undefined) host.fibers.delete(fiber)
    onExit?.(exit)
  }
  let over = false
  let fiber: Fiber.RuntimeFiber<unknown, unknown> | undefined
  fiber = start(host, effect, place, left, runtimeFlags)
  if (!over) host.fibers.add(fiber)
  return fiber
}

export const startTimer = (host: Host, timer: Timer): void => {
  if (timer.cancelled) return
  timer.fiber = fork(host, Effect.sleep(timer.millis), host.runtime, (exit) => {
    if (Exit.isSuccess(exit)) host.transact((s) => Machine.timerFired(s, timer))
  })
}

interface Wait<A, E> {
  readonly millis: number
  /** begins to wait; what it returns ends that */
  readonly begin: (done: (result: Effect.Effect<A, E>) => void) => () => void
  /** what happens when the time is over */
  readonly late: () => Effect.Effect<A, E>
}

/**
 * Waits for something, but no longer than so many milliseconds. The timer is no child of the fiber that waits. That
 * fiber may be in a region that must not be cut: a timeout there would wait for what it is to end, and an interruption
 * that does not reach the fiber would reach its children.
 */
const atMost = <A, E>(
  { begin, late, millis }: Wait<A, E>,
  forkTimer: (
    sleep: Effect.Effect<void>,
    onExit: (exit: Exit.Exit<void>) => void
  ) => Fiber.RuntimeFiber<unknown, unknown>
): Effect.Effect<A, E> =>
  Effect.async<A, E>((resume) => {
    let timer: Fiber.RuntimeFiber<unknown, unknown> | undefined
    let over = false
    const leave = begin((result) => {
      over = true
      interrupt(timer)
      resume(result)
    })
    if (over) return
    if (Number.isFinite(millis)) {
      timer = forkTimer(Effect.sleep(millis), (exit) => {
        if (Exit.isFailure(exit)) return
        leave()
        resume(late())
      })
    }
    return Effect.sync(() => {
      interrupt(timer)
      leave()
    })
  })

/** As long as the session is there: closing ends the timer, too. */
export const atMostInSession = <A, E>(host: Host, wait: Wait<A, E>): Effect.Effect<A, E> =>
  atMost(wait, (sleep, onExit) => fork(host, sleep, host.runtime, onExit))

/** Waits for what may never end, in finalizers too, but no longer than closing waits for a call; then interrupts it. */
export const noLonger = <R>(
  host: Host,
  effect: Effect.Effect<unknown, never, R>,
  otherwise: Effect.Effect<void>
): Effect.Effect<void, never, R> => {
  const millis = Closing.lastWait(host.state.options)
  if (!Number.isFinite(millis)) return Effect.asVoid(effect)
  return Effect.uninterruptibleMask((restore) =>
    Effect.withFiberRuntime<void, never, R>((waiting) =>
      Effect.flatMap(Effect.forkDaemon(kept(Effect.interruptible(effect))), (fiber) => {
        const place = { context: host.runtime.context, fiberRefs: waiting.getFiberRefs() }
        const wait: Wait<void, never> = {
          millis,
          begin: (done) => {
            const ended = (exit: Exit.Exit<Exit.Exit<unknown>>) => done(Exit.asVoid(Exit.flatten(exit)))
            fiber.addObserver(ended)
            return () => fiber.removeObserver(ended)
          },
          late: () => {
            interrupt(fiber)
            return outsideSpans(otherwise)
          }
        }
        // not among the session's fibers: closing waits in here itself
        const waited = atMost(wait, (sleep, onExit) => {
          return start(host, sleep, place, onExit)
        })
        // around it: an interruption may come before it has begun
        return Effect.onInterrupt(restore(waited), () => Effect.sync(() => interrupt(fiber)))
      })
    )
  )
}

/** The conversation does not wait for ever: what takes longer than closing would is interrupted, with a warning. */
export const inTime = <R>(
  host: Host,
  effect: Effect.Effect<void, never, R>,
  what: string
): Effect.Effect<void, never, R> =>
  noLonger(host, effect, Effect.logWarning(`${what} was interrupted: it did not end in time.`))

/** onEnter and onExit do not fail the session. */
export const quietly = <R>(effect: Effect.Effect<unknown, unknown, R>, what: string): Effect.Effect<void, never, R> =>
  Effect.catchAllCause(Effect.asVoid(suspended(() => effect)), (cause) =>
    Cause.isInterruptedOnly(cause) || isClosed(Cause.failureOption(cause))
      ? Effect.void
      : outsideSpans(Effect.logError(`${what} failed.`, printable(cause)))
  )

/** That the session has closed is nothing to log. */
const isClosed = (failure: Option.Option<unknown>): boolean =>
  Option.isSome(failure) && read(failure.value, "_tag") === "SessionClosed"

/**
 * Effect's own scheduler keeps a queue, in a WeakMap, for each fiber that was ever woken: with many calls that is a third
 * of what it costs to end them, most of it garbage collection. A session's fibers share one queue, in the same order; a
 * scheduler that the program chose is left alone.
 */
export const inOneQueue = <R>(runtime: Runtime.Runtime<R>): Runtime.Runtime<R> => {
  if (FiberRefs.getOrDefault(runtime.fiberRefs, FiberRef.currentScheduler) !== Scheduler.defaultScheduler)
    return runtime
  const queue = new Scheduler.MixedScheduler(2048)
  return Runtime.setFiberRef(runtime, FiberRef.currentScheduler, {
    shouldYield: (fiber) => queue.shouldYield(fiber),
    scheduleTask: (task, priority) => queue.scheduleTask(task, priority)
  })
}
