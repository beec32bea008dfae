/**
 * Speech and transcription models of the AI SDK (`@ai-sdk/openai`, `@ai-sdk/elevenlabs`, …) as the synthesizer and the
 * recogniser of a conversation by voice.
 *
 * These models give and take whole files: there is no sound before all of a sentence is made, and no partial text. A
 * sentence is short, so the first costs a conversation little; for the second a recogniser that streams is better.
 *
 * @example
 * ```ts
 * import { openai } from "@ai-sdk/openai"
 * import { AiSdkVoice } from "effect-meantime/ai-sdk"
 * import * as Voice from "effect-meantime/voice"
 *
 * declare const sink: Voice.AudioSink
 *
 * export const Speaker = Voice.output({
 *   synthesizer: AiSdkVoice.synthesizer(openai.speech("gpt-4o-mini-tts"), { voice: "alloy" }),
 *   sink
 * })
 * ```
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { decode, encode, framesOf } from "../internal/ai-sdk/audio.js"
import { logOnce } from "../internal/ai-sdk/warnings.js"
import { describeError, printable, read } from "../internal/model/errors.js"
import { errorIn, ofSynthesizer } from "../internal/values/options.js"
import { VoiceError } from "../Tags.js"
import type { AudioFrame, Recogniser, Synthesizer } from "../voice/Audio.js"

/**
 * A speech model or a transcription model of the AI SDK, by its interface alone: version 3 (`@ai-sdk/provider` 3) or 4.
 *
 * @since 0.1.0
 * @category models
 */
export interface SdkVoiceModel {
  readonly specificationVersion: string
  readonly provider: string
  readonly modelId: string
  readonly doGenerate: (options: never) => PromiseLike<unknown>
}

/**
 * What is sent with each request.
 *
 * @since 0.1.0
 * @category models
 */
export interface RequestOptions {
  readonly headers?: Readonly<Record<string, string | undefined>> | undefined
  readonly providerOptions?: Readonly<Record<string, Readonly<Record<string, unknown>>>> | undefined
}

/**
 * How a synthesizer is asked. What is absent is the provider's to decide.
 *
 * @since 0.1.0
 * @category models
 */
export interface SynthesizerOptions extends RequestOptions {
  readonly voice?: string | undefined
  readonly instructions?: string | undefined
  readonly speed?: number | undefined
  readonly language?: string | undefined
  /** What the model is asked for. Default: `wav`. */
  readonly outputFormat?: "wav" | "pcm" | undefined
  /** Samples a second of `pcm`, which does not say it itself. Default: 24,000, as OpenAI's models give it. */
  readonly sampleRate?: number | undefined
  /** How long a frame is, and so how soon speech stops. Default: 20 milliseconds. */
  readonly frame?: Duration.DurationInput | undefined
}

const isCallable = (model: SdkVoiceModel): boolean =>
  (model?.specificationVersion === "v3" || model?.specificationVersion === "v4") &&
  typeof model.doGenerate === "function"

const wrongModel = (name: string, kind: string, model: SdkVoiceModel): string =>
  typeof model === "string"
    ? `${name} takes a model object, such as openai.${kind}("…"), not the id "${model}".`
    : `${name} takes a ${kind} model of interface version 3 or 4; ${model?.provider} ${model?.modelId} has version ` +
      `${JSON.stringify(model?.specificationVersion)}. Update the provider's package.`

/** One request, which ends with the fiber that waits for it. */
const asking = (
  model: SdkVoiceModel,
  options: RequestOptions | undefined
): ((request: object) => Effect.Effect<unknown, VoiceError>) => {
  const name = `${model.provider} ${model.modelId}`
  const warn = logOnce(name)
  const { headers, providerOptions } = options ?? {}
  const always = {
    ...(headers === undefined ? {} : { headers }),
    ...(providerOptions === undefined ? {} : { providerOptions })
  }
  const doGenerate = (request: object) =>
    (model.doGenerate as (options: object) => PromiseLike<unknown>).call(model, request)
  return (request) =>
    Effect.tryPromise({
      try: (abortSignal) => doGenerate({ ...request, ...always, abortSignal }),
      catch: (error) => new VoiceError({ message: `${name} failed: ${describeError(error)}`, cause: printable(error) })
    }).pipe(
      Effect.tap((result) => {
        const warnings = read(result, "warnings")
        return Array.isArray(warnings) ? warn(warnings) : Effect.void
      })
    )
}

const given = (options: SynthesizerOptions): object =>
  Object.fromEntries(
    (["voice", "instructions", "speed", "language"] as const).flatMap((key) =>
      options[key] === undefined ? [] : [[key, options[key]]]
    )
  )

/**
 * A synthesizer from a speech model. The model is asked for `wav` or `pcm`; whatever else it gives is a `VoiceError`, as is a
 * request that fails. Several channels become one. A model that is none of version 3 or 4, or an option that makes no sense,
 * is a defect of the first request.
 *
 * @since 0.1.0
 * @category constructors
 */
export const synthesizer = (model: SdkVoiceModel, options: SynthesizerOptions = {}): Synthesizer => {
  if (!isCallable(model)) {
    return { synthesize: () => Stream.dieMessage(wrongModel("AiSdkVoice.synthesizer", "speech", model)) }
  }
  const name = `${model.provider} ${model.modelId}`
  const wrong = errorIn(`AiSdkVoice.synthesizer "${name}"`, options, ofSynthesizer)
  if (wrong !== undefined) return { synthesize: () => Stream.die(wrong) }
  const { outputFormat = "wav", sampleRate = 24_000 } = options
  const rawRate = outputFormat === "pcm" ? sampleRate : undefined
  const millis = Duration.toMillis(options.frame ?? 20)
  const ask = asking(model, options)
  const settings = given(options)
  return {
    synthesize: (text) =>
      Stream.fromIterableEffect(
        Effect.flatMap(ask({ text, outputFormat, ...settings }), (result) => {
          const sound = decode(read(result, "audio"), rawRate)
          return typeof sound === "string"
            ? new VoiceError({ message: `${name} was asked for ${outputFormat} and gave ${sound}.` })
            : Effect.succeed(framesOf(sound, millis))
        })
      )
  }
}

/**
 * A recogniser from a transcription model: an utterance is sent whole, as a WAV file, and becomes one `Final`. Of no frames
 * there is none. A request that fails, frames of several rates, and an answer without a text are a `VoiceError`. A model that
 * is none of version 3 or 4 is a defect of the first request.
 *
 * @since 0.1.0
 * @category constructors
 */
export const recogniser = (model: SdkVoiceModel, options?: RequestOptions): Recogniser => {
  if (!isCallable(model)) {
    return { recognise: () => Stream.dieMessage(wrongModel("AiSdkVoice.recogniser", "transcription", model)) }
  }
  const name = `${model.provider} ${model.modelId}`
  const ask = asking(model, options)
  const transcribe = (frames: ReadonlyArray<AudioFrame>) =>
    frames.some(({ sampleRate }) => sampleRate !== frames[0]?.sampleRate)
      ? new VoiceError({ message: "The frames of an utterance have several sample rates." })
      : Effect.flatMap(ask({ audio: encode(frames), mediaType: "audio/wav" }), (result) => {
          const text = read(result, "text")
          return typeof text === "string"
            ? Effect.succeed([{ _tag: "Final", text } as const])
            : new VoiceError({ message: `${name} gave no text.` })
        })
  return {
    recognise: (utterance) =>
      Stream.fromIterableEffect(
        Effect.flatMap(Stream.runCollect(utterance), (frames) =>
          frames.length === 0 ? Effect.succeed([]) : transcribe(Array.from(frames))
        )
      )
  }
}
