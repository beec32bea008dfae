/**
 * The real provider packages, talking to the local servers.
 */
import { AnthropicClient, AnthropicLanguageModel } from "@effect/ai-anthropic"
import { OpenAiClient, OpenAiLanguageModel } from "@effect/ai-openai"
import type { HttpClient } from "@effect/platform"
import { NodeHttpClient } from "@effect/platform-node"
import { type Effect, Layer, Redacted, type Scope } from "effect"
import * as Anthropic from "./Anthropic.js"
import * as Decode from "./Decode.js"
import * as OpenAi from "./OpenAi.js"
import type { Script } from "./Script.js"
import type { Server } from "./Server.js"

export interface ModelOptions {
  /** with the reasoning of the model, in the form that a client has to send back */
  readonly reasoning?: boolean
  readonly transformClient?: (client: HttpClient.HttpClient) => HttpClient.HttpClient
}

export interface Provider {
  readonly name: "openai" | "anthropic"
  readonly serve: (script: Script) => Effect.Effect<Server, never, Scope.Scope>
  readonly model: (server: Pick<Server, "url">, options?: ModelOptions) => Layer.Layer<any>
  readonly decode: (body: any) => Decode.Decoded
  /** the part of a body that is the conversation, item by item, and what comes before it in a prompt cache */
  readonly conversation: (body: any) => ReadonlyArray<any>
  readonly system: (body: any) => unknown
}

const http = NodeHttpClient.layerUndici

export const openai: Provider = {
  name: "openai",
  serve: OpenAi.make,
  model: (server, options = {}) =>
    OpenAiLanguageModel.model(
      "gpt-5-mini",
      options.reasoning === true
        ? {
            reasoning: { effort: "low", summary: "auto" },
            include: ["reasoning.encrypted_content"],
            store: false
          }
        : {}
    ).pipe(
      Layer.provide(
        OpenAiClient.layer({
          apiKey: Redacted.make("sk-test"),
          apiUrl: server.url,
          ...(options.transformClient === undefined ? {} : { transformClient: options.transformClient })
        })
      ),
      Layer.provide(http)
    ),
  decode: Decode.openai,
  conversation: (body) => body.input.filter((item: any) => item.role !== "developer" && item.role !== "system"),
  system: (body) => body.input[0]
}

export const anthropic: Provider = {
  name: "anthropic",
  serve: Anthropic.make,
  model: (server, options = {}) =>
    AnthropicLanguageModel.model(
      "claude-haiku-4-5",
      options.reasoning === true ? { thinking: { type: "enabled", budget_tokens: 2048 } } : {}
    ).pipe(
      Layer.provide(
        AnthropicClient.layer({
          apiKey: Redacted.make("sk-ant-test"),
          apiUrl: server.url,
          transformClient: options.transformClient
        })
      ),
      Layer.provide(http)
    ),
  decode: Decode.anthropic,
  conversation: (body) => body.messages,
  system: (body) => body.system
}

export const all: ReadonlyArray<Provider> = [openai, anthropic]
