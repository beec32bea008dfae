/**
 * What a durable session remembers beside its state (rules Q): what its handlers have stored, and marks that say which of
 * the history is new. A session that is not durable has none of it.
 */
import type { Call, Handoff, Job, Run, State } from "./state.js"
import type { ChatItem, Row } from "./words.js"

/** Of each row; a session whose rows have another one is not opened. */
export const version = 1

export interface Durable {
  /** the live part of the session as rows: their text, by kind and id */
  readonly live: Map<string, Live>
  /** counts the looks at the live part */
  looks: number
  /** what handlers have stored since the last look */
  rows: Array<Row>
  /** something has changed that no event and no command tells of */
  touched: boolean
  /** the numbers of the items that have rows, in their order */
  readonly numbers: Array<number>
  /** of the next item */
  number: number
  /** items that have rows and have changed, and rows of items that have left the history */
  readonly changed: Set<string>
  readonly removed: Array<number>
  /** how many items are stored for sure, and how many are being written */
  safe: number
  written: number
  /** the turns with ids that an item, or what is open, belongs to */
  readonly turnsOf: WeakMap<ChatItem, ReadonlyArray<string>>
  readonly turnOf: WeakMap<Job, string>
  readonly lives: WeakMap<Run, Life>
  /** in which order calls came */
  readonly orders: WeakMap<Call, number>
  order: number
  /** the session is left for another life: what has not begun does not begin in this one */
  suspending: boolean
  /** `onEnter` of the current agent has begun */
  entered: boolean
  /** the hand-off whose agent leaves: its `onExit` runs */
  leaving: Handoff | undefined
}

export interface Live {
  readonly kind: string
  readonly id: string
  readonly text: string
  look: number
}

/** One update that a handler has told. */
export interface Told {
  readonly key: string | undefined
  /** of the value: to know another one */
  readonly digest: string
}

/** What a step or a commit has ended with: JSON; none: nothing. */
export interface Kept {
  readonly value?: unknown
}

export type Commit =
  | { readonly _tag: "Begun" }
  /** `kept: false`: its value could not be stored */
  | ({ readonly _tag: "Ended"; readonly kept: boolean } & Kept)

/** The run of a handler through all lives of the session. */
export interface Life {
  /** 1, and one more after each crash */
  attempt: number
  /** when it first began; none: it has not */
  begunAt: number | undefined
  readonly told: Array<Told>
  /** by name and count */
  readonly steps: Map<string, Kept>
  readonly commits: Array<Commit>
  /** the names of the agents that it has handed over to */
  readonly handoffs: Array<string>
  /** all that it was told, as it was sent */
  readonly letters: Array<unknown>
  /** it was asked to stop in an earlier life: its stored steps are undone, and nothing new begins (rule Q13) */
  replays: boolean
}

export const make = (): Durable => ({
  live: new Map(),
  looks: 0,
  rows: [],
  touched: false,
  numbers: [],
  number: 0,
  changed: new Set(),
  removed: [],
  safe: 0,
  written: 0,
  turnsOf: new WeakMap(),
  turnOf: new WeakMap(),
  lives: new WeakMap(),
  orders: new WeakMap(),
  order: 0,
  suspending: false,
  entered: false,
  leaving: undefined
})

/** Something is to be stored that nobody is told of. */
export const touch = ({ durable }: State): void => {
  if (durable !== undefined) durable.touched = true
}

/** `onEnter` of the current agent begins, and does so in no other life (rule Q18). */
export const hasEntered = ({ durable }: State): void => {
  if (durable === undefined) return
  durable.entered = true
  durable.touched = true
}

// ------------------------------------------------------------------------------------------------------------ history

/** The ids of these turns; most items belong to none. */
export const turnIds = (durable: Durable, jobs: ReadonlyArray<Job>): ReadonlyArray<string> | undefined => {
  let ids: Array<string> | undefined
  for (const job of jobs) {
    const id = durable.turnOf.get(job)
    if (id === undefined) continue
    ids ??= []
    ids.push(id)
  }
  return ids
}

export const itemAdded = (durable: Durable, item: ChatItem, jobs: ReadonlyArray<Job>): void => {
  const ids = turnIds(durable, jobs)
  if (ids !== undefined) durable.turnsOf.set(item, ids)
}

/** It stood at this place. */
export const itemRemoved = (durable: Durable, at: number): void => {
  if (at >= durable.numbers.length) return
  const [number] = durable.numbers.splice(at, 1)
  if (number !== undefined) durable.removed.push(number)
  if (durable.safe > at) durable.safe--
  if (durable.written > at) durable.written--
}

export const itemChanged = (durable: Durable, before: ChatItem, now: ChatItem): void => {
  durable.changed.add(now.id)
  const ids = durable.turnsOf.get(before)
  if (ids !== undefined) durable.turnsOf.set(now, ids)
}

// --------------------------------------------------------------------------------------------------------------- runs

/** The id of a run is that of its first call, which it never loses. */
export const idOf = (run: Run): string => (run.calls[0] as Call).callId

const startOf = (): Life => ({
  attempt: 1,
  begunAt: undefined,
  told: [],
  steps: new Map(),
  commits: [],
  handoffs: [],
  letters: [],
  replays: false
})

export const lifeOf = (durable: Durable, run: Run): Life => {
  let life = durable.lives.get(run)
  if (life === undefined) {
    life = startOf()
    durable.lives.set(run, life)
  }
  return life
}

const put = (durable: Durable, kind: string, id: string, data: unknown): void => {
  durable.rows.push({ kind, id, data })
}

/** A part of a run: its rows are written by themselves, and go with the run. */
export const partId = (run: string, part: string | number): string => JSON.stringify([run, part])

export const updateTold = (durable: Durable, run: Run, told: Told): void => {
  const { told: all } = lifeOf(durable, run)
  all.push(told)
  const key = told.key === undefined ? {} : { key: told.key }
  put(durable, "told", partId(idOf(run), all.length), {
    v: version,
    run: idOf(run),
    n: all.length,
    ...key,
    of: told.digest
  })
}

export const stepEnded = (durable: Durable, run: Run, name: string, kept: Kept): void => {
  lifeOf(durable, run).steps.set(name, kept)
  put(durable, "step", partId(idOf(run), name), { v: version, run: idOf(run), name, ...kept })
}

export const commitBegun = (durable: Durable, run: Run, n: number): void => {
  lifeOf(durable, run).commits[n] = { _tag: "Begun" }
  put(durable, "commit", partId(idOf(run), n), { v: version, run: idOf(run), n, ended: false })
}

/** `kept` undefined: its value cannot be stored. */
export const commitEnded = (durable: Durable, run: Run, n: number, kept: Kept | undefined): void => {
  lifeOf(durable, run).commits[n] = { _tag: "Ended", kept: kept !== undefined, ...kept }
  const data = { v: version, run: idOf(run), n, ended: true, kept: kept !== undefined, ...kept }
  put(durable, "commit", partId(idOf(run), n), data)
}

export const letterSent = (durable: Durable, run: Run, message: unknown): void => {
  const { letters } = lifeOf(durable, run)
  letters.push(message)
  const n = letters.length
  put(durable, "letter", partId(idOf(run), n), { v: version, run: idOf(run), n, message })
}

/** The run has ended: nobody needs its parts. */
export const runLeft = (durable: Durable, run: Run): void => {
  const life = durable.lives.get(run)
  if (life === undefined) return
  durable.lives.delete(run)
  const id = idOf(run)
  for (let n = 1; n <= life.told.length; n++) put(durable, "told", partId(id, n), undefined)
  for (const name of life.steps.keys()) put(durable, "step", partId(id, name), undefined)
  for (let n = 0; n < life.commits.length; n++) put(durable, "commit", partId(id, n), undefined)
  for (let n = 1; n <= life.letters.length; n++) put(durable, "letter", partId(id, n), undefined)
}
