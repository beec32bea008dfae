/**
 * A session with many tools, in a process of its own that may have little memory. It holds a turn that calls two of
 * them, several times, and prints what the tools take and what a turn takes:
 *
 *     node --max-old-space-size=512 --expose-gc --import tsx test/soak/toolkit.ts --tools 10000 --model seam
 *
 * The model is a `SessionModel`, one of the AI SDK, or a `LanguageModel` of `@effect/ai` (`seam`, `sdk`, `effect`).
 */
import { parseArgs } from "node:util"
import type { LanguageModelV3, LanguageModelV3StreamPart } from "@ai-sdk/provider"
import { LanguageModel, type Response, Tool, Toolkit } from "@effect/ai"
import { Effect, Layer, Schema, Stream } from "effect"
import { Agent, AgentSession, AsyncToolset, SessionModel } from "effect-meantime"
import { AiSdkModel } from "effect-meantime/ai-sdk"

const { values } = parseArgs({
  options: {
    tools: { type: "string", default: "10000" },
    model: { type: "string", default: "seam" },
    turns: { type: "string", default: "1" },
    warmUp: { type: "string", default: "0" }
  }
})
const count = Number(values.tools)
const turns = Number(values.turns)
const warmUp = Number(values.warmUp)

// ------------------------------------------------------------------------------------------------------------- tools

const tools = Array.from({ length: count }, (_, i) =>
  Tool.make(`tool_${i}`, {
    description: `The tool with the number ${i}.`,
    parameters: { path: Schema.String, limit: Schema.optional(Schema.Number) },
    success: Schema.String
  })
)
const handlers = Object.fromEntries(
  tools.map(({ name }) => [name, ({ path }: { readonly path: string }) => Effect.succeed(`${name} read ${path}`)])
)
const Many = Toolkit.make(...tools)
// names that are computed are known to the compiler as strings only
const ManyLive = Many.toLayer(handlers as never)

// ------------------------------------------------------------------------------------------------------------- models

const calls = [
  ["c1", "tool_0", "a"],
  ["c2", `tool_${count - 1}`, "b"]
] as const

const usage = { inputTokens: 1, outputTokens: 1, totalTokens: 2 }

/** The first step of a turn calls, the second answers. */
const answer = (step: number): ReadonlyArray<Response.StreamPartEncoded> =>
  step % 2 === 0
    ? [
        ...calls.map(([id, name, path]) => ({
          type: "tool-call" as const,
          id: `${id}_${step}`,
          name,
          params: { path }
        })),
        { type: "finish", reason: "tool-calls", usage }
      ]
    : [
        { type: "text-start", id: "t" },
        { type: "text-delta", id: "t", delta: "done" },
        { type: "text-end", id: "t" },
        { type: "finish", reason: "stop", usage }
      ]

const seam = (): Layer.Layer<SessionModel.SessionModel> => {
  let step = 0
  return SessionModel.layer({ run: (_, onParts) => Effect.sync(() => onParts(answer(step++))) })
}

const effect = (): Layer.Layer<LanguageModel.LanguageModel> => {
  let step = 0
  return Layer.effect(
    LanguageModel.LanguageModel,
    LanguageModel.make({
      generateText: () => Effect.succeed([]),
      // what a provider's package does with the tools of each request is its own
      streamText: () => Stream.suspend(() => Stream.fromIterable(answer(step++)))
    })
  )
}

const sdkPart = (part: Response.StreamPartEncoded): LanguageModelV3StreamPart => {
  switch (part.type) {
    case "tool-call":
      return { type: "tool-call", toolCallId: part.id, toolName: part.name, input: JSON.stringify(part.params) }
    case "finish":
      return {
        type: "finish",
        finishReason: { unified: part.reason === "stop" ? "stop" : "tool-calls", raw: undefined },
        usage: {
          inputTokens: { total: 1, noCache: undefined, cacheRead: undefined, cacheWrite: undefined },
          outputTokens: { total: 1, text: undefined, reasoning: undefined }
        }
      }
    default:
      return part as LanguageModelV3StreamPart
  }
}

const sdk = (): Layer.Layer<SessionModel.SessionModel> => {
  let step = 0
  const model: LanguageModelV3 = {
    specificationVersion: "v3",
    provider: "many",
    modelId: "many",
    supportedUrls: {},
    doGenerate: () => Promise.reject(new Error("it streams")),
    doStream: () => {
      const parts = answer(step++).map(sdkPart)
      return Promise.resolve({
        stream: new ReadableStream<LanguageModelV3StreamPart>({
          start(controller) {
            for (const part of parts) controller.enqueue(part)
            controller.close()
          }
        })
      })
    }
  }
  return AiSdkModel.layer(model) as Layer.Layer<SessionModel.SessionModel>
}

const models: Readonly<Record<string, () => Layer.Layer<any>>> = { seam, sdk, effect }

// ------------------------------------------------------------------------------------------------------------ the run

const heap = (): number => {
  globalThis.gc?.()
  return process.memoryUsage().heapUsed / 1024 / 1024
}

const median = (all: ReadonlyArray<number>): number => all.toSorted((a, b) => a - b)[all.length >> 1] ?? 0

const round = (n: number): number => Math.round(n * 1000) / 1000

const program = Effect.gen(function* () {
  const before = heap()
  const session = yield* AgentSession.make({
    agent: Agent.make("host", { instructions: "Help.", tools: [AsyncToolset.make("many", Many)] })
  })
  const built = heap()
  const times: Array<number> = []
  let outputs: ReadonlyArray<unknown> = []
  let text = ""
  for (let i = 0; i < warmUp + turns; i++) {
    const begin = performance.now()
    const result = yield* session.run("Read!")
    if (i >= warmUp) times.push(performance.now() - begin)
    outputs = result.items.filter((item) => item._tag === "FunctionCallOutput").map((item) => item.output)
    text = result.text
  }
  return { tools: count, outputs, text, megabytes: round(built - before), turn: round(median(times)) }
}).pipe(Effect.scoped, Effect.provide(ManyLive), Effect.provide(models[values.model]?.() ?? Layer.empty))

console.log(JSON.stringify(await Effect.runPromise(program as Effect.Effect<unknown>)))
