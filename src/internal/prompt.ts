/**
 * From the history to a prompt: every call is answered exactly once and right after it (rule M3), metadata becomes the
 * parts' options (M2), reasoning goes with the part it came with, and what is not the user's is framed (M5).
 */
import * as Prompt from "@effect/ai/Prompt"
import type { ChatContext, ChatItem } from "../ChatContext.js"

export const viewAll = (context: ChatContext): ChatContext => context

export interface View {
  readonly items: ReadonlyArray<ChatItem>
  /** the whole conversation, where `items` is a part of it */
  readonly all?: ReadonlyArray<ChatItem>
  readonly instructions?: string
  /** the output to show for a call that has none yet */
  readonly placeholder?: (callId: string) => { readonly value: unknown; readonly isError: boolean } | undefined
  /** what this reply adds; the last message */
  readonly note?: string | undefined
  /** a note is needed where the conversation would end with the assistant */
  readonly request?: boolean
}

type Call = Extract<ChatItem, { _tag: "FunctionCall" }>
type Result = { readonly value: unknown; readonly isError: boolean }

const unknownOutcome: Result = { value: "The outcome of this call is not known.", isError: true }

export const frame = (text: string): string =>
  `[Note from the application, not from the user: nobody said this in the conversation.]\n${text}`

const defaultNote = "It is your turn to speak."

const ours = "effect-meantime"

/** The provider's metadata, without ours. */
const optionsOf = (metadata: Record<string, unknown> | undefined): any => {
  if (metadata === undefined) return undefined
  if (!(ours in metadata)) return metadata
  const { [ours]: _, ...rest } = metadata
  return rest
}

const oursOf = (metadata: Record<string, unknown> | undefined): any => metadata?.[ours]

const textPart = (text: string, metadata?: Record<string, unknown>) =>
  metadata === undefined
    ? Prompt.makePart("text", { text })
    : Prompt.makePart("text", { text, options: optionsOf(metadata) })

/** The status stands in the value too, since most providers have no place for it. */
const wireResult = (result: Result): unknown =>
  result.isError ? { error: result.value } : result.value === undefined ? null : result.value

export const build = (view: View): Prompt.Prompt => {
  const { items } = view
  const results = new Map<string, Result>()
  for (const item of view.all ?? items) {
    if (item._tag === "FunctionCallOutput" && !results.has(item.callId)) {
      results.set(item.callId, { value: item.output, isError: item.isError })
    }
  }
  const successors = view.all === undefined || view.all === items ? undefined : followers(view.all)
  const messages: Array<Prompt.Message> = []
  if (view.instructions !== undefined) messages.push(Prompt.makeMessage("system", { content: view.instructions }))
  let assistant: Array<Prompt.AssistantMessagePart> = []
  let tool: Array<Prompt.ToolMessagePart> = []
  /** an output has been seen since the last call: another call belongs to a later step */
  let answered = false
  const seen = new Set<string>()
  let reasoning: Array<Extract<ChatItem, { _tag: "Reasoning" }>> = []

  const flush = (): void => {
    if (assistant.length > 0) messages.push(Prompt.makeMessage("assistant", { content: assistant }))
    if (tool.length > 0) messages.push(Prompt.makeMessage("tool", { content: tool }))
    assistant = []
    tool = []
    answered = false
  }
  const user = (text: string, metadata?: Record<string, unknown>): void => {
    flush()
    messages.push(Prompt.makeMessage("user", { content: [textPart(text, metadata)] }))
  }
  const pushReasoning = (next: ChatItem): void => {
    for (const item of reasoning) {
      if (successors !== undefined && successors.get(item.id) !== next.id) continue
      assistant.push(Prompt.makePart("reasoning", { text: item.text, options: optionsOf(item.metadata) }))
    }
    reasoning = []
  }
  const call = (item: Call, result: Result): void => {
    const mine = oursOf(item.metadata)
    const providerExecuted = mine?.providerExecuted === true
    const name: string = mine?.providerName ?? item.name
    assistant.push(
      Prompt.makePart("tool-call", {
        id: item.callId,
        name,
        params: item.arguments,
        providerExecuted,
        options: optionsOf(item.metadata)
      })
    )
    const part = Prompt.makePart("tool-result", {
      id: item.callId,
      name,
      isFailure: result.isError,
      result: providerExecuted ? result.value : wireResult(result),
      providerExecuted
    })
    if (providerExecuted) assistant.push(part)
    else tool.push(part)
  }

  for (let i = 0; i < items.length; i++) {
    const item = items[i] as ChatItem
    switch (item._tag) {
      case "Message": {
        if (item.text === "") break
        if (item.role !== "assistant") {
          reasoning = []
          user(item.role === "user" ? item.text : frame(item.text), item.metadata)
          break
        }
        if (tool.length > 0) flush()
        pushReasoning(item)
        assistant.push(textPart(item.text, item.metadata))
        break
      }
      case "Reasoning": {
        reasoning.push(item)
        break
      }
      case "FunctionCall": {
        if (seen.has(item.callId)) break
        const providerExecuted = oursOf(item.metadata)?.providerExecuted === true
        const result = results.get(item.callId) ?? view.placeholder?.(item.callId)
        // a call of the provider's own that never had a result cannot be answered by us
        if (providerExecuted && result === undefined) break
        seen.add(item.callId)
        const next = items[i + 1]
        const pair = next?._tag === "FunctionCallOutput" && next.callId === item.callId
        if (tool.length > 0 && (answered || pair)) flush()
        pushReasoning(item)
        call(item, result ?? unknownOutcome)
        break
      }
      case "FunctionCallOutput": {
        answered = true
        break
      }
      case "AgentHandoff":
        break
    }
  }
  flush()
  if (view.note !== undefined) user(frame(view.note))
  else if (view.request === true) {
    const last = messages[messages.length - 1]
    if (last === undefined || last.role === "assistant" || last.role === "system") user(frame(defaultNote))
  }
  return Prompt.fromMessages(messages)
}

/** The item that each reasoning came with. */
const followers = (items: ReadonlyArray<ChatItem>): Map<string, string> => {
  const out = new Map<string, string>()
  let open: Array<string> = []
  for (const item of items) {
    if (item._tag === "Reasoning") {
      open.push(item.id)
      continue
    }
    for (const id of open) out.set(id, item.id)
    open = []
  }
  return out
}
