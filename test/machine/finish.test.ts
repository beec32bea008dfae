import { describe, expect, it } from "vitest"
import * as Incoming from "../../src/internal/machine/incoming.js"
import * as Jobs from "../../src/internal/machine/jobs.js"
import type { ModelEnd } from "../../src/internal/machine/protocol.js"
import type { JobWaiter, State, Step } from "../../src/internal/machine/state.js"
import * as Turns from "../../src/internal/machine/turns.js"
import {
  agent,
  answer,
  call,
  done,
  end,
  failure,
  history,
  input,
  job,
  type Left,
  runOf,
  say,
  send,
  session,
  stepOf,
  stopped,
  turn,
  update
} from "./support.js"

/** The model says why it ends, and ends. */
const finish = (s: State, step: Step, reason: string): Left<void> =>
  input(s, () => {
    const problem = reason === "error" ? failure().failure : undefined
    Incoming.part(s, step, { type: "finish", reason, usage: {}, failure: problem })
    Incoming.modelEnded(s, step, { _tag: "Done" })
  })

const book = (plays = false): State =>
  session(agent("ada", { plays, tools: [{ name: "book", allowCancellation: true }, { name: "keep" }] }))

/** A reply to a background call that has reported is about to be asked for. */
const reply = (): State => {
  const s = book()
  turn(s, [["c1", "book"]])
  update(s, "c1", "on it")
  answer(s)
  end(s, "c1")
  return s
}

type Said = "a word" | "nothing" | "blanks" | "thoughts" | "a call"

const says = (s: State, step: Step, said: Said): void => {
  if (said === "a word") say(s, step, "Half")
  else if (said === "blanks") say(s, step, " \n")
  else if (said === "a call") call(s, step, "c2", "keep")
  else if (said === "thoughts")
    input(s, () => Incoming.part(s, step, { type: "reasoning-delta", id: "r", delta: "hm", metadata: undefined }))
}

const errors = (left: Left<unknown>): ReadonlyArray<string> => left.events.filter((line) => line.startsWith("error "))

describe("[F7] the reason with which a step ends", () => {
  const rows: ReadonlyArray<readonly [reason: string, said: Said, error: string | undefined]> = [
    ["error", "nothing", "error HttpResponseError"],
    ["error", "a word", "error HttpResponseError"],
    ["error", "thoughts", "error HttpResponseError"],
    ["error", "a call", "error HttpResponseError"],
    ["length", "nothing", "error Length"],
    ["length", "blanks", "error Length"],
    ["length", "thoughts", "error Length"],
    ["length", "a word", undefined],
    ["length", "a call", undefined],
    ["content-filter", "nothing", "error ContentFilter"],
    ["content-filter", "blanks", "error ContentFilter"],
    ["content-filter", "a word", undefined],
    ["content-filter", "a call", undefined],
    ["stop", "nothing", undefined],
    ["unknown", "nothing", undefined],
    ["toString", "nothing", undefined]
  ]
  it.each(rows)("%s, with %s said: %s", (reason, said, error) => {
    const s = book()
    const { result: speech } = send(s)
    const step = stepOf(s)
    says(s, step, said)
    const left = finish(s, step, reason)
    expect(errors(left)).toEqual(error === undefined ? [] : [error])
    expect(speech.failure !== undefined).toBe(reason === "error")
    // a failure ends the turn, whatever was called
    expect(speech.state === "ended").toBe(reason === "error" || said !== "a call")
    expect(left.commands.filter((line) => line.startsWith("AskModel"))).toEqual([])
  })

  it.each([
    ["error", "nothing", "failed"],
    ["error", "a word", "failed"],
    ["length", "nothing", "skipped"],
    ["length", "a word", "completed"],
    ["content-filter", "nothing", "skipped"],
    ["stop", "nothing", "skipped"]
  ] as const)("[D5] %s, with %s said, ends a deferred reply as %3$s", (reason, said, status) => {
    const s = reply()
    const step = stepOf(s)
    says(s, step, said)
    expect(finish(s, step, reason).events).toContain(`reply_1 ${status}: c1_final`)
  })
})

describe("[F7] a step that is paused", () => {
  it("is gone on with at once, in the same speech, and is no tool step", () => {
    const s = session(agent("ada"), { maxToolSteps: 0 })
    const { result: speech } = send(s)
    say(s, stepOf(s), "First, ")
    const first = finish(s, stepOf(s), "pause")
    expect(first.commands).toEqual(["AskModel speech_1 none"])
    expect(first.events.filter((line) => line.startsWith("speech_"))).toEqual(["speech_1 step ended: pause {}"])
    expect(stepOf(s)).toMatchObject({ index: 1, from: 1, continues: 0 })
    say(s, stepOf(s), "second, ")
    finish(s, stepOf(s), "pause")
    expect(stepOf(s)).toMatchObject({ index: 2, from: 2, continues: 0 })
    say(s, stepOf(s), "third.")
    expect(finish(s, stepOf(s), "stop").events).toContain("speech_1 ended")
    expect(history(s)).toEqual(["user: hi", "assistant: First, ", "assistant: second, ", "assistant: third."])
    expect([speech.toolSteps, speech.said]).toEqual([0, "First, second, third."])
  })

  it("goes on at most ten times in a row, and then says so", () => {
    const s = book()
    send(s)
    for (let i = 0; i < 10; i++) {
      expect(finish(s, stepOf(s), "pause").commands).toEqual(["AskModel speech_1 auto"])
    }
    const last = finish(s, stepOf(s), "pause")
    expect(errors(last)).toEqual(["error Pause"])
    expect(last.events).toContain("speech_1 ended")
  })

  it("counts from the start again behind a step that called tools", () => {
    const s = book()
    send(s)
    for (let i = 0; i < 10; i++) finish(s, stepOf(s), "pause")
    call(s, stepOf(s), "c1", "keep")
    finish(s, stepOf(s), "tool-calls")
    end(s, "c1")
    expect(stepOf(s).continues).toBeUndefined()
    for (let i = 0; i < 10; i++) finish(s, stepOf(s), "pause")
    expect(errors(finish(s, stepOf(s), "stop"))).toEqual([])
  })

  it("that called tools goes on with their outputs, as any", () => {
    const s = book()
    send(s)
    call(s, stepOf(s), "c1", "keep")
    expect(finish(s, stepOf(s), "pause").commands).not.toContain("AskModel speech_1 auto")
    expect(end(s, "c1").commands).toContain("AskModel speech_1 auto")
    expect(stepOf(s).continues).toBeUndefined()
  })

  it("keeps the tool choice of the answer that it goes on with", () => {
    const s = book()
    send(s, "hi", { toolChoice: "required" })
    expect(finish(s, stepOf(s), "pause").commands).toEqual(["AskModel speech_1 required"])
  })

  it("waits until what it said has been played", () => {
    const s = book(true)
    send(s)
    say(s, stepOf(s), "First, ")
    const step = stepOf(s)
    expect(finish(s, step, "pause").commands).toEqual([])
    const [entry] = step.entries
    if (entry?._tag !== "Text") throw new Error("no text")
    input(s, () => Incoming.played(s, entry, "First, "))
    expect(input(s, () => Incoming.playEnded(s, entry, false)).commands).toEqual(["AskModel speech_1 auto"])
  })

  it("[F1] an interruption ends it", () => {
    const s = book()
    const { result: speech } = send(s)
    say(s, stepOf(s), "First, ")
    finish(s, stepOf(s), "pause")
    expect(input(s, () => Turns.interrupt(s, speech)).commands).toEqual(["StopReading speech_1"])
    expect(history(s)).toEqual(["user: hi", "assistant: First, "])
  })

  it("is asked again as the same answer if it could not be read", () => {
    const s = book()
    send(s)
    say(s, stepOf(s), "First, ")
    finish(s, stepOf(s), "pause")
    const step = stepOf(s)
    input(s, () => Incoming.modelEnded(s, step, failure(true)))
    expect(stepOf(s)).toMatchObject({ index: 2, from: 1, continues: 0 })
  })

  it("[D5] completes a deferred reply", () => {
    const s = reply()
    say(s, stepOf(s), "It is ")
    expect(finish(s, stepOf(s), "pause").events).not.toContain("reply_1 completed: c1_final")
    say(s, stepOf(s), "done.")
    expect(finish(s, stepOf(s), "stop").events).toContain("reply_1 completed: c1_final")
  })
})

describe("[R3] who looks at a failure", () => {
  /** what is logged */
  const fails = (s: State, end: ModelEnd = failure()): ReadonlyArray<string> => {
    const step = stepOf(s)
    return input(s, () => Incoming.modelEnded(s, step, end)).commands.filter((line) => line.startsWith("Log"))
  }

  it("nobody: it is logged, once", () => {
    const s = book()
    send(s)
    expect(fails(s)).toEqual(["LogFailure ada HttpResponseError"])
  })

  it("a run that waits: it has the first failure in the end", () => {
    const told: Array<string> = []
    const waits = job(told)
    const s = book()
    turn(s, [["c1", "keep"]], [waits])
    update(s, "c1", "on it")
    expect(fails(s)).toEqual([])
    expect(told).toEqual([])
    const first = waits.failure
    expect(first?.tag).toBe("HttpResponseError")
    end(s, "c1")
    expect(fails(s)).toEqual([])
    expect(told).toEqual(["job done"])
    expect(waits.failure).toBe(first)
  })

  it("a run that has been given up does not", () => {
    const s = book()
    const waits = job()
    send(s, "hi", {}, [waits])
    input(s, () => Jobs.withdraw(s, waits, waits.waiters[0] as JobWaiter))
    expect(fails(s)).toEqual(["LogFailure ada HttpResponseError"])
  })

  it("whoever has asked for the error before the end", () => {
    const s = book()
    send(s).result.watched = true
    expect(fails(s)).toEqual([])
  })

  it("what is logged with its cause is not logged again", () => {
    const s = book()
    send(s)
    const broken = { ...failure().failure, cause: Object.freeze({}) as never }
    expect(fails(s, { _tag: "Failed", failure: broken })).toEqual([])
  })
})

describe("[R4] a run that is given up with its turn", () => {
  it("cuts the turn, and cancels the calls that may be cancelled", () => {
    const told: Array<string> = []
    const waits = job(told)
    const s = book()
    const { result: speech } = input(s, () => Turns.run(s, { text: "hi" }, { allowInterruptions: false }, waits, []))
    call(s, stepOf(s), "c1", "book")
    call(s, stepOf(s), "c2", "keep")
    done(s, stepOf(s))
    const left = input(s, () => Turns.stop(s, waits, waits.waiters[0] as JobWaiter))
    expect(left.events).toContain("speech_1 cut")
    expect(left.commands).toEqual(["InterruptRun c1"])
    expect(speech.state).toBe("ended")
    expect(runOf(s, "c2").stop).toBeUndefined()
    stopped(s, "c1")
    end(s, "c2")
    expect(told).toEqual([])
    expect([s.jobs.size, s.speeches.size]).toEqual([0, 0])
  })

  it("leaves what others asked for alone", () => {
    const s = book()
    const waits = job()
    turn(s, [["c1", "book"]])
    update(s, "c1", "on it")
    answer(s)
    input(s, () => Turns.run(s, { text: "hi" }, {}, waits, []))
    const left = input(s, () => Turns.stop(s, waits, waits.waiters[0] as JobWaiter))
    expect(left.events).toContain("speech_2 cut")
    expect(runOf(s, "c1").stop).toBeUndefined()
  })
})
