/**
 * The `RunContext` of a handler that runs outside any session: of one call alone (rule U8), and of a unit test.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { Service as AgentSession } from "../../AgentSession.js"
import type { Service } from "../../RunContext.js"
import type { SpeechHandle } from "../../SpeechHandle.js"
import { SessionClosed, ToolError } from "../../Tags.js"
import { errorIn, ofFiller } from "../values/options.js"

const closed = Effect.suspend(() => Effect.fail(new SessionClosed()))

const noCall = (callId: string) => Effect.fail(new ToolError({ message: `There is no call with the id "${callId}".` }))

/** A session that is over before it began. */
const noSession: AgentSession = {
  send: () => closed,
  run: () => closed,
  generateReply: () => closed,
  say: () => closed,
  interrupt: () => Effect.void,
  handoff: () => closed,
  runTask: () => closed,
  currentAgent: Effect.succeed({ name: "none" }),
  history: Effect.succeed({ items: [] }),
  events: Stream.empty,
  waitForIdle: closed,
  claimUserTurn: Effect.void,
  userTurn: () => closed,
  runningTools: Effect.succeed([]),
  cancelTool: (callId) => noCall(callId),
  messageTool: (callId) => noCall(callId),
  approvals: Effect.succeed([]),
  approve: (callId) => noCall(callId),
  deny: (callId) => noCall(callId),
  respond: (callId) => noCall(callId),
  end: Effect.void,
  release: (callId) => noCall(callId)
}

const noSpeech: SpeechHandle = {
  id: "none",
  interrupted: Effect.succeed(false),
  done: Effect.succeed(true),
  allowInterruptions: Effect.succeed(true),
  setAllowInterruptions: () => Effect.void,
  interrupt: () => Effect.void,
  wait: Effect.void,
  items: Effect.succeed([]),
  usage: Effect.succeed({}),
  error: Effect.succeed(Option.none())
}

/** A member that is left out of `members` behaves as if nobody listened and nobody interfered. */
export const make = (members: Partial<Service>): Service => {
  // what is given as undefined is left out
  const given = Object.fromEntries(Object.entries(members).filter(([, member]) => member !== undefined))
  const { isCancelled = Effect.succeed(false) }: Partial<Service> = given
  return {
    call: { callId: "call", name: "tool", arguments: {} },
    session: noSession,
    speech: noSpeech,
    update: () => Effect.void,
    progress: () => Effect.void,
    release: Effect.void,
    messages: Stream.empty,
    isCancelled,
    cancelled: Effect.if(isCancelled, { onTrue: () => Effect.void, onFalse: () => Effect.never }),
    commit: (effect) =>
      Effect.uninterruptible(Effect.if(isCancelled, { onTrue: () => Effect.interrupt, onFalse: () => effect })),
    handoff: () => Effect.fail(new ToolError({ message: "There is no conversation to hand over." })),
    foreground: (effect) => effect,
    withFiller: (effect, options) =>
      Effect.suspend(() => {
        const odd = errorIn("RunContext.withFiller", options, ofFiller)
        return odd === undefined ? effect : Effect.die(odd)
      }),
    runTask: () => closed,
    waitForPlayout: Effect.void,
    disallowInterruptions: Effect.void,
    ...given
  }
}
