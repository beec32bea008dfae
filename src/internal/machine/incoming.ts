/**
 * The parts of a step: what the model streams and what the output plays, as they come in.
 */
import * as AiError from "@effect/ai/AiError"
import * as Cause from "effect/Cause"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import { isSound } from "../model/seam.js"
import { toJson } from "../values/json.js"
import * as Calls from "./calls.js"
import * as History from "./history.js"
import * as Speech from "./speech.js"
import { emit, observe, type Part, type ReasoningEntry, type State, type Step, type TextEntry } from "./state.js"

// -------------------------------------------------------------------------------------------------------- from a model

/** A part of a model's stream. */
export const part = (s: State, step: Step, p: Part): void => {
  if (step.closed || step.streamEnded) return
  if (!isSound(p)) return modelFailed(s, step, unreadable())
  if (!step.answered) {
    step.answered = true
    observe(s, { _tag: "StepAnswered", step })
  }
  switch (p.type) {
    case "text-start": {
      // begun twice: the first one is over
      const earlier = step.openText.get(p.id)
      if (earlier !== undefined) Speech.endText(s, earlier)
      Speech.openText(step, p.id, p.metadata as any)
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
      step.openText.delete(p.id)
      return Speech.endText(s, entry)
    }
    case "reasoning-start":
    case "reasoning-delta": {
      const entry = step.openReasoning.get(p.id) ?? Speech.openReasoning(step, p.id)
      if (p.type === "reasoning-delta") entry.text += p.delta
      return addMetadata(entry, p)
    }
    case "reasoning-end": {
      const entry = step.openReasoning.get(p.id)
      if (entry === undefined) return
      addMetadata(entry, p)
      entry.ended = true
      step.openReasoning.delete(p.id)
      return Speech.advance(s, step)
    }
    case "tool-call": {
      if (p.providerExecuted === true) Calls.providerExecuted(s, step, p)
      else Calls.requested(s, step, p)
      return Speech.advance(s, step)
    }
    case "tool-result": {
      if (p.providerExecuted === true) providerResult(s, step, p)
      return
    }
    case "error":
      return modelFailed(s, step, asAiError(p.error))
    case "finish":
    case "response-metadata":
      return observe(s, { _tag: "StepDescribed", step, part: p })
    default:
      return
  }
}

const addMetadata = (entry: TextEntry | ReasoningEntry, part: { readonly metadata?: unknown }): void => {
  entry.metadata = Speech.mergeMetadata(entry.metadata, part.metadata as any)
}

/** It answers a call of the provider's own, once; the calls of ours are answered by nobody else. */
const providerResult = (s: State, step: Step, part: Extract<Part, { type: "tool-result" }>): void => {
  const callId = step.providerCalls.get(part.id) ?? History.cleanId(part.id)
  if (s.callIds.get(callId) !== "provider") return
  s.callIds.set(callId, "call")
  step.entries.push({
    _tag: "Result",
    callId,
    name: part.name,
    output: part.result === undefined ? null : toJson(part.result),
    isError: part.isFailure === true
  })
  Speech.advance(s, step)
}

const unreadable = (): AiError.AiError =>
  new AiError.MalformedOutput({
    module: "effect-meantime",
    method: "streamText",
    description: "The model sent a part that cannot be read."
  })

const failedUnexpectedly = (): AiError.AiError =>
  new AiError.UnknownError({
    module: "effect-meantime",
    method: "streamText",
    description: "The model failed unexpectedly."
  })

const asAiError = (error: unknown): AiError.AiError =>
  typeof error === "object" && error !== null && AiError.TypeId in error
    ? (error as unknown as AiError.AiError)
    : new AiError.UnknownError({
        module: "effect-meantime",
        method: "streamText",
        description:
          typeof error === "string"
            ? error
            : Predicate.hasProperty(error, "message") && typeof error.message === "string"
              ? error.message
              : "The model's stream failed.",
        cause: error
      })

/** The fiber that read the model has ended. */
export const modelEnded = (s: State, step: Step, exit: Exit.Exit<unknown, unknown>): void => {
  observe(s, { _tag: "StepEnded", step, exit })
  if (Exit.isSuccess(exit)) return streamEnded(s, step)
  modelFailed(s, step, Option.match(Cause.failureOption(exit.cause), { onNone: failedUnexpectedly, onSome: asAiError }))
}

export const streamEnded = (s: State, step: Step): void => {
  if (!step.closed) Speech.streamEnded(s, step)
}

/**
 * The model failed in the middle of a step (rule F7). Output that could not be read is asked for once more (rule T3);
 * what was called before it counts.
 */
const modelFailed = (s: State, step: Step, error: AiError.AiError): void => {
  const { speech } = step
  if (step.closed || speech.state === "ended" || speech.step !== step) return
  observe(s, { _tag: "StepFailed", step, error })
  if (error._tag === "MalformedOutput" && !speech.retried) {
    Speech.cutStep(s, step)
    if (step.calls.length === 0) {
      speech.retried = true
      Speech.enqueue(s, speech)
    }
    return
  }
  Speech.fail(s, speech, error)
}

// ----------------------------------------------------------------------- from a text that is said, and from the output

export const textRead = (s: State, step: Step, text: string): void => {
  const entry = step.entries[0]
  if (!step.closed && entry?._tag === "Text" && typeof text === "string") Speech.textDelta(s, entry, text)
}

export const played = (_: State, entry: TextEntry, piece: string): void => {
  if (entry.play === "playing" && !entry.step.closed && typeof piece === "string") entry.played += piece
}

export const playEnded = (s: State, entry: TextEntry, failed: boolean): void => {
  if (entry.play !== "playing" || entry.step.closed) return
  entry.play = "done"
  if (failed) {
    emit(s, { _tag: "SessionError", error: { tag: "OutputFailed", message: "The output failed while it played." } })
    entry.step.speech.interrupted = true
    Speech.end(s, entry.step.speech)
    return
  }
  entry.ended = true
  Speech.advance(s, entry.step)
}
