/** What one writes with `@effect/ai` alone: its model, its toolkit, its resolution of calls, and a loop. */
import { LanguageModel, Prompt, type Response, Tool, Toolkit } from "@effect/ai"
import { Chunk, Effect, Fiber, Layer, ManagedRuntime, Schema, Stream } from "effect"
import type { Contestant } from "../contestant.js"
import * as work from "../work.js"

const Work = Tool.make(work.toolName, {
  description: work.toolDescription,
  parameters: { n: Schema.Number },
  success: Schema.Number
})
const kit = Toolkit.make(Work)

const finish = (reason: Response.FinishReason): Response.StreamPartEncoded => ({
  type: "finish",
  reason,
  usage: { inputTokens: 1, outputTokens: 1, totalTokens: 2 }
})
const saidInParts: ReadonlyArray<Response.StreamPartEncoded> = [
  { type: "text-start", id: "t" },
  ...work.words.map((delta): Response.StreamPartEncoded => ({ type: "text-delta", id: "t", delta })),
  { type: "text-end", id: "t" },
  finish("stop")
]
const said: ReadonlyArray<Response.PartEncoded> = [{ type: "text", text: work.answer }, finish("stop") as any]

export const calls = (): ReadonlyArray<Response.StreamPartEncoded & Response.PartEncoded> => [
  ...work.nextCalls().map(({ args, id }) => ({ type: "tool-call" as const, id, name: work.toolName, params: args })),
  finish("tool-calls") as any
]
/** By the user's words: what a session asks for itself comes in the user's role as well. */
const asksForCalls = (prompt: Prompt.Prompt) => {
  const last = prompt.content[prompt.content.length - 1]
  return last?.role === "user" && last.content[0]?.type === "text" && last.content[0].text === work.userText
}

/** All parts that are ready come in one chunk, as they do from a provider whose answer is there at once. */
export const streamParts = (prompt: Prompt.Prompt) => (asksForCalls(prompt) ? calls() : saidInParts)

export const languageModel = LanguageModel.make({
  generateText: ({ prompt }) => Effect.sync(() => Array.from(asksForCalls(prompt) ? calls() : said)),
  streamText: ({ prompt }) => Stream.suspend(() => Stream.fromIterable(streamParts(prompt)))
})

const wait = Effect.ensuring(
  Effect.async<number>((_) => work.begun()),
  Effect.sync(work.finalize)
)
const modelLive = Layer.effect(LanguageModel.LanguageModel, languageModel)
const withHandler = (handler: (n: number) => Effect.Effect<number>) =>
  ManagedRuntime.make(Layer.merge(kit.toLayer({ work: ({ n }) => handler(n) }), modelLive))
const runtime = withHandler((n) => Effect.sync(() => work.handle(n)))
const waiting = {
  listening: withHandler(() => wait),
  deaf: withHandler(() => Effect.uninterruptible(wait))
}

const step = {
  generate: (prompt: Prompt.Prompt) =>
    Effect.map(
      LanguageModel.generateText({ prompt, toolkit: kit, concurrency: "unbounded" }),
      (response) => response.content as ReadonlyArray<Response.AnyPart>
    ),
  stream: (prompt: Prompt.Prompt) =>
    Effect.map(
      Stream.runCollect(LanguageModel.streamText({ prompt, toolkit: kit, concurrency: "unbounded" })),
      (parts) => Chunk.toReadonlyArray(parts) as ReadonlyArray<Response.AnyPart>
    )
}

const conversation = (kind: "generate" | "stream", turns: number) =>
  Effect.gen(function* () {
    let prompt = Prompt.make([{ role: "system", content: work.instructions }])
    for (let i = 0; i < turns; i++) {
      prompt = Prompt.merge(prompt, work.userText)
      for (;;) {
        const parts = yield* step[kind](prompt)
        prompt = Prompt.merge(prompt, Prompt.fromResponseParts(parts))
        if (!parts.some((part) => part.type === "tool-call")) break
      }
    }
  })

const make = (kind: "generate" | "stream"): Contestant => ({
  name: `@effect/ai, ${kind}Text`,
  packages: ["@effect/ai", "effect"],
  converse: (turns) => runtime.runPromise(conversation(kind, turns)),
  fly: async (handlers) => {
    const turn = waiting[handlers].runFork(conversation(kind, 1))
    return { cancel: () => Effect.runPromise(Fiber.interrupt(turn)) }
  }
})

export const generate = make("generate")
export const stream = make("stream")
