import { type AiError, type LanguageModel, Tool, Toolkit } from "@effect/ai"
import { describe, expectTypeOf, it } from "@effect/vitest"
import { Context, Effect, type Layer, Option, Schema, type Scope, type Stream } from "effect"
import {
  Agent,
  AgentOutput,
  AgentSession,
  AsyncTool,
  AsyncToolset,
  ChatContext,
  DuplicatePolicy,
  RunContext,
  SessionEvent,
  type SpeechHandle,
  ToolPrompts
} from "effect-meantime"

class Db extends Context.Tag("test/Db")<Db, { readonly get: Effect.Effect<number> }>() {}
class Mail extends Context.Tag("test/Mail")<Mail, { readonly send: Effect.Effect<void> }>() {}
declare const db: Layer.Layer<Db>
declare const mailFromDb: Layer.Layer<Mail, never, Db>
declare const failing: Layer.Layer<Db, "no database">

const Book = AsyncTool.make("book", {
  parameters: { to: Schema.String, at: Schema.Date },
  success: Schema.Struct({ seat: Schema.NumberFromString }),
  failure: Schema.Struct({ reason: Schema.String }),
  dependencies: [Db],
  allowCancellation: true
})
const Plain = Tool.make("plain", { success: Schema.String })
const Books = Toolkit.make(Book)
const Plains = Toolkit.make(Plain)
type Handlers<T extends Toolkit.Any> = Tool.HandlersFor<T["tools"]>

type R<E> = E extends Effect.Effect<any, any, infer R> ? R : never
type E<E> = E extends Effect.Effect<any, infer Err, any> ? Err : never
type AgentR<A> = A extends Agent.Agent<infer R> ? R : never
type SetR<A> = A extends AsyncToolset.AsyncToolset<infer R> ? R : never
type TaskR<A> = A extends Agent.AgentTask<any, infer R> ? R : never

// what stands in a `types` block is checked by the compiler and never run
const types = (title: string, _check: () => unknown) => it.effect(title, () => Effect.void)

describe("AsyncTool", () => {
  types("[T1] make infers parameters, success, failures and requirements", () => {
    expectTypeOf<Tool.Parameters<typeof Book>>().toEqualTypeOf<{ readonly to: string; readonly at: Date }>()
    expectTypeOf<Tool.Success<typeof Book>>().toEqualTypeOf<{ readonly seat: number }>()
    expectTypeOf<Tool.Failure<typeof Book>>().toEqualTypeOf<
      { readonly reason: string } | AsyncTool.ToolError | AsyncTool.StopResponse
    >()
    expectTypeOf<Tool.Requirements<typeof Book>>().toEqualTypeOf<RunContext.RunContext | Db>()
    expectTypeOf<(typeof Book)["name"]>().toEqualTypeOf<"book">()
    const Bare = AsyncTool.make("bare")
    expectTypeOf<Tool.Parameters<typeof Bare>>().toEqualTypeOf<{}>()
    expectTypeOf<Tool.Success<typeof Bare>>().toEqualTypeOf<void>()
    expectTypeOf<Tool.Requirements<typeof Bare>>().toEqualTypeOf<RunContext.RunContext>()
  })

  types("[T1] a handler may use what its tool declares, and nothing else", () => {
    Books.toLayer({
      book: ({ at, to }) => Effect.as(Effect.zipRight(RunContext.update(to), Db), { seat: at.getTime() })
    })
    // @ts-expect-error Mail is no dependency of the tool
    Books.toLayer({ book: () => Effect.as(Mail, { seat: 1 }) })
    // @ts-expect-error the failure is not in the tool's schema
    Books.toLayer({ book: () => Effect.fail("unknown") })
    // @ts-expect-error a seat is a number
    Books.toLayer({ book: () => Effect.succeed({ seat: "1" }) })
    // @ts-expect-error SessionClosed is to be handled
    Books.toLayer({ book: () => Effect.as(RunContext.foreground(Effect.void), { seat: 1 }) })
  })

  types("[T1] options are checked", () => {
    // @ts-expect-error no such mode
    AsyncTool.make("x", { onDuplicate: "ignore" })
    // @ts-expect-error no such delivery
    AsyncTool.make("x", { delivery: "later" })
    AsyncTool.make("x").annotate(AsyncTool.Annotations, { timeout: "1 second", onHandoff: "promote" })
    // @ts-expect-error no such option
    AsyncTool.make("x").annotate(AsyncTool.Annotations, { timeouts: "1 second" })
  })

  types("[U8] execute needs handlers and services, and never RunContext", () => {
    const executed = AsyncTool.execute(Books, { name: "book", arguments: {} })
    expectTypeOf<R<typeof executed>>().toEqualTypeOf<Handlers<typeof Books> | Db>()
    expectTypeOf<E<typeof executed>>().toEqualTypeOf<never>()
    expectTypeOf<Effect.Effect.Success<typeof executed>>().toEqualTypeOf<AsyncTool.Executed>()
  })
})

describe("requirements", () => {
  types("[L2] HandlersOf: the handlers of a toolkit and what they need; what a toolset still needs", () => {
    expectTypeOf<AsyncToolset.HandlersOf<typeof Books>>().toEqualTypeOf<Handlers<typeof Books> | Db>()
    expectTypeOf<AsyncToolset.HandlersOf<typeof Plains>>().toEqualTypeOf<Handlers<typeof Plains>>()
    expectTypeOf<AsyncToolset.HandlersOf<AsyncToolset.AsyncToolset<Db>>>().toEqualTypeOf<Db>()
    expectTypeOf<AsyncToolset.HandlersOf<typeof Books | typeof Plains>>().toEqualTypeOf<
      Handlers<typeof Books> | Handlers<typeof Plains> | Db
    >()
  })

  types("[L2] a toolset needs what its entries need, less what is provided, plus what that needs", () => {
    const nested = AsyncToolset.make("nested", Books)
    const set = AsyncToolset.make("set", [nested, Plains])
    expectTypeOf<SetR<typeof set>>().toEqualTypeOf<Handlers<typeof Books> | Handlers<typeof Plains> | Db>()
    const live = Books.toLayer(Effect.map(Mail, () => ({ book: () => Effect.succeed({ seat: 1 }) })))
    const provided = set.pipe(AsyncToolset.provide(live))
    expectTypeOf<SetR<typeof provided>>().toEqualTypeOf<Handlers<typeof Plains> | Db | Mail>()
    const more = provided.pipe(AsyncToolset.provide(mailFromDb), AsyncToolset.provide(db))
    expectTypeOf<SetR<typeof more>>().toEqualTypeOf<Handlers<typeof Plains>>()
    // @ts-expect-error a layer that may fail
    set.pipe(AsyncToolset.provide(failing))
    // @ts-expect-error a tool is no entry: it comes in a toolkit
    AsyncToolset.make("wrong", [Plain])
  })

  types("[L2] an agent needs what its tools, onEnter and onExit need, and never the session", () => {
    const Bare = Agent.make("bare", { instructions: "" })
    expectTypeOf<AgentR<typeof Bare>>().toEqualTypeOf<never>()
    const Full = Agent.make("full", {
      instructions: "",
      tools: [Books, AsyncToolset.make("set", Plains)],
      onEnter: Effect.zipRight(Mail, AgentSession.say("Hello.")),
      onExit: Effect.zipRight(Db, AgentSession.generateReply())
    })
    expectTypeOf<AgentR<typeof Full>>().toEqualTypeOf<Handlers<typeof Books> | Handlers<typeof Plains> | Db | Mail>()
    const provided = Full.pipe(Agent.provide(mailFromDb), Agent.provide(db))
    expectTypeOf(provided).toEqualTypeOf<Agent.Agent<Handlers<typeof Books> | Handlers<typeof Plains>>>()
    // @ts-expect-error onEnter may fail with SessionClosed only
    Agent.make("wrong", { instructions: "", onEnter: Effect.fail("no") })
    // @ts-expect-error an agent has instructions
    Agent.make("wrong", {})
    // @ts-expect-error a layer that may fail
    Bare.pipe(Agent.provide(failing))
  })

  types("[S7] a task has a result, a value of its type, and the requirements of an agent", () => {
    const Email = Agent.task("email", {
      instructions: "",
      result: Schema.Struct({ email: Schema.String, at: Schema.Date }),
      tools: [Books],
      onEnter: AgentSession.say("Which one?")
    })
    type Value = { readonly email: string; readonly at: Date }
    expectTypeOf<TaskR<typeof Email>>().toEqualTypeOf<Handlers<typeof Books> | Db>()
    expectTypeOf(Email.complete).parameter(0).toEqualTypeOf<Value>()
    expectTypeOf<R<ReturnType<typeof Email.complete>>>().toEqualTypeOf<RunContext.RunContext>()
    expectTypeOf<ReturnType<typeof Email.decline>>().toEqualTypeOf<Effect.Effect<void, never, RunContext.RunContext>>()
    const provided = Email.pipe(Agent.provide(db))
    expectTypeOf(provided).toEqualTypeOf<Agent.AgentTask<Value, Handlers<typeof Books>>>()
    // @ts-expect-error it still needs handlers
    RunContext.runTask(provided)
    const complete = {} as Agent.AgentTask<Value, never>
    expectTypeOf(RunContext.runTask(complete)).toEqualTypeOf<
      Effect.Effect<Value, AgentSession.SessionClosed | AsyncTool.ToolError, RunContext.RunContext>
    >()
    // @ts-expect-error the value of a task is invariant: what takes less is no substitute
    const wider: Agent.AgentTask<{ readonly email: string }, never> = complete
    // @ts-expect-error the result has fields
    Agent.task("wrong", { instructions: "", result: Schema.String })
    // @ts-expect-error a task has a result
    Agent.task("wrong", { instructions: "" })
    // @ts-expect-error a task is no agent
    RunContext.handoff(complete)
    // @ts-expect-error an agent is no task
    RunContext.runTask(Agent.make("agent", { instructions: "" }))
    return wider
  })

  types("[S4] agents that hand over to each other have their type written out", () => {
    const Front: Agent.Agent<never> = Agent.make("front", {
      instructions: "",
      onEnter: Effect.suspend(() => Effect.succeed(Back.name))
    })
    const Back: Agent.Agent<never> = Agent.make("back", {
      instructions: "",
      onEnter: Effect.suspend(() => Effect.succeed(Front.name))
    })
    const widened: Agent.Agent<Db> = Front
    // @ts-expect-error what needs Db is no agent that needs nothing
    const narrowed: Agent.Agent<never> = {} as Agent.Agent<Db>
    return [widened, narrowed]
  })

  types("[S4] a handler hands over to an agent that needs nothing, a program to one that its context serves", () => {
    // @ts-expect-error it still needs Db
    RunContext.handoff({} as Agent.Agent<Db>)
    expectTypeOf(RunContext.handoff({} as Agent.Agent<never>)).toEqualTypeOf<
      Effect.Effect<void, AsyncTool.ToolError, RunContext.RunContext>
    >()
    const session = {} as AgentSession.Service
    expectTypeOf(session.handoff({} as Agent.Agent<Db>)).toEqualTypeOf<
      Effect.Effect<void, AgentSession.SessionClosed, Db>
    >()
    // @ts-expect-error a task is no agent
    session.handoff({} as Agent.AgentTask<string, never>)
  })

  types("[L2] a session needs what its agent and tools need, a model and a scope; its layer no scope", () => {
    const agent = Agent.make("front", { instructions: "", tools: [Plains] })
    const made = AgentSession.make({ agent, tools: [Books, AsyncToolset.make("set", Plains)] })
    type Needed = Handlers<typeof Books> | Handlers<typeof Plains> | Db | LanguageModel.LanguageModel
    expectTypeOf<R<typeof made>>().toEqualTypeOf<Needed | Scope.Scope>()
    expectTypeOf<E<typeof made>>().toEqualTypeOf<never>()
    expectTypeOf(AgentSession.layer({ agent, tools: [Books] })).toEqualTypeOf<
      Layer.Layer<AgentSession.AgentSession, never, Needed>
    >()
    const bare = AgentSession.make({ agent: Agent.make("bare", { instructions: "" }) })
    expectTypeOf<R<typeof bare>>().toEqualTypeOf<LanguageModel.LanguageModel | Scope.Scope>()
    // @ts-expect-error a session has an agent
    AgentSession.make({})
    // @ts-expect-error a task cannot be a session's first agent
    AgentSession.make({ agent: {} as Agent.AgentTask<string, never> })
    // @ts-expect-error no such policy
    AgentSession.make({ agent: Agent.make("bare", { instructions: "" }), onInterruptedReply: "retry" })
  })

  types("[P5] policies are layers", () => {
    expectTypeOf(DuplicatePolicy.layer("join", { scope: "name" })).toEqualTypeOf<Layer.Layer<never>>()
    const custom = DuplicatePolicy.make((call, running) =>
      Effect.map(Db, () =>
        running.length === 0 || call.name === "x" ? { _tag: "Run" } : { _tag: "Refuse", message: "no" }
      )
    )
    expectTypeOf(custom).toEqualTypeOf<Layer.Layer<never, never, Db>>()
    // @ts-expect-error a policy does not fail
    DuplicatePolicy.make(() => Effect.fail("no"))
    // @ts-expect-error no such verdict
    DuplicatePolicy.make(() => Effect.succeed({ _tag: "Ignore" }))
  })
})

describe("templates", () => {
  types("[L3] a literal template with an unknown placeholder is refused at compile time", () => {
    // @ts-expect-error {nobody}
    ToolPrompts.layer({ update: "{nobody}" })
    // @ts-expect-error {nobody} behind a known one
    ToolPrompts.layer({ update: "{message} {nobody}" })
    // @ts-expect-error a placeholder of another template
    ToolPrompts.layer({ inProgress: "{message}" })
    // @ts-expect-error a placeholder of another template
    ToolPrompts.layer({ replyAtTail: "{callId}" })
    // @ts-expect-error placeholders are written without spaces
    ToolPrompts.layer({ update: "{ message }" })
    // @ts-expect-error {nobody} after a literal brace
    ToolPrompts.layer({ ended: "{{how}} {nobody}" })
    // @ts-expect-error one of two templates
    ToolPrompts.layer({ update: "{message}", released: "{message}" })
    // @ts-expect-error no such template
    ToolPrompts.layer({ updates: "{message}" })
    // @ts-expect-error a template is text
    ToolPrompts.layer({ update: 1 })
  })

  types("[L3] known placeholders, literal braces, functions and text that is not literal are taken", () => {
    expectTypeOf(ToolPrompts.layer({})).toEqualTypeOf<Layer.Layer<never>>()
    ToolPrompts.layer({ update: "{toolName} {callId} {message}", ended: "{toolName} {callId} {how}" })
    ToolPrompts.layer({ duplicateReject: "{toolName} {running} {runningText}", replyMaybeCovered: "{callIds}" })
    ToolPrompts.layer({ update: "{{nobody}} {message}", released: `{{"a": "{toolName}"}}` })
    ToolPrompts.layer({ update: "{nobody}" as string })
    ToolPrompts.layer({ update: ({ callId, message, toolName }) => `${callId}${message}${toolName}` })
    ToolPrompts.layer({ ended: ({ how }) => (how === "drained" ? "cut" : "ended") })
    // @ts-expect-error an argument that there is not
    ToolPrompts.layer({ update: ({ nobody }) => nobody })
    // @ts-expect-error a template gives text
    ToolPrompts.layer({ update: () => 1 })
  })

  types("[L3] what is written as Partial<Prompts> is a layer too", () => {
    const prompts: Partial<ToolPrompts.Prompts> = { update: "{message}" }
    expectTypeOf(ToolPrompts.layer(prompts)).toEqualTypeOf<Layer.Layer<never>>()
    expectTypeOf(ToolPrompts.defaults).toEqualTypeOf<ToolPrompts.Prompts>()
  })
})

describe("error channels", () => {
  const session = {} as AgentSession.Service
  const speech = {} as SpeechHandle.SpeechHandle

  types("what a program does in a session fails with SessionClosed", () => {
    type Says = Effect.Effect<SpeechHandle.SpeechHandle, AgentSession.SessionClosed>
    expectTypeOf(session.send("Hi")).toEqualTypeOf<Says>()
    expectTypeOf(session.say("Hi")).toEqualTypeOf<Says>()
    expectTypeOf(session.generateReply()).toEqualTypeOf<Says>()
    expectTypeOf(session.run("Hi")).toEqualTypeOf<Effect.Effect<AgentSession.RunResult, AgentSession.SessionClosed>>()
    expectTypeOf(session.waitForIdle).toEqualTypeOf<Effect.Effect<void, AgentSession.SessionClosed>>()
    expectTypeOf(session.cancelTool("c")).toEqualTypeOf<Effect.Effect<void, AsyncTool.ToolError>>()
    expectTypeOf(session.interrupt()).toEqualTypeOf<Effect.Effect<void, SpeechHandle.InterruptionDisallowed>>()
    expectTypeOf(session.history).toEqualTypeOf<Effect.Effect<ChatContext.ChatContext>>()
    expectTypeOf(session.events).toEqualTypeOf<Stream.Stream<SessionEvent.SessionEvent>>()
    expectTypeOf(session.claimUserTurn).toEqualTypeOf<Effect.Effect<void, never, Scope.Scope>>()
    expectTypeOf(session.runningTools).toEqualTypeOf<Effect.Effect<ReadonlyArray<AgentSession.RunningTool>>>()
    expectTypeOf(AgentSession.send("Hi")).toEqualTypeOf<
      Effect.Effect<SpeechHandle.SpeechHandle, AgentSession.SessionClosed, AgentSession.AgentSession>
    >()
    // @ts-expect-error what is said has no instructions
    session.say("Hi", { instructions: "?" })
    // @ts-expect-error no such choice
    session.send("Hi", { toolChoice: "some" })
  })

  types("[F2] a speech tells its errors", () => {
    expectTypeOf(speech.wait).toEqualTypeOf<Effect.Effect<void, SpeechHandle.CircularWait>>()
    expectTypeOf(speech.interrupt()).toEqualTypeOf<Effect.Effect<void, SpeechHandle.InterruptionDisallowed>>()
    expectTypeOf(speech.setAllowInterruptions(true)).toEqualTypeOf<
      Effect.Effect<void, SpeechHandle.AlreadyInterrupted>
    >()
    expectTypeOf(speech.error).toEqualTypeOf<Effect.Effect<Option.Option<AiError.AiError>>>()
    expectTypeOf(speech.items).toEqualTypeOf<Effect.Effect<ReadonlyArray<ChatContext.ChatItem>>>()
  })

  types("what a handler does keeps the errors and requirements of its effect", () => {
    const effect = {} as Effect.Effect<number, "broken", Db>
    type Run = RunContext.RunContext
    expectTypeOf(RunContext.update({ any: "thing" })).toEqualTypeOf<Effect.Effect<void, never, Run>>()
    expectTypeOf(RunContext.progress(0.5)).toEqualTypeOf<Effect.Effect<void, never, Run>>()
    expectTypeOf(RunContext.call).toEqualTypeOf<Effect.Effect<ChatContext.ToolCall, never, Run>>()
    expectTypeOf(RunContext.isCancelled).toEqualTypeOf<Effect.Effect<boolean, never, Run>>()
    expectTypeOf(RunContext.orCancelled(effect)).toEqualTypeOf<
      Effect.Effect<Option.Option<number>, "broken", Db | Run>
    >()
    expectTypeOf(RunContext.commit(effect)).toEqualTypeOf<Effect.Effect<number, "broken", Db | Run>>()
    expectTypeOf(RunContext.foreground(effect)).toEqualTypeOf<
      Effect.Effect<number, "broken" | AgentSession.SessionClosed, Db | Run>
    >()
    const filler: RunContext.FillerOptions = { say: (step) => (step > 1 ? undefined : "Hm.") }
    expectTypeOf(RunContext.withFiller(effect, filler)).toEqualTypeOf<Effect.Effect<number, "broken", Db | Run>>()
    expectTypeOf(effect.pipe(RunContext.withFiller(filler))).toEqualTypeOf<Effect.Effect<number, "broken", Db | Run>>()
    expectTypeOf(RunContext.waitForPlayout).toEqualTypeOf<Effect.Effect<void, never, Run>>()
    expectTypeOf(RunContext.disallowInterruptions).toEqualTypeOf<Effect.Effect<void, never, Run>>()
    expectTypeOf(RunContext.AsyncRunContext).toEqualTypeOf(RunContext.RunContext)
    RunContext.update("x", { template: "{toolName}: {message}", delivery: "silent" })
    // @ts-expect-error no such delivery
    RunContext.update("x", { delivery: "now" })
  })

  types("[E1] events and histories are schemas, their tags are told apart", () => {
    expectTypeOf<SessionEvent.SessionEvent["at"]>().toEqualTypeOf<number>()
    expectTypeOf<Extract<SessionEvent.SessionEvent, { _tag: "ReplyEnded" }>["status"]>().toEqualTypeOf<
      "completed" | "interrupted" | "skipped" | "failed" | "dropped"
    >()
    expectTypeOf<SessionEvent.SessionEvent["_tag"]>().toEqualTypeOf<
      | "UserStateChanged"
      | "AgentStateChanged"
      | "SpeechCreated"
      | "SpeechEnded"
      | "ItemAdded"
      | "ToolCallStarted"
      | "ToolCallUpdated"
      | "ToolCallProgress"
      | "ToolCallReleased"
      | "ToolCallEnded"
      | "ReplyScheduled"
      | "ReplyEnded"
      | "UpdateDropped"
      | "AgentHandoff"
      | "SessionError"
      | "EventsMissed"
      | "SessionClosed"
    >()
    expectTypeOf(SessionEvent.SessionEvent).toExtend<Schema.Schema<SessionEvent.SessionEvent, any>>()
    expectTypeOf(ChatContext.ChatContext).toExtend<Schema.Schema<ChatContext.ChatContext, any>>()
    expectTypeOf(AgentOutput.layerPaced()).toEqualTypeOf<Layer.Layer<never>>()
    return Option.none()
  })
})
