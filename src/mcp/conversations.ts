/**
 * Whole conversations for a host: the tools `send`, `wait` and `cancel` (rule J12).
 */
import type { CallToolResult } from "@modelcontextprotocol/server"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import type { ChatItem, Message } from "../ChatContext.js"
import { errorResult, type Host, type Offered } from "../internal/mcp/offered.js"
import type { SessionEvent } from "../SessionEvent.js"
import type { Handle, Service as Sessions } from "../Sessions.js"

interface Failure {
  readonly message: string
}

interface Conversation {
  readonly id: string
  /** the last item that the host was told of */
  last: string
  /** messages so far */
  sent: number
  /** what was sent and has not been answered for sure: the same again is the same turn (rules J12, Q19) */
  open: { readonly message: string; readonly turn: string } | undefined
  /** who sends it now; none for those who wait: whoever did so has gone */
  sending:
    | { readonly message: string; readonly result: Deferred.Deferred<CallToolResult | undefined, Failure> }
    | undefined
}

/** More conversations than these are not remembered: the one that was opened first goes. */
const maxConversations = 10_000

const id = { type: "string", description: "The id of the conversation, as send has given it." }

const textIn = (args: Readonly<Record<string, unknown>>, key: string): string | undefined => {
  const value = args[key]
  return typeof value === "string" && value !== "" ? value : undefined
}

export const conversationTools = (
  sessions: Sessions,
  wait: Duration.DurationInput,
  makeId: () => string
): ReadonlyArray<Offered> => {
  /** Only what was opened here: an id of somebody else's conversation is no key to it. */
  const conversations = new Map<string, Conversation>()

  const opened = (): Conversation => {
    const conversation: Conversation = { id: makeId(), last: "", sent: 0, open: undefined, sending: undefined }
    conversations.set(conversation.id, conversation)
    return conversation
  }

  /** Nobody can reach the one that was opened first any more. */
  const forget: Effect.Effect<void> = Effect.suspend(() => {
    const [first] = conversations.keys()
    if (conversations.size <= maxConversations || first === undefined) return Effect.void
    conversations.delete(first)
    return Effect.asVoid(Effect.forkDaemon(sessions.close(first)))
  })

  const sendIn = (
    conversation: Conversation,
    handle: Handle,
    host: Host,
    message: string
  ): Effect.Effect<CallToolResult, Failure> =>
    Effect.suspend(() => {
      const { sending } = conversation
      if (sending?.message === message) {
        return Effect.flatMap(Deferred.await(sending.result), (result) =>
          result === undefined ? sendIn(conversation, handle, host, message) : Effect.succeed(result)
        )
      }
      if (conversation.open?.message !== message) {
        conversation.open = { message, turn: `${conversation.id} ${++conversation.sent}` }
      }
      const { open } = conversation
      return Effect.flatMap(Deferred.make<CallToolResult | undefined, Failure>(), (result) => {
        const mine = { message, result }
        conversation.sending = mine
        const sent = handle.send(message, { id: open.turn })
        return Effect.onExit(listen(conversation, handle, host, wait, sent), (exit) => {
          if (conversation.sending === mine) conversation.sending = undefined
          if (Exit.isFailure(exit) && Cause.isInterrupted(exit.cause)) return Deferred.succeed(result, undefined)
          if (conversation.open === open) conversation.open = undefined
          return Deferred.done(result, exit)
        })
      })
    })

  /** With the conversation that is meant, and its session. */
  const within = (
    args: Readonly<Record<string, unknown>>,
    use: (conversation: Conversation, handle: Handle) => Effect.Effect<CallToolResult, Failure>
  ): Effect.Effect<CallToolResult> =>
    Effect.suspend(() => {
      const given = textIn(args, "conversation_id")
      const conversation = given === undefined ? undefined : conversations.get(given)
      if (conversation === undefined) {
        return Effect.succeed(
          errorResult(`There is no conversation "${given ?? ""}". Call send without an id to open one.`)
        )
      }
      return asResult(Effect.flatMap(sessions.get(conversation.id), (handle) => use(conversation, handle)))
    })

  const send: Offered = {
    listed: {
      name: "send",
      description:
        "Sends a message to the agent and returns what it says. Without conversation_id a new conversation begins. What " +
        "still runs when it returns goes on in the background: call wait for what comes of it.",
      inputSchema: {
        type: "object",
        properties: { message: { type: "string", description: "What to say to the agent." }, conversation_id: id },
        required: ["message"]
      }
    },
    call: (args, host) => {
      const message = textIn(args, "message")
      if (message === undefined) return Effect.succeed(errorResult("The message is missing."))
      const fresh = args.conversation_id === undefined || args.conversation_id === null
      const known = fresh ? { conversation_id: opened().id } : args
      const told = within(known, (conversation, handle) => sendIn(conversation, handle, host, message))
      return fresh ? Effect.zipRight(forget, told) : told
    }
  }

  const waiting: Offered = {
    listed: {
      name: "wait",
      description: "Waits until the agent says something more in a conversation, for some time, and returns it.",
      inputSchema: { type: "object", properties: { conversation_id: id }, required: ["conversation_id"] },
      annotations: { readOnlyHint: true }
    },
    call: (args, host) => within(args, (conversation, handle) => listen(conversation, handle, host, wait, undefined))
  }

  const cancel: Offered = {
    listed: {
      name: "cancel",
      description: "Cancels a call that still runs in a conversation.",
      inputSchema: {
        type: "object",
        properties: { conversation_id: id, call_id: { type: "string", description: "The id of the call." } },
        required: ["conversation_id", "call_id"]
      }
    },
    call: (args) =>
      within(args, (_, handle) =>
        Effect.as(handle.cancelTool(textIn(args, "call_id") ?? ""), {
          content: [{ type: "text" as const, text: "The call is being cancelled." }]
        })
      )
  }
  return [send, waiting, cancel]
}

const asResult = (effect: Effect.Effect<CallToolResult, Failure>): Effect.Effect<CallToolResult> =>
  Effect.catchAll(effect, ({ message }) => Effect.succeed(errorResult(message)))

const isSaid = (item: ChatItem): item is Message =>
  item._tag === "Message" && item.role === "assistant" && item.text !== ""

/** The last item of the history, if something was said behind what the host knows. */
const saidBehind = (conversation: Conversation, handle: Handle): Effect.Effect<string | undefined, Failure> =>
  Effect.map(handle.history, ({ items }) => {
    const behind = items.slice(items.findIndex(({ id }) => id === conversation.last) + 1)
    return behind.some(isSaid) ? behind.at(-1)?.id : undefined
  })

/** Listens from the last item that the host was told of, until the agent is silent again or the time is over. */
const listen = (
  conversation: Conversation,
  handle: Handle,
  host: Host,
  wait: Duration.DurationInput,
  begin: Effect.Effect<void, Failure> | undefined
): Effect.Effect<CallToolResult, Failure> =>
  Effect.gen(function* () {
    const texts: Array<string> = []
    /** what was said while nobody waited is told at once */
    const until = begin !== undefined ? undefined : yield* saidBehind(conversation, handle)
    const problems: Array<string> = []
    const done = yield* Deferred.make<void>()
    const end = Effect.asVoid(Deferred.succeed(done, undefined))
    let asking = 0
    let isThinking = false
    /** calls about which the person has decided here: what comes of them is waited for */
    const decided = new Set<string>()
    let isReplyDue = false
    const heard = (event: SessionEvent): Effect.Effect<void, Failure> => {
      switch (event._tag) {
        case "ItemAdded": {
          const { item } = event
          conversation.last = item.id
          if (isSaid(item)) {
            texts.push(item.text)
            host.told(item.text)
            isReplyDue = false
          }
          return item.id === until ? end : Effect.void
        }
        case "ToolCallUpdated":
        case "ToolCallEnded":
          if (decided.delete(event.callId)) isReplyDue = true
          return Effect.void
        case "ToolCallProgress":
          return Effect.sync(() => host.told(event.value))
        case "AgentStateChanged":
          if (event.state !== "listening") isThinking = true
          if (event.state !== "listening" || decided.size > 0 || isReplyDue) return Effect.void
          return isThinking || texts.length > 0 ? end : Effect.void
        case "ApprovalRequested": {
          const { call, reason } = event
          if (!host.canAsk) return end
          asking++
          return Effect.flatMap(host.ask({ name: call.name, arguments: call.arguments, reason }), (decision) => {
            asking--
            if (decision === "later") return end
            decided.add(call.callId)
            // somebody else may have decided meanwhile
            return Effect.ignore(decision === "approve" ? handle.approve(call.callId) : handle.deny(call.callId))
          })
        }
        case "SessionError":
          problems.push(event.error.message)
          return Effect.void
        case "SessionClosed":
          return end
        default:
          return Effect.void
      }
    }
    const listening = yield* handle
      .events({ after: conversation.last })
      .pipe(Stream.runForEach(heard), Effect.ensuring(end), Effect.fork)
    // it listens before anything is said
    yield* Effect.yieldNow()
    yield* begin ?? Effect.void
    /** The person may take their time. */
    const patience: Effect.Effect<void> = Effect.suspend(() =>
      Effect.zipRight(
        Effect.sleep(wait),
        Effect.suspend(() => (asking > 0 ? patience : Effect.void))
      )
    )
    yield* Effect.ensuring(Effect.raceFirst(Deferred.await(done), patience), Fiber.interruptFork(listening))
    const running = yield* handle.runningTools
    const approvals = yield* handle.approvals
    const waiting = new Set(approvals.map(({ callId }) => callId))
    const result = {
      conversation_id: conversation.id,
      text: texts.join("\n\n"),
      running: running
        .filter(({ callId }) => !waiting.has(callId))
        .map(({ callId, name }) => ({ call_id: callId, name })),
      waiting_for_approval: approvals.map(({ callId, name }) => ({ call_id: callId, name })),
      ...(problems.length === 0 ? {} : { problems })
    }
    return {
      content: [{ type: "text", text: JSON.stringify(result) }],
      structuredContent: result,
      ...(problems.length > 0 && texts.length === 0 ? { isError: true } : {})
    } satisfies CallToolResult
  })
