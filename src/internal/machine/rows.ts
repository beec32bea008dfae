/**
 * The live part of a durable session as rows, and what of it has changed since the last look (rule Q2). What a row says is
 * read again by `stored.ts`, and made a state by `reviving.ts`. The history is not walked: items have marks.
 */
import * as Approvals from "./approval.js"
import { isCompanion } from "./cancelling.js"
import { type Durable, idOf, turnIds, version } from "./durable.js"
import type {
  Activity,
  Approval,
  Call,
  Delivery,
  Entry,
  Handoff,
  Job,
  Output,
  Run,
  Speech,
  State,
  Step,
  Tool,
  Turn
} from "./state.js"
import type { ChatItem, File, Row } from "./words.js"

export interface Changes {
  readonly rows: ReadonlyArray<Row>
  /** something is open: a call, a turn, a reply (rule N2) */
  readonly open: boolean
}

/** What has changed since the last time that somebody asked. */
export const changes = (s: State, durable: Durable): Changes => {
  const rows = durable.rows
  durable.rows = []
  durable.touched = false
  items(s, durable, rows)
  const look = ++durable.looks
  const seen = (kind: string, id: string, data: object): void => {
    const key = `${kind}/${id}`
    const text = JSON.stringify(data)
    const known = durable.live.get(key)
    if (known?.text === text) {
      known.look = look
      return
    }
    durable.live.set(key, { kind, id, text, look })
    rows.push({ kind, id, data: JSON.parse(text) })
  }
  live(s, durable, seen)
  for (const [key, row] of durable.live) {
    if (row.look === look) continue
    durable.live.delete(key)
    rows.push({ kind: row.kind, id: row.id, data: undefined })
  }
  durable.written = s.history.length
  return { rows, open: isOpen(s) }
}

/** A waiting approval that nobody's time limit ends does not count (rule N2). */
const isOpen = (s: State): boolean => {
  if (s.speeches.size > 0 || s.pending.size > 0 || s.handoff !== undefined || s.leavingSince !== undefined) return true
  for (const run of s.runs) if (run.phase !== "approving" || expires(s, run)) return true
  return false
}

const expires = (s: State, run: Run): boolean => {
  const state = Approvals.of(s, run)?.state
  return state?._tag !== "Waiting" || state.expiresAt !== undefined
}

// -------------------------------------------------------------------------------------------------------------- items

/** Rows are put in their order by these numbers, and a storage may sort by the text of ids. */
export const itemId = (number: number): string => String(number).padStart(10, "0")

const items = (s: State, durable: Durable, rows: Array<Row>): void => {
  const { numbers } = durable
  for (const number of durable.removed.splice(0)) rows.push({ kind: "item", id: itemId(number), data: undefined })
  if (durable.changed.size > 0) {
    // one that has changed is near the end
    for (let i = numbers.length - 1; i >= 0 && durable.changed.size > 0; i--) {
      const item = s.history[i] as ChatItem
      if (durable.changed.delete(item.id)) rows.push(itemRow(durable, item, numbers[i] as number))
    }
    durable.changed.clear()
  }
  for (let i = numbers.length; i < s.history.length; i++) {
    const number = ++durable.number
    numbers.push(number)
    rows.push(itemRow(durable, s.history[i] as ChatItem, number))
  }
}

const itemRow = (durable: Durable, item: ChatItem, number: number): Row => {
  const turns = durable.turnsOf.get(item)
  const files = "files" in item ? item.files : undefined
  const plain = files === undefined ? item : { ...item, files: filesAsJson(files) }
  const data = { v: version, item: plain, ...(turns === undefined ? {} : { turns }) }
  return { kind: "item", id: itemId(number), data: JSON.parse(JSON.stringify(data)) }
}

/** An address is told from data by its shape. */
const filesAsJson = (files: ReadonlyArray<File> | undefined) =>
  files?.map((file) => ({ ...file, data: typeof file.data === "string" ? file.data : { url: String(file.data) } }))

// --------------------------------------------------------------------------------------------------------------- live

type Seen = (kind: string, id: string, data: object) => void

export const stepId = (step: Step): string => `${step.speech.id}.${step.index}`

/** The agent of a task begins again with its handler: it has no name here (rule Q16). */
const nameOf = (agent: Activity | undefined): string | null =>
  agent === undefined || agent.task !== undefined ? null : agent.name

/** In whose scope a tool is: the session's, an agent's, or that of a task, which is gone with it. */
const homeOf = ({ executor: { activity }, kind }: Tool): string | null =>
  kind === "companion" || activity === undefined
    ? "session"
    : activity.task === undefined
      ? `agent ${activity.name}`
      : null

const turnsOf = (durable: Durable, jobs: ReadonlyArray<Job>) => turnIds(durable, jobs)

const live = (s: State, durable: Durable, seen: Seen): void => {
  seen("session", "state", sessionOf(s, durable))
  const steps = new Set<Step>()
  const calls = new Set<Call>(s.calls.values())
  const deliveries = new Set<Delivery>(s.pending)
  // they count as waiting for as long as their call may report more
  for (const delivery of s.silent) if (delivery.call.state._tag !== "Ended") deliveries.add(delivery)
  for (const delivery of s.parked) deliveries.add(delivery)
  for (const call of s.unrecorded.values()) calls.add(call)
  for (const speech of s.speeches) {
    if (speech.filler !== undefined) continue
    if (speech.step !== undefined) steps.add(speech.step)
    for (const delivery of speech.reply?.items ?? []) deliveries.add(delivery)
    seen("speech", speech.id, speechOf(s, durable, speech))
  }
  for (const call of calls) {
    if (call.output === undefined || !call.recorded) steps.add(call.step)
    for (const delivery of call.held) deliveries.add(delivery)
  }
  for (const step of steps) for (const call of step.calls) calls.add(call)
  for (const delivery of deliveries) {
    calls.add(delivery.call)
    seen("report", delivery.id, reportOf(s, delivery))
  }
  for (const step of steps) seen("answer", stepId(step), answerOf(step))
  for (const call of calls) seen("call", call.callId, callOf(s, durable, call, steps))
  for (const run of s.runs) seen("run", idOf(run), runOf(s, durable, run))
  for (const turn of s.turns.values()) seen("turn", turn.id, turnOf(turn))
}

const sessionOf = (s: State, durable: Durable) => ({
  v: version,
  agents: s.agents.map((agent) => ({
    name: agent.name,
    task: agent.task !== undefined,
    since: agent.since,
    carried: agent.carried.map((item) => item.id)
  })),
  entered: durable.entered,
  handoff: handoffOf(
    durable,
    s.entering ?? durable.leaving ?? s.handoff,
    (s.entering ?? durable.leaving) !== undefined
  ),
  seq: s.seq,
  itemId: s.itemId,
  speechId: s.speechId,
  replyId: s.replyId,
  actSteps: s.actSteps,
  unsaid: s.unsaid.map(({ author, input, jobs }) => ({
    ...input,
    files: filesAsJson(input.files),
    author,
    turns: turnsOf(durable, jobs)
  }))
})

const handoffOf = (durable: Durable, handoff: Handoff | undefined, left: boolean) =>
  handoff === undefined
    ? undefined
    : {
        to: handoff.to.name,
        call: handoff.call?.callId,
        when: handoff.when,
        turns: turnsOf(durable, handoff.jobs),
        left
      }

const priorityOf = (priority: number): number | string => (Number.isFinite(priority) ? priority : String(priority))

const speechOf = (s: State, durable: Durable, speech: Speech) => ({
  v: version,
  seq: speech.seq,
  source: speech.source,
  priority: priorityOf(speech.priority),
  userTurn: speech.userTurn,
  opening: speech.opening === undefined ? undefined : { ...speech.opening, files: filesAsJson(speech.opening.files) },
  // a stream cannot be said again
  text: typeof speech.text === "string" ? speech.text : undefined,
  instructions: speech.instructions,
  toolChoice: speech.toolChoice,
  reply:
    speech.reply === undefined ? undefined : { id: speech.reply.id, items: speech.reply.ids, act: speech.reply.act },
  turns: turnsOf(durable, speech.jobs),
  agent: nameOf(speech.agent),
  state: speech.state,
  allowInterruptions: speech.allowInterruptions,
  toolSteps: speech.toolSteps,
  retried: speech.retried,
  refused: speech.refused,
  pauses: speech.pauses,
  continues: speech.continues,
  said: speech.said,
  spoke: speech.spoke,
  begun: speech.begun,
  // it was cut, and its output is stopping
  ends: speech === s.stopping,
  items: speech.items.map((item) => item.id),
  step: speech.step === undefined ? undefined : stepId(speech.step),
  usage: speech.usage
})

const answerOf = (step: Step) => ({
  v: version,
  speech: step.speech.id,
  index: step.index,
  agent: nameOf(step.agent),
  toolChoice: step.toolChoice,
  from: step.from,
  continues: step.continues,
  finish: step.finish,
  calls: step.calls.map((call) => call.callId),
  nextOutput: step.nextOutput,
  streamEnded: step.streamEnded,
  complete: step.complete,
  played: step.played,
  handoff: step.handoff,
  reasoningLost: step.reasoningLost,
  instant: step.agent.instantOutput,
  entries: step.entries.slice(step.cursor).flatMap((entry) => entryOf(step, entry))
})

/** What was heard of a text, and never what was only written (rule Q2). */
const entryOf = (step: Step, entry: Entry): ReadonlyArray<object> => {
  switch (entry._tag) {
    case "Text": {
      if (step.agent.instantOutput || entry.played === "") return [{ _tag: "Text", played: "", whole: false }]
      const whole = entry.ended && entry.played.length >= entry.text.length
      return [{ _tag: "Text", played: entry.played, whole, metadata: entry.metadata }]
    }
    case "Reasoning":
      return []
    case "File":
      return []
    case "Call":
      return [{ ...entry }]
    case "Result":
      return [{ ...entry }]
  }
}

const outputOf = (output: Output | undefined) =>
  output === undefined ? undefined : { ...output, files: filesAsJson(output.files) }

const callOf = (s: State, durable: Durable, call: Call, steps: ReadonlySet<Step>) => {
  const order = durable.orders.get(call) ?? ++durable.order
  durable.orders.set(call, order)
  return {
    v: version,
    order,
    name: call.call.name,
    arguments: call.call.arguments,
    metadata: call.metadata,
    agent: nameOf(call.step.agent),
    speech: call.step.speech.id,
    step: steps.has(call.step) ? stepId(call.step) : undefined,
    startedAt: call.startedAt,
    turns: turnsOf(durable, call.jobs),
    state: call.state._tag,
    status: call.state._tag === "Ended" ? call.state.status : undefined,
    run: call.run === undefined || call.run.phase === "ended" ? undefined : idOf(call.run),
    home: call.tool === undefined ? undefined : homeOf(call.tool),
    owner: call.owner === undefined ? undefined : nameOf(call.owner),
    // what is in the history need not be kept twice
    output:
      call.recorded && call.output !== undefined
        ? { ...outputOf(call.output), value: null, files: undefined }
        : outputOf(call.output),
    recorded: call.recorded,
    updates: call.updates,
    reported: call.reported,
    known: s.calls.has(call.callId)
  }
}

/** It was to begin, and does so in the next life. */
const isFresh = (durable: Durable, run: Run): boolean =>
  durable.suspending &&
  run.phase === "working" &&
  run.fiber === undefined &&
  (durable.lives.get(run)?.attempt ?? 1) === 1

const runOf = (s: State, durable: Durable, run: Run) => {
  const life = durable.lives.get(run)
  return {
    v: version,
    phase: isFresh(durable, run) ? "queued" : run.phase,
    stop: run.stop,
    committed: run.committed,
    updated: run.updated,
    silent: run.silent,
    lastUpdate: run.lastUpdate,
    lastIsText: run.lastIsText,
    lastFiles: filesAsJson(run.lastFiles),
    lastTemplate: typeof run.lastTemplate === "string" ? run.lastTemplate : undefined,
    queuedAt: run.queuedAt,
    owner: nameOf(run.owner),
    companion: isCompanion(run.tool),
    calls: run.calls.map((call) => call.callId),
    attempt: life?.attempt ?? 1,
    begunAt: life?.begunAt,
    handoffs: life?.handoffs ?? [],
    approval: approvalOf(Approvals.of(s, run))
  }
}

const approvalOf = (approval: Approval | undefined) =>
  approval?.state._tag !== "Waiting"
    ? undefined
    : {
        reason: approval.state.reason,
        requestedAt: approval.state.requestedAt,
        expiresAt: approval.state.expiresAt,
        replaces: approval.replaces.filter((run) => run.phase !== "ended").map(idOf)
      }

const reportOf = (s: State, delivery: Delivery) => ({
  v: version,
  call: delivery.call.callId,
  kind: delivery.kind,
  value: delivery.written ? undefined : delivery.value,
  files: delivery.written ? undefined : filesAsJson(delivery.files),
  isError: delivery.isError,
  mode: delivery.mode,
  act: delivery.act,
  seq: delivery.seq,
  at: delivery.at,
  written: delivery.written,
  where: s.pending.has(delivery)
    ? "pending"
    : s.parked.includes(delivery)
      ? "parked"
      : !delivery.written
        ? "held"
        : delivery.state._tag === "Scheduled"
          ? "scheduled"
          : "silent",
  waiting: delivery.call.waiting.includes(delivery)
})

const turnOf = ({ endedAt, id, input, job, speech }: Turn) => ({
  v: version,
  input: { ...input, files: filesAsJson(input.files) },
  speech: speech.id,
  endedAt,
  text: job.text,
  usage: job.usage,
  failure: job.failure === undefined ? undefined : failureOf(job),
  approvals: job.approvals,
  id
})

const failureOf = ({ failure }: Job) => ({
  tag: failure?.tag,
  message: failure?.message,
  errorType: failure?.errorType,
  malformed: failure?.malformed
})
