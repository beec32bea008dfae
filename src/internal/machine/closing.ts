/**
 * Closing: a session ends what it may, waits for the rest, and gives up in the end (rule S2).
 */
import * as Agents from "./agents.js"
import * as Calls from "./calls.js"
import { isCompanion, mayBeDrained } from "./cancelling.js"
import * as Fillers from "./fillers.js"
import * as Jobs from "./jobs.js"
import * as Replies from "./replies.js"
import * as Speech from "./speech.js"
import { allWoken, command, type Options, type Run, type State, startTimer, stopTimer, wake } from "./state.js"
import { nameOf } from "./updates.js"

/** The session's scope closes (rule S2). */
export const close = (s: State): void => {
  if (s.phase !== "open") return
  s.phase = "closing"
  // before what they wait for is cut off, which would look like its end
  Jobs.closeAll(s)
  Agents.dropHandoff(s)
  for (const filler of Array.from(s.fillers)) Fillers.end(s, filler)
  for (const speech of Array.from(s.speeches)) {
    if (speech === s.stopping) continue
    speech.interrupted = true
    Speech.end(s, speech)
  }
  Calls.settleHeld(s)
  for (const request of s.floorRequests.splice(0)) wake(s, () => request.resume(false))
  for (const waiter of s.idleWaiters) wake(s, () => waiter.resume(false))
  s.idleWaiters.clear()
  s.handoffWaiters = allWoken(s, s.handoffWaiters)
  Agents.endTasks(s, { _tag: "SessionClosed" })
  for (const run of Array.from(s.runs)) if (mayBeCut(run)) Calls.stop(s, run, "drained")
  Replies.dropPending(s, Array.from(s.pending))
  Replies.endParked(s)
  s.leavingSince = undefined
  if (s.runs.size === 0) return
  if (s.options.drainTimeout === 0) drainTimedOut(s)
  else if (Number.isFinite(s.options.drainTimeout)) {
    s.drainTimer = startTimer(s, { _tag: "Drain" }, s.options.drainTimeout)
  }
}

const mayBeCut = (run: Run): boolean => isCompanion(run.tool) || mayBeDrained(run)

export const drainTimedOut = (s: State): void => {
  for (const run of Array.from(s.runs)) {
    // past its point of no return: what it ends with is recorded
    if (run.committed) continue
    if (s.options.drainTimeout > 0) {
      const message = `${nameOf(run)} is interrupted: it did not end in time when the session closed.`
      command(s, { _tag: "Log", level: "warning", message })
    }
    Calls.stop(s, run, "drained")
  }
  if (s.runs.size === 0) return
  s.drainTimer = startTimer(s, { _tag: "GiveUp" }, lastWait(s.options))
}

/** How long closing waits for what it has interrupted. */
export const lastWait = ({ cancellationTimeout, drainTimeout }: Options): number =>
  drainTimeout === 0 ? cancellationTimeout : drainTimeout

export const giveUp = (s: State): void => {
  for (const run of Array.from(s.runs)) {
    const message = `${nameOf(run)} is given up on: it does not let itself be interrupted.`
    command(s, { _tag: "Log", level: "error", message })
    Calls.endRun(s, run, { _tag: "Interrupted", reason: "drained" })
    // a run that is past its point of no return has not been asked to stop before
    command(s, { _tag: "InterruptRun", run })
  }
}

export const finish = (s: State): void => {
  // what was heard of the last speech is on its way (rule O4)
  if (s.runs.size > 0 || s.stopping !== undefined) return
  s.drainTimer = stopTimer(s, s.drainTimer)
  s.phase = "closed"
  command(s, { _tag: "Drained" })
}
