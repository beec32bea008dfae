/**
 * A stored conversation that is gone on with.
 */
import { LanguageModel, Toolkit } from "@effect/ai"
import { Cause, Effect, Layer, Schema, type Scope } from "effect"
import { Agent, AgentSession, AsyncTool, ChatContext, RunContext, ToolPrompts } from "effect-meantime"
import { ScriptedModel, TestSession } from "effect-meantime/testing"
import { describe, expect } from "vitest"
import { encoders } from "./checkers/encoders.js"
import { check } from "./checkers/prompt.js"
import { silent, unanswered } from "./support/requests.js"
import { times } from "./support/times.js"
import { it } from "./support/virtual.js"

const { toolCall } = ScriptedModel

const stored = (items: ReadonlyArray<ChatContext.ChatItem>) =>
  JSON.stringify(Schema.encodeSync(ChatContext.ChatContext)({ items }))
const restored = (json: string) => Schema.decodeUnknownSync(ChatContext.ChatContext)(JSON.parse(json))

// ------------------------------------------------------------------------------------------- one long conversation

const Slow = AsyncTool.make("slow", { success: Schema.String })
const Look = AsyncTool.make("look", { success: Schema.String })
const Ask = AsyncTool.make("ask", { success: Schema.String })
const Pass = AsyncTool.make("pass")
const Quiet = AsyncTool.make("quiet", { releaseAfter: "1 second" })
const kit = Toolkit.make(Slow, Look, Ask, Pass, Quiet)

const Email = Agent.task("email", {
  instructions: "Ask for the address.",
  result: Schema.Struct({ email: Schema.String }),
  onEnter: AgentSession.say("Which address?")
})

let greetings = 0
const greets = Effect.sync(() => void greetings++)
const Billing = Agent.make("billing", { instructions: "I am billing.", onEnter: greets })
const Front = Agent.make("front", { instructions: "I am front.", onEnter: greets })

const kitLive = kit.toLayer({
  slow: () =>
    Effect.gen(function* () {
      for (const message of ["one", "two", "three"]) {
        yield* RunContext.update(message)
        yield* Effect.sleep("2 seconds")
      }
      return "slow is done"
    }),
  look: () => Effect.as(Effect.sleep("3 seconds"), "seen"),
  ask: () =>
    RunContext.update("asking").pipe(
      Effect.zipRight(RunContext.foreground(RunContext.runTask(Email))),
      Effect.map(({ email }) => email),
      Effect.orDie
    ),
  pass: () => Effect.orDie(RunContext.handoff(Billing)),
  quiet: () => Effect.sleep("20 seconds")
})

const script: ScriptedModel.Respond = ({ prompt, tools }) => {
  const last = prompt.content.at(-1)
  const said = last?.role === "user" ? last.content.map((part) => (part.type === "text" ? part.text : "")).join("") : ""
  if (said === "Work") return ["At it.", toolCall("slow", {}, { id: "a" }), toolCall("look", {}, { id: "b" })]
  if (said === "Rest") return [toolCall("quiet", {}, { id: "q" })]
  if (said === "Ask") return [toolCall("ask", {}, { id: "c" })]
  if (said === "me@x") {
    return tools.some(({ name }) => name === "complete") ? [toolCall("complete", { email: "me@x" }, { id: "d" })] : "?"
  }
  if (said === "Bill") return [toolCall("slow", {}, { id: "e" }), toolCall("pass", {}, { id: "f" })]
  if (said === "Odd") return [toolCall("slow", {}, { id: "a_final" })]
  return "Well."
}

const begun = (options: Partial<AgentSession.Options<never, [], []>> = {}) =>
  Effect.gen(function* () {
    const { languageModel, service } = yield* ScriptedModel.make(script)
    const { close, session } = yield* TestSession.make({
      agent: Front,
      agents: [Billing, Front],
      tools: [kit],
      ...(options as {})
    }).pipe(
      Effect.provide(kitLive),
      Effect.provide(silent),
      Effect.provideService(LanguageModel.LanguageModel, languageModel)
    ) as Effect.Effect<TestSession.TestSession, never, Scope.Scope>
    return { close, session, prompts: service.prompts }
  })

/** All that happens, and which calls of the model went to the background. */
const conversation = Effect.gen(function* () {
  const { session } = yield* begun()
  const events = yield* TestSession.collect(session)
  const say = (text: string, seconds: number) =>
    Effect.zipRight(session.send(text), TestSession.advance(`${seconds} seconds`))
  yield* say("Work", 4)
  yield* say("And?", 10)
  yield* say("Rest", 3)
  yield* say("Odd", 8)
  yield* say("Ask", 2)
  yield* say("me@x", 3)
  yield* say("Bill", 20)
  yield* say("Bye", 20)
  const { items } = yield* session.history
  const released = (yield* events.filter("ToolCallReleased")).map((event) => event.callId)
  const calls = (yield* events.filter("ToolCallStarted")).map((event) => event.call.callId)
  return { items, released, calls }
}).pipe(Effect.scoped)

/** The calls that were at work: by what the session itself told, not by what the items say. */
const atWork = (
  items: ReadonlyArray<ChatContext.ChatItem>,
  { calls, released }: { readonly calls: ReadonlyArray<string>; readonly released: ReadonlyArray<string> }
) => {
  const has = (tag: ChatContext.ChatItem["_tag"], callId: string) =>
    items.some((item) => item._tag === tag && "callId" in item && item.callId === callId)
  return calls.filter((callId) => {
    if (!has("FunctionCall", callId)) return false
    if (!has("FunctionCallOutput", callId)) return true
    return released.includes(callId) && !has("FunctionCallOutput", `${callId}_final`)
  })
}

const unknown = /^The outcome of \w+ is not known/
const told = (items: ReadonlyArray<ChatContext.ChatItem>) =>
  items.flatMap((item) =>
    item._tag === "FunctionCallOutput" && typeof item.output === "string" && unknown.test(item.output)
      ? [item.callId.replace(/_final$/, "")]
      : []
  )

describe("a conversation that was stored at any moment", () => {
  it.scoped(
    "[R5] [M3] [M5] resumes with its agent; each open call is told once, also after a second time",
    () =>
      Effect.gen(function* () {
        const { items, ...known } = yield* conversation
        expect(new Set(items.map((item) => item._tag)).size).toBe(4)
        expect(known.released.length).toBeGreaterThan(3)
        let open = 0
        for (let n = 1; n <= items.length; n += times(3, 1)) {
          const cut = items.slice(0, n)
          const history = restored(stored(cut))
          expect(history).toEqual({ items: cut })
          greetings = 0
          const expected = cut.some((item) => item._tag === "AgentHandoff" && item.to === "billing")
            ? "billing"
            : "front"
          const resumed = yield* Effect.scoped(
            Effect.gen(function* () {
              const { prompts, session } = yield* begun({ history, resume: true })
              const { items: after } = yield* session.history
              expect(yield* session.currentAgent).toEqual({ name: expected })
              expect(greetings).toBe(0)
              expect(after.slice(0, n)).toEqual(cut)
              expect(told(after).toSorted(), `cut at ${n}`).toEqual(atWork(cut, known).toSorted())
              expect(unanswered({ items: after })).toEqual([])
              yield* session.run("Hello").pipe(TestSession.drive)
              expect((yield* prompts).flatMap(check)).toEqual([])
              return (yield* session.history).items
            })
          )
          open += told(resumed).length
          // stored again, at any moment of what has just been written
          for (let m = n; m < n + 5 && m <= resumed.length; m++) {
            const again = yield* Effect.scoped(
              Effect.flatMap(
                begun({ history: { items: resumed.slice(0, m) }, resume: true }),
                ({ session }) => session.history
              )
            )
            expect(told(again.items).toSorted(), `cut at ${n} and ${m}`).toEqual(told(resumed).toSorted())
            expect(unanswered(again)).toEqual([])
          }
        }
        expect(open).toBeGreaterThan(times(6, 20))
      }),
    120_000
  )

  for (const [name, encoder] of Object.entries(encoders)) {
    it.scoped(
      `[R5] [M3b] ${name} takes the request behind each of them`,
      () =>
        Effect.gen(function* () {
          const { items } = yield* conversation
          for (let n = 1; n <= items.length; n += times(9, 3)) {
            const { bodies, layer } = encoder.make([])
            yield* Effect.gen(function* () {
              const session = yield* AgentSession.make({
                agent: Front,
                agents: [Billing],
                tools: [kit],
                history: { items: items.slice(0, n) },
                resume: true
              })
              yield* session.run("Hello")
            }).pipe(Effect.scoped, Effect.provide([kitLive, layer, silent]), Effect.orDie) as Effect.Effect<void>
            expect(bodies).toHaveLength(1)
            expect(encoder.check(bodies[0]), `cut at ${n}`).toEqual([])
          }
        }),
      120_000
    )
  }
})

// ------------------------------------------------------------------------------------------------- written by hand

type Item = ChatContext.ChatItem
let ids = 0
const item = <I extends object>(fields: I) => ({ ...fields, id: `x${++ids}`, createdAt: 0 }) as unknown as Item
const user = (text: string) => item({ _tag: "Message", role: "user", text, interrupted: false })
const call = (callId: string, name = "slow", metadata?: Record<string, unknown>) =>
  item({ _tag: "FunctionCall", callId, name, arguments: { n: 1 }, ...(metadata === undefined ? {} : { metadata }) })
const output = (callId: string, value: unknown, open?: "running" | "approval", name = "slow") =>
  item({
    _tag: "FunctionCallOutput",
    callId,
    name,
    output: value,
    isError: false,
    ...(open === undefined ? {} : { open })
  })
const handoff = (from: string, to: string, task?: boolean) =>
  item({ _tag: "AgentHandoff", from, to, ...(task === undefined ? {} : { task }) })

const lines = (items: ReadonlyArray<Item>) =>
  items.flatMap((one) =>
    one._tag === "FunctionCall"
      ? [`call ${one.callId}`]
      : one._tag === "FunctionCallOutput"
        ? [`${one.isError ? "error" : "output"} ${one.callId}: ${one.output}`]
        : []
  )

/** What is added to a history as it is gone on with. */
const added = (items: ReadonlyArray<Item>, options: Partial<AgentSession.Options<never, [], []>> = {}) =>
  Effect.scoped(
    Effect.gen(function* () {
      const { session } = yield* begun({ history: { items }, resume: true, ...options })
      return lines((yield* session.history).items.slice(items.length))
    })
  )

const slowUnknown = "The outcome of slow is not known: it may have done its work, or not."

describe("what a history leaves open", () => {
  it.scoped("[R5] [W1] an inline call gets its output, one in the background a pair; metadata goes with it", () =>
    Effect.gen(function* () {
      const metadata = { google: { thoughtSignature: "sig" }, openai: { itemId: "fc_1" } }
      const items = [user("Hi"), call("a", "slow", metadata), call("b", "look"), output("a", "one", "running")]
      expect(yield* added(items)).toEqual([
        "error b: The outcome of look is not known: it may have done its work, or not.",
        "call a_final",
        `error a_final: ${slowUnknown}`
      ])
      const { session } = yield* begun({ history: { items }, resume: true })
      const pair = (yield* session.history).items.find((one) => one._tag === "FunctionCall" && one.callId === "a_final")
      expect(pair).toMatchObject({ arguments: { n: 1 }, metadata: { google: { thoughtSignature: "sig" } } })
      expect(JSON.stringify(pair)).not.toContain("fc_1")
    })
  )

  it.scoped("[R5] nothing runs, nothing is said, and no event of a call is told", () =>
    Effect.gen(function* () {
      const { prompts, session } = yield* begun({
        history: { items: [call("a"), output("a", "one", "running")] },
        resume: true
      })
      const events = yield* TestSession.collect(session)
      yield* TestSession.advance("1 minute")
      expect(yield* events.tags).toEqual(["ItemAdded", "ItemAdded"])
      expect(yield* prompts).toEqual([])
      expect(yield* session.runningTools).toEqual([])
      expect((yield* Effect.flip(session.cancelTool("a"))).message).toBe("Call a has already ended.")
    })
  )

  it.scoped("[R5] a call that waited for approval is withdrawn: it has not run", () =>
    Effect.gen(function* () {
      expect(yield* added([call("a"), output("a", "Waits for a person.", "approval")])).toEqual([
        "call a_final",
        "output a_final: slow was cancelled and has stopped."
      ])
    })
  )

  it.scoped("[R5] half a report is made whole: of an update it says that it was lost, of an end the end", () =>
    Effect.gen(function* () {
      const first = [call("a"), output("a", "one", "running")]
      expect(yield* added([...first, call("a_update_1")])).toEqual([
        "error a_update_1: This report was lost.",
        "call a_final",
        `error a_final: ${slowUnknown}`
      ])
      expect(yield* added([...first, call("a_final")])).toEqual([`error a_final: ${slowUnknown}`])
    })
  )

  it.scoped("[R5] [T11] a call of the model's own is no report, whatever its id", () =>
    Effect.gen(function* () {
      const { session } = yield* begun()
      yield* session.send("Work")
      yield* TestSession.advance("1 second")
      yield* session.send("Odd")
      yield* TestSession.advance("1 second")
      const { items } = yield* session.history
      expect(lines(items).filter((line) => line.startsWith("call"))).toContain("call a_final")
      const again = restored(stored(items)).items
      expect(yield* added(again)).toEqual([
        expect.stringMatching(/^error b: /),
        "call a_final_1",
        `error a_final_1: ${slowUnknown}`,
        "call a_final_final",
        `error a_final_final: ${slowUnknown}`
      ])
    })
  )

  it.scoped("[R5] [M3b] calls of one id in a history put together are told apart", () =>
    Effect.gen(function* () {
      const ended = [call("a"), output("a", "one", "running"), call("a_final"), output("a_final", "done")]
      expect(yield* added([...ended, ...ended])).toEqual([])
      expect(yield* added([...ended, call("a"), output("a", "one", "running")])).toEqual([
        "call a_1_final",
        `error a_1_final: ${slowUnknown}`
      ])
      // another tool, whose call has the id of a report
      expect(yield* added([call("a"), output("a", "one", "running"), call("a_final", "look")])).toHaveLength(3)
    })
  )

  it.scoped("[R5] an older history says less: what has reported more than its output had not ended", () =>
    Effect.gen(function* () {
      const old = [call("a"), output("a", "one"), call("a_update_1"), output("a_update_1", "two")]
      expect(yield* added(old)).toEqual(["call a_final", `error a_final: ${slowUnknown}`])
      expect(yield* added([...old, call("a_final"), output("a_final", "done")])).toEqual([])
      expect(yield* added([call("a"), output("a", "done")])).toEqual([])
    })
  )

  it.scoped("[R5] [T1] a call that the provider ran itself is its own affair", () =>
    Effect.gen(function* () {
      expect(yield* added([call("p", "search", { "effect-meantime": { providerExecuted: true } })])).toEqual([])
    })
  )

  it.scoped("[R5] [L1] the words are a template: of the tool's scope, else of the agent's", () =>
    Effect.gen(function* () {
      const items = [call("a"), call("gone", "gone")]
      const agent = Front.pipe(Agent.provide(ToolPrompts.layer({ outcomeUnknown: "[{callId}] of {toolName}?" })))
      const Own = Toolkit.make(AsyncTool.make("slow", { success: Schema.String }))
      const own = Agent.make("front", { instructions: "F.", tools: [Own] }).pipe(
        Agent.provide(Own.toLayer({ slow: () => Effect.succeed("x") })),
        Agent.provide(ToolPrompts.layer({ outcomeUnknown: () => "own" }))
      )
      expect(yield* added(items, { agent, agents: [] })).toEqual([
        `error a: ${slowUnknown}`,
        "error gone: [gone] of gone?"
      ])
      expect(yield* added(items, { agent: own, agents: [] })).toEqual(["error a: own", "error gone: own"])
    })
  )

  it.scoped("[R5] without resume a history is left as it is", () =>
    Effect.gen(function* () {
      greetings = 0
      const items = [handoff("front", "billing"), call("a"), output("a", "one", "running")]
      expect(yield* added(items, { resume: false })).toEqual([])
      expect(greetings).toBe(1)
    })
  )
})

describe("the agent of a history", () => {
  const named = (items: ReadonlyArray<Item>, options: Partial<AgentSession.Options<never, [], []>> = {}) =>
    Effect.scoped(
      Effect.flatMap(begun({ history: { items }, resume: true, ...options }), ({ session }) =>
        Effect.map(session.currentAgent, ({ name }) => name)
      )
    )
  const problem = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    Effect.map(Effect.flip(Effect.sandbox(effect)), (cause) => Cause.squash(cause) as Error)

  it.scoped("[R5] is that of the last hand-off that is not a task's", () =>
    Effect.gen(function* () {
      const task = [handoff("billing", "email", true)]
      expect(yield* named([user("Hi")])).toBe("front")
      expect(yield* named([handoff("front", "billing"), ...task])).toBe("billing")
      expect(yield* named([handoff("front", "billing"), ...task, handoff("email", "billing", true)])).toBe("billing")
      expect(yield* named([handoff("front", "billing"), handoff("billing", "front")])).toBe("front")
    })
  )

  it.scoped("[R5] [S6] one that began without the conversation sees what it saw before", () =>
    Effect.gen(function* () {
      const Fresh = Agent.make("fresh", { instructions: "Fresh.", context: "empty" })
      const seen = (items: ReadonlyArray<Item>, agent = Front as Agent.Agent<never>) =>
        Effect.gen(function* () {
          const { prompts, session } = yield* begun({
            agent,
            agents: [Fresh] as never,
            history: { items },
            resume: true
          })
          yield* session.run("Go on").pipe(TestSession.drive)
          return (yield* prompts)[0]?.content.flatMap(({ content, role }) =>
            role === "user" ? content.flatMap((part) => (part.type === "text" ? [part.text] : [])) : []
          )
        })
      expect(yield* seen([user("Old"), handoff("front", "fresh"), user("New")])).toEqual(["New", "Go on"])
      expect(yield* seen([user("Old")], Fresh)).toEqual(["Old", "Go on"])
    })
  )

  it.scoped("[R5] who is gone fails the build, by name; so do names that two have", () =>
    Effect.gen(function* () {
      const gone = yield* problem(named([handoff("front", "sales")]))
      expect(gone).toBeInstanceOf(AgentSession.OptionsError)
      expect(gone.message).toBe(
        'The option agents of the session has no agent named "sales", to whom the given history was handed last: add it.'
      )
      const twin = Agent.make("billing", { instructions: "Another." })
      expect((yield* problem(named([], { agents: [Billing, twin] as never }))).message).toMatch(
        /two agents named "billing"/
      )
      expect((yield* problem(named([], { agents: [Email] as never }))).message).toMatch(/no agent/)
      expect((yield* problem(named([], { agents: [null] as never }))).message).toMatch(/no agent/)
      expect((yield* problem(named([], { agents: Billing as never }))).message).toMatch(/has to be a list/)
      expect((yield* problem(named([], { resume: "yes" as never }))).message).toMatch(
        /resume .* has to be true or false/
      )
      // without resume nobody has to be there
      expect(yield* named([handoff("front", "sales")], { resume: false })).toBe("front")
    })
  )

  it.scoped("[R5] [S4] hands over and leaves like any other", () =>
    Effect.gen(function* () {
      const { session } = yield* begun({ history: { items: [handoff("front", "billing")] }, resume: true })
      yield* session.handoff(Front)
      expect(yield* session.currentAgent).toEqual({ name: "front" })
      expect((yield* session.history).items.at(-1)).toMatchObject({ from: "billing", to: "front" })
    })
  )

  it.scoped("[R5] a history without items begins a conversation", () =>
    Effect.gen(function* () {
      greetings = 0
      expect(yield* named([])).toBe("front")
      expect(yield* named([], { history: undefined })).toBe("front")
      expect(greetings).toBe(2)
    })
  )

  it.scoped("[S7] [R5] hand-offs of a task are marked, of an agent they are not", () =>
    Effect.gen(function* () {
      const { items } = yield* conversation
      expect(items.flatMap((one) => (one._tag === "AgentHandoff" ? [[one.from, one.to, one.task]] : []))).toEqual([
        ["front", "email", true],
        ["email", "front", true],
        ["front", "billing", undefined]
      ])
    })
  )

  it.scoped("[R5] what a layer says while the session is made comes behind what is told", () =>
    Effect.gen(function* () {
      const agent = Front.pipe(
        Agent.provide(Layer.effectDiscard(Effect.orDie(AgentSession.send("From a layer"))))
      ) as Agent.Agent<never>
      const { prompts, session } = yield* begun({
        agent,
        agents: [],
        history: { items: [user("Hi"), call("a"), output("a", "one", "running")] },
        resume: true
      })
      yield* TestSession.settle
      expect(lines((yield* session.history).items)).toContain(`error a_final: ${slowUnknown}`)
      expect((yield* prompts).flatMap(check)).toEqual([])
      expect(yield* prompts).toHaveLength(1)
    })
  )
})
