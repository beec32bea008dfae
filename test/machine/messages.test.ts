import { describe, expect, it } from "vitest"
import * as Calls from "../../src/internal/machine/calls.js"
import * as Closing from "../../src/internal/machine/closing.js"
import * as Incoming from "../../src/internal/machine/incoming.js"
import * as Messages from "../../src/internal/machine/messages.js"
import type { State } from "../../src/internal/machine/state.js"
import { addWaiter } from "../../src/internal/machine/state.js"
import {
  agent,
  call,
  callLater,
  callOf,
  cancel,
  decode,
  done,
  end,
  executor,
  input,
  runOf,
  send,
  session,
  stepOf,
  success,
  type ToolPlan
} from "./support.js"

const talking = (plan: Partial<ToolPlan> = {}, options = {}): State => {
  const s = session(
    agent("ada", { tools: [{ name: "book", messages: true, allowCancellation: true, ...plan }, { name: "find" }] }),
    options
  )
  send(s)
  return s
}

const tell = (s: State, id: string, value: unknown, from: Messages.Sent["from"] = "program") =>
  input(s, () => Calls.message(s, id, { from, message: value, value }))

const inboxOf = (s: State, id: string): Messages.Inbox => {
  const { inbox } = runOf(s, id)
  if (inbox === undefined) throw new Error(`${id} has no inbox`)
  return inbox
}

const read = (s: State, inbox: Messages.Inbox) => input(s, () => Messages.take(inbox)?.value).result

/** A reader that waits: how often it was told. */
const reader = (s: State, inbox: Messages.Inbox) => {
  const reader = { told: 0 }
  input(s, () => addWaiter<"readers", () => void>(inbox, "readers", () => reader.told++))
  return reader
}

describe("[G1] [G3] who takes a message", () => {
  const cases: ReadonlyArray<readonly [string, (s: State) => void, string | undefined]> = [
    ["a call at work", (s) => call(s, stepOf(s), "c1", "book"), undefined],
    ["one whose arguments are still decoded", (s) => callLater(s, stepOf(s), "c1", "book"), undefined],
    ["none with this id", () => {}, 'There is no call with the id "c1".'],
    [
      "one that has ended",
      (s) => {
        call(s, stepOf(s), "c1", "book")
        end(s, "c1", success("x"))
      },
      "Call c1 has already ended."
    ],
    [
      "one without the option",
      (s) => call(s, stepOf(s), "c1", "find"),
      "Call c1 takes no messages: find is not made for them."
    ],
    [
      "one that is stopping",
      (s) => {
        call(s, stepOf(s), "c1", "book")
        cancel(s, "c1")
      },
      "Call c1 takes no messages any more: it is being stopped."
    ],
    [
      "one that is committed",
      (s) => {
        call(s, stepOf(s), "c1", "book")
        input(s, () => Calls.commit(s, runOf(s, "c1")))
      },
      undefined
    ]
  ]
  for (const [name, given, problem] of cases) {
    it(name, () => {
      const s = talking()
      given(s)
      expect(tell(s, "c1", "hi").result).toBe(problem)
    })
  }

  it("a queued one, and one that waits for its step, or for others to stop", () => {
    const queued = session(agent("ada", { limit: 1, tools: [{ name: "book", messages: true }] }))
    send(queued)
    for (const id of ["c1", "c2"]) call(queued, stepOf(queued), id, "book")
    expect(runOf(queued, "c2").phase).toBe("queued")
    expect(tell(queued, "c2", "hi").result).toBeUndefined()

    const held = talking({ afterStep: true })
    call(held, stepOf(held), "c1", "book")
    expect(runOf(held, "c1").phase).toBe("held")
    expect(tell(held, "c1", "hi").result).toBeUndefined()

    const replacing = talking({ mode: "replace" })
    for (const id of ["c1", "c2"]) call(replacing, stepOf(replacing), id, "book")
    expect(runOf(replacing, "c2").phase).toBe("admitting")
    expect(tell(replacing, "c1", "hi").result).toContain("being stopped")
    expect(tell(replacing, "c2", "hi").result).toBeUndefined()
  })

  it("neither a companion nor what the provider runs has an inbox, nor a tool without the option", () => {
    const home = executor("x")
    const options = { messages: true }
    const tool = { ...agentTool(), executor: home, options }
    expect(Messages.inboxFor({ ...tool, kind: "companion" })).toBeUndefined()
    expect(Messages.inboxFor({ ...tool, kind: "provider" })).toBeUndefined()
    expect(Messages.inboxFor({ ...tool, kind: "user", options: {} })).toBeUndefined()
    expect(Messages.inboxFor({ ...tool, kind: "user" })).toEqual({ unread: [], readers: [] })
  })
})

const agentTool = () => {
  const s = talking()
  call(s, stepOf(s), "c1", "find")
  return runOf(s, "c1").tool
}

describe("[G2] the inbox", () => {
  it("gives each message once, the oldest first, and tells all who wait", () => {
    const s = talking()
    call(s, stepOf(s), "c1", "book")
    const inbox = inboxOf(s, "c1")
    const [a, b] = [reader(s, inbox), reader(s, inbox)]
    expect(tell(s, "c1", "one", "model").events).toEqual(['c1 messaged by model: "one"'])
    expect([a.told, b.told]).toEqual([1, 1])
    expect(inbox.readers).toEqual([])
    tell(s, "c1", "two")
    expect([read(s, inbox), read(s, inbox), read(s, inbox)]).toEqual(["one", "two", undefined])
    expect([a.told, b.told]).toEqual([1, 1])
  })

  for (const max of [1, 2, 5]) {
    it(`[G3] holds ${max}, and has room again once one is read`, () => {
      const s = talking({}, { maxMessages: max })
      call(s, stepOf(s), "c1", "book")
      for (let n = 0; n < max; n++) expect(tell(s, "c1", n).result).toBeUndefined()
      const full = tell(s, "c1", "more")
      expect(full.result).toBe(`Call c1 takes no message now: ${max} wait to be read. Try again later.`)
      expect(full.events).toEqual([])
      expect(read(s, inboxOf(s, "c1"))).toBe(0)
      expect(tell(s, "c1", "more").result).toBeUndefined()
      expect(inboxOf(s, "c1").unread).toHaveLength(max)
    })
  }

  it("[G4] asks for no reply and writes nothing", () => {
    const s = talking()
    call(s, stepOf(s), "c1", "book")
    const items = s.history.length
    const left = tell(s, "c1", "one")
    expect(left.commands).toEqual([])
    expect(s.history).toHaveLength(items)
    expect([s.pending.size, s.queue.length]).toEqual([0, 0])
  })
})

describe("[G3] what is unread at the end", () => {
  const ends: ReadonlyArray<
    readonly [string, Partial<ToolPlan>, (s: State) => { readonly events: ReadonlyArray<string> }]
  > = [
    ["its end", {}, (s) => end(s, "c1", success("x"))],
    [
      "a cancellation",
      {},
      (s) => {
        cancel(s, "c1")
        return end(s, "c1", { _tag: "Interrupted", reason: "cancelled" })
      }
    ],
    [
      "a step that was cut off",
      { afterStep: true },
      (s) => {
        const step = stepOf(s)
        input(s, () =>
          Incoming.part(s, step, { type: "finish", reason: "length", usage: undefined, failure: undefined })
        )
        return done(s, step)
      }
    ],
    ["the close of the session", { afterStep: true }, (s) => input(s, () => Closing.close(s))]
  ]
  for (const [name, plan, finish] of ends) {
    it(`is told before ${name}, once, and who waits is told`, () => {
      const s = talking(plan)
      call(s, stepOf(s), "c1", "book")
      const inbox = inboxOf(s, "c1")
      tell(s, "c1", 1)
      tell(s, "c1", 2)
      const waiting = reader(s, inbox)
      const lines = finish(s).events.filter((line) => /^c1(_final)? (lost|done|error|cancelled)/.test(line))
      expect(lines).toHaveLength(2)
      expect(lines[0]).toBe("c1 lost 2 messages")
      expect(inbox.unread).toEqual([])
      expect(waiting.told).toBe(1)
      expect(input(s, () => Closing.close(s)).events.filter((line) => line.includes("lost"))).toEqual([])
    })
  }

  it("is not told if all was read", () => {
    const s = talking()
    call(s, stepOf(s), "c1", "book")
    tell(s, "c1", 1)
    read(s, inboxOf(s, "c1"))
    expect(end(s, "c1", success("x")).events.filter((line) => line.includes("lost"))).toEqual([])
  })

  it("bad arguments of a call that was told something already", () => {
    const s = talking()
    callLater(s, stepOf(s), "c1", "book")
    tell(s, "c1", 1)
    const left = input(s, () => Calls.decoded(s, callOf(s, "c1"), { _tag: "Invalid", problem: "n: no" }))
    expect(left.events[0]).toBe("c1 lost 1 messages")
  })
})

describe("[G4] joined calls", () => {
  const joining = (plan: Partial<ToolPlan> = {}, options = {}) => {
    const s = talking({ mode: "join", ...plan }, options)
    call(s, stepOf(s), "c1", "book")
    callLater(s, stepOf(s), "c2", "book")
    return s
  }

  it("share one, and what the later one was told comes behind", () => {
    const s = joining()
    const inbox = inboxOf(s, "c1")
    tell(s, "c1", 1)
    tell(s, "c2", 2)
    const waiting = reader(s, inbox)
    expect(decode(s, "c2").events.filter((line) => line.includes("lost"))).toEqual([])
    expect(waiting.told).toBe(1)
    expect(inboxOf(s, "c2")).toBe(inbox)
    tell(s, "c2", 3)
    expect([read(s, inbox), read(s, inbox), read(s, inbox)]).toEqual([1, 2, 3])
  })

  it("told as lost under the id that the sender named", () => {
    const s = joining()
    decode(s, "c2")
    for (const id of ["c2", "c1", "c2"]) tell(s, id, id)
    expect(end(s, "c1", success("x")).events.filter((line) => line.includes("lost"))).toEqual([
      "c2 lost 2 messages",
      "c1 lost 1 messages"
    ])
  })

  it("what finds no room is lost", () => {
    const s = joining({}, { maxMessages: 2 })
    tell(s, "c1", 1)
    tell(s, "c2", 2)
    tell(s, "c2", 3)
    expect(decode(s, "c2").events).toContain("c2 lost 1 messages")
    expect(inboxOf(s, "c1").unread.map(({ value }) => value)).toEqual([1, 2])
  })
})

describe("a call that waits for approval", () => {
  it("[G1] takes no message, and takes them once it is approved", () => {
    const s = talking({ approval: "always" })
    const step = stepOf(s)
    call(s, step, "b1", "book")
    done(s, step)
    expect(runOf(s, "b1").phase).toBe("approving")
    expect(tell(s, "b1", "hurry").result).toContain("waits for approval")
    input(s, () => Calls.decideBy(s, "b1", { _tag: "Approve", by: "ann" }))
    expect(tell(s, "b1", "hurry").result).toBeUndefined()
    expect(read(s, inboxOf(s, "b1"))).toBe("hurry")
  })
})
