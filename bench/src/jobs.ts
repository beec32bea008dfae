/** What a process is asked to measure, and what it answers. Each job runs in a process of its own. */
import type { Contestant } from "./contestant.js"
import { contestants } from "./contestants/index.js"
import { allocated, heapUsed, inRounds, type Measured, type Rounds, type Sample, type Subject } from "./measure.js"
import * as arguments_ from "./rows/arguments.js"
import * as ended from "./rows/ended.js"
import * as sessions from "./rows/sessions.js"
import * as updates from "./rows/updates.js"
import * as work from "./work.js"

interface Work {
  readonly contestants: ReadonlyArray<string>
  /** turns in a conversation */
  readonly turns: number
  /** calls in one step: a conversation may be measured at several numbers of them */
  readonly calls: ReadonlyArray<number>
  readonly per: "turn" | "call"
}

export type Job =
  | ({ readonly _tag: "Turns" } & Work & Rounds)
  | ({ readonly _tag: "Allocated" } & Work & { readonly warmUp: number })
  | { readonly _tag: "Heap"; readonly contestant: string; readonly calls: number }
  | {
      readonly _tag: "Cancel"
      readonly contestants: ReadonlyArray<string>
      readonly calls: number
      readonly warmUp: number
      readonly rounds: number
      readonly handlers: "listening" | "deaf"
      /** a turn that is not told within so many milliseconds is never told */
      readonly limit: number
    }
  | ({ readonly _tag: "Arguments" } & Rounds)
  | { readonly _tag: "Updates" }
  | { readonly _tag: "Ended"; readonly calls: number; readonly rounds: number }
  | { readonly _tag: "Sessions"; readonly sessions: number }
  | { readonly _tag: "IdleHeap"; readonly sessions: number }

const load = (ids: ReadonlyArray<string>): Promise<ReadonlyArray<Contestant>> =>
  Promise.all(ids.map((id) => (contestants[id] as () => Promise<Contestant>)()))

const subjects = async (job: Work): Promise<ReadonlyArray<Subject>> => {
  const loaded = await load(job.contestants)
  return loaded.flatMap((contestant, i) =>
    job.calls.map(
      (calls): Subject => ({
        contestant: job.contestants[i] as string,
        name: job.calls.length === 1 ? contestant.name : `${contestant.name}, ${calls} calls`,
        units: job.per === "turn" ? job.turns : job.turns * calls,
        run: async () => {
          work.setCallsPerTurn(calls)
          const before = work.handledSoFar()
          await contestant.converse(job.turns)
          const handled = work.handledSoFar() - before
          if (handled !== job.turns * calls) throw new Error(`${contestant.name} ran ${handled} handlers`)
        }
      })
    )
  )
}

const tick = () => new Promise((resolve) => setImmediate(resolve))

/** All calls are in flight. */
const takeOff = async (contestant: Contestant, calls: number, handlers: "listening" | "deaf") => {
  work.setCallsPerTurn(calls)
  work.resetFlight()
  const flying = await contestant.fly?.(handlers)
  if (flying === undefined) throw new Error(`${contestant.name} cannot fly`)
  while (work.flight.started < calls) await tick()
  return flying
}

interface Landing extends Sample {
  readonly told: boolean
}

const land = async (contestant: Contestant, job: Extract<Job, { readonly _tag: "Cancel" }>): Promise<Landing> => {
  const flying = await takeOff(contestant, job.calls, job.handlers)
  await tick()
  const cpu = process.cpuUsage()
  const wall = performance.now()
  const told = flying.cancel().then(() => true)
  const finalized = async () => {
    while (job.handlers === "listening" && work.flight.finalized < job.calls) {
      if (performance.now() - wall > job.limit) return false
      await tick()
    }
    return true
  }
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(false), job.limit)
  })
  const ok = (await Promise.race([told, late])) && (await finalized())
  clearTimeout(timer)
  const passed = performance.now() - wall
  const { system, user } = process.cpuUsage(cpu)
  // milliseconds for all of them
  return { told: ok, wall: passed, cpu: (user + system) / 1000 }
}

const cancel = async (job: Extract<Job, { readonly _tag: "Cancel" }>) => {
  const loaded = await load(job.contestants)
  const samples: Array<Array<Landing>> = loaded.map(() => [])
  for (let round = -job.warmUp; round < job.rounds; round++) {
    for (let i = 0; i < loaded.length; i++) {
      const mine = samples[i] as Array<Landing>
      if (mine.some(({ told }) => !told)) continue
      const landing = await land(loaded[i] as Contestant, job)
      if (round >= 0 || !landing.told) mine.push(landing)
    }
  }
  return loaded.map((contestant, i) => ({
    contestant: job.contestants[i] as string,
    name: contestant.name,
    told: samples[i]?.every(({ told }) => told) === true,
    samples: samples[i] as Array<Landing>
  }))
}

const heap = async ({ calls, contestant: id }: Extract<Job, { readonly _tag: "Heap" }>) => {
  const [contestant] = await load([id])
  if (contestant === undefined) throw new Error(id)
  // what is compiled, cached or grown once is not the calls'
  const first = await takeOff(contestant, 1_000, "listening")
  const before = heapUsed()
  const second = await takeOff(contestant, calls, "listening")
  await tick()
  const bytes = (heapUsed() - before) / calls
  // both are still in flight
  return { contestant: id, name: contestant.name, bytes, flying: [first, second].length }
}

export const perform = async (job: Job): Promise<unknown> => {
  switch (job._tag) {
    case "Turns":
      return inRounds(await subjects(job), job) satisfies Promise<ReadonlyArray<Measured>>
    case "Allocated": {
      const found: Array<unknown> = []
      for (const subject of await subjects(job)) {
        found.push({ contestant: subject.contestant, name: subject.name, kib: await allocated(subject, job) })
      }
      return found
    }
    case "Heap":
      return heap(job)
    case "Cancel":
      return cancel(job)
    case "Arguments":
      return inRounds(arguments_.subjects(), job)
    case "Updates":
      return updates.measure()
    case "Ended":
      return ended.measure(job)
    case "Sessions":
      return sessions.hour(job.sessions)
    case "IdleHeap":
      return sessions.idleHeap(job.sessions)
  }
}
