import { describe, expect, it } from "vitest"
import * as Agents from "../../src/internal/machine/agents.js"
import * as Calls from "../../src/internal/machine/calls.js"
import * as Closing from "../../src/internal/machine/closing.js"
import * as Incoming from "../../src/internal/machine/incoming.js"
import type { State, Step } from "../../src/internal/machine/state.js"
import * as Turns from "../../src/internal/machine/turns.js"
import * as Updates from "../../src/internal/machine/updates.js"
import {
  type AgentPlan,
  agent,
  call,
  callLater,
  callOf,
  cancel,
  decode,
  done,
  end,
  failure,
  fire,
  handOver,
  history,
  input,
  type Left,
  runOf,
  send,
  session,
  stepOf,
  success,
  type ToolPlan,
  taskAgent,
  timerOf
} from "./support.js"

/** `book` begins after its step, `find` at once. */
const held = (plan: Partial<ToolPlan> = {}, given: AgentPlan = {}, options = {}): State => {
  const s = session(
    agent("ada", { ...given, tools: [{ name: "book", afterStep: true, ...plan }, { name: "find" }] }),
    options
  )
  send(s)
  return s
}

const finish = (s: State, step: Step, reason: string) =>
  input(s, () =>
    Incoming.part(s, step, {
      type: "finish",
      reason,
      usage: {},
      failure: reason === "error" ? failure().failure : undefined
    })
  )

const phases = (s: State): ReadonlyArray<string> =>
  Array.from(s.runs, (run) => `${run.calls.map(({ callId }) => callId).join("+")} ${run.phase}`)

const outputs = (s: State): ReadonlyArray<string> => history(s).filter((line) => /^(output|error) /.test(line))

describe("[T2] a call that begins after its step", () => {
  /** How the step ends, and what becomes of the call. */
  const ways: ReadonlyArray<readonly [string, (s: State, step: Step) => Left<unknown>, string | undefined]> = [
    ["the stream ends", (s, step) => done(s, step), undefined],
    ...(["stop", "tool-calls", "other", "unknown", "pause"] as const).map(
      (reason) =>
        [
          `the model says ${reason}`,
          (s: State, step: Step) => {
            finish(s, step, reason)
            return done(s, step)
          },
          undefined
        ] as const
    ),
    [
      "the limit of tokens is reached",
      (s, step) => {
        finish(s, step, "length")
        return done(s, step)
      },
      "it reached its limit of tokens"
    ],
    [
      "a filter holds the answer back",
      (s, step) => {
        finish(s, step, "content-filter")
        return done(s, step)
      },
      "a content filter held it back"
    ],
    ["the model says error", (s, step) => finish(s, step, "error"), "the model failed"],
    ["the model fails", (s, step) => input(s, () => Incoming.modelEnded(s, step, failure())), "the model failed"],
    [
      "its output cannot be read",
      (s, step) => input(s, () => Incoming.modelEnded(s, step, failure(true))),
      "the model failed"
    ],
    ["the turn is interrupted", (s) => input(s, () => Turns.interruptAll(s, true)), "it was interrupted"],
    ["the user speaks", (s) => send(s, "no"), "it was interrupted"],
    ["the session closes", (s) => input(s, () => Closing.close(s)), "it was interrupted"]
  ]
  for (const [how, endStep, reason] of ways) {
    for (const allowCancellation of [false, true]) {
      it(`${how}: ${reason === undefined ? "it runs" : "it does not"}${allowCancellation ? ", if it may be cut, too" : ""}`, () => {
        const s = held({ allowCancellation, cancelOnInterruption: allowCancellation })
        const step = stepOf(s)
        const asked = call(s, step, "c1", "book")
        expect(asked.events).toContain("c1 started")
        expect(asked.commands).toEqual([])
        expect(phases(s)).toEqual(["c1 held"])
        const left = endStep(s, step)
        if (reason === undefined) {
          expect(left.commands.filter((line) => line.startsWith("StartRun"))).toEqual(["StartRun c1"])
          expect(phases(s)).toEqual(["c1 working"])
          end(s, "c1")
          expect(outputs(s)).toEqual(['output c1: "c1 is done"'])
          return
        }
        expect(left.commands.filter((line) => line.startsWith("StartRun"))).toEqual([])
        const ended = left.events.filter((line) => line.startsWith("c1 "))
        expect(ended).toHaveLength(1)
        expect(ended[0]).toContain("c1 error:")
        expect(ended[0]).toContain(`since ${reason}.`)
        expect(outputs(s)).toEqual([expect.stringContaining("error c1: ")])
        expect(s.runs.size).toBe(0)
        expect(s.running).toBe(0)
        expect(s.holding).toEqual([])
      })
    }
  }

  it("other calls of the step are left alone, and outputs enter in the order in which the model asked", () => {
    const s = held()
    const step = stepOf(s)
    call(s, step, "c1", "book")
    expect(call(s, step, "c2", "find").commands).toEqual(["StartRun c2"])
    call(s, step, "c3", "book")
    end(s, "c2")
    finish(s, step, "length")
    done(s, step)
    expect(outputs(s).map((line) => line.slice(0, 9))).toEqual(["error c1:", "output c2", "error c3:"])
  })

  it("the model goes on behind the errors, if its answer was only cut by its length", () => {
    const s = held()
    const step = stepOf(s)
    call(s, step, "c1", "book")
    finish(s, step, "length")
    expect(done(s, step).commands).toContain("AskModel speech_1 auto")
  })

  it("what follows is decided once the step has ended, of what runs by then", () => {
    const s = held({ mode: "reject" })
    const step = stepOf(s)
    call(s, step, "c1", "book")
    call(s, step, "c2", "book")
    expect(phases(s)).toEqual(["c1 held", "c2 held"])
    const { commands, events } = done(s, step)
    expect(commands).toContain("StartRun c1")
    expect(events.filter((line) => line.startsWith("c2"))).toEqual([expect.stringContaining("c2 done: ")])
  })

  for (const complete of [true, false]) {
    it(`[P2] a running call is replaced ${complete ? "then" : "only if the step ends well"}`, () => {
      const s = held({ mode: "replace", allowCancellation: true })
      call(s, stepOf(s), "c1", "book")
      done(s, stepOf(s))
      send(s, "again")
      const step = stepOf(s)
      expect(call(s, step, "c2", "book").commands).toEqual([])
      if (!complete) finish(s, step, "length")
      const { commands } = done(s, step)
      expect(commands.includes("InterruptRun c1")).toBe(complete)
      expect(runOf(s, "c1").stop).toBe(complete ? "replaced" : undefined)
    })
  }

  it("[P2b] calls of one step are joined, each under its own id", () => {
    const s = held({ mode: "join" })
    const step = stepOf(s)
    call(s, step, "c1", "book")
    call(s, step, "c2", "book")
    expect(done(s, step).commands).toContain("StartRun c1+c2")
    expect(phases(s)).toEqual(["c1+c2 working"])
    end(s, "c1", success("one"))
    expect(outputs(s)).toEqual(['output c1: "one"', 'output c2: "one"'])
  })

  it("[P4] one that waits for its step is no duplicate of another turn's call", () => {
    const s = held({ mode: "reject" })
    call(s, stepOf(s), "c1", "book")
    expect(s.running).toBe(0)
    expect(s.gates.size).toBe(0)
  })

  it("[T12] only then it counts for `maxRunning`, is queued and timed", () => {
    const s = held({ timeout: 80 }, { limit: 1 }, { maxRunning: 2 })
    const step = stepOf(s)
    for (const id of ["c1", "c2", "c3"]) expect(call(s, step, id, "book").commands).toEqual([])
    const left = done(s, step)
    expect(left.commands).toContain("StartTimer Timeout 80")
    expect(phases(s)).toEqual(["c1 working", "c2 queued"])
    expect(left.events.filter((line) => line.startsWith("c3"))).toEqual([expect.stringContaining("c3 error: ")])
  })

  it("[U9] the time after which it leaves its turn begins with it", () => {
    const s = held({ releaseAfter: 50 })
    const step = stepOf(s)
    expect(call(s, step, "c1", "book").commands).toEqual([])
    const left = done(s, step)
    fire(s, timerOf(left, "Release"))
    expect(outputs(s)).toEqual([expect.stringContaining("output c1: ")])
    expect(callOf(s, "c1").state._tag).toBe("Background")
  })

  it.each([
    ["releaseAfter: 0", { releaseAfter: 0 }, {}],
    ["run_in_background", {}, { run_in_background: true }]
  ] as const)("[U9] %s: it leaves the turn as it begins, and not if it does not", (_, plan, args) => {
    const s = held(plan)
    const step = stepOf(s)
    expect(call(s, step, "c1", "book", args).events).not.toContain("c1 released by timer")
    const left = done(s, step)
    expect(left.events.some((line) => line.startsWith("c1 released by "))).toBe(true)
    expect(left.commands).toContain("StartRun c1")
    const cut = held(plan)
    call(cut, stepOf(cut), "c1", "book", args)
    finish(cut, stepOf(cut), "length")
    expect(done(cut, stepOf(cut)).events.some((line) => line.includes("released"))).toBe(false)
  })

  it("[U9] [U3] a program lets it leave the turn before; cut off, it ends behind that", () => {
    const s = held()
    const step = stepOf(s)
    call(s, step, "c1", "book")
    expect(input(s, () => Calls.releaseBy(s, "c1")).events).toEqual(["c1 released by program"])
    finish(s, step, "length")
    expect(done(s, step).events).toContainEqual(expect.stringContaining("c1_final error: "))
  })

  it("[T3] arguments that take their time are waited for; what was cut off is not", () => {
    const s = held()
    const step = stepOf(s)
    callLater(s, step, "c1", "book")
    callLater(s, step, "c2", "book")
    decode(s, "c2")
    done(s, step)
    expect(phases(s)).toEqual(["c1 admitting", "c2 working"])
    expect(decode(s, "c1").commands).toEqual(["StartRun c1"])
    const cut = held()
    callLater(cut, stepOf(cut), "c1", "book")
    const late = callOf(cut, "c1")
    expect(input(cut, () => Turns.interruptAll(cut, true)).commands).toContain("InterruptRun c1")
    const after = input(cut, () => Calls.decoded(cut, late, { _tag: "Decoded", params: {}, key: undefined }))
    expect(after.commands).toEqual([])
    expect(cut.runs.size).toBe(0)
  })

  it("[T3] bad arguments are told at once: it will never run", () => {
    const s = held()
    const step = stepOf(s)
    callLater(s, step, "c1", "book")
    const it = callOf(s, "c1")
    const { events } = input(s, () => Calls.decoded(s, it, { _tag: "Invalid", problem: "seat" }))
    expect(events).toEqual([expect.stringContaining("c1 error: ")])
    expect(s.runs.size).toBe(0)
  })

  it("[C1] [T9] it is cancelled like one that is queued, and does not begin then", () => {
    const s = held({ allowCancellation: true })
    const step = stepOf(s)
    call(s, step, "c1", "book")
    expect(cancel(s, "c1").events).toEqual([expect.stringContaining("c1 cancelled: ")])
    const { commands } = done(s, step)
    expect(commands.filter((line) => line.startsWith("StartRun"))).toEqual([])
    expect(outputs(s)).toEqual([expect.stringContaining("output c1: ")])
  })

  it("[F3] a turn that is cut while its text is played has ended well: its calls run on", () => {
    const s = held({}, { plays: true })
    const step = stepOf(s)
    input(s, () => Incoming.part(s, step, { type: "text-delta", id: "t", delta: "Well", metadata: undefined }))
    call(s, step, "c1", "book")
    expect(done(s, step).commands).toContain("StartRun c1")
    input(s, () => Turns.interruptAll(s, true))
    expect(phases(s)).toEqual(["c1 working"])
    end(s, "c1")
    // the text stands before the call, and how much of it was heard is known once the output has stopped
    for (const entry of step.entries) if (entry._tag === "Text") input(s, () => Incoming.playEnded(s, entry, true))
    expect(outputs(s)).toEqual(['output c1: "c1 is done"'])
  })

  it("[S2] [S2b] a hand-off and the end of a task do not begin it", () => {
    const told: Array<string> = []
    const s = session(agent("ada"))
    const task = taskAgent("ask", undefined, told, { tools: [{ name: "book", afterStep: true }] })
    input(s, () => Agents.startTask(s, task))
    send(s)
    call(s, stepOf(s), "c1", "book")
    const { commands, events } = input(s, () => Agents.abandonTask(s, task))
    expect(events).toContainEqual(expect.stringContaining("c1 error: "))
    // once, though the call ends in the middle of it
    expect(commands.filter((line) => line === "CloseAgent ask")).toHaveLength(1)
    expect(s.runs.size).toBe(0)
    const other = held()
    call(other, stepOf(other), "c1", "book")
    done(other, stepOf(other))
    handOver(other, agent("bob"))
    expect(callOf(other, "c1").state._tag).toBe("Background")
  })
})

describe("[U9] what lets a call leave its turn", () => {
  const working = (): State => {
    const s = held({ mode: "join" })
    const step = stepOf(s)
    call(s, step, "c1", "book")
    call(s, step, "c2", "book")
    done(s, step)
    return s
  }

  it("its handler: all calls that share it, once", () => {
    const s = working()
    expect(
      input(s, () => Updates.releaseRun(s, runOf(s, "c1"))).events.filter((line) => line.includes("released by"))
    ).toEqual(["c1 released by handler", "c2 released by handler"])
    expect(input(s, () => Updates.releaseRun(s, runOf(s, "c1"))).events).toEqual([])
  })

  it("a program: one call; what cannot leave a turn is told by its reason", () => {
    const s = working()
    expect(input(s, () => Calls.releaseBy(s, "c1")).result).toBeUndefined()
    expect(input(s, () => Calls.releaseBy(s, "c1")).result).toBe("Call c1 has already left its turn.")
    expect(callOf(s, "c2").state._tag).toBe("Inline")
    end(s, "c2")
    expect(input(s, () => Calls.releaseBy(s, "c2")).result).toBe("Call c2 has already ended.")
    expect(input(s, () => Calls.releaseBy(s, "nobody")).result).toBe('There is no call with the id "nobody".')
  })
})
