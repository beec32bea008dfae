/**
 * What the conversation is told of a call: updates, its release from the turn, and its end (rules U1 to U3, U9, T9).
 */
import * as History from "./history.js"
import * as Jobs from "./jobs.js"
import { declined, refused, type Settlement, settlement, unknown } from "./outcomes.js"
import type { ReleasedBy } from "./protocol.js"
import * as Replies from "./replies.js"
import * as Speech from "./speech.js"
import {
  Background,
  type Call,
  command,
  emit,
  follow,
  type Outcome,
  type Output,
  observe,
  type Phrase,
  phrase,
  type Run,
  type State,
  stopTimer
} from "./state.js"
import type { DeliveryMode, File, Prompts, Template, UpdateArgs } from "./words.js"

export const promptsOf = (call: Call): Prompts => Replies.promptsOf(call, call.step.agent)

/** For the log: the tool, and the call that began it. */
export const nameOf = (run: Run): string => `${run.tool.name} (${run.calls[0]?.callId})`

/** A message of a handler, as JSON; a text goes through a template. */
export interface Message {
  readonly value: unknown
  readonly isText: boolean
  readonly files?: ReadonlyArray<File> | undefined
  readonly template: Template<UpdateArgs> | undefined
  readonly mode: DeliveryMode
}

/** The handler reports. An ended call is ignored, with a warning (rule U11). */
export const update = (s: State, run: Run, message: Message): void => {
  if (run.phase === "ended") {
    const message = `An update of ${nameOf(run)} was ignored: the call has ended.`
    return command(s, { _tag: "Log", level: "warning", message })
  }
  run.updated = true
  run.silent &&= message.mode === "silent"
  run.lastUpdate = message.value
  run.lastTemplate = message.template
  run.lastIsText = message.isText
  run.lastFiles = message.files
  for (const call of run.calls) if (call.state._tag !== "Ended") updateCall(s, call, message)
  for (const filler of s.fillers) {
    if (filler.call.run === run) filler.timer = stopTimer(s, filler.timer)
  }
}

/** What the run that a call joins has said last. */
export const repeatUpdate = (s: State, call: Call, run: Run): void => {
  if (!run.updated) return
  updateCall(s, call, {
    value: run.lastUpdate,
    isText: run.lastIsText,
    files: run.lastFiles,
    template: run.lastTemplate,
    mode: run.silent ? "silent" : "when-idle"
  })
}

/** The handler shows how far it is: listeners are told, the conversation is not. */
export const progress = (s: State, run: Run, value: unknown): void => {
  if (run.phase === "ended") return
  for (const call of run.calls) {
    if (call.state._tag !== "Ended") emit(s, { _tag: "ToolCallProgress", callId: call.callId, value })
  }
}

const updateCall = (s: State, call: Call, { files, isText, mode, template, value: message }: Message): void => {
  const value =
    isText && typeof message === "string"
      ? phrase(
          s,
          promptsOf(call),
          "update",
          { toolName: call.call.name, callId: call.callId, message },
          template ?? promptsOf(call).update
        )
      : message
  const first = !call.reported
  call.reported = true
  if (call.output === undefined) {
    emit(s, { _tag: "ToolCallUpdated", id: call.callId, callId: call.callId, message })
    observe(s, { _tag: "CallUpdated", call, id: call.callId, message, mode, first })
    if (mode === "interrupt") call.step.speech.urgent = true
    goBackground(s, call, { value, isError: false, files, reply: mode !== "silent", open: "running" }, "update")
    return
  }
  const id = History.reserveCallId(s, `${call.callId}_update_${++call.updates}`, "pair")
  emit(s, { _tag: "ToolCallUpdated", id, callId: call.callId, message })
  observe(s, { _tag: "CallUpdated", call, id, message, mode, first })
  Replies.accept(s, { id, call, kind: "update", value, isError: false, files, mode, act: false })
}

/** The call leaves the turn without an update of its own (rule U9). */
export const release = (s: State, call: Call, by: Exclude<ReleasedBy, "update" | "approval">): void => {
  if (call.output !== undefined || call.state._tag !== "Inline") return
  const value = phrase(s, promptsOf(call), "released", { toolName: call.call.name, callId: call.callId })
  goBackground(s, call, { value, isError: false, reply: true, open: "running" }, by)
}

/** The handler leaves the turn, and with it all calls that share it. One that has ended has left it. */
export const releaseRun = (s: State, run: Run): void => {
  for (const call of run.calls) release(s, call, "handler")
}

const goBackground = (s: State, call: Call, output: Output, by: ReleasedBy): void => {
  call.releaseTimer = stopTimer(s, call.releaseTimer)
  call.state = Background
  call.output = follow(output, "value")
  emit(s, { _tag: "ToolCallReleased", callId: call.callId, by })
  observe(s, { _tag: "CallReleased", call, by })
  Speech.flushOutputs(s, call.step)
}

// ---------------------------------------------------------------------------------------------------------- approval

/** The call waits until somebody agrees: it leaves the turn, or its turn is told if it has left that (rule A2). */
export const awaitApproval = (s: State, call: Call, reason: string | undefined): void => {
  const args = { toolName: call.call.name, callId: call.callId, reason: reason ?? "" }
  const value = phrase(s, promptsOf(call), "approvalPending", args)
  if (call.output === undefined) {
    return goBackground(s, call, { value, isError: false, reply: true, open: "approval" }, "approval")
  }
  markOpen(s, call, "approval")
  report(s, call, value, "when-idle")
}

/** What is written of the call from here on has the edited arguments, and one silent report says so (rule A5). */
export const edit = (s: State, call: Call, args: Record<string, unknown>): void => {
  call.call = { ...call.call, arguments: args }
  // it may be that the call itself is still to be recorded
  const { cursor, entries } = call.step
  for (let i = cursor; i < entries.length; i++) {
    const entry = entries[i]
    if (entry?._tag === "Call" && entry.callId === call.callId) entry.arguments = args
  }
  const given = { toolName: call.call.name, callId: call.callId, arguments: JSON.stringify(args) }
  report(s, call, phrase(s, promptsOf(call), "approvalEdited", given), "silent")
}

/** Is it at work, or does it wait until somebody agrees? The history says it where it tells of the call. */
export const markOpen = (s: State, call: Call, open: "running" | "approval"): void => {
  if (call.recorded) History.setOpen(s, call.callId, open)
  if (call.output !== undefined) call.output.open = open
}

/** The session itself reports of a call. */
const report = (s: State, call: Call, value: Phrase, mode: DeliveryMode): void => {
  const id = History.reserveCallId(s, `${call.callId}_update_${++call.updates}`, "pair")
  follow(emit(s, { _tag: "ToolCallUpdated", id, callId: call.callId, message: value as unknown }), "message")
  Replies.accept(s, { id, call, kind: "update", value, isError: false, mode, act: false })
}

/** The call ends without having been run, since nobody has agreed (rule A6). */
export const decline = (s: State, call: Call, how: "denied" | "expired", reason: string | undefined): void => {
  const args = { toolName: call.call.name, callId: call.callId, reason: reason ?? "", how }
  settle(s, call, declined(how, phrase(s, promptsOf(call), "approvalDenied", args)))
}

// ----------------------------------------------------------------------------------------------------------- the end

const ended = (s: State, call: Call, how: "done" | "cancelled" | "replaced" | "drained"): Phrase =>
  phrase(s, promptsOf(call), "ended", { toolName: call.call.name, callId: call.callId, how })

/** The call ends as its run has ended. */
export const settleWith = (s: State, call: Call, outcome: Outcome): void => {
  // a phrase that nobody needs is not made
  if (call.state._tag === "Ended") return
  settle(
    s,
    call,
    settlement(call, outcome, (how) => ended(s, call, how))
  )
}

/** The call ends as an error, without having been run. */
export const refuse = (s: State, call: Call, errorType: string, message: string): void =>
  settle(s, call, refused(errorType, message))

/** It was at work when the session stopped, and nobody knows how far it came (rule Q8). */
export const lose = (s: State, call: Call): void => {
  const args = { toolName: call.call.name, callId: call.callId }
  settle(s, call, unknown(phrase(s, promptsOf(call), "outcomeUnknown", args)))
}

/** The first end wins (rule T9). */
export const settle = (s: State, call: Call, end: Settlement): void => {
  if (call.state._tag === "Ended") return
  call.releaseTimer = stopTimer(s, call.releaseTimer)
  const inline = call.output === undefined
  call.state = { _tag: "Ended", status: end.status }
  s.calls.delete(call.callId)
  const id = inline ? call.callId : History.reserveCallId(s, `${call.callId}_final`, "pair")
  follow(emit(s, { _tag: "ToolCallEnded", id, callId: call.callId, status: end.status, output: end.value }), "output")
  observe(s, follow({ _tag: "CallEnded", call, ending: end.ending, output: end.value }, "output"))
  if (inline) {
    const output = { value: end.value, isError: end.isError, files: end.files, reply: end.reply, open: undefined }
    call.output = follow(output, "value")
    Speech.flushOutputs(s, call.step)
  } else {
    Replies.accept(s, {
      id,
      call,
      kind: "final",
      value: end.value,
      isError: end.isError,
      files: end.files,
      mode: end.voiced ? (call.tool?.options.delivery ?? "when-idle") : "silent",
      act: call.tool?.options.onResult === "act"
    })
  }
  Jobs.close(s, call.jobs)
}
