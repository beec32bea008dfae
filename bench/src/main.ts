/**
 * Measures everything: each job in a process of its own, the table and the figures written after each row.
 *
 *     npm run bench                     all of it
 *     npm run bench -- --only turn      one row (see `rows` below), nothing is written
 *     npm run bench -- --again cancel   one row, which takes the place of the one in results.json
 *     npm run bench -- --quick          all rows, too short to be believed; nothing is written
 */
import { spawn } from "node:child_process"
import { readFileSync, writeFileSync } from "node:fs"
import { createRequire } from "node:module"
import { cpus } from "node:os"
import { fileURLToPath } from "node:url"
import { contestants } from "./contestants/index.js"
import type { Job } from "./jobs.js"
import * as report from "./report.js"

const argument = (name: string): string | undefined => {
  const i = process.argv.indexOf(name)
  return i < 0 ? undefined : process.argv[i + 1]
}
const quick = process.argv.includes("--quick")
const again = argument("--again")?.split(",")
const only = argument("--only")?.split(",") ?? again
const kept = new URL("../results.json", import.meta.url)

const rounds = quick ? { warmUp: 300, rounds: 3, slice: 50 } : { warmUp: 2_000, rounds: 7, slice: 100 }

/** A job that takes longer than this for each contestant has no figure in the table: it does not hold up the others. */
const patience = 90_000

const perform = (job: Job, flags: ReadonlyArray<string> = []): Promise<any> =>
  new Promise((resolve, reject) => {
    const contestants = "contestants" in job ? job.contestants.length : 1
    const script = fileURLToPath(new URL("./child.js", import.meta.url))
    const child = spawn(process.execPath, ["--max-old-space-size=6144", ...flags, script, JSON.stringify(job)], {
      stdio: ["ignore", "ignore", "pipe", "pipe"],
      env: { ...process.env, NODE_ENV: "production" }
    })
    const timer = setTimeout(() => {
      console.error(`given up: ${JSON.stringify(job)}`)
      child.kill("SIGKILL")
      resolve([])
    }, patience * contestants)
    let answer = ""
    let errors = ""
    child.stdio[3]?.on("data", (data) => {
      answer += data
    })
    child.stderr?.on("data", (data) => {
      errors = `${errors}${data}`.slice(-4_000)
    })
    child.on("close", (code) => {
      clearTimeout(timer)
      if (code === 0 && answer !== "") resolve(JSON.parse(answer))
      else reject(new Error(`${JSON.stringify(job)} ended with ${code}: ${errors}`))
    })
  })

const all = Object.keys(contestants)
const flying = [
  "promises",
  "effect",
  "effect-ai-generate",
  "effect-ai-stream",
  "ai-sdk-generate",
  "ai-sdk-stream",
  "livekit",
  "langgraph",
  "mastra",
  "meantime-seam",
  "meantime-background"
]
// the same session; only its calls in flight differ
const turning = all.filter((id) => id !== "meantime-background")

const together = async (work: { turns: number; calls: ReadonlyArray<number>; per: "turn" | "call" }) => ({
  together: await perform({ _tag: "Turns", contestants: turning, ...work, ...rounds }),
  alone: await eachAlone(turning, (id) => ({ _tag: "Turns", contestants: [id], ...work, ...rounds }))
})

const eachAlone = async (ids: ReadonlyArray<string>, job: (id: string) => Job, flags?: ReadonlyArray<string>) => {
  const found: Array<any> = []
  for (const id of ids) found.push(await perform(job(id), flags))
  return found.flat()
}

/** Those that got so many calls into flight when their heap was measured: the others would be waited for three times. */
const airborne = (): ReadonlyArray<string> => flying.filter((id) => !results.grounded.includes(id))

const cancel = (ids: ReadonlyArray<string>, handlers: "listening" | "deaf", calls: number): Job => ({
  _tag: "Cancel",
  contestants: ids,
  handlers,
  calls,
  warmUp: handlers === "listening" && !quick ? 3 : 0,
  rounds: handlers === "listening" && !quick ? 5 : 1,
  limit: 8_000
})

const rows: Record<string, () => Promise<unknown>> = {
  turn: () => together({ turns: 10, calls: [1], per: "turn" }),
  first: async () => ({
    together: await perform({ _tag: "Turns", contestants: turning, turns: 1, calls: [1], per: "turn", ...rounds }),
    alone: []
  }),
  memory: () =>
    eachAlone(
      turning,
      (id) => ({ _tag: "Allocated", contestants: [id], turns: 10, calls: [1], per: "turn", warmUp: rounds.warmUp / 2 }),
      ["--max-semi-space-size=512", "--min-semi-space-size=512"]
    ),
  calls: () => together({ turns: 1, calls: [100], per: "call" }),
  steps: () =>
    perform({ _tag: "Turns", contestants: ["meantime-seam"], turns: 1, calls: [100, 1_000], per: "call", ...rounds }),
  heap: async () => {
    const found = await eachAlone(flying, (id) => ({ _tag: "Heap", contestant: id, calls: 10_000 }), ["--expose-gc"])
    results.grounded = flying.filter((id) => !found.some(({ contestant }) => contestant === id))
    return found
  },
  cancel: async () => ({
    // a watchdog ends LiveKit's session after five seconds, in each round: alone only, and a few times
    together: await perform(
      cancel(
        airborne().filter((id) => id !== "livekit"),
        "listening",
        10_000
      )
    ),
    alone: await eachAlone(airborne(), (id) => ({
      ...cancel([id], "listening", 10_000),
      ...(id === "livekit" ? { warmUp: 0, rounds: 3 } : {})
    }))
  }),
  deaf: () => eachAlone(airborne(), (id) => cancel([id], "deaf", 10_000)),
  arguments: () => perform({ _tag: "Arguments", ...rounds }),
  updates: () => perform({ _tag: "Updates" }),
  ended: () => perform({ _tag: "Ended", calls: quick ? 10_000 : 100_000, rounds: rounds.rounds }),
  sessions: async () => ({
    hour: await perform({ _tag: "Sessions", sessions: 1_000 }),
    idle: await perform({ _tag: "IdleHeap", sessions: 1_000 }, ["--expose-gc"])
  })
}

const versionsOf = (names: Iterable<string>): Record<string, string> => {
  const require = createRequire(import.meta.url)
  const found: Record<string, string> = {}
  for (const name of names) {
    const own = name === "effect-meantime" ? fileURLToPath(new URL("../../package.json", import.meta.url)) : undefined
    for (const path of own
      ? [own]
      : (require.resolve.paths(name) ?? []).map((folder) => `${folder}/${name}/package.json`)) {
      try {
        found[name] = JSON.parse(readFileSync(path, "utf8")).version
        break
      } catch {
        // not in this folder
      }
    }
  }
  return found
}

const packages = new Set(["effect-meantime", "effect", "@effect/ai", "ai", "zod", "@openai/agents", "@livekit/agents"])
for (const name of ["@langchain/langgraph", "@langchain/core", "@mastra/core"]) packages.add(name)

const today = new Date().toISOString().slice(0, 10)
const results: Record<string, any> = {
  date: today,
  machine: `${cpus().length} cores (${cpus()[0]?.model.trim()}), ${process.platform}, Node ${process.versions.node}`,
  versions: versionsOf(packages),
  quick,
  minutes: 0,
  grounded: [],
  rows: {}
}

// A row is complete in itself: it compares what ran side by side. But it stands beside others of the same machine and
// versions only.
if (again !== undefined) {
  const before = JSON.parse(readFileSync(kept, "utf8"))
  for (const what of ["machine", "versions"]) {
    if (JSON.stringify(before[what]) !== JSON.stringify(results[what])) throw new Error(`another ${what}: run all rows`)
  }
  results.rows = before.rows
  results.minutes = before.minutes
  results.grounded = before.grounded ?? []
}

for (const [name, row] of Object.entries(rows)) {
  if (only !== undefined && !only.includes(name)) continue
  const start = performance.now()
  results.rows[name] = await row()
  const took = performance.now() - start
  console.error(`${name}: ${(took / 1_000).toFixed(0)} s`)
  if (again === undefined) results.minutes = Math.round(results.minutes * 10 + took / 6_000) / 10
  if (quick || (only !== undefined && again === undefined)) continue
  writeFileSync(kept, `${JSON.stringify(results, null, 1)}\n`)
  if (Object.keys(results.rows).length === Object.keys(rows).length) {
    writeFileSync(new URL("../RESULTS.md", import.meta.url), report.markdown(results as report.Results))
  }
}

console.log(report.markdown(results as report.Results))
