/**
 * Speech and transcription models of the AI SDK as parts of a conversation by voice, with the AI SDK's own mock models.
 */
import { APICallError, type SpeechModelV3, type TranscriptionModelV3 } from "@ai-sdk/provider"
import { describe, expect } from "@effect/vitest"
import { MockSpeechModelV3, MockTranscriptionModelV3 } from "ai/test"
import { Cause, Chunk, Effect, Exit, Fiber, FastCheck as fc, Option, Stream } from "effect"
import { AiSdkVoice } from "effect-meantime/ai-sdk"
import { TestSession } from "effect-meantime/testing"
import * as Voice from "effect-meantime/voice"
import { collectLogs } from "./support/requests.js"
import { talk } from "./support/talk.js"
import { it } from "./support/virtual.js"
import * as Parts from "./support/voice.js"

type Asked = Parameters<SpeechModelV3["doGenerate"]>[0]

const response = { timestamp: new Date(0), modelId: "m" }

const bytesOf = (samples: ReadonlyArray<number>): Uint8Array => {
  const view = new DataView(new ArrayBuffer(samples.length * 2))
  samples.forEach((sample, i) => {
    view.setInt16(i * 2, sample, true)
  })
  return new Uint8Array(view.buffer)
}

const text = (letters: string): ReadonlyArray<number> => Array.from(letters, (letter) => letter.charCodeAt(0))
const u16 = (n: number): ReadonlyArray<number> => [n & 255, n >> 8]
const u32 = (n: number): ReadonlyArray<number> => [...u16(n & 0xffff), ...u16(n >>> 16)]

interface Wav {
  readonly tag?: number
  readonly channels?: number
  readonly rate?: number
  readonly bits?: number
  readonly data: ReadonlyArray<number>
  readonly size?: number
  readonly before?: ReadonlyArray<number>
  readonly extension?: ReadonlyArray<number>
}

const wav = ({
  before = [],
  bits = 16,
  channels = 1,
  data,
  extension = [],
  rate = 8000,
  size,
  tag = 1
}: Wav): Uint8Array =>
  Uint8Array.from([
    ...text("RIFF"),
    ...u32(0),
    ...text("WAVE"),
    ...before,
    ...text("fmt "),
    ...u32(16 + extension.length),
    ...u16(tag),
    ...u16(channels),
    ...u32(rate),
    ...u32((rate * channels * bits) / 8),
    ...u16((channels * bits) / 8),
    ...u16(bits),
    ...extension,
    ...text("data"),
    ...u32(size ?? data.length),
    ...data
  ])

const speaking = (audio: unknown, warnings: ReadonlyArray<object> = []) => {
  const asked: Array<Asked> = []
  const model = new MockSpeechModelV3({
    provider: "acme.speech",
    modelId: "tts",
    doGenerate: (options) => {
      asked.push(options)
      if (audio instanceof Error) return Promise.reject(audio)
      return Promise.resolve({ audio: audio as Uint8Array, warnings: warnings as [], response })
    }
  })
  return { asked, model }
}

const spoken = (audio: unknown, options?: AiSdkVoice.SynthesizerOptions) =>
  Effect.map(
    Stream.runCollect(AiSdkVoice.synthesizer(speaking(audio).model, options).synthesize("Hi.")),
    Chunk.toReadonlyArray
  )

const samplesOf = (frames: ReadonlyArray<Voice.AudioFrame>): ReadonlyArray<number> =>
  frames.flatMap(({ samples }) => Array.from(samples))

const failureOf = <E>(exit: Exit.Exit<unknown, E>): E | undefined =>
  Exit.isFailure(exit) ? Option.getOrUndefined(Cause.failureOption(exit.cause)) : undefined

const defectOf = (exit: Exit.Exit<unknown, unknown>): string => (Exit.isFailure(exit) ? Cause.pretty(exit.cause) : "")

describe("AiSdkVoice.synthesizer", () => {
  it.scoped("[O9] asks for a WAV file, and gives its sound in frames of 20 milliseconds", () =>
    Effect.gen(function* () {
      const samples = Array.from({ length: 400 }, (_, i) => i - 200)
      const { asked, model } = speaking(wav({ data: [...bytesOf(samples)] }))
      const frames = Array.from(yield* Stream.runCollect(AiSdkVoice.synthesizer(model).synthesize("Hi. ")))
      expect(asked).toHaveLength(1)
      expect(asked[0]).toEqual({ text: "Hi. ", outputFormat: "wav", abortSignal: expect.any(AbortSignal) })
      expect(frames.map((frame) => [frame.sampleRate, frame.samples.length])).toEqual([
        [8000, 160],
        [8000, 160],
        [8000, 80]
      ])
      expect(samplesOf(frames)).toEqual(samples)
    })
  )

  it.scoped("[O9] passes on what it is told, and nothing else", () =>
    Effect.gen(function* () {
      const { asked, model } = speaking(bytesOf([1, 2, 3]))
      const frames = yield* Stream.runCollect(
        AiSdkVoice.synthesizer(model, {
          voice: "anna",
          instructions: "Calm.",
          speed: 1.2,
          language: "en",
          outputFormat: "pcm",
          sampleRate: 1000,
          frame: "2 millis",
          headers: { "x-a": "b" },
          providerOptions: { acme: { c: 1 } }
        }).synthesize("Hi.")
      )
      expect(asked[0]).toEqual({
        text: "Hi.",
        outputFormat: "pcm",
        voice: "anna",
        instructions: "Calm.",
        speed: 1.2,
        language: "en",
        headers: { "x-a": "b" },
        providerOptions: { acme: { c: 1 } },
        abortSignal: expect.any(AbortSignal)
      })
      expect(Array.from(frames, ({ sampleRate, samples }) => [sampleRate, ...samples])).toEqual([
        [1000, 1, 2],
        [1000, 3]
      ])
    })
  )

  it.scoped("[O9] reads WAV files of all kinds of samples, and mixes channels", () =>
    Effect.gen(function* () {
      const f32 = (n: number) => Array.from(new Uint8Array(new Float32Array([n]).buffer))
      const f64 = (n: number) => Array.from(new Uint8Array(new Float64Array([n]).buffer))
      const of = (file: Wav) => Effect.map(spoken(wav(file)), samplesOf)
      expect(yield* of({ data: [128, 255, 0], bits: 8 })).toEqual([0, 32_512, -32_768])
      expect(yield* of({ data: [0, 0, 64, 0, 0, 192], bits: 24 })).toEqual([16_384, -16_384])
      expect(yield* of({ data: [...u32(0x4000_0000), ...u32(0xc000_0000)], bits: 32 })).toEqual([16_384, -16_384])
      expect(yield* of({ data: [...f32(0.5), ...f32(-2), ...f32(Number.NaN)], bits: 32, tag: 3 })).toEqual([
        16_384, -32_768, 0
      ])
      expect(yield* of({ data: f64(-0.5), bits: 64, tag: 3 })).toEqual([-16_383])
      expect(yield* of({ data: [...bytesOf([100, 300, -50, 50])], channels: 2 })).toEqual([200, 0])
      // extensible: what it is stands behind
      const extension = [...u16(22), ...u16(16), ...u32(0), ...u16(1), ...new Array(14).fill(0)]
      expect(yield* of({ data: [...bytesOf([7])], tag: 0xfffe, extension })).toEqual([7])
      // other blocks, of an odd length, too; a length that is not known; half a sample
      const before = [...text("LIST"), ...u32(3), 1, 2, 3, 0]
      expect(yield* of({ data: [...bytesOf([7, 8]), 9], before, size: 0xffff_ffff })).toEqual([7, 8])
      expect(yield* of({ data: [] })).toEqual([])
    })
  )

  it.scoped("[O9] takes sound as base64, and a WAV file where samples were asked for", () =>
    Effect.gen(function* () {
      const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString("base64")
      expect(samplesOf(yield* spoken(base64(bytesOf([5, -5])), { outputFormat: "pcm" }))).toEqual([5, -5])
      const frames = yield* spoken(base64(wav({ data: [...bytesOf([5])], rate: 44_100 })), { outputFormat: "pcm" })
      expect(frames).toEqual([{ samples: Int16Array.of(5), sampleRate: 44_100 }])
      // a view into a larger buffer, at an odd place
      const large = Uint8Array.from([9, ...bytesOf([1, 2]), 9])
      expect(samplesOf(yield* spoken(large.subarray(1, 5), { outputFormat: "pcm" }))).toEqual([1, 2])
    })
  )

  it.scoped("[O9] anything else is a VoiceError that says what it was", () =>
    Effect.gen(function* () {
      // a frame of MPEG 1, layer 3, 128 kbit/s, 44.1 kHz has 417 bytes; the next one follows
      const mp3 = new Uint8Array(900)
      mp3.set([0xff, 0xfb, 0x90, 0x64])
      mp3.set([0xff, 0xfb, 0x90, 0x64], 417)
      const aac = new Uint8Array(64)
      aac.set([0xff, 0xf1, 0x50, 0x80, 0x02, 0x1f, 0xfc])
      aac.set([0xff, 0xf1, 0x50, 0x80, 0x02, 0x1f, 0xfc], 16)
      const odd: ReadonlyArray<readonly [unknown, RegExp]> = [
        [Uint8Array.from(text("ID3\u0004aaaa")), /an MP3 file/],
        [mp3, /an MP3 or AAC file/],
        [aac, /an MP3 or AAC file/],
        [Uint8Array.from(text("OggSaaaa")), /an Ogg file/],
        [Uint8Array.from(text("fLaCaaaa")), /a FLAC file/],
        [Uint8Array.from([0x1a, 0x45, 0xdf, 0xa3]), /a WebM file/],
        [Uint8Array.from([0, 0, 0, 32, ...text("ftypisom")]), /an MP4 file/],
        [Uint8Array.from(text('{"error":{}}')), /gave text/],
        [undefined, /no sound/],
        [42, /no sound/],
        ["***", /not base64/],
        [Uint8Array.from([...text("RIFF"), ...u32(4), ...text("WAVE")]), /a WAV file without sound/],
        [Uint8Array.from([...text("RIFF"), ...u32(4), ...text("WAVEdata"), ...u32(0)]), /without a format/],
        [wav({ data: [1], tag: 6, bits: 8 }), /of the format 6:8/],
        [wav({ data: [1, 2], channels: 0 }), /without channels/],
        [wav({ data: [1, 2], rate: 0 }), /without a rate/]
      ]
      for (const [audio, message] of odd) {
        for (const outputFormat of ["wav", "pcm"] as const) {
          const error = failureOf(yield* Effect.exit(spoken(audio, { outputFormat })))
          expect(error).toBeInstanceOf(Voice.VoiceError)
          expect(error?.message).toMatch(message)
          expect(error?.message).toMatch(`acme.speech tts was asked for ${outputFormat} and gave `)
        }
      }
      // no header, but a header was asked for
      expect(failureOf(yield* Effect.exit(spoken(bytesOf([1, 2]))))?.message).toMatch(/gave no WAV file/)
    })
  )

  it.scoped("[O9] samples that look like the header of another file are samples", () =>
    Effect.promise(() =>
      fc.assert(
        fc.asyncProperty(
          fc.array(fc.integer({ min: -40, max: 40 }), { minLength: 1, maxLength: 40 }),
          async (samples) => {
            const exit = await Effect.runPromiseExit(spoken(bytesOf(samples), { outputFormat: "pcm" }))
            expect(Exit.map(exit, samplesOf)).toEqual(Exit.succeed(samples))
          }
        )
      )
    )
  )

  it.scoped("[O9] a request that fails is a VoiceError, without what is nobody's business", () =>
    Effect.gen(function* () {
      const refused = new APICallError({
        message: "Incorrect API key provided: sk-abcdefghijklmnopqrstuvwxyz123456",
        url: "https://api.example.com",
        requestBodyValues: {},
        statusCode: 401
      })
      const error = failureOf(yield* Effect.exit(spoken(refused)))
      expect(error).toBeInstanceOf(Voice.VoiceError)
      expect(error?.message).toMatch(/^acme.speech tts failed: Incorrect API key provided/)
      expect(error?.message).not.toMatch(/sk-abcdef/)
      const thrown = AiSdkVoice.synthesizer({
        ...speaking(undefined).model,
        specificationVersion: "v3",
        doGenerate: () => {
          throw new Error("odd")
        }
      } as AiSdkVoice.SdkVoiceModel)
      expect(failureOf(yield* Effect.exit(Stream.runDrain(thrown.synthesize("Hi."))))?.message).toMatch(/failed: odd/)
    })
  )

  it.scoped("[O9] a request ends with whoever waits for it", () =>
    Effect.gen(function* () {
      let signal: AbortSignal | undefined
      const model = new MockSpeechModelV3({
        doGenerate: ({ abortSignal }) => {
          signal = abortSignal
          return new Promise(() => {})
        }
      })
      const fiber = yield* Effect.fork(Stream.runDrain(AiSdkVoice.synthesizer(model).synthesize("Hi.")))
      yield* TestSession.settle
      expect(signal?.aborted).toBe(false)
      yield* Fiber.interrupt(fiber)
      expect(signal?.aborted).toBe(true)
    })
  )

  it.scoped("[O9] what the model warns of is logged once", () =>
    Effect.gen(function* () {
      const { layer, messages } = collectLogs()
      const { model } = speaking(wav({ data: [1, 2] }), [{ type: "unsupported", feature: "language" }])
      const synthesizer = AiSdkVoice.synthesizer(model, { language: "en" })
      yield* Effect.provide(Stream.runDrain(synthesizer.synthesize("One.")), layer)
      yield* Effect.provide(Stream.runDrain(synthesizer.synthesize("Two.")), layer)
      expect(messages.filter((line) => /acme.speech tts warns: .*language/.test(line))).toHaveLength(1)
    })
  )

  it.scoped("[O9] a model of another version, an id, and options that make no sense are told", () =>
    Effect.gen(function* () {
      const told = (synthesizer: Voice.Synthesizer) =>
        Effect.map(Effect.exit(Stream.runDrain(synthesizer.synthesize("Hi."))), defectOf)
      const { model } = speaking(undefined)
      expect(yield* told(AiSdkVoice.synthesizer("tts-1" as never))).toMatch(/takes a model object/)
      expect(
        yield* told(
          AiSdkVoice.synthesizer({
            specificationVersion: "v2",
            provider: "a",
            modelId: "b",
            doGenerate: () => Promise.resolve()
          })
        )
      ).toMatch(/a b has version "v2"/)
      expect(yield* told(AiSdkVoice.synthesizer(model, { outputFormat: "mp3" as never }))).toMatch(/outputFormat/)
      expect(yield* told(AiSdkVoice.synthesizer(model, { sampleRate: 0 }))).toMatch(/sampleRate/)
      expect(yield* told(AiSdkVoice.synthesizer(model, { frame: 0 }))).toMatch(/frame/)
    })
  )

  it.scoped("[O8, O9] speaks for a session; one that fails ends the speech, and the session lives on", () =>
    Effect.gen(function* () {
      let n = 0
      const model = new MockSpeechModelV3({
        provider: "acme",
        modelId: "tts",
        doGenerate: async () => {
          if (++n === 2) throw new Error("no voice today")
          return { audio: wav({ data: [...bytesOf(new Array(8000).fill(1))] }), warnings: [], response }
        }
      })
      const sink = Parts.sink()
      const { events, lines, session } = yield* talk({
        script: ["It is sunny.", "It rains.", "Snow."],
        pace: "instant",
        logs: [/^ERROR: The output failed while it played/],
        layer: Voice.output({
          synthesizer: AiSdkVoice.synthesizer(model),
          sink: { ...sink.service, write: (frame) => sink.service.write(Parts.frame(frame.samples.length / 8)) }
        })
      })
      for (const question of ["One?", "Two?", "Three?"]) {
        yield* session.send(question)
        yield* TestSession.advance("5 seconds")
      }
      expect((yield* events.filter("SessionError")).map(({ error }) => error.message)).toHaveLength(1)
      expect(yield* lines).toEqual([
        "user: One?",
        "assistant: It is sunny.",
        "user: Two?",
        "user: Three?",
        "assistant: Snow."
      ])
      expect(sink.begun).toHaveLength(100)
    })
  )
})

describe("AiSdkVoice.recogniser", () => {
  type AskedFor = Parameters<TranscriptionModelV3["doGenerate"]>[0]

  const listening = (answer: unknown) => {
    const asked: Array<AskedFor> = []
    const model = new MockTranscriptionModelV3({
      provider: "acme.transcription",
      modelId: "stt",
      doGenerate: (options) => {
        asked.push(options)
        return answer instanceof Error
          ? Promise.reject(answer)
          : Promise.resolve({
              text: answer as string,
              segments: [],
              language: "en",
              durationInSeconds: 1,
              warnings: [],
              response
            })
      }
    })
    return { asked, model }
  }

  const frames: ReadonlyArray<Voice.AudioFrame> = [
    { samples: Int16Array.of(1, -2), sampleRate: 16_000 },
    { samples: Int16Array.of(3), sampleRate: 16_000 }
  ]

  it.scoped("[O9] sends an utterance as a WAV file, and gives one final", () =>
    Effect.gen(function* () {
      const { asked, model } = listening("Book a flight.")
      const recogniser = AiSdkVoice.recogniser(model, {
        headers: { a: "b" },
        providerOptions: { acme: { language: "en" } }
      })
      const heard = yield* Stream.runCollect(recogniser.recognise(Stream.fromIterable(frames)))
      expect(Array.from(heard)).toEqual([{ _tag: "Final", text: "Book a flight." }])
      expect(asked).toEqual([
        {
          audio: wav({ data: [...bytesOf([1, -2, 3])], rate: 16_000 }).map((byte, i) => (i === 4 ? 42 : byte)),
          mediaType: "audio/wav",
          headers: { a: "b" },
          providerOptions: { acme: { language: "en" } },
          abortSignal: expect.any(AbortSignal)
        }
      ])
    })
  )

  it.scoped("[O9] of no sound it asks nobody", () =>
    Effect.gen(function* () {
      const { asked, model } = listening("Nothing.")
      expect(Array.from(yield* Stream.runCollect(AiSdkVoice.recogniser(model).recognise(Stream.empty)))).toEqual([])
      expect(asked).toEqual([])
    })
  )

  it.scoped("[O9] what fails is a VoiceError", () =>
    Effect.gen(function* () {
      const failed = (answer: unknown, utterance: Stream.Stream<Voice.AudioFrame, Voice.VoiceError>) =>
        Effect.map(
          Effect.exit(Stream.runDrain(AiSdkVoice.recogniser(listening(answer).model).recognise(utterance))),
          (exit) => failureOf(exit)?.message
        )
      const some = Stream.fromIterable(frames)
      expect(yield* failed(new Error("busy"), some)).toBe("acme.transcription stt failed: busy")
      expect(yield* failed(undefined, some)).toBe("acme.transcription stt gave no text.")
      expect(yield* failed("Hi.", Stream.fail(new Voice.VoiceError({ message: "no microphone" })))).toBe(
        "no microphone"
      )
      const rates = Stream.make(...frames, { samples: Int16Array.of(1), sampleRate: 8000 })
      expect(yield* failed("Hi.", rates)).toMatch(/several sample rates/)
      const old = AiSdkVoice.recogniser({
        specificationVersion: "v2",
        provider: "a",
        modelId: "b",
        doGenerate: () => Promise.resolve()
      })
      expect(defectOf(yield* Effect.exit(Stream.runDrain(old.recognise(some))))).toMatch(/a b has version "v2"/)
    })
  )
})
