/**
 * What it costs that a session survives: the same work in a session that is not durable, and in durable ones on each storage,
 * in rounds; how much is stored; and how long 1,000 sessions take to come back.
 *
 *     npm run bench:durable              writes DURABLE.md
 *     npm run bench:durable -- --quick   too short to be believed; nothing is written
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { cpus, loadavg, tmpdir } from "node:os"
import { join } from "node:path"
import { LanguageModel, Toolkit } from "@effect/ai"
import { PgClient } from "@effect/sql-pg"
import { Context, Effect, Exit, Layer, Logger, Redacted, Schema, Scope, Stream } from "effect"
import { Agent, AgentSession, AsyncTool, RunContext, SessionModel, SessionStorage } from "effect-meantime"
import { SqlSessionStorage } from "effect-meantime/sql"
import { SqliteSessionStorage } from "effect-meantime/sqlite"
import { type Cluster, makeCluster } from "../../test/postgres/cluster.js"
import * as work from "./work.js"

const quick = process.argv.includes("--quick")
const rounds = quick ? 2 : 9
const turns = quick ? 5 : 20
const many = quick ? 50 : 1_000
const inHandler = quick ? 10 : 100

// ---------------------------------------------------------------------------------------------------------- the sessions

const shape = { parameters: { n: Schema.Number }, success: Schema.Number } as const
const kit = Toolkit.make(
  AsyncTool.make("work", shape),
  AsyncTool.make("update", shape),
  AsyncTool.make("step", shape),
  AsyncTool.make("wait", { ...shape, onRestart: "rerun" })
)

let waiting = 0
let waitsFor: (() => void) | undefined
/** Told what a handler has measured. */
let told: (spent: Spent) => void = () => {}

/** Time in ms, and CPU time in µs. */
interface Spent {
  readonly wall: number
  readonly cpu: number
}

const spent = <A, E, R>(effect: Effect.Effect<A, E, R>, units: number): Effect.Effect<Spent, E, R> =>
  Effect.suspend(() => {
    const cpu = process.cpuUsage()
    const start = performance.now()
    return Effect.map(effect, (): Spent => {
      const wall = (performance.now() - start) / units
      const { system, user } = process.cpuUsage(cpu)
      return { wall, cpu: (system + user) / units }
    })
  })

const times = <E, R>(count: number, effect: (i: number) => Effect.Effect<unknown, E, R>) =>
  Effect.forEach(
    Array.from({ length: count }, (_, i) => i),
    effect,
    { discard: true }
  )

const measured = <E, R>(effect: (i: number) => Effect.Effect<unknown, E, R>) =>
  Effect.map(spent(times(inHandler, effect), inHandler), (time) => {
    told(time)
    return 1
  })

const handlers = kit.toLayer({
  work: ({ n }) => Effect.succeed(n + 1),
  update: () =>
    Effect.zipRight(
      RunContext.update("at it"),
      measured((i) => RunContext.update({ i }))
    ),
  step: () => measured((i) => RunContext.step("step", Effect.succeed({ i, text: work.answer }))),
  wait: () =>
    Effect.zipRight(
      RunContext.update("at it"),
      Effect.async<number>(() => {
        waiting++
        waitsFor?.()
      })
    )
})

let ids = 0
/** The tool that the user's words name is called once; else six words. */
const script: SessionModel.Service = {
  stream: () => Stream.dieMessage("not used"),
  run: ({ prompt }, onParts) =>
    Effect.sync(() => {
      const last = prompt.content.at(-1)
      const text = last?.role === "user" && last.content[0]?.type === "text" ? last.content[0].text : ""
      if (["work", "update", "step", "wait"].includes(text)) {
        onParts([
          { type: "tool-call", id: `call_${++ids}`, name: text, params: { n: 1 } },
          { type: "finish", reason: "tool-calls", usage: { inputTokens: 1, outputTokens: 1, totalTokens: 2 } }
        ])
        return
      }
      onParts([
        { type: "text-start", id: "t" },
        ...work.words.map((delta) => ({ type: "text-delta" as const, id: "t", delta })),
        { type: "text-end", id: "t" },
        { type: "finish", reason: "stop", usage: { inputTokens: 1, outputTokens: 1, totalTokens: 2 } }
      ])
    })
}

const agent = Agent.make("worker", { instructions: work.instructions, tools: [kit] })
const common = Layer.mergeAll(
  handlers,
  Layer.succeed(LanguageModel.LanguageModel, {} as LanguageModel.Service),
  Layer.succeed(SessionModel.SessionModel, script),
  Logger.replace(Logger.defaultLogger, Logger.none)
)

const say = (session: AgentSession.Service, text: string) =>
  Effect.flatMap(session.send(text), (speech) => Effect.orDie(speech.wait))

let sessions = 0

/** One kind of session: durable on a storage, or not at all. */
interface Kind {
  readonly name: string
  readonly storage: SessionStorage.Service | undefined
}

const made = ({ storage }: Kind, id = `s${++sessions}`) =>
  storage === undefined
    ? AgentSession.make({ agent, maxPendingUpdates: 1_000 })
    : Effect.provideService(
        AgentSession.make({ id, agent, maxPendingUpdates: 1_000 }),
        SessionStorage.SessionStorage,
        storage
      )

// ------------------------------------------------------------------------------------------------------------ the rows

type Needs = Layer.Layer.Success<typeof common>

type Measure = (kind: Kind) => Effect.Effect<Spent, unknown, Needs>

const conversation = (text: string, count: number) => (kind: Kind) =>
  Effect.scoped(
    Effect.gen(function* () {
      const session = yield* made(kind)
      // what it costs to open one is not part of it
      yield* say(session, text)
      return yield* spent(
        times(count, () => say(session, text)),
        count
      )
    })
  )

const withHandler = (text: string) => (kind: Kind) =>
  Effect.scoped(
    Effect.gen(function* () {
      const session = yield* made(kind)
      const result = new Promise<Spent>((resolve) => {
        told = resolve
      })
      const speech = yield* session.send(text)
      // the user speaks, so that no reply is part of it
      return yield* Effect.scoped(
        Effect.zipRight(
          Effect.zipRight(Effect.orDie(speech.wait), session.claimUserTurn),
          Effect.promise(() => result)
        )
      )
    })
  )

const atOnce = (count: number) => (kind: Kind) =>
  Effect.scoped(
    Effect.gen(function* () {
      const all = yield* Effect.forEach(Array.from({ length: count }), () => made(kind), { concurrency: "unbounded" })
      const perSession = 3
      return yield* spent(
        Effect.forEach(all, (session) => times(perSession, () => say(session, "work")), {
          concurrency: "unbounded",
          discard: true
        }),
        count * perSession
      )
    })
  )

const measures: Record<string, Measure> = {
  "a turn": conversation("hello", turns),
  "a turn with a call": conversation("work", turns),
  "an update": withHandler("update"),
  "a step": withHandler("step"),
  "a turn with a call, 100 sessions at once": atOnce(100)
}

// ---------------------------------------------------------------------------------------------------------- what is kept

interface Kept {
  readonly writes: number
  readonly rows: number
  readonly bytes: number
  readonly written: number
}

/** Of a conversation with so many turns: what a turn writes, and what is left of it. */
const kept = (text: string, count: number): Effect.Effect<Kept, unknown, Needs> =>
  Effect.gen(function* () {
    const storage = yield* Effect.provide(SessionStorage.SessionStorage, SessionStorage.layerMemory)
    let writes = 0
    let written = 0
    const counted: SessionStorage.Service = {
      ...storage,
      write: (id, epoch, rows, open) => {
        writes++
        for (const row of rows) written += JSON.stringify(row).length
        return storage.write(id, epoch, rows, open)
      }
    }
    yield* Effect.scoped(
      Effect.gen(function* () {
        const session = yield* made({ name: "", storage: counted }, "kept")
        for (let i = 0; i < count; i++) yield* say(session, text)
        yield* session.waitForIdle
      })
    )
    const { rows } = yield* storage.open("kept")
    const bytes = rows.reduce((sum, row) => sum + JSON.stringify(row).length, 0)
    return { writes, written, rows: rows.length, bytes }
  })

/** So many sessions, each with a call at work, are left and come back: until all handlers run again. */
const recovery = (kind: Kind & { readonly storage: SessionStorage.Service }): Effect.Effect<Spent, unknown, Needs> =>
  Effect.gen(function* () {
    const opened = (id: string) => Effect.andThen(made(kind, id), (session) => session)
    const name = `back${++sessions}-`
    const first = yield* Scope.make()
    yield* Effect.forEach(
      Array.from({ length: many }, (_, i) => `${name}${i}`),
      (id) => Effect.flatMap(opened(id), (session) => say(session, "wait")),
      { concurrency: 50, discard: true }
    ).pipe(Scope.extend(first))
    yield* Scope.close(first, Exit.void)
    waiting = 0
    const second = yield* Scope.make()
    const all = Effect.async<void>((resume) => {
      waitsFor = () => {
        if (waiting === many) resume(Effect.void)
      }
    })
    const time = yield* spent(
      Effect.zipRight(
        SessionStorage.recover((id) => (id.startsWith(name) ? Scope.extend(opened(id), second) : Effect.void), {
          concurrency: 50
        }),
        Effect.suspend(() => (waiting === many ? Effect.void : all))
      ),
      1
    )
    yield* Scope.close(second, Exit.void)
    return time
  }).pipe(Effect.provideService(SessionStorage.SessionStorage, kind.storage))

// ------------------------------------------------------------------------------------------------------------- all of it

const median = (values: ReadonlyArray<number>): number =>
  values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN
const ms = (millis: number): string =>
  millis < 0.1 ? millis.toFixed(3) : millis < 10 ? millis.toFixed(2) : millis.toFixed(0)

const main = (cluster: Cluster, folder: string) =>
  Effect.gen(function* () {
    const scope = yield* Effect.scope
    const storageOf = (layer: Layer.Layer<SessionStorage.SessionStorage, unknown>) =>
      Effect.map(Layer.buildWithScope(layer, scope), Context.get(SessionStorage.SessionStorage))
    const kinds: ReadonlyArray<Kind> = [
      { name: "not durable", storage: undefined },
      { name: "memory", storage: yield* storageOf(SessionStorage.layerMemory) },
      ...(yield* Effect.forEach(["normal", "full"] as const, (synchronous) =>
        Effect.map(
          storageOf(SqliteSessionStorage.layer({ file: join(folder, `${synchronous}.db`), synchronous })),
          (storage) => ({ name: `SQLite, ${synchronous}`, storage })
        )
      )),
      {
        name: "PostgreSQL",
        storage: yield* storageOf(
          Layer.provide(SqlSessionStorage.layer(), PgClient.layer({ url: Redacted.make(cluster.url) }))
        )
      }
    ]
    const lines: Array<string> = []
    const print = (line: string) => {
      lines.push(line)
      console.log(line)
    }
    print(`| ms that passed, in the fastest round (ms of CPU) | ${kinds.map(({ name }) => name).join(" | ")} |`)
    print(`| --- | ${kinds.map(() => "---").join(" | ")} |`)
    for (const [name, measure] of Object.entries(measures)) {
      const samples = kinds.map((): Array<Spent> => [])
      // the first round warms up
      for (let round = 0; round <= rounds; round++) {
        for (const [i, kind] of kinds.entries()) {
          const sample = yield* measure(kind)
          if (round > 0) samples[i]?.push(sample)
        }
      }
      const cells = samples.map((all) => {
        const [walls, cpus] = [all.map(({ wall }) => wall), all.map(({ cpu }) => cpu / 1_000)]
        return `${ms(median(walls))}, ${ms(Math.min(...walls))} (${ms(median(cpus))})`
      })
      print(`| ${name} | ${cells.join(" | ")} |`)
    }
    const cells: Array<string> = []
    for (const { name, storage } of kinds) {
      if (storage === undefined) {
        cells.push("–")
        continue
      }
      const { cpu, wall } = yield* recovery({ name, storage })
      cells.push(`${ms(wall)} (${ms(cpu / 1_000)})`)
    }
    print(`| ${many} sessions with a call at work are back | ${cells.join(" | ")} |`)
    print("")
    print("| 100 turns | writes a turn | bytes written a turn | rows that are left | bytes that are left |")
    print("| --- | --- | --- | --- | --- |")
    for (const [name, text] of [
      ["without a call", "hello"],
      ["with a call", "work"]
    ] as const) {
      const { bytes, rows, writes, written } = yield* kept(text, 100)
      print(`| ${name} | ${(writes / 100).toFixed(1)} | ${Math.round(written / 100)} | ${rows} | ${bytes} |`)
    }
    return lines
  })

const versionOf = (name: string): string =>
  JSON.parse(readFileSync(new URL(`../../node_modules/${name}/package.json`, import.meta.url), "utf8")).version

const head = () => `# What it costs to survive

Written by \`npm run bench:durable\`, [README.md](README.md) says how it is measured. Do not edit it.

${new Date().toISOString().slice(0, 10)}, ${cpus().length} × ${cpus()[0]?.model.trim()}, Node ${process.versions.node}, effect ${versionOf("effect")},
@effect/sql-libsql ${versionOf("@effect/sql-libsql")}, @effect/sql-pg ${versionOf("@effect/sql-pg")}. Median of ${rounds} rounds.
Load of the machine at the end: ${loadavg()[1]?.toFixed(1)}; above ${cpus().length}, the time that passed is mostly that of others.

`

const folder = mkdtempSync(join(process.env.BENCH_FOLDER ?? tmpdir(), "effect-meantime-bench-"))
const cluster = await makeCluster({ safe: true })
try {
  const lines = await main(cluster, folder).pipe(Effect.scoped, Effect.provide(common), (effect) =>
    Effect.runPromise(effect as Effect.Effect<ReadonlyArray<string>, unknown>)
  )
  if (!quick) writeFileSync(new URL("../DURABLE.md", import.meta.url), `${head()}${lines.join("\n")}\n`)
} finally {
  cluster.remove()
  rmSync(folder, { recursive: true, force: true })
}
