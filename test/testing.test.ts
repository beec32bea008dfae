import { AiError, LanguageModel, Prompt, Tool, Toolkit } from "@effect/ai"
import { describe, expect, it } from "@effect/vitest"
import { Chunk, Clock, Deferred, Effect, Exit, Fiber, Layer, PubSub, Schema, Stream } from "effect"
import { Agent, AsyncTool, RunContext, type SessionEvent } from "effect-meantime"
import { ScriptedModel, TestSession } from "effect-meantime/testing"

const Weather = Tool.make("weather", {
  description: "Weather at a place.",
  parameters: { city: Schema.String },
  success: Schema.Struct({ celsius: Schema.Number })
})
const Now = Tool.make("now", { success: Schema.String })
const toolkit = Toolkit.make(Weather, Now)

const Search = Tool.providerDefined({
  id: "test.search",
  toolkitName: "Search",
  providerName: "search",
  args: {},
  success: Schema.Struct({ hits: Schema.Number })
})

/** One step, as a driver asks for it: the calls are not resolved. */
const step = (prompt: Prompt.RawInput = "Hi") =>
  LanguageModel.streamText({
    prompt,
    toolkit: { tools: toolkit.tools, handle: () => Effect.die("not resolved") },
    disableToolCallResolution: true
  })

const parts = (prompt?: Prompt.RawInput) => Effect.map(Stream.runCollect(step(prompt)), Chunk.toReadonlyArray)
const types = (parts: ReadonlyArray<{ readonly type: string }>) => parts.map((part) => part.type)
const script =
  (script: ScriptedModel.Script) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    Effect.provide(effect, ScriptedModel.layer(script))

describe("ScriptedModel", () => {
  it.effect("streams text word by word and ends with a finish part", () =>
    Effect.gen(function* () {
      const all = yield* parts()
      expect(types(all)).toEqual(["text-start", "text-delta", "text-delta", "text-delta", "text-end", "finish"])
      expect(all.flatMap((part) => (part.type === "text-delta" ? [part.delta] : []))).toEqual(["Hello ", "to ", "you."])
      expect(all.at(-1)).toMatchObject({ type: "finish", reason: "stop" })
    }).pipe(script(["Hello to you."]))
  )

  it.effect("takes the chunks of a text as they are given", () =>
    Effect.gen(function* () {
      const all = yield* parts()
      expect(all.flatMap((part) => (part.type === "text-delta" ? [part.delta] : []))).toEqual(["Hel", "lo"])
    }).pipe(script([ScriptedModel.text("Hello", { chunks: ["Hel", "lo"] })]))
  )

  it.effect("streams calls with ids that count up for each model", () =>
    Effect.gen(function* () {
      const first = yield* parts()
      expect(types(first).filter((type) => !type.startsWith("text"))).toEqual([
        "tool-params-start",
        "tool-params-delta",
        "tool-params-end",
        "tool-call",
        "tool-params-start",
        "tool-params-delta",
        "tool-params-end",
        "tool-call",
        "finish"
      ])
      expect(first.filter((part) => part.type === "tool-call")).toMatchObject([
        { id: "call_1", name: "weather", params: { city: "Oslo" }, providerExecuted: false },
        { id: "mine", name: "now", params: {} }
      ])
      expect(first.at(-1)).toMatchObject({ reason: "tool-calls" })
      const second = yield* parts()
      expect(second.filter((part) => part.type === "tool-call")).toMatchObject([{ id: "call_2", name: "now" }])
    }).pipe(
      script([
        [
          "Let me look.",
          ScriptedModel.toolCall("weather", { city: "Oslo" }),
          ScriptedModel.toolCall("now", {}, { id: "mine" })
        ],
        ScriptedModel.toolCall("now")
      ])
    )
  )

  it.effect("puts metadata on the parts that a provider puts it on", () =>
    Effect.gen(function* () {
      const all = yield* parts()
      expect(all.map((part) => [part.type, part.metadata])).toEqual([
        ["reasoning-start", { openai: { itemId: "rs_1" } }],
        ["reasoning-delta", {}],
        ["reasoning-delta", { anthropic: { signature: "sig" } }],
        ["reasoning-end", { openai: { encryptedContent: "x" } }],
        ["tool-params-start", {}],
        ["tool-params-delta", {}],
        ["tool-params-end", {}],
        ["tool-call", { google: { thoughtSignature: "t" } }],
        ["finish", {}]
      ])
    }).pipe(
      script([
        [
          ScriptedModel.reasoning("Hm.", {
            metadata: { openai: { itemId: "rs_1" } },
            deltaMetadata: { anthropic: { signature: "sig" } },
            endMetadata: { openai: { encryptedContent: "x" } }
          }),
          ScriptedModel.toolCall("now", {}, { metadata: { google: { thoughtSignature: "t" } } })
        ]
      ])
    )
  )

  it.effect("gives the same answer whole where it is not streamed, metadata merged", () =>
    Effect.gen(function* () {
      const response = yield* LanguageModel.generateText({
        prompt: "Hi",
        toolkit: { tools: toolkit.tools, handle: () => Effect.die("not resolved") },
        disableToolCallResolution: true
      })
      expect(response.text).toBe("Hello there.")
      expect(response.finishReason).toBe("tool-calls")
      expect(response.usage.outputTokens).toBe(7)
      expect(response.content.map((part) => [part.type, part.metadata])).toEqual([
        ["text", { openai: { itemId: "msg_1", done: true } }],
        ["tool-call", {}],
        ["finish", {}]
      ])
    }).pipe(
      script([
        [
          ScriptedModel.text("Hello there.", {
            metadata: { openai: { itemId: "msg_1" } },
            endMetadata: { openai: { done: true } }
          }),
          ScriptedModel.toolCall("now"),
          ScriptedModel.finish("tool-calls", { outputTokens: 7 })
        ]
      ])
    )
  )

  it.effect("answers for generateObject with JSON text", () =>
    Effect.gen(function* () {
      const { value } = yield* LanguageModel.generateObject({
        prompt: "Who?",
        schema: Schema.Struct({ name: Schema.String })
      })
      expect(value).toEqual({ name: "Ada" })
      expect((yield* (yield* ScriptedModel.ScriptedModel).requests)[0]?.method).toBe("generateObject")
    }).pipe(script(['{"name":"Ada"}']))
  )

  it.effect("resolves calls through the handlers where the caller wants that", () =>
    Effect.gen(function* () {
      const all = yield* Stream.runCollect(LanguageModel.streamText({ prompt: "Hi", toolkit }))
      expect(Chunk.toReadonlyArray(all).filter((part) => part.type === "tool-result")).toMatchObject([
        { id: "call_1", name: "weather", result: { celsius: 4 } }
      ])
    }).pipe(
      script([ScriptedModel.toolCall("weather", { city: "Oslo" })]),
      Effect.provide(
        toolkit.toLayer({
          weather: ({ city }) => Effect.succeed({ celsius: city.length }),
          now: () => Effect.succeed("noon")
        })
      )
    )
  )

  it.effect("has calls that the provider executed, with their results", () =>
    Effect.gen(function* () {
      const search = Toolkit.make(Search({}))
      const all = yield* LanguageModel.streamText({
        prompt: "Hi",
        toolkit: { tools: search.tools, handle: () => Effect.die("not resolved") },
        disableToolCallResolution: true
      }).pipe(Stream.runCollect, Effect.map(Chunk.toReadonlyArray))
      expect(all.find((part) => part.type === "tool-call")).toMatchObject({ id: "call_1", providerExecuted: true })
      expect(all.find((part) => part.type === "tool-result")).toMatchObject({
        id: "call_1",
        result: { hits: 3 },
        providerExecuted: true
      })
      expect(all.at(-1)).toMatchObject({ reason: "stop" })
      const [request] = yield* (yield* ScriptedModel.ScriptedModel).requests
      expect(request?.tools).toEqual([{ name: "Search", description: undefined, jsonSchema: undefined }])
    }).pipe(
      script([
        [
          ScriptedModel.toolCall("Search", {}, { providerExecuted: true, providerName: "search" }),
          ScriptedModel.toolResult("Search", { hits: 3 })
        ]
      ])
    )
  )

  it.effect("sends raw parts, and no second finish part", () =>
    Effect.gen(function* () {
      expect(types(yield* parts())).toEqual(["response-metadata", "finish"])
    }).pipe(
      script([
        [
          ScriptedModel.part({ type: "response-metadata", modelId: "m" }),
          ScriptedModel.part({
            type: "finish",
            reason: "length",
            usage: { inputTokens: 1, outputTokens: 2, totalTokens: 3 }
          })
        ]
      ])
    )
  )

  it.effect("can answer with nothing", () =>
    Effect.gen(function* () {
      expect(types(yield* parts())).toEqual(["finish"])
      expect(types(yield* parts())).toEqual(["finish"])
    }).pipe(script([[], ""]))
  )

  it.effect("fails as a provider does on a call of a tool that was not declared, after what came before", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const error = yield* step().pipe(
        Stream.runForEach((part) => Effect.sync(() => seen.push(part.type))),
        Effect.flip
      )
      expect(error).toBeInstanceOf(AiError.MalformedOutput)
      expect(seen).toEqual([
        "text-start",
        "text-delta",
        "text-end",
        "tool-params-start",
        "tool-params-delta",
        "tool-params-end"
      ])
    }).pipe(script([["Well.", ScriptedModel.toolCall("unknown")]]))
  )

  it.effect("fails, and says so, when the script is exhausted", () =>
    Effect.gen(function* () {
      yield* parts()
      const error = yield* Effect.flip(parts("What now?"))
      expect(error).toBeInstanceOf(AiError.UnknownError)
      expect(error.message).toContain("The script is exhausted")
      expect(error.message).toContain("request 2")
      expect(error.message).toContain("What now?")
      const whole = yield* Effect.flip(LanguageModel.generateText({ prompt: "Hi" }))
      expect(whole).toBeInstanceOf(AiError.UnknownError)
      expect(yield* (yield* ScriptedModel.ScriptedModel).requests).toHaveLength(3)
    }).pipe(script(["Hello."]))
  )

  it.effect("fails where the script says so", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const first = yield* step().pipe(
        Stream.runForEach((part) => Effect.sync(() => seen.push(part.type))),
        Effect.flip
      )
      expect(first).toMatchObject({ _tag: "UnknownError", description: "overloaded" })
      expect(seen).toEqual(["text-start", "text-delta", "text-end"])
      expect(yield* Effect.flip(parts())).toMatchObject({ _tag: "MalformedInput" })
    }).pipe(
      script([
        ["Well.", ScriptedModel.fail("overloaded"), "never said"],
        ScriptedModel.fail(new AiError.MalformedInput({ module: "Test", method: "test" }))
      ])
    )
  )

  it.effect("waits in virtual time", () =>
    Effect.gen(function* () {
      const seen: Array<readonly [string, number]> = []
      const fiber = yield* step().pipe(
        Stream.runForEach((part) =>
          Effect.map(Clock.currentTimeMillis, (now) => {
            if (part.type === "text-delta") seen.push([part.delta, now])
          })
        ),
        Effect.fork
      )
      yield* TestSession.settle
      expect(seen).toEqual([["One. ", 0]])
      yield* TestSession.advance("59 seconds")
      expect(seen).toHaveLength(1)
      yield* TestSession.advance("1 second")
      expect(seen).toHaveLength(2)
      yield* TestSession.advance("2 seconds")
      expect(seen).toEqual([
        ["One. ", 0],
        ["Two. ", 60_000],
        ["three ", 61_000],
        ["four", 62_000]
      ])
      yield* Fiber.join(fiber)
    }).pipe(
      script([
        ["One. ", ScriptedModel.wait("1 minute"), "Two. ", ScriptedModel.text("three four", { pace: "1 second" })]
      ])
    )
  )

  it.effect("stalls with never until it is interrupted", () =>
    Effect.gen(function* () {
      const fiber = yield* Effect.fork(parts())
      yield* TestSession.advance("1 hour")
      expect((yield* Fiber.poll(fiber))._tag).toBe("None")
      expect(Exit.isInterrupted(yield* Fiber.interrupt(fiber))).toBe(true)
    }).pipe(script([["Well.", ScriptedModel.never]]))
  )

  it.effect("runs effects in the middle of an answer", () =>
    Effect.gen(function* () {
      const gate = yield* Deferred.make<void>()
      const model = yield* ScriptedModel.ScriptedModel
      yield* model.push(["Before. ", ScriptedModel.effect(Deferred.await(gate)), "After."])
      const seen: Array<string> = []
      const fiber = yield* step().pipe(
        Stream.runForEach((part) => Effect.sync(() => part.type === "text-delta" && seen.push(part.delta))),
        Effect.fork
      )
      yield* TestSession.settle
      expect(seen).toEqual(["Before. "])
      yield* Deferred.succeed(gate, void 0)
      yield* Fiber.join(fiber)
      expect(seen).toEqual(["Before. ", "After."])
    }).pipe(script([]))
  )

  it.effect("lets others run between two parts", () =>
    Effect.gen(function* () {
      const order: Array<string> = []
      yield* step().pipe(
        Stream.runForEach((part) =>
          part.type === "tool-call" ? Effect.fork(Effect.sync(() => order.push(part.id))) : Effect.void
        )
      )
      order.push("end")
      expect(order).toEqual(["call_1", "call_2", "end"])
    }).pipe(script([[ScriptedModel.toolCall("now"), ScriptedModel.toolCall("now")]]))
  )

  it.effect("computes steps from the request", () =>
    Effect.gen(function* () {
      expect(types(yield* parts("Oslo"))).toContain("tool-call")
      const said = yield* LanguageModel.generateText({ prompt: "Oslo" })
      expect(said.text).toBe("You said Oslo, as number 2.")
      const error = yield* Effect.flip(LanguageModel.generateText({ prompt: "Oslo" }))
      expect(error).toMatchObject({ description: "enough" })
    }).pipe(
      script((request, index) => {
        if (index === 2)
          return Effect.fail(new AiError.UnknownError({ module: "m", method: "m", description: "enough" }))
        const city = ScriptedModel.lastUserText(request)
        return request.tools.length > 0
          ? Effect.succeed(ScriptedModel.toolCall("weather", { city }))
          : `You said ${city}, as number ${index + 1}.`
      })
    )
  )

  it.effect("mixes steps and functions, counts what remains, and takes more", () =>
    Effect.gen(function* () {
      const model = yield* ScriptedModel.ScriptedModel
      const say = Effect.map(LanguageModel.generateText({ prompt: "Hi" }), (response) => response.text)
      expect(yield* model.remaining).toBe(2)
      expect([yield* say, yield* say]).toEqual(["one", "two: Hi"])
      expect(yield* model.remaining).toBe(0)
      yield* model.push("three", "four")
      expect([yield* say, yield* say]).toEqual(["three", "four"])
    }).pipe(script(["one", (request) => `two: ${ScriptedModel.lastUserText(request)}`]))
  )

  it.effect("asks a function only when nothing was pushed", () =>
    Effect.gen(function* () {
      const model = yield* ScriptedModel.ScriptedModel
      const say = Effect.map(LanguageModel.generateText({ prompt: "Hi" }), (response) => response.text)
      yield* model.push("pushed")
      expect([yield* say, yield* say]).toEqual(["pushed", "computed"])
    }).pipe(script(() => "computed"))
  )

  it.effect("records what it was asked when it was asked", () =>
    Effect.gen(function* () {
      const model = yield* ScriptedModel.ScriptedModel
      const stream = step("Hi")
      expect(yield* model.requests).toEqual([])
      yield* Stream.runDrain(stream)
      yield* LanguageModel.generateText({ prompt: "Bye" })
      const [first, second] = yield* model.requests
      expect(first).toMatchObject({ index: 0, method: "streamText", toolChoice: "auto" })
      expect(first?.tools).toEqual([
        {
          name: "weather",
          description: "Weather at a place.",
          jsonSchema: Tool.getJsonSchema(Weather)
        },
        { name: "now", description: undefined, jsonSchema: Tool.getJsonSchema(Now) }
      ])
      expect(second).toMatchObject({ index: 1, method: "generateText", tools: [], toolChoice: "none" })
      expect((yield* model.prompts).map((prompt) => prompt.content.length)).toEqual([1, 1])
    }).pipe(script(["Hello.", "Bye."]))
  )

  it.effect("reads a request", () =>
    Effect.gen(function* () {
      yield* parts(
        Prompt.make([
          { role: "system", content: "Be brief." },
          { role: "user", content: [{ type: "text", text: "Weather?" }] },
          {
            role: "assistant",
            content: [
              { type: "reasoning", text: "Hm." },
              { type: "text", text: "Let me look." },
              { type: "tool-call", id: "c1", name: "weather", params: { city: "Oslo" }, providerExecuted: false }
            ]
          },
          {
            role: "tool",
            content: [
              Prompt.toolResultPart({
                id: "c1",
                name: "weather",
                isFailure: false,
                result: { celsius: 4 },
                providerExecuted: false
              })
            ]
          },
          { role: "user", content: [{ type: "text", text: "Well?" }] }
        ])
      )
      const [request] = yield* (yield* ScriptedModel.ScriptedModel).requests
      if (request === undefined) return expect.fail("no request")
      expect(ScriptedModel.systemText(request)).toBe("Be brief.")
      expect(ScriptedModel.userTexts(request)).toEqual(["Weather?", "Well?"])
      expect(ScriptedModel.lastUserText(request)).toBe("Well?")
      expect(ScriptedModel.assistantTexts(request)).toEqual(["Let me look."])
      expect(ScriptedModel.toolNames(request)).toEqual(["weather", "now"])
      expect(ScriptedModel.toolCalls(request)).toMatchObject([{ id: "c1", params: { city: "Oslo" } }])
      expect(ScriptedModel.toolResults(request)).toMatchObject([{ id: "c1", result: { celsius: 4 } }])
      expect(ScriptedModel.transcript(request).split("\n")).toEqual([
        "system: Be brief.",
        "user: Weather?",
        "reasoning: Hm.",
        "assistant: Let me look.",
        'call c1: weather({"city":"Oslo"})',
        'result c1: {"celsius":4}',
        "user: Well?"
      ])
    }).pipe(script(["Four degrees."]))
  )

  it.effect("makes several models for one test", () =>
    Effect.gen(function* () {
      const front = yield* ScriptedModel.make(["front"])
      const back = yield* ScriptedModel.make(["back"])
      const say = Effect.map(LanguageModel.generateText({ prompt: "Hi" }), (response) => response.text)
      const on = (model: LanguageModel.Service) =>
        Effect.provide(say, Layer.succeed(LanguageModel.LanguageModel, model))
      expect([yield* on(back.languageModel), yield* on(front.languageModel)]).toEqual(["back", "front"])
      expect(yield* front.service.requests).toHaveLength(1)
    })
  )
})

describe("TestSession", () => {
  const event = (state: "speaking" | "listening", at = 0): SessionEvent.SessionEvent => ({
    _tag: "UserStateChanged",
    state,
    at
  })

  it.scoped("collects events from the moment on that collect has returned", () =>
    Effect.gen(function* () {
      const pubsub = yield* PubSub.sliding<SessionEvent.SessionEvent>(8)
      const events = yield* TestSession.collect({ events: Stream.fromPubSub(pubsub) })
      yield* PubSub.publish(pubsub, event("speaking"))
      yield* PubSub.publish(pubsub, { _tag: "SessionClosed", at: 1 } as const)
      expect(yield* events.tags).toEqual(["UserStateChanged", "SessionClosed"])
      const states = yield* events.filter("UserStateChanged")
      expect(states.map((event) => event.state)).toEqual(["speaking"])
      expect(yield* events.filter("UserStateChanged", "SessionClosed")).toHaveLength(2)
      yield* events.clear
      expect(yield* events.all).toEqual([])
      yield* PubSub.publish(pubsub, event("listening", 2))
      expect(yield* events.all).toEqual([event("listening", 2)])
    })
  )

  it.scoped("[K1] the clock stands still while a model of the outside world answers", () =>
    Effect.gen(function* () {
      const Wait = Toolkit.make(AsyncTool.make("wait", { success: Schema.String }))
      const WaitLive = Wait.toLayer({ wait: () => Effect.as(Effect.sleep("1 minute"), "waited") })
      // each part comes over a socket, so to say: turns of the event loop go by, which no fiber sees
      const turns = (left: number): Promise<void> =>
        left === 0 ? Promise.resolve() : new Promise((resolve) => setImmediate(() => resolve(turns(left - 1))))
      const slow = Effect.promise(() => turns(50))
      const model = ScriptedModel.layer([
        [ScriptedModel.effect(slow), "Let me see.", ScriptedModel.effect(slow), ScriptedModel.toolCall("wait")],
        [ScriptedModel.effect(slow), "It is done."],
        [ScriptedModel.effect(slow), "Bye."]
      ])
      yield* Effect.gen(function* () {
        const { session } = yield* TestSession.make({
          agent: Agent.make("a", { instructions: "x", tools: [Wait] })
        })
        const events = yield* TestSession.collect(session)
        yield* session.send("Go")
        yield* TestSession.advance("10 minutes")
        const at = (yield* events.filter("ItemAdded")).map((event) => [event.item._tag, event.at])
        // as if the model took no time: the answer to the result comes at the minute at which that was there
        expect(at).toEqual([
          ["Message", 0],
          ["Message", 0],
          ["FunctionCall", 0],
          ["FunctionCallOutput", 60_000],
          ["Message", 60_000]
        ])
        expect((yield* TestSession.drive(session.run("Bye"))).text).toBe("Bye.")
        expect(yield* Clock.currentTimeMillis).toBe(600_000)
      }).pipe(Effect.provide(Layer.merge(WaitLive, TestSession.outside(model))), Effect.scoped)
    })
  )

  it.effect("settles long chains of fibers and promises without moving the clock", () =>
    Effect.gen(function* () {
      let done = 0
      const hop = (left: number): Effect.Effect<void> =>
        left === 0
          ? Effect.sync(() => void done++)
          : Effect.yieldNow().pipe(
              Effect.zipRight(left % 7 === 0 ? Effect.promise(() => Promise.resolve()) : Effect.void),
              Effect.zipRight(Effect.suspend(() => hop(left - 1)))
            )
      yield* Effect.fork(hop(3000))
      yield* Effect.fork(Effect.zipRight(Effect.sleep("1 second"), hop(10)))
      yield* TestSession.settle
      expect(done).toBe(1)
      expect(yield* Clock.currentTimeMillis).toBe(0)
      yield* TestSession.advance("1 second")
      expect(done).toBe(2)
    })
  )

  it.effect("drives an effect from sleep to sleep", () =>
    Effect.gen(function* () {
      const value = yield* TestSession.drive(
        Effect.sleep("1 hour").pipe(Effect.zipRight(Effect.sleep("90 millis")), Effect.as("done"))
      )
      expect(value).toBe("done")
      expect(yield* Clock.currentTimeMillis).toBe(3_600_090)
      expect(yield* Effect.flip(TestSession.drive(Effect.fail("no")))).toBe("no")
    })
  )

  it.effect("drives an effect in a finalizer, where nothing can be interrupted", () =>
    Effect.gen(function* () {
      yield* Effect.scoped(Effect.addFinalizer(() => TestSession.drive(Effect.sleep("30 seconds"))))
      expect(yield* Clock.currentTimeMillis).toBe(30_000)
    })
  )

  it.effect("says so where an effect would never end", () =>
    Effect.gen(function* () {
      const exit = yield* Effect.exit(TestSession.drive(Effect.uninterruptible(Effect.never)))
      expect(Exit.isFailure(exit) && String(exit.cause)).toContain("this never ends")
    })
  )

  it.live("drives without a TestClock, too", () =>
    Effect.gen(function* () {
      expect(yield* TestSession.drive(Effect.as(Effect.sleep("1 millis"), 1))).toBe(1)
    })
  )

  const Report = AsyncTool.make("report", { description: "Write a report." })
  const Reports = Toolkit.make(Report)
  const Writer = Agent.make("writer", { instructions: "You write.", tools: [Reports] })
  const working = (work: Effect.Effect<void>) =>
    Layer.merge(
      ScriptedModel.layer((request) =>
        ScriptedModel.toolCalls(request).length === 0
          ? ["Right away.", ScriptedModel.toolCall("report")]
          : "I am at it."
      ),
      Reports.toLayer({ report: () => Effect.zipRight(RunContext.update("Started."), work) })
    )

  it.scoped("builds a session, reads it, and closes it while the clock moves", () =>
    Effect.gen(function* () {
      const { close, session } = yield* TestSession.make({ agent: Writer })
      const events = yield* TestSession.collect(session)
      yield* session.send("A report, please")
      yield* TestSession.advance("1 second")
      expect(yield* TestSession.heard(session)).toEqual(["A report, please"])
      expect(yield* TestSession.said(session)).toEqual(["Right away.", "I am at it."])
      expect(yield* TestSession.calls(session)).toMatchObject([{ callId: "call_1", name: "report" }])
      expect(yield* TestSession.outputs(session)).toMatchObject([{ callId: "call_1", isError: false }])
      expect(yield* events.filter("ToolCallStarted")).toHaveLength(1)
      yield* close
      expect(yield* Clock.currentTimeMillis).toBe(10_000)
      expect(yield* events.filter("ToolCallEnded")).toMatchObject([{ callId: "call_1", status: "done" }])
      expect((yield* events.tags).at(-1)).toBe("SessionClosed")
      yield* close
      expect(yield* Clock.currentTimeMillis).toBe(10_000)
    }).pipe(Effect.provide(working(Effect.sleep("10 seconds"))))
  )

  it.effect("ends a test with a call that never ends", () =>
    Effect.gen(function* () {
      yield* Effect.gen(function* () {
        const { session } = yield* TestSession.make({ agent: Writer, drainTimeout: "20 seconds" })
        yield* session.send("A report, please")
        yield* TestSession.settle
        expect(yield* session.runningTools).toHaveLength(1)
      }).pipe(Effect.scoped, Effect.provide(working(Effect.never)))
      expect(yield* Clock.currentTimeMillis).toBe(20_000)
    })
  )
})
