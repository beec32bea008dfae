/**
 * Admission: what becomes of a call that may repeat a running one (rules P1 to P5). A state machine of its own
 * (`AdmissionState`). It looks at the running calls and says what is to be done (`Decision`); `calls.ts` does that, and
 * comes back with what follows. Nothing waits in here: between a look and its decision no other input comes.
 */
import { worksFor } from "./behalf.js"
import { whyNotRun } from "./cancelling.js"
import type { Admission, Call, Run, State, Tool } from "./state.js"
import { confirmParameter, notReplaceable, stillStopping, unexpected, waitsForItself } from "./texts.js"
import type { Verdict } from "./words.js"

/** What is to be done about a call that is being admitted. */
export type Decision =
  /** nothing yet: something is waited for */
  | { readonly _tag: "Wait" }
  /** the canonical text of these runs' arguments is needed */
  | { readonly _tag: "Compare"; readonly runs: ReadonlyArray<Run> }
  | { readonly _tag: "Ask"; readonly running: ReadonlyArray<Run> }
  | { readonly _tag: "Run" }
  | { readonly _tag: "Join"; readonly other: Run }
  /** these stop first */
  | { readonly _tag: "Replace"; readonly others: ReadonlyArray<Run> }
  /** an answer in place of a run, by a template or by the policy */
  | { readonly _tag: "Answer"; readonly by: Answer }
  /** it does not run, which is an error */
  | { readonly _tag: "Refuse"; readonly errorType: string; readonly message: string }

export type Answer =
  | { readonly template: "duplicateReject" | "duplicateConfirm"; readonly running: ReadonlyArray<Run> }
  | { readonly message: string }

const wait: Decision = { _tag: "Wait" }
const run: Decision = { _tag: "Run" }

/** No comparison, no question: it runs. */
export const isAllowed = ({ policy }: Tool): boolean => policy._tag === "Mode" && policy.mode === "allow"

/** Arguments are compared in their encoded form. */
export const needsKey = (tool: Tool): boolean => tool.policy.scope === "name_and_args" && !isAllowed(tool)

/** The model says that the user wants one beside the running one. */
const isConfirmed = ({ call, tool }: Call): boolean =>
  tool?.added.includes(confirmParameter) === true &&
  (call.arguments as Record<string, unknown>)[confirmParameter] === true

// ---------------------------------------------------------------------------------------------------------- the gates

/** A call whose arguments are decoded. None: it waits behind another of its key. */
export const arrive = (
  s: State,
  run: Run,
  call: Call,
  /** somebody has agreed that it takes the place of these */
  approved?: ReadonlyArray<Run>
): Admission | undefined => {
  const { policy } = run.tool
  const key = policy.scope === "name" ? run.tool.name : `${run.tool.name}\u0000${run.argsKey ?? ""}`
  const admission: Admission = { key, run, call, state: { _tag: "Queued" }, running: 0, approved, fiber: undefined }
  const gate = s.gates.get(key)
  if (gate === undefined) {
    s.gates.set(key, { current: admission, queue: [] })
    return admission
  }
  gate.queue.push(admission)
  return undefined
}

/** It is over; the next of its key, if there is one, is to be decided. */
export const leave = (s: State, admission: Admission): Admission | undefined => {
  admission.state = { _tag: "Over" }
  const gate = s.gates.get(admission.key)
  if (gate?.current !== admission) return undefined
  gate.current = gate.queue.shift()
  if (gate.current === undefined) s.gates.delete(admission.key)
  return gate.current
}

/** The admission of a run, if it is being admitted. One that only waits behind another is taken out of the queue. */
export const withdraw = (s: State, run: Run): Admission | undefined => {
  for (const gate of s.gates.values()) {
    if (gate.current?.run === run) return gate.current
    const i = gate.queue.findIndex((admission) => admission.run === run)
    if (i >= 0) for (const admission of gate.queue.splice(i, 1)) admission.state = { _tag: "Over" }
  }
  return undefined
}

// ------------------------------------------------------------------------------------------------------- the decision

/** The running calls that this one may repeat; undefined: some of them cannot be compared yet. */
const duplicatesOf = (s: State, run: Run): ReadonlyArray<Run> | undefined => {
  const byArguments = needsKey(run.tool)
  const out: Array<Run> = []
  for (const other of s.runs) {
    if (!isBeside(run, other)) continue
    if (byArguments) {
      if (other.argsKey === undefined) return undefined
      if (other.argsKey !== run.argsKey) continue
    }
    out.push(other)
  }
  return out
}

/** Runs of the same tool that have been admitted, in whichever scope (rule P4b). */
const isBeside = (run: Run, other: Run): boolean =>
  other !== run && other.tool.name === run.tool.name && isAdmitted(other)

/** It counts as running: no other of its kind is compared with one whose turn to be decided has not come. */
export const isAdmitted = ({ phase }: Run): boolean => phase !== "held" && phase !== "admitting"

/** Looks at what is running, and decides. */
export const decide = (s: State, admission: Admission): Decision => {
  const { approved, call, run: own } = admission
  if (approved !== undefined) return replace(approved)
  if (isAllowed(own.tool)) return run
  const running = duplicatesOf(s, own)
  if (running === undefined) {
    admission.state = { _tag: "Comparing" }
    const runs = Array.from(s.runs).filter((other) => isBeside(own, other) && other.argsKey === undefined)
    return { _tag: "Compare", runs }
  }
  admission.running = running.length
  if (own.tool.policy._tag === "Custom") {
    admission.state = { _tag: "Asking", running }
    return { _tag: "Ask", running }
  }
  const { mode } = own.tool.policy
  if (running.length === 0) return run
  switch (mode) {
    case "allow":
      return run
    case "reject":
      return { _tag: "Answer", by: { template: "duplicateReject", running } }
    case "confirm":
      return isConfirmed(call) ? run : { _tag: "Answer", by: { template: "duplicateConfirm", running } }
    case "replace":
      return replace(running)
    case "join":
      return join(s, call, running)
  }
}

const replace = (running: ReadonlyArray<Run>): Decision => {
  const others = running.filter((other) => other.phase !== "ended")
  for (const other of others) {
    const reason = whyNotRun(other)
    if (reason !== undefined) return { _tag: "Refuse", errorType: "not_replaceable", message: notReplaceable(reason) }
  }
  return others.length === 0 ? run : { _tag: "Replace", others }
}

/** One that waits for this very call cannot be shared by it: neither would ever end. */
const join = (s: State, call: Call, running: ReadonlyArray<Run>): Decision => {
  const able = running.filter((candidate) => candidate.phase !== "ended" && candidate.stop === undefined)
  const other = able.findLast((candidate) => !worksFor(s, call, candidate, { turns: false }))
  if (other !== undefined) return { _tag: "Join", other }
  return able.length === 0 ? run : { _tag: "Refuse", errorType: "circular_wait", message: waitsForItself }
}

/** A policy of the program's own has decided, of calls that may have changed meanwhile: then it is asked again. */
export const decided = (s: State, admission: Admission, verdict: Verdict): Decision => {
  if (admission.state._tag !== "Asking") return wait
  const { running } = admission.state
  const now = duplicatesOf(s, admission.run)
  if (now?.length !== running.length || now.some((other, i) => other !== running[i])) return decide(s, admission)
  switch (verdict._tag) {
    case "Run":
      return run
    case "Refuse":
      return { _tag: "Answer", by: verdict }
    case "Replace":
      return replace(running)
    case "Join":
      return join(s, admission.call, running)
  }
}

/** A policy that dies, or gives no verdict, is a defect of the call that it was asked about. */
export const failed = ({ run: { tool } }: Admission): Decision => ({
  _tag: "Refuse",
  errorType: "duplicate_policy_failed",
  message: unexpected(tool.name)
})

/** A run has ended: the admissions that waited for it alone. */
export const freedBy = (s: State, run: Run): ReadonlyArray<Admission> => {
  const freed: Array<Admission> = []
  for (const { current } of s.gates.values()) {
    if (current?.state._tag !== "Replacing") continue
    if (current.state.left.delete(run) && current.state.left.size === 0) freed.push(current)
  }
  return freed
}

export const timedOut: Decision = { _tag: "Refuse", errorType: "still_stopping", message: stillStopping }
