/**
 * Messages to running calls: `messages` of a tool, `message_task`, `messageTool`, and the stream that a handler reads.
 */
import { Tool, Toolkit } from "@effect/ai"
import { describe, expect } from "@effect/vitest"
import { Cause, Clock, Deferred, Effect, Exit, Fiber, FiberId, Layer, Schema, Stream } from "effect"
import { Agent, AgentSession, AsyncTool, RunContext, SessionModel } from "effect-meantime"
import { ScriptedModel, TestSession } from "effect-meantime/testing"
import { odd } from "./support/odd.js"
import { talk, toolCall, wait } from "./support/talk.js"
import { it } from "./support/virtual.js"

type Session = AgentSession.AgentSession_

const Budget = Schema.Struct({ budget: Schema.Number, by: Schema.optional(Schema.Date) })

/** Writes down what it reads, until the call ends. */
const reading = (log: Array<unknown>) =>
  Stream.runForEach(RunContext.messages, (message) => Effect.sync(() => void log.push(message)))

/** Leaves the turn, and reads all that it is told until it is over. */
const listening = (log: Array<unknown>, over: Effect.Effect<unknown> = Effect.never) => ({
  messages: true as const,
  allowCancellation: true,
  run: () =>
    RunContext.update("On it.").pipe(
      Effect.zipRight(Effect.fork(reading(log))),
      Effect.zipRight(over),
      Effect.as("done")
    )
})

const tell = (callId: string, message: unknown, id: string) =>
  toolCall("message_task", { call_id: callId, message }, { id })

const refusal = (session: Session, callId: string, message: unknown = "Hurry.") =>
  Effect.map(Effect.flip(session.messageTool(callId, message)), (error) => `${error._tag}: ${error.message}`)

/** Goes on once the program says so. */
const gate = Effect.map(Deferred.make<void>(), (opened) => ({
  opened: Deferred.await(opened),
  open: Effect.zipRight(Deferred.succeed(opened, undefined), TestSession.settle)
}))

describe("who can be told something", () => {
  it.scoped("[G1] [G2] a program tells a call in the background, which gets each message once and in order", () =>
    Effect.gen(function* () {
      const log: Array<unknown> = []
      const t = yield* talk({
        pace: "instant",
        tools: { search: listening(log) },
        script: [toolCall("search", {}, { id: "a" }), "Searching."]
      })
      yield* t.session.send("Go")
      yield* TestSession.settle
      for (const message of ["one", { two: [2] }, 3, null, ["four"], false]) yield* t.session.messageTool("a", message)
      yield* TestSession.settle
      expect(log).toEqual(["one", { two: [2] }, 3, null, ["four"], false])
      expect(yield* t.events.filter("ToolCallMessaged")).toEqual(
        log.map((message) => ({ _tag: "ToolCallMessaged", at: 0, callId: "a", from: "program", message }))
      )
    })
  )

  it.scoped("[G1] an inline call, whose turn waits for what it ends with", () =>
    Effect.gen(function* () {
      const t = yield* talk({
        pace: "instant",
        tools: {
          ask: { messages: true, run: () => Effect.orDie(Stream.runHead(RunContext.messages).pipe(Effect.flatten)) }
        },
        script: [toolCall("ask", {}, { id: "a" }), "Thanks."]
      })
      const running = yield* Effect.fork(t.session.run("Go"))
      yield* TestSession.settle
      yield* t.session.messageTool("a", "Oslo")
      expect((yield* Fiber.join(running)).text).toBe("Thanks.")
      expect((yield* TestSession.outputs(t.session)).map(({ output }) => output)).toEqual(["Oslo"])
    })
  )

  it.scoped("[G1] [G2] a call that is queued, or waits for its step: what it was told is there when it begins", () =>
    Effect.gen(function* () {
      const log: Array<unknown> = []
      const first = yield* gate
      const work = AsyncTool.make("work", { success: Schema.String, messages: true })
      const kit = Toolkit.make(work)
      let begun = 0
      const t = yield* talk({
        pace: "instant",
        startAfter: "step",
        agent: Agent.make("helper", { instructions: "You help.", tools: [kit], maxConcurrency: 1 }),
        layer: kit.toLayer({
          work: () => {
            begun++
            return begun === 1
              ? Effect.as(first.opened, "first")
              : Effect.as(Effect.raceFirst(reading(log), Effect.sleep("1 second")), "second")
          }
        }),
        script: [[toolCall("work", {}, { id: "a" }), toolCall("work", {}, { id: "b" }), wait("1 second")], "ok"]
      })
      yield* t.session.send("Go")
      yield* TestSession.settle
      expect(begun).toBe(0)
      yield* t.session.messageTool("b", "held")
      yield* TestSession.advance("1 second")
      expect(begun).toBe(1)
      yield* t.session.messageTool("b", "queued")
      yield* first.open
      expect(log).toEqual(["held", "queued"])
      yield* TestSession.advance("1 second")
      expect(yield* t.events.filter("ToolCallMessagesLost")).toEqual([])
    })
  )

  it.scoped("[G1] [G4] by the model: the companion's call is the only item, and no reply comes of it", () =>
    Effect.gen(function* () {
      const log: Array<unknown> = []
      const t = yield* talk({
        pace: "instant",
        tools: { search: listening(log) },
        script: [toolCall("search", {}, { id: "a" }), "Searching.", tell("a", "In May, please.", "m"), "I told it."]
      })
      yield* t.session.run("Go").pipe(Effect.fork)
      yield* TestSession.settle
      yield* t.session.send("In May")
      yield* TestSession.settle
      expect(log).toEqual(["In May, please."])
      expect((yield* t.lines).slice(4)).toEqual([
        "user: In May",
        "call m",
        'output m: "search (a) was told."',
        "assistant: I told it."
      ])
      expect(yield* t.events.filter("ToolCallMessaged")).toMatchObject([
        { callId: "a", from: "model", message: "In May, please." }
      ])
      yield* TestSession.advance("1 hour")
      expect(yield* t.replies).toEqual([])
      expect(yield* t.events.filter("ToolCallUpdated")).toHaveLength(1)
    })
  )

  it.scoped("[G1] [C3] the tool is offered if one that the agent sees has the option, always the same", () =>
    Effect.gen(function* () {
      const seen: Array<unknown> = []
      const lists: Array<ReadonlyArray<string>> = []
      const kit = Toolkit.make(AsyncTool.make("search", { success: Schema.String, messages: true }))
      const plain = Toolkit.make(AsyncTool.make("plain", { success: Schema.String }))
      const answers: Array<unknown> = [toolCall("search", {}, { id: "a" }), "Searching.", "Still.", "Other.", "Back."]
      const model = Layer.succeed(SessionModel.SessionModel, {
        stream: ({ toolkit }) => {
          seen.push(toolkit.tools)
          lists.push(Object.keys(toolkit.tools))
          const answer = answers.shift()
          return typeof answer === "string"
            ? Stream.make(
                { type: "text-start", id: "1" },
                { type: "text-delta", id: "1", delta: answer },
                { type: "text-end", id: "1" }
              )
            : Stream.make({ type: "tool-call", id: "a", name: "search", params: {}, providerExecuted: false } as never)
        }
      } as SessionModel.Service)
      const First = Agent.make("first", { instructions: "x", tools: [kit] })
      const Second = Agent.make("second", { instructions: "y", tools: [plain] })
      const layer = Layer.mergeAll(
        kit.toLayer({ search: () => Effect.zipRight(RunContext.update("On it."), Effect.never) }),
        plain.toLayer({ plain: () => Effect.succeed("x") }),
        ScriptedModel.layer([])
      )
      const { session } = yield* TestSession.make({ agent: First }).pipe(Effect.provide(Layer.merge(layer, model)))
      yield* session.send("Go")
      yield* TestSession.settle
      yield* session.messageTool("a", "x")
      yield* session.run("And now?")
      yield* Effect.provide(session.handoff(Second), layer)
      yield* session.run("Who?")
      yield* Effect.provide(session.handoff(First), layer)
      yield* session.run("Again?")
      expect(lists).toEqual([
        ["search", "message_task"],
        ["search", "message_task"],
        ["search", "message_task"],
        ["plain"],
        ["search", "message_task"]
      ])
      expect(seen[1]).toBe(seen[0])
      expect(seen[2]).toBe(seen[0])
      expect((seen[4] as any).message_task).toBe((seen[0] as any).message_task)
    })
  )

  it.scoped("[G1] a tool of the session, seen by each agent; a call is reached from another agent and its task", () =>
    Effect.gen(function* () {
      const log: Array<unknown> = []
      const taskLog: Array<unknown> = []
      const kit = Toolkit.make(
        AsyncTool.make("search", { success: Schema.String, messages: true }),
        AsyncTool.make("clerk", { success: Schema.String, messages: true })
      )
      const task = Agent.task("city", { instructions: "Find it.", result: Schema.Struct({ city: Schema.String }) })
      const t = yield* talk({
        pace: "instant",
        sessionTools: [kit],
        drainTimeout: 0,
        layer: kit.toLayer({
          search: () => listening(log).run(),
          clerk: () =>
            Effect.fork(reading(taskLog)).pipe(
              Effect.zipRight(Effect.orDie(RunContext.runTask(task))),
              Effect.map(({ city }) => city)
            )
        }),
        script: [
          [toolCall("search", {}, { id: "a" }), toolCall("clerk", {}, { id: "b" })],
          "Where?",
          // the task's turn
          [tell("a", "from the task", "m1"), tell("b", "to the one that runs it", "m2")],
          "I told them.",
          toolCall("complete", { city: "Oslo" }, { id: "c" }),
          "Oslo it is.",
          tell("a", "from another agent", "m3"),
          "Told."
        ]
      })
      yield* t.session.send("Go")
      yield* TestSession.settle
      expect((yield* t.session.currentAgent).name).toBe("city")
      yield* t.session.messageTool("b", "from the program")
      yield* t.session.send("Hm")
      yield* TestSession.settle
      yield* t.session.send("Oslo")
      yield* TestSession.settle
      expect(taskLog).toEqual(["from the program", "to the one that runs it"])
      yield* t.session.handoff(Agent.make("other", { instructions: "You take over." }))
      yield* t.session.send("And?")
      yield* TestSession.settle
      expect((yield* t.session.currentAgent).name).toBe("other")
      expect(log).toEqual(["from the task", "from another agent"])
    })
  )

  it.scoped("[G1] the name is the session's own", () =>
    Effect.gen(function* () {
      const kit = Toolkit.make(AsyncTool.make("message_task", { success: Schema.String }))
      const exit = yield* AgentSession.make({ agent: Agent.make("a", { instructions: "x", tools: [kit] }) }).pipe(
        Effect.scoped,
        Effect.provide(Layer.merge(ScriptedModel.layer([]), kit.toLayer({ message_task: () => Effect.succeed("") }))),
        Effect.exit
      )
      expect(Exit.isFailure(exit) && String(Cause.squash(exit.cause))).toContain('named "message_task"')
    })
  )

  it.scoped("[L3] the option is true or a Schema of Effect", () =>
    Effect.gen(function* () {
      for (const messages of [false, "text", { "~standard": {} }, null, () => true]) {
        const kit = Toolkit.make(AsyncTool.make("t", { messages: messages as never }))
        const layer = Layer.merge(ScriptedModel.layer([]), kit.toLayer({ t: () => Effect.void }))
        const built = AgentSession.make({ agent: Agent.make("a", { instructions: "x", tools: [kit] }) })
        const exit = yield* Effect.exit(Effect.provide(Effect.scoped(built), layer))
        expect(Exit.isFailure(exit) && String(Cause.squash(exit.cause))).toContain(
          "the option messages has to be true or a Schema of Effect"
        )
      }
    })
  )

  it.scoped("[G1] [W1] what the model is shown is short, and shows the shape of messages that are no text", () =>
    Effect.gen(function* () {
      const shown = (options: Record<string, AsyncTool.Options>) =>
        Effect.gen(function* () {
          const t = yield* talk({
            pace: "instant",
            tools: Object.fromEntries(
              Object.entries(options).map(([name, one]) => [name, { ...one, run: () => Effect.void }])
            ),
            script: ["Hi."]
          })
          yield* t.session.run("Hi")
          const { tools } = yield* t.request(0)
          return tools.find(({ name }) => name === "message_task")
        })
      const properties = (more: string) => ({
        call_id: { type: "string", description: "The call id of the task." },
        message: { type: "string", description: `What to tell it${more}` }
      })
      expect(yield* shown({ a: { messages: true }, b: { messages: Schema.NonEmptyString }, c: {} })).toMatchObject({
        description: "Tells a running task something, such as a change of what was asked for.",
        jsonSchema: { type: "object", required: ["call_id", "message"], properties: properties(".") }
      })
      expect(
        yield* shown({ a: { messages: true }, b: { messages: Schema.Struct({ budget: Schema.Number }) } })
      ).toMatchObject({
        jsonSchema: {
          properties: properties(
            '; for these tasks as JSON. b: {"type":"object","required":["budget"],' +
              '"properties":{"budget":{"type":"number"}},"additionalProperties":false}'
          )
        }
      })
      // one without a JSON Schema names what is wrong once something is sent
      expect(yield* shown({ a: { messages: Schema.Struct({ at: Schema.DateFromSelf }) } })).toMatchObject({
        jsonSchema: { properties: properties(".") }
      })
      expect(yield* shown({ a: {} })).toBeUndefined()
    })
  )

  it.scoped("[G1] a model that has the id wrong is told which calls there are", () =>
    Effect.gen(function* () {
      const t = yield* talk({
        pace: "instant",
        drainTimeout: 0,
        tools: { search: listening([]), plain: () => Effect.zipRight(RunContext.update("x"), Effect.never) },
        script: [
          tell("x", "y", "m1"),
          "Hm.",
          [toolCall("search", {}, { id: "a" }), toolCall("plain", {}, { id: "p" })],
          "Searching.",
          [tell("search", "y", "m2"), tell("p", "y", "m3"), tell("a", { no: "text" }, "m4")],
          "Hm."
        ]
      })
      yield* t.session.run("Tell")
      for (const text of ["Go", "Tell"]) {
        yield* t.session.send(text)
        yield* TestSession.settle
      }
      const output = (id: string) =>
        Effect.map(TestSession.outputs(t.session), (all) => all.find(({ callId }) => callId === id))
      expect(yield* output("m1")).toMatchObject({
        isError: true,
        output: expect.stringMatching(/no call with the id "x"\. No running call takes messages\.$/)
      })
      expect(yield* output("m2")).toMatchObject({
        isError: true,
        output: expect.stringMatching(/no call with the id "search"\. These take messages: search \(a\)\.$/)
      })
      expect(yield* output("m3")).toMatchObject({
        isError: true,
        output: expect.stringContaining("Call p takes no messages: plain is not made for them.")
      })
      // its message is text
      expect(yield* output("m4")).toMatchObject({
        isError: true,
        output: expect.stringContaining("message: Expected string")
      })
    })
  )
})

describe("a schema of messages", () => {
  const told = (
    messages: AsyncTool.Options["messages"],
    send: (session: Session) => Effect.Effect<unknown, AsyncTool.ToolError>,
    logs: ReadonlyArray<RegExp> = []
  ) =>
    Effect.gen(function* () {
      const log: Array<unknown> = []
      const t = yield* talk({
        pace: "instant",
        logs,
        tools: { book: { ...listening(log), messages } },
        script: [toolCall("book", {}, { id: "a" }), "Booking."]
      })
      yield* t.session.send("Go")
      yield* TestSession.settle
      const result = yield* Effect.exit(send(t.session))
      yield* TestSession.settle
      const messaged = yield* t.events.filter("ToolCallMessaged")
      return {
        log,
        events: messaged.map(({ message }) => message),
        problem: Exit.isFailure(result) ? String(Cause.squash(result.cause)) : undefined
      }
    })

  it.scoped("[G2] the handler gets the decoded message, of its type; listeners get it as it was sent", () =>
    Effect.gen(function* () {
      const at: Array<string> = []
      const t = yield* talk({
        pace: "instant",
        tools: {
          book: {
            messages: Budget,
            run: () =>
              Effect.zipRight(
                RunContext.update("On it."),
                Stream.runForEach(RunContext.messagesOf(Budget), ({ budget, by }) =>
                  Effect.sync(() => void at.push(`${budget} ${by?.getUTCFullYear()}`))
                )
              )
          }
        },
        drainTimeout: 0,
        script: [toolCall("book", {}, { id: "a" }), "Booking."]
      })
      yield* t.session.send("Go")
      yield* TestSession.settle
      yield* t.session.messageTool("a", { budget: 5, by: "2026-05-01T00:00:00.000Z", extra: 1 })
      // as JSON has it
      yield* t.session.messageTool("a", { budget: 6, by: new Date(0) })
      yield* TestSession.settle
      expect(at).toEqual(["5 2026", "6 1970"])
      expect(yield* t.events.filter("ToolCallMessaged")).toMatchObject([
        { message: { budget: 5, by: "2026-05-01T00:00:00.000Z", extra: 1 } },
        { message: { budget: 6, by: "1970-01-01T00:00:00.000Z" } }
      ])
    })
  )

  it.scoped("[G2] what does not fit is refused, each field named, and the call hears nothing", () =>
    Effect.gen(function* () {
      const { events, log, problem } = yield* told(Budget, (session) =>
        session.messageTool("a", { budget: "much", by: "soon" })
      )
      expect(problem).toMatch(/Call a did not get the message, which does not fit book: .*budget: .*by: .*Correct it/)
      expect([log, events]).toEqual([[], []])
    })
  )

  const byModel: ReadonlyArray<
    readonly [string, NonNullable<AsyncTool.Options["messages"]>, string, unknown, RegExp | undefined]
  > = [
    ["any text, if there is no schema", true, '{"a":1}', '{"a":1}', undefined],
    ["a text", Schema.String, "5", "5", undefined],
    ["one of some words", Schema.Literal("stop", "go"), "go", "go", undefined],
    ["none of these words", Schema.Literal("stop", "go"), "come", undefined, /Expected "stop"/],
    ["a number that is sent as text", Schema.NumberFromString, "5", 5, undefined],
    ["a text with bounds", Schema.String.pipe(Schema.maxLength(2)), "123", undefined, /at most 2/],
    ["anything", Schema.Unknown, '{"a":1}', '{"a":1}', undefined],
    ["a number", Schema.Number, "5", 5, undefined],
    ["no number", Schema.Number, '"5"', undefined, /Expected number/],
    ["fields", Schema.Struct({ budget: Schema.Number }), '{"budget":5}', { budget: 5 }, undefined],
    ["bad fields", Schema.Struct({ budget: Schema.Number }), '{"budget":"5"}', undefined, /budget: Expected number/],
    ["words where fields are due", Schema.Struct({ budget: Schema.Number }), "five", undefined, /it is not JSON/],
    ["words of words or fields", Schema.Union(Schema.Literal("stop"), Budget), "stop", "stop", undefined],
    [
      "fields of words or fields",
      Schema.Union(Schema.Literal("stop"), Budget),
      '{"budget":5}',
      { budget: 5 },
      undefined
    ],
    ["neither of both", Schema.Union(Schema.Literal("stop"), Budget), "[]", undefined, /does not fit/],
    [
      "what refers to itself",
      Schema.suspend((): Schema.Schema<ReadonlyArray<unknown>> => Schema.Array(Schema.Unknown)),
      "[1]",
      [1],
      undefined
    ]
  ]
  for (const [what, messages, text, value, problem] of byModel) {
    it.scoped(`[G1] [G2] the model sends text, JSON where the schema takes no text: ${what}`, () =>
      Effect.gen(function* () {
        const log: Array<unknown> = []
        const t = yield* talk({
          pace: "instant",
          tools: { book: { ...listening(log), messages } },
          script: [toolCall("book", {}, { id: "a" }), "Booking.", tell("a", text, "m"), "ok"]
        })
        yield* t.session.send("Go")
        yield* TestSession.settle
        yield* t.session.send("Tell")
        yield* TestSession.settle
        const output = (yield* TestSession.outputs(t.session)).find(({ callId }) => callId === "m")
        if (problem === undefined) {
          expect(output).toMatchObject({ isError: false, output: "book (a) was told." })
          expect(log).toEqual([value])
        } else {
          expect(output).toMatchObject({ isError: true, output: expect.stringMatching(problem) })
          expect(log).toEqual([])
        }
      })
    )
  }

  const slow = Schema.transformOrFail(Schema.String, Schema.String, {
    strict: true,
    decode: (text) => Effect.delay(Effect.succeed(`slow ${text}`), "1 second"),
    encode: Effect.succeed
  })

  it.scoped(
    "[G2] a schema may take its time: in the order in which they fit, and a call that has ended gets none",
    () =>
      Effect.gen(function* () {
        const log: Array<unknown> = []
        const t = yield* talk({
          pace: "instant",
          tools: { book: { ...listening(log, Effect.sleep("2500 millis")), messages: slow } },
          script: [toolCall("book", {}, { id: "a" }), "Booking.", "Done."]
        })
        yield* t.session.send("Go")
        yield* TestSession.settle
        const first = yield* Effect.fork(t.session.messageTool("a", "one"))
        yield* TestSession.advance("500 millis")
        const second = yield* Effect.fork(t.session.messageTool("a", "two"))
        // who gives up has sent nothing
        const third = yield* Effect.fork(t.session.messageTool("a", "three"))
        yield* TestSession.settle
        yield* Fiber.interrupt(third)
        yield* TestSession.advance("1500 millis")
        expect(log).toEqual(["slow one", "slow two"])
        yield* Fiber.join(first)
        yield* Fiber.join(second)
        const late = yield* Effect.fork(refusal(t.session, "a"))
        yield* TestSession.advance("2 seconds")
        expect(yield* Fiber.join(late)).toBe("ToolError: Call a has already ended.")
        expect(log).toHaveLength(2)
      })
  )

  const throwing = Schema.transform(Schema.String, Schema.String, {
    strict: true,
    decode: () => {
      throw new Error("secret")
    },
    encode: (text) => text
  })

  it.scoped("[G2] a schema that throws is a bug of the program: it is told so, and the call goes on", () =>
    Effect.gen(function* () {
      const { log, problem } = yield* told(throwing, (session) => session.messageTool("a", "one"))
      expect(problem).toContain("secret")
      expect(log).toEqual([])
      const t = yield* talk({
        pace: "instant",
        logs: [/message_task .* failed unexpectedly/],
        tools: { book: { ...listening([]), messages: throwing } },
        script: [toolCall("book", {}, { id: "a" }), "Booking.", tell("a", "x", "m"), "ok"]
      })
      for (const text of ["Go", "Tell"]) {
        yield* t.session.send(text)
        yield* TestSession.settle
      }
      expect((yield* TestSession.outputs(t.session)).at(-1)).toMatchObject({
        isError: true,
        output: "message_task failed because of an unexpected error."
      })
    })
  )

  it.scoped("[G2] a program's message is copied: nobody changes what another one has", () =>
    Effect.gen(function* () {
      const got: Array<any> = []
      const t = yield* talk({
        pace: "instant",
        tools: { book: listening(got) },
        script: [toolCall("book", {}, { id: "a" }), "Booking."]
      })
      yield* t.session.send("Go")
      yield* TestSession.settle
      const mine = { deep: { n: 1 }, ...JSON.parse('{"__proto__":{"admin":true}}') }
      yield* t.session.messageTool("a", mine)
      mine.deep.n = 2
      yield* TestSession.settle
      got[0].deep.n = 3
      expect(got[0].admin).toBeUndefined()
      const [event] = yield* t.events.filter("ToolCallMessaged")
      expect(event?.message).toMatchObject({ deep: { n: 1 } })
    })
  )

  for (const [name, make] of Object.entries(odd)) {
    it.scoped(`[G2] an odd message of a program is read or refused: ${name}`, () =>
      Effect.gen(function* () {
        const { events, log, problem } = yield* told(true, (session) => session.messageTool("a", make()))
        expect(log).toEqual(events)
        if (problem === undefined) expect(JSON.parse(JSON.stringify(events))).toEqual(events)
        else expect(problem).toMatch(/Call a did not get the message, .*it is not JSON/)
        expect(events).toHaveLength(problem === undefined ? 1 : 0)
      })
    )
  }
})

describe("reading", () => {
  it.scoped("[G2] what comes before anybody reads is kept, and each reader takes one at a time", () =>
    Effect.gen(function* () {
      const log: Array<unknown> = []
      const read = yield* gate
      const t = yield* talk({
        pace: "instant",
        tools: {
          search: {
            messages: true,
            run: () =>
              RunContext.update("On it.").pipe(
                Effect.zipRight(read.opened),
                Effect.zipRight(Stream.runCollect(Stream.take(RunContext.messages, 2))),
                Effect.tap((two) => Effect.sync(() => void log.push(...two))),
                // the third is still there for another reader
                Effect.zipRight(Stream.runHead(RunContext.messages)),
                Effect.tap((third) => Effect.sync(() => void log.push(third))),
                Effect.as("done")
              )
          }
        },
        script: [toolCall("search", {}, { id: "a" }), "Searching.", "Done."]
      })
      yield* t.session.send("Go")
      yield* TestSession.settle
      for (const n of [1, 2, 3, 4]) yield* t.session.messageTool("a", n)
      yield* read.open
      expect(log).toMatchObject([1, 2, { _tag: "Some", value: 3 }])
      expect(yield* t.events.filter("ToolCallMessagesLost", "ToolCallEnded")).toMatchObject([
        { _tag: "ToolCallMessagesLost", callId: "a", count: 1 },
        { _tag: "ToolCallEnded", callId: "a", status: "done" }
      ])
    })
  )

  it.scoped("[G2] several readers share: no message is read twice, and one that leaves takes none with it", () =>
    Effect.gen(function* () {
      const log: Array<string> = []
      const leave = yield* gate
      const reader = (name: string) =>
        Stream.runForEach(RunContext.messages, (message) => Effect.sync(() => void log.push(`${name} ${message}`)))
      const t = yield* talk({
        pace: "instant",
        tools: {
          search: {
            messages: true,
            allowCancellation: true,
            run: () =>
              Effect.gen(function* () {
                yield* RunContext.update("On it.")
                const leaving = yield* Effect.fork(reader("leaving"))
                yield* Effect.fork(reader("a"))
                yield* Effect.fork(reader("b"))
                yield* leave.opened
                yield* Fiber.interrupt(leaving)
                yield* Effect.never
              })
          }
        },
        script: [toolCall("search", {}, { id: "c" }), "Searching."]
      })
      yield* t.session.send("Go")
      yield* TestSession.settle
      for (let n = 1; n <= 6; n++) yield* t.session.messageTool("c", n)
      yield* TestSession.settle
      expect(log.map((line) => Number(line.split(" ")[1])).toSorted()).toEqual([1, 2, 3, 4, 5, 6])
      // in this moment one of those who wait leaves
      yield* leave.open
      log.length = 0
      for (let n = 1; n <= 6; n++) {
        yield* t.session.messageTool("c", n)
        yield* TestSession.settle
      }
      expect(log.map((line) => Number(line.split(" ")[1]))).toEqual([1, 2, 3, 4, 5, 6])
      expect(log.some((line) => line.startsWith("leaving"))).toBe(false)
    })
  )

  it.scoped("[G2] a reader that is interrupted as a message comes leaves it to the next", () =>
    Effect.gen(function* () {
      const log: Array<unknown> = []
      const t = yield* talk({
        pace: "instant",
        tools: {
          search: {
            messages: true,
            run: () =>
              Effect.gen(function* () {
                const { call, session } = yield* RunContext.RunContext
                const first = yield* Effect.fork(reading([]))
                yield* Effect.sleep(1)
                // it is still among those who wait, and is told, too
                first.unsafeInterruptAsFork(FiberId.none)
                yield* Effect.orDie(session.messageTool(call.callId, "one"))
                log.push(yield* Stream.runHead(RunContext.messages))
                return "done"
              })
          }
        },
        script: [toolCall("search", {}, { id: "a" }), "Done."]
      })
      const running = yield* Effect.fork(t.session.run("Go"))
      yield* TestSession.advance(1)
      yield* Fiber.join(running)
      expect(log).toMatchObject([{ value: "one" }])
      expect(yield* t.events.filter("ToolCallMessagesLost")).toEqual([])
    })
  )

  it.scoped("[G2] the stream ends with the call, for a fiber that the handler left behind", () =>
    Effect.gen(function* () {
      const log: Array<unknown> = []
      const t = yield* talk({
        pace: "instant",
        tools: {
          leak: {
            messages: true,
            run: () =>
              Effect.as(
                Effect.forkDaemon(
                  Effect.zipRight(
                    reading(log),
                    Effect.sync(() => void log.push("over"))
                  )
                ),
                "done"
              ).pipe(Effect.delay("1 second"))
          },
          late: {
            messages: true,
            run: () =>
              Effect.as(
                Effect.forkDaemon(
                  Effect.delay(
                    Effect.zipRight(
                      reading(log),
                      Effect.sync(() => void log.push("late"))
                    ),
                    "1 minute"
                  )
                ),
                "done"
              )
          }
        },
        script: [[toolCall("leak", {}, { id: "a" }), toolCall("late", {}, { id: "b" })], "ok"]
      })
      yield* TestSession.drive(t.session.run("Go"))
      yield* TestSession.settle
      expect(log).toEqual(["over"])
      yield* TestSession.advance("1 minute")
      expect(log).toEqual(["over", "late"])
    })
  )

  it.scoped("[G2] of a tool without the option it is empty", () =>
    Effect.gen(function* () {
      const t = yield* talk({
        pace: "instant",
        tools: { plain: () => Effect.map(Stream.runCollect(RunContext.messages), ({ length }) => length) },
        script: [toolCall("plain", {}, { id: "a" }), "ok"]
      })
      yield* t.session.run("Go")
      expect((yield* TestSession.outputs(t.session)).map(({ output }) => output)).toEqual([0])
      expect(yield* refusal(t.session, "a")).toBe("ToolError: Call a has already ended.")
    })
  )
})

describe("what is refused", () => {
  it.scoped("[G3] a call that is unknown, has ended, is a report, a companion, or has not the option", () =>
    Effect.gen(function* () {
      const t = yield* talk({
        pace: "instant",
        tools: {
          search: { ...listening([], Effect.sleep("1 second")), allowCancellation: false },
          plain: () => Effect.never,
          slow: { allowCancellation: true, run: () => Effect.uninterruptible(Effect.sleep("1 minute")) }
        },
        cancellationTimeout: "5 seconds",
        script: [
          toolCall("search", {}, { id: "a" }),
          "Searching.",
          "Done.",
          [
            toolCall("plain", {}, { id: "p" }),
            toolCall("slow", {}, { id: "s" }),
            toolCall("cancel_task", { call_id: "s" }, { id: "k" })
          ]
        ],
        drainTimeout: 0,
        logs: [/slow \(s\) is given up on/]
      })
      yield* t.session.send("Go")
      yield* TestSession.advance("1 second")
      yield* t.session.send("Again")
      yield* TestSession.settle
      expect(yield* refusal(t.session, "nobody")).toBe('ToolError: There is no call with the id "nobody".')
      expect(yield* refusal(t.session, "a")).toBe("ToolError: Call a has already ended.")
      expect(yield* refusal(t.session, "a_final")).toMatch(/that is a report of another call/)
      expect(yield* refusal(t.session, "p")).toBe("ToolError: Call p takes no messages: plain is not made for them.")
      expect(yield* refusal(t.session, "k")).toBe(
        "ToolError: Call k takes no messages: cancel_task is not made for them."
      )
      expect(yield* t.events.filter("ToolCallMessaged")).toEqual([])
    })
  )

  for (const [how, options] of [
    ["was cancelled", {}],
    ["has used its time", { timeout: "10 seconds" }]
  ] as const) {
    it.scoped(`[G3] a call that is stopping, since it ${how}; what it has got before it may still read`, () =>
      Effect.gen(function* () {
        const log: Array<unknown> = []
        const t = yield* talk({
          pace: "instant",
          tools: {
            slow: {
              ...options,
              messages: true,
              allowCancellation: true,
              run: () =>
                RunContext.update("On it.").pipe(
                  Effect.zipRight(Effect.sleep("1 minute")),
                  Effect.onInterrupt(() =>
                    Effect.delay(
                      Effect.map(
                        Stream.runCollect(Stream.take(RunContext.messages, 1)),
                        (all) => void log.push(...all)
                      ),
                      "5 seconds"
                    )
                  )
                )
            }
          },
          script: [toolCall("slow", {}, { id: "a" }), "On it.", "It has stopped."]
        })
        yield* t.session.send("Go")
        yield* TestSession.settle
        yield* t.session.messageTool("a", "before")
        yield* t.session.messageTool("a", "unread")
        yield* TestSession.advance("10 seconds")
        if (how === "was cancelled") yield* Effect.fork(Effect.exit(t.session.cancelTool("a")))
        yield* TestSession.settle
        expect(yield* refusal(t.session, "a")).toBe(
          "ToolError: Call a takes no messages any more: it is being stopped."
        )
        yield* TestSession.advance("5 seconds")
        expect(log).toEqual(["before"])
        expect(yield* t.events.filter("ToolCallMessagesLost")).toMatchObject([{ callId: "a", count: 1 }])
      })
    )
  }

  it.scoped("[G3] a full inbox, until one is read; `maxMessages` says when", () =>
    Effect.gen(function* () {
      const log: Array<unknown> = []
      const read = yield* gate
      const t = yield* talk({
        pace: "instant",
        maxMessages: 2,
        tools: {
          search: {
            messages: true,
            allowCancellation: true,
            run: () =>
              RunContext.update("On it.").pipe(
                Effect.zipRight(read.opened),
                Effect.zipRight(Effect.fork(reading(log))),
                Effect.zipRight(Effect.never)
              )
          }
        },
        script: [toolCall("search", {}, { id: "a" }), "Searching.", tell("a", "three", "m"), "Full."]
      })
      yield* t.session.send("Go")
      yield* TestSession.settle
      yield* t.session.messageTool("a", "one")
      yield* t.session.messageTool("a", "two")
      const full = "Call a takes no message now: 2 wait to be read. Try again later."
      expect(yield* refusal(t.session, "a")).toBe(`ToolError: ${full}`)
      yield* t.session.send("Tell")
      yield* TestSession.settle
      expect((yield* TestSession.outputs(t.session)).at(-1)).toMatchObject({
        callId: "m",
        isError: true,
        output: expect.stringContaining(full)
      })
      yield* read.open
      yield* t.session.messageTool("a", "three")
      yield* TestSession.settle
      expect(log).toEqual(["one", "two", "three"])
    })
  )

  it.scoped("[G3] 32 are kept if nobody says how many", () =>
    Effect.gen(function* () {
      const t = yield* talk({
        pace: "instant",
        tools: { deaf: { messages: true, allowCancellation: true, run: () => Effect.never } },
        script: [toolCall("deaf", {}, { id: "a" }), "Cancelled."]
      })
      yield* t.session.send("Go")
      yield* TestSession.settle
      for (let n = 0; n < 32; n++) yield* t.session.messageTool("a", n)
      expect(yield* refusal(t.session, "a")).toContain("32 wait to be read")
      yield* t.session.cancelTool("a")
      expect(yield* t.events.filter("ToolCallMessagesLost", "ToolCallEnded")).toMatchObject([
        { _tag: "ToolCallMessagesLost", count: 32 },
        { _tag: "ToolCallEnded", status: "cancelled" }
      ])
    })
  )

  const ends: ReadonlyArray<
    readonly [
      string,
      AsyncTool.Options,
      (session: Session, close: Effect.Effect<void>) => Effect.Effect<unknown, unknown>
    ]
  > = [
    ["its end", {}, () => TestSession.advance("1 minute")],
    ["its time limit", { timeout: "30 seconds" }, () => TestSession.advance("1 minute")],
    ["a cancellation", { allowCancellation: true }, (session) => session.cancelTool("a")],
    [
      "a hand-off",
      { allowCancellation: true, onHandoff: "cancel" },
      (session) => session.handoff(Agent.make("other", { instructions: "x" }))
    ],
    ["the close of the session", { allowCancellation: true }, (_, close) => close],
    ["the close of the session, which waits for it", {}, (_, close) => TestSession.drive(close)]
  ]
  for (const [name, options, end] of ends) {
    it.scoped(`[G3] what is unread at ${name} is told, before the end`, () =>
      Effect.gen(function* () {
        const t = yield* talk({
          pace: "instant",
          tools: {
            deaf: {
              ...options,
              messages: true,
              run: () => Effect.zipRight(RunContext.update("On it."), Effect.sleep("1 minute"))
            }
          },
          script: ({ index }) => (index === 0 ? toolCall("deaf", {}, { id: "a" }) : "ok")
        })
        yield* t.session.send("Go")
        yield* TestSession.settle
        yield* t.session.messageTool("a", "one")
        yield* t.session.messageTool("a", "two")
        yield* end(t.session, t.close)
        yield* TestSession.settle
        expect(yield* t.events.filter("ToolCallMessagesLost", "ToolCallEnded")).toMatchObject([
          { _tag: "ToolCallMessagesLost", callId: "a", count: 2 },
          { _tag: "ToolCallEnded", callId: "a" }
        ])
        expect(yield* refusal(t.session, "a")).toBe("ToolError: Call a has already ended.")
      })
    )
  }

  it.scoped("[G3] a call that does not let itself be interrupted: closing gives it up, and its stream ends", () =>
    Effect.gen(function* () {
      const log: Array<unknown> = []
      const t = yield* talk({
        pace: "instant",
        drainTimeout: "1 second",
        logs: [/is interrupted: it did not end in time/, /is given up on/],
        tools: {
          stuck: {
            messages: true,
            run: () =>
              Effect.uninterruptible(
                Effect.zipRight(
                  reading(log),
                  Effect.sync(() => void log.push("over"))
                )
              )
          }
        },
        script: [toolCall("stuck", {}, { id: "a" })]
      })
      yield* t.session.send("Go")
      yield* TestSession.settle
      const closing = yield* Effect.fork(t.close)
      yield* TestSession.settle
      // it is waited for, and can be told to hurry
      yield* t.session.messageTool("a", "hurry")
      yield* TestSession.settle
      expect(log).toEqual(["hurry"])
      yield* TestSession.advance("1 second")
      expect(yield* refusal(t.session, "a")).toContain("it is being stopped")
      yield* TestSession.advance("1 second")
      yield* Fiber.join(closing)
      yield* TestSession.settle
      expect(log).toEqual(["hurry", "over"])
    })
  )

  it.scoped("[G3] [K1] a message at the very moment of the end is either got or refused", () =>
    Effect.gen(function* () {
      const t = yield* talk({
        pace: "instant",
        tools: {
          search: { messages: true, run: () => Effect.zipRight(RunContext.update("On it."), Effect.sleep("1 second")) }
        },
        script: [toolCall("search", {}, { id: "a" }), "Searching.", "ok"]
      })
      yield* t.session.send("Go")
      yield* TestSession.settle
      const before = yield* Effect.forEach([1, 2, 3], () =>
        Effect.fork(Effect.delay(Effect.either(t.session.messageTool("a", "x")), "1 second"))
      )
      yield* TestSession.advance("1 second")
      const results = yield* Effect.forEach(before, Fiber.join)
      const got = results.filter(({ _tag }) => _tag === "Right").length
      const lost = (yield* t.events.filter("ToolCallMessagesLost")).reduce((sum, { count }) => sum + count, 0)
      expect(yield* t.events.filter("ToolCallMessaged")).toHaveLength(got)
      expect(lost).toBe(got)
      expect(yield* Clock.currentTimeMillis).toBe(1000)
    })
  )
})

describe("calls that share, and calls that commit", () => {
  it.scoped("[G4] joined calls share the inbox, whichever of their ids the sender names", () =>
    Effect.gen(function* () {
      const log: Array<unknown> = []
      const end = yield* gate
      let read = true
      const t = yield* talk({
        pace: "instant",
        tools: {
          search: {
            messages: true,
            onDuplicate: "join",
            run: () =>
              RunContext.update("On it.").pipe(
                Effect.zipRight(
                  Effect.fork(
                    Stream.runForEachWhile(RunContext.messages, (message) =>
                      Effect.sync(() => log.push(message) > 0 && read)
                    )
                  )
                ),
                Effect.zipRight(end.opened),
                Effect.as("done")
              )
          }
        },
        script: ({ index }) =>
          index === 0 ? [toolCall("search", {}, { id: "a" }), toolCall("search", {}, { id: "b" })] : "ok"
      })
      yield* t.session.send("Go")
      yield* TestSession.settle
      yield* t.session.messageTool("a", 1)
      yield* t.session.messageTool("b", 2)
      yield* TestSession.settle
      expect(log).toEqual([1, 2])
      read = false
      for (const [id, n] of [
        ["b", 3],
        ["b", 4],
        ["a", 5],
        ["b", 6]
      ] as const)
        yield* t.session.messageTool(id, n)
      yield* end.open
      expect(yield* t.events.filter("ToolCallMessaged")).toMatchObject([
        { callId: "a", message: 1 },
        { callId: "b", message: 2 },
        { callId: "b", message: 3 },
        { callId: "b", message: 4 },
        { callId: "a", message: 5 },
        { callId: "b", message: 6 }
      ])
      expect(yield* t.events.filter("ToolCallMessagesLost")).toMatchObject([
        { callId: "b", count: 2 },
        { callId: "a", count: 1 }
      ])
    })
  )

  it.scoped("[G4] what a call was told before it joins goes to the one that it joins", () =>
    Effect.gen(function* () {
      const log: Array<unknown> = []
      const t = yield* talk({
        pace: "instant",
        tools: {
          search: { ...listening(log), onDuplicate: "join", startAfter: "step" }
        },
        script: ({ index }) =>
          index === 0
            ? toolCall("search", {}, { id: "a" })
            : index === 2
              ? [toolCall("search", {}, { id: "b" }), wait("1 second")]
              : "ok"
      })
      yield* t.session.send("Go")
      yield* TestSession.settle
      yield* t.session.send("Again")
      yield* TestSession.settle
      yield* t.session.messageTool("b", "held")
      expect(log).toEqual([])
      yield* TestSession.advance("1 second")
      expect(log).toEqual(["held"])
    })
  )

  it.scoped("[G4] a call that is past its point of no return still takes messages", () =>
    Effect.gen(function* () {
      const log: Array<unknown> = []
      const t = yield* talk({
        pace: "instant",
        tools: {
          pay: {
            messages: true,
            allowCancellation: true,
            run: () =>
              Effect.zipRight(
                RunContext.update("Paying."),
                RunContext.commit(Effect.map(Stream.runHead(RunContext.messages), (message) => void log.push(message)))
              )
          }
        },
        script: ({ index }) => (index === 0 ? toolCall("pay", {}, { id: "a" }) : "ok")
      })
      yield* t.session.send("Go")
      yield* TestSession.settle
      expect(yield* Effect.map(Effect.flip(t.session.cancelTool("a")), ({ message }) => message)).toContain("too late")
      yield* t.session.messageTool("a", "receipt, please")
      yield* TestSession.settle
      expect(log).toMatchObject([{ value: "receipt, please" }])
      expect(yield* t.events.filter("ToolCallEnded")).toMatchObject([{ callId: "a", status: "done" }])
    })
  )

  it.scoped("[G1] [G4] a call that a hand-off promotes is told things as before", () =>
    Effect.gen(function* () {
      const log: Array<unknown> = []
      const t = yield* talk({
        pace: "instant",
        tools: { search: { ...listening(log), onHandoff: "promote" } },
        script: ({ index }) => (index === 0 ? toolCall("search", {}, { id: "a" }) : "ok")
      })
      yield* t.session.send("Go")
      yield* TestSession.settle
      yield* t.session.messageTool("a", 1)
      yield* t.session.handoff(Agent.make("other", { instructions: "x" }))
      yield* t.session.messageTool("a", 2)
      yield* TestSession.settle
      expect(log).toEqual([1, 2])
      expect(yield* t.events.filter("ToolCallMessagesLost")).toEqual([])
    })
  )

  it.scoped("[G1] one session never reaches a call of another", () =>
    Effect.gen(function* () {
      const log: Array<unknown> = []
      const one = yield* talk({
        pace: "instant",
        tools: { search: listening(log) },
        script: [toolCall("search", {}, { id: "a" }), "ok"]
      })
      const two = yield* talk({ pace: "instant", tools: { search: listening([]) }, script: [] })
      yield* one.session.send("Go")
      yield* TestSession.settle
      expect(yield* refusal(two.session, "a")).toBe('ToolError: There is no call with the id "a".')
      expect(log).toEqual([])
    })
  )
})

describe("outside a session", () => {
  const kit = Toolkit.make(AsyncTool.make("count", { success: Schema.Number, messages: Budget }))
  const live = kit.toLayer({
    count: () => Effect.map(Stream.runCollect(RunContext.messagesOf(Budget)), ({ length }) => length)
  })

  it.effect("[G5] the stream is empty in AsyncTool.execute, and there is nobody to tell", () =>
    Effect.gen(function* () {
      expect(yield* AsyncTool.execute(kit, { name: "count", arguments: {} })).toEqual({
        output: 0,
        isError: false,
        updates: []
      })
      const { session } = RunContext.test()
      expect(yield* refusal(session, "call")).toBe('ToolError: There is no call with the id "call".')
    }).pipe(Effect.provide(live))
  )

  it.effect("[G5] and in the context of a test, which may give another one", () =>
    Effect.gen(function* () {
      const all = Effect.map(Stream.runCollect(RunContext.messages), (chunk) => Array.from(chunk))
      expect(yield* Effect.provide(all, RunContext.layerTest())).toEqual([])
      expect(yield* Effect.provide(all, RunContext.layerTest({ messages: Stream.make(1, 2) }))).toEqual([1, 2])
      const { messages: _, ...older } = RunContext.test()
      expect(yield* Effect.provideService(all, RunContext.RunContext, older)).toEqual([])
    })
  )

  it.scoped("[G1] an existing tool gets the option as an annotation", () =>
    Effect.gen(function* () {
      const Search = Tool.make("search", { success: Schema.Number }).annotate(AsyncTool.Annotations, { messages: true })
      const plain = Toolkit.make(Search)
      const t = yield* talk({
        pace: "instant",
        agent: Agent.make("helper", { instructions: "x", tools: [plain] }),
        layer: plain.toLayer({ search: () => Effect.as(Effect.sleep("1 second"), 1) }),
        script: [toolCall("search", {}, { id: "a" }), "ok"]
      })
      yield* t.session.send("Go")
      yield* TestSession.settle
      yield* t.session.messageTool("a", "heard by nobody")
      yield* TestSession.advance("1 second")
      expect((yield* t.request(0)).tools.map(({ name }) => name)).toEqual(["search", "message_task"])
      expect(yield* t.events.filter("ToolCallMessagesLost")).toMatchObject([{ callId: "a", count: 1 }])
    })
  )
})
