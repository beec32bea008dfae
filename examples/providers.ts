/**
 * Models of real providers: reasoning, prompt caches, retries, and what a session has to know of a provider. The layers
 * in here are those of `docs/providers.md`; each wants an `HttpClient` and a key.
 */
import { LanguageModel, Model, type Prompt } from "@effect/ai"
import { AnthropicClient, AnthropicLanguageModel } from "@effect/ai-anthropic"
import { OpenAiClient, OpenAiLanguageModel } from "@effect/ai-openai"
import { Config, Context, Layer } from "effect"
import { SessionModel } from "effect-meantime"
import { retrying } from "./shared/retrying.js"

// --- clients that ask again ------------------------------------------------------------------------------------------

export const OpenAi = OpenAiClient.layerConfig({
  apiKey: Config.redacted("OPENAI_API_KEY"),
  apiUrl: Config.string("OPENAI_BASE_URL").pipe(Config.withDefault("https://api.openai.com/v1")),
  transformClient: retrying({ times: 4 })
})

export const Anthropic = AnthropicClient.layerConfig({
  apiKey: Config.redacted("ANTHROPIC_API_KEY"),
  apiUrl: Config.string("ANTHROPIC_BASE_URL").pipe(Config.withDefault("https://api.anthropic.com")),
  transformClient: retrying({ times: 4 })
})

// --- models that reason ----------------------------------------------------------------------------------------------

// Nothing is stored at OpenAI: the reasoning goes back encrypted, with each request.
export const Gpt = OpenAiLanguageModel.model("gpt-5-mini", {
  reasoning: { effort: "low", summary: "auto" },
  include: ["reasoning.encrypted_content"],
  store: false
})

export const Claude = AnthropicLanguageModel.model("claude-haiku-4-5", {
  max_tokens: 8192,
  thinking: { type: "enabled", budget_tokens: 4096 }
})

// --- a prompt cache --------------------------------------------------------------------------------------------------

const breakpoint = { anthropic: { cacheControl: { type: "ephemeral" } } } as const

/** Breakpoints behind the instructions and behind the last two messages: the last one may be a note that goes again. */
const withBreakpoints = (prompt: Prompt.Prompt): Prompt.Prompt => ({
  ...prompt,
  content: prompt.content.map((message, i) =>
    message.role === "system" || i >= prompt.content.length - 2
      ? ({ ...message, options: { ...message.options, ...breakpoint } } as Prompt.Message)
      : message
  )
})

/** The same model, with its prompts marked for Anthropic's cache. */
export const cached = <A, E, R>(model: Layer.Layer<A | LanguageModel.LanguageModel, E, R>) =>
  Layer.map(model, (context) => {
    const inner = Context.get(context, LanguageModel.LanguageModel)
    const streamText = (options: any) => inner.streamText({ ...options, prompt: withBreakpoints(options.prompt) })
    return Context.add(context, LanguageModel.LanguageModel, { ...inner, streamText } as LanguageModel.Service)
  })

export const CachedClaude = cached(Claude)

// --- what a session has to know --------------------------------------------------------------------------------------

// `model` names its provider; a model that was built with `layer` has to be given the name.
export const Named = Layer.merge(
  AnthropicLanguageModel.layer({ model: "claude-haiku-4-5" }),
  Layer.succeed(Model.ProviderName, "anthropic")
)

// Tools whose parameters strict mode cannot describe: both have to know.
export const NotStrict = Layer.merge(
  OpenAiLanguageModel.model("gpt-5-mini", { strict: false }),
  Layer.succeed(SessionModel.StrictSchemas, false)
)
