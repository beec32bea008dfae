/**
 * How a call ends, in one table: what the conversation is told of each way (rules T5 to T8, T12, U3, C6, P2).
 */
import type { Call, Ending, Outcome, Phrase } from "./state.js"
import { timedOut } from "./texts.js"
import type { File, Prompts } from "./words.js"

export interface Settlement {
  readonly status: "done" | "error" | "cancelled"
  readonly value: unknown
  readonly isError: boolean
  /** a background call's result is voiced; else it is only written */
  readonly voiced: boolean
  /** an inline call asks the model to go on */
  readonly reply: boolean
  readonly ending: Ending
  readonly files: ReadonlyArray<File> | undefined
}

type Way = Omit<Settlement, "value" | "ending" | "files">

const failure: Way = { status: "error", isError: true, voiced: true, reply: true }
const cut: Way = { status: "cancelled", isError: false, voiced: false, reply: true }

const ways: { readonly [how in Ending["how"] | "nothing"]: Way } = {
  done: { status: "done", isError: false, voiced: true, reply: true },
  // it has ended and has nothing to say
  nothing: { status: "done", isError: false, voiced: false, reply: false },
  // the duplicate policy answers in its place
  duplicate: { status: "done", isError: false, voiced: true, reply: true },
  refused: failure,
  denied: failure,
  expired: failure,
  failed: failure,
  defect: failure,
  timeout: failure,
  cancelled: cut,
  replaced: cut,
  drained: cut
}

/** Field by field: each settlement has the same shape for V8, and none is spread. */
const by = (
  { isError, reply, status, voiced }: Way,
  value: unknown,
  ending: Ending,
  files?: ReadonlyArray<File>
): Settlement => ({
  status,
  value,
  isError,
  voiced,
  reply,
  ending,
  files
})

const done: Ending = { how: "done", errorType: undefined }

/** It was answered without being run. */
export const answered = (value: unknown): Settlement =>
  by(ways.duplicate, value, { how: "duplicate", errorType: undefined })

/** It could not be run. */
export const refused = (errorType: string, value: string): Settlement =>
  by(ways.refused, value, { how: "refused", errorType })

/** It may have done its work, or not (rule Q8). */
export const unknown = (value: Phrase): Settlement =>
  by(ways.refused, value, { how: "refused", errorType: "outcome_unknown" })

/** Nobody has agreed that it runs (rule A6). */
export const declined = (how: "denied" | "expired", value: Phrase): Settlement =>
  by(ways[how], value, { how, errorType: how })

/** It was run, or stopped before it was. `ended` makes the text for a call with nothing of its own to say. */
export const settlement = (
  call: Call,
  outcome: Outcome,
  ended: (how: Parameters<Extract<Prompts["ended"], (args: never) => string>>[0]["how"]) => Phrase
): Settlement => {
  switch (outcome._tag) {
    case "Success":
      return by(ways.done, outcome.output, done, outcome.files)
    case "Nothing":
      return by(ways.nothing, ended("done"), done)
    case "Failure":
      return by(ways[outcome.how], outcome.output, outcome)
    case "Interrupted": {
      const { reason } = outcome
      return reason === "timeout"
        ? by(ways.timeout, timedOut(call.call.name, call.tool?.timeout ?? 0), { how: "timeout", errorType: "timeout" })
        : by(ways[reason], ended(reason), { how: reason, errorType: undefined })
    }
  }
}
