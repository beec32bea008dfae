/**
 * Turns: how a program begins one, how it goes from step to step, and how it is cut (rules F1, F3, C8, T10).
 */
import * as Calls from "./calls.js"
import * as Fillers from "./fillers.js"
import * as History from "./history.js"
import * as Jobs from "./jobs.js"
import * as Speech from "./speech.js"
import {
  command,
  currentAgent,
  emit,
  type Input,
  type Job,
  type JobWaiter,
  none,
  type Speech as SpeechState,
  type State,
  type Step,
  stopTimer,
  type ToolChoice,
  type Turn,
  wake
} from "./state.js"
import type { File } from "./words.js"

// ------------------------------------------------------------------------------------------------------ from a program

export interface TurnOptions {
  readonly instructions?: string | undefined
  readonly toolChoice?: ToolChoice | undefined
  readonly allowInterruptions?: boolean | undefined
  readonly priority?: number | undefined
}

export interface UserTurnOptions extends TurnOptions {
  /** false: it comes behind the current turn */
  readonly interrupt?: boolean | undefined
  readonly author?: string | undefined
  readonly id?: string | undefined
}

/** A user's turn (rules F3, F4). */
export const send = (s: State, input: Input, options: UserTurnOptions, jobs: ReadonlyArray<Job>): SpeechState => {
  if (options.id !== undefined) return turn(s, options.id, input, options, jobs).speech
  return begin(s, input, options, jobs)
}

const begin = (s: State, input: Input, options: UserTurnOptions, jobs: ReadonlyArray<Job>): SpeechState => {
  const { allowInterruptions, author, instructions, interrupt, priority, toolChoice } = options
  if (interrupt !== false) {
    interruptAll(s, false)
    // what was heard of it comes first
    if (s.stopping === undefined) recordMessage(s, input, author, jobs)
    else s.unsaid = [...s.unsaid, { input, author, jobs }]
  }
  const { files, text } = input
  const opening = interrupt === false ? { text, files, author, urged: false } : undefined
  return Speech.create(s, {
    source: "reply",
    agent: currentAgent(s),
    priority,
    allowInterruptions,
    userTurn: true,
    opening,
    instructions,
    toolChoice,
    jobs,
    claim: s.userClaims > 0 ? s.claims : 0
  })
}

/** What was heard of the speech that was cut is in the history, and the user's words come behind it (rule O4). */
export const recordUnsaid = (s: State): void => {
  if (s.stopping !== undefined) return
  const { unsaid } = s
  s.unsaid = none
  for (const { author, input, jobs } of unsaid) recordMessage(s, input, author, jobs)
}

const recordMessage = (
  s: State,
  { files, text }: Input,
  author: string | undefined,
  jobs: ReadonlyArray<Job>
): void => {
  s.actSteps = 0
  const by = author === undefined ? {} : { author }
  const sent = files === undefined ? {} : { files }
  History.add(s, { _tag: "Message", role: "user", text, interrupted: false, ...by, ...sent }, undefined, jobs)
}

/** How many turns with an id are kept once they have ended, and for how long. */
const maxKept = 256
const keptFor = 3_600_000

/** The turn of this id: the one that is under way, or has ended, or a new one. */
export const turn = (s: State, id: string, input: Input, options: UserTurnOptions, jobs: ReadonlyArray<Job>): Turn => {
  const known = s.turns.get(id)
  if (known !== undefined && !isForgotten(s, known)) {
    const other = difference(known.input, input)
    if (other !== undefined) {
      const message = `${other} ignored: there is one with the id ${JSON.stringify(id)} already.`
      command(s, { _tag: "Log", level: "warning", message })
    }
    return known
  }
  forgetTurns(s)
  const job = Jobs.make()
  s.durable?.turnOf.set(job, id)
  const made: Turn = { id, input, job, speech: begin(s, input, options, [job, ...jobs]), endedAt: undefined }
  s.turns.delete(id)
  s.turns.set(id, made)
  return made
}

const difference = (known: Input, input: Input): string | undefined => {
  if (known.text !== input.text) return "The text of a turn was"
  return isSame(known.files ?? none, input.files ?? none) ? undefined : "The files of a turn were"
}

const isSame = (files: ReadonlyArray<File>, others: ReadonlyArray<File>): boolean =>
  files.length === others.length &&
  files.every((file, i) => {
    const other = others[i]
    return file.mediaType === other?.mediaType && file.name === other.name && String(file.data) === String(other.data)
  })

const isForgotten = (s: State, { endedAt }: Turn): boolean => endedAt !== undefined && s.now - endedAt > keptFor

const forgetTurns = (s: State): void => {
  let ended = 0
  for (const { endedAt } of s.turns.values()) if (endedAt !== undefined) ended++
  for (const one of s.turns.values()) {
    if (one.endedAt === undefined || (ended < maxKept && !isForgotten(s, one))) continue
    s.turns.delete(one.id)
    ended--
  }
}

export const generateReply = (s: State, options: TurnOptions, jobs: ReadonlyArray<Job>): SpeechState =>
  Speech.create(s, { ...options, source: "reply", agent: currentAgent(s), jobs })

export const say = (s: State, text: unknown, options: TurnOptions, jobs: ReadonlyArray<Job>): SpeechState =>
  Speech.create(s, { ...options, source: "say", agent: currentAgent(s), text, jobs })

/** `session.run`: a user's turn that somebody waits for (rule R1). */
export const run = (
  s: State,
  input: Input,
  options: UserTurnOptions,
  job: Job,
  jobs: ReadonlyArray<Job>
): SpeechState => {
  s.jobs.add(job)
  return begin(s, input, options, [job, ...jobs])
}

/** The same of a turn that has an id: it may be under way, or have ended. */
export const runOnce = (
  s: State,
  id: string,
  input: Input,
  options: UserTurnOptions,
  waiter: JobWaiter,
  jobs: ReadonlyArray<Job>
): Job => {
  const { endedAt, job } = turn(s, id, input, options, jobs)
  if (endedAt === undefined) Jobs.join(s, job, waiter)
  else wake(s, () => waiter.resume("done"))
  return job
}

/** Cuts a speech. Its inline calls go on, but for those that asked not to (rule C8). */
export const interrupt = (s: State, speech: SpeechState): void => {
  if (speech.state === "ended" || speech === s.stopping) return
  speech.interrupted = true
  const calls = speech.step?.calls ?? []
  Speech.end(s, speech)
  Calls.settleHeld(s)
  for (const call of calls) {
    if (
      call.state._tag === "Inline" &&
      call.run !== undefined &&
      !call.run.committed &&
      call.tool?.options.cancelOnInterruption === true
    ) {
      Calls.stop(s, call.run, "cancelled")
    }
  }
  for (const filler of s.fillers) {
    if (filler.call.step.speech === speech) Fillers.end(s, filler)
  }
}

/** Whoever waited for a turn gives it up: what it says is cut, and its calls are cancelled if they may be (rule R4). */
export const stop = (s: State, job: Job, waiter: JobWaiter): void => {
  if (!Jobs.withdraw(s, job, waiter)) return
  for (const speech of Array.from(s.speeches)) {
    // a reply may tell of what others wait for
    const shared = speech.reply?.items.some((delivery) => !delivery.call.jobs.includes(job)) === true
    if (speech.jobs.includes(job) && !shared) interrupt(s, speech)
  }
  for (const call of Array.from(s.calls.values())) {
    if (call.jobs.includes(job)) Calls.cancel(s, call.callId)
  }
}

/** Cuts the speech that has the mouth, and turns that wait for their calls. The first that disallows it is told. */
export const interruptAll = (s: State, force: boolean): SpeechState | undefined => {
  const begun = Array.from(s.speeches).filter((speech) => isCurrent(s, speech))
  for (const speech of begun) if (force || speech.allowInterruptions) interrupt(s, speech)
  return force ? undefined : begun.find((speech) => !speech.allowInterruptions)
}

/** It has begun; what was not heard of and waits is passed (rule O1). */
const isCurrent = (s: State, speech: SpeechState): boolean =>
  Speech.isActive(speech) &&
  speech !== s.stopping &&
  (speech.step !== undefined || speech === s.mouth) &&
  !Speech.isPassed(speech)

// ------------------------------------------------------------------------------------------------------- its steps

export const finishSteps = (s: State): boolean => {
  for (const speech of s.speeches) {
    const step = speech.step
    if (speech.state !== "waiting" || step === undefined || !Speech.stepIsDone(step)) continue
    // the rest of the turn is the new agent's
    if (!Speech.mayGoOn(s, speech) || (s.handoff?.when === "inline" && s.handoff.call?.step === step)) continue
    finishStep(s, speech, step)
    return true
  }
  return false
}

/** Every call of the step has its output: the model goes on, or the turn is over. */
const finishStep = (s: State, speech: SpeechState, step: Step): void => {
  const goesOn = step.calls.some((call) => call.output?.reply === true)
  if (!goesOn) return step.finish === "pause" ? goOn(s, speech, step) : Speech.end(s, speech)
  speech.retried = false
  speech.pauses = 0
  // calls that were not allowed are answered, and get one more step
  if (step.toolChoice === "none") {
    if (speech.refused) return Speech.end(s, speech)
    speech.refused = true
  } else {
    speech.toolSteps++
    if (speech.reply?.act === true) s.actSteps++
  }
  Speech.enqueue(s, speech)
}

const maxPauses = 10

/** The model has paused: it is asked to go on with its answer. That is no tool step (rule F7). */
const goOn = (s: State, speech: SpeechState, step: Step): void => {
  if (speech.pauses === maxPauses) {
    const message = `The model paused more than ${maxPauses} times in a row; its answer is not complete.`
    emit(s, { _tag: "SessionError", error: { tag: "Pause", message } })
    return Speech.end(s, speech)
  }
  speech.pauses++
  speech.retried = false
  speech.continues = step.continues ?? step.from
  Speech.enqueue(s, speech)
}

const toolChoiceFor = (s: State, speech: SpeechState): ToolChoice => {
  if (speech.toolChoice === "none") return "none"
  // the same answer
  if (speech.continues !== undefined && speech.step !== undefined) return speech.step.toolChoice
  // a user's turn in the middle of a reply begins a new chain, and gives the reply itself no more steps
  const used = speech.reply?.act === true ? Math.max(s.actSteps, speech.toolSteps) : speech.toolSteps
  if (used >= s.options.maxToolSteps) return "none"
  const first = speech.step === undefined || (speech.step.index === 0 && speech.retried)
  return first ? speech.toolChoice : "auto"
}

/** While the user has the floor, only the answer to what was said in it (rule O1). */
const mayBegin = (s: State, speech: SpeechState): boolean => s.userClaims === 0 || Speech.answersUser(s, speech)

export const giveMouth = (s: State): boolean => {
  // what interrupts comes first, once what it has cut has ended
  if (s.mouth !== undefined || (s.stopping !== undefined && s.urgent > 0)) return false
  const i = s.queue.findIndex(
    (speech) =>
      mayBegin(s, speech) &&
      Speech.isActive(speech) &&
      Speech.mayGoOn(s, speech) &&
      Speech.before(s, speech).length === 0
  )
  const speech = s.queue[i]
  if (speech === undefined) return false
  s.queue.splice(i, 1)
  for (const filler of s.fillers) filler.timer = stopTimer(s, filler.timer)
  if (!Speech.isMidStep(speech)) {
    speech.spoke = false
    speech.heard = false
  }
  s.mouth = speech
  s.starting = true
  speech.state = "holding"
  return true
}

/** Its step begins once it is known what was heard of the one before (rule O4). */
export const start = (s: State): boolean => {
  const speech = s.mouth
  if (!s.starting || speech === undefined || s.stopping !== undefined) return false
  s.starting = false
  const { opening, step } = speech
  if (step !== undefined && !step.played) {
    Speech.advance(s, step)
    return true
  }
  if (opening !== undefined) {
    speech.opening = undefined
    recordMessage(s, opening, opening.author, speech.jobs)
  }
  Speech.startStep(s, speech, toolChoiceFor(s, speech), speech.instructions)
  return true
}
