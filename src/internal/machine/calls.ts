/**
 * Calls: how one is admitted, started, updated, cancelled and settled (rules T, U, P, C).
 */
import * as Either from "effect/Either"
import type { RunningTool } from "../../AgentSession.js"
import type { ToolCall } from "../../ChatContext.js"
import type { Verdict } from "../../DuplicatePolicy.js"
import type { UpdateOptions } from "../../RunContext.js"
import {
  type BoundTool,
  backgroundParameter,
  confirmParameter,
  describeIssue,
  invalidArguments,
  ownArguments,
  timedOut,
  toDecode,
  unexpected
} from "../scope/tool.js"
import { canonical, isRecord, plainArguments, toJson } from "../values/json.js"
import * as Templates from "../values/templates.js"
import * as History from "./history.js"
import * as Jobs from "./jobs.js"
import * as Replies from "./replies.js"
import * as Speech from "./speech.js"
import {
  type Admission,
  allWoken,
  Background,
  type Call,
  command,
  type Decoded,
  type Delivery,
  type Ending,
  emit,
  Inline,
  none,
  type Outcome,
  type Output,
  observe,
  type Part,
  type Prompts,
  type Run,
  type State,
  type Step,
  type StopReason,
  startTimer,
  stopTimer,
  type Template
} from "./state.js"

export const cancelTaskName = "cancel_task"
export const getRunningTasksName = "get_running_tasks"

// --------------------------------------------------------------------------------------------------------- rendering

/** A template of the user that throws must not stop the conversation: the default takes its place. */
const render = <K extends keyof Prompts, Args extends object>(
  s: State,
  prompts: Prompts,
  name: K,
  args: Args,
  template: Template<any> = prompts[name]
): string => {
  try {
    const text: unknown = Templates.render(template, args)
    if (typeof text === "string") return text
    throw new TypeError(`a template gives text, not ${typeof text}`)
  } catch (cause) {
    command(s, { _tag: "Log", level: "error", message: `The template "${name}" failed; the default is used.`, cause })
    return Templates.render(Templates.defaults[name] as Template<any>, args)
  }
}

const promptsOf = (call: Call): Prompts => Replies.promptsOf(call, call.step.agent)

export const renderReply = (
  s: State,
  name: "replyAtTail" | "replyMaybeCovered",
  prompts: Prompts,
  ids: ReadonlyArray<string>
) => render(s, prompts, name, { callIds: ids.map(History.spokenId) })

export const inProgress = (s: State, call: Call): string =>
  render(s, promptsOf(call), "inProgress", { toolName: call.call.name, callId: call.callId })

const ended = (s: State, call: Call, how: "done" | "cancelled" | "replaced" | "drained"): string =>
  render(s, promptsOf(call), "ended", { toolName: call.call.name, callId: call.callId, how })

// -------------------------------------------------------------------------------------------------------- a new call

/** The model asked for a tool. From here on the call has a start event, and it will have exactly one end event. */
export const requested = (s: State, step: Step, part: Extract<Part, { type: "tool-call" }>): void => {
  const given = isRecord(part.params) ? plainArguments(part.params) : undefined
  const wanted = History.cleanId(part.id)
  const firstIsRunning = s.calls.has(wanted)
  const callId = History.reserveCallId(s, wanted)
  const tool = step.agent.tools.get(part.name)
  const name = tool === undefined ? cleanName(part.name) : part.name
  const metadata = Speech.mergeMetadata(undefined, part.metadata as any)
  const call = makeCall(s, step, { callId, name, arguments: given ?? {} }, tool, metadata)
  step.entries.push({ _tag: "Call", callId, name, arguments: call.call.arguments, metadata })
  s.calls.set(callId, call)
  s.unrecorded.set(callId, call)
  step.calls.push(call)
  Jobs.open(call.jobs)
  emit(s, { _tag: "ToolCallStarted", call: call.call })
  observe(s, { _tag: "CallStarted", call })
  if (firstIsRunning) {
    const text = `Not run: a call with the id "${wanted}" is still running. Use a new id for each call.`
    return refuse(s, call, "call_id_in_use", text)
  }
  if (step.toolChoice === "none") {
    return refuse(s, call, "tools_not_allowed", "Not run: no tools can be called in this reply. Answer in words.")
  }
  if (tool === undefined) {
    const names = Array.from(step.agent.tools.keys())
    const offer = names.length === 0 ? "There are no tools." : `The tools are: ${names.join(", ")}.`
    return refuse(s, call, "unknown_tool", `There is no tool "${name}". ${offer}`)
  }
  if (given === undefined) {
    const problem = isRecord(part.params) ? "they are nested too deeply, or no JSON" : "they are not a JSON object"
    return refuse(s, call, "invalid_arguments", invalidArguments(tool.name, problem))
  }
  register(s, call, tool)
  decode(s, call, tool, given)
}

const makeCall = (
  s: State,
  step: Step,
  call: ToolCall,
  tool: BoundTool | undefined,
  metadata: Record<string, unknown> | undefined
): Call => ({
  callId: call.callId,
  call,
  metadata,
  tool,
  step,
  startedAt: s.now,
  jobs: step.speech.jobs,
  state: Inline,
  run: undefined,
  owner: tool?.executor.activity,
  decoded: undefined,
  admitted: false,
  output: undefined,
  recorded: false,
  held: none,
  updates: 0,
  reported: false,
  waiting: none,
  releaseTimer: undefined,
  span: undefined
})

/** The run of a call enters the books; `leave` takes it out again. */
const register = (s: State, call: Call, tool: BoundTool): void => {
  const run: Run = {
    tool,
    calls: [call],
    owner: tool.executor.activity,
    params: undefined,
    argsKey: undefined,
    phase: "admitting",
    stop: undefined,
    committed: false,
    updated: false,
    quiet: true,
    lastUpdate: undefined,
    lastIsText: false,
    lastTemplate: undefined,
    queuedAt: undefined,
    timeoutTimer: undefined,
    endWaiters: none,
    stopWaiters: none,
    fiber: undefined
  }
  call.run = run
  s.runs.add(run)
  if (tool.kind === "companion") return
  if (tool.executor.activity !== undefined) tool.executor.activity.running++
  if (tool.releaseAfter !== undefined && tool.releaseAfter > 0) {
    call.releaseTimer = startTimer(s, { _tag: "Release", call }, tool.releaseAfter)
  }
}

/** At once, or by the shell where the schema takes its time. */
const decode = (s: State, call: Call, tool: BoundTool, args: Record<string, unknown>): void => {
  const confirmed = tool.added.includes(confirmParameter) && args[confirmParameter] === true
  const decoded = tool.codec.decode(toDecode(tool, args))
  const params = Either.isEither(decoded) ? (decoded as Decoded["params"]) : undefined
  if (params !== undefined && keyIsAtHand(tool, params)) decodedArguments(s, call, confirmed, params)
  else command(s, { _tag: "Decode", call, tool, confirmed })
}

/** Arguments are compared in their encoded form, which may take time to make. */
export const needsKey = (tool: BoundTool): boolean => tool.policy.scope === "name_and_args" && !isAllowed(tool)

const keyIsAtHand = (tool: BoundTool, decoded: Either.Either<unknown, unknown>): boolean =>
  !needsKey(tool) || Either.isLeft(decoded) || Either.isEither(tool.codec.encodeParams(decoded.right))

/** A call of the provider's own: it is recorded, and starts nothing (rule T1). */
export const providerExecuted = (s: State, step: Step, part: Extract<Part, { type: "tool-call" }>): void => {
  const callId = History.reserveCallId(s, History.cleanId(part.id), "provider")
  step.providerCalls.set(part.id, callId)
  step.entries.push({
    _tag: "Call",
    callId,
    name: part.name,
    arguments: part.params === undefined ? {} : toJson(part.params),
    metadata: {
      ...Speech.mergeMetadata(undefined, part.metadata as any),
      "effect-meantime": {
        providerExecuted: true,
        ...(part.providerName === undefined ? {} : { providerName: part.providerName })
      }
    }
  })
}

/** A name that no tool has goes back to the model in each later request: providers take letters, digits, `_` and `-`. */
const cleanName = (name: string): string => name.slice(0, 64).replace(/[^\w-]/g, "_") || "unknown"

const refuse = (s: State, call: Call, errorType: string, message: string): void =>
  settle(s, call, {
    status: "error",
    value: message,
    isError: true,
    nothing: false,
    reply: true,
    ending: { how: "refused", errorType }
  })

/** Calls of one tool in one step are admitted in the order in which the model asked (rule P4), where they are compared. */
export const decodedArguments = (
  s: State,
  call: Call,
  confirmed: boolean,
  params: Decoded["params"],
  key?: string | undefined
): void => {
  if (call.run !== undefined) call.run.argsKey = key
  call.decoded = { params, confirmed }
  admitNext(s, call)
}

/** Admits what is decoded, up to the first call of the tool that is not. */
const admitNext = (s: State, call: Call): void => {
  const { step } = call
  while (step.nextAdmission < step.calls.length && !isToBeAdmitted(step.calls[step.nextAdmission] as Call)) {
    step.nextAdmission++
  }
  for (let i = step.nextAdmission; i < step.calls.length; i++) {
    const next = step.calls[i] as Call
    if (next.tool !== call.tool || next.run === undefined || !isToBeAdmitted(next)) continue
    if (next.decoded === undefined) {
      if (isAllowed(next.run.tool)) continue
      return
    }
    const { decoded } = next
    next.admitted = true
    next.decoded = undefined
    admitDecoded(s, next, next.run, decoded)
  }
}

const isAllowed = ({ policy }: BoundTool): boolean => policy._tag === "Mode" && policy.mode === "allow"

const isToBeAdmitted = (call: Call): boolean => !call.admitted && call.run?.phase === "admitting"

const admitDecoded = (s: State, call: Call, run: Run, decoded: Decoded): void => {
  if (Either.isLeft(decoded.params)) {
    leave(s, run)
    const text = invalidArguments(run.tool.name, describeIssue(decoded.params.left))
    return refuse(s, call, "invalid_arguments", text)
  }
  run.params = decoded.params.right
  admit(s, run, call, decoded.confirmed)
}

// ---------------------------------------------------------------------------------------------------------- admission

const argsKey = (run: Run): string => {
  if (run.argsKey === undefined) {
    const encoded = run.tool.codec.encodeParams(run.params)
    // what cannot be encoded as JSON is compared as it was sent
    run.argsKey =
      (Either.isEither(encoded) && Either.isRight(encoded) ? canonical(encoded.right) : undefined) ??
      canonical(ownArguments(run.tool, run.calls[0]?.call.arguments as Record<string, unknown>)) ??
      ""
  }
  return run.argsKey
}

const duplicatesOf = (s: State, run: Run): ReadonlyArray<Run> => {
  const scope = run.tool.policy.scope
  const out: Array<Run> = []
  for (const other of s.runs) {
    if (other === run || other.tool.name !== run.tool.name || other.phase === "admitting") continue
    if (scope === "name_and_args" && argsKey(other) !== argsKey(run)) continue
    out.push(other)
  }
  return out
}

const admit = (s: State, run: Run, call: Call, confirmed: boolean): void => {
  const { policy } = run.tool
  if (isAllowed(run.tool) && s.admissions.size === 0) return start(s, run)
  const key = policy.scope === "name" ? run.tool.name : `${run.tool.name}\u0000${argsKey(run)}`
  const admission: Admission = {
    key,
    run,
    call,
    confirmed,
    asked: [],
    replacing: undefined,
    timer: undefined,
    fiber: undefined
  }
  const gate = s.admissions.get(key)
  if (gate !== undefined) {
    gate.queue.push(admission)
    return
  }
  s.admissions.set(key, { current: admission, queue: [] })
  decide(s, admission)
}

const decide = (s: State, admission: Admission): void => {
  const { run } = admission
  const { policy } = run.tool
  const duplicates = duplicatesOf(s, run)
  admission.asked = duplicates
  if (policy._tag === "Custom") return command(s, { _tag: "AskPolicy", admission })
  if (duplicates.length === 0 || policy.mode === "allow") return verdict(s, admission, { _tag: "Run" })
  switch (policy.mode) {
    case "reject":
      return verdict(s, admission, { _tag: "Refuse", message: duplicateText(s, admission, "duplicateReject") })
    case "confirm":
      return verdict(
        s,
        admission,
        admission.confirmed
          ? { _tag: "Run" }
          : { _tag: "Refuse", message: duplicateText(s, admission, "duplicateConfirm") }
      )
    case "replace":
      return verdict(s, admission, { _tag: "Replace" })
    case "join":
      return verdict(s, admission, { _tag: "Join" })
  }
}

const isVerdict = (u: unknown): u is Verdict =>
  isRecord(u) &&
  (u._tag === "Run" ||
    u._tag === "Replace" ||
    u._tag === "Join" ||
    (u._tag === "Refuse" && typeof u.message === "string"))

/** What a policy of one's own decided; it is asked again where the running calls are no longer those it was told. */
export const policyDecided = (s: State, admission: Admission, decided: Verdict): void => {
  if (admission.run.phase !== "admitting") return
  if (!isVerdict(decided)) {
    const { name } = admission.run.tool
    command(s, { _tag: "Log", level: "error", message: `The duplicate policy of ${name} gave no verdict.` })
    return policyFailed(s, admission)
  }
  const now = duplicatesOf(s, admission.run)
  if (now.length !== admission.asked.length || now.some((run, i) => run !== admission.asked[i])) {
    return decide(s, admission)
  }
  verdict(s, admission, decided)
}

/** A policy that dies is a defect of the call that it was asked about. */
export const policyFailed = (s: State, admission: Admission): void => {
  if (admission.run.phase !== "admitting") return
  leave(s, admission.run)
  refuse(s, admission.call, "duplicate_policy_failed", unexpected(admission.run.tool.name))
  nextAdmission(s, admission)
}

export const callsOf = (runs: ReadonlyArray<Run>): ReadonlyArray<ToolCall> =>
  runs.flatMap((run) => run.calls.map((call) => call.call))

/** The arguments without the parameters that are ours. */
export const shownArguments = (call: Call): unknown =>
  call.tool === undefined
    ? call.call.arguments
    : ownArguments(call.tool, call.call.arguments as Record<string, unknown>)

const duplicateText = (s: State, admission: Admission, name: "duplicateReject" | "duplicateConfirm"): string => {
  const { call } = admission
  const offered = call.step.agent.hasCompanions
  const runningText = admission.asked
    .flatMap((run) => run.calls)
    .map((other) => {
      const hint = offered && mayBeCancelled(other) === undefined ? `; ${cancelTaskName} can stop it` : ""
      return `Call ${other.callId} with ${JSON.stringify(shownArguments(other))}${hint}.`
    })
    .join(" ")
  return render(s, promptsOf(call), name, {
    toolName: call.call.name,
    running: callsOf(admission.asked),
    runningText
  })
}

const verdict = (s: State, admission: Admission, decided: Verdict): void => {
  const { call, run } = admission
  if (admission.asked.length > 0 || decided._tag !== "Run") {
    observe(s, { _tag: "CallDecided", admission, verdict: decided._tag })
  }
  switch (decided._tag) {
    case "Run": {
      start(s, run)
      return nextAdmission(s, admission)
    }
    case "Refuse": {
      leave(s, run)
      settle(s, call, {
        status: "done",
        value: decided.message,
        isError: false,
        nothing: false,
        reply: true,
        ending: { how: "duplicate", errorType: undefined }
      })
      return nextAdmission(s, admission)
    }
    case "Join": {
      const other = admission.asked.findLast((candidate) => candidate.phase !== "ended" && candidate.stop === undefined)
      if (other === undefined) start(s, run)
      else join(s, call, run, other)
      return nextAdmission(s, admission)
    }
    case "Replace": {
      const others = admission.asked.filter((candidate) => candidate.phase !== "ended")
      for (const other of others) {
        const reason = other.calls.map(mayBeCancelled).find((text) => text !== undefined)
        if (reason !== undefined) {
          leave(s, run)
          refuse(s, call, "not_replaceable", `Not run: the running call cannot be replaced. ${reason}`)
          return nextAdmission(s, admission)
        }
      }
      admission.replacing = new Set(others)
      if (others.length === 0) return replaced(s, admission)
      for (const other of others) stop(s, other, "replaced")
      // a queued one ends at once
      if (run.phase === "admitting" && admission.replacing !== undefined)
        admission.timer = startTimer(s, { _tag: "Replace", admission }, s.options.cancellationTimeout)
    }
  }
}

const replaced = (s: State, admission: Admission): void => {
  admission.timer = stopTimer(s, admission.timer)
  admission.replacing = undefined
  start(s, admission.run)
  nextAdmission(s, admission)
}

export const replaceTimedOut = (s: State, admission: Admission): void => {
  if (admission.replacing === undefined) return
  admission.replacing = undefined
  leave(s, admission.run)
  refuse(s, admission.call, "still_stopping", `Not run: the call that it replaces is still stopping. Try again later.`)
  nextAdmission(s, admission)
}

const nextAdmission = (s: State, admission: Admission): void => {
  const gate = s.admissions.get(admission.key)
  if (gate?.current !== admission) return
  gate.current = undefined
  const next = gate.queue.shift()
  if (next === undefined) {
    s.admissions.delete(admission.key)
    return
  }
  gate.current = next
  decide(s, next)
}

/** The new call shares the running one: what was last said of it, and all that follows (rule P2b). */
const join = (s: State, call: Call, own: Run, other: Run): void => {
  leave(s, own)
  call.run = other
  other.calls.push(call)
  // a run that has moved to the session takes its calls with it
  if (other.owner === undefined) call.owner = undefined
  observe(s, { _tag: "CallJoined", call, run: other })
  if (other.updated) {
    const mode = other.quiet ? "silent" : "when-idle"
    updateCall(s, call, other.lastUpdate, other.lastIsText, other.lastTemplate, mode)
  }
  leaveTurn(s, call)
}

// ---------------------------------------------------------------------------------------------------------- the run

const start = (s: State, run: Run): void => {
  if (run.phase !== "admitting") return
  const { executor } = run.tool
  if (run.tool.kind !== "companion") {
    // only now: a call that joins, replaces or is refused adds none to those at work
    if (s.running >= s.options.maxRunning) {
      leave(s, run)
      const message = `Not run: ${s.running} calls are running already, which is the limit. Wait until one has ended.`
      for (const call of run.calls) refuse(s, call, "too_many_running", message)
      return
    }
    s.running++
    for (const call of run.calls) leaveTurn(s, call)
    if (executor.active >= executor.limit) {
      run.phase = "queued"
      run.queuedAt = s.now
      executor.queue.push(run)
      observe(s, { _tag: "RunQueued", run })
      return
    }
    executor.active++
  }
  begin(s, run)
}

/** A call that is in the background from its start (rule U9). */
const leaveTurn = (s: State, call: Call): void => {
  const { tool } = call
  if (tool === undefined) return
  const asked = isRecord(call.call.arguments) && call.call.arguments[backgroundParameter] === true
  if (asked && tool.added.includes(backgroundParameter)) release(s, call, "model")
  else if (tool.releaseAfter === 0) release(s, call, "timer")
}

const begin = (s: State, run: Run): void => {
  run.phase = "working"
  observe(s, { _tag: "RunStarted", run })
  command(s, { _tag: "StartRun", run })
  if (run.tool.timeout !== undefined) run.timeoutTimer = startTimer(s, { _tag: "Timeout", run }, run.tool.timeout)
}

/** Takes a run out of all the books; its calls are settled by whoever calls this. */
const leave = (s: State, run: Run): void => {
  if (run.phase === "ended") return
  const { executor, kind } = run.tool
  const was = run.phase
  run.phase = "ended"
  s.runs.delete(run)
  run.timeoutTimer = stopTimer(s, run.timeoutTimer)
  if (kind !== "companion") {
    if (was !== "admitting") s.running--
    if (was === "queued") executor.queue.splice(executor.queue.indexOf(run), 1)
    if (was === "working") {
      executor.active--
      const next = executor.queue.shift()
      if (next !== undefined) {
        executor.active++
        begin(s, next)
      }
    }
    const home = executor.activity
    if (home !== undefined) {
      home.running--
      if (home.state === "ended" && home.running === 0) command(s, { _tag: "CloseAgent", activity: home })
    }
  }
}

/** A run has ended, or is given up on. The first outcome wins (rule T9). */
export const endRun = (s: State, run: Run, outcome: Outcome): void => {
  if (run.phase === "ended") return
  const decoding = run.phase === "admitting"
  leave(s, run)
  for (const call of run.calls) settleWith(s, call, outcome)
  if (decoding) for (const call of run.calls) admitNext(s, call)
  run.endWaiters = allWoken(s, run.endWaiters)
  run.stopWaiters = allWoken(s, run.stopWaiters)
  if (s.admissions.size === 0) return
  for (const { current } of Array.from(s.admissions.values())) {
    if (current?.replacing?.delete(run) === true && current.replacing.size === 0) replaced(s, current)
  }
}

/** For the log: the tool, and the call that began it. */
export const nameOf = (run: Run): string => `${run.tool.name} (${run.calls[0]?.callId})`

/** Asks a run to stop. The first reason stays; what is not at work yet ends at once. */
export const stop = (s: State, run: Run, reason: StopReason): void => {
  if (run.phase === "ended" || run.stop !== undefined) return
  run.stop = reason
  observe(s, { _tag: "StopAsked", run, reason })
  if (run.phase === "working") {
    run.stopWaiters = allWoken(s, run.stopWaiters)
    command(s, { _tag: "InterruptRun", run })
    return
  }
  const admitting = run.phase === "admitting"
  // it may still be decoding its arguments
  if (admitting) command(s, { _tag: "InterruptRun", run })
  const callId = run.calls[0]?.callId
  endRun(s, run, { _tag: "Interrupted", reason })
  if (!admitting) return
  for (const gate of Array.from(s.admissions.values())) {
    if (gate.current?.run === run) {
      command(s, { _tag: "StopPolicy", admission: gate.current })
      gate.current.timer = stopTimer(s, gate.current.timer)
      gate.current.replacing = undefined
      nextAdmission(s, gate.current)
    } else {
      const i = gate.queue.findIndex((admission) => admission.call.callId === callId)
      if (i >= 0) gate.queue.splice(i, 1)
    }
  }
}

/** The point of no return; false where a cancellation came first (rule C1b). */
export const commit = (s: State, run: Run): boolean => {
  if (run.stop !== undefined || run.phase === "ended") return false
  if (!run.committed) observe(s, { _tag: "RunCommitted", run })
  run.committed = true
  run.timeoutTimer = stopTimer(s, run.timeoutTimer)
  return true
}

// ------------------------------------------------------------------------------------------------ updates and release

/** The handler reports. An ended call is ignored, with a warning (rule U11). */
export const update = (s: State, run: Run, message: unknown, options: UpdateOptions | undefined): void => {
  if (run.phase === "ended") {
    const message = `An update of ${nameOf(run)} was ignored: the call has ended.`
    return command(s, { _tag: "Log", level: "warning", message })
  }
  const json = toJson(message)
  run.updated = true
  run.quiet &&= options?.delivery === "silent"
  run.lastUpdate = json
  run.lastTemplate = options?.template
  const plain = typeof message === "string"
  run.lastIsText = plain
  for (const call of run.calls) {
    if (call.state._tag !== "Ended") {
      updateCall(s, call, json, plain, options?.template, options?.delivery ?? "when-idle")
    }
  }
  for (const filler of s.fillers) {
    if (filler.call.run === run) filler.timer = stopTimer(s, filler.timer)
  }
}

/** The handler shows how far it is: listeners are told, the conversation is not. */
export const progress = (s: State, run: Run, value: unknown): void => {
  if (run.phase === "ended") return
  for (const call of run.calls) {
    if (call.state._tag !== "Ended") emit(s, { _tag: "ToolCallProgress", callId: call.callId, value })
  }
}

const updateCall = (
  s: State,
  call: Call,
  message: unknown,
  isText: boolean,
  template: Template<any> | undefined,
  mode: Delivery["mode"]
): void => {
  const value =
    isText && typeof message === "string"
      ? render(s, promptsOf(call), "update", { toolName: call.call.name, callId: call.callId, message }, template)
      : message
  const first = !call.reported
  call.reported = true
  if (call.output === undefined) {
    emit(s, { _tag: "ToolCallUpdated", id: call.callId, callId: call.callId, message })
    observe(s, { _tag: "CallUpdated", call, id: call.callId, message, mode, first })
    if (mode === "interrupt") call.step.speech.urgent = true
    goBackground(s, call, { value, isError: false, reply: mode !== "silent" }, "update")
    return
  }
  const id = History.reserveCallId(s, `${call.callId}_update_${++call.updates}`, "pair")
  emit(s, { _tag: "ToolCallUpdated", id, callId: call.callId, message })
  observe(s, { _tag: "CallUpdated", call, id, message, mode, first })
  Replies.accept(s, { id, call, kind: "update", value, isError: false, mode, act: false })
}

/** The call leaves the turn without an update of its own (rule U9). */
export const release = (s: State, call: Call, by: "timer" | "model"): void => {
  if (call.output !== undefined || call.state._tag !== "Inline") return
  const value = render(s, promptsOf(call), "released", { toolName: call.call.name, callId: call.callId })
  goBackground(s, call, { value, isError: false, reply: true }, by)
}

const goBackground = (s: State, call: Call, output: Output, by: "update" | "timer" | "model"): void => {
  call.releaseTimer = stopTimer(s, call.releaseTimer)
  call.state = Background
  call.output = output
  emit(s, { _tag: "ToolCallReleased", callId: call.callId, by })
  observe(s, { _tag: "CallReleased", call, by })
  Speech.flushOutputs(s, call.step)
}

// ---------------------------------------------------------------------------------------------------------- the end

interface Settlement {
  readonly status: "done" | "error" | "cancelled"
  readonly value: unknown
  readonly isError: boolean
  /** there is nothing to voice */
  readonly nothing: boolean
  /** an inline call asks the model to go on */
  readonly reply: boolean
  readonly ending: Ending
}

const done: Ending = { how: "done", errorType: undefined }

const settleWith = (s: State, call: Call, outcome: Outcome): void => {
  switch (outcome._tag) {
    case "Success":
      return settle(s, call, {
        status: "done",
        value: outcome.output,
        isError: false,
        nothing: false,
        reply: true,
        ending: done
      })
    case "Nothing":
      return settle(s, call, {
        status: "done",
        value: ended(s, call, "done"),
        isError: false,
        nothing: true,
        reply: false,
        ending: done
      })
    case "Failure":
      return settle(s, call, {
        status: "error",
        value: outcome.output,
        isError: true,
        nothing: false,
        reply: true,
        ending: outcome
      })
    case "Interrupted": {
      if (outcome.reason === "timeout") {
        const value = timedOut(call.call.name, call.tool?.timeout ?? 0)
        const ending: Ending = { how: "timeout", errorType: "timeout" }
        return settle(s, call, { status: "error", value, isError: true, nothing: false, reply: true, ending })
      }
      const value = ended(s, call, outcome.reason)
      const ending: Ending = { how: outcome.reason, errorType: undefined }
      return settle(s, call, { status: "cancelled", value, isError: false, nothing: true, reply: true, ending })
    }
  }
}

const settle = (s: State, call: Call, end: Settlement): void => {
  if (call.state._tag === "Ended") return
  call.releaseTimer = stopTimer(s, call.releaseTimer)
  const inline = call.output === undefined
  call.state = { _tag: "Ended", status: end.status }
  s.calls.delete(call.callId)
  const id = inline ? call.callId : History.reserveCallId(s, `${call.callId}_final`, "pair")
  emit(s, { _tag: "ToolCallEnded", id, callId: call.callId, status: end.status, output: end.value })
  observe(s, { _tag: "CallEnded", call, ending: end.ending, output: end.value })
  if (inline) {
    call.output = { value: end.value, isError: end.isError, reply: end.reply }
    Speech.flushOutputs(s, call.step)
  } else {
    Replies.accept(s, {
      id,
      call,
      kind: "final",
      value: end.value,
      isError: end.isError,
      mode: end.nothing ? "silent" : (call.tool?.options.delivery ?? "when-idle"),
      act: call.tool?.options.onResult === "act"
    })
  }
  Jobs.close(s, call.jobs)
}

// -------------------------------------------------------------------------------------------------------- cancelling

/** Why a running call may not be cancelled by the model, by `replace` or by a program (rule C5). */
export const mayBeCancelled = (call: Call): string | undefined => {
  const { run, tool } = call
  if (run === undefined || tool === undefined || tool.kind === "companion") {
    return `Call ${call.callId} may not be cancelled.`
  }
  if (tool.options.allowCancellation !== true) {
    return `Call ${call.callId} may not be cancelled: ${tool.name} does not allow it.`
  }
  if (run.committed) return `It is too late to cancel call ${call.callId}: ${tool.name} is past its point of no return.`
  const { speech } = call.step
  if (speech.state !== "ended" && !speech.allowInterruptions) {
    return `Call ${call.callId} may not be cancelled while its speech lasts, which disallows interruptions.`
  }
  return undefined
}

/** The run to wait for, or why there is none. */
export const cancel = (s: State, callId: string): Run | string => {
  const call = s.calls.get(callId)
  if (call === undefined) {
    const known = s.callIds.get(callId)
    return known === undefined
      ? `There is no call with the id "${callId}".`
      : known === "pair"
        ? `There is no call with the id "${callId}": that is a report of another call.`
        : `Call ${callId} has already ended.`
  }
  const reason = mayBeCancelled(call) ?? call.run?.calls.map(mayBeCancelled).find((text) => text !== undefined)
  if (reason !== undefined) return reason
  const run = call.run as Run
  stop(s, run, "cancelled")
  return run
}

/** May it be cut when its scope ends? */
export const mayBeDrained = (run: Run): boolean => run.tool.options.allowCancellation === true && !run.committed

export const isCompanion = (tool: BoundTool | undefined): boolean => tool?.kind === "companion"

/** The calls at work, as a program sees them. */
export const runningTools = (s: State): ReadonlyArray<RunningTool> => {
  const out: Array<RunningTool> = []
  for (const call of s.calls.values()) {
    if (call.run === undefined || isCompanion(call.tool)) continue
    out.push({
      ...call.call,
      startedAt: call.startedAt,
      lastUpdate: call.run.lastUpdate,
      allowCancellation: call.tool?.options.allowCancellation === true && !call.run.committed
    })
  }
  return out
}
