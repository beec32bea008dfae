import { type AiError, type LanguageModel, type Prompt, Tool, Toolkit } from "@effect/ai"
import type { Terminal } from "@effect/platform"
import { describe, expectTypeOf, it } from "@effect/vitest"
import { Context, type Duration, Effect, type Layer, Option, Schema, type Scope, type Stream } from "effect"
import {
  Agent,
  AgentOutput,
  AgentSession,
  ApprovalPolicy,
  AsyncTool,
  AsyncToolset,
  ChatContext,
  DuplicatePolicy,
  RunContext,
  SessionEvent,
  type SessionStorage,
  Sessions,
  type SpeechHandle,
  ToolPrompts
} from "effect-meantime"
import {
  type EventCursor,
  type EventMismatch,
  type expectEvents,
  judge,
  Outcome,
  Stubs,
  stubs
} from "effect-meantime/testing"

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
    Agent.make("failing", { instructions: "", onEnter: Effect.fail("no"), onExit: Effect.fail("no") })
    // @ts-expect-error an agent has instructions
    Agent.make("wrong", {})
    // @ts-expect-error a layer that may fail
    Bare.pipe(Agent.provide(failing))
  })

  types("[L2] provide takes what it is attached to first, last or through a pipe, with the same types", () => {
    const Full = Agent.make("full", { instructions: "", tools: [Books], onEnter: Mail })
    type Left = Agent.Agent<Handlers<typeof Books> | Db>
    expectTypeOf(Agent.provide(mailFromDb)(Full)).toEqualTypeOf<Left>()
    expectTypeOf(Full.pipe(Agent.provide(mailFromDb))).toEqualTypeOf<Left>()
    expectTypeOf(Agent.provide(Full, mailFromDb)).toEqualTypeOf<Left>()
    expectTypeOf(Agent.provide(Agent.provide(Full, mailFromDb), db)).toEqualTypeOf<
      Agent.Agent<Handlers<typeof Books>>
    >()
    expectTypeOf([Full].map(Agent.provide(mailFromDb))).toEqualTypeOf<Array<Left>>()

    const result = Schema.Struct({ email: Schema.String })
    const Email = Agent.task("email", { instructions: "", result, tools: [Books], onEnter: Mail })
    type LeftTask = Agent.AgentTask<{ readonly email: string }, Handlers<typeof Books> | Db>
    expectTypeOf(Agent.provide(mailFromDb)(Email)).toEqualTypeOf<LeftTask>()
    expectTypeOf(Email.pipe(Agent.provide(mailFromDb))).toEqualTypeOf<LeftTask>()
    expectTypeOf(Agent.provide(Email, mailFromDb)).toEqualTypeOf<LeftTask>()

    const set = AsyncToolset.make("set", Books)
    const live = Books.toLayer(Effect.map(Mail, () => ({ book: () => Effect.succeed({ seat: 1 }) })))
    type LeftSet = AsyncToolset.AsyncToolset<Db | Mail>
    expectTypeOf(AsyncToolset.provide(live)(set)).toEqualTypeOf<LeftSet>()
    expectTypeOf(set.pipe(AsyncToolset.provide(live))).toEqualTypeOf<LeftSet>()
    expectTypeOf(AsyncToolset.provide(set, live)).toEqualTypeOf<LeftSet>()
    // @ts-expect-error a layer that may fail
    Agent.provide(Full, failing)
    // @ts-expect-error a layer that may fail
    AsyncToolset.provide(set, failing)
    // @ts-expect-error a toolset is no agent
    Agent.provide(set, db)
    // @ts-expect-error an agent is no toolset
    AsyncToolset.provide(Full, db)
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
    const other = Agent.make("other", { instructions: "", onEnter: Mail })
    const several = AgentSession.make({ agent, agents: [other, {} as Agent.Agent<Scope.Scope>], tools: [Books] })
    expectTypeOf<R<typeof several>>().toEqualTypeOf<Needed | Mail | Scope.Scope>()
    expectTypeOf(AgentSession.layer({ agent, agents: [other], tools: [Books] })).toEqualTypeOf<
      Layer.Layer<AgentSession.AgentSession, never, Needed | Mail>
    >()
    // @ts-expect-error a task is nobody's to go on with
    AgentSession.make({ agent, agents: [{} as Agent.AgentTask<string, never>] })
    const bare = AgentSession.make({ agent: Agent.make("bare", { instructions: "" }) })
    expectTypeOf<R<typeof bare>>().toEqualTypeOf<LanguageModel.LanguageModel | Scope.Scope>()
    // @ts-expect-error a session has an agent
    AgentSession.make({})
    // @ts-expect-error a task cannot be a session's first agent
    AgentSession.make({ agent: {} as Agent.AgentTask<string, never> })
    // @ts-expect-error no such policy
    AgentSession.make({ agent: Agent.make("bare", { instructions: "" }), onInterruptedReply: "retry" })
  })

  types("[L2] what a function of the program passes on keeps its types", () => {
    type Entries = ReadonlyArray<AsyncToolset.Entry>
    const tool = <const F extends Schema.Struct.Fields, S extends Schema.Schema.Any>(parameters: F, success: S) =>
      AsyncTool.make("passed", { parameters, success })
    const set = <const T extends Entries>(tools: T) => AsyncToolset.make("set", tools)
    const agent = <const T extends Entries, R1>(options: Agent.Options<T, R1, never>) => Agent.make("agent", options)
    const task = <A, I extends Record<string, any>>(result: Schema.Schema<A, I>) =>
      Agent.task("task", { instructions: "", result })
    const session = <R, const T extends Entries>(options: AgentSession.Options<R, T>) => AgentSession.make(options)

    const passed = tool({ to: Schema.String }, Schema.Number)
    expectTypeOf<Tool.Parameters<typeof passed>>().toEqualTypeOf<{ readonly to: string }>()
    expectTypeOf<Tool.Success<typeof passed>>().toEqualTypeOf<number>()
    expectTypeOf(set([Books])).toEqualTypeOf<AsyncToolset.AsyncToolset<Handlers<typeof Books> | Db>>()
    const made = agent({ instructions: "", tools: [Plains], onEnter: Mail })
    expectTypeOf(made).toEqualTypeOf<Agent.Agent<Handlers<typeof Plains> | Mail>>()
    expectTypeOf(task(Schema.Struct({ at: Schema.Date }))).toEqualTypeOf<
      Agent.AgentTask<{ readonly at: Date }, never>
    >()
    expectTypeOf<R<ReturnType<typeof session<Mail, [typeof Plains]>>>>().toEqualTypeOf<
      Handlers<typeof Plains> | Mail | LanguageModel.LanguageModel | Scope.Scope
    >()

    const list: Entries = [Books]
    Agent.make("list", { instructions: "", tools: list })
    AsyncToolset.make("list", list)
    const entry: AsyncToolset.Entry = Books
    AsyncToolset.make("entry", entry)
    const fields: Schema.Struct.Fields = { to: Schema.String }
    AsyncTool.make("fields", { parameters: fields })
    const maybe: { readonly to: typeof Schema.String } | undefined = {} as never
    AsyncTool.make("maybe", { parameters: maybe, success: undefined, failure: undefined })
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
    const either = {} as boolean
    ToolPrompts.layer(either ? { update: "{message}" } : { released: "{toolName}" })
    ToolPrompts.layer(either ? { update: "{message}" } : {})
    ToolPrompts.layer({ update: either ? "{message}" : ({ toolName }) => toolName })
    ToolPrompts.layer({ ...ToolPrompts.defaults, ...(either ? { update: "{message}" } : {}) })
    const prompts: Partial<ToolPrompts.Prompts> = { update: "{message}" }
    expectTypeOf(ToolPrompts.layer(prompts)).toEqualTypeOf<Layer.Layer<never>>()
    expectTypeOf(ToolPrompts.defaults).toEqualTypeOf<ToolPrompts.Prompts>()
  })
})

describe("error channels", () => {
  const session = {} as AgentSession.Service
  const speech = {} as SpeechHandle.SpeechHandle

  types("what a program does in a session fails with SessionClosed; run may fail with the model", () => {
    type Says = Effect.Effect<SpeechHandle.SpeechHandle, AgentSession.SessionClosed>
    expectTypeOf(session.send("Hi")).toEqualTypeOf<Says>()
    expectTypeOf(session.say("Hi")).toEqualTypeOf<Says>()
    expectTypeOf(session.generateReply()).toEqualTypeOf<Says>()
    expectTypeOf(session.run("Hi", { onInterrupt: "stop" })).toEqualTypeOf<
      Effect.Effect<AgentSession.RunResult, AgentSession.SessionClosed | AiError.AiError>
    >()
    // @ts-expect-error send waits for nothing
    session.send("Hi", { onInterrupt: "stop" })
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
      | "UserTurnPartial"
      | "AgentStateChanged"
      | "SpeechCreated"
      | "SpeechEnded"
      | "StepEnded"
      | "TextDelta"
      | "ReasoningDelta"
      | "ToolInputDelta"
      | "ItemAdded"
      | "ToolCallStarted"
      | "ToolCallUpdated"
      | "ToolCallProgress"
      | "ToolCallReleased"
      | "ToolCallMessaged"
      | "ToolCallMessagesLost"
      | "ApprovalRequested"
      | "ApprovalDecided"
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
    // what a Schema gives is the type of the same name, and what it writes has a type, too
    type Reads<S extends Schema.Schema.Any> = Schema.Schema.Type<S>
    type Writes<S extends Schema.Schema.Any> = Schema.Schema.Encoded<S>
    expectTypeOf<Reads<typeof ChatContext.ToolCall>>().toEqualTypeOf<{
      readonly callId: string
      readonly name: string
      readonly arguments: unknown
    }>()
    expectTypeOf<Reads<typeof ChatContext.ChatItem>>().toEqualTypeOf<ChatContext.ChatItem>()
    expectTypeOf<Writes<typeof ChatContext.ChatItem>>().toEqualTypeOf<ChatContext.ChatItemEncoded>()
    expectTypeOf<Reads<typeof ChatContext.ChatContext>>().toEqualTypeOf<{
      readonly items: ReadonlyArray<ChatContext.ChatItem>
    }>()
    expectTypeOf<Writes<typeof ChatContext.ChatContext>>().toEqualTypeOf<{
      readonly items: ReadonlyArray<ChatContext.ChatItemEncoded>
    }>()
    expectTypeOf<ChatContext.ChatContext>().toEqualTypeOf<Reads<typeof ChatContext.ChatContext>>()
    expectTypeOf<ChatContext.ChatContextEncoded>().toEqualTypeOf<Writes<typeof ChatContext.ChatContext>>()
    expectTypeOf<ChatContext.AgentHandoffEncoded>().toEqualTypeOf<{
      readonly _tag: "AgentHandoff"
      readonly id: string
      readonly from?: string | undefined
      readonly to: string
      readonly task?: boolean
      readonly createdAt: number
    }>()
    expectTypeOf<Reads<typeof SessionEvent.SessionEvent>>().toEqualTypeOf<SessionEvent.SessionEvent>()
    expectTypeOf<Writes<typeof SessionEvent.SessionEvent>>().toEqualTypeOf<SessionEvent.SessionEventEncoded>()
    expectTypeOf<SessionEvent.SessionEventEncoded["_tag"]>().toEqualTypeOf<SessionEvent.SessionEvent["_tag"]>()
    expectTypeOf<SessionEvent.ItemAddedEncoded["item"]>().toEqualTypeOf<ChatContext.ChatItemEncoded>()
    expectTypeOf<SessionEvent.AgentHandoffEncoded>().toEqualTypeOf<{
      readonly _tag: "AgentHandoff"
      readonly at: number
      readonly from?: string | undefined
      readonly to: string
    }>()
    // @ts-expect-error a reader changes nothing
    const rename = (item: ChatContext.ChatItem) => (item.id = "other")
    // @ts-expect-error nor does it add an item
    const append = (context: ChatContext.ChatContext) => context.items.push()
    expectTypeOf([rename, append]).not.toBeAny()
    expectTypeOf(AgentOutput.layerPaced()).toEqualTypeOf<Layer.Layer<never>>()
    return Option.none()
  })
})

// The interfaces that users write against, member by member: what is promised is what there is.
describe("the surface", () => {
  type Tagged<Tag extends string, Fields> = { readonly _tag: Tag } & Fields

  types("AsyncTool: options and what execute gives", () => {
    expectTypeOf<AsyncTool.Options>().toEqualTypeOf<{
      readonly onDuplicate?: DuplicatePolicy.Mode | undefined
      readonly duplicateScope?: DuplicatePolicy.DuplicateScope | undefined
      readonly allowCancellation?: boolean | undefined
      readonly cancelOnInterruption?: boolean | undefined
      readonly delivery?: RunContext.Delivery | undefined
      readonly onResult?: "speak" | "act" | undefined
      readonly releaseAfter?: Duration.DurationInput | undefined
      readonly background?: "model" | undefined
      readonly onHandoff?: "cancel" | "await" | "promote" | undefined
      readonly startAfter?: "call" | "step" | undefined
      readonly timeout?: Duration.DurationInput | undefined
      readonly messages?: true | Schema.Schema<any, any> | undefined
      readonly needsApproval?: boolean | ((args: any, call: ChatContext.ToolCall) => Effect.Effect<boolean>) | undefined
      readonly approvalTimeout?: Duration.DurationInput | undefined
      readonly onRestart?: "rerun" | "unknown" | undefined
    }>()
    expectTypeOf<AsyncTool.Executed>().toEqualTypeOf<{
      readonly output: unknown
      readonly isError: boolean
      readonly updates: ReadonlyArray<unknown>
      readonly files?: ReadonlyArray<AsyncTool.File>
      readonly updateFiles?: ReadonlyArray<ReadonlyArray<AsyncTool.File>>
    }>()
    expectTypeOf<AsyncTool.File>().toEqualTypeOf<{
      readonly data: string | URL
      readonly mediaType: string
      readonly name?: string
      readonly omitted?: string
    }>()
    expectTypeOf(AsyncTool.content("a", [])).toEqualTypeOf<string>()
    // @ts-expect-error a file has a media type
    AsyncTool.content(1, [{ data: "" }])
    expectTypeOf<AsyncTool.ToolError>().toExtend<Error & Tagged<"ToolError", { readonly message: string }>>()
    expectTypeOf<AsyncTool.StopResponse>().toExtend<Tagged<"StopResponse", {}>>()
    expectTypeOf<Context.Tag.Service<typeof AsyncTool.Annotations>>().toEqualTypeOf<AsyncTool.Options>()
    const call = { callId: "c", name: "plain", arguments: null }
    expectTypeOf(AsyncTool.execute(Plains, call)).toEqualTypeOf<
      Effect.Effect<AsyncTool.Executed, never, Handlers<typeof Plains>>
    >()
  })

  types("RunContext: a service of one's own, with what is promised and no more, is one", () => {
    const service = {} as {
      readonly call: ChatContext.ToolCall
      readonly session: AgentSession.Service
      readonly speech: SpeechHandle.SpeechHandle
      readonly update: (message: unknown, options?: RunContext.UpdateOptions) => Effect.Effect<void>
      readonly progress: (value: unknown) => Effect.Effect<void>
      readonly isCancelled: Effect.Effect<boolean>
      readonly commit: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
      readonly handoff: (agent: Agent.Agent<never>) => Effect.Effect<void, AsyncTool.ToolError>
      readonly foreground: <A, E, R>(
        effect: Effect.Effect<A, E, R>
      ) => Effect.Effect<A, E | AgentSession.SessionClosed, R>
      readonly withFiller: <A, E, R>(
        effect: Effect.Effect<A, E, R>,
        options: RunContext.FillerOptions
      ) => Effect.Effect<A, E, R>
      readonly waitForPlayout: Effect.Effect<void>
      readonly disallowInterruptions: Effect.Effect<void>
    }
    expectTypeOf(service).toExtend<RunContext.Service>()
    expectTypeOf<RunContext.Service>().toExtend<typeof service>()
    expectTypeOf<RunContext.Delivery>().toEqualTypeOf<"when-idle" | "interrupt" | "silent">()
    expectTypeOf<RunContext.UpdateOptions>().toEqualTypeOf<{
      readonly template?: ToolPrompts.Template<ToolPrompts.UpdateArgs> | undefined
      readonly delivery?: RunContext.Delivery | undefined
      readonly key?: string | undefined
    }>()
    expectTypeOf<RunContext.FillerOptions>().toEqualTypeOf<{
      readonly say: string | ((step: number) => string | undefined)
      readonly delay?: Duration.DurationInput | undefined
      readonly interval?: Duration.DurationInput | undefined
      readonly maxSteps?: number | undefined
    }>()
  })

  types("DuplicatePolicy: modes, verdicts and a policy", () => {
    expectTypeOf<DuplicatePolicy.Mode>().toEqualTypeOf<"allow" | "reject" | "replace" | "confirm" | "join">()
    expectTypeOf<DuplicatePolicy.DuplicateScope>().toEqualTypeOf<"name" | "name_and_args">()
    expectTypeOf<DuplicatePolicy.Verdict>().toEqualTypeOf<
      | { readonly _tag: "Run" }
      | { readonly _tag: "Replace" }
      | { readonly _tag: "Join" }
      | { readonly _tag: "Refuse"; readonly message: string }
    >()
    expectTypeOf<DuplicatePolicy.Policy>().toEqualTypeOf<{
      readonly decide: (
        call: ChatContext.ToolCall,
        running: ReadonlyArray<ChatContext.ToolCall>
      ) => Effect.Effect<DuplicatePolicy.Verdict>
    }>()
  })

  types("ToolPrompts: templates and their arguments", () => {
    type Of<Args> = string | ((args: Args) => string)
    type Call = { readonly toolName: string; readonly callId: string }
    type Duplicate = {
      readonly toolName: string
      readonly running: ReadonlyArray<ChatContext.ToolCall>
      readonly runningText: string
    }
    type Reply = { readonly callIds: ReadonlyArray<string> }
    expectTypeOf<ToolPrompts.Template<Reply>>().toEqualTypeOf<Of<Reply>>()
    expectTypeOf<ToolPrompts.UpdateArgs>().toEqualTypeOf<{
      readonly toolName: string
      readonly callId: string
      readonly message: string
    }>()
    expectTypeOf<ToolPrompts.DuplicateArgs>().toEqualTypeOf<Duplicate>()
    expectTypeOf<ToolPrompts.ReplyArgs>().toEqualTypeOf<Reply>()
    const prompts = {} as {
      readonly update: Of<Call & { readonly message: string }>
      readonly inProgress: Of<Call>
      readonly released: Of<Call>
      readonly ended: Of<Call & { readonly how: "done" | "cancelled" | "replaced" | "drained" }>
      readonly outcomeUnknown: Of<Call>
      readonly approvalPending: Of<Call & { readonly reason: string }>
      readonly approvalEdited: Of<Call & { readonly arguments: string }>
      readonly approvalDenied: Of<Call & { readonly reason: string; readonly how: "denied" | "expired" }>
      readonly duplicateReject: Of<Duplicate>
      readonly duplicateConfirm: Of<Duplicate>
      readonly replyAtTail: Of<Reply>
      readonly replyMaybeCovered: Of<Reply>
    }
    expectTypeOf(prompts).toExtend<ToolPrompts.Prompts>()
    expectTypeOf<ToolPrompts.Prompts>().toExtend<typeof prompts>()
    expectTypeOf<ToolPrompts.TemplateError>().toExtend<
      Tagged<"TemplateError", { readonly template: keyof ToolPrompts.Prompts; readonly placeholder: string }>
    >()
  })

  types("Agent and AsyncToolset: what is made, and what provide leaves", () => {
    expectTypeOf<Agent.Options<[], Db, Mail>>().toEqualTypeOf<{
      readonly instructions: string
      readonly tools?: [] | undefined
      readonly context?: "inherit" | "empty" | undefined
      readonly onEnter?: Effect.Effect<unknown, unknown, Db> | undefined
      readonly onExit?: Effect.Effect<unknown, unknown, Mail> | undefined
      readonly maxConcurrency?: number | undefined
    }>()
    const agent = {} as Agent.Agent<Db>
    expectTypeOf(agent._tag).toEqualTypeOf<"Agent">()
    expectTypeOf(agent.name).toEqualTypeOf<string>()
    expectTypeOf(Agent.provide(db)(agent)).toEqualTypeOf<Agent.Agent<never>>()
    const one = AsyncToolset.make("one", Books, { maxConcurrency: 1, onDuplicateCall: "reject" })
    expectTypeOf(one).toEqualTypeOf<AsyncToolset.AsyncToolset<Handlers<typeof Books> | Db>>()
    expectTypeOf(one._tag).toEqualTypeOf<"AsyncToolset">()
    expectTypeOf(one.id).toEqualTypeOf<string>()
    expectTypeOf(AsyncToolset.provide(db)(one)).toEqualTypeOf<AsyncToolset.AsyncToolset<Handlers<typeof Books>>>()
  })

  types("[G2] a stream of messages, and one that has the type of the tool's own schema", () => {
    const Budget = Schema.Struct({ by: Schema.Date })
    expectTypeOf(RunContext.messages).toEqualTypeOf<Stream.Stream<unknown, never, RunContext.RunContext>>()
    expectTypeOf(RunContext.messagesOf(Budget)).toEqualTypeOf<
      Stream.Stream<{ readonly by: Date }, never, RunContext.RunContext>
    >()
    expectTypeOf<RunContext.Service["messages"]>().toEqualTypeOf<Stream.Stream<unknown> | undefined>()
    AsyncTool.make("t", { messages: true })
    AsyncTool.make("t", { messages: Budget })
    // @ts-expect-error what is not to be told anything has no option
    AsyncTool.make("t", { messages: false })
    return Option.none()
  })

  types("RunContext.test takes any members of a context, and none but those", () => {
    expectTypeOf(RunContext.test).parameter(0).toEqualTypeOf<Partial<RunContext.Service> | undefined>()
    expectTypeOf(RunContext.test()).toEqualTypeOf<RunContext.Service>()
    expectTypeOf(RunContext.layerTest({})).toEqualTypeOf<Layer.Layer<RunContext.RunContext>>()
    // @ts-expect-error no such member
    RunContext.test({ updates: () => Effect.void })
  })

  types("[A1] [A3] [A4] approval: the tool's own word has the types of its arguments; verdicts and what waits", () => {
    AsyncTool.make("pay", {
      parameters: { amount: Schema.NumberFromString, to: Schema.optional(Schema.String) },
      needsApproval: (args, call) => {
        expectTypeOf(args.amount).toEqualTypeOf<number>()
        expectTypeOf(args.to).toEqualTypeOf<string | undefined>()
        expectTypeOf(call).toEqualTypeOf<ChatContext.ToolCall>()
        return Effect.succeed(args.amount > 100)
      }
    })
    AsyncTool.make("pay", { needsApproval: true, approvalTimeout: "1 hour" })
    // @ts-expect-error it says so in an Effect
    AsyncTool.make("pay", { parameters: { amount: Schema.Number }, needsApproval: ({ amount }) => amount > 100 })
    // @ts-expect-error what it needs of the context has to be provided
    AsyncTool.make("pay", { needsApproval: () => Effect.as(Db, true) })
    const asks = ApprovalPolicy.make((call, tool) => {
      expectTypeOf(call).toEqualTypeOf<ChatContext.ToolCall>()
      expectTypeOf(tool).toEqualTypeOf<ApprovalPolicy.ToolFacts>()
      return Effect.as(Db, ApprovalPolicy.ask("since it is new"))
    })
    expectTypeOf(asks).toEqualTypeOf<Layer.Layer<never, never, Db>>()
    expectTypeOf(ApprovalPolicy.layer("destructive", { timeout: "1 day" })).toEqualTypeOf<Layer.Layer<never>>()
    // @ts-expect-error there is no such mode
    ApprovalPolicy.layer("sometimes")
    expectTypeOf<ApprovalPolicy.ToolFacts>().toEqualTypeOf<{
      readonly readonly: boolean
      readonly destructive: boolean
      readonly toolset?: string
    }>()
    expectTypeOf<ApprovalPolicy.Verdict>().toEqualTypeOf<
      | { readonly _tag: "Run" }
      | { readonly _tag: "Ask"; readonly reason?: string }
      | { readonly _tag: "Deny"; readonly reason: string }
    >()
    expectTypeOf<ApprovalPolicy.PendingApproval>().toEqualTypeOf<{
      readonly callId: string
      readonly name: string
      readonly arguments: unknown
      readonly agent?: string
      readonly reason?: string
      readonly requestedAt: number
      readonly expiresAt?: number
    }>()
    expectTypeOf<AgentSession.PendingApproval>().toEqualTypeOf<ApprovalPolicy.PendingApproval>()
    AsyncTool.execute(Plains, { name: "plain", arguments: {} }, { decide: () => Effect.succeed("approve") })
    // @ts-expect-error no such decision
    AsyncTool.execute(Plains, { name: "plain", arguments: {} }, { decide: () => Effect.succeed("yes") })
  })

  types("AgentSession: its service, its options", () => {
    type Says = Effect.Effect<SpeechHandle.SpeechHandle, AgentSession.SessionClosed>
    const service = {} as {
      readonly send: (input: AgentSession.Input, options?: AgentSession.SendOptions) => Says
      readonly run: (
        input: AgentSession.Input,
        options?: AgentSession.RunOptions
      ) => Effect.Effect<AgentSession.RunResult, AgentSession.SessionClosed | AiError.AiError>
      readonly generateReply: (options?: AgentSession.ReplyOptions) => Says
      readonly say: (
        text: string | Stream.Stream<string>,
        options?: Omit<AgentSession.ReplyOptions, "toolChoice" | "instructions">
      ) => Says
      readonly interrupt: (options?: {
        readonly force?: boolean | undefined
      }) => Effect.Effect<void, SpeechHandle.InterruptionDisallowed>
      readonly handoff: <R>(agent: Agent.Agent<R>) => Effect.Effect<void, AgentSession.SessionClosed, R>
      readonly runTask: <A, R>(
        task: Agent.AgentTask<A, R>,
        text?: AgentSession.Input
      ) => Effect.Effect<A, AgentSession.SessionClosed | AsyncTool.ToolError | AiError.AiError, R>
      readonly currentAgent: Effect.Effect<{ readonly name: string }>
      readonly history: Effect.Effect<ChatContext.ChatContext>
      readonly events: Stream.Stream<SessionEvent.SessionEvent>
      readonly waitForIdle: Effect.Effect<void, AgentSession.SessionClosed>
      readonly claimUserTurn: Effect.Effect<void, never, Scope.Scope>
      readonly userTurn: (options?: {
        readonly speech?: "keep" | "pause" | "interrupt"
      }) => Effect.Effect<AgentSession.UserTurn, AgentSession.SessionClosed, Scope.Scope>
      readonly runningTools: Effect.Effect<ReadonlyArray<AgentSession.RunningTool>>
      readonly cancelTool: (callId: string) => Effect.Effect<void, AsyncTool.ToolError>
      readonly messageTool: (callId: string, message: unknown) => Effect.Effect<void, AsyncTool.ToolError>
      readonly release: (callId: string) => Effect.Effect<void, AsyncTool.ToolError>
      readonly approvals: Effect.Effect<ReadonlyArray<ApprovalPolicy.PendingApproval>>
      readonly approve: (
        callId: string,
        options?: { readonly arguments?: unknown; readonly by?: string | undefined }
      ) => Effect.Effect<void, AsyncTool.ToolError>
      readonly deny: (
        callId: string,
        options?: { readonly reason?: string | undefined; readonly by?: string | undefined }
      ) => Effect.Effect<void, AsyncTool.ToolError>
      readonly respond: (
        callId: string,
        output: unknown,
        options?: { readonly by?: string | undefined }
      ) => Effect.Effect<void, AsyncTool.ToolError>
      readonly end: Effect.Effect<void, SessionStorage.StorageError>
    }
    expectTypeOf<AgentSession.UserTurn>().toEqualTypeOf<{
      readonly partial: (text: string) => Effect.Effect<void>
      readonly commit: (
        input?: AgentSession.Input,
        options?: AgentSession.ReplyOptions
      ) => Effect.Effect<SpeechHandle.SpeechHandle, AgentSession.SessionClosed | AsyncTool.ToolError>
      readonly discard: Effect.Effect<void>
    }>()
    expectTypeOf(service).toExtend<AgentSession.Service>()
    expectTypeOf<AgentSession.Service>().toExtend<typeof service>()
    expectTypeOf<AgentSession.AgentSession_>().toEqualTypeOf<AgentSession.Service>()
    expectTypeOf<Context.Tag.Service<AgentSession.AgentSession>>().toEqualTypeOf<AgentSession.Service>()
    expectTypeOf<AgentSession.RunningTool>().toExtend<
      ChatContext.ToolCall & {
        readonly startedAt: number
        readonly lastUpdate: unknown
        readonly allowCancellation: boolean
      }
    >()
    expectTypeOf<AgentSession.ReplyOptions>().toEqualTypeOf<{
      readonly instructions?: string | undefined
      readonly toolChoice?: "auto" | "none" | "required" | { readonly tool: string } | undefined
      readonly allowInterruptions?: boolean | undefined
      readonly priority?: number | undefined
    }>()
    expectTypeOf<Omit<AgentSession.RunOptions, "onInterrupt">>().toEqualTypeOf<AgentSession.SendOptions>()
    expectTypeOf<
      Omit<AgentSession.SendOptions, "interrupt" | "author" | "id">
    >().toEqualTypeOf<AgentSession.ReplyOptions>()
    expectTypeOf<Pick<AgentSession.SendOptions, "interrupt" | "author" | "id">>().toEqualTypeOf<{
      readonly interrupt?: boolean | undefined
      readonly author?: string | undefined
      readonly id?: string | undefined
    }>()
    expectTypeOf<AgentSession.RunOptions["onInterrupt"]>().toEqualTypeOf<"continue" | "stop" | undefined>()
    expectTypeOf<AgentSession.RunResult>().toEqualTypeOf<{
      readonly text: string
      readonly items: ReadonlyArray<ChatContext.ChatItem>
      readonly usage: AgentSession.Usage
      readonly approvals: ReadonlyArray<ApprovalPolicy.PendingApproval>
    }>()
    expectTypeOf<AgentSession.Usage>().toEqualTypeOf<{
      readonly inputTokens?: number
      readonly outputTokens?: number
      readonly totalTokens?: number
      readonly reasoningTokens?: number
      readonly cachedInputTokens?: number
    }>()
    const options = {} as {
      readonly agent: Agent.Agent<Db>
      readonly tools?: []
      readonly maxToolSteps?: number
      readonly maxPendingUpdates?: number
      readonly maxMessages?: number
      readonly maxRunning?: number
      readonly releaseAfter?: Duration.DurationInput
      readonly startAfter?: "call" | "step"
      readonly drainTimeout?: Duration.DurationInput
      readonly cancellationTimeout?: Duration.DurationInput
      readonly onInterruptedReply?: "drop" | "redeliver"
      readonly history?: ChatContext.ChatContext
      readonly resume?: boolean
      readonly onItems?: (items: ReadonlyArray<ChatContext.ChatItem>) => Effect.Effect<void>
    }
    expectTypeOf(options).toExtend<AgentSession.Options<Db, []>>()
    expectTypeOf(AgentSession.generateReply()).toEqualTypeOf<
      Effect.Effect<SpeechHandle.SpeechHandle, AgentSession.SessionClosed, AgentSession.AgentSession>
    >()
    expectTypeOf(AgentSession.say("Hi", { priority: 1 })).toEqualTypeOf<
      Effect.Effect<SpeechHandle.SpeechHandle, AgentSession.SessionClosed, AgentSession.AgentSession>
    >()
    expectTypeOf<AgentSession.SessionClosed>().toExtend<Tagged<"SessionClosed", {}>>()
    expectTypeOf<AgentSession.OptionsError>().toExtend<
      Tagged<"OptionsError", { readonly owner: string; readonly option: string; readonly problem: string }>
    >()
  })

  types("SpeechHandle and AgentOutput", () => {
    const handle = {} as {
      readonly id: string
      readonly interrupted: Effect.Effect<boolean>
      readonly done: Effect.Effect<boolean>
      readonly allowInterruptions: Effect.Effect<boolean>
      readonly setAllowInterruptions: (value: boolean) => Effect.Effect<void, SpeechHandle.AlreadyInterrupted>
      readonly interrupt: (options?: {
        readonly force?: boolean | undefined
      }) => Effect.Effect<void, SpeechHandle.InterruptionDisallowed>
      readonly wait: Effect.Effect<void, SpeechHandle.CircularWait>
      readonly items: Effect.Effect<ReadonlyArray<ChatContext.ChatItem>>
      readonly usage: Effect.Effect<AgentSession.Usage>
      readonly error: Effect.Effect<Option.Option<AiError.AiError>>
    }
    expectTypeOf(handle).toExtend<SpeechHandle.SpeechHandle>()
    expectTypeOf<SpeechHandle.SpeechHandle>().toExtend<typeof handle>()
    expectTypeOf<SpeechHandle.InterruptionDisallowed["speechId"]>().toEqualTypeOf<string>()
    expectTypeOf<SpeechHandle.AlreadyInterrupted["speechId"]>().toEqualTypeOf<string>()
    expectTypeOf<Pick<SpeechHandle.CircularWait, "speechId" | "tool">>().toEqualTypeOf<{
      readonly speechId: string
      readonly tool: string
    }>()
    expectTypeOf<AgentOutput.Service>().toEqualTypeOf<{
      readonly play: (
        text: Stream.Stream<string>,
        played: (piece: string) => Effect.Effect<void>,
        speech: AgentOutput.Speech
      ) => Effect.Effect<void>
      readonly pause?: Effect.Effect<void>
      readonly resume?: Effect.Effect<void>
      readonly stallTimeout?: Duration.DurationInput
      readonly stopTimeout?: Duration.DurationInput
    }>()
    expectTypeOf<AgentOutput.Speech>().toEqualTypeOf<{
      readonly id: string
      readonly source: "say" | "reply" | "tool-reply"
      readonly agent: string
      readonly covers: ReadonlyArray<string>
      readonly allowInterruptions: Effect.Effect<boolean>
      readonly started: Effect.Effect<void>
      readonly playedTo: (offset: number) => Effect.Effect<void>
    }>()
    expectTypeOf<Context.Tag.Service<typeof AgentOutput.AgentOutput>>().toEqualTypeOf<AgentOutput.Service>()
    expectTypeOf(AgentOutput.layerPaced({ charactersPerSecond: 1 })).toEqualTypeOf<Layer.Layer<never>>()
    expectTypeOf(AgentOutput.layerTerminal).toEqualTypeOf<Layer.Layer<never, never, Terminal.Terminal>>()
  })

  types("ChatContext and SessionEvent: the items and the events, field by field", () => {
    type Made = { readonly id: string; readonly createdAt: number }
    type Metadata = { readonly metadata?: Record<string, unknown> }
    type Item =
      | (Made &
          Metadata &
          Tagged<
            "Message",
            {
              readonly role: "user" | "assistant" | "system"
              readonly text: string
              readonly interrupted: boolean
            }
          >)
      | (Made & Metadata & Tagged<"Reasoning", { readonly text: string }>)
      | (Made &
          Metadata &
          Tagged<"FunctionCall", { readonly callId: string; readonly name: string; readonly arguments: unknown }>)
      | (Made &
          Tagged<
            "FunctionCallOutput",
            { readonly callId: string; readonly name: string; readonly output: unknown; readonly isError: boolean }
          >)
      | (Made & Tagged<"AgentHandoff", { readonly from: string | undefined; readonly to: string }>)
    expectTypeOf<Item>().toExtend<ChatContext.ChatItem>()
    expectTypeOf<ChatContext.ChatItem>().toExtend<Item>()
    expectTypeOf<ChatContext.ToolCall>().toEqualTypeOf<{
      readonly callId: string
      readonly name: string
      readonly arguments: unknown
    }>()
    expectTypeOf(ChatContext.toPrompt).toEqualTypeOf<(self: ChatContext.ChatContext) => Prompt.Prompt>()
    expectTypeOf<Context.Tag.Service<typeof ChatContext.ModelView>>().toEqualTypeOf<
      (context: ChatContext.ChatContext) => ChatContext.ChatContext
    >()
    type Member<Tag extends ChatContext.ChatItem["_tag"]> = Extract<ChatContext.ChatItem, { readonly _tag: Tag }>
    expectTypeOf<ChatContext.Message>().toEqualTypeOf<{
      readonly _tag: "Message"
      readonly id: string
      readonly role: "user" | "assistant" | "system"
      readonly text: string
      readonly interrupted: boolean
      readonly author?: string
      readonly metadata?: Record<string, unknown>
      readonly files?: ReadonlyArray<ChatContext.File>
      readonly createdAt: number
    }>()
    expectTypeOf<ChatContext.Reasoning>().toEqualTypeOf<{
      readonly _tag: "Reasoning"
      readonly id: string
      readonly text: string
      readonly metadata?: Record<string, unknown>
      readonly createdAt: number
    }>()
    expectTypeOf<ChatContext.FunctionCall>().toEqualTypeOf<{
      readonly _tag: "FunctionCall"
      readonly id: string
      readonly callId: string
      readonly name: string
      readonly arguments: unknown
      readonly metadata?: Record<string, unknown>
      readonly createdAt: number
    }>()
    expectTypeOf<ChatContext.FunctionCallOutput>().toEqualTypeOf<{
      readonly _tag: "FunctionCallOutput"
      readonly id: string
      readonly callId: string
      readonly name: string
      readonly output: unknown
      readonly isError: boolean
      readonly open?: "running" | "approval"
      readonly files?: ReadonlyArray<ChatContext.File>
      readonly createdAt: number
    }>()
    expectTypeOf<ChatContext.AgentHandoff>().toEqualTypeOf<{
      readonly _tag: "AgentHandoff"
      readonly id: string
      readonly from: string | undefined
      readonly to: string
      readonly task?: boolean
      readonly createdAt: number
    }>()
    expectTypeOf<Member<"Message">>().toEqualTypeOf<ChatContext.Message>()
    expectTypeOf<Member<"Reasoning">>().toEqualTypeOf<ChatContext.Reasoning>()
    expectTypeOf<Member<"FunctionCall">>().toEqualTypeOf<ChatContext.FunctionCall>()
    expectTypeOf<Member<"FunctionCallOutput">>().toEqualTypeOf<ChatContext.FunctionCallOutput>()
    expectTypeOf<Member<"AgentHandoff">>().toEqualTypeOf<ChatContext.AgentHandoff>()
    type Ids = { readonly updateIds: ReadonlyArray<string> }
    type Event = { readonly at: number } & (
      | Tagged<"UserStateChanged", { readonly state: "speaking" | "listening" }>
      | Tagged<"UserTurnPartial", { readonly text: string }>
      | Tagged<"AgentStateChanged", { readonly state: "listening" | "thinking" | "speaking" }>
      | Tagged<"SpeechCreated", { readonly speechId: string; readonly source: "say" | "reply" | "tool-reply" }>
      | Tagged<"SpeechEnded", { readonly speechId: string; readonly interrupted: boolean }>
      | Tagged<
          "StepEnded",
          {
            readonly speechId: string
            readonly agent: string
            readonly model?: string
            readonly finishReason?: string
            readonly usage?: AgentSession.Usage
          }
        >
      | Tagged<"TextDelta" | "ReasoningDelta", { readonly speechId: string; readonly text: string }>
      | Tagged<"ToolInputDelta", { readonly speechId: string; readonly callId: string; readonly text: string }>
      | Tagged<"ItemAdded", { readonly item: ChatContext.ChatItem }>
      | Tagged<"ToolCallStarted", { readonly call: ChatContext.ToolCall }>
      | Tagged<"ToolCallUpdated", { readonly id: string; readonly callId: string; readonly message: unknown }>
      | Tagged<"ToolCallProgress", { readonly callId: string; readonly value: unknown }>
      | Tagged<
          "ToolCallReleased",
          { readonly callId: string; readonly by: "update" | "timer" | "model" | "handler" | "program" | "approval" }
        >
      | Tagged<
          "ApprovalRequested",
          { readonly call: ChatContext.ToolCall; readonly reason?: string; readonly expiresAt?: number }
        >
      | Tagged<
          "ApprovalDecided",
          {
            readonly callId: string
            readonly decision: "approved" | "edited" | "denied" | "answered" | "expired" | "withdrawn"
            readonly by?: string
            readonly reason?: string
          }
        >
      | Tagged<
          "ToolCallMessaged",
          { readonly callId: string; readonly from: "model" | "program"; readonly message: unknown }
        >
      | Tagged<"ToolCallMessagesLost", { readonly callId: string; readonly count: number }>
      | Tagged<
          "ToolCallEnded",
          {
            readonly id: string
            readonly callId: string
            readonly status: "done" | "error" | "cancelled"
            readonly output: unknown
          }
        >
      | Tagged<"ReplyScheduled", Ids & { readonly replyId: string; readonly speechId?: string }>
      | Tagged<
          "ReplyEnded",
          Ids & {
            readonly replyId: string
            readonly speechId?: string
            readonly status: "completed" | "interrupted" | "skipped" | "failed" | "dropped"
          }
        >
      | Tagged<"UpdateDropped", { readonly id: string; readonly callId: string }>
      | Tagged<"AgentHandoff", { readonly from: string | undefined; readonly to: string }>
      | Tagged<"SessionError", { readonly error: { readonly tag: string; readonly message: string } }>
      | Tagged<"EventsMissed", { readonly count: number }>
      | Tagged<"SessionClosed", {}>
    )
    type Handoff = Extract<SessionEvent.SessionEvent, { readonly _tag: "AgentHandoff" }>
    expectTypeOf<Handoff>().toEqualTypeOf<SessionEvent.AgentHandoff>()
    expectTypeOf<SessionEvent.AgentHandoff>().toEqualTypeOf<{
      readonly _tag: "AgentHandoff"
      readonly at: number
      readonly from: string | undefined
      readonly to: string
    }>()
    expectTypeOf<SessionEvent.ReplyScheduled>().toEqualTypeOf<{
      readonly _tag: "ReplyScheduled"
      readonly at: number
      readonly replyId: string
      readonly speechId?: string
      readonly updateIds: ReadonlyArray<string>
    }>()
    expectTypeOf<SessionEvent.ItemAdded["item"]>().toEqualTypeOf<ChatContext.ChatItem>()
    expectTypeOf<SessionEvent.ToolCallStarted["call"]>().toEqualTypeOf<{
      readonly callId: string
      readonly name: string
      readonly arguments: unknown
    }>()
    expectTypeOf<Event>().toExtend<SessionEvent.SessionEvent>()
    expectTypeOf<SessionEvent.SessionEvent>().toExtend<Event>()
  })
})

describe("testing", () => {
  types("[K2] a cursor returns the event that was asked for, and knows its fields", () => {
    const cursor = {} as EventCursor
    type Success<E> = E extends Effect.Effect<infer A, any, any> ? A : never
    const ended = cursor.next("ToolCallEnded", { status: "done", output: { any: ["thing"] } })
    expectTypeOf<Success<typeof ended>>().toEqualTypeOf<SessionEvent.ToolCallEnded>()
    expectTypeOf<E<typeof ended>>().toEqualTypeOf<EventMismatch>()
    expectTypeOf<R<typeof ended>>().toEqualTypeOf<never>()
    const added = cursor.skipTo("ItemAdded", { item: { _tag: "Message", role: "user" } })
    expectTypeOf<Success<typeof added>>().toEqualTypeOf<SessionEvent.ItemAdded>()
    cursor.skipTo("ReplyEnded", { updateIds: ["a"], speechId: undefined })
    cursor.inAnyOrder(["SpeechEnded", { _tag: "ToolCallStarted", call: { arguments: { to: "Oslo" } } }])
    expectTypeOf(cursor.nothingMore).toEqualTypeOf<Effect.Effect<void, EventMismatch>>()
    expectTypeOf(cursor.skip(1)).toEqualTypeOf<Effect.Effect<void>>()
    // @ts-expect-error no event has this tag
    cursor.next("ToolCallFinished")
    // @ts-expect-error the event has no such field
    cursor.next("SpeechEnded", { interupted: true })
    // @ts-expect-error the field has other values
    cursor.next("ToolCallEnded", { status: "failed" })
    // @ts-expect-error so has one within it
    cursor.skipTo("ItemAdded", { item: { role: "nobody" } })
    // @ts-expect-error the field belongs to another event
    cursor.inAnyOrder([{ _tag: "SpeechEnded", status: "done" }])
    expectTypeOf<Success<ReturnType<typeof expectEvents>>>().toEqualTypeOf<EventCursor>()
  })

  types("[K3] stubs are the handlers of the tools that they name", () => {
    const layer = stubs({
      book: [Outcome.success(1), Outcome.after("1 second", Outcome.withUpdates(["One."], Outcome.never))],
      plain: ({ to }, { callId }) => (to === callId ? Outcome.failure("no") : Outcome.defect("bug"))
    })
    expectTypeOf(layer).toEqualTypeOf<Layer.Layer<Tool.Handler<"book"> | Tool.Handler<"plain"> | Stubs>>()
    expectTypeOf(Stubs.calls).toEqualTypeOf<Effect.Effect<ReadonlyArray<ChatContext.ToolCall>, never, Stubs>>()
    const agent = Agent.make("a", { instructions: "", tools: [Books, Plains] }).pipe(Agent.provide(layer))
    // what the tool itself needs stays
    expectTypeOf<AgentR<typeof agent>>().toEqualTypeOf<Db>()
    expectTypeOf(stubs({})).toExtend<Layer.Layer<Stubs>>()
    // @ts-expect-error a value is no outcome
    stubs({ book: ["Booked."] })
    // @ts-expect-error so it is with what a function returns
    stubs({ book: () => "Booked." })
  })

  types("[K4] a judge takes a session, a conversation or a text", () => {
    const kind = judge("is kind")
    for (const judged of [kind("Hello."), kind({ items: [] }), kind({} as AgentSession.Service)]) {
      expectTypeOf(judged).toEqualTypeOf<
        Effect.Effect<
          { readonly verdict: "pass" | "fail" | "unsure"; readonly reason: string },
          AiError.AiError,
          LanguageModel.LanguageModel
        >
      >()
    }
    // @ts-expect-error a number is nothing to judge
    kind(1)
  })
})

describe("Sessions", () => {
  class Db extends Context.Tag("Db")<Db, string>() {}

  it("[R6] the layer asks for what the options need, but for a scope, and for what the parts need", () => {
    const agent = Agent.make("host", { instructions: "", onEnter: Effect.asVoid(Db) })
    const layer = Sessions.layer((id) =>
      Effect.flatMap(
        Effect.acquireRelease(Db, () => Effect.void),
        (db) => (db === id ? Effect.fail("no" as const) : Effect.succeed({ agent }))
      )
    )
    expectTypeOf(layer).toEqualTypeOf<Layer.Layer<Sessions.Sessions, never, Db | LanguageModel.LanguageModel>>()
    expectTypeOf<Sessions.Service["get"]>().returns.toEqualTypeOf<
      Effect.Effect<Sessions.Handle, Sessions.SessionsError>
    >()
    expectTypeOf<Sessions.Service["local"]>().returns.toEqualTypeOf<
      Effect.Effect<AgentSession.Service, Sessions.SessionsError, Scope.Scope>
    >()
  })
})
