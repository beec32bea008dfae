/**
 * Kills processes with SIGKILL, again and again, at random moments, and looks at what they leave.
 *
 *     npm run test:kill                  # some kills
 *     npm run test:kill -- --kills 1000 --seed 7
 */
import { type ChildProcess, spawn } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { fileURLToPath } from "node:url"
import { check, type Deed } from "./deeds.js"
import { type Line, problemsOf } from "./lines.js"

const argument = (name: string, otherwise: number): number => {
  const at = process.argv.indexOf(name)
  return at < 0 ? otherwise : Number(process.argv[at + 1])
}
const kills = argument("--kills", 24)
const seed = argument("--seed", Date.now() % 1_000_000)

let state = seed
/** between 0 and 1 */
const random = (): number => {
  state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
  return state / 2 ** 32
}

const folder = mkdtempSync(join(tmpdir(), "effect-meantime-kill-"))
const children = new Set<ChildProcess>()

const start = (program: string, ...args: ReadonlyArray<string>): ChildProcess => {
  const script = fileURLToPath(new URL(`./${program}.mjs`, import.meta.url))
  const child = spawn(process.execPath, [script, ...args], { stdio: ["ignore", "inherit", "inherit"] })
  children.add(child)
  child.on("exit", () => children.delete(child))
  return child
}

const kill = (child: ChildProcess): Promise<void> =>
  new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) return resolve()
    child.on("exit", () => resolve())
    child.kill("SIGKILL")
  })

const linesOf = <A>(file: string): ReadonlyArray<A> =>
  readFileSync(file, "utf8")
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as A)

// --------------------------------------------------------------------------------------- several owners of one session

const race = async (count: number): Promise<void> => {
  const [file, log] = [join(folder, "race.db"), join(folder, "race.log")]
  writeFileSync(log, "")
  let names = 0
  const begin = () => {
    const name = `racer${++names}`
    return { name, child: start("racer", file, log, name) }
  }
  const racers = [begin(), begin(), begin()]
  for (let i = 0; i < count; i++) {
    const at = Math.floor(random() * racers.length)
    const { child, name } = racers[at] as ReturnType<typeof begin>
    // one that has not begun has nothing to lose
    while (!readFileSync(log, "utf8").includes(name)) {
      if (child.exitCode !== null) throw new Error(`${name} ended by itself`)
      await sleep(20)
    }
    await sleep(random() * 500)
    await kill(child)
    racers[at] = begin()
  }
  await Promise.all(racers.map(({ child }) => kill(child)))
  const lines = linesOf<Line>(log)
  const problems = problemsOf(lines)
  const many = (tag: Line["_tag"]) => lines.filter(({ _tag }) => _tag === tag).length
  console.log(
    `race: ${count} kills, ${many("Opened")} takeovers, ${many("Wrote")} writes, ${many("Writes") - many("Wrote") - many("Failed")} refused or cut off, ${many("Failed")} failed`
  )
  for (const line of lines.filter(({ _tag }) => _tag === "Failed").slice(0, 3)) console.log(JSON.stringify(line))
  if (problems.length > 0) throw new Error(`seed ${seed}:\n${problems.slice(0, 10).join("\n")}`)
  if (many("Opened") < count || many("Wrote") === 0) throw new Error("hardly anything happened")
}

// -------------------------------------------------------------------------------------------------- durable sessions

const sessions = async (count: number): Promise<void> => {
  const [file, log, stop, out] = ["sessions.db", "sessions.log", "stop", "histories.json"].map((name) =>
    join(folder, name)
  ) as [string, string, string, string]
  writeFileSync(log, "")
  for (let life = 1; life <= count; life++) {
    const child = start("program", file, log, stop, out, `life${life}`)
    while (!readFileSync(log, "utf8").includes(`"life${life}"`)) {
      if (child.exitCode !== null) throw new Error("a life ended by itself")
      await sleep(20)
    }
    await sleep(random() * 1500)
    await kill(child)
  }
  writeFileSync(stop, "")
  const last = start("program", file, log, stop, out, "last")
  const code = await new Promise((resolve) => last.on("exit", resolve))
  if (code !== 0) throw new Error(`the last life ended with ${code}`)
  const deeds = linesOf<Deed>(log)
  const { problems, sums } = check(deeds, JSON.parse(readFileSync(out, "utf8")))
  console.log(
    `sessions: ${count} kills, ${sums.turns} turns, ${sums.again} calls with something done again, ${sums.unknown} of unknown outcome`
  )
  if (problems.length > 0) throw new Error(`seed ${seed}:\n${problems.slice(0, 20).join("\n")}`)
}

try {
  console.log(`seed ${seed}`)
  if (!process.argv.includes("--no-race")) await race(Math.ceil(kills / 2))
  await sessions(Math.ceil(kills / 2))
} finally {
  await Promise.all(Array.from(children, kill))
  if (process.argv.includes("--keep")) console.log(folder)
  else rmSync(folder, { recursive: true, force: true })
}
