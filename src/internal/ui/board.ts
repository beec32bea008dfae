/**
 * What a page is told of a session (rules V): a state, and functions that change it. Events of the session go in, chunks
 * of messages come out. No Effect, no clock, no fiber; who reads the messages is the shell's business.
 */
import type { SessionEvent } from "../../SessionEvent.js"
import type { CallData, MessageMetadata, UiChunk } from "./chunks.js"

/** A message of the protocol, without its `start`, which each reader gets with an id of its own. */
export interface Message {
  /** set when it begins */
  id: string
  begun: boolean
  readonly chunks: Array<UiChunk>
  done: boolean
  /** somebody has read it to its end, or it was ended by what the page has sent since */
  delivered: boolean
  /** how many read it */
  readers: number
  /** nothing but data: a page shows nothing of it */
  silent: boolean
  metadata: MessageMetadata | undefined
  failed: boolean
}

interface Call {
  readonly name: string
  /** the message that shows it */
  message: string | undefined
  /** somebody has decided that it does not run: nothing more is to be told of it */
  denied: boolean
  /** the next update is that of edited arguments, which is for the model */
  edited: boolean
  /** the page has been told that it goes on */
  going: boolean
}

/** What an open POST waits for. */
interface Turn {
  readonly message: Message
  /** what was sent; undefined: a decision */
  readonly text: string | undefined
  /** of the answer, once it is asked for */
  speechId: string | undefined
  /** calls that were decided about, and of which nothing has come since */
  readonly awaited: Set<string>
}

export interface Board {
  readonly keep: number
  messages: Array<Message>
  /** what is said is written here */
  open: Message | undefined
  turn: Turn | undefined
  /** messages that were sent, until the session says that it has them */
  expected: ReadonlyArray<Turn>
  /** events were lost: what is open is not known to the end */
  missed: boolean
  readonly speeches: Set<string>
  readonly calls: Map<string, Call>
  /** what is to be told of calls that earlier messages show, until there is a message for it */
  readonly late: Map<string, CallData>
  step: { speechId: string; text: string | undefined; reasoning: string | undefined } | undefined
  parts: number
  lastItem: string | undefined
  /** what is written comes piece by piece */
  deltas: boolean
}

/** Calls of which something may still be told; beyond that the oldest are forgotten. */
const maxCalls = 1024

export const make = (keep: number, lastItem: string | undefined): Board => ({
  keep,
  messages: [],
  open: undefined,
  turn: undefined,
  expected: [],
  missed: false,
  speeches: new Set(),
  calls: new Map(),
  late: new Map(),
  step: undefined,
  parts: 0,
  lastItem,
  deltas: false
})

// ------------------------------------------------------------------------------------------------------------ messages

/** The id of what is said behind an item; `toMessages` comes to the same. */
export const idBehind = (item: string | undefined): string => `${item ?? "start"}_answer`

const freshId = (b: Board): string => {
  const id = idBehind(b.lastItem)
  for (let n = 1; ; n++) {
    const candidate = n === 1 ? id : `${id}_${n}`
    if (b.messages.every((message) => message.id !== candidate)) return candidate
  }
}

const add = (b: Board, id: string | undefined): Message => {
  const message: Message = {
    id: id ?? "",
    begun: id !== undefined,
    chunks: [],
    done: false,
    delivered: false,
    readers: 0,
    silent: false,
    metadata: undefined,
    failed: false
  }
  b.messages.push(message)
  // the oldest one goes, whether it was read or not (rule V6)
  while (b.messages.length > b.keep) {
    const at = b.messages.findIndex((one) => one !== b.open && one !== message && one.readers === 0)
    if (at < 0) break
    b.messages.splice(at, 1)
  }
  return message
}

const isDelta = (chunk: UiChunk): chunk is Extract<UiChunk, { readonly delta: string }> => "delta" in chunk

const push = (message: Message, chunk: UiChunk): void => {
  const last = message.chunks[message.chunks.length - 1]
  // while nobody reads, a long text is one chunk
  if (message.readers === 0 && last !== undefined && isDelta(last) && isDelta(chunk) && last.id === chunk.id) {
    message.chunks[message.chunks.length - 1] = { ...last, delta: last.delta + chunk.delta }
    return
  }
  message.chunks.push(chunk)
}

/** Where something is said: what is open, or a new message that nobody has asked for. */
const opened = (b: Board): Message => {
  if (b.open !== undefined) return b.open
  b.open = add(b, freshId(b))
  tellLate(b, b.open)
  return b.open
}

const tellLate = (b: Board, message: Message): void => {
  for (const data of b.late.values()) push(message, { type: "data-call", id: data.toolCallId, data, transient: true })
  b.late.clear()
}

const closeParts = (b: Board): void => {
  const { open, step } = b
  if (open === undefined || step === undefined) return
  if (step.text !== undefined) push(open, { type: "text-end", id: step.text })
  if (step.reasoning !== undefined) push(open, { type: "reasoning-end", id: step.reasoning })
  step.text = undefined
  step.reasoning = undefined
}

const endStep = (b: Board): void => {
  const { open, step } = b
  if (open === undefined || step === undefined) return
  closeParts(b)
  push(open, { type: "finish-step" })
  b.step = undefined
}

const stepOf = (b: Board, speechId: string): NonNullable<Board["step"]> => {
  const message = opened(b)
  if (b.step !== undefined && b.step.speechId !== speechId) endStep(b)
  if (b.step === undefined) {
    b.step = { speechId, text: undefined, reasoning: undefined }
    push(message, { type: "start-step" })
  }
  return b.step
}

const reasons = new Set(["stop", "length", "content-filter", "tool-calls", "error", "other"])
type Reason = NonNullable<Extract<UiChunk, { readonly type: "finish" }>["finishReason"]>

/** The message is complete. */
export const finish = (b: Board, reason?: string): void => {
  const { open } = b
  if (open === undefined) return
  endStep(b)
  if (open.failed) push(open, { type: "error", errorText: generalError })
  const finishReason = open.failed
    ? "error"
    : reason !== undefined && reasons.has(reason)
      ? (reason as Reason)
      : undefined
  push(open, {
    type: "finish",
    ...(finishReason === undefined ? {} : { finishReason }),
    ...(open.metadata === undefined ? {} : { messageMetadata: open.metadata })
  })
  open.done = true
  if (b.turn?.message === open) b.turn = undefined
  b.open = undefined
}

/** What a model or a provider says of its failure is nobody's on a page (rule V9). */
export const generalError = "The answer could not be completed. Please try again."

// ------------------------------------------------------------------------------------------------------------ requests

/** A user's message is about to be sent. What is open goes on until the session has it (rule V2). */
export const expect = (b: Board, text: string): Message => {
  const message = add(b, undefined)
  b.expected = [...b.expected, turnOf(message, text)]
  return message
}

const turnOf = (message: Message, text: string | undefined): Turn => ({
  message,
  text,
  speechId: undefined,
  awaited: new Set()
})

/** The session has it: what was open is complete, and what is said from here on is the answer. */
const begin = (b: Board, turn: Turn): void => {
  supersede(b)
  b.expected = b.expected.filter((one) => one !== turn)
  turn.message.id = freshId(b)
  turn.message.begun = true
  b.open = turn.message
  b.turn = turn
  tellLate(b, turn.message)
}

/** A decision has come: the message that shows the call goes on (rule V7). */
export const beginDecision = (
  b: Board,
  target: string,
  calls: ReadonlyArray<{ readonly callId: string; readonly name: string }>
): { readonly message: Message; readonly from: number } => {
  const known = b.messages.findLast(({ id }) => id === target)
  if (known === undefined || known !== b.open) supersede(b)
  const message = known ?? add(b, freshId(b))
  // what comes now is behind what the page has of it
  if (message.done) {
    message.chunks.pop()
    message.done = false
    message.failed = false
    message.metadata = undefined
  }
  const from = message.chunks.length
  message.delivered = false
  b.open = message
  tellLate(b, message)
  for (const { callId, name } of calls) callOf(b, callId, name).message = message.id
  if (b.turn?.message !== message) {
    b.turn = turnOf(message, undefined)
  }
  return { message, from }
}

const supersede = (b: Board): void => {
  const { open } = b
  if (open === undefined) return
  finish(b)
  // the page has asked for something else since: what nobody reads of it is asked for by a GET
  if (open.readers > 0) open.delivered = true
}

/** The session has refused the message: nothing is said of it. */
export const withdraw = (b: Board, message: Message): void => {
  if (b.open === message) return finish(b)
  b.expected = b.expected.filter((turn) => turn.message !== message)
  b.messages = b.messages.filter((one) => one !== message)
}

/** The message had been sent before, so nothing comes of it. */
export const endUnanswered = (b: Board, message: Message): void => {
  const turn = b.expected.find((one) => one.message === message)
  if (turn === undefined) return
  begin(b, turn)
  finish(b)
}

/** A person is about to decide. */
export const deciding = (b: Board, callId: string, name: string): void => {
  callOf(b, callId, name)
  b.turn?.awaited.add(callId)
}

/** A person has decided: the part of the call goes on at once, unless more is known of it already (rule V7). */
export const decided = (b: Board, callId: string, approved: boolean): void => {
  const call = b.calls.get(callId)
  if (call === undefined || call.going || call.denied) return
  if (approved) {
    tell(b, callId, call, { state: "output-available", output: null, preliminary: true })
    call.going = true
  } else {
    tell(b, callId, call, { state: "output-denied" })
    call.denied = true
  }
}

/** What has been decided does not fit: the page is asked once more. */
export const askAgain = (b: Board, callId: string, name: string, descriptor: unknown): void => {
  b.turn?.awaited.delete(callId)
  tell(b, callId, callOf(b, callId, name), { state: "approval-requested", approval: { id: callId, descriptor } })
}

/** How a call stands that somebody else has decided about. */
export const stands = (b: Board, callId: string, name: string, how: Told): void => {
  b.turn?.awaited.delete(callId)
  tell(b, callId, callOf(b, callId, name), how)
}

/** The decisions of an open POST have been waited for long enough. */
export const endDecision = (b: Board, message: Message): void => {
  if (b.turn?.message !== message || b.turn.text !== undefined) return
  b.turn.awaited.clear()
  rest(b)
}

/** The session has closed. */
export const close = (b: Board): void => {
  for (const turn of b.expected) begin(b, turn)
  finish(b)
  b.speeches.clear()
  b.calls.clear()
  flush(b)
}

/** The oldest message that a GET may have, whole (rule V6). */
export const waiting = (b: Board): Message | undefined =>
  b.messages.find(({ delivered, readers, chunks }) => !delivered && readers === 0 && chunks.length > 0)

/** Somebody reads the answer to a POST. */
export const isAnswering = ({ turn }: Board): boolean => turn !== undefined && turn.message.readers > 0

// --------------------------------------------------------------------------------------------------------------- calls

type Told = Omit<CallData, "toolCallId" | "toolName">

const callOf = (b: Board, callId: string, name: string): Call => {
  const known = b.calls.get(callId)
  if (known !== undefined) return known
  const call: Call = { name, message: undefined, denied: false, edited: false, going: false }
  b.calls.set(callId, call)
  if (b.calls.size > maxCalls) b.calls.delete(b.calls.keys().next().value as string)
  return call
}

/** A call that earlier messages show. */
export const know = (b: Board, callId: string, name: string): void => void callOf(b, callId, name)

const chunkOf = (toolCallId: string, told: Told): UiChunk => {
  switch (told.state) {
    case "approval-requested":
      return {
        type: "tool-approval-request",
        approvalId: toolCallId,
        toolCallId,
        ...(told.approval?.descriptor === undefined ? {} : { approvalDescriptor: told.approval.descriptor })
      }
    case "output-denied":
      return { type: "tool-output-denied", toolCallId }
    case "output-error":
      return { type: "tool-output-error", toolCallId, errorText: told.errorText ?? "" }
    case "output-available":
      return {
        type: "tool-output-available",
        toolCallId,
        output: told.output ?? null,
        ...(told.preliminary === true ? { preliminary: true } : {})
      }
  }
}

/** A chunk of its own where the message has the call; data for all else, which a chat takes at any time (rule V4). */
const tell = (b: Board, callId: string, call: Call, told: Told): void => {
  if (b.open !== undefined && call.message === b.open.id && told.input === undefined) {
    push(b.open, chunkOf(callId, told))
    return
  }
  const before = b.late.get(callId)
  const data: CallData = {
    toolCallId: callId,
    toolName: call.name,
    ...(before?.input === undefined ? {} : { input: before.input }),
    ...told
  }
  if (b.open === undefined) b.late.set(callId, data)
  else push(b.open, { type: "data-call", id: callId, data, transient: true })
}

const textOf = (value: unknown): string => (typeof value === "string" ? value : (JSON.stringify(value) ?? "It failed."))

export const outcome = (status: "done" | "error" | "cancelled", output: unknown): Told =>
  status === "done"
    ? { state: "output-available", output: output ?? null }
    : { state: "output-error", errorText: status === "cancelled" ? "It was cancelled." : textOf(output) }

// -------------------------------------------------------------------------------------------------------------- events

/** What came at once; a reply that a result has is among it. */
export const tellAll = (b: Board, events: Iterable<SessionEvent>): void => {
  for (const event of events) take(b, event)
  rest(b)
}

/** Nobody speaks and nobody is about to. */
const rest = (b: Board): void => {
  if (b.speeches.size > 0) return
  const { open, turn } = b
  if (open !== undefined) {
    if (turn?.message !== open) finish(b)
    else if (turn.text === undefined && turn.awaited.size === 0) finish(b)
  }
  flush(b)
}

/** What no reply tells is a message of its own, of data only. */
const flush = (b: Board): void => {
  if (b.open !== undefined || b.late.size === 0) return
  const last = b.messages[b.messages.length - 1]
  if (last?.silent === true && !last.delivered && last.readers === 0) {
    const data = last.chunks.filter((chunk) => !(chunk.type === "data-call" && b.late.has(chunk.data.toolCallId)))
    last.chunks.length = 0
    for (const chunk of data) if (chunk.type !== "finish") last.chunks.push(chunk)
    tellLate(b, last)
    last.chunks.push({ type: "finish" })
    return
  }
  const message = add(b, freshId(b))
  message.silent = true
  message.done = true
  tellLate(b, message)
  message.chunks.push({ type: "finish" })
}

const writeText = (b: Board, speechId: string, text: string): void => {
  const step = stepOf(b, speechId)
  const message = opened(b)
  if (step.text === undefined) {
    if (step.reasoning !== undefined) closeParts(b)
    step.text = `text_${++b.parts}`
    push(message, { type: "text-start", id: step.text })
  }
  push(message, { type: "text-delta", id: step.text, delta: text })
}

const fileUrl = (data: string | URL, mediaType: string): string =>
  typeof data === "string" ? `data:${mediaType};base64,${data}` : data.href

const take = (b: Board, event: SessionEvent): void => {
  switch (event._tag) {
    case "SpeechCreated": {
      b.speeches.add(event.speechId)
      if (event.source !== "reply") return
      // the answer is asked for right behind the message, or right before it while another speech is still being cut
      const { expected, turn } = b
      const asks = [...(turn?.text === undefined ? [] : [turn]), ...expected].find((one) => one.speechId === undefined)
      if (asks !== undefined) asks.speechId = event.speechId
      return
    }
    case "TextDelta":
      b.deltas = true
      b.speeches.add(event.speechId)
      return writeText(b, event.speechId, event.text)
    case "ReasoningDelta": {
      b.speeches.add(event.speechId)
      const step = stepOf(b, event.speechId)
      const message = opened(b)
      if (step.reasoning === undefined) {
        if (step.text !== undefined) closeParts(b)
        step.reasoning = `reasoning_${++b.parts}`
        push(message, { type: "reasoning-start", id: step.reasoning })
      }
      return push(message, { type: "reasoning-delta", id: step.reasoning, delta: event.text })
    }
    case "StepEnded": {
      if (b.step?.speechId === event.speechId) endStep(b)
      const message = b.open
      if (message === undefined) return
      const { agent, model, usage } = event
      const sum: Record<string, number> = { ...message.metadata?.usage }
      for (const [key, count] of Object.entries(usage ?? {})) sum[key] = (sum[key] ?? 0) + count
      message.metadata = {
        agent,
        ...(model === undefined ? {} : { model }),
        ...(Object.keys(sum).length === 0 ? {} : { usage: sum })
      }
      return
    }
    case "SpeechEnded": {
      b.speeches.delete(event.speechId)
      if (b.step?.speechId === event.speechId) endStep(b)
      const { open, turn } = b
      if (turn?.speechId === event.speechId) finish(b, "stop")
      else if (open !== undefined && turn?.message !== open && b.speeches.size === 0) finish(b, "stop")
      return
    }
    case "ItemAdded":
      return added(b, event)
    case "ToolCallStarted": {
      const { callId, name, arguments: input } = event.call
      const call = callOf(b, callId, name)
      const message = opened(b)
      closeParts(b)
      call.message = message.id
      return push(message, { type: "tool-input-available", toolCallId: callId, toolName: name, input: input ?? {} })
    }
    case "ApprovalRequested": {
      const { call, expiresAt, reason } = event
      const descriptor = {
        ...(reason === undefined ? {} : { reason }),
        ...(expiresAt === undefined ? {} : { expiresAt })
      }
      return tell(b, call.callId, callOf(b, call.callId, call.name), {
        state: "approval-requested",
        approval: { id: call.callId, ...(Object.keys(descriptor).length === 0 ? {} : { descriptor }) }
      })
    }
    case "ApprovalDecided": {
      const call = b.calls.get(event.callId)
      if (call === undefined || call.denied) return
      if (event.decision === "denied" || event.decision === "expired") {
        tell(b, event.callId, call, { state: "output-denied" })
        call.denied = true
      } else if (event.decision === "approved" || event.decision === "edited") {
        call.edited = event.decision === "edited"
        if (!call.going) tell(b, event.callId, call, { state: "output-available", output: null, preliminary: true })
        call.going = true
      }
      return
    }
    case "ToolCallUpdated": {
      const call = b.calls.get(event.callId)
      if (call === undefined) return
      if (call.edited) return
      b.turn?.awaited.delete(event.callId)
      call.going = true
      return tell(b, event.callId, call, {
        state: "output-available",
        output: event.message ?? null,
        preliminary: true
      })
    }
    case "ToolCallReleased": {
      const call = b.calls.get(event.callId)
      if (call === undefined || call.going || event.by === "update" || event.by === "approval") return
      call.going = true
      return tell(b, event.callId, call, { state: "output-available", output: null, preliminary: true })
    }
    case "ToolCallProgress":
      // of interest only while somebody looks (rule V5)
      if (b.open !== undefined && b.open.readers > 0) {
        push(b.open, {
          type: "data-progress",
          id: event.callId,
          data: { toolCallId: event.callId, value: event.value ?? null },
          transient: true
        })
      }
      return
    case "ToolCallEnded": {
      const call = b.calls.get(event.callId)
      b.turn?.awaited.delete(event.callId)
      if (call === undefined) return
      b.calls.delete(event.callId)
      if (!call.denied) tell(b, event.callId, call, outcome(event.status, event.output))
      return
    }
    case "SessionError":
      if (b.open !== undefined && event.error.tag !== "OnItemsFailed") b.open.failed = true
      return
    case "EventsMissed":
      b.missed = true
      b.speeches.clear()
      return
    case "AgentStateChanged":
      if (!b.missed || event.state !== "listening") return
      b.missed = false
      b.speeches.clear()
      return finish(b)
    case "SessionClosed":
      return close(b)
    default:
  }
}

const added = (b: Board, { item }: Extract<SessionEvent, { readonly _tag: "ItemAdded" }>): void => {
  b.lastItem = item.id
  if (item._tag === "FunctionCall") {
    const of = /^(.+)_update_\d+(?:_\d+)?$/s.exec(item.callId)?.[1]
    const call = of === undefined ? undefined : b.calls.get(of)
    if (of === undefined || call?.edited !== true) return
    call.edited = false
    return tell(b, of, call, {
      state: "output-available",
      output: null,
      preliminary: true,
      input: item.arguments
    })
  }
  if (item._tag !== "Message") return
  if (item.role === "user") {
    const turn = b.expected.find(({ text }) => text === item.text)
    if (turn !== undefined) begin(b, turn)
    return
  }
  if (item.role !== "assistant") return
  const speechId = b.step?.speechId ?? Array.from(b.speeches).at(0) ?? "speech"
  for (const file of item.files ?? []) {
    if (file.omitted !== undefined) continue
    stepOf(b, speechId)
    closeParts(b)
    push(opened(b), { type: "file", url: fileUrl(file.data, file.mediaType), mediaType: file.mediaType })
  }
  // a session that tells no deltas
  if (!b.deltas && item.text !== "") {
    writeText(b, speechId, item.text)
    closeParts(b)
  }
}
