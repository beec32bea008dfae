/**
 * The rows of a durable session, read: what `rows.ts` wrote, as far as it can be trusted. A row of another version, or one
 * whose fields are not of their types, is named, and nothing is made of any (rule Q17).
 */
import { version } from "./durable.js"
import type { ToolChoice } from "./state.js"
import type { ChatItem, DeliveryMode, File, PendingApproval, Row, Usage } from "./words.js"

export interface StoredItem {
  readonly number: number
  readonly item: ChatItem
  readonly turns?: ReadonlyArray<string>
}

export interface StoredHandoff {
  readonly to: string
  readonly call?: string
  readonly when: "inline" | "idle" | "now"
  readonly turns?: ReadonlyArray<string>
  readonly left: boolean
}

export interface StoredSession {
  readonly agents: ReadonlyArray<{
    readonly name: string
    readonly task: boolean
    readonly since: number
    readonly carried: ReadonlyArray<string>
  }>
  readonly entered: boolean
  readonly handoff?: StoredHandoff
  readonly seq: number
  readonly itemId: number
  readonly speechId: number
  readonly replyId: number
  readonly actSteps: number
  readonly unsaid: ReadonlyArray<StoredInput & { readonly author?: string; readonly turns?: ReadonlyArray<string> }>
}

export interface StoredInput {
  readonly text: string
  readonly files?: ReadonlyArray<File>
}

export interface StoredSpeech {
  readonly seq: number
  readonly source: "say" | "reply" | "tool-reply"
  readonly priority: number | string
  readonly userTurn: boolean
  readonly opening?: StoredInput & { readonly author?: string; readonly urged: boolean }
  readonly text?: string
  readonly instructions?: string
  readonly toolChoice: ToolChoice
  readonly reply?: { readonly id: string; readonly items: ReadonlyArray<string>; readonly act: boolean }
  readonly turns?: ReadonlyArray<string>
  readonly agent: string | null
  readonly state: "queued" | "holding" | "waiting" | "ended"
  readonly allowInterruptions: boolean
  readonly toolSteps: number
  readonly retried: boolean
  readonly refused: boolean
  readonly pauses: number
  readonly continues?: number
  readonly said: string
  readonly spoke: boolean
  readonly begun: boolean
  readonly ends: boolean
  readonly items: ReadonlyArray<string>
  readonly step?: string
  readonly usage?: Usage
}

export type StoredEntry =
  | {
      readonly _tag: "Text"
      readonly played: string
      readonly whole: boolean
      readonly metadata?: Record<string, unknown>
    }
  | {
      readonly _tag: "Call"
      readonly callId: string
      readonly name: string
      readonly arguments: unknown
      readonly metadata?: Record<string, unknown>
    }
  | {
      readonly _tag: "Result"
      readonly callId: string
      readonly name: string
      readonly output: unknown
      readonly isError: boolean
    }

export interface StoredAnswer {
  readonly speech: string
  readonly index: number
  readonly agent: string | null
  readonly toolChoice: ToolChoice
  readonly from: number
  readonly continues?: number
  readonly finish?: string
  readonly calls: ReadonlyArray<string>
  readonly nextOutput: number
  readonly streamEnded: boolean
  readonly complete: boolean
  readonly played: boolean
  readonly handoff: boolean
  readonly reasoningLost: boolean
  readonly instant: boolean
  readonly entries: ReadonlyArray<StoredEntry>
}

export interface StoredCall {
  readonly order: number
  readonly name: string
  readonly arguments: Record<string, unknown>
  readonly metadata?: Record<string, unknown>
  readonly agent: string | null
  readonly speech: string
  readonly step?: string
  readonly startedAt: number
  readonly turns?: ReadonlyArray<string>
  readonly state: "Inline" | "Background" | "Ended"
  readonly status?: "done" | "error" | "cancelled"
  readonly run?: string
  /** where its tool is; null: in a task that is gone; none: there was no such tool */
  readonly home?: string | null
  readonly owner?: string | null
  readonly output?: {
    readonly value: unknown
    readonly isError: boolean
    readonly files?: ReadonlyArray<File>
    readonly reply: boolean
    readonly open?: "running" | "approval"
  }
  readonly recorded: boolean
  readonly updates: number
  readonly reported: boolean
  /** it has not ended */
  readonly known: boolean
}

export interface StoredRun {
  readonly phase: "held" | "admitting" | "approving" | "queued" | "working"
  readonly stop?: "cancelled" | "replaced" | "drained" | "timeout"
  readonly committed: boolean
  readonly updated: boolean
  readonly silent: boolean
  readonly lastUpdate?: unknown
  readonly lastIsText: boolean
  readonly lastFiles?: ReadonlyArray<File>
  readonly lastTemplate?: string
  readonly queuedAt?: number
  readonly owner: string | null
  readonly companion: boolean
  readonly calls: ReadonlyArray<string>
  readonly attempt: number
  readonly begunAt?: number
  readonly handoffs: ReadonlyArray<string>
  readonly approval?: {
    readonly reason?: string
    readonly requestedAt: number
    readonly expiresAt?: number
    readonly replaces: ReadonlyArray<string>
  }
}

export interface StoredReport {
  readonly call: string
  readonly kind: "update" | "final"
  readonly value?: unknown
  readonly files?: ReadonlyArray<File>
  readonly isError: boolean
  readonly mode: DeliveryMode
  readonly act: boolean
  readonly seq: number
  readonly at: number
  readonly written: boolean
  readonly where: "pending" | "parked" | "held" | "scheduled" | "silent"
  readonly waiting: boolean
}

export interface StoredTurn {
  readonly id: string
  readonly input: StoredInput
  readonly speech: string
  readonly endedAt?: number
  readonly text: string
  readonly usage?: Usage
  readonly failure?: {
    readonly tag: string
    readonly message: string
    readonly errorType: string
    readonly malformed: boolean
  }
  readonly approvals: ReadonlyArray<PendingApproval>
}

export interface StoredTold {
  readonly run: string
  readonly n: number
  readonly key?: string
  readonly of: string
}

export interface StoredStep {
  readonly run: string
  readonly name: string
  readonly value?: unknown
}

export interface StoredCommit {
  readonly run: string
  readonly n: number
  readonly ended: boolean
  readonly kept?: boolean
  readonly value?: unknown
}

export interface StoredLetter {
  readonly run: string
  readonly n: number
  readonly message: unknown
}

export interface Stored {
  /** in their order */
  readonly items: ReadonlyArray<StoredItem>
  /** none: it has ended, or was never begun; what is left is its history */
  readonly session: StoredSession | undefined
  readonly speeches: ReadonlyMap<string, StoredSpeech>
  readonly answers: ReadonlyMap<string, StoredAnswer>
  readonly calls: ReadonlyMap<string, StoredCall>
  readonly runs: ReadonlyMap<string, StoredRun>
  readonly reports: ReadonlyMap<string, StoredReport>
  readonly turns: ReadonlyMap<string, StoredTurn>
  readonly told: ReadonlyArray<StoredTold>
  readonly steps: ReadonlyArray<StoredStep>
  readonly commits: ReadonlyArray<StoredCommit>
  readonly letters: ReadonlyArray<StoredLetter>
}

/** A row that cannot be used. */
export interface Damaged {
  readonly row: string
  readonly message: string
}

// ------------------------------------------------------------------------------------------------------------- shapes

type Shape = (value: unknown) => boolean

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value)

const text: Shape = (value) => typeof value === "string"
const number: Shape = (value) => typeof value === "number" && Number.isFinite(value)
const flag: Shape = (value) => typeof value === "boolean"
const any: Shape = () => true
const record: Shape = isObject

const oneOf =
  (...words: ReadonlyArray<string>): Shape =>
  (value) =>
    words.some((word) => word === value)

const optional =
  (shape: Shape): Shape =>
  (value) =>
    value === undefined || shape(value)

const nullable =
  (shape: Shape): Shape =>
  (value) =>
    value === null || shape(value)

const list =
  (shape: Shape): Shape =>
  (value) =>
    Array.isArray(value) && value.every(shape)

const fields =
  (shapes: Readonly<Record<string, Shape>>): Shape =>
  (value) =>
    isObject(value) && Object.keys(shapes).every((name) => shapes[name]?.(value[name]) === true)

const either =
  (...shapes: ReadonlyArray<Shape>): Shape =>
  (value) =>
    shapes.some((shape) => shape(value))

const texts = optional(list(text))
const toolChoice = either(oneOf("auto", "none", "required"), fields({ tool: text }))
const file = fields({ data: either(text, fields({ url: text })), mediaType: text, name: optional(text) })
const files = optional(list(file))
const input = { text, files }
const mode = oneOf("when-idle", "interrupt", "silent")

/** A history that was given to the session is as odd as it was given; a request is made of it all the same. */
const item = fields({
  _tag: oneOf("Message", "Reasoning", "FunctionCall", "FunctionCallOutput", "AgentHandoff"),
  id: text
})

const agent = fields({ name: text, task: flag, since: number, carried: list(text) })

const entry = either(
  fields({ _tag: oneOf("Text"), played: text, whole: flag, metadata: optional(record) }),
  fields({ _tag: oneOf("Call"), callId: text, name: text, metadata: optional(record) }),
  fields({ _tag: oneOf("Result"), callId: text, name: text, isError: flag })
)

const shapes = {
  item: fields({ item, turns: texts }),
  session: fields({
    agents: (value) => list(agent)(value) && (value as ReadonlyArray<unknown>).length > 0,
    entered: flag,
    handoff: optional(
      fields({ to: text, call: optional(text), when: oneOf("inline", "idle", "now"), turns: texts, left: flag })
    ),
    seq: number,
    itemId: number,
    speechId: number,
    replyId: number,
    actSteps: number,
    unsaid: list(fields({ ...input, author: optional(text), turns: texts }))
  }),
  speech: fields({
    seq: number,
    source: oneOf("say", "reply", "tool-reply"),
    priority: either(number, oneOf("Infinity", "-Infinity", "NaN")),
    userTurn: flag,
    opening: optional(fields({ ...input, author: optional(text), urged: flag })),
    text: optional(text),
    instructions: optional(text),
    toolChoice,
    reply: optional(fields({ id: text, items: list(text), act: flag })),
    turns: texts,
    agent: nullable(text),
    state: oneOf("queued", "holding", "waiting"),
    allowInterruptions: flag,
    toolSteps: number,
    retried: flag,
    refused: flag,
    pauses: number,
    continues: optional(number),
    said: text,
    spoke: flag,
    begun: flag,
    ends: flag,
    items: list(text),
    step: optional(text),
    usage: optional(record)
  }),
  answer: fields({
    speech: text,
    index: number,
    agent: nullable(text),
    toolChoice,
    from: number,
    continues: optional(number),
    finish: optional(text),
    calls: list(text),
    nextOutput: number,
    streamEnded: flag,
    complete: flag,
    played: flag,
    handoff: flag,
    reasoningLost: flag,
    instant: flag,
    entries: list(entry)
  }),
  call: fields({
    order: number,
    name: text,
    arguments: record,
    metadata: optional(record),
    agent: nullable(text),
    speech: text,
    step: optional(text),
    startedAt: number,
    turns: texts,
    state: oneOf("Inline", "Background", "Ended"),
    status: optional(oneOf("done", "error", "cancelled")),
    run: optional(text),
    home: optional(nullable(text)),
    owner: optional(nullable(text)),
    output: optional(fields({ isError: flag, files, reply: flag, open: optional(oneOf("running", "approval")) })),
    recorded: flag,
    updates: number,
    reported: flag,
    known: flag
  }),
  run: fields({
    phase: oneOf("held", "admitting", "approving", "queued", "working"),
    stop: optional(oneOf("cancelled", "replaced", "drained", "timeout")),
    committed: flag,
    updated: flag,
    silent: flag,
    lastIsText: flag,
    lastFiles: files,
    lastTemplate: optional(text),
    queuedAt: optional(number),
    owner: nullable(text),
    companion: flag,
    calls: list(text),
    attempt: number,
    begunAt: optional(number),
    handoffs: list(text),
    approval: optional(
      fields({ reason: optional(text), requestedAt: number, expiresAt: optional(number), replaces: list(text) })
    )
  }),
  report: fields({
    call: text,
    kind: oneOf("update", "final"),
    files,
    isError: flag,
    mode,
    act: flag,
    seq: number,
    at: number,
    written: flag,
    where: oneOf("pending", "parked", "held", "scheduled", "silent"),
    waiting: flag
  }),
  turn: fields({
    id: text,
    input: fields(input),
    speech: text,
    endedAt: optional(number),
    text,
    usage: optional(record),
    failure: optional(fields({ tag: text, message: text, errorType: text, malformed: flag })),
    approvals: list(fields({ callId: text, name: text, requestedAt: number }))
  }),
  told: fields({ run: text, n: number, key: optional(text), of: text }),
  step: fields({ run: text, name: text, value: any }),
  commit: fields({ run: text, n: number, ended: flag, kept: optional(flag), value: any }),
  letter: fields({ run: text, n: number })
} satisfies Readonly<Record<string, Shape>>

type Kind = keyof typeof shapes

const isKind = (kind: string): kind is Kind => Object.hasOwn(shapes, kind)

const whatIsWrong = ({ data, kind }: Row): string | undefined => {
  if (!isKind(kind)) return "It is of a kind that this version of the library does not know."
  if (!isObject(data)) return "It is damaged."
  if (data.v !== version)
    return `It has version ${JSON.stringify(data.v)}, and this version of the library reads ${version}.`
  return shapes[kind](data) ? undefined : "It is damaged."
}

// --------------------------------------------------------------------------------------------------------------- read

const filesOf = (given: unknown): ReadonlyArray<File> | undefined =>
  Array.isArray(given)
    ? given.map((one: File & { readonly data: string | { readonly url: string } }) =>
        typeof one.data === "string" ? one : { ...one, data: urlOf(one.data as { readonly url: string }) }
      )
    : undefined

const urlOf = ({ url }: { readonly url: string }): string | URL => {
  try {
    return new URL(url)
  } catch {
    return url
  }
}

/** With its files as the session has them. */
const revived = <A extends object>(data: A): A => {
  const { files, lastFiles } = data as { readonly files?: unknown; readonly lastFiles?: unknown }
  if (files === undefined && lastFiles === undefined) return data
  return {
    ...data,
    ...(files === undefined ? {} : { files: filesOf(files) }),
    ...(lastFiles === undefined ? {} : { lastFiles: filesOf(lastFiles) })
  }
}

export const read = (rows: ReadonlyArray<Row>): Stored | Damaged => {
  const byKind = new Map<string, Map<string, Readonly<Record<string, any>>>>()
  for (const row of rows) {
    const message = whatIsWrong(row)
    if (message !== undefined) return { row: `${row.kind}/${row.id}`, message }
    const of = byKind.get(row.kind) ?? new Map<string, Readonly<Record<string, any>>>()
    byKind.set(row.kind, of)
    of.set(row.id, revived(row.data as Readonly<Record<string, unknown>>))
  }
  const all = <A>(kind: Kind): Map<string, A> => (byKind.get(kind) ?? new Map()) as Map<string, A>
  const listed = <A>(kind: Kind): Array<A> => Array.from(all<A>(kind).values())
  const items = Array.from(all<{ readonly item: ChatItem; readonly turns?: ReadonlyArray<string> }>("item"))
  return {
    items: items
      .map(([id, { item, turns }]): StoredItem => {
        const made = { number: Number(id), item: revived(item) }
        return turns === undefined ? made : { ...made, turns }
      })
      .sort((one, other) => one.number - other.number),
    session: withUnsaid(all<StoredSession>("session").get("state")),
    speeches: opened(all<StoredSpeech>("speech")),
    answers: all("answer"),
    calls: withOutputs(all<StoredCall>("call")),
    runs: all("run"),
    reports: all("report"),
    turns: withInputs(all<StoredTurn>("turn")),
    told: listed<StoredTold>("told").sort((one, other) => one.n - other.n),
    steps: listed("step"),
    commits: listed<StoredCommit>("commit").sort((one, other) => one.n - other.n),
    letters: listed<StoredLetter>("letter").sort((one, other) => one.n - other.n)
  }
}

const mapped = <A>(all: Map<string, A>, f: (one: A) => A): Map<string, A> => {
  for (const [id, one] of all) all.set(id, f(one))
  return all
}

const opened = (all: Map<string, StoredSpeech>) =>
  mapped(all, (one) => (one.opening === undefined ? one : { ...one, opening: revived(one.opening) }))

const withUnsaid = (session: StoredSession | undefined) =>
  session === undefined ? undefined : { ...session, unsaid: session.unsaid.map(revived) }

const withOutputs = (all: Map<string, StoredCall>) =>
  mapped(all, (one) => (one.output === undefined ? one : { ...one, output: revived(one.output) }))

const withInputs = (all: Map<string, StoredTurn>) => mapped(all, (one) => ({ ...one, input: revived(one.input) }))

export const isDamaged = (read: Stored | Damaged): read is Damaged => "row" in read
