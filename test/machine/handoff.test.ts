import { describe, expect, it } from "vitest"
import * as Agents from "../../src/internal/machine/agents.js"
import * as Calls from "../../src/internal/machine/calls.js"
import * as Idle from "../../src/internal/machine/idle.js"
import * as Incoming from "../../src/internal/machine/incoming.js"
import type { Handoff, State, TextEntry } from "../../src/internal/machine/state.js"
import * as Turns from "../../src/internal/machine/turns.js"
import {
  agent,
  answer,
  call,
  callOf,
  end,
  handOver,
  handoffTo,
  history,
  input,
  job,
  left,
  runOf,
  say,
  send,
  session,
  stepOf,
  stopped,
  taskAgent,
  turn,
  update
} from "./support.js"

const ada = () => agent("ada", { tools: [{ name: "book" }, { name: "other" }] })

const ask = (s: State, callId: string, to = agent("bob")): Handoff => {
  const call = callOf(s, callId)
  const when = input(s, () => Agents.claimHandoff(s, call)).result
  if (when === undefined) throw new Error("refused")
  return { to, call, when, jobs: [], resume: undefined }
}

describe("[S4] from outside", () => {
  it("the old one leaves, then the new one enters, the item between; the rest of the queue is the new one's", () => {
    const s = session(ada())
    send(s)
    input(s, () => Turns.generateReply(s, {}, []))
    const handoff = handoffTo(agent("bob"))
    expect(input(s, () => Agents.requestHandoff(s, handoff)).commands).toEqual([])
    expect(answer(s).commands).toEqual(["LeaveAgent ada"])
    const { commands, events } = left(s, handoff)
    expect(events).toEqual(["+ handoff ada bob", "ada hands over to bob"])
    expect(commands).toEqual(["StopEntering ada", "CloseAgent ada", "EnterAgent bob", "AskModel speech_2 auto"])
    expect(stepOf(s).agent.name).toBe("bob")
  })

  it("what is queued to be said is said first, and what is asked for meanwhile is the new one's", () => {
    const s = session(ada())
    send(s)
    input(s, () => Turns.say(s, "goodbye", {}, []))
    const handoff = handoffTo(agent("bob"))
    input(s, () => Agents.requestHandoff(s, handoff))
    const { commands, events } = answer(s, "")
    expect([events.includes("+ assistant: goodbye"), commands]).toEqual([true, ["LeaveAgent ada"]])
    expect(send(s).commands).toEqual([])
    // last words
    expect(input(s, () => Turns.say(s, "really", {}, [])).events).toContain("+ assistant: really")
    expect(left(s, handoff).commands.at(-1)).toBe("AskModel speech_3 auto")
  })

  it("a second one waits behind the first", () => {
    const s = session(ada())
    const told: Array<string> = []
    const first = handoffTo(agent("bob"), told)
    const second = handoffTo(agent("cy"), told)
    const again = (): void => void input(s, () => Agents.requestHandoffInTurn(s, second, again))
    input(s, () => Agents.requestHandoffInTurn(s, first, () => undefined))
    again()
    expect(s.handoffWaiters.length).toBe(1)
    left(s, first)
    left(s, second)
    expect(told).toEqual(["bob took over", "cy took over"])
    expect(s.agents.map(({ name }) => name)).toEqual(["cy"])
  })

  it("one that waits can be taken back, and one that is under way cannot", () => {
    const s = session(ada())
    send(s)
    const handoff = handoffTo(agent("bob"))
    input(s, () => Agents.requestHandoff(s, handoff))
    expect(input(s, () => Agents.withdrawHandoff(s, handoff, () => undefined)).result).toBe(true)
    input(s, () => Agents.requestHandoff(s, handoff))
    answer(s)
    expect(input(s, () => Agents.withdrawHandoff(s, handoff, () => undefined)).result).toBe(false)
  })
})

describe("[S4] by a call", () => {
  it("inline: once the text was played and its output is recorded; the rest of the turn is the new agent's", () => {
    const s = session(ada())
    turn(s, [["c1", "book"]])
    const handoff = ask(s, "c1")
    expect(input(s, () => Agents.requestHandoff(s, handoff)).commands).toEqual([])
    expect(end(s, "c1").commands).toEqual(["LeaveAgent ada"])
    expect(left(s, handoff).commands.at(-1)).toBe("AskModel speech_1 auto")
    expect([stepOf(s).agent.name, history(s).at(-1)]).toEqual(["bob", "handoff ada bob"])
  })

  it("inline: calls that the old agent still has to finish leave the turn", () => {
    const s = session(ada())
    turn(s, [
      ["c1", "other"],
      ["c2", "book"]
    ])
    const handoff = ask(s, "c2")
    input(s, () => Agents.requestHandoff(s, handoff))
    const { commands, events } = end(s, "c2")
    expect(events).toContain("c1 released by timer")
    expect(commands).toEqual(["LeaveAgent ada"])
  })

  it("after an update: at the next idle moment, before the reply, which the new agent gives", () => {
    const s = session(ada())
    turn(s, [["c1", "book"]])
    update(s, "c1", 0)
    const handoff = ask(s, "c1")
    expect(handoff.when).toBe("idle")
    input(s, () => Agents.requestHandoff(s, handoff))
    update(s, "c1", 1)
    expect(answer(s).commands).toEqual(["LeaveAgent ada"])
    const { events } = left(s, handoff)
    expect(events).toContain("reply_1 scheduled: c1_update_1")
    // the call that asked is not ended by it
    expect([runOf(s, "c1").phase, stepOf(s).agent.name]).toEqual(["working", "bob"])
  })

  it("[S5] of two in one step the first wins, and so does one that waits", () => {
    const s = session(ada())
    turn(s, [
      ["c1", "book"],
      ["c2", "other"]
    ])
    const claim = (callId: string) => input(s, () => Agents.claimHandoff(s, callOf(s, callId))).result
    expect([claim("c1"), claim("c2")]).toEqual(["inline", undefined])
    input(s, () => Agents.unclaimHandoff(s, callOf(s, "c1"), "inline"))
    expect(claim("c2")).toBe("inline")
    const handoff = handoffTo(agent("bob"))
    expect(input(s, () => Agents.requestHandoff(s, handoff)).result).toBe(true)
    expect(input(s, () => Agents.requestHandoff(s, handoffTo(agent("cy")))).result).toBe(false)
    expect(claim("c1")).toBe(undefined)
  })
})

describe("[S2b] [S2c] the calls of an agent that leaves", () => {
  const rows = [
    { allowCancellation: true, onHandoff: undefined, becomes: "stopped" },
    { allowCancellation: false, onHandoff: undefined, becomes: "awaited" },
    { allowCancellation: true, onHandoff: "cancel", becomes: "stopped" },
    { allowCancellation: true, onHandoff: "await", becomes: "awaited" },
    { allowCancellation: false, onHandoff: "await", becomes: "awaited" },
    { allowCancellation: true, onHandoff: "promote", becomes: "promoted" },
    { allowCancellation: false, onHandoff: "promote", becomes: "promoted" }
  ] as const

  for (const { allowCancellation, becomes, onHandoff } of rows) {
    for (const committed of [false, true]) {
      const found = committed && becomes === "stopped" ? "awaited" : becomes
      const name = `allowCancellation ${allowCancellation}, onHandoff ${onHandoff}, committed ${committed}`
      it(`${name}: ${found}`, () => {
        const s = session(agent("ada", { tools: [{ name: "book", allowCancellation, onHandoff }] }))
        turn(s, [["c1", "book"]])
        update(s, "c1", 0)
        answer(s)
        if (committed) input(s, () => Calls.commit(s, runOf(s, "c1")))
        const { commands } = handOver(s, agent("bob"))
        expect(commands.includes("InterruptRun c1")).toBe(found === "stopped")
        expect(commands.includes("CloseAgent ada")).toBe(false)
        const over = found === "stopped" ? stopped(s, "c1") : end(s, "c1")
        expect(over.commands.filter((line) => line === "CloseAgent ada").length).toBe(1)
        expect(over.events.includes("reply_1 scheduled: c1_final")).toBe(found === "promoted")
        expect(over.events.includes("reply_1 dropped: c1_final")).toBe(found === "awaited")
      })
    }
  }

  it("an agent whose last call had not begun is closed once", () => {
    const s = session(agent("ada", { limit: 0, tools: [{ name: "book", allowCancellation: true }] }))
    turn(s, [["c1", "book"]])
    expect(handOver(s, agent("bob")).commands.filter((line) => line === "CloseAgent ada")).toEqual(["CloseAgent ada"])
  })
})

describe("[S7] tasks", () => {
  const inTask = (told: Array<string> = []) => {
    const s = session(ada())
    const outer = turn(s, [["c1", "book"]]).speech
    const task = taskAgent("form", callOf(s, "c1"), told)
    input(s, () => Agents.startTask(s, task))
    return { s, outer, task }
  }

  it("the outer agent and its turn are paused, and a user's turn does not interrupt it", () => {
    const { outer, s } = inTask()
    send(s)
    answer(s)
    expect(s.agents.map(({ name, state }) => `${name} ${state}`)).toEqual(["ada paused", "form current"])
    expect([outer.state, outer.interrupted]).toEqual(["waiting", false])
  })

  it("it is ended once what it still says was said, and tells its value", () => {
    const told: Array<string> = []
    const { s, task } = inTask(told)
    send(s)
    say(s, stepOf(s), "and")
    input(s, () => Agents.finishTask(s, task, undefined, { _tag: "Completed", value: 1 }))
    expect(answer(s, "").commands).toEqual(["LeaveAgent form"])
    input(s, () => Agents.exitTask(s, task))
    expect([told, s.agents.map(({ name }) => name)]).toEqual([["form Completed"], ["ada"]])
  })

  it.each([
    ["the handler ends", (s: State) => end(s, "c1")],
    ["the conversation is handed over", (s: State) => handOver(s, agent("bob"))]
  ])("%s: it is declined", (_, happens) => {
    const told: Array<string> = []
    const { s } = inTask(told)
    happens(s)
    expect([told, s.agents.length]).toEqual([["form Declined"], 1])
  })
})

describe("[S4] [O1] a hand-off that ends a task", () => {
  it("the agent that the task had paused in the middle of a step ends the step, and leaves then", () => {
    const s = session(ada())
    const { step } = send(s).result
    input(s, Idle.claimUserTurn)
    input(s, () => Agents.startTask(s, taskAgent("form", undefined, [])))
    input(s, Idle.releaseUserTurn)
    const told: Array<string> = []
    const handoff = handoffTo(agent("bob"), told)
    expect(input(s, () => Agents.requestHandoff(s, handoff)).commands).toContain("LeaveAgent ada")
    expect(stepOf(s)).toBe(step)
    left(s, handoff)
    expect(told).toEqual([])
    expect(answer(s).events).toEqual(expect.arrayContaining(["+ assistant: ok", "ada hands over to bob"]))
    expect(told).toEqual(["bob took over"])
  })
})

describe("[S4] [F4] [O1] an agent that leaves while the user has the floor", () => {
  it("its last words wait for the floor, so it answers what was sent in the claim, and leaves behind both", () => {
    const s = session(agent("ada", { plays: true }))
    const told: Array<string> = []
    const handoff = handoffTo(agent("bob"), told)
    input(s, () => Agents.requestHandoff(s, handoff))
    input(s, () => Turns.say(s, "goodbye", {}, []))
    left(s, handoff)
    const entry = stepOf(s).entries[0] as TextEntry
    input(s, Idle.claimUserTurn)
    input(s, () => Incoming.playEnded(s, entry, true))
    expect(send(s).commands).toEqual(["AskModel speech_2 auto"])
    expect([answer(s, "").events, told]).toEqual([expect.arrayContaining(["speech_2 ended"]), []])
    expect(input(s, Idle.releaseUserTurn).commands).toEqual(["Play speech_1"])
    const { events } = input(s, () => Incoming.playEnded(s, entry, false))
    expect(events).toEqual(expect.arrayContaining(["+ assistant: goodbye", "ada hands over to bob"]))
    expect(told).toEqual(["bob took over"])
  })

  it("else that is the next agent's", () => {
    const s = session(agent("ada"))
    const handoff = handoffTo(agent("bob"))
    input(s, () => Agents.requestHandoff(s, handoff))
    input(s, Idle.claimUserTurn)
    expect(send(s).commands).toEqual([])
    expect(left(s, handoff).commands).toContain("AskModel speech_1 auto")
    expect(stepOf(s).agent.name).toBe("bob")
  })
})

describe("[R1] [R2] jobs", () => {
  it("one is done when its turn, its background calls and their replies have ended, and a later turn holds it not open", () => {
    const told: Array<string> = []
    const s = session(ada())
    const one = job(told, "first")
    const other = job(told, "second")
    input(s, () => Turns.run(s, { text: "hi" }, {}, one, []))
    const step = stepOf(s)
    for (const callId of ["c1", "c2"]) call(s, step, callId, "book")
    answer(s, "", step)
    update(s, "c1", 0)
    end(s, "c2")
    answer(s)
    input(s, () => Turns.run(s, { text: "and" }, {}, other, []))
    answer(s)
    expect(told).toEqual(["second done"])
    end(s, "c1")
    expect(told).toEqual(["second done"])
    answer(s, "voiced")
    expect([told, one.text, one.open, s.jobs.size]).toEqual([["second done", "first done"], "voiced", 0, 0])
  })
})
