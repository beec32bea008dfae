import { describe, expect } from "@effect/vitest"
import { Effect, Fiber, Schema } from "effect"
import { Agent, type AgentSession, AsyncTool, RunContext, SessionEvent, SessionModel } from "effect-meantime"
import { ScriptedModel, TestSession } from "effect-meantime/testing"
import { modelFailed, talk, toolkit } from "./support/talk.js"
import { it } from "./support/virtual.js"

const { fail, finish, never, part, text, toolCall, wait } = ScriptedModel

const used = (inputTokens: number, outputTokens: number, more: object = {}) => ({ inputTokens, outputTokens, ...more })
const model = (modelId: string) =>
  part({ type: "response-metadata", id: "r", modelId, timestamp: "2026-01-01T00:00:00.000Z" })

const works = {
  look: () => Effect.as(Effect.sleep("1 second"), "seen"),
  watch: () => Effect.zipRight(RunContext.update("watching"), Effect.as(Effect.sleep("10 seconds"), "watched")),
  next: () => Effect.zipRight(RunContext.update("watching"), Effect.as(Effect.sleep("5 seconds"), "watched"))
}

describe("the usage of model steps", () => {
  it.scoped("[B4] each step tells once what it used, who spoke and which model it was", () =>
    Effect.gen(function* () {
      const { events, session } = yield* talk({
        pace: "instant",
        tools: works,
        script: [
          [model("m-1"), toolCall("look"), finish("tool-calls", used(10, 2, { totalTokens: 12 }))],
          [model("m-2"), "Seen.", finish("stop", used(20, 3, { reasoningTokens: 1, cachedInputTokens: 5 }))]
        ]
      })
      const speech = yield* session.send("Look")
      yield* TestSession.drive(speech.wait)
      expect((yield* events.filter("StepEnded")).map(({ at: _, ...event }) => event)).toEqual([
        {
          _tag: "StepEnded",
          speechId: speech.id,
          agent: "helper",
          model: "m-1",
          finishReason: "tool-calls",
          usage: { inputTokens: 10, outputTokens: 2, totalTokens: 12 }
        },
        {
          _tag: "StepEnded",
          speechId: speech.id,
          agent: "helper",
          model: "m-2",
          finishReason: "stop",
          usage: { inputTokens: 20, outputTokens: 3, reasoningTokens: 1, cachedInputTokens: 5 }
        }
      ])
      expect(yield* speech.usage).toEqual({
        inputTokens: 30,
        outputTokens: 5,
        totalTokens: 12,
        reasoningTokens: 1,
        cachedInputTokens: 5
      })
    })
  )

  it.scoped("[B4] run sums its turn and the deferred replies that it waited for, and nothing of another turn", () =>
    Effect.gen(function* () {
      const { events, session } = yield* talk({
        pace: "instant",
        tools: works,
        script: [
          ["Before.", finish("stop", used(1000, 1000))],
          [toolCall("watch", {}, { id: "w" }), finish("tool-calls", used(1, 10))],
          ["At it.", finish("stop", used(2, 20))],
          ["Watched.", finish("stop", used(3, 30, { cachedInputTokens: 1 }))]
        ]
      })
      yield* TestSession.drive(session.run("Before"))
      const { usage } = yield* TestSession.drive(session.run("Watch"))
      expect(usage).toEqual({ inputTokens: 6, outputTokens: 60, cachedInputTokens: 1 })
      const [, , , reply] = yield* events.filter("StepEnded")
      expect(reply?.speechId).toBe((yield* events.filter("ReplyScheduled"))[0]?.speechId)
    })
  )

  it.scoped("[B4] what nobody reported is absent, in the event, the speech and the result, and never 0", () =>
    Effect.gen(function* () {
      const { events, session } = yield* talk({ pace: "instant", script: ["Hi.", "Hi again."] })
      const speech = yield* session.send("Hi")
      yield* TestSession.drive(speech.wait)
      expect(yield* speech.usage).toEqual({})
      expect((yield* TestSession.drive(session.run("Hi"))).usage).toEqual({})
      for (const event of yield* events.filter("StepEnded")) {
        expect(event).not.toHaveProperty("usage")
        expect(event).not.toHaveProperty("model")
      }
      // and 0 is 0
      expect(Schema.decodeUnknownSync(SessionEvent.Usage)({ inputTokens: 0 })).toEqual({ inputTokens: 0 })
    })
  )

  it.scoped("[B4] a reported 0 stays 0, and one step without usage does not take that of others away", () =>
    Effect.gen(function* () {
      const { session } = yield* talk({
        pace: "instant",
        tools: works,
        script: [[toolCall("look"), finish("tool-calls", { cachedInputTokens: 0, outputTokens: 4 })], "Seen."]
      })
      expect((yield* TestSession.drive(session.run("Look"))).usage).toEqual({ cachedInputTokens: 0, outputTokens: 4 })
    })
  )

  it.scoped("[B4] a step that is interrupted has its end, before the speech has, and no reason of the model's", () =>
    Effect.gen(function* () {
      const { events, session } = yield* talk({
        script: [[model("m"), text("One two three four.", { id: "t" }), never], "Yes?"]
      })
      const speech = yield* session.send("Count")
      yield* TestSession.advance("2 seconds")
      expect(yield* events.filter("StepEnded")).toEqual([])
      yield* session.send("Stop")
      yield* TestSession.advance("10 seconds")
      const told = yield* events.filter("StepEnded", "SpeechEnded")
      expect(told.map(({ _tag, speechId }) => [_tag, speechId])).toEqual([
        ["StepEnded", speech.id],
        ["SpeechEnded", speech.id],
        ["StepEnded", "speech_2"],
        ["SpeechEnded", "speech_2"]
      ])
      expect(told[0]).toEqual({ _tag: "StepEnded", at: 2000, speechId: speech.id, agent: "helper", model: "m" })
    })
  )

  it.scoped("[B4] what was used of an answer counts, also if it is cut while it is played", () =>
    Effect.gen(function* () {
      const { events, session } = yield* talk({
        script: [["One two three four five six.", finish("stop", used(5, 6))], "Yes?"]
      })
      const speech = yield* session.send("Count")
      yield* TestSession.advance("1 second")
      // the model has ended; what it wrote is still played
      expect((yield* events.filter("StepEnded")).length).toBe(1)
      yield* session.send("Stop")
      yield* TestSession.advance("10 seconds")
      expect((yield* events.filter("StepEnded")).length).toBe(2)
      expect(yield* speech.usage).toEqual(used(5, 6))
    })
  )

  it.scoped("[B4, F7] a step that fails has its end, and what it reported before counts", () =>
    Effect.gen(function* () {
      const { events, session } = yield* talk({
        pace: "instant",
        logs: [modelFailed],
        script: [["Half", fail("overloaded")], [finish("error", used(7, 1))], "Fine."]
      })
      for (const line of ["One", "Two", "Three"]) yield* TestSession.drive(Effect.ignore(session.run(line)))
      expect((yield* events.filter("StepEnded")).map(({ finishReason, usage }) => [finishReason, usage])).toEqual([
        [undefined, undefined],
        ["error", used(7, 1)],
        ["stop", undefined]
      ])
    })
  )

  it.scoped("[B4, M6] calls where none are allowed end their step, and get one more with an end of its own", () =>
    Effect.gen(function* () {
      const { events, session } = yield* talk({
        pace: "instant",
        tools: works,
        maxToolSteps: 0,
        script: [
          [toolCall("look"), finish("tool-calls", used(1, 1))],
          ["No.", finish("stop", used(2, 2))]
        ]
      })
      const { usage } = yield* TestSession.drive(session.run("Look"))
      expect((yield* events.filter("StepEnded")).map((event) => event.finishReason)).toEqual(["tool-calls", "stop"])
      expect(usage).toEqual(used(3, 3))
    })
  )

  it.scoped("[B4] a text that is said is no model step", () =>
    Effect.gen(function* () {
      const { events, session } = yield* talk({ pace: "instant", script: [] })
      const speech = yield* session.say("Welcome.")
      yield* TestSession.drive(speech.wait)
      expect(yield* events.filter("StepEnded")).toEqual([])
      expect(yield* speech.usage).toEqual({})
    })
  )

  it.scoped("[B4] a step that waits for its calls has ended: its usage is there before the turn is over", () =>
    Effect.gen(function* () {
      const { session } = yield* talk({
        pace: "instant",
        tools: works,
        script: [
          [toolCall("look"), finish("tool-calls", used(1, 2))],
          [wait("5 seconds"), "Seen."]
        ]
      })
      const speech = yield* session.send("Look")
      yield* TestSession.advance("500 millis")
      expect(yield* speech.done).toBe(false)
      expect(yield* speech.usage).toEqual(used(1, 2))
      yield* TestSession.drive(speech.wait)
    })
  )

  it.scoped("[B4] two turns that share a deferred reply both have what it used", () =>
    Effect.gen(function* () {
      const { session } = yield* talk({
        pace: "instant",
        tools: works,
        script: [
          [toolCall("watch"), finish("tool-calls", { outputTokens: 1 })],
          ["At it.", finish("stop", { outputTokens: 10 })],
          [toolCall("next"), finish("tool-calls", { outputTokens: 2 })],
          ["At that, too.", finish("stop", { outputTokens: 20 })],
          ["Both.", finish("stop", { outputTokens: 100 })]
        ]
      })
      const one = yield* Effect.fork(session.run("One"))
      yield* TestSession.advance("1 second")
      const two = yield* Effect.fork(session.run("Two"))
      yield* TestSession.advance("1 second")
      yield* Effect.scoped(Effect.zipRight(session.claimUserTurn, TestSession.advance("20 seconds")))
      const results = yield* TestSession.drive(Effect.all([Fiber.join(one), Fiber.join(two)]))
      expect(results.map(({ usage }) => usage.outputTokens)).toEqual([111, 122])
    })
  )

  it.scoped("[B4] what is no count is dropped, whatever the seam gives, and the answer stays", () =>
    Effect.gen(function* () {
      const odd = [
        { inputTokens: Number.NaN, outputTokens: -1, totalTokens: "12", reasoningTokens: 1.5, cachedInputTokens: 3 },
        { inputTokens: Number.POSITIVE_INFINITY, outputTokens: null, totalTokens: {}, reasoningTokens: 7n },
        null,
        "many",
        [1, 2],
        undefined,
        {
          get inputTokens() {
            throw new Error("no")
          },
          outputTokens: 4
        }
      ]
      let asked = 0
      const seam = SessionModel.layer({
        run: (_, onParts) =>
          Effect.sync(() => {
            onParts([
              { type: "text-start", id: "t" },
              { type: "text-delta", id: "t", delta: `Answer ${asked}.` },
              { type: "text-end", id: "t" },
              // what a seam of the program gives may be anything
              { type: "finish", reason: "stop", usage: odd[asked++] as any }
            ])
          })
      })
      const { session } = yield* TestSession.make({ agent: Agent.make("host", { instructions: "Talk." }) }).pipe(
        Effect.provide([seam, ScriptedModel.layer([])])
      )
      const results = yield* Effect.forEach(odd, (_, i) => TestSession.drive(session.run(`${i}`)))
      expect(results.map(({ text }) => text)).toEqual(odd.map((_, i) => `Answer ${i}.`))
      expect(results.map(({ usage }) => usage)).toEqual([
        { cachedInputTokens: 3 },
        {},
        {},
        {},
        {},
        {},
        { outputTokens: 4 }
      ])
    })
  )

  it.scoped("[B4] usage that is reported in two parts is put together, the later word wins", () =>
    Effect.gen(function* () {
      const usage = (counts: object) =>
        part({
          type: "finish",
          reason: "stop",
          usage: { inputTokens: undefined, outputTokens: undefined, totalTokens: undefined, ...counts }
        })
      const { session } = yield* talk({
        pace: "instant",
        script: [["Hi.", usage({ inputTokens: 5, outputTokens: 1 }), usage({ outputTokens: 9 })]]
      })
      expect((yield* TestSession.drive(session.run("Hi"))).usage).toEqual({ inputTokens: 5, outputTokens: 9 })
    })
  )

  it.scoped("[B4] the events of steps go through JSON, and a handle outside any session has used nothing", () =>
    Effect.gen(function* () {
      const { events, session } = yield* talk({
        pace: "instant",
        script: [[model("m"), "Hi.", finish("stop", used(1, 2))]]
      })
      yield* TestSession.drive(session.run("Hi"))
      const [event] = yield* events.filter("StepEnded")
      const json = JSON.parse(
        JSON.stringify(Schema.encodeSync(SessionEvent.SessionEvent)(event as SessionEvent.StepEnded))
      )
      expect(Schema.decodeUnknownSync(SessionEvent.SessionEvent)(json)).toEqual(event)
      let outside: AgentSession.Usage | undefined
      const { kit, layer } = toolkit({
        ask: () =>
          Effect.gen(function* () {
            const { speech } = yield* RunContext.RunContext
            outside = yield* speech.usage
            return "asked"
          })
      })
      yield* Effect.provide(AsyncTool.execute(kit, { name: "ask", arguments: {} }), layer)
      expect(outside).toEqual({})
    })
  )
})
