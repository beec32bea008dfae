import { Terminal } from "@effect/platform"
import { describe, expect } from "@effect/vitest"
import { Effect, Layer, Mailbox, Stream } from "effect"
import { Agent, AgentOutput } from "effect-meantime"
import { ScriptedModel, TestSession } from "effect-meantime/testing"
import { now, started, talk, toolCall, wait } from "./support/talk.js"
import { it } from "./support/virtual.js"

const { advance, settle } = TestSession

/** What an output that is played by hand is told of its speech. */
const playedSpeech: AgentOutput.Speech = {
  id: "speech_1",
  source: "say",
  agent: "helper",
  covers: [],
  allowInterruptions: Effect.succeed(true),
  started: Effect.void,
  playedTo: () => Effect.void
}

/** Plays a text with the output in scope; what was played is listed with the time. */
const play = (text: Stream.Stream<string>) =>
  Effect.gen(function* () {
    const pieces: Array<readonly [string, number]> = []
    const { play } = yield* AgentOutput.AgentOutput
    const done = yield* started(
      play(text, (piece) => Effect.map(now, (at) => void pieces.push([piece, at])), playedSpeech)
    )
    return { pieces, done }
  })

/** An output of the test's own, for the session's `talk`. */
const output = (play: AgentOutput.Service["play"]) => ({
  pace: "instant" as const,
  layer: Layer.succeed(AgentOutput.AgentOutput, { play })
})

describe("layerPaced", () => {
  it.scoped("[F3] plays word by word, at 15 characters a second by default", () =>
    Effect.gen(function* () {
      const { done, pieces } = yield* play(Stream.make("This will ", "take some time."))
      yield* advance("1 second")
      expect(pieces).toHaveLength(3)
      expect(yield* done).toBe("pending")
      yield* advance("1 second")
      expect(yield* done).toBe("done")
      expect(pieces.map(([piece]) => piece).join("")).toBe("This will take some time.")
      expect(pieces.map(([, at]) => Math.round(at / (1000 / 15)))).toEqual([5, 10, 15, 20, 25])
    }).pipe(Effect.provide(AgentOutput.layerPaced()))
  )

  it.scoped("[F3] plays at the pace it was given, and no faster than the text comes", () =>
    Effect.gen(function* () {
      const slow = Stream.make("This ", "will.").pipe(Stream.tap(() => Effect.sleep("3 seconds")))
      const { pieces } = yield* play(slow)
      yield* advance("20 seconds")
      expect(pieces).toEqual([
        ["This ", 4000],
        ["will.", 8000]
      ])
    }).pipe(Effect.provide(AgentOutput.layerPaced({ charactersPerSecond: 5 })))
  )

  it.scoped("[F3] keeps every character: what was played is what was said", () =>
    Effect.gen(function* () {
      const text = "  Two  spaces,\n\na tab\t, and an end. \n"
      const { pieces } = yield* play(Stream.make(text.slice(0, 7), text.slice(7, 20), text.slice(20)))
      yield* advance("20 seconds")
      expect(pieces.map(([piece]) => piece).join("")).toBe(text)
    }).pipe(Effect.provide(AgentOutput.layerPaced()))
  )
})

/** The output on a terminal, and what was written to that. */
const terminal = () => {
  const written: Array<string> = []
  const terminal = Layer.succeed(Terminal.Terminal, {
    columns: Effect.succeed(80),
    rows: Effect.succeed(25),
    isTTY: Effect.succeed(false),
    readInput: Effect.flatMap(Mailbox.make<Terminal.UserInput>(), Effect.succeed),
    readLine: Effect.never,
    display: (text: string) => Effect.sync(() => void written.push(text))
  } as unknown as Terminal.Terminal)
  return { layer: Layer.provide(AgentOutput.layerTerminal, terminal), written }
}

describe("layerTerminal", () => {
  it.scoped("writes each speech to the terminal as it comes, on a line of its own", () =>
    Effect.gen(function* () {
      const { layer, written } = terminal()
      const { lines, session } = yield* talk({
        script: [["One ", ScriptedModel.text("two.")], [ScriptedModel.text("Cut here", { pace: "1 second" })]],
        pace: "instant",
        layer
      })
      yield* session.send("Go")
      yield* settle
      expect(written.join("")).toBe("One \ntwo.\n")
      yield* session.send("Again")
      yield* advance("1500 millis")
      yield* session.interrupt()
      yield* settle
      expect(written.join("")).toBe("One \ntwo.\nCut \n")
      expect((yield* lines).at(-1)).toBe("assistant: Cut [cut]")
    })
  )
})

describe("control sequences", () => {
  const attacks: ReadonlyArray<readonly [string, ReadonlyArray<string>, string]> = [
    ["a reset, split over pieces", ["ready", "\u001b", "c", " set\u0007"], "readyc set"],
    ["colours and a moved cursor", ["\u001b[31mred\u001b[", "2J\u001b[", "H!"], "[31mred[2J[H!"],
    ["a window title, ended by a bell", ["\u001b", "]0;mine\u0007", "now"], "]0;minenow"],
    ["a sequence of one character", ["\u009b2", "J", "\u009d52;c;aGk=\u009c."], "2J52;c;aGk=."],
    [
      "what goes back and what deletes",
      ["pay 9\b", "1\r", "you\u007f owe\u000b\u000c nothing"],
      "pay 91you owe nothing"
    ],
    ["all others", [Array.from({ length: 32 }, (_, i) => String.fromCharCode(i)).join("")], "\t\n"],
    ["line feeds, tabs and letters of all kinds", ["a\r\n", "\tb é 🎈\u00a0\u200d"], "a\n\tb é 🎈\u00a0\u200d"]
  ]
  for (const [name, pieces, shown] of attacks) {
    it.scoped(`[O2] of a model reach no terminal, and count as played: ${name}`, () =>
      Effect.gen(function* () {
        const { layer, written } = terminal()
        const reported = yield* Effect.provide(play(Stream.fromIterable(pieces)), layer)
        yield* settle
        expect(yield* reported.done).toBe("done")
        expect(written.join("")).toBe(`${shown}\n`)
        expect(reported.pieces.map(([piece]) => piece)).toEqual(pieces)
      })
    )
  }

  it.scoped("[O2] the history keeps what the model and the program had said", () =>
    Effect.gen(function* () {
      const { layer, written } = terminal()
      const { session } = yield* talk({ script: ["ready\u001bc"], pace: "instant", layer })
      yield* session.send("Go")
      yield* settle
      yield* session.say(Stream.make("one\u001b", "[2Jtwo", "\u0085\u0090three"))
      yield* settle
      expect(written.join("")).toBe("readyc\none[2Jtwothree\n")
      const { items } = yield* session.history
      expect(items.flatMap((item) => (item._tag === "Message" ? [item.text] : []))).toEqual([
        "Go",
        "ready\u001bc",
        "one\u001b[2Jtwo\u0085\u0090three"
      ])
    })
  )
})

describe("an output of one's own", () => {
  it.scoped("[F3] what it reported as played is what the history keeps", () =>
    Effect.gen(function* () {
      const { lines, session } = yield* talk({
        script: ["This will take.", "Sure."],
        ...output((text, played) =>
          Stream.runForEach(text, (piece) => Effect.zipRight(Effect.sleep("1 second"), played(piece.toUpperCase())))
        )
      })
      yield* session.send("Go")
      yield* advance("2500 millis")
      yield* session.send("Stop")
      yield* advance("5 seconds")
      expect(yield* lines).toEqual(["user: Go", "assistant: THIS WILL [cut]", "user: Stop", "assistant: SURE."])
    })
  )

  it.scoped("[F3] [O4] it is interrupted when the speech is cut; what its finalizers report counts as well", () =>
    Effect.gen(function* () {
      const stopped: Array<number> = []
      const { lines, session } = yield* talk({
        script: ["This will take some time.", "Sure."],
        ...output((text, played) =>
          Stream.runForEach(text, (piece) => Effect.zipRight(Effect.sleep("1 second"), played(piece))).pipe(
            Effect.onInterrupt(() =>
              Effect.zipRight(
                Effect.map(now, (at) => void stopped.push(at)),
                played("take ")
              )
            )
          )
        )
      })
      yield* session.send("Go")
      yield* advance("2500 millis")
      yield* session.send("Stop")
      yield* advance("5 seconds")
      expect(stopped).toEqual([2500])
      expect(yield* lines).toEqual(["user: Go", "assistant: This will take [cut]", "user: Stop", "assistant: Sure."])
    })
  )

  it.scoped("[F1] never plays two at once, although the one that was cut needs time to stop", () =>
    Effect.gen(function* () {
      let playing = 0
      let most = 0
      const { lines, session } = yield* talk({
        script: ["This will take some time.", "Sure."],
        ...output((text, played) =>
          Effect.acquireUseRelease(
            Effect.sync(() => {
              most = Math.max(most, ++playing)
            }),
            () => Stream.runForEach(text, (piece) => Effect.zipRight(Effect.sleep("1 second"), played(piece))),
            () =>
              Effect.zipRight(
                Effect.sleep("3 seconds"),
                Effect.sync(() => --playing)
              )
          )
        )
      })
      yield* session.send("Go")
      yield* advance("2500 millis")
      yield* session.send("Stop")
      yield* session.say("One.")
      yield* session.say("Two.")
      yield* advance("30 seconds")
      expect(most).toBe(1)
      expect((yield* lines).slice(1)).toEqual([
        "assistant: This will [cut]",
        "user: Stop",
        "assistant: Sure.",
        "assistant: One.",
        "assistant: Two."
      ])
    })
  )

  it.scoped("[F7] an output that fails ends its speech with an error event, and the session lives on", () =>
    Effect.gen(function* () {
      let n = 0
      const { events, lines, session } = yield* talk({
        script: [["This will take.", toolCall("a")], "Sure."],
        tools: { a: () => Effect.as(Effect.sleep("5 seconds"), "a") },
        logs: [/^ERROR: The output failed while it played/],
        ...output((text, played) =>
          Stream.runForEach(text, (piece) =>
            n++ === 1 ? Effect.die("no device") : Effect.zipRight(Effect.sleep("1 second"), played(piece))
          )
        )
      })
      const handle = yield* session.send("Go")
      yield* advance("10 seconds")
      expect(yield* handle.done).toBe(true)
      expect(yield* events.filter("SessionError")).toHaveLength(1)
      expect(yield* lines).toEqual(["user: Go", "assistant: This [cut]", "call call_1", 'output call_1: "a"'])
      yield* session.send("Well?")
      yield* advance("5 seconds")
      expect((yield* lines).at(-1)).toBe("assistant: Sure.")
    })
  )

  it.scoped("[F1] the model is read on while the output plays: its calls start before the text is over", () =>
    Effect.gen(function* () {
      const { events, session } = yield* talk({
        script: [["This will take some time.", toolCall("a"), wait("1 second"), toolCall("a")], "Done."],
        tools: { a: () => Effect.succeed("a") }
      })
      yield* session.send("Go")
      yield* advance("20 seconds")
      expect((yield* events.filter("ToolCallStarted")).map(({ at }) => at)).toEqual([0, 1000])
      // and the reply to them comes when the text has been played
      expect(
        (yield* events.filter("ItemAdded")).flatMap(({ at, item }) => (item._tag === "FunctionCallOutput" ? [at] : []))
      ).toEqual([5000, 5000])
    })
  )

  it.scoped("[L2, F3] an agent may have its own", () =>
    Effect.gen(function* () {
      const { events, session } = yield* talk({
        script: [],
        pace: "instant",
        agent: Agent.make("helper", { instructions: "You help." }).pipe(
          Agent.provide(AgentOutput.layerPaced({ charactersPerSecond: 1 }))
        )
      })
      yield* session.say("Ten chars.")
      yield* advance("20 seconds")
      expect(yield* events.filter("SpeechEnded")).toMatchObject([{ at: 10_000 }])
    })
  )

  it.scoped("[K1] the default output takes no time", () =>
    Effect.gen(function* () {
      const { session } = yield* talk({ script: ["This will take no time at all."], pace: "instant" })
      const handle = yield* session.send("Go")
      yield* handle.wait
      expect(yield* now).toBe(0)
    })
  )
})
