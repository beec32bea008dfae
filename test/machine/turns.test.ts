import { describe, expect, it } from "vitest"
import * as Idle from "../../src/internal/machine/idle.js"
import type { State } from "../../src/internal/machine/state.js"
import * as Turns from "../../src/internal/machine/turns.js"
import { agent, answer, call, callOf, done, end, history, input, job, send, session, stepOf } from "./support.js"

const ada = () => session(agent("ada", { tools: [{ name: "book" }] }))

const waiting = { interrupt: false } as const

/** Who has the mouth, and who waits for it. */
const order = (s: State): string => [s.mouth?.id ?? "-", ...s.queue.map(({ id }) => id)].join(" ")

describe("[R8] a turn that does not interrupt", () => {
  it("begins at once where nobody speaks, and else behind all user's turns before it", () => {
    const s = ada()
    input(s, () => Turns.send(s, { text: "a" }, waiting, []))
    expect([order(s), history(s).length]).toEqual(["speech_1", 1])
    input(s, () => Turns.send(s, { text: "b" }, waiting, []))
    input(s, () => Turns.send(s, { text: "c" }, waiting, []))
    expect([order(s), history(s).length]).toEqual(["speech_1 speech_2 speech_3", 1])
    answer(s)
    expect([order(s), history(s).length]).toEqual(["speech_2 speech_3", 3])
    send(s, "d")
    // what has begun was cut; the one that interrupts goes first
    expect(order(s)).toBe("speech_4 speech_3")
  })

  it("begins as a turn that waits for its calls has ended, not before", () => {
    const s = ada()
    send(s)
    call(s, stepOf(s), "c1", "book")
    done(s, stepOf(s))
    input(s, () => Turns.send(s, { text: "b" }, waiting, []))
    expect(order(s)).toBe("- speech_2")
    input(s, () => Turns.say(s, "a word", {}, []))
    expect(order(s)).toBe("- speech_2")
    end(s, "c1")
    expect(order(s)).toBe("speech_1 speech_2")
    answer(s)
    expect(order(s)).toBe("speech_2")
  })

  it("is no hindrance for a handler whose turn it comes behind, and is one for others", () => {
    const s = ada()
    send(s)
    call(s, stepOf(s), "c1", "book")
    done(s, stepOf(s))
    input(s, () => Turns.send(s, { text: "b" }, waiting, []))
    expect(Idle.isIdle(s, callOf(s, "c1"))).toBe(true)
    expect(Idle.isIdle(s, callOf(s, "c1"), true)).toBe(true)
    expect(Idle.isIdle(s, undefined)).toBe(false)
  })

  it("begins beside the turn whose handler waits for it", () => {
    const s = ada()
    send(s)
    call(s, stepOf(s), "c1", "book")
    done(s, stepOf(s))
    const told: Array<string> = []
    const asked = job(told, "c1", callOf(s, "c1"))
    input(s, () => Turns.run(s, { text: "b" }, waiting, asked, []))
    expect(order(s)).toBe("speech_2")
    answer(s)
    expect(told).toEqual(["c1 done"])
  })
})

describe("[Q19] a turn with an id", () => {
  const named = (s: State, id: string, text = "a") => input(s, () => Turns.send(s, { text }, { id }, [])).result

  it("is one turn, while it runs and afterwards", () => {
    const s = ada()
    const first = named(s, "x")
    expect(named(s, "x")).toBe(first)
    const told: Array<string> = []
    const join = (name: string) =>
      input(s, () =>
        Turns.runOnce(
          s,
          "x",
          { text: "a" },
          {},
          { caller: undefined, resume: (how) => told.push(`${name} ${how}`) },
          []
        )
      )
    join("one")
    join("two")
    expect(told).toEqual([])
    answer(s)
    expect(told).toEqual(["one done", "two done"])
    join("three")
    expect(told[2]).toBe("three done")
    expect(history(s)).toHaveLength(2)
    expect(s.jobs.size).toBe(0)
  })

  it("is forgotten an hour after its end, or behind 256 others; one that runs is not", () => {
    const s = ada()
    const first = named(s, "x")
    s.now += 10_000_000
    expect(named(s, "x")).toBe(first)
    answer(s)
    s.now += 3_600_001
    const second = named(s, "x")
    expect(second).not.toBe(first)
    for (let i = 0; i < 300; i++) {
      named(s, `${i}`)
      answer(s)
    }
    expect(s.turns.size).toBeLessThanOrEqual(257)
    expect(s.turns.has("x")).toBe(false)
  })
})
