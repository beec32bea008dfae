/**
 * What a stored history leaves open, as data.
 */
import { describe, expect, it } from "@effect/vitest"
import * as Reports from "../../src/internal/machine/reports.js"
import * as Resume from "../../src/internal/machine/resume.js"
import type { ChatItem } from "../../src/internal/machine/words.js"

const made = (fields: object, i: number) => ({ id: `item_${i}`, createdAt: 0, ...fields }) as unknown as ChatItem

/** `a?` a call, `a!` its output, `a~` one that goes on, `a*` one that waits for approval, `>x` a hand-off, `>>x` a task's. */
const items = (text: string): ReadonlyArray<ChatItem> =>
  text.split(" ").map((word, i) => {
    const name = word.replace(/^>+|[?!~*]$/g, "")
    if (word.startsWith(">>")) return made({ _tag: "AgentHandoff", from: "x", to: name, task: true }, i)
    if (word.startsWith(">")) return made({ _tag: "AgentHandoff", from: "x", to: name }, i)
    if (word.endsWith("?")) return made({ _tag: "FunctionCall", callId: name, name: "t", arguments: {} }, i)
    const open = word.endsWith("~") ? { open: "running" } : word.endsWith("*") ? { open: "approval" } : {}
    return made({ _tag: "FunctionCallOutput", callId: name, name: "t", output: "", isError: false, ...open }, i)
  })

describe("what a history leaves open", () => {
  it.each([
    ["a? a!", []],
    ["a?", ["inline 0"]],
    ["a? b? b!", ["inline 0"]],
    ["a? a~", ["background 0"]],
    ["a? a~ a_final? a_final!", []],
    ["a? a~ a_final?", ["final 2"]],
    ["a? a~ a_update_1?", ["background 0", "update 2"]],
    ["a? a~ a_update_1? a_update_1! a_final_3? a_final_3!", []],
    ["a? a*", ["withdrawn 0"]],
    ["a? a* a_final? a_final!", []],
    ["a? a! a_update_7? a_update_7!", ["background 0"]],
    ["a_final? a_final!", []],
    ["a_final? a_final~", ["background 0"]],
    ["a? a~ a_final? a_final! a? a~", ["background 4"]],
    ["a? b? a~ b~ b_final? b_final!", ["background 0"]],
    ["a!", []]
  ])("[R5] %s", (text, open) => {
    expect(Resume.read(items(text)).open.map(({ at, how }) => `${how} ${at}`)).toEqual(open)
  })

  it.each([
    ["a? a!", undefined, 0],
    ["a? >x a!", "x", 1],
    [">x a? >>y >>x", "x", 0],
    [">>y >>z >>y", undefined, 0],
    [">x >y", "y", 1]
  ])("[R5] %s is gone on with by %s", (text, agent, since) => {
    expect(Resume.read(items(text))).toMatchObject({ agent, since })
  })

  it("[R5] [T11] a call of the model's that has the id of a report is marked, and only that", () => {
    const call = (callId: string, metadata?: Record<string, unknown>) =>
      made({ _tag: "FunctionCall", callId, name: "t", arguments: {}, ...(metadata ? { metadata } : {}) }, 0) as never
    expect(Reports.reportOf(call("a_update_2_1"))).toEqual({ of: "a", final: false })
    expect(Reports.reportOf(call("a_b_final"))).toEqual({ of: "a_b", final: true })
    for (const id of ["a", "final", "_final", "a_update_", "a_finally"])
      expect(Reports.reportOf(call(id))).toBeUndefined()
    expect(Reports.reportOf(call("a_final", Reports.marked("a_final", { x: { y: 1 } })))).toBeUndefined()
    expect(Reports.marked("a", undefined)).toBeUndefined()
  })
})
