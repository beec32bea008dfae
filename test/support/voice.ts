/**
 * Parts of a conversation by voice in virtual time: a synthesizer, a sink, and a user that is heard by a script.
 */
import { type Duration, Effect, Stream } from "effect"
import type { AgentOutput } from "effect-meantime"
import type * as Voice from "effect-meantime/voice"
import { now } from "./talk.js"

/** A thousand samples a second: a sample is a millisecond. */
export const sampleRate = 1000

export const frame = (millis: number, textOffset?: number): Voice.AudioFrame => ({
  samples: new Int16Array(millis),
  sampleRate,
  ...(textOffset === undefined ? {} : { textOffset })
})

/** Sound of 100 milliseconds for each character, a character a frame, as it is or with offsets. */
export const spelled = (text: string, marked = false): ReadonlyArray<Voice.AudioFrame> =>
  Array.from(text.trimEnd(), (_, i) => frame(100, marked ? i : undefined))

/** Notes what it is asked for, and when. */
export const synthesizer = (
  synthesize: (text: string) => Stream.Stream<Voice.AudioFrame, Voice.VoiceError> = (text) =>
    Stream.fromIterable(spelled(text))
) => {
  const asked: Array<{ readonly at: number; readonly text: string }> = []
  const service: Voice.Synthesizer = {
    synthesize: (text) =>
      Stream.unwrap(
        Effect.map(now, (at) => {
          asked.push({ at, text })
          return synthesize(text)
        })
      )
  }
  return { asked, service }
}

/** Plays each frame for as long as it is, and notes when it begins and when it has been played. */
export const sink = () => {
  const begun: Array<number> = []
  const played: Array<number> = []
  const cleared: Array<number> = []
  const service: Voice.AudioSink = {
    write: ({ samples }) =>
      Effect.gen(function* () {
        begun.push(yield* now)
        yield* Effect.sleep(samples.length)
        played.push(yield* now)
      }),
    clear: Effect.map(now, (at) => void cleared.push(at))
  }
  return { begun, played, cleared, service }
}

/** What an output reports of a speech. */
export const speech = () => {
  const reports: Array<{ readonly at: number; readonly what: "started" | number }> = []
  const report = (what: "started" | number) => Effect.map(now, (at) => void reports.push({ at, what }))
  const service: AgentOutput.Speech = {
    id: "speech_1",
    source: "reply",
    agent: "helper",
    covers: [],
    allowInterruptions: Effect.succeed(true),
    started: report("started"),
    playedTo: report
  }
  const offsets = (): ReadonlyArray<number> => reports.flatMap(({ what }) => (what === "started" ? [] : [what]))
  return { reports, offsets, service }
}

type Word = Voice.Heard | "start" | "end"

/** What is heard of the user: each after so many milliseconds since the one before. */
export const heard = (...script: ReadonlyArray<readonly [after: Duration.DurationInput, word: Word]>) =>
  Stream.fromIterable(script).pipe(Stream.mapEffect(([after, word]) => Effect.as(Effect.sleep(after), toHeard(word))))

const toHeard = (word: Word): Voice.Heard =>
  word === "start" ? { _tag: "SpeechStarted" } : word === "end" ? { _tag: "SpeechEnded" } : word

export const partial = (text: string): Voice.Heard => ({ _tag: "Partial", text })
export const final = (text: string): Voice.Heard => ({ _tag: "Final", text })
