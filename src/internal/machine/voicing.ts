/**
 * Voicing: when what has been reported is said, and what comes before other speech because it interrupts (rules D1 to D3,
 * U7).
 */
import * as History from "./history.js"
import * as Idle from "./idle.js"
import * as Jobs from "./jobs.js"
import * as Replies from "./replies.js"
import * as Speech from "./speech.js"
import { currentAgent, emit, phrase, type Speech as SpeechState, type State } from "./state.js"
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
  formReply(s, true)
  return true
}

/** The same for a turn that a first update let go on: it comes next. */
export const startUrgentTurn = (s: State): boolean => {
  if (s.queue.length === 0 || s.userClaims > 0) return false
  const i = s.queue.findIndex((speech) => speech.urgent && Speech.isActive(speech) && Speech.mayGoOn(s, speech))
  const turn = s.queue[i]
  if (turn === undefined) return false
  // the floor may be held by one of the turn's own calls
  if (s.floors.some((floor) => !turn.step?.calls.some((call) => call.run === floor.call.run))) return false
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
  if (s.pending.size === 0 || !Idle.isIdle(s, Idle.floorHolder(s), true)) return false
  return formReply(s, false)
}

const formReply = (s: State, urgent: boolean): boolean => {
  const reply = Replies.take(s, Idle.deliverable(s), urgent)
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
