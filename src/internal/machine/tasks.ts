/**
 * Tasks that a program runs (rule B5): who holds the floor for it, what the user says to the task, and what becomes of a
 * task that ends its turn without a result.
 */
import * as Agents from "./agents.js"
import * as Calls from "./calls.js"
import * as Idle from "./idle.js"
import * as Speech from "./speech.js"
import { type Activity, Background, type Call, currentAgent, type Job, none, type State, type Step } from "./state.js"
import { completeNow, noResult } from "./texts.js"

/**
 * Stands for a program that holds the floor, as the handler of a call would. It is no call of a model: it has no run, and
 * the turn that it belongs to is over.
 */
export const holderFor = (s: State, jobs: ReadonlyArray<Job>): Call => {
  // all that is looked at of it: no agent's turn, and one that nobody waits for
  const step = { speech: { state: "ended", waiters: none, jobs }, agent: undefined } as unknown as Step
  const call = { callId: "program", name: "program", arguments: {} }
  return { ...Calls.makeCall(s, step, call, undefined, undefined), state: Background, admitted: true }
}

/**
 * `onEnter` of a task has run, if there is one. What the user is to say to it comes behind what `onEnter` asked for. If
 * there is neither, the model begins.
 */
export const entered = (s: State, task: Activity, hasEntered: boolean): void => {
  if (s.phase !== "open" || task.state === "ended" || task.task === undefined || task.task.done !== undefined) return
  const { asked } = task.task
  const jobs = Agents.jobsOfTask(task)
  if (asked?.text !== undefined) {
    asked.said = true
    const opening = { text: asked.text, files: asked.files, author: undefined, urged: false }
    Speech.create(s, { source: "reply", agent: task, userTurn: true, opening, jobs })
  } else if (!hasEntered) {
    Speech.create(s, { source: "reply", agent: task, jobs })
  }
}

/** The user has said what there was to say, and nothing of the task is at work: it is asked for its result, once. */
export const press = (s: State): boolean => {
  if (s.agents.length === 1) return false
  const task = currentAgent(s)
  const asked = task.task?.asked
  if (asked === undefined || task.task?.done !== undefined || s.leavingSince !== undefined) return false
  if (asked.failure !== undefined) {
    Agents.finishTask(s, task, undefined, { _tag: "Failed", failure: asked.failure })
    return true
  }
  if (!asked.said || s.userClaims > 0 || isAtWork(s, task)) return false
  if (asked.pressed) {
    Agents.finishTask(s, task, undefined, { _tag: "Declined", reason: noResult(task.name) })
    return true
  }
  asked.pressed = true
  Speech.create(s, {
    source: "reply",
    agent: task,
    instructions: completeNow,
    toolChoice: { tool: "complete" },
    jobs: Agents.jobsOfTask(task)
  })
  return true
}

const isAtWork = (s: State, task: Activity): boolean => {
  for (const speech of s.speeches) if (speech.agent === task) return true
  for (const call of s.calls.values()) if (call.step.agent === task) return true
  if (s.pending.size === 0) return false
  return Array.from(s.pending).some(Idle.deliverable(s))
}
