/**
 * The session as a state machine. Each exported function is an input: it changes the state at once, and leaves events
 * to publish and commands to carry out. After each input the shell calls `pump`, which does what has become possible.
 */
import * as AiError from "@effect/ai/AiError"
import * as Predicate from "effect/Predicate"
import type { RunningTool } from "../AgentSession.js"
import type { ChatItem } from "../ChatContext.js"
import * as Calls from "./calls.js"
import * as History from "./history.js"
import { toJson } from "./json.js"
import { isSound } from "./model.js"
import * as Replies from "./replies.js"
import * as Speech from "./speech.js"
import {
  type Activity,
  allWoken,
  type Call,
  command,
  currentAgent,
  type Delivery,
  emit,
  type Filler,
  type FloorRequest,
  type Handoff,
  type IdleWaiter,
  type Job,
  type Outcome,
  observe,
  type Part,
  type Run,
  type Speech as SpeechState,
  type State,
  type Step,
  startTimer,
  stopTimer,
  type TaskResult,
  type TextEntry,
  type Timer,
  type ToolChoice,
  wake,
  without
} from "./state.js"

export { commit, decodedArguments, policyDecided, policyFailed, update } from "./calls.js"

// ---------------------------------------------------------------------------------------------------- from a program

export interface TurnOptions {
  readonly instructions?: string | undefined
  readonly toolChoice?: ToolChoice | undefined
  readonly allowInterruptions?: boolean | undefined
  readonly priority?: number | undefined
}

type Jobs = ReadonlyArray<Job>

/** A user's turn (rules F3, F4). */
export const send = (s: State, text: string, options: TurnOptions, jobs: Jobs): SpeechState => {
  const agent = currentAgent(s)
  for (const speech of Array.from(s.speeches)) {
    if (speech.state !== "queued" || speech.step !== undefined) {
      if (isActive(speech) && speech.allowInterruptions) interrupt(s, speech)
    }
  }
  s.actSteps = 0
  History.add(s, { _tag: "Message", role: "user", text, interrupted: false }, undefined, jobs)
  return Speech.create(s, { ...options, source: "reply", agent, userTurn: true, jobs })
}

export const generateReply = (s: State, options: TurnOptions, jobs: Jobs): SpeechState =>
  Speech.create(s, { ...options, source: "reply", agent: currentAgent(s), jobs })

export const say = (s: State, text: unknown, options: TurnOptions, jobs: Jobs): SpeechState =>
  Speech.create(s, { ...options, source: "say", agent: currentAgent(s), text, jobs })

/** `session.run`: a user's turn that somebody waits for (rule R1). */
export const run = (s: State, text: string, options: TurnOptions, job: Job, jobs: Jobs): SpeechState => {
  s.jobs.add(job)
  return send(s, text, options, [job, ...jobs])
}

/** Jobs wait for something that is neither a speech nor a call. */
export const holdJobs = (_: State, jobs: Jobs): void => Replies.openJobs(jobs)

export const releaseJobs = (s: State, jobs: Jobs): void => Replies.closeJobs(s, jobs)

/** The speech of an agent that a task has paused is left alone (rule S7). */
const isActive = (speech: SpeechState): boolean => speech.agent.state !== "paused"

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
    if (filler.call.step.speech === speech) endFiller(s, filler)
  }
}

/** What `session.interrupt` cuts: the speech that has the mouth, and turns that wait for their calls. */
export const interruptible = (s: State): ReadonlyArray<SpeechState> =>
  Array.from(s.speeches).filter(
    (speech) => isActive(speech) && (speech.state === "holding" || speech.step !== undefined)
  )

export const claimUserTurn = (s: State): void => {
  if (++s.userClaims === 1) emit(s, { _tag: "UserStateChanged", state: "speaking" })
}

export const releaseUserTurn = (s: State): void => {
  if (--s.userClaims === 0) emit(s, { _tag: "UserStateChanged", state: "listening" })
}

export const addIdleWaiter = (s: State, waiter: Omit<IdleWaiter, "leaving">): IdleWaiter => {
  const added: IdleWaiter = { ...waiter, leaving: s.switching !== undefined }
  if (s.phase === "open") s.idleWaiters.add(added)
  else wake(s, () => added.resume(false))
  return added
}

export const runningTools = (s: State): ReadonlyArray<RunningTool> => {
  const out: Array<RunningTool> = []
  for (const call of s.calls.values()) {
    if (call.run === undefined || Calls.isCompanion(call.tool)) continue
    out.push({
      ...call.call,
      startedAt: call.startedAt,
      lastUpdate: call.run.lastUpdate,
      allowCancellation: call.tool?.options.allowCancellation === true && !call.run.committed
    })
  }
  return out
}

// ------------------------------------------------------------------------------------------------------ from a model

/** A part of a model's stream. */
export const part = (s: State, step: Step, p: Part): void => {
  if (step.closed || step.streamEnded) return
  if (!isSound(p)) return modelFailed(s, step, unreadable())
  if (!step.answered) {
    step.answered = true
    observe(s, { _tag: "StepAnswered", step })
  }
  switch (p.type) {
    case "text-start": {
      // begun twice: the first one is over
      const earlier = step.openText.get(p.id)
      if (earlier !== undefined) Speech.endText(s, earlier)
      Speech.openText(step, p.id, p.metadata as any)
      return
    }
    case "text-delta": {
      const entry = step.openText.get(p.id) ?? Speech.openText(step, p.id, undefined)
      entry.metadata = Speech.mergeMetadata(entry.metadata, p.metadata as any)
      return Speech.textDelta(s, entry, p.delta)
    }
    case "text-end": {
      const entry = step.openText.get(p.id)
      if (entry === undefined) return
      entry.metadata = Speech.mergeMetadata(entry.metadata, p.metadata as any)
      step.openText.delete(p.id)
      return Speech.endText(s, entry)
    }
    case "reasoning-start":
    case "reasoning-delta": {
      let entry = step.openReasoning.get(p.id)
      if (entry === undefined) {
        entry = { _tag: "Reasoning", text: "", ended: false, metadata: undefined }
        step.entries.push(entry)
        step.openReasoning.set(p.id, entry)
      }
      if (p.type === "reasoning-delta") entry.text += p.delta
      entry.metadata = Speech.mergeMetadata(entry.metadata, p.metadata as any)
      return
    }
    case "reasoning-end": {
      const entry = step.openReasoning.get(p.id)
      if (entry === undefined) return
      entry.metadata = Speech.mergeMetadata(entry.metadata, p.metadata as any)
      entry.ended = true
      step.openReasoning.delete(p.id)
      return Speech.advance(s, step)
    }
    case "tool-call": {
      if (p.providerExecuted === true) Calls.providerExecuted(s, step, p)
      else Calls.requested(s, step, p)
      return Speech.advance(s, step)
    }
    case "tool-result": {
      if (p.providerExecuted !== true) return
      const callId = step.providerCalls.get(p.id) ?? History.cleanId(p.id)
      // it answers a call of the provider's own, once; the calls of ours are answered by nobody else
      if (s.callIds.get(callId) !== "provider") return
      s.callIds.set(callId, "call")
      step.entries.push({
        _tag: "Result",
        callId,
        name: p.name,
        output: p.result === undefined ? null : toJson(p.result),
        isError: p.isFailure === true
      })
      return Speech.advance(s, step)
    }
    case "error":
      return modelFailed(s, step, asAiError(p.error))
    case "finish":
    case "response-metadata":
      return observe(s, { _tag: "StepDescribed", step, part: p })
    default:
      return
  }
}

const unreadable = (): AiError.AiError =>
  new AiError.MalformedOutput({
    module: "effect-meantime",
    method: "streamText",
    description: "The model sent a part that cannot be read."
  })

export const asAiError = (error: unknown): AiError.AiError =>
  typeof error === "object" && error !== null && AiError.TypeId in error
    ? (error as unknown as AiError.AiError)
    : new AiError.UnknownError({
        module: "effect-meantime",
        method: "streamText",
        description:
          typeof error === "string"
            ? error
            : Predicate.hasProperty(error, "message") && typeof error.message === "string"
              ? error.message
              : "The model's stream failed.",
        cause: error
      })

export const streamEnded = (s: State, step: Step): void => {
  if (!step.closed) Speech.streamEnded(s, step)
}

/**
 * The model failed in the middle of a step (rule F7). Output that could not be read is asked for once more (rule T3);
 * what was called before it counts.
 */
export const modelFailed = (s: State, step: Step, error: AiError.AiError): void => {
  const { speech } = step
  if (step.closed || speech.state === "ended" || speech.step !== step) return
  observe(s, { _tag: "StepFailed", step, error })
  if (error._tag === "MalformedOutput" && !speech.retried) {
    Speech.cutStep(s, step)
    if (step.calls.length === 0) {
      speech.retried = true
      Speech.enqueue(s, speech)
    }
    return
  }
  Speech.fail(s, speech, error)
}

export const textRead = (s: State, step: Step, text: string): void => {
  const entry = step.entries[0]
  if (!step.closed && entry?._tag === "Text" && typeof text === "string") Speech.textDelta(s, entry, text)
}

export const played = (_: State, entry: TextEntry, piece: string): void => {
  if (entry.play === "playing" && !entry.step.closed && typeof piece === "string") entry.played += piece
}

export const playEnded = (s: State, entry: TextEntry, failed: boolean): void => {
  if (entry.play !== "playing" || entry.step.closed) return
  entry.play = "done"
  if (failed) {
    emit(s, { _tag: "SessionError", error: { tag: "OutputFailed", message: "The output failed while it played." } })
    entry.step.speech.interrupted = true
    Speech.end(s, entry.step.speech)
    return
  }
  entry.ended = true
  Speech.advance(s, entry.step)
}

// --------------------------------------------------------------------------------------------------- from a handler

/** The fiber of a run has ended. What a fiber that it leaked still holds, it holds no longer. */
export const runEnded = (s: State, run: Run, outcome: Outcome): void => {
  Calls.runEnded(s, run, outcome)
  for (const request of s.floorRequests.filter((other) => other.call.run === run)) {
    withdrawFloorRequest(s, request)
    wake(s, () => request.resume(false))
  }
  for (let i = s.floors.length - 1; i >= 0; i--) if (s.floors[i]?.call.run === run) s.floors.splice(i, 1)
  for (const filler of s.fillers) if (filler.call.run === run) endFiller(s, filler)
  const task = s.agents.find((agent) => agent.task?.call?.run === run)
  if (task !== undefined) abandonTask(s, task)
}

export const progress = (s: State, run: Run, value: unknown): void => {
  if (run.phase === "ended") return
  for (const call of run.calls) {
    if (call.state._tag !== "Ended") emit(s, { _tag: "ToolCallProgress", callId: call.callId, value })
  }
}

/** Waits until the text that came before the call has been played. */
export const waitForPlayout = (s: State, call: Call, resume: () => void): void => {
  const { step } = call
  const before = step.entries.findIndex((entry) => entry._tag === "Call" && entry.callId === call.callId)
  if (before < 0 || step.played || step.cursor >= before) wake(s, resume)
  else step.playWaiters.push({ before, resume })
}

export const requestFloor = (s: State, call: Call, resume: (granted: boolean) => void): FloorRequest => {
  const request: FloorRequest = { call, seq: ++s.seq, granted: false, resume }
  if (s.phase !== "open" || call.state._tag === "Ended") wake(s, () => resume(false))
  else s.floorRequests.push(request)
  return request
}

/** The effect that wanted the floor has ended, whether it had got it or not. */
export const leaveFloor = (s: State, request: FloorRequest): void => {
  if (request.granted) releaseFloor(s, request.call)
  else withdrawFloorRequest(s, request)
}

const withdrawFloorRequest = (s: State, request: FloorRequest): void => {
  const i = s.floorRequests.indexOf(request)
  if (i >= 0) s.floorRequests.splice(i, 1)
}

const releaseFloor = (s: State, call: Call): void => {
  const i = s.floors.findLastIndex((floor) => floor.call === call)
  const floor = s.floors[i]
  if (floor === undefined) return
  if (--floor.depth === 0) s.floors.splice(i, 1)
}

export const startFiller = (s: State, filler: Filler): void => {
  if (!filler.call.step.speech.interrupted && filler.call.state._tag !== "Ended") s.fillers.add(filler)
}

export const endFiller = (s: State, filler: Filler): void => {
  if (filler.ended) return
  filler.ended = true
  filler.timer = stopTimer(s, filler.timer)
  s.fillers.delete(filler)
  const speech = filler.speech
  if (speech !== undefined && speech.state === "queued") {
    speech.interrupted = true
    Speech.end(s, speech)
  }
}

export const sayFiller = (s: State, filler: Filler, text: string | undefined): void => {
  filler.due = false
  if (filler.ended || s.phase !== "open") return
  filler.step++
  if (typeof text === "string" && text !== "") {
    filler.speech = Speech.create(s, {
      source: "say",
      agent: currentAgent(s),
      text,
      filler,
      jobs: filler.call.jobs
    })
  }
  if (filler.interval === undefined || filler.step >= filler.maxSteps) {
    s.fillers.delete(filler)
  }
}

// ----------------------------------------------------------------------------------------------- hand-off and tasks

/** Claims the one hand-off of a step, or the one that waits for idle (rule S5). */
export const claimHandoff = (s: State, call: Call): "inline" | "idle" | undefined => {
  if (s.phase !== "open" || s.handoff !== undefined || s.switching !== undefined || call.state._tag === "Ended")
    return undefined
  if (call.state._tag !== "Inline") return "idle"
  if (call.step.handoff) return undefined
  call.step.handoff = true
  return "inline"
}

export const unclaimHandoff = (_: State, call: Call, when: "inline" | "idle"): void => {
  if (when === "inline") call.step.handoff = false
}

/** The new agent has been built; it takes over at the right moment (rule S4). */
export const requestHandoff = (s: State, handoff: Handoff): boolean => {
  if (s.phase !== "open" || s.handoff !== undefined || s.switching !== undefined) return false
  s.handoff = handoff
  Replies.openJobs(handoff.jobs)
  return true
}

/** Who asked from outside waits no longer; false where it can no longer be stopped. */
export const withdrawHandoff = (s: State, handoff: Handoff, waiter: () => void): boolean => {
  if (s.handoffWaiters.includes(waiter)) {
    s.handoffWaiters = without(s.handoffWaiters, waiter)
    return true
  }
  if (s.handoff !== handoff) return false
  s.handoff = undefined
  Replies.closeJobs(s, handoff.jobs)
  s.handoffWaiters = allWoken(s, s.handoffWaiters)
  return true
}

const handoffIsDue = (s: State, handoff: Handoff): boolean => {
  const { call } = handoff
  if (s.mouth !== undefined) return false
  // the turn that asked is paused by a task
  if (handoff.when === "inline" && call?.step.agent.state === "paused") return false
  if (handoff.when === "now" || call === undefined)
    return !s.queue.some((speech) => speech.source === "say" && isActive(speech))
  if (handoff.when === "idle") return isIdle(s, undefined)
  return call.output !== undefined && call.step.played && (call.recorded || releaseOthers(s, call))
}

/** The talk must not stall for a call that the old agent still has to finish. */
const releaseOthers = (s: State, call: Call): boolean => {
  for (const other of call.step.calls) {
    if (other.run !== undefined && other.run !== call.run && other.run.owner === currentAgent(s)) {
      leaveBehind(s, other.run)
    }
  }
  return call.recorded
}

/** What becomes of a run whose agent leaves (rules S2b, S2c). Its inline calls leave the turn. */
const leaveBehind = (s: State, run: Run): void => {
  const how = onHandoff(run)
  if (how === "promote") toSession(run)
  else if (how === "cancel" && !run.committed) Calls.stop(s, run, "drained")
  for (const call of run.calls) Calls.release(s, call, "timer")
}

const toSession = (run: Run): void => {
  for (const call of run.calls) call.owner = undefined
  run.owner = undefined
}

const onHandoff = (run: Run): "cancel" | "await" | "promote" =>
  run.tool.options.onHandoff ?? (run.tool.options.allowCancellation === true ? "cancel" : "await")

const beginHandoff = (s: State, handoff: Handoff): void => {
  s.handoff = undefined
  // what follows ends the agents, and never the call that asked
  if (handoff.call?.run !== undefined) toSession(handoff.call.run)
  // the end of a task ends its own leaving: this one begins behind it
  endTasks(s, { _tag: "Declined", reason: "the conversation was handed to another agent" })
  s.switching = ++s.seq
  command(s, { _tag: "LeaveAgent", handoff, from: currentAgent(s) })
}

/** `onExit` has run: the new agent takes over once the mouth is free. */
export const enterAgent = (s: State, handoff: Handoff): void => {
  s.entering = handoff
  if (s.phase !== "open") dropHandoff(s)
}

/** A step of the agent that leaves is not cut: what it calls is called while the agent is still there. */
const takeOver = (s: State): boolean => {
  const handoff = s.entering
  if (handoff === undefined || s.mouth !== undefined) return false
  s.entering = undefined
  s.switching = undefined
  s.handoffWaiters = allWoken(s, s.handoffWaiters)
  const from = currentAgent(s)
  const to = handoff.to
  s.agents[s.agents.length - 1] = to
  end(s, from)
  begin(s, to, from, handoff.jobs)
  // what is let in from here on is shown to the new agent anyway
  if (to.context === "empty") to.carried = Replies.pairsOf(s, s.pending)
  for (const run of Array.from(s.runs)) if (run.owner === from) leaveBehind(s, run)
  for (const call of s.calls.values()) if (call.owner === from) Calls.release(s, call, "timer")
  Replies.dropPending(
    s,
    Array.from(s.pending).filter((delivery) => Replies.target(s, delivery).state === "ended")
  )
  for (const speech of s.speeches) if (speech.agent === from) speech.agent = to
  if (from.running === 0) command(s, { _tag: "CloseAgent", activity: from })
  // they wait for it since it was asked for
  command(s, { _tag: "EnterAgent", activity: to, jobs: handoff.jobs })
  if (handoff.resume !== undefined) {
    const { resume } = handoff
    wake(s, () => resume(true))
  }
  return true
}

const begin = (s: State, to: Activity, from: Activity | undefined, jobs: Jobs): void => {
  to.state = "current"
  to.since = to.context === "inherit" ? 0 : s.history.length
  if (from === undefined) return
  handedOff(s, from, to, jobs)
}

const handedOff = (s: State, from: Activity, to: Activity, jobs: Jobs): void => {
  History.add(s, { _tag: "AgentHandoff", from: from.name, to: to.name }, undefined, jobs)
  emit(s, { _tag: "AgentHandoff", from: from.name, to: to.name })
  observe(s, { _tag: "HandedOff", from: from.name, to: to.name })
}

/** What it began as it entered ends with it; its scope stays until the last of its calls has ended (rule S2b). */
const end = (s: State, agent: Activity): void => {
  agent.state = "ended"
  command(s, { _tag: "StopEntering", activity: agent })
}

/** The first agent of the session. */
export const startSession = (s: State, first: Activity): void => {
  s.agents.push(first)
  begin(s, first, undefined, [])
  command(s, { _tag: "EnterAgent", activity: first, jobs: [] })
}

const jobsOfTask = (task: Activity): Jobs => jobsOfRun(task.task?.call)

/** Those of all calls that share its run. */
export const jobsOfRun = (call: Call | undefined): Jobs =>
  call === undefined ? [] : Replies.jobsOf(call.run?.calls ?? [call])

export const startTask = (s: State, to: Activity): boolean => {
  if (s.phase !== "open" || s.switching !== undefined) return false
  const from = currentAgent(s)
  from.state = "paused"
  s.agents.push(to)
  const jobs = jobsOfTask(to)
  begin(s, to, from, jobs)
  Replies.openJobs(jobs)
  command(s, { _tag: "EnterAgent", activity: to, jobs })
  return true
}

/** The task has its value; it ends when what its agent is saying has been said. */
export const finishTask = (_: State, task: Activity, call: Call | undefined, result: TaskResult): boolean => {
  if (task.task === undefined || task.task.done !== undefined || task.state === "ended") return false
  task.task.done = { call, result }
  return true
}

/** The handler that ran the task was interrupted. */
export const abandonTask = (s: State, task: Activity): void => {
  const i = s.agents.indexOf(task)
  if (i < 0) return
  while (s.agents.length > i) endTask(s, { _tag: "Declined", reason: "the task was cancelled" })
}

const endTasks = (s: State, result: TaskResult): void => {
  while (s.agents.length > 1) endTask(s, result)
}

const endTask = (s: State, otherwise: TaskResult): void => {
  const task = s.agents.pop()
  const back = s.agents[s.agents.length - 1]
  if (task?.task === undefined || back === undefined) return
  end(s, task)
  s.switching = undefined
  s.handoffWaiters = allWoken(s, s.handoffWaiters)
  for (const speech of Array.from(s.speeches)) {
    if (speech.agent !== task) continue
    if (speech.state === "queued" && speech.step === undefined) {
      speech.agent = back
      continue
    }
    if (speech.state === "holding") speech.interrupted = true
    Speech.end(s, speech)
  }
  back.state = "current"
  if (s.phase === "open") handedOff(s, task, back, jobsOfTask(task))
  for (const run of Array.from(s.runs)) {
    if (run.owner === task) leaveBehind(s, run)
  }
  Replies.dropPending(
    s,
    Array.from(s.pending).filter((delivery) => Replies.target(s, delivery) === task)
  )
  if (task.running === 0) command(s, { _tag: "CloseAgent", activity: task })
  const result = task.task.done?.result ?? otherwise
  const { resume } = task.task
  wake(s, () => resume(result))
}

const taskIsDone = (s: State): boolean => {
  const agent = currentAgent(s)
  const done = agent.task?.done
  if (done === undefined || s.mouth !== undefined) return false
  if (done.call !== undefined && done.call.output === undefined) return false
  // what it still had to say is said first; a turn that only waits for calls is over
  return !s.queue.some((speech) => speech.agent === agent && speech.source === "say")
}

// ------------------------------------------------------------------------------------------------------------ timers

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
      return drainTimedOut(s)
    case "GiveUp":
      return giveUp(s)
  }
}

// ----------------------------------------------------------------------------------------------------------- closing

/** A hand-off that waits, or is about to be done, does not happen any more. */
const dropHandoff = (s: State): void => {
  for (const handoff of [s.handoff, s.entering]) {
    if (handoff === undefined) continue
    command(s, { _tag: "CloseAgent", activity: handoff.to })
    const { resume } = handoff
    if (resume !== undefined) wake(s, () => resume(false))
  }
  s.handoff = undefined
  s.entering = undefined
}

/** The session's scope closes (rule S2). */
export const close = (s: State): void => {
  if (s.phase !== "open") return
  s.phase = "closing"
  dropHandoff(s)
  for (const filler of Array.from(s.fillers)) endFiller(s, filler)
  for (const speech of Array.from(s.speeches)) {
    speech.interrupted = true
    Speech.end(s, speech)
  }
  for (const request of s.floorRequests.splice(0)) wake(s, () => request.resume(false))
  for (const waiter of s.idleWaiters) wake(s, () => waiter.resume(false))
  s.idleWaiters.clear()
  s.handoffWaiters = allWoken(s, s.handoffWaiters)
  endTasks(s, { _tag: "SessionClosed" })
  for (const run of Array.from(s.runs)) if (mayBeCut(run)) Calls.stop(s, run, "drained")
  Replies.dropPending(s, Array.from(s.pending))
  for (const job of s.jobs) {
    const resume = job.resume
    job.resume = undefined
    if (resume !== undefined) wake(s, () => resume(true))
  }
  s.jobs.clear()
  s.switching = undefined
  if (s.runs.size === 0) return
  if (s.options.drainTimeout === 0) drainTimedOut(s)
  else if (Number.isFinite(s.options.drainTimeout)) {
    s.drainTimer = startTimer(s, { _tag: "Drain" }, s.options.drainTimeout)
  }
}

const mayBeCut = (run: Run): boolean => Calls.isCompanion(run.tool) || Calls.mayBeDrained(run)

const drainTimedOut = (s: State): void => {
  for (const run of Array.from(s.runs)) {
    // past its point of no return: what it ends with is recorded
    if (run.committed) continue
    if (s.options.drainTimeout > 0) {
      command(s, {
        _tag: "Log",
        level: "warning",
        message: `${run.tool.name} (${run.calls[0]?.callId}) is interrupted: it did not end in time when the session closed.`
      })
    }
    Calls.stop(s, run, "drained")
  }
  if (s.runs.size === 0) return
  const again = s.options.drainTimeout === 0 ? s.options.cancellationTimeout : s.options.drainTimeout
  s.drainTimer = startTimer(s, { _tag: "GiveUp" }, again)
}

const giveUp = (s: State): void => {
  for (const run of Array.from(s.runs)) {
    command(s, {
      _tag: "Log",
      level: "error",
      message: `${run.tool.name} (${run.calls[0]?.callId}) is given up on: it does not let itself be interrupted.`
    })
    Calls.runEnded(s, run, { _tag: "Interrupted", reason: "drained" })
    // what is past its point of no return has not been asked to stop before
    command(s, { _tag: "InterruptRun", run })
  }
}

// -------------------------------------------------------------------------------------------------------------- pump

/**
 * Idle: the agent neither speaks nor thinks, nothing is queued, the user does not speak, nobody holds the floor. For
 * the handler of an inline call the waiting of its own turn, and its own hold of the floor, do not count; nor do turns
 * that wait for it in turn, unless a reply is to start (rule D2).
 */
export const isIdle = (s: State, caller: Call | undefined, strict = false): boolean => {
  if (s.phase !== "open" || s.mouth !== undefined || s.userClaims > 0 || s.switching !== undefined) return false
  if (caller === undefined ? s.floors.length > 0 : s.floors.some((floor) => !within(s, caller, floor.call)))
    return false
  for (const speech of s.speeches) {
    if (!isActive(speech)) continue
    if (speech.state !== "waiting" || caller === undefined) return false
    if (!isInlineIn(caller, speech) && (strict || !isHeldUp(s, speech, isInline(caller)))) return false
  }
  return true
}

/** A handler is inline in each turn that waits for it: those of calls that joined its run, too. */
export const isInlineIn = (caller: Call, speech: SpeechState): boolean =>
  callsBeside(caller).some((call) => call.state._tag === "Inline" && call.step.speech === speech)

const isInline = (caller: Call): boolean => callsBeside(caller).some((call) => call.state._tag === "Inline")

const callsBeside = (caller: Call): ReadonlyArray<Call> => caller.run?.calls ?? [caller]

/**
 * Two wait for each other: the handler for the turn, and the turn for its handler, in the background as it may be: for
 * a call that joined it, or for one that is queued behind handlers all of which wait so.
 */
const failCircularWaits = (s: State): void => {
  for (const speech of s.speeches) {
    if (speech.waiters.length === 0 || speech.state !== "waiting") continue
    const waits = (run: Run): boolean => speech.waiters.some(({ caller }) => caller?.run === run)
    const stuck = new Set(
      speech.step?.calls.flatMap(({ output, run }) =>
        output === undefined && run !== undefined && isBehind(s, run, waits) ? [run.tool.executor] : []
      )
    )
    for (const waiter of speech.waiters) {
      const { caller } = waiter
      if (caller?.run === undefined) continue
      if (!isInlineIn(caller, speech) && !stuck.has(caller.run.tool.executor)) continue
      speech.waiters = without(speech.waiters, waiter)
      wake(s, () => waiter.resume(true))
    }
  }
}

/** It is queued, and nobody who is at work there ends before what they wait for. */
const isBehind = (s: State, run: Run, waits: (run: Run) => boolean): boolean =>
  run.phase === "queued" &&
  Array.from(s.runs).every(
    (other) => other.tool.executor !== run.tool.executor || other.phase !== "working" || waits(other)
  )

/**
 * A turn that goes on only once somebody else has found the session idle: its calls are queued behind such handlers,
 * or, where the caller's own turn waits as well, are such handlers. It must not be waited for.
 */
const isHeldUp = (s: State, speech: SpeechState, inline: boolean): boolean => {
  const waits = (run: Run): boolean =>
    s.floorRequests.some((request) => request.call.run === run) ||
    Array.from(s.idleWaiters).some((waiter) => waiter.caller?.run === run)
  return (
    speech.step?.calls.every(
      ({ output, run }) =>
        output !== undefined || (run !== undefined && (isBehind(s, run, waits) || (inline && waits(run))))
    ) === true
  )
}

/** For `onExit`, which waits while its agent leaves: nothing that may be spoken is left. */
const isSilent = (s: State): boolean =>
  s.mouth === undefined && s.userClaims === 0 && !Array.from(s.speeches).some((speech) => mayGoOn(s, speech))

/** Is this call the one that holds the floor, or does it work for a task that runs under that hold? */
const within = (s: State, call: Call, holder: Call): boolean => {
  if (call === holder) return true
  for (const agent of s.agents) {
    if (agent.task?.call !== holder) continue
    for (let i = s.agents.indexOf(agent); i < s.agents.length; i++) {
      if (call.step.agent === s.agents[i]) return true
    }
  }
  return false
}

/** Does what has become possible, until nothing more has. */
export const pump = (s: State): void => {
  for (;;) {
    if (s.phase === "closing") return finishClosing(s)
    if (s.phase === "closed") return
    if (finishSteps(s)) continue
    if (endFinishedTask(s)) continue
    if (startHandoff(s)) continue
    if (takeOver(s)) continue
    if (startUrgentTurn(s)) continue
    if (startUrgentReply(s)) continue
    if (giveMouth(s)) continue
    if (grantFloor(s)) continue
    if (startReply(s)) continue
    break
  }
  failCircularWaits(s)
  for (const waiter of s.idleWaiters) {
    if (isIdle(s, waiter.caller) || (waiter.leaving && isSilent(s))) {
      s.idleWaiters.delete(waiter)
      wake(s, () => waiter.resume(true))
    }
  }
  for (const filler of s.fillers) dwell(s, filler)
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
  for (const speech of s.speeches) if (isActive(speech)) return true
  return false
}

const finishSteps = (s: State): boolean => {
  for (const speech of s.speeches) {
    const step = speech.step
    if (speech.state !== "waiting" || step === undefined || !Speech.stepIsDone(step)) continue
    // the rest of the turn is the new agent's
    if (!mayGoOn(s, speech) || (s.handoff?.when === "inline" && s.handoff.call?.step === step)) continue
    finishStep(s, speech, step)
    return true
  }
  return false
}

/** While an agent leaves, only its last words are spoken: what `onExit` says and asks for. */
const mayGoOn = (s: State, speech: SpeechState): boolean =>
  s.switching === undefined || speech.source === "say" || (speech.seq > s.switching && !speech.userTurn)

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
  const i = s.queue.findIndex((speech) => isActive(speech) && mayGoOn(s, speech))
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

const startHandoff = (s: State): boolean => {
  const handoff = s.handoff
  if (handoff === undefined || s.switching !== undefined || !handoffIsDue(s, handoff)) return false
  beginHandoff(s, handoff)
  return true
}

/** A task that is done leaves like any agent: its `onExit` runs while it is still the current one. */
const endFinishedTask = (s: State): boolean => {
  if (s.switching !== undefined || !taskIsDone(s)) return false
  s.switching = ++s.seq
  command(s, { _tag: "LeaveAgent", handoff: undefined, from: currentAgent(s) })
  return true
}

/** The `onExit` of a task has run. */
export const exitTask = (s: State, task: Activity): void => {
  if (s.phase !== "open" || currentAgent(s) !== task) return
  endTask(s, { _tag: "Declined", reason: "the task has ended" })
}

/** The same for a turn that a first update let go on: it comes next. */
const startUrgentTurn = (s: State): boolean => {
  if (s.queue.length === 0 || s.userClaims > 0) return false
  const i = s.queue.findIndex((speech) => speech.urgent && isActive(speech) && mayGoOn(s, speech))
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

/** An update that interrupts: it breaks neither a user's turn nor a held floor (rule U7). */
const startUrgentReply = (s: State): boolean => {
  if (s.urgent === 0 || s.userClaims > 0 || s.switching !== undefined) return false
  const may = deliverable(s)
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

/** The user, or a tool, waits for its first word: to cut it now would lose the answer. */
const isAboutToAnswer = (speech: SpeechState): boolean =>
  !speech.spoke && (speech.userTurn || speech.reply !== undefined)

const startReply = (s: State): boolean => {
  if (s.pending.size === 0 || !isIdle(s, s.floors[s.floors.length - 1]?.call, true)) return false
  return formReply(s, false)
}

/**
 * What may be voiced now: all that is the current agent's. While the floor is held, only what the call that holds it
 * reports, and the calls of the task that it runs.
 */
const deliverable = (s: State): ((delivery: Delivery) => boolean) => {
  const agent = currentAgent(s)
  const holder = s.floors[s.floors.length - 1]?.call
  return (delivery) =>
    Replies.target(s, delivery) === agent &&
    (holder === undefined ||
      delivery.call.run === holder.run ||
      (agent.task?.call === holder && delivery.call.owner === agent))
}

const formReply = (s: State, urgent: boolean): boolean => {
  const reply = Replies.take(s, deliverable(s))
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
    jobs: Replies.jobsOf(reply.items.map((delivery) => delivery.call)),
    ...(urgent ? { priority: Number.POSITIVE_INFINITY } : {})
  })
  reply.speech = speech
  emit(s, { _tag: "ReplyScheduled", replyId: reply.id, speechId: speech.id, updateIds: reply.ids })
  return true
}

/** The floor goes to the oldest request, once the own reports of its call are out; older reports go first (rule F5). */
const grantFloor = (s: State): boolean => {
  for (const request of s.floorRequests) {
    const { call } = request
    const holder = s.floors[s.floors.length - 1]
    if (holder?.call === call) {
      holder.depth++
    } else {
      if (!isIdle(s, call)) continue
      if (
        s.floors.length === 0 &&
        isIdle(s, undefined) &&
        Array.from(s.pending).some(
          (d) => Replies.target(s, d) === currentAgent(s) && (d.call === call || d.seq < request.seq)
        )
      ) {
        continue
      }
      s.floors.push({ call, depth: 1 })
    }
    withdrawFloorRequest(s, request)
    request.granted = true
    wake(s, () => request.resume(true))
    return true
  }
  return false
}

const dwell = (s: State, filler: Filler): void => {
  if (filler.due) return
  const idle = filler.speech === undefined && isIdle(s, filler.call)
  if (!idle) filler.timer = stopTimer(s, filler.timer)
  else if (filler.timer === undefined && filler.step < filler.maxSteps) {
    const millis = filler.step === 0 ? filler.delay : (filler.interval ?? filler.delay)
    filler.timer = startTimer(s, { _tag: "Filler", filler }, millis)
  }
}

const finishClosing = (s: State): void => {
  setAgentState(s)
  if (s.runs.size > 0) return
  s.drainTimer = stopTimer(s, s.drainTimer)
  s.phase = "closed"
  command(s, { _tag: "Drained" })
}

export const historyItems = (s: State): ReadonlyArray<ChatItem> => s.history.slice()
