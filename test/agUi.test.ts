/**
 * A session as events of AG-UI, read by the real `@ag-ui/client` (rule V10).
 */
import { HttpAgent } from "@ag-ui/client"
import { Effect, Fiber, Runtime, Stream } from "effect"
import { RunContext, Sessions } from "effect-meantime"
import { ScriptedModel, TestSession } from "effect-meantime/testing"
import * as Ui from "effect-meantime/ui"
import { describe, expect } from "vitest"
import { modelFailed, type Setup, talk, toolCall } from "./support/talk.js"
import { it } from "./support/virtual.js"

const client = (setup: Setup) =>
  Effect.gen(function* () {
    const spoken = yield* talk({ pace: "instant", deltas: true, ...setup })
    const handle = Sessions.fromSession(spoken.session)
    const runtime = yield* Effect.runtime()
    const events: Array<Record<string, any>> = []
    const agent = new HttpAgent({
      url: "http://localhost/agent",
      threadId: "thread-1",
      fetch: (_, init) =>
        Runtime.runPromise(runtime)(
          Ui.agUiResponse(
            Stream.tap(Ui.agUi(handle, JSON.parse(String(init?.body))), (event) =>
              Effect.sync(() => events.push(event))
            )
          )
        )
    })
    let n = 0
    const run = (options: Parameters<typeof agent.runAgent>[0] = {}) =>
      Effect.gen(function* () {
        events.length = 0
        const fiber = yield* Effect.forkScoped(
          Effect.tryPromise(() => agent.runAgent({ runId: `run-${++n}`, ...options }))
        )
        for (let n = 0; n < 500 && fiber.unsafePoll() === null; n++) {
          yield* TestSession.settle
          yield* Effect.promise(() => new Promise((done) => setImmediate(done)))
        }
        return yield* Fiber.join(fiber)
      })
    const say = (content: string) => {
      agent.addMessage({ id: `user-${content}`, role: "user", content })
      return run()
    }
    return { ...spoken, agent, events, run, say }
  })

const slow = { slow: () => Effect.zipRight(RunContext.update("on it"), Effect.as(Effect.sleep("1 minute"), "done")) }
const pay = {
  pay: { needsApproval: true, run: ({ n }: { readonly n: number }) => Effect.succeed(`paid ${n}`) }
}

describe("a run of AG-UI", () => {
  it.scoped("[V10] begins with RUN_STARTED, has texts and calls, and ends with the usage", () =>
    Effect.gen(function* () {
      const { agent, events, say } = yield* client({
        script: [
          ["Let me look.", toolCall("look", { n: 1 }), ScriptedModel.finish("tool-calls", { inputTokens: 1 })],
          [ScriptedModel.reasoning("so"), "It is 5.", ScriptedModel.finish("stop", { inputTokens: 2 })]
        ],
        tools: { look: () => Effect.succeed({ celsius: 5 }) }
      })
      yield* say("hi")
      expect(events.map(({ type }) => type).filter((type, i, all) => type !== all[i - 1])).toEqual([
        "RUN_STARTED",
        "TEXT_MESSAGE_START",
        "TEXT_MESSAGE_CONTENT",
        "TEXT_MESSAGE_END",
        "TOOL_CALL_START",
        "TOOL_CALL_ARGS",
        "TOOL_CALL_END",
        "TOOL_CALL_RESULT",
        "REASONING_START",
        "REASONING_MESSAGE_START",
        "REASONING_MESSAGE_CONTENT",
        "REASONING_MESSAGE_END",
        "REASONING_END",
        "TEXT_MESSAGE_START",
        "TEXT_MESSAGE_CONTENT",
        "TEXT_MESSAGE_END",
        "RUN_FINISHED"
      ])
      expect(events.at(-1)).toMatchObject({
        threadId: "thread-1",
        outcome: { type: "success" },
        usage: [{ inputTokens: 3 }],
        metadata: { agent: "helper" }
      })
      expect(agent.messages.map(({ role }) => role)).toEqual([
        "user",
        "assistant",
        "assistant",
        "tool",
        "reasoning",
        "assistant"
      ])
    })
  )

  it.scoped("[V10] a late result of an earlier run's call is an event of the run in which it comes", () =>
    Effect.gen(function* () {
      const { events, say } = yield* client({
        script: [
          toolCall("slow"),
          "I am on it.",
          [ScriptedModel.effect(Effect.sleep("2 minutes")), "Yes."],
          "It is done."
        ],
        tools: slow
      })
      yield* say("go")
      expect(events.filter(({ type }) => type === "TOOL_CALL_RESULT")).toMatchObject([{ content: "on it" }])
      const second = yield* Effect.forkScoped(say("really?"))
      yield* TestSession.settle
      yield* TestSession.advance("90 seconds")
      yield* TestSession.advance("90 seconds")
      yield* Fiber.join(second)
      expect(events.filter(({ type }) => type === "TOOL_CALL_RESULT")).toMatchObject([
        { toolCallId: "call_1", content: "done" }
      ])
      expect(events.at(-1)).toMatchObject({ type: "RUN_FINISHED" })
    })
  )

  it.scoped("[V10] what was said between two runs is in a snapshot", () =>
    Effect.gen(function* () {
      const { agent, events, say } = yield* client({
        script: [toolCall("slow"), "I am on it.", "It is done.", "You are welcome."],
        tools: slow
      })
      yield* say("go")
      yield* TestSession.advance("2 minutes")
      yield* say("thanks")
      expect(events[1]).toMatchObject({ type: "MESSAGES_SNAPSHOT" })
      expect(
        agent.messages.flatMap(({ content, role }) =>
          typeof content === "string" && content !== "" ? [`${role}: ${content}`] : []
        )
      ).toEqual([
        "user: go",
        "tool: done",
        "assistant: I am on it.",
        "assistant: It is done.",
        "user: thanks",
        "assistant: You are welcome."
      ])
    })
  )

  it.scoped("[V10] what waits for approval ends a run as an interrupt that a later one resumes", () =>
    Effect.gen(function* () {
      const { agent, events, run, say, session } = yield* client({
        script: [[toolCall("pay", { n: 5 }), toolCall("pay", { n: 6 })], "Shall I?", "Paid 7.", "Not 6."],
        tools: pay
      })
      yield* say("pay")
      expect(events.at(-1)).toMatchObject({
        type: "RUN_FINISHED",
        outcome: {
          type: "interrupt",
          interrupts: [
            { id: "call_1", toolCallId: "call_1", metadata: { toolName: "pay", arguments: { n: 5 } } },
            { id: "call_2", toolCallId: "call_2" }
          ]
        }
      })
      expect(agent.pendingInterrupts).toHaveLength(2)
      yield* run({
        resume: [
          { interruptId: "call_1", status: "resolved", payload: { approved: true, editedArgs: { n: 7 } } },
          { interruptId: "call_2", status: "cancelled" }
        ]
      })
      const results = events.filter(({ type }) => type === "TOOL_CALL_RESULT")
      expect(results.filter(({ toolCallId }) => toolCallId === "call_1").at(-1)?.content).toBe("paid 7")
      expect(results.filter(({ toolCallId }) => toolCallId === "call_2")).toHaveLength(1)
      expect(events.at(-1)).toMatchObject({ type: "RUN_FINISHED", outcome: { type: "success" } })
      expect(agent.pendingInterrupts).toEqual([])
      expect(yield* session.approvals).toEqual([])
    })
  )

  it.scoped("[V10] [V9] a model that fails, and bad input, are a RUN_ERROR; nothing is sent", () =>
    Effect.gen(function* () {
      const { events, lines, say, session } = yield* client({
        script: [ScriptedModel.fail("key sk-123")],
        logs: [modelFailed]
      })
      yield* Effect.exit(say("hi"))
      expect(events.map(({ type }) => type)).toEqual(["RUN_STARTED", "RUN_ERROR"])
      expect(JSON.stringify(events)).not.toMatch(/sk-123/)
      const before = yield* lines
      const handle = Sessions.fromSession(session)
      const bad: ReadonlyArray<unknown> = [
        undefined,
        7,
        {},
        { messages: [] },
        { messages: [{ role: "user", content: 7 }] },
        { messages: [{ id: "a", role: "user", content: " " }] },
        { messages: [], resume: {} },
        { messages: [], resume: [{ interruptId: "call_1", status: "resolved", payload: "yes" }] },
        { messages: [], resume: [{ interruptId: "nobody", status: "resolved", payload: true }] }
      ]
      for (const input of bad) {
        const told = Array.from(yield* Stream.runCollect(Ui.agUi(handle, input)))
        expect(told).toMatchObject([{ type: "RUN_STARTED" }, { type: "RUN_ERROR", code: "bad_request" }])
      }
      expect(yield* lines).toEqual(before)
    })
  )
})
