import { type AiError, Toolkit } from "@effect/ai"
import { describe, expect } from "@effect/vitest"
import { Chunk, Clock, Deferred, Effect, Exit, Fiber, FiberRef, Layer, Option, Schema, Scope, TestClock } from "effect"
import { Agent, AgentOutput, AgentSession, AsyncTool, RunContext } from "effect-meantime"
import { ScriptedModel, TestSession, VirtualClock } from "effect-meantime/testing"
import { inVirtualTime, silent } from "./support/requests.js"
import { started, talk, toolkit } from "./support/talk.js"
import { it } from "./support/virtual.js"

const { fail, toolCall, wait } = ScriptedModel

const seconds = { seconds: Schema.Number }
const Look = AsyncTool.make("look", { parameters: seconds, success: Schema.String })
const Watch = AsyncTool.make("watch", { parameters: seconds, success: Schema.String, allowCancellation: true })
const Act = AsyncTool.make("act", { parameters: seconds, success: Schema.String, onResult: "act" })
const Quiet = AsyncTool.make("quiet", { parameters: seconds })
const Shared = AsyncTool.make("shared", { parameters: seconds, success: Schema.String, onDuplicate: "join" })
const kit = Toolkit.make(Look, Watch, Act, Quiet, Shared)
const sleep = (seconds: number) => Effect.sleep(`${seconds} seconds`)
const kitLive = kit.toLayer({
  look: ({ seconds }) => Effect.as(sleep(seconds), "seen"),
  watch: ({ seconds }) =>
    RunContext.update("watching").pipe(
      Effect.zipRight(sleep(seconds)),
      Effect.zipRight(RunContext.update("half")),
      Effect.zipRight(sleep(seconds)),
      Effect.as("watched")
    ),
  act: ({ seconds }) => Effect.zipRight(RunContext.update("acting"), Effect.as(sleep(seconds), "acted")),
  quiet: ({ seconds }) => Effect.zipRight(RunContext.update("quietly"), sleep(seconds)),
  shared: ({ seconds }) => Effect.zipRight(RunContext.update("shared"), Effect.as(sleep(seconds), "shared"))
})
const Worker = Agent.make("worker", { instructions: "You work.", tools: [kit] })

const working =
  (script: ScriptedModel.Script) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    Effect.provide(effect, [ScriptedModel.layer(script), kitLive, silent])
const requests = Effect.flatMap(ScriptedModel.ScriptedModel, (model) => model.requests)
const drive = TestSession.drive
const now = Clock.currentTimeMillis
const asleep = Effect.map(TestClock.sleeps(), Chunk.toReadonlyArray)
const texts = (items: AgentSession.RunResult["items"]) =>
  items.flatMap((item) => (item._tag === "Message" ? [`${item.role}: ${item.text}`] : []))

describe("run", () => {
  it.scoped("[R1] send gives the handle of the turn at once, before anything was said", () =>
    Effect.gen(function* () {
      const { session } = yield* TestSession.make({ agent: Worker })
      const speech = yield* session.send("Hi")
      expect(yield* speech.done).toBe(false)
      expect(yield* requests).toEqual([])
      yield* drive(speech.wait)
      expect(yield* speech.done).toBe(true)
      expect(yield* speech.items).toMatchObject([{ role: "assistant", text: "Hello." }])
    }).pipe(working([[wait("5 seconds"), "Hello."]]))
  )

  it.scoped("[R1] run waits until the turn has ended, and returns what was added and the last reply's text", () =>
    Effect.gen(function* () {
      const { session } = yield* TestSession.make({ agent: Worker })
      yield* session.run("Before").pipe(drive)
      const before = (yield* session.history).items.length
      const result = yield* session.run("Look").pipe(drive)
      expect(result.text).toBe("Seen.")
      expect(result.items).toEqual((yield* session.history).items.slice(before))
      expect(result.items.map((item) => item._tag)).toEqual([
        "Message",
        "Message",
        "FunctionCall",
        "FunctionCallOutput",
        "Message"
      ])
      expect(yield* now).toBe(3000)
    }).pipe(working(["Yes.", ["Let me look.", toolCall("look", { seconds: 3 })], "Seen."]))
  )

  it.scoped("[R1] run waits for the background calls of the turn, and for the replies to them", () =>
    Effect.gen(function* () {
      const { session } = yield* TestSession.make({ agent: Worker })
      const { items, text } = yield* session.run("Watch").pipe(drive)
      expect(text).toBe("Watched.")
      expect(texts(items)).toEqual(["user: Watch", "assistant: At it.", "assistant: Half.", "assistant: Watched."])
      expect(items).toEqual((yield* session.history).items)
      expect(yield* now).toBe(10_000)
    }).pipe(working([toolCall("watch", { seconds: 5 }), "At it.", "Half.", "Watched."]))
  )

  it.scoped("[R1] run waits for the calls that its replies started, and so on", () =>
    Effect.gen(function* () {
      const { session } = yield* TestSession.make({ agent: Worker })
      const { text } = yield* session.run("Act").pipe(drive)
      expect(text).toBe("All done.")
      expect(yield* now).toBe(12_000)
      expect((yield* TestSession.calls(session)).map((call) => call.callId)).toEqual([
        "a",
        "a_final",
        "b",
        "b_final",
        "c"
      ])
    }).pipe(
      working([
        toolCall("act", { seconds: 5 }, { id: "a" }),
        "Acting.",
        toolCall("act", { seconds: 4 }, { id: "b" }),
        "Acting more.",
        toolCall("look", { seconds: 3 }, { id: "c" }),
        "All done."
      ])
    )
  )

  it.scoped("[R1] a call that ends with nothing to say ends run, with the last text that was said", () =>
    Effect.gen(function* () {
      const { session } = yield* TestSession.make({ agent: Worker })
      const { items, text } = yield* session.run("Quiet").pipe(drive)
      expect(text).toBe("Quietly.")
      expect(items.at(-1)).toMatchObject({ _tag: "FunctionCallOutput", callId: "q_final" })
      expect(yield* now).toBe(5000)
    }).pipe(working([toolCall("quiet", { seconds: 5 }, { id: "q" }), "Quietly."]))
  )

  it.scoped("[R1, F6] a filler is among the items, and never the text of the last reply", () =>
    Effect.gen(function* () {
      const idle = Toolkit.make(AsyncTool.make("idle"))
      const filler = { say: "Still waiting.", delay: "2 seconds" } as const
      const { session } = yield* TestSession.make({
        agent: Agent.make("waiter", { instructions: "You wait.", tools: [idle] })
      }).pipe(
        Effect.provide(
          idle.toLayer({
            idle: () => Effect.zipRight(RunContext.update("idle"), RunContext.withFiller(sleep(5), filler))
          })
        )
      )
      const { items, text } = yield* session.run("Wait").pipe(drive)
      expect(texts(items)).toEqual(["user: Wait", "assistant: I wait.", "assistant: Still waiting."])
      expect(text).toBe("I wait.")
    }).pipe(working([toolCall("idle"), "I wait."]))
  )

  it.scoped("[R1] a reply that says nothing does not take the text of the one before", () =>
    Effect.gen(function* () {
      const { session } = yield* TestSession.make({ agent: Worker })
      const { text } = yield* session.run("Watch").pipe(drive)
      expect(text).toBe("At it.")
    }).pipe(working([toolCall("watch", { seconds: 5 }), "At it.", [], []]))
  )

  it.scoped("[R1] run waits while the user's turn holds a reply back", () =>
    Effect.gen(function* () {
      const { session } = yield* TestSession.make({ agent: Worker })
      const run = yield* Effect.fork(session.run("Watch"))
      yield* TestSession.settle
      yield* Effect.scoped(Effect.zipRight(session.claimUserTurn, TestSession.advance("1 minute")))
      yield* TestSession.settle
      const { text } = yield* Fiber.join(run)
      expect(text).toBe("Watched.")
      expect(yield* requests).toHaveLength(3)
    }).pipe(working([toolCall("watch", { seconds: 5 }), "At it.", "Watched."]))
  )

  it.scoped("[R1] [R3] a failing model ends run with its error, which is in the events, too; the history stays", () =>
    Effect.gen(function* () {
      const { session } = yield* TestSession.make({ agent: Worker })
      const events = yield* TestSession.collect(session)
      const error = yield* session.run("Hi").pipe(drive, Effect.flip)
      expect(error).toMatchObject({ _tag: "UnknownError", description: "overloaded" })
      expect(texts((yield* session.history).items)).toEqual(["user: Hi"])
      expect(yield* events.filter("SessionError")).toHaveLength(1)
    }).pipe(working([fail("overloaded")]))
  )

  it.scoped("[R1] a turn that another one interrupts ends its run once its calls have ended", () =>
    Effect.gen(function* () {
      const { session } = yield* TestSession.make({ agent: Worker })
      const first = yield* Effect.fork(session.run("Look"))
      yield* TestSession.advance("1 second")
      const second = yield* session.run("Stop").pipe(drive)
      expect(second.text).toBe("Stopped.")
      expect(texts(second.items)).toEqual(["user: Stop", "assistant: Stopped."])
      expect(yield* Fiber.poll(first)).toMatchObject({ _tag: "None" })
      yield* TestSession.advance("9 seconds")
      const { items, text } = yield* Fiber.join(first)
      expect(text).toBe("")
      expect(items.map((item) => item._tag)).toEqual(["Message", "FunctionCall", "FunctionCallOutput"])
    }).pipe(working([toolCall("look", { seconds: 10 }), "Stopped."]))
  )

  it.scoped("[R1] a cancelled call ends run", () =>
    Effect.gen(function* () {
      const { session } = yield* TestSession.make({ agent: Worker })
      const run = yield* Effect.fork(session.run("Watch"))
      yield* TestSession.advance("1 second")
      yield* session.cancelTool("c1")
      yield* TestSession.settle
      expect((yield* Fiber.join(run)).text).toBe("At it.")
      expect(yield* now).toBe(1000)
    }).pipe(working([toolCall("watch", { seconds: 100 }, { id: "c1" }), "At it."]))
  )

  it.scoped("[R1] a reply that was interrupted and is given again holds run until then", () =>
    Effect.gen(function* () {
      const { session } = yield* TestSession.make({ agent: Worker, onInterruptedReply: "redeliver" })
      const run = yield* Effect.fork(session.run("Act"))
      yield* TestSession.advance("6 seconds")
      yield* session.interrupt()
      yield* TestSession.settle
      const { text } = yield* Fiber.join(run)
      expect(text).toBe("Acted, I said.")
    }).pipe(working([toolCall("act", { seconds: 5 }), "Acting.", ["Act", wait("1 minute")], "Acted, I said."]))
  )

  it.scoped("[R1] updates that are dropped do not hold run for ever", () =>
    Effect.gen(function* () {
      const { session } = yield* TestSession.make({ agent: Worker, maxPendingUpdates: 1 })
      const events = yield* TestSession.collect(session)
      const run = yield* Effect.fork(session.run("Chat"))
      yield* TestSession.settle
      const { items } = yield* Fiber.join(run)
      expect(yield* events.filter("UpdateDropped")).toHaveLength(4)
      expect(items).toEqual((yield* session.history).items)
    }).pipe(
      Effect.provide([
        ScriptedModel.layer([toolCall("look", { seconds: 1 }), "At it.", "Done.", "Done."]),
        kit.toLayer({
          look: () =>
            Effect.as(
              Effect.forEach([1, 2, 3, 4, 5, 6], (i) => RunContext.update(i)),
              "seen"
            ),
          watch: () => Effect.succeed(""),
          act: () => Effect.succeed(""),
          quiet: () => Effect.void,
          shared: () => Effect.succeed("")
        })
      ])
    )
  )

  it.scoped("[R1] run can be interrupted: the conversation goes on without it", () =>
    Effect.gen(function* () {
      const { session } = yield* TestSession.make({ agent: Worker })
      const run = yield* Effect.fork(session.run("Look"))
      yield* TestSession.advance("1 second")
      yield* Fiber.interrupt(run)
      yield* TestSession.advance("1 minute")
      expect(yield* TestSession.said(session)).toEqual(["Seen."])
    }).pipe(working([toolCall("look", { seconds: 10 }), "Seen."]))
  )

  it.scoped("[R1] two runs at once each return what their own turn added", () =>
    Effect.gen(function* () {
      const { session } = yield* TestSession.make({ agent: Worker })
      const [first, second] = yield* Effect.all(
        [
          session.run("One", { allowInterruptions: false }),
          Effect.zipRight(Effect.sleep("1 second"), session.run("Two", { allowInterruptions: false }))
        ],
        { concurrency: "unbounded" }
      ).pipe(drive)
      expect(texts(first.items)).toEqual(["user: One", "assistant: First.", "assistant: Half.", "assistant: Done."])
      expect(first.text).toBe("Done.")
      expect(texts(second.items)).toEqual(["user: Two", "assistant: Second."])
    }).pipe(working([toolCall("watch", { seconds: 5 }), "First.", "Second.", "Half.", "Done."]))
  )

  it.scoped("[R1] works from a handler of the same session", () =>
    Effect.gen(function* () {
      const Nest = AsyncTool.make("nest", { success: Schema.String })
      const nest = Toolkit.make(Nest)
      const Nesting = Agent.make("nesting", { instructions: "N.", tools: [nest] }).pipe(
        Agent.provide(
          nest.toLayer({
            nest: () =>
              Effect.flatMap(RunContext.RunContext, ({ session }) =>
                Effect.zipRight(
                  RunContext.update("asking"),
                  Effect.map(Effect.orDie(session.run("Inner")), ({ text }) => text)
                )
              )
          })
        )
      )
      const { session } = yield* TestSession.make({ agent: Nesting })
      const { text } = yield* session.run("Outer").pipe(drive)
      expect(text).toBe("Told.")
      expect(yield* TestSession.outputs(session)).toMatchObject([
        { callId: "n" },
        { callId: "n_final", output: "Inside." }
      ])
    }).pipe(
      working((request) => {
        const results = ScriptedModel.toolResults(request)
        if (results.some((part) => part.id === "n_final")) return "Told."
        if (ScriptedModel.userTexts(request).includes("Inner")) return "Inside."
        return results.length === 0 ? toolCall("nest", {}, { id: "n" }) : "Asking."
      })
    )
  )
})

describe("run and a hand-off", () => {
  const support = (
    onEnter: Effect.Effect<
      unknown,
      AgentSession.SessionClosed,
      AgentSession.AgentSession
    > = AgentSession.generateReply()
  ) => Agent.make("support", { instructions: "You support.", onEnter })
  const tags = ({ items }: AgentSession.RunResult) =>
    items.map((item) =>
      item._tag === "Message" ? item.text : item._tag === "AgentHandoff" ? `-> ${item.to}` : item._tag
    )
  const called = ["FunctionCall", "FunctionCallOutput"]
  /** hands over and says nothing of it */
  const leave = (to: Agent.Agent<never>) => ({ leave: () => RunContext.handoff(to) })
  /** in the background, at the end of two seconds */
  const later = (to: Agent.Agent<never>) => ({
    leave: () =>
      RunContext.update("wait").pipe(
        Effect.zipRight(Effect.sleep("2 seconds")),
        Effect.zipRight(RunContext.handoff(to))
      )
  })
  const pace = "instant"

  it.scoped(
    "[R1, S4] the hand-off that the turn asked for is part of it, and so is what the new agent begins with",
    () =>
      Effect.gen(function* () {
        const { session } = yield* talk({
          script: [toolCall("leave"), [wait("3 seconds"), "Support here."]],
          tools: leave(support()),
          pace
        })
        const result = yield* drive(session.run("I want to complain"))
        expect(tags(result)).toEqual(["I want to complain", ...called, "-> support", "Support here."])
        expect(result.text).toBe("Support here.")
        expect(result.items).toEqual((yield* session.history).items)
        expect(yield* now).toBe(3000)
      })
  )

  it.scoped("[R1, S4] a text that onEnter says is a reply like others", () =>
    Effect.gen(function* () {
      const { session } = yield* talk({
        script: [toolCall("leave")],
        tools: leave(support(AgentSession.say("Support here."))),
        pace
      })
      expect((yield* drive(session.run("I want to complain"))).text).toBe("Support here.")
    })
  )

  it.scoped("[R1, S4] run waits for the calls that the new agent begins with, and for their replies", () =>
    Effect.gen(function* () {
      const own = toolkit({ look: () => Effect.as(Effect.zipRight(RunContext.update("l"), sleep(5)), "found") })
      const to = Agent.make("support", {
        instructions: "You support.",
        tools: [own.kit],
        onEnter: AgentSession.generateReply()
      })
      const { session } = yield* talk({
        script: [toolCall("leave"), toolCall("look"), "I look.", "Found it."],
        tools: leave(to as unknown as Agent.Agent<never>),
        layer: own.layer,
        pace
      })
      const result = yield* drive(session.run("I want to complain"))
      expect(result.text).toBe("Found it.")
      expect(yield* now).toBe(5000)
    })
  )

  it.scoped("[R1, S4] an onEnter that goes on for ever does not hold it, nor what that asks for later", () =>
    Effect.gen(function* () {
      const onEnter = AgentSession.generateReply().pipe(
        Effect.zipRight(Effect.sleep("1 minute")),
        Effect.zipRight(AgentSession.generateReply()),
        Effect.zipRight(Effect.never)
      )
      const { lines, session } = yield* talk({
        script: [toolCall("leave"), "Support here.", "Still there?"],
        tools: leave(support(onEnter)),
        pace
      })
      const result = yield* drive(session.run("I want to complain"))
      expect(result.text).toBe("Support here.")
      expect(yield* now).toBe(0)
      yield* TestSession.advance("1 minute")
      expect((yield* lines).at(-1)).toBe("assistant: Still there?")
      expect(tags(result).at(-1)).toBe("Support here.")
    })
  )

  it.scoped("[R1, S4] without onEnter, and where it fails, the hand-off is there and run ends", () =>
    Effect.gen(function* () {
      for (const onEnter of [undefined, Effect.die(new Error("broken"))]) {
        const to = Agent.make("support", { instructions: "You support.", onEnter })
        const { session } = yield* talk({
          script: [toolCall("leave")],
          tools: leave(to),
          pace,
          logs: [/onEnter of support failed/]
        })
        expect(tags(yield* drive(session.run("Go")))).toEqual(["Go", ...called, "-> support"])
      }
    })
  )

  it.scoped("[R1, S4] what the old agent says as it leaves is among the items", () =>
    Effect.gen(function* () {
      const own = toolkit(leave(support()))
      const agent = Agent.make("front", {
        instructions: "You greet.",
        tools: [own.kit],
        onExit: Effect.flatMap(AgentSession.say("One moment."), (speech) => Effect.orDie(speech.wait)).pipe(
          Effect.zipRight(AgentSession.say("Bye."))
        )
      })
      const { session } = yield* talk({
        script: [toolCall("leave"), "Support here."],
        agent,
        layer: own.layer,
        pace
      })
      const result = yield* drive(session.run("Go"))
      expect(tags(result)).toEqual(["Go", ...called, "One moment.", "Bye.", "-> support", "Support here."])
    })
  )

  it.scoped("[R1, S4] after an update, where the call has nothing to say", () =>
    Effect.gen(function* () {
      const { session } = yield* talk({
        script: [toolCall("leave"), "Wait.", [wait("3 seconds"), "Support here."]],
        tools: later(support()),
        pace
      })
      const result = yield* drive(session.run("Go"))
      expect(tags(result)).toEqual(["Go", ...called, "Wait.", "-> support", ...called, "Support here."])
      expect(result.text).toBe("Support here.")
      expect(yield* now).toBe(5000)
    })
  )

  it.scoped("[R1, S4] after an update, run waits while the user's turn holds the hand-off up", () =>
    Effect.gen(function* () {
      const { session } = yield* talk({
        script: [toolCall("leave"), "Wait.", "Support here."],
        tools: later(support()),
        pace
      })
      const run = yield* Effect.fork(session.run("Go"))
      yield* TestSession.settle
      yield* Effect.scoped(Effect.zipRight(session.claimUserTurn, TestSession.advance("10 seconds")))
      yield* TestSession.settle
      expect(tags(yield* Fiber.join(run)).slice(-2)).toEqual(["-> support", "Support here."])
      expect(yield* now).toBe(10_000)
    })
  )

  it.scoped("[R1, R2] a turn beside it is not held by the hand-off of another", () =>
    Effect.gen(function* () {
      const { session } = yield* talk({
        script: [toolCall("leave"), "Wait.", [wait("1 second"), "Sure."], [wait("5 seconds"), "Support here."]],
        tools: later(support()),
        pace
      })
      const first = yield* Effect.fork(session.run("Go"))
      yield* TestSession.advance("1 second")
      const second = yield* drive(session.run("Well?"))
      expect(tags(second)).toEqual(["Well?", "Sure."])
      expect((yield* drive(Fiber.join(first))).text).toBe("Support here.")
    })
  )

  it.scoped("[R1, S4] an onEnter that hands over at once: the last agent's greeting is the text", () =>
    Effect.gen(function* () {
      const desk = support(Effect.flatMap(AgentSession.AgentSession, (session) => session.handoff(support())))
      const { session } = yield* talk({
        script: [toolCall("leave"), "Support here."],
        tools: leave(desk),
        pace
      })
      const result = yield* drive(session.run("Go"))
      expect(tags(result)).toEqual(["Go", ...called, "-> support", "-> support", "Support here."])
    })
  )

  it.scoped("[R1, S4] where the new agent cannot be built, or the turn is cut, run ends all the same", () =>
    Effect.gen(function* () {
      const broken = support().pipe(Agent.provide(Layer.effectDiscard(Effect.die(new Error("broken")))))
      const failing = yield* talk({
        script: [toolCall("leave"), "Sorry."],
        tools: leave(broken),
        pace,
        logs: [/could not be built/, /is not available/]
      })
      expect((yield* drive(failing.session.run("Go"))).text).toBe("Sorry.")
      const { session } = yield* talk({
        script: [toolCall("leave"), "Support here."],
        tools: { leave: () => Effect.zipLeft(RunContext.handoff(support()), sleep(5)) },
        pace
      })
      const run = yield* Effect.fork(session.run("Go"))
      yield* TestSession.advance("1 second")
      yield* session.interrupt()
      expect(tags(yield* drive(Fiber.join(run)))).toEqual(["Go", ...called, "-> support", "Support here."])
    })
  )

  it.scoped("[R1, S2] fails with SessionClosed where the session closes before the hand-off", () =>
    Effect.gen(function* () {
      const { close, session } = yield* talk({
        script: [toolCall("leave"), "Wait."],
        tools: later(support()),
        pace
      })
      yield* session.claimUserTurn
      const run = yield* started(session.run("Go"))
      yield* TestSession.advance("5 seconds")
      expect(yield* run).toBe("pending")
      yield* close
      expect(yield* run).toBe("SessionClosed")
    })
  )

  it.scoped("[R1, S7] a task that a call of the turn runs: both hand-offs and what was said are among the items", () =>
    Effect.gen(function* () {
      const ask = Agent.task("ask", {
        instructions: "Ask.",
        result: Schema.Struct({ city: Schema.String }),
        onEnter: AgentSession.generateReply()
      })
      const { session } = yield* talk({
        script: [toolCall("book"), [wait("2 seconds"), toolCall("complete", { city: "Oslo" })], "Booked."],
        tools: { book: () => Effect.map(RunContext.foreground(RunContext.runTask(ask)), ({ city }) => city) },
        pace
      })
      const result = yield* drive(session.run("Book"))
      expect(tags(result)).toEqual([
        "Book",
        "FunctionCall",
        "-> ask",
        ...called,
        "-> helper",
        "FunctionCallOutput",
        "Booked."
      ])
      expect(result.items).toEqual((yield* session.history).items)
      expect(result.text).toBe("Booked.")
    })
  )

  it.effect("[R1, S4] whichever order fibers run in, the greeting belongs to the run", () =>
    Effect.forEach(
      Array.from({ length: 20 }, (_, seed) => seed),
      (seed) =>
        Effect.gen(function* () {
          const { session } = yield* talk({
            script: [toolCall("leave"), "Support here."],
            tools: leave(support()),
            pace
          })
          expect((yield* session.run("Go")).text).toBe("Support here.")
        }).pipe(Effect.scoped, Effect.provide(VirtualClock.layer({ seed }))),
      { discard: true }
    )
  )
})

describe("a later turn", () => {
  it.scoped("[R2] is not held open by a background call of an earlier one", () =>
    Effect.gen(function* () {
      const { session } = yield* TestSession.make({ agent: Worker })
      const first = yield* Effect.fork(session.run("Watch"))
      yield* TestSession.settle
      const { items, text } = yield* session.run("Hello").pipe(drive)
      expect(text).toBe("Hello yourself.")
      expect(items).toHaveLength(2)
      expect(yield* now).toBe(0)
      expect(yield* Fiber.poll(first)).toMatchObject({ _tag: "None" })
      expect(yield* session.runningTools).toHaveLength(1)
      yield* TestSession.advance("2 hours")
      expect((yield* Fiber.join(first)).text).toBe("Watched.")
    }).pipe(working([toolCall("watch", { seconds: 3600 }), "At it.", "Hello yourself.", "Half.", "Watched."]))
  )

  it.scoped("[R2] is not held open by an inline call that an interrupted turn left behind", () =>
    Effect.gen(function* () {
      const { session } = yield* TestSession.make({ agent: Worker })
      yield* session.send("Look")
      yield* TestSession.settle
      expect((yield* session.run("Hello").pipe(drive)).text).toBe("Hello yourself.")
      expect(yield* now).toBe(0)
    }).pipe(working([toolCall("look", { seconds: 3600 }), "Hello yourself."]))
  )

  it.scoped("[R2] that speaks while an earlier call reports ends with its own reply", () =>
    Effect.gen(function* () {
      const { session } = yield* TestSession.make({ agent: Worker })
      yield* session.send("Watch")
      yield* TestSession.advance("4 seconds")
      const { items, text } = yield* session.run("Tell me a long story").pipe(drive)
      expect(text).toBe("Once upon a time.")
      expect(texts(items)).toEqual(["user: Tell me a long story", "assistant: Once upon a time."])
      expect(items).toHaveLength(2)
    }).pipe(
      working([
        toolCall("watch", { seconds: 5 }),
        "At it.",
        [wait("3 seconds"), "Once upon a time."],
        "Half.",
        "Watched."
      ])
    )
  )

  it.scoped("[R2] waits for a call that it shares with an earlier turn, since that one is its own, too", () =>
    Effect.gen(function* () {
      const { session } = yield* TestSession.make({ agent: Worker })
      yield* session.send("Share")
      yield* TestSession.advance("1 second")
      const { items } = yield* session.run("Share again").pipe(drive)
      expect(items.flatMap((item) => (item._tag === "FunctionCallOutput" ? [item.callId] : []))).toEqual([
        "b",
        "b_final"
      ])
      expect(yield* now).toBe(10_000)
    }).pipe(
      working([
        toolCall("shared", { seconds: 10 }, { id: "a" }),
        "Sharing.",
        toolCall("shared", { seconds: 10 }, { id: "b" }),
        "Sharing still.",
        "Shared."
      ])
    )
  )
})

describe("a session that closes", () => {
  const methods: ReadonlyArray<
    readonly [
      string,
      (session: AgentSession.Service) => Effect.Effect<unknown, AgentSession.SessionClosed | AiError.AiError>
    ]
  > = [
    ["send", (session) => session.send("Hi")],
    ["run", (session) => session.run("Hi")],
    ["say", (session) => session.say("Hi")],
    ["generateReply", (session) => session.generateReply()],
    ["handoff", (session) => session.handoff(Agent.make("other", { instructions: "O." }))],
    ["waitForIdle", (session) => session.waitForIdle]
  ]

  for (const [name, method] of methods) {
    it.scoped(`fails with SessionClosed while it closes and afterwards: ${name}`, () =>
      Effect.gen(function* () {
        const { close, session } = yield* TestSession.make({ agent: Worker })
        yield* session.send("Look")
        yield* TestSession.settle
        const closing = yield* Effect.fork(close)
        const during = yield* Effect.fork(Effect.flip(Effect.zipRight(Effect.sleep("1 second"), method(session))))
        yield* Fiber.join(closing)
        expect(yield* Fiber.join(during)).toBeInstanceOf(AgentSession.SessionClosed)
        expect(yield* now).toBe(5000)
        const error = yield* Effect.flip(method(session))
        expect(error).toBeInstanceOf(AgentSession.SessionClosed)
        expect(error.message).toContain("closed")
        expect(yield* TestSession.heard(session)).toEqual(["Look"])
      }).pipe(working([toolCall("look", { seconds: 5 })]))
    )
  }

  it.scoped("[R1] fails a run that is under way with SessionClosed, and keeps what was said", () =>
    Effect.gen(function* () {
      const { close, session } = yield* TestSession.make({ agent: Worker })
      const run = yield* Effect.fork(session.run("Watch"))
      const idle = yield* Effect.fork(session.waitForIdle)
      yield* TestSession.settle
      yield* close
      expect(yield* Effect.flip(Fiber.join(run))).toBeInstanceOf(AgentSession.SessionClosed)
      expect(Exit.isSuccess(yield* Fiber.await(idle))).toBe(true)
      expect(yield* TestSession.said(session)).toEqual(["At it."])
      expect(yield* session.runningTools).toEqual([])
      expect(yield* Effect.flip(session.cancelTool("c1"))).toMatchObject({ _tag: "ToolError" })
      yield* session.interrupt()
    }).pipe(working([toolCall("watch", { seconds: 100 }, { id: "c1" }), "At it."]))
  )

  const cutOff = {
    "while the model thinks": [ScriptedModel.never],
    "while it speaks": [["one two three ", ScriptedModel.never]],
    "while a reply to its call is on the way": [toolCall("watch", { seconds: 1 }), "At it.", ScriptedModel.never]
  }
  for (const [when, script] of Object.entries(cutOff)) {
    it.scoped(`[R1] fails a run whose turn closing cuts off, too: ${when}`, () =>
      Effect.gen(function* () {
        const { close, session } = yield* TestSession.make({ agent: Worker })
        const run = yield* Effect.fork(session.run("Watch"))
        yield* TestSession.advance("2 seconds")
        expect(yield* Fiber.poll(run)).toEqual(Option.none())
        yield* close
        expect(yield* Fiber.await(run)).toEqual(Exit.fail(new AgentSession.SessionClosed()))
      }).pipe(working(script))
    )
  }

  it.scoped("[S2] leaves nothing that it was made with to who closes it", () =>
    Effect.gen(function* () {
      const slow = Layer.scopedDiscard(Effect.addFinalizer(() => Effect.sleep("1 second")))
      const scope = yield* Scope.make()
      yield* Scope.extend(
        AgentSession.make({ agent: Agent.make("slow", { instructions: "" }).pipe(Agent.provide(slow)) }),
        scope
      )
      const scheduler = yield* FiberRef.get(FiberRef.currentScheduler)
      const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
      yield* TestSession.advance("2 seconds")
      yield* Fiber.join(closing)
      expect(yield* FiberRef.get(FiberRef.currentScheduler)).toBe(scheduler)
    }).pipe(working([]))
  )

  it.scoped("a handler that calls the session while it closes gets the typed failure", () =>
    Effect.gen(function* () {
      const seen = yield* Deferred.make<unknown>()
      yield* Effect.gen(function* () {
        const { close, session } = yield* TestSession.make({ agent: Worker })
        yield* session.send("Look")
        yield* TestSession.settle
        yield* close
        expect(yield* Deferred.await(seen)).toBeInstanceOf(AgentSession.SessionClosed)
        expect(yield* TestSession.outputs(session)).toMatchObject([{ callId: "c1", output: "after all" }])
      }).pipe(
        Effect.scoped,
        Effect.provide([
          ScriptedModel.layer([toolCall("look", { seconds: 1 }, { id: "c1" })]),
          kit.toLayer({
            look: () =>
              Effect.gen(function* () {
                yield* sleep(5)
                const { session } = yield* RunContext.RunContext
                yield* Deferred.succeed(seen, yield* Effect.flip(session.send("Hi")))
                return "after all"
              }).pipe(Effect.orDie),
            watch: () => Effect.succeed(""),
            act: () => Effect.succeed(""),
            quiet: () => Effect.void,
            shared: () => Effect.succeed("")
          }),
          silent
        ])
      )
    })
  )
})

describe("time", () => {
  const Never = AsyncTool.make("never", { parameters: { after: Schema.Boolean }, onDuplicate: "allow" })
  const endless = Toolkit.make(Never)
  const endlessLive = endless.toLayer({
    never: ({ after }) => Effect.zipRight(after ? RunContext.update("never") : Effect.void, Effect.never)
  })
  const Patient = Agent.make("patient", { instructions: "P.", tools: [endless], maxConcurrency: 3 })
  const stuck = [
    [toolCall("never", { after: true }), toolCall("never", { after: true })],
    "Started.",
    [toolCall("never", { after: false }), toolCall("never", { after: false })],
    ["Speaking", ScriptedModel.never],
    ScriptedModel.never
  ]

  it.scoped("[K1] calls and speeches that set no time limit start no timer", () =>
    Effect.gen(function* () {
      expect(yield* asleep).toEqual([])
      const { session } = yield* TestSession.make({ agent: Patient, drainTimeout: 0, cancellationTimeout: 0 })
      yield* session.send("In the background")
      yield* TestSession.settle
      expect(yield* session.runningTools).toHaveLength(2)
      expect(yield* asleep).toEqual([])
      yield* session.send("Inline")
      yield* TestSession.settle
      expect(yield* session.runningTools).toHaveLength(4)
      expect(yield* asleep).toEqual([])
      yield* session.send("Speak")
      yield* session.say("And this.")
      yield* Effect.fork(session.waitForIdle)
      yield* Effect.fork(Effect.exit(session.run("Think", { allowInterruptions: false })))
      yield* TestSession.settle
      expect(yield* asleep).toEqual([])
    }).pipe(Effect.provide([ScriptedModel.layer(stuck), endlessLive, silent]))
  )

  it.scoped("[K1] a limit of Infinity is none", () =>
    Effect.gen(function* () {
      const Slow = AsyncTool.make("slow", { timeout: Number.POSITIVE_INFINITY, releaseAfter: Number.POSITIVE_INFINITY })
      const slow = Toolkit.make(Slow)
      const agent = Agent.make("a", { instructions: "A.", tools: [slow] }).pipe(
        Agent.provide(slow.toLayer({ slow: () => Effect.never }))
      )
      const { session } = yield* TestSession.make({
        agent,
        releaseAfter: Number.POSITIVE_INFINITY,
        drainTimeout: 0,
        cancellationTimeout: "1 second"
      })
      yield* session.send("Hi")
      yield* TestSession.settle
      expect(yield* session.runningTools).toHaveLength(1)
      expect(yield* asleep).toEqual([])
    }).pipe(Effect.provide([ScriptedModel.layer([toolCall("slow")]), silent]))
  )

  it.scoped("[K1] limits that are set are timers on the Clock, and none is left when the call has ended", () =>
    inVirtualTime((time) =>
      Effect.gen(function* () {
        const Limited = AsyncTool.make("limited", {
          success: Schema.String,
          timeout: "1 hour",
          releaseAfter: "10 minutes"
        })
        const limited = Toolkit.make(Limited)
        const gate = yield* Deferred.make<string>()
        const agent = Agent.make("a", { instructions: "A.", tools: [limited] }).pipe(
          Agent.provide(limited.toLayer({ limited: () => Deferred.await(gate) }))
        )
        const { session } = yield* TestSession.make({ agent })
        yield* session.send("Hi")
        yield* time.settle
        expect(yield* time.asleep).toEqual([600_000, 3_600_000])
        yield* time.advance(660_000)
        expect(yield* time.asleep).toEqual([3_600_000])
        yield* Deferred.succeed(gate, "done")
        yield* time.settle
        expect(yield* TestSession.outputs(session)).toMatchObject([
          { callId: "c1" },
          { callId: "c1_final", output: "done" }
        ])
        expect(yield* time.asleep).toEqual([])
      })
    ).pipe(Effect.provide([ScriptedModel.layer([toolCall("limited", {}, { id: "c1" }), "At it.", "Done."]), silent]))
  )

  it.scoped("[K1] closing leaves no timer behind", () =>
    inVirtualTime((time) =>
      Effect.gen(function* () {
        const { close, session } = yield* TestSession.make({ agent: Worker })
        yield* session.send("Look")
        yield* time.settle
        yield* close
        expect(yield* now).toBe(5000)
        expect(yield* time.asleep).toEqual([])
      })
    ).pipe(working([toolCall("look", { seconds: 5 })]))
  )

  it.scoped("[K1] spoken text takes virtual time only", () =>
    Effect.gen(function* () {
      const { session } = yield* TestSession.make({ agent: Agent.make("a", { instructions: "A." }) })
      yield* session.run("Hi").pipe(drive)
      expect(yield* now).toBe(60_000)
      expect(yield* asleep).toEqual([])
    }).pipe(
      Effect.provide([
        ScriptedModel.layer(["x".repeat(60)]),
        AgentOutput.layerPaced({ charactersPerSecond: 1 }) as Layer.Layer<never>
      ])
    )
  )
})
