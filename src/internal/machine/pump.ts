/**
 * The session as a state machine. Its inputs, in the modules of their subjects, change the state at once, and leave
 * events to publish and commands to carry out. After each input the shell calls `pump`, which does what has become
 * possible.
 */
import * as Agents from "./agents.js"
import * as Calls from "./calls.js"
import * as Closing from "./closing.js"
import * as Fillers from "./fillers.js"
import * as Idle from "./idle.js"
import * as Playing from "./playing.js"
import type { Timer } from "./protocol.js"
import * as Speech from "./speech.js"
import { command, emit, type Outcome, type Run, type State } from "./state.js"
import * as Tasks from "./tasks.js"
import * as Turns from "./turns.js"
import * as Updates from "./updates.js"
import * as Voicing from "./voicing.js"
import * as Waits from "./waits.js"

/** Does what has become possible, until nothing more has. */
export const pump = (s: State): void => {
  for (;;) {
    Calls.settleHeld(s)
    if (s.unsaid.length > 0) Turns.recordUnsaid(s)
    if (s.phase === "closing") {
      setAgentState(s)
      return Closing.finish(s)
    }
    if (s.phase === "closed") return
    if (Turns.finishSteps(s)) continue
    if (Agents.endFinishedTask(s)) continue
    if (Agents.startHandoff(s)) continue
    if (Agents.takeOver(s)) continue
    if (Voicing.startUrgentTurn(s)) continue
    if (Voicing.startUrgentReply(s)) continue
    if (Turns.giveMouth(s)) continue
    if (Turns.start(s)) continue
    if (Idle.grantFloor(s)) continue
    if (Voicing.startReply(s)) continue
    if (Tasks.press(s)) continue
    if (Waits.breakCircle(s)) continue
    break
  }
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

// ------------------------------------------------------------------------------- inputs that concern several subjects

/** The fiber of a run has ended. What a fiber that it leaked still holds, it holds no longer. */
export const runEnded = (s: State, run: Run, outcome: Outcome): void => {
  Calls.endRun(s, run, outcome)
  Idle.leaveFloors(s, run)
  for (const filler of s.fillers) if (filler.call.run === run) Fillers.end(s, filler)
  const task = s.agents.find((agent) => agent.task?.call?.run === run)
  if (task !== undefined) Agents.abandonTask(s, task)
}

export const timerFired = (s: State, timer: Timer): void => {
  if (timer.cancelled) return
  timer.cancelled = true
  const { kind } = timer
  switch (kind._tag) {
    case "Release":
      return Updates.release(s, kind.call, "timer")
    case "Timeout": {
      if (!kind.run.committed) Calls.stop(s, kind.run, "timeout")
      return
    }
    case "Replace":
      return Calls.replaceTimedOut(s, kind.admission)
    case "Expire":
      return Calls.expired(s, kind.approval)
    case "Filler": {
      kind.filler.timer = undefined
      kind.filler.due = true
      return command(s, { _tag: "SayFiller", filler: kind.filler })
    }
    case "Stop": {
      if (kind.entry.playback === kind.playback) Speech.stopped(s, kind.entry)
      return
    }
    case "Stall": {
      if (Playing.hasStalled(s, kind.entry, kind.playback)) Speech.outputFailed(s, kind.entry, "stalled")
      return
    }
    case "Drain":
      return Closing.drainTimedOut(s)
    case "GiveUp":
      return Closing.giveUp(s)
  }
}
