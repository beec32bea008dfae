/**
 * Calls that begin after their step (`startAfter`), and those that leave their turn without words of their own (`release`).
 */
import { Toolkit } from "@effect/ai"
import { describe, expect } from "@effect/vitest"
import { Cause, Deferred, Effect, Exit, Layer, Schema } from "effect"
import { Agent, AgentSession, AsyncTool, RunContext, SessionEvent } from "effect-meantime"
import { ScriptedModel, TestSession } from "effect-meantime/testing"
import { modelFailed, talk, toolCall, wait } from "./support/talk.js"
import { it } from "./support/virtual.js"

const { fail, finish } = ScriptedModel

/** A handler that says that it began. */
const noted =
  (log: Array<string>, name: string, effect: Effect.Effect<unknown> = Effect.succeed("done")) =>
  () =>
    Effect.zipRight(
      Effect.sync(() => void log.push(name)),
      effect
    )

describe("startAfter", () => {
  it.scoped("[T2] a call with `step` begins once the step has ended, one with `call` as it streams in", () =>
    Effect.gen(function* () {
      const log: Array<string> = []
      const t = yield* talk({
        pace: "instant",
        tools: { now: noted(log, "now"), later: { startAfter: "step", run: noted(log, "later") } },
        script: [[toolCall("later", {}, { id: "a" }), toolCall("now", {}, { id: "b" }), wait("5 seconds"), "so"], "ok"]
      })
      yield* t.session.send("Go")
      yield* TestSession.advance("4 seconds")
      expect(log).toEqual(["now"])
      expect(yield* t.session.runningTools).toMatchObject([{ callId: "a", name: "later" }])
      yield* TestSession.advance("1 second")
      expect(log).toEqual(["now", "later"])
      expect((yield* TestSession.outputs(t.session)).map(({ callId, output }) => [callId, output])).toEqual([
        ["a", "done"],
        ["b", "done"]
      ])
      expect(yield* TestSession.said(t.session)).toEqual(["so", "ok"])
    })
  )

  it.scoped("[T2] the session says it for all tools, and a tool's own word wins; the companions begin at once", () =>
    Effect.gen(function* () {
      const log: Array<string> = []
      const t = yield* talk({
        pace: "instant",
        startAfter: "step",
        tools: {
          own: { startAfter: "call", run: noted(log, "own") },
          long: { allowCancellation: true, startAfter: "call", run: () => Effect.never },
          other: noted(log, "other")
        },
        script: [
          [
            toolCall("long", {}, { id: "l" }),
            toolCall("own", {}, { id: "a" }),
            toolCall("other", {}, { id: "b" }),
            toolCall("cancel_task", { call_id: "l" }, { id: "c" }),
            wait("1 second")
          ],
          "ok"
        ]
      })
      yield* t.session.send("Go")
      yield* TestSession.settle
      expect(log).toEqual(["own"])
      expect(yield* t.events.filter("ToolCallEnded")).toMatchObject([
        { callId: "a", status: "done" },
        { callId: "l", status: "cancelled" },
        { callId: "c", status: "done" }
      ])
      yield* TestSession.advance("1 second")
      expect(log).toEqual(["own", "other"])
    })
  )

  const cut: ReadonlyArray<
    readonly [string, ReadonlyArray<string | ScriptedModel.Content>, RegExp, ReadonlyArray<RegExp>]
  > = [
    ["its limit of tokens", [finish("length")], /limit of tokens/, []],
    ["a filter", [finish("content-filter")], /content filter/, []],
    ["an error of the provider", [finish("error")], /the model failed/, [modelFailed]],
    ["a failure of the model", [fail("no")], /the model failed/, [modelFailed]]
  ]
  for (const [by, rest, reason, logs] of cut) {
    it.scoped(`[T2] [T9] an answer that is cut off by ${by} runs none of them, and says so`, () =>
      Effect.gen(function* () {
        const log: Array<string> = []
        const t = yield* talk({
          pace: "instant",
          logs,
          tools: { now: noted(log, "now"), later: { startAfter: "step", run: noted(log, "later") } },
          script: [
            ["Well", toolCall("later", {}, { id: "a" }), toolCall("now", {}, { id: "b" }), wait(1), ...rest],
            "ok"
          ]
        })
        yield* t.session.send("Go")
        yield* TestSession.advance("1 second")
        expect(log).toEqual(["now"])
        const [first, second] = yield* TestSession.outputs(t.session)
        expect(first).toMatchObject({ callId: "a", isError: true, output: expect.stringMatching(reason) })
        expect(second).toMatchObject({ callId: "b", isError: false })
        expect(yield* t.events.filter("ToolCallStarted", "ToolCallEnded")).toMatchObject([
          { _tag: "ToolCallStarted", call: { callId: "a" } },
          { _tag: "ToolCallStarted", call: { callId: "b" } },
          { _tag: "ToolCallEnded", callId: "b", status: "done" },
          { _tag: "ToolCallEnded", callId: "a", status: "error" }
        ])
      })
    )
  }

  it.scoped("[T2] [R1] `run` comes back when the user interrupts the answer, with the error in what was added", () =>
    Effect.gen(function* () {
      const log: Array<string> = []
      const t = yield* talk({
        tools: { later: { startAfter: "step", run: noted(log, "later") } },
        script: [["Well now", toolCall("later", {}, { id: "a" }), wait("1 minute")], "ok"]
      })
      const running = yield* Effect.fork(t.session.run("Go"))
      yield* TestSession.advance("1 second")
      yield* t.session.interrupt()
      const { items } = yield* running
      expect(items.at(-1)).toMatchObject({ callId: "a", isError: true, output: expect.stringMatching(/interrupted/) })
      expect(log).toEqual([])
    })
  )

  it.scoped("[T2] [S2] nothing of it begins when the session closes in the middle of the answer", () =>
    Effect.gen(function* () {
      const log: Array<string> = []
      const t = yield* talk({
        tools: { later: { startAfter: "step", run: noted(log, "later") } },
        script: [["Well", toolCall("later", {}, { id: "a" }), ScriptedModel.never]]
      })
      yield* t.session.send("Go")
      yield* TestSession.advance("1 second")
      yield* t.close
      expect(log).toEqual([])
      expect(yield* t.events.filter("ToolCallEnded")).toMatchObject([{ callId: "a", status: "error" }])
    })
  )

  it.scoped("[T2] [F7] a pause ends a step well: the model waits for what its calls give", () =>
    Effect.gen(function* () {
      const log: Array<string> = []
      const t = yield* talk({
        pace: "instant",
        tools: { later: { startAfter: "step", run: noted(log, "later") } },
        script: [[toolCall("later", {}, { id: "a" }), finish("pause")], "ok"]
      })
      yield* t.session.run("Go")
      expect(log).toEqual(["later"])
      expect(yield* TestSession.said(t.session)).toEqual(["ok"])
    })
  )

  it.scoped("[L3] any other word is refused, of a tool and of the session", () =>
    Effect.gen(function* () {
      const kit = Toolkit.make(AsyncTool.make("t", { startAfter: "turn" as "step" }))
      const build = (options: Partial<AgentSession.Options<never, []>>, tools: ReadonlyArray<typeof kit>) =>
        AgentSession.make({ agent: Agent.make("a", { instructions: "x", tools }), ...options }).pipe(
          Effect.scoped,
          Effect.provide(Layer.merge(ScriptedModel.layer([]), kit.toLayer({ t: () => Effect.void }))),
          Effect.exit,
          Effect.map((exit) => (Exit.isFailure(exit) ? String(Cause.squash(exit.cause)) : "built"))
        )
      expect(yield* build({}, [kit])).toContain('the option startAfter has to be "call" or "step", not "turn"')
      expect(yield* build({ startAfter: 0 as never }, [])).toContain(
        'startAfter of the session has to be "call" or "step", not 0'
      )
    })
  )
})

describe("release", () => {
  it.scoped("[B7] [U9] by the handler: the turn goes on with the template, and what it ends with is told later", () =>
    Effect.gen(function* () {
      const t = yield* talk({
        pace: "instant",
        tools: {
          report: () =>
            Effect.gen(function* () {
              yield* Effect.sleep("1 second")
              yield* RunContext.release
              yield* RunContext.release
              yield* Effect.sleep("10 seconds")
              yield* RunContext.release
              return "all of it"
            })
        },
        script: [toolCall("report", {}, { id: "a" }), "It takes a while.", "Here it is."]
      })
      yield* t.session.send("Go")
      yield* TestSession.advance("1 second")
      expect(yield* TestSession.said(t.session)).toEqual(["It takes a while."])
      expect(yield* t.events.filter("ToolCallReleased")).toMatchObject([{ callId: "a", by: "handler", at: 1000 }])
      yield* TestSession.advance("10 seconds")
      expect(yield* TestSession.said(t.session)).toEqual(["It takes a while.", "Here it is."])
      expect((yield* TestSession.outputs(t.session)).map(({ callId }) => callId)).toEqual(["a", "a_final"])
      expect(yield* t.events.filter("ToolCallUpdated")).toEqual([])
      expect(yield* t.events.filter("ToolCallReleased")).toHaveLength(1)
    })
  )

  it.scoped("[U9] [U1] after an update it does nothing, and an update after it is a later one", () =>
    Effect.gen(function* () {
      const t = yield* talk({
        pace: "instant",
        tools: {
          first: () => Effect.zipRight(RunContext.update("one"), RunContext.release),
          second: () => Effect.zipRight(RunContext.release, RunContext.update("two"))
        },
        script: [[toolCall("first", {}, { id: "a" }), toolCall("second", {}, { id: "b" })], "ok", "ok"]
      })
      yield* t.session.run("Go")
      expect(yield* t.events.filter("ToolCallReleased")).toMatchObject([
        { callId: "a", by: "update" },
        { callId: "b", by: "handler" }
      ])
      expect(yield* t.events.filter("ToolCallUpdated")).toMatchObject([
        { id: "a", message: "one" },
        { id: "b_update_1", message: "two" }
      ])
    })
  )

  it.scoped("[U9] from outside: an inline call, once; anything else is a ToolError", () =>
    Effect.gen(function* () {
      const t = yield* talk({
        pace: "instant",
        tools: { long: () => Effect.as(Effect.sleep("1 minute"), "done"), quick: () => Effect.succeed("done") },
        script: [[toolCall("quick", {}, { id: "q" }), toolCall("long", {}, { id: "a" })], "Meanwhile.", "Done."]
      })
      const refused = (id: string) =>
        Effect.map(Effect.flip(t.session.release(id)), ({ _tag, message }) => [_tag, message])
      yield* t.session.send("Go")
      yield* TestSession.settle
      expect(yield* refused("nobody")).toEqual(["ToolError", 'There is no call with the id "nobody".'])
      expect(yield* refused("q")).toEqual(["ToolError", "Call q has already ended."])
      yield* t.session.release("a")
      yield* TestSession.settle
      expect(yield* TestSession.said(t.session)).toEqual(["Meanwhile."])
      expect(yield* t.events.filter("ToolCallReleased")).toMatchObject([{ callId: "a", by: "program" }])
      expect(yield* refused("a")).toEqual(["ToolError", "Call a has already left its turn."])
      yield* TestSession.advance("1 minute")
      expect(yield* refused("a")).toEqual(["ToolError", "Call a has already ended."])
      expect(yield* refused("a_final")).toMatchObject(["ToolError", expect.stringContaining("report of another call")])
      expect(yield* TestSession.said(t.session)).toEqual(["Meanwhile.", "Done."])
    })
  )

  it.scoped("[U9] a fiber that a handler left behind releases nothing", () =>
    Effect.gen(function* () {
      const left = yield* Deferred.make<void>()
      const t = yield* talk({
        pace: "instant",
        tools: {
          leak: () => Effect.as(Effect.forkDaemon(Effect.zipRight(Deferred.await(left), RunContext.release)), "done")
        },
        script: [toolCall("leak", {}, { id: "a" }), "ok"]
      })
      yield* t.session.run("Go")
      yield* Deferred.succeed(left, undefined)
      yield* TestSession.settle
      expect(yield* t.events.filter("ToolCallReleased")).toEqual([])
    })
  )

  it.effect("[U8] [U9] outside a session, and in a context without it, it does nothing", () =>
    Effect.gen(function* () {
      const { release: _, ...older } = RunContext.test()
      yield* Effect.provideService(RunContext.release, RunContext.RunContext, older)
      yield* Effect.provide(RunContext.release, RunContext.layerTest())
      const kit = Toolkit.make(AsyncTool.make("t", { success: Schema.String }))
      const executed = yield* AsyncTool.execute(kit, { name: "t", arguments: {} }).pipe(
        Effect.provide(kit.toLayer({ t: () => Effect.as(RunContext.release, "done") }))
      )
      expect(executed).toEqual({ output: "done", isError: false, updates: [] })
    })
  )

  it.effect("[E1] events from before decode as they did", () =>
    Effect.gen(function* () {
      for (const by of ["update", "timer", "model", "handler", "program"]) {
        const event = { _tag: "ToolCallReleased", at: 0, callId: "a", by }
        expect(yield* Schema.decodeUnknown(SessionEvent.SessionEvent)(event)).toEqual(event)
      }
    })
  )
})

describe("listeners of a call outside a session", () => {
  const kit = Toolkit.make(AsyncTool.make("t", { success: Schema.String }))
  const live = kit.toLayer({
    t: () =>
      RunContext.progress({ percent: 10 }).pipe(
        Effect.zipRight(RunContext.update({ found: [1] })),
        Effect.zipRight(RunContext.progress(new Error("odd"))),
        Effect.zipRight(RunContext.update("two")),
        Effect.as("done")
      )
  })

  it.effect("[U8] [U10] get updates and progress as they come, as JSON of their own", () =>
    Effect.gen(function* () {
      const seen: Array<unknown> = []
      const executed = yield* AsyncTool.execute(
        kit,
        { name: "t", arguments: {} },
        {
          onUpdate: (value) => {
            seen.push(["update", structuredClone(value)])
            if (typeof value === "object") (value as { found: Array<number> }).found.push(2)
          },
          onProgress: (value) => seen.push(["progress", value])
        }
      ).pipe(Effect.provide(live))
      expect(seen).toMatchObject([
        ["progress", { percent: 10 }],
        ["update", { found: [1] }],
        ["progress", expect.stringContaining("odd")],
        ["update", "two"]
      ])
      expect(executed).toEqual({ output: "done", isError: false, updates: [{ found: [1] }, "two"] })
    })
  )

  it.effect("[U8] one that throws does not stop the call, and one that is no function is refused", () =>
    Effect.gen(function* () {
      const boom = () => {
        throw new Error("boom")
      }
      const call = { name: "t", arguments: {} }
      const executed = yield* AsyncTool.execute(kit, call, { onUpdate: boom, onProgress: boom }).pipe(
        Effect.provide(live)
      )
      expect(executed).toEqual({ output: "done", isError: false, updates: [{ found: [1] }, "two"] })
      const refused = yield* Effect.exit(
        Effect.provide(AsyncTool.execute(kit, call, { onUpdate: "log" as never }), live)
      )
      expect(String(Exit.isFailure(refused) && Cause.squash(refused.cause))).toContain(
        "The option onUpdate of AsyncTool.execute has to be a function"
      )
    })
  )
})
