import { type AiError, LanguageModel, type Prompt, type Response, type Tool, Toolkit } from "@effect/ai"
import { expect } from "@effect/vitest"
import { Cause, Effect, Exit, Layer, Logger, Schema, type Scope, Stream } from "effect"
import {
  Agent,
  AgentOutput,
  type AgentSession,
  AsyncTool,
  type AsyncToolset,
  type ChatContext,
  type RunContext,
  SessionEvent,
  SessionModel
} from "effect-meantime"
import { ScriptedModel, TestSession } from "effect-meantime/testing"
import { Alive } from "./alive.js"
import { problems, show, unanswered } from "./requests.js"

// ------------------------------------------------------------------------------------------------------- virtual time

export { scoped } from "./virtual.js"

// ------------------------------------------------------------------------------------------------------------- tools

export type Handler = (params: any) => Effect.Effect<unknown, any, RunContext.RunContext>

/** Tools by name: a handler, or options and a handler. */
export type Tools = Record<string, Handler | (AsyncTool.Options & { readonly run: Handler })>

export const kit = (tools: Tools) => {
  const runOf = (tool: Tools[string]): Handler => (typeof tool === "function" ? tool : tool.run)
  const declared = Object.entries(tools).map(([name, tool]) => {
    const { run: _, ...options } = typeof tool === "function" ? { run: tool } : tool
    return AsyncTool.make(name, {
      parameters: { n: Schema.optional(Schema.Number) },
      success: Schema.Unknown,
      ...options
    })
  })
  const handlers = Object.fromEntries(Object.entries(tools).map(([name, tool]) => [name, runOf(tool)]))
  const toolkit = Toolkit.make(...(declared as unknown as Array<Tool.Any>)) as Toolkit.Toolkit<any>
  return { toolkit, live: toolkit.toLayer(handlers as any) as Layer.Layer<never> }
}

export const agent = (
  name: string,
  tools: Tools = {},
  options: Partial<Agent.Options<[], AgentSession.AgentSession, AgentSession.AgentSession>> = {}
): Agent.Agent<never> => {
  const { live, toolkit } = kit(tools)
  return Agent.make(name, { instructions: `I am ${name}.`, ...options, tools: [toolkit] }).pipe(
    Agent.provide(live)
  ) as any
}

// ------------------------------------------------------------------------------------------------------------- models

export type Part = Response.StreamPartEncoded
/** Parts as they are, and what happens between them. */
export type Answer = ReadonlyArray<unknown>

/** Parts, effects between them (which may fail), each part a chunk of its own. */
export const streamOf = (answer: Answer): Stream.Stream<Part, AiError.AiError> =>
  Stream.fromIterable(answer).pipe(
    Stream.mapConcatEffect((piece) =>
      Effect.isEffect(piece)
        ? Effect.as(piece as Effect.Effect<unknown, AiError.AiError>, [])
        : Effect.as(Effect.yieldNow(), [piece as Part])
    )
  )

let texts = 0
export const textParts = (text: string): ReadonlyArray<Part> => {
  const id = `text_${++texts}`
  return [
    { type: "text-start", id },
    { type: "text-delta", id, delta: text },
    { type: "text-end", id }
  ]
}

export const callPart = (id: string, name: string, params: unknown = {}): Part => ({
  type: "tool-call",
  id,
  name,
  params
})

export const finishPart: Part = {
  type: "finish",
  reason: "stop",
  usage: { inputTokens: undefined, outputTokens: undefined, totalTokens: undefined }
}

/** Answers the requests one after another; when nothing is left, with nothing. */
export type Model = (request: { readonly prompt: Prompt.Prompt; readonly index: number }) => Answer

// -------------------------------------------------------------------------------------------------------- the session

export interface Setup extends Omit<AgentSession.Options<never, []>, "agent" | "tools"> {
  /** `direct`, `push`: the two forms of `SessionModel`; else behind a `LanguageModel` made with `LanguageModel.make` */
  readonly seam?: "direct" | "push" | "LanguageModel"
  readonly model: Model
  readonly tools?: Tools
  readonly agent?: Agent.Agent<never>
  readonly sessionTools?: ReadonlyArray<AsyncToolset.Entry>
  readonly output?: AgentOutput.Service | "paced" | undefined
  readonly layer?: Layer.Layer<never>
  /** fibers that nobody can end, those of handlers that do not let themselves be interrupted */
  readonly immortal?: number | "some"
}

export interface Talk {
  readonly session: AgentSession.Service
  readonly events: TestSession.Collected
  /** what was logged, with the level */
  readonly logs: ReadonlyArray<string>
  /** the same, with all causes and what stands in the messages */
  readonly fullLogs: ReadonlyArray<string>
  readonly prompts: ReadonlyArray<Prompt.Prompt>
  readonly close: Effect.Effect<void>
  readonly alive: () => number
  /** the output of a call, an update or a result */
  readonly output: (callId: string) => Effect.Effect<unknown>
  /** `id status` of each end event */
  readonly ends: Effect.Effect<ReadonlyArray<string>>
  readonly said: Effect.Effect<ReadonlyArray<string>>
}

/**
 * Runs a conversation, closes the session in virtual time, and checks what must hold whatever went wrong: each call
 * starts and ends once, each speech too; each call in each request is answered once and right after it, and in the
 * history once; the session closes, and no fiber that it started is alive.
 */
export const lawful = <A, E>(
  setup: Setup,
  use: (talk: Talk) => Effect.Effect<A, E, Scope.Scope>
): Effect.Effect<A, E, Scope.Scope> =>
  Effect.gen(function* () {
    const {
      agent: given,
      immortal = 0,
      layer = Layer.empty,
      model,
      output,
      seam = "direct",
      sessionTools = [],
      tools = {},
      ...options
    } = setup
    const logs: Array<string> = []
    const fullLogs: Array<string> = []
    const logger = Logger.make(({ cause, logLevel, message }) => {
      if (logLevel.ordinal < 30_000) return
      const parts = Array.isArray(message) ? message : [message]
      logs.push(`${logLevel.label} ${String(parts[0])}`)
      fullLogs.push([logLevel.label, ...parts.map(String), Cause.pretty(cause)].join(" "))
    })
    const prompts: Array<Prompt.Prompt> = []
    const answer = (prompt: Prompt.Prompt) =>
      Stream.suspend(() => streamOf(model({ prompt, index: prompts.push(prompt) - 1 })))
    const languageModel = yield* LanguageModel.make({
      generateText: () => Effect.succeed([]),
      streamText: ({ prompt }) => answer(prompt)
    })
    const models =
      seam === "direct"
        ? Layer.succeed(SessionModel.SessionModel, { stream: ({ prompt }) => answer(prompt) })
        : seam === "push"
          ? Layer.succeed(
              SessionModel.SessionModel,
              SessionModel.make({
                run: ({ prompt }, onParts) =>
                  Stream.runForEach(answer(prompt), (part) => Effect.sync(() => onParts([part])))
              })
            )
          : Layer.empty
    const alive = new Alive()
    const { close, session } = yield* TestSession.make({
      ...options,
      agent: given ?? agent("helper", tools),
      tools: sessionTools
    }).pipe(
      Effect.supervised(alive),
      Effect.provide(layer),
      Effect.provide(
        output === undefined
          ? Layer.empty
          : output === "paced"
            ? AgentOutput.layerPaced({ charactersPerSecond: 5 })
            : (Layer.succeed(AgentOutput.AgentOutput, output) as Layer.Layer<never>)
      ),
      Effect.provide(models),
      Effect.provideService(LanguageModel.LanguageModel, languageModel),
      Effect.provide(Logger.replace(Logger.defaultLogger, logger))
    ) as Effect.Effect<TestSession.TestSession, never, Scope.Scope>
    const events = yield* TestSession.collect(session)
    const result = yield* use({
      session,
      events,
      logs,
      fullLogs,
      prompts,
      close,
      alive: () => alive.fibers.size,
      output: (callId) =>
        Effect.map(TestSession.outputs(session), (items) => {
          const found = items.filter((item) => item.callId === callId)
          return found.length > 1 ? `${found.length} outputs` : found[0]?.output
        }),
      ends: Effect.map(events.filter("ToolCallEnded"), (all) => all.map(({ callId, status }) => `${callId} ${status}`)),
      said: TestSession.said(session)
    })
    yield* close
    yield* TestSession.settle
    expectLaw(yield* events.all)
    expect(prompts.flatMap((prompt, i) => problems(prompt).map((text) => `${i}: ${text}\n${show(prompt)}`))).toEqual([])
    // a call of the provider's own may be without result; it is not sent
    const { items } = yield* session.history
    const theirs = new Set(items.flatMap((item) => (isProviders(item) ? [item.callId] : [])))
    expect(unanswered({ items: items.filter((item) => !("callId" in item && theirs.has(item.callId))) })).toEqual([])
    for (const id of theirs) {
      expect(items.filter((item) => item._tag === "FunctionCallOutput" && item.callId === id).length).toBeLessThan(2)
    }
    if (immortal !== "some") expect(alive.fibers.size).toBe(immortal)
    return result
  })

const isProviders = (
  item: ChatContext.ChatItem
): item is Extract<ChatContext.ChatItem, { readonly _tag: "FunctionCall" }> =>
  item._tag === "FunctionCall" && (item.metadata?.["effect-meantime"] as any)?.providerExecuted === true

const encodeEvent = Schema.encodeEither(SessionEvent.SessionEvent)

const expectLaw = (events: ReadonlyArray<SessionEvent.SessionEvent>): void => {
  const of = <Tag extends SessionEvent.SessionEvent["_tag"]>(tag: Tag) =>
    events.filter((event): event is Extract<SessionEvent.SessionEvent, { readonly _tag: Tag }> => event._tag === tag)
  expect(of("EventsMissed")).toEqual([])
  expect(
    of("ToolCallEnded")
      .map((event) => event.callId)
      .toSorted()
  ).toEqual(
    of("ToolCallStarted")
      .map((event) => event.call.callId)
      .toSorted()
  )
  expect(
    of("SpeechEnded")
      .map((event) => event.speechId)
      .toSorted()
  ).toEqual(
    of("SpeechCreated")
      .map((event) => event.speechId)
      .toSorted()
  )
  const replies = of("ReplyEnded")
  expect(
    replies
      .filter((event) => event.status !== "dropped")
      .map((event) => event.replyId)
      .toSorted()
  ).toEqual(
    of("ReplyScheduled")
      .map((event) => event.replyId)
      .toSorted()
  )
  expect(events.map((event) => event._tag).filter((tag) => tag === "SessionClosed")).toHaveLength(1)
  expect(events.at(-1)?._tag).toBe("SessionClosed")
  // what is sent to a client can be sent: it goes through the Schema and through JSON
  const sent = events.map((event) => {
    const encoded = encodeEvent(event)
    return encoded._tag === "Right" ? JSON.parse(JSON.stringify(encoded.right))._tag : event
  })
  expect(sent).toEqual(events.map((event) => event._tag))
}

/** A user's turn, as far as it gets without time. */
export const turn = (session: AgentSession.Service, text: string) =>
  Effect.tap(session.send(text), () => TestSession.settle)

/** Is the session alive? It answers a user's turn. The model must answer `answer` when it is asked for it. */
export const goesOn = (talk: Talk, answer = "Yes."): Effect.Effect<void> =>
  Effect.gen(function* () {
    yield* turn(talk.session, "Still there?")
    yield* TestSession.advance("1 minute")
    expect((yield* talk.said).filter((text) => text.trim() === answer).length).toBeGreaterThan(0)
  }).pipe(Effect.orDie)

/** A model that does this at its first requests, and answers the question whether it is there. */
export const firstThen =
  (...answers: ReadonlyArray<Answer>): Model =>
  ({ index, prompt }) => {
    const given = answers[index]
    if (given !== undefined) return given
    const last = prompt.content.at(-1)
    const asked =
      last?.role === "user" ? last.content.map((part) => (part.type === "text" ? part.text : "")).join() : ""
    return textParts(asked.includes("Still there?") ? "Yes." : "Noted.")
  }

export const answering: Model = firstThen()

/** How an effect stands: `pending`, `done`, or the tag of its failure, or its defect. */
export const standing = <A, E>(exit: Exit.Exit<A, E> | undefined): string =>
  exit === undefined
    ? "pending"
    : Exit.match(exit, {
        onSuccess: () => "done",
        onFailure: (cause) => {
          const failure = Cause.failureOption(cause)
          return failure._tag === "Some" ? String((failure.value as any)?._tag) : Cause.pretty(cause)
        }
      })

export { ScriptedModel, TestSession }
