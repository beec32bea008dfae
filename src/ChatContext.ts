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
import * as Option from "effect/Option"
import * as ParseResult from "effect/ParseResult"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as internal from "./internal/model/prompt.js"
import { ModelView } from "./Tags.js"

export { ModelView }

/**
 * The Schema of a `ToolCall`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const ToolCall = Schema.Struct({
  callId: Schema.String,
  name: Schema.String,
  arguments: Schema.Unknown
})

/**
 * A request of the model to run a tool. `arguments` is decoded JSON, as the model sent it; `{}` if the model sent no
 * object.
 *
 * @since 0.1.0
 * @category models
 */
export interface ToolCall extends Schema.Schema.Type<typeof ToolCall> {}

// Not a `Schema.Record`, which copies: a key named `__proto__` would become the prototype of the copy.
const Metadata = Schema.optionalWith(
  Schema.declare((u): u is Record<string, unknown> => Predicate.isRecord(u), {
    identifier: "Metadata",
    jsonSchema: { type: "object" },
    arbitrary: () => (fc) => fc.dictionary(fc.string(), fc.anything())
  }),
  { exact: true }
)

const optionalText = Schema.optionalWith(Schema.String, { exact: true })

const about = { mediaType: Schema.String, name: optionalText, omitted: optionalText }

/**
 * The Schema of a `File`. What is stored says `data` for base64 and `url` for an address.
 *
 * @since 0.1.0
 * @category schemas
 */
export const File: Schema.Schema<File, FileEncoded> = Schema.transformOrFail(
  Schema.Union(Schema.Struct({ data: Schema.String, ...about }), Schema.Struct({ url: Schema.String, ...about })),
  Schema.Struct({ data: Schema.Union(Schema.String, Schema.URLFromSelf), ...about }),
  {
    strict: true,
    decode: (stored, _, ast) => {
      if (!("url" in stored)) return ParseResult.succeed(stored)
      const { url, ...rest } = stored
      return ParseResult.try({
        try: () => ({ data: new URL(url), ...rest }),
        catch: () => new ParseResult.Type(ast, stored, "the url of a file is none")
      })
    },
    encode: ({ data, ...rest }) =>
      ParseResult.succeed(typeof data === "string" ? { data, ...rest } : { url: data.href, ...rest })
  }
)

/**
 * A file in a conversation.
 *
 * @since 0.1.0
 * @category models
 */
export interface File {
  /** Base64 if it is a text; an address is a `URL`, never a text. */
  readonly data: string | URL
  /** Such as `image/png`. */
  readonly mediaType: string
  readonly name?: string
  /**
   * Why the file is not here: it had too many bytes, or could not be read. `data` is empty then, and the model is told.
   * The session sets it.
   */
  readonly omitted?: string
}

/**
 * A `File` as it is stored.
 *
 * @since 0.1.0
 * @category models
 */
export type FileEncoded = {
  readonly mediaType: string
  readonly name?: string
  readonly omitted?: string
} & ({ readonly data: string } | { readonly url: string })

const files = Schema.optionalWith(Schema.Array(File), { exact: true })

/**
 * The Schema of a `Message`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Message = Schema.TaggedStruct("Message", {
  id: Schema.String,
  role: Schema.Literal("user", "assistant", "system"),
  text: Schema.String,
  interrupted: Schema.Boolean,
  author: Schema.optionalWith(Schema.String, { exact: true }),
  metadata: Metadata,
  files,
  createdAt: Schema.Number
})

/**
 * What someone said, or sent. If `interrupted` is true, the speech was cut, and `text` is what had been played. A file
 * that a model sends is a message of its own, without text. `author` is which of several users said it; the model is shown
 * the name in front of the text.
 *
 * @since 0.1.0
 * @category models
 */
export interface Message extends Schema.Schema.Type<typeof Message> {}

/**
 * A `Message` as it is stored.
 *
 * @since 0.1.0
 * @category models
 */
export interface MessageEncoded extends Schema.Schema.Encoded<typeof Message> {}

/**
 * The Schema of `Reasoning`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Reasoning = Schema.TaggedStruct("Reasoning", {
  id: Schema.String,
  text: Schema.String,
  metadata: Metadata,
  createdAt: Schema.Number
})

/**
 * What the model thought before the part that follows.
 *
 * @since 0.1.0
 * @category models
 */
export interface Reasoning extends Schema.Schema.Type<typeof Reasoning> {}

/**
 * The Schema of a `FunctionCall`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const FunctionCall = Schema.TaggedStruct("FunctionCall", {
  id: Schema.String,
  callId: Schema.String,
  name: Schema.String,
  arguments: Schema.Unknown,
  metadata: Metadata,
  createdAt: Schema.Number
})

/**
 * A call of a tool, or of one of its updates, which has a `callId` of its own.
 *
 * @since 0.1.0
 * @category models
 */
export interface FunctionCall extends Schema.Schema.Type<typeof FunctionCall> {}

/**
 * The Schema of a `FunctionCallOutput`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const FunctionCallOutput = Schema.TaggedStruct("FunctionCallOutput", {
  id: Schema.String,
  callId: Schema.String,
  name: Schema.String,
  output: Schema.Unknown,
  isError: Schema.Boolean,
  open: Schema.optionalWith(Schema.Literal("running", "approval"), { exact: true }),
  files,
  createdAt: Schema.Number
})

/**
 * The output of the `FunctionCall` with the same `callId`, and the files that came with it. With `open` it is not the end
 * of the call: that goes on (`running`), or waits until somebody agrees (`approval`), until the history has its end,
 * `<callId>_final`. A session that goes on with a history (`resume`) tells by it which calls were at work.
 *
 * @since 0.1.0
 * @category models
 */
export interface FunctionCallOutput extends Schema.Schema.Type<typeof FunctionCallOutput> {}

/**
 * A `FunctionCallOutput` as it is stored.
 *
 * @since 0.1.0
 * @category models
 */
export interface FunctionCallOutputEncoded extends Schema.Schema.Encoded<typeof FunctionCallOutput> {}

const Name = Schema.UndefinedOr(Schema.String)

/**
 * The Schema of an `AgentHandoff`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const AgentHandoff = Schema.TaggedStruct("AgentHandoff", {
  id: Schema.String,
  // JSON has no `undefined`: what is always there in a program is left out when it is written.
  from: Schema.optionalToRequired(Name, Name, {
    decode: Option.getOrUndefined,
    encode: Option.fromNullable
  }),
  to: Schema.String,
  task: Schema.optionalWith(Schema.Boolean, { exact: true }),
  createdAt: Schema.Number
})

/**
 * Another agent took over. `from` is undefined if nobody spoke before. `task` is true if it is a task that begins or ends:
 * the agent around it waits, and comes back.
 *
 * @since 0.1.0
 * @category models
 */
export interface AgentHandoff extends Schema.Schema.Type<typeof AgentHandoff> {}

/**
 * An `AgentHandoff` as it is stored: without `from` if that is undefined.
 *
 * @since 0.1.0
 * @category models
 */
export interface AgentHandoffEncoded extends Schema.Schema.Encoded<typeof AgentHandoff> {}

/**
 * One item of a conversation. Times are milliseconds of Effect's `Clock`. `metadata` is what the provider attached to
 * the part; it goes back to the provider unchanged.
 *
 * @since 0.1.0
 * @category models
 */
export type ChatItem = Message | Reasoning | FunctionCall | FunctionCallOutput | AgentHandoff

/**
 * A `ChatItem` as it is stored.
 *
 * @since 0.1.0
 * @category models
 */
export type ChatItemEncoded =
  | MessageEncoded
  | Reasoning
  | FunctionCall
  | FunctionCallOutputEncoded
  | AgentHandoffEncoded

/**
 * The Schema of a `ChatItem`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const ChatItem: Schema.Schema<ChatItem, ChatItemEncoded> = Schema.Union(
  Message,
  Reasoning,
  FunctionCall,
  FunctionCallOutput,
  AgentHandoff
)

/**
 * JSON encoding of a whole conversation, provider metadata included.
 *
 * @since 0.1.0
 * @category schemas
 */
export const ChatContext = Schema.Struct({ items: Schema.Array(ChatItem) })

/**
 * A conversation.
 *
 * @since 0.1.0
 * @category models
 */
export interface ChatContext extends Schema.Schema.Type<typeof ChatContext> {}

/**
 * A conversation as it is stored.
 *
 * @since 0.1.0
 * @category models
 */
export interface ChatContextEncoded extends Schema.Schema.Encoded<typeof ChatContext> {}

/**
 * The prompt of a conversation for a `LanguageModel`: provider metadata becomes the parts' options, and every call is
 * followed by exactly one result.
 *
 * @since 0.1.0
 * @category conversions
 */
export const toPrompt = (self: ChatContext): Prompt.Prompt => internal.build({ items: self.items })
