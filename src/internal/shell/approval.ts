/**
 * Calls that wait for approval: the policy that says whether somebody is asked, what somebody decides, and what waited when
 * a conversation was stored (rules A).
 */
import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type { ApproveOptions, DenyOptions, RespondOptions } from "../../AgentSession.js"
import type { PendingApproval } from "../../ApprovalPolicy.js"
import type { ToolError } from "../../Tags.js"
import * as Approvals from "../machine/approval.js"
import * as Calls from "../machine/calls.js"
import type { Decoded } from "../machine/protocol.js"
import type { Restored, Waiting } from "../machine/restoring.js"
import type * as State from "../machine/state.js"
import { printable } from "../model/errors.js"
import { answerOf } from "../scope/codec.js"
import { type BoundTool, boundOf, toDecode } from "../scope/tool.js"
import { canonical, copyPlain, isRecord, plainArguments } from "../values/json.js"
import * as Door from "./door.js"
import { fork } from "./fibers.js"
import { doneUnless, type Host, interrupt, log, logOf, refused } from "./host.js"

// ---------------------------------------------------------------------------------------------------------- the policy

const isOver = ({ state }: State.Approval): boolean => state._tag === "Over"

export const askApproval = (host: Host, approval: State.Approval): void => {
  const tool = boundOf(approval.run.tool)
  const { asks } = tool
  if (asks === undefined || approval.state._tag !== "Asking") return
  const call = approval.run.calls[0] as State.Call
  // arguments of its own: it may change what it is given
  const params = Effect.suspend(() => tool.codec.decode(toDecode(tool, Door.argumentsCopied(call))))
  const asked = Door.askedOf(asks, params, () => Door.shown(call))
  approval.fiber = fork(host, asked, host.telemetry.inCall(call, tool), (exit) => {
    const verdict = Exit.isSuccess(exit) ? Door.approvalVerdictOf(asks, exit.value) : undefined
    // withdrawn meanwhile: it was interrupted by the session
    if (approval.state._tag === "Asking" && verdict === undefined) {
      const cause = Exit.isFailure(exit) ? exit.cause : undefined
      const what = cause === undefined ? "gave no verdict" : "failed"
      log(host, "error", `The approval policy of ${tool.name} ${what}: a person is asked.`, cause)
    }
    host.transact((s) => Calls.approvalRuled(s, approval, verdict))
  })
  // withdrawn while it started
  if (isOver(approval)) interrupt(approval.fiber)
}

// -------------------------------------------------------------------------------------------------------- the decision

const decide = (host: Host, callId: string, given: Calls.ByPerson): Effect.Effect<void, ToolError> =>
  Effect.suspend(() => doneUnless(host.transact((s) => Calls.decideBy(s, callId, given))))

const textOr = (value: unknown): string | undefined => (typeof value === "string" ? value : undefined)

/** What a schema of the program makes of a value, in the context of its tool; a schema that dies refuses it. */
const read = <A>(
  host: Host,
  { context, name }: { readonly context: Context.Context<any>; readonly name: string },
  effect: Effect.Effect<A, ToolError, any>
): Effect.Effect<A, ToolError> =>
  Effect.provide(effect, context).pipe(
    Effect.catchAllCause((cause): Effect.Effect<never, ToolError> => {
      if (Cause.isInterruptedOnly(cause) || Option.isSome(Cause.failureOption(cause))) return Effect.failCause(cause)
      log(host, "error", `A schema of ${name} failed unexpectedly.`, printable(cause))
      return refused(`A schema of ${name} failed unexpectedly. The call waits on.`)
    })
  ) as Effect.Effect<A, ToolError>

export const approve = (
  host: Host,
  callId: string,
  options: ApproveOptions | undefined
): Effect.Effect<void, ToolError> =>
  Effect.suspend(() => {
    const { arguments: given, by: person } = options ?? {}
    const by = textOr(person)
    if (given === undefined) return decide(host, callId, { _tag: "Approve", by })
    const approval = Calls.toDecide(host.state, callId)
    if (typeof approval === "string") return refused(approval)
    const tool = boundOf(approval.run.tool)
    const wrong = (problem: string) =>
      refused(`The arguments for ${tool.name} cannot be used: ${problem}. The call waits on.`)
    const args = isRecord(given) ? plainArguments(given) : undefined
    if (args === undefined) return wrong("they are not a JSON object")
    // a form that was sent as it was shown is no edit
    const [first] = approval.run.calls
    if (first !== undefined && canonical(first.call.arguments) === canonical(args)) {
      return decide(host, callId, { _tag: "Approve", by })
    }
    return Effect.flatMap(read(host, tool, Door.decode(tool, args)), (decoded) =>
      decoded._tag === "Invalid"
        ? wrong(decoded.problem)
        : decide(host, callId, { _tag: "Edit", by, arguments: args, decoded })
    )
  })

export const deny = (host: Host, callId: string, options: DenyOptions | undefined): Effect.Effect<void, ToolError> =>
  Effect.suspend(() => {
    const { by, reason } = options ?? {}
    return decide(host, callId, { _tag: "Deny", by: textOr(by), reason: textOr(reason) })
  })

export const respond = (
  host: Host,
  callId: string,
  output: unknown,
  options: RespondOptions | undefined
): Effect.Effect<void, ToolError> =>
  Effect.suspend(() => {
    const by = textOr(options?.by)
    const approval = Calls.toDecide(host.state, callId)
    if (typeof approval === "string") return refused(approval)
    const { run } = approval
    const tool = boundOf(run.tool)
    const answer = Effect.catchAll(answerOf(tool.tool, tool.codec, output), (problem) =>
      refused(`The output for ${tool.name} cannot be used: ${problem}. The call waits on.`)
    )
    return Effect.flatMap(read(host, tool, answer), (whole) => {
      const outcome = Door.outcomeOf(run, Exit.succeed(whole), host, logOf(host))
      return decide(host, callId, { _tag: "Answer", by, outcome })
    })
  })

// ------------------------------------------------------------------------------------------------------------- as shown

/** Copies: who shows them may change them. */
export const copied = (approvals: ReadonlyArray<PendingApproval>): ReadonlyArray<PendingApproval> =>
  approvals.map((one) => ({ ...one, arguments: copyPlain(one.arguments) }))

export const pending = ({ state }: Host): ReadonlyArray<PendingApproval> => copied(Approvals.pending(state))

// ------------------------------------------------------------------------------------------------- what waited before

/** Decodes the arguments of calls that wait on by the schemas of the tools that there are now (rule A10). */
export const readWaiting = (
  host: Host,
  agent: State.Activity,
  waiting: ReadonlyArray<Waiting>
): Effect.Effect<ReadonlyArray<Restored>> =>
  Effect.forEach(waiting, (one): Effect.Effect<Restored> => {
    const tool = agent.tools.get(one.call.name)
    if (tool === undefined || tool.kind !== "user") return Effect.succeed({ ...one, decoded: undefined })
    return Effect.map(
      readArguments(host, boundOf(tool), one.call.arguments),
      (decoded): Restored => ({ ...one, decoded })
    )
  })

/** Stored arguments by the schema of the tool that there is now. */
export const readArguments = (host: Host, tool: BoundTool, given: unknown): Effect.Effect<Decoded> => {
  const args = isRecord(given) ? plainArguments(given) : undefined
  const invalid = (problem: string): Effect.Effect<Decoded> => Effect.succeed({ _tag: "Invalid", problem })
  if (args === undefined) return invalid("they are not a JSON object")
  return Effect.catchTag(read(host, tool, Door.decode(tool, args)), "ToolError", () =>
    invalid("their schema failed unexpectedly")
  )
}
