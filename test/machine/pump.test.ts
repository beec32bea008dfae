import { describe, expect, it } from "vitest"
import * as Agents from "../../src/internal/machine/agents.js"
import * as Idle from "../../src/internal/machine/idle.js"
import type { Handoff, State } from "../../src/internal/machine/state.js"
import * as Turns from "../../src/internal/machine/turns.js"
import {
  agent,
  answer,
  call,
  callOf,
  end,
  handoffTo,
  ids,
  input,
  type Left,
  say,
  send,
  session,
  stepOf,
  taskAgent,
  turn,
  update
} from "./support.js"

/** One of several things that are possible at once, and what shows that it was done. */
interface Thing {
  readonly name: string
  /** makes it possible, but for the mouth, which `speech_2` has */
  readonly prepare: (s: State, told: Array<string>) => void
  readonly shows: RegExp
}

/**
 * `c1` and `c2` are in the background, and somebody is in the middle of a sentence. Once that ends, all that was
 * prepared is possible; the lines tell what was done first.
 */
const talking = (): State => {
  const s = session(agent("ada", { tools: [{ name: "book" }, { name: "other" }] }))
  turn(s, [
    ["c1", "book"],
    ["c2", "other"]
  ])
  update(s, "c1", 0)
  update(s, "c2", 0)
  answer(s)
  input(s, () => Turns.generateReply(s, {}, []))
  say(s, stepOf(s), "well")
  return s
}

const things: ReadonlyArray<Thing> = [
  {
    name: "a hand-off",
    prepare: (s) => void input(s, () => Agents.requestHandoff(s, handoffTo(agent("bob")))),
    shows: /^LeaveAgent ada/
  },
  {
    name: "an urgent reply",
    prepare: (s) => {
      // it has tried to cut the sentence, which disallows it
      stepOf(s).speech.allowInterruptions = false
      update(s, "c1", 1, "interrupt")
    },
    shows: /scheduled: c1_update_1$/
  },
  {
    name: "a turn in the queue",
    prepare: (s) => void input(s, () => Turns.generateReply(s, {}, [])),
    shows: /^AskModel speech_\d+ auto/
  },
  {
    name: "a request for the floor",
    prepare: (s, told) =>
      void input(s, () => Idle.requestFloor(s, callOf(s, "c2"), () => told.push("c2 has the floor"))),
    shows: /^c2 has the floor/
  },
  {
    name: "a reply",
    prepare: (s) => void update(s, "c1", 9),
    shows: /scheduled: c1_update_\d$/
  }
]

type Done = Pick<Left<unknown>, "events" | "commands">

describe("[F1] [F5] [U7] [D2] [S4] of several things that are possible at once, the first is done first", () => {
  for (const [i, first] of things.entries()) {
    for (const second of things.slice(i + 1)) {
      for (const order of ["in this order", "in the other"] as const) {
        // one reply covers both, and a report that is older than the request is voiced before (see below)
        if (second.name === "a reply" && first.name === "an urgent reply") continue
        if (second.name === "a reply" && first.name === "a request for the floor" && order === "in the other") continue
        it(`${first.name} before ${second.name}, asked for ${order}`, () => {
          const s = talking()
          const told: Array<string> = []
          for (const thing of order === "in this order" ? [first, second] : [second, first]) thing.prepare(s, told)
          const { commands, events } = answer(s, "")
          const lines = [...events, ...commands, ...told]
          expect(lines.filter((line) => first.shows.test(line)).length).toBe(1)
          expect(lines.filter((line) => second.shows.test(line))).toEqual([])
        })
      }
    }
  }

  it("[D1] an urgent reply covers what waits beside it", () => {
    const s = talking()
    stepOf(s).speech.allowInterruptions = false
    update(s, "c2", 1)
    update(s, "c1", 1, "interrupt")
    expect(answer(s, "").events).toContain("reply_1 scheduled: c2_update_1 c1_update_1")
  })

  it("[F5] a report that is older than the request for the floor is voiced before it is granted", () => {
    const s = talking()
    const told: Array<string> = []
    update(s, "c1", 1)
    input(s, () => Idle.requestFloor(s, callOf(s, "c2"), () => told.push("floor")))
    update(s, "c1", 2)
    expect(answer(s, "").events).toContain("reply_1 scheduled: c1_update_1 c1_update_2")
    expect(told).toEqual([])
    answer(s, "")
    expect(told).toEqual(["floor"])
  })

  it("all of them, one after the other", () => {
    const s = talking()
    const told: Array<string> = []
    for (const thing of things.toReversed()) thing.prepare(s, told)
    const handoff = s.handoff as Handoff
    const seen: Array<string> = []
    const look = (lines: ReadonlyArray<string>): void => {
      for (const line of [...lines, ...told.splice(0)]) {
        if (/^LeaveAgent|scheduled|^AskModel|floor|^EnterAgent/.test(line)) seen.push(line)
      }
    }
    const step = (left: Done): void => look([...left.events, ...left.commands])
    // what the old agent was to voice would be dropped with it
    for (const one of [callOf(s, "c1"), callOf(s, "c2")]) one.owner = undefined
    step(answer(s, ""))
    step(input(s, () => Agents.enterAgent(s, handoff)))
    while (s.mouth !== undefined) step(answer(s, ""))
    expect(seen).toEqual([
      "LeaveAgent ada",
      "reply_1 scheduled: c1_update_1 c1_update_2",
      "EnterAgent bob",
      "AskModel speech_4 none",
      "AskModel speech_3 auto",
      "c2 has the floor"
    ])
  })
})

describe("steps and turns", () => {
  it("[F1] a turn whose calls have their outputs has its old place, by priority and then by order", () => {
    const s = session(agent("ada", { tools: [{ name: "book" }] }))
    const { speech } = turn(s, [["c1", "book"]])
    input(s, () => Turns.say(s, "one moment", {}, []))
    input(s, () => Turns.generateReply(s, {}, []))
    input(s, () => Turns.generateReply(s, { priority: 1 }, []))
    input(s, () => Turns.generateReply(s, { priority: -1 }, []))
    expect(ids(s.queue)).toEqual(["speech_4", "speech_5"])
    end(s, "c1")
    expect(ids(s.queue)).toEqual(["speech_4", "speech_1", "speech_5"])
    answer(s)
    // `speech_4` has the higher priority
    expect([s.mouth?.id, ids(s.queue)]).toEqual(["speech_4", ["speech_1", "speech_5"]])
    answer(s)
    expect(s.mouth).toBe(speech)
  })

  it("[F1] a turn that waits for its calls does not hold the mouth", () => {
    const s = session(agent("ada", { tools: [{ name: "book" }] }))
    turn(s, [["c1", "book"]])
    expect(s.mouth).toBe(undefined)
    expect(input(s, () => Turns.say(s, "one moment", {}, [])).events).toEqual([
      "speech_2 created: say",
      "+ assistant: one moment",
      "speech_2 ended"
    ])
  })

  it("[S7] a turn of a task goes on before the task is ended, and ends with it", () => {
    const s = session(agent("ada", { tools: [{ name: "book" }] }))
    turn(s, [["c1", "book"]])
    const told: Array<string> = []
    const task = taskAgent("form", callOf(s, "c1"), told, { tools: [{ name: "complete", kind: "companion" }] })
    input(s, () => Agents.startTask(s, task))
    turn(s, [["c2", "complete"]])
    input(s, () => Agents.finishTask(s, task, callOf(s, "c2"), { _tag: "Completed", value: 1 }))
    const { commands } = end(s, "c2")
    expect(commands).toEqual(["LeaveAgent form"])
    expect(ids(s.queue)).toEqual(["speech_2"])
    const { events } = input(s, () => Agents.exitTask(s, task))
    expect(events.slice(0, 2)).toEqual(["speech_2 ended", "+ handoff form ada"])
    expect(told).toEqual(["form Completed"])
  })

  it("[U7] a turn that a first update lets go on comes before others, and before an urgent reply", () => {
    const s = talking()
    stepOf(s).speech.allowInterruptions = false
    answer(s, "")
    const waiting = turn(s, [["c3", "book"]]).speech
    input(s, () => Turns.generateReply(s, { priority: 5, allowInterruptions: false }, []))
    const speaking = s.mouth
    say(s, stepOf(s), "well")
    update(s, "c1", 1, "interrupt")
    update(s, "c3", 1, "interrupt")
    expect(s.mouth).toBe(speaking)
    expect(answer(s, "").events).toContain("reply_1 scheduled: c1_update_1")
    expect(s.mouth?.reply?.ids).toEqual(["c1_update_1"])
    expect(s.queue[0]).toBe(waiting)
  })

  it("[U7] an update that interrupts cuts what may be cut, once, and neither the user's turn nor a held floor", () => {
    const s = talking()
    expect(update(s, "c1", 1, "interrupt").events).toContain("speech_2 cut")
    expect(s.mouth?.reply?.ids).toEqual(["c1_update_1"])

    const claimed = talking()
    input(claimed, Idle.claimUserTurn)
    expect(update(claimed, "c1", 1, "interrupt").events.join()).not.toContain("cut")

    const held = talking()
    answer(held, "")
    input(held, () => Idle.requestFloor(held, callOf(held, "c2"), () => undefined))
    input(held, () => Turns.say(held, "hm", {}, []))
    expect(update(held, "c1", 1, "interrupt").events.join()).not.toMatch(/cut|scheduled/)

    const answering = talking()
    send(answering)
    expect(update(answering, "c1", 1, "interrupt").events.join()).not.toContain("cut")
    say(answering, stepOf(answering), "the answer")
    // it has tried, and tries no more
    expect(input(answering, () => undefined).events).toEqual([])
    expect(update(answering, "c1", 2, "interrupt").events.join()).toContain("cut")
  })

  it("[D2] whoever waits for idle is told only if nothing has begun", () => {
    const s = talking()
    const told: Array<string> = []
    input(s, () => Idle.addWaiter(s, { caller: undefined, resume: (idle) => told.push(`idle ${idle}`) }))
    update(s, "c1", 1)
    answer(s, "")
    expect([told, s.mouth?.source]).toEqual([[], "tool-reply"])
    answer(s, "")
    expect(told).toEqual(["idle true"])
  })

  it("the state of the agent is told last, and once", () => {
    const s = session()
    expect(send(s).events).toEqual(["+ user: hi", "speech_1 created: reply", "agent thinking"])
    expect(say(s, stepOf(s), "a").events).toEqual(["agent speaking"])
    expect(say(s, stepOf(s), "b").events).toEqual([])
    input(s, () => Turns.generateReply(s, {}, []))
    const ended = (n: number) => `speech_${n} step ended: - {}`
    expect(answer(s, "").events).toEqual([ended(1), "+ assistant: ab", "speech_1 ended", "agent thinking"])
    expect(answer(s, "").events).toEqual([ended(2), "speech_2 ended", "agent listening"])
  })

  it("a call that is asked for while another turn is at work does not change what comes next", () => {
    const s = talking()
    call(s, stepOf(s), "c3", "book")
    update(s, "c3", 1)
    expect(s.mouth?.id).toBe("speech_2")
    expect(answer(s, "").commands).toEqual(["AskModel speech_2 auto"])
  })
})
