import { LanguageModel } from "@effect/ai"
import { describe, expect } from "@effect/vitest"
import { Deferred, Effect, Fiber, Stream } from "effect"
import { Agent, AgentSession, type SessionEvent, SessionModel } from "effect-meantime"
import { ScriptedModel, TestSession } from "effect-meantime/testing"
import { modelFailed, talk } from "./support/talk.js"
import { it } from "./support/virtual.js"

const { fail, finish, never, part, reasoning, text, toolCall } = ScriptedModel

type Event = SessionEvent.SessionEvent

const deltas = ["TextDelta", "ReasoningDelta", "ToolInputDelta"] as const
const host = Agent.make("host", { instructions: "Talk." })

/** What a page shows of events, a line each. */
const line = (event: Event): string => {
  switch (event._tag) {
    case "TextDelta":
      return `${event.speechId} writes ${JSON.stringify(event.text)}`
    case "ReasoningDelta":
      return `${event.speechId} thinks ${JSON.stringify(event.text)}`
    case "ToolInputDelta":
      return `${event.callId} gets ${event.text}`
    case "ItemAdded":
      return event.item._tag === "Message" ? `${event.item.role}: ${event.item.text}` : event.item._tag
    case "ToolCallStarted":
      return `${event.call.callId} starts`
    case "ToolCallEnded":
      return `${event.callId} ends`
    case "StepEnded":
      return `step: ${event.finishReason ?? "cut"}`
    case "SpeechEnded":
      return `${event.speechId} ends`
    default:
      return event._tag
  }
}

const shown = (events: ReadonlyArray<Event>) => events.filter(({ _tag }) => !/State|SpeechCreated/.test(_tag)).map(line)

const written = (events: ReadonlyArray<Event>) =>
  events.flatMap((event) => (event._tag === "TextDelta" ? [event.text] : [])).join("")

const look = { look: () => Effect.succeed("seen") }

describe("deltas", () => {
  it.scoped("[B6] what is written comes as it is written, in one order with all other events", () =>
    Effect.gen(function* () {
      const { events, session } = yield* talk({
        deltas: true,
        pace: "instant",
        tools: look,
        script: [
          [reasoning("Where?", { chunks: ["Whe", "re?"] }), "Let me look.", toolCall("look", { n: 1 }, { id: "a" })],
          text("Seen it.", { chunks: ["Seen", "", " it."] })
        ]
      })
      yield* TestSession.drive(session.run("Look"))
      expect(shown(yield* events.all)).toEqual([
        "user: Look",
        'speech_1 thinks "Whe"',
        'speech_1 thinks "re?"',
        'speech_1 writes "Let "',
        'speech_1 writes "me "',
        'speech_1 writes "look."',
        "Reasoning",
        "assistant: Let me look.",
        'a gets {"n":1}',
        "a starts",
        "FunctionCall",
        "a ends",
        "step: tool-calls",
        "FunctionCallOutput",
        'speech_1 writes "Seen"',
        'speech_1 writes " it."',
        "assistant: Seen it.",
        "step: stop",
        "speech_1 ends"
      ])
    })
  )

  it.scoped("[B6] without the option there are none, and a seam is not asked for them", () =>
    Effect.gen(function* () {
      const asked: Array<SessionModel.Request> = []
      const model = yield* Effect.provide(LanguageModel.LanguageModel, ScriptedModel.layer(["Hi.", "Hi.", "Hi."]))
      const inner = SessionModel.fromLanguageModel(model)
      const seam = SessionModel.layer({
        run: (request, onParts) => {
          asked.push(request)
          return inner.run?.(request, onParts) ?? Effect.void
        }
      })
      const told = (options: { readonly deltas?: boolean }) =>
        Effect.gen(function* () {
          const { session } = yield* TestSession.make({ agent: host, ...options })
          const events = yield* TestSession.collect(session)
          yield* TestSession.drive(session.run("Hi"))
          return yield* events.filter(...deltas)
        }).pipe(Effect.provide([seam, ScriptedModel.layer([])]))
      expect(yield* told({})).toEqual([])
      expect(yield* told({ deltas: false })).toEqual([])
      expect((yield* told({ deltas: true })).length).toBe(1)
      expect(asked.map((request) => request.deltas)).toEqual([undefined, undefined, true])
      expect(asked[0]).not.toHaveProperty("deltas")
    })
  )

  it.scoped("[B6] what is written comes before it is played, and all of it, whatever is heard of it", () =>
    Effect.gen(function* () {
      const { events, session } = yield* talk({ deltas: true, script: ["One two three four five.", "Yes?"] })
      yield* session.send("Count")
      yield* TestSession.advance("1 second")
      expect(written(yield* events.all)).toBe("One two three four five.")
      yield* session.send("Stop")
      yield* TestSession.advance("10 seconds")
      expect((yield* events.filter("ItemAdded")).map(line)).toEqual([
        "user: Count",
        "assistant: One ",
        "user: Stop",
        "assistant: Yes?"
      ])
    })
  )

  it.scoped("[B6] say is written as well, a text in one piece and a stream as it comes", () =>
    Effect.gen(function* () {
      const { events, session } = yield* talk({ deltas: true, script: [] })
      const one = yield* session.say("Welcome.")
      const two = yield* session.say(Stream.make("How ", "", "are you?"))
      yield* TestSession.advance("20 seconds")
      expect((yield* events.filter("TextDelta")).map(({ speechId, text }) => [speechId, text])).toEqual([
        [one.id, "Welcome."],
        [two.id, "How "],
        [two.id, "are you?"]
      ])
      // a text is written when its turn has come, and before it is said
      const all = shown(yield* events.all)
      expect(all.indexOf(`${one.id} ends`)).toBeLessThan(all.indexOf(`${two.id} writes "How "`))
    })
  )

  it.scoped("[B6, F7] of a step that is cut or fails no delta comes behind its end", () =>
    Effect.gen(function* () {
      const { events, session } = yield* talk({
        deltas: true,
        pace: "instant",
        logs: [modelFailed],
        script: [["Half", never], ["Half", fail("overloaded")], "Fine."]
      })
      yield* session.send("One")
      yield* TestSession.settle
      yield* session.send("Two")
      yield* TestSession.settle
      yield* TestSession.drive(session.run("Three"))
      expect(shown(yield* events.all)).toEqual([
        "user: One",
        'speech_1 writes "Half"',
        "assistant: Half",
        "step: cut",
        "speech_1 ends",
        "user: Two",
        'speech_2 writes "Half"',
        "assistant: Half",
        "step: cut",
        "SessionError",
        "speech_2 ends",
        "user: Three",
        'speech_3 writes "Fine."',
        "assistant: Fine.",
        "step: stop",
        "speech_3 ends"
      ])
    })
  )

  it.scoped("[B6, T3] a step that is asked for once more ends first; its deltas are void", () =>
    Effect.gen(function* () {
      const { events, session } = yield* talk({
        deltas: true,
        pace: "instant",
        tools: look,
        script: [
          [
            "Well,",
            part({ type: "tool-params-delta", id: "a", delta: '{"n":' }),
            part({ type: "text-start" } as never)
          ],
          [toolCall("look", { n: 2 }, { id: "a" })],
          "Seen."
        ]
      })
      yield* TestSession.drive(session.run("Look"))
      expect(shown(yield* events.all)).toEqual([
        "user: Look",
        'speech_1 writes "Well,"',
        "assistant: Well,",
        'a gets {"n":',
        "step: cut",
        // the id is free again: the first call of this id never came
        'a gets {"n":2}',
        "a starts",
        "FunctionCall",
        "a ends",
        "step: tool-calls",
        "FunctionCallOutput",
        'speech_1 writes "Seen."',
        "assistant: Seen.",
        "step: stop",
        "speech_1 ends"
      ])
    })
  )

  it.scoped("[B6, T11] input is told under the id that the call gets, and of calls of the provider's own, too", () =>
    Effect.gen(function* () {
      const { events, session } = yield* talk({
        deltas: true,
        pace: "instant",
        tools: look,
        script: [
          toolCall("look", { n: 1 }, { id: "a" }),
          [
            part({ type: "tool-params-delta", id: "a", delta: '{"n"' }),
            part({ type: "tool-params-delta", id: "b\n", delta: "{" }),
            part({ type: "tool-params-delta", id: "a", delta: ":2}" }),
            part({ type: "tool-call", id: "b\n", name: "look", params: {} }),
            part({ type: "tool-call", id: "a", name: "look", params: { n: 2 } })
          ],
          "Seen."
        ]
      })
      yield* TestSession.drive(session.run("Look"))
      const told = (yield* events.filter("ToolInputDelta", "ToolCallStarted")).map(line)
      expect(told).toEqual([
        'a gets {"n":1}',
        "a starts",
        'a_1 gets {"n"',
        "b_ gets {",
        "a_1 gets :2}",
        "b_ starts",
        "a_1 starts"
      ])
    })
  )

  it.scoped("[B6, T1] input of a call that the provider runs itself has the id of its item", () =>
    Effect.gen(function* () {
      const parts = [
        { type: "tool-params-delta", id: "w", delta: '{"q":1}' },
        { type: "tool-call", id: "w", name: "web", params: { q: 1 }, providerExecuted: true },
        { type: "tool-result", id: "w", name: "web", result: "found", isFailure: false, providerExecuted: true },
        { type: "finish", reason: "stop", usage: { inputTokens: 1, outputTokens: 1, totalTokens: 2 } }
      ] as const
      const seam = SessionModel.layer({ run: (_, onParts) => Effect.sync(() => onParts(parts)) })
      const { session } = yield* TestSession.make({ agent: host, deltas: true }).pipe(
        Effect.provide([seam, ScriptedModel.layer([])])
      )
      const events = yield* TestSession.collect(session)
      const { items } = yield* TestSession.drive(session.run("Search"))
      expect((yield* events.filter("ToolInputDelta")).map(({ callId }) => callId)).toEqual(["w"])
      expect(items.flatMap((item) => ("callId" in item ? [item.callId] : []))).toEqual(["w", "w"])
    })
  )

  it.scoped("[B6] deltas that cannot be read are left out: the call is there all the same", () =>
    Effect.gen(function* () {
      const odd = [
        { type: "tool-params-delta", id: 1, delta: "x" },
        { type: "tool-params-delta", id: "a" },
        { type: "tool-params-delta", id: "a", delta: { no: "text" } },
        { type: "tool-params-delta" },
        { type: "text-start", id: "t" },
        { type: "text-delta", id: "t", delta: "Fine." },
        { type: "finish", reason: "stop" }
      ]
      // what a seam of the program gives may be anything
      const seam = SessionModel.layer({ run: (_, onParts) => Effect.sync(() => onParts(odd as never)) })
      const { session } = yield* TestSession.make({ agent: host, deltas: true }).pipe(
        Effect.provide([seam, ScriptedModel.layer([])])
      )
      const events = yield* TestSession.collect(session)
      expect((yield* TestSession.drive(session.run("Hi"))).text).toBe("Fine.")
      expect((yield* events.filter(...deltas)).map(line)).toEqual(['speech_1 writes "Fine."'])
    })
  )

  it.scoped("[B6] the option is a boolean, or the session is not built", () =>
    Effect.gen(function* () {
      const built = AgentSession.make({ agent: host, deltas: "yes" as never })
      const exit = yield* Effect.exit(Effect.provide(built, ScriptedModel.layer([])))
      expect(String(exit)).toContain("has to be true or false")
    })
  )
})

describe("deltas and those who listen", () => {
  /** A turn that writes so many pieces. */
  const pieces = (count: number) => [
    text("", { chunks: Array.from({ length: count }, (_, i) => `${i} `) }),
    finish("stop")
  ]

  const session = (script: ScriptedModel.Script, options: object = {}) =>
    Effect.provide(TestSession.make({ agent: host, deltas: true, ...options }), ScriptedModel.layer(script))

  it.scoped("[B6, E2] before anybody listens only the last ones are kept, and no other event is lost for them", () =>
    Effect.gen(function* () {
      const test = yield* session([pieces(5000), pieces(5000), pieces(3)])
      for (const said of ["One", "Two", "Three"]) yield* TestSession.drive(test.session.run(said))
      yield* test.close
      const events = Array.from(yield* Stream.runCollect(test.session.events))
      const kept = events.filter(({ _tag }) => _tag === "TextDelta")
      expect(kept.length).toBeLessThan(128)
      expect(kept.slice(-3).map(line)).toEqual(["0 ", "1 ", "2 "].map((piece) => `speech_3 writes "${piece}"`))
      // the items have what the deltas said
      expect(events.filter(({ _tag }) => _tag === "EventsMissed")).toEqual([])
      expect(events.filter(({ _tag }) => _tag === "ItemAdded").length).toBe(6)
      expect(events.filter(({ _tag }) => _tag === "StepEnded").length).toBe(3)
    })
  )

  it.scoped("[B6, E2] a listener that comes right behind the first words has them all", () =>
    Effect.gen(function* () {
      const test = yield* session([])
      yield* test.session.say("Welcome.")
      const fiber = yield* Effect.fork(
        test.session.events.pipe(
          Stream.filter(({ _tag }) => _tag === "TextDelta"),
          Stream.take(1),
          Stream.runCollect
        )
      )
      expect(Array.from(yield* Fiber.join(fiber)).map(line)).toEqual(['speech_1 writes "Welcome."'])
    })
  )

  it.scoped("[B6, E2] a listener that falls behind loses deltas before all else, and is told how many", () =>
    Effect.gen(function* () {
      const test = yield* session([pieces(3000), pieces(3)], { eventBuffer: 50 })
      const gate = yield* Deferred.make<void>()
      const seen: Array<Event> = []
      const fiber = yield* test.session.events.pipe(
        Stream.runForEach((event) =>
          Effect.zipRight(
            Effect.sync(() => void seen.push(event)),
            // the first event holds it up
            seen.length > 1 ? Effect.void : Deferred.await(gate)
          )
        ),
        Effect.fork
      )
      yield* TestSession.settle
      for (const said of ["One", "Two"]) yield* TestSession.drive(test.session.run(said))
      yield* Deferred.succeed(gate, undefined)
      yield* test.close
      yield* Fiber.join(fiber)
      const missed = seen.filter((event) => event._tag === "EventsMissed")
      const others = seen.filter(({ _tag }) => _tag !== "TextDelta" && _tag !== "EventsMissed")
      const written = seen.filter(({ _tag }) => _tag === "TextDelta")
      expect(others.filter(({ _tag }) => _tag === "ItemAdded").length).toBe(4)
      expect(others.filter(({ _tag }) => _tag === "SpeechEnded").length).toBe(2)
      expect(missed).toEqual([{ _tag: "EventsMissed", at: 0, count: 3003 - written.length }])
      expect(written.slice(-1).map(line)).toEqual(['speech_2 writes "2 "'])
      // in order all the same
      const at = (tag: Event["_tag"]) => seen.findLastIndex(({ _tag }) => _tag === tag)
      expect(at("TextDelta")).toBeLessThan(at("SpeechEnded"))
    })
  )
})
