/**
 * What happens in a session, as tagged values with a Schema. `AgentSession.Service.events` is their stream. In all of
 * them, `at` is milliseconds of Effect's `Clock`.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { ChatItem, AgentHandoff as HandoffItem, ToolCall } from "./ChatContext.js"

const at = Schema.Number
const speechId = Schema.optionalWith(Schema.String, { exact: true })

/**
 * The Schema of `UserStateChanged`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const UserStateChanged = Schema.TaggedStruct("UserStateChanged", {
  at,
  state: Schema.Literal("speaking", "listening")
})

/**
 * The user began to speak, or stopped.
 *
 * @since 0.1.0
 * @category models
 */
export interface UserStateChanged extends Schema.Schema.Type<typeof UserStateChanged> {}

/**
 * The Schema of `UserTurnPartial`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const UserTurnPartial = Schema.TaggedStruct("UserTurnPartial", {
  at,
  text: Schema.String
})

/**
 * What was understood so far of a turn that the user is speaking (`session.userTurn`). Each one replaces the one before.
 *
 * @since 0.1.0
 * @category models
 */
export interface UserTurnPartial extends Schema.Schema.Type<typeof UserTurnPartial> {}

/**
 * The Schema of `AgentStateChanged`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const AgentStateChanged = Schema.TaggedStruct("AgentStateChanged", {
  at,
  state: Schema.Literal("listening", "thinking", "speaking")
})

/**
 * The agent began to listen, to think or to speak.
 *
 * @since 0.1.0
 * @category models
 */
export interface AgentStateChanged extends Schema.Schema.Type<typeof AgentStateChanged> {}

/**
 * The Schema of `SpeechCreated`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const SpeechCreated = Schema.TaggedStruct("SpeechCreated", {
  at,
  speechId: Schema.String,
  source: Schema.Literal("say", "reply", "tool-reply")
})

/**
 * A speech was queued. Its source `tool-reply` is a deferred reply to updates and results.
 *
 * @since 0.1.0
 * @category models
 */
export interface SpeechCreated extends Schema.Schema.Type<typeof SpeechCreated> {}

/**
 * The Schema of `SpeechEnded`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const SpeechEnded = Schema.TaggedStruct("SpeechEnded", {
  at,
  speechId: Schema.String,
  interrupted: Schema.Boolean
})

/**
 * A speech has been played, or was interrupted.
 *
 * @since 0.1.0
 * @category models
 */
export interface SpeechEnded extends Schema.Schema.Type<typeof SpeechEnded> {}

const count = Schema.optionalWith(Schema.Number, { exact: true })

/**
 * The Schema of `Usage`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Usage = Schema.Struct({
  inputTokens: count,
  outputTokens: count,
  totalTokens: count,
  reasoningTokens: count,
  cachedInputTokens: count
})

/**
 * What models say that they have used, in tokens. A field that no model reported is absent, and never 0; a sum is made
 * field by field, of those that reported it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Usage extends Schema.Schema.Type<typeof Usage> {}

/**
 * The Schema of `StepEnded`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const StepEnded = Schema.TaggedStruct("StepEnded", {
  at,
  speechId: Schema.String,
  agent: Schema.String,
  model: Schema.optionalWith(Schema.String, { exact: true }),
  finishReason: Schema.optionalWith(Schema.String, { exact: true }),
  usage: Schema.optionalWith(Usage, { exact: true })
})

/**
 * The model's answer to one request is over: it is complete, it failed, or it was cut; what was written may still be
 * played. Each request has one, also one that is asked again, and one that was cut before it was sent. `model` is what the model calls itself; `finishReason` and
 * `usage` are absent if the model has not come to report them.
 *
 * @since 0.1.0
 * @category models
 */
export interface StepEnded extends Schema.Schema.Type<typeof StepEnded> {}

/**
 * The Schema of `TextDelta`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const TextDelta = Schema.TaggedStruct("TextDelta", {
  at,
  speechId: Schema.String,
  text: Schema.String
})

/**
 * A piece of a text as a model, or `say`, writes it, before it is played; only with `deltas: true`. `ItemAdded` says what
 * counts: of a speech that is cut, of a step that is asked for again and of one that failed, that may be less.
 *
 * @since 0.1.0
 * @category models
 */
export interface TextDelta extends Schema.Schema.Type<typeof TextDelta> {}

/**
 * The Schema of `ReasoningDelta`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const ReasoningDelta = Schema.TaggedStruct("ReasoningDelta", {
  at,
  speechId: Schema.String,
  text: Schema.String
})

/**
 * A piece of what the model thinks, as it comes; only with `deltas: true`.
 *
 * @since 0.1.0
 * @category models
 */
export interface ReasoningDelta extends Schema.Schema.Type<typeof ReasoningDelta> {}

/**
 * The Schema of `ToolInputDelta`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const ToolInputDelta = Schema.TaggedStruct("ToolInputDelta", {
  at,
  speechId: Schema.String,
  callId: Schema.String,
  text: Schema.String
})

/**
 * A piece of the JSON of a call's arguments, as the model writes it; only with `deltas: true`, and only if the model gives
 * it piece by piece. The call itself comes as `ToolCallStarted` with the same `callId`, or not at all if the step is cut.
 *
 * @since 0.1.0
 * @category models
 */
export interface ToolInputDelta extends Schema.Schema.Type<typeof ToolInputDelta> {}

/**
 * The Schema of `ItemAdded`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const ItemAdded = Schema.TaggedStruct("ItemAdded", {
  at,
  item: ChatItem
})

/**
 * The history has one more item.
 *
 * @since 0.1.0
 * @category models
 */
export interface ItemAdded extends Schema.Schema.Type<typeof ItemAdded> {}

/**
 * `ItemAdded` as it is sent, with the item as it is stored.
 *
 * @since 0.1.0
 * @category models
 */
export interface ItemAddedEncoded extends Schema.Schema.Encoded<typeof ItemAdded> {}

/**
 * The Schema of `ToolCallStarted`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const ToolCallStarted = Schema.TaggedStruct("ToolCallStarted", {
  at,
  call: ToolCall
})

/**
 * The model called a tool.
 *
 * @since 0.1.0
 * @category models
 */
export interface ToolCallStarted extends Schema.Schema.Type<typeof ToolCallStarted> {}

/**
 * The Schema of `ToolCallUpdated`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const ToolCallUpdated = Schema.TaggedStruct("ToolCallUpdated", {
  at,
  id: Schema.String,
  callId: Schema.String,
  message: Schema.Unknown
})

/**
 * A handler sent an update. `id` is that of the update, `callId` that of the call.
 *
 * @since 0.1.0
 * @category models
 */
export interface ToolCallUpdated extends Schema.Schema.Type<typeof ToolCallUpdated> {}

/**
 * The Schema of `ToolCallProgress`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const ToolCallProgress = Schema.TaggedStruct("ToolCallProgress", {
  at,
  callId: Schema.String,
  value: Schema.Unknown
})

/**
 * A handler told its progress, which the model does not see.
 *
 * @since 0.1.0
 * @category models
 */
export interface ToolCallProgress extends Schema.Schema.Type<typeof ToolCallProgress> {}

/**
 * The Schema of `ToolCallReleased`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const ToolCallReleased = Schema.TaggedStruct("ToolCallReleased", {
  at,
  callId: Schema.String,
  by: Schema.Literal("update", "timer", "model", "handler", "program", "approval")
})

/**
 * A call left its turn and goes on in the background; by `approval`, it waits until somebody agrees.
 *
 * @since 0.1.0
 * @category models
 */
export interface ToolCallReleased extends Schema.Schema.Type<typeof ToolCallReleased> {}

/**
 * The Schema of `ToolCallMessaged`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const ToolCallMessaged = Schema.TaggedStruct("ToolCallMessaged", {
  at,
  callId: Schema.String,
  from: Schema.Literal("model", "program"),
  message: Schema.Unknown
})

/**
 * A call has got a message, by `message_task` or by `messageTool`: the message as it was sent, before the tool's own schema
 * read it. Of joined calls, `callId` is the one that the sender named.
 *
 * @since 0.1.0
 * @category models
 */
export interface ToolCallMessaged extends Schema.Schema.Type<typeof ToolCallMessaged> {}

/**
 * The Schema of `ToolCallMessagesLost`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const ToolCallMessagesLost = Schema.TaggedStruct("ToolCallMessagesLost", {
  at,
  callId: Schema.String,
  count: Schema.Number
})

/**
 * A call is about to end, and `count` messages that were sent to it have not been read.
 *
 * @since 0.1.0
 * @category models
 */
export interface ToolCallMessagesLost extends Schema.Schema.Type<typeof ToolCallMessagesLost> {}

/**
 * The Schema of `ApprovalRequested`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const ApprovalRequested = Schema.TaggedStruct("ApprovalRequested", {
  at,
  call: ToolCall,
  reason: Schema.optionalWith(Schema.String, { exact: true }),
  expiresAt: Schema.optionalWith(Schema.Number, { exact: true })
})

/**
 * A call waits until somebody agrees. `reason` is that of the policy; at `expiresAt` nobody is asked any longer.
 *
 * @since 0.1.0
 * @category models
 */
export interface ApprovalRequested extends Schema.Schema.Type<typeof ApprovalRequested> {}

/**
 * The Schema of `ApprovalDecided`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const ApprovalDecided = Schema.TaggedStruct("ApprovalDecided", {
  at,
  callId: Schema.String,
  decision: Schema.Literal("approved", "edited", "denied", "answered", "expired", "withdrawn"),
  by: Schema.optionalWith(Schema.String, { exact: true }),
  reason: Schema.optionalWith(Schema.String, { exact: true })
})

/**
 * A call waits for approval no longer, as each that waited is told of once. `approved` and `edited`: it goes on to run;
 * the others end it. `by` and `reason` are what `approve`, `deny` or `respond` was given.
 *
 * @since 0.1.0
 * @category models
 */
export interface ApprovalDecided extends Schema.Schema.Type<typeof ApprovalDecided> {}

/**
 * The Schema of `ToolCallEnded`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const ToolCallEnded = Schema.TaggedStruct("ToolCallEnded", {
  at,
  id: Schema.String,
  callId: Schema.String,
  status: Schema.Literal("done", "error", "cancelled"),
  output: Schema.Unknown
})

/**
 * A call has ended, as each call does once. `id` is that of the result, `callId` that of the call.
 *
 * @since 0.1.0
 * @category models
 */
export interface ToolCallEnded extends Schema.Schema.Type<typeof ToolCallEnded> {}

/**
 * The Schema of `ReplyScheduled`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const ReplyScheduled = Schema.TaggedStruct("ReplyScheduled", {
  at,
  replyId: Schema.String,
  speechId,
  updateIds: Schema.Array(Schema.String)
})

/**
 * A deferred reply was formed of these updates and results.
 *
 * @since 0.1.0
 * @category models
 */
export interface ReplyScheduled extends Schema.Schema.Type<typeof ReplyScheduled> {}

/**
 * The Schema of `ReplyEnded`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const ReplyEnded = Schema.TaggedStruct("ReplyEnded", {
  at,
  replyId: Schema.String,
  speechId,
  updateIds: Schema.Array(Schema.String),
  status: Schema.Literal("completed", "interrupted", "skipped", "failed", "dropped")
})

/**
 * A deferred reply has come to its end.
 *
 * @since 0.1.0
 * @category models
 */
export interface ReplyEnded extends Schema.Schema.Type<typeof ReplyEnded> {}

/**
 * The Schema of `UpdateDropped`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const UpdateDropped = Schema.TaggedStruct("UpdateDropped", {
  at,
  id: Schema.String,
  callId: Schema.String
})

/**
 * Too many updates of a call waited: the oldest one left the queue and the history.
 *
 * @since 0.1.0
 * @category models
 */
export interface UpdateDropped extends Schema.Schema.Type<typeof UpdateDropped> {}

/**
 * The Schema of `AgentHandoff`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const AgentHandoff = Schema.TaggedStruct("AgentHandoff", {
  at,
  from: HandoffItem.fields.from,
  to: Schema.String
})

/**
 * Another agent took over. `from` is undefined if nobody spoke before.
 *
 * @since 0.1.0
 * @category models
 */
export interface AgentHandoff extends Schema.Schema.Type<typeof AgentHandoff> {}

/**
 * `AgentHandoff` as it is sent: without `from` if that is undefined.
 *
 * @since 0.1.0
 * @category models
 */
export interface AgentHandoffEncoded extends Schema.Schema.Encoded<typeof AgentHandoff> {}

/**
 * The Schema of `SessionError`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const SessionError = Schema.TaggedStruct("SessionError", {
  at,
  error: Schema.Struct({ tag: Schema.String, message: Schema.String })
})

/**
 * A model or an output failed. The session goes on.
 *
 * @since 0.1.0
 * @category models
 */
export interface SessionError extends Schema.Schema.Type<typeof SessionError> {}

/**
 * The Schema of `EventsMissed`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const EventsMissed = Schema.TaggedStruct("EventsMissed", {
  at,
  count: Schema.Number
})

/**
 * This subscriber fell behind, and lost the oldest `count` events that waited for it.
 *
 * @since 0.1.0
 * @category models
 */
export interface EventsMissed extends Schema.Schema.Type<typeof EventsMissed> {}

/**
 * The Schema of `SessionClosed`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const SessionClosed = Schema.TaggedStruct("SessionClosed", { at })

/**
 * The session has ended. No event follows.
 *
 * @since 0.1.0
 * @category models
 */
export interface SessionClosed extends Schema.Schema.Type<typeof SessionClosed> {}

/**
 * An event of a session.
 *
 * @since 0.1.0
 * @category models
 */
export type SessionEvent =
  | UserStateChanged
  | UserTurnPartial
  | AgentStateChanged
  | SpeechCreated
  | SpeechEnded
  | StepEnded
  | TextDelta
  | ReasoningDelta
  | ToolInputDelta
  | ItemAdded
  | ToolCallStarted
  | ToolCallUpdated
  | ToolCallProgress
  | ToolCallReleased
  | ToolCallMessaged
  | ToolCallMessagesLost
  | ApprovalRequested
  | ApprovalDecided
  | ToolCallEnded
  | ReplyScheduled
  | ReplyEnded
  | UpdateDropped
  | AgentHandoff
  | SessionError
  | EventsMissed
  | SessionClosed

/**
 * An event as it is stored or sent.
 *
 * @since 0.1.0
 * @category models
 */
export type SessionEventEncoded =
  | Exclude<SessionEvent, ItemAdded | AgentHandoff>
  | ItemAddedEncoded
  | AgentHandoffEncoded

/**
 * The Schema of `SessionEvent`, for events that are stored or sent.
 *
 * @since 0.1.0
 * @category schemas
 */
export const SessionEvent: Schema.Schema<SessionEvent, SessionEventEncoded> = Schema.Union(
  UserStateChanged,
  UserTurnPartial,
  AgentStateChanged,
  SpeechCreated,
  SpeechEnded,
  StepEnded,
  TextDelta,
  ReasoningDelta,
  ToolInputDelta,
  ItemAdded,
  ToolCallStarted,
  ToolCallUpdated,
  ToolCallProgress,
  ToolCallReleased,
  ToolCallMessaged,
  ToolCallMessagesLost,
  ApprovalRequested,
  ApprovalDecided,
  ToolCallEnded,
  ReplyScheduled,
  ReplyEnded,
  UpdateDropped,
  AgentHandoff,
  SessionError,
  EventsMissed,
  SessionClosed
)
