/**
 * This checkout beside another one, for a change that is to make nothing slower: the same jobs, a process for each, in
 * turn, so that what disturbs the machine disturbs both. A ratio below 1 says that this one is faster, or leaner.
 *
 *     npm run against -- /path/to/other/bench/dist [--rounds 5] [--only turn,cancel]
 *
 * The other checkout is built with `node build.mjs` in its folder `bench`.
 */
import { spawn } from "node:child_process"
import { resolve } from "node:path"
import { fileURLToPath } from "node:url"
import type { Job } from "./jobs.js"

const [other] = process.argv.slice(2)
if (other === undefined) throw new Error("which other checkout? give the path of its bench/dist")
const argument = (name: string): string | undefined => process.argv[process.argv.indexOf(name) + 1]
const rounds = process.argv.includes("--rounds") ? Number(argument("--rounds")) : 5
const only = process.argv.includes("--only") ? argument("--only")?.split(",") : undefined

const perform = (folder: string, job: Job, flags: ReadonlyArray<string>): Promise<any> =>
  new Promise((done, reject) => {
    const child = spawn(
      process.execPath,
      ["--max-old-space-size=6144", ...flags, `${folder}/child.js`, JSON.stringify(job)],
      { stdio: ["ignore", "ignore", "inherit", "pipe"], env: { ...process.env, NODE_ENV: "production" } }
    )
    let answer = ""
    child.stdio[3]?.on("data", (data) => {
      answer += data
    })
    child.on("close", (code) => (code === 0 ? done(JSON.parse(answer)) : reject(new Error(`ended with ${code}`))))
  })

const median = (values: ReadonlyArray<number>): number => {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN
}

interface Row {
  readonly job: Job
  /** one number of what the job answers */
  readonly read: (answer: any) => number
  readonly flags?: ReadonlyArray<string>
}

const timed = { warmUp: 2_000, rounds: 7, slice: 100 }

/** The median of the samples of the first contestant. */
const cpu = (answer: any): number => {
  const { samples } = Array.isArray(answer) ? answer[0] : answer
  return median(samples.map((sample: any) => sample.cpu ?? sample.wall ?? sample))
}

const turn = (id: string): Row => ({
  job: { _tag: "Turns", contestants: [id], turns: 10, calls: [1], per: "turn", ...timed },
  read: cpu
})

const rows: Record<string, Row> = {
  "turn, seam": turn("meantime-seam"),
  "turn, LanguageModel": turn("meantime-language-model"),
  "turn, AI SDK generate": turn("meantime-sdk-generate"),
  "turn, AI SDK stream": turn("meantime-sdk-stream"),
  "100 calls": {
    job: { _tag: "Turns", contestants: ["meantime-seam"], turns: 1, calls: [100], per: "call", ...timed },
    read: cpu
  },
  "cancel 10,000": {
    job: {
      _tag: "Cancel",
      contestants: ["meantime-seam"],
      handlers: "listening",
      calls: 10_000,
      warmUp: 3,
      rounds: 5,
      limit: 8_000
    },
    read: cpu
  },
  "heap in flight": {
    job: { _tag: "Heap", contestant: "meantime-seam", calls: 10_000 },
    read: (answer) => Number((Array.isArray(answer) ? answer[0] : answer).bytes ?? Number.NaN),
    flags: ["--expose-gc"]
  },
  "idle session": {
    job: { _tag: "IdleHeap", sessions: 1_000 },
    read: (answer) => Number(answer.used),
    flags: ["--expose-gc"]
  },
  "hour of 1,000 sessions": { job: { _tag: "Sessions", sessions: 1_000 }, read: (answer) => Number(answer.cpuSeconds) }
}

const here = fileURLToPath(new URL(".", import.meta.url))
console.log("| row | this | other | ratio (min–max) |\n| --- | ---: | ---: | ---: |")
for (const [name, { flags = [], job, read }] of Object.entries(rows)) {
  if (only !== undefined && !only.some((part) => name.includes(part))) continue
  const found: Array<readonly [number, number]> = []
  for (let i = 0; i < rounds; i++) {
    const first = i % 2 === 0
    const a = read(await perform(first ? here : resolve(other), job, flags))
    const b = read(await perform(first ? resolve(other) : here, job, flags))
    found.push(first ? [a, b] : [b, a])
  }
  const ratios = found.map(([mine, theirs]) => mine / theirs)
  const [mine, theirs] = [0, 1].map((i) => median(found.map((pair) => pair[i] as number)))
  const range = `${Math.min(...ratios).toFixed(2)}–${Math.max(...ratios).toFixed(2)}`
  console.log(
    `| ${name} | ${mine?.toPrecision(4)} | ${theirs?.toPrecision(4)} | ${median(ratios).toFixed(2)} (${range}) |`
  )
}
