/**
 * Agents: the hand-off from one to the next, and the tasks that pause one for another (rule S).
 */
import * as Behalf from "./behalf.js"
import * as Calls from "./calls.js"
import { isApproving } from "./cancelling.js"
import * as History from "./history.js"
import * as Idle from "./idle.js"
import * as Jobs from "./jobs.js"
import * as Replies from "./replies.js"
import { type Restored, restore } from "./restoring.js"
import { endOpen, type Resumed } from "./resume.js"
import * as Speech from "./speech.js"
import {
  type Activity,
  addWaiter,
  allWoken,
  type Call,
  command,
  currentAgent,
  emit,
  type Handoff,
  type Job,
  observe,
  type Run,
  removeWaiter,
  type State,
  type TaskResult,
  wake
} from "./state.js"
import * as Updates from "./updates.js"

/**
 * The first agent of the session. What was asked for before it was there is its own. One that goes on with a conversation
 * does not enter anew: it is shown what it was shown before (rule R5).
 */
export const startSession = (
  s: State,
  first: Activity,
  resumed?: Resumed,
  /** what waits for approval (rule A10) */
  waiting: { readonly restored: ReadonlyArray<Restored>; readonly stale: ReadonlyArray<string> } | undefined = undefined
): void => {
  const [before] = s.agents.splice(0)
  s.agents.push(first)
  begin(s, first, undefined, [])
  if (before !== undefined) {
    if (first.context !== "inherit") first.since = before.since
    for (const speech of s.speeches) if (speech.agent === before) speech.agent = first
  }
  if (resumed === undefined) command(s, { _tag: "EnterAgent", activity: first, jobs: [] })
  else {
    if (first.context !== "inherit") first.since = resumed.since
    endOpen(s, first, resumed.open)
  }
  if (waiting !== undefined) restore(s, first, waiting.restored, waiting.stale)
}

const begin = (s: State, to: Activity, from: Activity | undefined, jobs: ReadonlyArray<Job>): void => {
  to.state = "current"
  if (s.durable !== undefined) s.durable.entered = false
  to.since = to.context === "inherit" ? 0 : s.history.length
  if (from === undefined) return
  handedOff(s, from, to, jobs)
}

const handedOff = (s: State, from: Activity, to: Activity, jobs: ReadonlyArray<Job>): void => {
  const task = from.task !== undefined || to.task !== undefined
  History.add(s, { _tag: "AgentHandoff", from: from.name, to: to.name, ...(task ? { task } : {}) }, undefined, jobs)
  emit(s, { _tag: "AgentHandoff", from: from.name, to: to.name })
  observe(s, { _tag: "HandedOff", from: from.name, to: to.name })
}

/** Hand-offs that came meanwhile are asked for again. */
const hasLeft = (s: State): void => {
  if (s.durable !== undefined) s.durable.leaving = undefined
  s.leavingSince = undefined
  s.handoffWaiters = allWoken(s, s.handoffWaiters)
}

/** The `onEnter` of the agent ends with it; its scope stays until the last of its calls has ended (rule S2b). */
const end = (s: State, agent: Activity): void => {
  agent.state = "ended"
  command(s, { _tag: "StopEntering", activity: agent })
}

// ----------------------------------------------------------------------------------------- what an agent leaves behind

/**
 * What becomes of the runs whose agent leaves (rules S2b, S2c). Their inline calls leave the turn; what was held behind
 * one of them may be a report of another, which by then belongs to whoever voices it.
 */
const leaveBehind = (s: State, runs: ReadonlyArray<Run>): void => {
  for (const run of runs) if (onHandoff(run) === "promote") toSession(run)
  // one that has not begun ends at once
  for (const run of runs) if (onHandoff(run) === "cancel" && !run.committed) Calls.stop(s, run, "drained")
  for (const run of runs) for (const call of run.calls) Updates.release(s, call, "timer")
}

const runsOf = (s: State, agent: Activity): ReadonlyArray<Run> =>
  Array.from(s.runs).filter((run) => run.owner === agent)

const toSession = (run: Run): void => {
  for (const call of run.calls) call.owner = undefined
  run.owner = undefined
}

const onHandoff = (run: Run): "cancel" | "await" | "promote" => {
  const { allowCancellation, onHandoff: given } = run.tool.options
  // nothing of it has begun: there is nothing to await (rule A7)
  if (isApproving(run)) return given === "promote" ? "promote" : "cancel"
  return given ?? (allowCancellation === true ? "cancel" : "await")
}

// ------------------------------------------------------------------------------------------------------------ hand-off

/** Claims the one hand-off of a step, or the one that waits for idle (rule S5). */
export const claimHandoff = (s: State, call: Call): "inline" | "idle" | undefined => {
  if (s.phase !== "open" || s.handoff !== undefined || s.leavingSince !== undefined || call.state._tag === "Ended")
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
  if (s.phase !== "open" || s.handoff !== undefined || s.leavingSince !== undefined) return false
  s.handoff = handoff
  // it outlives its agent from here on: what follows ends the agents, and never the call that asked
  if (handoff.when === "idle" && handoff.call?.run !== undefined) toSession(handoff.call.run)
  Jobs.open(handoff.jobs)
  return true
}

/** From outside: it comes behind one that is under way, and is asked for again then. False if the session closes. */
export const requestHandoffInTurn = (s: State, handoff: Handoff, again: () => void): boolean => {
  if (s.phase !== "open") return false
  if (!requestHandoff(s, handoff)) addWaiter(s, "handoffWaiters", again)
  return true
}

/** The caller from outside waits no longer; false if the hand-off can no longer be stopped. */
export const withdrawHandoff = (s: State, handoff: Handoff, again: () => void): boolean => {
  if (s.handoffWaiters.includes(again)) {
    removeWaiter(s, "handoffWaiters", again)
    return true
  }
  if (s.handoff !== handoff) return false
  s.handoff = undefined
  Jobs.close(s, handoff.jobs)
  s.handoffWaiters = allWoken(s, s.handoffWaiters)
  return true
}

export const startHandoff = (s: State): boolean => {
  const handoff = s.handoff
  if (handoff === undefined || s.leavingSince !== undefined || !handoffIsDue(s, handoff)) return false
  s.handoff = undefined
  // the next lines end the agents, and never the call that asked
  if (handoff.call?.run !== undefined) toSession(handoff.call.run)
  // the end of a task ends its own leaving: this one begins behind it
  endTasks(s, { _tag: "Declined", reason: "the conversation was handed to another agent" })
  s.leavingSince = ++s.seq
  if (s.durable !== undefined) s.durable.leaving = handoff
  command(s, { _tag: "LeaveAgent", handoff, from: currentAgent(s) })
  return true
}

const handoffIsDue = (s: State, handoff: Handoff): boolean => {
  const { call } = handoff
  if (!Speech.isMouthFree(s)) return false
  // the turn that asked is paused by a task
  if (handoff.when === "inline" && call?.step.agent.state === "paused") return false
  if (handoff.when === "now" || call === undefined)
    return !s.queue.some((speech) => speech.source === "say" && Speech.isActive(speech))
  if (handoff.when === "idle") return Idle.isIdle(s, undefined) || isIdleForCallers(s, handoff)
  return call.output !== undefined && call.step.played && (call.recorded || releaseOthers(s, call))
}

/** A handler that waits for the turn that asked waits for the hand-off, too: its own turn does not hold that up. */
const isIdleForCallers = (s: State, { jobs }: Handoff): boolean =>
  Behalf.callersOf(s, jobs).some((caller) => Idle.isIdle(s, caller, true))

/** The talk must not stall for a call that the old agent still has to finish. */
const releaseOthers = (s: State, call: Call): boolean => {
  const inStep = new Set(call.step.calls.map((other) => other.run))
  leaveBehind(
    s,
    runsOf(s, currentAgent(s)).filter((run) => run !== call.run && inStep.has(run))
  )
  return call.recorded
}

/** `onExit` has run: the new agent takes over once the mouth is free. */
export const enterAgent = (s: State, handoff: Handoff): void => {
  s.entering = handoff
  if (s.phase !== "open") dropHandoff(s)
}

/** A step of the agent that leaves is not cut: what it calls is called while the agent is still there. */
export const takeOver = (s: State): boolean => {
  const handoff = s.entering
  if (handoff === undefined || !Speech.isMouthFree(s)) return false
  s.entering = undefined
  hasLeft(s)
  const from = currentAgent(s)
  const to = handoff.to
  s.agents[s.agents.length - 1] = to
  end(s, from)
  begin(s, to, from, handoff.jobs)
  // outputs that are let in from here on are shown to the new agent anyway
  if (to.context === "empty") to.carried = Replies.pairsOf(s, [...s.pending, ...s.parked])
  const hasRuns = from.running > 0
  leaveBehind(s, runsOf(s, from))
  for (const call of s.calls.values()) if (call.owner === from) Updates.release(s, call, "timer")
  Replies.dropPending(
    s,
    Array.from(s.pending).filter((delivery) => Replies.target(s, delivery).state === "ended")
  )
  for (const speech of s.speeches) if (speech.agent === from) speech.agent = to
  // else it is closed as the last of them ends, which one that had not begun has done by now
  if (!hasRuns) command(s, { _tag: "CloseAgent", activity: from })
  // they wait for it since it was asked for
  command(s, { _tag: "EnterAgent", activity: to, jobs: handoff.jobs })
  tell(s, handoff, true)
  return true
}

const tell = (s: State, { resume }: Handoff, done: boolean): void => {
  if (resume !== undefined) wake(s, () => resume(done))
}

/** A hand-off that waits, or is about to be done, does not happen any more. */
export const dropHandoff = (s: State): void => {
  for (const handoff of [s.handoff, s.entering]) {
    if (handoff === undefined) continue
    command(s, { _tag: "CloseAgent", activity: handoff.to })
    tell(s, handoff, false)
  }
  s.handoff = undefined
  s.entering = undefined
}

// --------------------------------------------------------------------------------------------------------------- tasks

export const startTask = (s: State, to: Activity): boolean => {
  if (s.phase !== "open" || s.leavingSince !== undefined) return false
  const from = currentAgent(s)
  from.state = "paused"
  s.agents.push(to)
  const jobs = jobsOfTask(to)
  begin(s, to, from, jobs)
  Jobs.open(jobs)
  command(s, { _tag: "EnterAgent", activity: to, jobs })
  return true
}

export const jobsOfTask = (task: Activity): ReadonlyArray<Job> => Jobs.ofRun(task.task?.call)

/** The task has its value; it ends when what its agent is saying has been said. */
export const finishTask = (_: State, task: Activity, call: Call | undefined, result: TaskResult): void => {
  if (task.task === undefined || task.task.done !== undefined || task.state === "ended") return
  task.task.done = { call, result }
}

/** The handler that ran the task was interrupted. */
export const abandonTask = (s: State, task: Activity): void => {
  const i = s.agents.indexOf(task)
  if (i < 0) return
  while (s.agents.length > i) endTask(s, { _tag: "Declined", reason: "the task was cancelled" })
}

const taskIsDone = (s: State): boolean => {
  const agent = currentAgent(s)
  const done = agent.task?.done
  if (done === undefined || !Speech.isMouthFree(s)) return false
  if (done.call !== undefined && done.call.output === undefined) return false
  // what it still had to say is said first; a turn that only waits for calls is over
  return !s.queue.some((speech) => speech.agent === agent && speech.source === "say")
}

/** A task that is done leaves like any agent: its `onExit` runs while it is still the current one. */
export const endFinishedTask = (s: State): boolean => {
  if (s.leavingSince !== undefined || !taskIsDone(s)) return false
  s.leavingSince = ++s.seq
  command(s, { _tag: "LeaveAgent", handoff: undefined, from: currentAgent(s) })
  return true
}

/** The `onExit` of a task has run. */
export const exitTask = (s: State, task: Activity): void => {
  if (s.phase !== "open" || currentAgent(s) !== task) return
  endTask(s, { _tag: "Declined", reason: "the task has ended" })
}

export const endTasks = (s: State, result: TaskResult): void => {
  while (s.agents.length > 1) endTask(s, result)
}

const endTask = (s: State, otherwise: TaskResult): void => {
  const task = s.agents.pop()
  const back = s.agents[s.agents.length - 1]
  if (task?.task === undefined || back === undefined) return
  end(s, task)
  // else it is closed as the last of them ends: those that are held do so below
  const hasRuns = task.running > 0
  hasLeft(s)
  for (const speech of Array.from(s.speeches)) {
    if (speech.agent !== task) continue
    if (speech.state === "queued" && speech.step === undefined) {
      speech.agent = back
      continue
    }
    if (speech.state === "holding" || Speech.isMidStep(speech)) speech.interrupted = true
    Speech.end(s, speech)
  }
  Calls.settleHeld(s)
  back.state = "current"
  if (s.phase === "open") handedOff(s, task, back, jobsOfTask(task))
  leaveBehind(s, runsOf(s, task))
  Replies.dropPending(
    s,
    Array.from(s.pending).filter((delivery) => Replies.target(s, delivery) === task)
  )
  if (!hasRuns) command(s, { _tag: "CloseAgent", activity: task })
  const result = task.task.done?.result ?? otherwise
  const { resume } = task.task
  wake(s, () => resume(result))
}
