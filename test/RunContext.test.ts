import { Tool, Toolkit } from "@effect/ai"
import { describe, expect } from "@effect/vitest"
import { Cause, Clock, Context, Effect, Exit, Fiber, Layer, Option, ParseResult, Schema } from "effect"
import { Agent, AgentOutput, AsyncTool, DuplicatePolicy, RunContext, ToolPrompts } from "effect-meantime"
import { ScriptedModel, TestSession } from "effect-meantime/testing"
import { expectAnsweredOnce, talk } from "./support/tools.js"
import { it, onTestClock } from "./support/virtual.js"

const { text: say, toolCall, wait } = ScriptedModel

type Handler = Effect.Effect<string | undefined, AsyncTool.ToolError | AsyncTool.StopResponse, RunContext.RunContext>

/** A tool whose handlers are given by the test, by name. */
const Job = AsyncTool.make("job", {
  parameters: { name: Schema.String },
  success: Schema.UndefinedOr(Schema.String),
  allowCancellation: true
})
const Job_ = Toolkit.make(Job)
const job = (name: string) => toolCall("job", { name }, { id: name })
const jobs = (handlers: Record<string, Handler>) =>
  Job_.toLayer({ job: ({ name }) => handlers[name] ?? Effect.dieMessage(`no handler for ${name}`) })
const talkJobs = (
  handlers: Record<string, Handler>,
  script: ScriptedModel.Script,
  options?: Partial<Parameters<typeof talk>[0]>
) => talk({ tools: [Job_], handlers: jobs(handlers), script, ...options })

const { update } = RunContext
const seconds = (n: number) => Effect.sleep(`${n} seconds`)
const paced = AgentOutput.layerPaced({ charactersPerSecond: 10 })

const range = (from: number, to: number): ReadonlyArray<number> =>
  Array.from({ length: to - from + 1 }, (_, i) => from + i)

const ids = (session: Parameters<typeof TestSession.calls>[0]) =>
  Effect.map(TestSession.calls(session), (calls) => calls.map((call) => call.callId))

describe("the first update", () => {
  it.scoped("[U1] is the call's output; the model replies while the handler runs on", () =>
    Effect.gen(function* () {
      const t = yield* talkJobs(
        { a: Effect.zipRight(update("Searching."), Effect.as(seconds(10), "found")) },
        [job("a"), "I am searching.", "Found."],
        { layers: ToolPrompts.layer({ update: "{toolName} {callId}: {message}" }) }
      )
      const speech = yield* t.send("Search")
      expect(yield* t.outputs).toEqual(["a: job a: Searching."])
      expect(yield* TestSession.said(t.session)).toEqual(["I am searching."])
      expect(yield* speech.done).toBe(true)
      expect(yield* t.session.runningTools).toMatchObject([{ callId: "a", lastUpdate: "Searching." }])
      expect(yield* t.events.filter("ToolCallUpdated", "ToolCallReleased")).toMatchObject([
        { _tag: "ToolCallUpdated", id: "a", callId: "a", message: "Searching." },
        { _tag: "ToolCallReleased", callId: "a", by: "update" }
      ])
      expect(yield* t.ends).toEqual([])
      expect(ScriptedModel.toolResults(yield* t.lastRequest)).toMatchObject([
        { id: "a", result: "job a: Searching.", isFailure: false }
      ])
      expect((yield* t.lastRequest).toolChoice).toBe("auto")
    })
  )

  it.scoped("[U1] the reply waits until every call of the step has an output", () =>
    Effect.gen(function* () {
      const t = yield* talkJobs(
        {
          a: Effect.zipRight(update("on it"), Effect.as(seconds(60), "late")),
          b: Effect.as(seconds(3), "b"),
          c: seconds(5).pipe(Effect.zipRight(update("also")), Effect.zipRight(Effect.as(seconds(60), "late")))
        },
        [[job("a"), job("b"), job("c")], "All are at it."]
      )
      yield* t.send("Go")
      yield* TestSession.advance("4 seconds")
      expect(yield* t.requestCount).toBe(1)
      yield* TestSession.advance("1 second")
      expect(yield* t.requestCount).toBe(2)
      expect((yield* t.session.runningTools).map((call) => call.callId)).toEqual(["a", "c"])
    })
  )

  it.scoped("[U1] a silent first update releases the turn and asks for no reply", () =>
    Effect.gen(function* () {
      const t = yield* talkJobs(
        { a: Effect.zipRight(update({ on: "it" }, { delivery: "silent" }), Effect.as(seconds(10), "found")) },
        [["One moment. ", job("a")], "Found."]
      )
      const speech = yield* t.send("Search")
      expect(yield* t.outputs).toEqual(['a: {"on":"it"}'])
      expect(yield* speech.done).toBe(true)
      expect(yield* t.requestCount).toBe(1)
      expect(yield* t.events.filter("ToolCallReleased")).toHaveLength(1)
      yield* TestSession.advance("10 seconds")
      expect(yield* TestSession.said(t.session)).toEqual(["One moment. ", "Found."])
    })
  )

  it.scoped("[U1] a silent first update does not keep the others of the step from their reply", () =>
    Effect.gen(function* () {
      const t = yield* talkJobs(
        {
          a: Effect.zipRight(update("quiet", { delivery: "silent" }), Effect.as(seconds(60), "late")),
          b: Effect.as(seconds(1), "b")
        },
        [[job("a"), job("b")], "B is there."]
      )
      yield* t.send("Go")
      yield* TestSession.advance("1 second")
      expect(yield* TestSession.said(t.session)).toEqual(["B is there."])
    })
  )

  it.scoped("[U1] an update at once, while the model still streams, waits for the rest of the step", () =>
    Effect.gen(function* () {
      const t = yield* talkJobs({ a: Effect.zipRight(update("on it"), Effect.as(seconds(60), "late")) }, [
        ["So. ", job("a"), wait("5 seconds"), say("One moment.")],
        "It runs."
      ])
      yield* t.send("Go")
      expect(yield* t.outputs).toEqual([])
      yield* TestSession.advance("5 seconds")
      expect(yield* TestSession.said(t.session)).toEqual(["So. ", "One moment.", "It runs."])
      for (const request of yield* t.requests) expectAnsweredOnce(request)
    })
  )
})

describe("later updates", () => {
  it.scoped("[U2] are written at once as pairs with numbered ids, and queued for a deferred reply", () =>
    Effect.gen(function* () {
      const t = yield* talkJobs(
        {
          a: Effect.gen(function* () {
            yield* update("zero")
            yield* seconds(1)
            yield* update({ n: 1 })
            yield* update({ n: 2 })
            yield* seconds(60)
            return "late"
          })
        },
        [job("a"), "It runs.", "One and two."]
      )
      yield* t.send("Go")
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* t.session.claimUserTurn
          yield* TestSession.advance("1 second")
          expect((yield* t.session.history).items.slice(-4)).toMatchObject([
            { _tag: "FunctionCall", callId: "a_update_1", name: "job", arguments: { name: "a" } },
            { _tag: "FunctionCallOutput", callId: "a_update_1", name: "job", output: { n: 1 }, isError: false },
            { _tag: "FunctionCall", callId: "a_update_2" },
            { _tag: "FunctionCallOutput", callId: "a_update_2", output: { n: 2 } }
          ])
          expect(yield* t.requestCount).toBe(2)
        })
      )
      yield* TestSession.settle
      expect(yield* TestSession.said(t.session)).toEqual(["It runs.", "One and two."])
      expect(yield* t.events.filter("ReplyScheduled", "ReplyEnded")).toMatchObject([
        { _tag: "ReplyScheduled", updateIds: ["a_update_1", "a_update_2"] },
        { _tag: "ReplyEnded", updateIds: ["a_update_1", "a_update_2"], status: "completed" }
      ])
      expect((yield* t.lastRequest).toolChoice).toBe("none")
      expect((yield* t.events.filter("ToolCallUpdated")).map((event) => event.id)).toEqual([
        "a",
        "a_update_1",
        "a_update_2"
      ])
      expectAnsweredOnce(yield* t.lastRequest)
    })
  )

  it.scoped("[U2] are numbered for each call", () =>
    Effect.gen(function* () {
      const three = Effect.forEach([0, 1, 2], (n) => update({ n })).pipe(Effect.as(undefined))
      const t = yield* talkJobs({ a: three, b: three }, [[job("a"), job("b")], "They run.", "All in."])
      yield* t.send("Go")
      expect(yield* ids(t.session)).toEqual([
        "a",
        "b",
        "a_update_1",
        "a_update_2",
        "a_final",
        "b_update_1",
        "b_update_2",
        "b_final"
      ])
    })
  )

  it.scoped("[U2] an update while the agent speaks is in the history before the speech ends", () =>
    Effect.gen(function* () {
      const t = yield* talkJobs(
        {
          a: Effect.gen(function* () {
            yield* update("zero")
            yield* seconds(1)
            yield* update({ n: 1 })
            yield* seconds(60)
            return "late"
          })
        },
        [job("a"), "x".repeat(50), "One."],
        { layers: paced }
      )
      yield* t.send("Go")
      yield* TestSession.advance("1 second")
      expect(yield* ids(t.session)).toEqual(["a", "a_update_1"])
      expect(yield* TestSession.said(t.session)).toEqual([])
      yield* TestSession.advance("5 seconds")
      expect(yield* TestSession.said(t.session)).toEqual(["x".repeat(50), "One."])
    })
  )

  it.scoped("[U2] of several fibers of one handler each have an id of their own", () =>
    Effect.gen(function* () {
      const t = yield* talkJobs(
        {
          a: Effect.forEach(range(0, 4), (n) => Effect.zipRight(Effect.sleep(`${n * 10} millis`), update({ n })), {
            concurrency: "unbounded"
          }).pipe(Effect.as("over"))
        },
        (request) => (request.index === 0 ? job("a") : "Well.")
      )
      yield* t.send("Go")
      yield* TestSession.advance("1 second")
      expect(yield* ids(t.session)).toEqual(["a", "a_update_1", "a_update_2", "a_update_3", "a_update_4", "a_final"])
      expect((yield* TestSession.outputs(t.session)).slice(0, 5).map((item) => item.output)).toEqual(
        range(0, 4).map((n) => ({ n }))
      )
    })
  )
})

describe("the end of a background call", () => {
  const back = (end: Handler) => ({ a: update("on it").pipe(Effect.zipRight(seconds(5)), Effect.zipRight(end)) })

  it.scoped("[U3] a result is written as <callId>_final and voiced", () =>
    Effect.gen(function* () {
      const t = yield* talkJobs(back(Effect.succeed("found")), [job("a"), "On it.", "Found."])
      yield* t.send("Go")
      yield* TestSession.advance("5 seconds")
      expect((yield* t.session.history).items.slice(-3)).toMatchObject([
        { _tag: "FunctionCall", callId: "a_final", name: "job", arguments: { name: "a" } },
        { _tag: "FunctionCallOutput", callId: "a_final", output: "found", isError: false },
        { _tag: "Message", text: "Found." }
      ])
      expect(yield* t.events.filter("ToolCallEnded")).toMatchObject([
        { id: "a_final", callId: "a", status: "done", output: "found" }
      ])
      expect(yield* t.events.filter("ReplyEnded")).toMatchObject([{ updateIds: ["a_final"], status: "completed" }])
    })
  )

  for (const [kind, end, output] of [
    ["a typed failure", new AsyncTool.ToolError({ message: "sold out" }), "sold out"],
    ["a defect", Effect.die(new Error("secret")), "job failed because of an unexpected error."]
  ] as const) {
    it.scoped(`[U3] ${kind} is written as an error and voiced`, () =>
      Effect.gen(function* () {
        const t = yield* talkJobs(back(end), [job("a"), "On it.", "It failed."])
        yield* t.send("Go")
        yield* TestSession.advance("5 seconds")
        expect(yield* t.output("a_final")).toMatchObject({ output, isError: true })
        expect(yield* t.ends).toEqual(["a_final error"])
        expect(yield* TestSession.said(t.session)).toEqual(["On it.", "It failed."])
        expect(t.logs).toHaveLength(1)
      })
    )
  }

  for (const [kind, end] of [
    ["nothing to say", Effect.succeed(undefined)],
    ["StopResponse", new AsyncTool.StopResponse()]
  ] as const) {
    it.scoped(`[U3] ${kind} is written with the ended template, silently`, () =>
      Effect.gen(function* () {
        const t = yield* talkJobs(back(end), [job("a"), "On it.", "Hello."], {
          layers: ToolPrompts.layer({ ended: "{toolName} {callId} {how}" })
        })
        yield* t.send("Go")
        yield* TestSession.advance("1 minute")
        expect(yield* t.output("a_final")).toMatchObject({ output: "job a done", isError: false })
        expect(yield* t.ends).toEqual(["a_final done"])
        expect(yield* t.requestCount).toBe(2)
        expect(t.logs).toEqual([])
        yield* t.send("Hi")
        expect(ScriptedModel.toolResults(yield* t.lastRequest)).toMatchObject([
          { id: "a" },
          { id: "a_final", result: "job a done" }
        ])
      })
    )
  }

  it.scoped("[U3] a cancelled call is written with the ended template, silently", () =>
    Effect.gen(function* () {
      const t = yield* talkJobs(back(Effect.never), [job("a"), "On it.", "Hello."], {
        layers: ToolPrompts.layer({ ended: "{toolName} {callId} {how}" })
      })
      yield* t.send("Go")
      yield* TestSession.advance("1 second")
      yield* t.session.cancelTool("a")
      expect(yield* t.output("a_final")).toMatchObject({ output: "job a cancelled" })
      expect(yield* t.ends).toEqual(["a_final cancelled"])
      yield* TestSession.advance("1 minute")
      expect(yield* t.requestCount).toBe(2)
    })
  )

  it.scoped("[U3] a replaced call is written with the ended template, silently", () =>
    Effect.gen(function* () {
      const t = yield* talkJobs(
        { a: Effect.zipRight(update("a runs"), Effect.never), b: Effect.zipRight(update("b runs"), Effect.never) },
        [job("a"), "A.", job("b"), "B."],
        { layers: Layer.merge(DuplicatePolicy.layer("replace"), ToolPrompts.layer({ ended: "{callId} {how}" })) }
      )
      yield* t.send("A")
      yield* t.send("B")
      expect(yield* t.output("a_final")).toMatchObject({ output: "a replaced" })
      expect(yield* t.ends).toEqual(["a_final cancelled"])
      expect(yield* TestSession.said(t.session)).toEqual(["A.", "B."])
      expect((yield* t.session.runningTools).map((call) => call.callId)).toEqual(["b"])
    })
  )

  it.scoped("[U3] a call that is cut when the session closes is written with the ended template", () =>
    Effect.gen(function* () {
      const t = yield* talkJobs(back(Effect.never), [job("a"), "On it."], {
        layers: ToolPrompts.layer({ ended: "{callId} {how}" })
      })
      yield* t.send("Go")
      yield* t.close
      expect(yield* t.output("a_final")).toMatchObject({ output: "a drained" })
      expect(yield* t.ends).toEqual(["a_final cancelled"])
    })
  )

  it.scoped("[U3] a call past its time limit is written as an error, and voiced", () =>
    Effect.gen(function* () {
      const Slow_ = Toolkit.make(AsyncTool.make("slow", { success: Schema.String, timeout: "5 seconds" }))
      const t = yield* talk({
        tools: [Slow_],
        handlers: Slow_.toLayer({ slow: () => Effect.zipRight(update("on it"), Effect.never) }),
        script: [toolCall("slow", {}, { id: "a" }), "On it.", "It took too long."]
      })
      yield* t.send("Go")
      yield* TestSession.advance("5 seconds")
      expect(yield* t.output("a_final")).toMatchObject({ isError: true })
      expect(yield* TestSession.said(t.session)).toEqual(["On it.", "It took too long."])
    })
  )

  it.scoped("[U3] updates and the result that came before an idle moment are voiced in one reply", () =>
    Effect.gen(function* () {
      const t = yield* talkJobs(
        {
          a: Effect.gen(function* () {
            yield* update("zero")
            yield* update("one")
            return "found"
          })
        },
        [job("a"), "On it.", "Found."]
      )
      yield* t.send("Go")
      expect(yield* ids(t.session)).toEqual(["a", "a_update_1", "a_final"])
      expect(yield* t.events.filter("ReplyScheduled")).toMatchObject([{ updateIds: ["a_update_1", "a_final"] }])
      expect(yield* TestSession.said(t.session)).toEqual(["On it.", "Found."])
    })
  )
})

describe("what an update says", () => {
  const revoked = Proxy.revocable({}, {})
  revoked.revoke()
  const circular: Record<string, unknown> = { name: "circle" }
  circular.self = circular
  let deep: unknown = "bottom"
  for (let i = 0; i < 20_000; i++) deep = [deep]

  /** A call that reports these, one after another. */
  const report = (messages: ReadonlyArray<unknown>, options?: Partial<Parameters<typeof talk>[0]>) =>
    Effect.gen(function* () {
      const t = yield* talkJobs(
        { a: Effect.forEach(messages, (message) => update(message)).pipe(Effect.as(undefined)) },
        () => "Well.",
        { maxPendingUpdates: 100, ...options }
      )
      yield* t.push(job("a"))
      yield* t.send("Go")
      const outputs = (yield* TestSession.outputs(t.session)).map((item) => item.output)
      return { ...t, said: outputs.slice(0, messages.length) }
    })

  it.scoped("[U4] a string goes through the update template, as it is", () =>
    Effect.gen(function* () {
      const t = yield* report(["one {toolName} {{x}} $& $1", "two"], {
        layers: ToolPrompts.layer({ update: "<{toolName} {callId} {{}} {message}>" })
      })
      expect(t.said).toEqual(["<job a {} one {toolName} {{x}} $& $1>", "<job a {} two>"])
      expect((yield* t.events.filter("ToolCallUpdated")).map((event) => event.message)).toEqual([
        "one {toolName} {{x}} $& $1",
        "two"
      ])
    })
  )

  it.scoped("[U4] the default template keeps the message and says that the call still runs", () =>
    Effect.gen(function* () {
      const t = yield* report(["Half way."])
      expect(t.said[0]).toContain("Half way.")
      expect(t.said[0]).toContain("still running")
    })
  )

  it.scoped("[U4] any other value is encoded as JSON and not templated", () =>
    Effect.gen(function* () {
      const values = [{ percent: 50, deep: [1, { a: null }] }, [1, "two"], 7, true, null]
      const t = yield* report([...values, { at: new Date(0), none: undefined }], {
        layers: ToolPrompts.layer({ update: "<{message}>" })
      })
      expect(t.said).toEqual([...values, { at: "1970-01-01T00:00:00.000Z" }])
    })
  )

  it.scoped("[U4] what JSON cannot carry is rendered as text", () =>
    Effect.gen(function* () {
      const t = yield* report([
        10n,
        Number.NaN,
        undefined,
        Symbol("sign"),
        () => "code",
        circular,
        deep,
        new Map([["key", "value"]]),
        { inner: 10n }
      ])
      for (const said of t.said) expect(typeof said).toBe("string")
      expect(t.said.slice(0, 4)).toMatchObject([
        expect.stringContaining("10"),
        expect.stringContaining("NaN"),
        expect.stringContaining("undefined"),
        expect.stringContaining("sign")
      ])
      expect(t.said[5]).toContain("circle")
      expect(t.said[7]).toContain("value")
      expect(t.said[8]).toContain("10")
      expect(yield* t.ends).toEqual(["a_final done"])
      expect(() => JSON.stringify(t.said)).not.toThrow()
    })
  )

  it.scoped("[U4] update never fails, whatever it is given", () =>
    Effect.gen(function* () {
      const t = yield* report([
        "first",
        {
          toJSON() {
            throw new Error("toJSON")
          }
        },
        {
          get bad() {
            throw new Error("getter")
          }
        },
        {
          toJSON() {
            throw new Error("toJSON")
          },
          get [Symbol.toStringTag]() {
            throw new Error("tag")
          }
        },
        new Proxy(
          {},
          {
            get() {
              throw new Error("trap")
            }
          }
        ),
        revoked.proxy,
        Object.create(null),
        "last"
      ])
      expect(t.said).toHaveLength(8)
      expect(t.said[7]).toContain("last")
      expect(yield* t.ends).toEqual(["a_final done"])
    })
  )

  it.scoped("[U4] what the handler does to a value after it was reported changes nothing", () =>
    Effect.gen(function* () {
      const state = { done: ["a"] }
      const t = yield* talkJobs(
        {
          a: Effect.gen(function* () {
            yield* update(state)
            state.done.push("b")
            yield* update(state)
            state.done.push("c")
            return undefined
          })
        },
        [job("a"), "Well.", "Well."]
      )
      yield* t.send("Go")
      expect((yield* t.outputs).slice(0, 2)).toEqual(['a: {"done":["a"]}', 'a_update_1: {"done":["a","b"]}'])
    })
  )

  it.scoped("[U4] a template can be given for one update", () =>
    Effect.gen(function* () {
      const t = yield* talkJobs(
        {
          a: Effect.gen(function* () {
            yield* update("one", { template: "{message} of {toolName}" })
            yield* update("two", { template: ({ callId, message }) => `${callId} ${message}` })
            yield* update({ n: 3 }, { template: "never used" })
            yield* update("four")
            return undefined
          })
        },
        [job("a"), "Well.", "Well."],
        { layers: ToolPrompts.layer({ update: "<{message}>" }) }
      )
      yield* t.send("Go")
      expect((yield* t.outputs).slice(0, 4)).toEqual([
        "a: one of job",
        "a_update_1: a two",
        'a_update_2: {"n":3}',
        "a_update_3: <four>"
      ])
    })
  )

  it.scoped("[U4] a template that fails or has an unknown placeholder does not fail the update", () =>
    Effect.gen(function* () {
      const t = yield* talkJobs(
        {
          a: Effect.gen(function* () {
            yield* update("one", {
              template: () => {
                throw new Error("template bug")
              }
            })
            yield* update("two", { template: "{nope} {message}" })
            return undefined
          })
        },
        [job("a"), "Well.", "Well."]
      )
      yield* t.send("Go")
      const outputs = yield* t.outputs
      expect(outputs[0]).toContain("one")
      expect(outputs[1]).toContain("two")
      expect(yield* t.ends).toEqual(["a_final done"])
      expect(t.logs.filter((line) => (line.text + line.cause).includes("template bug"))).toHaveLength(1)
    })
  )

  it.scoped("[U4] a megabyte in an update goes through", () =>
    Effect.gen(function* () {
      const big = "x".repeat(1_000_000)
      const t = yield* report([big, { big }], { maxOutputLength: 2_000_000 })
      expect(t.said[0]).toContain(big)
      expect(t.said[1]).toEqual({ big })
    })
  )
})

describe("update does not wait", () => {
  it.scoped("[U5] neither for speech, nor for other calls, nor for the model", () =>
    Effect.gen(function* () {
      const times: Array<number> = []
      const t = yield* talkJobs(
        {
          a: Effect.gen(function* () {
            for (let n = 0; n < 5; n++) {
              yield* update({ n }, { delivery: n === 3 ? "interrupt" : "when-idle" })
              times.push(yield* Clock.currentTimeMillis)
            }
            yield* seconds(2)
            yield* update({ n: 5 })
            times.push(yield* Clock.currentTimeMillis)
            return undefined
          }),
          b: Effect.as(seconds(30), "b")
        },
        [["Let me see what there is. ", job("a"), job("b"), wait("10 seconds")], "Well.", "Well.", "Well."],
        { layers: paced }
      )
      yield* t.send("Go")
      yield* TestSession.advance("2 seconds")
      expect(times).toEqual([0, 0, 0, 0, 0, 2000])
      expect(yield* t.ends).toEqual(["a_final done"])
    })
  )
})

describe("memory", () => {
  it.scoped("[U6] when more than 32 updates wait, the oldest leave queue and history, and events tell it", () =>
    Effect.gen(function* () {
      const t = yield* talkJobs(
        {
          a: Effect.zipRight(
            Effect.forEach(range(0, 40), (n) => update({ n })),
            Effect.as(seconds(60), "late")
          )
        },
        [job("a"), "Well.", "Some."]
      )
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* t.session.claimUserTurn
          yield* t.send("Go")
          const left = range(9, 40).map((n) => `a_update_${n}`)
          expect(yield* ids(t.session)).toEqual(["a", ...left])
          expect((yield* TestSession.outputs(t.session)).map((item) => item.callId)).toEqual(["a", ...left])
          expect(yield* t.events.filter("UpdateDropped")).toMatchObject(
            range(1, 8).map((n) => ({ id: `a_update_${n}`, callId: "a" }))
          )
        })
      )
      const left = range(9, 40).map((n) => `a_update_${n}`)
      expect(yield* t.events.filter("ReplyScheduled")).toMatchObject([{ updateIds: left }])
      const results = ScriptedModel.toolResults(yield* t.lastRequest).map((result) => result.id)
      expect(results).toEqual(["a", ...left])
      expect(yield* t.events.filter("ToolCallUpdated")).toHaveLength(41)
    })
  )

  it.scoped("[U6] an update that was shown and is dropped later is shown no more, nor returned by run", () =>
    Effect.gen(function* () {
      const t = yield* talkJobs(
        {
          a: Effect.gen(function* () {
            for (const n of [0, 1, 2]) yield* update({ n })
            yield* seconds(10)
            for (const n of [3, 4]) yield* update({ n })
            yield* seconds(10)
            return undefined
          })
        },
        [job("a"), "It runs.", "Hello.", "Hello again."],
        { maxPendingUpdates: 2 }
      )
      const shown = Effect.map(t.lastRequest, (request) =>
        ScriptedModel.toolResults(request).map((result) => result.id)
      )
      const run = yield* Effect.scoped(
        Effect.gen(function* () {
          yield* t.session.claimUserTurn
          const run = yield* Effect.forkDaemon(t.session.run("Go"))
          yield* TestSession.settle
          expect(yield* shown).toEqual(["a", "a_update_1", "a_update_2"])
          yield* TestSession.advance("10 seconds")
          yield* t.send("Hi")
          expect(yield* shown).toEqual(["a", "a_update_3", "a_update_4"])
          expectAnsweredOnce(yield* t.lastRequest)
          return run
        })
      )
      yield* TestSession.advance("10 seconds")
      const { items } = yield* Fiber.join(run)
      const kept = (yield* TestSession.calls(t.session)).map((call) => call.callId)
      expect(items.flatMap((item) => (item._tag === "FunctionCall" ? [item.callId] : []))).toEqual(kept)
    })
  )

  it.scoped("[U6] the bound is that of one call", () =>
    Effect.gen(function* () {
      const three = Effect.zipRight(
        Effect.forEach(range(0, 3), (n) => update({ n })),
        Effect.as(seconds(60), "late")
      )
      const t = yield* talkJobs({ a: three, b: three }, [[job("a"), job("b")], "Well.", "More."], {
        maxPendingUpdates: 2
      })
      yield* t.send("Go")
      expect((yield* t.events.filter("UpdateDropped")).map((event) => event.id).toSorted()).toEqual([
        "a_update_1",
        "b_update_1"
      ])
      expect(yield* ids(t.session)).toEqual(["a", "b", "a_update_2", "a_update_3", "b_update_2", "b_update_3"])
    })
  )

  it.scoped("[U6] updates that are held for an earlier call of the step are bounded, too", () =>
    Effect.gen(function* () {
      const t = yield* talkJobs(
        {
          a: Effect.as(seconds(10), "a"),
          b: Effect.zipRight(
            Effect.forEach(range(0, 5), (n) => update({ n })),
            Effect.as(seconds(60), "late")
          )
        },
        [[job("a"), job("b")], "Well.", "More."],
        { maxPendingUpdates: 2 }
      )
      yield* t.send("Go")
      expect((yield* t.events.filter("UpdateDropped")).map((event) => event.id)).toEqual([
        "b_update_1",
        "b_update_2",
        "b_update_3"
      ])
      yield* TestSession.advance("10 seconds")
      expect(yield* ids(t.session)).toEqual(["a", "b", "b_update_4", "b_update_5"])
      expect(yield* t.events.filter("ReplyScheduled")).toMatchObject([{ updateIds: ["b_update_4", "b_update_5"] }])
    })
  )

  it.scoped("[U6] a silent update counts as waiting until the next reply of any kind", () =>
    Effect.gen(function* () {
      const quiet = (n: number) => update({ n }, { delivery: "silent" })
      const t = yield* talkJobs(
        {
          a: Effect.gen(function* () {
            for (const n of [0, 1, 2, 3]) yield* quiet(n)
            yield* seconds(10)
            for (const n of [4, 5]) yield* quiet(n)
            yield* seconds(10)
            yield* quiet(6)
            yield* seconds(60)
            return undefined
          })
        },
        [job("a"), "Hello."],
        { maxPendingUpdates: 2 }
      )
      yield* t.send("Go")
      const dropped = Effect.map(t.events.filter("UpdateDropped"), (events) => events.map((event) => event.id))
      expect(yield* dropped).toEqual(["a_update_1"])
      yield* TestSession.advance("5 seconds")
      yield* t.send("Hi")
      expect(yield* t.requestCount).toBe(2)
      yield* TestSession.advance("5 seconds")
      expect(yield* dropped).toEqual(["a_update_1"])
      yield* TestSession.advance("10 seconds")
      expect(yield* dropped).toEqual(["a_update_1", "a_update_4"])
      expect(yield* ids(t.session)).toEqual(["a", "a_update_2", "a_update_3", "a_update_5", "a_update_6"])
    })
  )

  it.scoped("[U6] updates that a reply covers wait no longer", () =>
    Effect.gen(function* () {
      const t = yield* talkJobs(
        {
          a: Effect.zipRight(
            Effect.forEach(range(0, 6), (n) => Effect.zipRight(update({ n }), seconds(1))),
            Effect.as(seconds(60), "late")
          )
        },
        (request) => (request.index === 0 ? job("a") : "Well."),
        { maxPendingUpdates: 1 }
      )
      yield* t.send("Go")
      yield* TestSession.advance("7 seconds")
      expect(yield* t.events.filter("UpdateDropped")).toEqual([])
      expect(yield* ids(t.session)).toHaveLength(7)
    })
  )

  it.scoped("[U6] updates of an interrupted reply that wait again are bounded, the oldest leave first", () =>
    Effect.gen(function* () {
      const t = yield* talkJobs(
        {
          a: Effect.gen(function* () {
            yield* update({ n: 0 })
            yield* seconds(5)
            yield* update({ n: 1 })
            yield* seconds(2)
            for (const n of [2, 3]) yield* update({ n })
            yield* seconds(600)
            return undefined
          })
        },
        [job("a"), "Well.", "One, word by word, rather slowly.", "Two and three."],
        { maxPendingUpdates: 2, onInterruptedReply: "redeliver", layers: paced }
      )
      yield* t.send("Go")
      yield* TestSession.advance("8 seconds")
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* t.session.claimUserTurn
          yield* t.session.interrupt()
          expect(yield* t.events.filter("ReplyEnded")).toMatchObject([{ status: "interrupted" }])
          expect((yield* t.events.filter("UpdateDropped")).map((event) => event.id)).toEqual(["a_update_1"])
          expect(yield* ids(t.session)).toEqual(["a", "a_update_2", "a_update_3"])
        })
      )
      yield* TestSession.advance("10 seconds")
      expect((yield* t.events.filter("ReplyEnded")).at(-1)).toMatchObject({
        updateIds: ["a_update_2", "a_update_3"],
        status: "completed"
      })
    })
  )

  it.scoped("[U6] 10,000 updates in a second leave a history of the bound, and one reply", () =>
    Effect.gen(function* () {
      const t = yield* talkJobs(
        {
          a: Effect.gen(function* () {
            yield* update("zero")
            for (const tenth of range(0, 9)) {
              yield* Effect.forEach(range(1, 1000), (n) => update({ n: tenth * 1000 + n }), { discard: true })
              yield* Effect.sleep("100 millis")
            }
            return "over"
          })
        },
        [job("a"), "It runs.", "It is over."]
      )
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* t.session.claimUserTurn
          yield* t.send("Go")
          yield* TestSession.advance("1 second")
          expect(yield* t.ends).toEqual(["a_final done"])
          expect(yield* TestSession.outputs(t.session)).toHaveLength(34)
          expect((yield* TestSession.outputs(t.session)).at(-2)).toMatchObject({
            callId: "a_update_10000",
            output: { n: 10_000 }
          })
        })
      )
      yield* TestSession.settle
      expect(yield* TestSession.said(t.session)).toEqual(["It runs.", "It is over."])
      expectAnsweredOnce(yield* t.lastRequest)
    })
  )

  it.scoped("[U6] 10,000 updates in a second keep an idle session answering, and lose nothing of the end", () =>
    Effect.gen(function* () {
      const t = yield* talkJobs(
        {
          a: Effect.gen(function* () {
            yield* update("zero")
            for (const tenth of range(0, 9)) {
              yield* Effect.forEach(range(1, 1000), (n) => update({ n: tenth * 1000 + n }), { discard: true })
              yield* Effect.sleep("100 millis")
            }
            return "over"
          })
        },
        (request) => (request.index === 0 ? job("a") : "Well.")
      )
      yield* t.send("Go")
      yield* TestSession.advance("1 second")
      expect(yield* t.ends).toEqual(["a_final done"])
      expect(yield* t.output("a_final")).toMatchObject({ output: "over" })
      expect((yield* TestSession.outputs(t.session)).length).toBeLessThan(2 + 11 * 34)
      expectAnsweredOnce(yield* t.lastRequest)
    })
  )
})

describe("delivery", () => {
  /** One update at 0 s, the next at 2 s, while the agent speaks for 10 s. */
  const reporting = (options: RunContext.UpdateOptions) => ({
    a: Effect.gen(function* () {
      yield* update("zero")
      yield* seconds(2)
      yield* update({ n: 1 }, options)
      yield* seconds(600)
      return "late"
    })
  })
  const longWords = Array.from({ length: 10 }, (_, i) => `${i}23456789 `).join("")

  it.scoped("[U7] by default an update waits until the session is idle", () =>
    Effect.gen(function* () {
      const t = yield* talkJobs(reporting({}), [job("a"), longWords, "One."], { layers: paced })
      yield* t.send("Go")
      yield* TestSession.advance("9 seconds")
      expect(yield* ids(t.session)).toContain("a_update_1")
      expect(yield* t.requestCount).toBe(2)
      expect(yield* t.events.filter("ReplyScheduled")).toEqual([])
      yield* TestSession.advance("2 seconds")
      expect(yield* TestSession.said(t.session)).toEqual([longWords, "One."])
    })
  )

  onTestClock("[U7] interrupt cuts the current speech, and the reply comes next", () =>
    Effect.gen(function* () {
      const t = yield* talkJobs(reporting({ delivery: "interrupt" }), [job("a"), longWords, "One."], { layers: paced })
      yield* t.send("Go")
      const queued = yield* t.session.say("Later.")
      yield* TestSession.advance("2500 millis")
      expect(yield* TestSession.said(t.session)).toEqual(["023456789 123456789 ", "One."])
      expect(
        (yield* t.session.history).items.filter((item) => item._tag === "Message" && item.interrupted)
      ).toHaveLength(1)
      expect(yield* t.events.filter("ReplyEnded")).toMatchObject([{ updateIds: ["a_update_1"], status: "completed" }])
      yield* TestSession.advance("2 seconds")
      expect(yield* queued.done).toBe(true)
      expect((yield* TestSession.said(t.session)).at(-1)).toBe("Later.")
    })
  )

  onTestClock("[U7, U1] a first update that interrupts does the same: its turn goes on at once", () =>
    Effect.gen(function* () {
      const first = (options: RunContext.UpdateOptions) => ({
        a: Effect.gen(function* () {
          yield* seconds(2)
          yield* update("fire", options)
          yield* seconds(600)
          return "late"
        })
      })
      const t = yield* talkJobs(first({ delivery: "interrupt" }), [job("a"), "Fire!"], { layers: paced })
      yield* t.send("Go")
      yield* t.session.say(longWords)
      yield* t.session.say("Later.", { priority: 1 })
      yield* TestSession.advance("3 seconds")
      expect(yield* TestSession.said(t.session)).toEqual(["023456789 123456789 ", "Fire!"])
      yield* TestSession.advance("2 seconds")
      expect((yield* TestSession.said(t.session)).at(-1)).toBe("Later.")
      expect(yield* t.events.filter("SpeechEnded")).toMatchObject([
        { interrupted: true },
        { interrupted: false },
        { interrupted: false }
      ])

      const calm = yield* talkJobs(first({}), [job("a"), "Fire!"], { layers: paced })
      yield* calm.send("Go")
      yield* calm.session.say(longWords)
      yield* TestSession.advance("9 seconds")
      expect(yield* TestSession.said(calm.session)).toEqual([])
      yield* TestSession.advance("3 seconds")
      expect(yield* TestSession.said(calm.session)).toEqual([longWords, "Fire!"])
    })
  )

  it.scoped("[U7, U1] a first update that interrupts breaks neither a user's turn nor a held floor", () =>
    Effect.gen(function* () {
      const t = yield* talkJobs(
        {
          a: Effect.gen(function* () {
            yield* seconds(2)
            yield* update("fire", { delivery: "interrupt" })
            yield* seconds(600)
            return "late"
          })
        },
        [job("a"), "Fire!"],
        { layers: paced }
      )
      yield* t.send("Go")
      yield* t.session.say(longWords)
      yield* Effect.scoped(Effect.zipRight(t.session.claimUserTurn, TestSession.advance("5 seconds")))
      yield* TestSession.settle
      // the user has ended: now it may
      expect(
        (yield* t.session.history).items.filter((item) => item._tag === "Message" && item.interrupted)
      ).toHaveLength(1)
      yield* TestSession.advance("1 second")
      expect((yield* TestSession.said(t.session)).at(-1)).toBe("Fire!")
    })
  )

  it.scoped("[U7] interrupt waits for a speech that disallows interruptions", () =>
    Effect.gen(function* () {
      const t = yield* talkJobs(reporting({ delivery: "interrupt" }), [job("a"), longWords, "One."], { layers: paced })
      yield* t.send("Go", { allowInterruptions: false })
      yield* TestSession.advance("9 seconds")
      expect(yield* t.requestCount).toBe(2)
      yield* TestSession.advance("2 seconds")
      expect(yield* TestSession.said(t.session)).toEqual([longWords, "One."])
      expect((yield* t.session.history).items.filter((item) => item._tag === "Message" && item.interrupted)).toEqual([])
    })
  )

  it.scoped("[U7] interrupt does not break a user's turn", () =>
    Effect.gen(function* () {
      const t = yield* talkJobs(reporting({ delivery: "interrupt" }), [job("a"), "Well.", "One."])
      yield* t.send("Go")
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* t.session.claimUserTurn
          yield* TestSession.advance("5 seconds")
          expect(yield* ids(t.session)).toEqual(["a", "a_update_1"])
          expect(yield* TestSession.said(t.session)).toEqual(["Well."])
          expect(yield* t.requestCount).toBe(2)
        })
      )
      yield* TestSession.settle
      expect(yield* TestSession.said(t.session)).toEqual(["Well.", "One."])
    })
  )

  it.scoped("[U7] interrupt does not cut the answer to a user before it was begun", () =>
    Effect.gen(function* () {
      const t = yield* talkJobs(reporting({ delivery: "interrupt" }), [
        job("a"),
        "Well.",
        [wait("5 seconds"), "Yes?"],
        "One."
      ])
      yield* t.send("Go")
      yield* TestSession.advance("1 second")
      const speech = yield* t.send("Hey")
      yield* TestSession.advance("10 seconds")
      expect(yield* speech.interrupted).toBe(false)
      expect(yield* TestSession.said(t.session)).toEqual(["Well.", "Yes?", "One."])
    })
  )

  it.scoped("[U7] interrupt does not break a held floor", () =>
    Effect.gen(function* () {
      const t = yield* talkJobs(
        {
          ...reporting({ delivery: "interrupt" }),
          b: Effect.zipRight(update("b runs"), RunContext.foreground(Effect.as(seconds(30), undefined))).pipe(
            Effect.catchTag("SessionClosed", () => new AsyncTool.StopResponse())
          )
        },
        [[job("a"), job("b")], "Well.", "One."]
      )
      yield* t.send("Go")
      yield* TestSession.advance("29 seconds")
      expect(yield* ids(t.session)).toContain("a_update_1")
      expect(yield* t.requestCount).toBe(2)
      yield* TestSession.advance("1 second")
      expect(yield* TestSession.said(t.session)).toEqual(["Well.", "One."])
    })
  )

  it.scoped("[U7] silent is in the history only; the next request shows it", () =>
    Effect.gen(function* () {
      const t = yield* talkJobs(reporting({ delivery: "silent" }), [job("a"), "Well.", "Hello."])
      yield* t.send("Go")
      yield* TestSession.advance("1 minute")
      expect(yield* ids(t.session)).toEqual(["a", "a_update_1"])
      expect(yield* t.requestCount).toBe(2)
      expect(yield* t.events.filter("ReplyScheduled", "ReplyEnded")).toEqual([])
      yield* t.send("Hi")
      expect(ScriptedModel.toolResults(yield* t.lastRequest)).toMatchObject([
        { id: "a" },
        { id: "a_update_1", result: { n: 1 } }
      ])
    })
  )

  for (const [delivery, expected] of [
    ["silent", ["On it.", longWords]],
    ["when-idle", ["On it.", longWords, "Found."]],
    ["interrupt", ["On it.", longWords.slice(0, 20), "Found."]]
  ] as const) {
    onTestClock(`[U7] a tool with delivery ${delivery} delivers its result so`, () =>
      Effect.gen(function* () {
        const Find_ = Toolkit.make(AsyncTool.make("find", { success: Schema.String, delivery }))
        const t = yield* talk({
          tools: [Find_],
          handlers: Find_.toLayer({ find: () => Effect.zipRight(update("on it"), Effect.as(seconds(3), "found")) }),
          layers: paced,
          script: [toolCall("find", {}, { id: "a" }), "On it.", longWords, "Found."]
        })
        yield* t.send("Go")
        yield* TestSession.advance("1 second")
        yield* t.session.generateReply()
        yield* TestSession.advance("20 seconds")
        expect(yield* t.output("a_final")).toMatchObject({ output: "found" })
        expect((yield* TestSession.said(t.session)).map((line) => line.trim())).toEqual(
          expected.map((line) => line.trim())
        )
      })
    )
  }

  it.scoped("[U7] a silent item that waits for nobody does not make a reply, nor spoil the one of another", () =>
    Effect.gen(function* () {
      const t = yield* talkJobs(
        {
          a: Effect.gen(function* () {
            yield* update("zero")
            yield* update({ n: 1 }, { delivery: "silent" })
            yield* update({ n: 2 })
            yield* update({ n: 3 }, { delivery: "silent" })
            yield* seconds(600)
            return "late"
          })
        },
        [job("a"), "Well.", "Two."]
      )
      yield* t.send("Go")
      expect(yield* t.events.filter("ReplyScheduled")).toMatchObject([{ updateIds: ["a_update_2"] }])
      expect(ScriptedModel.toolResults(yield* t.lastRequest)).toHaveLength(4)
    })
  )

  onTestClock(
    "[U7] of two updates in a row that interrupt, both are voiced: the second does not cut what was not begun",
    () =>
      Effect.gen(function* () {
        const t = yield* talkJobs(
          {
            a: Effect.gen(function* () {
              yield* update("zero")
              yield* seconds(2)
              yield* update({ n: 1 }, { delivery: "interrupt" })
              yield* update({ n: 2 }, { delivery: "interrupt" })
              yield* seconds(600)
              return "late"
            })
          },
          (request) => (request.index === 0 ? job("a") : request.index === 1 ? longWords : "Both."),
          { layers: paced }
        )
        yield* t.send("Go")
        yield* TestSession.advance("10 seconds")
        expect((yield* TestSession.said(t.session))[0]).toEqual(longWords.slice(0, 20))
        const ended = yield* t.events.filter("ReplyEnded")
        expect(ended.flatMap((event) => event.updateIds)).toEqual(["a_update_1", "a_update_2"])
        expect(ended.map((event) => event.status)).not.toContain("interrupted")
        expect(ScriptedModel.toolResults(yield* t.lastRequest).map((result) => result.id)).toEqual([
          "a",
          "a_update_1",
          "a_update_2"
        ])
      })
  )
})

describe("outside a session", () => {
  class Db extends Context.Tag("Db")<Db, { readonly find: (id: string) => string }>() {}
  class NotFound extends Schema.TaggedError<NotFound>("NotFound")("NotFound", { since: Schema.DateFromString }) {}
  const Find = AsyncTool.make("find", {
    parameters: { id: Schema.NumberFromString, mode: Schema.optional(Schema.String) },
    success: Schema.UndefinedOr(Schema.Struct({ at: Schema.DateFromString, row: Schema.String })),
    failure: NotFound,
    dependencies: [Db],
    background: "model",
    onDuplicate: "confirm",
    timeout: "5 seconds"
  })
  const Front = Agent.make("front", { instructions: "You greet." })
  const Ask = Agent.task("ask", { instructions: "You ask.", result: Schema.Struct({ age: Schema.Number }) })
  const seen: Array<unknown> = []
  const modes: Record<
    string,
    Effect.Effect<string | undefined, NotFound | AsyncTool.ToolError | AsyncTool.StopResponse, RunContext.RunContext>
  > = {
    updates: Effect.gen(function* () {
      yield* update("one", { delivery: "interrupt" })
      yield* update({ n: 2 }, { template: "never used" })
      yield* RunContext.progress({ percent: 50 })
      yield* update([3], { delivery: "silent" })
      return "row"
    }),
    nothing: Effect.succeed(undefined),
    stops: Effect.zipRight(update("one"), new AsyncTool.StopResponse()),
    fails: Effect.zipRight(update("one"), new AsyncTool.ToolError({ message: "no" })),
    "fails with its own": Effect.fail(new NotFound({ since: new Date(0) })),
    hangs: Effect.zipRight(update("one"), Effect.never),
    dies: Effect.zipRight(update("one"), Effect.die(new Error("secret"))),
    throws: Effect.suspend(() => {
      throw new Error("secret")
    }),
    "holds the floor": RunContext.foreground(
      RunContext.withFiller(Effect.as(seconds(1), "row"), { say: "Still there." })
    ).pipe(Effect.catchTag("SessionClosed", () => Effect.succeed("closed"))),
    "runs a task": RunContext.runTask(Ask).pipe(
      Effect.map(String),
      Effect.catchTag("SessionClosed", () => Effect.succeed("closed"))
    ),
    "hands off": Effect.as(RunContext.handoff(Front), "handed"),
    looks: Effect.gen(function* () {
      const call = yield* RunContext.call
      const cancelled = yield* RunContext.isCancelled
      const value = yield* RunContext.orCancelled(Effect.succeed("value"))
      const committed = yield* RunContext.commit(Effect.succeed("committed"))
      yield* RunContext.waitForPlayout
      yield* RunContext.disallowInterruptions
      return [call.callId, call.name, cancelled, Option.getOrNull(value), committed].join(" ")
    })
  }
  const Find_ = Toolkit.make(Find)
  const live = Layer.merge(
    Find_.toLayer({
      find: (params) =>
        Effect.gen(function* () {
          seen.push(params)
          const db = yield* Db
          const row = yield* modes[params.mode ?? "updates"] ?? Effect.succeed("plain")
          return row === undefined ? undefined : { at: new Date(params.id), row: `${db.find(row)}` }
        })
    }),
    Layer.succeed(Db, { find: (id) => `<${id}>` })
  )
  const find = (args: unknown, callId?: string) =>
    AsyncTool.execute(Find_, { name: "find", arguments: args, ...(callId === undefined ? {} : { callId }) }).pipe(
      Effect.provide(live)
    )

  it.effect("[U8] execute returns the encoded output, and the updates in their order", () =>
    Effect.gen(function* () {
      seen.length = 0
      const executed = yield* find({ id: "0", run_in_background: true, confirm_duplicate: null })
      expect(executed).toEqual({
        output: { at: "1970-01-01T00:00:00.000Z", row: "<row>" },
        isError: false,
        updates: ["one", { n: 2 }, [3]]
      })
      expect(seen).toEqual([{ id: 0 }])
    })
  )

  it.effect(
    "[U8] execute takes arguments as a session does: null for what is optional, and the session's parameters",
    () =>
      Effect.gen(function* () {
        const kit = Toolkit.make(
          AsyncTool.make("optional", { parameters: { n: Schema.optional(Schema.Number) }, success: Schema.Unknown }),
          AsyncTool.make("empty", { background: "model", onDuplicate: "confirm", success: Schema.Unknown }),
          Tool.make("plain", { success: Schema.Unknown }).annotate(AsyncTool.Annotations, { background: "model" })
        )
        const live = kit.toLayer({ optional: Effect.succeed, empty: Effect.succeed, plain: Effect.succeed })
        const run = (name: string, args: unknown) =>
          Effect.provide(AsyncTool.execute(kit, { name, arguments: args }), live)
        const saw = (output: unknown) => ({ output, isError: false, updates: [] })
        expect(yield* run("optional", { n: null })).toEqual(saw({}))
        expect(yield* run("empty", { run_in_background: true, confirm_duplicate: true })).toEqual(saw({}))
        expect(yield* run("plain", { run_in_background: true })).toEqual(saw({}))
      })
  )

  for (const [mode, expected] of [
    ["nothing", { output: undefined, isError: false, updates: [] }],
    ["stops", { output: undefined, isError: false, updates: ["one"] }],
    ["fails", { output: "no", isError: true, updates: ["one"] }],
    [
      "fails with its own",
      { output: { _tag: "NotFound", since: "1970-01-01T00:00:00.000Z" }, isError: true, updates: [] }
    ],
    ["dies", { output: "find failed because of an unexpected error.", isError: true, updates: ["one"] }],
    ["throws", { output: "find failed because of an unexpected error.", isError: true, updates: [] }]
  ] as const) {
    it.effect(`[U8] execute returns what a handler that ${mode} comes to, and does not fail`, () =>
      Effect.gen(function* () {
        expect(yield* find({ id: "0", mode })).toEqual(expected)
      })
    )
  }

  it.effect("[U8] foreground and withFiller run their effect as it is", () =>
    Effect.gen(function* () {
      const executed = yield* TestSession.drive(find({ id: "0", mode: "holds the floor" }))
      expect(executed).toMatchObject({ output: { row: "<row>" }, isError: false })
      expect(yield* Clock.currentTimeMillis).toBe(1000)
    })
  )

  it.effect("[U8] runTask fails with SessionClosed, handoff with ToolError", () =>
    Effect.gen(function* () {
      expect(yield* find({ id: "0", mode: "runs a task" })).toMatchObject({ output: { row: "<closed>" } })
      const handed = yield* find({ id: "0", mode: "hands off" })
      expect(handed.isError).toBe(true)
      expect(typeof handed.output).toBe("string")
    })
  )

  it.effect("[U8] the rest of the RunContext answers for a call that nobody cancels", () =>
    Effect.gen(function* () {
      expect(yield* find({ id: "0", mode: "looks" }, "mine")).toMatchObject({
        output: { row: "<mine find false value committed>" },
        isError: false
      })
    })
  )

  for (const [kind, args, field] of [
    ["a bad field", { id: 7 }, "id"],
    ["a missing field", {}, "id"],
    ["null", null, "arguments"],
    ["an array", [{ id: "0" }], "arguments"],
    ["a string", '{"id":"0"}', "arguments"]
  ] as const) {
    it.effect(`[U8] execute returns an error for arguments with ${kind}, and runs nothing`, () =>
      Effect.gen(function* () {
        seen.length = 0
        const executed = yield* find(args)
        expect(executed.isError).toBe(true)
        expect(executed.output).toContain(field)
        expect(seen).toEqual([])
      })
    )
  }

  for (const name of ["teleport", "constructor", "toString", "__proto__"]) {
    it.effect(`[U8] execute returns an error for the unknown tool ${name}, which lists the tools there are`, () =>
      Effect.gen(function* () {
        const executed = yield* AsyncTool.execute(Find_, { name, arguments: {} }).pipe(Effect.provide(live))
        expect(executed.isError).toBe(true)
        expect(executed.output).toContain("find")
      })
    )
  }

  it.effect("[U8] execute takes ordinary tools, with schemas that take their time or throw", () =>
    Effect.gen(function* () {
      const City = Schema.transformOrFail(Schema.String, Schema.String, {
        strict: true,
        decode: (city, _, ast) =>
          Effect.zipRight(
            seconds(1),
            city === "Rome" ? Effect.fail(new ParseResult.Type(ast, city, "not served")) : Effect.succeed(`${city}!`)
          ),
        encode: (city) => Effect.succeed(city)
      })
      const Bad = Schema.String.pipe(
        Schema.filter((): boolean => {
          throw new Error("secret")
        })
      )
      const kit = Toolkit.make(
        Tool.make("go", { parameters: { city: City }, success: Schema.String }),
        Tool.make("bad", { parameters: { city: Bad }, success: Schema.String }),
        Tool.make("refused", { success: Schema.String })
      )
      const run = (name: string, city: string) =>
        TestSession.drive(AsyncTool.execute(kit, { name, arguments: { city } })).pipe(
          Effect.provide(
            kit.toLayer({
              go: ({ city }) => Effect.succeed(city),
              bad: () => Effect.succeed("ran"),
              refused: () => Effect.succeed({ text: "secret" } as any)
            })
          )
        )
      expect(yield* run("go", "Oslo")).toMatchObject({ output: "Oslo!", isError: false })
      const refused = yield* run("go", "Rome")
      expect(refused.isError).toBe(true)
      expect(refused.output).toContain("city: not served")
      for (const name of ["bad", "refused"]) {
        const executed = yield* run(name, "Oslo")
        expect(executed.isError).toBe(true)
        expect(executed.output).not.toContain("secret")
      }
    })
  )

  it.effect("[U8] the time limit of a tool holds in execute, too", () =>
    Effect.gen(function* () {
      const executed = yield* TestSession.drive(find({ id: "0", mode: "hangs" }))
      expect(executed).toMatchObject({ isError: true, updates: ["one"] })
      expect(executed.output).toContain("5 seconds")
      expect(yield* Clock.currentTimeMillis).toBe(5000)
    })
  )

  it.effect("[U8] execute can be interrupted, and the handler's finalizers run", () =>
    Effect.gen(function* () {
      let finalized = false
      const Long_ = Toolkit.make(AsyncTool.make("long"))
      const fiber = yield* AsyncTool.execute(Long_, { name: "long", arguments: {} }).pipe(
        Effect.provide(
          Long_.toLayer({
            long: () =>
              Effect.onInterrupt(Effect.never, () =>
                Effect.sync(() => {
                  finalized = true
                })
              )
          })
        ),
        Effect.fork
      )
      yield* TestSession.settle
      const exit = yield* Fiber.interrupt(fiber)
      expect(Exit.isInterrupted(exit)).toBe(true)
      expect(finalized).toBe(true)
    })
  )
})

describe("leaving the turn", () => {
  const Slow = AsyncTool.make("slow", {
    parameters: { seconds: Schema.Number },
    success: Schema.String,
    releaseAfter: "3 seconds"
  })
  const Slow_ = Toolkit.make(Slow)
  const slowLive = Slow_.toLayer({ slow: (params) => Effect.as(seconds(params.seconds), "found") })
  const slow = (n: number, id: string) => toolCall("slow", { seconds: n }, { id })
  const released = ToolPrompts.layer({ released: "{toolName} {callId} released" })

  it.scoped("[U9] releaseAfter moves an inline call to the background once it has run that long", () =>
    Effect.gen(function* () {
      const t = yield* talk({
        tools: [Slow_],
        handlers: slowLive,
        layers: released,
        script: [slow(10, "a"), "It takes a while.", "Found."]
      })
      yield* t.send("Go")
      yield* TestSession.advance("2999 millis")
      expect(yield* t.outputs).toEqual([])
      yield* TestSession.advance("1 millis")
      expect(yield* t.outputs).toEqual(["a: slow a released"])
      expect(yield* t.events.filter("ToolCallReleased")).toMatchObject([{ callId: "a", by: "timer", at: 3000 }])
      expect(yield* TestSession.said(t.session)).toEqual(["It takes a while."])
      expect(yield* t.session.runningTools).toMatchObject([{ callId: "a", lastUpdate: undefined }])
      yield* TestSession.advance("7 seconds")
      expect(yield* t.outputs).toEqual(["a: slow a released", "a_final: found"])
      expect(yield* TestSession.said(t.session)).toEqual(["It takes a while.", "Found."])
    })
  )

  it.scoped("[U9] a call that is faster stays inline, then and later", () =>
    Effect.gen(function* () {
      const t = yield* talk({ tools: [Slow_], handlers: slowLive, script: [slow(2, "a"), "Found."] })
      yield* t.send("Go")
      yield* TestSession.advance("1 minute")
      expect(yield* t.outputs).toEqual(["a: found"])
      expect(yield* t.events.filter("ToolCallReleased")).toEqual([])
      expect(yield* TestSession.said(t.session)).toEqual(["Found."])
    })
  )

  it.scoped("[U9] the session sets a default, which a tool's own overrides", () =>
    Effect.gen(function* () {
      const t = yield* talk({
        tools: [Job_, Slow_],
        handlers: Layer.merge(jobs({ b: Effect.as(seconds(30), "b") }), slowLive),
        releaseAfter: "1 second",
        script: [[slow(30, "a"), job("b")], "Well."]
      })
      yield* t.send("Go")
      yield* TestSession.advance("5 seconds")
      expect(yield* t.events.filter("ToolCallReleased")).toMatchObject([
        { callId: "b", by: "timer", at: 1000 },
        { callId: "a", by: "timer", at: 3000 }
      ])
    })
  )

  it.scoped("[U9] releaseAfter 0 releases before the handler starts: its first update is a later one", () =>
    Effect.gen(function* () {
      const Now_ = Toolkit.make(AsyncTool.make("now", { success: Schema.String, releaseAfter: 0 }))
      const t = yield* talk({
        tools: [Now_],
        handlers: Now_.toLayer({ now: () => Effect.as(update({ n: 1 }), "over") }),
        layers: released,
        script: [toolCall("now", {}, { id: "a" }), "It runs.", "It is over."]
      })
      yield* t.send("Go")
      expect(yield* t.outputs).toEqual(["a: now a released", 'a_update_1: {"n":1}', "a_final: over"])
      const tags = (yield* t.events.tags).filter((tag) => tag.startsWith("ToolCall"))
      expect(tags).toEqual(["ToolCallStarted", "ToolCallReleased", "ToolCallUpdated", "ToolCallEnded"])
      expect(yield* TestSession.said(t.session)).toEqual(["It runs.", "It is over."])
    })
  )

  it.scoped("[U9] an update before the release is the output, and the release does nothing more", () =>
    Effect.gen(function* () {
      const Both_ = Toolkit.make(AsyncTool.make("both", { success: Schema.String, releaseAfter: "3 seconds" }))
      const t = yield* talk({
        tools: [Both_],
        handlers: Both_.toLayer({ both: () => Effect.zipRight(update({ n: 0 }), Effect.as(seconds(10), "over")) }),
        script: [toolCall("both", {}, { id: "a" }), "It runs.", "It is over."]
      })
      yield* t.send("Go")
      yield* TestSession.advance("10 seconds")
      expect(yield* t.outputs).toEqual(['a: {"n":0}', "a_final: over"])
      expect(yield* t.events.filter("ToolCallReleased")).toMatchObject([{ by: "update" }])
    })
  )

  it.scoped("[U9] a queued call leaves the turn, too", () =>
    Effect.gen(function* () {
      const t = yield* talk({
        tools: [Slow_],
        handlers: slowLive,
        agent: { maxConcurrency: 1 },
        script: [[slow(5, "a"), slow(5, "b")], "They run.", "A.", "B."]
      })
      yield* t.send("Go")
      yield* TestSession.advance("3 seconds")
      expect((yield* t.events.filter("ToolCallReleased")).map((event) => event.callId).toSorted()).toEqual(["a", "b"])
      expect(yield* TestSession.said(t.session)).toEqual(["They run."])
      yield* TestSession.advance("7 seconds")
      expect(yield* t.ends).toEqual(["a_final done", "b_final done"])
    })
  )

  it.scoped("[U9] a call that fails before its release is inline", () =>
    Effect.gen(function* () {
      const t = yield* talk({
        tools: [Slow_],
        handlers: Slow_.toLayer({
          slow: () => Effect.zipRight(seconds(3), new AsyncTool.ToolError({ message: "no" }))
        }),
        script: [toolCall("slow", { seconds: "x" }, { id: "a" }), "Wrong."]
      })
      yield* t.send("Go")
      yield* TestSession.advance("10 seconds")
      expect(yield* t.ends).toEqual(["a error"])
      expect(yield* t.events.filter("ToolCallReleased")).toEqual([])
    })
  )

  const seen: Array<unknown> = []
  const Asked = AsyncTool.make("asked", {
    parameters: { city: Schema.String },
    success: Schema.String,
    background: "model"
  })
  const Plain = Tool.make("plain", { success: Schema.String }).annotate(AsyncTool.Annotations, { background: "model" })
  const Asked_ = Toolkit.make(Asked, Plain)
  const askedLive = Asked_.toLayer({
    asked: (params) =>
      Effect.as(
        Effect.zipRight(
          Effect.sync(() => seen.push(params)),
          seconds(5)
        ),
        "found"
      ),
    plain: (params) =>
      Effect.as(
        Effect.zipRight(
          Effect.sync(() => seen.push(params)),
          seconds(5)
        ),
        "found"
      )
  })

  it.scoped("[U9] background model adds a required, nullable parameter to the schema", () =>
    Effect.gen(function* () {
      const t = yield* talk({ tools: [Asked_], handlers: askedLive, script: ["Hello."] })
      yield* t.send("Hi")
      const [request] = yield* t.requests
      for (const name of ["asked", "plain"]) {
        const schema = request!.tools.find((tool) => tool.name === name)!.jsonSchema as any
        expect(schema.type).toBe("object")
        expect(schema.required).toContain("run_in_background")
        expect(schema.properties.run_in_background).toMatchObject({ anyOf: [{ type: "boolean" }, { type: "null" }] })
      }
      const asked = request!.tools.find((tool) => tool.name === "asked")!.jsonSchema as any
      const own = Tool.getJsonSchema(Asked as any) as any
      expect(asked.properties.city).toEqual(own.properties.city)
      expect(own.properties).not.toHaveProperty("run_in_background")
    })
  )

  for (const [name, args] of [
    ["asked", { city: "Oslo" }],
    ["plain", {}]
  ] as const) {
    it.scoped(`[U9] the model can ask for the background of ${name}; the handler does not see it`, () =>
      Effect.gen(function* () {
        seen.length = 0
        const t = yield* talk({
          tools: [Asked_],
          handlers: askedLive,
          layers: released,
          script: [toolCall(name, { ...args, run_in_background: true }, { id: "a" }), "It runs.", "Found."]
        })
        yield* t.send("Go")
        expect(yield* t.outputs).toEqual([`a: ${name} a released`])
        expect(yield* t.events.filter("ToolCallReleased")).toMatchObject([{ callId: "a", by: "model" }])
        expect(seen).toEqual([args])
        expect(yield* TestSession.calls(t.session)).toMatchObject([{ arguments: { run_in_background: true } }])
        yield* TestSession.advance("5 seconds")
        expect(yield* TestSession.said(t.session)).toEqual(["It runs.", "Found."])
      })
    )
  }

  it.scoped("[U9] a tool with a parameter of that name of its own fails the build, by name", () =>
    Effect.gen(function* () {
      const Taken_ = Toolkit.make(
        AsyncTool.make("taken", { parameters: { run_in_background: Schema.Boolean }, background: "model" })
      )
      const exit = yield* Effect.exit(
        talk({ tools: [Taken_], handlers: Taken_.toLayer({ taken: () => Effect.void }), script: [] })
      )
      expect(Exit.isFailure(exit) && Cause.pretty(exit.cause)).toContain("taken")
    })
  )

  for (const args of [{ run_in_background: false }, { run_in_background: null }, {}]) {
    it.scoped(`[U9] ${JSON.stringify(args)} means: not in the background`, () =>
      Effect.gen(function* () {
        seen.length = 0
        const t = yield* talk({
          tools: [Asked_],
          handlers: askedLive,
          script: [toolCall("asked", { city: "Oslo", ...args }, { id: "a" }), "Found."]
        })
        yield* t.send("Go")
        expect(yield* t.outputs).toEqual([])
        yield* TestSession.advance("5 seconds")
        expect(yield* t.outputs).toEqual(["a: found"])
        expect(seen).toEqual([{ city: "Oslo" }])
        expect(yield* t.events.filter("ToolCallReleased")).toEqual([])
      })
    )
  }

  it.scoped("[U9] bad arguments of a call that asked for the background are told inline", () =>
    Effect.gen(function* () {
      const t = yield* talk({
        tools: [Asked_],
        handlers: askedLive,
        script: [toolCall("asked", { city: 1, run_in_background: true }, { id: "a" }), "Wrong."]
      })
      yield* t.send("Go")
      expect(yield* t.ends).toEqual(["a error"])
      expect(yield* TestSession.said(t.session)).toEqual(["Wrong."])
    })
  )
})

describe("progress", () => {
  it.scoped("[U10] tells the listeners of events and nobody else; the call stays inline", () =>
    Effect.gen(function* () {
      const values = [{ percent: 25 }, "half", 3]
      const t = yield* talkJobs(
        {
          a: Effect.gen(function* () {
            for (const value of values) {
              yield* RunContext.progress(value)
              yield* seconds(1)
            }
            return "done"
          })
        },
        [job("a"), "Done."]
      )
      const speech = yield* t.send("Go")
      yield* TestSession.advance("2 seconds")
      expect(yield* speech.done).toBe(false)
      expect(yield* TestSession.outputs(t.session)).toEqual([])
      yield* TestSession.advance("1 second")
      expect(yield* t.events.filter("ToolCallProgress")).toMatchObject(
        values.map((value, i) => ({ callId: "a", value, at: i * 1000 }))
      )
      expect(yield* t.outputs).toEqual(["a: done"])
      expect(yield* t.events.filter("ToolCallReleased", "ToolCallUpdated", "ReplyScheduled")).toEqual([])
      expect(yield* t.requestCount).toBe(2)
      expect(JSON.stringify((yield* t.lastRequest).prompt)).not.toContain("percent")
      expect(yield* t.ends).toEqual(["a done"])
    })
  )

  it.scoped("[U10] progress of a background call is neither written nor voiced, and takes any value", () =>
    Effect.gen(function* () {
      const t = yield* talkJobs(
        {
          a: Effect.gen(function* () {
            yield* update("zero")
            yield* RunContext.progress(10n)
            yield* RunContext.progress(undefined)
            yield* RunContext.progress({ deep: { inner: Symbol("sign") } })
            yield* seconds(60)
            return undefined
          })
        },
        [job("a"), "It runs."]
      )
      yield* t.send("Go")
      yield* TestSession.advance("30 seconds")
      expect(yield* t.events.filter("ToolCallProgress")).toHaveLength(3)
      expect(yield* ids(t.session)).toEqual(["a"])
      expect(yield* t.requestCount).toBe(2)
      expect(yield* t.session.runningTools).toMatchObject([{ lastUpdate: "zero" }])
    })
  )
})

describe("leaked fibers", () => {
  const leak = (after: number, end: Handler) =>
    Effect.zipRight(
      Effect.forkDaemon(
        seconds(after).pipe(
          Effect.zipRight(update({ leaked: true })),
          Effect.zipRight(RunContext.progress("leaked")),
          Effect.zipRight(update("leaked", { delivery: "interrupt" }))
        )
      ),
      end
    )

  for (const [kind, end, said] of [
    ["ended inline", Effect.succeed("done"), ["Done."]],
    ["ended in the background", Effect.zipRight(update("zero"), Effect.as(seconds(1), "done")), ["It runs.", "Done."]],
    ["failed", new AsyncTool.ToolError({ message: "no" }), ["Done."]],
    ["had nothing to say", Effect.succeed(undefined), []]
  ] as const) {
    it.scoped(`[U11] an update of a call that has ${kind} is ignored, with a warning`, () =>
      Effect.gen(function* () {
        const t = yield* talkJobs({ a: leak(5, end) }, [job("a"), ...said])
        yield* t.send("Go")
        yield* TestSession.advance("4 seconds")
        const before = yield* t.session.history
        const logged = t.logs.length
        yield* t.events.clear
        yield* TestSession.advance("10 seconds")
        expect(yield* t.session.history).toEqual(before)
        expect(yield* t.events.all).toEqual([])
        expect(t.logs.slice(logged).map((line) => line.level)).toEqual(["WARN", "WARN"])
        expect(t.logs.at(-1)!.text).toContain("job")
        expect(yield* TestSession.said(t.session)).toEqual(said)
      })
    )
  }

  it.scoped("[U11] an update of a call that was cancelled is ignored, with a warning", () =>
    Effect.gen(function* () {
      const t = yield* talkJobs({ a: leak(5, Effect.zipRight(update("zero"), Effect.never)) }, [job("a"), "It runs."])
      yield* t.send("Go")
      yield* t.session.cancelTool("a")
      const before = yield* ids(t.session)
      yield* TestSession.advance("10 seconds")
      expect(yield* ids(t.session)).toEqual(before)
      expect(t.logs.map((line) => line.level)).toEqual(["WARN", "WARN"])
    })
  )

  it.scoped("[U11] an update after the session has closed is ignored, with a warning", () =>
    Effect.gen(function* () {
      const t = yield* talkJobs({ a: leak(5, Effect.succeed("done")) }, [job("a"), "Done."])
      yield* t.send("Go")
      yield* t.close
      const before = yield* t.session.history
      yield* TestSession.advance("10 seconds")
      expect(yield* t.session.history).toEqual(before)
      expect((yield* t.events.tags).at(-1)).toBe("SessionClosed")
      expect(t.logs.map((line) => line.level)).toEqual(["WARN", "WARN"])
    })
  )

  it.scoped("[U11] an update of a finalizer while its call is being cancelled comes before the end", () =>
    Effect.gen(function* () {
      const t = yield* talkJobs(
        {
          a: Effect.zipRight(
            update("zero"),
            Effect.onInterrupt(Effect.never, () => RunContext.update({ undone: true }))
          )
        },
        [job("a"), "It runs.", "It was undone."]
      )
      yield* t.send("Go")
      yield* t.session.cancelTool("a")
      yield* TestSession.settle
      expect((yield* ids(t.session)).at(-1)).toBe("a_final")
      expect(yield* t.ends).toEqual(["a_final cancelled"])
    })
  )
})

describe("a context for unit tests", () => {
  const on =
    (members?: Partial<RunContext.Service>) =>
    <A, E>(effect: Effect.Effect<A, E, RunContext.RunContext>): Effect.Effect<A, E> =>
      Effect.provideService(effect, RunContext.RunContext, RunContext.test(members))

  it.effect("[U8] does what there is to do where nobody listens and nobody interferes", () =>
    Effect.gen(function* () {
      const context = RunContext.test()
      expect(yield* context.update("a")).toBeUndefined()
      expect(yield* context.progress(1)).toBeUndefined()
      expect(yield* context.isCancelled).toBe(false)
      expect(yield* RunContext.orCancelled(Effect.succeed(1)).pipe(on())).toEqual(Option.some(1))
      expect(yield* RunContext.foreground(Effect.succeed(2)).pipe(on())).toBe(2)
      expect(yield* RunContext.withFiller(Effect.succeed(3), { say: "Hm." }).pipe(on())).toBe(3)
      yield* RunContext.waitForPlayout.pipe(on())
      yield* RunContext.disallowInterruptions.pipe(on())
      expect(yield* RunContext.call.pipe(on())).toEqual({ callId: "call", name: "tool", arguments: {} })
    })
  )

  it.effect("[U8] has a session that is closed, and fails what needs one", () =>
    Effect.gen(function* () {
      const { session, speech } = RunContext.test()
      const closed = [
        session.send("a"),
        session.run("a"),
        session.say("a"),
        session.generateReply(),
        session.handoff(Agent.make("a", { instructions: "" })),
        session.waitForIdle,
        RunContext.runTask(Agent.task("a", { instructions: "", result: Schema.Struct({}) })).pipe(on())
      ]
      for (const effect of closed) {
        expect(yield* Effect.flip(effect as Effect.Effect<unknown, unknown>)).toMatchObject({ _tag: "SessionClosed" })
      }
      expect(yield* Effect.flip(session.cancelTool("a"))).toBeInstanceOf(AsyncTool.ToolError)
      expect(yield* Effect.flip(on()(RunContext.handoff(Agent.make("a", { instructions: "" }))))).toBeInstanceOf(
        AsyncTool.ToolError
      )
      expect(yield* session.history).toEqual({ items: [] })
      expect(yield* speech.done).toBe(true)
    })
  )

  it.effect("[U8] commit runs to its end, unless cancellation came first", () =>
    Effect.gen(function* () {
      const ran: Array<string> = []
      const book = (what: string) => Effect.sync(() => void ran.push(what))
      const fiber = yield* Effect.fork(on()(RunContext.commit(Effect.zipRight(seconds(5), book("early")))))
      yield* TestSession.advance("1 second")
      const interrupting = yield* Effect.fork(Fiber.interrupt(fiber))
      yield* TestSession.advance("5 seconds")
      yield* Fiber.join(interrupting)
      expect(ran).toEqual(["early"])
      const cancelled = on({ isCancelled: Effect.succeed(true) })
      const late = yield* Effect.exit(cancelled(RunContext.commit(book("late"))))
      expect(Exit.isInterrupted(late)).toBe(true)
      expect(ran).toEqual(["early"])
      expect(yield* cancelled(RunContext.orCancelled(Effect.never))).toEqual(Option.none())
      const { cancelled: asked = Effect.die("it has none") } = RunContext.test({ isCancelled: Effect.succeed(true) })
      yield* asked
    })
  )

  it.effect("[U8] what the test gives is used, and undefined is as good as nothing", () =>
    Effect.gen(function* () {
      const updates: Array<unknown> = []
      const call = { callId: "c1", name: "search", arguments: { city: "Oslo" } }
      const members = {
        call,
        update: (message: unknown) => Effect.sync(() => void updates.push(message)),
        progress: undefined as unknown as RunContext.Service["progress"]
      }
      const handler = Effect.gen(function* () {
        yield* RunContext.update("Searching.")
        yield* RunContext.progress(50)
        return (yield* RunContext.call).callId
      })
      expect(yield* on(members)(handler)).toBe("c1")
      expect(yield* Effect.provide(handler, RunContext.layerTest(members))).toBe("c1")
      expect(updates).toEqual(["Searching.", "Searching."])
    })
  )

  it.effect("[U8] a task's complete has nothing to end", () =>
    on()(Agent.task("a", { instructions: "", result: Schema.Struct({}) }).complete({}))
  )
})
