/** What the sessions of `program.ts` leave, and what has to hold of it however often they were killed. */
import type { ChatItem } from "effect-meantime/ChatContext"
import type { SessionEvent } from "effect-meantime/SessionEvent"

export const sessionIds = ["a", "b", "c"]

/** A turn's id is that of the session and its number, such as `a-12`. */
export const toolOf = (id: string): "deliver" | "shout" | "look" =>
  (["deliver", "shout", "deliver", "look"] as const)[Number(id.split("-")[1]) % 4] as "deliver"

export type Deed = {
  /** which life of the process it was */
  readonly life?: string
} & (
  | { readonly _tag: "Asked"; readonly id: string }
  | { readonly _tag: "Does"; readonly id: string; readonly what: string }
  | { readonly _tag: "Told"; readonly sessionId: string; readonly event: SessionEvent }
)

type Item = ChatItem

const count = <A>(all: ReadonlyArray<A>, is: (one: A) => boolean): number => all.filter(is).length

/** Updates of a call, in order, and what it gives at its end. */
const said: Record<ReturnType<typeof toolOf>, ReadonlyArray<string>> = {
  deliver: ["begins", "goes on", "is on its way"],
  shout: ["begins"],
  look: []
}

export interface Sums {
  readonly turns: number
  readonly unknown: number
  readonly again: number
}

export const check = (
  deeds: ReadonlyArray<Deed>,
  histories: Readonly<Record<string, ReadonlyArray<Item>>>
): { readonly problems: ReadonlyArray<string>; readonly sums: Sums } => {
  const problems: Array<string> = []
  const expect = (holds: boolean, what: string): void => {
    if (!holds) problems.push(what)
  }
  let unknown = 0
  let again = 0
  const turns = deeds.flatMap((deed) => (deed._tag === "Asked" ? [deed.id] : []))
  for (const id of turns) {
    const items = histories[id.split("-")[0] as string] ?? []
    const does = (what: string) => count(deeds, (deed) => deed._tag === "Does" && deed.id === id && deed.what === what)
    const asked = count(
      items,
      (item) => item._tag === "Message" && item.role === "user" && item.text.endsWith(` ${id}`)
    )
    expect(asked === 1, `${id} was asked ${asked} times`)
    const callId = `call_${id}`
    const calls = count(items, (item) => item._tag === "FunctionCall" && item.callId === callId)
    expect(calls === 1, `${id} has ${calls} calls`)
    const outputs = items.flatMap((item) =>
      item._tag === "FunctionCallOutput" && (item.callId === callId || item.callId.startsWith(`${callId}_`))
        ? [item]
        : []
    )
    const texts = outputs.map(({ output }) => JSON.stringify(output))
    const times = (words: string) => count(texts, (text) => text.includes(`${id} ${words}`))
    const isUnknown = outputs.some(({ isError }) => isError)
    for (const words of said[toolOf(id)]) {
      const n = times(words)
      expect(isUnknown ? n <= 1 : n === 1, `"${id} ${words}" was told ${n} times`)
    }
    expect(count(outputs, ({ isError }) => isError) + times("is done") === 1, `${id} does not end once: ${texts}`)
    const order = said[toolOf(id)].map((words) => texts.findIndex((text) => text.includes(`${id} ${words}`)))
    expect(
      order.filter((at) => at >= 0).every((at, i, all) => i === 0 || at > (all[i - 1] as number)),
      `updates of ${id} are out of order: ${texts}`
    )
    if (isUnknown) unknown++
    switch (toolOf(id)) {
      case "deliver": {
        expect(does("commit") <= 1, `${id} was committed ${does("commit")} times`)
        expect(isUnknown || does("commit") === 1, `${id} is done, and was never committed`)
        expect(isUnknown || (does("reserve") >= 1 && does("pack") >= 1), `${id} is done without one of its steps`)
        if (does("reserve") > 1 || does("pack") > 1) again++
        break
      }
      case "shout": {
        expect(does("shout") <= 1, `${id} was shouted ${does("shout")} times`)
        expect(isUnknown || does("shout") === 1, `${id} is done, and was never shouted`)
        break
      }
      case "look": {
        expect(!isUnknown, `${id} only looks, and its outcome is not known`)
        if (does("look") > 1) again++
      }
    }
  }
  for (const [sessionId, items] of Object.entries(histories)) {
    const ids = new Set(items.map(({ id }) => id))
    expect(ids.size === items.length, `two items of ${sessionId} have one id`)
    const told = deeds.flatMap((deed) => (deed._tag === "Told" && deed.sessionId === sessionId ? [deed.event] : []))
    const once = (what: string, keys: ReadonlyArray<string>) => {
      const seen = new Set<string>()
      for (const key of keys) {
        expect(!seen.has(key), `${sessionId}: ${what} ${key} was told twice`)
        seen.add(key)
      }
    }
    const items_ = told.flatMap((event) => (event._tag === "ItemAdded" ? [event.item.id] : []))
    once("item", items_)
    for (const id of items_) expect(ids.has(id), `${sessionId}: item ${id} was told, and is not stored`)
    once(
      "the end of",
      told.flatMap((event) => (event._tag === "ToolCallEnded" ? [event.callId] : []))
    )
    once(
      "the start of",
      told.flatMap((event) => (event._tag === "ToolCallStarted" ? [event.call.callId] : []))
    )
    once(
      "update",
      told.flatMap((event) => (event._tag === "ToolCallUpdated" ? [event.id] : []))
    )
    once(
      "what a reply told of",
      told.flatMap((event) => (event._tag === "ReplyEnded" && event.status === "completed" ? event.updateIds : []))
    )
    for (const event of told) {
      expect(event._tag !== "SessionError", `${sessionId}: ${JSON.stringify(event)}`)
    }
  }
  return { problems, sums: { turns: turns.length, unknown, again } }
}
