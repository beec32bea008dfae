/**
 * The session as a state machine. Its inputs, here and in the modules of its subjects, change the state at once, and
 * leave events to publish and commands to carry out. After each input the shell calls `pump`, which does what has become
 * possible.
 */
import * as Agents from "./agents.js"
import * as Calls from "./calls.js"
import * as Closing from "./closing.js"
import * as Fillers from "./fillers.js"
import * as History from "./history.js"
import * as Idle from "./idle.js"
import * as Jobs from "./jobs.js"
import * as Replies from "./replies.js"
import * as Speech from "./speech.js"
import {
  command,
  currentAgent,
  emit,
  type Job,
  type Outcome,
  type Run,
  type Speech as SpeechState,
  type State,
  type Step,
  stopTimer,
  type Timer,
  type ToolChoice
} from "./state.js"

// ------------------------------------------------------------------------------------------------------ from a program

export interface TurnOptions {
  readonly instructions?: string | undefined
  readonly toolChoice?: ToolChoice | undefined
  readonly allowInterruptions?: boolean | undefined
  readonly priority?: number | undefined
}

/** A user's turn (rules F3, F4). */
export const send = (s: State, text: string, options: TurnOptions, jobs: ReadonlyArray<Job>): SpeechState => {
  interruptAll(s, false)
  s.actSteps = 0
  History.add(s, { _tag: "Message", role: "user", text, interrupted: false }, undefined, jobs)
  return Speech.create(s, { ...options, source: "reply", agent: currentAgent(s), userTurn: true, jobs })
}

export const generateReply = (s: State, options: TurnOptions, jobs: ReadonlyArray<Job>): SpeechState =>
  Speech.create(s, { ...options, source: "reply", agent: currentAgent(s), jobs })

export const say = (s: State, text: unknown, options: TurnOptions, jobs: ReadonlyArray<Job>): SpeechState =>
  Speech.create(s, { ...options, source: "say", agent: currentAgent(s), text, jobs })

/** `session.run`: a user's turn that somebody waits for (rule R1). */
export const run = (s: State, text: string, options: TurnOptions, job: Job, jobs: ReadonlyArray<Job>): SpeechState => {
  s.jobs.add(job)
  return send(s, text, options, [job, ...jobs])
}

/** Cuts a speech. Its inline calls go on, but for those that asked not to (rule C8). */
export const interrupt = (s: State, speech: SpeechState): void => {
  if (speech.state === "ended") return
  speech.interrupted = true
  const calls = speech.step?.calls ?? []
  Speech.end(s, speech)
  for (const call of calls) {
    if (
      call.state._tag === "Inline" &&
      call.run !== undefined &&
      !call.run.committed &&
      call.tool?.options.cancelOnInterruption === true
    ) {
      Calls.stop(s, call.run, "cancelled")
    }
  }
  for (const filler of s.fillers) {
    if (filler.call.step.speech === speech) Fillers.end(s, filler)
  }
}

/** Cuts the speech that has the mouth, and turns that wait for their calls. The first that disallows it is told. */
export const interruptAll = (s: State, force: boolean): SpeechState | undefined => {
  const begun = Array.from(s.speeches).filter((speech) => Speech.isActive(speech) && speech.step !== undefined)
  for (const speech of begun) if (force || speech.allowInterruptions) interrupt(s, speech)
  return force ? undefined : begun.find((speech) => !speech.allowInterruptions)
}

// ------------------------------------------------------------------------------------------------------ from a handler

/** The fiber of a run has ended. What a fiber that it leaked still holds, it holds no longer. */
export const runEnded = (s: State, run: Run, outcome: Outcome): void => {
  Calls.endRun(s, run, outcome)
  Idle.leaveFloors(s, run)
  for (const filler of s.fillers) if (filler.call.run === run) Fillers.end(s, filler)
  const task = s.agents.find((agent) => agent.task?.call?.run === run)
  if (task !== undefined) Agents.abandonTask(s, task)
}

// -------------------------------------------------------------------------------------------------------- from a timer

export const timerFired = (s: State, timer: Timer): void => {
  if (timer.cancelled) return
  timer.cancelled = true
  const { kind } = timer
  switch (kind._tag) {
    case "Release":
      return Calls.release(s, kind.call, "timer")
    case "Timeout": {
      if (!kind.run.committed) Calls.stop(s, kind.run, "timeout")
      return
    }
    case "Replace":
      return Calls.replaceTimedOut(s, kind.admission)
    case "Filler": {
      kind.filler.timer = undefined
      kind.filler.due = true
      return command(s, { _tag: "SayFiller", filler: kind.filler })
    }
    case "Drain":
      return Closing.drainTimedOut(s)
    case "GiveUp":
      return Closing.giveUp(s)
  }
}

// ---------------------------------------------------------------------------------------------------------------- pump

/** Does what has become possible, until nothing more has. */
export const pump = (s: State): void => {
  for (;;) {
    if (s.phase === "closing") {
      setAgentState(s)
      return Closing.finish(s)
    }
    if (s.phase === "closed") return
    if (finishSteps(s)) continue
    if (Agents.endFinishedTask(s)) continue
    if (Agents.startHandoff(s)) continue
    if (Agents.takeOver(s)) continue
    if (startUrgentTurn(s)) continue
    if (startUrgentReply(s)) continue
    if (giveMouth(s)) continue
    if (Idle.grantFloor(s)) continue
    if (startReply(s)) continue
    break
  }
  Idle.failCircularWaits(s)
  Idle.wakeWaiters(s)
  for (const filler of s.fillers) Fillers.dwell(s, filler)
  setAgentState(s)
}

const setAgentState = (s: State): void => {
  const state = s.mouth?.spoke === true ? "speaking" : hasActive(s) ? "thinking" : "listening"
  if (state !== s.agentState) {
    s.agentState = state
    emit(s, { _tag: "AgentStateChanged", state })
  }
}

const hasActive = (s: State): boolean => {
  for (const speech of s.speeches) if (Speech.isActive(speech)) return true
  return false
}

// ----------------------------------------------------------------------------------------------- turns and their steps

const finishSteps = (s: State): boolean => {
  for (const speech of s.speeches) {
    const step = speech.step
    if (speech.state !== "waiting" || step === undefined || !Speech.stepIsDone(step)) continue
    // the rest of the turn is the new agent's
    if (!Speech.mayGoOn(s, speech) || (s.handoff?.when === "inline" && s.handoff.call?.step === step)) continue
    finishStep(s, speech, step)
    return true
  }
  return false
}

/** Every call of the step has its output: the model goes on, or the turn is over. */
const finishStep = (s: State, speech: SpeechState, step: Step): void => {
  const goesOn = step.calls.some((call) => call.output?.reply === true)
  if (!goesOn) return Speech.end(s, speech)
  speech.retried = false
  // calls where none were allowed are answered, and get one more step
  if (step.toolChoice === "none") {
    if (speech.refused) return Speech.end(s, speech)
    speech.refused = true
  } else {
    speech.toolSteps++
    if (speech.reply?.act === true) s.actSteps++
  }
  Speech.enqueue(s, speech)
}

const toolChoiceFor = (s: State, speech: SpeechState): ToolChoice => {
  if (speech.toolChoice === "none") return "none"
  // a user's turn in the middle of a reply begins a new chain, and gives the reply itself no more steps
  const used = speech.reply?.act === true ? Math.max(s.actSteps, speech.toolSteps) : speech.toolSteps
  if (used >= s.options.maxToolSteps) return "none"
  const first = speech.step === undefined || (speech.step.index === 0 && speech.retried)
  return first ? speech.toolChoice : "auto"
}

const giveMouth = (s: State): boolean => {
  if (s.mouth !== undefined) return false
  const i = s.queue.findIndex((speech) => Speech.isActive(speech) && Speech.mayGoOn(s, speech))
  const speech = s.queue[i]
  if (speech === undefined) return false
  s.queue.splice(i, 1)
  s.mouth = speech
  speech.state = "holding"
  speech.spoke = false
  for (const filler of s.fillers) filler.timer = stopTimer(s, filler.timer)
  Speech.startStep(s, speech, toolChoiceFor(s, speech), speech.instructions)
  return true
}

// ------------------------------------------------------------------------------------------------------------- replies

/** An update that interrupts: it breaks neither a user's turn nor a held floor (rule U7). */
const startUrgentReply = (s: State): boolean => {
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
const startUrgentTurn = (s: State): boolean => {
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
  !speech.spoke && (speech.userTurn || speech.reply !== undefined)

const startReply = (s: State): boolean => {
  if (s.pending.size === 0 || !Idle.isIdle(s, Idle.floorHolder(s), true)) return false
  return formReply(s, false)
}

const formReply = (s: State, urgent: boolean): boolean => {
  const reply = Replies.take(s, Idle.deliverable(s), urgent)
  if (reply === undefined) return false
  const agent = currentAgent(s)
  const prompts = Replies.promptsOf((reply.items[0] as (typeof reply.items)[number]).call, agent)
  const note = Calls.renderReply(s, Replies.atTail(s, reply) ? "replyAtTail" : "replyMaybeCovered", prompts, reply.ids)
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
