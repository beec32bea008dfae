import { LanguageModel, Toolkit } from "@effect/ai"
import { describe, expect } from "@effect/vitest"
import { Config, ConfigProvider, Context, Effect, Exit, Layer, Schema, Stream } from "effect"
import {
  Agent,
  AgentOutput,
  AgentSession,
  AsyncTool,
  AsyncToolset,
  DuplicatePolicy,
  RunContext,
  ToolPrompts
} from "effect-meantime"
import { ScriptedModel, TestSession } from "effect-meantime/testing"
import { agent, call, logs, notes, script, talk, task, toolset } from "./support/scopes.js"
import { it } from "./support/virtual.js"

class Name extends Context.Tag("test/Name")<Name, string>() {}
class Greeting extends Context.Tag("test/Greeting")<Greeting, string>() {}

const Who = AsyncTool.make("who", { success: Schema.String, dependencies: [Name] })
const who = Toolkit.make(Who)
const whoLive = who.toLayer({ who: () => Name })
const named = (name: string) => Layer.succeed(Name, name)

const twoUpdates = Effect.zipRight(
  Effect.zipRight(RunContext.update("one"), RunContext.update("two", { delivery: "silent" })),
  Effect.never
)
const stoppable: AsyncTool.Options = { allowCancellation: true }

describe("prompts of nested scopes", () => {
  /** the outputs of two updates, where session, agent and toolset provide these prompts */
  const rendered = (prompts: Partial<Record<"session" | "agent" | "toolset", Layer.Layer<never>>>) =>
    Effect.gen(function* () {
      const set = toolset("set", { work: [stoppable, twoUpdates] }).pipe(
        AsyncToolset.provide(prompts.toolset ?? Layer.empty)
      )
      const test = yield* talk({
        agent: agent("front", { sets: [set] }).pipe(Agent.provide(prompts.agent ?? Layer.empty))
      })
      yield* test.say("Work")
      yield* test.session.cancelTool("work")
      return (yield* test.outputs).map(([, output]) => output)
    }).pipe(
      Effect.scoped,
      Effect.provide(
        Layer.provideMerge(ScriptedModel.layer([call("work"), "Working."]), prompts.session ?? Layer.empty)
      )
    )
  const update = (text: string) => ToolPrompts.layer({ update: `${text} {message}` as string })
  const ended = (text: string) => ToolPrompts.layer({ ended: `${text} {how}` as string })

  it.effect("[L1] the most specific scope that names a template decides, for each template by itself", () =>
    Effect.gen(function* () {
      const all = { session: update("s"), agent: update("a"), toolset: update("t") }
      expect((yield* rendered(all))[0]).toBe("t one")
      expect((yield* rendered({ ...all, toolset: Layer.empty }))[0]).toBe("a one")
      expect((yield* rendered({ session: update("s") }))[0]).toBe("s one")
      expect(yield* rendered({ session: ended("s"), agent: update("a") })).toEqual(["a one", "a two", "s cancelled"])
      expect(yield* rendered({ session: update("s"), agent: ended("a") })).toEqual(["s one", "s two", "a cancelled"])
      expect(yield* rendered({ agent: update("a"), toolset: ended("t") })).toEqual(["a one", "a two", "t cancelled"])
      const { update: text } = ToolPrompts.defaults
      expect((yield* rendered({ agent: ended("a") }))[0]).toBe(
        String(text).replace("{message}", "one").replace("{toolName}", "work")
      )
    })
  )

  it.effect("[L1] two layers on one scope override what each of them names; the outer one is the broader", () =>
    Effect.gen(function* () {
      expect(yield* rendered({ agent: Layer.provideMerge(ended("inner"), update("outer")) })).toEqual([
        "outer one",
        "outer two",
        "inner cancelled"
      ])
      expect((yield* rendered({ agent: Layer.provideMerge(update("inner"), update("outer")) }))[0]).toBe("inner one")
    })
  )

  it.scoped("[L1] layers that are provided to an agent one after the other add up", () =>
    Effect.gen(function* () {
      const Front = agent("front", { works: { work: [stoppable, twoUpdates] } }).pipe(
        Agent.provide(update("first")),
        Agent.provide(ended("second")),
        Agent.provide(update("third"))
      )
      const test = yield* talk({ agent: Front })
      yield* test.say("Work")
      yield* test.session.cancelTool("work")
      expect((yield* test.outputs).map(([, output]) => output)).toEqual(["first one", "first two", "second cancelled"])
    }).pipe(script([call("work"), "Working."]))
  )

  it.effect("[L1] a template that is named with undefined is not named", () =>
    Effect.gen(function* () {
      const layer = ToolPrompts.layer({ update: undefined } as {})
      expect((yield* rendered({ session: update("s"), agent: layer }))[0]).toBe("s one")
    })
  )

  it.scoped("[L1] a toolset on the session does not get the prompts of the agent", () =>
    Effect.gen(function* () {
      const test = yield* talk({
        agent: agent("front").pipe(Agent.provide(update("agent"))),
        tools: [toolset("set", { work: [stoppable, twoUpdates] })]
      })
      yield* test.say("Work")
      expect((yield* test.outputs)[0]).toEqual(["work", "session one"])
    }).pipe(script([call("work"), "Working."]), Effect.provide(update("session")))
  )

  it.scoped("[L1] an update's own template wins over all of them", () =>
    Effect.gen(function* () {
      const work = Effect.zipRight(
        RunContext.update("one", { template: "{toolName}/{callId}: {message}" }),
        RunContext.update("two", { template: ({ message }) => message.toUpperCase(), delivery: "silent" })
      )
      const test = yield* talk({ agent: agent("front", { works: { work } }).pipe(Agent.provide(update("agent"))) })
      yield* test.say("Work")
      expect((yield* test.outputs).slice(0, 2)).toEqual([
        ["work", "work/work: one"],
        ["work_update_1", "TWO"]
      ])
    }).pipe(script([call("work"), "Working."]))
  )

  it.scoped("[L1] each template is used, with its arguments: a string with placeholders", () =>
    Effect.gen(function* () {
      const works = {
        slow: [stoppable, Effect.never] as const,
        out: [{ releaseAfter: 0, ...stoppable }, Effect.never] as const,
        once: [{ ...stoppable, onDuplicate: "reject" }, Effect.zipRight(RunContext.update("x"), Effect.never)] as const,
        ask: [{ ...stoppable, onDuplicate: "confirm" }, Effect.zipRight(RunContext.update("y"), Effect.never)] as const
      }
      const Front = agent("front", { works }).pipe(
        Agent.provide(
          ToolPrompts.layer({
            update: "U {toolName} {callId} {message}",
            released: "R {toolName} {callId}",
            ended: "E {toolName} {callId} {how}",
            inProgress: "P {toolName} {callId}",
            duplicateReject: "DR {toolName} {runningText}",
            duplicateConfirm: "DC {toolName} {running}",
            replyAtTail: "T {callIds}",
            replyMaybeCovered: "M {callIds}"
          })
        )
      )
      const test = yield* talk({ agent: Front })
      yield* test.say("Work")
      yield* test.say("And?")
      expect(yield* test.transcript).toContain(`"P slow s1"`)
      yield* test.session.cancelTool("s1")
      yield* TestSession.settle
      const outputs = Object.fromEntries(yield* test.outputs)
      expect(outputs.s1).toBe("E slow s1 cancelled")
      expect(outputs.o1).toBe("R out o1")
      expect(outputs.c1).toBe("U once c1 x")
      expect(outputs.c2).toMatch(/^DR once .*c1/)
      expect(outputs.a2).toMatch(/^DC ask .*a1/)
    }).pipe(
      script([
        [
          call("slow", {}, "s1"),
          call("out", {}, "o1"),
          call("once", {}, "c1"),
          call("once", {}, "c2"),
          call("ask", {}, "a1"),
          call("ask", {}, "a2")
        ],
        "Working.",
        "Stopped."
      ])
    )
  )

  it.scoped("[L1] the templates of replies get the ids of the items that they cover", () =>
    Effect.gen(function* () {
      const seen: Array<ToolPrompts.ReplyArgs> = []
      const work = RunContext.update("x").pipe(Effect.zipRight(Effect.sleep("1 second")), Effect.as("found"))
      const Front = agent("front", { works: { work } }).pipe(
        Agent.provide(
          ToolPrompts.layer({
            replyAtTail: (args) => {
              seen.push(args)
              return "At tail."
            },
            replyMaybeCovered: "Covered: {callIds}!"
          })
        )
      )
      const test = yield* talk({ agent: Front })
      yield* test.say("Work")
      yield* Effect.scoped(Effect.zipRight(test.session.claimUserTurn, TestSession.advance("1 second")))
      yield* TestSession.settle
      expect(seen).toHaveLength(1)
      expect(seen[0]?.callIds.toSorted()).toEqual(["a_final", "b_final"])
      expect(ScriptedModel.lastUserText(yield* test.lastRequest)).toContain("At tail.")
    }).pipe(script([[call("work", {}, "a"), call("work", {}, "b")], "Working.", "Found."]))
  )

  it.scoped("[L1] calls whose scopes set different reply templates get one reply for each", () =>
    Effect.gen(function* () {
      const work = RunContext.update("x").pipe(Effect.zipRight(Effect.sleep("1 second")), Effect.as("found"))
      const set = (id: string) =>
        toolset(id, { [id]: work }).pipe(
          AsyncToolset.provide(ToolPrompts.layer({ replyAtTail: id, replyMaybeCovered: id }))
        )
      const test = yield* talk({ agent: agent("front"), tools: [set("left"), set("right")] })
      yield* test.say("Work")
      yield* Effect.scoped(Effect.zipRight(test.session.claimUserTurn, TestSession.advance("1 second")))
      yield* TestSession.settle
      expect((yield* test.replies).toSorted()).toEqual([
        ["completed", "left_final"],
        ["completed", "right_final"]
      ])
      const asked = (yield* test.model.requests).slice(2).map(ScriptedModel.lastUserText)
      expect(asked.map((text) => text.split("\n").at(-1)).toSorted()).toEqual(["left", "right"])
    }).pipe(script([[call("left"), call("right")], "Working.", "Left.", "Right."]))
  )

  it.scoped("[L1] a function that throws does not stop the conversation: the default takes its place", () => {
    const log = logs()
    return Effect.gen(function* () {
      const broken = ToolPrompts.layer({
        update: () => {
          throw new Error("broken template")
        },
        replyAtTail: () => {
          throw new Error("broken template")
        }
      })
      const work = RunContext.update("x").pipe(Effect.zipRight(Effect.sleep("1 second")), Effect.as("found"))
      const test = yield* talk({ agent: agent("front", { works: { work } }).pipe(Agent.provide(broken)) })
      yield* test.say("Work")
      yield* TestSession.advance("1 second")
      expect(yield* test.said).toEqual(["Working.", "Found."])
      expect((yield* test.outputs)[0]?.[1]).toMatch(/^x/)
      expect(log.all.filter((line) => line.startsWith("ERROR"))).toHaveLength(2)
    }).pipe(script([call("work"), "Working.", "Found."]), Effect.provide(log.layer))
  })
})

describe("layers of a scope", () => {
  it.scoped("[L2] the most specific provider of a service wins: toolset over agent over session", () =>
    Effect.gen(function* () {
      const set = AsyncToolset.make("set", who)
      const answer = (first: Agent.Agent<Name>, tools: ReadonlyArray<AsyncToolset.AsyncToolset<Name>> = []) =>
        Effect.gen(function* () {
          const { session } = yield* TestSession.make({ agent: first, tools })
          yield* session.run("Who?")
          return (yield* TestSession.outputs(session))[0]?.output
        }).pipe(Effect.scoped, script([call("who"), "So."]), Effect.provide(named("session")))
      const live = Layer.provide(whoLive, Layer.empty)
      const withSet = (inner: AsyncToolset.AsyncToolset<Name>) =>
        Agent.make("front", { instructions: "", tools: [inner] })
      const bare = set.pipe(AsyncToolset.provide(live))
      expect(yield* answer(withSet(bare))).toBe("session")
      expect(yield* answer(withSet(bare).pipe(Agent.provide(named("agent"))))).toBe("agent")
      expect(
        yield* answer(withSet(bare.pipe(AsyncToolset.provide(named("toolset")))).pipe(Agent.provide(named("agent"))))
      ).toBe("toolset")
      const front = Agent.make("front", { instructions: "" }).pipe(Agent.provide(named("agent")))
      expect(yield* answer(front, [bare])).toBe("session")
      expect(yield* answer(front, [bare.pipe(AsyncToolset.provide(named("toolset")))])).toBe("toolset")
    })
  )

  it.scoped("[L1, L2, P5, S3] toolsets three deep: each level overrides what it names, for what it contains", () =>
    Effect.gen(function* () {
      const tool = (name: string) => {
        const tools = Toolkit.make(AsyncTool.make(name, { success: Schema.String, dependencies: [Name] }))
        const work = Effect.zipRight(
          Effect.flatMap(Name, (from) => RunContext.update(from)),
          Effect.never
        )
        return { tools, live: tools.toLayer({ [name]: () => work } as any) as unknown as Layer.Layer<never> }
      }
      const [one, two, three] = [tool("one"), tool("two"), tool("three")]
      const inner = AsyncToolset.make("inner", three.tools).pipe(
        AsyncToolset.provide(named("inner")),
        AsyncToolset.provide(ToolPrompts.layer({ update: "3 {message}" }))
      )
      const middle = AsyncToolset.make("middle", [two.tools, inner]).pipe(
        AsyncToolset.provide(DuplicatePolicy.layer("reject")),
        AsyncToolset.provide(ToolPrompts.layer({ update: "2 {message}", duplicateReject: "2 no" }))
      )
      const outer = AsyncToolset.make("outer", [one.tools, middle]).pipe(
        AsyncToolset.provide(named("outer")),
        AsyncToolset.provide(ToolPrompts.layer({ update: "1 {message}", duplicateReject: "1 no" }))
      )
      const Front = Agent.make("front", { instructions: "", tools: [outer] }).pipe(
        Agent.provide(Layer.mergeAll(one.live, two.live, three.live)),
        Agent.provide(named("agent"))
      )
      const { session } = yield* TestSession.make({ agent: Front as Agent.Agent<never>, drainTimeout: 0 })
      yield* session.send("Go")
      yield* TestSession.settle
      const outputs = (yield* TestSession.outputs(session)).map(({ output }) => output)
      expect(outputs).toEqual(["1 outer", "2 outer", "3 inner", "1 outer", "2 no", "2 no"])
    }).pipe(
      script([["one", "two", "three", "one", "two", "three"].map((name, n) => call(name, {}, `${name}_${n}`)), "So."])
    )
  )

  it.scoped("[L2] handlers are layers too: the most specific ones are used", () =>
    Effect.gen(function* () {
      const tools = Toolkit.make(AsyncTool.make("find", { success: Schema.String }))
      const found = (by: string) => tools.toLayer({ find: () => Effect.succeed(by) })
      const Front = Agent.make("front", { instructions: "I am front.", tools: [tools] })
      const test = yield* talk({ agent: Front.pipe(Agent.provide(found("agent"))) }).pipe(
        Effect.provide(found("session"))
      )
      yield* test.say("Find")
      expect(yield* test.outputs).toEqual([["find", "agent"]])
    }).pipe(script([call("find"), "Found."]))
  )

  it.scoped(
    "[L2] of several layers on one agent the first is the innermost, and is given what the later ones have",
    () =>
      Effect.gen(function* () {
        const greeting = Layer.effect(
          Greeting,
          Effect.map(Name, (name) => `Hello, ${name}.`)
        )
        const Greet = Toolkit.make(AsyncTool.make("greet", { success: Schema.String, dependencies: [Greeting] }))
        const Front = Agent.make("front", { instructions: "I am front.", tools: [Greet] }).pipe(
          Agent.provide(Greet.toLayer({ greet: () => Greeting })),
          Agent.provide(greeting),
          Agent.provide(named("inner")),
          Agent.provide(named("outer"))
        )
        const test = yield* talk({ agent: Front })
        yield* test.say("Greet")
        expect(yield* test.outputs).toEqual([["greet", "Hello, inner."]])
      }).pipe(script([call("greet"), "Done."]))
  )

  it.scoped("[L2] each agent has the LanguageModel that was provided to it, else that of the session", () =>
    Effect.gen(function* () {
      const own = yield* ScriptedModel.make(["Own model."])
      const Own = agent("own").pipe(Agent.provide(Layer.succeed(LanguageModel.LanguageModel, own.languageModel)))
      const test = yield* talk({
        agent: agent("front", { works: { leave: Effect.as(RunContext.handoff(Own), "going") } })
      })
      yield* test.say("Go")
      expect(yield* test.said).toEqual(["Own model."])
      expect(yield* own.service.requests).toHaveLength(1)
      yield* test.session.handoff(agent("back"))
      yield* test.say("Back?")
      expect(yield* test.said).toEqual(["Own model.", "Session's model."])
    }).pipe(script([call("leave"), "Session's model."]))
  )

  it.scoped("[L2] deferred replies and tasks use the model of the agent that speaks", () =>
    Effect.gen(function* () {
      const own = yield* ScriptedModel.make([call("complete", { email: "a@b.c" }, "done")])
      const Own = task("own").pipe(Agent.provide(Layer.succeed(LanguageModel.LanguageModel, own.languageModel)))
      const book = Effect.zipRight(RunContext.update("Wait."), RunContext.foreground(RunContext.runTask(Own)))
      const test = yield* talk({ agent: agent("front", { works: { book } }) })
      yield* test.say("Book")
      yield* test.say("a@b.c")
      expect(yield* own.service.requests).toHaveLength(1)
      expect(yield* test.said).toEqual(["I will.", "Booked."])
    }).pipe(script([call("book"), "I will.", "Booked."]))
  )

  it.scoped("[L2] an agent's output is used for what it says", () =>
    Effect.gen(function* () {
      const { all, note } = notes()
      const output = (name: string) =>
        Layer.succeed(AgentOutput.AgentOutput, {
          play: (text, played) =>
            Effect.orDie(Stream.runForEach(text, (piece) => Effect.zipRight(note(`${name}: ${piece}`), played(piece))))
        })
      const test = yield* talk({ agent: agent("front").pipe(Agent.provide(output("front"))) })
      yield* test.session.say("One")
      yield* TestSession.settle
      yield* test.session.handoff(agent("back").pipe(Agent.provide(output("back"))))
      yield* test.session.say("Two")
      expect(yield* test.said).toEqual(["One", "Two"])
      expect(all).toEqual(["front: One", "back: Two"])
    }).pipe(script([]))
  )

  it.scoped("[L2] resources are acquired when the agent enters, each time anew, and released when it ends", () =>
    Effect.gen(function* () {
      const { all, layer } = notes()
      const withRes = (name: string) => agent(name).pipe(Agent.provide(layer(name)))
      const [one, two] = [withRes("one"), withRes("two")]
      const test = yield* talk({ agent: one })
      expect(all).toEqual(["+one"])
      yield* test.session.handoff(two)
      yield* TestSession.settle
      yield* test.session.handoff(one)
      yield* TestSession.settle
      expect(all).toEqual(["+one", "+two", "-one", "+one", "-two"])
      yield* test.close
      expect(all.slice(5)).toEqual(["-one"])
    }).pipe(script([]))
  )

  it.scoped("[L2] resources are released one after the other, the last one acquired first", () =>
    Effect.gen(function* () {
      const { all, layer } = notes()
      const Front = agent("front", {
        sets: [toolset("set", {}).pipe(AsyncToolset.provide(layer("set", Effect.sleep("1 second"))))]
      }).pipe(Agent.provide(layer("inner", Effect.sleep("1 second"))), Agent.provide(layer("outer")))
      const test = yield* talk({ agent: Front })
      yield* test.session.handoff(agent("back"))
      yield* TestSession.advance("2 seconds")
      expect(all).toEqual(["+outer", "+inner", "+set", "-set", "-inner", "-outer"])
    }).pipe(script([]))
  )

  it.scoped("[L2] resources of a session's toolset live as long as the session", () =>
    Effect.gen(function* () {
      const { all, layer } = notes()
      const set = toolset("set", {}).pipe(AsyncToolset.provide(layer("set")))
      const test = yield* talk({ agent: agent("front"), tools: [set] })
      yield* test.session.handoff(agent("back"))
      yield* TestSession.settle
      expect(all).toEqual(["+set"])
      yield* test.close
      expect(all).toEqual(["+set", "-set"])
    }).pipe(script([]))
  )

  it.scoped("[L2] a session whose build fails releases what was acquired", () =>
    Effect.gen(function* () {
      const { all, layer } = notes()
      const Front = agent("front").pipe(
        Agent.provide(Layer.effectDiscard(Effect.die("no database"))),
        Agent.provide(layer("agent"))
      )
      const set = toolset("set", {}).pipe(AsyncToolset.provide(layer("set")))
      const exit = yield* Effect.exit(Effect.scoped(AgentSession.make({ agent: Front, tools: [set] })))
      expect(Exit.isFailure(exit) && String(exit.cause)).toContain("no database")
      expect(all).toEqual(["+set", "+agent", "-agent", "-set"])
    }).pipe(script([]))
  )

  it.scoped("[L2] what an agent needs of the session's services can be passed on in the hand-off", () =>
    Effect.gen(function* () {
      const Billing = Agent.make("billing", { instructions: "I am billing.", tools: [who] }).pipe(
        Agent.provide(whoLive)
      )
      const Desk = Toolkit.make(AsyncTool.make("leave", { success: Schema.String }))
      const DeskLive = Desk.toLayer(
        Effect.map(Effect.context<Name>(), (context) => ({
          leave: () =>
            Effect.as(RunContext.handoff(Billing.pipe(Agent.provide(Layer.succeedContext(context)))), "going")
        }))
      )
      const Front = Agent.make("front", { instructions: "I am front.", tools: [Desk] }).pipe(
        Agent.provide(Layer.provide(DeskLive, named("desk")))
      )
      const test = yield* talk({ agent: Front })
      yield* test.say("Go")
      expect((yield* test.outputs).at(-1)).toEqual(["who", "desk"])
    }).pipe(script([call("leave"), call("who"), "You are desk."]))
  )

  it.scoped("[L2] session.handoff takes what the agent needs from its caller; what the session has wins", () =>
    Effect.gen(function* () {
      const Billing = Agent.make("billing", {
        instructions: "I am billing.",
        tools: [who],
        onEnter: Effect.flatMap(Greeting, (greeting) => AgentSession.say(greeting))
      }).pipe(Agent.provide(whoLive))
      const { session } = yield* TestSession.make({ agent: agent("front") }).pipe(Effect.provide(named("session")))
      yield* session
        .handoff(Billing)
        .pipe(Effect.provide(Layer.merge(named("caller"), Layer.succeed(Greeting, "Hello."))))
      yield* session.run("Who?")
      expect((yield* TestSession.outputs(session))[0]?.output).toBe("session")
      expect(yield* TestSession.said(session)).toEqual(["Hello.", "So."])
    }).pipe(script([call("who"), "So."]))
  )

  it.scoped("[L2] a layer that sets a FiberRef holds in its scope, and nowhere else", () =>
    Effect.gen(function* () {
      const config = (key: string) => Layer.setConfigProvider(ConfigProvider.fromMap(new Map([["KEY", key]])))
      const read = Effect.orElseSucceed(Config.string("KEY"), () => "none")
      const Front = agent("front", { works: { own: read } }).pipe(Agent.provide(config("agent")))
      const test = yield* talk({ agent: Front, tools: [toolset("set", { shared: read })] })
      yield* test.say("Read")
      expect(yield* test.outputs).toEqual([
        ["own", "agent"],
        ["shared", "none"]
      ])
      expect(yield* read).toBe("none")
      yield* test.session.handoff(agent("back").pipe(Agent.provide(config("back"))))
      expect(yield* read).toBe("none")
    }).pipe(script([[call("own"), call("shared")], "Done."]))
  )
})

describe("provide", () => {
  it.scoped("[L2] attaches the same layer whichever comes first, and changes nothing that was there", () =>
    Effect.gen(function* () {
      const Front = Agent.make("front", { instructions: "", tools: [who] })
      const set = AsyncToolset.make("set", who)
      const Live = Layer.provide(whoLive, named("layer"))
      const all = Layer.merge(Live, named("layer"))
      const withSet = (set: AsyncToolset.AsyncToolset<never>) => Agent.make("front", { instructions: "", tools: [set] })
      for (const built of [
        Agent.provide(Front, all),
        Agent.provide(all)(Front),
        Front.pipe(Agent.provide(all)),
        withSet(AsyncToolset.provide(set, all)),
        withSet(AsyncToolset.provide(all)(set)),
        withSet(set.pipe(AsyncToolset.provide(all)))
      ]) {
        const test = yield* talk({ agent: built }).pipe(script([call("who"), "Well."]))
        yield* test.say("Who?")
        expect((yield* test.outputs).map(([, output]) => output)).toEqual(["layer"])
      }
      const bare = yield* Effect.exit(
        Effect.scoped(AgentSession.make({ agent: Front as unknown as Agent.Agent<never> }).pipe(script([])))
      )
      expect(String(bare)).toContain("has no handler")
    })
  )
})

describe("mistakes in a scope", () => {
  const dies = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    Effect.map(Effect.exit(Effect.scoped(effect)), (exit) => {
      if (Exit.isSuccess(exit)) return expect.fail("it was built")
      return exit.cause._tag === "Die" ? exit.cause.defect : expect.fail(String(exit.cause))
    })

  it.scoped("[L3] building the layer dies with a TemplateError where the compiler could not see the placeholder", () =>
    Effect.gen(function* () {
      for (const template of Object.keys(ToolPrompts.defaults) as Array<keyof ToolPrompts.Prompts>) {
        const error = yield* dies(Layer.build(ToolPrompts.layer({ [template]: "Hello {nobody}" as string } as {})))
        expect(error).toBeInstanceOf(ToolPrompts.TemplateError)
        expect(error).toMatchObject({ _tag: "TemplateError", template, placeholder: "nobody" })
        expect((error as Error).message).toContain("nobody")
      }
    })
  )

  it.scoped("[L3] placeholders belong to their template", () =>
    Effect.gen(function* () {
      const build = (prompts: {}) => dies(Layer.build(ToolPrompts.layer(prompts)))
      expect(yield* build({ inProgress: "{message}" })).toMatchObject({
        template: "inProgress",
        placeholder: "message"
      })
      expect(yield* build({ replyAtTail: "{toolName}" })).toMatchObject({ placeholder: "toolName" })
      expect(yield* build({ update: "{message} {}" })).toMatchObject({ placeholder: "" })
      expect(yield* build({ update: "{{x}} {toString}" })).toMatchObject({ placeholder: "toString" })
    })
  )

  it.scoped("[L3] an agent or toolset with a bad template fails the build, and a hand-off to it", () => {
    const log = logs()
    return Effect.gen(function* () {
      const bad = ToolPrompts.layer({ update: "{nobody}" as string })
      expect(yield* dies(AgentSession.make({ agent: agent("bad").pipe(Agent.provide(bad)) }))).toMatchObject({
        _tag: "TemplateError"
      })
      const set = toolset("set", {}).pipe(AsyncToolset.provide(bad))
      expect(yield* dies(AgentSession.make({ agent: agent("front"), tools: [set] }))).toMatchObject({
        _tag: "TemplateError"
      })
      const leave = RunContext.handoff(agent("bad").pipe(Agent.provide(bad)))
      const test = yield* talk({ agent: agent("front", { works: { leave } }) })
      yield* test.say("Go")
      expect(yield* test.agentName).toBe("front")
      expect(yield* test.ended).toEqual([["leave", "error"]])
      expect([...log.all, ...log.causes].join()).toContain("nobody")
    }).pipe(script([call("leave"), "Sorry."]), Effect.provide(log.layer))
  })

  it.scoped("[L3] options that contradict each other fail the build, which names the tool", () =>
    Effect.gen(function* () {
      for (const options of [
        { cancelOnInterruption: true },
        { onHandoff: "cancel" }
      ] as ReadonlyArray<AsyncTool.Options>) {
        const works = { odd_one: [options, Effect.void] as const }
        for (const wrong of [
          { agent: agent("front", { works }) },
          { agent: agent("front", { sets: [toolset("set", works)] }) },
          { agent: agent("front"), tools: [toolset("set", works)] }
        ]) {
          const error = yield* dies(AgentSession.make(wrong))
          expect(String(error)).toContain("odd_one")
          expect(String(error)).toContain("allowCancellation")
        }
        const right = { fine: [{ ...options, allowCancellation: true }, Effect.void] as const }
        yield* Effect.scoped(AgentSession.make({ agent: agent("front", { works: right }) }))
      }
    }).pipe(script([]))
  )

  it.scoped("[L3] annotations of an existing tool are checked in the same way", () =>
    Effect.gen(function* () {
      const tools = Toolkit.make(
        AsyncTool.make("odd_one").annotate(AsyncTool.Annotations, { cancelOnInterruption: true })
      )
      const Front = Agent.make("front", { instructions: "", tools: [tools] }).pipe(
        Agent.provide(tools.toLayer({ odd_one: () => Effect.void }))
      )
      expect(String(yield* dies(AgentSession.make({ agent: Front })))).toContain("odd_one")
    }).pipe(script([]))
  )
})
