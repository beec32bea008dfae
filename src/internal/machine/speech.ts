/**
 * Speeches: who has the mouth, and how the parts of a model step are played and enter the history in their order.
 */
import { mergeMetadata, withoutItemId } from "../values/metadata.js"
import * as History from "./history.js"
import * as Jobs from "./jobs.js"
import * as Playing from "./playing.js"
import type { Metadata, ModelFailure } from "./protocol.js"
import * as Replies from "./replies.js"
import {
  type Activity,
  type Call,
  type CallEntry,
  command,
  type Entry,
  emit,
  type FileEntry,
  type Filler,
  follow,
  type Job,
  none,
  nothing,
  type Opening,
  observe,
  put,
  type ReasoningEntry,
  type Reply,
  type ResultEntry,
  type Speech,
  type State,
  type Step,
  type Stopping,
  startTimer,
  stopTimer,
  type Text,
  type TextEntry,
  type ToolChoice,
  wake
} from "./state.js"
import * as Usage from "./usage.js"

export interface NewSpeech {
  readonly source: Speech["source"]
  readonly agent: Activity
  readonly priority?: number | undefined
  readonly allowInterruptions?: boolean | undefined
  readonly userTurn?: boolean
  readonly opening?: Opening | undefined
  readonly text?: unknown
  readonly instructions?: Text | undefined
  readonly toolChoice?: ToolChoice | undefined
  readonly reply?: Reply
  readonly jobs?: ReadonlyArray<Job>
  readonly filler?: Filler
  readonly claim?: number
}

const make = (s: State, options: NewSpeech): Speech => ({
  id: `speech_${++s.speechId}`,
  source: options.source,
  seq: ++s.seq,
  priority: options.priority ?? 0,
  userTurn: options.userTurn ?? false,
  opening: options.opening,
  text: options.text,
  instructions: options.instructions,
  toolChoice: options.toolChoice ?? "auto",
  reply: options.reply,
  jobs: options.jobs ?? [],
  filler: options.filler,
  agent: options.agent,
  state: "queued",
  allowInterruptions: options.allowInterruptions ?? true,
  interrupted: false,
  toolSteps: 0,
  retried: false,
  refused: false,
  pauses: 0,
  continues: undefined,
  said: "",
  spoke: false,
  heard: false,
  begun: false,
  broken: undefined,
  claim: options.claim ?? 0,
  urgent: false,
  step: undefined,
  items: [],
  failure: undefined,
  usage: undefined,
  watched: false,
  waiters: none,
  trace: undefined
})

/** A speech of an earlier life of the session: what it was is set by whoever knows it. */
export const revived = (s: State, id: string, seq: number, options: NewSpeech): Speech => {
  const speech = { ...make(s, options), id, seq }
  s.speechId--
  s.seq--
  return speech
}

/** A step of it. */
export const revivedStep = (speech: Speech, index: number, toolChoice: ToolChoice, more: Partial<Step> = {}): Step => {
  const step = newStep(speech, toolChoice, undefined)
  return { ...step, index, streamEnded: true, closed: true, told: true, ...more }
}

/** Stands for the step of a call that a stored conversation has: its turn is over. */
export const past = (s: State, agent: Activity): Step => {
  const speech = make(s, { source: "reply", agent })
  speech.state = "ended"
  const step = newStep(speech, "auto", undefined)
  speech.step = step
  step.closed = true
  step.streamEnded = true
  step.complete = true
  step.played = true
  step.nextOutput = 1
  return step
}

export const create = (s: State, options: NewSpeech): Speech => {
  const speech = make(s, options)
  follow(speech, "instructions")
  s.speeches.add(speech)
  Jobs.open(speech.jobs)
  enqueue(s, speech)
  emit(s, { _tag: "SpeechCreated", speechId: speech.id, source: speech.source })
  observe(s, { _tag: "SpeechCreated", speech })
  return speech
}

/** What may not be interrupted is not paused, either (rule O7). */
export const setAllowInterruptions = (s: State, speech: Speech, value: boolean): void => {
  speech.allowInterruptions = value
  if (!value && s.mouth === speech) resume(s)
}

/** By priority, then by order; a turn that comes back from its tools has its old place. */
export const enqueue = (s: State, speech: Speech): void => {
  speech.state = "queued"
  let i = s.queue.length
  while (i > 0) {
    const other = s.queue[i - 1] as Speech
    if (other.priority > speech.priority || (other.priority === speech.priority && other.seq < speech.seq)) break
    i--
  }
  s.queue.splice(i, 0, speech)
}

/** The speech of an agent that a task has paused is left alone (rule S7). */
export const isActive = (speech: Speech): boolean => speech.agent.state !== "paused"

/**
 * What has to end before a user's turn that waits for the others begins: those that have begun, and a user's turn whose
 * message is recorded (rule R8). What is paused by a task is not waited for, nor what only says a text.
 */
export const before = (s: State, speech: Speech): ReadonlyArray<Speech> => {
  if (speech.opening === undefined || speech.opening.urged) return none
  return Array.from(s.speeches).filter(
    (other) =>
      other !== speech &&
      isActive(other) &&
      ((other.step !== undefined && other.source !== "say") || (other.userTurn && other.opening === undefined))
  )
}

/**
 * While an agent leaves, only its last words are spoken. As long as the user's floor holds these up, it answers what was
 * sent in the claim, too: whoever claims may wait for that (rule F4).
 */
export const mayGoOn = (s: State, speech: Speech): boolean => {
  const { leavingSince } = s
  if (leavingSince === undefined || isLastWord(speech, leavingSince)) return true
  return (
    answersUser(s, speech) &&
    s.queue.some((other) => isActive(other) && !answersUser(s, other) && isLastWord(other, leavingSince))
  )
}

/** What `onExit` says and asks for, and a step that a task had paused in the middle. */
const isLastWord = (speech: Speech, leavingSince: number): boolean =>
  speech.source === "say" || (speech.seq > leavingSince && !speech.userTurn) || isMidStep(speech)

/** It answers what was sent in the newest claim of the user, who has the floor. */
export const answersUser = (s: State, speech: Speech): boolean => s.userClaims > 0 && speech.claim === s.claims

const releaseMouth = (s: State, speech: Speech): void => {
  freeMouth(s, speech)
  if (speech.state === "queued") leaveQueue(s, speech)
  if (speech.state !== "ended") speech.state = "waiting"
}

const freeMouth = (s: State, speech: Speech): void => {
  if (s.mouth !== speech) return
  s.mouth = undefined
  s.starting = false
  // what ends is let go on once it has stopped
  if (s.stopping === undefined) endPause(s)
}

const leaveQueue = (s: State, speech: Speech): void => {
  const queued = s.queue.indexOf(speech)
  if (queued >= 0) s.queue.splice(queued, 1)
}

const newStep = (speech: Speech, toolChoice: ToolChoice, note: Text | undefined): Step => ({
  speech,
  agent: speech.agent,
  index: speech.step === undefined ? 0 : speech.step.index + 1,
  toolChoice,
  note,
  from: speech.items.length,
  continues: speech.continues,
  finish: undefined,
  model: undefined,
  usage: undefined,
  told: false,
  entries: [],
  cursor: 0,
  calls: [],
  nextOutput: 0,
  nextAdmission: 0,
  streamEnded: false,
  complete: false,
  closed: false,
  played: false,
  openText: nothing,
  openReasoning: nothing,
  providerCalls: nothing,
  inputs: undefined,
  reasoning: [],
  reasoningLost: false,
  handoff: false,
  playWaiters: [],
  answered: false,
  fiber: undefined,
  trace: undefined
})

/** Begins the next step of a speech that was given the mouth. */
export const startStep = (s: State, speech: Speech, toolChoice: ToolChoice, note: Text | undefined): void => {
  const step = newStep(speech, toolChoice, note)
  follow(step, "note")
  speech.step = step
  speech.continues = undefined
  if (speech.source === "say") {
    const entry = openText(step, "text", undefined)
    if (typeof speech.text === "string") {
      textDelta(s, entry, speech.text)
      streamEnded(s, step)
    } else {
      command(s, { _tag: "ReadText", step })
    }
  } else {
    Replies.silentShown(s)
    observe(s, { _tag: "StepStarted", step })
    command(s, { _tag: "AskModel", step })
  }
}

// ----------------------------------------------------------------------------------------------------- parts come in

export const openText = (step: Step, id: string, metadata: Metadata): TextEntry => {
  const entry: TextEntry = {
    _tag: "Text",
    step,
    text: "",
    played: "",
    ended: false,
    play: "idle",
    playback: undefined,
    metadata: mergeMetadata(undefined, metadata),
    unread: [],
    notify: undefined,
    fiber: undefined,
    begun: false
  }
  step.entries.push(entry)
  step.openText = put(step.openText, id, entry)
  return entry
}

export const openReasoning = (step: Step, id: string): ReasoningEntry => {
  const entry: ReasoningEntry = { _tag: "Reasoning", text: "", ended: false, metadata: undefined }
  step.entries.push(entry)
  step.openReasoning = put(step.openReasoning, id, entry)
  return entry
}

export const textDelta = (s: State, entry: TextEntry, delta: string): void => {
  if (delta === "") return
  entry.text += delta
  if (s.options.deltas) emit(s, { _tag: "TextDelta", speechId: entry.step.speech.id, text: delta })
  if (entry.step.agent.instantOutput) return show(s, entry)
  entry.unread.push(delta)
  notify(s, entry)
  if (entry.step.entries[entry.step.cursor] === entry) advance(s, entry.step)
}

/** Text that counts as played as it comes does so only while its speech may be played. */
const show = (s: State, entry: TextEntry): void => {
  const { speech } = entry.step
  if (!mayPlay(s, speech)) return
  entry.played = entry.text
  beginToSpeak(s, speech)
  if (!speech.heard) hear(speech, entry.text)
}

/** Its first words are out. */
export const beginToSpeak = (s: State, speech: Speech): void => {
  if (speech.spoke) return
  observe(s, { _tag: "SpeechSpoke", speech })
  speech.spoke = true
  speech.begun = true
  if (s.parked.length > 0) Replies.unpark(s)
}

/** A text of blanks alone is no word. */
export const hear = (speech: Speech, piece: string): void => {
  if (piece.trim() !== "") speech.heard = true
}

const notify = (s: State, entry: TextEntry): void => {
  const resume = entry.notify
  if (resume !== undefined) {
    entry.notify = undefined
    wake(s, resume)
    if (entry.playback?.starved === true) Playing.fed(s, entry)
  }
}

export const endText = (s: State, entry: TextEntry): void => {
  if (entry.ended) return
  entry.ended = true
  notify(s, entry)
  advance(s, entry.step)
}

/** The model (or the text that is said) has nothing more to stream. */
export const streamEnded = (s: State, step: Step): void => {
  if (step.streamEnded) return
  step.streamEnded = true
  History.forgetAnnounced(s, step)
  Usage.stepEnded(s, step)
  for (const entry of step.openText.values()) {
    entry.ended = true
    notify(s, entry)
  }
  for (const entry of step.openReasoning.values()) entry.ended = true
  advance(s, step)
}

// --------------------------------------------------------------------------------------------- and enter the history

/** Plays and records what can be, in order; then lets the outputs in. */
export const advance = (s: State, step: Step): void => {
  // cut: it goes on once the output has stopped
  if (step.closed && !step.played) return
  if (recordParts(s, step) && step.streamEnded && !step.played) {
    step.played = true
    forgetParts(step)
    releaseMouth(s, step.speech)
  }
  wakePlayWaiters(s, step)
  flushOutputs(s, step)
}

/** False if it stopped at a part that still streams in or plays. */
const recordParts = (s: State, step: Step): boolean => {
  while (step.cursor < step.entries.length) {
    const entry = step.entries[step.cursor]
    if (entry === undefined) break
    switch (entry._tag) {
      case "Text": {
        if (step.agent.instantOutput || entry.text === "") {
          if (!entry.ended || isToCome(s, step)) return false
          if (entry.played !== entry.text) {
            show(s, entry)
            if (entry.played !== entry.text) return false
          }
        } else if (entry.play === "idle") {
          if (!mayPlay(s, step.speech)) return false
          entry.play = "playing"
          entry.playback = Playing.begin(entry, s.now)
          command(s, { _tag: "Play", entry })
          return false
        } else if (entry.play !== "done") {
          return false
        } else if (Playing.isWhole(entry)) {
          // the output asks for no more of it; what still comes counts as played, too
          if (!entry.ended && step.cursor === step.entries.length - 1) return false
          entry.played = entry.text
        }
        recordText(s, entry, false)
        break
      }
      case "Reasoning": {
        if (!entry.ended) return false
        step.reasoning.push(entry)
        break
      }
      case "File": {
        recordFile(s, step, entry)
        break
      }
      default:
        recordCall(s, step, entry)
    }
    step.cursor++
    wakePlayWaiters(s, step)
  }
  return true
}

/**
 * A durable session records a text that nobody plays together with what comes behind it, or with the end of the answer: an
 * answer whose end is not stored is asked for again, and would say the text twice (rule Q6).
 */
const isToCome = (s: State, step: Step): boolean =>
  s.durable !== undefined && !step.streamEnded && step.cursor === step.entries.length - 1

/** They are in the history now. */
const forgetParts = (step: Step): void => {
  step.entries = []
  step.cursor = 0
}

/** Waits until the text that came before the call has been played. */
export const waitForPlayout = (s: State, call: Call, resume: () => void): void => {
  const { step } = call
  const before = step.entries.findIndex((entry) => entry._tag === "Call" && entry.callId === call.callId)
  if (before < 0 || step.played || step.cursor >= before) wake(s, resume)
  else step.playWaiters.push({ before, resume })
}

const wakePlayWaiters = (s: State, step: Step): void => {
  if (step.playWaiters.length === 0) return
  step.playWaiters = step.playWaiters.filter((waiter) => {
    if (step.cursor < waiter.before && !step.played) return true
    wake(s, waiter.resume)
    return false
  })
}

const recordReasoning = (s: State, step: Step): void => {
  for (const entry of step.reasoning.splice(0)) {
    if (entry.text === "" && entry.metadata === undefined) continue
    History.add(
      s,
      {
        _tag: "Reasoning",
        text: entry.text,
        ...(entry.metadata === undefined ? {} : { metadata: entry.metadata })
      },
      step.speech
    )
  }
}

/** What a model sends is a message without a text. */
const recordFile = (s: State, step: Step, { file, metadata }: FileEntry): void => {
  recordReasoning(s, step)
  History.add(
    s,
    { _tag: "Message", role: "assistant", text: "", interrupted: false, files: [file], ...recorded(step, metadata) },
    step.speech
  )
}

export const recordCall = (s: State, step: Step, entry: CallEntry | ResultEntry): void => {
  if (entry._tag === "Call") {
    recordReasoning(s, step)
    History.add(
      s,
      {
        _tag: "FunctionCall",
        callId: entry.callId,
        name: entry.name,
        arguments: entry.arguments,
        ...recorded(step, entry.metadata)
      },
      step.speech
    )
  } else {
    History.add(
      s,
      {
        _tag: "FunctionCallOutput",
        callId: entry.callId,
        name: entry.name,
        output: entry.output,
        isError: entry.isError
      },
      step.speech
    )
  }
}

const recordText = (s: State, entry: TextEntry, interrupted: boolean): void => {
  if (entry.played.trim() === "") {
    if (interrupted) loseReasoning(entry.step)
    return
  }
  recordReasoning(s, entry.step)
  History.add(
    s,
    {
      _tag: "Message",
      role: "assistant",
      text: entry.played,
      interrupted,
      ...recorded(entry.step, entry.metadata)
    },
    entry.step.speech
  )
}

/** The answer that the reasoning belongs to was never heard. */
const loseReasoning = (step: Step): void => {
  if (step.reasoning.length > 0) step.reasoningLost = true
  step.reasoning = []
}

/** Behind reasoning that is not kept, an item of the provider cannot be named: it would miss it. */
const recorded = (step: Step, metadata: Metadata): { readonly metadata?: Record<string, unknown> } => {
  const kept = step.reasoningLost ? withoutItemId(metadata) : metadata
  return kept === undefined ? {} : { metadata: kept }
}

const stillRunning = { open: "running" } as const
const awaitsApproval = { open: "approval" } as const
const nothingElse = {}

/** Outputs enter in the order in which the model asked, once all calls of the step are in (rule T2). */
export const flushOutputs = (s: State, step: Step): void => {
  if (!step.streamEnded) return
  for (let i = step.cursor; i < step.entries.length; i++) {
    if (step.entries[i]?._tag === "Call") return
  }
  while (step.nextOutput < step.calls.length) {
    const call = step.calls[step.nextOutput]
    if (call?.output === undefined) return
    History.add(
      s,
      {
        _tag: "FunctionCallOutput",
        callId: call.callId,
        name: call.call.name,
        output: call.output.value,
        isError: call.output.isError,
        ...(call.output.files === undefined ? {} : { files: call.output.files }),
        ...(call.output.open === undefined
          ? nothingElse
          : call.output.open === "running"
            ? stillRunning
            : awaitsApproval)
      },
      step.speech,
      call.jobs
    )
    call.recorded = true
    s.unrecorded.delete(call.callId)
    step.nextOutput++
    const { held } = call
    call.held = none
    for (const delivery of held) Replies.write(s, delivery)
  }
}

export const stepIsDone = (step: Step): boolean => step.played && step.nextOutput === step.calls.length

// -------------------------------------------------------------------------------------------------------------- ends

/**
 * Cuts a step: what was heard is recorded, what was called goes on, what still streams in no longer counts. False if its
 * output still has to say what was heard (rule O4): then what is to come comes once it has stopped.
 */
export const cutStep = (s: State, step: Step, then: "end" | "retry"): boolean => {
  if (step.played) return true
  closeStep(s, step)
  const entry = step.entries[step.cursor]
  if (entry?._tag === "Text" && Playing.mayReport(entry)) {
    stopPlaying(s, entry, then)
    return false
  }
  recordCut(s, step)
  return true
}

const closeStep = (s: State, step: Step): void => {
  if (step.closed) return
  step.closed = true
  if (!step.streamEnded) command(s, { _tag: "StopReading", step })
  step.streamEnded = true
  History.forgetAnnounced(s, step)
  Usage.stepEnded(s, step)
}

const recordCut = (s: State, step: Step): void => {
  let cut = false
  for (; step.cursor < step.entries.length; step.cursor++) {
    const entry = step.entries[step.cursor] as Entry
    switch (entry._tag) {
      case "Text": {
        entry.ended = true
        notify(s, entry)
        if (Playing.isWhole(entry)) entry.played = entry.text
        // text behind the one that was cut has never been played
        if (cut) loseReasoning(step)
        else recordText(s, entry, true)
        cut = true
        break
      }
      case "Reasoning": {
        step.reasoning.push(entry)
        break
      }
      case "File": {
        // what comes behind a text that was cut nobody has seen
        if (cut) loseReasoning(step)
        else recordFile(s, step, entry)
        break
      }
      default:
        recordCall(s, step, entry)
    }
  }
  step.played = true
  forgetParts(step)
  releaseMouth(s, step.speech)
  wakePlayWaiters(s, step)
  flushOutputs(s, step)
}

export const end = (s: State, speech: Speech): void => {
  if (speech.state === "ended" || speech === s.stopping) return
  if (speech.step === undefined || cutStep(s, speech.step, "end")) return over(s, speech)
  s.stopping = speech
  freeMouth(s, speech)
  speech.state = "waiting"
}

const over = (s: State, speech: Speech): void => {
  if (speech === s.stopping) {
    s.stopping = undefined
    endPause(s)
  }
  freeMouth(s, speech)
  leaveQueue(s, speech)
  speech.state = "ended"
  s.speeches.delete(speech)
  if (speech.filler?.speech === speech) speech.filler.speech = undefined
  emit(s, { _tag: "SpeechEnded", speechId: speech.id, interrupted: speech.interrupted })
  const { reply } = speech
  if (reply !== undefined) {
    // the calls that it told of are not to live as long as those that it made
    speech.reply = undefined
    Replies.endReply(s, reply, statusOf(speech), speech)
  }
  observe(s, { _tag: "SpeechEnded", speech })
  for (const waiter of speech.waiters) wake(s, () => waiter.resume(false))
  speech.waiters = none
  Jobs.close(s, speech.jobs)
}

const statusOf = (speech: Speech): "completed" | "interrupted" | "skipped" | "failed" => {
  if (speech.failure !== undefined || speech.broken === "stalled") return "failed"
  if (speech.interrupted) return "interrupted"
  return speech.items.some((item) => item._tag === "Message" || item._tag === "FunctionCall") ? "completed" : "skipped"
}

/** What could not be read is asked for once more, unless something was called in it (rule T3). */
export const retry = (s: State, step: Step): void => {
  if (cutStep(s, step, "retry")) askAgain(s, step)
}

const askAgain = (s: State, step: Step): void => {
  const { speech } = step
  if (step.calls.length > 0) return
  speech.retried = true
  speech.continues = step.continues
  enqueue(s, speech)
}

// ------------------------------------------------------------------------------------- the output, and who has the floor

/** It has the mouth, and nobody has paused it (rules O1, O7). */
const mayPlay = (s: State, speech: Speech): boolean =>
  s.mouth === speech && s.paused === undefined && s.stopping === undefined

/** Milliseconds in which an output may say where it stopped, if it does not say how long it needs (rule O4). */
export const defaultStopTimeout = 1000

/** Behind the first reason comes only one that is stronger. */
const strength = { hold: 0, retry: 1, end: 2 } as const

const stopPlaying = (s: State, entry: TextEntry, then: Stopping): void => {
  const { playback } = entry
  if (playback === undefined) return
  if (playback.stop !== undefined) {
    if (strength[then] > strength[playback.stop]) playback.stop = then
    return
  }
  playback.stop = then
  entry.play = "stopping"
  playback.timer = stopTimer(s, playback.timer)
  command(s, { _tag: "StopPlaying", entry })
  const stopTimeout = entry.step.agent.output?.stopTimeout ?? defaultStopTimeout
  const millis = Number.isFinite(stopTimeout) ? stopTimeout : s.options.cancellationTimeout
  if (Number.isFinite(millis)) playback.timer = startTimer(s, { _tag: "Stop", entry, playback }, millis)
}

/** The output has stopped, or has had its time: what was heard is known. */
export const stopped = (s: State, entry: TextEntry): void => {
  const { playback, step } = entry
  if (entry.play !== "stopping" || playback === undefined) return
  playback.timer = stopTimer(s, playback.timer)
  const { stop } = playback
  if (stop !== "hold") {
    entry.play = "done"
    recordCut(s, step)
    return stop === "retry" ? askAgain(s, step) : over(s, step.speech)
  }
  notify(s, entry)
  if (entry.ended && (Playing.isWhole(entry) || entry.played.length >= entry.text.length)) entry.play = "done"
  else {
    entry.play = "idle"
    Playing.rewind(entry)
  }
  letGo(s, step.speech)
  advance(s, step)
}

/**
 * The user has the floor: what has the mouth and has not begun gives it back. It keeps its place, and its model is read on
 * (rule O1). An output that cannot tell when sound begins may have begun what it was asked to play: that is not cut.
 */
export const giveBack = (s: State): void => {
  const speech = s.mouth
  if (speech === undefined || speech.spoke) return
  const entry = speech.step?.entries[speech.step.cursor]
  if (entry?._tag !== "Text" || !Playing.mayReport(entry)) letGo(s, speech)
  else if (entry.step.agent.output?.tellsStart === true) stopPlaying(s, entry, "hold")
}

const letGo = (s: State, speech: Speech): void => {
  freeMouth(s, speech)
  if (speech.filler?.ended === true) {
    speech.interrupted = true
    return end(s, speech)
  }
  enqueue(s, speech)
  // what was heard in part comes first
  if (!speech.spoke) return
  leaveQueue(s, speech)
  s.queue.unshift(speech)
}

/** It is in the queue, in the middle of a step. */
export const isMidStep = ({ state, step }: Speech): boolean => state === "queued" && step !== undefined && !step.played

/** Nobody has it, or is in the middle of a step: the agent may leave. */
export const isMouthFree = (s: State): boolean =>
  s.mouth === undefined && s.stopping === undefined && !s.queue.some((speech) => isActive(speech) && isMidStep(speech))

/** It had the mouth, and nothing of it was heard: the user's answer passes it (rule O1). */
export const isPassed = (speech: Speech): boolean => {
  if (speech.begun || speech.userTurn || speech.reply !== undefined) return false
  const entry = speech.step?.entries[speech.step.cursor]
  return isMidStep(speech) || (entry?._tag === "Text" && entry.playback?.stop === "hold")
}

/** Pauses the speech that has the mouth: where its output cannot, it is stopped, and begins its sentence anew (rule O7). */
export const pause = (s: State, speech: Speech): void => {
  if (s.mouth !== speech || s.paused !== undefined) return
  const entry = speech.step?.entries[speech.step.cursor]
  if (entry?._tag !== "Text" || !Playing.mayReport(entry)) {
    s.paused = { entry: undefined }
  } else if (entry.play === "playing") {
    if (entry.step.agent.output?.canPause !== true) return stopPlaying(s, entry, "hold")
    s.paused = { entry }
    if (entry.playback !== undefined) entry.playback.timer = stopTimer(s, entry.playback.timer)
    command(s, { _tag: "PausePlaying", entry })
  }
}

/** The output could not be paused after all. */
export const pauseFailed = (s: State, entry: TextEntry): void => {
  if (s.paused?.entry !== entry || entry.play !== "playing") return
  s.paused = undefined
  stopPlaying(s, entry, "hold")
}

/** It does not go on: no other report of it will come. */
export const resumeFailed = (s: State, entry: TextEntry): void => {
  if (entry.play === "playing") outputFailed(s, entry, "died")
}

const endPause = (s: State): void => {
  const { paused } = s
  s.paused = undefined
  if (paused?.entry !== undefined) command(s, { _tag: "ResumePlaying", entry: paused.entry })
}

/** What was paused goes on. What ends is only resumed once it has stopped. */
export const resume = (s: State): void => {
  const speaking = s.mouth
  if (s.paused === undefined || speaking === undefined || s.stopping !== undefined) return
  const { entry } = s.paused
  endPause(s)
  if (entry !== undefined) Playing.watch(s, entry)
  if (speaking.step !== undefined) advance(s, speaking.step)
}

/** The output has reported nothing for too long (rule O6), or does not go on after a pause. */
export const outputFailed = (s: State, entry: TextEntry, how: "died" | "stalled"): void => {
  const { speech } = entry.step
  const [tag, message] =
    how === "died"
      ? ["OutputFailed", "The output failed while it played."]
      : ["OutputStalled", "The output has reported nothing for too long; its speech ends."]
  emit(s, { _tag: "SessionError", error: { tag, message } })
  speech.broken = how
  speech.interrupted = true
  end(s, speech)
}

export const fail = (s: State, speech: Speech, failure: ModelFailure): void => {
  if (speech.state === "ended") return
  speech.failure = failure
  const asked = speech.agent.task?.asked
  if (asked !== undefined) asked.failure ??= failure
  const awaited = Jobs.fail(speech.jobs, failure)
  // a task that a program runs fails with it
  const watched = speech.watched || awaited || (asked !== undefined && speech.agent.state !== "ended")
  // a bug of the model's layer is logged with its cause
  if (!watched && failure.cause === undefined) command(s, { _tag: "LogFailure", agent: speech.agent, failure })
  if (speech.step !== undefined) Usage.stepEnded(s, speech.step)
  emit(s, { _tag: "SessionError", error: { tag: failure.tag, message: failure.message } })
  end(s, speech)
}
