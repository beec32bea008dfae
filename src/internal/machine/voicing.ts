/**
 * Voicing: when what has been reported is said, and what comes before other speech because it interrupts (rules D1 to D3,
 * U7).
 */
import * as Behalf from "./behalf.js"
import * as History from "./history.js"
import * as Idle from "./idle.js"
import * as Jobs from "./jobs.js"
import * as Replies from "./replies.js"
import * as Speech from "./speech.js"
import {
  type Call,
  currentAgent,
  type Delivery,
  emit,
  phrase,
  type Speech as SpeechState,
  type State
} from "./state.js"
import { interrupt } from "./turns.js"

/** An update that interrupts: it breaks neither a user's turn nor a held floor (rule U7). */
export const startUrgentReply = (s: State): boolean => {
  if (s.urgent === 0 || s.userClaims > 0 || s.leavingSince !== undefined) return false
  const may = Idle.deliverable(s)
  const urgent = Array.from(s.pending).filter((delivery) => delivery.mode === "interrupt" && may(delivery))
  if (urgent.length === 0) return false
  const speaking = s.mouth
  if (speaking !== undefined) {
    const fresh = urgent.some((delivery) => !delivery.cutTried)
    for (const delivery of urgent) delivery.cutTried = true
    if (!fresh || !speaking.allowInterruptions || isAboutToAnswer(speaking)) return false
    interrupt(s, speaking)
    return true
  }
  // what was cut may come with it
  if (s.stopping !== undefined) return false
  formReply(s, may, true)
  return true
}

/** The same for a turn that a first update let go on: it comes next. */
export const startUrgentTurn = (s: State): boolean => {
  if (s.queue.length === 0 || s.userClaims > 0) return false
  const i = s.queue.findIndex((speech) => speech.urgent && Speech.isActive(speech) && Speech.mayGoOn(s, speech))
  const turn = s.queue[i]
  if (turn === undefined) return false
  // the floor may be held by one of the turn's own calls, or by one that waits for the turn
  const isOwn = (holder: Call): boolean =>
    turn.step?.calls.some((call) => call.run !== undefined && call.run === holder.run) === true ||
    Behalf.isFor(s, turn.jobs, holder.run ?? holder)
  if (!s.floors.every((floor) => isOwn(floor.call))) return false
  turn.urgent = false
  s.queue.splice(i, 1)
  s.queue.unshift(turn)
  const speaking = s.mouth
  if (speaking === undefined || !speaking.allowInterruptions || isAboutToAnswer(speaking)) return false
  interrupt(s, speaking)
  return true
}

/** The user, or a tool, waits for its first word: to cut it now would lose the answer. */
const isAboutToAnswer = (speech: SpeechState): boolean =>
  !speech.heard && (speech.userTurn || speech.reply !== undefined)

export const startReply = (s: State): boolean => {
  if (s.pending.size === 0) return false
  const may = Idle.deliverable(s)
  if (Idle.isIdle(s, Idle.floorHolder(s), true)) return formReply(s, may, false)
  // a report that a handler waits for is voiced while its own turn waits for it
  return callersOf(s).some(
    (caller) =>
      Idle.isIdle(s, caller, true) &&
      formReply(s, (delivery) => may(delivery) && Behalf.isFor(s, delivery.call.jobs, caller.run ?? caller), false)
  )
}

const callersOf = (s: State): ReadonlyArray<Call> =>
  s.jobs.size === 0 ? [] : Behalf.callersOf(s, Jobs.ofCalls(Array.from(s.pending, (delivery) => delivery.call)))

const formReply = (s: State, may: (delivery: Delivery) => boolean, urgent: boolean): boolean => {
  const reply = Replies.take(s, may, urgent)
  if (reply === undefined) return false
  const agent = currentAgent(s)
  const prompts = Replies.promptsOf((reply.items[0] as (typeof reply.items)[number]).call, agent)
  const note = phrase(s, prompts, Replies.atTail(s, reply) ? "replyAtTail" : "replyMaybeCovered", {
    callIds: reply.ids.map(History.spokenId)
  })
  const speech = Speech.create(s, {
    source: "tool-reply",
    agent,
    toolChoice: reply.act ? "auto" : "none",
    instructions: note,
    reply,
    jobs: Jobs.ofCalls(reply.items.map((delivery) => delivery.call)),
    ...(urgent ? { priority: Number.POSITIVE_INFINITY } : {})
  })
  reply.speech = speech
  emit(s, { _tag: "ReplyScheduled", replyId: reply.id, speechId: speech.id, updateIds: reply.ids })
  return true
}
