/**
 * Runs random programs for long: `npm run simulate -- --steps 1000000 --seed N`. Each program has a seed of its own,
 * counted up from the one that is given; on a violation it is printed with a smaller program that shows the same.
 * `--program N` runs that one program and prints all that happens.
 */
import { parseArgs } from "node:util"
import * as Program from "./program.js"
import { smaller } from "./smaller.js"
import { run } from "./world.js"

const { values } = parseArgs({
  options: {
    steps: { type: "string", default: "100000" },
    seed: { type: "string", default: "1" },
    program: { type: "string" },
    lines: { type: "string", default: "80" },
    continue: { type: "boolean", default: false },
    quiet: { type: "boolean", default: false }
  }
})

const report = async (program: Program.Program, message: string) => {
  console.log(`\nseed ${program.seed}: ${message}`)
  const small = await smaller(program)
  const { trace, violation } = await run(small, { record: true })
  const shown = trace.slice(-Number(values.lines))
  console.log(`\n${small.actions.length} of ${program.actions.length} actions show it: ${violation?.message}`)
  console.log(JSON.stringify({ ...small.config, tools: undefined }))
  console.log(
    `\n${trace.length > shown.length ? `… ${trace.length - shown.length} lines before\n` : ""}${shown.join("\n")}`
  )
  console.log(`\nnpm run simulate -- --program ${program.seed}`)
}

const one = async (seed: number) => {
  const program = Program.make(seed)
  const { steps, trace, violation } = await run(program, { record: true })
  console.log(JSON.stringify(program.config, undefined, 1))
  console.log(trace.join("\n"))
  console.log(`${steps} steps, ${violation?.message ?? "no violation"}`)
  if (violation !== undefined) process.exitCode = 1
}

const many = async () => {
  const first = Number(values.seed)
  const goal = Number(values.steps)
  const counts = new Map<string, number>()
  const found = new Map<string, Array<number>>()
  const began = process.hrtime.bigint()
  // other work on the machine does not count
  const cpu = () => (process.cpuUsage().user + process.cpuUsage().system) / 1e6
  const seconds = () => Number(process.hrtime.bigint() - began) / 1e9
  let steps = 0
  let programs = 0
  let told = 10
  console.log(`seed ${first}, ${goal} steps`)
  while (steps < goal) {
    const program = Program.make(first + programs)
    const outcome = await run(program)
    programs++
    steps += outcome.steps
    for (const [name, n] of outcome.counts) counts.set(name, (counts.get(name) ?? 0) + n)
    if (outcome.violation !== undefined) {
      const { rule } = outcome.violation
      found.set(rule, [...(found.get(rule) ?? []), program.seed])
      if (values.continue) console.log(`seed ${program.seed}: ${outcome.violation.message.slice(0, 300)}`)
      else {
        await report(program, outcome.violation.message)
        break
      }
    }
    if (seconds() > told) {
      told += 10
      console.log(`${steps} steps, ${programs} programs, ${Math.round(steps / seconds())} steps/s`)
    }
  }
  if (!values.quiet) {
    const width = Math.max(...Array.from(counts.keys(), (name) => name.length))
    for (const [name, n] of Array.from(counts).sort()) console.log(`  ${name.padEnd(width)}  ${n}`)
  }
  const bad = Array.from(found.values()).flat().length
  console.log(
    `${steps} steps in ${programs} programs (seeds ${first} to ${first + programs - 1}), ` +
      `${seconds().toFixed(1)} s, ${cpu().toFixed(1)} s of a processor, ${Math.round(steps / seconds())} steps/s, ${bad} violations`
  )
  for (const [rule, seeds] of found) console.log(`  ${rule}: ${seeds.length}, seeds ${seeds.slice(0, 8).join(" ")}`)
  if (bad > 0) process.exitCode = 1
}

await (values.program === undefined ? many() : one(Number(values.program)))
