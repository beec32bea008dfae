/** How time, memory and their spread are taken. */

export interface Sample {
  /** CPU time of this process (garbage collection and compilation included), in µs for each unit of work */
  readonly cpu: number
  /** the time that passed, in µs for each unit of work */
  readonly wall: number
}

export interface Measured {
  readonly contestant: string
  readonly name: string
  readonly samples: ReadonlyArray<Sample>
}

/** One thing to measure; `run` does `units` units of work. */
export interface Subject {
  readonly contestant: string
  readonly name: string
  readonly units: number
  readonly run: () => Promise<unknown>
}

const take = async ({ run, units }: Subject, times: number): Promise<Sample> => {
  const cpu = process.cpuUsage()
  const wall = performance.now()
  for (let i = 0; i < times; i++) await run()
  const passed = performance.now() - wall
  const { system, user } = process.cpuUsage(cpu)
  return { cpu: (user + system) / (times * units), wall: (passed * 1000) / (times * units) }
}

export interface Rounds {
  /** each subject runs for this long before anything is measured */
  readonly warmUp: number
  readonly rounds: number
  /** how long each subject runs in each round */
  readonly slice: number
}

/** Interleaved: in each round every subject runs once, so that what disturbs the machine disturbs all of them. */
export const inRounds = async (subjects: ReadonlyArray<Subject>, options: Rounds): Promise<ReadonlyArray<Measured>> => {
  const times: Array<number> = []
  for (const subject of subjects) {
    const start = performance.now()
    let runs = 0
    let recent = start
    let last = 0
    while (performance.now() - start < options.warmUp || runs < 2) {
      recent = performance.now()
      await subject.run()
      last = performance.now() - recent
      runs++
    }
    const typical = Math.min(last, (performance.now() - start) / runs)
    times.push(Math.max(1, Math.round(options.slice / typical)))
  }
  const samples: Array<Array<Sample>> = subjects.map(() => [])
  for (let round = 0; round < options.rounds; round++) {
    for (let i = 0; i < subjects.length; i++) {
      samples[i]?.push(await take(subjects[i] as Subject, times[i] as number))
    }
  }
  return subjects.map(({ contestant, name }, i) => ({ contestant, name, samples: samples[i] as Array<Sample> }))
}

/** KiB allocated for each unit: how far the young generation fills, where it is so large that nothing is collected. */
export const allocated = async ({ run, units }: Subject, options: { readonly warmUp: number }): Promise<number> => {
  const start = performance.now()
  while (performance.now() - start < options.warmUp) await run()
  const found: Array<number> = []
  for (let i = 0; i < 40; i++) {
    const before = process.memoryUsage().heapUsed
    await run()
    const grown = process.memoryUsage().heapUsed - before
    // negative where a collection came in between
    if (grown > 0) found.push(grown / 1024 / units)
  }
  return median(found)
}

/** Only in processes that measure memory and no time. */
export const heapUsed = (): number => {
  for (let i = 0; i < 4; i++) globalThis.gc?.()
  return process.memoryUsage().heapUsed
}

const sorted = (all: ReadonlyArray<number>): ReadonlyArray<number> => [...all].sort((a, b) => a - b)

export const median = (all: ReadonlyArray<number>): number => sorted(all)[all.length >> 1] ?? Number.NaN

export interface Spread {
  readonly median: number
  readonly min: number
  readonly max: number
}

export const spread = (all: ReadonlyArray<number>): Spread => {
  const by = sorted(all)
  return { median: median(all), min: by[0] ?? Number.NaN, max: by[by.length - 1] ?? Number.NaN }
}

/** Round by round, so that a slow round counts against both. */
export const ratio = (a: Measured, b: Measured): Spread =>
  spread(a.samples.map((sample, i) => sample.cpu / (b.samples[i] as Sample).cpu))
