/**
 * Tools and toolsets that are known only when the program runs: `AsyncTool.dynamic` and `AsyncToolset.unwrap`.
 */

import type { LanguageModelV3CallOptions, LanguageModelV3FunctionTool } from "@ai-sdk/provider"
import { LanguageModel, Model, Toolkit } from "@effect/ai"
import { describe, expect } from "@effect/vitest"
import { Cause, Context, Deferred, Effect, Exit, Fiber, FiberRef, Layer, Schema, type Scope } from "effect"
import {
  Agent,
  AgentSession,
  AsyncTool,
  AsyncToolset,
  DuplicatePolicy,
  RunContext,
  SessionModel,
  ToolPrompts
} from "effect-meantime"
import { AiSdkModel } from "effect-meantime/ai-sdk"
import { ScriptedModel, TestSession } from "effect-meantime/testing"
import { it } from "./support/virtual.js"

const { toolCall } = ScriptedModel

const query = {
  type: "object",
  properties: {
    query: { type: "string", description: "What to look for." },
    limit: { type: ["integer", "null"], minimum: 1 },
    sort: { $ref: "#/definitions/sort" },
    filter: true
  },
  required: ["query"],
  definitions: { sort: { enum: ["asc", "desc"] } },
  examples: [{ query: "a" }],
  additionalProperties: true,
  $schema: "http://json-schema.org/draft-07/schema#"
}

/** A toolset of one dynamic tool, whose handler keeps what it gets. */
const searching = (jsonSchema: object, options: AsyncTool.Options = {}, id = "server") => {
  const seen: Array<unknown> = []
  const kit = Toolkit.make(AsyncTool.dynamic("search", { description: "Searches.", jsonSchema, ...options }))
  const toolset = AsyncToolset.make(id, kit).pipe(
    AsyncToolset.provide(
      kit.toLayer({
        search: (args) =>
          Effect.sync(() => {
            seen.push(args)
            return { found: 1 }
          })
      })
    )
  )
  return { kit, seen, toolset }
}

const agentWith = (...tools: ReadonlyArray<AsyncToolset.AsyncToolset<never>>) =>
  Agent.make("a", { instructions: "x", tools })

/** One turn of a session. */
const turn = (
  options: AgentSession.Options<never, ReadonlyArray<AsyncToolset.AsyncToolset<never>>>,
  script: ScriptedModel.Script,
  layer: Layer.Layer<any> | Layer.Layer<never> = Layer.empty
) =>
  Effect.gen(function* () {
    const { languageModel, service } = yield* ScriptedModel.make(script)
    return yield* Effect.gen(function* () {
      const { close, session } = yield* TestSession.make(options)
      const events = yield* TestSession.collect(session)
      yield* TestSession.drive(session.run("Go"))
      yield* close
      return {
        outputs: yield* TestSession.outputs(session),
        requests: yield* service.requests,
        events: yield* events.all
      }
    }).pipe(
      Effect.scoped,
      Effect.provide(layer as Layer.Layer<never>),
      Effect.provideService(LanguageModel.LanguageModel, languageModel)
    )
  })

/** What building a session dies with. */
const refusal = (
  options: AgentSession.Options<never, ReadonlyArray<AsyncToolset.AsyncToolset<never>>>,
  layer: Layer.Layer<any> | Layer.Layer<never> = Layer.empty
) =>
  Effect.exit(Effect.scoped(AgentSession.make(options))).pipe(
    Effect.provide(Layer.merge(ScriptedModel.layer([]), layer as Layer.Layer<never>)),
    Effect.map((exit) => (Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined))
  )

describe("a tool with a JSON Schema of its own", () => {
  const schemas: ReadonlyArray<readonly [string, object]> = [
    ["of every keyword", query],
    ["that says nothing", {}],
    ["without a type", { properties: { a: { const: 1 } }, required: ["a"] }],
    ["of alternatives", { anyOf: [{ type: "object", properties: { a: {} } }, { type: "object" }] }],
    [
      "with keys like those of Object",
      { type: "object", properties: { constructor: {}, ["__proto__"]: {}, toString: {} } }
    ],
    ["with toJSON", { type: "object", default: new Date(0) }]
  ]
  for (const [name, jsonSchema] of schemas) {
    it.scoped(`[B7] the schema reaches the model byte for byte: ${name}`, () =>
      Effect.gen(function* () {
        const { seen, toolset } = searching(jsonSchema)
        const args = { query: "a", limit: null, sort: undefined, deep: { list: [1, null, { a: null }] }, "": "" }
        const { outputs, requests } = yield* turn({ agent: agentWith(toolset) }, [
          toolCall("search", args, { id: "c1" }),
          "ok"
        ])
        for (const request of requests) {
          expect(JSON.stringify(request.tools[0]?.jsonSchema)).toBe(JSON.stringify(jsonSchema))
          expect(request.tools[0]?.description).toBe("Searches.")
        }
        expect(requests).toHaveLength(2)
        expect(JSON.stringify(seen)).toBe(JSON.stringify([args]))
        expect(outputs.map(({ isError, output }) => [isError, output])).toEqual([[false, { found: 1 }]])
      })
    )
  }

  it.scoped("[B7] [T3] the AI SDK gets the same schema, and what its model sends as an object", () =>
    Effect.gen(function* () {
      const { seen, toolset } = searching(query)
      const asked: Array<LanguageModelV3CallOptions> = []
      const model: AiSdkModel.SdkModel = {
        specificationVersion: "v3",
        provider: "mock",
        modelId: "mock",
        doStream: () => Promise.reject(new Error("it does not stream")),
        doGenerate: (options) => {
          asked.push(options)
          const first = asked.length === 1
          return Promise.resolve({
            content: first
              ? [
                  { type: "tool-call", toolCallId: "c1", toolName: "search", input: '{"query":"a","limit":null}' },
                  { type: "tool-call", toolCallId: "c2", toolName: "search", input: "[1]" }
                ]
              : [{ type: "text", text: "ok" }],
            finishReason: { unified: first ? "tool-calls" : "stop", raw: undefined },
            usage: {
              inputTokens: { total: 1, noCache: undefined, cacheRead: undefined, cacheWrite: undefined },
              outputTokens: { total: 1, text: undefined, reasoning: undefined }
            },
            warnings: []
          })
        }
      }
      const { session } = yield* TestSession.make({ agent: agentWith(toolset) }).pipe(
        Effect.provide(AiSdkModel.layer(model, { streaming: false }))
      )
      yield* session.run("Go")
      expect(
        asked.map(({ tools = [] }) => JSON.stringify((tools[0] as LanguageModelV3FunctionTool).inputSchema))
      ).toEqual([JSON.stringify(query), JSON.stringify(query)])
      expect(seen).toEqual([{ query: "a", limit: null }])
      expect((yield* TestSession.outputs(session)).map(({ isError }) => isError)).toEqual([false, true])
    })
  )

  it.scoped("[B7] [T3] arguments that are no object are an error output, and the handler does not run", () =>
    Effect.gen(function* () {
      const { seen, toolset } = searching(query)
      const { outputs, requests } = yield* turn({ agent: agentWith(toolset) }, [
        [null, [1], "a", 1].map((args, i) => toolCall("search", args, { id: `c${i}` })),
        "ok"
      ])
      expect(outputs.map(({ isError }) => isError)).toEqual([true, true, true, true])
      expect(outputs[0]?.output).toContain("they are not a JSON object")
      expect(seen).toEqual([])
      expect(requests).toHaveLength(2)
    })
  )

  it.scoped(
    "[B7] [P2] [U9] parameters of the session stand behind the tool's own, and its handler never sees them",
    () =>
      Effect.gen(function* () {
        const { seen, toolset } = searching(query, { onDuplicate: "confirm", background: "model" })
        const { requests } = yield* turn({ agent: agentWith(toolset) }, [
          toolCall("search", { query: "a", confirm_duplicate: null, run_in_background: true }),
          "ok",
          "ok"
        ])
        const schema = requests[0]?.tools[0]?.jsonSchema as any
        const { confirm_duplicate, run_in_background, ...properties } = schema.properties
        expect(properties).toEqual(query.properties)
        expect(schema.required).toEqual(["query", "confirm_duplicate", "run_in_background"])
        expect({ ...schema, properties: query.properties, required: query.required }).toEqual(query)
        expect(seen).toEqual([{ query: "a" }])
      })
  )

  it.scoped("[B7] [L3] a parameter named like one of the session's own is refused", () =>
    Effect.gen(function* () {
      const { toolset } = searching(
        { type: "object", properties: { confirm_duplicate: { type: "string" } } },
        { onDuplicate: "confirm" }
      )
      expect(yield* refusal({ agent: agentWith(toolset) })).toMatchObject({ _tag: "ToolOptionsError", tool: "search" })
    })
  )

  it.scoped(
    "[B7] a strict provider is shown the strict form, and null is left out again where it stands for that",
    () =>
      Effect.gen(function* () {
        const schema = {
          type: "object",
          properties: {
            query: { type: "string" },
            limit: { type: "number" },
            sort: { type: ["object", "null"], properties: { by: { type: "string" } } }
          },
          required: ["query"]
        }
        const { seen, toolset } = searching(schema)
        const { requests } = yield* turn(
          { agent: agentWith(toolset) },
          [toolCall("search", { query: "a", limit: null, sort: null }), "ok"],
          Layer.succeed(Model.ProviderName, "openai")
        )
        expect(requests[0]?.tools[0]?.jsonSchema).toEqual({
          type: "object",
          properties: {
            query: { type: "string" },
            limit: { anyOf: [{ type: "number" }, { type: "null" }] },
            sort: {
              anyOf: [
                {
                  type: "object",
                  properties: { by: { anyOf: [{ type: "string" }, { type: "null" }] } },
                  required: ["by"],
                  additionalProperties: false
                },
                { type: "null" }
              ]
            }
          },
          required: ["query", "limit", "sort"],
          additionalProperties: false
        })
        expect(seen).toEqual([{ query: "a", sort: null }])
      })
  )

  for (const [what, property] of [
    ["a definition that strict mode does not know", { $ref: "#/definitions/sort" }],
    ["anything", true]
  ] as const) {
    it.scoped(`[B7] what has no strict form is refused by name: ${what}`, () =>
      Effect.gen(function* () {
        const { toolset } = searching({ type: "object", properties: { sort: property }, definitions: { sort: {} } })
        const error = yield* refusal({ agent: agentWith(toolset) }, Layer.succeed(Model.ProviderName, "openai"))
        expect(error).toBeInstanceOf(AsyncTool.ToolOptionsError)
        expect(String(error)).toContain('"sort" is')
      })
    )
  }

  const cyclic: Record<string, unknown> = { type: "object" }
  cyclic.properties = { self: cyclic }
  const throwing = {
    get type(): string {
      throw new Error("looked at")
    }
  }
  for (const [what, jsonSchema] of [
    ["cyclic", cyclic],
    ["throws when it is looked at", throwing],
    ["a proxy that has been revoked", revoked()],
    ["a list", []],
    ["a Schema of Effect", Schema.Struct({ a: Schema.String })],
    ["a schema of another library", { "~standard": {}, type: "object" }],
    ["null", null],
    ["bytes", { type: "object", default: new Uint8Array(3) }]
  ] as const) {
    it.scoped(`[B7] [L3] a schema that is no JSON object is told when the agent is built: ${what}`, () =>
      Effect.gen(function* () {
        const { toolset } = searching(jsonSchema as object)
        const error = yield* refusal({ agent: agentWith(toolset) })
        expect(error).toBeInstanceOf(AsyncTool.ToolOptionsError)
        expect(String(error)).toContain("jsonSchema has to be a JSON Schema")
      })
    )
  }

  it.scoped("[B7] [C3] the schema is read once: who gave it may change it", () =>
    Effect.gen(function* () {
      let reads = 0
      const jsonSchema = {
        type: "object",
        get properties() {
          reads++
          return { a: { type: "string" } }
        }
      }
      const changing = structuredClone(query) as { properties: Record<string, unknown> }
      const first = searching(jsonSchema)
      const second = searching(changing)
      changing.properties.query = { type: "number" }
      const { requests } = yield* turn({ agent: agentWith(first.toolset) }, ["ok"])
      const { requests: others } = yield* turn({ agent: agentWith(second.toolset) }, ["ok"])
      expect(reads).toBe(1)
      expect(requests[0]?.tools[0]?.jsonSchema).toEqual({ type: "object", properties: { a: { type: "string" } } })
      expect(others[0]?.tools[0]?.jsonSchema).toEqual(query)
    })
  )

  it.scoped("[P2b] [P3] calls of equal arguments are joined, whatever the order of their keys", () =>
    Effect.gen(function* () {
      let runs = 0
      const kit = Toolkit.make(AsyncTool.dynamic("search", { jsonSchema: query, onDuplicate: "join" }))
      const toolset = AsyncToolset.make("server", kit).pipe(
        AsyncToolset.provide(
          kit.toLayer({
            search: ({ query }) =>
              Effect.delay(
                Effect.sync(() => `${++runs} ${query}`),
                "1 second"
              )
          })
        )
      )
      const { outputs } = yield* turn({ agent: agentWith(toolset) }, [
        [
          toolCall("search", { query: "a", at: { x: 1, y: 2 } }, { id: "c1" }),
          toolCall("search", { at: { y: 2, x: 1 }, query: "a" }, { id: "c2" }),
          toolCall("search", { query: "a", at: { x: 1, y: 2 }, limit: null }, { id: "c3" })
        ],
        "ok"
      ])
      expect(outputs.map(({ output }) => output)).toEqual(["1 a", "1 a", "2 a"])
    })
  )

  it.scoped("[U8] outside a session it takes an object as it is, and nothing else", () =>
    Effect.gen(function* () {
      const { kit } = searching(query)
      const seen: Array<unknown> = []
      const live = kit.toLayer({
        search: (args) =>
          Effect.zipRight(
            RunContext.update("Searching."),
            Effect.sync(() => void seen.push(args))
          )
      })
      const call = (args: unknown) => Effect.provide(AsyncTool.execute(kit, { name: "search", arguments: args }), live)
      expect(yield* call({ query: 1, limit: null })).toMatchObject({ isError: false, updates: ["Searching."] })
      expect(yield* call([1])).toMatchObject({ isError: true, output: expect.stringContaining("not a JSON object") })
      expect(seen).toEqual([{ query: 1, limit: null }])
    })
  )
})

/** An object of which nothing can be asked. */
function revoked(): object {
  const { proxy, revoke } = Proxy.revocable({}, {})
  revoke()
  return proxy
}

describe("a toolset that is known once its scope is built", () => {
  class Server extends Context.Tag("Server")<Server, { readonly names: ReadonlyArray<string> }>() {}

  const log: Array<string> = []
  const listed = (names: ReadonlyArray<string>, options: AsyncTool.Options = {}) => {
    const kit = Toolkit.make(
      ...names.map((name) => AsyncTool.dynamic(name, { jsonSchema: { type: "object" }, ...options }))
    )
    const handlers = Object.fromEntries(names.map((name) => [name, () => Effect.succeed(`${name} done`)]))
    return AsyncToolset.make("listed", kit).pipe(AsyncToolset.provide(kit.toLayer(handlers)))
  }
  /** Its connection is told when it is made and given back. */
  const connecting = (id: string, names: ReadonlyArray<string>) =>
    AsyncToolset.unwrap(
      id,
      Effect.as(
        Effect.acquireRelease(
          Effect.sync(() => void log.push(`${id} opened`)),
          () => Effect.sync(() => void log.push(`${id} closed`))
        ),
        listed(names)
      )
    )

  it.scoped(
    "[B7] [S1] the tools of an agent's one are called; its Scope is the agent's, the session's that of the session",
    () =>
      Effect.gen(function* () {
        log.length = 0
        const model = yield* ScriptedModel.make([[toolCall("one", {}), toolCall("two", {})], "ok", "ok"])
        const { close, session } = yield* TestSession.make({
          agent: agentWith(connecting("agent", ["one"])),
          tools: [connecting("session", ["two"])]
        }).pipe(Effect.provideService(LanguageModel.LanguageModel, model.languageModel))
        yield* session.run("Go")
        expect((yield* TestSession.outputs(session)).map(({ output }) => output)).toEqual(["one done", "two done"])
        yield* session.handoff(Agent.make("b", { instructions: "x" }))
        yield* TestSession.settle
        expect(log).toEqual(["session opened", "agent opened", "agent closed"])
        yield* session.run("Go on")
        const requests = yield* model.service.requests
        expect(requests.map(({ tools }) => tools.map(({ name }) => name))).toEqual([
          ["two", "one"],
          ["two", "one"],
          ["two"]
        ])
        yield* close
        expect(log).toEqual(["session opened", "agent opened", "agent closed", "session closed"])
      })
  )

  it.scoped("[B7] an agent that comes back asks anew", () =>
    Effect.gen(function* () {
      let asked = 0
      const First = agentWith(
        AsyncToolset.unwrap(
          "server",
          Effect.sync(() => listed([`tool_${++asked}`]))
        )
      )
      const model = yield* ScriptedModel.make(["ok", "ok"])
      const { session } = yield* TestSession.make({ agent: First }).pipe(
        Effect.provideService(LanguageModel.LanguageModel, model.languageModel)
      )
      yield* session.run("Go")
      yield* session.handoff(First)
      yield* session.run("Go")
      const requests = yield* model.service.requests
      expect(requests.map(({ tools }) => tools.map(({ name }) => name))).toEqual([["tool_1"], ["tool_2"]])
    })
  )

  it.scoped("[B7] [L2] what is provided to it is there for the effect and for the tools that it gives", () =>
    Effect.gen(function* () {
      const toolset: AsyncToolset.AsyncToolset<never> = AsyncToolset.unwrap(
        "server",
        Effect.map(Server, ({ names }) => listed(names))
      ).pipe(
        AsyncToolset.provide(Layer.succeed(Server, { names: ["one"] })),
        AsyncToolset.provide(DuplicatePolicy.layer("reject")),
        AsyncToolset.provide(ToolPrompts.layer({ duplicateReject: "Once is enough for {toolName}." }))
      )
      const slow = AsyncToolset.unwrap(
        "slow",
        Effect.sync(() => {
          const kit = Toolkit.make(AsyncTool.dynamic("slow", { jsonSchema: {}, allowCancellation: true }))
          return AsyncToolset.make("inner", kit).pipe(
            AsyncToolset.provide(kit.toLayer({ slow: () => Effect.sleep("1 second") }))
          )
        })
      ).pipe(
        AsyncToolset.provide(DuplicatePolicy.layer("reject")),
        AsyncToolset.provide(ToolPrompts.layer({ duplicateReject: "Once is enough for {toolName}." }))
      )
      const { outputs, requests } = yield* turn({ agent: agentWith(toolset, slow) }, [
        [toolCall("slow", {}, { id: "c1" }), toolCall("slow", {}, { id: "c2" }), toolCall("one", {}, { id: "c3" })],
        "ok"
      ])
      expect(outputs.slice(1).map(({ output }) => output)).toEqual(["Once is enough for slow.", "one done"])
      // one of its tools may be cancelled
      expect(requests[0]?.tools.map(({ name }) => name)).toEqual(["one", "slow", "cancel_task", "get_running_tasks"])
    })
  )

  it.scoped("[B7] what it gives may be such a toolset in turn, and a FiberRef that it sets is nobody else's", () =>
    Effect.gen(function* () {
      const ref = FiberRef.unsafeMake("outer")
      const toolset = AsyncToolset.unwrap(
        "outer",
        Effect.zipRight(
          FiberRef.set(ref, "inner"),
          Effect.sync(() =>
            AsyncToolset.unwrap(
              "inner",
              Effect.sync(() => listed(["one"]))
            )
          )
        )
      )
      const { outputs } = yield* turn({ agent: agentWith(toolset) }, [toolCall("one", {}), "ok"])
      expect(outputs.map(({ output }) => output)).toEqual(["one done"])
      expect(yield* FiberRef.get(ref)).toBe("outer")
    })
  )

  for (const [how, effect, expected] of [
    ["fails", Effect.fail("no server"), "no server"],
    ["dies", Effect.die("a bug"), "a bug"],
    ["gives no toolset", Effect.succeed(Toolkit.make()), /unwrap of toolset "server" has to be an effect that gives/],
    ["is no effect", undefined, /in place of an Effect/]
  ] as const) {
    it.scoped(`[B7] if it ${how}, that is a defect of the building, and what it had is given back`, () =>
      Effect.gen(function* () {
        log.length = 0
        const toolset = AsyncToolset.unwrap("server", effect as Effect.Effect<AsyncToolset.AsyncToolset<never>>)
        const error = yield* refusal({ agent: agentWith(connecting("first", ["one"]), toolset) })
        if (typeof expected === "string") expect(error).toBe(expected)
        else expect(String(error)).toMatch(expected)
        expect(log).toEqual(["first opened", "first closed"])
      })
    )
  }

  it.scoped("[B7] [S3] names that clash are found as for others", () =>
    Effect.gen(function* () {
      const clash = yield* refusal({ agent: agentWith(connecting("one", ["same"]), connecting("two", ["same"])) })
      expect(clash).toMatchObject({ _tag: "ToolNameConflict", tool: "same" })
      const taken = yield* refusal({ agent: agentWith(connecting("one", ["cancel_task"])) })
      expect(taken).toMatchObject({ _tag: "ToolNameConflict", tool: "cancel_task" })
    })
  )

  it.scoped(
    "[B7] [S4] a hand-off to an agent whose server does not answer can be given up, and leaves nothing behind",
    () =>
      Effect.gen(function* () {
        log.length = 0
        const asked = yield* Deferred.make<void>()
        const stuck = AsyncToolset.unwrap(
          "server",
          Effect.acquireRelease(
            Effect.sync(() => void log.push("opened")),
            () => Effect.sync(() => void log.push("closed"))
          ).pipe(
            Effect.zipRight(Deferred.succeed(asked, undefined)),
            Effect.zipRight(Effect.never as Effect.Effect<AsyncToolset.AsyncToolset<never>>)
          )
        )
        const { session } = yield* TestSession.make({ agent: agentWith() }).pipe(
          Effect.provide(ScriptedModel.layer([]))
        )
        const handing = yield* Effect.fork(session.handoff(agentWith(stuck)))
        yield* Deferred.await(asked)
        yield* Fiber.interrupt(handing)
        yield* TestSession.settle
        expect(log).toEqual(["opened", "closed"])
        expect(yield* session.currentAgent).toEqual({ name: "a" })
      })
  )
})

describe("an agent with many tools", () => {
  const names = Array.from({ length: 300 }, (_, i) => `tool_${i}`)
  const kit = Toolkit.make(...names.map((name) => AsyncTool.make(name, { parameters: { a: Schema.String } })))
  const live = kit.toLayer(
    Object.fromEntries(names.map((name) => [name, () => Effect.void])) as never
  ) as Layer.Layer<any>
  const Many = Agent.make("a", { instructions: "x", tools: [kit] }) as Agent.Agent<never>

  it.scoped("[C3] the seam gets the same list in each request, so what a model makes of it can be kept", () =>
    Effect.gen(function* () {
      const seen = new Set<unknown>()
      let asked = 0
      const model = SessionModel.layer({
        run: ({ toolkit }, onParts) =>
          Effect.sync(() => {
            seen.add(toolkit).add(toolkit.tools)
            const id = `c${++asked}`
            onParts(
              asked % 2 === 1
                ? [{ type: "tool-call", id, name: "tool_299", params: { a: "a" } }]
                : [
                    { type: "text-start", id },
                    { type: "text-delta", id, delta: "ok" },
                    { type: "text-end", id }
                  ]
            )
          })
      })
      const { session } = yield* TestSession.make({ agent: Many }).pipe(
        Effect.provide(Layer.merge(live, model) as Layer.Layer<any>)
      ) as Effect.Effect<TestSession.TestSession, never, Scope.Scope>
      yield* session.run("Go")
      yield* session.run("Go")
      expect([asked, seen.size]).toEqual([2, 2])
    })
  )

  it.scoped("[C3] a model of the AI SDK gets the same encoded list in each request", () =>
    Effect.gen(function* () {
      const asked: Array<LanguageModelV3CallOptions> = []
      const model: AiSdkModel.SdkModel = {
        specificationVersion: "v3",
        provider: "mock",
        modelId: "mock",
        doStream: () => Promise.reject(new Error("it does not stream")),
        doGenerate: (options) => {
          asked.push(options)
          return Promise.resolve({
            content: [{ type: "text", text: "ok" }],
            finishReason: { unified: "stop", raw: undefined },
            usage: {
              inputTokens: { total: 1, noCache: undefined, cacheRead: undefined, cacheWrite: undefined },
              outputTokens: { total: 1, text: undefined, reasoning: undefined }
            },
            warnings: []
          })
        }
      }
      const { session } = yield* TestSession.make({ agent: Many }).pipe(
        Effect.provide(Layer.merge(live, AiSdkModel.layer(model, { streaming: false })) as Layer.Layer<any>)
      ) as Effect.Effect<TestSession.TestSession, never, Scope.Scope>
      yield* session.run("Go")
      yield* session.run("Go")
      const [first, second] = asked
      expect(first?.tools).toHaveLength(300)
      expect(second?.tools).toBe(first?.tools)
    })
  )

  it.scoped("[L2] a handler finds what its own layer had, below what its scope has", () =>
    Effect.gen(function* () {
      class Own extends Context.Tag("Own")<Own, string>() {}
      class Both extends Context.Tag("Both")<Both, string>() {}
      const both = Toolkit.make(
        AsyncTool.make("one", { success: Schema.String, dependencies: [Own, Both] }),
        AsyncTool.make("two", { success: Schema.String, dependencies: [Both] })
      )
      const read = Effect.map(Effect.context<never>(), (context) => {
        const find = (key: string) => (context.unsafeMap.get(key) as string | undefined) ?? "none"
        return `${find(Own.key)} ${find(Both.key)}`
      })
      const handlers = both.toLayer({ one: () => read, two: () => read })
      const inside = Layer.provide(
        handlers,
        Layer.merge(Layer.succeed(Own, "the layer's"), Layer.succeed(Both, "the layer's"))
      )
      const outputsWith = (layer: Layer.Layer<any>) => {
        const toolset = AsyncToolset.make("set", both).pipe(
          AsyncToolset.provide(layer),
          AsyncToolset.provide(Layer.succeed(Both, "the scope's"))
        ) as AsyncToolset.AsyncToolset<never>
        return Effect.map(
          turn({ agent: agentWith(toolset) }, [[toolCall("one", {}), toolCall("two", {})], "ok"]),
          ({ outputs }) => outputs.map(({ output }) => output)
        )
      }
      expect(yield* outputsWith(inside as Layer.Layer<any>)).toEqual([
        "the layer's the scope's",
        "the layer's the scope's"
      ])
      expect(yield* outputsWith(handlers as Layer.Layer<any>)).toEqual(["none the scope's", "none the scope's"])
    })
  )
})
