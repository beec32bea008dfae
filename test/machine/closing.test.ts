import { describe, expect, it } from "vitest"
import * as Agents from "../../src/internal/machine/agents.js"
import * as Calls from "../../src/internal/machine/calls.js"
import * as Closing from "../../src/internal/machine/closing.js"
import * as Idle from "../../src/internal/machine/idle.js"
import type { State } from "../../src/internal/machine/state.js"
import * as Turns from "../../src/internal/machine/turns.js"
import {
  agent,
  answer,
  callOf,
  end,
  fire,
  handoffTo,
  input,
  job,
  runOf,
  session,
  stopped,
  taskAgent,
  timerOf,
  turn,
  update
} from "./support.js"

const working = (allowCancellation: boolean, drainTimeout = 30_000): State => {
  const s = session(agent("ada", { tools: [{ name: "book", allowCancellation }] }), { drainTimeout })
  turn(s, [["c1", "book"]])
  update(s, "c1", 0)
  answer(s)
  return s
}

const close = (s: State) => input(s, Closing.close)

describe("[S2] a session that closes", () => {
  it.each([
    ["that may be cancelled", true, false, 30_000, ["InterruptRun c1", "StartTimer Drain 30000"]],
    ["that may not", false, false, 30_000, ["StartTimer Drain 30000"]],
    ["that is committed", true, true, 30_000, ["StartTimer Drain 30000"]],
    ["that may not, without time", false, false, 0, ["InterruptRun c1", "StartTimer GiveUp 5000"]],
    ["that is committed, without time", true, true, 0, ["StartTimer GiveUp 5000"]],
    ["that may not, for ever", false, false, Number.POSITIVE_INFINITY, []]
  ])("a call %s", (_, allowCancellation, committed, drainTimeout, commands) => {
    const s = working(allowCancellation, drainTimeout)
    if (committed) input(s, () => Calls.commit(s, runOf(s, "c1")))
    expect(close(s).commands).toEqual(commands)
    expect(s.phase).toBe("closing")
    const over = committed || commands.length === 0 ? end(s, "c1") : stopped(s, "c1")
    expect(over.commands.at(-1)).toBe("Drained")
    expect(s.phase).toBe("closed")
    expect(over.events.at(-1)).toMatch(/^(reply_1 dropped: c1_final|\+ output c1_final: "<ended book c1 .*>")$/)
  })

  it("what does not end in time is interrupted with a warning, and then given up on with an error", () => {
    const s = working(false)
    const late = fire(s, timerOf(close(s), "Drain"))
    expect(late.commands).toEqual(["Log warning", "InterruptRun c1", "StartTimer GiveUp 30000"])
    const over = fire(s, timerOf(late, "GiveUp"))
    expect(over.commands).toEqual(["Log error", "InterruptRun c1", "Drained"])
    expect(over.events[0]).toBe('c1_final cancelled: "<ended book c1 drained>"')
  })

  it("with nothing at work it is over at once, and stays silent; the user's state alone is told", () => {
    const s = session()
    expect(close(s).commands).toEqual(["Drained"])
    for (const f of [Closing.close, Idle.claimUserTurn, Idle.releaseUserTurn]) {
      const { commands, events } = input(s, f)
      expect([events.filter((line) => !line.startsWith("user")), commands]).toEqual([[], []])
    }
  })

  it("all who wait are told, jobs before what they wait for ends", () => {
    const told: Array<string> = []
    const s = session(agent("ada", { tools: [{ name: "book" }] }))
    turn(s, [["c1", "book"]])
    input(s, () => Agents.startTask(s, taskAgent("form", callOf(s, "c1"), told)))
    input(s, () => Turns.run(s, { text: "hi" }, {}, job(told), []))
    input(s, () => Idle.requestFloor(s, callOf(s, "c1"), (yes) => told.push(`floor ${yes}`)))
    input(s, () => Idle.addWaiter(s, { caller: undefined, resume: (yes) => told.push(`idle ${yes}`) }))
    input(s, () => Agents.requestHandoff(s, handoffTo(agent("bob"), told)))
    const { commands, events } = close(s)
    expect(told).toEqual(["job closed", "bob was dropped", "floor false", "idle false", "form SessionClosed"])
    expect(events).toEqual(["speech_1 cut", "speech_2 step ended: - {}", "speech_2 cut", "agent listening"])
    expect(commands.slice(0, 1)).toEqual(["CloseAgent bob"])
    expect([s.speeches.size, s.queue.length, s.mouth]).toEqual([0, 0, undefined])
  })

  it("what waits to be voiced is dropped in one event", () => {
    const s = working(false)
    input(s, Idle.claimUserTurn)
    update(s, "c1", 1)
    update(s, "c1", 2)
    expect(close(s).events).toEqual(["reply_1 dropped: c1_update_1 c1_update_2"])
  })
})
