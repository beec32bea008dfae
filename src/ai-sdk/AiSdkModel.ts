/**
 * Language models of the AI SDK (`@ai-sdk/openai`, `@ai-sdk/anthropic`, …) as models of a session, and as a
 * `LanguageModel` of `@effect/ai`.
 *
 * @example
 * ```ts
 * import { openai } from "@ai-sdk/openai"
 * import { AiSdkModel } from "effect-meantime/ai-sdk"
 *
 * export const ModelLive = AiSdkModel.layer(openai("gpt-5"), { temperature: 0 })
 * ```
 *
 * @since 0.1.0
 */
import type * as AiError from "@effect/ai/AiError"
import * as LanguageModel from "@effect/ai/LanguageModel"
import * as Model from "@effect/ai/Model"
import type * as Response from "@effect/ai/Response"
import * as Telemetry from "@effect/ai/Telemetry"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Option from "effect/Option"
import type * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import * as Ask from "../internal/ai-sdk/ask.js"
import * as Errors from "../internal/ai-sdk/errors.js"
import * as Request from "../internal/ai-sdk/request.js"
import { toParts, toStreamParts } from "../internal/ai-sdk/response.js"
import { logOnce, type Warn } from "../internal/ai-sdk/warnings.js"
import { carries } from "../internal/model/files.js"
import { streamOf } from "../internal/model/seam.js"
import { check, ofRequests } from "../internal/values/options.js"
import * as SessionModel from "../SessionModel.js"

/**
 * A language model of the AI SDK, by its interface alone: version 3 (`@ai-sdk/provider` 3) or 4.
 *
 * @since 0.1.0
 * @category models
 */
export interface SdkModel {
  readonly specificationVersion: string
  readonly provider: string
  readonly modelId: string
  readonly doGenerate: (options: never) => PromiseLike<unknown>
  readonly doStream: (options: never) => PromiseLike<unknown>
}

/**
 * Settings that are sent with each request, by the AI SDK's names. Default of each: absent, so the provider decides.
 *
 * @since 0.1.0
 * @category models
 */
export interface Settings {
  readonly maxOutputTokens?: number | undefined
  readonly temperature?: number | undefined
  readonly topP?: number | undefined
  readonly topK?: number | undefined
  readonly presencePenalty?: number | undefined
  readonly frequencyPenalty?: number | undefined
  readonly stopSequences?: ReadonlyArray<string> | undefined
  readonly seed?: number | undefined
  /** Version 4 of the interface only. */
  readonly reasoning?: "provider-default" | "none" | "minimal" | "low" | "medium" | "high" | "xhigh" | "max" | undefined
  readonly headers?: Readonly<Record<string, string | undefined>> | undefined
  readonly providerOptions?: Readonly<Record<string, Readonly<Record<string, unknown>>>> | undefined
}

/**
 * The settings of a model, and how it is asked.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options extends Settings {
  /** With `false`, the model gives whole answers, which cost less; some models have no others. Default: true. */
  readonly streaming?: boolean | undefined
  /**
   * How often, or by which schedule, a request is sent again that failed before it gave anything, if that may help
   * (`isRetryable`). With a number the delays are 2, 4, 8… seconds. What the server says about when to try again takes
   * the place of a delay. Default: 0.
   */
  readonly retry?: number | Schedule.Schedule<unknown, AiError.AiError> | undefined
  /** The name of `retry` in the AI SDK, for a number. `retry` comes first. Default: 0. */
  readonly maxRetries?: number | undefined
  /** The longest wait that a server may ask for; a longer one is cut to it. Default: 1 minute. */
  readonly maxRetryAfter?: Duration.DurationInput | undefined
}

/**
 * Settings of one scope, which win over those of the model: `Agent.provide(AiSdkModel.settings({ temperature: 0 }))`.
 *
 * @since 0.1.0
 * @category references
 */
export class CurrentSettings extends Context.Reference<CurrentSettings>()("effect-meantime/ai-sdk/Settings", {
  defaultValue: (): Settings => ({})
}) {}

/**
 * Provides settings to a scope. They win over those of the scopes around it.
 *
 * @since 0.1.0
 * @category layers
 */
export const settings = (settings: Settings): Layer.Layer<never> =>
  Layer.effect(
    CurrentSettings,
    Effect.map(CurrentSettings, (outer) => Request.mergeSettings(outer, settings))
  ) as Layer.Layer<never>

// ------------------------------------------------------------------------------------------------------ what is shared

interface Prepared {
  readonly model: Ask.Callable
  readonly settings: Settings
  readonly toPrompt: Request.ToPrompt
  readonly warn: Warn
}

/** The version of the interface says what the two functions of a model take, and what they give. */
const isCallable = (
  model: SdkModel
): model is SdkModel & Ask.Callable & { readonly specificationVersion: keyof typeof Request.toPrompt } =>
  model?.specificationVersion === "v3" || model?.specificationVersion === "v4"

const prepare = (model: SdkModel, options: Options | undefined): Effect.Effect<Prepared> => {
  if (!isCallable(model)) {
    return Effect.dieMessage(
      typeof model === "string"
        ? `AiSdkModel takes a model object, such as openai("gpt-5"), not the id "${model}".`
        : `AiSdkModel takes a language model of interface version 3 or 4; ${model?.provider} ${model?.modelId} has ` +
            `version ${JSON.stringify(model?.specificationVersion)}. Update the provider's package.`
    )
  }
  const { maxRetries: _, maxRetryAfter: __, retry: ___, streaming: ____, ...rest } = options ?? {}
  const settings = Object.keys(rest).length === 0 ? Request.noSettings : rest
  const name = `${model.provider} ${model.modelId}`
  return Effect.as(check(`AiSdkModel "${name}"`, options, ofRequests), {
    model,
    settings,
    toPrompt: Request.toPrompt[model.specificationVersion],
    warn: logOnce(name)
  })
}

const currentSettings = (context: Context.Context<never>, own: Settings): Settings => {
  const here = context.unsafeMap.get(CurrentSettings.key) as Settings | undefined
  return here === undefined ? own : Request.mergeSettings(own, here)
}

// ---------------------------------------------------------------------------------------------------------- a session

/**
 * OpenAI's package refers to items that the API has stored, by default. An answer that was interrupted is not stored,
 * and what the user heard of it is not what the model wrote: in a session the items are sent themselves.
 */
const sessionSettings = (model: SdkModel, settings: Settings): Settings => {
  const [name, api] = model.provider.split(".")
  if (name === undefined || api !== "responses") return settings
  return Request.mergeSettings({ providerOptions: { [name]: { store: false } } }, settings)
}

/**
 * A model for a session, without a `Stream` in between; each message and each tool is converted once. Dies if the model
 * is not of interface version 3 or 4.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (model: SdkModel, options?: Options): Effect.Effect<SessionModel.Service> =>
  Effect.map(prepare(model, options), (prepared) => {
    const { toPrompt, warn } = prepared
    const settings = sessionSettings(model, prepared.settings)
    const conversationOf = Request.makeConversations()
    const ask: SessionModel.Run = (request, onParts) =>
      Effect.contextWithEffect((context: Context.Context<never>) => {
        const conversation = conversationOf(request.toolkit.tools)
        const prompt = toPrompt(request.prompt.content, conversation)
        const call = Request.toCall(currentSettings(context, settings), prompt, conversation.tools, request.toolChoice)
        return options?.streaming === false
          ? Effect.map(Ask.generate(prepared.model, call, toStreamParts, warn), onParts)
          : Ask.stream(prepared.model, call, onParts, request.deltas === true, warn)
      })
    const retry = Ask.retrying(options)
    const run: SessionModel.Run =
      retry === undefined
        ? ask
        : (request, onParts) =>
            Effect.suspend(() => {
              let given = false
              const give: typeof onParts = (parts) => {
                given ||= parts.some((part) => part.type !== "response-metadata")
                onParts(parts)
              }
              return retry(ask(request, give), () => !given)
            })
    const made = SessionModel.make({ run })
    // version 4 says in other words what a result holds
    return model.specificationVersion === "v3" ? carries(made) : made
  })

// ------------------------------------------------------------------------------------------------------- LanguageModel

const isOffered = (options: LanguageModel.ProviderOptions) => {
  const names = new Set(options.tools.map((tool) => tool.name))
  // `@effect/ai` fails the whole step on a name that it does not know, and a provider may use tools of its own
  return (part: Response.AllPartsEncoded): boolean =>
    !((part.type === "tool-call" || part.type === "tool-result") && part.providerExecuted === true) ||
    names.has(part.name)
}

const annotateRequest = (model: SdkModel, options: LanguageModel.ProviderOptions, settings: Settings): void =>
  Telemetry.addGenAIAnnotations(options.span, {
    system: model.provider,
    operation: { name: "chat" },
    request: {
      model: model.modelId,
      temperature: settings.temperature,
      topK: settings.topK,
      topP: settings.topP,
      maxTokens: settings.maxOutputTokens,
      stopSequences: settings.stopSequences
    }
  })

const annotateResponse = (
  model: SdkModel,
  options: LanguageModel.ProviderOptions,
  parts: ReadonlyArray<Response.AllPartsEncoded>
): void => {
  for (const part of parts) {
    if (part.type === "response-metadata") {
      Telemetry.addGenAIAnnotations(options.span, {
        system: model.provider,
        response: { id: part.id, model: part.modelId }
      })
    } else if (part.type === "finish") {
      Telemetry.addGenAIAnnotations(options.span, {
        system: model.provider,
        response: { finishReasons: [part.reason] },
        usage: { inputTokens: part.usage.inputTokens, outputTokens: part.usage.outputTokens }
      })
    }
  }
}

/**
 * A `LanguageModel` of `@effect/ai` on top of a model of the AI SDK, for programs without a session. Dies if the model
 * is not of interface version 3 or 4.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeLanguageModel = (model: SdkModel, options?: Options): Effect.Effect<LanguageModel.Service> =>
  Effect.flatMap(prepare(model, options), (prepared) => {
    const { toPrompt, warn } = prepared
    const retry: Ask.Retry = Ask.retrying(options) ?? ((ask) => ask)
    const callOf = (request: LanguageModel.ProviderOptions, context: Context.Context<never>) => {
      const settings = currentSettings(context, prepared.settings)
      annotateRequest(model, request, settings)
      return Request.toCall(
        settings,
        toPrompt(request.prompt.content),
        Request.toTools(request.tools),
        request.toolChoice,
        Request.toResponseFormat(request.responseFormat)
      )
    }
    const whole = <A extends Response.AllPartsEncoded>(
      request: LanguageModel.ProviderOptions,
      convert: Parameters<typeof Ask.generate<ReadonlyArray<A>>>[2]
    ): Effect.Effect<Array<A>, AiError.AiError> =>
      Effect.contextWithEffect((context: Context.Context<never>) => {
        const ask = Effect.map(Ask.generate(prepared.model, callOf(request, context), convert, warn), (parts) => {
          annotateResponse(model, request, parts)
          return parts.filter(isOffered(request))
        })
        return retry(ask, () => true)
      })
    return LanguageModel.make({
      generateText: (request) => whole(request, toParts),
      streamText: (request) =>
        options?.streaming === false
          ? Stream.fromIterableEffect(whole(request, toStreamParts))
          : streamOf((onParts) =>
              Effect.contextWithEffect((context: Context.Context<never>) => {
                const offered = isOffered(request)
                let given = false
                const give = (parts: ReadonlyArray<Response.StreamPartEncoded>): void => {
                  annotateResponse(model, request, parts)
                  const kept = parts.filter(offered)
                  if (kept.length === 0) return
                  given ||= kept.some((part) => part.type !== "response-metadata")
                  onParts(kept)
                }
                const ask = Ask.stream(prepared.model, callOf(request, context), give, true, warn)
                return retry(ask, () => !given)
              })
            )
    })
  })

// --------------------------------------------------------------------------------------------------------------- layers

/**
 * A model for `@effect/ai` alone.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerLanguageModel = (
  model: SdkModel,
  options?: Options
): Layer.Layer<LanguageModel.LanguageModel | Model.ProviderName> =>
  Layer.merge(
    Layer.effect(LanguageModel.LanguageModel, makeLanguageModel(model, options)),
    Layer.succeed(Model.ProviderName, model.provider)
  )

/**
 * A model for sessions, and the same model as a `LanguageModel` for everything else, such as their handlers.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  model: SdkModel,
  options?: Options
): Layer.Layer<SessionModel.SessionModel | LanguageModel.LanguageModel | Model.ProviderName> =>
  Layer.merge(Layer.effect(SessionModel.SessionModel, make(model, options)), layerLanguageModel(model, options))

// --------------------------------------------------------------------------------------------------------------- errors

/**
 * May the same request succeed later? `retry` uses it, and so can a `Schedule` of your own.
 *
 * @since 0.1.0
 * @category errors
 */
export const isRetryable: (error: AiError.AiError) => boolean = Errors.isRetryable

/**
 * How long the server asks to wait, by `retry-after` or `retry-after-ms`, without a limit. A date counts from the
 * response's own date, or else from `now` (milliseconds since 1970), if it is given.
 *
 * @since 0.1.0
 * @category errors
 */
export const retryAfter: (error: AiError.AiError, now?: number) => Option.Option<Duration.Duration> = Errors.retryAfter
