import { AiError, LanguageModel, Tool, Toolkit } from "@effect/ai"
import { describe, expect } from "@effect/vitest"
import { Clock, Context, Duration, Effect, Layer, ParseResult, Schedule, Schema } from "effect"
import { Agent, AsyncTool, AsyncToolset, ChatContext, RunContext, ToolPrompts } from "effect-meantime"
import { ScriptedModel, TestSession } from "effect-meantime/testing"
import { chunkModel, expectAnsweredOnce, parts, talk, text } from "./support/tools.js"
import { it } from "./support/virtual.js"

const { fail, text: say, toolCall, toolResult, wait } = ScriptedModel

const malformed = fail(new AiError.MalformedOutput({ module: "Test", method: "streamText", description: "not JSON" }))

/** A tool that waits, and then says which one it was. */
const Work = AsyncTool.make("work", {
  parameters: { name: Schema.String, seconds: Schema.Number },
  success: Schema.String
})
const Work_ = Toolkit.make(Work)
const workLive = Work_.toLayer({
  work: ({ name, seconds }) => Effect.as(Effect.sleep(`${seconds} seconds`), `${name} done`)
})
const work = (name: string, seconds: number, id = name) => toolCall("work", { name, seconds }, { id })

const Echo = Tool.make("echo", { parameters: { text: Schema.String }, success: Schema.String })
const Echo_ = Toolkit.make(Echo)
const echoLive = Echo_.toLayer({ echo: ({ text }) => Effect.succeed(text) })
const echo = (text: string, id: string) => toolCall("echo", { text }, { id })

describe("tools of @effect/ai", () => {
  const Flight = Tool.make("flight", {
    description: "When a flight leaves.",
    parameters: {
      number: Schema.String,
      day: Schema.Struct({ date: Schema.DateFromString }),
      seats: Schema.NumberFromString
    },
    success: Schema.Struct({ leaves: Schema.DateFromString, seats: Schema.NumberFromString })
  })
  const Flight_ = Toolkit.make(Flight)

  it.scoped("[T1] an ordinary tool works unchanged: decoded arguments in, encoded success out", () =>
    Effect.gen(function* () {
      const t = yield* talk({
        tools: [Flight_],
        handlers: Flight_.toLayer({
          flight: ({ day, seats }) => Effect.succeed({ leaves: new Date(day.date.getTime() + 3_600_000), seats })
        }),
        script: [
          toolCall("flight", { number: "SK1", day: { date: "2027-01-01T00:00:00.000Z" }, seats: "1" }, { id: "c1" }),
          "At one."
        ]
      })
      yield* t.send("When?")
      expect(yield* t.output("c1")).toMatchObject({
        name: "flight",
        isError: false,
        output: { leaves: "2027-01-01T01:00:00.000Z", seats: "1" }
      })
      expect(yield* TestSession.said(t.session)).toEqual(["At one."])
      const [request] = yield* t.requests
      expect(request!.tools).toEqual([
        { name: "flight", description: "When a flight leaves.", jsonSchema: Tool.getJsonSchema(Flight) }
      ])
    })
  )

  it.scoped("[T1] an ordinary tool has defaults: duplicates are allowed, it cannot be cancelled, no companions", () =>
    Effect.gen(function* () {
      const Slow = Tool.make("slow", { success: Schema.String })
      const Slow_ = Toolkit.make(Slow)
      const t = yield* talk({
        tools: [Slow_],
        handlers: Slow_.toLayer({ slow: () => Effect.as(Effect.sleep("1 hour"), "late") }),
        script: [[toolCall("slow", {}, { id: "c1" }), toolCall("slow", {}, { id: "c2" })], "Well."]
      })
      yield* t.send("Go")
      expect(yield* t.session.runningTools).toMatchObject([
        { callId: "c1", name: "slow", allowCancellation: false, lastUpdate: undefined },
        { callId: "c2", allowCancellation: false }
      ])
      expect((yield* Effect.flip(t.session.cancelTool("c1"))).message).toContain("c1")
      expect(ScriptedModel.toolNames((yield* t.requests)[0]!)).toEqual(["slow"])
      yield* TestSession.advance("1 hour")
      expect(yield* t.outputs).toEqual(["c1: late", "c2: late"])
      expect(yield* TestSession.said(t.session)).toEqual(["Well."])
    })
  )

  it.scoped("[T1] an ordinary tool's handler gets what its own layer and its dependencies provide", () =>
    Effect.gen(function* () {
      class Db extends Context.Tag("Db")<Db, { readonly find: (id: string) => Effect.Effect<string> }>() {}
      const Find = Tool.make("find", {
        parameters: { id: Schema.String },
        success: Schema.String,
        dependencies: [Db]
      })
      const Find_ = Toolkit.make(Find)
      const db = Layer.succeed(Db, { find: (id) => Effect.succeed(`row ${id}`) })
      const t = yield* talk({
        tools: [Find_],
        handlers: Layer.merge(Find_.toLayer({ find: ({ id }) => Effect.flatMap(Db, (db) => db.find(id)) }), db),
        script: [toolCall("find", { id: "7" }, { id: "c1" }), "Found."]
      })
      yield* t.send("Find 7")
      expect(yield* t.outputs).toEqual(["c1: row 7"])
    })
  )

  it.scoped("[T1] an existing tool gets the options with annotate", () =>
    Effect.gen(function* () {
      const Slow = Tool.make("slow", { success: Schema.String }).annotate(AsyncTool.Annotations, {
        allowCancellation: true,
        releaseAfter: "2 seconds"
      })
      const Slow_ = Toolkit.make(Slow)
      const t = yield* talk({
        tools: [Slow_],
        handlers: Slow_.toLayer({ slow: () => Effect.as(Effect.sleep("1 hour"), "late") }),
        script: [toolCall("slow", {}, { id: "c1" }), "It takes a while."]
      })
      yield* t.send("Go")
      expect(ScriptedModel.toolNames((yield* t.requests)[0]!).toSorted()).toEqual([
        "cancel_task",
        "get_running_tasks",
        "slow"
      ])
      yield* TestSession.advance("2 seconds")
      expect(yield* TestSession.said(t.session)).toEqual(["It takes a while."])
      expect(yield* t.session.runningTools).toMatchObject([{ callId: "c1", allowCancellation: true }])
      yield* t.session.cancelTool("c1")
      expect(yield* t.ends).toEqual(["c1_final cancelled"])
    })
  )

  it.scoped("[T1] annotations of others on a tool stay what they are", () =>
    Effect.gen(function* () {
      class Cost extends Context.Tag("Cost")<Cost, number>() {}
      const tool = AsyncTool.make("paid", { parameters: { to: Schema.String } }).annotate(Cost, 3)
      const Paid_ = Toolkit.make(tool)
      const { asked, languageModel } = yield* chunkModel([])
      const { session } = yield* TestSession.make({
        agent: Agent.make("agent", { instructions: "You help.", tools: [Paid_] })
      }).pipe(
        Effect.provide(Paid_.toLayer({ paid: () => Effect.void })),
        Effect.provideService(LanguageModel.LanguageModel, languageModel)
      )
      yield* session.send("Hi")
      yield* TestSession.settle
      const sent = asked[0]!.tools.find((tool) => tool.name === "paid")!
      expect(Context.unsafeGet(sent.annotations, Cost)).toBe(3)
      expect(Tool.getJsonSchema(sent as any)).toEqual(Tool.getJsonSchema(tool as any))
    })
  )

  it("[T1] the options of AsyncTool.make are annotations of an ordinary tool", () => {
    const tool = AsyncTool.make("paid", {
      description: "Pays.",
      parameters: { to: Schema.String },
      onDuplicate: "confirm",
      background: "model",
      timeout: "5 seconds"
    })
    expect(Tool.isUserDefined(tool)).toBe(true)
    expect(Context.get(tool.annotations, AsyncTool.Annotations)).toEqual({
      onDuplicate: "confirm",
      background: "model",
      timeout: "5 seconds"
    })
    expect(Tool.getDescription(tool as any)).toBe("Pays.")
    expect(Tool.getJsonSchema(tool as any)).toEqual(
      Tool.getJsonSchema(Tool.make("paid", { parameters: { to: Schema.String } }))
    )
  })

  const Search = Tool.providerDefined({
    id: "test.search",
    toolkitName: "Search",
    providerName: "web_search",
    args: { limit: Schema.Number },
    success: Schema.Struct({ hits: Schema.NumberFromString }),
    failure: Schema.Struct({ reason: Schema.String })
  })({ limit: 3 })
  const Search_ = Toolkit.make(Search)

  it.scoped("[T1] a provider-defined tool is sent as it is", () =>
    Effect.gen(function* () {
      const { asked, languageModel } = yield* chunkModel([parts.text("t", "Hello.")])
      const { session } = yield* TestSession.make({
        agent: Agent.make("agent", { instructions: "You help.", tools: [Search_, Echo_] })
      }).pipe(Effect.provide(echoLive), Effect.provideService(LanguageModel.LanguageModel, languageModel))
      yield* session.send("Hi")
      yield* TestSession.settle
      expect(asked[0]!.tools.find((tool) => tool.name === "Search")).toBe(Search)
      expect(yield* TestSession.said(session)).toEqual(["Hello."])
    })
  )

  it.scoped("[T1] a call that the provider executed is recorded with its result and starts nothing", () =>
    Effect.gen(function* () {
      const t = yield* talk({
        tools: [Search_],
        script: [
          [
            toolCall("Search", {}, { id: "p1", providerExecuted: true, metadata: { test: { a: 1 } } }),
            toolResult("Search", { hits: "3" }),
            "Three hits."
          ],
          "You are welcome."
        ]
      })
      yield* t.send("Search")
      const { items } = yield* t.session.history
      expect(items.slice(1)).toMatchObject([
        { _tag: "FunctionCall", callId: "p1", name: "Search" },
        { _tag: "FunctionCallOutput", callId: "p1", name: "Search", output: { hits: "3" }, isError: false },
        { _tag: "Message", role: "assistant", text: "Three hits." }
      ])
      expect(yield* t.events.filter("ToolCallStarted", "ToolCallEnded", "ToolCallReleased")).toEqual([])
      expect(yield* t.session.runningTools).toEqual([])
      expect(yield* t.requestCount).toBe(1)
      yield* t.send("Thanks")
      const request = yield* t.lastRequest
      expect(ScriptedModel.toolCalls(request)).toMatchObject([
        { id: "p1", name: "Search", providerExecuted: true, options: { test: { a: 1 } } }
      ])
      expect(ScriptedModel.toolResults(request)).toMatchObject([
        { id: "p1", result: { hits: "3" }, isFailure: false, providerExecuted: true }
      ])
    })
  )

  it.scoped("[T1] a failure of a call that the provider executed is recorded as one", () =>
    Effect.gen(function* () {
      const t = yield* talk({
        tools: [Search_],
        script: [
          [
            toolCall("Search", {}, { id: "p1", providerExecuted: true }),
            toolResult("Search", { reason: "down" }, { isFailure: true }),
            "The search is down."
          ]
        ]
      })
      yield* t.send("Search")
      expect(yield* t.output("p1")).toMatchObject({ output: { reason: "down" }, isError: true })
      expect(t.logs).toEqual([])
    })
  )

  it.scoped("[T1] calls of the provider and ours stand side by side in one step", () =>
    Effect.gen(function* () {
      const t = yield* talk({
        tools: [Search_, Work_],
        handlers: workLive,
        script: [
          [
            work("a", 2),
            toolCall("Search", {}, { id: "p1", providerExecuted: true }),
            toolResult("Search", { hits: "3" }),
            work("b", 1)
          ],
          "All in."
        ]
      })
      yield* t.send("Go")
      yield* TestSession.advance("2 seconds")
      expect(yield* t.starts).toEqual(["a", "b"])
      expect((yield* t.outputs).toSorted()).toEqual(["a: a done", "b: b done", 'p1: {"hits":"3"}'])
      expect(yield* TestSession.said(t.session)).toEqual(["All in."])
      const request = yield* t.lastRequest
      for (const id of ["a", "p1", "b"]) {
        expect(ScriptedModel.toolCalls(request).filter((call) => call.id === id)).toHaveLength(1)
        expect(ScriptedModel.toolResults(request).filter((result) => result.id === id)).toHaveLength(1)
      }
    })
  )

  const Computer = Tool.providerDefined({
    id: "test.computer",
    toolkitName: "Computer",
    providerName: "computer",
    args: {},
    requiresHandler: true,
    parameters: { x: Schema.NumberFromString, label: Schema.String },
    success: Schema.String
  })({})
  const Computer_ = Toolkit.make(Computer)
  const computerLive = Computer_.toLayer({ Computer: ({ label, x }) => Effect.succeed(`${label} at ${x + 1}`) })

  it.scoped("[T1] a provider-defined tool with a handler of ours runs it, with arguments decoded once", () =>
    Effect.gen(function* () {
      const t = yield* talk({
        tools: [Computer_],
        handlers: computerLive,
        script: [toolCall("Computer", { x: "41", label: "click" }, { id: "c1" }), "Clicked."]
      })
      yield* t.send("Click")
      expect(yield* t.outputs).toEqual(["c1: click at 42"])
      expect(yield* TestSession.calls(t.session)).toMatchObject([{ arguments: { x: "41", label: "click" } }])
      expect(yield* TestSession.said(t.session)).toEqual(["Clicked."])
    })
  )

  it.scoped("[T3] bad arguments for a provider-defined tool of ours do not fail the step", () =>
    Effect.gen(function* () {
      const t = yield* talk({
        tools: [Computer_, Echo_],
        handlers: Layer.merge(computerLive, echoLive),
        script: [[echo("before", "c1"), toolCall("Computer", { x: 41 }, { id: "c2" })], "I see."]
      })
      yield* t.send("Click")
      expect(yield* t.output("c1")).toMatchObject({ output: "before", isError: false })
      expect(yield* t.output("c2")).toMatchObject({ isError: true })
      expect(text((yield* t.output("c2"))!.output)).toContain("label")
      expect(yield* t.requestCount).toBe(2)
      expect(yield* TestSession.said(t.session)).toEqual(["I see."])
    })
  )
})

describe("the calls of a step", () => {
  it.scoped("[T2] calls start as their parts stream in, each in a fiber of its own", () =>
    Effect.gen(function* () {
      const log: Array<readonly [string, number]> = []
      const note = (name: string) => Effect.map(Clock.currentTimeMillis, (now) => void log.push([name, now]))
      const t = yield* talk({
        tools: [Work_],
        handlers: Work_.toLayer({
          work: ({ name, seconds }) =>
            note(`${name} starts`).pipe(
              Effect.zipRight(Effect.sleep(`${seconds} seconds`)),
              Effect.zipRight(note(`${name} ends`)),
              Effect.as(name)
            )
        }),
        script: [["Let me see. ", work("a", 4), work("b", 6), wait("3 seconds"), work("c", 0), say("So.")], "Done."]
      })
      yield* t.send("Go")
      expect(log).toEqual([
        ["a starts", 0],
        ["b starts", 0]
      ])
      yield* TestSession.advance("6 seconds")
      expect(log).toEqual([
        ["a starts", 0],
        ["b starts", 0],
        ["c starts", 3000],
        ["c ends", 3000],
        ["a ends", 4000],
        ["b ends", 6000]
      ])
      expect(yield* TestSession.said(t.session)).toEqual(["Let me see. ", "So.", "Done."])
    })
  )

  it.scoped("[T2] outputs enter the history in the order of the calls; an early one is held", () =>
    Effect.gen(function* () {
      const t = yield* talk({
        tools: [Work_],
        handlers: workLive,
        script: [[work("a", 3), work("b", 1), work("c", 2)], "Done."]
      })
      yield* t.send("Go")
      yield* TestSession.advance("2 seconds")
      expect(yield* t.ends).toEqual(["b done", "c done"])
      expect(yield* t.outputs).toEqual([])
      expect(yield* t.requestCount).toBe(1)
      yield* TestSession.advance("1 second")
      expect(yield* t.outputs).toEqual(["a: a done", "b: b done", "c: c done"])
      expect(yield* t.requestCount).toBe(2)
      expect((yield* t.session.history).items.map((item) => item._tag)).toEqual([
        "Message",
        "FunctionCall",
        "FunctionCall",
        "FunctionCall",
        "FunctionCallOutput",
        "FunctionCallOutput",
        "FunctionCallOutput",
        "Message"
      ])
    })
  )

  it.scoped("[T2] an output that is ready while the model still streams waits for the step's calls", () =>
    Effect.gen(function* () {
      const t = yield* talk({
        tools: [Work_],
        handlers: workLive,
        script: [[work("a", 0), wait("5 seconds"), work("b", 0)], "Done."]
      })
      yield* t.send("Go")
      yield* TestSession.advance("5 seconds")
      expect((yield* t.session.history).items.map((item) => ("callId" in item ? item.callId : item._tag))).toEqual([
        "Message",
        "a",
        "b",
        "a",
        "b",
        "Message"
      ])
    })
  )

  it.scoped("[T2] later updates and the result of a held call stay behind its output", () =>
    Effect.gen(function* () {
      const Steps = AsyncTool.make("steps", { success: Schema.String })
      const Steps_ = Toolkit.make(Steps)
      const t = yield* talk({
        tools: [Work_, Steps_],
        handlers: Layer.merge(
          workLive,
          Steps_.toLayer({
            steps: () =>
              Effect.gen(function* () {
                yield* RunContext.update({ step: 1 })
                yield* Effect.sleep("1 second")
                yield* RunContext.update({ step: 2 })
                yield* Effect.sleep("1 second")
                return "over"
              })
          })
        ),
        script: [[work("a", 5), toolCall("steps", {}, { id: "b" })], "Well.", "It is over."]
      })
      yield* t.send("Go")
      yield* TestSession.advance("4 seconds")
      expect(yield* t.ends).toEqual(["b_final done"])
      expect(yield* TestSession.outputs(t.session)).toEqual([])
      expect(yield* TestSession.calls(t.session)).toHaveLength(2)
      yield* TestSession.advance("1 second")
      expect(yield* t.outputs).toEqual(["a: a done", 'b: {"step":1}', 'b_update_1: {"step":2}', "b_final: over"])
      expect(yield* TestSession.said(t.session)).toEqual(["Well.", "It is over."])
    })
  )

  it.scoped("[T2] [C8] an interruption of the turn leaves held outputs and updates where they belong", () =>
    Effect.gen(function* () {
      const Steps_ = Toolkit.make(AsyncTool.make("steps", { success: Schema.String }))
      const t = yield* talk({
        tools: [Work_, Steps_],
        handlers: Layer.merge(
          workLive,
          Steps_.toLayer({
            steps: () =>
              Effect.gen(function* () {
                yield* RunContext.update({ step: 1 })
                yield* RunContext.update({ step: 2 })
                yield* Effect.sleep("8 seconds")
                return "over"
              })
          })
        ),
        script: [[work("a", 5), toolCall("steps", {}, { id: "b" })], "Yes?", "Step 2.", "It is over."]
      })
      yield* t.send("Go")
      yield* TestSession.advance("1 second")
      yield* t.send("Wait")
      const request = yield* t.lastRequest
      expectAnsweredOnce(request)
      expect(ScriptedModel.toolResults(request).at(-1)).toMatchObject({ id: "b", result: { step: 1 } })
      expect(yield* t.outputs).toEqual([])
      yield* TestSession.advance("4 seconds")
      expect(yield* t.outputs).toEqual(["a: a done", 'b: {"step":1}', 'b_update_1: {"step":2}'])
      yield* TestSession.advance("10 seconds")
      expect((yield* t.outputs).at(-1)).toBe("b_final: over")
      // nobody replies to the result of the inline call
      expect(yield* TestSession.said(t.session)).toEqual(["Yes?", "Step 2.", "It is over."])
    })
  )

  it.scoped("[T2] a call that fails does not touch the others of its step", () =>
    Effect.gen(function* () {
      const Bad = AsyncTool.make("bad", { success: Schema.String })
      const Bad_ = Toolkit.make(Bad)
      const t = yield* talk({
        tools: [Work_, Bad_],
        handlers: Layer.merge(workLive, Bad_.toLayer({ bad: () => Effect.die(new Error("bug")) })),
        script: [[work("a", 3), toolCall("bad", {}, { id: "b" }), work("c", 2)], "Done."]
      })
      yield* t.send("Go")
      yield* TestSession.advance("3 seconds")
      expect(yield* t.ends).toEqual(["b error", "c done", "a done"])
      expect((yield* t.outputs).map((line) => line.split(" ")[0])).toEqual(["a:", "b!", "c:"])
    })
  )

  it.scoped("[T2] the calls of one chunk all start", () =>
    Effect.gen(function* () {
      const { languageModel } = yield* chunkModel([
        [parts.call("a", "work", { name: "a", seconds: 1 }), parts.call("b", "work", { name: "b", seconds: 1 })],
        parts.text("t", "Done.")
      ])
      const { session } = yield* TestSession.make({
        agent: Agent.make("agent", { instructions: "You help.", tools: [Work_] })
      }).pipe(Effect.provide(workLive), Effect.provideService(LanguageModel.LanguageModel, languageModel))
      yield* session.send("Go")
      yield* TestSession.settle
      expect(yield* session.runningTools).toHaveLength(2)
      yield* TestSession.advance("1 second")
      expect(yield* TestSession.said(session)).toEqual(["Done."])
    })
  )
})

describe("arguments", () => {
  const Book = AsyncTool.make("book", {
    parameters: {
      city: Schema.String,
      nights: Schema.Number,
      guests: Schema.Array(Schema.Struct({ name: Schema.String })),
      note: Schema.optional(Schema.String)
    },
    success: Schema.Unknown
  })
  const Book_ = Toolkit.make(Book)
  const booking = (script: ScriptedModel.Script) =>
    Effect.gen(function* () {
      const seen: Array<unknown> = []
      const t = yield* talk({
        tools: [Book_, Echo_],
        handlers: Layer.merge(
          Book_.toLayer({ book: (params) => Effect.sync(() => `booked ${seen.push(params)}`) }),
          echoLive
        ),
        script
      })
      return { ...t, seen }
    })
  const good = { city: "Oslo", nights: 2, guests: [{ name: "Ada" }] }

  it.scoped("[T3] bad arguments become an error output that names each bad field, and the handler does not run", () =>
    Effect.gen(function* () {
      const t = yield* booking([
        toolCall("book", { nights: "two", guests: [{ name: "Ada" }, { name: 7 }] }, { id: "c1" }),
        "Let me try again."
      ])
      yield* t.send("Book")
      expect(t.seen).toEqual([])
      const output = (yield* t.output("c1"))!
      expect(output.isError).toBe(true)
      for (const name of ["city", "nights", "guests.1.name"]) expect(output.output).toContain(name)
      expect(output.output).not.toContain("guests.0")
      expect(yield* t.ends).toEqual(["c1 error"])
      expect(yield* TestSession.said(t.session)).toEqual(["Let me try again."])
      expect(ScriptedModel.toolResults(yield* t.lastRequest)).toMatchObject([{ id: "c1", isFailure: true }])
      expect(text(ScriptedModel.toolResults(yield* t.lastRequest)[0]!.result)).toContain("nights")
    })
  )

  it.scoped("[T3] the arguments of a refused call stay as the model sent them", () =>
    Effect.gen(function* () {
      const sent = { city: "Oslo", nights: "two", extra: [1, { deep: null }] }
      const t = yield* booking([toolCall("book", sent, { id: "c1" }), "Oh."])
      yield* t.send("Book")
      expect(yield* TestSession.calls(t.session)).toMatchObject([{ arguments: sent }])
      expect(ScriptedModel.toolCalls(yield* t.lastRequest)).toMatchObject([{ params: sent }])
    })
  )

  it.scoped("[T3] one bad call leaves the good ones of its step alone", () =>
    Effect.gen(function* () {
      const t = yield* booking([
        [echo("one", "c1"), toolCall("book", { city: 1 }, { id: "c2" }), toolCall("book", good, { id: "c3" })],
        "Done."
      ])
      yield* t.send("Book")
      expect(t.seen).toEqual([good])
      expect((yield* t.outputs).map((line) => line.split(" ")[0])).toEqual(["c1:", "c2!", "c3:"])
      expect(yield* t.requestCount).toBe(2)
    })
  )

  for (const [kind, value] of [
    ["null", null],
    ["an array", [good]],
    ["a string", JSON.stringify(good)],
    ["a number", 42],
    ["a boolean", true]
  ] as const) {
    it.scoped(`[T3] arguments that are ${kind} are refused and go back to the model as {}`, () =>
      Effect.gen(function* () {
        const t = yield* booking([[toolCall("book", value, { id: "c1" }), echo("fine", "c2")], "Sorry."])
        yield* t.send("Book")
        expect(t.seen).toEqual([])
        expect(yield* t.output("c1")).toMatchObject({ isError: true })
        expect(yield* t.output("c2")).toMatchObject({ output: "fine", isError: false })
        expect((yield* TestSession.calls(t.session))[0]).toMatchObject({ callId: "c1", arguments: {} })
        expect(ScriptedModel.toolCalls(yield* t.lastRequest)[0]).toMatchObject({ id: "c1", params: {} })
        expect(yield* TestSession.said(t.session)).toEqual(["Sorry."])
      })
    )
  }

  it.scoped("[T3] arguments that are no object are refused also where the tool has no parameters", () =>
    Effect.gen(function* () {
      const Ping = Tool.make("ping", { success: Schema.String })
      const Ping_ = Toolkit.make(Ping)
      let ran = 0
      const t = yield* talk({
        tools: [Ping_],
        handlers: Ping_.toLayer({ ping: () => Effect.sync(() => `pong ${++ran}`) }),
        script: [[toolCall("ping", null, { id: "c1" }), toolCall("ping", {}, { id: "c2" })], "Done."]
      })
      yield* t.send("Ping")
      expect(ran).toBe(1)
      expect((yield* t.output("c1"))!.isError).toBe(true)
      expect((yield* t.output("c2"))!.output).toBe("pong 1")
    })
  )

  it.scoped("[T3] bad arguments of a companion are refused like any other's", () =>
    Effect.gen(function* () {
      const Long_ = Toolkit.make(AsyncTool.make("long", { allowCancellation: true }))
      const t = yield* talk({
        tools: [Long_],
        handlers: Long_.toLayer({ long: () => Effect.void }),
        script: [
          [
            toolCall("cancel_task", {}, { id: "c1" }),
            toolCall("cancel_task", null, { id: "c2" }),
            toolCall("get_running_tasks", "all", { id: "c3" })
          ],
          "Sorry."
        ]
      })
      yield* t.send("Cancel")
      expect(yield* t.ends).toEqual(["c1 error", "c2 error", "c3 error"])
      expect((yield* t.output("c1"))!.output).toContain("call_id")
      expect(yield* TestSession.said(t.session)).toEqual(["Sorry."])
    })
  )

  it.scoped("[T3] __proto__ in arguments is data: nothing is polluted and nothing is granted", () =>
    Effect.gen(function* () {
      const Open = AsyncTool.make("open", {
        parameters: { city: Schema.String, tags: Schema.Record({ key: Schema.String, value: Schema.Unknown }) },
        success: Schema.Unknown,
        background: "model"
      })
      const Open_ = Toolkit.make(Open)
      const evil = JSON.parse(
        '{"city":"Oslo","__proto__":{"polluted":1,"run_in_background":true},"tags":{"__proto__":{"polluted":2},"a":1},' +
          '"constructor":{"prototype":{"polluted":3}}}'
      )
      const seen: Array<any> = []
      const t = yield* talk({
        tools: [Open_],
        handlers: Open_.toLayer({
          open: (params) =>
            Effect.sync(() => {
              seen.push(params)
              return JSON.parse('{"__proto__":{"polluted":4},"ok":true}')
            })
        }),
        script: [toolCall("open", evil, { id: "c1" }), "Done."]
      })
      yield* t.send("Open")
      expect(seen).toHaveLength(1)
      expect(seen[0].city).toBe("Oslo")
      expect(seen[0].polluted).toBeUndefined()
      expect(({} as any).polluted).toBeUndefined()
      expect(yield* t.output("c1")).toMatchObject({ output: { ok: true }, isError: false })
      expect(((yield* t.output("c1"))!.output as any).polluted).toBeUndefined()
      expect(yield* t.events.filter("ToolCallReleased")).toEqual([])
      const encoded = yield* Schema.encode(ChatContext.ChatContext)(yield* t.session.history)
      expect(JSON.parse(JSON.stringify(encoded)).items).toHaveLength(4)
    })
  )

  it.scoped("[T3] a megabyte in the arguments reaches the handler, and an error about one stays short", () =>
    Effect.gen(function* () {
      const big = "x".repeat(1_000_000)
      const t = yield* booking([
        [
          toolCall("book", { ...good, city: big }, { id: "c1" }),
          toolCall("book", { ...good, nights: big }, { id: "c2" }),
          toolCall("book", { ...good, guests: [{ name: [big] }] }, { id: "c3" }),
          toolCall("book", big, { id: "c4" })
        ],
        "Done."
      ])
      yield* t.send("Book")
      expect(t.seen).toEqual([{ ...good, city: big }])
      for (const [id, field] of [
        ["c2", "nights"],
        ["c3", "guests.0.name"],
        ["c4", "arguments"]
      ] as const) {
        const output = (yield* t.output(id))!
        expect(output.isError).toBe(true)
        expect(output.output).toContain(field)
        expect(text(output.output).length).toBeLessThan(3000)
      }
      expect(yield* TestSession.said(t.session)).toEqual(["Done."])
    })
  )

  it.scoped("[T3] a schema may take its time and need services, and its failure names the field", () =>
    Effect.gen(function* () {
      class Cities extends Context.Tag("Cities")<Cities, ReadonlyArray<string>>() {}
      const City = Schema.transformOrFail(Schema.String, Schema.String, {
        strict: true,
        decode: (name, _, ast) =>
          Effect.gen(function* () {
            yield* Effect.sleep("1 second")
            const cities = yield* Cities
            return cities.includes(name)
              ? name.toUpperCase()
              : yield* Effect.fail(new ParseResult.Type(ast, name, `${name} is not served`))
          }),
        encode: (name) => Effect.succeed(name)
      })
      const Go = AsyncTool.make("go", {
        parameters: { city: City },
        success: Schema.String,
        dependencies: [Cities]
      })
      const Go_ = Toolkit.make(Go)
      const t = yield* talk({
        tools: [Go_, Echo_],
        handlers: Layer.mergeAll(
          Go_.toLayer({ go: ({ city }) => Effect.succeed(`in ${city}`) }),
          echoLive,
          Layer.succeed(Cities, ["Oslo"])
        ),
        script: [
          [
            toolCall("go", { city: "Oslo" }, { id: "c1" }),
            toolCall("go", { city: "Rome" }, { id: "c2" }),
            echo("meanwhile", "c3")
          ],
          "Done."
        ]
      })
      yield* t.send("Go")
      expect(yield* t.ends).toEqual(["c3 done"])
      yield* TestSession.advance("1 second")
      expect(yield* t.output("c1")).toMatchObject({ output: "in OSLO", isError: false })
      const refused = (yield* t.output("c2"))!
      expect(refused.isError).toBe(true)
      expect(refused.output).toContain("city")
      expect(refused.output).toContain("Rome is not served")
      expect(yield* TestSession.said(t.session)).toEqual(["Done."])
    })
  )

  it.scoped("[T3] a call that is still being decoded counts as running, and ends once when the session closes", () =>
    Effect.gen(function* () {
      const Never = Schema.transformOrFail(Schema.String, Schema.String, {
        strict: true,
        decode: () => Effect.never,
        encode: (name) => Effect.succeed(name)
      })
      const Go_ = Toolkit.make(AsyncTool.make("go", { parameters: { city: Never }, timeout: "5 seconds" }))
      let ran = false
      const t = yield* talk({
        tools: [Go_],
        handlers: Go_.toLayer({
          go: () =>
            Effect.sync(() => {
              ran = true
            })
        }),
        drainTimeout: "1 second",
        script: [toolCall("go", { city: "Oslo" }, { id: "c1" }), "Done."]
      })
      yield* t.send("Go")
      expect(yield* t.session.runningTools).toMatchObject([{ callId: "c1" }])
      yield* t.close
      expect(yield* t.ends).toHaveLength(1)
      expect(ran).toBe(false)
    })
  )

  for (const [how, City] of [
    [
      "throws in a filter",
      Schema.String.pipe(
        Schema.filter((): boolean => {
          throw new Error("secret bug")
        })
      )
    ],
    [
      "dies in an effect",
      Schema.transformOrFail(Schema.String, Schema.String, {
        strict: true,
        decode: () => Effect.zipRight(Effect.sleep("1 second"), Effect.die(new Error("secret bug"))),
        encode: (name) => Effect.succeed(name)
      })
    ]
  ] as const) {
    it.scoped(`[T8] a parameters schema that ${how} is a defect of its call, and of nothing else`, () =>
      Effect.gen(function* () {
        const Go_ = Toolkit.make(AsyncTool.make("go", { parameters: { city: City }, success: Schema.String }))
        const t = yield* talk({
          tools: [Go_, Echo_],
          handlers: Layer.merge(Go_.toLayer({ go: () => Effect.succeed("ran") }), echoLive),
          script: [[echo("one", "c1"), toolCall("go", { city: "Oslo" }, { id: "c2" }), echo("three", "c3")], "Done."]
        })
        yield* t.send("Go")
        yield* TestSession.advance("1 second")
        expect((yield* t.ends).toSorted()).toEqual(["c1 done", "c2 error", "c3 done"])
        expect(text((yield* t.output("c2"))!.output)).not.toContain("secret")
        expect(t.logs.filter((line) => line.level === "ERROR")).toHaveLength(1)
        expect(t.logs[0]!.cause).toContain("secret bug")
        expect(yield* TestSession.said(t.session)).toEqual(["Done."])
      })
    )
  }

  it.scoped("[T3] where the provider's package fails on the arguments, the step is asked for once more", () =>
    Effect.gen(function* () {
      const t = yield* booking([malformed, "Here I am."])
      const speech = yield* t.send("Hi")
      expect(yield* TestSession.said(t.session)).toEqual(["Here I am."])
      expect(yield* t.requestCount).toBe(2)
      const [first, second] = yield* t.requests
      expect(ScriptedModel.transcript(second!)).toBe(ScriptedModel.transcript(first!))
      expect((yield* speech.error)._tag).toBe("None")
    })
  )

  it.scoped("[T3] where it fails again, the speech ends with the error and the session lives", () =>
    Effect.gen(function* () {
      const t = yield* booking([malformed, malformed, "Hello again."])
      const speech = yield* t.send("Hi")
      expect(yield* t.requestCount).toBe(2)
      expect(yield* speech.error).toMatchObject({ value: { _tag: "MalformedOutput" } })
      expect(yield* t.events.filter("SessionError")).toHaveLength(1)
      yield* t.send("Still there?")
      expect(yield* TestSession.said(t.session)).toEqual(["Hello again."])
    })
  )

  it.scoped("[T3] each step of a turn is asked for once more", () =>
    Effect.gen(function* () {
      const t = yield* booking([malformed, toolCall("book", good, { id: "c1" }), malformed, "Booked."])
      const speech = yield* t.send("Book")
      expect((yield* speech.error)._tag).toBe("None")
      expect(yield* TestSession.said(t.session)).toEqual(["Booked."])
      expect(yield* t.requestCount).toBe(4)
    })
  )

  it.scoped("[T3] a call before the failure counts: it runs, and the model goes on from its output", () =>
    Effect.gen(function* () {
      const t = yield* booking([["One moment. ", toolCall("book", good, { id: "c1" }), malformed], "Booked."])
      yield* t.send("Book")
      expect(t.seen).toHaveLength(1)
      expect(yield* t.ends).toEqual(["c1 done"])
      expect(yield* TestSession.said(t.session)).toEqual(["One moment. ", "Booked."])
      expect(ScriptedModel.toolResults(yield* t.lastRequest)).toMatchObject([{ id: "c1", result: "booked 1" }])
    })
  )
})

describe("unknown tools", () => {
  const talkEcho = (script: ScriptedModel.Script) => talk({ tools: [Echo_, Work_], handlers: live, script })
  const live = Layer.merge(echoLive, workLive)

  it.scoped("[T4] a call of a tool that does not exist gets an error output that lists the tools there are", () =>
    Effect.gen(function* () {
      const t = yield* talkEcho([toolCall("teleport", { to: "Mars" }, { id: "c1" }), "I cannot do that."])
      yield* t.send("Go to Mars")
      const output = (yield* t.output("c1"))!
      expect(output).toMatchObject({ isError: true, name: "teleport" })
      for (const name of ["teleport", "echo", "work"]) expect(output.output).toContain(name)
      expect(yield* t.starts).toEqual(["c1"])
      expect(yield* t.ends).toEqual(["c1 error"])
      expect(yield* TestSession.said(t.session)).toEqual(["I cannot do that."])
      const request = yield* t.lastRequest
      expect(ScriptedModel.toolCalls(request)).toMatchObject([
        { id: "c1", name: "teleport", params: { to: "Mars" }, providerExecuted: false }
      ])
      expect(ScriptedModel.toolResults(request)).toMatchObject([{ id: "c1", isFailure: true }])
      expect(yield* t.events.filter("SessionError")).toEqual([])
    })
  )

  it.scoped("[T4] text and calls before it in the stream count", () =>
    Effect.gen(function* () {
      const t = yield* talkEcho([
        ["Let me see. ", echo("one", "c1"), work("slow", 3, "c2"), toolCall("teleport", {}, { id: "c3" })],
        "Only that."
      ])
      yield* t.send("Go")
      expect(yield* t.session.runningTools).toMatchObject([{ callId: "c2" }])
      yield* TestSession.advance("3 seconds")
      expect((yield* t.outputs).map((line) => line.slice(0, 10))).toEqual(["c1: one", "c2: slow d", "c3! There "])
      expect(yield* TestSession.said(t.session)).toEqual(["Let me see. ", "Only that."])
      expect(yield* t.requestCount).toBe(2)
    })
  )

  it.scoped("[T4] text and calls before it in the same chunk count", () =>
    Effect.gen(function* () {
      const { asked, languageModel } = yield* chunkModel([
        [
          ...parts.text("t1", "Let me see. "),
          parts.call("c1", "echo", { text: "one" }),
          parts.call("c2", "teleport", { to: "Mars" }),
          parts.call("c3", "echo", { text: "three" })
        ],
        parts.text("t2", "Only that.")
      ])
      const { session } = yield* TestSession.make({
        agent: Agent.make("agent", { instructions: "You help.", tools: [Echo_] })
      }).pipe(Effect.provide(echoLive), Effect.provideService(LanguageModel.LanguageModel, languageModel))
      const events = yield* TestSession.collect(session)
      yield* session.send("Go")
      const ended = yield* events.filter("ToolCallEnded")
      expect(ended.find((event) => event.callId === "c1")).toMatchObject({ status: "done", output: "one" })
      expect(ended.find((event) => event.callId === "c2")).toMatchObject({ status: "error" })
      expect(yield* events.filter("ToolCallStarted")).toHaveLength(ended.length)
      expect(yield* TestSession.said(session)).toEqual(["Let me see. ", "Only that."])
      expect(asked).toHaveLength(2)
    })
  )

  for (const name of ["__proto__", "constructor", "toString", ""]) {
    it.scoped(`[T4] "${name}" is an unknown tool like any other`, () =>
      Effect.gen(function* () {
        const t = yield* talkEcho([[echo("one", "c1"), toolCall(name, {}, { id: "c2" })], "Well."])
        yield* t.send("Go")
        expect((yield* t.outputs)[0]).toBe("c1: one")
        expect(yield* t.output("c2")).toMatchObject({ isError: true })
        expect(yield* TestSession.said(t.session)).toEqual(["Well."])
      })
    )
  }

  it.scoped("[T4] an unknown tool with arguments that are no object is answered too", () =>
    Effect.gen(function* () {
      const t = yield* talkEcho([toolCall("teleport", null, { id: "c1" }), "Well."])
      yield* t.send("Go")
      expect(yield* t.output("c1")).toMatchObject({ isError: true })
      expect(yield* TestSession.calls(t.session)).toMatchObject([{ arguments: {} }])
      expect(yield* TestSession.said(t.session)).toEqual(["Well."])
    })
  )

  it.scoped("[T4] an agent without tools answers a call, too", () =>
    Effect.gen(function* () {
      const t = yield* talk({
        tools: [],
        script: [["Hm. ", toolCall("teleport", {}, { id: "c1" })], "I have no tools."]
      })
      yield* t.send("Go")
      expect(yield* t.output("c1")).toMatchObject({ isError: true })
      expect(yield* TestSession.said(t.session)).toEqual(["Hm. ", "I have no tools."])
    })
  )

  it.scoped("[T4] unknown tools step after step end with the step limit, not with an endless turn", () =>
    Effect.gen(function* () {
      const t = yield* talkEcho((request) => (request.toolChoice === "none" ? "I give up." : toolCall("teleport")))
      yield* t.send("Go")
      expect(yield* TestSession.said(t.session)).toEqual(["I give up."])
      expect(yield* t.requestCount).toBe(4)
    })
  )
})

describe("what a handler ends with", () => {
  it.scoped("[T5] the encoded success is the output, and the model replies in the same turn", () =>
    Effect.gen(function* () {
      const When = AsyncTool.make("when", { success: Schema.DateFromString })
      const When_ = Toolkit.make(When)
      const t = yield* talk({
        tools: [When_],
        handlers: When_.toLayer({ when: () => Effect.as(Effect.sleep("1 second"), new Date(0)) }),
        script: [toolCall("when", {}, { id: "c1" }), "In 1970."]
      })
      const speech = yield* t.send("When?")
      expect(yield* speech.done).toBe(false)
      yield* TestSession.advance("1 second")
      expect(yield* t.output("c1")).toMatchObject({ output: "1970-01-01T00:00:00.000Z", isError: false })
      expect(yield* speech.done).toBe(true)
      expect((yield* speech.items).map((item) => item._tag)).toEqual(["FunctionCall", "FunctionCallOutput", "Message"])
      expect(yield* t.events.filter("SpeechCreated")).toHaveLength(1)
      expect(yield* t.events.filter("ToolCallReleased", "ReplyScheduled")).toEqual([])
      expect(ScriptedModel.toolResults(yield* t.lastRequest)).toMatchObject([
        { id: "c1", result: "1970-01-01T00:00:00.000Z", isFailure: false }
      ])
    })
  )

  it.scoped("[T5] a tool with nothing to say gets the ended template as output and asks for no reply", () =>
    Effect.gen(function* () {
      const Log = AsyncTool.make("log")
      const Maybe = AsyncTool.make("maybe", { success: Schema.UndefinedOr(Schema.String) })
      const kit = Toolkit.make(Log, Maybe)
      const t = yield* talk({
        tools: [kit],
        handlers: kit.toLayer({ log: () => Effect.void, maybe: () => Effect.succeed(undefined) }),
        layers: ToolPrompts.layer({ ended: "{toolName} {callId} is {how}" }),
        script: [["Noted. ", toolCall("log", {}, { id: "c1" }), toolCall("maybe", {}, { id: "c2" })]]
      })
      const speech = yield* t.send("Note it")
      expect(yield* t.outputs).toEqual(["c1: log c1 is done", "c2: maybe c2 is done"])
      expect(yield* t.ends).toEqual(["c1 done", "c2 done"])
      expect(yield* t.requestCount).toBe(1)
      expect(yield* speech.done).toBe(true)
    })
  )

  it.scoped("[T5] an ordinary tool with nothing to say asks for no reply either", () =>
    Effect.gen(function* () {
      const Log_ = Toolkit.make(Tool.make("log"))
      const t = yield* talk({
        tools: [Log_],
        handlers: Log_.toLayer({ log: () => Effect.void }),
        script: [["Noted. ", toolCall("log", {}, { id: "c1" })]]
      })
      yield* t.send("Note it")
      expect((yield* t.output("c1"))!.output).toContain("log")
      expect(yield* t.requestCount).toBe(1)
    })
  )

  it.scoped("[T5] one result among calls with nothing to say is replied to", () =>
    Effect.gen(function* () {
      const Log_ = Toolkit.make(AsyncTool.make("log"))
      const t = yield* talk({
        tools: [Log_, Echo_],
        handlers: Layer.merge(Log_.toLayer({ log: () => Effect.void }), echoLive),
        script: [[toolCall("log", {}, { id: "c1" }), echo("yes", "c2"), toolCall("log", {}, { id: "c3" })], "Yes."]
      })
      yield* t.send("Go")
      expect(yield* TestSession.said(t.session)).toEqual(["Yes."])
    })
  )

  for (const value of [null, 0, "", false, []] as const) {
    it.scoped(`[T5] ${JSON.stringify(value)} is something to say`, () =>
      Effect.gen(function* () {
        const Get_ = Toolkit.make(AsyncTool.make("get", { success: Schema.Unknown }))
        const t = yield* talk({
          tools: [Get_],
          handlers: Get_.toLayer({ get: () => Effect.succeed(value) }),
          script: [toolCall("get", {}, { id: "c1" }), "I see."]
        })
        yield* t.send("Get")
        expect((yield* t.output("c1"))!.output).toEqual(value)
        expect(yield* TestSession.said(t.session)).toEqual(["I see."])
        expect(ScriptedModel.toolResults(yield* t.lastRequest)).toHaveLength(1)
      })
    )
  }

  class NotFound extends Schema.TaggedError<NotFound>("NotFound")("NotFound", {
    id: Schema.String,
    since: Schema.DateFromString
  }) {}
  const missing = () => Effect.fail(new NotFound({ id: "7", since: new Date(0) }))
  const encodedMissing = { _tag: "NotFound", id: "7", since: "1970-01-01T00:00:00.000Z" }

  const failing = {
    "AsyncTool.make": AsyncTool.make("find", { success: Schema.String, failure: NotFound }),
    'Tool.make with failureMode "error"': Tool.make("find", {
      success: Schema.String,
      failure: NotFound,
      failureMode: "error"
    }),
    'Tool.make with failureMode "return"': Tool.make("find", {
      success: Schema.String,
      failure: NotFound,
      failureMode: "return"
    })
  }
  for (const [kind, tool] of Object.entries(failing)) {
    it.scoped(`[T6] a typed failure of ${kind} becomes an error output with the encoded failure`, () =>
      Effect.gen(function* () {
        const kit = Toolkit.make(tool as Tool.Any)
        const t = yield* talk({
          tools: [kit],
          handlers: kit.toLayer({ find: missing } as any),
          script: [toolCall("find", {}, { id: "c1" }), "There is none."]
        })
        yield* t.send("Find")
        expect(yield* t.output("c1")).toMatchObject({ output: encodedMissing, isError: true })
        expect(yield* t.ends).toEqual(["c1 error"])
        expect(yield* TestSession.said(t.session)).toEqual(["There is none."])
        const [result] = ScriptedModel.toolResults(yield* t.lastRequest)
        expect(result!.isFailure).toBe(true)
        expect(text(result!.result)).toContain("1970-01-01T00:00:00.000Z")
        expect(t.logs).toMatchObject([{ level: "WARN", cause: "" }])
        expect(t.logs[0]!.text).toContain("find")
        expect(t.logs[0]!.text).not.toMatch(/\n\s+at /)
      })
    )
  }

  it.scoped("[T6] the message of a ToolError is the error output, and it is logged once, without a stack", () =>
    Effect.gen(function* () {
      const Try_ = Toolkit.make(AsyncTool.make("try", { success: Schema.String }))
      const t = yield* talk({
        tools: [Try_],
        handlers: Try_.toLayer({ try: () => new AsyncTool.ToolError({ message: "No such flight." }) }),
        script: [toolCall("try", {}, { id: "c1" }), "No flight."]
      })
      yield* t.send("Try")
      expect(yield* t.outputs).toEqual(["c1! No such flight."])
      expect(yield* TestSession.said(t.session)).toEqual(["No flight."])
      expect(t.logs).toMatchObject([{ level: "WARN", cause: "" }])
      expect(t.logs[0]!.text).toContain("No such flight.")
      expect(t.logs[0]!.text).not.toMatch(/\n\s+at /)
    })
  )

  it.scoped("[T6] a ToolError beside a fiber that is interrupted then is a typed failure, too", () =>
    Effect.gen(function* () {
      const Try_ = Toolkit.make(AsyncTool.make("try", { success: Schema.String }))
      const t = yield* talk({
        tools: [Try_],
        handlers: Try_.toLayer({
          try: () =>
            Effect.as(
              Effect.all([new AsyncTool.ToolError({ message: "No." }), Effect.never], { concurrency: "unbounded" }),
              "never"
            )
        }),
        script: [toolCall("try", {}, { id: "c1" }), "No."]
      })
      yield* t.send("Try")
      expect(yield* t.outputs).toEqual(["c1! No."])
      expect(t.logs.map((line) => line.level)).toEqual(["WARN"])
    })
  )

  it.scoped("[T6] a ToolError works in an ordinary tool whose failure schema has it", () =>
    Effect.gen(function* () {
      const Try_ = Toolkit.make(Tool.make("try", { success: Schema.String, failure: AsyncTool.ToolError }))
      const t = yield* talk({
        tools: [Try_],
        handlers: Try_.toLayer({ try: () => Effect.fail(new AsyncTool.ToolError({ message: "No." })) }),
        script: [toolCall("try", {}, { id: "c1" }), "No."]
      })
      yield* t.send("Try")
      expect(yield* t.outputs).toEqual(["c1! No."])
    })
  )

  const stop = new AsyncTool.StopResponse()
  const Stop_ = Toolkit.make(AsyncTool.make("stop", { success: Schema.String }))
  const stopLive = Stop_.toLayer({ stop: () => stop })

  it.scoped("[T7] when all calls of a step end with StopResponse, no reply is generated and nothing is logged", () =>
    Effect.gen(function* () {
      const t = yield* talk({
        tools: [Stop_],
        handlers: stopLive,
        script: [["Bye. ", toolCall("stop", {}, { id: "c1" }), toolCall("stop", {}, { id: "c2" })], "Hello again."]
      })
      const speech = yield* t.send("Stop")
      expect(yield* t.requestCount).toBe(1)
      expect(yield* t.ends).toEqual(["c1 done", "c2 done"])
      expect(yield* speech.done).toBe(true)
      expect((yield* speech.error)._tag).toBe("None")
      expect(t.logs).toEqual([])
      yield* t.send("Again")
      expect(ScriptedModel.toolResults(yield* t.lastRequest)).toMatchObject([{ id: "c1" }, { id: "c2" }])
    })
  )

  it.scoped("[T7] where another call of the step has a result or an error, the reply comes", () =>
    Effect.gen(function* () {
      const t = yield* talk({
        tools: [Stop_, Echo_],
        handlers: Layer.merge(stopLive, echoLive),
        script: [
          [echo("one", "c1"), toolCall("stop", {}, { id: "c2" })],
          "One.",
          [toolCall("stop", {}, { id: "c3" }), toolCall("echo", {}, { id: "c4" })],
          "Two."
        ]
      })
      yield* t.send("Go")
      yield* t.send("Go")
      expect(yield* TestSession.said(t.session)).toEqual(["One.", "Two."])
      expect(yield* t.ends).toEqual(["c1 done", "c2 done", "c3 done", "c4 error"])
    })
  )

  it.scoped("[T7] StopResponse works in an ordinary tool whose failure schema has it", () =>
    Effect.gen(function* () {
      const Quiet_ = Toolkit.make(
        Tool.make("quiet", { success: Schema.String, failure: Schema.Union(NotFound, AsyncTool.StopResponse) })
      )
      const t = yield* talk({
        tools: [Quiet_],
        handlers: Quiet_.toLayer({ quiet: () => Effect.fail(stop) }),
        script: [["Shh. ", toolCall("quiet", {}, { id: "c1" })]]
      })
      yield* t.send("Quiet")
      expect(yield* t.ends).toEqual(["c1 done"])
      expect(yield* t.requestCount).toBe(1)
      expect(t.logs).toEqual([])
    })
  )

  const circular: Record<string, unknown> = { secret: "secret bug" }
  circular.self = circular
  const defects: Record<string, () => Effect.Effect<string>> = {
    "throws before it returns an Effect": () => {
      throw new Error("secret bug")
    },
    "throws inside": () =>
      Effect.sync(() => {
        throw new TypeError("secret bug")
      }),
    dies: () => Effect.die("secret bug"),
    "has a promise that is rejected": () => Effect.promise(() => Promise.reject(new Error("secret bug"))),
    "dies beside a fiber that is interrupted then": () =>
      Effect.all([Effect.die(new Error("secret bug")), Effect.never], { concurrency: "unbounded" }) as any,
    "dies with a circular value": () => Effect.die(circular),
    "fails with what its schema does not know": () => Effect.fail(new Error("secret bug")) as any,
    "returns what its own schema refuses": () => Effect.succeed({ text: "secret bug" }) as any,
    "returns no Effect at all": () => "secret bug" as any
  }
  for (const [kind, handler] of Object.entries(defects)) {
    it.scoped(`[T8] a handler that ${kind} gets a general error output, and the cause is logged once`, () =>
      Effect.gen(function* () {
        const Bug_ = Toolkit.make(AsyncTool.make("bug", { success: Schema.String }))
        const t = yield* talk({
          tools: [Bug_, Echo_],
          handlers: Layer.merge(Bug_.toLayer({ bug: handler }), echoLive),
          script: [[toolCall("bug", {}, { id: "c1" }), echo("fine", "c2")], "Something went wrong."]
        })
        yield* t.send("Go")
        const output = (yield* t.output("c1"))!
        expect(output.isError).toBe(true)
        expect(output.output).toContain("bug failed")
        expect(yield* t.ends).toHaveLength(2)
        expect((yield* t.events.filter("ToolCallEnded")).find((event) => event.callId === "c1")).toMatchObject({
          status: "error",
          output: output.output
        })
        const shown = JSON.stringify([yield* t.session.history, yield* t.events.all, yield* t.lastRequest])
        expect(shown).not.toContain("secret")
        expect(yield* TestSession.said(t.session)).toEqual(["Something went wrong."])
        const errors = t.logs.filter((line) => line.level === "ERROR")
        expect(t.logs).toEqual(errors)
        expect(errors).toHaveLength(1)
        expect(errors[0]!.text).toContain("bug")
        if (!kind.startsWith("returns no") && !kind.includes("circular")) {
          expect(errors[0]!.text + errors[0]!.cause).toContain("secret bug")
        }
      })
    )
  }

  it.scoped("[T8] a success that its schema refuses only after a while is a defect, too", () =>
    Effect.gen(function* () {
      const Slow = Schema.transformOrFail(Schema.String, Schema.String, {
        strict: true,
        decode: (value) => Effect.succeed(value),
        encode: (value, _, ast) =>
          Effect.zipRight(Effect.sleep("1 second"), Effect.fail(new ParseResult.Type(ast, value, "refused")))
      })
      const Slow_ = Toolkit.make(AsyncTool.make("slow", { success: Slow }))
      const t = yield* talk({
        tools: [Slow_],
        handlers: Slow_.toLayer({ slow: () => Effect.succeed("value") }),
        script: [toolCall("slow", {}, { id: "c1" }), "Hm."]
      })
      yield* t.send("Go")
      yield* TestSession.advance("1 second")
      expect(yield* t.output("c1")).toMatchObject({ isError: true })
      expect((yield* t.output("c1"))!.output).toContain("unexpected")
      expect(t.logs.map((line) => line.level)).toEqual(["ERROR"])
      expect(yield* TestSession.said(t.session)).toEqual(["Hm."])
    })
  )
})

describe("the life of a call", () => {
  const kinds = {
    succeeds: Effect.succeed("yes"),
    "has nothing to say": Effect.succeed(undefined),
    fails: new AsyncTool.ToolError({ message: "no" }),
    stops: new AsyncTool.StopResponse(),
    dies: Effect.die(new Error("bug")),
    "interrupts itself": Effect.interrupt,
    "takes too long": Effect.never,
    "is cancelled": Effect.never,
    "updates and succeeds": Effect.zipRight(RunContext.update("on it"), Effect.as(Effect.sleep("1 second"), "yes")),
    "updates and has nothing to say": Effect.as(RunContext.update("on it"), undefined),
    "updates and fails": Effect.zipRight(RunContext.update("on it"), new AsyncTool.ToolError({ message: "no" })),
    "updates and dies": Effect.zipRight(RunContext.update("on it"), Effect.die(new Error("bug"))),
    "updates and interrupts itself": Effect.zipRight(RunContext.update("on it"), Effect.interrupt),
    "updates and takes too long": Effect.zipRight(RunContext.update("on it"), Effect.never),
    "updates and is cancelled": Effect.zipRight(RunContext.update("on it"), Effect.never),
    "is there when the session closes": Effect.never,
    "updates and is there when the session closes": Effect.zipRight(RunContext.update("on it"), Effect.never)
  } as const
  type Kind = keyof typeof kinds
  const names = Object.keys(kinds) as ReadonlyArray<Kind>
  const one = {
    parameters: { how: Schema.Literal(...(names as [Kind, ...ReadonlyArray<Kind>])) },
    success: Schema.UndefinedOr(Schema.String),
    allowCancellation: true
  } as const
  const Kinds_ = Toolkit.make(
    AsyncTool.make("short", { ...one, timeout: "10 seconds" }),
    AsyncTool.make("long", { ...one })
  )
  const handle = ({ how }: { readonly how: Kind }) =>
    kinds[how] as Effect.Effect<string | undefined, never, RunContext.RunContext>
  const kindsLive = Kinds_.toLayer({ short: handle, long: handle })
  const toolOf = (how: Kind) => (how.includes("closes") ? "long" : "short")

  it.scoped("[T9] every call has exactly one start event and one end event, whatever happens", () =>
    Effect.gen(function* () {
      const t = yield* talk({
        tools: [Kinds_],
        handlers: kindsLive,
        drainTimeout: "1 second",
        script: [
          [
            ...names.map((how) => toolCall(toolOf(how), { how }, { id: how })),
            toolCall("short", { how: "wrong" }, { id: "bad" }),
            toolCall("short", null, { id: "null" }),
            toolCall("short", { how: "succeeds" }, { id: "is cancelled" }),
            toolCall("get_running_tasks", {}, { id: "list" }),
            toolCall("cancel_task", { call_id: "none" }, { id: "cancel" }),
            toolCall("unknown", {}, { id: "unknown" })
          ],
          ...Array.from({ length: 20 }, () => "Well.")
        ]
      })
      yield* t.send("All of it")
      yield* TestSession.advance("2 seconds")
      yield* t.session.cancelTool("is cancelled")
      yield* t.session.cancelTool("updates and is cancelled")
      yield* TestSession.advance("10 seconds")
      expect((yield* t.session.runningTools).map((call) => call.callId)).toEqual([
        "is there when the session closes",
        "updates and is there when the session closes"
      ])
      yield* t.close
      const started = yield* t.starts
      const ended = yield* t.events.filter("ToolCallEnded")
      expect(started).toHaveLength(names.length + 6)
      expect(new Set(started).size).toBe(started.length)
      expect(ended.map((event) => event.callId).toSorted()).toEqual(started.toSorted())
      const status = Object.fromEntries(ended.map((event) => [event.callId, event.status]))
      expect(status).toMatchObject({
        succeeds: "done",
        "has nothing to say": "done",
        fails: "error",
        stops: "done",
        dies: "error",
        "takes too long": "error",
        "is cancelled": "cancelled",
        "updates and succeeds": "done",
        "updates and has nothing to say": "done",
        "updates and fails": "error",
        "updates and dies": "error",
        "updates and takes too long": "error",
        "updates and is cancelled": "cancelled",
        "is there when the session closes": "cancelled",
        "updates and is there when the session closes": "cancelled",
        bad: "error",
        null: "error",
        "is cancelled_1": "error",
        list: "done",
        cancel: "error",
        unknown: "error"
      })
      for (const event of ended) {
        expect(event.id).toBe(event.callId.startsWith("updates") ? `${event.callId}_final` : event.callId)
      }
      const tags = yield* t.events.tags
      expect(tags.lastIndexOf("ToolCallEnded")).toBeLessThan(tags.indexOf("SessionClosed"))
      for (const request of yield* t.requests) expectAnsweredOnce(request)
      const outputs = (yield* TestSession.outputs(t.session)).map((item) => item.callId)
      expect(new Set(outputs).size).toBe(outputs.length)
      expect(outputs.toSorted()).toEqual((yield* TestSession.calls(t.session)).map((item) => item.callId).toSorted())
    })
  )

  const Stubborn = AsyncTool.make("stubborn", {
    parameters: { how: Schema.Literal("slow to stop", "finishes anyway", "in time") },
    success: Schema.String,
    allowCancellation: true,
    timeout: "10 seconds"
  })
  const Stubborn_ = Toolkit.make(Stubborn)
  const stubborn = (how: string) =>
    talk({
      tools: [Stubborn_],
      handlers: Stubborn_.toLayer({
        stubborn: ({ how }) =>
          how === "slow to stop"
            ? Effect.onInterrupt(Effect.never, () => Effect.sleep("3 seconds"))
            : how === "in time"
              ? Effect.as(Effect.sleep("10 seconds"), "in time")
              : Effect.uninterruptible(Effect.as(Effect.sleep("15 seconds"), "secret"))
      }),
      script: [toolCall("stubborn", { how }, { id: "c1" }), "Well."]
    })

  it.scoped("[T9] a cancellation that came first stays one when the time limit passes while the call stops", () =>
    Effect.gen(function* () {
      const t = yield* stubborn("slow to stop")
      yield* t.send("Go")
      yield* TestSession.advance("8 seconds")
      yield* Effect.fork(t.session.cancelTool("c1"))
      yield* TestSession.advance("2500 millis")
      expect(yield* t.ends).toEqual([])
      yield* TestSession.advance("1 second")
      expect(yield* t.ends).toEqual(["c1 cancelled"])
      expect((yield* t.output("c1"))!.output).not.toContain("time limit")
    })
  )

  it.scoped("[T9] a time limit that came first stays one when the call is cancelled while it stops", () =>
    Effect.gen(function* () {
      const t = yield* stubborn("slow to stop")
      yield* t.send("Go")
      yield* TestSession.advance("11 seconds")
      yield* Effect.fork(Effect.either(t.session.cancelTool("c1")))
      yield* TestSession.advance("5 seconds")
      expect(yield* t.ends).toEqual(["c1 error"])
      expect((yield* t.output("c1"))!.isError).toBe(true)
    })
  )

  it.scoped("[T9] what a handler ends with after its time limit does not count", () =>
    Effect.gen(function* () {
      const t = yield* stubborn("finishes anyway")
      yield* t.send("Go")
      yield* TestSession.advance("20 seconds")
      expect(yield* t.ends).toEqual(["c1 error"])
      expect(yield* TestSession.outputs(t.session)).toHaveLength(1)
      expect(JSON.stringify(yield* t.session.history)).not.toContain("secret")
    })
  )

  it.scoped("[T9] a handler that ends at the very moment of its time limit ends once", () =>
    Effect.gen(function* () {
      const t = yield* stubborn("in time")
      yield* t.send("Go")
      yield* TestSession.advance("20 seconds")
      expect(yield* t.ends).toHaveLength(1)
      expect(yield* TestSession.outputs(t.session)).toHaveLength(1)
      expect(yield* TestSession.said(t.session)).toEqual(["Well."])
    })
  )

  it.scoped("[T9] a handler that cancels its own call ends once", () =>
    Effect.gen(function* () {
      const Self_ = Toolkit.make(AsyncTool.make("self", { success: Schema.String, allowCancellation: true }))
      const t = yield* talk({
        tools: [Self_],
        handlers: Self_.toLayer({
          self: () =>
            Effect.gen(function* () {
              const { call, session } = yield* RunContext.RunContext
              yield* session.cancelTool(call.callId)
              return "went on"
            })
        }),
        script: [toolCall("self", {}, { id: "c1" }), "Well."]
      })
      yield* t.send("Go")
      yield* TestSession.advance("10 seconds")
      expect(yield* t.ends).toEqual(["c1 cancelled"])
      expect(yield* TestSession.said(t.session)).toEqual(["Well."])
    })
  )
})

describe("steps of a turn", () => {
  const greedy: ScriptedModel.Script = (request) =>
    request.toolChoice === "none" ? "Enough." : toolCall("echo", { text: `step ${request.index}` })
  const choices = (requests: ReadonlyArray<ScriptedModel.Request>) => requests.map((request) => request.toolChoice)

  it.scoped("[T10] after three steps with calls the reply is asked for with tool choice none", () =>
    Effect.gen(function* () {
      const t = yield* talk({ tools: [Echo_], handlers: echoLive, script: greedy })
      yield* t.send("Go")
      expect(choices(yield* t.requests)).toEqual(["auto", "auto", "auto", "none"])
      expect(yield* TestSession.said(t.session)).toEqual(["Enough."])
      const [first, , , last] = yield* t.requests
      expect(last!.tools).toEqual(first!.tools)
    })
  )

  it.scoped("[T10] maxToolSteps sets the limit, and a new turn has all its steps again", () =>
    Effect.gen(function* () {
      const t = yield* talk({ tools: [Echo_], handlers: echoLive, script: greedy, maxToolSteps: 1 })
      yield* t.send("Go")
      yield* t.send("Go on")
      expect(choices(yield* t.requests)).toEqual(["auto", "none", "auto", "none"])
    })
  )

  it.scoped("[T10] a limit of 0 permits no step with calls", () =>
    Effect.gen(function* () {
      const t = yield* talk({ tools: [Echo_], handlers: echoLive, script: greedy, maxToolSteps: 0 })
      yield* t.send("Go")
      expect(choices(yield* t.requests)).toEqual(["none"])
      expect(yield* TestSession.said(t.session)).toEqual(["Enough."])
    })
  )

  it.scoped("[T10] two calls in one step are one step", () =>
    Effect.gen(function* () {
      const t = yield* talk({
        tools: [Echo_],
        handlers: echoLive,
        maxToolSteps: 2,
        script: (request) =>
          request.toolChoice === "none" ? "Enough." : [toolCall("echo", { text: "a" }), toolCall("echo", { text: "b" })]
      })
      yield* t.send("Go")
      expect(choices(yield* t.requests)).toEqual(["auto", "auto", "none"])
      expect(yield* TestSession.outputs(t.session)).toHaveLength(4)
    })
  )

  for (const toolChoice of ["required", { tool: "echo" }] as const) {
    it.scoped(`[T10] the tool choice ${JSON.stringify(toolChoice)} of a reply holds for its first step`, () =>
      Effect.gen(function* () {
        const t = yield* talk({
          tools: [Echo_],
          handlers: echoLive,
          script: [echo("a", "c1"), echo("b", "c2"), "Done."]
        })
        yield* t.send("Go", { toolChoice })
        expect(choices(yield* t.requests)).toEqual([toolChoice, "auto", "auto"])
        yield* t.push("Hello.")
        yield* t.send("Hi")
        expect((yield* t.lastRequest).toolChoice).toBe("auto")
      })
    )
  }

  it.scoped("[T10] the tool choice none of a reply holds for all its steps: no call is run", () =>
    Effect.gen(function* () {
      let ran = 0
      const t = yield* talk({
        tools: [Echo_],
        handlers: Echo_.toLayer({ echo: () => Effect.sync(() => `${++ran}`) }),
        script: [
          [say("Hm. "), echo("a", "c1"), toolCall("unknown", {}, { id: "c2" })],
          [echo("b", "c3")],
          "Never asked."
        ]
      })
      const speech = yield* t.send("Go", { toolChoice: "none" })
      expect(ran).toBe(0)
      expect(choices(yield* t.requests)).toEqual(["none", "none"])
      expect((yield* t.outputs).map((line) => line.split(" ")[0])).toEqual(["c1!", "c2!", "c3!"])
      expect(yield* speech.done).toBe(true)
      expect(yield* t.ends).toHaveLength(3)
    })
  )
})

describe("call ids", () => {
  it.scoped("[T11] an id of the history gets the first free number, in history, events and requests", () =>
    Effect.gen(function* () {
      const t = yield* talk({
        tools: [Echo_],
        handlers: echoLive,
        script: [echo("one", "c1"), echo("two", "c1"), echo("three", "c1"), "Done."]
      })
      yield* t.send("Go")
      expect(yield* t.starts).toEqual(["c1", "c1_1", "c1_2"])
      expect(yield* t.ends).toEqual(["c1 done", "c1_1 done", "c1_2 done"])
      expect(yield* t.outputs).toEqual(["c1: one", "c1_1: two", "c1_2: three"])
      expect(ScriptedModel.toolCalls(yield* t.lastRequest).map((call) => call.id)).toEqual(["c1", "c1_1", "c1_2"])
      for (const request of yield* t.requests) expectAnsweredOnce(request)
    })
  )

  it.scoped("[T11] the first free number skips those that are taken, also by a history that was given", () =>
    Effect.gen(function* () {
      const pair = (callId: string) =>
        [
          { _tag: "FunctionCall", id: `call-${callId}`, callId, name: "echo", arguments: { text: "x" }, createdAt: 0 },
          {
            _tag: "FunctionCallOutput",
            id: `output-${callId}`,
            callId,
            name: "echo",
            output: "x",
            isError: false,
            createdAt: 0
          }
        ] as const
      const t = yield* talk({
        tools: [Echo_],
        handlers: echoLive,
        history: { items: [...pair("c1"), ...pair("c1_1"), ...pair("c1_3")] },
        script: [[echo("a", "c1"), echo("b", "c1"), echo("c", "c1")], "Done."]
      })
      yield* t.send("Go")
      const ids = yield* t.starts
      expect(ids[0]).toBe("c1_2")
      expect(new Set([...ids, "c1", "c1_1", "c1_3"]).size).toBe(6)
      for (const request of yield* t.requests) expectAnsweredOnce(request)
    })
  )

  it.scoped("[T11] while the first one runs, the second gets an error output and does not run", () =>
    Effect.gen(function* () {
      let ran = 0
      const t = yield* talk({
        tools: [Work_],
        handlers: Work_.toLayer({
          work: ({ name }) => Effect.as(Effect.sleep("5 seconds"), `${name} ${++ran}`)
        }),
        script: [[work("a", 5, "c1"), work("b", 5, "c1")], "Well."]
      })
      yield* t.send("Go")
      expect(yield* t.session.runningTools).toMatchObject([{ callId: "c1", arguments: { name: "a" } }])
      expect(yield* t.ends).toEqual(["c1_1 error"])
      yield* TestSession.advance("5 seconds")
      expect(ran).toBe(1)
      expect((yield* t.outputs).map((line) => line.split(" ")[0])).toEqual(["c1:", "c1_1!"])
      expect(yield* TestSession.said(t.session)).toEqual(["Well."])
      for (const request of yield* t.requests) expectAnsweredOnce(request)
    })
  )

  it.scoped("[T11] a call in the background still runs; once it has ended, its id may come again", () =>
    Effect.gen(function* () {
      const Back_ = Toolkit.make(AsyncTool.make("back", { success: Schema.String }))
      const t = yield* talk({
        tools: [Back_],
        handlers: Back_.toLayer({
          back: () => Effect.zipRight(RunContext.update("on it"), Effect.as(Effect.sleep("10 seconds"), "back"))
        }),
        script: [
          toolCall("back", {}, { id: "c1" }),
          "On it.",
          toolCall("back", {}, { id: "c1" }),
          "Still on it.",
          "It is back.",
          toolCall("back", {}, { id: "c1" }),
          "On it again."
        ]
      })
      yield* t.send("One")
      yield* t.send("Two")
      expect(yield* t.ends).toEqual(["c1_1 error"])
      yield* TestSession.advance("10 seconds")
      expect(yield* t.ends).toEqual(["c1_1 error", "c1_final done"])
      yield* t.send("Three")
      expect(yield* t.session.runningTools).toMatchObject([{ callId: "c1_2" }])
      for (const request of yield* t.requests) expectAnsweredOnce(request)
    })
  )

  it.scoped("[T11] ids that look like those of our own pairs stay apart from them", () =>
    Effect.gen(function* () {
      const Back_ = Toolkit.make(AsyncTool.make("back", { success: Schema.String }))
      const t = yield* talk({
        tools: [Back_, Echo_],
        handlers: Layer.merge(
          echoLive,
          Back_.toLayer({
            back: () =>
              Effect.gen(function* () {
                yield* RunContext.update("one")
                yield* Effect.sleep("1 second")
                yield* RunContext.update("two")
                return "over"
              })
          })
        ),
        script: [
          [toolCall("back", {}, { id: "c1" }), echo("x", "c1_update_1"), echo("y", "c1_final")],
          "On it.",
          "It is over."
        ]
      })
      yield* t.send("Go")
      yield* TestSession.advance("1 second")
      const ids = (yield* TestSession.calls(t.session)).map((call) => call.callId)
      expect(ids).toHaveLength(5)
      expect(new Set(ids).size).toBe(5)
      expect((yield* TestSession.outputs(t.session)).map((item) => item.callId)).toHaveLength(5)
      expect(yield* t.output("c1_final")).toMatchObject({ output: "y" })
      for (const request of yield* t.requests) expectAnsweredOnce(request)
    })
  )

  it.scoped("[T11] a repeated id of a call that the provider executed keeps its result with it", () =>
    Effect.gen(function* () {
      const Search = Tool.providerDefined({
        id: "test.search",
        toolkitName: "Search",
        providerName: "search",
        args: {},
        success: Schema.Struct({ hits: Schema.Number })
      })({})
      const search = (hits: number) => [
        toolCall("Search", {}, { id: "p1", providerExecuted: true }),
        toolResult("Search", { hits }, { id: "p1" })
      ]
      const t = yield* talk({
        tools: [Toolkit.make(Search)],
        script: [[...search(1), "One."], [...search(2), "Two."], "Bye."]
      })
      yield* t.send("Search")
      yield* t.send("Search")
      yield* t.send("Bye")
      expect(yield* t.outputs).toEqual(['p1: {"hits":1}', 'p1_1: {"hits":2}'])
      expectAnsweredOnce(yield* t.lastRequest)
    })
  )
})

describe("limits", () => {
  const Slow = AsyncTool.make("slow", { success: Schema.String, timeout: "5 seconds" })
  const Slow_ = Toolkit.make(Slow)

  it.scoped("[T12] past its time limit a handler is interrupted, and the model is told", () =>
    Effect.gen(function* () {
      let finalized = false
      const t = yield* talk({
        tools: [Slow_],
        handlers: Slow_.toLayer({
          slow: () =>
            Effect.onInterrupt(Effect.never, () =>
              Effect.sync(() => {
                finalized = true
              })
            )
        }),
        script: [toolCall("slow", {}, { id: "c1" }), "It took too long."]
      })
      yield* t.send("Go")
      yield* TestSession.advance("4999 millis")
      expect(yield* t.ends).toEqual([])
      yield* TestSession.advance("1 millis")
      expect(finalized).toBe(true)
      expect(yield* t.ends).toEqual(["c1 error"])
      const output = (yield* t.output("c1"))!
      expect(output.isError).toBe(true)
      expect(output.output).toContain("5 seconds")
      expect(yield* TestSession.said(t.session)).toEqual(["It took too long."])
      expect(ScriptedModel.toolResults(yield* t.lastRequest)).toMatchObject([{ id: "c1", isFailure: true }])
    })
  )

  it.scoped("[T12] a call that updated has its time limit, too; its error is replied to", () =>
    Effect.gen(function* () {
      const t = yield* talk({
        tools: [Slow_],
        handlers: Slow_.toLayer({ slow: () => Effect.zipRight(RunContext.update("on it"), Effect.never) }),
        script: [toolCall("slow", {}, { id: "c1" }), "On it.", "It took too long."]
      })
      yield* t.send("Go")
      yield* TestSession.advance("5 seconds")
      expect(yield* t.ends).toEqual(["c1_final error"])
      expect(yield* t.output("c1_final")).toMatchObject({ isError: true })
      expect(yield* TestSession.said(t.session)).toEqual(["On it.", "It took too long."])
    })
  )

  it.scoped("[T12] a handler that ends in time is not touched by its limit, then or later", () =>
    Effect.gen(function* () {
      const t = yield* talk({
        tools: [Slow_],
        handlers: Slow_.toLayer({ slow: () => Effect.as(Effect.sleep("4 seconds"), "in time") }),
        script: [toolCall("slow", {}, { id: "c1" }), "Good."]
      })
      yield* t.send("Go")
      yield* TestSession.advance("1 minute")
      expect(yield* t.outputs).toEqual(["c1: in time"])
      expect(yield* t.ends).toEqual(["c1 done"])
      expect(t.logs).toEqual([])
    })
  )

  it.scoped("[T12] an infinite time limit is none", () =>
    Effect.gen(function* () {
      const Long_ = Toolkit.make(AsyncTool.make("long", { success: Schema.String, timeout: Duration.infinity }))
      const t = yield* talk({
        tools: [Long_],
        handlers: Long_.toLayer({ long: () => Effect.as(Effect.sleep("100 days"), "in the end") }),
        script: [toolCall("long", {}, { id: "c1" }), "Good."]
      })
      yield* t.send("Go")
      yield* TestSession.advance("100 days")
      expect(yield* t.outputs).toEqual(["c1: in the end"])
    })
  )

  it.scoped("[T12] 64 calls may be at work; one more gets an error output", () =>
    Effect.gen(function* () {
      const t = yield* talk({
        tools: [Work_],
        handlers: workLive,
        script: [Array.from({ length: 66 }, (_, i) => work(`w${i}`, 1)), "Done."]
      })
      yield* t.send("Go")
      expect(yield* t.session.runningTools).toHaveLength(64)
      expect(yield* t.ends).toEqual(["w64 error", "w65 error"])
      yield* TestSession.advance("1 second")
      expect((yield* TestSession.outputs(t.session)).filter((item) => item.isError)).toHaveLength(2)
      expect(yield* TestSession.said(t.session)).toEqual(["Done."])
    })
  )

  it.scoped("[T12] maxRunning counts calls in the background, not companions, and has room again when one ends", () =>
    Effect.gen(function* () {
      const Back_ = Toolkit.make(AsyncTool.make("back", { success: Schema.String, allowCancellation: true }))
      const back = (id: string) => toolCall("back", {}, { id })
      const t = yield* talk({
        tools: [Back_],
        handlers: Back_.toLayer({ back: () => Effect.as(Effect.sleep("10 seconds"), "back") }),
        maxRunning: 1,
        releaseAfter: 0,
        script: [
          back("c1"),
          "On it.",
          [back("c2"), toolCall("get_running_tasks", {}, { id: "c3" })],
          "It is full.",
          toolCall("cancel_task", { call_id: "c1" }, { id: "c4" }),
          "Cancelled.",
          back("c5"),
          "There is room.",
          "It is back."
        ]
      })
      yield* t.send("One")
      yield* t.send("Two")
      expect(yield* t.output("c2")).toMatchObject({ isError: true })
      expect(yield* t.output("c3")).toMatchObject({ isError: false })
      expect(text((yield* t.output("c3"))!.output)).toContain("c1")
      yield* t.send("Cancel")
      expect(yield* t.output("c4")).toMatchObject({ isError: false })
      expect(yield* t.session.runningTools).toEqual([])
      yield* t.send("Three")
      yield* TestSession.advance("10 seconds")
      expect(yield* t.output("c5_final")).toMatchObject({ output: "back", isError: false })
      expect(yield* TestSession.said(t.session)).toEqual([
        "On it.",
        "It is full.",
        "Cancelled.",
        "There is room.",
        "It is back."
      ])
    })
  )

  it.scoped("[T12, P2] a call that adds none to those at work is not held to maxRunning", () =>
    Effect.gen(function* () {
      for (const [onDuplicate, output] of [
        ["join", "c2: done"],
        ["reject", "c2: Not started: slow is already running."],
        ["replace", "c2: done"]
      ] as const) {
        const Slow_ = Toolkit.make(
          AsyncTool.make("slow", { success: Schema.String, onDuplicate, allowCancellation: true })
        )
        const t = yield* talk({
          tools: [Slow_],
          handlers: Slow_.toLayer({ slow: () => Effect.as(Effect.sleep("5 seconds"), "done") }),
          maxRunning: 1,
          script: [[toolCall("slow", {}, { id: "c1" }), toolCall("slow", {}, { id: "c2" })], "Done."]
        })
        yield* t.send("Go")
        yield* TestSession.advance("5 seconds")
        expect((yield* t.outputs)[1]?.startsWith(output), onDuplicate).toBe(true)
      }
    })
  )

  it.scoped("[T12] maxConcurrency queues calls in their order; a queued call counts as running", () =>
    Effect.gen(function* () {
      const started: Array<readonly [string, number]> = []
      const t = yield* talk({
        tools: [Work_],
        handlers: Work_.toLayer({
          work: ({ name, seconds }) =>
            Effect.gen(function* () {
              started.push([name, yield* Clock.currentTimeMillis])
              yield* Effect.sleep(`${seconds} seconds`)
              return name
            })
        }),
        agent: { maxConcurrency: 2 },
        maxRunning: 4,
        script: [[work("a", 2), work("b", 1), work("c", 2), work("d", 1), work("e", 1)], "Done."]
      })
      yield* t.send("Go")
      expect(started.map(([name]) => name)).toEqual(["a", "b"])
      expect((yield* t.session.runningTools).map((call) => call.callId)).toEqual(["a", "b", "c", "d"])
      expect(yield* t.ends).toEqual(["e error"])
      yield* TestSession.advance("3 seconds")
      expect(started).toEqual([
        ["a", 0],
        ["b", 0],
        ["c", 1000],
        ["d", 2000]
      ])
      expect(yield* TestSession.said(t.session)).toEqual(["Done."])
      expect((yield* t.outputs).map((line) => line.split(" ")[0])).toEqual(["a:", "b:", "c:", "d:", "e!"])
    })
  )

  it.scoped("[T12] a queued call's time limit starts with its handler", () =>
    Effect.gen(function* () {
      const Limited_ = Toolkit.make(
        AsyncTool.make("limited", {
          parameters: { seconds: Schema.Number },
          success: Schema.String,
          timeout: "5 seconds"
        })
      )
      const t = yield* talk({
        tools: [AsyncToolset.make("one at a time", Limited_, { maxConcurrency: 1 })],
        handlers: Limited_.toLayer({
          limited: ({ seconds }) => Effect.as(Effect.sleep(`${seconds} seconds`), "in time")
        }),
        script: [[4, 4, 6].map((seconds, i) => toolCall("limited", { seconds }, { id: `c${i}` })), "Done."]
      })
      yield* t.send("Go")
      yield* TestSession.advance("12999 millis")
      expect(yield* t.ends).toEqual(["c0 done", "c1 done"])
      yield* TestSession.advance("1 millis")
      expect(yield* t.ends).toEqual(["c0 done", "c1 done", "c2 error"])
    })
  )

  it.scoped("[T12] a queued call that is cancelled ends at once, never runs and takes no place", () =>
    Effect.gen(function* () {
      const ran: Array<string> = []
      const Job_ = Toolkit.make(
        AsyncTool.make("job", { parameters: { name: Schema.String }, success: Schema.String, allowCancellation: true })
      )
      const job = (name: string) => toolCall("job", { name }, { id: name })
      const t = yield* talk({
        tools: [Job_],
        handlers: Job_.toLayer({
          job: ({ name }) => Effect.as(Effect.sleep("2 seconds"), `${ran.push(name)}`)
        }),
        agent: { maxConcurrency: 1 },
        script: [[job("a"), job("b"), job("c"), toolCall("get_running_tasks", {}, { id: "list" })], "Done."]
      })
      yield* t.send("Go")
      expect(yield* t.ends).toEqual(["list done"])
      yield* t.session.cancelTool("b")
      expect(yield* t.ends).toEqual(["list done", "b cancelled"])
      yield* TestSession.advance("4 seconds")
      expect(yield* t.ends).toEqual(["list done", "b cancelled", "a done", "c done"])
      expect(ran).toEqual(["a", "c"])
      expect(yield* TestSession.said(t.session)).toEqual(["Done."])
    })
  )

  it.scoped("[T12] a slot is free again after a failure, a defect and a time limit", () =>
    Effect.gen(function* () {
      const ends = [
        new AsyncTool.ToolError({ message: "no" }),
        Effect.die(new Error("bug")),
        Effect.never,
        Effect.succeed("yes")
      ]
      let next = 0
      const t = yield* talk({
        tools: [Slow_],
        handlers: Slow_.toLayer({ slow: () => ends[next++] as Effect.Effect<string> }),
        agent: { maxConcurrency: 1 },
        script: [ends.map((_, i) => toolCall("slow", {}, { id: `c${i}` })), "Done."]
      })
      yield* t.send("Go")
      yield* TestSession.advance("5 seconds")
      expect(yield* t.ends).toEqual(["c0 error", "c1 error", "c2 error", "c3 done"])
      expect(yield* TestSession.said(t.session)).toEqual(["Done."])
    })
  )

  it.scoped("[T12] retries are ordinary Effect combinators on the handler", () =>
    Effect.gen(function* () {
      let tries = 0
      const Try_ = Toolkit.make(AsyncTool.make("try", { success: Schema.String }))
      const t = yield* talk({
        tools: [Try_],
        handlers: Try_.toLayer({
          try: () =>
            Effect.suspend(() =>
              ++tries < 3 ? new AsyncTool.ToolError({ message: "busy" }) : Effect.succeed(`after ${tries}`)
            ).pipe(Effect.retry(Schedule.spaced("1 second")))
        }),
        script: [toolCall("try", {}, { id: "c1" }), "Good."]
      })
      yield* t.send("Go")
      yield* TestSession.advance("2 seconds")
      expect(yield* t.outputs).toEqual(["c1: after 3"])
      expect(t.logs).toEqual([])
    })
  )
})
