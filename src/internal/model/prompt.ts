/**
 * From the history to a prompt: every call is answered exactly once and right after it (rule M3), metadata becomes the
 * parts' options (M2), reasoning goes with the part it came with, and what is not the user's is framed (M5).
 */
import * as Prompt from "@effect/ai/Prompt"
import * as Hash from "effect/Hash"
import type { ChatContext, ChatItem } from "../../ChatContext.js"
import { isRecord } from "../values/json.js"
import { hasItemId, ours, withoutItemId } from "../values/metadata.js"
import type { Provider } from "./providers.js"

export const viewAll = (context: ChatContext): ChatContext => context

export interface View {
  readonly items: ReadonlyArray<ChatItem>
  /** the whole conversation, where `items` is a part of it */
  readonly all?: ReadonlyArray<ChatItem> | undefined
  readonly instructions?: string
  /** the output to show for a call that has none yet */
  readonly placeholder?: ((callId: string) => Result | undefined) | undefined
  /** what this reply adds; the last message */
  readonly note?: string | undefined
  /** what the provider wants */
  readonly provider?: Provider
  /** a note is needed where the conversation would end with the assistant */
  readonly request?: boolean
  /** remembers the messages of what can no longer change */
  readonly cache?: Cache | undefined
}

/**
 * The messages of the beginning of a conversation: up to a point at which every call has its output, so that nothing
 * that comes later can change them. A long conversation is then converted once, not once for each model step.
 */
export interface Cache {
  /** how many items the messages are made of */
  items: number
  /** the model signs its calls */
  signed: boolean
  readonly messages: Array<Prompt.Message>
}

export const makeCache = (): Cache => ({ items: 0, signed: false, messages: [] })

type Call = Extract<ChatItem, { _tag: "FunctionCall" }>
export type Result = { readonly value: unknown; readonly isError: boolean }

const unknownOutcome: Result = { value: "The outcome of this call is not known.", isError: true }

export const frame = (text: string): string =>
  `[Note from the application, not from the user: nobody said this in the conversation.]\n${text}`

const frameOpening = /\[(?=\s*note\s+from\s+the\s+application)/gi

/** What the user says and what tools report must not pass for a note of the application: only `frame` opens one. */
const quoted = (text: string): string => text.replace(frameOpening, "[quoted, not from the application: ")

/** The same for all texts in a value; the value itself where there is nothing to change, as nearly always. */
const quotedIn = (value: unknown, depth = 0): unknown => {
  if (typeof value === "string") return quoted(value)
  if (typeof value !== "object" || value === null || depth > 256) return value
  if (Array.isArray(value)) {
    const out = value.map((part) => quotedIn(part, depth + 1))
    return out.some((part, i) => part !== value[i]) ? out : value
  }
  let out: Array<readonly [string, unknown]> | undefined
  const entries = Object.entries(value)
  entries.forEach(([key, part], i) => {
    const name = quoted(key)
    const inner = quotedIn(part, depth + 1)
    if (out === undefined && (name !== key || inner !== part)) out = entries.slice(0, i)
    out?.push([name, inner])
  })
  return out === undefined ? value : Object.fromEntries(out)
}

const defaultNote = "It is your turn to speak."

const beginNote = "The conversation begins with you."

const noOptions = {}

/** The provider's metadata, without ours. */
const optionsOf = (metadata: Record<string, unknown> | undefined): any => {
  if (metadata === undefined) return noOptions
  if (!Object.hasOwn(metadata, ours)) return metadata
  const { [ours]: _, ...rest } = metadata
  return rest
}

const oursOf = (metadata: Record<string, unknown> | undefined): any => metadata?.[ours]

// Literals: the constructors of `Prompt` add properties behind a spread, which gives each part a shape of its own in
// V8 (four times the memory, and most of the time of a long conversation). The computed key comes last: what stands
// behind one is not stored in the object itself.

const textPart = (text: string, metadata?: Record<string, unknown>): Prompt.TextPart => ({
  type: "text",
  options: optionsOf(metadata),
  text,
  [Prompt.PartTypeId]: Prompt.PartTypeId
})

const userMessage = (text: string, metadata?: Record<string, unknown>): Prompt.UserMessage => ({
  role: "user",
  options: noOptions,
  content: [textPart(text, metadata)],
  [Prompt.MessageTypeId]: Prompt.MessageTypeId
})

const systemMessage = (content: string): Prompt.SystemMessage => ({
  role: "system",
  options: noOptions,
  content,
  [Prompt.MessageTypeId]: Prompt.MessageTypeId
})

/** The status stands in the value too, since most providers have no place for it; some take nothing but objects. */
const wireResult = (result: Result, provider: Provider | undefined): unknown => {
  const value = result.value === undefined ? null : quotedIn(result.value)
  if (result.isError) return { error: value }
  return provider?.objectResults === true && !isRecord(value) ? { output: value } : value
}

/** The id of a call as the provider takes it. */
const wireId = (id: string, provider: Provider | undefined): string =>
  provider?.callId === undefined || provider.callId.test(id)
    ? id
    : `${id.replace(/[^a-zA-Z0-9_-]/g, "_").slice(0, 52)}_${(Hash.string(id) >>> 0).toString(36)}`

/** Stands for the signature of a call that the signing model did not make: see Google's page on thought signatures. */
const unsigned = "skip_thought_signature_validator"

const isSigned = (options: any): boolean => typeof options?.google?.thoughtSignature === "string"

type Thought = Extract<ChatItem, { _tag: "Reasoning" }>

const reasoningPart = (item: Thought): Prompt.ReasoningPart => ({
  type: "reasoning",
  options: optionsOf(item.metadata),
  text: item.text,
  [Prompt.PartTypeId]: Prompt.PartTypeId
})

type Made = Extract<ChatItem, { _tag: "Message" | "FunctionCall" }>

/** Puts items together into messages. */
class Builder {
  assistant: Array<Prompt.AssistantMessagePart> = []
  tool: Array<Prompt.ToolMessagePart> = []
  /** an output has been seen since the last call: another call belongs to a later step */
  answered = false
  reasoning: Array<Thought> = []
  /** reasoning that has been sent */
  private readonly sent = new Set<ChatItem>()
  signed: boolean

  constructor(
    readonly messages: Array<Prompt.Message>,
    readonly provider: Provider | undefined,
    signed: boolean
  ) {
    this.signed = signed
  }

  flush(): void {
    if (this.assistant.length > 0) {
      this.messages.push({
        role: "assistant",
        options: noOptions,
        content: this.assistant,
        [Prompt.MessageTypeId]: Prompt.MessageTypeId
      })
      this.assistant = []
    }
    if (this.tool.length > 0) {
      this.messages.push({
        role: "tool",
        options: noOptions,
        content: this.tool,
        [Prompt.MessageTypeId]: Prompt.MessageTypeId
      })
      this.tool = []
    }
    this.answered = false
  }

  user(text: string, metadata?: Record<string, unknown>): void {
    this.flush()
    this.messages.push(userMessage(text, metadata))
  }

  pushReasoning(next: ChatItem, all: ReadonlyArray<ChatItem> | undefined): void {
    for (const item of this.reasoning) {
      if (all !== undefined && follower(all, item) !== next) continue
      this.sent.add(item)
      this.assistant.push(reasoningPart(item))
    }
    this.reasoning = []
  }

  /**
   * A pair made by us that begins a turn. Some providers want the turn of a thinking model to begin with thinking: it
   * begins with what came with the call, to which the pair belongs.
   */
  think(pair: Call, items: ReadonlyArray<ChatItem>): void {
    if (this.provider?.thinkingFirst !== true || this.assistant.length > 0 || this.reasoning.length > 0) return
    const last = this.messages[this.messages.length - 1]
    if (last !== undefined && last.role !== "user") return
    const of = /^(.+)_(?:update_\d+|final)$/.exec(pair.callId)?.[1]
    if (of === undefined) return
    let i = items.findLastIndex((item) => item._tag === "FunctionCall" && item.callId === of)
    while (i >= 0 && items[i]?._tag !== "Reasoning") i--
    const thoughts: Array<Thought> = []
    for (let item = items[i]; item?._tag === "Reasoning"; item = items[--i]) thoughts.unshift(item)
    for (const thought of thoughts) this.assistant.push(reasoningPart(thought))
  }

  /** The options of an item; where reasoning that came before it is not sent, it is sent without the item's id. */
  options(item: Made, i: number, items: ReadonlyArray<ChatItem>): any {
    const alone = hasItemId(item.metadata) && reasoningBefore(items, item, i).some((other) => !this.sent.has(other))
    return optionsOf(alone ? withoutItemId(item.metadata) : item.metadata)
  }

  text(item: Extract<ChatItem, { _tag: "Message" }>, i: number, items: ReadonlyArray<ChatItem>): void {
    this.assistant.push({
      type: "text",
      options: this.options(item, i, items),
      text: item.text,
      [Prompt.PartTypeId]: Prompt.PartTypeId
    })
  }

  call(item: Call, result: Result, i: number, items: ReadonlyArray<ChatItem>): void {
    const mine = oursOf(item.metadata)
    const providerExecuted = mine?.providerExecuted === true
    const name: string = mine?.providerName ?? item.name
    let options = this.options(item, i, items)
    this.signed ||= isSigned(options)
    if (this.provider?.signedCalls === true && this.signed && !isSigned(options) && this.tool.length === 0) {
      options = { ...options, google: { ...options.google, thoughtSignature: unsigned } }
    }
    const id = providerExecuted ? item.callId : wireId(item.callId, this.provider)
    this.assistant.push({
      type: "tool-call",
      options,
      id,
      name,
      params: item.arguments,
      providerExecuted,
      [Prompt.PartTypeId]: Prompt.PartTypeId
    })
    const part: Prompt.ToolResultPart = {
      type: "tool-result",
      options: noOptions,
      id,
      name,
      isFailure: result.isError,
      result: providerExecuted ? result.value : wireResult(result, this.provider),
      providerExecuted,
      [Prompt.PartTypeId]: Prompt.PartTypeId
    }
    if (providerExecuted) this.assistant.push(part)
    else this.tool.push(part)
  }
}

export const build = (view: View): Prompt.Prompt => {
  const { cache, items, provider } = view
  const start = cache?.items ?? 0
  const settled = new Builder(cache?.messages ?? [], provider, cache?.signed ?? false)
  const until = cache === undefined ? 0 : settledUntil(items, start)
  convert(settled, view, start, until)
  settled.flush()
  if (cache !== undefined) {
    cache.items = until
    cache.signed = settled.signed
  }
  const messages: Array<Prompt.Message> =
    view.instructions === undefined || view.instructions === "" ? [] : [systemMessage(view.instructions)]
  const first = messages.length
  const builder = new Builder(
    cache === undefined ? messages : messages.concat(settled.messages),
    provider,
    settled.signed
  )
  convert(builder, view, until, items.length)
  builder.flush()
  if (provider?.userBegins === true && builder.messages[first]?.role === "assistant") {
    builder.messages.splice(first, 0, userMessage(frame(beginNote)))
  }
  if (view.note !== undefined) builder.user(frame(view.note))
  else if (view.request === true) {
    const last = builder.messages[builder.messages.length - 1]
    if (last === undefined || last.role === "assistant" || last.role === "system") builder.user(frame(defaultNote))
  }
  return Prompt.fromMessages(builder.messages)
}

/** How far the items can no longer change: behind an output, or a user's message, with no call open. */
const settledUntil = (items: ReadonlyArray<ChatItem>, start: number): number => {
  const open = new Set<string>()
  let until = start
  for (let i = start; i < items.length; i++) {
    const item = items[i] as ChatItem
    if (item._tag === "FunctionCall") open.add(item.callId)
    else if (item._tag === "FunctionCallOutput") open.delete(item.callId)
    if (open.size > 0) continue
    if (item._tag === "FunctionCallOutput" || (item._tag === "Message" && item.role !== "assistant")) until = i + 1
  }
  return until
}

const convert = (builder: Builder, view: View, from: number, to: number): void => {
  const { all, items, placeholder } = view
  const results = new Map<string, Result>()
  const seen = new Set<string>()
  for (let i = from; i < to; i++) {
    const item = items[i] as ChatItem
    if (item._tag === "FunctionCallOutput" && !results.has(item.callId)) {
      results.set(item.callId, { value: item.output, isError: item.isError })
    }
  }
  for (let i = from; i < to; i++) {
    const item = items[i] as ChatItem
    switch (item._tag) {
      case "Message": {
        if (item.text === "") {
          builder.reasoning = []
          break
        }
        if (item.role !== "assistant") {
          builder.reasoning = []
          builder.user(item.role === "user" ? quoted(item.text) : frame(item.text), item.metadata)
          break
        }
        if (builder.tool.length > 0) builder.flush()
        builder.pushReasoning(item, all)
        builder.text(item, i, all ?? items)
        break
      }
      case "Reasoning": {
        builder.reasoning.push(item)
        break
      }
      case "FunctionCall": {
        if (seen.has(item.callId)) {
          builder.reasoning = []
          break
        }
        seen.add(item.callId)
        // a call that runs has no output anywhere: to look for it would be to look through the whole conversation
        const result = results.get(item.callId) ?? placeholder?.(item.callId) ?? outputIn(all, item.callId)
        // a call of the provider's own that never had a result cannot be answered by us
        if (oursOf(item.metadata)?.providerExecuted === true && result === undefined) {
          builder.reasoning = []
          break
        }
        const next = items[i + 1]
        const pair = next?._tag === "FunctionCallOutput" && next.callId === item.callId
        if (builder.tool.length > 0 && (builder.answered || pair)) builder.flush()
        if (pair) builder.think(item, all ?? items)
        builder.pushReasoning(item, all)
        builder.call(item, result ?? unknownOutcome, i, all ?? items)
        break
      }
      case "FunctionCallOutput": {
        builder.answered ||= builder.tool.some((part) => part.id === wireId(item.callId, view.provider))
        builder.reasoning = []
        break
      }
      case "AgentHandoff": {
        builder.reasoning = []
      }
    }
  }
}

/** The output of a call that a view left out. */
const outputIn = (all: ReadonlyArray<ChatItem> | undefined, callId: string): Result | undefined => {
  const item = all?.findLast((other) => other._tag === "FunctionCallOutput" && other.callId === callId)
  return item?._tag === "FunctionCallOutput" ? { value: item.output, isError: item.isError } : undefined
}

/** The reasoning that came before an item in its step. */
const reasoningBefore = (items: ReadonlyArray<ChatItem>, item: Made, at: number): ReadonlyArray<ChatItem> => {
  const out: Array<ChatItem> = []
  const index = items[at] === item ? at : items.findLastIndex((other) => other.id === item.id)
  for (let i = index - 1; i >= 0; i--) {
    const other = items[i] as ChatItem
    if (other._tag === "Reasoning") out.push(other)
    else if (other._tag !== "FunctionCall" && !(other._tag === "Message" && other.role === "assistant")) break
  }
  return out
}

/** The item that some reasoning came with: the next one that is not reasoning. */
const follower = (all: ReadonlyArray<ChatItem>, reasoning: ChatItem): ChatItem | undefined => {
  for (let i = all.lastIndexOf(reasoning) + 1; i > 0 && i < all.length; i++) {
    if (all[i]?._tag !== "Reasoning") return all[i]
  }
  return undefined
}
