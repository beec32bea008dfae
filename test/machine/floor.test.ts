import { describe, expect, it } from "vitest"
import * as Agents from "../../src/internal/machine/agents.js"
import * as Fillers from "../../src/internal/machine/fillers.js"
import * as Idle from "../../src/internal/machine/idle.js"
import { addWaiter, type Call, type Filler, type SpeechWaiter, type State } from "../../src/internal/machine/state.js"
import * as Turns from "../../src/internal/machine/turns.js"
import {
  agent,
  answer,
  call,
  callOf,
  done,
  end,
  fire,
  handoffTo,
  input,
  send,
  session,
  stepOf,
  timerOf,
  turn,
  update
} from "./support.js"

/** `c1` is in the background; `c2` is inline in a turn that waits for it. */
const two = (): State => {
  const s = session(agent("ada", { tools: [{ name: "book" }, { name: "other" }] }))
  turn(s, [["c1", "book"]])
  update(s, "c1", 0)
  answer(s, "")
  turn(s, [["c2", "other"]])
  return s
}

const floor = (s: State, callId: string, told: Array<string> = []) =>
  input(s, () => Idle.requestFloor(s, callOf(s, callId), (yes) => told.push(`${callId} ${yes}`))).result

describe("[D2] [F5] idle", () => {
  const states: ReadonlyArray<
    readonly [what: string, prepare: (s: State) => unknown, nobody: boolean, background: boolean, inline: boolean]
  > = [
    ["a turn that waits for `c2`", () => undefined, false, false, true],
    ["nothing", (s) => end(s, "c2", { _tag: "Nothing" }), true, true, true],
    ["somebody speaks", (s) => input(s, () => Turns.generateReply(s, {}, [])), false, false, false],
    ["the user speaks", (s) => input(s, Idle.claimUserTurn), false, false, false],
    ["`c2` holds the floor", (s) => floor(s, "c2"), false, false, true],
    ["an agent leaves", (s) => input(s, () => Agents.requestHandoff(s, handoffTo(agent("bob")))), false, false, false]
  ]

  it.each(states)("%s", (what, prepare, nobody, background, inline) => {
    const s = two()
    const [c1, c2] = [callOf(s, "c1"), callOf(s, "c2")]
    prepare(s)
    const found = [undefined, c1, c2].map((caller: Call | undefined) => Idle.isIdle(s, caller))
    expect([what, ...found]).toEqual([what, nobody, background, inline])
  })

  it.each(states)("%s: whoever waits for idle is told as it says", (_, prepare, nobody, background, inline) => {
    const s = two()
    const callers = [undefined, callOf(s, "c1"), callOf(s, "c2")]
    prepare(s)
    const told: Array<number> = []
    for (const [i, caller] of callers.entries()) {
      input(s, () => Idle.addWaiter(s, { caller, resume: () => told.push(i) }))
    }
    const expected = [nobody, background, inline].flatMap((yes, i) => (yes ? [i] : []))
    // one who waits for it in the turn's call makes it held up, and is no reason for another to wait
    expect(told.filter((i) => expected.includes(i))).toEqual(expected)
  })

  it("[F2] [F5] turns that wait for the caller in turn, through a handler that waits for its turn, do not count", () => {
    const s = session(agent("ada", { tools: [{ name: "book" }, { name: "other" }] }))
    send(s, "hi", { allowInterruptions: false })
    const { speech: first } = stepOf(s)
    call(s, stepOf(s), "c1", "book")
    done(s, stepOf(s))
    const second = turn(s, [["c2", "other"]]).speech
    // the turn of `c1` waits for `c1`, which waits for the turn of `c2`
    const waiter: SpeechWaiter = { caller: callOf(s, "c1"), resume: () => undefined }
    input(s, () => addWaiter<"waiters", SpeechWaiter>(second, "waiters", waiter))
    expect([first.state, second.state]).toEqual(["waiting", "waiting"])
    const told: Array<string> = []
    floor(s, "c2", told)
    expect(told).toEqual(["c2 true"])
  })
})

describe("[F5] the floor", () => {
  it("goes to the oldest request, is held as deep as it was asked for, and goes on to the next", () => {
    const s = two()
    end(s, "c2", { _tag: "Nothing" })
    turn(s, [["c3", "other"]])
    update(s, "c3", 0)
    answer(s, "")
    const told: Array<string> = []
    const first = floor(s, "c1", told)
    const other = floor(s, "c3", told)
    const again = floor(s, "c1", told)
    expect(told).toEqual(["c1 true", "c1 true"])
    input(s, () => Idle.leaveFloor(s, again))
    expect(s.floors.map(({ call, depth }) => `${call.callId} ${depth}`)).toEqual(["c1 1"])
    input(s, () => Idle.leaveFloor(s, first))
    expect(told).toEqual(["c1 true", "c1 true", "c3 true"])
    input(s, () => Idle.leaveFloor(s, other))
    expect([s.floors, s.floorRequests]).toEqual([[], []])
  })

  it("while it is held, only what its call reports is voiced", () => {
    const s = two()
    end(s, "c2", { _tag: "Nothing" })
    turn(s, [["c3", "other"]])
    update(s, "c3", 0)
    answer(s, "")
    const held = floor(s, "c1")
    update(s, "c3", 1)
    expect(s.mouth).toBe(undefined)
    update(s, "c1", 1)
    expect(s.mouth?.reply?.ids).toEqual(["c1_update_1"])
    answer(s)
    expect(s.mouth).toBe(undefined)
    input(s, () => Idle.leaveFloor(s, held))
    expect(s.mouth?.reply?.ids).toEqual(["c3_update_1"])
  })

  it("first lets the own waiting reply out", () => {
    const s = two()
    end(s, "c2", { _tag: "Nothing" })
    input(s, Idle.claimUserTurn)
    const told: Array<string> = []
    floor(s, "c1", told)
    update(s, "c1", 1)
    input(s, Idle.releaseUserTurn)
    expect([told, s.mouth?.reply?.ids]).toEqual([[], ["c1_update_1"]])
    answer(s)
    expect(told).toEqual(["c1 true"])
  })

  it("one that leaves before it was granted is granted nothing; a handler that has ended holds nothing", () => {
    const s = two()
    const told: Array<string> = []
    const request = floor(s, "c1", told)
    input(s, () => Idle.leaveFloor(s, request))
    end(s, "c2", { _tag: "Nothing" })
    expect([told, s.floors]).toEqual([[], []])
    floor(s, "c1", told)
    end(s, "c1", { _tag: "Nothing" })
    expect([told, s.floors]).toEqual([["c1 true"], []])
  })

  it("[F4] nobody gets it while the user speaks", () => {
    const s = two()
    input(s, Idle.claimUserTurn)
    const told: Array<string> = []
    floor(s, "c2", told)
    expect(told).toEqual([])
    input(s, Idle.releaseUserTurn)
    expect(told).toEqual(["c2 true"])
  })
})

describe("[F6] fillers", () => {
  const filler = (s: State, callId: string, plan: Partial<Filler> = {}): Filler => ({
    call: callOf(s, callId),
    delay: 100,
    interval: 200,
    maxSteps: 2,
    say: () => "one moment",
    step: 0,
    timer: undefined,
    speech: undefined,
    due: false,
    ended: false,
    ...plan
  })

  it("the first comes after the delay, the next after the interval, and no more than `maxSteps`", () => {
    const s = two()
    const it = filler(s, "c2")
    const begun = input(s, () => Fillers.start(s, it))
    expect(begun.commands).toEqual(["StartTimer Filler 100"])
    expect(fire(s, timerOf(begun, "Filler")).commands).toEqual(["SayFiller c2"])
    const said = input(s, () => Fillers.say(s, it, "one moment"))
    expect(said.events).toContain("+ assistant: one moment")
    expect(said.commands).toEqual(["StartTimer Filler 200"])
    fire(s, timerOf(said, "Filler"))
    expect(input(s, () => Fillers.say(s, it, "still")).commands).toEqual([])
  })

  it.each([
    ["an update", (s: State) => update(s, "c2", 1, "silent")],
    ["the user", (s: State) => input(s, Idle.claimUserTurn)],
    ["the agent", (s: State) => input(s, () => Turns.generateReply(s, {}, []))]
  ])("%s starts the delay anew", (_, happens) => {
    const s = two()
    input(s, () => Fillers.start(s, filler(s, "c2")))
    expect(happens(s).commands).toContain("StopTimer Filler 100")
  })

  it("it ends with its call, and with an interruption of its speech", () => {
    for (const happens of [(s: State) => end(s, "c2"), (s: State) => send(s, "stop")]) {
      const s = two()
      const it = filler(s, "c2")
      input(s, () => Fillers.start(s, it))
      expect(happens(s).commands).toContain("StopTimer Filler 100")
      expect([it.ended, s.fillers.size]).toEqual([true, 0])
    }
  })
})
