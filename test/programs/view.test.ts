import { FileSystem } from "@effect/platform"
import { NodeContext } from "@effect/platform-node"
import { describe, expect, it } from "@effect/vitest"
import { Effect, Either, FastCheck as fc, Layer, Ref, Schema, Stream, TestClock, TestContext } from "effect"
import { SessionEvent } from "effect-meantime"
import { TestSession } from "effect-meantime/testing"
import * as OfflineModel from "../../examples/demo/OfflineModel.js"
import { flightsLayer, TravelAgent } from "../../examples/demo/Travel.js"
import * as Recording from "../../examples/shared/Recording.js"
import * as RecordingFile from "../../examples/shared/RecordingFile.js"
import * as Timeline from "../../examples/shared/Timeline.js"
import * as View from "../../examples/shared/View.js"

type Event = SessionEvent.SessionEvent

/** What happens in a conversation with the agent of the demo, and the views that a listener saw meanwhile. */
const converse = (lines: ReadonlyArray<readonly [text: string, seconds: number]>) =>
  Effect.gen(function* () {
    yield* TestClock.setTime(Date.UTC(2027, 2, 10, 12))
    const { close, session } = yield* TestSession.make({ agent: TravelAgent })
    const events = yield* Ref.make<ReadonlyArray<Event>>([])
    const views = yield* Ref.make<ReadonlyArray<View.View>>([])
    yield* session.events.pipe(
      Stream.tap((event) => Ref.update(events, (all) => [...all, event])),
      Stream.scan(View.empty, View.step),
      Stream.runForEach((view) => Ref.update(views, (all) => [...all, view])),
      Effect.fork
    )
    yield* TestSession.advance("3 seconds")
    for (const [text, seconds] of lines) {
      yield* Effect.orDie(session.send(text))
      yield* TestSession.advance(`${seconds} seconds`)
    }
    yield* close
    yield* TestSession.settle
    return { events: yield* Ref.get(events), views: yield* Ref.get(views) }
  }).pipe(
    Effect.scoped,
    Effect.provide(Layer.merge(OfflineModel.layer({ thinking: "250 millis", perWord: "35 millis" }), flightsLayer()))
  )

const talk = [
  ["book a flight from Oslo to Tokyo on 2020-01-01", 3],
  ["book a flight from Oslo to Tokyo", 4],
  ["how is the weather in Tokyo?", 4],
  ["book another one to Paris", 3],
  ["yes", 6],
  ["cancel the one to Paris", 20]
] as const

/** The same conversation for all who ask. */
const talked = Effect.runSync(Effect.cached(converse(talk).pipe(Effect.provide(TestContext.TestContext))))

const at = (time: number) => ({ at: time })
const started = (time: number, callId: string, name = "work"): Event => ({
  _tag: "ToolCallStarted",
  ...at(time),
  call: { callId, name, arguments: { n: 1 } }
})
const said = (time: number, id: string, text: string): Event => ({
  _tag: "ItemAdded",
  ...at(time),
  item: { _tag: "Message", id, role: "assistant", text, interrupted: false, createdAt: time }
})
const output = (time: number, callId: string): Event => ({
  _tag: "ItemAdded",
  ...at(time),
  item: {
    _tag: "FunctionCallOutput",
    id: `item ${callId}`,
    callId,
    name: "work",
    output: "ok",
    isError: false,
    createdAt: time
  }
})

describe("the view of a session", () => {
  it.effect("tells a conversation: its lines, its calls, and which reply covered what", () =>
    Effect.gen(function* () {
      const { events } = yield* talked
      const view = View.fold(events)
      expect(
        view.calls.map(({ callId, ended, name, released, updates }) => [
          callId,
          name,
          released !== undefined,
          updates.length,
          ended?.status
        ])
      ).toEqual([
        ["call_1", "book_flight", false, 0, "error"],
        ["call_2", "book_flight", true, 2, "done"],
        ["call_3", "weather", false, 0, "done"],
        ["call_4", "book_flight", false, 0, "done"],
        ["call_5", "book_flight", true, 2, "cancelled"],
        ["call_6", "cancel_task", false, 0, "done"]
      ])
      // every first output was answered in its turn, every later item by a reply
      expect(view.calls.every(({ answeredAt }) => answeredAt !== undefined)).toBe(true)
      const covers = View.covers(view)
      expect(covers.get("call_2_update_1")?.ended?.status).toBe("completed")
      expect(covers.get("call_2_final")?.text).toMatch(/^Booked: /)
      expect(covers.get("call_1")).toBeUndefined()
      // the lines of the conversation say which of them were such replies
      const about = view.lines.filter((line) => line._tag === "Said" && line.replyId !== undefined)
      expect(about).toHaveLength(view.replies.filter(({ text }) => text !== "").length)
      expect(view.lines.filter(({ _tag }) => _tag === "Called")).toHaveLength(6)
      expect(view.lines.at(-1)?._tag).toBe("Closed")
      expect(view).toMatchObject({ closed: true, agentState: "listening", speeches: [], missed: 0 })
      expect(view.spans.every(({ from, to }) => to !== undefined && to >= from)).toBe(true)
    })
  )

  it.effect("is the same of a replayed recording as it was of the live stream, at every event", () =>
    Effect.gen(function* () {
      const { events, views } = yield* talked
      const replayed = Either.getOrThrow(Recording.decode(events.map(Recording.encode).join("")))
      expect(replayed).toEqual(events)
      let view = View.empty
      const again = [view]
      for (const event of replayed) {
        view = View.step(view, event)
        again.push(view)
      }
      expect(again).toEqual(views)
    })
  )

  it.effect("is the same of any recording, whatever was said and whatever was missed", () =>
    Effect.gen(function* () {
      const { events } = yield* talked
      fc.assert(
        fc.property(
          fc.integer({ min: 0, max: events.length }),
          fc.integer({ min: 0, max: events.length }),
          (from, count) => {
            const rest = events.slice(from + count)
            const missed: ReadonlyArray<Event> =
              count > 0 && rest[0] !== undefined ? [{ _tag: "EventsMissed", at: rest[0].at, count }] : []
            const told = [...events.slice(0, from), ...missed, ...rest]
            const view = View.fold(told)
            expect(Either.map(Recording.decode(told.map(Recording.encode).join("")), View.fold)).toEqual(
              Either.right(view)
            )
            // a call appears once, and every line that names one has it
            const ids = view.calls.map(({ callId }) => callId)
            expect(new Set(ids).size).toBe(ids.length)
            const named = view.lines.flatMap((line) => (line._tag === "Called" ? [line.callId] : []))
            expect(named).toEqual(ids)
            // the end of the session leaves nothing open
            if (view.closed) expect(View.running(view)).toEqual([])
            expect(view.missed).toBe(missed.length === 0 ? 0 : count)
          }
        ),
        { numRuns: 200 }
      )
    })
  )

  const text = fc.string({ unit: "binary", maxLength: 12 })
  const id = fc.constantFrom("a", "b", "a_update_1")
  // as a wire carries it: JSON writes -0 as 0
  const json = fc.jsonValue().map((value) => JSON.parse(JSON.stringify(value)) as unknown)
  const event: fc.Arbitrary<Event> = fc
    .tuple(
      fc.nat({ max: 1000 }),
      fc.oneof(
        fc.record({
          _tag: fc.constant("ToolCallStarted"),
          call: fc.record({ callId: id, name: text, arguments: json })
        }),
        fc.record({ _tag: fc.constant("ToolCallUpdated"), id, callId: id, message: json }),
        fc.record({ _tag: fc.constant("ToolCallProgress"), callId: id, value: json }),
        fc.record({ _tag: fc.constant("ToolCallReleased"), callId: id, by: fc.constant("timer") }),
        fc.record({
          _tag: fc.constant("ToolCallEnded"),
          id,
          callId: id,
          status: fc.constantFrom("done", "error", "cancelled"),
          output: json
        }),
        fc.record({ _tag: fc.constant("ReplyScheduled"), replyId: id, updateIds: fc.array(id) }),
        fc.record({
          _tag: fc.constant("ReplyEnded"),
          replyId: id,
          updateIds: fc.array(id),
          status: fc.constantFrom("completed", "interrupted", "skipped", "failed", "dropped")
        }),
        fc.record({ _tag: fc.constant("UpdateDropped"), id, callId: id }),
        fc.record({
          _tag: fc.constant("AgentStateChanged"),
          state: fc.constantFrom("listening", "thinking", "speaking")
        }),
        fc.record({ _tag: fc.constant("UserStateChanged"), state: fc.constantFrom("listening", "speaking") }),
        fc.record({ _tag: fc.constant("UserTurnPartial"), text }),
        fc.record({ _tag: fc.constant("SpeechCreated"), speechId: id, source: fc.constantFrom("say", "reply") }),
        fc.record({ _tag: fc.constant("SpeechEnded"), speechId: id, interrupted: fc.boolean() }),
        fc.record({ _tag: fc.constant("AgentHandoff"), from: text, to: text }),
        fc.record({ _tag: fc.constant("EventsMissed"), count: fc.nat() }),
        fc.record({ _tag: fc.constant("SessionClosed") }),
        text.map((text) => ({ _tag: "said", text }))
      )
    )
    .map(([time, fields]) =>
      "text" in fields ? said(time, "item", fields.text) : ({ at: time, ...fields } as unknown as Event)
    )

  it("never fails, in whatever order events come, and a recording of them is read as it was written", () => {
    const valid = Schema.is(SessionEvent.SessionEvent)
    fc.assert(
      fc.property(fc.array(event, { maxLength: 40 }), (events) => {
        expect(events.every((event) => valid(event))).toBe(true)
        const view = View.fold(events)
        const replayed = Either.getOrThrow(Recording.decode(events.map(Recording.encode).join("")))
        expect(View.fold(replayed)).toEqual(view)
        Timeline.rows(view, { scale: Timeline.scale(view, 1000, 100), from: 0, to: 1000 }, 1000)
      }),
      { numRuns: 300 }
    )
  })

  it("tells that events were missed, and is sure again of a call once it is heard of", () => {
    const events: ReadonlyArray<Event> = [
      started(0, "call_1"),
      started(0, "call_2"),
      { _tag: "EventsMissed", at: 5, count: 7 },
      { _tag: "ToolCallProgress", at: 6, callId: "call_2", value: { percent: 40 } },
      { _tag: "ToolCallUpdated", at: 7, callId: "call_9", id: "call_9_update_3", message: "nearly there" }
    ]
    const view = View.fold(events)
    expect(view.missed).toBe(7)
    expect(view.calls.map(({ callId, startMissed, uncertain }) => [callId, startMissed, uncertain])).toEqual([
      ["call_1", false, true],
      ["call_2", false, false],
      ["call_9", true, false]
    ])
    // the pair in the history tells what the call was
    const pair: Event = {
      _tag: "ItemAdded",
      at: 7,
      item: {
        _tag: "FunctionCall",
        id: "item",
        callId: "call_9_update_3",
        name: "dig",
        arguments: { deep: true },
        createdAt: 7
      }
    }
    expect(View.fold([...events, pair]).calls[2]).toMatchObject({ name: "dig", arguments: { deep: true } })
    // once the session is closed nothing runs, whoever missed its end
    const closed = View.fold([...events, { _tag: "SessionClosed", at: 9 }])
    expect(closed.calls.map(({ ended }) => ended?.status)).toEqual(["unknown", "unknown", "unknown"])
  })

  it("[A5] [A6] tells of a call that waits, what was decided of it by whom, and what it was told", () => {
    const asks: Event = {
      _tag: "ApprovalRequested",
      at: 2,
      call: { callId: "call_1", name: "work", arguments: { n: 1 } },
      reason: "It is dear.",
      expiresAt: 99
    }
    const decided: Event = { _tag: "ApprovalDecided", at: 5, callId: "call_1", decision: "edited", by: "ann" }
    const pair = (callId: string): Event => ({
      _tag: "ItemAdded",
      at: 6,
      item: { _tag: "FunctionCall", id: callId, callId, name: "work", arguments: { n: 2 }, createdAt: 6 }
    })
    const waiting = View.fold([started(1, "call_1"), started(1, "call_11"), asks])
    expect(waiting.calls[0]?.approval).toEqual({ at: 2, reason: "It is dear.", expiresAt: 99, decided: undefined })
    expect(waiting.calls.map(View.waits)).toEqual([true, false])
    expect(View.isBusy(waiting)).toBe(true)
    // an item before the decision changes nothing
    expect(View.step(waiting, pair("call_1")).calls[0]?.arguments).toEqual({ n: 1 })
    const edited = [decided, pair("call_1_update_1")].reduce(View.step, waiting)
    expect(edited.calls[0]?.approval?.decided).toEqual({ at: 5, decision: "edited", by: "ann", reason: undefined })
    expect(edited.calls.map(({ arguments: args }) => args)).toEqual([{ n: 2 }, { n: 1 }])
    expect(edited.calls.map(View.waits)).toEqual([false, false])

    const told = [
      { _tag: "ToolCallMessaged", at: 7, callId: "call_1", from: "model", message: "hurry" },
      { _tag: "ToolCallMessaged", at: 8, callId: "call_1", from: "program", message: { hurry: true } },
      { _tag: "ToolCallMessagesLost", at: 9, callId: "call_1", count: 1 }
    ].reduce((view, event) => View.step(view, event as Event), edited)
    expect(told.calls[0]).toMatchObject({
      messages: [
        { at: 7, from: "model", message: "hurry" },
        { at: 8, from: "program", message: { hurry: true } }
      ],
      lost: 1
    })
    // whoever comes later hears of it from the decision alone, and from the request alone
    expect(View.fold([decided]).calls[0]).toMatchObject({ startMissed: true, approval: { at: 5, decided: { at: 5 } } })
    expect(View.fold([asks]).calls[0]).toMatchObject({ name: "work", arguments: { n: 1 }, startMissed: true })
    // what is closed waits for nobody
    expect(View.step(waiting, { _tag: "SessionClosed", at: 9 }).calls.map(View.waits)).toEqual([false, false])
  })

  it("[O7] tells who has the floor, since when, and what was understood so far", () => {
    const user = (time: number, state: "listening" | "speaking"): Event => ({
      _tag: "UserStateChanged",
      ...at(time),
      state
    })
    const agent = (time: number, state: "listening" | "speaking"): Event => ({
      _tag: "AgentStateChanged",
      ...at(time),
      state
    })
    const partial = (time: number, text: string): Event => ({ _tag: "UserTurnPartial", ...at(time), text })
    const events: ReadonlyArray<Event> = [
      agent(0, "speaking"),
      user(10, "speaking"),
      partial(11, "wa"),
      partial(12, "wait"),
      user(20, "listening"),
      agent(30, "listening"),
      user(40, "speaking"),
      partial(41, "stop")
    ]
    const views = events.map((_, index) => View.fold(events.slice(0, index + 1)))
    expect(views.map((view) => [View.floor(view), view.partial])).toEqual([
      ["agent", undefined],
      ["user", undefined],
      ["user", "wa"],
      ["user", "wait"],
      // it was discarded, and the agent goes on
      ["agent", undefined],
      ["nobody", undefined],
      ["user", undefined],
      ["user", "stop"]
    ])
    const last = View.fold(events)
    expect(last.turns).toEqual([
      { from: 10, to: 20 },
      { from: 40, to: undefined }
    ])
    expect(View.isBusy(last)).toBe(true)
    // the time in which the user had the floor is none in which nothing happened
    const long = View.fold([...events, user(10_000, "listening")])
    expect(Timeline.scale(long, 10_000, 100).breaks).toEqual([])

    const sent = View.step(last, {
      _tag: "ItemAdded",
      ...at(50),
      item: { _tag: "Message", id: "u", role: "user", text: "stop it", interrupted: false, createdAt: 50 }
    })
    expect(sent.partial).toBeUndefined()
    // what the agent says meanwhile is none of it
    expect(View.step(last, said(50, "a", "hm")).partial).toBe("stop")
    const missed = View.step(last, { _tag: "EventsMissed", ...at(50), count: 2 })
    expect(missed.partial).toBeUndefined()
    expect(View.step(missed, user(60, "speaking")).turns.slice(1)).toEqual([
      { from: 40, to: 60 },
      { from: 60, to: undefined }
    ])
    const closed = View.step(last, { _tag: "SessionClosed", ...at(70) })
    expect([View.floor(closed), closed.partial, closed.turns.at(-1)]).toEqual([
      "nobody",
      undefined,
      { from: 40, to: 70 }
    ])
  })

  it("takes what a filler says for no answer", () => {
    const view = View.fold([
      { _tag: "SpeechCreated", at: 0, speechId: "turn", source: "reply" },
      started(0, "call_1"),
      { _tag: "ToolCallEnded", at: 3, id: "call_1", callId: "call_1", status: "done", output: "ok" },
      output(3, "call_1"),
      { _tag: "SpeechCreated", at: 3, speechId: "filler", source: "say" },
      said(4, "item_1", "Still looking."),
      { _tag: "SpeechEnded", at: 4, speechId: "filler", interrupted: false },
      said(5, "item_2", "Here it is."),
      { _tag: "SpeechEnded", at: 5, speechId: "turn", interrupted: false }
    ])
    expect(view.calls[0]?.answeredAt).toBe(5)
  })
})

describe("a timeline", () => {
  const window = (view: View.View, from: number, to: number): Timeline.Window => ({
    scale: Timeline.scale(view, to, 3000),
    from,
    to
  })

  it("has the parts, the updates, the end and the replies of a call where they were", () => {
    const view = View.fold([
      started(0, "call_1"),
      { _tag: "ToolCallUpdated", at: 2000, id: "call_1", callId: "call_1", message: "begun" },
      { _tag: "ToolCallReleased", at: 2000, callId: "call_1", by: "update" },
      { _tag: "ToolCallUpdated", at: 4000, id: "call_1_update_1", callId: "call_1", message: "more" },
      { _tag: "ReplyScheduled", at: 5000, replyId: "reply_1", updateIds: ["call_1_update_1"] },
      { _tag: "ReplyEnded", at: 6000, replyId: "reply_1", updateIds: ["call_1_update_1"], status: "completed" },
      { _tag: "ToolCallEnded", at: 8000, id: "call_1_final", callId: "call_1", status: "done", output: 1 },
      started(8000, "call_2")
    ])
    const [first, second] = Timeline.rows(view, window(view, 0, 10_000), 9000)
    expect(first?.parts).toEqual([
      { kind: "inline", left: 0, width: 0.2 },
      { kind: "background", left: 0.2, width: expect.closeTo(0.6) }
    ])
    expect(first?.marks.map(({ x }) => x)).toEqual([0.2, 0.4])
    expect(first?.end).toBe(0.8)
    expect(first?.covers).toMatchObject([{ since: 0.4, left: 0.5, width: expect.closeTo(0.1) }])
    // one that runs reaches up to now
    expect(second?.parts).toEqual([{ kind: "inline", left: 0.8, width: expect.closeTo(0.1) }])
    expect(second?.end).toBeUndefined()
  })

  it("[A2] has the time in which a call waits for a person apart, and draws it short", () => {
    const events: ReadonlyArray<Event> = [
      started(0, "call_1"),
      { _tag: "ApprovalRequested", at: 1000, call: { callId: "call_1", name: "work", arguments: {} } },
      { _tag: "ToolCallReleased", at: 1000, callId: "call_1", by: "approval" }
    ]
    const whole = (view: View.View) => ({ scale: Timeline.scale(view, 10_000, 60_000), from: 0, to: 10_000 })
    const waiting = View.fold(events)
    expect(Timeline.rows(waiting, whole(waiting), 5000)[0]?.parts).toEqual([
      { kind: "inline", left: 0, width: 0.1 },
      { kind: "waiting", left: 0.1, width: expect.closeTo(0.4) }
    ])
    const denied = View.fold([
      ...events,
      { _tag: "ApprovalDecided", at: 4000, callId: "call_1", decision: "denied" },
      { _tag: "ToolCallEnded", at: 4000, id: "call_1_final", callId: "call_1", status: "error", output: "no" }
    ])
    expect(Timeline.rows(denied, whole(denied), 9000)[0]?.parts.map(({ kind }) => kind)).toEqual(["inline", "waiting"])
    const done = View.fold([
      ...events,
      { _tag: "ApprovalDecided", at: 4000, callId: "call_1", decision: "approved" },
      { _tag: "ToolCallEnded", at: 8000, id: "call_1_final", callId: "call_1", status: "done", output: 1 }
    ])
    expect(Timeline.rows(done, whole(done), 9000)[0]?.parts).toEqual([
      { kind: "inline", left: 0, width: 0.1 },
      { kind: "waiting", left: 0.1, width: expect.closeTo(0.3) },
      { kind: "background", left: 0.4, width: expect.closeTo(0.4) }
    ])
    // a person takes two days
    const days = 2 * 24 * 3_600_000
    expect(Timeline.scale(waiting, days, 3000).shown(days)).toBeLessThan(10_000)
    const late = View.fold([
      ...events,
      { _tag: "ApprovalDecided", at: days, callId: "call_1", decision: "approved" },
      { _tag: "ToolCallEnded", at: days + 8000, id: "call_1_final", callId: "call_1", status: "done", output: 1 }
    ])
    expect(Timeline.scale(late, days + 9000, 3000).breaks).toEqual([{ from: 2000, to: days - 1000 }])
  })

  it("draws a long pause short, and marks round times on both sides of it", () => {
    const turn = (time: number): Event => ({
      _tag: "ItemAdded",
      at: time,
      item: { _tag: "Message", id: `${time}`, role: "user", text: "hi", interrupted: false, createdAt: time }
    })
    const view = View.fold([turn(0), turn(600_000), turn(605_000)])
    const scale = Timeline.scale(view, 605_000, 3000)
    expect(scale.breaks).toEqual([{ from: 1000, to: 599_000 }])
    expect(scale.shown(1000)).toBe(1000)
    expect(scale.shown(599_000)).toBe(2000)
    expect(scale.shown(605_000)).toBe(8000)
    const ticks = Timeline.ticks({ scale, from: 0, to: 10_000 }, 0, 10)
    expect(ticks.map(({ label }) => label)).toEqual([
      "0 s",
      "1 s",
      "9:59",
      "10:00",
      "10:01",
      "10:02",
      "10:03",
      "10:04",
      "10:05",
      "10:06",
      "10:07"
    ])
  })

  it("never goes backwards", () => {
    fc.assert(
      fc.property(fc.array(fc.nat({ max: 100_000 }), { minLength: 1, maxLength: 20 }), (times) => {
        const view = View.fold(
          times
            .sort((a, b) => a - b)
            .map((time, index) => started(time, `call_${index}`))
            .flatMap(
              (event): ReadonlyArray<Event> => [
                event,
                {
                  _tag: "ToolCallEnded",
                  at: event.at,
                  id: "x",
                  callId: event._tag === "ToolCallStarted" ? event.call.callId : "",
                  status: "done",
                  output: 0
                }
              ]
            )
        )
        const { shown } = Timeline.scale(view, 100_000, 1000)
        for (let t = 0; t < 100_000; t += 997) expect(shown(t + 997)).toBeGreaterThan(shown(t))
      })
    )
  })
})

describe("a recording", () => {
  it.scoped("is written as the events come, and read back", () =>
    Effect.gen(function* () {
      const { events } = yield* converse([["how is the weather in Rome?", 3]])
      const directory = yield* (yield* FileSystem.FileSystem).makeTempDirectoryScoped()
      yield* RecordingFile.write(Stream.fromIterable(events), `${directory}/talk.jsonl`)
      expect(yield* RecordingFile.read(`${directory}/talk.jsonl`)).toEqual(events)
    }).pipe(Effect.provide(NodeContext.layer))
  )

  it("says which of its lines is none", () => {
    const line = Recording.encode(said(0, "item_1", "a\nb"))
    expect(line.split("\n")).toHaveLength(2)
    const bad = Recording.decode(`${line}\n${line}{"_tag":"Nonsense","at":1}\n`)
    expect(Either.isLeft(bad) && bad.left.message).toMatch(/^Line 4 is no event of a session: /)
    expect(Either.isLeft(Recording.decode("not json"))).toBe(true)
  })

  it("keeps a result that is nothing", () => {
    const event: Event = { _tag: "ToolCallEnded", at: 0, id: "x", callId: "x", status: "done", output: undefined }
    expect(Either.map(Recording.decode(Recording.encode(event)), View.fold)).toEqual(Either.right(View.fold([event])))
  })
})
