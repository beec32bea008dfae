import { type Tool, Toolkit } from "@effect/ai"
import { Cause, Effect, Layer, Logger, Schema, type Scope } from "effect"
import { Agent, type AgentSession, AsyncTool, AsyncToolset, type RunContext } from "effect-meantime"
import { ScriptedModel, TestSession } from "effect-meantime/testing"

type Work = Effect.Effect<
  unknown,
  AsyncTool.ToolError | AsyncTool.StopResponse | AgentSession.SessionClosed,
  RunContext.RunContext
>

/** Tools by name: what each does, or its options and what it does. */
export type Works = Record<string, Work | readonly [AsyncTool.Options, Work]>

/** A toolkit of tools without parameters, and its handlers. */
export const kit = (works: Works) => {
  const tools: Array<Tool.Any> = []
  const handlers: Record<string, () => unknown> = {}
  for (const [name, entry] of Object.entries(works)) {
    const [options, work] = Array.isArray(entry) ? entry : [{}, entry]
    tools.push(AsyncTool.make(name, { success: Schema.Unknown, ...options }))
    handlers[name] = () =>
      Effect.catchTag(work as Work, "SessionClosed", () => new AsyncTool.ToolError({ message: "the session closed" }))
  }
  const toolkit = Toolkit.make(...(tools as Array<never>)) as unknown as Toolkit.Toolkit<{}>
  return { toolkit, live: toolkit.toLayer(handlers as {}) as Layer.Layer<never> }
}

type AgentOptions = Omit<
  Agent.Options<[], AgentSession.AgentSession, AgentSession.AgentSession>,
  "tools" | "instructions"
> & {
  readonly works?: Works
  readonly sets?: ReadonlyArray<AsyncToolset.AsyncToolset<never>>
}

/** An agent whose instructions are `I am <name>.` */
export const agent = (name: string, { sets = [], works = {}, ...options }: AgentOptions = {}): Agent.Agent<never> => {
  const { live, toolkit } = kit(works)
  return Agent.make(name, { instructions: `I am ${name}.`, tools: [toolkit, ...sets], ...options }).pipe(
    Agent.provide(live)
  )
}

/** A task that ends with `{ email }`; it waits for the user unless `onEnter` says otherwise. */
export const task = (name: string, { sets = [], works = {}, ...options }: AgentOptions = {}) => {
  const { live, toolkit } = kit(works)
  return Agent.task(name, {
    instructions: `I am ${name}.`,
    tools: [toolkit, ...sets],
    result: Schema.Struct({ email: Schema.String }),
    onEnter: Effect.void,
    ...options
  }).pipe(Agent.provide(live))
}

export const toolset = (
  id: string,
  works: Works,
  options?: Parameters<typeof AsyncToolset.make>[2]
): AsyncToolset.AsyncToolset<never> => {
  const { live, toolkit } = kit(works)
  return AsyncToolset.make(id, toolkit, options).pipe(AsyncToolset.provide(live))
}

/** A call in a script; its id is its name unless it is given. */
export const call = (name: string, params: unknown = {}, id = name) => ScriptedModel.toolCall(name, params, { id })

/** A session, its events, and what its tests ask most. */
export const talk = Effect.fnUntraced(function* (
  options: Parameters<typeof TestSession.make<never, ReadonlyArray<AsyncToolset.AsyncToolset<never>>>>[0]
) {
  const { close, session } = yield* TestSession.make(options)
  const events = yield* TestSession.collect(session)
  const model = yield* ScriptedModel.ScriptedModel
  yield* TestSession.settle
  return {
    session,
    close,
    events,
    model,
    /** a user's turn, as far as it goes without time */
    say: (text: string) => Effect.tap(session.send(text), TestSession.settle),
    said: Effect.zipRight(TestSession.settle, TestSession.said(session)),
    agentName: Effect.map(session.currentAgent, ({ name }) => name),
    /** who was asked, request by request */
    asked: Effect.map(model.requests, (requests) =>
      requests.map((request) => ScriptedModel.systemText(request).replace(/^I am (.*)\.$/, "$1"))
    ),
    lastRequest: Effect.map(model.requests, (requests) => requests.at(-1)!),
    transcript: Effect.map(model.requests, (requests) => ScriptedModel.transcript(requests.at(-1)!)),
    outputs: Effect.map(TestSession.outputs(session), (outputs) =>
      outputs.map(({ callId, output }) => [callId, output])
    ),
    running: Effect.map(session.runningTools, (tools) => tools.map(({ callId }) => callId)),
    ended: Effect.map(events.filter("ToolCallEnded"), (ended) => ended.map(({ callId, status }) => [callId, status])),
    handoffs: Effect.map(events.filter("AgentHandoff"), (handoffs) => handoffs.map(({ from, to }) => [from, to])),
    replies: Effect.map(events.filter("ReplyEnded"), (replies) =>
      replies.map(({ status, updateIds }) => [status, ...updateIds])
    )
  }
})

export const script =
  (script: ScriptedModel.Script) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    Effect.provide(effect, ScriptedModel.layer(script))

/** A list that effects write to. */
export const notes = () => {
  const all: Array<string> = []
  const note = (text: string) => Effect.sync(() => void all.push(text))
  /** a resource that notes when it is acquired and released */
  const resource = (
    name: string,
    release: Effect.Effect<void> = Effect.void
  ): Effect.Effect<void, never, Scope.Scope> =>
    Effect.acquireRelease(note(`+${name}`), () => Effect.zipRight(release, note(`-${name}`)))
  return {
    all,
    note,
    resource,
    layer: (name: string, release?: Effect.Effect<void>) => Layer.scopedDiscard(resource(name, release))
  }
}

/** Log lines as `LEVEL text`, and the causes that came with them, instead of on the console. */
export const logs = () => {
  const all: Array<string> = []
  const causes: Array<string> = []
  const logger = Logger.make(({ cause, logLevel, message }) => {
    all.push(`${logLevel.label} ${[message].flat().map(String).join(" ")}`)
    causes.push(Cause.pretty(cause))
  })
  return { all, causes, layer: Logger.replace(Logger.defaultLogger, logger) }
}
