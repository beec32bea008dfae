import { LanguageModel, type Tool, Toolkit } from "@effect/ai"
import { expect } from "@effect/vitest"
import { Cause, Clock, Effect, Exit, Fiber, Layer, Logger, Option, Schema, type Scope } from "effect"
import {
  Agent,
  AgentOutput,
  type AgentSession,
  AsyncTool,
  type AsyncToolset,
  type ChatContext,
  type RunContext,
  type SessionEvent
} from "effect-meantime"
import { ScriptedModel, TestSession } from "effect-meantime/testing"

export const { toolCall, wait } = ScriptedModel

type Handler = (params: any) => Effect.Effect<unknown, any, RunContext.RunContext>

/** A handler, with options or without. Tools take any parameters, and what the handler returns is the output. */
export type Tools = Record<string, Handler | (AsyncTool.Options & { readonly run: Handler })>

/** A toolkit and its handlers. */
export const toolkit = (tools: Tools) => {
  const declared = Object.entries(tools).map(([name, tool]) => {
    const { run: _, ...options } = typeof tool === "function" ? { run: tool } : tool
    return AsyncTool.make(name, {
      parameters: { n: Schema.optional(Schema.Number) },
      success: Schema.Unknown,
      ...options
    })
  })
  const handlers = Object.fromEntries(
    Object.entries(tools).map(([name, tool]) => [name, typeof tool === "function" ? tool : tool.run])
  )
  const kit = Toolkit.make(...(declared as unknown as Array<Tool.Any>)) as Toolkit.Toolkit<any>
  return { kit, layer: kit.toLayer(handlers as any) as Layer.Layer<any> }
}

export interface Setup extends Omit<AgentSession.Options<never, []>, "agent" | "tools"> {
  readonly script: ScriptedModel.Script
  /** of the agent */
  readonly tools?: Tools
  readonly agent?: Agent.Agent<any>
  readonly sessionTools?: ReadonlyArray<AsyncToolset.Entry>
  readonly layer?: Layer.Layer<any> | Layer.Layer<never>
  /** Characters a second; four letters and a space are a second. `instant`: the default output. */
  readonly pace?: number | "instant"
  /** what is expected to be logged; anything else fails the test */
  readonly logs?: ReadonlyArray<RegExp>
}

/** the warning of a failure of the model that nobody has looked at (rule R3) */
export const modelFailed = /^WARN: The model of the agent "[^"]*" failed: /

export interface Talk extends TestSession.TestSession {
  readonly model: ScriptedModel.Service
  readonly events: TestSession.Collected
  readonly logs: ReadonlyArray<string>
  /** who said what, in the order of the history */
  readonly lines: Effect.Effect<ReadonlyArray<string>>
  readonly request: (index: number) => Effect.Effect<ScriptedModel.Request>
  readonly requested: Effect.Effect<number>
  readonly replies: Effect.Effect<ReadonlyArray<string>>
}

/**
 * A session with one agent that speaks at the pace of speech. When the test has passed the session is closed, and what
 * must hold of every conversation is checked: calls, speeches and replies begin and end once, and each request is sound.
 */
export const talk = (setup: Setup): Effect.Effect<Talk, never, Scope.Scope> =>
  Effect.gen(function* () {
    const { agent, layer = Layer.empty, logs: expected = [], pace = 5, script, sessionTools, tools, ...options } = setup
    const own = toolkit(tools ?? {})
    const logs: Array<string> = []
    const collector = Logger.make(({ logLevel, message }) => {
      logs.push(`${logLevel.label}: ${Array.isArray(message) ? message.map(String).join(" ") : String(message)}`)
    })
    const { languageModel, service: model } = yield* ScriptedModel.make(script)
    const { close, session } = yield* TestSession.make({
      drainTimeout: "1 hour",
      ...options,
      agent: agent ?? Agent.make("helper", { instructions: "You help.", tools: [own.kit] }),
      tools: sessionTools ?? []
    }).pipe(
      Effect.provide(own.layer),
      Effect.provide(layer as Layer.Layer<any>),
      Effect.provide(pace === "instant" ? Layer.empty : AgentOutput.layerPaced({ charactersPerSecond: pace })),
      Effect.provide(Logger.replace(Logger.defaultLogger, collector)),
      Effect.provideService(LanguageModel.LanguageModel, languageModel)
    ) as Effect.Effect<TestSession.TestSession, never, Scope.Scope>
    const events = yield* TestSession.collect(session)
    yield* Effect.addFinalizer((exit) =>
      Exit.isFailure(exit)
        ? Effect.void
        : Effect.gen(function* () {
            yield* close
            expectSound(yield* events.all)
            const requests = yield* model.requests
            for (const request of requests) expectAnswered(request)
            // a step may be cut before the model is asked
            const steps = (yield* events.filter("StepEnded")).length
            expect(steps).toBeGreaterThanOrEqual(requests.length)
            expect(logs.filter((line) => !expected.some((pattern) => pattern.test(line)))).toEqual([])
          })
    )
    return {
      session,
      close,
      model,
      events,
      logs,
      lines: Effect.map(session.history, ({ items }) => items.map(lineOf)),
      request: (index) =>
        Effect.map(model.requests, (requests) => {
          const request = requests[index]
          if (request === undefined) throw new Error(`there is no request ${index}, but ${requests.length}`)
          return request
        }),
      requested: Effect.map(model.requests, (requests) => requests.length),
      replies: Effect.map(events.filter("ReplyScheduled", "ReplyEnded"), (replies) =>
        replies.map(
          (reply) => `${reply._tag === "ReplyEnded" ? reply.status : "scheduled"} ${reply.updateIds.join(" ")}`
        )
      )
    }
  })

export const lineOf = (item: ChatContext.ChatItem): string => {
  switch (item._tag) {
    case "Message":
      return `${item.role}: ${item.text.trim()}${item.interrupted ? " [cut]" : ""}`
    case "FunctionCall":
      return `call ${item.callId}`
    case "FunctionCallOutput":
      return `${item.isError ? "error" : "output"} ${item.callId}: ${JSON.stringify(item.output)}`
    case "AgentHandoff":
      return `handoff: ${item.to}`
    case "Reasoning":
      return "reasoning"
  }
}

/** Calls and speeches start and end once; a reply ends as it was scheduled; nothing is voiced twice. */
const expectSound = (events: ReadonlyArray<SessionEvent.SessionEvent>): void => {
  const of = <Tag extends SessionEvent.SessionEvent["_tag"]>(tag: Tag) =>
    events.filter((event): event is Extract<SessionEvent.SessionEvent, { readonly _tag: Tag }> => event._tag === tag)
  const started = of("ToolCallStarted").map((event) => event.call.callId)
  expect(
    of("ToolCallEnded")
      .map((event) => event.callId)
      .sort()
  ).toEqual([...started].sort())
  const created = of("SpeechCreated").map((event) => event.speechId)
  const over = of("SpeechEnded").map((event) => event.speechId)
  expect(new Set(over).size).toBe(over.length)
  expect(created.filter((id) => !over.includes(id))).toEqual([])
  for (const step of of("StepEnded")) {
    const at = events.indexOf(step)
    const is = (tag: SessionEvent.SessionEvent["_tag"]) => (event: SessionEvent.SessionEvent) =>
      event._tag === tag && "speechId" in event && event.speechId === step.speechId
    expect(events.findIndex(is("SpeechCreated"))).toBeLessThan(at)
    expect(events.findIndex(is("SpeechEnded"))).toBeGreaterThan(at)
  }
  const scheduled = of("ReplyScheduled")
  const ended = of("ReplyEnded")
  const names = (replies: ReadonlyArray<{ readonly replyId: string; readonly updateIds: ReadonlyArray<string> }>) =>
    replies.map(({ replyId, updateIds }) => `${replyId}: ${updateIds.join(" ")}`).sort()
  expect(names(ended.filter((event) => event.status !== "dropped"))).toEqual(names(scheduled))
  for (const event of ended.filter((event) => event.status === "dropped")) {
    expect(scheduled.filter(({ replyId }) => replyId === event.replyId)).toEqual([])
  }
  const final = ["completed", "skipped", "failed", "dropped"]
  const last = new Set<string>()
  for (const { status, updateIds } of ended) {
    for (const id of updateIds) {
      expect(last.has(id) ? `${id} ended a second time` : undefined).toBeUndefined()
      if (final.includes(status)) last.add(id)
    }
  }
}

/** Each call is answered once and right after it; the request begins with the instructions, never ends with the agent. */
const expectAnswered = (request: ScriptedModel.Request): void => {
  const messages = request.prompt.content
  expect(messages.findLastIndex((message) => message.role === "system")).toBeLessThan(1)
  expect(["user", "tool"]).toContain(messages.at(-1)?.role)
  const ids = (content: ReadonlyArray<any>, type: string): Array<string> =>
    content.filter((part) => part.type === type).map((part) => part.id)
  messages.forEach((message, i) => {
    if (message.role !== "assistant") return
    const calls = ids(message.content, "tool-call")
    const next = messages[i + 1]
    expect(next?.role === "tool" ? ids(next.content, "tool-result") : []).toEqual(calls)
  })
  expect(new Set(ScriptedModel.toolCalls(request).map(({ id }) => id)).size).toBe(
    ScriptedModel.toolCalls(request).length
  )
}

export const now = Clock.currentTimeMillis

/** Starts an effect that may wait; what is given tells how it stands: `pending`, `done`, or the tag of its failure. */
export const started = <A, E extends { readonly _tag: string }, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.forkScoped(Effect.exit(effect)), (fiber) =>
    Effect.map(Effect.zipRight(TestSession.settle, Fiber.poll(fiber)), (polled) => {
      if (Option.isNone(polled)) return "pending"
      const exit = Exit.flatten(polled.value)
      if (Exit.isSuccess(exit)) return "done"
      return Option.match(Cause.failureOption(exit.cause), {
        onNone: () => Cause.pretty(exit.cause),
        onSome: (error) => error._tag
      })
    })
  )
