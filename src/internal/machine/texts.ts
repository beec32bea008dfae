/**
 * What the session itself says to the model of a call, in words that no template changes; and the names of its own tools
 * and parameters.
 */
export const cancelTaskName = "cancel_task"
export const getRunningTasksName = "get_running_tasks"
export const messageTaskName = "message_task"

export const confirmParameter = "confirm_duplicate"
export const backgroundParameter = "run_in_background"

export const invalidArguments = (name: string, detail: string): string =>
  `Invalid arguments for ${name}: ${detail}. Correct them and call the tool again.`

/** All that the model is shown of a defect (rule T8). */
export const unexpected = (name: string): string => `${name} failed because of an unexpected error.`

export const timedOut = (name: string, millis: number): string =>
  `${name} was stopped: it took longer than its time limit of ${millis / 1000} seconds.`

export const idInUse = (id: string): string =>
  `Not run: a call with the id "${id}" is still running. Use a new id for each call.`

export const notAllowed = "Not run: no tools can be called in this reply. Answer in words."

export const unknownTool = (name: string, known: ReadonlyArray<string>): string => {
  const offer = known.length === 0 ? "There are no tools." : `The tools are: ${known.join(", ")}.`
  return `There is no tool "${name}". ${offer}`
}

const cuts: Readonly<Record<string, string>> = {
  length: "it reached its limit of tokens",
  "content-filter": "a content filter held it back",
  interrupted: "it was interrupted"
}

/** It was to begin after the answer that asked for it. */
export const cutOff = (how: string): string =>
  `Not run: the answer that asked for it is not complete, since ${
    Object.hasOwn(cuts, how) ? cuts[how] : "the model failed"
  }. Call it again if it is still needed.`

export const tooManyRunning = (running: number): string =>
  `Not run: ${running} calls are running already, which is the limit. Wait until one has ended.`

export const tooManyWaiting = (waiting: number): string =>
  `Not run: ${waiting} calls wait for approval already, which is the limit. Wait until one has been decided.`

export const notReplaceable = (reason: string): string => `Not run: the running call cannot be replaced. ${reason}`

export const waitsForItself =
  "Not run: the same call is running already, and waits for what this one is part of. Answer without it."

export const waitsForRoom =
  "Not run: it would have to wait for a call that is running already, and that one waits for it. Answer without it."

/** What a task is asked for that has ended its turn without a result. */
export const completeNow = "Call complete with the result now."

export const noResult = (task: string): string => `The task "${task}" ended without a result.`

/** Half a report, in a conversation that was stored while that was being written. */
export const lostReport = "This report was lost."

export const noMessages = (callId: string, name: string): string =>
  `Call ${callId} takes no messages: ${name} is not made for them.`

export const waitsForApproval = (callId: string): string =>
  `Call ${callId} takes no messages yet: it waits for approval, and does not run.`

export const stopping = (callId: string): string => `Call ${callId} takes no messages any more: it is being stopped.`

export const inboxFull = (callId: string, unread: number): string =>
  `Call ${callId} takes no message now: ${unread} wait to be read. Try again later.`

export const unfitMessage = (callId: string, name: string, problem: string): string =>
  `Call ${callId} did not get the message, which does not fit ${name}: ${problem}. Correct it and send it again.`

/** For a model that did not know the id. */
export const takers = (calls: ReadonlyArray<string>): string =>
  calls.length === 0 ? "No running call takes messages." : `These take messages: ${calls.join(", ")}.`

export const stillStopping = "Not run: the call that it replaces is still stopping. Try again later."
