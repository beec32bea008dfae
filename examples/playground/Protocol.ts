/**
 * What goes over the wire between the server of the playground and its page. The events are those of the library.
 */
import { Schema } from "effect"
import { SessionEvent } from "effect-meantime/SessionEvent"

export const AgentInfo = Schema.Struct({
  name: Schema.String,
  title: Schema.String,
  about: Schema.String,
  /** things to say to it */
  suggestions: Schema.Array(Schema.String)
})
export type AgentInfo = typeof AgentInfo.Type

/** What the page knows of a tool. */
export const ToolInfo = Schema.Struct({
  name: Schema.String,
  /** the JSON Schema of its parameters */
  schema: Schema.Unknown,
  /** its running calls can be told something */
  takesMessages: Schema.Boolean
})
export type ToolInfo = typeof ToolInfo.Type

/** A call that waits until somebody agrees. */
export const Waiting = Schema.Struct({
  callId: Schema.String,
  name: Schema.String,
  arguments: Schema.Unknown,
  reason: Schema.optional(Schema.String),
  expiresAt: Schema.optional(Schema.Number)
})
export type Waiting = typeof Waiting.Type

/** The first frame of a stream, and that of each new conversation. */
export const Hello = Schema.Struct({
  conversation: Schema.String,
  agent: Schema.String,
  agents: Schema.Array(AgentInfo),
  /** those of the agent that are known; calls of others are shown as JSON */
  tools: Schema.Array(ToolInfo),
  model: Schema.String,
  /** the stream goes on where the page had left it; otherwise the conversation comes from its beginning */
  resumed: Schema.Boolean,
  /** the time of the conversation, and how fast it passes */
  now: Schema.Number,
  rate: Schema.Number,
  /** the server has a recording to show */
  recording: Schema.Boolean
})
export type Hello = typeof Hello.Type

/** What is being said: what was written of it, how much of that was played, and whether it is paused. */
export const Saying = Schema.Struct({
  speech: Schema.String,
  text: Schema.String,
  played: Schema.Number,
  paused: Schema.Boolean
})
export type Saying = typeof Saying.Type

/** What was written of a message that was cut, and not heard. */
export const Unheard = Schema.Struct({ itemId: Schema.String, text: Schema.String })
export type Unheard = typeof Unheard.Type

/** What is true at the moment, and in no event. Only the newest one counts. */
export const Status = Schema.Struct({
  now: Schema.Number,
  saying: Schema.NullOr(Saying),
  /** of the newest messages that were cut */
  unheard: Schema.Array(Unheard),
  /** the calls that may be cancelled */
  cancellable: Schema.Array(Schema.String),
  /** the calls that wait until somebody agrees, oldest first */
  approvals: Schema.Array(Waiting)
})
export type Status = typeof Status.Type

/** The names of the frames in the stream of server-sent events, and what each one holds. */
export const frames = {
  hello: Schema.parseJson(Hello),
  happened: Schema.parseJson(SessionEvent),
  status: Schema.parseJson(Status)
}

export const Say = Schema.Struct({
  conversation: Schema.String,
  text: Schema.String.pipe(Schema.filter((text) => text.trim() !== "" && text.length <= 8000))
})
/** What the user is about to say. The first one takes the floor; each one keeps it for a while. */
export const Speak = Schema.Struct({
  conversation: Schema.String,
  text: Schema.String.pipe(Schema.maxLength(8000))
})
/** The user says nothing after all, and gives the floor back. */
export const Hush = Schema.Struct({ conversation: Schema.String })
export const Cancel = Schema.Struct({ conversation: Schema.String, callId: Schema.String })
/** It runs; with other arguments, if there are some. */
export const Approve = Schema.Struct({
  conversation: Schema.String,
  callId: Schema.String,
  arguments: Schema.optional(Schema.Unknown)
})
/** It does not run. */
export const Deny = Schema.Struct({
  conversation: Schema.String,
  callId: Schema.String,
  reason: Schema.optional(Schema.String.pipe(Schema.maxLength(2000)))
})
/** A running call is told something. */
export const Tell = Schema.Struct({
  conversation: Schema.String,
  callId: Schema.String,
  text: Schema.String.pipe(Schema.filter((text) => text.trim() !== "" && text.length <= 8000))
})
export const Start = Schema.Struct({ agent: Schema.String })

/** What the server answers to a request that it does not carry out. */
export const Refusal = Schema.Struct({ message: Schema.String })
