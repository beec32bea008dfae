/**
 * Which language model the demo and the examples talk through: a provider's, where there is a key for it. The base URLs
 * are for gateways, and for servers that stand in for a provider.
 */
import type { LanguageModel } from "@effect/ai"
import { Config, Duration, Effect, Layer, Option, Redacted } from "effect"
import { retrying } from "../shared/retrying.js"
import * as OfflineModel from "./OfflineModel.js"

const given = (name: string) =>
  Config.string(name).pipe(
    Config.option,
    Config.map(Option.filter((value) => value.trim() !== "")),
    Config.map(Option.getOrUndefined)
  )

/** The settings of the demo, from environment variables; an empty one counts as absent. */
export const Settings = Config.all({
  openai: Config.all({ key: given("OPENAI_API_KEY"), model: given("OPENAI_MODEL"), url: given("OPENAI_BASE_URL") }),
  anthropic: Config.all({
    key: given("ANTHROPIC_API_KEY"),
    model: given("ANTHROPIC_MODEL"),
    url: given("ANTHROPIC_BASE_URL")
  }),
  speed: Config.number("DEMO_SPEED").pipe(
    Config.withDefault(1),
    Config.validate({ message: "DEMO_SPEED has to be a number above 0", validation: (speed) => speed > 0 })
  )
})
export type Settings = Config.Config.Success<typeof Settings>

export interface Provider {
  readonly name: string
  readonly layer: Layer.Layer<LanguageModel.LanguageModel>
}

// The packages of the providers are loaded only where they are needed: they are large.

const openai = (key: string, model: string, url: string | undefined) =>
  Layer.unwrapEffect(
    Effect.promise(async () => {
      const [OpenAiClient, OpenAiLanguageModel, NodeHttpClient] = await Promise.all([
        import("@effect/ai-openai/OpenAiClient"),
        import("@effect/ai-openai/OpenAiLanguageModel"),
        import("@effect/platform-node/NodeHttpClient")
      ])
      return OpenAiLanguageModel.model(model).pipe(
        Layer.provide(OpenAiClient.layer({ apiKey: Redacted.make(key), apiUrl: url, transformClient: retrying() })),
        Layer.provide(NodeHttpClient.layerUndici)
      )
    })
  )

const anthropic = (key: string, model: string, url: string | undefined) =>
  Layer.unwrapEffect(
    Effect.promise(async () => {
      const [AnthropicClient, AnthropicLanguageModel, NodeHttpClient] = await Promise.all([
        import("@effect/ai-anthropic/AnthropicClient"),
        import("@effect/ai-anthropic/AnthropicLanguageModel"),
        import("@effect/platform-node/NodeHttpClient")
      ])
      return AnthropicLanguageModel.model(model).pipe(
        Layer.provide(AnthropicClient.layer({ apiKey: Redacted.make(key), apiUrl: url, transformClient: retrying() })),
        Layer.provide(NodeHttpClient.layerUndici)
      )
    })
  )

/** The provider for which there is a key. */
export const real = (settings: Settings): Provider | undefined => {
  if (settings.openai.key !== undefined) {
    const model = settings.openai.model ?? "gpt-5-mini"
    return { name: `OpenAI (${model})`, layer: openai(settings.openai.key, model, settings.openai.url) }
  }
  if (settings.anthropic.key !== undefined) {
    const model = settings.anthropic.model ?? "claude-haiku-4-5"
    return { name: `Anthropic (${model})`, layer: anthropic(settings.anthropic.key, model, settings.anthropic.url) }
  }
  return undefined
}

export const choose = (settings: Settings): Provider => {
  const provider = real(settings)
  if (provider !== undefined) return provider
  const pace = 1 / settings.speed
  return {
    name: "the embedded offline model (set OPENAI_API_KEY or ANTHROPIC_API_KEY for another)",
    layer: OfflineModel.layer({
      thinking: Duration.times("250 millis", pace),
      perWord: Duration.times("35 millis", pace)
    })
  }
}
