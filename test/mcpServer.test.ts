/**
 * Tools and conversations of ours for hosts of the protocol: the official client, over HTTP without a socket.
 */

import { LanguageModel, Tool, Toolkit } from "@effect/ai"
import { describe, expect } from "@effect/vitest"
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client"
import { Context, Deferred, Effect, Exit, Fiber, Layer, Schema, type Scope } from "effect"
import { Agent, AsyncTool, AsyncToolset, RunContext, Sessions } from "effect-meantime"
import { McpServer } from "effect-meantime/mcp"
import { ScriptedModel, TestSession } from "effect-meantime/testing"
import { type Age, ages } from "./support/mcp.js"
import { it } from "./support/virtual.js"

const { toolCall } = ScriptedModel

type Answer = {
  readonly action: "accept" | "decline" | "cancel"
  readonly content?: Record<string, string | number | boolean>
}

/** A host of that age; `person` answers what it is asked. */
const hosting = (server: McpServer.McpServer, age: Age, person?: (message: string) => Answer | Promise<Answer>) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const client = new Client(
        { name: "host", version: "1" },
        {
          capabilities: person === undefined ? {} : { elicitation: { form: {} } },
          versionNegotiation: { mode: age === "2026" ? { pin: "2026-07-28" } : "legacy" }
        }
      )
      if (person !== undefined) client.setRequestHandler("elicitation/create", ({ params }) => person(params.message))
      await client.connect(
        new StreamableHTTPClientTransport(new URL("http://localhost/mcp"), {
          fetch: (url, init) => server.fetch(new Request(url, init))
        })
      )
      return client
    }),
    (client) => Effect.promise(() => client.close())
  )

const Greet = AsyncTool.make("greet", {
  description: "Greets.",
  parameters: { name: Schema.String, times: Schema.optional(Schema.Int) },
  success: Schema.Struct({ said: Schema.String })
}).annotate(Tool.Readonly, true)
const Fail = AsyncTool.make("fail", {})
const Draw = AsyncTool.make("draw", { success: Schema.String })
const Long = AsyncTool.make("long", { success: Schema.String })
const Delete = AsyncTool.make("delete", {
  parameters: { path: Schema.String },
  success: Schema.String,
  needsApproval: true
})
const kit = Toolkit.make(Greet, Fail, Draw, Long, Delete)

const makeHandlers = () => {
  const log: Array<string> = []
  const layer = kit.toLayer({
    greet: ({ name }) => Effect.succeed({ said: `Hello, ${name}.` }),
    fail: () => Effect.fail(new AsyncTool.ToolError({ message: "Not today." })),
    draw: () =>
      Effect.succeed(AsyncTool.content("A dot.", [{ data: "aGk=", mediaType: "image/png", name: "dot.png" }])),
    long: () =>
      Effect.gen(function* () {
        yield* RunContext.update("Half.")
        yield* RunContext.progress({ progress: 30, total: 100, message: "thirty" })
        yield* RunContext.progress({ progress: 10, total: 100 })
        yield* RunContext.progress({ step: 2 })
        yield* Effect.sleep("1 hour")
        return "done"
      }).pipe(Effect.onInterrupt(() => Effect.sync(() => log.push("interrupted")))),
    delete: ({ path }) => Effect.sync(() => `${path} is gone${log.push(`deleted ${path}`) > 9 ? "!" : ""}`)
  })
  return { layer, log }
}

const textOf = (result: { readonly content: ReadonlyArray<unknown> }): string =>
  result.content.map((block) => (block as { readonly text?: string }).text ?? "").join("|")

for (const age of ages) {
  describe(`a host of ${age}`, () => {
    it.scoped("[J11] sees the tools as they are, and gets values, errors and files", () =>
      Effect.gen(function* () {
        const { layer } = makeHandlers()
        const server = yield* Effect.provide(McpServer.make({ name: "s", version: "1", tools: kit }), layer)
        const client = yield* hosting(server, age)
        const { tools } = yield* Effect.promise(() => client.listTools())
        expect(tools.map(({ name }) => name)).toEqual(["greet", "fail", "draw", "long", "delete"])
        expect(tools[0]).toMatchObject({
          description: "Greets.",
          inputSchema: { type: "object", required: ["name"] },
          annotations: { readOnlyHint: true }
        })
        expect(tools[1]?.annotations).toBeUndefined()
        const call = (name: string, args: Record<string, unknown> = {}) =>
          Effect.promise(() => client.callTool({ name, arguments: args }))
        expect(yield* call("greet", { name: "Ada" })).toMatchObject({ structuredContent: { said: "Hello, Ada." } })
        expect(yield* call("fail")).toMatchObject({ isError: true, content: [{ type: "text", text: "Not today." }] })
        expect((yield* call("draw")).content).toMatchObject([
          { type: "text", text: "A dot." },
          { type: "image", data: "aGk=", mimeType: "image/png" }
        ])
        expect(textOf(yield* call("greet", { name: 1 }))).toContain("name")
        expect(yield* call("nothing")).toMatchObject({ isError: true })
      })
    )

    it.scoped(
      "[J11] updates and progress are the protocol's progress, which always grows; cancellation interrupts",
      () =>
        Effect.gen(function* () {
          const { layer, log } = makeHandlers()
          const server = yield* Effect.provide(McpServer.make({ name: "s", version: "1", tools: kit }), layer)
          const client = yield* hosting(server, age)
          const progress: Array<unknown> = []
          const controller = new AbortController()
          const ended = client
            .callTool(
              { name: "long", arguments: {} },
              { signal: controller.signal, onprogress: (value) => void progress.push(value) }
            )
            .catch(() => "aborted")
          while (progress.length < 4) yield* TestSession.settle
          expect(progress).toEqual([
            { progress: 1, message: "Half." },
            { progress: 30, total: 100, message: "thirty" },
            { progress: 31 },
            { progress: 32, message: '{"step":2}' }
          ])
          controller.abort()
          expect(yield* Effect.promise(() => ended)).toBe("aborted")
          while (log.length === 0) yield* TestSession.settle
          expect(log).toEqual(["interrupted"])
        })
    )

    for (const [name, answer, deleted, expected] of [
      ["yes", { action: "accept", content: { approve: true } }, true, /is gone/],
      ["no", { action: "accept", content: { approve: false } }, false, /denied|declined|not/i],
      ["a decline", { action: "decline" }, false, /denied|declined|not/i],
      ["a closed window", { action: "cancel" }, false, /denied|declined|not/i]
    ] as const) {
      it.scoped(`[J11] an approval goes to the host's person, who says ${name}`, () =>
        Effect.gen(function* () {
          const { layer, log } = makeHandlers()
          const asked: Array<string> = []
          const server = yield* Effect.provide(McpServer.make({ name: "s", version: "1", tools: kit }), layer)
          const client = yield* hosting(server, age, (message) => {
            asked.push(message)
            return answer
          })
          const result = yield* Effect.promise(() => client.callTool({ name: "delete", arguments: { path: "/tmp/a" } }))
          expect(asked).toEqual(['May delete run with these arguments?\n{"path":"/tmp/a"}'])
          expect(log).toEqual(deleted ? ["deleted /tmp/a"] : [])
          expect(textOf(result)).toMatch(expected)
          expect(result.isError === true).toBe(!deleted)
        })
      )
    }

    it.scoped("[J11] [A10] a host that cannot ask its person gets a denial", () =>
      Effect.gen(function* () {
        const { layer, log } = makeHandlers()
        const server = yield* Effect.provide(McpServer.make({ name: "s", version: "1", tools: kit }), layer)
        const client = yield* hosting(server, age)
        const result = yield* Effect.promise(() => client.callTool({ name: "delete", arguments: { path: "/tmp/a" } }))
        expect([result.isError, log]).toEqual([true, []])
      })
    )

    it.scoped("[J11] closing the server interrupts its calls", () =>
      Effect.gen(function* () {
        const { layer, log } = makeHandlers()
        const scope = yield* Effect.scope
        const closed = yield* Deferred.make<void>()
        const ready = yield* Deferred.make<McpServer.McpServer>()
        yield* McpServer.make({ name: "s", version: "1", tools: kit }).pipe(
          Effect.flatMap((server) => Deferred.succeed(ready, server)),
          Effect.zipRight(Deferred.await(closed)),
          Effect.scoped,
          Effect.provide(layer),
          Effect.forkIn(scope)
        )
        const client = yield* hosting(yield* Deferred.await(ready), age)
        const heard: Array<unknown> = []
        void client
          .callTool({ name: "long", arguments: {} }, { onprogress: (value) => void heard.push(value) })
          .catch(() => {})
        while (heard.length === 0) yield* TestSession.settle
        yield* Deferred.succeed(closed, undefined)
        while (log.length === 0) yield* TestSession.settle
        expect(log).toEqual(["interrupted"])
      })
    )
  })
}

describe("a server", () => {
  const bare = McpServer.make({ name: "s", version: "1" })
  const post = (
    url: string,
    headers: Record<string, string>,
    body: object = { jsonrpc: "2.0", id: 1, method: "ping" }
  ) =>
    new Request(url, {
      method: "POST",
      headers: { "content-type": "application/json", accept: "application/json, text/event-stream", ...headers },
      body: JSON.stringify(body)
    })

  for (const [name, options, url, headers, status] of [
    ["a host of elsewhere", {}, "http://evil.example/mcp", {}, 403],
    ["a host that the header names", {}, "http://localhost/mcp", { host: "evil.example" }, 403],
    ["a page of elsewhere", {}, "http://localhost/mcp", { origin: "https://evil.example" }, 403],
    ["a page of this machine", {}, "http://localhost/mcp", { origin: "http://localhost:5173" }, 400],
    ["a host that is allowed", { allowedHosts: ["mcp.example"] }, "https://mcp.example/mcp", {}, 400],
    ["this machine, where only another is", { allowedHosts: ["mcp.example"] }, "http://localhost/mcp", {}, 403],
    [
      "a page that is allowed",
      { allowedOrigins: ["app.example"] },
      "http://localhost/mcp",
      { origin: "https://app.example" },
      400
    ],
    ["a session that nobody knows", {}, "http://localhost/mcp", { "mcp-session-id": "forged" }, 404]
  ] as const) {
    it.scoped(`[J11] ${name}: ${status}`, () =>
      Effect.gen(function* () {
        const server = yield* McpServer.make({ name: "s", version: "1", ...options })
        const response = yield* Effect.promise(() => server.fetch(post(url, headers)))
        expect(response.status).toBe(status)
      })
    )
  }

  it.scoped("[J11] a session that has ended is unknown", () =>
    Effect.gen(function* () {
      const server = yield* bare
      const opened = yield* Effect.promise(() =>
        server.fetch(
          post(
            "http://localhost/mcp",
            {},
            {
              jsonrpc: "2.0",
              id: 1,
              method: "initialize",
              params: { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "c", version: "1" } }
            }
          )
        )
      )
      const id = opened.headers.get("mcp-session-id") ?? ""
      const session = { "mcp-session-id": id, "mcp-protocol-version": "2025-11-25" }
      const ended = yield* Effect.promise(() =>
        server.fetch(new Request("http://localhost/mcp", { method: "DELETE", headers: session }))
      )
      expect([opened.status, ended.status]).toEqual([200, 200])
      expect((yield* Effect.promise(() => server.fetch(post("http://localhost/mcp", session)))).status).toBe(404)
    })
  )

  it.scoped("[J11] [L2] toolsets have the layers of their place, and those made at run time are made", () =>
    Effect.gen(function* () {
      class Place extends Context.Tag("Place")<Place, string>() {}
      const Where = AsyncTool.make("where", { success: Schema.String, dependencies: [Place] })
      const where = Toolkit.make(Where)
      const inner = AsyncToolset.make("inner", where).pipe(
        AsyncToolset.provide(where.toLayer({ where: () => Place })),
        AsyncToolset.provide(Layer.succeed(Place, "inside"))
      )
      const server = yield* McpServer.make({
        name: "s",
        version: "1",
        tools: [AsyncToolset.unwrap("outer", Effect.succeed(inner))]
      })
      const client = yield* hosting(server, "2026")
      expect(textOf(yield* Effect.promise(() => client.callTool({ name: "where", arguments: {} })))).toBe("inside")
    })
  )

  it.scoped("[J11] [S3] [L3] two tools of one name, and options that make no sense, are defects", () =>
    Effect.gen(function* () {
      const { layer } = makeHandlers()
      const twice = yield* Effect.exit(
        Effect.provide(McpServer.make({ name: "s", version: "1", tools: [kit, Toolkit.make(Fail)] }), layer)
      )
      expect(Exit.isFailure(twice) && String(twice.cause)).toContain('"fail"')
      const odd = yield* Effect.exit(McpServer.make({ name: "s", version: "1", wait: 0 }))
      expect(Exit.isFailure(odd) && String(odd.cause)).toContain("wait")
    })
  )
})

// ------------------------------------------------------------------------------------------------------- conversations

const Report = AsyncTool.make("report", { success: Schema.String, allowCancellation: true })
const Pay = AsyncTool.make("pay", {
  parameters: { amount: Schema.Number },
  success: Schema.String,
  needsApproval: true
})
const work = Toolkit.make(Report, Pay)

const offering = (
  script: ScriptedModel.Script
): Effect.Effect<
  {
    readonly server: McpServer.McpServer
    readonly requests: Effect.Effect<ReadonlyArray<unknown>>
    readonly paid: Array<number>
  },
  never,
  Scope.Scope
> =>
  Effect.gen(function* () {
    const paid: Array<number> = []
    const model = yield* ScriptedModel.make(script)
    const agent = Agent.make("host", { instructions: "You help.", tools: [work] })
    const context = yield* Layer.build(
      Sessions.layer(() => Effect.succeed({ agent })).pipe(
        Layer.provide(
          work.toLayer({
            report: () =>
              Effect.zipRight(RunContext.update("Writing."), Effect.as(Effect.sleep("1 hour"), "All about it.")),
            pay: ({ amount }) => Effect.sync(() => `paid ${paid.push(amount) > 0 ? amount : 0}`)
          })
        ),
        Layer.provide(Layer.succeed(LanguageModel.LanguageModel, model.languageModel))
      )
    )
    const server = yield* McpServer.make({
      name: "s",
      version: "1",
      sessions: Context.get(context, Sessions.Sessions),
      wait: "1 minute"
    })
    return { server, requests: model.service.requests, paid }
  })

/** Calls a tool while virtual time passes. */
const calling = (client: Client, name: string, args: Record<string, unknown>) =>
  Effect.gen(function* () {
    const fiber = yield* Effect.fork(Effect.promise(() => client.callTool({ name, arguments: args })))
    for (let i = 0; i < 200 && (yield* Fiber.poll(fiber))._tag === "None"; i++) yield* TestSession.settle
    if ((yield* Fiber.poll(fiber))._tag === "None") yield* TestSession.advance("1 minute")
    const result = yield* Fiber.join(fiber)
    return {
      isError: result.isError === true,
      text: textOf(result),
      value: result.structuredContent as Record<string, any>
    }
  })

for (const age of ages) {
  describe(`a conversation with a host of ${age}`, () => {
    it.scoped("[J12] send opens or continues it by its id; wait brings what is said later; cancel ends a call", () =>
      Effect.gen(function* () {
        const { server } = yield* offering([
          "Hello!",
          toolCall("report", {}, { id: "c1" }),
          "It is being written.",
          "Here it is.",
          toolCall("report", {}, { id: "c2" }),
          "Another one.",
          "It was cancelled."
        ])
        const client = yield* hosting(server, age)
        const first = yield* calling(client, "send", { message: "Hi" })
        expect(first.value).toMatchObject({ text: "Hello!", running: [], waiting_for_approval: [] })
        const conversation_id = first.value.conversation_id as string
        const second = yield* calling(client, "send", { conversation_id, message: "A report, please." })
        expect(second.value).toMatchObject({
          conversation_id,
          text: "It is being written.",
          running: [{ call_id: "c1", name: "report" }]
        })
        // nothing comes within its time
        expect((yield* calling(client, "wait", { conversation_id })).value).toMatchObject({ text: "" })
        yield* TestSession.advance("1 hour")
        expect((yield* calling(client, "wait", { conversation_id })).value).toMatchObject({
          text: "Here it is.",
          running: []
        })
        yield* calling(client, "send", { conversation_id, message: "Another." })
        const cancelled = yield* calling(client, "cancel", { conversation_id, call_id: "c2" })
        expect(cancelled.isError).toBe(false)
        expect((yield* calling(client, "wait", { conversation_id })).value).toMatchObject({ running: [] })
        expect((yield* calling(client, "cancel", { conversation_id, call_id: "c9" })).isError).toBe(true)
      })
    )

    it.scoped(
      "[J12] an approval goes to the host's person, and the send that is repeated for it sends nothing twice",
      () =>
        Effect.gen(function* () {
          const { paid, requests, server } = yield* offering([
            toolCall("pay", { amount: 5 }, { id: "c1" }),
            "You were asked.",
            "It is paid."
          ])
          const asked: Array<string> = []
          const client = yield* hosting(server, age, (message) => {
            asked.push(message)
            return { action: "accept", content: { approve: true } }
          })
          const result = yield* calling(client, "send", { message: "Pay five." })
          expect(result.value).toMatchObject({ text: "You were asked.\n\nIt is paid.", waiting_for_approval: [] })
          expect(asked).toEqual(['May pay run with these arguments?\n{"amount":5}'])
          expect(paid).toEqual([5])
          expect(yield* requests).toHaveLength(3)
        })
    )

    it.scoped("[J12] a host that cannot ask is told what waits, and its model cannot agree", () =>
      Effect.gen(function* () {
        const { paid, server } = yield* offering([toolCall("pay", { amount: 5 }, { id: "c1" }), "ok"])
        const client = yield* hosting(server, age)
        const { tools } = yield* Effect.promise(() => client.listTools())
        expect(tools.map(({ name }) => name)).toEqual(["send", "wait", "cancel"])
        const result = yield* calling(client, "send", { message: "Pay five." })
        expect(result.value).toMatchObject({ waiting_for_approval: [{ call_id: "c1", name: "pay" }] })
        expect(paid).toEqual([])
      })
    )

    it.scoped("[J12] a conversation that this server has not opened is an error; the same send at once is one", () =>
      Effect.gen(function* () {
        const { requests, server } = yield* offering(["Hello!", [ScriptedModel.wait("10 seconds"), "Yes."]])
        const client = yield* hosting(server, age)
        for (const name of ["send", "wait", "cancel"]) {
          const result = yield* calling(client, name, { conversation_id: "forged", message: "x", call_id: "c1" })
          expect([result.isError, result.text]).toEqual([true, expect.stringContaining('no conversation "forged"')])
        }
        const { value } = yield* calling(client, "send", { message: "Hi" })
        const args = { conversation_id: value.conversation_id, message: "Really?" }
        const both = yield* Effect.all([calling(client, "send", args), calling(client, "send", args)], {
          concurrency: "unbounded"
        })
        expect(both.map(({ value }) => value.text)).toEqual(["Yes.", "Yes."])
        expect(yield* requests).toHaveLength(2)
      })
    )

    it.scoped("[J12] [Q19] a send that its host gave up and sends again is one turn, and its answer is not lost", () =>
      Effect.gen(function* () {
        const { requests, server } = yield* offering(["Hello!", [ScriptedModel.wait("10 seconds"), "Yes."], "Again."])
        const client = yield* hosting(server, age)
        const { value } = yield* calling(client, "send", { message: "Hi" })
        const args = { conversation_id: value.conversation_id as string, message: "Really?" }
        const gone = new AbortController()
        const first = yield* Effect.fork(
          Effect.promise(() =>
            client.callTool({ name: "send", arguments: args }, { signal: gone.signal }).catch(() => undefined)
          )
        )
        for (let i = 0; i < 200; i++) yield* TestSession.settle
        gone.abort()
        yield* Fiber.join(first)
        for (let i = 0; i < 50; i++) yield* TestSession.settle
        expect((yield* calling(client, "send", args)).value.text).toBe("Yes.")
        expect(yield* requests).toHaveLength(2)
        // answered, the same words are a message of their own
        expect((yield* calling(client, "send", args)).value.text).toBe("Again.")
        expect(yield* requests).toHaveLength(3)
      })
    )
  })
}
