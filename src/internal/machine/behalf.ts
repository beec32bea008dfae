/**
 * On whose behalf: a handler that waits for a turn, a job or a task has all that these consist of done for itself. While
 * it holds the floor that counts as its own (rule F5), and none of it joins the handler itself (rule P2b).
 */
import type { Call, Job, Run, Speech, State } from "./state.js"

/** The calls whose handlers wait for one of these jobs. */
export const callersOf = (s: State, jobs: ReadonlyArray<Job>): ReadonlyArray<Call> =>
  jobs.flatMap((job) =>
    s.jobs.has(job) ? job.waiters.flatMap(({ caller }) => (caller?.run?.phase === "working" ? [caller] : [])) : []
  )

/** The turn waits for this call. */
export const isAwaitedBy = (call: Call, speech: Speech): boolean =>
  call.step.speech === speech && call.output === undefined && speech.state !== "ended"

/** Those of tasks, from the outermost to the one in which this call was made. */
const tasksAround = (s: State, call: Call): ReadonlyArray<Call> =>
  s.agents.length === 1
    ? []
    : s.agents.slice(0, s.agents.indexOf(call.step.agent) + 1).flatMap((agent) => agent.task?.call ?? [])

const awaiting = (s: State, call: Call, turns: boolean): ReadonlyArray<Call> => {
  const callers = [...callersOf(s, call.jobs), ...tasksAround(s, call)]
  if (turns && isAwaitedBy(call, call.step.speech)) {
    for (const { caller } of call.step.speech.waiters) if (caller?.run?.phase === "working") callers.push(caller)
  }
  return callers
}

/**
 * Does the handler of this run wait for the call, directly or through what others wait for? With `turns: false` only as
 * part of a job or of a task.
 */
export const worksFor = (
  s: State,
  call: Call,
  /** a call stands for a program: it has no run */
  run: Run | Call,
  { turns = true }: { readonly turns?: boolean } = {}
): boolean => {
  const seen = new Set<Run | Call>()
  const search = (from: Call): boolean => {
    const node = from.run ?? from
    if (seen.has(node)) return false
    seen.add(node)
    return (from.run?.calls ?? [from]).some((one) =>
      awaiting(s, one, turns).some((caller) => caller.run === run || caller === run || search(caller))
    )
  }
  return search(call)
}

/** Does the handler of this run, or the program that the call stands for, wait for what belongs to these jobs? */
export const isFor = (s: State, jobs: ReadonlyArray<Job>, run: Run | Call): boolean =>
  callersOf(s, jobs).some((caller) => caller.run === run || worksFor(s, caller, run))
