/**
 * The speech and transcription models of `@ai-sdk/openai` themselves behind a conversation by voice, over HTTP, against a
 * local server that checks each request by the rules of OpenAI's API.
 */
import { createServer, type IncomingMessage } from "node:http"
import type { AddressInfo } from "node:net"
import { createOpenAI } from "@ai-sdk/openai"
import { describe, expect, it } from "@effect/vitest"
import { Cause, Chunk, Deferred, Effect, Exit, Fiber, FiberId, Option, Stream } from "effect"
import { Agent, type AgentSession } from "effect-meantime"
import { AiSdkVoice } from "effect-meantime/ai-sdk"
import { ScriptedModel, TestSession } from "effect-meantime/testing"
import * as Voice from "effect-meantime/voice"
import { silent } from "../support/requests.js"

type Answer = { readonly status: number; readonly type: string; readonly body: Uint8Array | string } | "none"

interface Asked {
  readonly path: string
  readonly key: string | undefined
  /** the fields of the body */
  readonly fields: Readonly<Record<string, unknown>>
  readonly file: { readonly name: string; readonly type: string; readonly bytes: Uint8Array } | undefined
}

const formats = ["mp3", "opus", "aac", "flac", "wav", "pcm"]

/** Which documented rule a request breaks. */
const violation = ({ fields, file, path }: Asked): string | undefined => {
  if (path === "/v1/audio/speech") {
    const { input, model, response_format, voice, ...rest } = fields
    if (typeof model !== "string") return "model is required"
    if (typeof input !== "string" || input === "" || input.length > 4096) return "input has 1 to 4096 characters"
    if (typeof voice !== "string") return "voice is required"
    if (!formats.includes(String(response_format))) return "response_format is unknown"
    const other = Object.keys(rest).find((key) => !["speed", "instructions", "stream_format"].includes(key))
    return other === undefined ? undefined : `unknown parameter ${other}`
  }
  if (path === "/v1/audio/transcriptions") {
    if (typeof fields.model !== "string") return "model is required"
    if (file === undefined) return "file is required"
    // the server knows the format by the name
    if (!/\.(flac|mp3|mp4|mpeg|mpga|m4a|ogg|wav|webm)$/.test(file.name)) return `unknown file ${file.name}`
    const head = new TextDecoder("latin1").decode(file.bytes.slice(0, 16))
    return /^RIFF.{4}WAVEfmt /s.test(head) ? undefined : "the file is no WAV file"
  }
  return `there is no ${path}`
}

const bodyOf = async (request: IncomingMessage): Promise<Uint8Array<ArrayBuffer>> => {
  const chunks: Array<Buffer> = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  return new Uint8Array(Buffer.concat(chunks))
}

const serve = (answer: (asked: Asked, index: number) => Answer) =>
  Effect.acquireRelease(
    Effect.async<{
      readonly url: string
      readonly asked: ReadonlyArray<Asked>
      readonly violations: ReadonlyArray<string>
      readonly gone: Deferred.Deferred<void>
      readonly close: () => void
    }>((resume) => {
      const asked: Array<Asked> = []
      const violations: Array<string> = []
      const gone = Deferred.unsafeMake<void>(FiberId.none)
      const server = createServer((request, response) => {
        response.on("close", () => {
          if (!response.writableFinished) Deferred.unsafeDone(gone, Effect.void)
        })
        void (async () => {
          const bytes = await bodyOf(request)
          const type = request.headers["content-type"] ?? ""
          const form = type.startsWith("multipart/")
            ? await new Response(bytes, { headers: { "content-type": type } }).formData()
            : undefined
          const sent = form?.get("file")
          const file =
            sent instanceof File
              ? { name: sent.name, type: sent.type, bytes: new Uint8Array(await sent.arrayBuffer()) }
              : undefined
          const fields =
            form === undefined
              ? JSON.parse(new TextDecoder().decode(bytes))
              : Object.fromEntries([...form].filter(([, value]) => typeof value === "string"))
          const one: Asked = { path: request.url ?? "", key: request.headers.authorization, fields, file }
          const broken = violation(one)
          if (broken !== undefined) violations.push(broken)
          const given = answer(one, asked.push(one) - 1)
          if (given === "none") return
          response.writeHead(given.status, { "content-type": given.type })
          response.end(given.body)
        })()
      })
      server.listen(0, "127.0.0.1", () => {
        const { port } = server.address() as AddressInfo
        const close = () => {
          server.closeAllConnections()
          server.close()
        }
        resume(Effect.succeed({ url: `http://127.0.0.1:${port}/v1`, asked, violations, gone, close }))
      })
    }),
    ({ close }) => Effect.sync(close)
  )

/** As OpenAI's server writes them: it streams, and does not know the length. */
const wav = (samples: ReadonlyArray<number>): Uint8Array => {
  const bytes = Buffer.alloc(44 + samples.length * 2)
  bytes.write("RIFF")
  bytes.writeUInt32LE(0xffff_ffff, 4)
  bytes.write("WAVEfmt ", 8)
  bytes.writeUInt32LE(16, 16)
  bytes.writeUInt16LE(1, 20)
  bytes.writeUInt16LE(1, 22)
  bytes.writeUInt32LE(24_000, 24)
  bytes.writeUInt32LE(48_000, 28)
  bytes.writeUInt16LE(2, 32)
  bytes.writeUInt16LE(16, 34)
  bytes.write("data", 36)
  bytes.writeUInt32LE(0xffff_ffff, 40)
  samples.forEach((sample, i) => {
    bytes.writeInt16LE(sample, 44 + i * 2)
  })
  return new Uint8Array(bytes)
}

const sound = (body: Uint8Array, type = "audio/wav"): Answer => ({ status: 200, type, body })
const json = (body: unknown, status = 200): Answer => ({ status, type: "application/json", body: JSON.stringify(body) })
const openAi = (url: string) => createOpenAI({ apiKey: "sk-test", baseURL: url })

const collect = <A, E>(stream: Stream.Stream<A, E>) => Effect.map(Stream.runCollect(stream), Chunk.toReadonlyArray)

const failureOf = (exit: Exit.Exit<unknown, Voice.VoiceError>): string | undefined =>
  Exit.isFailure(exit) ? Option.getOrUndefined(Cause.failureOption(exit.cause))?.message : undefined

describe("@ai-sdk/openai, speech and transcription over HTTP", () => {
  it.scopedLive("[O9] a sentence becomes frames, of a WAV file or of samples", () =>
    Effect.gen(function* () {
      const samples = Array.from({ length: 1000 }, (_, i) => i - 500)
      const server = yield* serve(({ fields }) =>
        sound(fields.response_format === "wav" ? wav(samples) : wav(samples).slice(44), "application/octet-stream")
      )
      for (const outputFormat of ["wav", "pcm"] as const) {
        const model = openAi(server.url).speech("gpt-4o-mini-tts")
        const options = { outputFormat, voice: "coral", instructions: "Calm.", speed: 1.1, headers: { "x-a": "b" } }
        const frames = yield* collect(AiSdkVoice.synthesizer(model, options).synthesize("It is sunny."))
        expect(frames.map((frame) => [frame.sampleRate, frame.samples.length])).toEqual([
          [24_000, 480],
          [24_000, 480],
          [24_000, 40]
        ])
        expect(frames.flatMap((frame) => Array.from(frame.samples))).toEqual(samples)
      }
      expect(server.violations).toEqual([])
      expect(server.asked.map(({ fields }) => fields)).toEqual(
        ["wav", "pcm"].map((response_format) => ({
          model: "gpt-4o-mini-tts",
          input: "It is sunny.",
          voice: "coral",
          response_format,
          instructions: "Calm.",
          speed: 1.1
        }))
      )
      expect(server.asked[0]?.key).toBe("Bearer sk-test")
    })
  )

  it.scopedLive("[O9] an utterance becomes a final", () =>
    Effect.gen(function* () {
      const server = yield* serve(() =>
        json({ text: "Book a flight.", language: "english", duration: 0.1, segments: [] })
      )
      for (const id of ["whisper-1", "gpt-4o-transcribe"] as const) {
        const recogniser = AiSdkVoice.recogniser(openAi(server.url).transcription(id), {
          providerOptions: { openai: { language: "en" } }
        })
        const utterance = Stream.make(
          { samples: Int16Array.of(1, 2, 3), sampleRate: 16_000 },
          { samples: Int16Array.of(-4), sampleRate: 16_000 }
        )
        expect(yield* collect(recogniser.recognise(utterance))).toEqual([{ _tag: "Final", text: "Book a flight." }])
      }
      expect(server.violations).toEqual([])
      expect(server.asked.map(({ fields }) => [fields.model, fields.response_format, fields.language])).toEqual([
        ["whisper-1", "verbose_json", "en"],
        ["gpt-4o-transcribe", "json", "en"]
      ])
      const file = server.asked[0]?.file
      expect([file?.name, file?.type]).toEqual(["audio.wav", "audio/wav"])
      const bytes = Buffer.from(file?.bytes ?? [])
      expect([bytes.readUInt32LE(4), bytes.readUInt32LE(24), bytes.readUInt32LE(40)]).toEqual([44, 16_000, 8])
      expect([0, 2, 4, 6].map((at) => bytes.readInt16LE(44 + at))).toEqual([1, 2, 3, -4])
    })
  )

  it.scopedLive("[O9] a server that refuses, or gives another format, is a VoiceError", () =>
    Effect.gen(function* () {
      const refusal = {
        error: { message: "Invalid voice.", type: "invalid_request_error", param: "voice", code: null }
      }
      const mp3 = new Uint8Array(64)
      mp3.set(new TextEncoder().encode("ID3"))
      const server = yield* serve((_, index) =>
        index === 0 ? json(refusal, 400) : index === 1 ? sound(mp3, "audio/mpeg") : json({})
      )
      const speech = openAi(server.url).speech("tts-1")
      const said = () => Effect.exit(Stream.runDrain(AiSdkVoice.synthesizer(speech).synthesize("Hi.")))
      expect(failureOf(yield* said())).toBe("openai.speech tts-1 failed: Invalid voice.")
      expect(failureOf(yield* said())).toBe("openai.speech tts-1 was asked for wav and gave an MP3 file.")
      const transcription = openAi(server.url).transcription("whisper-1")
      const utterance = Stream.make({ samples: Int16Array.of(1), sampleRate: 16_000 })
      const heard = yield* Effect.exit(Stream.runDrain(AiSdkVoice.recogniser(transcription).recognise(utterance)))
      expect(failureOf(heard)).toMatch(/^openai.transcription whisper-1 failed: /)
      expect(server.violations).toEqual([])
    })
  )

  it.scopedLive("[O9] what is no longer wanted is called off at the server", () =>
    Effect.gen(function* () {
      const server = yield* serve(() => "none")
      const synthesizer = AiSdkVoice.synthesizer(openAi(server.url).speech("tts-1"))
      const fiber = yield* Effect.fork(Stream.runDrain(synthesizer.synthesize("Hi.")))
      while (server.asked.length === 0) yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
      yield* Fiber.interrupt(fiber)
      yield* Deferred.await(server.gone)
    })
  )

  it.scopedLive("[O8, O9] speaks the answers of a session", () =>
    Effect.gen(function* () {
      const server = yield* serve(() => sound(wav(new Array(480).fill(7))))
      const played: Array<number> = []
      const sink: Voice.AudioSink = {
        write: ({ samples }) => Effect.sync(() => void played.push(samples.length)),
        clear: Effect.void
      }
      const { session } = yield* TestSession.make({ agent: Agent.make("helper", { instructions: "You help." }) }).pipe(
        Effect.provide([
          ScriptedModel.layer(["It is 3.5 degrees. Take a coat!"]),
          Voice.output({ synthesizer: AiSdkVoice.synthesizer(openAi(server.url).speech("tts-1")), sink }),
          silent
        ])
      )
      const { text } = yield* (session satisfies AgentSession.Service).run("Well?")
      expect(text).toBe("It is 3.5 degrees. Take a coat!")
      expect(server.asked.map(({ fields }) => fields.input)).toEqual(["It is 3.5 degrees. ", "Take a coat!"])
      expect(played).toEqual([480, 480])
      expect(server.violations).toEqual([])
    })
  )
})
