import { Toolkit } from "@effect/ai"
import { describe, expect } from "@effect/vitest"
import { Arbitrary, Chunk, Deferred, Effect, FastCheck, Fiber, type Layer, Schema, Stream } from "effect"
import { Agent, AgentOutput, AsyncTool, RunContext, SessionEvent } from "effect-meantime"
import { ScriptedModel, TestSession } from "effect-meantime/testing"
import { wire } from "./support/json.js"
import { inVirtualTime, silent } from "./support/requests.js"
import { it } from "./support/virtual.js"

const { fail, toolCall, wait } = ScriptedModel

const Work = AsyncTool.make("work", {
  description: "Reports, then ends.",
  parameters: { seconds: Schema.Number },
  success: Schema.Struct({ ok: Schema.Boolean }),
  allowCancellation: true
})
const Late = AsyncTool.make("late", { success: Schema.String, releaseAfter: "2 seconds", messages: true })
const Count = AsyncTool.make("count", { parameters: { to: Schema.Number }, success: Schema.Number })
const Chatter = AsyncTool.make("chatter", { success: Schema.String })
const Careful = AsyncTool.make("careful", { needsApproval: true })
const kit = Toolkit.make(Work, Late, Count, Chatter, Careful)
const kitLive = kit.toLayer({
  work: ({ seconds }) =>
    RunContext.progress({ percent: 0 }).pipe(
      Effect.zipRight(RunContext.update("started")),
      Effect.zipRight(Effect.sleep(`${seconds} seconds`)),
      Effect.zipRight(RunContext.update(new Date(0))),
      Effect.zipRight(RunContext.progress(Number.NaN)),
      Effect.zipRight(Effect.sleep(`${seconds} seconds`)),
      Effect.as({ ok: true })
    ),
  careful: () => Effect.void,
  late: () => Effect.as(Effect.sleep("1 hour"), "late"),
  chatter: () =>
    Effect.as(
      Effect.forEach([1, 2, 3], (i) => RunContext.update(i)),
      "enough"
    ),
  count: ({ to }) =>
    Effect.forEach(
      Array.from({ length: to }, (_, i) => i),
      (i) => Effect.zipRight(RunContext.progress(i), i % 64 === 63 ? Effect.yieldNow() : Effect.void),
      { discard: true }
    ).pipe(Effect.as(to))
})
const Worker = Agent.make("worker", { instructions: "You work.", tools: [kit] })
const Second = Agent.make("second", { instructions: "You follow." })

const working =
  (script: ScriptedModel.Script) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    Effect.provide(effect, [ScriptedModel.layer(script), kitLive, silent])

const encode = Schema.encodeSync(SessionEvent.SessionEvent)
const decode = Schema.decodeUnknownSync(SessionEvent.SessionEvent)

const everything: Record<Exclude<SessionEvent.SessionEvent["_tag"], "EventsMissed">, true> = {
  UserStateChanged: true,
  UserTurnPartial: true,
  AgentStateChanged: true,
  SpeechCreated: true,
  SpeechEnded: true,
  StepEnded: true,
  TextDelta: true,
  ReasoningDelta: true,
  ToolInputDelta: true,
  ItemAdded: true,
  ToolCallStarted: true,
  ToolCallUpdated: true,
  ToolCallProgress: true,
  ToolCallReleased: true,
  ToolCallMessaged: true,
  ToolCallMessagesLost: true,
  ApprovalRequested: true,
  ApprovalDecided: true,
  ToolCallEnded: true,
  ReplyScheduled: true,
  ReplyEnded: true,
  UpdateDropped: true,
  AgentHandoff: true,
  SessionError: true,
  SessionClosed: true
}

describe("events", () => {
  it.scoped("[E1] each kind of event is told, with a time of the Clock, and goes through JSON and back", () =>
    Effect.gen(function* () {
      const { close, session } = yield* TestSession.make({ agent: Worker, maxPendingUpdates: 1, deltas: true })
      const events = yield* TestSession.collect(session)
      yield* TestSession.advance("5 seconds")
      yield* session.send("Work")
      yield* TestSession.advance("1 second")
      yield* Effect.scoped(
        Effect.gen(function* () {
          const turn = yield* session.userTurn()
          yield* turn.partial("I thi")
          yield* TestSession.advance("20 seconds")
        })
      )
      yield* TestSession.advance("1 second")
      yield* session.send("Late")
      yield* TestSession.advance("3 seconds")
      yield* session.messageTool("c2", { hurry: true })
      yield* session.send("Fail")
      yield* TestSession.settle
      yield* session.handoff(Second)
      yield* close
      const all = yield* events.all
      expect(new Set(all.map((event) => event._tag))).toEqual(new Set(Object.keys(everything)))
      for (const event of all) expect(decode(JSON.parse(JSON.stringify(encode(event))))).toEqual(event)
      const times = all.map((event) => event.at)
      expect(times).toEqual(times.toSorted((a, b) => a - b))
      expect(all[0]?.at).toBe(5000)
      expect(all.at(-1)?._tag).toBe("SessionClosed")
      expect(all.find((event) => event._tag === "SessionError")).toMatchObject({
        error: { tag: "UnknownError", message: expect.stringContaining("overloaded") }
      })
    }).pipe(
      working([
        [toolCall("work", { seconds: 5 }, { id: "c1" }), toolCall("chatter"), toolCall("careful")],
        [ScriptedModel.reasoning("At it?"), "At it."],
        "Chatter.",
        "Done.",
        toolCall("late", {}, { id: "c2" }),
        "Later.",
        fail("overloaded")
      ])
    )
  )

  it.scoped("[E1] a turn with a call is told in this order, each thing once", () =>
    Effect.gen(function* () {
      const { session } = yield* TestSession.make({ agent: Worker })
      const events = yield* TestSession.collect(session)
      yield* session.send("Work")
      yield* TestSession.advance("1 minute")
      const told = (yield* events.all).map((event) => {
        switch (event._tag) {
          case "ItemAdded":
            return `${event.at} + ${event.item._tag}`
          case "AgentStateChanged":
            return `${event.at} ${event.state}`
          case "SpeechCreated":
            return `${event.at} ${event.speechId} ${event.source}`
          case "SpeechEnded":
            return `${event.at} ${event.speechId} ended`
          case "ToolCallStarted":
            return `${event.at} start ${event.call.callId}`
          case "ToolCallUpdated":
            return `${event.at} update ${event.id}`
          case "ToolCallProgress":
            return `${event.at} progress ${JSON.stringify(event.value)}`
          case "ToolCallReleased":
            return `${event.at} released by ${event.by}`
          case "ToolCallEnded":
            return `${event.at} end ${event.id} ${event.status} ${JSON.stringify(event.output)}`
          case "ReplyScheduled":
            return `${event.at} ${event.replyId} for ${event.updateIds} by ${event.speechId}`
          case "ReplyEnded":
            return `${event.at} ${event.replyId} ${event.status} for ${event.updateIds} by ${event.speechId}`
          default:
            return event._tag
        }
      })
      const only = (pattern: RegExp) => told.filter((line) => pattern.test(line))
      expect(only(/speech_/)).toEqual([
        "0 speech_1 reply",
        "0 speech_1 ended",
        "5000 speech_2 tool-reply",
        "5000 reply_1 for c1_update_1 by speech_2",
        "5000 speech_2 ended",
        "5000 reply_1 completed for c1_update_1 by speech_2",
        "10000 speech_3 tool-reply",
        "10000 reply_2 for c1_final by speech_3",
        "10000 speech_3 ended",
        "10000 reply_2 completed for c1_final by speech_3"
      ])
      expect(only(/c1|progress|released/).filter((line) => !/reply/.test(line))).toEqual([
        "0 start c1",
        '0 progress {"percent":0}',
        "0 update c1",
        "0 released by update",
        "5000 update c1_update_1",
        '5000 progress "NaN"',
        '10000 end c1_final done {"ok":true}'
      ])
      expect(only(/thinking|speaking|listening/)).toEqual([
        "0 thinking",
        "0 speaking",
        "0 thinking",
        "0 speaking",
        "0 listening",
        "5000 thinking",
        "5000 speaking",
        "5000 listening",
        "10000 thinking",
        "10000 speaking",
        "10000 listening"
      ])
    }).pipe(working([["Well.", toolCall("work", { seconds: 5 }, { id: "c1" })], "At it.", "Half.", "Done."]))
  )

  it.scoped("[E1] the items that were added, as the events tell them, are the history", () =>
    Effect.gen(function* () {
      const { session } = yield* TestSession.make({ agent: Worker })
      const events = yield* TestSession.collect(session)
      yield* session.run("Work").pipe(TestSession.drive)
      yield* session.handoff(Second)
      yield* session.say("Hello.")
      yield* TestSession.settle
      expect((yield* events.filter("ItemAdded")).map((event) => event.item)).toEqual((yield* session.history).items)
      expect(yield* events.filter("AgentHandoff")).toMatchObject([{ from: "worker", to: "second" }])
    }).pipe(working([toolCall("work", { seconds: 5 }, { id: "c1" }), "At it.", "Half.", "Done."]))
  )

  it.scoped("[E1] a speech that is cut is told as interrupted, one that ends by itself is not", () =>
    Effect.gen(function* () {
      const { session } = yield* TestSession.make({ agent: Worker })
      const events = yield* TestSession.collect(session)
      yield* session.send("Hi")
      yield* TestSession.settle
      yield* session.send("Stop")
      yield* TestSession.settle
      expect((yield* events.filter("SpeechEnded")).map((event) => event.interrupted)).toEqual([true, false])
    }).pipe(working([["One", wait("1 minute")], "Yes."]))
  )

  it.scoped("[E1] several subscribers are each told everything, whatever the others do", () =>
    Effect.gen(function* () {
      const { close, session } = yield* TestSession.make({ agent: Worker })
      const first = yield* TestSession.collect(session)
      const second = yield* TestSession.collect(session)
      const one = yield* session.events.pipe(Stream.take(1), Stream.runCollect, Effect.fork)
      yield* TestSession.settle
      yield* session.send("Hi")
      yield* close
      expect(yield* second.all).toEqual(yield* first.all)
      expect(Chunk.toReadonlyArray(yield* Fiber.join(one))).toEqual((yield* first.all).slice(0, 1))
    }).pipe(working(["Hello."]))
  )
})

describe("events that are stored", () => {
  // one of each kind, as version 0.1.0 wrote it, before the types were made from the Schemas
  const written = `
    {"_tag":"ItemAdded","at":0,"item":{"_tag":"Message","id":"item_1","role":"user","text":"Hi","interrupted":false,"createdAt":0}}
    {"_tag":"ItemAdded","at":0,"item":{"_tag":"FunctionCall","id":"item_4","callId":"c1","name":"note","arguments":{"topic":"Oslo"},"metadata":{"google":{"thoughtSignature":"sig"}},"createdAt":0}}
    {"_tag":"ItemAdded","at":5,"item":{"_tag":"AgentHandoff","id":"item_12","from":"writer","to":"second","createdAt":5}}
    {"_tag":"ItemAdded","at":5,"item":{"_tag":"AgentHandoff","id":"item_13","to":"second","createdAt":5}}
    {"_tag":"UserStateChanged","at":0,"state":"speaking"}
    {"_tag":"AgentStateChanged","at":0,"state":"thinking"}
    {"_tag":"SpeechCreated","at":0,"speechId":"speech_1","source":"tool-reply"}
    {"_tag":"SpeechEnded","at":0,"speechId":"speech_1","interrupted":false}
    {"_tag":"ToolCallStarted","at":0,"call":{"callId":"c1","name":"note","arguments":{"topic":"Oslo"}}}
    {"_tag":"ToolCallUpdated","at":0,"id":"c1","callId":"c1","message":"noting Oslo"}
    {"_tag":"ToolCallProgress","at":0,"callId":"c1","value":{"percent":0}}
    {"_tag":"ToolCallReleased","at":0,"callId":"c1","by":"update"}
    {"_tag":"ToolCallEnded","at":5000,"id":"c1_final","callId":"c1","status":"done","output":{"pages":3}}
    {"_tag":"ToolCallEnded","at":5000,"id":"c2_final","callId":"c2","status":"done"}
    {"_tag":"ReplyScheduled","at":5000,"replyId":"reply_1","speechId":"speech_2","updateIds":["c1_final"]}
    {"_tag":"ReplyEnded","at":5000,"replyId":"reply_1","speechId":"speech_2","updateIds":["c1_final"],"status":"completed"}
    {"_tag":"ReplyEnded","at":5000,"replyId":"reply_2","updateIds":[],"status":"skipped"}
    {"_tag":"UpdateDropped","at":0,"id":"c1_update_1","callId":"c1"}
    {"_tag":"AgentHandoff","at":5,"from":"writer","to":"second"}
    {"_tag":"AgentHandoff","at":5,"to":"second"}
    {"_tag":"SessionError","at":5,"error":{"tag":"UnknownError","message":"overloaded"}}
    {"_tag":"EventsMissed","at":5,"count":7}
    {"_tag":"SessionClosed","at":5}`
    .trim()
    .split("\n")
    .map((line): unknown => JSON.parse(line))

  it("[E1] are read from what was stored before the types were made from the Schemas, and written the same", () => {
    const events = written.map((line) => decode(line))
    // kinds that came later are not among them
    const later = [
      "ReasoningDelta",
      "StepEnded",
      "TextDelta",
      "ToolInputDelta",
      "UserTurnPartial",
      "ToolCallMessaged",
      "ToolCallMessagesLost",
      "ApprovalRequested",
      "ApprovalDecided"
    ]
    const then = Object.keys(everything).filter((tag) => !later.includes(tag))
    expect(new Set(events.map((event) => event._tag))).toEqual(new Set([...then, "EventsMissed"]))
    // a value that may be undefined is there all the same
    const whole = (line: any): unknown => {
      if (line._tag === "AgentHandoff") return { from: undefined, ...line }
      if (line._tag === "ToolCallEnded") return { output: undefined, ...line }
      return line._tag === "ItemAdded" ? { ...line, item: whole(line.item) } : line
    }
    expect(events).toStrictEqual(written.map(whole))
    expect(JSON.parse(JSON.stringify(events.map((event) => encode(event))))).toStrictEqual(written)
  })

  it("[E1] are told apart by their tags, whatever they hold, and JSON keeps all of it that JSON has", () => {
    FastCheck.assert(
      FastCheck.property(Arbitrary.make(SessionEvent.SessionEvent), (event) => {
        expect(Schema.decodeSync(SessionEvent.SessionEvent)(encode(event))).toStrictEqual(event)
        const json = wire(encode(event))
        const read = decode(json)
        expect(read._tag).toBe(event._tag)
        expect(Schema.is(SessionEvent.SessionEvent)(read)).toBe(true)
        expect(wire(encode(read))).toStrictEqual(json)
      }),
      { numRuns: 500 }
    )
  })
})

describe("subscribers that are slow, late or absent", () => {
  /** Adds this many events, and what a call and its reply add. */
  const flood = (events: number) => working([toolCall("count", { to: events }, { id: "c1" }), "Counted."])

  it.scoped(
    "[E2] a stalled subscriber neither blocks the session nor holds more than the buffer, and is told what it missed",
    () =>
      Effect.gen(function* () {
        const { close, session } = yield* TestSession.make({ agent: Worker, eventBuffer: 100 })
        const gate = yield* Deferred.make<void>()
        const eager: Array<SessionEvent.SessionEvent> = []
        const slow: Array<SessionEvent.SessionEvent> = []
        yield* session.events.pipe(
          Stream.runForEach((event) => Effect.sync(() => eager.push(event))),
          Effect.forkScoped
        )
        yield* session.events.pipe(
          Stream.runForEach((event) =>
            Effect.zipRight(
              Deferred.await(gate),
              Effect.sync(() => slow.push(event))
            )
          ),
          Effect.forkScoped
        )
        yield* TestSession.settle
        const { text } = yield* session.run("Count").pipe(TestSession.drive)
        expect(text).toBe("Counted.")
        yield* close
        yield* TestSession.settle
        expect(eager.length).toBeGreaterThan(20_000)
        expect(slow).toEqual([])
        yield* Deferred.succeed(gate, void 0)
        yield* TestSession.settle
        const missed = slow.filter((event) => event._tag === "EventsMissed")
        expect(missed).toHaveLength(1)
        const kept = slow.filter((event) => event._tag !== "EventsMissed")
        expect(kept.length + (missed[0]?.count ?? 0)).toBe(eager.length)
        const behind = slow.slice(slow.indexOf(missed[0] as SessionEvent.SessionEvent) + 1)
        expect(behind).toHaveLength(100)
        expect(behind).toEqual(eager.slice(-100))
        expect(decode(JSON.parse(JSON.stringify(encode(missed[0] as SessionEvent.SessionEvent))))).toEqual(missed[0])
      }).pipe(flood(20_000))
  )

  it.scoped("[E2] a subscriber that falls behind again and again is told each time, and the counts add up", () =>
    Effect.gen(function* () {
      const { close, session } = yield* TestSession.make({ agent: Worker, eventBuffer: 10 })
      const turn = yield* Effect.makeSemaphore(1)
      const slow: Array<SessionEvent.SessionEvent> = []
      const eager: Array<SessionEvent.SessionEvent> = []
      yield* session.events.pipe(
        Stream.runForEach((event) => Effect.sync(() => eager.push(event))),
        Effect.forkScoped
      )
      yield* session.events.pipe(
        Stream.runForEach((event) => turn.withPermits(1)(Effect.sync(() => slow.push(event)))),
        Effect.forkScoped
      )
      yield* TestSession.settle
      for (let i = 0; i < 3; i++) {
        yield* turn.withPermits(1)(session.run("Count").pipe(TestSession.drive))
        yield* TestSession.settle
      }
      yield* close
      yield* TestSession.settle
      const total = (events: ReadonlyArray<SessionEvent.SessionEvent>) =>
        events.reduce((sum, event) => sum + (event._tag === "EventsMissed" ? event.count : 1), 0)
      expect(slow.filter((event) => event._tag === "EventsMissed")).toHaveLength(3)
      expect(total(slow)).toBeGreaterThan(1500)
      expect(total(slow)).toBe(total(eager))
      expect(slow.at(-1)?._tag).toBe("SessionClosed")
    }).pipe(
      working([
        toolCall("count", { to: 500 }),
        "Counted.",
        toolCall("count", { to: 500 }),
        "Counted.",
        toolCall("count", { to: 500 }),
        "Counted."
      ])
    )
  )

  it.scoped("[E2] with no subscriber at all, what the first one later finds is bounded and says what it missed", () =>
    Effect.gen(function* () {
      const { session } = yield* TestSession.make({ agent: Worker, eventBuffer: 50 })
      yield* session.run("Count").pipe(TestSession.drive)
      const late = yield* TestSession.collect(session)
      const found = yield* late.all
      expect(found).toHaveLength(51)
      expect(found[0]).toMatchObject({ _tag: "EventsMissed" })
      expect((found[0] as { count: number }).count).toBeGreaterThan(9_950)
      yield* late.clear
      yield* session.say("Hello.")
      expect((yield* late.tags).slice(0, 1)).toEqual(["SpeechCreated"])
      const later = yield* TestSession.collect(session)
      expect(yield* later.all).toEqual([])
    }).pipe(flood(10_000))
  )

  it.scoped("[E2] what happened before the first subscriber came is kept for it", () =>
    Effect.gen(function* () {
      const { session } = yield* TestSession.make({
        agent: Agent.make("a", { instructions: "A.", onEnter: Effect.die("told as a log, not as an event") })
      })
      yield* session.say("Hello.")
      yield* TestSession.settle
      const events = yield* TestSession.collect(session)
      expect(yield* events.filter("ItemAdded")).toMatchObject([{ item: { text: "Hello." } }])
      expect(yield* events.filter("EventsMissed")).toEqual([])
    }).pipe(working([]))
  )

  it.scoped("[E2] a subscriber that dies or is interrupted costs nobody anything", () =>
    Effect.gen(function* () {
      const { session } = yield* TestSession.make({ agent: Worker })
      const events = yield* TestSession.collect(session)
      const dying = yield* Effect.fork(Effect.exit(Stream.runForEach(session.events, () => Effect.die("a bug"))))
      const leaving = yield* Effect.fork(Stream.runDrain(session.events))
      yield* TestSession.settle
      yield* Fiber.interrupt(leaving)
      const { text } = yield* session.run("Hi").pipe(TestSession.drive)
      expect(text).toBe("Hello.")
      expect((yield* Fiber.join(dying))._tag).toBe("Failure")
      expect((yield* events.filter("SpeechEnded")).length).toBe(1)
    }).pipe(working(["Hello."]))
  )

  it.scoped("[E1] the stream ends with the session, also for who subscribes after it has closed", () =>
    Effect.gen(function* () {
      const { close, session } = yield* TestSession.make({ agent: Worker })
      const during = yield* Effect.fork(Stream.runCollect(session.events))
      yield* TestSession.settle
      yield* close
      expect(Chunk.toReadonlyArray(yield* Fiber.join(during)).at(-1)?._tag).toBe("SessionClosed")
      expect(Chunk.toReadonlyArray(yield* TestSession.drive(Stream.runCollect(session.events)))).toEqual([])
    }).pipe(working([]))
  )

  it.scoped("[E1] who subscribes for the first time after the session has closed finds what happened", () =>
    Effect.gen(function* () {
      const { close, session } = yield* TestSession.make({ agent: Worker })
      yield* session.say("Hello.")
      yield* TestSession.settle
      yield* close
      const found = Chunk.toReadonlyArray(yield* TestSession.drive(Stream.runCollect(session.events)))
      expect(found.map((event) => event._tag)).toContain("ItemAdded")
      expect(found.at(-1)?._tag).toBe("SessionClosed")
    }).pipe(working([]))
  )
})

describe("time", () => {
  const hour = inVirtualTime((time) =>
    Effect.gen(function* () {
      const events: Array<SessionEvent.SessionEvent> = []
      yield* Effect.gen(function* () {
        const { close, session } = yield* TestSession.make({ agent: Worker })
        const listener = yield* session.events.pipe(
          Stream.runForEach((event) => Effect.sync(() => events.push(event))),
          Effect.fork
        )
        for (let i = 0; i < 6; i++) {
          yield* session.send(`Work ${i}`)
          yield* time.advance(3_000)
          if (i % 2 === 1) yield* session.send("And something else")
          yield* time.advance(597_000)
        }
        yield* close
        yield* Fiber.join(listener)
      }).pipe(
        Effect.scoped,
        Effect.provide([
          ScriptedModel.layer((request) =>
            request.index % 3 === 0
              ? [
                  "I look into it.",
                  wait("2 seconds"),
                  toolCall("work", { seconds: 10 + request.index }),
                  toolCall("late")
                ]
              : "There is this to say."
          ),
          kitLive,
          silent,
          AgentOutput.layerPaced() as Layer.Layer<never>
        ])
      )
      return events
    })
  )

  it.effect("[K1] an hour of conversation needs no real waiting, and gives the same events on each run", () =>
    Effect.gen(function* () {
      const first = yield* hour
      const second = yield* hour
      expect(first.at(-1)?.at).toBeGreaterThanOrEqual(3_600_000)
      expect(new Set(first.map((event) => event.at)).size).toBeGreaterThan(10)
      expect(second).toEqual(first)
    })
  )
})
