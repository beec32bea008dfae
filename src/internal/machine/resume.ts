/**
 * A stored conversation that is gone on with: whose it is, and which calls were at work when it was stored (rule R5).
 */
import { ours, withoutItemId } from "../values/metadata.js"
import { pair } from "../values/pairing.js"
import * as History from "./history.js"
import { reportOf } from "./reports.js"
import { type Activity, phrase, type State } from "./state.js"
import { lostReport } from "./texts.js"
import type { ChatItem } from "./words.js"

/** What an agent goes on with. */
export interface Resumed {
  /** its name; none: nobody has handed over, so the first agent has it */
  readonly agent: string | undefined
  /** where it took over */
  readonly since: number
  readonly open: ReadonlyArray<Open>
}

/** Something that the history leaves open: the place of the call, and what its end is to be. */
export interface Open {
  readonly at: number
  readonly how: /** an inline call: it gets an output */
    | "inline"
    /** a call in the background: it gets a pair */
    | "background"
    /** the same, but it has not run */
    | "withdrawn"
    /** half of the pair that was a call's end */
    | "final"
    /** half of the pair of an update */
    | "update"
}

/** The agent is the one of the last hand-off: a task is over with the handler that ran it. */
export const read = (items: ReadonlyArray<ChatItem>): Resumed => {
  const since = items.findLastIndex((item) => item._tag === "AgentHandoff" && item.task !== true)
  const last = items[since]
  return {
    agent: last?._tag === "AgentHandoff" ? last.to : undefined,
    since: Math.max(0, since),
    open: openIn(items)
  }
}

interface Known {
  readonly at: number
  readonly name: string
  /** it has reported more than its output */
  reported: boolean
  ended: boolean
}

/**
 * Whose end is missing. By the places in the history, whose ids need not be unique: a report belongs to the last call
 * before it that has its id and its name.
 */
export const openIn = (items: ReadonlyArray<ChatItem>): ReadonlyArray<Open> => {
  const { outputOf } = pair(items)
  const byId = new Map<string, Known>()
  const calls: Array<Known> = []
  const open: Array<Open> = []
  items.forEach((item, at) => {
    if (item._tag !== "FunctionCall" || History.isProviders(item)) return
    const report = reportOf(item)
    const call = report === undefined ? undefined : byId.get(report.of)
    if (report === undefined || call === undefined || call.name !== item.name) {
      const known: Known = { at, name: item.name, reported: false, ended: false }
      byId.set(item.callId, known)
      calls.push(known)
      return
    }
    if (report.final) call.ended = true
    else call.reported = true
    if (!outputOf.has(at)) open.push({ at, how: report.final ? "final" : "update" })
  })
  for (const { at, ended, reported } of calls) {
    if (ended) continue
    const output = items[outputOf.get(at) ?? -1]
    if (output?._tag !== "FunctionCallOutput") open.push({ at, how: "inline" })
    else if (output.open === "approval") open.push({ at, how: "withdrawn" })
    // an older history says nothing of it; but what has reported has not ended with its output
    else if (output.open === "running" || reported) open.push({ at, how: "background" })
  }
  return open.sort((one, other) => one.at - other.at)
}

/** Writes what is missing, silently: outputs first, then the ends of what had left its turn. */
export const endOpen = (s: State, agent: Activity, all: ReadonlyArray<Open>): void => {
  for (const { at, how } of all) {
    const call = s.history[at]
    if (call?._tag !== "FunctionCall" || how === "background" || how === "withdrawn") continue
    const output = how === "update" ? lostReport : unknown(s, agent, call)
    History.add(s, { _tag: "FunctionCallOutput", callId: call.callId, name: call.name, output, isError: true })
  }
  for (const { at, how } of all) {
    const call = s.history[at]
    if (call?._tag !== "FunctionCall" || (how !== "background" && how !== "withdrawn")) continue
    const { name } = call
    const callId = History.reserveCallId(s, `${call.callId}_final`, "pair")
    const metadata = metadataOf(call)
    History.add(s, {
      _tag: "FunctionCall",
      callId,
      name,
      arguments: call.arguments,
      ...(metadata === undefined ? {} : { metadata })
    })
    const isError = how === "background"
    const output = isError ? unknown(s, agent, call) : withdrawn(s, agent, call)
    History.add(s, { _tag: "FunctionCallOutput", callId, name, output, isError })
  }
}

type FunctionCall = Extract<ChatItem, { readonly _tag: "FunctionCall" }>

/** As the pairs of a running call have it (rule M2), without what the session itself says of the item. */
const metadataOf = ({ metadata }: FunctionCall) => {
  if (metadata === undefined) return undefined
  const { [ours]: _, ...rest } = metadata
  return withoutItemId(rest)
}

const promptsOf = (agent: Activity, { name }: FunctionCall) => agent.tools.get(name)?.prompts ?? agent.prompts

/** A call whose output is half a final one is told under the call's own id. */
const argsOf = ({ callId, name }: FunctionCall) => ({ toolName: name, callId })

const unknown = (s: State, agent: Activity, call: FunctionCall) =>
  phrase(s, promptsOf(agent, call), "outcomeUnknown", argsOf(call))

const withdrawn = (s: State, agent: Activity, call: FunctionCall) =>
  phrase(s, promptsOf(agent, call), "ended", { ...argsOf(call), how: "cancelled" })
