/**
 * The history: items are added at its end and leave it only when an update is dropped (rule U6).
 */
import { ours } from "../values/metadata.js"
import { pair } from "../values/pairing.js"
import { itemAdded, itemChanged, itemRemoved } from "./durable.js"
import { emit, follow, type Job, none, type Speech, type State, type Step } from "./state.js"
import type { ChatItem } from "./words.js"

type Fresh<I> = I extends unknown ? Omit<I, "id" | "createdAt"> : never

export const add = (
  s: State,
  item: Fresh<ChatItem>,
  speech?: Speech | undefined,
  jobs: ReadonlyArray<Job> = speech?.jobs ?? none
): void => {
  // the item is new, made for this call: no copy of each
  const fresh = item as { id?: string; createdAt?: number }
  fresh.id = `item_${++s.itemId}`
  fresh.createdAt = s.now
  const added = item as ChatItem
  if (added._tag === "FunctionCallOutput") follow(added, "output")
  s.history.push(added)
  if (s.durable !== undefined) itemAdded(s.durable, added, jobs)
  const said = speech !== undefined && added._tag === "Message" && added.role === "assistant" && added.text !== ""
  if (said) speech.said = isSplit(speech) ? speech.said + added.text : added.text
  if (speech !== undefined) speech.items.push(added)
  for (const job of jobs) {
    job.items.push(added)
    // what a filler says is no reply
    if (said && speech.filler === undefined) job.text = speech.said
  }
  emit(s, { _tag: "ItemAdded", item: added })
}

/** The model has paused within a text: what comes now is the rest of it. */
const isSplit = ({ items, step }: Speech): boolean => {
  if (step?.continues === undefined || items.length !== step.from) return false
  const last = items[items.length - 1]
  return last?._tag === "Message" && last.role === "assistant"
}

/** Takes the pair of a dropped update out again. It is near the end: the search starts there. */
export const removePair = (s: State, callId: string): void => {
  let left = 2
  for (let i = s.history.length - 1; i >= 0 && left > 0; i--) {
    const item = s.history[i]
    if ((item?._tag === "FunctionCall" || item?._tag === "FunctionCallOutput") && item.callId === callId) {
      s.history.splice(i, 1)
      for (const agent of s.agents) if (agent.since > i) agent.since--
      if (s.saving !== undefined) {
        if (s.saving.given > i) s.saving.given--
        if (s.saving.offered > i) s.saving.offered--
      }
      if (s.durable !== undefined) itemRemoved(s.durable, i)
      left--
    }
  }
  s.historyRemovals++
}

/** What the history says of a call that goes on (rule A10): whoever has the old item keeps it. */
export const setOpen = (s: State, callId: string, open: "running" | "approval"): void => {
  const i = s.history.findLastIndex((item) => item._tag === "FunctionCallOutput" && item.callId === callId)
  const item = s.history[i]
  if (item?._tag !== "FunctionCallOutput") return
  const changed = { ...item, open }
  s.history[i] = changed
  if (s.durable !== undefined) itemChanged(s.durable, item, changed)
}

/** A message that was said of an answer that is asked for again: whoever has the old item keeps it. */
export const cut = (s: State, item: ChatItem): void => {
  if (item._tag !== "Message" || item.interrupted) return
  const i = s.history.lastIndexOf(item)
  if (i < 0) return
  const changed = { ...item, interrupted: true }
  s.history[i] = changed
  if (s.durable !== undefined) itemChanged(s.durable, item, changed)
}

/** The item of this id, of the last ones. */
export const find = (s: State, id: string): ChatItem | undefined => s.history.findLast((item) => item.id === id)

/** Numbers of items beyond this one are none of ours, and leave no room to count on. */
const lastNumber = 2 ** 52

const numberOf = (id: unknown): number => {
  const n = typeof id === "string" ? /^item_(\d+)$/.exec(id)?.[1] : undefined
  return n === undefined || Number(n) > lastNumber ? 0 : Number(n)
}

/**
 * Takes over a conversation that was given to the session. Two calls of one id cannot be told apart by a provider: the
 * second is renamed, with the outputs that belong to it. An item whose id another one has gets a new one.
 */
export const restore = (s: State, items: ReadonlyArray<ChatItem>): void => {
  const { callOf } = pair(items)
  const first = new Map<string, number>()
  items.forEach((item, i) => {
    s.itemId = Math.max(s.itemId, numberOf(item.id))
    if (item._tag !== "FunctionCall" || first.has(item.callId)) return
    first.set(item.callId, i)
    reserveCallId(s, item.callId, isProviders(item) ? "provider" : "call")
  })
  const callIds = items.map((item, i) =>
    item._tag === "FunctionCall" && first.get(item.callId) !== i
      ? reserveCallId(s, item.callId, isProviders(item) ? "provider" : "call")
      : undefined
  )
  const ids = new Set<string>()
  items.forEach((item, i) => {
    let taken = item
    if (item._tag === "FunctionCall") {
      const callId = callIds[i]
      if (callId !== undefined) taken = { ...item, callId }
    } else if (item._tag === "FunctionCallOutput") {
      const callId = callIds[callOf.get(i) ?? -1]
      if (callId !== undefined) taken = { ...item, callId }
      s.callIds.set(callId ?? item.callId, "call")
    }
    if (typeof item.id !== "string" || ids.has(item.id)) taken = { ...taken, id: `item_${++s.itemId}` }
    ids.add(taken.id)
    s.history.push(taken)
  })
}

export const isProviders = (item: ChatItem): boolean =>
  item._tag === "FunctionCall" &&
  (item.metadata?.[ours] as { readonly providerExecuted?: unknown } | undefined)?.providerExecuted === true

/** An id in the words of the session, for places that must not hold words of the model's choosing. */
export const spokenId = (id: string): string => id.slice(0, 160).replace(/[^\w.:|/+=@#~-]/g, "_")

/** A call id of the model's choosing: providers take none that is empty, endless or not to be printed. */
export const cleanId = (id: string): string =>
  /^[ -~]{1,128}$/.test(id) && id.trim() !== "" ? id : spokenId(id.slice(0, 128)) || "call"

/** The id of a call whose input is told before the call is there: the one that it will have. */
export const announceCallId = (s: State, step: Step, id: string): string => {
  step.inputs ??= new Map()
  let callId = step.inputs.get(id)
  if (callId === undefined) {
    callId = reserveCallId(s, cleanId(id))
    step.inputs.set(id, callId)
  }
  return callId
}

/** The id of a call that has come: the one that its input was told under, or a new one. */
export const takeCallId = (s: State, step: Step, id: string, kind: "call" | "provider"): string => {
  const announced = step.inputs?.get(id)
  if (announced === undefined) return reserveCallId(s, cleanId(id), kind)
  step.inputs?.delete(id)
  s.callIds.set(announced, kind)
  return announced
}

/** The calls of this step are all there: what was announced beyond them never came. */
export const forgetAnnounced = (s: State, step: Step): void => {
  if (step.inputs === undefined) return
  for (const callId of step.inputs.values()) s.callIds.delete(callId)
  step.inputs = undefined
}

/** Reserves a call id: the wanted one, or the first free `<id>_<n>` (rule T11). */
export const reserveCallId = (s: State, wanted: string, kind: "call" | "pair" | "provider" = "call"): string => {
  let id = wanted
  if (s.callIds.has(id)) {
    let n = s.nextSuffix.get(wanted) ?? 1
    while (s.callIds.has(`${wanted}_${n}`)) n++
    s.nextSuffix.set(wanted, n + 1)
    id = `${wanted}_${n}`
  }
  s.callIds.set(id, kind)
  return id
}
