/**
 * Which calls may be cancelled, and by what (rules C2, C5, S2).
 */
import type { Call, Run, Tool } from "./state.js"

export const isCompanion = (tool: Tool | undefined): boolean => tool?.kind === "companion"

/** It may not run before somebody agrees. */
export const isApproving = ({ phase }: Run): boolean => phase === "approving"

/** Why a running call may not be cancelled by the model, by `replace` or by a program (rule C5). */
export const whyNot = (call: Call): string | undefined => {
  const { run, tool } = call
  if (run === undefined || tool === undefined || tool.kind === "companion") {
    return `Call ${call.callId} may not be cancelled.`
  }
  // nothing of it has begun (rule A7)
  if (isApproving(run)) return undefined
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

/** The same of all calls that share a run. */
export const whyNotRun = (run: Run): string | undefined => {
  for (const call of run.calls) {
    const reason = whyNot(call)
    if (reason !== undefined) return reason
  }
  return undefined
}

/** May it be cut when its scope ends? */
export const mayBeDrained = (run: Run): boolean =>
  isApproving(run) || (run.tool.options.allowCancellation === true && !run.committed)
