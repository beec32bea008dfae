/** Approval as data: what is decided of a call, who comes second, and what of it is left in the state. */
import { describe, expect, it } from "vitest"
import * as Approvals from "../../src/internal/machine/approval.js"
import * as Calls from "../../src/internal/machine/calls.js"
import * as Closing from "../../src/internal/machine/closing.js"
import * as Incoming from "../../src/internal/machine/incoming.js"
import type { Outcome, State } from "../../src/internal/machine/state.js"
import * as Turns from "../../src/internal/machine/turns.js"
import type { ApprovalVerdict } from "../../src/internal/machine/words.js"
import {
  type AgentPlan,
  agent,
  answer,
  call,
  callOf,
  cancel,
  done,
  end,
  fire,
  handOver,
  history,
  input,
  job,
  type Left,
  runOf,
  say,
  send,
  session,
  stepOf,
  success,
  type ToolPlan,
  timerOf,
  turn
} from "./support.js"

const paying = (plan: Partial<ToolPlan> = {}, given: AgentPlan = {}, options = {}): State =>
  session(agent("ada", { ...given, tools: [{ name: "pay", approval: "always", ...plan }, { name: "find" }] }), options)

const phases = (s: State): ReadonlyArray<string> =>
  Array.from(s.runs, (run) => `${run.calls.map(({ callId }) => callId).join("+")} ${run.phase}`)

const by = (given: "Approve" | "Deny" | "Answer" | "Edit"): Calls.ByPerson => {
  switch (given) {
    case "Approve":
      return { _tag: "Approve", by: "ann" }
    case "Deny":
      return { _tag: "Deny", by: "ann", reason: "no" }
    case "Answer":
      return { _tag: "Answer", by: "ann", outcome: success("by hand") }
    case "Edit":
      return {
        _tag: "Edit",
        by: "ann",
        arguments: { n: 2 },
        decoded: { _tag: "Decoded", params: { n: 2 }, key: undefined }
      }
  }
}

const decide = (s: State, id: string, given: Parameters<typeof by>[0]) =>
  input(s, () => Calls.decideBy(s, id, by(given)))

const asked = (s: State, verdict: ApprovalVerdict | undefined) => {
  const approval = s.approvals[0]
  if (approval === undefined) throw new Error("nothing is asked")
  return input(s, () => Calls.approvalRuled(s, approval, verdict))
}

const finals = (s: State) => history(s).filter((line) => /^(output|error) .*(_final|_update_)/.test(line))

describe("[A3] [A1] what is decided of a call that is to begin", () => {
  const table: ReadonlyArray<
    readonly [string, Partial<ToolPlan>, number, ApprovalVerdict | undefined | "not asked", string]
  > = [
    ["no approval", { approval: undefined }, 0, "not asked", "working"],
    ["always", { approval: "always" }, 0, "not asked", "Waiting"],
    ["always, and as many wait as may", { approval: "always" }, 1, "not asked", "refused"],
    ["the policy says run", { approval: "policy" }, 1, { _tag: "Run" }, "working"],
    ["the policy says ask", { approval: "policy" }, 0, { _tag: "Ask" }, "Waiting"],
    ["the policy says ask, with a reason", { approval: "policy" }, 0, { _tag: "Ask", reason: "much" }, "Waiting much"],
    ["the policy says ask, and as many wait as may", { approval: "policy" }, 1, { _tag: "Ask" }, "refused"],
    ["the policy says deny", { approval: "policy" }, 1, { _tag: "Deny", reason: "never" }, "denied"],
    ["the policy fails", { approval: "policy" }, 0, undefined, "Waiting"]
  ]
  for (const [name, plan, waiting, verdict, expected] of table) {
    it(`${name}: ${expected}`, () => {
      const s = session(
        agent("ada", {
          tools: [
            { name: "pay", ...plan },
            { name: "other", approval: "always" }
          ]
        }),
        { maxRunning: 1 }
      )
      const before = Array.from({ length: waiting }, (_, i) => [`o${i}`, "other"] as const)
      turn(s, [...before, ["p", "pay"]])
      // one that is refused has left the books
      const own = s.calls.get("p")?.run
      if (verdict !== "not asked") {
        expect(own?.phase).toBe("approving")
        expect(callOf(s, "p").output).toBe(undefined)
        const approval = s.approvals.find(({ run }) => run === own)
        if (approval === undefined) throw new Error("it is not asked")
        input(s, () => Calls.approvalRuled(s, approval, verdict))
        // who comes late decides nothing
        expect(Approvals.ruled(s, approval, { _tag: "Run" })).toBe(undefined)
      }
      const state = s.approvals.find(({ run }) => run === own)?.state
      const output = history(s).find((line) => /^(output|error) p:/.test(line))
      const stands =
        state?._tag === "Waiting"
          ? `Waiting${state.reason === undefined ? "" : ` ${state.reason}`}`
          : output === undefined
            ? own?.phase
            : output.includes("calls wait for approval already")
              ? "refused"
              : output.startsWith("error p:") && output.includes("approvalDenied") && output.includes("never")
                ? "denied"
                : output
      expect(stands).toBe(expected)
      expect(s.approvals.length).toBe(waiting + (state === undefined ? 0 : 1))
    })
  }
})

describe("[A4] [A6] [A7] what comes first is done, what comes second is told", () => {
  type Input = (s: State) => Left<unknown>
  const inputs: Readonly<Record<string, Input>> = {
    approve: (s) => decide(s, "p", "Approve"),
    edit: (s) => decide(s, "p", "Edit"),
    deny: (s) => decide(s, "p", "Deny"),
    answer: (s) => decide(s, "p", "Answer"),
    cancel: (s) => cancel(s, "p"),
    expire: (s) => {
      const approval = expiring.get(s)
      if (approval === undefined) throw new Error("nothing expires")
      return input(s, () => Calls.expired(s, approval))
    },
    "hand-off": (s) => handOver(s, agent("bob")),
    close: (s) => input(s, Closing.close)
  }
  const expiring = new WeakMap<State, State["approvals"][number]>()
  const results: Readonly<Record<string, readonly [event: string, end: string | undefined]>> = {
    approve: ["p approved by ann", undefined],
    edit: ["p edited by ann", undefined],
    deny: ["p denied by ann", "p_final error"],
    answer: ["p answered by ann", "p_final done"],
    cancel: ["p withdrawn", "p_final cancelled"],
    expire: ["p expired", "p_final error"],
    "hand-off": ["p withdrawn", "p_final cancelled"],
    close: ["p withdrawn", "p_final cancelled"]
  }
  for (const [first, doFirst] of Object.entries(inputs)) {
    for (const [second, doSecond] of Object.entries(inputs)) {
      it(`${first}, then ${second}`, () => {
        const s = paying({ approvalTimeout: 1000 })
        turn(s, [["p", "pay", { n: 1 }]])
        // it waits is what the turn says
        answer(s)
        const [approval] = s.approvals
        if (approval === undefined) throw new Error("it does not wait")
        expiring.set(s, approval)
        const [event, ended] = results[first] ?? ["", undefined]
        const one = doFirst(s)
        const told = one.events.filter((line) => /^p (approved|edited|denied|answered|expired|withdrawn)\b/.test(line))
        expect(told).toEqual([event])
        expect(one.events.filter((line) => line.startsWith("p_final ")).map((line) => line.split(":")[0])).toEqual(
          ended === undefined ? [] : [ended]
        )
        expect(one.commands.filter((line) => line === "StartRun p")).toEqual(ended === undefined ? ["StartRun p"] : [])
        // its timer is stopped by whoever comes first, but for itself
        expect(one.commands.filter((line) => line === "StopTimer Expire 1000").length).toBe(1)
        expect(s.approvals).toEqual([])
        const two = doSecond(s)
        expect(
          two.events.filter((line) => /^p (approved|edited|denied|answered|expired|withdrawn)\b/.test(line))
        ).toEqual([])
        expect(two.commands.filter((line) => line.startsWith("StartRun"))).toEqual([])
        if (["approve", "edit", "deny", "answer"].includes(second)) {
          expect(two.result).toBe(
            ended === undefined ? "Call p does not wait for approval." : "Call p has already ended."
          )
        }
      })
    }
  }
})

describe("what stands in the state", () => {
  it("[A1] [T12] it holds no place and no time; only then the queue", () => {
    const s = paying({ timeout: 500 }, { limit: 1 })
    turn(s, [
      ["f", "find"],
      ["p", "pay"]
    ])
    expect(phases(s)).toEqual(["f working", "p approving"])
    expect(s.running).toBe(1)
    const left = decide(s, "p", "Approve")
    expect(phases(s)).toEqual(["f working", "p queued"])
    expect(left.commands.some((line) => line.startsWith("StartTimer Timeout"))).toBe(false)
    const next = end(s, "f")
    expect(next.commands).toContain("StartRun p")
    expect(next.commands).toContain("StartTimer Timeout 500")
  })

  it("[A6] its time is over", () => {
    const s = paying({ approvalTimeout: 1000 })
    send(s)
    const left = call(s, stepOf(s), "p", "pay")
    expect(left.events).toContain("p waits for approval")
    expect(fire(s, timerOf(left, "Expire")).events).toContain("p expired")
    expect(phases(s)).toEqual([])
  })

  it("[A5] what is written from then on has the edited arguments, the call itself too if it is not recorded", () => {
    for (const plays of [false, true]) {
      const s = paying({}, { plays })
      send(s)
      const step = stepOf(s)
      // a text that is still being played holds the call back
      if (plays) say(s, step, "I pay")
      call(s, step, "p", "pay", { n: 1 })
      done(s, step)
      decide(s, "p", "Edit")
      expect(callOf(s, "p").call.arguments).toEqual({ n: 2 })
      expect(runOf(s, "p").params).toEqual({ n: 2 })
      if (plays) {
        input(s, () => Turns.interrupt(s, step.speech))
        for (const entry of step.entries) if (entry._tag === "Text") input(s, () => Incoming.playEnded(s, entry, true))
      }
      end(s, "p")
      expect(
        s.history.flatMap((item) => (item._tag === "FunctionCall" ? [[item.callId, item.arguments]] : []))
      ).toEqual([
        ["p", { n: plays ? 2 : 1 }],
        ["p_update_1", { n: 2 }],
        ["p_final", { n: 2 }]
      ])
    }
  })

  it("[A8] joined calls share it, whichever is named, and each is told", () => {
    const s = paying({ mode: "join" })
    turn(s, [["p", "pay"]])
    turn(s, [["q", "pay"]])
    expect(phases(s)).toEqual(["p+q approving"])
    expect(Approvals.pending(s).map(({ callId }) => callId)).toEqual(["p"])
    const left = decide(s, "q", "Deny")
    expect(left.events.filter((line) => /^p denied|^[pq]_final /.test(line)).map((line) => line.split(":")[0])).toEqual(
      ["p denied by ann", "p_final error", "q_final error"]
    )
  })

  it("[A9] its job does not wait for it; what comes of it later is none of it", () => {
    const told: Array<string> = []
    const s = paying()
    const waited = job(told)
    s.jobs.add(waited)
    turn(s, [["p", "pay"]], [waited])
    expect(told).toEqual([])
    answer(s)
    expect(told).toEqual(["job done"])
    expect(waited.approvals.map(({ callId }) => callId)).toEqual(["p"])
    const items = waited.items.length
    decide(s, "p", "Approve")
    end(s, "p")
    answer(s)
    expect(told).toEqual(["job done"])
    expect([waited.items.length, waited.open]).toEqual([items, 0])
  })

  it("[A9] decided while its job waits for another call, it is waited for", () => {
    const told: Array<string> = []
    const s = paying()
    const waited = job(told)
    s.jobs.add(waited)
    turn(
      s,
      [
        ["p", "pay"],
        ["f", "find"]
      ],
      [waited]
    )
    input(s, () => Calls.releaseBy(s, "f"))
    answer(s)
    decide(s, "p", "Approve")
    end(s, "f")
    answer(s)
    expect(told).toEqual([])
    end(s, "p")
    answer(s)
    expect(told).toEqual(["job done"])
    expect(waited.approvals).toEqual([])
  })

  it("[A1] [P2] it takes the place of others only once approved, behind others at its gate", () => {
    const s = session(
      agent("ada", { tools: [{ name: "pay", approval: "policy", mode: "replace", allowCancellation: true }] })
    )
    turn(s, [["p", "pay"]])
    asked(s, { _tag: "Run" })
    turn(s, [["q", "pay"]])
    const left = asked(s, { _tag: "Ask" })
    expect(phases(s)).toEqual(["p working", "q approving"])
    expect(left.commands).not.toContain("InterruptRun p")
    expect(s.gates.size).toBe(0)
    const approved = decide(s, "q", "Approve")
    expect(approved.commands).toContain("InterruptRun p")
    expect(phases(s)).toEqual(["p working", "q admitting"])
    const stopped: Outcome = { _tag: "Interrupted", reason: "replaced" }
    expect(end(s, "p", stopped).commands).toContain("StartRun q")
    expect(phases(s)).toEqual(["q working"])
    expect(s.gates.size).toBe(0)
  })

  it("[A7] a policy that is still asked is stopped, and what it says then is nothing", () => {
    const s = paying({ approval: "policy" })
    turn(s, [["p", "pay"]])
    const [approval] = s.approvals
    const left = cancel(s, "p")
    expect(left.commands).toContain("StopApproval p")
    expect(left.events.some((line) => line.includes("withdrawn"))).toBe(false)
    if (approval !== undefined) {
      const late = input(s, () => Calls.approvalRuled(s, approval, { _tag: "Run" }))
      expect(late.commands).toEqual([])
    }
    expect(finals(s)).toEqual([])
  })
})
