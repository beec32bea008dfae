/**
 * What is heard of the user: the detector says when somebody speaks, the recogniser what.
 */
import { Effect, type Scope, Stream } from "effect"
import type * as Voice from "effect-meantime/voice"
import * as Detector from "./Detector.js"
import * as Recogniser from "./Recogniser.js"

/** Frames of 16 milliseconds with a voice in them, one after the other, that are a beginning: a click is none. */
const beginning = 3
/** Frames without a voice that are an end: the gap between two words is none. */
const ending = 12
/** The detector is sure only when the first sound is over: the recogniser is given the half second before, too. */
const before = 31

/** From frames of 256 samples, 16,000 a second. */
export const make = (
  grammar: string
): Effect.Effect<(sound: Stream.Stream<Int16Array>) => Stream.Stream<Voice.Heard>, Voice.VoiceError, Scope.Scope> =>
  Effect.gen(function* () {
    const detector = yield* Detector.make
    const recogniser = yield* Recogniser.make(grammar)
    const last: Array<Int16Array> = []
    let speaking = false
    let inRow = 0
    let understood = ""

    const hear = (frame: Int16Array): ReadonlyArray<Voice.Heard> => {
      const voice = detector.hears(frame)
      inRow = voice === speaking ? 0 : inRow + 1
      if (!speaking) {
        last.push(frame)
        if (last.length > before) last.shift()
        if (inRow < beginning) return []
        speaking = true
        inRow = 0
        understood = ""
        recogniser.begin()
        for (const earlier of last.splice(0)) recogniser.feed(earlier)
        return [{ _tag: "SpeechStarted" }]
      }
      const text = recogniser.feed(frame)
      const partial: ReadonlyArray<Voice.Heard> = text === understood || text === "" ? [] : [{ _tag: "Partial", text }]
      understood = text
      if (inRow < ending) return partial
      speaking = false
      inRow = 0
      const final = recogniser.end()
      return [...partial, { _tag: "SpeechEnded" }, ...(final === "" ? [] : [{ _tag: "Final", text: final } as const])]
    }

    return (sound) => Stream.mapConcat(sound, hear)
  })
