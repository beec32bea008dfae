import type { Program } from "./program.js"
import { run } from "./world.js"

/** Takes actions out of a program, and makes it simpler, as long as it breaks the same rule. */
export const smaller = async (program: Program): Promise<Program> => {
  const rule = (await run(program)).violation?.rule
  if (rule === undefined) return program
  let tries = 300
  const still = async (candidate: Program) => tries-- > 0 && (await run(candidate)).violation?.rule === rule
  let best = program
  for (let size = Math.ceil(best.actions.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let i = 0; i < best.actions.length; ) {
      const candidate = { ...best, actions: [...best.actions.slice(0, i), ...best.actions.slice(i + size)] }
      if (await still(candidate)) best = candidate
      else i += size
    }
  }
  const simpler: ReadonlyArray<Partial<Program["config"]>> = [
    { shuffled: false },
    { pace: undefined },
    { languageModel: false },
    { streams: false },
    { given: "nothing" },
    { pauses: 0 },
    { foreign: 0 },
    { approvals: 0 },
    { saves: "nothing" },
    { onEnter: "nothing" },
    { onExit: "nothing" },
    { releaseAfter: undefined },
    { startAfter: "call" },
    { onInterruptedReply: "drop" },
    { maxRunning: 64 },
    { maxPendingUpdates: 32 },
    { concurrency: { shared: 100, first: 100, firstSet: 100 } }
  ]
  for (const config of simpler) {
    const candidate = { ...best, config: { ...best.config, ...config } }
    if (await still(candidate)) best = candidate
  }
  return best
}
