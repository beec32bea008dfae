import { LanguageModel, Toolkit } from "@effect/ai"
import { Clock, Effect, Exit, Layer, Logger, Schema } from "effect"
import { Agent, type AgentSession, AsyncTool, type AsyncToolset, type RunContext } from "effect-meantime"
import { ScriptedModel, TestSession } from "effect-meantime/testing"

/** Answers each user's turn as the script says, and everything else with a word. */
export const turns =
  (script: Record<string, ScriptedModel.Step>): ScriptedModel.Respond =>
  (request) => {
    const last = request.prompt.content.at(-1)
    return (last?.role === "user" ? script[ScriptedModel.lastUserText(request)] : undefined) ?? "Noted."
  }

export const call = (name: string, params: unknown, id: string) => ScriptedModel.toolCall(name, params, { id })
export const work = (n: number, id: string, more: Record<string, unknown> = {}) => call("work", { n, ...more }, id)
export const cancel = (target: string, id: string) => call("cancel_task", { call_id: target }, id)

/** What happened when, in seconds of virtual time. */
export interface Journal {
  readonly lines: Array<string>
  readonly note: (what: string) => Effect.Effect<void>
}

export const journal = (): Journal => {
  const lines: Array<string> = []
  return {
    lines,
    note: (what) => Effect.map(Clock.currentTimeMillis, (millis) => void lines.push(`${millis / 1000} ${what}`))
  }
}

export const workTool = (options: AsyncTool.Options = {}) =>
  AsyncTool.make("work", { parameters: { n: Schema.Number }, success: Schema.String, ...options })

type Handler = (n: number) => Effect.Effect<string, AsyncTool.ToolError, RunContext.RunContext>

export const slowly: Handler = (n) => Effect.as(Effect.sleep("10 seconds"), `result ${n}`)

/** A handler whose beginning, end and clean-up are in the journal. */
export const watched =
  (log: Journal, body: Handler = slowly, cleanUp: Effect.Effect<unknown> = Effect.void): Handler =>
  (n) =>
    log.note(`start ${n}`).pipe(
      Effect.zipRight(body(n)),
      Effect.onExit((exit) =>
        Exit.isInterrupted(exit)
          ? log.note(`stop ${n}`).pipe(Effect.zipRight(cleanUp), Effect.zipRight(log.note(`clean ${n}`)))
          : log.note(`end ${n}`)
      )
    )

type SessionOptions = Partial<AgentSession.Options<never, []>>

/** A session whose model follows the turns, with its events. */
export const open = <R, const T extends ReadonlyArray<AsyncToolset.Entry> = []>(
  script: ScriptedModel.Script,
  options: AgentSession.Options<R, T>
) =>
  Effect.gen(function* () {
    const model = yield* ScriptedModel.make(script)
    const { close, session } = yield* Effect.provideService(
      TestSession.make(options),
      LanguageModel.LanguageModel,
      model.languageModel
    )
    return { close, session, events: yield* TestSession.collect(session), requests: model.service.requests }
  })

/** A session whose agent has the tool `work`. */
export const workshop = (config: {
  readonly turns: Record<string, ScriptedModel.Step>
  readonly tool?: AsyncTool.Options
  readonly handler?: Handler
  readonly provide?: Layer.Layer<never>
  readonly options?: SessionOptions
  readonly maxConcurrency?: number
}) => {
  const toolkit = Toolkit.make(workTool(config.tool))
  const handler = config.handler ?? slowly
  const limit = config.maxConcurrency
  const agent = Agent.make("worker", {
    instructions: "You work.",
    tools: [toolkit],
    ...(limit === undefined ? {} : { maxConcurrency: limit })
  }).pipe(
    Agent.provide(toolkit.toLayer({ work: ({ n }: { readonly n: number }) => handler(n) } as any) as Layer.Layer<any>),
    Agent.provide(config.provide ?? Layer.empty)
  ) as Agent.Agent<never>
  return open(turns(config.turns), { ...config.options, agent } as AgentSession.Options<never, []>)
}

/** Sends a text and lets settle what comes of it, without moving the clock. */
export const say = (session: AgentSession.AgentSession_, ...texts: ReadonlyArray<string>) =>
  Effect.forEach(texts, (text) => Effect.zipLeft(session.send(text), TestSession.settle), { discard: true })

/** The recorded output of a call, an update or a result. */
export const outputOf = (session: AgentSession.AgentSession_, callId: string) =>
  Effect.map(TestSession.outputs(session), (outputs) => {
    const found = outputs.filter((item) => item.callId === callId)
    if (found.length > 1) throw new Error(`${callId} has ${found.length} outputs`)
    return found[0] === undefined ? undefined : { output: found[0].output, isError: found[0].isError }
  })

/** The end events as text: `a done`. */
export const ends = (events: TestSession.Collected) =>
  Effect.map(events.filter("ToolCallEnded"), (all) => all.map(({ callId, status }) => `${callId} ${status}`))

export const runningIds = (session: AgentSession.AgentSession_) =>
  Effect.map(session.runningTools, (all) => all.map(({ callId }) => callId))

/** A layer that collects what is logged. */
export const collector = () => {
  const logged: Array<string> = []
  const logger = Logger.make(({ logLevel, message }) => void logged.push(`${logLevel.label} ${String(message)}`))
  return { logged, layer: Logger.add(logger) }
}
