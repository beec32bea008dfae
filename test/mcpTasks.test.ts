/**
 * Tasks and questions of a server: work in the background, and a sub-conversation in the foreground.
 */
import { describe, expect } from "@effect/vitest"
import { Deferred, Effect, Layer } from "effect"
import { McpClient } from "effect-meantime/mcp"
import { ScriptedModel, TestSession } from "effect-meantime/testing"
import { ages, type Called, serving, taskServer, text, tool } from "./support/mcp.js"
import { talk } from "./support/tools.js"
import { it } from "./support/virtual.js"

const { toolCall } = ScriptedModel

const form = {
  message: "Which city?",
  requestedSchema: {
    type: "object" as const,
    properties: {
      city: { type: "string" as const, title: "City", minLength: 2 },
      nights: { type: "integer" as const, minimum: 1 },
      board: { type: "string" as const, enum: ["none", "half"] },
      smoking: { type: "boolean" as const, default: false }
    },
    required: ["city"]
  }
}

const elicit = (layer: McpClient.Elicit) => Layer.succeed(McpClient.Elicitation, layer)

describe("a tool that its server runs as a task", () => {
  it.scoped("[J5] the call leaves the turn once the task exists; its status is progress, its result comes later", () =>
    Effect.gen(function* () {
      const server = taskServer()
      const toolset = McpClient.toolset("s", { transport: server.transport })
      const { events, outputs, session } = yield* talk({
        tools: [toolset],
        script: [toolCall("research", { a: "x" }, { id: "c1" }), "It runs.", "Here it is."]
      })
      yield* session.send("Go")
      yield* TestSession.settle
      expect(yield* TestSession.said(session)).toEqual(["It runs."])
      server.become({ status: "working", statusMessage: "Reading." })
      yield* TestSession.advance("500 millis")
      yield* TestSession.advance("500 millis")
      server.become({ status: "completed" })
      server.finish(text("found"))
      yield* TestSession.advance("500 millis")
      yield* session.waitForIdle
      expect(yield* TestSession.said(session)).toEqual(["It runs.", "Here it is."])
      expect((yield* events.filter("ToolCallProgress")).map(({ value }) => value)).toEqual([
        { status: "working" },
        { status: "working", message: "Reading." },
        { status: "completed" }
      ])
      expect((yield* outputs).at(-1)).toMatch(/found/)
      expect(server.methods()).toEqual([
        "tools/list",
        "tools/call",
        "tasks/get",
        "tasks/get",
        "tasks/get",
        "tasks/result"
      ])
      expect(server.requests.find(({ method }) => method === "tools/call")?.params).toMatchObject({
        name: "research",
        arguments: { a: "x" },
        task: {}
      })
    })
  )

  for (const [support, tasks, isTask] of [
    ["optional", "auto", true],
    ["required", "never", false],
    ["forbidden", "auto", false]
  ] as const) {
    it.scoped(`[J5] task support ${support} with tasks: ${tasks}`, () =>
      Effect.gen(function* () {
        const server = taskServer(support)
        const toolset = McpClient.toolset("s", { transport: server.transport, defaults: { tasks } })
        const { outputs, session } = yield* talk({
          tools: [toolset],
          script: [toolCall("research", {}, { id: "c1" }), "ok", "ok"]
        })
        yield* session.send("Go")
        yield* TestSession.settle
        const call = server.requests.find(({ method }) => method === "tools/call")
        expect(call?.params.task !== undefined).toBe(isTask)
        if (!isTask) expect(yield* outputs).toEqual(["c1: at once"])
      })
    )
  }

  it.scoped("[J5] [J4] cancelling the call cancels the task, and waits for nothing", () =>
    Effect.gen(function* () {
      const server = taskServer()
      const toolset = McpClient.toolset("s", { transport: server.transport, defaults: { allowCancellation: true } })
      const { events, session } = yield* talk({
        tools: [toolset],
        script: [toolCall("research", {}, { id: "c1" }), "ok", "ok"]
      })
      yield* session.send("Go")
      yield* TestSession.settle
      yield* session.cancelTool("c1")
      yield* TestSession.settle
      expect(server.methods().at(-1)).toBe("tasks/cancel")
      expect((yield* events.filter("ToolCallEnded")).map(({ status }) => status)).toEqual(["cancelled"])
      yield* TestSession.advance("10 seconds")
      expect(server.methods().at(-1)).toBe("tasks/cancel")
    })
  )

  it.scoped("[J5] [J9] a task may take hours, but not of a server that answers nothing any more", () =>
    Effect.gen(function* () {
      const server = taskServer()
      const toolset = McpClient.toolset("s", { transport: server.transport })
      const { outputs, session } = yield* talk({
        tools: [toolset],
        script: [toolCall("research", {}, { id: "c1" }), "ok", "ok"]
      })
      yield* session.send("Go")
      yield* TestSession.advance("3 hours")
      expect((yield* session.runningTools).map(({ callId }) => callId)).toEqual(["c1"])
      server.silent()
      yield* TestSession.advance("62 seconds")
      yield* session.waitForIdle
      expect((yield* outputs).at(-1)).toMatch(/told nothing of research for 1m/)
      expect(yield* session.runningTools).toEqual([])
    })
  )

  for (const [name, status, result, expected] of [
    ["fails", { status: "failed" }, { ...text("no source"), isError: true }, /no source/],
    ["is cancelled there", { status: "cancelled", statusMessage: "Too many." }, text("never"), /Too many\./]
  ] as const) {
    it.scoped(`[J5] [J7] a task that ${name} is an error`, () =>
      Effect.gen(function* () {
        const server = taskServer()
        const toolset = McpClient.toolset("s", { transport: server.transport })
        const { session } = yield* talk({
          tools: [toolset],
          script: [toolCall("research", {}, { id: "c1" }), "ok", "ok"]
        })
        yield* session.send("Go")
        yield* TestSession.settle
        server.become(status)
        server.finish(result)
        yield* TestSession.advance("1 second")
        yield* session.waitForIdle
        const last = (yield* TestSession.outputs(session)).at(-1)
        expect([last?.isError, String(last?.output)]).toEqual([true, expect.stringMatching(expected)])
      })
    )
  }

  it.scoped("[J5] [J6] one that waits for the user is asked for its result, and its question goes to its call", () =>
    Effect.gen(function* () {
      const server = taskServer()
      const toolset = McpClient.toolset("s", { transport: server.transport })
      const { requests, session } = yield* talk({
        tools: [toolset],
        script: [
          toolCall("research", {}, { id: "c1" }),
          "It runs.",
          "Which city?",
          toolCall("complete", { city: "Oslo" }),
          "Here it is."
        ]
      })
      yield* session.send("Go")
      yield* TestSession.settle
      server.become({ status: "input_required" })
      yield* TestSession.advance("500 millis")
      expect(server.methods().at(-1)).toBe("tasks/result")
      server.ask(form, "t1")
      yield* TestSession.settle
      expect((yield* TestSession.said(session)).at(-1)).toBe("Which city?")
      expect((yield* requests).at(-1)?.tools.map(({ name }) => name)).toEqual(["decline", "complete"])
      // nobody is in a hurry
      yield* TestSession.advance("1 hour")
      yield* session.send("Oslo.")
      yield* TestSession.settle
      expect(server.answered).toEqual([{ action: "accept", content: { city: "Oslo", smoking: false } }])
      server.become({ status: "completed" })
      server.finish(text("found"))
      yield* TestSession.advance("1 second")
      yield* session.waitForIdle
      expect((yield* TestSession.said(session)).at(-1)).toBe("Here it is.")
    })
  )
})

/** Asks in the way of its age, and answers the call with what it was told. */
const asking = (params: Record<string, unknown>) => async (call: Called) => {
  if (call.context.mcpReq.envelope === undefined) {
    const answer = await call.server.elicitInput(params as never)
    call.answer(text(JSON.stringify(answer)))
  } else if (call.context.mcpReq.inputResponses === undefined) {
    call.answer({
      resultType: "input_required",
      inputRequests: { q: { method: "elicitation/create", params: { mode: "form", ...params } } },
      requestState: "s1"
    })
  } else {
    const state = call.context.mcpReq.requestState()
    if (state !== "s1") call.answer(text(`state ${state}`))
    else call.answer(text(JSON.stringify(call.context.mcpReq.inputResponses.q)))
  }
}

for (const age of ages) {
  describe(`a question of a server of ${age}`, () => {
    it.scoped("[J6] is a task in the foreground: what it completes with is accepted, once it fits the form", () =>
      Effect.gen(function* () {
        const server = serving(age, [tool("book")], asking(form))
        const toolset = McpClient.toolset("s", { transport: server.transport })
        const { outputs, requests, session } = yield* talk({
          tools: [toolset],
          script: [
            toolCall("book", {}, { id: "c1" }),
            "Which city?",
            toolCall("complete", { city: "O", nights: 0 }),
            toolCall("complete", { city: "Oslo", nights: 2, board: "half" }),
            "Booked."
          ]
        })
        yield* session.send("Go")
        yield* TestSession.settle
        expect(yield* TestSession.said(session)).toEqual(["Which city?"])
        const request = (yield* requests).at(-1)
        const complete = request?.tools.find(({ name }) => name === "complete")?.jsonSchema as any
        expect(complete.properties.board.enum).toEqual(["none", "half"])
        expect(complete.required).toEqual(["city"])
        expect(JSON.stringify(request?.prompt)).toContain('The server \\"s\\" behind it asks:')
        yield* session.send("Oslo, two nights.")
        yield* session.waitForIdle
        const lines = yield* outputs
        expect(lines.some((line) => line.includes("Invalid") || line.includes("invalid"))).toBe(true)
        expect(JSON.parse(lines.find((line) => line.startsWith("c1: "))?.slice(4) ?? "")).toEqual({
          action: "accept",
          content: { city: "Oslo", nights: 2, board: "half", smoking: false }
        })
        expect((yield* TestSession.said(session)).at(-1)).toBe("Booked.")
      })
    )

    it.scoped("[J6] declined with the task's second tool", () =>
      Effect.gen(function* () {
        const server = serving(age, [tool("book")], asking(form))
        const toolset = McpClient.toolset("s", { transport: server.transport })
        const { outputs, session } = yield* talk({
          tools: [toolset],
          script: [
            toolCall("book", {}, { id: "c1" }),
            "Which city?",
            toolCall("decline", { reason: "The user would rather not say." }),
            "Fine."
          ]
        })
        yield* session.run("Go").pipe(Effect.fork)
        yield* TestSession.settle
        yield* session.send("I'd rather not say.")
        yield* session.waitForIdle
        expect((yield* outputs).filter((line) => line.startsWith("c1"))).toEqual(['c1: {"action":"decline"}'])
      })
    )

    it.scoped("[J6] a function of the program gets it with its server and its call; one that dies cancels", () =>
      Effect.gen(function* () {
        const seen: Array<unknown> = []
        const server = serving(age, [tool("book")], asking(form))
        const toolset = McpClient.toolset("s", { transport: server.transport })
        const { logs, outputs, session } = yield* talk({
          tools: [toolset],
          layers: elicit((question, call) =>
            seen.length > 0
              ? Effect.die("a bug")
              : Effect.sync(() => {
                  seen.push([question.server, question.message, call?.callId, "schema" in question])
                  return { action: "accept", content: { city: "Rome" } }
                })
          ),
          script: [toolCall("book", {}, { id: "c1" }), "ok", toolCall("book", {}, { id: "c2" }), "ok"]
        })
        yield* session.run("Go")
        yield* session.run("Again")
        expect(seen).toEqual([["s", "Which city?", "c1", true]])
        expect(yield* outputs).toEqual([
          'c1: {"action":"accept","content":{"smoking":false,"city":"Rome"}}',
          'c2: {"action":"cancel"}'
        ])
        expect(logs.map(({ text }) => text)).toEqual(['The question of the MCP server "s" was not answered.'])
      })
    )

    it.scoped(
      "[J6] [J9] while the user thinks, the server is not silent; interruption ends the question with its call",
      () =>
        Effect.gen(function* () {
          const ended = yield* Deferred.make<void>()
          const server = serving(age, [tool("book")], asking(form))
          const toolset = McpClient.toolset("s", { transport: server.transport, defaults: { allowCancellation: true } })
          const { session } = yield* talk({
            tools: [toolset],
            layers: elicit(() => Effect.onInterrupt(Effect.never, () => Deferred.succeed(ended, undefined))),
            script: [toolCall("book", {}, { id: "c1" }), "ok"]
          })
          yield* session.send("Go")
          yield* TestSession.advance("1 hour")
          expect((yield* session.runningTools).map(({ callId }) => callId)).toEqual(["c1"])
          yield* session.cancelTool("c1")
          yield* Deferred.await(ended)
          expect(yield* session.runningTools).toEqual([])
        })
    )

    it.scoped("[J6] with never the server is told that it may not ask", () =>
      Effect.gen(function* () {
        const server = serving(age, [tool("book")], (call) =>
          call.answer(text(JSON.stringify(call.server.getClientCapabilities()?.elicitation ?? "none")))
        )
        const toolset = McpClient.toolset("s", { transport: server.transport })
        const { outputs, session } = yield* talk({
          tools: [toolset],
          layers: elicit("never"),
          script: [toolCall("book", {}, { id: "c1" }), "ok"]
        })
        yield* session.run("Go")
        expect(yield* outputs).toEqual(['c1: "none"'])
      })
    )
  })
}

describe("a question", () => {
  it.scoped("[J6] of the older protocol, while several calls are in flight, is told cancel, with a warning", () =>
    Effect.gen(function* () {
      const told: Array<unknown> = []
      const server = serving("2025", [tool("book")], (call) => {
        if (server.calls.length < 2) return
        void call.server.elicitInput(form as never).then((answer) => {
          told.push(answer)
          for (const { answer } of server.calls) answer(text("done"))
        })
      })
      const toolset = McpClient.toolset("s", { transport: server.transport })
      const { logs, session } = yield* talk({
        tools: [toolset],
        script: [[toolCall("book", {}, { id: "c1" }), toolCall("book", {}, { id: "c2" })], "ok"]
      })
      yield* session.run("Go")
      expect(told).toEqual([{ action: "cancel" }])
      expect(logs.map(({ text }) => text)).toEqual([
        'The MCP server "s" asked something, and no call that it can belong to: it was told "cancel".'
      ])
    })
  )

  it.scoped("[J6] with a URL goes only to a function of the program", () =>
    Effect.gen(function* () {
      const url = { mode: "url", message: "Log in.", url: "https://example.com/login", elicitationId: "e1" }
      const server = serving("2026", [tool("login")], asking(url))
      const toolset = McpClient.toolset("s", { transport: server.transport })
      const seen: Array<unknown> = []
      const script = [toolCall("login", {}, { id: "c1" }), "ok"]
      const second = yield* talk({
        tools: [toolset],
        layers: elicit((question) =>
          Effect.sync(() => {
            seen.push(question)
            return { action: "accept" }
          })
        ),
        script
      })
      yield* second.session.run("Go")
      expect(seen).toEqual([{ server: "s", message: "Log in.", url: "https://example.com/login" }])
      expect(yield* second.outputs).toEqual(['c1: {"action":"accept"}'])
    })
  )
})
