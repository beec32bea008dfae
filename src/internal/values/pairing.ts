/**
 * Which output belongs to which call, for a conversation whose ids need not be unique.
 */
interface Item {
  readonly id?: unknown
  readonly _tag: string
  readonly callId?: unknown
  readonly name?: unknown
}

export interface Pairs {
  /** the place of a call's output, by the place of the call */
  readonly outputOf: ReadonlyMap<number, number>
  /** the place of the call that an output belongs to, by the place of the output; several may belong to one */
  readonly callOf: ReadonlyMap<number, number>
}

const noPairs: Pairs = { outputOf: new Map(), callOf: new Map() }

/**
 * Of two calls with one id the first output goes to the first; of two outputs of one call the last one counts. What
 * stands before what does not matter. Looks at the items from a place on. With `repeats` an item may stand there more than
 * once: a call that has been there, with the same id of its own, is no other one.
 */
export const pair = (items: ReadonlyArray<Item>, from = 0, repeats = false): Pairs => {
  // nearly each step of a model looks at a few new items: what has no call in it needs no maps
  let at = from
  while (at < items.length && items[at]?._tag !== "FunctionCall" && items[at]?._tag !== "FunctionCallOutput") at++
  if (at === items.length) return noPairs
  const outputOf = new Map<number, number>()
  const callOf = new Map<number, number>()
  const calls = new Map<unknown, number>()
  let odd: Set<unknown> | undefined
  for (let i = at; i < items.length; i++) {
    const item = items[i] as Item
    if (item._tag === "FunctionCall") {
      const earlier = calls.get(item.callId)
      if (earlier === undefined) calls.set(item.callId, i)
      else if (!repeats || items[earlier]?.id !== item.id) {
        odd ??= new Set()
        odd.add(item.callId)
      }
    } else if (item._tag === "FunctionCallOutput") {
      const call = calls.get(item.callId)
      // nearly always: the one output of the one call before it
      if (call !== undefined && !outputOf.has(call)) {
        outputOf.set(call, i)
        callOf.set(i, call)
      } else {
        odd ??= new Set()
        odd.add(item.callId)
      }
    }
  }
  if (odd !== undefined) for (const group of groupsOf(items, from, odd, repeats)) match(group, outputOf, callOf)
  return { outputOf, callOf }
}

interface Group {
  readonly calls: Array<number>
  readonly outputs: Array<number>
}

const groupsOf = (
  items: ReadonlyArray<Item>,
  from: number,
  ids: ReadonlySet<unknown>,
  repeats: boolean
): ReadonlyArray<Group> => {
  const groups = new Map<unknown, Group>()
  for (let i = from; i < items.length; i++) {
    const item = items[i] as Item
    const isCall = item._tag === "FunctionCall"
    if ((!isCall && item._tag !== "FunctionCallOutput") || !ids.has(item.callId)) continue
    let group = groups.get(item.callId)
    if (group === undefined) {
      group = { calls: [], outputs: [] }
      groups.set(item.callId, group)
    }
    if (isCall && repeats && group.calls.some((call) => items[call]?.id === item.id)) continue
    ;(isCall ? group.calls : group.outputs).push(i)
  }
  return Array.from(groups.values()).flatMap((group) => byName(items, group))
}

/** Calls of different tools are told apart by their names, if each output has the name of one of them. */
const byName = (items: ReadonlyArray<Item>, group: Group): ReadonlyArray<Group> => {
  const nameOf = (i: number): unknown => (items[i] as Item).name
  const groups = new Map<unknown, Group>()
  for (const call of group.calls) {
    const own = groups.get(nameOf(call))
    if (own === undefined) groups.set(nameOf(call), { calls: [call], outputs: [] })
    else own.calls.push(call)
  }
  if (groups.size < 2) return [group]
  for (const output of group.outputs) {
    const own = groups.get(nameOf(output))
    if (own === undefined) return [group]
    own.outputs.push(output)
  }
  return Array.from(groups.values())
}

/** Both in their order. An output goes on to the next call if that stands before it, or would get none otherwise. */
const match = ({ calls, outputs }: Group, outputOf: Map<number, number>, callOf: Map<number, number>): void => {
  let at = -1
  for (const [j, output] of outputs.entries()) {
    const next = calls[at + 1]
    if (next !== undefined && (at < 0 || next < output || outputs.length - j <= calls.length - at - 1)) at++
    const call = calls[at]
    if (call === undefined) return
    outputOf.set(call, output)
    callOf.set(output, call)
  }
}
