/**
 * The client beside the reference servers: processes, sockets and real time. `npm run test:mcp` installs them.
 */
import { once } from "node:events"
import { mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { LanguageModel } from "@effect/ai"
import { it as on } from "@effect/vitest"
import { Client } from "@modelcontextprotocol/client"
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio"
import { Effect, Layer, Logger, Stream } from "effect"
import { Agent, AgentSession, type AsyncToolset } from "effect-meantime"
import { McpClient } from "effect-meantime/mcp"
import { ScriptedModel } from "effect-meantime/testing"
import { afterAll, beforeAll, describe, expect } from "vitest"
import { bin, children, everythingOverHttp, type HttpServer, stdio } from "./servers.js"

const { toolCall } = ScriptedModel

const it = (title: string, test: () => Effect.Effect<void, unknown, any>) =>
  on.live(
    title,
    () =>
      Effect.scoped(test()).pipe(Effect.provide(Logger.remove(Logger.defaultLogger))) as Effect.Effect<void, unknown>
  )

/** A session with these tools, by a script. */
const talking = (
  script: ScriptedModel.Script,
  toolset: AsyncToolset.AsyncToolset<never>,
  elicitation?: McpClient.Elicit
) =>
  Effect.gen(function* () {
    const model = yield* ScriptedModel.make(script)
    const session = yield* AgentSession.make({
      agent: Agent.make("agent", { instructions: "You help.", tools: [toolset] })
    }).pipe(
      Effect.provideService(LanguageModel.LanguageModel, model.languageModel),
      elicitation === undefined ? (effect) => effect : Effect.provide(Layer.succeed(McpClient.Elicitation, elicitation))
    )
    const outputs = Effect.map(session.history, ({ items }) =>
      items.flatMap((item) => (item._tag === "FunctionCallOutput" ? [item] : []))
    )
    /** Waits for an event. */
    const event = (tag: string) =>
      session.events.pipe(
        Stream.filter(({ _tag }) => _tag === tag),
        Stream.runHead
      )
    return { session, outputs, event, requests: model.service.requests }
  })

const byHttp: { server: HttpServer } = { server: undefined as never }
beforeAll(async () => {
  byHttp.server = await everythingOverHttp()
  await byHttp.server.start()
})
afterAll(() => byHttp.server.kill())

for (const [name, transportOf] of [
  ["stdio", () => stdio("server-everything")],
  ["streamable HTTP", (): McpClient.Transport => ({ type: "http", url: byHttp.server.url })]
] as const) {
  describe(`server-everything over ${name}`, () => {
    it("[J1] [J7] its tools are called: texts, structured content, an image, a resource, an error", () =>
      Effect.gen(function* () {
        const toolset = McpClient.toolset("everything", { transport: transportOf() })
        const { outputs, requests, session } = yield* talking(
          [
            [
              toolCall("echo", { message: "hello" }, { id: "c1" }),
              toolCall("get-sum", { a: 2, b: 3 }, { id: "c2" }),
              toolCall("get-structured-content", { location: "New York" }, { id: "c3" }),
              toolCall("get-tiny-image", {}, { id: "c4" }),
              toolCall("get-resource-reference", { resourceType: "Text", resourceId: 1 }, { id: "c5" }),
              toolCall("get-sum", { a: "two" }, { id: "c6" })
            ],
            "ok"
          ],
          toolset
        )
        yield* session.run("Go")
        const all = yield* outputs
        expect(all.map(({ callId }) => callId)).toEqual(["c1", "c2", "c3", "c4", "c5", "c6"])
        expect(all[0]?.output).toBe("Echo: hello")
        expect(all[1]?.output).toBe("The sum of 2 and 3 is 5.")
        expect(all[2]?.output).toMatchObject({ temperature: expect.any(Number) })
        expect(all[3]?.files?.map(({ mediaType }) => mediaType)).toEqual(["image/png"])
        expect(all[4]?.files?.[0]?.mediaType).toBe("text/plain")
        expect(all[5]?.isError).toBe(true)
        expect((yield* requests)[0]?.tools.map(({ name }) => name)).toContain("trigger-elicitation-request")
      }))

    it("[J3] its progress is shown", () =>
      Effect.gen(function* () {
        const toolset = McpClient.toolset("everything", { transport: transportOf() })
        const { event, outputs, session } = yield* talking(
          [toolCall("trigger-long-running-operation", { duration: 0.2, steps: 2 }, { id: "c1" }), "ok"],
          toolset
        )
        const progress = yield* Effect.fork(event("ToolCallProgress"))
        yield* Effect.yieldNow()
        yield* session.run("Go")
        expect((yield* outputs)[0]?.output).toMatch(/^Long running operation completed/)
        const first = yield* progress
        expect(first).toMatchObject({ value: { value: { progress: 1, total: 2 } } })
      }))

    it("[J6] its question goes to its call, also while another one is in flight if the transport tells", () =>
      Effect.gen(function* () {
        const asked: Array<unknown> = []
        const toolset = McpClient.toolset("everything", { transport: transportOf() })
        const besides =
          name === "stdio" ? [] : [toolCall("trigger-long-running-operation", { duration: 1, steps: 1 }, { id: "c2" })]
        const { outputs, session } = yield* talking(
          [[...besides, toolCall("trigger-elicitation-request", {}, { id: "c1" })], "ok"],
          toolset,
          (question, call) =>
            Effect.sync(() => {
              asked.push([question.message, call?.callId])
              return { action: "accept", content: { name: "Ada", check: true } }
            })
        )
        yield* session.run("Go")
        expect(asked).toEqual([["Please provide inputs for the following fields:", "c1"]])
        expect(JSON.stringify((yield* outputs).find(({ callId }) => callId === "c1")?.output)).toContain("Ada")
      }))

    it("[J5] [J6] its research is a task in the background, whose question is a task in the foreground", () =>
      Effect.gen(function* () {
        const toolset = McpClient.toolset("everything", { transport: transportOf() })
        const { outputs, session } = yield* talking(
          [
            toolCall("simulate-research-query", { topic: "python", ambiguous: true }, { id: "c1" }),
            "It runs.",
            toolCall("complete", { interpretation: "snake" }),
            "Here it is."
          ],
          toolset
        )
        yield* session.run("Go")
        const last = (yield* outputs).at(-1)
        expect(String(last?.output)).toContain("Research Report: python (snake)")
      }))

    it("[J4] a call that is cancelled ends at once", () =>
      Effect.gen(function* () {
        const toolset = McpClient.toolset("everything", {
          transport: transportOf(),
          defaults: { allowCancellation: true, onProgress: "update" }
        })
        const { event, session } = yield* talking(
          [
            toolCall("trigger-long-running-operation", { duration: 600, steps: 6000 }, { id: "c1" }),
            "It runs.",
            "It was cancelled.",
            "It was cancelled."
          ],
          toolset
        )
        const updated = yield* Effect.fork(event("ToolCallProgress"))
        yield* Effect.yieldNow()
        yield* session.send("Go")
        yield* updated
        const ended = yield* Effect.fork(event("ToolCallEnded"))
        yield* Effect.yieldNow()
        yield* session.cancelTool("c1")
        expect(yield* ended).toMatchObject({ value: { status: "cancelled" } })
      }))
  })
}

describe("a server that is killed in the middle of a call", () => {
  it("[J8] over stdio: the call fails, the next one starts it again", () =>
    Effect.gen(function* () {
      const before = children(bin("server-everything"))
      const toolset = McpClient.toolset("everything", { transport: stdio("server-everything") })
      const { event, outputs, session } = yield* talking(
        [
          toolCall("trigger-long-running-operation", { duration: 600, steps: 6000 }, { id: "c1" }),
          "It was lost.",
          toolCall("echo", { message: "back" }, { id: "c2" }),
          "ok"
        ],
        toolset
      )
      const progress = yield* Effect.fork(event("ToolCallProgress"))
      yield* Effect.yieldNow()
      const turn = yield* Effect.fork(session.run("Go"))
      yield* progress
      for (const pid of children(bin("server-everything"))) if (!before.includes(pid)) process.kill(pid, "SIGKILL")
      yield* turn
      yield* session.run("Again")
      expect((yield* outputs).map(({ callId, isError }) => [callId, isError])).toEqual([
        ["c1", true],
        ["c2", false]
      ])
      expect((yield* outputs)[0]?.output).toContain('The connection to the MCP server "everything" was lost')
    }))

  it("[J8] over HTTP: the call fails, and the next one reaches the server that was started again", () =>
    Effect.gen(function* () {
      const server = yield* Effect.promise(everythingOverHttp)
      yield* Effect.promise(server.start)
      yield* Effect.addFinalizer(() => Effect.promise(server.kill))
      const toolset = McpClient.toolset("everything", { transport: { type: "http", url: server.url } })
      const { event, outputs, session } = yield* talking(
        [
          toolCall("trigger-long-running-operation", { duration: 600, steps: 6000 }, { id: "c1" }),
          "It was lost.",
          toolCall("echo", { message: "back" }, { id: "c2" }),
          "ok",
          toolCall("echo", { message: "and again" }, { id: "c3" }),
          "ok"
        ],
        toolset
      )
      const progress = yield* Effect.fork(event("ToolCallProgress"))
      yield* Effect.yieldNow()
      const turn = yield* Effect.fork(session.run("Go"))
      yield* progress
      yield* Effect.promise(server.kill)
      yield* turn
      yield* Effect.promise(server.start)
      yield* session.run("Again")
      // while nobody calls: the session of the protocol is unknown to the new process, which refuses the call
      yield* Effect.promise(server.kill)
      yield* Effect.promise(server.start)
      yield* session.run("And again")
      expect((yield* outputs).map(({ callId, isError }) => [callId, isError])).toEqual([
        ["c1", true],
        ["c2", false],
        ["c3", false]
      ])
      expect((yield* outputs)[0]?.output).toContain('The connection to the MCP server "everything" was lost')
    }))
})

describe("a server that answers no call", () => {
  it("[J4] closing the session cancels the call, and leaves no connection behind", () =>
    Effect.gen(function* () {
      const server = createServer((request, response) => {
        let body = ""
        request.on("data", (chunk) => {
          body += chunk
        })
        request.on("end", () => {
          const { id, method } = (body === "" ? {} : JSON.parse(body)) as { id?: number; method?: string }
          const result: Record<string, object> = {
            initialize: {
              protocolVersion: "2025-11-25",
              serverInfo: { name: "mute", version: "1" },
              capabilities: { tools: {} }
            },
            "tools/list": { tools: [{ name: "mute", inputSchema: { type: "object" } }] }
          }
          const known = result[method ?? ""]
          if (known !== undefined) {
            response.setHeader("mcp-session-id", "s1").setHeader("content-type", "application/json")
            response.end(JSON.stringify({ jsonrpc: "2.0", id, result: known }))
          } else if (method === "server/discover") response.writeHead(404).end()
          else if (method === "notifications/initialized") response.writeHead(202).end()
          // whatever else there is stays without an answer
        })
      }).listen(0, "127.0.0.1")
      yield* Effect.promise(() => once(server, "listening"))
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`
      yield* Effect.scoped(
        Effect.gen(function* () {
          const toolset = McpClient.toolset("mute", {
            transport: { type: "http", url },
            defaults: { allowCancellation: true }
          })
          const { event, session } = yield* talking([toolCall("mute", {}, { id: "c1" }), "ok"], toolset)
          const started = yield* Effect.fork(event("ToolCallStarted"))
          yield* Effect.yieldNow()
          yield* session.send("Go")
          yield* started
        })
      )
      // it ends once its last connection has
      yield* Effect.promise(() => new Promise((resolve) => server.close(resolve)))
    }))
})

describe("server-filesystem over stdio", () => {
  it("[J1] [J7] [J10] every schema is as it was sent; it reads, and what it may not is an error", () =>
    Effect.gen(function* () {
      const folder = realpathSync(mkdtempSync(join(tmpdir(), "effect-meantime-mcp-")))
      yield* Effect.addFinalizer(() => Effect.sync(() => rmSync(folder, { recursive: true })))
      writeFileSync(join(folder, "a.txt"), "what is in it")
      const toolset = McpClient.toolset("files", { transport: stdio("server-filesystem", folder) })
      const { outputs, requests, session } = yield* talking(
        [
          [
            toolCall("read_text_file", { path: join(folder, "a.txt") }, { id: "c1" }),
            toolCall("read_text_file", { path: "/etc/passwd" }, { id: "c2" })
          ],
          "ok"
        ],
        toolset
      )
      yield* session.run("Go")
      const [first, second] = yield* outputs
      expect(JSON.stringify(first?.output)).toContain("what is in it")
      expect([second?.isError, String(second?.output)]).toEqual([true, expect.stringContaining("Access denied")])
      const listed = yield* Effect.promise(async () => {
        const client = new Client({ name: "test", version: "1" })
        await client.connect(
          new StdioClientTransport({
            command: process.execPath,
            args: [bin("server-filesystem"), folder],
            stderr: "ignore"
          })
        )
        const { tools } = await client.listTools()
        await client.close()
        return tools
      })
      expect(
        (yield* requests)[0]?.tools.map(({ description, jsonSchema, name }) => [name, description, jsonSchema])
      ).toEqual(listed.map(({ description, inputSchema, name }) => [name, description, inputSchema]))
    }))
})
