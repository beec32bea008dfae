/**
 * What happens in a session, as tagged values with a Schema. `AgentSession.Service.events` is their stream.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { ChatItem, ToolCall } from "./ChatContext.js"

interface Base {
  /** Milliseconds of Effect's `Clock`. */
  readonly at: number
}

/**
 * An event of a session.
 *
 * @since 0.1.0
 * @category models
 */
export type SessionEvent = Base &
  (
    | { readonly _tag: "UserStateChanged"; readonly state: "speaking" | "listening" }
    | { readonly _tag: "AgentStateChanged"; readonly state: "listening" | "thinking" | "speaking" }
    | { readonly _tag: "SpeechCreated"; readonly speechId: string; readonly source: "say" | "reply" | "tool-reply" }
    | { readonly _tag: "SpeechEnded"; readonly speechId: string; readonly interrupted: boolean }
    | { readonly _tag: "ItemAdded"; readonly item: ChatItem }
    | { readonly _tag: "ToolCallStarted"; readonly call: ToolCall }
    | { readonly _tag: "ToolCallUpdated"; readonly id: string; readonly callId: string; readonly message: unknown }
    | { readonly _tag: "ToolCallProgress"; readonly callId: string; readonly value: unknown }
    | { readonly _tag: "ToolCallReleased"; readonly callId: string; readonly by: "update" | "timer" | "model" }
    | {
        readonly _tag: "ToolCallEnded"
        readonly id: string
        readonly callId: string
        readonly status: "done" | "error" | "cancelled"
        readonly output: unknown
      }
    | {
        readonly _tag: "ReplyScheduled"
        readonly replyId: string
        readonly speechId?: string
        readonly updateIds: ReadonlyArray<string>
      }
    | {
        readonly _tag: "ReplyEnded"
        readonly replyId: string
        readonly speechId?: string
        readonly updateIds: ReadonlyArray<string>
        readonly status: "completed" | "interrupted" | "skipped" | "failed" | "dropped"
      }
    | { readonly _tag: "UpdateDropped"; readonly id: string; readonly callId: string }
    | { readonly _tag: "AgentHandoff"; readonly from: string | undefined; readonly to: string }
    | { readonly _tag: "SessionError"; readonly error: { readonly tag: string; readonly message: string } }
    | { readonly _tag: "EventsMissed"; readonly count: number }
    | { readonly _tag: "SessionClosed" }
  )

const at = { at: Schema.Number }
const speechId = Schema.optionalWith(Schema.String, { exact: true })

/**
 * The Schema of `SessionEvent`, for events that are stored or sent.
 *
 * @since 0.1.0
 * @category schemas
 */
export const SessionEvent: Schema.Schema<SessionEvent, any> = Schema.Union(
  Schema.TaggedStruct("UserStateChanged", { ...at, state: Schema.Literal("speaking", "listening") }),
  Schema.TaggedStruct("AgentStateChanged", { ...at, state: Schema.Literal("listening", "thinking", "speaking") }),
  Schema.TaggedStruct("SpeechCreated", {
    ...at,
    speechId: Schema.String,
    source: Schema.Literal("say", "reply", "tool-reply")
  }),
  Schema.TaggedStruct("SpeechEnded", { ...at, speechId: Schema.String, interrupted: Schema.Boolean }),
  Schema.TaggedStruct("ItemAdded", { ...at, item: ChatItem }),
  Schema.TaggedStruct("ToolCallStarted", { ...at, call: ToolCall }),
  Schema.TaggedStruct("ToolCallUpdated", {
    ...at,
    id: Schema.String,
    callId: Schema.String,
    message: Schema.Unknown
  }),
  Schema.TaggedStruct("ToolCallProgress", { ...at, callId: Schema.String, value: Schema.Unknown }),
  Schema.TaggedStruct("ToolCallReleased", {
    ...at,
    callId: Schema.String,
    by: Schema.Literal("update", "timer", "model")
  }),
  Schema.TaggedStruct("ToolCallEnded", {
    ...at,
    id: Schema.String,
    callId: Schema.String,
    status: Schema.Literal("done", "error", "cancelled"),
    output: Schema.Unknown
  }),
  Schema.TaggedStruct("ReplyScheduled", {
    ...at,
    replyId: Schema.String,
    speechId,
    updateIds: Schema.Array(Schema.String)
  }),
  Schema.TaggedStruct("ReplyEnded", {
    ...at,
    replyId: Schema.String,
    speechId,
    updateIds: Schema.Array(Schema.String),
    status: Schema.Literal("completed", "interrupted", "skipped", "failed", "dropped")
  }),
  Schema.TaggedStruct("UpdateDropped", { ...at, id: Schema.String, callId: Schema.String }),
  Schema.TaggedStruct("AgentHandoff", { ...at, from: Schema.optional(Schema.String), to: Schema.String }),
  Schema.TaggedStruct("SessionError", {
    ...at,
    error: Schema.Struct({ tag: Schema.String, message: Schema.String })
  }),
  Schema.TaggedStruct("EventsMissed", { ...at, count: Schema.Number }),
  Schema.TaggedStruct("SessionClosed", at)
) as any
