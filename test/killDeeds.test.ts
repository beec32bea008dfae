import { describe, expect, it } from "vitest"
import { check, type Deed } from "./kill/deeds.js"

type Items = Parameters<typeof check>[1][string]

const message = (role: string, text: string, id: string) => ({ _tag: "Message", id, role, text })
const call = (callId: string, id: string) => ({ _tag: "FunctionCall", id: `i_${callId}`, callId, arguments: { id } })
const output = (callId: string, text: string, isError = false) => ({
  _tag: "FunctionCallOutput",
  id: `o_${callId}`,
  callId,
  output: text,
  isError
})

/** A delivery that is told of in full, a shout whose outcome is not known, a second delivery, and a look. */
const items: ReadonlyArray<any> = [
  message("user", "Please see to a-0", "m0"),
  call("call_a-0", "a-0"),
  output("call_a-0", "a-0 begins"),
  call("call_a-0_update_1", "a-0"),
  output("call_a-0_update_1", "a-0 goes on"),
  message("user", "Please see to a-1", "m1"),
  call("call_a-1", "a-1"),
  output("call_a-1", "a-1 begins"),
  call("call_a-0_update_2", "a-0"),
  output("call_a-0_update_2", "a-0 is on its way"),
  output("call_a-0_final", "a-0 is done"),
  output("call_a-1_final", "The outcome is not known.", true),
  message("user", "Please see to a-2", "m2"),
  call("call_a-2", "a-2"),
  output("call_a-2", "a-2 begins"),
  output("call_a-2_final", "The outcome is not known.", true),
  message("user", "Please see to a-3", "m3"),
  call("call_a-3", "a-3"),
  output("call_a-3", "a-3 is done")
]

const does = (id: string, what: string): Deed => ({ _tag: "Does", id, what })
const told = (event: object): Deed => ({ _tag: "Told", sessionId: "a", event: event as never })
const added = (id: string): Deed => told({ _tag: "ItemAdded", item: { id } })

const deeds: ReadonlyArray<Deed> = [
  ...["reserve", "reserve", "pack", "commit"].map((what) => does("a-0", what)),
  does("a-1", "shout"),
  does("a-2", "reserve"),
  does("a-3", "look"),
  ...["a-0", "a-1", "a-2", "a-3"].map((id): Deed => ({ _tag: "Asked", id })),
  added("m0"),
  told({ _tag: "ToolCallStarted", call: { callId: "call_a-0" } }),
  told({ _tag: "ToolCallUpdated", id: "call_a-0_update_1" }),
  told({ _tag: "ReplyEnded", status: "interrupted", updateIds: ["call_a-0_update_1"] }),
  told({ _tag: "ReplyEnded", status: "completed", updateIds: ["call_a-0_update_1"] }),
  told({ _tag: "ToolCallEnded", callId: "call_a-0" })
]

const without = (id: string) => items.filter((item) => item.id !== id)
const again = (id: string) =>
  items.flatMap((item) => (item.id === id ? [item, { ...item, id: `${id}_again` }] : [item]))
const swapped = (a: string, b: string) => {
  const [one, two] = [a, b].map((id) => items.findIndex((item) => item.id === id)) as [number, number]
  return items.map((item, i) => (i === one ? items[two] : i === two ? items[one] : item))
}

const wrong: Record<string, readonly [deeds: ReadonlyArray<Deed>, items: Items, problem: RegExp]> = {
  "a turn that is lost": [deeds, without("m1"), /a-1 was asked 0 times/],
  "a turn that is there twice": [deeds, again("m1"), /a-1 was asked 2 times/],
  "a call that is lost": [deeds, without("i_call_a-3"), /a-3 has 0 calls/],
  "a call that is there twice": [deeds, again("i_call_a-3"), /a-3 has 2 calls/],
  "an update that is lost": [deeds, without("o_call_a-0_update_1"), /"a-0 goes on" was told 0 times/],
  "an update that is told twice": [deeds, again("o_call_a-0_update_2"), /"a-0 is on its way" was told 2 times/],
  "updates out of order": [deeds, swapped("o_call_a-0_update_1", "o_call_a-0_update_2"), /out of order/],
  "a call without an end": [deeds, without("o_call_a-0_final"), /a-0 does not end once/],
  "a call that ends twice": [deeds, again("o_call_a-1_final"), /a-1 does not end once/],
  "a second commit": [[...deeds, does("a-0", "commit")], items, /a-0 was committed 2 times/],
  "a commit that never was": [deeds.filter((deed) => deed !== deeds[3]), items, /a-0 is done, and was never committed/],
  "a step that never was": [deeds.filter((deed) => deed !== deeds[2]), items, /without one of its steps/],
  "a second shout": [[...deeds, does("a-1", "shout")], items, /a-1 was shouted 2 times/],
  "a look whose outcome is not known": [
    deeds,
    items.map((item) => (item.id === "o_call_a-3" ? output("call_a-3", "not known", true) : item)),
    /a-3 only looks/
  ],
  "an item that is told twice": [[...deeds, added("m0")], items, /item m0 was told twice/],
  "an item that is told and not stored": [[...deeds, added("m9")], items, /item m9 was told, and is not stored/],
  "an end that is told twice": [
    [...deeds, told({ _tag: "ToolCallEnded", callId: "call_a-0" })],
    items,
    /end of call_a-0/
  ],
  "an update in two replies": [
    [...deeds, told({ _tag: "ReplyEnded", status: "completed", updateIds: ["call_a-0_update_1"] })],
    items,
    /what a reply told of call_a-0_update_1/
  ],
  "an error of the session": [[...deeds, told({ _tag: "SessionError" })], items, /SessionError/]
}

describe("what the sessions of `npm run test:kill` are checked for", () => {
  it("finds nothing in what is as it should be, and counts", () => {
    expect(check(deeds, { a: items })).toEqual({ problems: [], sums: { turns: 4, unknown: 2, again: 1 } })
  })

  for (const [name, [given, history, problem]] of Object.entries(wrong)) {
    it(`finds ${name}`, () => {
      expect(check(given, { a: history }).problems.join("\n")).toMatch(problem)
    })
  }
})
