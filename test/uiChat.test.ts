/**
 * The real chat of `@ai-sdk/react` with its default transport, without a browser, before the handler (rules V).
 */
import { Chat } from "@ai-sdk/react"
import { LanguageModel } from "@effect/ai"
import { DefaultChatTransport, type UIMessage } from "ai"
import { Effect, Fiber, Layer, Runtime } from "effect"
import { Agent, RunContext, Sessions } from "effect-meantime"
import { ScriptedModel, TestSession } from "effect-meantime/testing"
import * as Ui from "effect-meantime/ui"
import { approvalsAnswered, approveWith, deferredReplies, patchCalls } from "effect-meantime/ui/client"
import { describe, expect } from "vitest"
import { type Tools, toolCall, toolkit, wait } from "./support/talk.js"
import { it } from "./support/virtual.js"

interface Asked {
  readonly method: string
  readonly url: string
  readonly body: any
  status?: number
}

const served = (script: ScriptedModel.Script, tools: Tools = {}) =>
  Effect.gen(function* () {
    const { kit, layer } = toolkit(tools)
    const { languageModel, service: model } = yield* ScriptedModel.make(script)
    const agent = Agent.make("helper", { instructions: "You help.", tools: [kit] })
    const context = yield* Layer.build(
      Sessions.layer(() => Effect.succeed({ agent, deltas: true })).pipe(
        Layer.provide(layer),
        Layer.provide(Layer.succeed(LanguageModel.LanguageModel, languageModel))
      )
    )
    const handle = yield* Effect.provide(
      Ui.handler({
        authorize: (chatId) =>
          chatId.startsWith("ann") ? Effect.void : Effect.fail(new Ui.UiRequestError({ message: "No.", status: 403 }))
      }),
      context
    )
    const runtime = yield* Effect.runtime()
    const asked: Array<Asked> = []
    const fetchFrom: typeof fetch = async (input, init) => {
      const url = String(input)
      const one: Asked = {
        method: init?.method ?? "GET",
        url,
        body: typeof init?.body === "string" ? JSON.parse(init.body) : undefined
      }
      asked.push(one)
      const { signal, ...rest } = init ?? {}
      const response = await Runtime.runPromise(runtime)(
        handle(new Request(new URL(url, "http://localhost"), rest)),
        signal == null ? {} : { signal }
      )
      one.status = response.status
      // as a connection does
      signal?.addEventListener("abort", () => void response.body?.cancel().catch(() => undefined))
      return response
    }
    const transport = new DefaultChatTransport<UIMessage>({ fetch: fetchFrom })
    const make = (options: { readonly id?: string; readonly messages?: Array<UIMessage> } = {}) => {
      const chat: Chat<UIMessage> = new Chat<UIMessage>({
        id: "ann-1",
        transport,
        onData: (part) => patchCalls(chat)(part),
        sendAutomaticallyWhen: approvalsAnswered,
        ...options
      })
      return chat
    }
    const session = yield* Effect.provide(
      Effect.flatMap(Sessions.Sessions, (sessions) => sessions.get("ann-1")),
      context
    )
    return { make, asked, session, model, transport }
  })

const textOf = ({ parts }: UIMessage) => parts.flatMap((part) => (part.type === "text" ? [part.text] : [])).join("")
const lines = (chat: Chat<UIMessage>) => chat.messages.map((message) => `${message.role}: ${textOf(message)}`)
const callsOf = (chat: Chat<UIMessage>) =>
  chat.messages.flatMap(({ parts }) => parts.filter((part) => "toolCallId" in part) as Array<Record<string, any>>)
const listening = (chat: Chat<UIMessage>) =>
  Effect.acquireRelease(
    Effect.sync(() => deferredReplies(chat)),
    (stop) => Effect.sync(stop)
  )

/** promises of the chat, and the few milliseconds between two requests of a page, are not on the clock */
const until = (look: () => boolean) =>
  Effect.gen(function* () {
    for (let n = 0; n < 2000 && !look(); n++) {
      yield* TestSession.settle
      yield* Effect.promise(() => new Promise((done) => setImmediate(done)))
    }
    expect(look()).toBe(true)
  })

const slow = { slow: () => Effect.zipRight(RunContext.update("on it"), Effect.as(Effect.sleep("1 minute"), "done")) }
const pay = {
  pay: { needsApproval: true, run: ({ n }: { readonly n: number }) => Effect.succeed(`paid ${n}`) }
}

describe("the chat of @ai-sdk/react", () => {
  it.scoped("[V1] [V2] [V9] has the answer as it is written, then its usage and agent", () =>
    Effect.gen(function* () {
      const { make } = yield* served([
        ["Hello ", wait("1 second"), "Ann.", ScriptedModel.finish("stop", { inputTokens: 3, outputTokens: 2 })]
      ])
      const chat = make()
      const sent = chat.sendMessage({ text: "hi" })
      yield* until(() => chat.messages.length === 2)
      expect(chat.status).toBe("streaming")
      expect(lines(chat)).toEqual(["user: hi", "assistant: Hello "])
      yield* TestSession.advance("1 second")
      yield* Effect.promise(() => sent)
      expect(chat.status).toBe("ready")
      expect(lines(chat)).toEqual(["user: hi", "assistant: Hello Ann."])
      expect(chat.messages[1]?.metadata).toEqual({ agent: "helper", usage: { inputTokens: 3, outputTokens: 2 } })
    })
  )

  it.scoped("[V4] [V6] a late result goes to the earlier message, and its reply is one of its own", () =>
    Effect.gen(function* () {
      const { make } = yield* served([toolCall("slow"), "I am on it.", "It is done."], slow)
      const chat = make()
      yield* Effect.promise(() => chat.sendMessage({ text: "go" }))
      expect(callsOf(chat)).toMatchObject([{ state: "output-available", output: "on it", preliminary: true }])
      yield* TestSession.advance("2 minutes")
      yield* listening(chat)
      yield* until(() => chat.messages.length === 3 && chat.status === "ready")
      expect(lines(chat)).toEqual(["user: go", "assistant: I am on it.", "assistant: It is done."])
      expect(callsOf(chat)).toEqual([
        expect.objectContaining({ type: "tool-slow", state: "output-available", output: "done" })
      ])
      expect(callsOf(chat)[0]).not.toHaveProperty("preliminary")
      expect(chat.error).toBe(undefined)
    })
  )

  it.scoped("[V4] a silent result changes the part, and adds no message", () =>
    Effect.gen(function* () {
      const { asked, make } = yield* served([toolCall("slow"), "I am on it."], {
        slow: { delivery: "silent", run: slow.slow }
      })
      const chat = make()
      yield* Effect.promise(() => chat.sendMessage({ text: "go" }))
      yield* TestSession.advance("2 minutes")
      yield* listening(chat)
      // the response has no part of a message, and what the chat has made of it goes
      yield* until(() => callsOf(chat)[0]?.output === "done" && chat.messages.length === 2 && chat.status === "ready")
      expect(asked.find(({ method }) => method === "GET")).toMatchObject({ status: 200 })
      expect(lines(chat)).toEqual(["user: go", "assistant: I am on it."])
    })
  )

  it.scoped("[V7] an approval is sent by itself, runs with the session's arguments, and is sent once", () =>
    Effect.gen(function* () {
      const { asked, make, session } = yield* served([toolCall("pay", { n: 5 }), "Shall I?", "Paid."], pay)
      const chat = make()
      yield* Effect.promise(() => chat.sendMessage({ text: "pay" }))
      expect(callsOf(chat)).toMatchObject([
        { state: "approval-requested", approval: { id: "call_1" }, input: { n: 5 } }
      ])
      chat.messages = chat.messages.map((message) => ({
        ...message,
        parts: message.parts.map((part) => ("toolCallId" in part ? { ...part, input: { n: 999 } } : part))
      })) as Array<UIMessage>
      yield* Effect.promise(async () => chat.addToolApprovalResponse({ id: "call_1", approved: true }))
      yield* until(() => callsOf(chat)[0]?.state === "output-available" && chat.status === "ready")
      expect(callsOf(chat)[0]).toMatchObject({ output: "paid 5" })
      expect(lines(chat)).toEqual(["user: pay", "assistant: Shall I?Paid."])
      yield* TestSession.advance("1 minute")
      expect(asked.filter(({ method }) => method === "POST")).toHaveLength(2)
      expect(yield* session.approvals).toEqual([])
    })
  )

  it.scoped("[V7] also after the agent has spoken again; what it says then is a message of its own", () =>
    Effect.gen(function* () {
      const { asked, make } = yield* served([toolCall("pay", { n: 5 }), "Shall I?", "Sunny.", "Paid."], pay)
      const chat = make()
      yield* Effect.promise(() => chat.sendMessage({ text: "pay" }))
      yield* Effect.promise(() => chat.sendMessage({ text: "weather?" }))
      yield* Effect.promise(async () => chat.addToolApprovalResponse({ id: "call_1", approved: true }))
      yield* until(() => callsOf(chat)[0]?.state === "output-available" && chat.status === "ready")
      yield* listening(chat)
      yield* until(() => callsOf(chat)[0]?.output === "paid 5" && chat.messages.length === 5 && chat.status === "ready")
      expect(lines(chat)).toEqual([
        "user: pay",
        "assistant: Shall I?",
        "user: weather?",
        "assistant: Sunny.",
        "assistant: Paid."
      ])
      expect(chat.error).toBe(undefined)
      expect(asked.filter(({ method }) => method === "POST")).toHaveLength(3)
    })
  )

  it.scoped("[V7] edited arguments; a denial", () =>
    Effect.gen(function* () {
      const { make } = yield* served(
        [[toolCall("pay", { n: 5 }), toolCall("pay", { n: 6 })], "Shall I?", "Paid 7.", "Not the other one."],
        pay
      )
      const chat = make()
      yield* Effect.promise(() => chat.sendMessage({ text: "pay" }))
      yield* Effect.promise(() => approveWith(chat, "call_1", { n: 7 }))
      yield* until(() => callsOf(chat)[0]?.state === "output-available" && chat.status === "ready")
      expect(callsOf(chat)[0]).toMatchObject({ input: { n: 7 }, output: "paid 7" })
      yield* Effect.promise(async () =>
        chat.addToolApprovalResponse({ id: "call_2", approved: false, reason: "too much" })
      )
      yield* until(() => callsOf(chat)[1]?.state === "output-denied" && chat.status === "ready")
      expect(lines(chat).at(-1)).toBe("assistant: Shall I?Paid 7.Not the other one.")
    })
  )

  it.scoped("[V7] arguments that do not fit ask the page again", () =>
    Effect.gen(function* () {
      const { make } = yield* served([toolCall("pay", { n: 5 }), "Shall I?", "Paid."], pay)
      const chat = make()
      yield* Effect.promise(() => chat.sendMessage({ text: "pay" }))
      yield* Effect.promise(() => approveWith(chat, "call_1", { n: "much" }))
      yield* until(() => chat.status === "ready" && callsOf(chat)[0]?.approval?.descriptor !== undefined)
      expect(callsOf(chat)[0]).toMatchObject({ state: "approval-requested" })
      expect(chat.error).toBe(undefined)
      yield* Effect.promise(() => approveWith(chat, "call_1", { n: 8 }))
      yield* until(() => callsOf(chat)[0]?.output === "paid 8")
    })
  )

  it.scoped("[V6] [V8] a page that is loaded again goes on with the answer; nothing was interrupted", () =>
    Effect.gen(function* () {
      const { make, session } = yield* served([["one ", wait("1 minute"), "two"]])
      const chat = make()
      const sent = chat.sendMessage({ text: "go" })
      yield* until(() => chat.messages.length === 2)
      yield* Effect.promise(() => chat.stop())
      yield* Effect.promise(() => sent)
      const messages = Ui.toMessages(yield* session.history) as Array<UIMessage>
      // the answer has the id under which it is streamed, so a replay takes its place
      expect(messages.map(({ id }) => id)).toEqual(["item_1", chat.messages[1]?.id])
      const again = make({ messages })
      const resumed = again.resumeStream()
      yield* until(() => again.status === "streaming")
      expect(lines(again)).toEqual(["user: go", "assistant: one "])
      yield* TestSession.advance("1 minute")
      yield* Effect.promise(() => resumed)
      expect(lines(again)).toEqual(["user: go", "assistant: one two"])
    })
  )

  it.scoped("[V6] a GET that has nothing leaves the chat ready", () =>
    Effect.gen(function* () {
      const { asked, make } = yield* served([])
      const chat = make()
      const resumed = chat.resumeStream()
      yield* TestSession.settle
      expect(chat.status).toBe("ready")
      yield* TestSession.advance("30 seconds")
      yield* Effect.promise(() => resumed)
      expect(chat.status).toBe("ready")
      expect(asked).toMatchObject([{ url: "/api/chat/ann-1/stream", status: 204 }])
    })
  )

  it.scoped("[V3] a regenerated answer, an edit and another's conversation are clear errors, and nothing is sent", () =>
    Effect.gen(function* () {
      const { make, model, session } = yield* served(["hello"])
      const chat = make()
      yield* Effect.promise(() => chat.sendMessage({ text: "hi" }))
      yield* Effect.promise(() => chat.regenerate())
      expect(chat.error?.message).toMatch(/cannot be given again/)
      const edited = make()
      edited.messages = chat.messages.slice(0, 1)
      yield* Effect.promise(() => edited.sendMessage({ text: "other", messageId: chat.messages[0]?.id as string }))
      expect(edited.error?.message).toMatch(/cannot be edited/)
      const other = make({ id: "bob-1" })
      yield* Effect.promise(() => other.sendMessage({ text: "hi" }))
      expect(other.error?.message).toBe("No.")
      expect(yield* model.requests).toHaveLength(1)
      expect((yield* session.history).items).toHaveLength(2)
    })
  )

  it.scoped("[V9] a model that fails is an error of the chat in general words, and the next message is answered", () =>
    Effect.gen(function* () {
      const { make } = yield* served([ScriptedModel.fail("key sk-123 is wrong"), "fine"])
      const chat = make()
      yield* Effect.promise(() => chat.sendMessage({ text: "hi" }))
      expect(chat.status).toBe("error")
      expect(chat.error?.message).toBe("The answer could not be completed. Please try again.")
      yield* Effect.promise(() => chat.sendMessage({ text: "again" }))
      expect(lines(chat).at(-1)).toBe("assistant: fine")
    })
  )
})

describe("many pages", () => {
  it.scoped("[V2] [V8] a conversation that is slow to open keeps no other waiting, and who waits for it may go", () =>
    Effect.gen(function* () {
      const { languageModel } = yield* ScriptedModel.make(() => "Hello.")
      const agent = Agent.make("helper", { instructions: "You help." })
      const context = yield* Layer.build(
        Sessions.layer((id) => Effect.as(id === "slow" ? Effect.never : Effect.void, { agent, deltas: true })).pipe(
          Layer.provide(Layer.succeed(LanguageModel.LanguageModel, languageModel))
        )
      )
      const handle = yield* Effect.provide(Ui.handler({ authorize: () => Effect.void }), context)
      const post = (id: string) =>
        handle(
          new Request("http://localhost/api/chat", {
            method: "POST",
            headers: { "content-type": "application/json" },
            body: JSON.stringify({ id, messages: [{ id: "m1", role: "user", parts: [{ type: "text", text: "hi" }] }] })
          })
        )
      const waits = yield* Effect.fork(post("slow"))
      yield* TestSession.settle
      const response = yield* post("quick").pipe(TestSession.drive)
      expect(response.status).toBe(200)
      expect(yield* Effect.promise(() => response.text())).toContain("Hello.")
      yield* TestSession.drive(Fiber.interrupt(waits))
    })
  )
})
