/**
 * Models of the AI SDK behind a session and behind `@effect/ai`, with the AI SDK's own mock models.
 */

import {
  APICallError,
  type LanguageModelV3,
  type LanguageModelV3StreamPart,
  UnsupportedFunctionalityError
} from "@ai-sdk/provider"
import { LanguageModel, Model, Prompt, Tool, Toolkit } from "@effect/ai"
import { describe, expect } from "@effect/vitest"
import { simulateReadableStream } from "ai"
import { MockLanguageModelV3 } from "ai/test"
import {
  Cause,
  Chunk,
  Deferred,
  Duration,
  Effect,
  Exit,
  Fiber,
  Layer,
  Option,
  Schedule,
  Schema,
  type Scope,
  Stream,
  TestClock
} from "effect"
import { Agent, AsyncTool } from "effect-meantime"
import { AiSdkModel, AiSdkTool } from "effect-meantime/ai-sdk"
import { TestSession } from "effect-meantime/testing"
import * as Files from "./support/files.js"
import { collectLogs, silent } from "./support/requests.js"
import { handlers, Travel, Weather } from "./support/travel.js"
import { it } from "./support/virtual.js"

// ------------------------------------------------------------------------------------------------------------- models

type Content = Awaited<ReturnType<LanguageModelV3["doGenerate"]>>["content"][number]
type Call = Parameters<LanguageModelV3["doStream"]>[0]

const usage = {
  inputTokens: { total: 11, noCache: 4, cacheRead: 7, cacheWrite: 0 },
  outputTokens: { total: 5, text: 3, reasoning: 2 }
}
const stop = { unified: "stop", raw: "end" } as const
const finish: LanguageModelV3StreamPart = { type: "finish", finishReason: stop, usage }

const words = (text: string, metadata?: any): Content =>
  ({ type: "text", text, ...(metadata === undefined ? {} : { providerMetadata: metadata }) }) as Content
const calls = (toolCallId: string, toolName: string, input: string, metadata?: any): Content =>
  ({
    type: "tool-call",
    toolCallId,
    toolName,
    input,
    ...(metadata === undefined ? {} : { providerMetadata: metadata })
  }) as Content

let ids = 0
const streamed = (content: ReadonlyArray<Content>, warnings: any): Array<LanguageModelV3StreamPart> => [
  { type: "stream-start", warnings },
  { type: "response-metadata", id: "r1", modelId: "m1", timestamp: new Date(0) },
  ...content.flatMap((part): Array<LanguageModelV3StreamPart> => {
    if (part.type !== "text" && part.type !== "reasoning") return [part as LanguageModelV3StreamPart]
    const id = `p${++ids}`
    const providerMetadata = part.providerMetadata as any
    return [
      { type: `${part.type}-start`, id },
      { type: `${part.type}-delta`, id, delta: part.text },
      { type: `${part.type}-end`, id, ...(providerMetadata === undefined ? {} : { providerMetadata }) }
    ] as Array<LanguageModelV3StreamPart>
  }),
  finish
]

type Answer = ReadonlyArray<Content> | Error

/** The mock model of the AI SDK, streaming and not, with one answer for each request. */
const mock = (answers: ReadonlyArray<Answer>, more: { readonly provider?: string; readonly warnings?: any } = {}) => {
  let n = 0
  const next = () => {
    const answer = answers[n++]
    if (answer === undefined) throw new Error("the model was asked too often")
    if (answer instanceof Error) throw answer
    return answer
  }
  return new MockLanguageModelV3({
    provider: more.provider ?? "mock",
    doGenerate: async () => ({
      content: [...next()],
      finishReason: stop,
      usage,
      warnings: more.warnings ?? [],
      response: { id: "r1", modelId: "m1", timestamp: new Date(0) }
    }),
    doStream: async () => ({
      stream: simulateReadableStream({
        chunks: streamed(next(), more.warnings ?? []),
        initialDelayInMs: null,
        chunkDelayInMs: null
      })
    })
  })
}

const asked = (model: MockLanguageModelV3): ReadonlyArray<Call> => [...model.doStreamCalls, ...model.doGenerateCalls]

// ------------------------------------------------------------------------------------------------------------- agents

const kitLive = handlers({ found: Effect.sleep("10 seconds"), booked: Effect.sleep("10 seconds") })

const on = (model: AiSdkModel.SdkModel, options?: AiSdkModel.Options) =>
  Layer.mergeAll(AiSdkModel.layer(model, options), kitLive, silent)

/** Calls and results of a prompt in order: each call must be answered once, in the very next message. */
const pairs = (prompt: Call["prompt"]): ReadonlyArray<string> => {
  const out: Array<string> = []
  for (const [i, message] of prompt.entries()) {
    if (message.role !== "assistant") continue
    const wanted = message.content.flatMap((part) =>
      part.type === "tool-call" && part.providerExecuted !== true ? [part.toolCallId] : []
    )
    const next = prompt[i + 1]
    const given =
      next?.role === "tool" ? next.content.map((part) => ("toolCallId" in part ? part.toolCallId : "?")) : []
    expect(given).toEqual(wanted)
    out.push(...wanted)
  }
  expect(new Set(out).size).toBe(out.length)
  return out
}

const Weathers = Toolkit.make(
  AsyncTool.make("weather", { parameters: { city: Schema.String }, success: Schema.String })
)

describe("what a model of the AI SDK writes, sends and uses, in a session", () => {
  const chunks = [
    { type: "tool-input-start", id: "c1", toolName: "weather" },
    { type: "tool-input-delta", id: "c1", delta: '{"city":' },
    { type: "tool-input-delta", id: "c1", delta: '"Oslo"}' },
    { type: "tool-input-end", id: "c1" },
    calls("c1", "weather", '{"city":"Oslo"}')
  ] as ReadonlyArray<any>

  it.scoped("[B6] input of tools is told piece by piece, under the call's id", () => {
    const model = mock([chunks, [words("Sunny.")]])
    return Effect.gen(function* () {
      const { session } = yield* TestSession.make({ agent: Travel, deltas: true })
      const events = yield* TestSession.collect(session)
      yield* session.run("How is Oslo?")
      const told = yield* events.filter("TextDelta", "ToolInputDelta", "ToolCallStarted")
      expect(told.map((event) => ("text" in event ? event.text : event.call.callId))).toEqual([
        '{"city":',
        '"Oslo"}',
        "c1",
        "Sunny."
      ])
    }).pipe(Effect.provide(on(model)))
  })

  it.scoped("[B3] a file of the model is an item, streamed or not", () =>
    Effect.gen(function* () {
      for (const streaming of [true, false]) {
        const file = {
          type: "file",
          mediaType: "image/png",
          data: streaming ? Files.png : Buffer.from(Files.png, "base64")
        }
        const model = mock([[words("Here."), file as Content], [words("Thanks.")]])
        const { session } = yield* Effect.provide(TestSession.make({ agent: Travel }), on(model, { streaming }))
        const { items } = yield* session.run("Draw")
        expect(items.at(-1)).toMatchObject({ text: "", files: [{ data: Files.png, mediaType: "image/png" }] })
        yield* session.run("Thanks")
        expect(asked(model)[1]?.prompt.at(-2)?.content).toMatchObject([
          { type: "text" },
          { type: "file", data: Files.png, mediaType: "image/png" }
        ])
      }
    })
  )

  it.scoped("[B2] a model of interface version 4, which says it otherwise, gets files of results behind them", () => {
    const model = Object.assign(mock([[calls("c1", "weather", '{"city":"Oslo"}')], [words("Sunny.")]]), {
      specificationVersion: "v4" as const,
      provider: "openai.responses"
    })
    const live = Weathers.toLayer({ weather: () => Effect.succeed(AsyncTool.content("Sunny.", [Files.picture])) })
    return Effect.gen(function* () {
      const { session } = yield* TestSession.make({
        agent: Agent.make("a", { instructions: "Help.", tools: [Weathers] }).pipe(Agent.provide(live))
      })
      yield* session.run("Oslo?")
      const [result, behind] = (asked(model as unknown as MockLanguageModelV3)[1]?.prompt ?? []).slice(-2)
      expect(result?.content).toMatchObject([{ type: "tool-result", output: { type: "json" } }])
      expect(behind?.content).toMatchObject([
        { type: "text" },
        { type: "file", data: { type: "data", data: Files.png }, filename: "chart.png" }
      ])
    }).pipe(Effect.provide(AiSdkModel.layer(model as unknown as AiSdkModel.SdkModel)))
  })

  it.scoped("[B4] usage is told and summed, and what is no count is dropped", () => {
    const odd = { inputTokens: { total: "11", cacheRead: Number.NaN }, outputTokens: { total: 5, reasoning: -1 } }
    const model = new MockLanguageModelV3({
      doStream: async () => ({
        stream: simulateReadableStream({
          chunks: [...streamed([words("Hi.")], []).slice(0, -1), { ...finish, usage: odd as any }]
        })
      })
    })
    return Effect.gen(function* () {
      const { session } = yield* TestSession.make({ agent: Travel })
      const events = yield* TestSession.collect(session)
      expect((yield* session.run("Hi")).usage).toEqual({ outputTokens: 5 })
      expect(yield* events.filter("StepEnded")).toMatchObject([{ model: "m1", finishReason: "stop" }])
      // and behind `@effect/ai`, whose schema would fail the answer
      const whole = yield* LanguageModel.generateText({ prompt: "Hi" }).pipe(
        Effect.provide(AiSdkModel.layerLanguageModel(mock([[words("Hi.")]])))
      )
      expect(whole.usage).toMatchObject({ inputTokens: 11, outputTokens: 5, totalTokens: 16, cachedInputTokens: 7 })
    }).pipe(Effect.provide(on(model)))
  })
})

for (const streaming of [true, false]) {
  describe(`a session with a model of the AI SDK, ${streaming ? "streaming" : "whole answers"}`, () => {
    const withModel = (model: AiSdkModel.SdkModel, options: AiSdkModel.Options = {}) =>
      on(model, { streaming, ...options })

    it.scoped("[M4] [T1] text, calls and results, with the tools the same in each request", () => {
      const model = mock([
        [
          words("Let me look."),
          calls("c1", "weather", '{"city":"Oslo"}'),
          calls("c2", "weather", '{"city":"Atlantis"}')
        ],
        [words("Sunny.")],
        [words("Bye.")]
      ])
      return Effect.gen(function* () {
        const { session } = yield* TestSession.make({ agent: Travel })
        expect((yield* session.run("How is Oslo?")).text).toBe("Sunny.")
        yield* session.run("Bye")
        expect(yield* TestSession.said(session)).toEqual(["Let me look.", "Sunny.", "Bye."])
        const requests = asked(model)
        expect(requests).toHaveLength(3)
        expect(requests.map((request) => request.tools)).toEqual([
          requests[0]?.tools,
          requests[0]?.tools,
          requests[0]?.tools
        ])
        expect(new Set(requests.map((request) => JSON.stringify(request.tools))).size).toBe(1)
        expect(requests[0]?.tools?.[0]).toEqual({
          type: "function",
          name: "weather",
          description: "The weather.",
          inputSchema: Tool.getJsonSchema(Weather as any)
        })
        expect(requests[0]?.toolChoice).toEqual({ type: "auto" })
        expect(requests.map(({ prompt }) => pairs(prompt))).toEqual([[], ["c1", "c2"], ["c1", "c2"]])
        expect(requests[1]?.prompt).toEqual([
          { role: "system", content: "You are a travel agent." },
          { role: "user", content: [{ type: "text", text: "How is Oslo?" }] },
          {
            role: "assistant",
            content: [
              { type: "text", text: "Let me look." },
              { type: "tool-call", toolCallId: "c1", toolName: "weather", input: { city: "Oslo" } },
              { type: "tool-call", toolCallId: "c2", toolName: "weather", input: { city: "Atlantis" } }
            ]
          },
          {
            role: "tool",
            content: [
              {
                type: "tool-result",
                toolCallId: "c1",
                toolName: "weather",
                output: { type: "text", value: "Sunny in Oslo." }
              },
              {
                type: "tool-result",
                toolCallId: "c2",
                toolName: "weather",
                output: { type: "error-json", value: { error: "There is no such city." } }
              }
            ]
          }
        ])
        // what is settled is not converted again, and nothing that a model was given changes later
        expect(requests[2]?.prompt[2]).toBe(requests[1]?.prompt[2])
        expect(requests[0]?.prompt).toHaveLength(2)
      }).pipe(Effect.provide(withModel(model)))
    })

    it.scoped("[U1] [U2] [U3] a tool in the background: updates and result are pairs of their own", () => {
      const model = mock([
        [calls("c1", "book", '{"city":"Oslo","confirm_duplicate":null}')],
        [words("I am on it.")],
        [words("There is one.")],
        [words("Booked.")]
      ])
      return Effect.gen(function* () {
        const { session } = yield* TestSession.make({ agent: Travel })
        const { text } = yield* session.run("Book Oslo").pipe(TestSession.drive)
        expect(text).toBe("Booked.")
        const requests = asked(model)
        expect(requests.map(({ toolChoice }) => toolChoice?.type)).toEqual(["auto", "auto", "none", "none"])
        expect(requests.map(({ prompt }) => pairs(prompt))).toEqual([
          [],
          ["c1"],
          ["c1", "c1_update_1"],
          ["c1", "c1_update_1", "c1_final"]
        ])
        expect(new Set(requests.map((request) => JSON.stringify(request.tools))).size).toBe(1)
      }).pipe(Effect.provide(withModel(model)))
    })

    it.scoped("[M2] what the provider attached comes back unchanged, and reasoning with it", () => {
      const signed = { anthropic: { signature: "sig" } }
      const item = { openai: { itemId: "fc_1", extra: { deep: [1] } } }
      const model = mock([
        [
          { type: "reasoning", text: "Hm.", providerMetadata: signed },
          words("Well.", { openai: { itemId: "msg_1" } }),
          calls("c1", "weather", '{"city":"Oslo"}', item)
        ],
        [words("Sunny.")]
      ])
      return Effect.gen(function* () {
        const { session } = yield* TestSession.make({ agent: Travel })
        yield* session.run("How is Oslo?")
        expect(asked(model)[1]?.prompt[2]).toEqual({
          role: "assistant",
          content: [
            { type: "reasoning", text: "Hm.", providerOptions: signed },
            { type: "text", text: "Well.", providerOptions: { openai: { itemId: "msg_1" } } },
            {
              type: "tool-call",
              toolCallId: "c1",
              toolName: "weather",
              input: { city: "Oslo" },
              providerOptions: item
            }
          ]
        })
      }).pipe(Effect.provide(withModel(model)))
    })

    it.scoped("a model that changes the prompt it was given changes no later request", () => {
      const model = mock([[words("One.")], [words("Two.")]])
      return Effect.gen(function* () {
        const { session } = yield* TestSession.make({ agent: Travel })
        yield* session.run("Hi")
        asked(model)[0]?.prompt.splice(0)
        yield* session.run("Hi again")
        expect(asked(model)[1]?.prompt.map(({ role }) => role)).toEqual(["system", "user", "assistant", "user"])
      }).pipe(Effect.provide(withModel(model)))
    })

    it.scoped("[T3] arguments that are not JSON are an error of that one call", () => {
      const model = mock([
        [
          calls("c1", "weather", '{"city":"Os'),
          calls("c2", "weather", '{"city":"Oslo"}'),
          calls("c3", "weather", "[1]"),
          calls("c4", "nope", "")
        ],
        [words("Sorry.")]
      ])
      return Effect.gen(function* () {
        const { session } = yield* TestSession.make({ agent: Travel })
        expect((yield* session.run("How is Oslo?")).text).toBe("Sorry.")
        const outputs = yield* TestSession.outputs(session)
        expect(outputs.map((output) => [output.callId, output.isError])).toEqual([
          ["c1", true],
          ["c2", false],
          ["c3", true],
          ["c4", true]
        ])
        expect(outputs[0]?.output).toContain("not a JSON object")
        expect((yield* TestSession.calls(session)).map((call) => call.arguments)).toEqual([
          {},
          { city: "Oslo" },
          {},
          {}
        ])
        expect(asked(model)).toHaveLength(2)
      }).pipe(Effect.provide(withModel(model)))
    })

    it.scoped("[T1] the provider's own tools: offered by their id, their results kept where they belong", () => {
      const Search = AiSdkTool.provider("web_search", { type: "provider", id: "mock.web_search", args: { depth: 2 } })
      const model = mock([
        [
          { ...calls("s1", "web_search", '{"query":"Oslo"}'), providerExecuted: true } as Content,
          { type: "tool-result", toolCallId: "s1", toolName: "web_search", result: { hits: 3 } },
          { type: "source", sourceType: "url", id: "u1", url: "https://example.com/" },
          words("Three hits.")
        ],
        [words("Bye.")]
      ])
      return Effect.gen(function* () {
        const agent = Agent.make("searcher", { instructions: "S.", tools: [Toolkit.make(Search)] })
        const { session } = yield* TestSession.make({ agent })
        yield* session.run("Search Oslo")
        yield* session.run("Bye")
        const [first, second] = asked(model)
        expect(first?.tools).toEqual([
          { type: "provider", id: "mock.web_search", name: "web_search", args: { depth: 2 } }
        ])
        expect(second?.prompt[2]).toEqual({
          role: "assistant",
          content: [
            {
              type: "tool-call",
              toolCallId: "s1",
              toolName: "web_search",
              input: { query: "Oslo" },
              providerExecuted: true
            },
            {
              type: "tool-result",
              toolCallId: "s1",
              toolName: "web_search",
              output: { type: "json", value: { hits: 3 } }
            },
            { type: "text", text: "Three hits." }
          ]
        })
      }).pipe(Effect.provide(withModel(model)))
    })

    it.scoped(
      "[F7] a refused request ends the speech with status and headers, without a key, and the session lives",
      () => {
        const refused = new APICallError({
          message: "Incorrect API key provided: sk-proj-abcdefgh1234.",
          url: "https://user:pass@api.example.com/v1/responses?key=AIzaSyA1234567890abc",
          requestBodyValues: { secret: "prompt" },
          statusCode: 429,
          responseHeaders: { "Retry-After": "7", "set-cookie": "session=1" },
          responseBody: '{"error":"Bearer abcdefgh12345678"}'
        })
        const model = mock([refused, [words("Back.")]])
        return Effect.gen(function* () {
          const { session } = yield* TestSession.make({ agent: Travel })
          const speech = yield* session.send("Hi")
          yield* speech.wait
          const error = Option.getOrThrow(yield* speech.error)
          expect(error).toMatchObject({
            _tag: "HttpResponseError",
            response: { status: 429, headers: { "retry-after": "7", "set-cookie": "<redacted>" } },
            request: { url: "https://api.example.com/v1/responses" }
          })
          expect(`${error.message}${JSON.stringify(error)}`).not.toMatch(/sk-proj|AIza|pass|abcdefgh|prompt/)
          expect(AiSdkModel.isRetryable(error)).toBe(true)
          expect(AiSdkModel.retryAfter(error)).toEqual(Option.some(Duration.seconds(7)))
          expect((yield* session.run("Again")).text).toBe("Back.")
        }).pipe(Effect.provide(withModel(model)))
      }
    )

    it.scoped(
      "a request that failed is sent again where that may help, as often as asked for, after what the server says",
      () => {
        const busy = (headers: Record<string, string>) =>
          new APICallError({
            message: "busy",
            url: "",
            requestBodyValues: {},
            statusCode: 503,
            responseHeaders: headers
          })
        const model = mock([busy({ "retry-after": "3" }), busy({}), [words("Back.")]])
        return Effect.gen(function* () {
          const { session } = yield* TestSession.make({ agent: Travel })
          yield* session.send("Hi")
          yield* TestSession.settle
          expect(asked(model)).toHaveLength(1)
          yield* TestSession.advance("3 seconds")
          expect(asked(model)).toHaveLength(2)
          yield* TestSession.advance("3 seconds")
          expect(asked(model)).toHaveLength(2)
          yield* TestSession.advance("1 second")
          expect(yield* TestSession.said(session)).toEqual(["Back."])
        }).pipe(Effect.provide(withModel(model, { maxRetries: 2 })))
      }
    )

    it.scoped("settings of the model, of an agent, and warnings, which are logged once", () => {
      const logs = collectLogs()
      const warnings = [{ type: "unsupported", feature: "seed" }]
      const model = mock([[words("One.")], [words("Two.")]], { warnings })
      const agent = Agent.make("a", { instructions: "A." }).pipe(
        Agent.provide(
          AiSdkModel.settings({ temperature: 0.5, providerOptions: { mock: { b: 2 } }, headers: { "x-b": "2" } })
        )
      )
      return Effect.gen(function* () {
        const { session } = yield* TestSession.make({ agent })
        yield* session.run("Hi")
        yield* session.run("Hi")
        expect(asked(model)[0]).toMatchObject({
          temperature: 0.5,
          seed: 7,
          maxOutputTokens: 100,
          providerOptions: { mock: { a: 1, b: 2 }, other: { c: 3 } },
          headers: { "x-a": "1", "x-b": "2" }
        })
        expect(asked(model)[0]).not.toHaveProperty("tools")
        expect(asked(model)[0]).not.toHaveProperty("maxRetries")
        expect(logs.messages).toEqual(['mock mock-model-id warns: {"type":"unsupported","feature":"seed"}'])
      }).pipe(
        Effect.provide(
          AiSdkModel.layer(model, {
            streaming,
            temperature: 1,
            seed: 7,
            maxOutputTokens: 100,
            providerOptions: { mock: { a: 1 }, other: { c: 3 } },
            headers: { "x-a": "1" }
          })
        ),
        Effect.provide(logs.layer)
      )
    })

    it.scoped("[M6] a provider whose package drops the tools is asked with auto, and a call is refused", () => {
      const model = mock(
        [
          [calls("c1", "book", '{"city":"Oslo"}')],
          [words("On it.")],
          [calls("c2", "weather", '{"city":"Oslo"}')],
          [words("One.")],
          [words("Booked.")]
        ],
        { provider: "amazon-bedrock" }
      )
      return Effect.gen(function* () {
        const { session } = yield* TestSession.make({ agent: Travel })
        yield* session.run("Book Oslo").pipe(TestSession.drive)
        expect(new Set(asked(model).map(({ toolChoice }) => toolChoice?.type))).toEqual(new Set(["auto"]))
        const refused = (yield* TestSession.outputs(session)).find((output) => output.callId === "c2")
        expect(refused).toMatchObject({ isError: true })
      }).pipe(Effect.provide(withModel(model)))
    })

    it.scoped("interrupting the speech aborts the request, and what comes later is not heard", () =>
      Effect.gen(function* () {
        const signals: Array<AbortSignal> = []
        let cancelled = 0
        let release: (() => void) | undefined
        const gate = new Promise<void>((resolve) => {
          release = resolve
        })
        const model = new MockLanguageModelV3({
          doGenerate: async (options) => {
            signals.push(options.abortSignal as AbortSignal)
            await gate
            return { content: [words("Too late.")], finishReason: stop, usage, warnings: [] }
          },
          doStream: async (options) => {
            signals.push(options.abortSignal as AbortSignal)
            return {
              stream: new ReadableStream<LanguageModelV3StreamPart>({
                start(controller) {
                  controller.enqueue({ type: "text-start", id: "t" })
                  controller.enqueue({ type: "text-delta", id: "t", delta: "One " })
                },
                cancel() {
                  cancelled++
                }
              })
            }
          }
        })
        yield* Effect.gen(function* () {
          const { session } = yield* TestSession.make({ agent: Travel })
          yield* session.send("Hi")
          yield* TestSession.settle
          expect(signals.map((signal) => signal.aborted)).toEqual([false])
          yield* session.interrupt()
          yield* TestSession.settle
          expect(signals.map((signal) => signal.aborted)).toEqual([true])
          expect(cancelled).toBe(streaming ? 1 : 0)
          release?.()
          yield* TestSession.settle
          expect(yield* TestSession.said(session)).toEqual(streaming ? ["One "] : [])
        }).pipe(Effect.provide(withModel(model)))
      })
    )
  })
}

describe("a stream of the AI SDK", () => {
  const streams = (chunks: ReadonlyArray<LanguageModelV3StreamPart>) =>
    new MockLanguageModelV3({
      doStream: async () => ({
        stream: simulateReadableStream({ chunks: [...chunks], initialDelayInMs: null, chunkDelayInMs: null })
      })
    })
  const begin: Array<LanguageModelV3StreamPart> = [
    { type: "text-start", id: "t" },
    { type: "text-delta", id: "t", delta: "Half" }
  ]
  const failing = (model: AiSdkModel.SdkModel) =>
    Effect.gen(function* () {
      const { session } = yield* TestSession.make({ agent: Travel })
      const speech = yield* session.send("Hi")
      yield* speech.wait
      return [Option.getOrUndefined(yield* speech.error), yield* TestSession.said(session)] as const
    }).pipe(Effect.provide(on(model)), Effect.scoped)

  it.effect("[F7] an error in the middle ends the speech with that error; what was said stays", () =>
    Effect.gen(function* () {
      const overloaded = { type: "overloaded_error", message: "Overloaded" }
      const [error, said] = yield* failing(streams([...begin, { type: "error", error: overloaded }, finish]))
      expect(error).toMatchObject({ _tag: "HttpResponseError", response: { status: 529 }, description: "Overloaded" })
      expect(said).toEqual(["Half"])
    })
  )

  it.effect("[F7] one that ends without a finish, or with one that nobody sent, was cut off", () =>
    Effect.gen(function* () {
      const none = { total: undefined, noCache: undefined, cacheRead: undefined, cacheWrite: undefined }
      const unsent: LanguageModelV3StreamPart = {
        type: "finish",
        finishReason: { unified: "other", raw: undefined },
        usage: { inputTokens: none, outputTokens: { total: undefined, text: undefined, reasoning: undefined } }
      }
      for (const chunks of [begin, [...begin, unsent]]) {
        const [error, said] = yield* failing(streams(chunks))
        expect(error).toMatchObject({ _tag: "HttpRequestError", reason: "Transport" })
        expect(error?.message).toContain("ended before it was complete")
        expect(said).toEqual(["Half"])
      }
    })
  )

  it.effect("[F7] one that breaks, and a model that throws, that rejects, or that cannot do what is asked", () =>
    Effect.gen(function* () {
      const tag = (doStream: LanguageModelV3["doStream"]) =>
        Effect.map(failing(new MockLanguageModelV3({ doStream })), ([error]) => error?._tag)
      const broken = () =>
        new ReadableStream<LanguageModelV3StreamPart>({
          start: (controller) => controller.error(new TypeError("terminated"))
        })
      expect(yield* tag(async () => ({ stream: broken() }))).toBe("HttpRequestError")
      expect(yield* tag(() => Promise.reject(new Error("no")))).toBe("UnknownError")
      expect(yield* tag(() => Promise.reject(new UnsupportedFunctionalityError({ functionality: "x" })))).toBe(
        "MalformedInput"
      )
      const thrower = { ...new MockLanguageModelV3(), specificationVersion: "v3", provider: "p", modelId: "m" }
      const [error] = yield* failing({
        ...thrower,
        doStream: () => {
          throw new Error("at once")
        }
      })
      expect(error).toMatchObject({ _tag: "UnknownError", description: "at once" })
    })
  )
})

describe("a model of interface version 4", () => {
  it.scoped("is the same but for files, and stops with what was interrupted", () => {
    const seen: Array<any> = []
    const model: AiSdkModel.SdkModel = {
      specificationVersion: "v4",
      provider: "four",
      modelId: "m",
      doStream: async () => ({}),
      doGenerate: async (options: any) => {
        seen.push(options)
        return {
          content: [
            { type: "text", text: "draft" },
            { type: "custom", kind: "four.compaction" },
            { type: "file", mediaType: "image/png", data: { type: "data", data: new Uint8Array([1, 2]) } },
            { type: "file", mediaType: "image/png", data: { type: "url", url: new URL("https://example.com/a.png") } }
          ],
          structuredOutputText: "final",
          finishReason: seen.length === 1 ? stop : { unified: "interrupted", raw: undefined },
          usage,
          warnings: []
        }
      }
    }
    return Effect.gen(function* () {
      const prompt = Prompt.make([
        {
          role: "user",
          content: [
            { type: "file", mediaType: "image/png", data: new URL("https://example.com/b.png") },
            { type: "file", mediaType: "text/plain", fileName: "a.txt", data: "aGk=" }
          ]
        }
      ])
      const response = yield* LanguageModel.generateText({ prompt })
      expect(seen[0].prompt[0].content).toEqual([
        { type: "file", mediaType: "image/png", data: { type: "url", url: new URL("https://example.com/b.png") } },
        { type: "file", mediaType: "text/plain", filename: "a.txt", data: { type: "data", data: "aGk=" } }
      ])
      expect(seen[0].reasoning).toBe("low")
      expect(response.text).toBe("final")
      expect(response.content.map((part) => part.type)).toEqual(["text", "file", "source", "finish"])
      const cut = yield* Effect.exit(LanguageModel.generateText({ prompt }))
      expect(Exit.isFailure(cut) && Cause.pretty(cut.cause)).toContain("ended before it was complete")
    }).pipe(Effect.provide(AiSdkModel.layerLanguageModel(model, { reasoning: "low" })))
  })
})

describe("what is refused", () => {
  it.effect("models of another interface version, and ids, when the layer is built", () =>
    Effect.gen(function* () {
      const old = { ...new MockLanguageModelV3(), specificationVersion: "v2", provider: "old", modelId: "m" }
      for (const [model, message] of [
        [old, 'old m has version "v2"'],
        ["openai/gpt-5", 'not the id "openai/gpt-5"']
      ] as const) {
        const exit = yield* Effect.exit(Effect.scoped(Layer.build(AiSdkModel.layer(model as AiSdkModel.SdkModel))))
        expect(Exit.isFailure(exit) && Cause.isDie(exit.cause) && Cause.pretty(exit.cause)).toContain(message)
      }
    })
  )
})

// ---------------------------------------------------------------------------------------------------- plain @effect/ai

const Add = Tool.make("add", { parameters: { a: Schema.Number, b: Schema.Number }, success: Schema.Number }).annotate(
  AiSdkTool.Options,
  { strict: true, providerOptions: { mock: { cache: true } }, inputExamples: [{ a: 1, b: 2 }] }
)
const math = Toolkit.make(Add)
const mathLive = math.toLayer({ add: ({ a, b }) => Effect.succeed(a + b) })

describe("a LanguageModel of @effect/ai", () => {
  const provide = (model: MockLanguageModelV3, options?: AiSdkModel.Options) =>
    Effect.provide(Layer.merge(AiSdkModel.layerLanguageModel(model, options), mathLive))

  it.effect("generateText: parts, usage, tools resolved by @effect/ai", () => {
    const model = mock([
      [
        { type: "reasoning", text: "Hm.", providerMetadata: { anthropic: { signature: "s" } } },
        words("Two."),
        calls("c1", "add", '{"a":1,"b":1}'),
        { ...calls("m1", "mcp.hidden", "{}"), providerExecuted: true, dynamic: true } as Content,
        { type: "source", sourceType: "document", id: "d1", mediaType: "text/plain", title: "D", filename: "d.txt" },
        { type: "file", mediaType: "text/plain", data: new Uint8Array([104, 105]) }
      ]
    ])
    return Effect.gen(function* () {
      const response = yield* LanguageModel.generateText({ prompt: "1 + 1?", toolkit: math, toolChoice: "required" })
      expect(response.text).toBe("Two.")
      expect(response.content.map((part) => part.type)).toEqual([
        "reasoning",
        "text",
        "tool-call",
        "source",
        "file",
        "response-metadata",
        "finish",
        "tool-result"
      ])
      expect(response.content[0]?.metadata).toEqual({ anthropic: { signature: "s" } })
      expect(response.toolResults[0]).toMatchObject({ id: "c1", result: 2, isFailure: false })
      expect(response.finishReason).toBe("stop")
      expect(response.usage).toMatchObject({
        inputTokens: 11,
        outputTokens: 5,
        totalTokens: 16,
        reasoningTokens: 2,
        cachedInputTokens: 7
      })
      expect(asked(model)[0]).toMatchObject({ toolChoice: { type: "required" } })
      expect(asked(model)[0]?.tools).toEqual([
        {
          type: "function",
          name: "add",
          inputSchema: Tool.getJsonSchema(Add),
          strict: true,
          providerOptions: { mock: { cache: true } },
          inputExamples: [{ input: { a: 1, b: 2 } }]
        }
      ])
      expect(yield* Model.ProviderName).toBe("mock")
    }).pipe(provide(model))
  })

  for (const streaming of [true, false]) {
    it.effect(`streamText: the same parts and results, ${streaming ? "streamed" : "from whole answers"}`, () => {
      const model = mock([[words("Two."), calls("c1", "add", '{"a":1,"b":1}')]])
      return Effect.gen(function* () {
        const parts = Chunk.toReadonlyArray(
          yield* Stream.runCollect(LanguageModel.streamText({ prompt: "1 + 1?", toolkit: math }))
        )
        const types = parts.map((part) => part.type)
        expect(types.toSorted()).toEqual(
          ["finish", "response-metadata", "text-delta", "text-end", "text-start", "tool-call", "tool-result"].toSorted()
        )
        expect(parts.find((part) => part.type === "tool-result")).toMatchObject({ result: 2 })
        expect(parts.find((part) => part.type === "response-metadata")).toMatchObject({ id: Option.some("r1") })
      }).pipe(provide(model, { streaming }))
    })
  }

  it.effect("streamText shows the arguments of a call as they are written", () => {
    const model = new MockLanguageModelV3({
      doStream: async () => ({
        stream: simulateReadableStream<LanguageModelV3StreamPart>({
          initialDelayInMs: null,
          chunkDelayInMs: null,
          chunks: [
            { type: "tool-input-start", id: "c1", toolName: "add" },
            { type: "tool-input-delta", id: "c1", delta: '{"a":1,"b":1}' },
            { type: "tool-input-end", id: "c1" },
            calls("c1", "add", '{"a":1,"b":1}') as LanguageModelV3StreamPart,
            finish
          ]
        })
      })
    })
    return Effect.gen(function* () {
      const parts = yield* Stream.runCollect(
        LanguageModel.streamText({ prompt: "1 + 1?", toolkit: math, disableToolCallResolution: true })
      )
      expect(Chunk.toReadonlyArray(parts).map((part) => part.type)).toEqual([
        "tool-params-start",
        "tool-params-delta",
        "tool-params-end",
        "tool-call",
        "finish"
      ])
    }).pipe(provide(model))
  })

  it.effect("generateObject: the schema is sent, and the answer decoded by it", () => {
    const model = mock([[words('{"city":"Oslo","degrees":"21"}')]])
    const schema = Schema.Struct({ city: Schema.String, degrees: Schema.NumberFromString })
    return Effect.gen(function* () {
      const { value } = yield* LanguageModel.generateObject({ prompt: "Where?", schema, objectName: "place" })
      expect(value).toEqual({ city: "Oslo", degrees: 21 })
      expect(asked(model)[0]?.responseFormat).toMatchObject({
        type: "json",
        name: "place",
        schema: { type: "object", required: ["city", "degrees"] }
      })
    }).pipe(provide(model))
  })

  it.effect("toolChoice with oneOf offers those tools only; arguments that are not JSON fail the step", () => {
    const model = mock([[words("None.")], [calls("c1", "add", '{"a":')]])
    return Effect.gen(function* () {
      yield* LanguageModel.generateText({
        prompt: "?",
        toolkit: math,
        toolChoice: { mode: "required", oneOf: ["add"] }
      })
      expect(asked(model)[0]?.toolChoice).toEqual({ type: "required" })
      const exit = yield* Effect.exit(
        LanguageModel.generateText({ prompt: "?", toolkit: math, disableToolCallResolution: true })
      )
      expect(Exit.isFailure(exit) && Cause.failureOption(exit.cause)).toMatchObject({
        value: { _tag: "MalformedOutput" }
      })
    }).pipe(provide(model))
  })

  it.effect("interrupting a stream or a request aborts it", () =>
    Effect.gen(function* () {
      const signals: Array<AbortSignal | undefined> = []
      const started = yield* Deferred.make<void>()
      const never = (options: Call) => {
        signals.push(options.abortSignal)
        Deferred.unsafeDone(started, Effect.void)
        return new Promise<never>(() => {})
      }
      const model = new MockLanguageModelV3({ doGenerate: never, doStream: never })
      const layer = AiSdkModel.layerLanguageModel(model)
      const ask = [
        LanguageModel.generateText({ prompt: "?" }),
        Stream.runDrain(LanguageModel.streamText({ prompt: "?" }))
      ]
      for (const one of ask) {
        const fiber = yield* Effect.fork(
          Effect.provide(one as Effect.Effect<void, never, LanguageModel.LanguageModel>, layer)
        )
        yield* TestClock.adjust(0)
        yield* Deferred.await(started)
        yield* TestSession.settle
        yield* Fiber.interrupt(fiber)
      }
      expect(signals.map((signal) => signal?.aborted)).toEqual([true, true])
    })
  )
})

// ---------------------------------------------------------------------------------------------------------- try again

describe("when to try again", () => {
  const busy = (headers: Record<string, string>) =>
    new APICallError({ message: "busy", url: "", requestBodyValues: {}, statusCode: 503, responseHeaders: headers })
  /** What the server says, and how long is waited. */
  const table: ReadonlyArray<readonly [Record<string, string>, Duration.DurationInput, AiSdkModel.Options?]> = [
    [{ "retry-after": "86400" }, "1 minute"],
    [{ "retry-after-ms": "86400000" }, "1 minute"],
    [{ "retry-after": "Fri, 02 Jan 1970 00:00:00 GMT" }, "1 minute"],
    [{ "retry-after": "1e999" }, "2 seconds"],
    [{ "retry-after": "5" }, "5 seconds"],
    [{ "retry-after": "0" }, 0],
    [{ "retry-after-ms": "1500" }, "1500 millis"],
    [{ "retry-after-ms": "1500", "retry-after": "9" }, "1500 millis"],
    [{ "retry-after": "Thu, 01 Jan 1970 00:00:07 GMT" }, "7 seconds"],
    [{ "retry-after": "Sat, 28 Nov 2026 08:00:09 GMT", date: "Sat, 28 Nov 2026 08:00:00 GMT" }, "9 seconds"],
    [{ "retry-after": "Thu, 01 Jan 1970 00:00:07 GMT", date: "Fri, 02 Jan 1970 00:00:00 GMT" }, 0],
    [{ "retry-after": "-5" }, "2 seconds"],
    [{ "retry-after": "soon" }, "2 seconds"],
    [{ "retry-after": "" }, "2 seconds"],
    [{}, "2 seconds"],
    [{ "retry-after": "86400" }, "10 seconds", { maxRetryAfter: "10 seconds" }],
    [{ "retry-after": "300" }, "5 minutes", { maxRetryAfter: "1 hour" }],
    [{}, "3 seconds", { retry: Schedule.intersect(Schedule.spaced("3 seconds"), Schedule.recurs(1)) }],
    [{ "retry-after": "86400" }, "1 minute", { retry: Schedule.recurs(1) }]
  ]
  /** Answers after as long as is said, and not a millisecond earlier. */
  const waits = (
    model: MockLanguageModelV3,
    ask: Effect.Effect<unknown, unknown, Scope.Scope>,
    wait: Duration.DurationInput
  ) =>
    Effect.gen(function* () {
      const count = () => asked(model).length
      const fiber = yield* Effect.fork(ask)
      const millis = Duration.toMillis(wait)
      if (millis > 0) {
        yield* TestSession.settle
        yield* TestSession.advance(millis - 1)
        expect(count()).toBe(1)
        yield* TestSession.advance(1)
      }
      yield* TestSession.settle
      expect(count()).toBe(2)
      yield* Fiber.join(fiber)
    })
  const prompt = { prompt: "Hi" }
  const kinds: Record<
    string,
    (model: MockLanguageModelV3, options: AiSdkModel.Options) => Effect.Effect<unknown, unknown, Scope.Scope>
  > = {
    "a session": (model, options) =>
      Effect.flatMap(TestSession.make({ agent: Travel }), ({ session }) => session.run("Hi")).pipe(
        Effect.provide(on(model, options))
      ),
    "a session, whole answers": (model, options) =>
      Effect.flatMap(TestSession.make({ agent: Travel }), ({ session }) => session.run("Hi")).pipe(
        Effect.provide(on(model, { ...options, streaming: false }))
      ),
    generateText: (model, options) =>
      Effect.provide(LanguageModel.generateText(prompt), AiSdkModel.layerLanguageModel(model, options)),
    streamText: (model, options) =>
      Effect.provide(Stream.runDrain(LanguageModel.streamText(prompt)), AiSdkModel.layerLanguageModel(model, options))
  }
  for (const [headers, wait, options] of table) {
    for (const [name, ask] of Object.entries(kinds)) {
      it.scoped(`[F7] ${name}: ${JSON.stringify({ ...headers, ...options })} is ${Duration.format(wait)}`, () => {
        const model = mock([busy(headers), [words("Back.")]])
        return waits(model, ask(model, { maxRetries: 1, ...options }), wait)
      })
    }
  }

  it.effect("[F7] options that are no count and no time are refused, with their names", () =>
    Effect.gen(function* () {
      for (const name of ["maxRetries", "retry", "maxRetryAfter"]) {
        for (const value of [Number.NaN, -1]) {
          const exit = yield* Effect.exit(AiSdkModel.make(mock([]), { [name]: value }))
          expect(String(exit)).toContain(name)
        }
      }
    })
  )
})

// ------------------------------------------------------------------------------------------- answers that are no answer

describe("an answer that is none", () => {
  const none = { total: undefined, noCache: undefined, cacheRead: undefined, cacheWrite: undefined }
  const noUsage = { inputTokens: none, outputTokens: { total: undefined, text: undefined, reasoning: undefined } }
  const whole: Record<string, unknown> = {
    "nothing at all": undefined,
    "an empty object": {},
    "no content and no reason": { content: [], usage: noUsage, warnings: [] },
    "a reason that nobody sent": { content: [], finishReason: { unified: "other" }, usage: noUsage, warnings: [] }
  }
  const streamedAnswers: Record<string, () => unknown> = {
    "nothing at all": () => undefined,
    "no stream": () => ({}),
    "a stream without a part": () => ({ stream: new ReadableStream({ start: (c) => c.close() }) }),
    "a stream of nothing": () => ({ stream: ReadableStream.from([undefined]) }),
    "only its start": () => ({ stream: ReadableStream.from([{ type: "stream-start", warnings: [] }]) }),
    "only what is said of it": () => ({ stream: ReadableStream.from([{ type: "response-metadata", id: "r" }]) })
  }
  const models = [
    ...Object.entries(whole).map(
      ([name, answer]) => [`whole, ${name}`, { doGenerate: async () => answer as never }, { streaming: false }] as const
    ),
    ...Object.entries(streamedAnswers).map(
      ([name, answer]) => [`streamed, ${name}`, { doStream: async () => answer() as never }, {}] as const
    )
  ]
  for (const [name, calls, options] of models) {
    const model = () => new MockLanguageModelV3(calls)
    it.scoped(`[F7] in a session: ${name}`, () =>
      Effect.gen(function* () {
        const { session } = yield* TestSession.make({ agent: Travel })
        const speech = yield* session.send("Hi")
        yield* speech.wait
        expect(Option.map(yield* speech.error, (error) => error._tag)).not.toEqual(Option.none())
      }).pipe(Effect.provide(on(model(), options)))
    )
    it.effect(`[F7] without a session: ${name}`, () =>
      Effect.gen(function* () {
        const { streamText } = yield* AiSdkModel.makeLanguageModel(model(), options)
        const error = yield* Effect.flip(Stream.runDrain(streamText({ prompt: "Hi" })))
        expect(error).toHaveProperty("module", "AiSdkModel")
      })
    )
  }

  it.scoped("[D4] [F7] one without a word, but with its end, is an answer", () =>
    Effect.gen(function* () {
      const model = new MockLanguageModelV3({
        doStream: async () => ({ stream: simulateReadableStream({ chunks: [finish], initialDelayInMs: null }) })
      })
      const { session } = yield* TestSession.make({ agent: Travel }).pipe(Effect.provide(on(model)))
      const speech = yield* session.send("Hi")
      yield* speech.wait
      expect(yield* speech.error).toEqual(Option.none())
      expect(yield* TestSession.said(session)).toEqual([])
    })
  )

  it.scoped("[F7] an error that cannot be looked at is a failure of the model, and the session goes on", () =>
    Effect.gen(function* () {
      const odd = () =>
        Object.create(TypeError.prototype, {
          name: {
            get: () => {
              throw new Error("no")
            }
          }
        })
      const shut = () =>
        new Proxy(new Error("x"), {
          get: () => {
            throw new Error("no")
          },
          has: () => {
            throw new Error("no")
          },
          getPrototypeOf: () => {
            throw new Error("no")
          }
        })
      for (const make of [odd, shut]) {
        let n = 0
        const model = new MockLanguageModelV3({
          doGenerate: async () => {
            if (n++ === 0) throw make()
            return { content: [words("Back.")], finishReason: stop, usage, warnings: [] }
          }
        })
        const { session } = yield* TestSession.make({ agent: Travel }).pipe(
          Effect.provide(on(model, { streaming: false }))
        )
        const speech = yield* session.send("Hi")
        yield* speech.wait
        expect(Option.getOrThrow(yield* speech.error)).toMatchObject({ _tag: "UnknownError" })
        expect((yield* session.run("Again")).text).toBe("Back.")
      }
    })
  )

  for (const [name, parts] of [
    ["no part", []],
    ["no end", [{ type: "response-metadata", id: "r1" }]]
  ] as const) {
    it.effect(`[F7] of any LanguageModel: ${name}`, () =>
      Effect.gen(function* () {
        const model = yield* LanguageModel.make({
          generateText: () => Effect.succeed([]),
          streamText: () => Stream.fromIterable<any>(parts)
        })
        const { session } = yield* TestSession.make({ agent: Travel }).pipe(
          Effect.provide([Layer.succeed(LanguageModel.LanguageModel, model), kitLive, silent])
        )
        const speech = yield* session.send("Hi")
        yield* speech.wait
        expect(Option.getOrThrow(yield* speech.error)).toMatchObject({ _tag: "UnknownError" })
      }).pipe(Effect.scoped)
    )
  }
})
