/**
 * The conversation as data: messages, reasoning, function calls with their outputs, and hand-offs, in the order in
 * which they happened. A `ChatContext` has a Schema, so that it can be stored and given to a new session.
 *
 * ```ts
 * import { ChatContext } from "effect-meantime"
 * import { Schema } from "effect"
 *
 * const stored = Schema.encodeSync(ChatContext.ChatContext)({ items: [] })
 * const restored = Schema.decodeUnknownSync(ChatContext.ChatContext)(stored)
 * ```
 *
 * @since 0.1.0
 */
import type * as Prompt from "@effect/ai/Prompt"
import * as Schema from "effect/Schema"
import * as internal from "./internal/model/prompt.js"
import { ModelView } from "./Tags.js"

export { ModelView }

/**
 * A request of the model to run a tool.
 *
 * @since 0.1.0
 * @category models
 */
export interface ToolCall {
  readonly callId: string
  readonly name: string
  /** Decoded JSON, as the model sent it; `{}` if the model sent no object. */
  readonly arguments: unknown
}

/**
 * The Schema of a `ToolCall`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const ToolCall: Schema.Schema<ToolCall> = Schema.Struct({
  callId: Schema.String,
  name: Schema.String,
  arguments: Schema.Unknown
}) as any

/**
 * One item of a conversation. Times are milliseconds of Effect's `Clock`. `metadata` is what the provider attached to
 * the part; it goes back to the provider unchanged.
 *
 * @since 0.1.0
 * @category models
 */
export type ChatItem =
  | {
      readonly _tag: "Message"
      readonly id: string
      readonly role: "user" | "assistant" | "system"
      readonly text: string
      /** The speech was cut, and `text` has only the words that had been played. */
      readonly interrupted: boolean
      readonly metadata?: Record<string, unknown>
      readonly createdAt: number
    }
  | {
      readonly _tag: "Reasoning"
      readonly id: string
      readonly text: string
      readonly metadata?: Record<string, unknown>
      readonly createdAt: number
    }
  | {
      readonly _tag: "FunctionCall"
      readonly id: string
      readonly callId: string
      readonly name: string
      readonly arguments: unknown
      readonly metadata?: Record<string, unknown>
      readonly createdAt: number
    }
  | {
      readonly _tag: "FunctionCallOutput"
      readonly id: string
      readonly callId: string
      readonly name: string
      readonly output: unknown
      readonly isError: boolean
      readonly createdAt: number
    }
  | {
      readonly _tag: "AgentHandoff"
      readonly id: string
      readonly from: string | undefined
      readonly to: string
      readonly createdAt: number
    }

const Metadata = Schema.optionalWith(Schema.Record({ key: Schema.String, value: Schema.Unknown }), { exact: true })

/**
 * The Schema of a `ChatItem`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const ChatItem: Schema.Schema<ChatItem, any> = Schema.Union(
  Schema.TaggedStruct("Message", {
    id: Schema.String,
    role: Schema.Literal("user", "assistant", "system"),
    text: Schema.String,
    interrupted: Schema.Boolean,
    metadata: Metadata,
    createdAt: Schema.Number
  }),
  Schema.TaggedStruct("Reasoning", {
    id: Schema.String,
    text: Schema.String,
    metadata: Metadata,
    createdAt: Schema.Number
  }),
  Schema.TaggedStruct("FunctionCall", {
    id: Schema.String,
    callId: Schema.String,
    name: Schema.String,
    arguments: Schema.Unknown,
    metadata: Metadata,
    createdAt: Schema.Number
  }),
  Schema.TaggedStruct("FunctionCallOutput", {
    id: Schema.String,
    callId: Schema.String,
    name: Schema.String,
    output: Schema.Unknown,
    isError: Schema.Boolean,
    createdAt: Schema.Number
  }),
  Schema.TaggedStruct("AgentHandoff", {
    id: Schema.String,
    from: Schema.optional(Schema.String),
    to: Schema.String,
    createdAt: Schema.Number
  })
) as any

/**
 * A conversation.
 *
 * @since 0.1.0
 * @category models
 */
export interface ChatContext {
  readonly items: ReadonlyArray<ChatItem>
}

/**
 * JSON encoding of a whole conversation, provider metadata included.
 *
 * @since 0.1.0
 * @category schemas
 */
export const ChatContext: Schema.Schema<ChatContext, any> = Schema.Struct({ items: Schema.Array(ChatItem) })

/**
 * The prompt of a conversation for a `LanguageModel`: provider metadata becomes the parts' options, and every call is
 * followed by exactly one result.
 *
 * @since 0.1.0
 * @category conversions
 */
export const toPrompt = (self: ChatContext): Prompt.Prompt => internal.build({ items: self.items })
