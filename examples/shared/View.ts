/**
 * What a user interface shows of a session, as a pure fold over its events: lines of the conversation, calls with their
 * parts and marks, replies and what they covered. The same fold serves a live stream and a recording.
 *
 * @example
 * ```ts
 * import { Stream } from "effect"
 * import type { AgentSession } from "effect-meantime"
 * import * as View from "./View.js"
 *
 * const views = (session: AgentSession.Service) => Stream.scan(session.events, View.empty, View.step)
 * ```
 */
import type { ChatContext, SessionEvent } from "effect-meantime"

type Event = SessionEvent.SessionEvent

// --- models ---------------------------------------------------------------------------------------------------------

/** A line of the conversation. */
export type Line =
  | {
      readonly _tag: "Said"
      readonly id: string
      readonly at: number
      readonly who: "user" | "agent" | "system"
      /** the name of the agent, where a hand-off has told it */
      readonly agent: string | undefined
      readonly text: string
      readonly interrupted: boolean
      /** the deferred reply that it is part of */
      readonly replyId: string | undefined
    }
  | { readonly _tag: "Called"; readonly at: number; readonly callId: string }
  | { readonly _tag: "HandedOff"; readonly at: number; readonly from: string | undefined; readonly to: string }
  | { readonly _tag: "Trouble"; readonly at: number; readonly message: string }
  | { readonly _tag: "Missed"; readonly at: number; readonly count: number }
  | { readonly _tag: "Closed"; readonly at: number }

export interface Update {
  readonly id: string
  readonly at: number
  readonly message: unknown
  /** it left the queue before anybody voiced it */
  readonly dropped: boolean
}

/** A call is told something while it runs. */
export interface Message {
  readonly at: number
  readonly from: "model" | "program"
  readonly message: unknown
}

/** A call that waits, or has waited, until somebody agrees. */
export interface Approval {
  /** when it was asked for; if that was missed, when it was decided */
  readonly at: number
  readonly reason: string | undefined
  readonly expiresAt: number | undefined
  readonly decided:
    | {
        readonly at: number
        readonly decision: SessionEvent.ApprovalDecided["decision"]
        readonly by: string | undefined
        readonly reason: string | undefined
      }
    | undefined
}

export interface Call {
  readonly callId: string
  /** undefined where the events that tell it were missed */
  readonly name: string | undefined
  /** those that a person has put in their place, once the conversation has them */
  readonly arguments: unknown
  /** when it started; where that was missed, when it was first heard of */
  readonly startedAt: number
  readonly startMissed: boolean
  /** from here on it is in the background */
  readonly released: { readonly at: number; readonly by: SessionEvent.ToolCallReleased["by"] } | undefined
  readonly updates: ReadonlyArray<Update>
  readonly progress: { readonly at: number; readonly value: unknown } | undefined
  readonly approval: Approval | undefined
  readonly messages: ReadonlyArray<Message>
  /** how many of them nobody had read when it ended */
  readonly lost: number
  readonly ended:
    | {
        readonly id: string
        readonly at: number
        /** unknown: the session is closed, and the end was missed */
        readonly status: "done" | "error" | "cancelled" | "unknown"
        readonly output: unknown
      }
    | undefined
  /** when the agent first spoke about its output, in the turn that asked for the call */
  readonly answeredAt: number | undefined
  /** events were missed since it was last heard of: it may have ended */
  readonly uncertain: boolean
}

/** A deferred reply: which updates and results it covered, and how it ended. */
export interface Reply {
  readonly id: string
  readonly itemIds: ReadonlyArray<string>
  /** undefined where it was dropped before it was formed */
  readonly scheduledAt: number | undefined
  readonly text: string
  readonly ended:
    | {
        readonly at: number
        /** unknown: the end was missed */
        readonly status: "completed" | "interrupted" | "skipped" | "failed" | "dropped" | "unknown"
      }
    | undefined
}

/** What the agent did, from when to when. */
export interface Span {
  readonly state: "thinking" | "speaking"
  readonly from: number
  readonly to: number | undefined
}

/** The user had the floor, from when to when. */
export interface Turn {
  readonly from: number
  readonly to: number | undefined
}

export interface View {
  /** the times of the first and of the newest event */
  readonly from: number | undefined
  readonly at: number | undefined
  readonly agent: string | undefined
  readonly agentState: "listening" | "thinking" | "speaking"
  readonly userState: "listening" | "speaking"
  /** what was understood so far of the turn that the user is speaking */
  readonly partial: string | undefined
  readonly turns: ReadonlyArray<Turn>
  readonly lines: ReadonlyArray<Line>
  /** in the order in which they started */
  readonly calls: ReadonlyArray<Call>
  /** in the order in which they were formed */
  readonly replies: ReadonlyArray<Reply>
  readonly spans: ReadonlyArray<Span>
  /** speeches that have not ended */
  readonly speeches: ReadonlyArray<{ readonly id: string; readonly source: "say" | "reply" | "tool-reply" }>
  /** calls whose output the model has, and that the agent has not spoken about in their turn */
  readonly unanswered: ReadonlyArray<string>
  readonly missed: number
  readonly closed: boolean
}

export const empty: View = {
  from: undefined,
  at: undefined,
  agent: undefined,
  agentState: "listening",
  userState: "listening",
  partial: undefined,
  turns: [],
  lines: [],
  calls: [],
  replies: [],
  spans: [],
  speeches: [],
  unanswered: [],
  missed: 0,
  closed: false
}

// --- the fold -------------------------------------------------------------------------------------------------------

const say = (view: View, line: Line): View => ({ ...view, lines: [...view.lines, line] })

const unknown = (callId: string, at: number): Call => ({
  callId,
  name: undefined,
  arguments: {},
  startedAt: at,
  startMissed: true,
  released: undefined,
  updates: [],
  progress: undefined,
  approval: undefined,
  messages: [],
  lost: 0,
  ended: undefined,
  answeredAt: undefined,
  uncertain: false
})

/** Changes a call. One whose start was missed appears here. */
const change = (view: View, event: { readonly callId: string; readonly at: number }, f: (call: Call) => Call): View => {
  const index = view.calls.findLastIndex(({ callId }) => callId === event.callId)
  const known = view.calls[index]
  if (known !== undefined) return { ...view, calls: view.calls.with(index, f({ ...known, uncertain: false })) }
  const calls = [...view.calls, f(unknown(event.callId, event.at))]
  return say({ ...view, calls }, { _tag: "Called", at: event.at, callId: event.callId })
}

const changeReply = (view: View, id: string, f: (reply: Reply | undefined) => Reply): View => {
  const index = view.replies.findLastIndex((reply) => reply.id === id)
  const known = view.replies[index]
  if (known !== undefined) return { ...view, replies: view.replies.with(index, f(known)) }
  return { ...view, replies: [...view.replies, f(undefined)] }
}

const endSpan = (view: View, at: number): View => {
  const last = view.spans.at(-1)
  return last === undefined || last.to !== undefined
    ? view
    : { ...view, spans: view.spans.with(-1, { ...last, to: at }) }
}

const endTurn = (view: View, at: number): View => {
  const last = view.turns.at(-1)
  const next = { ...view, partial: undefined }
  return last === undefined || last.to !== undefined
    ? next
    : { ...next, turns: view.turns.with(-1, { ...last, to: at }) }
}

/** The text, and what came with it. */
const words = ({ files = [], text }: ChatContext.Message): string =>
  [text, ...files.map((file) => `[${file.name ?? file.mediaType}]`)].filter((part) => part !== "").join(" ")

/** What is written of a call that was approved with other arguments has those. */
const edited = (view: View, item: ChatContext.FunctionCall): View => {
  const index = view.calls.findLastIndex(
    ({ approval, callId }) =>
      approval?.decided?.decision === "edited" && (item.callId === callId || item.callId.startsWith(`${callId}_`))
  )
  const call = view.calls[index]
  return call === undefined ? view : { ...view, calls: view.calls.with(index, { ...call, arguments: item.arguments }) }
}

const item = (view: View, { at, item }: Extract<Event, { readonly _tag: "ItemAdded" }>): View => {
  switch (item._tag) {
    case "Message": {
      const written = words(item)
      const said = { _tag: "Said", id: item.id, at, text: written, interrupted: item.interrupted } as const
      if (item.role !== "assistant") {
        const heard = item.role === "user" ? { ...view, partial: undefined } : view
        return say(heard, { ...said, who: item.role, agent: undefined, replyId: undefined })
      }
      const filler = view.speeches.some(({ source }) => source === "say")
      const reply = filler ? undefined : view.replies.find(({ ended }) => ended === undefined)
      let next = view
      if (reply !== undefined) {
        const text = reply.text === "" ? written : `${reply.text} ${written}`
        next = changeReply(next, reply.id, () => ({ ...reply, text }))
      }
      if (!filler && view.unanswered.length > 0) {
        const calls = next.calls.map((call) =>
          view.unanswered.includes(call.callId) && call.answeredAt === undefined ? { ...call, answeredAt: at } : call
        )
        next = { ...next, calls, unanswered: [] }
      }
      return say(next, { ...said, who: "agent", agent: view.agent, replyId: reply?.id })
    }
    case "FunctionCall": {
      // the pairs of later updates repeat what was asked for: enough to name a call whose start was missed
      const nameless = view.calls.findLast(
        ({ callId, name }) => name === undefined && (item.callId === callId || item.callId.startsWith(`${callId}_`))
      )
      if (nameless === undefined) return edited(view, item)
      return change(view, { callId: nameless.callId, at }, (call) => ({
        ...call,
        name: item.name,
        arguments: item.arguments
      }))
    }
    case "FunctionCallOutput":
      return view.calls.some(({ callId }) => callId === item.callId)
        ? { ...view, unanswered: [...view.unanswered, item.callId] }
        : view
    case "Reasoning":
    case "AgentHandoff":
      return view
  }
}

const happened = (view: View, event: Event): View => {
  const { at } = event
  switch (event._tag) {
    case "UserStateChanged": {
      const { state } = event
      const next = endTurn({ ...view, userState: state }, at)
      return state === "listening" ? next : { ...next, turns: [...next.turns, { from: at, to: undefined }] }
    }
    case "AgentStateChanged": {
      const next = endSpan({ ...view, agentState: event.state }, at)
      const { state } = event
      return state === "listening" ? next : { ...next, spans: [...next.spans, { state, from: at, to: undefined }] }
    }
    case "SpeechCreated":
      return { ...view, speeches: [...view.speeches, { id: event.speechId, source: event.source }] }
    case "SpeechEnded": {
      const ended = view.speeches.find(({ id }) => id === event.speechId)
      return {
        ...view,
        speeches: view.speeches.filter(({ id }) => id !== event.speechId),
        unanswered: ended?.source === "say" ? view.unanswered : []
      }
    }
    // what was written is shown once it counts
    case "StepEnded":
    case "TextDelta":
    case "ReasoningDelta":
    case "ToolInputDelta":
      return view
    case "UserTurnPartial":
      return { ...view, partial: event.text }
    case "ToolCallMessaged": {
      const { from, message } = event
      return change(view, event, (call) => ({ ...call, messages: [...call.messages, { at, from, message }] }))
    }
    case "ToolCallMessagesLost":
      return change(view, event, (call) => ({ ...call, lost: call.lost + event.count }))
    case "ItemAdded":
      return item(view, event)
    case "ToolCallStarted": {
      const { arguments: args, callId, name } = event.call
      const call: Call = { ...unknown(callId, at), name, arguments: args, startMissed: false }
      return say({ ...view, calls: [...view.calls, call] }, { _tag: "Called", at, callId })
    }
    case "ToolCallUpdated":
      return change(view, event, (call) => ({
        ...call,
        updates: [...call.updates, { id: event.id, at, message: event.message, dropped: false }]
      }))
    case "ToolCallProgress":
      return change(view, event, (call) => ({ ...call, progress: { at, value: event.value } }))
    case "ToolCallReleased":
      return change(view, event, (call) => ({ ...call, released: { at, by: event.by } }))
    case "ApprovalRequested": {
      const { call, expiresAt, reason } = event
      return change(view, { at, callId: call.callId }, (known) => ({
        ...known,
        // its start may have been missed
        name: call.name,
        arguments: call.arguments,
        approval: { at, reason, expiresAt, decided: undefined }
      }))
    }
    case "ApprovalDecided": {
      const { by, decision, reason } = event
      return change(view, event, (call) => ({
        ...call,
        approval: {
          ...(call.approval ?? { at, reason: undefined, expiresAt: undefined }),
          decided: { at, decision, by, reason }
        }
      }))
    }
    case "ToolCallEnded": {
      const { id, output, status } = event
      return change(view, event, (call) => ({ ...call, ended: { id, at, status, output } }))
    }
    case "UpdateDropped":
      return change(view, event, (call) => ({
        ...call,
        updates: call.updates.map((update) => (update.id === event.id ? { ...update, dropped: true } : update))
      }))
    case "ReplyScheduled": {
      const { replyId: id, updateIds: itemIds } = event
      return changeReply(view, id, () => ({ id, itemIds, scheduledAt: at, text: "", ended: undefined }))
    }
    case "ReplyEnded": {
      const { replyId: id, status, updateIds: itemIds } = event
      return changeReply(view, id, (reply) => ({
        ...(reply ?? { id, itemIds, scheduledAt: undefined, text: "" }),
        ended: { at, status }
      }))
    }
    case "AgentHandoff":
      return say({ ...view, agent: event.to }, { _tag: "HandedOff", at, from: event.from, to: event.to })
    case "SessionError":
      return say(view, { _tag: "Trouble", at, message: event.error.message })
    case "EventsMissed":
      return say(
        {
          ...view,
          missed: view.missed + event.count,
          partial: undefined,
          calls: view.calls.map((call) => (call.ended === undefined ? { ...call, uncertain: true } : call)),
          // what these were about may be over
          speeches: [],
          unanswered: [],
          replies: view.replies.map((reply) =>
            reply.ended === undefined ? { ...reply, ended: { at, status: "unknown" as const } } : reply
          )
        },
        { _tag: "Missed", at, count: event.count }
      )
    case "SessionClosed": {
      const calls = view.calls.map(
        (call): Call =>
          call.ended === undefined
            ? { ...call, ended: { id: call.callId, at, status: "unknown", output: undefined } }
            : call
      )
      const ended = endTurn(endSpan({ ...view, calls, agentState: "listening", closed: true }, at), at)
      return say({ ...ended, userState: "listening" }, { _tag: "Closed", at })
    }
  }
}

/** The view after one more event. */
export const step = (view: View, event: Event): View =>
  happened({ ...view, from: view.from ?? event.at, at: event.at }, event)

export const fold = (events: Iterable<Event>): View => {
  let view = empty
  for (const event of events) view = step(view, event)
  return view
}

// --- what is read from it -------------------------------------------------------------------------------------------

export const running = (view: View): ReadonlyArray<Call> => view.calls.filter(({ ended }) => ended === undefined)

/** It waits until somebody agrees. */
export const waits = ({ approval, ended }: Call): boolean =>
  approval !== undefined && approval.decided === undefined && ended === undefined

/** Who has the floor: while the user has it nothing new begins, whatever the agent still says. */
export const floor = (view: View): "user" | "agent" | "nobody" =>
  view.userState === "speaking" ? "user" : view.agentState === "speaking" ? "agent" : "nobody"

/** Whether time matters to what is shown: something works or is being said. */
export const isBusy = (view: View): boolean =>
  !view.closed &&
  (view.agentState !== "listening" ||
    view.userState === "speaking" ||
    view.calls.some(({ ended }) => ended === undefined))

/** The newest reply that covered each update and each result. */
export const covers = (view: View): ReadonlyMap<string, Reply> => {
  const map = new Map<string, Reply>()
  for (const reply of view.replies) for (const id of reply.itemIds) map.set(id, reply)
  return map
}

/** The items of a call that somebody may voice: its updates and, if it has ended, its result. */
export const itemIds = (call: Call): ReadonlyArray<string> => [
  ...new Set([...call.updates.map(({ id }) => id), ...(call.ended === undefined ? [] : [call.ended.id])])
]

/** What a call told last, as one line: its progress or its last update, whichever is newer. */
export const latest = (call: Call): string | undefined => {
  const update = call.updates.at(-1)
  if (call.progress !== undefined && (update === undefined || call.progress.at >= update.at)) {
    const part = percent(call.progress.value)
    return part === undefined ? brief(call.progress.value) : `${part} %`
  }
  return update === undefined ? undefined : brief(update.message)
}

/** How much is done, where the progress of a call says so: `{ percent }`, `{ done | moved, of | total }`. */
export const percent = (value: unknown): number | undefined => {
  if (typeof value !== "object" || value === null) return undefined
  const fields = value as Readonly<Record<string, unknown>>
  const part = fields.percent ?? ratio(fields.done ?? fields.moved, fields.of ?? fields.total)
  return typeof part === "number" && Number.isFinite(part) ? Math.min(100, Math.max(0, Math.round(part))) : undefined
}
const ratio = (part: unknown, whole: unknown) =>
  typeof part === "number" && typeof whole === "number" && whole > 0 ? (100 * part) / whole : undefined

/** A value as one short line. */
export const brief = (value: unknown): string => {
  if (value === undefined || value === null) return ""
  if (typeof value === "string") return value.split("\n")[0] ?? ""
  if (typeof value !== "object") return String(value)
  if (Array.isArray(value)) return value.map(brief).join(", ")
  return Object.entries(value)
    .filter(([, part]) => part !== null && part !== undefined)
    .map(([key, part]) => `${key}: ${typeof part === "object" ? `(${brief(part)})` : String(part)}`)
    .join(", ")
}

/** A duration for people: `< 0.1 s`, `0.4 s`, `12 s`, `3:05`, `1:02:03`. */
export const duration = (millis: number): string => {
  const seconds = Math.max(0, millis) / 1000
  if (seconds < 0.05) return "< 0.1 s"
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`
  if (Math.round(seconds) < 60) return `${Math.round(seconds)} s`
  const whole = Math.round(seconds)
  const two = (n: number) => String(n).padStart(2, "0")
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60]
  return hours > 0 ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`
}
