/**
 * A day of conversation with 100,000 calls in virtual time, and other long ones: what a session retains does not grow.
 * For each, the heap at its end must be within 10 % of a sum: the heap after its first hundredth, and the history (its
 * items, and the ids of its calls); how many bytes for each call it is above the sum is shown. And no fiber of the
 * session may be alive when it rests, nor after it has closed. The exit code says whether that holds.
 *
 *     npm run soak [-- name [scale]]
 *
 * Each conversation runs in a process of its own: the heap of one says nothing about another. `scale` is a factor on
 * its length (0.01: a hundredth).
 */
import { spawnSync } from "node:child_process"
import { fileURLToPath } from "node:url"
import { Effect, Fiber } from "effect"
import type { ChatContext } from "effect-meantime"
import { VirtualClock } from "effect-meantime/testing"
import { listen, listenSlowly, type Name, open, roundOf } from "./programs.js"

interface Plan {
  readonly round: Name
  /** calls, or rounds for what is not about calls */
  readonly length: number
  readonly listener?: "fast" | "slow"
}

const plans: Record<string, Plan> = {
  day: { round: "day", length: 100_000, listener: "fast" },
  "day, nobody listens": { round: "day", length: 20_000 },
  "day, a slow listener": { round: "day", length: 20_000, listener: "slow" },
  calls: { round: "calls", length: 100_000 },
  updates: { round: "updates", length: 100, listener: "fast" },
  cancelled: { round: "cancelled", length: 20_000 },
  "timed out": { round: "timed out", length: 20_000 },
  tasks: { round: "tasks", length: 5_000 },
  fillers: { round: "fillers", length: 10_000 },
  "acting replies": { round: "acting replies", length: 5_000 },
  "interrupted turns": { round: "interrupted turns", length: 10_000 },
  "hand-offs": { round: "hand-offs", length: 10_000 }
}

const heap = (): number => {
  for (let i = 0; i < 4; i++) globalThis.gc?.()
  return process.memoryUsage().heapUsed
}

const mb = (bytes: number): string => (bytes / 2 ** 20).toFixed(1)

const say = (name: string, cells: ReadonlyArray<string>) =>
  console.log([name.padEnd(22), ...cells.map((cell) => cell.padStart(12))].join(""))

const breathe = Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))

const verdict = (
  name: string,
  units: number,
  items: number,
  first: number,
  last: number,
  history: number,
  fibers: number
) =>
  Effect.sync(() => {
    const limit = (first + history) * 1.1
    const sound = last <= limit && fibers === 0
    const more = ((last - first - history) / units).toFixed(0)
    const cells = [String(units), String(items), mb(first), mb(history), mb(last), mb(limit), more, String(fibers)]
    say(name, [...cells, sound ? "ok" : "TOO MUCH"])
    if (!sound) process.exitCode = 1
  })

/** One conversation. */
const converse = (plan: Plan, scale: number) =>
  Effect.gen(function* () {
    const length = Math.max(100, Math.round(plan.length * scale))
    const { alive, close, session } = yield* open()
    const listener =
      plan.listener === undefined
        ? undefined
        : yield* plan.listener === "fast" ? listen(session) : listenSlowly(session)
    const round = roundOf(plan.round)
    let units = 0
    let rounds = 0
    const until = (goal: number) =>
      Effect.whileLoop({
        while: () => units < goal,
        body: () => round(session, rounds++),
        step: (made) => {
          units += made
        }
      })
    yield* until(length / 100)
    yield* VirtualClock.advance("1 minute")
    yield* breathe
    const first = heap()
    yield* until(length)
    yield* VirtualClock.advance("1 minute")
    yield* breathe
    const last = heap()
    const fibers = alive.fibers.size
    for (const item of (yield* session.history).items) {
      kept.items.push(item)
      if ("callId" in item) kept.ids.set(item.callId, "call")
    }
    yield* close
    if (listener !== undefined) yield* Fiber.interrupt(listener)
    yield* breathe
    return { units, first, last, fibers: fibers + alive.fibers.size }
  })

/**
 * The history, behind a reference of its own: it lives on, and the session does not. The ids of its calls are a part of
 * it: a call id is never given twice.
 */
const kept: { items: Array<ChatContext.ChatItem>; ids: Map<string, string> } = { items: [], ids: new Map() }

const measure = (name: string, plan: Plan, scale: number) =>
  Effect.gen(function* () {
    const { fibers, first, last, units } = yield* converse(plan, scale)
    yield* breathe
    const closed = heap()
    const count = kept.items.length
    kept.items = []
    kept.ids = new Map()
    yield* breathe
    yield* verdict(name, units, count, first, last, closed - heap(), fibers)
  })

/** Many sessions, one after another. */
const sessions = (scale: number) =>
  Effect.gen(function* () {
    const length = Math.max(100, Math.round(1_000 * scale))
    let fibers = 0
    const one = Effect.gen(function* () {
      const { alive, close, session } = yield* open()
      const listener = yield* listen(session)
      yield* roundOf("day")(session, 0)
      // and some are closed in the middle of it all
      yield* Effect.ignore(session.send("call slow reporting forever"))
      yield* close
      yield* Fiber.join(listener)
      fibers += alive.fibers.size
    })
    yield* Effect.repeatN(one, Math.ceil(length / 10) - 1)
    yield* breathe
    const first = heap()
    yield* Effect.repeatN(one, length - 1)
    yield* breathe
    yield* verdict("sessions", length, 0, first, heap(), 0, fibers)
  })

const [wanted, scale] = process.argv.slice(2)

if (wanted === undefined || /^[\d.]+$/.test(wanted)) {
  say("", ["calls", "items", "first MB", "history MB", "last MB", "limit MB", "more B", "fibers", ""])
  for (const name of [...Object.keys(plans), "sessions"]) {
    const script = fileURLToPath(import.meta.url)
    const { status } = spawnSync(process.execPath, [...process.execArgv, script, name, wanted ?? "1"], {
      stdio: "inherit"
    })
    if (status !== 0) process.exitCode = 1
  }
} else {
  const plan = plans[wanted]
  const factor = Number(scale ?? 1)
  const program =
    wanted === "sessions"
      ? sessions(factor)
      : plan === undefined
        ? Effect.dieMessage(`there is no "${wanted}"; there are: ${Object.keys(plans).join(", ")}, sessions`)
        : measure(wanted, plan, factor)
  await Effect.runPromise(program.pipe(Effect.provide(VirtualClock.layer())) as Effect.Effect<void>)
}
