import { describe, expect, it } from "vitest"
import * as Calls from "../../src/internal/machine/calls.js"
import type { Admission, Run, State } from "../../src/internal/machine/state.js"
import type { DuplicateScope, Mode, Verdict } from "../../src/internal/machine/words.js"
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
  executor,
  fire,
  handOver,
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

/** What stands in the way of the second call of `book`. */
type Before =
  | "nothing"
  | "running"
  | "queued"
  | "committed"
  | "uncancellable"
  | "stopping"
  | "speech that disallows interruptions"

const befores: ReadonlyArray<Before> = [
  "nothing",
  "running",
  "queued",
  "committed",
  "uncancellable",
  "stopping",
  "speech that disallows interruptions"
]

/** A session in whose current step `c1` is as told; `other` keeps the executor busy where `c1` is to be queued. */
const behind = (state: Before, plan: Partial<ToolPlan>, given: AgentPlan = {}): State => {
  const s = session(
    agent("ada", {
      ...given,
      ...(state === "queued" ? { limit: 1 } : {}),
      tools: [{ name: "book", allowCancellation: state !== "uncancellable", ...plan }, { name: "other" }]
    })
  )
  send(s, "hi", { allowInterruptions: state !== "speech that disallows interruptions" })
  if (state === "queued") call(s, stepOf(s), "c0", "other")
  if (state === "nothing") return s
  call(s, stepOf(s), "c1", "book", { seat: 1 })
  // a policy of the program's own is asked of this one, too
  const { gates } = s
  for (const { current } of gates.values()) input(s, () => Calls.policyDecided(s, current!, { _tag: "Run" }))
  if (state === "committed") input(s, () => Calls.commit(s, runOf(s, "c1")))
  if (state === "stopping") input(s, () => Calls.stop(s, runOf(s, "c1"), "cancelled"))
  return s
}

type Outcome =
  | "runs"
  | "is asked about"
  | "joins"
  | "waits"
  | "is compared"
  | `answers ${string}`
  | `refused: ${string}`

/** What became of `c2`, which `left` is of. */
const became = (s: State, left: Left<unknown>): Outcome => {
  for (const observed of left.raw.observations) {
    if (observed._tag !== "CallEnded" || observed.call.callId !== "c2") continue
    const { call, ending } = observed
    if (ending.how === "refused") return `refused: ${ending.errorType}`
    if (ending.how === "duplicate") return `answers ${String(call.output?.value).split(/[< ]/, 2).at(-1)}`
  }
  const { run } = callOf(s, "c2")
  if (run?.calls.length === 2) return "joins"
  if (run?.phase !== "admitting") return "runs"
  const state = admissionOf(s, "c2").state._tag
  return state === "Asking" ? "is asked about" : state === "Comparing" ? "is compared" : "waits"
}

const admissionOf = (s: State, callId: string): Admission => {
  for (const gate of s.gates.values()) {
    for (const admission of [gate.current, ...gate.queue]) if (admission?.call.callId === callId) return admission
  }
  throw new Error(`${callId} is not being admitted`)
}

const everywhere = (outcome: Outcome): Record<Before, Outcome> =>
  Object.fromEntries(befores.map((state) => [state, outcome])) as Record<Before, Outcome>

// ------------------------------------------------------------------------------------------------------------- tables

const refusal = "refused: not_replaceable"

const replacing: Record<Before, Outcome> = {
  nothing: "runs",
  running: "waits",
  // it has not begun and ends at once
  queued: "runs",
  committed: refusal,
  uncancellable: refusal,
  stopping: "waits",
  "speech that disallows interruptions": refusal
}

const joining: Record<Before, Outcome> = { ...everywhere("joins"), nothing: "runs", stopping: "runs" }

const modes: { readonly [mode in Mode]: Record<Before, Outcome> } = {
  allow: everywhere("runs"),
  reject: { ...everywhere("answers duplicateReject"), nothing: "runs" },
  confirm: { ...everywhere("answers duplicateConfirm"), nothing: "runs" },
  replace: replacing,
  join: joining
}

const scopes: ReadonlyArray<DuplicateScope> = ["name", "name_and_args"]
const allModes = Object.keys(modes) as ReadonlyArray<Mode>

describe("modes", () => {
  for (const mode of allModes) {
    for (const scope of scopes) {
      describe(`${mode}, ${scope}`, () => {
        for (const state of befores) {
          const outcome = modes[mode][state]
          it(`[P1] [P2] a call of equal arguments, behind ${state}: ${outcome}`, () => {
            const s = behind(state, { mode, scope })
            const left = call(s, stepOf(s), "c2", "book", { seat: 1 })
            expect(became(s, left)).toBe(outcome)
            const interrupted = left.commands.includes("InterruptRun c1")
            expect(interrupted).toBe(outcome === "waits" && state !== "stopping")
            expect(left.commands.includes("StartTimer Replace 5000")).toBe(outcome === "waits")
            expect(s.gates.size).toBe(outcome === "waits" ? 1 : 0)
          })

          const other: Outcome = scope === "name" ? outcome : "runs"
          it(`[P1] [P3] a call of other arguments, behind ${state}: ${other}`, () => {
            const s = behind(state, { mode, scope })
            expect(became(s, call(s, stepOf(s), "c2", "book", { seat: 2 }))).toBe(other)
          })

          const confirmed: Outcome = mode === "confirm" ? "runs" : outcome
          it(`[P2] a confirmed call, behind ${state}: ${confirmed}`, () => {
            const s = behind(state, { mode, scope })
            const args = { seat: 1, confirm_duplicate: true }
            expect(became(s, call(s, stepOf(s), "c2", "book", args))).toBe(confirmed)
          })

          it(`[P2] \`confirm_duplicate\` of the tool's own confirms nothing, behind ${state}: ${outcome}`, () => {
            const s = behind(state, { mode, scope: "name", added: [] })
            const args = { seat: 1, confirm_duplicate: true }
            expect(became(s, call(s, stepOf(s), "c2", "book", args))).toBe(outcome)
          })
        }
      })
    }
  }

  it.each([null, false, "true", 1])("[P2] `confirm_duplicate: %j` confirms nothing", (value) => {
    const s = behind("running", { mode: "confirm" })
    expect(became(s, call(s, stepOf(s), "c2", "book", { confirm_duplicate: value }))).toBe("answers duplicateConfirm")
  })

  it.each(allModes)("[P1] %s: a call that has ended is repeated by none", (mode) => {
    const s = behind("running", { mode })
    end(s, "c1")
    expect(became(s, call(s, stepOf(s), "c2", "book", { seat: 1 }))).toBe("runs")
  })

  it("[P2] the answer is an ordinary output, and the call ends as done", () => {
    const s = behind("running", { mode: "reject" })
    const { events } = call(s, stepOf(s), "c2", "book", { seat: 1, confirm_duplicate: null })
    expect(events).toEqual([
      "c2 started",
      `c2 done: ${JSON.stringify('<duplicateReject book c1 Call c1 with {"seat":1}; cancel_task can stop it.>')}`,
      "+ call c2"
    ])
  })
})

const verdicts: ReadonlyArray<readonly [Verdict["_tag"] | "none", Verdict | undefined, Record<Before, Outcome>]> = [
  ["Run", { _tag: "Run" }, everywhere("runs")],
  ["Refuse", { _tag: "Refuse", message: "no" }, everywhere("answers no")],
  ["Replace", { _tag: "Replace" }, replacing],
  ["Join", { _tag: "Join" }, joining],
  ["none", undefined, everywhere("refused: duplicate_policy_failed")]
]

describe("policies of the program's own", () => {
  for (const [name, verdict, outcomes] of verdicts) {
    for (const state of befores) {
      it(`[P5] ${name}, behind ${state}: ${outcomes[state]}`, () => {
        const s = behind(state, { custom: true })
        const asked = call(s, stepOf(s), "c2", "book", { seat: 1 })
        expect(became(s, asked)).toBe("is asked about")
        expect(asked.commands).toEqual([`AskPolicy c2 [${state === "nothing" ? "" : "c1"}]`])
        const admission = admissionOf(s, "c2")
        expect(
          became(
            s,
            input(s, () => Calls.policyDecided(s, admission, verdict))
          )
        ).toBe(outcomes[state])
        // an answer that comes twice counts once
        const again = input(s, () => Calls.policyDecided(s, admission, { _tag: "Run" }))
        expect([again.events, again.commands]).toEqual([[], []])
      })
    }
  }

  const asking = (): { readonly s: State; readonly admission: Admission } => {
    const s = behind("running", { custom: true })
    call(s, stepOf(s), "c2", "book")
    return { s, admission: admissionOf(s, "c2") }
  }

  it("[P4] it is asked again if a duplicate has ended meanwhile", () => {
    const { admission, s } = asking()
    end(s, "c1")
    const again = input(s, () => Calls.policyDecided(s, admission, { _tag: "Replace" }))
    expect(again.commands).toEqual(["AskPolicy c2 []"])
    expect(
      became(
        s,
        input(s, () => Calls.policyDecided(s, admission, { _tag: "Replace" }))
      )
    ).toBe("runs")
  })

  it("[P4] [P4b] it is asked again if a duplicate has begun meanwhile in another executor", () => {
    const s = behind("running", { custom: true, in: executor("session") })
    call(s, stepOf(s), "c2", "book")
    const admission = admissionOf(s, "c2")
    done(s, stepOf(s))
    const bob = agent("bob", { tools: [{ name: "book", scope: "name_and_args", mode: "allow" }] })
    handOver(s, bob)
    send(s)
    call(s, stepOf(s), "c3", "book")
    const again = input(s, () => Calls.policyDecided(s, admission, { _tag: "Run" }))
    expect(again.commands).toEqual(["AskPolicy c2 [c1 c3]"])
  })

  it("[P4] a running duplicate that is asked to stop does not change who runs", () => {
    const { admission, s } = asking()
    input(s, () => Calls.stop(s, runOf(s, "c1"), "cancelled"))
    expect(
      became(
        s,
        input(s, () => Calls.policyDecided(s, admission, { _tag: "Join" }))
      )
    ).toBe("runs")
  })

  it("[P4] a call that is withdrawn while it is asked about takes the question back", () => {
    const { admission, s } = asking()
    call(s, stepOf(s), "c3", "book")
    done(s, stepOf(s))
    const { commands, events } = cancel(s, "c2")
    expect(commands).toEqual(["InterruptRun c2", "StopPolicy c2", "AskPolicy c3 [c1]"])
    expect(events).toContain('c2 cancelled: "<ended book c2 cancelled>"')
    const late = input(s, () => Calls.policyDecided(s, admission, { _tag: "Run" }))
    expect([late.events, late.commands]).toEqual([[], []])
  })
})

// -------------------------------------------------------------------------------------------------------------- gates

describe("gates", () => {
  const three = (plan: Partial<ToolPlan> = {}) => {
    const s = behind("running", { mode: "replace", ...plan })
    const second = call(s, stepOf(s), "c2", "book", { seat: 1 })
    const third = call(s, stepOf(s), "c3", "book", { seat: 1 })
    return { s, second, third }
  }

  it("[P4] calls of one key are admitted one after the other, in the order in which they came", () => {
    const { s, second, third } = three()
    expect(second.commands).toEqual(["InterruptRun c1", "StartTimer Replace 5000"])
    expect(third.commands).toEqual([])
    const freed = stopped(s, "c1")
    expect(freed.commands).toEqual([
      "StopTimer Replace 5000",
      "StartRun c2",
      "InterruptRun c2",
      "StartTimer Replace 5000"
    ])
    expect(stopped(s, "c2").commands).toEqual(["StopTimer Replace 5000", "StartRun c3"])
    expect(s.gates.size).toBe(0)
  })

  it("[P4] a call of another key does not wait behind them", () => {
    const { s } = three({ scope: "name_and_args" })
    expect(call(s, stepOf(s), "c4", "book", { seat: 2 }).commands).toEqual(["StartRun c4"])
    expect(call(s, stepOf(s), "c5", "other").commands).toEqual(["StartRun c5"])
  })

  it("[P2] where the others are still stopping after `cancellationTimeout`, it is refused, and the next decides", () => {
    const { s, second } = three()
    const late = fire(s, timerOf(second, "Replace"))
    expect(late.events).toContain('c2 error: "Not run: the call that it replaces is still stopping. Try again later."')
    // one that is stopping is not asked twice
    expect(late.commands).toEqual(["StartTimer Replace 5000"])
    expect(stopped(s, "c1").commands).toEqual(["StopTimer Replace 5000", "StartRun c3"])
  })

  it("[P2] a replacement that is withdrawn starts no more, and the next decides", () => {
    const { s } = three()
    done(s, stepOf(s))
    const { commands, result } = cancel(s, "c2")
    expect((result as Run).phase).toBe("ended")
    expect(commands).toEqual(["InterruptRun c2", "StopPolicy c2", "StopTimer Replace 5000", "StartTimer Replace 5000"])
    expect(stopped(s, "c1").commands).toEqual(["StopTimer Replace 5000", "StartRun c3"])
    expect(s.running).toBe(1)
  })

  it("[P4] one that only waits behind another is taken out of the queue", () => {
    const { s } = three()
    done(s, stepOf(s))
    expect(cancel(s, "c3").commands).toEqual(["InterruptRun c3"])
    expect(stopped(s, "c1").commands).toEqual(["StopTimer Replace 5000", "StartRun c2"])
    expect(s.gates.size).toBe(0)
  })

  it("[P2] several duplicates are all stopped first, and none if one of them may not be", () => {
    for (const committed of [false, true]) {
      const s = session(
        agent("ada", { tools: [{ name: "book", mode: "confirm", allowCancellation: true, in: executor("session") }] })
      )
      send(s)
      call(s, stepOf(s), "c1", "book")
      call(s, stepOf(s), "c2", "book", { confirm_duplicate: true })
      if (committed) input(s, () => Calls.commit(s, runOf(s, "c2")))
      done(s, stepOf(s))
      handOver(s, agent("bob", { tools: [{ name: "book", mode: "replace" }] }))
      send(s)
      const { commands, events } = call(s, stepOf(s), "c3", "book")
      if (committed) {
        expect(commands).toEqual([])
        expect(events).toContain(
          'c3 error: "Not run: the running call cannot be replaced. It is too late to cancel call c2: book is past its point of no return."'
        )
        continue
      }
      expect(commands).toEqual(["InterruptRun c1", "InterruptRun c2", "StartTimer Replace 5000"])
      expect(stopped(s, "c1").commands).toEqual([])
      expect(stopped(s, "c2").commands).toEqual(["StopTimer Replace 5000", "StartRun c3"])
    }
  })

  it("[P2] what is replaced ends as cancelled, and is told so", () => {
    const s = behind("running", { mode: "replace" })
    call(s, stepOf(s), "c2", "book")
    expect(stopped(s, "c1").events).toContain('c1 cancelled: "<ended book c1 replaced>"')
  })

  it("[T12] a replacement counts once it starts: at the limit it takes the place of what it replaced", () => {
    const s = session(agent("ada", { tools: [{ name: "book", mode: "replace", allowCancellation: true }] }), {
      maxRunning: 1
    })
    send(s)
    call(s, stepOf(s), "c1", "book")
    call(s, stepOf(s), "c2", "book")
    expect(s.running).toBe(1)
    expect(stopped(s, "c1").commands).toContain("StartRun c2")
    expect(s.running).toBe(1)
  })
})

// ----------------------------------------------------------------------------------------------------------- decoding

describe("arguments that take their time", () => {
  it.each(allModes)("[P4] %s: of two equal calls in one step the second sees the first", (mode) => {
    const s = behind("nothing", { mode })
    expect(callLater(s, stepOf(s), "c1", "book").commands).toEqual(["Decode c1"])
    callLater(s, stepOf(s), "c2", "book")
    const early = decode(s, "c2")
    // calls that are compared with nothing do not wait for each other
    expect(early.commands).toEqual(mode === "allow" ? ["StartRun c2"] : [])
    const both = decode(s, "c1")
    expect(both.commands[0]).toMatch(/^StartRun c1/)
    expect(became(s, both)).toBe(modes[mode].running)
  })

  it("[P4] a call of another tool does not wait for them", () => {
    const s = behind("nothing", { mode: "reject" })
    callLater(s, stepOf(s), "c1", "book")
    expect(call(s, stepOf(s), "c2", "other").commands).toEqual(["StartRun c2"])
  })

  it("[P4] one that is stopped while it is decoded lets the next go on", () => {
    const s = behind("nothing", { mode: "reject", allowCancellation: true })
    callLater(s, stepOf(s), "c1", "book")
    call(s, stepOf(s), "c2", "book")
    const { commands } = cancel(s, "c1")
    expect(commands).toEqual(["InterruptRun c1", "StartRun c2"])
  })

  it("[T3] [P4] invalid arguments are an error output, and the next call goes on", () => {
    const s = behind("nothing", { mode: "reject" })
    callLater(s, stepOf(s), "c1", "book")
    call(s, stepOf(s), "c2", "book")
    const c1 = callOf(s, "c1")
    const { commands, events } = input(s, () => Calls.decoded(s, c1, { _tag: "Invalid", problem: "seat is missing" }))
    expect(events[0]).toBe(
      'c1 error: "Invalid arguments for book: seat is missing. Correct them and call the tool again."'
    )
    expect(commands).toEqual(["StartRun c2"])
  })
})

// ---------------------------------------------------------------------------------------------------------- comparing

describe("comparing", () => {
  /** `c1` runs in the session's executor without a text of its arguments; `bob` compares them. */
  const across = (plan: Partial<ToolPlan>) => {
    const s = behind("running", { in: executor("session") })
    done(s, stepOf(s))
    handOver(s, agent("bob", { tools: [{ name: "book", scope: "name_and_args", ...plan }] }))
    send(s)
    const asked = call(s, stepOf(s), "c2", "book", { seat: 1 })
    return { s, asked, admission: admissionOf(s, "c2"), c1: runOf(s, "c1") }
  }

  it.each(["reject", "confirm", "replace", "join"] as const)(
    "[P4b] %s: the arguments of a call of another executor are made text first",
    (mode) => {
      const { admission, asked, c1, s } = across({ mode })
      expect(asked.commands).toEqual(["Compare c2 [c1]"])
      expect(became(s, asked)).toBe("is compared")
      const left = input(s, () => Calls.compared(s, admission, new Map([[c1, '{"seat":1}']])))
      expect(became(s, left)).toBe(modes[mode].running)
    }
  )

  it.each(["reject", "confirm", "replace", "join"] as const)("[P3] %s: others are no duplicates", (mode) => {
    const { admission, c1, s } = across({ mode })
    const left = input(s, () => Calls.compared(s, admission, new Map([[c1, '{"seat":2}']])))
    expect(became(s, left)).toBe("runs")
  })

  it("[P4] what has begun meanwhile is compared, too", () => {
    const { admission, c1, s } = across({ mode: "reject" })
    end(s, "c1")
    const left = input(s, () => Calls.compared(s, admission, new Map([[c1, '{"seat":1}']])))
    expect(became(s, left)).toBe("runs")
  })

  it("[P5] a policy is asked once they are compared", () => {
    const { admission, c1, s } = across({ custom: true })
    const left = input(s, () => Calls.compared(s, admission, new Map([[c1, '{"seat":1}']])))
    expect(left.commands).toEqual(["AskPolicy c2 [c1]"])
  })

  it("[P4] calls of the same arguments wait behind it, and a withdrawn one lets them go on", () => {
    const { s } = across({ mode: "reject", allowCancellation: true })
    expect(call(s, stepOf(s), "c3", "book", { seat: 1 }).commands).toEqual([])
    done(s, stepOf(s))
    expect(cancel(s, "c2").commands).toEqual(["InterruptRun c2", "StopPolicy c2", "Compare c3 [c1]"])
  })

  it("[P1] [P4] a call that is allowed anyway is compared with nothing, and waits for no other key", () => {
    const { s } = across({ mode: "reject" })
    done(s, stepOf(s))
    handOver(s, agent("cy", { tools: [{ name: "book", mode: "allow", scope: "name_and_args" }, { name: "other" }] }))
    send(s)
    expect(call(s, stepOf(s), "c3", "other").commands).toEqual(["StartRun c3"])
    expect(call(s, stepOf(s), "c4", "book", { seat: 1 }).commands).toEqual(["StartRun c4"])
  })
})

// ------------------------------------------------------------------------------------------------------------- joined

describe("joined calls", () => {
  const joined = (given: Partial<ToolPlan> = {}) => {
    const s = session(agent("ada", { tools: [{ name: "book", mode: "join", scope: "name", ...given }] }))
    turn(s, [
      ["c1", "book"],
      ["c2", "book"]
    ])
    return s
  }

  it("[P2b] the handler runs once, and both get its end under their own ids", () => {
    const s = joined()
    expect(s.running).toBe(1)
    expect(s.runs.size).toBe(1)
    expect(end(s, "c1", success("booked")).events.slice(0, 4)).toEqual([
      'c1 done: "booked"',
      '+ output c1: "booked"',
      'c2 done: "booked"',
      '+ output c2: "booked"'
    ])
  })

  it("[P2b] both get its updates", () => {
    const s = joined()
    const { events } = update(s, "c1", "on it")
    expect(events.filter((line) => line.startsWith("+"))).toEqual([
      '+ output c1: "<update book c1 on it>"',
      '+ output c2: "<update book c2 on it>"'
    ])
    expect(update(s, "c2", "still").events.filter((line) => line.startsWith("+"))).toEqual([
      "+ call c1_update_1",
      '+ output c1_update_1: "<update book c1 still>"',
      "+ call c2_update_1",
      '+ output c2_update_1: "<update book c2 still>"'
    ])
  })

  it.each(["c1", "c2"])("[P2b] cancelling %s cancels the run for both", (callId) => {
    const s = joined({ allowCancellation: true })
    expect(cancel(s, callId).commands).toEqual(["InterruptRun c1+c2"])
    const { events } = stopped(s, "c1")
    expect(events.filter((line) => line.includes("cancelled:"))).toEqual([
      'c1 cancelled: "<ended book c1 cancelled>"',
      'c2 cancelled: "<ended book c2 cancelled>"'
    ])
  })

  it("[P2b] one that joins later is told what was said last, and leaves its turn", () => {
    const s = session(agent("ada", { tools: [{ name: "book", mode: "join", scope: "name" }] }))
    send(s)
    call(s, stepOf(s), "c1", "book")
    update(s, "c1", "first")
    update(s, "c1", "second")
    const { events } = call(s, stepOf(s), "c2", "book")
    expect(events).toEqual(["c2 started", 'c2 updated: "second"', "c2 released by update", "+ call c2"])
    done(s, stepOf(s))
    expect(history(s)).toContain('output c2: "<update book c2 second>"')
  })

  it("[P2b] [S2c] one that joins a run of the session is the session's, too", () => {
    const s = session(agent("ada", { tools: [{ name: "book", mode: "join", scope: "name", onHandoff: "promote" }] }))
    turn(s, [["c1", "book"]])
    handOver(s, agent("bob", { tools: [{ name: "book", mode: "join", scope: "name" }] }))
    turn(s, [["c2", "book"]])
    expect(callOf(s, "c2").run).toBe(callOf(s, "c1").run)
    expect(callOf(s, "c2").owner).toBe(undefined)
    expect(s.agents.map(({ name, running }) => `${name} ${running}`)).toEqual(["bob 0"])
  })

  it("[P2b] the newest of several that may be shared is", () => {
    const s = behind("running", { custom: true })
    const run = (callId: string): void => {
      call(s, stepOf(s), callId, "book")
      input(s, () => Calls.policyDecided(s, admissionOf(s, callId), { _tag: "Run" }))
    }
    run("c3")
    run("c4")
    input(s, () => Calls.stop(s, runOf(s, "c4"), "cancelled"))
    call(s, stepOf(s), "c2", "book")
    input(s, () => Calls.policyDecided(s, admissionOf(s, "c2"), { _tag: "Join" }))
    expect(runOf(s, "c2").calls.map(({ callId }) => callId)).toEqual(["c3", "c2"])
  })
})

// ------------------------------------------------------------------------------------------------------ what is counted

describe("limits", () => {
  it("[T12] a call that joins, is answered or waits adds none to those at work", () => {
    for (const mode of ["join", "reject", "confirm", "replace"] as const) {
      const s = behind("running", { mode, scope: "name" })
      call(s, stepOf(s), "c2", "book")
      expect(s.running).toBe(1)
    }
  })

  it("[T12] one more than `maxRunning` is refused, and leaves nothing behind", () => {
    const s = session(agent("ada", { tools: [{ name: "book", timeout: 100 }] }), { maxRunning: 1 })
    send(s)
    call(s, stepOf(s), "c1", "book")
    const { commands, events } = call(s, stepOf(s), "c2", "book")
    expect(commands).toEqual([])
    expect(events[1]).toBe(
      'c2 error: "Not run: 1 calls are running already, which is the limit. Wait until one has ended."'
    )
    expect([s.running, s.runs.size]).toEqual([1, 1])
  })

  it("[T12] a queued call counts as running, and its time limit starts with its handler", () => {
    const s = session(agent("ada", { limit: 1, tools: [{ name: "book", timeout: 100 }] }))
    send(s)
    expect(call(s, stepOf(s), "c1", "book").commands).toEqual(["StartRun c1", "StartTimer Timeout 100"])
    expect(call(s, stepOf(s), "c2", "book").commands).toEqual([])
    expect(s.running).toBe(2)
    expect(end(s, "c1").commands).toEqual(["StopTimer Timeout 100", "StartRun c2", "StartTimer Timeout 100"])
  })

  it("[T12] tools of the session's own are never counted, queued or released", () => {
    const s = session(
      agent("ada", { limit: 0, tools: [{ name: "cancel_task", kind: "companion", releaseAfter: 0 }] }),
      { maxRunning: 0 }
    )
    send(s)
    expect(call(s, stepOf(s), "c1", "cancel_task").commands).toEqual(["StartRun c1"])
    expect([s.running, s.runs.size]).toEqual([0, 1])
    end(s, "c1")
    expect([s.running, s.runs.size]).toEqual([0, 0])
  })

  it("[T11] an id that is at work is refused, and one that has ended gets a number", () => {
    const s = behind("running", {})
    expect(call(s, stepOf(s), "c1", "book").events).toEqual([
      "c1_1 started",
      'c1_1 error: "Not run: a call with the id \\"c1\\" is still running. Use a new id for each call."',
      "+ call c1_1"
    ])
    end(s, "c1")
    expect(call(s, stepOf(s), "c1", "book").commands).toEqual(["StartRun c1_2"])
  })
})

describe("cancelling", () => {
  const reasons: ReadonlyArray<readonly [Before, string]> = [
    ["nothing", 'There is no call with the id "c1".'],
    ["committed", "It is too late to cancel call c1: book is past its point of no return."],
    ["uncancellable", "Call c1 may not be cancelled: book does not allow it."],
    [
      "speech that disallows interruptions",
      "Call c1 may not be cancelled while its speech lasts, which disallows interruptions."
    ]
  ]

  it.each(reasons)("[C5] %s: %s", (state, reason) => {
    const s = behind(state, {})
    const { commands, result } = cancel(s, "c1")
    expect([result, commands]).toEqual([reason, []])
  })

  it("[C5] one that has ended, and a report of another call", () => {
    const s = behind("running", {})
    update(s, "c1", "one")
    update(s, "c1", "two")
    expect(cancel(s, "c1_update_1").result).toBe(
      'There is no call with the id "c1_update_1": that is a report of another call.'
    )
    end(s, "c1")
    expect(cancel(s, "c1").result).toBe("Call c1 has already ended.")
  })

  it("[C1] the first reason stays", () => {
    const s = behind("running", { timeout: 100 })
    expect(cancel(s, "c1").commands).toEqual(["InterruptRun c1"])
    expect(input(s, () => Calls.stop(s, runOf(s, "c1"), "timeout")).commands).toEqual([])
    expect(stopped(s, "c1").events[0]).toBe('c1 cancelled: "<ended book c1 cancelled>"')
  })

  it("[C1b] a cancellation that came first wins, and after the point of no return none does", () => {
    const s = behind("running", { timeout: 100 })
    cancel(s, "c1")
    expect(input(s, () => Calls.commit(s, runOf(s, "c1"))).result).toBe(false)
    const other = behind("running", { timeout: 100 })
    const { commands, result } = input(other, () => Calls.commit(other, runOf(other, "c1")))
    expect([result, commands]).toEqual([true, ["StopTimer Timeout 100"]])
  })

  it("[C1] a queued call ends at once", () => {
    const s = behind("queued", {})
    expect(cancel(s, "c1").events).toContain('c1 cancelled: "<ended book c1 cancelled>"')
    expect(runOf(s, "c0").phase).toBe("working")
    expect([s.running, runOf(s, "c0").tool.executor.queue]).toEqual([1, []])
  })
})

it("[P4b] one tool that is reached through two executors is still a duplicate", () => {
  const s = behind("running", { in: executor("session"), mode: "reject" })
  done(s, stepOf(s))
  const bob = agent("bob", { tools: [{ name: "book", mode: "reject" }] })
  handOver(s, bob)
  send(s)
  expect(became(s, call(s, stepOf(s), "c2", "book"))).toBe("answers duplicateReject")
})
