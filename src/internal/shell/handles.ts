/**
 * The handles of speeches: one for each, however often somebody asks.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { SpeechHandle } from "../../SpeechHandle.js"
import { AlreadyInterrupted, CircularWait, InterruptionDisallowed } from "../../Tags.js"
import * as Idle from "../machine/idle.js"
import * as Speech from "../machine/speech.js"
import type * as State from "../machine/state.js"
import { addWaiter, removeWaiter } from "../machine/state.js"
import * as Turns from "../machine/turns.js"
import { callerOf } from "./caller.js"
import { type Host, stillInHistory } from "./host.js"

export const handleOf = (host: Host, speech: State.Speech): SpeechHandle => {
  let handle = host.handles.get(speech)
  if (handle === undefined) {
    handle = makeHandle(host, speech)
    host.handles.set(speech, handle)
  }
  return handle
}

const makeHandle = (host: Host, speech: State.Speech): SpeechHandle => ({
  id: speech.id,
  interrupted: Effect.sync(() => speech.interrupted),
  done: Effect.sync(() => speech.state === "ended"),
  allowInterruptions: Effect.sync(() => speech.allowInterruptions),
  setAllowInterruptions: (value) =>
    Effect.suspend(() => {
      if (speech.interrupted && !value) return Effect.fail(new AlreadyInterrupted({ speechId: speech.id }))
      host.transact((s) => Speech.setAllowInterruptions(s, speech, value))
      return Effect.void
    }),
  interrupt: (options) =>
    Effect.suspend(() => {
      if (speech.state === "ended") return Effect.void
      if (!speech.allowInterruptions && options?.force !== true) {
        return Effect.fail(new InterruptionDisallowed({ speechId: speech.id }))
      }
      host.transact((s) => Turns.interrupt(s, speech))
      return Effect.void
    }),
  wait: Effect.flatMap(callerOf(host), (caller) =>
    Effect.async<void, CircularWait>((resume) => {
      if (speech.state === "ended") return resume(Effect.void)
      const circular = () => Effect.fail(new CircularWait({ speechId: speech.id, tool: caller?.call.name ?? "" }))
      if (caller !== undefined && Idle.isInlineIn(caller, speech)) return resume(circular())
      const waiter: State.SpeechWaiter = { caller, resume: (yes) => resume(yes ? circular() : Effect.void) }
      host.transact(() => addWaiter(speech, "waiters", waiter))
      return Effect.sync(() => host.transact(() => removeWaiter(speech, "waiters", waiter)))
    })
  ),
  items: Effect.sync(() => stillInHistory(host, speech.items)),
  usage: Effect.sync(() => ({ ...speech.usage })),
  error: Effect.sync(() => {
    speech.watched = true
    return Option.fromNullable(speech.failure?.error)
  })
})
