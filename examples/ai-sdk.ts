/**
 * A model of the AI SDK in a session. Here it is the AI SDK's own mock model, so that it runs without a key; a real one
 * stands in its place without any other change.
 */
import { openai } from "@ai-sdk/openai"
import type { LanguageModelV3StreamPart } from "@ai-sdk/provider"
import { Toolkit } from "@effect/ai"
import { simulateReadableStream } from "ai"
import { MockLanguageModelV3 } from "ai/test"
import { Effect, Layer, Schema } from "effect"
import { Agent, AsyncTool, RunContext } from "effect-meantime"
import { AiSdkModel } from "effect-meantime/ai-sdk"
import { TestSession } from "effect-meantime/testing"
import * as Transcript from "./shared/transcript.js"

/** With `OPENAI_API_KEY` set, this is all there is to it. */
export const OpenAiLive = AiSdkModel.layer(openai("gpt-5"), { maxOutputTokens: 2000, maxRetries: 2 })

const Bake = AsyncTool.make("bake", {
  description: "Bakes a cake.",
  parameters: { cake: Schema.String },
  success: Schema.String
})
const Kitchen = Toolkit.make(Bake)
const KitchenLive = Kitchen.toLayer({
  bake: ({ cake }) =>
    Effect.gen(function* () {
      yield* RunContext.update(`The ${cake} is in the oven.`)
      yield* Effect.sleep("40 minutes")
      return `The ${cake} is done.`
    })
})

const usage = {
  inputTokens: { total: 1, noCache: 1, cacheRead: 0, cacheWrite: 0 },
  outputTokens: { total: 1, text: 1, reasoning: 0 }
}

const stop = { unified: "stop", raw: "stop" } as const

/** A call in answer to the user, and words in answer to what the tool says. */
const model = new MockLanguageModelV3({
  doStream: async ({ prompt }) => {
    const results = prompt.flatMap((message) => (message.role === "tool" ? message.content : []))
    const last = results.findLast((part) => part.type === "tool-result")?.output
    const done = last?.type === "text" && last.value.endsWith("done.")
    const chunks: Array<LanguageModelV3StreamPart> =
      last === undefined
        ? [{ type: "tool-call", toolCallId: "call_1", toolName: "bake", input: '{"cake":"chocolate cake"}' }]
        : [
            { type: "text-start", id: "t" },
            { type: "text-delta", id: "t", delta: done ? "Your cake is ready!" : "It is in the oven. " },
            { type: "text-delta", id: "t", delta: done ? "" : "That takes a while." },
            { type: "text-end", id: "t" }
          ]
    chunks.push({ type: "finish", finishReason: stop, usage })
    return { stream: simulateReadableStream({ chunks, initialDelayInMs: null, chunkDelayInMs: null }) }
  }
})

const Baker = Agent.make("baker", { instructions: "You bake.", tools: [Kitchen] })

export const program = Effect.gen(function* () {
  const { session } = yield* TestSession.make({ agent: Baker })
  yield* Transcript.print(session)
  yield* session.send("Bake me a chocolate cake, please.")
  yield* TestSession.advance("1 hour")
}).pipe(Effect.scoped, Effect.provide(Layer.merge(KitchenLive, AiSdkModel.layer(model))))

Transcript.main(import.meta.url, program)
