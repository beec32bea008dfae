/**
 * The packages of providers that install beside this one, over a client that keeps the bodies and answers in the
 * provider's format.
 */
import { createAnthropic } from "@ai-sdk/anthropic"
import { createMistral } from "@ai-sdk/mistral"
import { createOpenAI } from "@ai-sdk/openai"
import { AnthropicClient, AnthropicLanguageModel } from "@effect/ai-anthropic"
import { OpenAiClient, OpenAiLanguageModel } from "@effect/ai-openai"
import { HttpClient, HttpClientResponse } from "@effect/platform"
import { Effect, Layer, Redacted } from "effect"
import { AiSdkModel } from "effect-meantime/ai-sdk"
import * as AnthropicWire from "../wire/Anthropic.js"
import * as OpenAiWire from "../wire/OpenAi.js"
import { type Piece, piecesOf } from "../wire/Script.js"
import { type Dialect, sse } from "../wire/Server.js"
import * as Anthropic from "./anthropic.js"
import { type Read, readers } from "./histories.js"
import * as Mistral from "./mistral.js"
import * as OpenAi from "./openai.js"
import type { Checker } from "./rules.js"

/** What the model answers; after the last one, words. */
export type Answers = ReadonlyArray<Piece | string>

export interface Encoder {
  readonly check: Checker
  readonly read: (body: any) => Read
  readonly make: (answers: Answers) => { readonly bodies: ReadonlyArray<any>; readonly layer: Layer.Layer<any> }
}

const streamOf = (dialect: Dialect, answer: Piece | string, body: unknown): string =>
  Array.from(dialect.events(piecesOf(answer), body), (event) =>
    event._tag === "Event" ? sse(event.name, event.data) : ""
  ).join("")

/** Chunks of a chat completion. */
const chatOf = (answer: Piece | string): string => {
  const [piece] = piecesOf(answer)
  const called = piece?._tag === "Call"
  const delta = called
    ? { tool_calls: [{ index: 0, id: piece.id ?? "abcdefgh1", function: { name: piece.name, arguments: piece.json } }] }
    : { content: piece?._tag === "Text" ? piece.deltas.join("") : "" }
  const chunk = { id: "1", object: "chat.completion.chunk", created: 1_700_000_000, model: "mistral-small-latest" }
  const end = { finish_reason: called ? "tool_calls" : "stop" }
  return [
    { ...chunk, choices: [{ index: 0, delta: { role: "assistant", ...delta }, finish_reason: null }] },
    {
      ...chunk,
      choices: [{ index: 0, delta: { content: "" }, ...end }],
      usage: { prompt_tokens: 9, completion_tokens: 3, total_tokens: 12 }
    },
    "[DONE]"
  ]
    .map((event) => `data: ${typeof event === "string" ? event : JSON.stringify(event)}\n\n`)
    .join("")
}

const recorder = (answers: Answers, encode: (answer: Piece | string, body: any) => string) => {
  const bodies: Array<any> = []
  const respond = (text: string): Response => {
    const body = JSON.parse(text)
    bodies.push(body)
    return new Response(encode(answers[bodies.length - 1] ?? "Well.", body), {
      headers: { "content-type": "text/event-stream" }
    })
  }
  return { bodies, respond }
}

const effectClient = (respond: (text: string) => Response): Layer.Layer<HttpClient.HttpClient> =>
  Layer.succeed(
    HttpClient.HttpClient,
    HttpClient.make((request) =>
      Effect.sync(() => {
        const text = request.body._tag === "Uint8Array" ? new TextDecoder().decode(request.body.body) : ""
        return HttpClientResponse.fromWeb(request, respond(text))
      })
    )
  )

const fetchOf =
  (respond: (text: string) => Response): typeof fetch =>
  async (_, init) =>
    respond(String(init?.body))

const key = Redacted.make("key")

export const encoders: Record<string, Encoder> = {
  "@effect/ai-anthropic": {
    check: Anthropic.check,
    read: readers.anthropic as Encoder["read"],
    make: (answers) => {
      const dialect = AnthropicWire.makeDialect()
      const { bodies, respond } = recorder(answers, (answer, body) => streamOf(dialect, answer, body))
      const model = AnthropicLanguageModel.model("claude-haiku-4-5").pipe(
        Layer.provide(AnthropicClient.layer({ apiKey: key })),
        Layer.provide(effectClient(respond))
      )
      return { bodies, layer: model }
    }
  },
  "@effect/ai-openai": {
    check: OpenAi.check,
    read: readers.openai as Encoder["read"],
    make: (answers) => {
      const dialect = OpenAiWire.makeDialect()
      const { bodies, respond } = recorder(answers, (answer, body) => streamOf(dialect, answer, body))
      const model = OpenAiLanguageModel.model("gpt-5-mini").pipe(
        Layer.provide(OpenAiClient.layer({ apiKey: key })),
        Layer.provide(effectClient(respond))
      )
      return { bodies, layer: model }
    }
  },
  "@ai-sdk/anthropic": {
    check: Anthropic.check,
    read: readers.anthropic as Encoder["read"],
    make: (answers) => {
      const dialect = AnthropicWire.makeDialect()
      const { bodies, respond } = recorder(answers, (answer, body) => streamOf(dialect, answer, body))
      const model = createAnthropic({ apiKey: "key", fetch: fetchOf(respond) })("claude-haiku-4-5")
      return { bodies, layer: AiSdkModel.layer(model, { maxOutputTokens: 1000 }) }
    }
  },
  "@ai-sdk/openai": {
    check: OpenAi.check,
    read: readers.openai as Encoder["read"],
    make: (answers) => {
      const dialect = OpenAiWire.makeDialect()
      const { bodies, respond } = recorder(answers, (answer, body) => streamOf(dialect, answer, body))
      const model = createOpenAI({ apiKey: "key", fetch: fetchOf(respond) })("gpt-5-mini")
      return { bodies, layer: AiSdkModel.layer(model) }
    }
  },
  "@ai-sdk/mistral": {
    check: Mistral.check,
    read: readers.chat as Encoder["read"],
    make: (answers) => {
      const { bodies, respond } = recorder(answers, chatOf)
      const model = createMistral({ apiKey: "key", fetch: fetchOf(respond) })("mistral-small-latest")
      return { bodies, layer: AiSdkModel.layer(model) }
    }
  }
}
