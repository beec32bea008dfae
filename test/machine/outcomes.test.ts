import { describe, expect, it } from "vitest"
import * as Incoming from "../../src/internal/machine/incoming.js"
import { runEnded, timerFired } from "../../src/internal/machine/pump.js"
import type { Ending, Outcome, State } from "../../src/internal/machine/state.js"
import * as Updates from "../../src/internal/machine/updates.js"
import {
  agent,
  answer,
  call,
  callPart,
  done,
  end,
  fire,
  history,
  input,
  type Left,
  runOf,
  send,
  session,
  stepOf,
  stopped,
  success,
  type ToolPlan,
  timerOf,
  turn,
  update
} from "./support.js"

/** What the conversation is told of an end. */
interface Row {
  readonly how: Ending["how"]
  readonly status: "done" | "error" | "cancelled"
  readonly output: string
  /** the item is an error */
  readonly isError: boolean
  /** inline: the model is asked to go on */
  readonly goesOn: boolean
  /** in the background: a reply voices it */
  readonly voiced: boolean
}

const failed = (how: "failed" | "defect"): Outcome => ({ _tag: "Failure", how, output: "no seat", errorType: "full" })
const cut = (reason: "cancelled" | "replaced" | "drained" | "timeout"): Outcome => ({ _tag: "Interrupted", reason })

const ended = (how: "done" | "cancelled" | "replaced" | "drained"): string => `"<ended book c1 ${how}>"`
const late = '"book was stopped: it took longer than its time limit of 2 seconds."'

const error = { status: "error", isError: true, goesOn: true, voiced: true } as const
const cancelled = { status: "cancelled", isError: false, goesOn: true, voiced: false } as const

const rows: ReadonlyArray<readonly [rules: string, name: string, outcome: Outcome, row: Row]> = [
  [
    "[T5]",
    "a value",
    success({ seat: 1 }),
    { how: "done", status: "done", output: '{"seat":1}', isError: false, goesOn: true, voiced: true }
  ],
  [
    "[T7]",
    "nothing to say",
    { _tag: "Nothing" },
    { how: "done", status: "done", output: ended("done"), isError: false, goesOn: false, voiced: false }
  ],
  ["[T6]", "a typed failure", failed("failed"), { how: "failed", output: '"no seat"', ...error }],
  ["[T8]", "a defect", failed("defect"), { how: "defect", output: '"no seat"', ...error }],
  ["[T12]", "a timeout", cut("timeout"), { how: "timeout", output: late, ...error }],
  ["[C6]", "a cancellation", cut("cancelled"), { how: "cancelled", output: ended("cancelled"), ...cancelled }],
  ["[P2]", "a replacement", cut("replaced"), { how: "replaced", output: ended("replaced"), ...cancelled }],
  ["[S2b]", "a drain", cut("drained"), { how: "drained", output: ended("drained"), ...cancelled }]
]

const book = (plan: Partial<ToolPlan> = {}): State =>
  session(agent("ada", { tools: [{ name: "book", timeout: 2_000, allowCancellation: true, ...plan }] }))

const endings = (left: Left<unknown>): ReadonlyArray<Ending["how"]> =>
  left.raw.observations.flatMap((observed) => (observed._tag === "CallEnded" ? [observed.ending.how] : []))

describe("inline", () => {
  it.each(rows)("%s %s is the output of the call, and says whether the model goes on", (_, __, outcome, row) => {
    const s = book()
    turn(s, [["c1", "book"]])
    const left = end(s, "c1", outcome)
    expect(left.events[0]).toBe(`c1 ${row.status}: ${row.output}`)
    expect(left.events[1]).toBe(`+ ${row.isError ? "error" : "output"} c1: ${row.output}`)
    expect(endings(left)).toEqual([row.how])
    expect(left.commands.includes("AskModel speech_1 auto")).toBe(row.goesOn)
    expect(s.speeches.size).toBe(row.goesOn ? 1 : 0)
    expect([s.pending.size, s.silent.length]).toEqual([0, 0])
  })

  it.each(rows)("[C8] %s %s is recorded, with no reply, once the turn was interrupted", (_, __, outcome, row) => {
    const s = book()
    turn(s, [["c1", "book"]])
    send(s, "stop", {})
    answer(s)
    const left = end(s, "c1", outcome)
    expect(left.events[1]).toBe(`+ ${row.isError ? "error" : "output"} c1: ${row.output}`)
    expect(left.commands.filter((line) => line.startsWith("AskModel"))).toEqual([])
    expect(s.pending.size).toBe(0)
  })
})

describe("in the background", () => {
  it.each(rows)("[U3] %s %s is written as `c1_final`, voiced or silent", (_, __, outcome, row) => {
    const s = book()
    turn(s, [["c1", "book"]])
    update(s, "c1", "on it")
    answer(s)
    const left = end(s, "c1", outcome)
    expect(left.events.slice(0, 3)).toEqual([
      `c1_final ${row.status}: ${row.output}`,
      "+ call c1_final",
      `+ ${row.isError ? "error" : "output"} c1_final: ${row.output}`
    ])
    expect(endings(left)).toEqual([row.how])
    expect(left.events.includes("reply_1 scheduled: c1_final")).toBe(row.voiced)
    // a result that nobody voices is shown by the next reply, and waits for none
    expect([s.pending.size, s.silent.length]).toEqual([0, 0])
  })

  it.each([
    ["interrupt", true],
    ["when-idle", false],
    ["silent", false]
  ] as const)("[U7] a result that is delivered as %s", (delivery, interrupts) => {
    const s = book({ delivery })
    turn(s, [["c1", "book"]])
    update(s, "c1", "on it")
    answer(s)
    send(s, "and?")
    Incoming.part(s, stepOf(s), { type: "text-delta", id: "t", delta: "well", metadata: undefined })
    const { events } = end(s, "c1")
    expect(events.includes("speech_2 cut")).toBe(interrupts)
    expect(events.some((line) => line.startsWith("reply_1 scheduled"))).toBe(interrupts)
    expect(answer(s).events.includes("reply_1 scheduled: c1_final")).toBe(delivery === "when-idle")
  })

  it.each([
    ["act", "auto"],
    ["speak", "none"],
    [undefined, "none"]
  ] as const)("[D8] `onResult: %s` is asked for with tool choice %s", (onResult, choice) => {
    const s = book({ onResult })
    turn(s, [["c1", "book"]])
    update(s, "c1", "on it")
    answer(s)
    expect(end(s, "c1").commands).toContain(`AskModel speech_2 ${choice}`)
  })
})

describe("ends", () => {
  it.each(rows)("[T9] %s after %s no other end counts", (_, __, outcome) => {
    const s = book()
    turn(s, [["c1", "book"]])
    const run = runOf(s, "c1")
    end(s, "c1", outcome)
    const before = history(s)
    for (const [, , another] of rows) expect(input(s, () => runEnded(s, run, another)).events).toEqual([])
    expect(history(s)).toEqual(before)
    expect([s.calls.size, s.runs.size, s.running]).toEqual([0, 0, 0])
  })

  it("[T12] past its time the handler is interrupted, and the call ends as an error", () => {
    const s = book()
    send(s)
    const timer = timerOf(call(s, stepOf(s), "c1", "book"), "Timeout")
    done(s, stepOf(s))
    expect(fire(s, timer).commands).toEqual(["InterruptRun c1"])
    expect(stopped(s, "c1").events[0]).toBe(`c1 error: ${late}`)
    // a timer that fires twice does nothing
    expect(input(s, () => timerFired(s, timer)).commands).toEqual([])
  })

  it("[T7] a turn all of whose calls have nothing to say gets no reply, and one of them with something does", () => {
    for (const second of [{ _tag: "Nothing" } as const, success("yes")]) {
      const s = book()
      turn(s, [
        ["c1", "book"],
        ["c2", "book"]
      ])
      end(s, "c1", { _tag: "Nothing" })
      const { commands, events } = end(s, "c2", second)
      expect(events.includes("speech_1 ended")).toBe(second._tag === "Nothing")
      expect(commands.includes("AskModel speech_1 auto")).toBe(second._tag === "Success")
    }
  })

  it("[U11] an update of a call that has ended is ignored, with a warning", () => {
    const s = book()
    turn(s, [["c1", "book"]])
    const run = runOf(s, "c1")
    end(s, "c1")
    const late = { value: "late", isText: true, template: undefined, mode: "when-idle" } as const
    const { commands, events } = input(s, () => Updates.update(s, run, late))
    expect([events, commands]).toEqual([[], ["Log warning"]])
  })
})

describe("calls that do not run", () => {
  const text = (left: Left<unknown>): string | undefined => left.events[1]

  it("[T4] an unknown tool: the tools there are, with a name that can be sent back", () => {
    const s = book()
    send(s)
    expect(text(call(s, stepOf(s), "c1", "no such tool!"))).toBe(
      'c1 error: "There is no tool \\"no_such_tool_\\". The tools are: book."'
    )
  })

  it("[T3] arguments that cannot be used", () => {
    const s = book()
    send(s)
    const step = stepOf(s)
    const left = input(s, () => Incoming.part(s, step, { ...callPart(step, "c1", "book"), problem: "no object" }))
    expect(text(left)).toBe('c1 error: "Invalid arguments for book: no object. Correct them and call the tool again."')
  })

  it("[M6] [T10] a call where none is allowed is answered, and gets one more step", () => {
    const s = book()
    send(s, "hi", { toolChoice: "none" })
    expect(text(call(s, stepOf(s), "c1", "book"))).toBe(
      'c1 error: "Not run: no tools can be called in this reply. Answer in words."'
    )
    expect(done(s, stepOf(s)).commands).toEqual(["AskModel speech_1 none"])
    call(s, stepOf(s), "c2", "book")
    expect(done(s, stepOf(s)).events).toContain("speech_1 ended")
  })

  it("[T10] the reply after the last permitted step is asked for without tools", () => {
    const s = book()
    send(s)
    const choices: Array<unknown> = []
    for (let n = 1; s.mouth !== undefined && n < 9; n++) {
      const step = stepOf(s)
      choices.push(step.toolChoice)
      call(s, step, `c${n}`, "book")
      done(s, step)
      if (s.calls.has(`c${n}`)) end(s, `c${n}`)
    }
    expect(choices).toEqual(["auto", "auto", "auto", "none", "none"])
  })
})
