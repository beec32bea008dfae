/**
 * Jobs: what `session.run` waits for. Each speech, call, delivery and hand-off of a turn holds its job open (rule R1).
 */
import type { ModelFailure } from "./protocol.js"
import { type Call, type Job, type State, wake } from "./state.js"

export const open = (jobs: ReadonlyArray<Job>): void => {
  for (const job of jobs) job.open++
}

export const close = (s: State, jobs: ReadonlyArray<Job>): void => {
  for (const job of jobs) {
    if (--job.open === 0) end(s, job, false)
  }
}

/** A model failed in them. Does anybody wait for one? */
export const fail = (jobs: ReadonlyArray<Job>, failure: ModelFailure): boolean => {
  let awaited = false
  for (const job of jobs) {
    job.failure ??= failure
    awaited ||= job.resume !== undefined
  }
  return awaited
}

/** Nobody waits for it any more. */
export const withdraw = (s: State, job: Job): void => {
  job.resume = undefined
  s.jobs.delete(job)
}

/** The session closes. */
export const closeAll = (s: State): void => {
  for (const job of s.jobs) end(s, job, true)
}

const end = (s: State, job: Job, closed: boolean): void => {
  s.jobs.delete(job)
  const resume = job.resume
  job.resume = undefined
  if (resume !== undefined) wake(s, () => resume(closed))
}

export const ofCalls = (calls: ReadonlyArray<Call>): ReadonlyArray<Job> =>
  Array.from(new Set(calls.flatMap((call) => call.jobs)))

/** Those of all calls that share its run. */
export const ofRun = (call: Call | undefined): ReadonlyArray<Job> =>
  call === undefined ? [] : ofCalls(call.run?.calls ?? [call])
