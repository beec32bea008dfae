/**
 * The same conversation as events of AG-UI 1.0 (rule V10): a run is a request of a page of its own, and its chunks are
 * told in the other protocol's words.
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Stream from "effect/Stream"
import type { PendingApproval } from "../../ApprovalPolicy.js"
import type { ChatContext } from "../../ChatContext.js"
import type { Handle } from "../../Sessions.js"
import { UiRequestError } from "../../Tags.js"
import { guarded } from "../values/guarded.js"
import { isRecord } from "../values/record.js"
import { generalError } from "./board.js"
import type { UiChunk } from "./chunks.js"
import { toMessages } from "./messages.js"
import { open } from "./ui.js"

export interface AgUiInterrupt {
  readonly id: string
  readonly reason: string
  readonly message?: string
  readonly toolCallId: string
  readonly expiresAt?: string
  readonly metadata: { readonly toolName: string; readonly arguments: unknown }
}

export type AgUiMessage =
  | { readonly id: string; readonly role: "user" | "reasoning"; readonly content: string }
  | {
      readonly id: string
      readonly role: "assistant"
      readonly content?: string
      readonly toolCalls?: ReadonlyArray<{
        readonly id: string
        readonly type: "function"
        readonly function: { readonly name: string; readonly arguments: string }
      }>
    }
  | { readonly id: string; readonly role: "tool"; readonly toolCallId: string; readonly content: string }

export type AgUiEvent =
  | {
      readonly type: "RUN_STARTED"
      readonly threadId: string
      readonly runId: string
      readonly protocolVersion: "1.0"
    }
  | {
      readonly type: "RUN_FINISHED"
      readonly threadId: string
      readonly runId: string
      readonly outcome:
        | { readonly type: "success" }
        | { readonly type: "interrupt"; readonly interrupts: ReadonlyArray<AgUiInterrupt> }
      readonly usage?: ReadonlyArray<Readonly<Record<string, number | string>>>
      readonly metadata?: { readonly agent: string }
    }
  | { readonly type: "RUN_ERROR"; readonly message: string; readonly code: string }
  | { readonly type: "MESSAGES_SNAPSHOT"; readonly messages: ReadonlyArray<AgUiMessage> }
  | { readonly type: "TEXT_MESSAGE_START"; readonly messageId: string; readonly role: "assistant" }
  | { readonly type: "REASONING_MESSAGE_START"; readonly messageId: string; readonly role: "reasoning" }
  | {
      readonly type: "TEXT_MESSAGE_CONTENT" | "REASONING_MESSAGE_CONTENT"
      readonly messageId: string
      readonly delta: string
    }
  | {
      readonly type: "TEXT_MESSAGE_END" | "REASONING_START" | "REASONING_MESSAGE_END" | "REASONING_END"
      readonly messageId: string
    }
  | { readonly type: "TOOL_CALL_START"; readonly toolCallId: string; readonly toolCallName: string }
  | { readonly type: "TOOL_CALL_ARGS"; readonly toolCallId: string; readonly delta: string }
  | { readonly type: "TOOL_CALL_END"; readonly toolCallId: string }
  | {
      readonly type: "TOOL_CALL_RESULT"
      readonly messageId: string
      readonly toolCallId: string
      readonly content: string
      readonly role: "tool"
    }
  | { readonly type: "CUSTOM"; readonly name: "progress" | "update" | "file"; readonly value: unknown }

interface Run {
  readonly threadId: string
  readonly runId: string
  /** the texts that the page shows of the agent */
  readonly shown: ReadonlySet<string>
  /** what the page asks, as a body of the other protocol */
  readonly body: unknown
  readonly message: AgUiMessage | undefined
}

const refuse = (message: string): never => {
  throw new UiRequestError({ message })
}

const name = (value: unknown, otherwise: string): string =>
  typeof value === "string" && value !== "" && value.length <= 256 ? value : otherwise

/** A text, or the texts of its parts. */
const textIn = (content: unknown): string => {
  if (typeof content === "string") return content
  if (!Array.isArray(content)) return refuse("The last message has no content.")
  return content.flatMap((part) => (isRecord(part) && typeof part.text === "string" ? [part.text] : [])).join("\n")
}

const answers = (
  resume: unknown
): { readonly parts: ReadonlyArray<unknown>; readonly edits: Record<string, unknown> } => {
  if (resume === undefined || resume === null) return { parts: [], edits: {} }
  if (!Array.isArray(resume)) return refuse("The answers to interrupts are no list.")
  const edits: Record<string, unknown> = Object.create(null)
  const parts = resume.map((entry: unknown) => {
    if (!isRecord(entry) || typeof entry.interruptId !== "string") return refuse("An answer names no interrupt.")
    const { interruptId: id, payload, status } = entry
    if (status === "cancelled") return part(id, false, "The person has left it.")
    if (status !== "resolved") return refuse("An answer is neither resolved nor cancelled.")
    const given = typeof payload === "boolean" ? { approved: payload } : payload
    if (!isRecord(given) || typeof given.approved !== "boolean") return refuse("An answer says neither yes nor no.")
    if (given.approved && given.editedArgs !== undefined) edits[id] = given.editedArgs
    return part(id, given.approved, given.reason)
  })
  return { parts, edits }
}

const part = (id: string, approved: boolean, reason: unknown): unknown => ({
  type: "tool",
  toolCallId: id,
  state: "approval-responded",
  approval: { id, approved, reason }
})

const read = (input: unknown): Run => {
  if (!isRecord(input)) return refuse("The run has no input.")
  const { messages, resume } = input
  if (!Array.isArray(messages)) return refuse("The run has no list of messages.")
  const { edits, parts } = answers(resume)
  const last: unknown = messages[messages.length - 1]
  const asked = isRecord(last) && last.role === "user" ? last : undefined
  const text = asked === undefined ? "" : textIn(asked.content)
  const decided = { id: "decided", role: "assistant", parts }
  const user = { id: asked?.id, role: "user", parts: [{ type: "text", text }] }
  const both = asked === undefined ? [decided] : [decided, user]
  if (asked === undefined && parts.length === 0) return refuse("There is nothing new in the request.")
  return {
    threadId: name(input.threadId, "thread"),
    runId: name(input.runId, "run"),
    shown: new Set(
      messages.flatMap((message: unknown) =>
        isRecord(message) && message.role === "assistant" && typeof message.content === "string"
          ? [message.content.trim()]
          : []
      )
    ),
    body: { messages: both, edits },
    message: asked === undefined ? undefined : { id: name(asked.id, "asked"), role: "user", content: text }
  }
}

const json = (value: unknown): string => (typeof value === "string" ? value : (JSON.stringify(value) ?? ""))

/** Of a history, as the page would have it. */
const snapshot = (context: ChatContext): ReadonlyArray<AgUiMessage> =>
  toMessages(context).flatMap(({ id, parts, role }) =>
    parts.flatMap((shown, n): ReadonlyArray<AgUiMessage> => {
      const at = `${id}_${n}`
      if (shown.type === "text") return [{ id: at, role: role === "user" ? "user" : "assistant", content: shown.text }]
      if (shown.type === "reasoning") return [{ id: at, role: "reasoning", content: shown.text }]
      if (!("toolCallId" in shown)) return []
      const { input, output, state, toolCallId, errorText } = shown
      const call = { name: shown.type.slice("tool-".length), arguments: json(input ?? {}) }
      const result = state === "output-error" ? errorText : output
      return [
        { id: at, role: "assistant", toolCalls: [{ id: toolCallId, type: "function", function: call }] },
        ...(result === undefined
          ? []
          : [{ id: `${at}_result`, role: "tool" as const, toolCallId, content: json(result) }])
      ]
    })
  )

const interrupt = ({ arguments: args, callId, expiresAt, name: tool, reason }: PendingApproval): AgUiInterrupt => ({
  id: callId,
  reason: "approval",
  ...(reason === undefined ? {} : { message: reason }),
  toolCallId: callId,
  // ISO 8601, which is what clients compare
  ...(expiresAt === undefined ? {} : { expiresAt: DateTime.formatIso(DateTime.unsafeMake(expiresAt)) }),
  metadata: { toolName: tool, arguments: args }
})

export const agUi = (session: Handle, input: unknown): Stream.Stream<AgUiEvent> => {
  const ids = guarded(
    () => (isRecord(input) ? { threadId: name(input.threadId, "thread"), runId: name(input.runId, "run") } : noIds),
    () => noIds
  )
  const started: AgUiEvent = { type: "RUN_STARTED", ...ids, protocolVersion: "1.0" }
  const failed = (message: string, code: string): Stream.Stream<AgUiEvent> =>
    Stream.make<Array<AgUiEvent>>({ type: "RUN_ERROR", message, code })
  const run = Effect.gen(function* () {
    const asked = yield* guarded<Either.Either<Run, UiRequestError>>(
      () => Either.right(read(input)),
      (thrown) =>
        Either.left(
          thrown instanceof UiRequestError ? thrown : new UiRequestError({ message: "The input cannot be read." })
        )
    )
    const history = yield* session.history
    const behind = missed(history, asked)
    const { ui } = yield* open(session)
    const chunks = yield* ui.post(asked.body)
    return Stream.concat(behind, told(session, asked, chunks))
  })
  return Stream.concat(
    Stream.make(started),
    Stream.unwrapScoped(
      run.pipe(
        Effect.catchTags({
          UiRequestError: ({ message, status }) =>
            Effect.succeed(failed(message, status === 503 ? "unavailable" : "bad_request")),
          SessionClosed: () => Effect.succeed(failed("The conversation is closed.", "unavailable")),
          SessionsError: () => Effect.succeed(failed("The conversation cannot be had now.", "unavailable"))
        })
      )
    )
  )
}

const noIds = { threadId: "thread", runId: "run" }

/** What was said between two runs: the page gets the conversation as it is. */
const missed = (history: ChatContext, { message, shown }: Run): Stream.Stream<AgUiEvent> => {
  const known = history.items.every(
    (item) => item._tag !== "Message" || item.role !== "assistant" || item.text === "" || shown.has(item.text.trim())
  )
  if (known) return Stream.empty
  const whole = snapshot(history)
  const first: AgUiEvent = { type: "MESSAGES_SNAPSHOT", messages: whole }
  // a client keeps what it has in its place: the message comes behind the others only if it was gone
  return message === undefined
    ? Stream.make(first)
    : Stream.make<Array<AgUiEvent>>(first, { type: "MESSAGES_SNAPSHOT", messages: [...whole, message] })
}

const told = (session: Handle, { runId, threadId }: Run, chunks: Stream.Stream<UiChunk>): Stream.Stream<AgUiEvent> => {
  const going = new Set<string>()
  let results = 0
  let failed = false
  const result = (toolCallId: string, content: string): AgUiEvent => ({
    type: "TOOL_CALL_RESULT",
    messageId: `${runId}_result_${++results}`,
    toolCallId,
    content,
    role: "tool"
  })
  const output = (toolCallId: string, value: unknown, preliminary: boolean): ReadonlyArray<AgUiEvent> => {
    if (!preliminary) return [result(toolCallId, json(value))]
    // a call without a result would look as if the page had to give one
    if (!going.has(toolCallId)) {
      going.add(toolCallId)
      return [result(toolCallId, value === null ? "It goes on in the background." : json(value))]
    }
    return [{ type: "CUSTOM", name: "update", value: { toolCallId, message: value } }]
  }
  const eventsOf = (chunk: UiChunk): ReadonlyArray<AgUiEvent> => {
    const messageId = "id" in chunk ? `${runId}_${chunk.id}` : runId
    switch (chunk.type) {
      case "text-start":
        return [{ type: "TEXT_MESSAGE_START", messageId, role: "assistant" }]
      case "text-delta":
        return chunk.delta === "" ? [] : [{ type: "TEXT_MESSAGE_CONTENT", messageId, delta: chunk.delta }]
      case "text-end":
        return [{ type: "TEXT_MESSAGE_END", messageId }]
      case "reasoning-start":
        return [
          { type: "REASONING_START", messageId },
          { type: "REASONING_MESSAGE_START", messageId, role: "reasoning" }
        ]
      case "reasoning-delta":
        return chunk.delta === "" ? [] : [{ type: "REASONING_MESSAGE_CONTENT", messageId, delta: chunk.delta }]
      case "reasoning-end":
        return [
          { type: "REASONING_MESSAGE_END", messageId },
          { type: "REASONING_END", messageId }
        ]
      case "file":
        return [{ type: "CUSTOM", name: "file", value: { url: chunk.url, mediaType: chunk.mediaType } }]
      case "tool-input-available": {
        const { input, toolCallId, toolName } = chunk
        return [
          { type: "TOOL_CALL_START", toolCallId, toolCallName: toolName },
          { type: "TOOL_CALL_ARGS", toolCallId, delta: json(input) },
          { type: "TOOL_CALL_END", toolCallId }
        ]
      }
      case "tool-output-available":
        return output(chunk.toolCallId, chunk.output, chunk.preliminary === true)
      case "tool-output-error":
        return [result(chunk.toolCallId, chunk.errorText)]
      case "tool-output-denied":
        return [result(chunk.toolCallId, "A person has denied it.")]
      case "data-call": {
        const { data } = chunk
        switch (data.state) {
          case "approval-requested":
            return []
          case "output-error":
            return [result(chunk.id, data.errorText ?? "")]
          case "output-denied":
            return [result(chunk.id, "A person has denied it.")]
          case "output-available":
            return output(chunk.id, data.output ?? null, data.preliminary === true)
        }
        return []
      }
      case "data-progress":
        return [{ type: "CUSTOM", name: "progress", value: chunk.data }]
      case "error":
        failed = true
        return [{ type: "RUN_ERROR", message: generalError, code: "model" }]
      default:
        return []
    }
  }
  return Stream.flatMap(chunks, (chunk): Stream.Stream<AgUiEvent> => {
    if (chunk.type !== "finish") return Stream.fromIterable(eventsOf(chunk))
    if (failed) return Stream.empty
    const { agent, model, usage } = chunk.messageMetadata ?? {}
    return Stream.fromEffect(
      Effect.map(
        Effect.orElseSucceed(session.approvals, () => []),
        (waiting): AgUiEvent => ({
          type: "RUN_FINISHED",
          threadId,
          runId,
          outcome:
            waiting.length === 0 ? { type: "success" } : { type: "interrupt", interrupts: waiting.map(interrupt) },
          ...(usage === undefined ? {} : { usage: [{ ...(model === undefined ? {} : { model }), ...usage }] }),
          ...(agent === undefined ? {} : { metadata: { agent } })
        })
      )
    )
  })
}
