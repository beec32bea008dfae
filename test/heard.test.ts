import { describe, expect } from "@effect/vitest"
import { Effect, Exit, Layer, Scope, Stream } from "effect"
import { Agent, AgentOutput, AgentSession, RunContext } from "effect-meantime"
import { ScriptedModel, TestSession } from "effect-meantime/testing"
import { deck } from "./support/deck.js"
import { now, started, talk, toolCall, wait } from "./support/talk.js"
import { it } from "./support/virtual.js"

const { advance, settle } = TestSession
const { scoped } = it

const output = (service: AgentOutput.Service) => ({
  pace: "instant" as const,
  layer: Layer.succeed(AgentOutput.AgentOutput, service) as Layer.Layer<never>
})

/** Reads the text, then does what the test says with it. */
const reports = (
  body: (speech: AgentOutput.Speech, played: (piece: string) => Effect.Effect<void>) => Effect.Effect<unknown>
) =>
  output({
    play: (text, played, speech) => Effect.zipRight(Stream.runDrain(text), Effect.asVoid(body(speech, played)))
  })

const background =
  (seconds: number, result = "found") =>
  () =>
    RunContext.update("started").pipe(Effect.zipRight(Effect.sleep(seconds * 1000)), Effect.as(result))

const outputFailed = /^ERROR: The output failed while it played/

describe("O2: what an output is told and says", () => {
  scoped(
    "[O2] it is told which speech it plays: id, source, agent, what it covers, whether it may be interrupted",
    () =>
      Effect.gen(function* () {
        const { layer, speeches } = deck({ pace: 1 })
        const { events, session } = yield* talk({
          script: [toolCall("a"), "Fine.", "There."],
          tools: { a: background(5) },
          pace: "instant",
          layer
        })
        const said = yield* session.say("Hello.", { allowInterruptions: false })
        yield* session.send("Go")
        yield* advance("20 seconds")
        expect(speeches.map(({ agent, covers, id, source }) => ({ agent, covers, id, source }))).toEqual([
          { agent: "helper", covers: [], id: "speech_1", source: "say" },
          { agent: "helper", covers: [], id: "speech_2", source: "reply" },
          { agent: "helper", covers: ["call_1_final"], id: "speech_3", source: "tool-reply" }
        ])
        expect((yield* events.filter("SpeechCreated")).map(({ speechId }) => speechId)).toEqual(
          speeches.map(({ id }) => id)
        )
        const [first] = speeches
        expect(yield* first!.allowInterruptions).toBe(false)
        yield* said.setAllowInterruptions(true)
        expect(yield* first!.allowInterruptions).toBe(true)
      })
  )

  const text = "I owe you 5 $ 🎈 now."
  const offsets: ReadonlyArray<readonly [name: string, offsets: ReadonlyArray<number>, heard: string | undefined]> = [
    ["some of it", [5], "I owe"],
    ["all", [text.length], text],
    ["more than there is", [1000], text],
    ["without an end", [Number.POSITIVE_INFINITY], text],
    ["a smaller one, which counts", [9, 5], "I owe"],
    ["nothing", [0], undefined],
    ["less than nothing", [-4], undefined],
    ["a fraction", [5.9], "I owe"],
    ["none that is a number", [5, Number.NaN, "9" as never, undefined as never], "I owe"],
    ["the middle of a character", [text.indexOf("🎈") + 1], "I owe you 5 $ "]
  ]
  for (const [name, reported, heard] of offsets) {
    scoped(`[O2] the history keeps the text of the model up to the last offset: ${name}`, () =>
      Effect.gen(function* () {
        const { session } = yield* talk({
          script: [ScriptedModel.text(text, { chunks: ["I owe ", "you 5 $ 🎈 now."] })],
          ...reports((speech) => Effect.forEach(reported, speech.playedTo))
        })
        yield* session.send("Go")
        yield* settle
        const said = (yield* session.history).items.flatMap((item) =>
          item._tag === "Message" && item.role === "assistant" ? [item.text] : []
        )
        expect(said).toEqual(heard === undefined ? [] : [heard])
      })
    )
  }

  scoped("[O2] an offset is clamped to the text that was taken, not to what still waits", () =>
    Effect.gen(function* () {
      const { lines, session } = yield* talk({
        script: [],
        ...output({
          play: (text, _, speech) =>
            Stream.runForEach(Stream.take(text, 1), () => speech.playedTo(100)).pipe(Effect.zipRight(Effect.never))
        })
      })
      yield* session.say(
        Stream.concat(Stream.make("One. "), Stream.fromEffect(Effect.delay(Effect.succeed("Two."), 10)))
      )
      yield* advance("1 second")
      yield* session.interrupt()
      yield* settle
      expect(yield* lines).toEqual(["assistant: One. [cut]"])
    })
  )

  scoped("[O2] once there is an offset pieces do not count, whichever comes first", () =>
    Effect.gen(function* () {
      const { lines, session } = yield* talk({
        script: ["It costs 5 $.", "It costs 6 $."],
        ...reports((speech, played) =>
          Effect.all([played("It costs five dollars."), speech.playedTo(8), played(" Really.")])
        )
      })
      yield* session.send("Go")
      yield* settle
      yield* session.send("And now?")
      yield* settle
      expect(yield* lines).toEqual(["user: Go", "assistant: It costs", "user: And now?", "assistant: It costs"])
    })
  )

  scoped("[O2] a speech of several texts is played text by text, each with its own offsets", () =>
    Effect.gen(function* () {
      const { layer, log } = deck()
      const { lines, session } = yield* talk({
        script: [["Look at this.", toolCall("a"), "And that."], "Done."],
        tools: { a: () => Effect.succeed("a") },
        pace: "instant",
        layer
      })
      yield* session.send("Go")
      yield* advance("20 seconds")
      expect(yield* lines).toEqual([
        "user: Go",
        "assistant: Look at this.",
        "call call_1",
        'output call_1: "a"',
        "assistant: And that.",
        "assistant: Done."
      ])
      expect(log.filter((line) => line.includes("plays")).map((line) => line.split(" ")[2])).toEqual(
        Array(3).fill("speech_1")
      )
    })
  )
})

describe("O3: when a speech has begun", () => {
  scoped("[O3] with the first report, not when it was asked to play", () =>
    Effect.gen(function* () {
      const { layer } = deck({ latency: 700 })
      const { events, session } = yield* talk({ script: ["Sure."], pace: "instant", layer })
      yield* session.send("Go")
      yield* advance("5 seconds")
      expect((yield* events.filter("AgentStateChanged")).map(({ at, state }) => [at, state])).toEqual([
        [0, "thinking"],
        [700, "speaking"],
        [1200, "listening"]
      ])
    })
  )

  scoped("[O3] [U7] an update that interrupts leaves an answer alone until sound has begun", () =>
    Effect.gen(function* () {
      for (const [at, cut] of [
        [5, false],
        [8, true]
      ] as const) {
        const { layer } = deck({ latency: 7000, pace: 1000 })
        const { lines, session } = yield* talk({
          script: [toolCall("a"), "Fine then.", "Fire!"],
          tools: {
            a: () =>
              RunContext.update("started", { delivery: "silent" }).pipe(
                Effect.zipRight(Effect.sleep(at * 1000)),
                Effect.zipRight(RunContext.update("fire", { delivery: "interrupt" })),
                Effect.zipRight(Effect.sleep("1 hour"))
              )
          },
          pace: "instant",
          layer
        })
        yield* session.send("Go")
        yield* settle
        yield* session.send("And?")
        yield* advance("1 minute")
        const said = (yield* lines).filter((line) => line.startsWith("assistant"))
        // nothing of the text has been heard yet
        expect(said).toEqual(cut ? ["assistant: Fire!"] : ["assistant: Fine then.", "assistant: Fire!"])
      }
    })
  )
})

describe("O4: an output that is interrupted, and one that says nothing", () => {
  scoped("[O4] the answer is asked for once it is known what was heard, and the model is shown that", () =>
    Effect.gen(function* () {
      const { layer, log } = deck({ stops: 600 })
      const { events, lines, request, requested, session } = yield* talk({
        script: ["This will take.", "Sure."],
        pace: "instant",
        layer
      })
      yield* session.send("Go")
      yield* advance("800 millis")
      const cut = yield* session.send("Stop")
      yield* advance("500 millis")
      expect([yield* requested, yield* lines]).toEqual([1, ["user: Go"]])
      yield* advance("100 millis")
      expect(yield* requested).toBe(2)
      expect(yield* lines).toEqual(["user: Go", "assistant: This wi [cut]", "user: Stop"])
      expect(ScriptedModel.transcript(yield* request(1))).toContain("This wi")
      yield* cut.wait.pipe(Effect.zipLeft(Effect.void), TestSession.drive)
      expect((yield* lines).at(-1)).toBe("assistant: Sure.")
      expect(log.slice(0, 4)).toEqual(["0 plays speech_1", "200 sounds", "1400 stops", "1400 plays speech_2"])
      expect((yield* events.filter("SpeechEnded")).map(({ at }) => at)[0]).toBe(1400)
    })
  )

  scoped("[O4] past stopTimeout what was known counts; the next speech still waits until the output has stopped", () =>
    Effect.gen(function* () {
      const { layer, log } = deck({ stops: 3000, stopTimeout: 500 })
      const { lines, requested, session } = yield* talk({
        script: ["This will take.", "Sure."],
        pace: "instant",
        layer
      })
      yield* session.send("Go")
      yield* advance("800 millis")
      yield* session.send("Stop")
      yield* advance("499 millis")
      expect(yield* requested).toBe(1)
      yield* advance("1 millis")
      expect(yield* requested).toBe(2)
      expect(yield* lines).toEqual(["user: Go", "assistant: This [cut]", "user: Stop"])
      yield* advance("20 seconds")
      expect(log.slice(2, 4)).toEqual(["3800 stops", "3800 plays speech_2"])
      expect((yield* lines).at(-1)).toBe("assistant: Sure.")
    })
  )

  scoped("[O4] the next speech waits no longer than cancellationTimeout", () =>
    Effect.gen(function* () {
      const { layer, log } = deck({ stops: 60_000 })
      const { lines, session } = yield* talk({
        script: ["This will take.", "Sure."],
        pace: "instant",
        layer,
        cancellationTimeout: "4 seconds",
        logs: [/^WARN: The output does not stop/]
      })
      yield* session.send("Go")
      yield* advance("800 millis")
      yield* session.send("Stop")
      yield* advance("30 seconds")
      // a second of stopTimeout, then the wait for the output
      expect(log[2]).toBe("5800 plays speech_2")
      expect((yield* lines).slice(1)).toEqual(["assistant: This [cut]", "user: Stop", "assistant: Sure."])
    })
  )

  scoped("[O4] a stopTimeout without an end lasts as long as cancellationTimeout", () =>
    Effect.gen(function* () {
      const { layer } = deck({ stops: 60_000, stopTimeout: Number.POSITIVE_INFINITY })
      const { lines, session } = yield* talk({ script: [], pace: "instant", layer })
      yield* session.say("This will take.")
      yield* advance("800 millis")
      yield* session.interrupt()
      yield* advance("4 seconds")
      expect(yield* lines).toEqual([])
      yield* advance("1 second")
      expect(yield* lines).toEqual(["assistant: This [cut]"])
      yield* advance("1 minute")
    })
  )

  scoped("[O4] what the user says meanwhile comes behind what was heard, in its order; the last one is answered", () =>
    Effect.gen(function* () {
      const { layer } = deck({ stops: 600 })
      const { lines, session } = yield* talk({ script: ["This will take.", "Sure."], pace: "instant", layer })
      yield* session.send("Go")
      yield* advance("800 millis")
      const one = yield* session.send("One")
      yield* advance("200 millis")
      yield* session.send("Two")
      yield* advance("10 seconds")
      expect(yield* one.interrupted).toBe(true)
      expect(yield* lines).toEqual([
        "user: Go",
        "assistant: This wi [cut]",
        "user: One",
        "user: Two",
        "assistant: Sure."
      ])
    })
  )

  scoped("[O4] a speech that is interrupted once more, by force, or by the session's end, ends once", () =>
    Effect.gen(function* () {
      const { layer } = deck({ stops: 600 })
      const { close, events, lines, session } = yield* talk({ script: [], pace: "instant", layer })
      const handle = yield* session.say("This will take.")
      yield* advance("800 millis")
      const waiting = yield* started(handle.wait)
      yield* handle.interrupt()
      yield* handle.interrupt({ force: true })
      yield* session.interrupt({ force: true })
      expect([yield* handle.done, yield* handle.interrupted, yield* waiting]).toEqual([true, true, "pending"])
      yield* close
      expect(yield* waiting).toBe("done")
      expect(yield* events.filter("SpeechEnded")).toHaveLength(1)
      expect(yield* lines).toEqual(["assistant: This wi [cut]"])
      expect((yield* handle.items).length).toBe(1)
    })
  )

  scoped("[O4] an output that reports nothing and ends by itself has played everything", () =>
    Effect.gen(function* () {
      for (const play of [
        (text: Stream.Stream<string>) => Stream.runDrain(text),
        (text: Stream.Stream<string>) => Effect.zipRight(Stream.runDrain(text), Effect.sleep("3 seconds")),
        // it asks for none of it, and the rest comes later
        () => Effect.void
      ]) {
        const { lines, session } = yield* talk({
          script: [[ScriptedModel.text("One two. Three.", { pace: "1 second" }), toolCall("a")], "Done."],
          tools: { a: () => Effect.succeed("a") },
          ...output({ play })
        })
        yield* session.send("Go")
        yield* advance("1 minute")
        expect(yield* lines).toEqual([
          "user: Go",
          "assistant: One two. Three.",
          "call call_1",
          'output call_1: "a"',
          "assistant: Done."
        ])
      }
    })
  )

  scoped("[O4] one that says only that sound has begun has played everything as well; cut, nothing", () =>
    Effect.gen(function* () {
      const { lines, session } = yield* talk({
        script: [],
        ...reports((speech) => Effect.zipRight(speech.started, Effect.sleep("2 seconds")))
      })
      yield* session.say("One.")
      yield* session.say("Two.")
      yield* advance("3 seconds")
      yield* session.interrupt()
      yield* advance("3 seconds")
      expect(yield* lines).toEqual(["assistant: One."])
    })
  )

  scoped("[O4] [R1] run gives what was heard, however late that is known", () =>
    Effect.gen(function* () {
      const { layer } = deck({ stops: 600 })
      const { session } = yield* talk({ script: ["This will take."], pace: "instant", layer })
      const run = yield* Effect.fork(session.run("Go"))
      yield* advance("800 millis")
      yield* session.interrupt()
      yield* advance("5 seconds")
      expect((yield* run.await).pipe(Exit.map(({ text }) => text))).toEqual(Exit.succeed("This wi"))
    })
  )
})

describe("O5: a reply of which nothing was heard", () => {
  const working = (options: Parameters<typeof deck>[0], more: Partial<Parameters<typeof talk>[0]> = {}) => {
    const { layer, log } = deck(options)
    return Effect.map(
      talk({
        script: [toolCall("a"), "Fine.", "It is found.", "It is found, again.", "Third."],
        tools: { a: background(5) },
        pace: "instant",
        layer,
        logs: [outputFailed],
        ...more
      }),
      (one) => ({ ...one, log })
    )
  }

  for (const onInterruptedReply of ["drop", "redeliver"] as const) {
    scoped(`[O5] cut before it began, its items wait on: ${onInterruptedReply}`, () =>
      Effect.gen(function* () {
        const { lines, replies, session } = yield* working({}, { onInterruptedReply })
        yield* session.send("Go")
        yield* advance("5100 millis")
        yield* session.send("And?")
        yield* advance("20 seconds")
        expect(yield* replies).toEqual([
          "scheduled call_1_final",
          "interrupted call_1_final",
          "scheduled call_1_final",
          "completed call_1_final"
        ])
        expect((yield* lines).slice(-3)).toEqual(["user: And?", "assistant: It is found, again.", "assistant: Third."])
      })
    )
  }

  scoped("[O5] what a late report says counts: then it had begun", () =>
    Effect.gen(function* () {
      const { replies, session } = yield* working({ stops: 300 })
      yield* session.send("Go")
      yield* advance("5100 millis")
      yield* session.send("And?")
      yield* advance("20 seconds")
      expect(yield* replies).toEqual(["scheduled call_1_final", "interrupted call_1_final"])
    })
  )

  scoped(
    "[O5] its output dies: the items wait, nobody waits for them, and the next speech that begins brings them back",
    () =>
      Effect.gen(function* () {
        const { events, lines, log, replies, session } = yield* working({
          dies: (play) => (play === 2 ? "before" : undefined)
        })
        const run = yield* Effect.fork(session.run("Go"))
        yield* advance("1 hour")
        expect(yield* replies).toEqual(["scheduled call_1_final", "interrupted call_1_final"])
        // not at once, and whoever waits is told
        expect(log.filter((line) => line.includes("plays"))).toHaveLength(2)
        expect(Exit.isSuccess(yield* run.await)).toBe(true)
        yield* session.waitForIdle
        expect(yield* events.filter("SessionError")).toMatchObject([{ error: { tag: "OutputFailed" } }])
        expect((yield* lines).at(-1)).toBe('output call_1_final: "found"')
        yield* session.say("Hello?")
        yield* advance("20 seconds")
        expect((yield* replies).slice(2)).toEqual(["scheduled call_1_final", "completed call_1_final"])
        expect((yield* lines).slice(-2)).toEqual(["assistant: Hello?", "assistant: It is found, again."])
      })
  )

  scoped("[O5] an output that goes on dying is not asked again and again, and the items are kept", () =>
    Effect.gen(function* () {
      let alive = false
      const { log, lines, replies, session } = yield* working({
        dies: (play) => (play > 1 && !alive ? "before" : undefined)
      })
      yield* session.send("Go")
      yield* advance("10 seconds")
      yield* session.say("Lost.")
      yield* session.say("Lost, too.")
      yield* advance("1 hour")
      expect(log.filter((line) => line.includes("plays"))).toHaveLength(4)
      alive = true
      yield* session.say("Hello?")
      yield* advance("1 minute")
      expect((yield* lines).at(-1)).toBe("assistant: It is found, again.")
      expect((yield* replies).at(-1)).toBe("completed call_1_final")
    })
  )

  scoped("[O5] [D6] its output dies in the middle: it had begun, and is not said again", () =>
    Effect.gen(function* () {
      const { lines, replies, session } = yield* working({ dies: (play) => (play === 2 ? "after" : undefined) })
      yield* session.send("Go")
      yield* advance("20 seconds")
      yield* session.say("Hello?")
      yield* advance("20 seconds")
      expect(yield* replies).toEqual(["scheduled call_1_final", "interrupted call_1_final"])
      expect((yield* lines).slice(-2)).toEqual(["assistant: It [cut]", "assistant: Hello?"])
    })
  )

  scoped("[O5] [D6] redelivered, it is not said again at once either: its output has died", () =>
    Effect.gen(function* () {
      const { log, replies, session } = yield* working(
        { dies: (play) => (play === 2 ? "after" : undefined) },
        { onInterruptedReply: "redeliver" }
      )
      yield* session.send("Go")
      yield* advance("1 hour")
      expect(log.filter((line) => line.includes("plays"))).toHaveLength(2)
      yield* session.say("Hello?")
      yield* advance("20 seconds")
      expect((yield* replies).at(-1)).toBe("completed call_1_final")
    })
  )

  scoped("[O5] [D8] a reply that has made a call has begun", () =>
    Effect.gen(function* () {
      const { layer } = deck()
      const { replies, session } = yield* talk({
        script: [toolCall("a"), "Fine.", [toolCall("b"), "Looking."], "Sure."],
        tools: {
          a: { run: background(5), onResult: "act" },
          b: () => Effect.as(Effect.sleep("1 minute"), "b")
        },
        pace: "instant",
        layer
      })
      yield* session.send("Go")
      yield* advance("5100 millis")
      yield* session.send("Stop")
      yield* advance("2 minutes")
      expect((yield* replies).slice(0, 2)).toEqual(["scheduled call_1_final", "interrupted call_1_final"])
      expect((yield* replies).slice(2).filter((line) => line.includes("call_1_final"))).toEqual([])
    })
  )

  scoped("[O5] [S2] what waits for an output when the session closes is in the history, and is not told again", () =>
    Effect.gen(function* () {
      const { close, lines, replies, session } = yield* working({ dies: (play) => (play === 2 ? "before" : undefined) })
      yield* session.send("Go")
      yield* advance("20 seconds")
      yield* close
      expect(yield* replies).toEqual(["scheduled call_1_final", "interrupted call_1_final"])
      expect((yield* lines).at(-1)).toBe('output call_1_final: "found"')
    })
  )

  scoped("[O5] [D10] what waits for an output is dropped with its agent, and shown to the next", () =>
    Effect.gen(function* () {
      const { lines, replies, session } = yield* working({ dies: (play) => (play === 2 ? "before" : undefined) })
      yield* session.send("Go")
      yield* advance("20 seconds")
      yield* TestSession.drive(session.handoff(Agent.make("next", { instructions: "You go on." })))
      yield* session.say("Hello?")
      yield* advance("20 seconds")
      expect(yield* replies).toEqual(["scheduled call_1_final", "interrupted call_1_final", "dropped call_1_final"])
      expect((yield* lines).at(-1)).toBe("assistant: Hello?")
    })
  )

  scoped("[O5] [U6] what waits for an output counts: the oldest update goes when there are too many", () =>
    Effect.gen(function* () {
      const { layer } = deck({ dies: (play) => (play > 1 && play < 8 ? "before" : undefined) })
      const { events, session } = yield* talk({
        script: [toolCall("a"), "Fine.", ...Array.from({ length: 20 }, () => "News.")],
        tools: {
          a: () =>
            Effect.gen(function* () {
              for (let i = 0; i < 7; i++) {
                yield* RunContext.update(`news ${i}`)
                yield* Effect.sleep("10 seconds")
              }
              yield* Effect.sleep("1 hour")
            })
        },
        maxPendingUpdates: 3,
        pace: "instant",
        layer,
        logs: [outputFailed]
      })
      yield* session.send("Go")
      yield* advance("2 minutes")
      expect((yield* events.filter("UpdateDropped")).map(({ id }) => id)).toEqual([
        "call_1_update_1",
        "call_1_update_2",
        "call_1_update_3"
      ])
      yield* session.say("One.")
      yield* session.say("Two.")
      yield* session.say("Three.")
      yield* advance("1 minute")
      expect((yield* events.filter("ReplyEnded")).at(-1)).toMatchObject({
        status: "completed",
        updateIds: ["call_1_update_4", "call_1_update_5", "call_1_update_6"]
      })
    })
  )
})

describe("O6: an output that stalls", () => {
  scoped("[O6] past stallTimeout the speech ends as failed, and the next one is played", () =>
    Effect.gen(function* () {
      const { layer, log } = deck({ hangs: (play) => (play === 1 ? 1 : undefined), stallTimeout: "3 seconds" })
      const { events, lines, session } = yield* talk({ script: [], pace: "instant", layer })
      const handle = yield* session.say("This will take.")
      yield* session.say("Next.")
      yield* advance("3699 millis")
      expect(yield* handle.done).toBe(false)
      yield* advance("10 seconds")
      expect(yield* events.filter("SessionError")).toMatchObject([{ at: 3700, error: { tag: "OutputStalled" } }])
      expect(log.slice(2, 4)).toEqual(["3700 stops", "3700 plays speech_2"])
      expect(yield* lines).toEqual(["assistant: This [cut]", "assistant: Next."])
    })
  )

  scoped("[O6] [O5] a reply that stalls before it began ends as failed, and its items wait on", () =>
    Effect.gen(function* () {
      const { layer } = deck({ hangs: (play) => (play === 2 ? 0 : undefined), latency: 0, stallTimeout: 3000 })
      const silent = yield* Effect.succeed(layer)
      const { events, session } = yield* talk({
        script: [toolCall("a"), "Fine.", "It is found."],
        tools: { a: background(5) },
        pace: "instant",
        layer: silent
      })
      yield* session.send("Go")
      yield* advance("20 seconds")
      // this one has said that sound began
      expect((yield* events.filter("ReplyEnded")).map(({ status }) => status)).toEqual(["failed"])
    })
  )

  scoped("[O6] time in which it waits for text does not count", () =>
    Effect.gen(function* () {
      const { layer } = deck({ stallTimeout: "1 second" })
      const { events, lines, session } = yield* talk({ script: [], pace: "instant", layer })
      yield* session.say(
        Stream.concat(Stream.make("One. "), Stream.fromEffect(Effect.as(Effect.sleep("1 minute"), "Two.")))
      )
      yield* advance("2 minutes")
      expect(yield* events.filter("SessionError")).toEqual([])
      expect(yield* lines).toEqual(["assistant: One. Two."])
    })
  )

  scoped("[O6] [O7] time in which it is paused does not count, and runs anew after that", () =>
    Effect.gen(function* () {
      const { layer } = deck({ stallTimeout: "1 second", pauses: true, hangs: () => 2 })
      const { events, lines, session } = yield* talk({ script: [], pace: "instant", layer })
      yield* session.say("One two three.")
      yield* advance("700 millis")
      const turn = yield* session.userTurn({ speech: "pause" })
      yield* advance("1 hour")
      expect(yield* events.filter("SessionError")).toEqual([])
      yield* turn.discard
      yield* advance("10 seconds")
      const [error] = yield* events.filter("SessionError")
      expect(error!.at).toBeGreaterThanOrEqual(3_600_000 + 700 + 1000)
      expect(yield* lines).toEqual(["assistant: One two [cut]"])
    })
  )

  scoped("[O6] [K1] without it nothing is timed: a speech may be silent for a day", () =>
    Effect.gen(function* () {
      const { layer } = deck({ hangs: () => 1 })
      const { events, session } = yield* talk({ script: [], pace: "instant", layer })
      const handle = yield* session.say("This will take.")
      yield* advance("1 day")
      expect([yield* handle.done, yield* events.filter("SessionError")]).toEqual([false, []])
      expect(yield* now).toBe(86_400_000)
    })
  )

  scoped("[O6] [L3] times that make no sense are refused when the session is made", () =>
    Effect.gen(function* () {
      for (const wrong of [
        { stallTimeout: 0 },
        { stallTimeout: -1 },
        { stopTimeout: Number.NaN },
        { pause: 5 as never }
      ]) {
        const play: AgentOutput.Service["play"] = (text) => Stream.runDrain(text)
        const exit = yield* AgentSession.make({ agent: Agent.make("helper", { instructions: "" }) }).pipe(
          Effect.provide(output({ play, ...wrong }).layer),
          Effect.provide(ScriptedModel.layer([])),
          Effect.scoped,
          Effect.exit
        )
        expect(String(Exit.isFailure(exit) ? exit.cause : "")).toContain("the output of agent")
      }
    })
  )
})

describe("races", () => {
  scoped("[O4] [O7] a commit while the output of the speech before is stopping is answered once that is known", () =>
    Effect.gen(function* () {
      const { layer } = deck({ stops: 600 })
      const { lines, session } = yield* talk({ script: ["This will take.", "Sure."], pace: "instant", layer })
      yield* session.send("Go")
      yield* advance("800 millis")
      const turn = yield* session.userTurn({ speech: "interrupt" })
      yield* advance("100 millis")
      yield* turn.commit("Stop")
      yield* advance("10 seconds")
      expect(yield* lines).toEqual(["user: Go", "assistant: This wi [cut]", "user: Stop", "assistant: Sure."])
    })
  )

  scoped("[O1] [O4] what is taken back and turns out to have sounded goes on from its sentence", () =>
    Effect.gen(function* () {
      const { layer } = deck({ stops: 300 })
      const { lines, session } = yield* talk({ script: [], pace: "instant", layer })
      const handle = yield* session.say("One. Two.")
      yield* advance("100 millis")
      const scope = yield* Scope.make()
      yield* Scope.extend(session.claimUserTurn, scope)
      yield* advance("1 second")
      yield* Scope.close(scope, Exit.void)
      yield* advance("10 seconds")
      expect([yield* handle.interrupted, yield* lines]).toEqual([false, ["assistant: One. Two."]])
    })
  )

  scoped("[O1] [O4] the floor is free again before the output has stopped", () =>
    Effect.gen(function* () {
      const { layer, log } = deck({ stops: 300 })
      const { lines, session } = yield* talk({ script: [], pace: "instant", layer })
      yield* session.say("One. Two.")
      yield* advance("100 millis")
      yield* Effect.scoped(session.claimUserTurn)
      yield* advance("10 seconds")
      expect(yield* lines).toEqual(["assistant: One. Two."])
      expect(log.filter((line) => line.includes("plays"))).toEqual(["0 plays speech_1", "400 plays speech_1"])
    })
  )

  scoped("[O4] [S2] closing waits until it is known what was heard", () =>
    Effect.gen(function* () {
      const { layer } = deck({ stops: 600 })
      const { close, lines, session } = yield* talk({ script: [], pace: "instant", layer, drainTimeout: 0 })
      yield* session.say("This will take.")
      yield* advance("800 millis")
      yield* close
      expect(yield* lines).toEqual(["assistant: This wi [cut]"])
    })
  )

  scoped("[O4] [F7] a model that fails while its text is played ends the speech where it was heard", () =>
    Effect.gen(function* () {
      const { layer } = deck({ stops: 600 })
      const { lines, session } = yield* talk({
        script: [["This will take.", wait("800 millis"), ScriptedModel.fail("overloaded")], "Sure."],
        pace: "instant",
        layer,
        logs: [/^WARN: The model/]
      })
      const handle = yield* session.send("Go")
      yield* session.say("Next.")
      yield* advance("20 seconds")
      expect((yield* handle.error)._tag).toBe("Some")
      expect(yield* lines).toEqual(["user: Go", "assistant: This wi [cut]", "assistant: Next."])
    })
  )
})
