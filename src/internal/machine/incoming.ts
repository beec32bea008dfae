/**
 * What comes in for a step: the parts that the model streams, and what the output has played.
 */

import { mergeMetadata } from "../values/metadata.js"
import * as Calls from "./calls.js"
import { touch } from "./durable.js"
import * as History from "./history.js"
import * as Playing from "./playing.js"
import type { ModelEnd, ModelFailure, Part, ProviderCallPart, ProviderResultPart } from "./protocol.js"
import * as Speech from "./speech.js"
import {
  drop,
  emit,
  observe,
  type Playback,
  put,
  type ReasoningEntry,
  type State,
  type Step,
  stopTimer,
  type TextEntry
} from "./state.js"

// -------------------------------------------------------------------------------------------------------- from a model

/** A part of a model's answer. */
export const part = (s: State, step: Step, p: Part): void => {
  if (step.closed || step.streamEnded) return
  if (p.type === "failure") return modelFailed(s, step, p.failure)
  if (!step.answered) {
    step.answered = true
    observe(s, { _tag: "StepAnswered", step })
  }
  switch (p.type) {
    case "text-start": {
      // begun twice: the first one is over
      const earlier = step.openText.get(p.id)
      if (earlier !== undefined) Speech.endText(s, earlier)
      Speech.openText(step, p.id, p.metadata)
      return
    }
    case "text-delta": {
      const entry = step.openText.get(p.id) ?? Speech.openText(step, p.id, undefined)
      addMetadata(entry, p)
      return Speech.textDelta(s, entry, p.delta)
    }
    case "text-end": {
      const entry = step.openText.get(p.id)
      if (entry === undefined) return
      addMetadata(entry, p)
      drop(step.openText, p.id)
      return Speech.endText(s, entry)
    }
    case "reasoning-start":
    case "reasoning-delta": {
      const entry = step.openReasoning.get(p.id) ?? Speech.openReasoning(step, p.id)
      if (p.type === "reasoning-delta") {
        entry.text += p.delta
        if (s.options.deltas && p.delta !== "") {
          emit(s, { _tag: "ReasoningDelta", speechId: step.speech.id, text: p.delta })
        }
      }
      return addMetadata(entry, p)
    }
    case "reasoning-end": {
      const entry = step.openReasoning.get(p.id)
      if (entry === undefined) return
      addMetadata(entry, p)
      entry.ended = true
      drop(step.openReasoning, p.id)
      return Speech.advance(s, step)
    }
    case "input-delta": {
      const callId = History.announceCallId(s, step, p.id)
      return void emit(s, { _tag: "ToolInputDelta", speechId: step.speech.id, callId, text: p.delta })
    }
    case "tool-call": {
      Calls.requested(s, step, p)
      return Speech.advance(s, step)
    }
    case "provider-call": {
      providerCall(s, step, p)
      return Speech.advance(s, step)
    }
    case "provider-result":
      return providerResult(s, step, p)
    case "file": {
      step.entries.push({ _tag: "File", file: p.file, metadata: p.metadata })
      return Speech.advance(s, step)
    }
    case "finish": {
      step.finish = p.reason
      if (p.usage !== undefined) step.usage = step.usage === undefined ? p.usage : { ...step.usage, ...p.usage }
      return p.failure === undefined ? undefined : modelFailed(s, step, p.failure)
    }
    case "response-metadata":
      step.model = p.modelId ?? step.model
      return observe(s, { _tag: "StepDescribed", step, part: p })
  }
}

const addMetadata = (
  entry: TextEntry | ReasoningEntry,
  { metadata }: { readonly metadata: Record<string, unknown> | undefined }
): void => {
  entry.metadata = mergeMetadata(entry.metadata, metadata)
}

/** A call of the provider's own: it is recorded, and starts nothing (rule T1). */
const providerCall = (s: State, step: Step, part: ProviderCallPart): void => {
  step.speech.begun = true
  const callId = History.takeCallId(s, step, part.id, "provider")
  step.providerCalls = put(step.providerCalls, part.id, callId)
  step.entries.push({ _tag: "Call", callId, name: part.name, arguments: part.arguments, metadata: part.metadata })
}

/** It answers a call of the provider's own, once; the calls of ours are answered by nobody else. */
const providerResult = (s: State, step: Step, part: ProviderResultPart): void => {
  const callId = step.providerCalls.get(part.id) ?? History.cleanId(part.id)
  if (s.callIds.get(callId) !== "provider") return
  s.callIds.set(callId, "call")
  step.entries.push({ _tag: "Result", callId, name: part.name, output: part.output, isError: part.isError })
  Speech.advance(s, step)
}

/** The fiber that read the model has ended. */
export const modelEnded = (s: State, step: Step, end: ModelEnd): void => {
  observe(s, { _tag: "StepEnded", step, end })
  if (end._tag !== "Done") return modelFailed(s, step, end.failure)
  if (!step.closed) {
    tellWordless(s, step)
    step.complete = !Calls.isCutOff(step)
  }
  streamEnded(s, step)
}

/** Nothing came but an end. */
export const isEmpty = (step: Step): boolean =>
  step.finish === undefined && step.entries.length === 0 && step.calls.length === 0

const wordless: Readonly<Record<string, { readonly tag: string; readonly message: string }>> = {
  length: { tag: "Length", message: "The model reached its limit of tokens before it said a word." },
  "content-filter": { tag: "ContentFilter", message: "The model's answer was held back by a content filter." }
}

/** An answer that is missing for a reason is not to look as if the model had nothing to say (rule F7). */
const tellWordless = (s: State, step: Step): void => {
  const error = Object.hasOwn(wordless, step.finish ?? "") ? wordless[step.finish as string] : undefined
  if (error === undefined || step.calls.length > 0) return
  if (step.entries.some((entry) => entry._tag === "File" || (entry._tag === "Text" && entry.text.trim() !== ""))) return
  emit(s, { _tag: "SessionError", error })
}

export const streamEnded = (s: State, step: Step): void => {
  if (!step.closed) Speech.streamEnded(s, step)
}

/**
 * The model failed in the middle of a step (rule F7). Output that could not be read is asked for once more (rule T3);
 * what was called before it counts.
 */
const modelFailed = (s: State, step: Step, failure: ModelFailure): void => {
  const { speech } = step
  if (step.closed || speech.state === "ended" || speech.step !== step) return
  observe(s, { _tag: "StepFailed", step, failure })
  if (failure.malformed && !speech.retried) {
    return Speech.retry(s, step)
  }
  Speech.fail(s, speech, failure)
}

// ----------------------------------------------------------------------- from a text that is said, and from the output

export const textRead = (s: State, step: Step, text: string): void => {
  const entry = step.entries[0]
  if (!step.closed && entry?._tag === "Text" && typeof text === "string") Speech.textDelta(s, entry, text)
}

export const isStopping = (entry: TextEntry): boolean => entry.play === "stopping"

/** The output has begun to play: only one that may stall says so. */
export const playBegan = (s: State, entry: TextEntry): void => Playing.watch(s, entry)

/** It has asked for text, and there is none yet: only one that may stall says so. */
export const playStarved = (s: State, entry: TextEntry): void => Playing.starve(s, entry)

/** Sound begins (rule O3). */
export const playStarted = (s: State, entry: TextEntry): void => {
  const { playback, step } = entry
  if (playback === undefined || !Playing.mayReport(entry)) return
  reported(s, step, playback)
  step.speech.heard = true
}

export const played = (s: State, entry: TextEntry, piece: string): void => {
  const { playback, step } = entry
  if (playback === undefined || !Playing.mayReport(entry) || typeof piece !== "string" || piece === "") return
  Playing.piece(entry, playback, piece)
  reported(s, step, playback)
  Speech.hear(step.speech, piece)
}

/** An offset into the text that this `play` was given (rule O2). */
export const playedTo = (s: State, entry: TextEntry, offset: number): void => {
  const { playback, step } = entry
  if (playback === undefined || !Playing.mayReport(entry) || typeof offset !== "number" || Number.isNaN(offset)) return
  Playing.offset(entry, playback, offset)
  reported(s, step, playback)
  Speech.hear(step.speech, entry.played)
}

const reported = (s: State, step: Step, playback: Playback): void => {
  playback.quietSince = s.now
  touch(s)
  Speech.beginToSpeak(s, step.speech)
}

/** The fiber of the output has ended; failed, it may have been interrupted. */
export const playEnded = (s: State, entry: TextEntry, failed: boolean): void => {
  if (!Playing.mayReport(entry)) return
  const { speech } = entry.step
  if (!failed && Playing.ended(entry)) {
    Speech.beginToSpeak(s, speech)
    Speech.hear(speech, entry.text)
  }
  if (entry.play === "stopping") return Speech.stopped(s, entry)
  if (entry.playback !== undefined) entry.playback.timer = stopTimer(s, entry.playback.timer)
  entry.play = "done"
  if (failed) return Speech.outputFailed(s, entry, "died")
  if (!Playing.isWhole(entry)) entry.ended = true
  Speech.advance(s, entry.step)
}
