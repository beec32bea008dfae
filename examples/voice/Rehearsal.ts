/**
 * A conversation without a microphone and without a loudspeaker, but with real parts: a synthesized user speaks into the
 * ear, in real time, and what the agent says is timed as if it sounded. Nothing is said at a fixed time: the user listens.
 */
import { Clock, Deferred, Duration, Effect, Stream } from "effect"
import { AgentSession, type ChatContext, type SessionEvent } from "effect-meantime"
import * as Voice from "effect-meantime/voice"
import * as Desk from "./Agent.js"
import * as Ear from "./Ear.js"
import * as Sound from "./Sound.js"
import * as Voices from "./Voices.js"

const frameLength = 256
const frameMillis = (frameLength * 1000) / Sound.earRate

/** Sound that was heard from `from` to `to`, in milliseconds of the clock. */
export interface Heard {
  readonly from: number
  readonly to: number
  readonly samples: Int16Array
  readonly rate: number
}

/** What the user speaks into: silence, until something is said. */
const makeLine = () => {
  const said: Array<Heard> = []
  let speaking:
    | { readonly samples: Int16Array; at: number; from: number; readonly done: (heard: Heard) => void }
    | undefined
  let due: number | undefined
  const next = Effect.gen(function* () {
    const now = yield* Clock.currentTimeMillis
    due = (due ?? now) + frameMillis
    if (due > now) yield* Effect.sleep(due - now)
    const frame = new Int16Array(frameLength)
    // a line is never quite silent
    for (let i = 0; i < frameLength; i++) frame[i] = (i * 7919) % 13
    if (speaking === undefined) return frame
    if (speaking.at === 0) speaking.from = due - frameMillis
    const { samples } = speaking
    frame.set(samples.subarray(speaking.at, speaking.at + frameLength))
    speaking.at += frameLength
    if (speaking.at >= samples.length) {
      const heard = { from: speaking.from, to: due, samples, rate: Sound.earRate }
      said.push(heard)
      speaking.done(heard)
      speaking = undefined
    }
    return frame
  })
  const say = (samples: Int16Array) =>
    Effect.async<Heard>((resume) => {
      speaking = { samples, at: 0, from: 0, done: (heard) => resume(Effect.succeed(heard)) }
    })
  return { said, say, frames: Stream.repeatEffect(next) }
}

/** Plays nothing, at the pace of sound. */
const makeSpeaker = () => {
  const sounds: Array<Heard> = []
  let end = 0
  const sink: Voice.AudioSink = {
    write: ({ sampleRate, samples }) =>
      Effect.gen(function* () {
        const now = yield* Clock.currentTimeMillis
        // a timer is late by a moment, a sound card is not
        const from = now - end < 40 ? end : now
        end = from + (samples.length * 1000) / sampleRate
        sounds.push({ from, to: end, samples, rate: sampleRate })
        yield* Effect.sleep(Math.max(0, end - now))
      }),
    clear: Effect.void
  }
  return { sounds, sink }
}

export interface Outcome {
  /** `user: …`, `agent: …`; what was cut ends with a dash */
  readonly transcript: ReadonlyArray<string>
  readonly messages: ReadonlyArray<Extract<ChatContext.ChatItem, { readonly _tag: "Message" }>>
  readonly events: ReadonlyArray<SessionEvent.SessionEvent>
  /** what the user said, and when */
  readonly said: ReadonlyArray<Heard & { readonly text: string }>
  /** stretches of the agent's sound */
  readonly spoken: ReadonlyArray<{ readonly from: number; readonly to: number }>
  /** milliseconds from the end of what the user said to the first sound of the answer */
  readonly answered: ReadonlyArray<{ readonly text: string; readonly millis: number }>
  /** milliseconds from the beginning of what the user said to the agent's silence */
  readonly silenced: ReadonlyArray<{ readonly text: string; readonly millis: number }>
  /** left the user, right the agent */
  readonly recording: Buffer
}

/** Sounds with less than a moment between them are one. */
const stretches = (sounds: ReadonlyArray<Heard>): Array<{ from: number; to: number }> => {
  const out: Array<{ from: number; to: number }> = []
  for (const { from, to } of sounds) {
    const last = out.at(-1)
    if (last !== undefined && from - last.to < 150) last.to = to
    else out.push({ from, to })
  }
  return out
}

const recordingOf = (start: number, left: ReadonlyArray<Heard>, right: ReadonlyArray<Heard>): Buffer => {
  const channel = (heard: ReadonlyArray<Heard>): Int16Array => {
    const place = (millis: number) => Math.max(0, Math.round(((millis - start) * Sound.earRate) / 1000))
    const out = new Int16Array(place(heard.at(-1)?.to ?? start) + 2 * frameLength)
    for (const { from, rate, samples } of heard) out.set(Sound.resample(samples, rate, Sound.earRate), place(from))
    return out
  }
  return Sound.writeWav(channel(left), channel(right), Sound.earRate)
}

const isMessage = (item: ChatContext.ChatItem): item is Extract<ChatContext.ChatItem, { readonly _tag: "Message" }> =>
  item._tag === "Message"

const lineOf = ({ interrupted, role, text }: Outcome["messages"][number]): string =>
  `${role === "user" ? "user" : "agent"}: ${text.trim()}${interrupted ? " –" : ""}`

/** How long the user waits for something before the rehearsal has failed. */
const patience = Duration.seconds(30)

/** Holds the conversation, and says what came of it. */
export const rehearse: Effect.Effect<Outcome, Voice.VoiceError | AgentSession.SessionClosed> = Effect.gen(function* () {
  const { layer: model } = yield* Desk.model
  const line = makeLine()
  const speaker = makeSpeaker()
  const found = yield* Deferred.make<void>()
  const start = yield* Clock.currentTimeMillis
  const lines = yield* Effect.all({
    book: Voices.flite("Book a flight to Oslo, please."),
    weather: Voices.flite("How is the weather in Rome?"),
    okay: Voices.flite("Okay."),
    stop: Voices.flite("Stop."),
    thanks: Voices.flite("Thank you.")
  })

  const session = yield* AgentSession.make({ agent: Desk.agent }).pipe(
    Effect.provide(Voice.output({ synthesizer: Voices.espeak, sink: speaker.sink, stallTimeout: "10 seconds" })),
    Effect.provide(model),
    Effect.provideService(Desk.Airline, { search: Deferred.await(found) })
  )
  const events: Array<SessionEvent.SessionEvent> = []
  yield* session.events.pipe(
    Stream.runForEach((event) => Effect.sync(() => events.push(event))),
    Effect.forkScoped
  )
  const ear = yield* Ear.make(Desk.grammar)
  yield* Voice.listen(session, ear(line.frames), {
    bargeIn: { after: "200 millis", isBackchannel: (text) => text === "okay" },
    endpoint: { silence: "500 millis" }
  }).pipe(Effect.forkScoped)

  const said: Array<Heard & { readonly text: string }> = []
  const say = (text: keyof typeof lines) =>
    Effect.map(line.say(lines[text]), (heard) => {
      said.push({ ...heard, text })
      return heard
    })

  const until = (what: string, holds: (now: number) => Effect.Effect<boolean>) =>
    Effect.zipRight(Effect.sleep(20), Effect.flatMap(Clock.currentTimeMillis, holds)).pipe(
      Effect.repeat({ until: (held) => held }),
      Effect.timeoutFail({
        duration: patience,
        onTimeout: () => new Voice.VoiceError({ message: `The user waits in vain for ${what}.` })
      })
    )
  const messages = Effect.map(session.history, ({ items }) => items.filter(isMessage))
  /** The agent has said it, and is silent. */
  const hears = (what: RegExp) =>
    until(String(what), (now) =>
      Effect.map(
        messages,
        (messages) =>
          messages.some(({ role, text }) => role === "assistant" && what.test(text)) &&
          now - (speaker.sounds.at(-1)?.to ?? now) > 400
      )
    )
  /** The agent has been speaking for so long, since then. */
  const listens = (millis: number, since: number) =>
    until("the agent's voice", (now) =>
      Effect.sync(() => {
        const last = stretches(speaker.sounds.filter(({ from }) => from >= since)).at(-1)
        return last !== undefined && last.to - last.from > millis && now - last.to < 100
      })
    )

  yield* hears(/how can I help/i)
  yield* say("book")
  yield* hears(/looking for a flight to Oslo/i)
  const { to: asked } = yield* say("weather")
  yield* listens(1500, asked)
  // the flight is found while the agent speaks: that has to wait
  yield* Deferred.succeed(found, undefined)
  const { to: agreed } = yield* say("okay")
  yield* listens(1500, agreed + 200)
  yield* say("stop")
  yield* hears(/flight to Oslo is booked/i)
  yield* say("thanks")
  yield* hears(/goodbye/i)

  const spoken = stretches(speaker.sounds)
  const all = yield* messages
  return {
    transcript: all.map(lineOf),
    messages: all,
    events,
    said,
    spoken,
    answered: said
      .filter(({ text }) => text !== "okay")
      .flatMap(({ text, to }) => {
        const first = spoken.find(({ from }) => from >= to)
        return first === undefined ? [] : [{ text, millis: first.from - to }]
      }),
    silenced: said
      .filter(({ text }) => text === "okay" || text === "stop")
      .flatMap(({ from, text }) => {
        const during = spoken.find((stretch) => stretch.from <= from && stretch.to >= from)
        return during === undefined ? [] : [{ text, millis: during.to - from }]
      }),
    recording: recordingOf(start, line.said, speaker.sounds)
  }
}).pipe(Effect.scoped)
