/**
 * Fillers: what is said while an effect of a handler takes its time (rule F6).
 */
import * as Idle from "./idle.js"
import * as Speech from "./speech.js"
import { currentAgent, type Filler, type State, startTimer, stopTimer } from "./state.js"

export const start = (s: State, filler: Filler): void => {
  if (!filler.call.step.speech.interrupted && filler.call.state._tag !== "Ended") s.fillers.add(filler)
}

export const end = (s: State, filler: Filler): void => {
  if (filler.ended) return
  filler.ended = true
  filler.timer = stopTimer(s, filler.timer)
  s.fillers.delete(filler)
  const speech = filler.speech
  if (speech !== undefined && speech.state === "queued") {
    speech.interrupted = true
    Speech.end(s, speech)
  }
}

export const say = (s: State, filler: Filler, text: string | undefined): void => {
  filler.due = false
  if (filler.ended || s.phase !== "open") return
  filler.step++
  if (typeof text === "string" && text !== "") {
    filler.speech = Speech.create(s, {
      source: "say",
      agent: currentAgent(s),
      text,
      filler,
      jobs: filler.call.jobs
    })
  }
  if (filler.interval === undefined || filler.step >= filler.maxSteps) {
    s.fillers.delete(filler)
  }
}

/** Its time runs while the session is idle for its call, and begins anew when it is not. */
export const dwell = (s: State, filler: Filler): void => {
  if (filler.due) return
  const idle = filler.speech === undefined && Idle.isIdle(s, filler.call)
  if (!idle) filler.timer = stopTimer(s, filler.timer)
  else if (filler.timer === undefined && filler.step < filler.maxSteps) {
    const millis = filler.step === 0 ? filler.delay : (filler.interval ?? filler.delay)
    filler.timer = startTimer(s, { _tag: "Filler", filler }, millis)
  }
}
