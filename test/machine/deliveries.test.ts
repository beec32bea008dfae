import { describe, expect, it } from "vitest"
import * as Idle from "../../src/internal/machine/idle.js"
import * as Incoming from "../../src/internal/machine/incoming.js"
import * as Jobs from "../../src/internal/machine/jobs.js"
import type { Options, State } from "../../src/internal/machine/state.js"
import * as Turns from "../../src/internal/machine/turns.js"
import type { DeliveryMode } from "../../src/internal/machine/words.js"
import {
  agent,
  answer,
  call,
  callOf,
  cancel,
  done,
  end,
  failure,
  handOver,
  history,
  input,
  prompts,
  say,
  send,
  session,
  stepOf,
  type ToolPlan,
  turn,
  update
} from "./support.js"

/** `c1` and `c2` are in the background, and what they report waits: the user speaks. */
const waiting = (given: Partial<Options> = {}, plan: Partial<ToolPlan> = {}): State => {
  const s = session(
    agent("ada", { tools: [{ name: "book", allowCancellation: true, ...plan }, { name: "other" }] }),
    given
  )
  turn(s, [
    ["c1", "book"],
    ["c2", "other"]
  ])
  update(s, "c1", 0)
  update(s, "c2", 0)
  answer(s)
  input(s, Idle.claimUserTurn)
  return s
}

/** The ids of the items of this call that are in the history, its own output aside. */
const pairs = (s: State, callId = "c1"): ReadonlyArray<string> =>
  history(s).flatMap((line) => new RegExp(`^call (${callId}_\\w+)`).exec(line)?.slice(1) ?? [])

const updates = (from: number, to: number): ReadonlyArray<string> =>
  Array.from({ length: to - from + 1 }, (_, i) => `c1_update_${from + i}`)

const bounds = [1, 2, 3, 32]

describe("[U6] at most `maxPendingUpdates` updates of a call wait", () => {
  for (const max of bounds) {
    for (const mode of ["when-idle", "interrupt", "silent"] as const satisfies ReadonlyArray<DeliveryMode>) {
      it(`${max}, ${mode}: the oldest leaves the queue and the history, and an event tells it`, () => {
        const s = waiting({ maxPendingUpdates: max })
        for (let n = 1; n <= max; n++) expect(update(s, "c1", n, mode).events.join()).not.toContain("dropped")
        for (let n = max + 1; n <= max + 3; n++) {
          const { events } = update(s, "c1", n, mode)
          expect(events.filter((line) => line.endsWith("dropped"))).toEqual([`c1_update_${n - max} dropped`])
          expect(pairs(s)).toEqual(updates(n - max + 1, n))
          expect(callOf(s, "c1").waiting.length).toBe(max)
          expect(s.pending.size + s.silent.length).toBe(max)
          expect(s.urgent).toBe(mode === "interrupt" ? max : 0)
          expect(s.callIds.has(`c1_update_${n - max}`)).toBe(false)
        }
        expect(s.historyRemovals).toBe(3)
      })
    }

    it(`${max}, held: what is not in the history yet is bounded, too, and never enters it`, () => {
      const s = session(agent("ada", { tools: [{ name: "book" }] }), { maxPendingUpdates: max })
      turn(s, [
        ["c0", "book"],
        ["c1", "book"]
      ])
      update(s, "c1", 0)
      for (let n = 1; n <= max + 2; n++) update(s, "c1", n)
      expect(callOf(s, "c1").held.map(({ id }) => id)).toEqual(updates(3, max + 2))
      expect(pairs(s)).toEqual([])
      end(s, "c0")
      expect(pairs(s)).toEqual(updates(3, max + 2))
      expect(s.historyRemovals).toBe(0)
    })

    it(`${max}, redelivered: what an interrupted reply gives back counts again, as the oldest`, () => {
      const s = waiting({ maxPendingUpdates: max, onInterruptedReply: "redeliver" })
      for (let n = 1; n <= max; n++) update(s, "c1", n)
      input(s, Idle.releaseUserTurn)
      say(s, stepOf(s), "so far")
      expect(callOf(s, "c1").waiting).toEqual([])
      update(s, "c1", max + 1)
      const { events } = input(s, () => {
        Turns.interruptAll(s, false)
        Idle.claimUserTurn(s)
      })
      expect(events).toContain(`reply_1 interrupted: ${updates(1, max).join(" ")}`)
      expect(events.filter((line) => line.endsWith("dropped"))).toEqual(["c1_update_1 dropped"])
      expect(Array.from(s.pending, ({ id }) => id)).toEqual(updates(2, max + 1))
      expect(Array.from(s.pending, ({ mode }) => mode)).toEqual(Array(max).fill("when-idle"))
    })
  }

  it("each call by itself", () => {
    const s = waiting({ maxPendingUpdates: 2 })
    for (let n = 1; n <= 3; n++) {
      update(s, "c1", n)
      update(s, "c2", n)
    }
    expect([pairs(s), pairs(s, "c2")]).toEqual([updates(2, 3), ["c2_update_2", "c2_update_3"]])
  })

  it("a result is no update: it is never dropped and drops none", () => {
    const s = waiting({ maxPendingUpdates: 1 })
    update(s, "c1", 1)
    expect(end(s, "c1").events.join()).not.toContain("dropped")
    expect(pairs(s)).toEqual(["c1_update_1", "c1_final"])
  })

  it("silent ones wait until the next reply of any kind", () => {
    const s = waiting({ maxPendingUpdates: 2 })
    update(s, "c1", 1, "silent")
    update(s, "c1", 2, "silent")
    expect(callOf(s, "c1").waiting.length).toBe(2)
    send(s)
    expect([callOf(s, "c1").waiting, s.silent]).toEqual([[], []])
    update(s, "c1", 3, "silent")
    update(s, "c1", 4, "silent")
    expect(pairs(s)).toEqual(updates(1, 4))
  })

  it("silent and voiced ones count together", () => {
    const s = waiting({ maxPendingUpdates: 2 })
    update(s, "c1", 1, "silent")
    update(s, "c1", 2)
    update(s, "c1", 3, "interrupt")
    expect(pairs(s)).toEqual(updates(2, 3))
    update(s, "c1", 4, "silent")
    expect(pairs(s)).toEqual(updates(3, 4))
    expect([s.pending.size, s.urgent, s.silent.length]).toEqual([1, 1, 1])
  })

  it("an item that is dropped moves what an agent without the conversation so far is shown", () => {
    const s = waiting({ maxPendingUpdates: 1 }, { onHandoff: "promote" })
    update(s, "c1", 1)
    handOver(s, agent("bob", { context: "empty" }))
    const seen = s.history.slice(s.agents[0]!.since)
    update(s, "c1", 2)
    expect(s.history.slice(s.agents[0]!.since)).toEqual([...seen, ...s.history.slice(-2)])
    expect(seen.map(({ _tag }) => _tag)).toEqual(["AgentHandoff"])
  })

  it("what is dropped closes what waits for it", () => {
    const told: Array<string> = []
    const s = session(agent("ada", { tools: [{ name: "book" }] }), { maxPendingUpdates: 1 })
    const job = Jobs.make({ caller: undefined, resume: () => void told.push("done") })
    turn(s, [["c1", "book"]], [job])
    update(s, "c1", 0)
    answer(s)
    input(s, Idle.claimUserTurn)
    for (let n = 1; n <= 5; n++) update(s, "c1", n)
    // the call, and the one update that waits
    expect(job.open).toBe(2)
    end(s, "c1", { _tag: "Nothing" })
    input(s, Idle.releaseUserTurn)
    expect(told).toEqual([])
    answer(s)
    expect([told, job.open]).toEqual([["done"], 0])
  })
})

describe("replies", () => {
  const scheduled = (events: ReadonlyArray<string>): ReadonlyArray<string> =>
    events.filter((line) => line.includes("scheduled"))

  it("[D1] [D2] one covers all that wait once the session is idle", () => {
    const s = waiting()
    update(s, "c1", 1)
    update(s, "c2", 1)
    end(s, "c1")
    const { commands, events } = input(s, Idle.releaseUserTurn)
    expect(scheduled(events)).toEqual(["reply_1 scheduled: c1_update_1 c2_update_1 c1_final"])
    expect(commands).toEqual(["AskModel speech_2 none"])
    expect(answer(s).events).toContain("reply_1 completed: c1_update_1 c2_update_1 c1_final")
  })

  it.each(["replyAtTail", "replyMaybeCovered"] as const)("[D1] calls that differ in `%s` get a reply each", (name) => {
    const s = waiting({}, { prompts: { ...prompts, [name]: "mine" } })
    update(s, "c2", 1)
    update(s, "c1", 1)
    update(s, "c2", 2)
    expect(scheduled(input(s, Idle.releaseUserTurn).events)).toEqual(["reply_1 scheduled: c2_update_1 c2_update_2"])
    expect(scheduled(answer(s).events)).toEqual(["reply_2 scheduled: c1_update_1"])
  })

  it("[D1] calls that differ in other templates get one", () => {
    const s = waiting({}, { prompts: { ...prompts, update: "mine" } })
    update(s, "c1", "one")
    update(s, "c2", "one")
    expect(history(s)).toContain('output c1_update_1: "<mine book c1 one>"')
    expect(scheduled(input(s, Idle.releaseUserTurn).events)).toEqual(["reply_1 scheduled: c1_update_1 c2_update_1"])
  })

  it("[D3] the note says whether the newest item is the last of the conversation", () => {
    const s = waiting()
    update(s, "c1", 1)
    input(s, Idle.releaseUserTurn)
    expect(stepOf(s).note).toBe("<replyAtTail c1_update_1>")
    update(s, "c1", 2)
    answer(s)
    expect(stepOf(s).note).toBe("<replyMaybeCovered c1_update_2>")
  })

  const ends: ReadonlyArray<readonly [rule: string, how: string, end: (s: State) => unknown]> = [
    ["[D5]", "completed", (s) => answer(s, "so far")],
    ["[D4]", "skipped", (s) => answer(s, "")],
    ["[D4]", "skipped", (s) => answer(s, "  \n")],
    [
      "[D6]",
      "interrupted",
      (s) => {
        say(s, stepOf(s), "so")
        input(s, () => Turns.interruptAll(s, false))
      }
    ],
    ["[D6]", "failed", (s) => input(s, () => Incoming.modelEnded(s, stepOf(s), failure()))]
  ]

  it.each(ends)("%s [D9] one that ends as %s says so once, and its items end so", (_, how, finish) => {
    const s = waiting()
    update(s, "c1", 1)
    const [delivery] = s.pending
    input(s, Idle.releaseUserTurn)
    finish(s)
    expect(delivery!.state).toEqual({ _tag: "Ended", how })
    expect(pairs(s)).toEqual(["c1_update_1"])
    expect(s.pending.size).toBe(0)
    expect(history(s).filter((line) => line.startsWith("assistant")).length).toBe(
      how === "completed" || how === "interrupted" ? 2 : 1
    )
  })

  it.each(["skipped", "failed", "completed"])("[D6] one that is %s is not given again", (how) => {
    const s = waiting({ onInterruptedReply: "redeliver" })
    update(s, "c1", 1)
    input(s, Idle.releaseUserTurn)
    ends.find(([, other]) => other === how)?.[2](s)
    expect([s.pending.size, s.mouth]).toEqual([0, undefined])
  })

  it("[D6] an interrupted one is given again, with what came since, once the session is idle", () => {
    const s = waiting({ onInterruptedReply: "redeliver" })
    update(s, "c1", 1, "interrupt")
    input(s, Idle.releaseUserTurn)
    update(s, "c1", 2)
    const { events } = send(s, "stop")
    expect(events).toContain("reply_1 interrupted: c1_update_1")
    expect(scheduled(events)).toEqual([])
    expect(scheduled(answer(s).events)).toEqual(["reply_2 scheduled: c1_update_1 c1_update_2"])
  })

  it("[D5] [D10] what belongs to an agent that has ended is dropped in one event, and was never scheduled", () => {
    const s = waiting()
    update(s, "c1", 1)
    update(s, "c1", 2)
    const { events } = handOver(s, agent("bob"))
    expect(events).toContain("reply_1 dropped: c1_update_1 c1_update_2")
    expect(input(s, Idle.releaseUserTurn).events).toEqual(["user listening"])
    expect(pairs(s)).toEqual(updates(1, 2))
    // what it still reports is recorded, and voiced by nobody
    expect(end(s, "c2").events).toContain("reply_2 dropped: c2_final")
  })

  it("[D7] what belongs to the session goes to whoever is current", () => {
    const s = waiting({}, { onHandoff: "promote" })
    update(s, "c1", 1)
    handOver(s, agent("bob", { context: "empty" }))
    expect(s.agents[0]!.carried.map((item) => "callId" in item && item.callId)).toEqual(["c1_update_1", "c1_update_1"])
    expect(scheduled(input(s, Idle.releaseUserTurn).events)).toEqual(["reply_1 scheduled: c1_update_1"])
    expect(stepOf(s).agent.name).toBe("bob")
  })

  it("[C6] [U3] a call that is cancelled in the background is written and voiced by nobody", () => {
    const s = waiting()
    cancel(s, "c1")
    end(s, "c1", { _tag: "Interrupted", reason: "cancelled" })
    expect(pairs(s)).toEqual(["c1_final"])
    expect(input(s, Idle.releaseUserTurn).events).toEqual(["user listening"])
  })

  it("[D8] one item that may act makes a mixed reply act", () => {
    const s = waiting({}, { onResult: "act" })
    update(s, "c2", 1)
    end(s, "c1")
    expect(input(s, Idle.releaseUserTurn).commands).toEqual(["AskModel speech_2 auto"])
  })

  it("[D8] a chain of replies that act shares one `maxToolSteps`, which the user's turn begins anew", () => {
    const s = session(agent("ada", { tools: [{ name: "book", onResult: "act" }] }), { maxToolSteps: 2 })
    const next = (n: number): ReadonlyArray<string> => {
      update(s, `c${n}`, 0)
      answer(s, "")
      return end(s, `c${n}`).commands.filter((line) => line.startsWith("AskModel"))
    }
    turn(s, [["c1", "book"]])
    const choices: Array<string | undefined> = []
    for (let n = 1; n <= 3; n++) {
      const asked = next(n)[0]?.split(" ").at(-1)
      choices.push(asked)
      if (asked === "none") break
      const step = stepOf(s)
      call(s, step, `c${n + 1}`, "book")
      done(s, step)
    }
    expect([choices, s.actSteps]).toEqual([["auto", "auto", "none"], 2])
    send(s)
    expect(s.actSteps).toBe(0)
  })
})
