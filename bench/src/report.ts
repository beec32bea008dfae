/** The table, and what became of the goals. */
import { type Measured, median, ratio, type Spread, spread } from "./measure.js"

interface Landed extends Measured {
  readonly told: boolean
}
interface Both<M = Measured> {
  readonly together: ReadonlyArray<M>
  readonly alone: ReadonlyArray<M>
}

export interface Results {
  readonly date: string
  readonly machine: string
  readonly minutes: number
  /** who was given up on before its calls were in flight */
  readonly grounded?: ReadonlyArray<string>
  readonly versions: Record<string, string>
  readonly rows: {
    readonly turn?: Both
    readonly first?: Both
    readonly memory?: ReadonlyArray<{ readonly contestant: string; readonly kib: number }>
    readonly calls?: Both
    readonly steps?: ReadonlyArray<Measured>
    readonly heap?: ReadonlyArray<{ readonly contestant: string; readonly name: string; readonly bytes: number }>
    readonly cancel?: Both<Landed>
    readonly deaf?: ReadonlyArray<Landed>
    readonly arguments?: ReadonlyArray<Measured>
    readonly updates?: ReadonlyArray<{
      readonly running: number
      readonly ended: number
      readonly update: number
      readonly result: number
    }>
    readonly ended?: ReadonlyArray<Measured>
    readonly sessions?: {
      readonly hour: { readonly sessions: number; readonly calls: number; readonly seconds: number }
      readonly idle: { readonly fresh: number; readonly used: number }
    }
  }
}

const number = (n: number): string =>
  n >= 100 ? Math.round(n).toLocaleString("en-US") : n >= 10 ? n.toFixed(1) : n.toFixed(2)
const range = ({ max, median, min }: Spread): string => `${number(median)} (${number(min)}–${number(max)})`
const cpu = (m: Measured | undefined): Spread => spread(m?.samples.map((sample) => sample.cpu) ?? [])
const wall = (m: Measured | undefined): Spread => spread(m?.samples.map((sample) => sample.wall) ?? [])
const find = <M extends { readonly contestant: string }>(all: ReadonlyArray<M> | undefined, id: string) =>
  all?.find((one) => one.contestant === id)

const table = (head: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<string>>): string =>
  [head, head.map((_, i) => (i === 0 ? "---" : "---:")), ...rows].map((row) => `| ${row.join(" | ")} |`).join("\n")

/** Beside each other, each as a multiple of one of ours in the same round. */
const compared = (title: string, both: Both, reference: string, kib?: Results["rows"]["memory"]): string => {
  const one = find(both.together, reference)
  const rows = both.together.map((m) => [
    m.name,
    range(cpu(m)),
    one === undefined ? "" : `${number(ratio(m, one).median)} ×`,
    ...(both.alone.length === 0 ? [] : [range(cpu(find(both.alone, m.contestant)))]),
    ...(kib === undefined ? [] : [number(find(kib, m.contestant)?.kib ?? Number.NaN)])
  ])
  const alone = both.alone.length === 0 ? [] : ["alone, µs"]
  const head = ["", "together, µs", "ratio", ...alone, ...(kib === undefined ? [] : ["KiB allocated"])]
  return `### ${title}\n\n${table(head, rows)}\n`
}

const peers = ["ai-sdk-generate", "ai-sdk-stream", "openai-agents", "livekit", "langgraph", "mastra"]
/** Those whose handlers have finalizers, which are waited for. What listens to an abort signal is called, and that is all. */
const finalizing = ["effect-ai-generate", "effect-ai-stream"]

const fastest = <M extends Measured>(all: ReadonlyArray<M>, ids: ReadonlyArray<string>, time = cpu): M | undefined =>
  all.filter(({ contestant }) => ids.includes(contestant)).sort((a, b) => time(a).median - time(b).median)[0]

interface Goal {
  readonly text: string
  readonly limit: number
  /** in one process with the others, and alone */
  readonly found: ReadonlyArray<number>
}

const ratios = <M extends Measured>(
  both: Both<M>,
  ours: string,
  other: (all: ReadonlyArray<M>) => M | undefined,
  time = cpu
): ReadonlyArray<number> => {
  const beside = (all: ReadonlyArray<M>) => {
    const a = find(all, ours)
    const b = other(all)
    return a === undefined || b === undefined ? Number.NaN : time(a).median / time(b).median
  }
  return [beside(both.together), beside(both.alone)]
}

const goals = ({ rows }: Results): ReadonlyArray<Goal> => {
  const found: Array<Goal> = []
  const add = (text: string, limit: number, ...values: ReadonlyArray<number>) => {
    found.push({ text, limit, found: values.filter((value) => !Number.isNaN(value)) })
  }
  const { turn, calls, steps, heap, cancel, deaf, updates, ended, sessions } = rows
  if (turn !== undefined) {
    const stream = (all: ReadonlyArray<Measured>) => find(all, "effect-ai-stream")
    const peer = (all: ReadonlyArray<Measured>) => fastest(all, peers)
    const bare = (all: ReadonlyArray<Measured>) => find(all, "effect")
    add(
      "a turn through LanguageModel / the bare @effect/ai stream loop",
      1.1,
      ...ratios(turn, "meantime-language-model", stream)
    )
    const streaming = (all: ReadonlyArray<Measured>) => find(all, "ai-sdk-stream")
    add("a turn, AI SDK's mock (stream) / AI SDK, streamText", 0.4, ...ratios(turn, "meantime-sdk-stream", streaming))
    for (const kind of ["generate", "stream"]) {
      add(
        `a turn, AI SDK's mock (${kind}) / the fastest peer of any kind`,
        0.4,
        ...ratios(turn, `meantime-sdk-${kind}`, peer)
      )
      add(`a turn, AI SDK's mock (${kind}) / bare Effect`, 4, ...ratios(turn, `meantime-sdk-${kind}`, bare))
    }
    add("a turn, scripted model / bare Effect", 4, ...ratios(turn, "meantime-seam", bare))
  }
  if (calls !== undefined) {
    add("a call of 100 / the fastest peer", 0.6, ...ratios(calls, "meantime-seam", (all) => fastest(all, peers)))
  }
  if (steps?.[0] !== undefined && steps[1] !== undefined) {
    add("a call of 1,000 / a call of 100", 1.2, ratio(steps[1], steps[0]).median)
  }
  if (heap !== undefined) {
    const leanest = Math.min(...heap.filter(({ contestant }) => peers.includes(contestant)).map(({ bytes }) => bytes))
    for (const id of ["meantime-seam", "meantime-background"]) {
      add(
        `heap of a call in flight (${id === "meantime-seam" ? "inline" : "background"}) / the leanest peer`,
        1,
        (find(heap, id)?.bytes ?? Number.NaN) / leanest
      )
    }
  }
  if (cancel !== undefined) {
    for (const id of ["meantime-seam", "meantime-background"]) {
      add(
        `cancelling 10,000 (${id === "meantime-seam" ? "a turn is interrupted" : "the session closes"}) / @effect/ai, the fastest with finalizers`,
        0.35,
        ...ratios(
          cancel,
          id,
          (all) =>
            fastest(
              all.filter(({ told }) => told),
              finalizing,
              wall
            ),
          wall
        )
      )
    }
  }
  const mine = find(deaf, "meantime-seam")
  const listening = find(cancel?.alone, "meantime-seam")
  if (mine !== undefined && listening !== undefined) {
    add("a turn whose handlers do not listen / one whose do", 1, wall(mine).median / wall(listening).median)
  }
  if (rows.arguments !== undefined) {
    const [schema, ours] = [find(rows.arguments, "schema"), find(rows.arguments, "meantime")]
    if (schema !== undefined && ours !== undefined)
      add("arguments of 8 fields / JSON and Schema", 1.2, ratio(ours, schema).median)
  }
  if (updates !== undefined) {
    const few = updates[0]
    for (const many of updates.slice(1)) {
      if (few === undefined) continue
      const where = many.ended > 0 ? `behind ${many.ended} ended calls` : `beside ${many.running} running calls`
      add(`an update, ${where} / in a young session`, 1.25, many.update / few.update)
      add(`a result to its reply, ${where} / in a young session`, 1.25, many.result / few.result)
    }
  }
  if (ended?.[0] !== undefined && ended[1] !== undefined)
    add("a turn behind 100,000 ended calls / in a young session", 1.1, ratio(ended[1], ended[0]).median)
  if (sessions !== undefined) {
    add("1,000 sessions for an hour, seconds", 10, sessions.hour.seconds)
    add("an idle session after a turn, KiB", 32, sessions.idle.used / 1024)
  }
  return found
}

export const markdown = (results: Results): string => {
  const { rows } = results
  const out: Array<string> = []
  const versions = Object.entries(results.versions).map(([name, version]) => `${name} ${version}`)
  out.push(`Measured on ${results.date}, ${results.machine}, in ${results.minutes} minutes. ${versions.join(", ")}.\n`)
  if (rows.turn !== undefined)
    out.push(
      compared("One turn with one call, in a conversation of ten", rows.turn, "meantime-sdk-generate", rows.memory)
    )
  if (rows.first !== undefined)
    out.push(
      compared(
        "The same, in a conversation of one turn: what a conversation costs to begin counts",
        rows.first,
        "meantime-sdk-generate"
      )
    )
  if (rows.calls !== undefined) out.push(compared("100 calls in one step, per call", rows.calls, "meantime-seam"))
  if (rows.steps !== undefined) {
    out.push(
      `### Calls in one step, per call\n\n${table(
        ["", "µs"],
        rows.steps.map((m) => [m.name, range(cpu(m))])
      )}\n`
    )
  }
  if (rows.heap !== undefined || rows.cancel !== undefined) {
    const ids = (rows.heap ?? rows.cancel?.alone ?? []).map(({ contestant, name }) => [contestant, name] as const)
    const told = (m: Landed | undefined) => (m === undefined ? "–" : m.told ? range(wall(m)) : "never")
    out.push(
      `### 10,000 calls in flight\n\n${table(
        ["", "KB for each", "cancelled, together, ms", "alone, ms", "handlers that do not listen, ms"],
        ids.map(([id, name]) => [
          name,
          number((find(rows.heap, id)?.bytes ?? Number.NaN) / 1_000),
          told(find(rows.cancel?.together, id)),
          told(find(rows.cancel?.alone, id)),
          told(find(rows.deaf, id))
        ])
      )}\n`
    )
    const grounded = results.grounded ?? []
    if (grounded.length > 0) {
      const names = grounded.map((id) => find(rows.turn?.together, id)?.name ?? id)
      out.push(`They did not get 10,000 calls into flight within 90 seconds: ${names.join("; ")}.\n`)
    }
  }
  if (rows.arguments !== undefined) {
    out.push(
      `### Arguments of eight fields, decoded\n\n${table(
        ["", "µs"],
        rows.arguments.map((m) => [m.name, range(cpu(m))])
      )}\n`
    )
  }
  if (rows.updates !== undefined) {
    out.push(
      `### An update, and a result, in an idle session\n\n${table(
        ["calls running", "calls ended", "update → in the history, µs", "result → reply requested, µs"],
        rows.updates.map(({ ended, result, running, update }) => [
          String(running),
          String(ended),
          number(update),
          number(result)
        ])
      )}\n`
    )
  }
  if (rows.ended !== undefined) {
    out.push(
      `### A turn in a session that has ended many calls\n\n${table(
        ["", "µs"],
        rows.ended.map((m) => [m.name, range(cpu(m))])
      )}\n`
    )
  }
  if (rows.sessions !== undefined) {
    const { hour, idle } = rows.sessions
    out.push(
      `### Many sessions\n\n${table(
        ["", ""],
        [
          [
            `${hour.sessions} sessions, ${hour.calls} background calls, an hour of virtual time`,
            `${number(hour.seconds)} s`
          ],
          ["heap of a session: new", `${number(idle.fresh / 1024)} KiB`],
          ["after a turn with one call", `${number(idle.used / 1024)} KiB`]
        ]
      )}\n`
    )
  }
  const lines = goals(results).map(({ found, limit, text }) => [
    text,
    `≤ ${limit}`,
    found.map(number).join(", alone "),
    found.length > 0 && found.every((value) => value <= limit)
      ? "yes"
      : found.some((value) => value <= limit)
        ? "in part"
        : "no"
  ])
  out.push(`### Goals\n\n${table(["", "goal", "found", "holds"], lines)}\n`)
  return out.join("\n")
}

export { median }
