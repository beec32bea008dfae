/**
 * `onItems`: what is added to the history is given to the program, one batch after the other (rule R7). One fiber, which
 * waits beside the session; what it has not seen yet waits in the history.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type { ChatItem } from "../../ChatContext.js"
import * as Saving from "../machine/saving.js"
import { suspended } from "../values/guarded.js"
import { noLonger, start } from "./fibers.js"
import { type Host, interrupt, log } from "./host.js"

export type OnItems = (items: ReadonlyArray<ChatItem>) => Effect.Effect<void>

export interface Saver {
  /** there may be new items */
  readonly notify: () => void
  /** The session has ended: what is left is given once more. */
  readonly finish: Effect.Effect<void>
}

export const startSaving = (host: Host, onItems: OnItems): Saver => {
  let resume: (() => void) | undefined
  let last = false
  const isDue = (): boolean => last || Saving.waits(host.state, false)
  const wake = (): void => {
    const waiting = resume
    resume = undefined
    waiting?.()
  }

  const due = Effect.async<void>((done) => {
    // the fiber may have yielded since it looked
    if (isDue()) return done(Effect.void)
    resume = () => done(Effect.void)
    return Effect.sync(() => {
      resume = undefined
    })
  })

  const give = Effect.suspend(() => {
    const items = host.transact(Saving.offer)
    return Effect.map(Effect.exit(suspended(() => onItems(items))), (exit) => {
      if (Exit.isSuccess(exit)) return host.transact(Saving.taken)
      log(host, "error", "onItems failed.", exit.cause)
      host.transact((s) => Saving.notTaken(s, "onItems failed: what it was given was not saved."))
    })
  })

  const loop: Effect.Effect<void> = Effect.suspend(() => {
    if (!isDue()) return Effect.zipRight(due, loop)
    const isLast = last
    const given = Saving.waits(host.state, last) ? give : Effect.void
    return isLast ? given : Effect.zipRight(given, loop)
  })

  const fiber = start(host, Effect.interruptible(loop), host.runtime)

  const tooLate = Effect.sync(() => {
    const message = "onItems did not end in time as the session closed: what it was given last was not saved."
    log(host, "warning", message)
    host.transact((s) => Saving.notTaken(s, message))
  })

  return {
    notify: () => {
      if (resume !== undefined && isDue()) wake()
    },
    finish: Effect.suspend(() => {
      last = true
      wake()
      if (fiber.unsafePoll() !== null) return Effect.void
      const ended = Effect.onInterrupt(Fiber.await(fiber), () => Effect.sync(() => interrupt(fiber)))
      return noLonger(host, ended, tooLate)
    })
  }
}
