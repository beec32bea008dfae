/**
 * Messages to a call at work (rules G1 to G4): its inbox, which is bounded, and what becomes of what nobody has read.
 */
import { isApproving } from "./cancelling.js"
import { letterSent } from "./durable.js"
import { allWoken, type Call, emit, none, observe, type Run, type State, type Tool, type Waiters } from "./state.js"
import { inboxFull, noMessages, stopping, waitsForApproval } from "./texts.js"

/** A message that no reader has taken. */
export interface Letter {
  /** under whose id it was sent: joined calls share an inbox */
  readonly call: Call
  /** the shell's: as the handler gets it */
  readonly value: unknown
  /** as it was sent */
  readonly message: unknown
}

export interface Inbox {
  /** oldest first (bounded by `maxMessages`) */
  readonly unread: Array<Letter>
  /** told once there is a message, or the call has ended */
  readers: Waiters
}

/** What somebody sends, read by the shell. */
export interface Sent {
  readonly from: "model" | "program"
  /** as it was sent, for those who listen: JSON */
  readonly message: unknown
  readonly value: unknown
}

export const takesMessages = ({ kind, options }: Tool): boolean => kind === "user" && options.messages !== undefined

/** None: nobody can send anything, and nothing is paid. */
export const inboxFor = (tool: Tool): Inbox | undefined =>
  takesMessages(tool) ? { unread: [], readers: none } : undefined

/** Why the call takes no message now (rule G3). */
export const whyNotNow = (s: State, { call, callId, run }: Call): string | undefined => {
  if (run?.inbox === undefined) return noMessages(callId, call.name)
  if (run.stop !== undefined) return stopping(callId)
  if (isApproving(run)) return waitsForApproval(callId)
  const { length } = run.inbox.unread
  return length >= s.options.maxMessages ? inboxFull(callId, length) : undefined
}

export const put = (s: State, call: Call, { from, message, value }: Sent): void => {
  const inbox = call.run?.inbox
  if (inbox === undefined) return
  inbox.unread.push({ call, value, message })
  if (s.durable !== undefined && call.run !== undefined) letterSent(s.durable, call.run, message)
  inbox.readers = allWoken(s, inbox.readers)
  emit(s, { _tag: "ToolCallMessaged", callId: call.callId, from, message })
  observe(s, { _tag: "CallMessaged", call, from, message })
}

/** A reader takes the oldest one: nobody else gets it. */
export const take = (inbox: Inbox): Letter | undefined => inbox.unread.shift()

/** The call shares another's run, and its inbox: what fits goes over, as long as that call reads the same (rule G4). */
export const moveTo = (s: State, other: Run, own: Run): void => {
  const { inbox } = own
  if (inbox === undefined || inbox.unread.length === 0) return
  const to = other.inbox
  if (to === undefined || other.stop !== undefined || other.tool.options.messages !== own.tool.options.messages) return
  const room = s.options.maxMessages - to.unread.length
  if (room <= 0) return
  for (const letter of inbox.unread.splice(0, room)) {
    to.unread.push(letter)
    if (s.durable !== undefined) letterSent(s.durable, other, letter.message)
  }
  to.readers = allWoken(s, to.readers)
}

/** The run has ended, and so have its messages; what is unread is lost, and told of. */
export const closeInbox = (s: State, { inbox }: Run): void => {
  if (inbox === undefined) return
  inbox.readers = allWoken(s, inbox.readers)
  if (inbox.unread.length === 0) return
  const counts = new Map<Call, number>()
  for (const { call } of inbox.unread.splice(0)) counts.set(call, (counts.get(call) ?? 0) + 1)
  for (const [call, count] of counts) {
    emit(s, { _tag: "ToolCallMessagesLost", callId: call.callId, count })
    observe(s, { _tag: "MessagesLost", call, count })
  }
}
