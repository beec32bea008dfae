/**
 * Calls: how one is asked for, admitted, started, stopped and ended (rules T, P, C). What the conversation is told of it
 * is in `updates.ts`, the decision about duplicates in `admission.ts`.
 */
import * as Admission from "./admission.js"
import * as Approvals from "./approval.js"
import { isApproving, isCompanion, whyNot, whyNotRun } from "./cancelling.js"
import * as Durable from "./durable.js"
import * as History from "./history.js"
import * as Jobs from "./jobs.js"
import * as Messages from "./messages.js"
import { answered } from "./outcomes.js"
import type { CallPart, Decoded } from "./protocol.js"
import * as Reports from "./reports.js"
import {
  type Admission as AdmissionRecord,
  type Approval,
  allWoken,
  type Call,
  command,
  emit,
  Inline,
  none,
  type Outcome,
  observe,
  phrase,
  type Run,
  type State,
  type Step,
  type StopReason,
  startTimer,
  stopTimer,
  type Tool,
  without
} from "./state.js"
import {
  backgroundParameter,
  cancelTaskName,
  cutOff,
  idInUse,
  invalidArguments,
  notAllowed,
  tooManyRunning,
  unknownTool,
  waitsForRoom
} from "./texts.js"
import {
  awaitApproval,
  decline,
  edit,
  lose,
  markOpen,
  promptsOf,
  refuse,
  release,
  repeatUpdate,
  settle,
  settleWith
} from "./updates.js"
import type { ApprovalDecision, ApprovalVerdict, PendingApproval, ToolCall, Verdict } from "./words.js"

// -------------------------------------------------------------------------------------------------------- a new call

/** The model asked for a tool. From here on the call has a start event, and it will have exactly one end event. */
export const requested = (s: State, step: Step, part: CallPart): void => {
  const wanted = History.cleanId(part.id)
  const firstIsRunning = s.calls.has(wanted)
  const callId = History.takeCallId(s, step, part.id, "call")
  const tool = step.agent.tools.get(part.name)
  const name = tool === undefined ? cleanName(part.name) : part.name
  const call = makeCall(s, step, { callId, name, arguments: part.arguments }, tool, part.metadata)
  const metadata = Reports.marked(callId, part.metadata)
  step.entries.push({ _tag: "Call", callId, name, arguments: call.call.arguments, metadata })
  s.calls.set(callId, call)
  s.unrecorded.set(callId, call)
  step.calls.push(call)
  step.speech.begun = true
  Jobs.open(call.jobs)
  emit(s, { _tag: "ToolCallStarted", call: call.call })
  observe(s, { _tag: "CallStarted", call })
  if (firstIsRunning) return refuse(s, call, "call_id_in_use", idInUse(wanted))
  if (step.toolChoice === "none") return refuse(s, call, "tools_not_allowed", notAllowed)
  if (tool === undefined) {
    return refuse(s, call, "unknown_tool", unknownTool(name, Array.from(step.agent.tools.keys())))
  }
  if (part.problem !== undefined) {
    return refuse(s, call, "invalid_arguments", invalidArguments(tool.name, part.problem))
  }
  const run = register(s, call, tool)
  if (run.phase === "held" && !s.holding.includes(step)) s.holding = [...s.holding, step]
  if (part.decoded === "later" || part.decoded === undefined) command(s, { _tag: "Decode", call, run })
  else decoded(s, call, part.decoded)
}

export const makeCall = (
  s: State,
  step: Step,
  call: ToolCall,
  tool: Tool | undefined,
  metadata: CallPart["metadata"]
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
  trace: undefined
})

/** A call of a stored conversation enters the books: whoever listens to this session learns of it here. */
export const restored = (
  s: State,
  step: Step,
  given: ToolCall,
  tool: Tool | undefined,
  metadata: CallPart["metadata"],
  startedAt: number
): Call => {
  const call: Call = { ...makeCall(s, step, given, tool, metadata), startedAt }
  s.calls.set(call.callId, call)
  step.calls.push(call)
  emit(s, { _tag: "ToolCallStarted", call: call.call })
  observe(s, { _tag: "CallStarted", call })
  return call
}

/** It waits for approval as it did before: the policy has had its word. */
export const waitOn = (
  s: State,
  call: Call,
  tool: Tool,
  { key, params }: DecodedArguments,
  { expiresAt, reason, requestedAt }: PendingApproval
): void => {
  const run = register(s, call, tool)
  call.admitted = true
  run.params = params
  run.argsKey = key
  const approval = Approvals.arrive(s, run, none)
  const left = expiresAt === undefined ? undefined : Math.max(0, expiresAt - s.now)
  const timer = left === undefined ? undefined : startTimer(s, { _tag: "Expire", approval }, left)
  beginWaiting(s, approval, { reason, requestedAt, expiresAt, timer })
}

/** The run of a call enters the books; `leave` takes it out again. */
const register = (s: State, call: Call, tool: Tool): Run => {
  const run = makeRun(call, tool)
  call.run = run
  s.runs.add(run)
  if (isCompanion(tool)) return run
  if (tool.executor.activity !== undefined) tool.executor.activity.running++
  if (run.phase !== "held") startRelease(s, call, tool)
  return run
}

const makeRun = (call: Call, tool: Tool): Run => ({
  tool,
  calls: [call],
  owner: tool.executor.activity,
  params: undefined,
  argsKey: undefined,
  phase: tool.afterStep ? "held" : "admitting",
  stop: undefined,
  committed: false,
  updated: false,
  silent: true,
  lastUpdate: undefined,
  lastIsText: false,
  lastFiles: undefined,
  lastTemplate: undefined,
  queuedAt: undefined,
  timeoutTimer: undefined,
  endWaiters: none,
  stopWaiters: none,
  inbox: Messages.inboxFor(tool),
  fiber: undefined
})

/** The time after which the call leaves its turn (rule U9); one that waits for its step does not count it yet. */
const startRelease = (s: State, call: Call, { releaseAfter }: Tool): void => {
  if (releaseAfter === undefined || releaseAfter === 0 || call.state._tag !== "Inline") return
  call.releaseTimer = startTimer(s, { _tag: "Release", call }, releaseAfter)
}

/** A name that no tool has goes back to the model in each later request: providers take letters, digits, `_` and `-`. */
const cleanName = (name: string): string => name.slice(0, 64).replace(/[^\w-]/g, "_") || "unknown"

// ------------------------------------------------------------------------------------------------- the end of a step

/** Ends of an answer that leave it unfinished. A pause is none: the model waits for what its calls give (rule F7). */
export const isCutOff = ({ finish }: Step): boolean =>
  finish === "length" || finish === "content-filter" || finish === "error"

/**
 * Calls that begin after their step (rule T2): once it has ended well they go on to their admission, in the order in
 * which the model asked, as if they had come now; else they end without having been run. So nothing is stopped or asked
 * for a call of an answer that was cut off.
 */
export const settleHeld = (s: State): void => {
  for (const step of s.holding) {
    if (!step.streamEnded) continue
    s.holding = without(s.holding, step)
    const held = step.calls.filter(isHeld)
    if (step.complete) letGo(s, step, held)
    else for (const call of held) refuseHeld(s, call, call.run as Run)
  }
}

const isHeld = ({ run }: Call): boolean => run?.phase === "held"

const letGo = (s: State, step: Step, held: ReadonlyArray<Call>): void => {
  for (const call of held) {
    const run = call.run as Run
    run.phase = "admitting"
    startRelease(s, call, run.tool)
  }
  step.nextAdmission = 0
  for (const call of held) admitNext(s, call)
}

const refuseHeld = (s: State, call: Call, run: Run): void => {
  // it may still be decoding its arguments
  command(s, { _tag: "InterruptRun", run })
  const { finish, speech } = call.step
  const why = cutOff(speech.interrupted ? "interrupted" : (finish ?? ""))
  end(s, run, (one) => refuse(s, one, "cut_off", why))
}

// ---------------------------------------------------------------------------------------------------------- admission

/** Calls of one tool in one step are admitted in the order in which the model asked (rule P4) if they are compared. */
export const decoded = (s: State, call: Call, args: Decoded): void => {
  if (call.run !== undefined && args._tag === "Decoded") call.run.argsKey = args.key
  // it will never be run, however its step ends
  if (args._tag === "Invalid" && call.run?.phase === "held") return admit(s, call, call.run, args)
  call.decoded = args
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
      if (Admission.isAllowed(next.run.tool)) continue
      return
    }
    const args = next.decoded
    next.admitted = true
    next.decoded = undefined
    admit(s, next, next.run, args)
  }
}

const isToBeAdmitted = (call: Call): boolean => !call.admitted && call.run?.phase === "admitting"

const admit = (s: State, call: Call, run: Run, args: Decoded): void => {
  if (args._tag === "Invalid") {
    leave(s, run)
    return refuse(s, call, "invalid_arguments", invalidArguments(run.tool.name, args.problem))
  }
  run.params = args.params
  // nothing to compare it with, and nothing that it would have to wait for
  if (Admission.isAllowed(run.tool) && s.gates.size === 0) return proceed(s, run)
  const admission = Admission.arrive(s, run, call)
  if (admission !== undefined) carryOut(s, admission, Admission.decide(s, admission))
}

/** Does what was decided of a call; unless it still waits, the next of its key is decided then. */
const carryOut = (s: State, admission: AdmissionRecord, decision: Admission.Decision): void => {
  const { call, run } = admission
  tell(s, admission, decision)
  switch (decision._tag) {
    case "Wait":
      return
    case "Compare":
      return command(s, { _tag: "Compare", admission, runs: decision.runs })
    case "Ask":
      return command(s, { _tag: "AskPolicy", admission, running: decision.running })
    case "Replace": {
      // nothing is stopped before somebody agrees
      if (run.tool.approval === undefined || admission.approved !== undefined) {
        return stopOthers(s, admission, decision.others)
      }
      proceed(s, run, decision.others)
      break
    }
    case "Run": {
      if (admission.approved === undefined) proceed(s, run)
      else start(s, run)
      break
    }
    case "Join": {
      join(s, call, run, decision.other)
      break
    }
    case "Answer": {
      leave(s, run)
      settle(s, call, answered(answerOf(s, call, decision.by)))
      break
    }
    case "Refuse": {
      leave(s, run)
      for (const one of run.calls) refuse(s, one, decision.errorType, decision.message)
    }
  }
  leaveGate(s, admission)
}

const leaveGate = (s: State, admission: AdmissionRecord): void => {
  const next = Admission.leave(s, admission)
  if (next !== undefined) carryOut(s, next, Admission.decide(s, next))
}

const verdicts: { readonly [K in Admission.Decision["_tag"]]?: Verdict["_tag"] } = {
  Run: "Run",
  Join: "Join",
  Replace: "Replace",
  Answer: "Refuse"
}

/** Telemetry counts what was decided of calls that repeat another. */
const tell = (s: State, admission: AdmissionRecord, decision: Admission.Decision): void => {
  const { approved, call, run, running, state } = admission
  // it was told of before somebody was asked
  if (approved !== undefined) return
  const unable = decision._tag === "Refuse" && decision.errorType === "not_replaceable"
  const verdict = unable ? "Replace" : verdicts[decision._tag]
  if (verdict === undefined || state._tag === "Replacing" || (verdict === "Run" && running === 0)) return
  observe(s, { _tag: "CallDecided", call, tool: run.tool, verdict, running })
}

const stopOthers = (s: State, admission: AdmissionRecord, others: ReadonlyArray<Run>): void => {
  const state: AdmissionRecord["state"] = { _tag: "Replacing", left: new Set(others), timer: undefined }
  admission.state = state
  for (const other of others) stop(s, other, "replaced")
  // one that had not begun has ended at once
  if (admission.state !== state || admission.run.phase !== "admitting") return
  state.timer = startTimer(s, { _tag: "Replace", admission }, s.options.cancellationTimeout)
}

/** The arguments of the running calls are known as text now. */
export const compared = (s: State, admission: AdmissionRecord, keys: ReadonlyMap<Run, string>): void => {
  for (const [run, key] of keys) run.argsKey = key
  if (admission.state._tag === "Comparing") carryOut(s, admission, Admission.decide(s, admission))
}

/** They cannot be: what the call repeats is not known. */
export const notCompared = (s: State, admission: AdmissionRecord): void => {
  if (admission.state._tag === "Comparing") carryOut(s, admission, Admission.failed(admission))
}

/** A policy of the program's own has decided; none: it failed. */
export const policyDecided = (s: State, admission: AdmissionRecord, verdict: Verdict | undefined): void => {
  if (admission.state._tag !== "Asking" || admission.run.phase !== "admitting") return
  carryOut(s, admission, verdict === undefined ? Admission.failed(admission) : Admission.decided(s, admission, verdict))
}

/** The run that this call replaces is still stopping. */
export const replaceTimedOut = (s: State, admission: AdmissionRecord): void => {
  if (admission.state._tag === "Replacing") carryOut(s, admission, Admission.timedOut)
}

const answerOf = (s: State, call: Call, by: Admission.Answer): unknown => {
  if ("message" in by) return by.message
  const offered = call.step.agent.hasCompanions
  const running = by.running.flatMap((run) => run.calls)
  const runningText = running.map((other) => {
    const hint = offered && whyNot(other) === undefined ? `; ${cancelTaskName} can stop it` : ""
    const waits = other.run !== undefined && isApproving(other.run) ? " waits for approval" : ""
    return `Call ${other.callId} with ${JSON.stringify(shownArguments(other))}${waits}${hint}.`
  })
  return phrase(s, promptsOf(call), by.template, {
    toolName: call.call.name,
    running: running.map((other) => other.call),
    runningText: runningText.join(" ")
  })
}

/** The arguments without the parameters that are ours. */
export const shownArguments = (call: Call): unknown =>
  call.tool === undefined ? call.call.arguments : call.tool.ownArguments(call.call.arguments as Record<string, unknown>)

/** The new call shares the running one: what was last said of it, and all that follows (rule P2b). */
const join = (s: State, call: Call, own: Run, other: Run): void => {
  Messages.moveTo(s, other, own)
  leave(s, own)
  call.run = other
  other.calls.push(call)
  // a run that has moved to the session takes its calls with it
  if (other.owner === undefined) call.owner = undefined
  observe(s, { _tag: "CallJoined", call, run: other })
  const approval = s.approvals.length === 0 ? undefined : Approvals.of(s, other)
  if (approval?.state._tag === "Waiting") {
    awaitApproval(s, call, approval.state.reason)
    return Jobs.close(s, call.jobs)
  }
  repeatUpdate(s, call, other)
  leaveTurn(s, call)
}

// ----------------------------------------------------------------------------------------------------------- approval

/** Nothing of admission is left to be decided: it starts, or waits until somebody agrees (rule A1). */
const proceed = (s: State, run: Run, replaces: ReadonlyArray<Run> = none): void => {
  if (run.tool.approval === undefined) return start(s, run)
  const approval = Approvals.arrive(s, run, replaces)
  carryOutApproval(s, approval, Approvals.decide(s, approval))
}

const carryOutApproval = (s: State, approval: Approval, decision: Approvals.Decision): void => {
  const { run } = approval
  switch (decision._tag) {
    case "Start":
      return goOn(s, approval)
    case "AskPolicy":
      return command(s, { _tag: "AskApproval", approval })
    case "Request":
      return request(s, approval, decision.reason)
    case "Deny":
      return end(s, run, (call) => decline(s, call, "denied", decision.reason))
    case "Refuse":
      return end(s, run, (call) => refuse(s, call, decision.errorType, decision.message))
  }
}

/** It leaves its turn, and nobody waits for it until it is decided (rules A2, A9). */
const request = (s: State, approval: Approval, reason: string | undefined): void => {
  const { run } = approval
  const millis = run.tool.approvalTimeout
  const expiresAt = millis === undefined ? undefined : s.now + millis
  const timer = millis === undefined ? undefined : startTimer(s, { _tag: "Expire", approval }, millis)
  beginWaiting(s, approval, { reason, requestedAt: s.now, expiresAt, timer })
  for (const call of run.calls) awaitApproval(s, call, reason)
  for (const call of run.calls) Jobs.close(s, call.jobs)
}

const beginWaiting = (
  s: State,
  approval: Approval,
  waiting: Omit<Extract<Approval["state"], { readonly _tag: "Waiting" }>, "_tag">
): void => {
  approval.state = { _tag: "Waiting", ...waiting }
  const { expiresAt, reason } = waiting
  emit(s, {
    _tag: "ApprovalRequested",
    call: (approval.run.calls[0] as Call).call,
    ...(reason === undefined ? {} : { reason }),
    ...(expiresAt === undefined ? {} : { expiresAt })
  })
  observe(s, { _tag: "ApprovalRequested", approval })
}

/** Its way goes on where it was held: it takes the place of others, or starts. */
const goOn = (s: State, approval: Approval): void => {
  const { replaces, run } = approval
  forget(s, approval)
  run.phase = "admitting"
  const others = replaces.filter((other) => other.phase !== "ended")
  if (others.length === 0) return start(s, run)
  const admission = Admission.arrive(s, run, run.calls[0] as Call, others)
  if (admission !== undefined) carryOut(s, admission, Admission.decide(s, admission))
}

/** Out of the books; who comes now finds nothing to decide. */
const forget = (s: State, approval: Approval): void => {
  const { state } = approval
  if (state._tag === "Waiting") state.timer = stopTimer(s, state.timer)
  approval.state = { _tag: "Over" }
  s.approvals = without(s.approvals, approval)
}

/** The policy of the program has decided; none: it failed. */
export const approvalRuled = (s: State, approval: Approval, verdict: ApprovalVerdict | undefined): void => {
  const decision = Approvals.ruled(s, approval, verdict)
  if (decision !== undefined) carryOutApproval(s, approval, decision)
}

/** What somebody decides, read by the shell. */
export type ByPerson = { readonly by: string | undefined } & (
  | { readonly _tag: "Approve" }
  | { readonly _tag: "Edit"; readonly arguments: Record<string, unknown>; readonly decoded: DecodedArguments }
  | { readonly _tag: "Deny"; readonly reason: string | undefined }
  /** in place of the tool */
  | { readonly _tag: "Answer"; readonly outcome: Outcome }
)

type DecodedArguments = Extract<Decoded, { readonly _tag: "Decoded" }>

/** What waits under this id, or why nothing does. */
export const toDecide = (s: State, callId: string): Approval | string => Approvals.toDecide(s, callId, whyGone)

const decisions: { readonly [K in ByPerson["_tag"]]: ApprovalDecision } = {
  Approve: "approved",
  Edit: "edited",
  Deny: "denied",
  Answer: "answered"
}

/** The first decision wins; or why there is nothing to decide (rule A4). */
export const decideBy = (s: State, callId: string, given: ByPerson): string | undefined => {
  const approval = toDecide(s, callId)
  if (typeof approval === "string") return approval
  const { run } = approval
  const reason = given._tag === "Deny" ? given.reason : undefined
  isDecided(s, approval, decisions[given._tag], given.by, reason)
  switch (given._tag) {
    case "Edit":
    case "Approve": {
      if (given._tag === "Edit") {
        run.params = given.decoded.params
        run.argsKey = given.decoded.key
      }
      for (const call of run.calls) {
        markOpen(s, call, "running")
        if (given._tag === "Edit") edit(s, call, given.arguments)
      }
      goOn(s, approval)
      break
    }
    case "Deny": {
      end(s, run, (call) => decline(s, call, "denied", reason))
      break
    }
    case "Answer": {
      end(s, run, (call) => settleWith(s, call, given.outcome))
    }
  }
  return undefined
}

/** Nobody has decided in time (rule A6). */
export const expired = (s: State, approval: Approval): void => {
  if (approval.state._tag !== "Waiting") return
  isDecided(s, approval, "expired")
  end(s, approval.run, (call) => decline(s, call, "expired", undefined))
}

/** From here on its jobs wait for it again, those that have not ended (rule A9). */
const isDecided = (s: State, approval: Approval, decision: ApprovalDecision, by?: string, reason?: string): void => {
  const { run } = approval
  emit(s, {
    _tag: "ApprovalDecided",
    callId: (run.calls[0] as Call).callId,
    decision,
    ...(by === undefined ? {} : { by }),
    ...(reason === undefined ? {} : { reason })
  })
  observe(s, { _tag: "ApprovalDecided", approval, decision })
  for (const call of run.calls) call.jobs = Jobs.reopen(call.jobs)
}

/** It ends without having been run. */
const end = (s: State, run: Run, how: (call: Call) => void): void => {
  leave(s, run)
  for (const call of run.calls) how(call)
  run.endWaiters = allWoken(s, run.endWaiters)
  run.stopWaiters = allWoken(s, run.stopWaiters)
}

// ---------------------------------------------------------------------------------------------------------- the run

const start = (s: State, run: Run): void => {
  if (run.phase !== "admitting") return
  const { executor } = run.tool
  if (!isCompanion(run.tool)) {
    // only now: a call that joins, replaces or is refused adds none to those at work
    if (s.running >= s.options.maxRunning) {
      leave(s, run)
      for (const call of run.calls) refuse(s, call, "too_many_running", tooManyRunning(s.running))
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
  const asked = (call.call.arguments as Record<string, unknown>)[backgroundParameter] === true
  if (asked && tool.added.includes(backgroundParameter)) release(s, call, "model")
  else if (tool.releaseAfter === 0) release(s, call, "timer")
}

const begin = (s: State, run: Run): void => {
  run.phase = "working"
  observe(s, { _tag: "RunStarted", run })
  command(s, { _tag: "StartRun", run })
  const { timeout } = run.tool
  if (s.durable === undefined) {
    if (timeout !== undefined) run.timeoutTimer = startTimer(s, { _tag: "Timeout", run }, timeout)
    return
  }
  // from its first start, whatever came in between (rule Q14)
  const life = Durable.lifeOf(s.durable, run)
  life.begunAt ??= s.now
  if (timeout === undefined || run.committed || life.replays) return
  run.timeoutTimer = startTimer(s, { _tag: "Timeout", run }, Math.max(0, timeout - (s.now - life.begunAt)))
}

// ------------------------------------------------------------------------------------------------------ earlier lives

/** A run of an earlier life of the session enters the books again, as far as it had come (rules Q). */
export const enlist = (
  s: State,
  calls: ReadonlyArray<Call>,
  tool: Tool,
  given: Pick<Run, "phase"> & Partial<Omit<Run, "calls" | "tool" | "phase">>
): Run => {
  const run: Run = { ...makeRun(calls[0] as Call, tool), ...given }
  run.calls.splice(0, 1, ...calls)
  s.runs.add(run)
  for (const call of calls) call.run = run
  if (isCompanion(tool)) return run
  if (tool.executor.activity !== undefined) tool.executor.activity.running++
  if (run.phase === "held") return run
  for (const call of calls) {
    if (call.state._tag !== "Inline" || tool.releaseAfter === undefined || tool.releaseAfter === 0) continue
    const left = Math.max(0, tool.releaseAfter - (s.now - call.startedAt))
    call.releaseTimer = startTimer(s, { _tag: "Release", call }, left)
  }
  return run
}

/** It had begun: its handler runs again, from its start. */
export const workAgain = (s: State, run: Run): void => {
  if (!isCompanion(run.tool)) {
    s.running++
    run.tool.executor.active++
  }
  begin(s, run)
}

/** It waited for its executor, and had not begun. */
export const queueAgain = (s: State, run: Run): void => {
  if (isCompanion(run.tool)) return begin(s, run)
  const { executor } = run.tool
  s.running++
  if (executor.active >= executor.limit) {
    run.phase = "queued"
    executor.queue.push(run)
    return
  }
  executor.active++
  begin(s, run)
}

/** Somebody is still to agree; who listens has been told. */
export const askAgain = (
  s: State,
  run: Run,
  replaces: ReadonlyArray<Run>,
  { expiresAt, reason, requestedAt }: Pick<PendingApproval, "expiresAt" | "reason" | "requestedAt">
): void => {
  const approval = Approvals.arrive(s, run, replaces)
  const left = expiresAt === undefined ? undefined : Math.max(0, expiresAt - s.now)
  const timer = left === undefined ? undefined : startTimer(s, { _tag: "Expire", approval }, left)
  approval.state = { _tag: "Waiting", reason, requestedAt, expiresAt, timer }
  observe(s, { _tag: "ApprovalRequested", approval })
}

/** It has ended, and nobody knows how. */
export const loseRun = (s: State, run: Run): void => end(s, run, (call) => lose(s, call))

/** Takes a run out of all the books; its calls are settled by the caller. */
const leave = (s: State, run: Run): void => {
  if (run.phase === "ended") return
  const { executor } = run.tool
  const was = run.phase
  run.phase = "ended"
  s.runs.delete(run)
  run.timeoutTimer = stopTimer(s, run.timeoutTimer)
  if (s.durable !== undefined) Durable.runLeft(s.durable, run)
  Messages.closeInbox(s, run)
  if (was === "approving") {
    const approval = Approvals.of(s, run)
    if (approval !== undefined) forget(s, approval)
  }
  if (isCompanion(run.tool)) return
  if (was === "queued" || was === "working") s.running--
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

/** A run has ended, or is given up on. The first outcome wins (rule T9). */
export const endRun = (s: State, run: Run, outcome: Outcome): void => {
  if (run.phase === "ended") return
  const decoding = run.phase === "admitting"
  leave(s, run)
  for (const call of run.calls) settleWith(s, call, outcome)
  if (decoding) for (const call of run.calls) admitNext(s, call)
  run.endWaiters = allWoken(s, run.endWaiters)
  run.stopWaiters = allWoken(s, run.stopWaiters)
  if (s.gates.size === 0) return
  for (const admission of Admission.freedBy(s, run)) {
    stopWaiting(s, admission)
    start(s, admission.run)
    leaveGate(s, admission)
  }
}

/** The timer of a replacement that waits. */
const stopWaiting = (s: State, { state }: AdmissionRecord): void => {
  if (state._tag === "Replacing") state.timer = stopTimer(s, state.timer)
}

// ----------------------------------------------------------------------------------------------------------- stopping

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
  const admitting = run.phase === "admitting" || run.phase === "held"
  // it may still be decoding its arguments
  if (admitting) command(s, { _tag: "InterruptRun", run })
  if (isApproving(run)) withdraw(s, run)
  endRun(s, run, { _tag: "Interrupted", reason })
  if (!admitting) return
  const admission = Admission.withdraw(s, run)
  if (admission === undefined) return
  command(s, { _tag: "StopPolicy", admission })
  stopWaiting(s, admission)
  leaveGate(s, admission)
}

/** Nobody is to decide about it any more (rule A7). */
const withdraw = (s: State, run: Run): void => {
  const approval = Approvals.of(s, run)
  if (approval?.state._tag === "Asking") command(s, { _tag: "StopApproval", approval })
  if (approval?.state._tag === "Waiting") isDecided(s, approval, "withdrawn")
}

/** The point of no return; false if a cancellation came first (rule C1b). */
export const commit = (s: State, run: Run): boolean => {
  if (run.stop !== undefined || run.phase === "ended") return false
  if (!run.committed) observe(s, { _tag: "RunCommitted", run })
  run.committed = true
  run.timeoutTimer = stopTimer(s, run.timeoutTimer)
  return true
}

/** The runs that occupy its queue wait for it, and would never make room (rule T12). */
export const refuseQueued = (s: State, run: Run): void =>
  end(s, run, (call) => refuse(s, call, "circular_wait", waitsForRoom))

/** Why there is no call at work with this id. */
const whyGone = (s: State, callId: string): string => {
  const known = s.callIds.get(callId)
  return known === undefined
    ? `There is no call with the id "${callId}".`
    : known === "pair"
      ? `There is no call with the id "${callId}": that is a report of another call.`
      : `Call ${callId} has already ended.`
}

/** A program lets a call leave its turn; or why it cannot. */
export const releaseBy = (s: State, callId: string): string | undefined => {
  const call = s.calls.get(callId)
  if (call === undefined) return whyGone(s, callId)
  if (isCompanion(call.tool))
    return `Call ${callId} stays in its turn: ${call.call.name} is a tool of the session's own.`
  if (call.state._tag !== "Inline") return `Call ${callId} has already left its turn.`
  release(s, call, "program")
  return undefined
}

/** The call that takes a message, or why there is none (rule G3). */
export const toMessage = (s: State, callId: string): Call | string => {
  const call = s.calls.get(callId)
  return call === undefined ? whyGone(s, callId) : (Messages.whyNotNow(s, call) ?? call)
}

/** Somebody tells a call something; or why it cannot be told. */
export const message = (s: State, callId: string, sent: Messages.Sent): string | undefined => {
  const call = toMessage(s, callId)
  if (typeof call === "string") return call
  Messages.put(s, call, sent)
  return undefined
}

/** The run to wait for, or why there is none. */
export const cancel = (s: State, callId: string): Run | string => {
  const call = s.calls.get(callId)
  if (call === undefined) return whyGone(s, callId)
  const run = call.run
  const reason = whyNot(call) ?? (run === undefined ? undefined : whyNotRun(run))
  if (reason !== undefined) return reason
  stop(s, run as Run, "cancelled")
  return run as Run
}

/** The calls at work that have a run and are no tool of the session's own. */
export const running = (s: State): ReadonlyArray<Call> =>
  Array.from(s.calls.values()).filter((call) => call.run !== undefined && !isCompanion(call.tool))
