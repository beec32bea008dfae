import { describe, expect, it } from "vitest"
import * as Idle from "../../src/internal/machine/idle.js"
import { addWaiter, type Job, type Speech, type SpeechWaiter, type State } from "../../src/internal/machine/state.js"
import * as Turns from "../../src/internal/machine/turns.js"
import {
  agent,
  answer,
  call,
  callOf,
  done,
  end,
  executor,
  history,
  input,
  job,
  send,
  session,
  stepOf,
  success,
  type ToolPlan,
  update
} from "./support.js"

const tools = ["a", "b", "c"].map((name) => ({ name }))

/** Turns that nobody interrupts, each with one inline call: `t0`, `t1`, … */
const turns = (s: State, names: ReadonlyArray<string>): ReadonlyArray<Speech> =>
  names.map((name, i) => {
    send(s, "hi", { allowInterruptions: false })
    const step = stepOf(s)
    call(s, step, `t${i}`, name)
    done(s, step)
    return step.speech
  })

/** The handler of this call waits for the turn. */
const waits = (s: State, callId: string, speech: Speech, told: Array<string>): void => {
  const waiter: SpeechWaiter = {
    caller: callOf(s, callId),
    resume: (circular) => told.push(`${callId} ${circular ? "circular" : "waited"}`)
  }
  input(s, () => addWaiter<"waiters", SpeechWaiter>(speech, "waiters", waiter))
}

/** The handler of this call runs a turn; its step is left open. */
const asks = (s: State, callId: string, told: Array<string>): Job => {
  const asked = job(told, callId, callOf(s, callId))
  input(s, () => Turns.run(s, { text: "ask" }, {}, asked, []))
  return asked
}

describe("[F2] a ring of handlers that wait for each other's turns", () => {
  it.each([2, 3, 4])("of %i: the youngest is told, in the input that closes it, and the others wait on", (length) => {
    const s = session(agent("ada", { tools }))
    const ring = turns(s, ["a", "b", "c", "a"].slice(0, length))
    const told: Array<string> = []
    for (let i = 0; i < length; i++) {
      expect(told).toEqual([])
      waits(s, `t${i}`, ring[(i + 1) % length] as Speech, told)
    }
    expect(told).toEqual([`t${length - 1} circular`])
    for (let i = length - 1; i >= 0; i--) {
      end(s, `t${i}`)
      answer(s)
    }
    expect(told.slice(1)).toEqual(Array.from({ length: length - 1 }, (_, i) => `t${length - 2 - i} waited`))
  })

  it("is none as long as one of them has a call at work that leaves the turn by a timer", () => {
    const s = session(agent("ada", { tools: [{ name: "a" }, { name: "b", releaseAfter: 1000 }] }))
    const [first, second] = turns(s, ["a", "b"]) as [Speech, Speech]
    const told: Array<string> = []
    waits(s, "t0", second, told)
    waits(s, "t1", first, told)
    expect(told).toEqual([])
  })

  it("does not fail one that only waits for those in it", () => {
    const s = session(agent("ada", { tools }))
    const [first, second] = turns(s, ["a", "b", "c"]) as [Speech, Speech]
    const told: Array<string> = []
    waits(s, "t2", first, told)
    waits(s, "t0", second, told)
    waits(s, "t1", first, told)
    expect(told).toEqual(["t1 circular"])
  })
})

describe("[R1] what a handler's run consists of is the handler's own", () => {
  /** `t0` runs a turn whose call `t1` is inline. */
  const asking = (plan: ReadonlyArray<ToolPlan> = tools, name = "b") => {
    const s = session(agent("ada", { tools: plan }))
    turns(s, ["a"])
    const told: Array<string> = []
    asks(s, "t0", told)
    const step = stepOf(s)
    call(s, step, "t1", name)
    done(s, step)
    return { s, told }
  }

  it("[F5] its calls may have the floor that the handler holds, and are idle for it", () => {
    const s = session(agent("ada", { tools }))
    turns(s, ["a"])
    const told: Array<string> = []
    input(s, () => Idle.requestFloor(s, callOf(s, "t0"), (yes) => told.push(`t0 ${yes}`)))
    asks(s, "t0", told)
    const step = stepOf(s)
    call(s, step, "t1", "b")
    done(s, step)
    expect(Idle.isIdle(s, callOf(s, "t1"))).toBe(true)
    input(s, () => Idle.requestFloor(s, callOf(s, "t1"), (yes) => told.push(`t1 ${yes}`)))
    expect(told).toEqual(["t0 true", "t1 true"])
  })

  it("[D2] its replies are voiced while the handler's turn waits, those of others are not", () => {
    const { s, told } = asking()
    update(s, "t1", 0)
    answer(s)
    expect(s.mouth).toBe(undefined)
    end(s, "t1")
    expect(s.mouth?.reply?.ids).toEqual(["t1_final"])
    answer(s)
    expect(told).toEqual(["t0 done"])
  })

  it("[P2b] none of its calls joins the handler's own", () => {
    const { s } = asking([{ name: "a", mode: "join" }], "a")
    expect(history(s).filter((line) => line.startsWith("error"))).toEqual([
      expect.stringMatching(/^error t1: "Not run: the same call/)
    ])
  })

  it("[T12] none of its calls waits for room behind the handler", () => {
    const one = executor("one", undefined, 1)
    const { s, told } = asking([
      { name: "a", in: one },
      { name: "b", in: one }
    ])
    expect(history(s).filter((line) => line.startsWith("error"))).toEqual([
      expect.stringMatching(/^error t1: "Not run: it would have to wait/)
    ])
    expect([one.active, one.queue]).toEqual([1, []])
    answer(s)
    expect(told).toEqual(["t0 done"])
    end(s, "t0", success("planned"))
    expect(one.active).toBe(0)
  })

  it("[R8] [F5] a turn behind others does not begin beside them where giving the floor opens the circle", () => {
    const one = executor("one", undefined, 1)
    const s = session(
      agent("ada", {
        tools: [
          { name: "a", in: one },
          { name: "b", in: one }
        ]
      })
    )
    const told: Array<string> = []
    // the first is in the background and wants the floor; the turn that waits is behind one whose call is queued there
    turns(s, ["a"])
    update(s, "t0", "working")
    answer(s)
    send(s, "hi", { allowInterruptions: false })
    const step = stepOf(s)
    call(s, step, "t1", "b")
    done(s, step)
    input(s, () => Turns.send(s, { text: "later" }, { interrupt: false }, []))
    input(s, () => Idle.requestFloor(s, callOf(s, "t0"), (yes) => told.push(`t0 ${yes}`)))
    expect(told).toEqual(["t0 true"])
    expect(s.queue.map(({ opening }) => opening?.urged)).toEqual([false])
    end(s, "t0")
    end(s, "t1")
    answer(s)
    expect(history(s).at(-1)).toContain("later")
  })
})
