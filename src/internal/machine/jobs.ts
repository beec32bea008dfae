/**
 * Jobs: what `session.run` waits for. Each speech, call, delivery and hand-off of a turn holds its job open (rule R1).
 */
import * as Approvals from "./approval.js"
import type { ModelFailure } from "./protocol.js"
import { addWaiter, type Call, type Job, type JobWaiter, none, removeWaiter, type State, wake } from "./state.js"

export const open = (jobs: ReadonlyArray<Job>): void => {
  for (const job of jobs) job.open++
}

export const close = (s: State, jobs: ReadonlyArray<Job>): void => {
  for (const job of jobs) {
    if (--job.open === 0) end(s, job, false)
  }
}

/** Work that they did not wait for goes on: those that have ended are over all the same. */
export const reopen = (jobs: ReadonlyArray<Job>): ReadonlyArray<Job> => {
  const left = jobs.every((job) => job.open > 0) ? jobs : jobs.filter((job) => job.open > 0)
  open(left)
  return left
}

/** A model failed in them. Does anybody wait for one? */
export const fail = (jobs: ReadonlyArray<Job>, failure: ModelFailure): boolean => {
  let awaited = false
  for (const job of jobs) {
    job.failure ??= failure
    awaited ||= job.waiters.length > 0
  }
  return awaited
}

export const make = (...waiters: ReadonlyArray<JobWaiter>): Job => ({
  open: 0,
  items: [],
  text: "",
  failure: undefined,
  approvals: none,
  waiters
})

export const join = (s: State, job: Job, waiter: JobWaiter): void => {
  addWaiter(job, "waiters", waiter)
  s.jobs.add(job)
}

/** Who waited gives it up; false where others go on to wait. */
export const withdraw = (s: State, job: Job, waiter: JobWaiter): boolean => {
  removeWaiter(job, "waiters", waiter)
  if (job.waiters.length > 0) return false
  s.jobs.delete(job)
  return true
}

/** It waits for itself. */
export const refuse = (s: State, job: Job, waiter: JobWaiter): void => {
  withdraw(s, job, waiter)
  wake(s, () => waiter.resume("circular"))
}

/** The session closes. */
export const closeAll = (s: State): void => {
  for (const job of s.jobs) end(s, job, true)
}

const end = (s: State, job: Job, closed: boolean): void => {
  s.jobs.delete(job)
  if (s.approvals.length > 0) job.approvals = Approvals.ofJob(s, job)
  for (const { resume } of job.waiters) wake(s, () => resume(closed ? "closed" : "done"))
  job.waiters = none
  for (const turn of s.turns.values()) if (turn.job === job) turn.endedAt = s.now
}

export const ofCalls = (calls: ReadonlyArray<Call>): ReadonlyArray<Job> =>
  Array.from(new Set(calls.flatMap((call) => call.jobs)))

/** Those of all calls that share its run. */
export const ofRun = (call: Call | undefined): ReadonlyArray<Job> =>
  call === undefined ? [] : ofCalls(call.run?.calls ?? [call])
