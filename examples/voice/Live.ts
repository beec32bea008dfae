/**
 * The same conversation with a microphone and headphones, through `arecord` and `aplay`. Without headphones the ear hears
 * the agent, too, and takes it for the user.
 */
import { type ChildProcessByStdio, spawn } from "node:child_process"
import type { Writable } from "node:stream"
import { Clock, Console, Effect, Stream } from "effect"
import { AgentSession } from "effect-meantime"
import * as Voice from "effect-meantime/voice"
import * as Desk from "./Agent.js"
import { frameLength } from "./Detector.js"
import * as Ear from "./Ear.js"
import * as Sound from "./Sound.js"
import * as Voices from "./Voices.js"

/** Milliseconds that the sound card is ahead: a timer that is late must not be heard. */
const lead = 60

const makeSpeaker = Effect.gen(function* () {
  let player: { readonly child: ChildProcessByStdio<Writable, null, null>; readonly rate: number } | undefined
  let end = 0
  const stop = Effect.sync(() => {
    player?.child.kill("SIGKILL")
    player = undefined
    end = 0
  })
  yield* Effect.addFinalizer(() => stop)
  const sink: Voice.AudioSink = {
    write: ({ sampleRate, samples }) =>
      Effect.gen(function* () {
        if (player?.rate !== sampleRate || player.child.exitCode !== null) {
          yield* stop
          const args = ["-q", "-t", "raw", "-f", "S16_LE", "-c", "1", "-r", String(sampleRate), "--buffer-time=100000"]
          const child = spawn("aplay", args, { stdio: ["pipe", "ignore", "ignore"] })
          child.on("error", () => {})
          child.stdin.on("error", () => {})
          player = { child, rate: sampleRate }
        }
        const now = yield* Clock.currentTimeMillis
        end = Math.max(end, now) + (samples.length * 1000) / sampleRate
        player.child.stdin.write(Buffer.from(samples.buffer, samples.byteOffset, samples.byteLength))
        yield* Effect.sleep(Math.max(0, end - now - lead))
      }),
    clear: stop
  }
  return sink
})

/** What the microphone hears, in frames. */
const microphone: Stream.Stream<Int16Array> = Stream.asyncScoped<Int16Array>((emit) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const args = ["-q", "-t", "raw", "-f", "S16_LE", "-c", "1", "-r", String(Sound.earRate)]
      const child = spawn("arecord", args, { stdio: ["ignore", "pipe", "inherit"] })
      let rest: Buffer = Buffer.alloc(0)
      child.on("error", () => void emit.end())
      child.on("close", () => void emit.end())
      child.stdout.on("data", (data: Buffer) => {
        rest = Buffer.concat([rest, data])
        for (; rest.length >= frameLength * 2; rest = rest.subarray(frameLength * 2)) {
          void emit.single(Sound.samplesOf(rest.subarray(0, frameLength * 2)))
        }
      })
      return child
    }),
    (child) => Effect.sync(() => child.kill("SIGKILL"))
  )
)

export const live: Effect.Effect<void, Voice.VoiceError | AgentSession.SessionClosed> = Effect.gen(function* () {
  const { layer, name } = yield* Desk.model
  const sink = yield* makeSpeaker
  const session = yield* AgentSession.make({ agent: Desk.agent }).pipe(
    Effect.provide(Voice.output({ synthesizer: Voices.espeak, sink, stallTimeout: "10 seconds" })),
    Effect.provide(layer),
    Effect.provideService(Desk.Airline, { search: Effect.sleep("15 seconds") })
  )
  yield* Console.log(`The model: ${name}. You can say:\n${Desk.grammar.split("\n").slice(2).join("\n")}`)
  yield* session.events.pipe(
    Stream.runForEach((event) =>
      event._tag === "ItemAdded" && event.item._tag === "Message"
        ? Console.log(`${event.item.role}: ${event.item.text.trim()}${event.item.interrupted ? " –" : ""}`)
        : Effect.void
    ),
    Effect.forkScoped
  )
  const ear = yield* Ear.make(Desk.grammar)
  yield* Voice.listen(session, ear(microphone), {
    bargeIn: { after: "200 millis", isBackchannel: (text) => text === "okay" },
    endpoint: { silence: "500 millis" }
  })
}).pipe(Effect.scoped)
