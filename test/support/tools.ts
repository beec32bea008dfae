import { LanguageModel, type Response } from "@effect/ai"
import { expect } from "@effect/vitest"
import { Cause, Chunk, Effect, Layer, Logger, type Scope, Stream } from "effect"
import { Agent, type AgentSession, type AsyncToolset } from "effect-meantime"
import { ScriptedModel, TestSession } from "effect-meantime/testing"

export interface LogLine {
  readonly level: string
  readonly text: string
  readonly cause: string
}

/** Collects what is logged, instead of writing it. */
export const collectLogs = (lines: Array<LogLine>): Layer.Layer<never> =>
  Logger.replace(
    Logger.defaultLogger,
    Logger.make(({ cause, logLevel, message }) => {
      const text = (Array.isArray(message) ? message : [message]).map(String).join(" ")
      lines.push({ level: logLevel.label, text, cause: Cause.isEmpty(cause) ? "" : Cause.pretty(cause) })
    })
  )

export interface TalkOptions extends Omit<AgentSession.Options<never, []>, "agent" | "tools"> {
  readonly tools: ReadonlyArray<AsyncToolset.Entry>
  readonly script: ScriptedModel.Script
  readonly handlers?: Layer.Layer<never>
  readonly agent?: { readonly maxConcurrency?: number }
  /** prompts, output and the like, for the whole session */
  readonly layers?: Layer.Layer<never>
}

/** A session with one agent that has these tools, its events from the first one on, its requests and its log. */
export const talk = ({ agent, handlers = Layer.empty, layers = Layer.empty, script, tools, ...options }: TalkOptions) =>
  Effect.gen(function* () {
    const logs: Array<LogLine> = []
    const model = yield* ScriptedModel.make(script)
    const { close, session } = yield* TestSession.make({
      ...options,
      agent: Agent.make("agent", { instructions: "You help.", tools, ...agent })
    }).pipe(
      Effect.provide(handlers),
      Effect.provide(layers),
      Effect.provideService(LanguageModel.LanguageModel, model.languageModel),
      Effect.provide(collectLogs(logs))
    ) as Effect.Effect<TestSession.TestSession, never, Scope.Scope>
    const events = yield* TestSession.collect(session)
    return {
      session,
      close,
      events,
      logs,
      requests: model.service.requests,
      push: model.service.push,
      /** A user's turn, as far as it gets without time. */
      send: (text: string, options?: AgentSession.ReplyOptions) =>
        Effect.tap(session.send(text, options), () => TestSession.settle),
      /** `id: output`, or `id! output` for an error, in the order of the history. */
      outputs: Effect.map(TestSession.outputs(session), (items) =>
        items.map((item) => `${item.callId}${item.isError ? "!" : ":"} ${text(item.output)}`)
      ),
      output: (callId: string) =>
        Effect.map(TestSession.outputs(session), (items) => items.find((item) => item.callId === callId)),
      requestCount: Effect.map(model.service.requests, (requests) => requests.length),
      lastRequest: Effect.map(model.service.requests, (requests) => requests[requests.length - 1]!),
      /** `id status` of each end event. */
      ends: Effect.map(events.filter("ToolCallEnded"), (ended) => ended.map((event) => `${event.id} ${event.status}`)),
      starts: Effect.map(events.filter("ToolCallStarted"), (started) => started.map((event) => event.call.callId))
    }
  })

/** Every call that a request shows has exactly one result, and every result its call. */
export const expectAnsweredOnce = (request: ScriptedModel.Request): void => {
  const calls = ScriptedModel.toolCalls(request).map((call) => call.id)
  expect(new Set(calls).size).toBe(calls.length)
  expect(
    ScriptedModel.toolResults(request)
      .map((result) => result.id)
      .toSorted()
  ).toEqual(calls.toSorted())
}

export const text = (value: unknown): string => (typeof value === "string" ? value : (JSON.stringify(value) ?? "none"))

/** A model that sends each answer as one chunk, and keeps what it was asked. */
export const chunkModel = (answers: ReadonlyArray<ReadonlyArray<Response.StreamPartEncoded>>) =>
  Effect.gen(function* () {
    const asked: Array<LanguageModel.ProviderOptions> = []
    const languageModel = yield* LanguageModel.make({
      generateText: () => Effect.succeed([]),
      streamText: (options) => {
        const answer = answers[asked.length] ?? []
        asked.push(options)
        return Stream.fromChunk(Chunk.fromIterable([...answer, finish]))
      }
    })
    return { asked, languageModel }
  })

const finish: Response.StreamPartEncoded = {
  type: "finish",
  reason: "stop",
  usage: { inputTokens: undefined, outputTokens: undefined, totalTokens: undefined }
}

/** Text and tool calls as a provider may send them, in one chunk. */
export const parts = {
  text: (id: string, delta: string): ReadonlyArray<Response.StreamPartEncoded> => [
    { type: "text-start", id },
    { type: "text-delta", id, delta },
    { type: "text-end", id }
  ],
  call: (id: string, name: string, params: unknown): Response.StreamPartEncoded => ({
    type: "tool-call",
    id,
    name,
    params
  })
}
