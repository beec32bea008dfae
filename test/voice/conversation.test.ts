/**
 * Conversations by voice: a session, its output and a user that is heard, in virtual time. The agent speaks ten characters
 * a second, a character a frame.
 */
import { describe, expect } from "@effect/vitest"
import { Cause, Deferred, Effect, Exit, Fiber, Option, Stream } from "effect"
import { RunContext, type SessionEvent } from "effect-meantime"
import { ScriptedModel, TestSession } from "effect-meantime/testing"
import * as Voice from "effect-meantime/voice"
import { type Setup, type Talk, talk, toolCall } from "../support/talk.js"
import { times } from "../support/times.js"
import { it } from "../support/virtual.js"
import * as Parts from "../support/voice.js"
import { final, heard, partial } from "../support/voice.js"

const { advance } = TestSession

/** A session that speaks aloud, and a user. */
const speaking = (setup: Omit<Setup, "pace" | "layer">) =>
  Effect.gen(function* () {
    const synthesizer = Parts.synthesizer()
    const sink = Parts.sink()
    const talked = yield* talk({
      ...setup,
      pace: "instant",
      layer: Voice.output({ synthesizer: synthesizer.service, sink: sink.service })
    })
    const hears = (script: Stream.Stream<Voice.Heard>, options?: Voice.ListenOptions) =>
      Effect.forkScoped(Voice.listen(talked.session, Stream.concat(script, Stream.never), options))
    return { ...talked, asked: synthesizer.asked, sink, hears }
  })

const tags = (events: ReadonlyArray<SessionEvent.SessionEvent>, from: number, to: number) =>
  events.filter(({ at }) => at >= from && at < to).map(({ _tag }) => _tag)

/** Frames that began to sound between two times. */
const sounded = (sink: { readonly begun: ReadonlyArray<number> }, from: number, to: number): number =>
  sink.begun.filter((at) => at >= from && at < to).length

const usersSaid = (talked: Talk) =>
  Effect.map(talked.lines, (lines) => lines.filter((line) => line.startsWith("user:")))

describe("a conversation by voice", () => {
  it.scoped(
    "[O8, F3] a barge-in pauses the speech, then cuts it: the history has what was heard, and the answer follows",
    () =>
      Effect.gen(function* () {
        const { hears, lines, session, sink } = yield* speaking({
          script: ["One two three. Four five six. Seven.", "Sure."]
        })
        yield* session.send("Go")
        yield* hears(heard([1000, "start"], [300, partial("stop")], [600, "end"], [50, final("Stop.")]))
        yield* advance("1450 millis")
        expect(sounded(sink, 0, 1500)).toBe(15)
        yield* advance("1 minute")
        // it paused half a second after the user had begun
        expect(sounded(sink, 1500, 2600)).toBe(0)
        expect(yield* lines).toEqual([
          "user: Go",
          "assistant: One two three. F [cut]",
          "user: Stop.",
          "assistant: Sure."
        ])
        expect(sink.begun.find((at) => at >= 2600)).toBe(2600)
      })
  )

  it.scoped("[O8, O7] a false start: the speech goes on where it paused, and nothing of it is lost or said twice", () =>
    Effect.gen(function* () {
      const { events, hears, lines, session, sink } = yield* speaking({ script: ["One two three. Four five six."] })
      yield* session.send("Go")
      yield* hears(heard([1000, "start"], [900, "end"]))
      yield* advance("1 minute")
      expect(sounded(sink, 1500, 3900)).toBe(0)
      expect(yield* lines).toEqual(["user: Go", "assistant: One two three. Four five six."])
      expect(sink.begun).toHaveLength(28)
      expect(sink.begun[15]).toBe(3900)
      expect(tags(yield* events.all, 1000, 3800)).not.toContain("SpeechEnded")
    })
  )

  it.scoped("[O8] a backchannel: the agent goes on, and was told nothing", () =>
    Effect.gen(function* () {
      const talked = yield* speaking({ script: ["One two three. Four five six.", "You agree."] })
      const { hears, lines, requested, session } = talked
      yield* session.send("Go")
      yield* hears(
        heard([1000, "start"], [600, "end"], [0, final("Mhm.")], [20_000, "start"], [600, "end"], [0, final("Mhm.")]),
        { bargeIn: { isBackchannel: (text) => text === "Mhm." } }
      )
      yield* advance("1 minute")
      expect(yield* lines).toEqual([
        "user: Go",
        "assistant: One two three. Four five six.",
        // the agent had ended: an answer
        "user: Mhm.",
        "assistant: You agree."
      ])
      expect(yield* requested).toBe(2)
    })
  )

  it.scoped("[O8] backchannels one after the other, with a pause and without", () =>
    Effect.gen(function* () {
      const { events, hears, lines, session, sink } = yield* speaking({
        script: ["One two three four five six seven eight. Nine ten eleven twelve thirteen."]
      })
      yield* session.send("Go")
      const mhm = (after: number, millis: number) =>
        [
          [after, "start"],
          [millis, "end"],
          [0, final("Mhm.")]
        ] as const
      yield* hears(heard(...mhm(500, 200), ...mhm(1000, 700), ...mhm(1500, 700), ...mhm(1500, 200)), {
        bargeIn: { isBackchannel: (text) => text === "Mhm." }
      })
      yield* advance("1 minute")
      expect(yield* lines).toEqual([
        "user: Go",
        "assistant: One two three four five six seven eight. Nine ten eleven twelve thirteen."
      ])
      expect(sink.cleared).toEqual([])
      expect(yield* events.filter("UserTurnPartial")).toEqual([])
    })
  )

  it.scoped("[O1, O8] who speaks before the greeting has begun is heard out, and answered", () =>
    Effect.gen(function* () {
      const { hears, lines, session, sink } = yield* speaking({ script: ["Sure."] })
      yield* hears(heard([100, "start"], [900, "end"], [0, final("Hello?")]))
      yield* advance("200 millis")
      const greeting = yield* session.say("Welcome to the desk.")
      yield* advance("1 minute")
      // what waited keeps its place
      expect(yield* lines).toEqual(["user: Hello?", "assistant: Welcome to the desk.", "assistant: Sure."])
      expect(sink.begun[0]).toBe(1700)
      expect(yield* greeting.done).toBe(true)
    })
  )

  it.scoped(
    "[O6, O8] a synthesizer that hangs: the speech fails, and the next one is heard; a pause is no hanging",
    () =>
      Effect.gen(function* () {
        const sink = Parts.sink()
        const { events, lines, session } = yield* talk({
          script: [],
          pace: "instant",
          logs: [/stall|output/i],
          layer: Voice.output({
            synthesizer: {
              synthesize: (text) =>
                text.startsWith("Two")
                  ? Stream.concat(Stream.make(Parts.frame(100)), Stream.never)
                  : Stream.fromIterable(Parts.spelled(text))
            },
            sink: sink.service,
            stallTimeout: "3 seconds"
          })
        })
        yield* session.say("One, and more.")
        yield* Effect.forkScoped(
          Voice.listen(session, Stream.concat(heard([500, "start"], [20_000, "end"]), Stream.never))
        )
        yield* advance("30 seconds")
        yield* session.say("Two. Nobody hears it.")
        yield* session.say("Three.")
        yield* advance("1 minute")
        const said = yield* lines
        expect(said[0]).toBe("assistant: One, and more.")
        expect(said.at(-1)).toBe("assistant: Three.")
        expect(yield* events.filter("SessionError")).toHaveLength(1)
      })
  )

  it.scoped("[O8] a short word is heard without a pause, and cuts the speech when the turn ends", () =>
    Effect.gen(function* () {
      const { hears, lines, session, sink } = yield* speaking({ script: ["One two three. Four five six.", "Sure."] })
      yield* session.send("Go")
      yield* hears(heard([1000, "start"], [200, "end"], [0, final("Stop.")]))
      yield* advance("1 minute")
      expect(sounded(sink, 0, 1900)).toBe(19)
      expect(yield* lines).toEqual([
        "user: Go",
        "assistant: One two three. Four [cut]",
        "user: Stop.",
        "assistant: Sure."
      ])
    })
  )

  it.scoped("[O8] `interrupt`: the speech is cut before the words are known", () =>
    Effect.gen(function* () {
      const { hears, lines, session } = yield* speaking({ script: ["One two three. Four five six.", "Sure."] })
      yield* session.send("Go")
      yield* hears(heard([1000, "start"], [900, "end"]), { bargeIn: { speech: "interrupt" } })
      yield* advance("1 minute")
      expect(yield* lines).toEqual(["user: Go", "assistant: One two three. [cut]"])
    })
  )

  it.scoped(
    "[O1, O8] while the user speaks nothing begins: neither the answer to what was sent before, nor a result",
    () =>
      Effect.gen(function* () {
        const found = yield* Deferred.make<void>()
        const { hears, lines, session, sink } = yield* speaking({
          script: [toolCall("a"), "I look.", "It is found.", "Sure."],
          tools: {
            a: () =>
              Effect.gen(function* () {
                yield* RunContext.update("looking")
                yield* Deferred.await(found)
                return "found"
              })
          }
        })
        yield* session.send("Go")
        yield* advance("2 seconds")
        yield* hears(heard([0, "start"], [3000, "end"], [100, final("One more thing.")]))
        yield* advance("1 second")
        yield* Deferred.succeed(found, undefined)
        yield* session.say("By the way.")
        yield* advance("2500 millis")
        expect(sounded(sink, 2000, 5700)).toBe(0)
        yield* advance("1 minute")
        const all = yield* lines
        expect(all).toContain("user: One more thing.")
        expect(all.filter((line) => line.startsWith("assistant:"))).toHaveLength(4)
        expect(all.some((line) => line.includes("[cut]"))).toBe(false)
      })
  )

  it.scoped("[O8] a speech that disallows interruptions is heard to its end, and the user is answered then", () =>
    Effect.gen(function* () {
      const { hears, lines, session, sink } = yield* speaking({ script: ["Sure."] })
      yield* session.say("This is important to know.", { allowInterruptions: false })
      yield* hears(heard([500, "start"], [700, "end"], [0, final("Stop.")]))
      yield* advance("1 minute")
      expect(sounded(sink, 0, 2600)).toBe(26)
      expect(yield* lines).toEqual(["user: Stop.", "assistant: This is important to know.", "assistant: Sure."])
    })
  )

  it.scoped("[O7, O8] who speaks is told, once for each turn, and what was understood", () =>
    Effect.gen(function* () {
      const { events, hears } = yield* speaking({ script: ["Hi.", "Bye."] })
      yield* hears(
        heard(
          [0, "start"],
          [600, partial("he")],
          [100, partial("hello")],
          [100, "end"],
          [0, final("Hello.")],
          [10_000, "start"],
          [900, "end"],
          [0, final("Bye.")]
        )
      )
      yield* advance("1 minute")
      expect((yield* events.filter("UserStateChanged")).map(({ at, state }) => `${at} ${state}`)).toEqual([
        "0 speaking",
        "1500 listening",
        "10800 speaking",
        "12400 listening"
      ])
      expect((yield* events.filter("UserTurnPartial")).map(({ at, text }) => `${at} ${text}`)).toEqual([
        "600 he",
        "700 hello"
      ])
    })
  )

  it.scoped("[O4] the request for the answer is made with what was heard", () =>
    Effect.gen(function* () {
      const { hears, request, session } = yield* speaking({ script: ["One two three. Four five six.", "Sure."] })
      yield* session.send("Go")
      yield* hears(heard([1000, "start"], [900, "end"], [0, final("Stop.")]))
      yield* advance("1 minute")
      const asked = JSON.stringify((yield* request(1)).prompt.content)
      expect(asked).toContain("One two three. ")
      expect(asked).not.toContain("Four")
    })
  )

  it.scoped("[O2] the history has the model's text, not what was made of it to be spoken", () =>
    Effect.gen(function* () {
      const spelled = Voice.output({
        synthesizer: {
          // "**3.50**" is spoken in many more characters, and without its marks
          synthesize: (text) =>
            Stream.fromIterable(Parts.spelled(text.replaceAll("*", "").replace("3.50", "three dollars fifty")))
        },
        sink: Parts.sink().service
      })
      const { lines, session } = yield* talk({
        script: ["It costs **3.50**, I think. So?"],
        pace: "instant",
        layer: spelled
      })
      yield* session.send("Go")
      yield* advance("2000 millis")
      yield* session.interrupt()
      yield* advance("1 second")
      const [, said = ""] = yield* lines
      expect("assistant: It costs **3.50**, I think. So?".startsWith(said.replace(" [cut]", ""))).toBe(true)
      expect(said).toMatch(/\[cut\]$/)
    })
  )

  it.scoped("[O8] a model that is slow: each sentence is spoken when it is there, and the next is no gap", () =>
    Effect.gen(function* () {
      const { asked, session, sink } = yield* speaking({
        script: [ScriptedModel.text("", { chunks: ["One two. ", "Three four. ", "Five."], pace: "5 seconds" })]
      })
      yield* session.send("Go")
      yield* advance("1 minute")
      expect(asked.map(({ at, text }) => `${at} ${text}`)).toEqual([
        "10000 One two. ",
        "15000 Three four. ",
        "15000 Five."
      ])
      expect(sink.begun).toHaveLength(8 + 11 + 5)
    })
  )

  it.scoped("[O8] the session closes while the user speaks: listen fails with SessionClosed, or waits for more", () =>
    Effect.gen(function* () {
      const { close, hears, session } = yield* speaking({ script: [] })
      const fiber = yield* hears(heard([0, "start"], [900, "end"], [2000, final("Hello?")]))
      yield* advance("500 millis")
      yield* close
      yield* advance("1 minute")
      const exit = yield* Fiber.await(fiber)
      expect(Exit.isFailure(exit) && Option.map(Cause.failureOption(exit.cause), ({ _tag }) => _tag)).toEqual(
        Option.some("SessionClosed")
      )
      expect((yield* session.history).items).toEqual([])
    })
  )

  it.scoped("[O8, K1] minutes of barge-ins, false starts and answers are the same each time", () =>
    Effect.gen(function* () {
      const minutes = times(5, 60)
      const hour = Effect.gen(function* () {
        const talked = yield* speaking({
          script: (request) => (request.index % 2 === 0 ? "This is a longer answer. It has two sentences." : "Yes.")
        })
        const minute: ReadonlyArray<readonly [number, Voice.Heard | "start" | "end"]> = [
          [5000, "start"],
          [800, partial("so")],
          [400, "end"],
          [100, final("So what?")],
          [3000, "start"],
          [700, "end"],
          [20_000, "start"],
          [900, "end"],
          [1500, final("And then?")],
          [600, "start"],
          [700, "end"],
          [26_300, final("Well.")]
        ]
        yield* talked.hears(heard(...Array.from({ length: minutes }, () => minute).flat()))
        yield* advance(`${minutes + 2} minutes`)
        expect(yield* usersSaid(talked)).toHaveLength(minutes * 3)
        return (yield* talked.events.all).map(({ _tag }) => _tag)
      })
      const first = yield* Effect.scoped(hour)
      expect(first.length).toBeGreaterThan(minutes * 20)
      expect(yield* Effect.scoped(hour)).toEqual(first)
    })
  )
})
