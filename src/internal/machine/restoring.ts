/**
 * Calls that waited for approval when their conversation was stored: they wait on under their ids (rule A10). Their policy
 * has had its word, and is not asked again; their arguments are those of the history.
 */
import { ours, withoutItemId } from "../values/metadata.js"
import * as Calls from "./calls.js"
import * as History from "./history.js"
import type { Decoded } from "./protocol.js"
import { type Open, openIn } from "./resume.js"
import * as Speech from "./speech.js"
import { type Activity, Background, command, phrase, type State } from "./state.js"
import { invalidArguments, unknownTool } from "./texts.js"
import { refuse } from "./updates.js"
import type { ChatItem, PendingApproval, ToolCall } from "./words.js"

/** One that waits on. */
export interface Waiting {
  readonly pending: PendingApproval
  readonly call: ToolCall
  /** its place in the history; none: it was not yet recorded */
  readonly at: number | undefined
  /** the history has its output */
  readonly told: boolean
}

export interface Restored extends Waiting {
  /** by its tool's schema; none: there is no such tool */
  readonly decoded: Decoded | undefined
}

export interface Found {
  readonly waiting: ReadonlyArray<Waiting>
  /** what the history leaves open beside them */
  readonly open: ReadonlyArray<Open>
  /** the ids of those that do not wait any more, by what the history says */
  readonly stale: ReadonlyArray<string>
}

/** Which of the given calls wait on. */
export const find = (items: ReadonlyArray<ChatItem>, approvals: ReadonlyArray<PendingApproval>): Found => {
  const open = openIn(items)
  const waiting = new Map<string, Waiting>()
  const stale: Array<string> = []
  const taken = new Set<Open>()
  for (const pending of approvals) {
    const { arguments: args, callId, name } = pending
    if (waiting.has(callId)) continue
    const of = open.find(({ at, how }) => {
      const item = items[at]
      return (how === "withdrawn" || how === "inline") && item?._tag === "FunctionCall" && item.callId === callId
    })
    const item = of === undefined ? undefined : items[of.at]
    if (of !== undefined && item?._tag === "FunctionCall") {
      taken.add(of)
      const call = { callId, name: item.name, arguments: item.arguments }
      waiting.set(callId, { pending, call, at: of.at, told: of.how === "withdrawn" })
    } else if (items.some((one) => one._tag === "FunctionCall" && one.callId === callId)) {
      stale.push(callId)
    } else {
      waiting.set(callId, { pending, call: { callId, name, arguments: args }, at: undefined, told: false })
    }
  }
  return { waiting: Array.from(waiting.values()), open: open.filter((one) => !taken.has(one)), stale }
}

export const restore = (
  s: State,
  agent: Activity,
  all: ReadonlyArray<Restored>,
  stale: ReadonlyArray<string> = []
): void => {
  for (const one of all) wait(s, agent, one)
  for (const callId of stale) {
    const message = `The approval of call ${callId} was ignored: the history says that it does not wait any more.`
    command(s, { _tag: "Log", level: "warning", message })
  }
}

const wait = (s: State, agent: Activity, { at, call: given, decoded, pending, told }: Restored): void => {
  const { name } = given
  const tool = decoded === undefined ? undefined : agent.tools.get(name)
  const callId = at === undefined ? History.reserveCallId(s, given.callId) : given.callId
  const made = { callId, name, arguments: given.arguments }
  if (at === undefined) History.add(s, { _tag: "FunctionCall", ...made })
  const step = Speech.past(s, agent)
  const call = Calls.restored(s, step, made, tool, metadataAt(s, at), pending.requestedAt)
  if (!told) {
    const { prompts } = tool ?? agent
    const args = { toolName: name, callId, reason: pending.reason ?? "" }
    const output = phrase(s, prompts, "approvalPending", args)
    History.add(s, { _tag: "FunctionCallOutput", callId, name, output, isError: false, open: "approval" })
  }
  call.state = Background
  // it has been told: nobody reads it again
  call.output = { value: undefined, isError: false, reply: false, open: "approval" }
  call.recorded = true
  while (s.callIds.has(`${callId}_update_${call.updates + 1}`)) call.updates++
  if (tool === undefined || decoded === undefined) {
    return refuse(s, call, "unknown_tool", unknownTool(name, Array.from(agent.tools.keys())))
  }
  if (decoded._tag === "Invalid") {
    return refuse(s, call, "invalid_arguments", invalidArguments(name, decoded.problem))
  }
  Calls.waitOn(s, call, tool, decoded, pending)
}

/** As the pairs of a running call have it (rule M2), without what the session itself says of the item. */
const metadataAt = (s: State, at: number | undefined) => {
  const item = at === undefined ? undefined : s.history[at]
  if (item?._tag !== "FunctionCall" || item.metadata === undefined) return undefined
  const { [ours]: _, ...rest } = item.metadata
  return withoutItemId(rest)
}
