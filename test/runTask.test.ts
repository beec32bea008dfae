/**
 * Tasks that a program runs: the way to structured output.
 */
import { Context, Deferred, Effect, Exit, Fiber, Layer, Option, Schema } from "effect"
import { Agent, AgentSession, AsyncTool, RunContext } from "effect-meantime"
import { ScriptedModel, TestSession } from "effect-meantime/testing"
import { describe, expect } from "vitest"
import { paper, picture } from "./support/files.js"
import { modelFailed, now, started, type Tools, talk, toolkit } from "./support/talk.js"
import { it } from "./support/virtual.js"

const { fail, toolCall, wait } = ScriptedModel

const City = Schema.Struct({ city: Schema.String })

const task = (
  options: Partial<Agent.Options<[], AgentSession.AgentSession, AgentSession.AgentSession>> & {
    readonly tools?: Tools
  } = {}
) => {
  const { tools = {}, ...rest } = options
  const { kit, layer } = toolkit(tools as Tools)
  return Agent.task("city", { instructions: "Find the city.", result: City, tools: [kit], ...(rest as {}) }).pipe(
    Agent.provide(layer as Layer.Layer<never>)
  ) as Agent.AgentTask<{ readonly city: string }, never>
}

const complete = (city: unknown = "Oslo") => toolCall("complete", { city })

const choices = (model: ScriptedModel.Service) =>
  Effect.map(model.requests, (requests) => requests.map(({ toolChoice }) => toolChoice))

describe("runTask with a text", () => {
  it.scoped("[B5] gives the typed value; the text is the user's, and the outer agent comes back", () =>
    Effect.gen(function* () {
      const { lines, request, session } = yield* talk({ pace: "instant", script: [complete(), "Hi."] })
      const value: { readonly city: string } = yield* session.runTask(task(), "I live in Oslo.")
      expect(value).toEqual({ city: "Oslo" })
      expect((yield* lines).filter((line) => !line.startsWith("call"))).toEqual([
        "handoff: city",
        "user: I live in Oslo.",
        expect.stringMatching(/^output /),
        "handoff: helper"
      ])
      expect((yield* request(0)).prompt.content.at(-1)).toMatchObject({ role: "user" })
      expect((yield* session.currentAgent).name).toBe("helper")
      expect((yield* session.run("Hello")).text).toBe("Hi.")
    })
  )

  it.scoped("[B5] [B1] files are said with it, or alone; the bound of the session holds for them", () =>
    Effect.gen(function* () {
      const { lines, request, session } = yield* talk({
        pace: "instant",
        maxFileBytes: 75,
        logs: [/^WARN: The user's turn gave a file .* that is not taken\. It has/],
        script: [complete(), complete("Bergen")]
      })
      const large = { ...paper, data: "AAAA".repeat(100) }
      expect(yield* session.runTask(task(), { text: "Here.", files: [picture, large] })).toEqual({ city: "Oslo" })
      expect(yield* session.runTask(task(), { text: "", files: [picture] })).toEqual({ city: "Bergen" })
      const sent = ({ prompt }: ScriptedModel.Request) =>
        prompt.content.flatMap(({ content, role }) =>
          role === "user" ? content.map((part) => (part.type === "file" ? `file ${part.fileName}` : part.text)) : []
        )
      const not = expect.stringContaining('not shown: "plan.pdf" (application/pdf). It has 300 bytes, and at most 75')
      expect(sent(yield* request(0))).toEqual(["Here.", "file chart.png", not])
      expect(sent(yield* request(1)).at(-1)).toBe("file chart.png")
      expect((yield* session.history).items.flatMap((item) => ("files" in item ? [item.files?.length] : []))).toEqual([
        2, 1
      ])
      expect((yield* lines).filter((line) => line.startsWith("user"))).toEqual(["user: Here.", "user: "])
    })
  )

  it.scoped("[B5] it comes behind onEnter, and behind what that says", () =>
    Effect.gen(function* () {
      const { lines, session } = yield* talk({ script: [complete()] })
      const enters = Effect.zipRight(Effect.sleep("2 seconds"), AgentSession.say("Where do you live?"))
      yield* session.runTask(task({ onEnter: enters }), "Oslo").pipe(TestSession.drive)
      expect((yield* lines).slice(1, 3)).toEqual(["assistant: Where do you live?", "user: Oslo"])
      // two seconds, and nineteen characters at five a second
      expect((yield* session.history).items[2]?.createdAt).toBe(5600)
    })
  )

  it.scoped("[B5] a turn that ends without a result is asked for once more, with that tool required", () =>
    Effect.gen(function* () {
      const { model, request, session } = yield* talk({ pace: "instant", script: ["Hm.", complete()] })
      expect(yield* session.runTask(task(), "Oslo")).toEqual({ city: "Oslo" })
      expect(yield* choices(model)).toEqual(["auto", { tool: "complete" }])
      expect(JSON.stringify((yield* request(1)).prompt.content.at(-1))).toContain("Call complete with the result now.")
    })
  )

  it.scoped("[B5] if that fails, too, it fails with a ToolError", () =>
    Effect.gen(function* () {
      const { model, session } = yield* talk({ pace: "instant", script: ["Hm.", "No.", "Hi."] })
      const error = yield* Effect.flip(session.runTask(task(), "Oslo"))
      expect(error).toEqual(new AsyncTool.ToolError({ message: 'The task "city" ended without a result.' }))
      expect(yield* choices(model)).toHaveLength(2)
      expect((yield* session.run("Hello")).text).toBe("Hi.")
    })
  )

  it.scoped("[B5] [T3] a result that does not decode is told, and may be made good", () =>
    Effect.gen(function* () {
      const { session } = yield* talk({ pace: "instant", script: ["Hm.", complete(1), complete("Bergen")] })
      expect(yield* session.runTask(task(), "Oslo")).toEqual({ city: "Bergen" })
    })
  )

  it.scoped("[B5] while a call of the task runs nothing is asked for, and its reply may bring the result", () =>
    Effect.gen(function* () {
      const look = {
        run: () => Effect.zipRight(RunContext.update("looking"), Effect.as(Effect.sleep("10 seconds"), "Oslo")),
        onResult: "act"
      } as const
      const { model, session } = yield* talk({
        pace: "instant",
        script: [toolCall("look"), "At it.", complete()]
      })
      expect(yield* session.runTask(task({ tools: { look } as never }), "Where?").pipe(TestSession.drive)).toEqual({
        city: "Oslo"
      })
      expect(yield* now).toBe(10_000)
      expect((yield* choices(model)).slice(0, 2)).toEqual(["auto", "auto"])
    })
  )

  it.scoped("[B5] once it has ended and brought none, it is asked for, and then fails", () =>
    Effect.gen(function* () {
      const look = () => Effect.zipRight(RunContext.update("looking"), Effect.as(Effect.sleep("10 seconds"), "Oslo"))
      const { model, session } = yield* talk({
        pace: "instant",
        script: [toolCall("look"), "At it.", "Found.", "No."]
      })
      const error = yield* Effect.flip(session.runTask(task({ tools: { look } as never }), "?")).pipe(TestSession.drive)
      expect(error._tag).toBe("ToolError")
      expect(yield* choices(model)).toEqual(["auto", "auto", "none", { tool: "complete" }])
    })
  )

  it.scoped("[B5] [F4] what the user says in between is said to the task, and ends before it is asked", () =>
    Effect.gen(function* () {
      const { model, session } = yield* talk({
        script: [[wait("5 seconds"), "Which Oslo?"], "In Norway?", [wait("1 second"), complete()]]
      })
      const run = yield* Effect.fork(session.runTask(task(), "Oslo"))
      yield* TestSession.advance("1 second")
      yield* session.send("Norway")
      yield* TestSession.advance("1 minute")
      expect(yield* Fiber.join(run)).toEqual({ city: "Oslo" })
      expect((yield* choices(model)).at(-1)).toEqual({ tool: "complete" })
    })
  )
})

describe("runTask without a text", () => {
  it.scoped("[B5] it talks on: a turn without a result is no end", () =>
    Effect.gen(function* () {
      const { model, session } = yield* talk({ pace: "instant", script: ["Which one?", complete()] })
      const run = yield* Effect.fork(session.runTask(task({ onEnter: AgentSession.say("Where?") })))
      yield* TestSession.advance("1 hour")
      expect(yield* model.requests).toHaveLength(0)
      yield* session.send("The city")
      yield* TestSession.advance("1 hour")
      expect(yield* model.requests).toHaveLength(1)
      yield* session.send("Oslo")
      expect(yield* Fiber.join(run)).toEqual({ city: "Oslo" })
      expect(yield* choices(model)).toEqual(["auto", "auto"])
    })
  )

  it.scoped("[B5] without onEnter the model is asked at once", () =>
    Effect.gen(function* () {
      const { lines, session } = yield* talk({ pace: "instant", script: ["Where do you live?", complete()] })
      const run = yield* Effect.fork(session.runTask(task()))
      yield* TestSession.settle
      expect(yield* lines).toEqual(["handoff: city", "assistant: Where do you live?"])
      yield* session.send("Oslo")
      expect(yield* Fiber.join(run)).toEqual({ city: "Oslo" })
    })
  )

  it.scoped("[B5] [S7] so is that of a task without onEnter in a handler, as a part of the turn", () =>
    Effect.gen(function* () {
      const { session } = yield* talk({
        pace: "instant",
        tools: { ask: () => Effect.orDie(Effect.map(RunContext.runTask(task()), ({ city }) => city)) },
        script: [toolCall("ask", {}, { id: "a" }), complete(), "Oslo it is."]
      })
      const { items, text } = yield* session.run("Go").pipe(TestSession.drive)
      expect(text).toBe("Oslo it is.")
      expect(items.filter((item) => item._tag === "AgentHandoff")).toHaveLength(2)
    })
  )

  it.scoped("[B5] an onEnter that goes on for ever does not hold the talk up", () =>
    Effect.gen(function* () {
      const { session } = yield* talk({ pace: "instant", script: [complete()] })
      const run = yield* Effect.fork(session.runTask(task({ onEnter: Effect.never })))
      yield* TestSession.settle
      yield* session.send("Oslo")
      expect(yield* Fiber.join(run)).toEqual({ city: "Oslo" })
    })
  )
})

describe("the floor of runTask", () => {
  it.scoped("[B5] [F5] it waits for idle: speech, queued turns, claims of the user", () =>
    Effect.gen(function* () {
      const { lines, session } = yield* talk({ script: ["This is a sentence.", "Yes.", complete()] })
      yield* session.send("A")
      yield* session.send("B", { interrupt: false })
      const run = yield* Effect.fork(session.runTask(task(), "Oslo"))
      yield* Effect.scoped(Effect.zipRight(session.claimUserTurn, TestSession.advance("1 minute")))
      // what had not begun has waited, too
      expect(yield* lines).toEqual(["user: A"])
      yield* TestSession.advance("5 seconds")
      expect(yield* Fiber.join(run)).toEqual({ city: "Oslo" })
      expect((yield* lines).slice(0, 6)).toEqual([
        "user: A",
        "assistant: This is a sentence.",
        "user: B",
        "assistant: Yes.",
        "handoff: city",
        "user: Oslo"
      ])
    })
  )

  it.scoped("[B5] [F5] replies that wait come first, later ones wait until it has ended", () =>
    Effect.gen(function* () {
      const { lines, session } = yield* talk({
        tools: {
          slow: () =>
            RunContext.update("one").pipe(
              Effect.zipRight(Effect.sleep("2 seconds")),
              Effect.zipRight(RunContext.update("two")),
              Effect.zipRight(Effect.sleep("30 seconds")),
              Effect.as("done")
            )
        },
        script: [
          toolCall("slow", {}, { id: "a" }),
          "This is a very long sentence.",
          "Two.",
          [wait("1 minute"), complete()],
          "Done."
        ]
      })
      yield* session.send("A")
      // the second update waits while the first one is voiced
      yield* TestSession.advance("3 seconds")
      const run = yield* Effect.fork(session.runTask(task(), "Oslo"))
      yield* TestSession.advance("2 minutes")
      expect(yield* Fiber.join(run)).toEqual({ city: "Oslo" })
      expect((yield* lines).filter((line) => /^(assistant|handoff)/.test(line))).toEqual([
        "assistant: This is a very long sentence.",
        "assistant: Two.",
        "handoff: city",
        "handoff: helper",
        "assistant: Done."
      ])
    })
  )

  it.scoped("[B5] further ones queue, in their order", () =>
    Effect.gen(function* () {
      const { session } = yield* talk({
        pace: "instant",
        script: [[wait("1 second"), complete("one")], complete("two"), complete("three")]
      })
      const all = yield* Effect.forEach(["1", "2", "3"], (text) => session.runTask(task(), text), {
        concurrency: "unbounded"
      }).pipe(TestSession.drive)
      expect(all.map(({ city }) => city)).toEqual(["one", "two", "three"])
    })
  )

  it.scoped("[B5] [F5] [F6] a handler within the task may hold the floor, wait for idle and say a filler", () =>
    Effect.gen(function* () {
      const look = () =>
        Effect.gen(function* () {
          yield* RunContext.foreground(Effect.sleep("1 second"))
          const { session } = yield* RunContext.RunContext
          yield* session.waitForIdle
          yield* RunContext.withFiller(Effect.sleep("5 seconds"), { say: "Moment.", delay: "1 second" })
          return "Oslo"
        }).pipe(Effect.orDie)
      const { lines, session } = yield* talk({ pace: "instant", script: [toolCall("look"), complete()] })
      const found = yield* session.runTask(task({ tools: { look } as never }), "Where?").pipe(TestSession.drive)
      expect(found).toEqual({ city: "Oslo" })
      expect(yield* lines).toContain("assistant: Moment.")
    })
  )

  it.scoped(
    "[B5] [F5] [R1] a handler within the task may wait for a run: what its background calls end with is said",
    () =>
      Effect.gen(function* () {
        const { kit, layer } = toolkit({
          look: () => Effect.as(RunContext.update("looking"), "found"),
          ask: () =>
            Effect.flatMap(RunContext.RunContext, ({ session }) => Effect.map(session.run("Look."), ({ text }) => text))
        })
        const { lines, session } = yield* talk({
          pace: "instant",
          sessionTools: [kit],
          layer,
          script: [toolCall("ask"), toolCall("look"), "I look.", "It is Oslo.", complete()]
        })
        const fiber = yield* Effect.fork(session.runTask(task(), "Ask."))
        yield* TestSession.advance("1 minute")
        expect(yield* Fiber.poll(fiber)).toEqual(Option.some(Exit.succeed({ city: "Oslo" })))
        expect(yield* lines).toContain("assistant: It is Oslo.")
      })
  )

  it.scoped("[B5] [S7] a handler within the task may run another", () =>
    Effect.gen(function* () {
      const inner = Agent.task("inner", { instructions: "Inner.", result: Schema.Struct({ n: Schema.Number }) })
      const look = () => Effect.orDie(Effect.map(RunContext.runTask(inner), ({ n }) => `${n}`))
      const { session } = yield* talk({
        pace: "instant",
        script: [toolCall("look"), toolCall("complete", { n: 7 }), complete("7")]
      })
      expect(yield* session.runTask(task({ tools: { look } as never }), "?").pipe(TestSession.drive)).toEqual({
        city: "7"
      })
    })
  )
})

describe("who runs it", () => {
  const inside = (
    use: (session: AgentSession.Service) => Effect.Effect<unknown, unknown, RunContext.RunContext>,
    script: ScriptedModel.Script,
    before: Effect.Effect<void, never, RunContext.RunContext> = Effect.void
  ) =>
    Effect.gen(function* () {
      let session: AgentSession.Service | undefined
      const talking = yield* talk({
        pace: "instant",
        tools: {
          ask: () =>
            Effect.zipRight(
              before,
              Effect.orDie(Effect.suspend(() => use(session as AgentSession.Service)))
            ) as Effect.Effect<unknown, never, RunContext.RunContext>
        },
        script
      })
      session = talking.session
      return talking
    })

  it.scoped("[B5] [F5] an inline handler: it works on the handler's own floor", () =>
    Effect.gen(function* () {
      const { session } = yield* inside(
        (own) => Effect.map(own.runTask(task(), "Oslo"), ({ city }) => city),
        [toolCall("ask", {}, { id: "a" }), complete(), "Oslo it is."]
      )
      expect((yield* session.run("Go").pipe(TestSession.drive)).text).toBe("Oslo it is.")
    })
  )

  it.scoped("[B5] [F5] a handler in the background, within foreground and twice", () =>
    Effect.gen(function* () {
      const { session } = yield* inside(
        (own) =>
          RunContext.foreground(
            Effect.zipWith(own.runTask(task(), "A"), own.runTask(task(), "B"), (a, b) => `${a.city} ${b.city}`)
          ),
        [toolCall("ask", {}, { id: "a" }), "At it.", complete("a"), complete("b"), "Both."],
        RunContext.update("asking")
      )
      expect((yield* session.run("Go").pipe(TestSession.drive)).text).toBe("Both.")
    })
  )

  it.scoped("[B5] onEnter of a task, with a text: on the floor of that task", () =>
    Effect.gen(function* () {
      const inner = task()
      const { session } = yield* talk({ pace: "instant", script: [complete("inner"), complete("outer")] })
      const enters = Effect.flatMap(AgentSession.AgentSession, (own) => own.runTask(inner, "First"))
      expect(yield* session.runTask(task({ onEnter: enters }), "Second").pipe(TestSession.drive)).toEqual({
        city: "outer"
      })
    })
  )

  it.scoped("[B5] onExit: a typed failure, since the session waits for it", () =>
    Effect.gen(function* () {
      const told: Array<string> = []
      const { session } = yield* talk({
        pace: "instant",
        agent: Agent.make("first", {
          instructions: "First.",
          onExit: Effect.flatMap(AgentSession.AgentSession, (own) =>
            Effect.map(Effect.flip(own.runTask(task(), "?")), (error) => void told.push(error.message))
          )
        }),
        script: []
      })
      yield* session.handoff(Agent.make("second", { instructions: "Second." }))
      expect(told).toEqual(["An agent that leaves can run no task."])
    })
  )

  it.scoped("[B5] [L2] what the task needs comes from the caller, unless the session has it", () =>
    Effect.gen(function* () {
      class Atlas extends Context.Tag("test/Atlas")<Atlas, { readonly city: string }>() {}
      const finds = Agent.task("find", {
        instructions: "Find.",
        result: City,
        onEnter: Effect.flatMap(Atlas, ({ city }) => AgentSession.say(`In ${city}?`))
      })
      const { lines, session } = yield* talk({ pace: "instant", script: [complete()] })
      yield* Effect.provideService(session.runTask(finds, "Yes"), Atlas, { city: "Lima" })
      expect(yield* lines).toContain("assistant: In Lima?")
    })
  )
})

describe("how runTask ends", () => {
  it.scoped("[B5] [R3] a failing model fails it with the AiError, once told, and the session goes on", () =>
    Effect.gen(function* () {
      const { events, logs, session } = yield* talk({ pace: "instant", script: [fail("down"), "Hi."] })
      const error = yield* Effect.flip(session.runTask(task(), "Oslo"))
      expect(error).toMatchObject({ _tag: "UnknownError", description: "down" })
      expect(yield* events.filter("SessionError")).toHaveLength(1)
      expect(logs).toEqual([])
      expect((yield* session.currentAgent).name).toBe("helper")
      expect((yield* session.run("Hello")).text).toBe("Hi.")
    })
  )

  it.scoped("[B5] so does one that fails when it is asked once more, in onEnter, or behind a user's turn", () =>
    Effect.gen(function* () {
      const { session } = yield* talk({ pace: "instant", script: ["Hm.", fail("a"), fail("b"), "So?", fail("c")] })
      expect((yield* Effect.flip(session.runTask(task(), "Oslo")))._tag).toBe("UnknownError")
      const greets = task({ onEnter: AgentSession.generateReply() })
      expect((yield* Effect.flip(session.runTask(greets)))._tag).toBe("UnknownError")
      const run = yield* started(session.runTask(greets))
      expect(yield* run).toBe("pending")
      yield* session.send("Oslo")
      expect(yield* run).toBe("UnknownError")
    })
  )

  it.scoped("[S7] [F7] a failure within a task of a handler leaves that as it is", () =>
    Effect.gen(function* () {
      const { session } = yield* talk({
        pace: "instant",
        tools: { ask: () => Effect.orDie(Effect.map(RunContext.runTask(task()), ({ city }) => city)) },
        script: [toolCall("ask", {}, { id: "a" }), fail("down"), complete(), "Oslo."],
        logs: [modelFailed]
      })
      yield* session.send("Go")
      yield* TestSession.settle
      expect((yield* session.currentAgent).name).toBe("city")
      yield* session.send("Oslo")
      yield* TestSession.settle
      expect((yield* session.currentAgent).name).toBe("helper")
    })
  )

  it.scoped("[B5] a task that declines: a ToolError with the reason", () =>
    Effect.gen(function* () {
      const { kit, layer } = toolkit({ no: () => declines.decline("not today") })
      const declines: Agent.AgentTask<{ readonly city: string }, never> = Agent.task("city", {
        instructions: "Find.",
        result: City,
        tools: [kit]
      }).pipe(Agent.provide(layer as Layer.Layer<never>)) as never
      const { session } = yield* talk({ pace: "instant", script: [toolCall("no")] })
      expect((yield* Effect.flip(session.runTask(declines, "?"))).message).toBe("not today")
    })
  )

  it.scoped("[B5] interrupted it ends the task, while it waits for the floor and afterwards", () =>
    Effect.gen(function* () {
      const { lines, session } = yield* talk({ script: ["One one one.", [wait("1 minute"), complete()], "Hi."] })
      yield* session.send("A")
      const early = yield* Effect.fork(session.runTask(task(), "Oslo"))
      yield* TestSession.settle
      yield* Fiber.interrupt(early)
      yield* TestSession.advance("10 seconds")
      expect((yield* lines).filter((line) => line.startsWith("handoff"))).toEqual([])
      const late = yield* Effect.fork(session.runTask(task(), "Oslo"))
      yield* TestSession.settle
      expect((yield* session.currentAgent).name).toBe("city")
      yield* Fiber.interrupt(late)
      expect((yield* session.currentAgent).name).toBe("helper")
      yield* TestSession.drive(session.waitForIdle)
      expect((yield* session.run("Hello").pipe(TestSession.drive)).text).toBe("Hi.")
    })
  )

  it.scoped("[B5] [S4] a hand-off in the middle ends it with a ToolError", () =>
    Effect.gen(function* () {
      const { session } = yield* talk({ pace: "instant", script: [] })
      const run = yield* started(session.runTask(task({ onEnter: AgentSession.say("Where?") })))
      expect(yield* run).toBe("pending")
      yield* session.handoff(Agent.make("second", { instructions: "Second." })).pipe(TestSession.drive)
      expect(yield* run).toBe("ToolError")
      expect((yield* session.currentAgent).name).toBe("second")
    })
  )

  for (const [when, script] of Object.entries<ScriptedModel.Script>({
    "waits for the floor": [[wait("1 hour"), "One."]],
    "is at work": [complete(), [wait("1 hour"), complete()]]
  })) {
    it.scoped(`[B5] [S2] closing while it ${when} ends it with SessionClosed`, () =>
      Effect.gen(function* () {
        const { close, session } = yield* talk({ pace: "instant", script })
        if (when === "is at work") yield* session.runTask(task(), "One")
        else yield* session.send("A")
        const run = yield* started(session.runTask(task(), "Oslo"))
        expect(yield* run).toBe("pending")
        yield* close
        expect(yield* run).toBe("SessionClosed")
        expect(yield* yield* started(session.runTask(task(), "Oslo"))).toBe("SessionClosed")
      })
    )
  }

  it.scoped("[B5] [S2] closing while a layer of the task is built ends it; what is acquired is released", () =>
    Effect.gen(function* () {
      const gate = yield* Deferred.make<void>()
      const all: Array<string> = []
      const slow = task().pipe(
        Agent.provide(
          Layer.scopedDiscard(
            Effect.acquireRelease(
              Effect.sync(() => void all.push("+")),
              () => Effect.sync(() => void all.push("-"))
            ).pipe(Effect.zipRight(Deferred.await(gate)))
          )
        )
      )
      const { close, session } = yield* talk({ pace: "instant", script: [] })
      const run = yield* started(session.runTask(slow, "Oslo"))
      expect(yield* run).toBe("pending")
      yield* close
      expect(yield* run).toBe("SessionClosed")
      expect(all).toEqual(["+", "-"])
    })
  )

  it.scoped("[B5] [S4] a layer that fails is a defect of the effect, and the floor is free again", () =>
    Effect.gen(function* () {
      const broken = task().pipe(Agent.provide(Layer.effectDiscard(Effect.die("no atlas"))))
      const { session } = yield* talk({ pace: "instant", script: [complete()] })
      const exit = yield* Effect.exit(session.runTask(broken, "Oslo"))
      expect(Exit.isFailure(exit)).toBe(true)
      expect(yield* session.runTask(task(), "Oslo")).toEqual({ city: "Oslo" })
    })
  )

  it.scoped("[B5] [U8] outside a session there is none", () =>
    Effect.gen(function* () {
      expect((yield* Effect.flip(RunContext.test().session.runTask(task(), "?")))._tag).toBe("SessionClosed")
    })
  )
})
