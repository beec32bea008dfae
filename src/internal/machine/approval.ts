/**
 * Approval: calls that may not run before somebody agrees (rules A). A state machine of its own (`ApprovalState`), between
 * the decision about duplicates and the start. It says what is to be done (`Decision`); `calls.ts` does that. Nothing
 * waits in here, and what has been decided of a call is decided once.
 */
import type { Approval, Job, Run, State } from "./state.js"
import { tooManyWaiting } from "./texts.js"
import type { ApprovalVerdict, PendingApproval } from "./words.js"

/** What is to be done about a call that is to begin. */
export type Decision =
  | { readonly _tag: "Start" }
  /** a policy of the program says whether somebody is asked */
  | { readonly _tag: "AskPolicy" }
  /** it waits until somebody agrees */
  | { readonly _tag: "Request"; readonly reason: string | undefined }
  /** nobody is asked: it does not run */
  | { readonly _tag: "Deny"; readonly reason: string }
  | { readonly _tag: "Refuse"; readonly errorType: string; readonly message: string }

const start: Decision = { _tag: "Start" }
const askPolicy: Decision = { _tag: "AskPolicy" }

// --------------------------------------------------------------------------------------------------------- the books

/** A call that is to begin, once that has been decided. */
export const arrive = (s: State, run: Run, replaces: ReadonlyArray<Run>): Approval => {
  const approval: Approval = { run, replaces, state: { _tag: "Asking" }, fiber: undefined, trace: undefined }
  run.phase = "approving"
  s.approvals = [...s.approvals, approval]
  return approval
}

export const of = (s: State, run: Run): Approval | undefined => s.approvals.find((approval) => approval.run === run)

type Waiting = Extract<Approval["state"], { readonly _tag: "Waiting" }>

const waitingOf = ({ state }: Approval): Waiting | undefined => (state._tag === "Waiting" ? state : undefined)

export const isWaiting = (approval: Approval): boolean => approval.state._tag === "Waiting"

// ------------------------------------------------------------------------------------------------------- the decisions

/** The place of the tool has its word first (rule A3). */
export const decide = (s: State, { run }: Approval): Decision => {
  switch (run.tool.approval) {
    case undefined:
      return start
    case "always":
      return request(s, undefined)
    case "policy":
      return askPolicy
  }
}

/** The policy has decided; none: it failed, and that means ask. One that was withdrawn meanwhile is over. */
export const ruled = (s: State, approval: Approval, verdict: ApprovalVerdict | undefined): Decision | undefined => {
  if (approval.state._tag !== "Asking") return undefined
  switch (verdict?._tag) {
    case "Run":
      return start
    case "Deny":
      return { _tag: "Deny", reason: verdict.reason }
    default:
      return request(s, verdict?.reason)
  }
}

/** What waits is bounded as what runs is (rule A1). */
const request = (s: State, reason: string | undefined): Decision => {
  const waiting = s.approvals.filter(isWaiting).length
  return waiting < s.options.maxRunning
    ? { _tag: "Request", reason }
    : { _tag: "Refuse", errorType: "too_many_waiting", message: tooManyWaiting(waiting) }
}

/** What somebody decides about, by the id of any of the calls that share it; or why there is nothing to decide. */
export const toDecide = (s: State, callId: string, whyGone: (s: State, callId: string) => string) => {
  const call = s.calls.get(callId)
  if (call === undefined) return whyGone(s, callId)
  const approval = call.run === undefined ? undefined : of(s, call.run)
  if (approval === undefined) return `Call ${callId} does not wait for approval.`
  if (!isWaiting(approval)) return `Call ${callId} does not wait for approval: its policy has not decided yet.`
  return approval
}

// ----------------------------------------------------------------------------------------------------------- as shown

const shown = ({ run }: Approval, { expiresAt, reason, requestedAt }: Waiting): ReadonlyArray<PendingApproval> => {
  const [first] = run.calls
  if (first === undefined) return []
  return [
    {
      callId: first.callId,
      name: first.call.name,
      arguments: first.call.arguments,
      ...(first.owner === undefined ? {} : { agent: first.owner.name }),
      ...(reason === undefined ? {} : { reason }),
      requestedAt,
      ...(expiresAt === undefined ? {} : { expiresAt })
    }
  ]
}

/** Those that wait for somebody, oldest first. */
export const pending = (s: State, may: (approval: Approval) => boolean = () => true): ReadonlyArray<PendingApproval> =>
  s.approvals.flatMap((approval) => {
    const waiting = waitingOf(approval)
    return waiting === undefined || !may(approval) ? [] : shown(approval, waiting)
  })

/** Those of a turn that somebody waits for. */
export const ofJob = (s: State, job: Job): ReadonlyArray<PendingApproval> =>
  pending(s, ({ run }) => run.calls.some((call) => call.jobs.includes(job)))
