/**
 * The handles of speeches: one for each, however often somebody asks.
 */
import type * as AiError from "@effect/ai/AiError"
import * as Effect from "effect/Effect"
import * as Inspectable from "effect/Inspectable"
import * as Option from "effect/Option"
import type { ChatItem } from "../../ChatContext.js"
import type { Usage } from "../../SessionEvent.js"
import type { SpeechHandle } from "../../SpeechHandle.js"
import { AlreadyInterrupted, CircularWait, InterruptionDisallowed } from "../../Tags.js"
import * as Idle from "../machine/idle.js"
import * as Speech from "../machine/speech.js"
import type * as State from "../machine/state.js"
import { addWaiter, removeWaiter } from "../machine/state.js"
import * as Turns from "../machine/turns.js"
import { callerOf } from "./caller.js"
import { type Host, stillInHistory } from "./host.js"

/** What was heard of one that is stopping may still come, and it is told of as ended then. */
const isOver = ({ state }: Host, speech: State.Speech): boolean => speech.state === "ended" || state.stopping === speech

export const handleOf = (host: Host, speech: State.Speech): SpeechHandle => {
  let handle = host.handles.get(speech)
  if (handle === undefined) {
    handle = new Handle(host, speech)
    host.handles.set(speech, handle)
  }
  return handle
}

/** Made for each speech: what is rarely asked for is made when it is. */
class Handle implements SpeechHandle {
  constructor(
    private readonly host: Host,
    private readonly speech: State.Speech
  ) {}

  /** Printed, a handle is not the whole session. */
  toJSON(): unknown {
    return { _id: "SpeechHandle", id: this.id }
  }

  [Inspectable.NodeInspectSymbol](): unknown {
    return this.toJSON()
  }

  get id(): string {
    return this.speech.id
  }

  get interrupted(): Effect.Effect<boolean> {
    return Effect.sync(() => this.speech.interrupted)
  }

  get done(): Effect.Effect<boolean> {
    return Effect.sync(() => isOver(this.host, this.speech))
  }

  get allowInterruptions(): Effect.Effect<boolean> {
    return Effect.sync(() => this.speech.allowInterruptions)
  }

  get setAllowInterruptions() {
    const { host, speech } = this
    return (value: boolean): Effect.Effect<void, AlreadyInterrupted> =>
      Effect.suspend(() => {
        if (speech.interrupted && !value) return Effect.fail(new AlreadyInterrupted({ speechId: speech.id }))
        host.transact((s) => Speech.setAllowInterruptions(s, speech, value))
        return Effect.void
      })
  }

  get interrupt() {
    const { host, speech } = this
    return (options?: { readonly force?: boolean | undefined }): Effect.Effect<void, InterruptionDisallowed> =>
      Effect.suspend(() => {
        if (speech.state === "ended") return Effect.void
        if (!speech.allowInterruptions && options?.force !== true) {
          return Effect.fail(new InterruptionDisallowed({ speechId: speech.id }))
        }
        host.transact((s) => Turns.interrupt(s, speech))
        return host.storing === undefined ? Effect.void : host.storing.settled
      })
  }

  get wait(): Effect.Effect<void, CircularWait> {
    const { host, speech } = this
    return Effect.flatMap(callerOf(host), (caller) =>
      Effect.async<void, CircularWait>((resume) => {
        // what a durable session has not stored has not ended
        if (speech.state === "ended") return resume(host.storing === undefined ? Effect.void : host.storing.settled)
        const circular = () => Effect.fail(new CircularWait({ speechId: speech.id, tool: caller?.call.name ?? "" }))
        if (caller !== undefined && Idle.isInlineIn(caller, speech)) return resume(circular())
        const waiter: State.SpeechWaiter = { caller, resume: (yes) => resume(yes ? circular() : Effect.void) }
        host.transact(() => addWaiter(speech, "waiters", waiter))
        return Effect.sync(() => host.transact(() => removeWaiter(speech, "waiters", waiter)))
      })
    )
  }

  get items(): Effect.Effect<ReadonlyArray<ChatItem>> {
    return Effect.sync(() => stillInHistory(this.host, this.speech.items))
  }

  get usage(): Effect.Effect<Usage> {
    return Effect.sync(() => ({ ...this.speech.usage }))
  }

  get error(): Effect.Effect<Option.Option<AiError.AiError>> {
    return Effect.sync(() => {
      this.speech.watched = true
      return Option.fromNullable(this.speech.failure?.error)
    })
  }
}
