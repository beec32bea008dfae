/**
 * The real provider packages over an `HttpClient` that records requests and answers in the provider's streaming format.
 *
 * Formats: Google https://ai.google.dev/api/generate-content and https://ai.google.dev/gemini-api/docs/thought-signatures,
 * Bedrock https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html,
 * OpenRouter https://openrouter.ai/docs/api-reference/streaming, OpenAI and Anthropic as in `../wire/FORMATS.md`.
 */
import { AmazonBedrockClient, AmazonBedrockLanguageModel } from "@effect/ai-amazon-bedrock"
import { GoogleClient, GoogleLanguageModel } from "@effect/ai-google"
import { OpenRouterClient, OpenRouterLanguageModel } from "@effect/ai-openrouter"
import { HttpClient, HttpClientResponse } from "@effect/platform"
import { EventStreamCodec } from "@smithy/eventstream-codec"
import { fromUtf8, toUtf8 } from "@smithy/util-utf8"
import { Effect, Layer, Redacted } from "effect"

/** A piece of an answer: text, thoughts, a file, or a call. */
export type Piece =
  | { readonly file: string; readonly mediaType: string }
  | { readonly text: string }
  | { readonly thought: string; readonly signature: string }
  | { readonly call: string; readonly args: unknown; readonly id: string; readonly signature?: string }

export interface Provider {
  readonly name: string
  /** does the API take ids of calls from the client? Gemini's does not send any */
  readonly ids: boolean
  readonly encode: (pieces: ReadonlyArray<Piece>) => Uint8Array | string
  readonly layer: Layer.Layer<any, never, HttpClient.HttpClient>
}

/** What was sent, and a client that answers one script entry for each request. */
export const make = (provider: Provider, script: ReadonlyArray<ReadonlyArray<Piece>>) => {
  const requests: Array<{ readonly url: string; readonly body: any }> = []
  const client = HttpClient.make((request, url) =>
    Effect.sync(() => {
      const { body } = request
      const text = body._tag === "Uint8Array" ? new TextDecoder().decode(body.body) : ""
      requests.push({ url: url.toString(), body: JSON.parse(text) })
      const answer = script[requests.length - 1]
      const web =
        answer === undefined
          ? new Response(`{"error":{"message":"no answer"}}`, { status: 500 })
          : new Response(provider.encode(answer) as any, { headers: { "content-type": "text/event-stream" } })
      return HttpClientResponse.fromWeb(request, web)
    })
  )
  return { requests, layer: provider.layer.pipe(Layer.provide(Layer.succeed(HttpClient.HttpClient, client))) }
}

const sse = (events: ReadonlyArray<unknown>): string =>
  events.map((event) => `data: ${typeof event === "string" ? event : JSON.stringify(event)}\n\n`).join("")

export const google: Provider = {
  name: "google",
  ids: false,
  encode: (all) => {
    // its package reads no files of a stream
    const pieces = all.flatMap((piece) => ("file" in piece ? [] : [piece]))
    return sse([
      ...pieces.map((piece) => ({
        candidates: [
          {
            index: 0,
            content: {
              role: "model",
              parts: [
                "text" in piece
                  ? { text: piece.text }
                  : "thought" in piece
                    ? { text: piece.thought, thought: true, thoughtSignature: piece.signature }
                    : { functionCall: { name: piece.call, args: piece.args }, thoughtSignature: piece.signature }
              ]
            }
          }
        ],
        modelVersion: "gemini-3-flash",
        responseId: "r1"
      })),
      {
        candidates: [{ index: 0, content: { role: "model", parts: [] }, finishReason: "STOP" }],
        usageMetadata: { promptTokenCount: 9, candidatesTokenCount: 3, totalTokenCount: 12 },
        modelVersion: "gemini-3-flash",
        responseId: "r1"
      }
    ])
  },
  layer: GoogleLanguageModel.model("gemini-3-flash").pipe(
    Layer.provide(GoogleClient.layer({ apiKey: Redacted.make("key") }))
  )
}

const codec = new EventStreamCodec(toUtf8, fromUtf8)

const frame = (type: string, body: unknown): Uint8Array =>
  codec.encode({
    headers: {
      ":message-type": { type: "string", value: "event" },
      ":event-type": { type: "string", value: type },
      ":content-type": { type: "string", value: "application/json" }
    },
    body: fromUtf8(JSON.stringify(body))
  })

export const bedrock: Provider = {
  name: "amazon-bedrock",
  ids: true,
  encode: (pieces) => {
    const frames = [frame("messageStart", { role: "assistant" })]
    for (const [contentBlockIndex, piece] of pieces.entries()) {
      const at = { contentBlockIndex }
      if ("file" in piece) throw new Error("Converse gives no files in a stream")
      if ("text" in piece) frames.push(frame("contentBlockDelta", { ...at, delta: { text: piece.text } }))
      else if ("thought" in piece) {
        frames.push(frame("contentBlockDelta", { ...at, delta: { reasoningContent: { text: piece.thought } } }))
        frames.push(frame("contentBlockDelta", { ...at, delta: { reasoningContent: { signature: piece.signature } } }))
      } else {
        frames.push(
          frame("contentBlockStart", { ...at, start: { toolUse: { name: piece.call, toolUseId: piece.id } } })
        )
        frames.push(frame("contentBlockDelta", { ...at, delta: { toolUse: { input: JSON.stringify(piece.args) } } }))
      }
      frames.push(frame("contentBlockStop", at))
    }
    const called = pieces.some((piece) => "call" in piece)
    frames.push(frame("messageStop", { stopReason: called ? "tool_use" : "end_turn" }))
    const usage = { inputTokens: 9, outputTokens: 3, totalTokens: 12 }
    frames.push(frame("metadata", { metrics: { latencyMs: 5 }, usage }))
    return Buffer.concat(frames)
  },
  layer: AmazonBedrockLanguageModel.model("anthropic.claude-haiku-4-5-20251001-v1:0").pipe(
    Layer.provide(AmazonBedrockClient.layer({ accessKeyId: "key", secretAccessKey: Redacted.make("secret") }))
  )
}

export const openrouter: Provider = {
  name: "openrouter",
  ids: true,
  encode: (pieces) => {
    let calls = 0
    const chunk = (delta: unknown, rest: object = {}) => ({
      id: "gen-1",
      object: "chat.completion.chunk",
      created: 1_700_000_000,
      model: "google/gemini-3-flash",
      choices: [{ index: 0, delta, finish_reason: null, ...rest }]
    })
    const finish = pieces.some((piece) => "call" in piece) ? "tool_calls" : "stop"
    return sse([
      ...pieces.map((piece) =>
        "file" in piece
          ? chunk({
              role: "assistant",
              images: [{ type: "image_url", image_url: { url: `data:${piece.mediaType};base64,${piece.file}` } }]
            })
          : "text" in piece
            ? chunk({ role: "assistant", content: piece.text })
            : "thought" in piece
              ? chunk({ role: "assistant", reasoning: piece.thought })
              : chunk({
                  role: "assistant",
                  tool_calls: [
                    {
                      index: calls++,
                      id: piece.id,
                      type: "function",
                      function: { name: piece.call, arguments: JSON.stringify(piece.args) }
                    }
                  ]
                })
      ),
      chunk({}, { finish_reason: finish }),
      { ...chunk({}), choices: [], usage: { prompt_tokens: 9, completion_tokens: 3, total_tokens: 12 } },
      "[DONE]"
    ])
  },
  layer: OpenRouterLanguageModel.model("google/gemini-3-flash").pipe(
    Layer.provide(OpenRouterClient.layer({ apiKey: Redacted.make("key") }))
  )
}
