/**
 * Histories that a session is given: any at all, as the checkers' property tests have them, or one as a session leaves it
 * behind, which the session goes on with.
 */
import * as fc from "effect/FastCheck"
import type { ChatContext } from "effect-meantime"
import { history } from "../checkers/histories.js"
import type { Config } from "./program.js"
import type * as Random from "./random.js"

type Item = ChatContext.ChatItem

export interface Given {
  readonly items: ReadonlyArray<Item>
  readonly resume: boolean
  /** the agent that goes on, and where it took over */
  readonly agent: string
  readonly since: number
  /** ids of the calls that were at work: in the turn, and in the background */
  readonly inline: ReadonlyArray<string>
  readonly background: ReadonlyArray<string>
}

export const make = (config: Config, all: Random.Random): Given | undefined => {
  const random = all.fork("given")
  if (config.given === "nothing") return undefined
  if (config.given === "resumed") return resumed(config, random)
  // what is not well formed is part of it
  const items = fc.sample(history, { seed: random.int(2 ** 31), numRuns: 1 })[0]
    ?.items as unknown as ReadonlyArray<Item>
  return { items, resume: false, agent: "first", since: 0, inline: [], background: [] }
}

const resumed = (config: Config, random: Random.Random): Given => {
  const { chance, int, pick } = random
  const items: Array<Item> = []
  const inline: Array<string> = []
  const background: Array<string> = []
  let agent = "first"
  let since = 0
  let calls = 0
  const base = () => ({ id: `item_${items.length + 1}`, createdAt: 0 })
  const output = (callId: string, name: string, more: object = {}) =>
    items.push({
      ...base(),
      _tag: "FunctionCallOutput",
      callId,
      name,
      output: `out ${callId}`,
      isError: false,
      ...more
    })
  const call = (callId: string, name: string) =>
    items.push({ ...base(), _tag: "FunctionCall", callId, name, arguments: {} })
  for (let turn = 1 + int(3); turn > 0; turn--) {
    items.push({ ...base(), _tag: "Message", role: "user", text: `before ${turn}`, interrupted: false })
    const asked = Array.from({ length: pick(0, 1, 1, 2) }, () => {
      const callId = `g${++calls}`
      const { name } = pick(...config.tools.filter(({ place }) => place === "session" || place === "shared"))
      call(callId, name)
      return { callId, name }
    })
    for (const { callId, name } of asked) {
      const how = pick("done", "background", "background", "inline")
      // a turn that was cut off is the last one
      if (how === "inline" && turn === 1) {
        inline.push(callId)
        continue
      }
      output(callId, name, how === "background" ? { open: "running" } : {})
      if (how === "background") background.push(callId)
    }
    for (const { callId, name } of asked) {
      if (!background.includes(callId) || !chance(0.4)) continue
      call(`${callId}_update_1`, name)
      output(`${callId}_update_1`, name)
      if (!chance(0.5)) continue
      call(`${callId}_final`, name)
      output(`${callId}_final`, name)
      background.splice(background.indexOf(callId), 1)
    }
    if (inline.length > 0) break
    items.push({ ...base(), _tag: "Message", role: "assistant", text: `said ${turn}`, interrupted: chance(0.2) })
    if (chance(0.2) && agent === "first") {
      since = items.length
      items.push({ ...base(), _tag: "AgentHandoff", from: agent, to: "second" })
      agent = "second"
    }
  }
  return { items, resume: true, agent, since, inline, background }
}
