/**
 * The client of the Model Context Protocol, beside servers of the official package in this process, in virtual time. What
 * needs processes and sockets is in `test/mcp`.
 */
import { describe, expect } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, Layer, Stream } from "effect"
import { Agent, ApprovalPolicy, type AsyncToolset, DuplicatePolicy } from "effect-meantime"
import { McpClient } from "effect-meantime/mcp"
import { ScriptedModel, TestSession } from "effect-meantime/testing"
import { ages, serving, text, tool } from "./support/mcp.js"
import { talk } from "./support/tools.js"
import { it } from "./support/virtual.js"

const { toolCall } = ScriptedModel

/** What building the toolset dies with. */
const refusal = (toolset: AsyncToolset.AsyncToolset<never>) =>
  Effect.map(Effect.exit(talk({ tools: [toolset], script: [] })), (exit) =>
    Exit.isFailure(exit) ? String((Cause.squash(exit.cause) as Error).message) : "built"
  )

for (const age of ages) {
  describe(`a server of ${age}`, () => {
    it.scoped(
      "[J1] name, description and schema reach the model unchanged, and the server gets the original name",
      () =>
        Effect.gen(function* () {
          const schema = {
            type: "object" as const,
            properties: { path: { type: "string", pattern: "^/", "x-own": { deep: [1, null] } }, on: true },
            required: ["path"],
            $defs: { a: { const: 1 } },
            additionalProperties: false
          }
          const server = serving(
            age,
            [
              tool("files.read me", { description: "Reads – all of it.", inputSchema: schema }),
              tool("ok"),
              tool("left_out")
            ],
            (call) => call.answer(text(`${call.name} ${JSON.stringify(call.args)}`))
          )
          const toolset = McpClient.toolset("files", {
            transport: server.transport,
            tools: ({ name }) => name !== "left_out",
            prefix: "fs_",
            options: { "files.read me": { allowCancellation: true } }
          })
          const { outputs, requests, session } = yield* talk({
            tools: [toolset],
            script: [
              [toolCall("fs_files_read_me", { path: "/a" }, { id: "c1" }), toolCall("fs_ok", {}, { id: "c2" })],
              "ok"
            ]
          })
          yield* session.run("Go")
          const [request] = yield* requests
          expect(request?.tools.map(({ name }) => name)).toEqual([
            "fs_files_read_me",
            "fs_ok",
            "cancel_task",
            "get_running_tasks"
          ])
          expect(request?.tools[0]?.description).toBe("Reads – all of it.")
          expect(request?.tools[0]?.jsonSchema).toEqual(schema)
          expect(yield* outputs).toEqual(['c1: files.read me {"path":"/a"}', "c2: ok {}"])
        })
    )

    it.scoped(
      "[J2] the list stands as long as its agent, what changes is told by content, and a hand-off lists anew",
      () =>
        Effect.gen(function* () {
          const server = serving(age, [tool("one"), tool("two")])
          const client = yield* McpClient.connect("s", { transport: server.transport })
          const told: Array<McpClient.Changes> = []
          yield* Effect.forkScoped(
            Stream.runForEach(client.changes, (changes) => Effect.sync(() => told.push(changes)))
          )
          const { requests, session } = yield* talk({ tools: [client.toolset], script: ["a", "b", "c"] })
          yield* session.run("Go")
          // unprompted, with the list as it was
          yield* Effect.promise(server.listChanged)
          yield* TestSession.settle
          expect(told).toEqual([])
          server.list.splice(0, 2, tool("two", { description: "new" }), tool("three"))
          yield* Effect.promise(server.listChanged)
          yield* TestSession.settle
          expect(told).toEqual([{ added: ["three"], removed: ["one"], changed: ["two"] }])
          yield* session.run("Go")
          yield* session.handoff(Agent.make("agent", { instructions: "x", tools: [client.toolset] }))
          yield* session.run("Go")
          expect((yield* requests).map(({ tools }) => tools.map(({ name }) => name))).toEqual([
            ["one", "two"],
            ["one", "two"],
            ["two", "three"]
          ])
          expect(server.opened()).toBe(1)
        })
    )

    it.scoped("[J3] progress is RunContext.progress, or updates, equal ones once, or nothing", () =>
      Effect.gen(function* () {
        const server = serving(age, [tool("shown"), tool("told"), tool("ignored")], async (call) => {
          await call.progress(1, "Half.")
          await call.progress(2, "Half.")
          await call.progress(3)
          call.answer(text("done"))
        })
        const toolset = McpClient.toolset("s", {
          transport: server.transport,
          options: { told: { onProgress: "update" }, ignored: { onProgress: "ignore" } }
        })
        const { events, outputs, session } = yield* talk({
          tools: [toolset],
          script: [["shown", "told", "ignored"].map((name) => toolCall(name, {}, { id: name })), "ok", "and done"]
        })
        yield* session.run("Go")
        const progress = yield* events.filter("ToolCallProgress")
        const shown = progress.filter(({ callId }) => callId === "shown")
        expect(shown.map(({ value }) => value)).toEqual([
          { progress: 1, message: "Half." },
          { progress: 2, message: "Half." },
          { progress: 3 }
        ])
        expect(progress.filter(({ callId }) => callId === "told").map(({ value }) => value)).toEqual([{ progress: 3 }])
        expect(progress).toHaveLength(4)
        const lines = yield* outputs
        expect(lines.filter((line) => line.startsWith("told")).join()).toContain("Half.")
        expect(lines.filter((line) => line.includes("Half."))).toHaveLength(1)
        expect(lines).toContain("ignored: done")
      })
    )

    it.scoped(
      "[J4] cancellation reaches the server and waits for nothing; what comes after it is ignored without a log",
      () =>
        Effect.gen(function* () {
          const server = serving(age, [tool("slow")])
          const toolset = McpClient.toolset("s", {
            transport: server.transport,
            defaults: { allowCancellation: true, onProgress: "update" }
          })
          const { events, logs, outputs, session } = yield* talk({
            tools: [toolset],
            script: [toolCall("slow", {}, { id: "c1" }), "ok", "ok"]
          })
          yield* session.send("Go")
          yield* TestSession.settle
          const [call] = server.calls
          yield* session.cancelTool("c1")
          yield* TestSession.settle
          expect(call?.context.mcpReq.signal.aborted).toBe(true)
          yield* Effect.promise(() => call?.progress(1, "late") ?? Promise.resolve())
          call?.answer(text("late"))
          yield* TestSession.settle
          expect((yield* events.filter("ToolCallEnded")).map(({ callId, status }) => [callId, status])).toEqual([
            ["c1", "cancelled"]
          ])
          expect((yield* outputs).join()).not.toContain("late")
          expect(logs).toEqual([])
        })
    )

    it.scoped("[J7] structured content, else texts; images and resources are files; errors are the tool's", () =>
      Effect.gen(function* () {
        const results: Record<string, Record<string, unknown>> = {
          structured: { content: [{ type: "text", text: "{}" }], structuredContent: { n: 1 } },
          texts: {
            content: [
              { type: "text", text: "a" },
              { type: "text", text: "b" }
            ]
          },
          files: {
            content: [
              { type: "text", text: "See." },
              { type: "image", data: "aGk=", mimeType: "image/png" },
              { type: "resource", resource: { uri: "file:///d/notes.txt", text: "hi", mimeType: "text/plain" } },
              { type: "resource", resource: { uri: "file:///d/x.bin", blob: "AAA=" } },
              { type: "resource_link", uri: "file:///d/big", name: "big" }
            ]
          },
          error: { ...text("no such file"), isError: true },
          empty: { content: [] }
        }
        const names = [...Object.keys(results), "refused"]
        const server = serving(
          age,
          names.map((name) => tool(name)),
          (call) =>
            call.name === "refused" ? call.fail(new Error("out of order")) : call.answer(results[call.name] ?? {})
        )
        const toolset = McpClient.toolset("s", { transport: server.transport })
        const { outputs, session } = yield* talk({
          tools: [toolset],
          script: [names.map((name) => toolCall(name, {}, { id: name })), "ok"]
        })
        yield* session.run("Go")
        expect(yield* outputs).toEqual([
          'structured: {"n":1}',
          "texts: a\nb",
          "files: See.\nbig – file:///d/big",
          "error! no such file",
          "empty: ",
          expect.stringMatching(/^refused! The MCP server "s" refused refused: .*out of order/)
        ])
        const files = (yield* TestSession.outputs(session))[2]?.files
        expect(files?.map(({ data, mediaType, name }) => [data, mediaType, name])).toEqual([
          ["aGk=", "image/png", undefined],
          ["aGk=", "text/plain", "notes.txt"],
          ["AAA=", "application/octet-stream", "x.bin"]
        ])
      })
    )

    it.scoped("[J8] calls in flight fail with the connection, and the next ones share a new one", () =>
      Effect.gen(function* () {
        const server = serving(age, [tool("slow"), tool("quick")], (call) => {
          if (call.name === "quick") call.answer(text("here"))
        })
        const toolset = McpClient.toolset("s", { transport: server.transport })
        const { outputs, session } = yield* talk({
          tools: [toolset],
          script: [
            [toolCall("slow", {}, { id: "c1" }), toolCall("slow", {}, { id: "c2" })],
            "ok",
            [toolCall("quick", {}, { id: "c3" }), toolCall("quick", {}, { id: "c4" })],
            "ok"
          ]
        })
        yield* session.send("Go")
        yield* TestSession.settle
        yield* Effect.promise(server.kill)
        yield* session.waitForIdle
        yield* session.run("Go on")
        expect(yield* outputs).toEqual([
          expect.stringMatching(/^c1! The connection to the MCP server "s" was lost: .* not known whether slow/),
          expect.stringMatching(/^c2! The connection to the MCP server "s" was lost/),
          "c3: here",
          "c4: here"
        ])
        expect(server.opened()).toBe(2)
        expect(server.calls.map(({ name }) => name)).toEqual(["slow", "slow", "quick", "quick"])
      })
    )

    it.scoped("[J8] a lost call is made again only if its tool is said to be idempotent", () =>
      Effect.gen(function* () {
        const server = serving(age, [tool("slow", { annotations: { idempotentHint: true } }), tool("told")])
        const toolset = McpClient.toolset("s", {
          transport: server.transport,
          options: { told: { retry: "idempotent" } }
        })
        const { outputs, session } = yield* talk({
          tools: [toolset],
          script: [[toolCall("slow", {}, { id: "c1" }), toolCall("told", {}, { id: "c2" })], "ok"]
        })
        yield* session.send("Go")
        yield* TestSession.settle
        yield* Effect.promise(server.kill)
        yield* TestSession.settle
        expect(server.calls.map(({ name }) => name)).toEqual(["slow", "told", "told"])
        server.calls[2]?.answer(text("at last"))
        yield* session.waitForIdle
        expect(yield* outputs).toEqual([expect.stringMatching(/^c1! /), "c2: at last"])
      })
    )

    it.scoped(
      "[J8] while the server is down a call fails after ten seconds, and names it; once it is back, calls work",
      () =>
        Effect.gen(function* () {
          const server = serving(age, [tool("quick")], (call) => call.answer(text("here")))
          const toolset = McpClient.toolset("s", { transport: server.transport })
          const { outputs, session } = yield* talk({
            tools: [toolset],
            script: [
              [toolCall("quick", {}, { id: "c1" }), toolCall("quick", {}, { id: "c2" })],
              "ok",
              toolCall("quick", {}, { id: "c3" }),
              "ok"
            ]
          })
          server.down(true)
          yield* Effect.promise(server.kill)
          const turn = yield* Effect.fork(session.run("Go"))
          yield* TestSession.advance("9 seconds")
          expect(yield* outputs).toEqual([])
          yield* TestSession.advance("1 second")
          yield* Fiber.join(turn)
          expect(yield* outputs).toEqual([
            expect.stringMatching(/^c1! The MCP server "s" cannot be reached: .*nobody is there/),
            expect.stringMatching(/^c2! The MCP server "s" cannot be reached: .*nobody is there/)
          ])
          const tried = server.opened()
          // one after another, not for each call that waits
          expect(tried).toBeLessThan(20)
          const again = yield* Effect.fork(session.run("Go on"))
          yield* TestSession.advance("1 second")
          server.down(false)
          yield* TestSession.advance("2 seconds")
          yield* Fiber.join(again)
          expect((yield* outputs).at(-1)).toBe("c3: here")
        })
    )

    it.scoped(
      "[J9] a server that tells nothing is given up; progress and a timeout of the tool's own change that",
      () =>
        Effect.gen(function* () {
          const server = serving(age, [tool("silent"), tool("talking"), tool("timed"), tool("patient")])
          const toolset = McpClient.toolset("s", {
            transport: server.transport,
            options: { timed: { timeout: "3 minutes" }, patient: { idleTimeout: "10 minutes" } }
          })
          const names = ["silent", "talking", "timed", "patient"]
          const { outputs, session } = yield* talk({
            tools: [toolset],
            script: [names.map((name) => toolCall(name, {}, { id: name })), "ok"]
          })
          yield* session.send("Go")
          yield* TestSession.advance("50 seconds")
          yield* Effect.promise(() => server.calls[1]?.progress(1) ?? Promise.resolve())
          yield* TestSession.advance("10 seconds")
          expect(server.calls.map(({ context }) => context.mcpReq.signal.aborted)).toEqual([true, false, false, false])
          yield* TestSession.advance("50 seconds")
          expect(server.calls.map(({ context }) => context.mcpReq.signal.aborted)).toEqual([true, true, false, false])
          yield* TestSession.advance("70 seconds")
          server.calls[3]?.answer(text("there"))
          yield* session.waitForIdle
          expect(yield* outputs).toEqual([
            'silent! The MCP server "s" told nothing of silent for 1m, so the call was given up.',
            'talking! The MCP server "s" told nothing of talking for 1m, so the call was given up.',
            expect.stringMatching(/^timed! /),
            "patient: there"
          ])
        })
    )

    it.scoped("[J10] what a server says of its tools is shown, and neither switches an approval off nor a check", () =>
      Effect.gen(function* () {
        const server = serving(
          age,
          [
            tool("reader", { annotations: { readOnlyHint: true, idempotentHint: true, title: "Reader" } }),
            tool("mild", { annotations: { destructiveHint: false } })
          ],
          (call) => call.answer(text("done"))
        )
        const toolset = McpClient.toolset("s", { transport: server.transport })
        const facts: Array<ApprovalPolicy.ToolFacts> = []
        const first = yield* talk({
          tools: [toolset],
          layers: ApprovalPolicy.layer("destructive"),
          script: [[toolCall("reader", {}, { id: "c1" }), toolCall("mild", {}, { id: "c2" })], "ok"]
        })
        yield* first.send("Go")
        expect((yield* first.session.approvals).map(({ callId }) => callId)).toEqual(["c1", "c2"])
        const second = yield* talk({
          tools: [toolset],
          layers: Layer.merge(
            ApprovalPolicy.make((_, tool) => {
              facts.push(tool)
              return Effect.succeed(ApprovalPolicy.run)
            }),
            DuplicatePolicy.layer("reject", { allow: "idempotent" })
          ),
          script: [[toolCall("reader", {}, { id: "c1" }), toolCall("reader", {}, { id: "c2" })], "ok"]
        })
        yield* second.session.run("Go")
        expect(facts.every(({ destructive, readonly }) => !readonly && !destructive)).toBe(true)
        expect((yield* second.outputs).filter((line) => line.includes("done"))).toHaveLength(1)
      })
    )
  })
}

describe("a client", () => {
  it.scoped("[J1] two names that become one fail the build, and both are named", () =>
    Effect.gen(function* () {
      const server = serving("2025", [tool("a.b"), tool("a b"), tool("c")])
      expect(yield* refusal(McpClient.toolset("s", { transport: server.transport }))).toBe(
        'Two tools of the MCP server "s" would be named "a_b": "a.b" and "a b". Leave one of them out with the option tools.'
      )
      const long = serving("2025", [tool("x".repeat(70)), tool(`${"x".repeat(69)}y`)])
      expect(yield* refusal(McpClient.toolset("s", { transport: long.transport }))).toContain('named "xxx')
    })
  )

  it.scoped("[J1] options of a tool that is not there are told of", () =>
    Effect.gen(function* () {
      const server = serving("2025", [tool("a")])
      const { logs } = yield* talk({
        tools: [McpClient.toolset("s", { transport: server.transport, options: { b: { needsApproval: true } } })],
        script: []
      })
      expect(logs.map(({ text }) => text)).toEqual(['The MCP server "s" has no tool b, for which there are options.'])
    })
  )

  for (const [name, options, problem] of [
    ["transport", { transport: { type: "carrier pigeon" } }, /transport of MCP server "s" has to be of the type/],
    ["url", { transport: { type: "http", url: "nowhere" } }, /needs a url/],
    ["idleTimeout", { options: { a: { idleTimeout: 0 } } }, /idleTimeout of a of MCP server "s" has to be a time/],
    ["onProgress", { defaults: { onProgress: "yes" } }, /onProgress of defaults of MCP server "s" has to be/]
  ] as const) {
    it.scoped(`[L3] [J1] an option that makes no sense is refused: ${name}`, () =>
      Effect.gen(function* () {
        const { transport } = serving("2025", [])
        const given = { transport, ...options } as unknown as McpClient.Options
        expect(yield* refusal(McpClient.toolset("s", given))).toMatch(problem)
      })
    )
  }

  it.scoped("[J8] a server that is not there fails the build, or is left out with a warning", () =>
    Effect.gen(function* () {
      const server = serving("2025", [tool("a")])
      server.down(true)
      expect(yield* refusal(McpClient.toolset("s", { transport: server.transport }))).toMatch(
        /^The MCP server "s" cannot be reached: .*nobody is there/
      )
      const { logs, requests, session } = yield* talk({
        tools: [McpClient.toolset("s", { transport: server.transport, connect: "without" })],
        script: ["ok"]
      })
      yield* session.run("Go")
      expect((yield* requests)[0]?.tools).toEqual([])
      expect(logs.map(({ text }) => text)).toEqual([
        expect.stringMatching(/nobody is there.* Its tools are left out\.$/)
      ])
      expect((yield* Effect.flip(McpClient.connect("s", { transport: server.transport })))._tag).toBe("McpError")
    })
  )

  it.scoped("[J4] closing the session cancels the call, and leaves a connection of one's own open", () =>
    Effect.gen(function* () {
      const server = serving("2026", [tool("a")])
      const client = yield* McpClient.connect("s", { transport: server.transport })
      const { close, session } = yield* talk({ tools: [client.toolset], script: [toolCall("a", {}), "ok"] })
      yield* session.send("Go")
      yield* TestSession.settle
      // closing the session ends the call, and its server hears of it
      yield* close
      yield* TestSession.settle
      expect(server.calls[0]?.context.mcpReq.signal.aborted).toBe(true)
      const next = yield* talk({ tools: [client.toolset], script: ["ok"] })
      yield* next.session.run("Go")
      expect(server.opened()).toBe(1)
    })
  )
})
