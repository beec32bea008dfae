import { describe, expect, it } from "vitest"
import * as Incoming from "../../src/internal/machine/incoming.js"
import * as Speech from "../../src/internal/machine/speech.js"
import type { State, TextEntry } from "../../src/internal/machine/state.js"
import * as Turns from "../../src/internal/machine/turns.js"
import {
  agent,
  answer,
  call,
  callOf,
  done,
  end,
  failure,
  history,
  input,
  say,
  send,
  session,
  stepOf,
  turn,
  update
} from "./support.js"

const book = (plays = false): State => session(agent("ada", { tools: [{ name: "book" }], plays }))

const orders: ReadonlyArray<ReadonlyArray<string>> = [
  ["c1", "c2", "c3"],
  ["c1", "c3", "c2"],
  ["c2", "c1", "c3"],
  ["c2", "c3", "c1"],
  ["c3", "c1", "c2"],
  ["c3", "c2", "c1"]
]

const outputs = (s: State): ReadonlyArray<string> =>
  history(s).flatMap((line) => /^output (\S+):/.exec(line)?.slice(1) ?? [])

describe("[T2] outputs enter in the order in which the model asked", () => {
  for (const order of orders) {
    for (const streamEnds of ["before", "after"] as const) {
      it(`${order.join(", ")} end, the stream ends ${streamEnds} that`, () => {
        const s = book()
        send(s)
        const step = stepOf(s)
        for (const callId of ["c1", "c2", "c3"]) call(s, step, callId, "book")
        if (streamEnds === "before") done(s, step)
        const entered: Array<ReadonlyArray<string>> = []
        for (const callId of order) {
          end(s, callId)
          entered.push(outputs(s))
        }
        if (streamEnds === "after") {
          expect(outputs(s)).toEqual([])
          done(s, step)
        } else {
          // each as soon as those before it are in
          const known = order.map((_, i) => order.slice(0, i + 1))
          expect(entered).toEqual(
            known.map((ended) => {
              const missing = ["c1", "c2", "c3"].findIndex((callId) => !ended.includes(callId))
              return ["c1", "c2", "c3"].slice(0, missing < 0 ? 3 : missing)
            })
          )
        }
        expect(outputs(s)).toEqual(["c1", "c2", "c3"])
        expect(history(s).slice(0, 7)).toEqual([
          "user: hi",
          "call c1",
          "call c2",
          "call c3",
          ...["c1", "c2", "c3"].map((callId) => `output ${callId}: "${callId} is done"`)
        ])
      })
    }

    it(`and later updates of a call behind its output: ${order.join(", ")}`, () => {
      const s = book()
      turn(s, [
        ["c1", "book"],
        ["c2", "book"],
        ["c3", "book"]
      ])
      for (const callId of order) {
        update(s, callId, 1)
        update(s, callId, 2)
        end(s, callId)
      }
      const all = outputs(s)
      expect(all.filter((id) => id.length === 2)).toEqual(["c1", "c2", "c3"])
      for (const callId of order) {
        expect(all.filter((id) => id.startsWith(callId))).toEqual([callId, `${callId}_update_1`, `${callId}_final`])
      }
      expect(s.unrecorded.size).toBe(0)
    })
  }

  it("a second update of a call whose output is held is held behind it", () => {
    const s = book()
    turn(s, [
      ["c1", "book"],
      ["c2", "book"]
    ])
    update(s, "c2", 1)
    expect(update(s, "c2", 2).events).toEqual(["c2_update_1 updated: 2"])
    expect(end(s, "c2").events).toEqual(['c2_final done: "c2 is done"'])
    expect(end(s, "c1").events.slice(1, 7)).toEqual([
      '+ output c1: "c1 is done"',
      "+ output c2: 1",
      "+ call c2_update_1",
      "+ output c2_update_1: 2",
      "+ call c2_final",
      '+ output c2_final: "c2 is done"'
    ])
  })

  it("of calls that have nothing in common, a silent first update releases the turn and asks for no reply", () => {
    const s = book()
    turn(s, [["c1", "book"]])
    expect(update(s, "c1", "on it", "silent").events).toEqual([
      'c1 updated: "on it"',
      "c1 released by update",
      '+ output c1: "<update book c1 on it>"',
      "speech_1 ended",
      "agent listening"
    ])
  })
})

describe("text and calls", () => {
  const entryOf = (s: State): TextEntry =>
    stepOf(s).entries.find((entry): entry is TextEntry => entry._tag === "Text" && entry.play === "playing")!

  it("[T2] a call behind text enters once the text has been played, and its output behind it", () => {
    const s = book(true)
    send(s)
    const step = stepOf(s)
    expect(say(s, step, "one moment").commands).toEqual(["Play speech_1"])
    expect(call(s, step, "c1", "book").commands).toEqual(["StartRun c1"])
    done(s, step)
    end(s, "c1")
    expect(history(s)).toEqual(["user: hi"])
    const entry = entryOf(s)
    input(s, () => Incoming.played(s, entry, "one moment"))
    input(s, () => Incoming.playEnded(s, entry, false))
    expect(history(s)).toEqual(["user: hi", "assistant: one moment", "call c1", 'output c1: "c1 is done"'])
  })

  it("[F3] what is cut keeps what was played, and the calls behind it go on", () => {
    const s = book(true)
    send(s)
    const step = stepOf(s)
    say(s, step, "one moment")
    call(s, step, "c1", "book")
    const entry = entryOf(s)
    input(s, () => Incoming.played(s, entry, "one mo"))
    const { commands } = input(s, () => Turns.interrupt(s, step.speech))
    expect(commands).toEqual(["StopReading speech_1", "StopPlaying speech_1", "StartTimer Stop 1000"])
    end(s, "c1")
    // until the output has stopped it may say where
    expect(history(s)).toEqual(["user: hi"])
    input(s, () => Incoming.played(s, entry, "me"))
    expect(input(s, () => Incoming.playEnded(s, entry, true)).commands).toEqual(["StopTimer Stop 1000"])
    expect(history(s)).toEqual(["user: hi", "assistant (cut): one mome", "call c1", 'output c1: "c1 is done"'])
    // what still streams in and plays counts no more
    input(s, () => Incoming.played(s, entry, "nt"))
    expect(input(s, () => Incoming.playEnded(s, entry, true)).events).toEqual([])
    expect(say(s, step, "more").events).toEqual([])
  })

  it("a handler that waits for the text before its call is told when that has been played, or cut", () => {
    for (const cut of [false, true]) {
      const s = book(true)
      send(s)
      const step = stepOf(s)
      say(s, step, "one moment")
      call(s, step, "c1", "book")
      const told: Array<string> = []
      input(s, () => Speech.waitForPlayout(s, callOf(s, "c1"), () => told.push("played")))
      expect(told).toEqual([])
      const entry = entryOf(s)
      if (cut) input(s, () => Turns.interrupt(s, step.speech))
      expect(told).toEqual([])
      input(s, () => Incoming.playEnded(s, entry, cut))
      expect(told).toEqual(["played"])
    }
  })

  it("[T3] what could not be read is asked for once more, without what was called before", () => {
    const s = book()
    send(s)
    expect(input(s, () => Incoming.modelEnded(s, stepOf(s), failure(true))).commands).toEqual([
      "StopReading speech_1",
      "AskModel speech_1 auto"
    ])
    expect(input(s, () => Incoming.modelEnded(s, stepOf(s), failure(true))).events).toEqual([
      "speech_1 step ended: - {}",
      "error MalformedOutput",
      "speech_1 ended",
      "agent listening"
    ])
  })

  it("[F7] a failure ends the speech and leaves the session alive", () => {
    const s = book()
    send(s)
    const { events } = input(s, () => Incoming.modelEnded(s, stepOf(s), failure()))
    expect(events).toEqual([
      "speech_1 step ended: - {}",
      "error HttpResponseError",
      "speech_1 ended",
      "agent listening"
    ])
    send(s)
    answer(s)
    expect(history(s).at(-1)).toBe("assistant: ok")
  })
})
