import { describe, expect } from "@effect/vitest"
import { Effect, Either, Exit, Fiber, Layer, Option, Stream } from "effect"
import { Agent, AgentOutput, AgentSession, AsyncTool, RunContext } from "effect-meantime"
import { ScriptedModel, TestSession } from "effect-meantime/testing"
import { agent, call, logs, notes, script, talk, task, toolset } from "./support/scopes.js"
import { it } from "./support/virtual.js"

const { runTask } = RunContext
const Back = agent("back")
const handoff = RunContext.handoff(Back)
/** leaves the turn at once and hands over at the end of `after` */
const later = (after: Effect.Effect<unknown>, to = Back) =>
  RunContext.update("Wait.").pipe(Effect.zipRight(after), Effect.zipRight(RunContext.handoff(to)))

describe("an agent's end by a hand-off", () => {
  it.scoped("[S1] a tool on an agent ends with the agent, one of a toolset on an agent too", () =>
    Effect.gen(function* () {
      const { all, note } = notes()
      const busy = (name: string) =>
        RunContext.update("On it.").pipe(
          Effect.zipRight(Effect.never),
          Effect.onInterrupt(() => note(name))
        )
      const Front = agent("front", {
        works: { own: [{ allowCancellation: true }, busy("own")] },
        sets: [toolset("set", { inset: [{ allowCancellation: true }, busy("inset")] })]
      })
      const test = yield* talk({ agent: Front })
      yield* test.say("Work")
      expect(yield* test.running).toEqual(["own", "inset"])
      yield* test.session.handoff(Back)
      yield* TestSession.settle
      expect(all.toSorted()).toEqual(["inset", "own"])
      expect(yield* test.running).toEqual([])
    }).pipe(script([[call("own"), call("inset")], "Working."]))
  )

  it.scoped("[S1] a toolset on the session survives a hand-off, and the new agent voices what it ends with", () =>
    Effect.gen(function* () {
      const set = toolset("set", {
        slow: [
          { allowCancellation: true },
          RunContext.update("On it.").pipe(
            Effect.delay(0),
            Effect.zipRight(Effect.as(Effect.sleep("1 minute"), "found"))
          )
        ]
      })
      const test = yield* talk({ agent: agent("front"), tools: [set] })
      yield* test.say("Work")
      yield* test.session.handoff(Back)
      yield* TestSession.settle
      expect(yield* test.running).toEqual(["slow"])
      yield* TestSession.advance("1 minute")
      expect(yield* test.said).toEqual(["Working.", "Found."])
      expect(yield* test.asked).toEqual(["front", "front", "back"])
      expect(yield* test.replies).toEqual([["completed", "slow_final"]])
    }).pipe(script([[call("slow")], "Working.", "Found."]))
  )

  it.scoped("[S2b] cancellable calls are interrupted; the model is told that they ended", () =>
    Effect.gen(function* () {
      const { all, note } = notes()
      const Front = agent("front", {
        works: {
          slow: [
            { allowCancellation: true },
            RunContext.update("On it.").pipe(
              Effect.zipRight(Effect.never),
              Effect.onInterrupt(() => Effect.zipRight(Effect.sleep("2 seconds"), note("cleaned")))
            )
          ]
        }
      })
      const test = yield* talk({ agent: Front })
      yield* test.say("Work")
      yield* test.session.handoff(Back)
      yield* TestSession.settle
      expect(yield* test.agentName).toBe("back")
      expect(yield* test.ended).toEqual([])
      yield* TestSession.advance("2 seconds")
      expect(all).toEqual(["cleaned"])
      expect(yield* test.ended).toEqual([["slow", "cancelled"]])
      expect((yield* test.outputs).at(-1)).toEqual(["slow_final", expect.stringContaining("stopped")])
      expect(yield* test.said).toEqual(["Working."])
      yield* test.say("And?")
      expect(yield* test.transcript).toContain("result slow_final")
    }).pipe(script([[call("slow")], "Working.", "It was stopped."]))
  )

  it.scoped("[S2b] other calls run to their end without holding up the talk, with no reply of their own", () =>
    Effect.gen(function* () {
      const { all, layer, note } = notes()
      const Front = agent("front", {
        works: {
          slow: Effect.gen(function* () {
            yield* RunContext.update("On it.")
            yield* Effect.sleep("1 minute")
            yield* RunContext.update("Half.")
            yield* Effect.sleep("1 minute")
            yield* note("done")
            return "found"
          })
        }
      }).pipe(Agent.provide(layer("res")))
      const test = yield* talk({ agent: Front })
      yield* test.say("Work")
      yield* test.session.handoff(Back)
      yield* TestSession.settle
      expect(yield* test.agentName).toBe("back")
      yield* test.say("Hello?")
      expect(yield* test.said).toEqual(["Working.", "Here."])
      yield* TestSession.advance("2 minutes")
      expect(all).toEqual(["+res", "done", "-res"])
      expect(yield* test.ended).toEqual([["slow", "done"]])
      expect((yield* test.outputs).map(([id]) => id)).toEqual(["slow", "slow_update_1", "slow_final"])
      expect(yield* test.said).toEqual(["Working.", "Here."])
      expect(yield* test.replies).toEqual([
        ["dropped", "slow_update_1"],
        ["dropped", "slow_final"]
      ])
      yield* test.say("And?")
      expect(yield* test.transcript).toContain(`result slow_final: "found"`)
    }).pipe(script([[call("slow")], "Working.", "Here.", "Found."]))
  )

  it.scoped("[S2b] a call that was committed runs to its end too", () =>
    Effect.gen(function* () {
      const Front = agent("front", {
        works: {
          pay: [
            { allowCancellation: true },
            Effect.zipRight(
              RunContext.update("Paying."),
              RunContext.commit(Effect.as(Effect.sleep("1 minute"), "paid"))
            )
          ]
        }
      })
      const test = yield* talk({ agent: Front })
      yield* test.say("Pay")
      yield* test.session.handoff(Back)
      yield* TestSession.advance("1 minute")
      expect(yield* test.ended).toEqual([["pay", "done"]])
      expect((yield* test.outputs).at(-1)).toEqual(["pay_final", "paid"])
    }).pipe(script([[call("pay")], "Paying."]))
  )

  it.scoped("[S2b] a call that waits in a queue of the agent still runs, where it may not be cancelled", () =>
    Effect.gen(function* () {
      const slow = Effect.zipRight(RunContext.update("On it."), Effect.as(Effect.sleep("1 minute"), "found"))
      const Front = agent("front", { works: { slow: [{ releaseAfter: 0 }, slow] }, maxConcurrency: 1 })
      const test = yield* talk({ agent: Front })
      yield* test.say("Work")
      yield* test.session.handoff(Back)
      yield* TestSession.settle
      expect(yield* test.agentName).toBe("back")
      yield* TestSession.advance("2 minutes")
      expect(yield* test.ended).toEqual([
        ["a", "done"],
        ["b", "done"]
      ])
    }).pipe(script([[call("slow", {}, "a"), call("slow", {}, "b")], "Working."]))
  )

  it.scoped("[S2b] the agent's resources stay until the last of its calls has ended", () =>
    Effect.gen(function* () {
      const { all, layer } = notes()
      const sleeping = (minutes: number) =>
        Effect.zipRight(RunContext.update("On it."), Effect.sleep(`${minutes} minutes`))
      const Front = agent("front", { works: { one: sleeping(1), two: sleeping(2) } }).pipe(Agent.provide(layer("res")))
      const test = yield* talk({ agent: Front })
      yield* test.say("Work")
      yield* test.session.handoff(Back)
      yield* TestSession.advance("1 minute")
      expect(all).toEqual(["+res"])
      yield* TestSession.advance("1 minute")
      expect(all).toEqual(["+res", "-res"])
    }).pipe(script([[call("one"), call("two")], "Working."]))
  )

  it.scoped("[S2b] what an ended agent's call ends with is shown to an agent that starts with an empty context", () =>
    Effect.gen(function* () {
      const Front = agent("front", {
        works: { slow: Effect.zipRight(RunContext.update("On it."), Effect.as(Effect.sleep("1 minute"), "found")) }
      })
      const test = yield* talk({ agent: Front })
      yield* test.say("Work")
      yield* test.session.handoff(agent("clean", { context: "empty" }))
      yield* TestSession.advance("1 minute")
      yield* test.say("And?")
      expect((yield* test.transcript).split("\n")).toEqual([
        "system: I am clean.",
        "call slow_final: slow({})",
        `result slow_final: "found"`,
        "user: And?"
      ])
    }).pipe(script([[call("slow")], "Working.", "Found."]))
  )

  it.scoped("[S2c] onHandoff: await lets a cancellable call run to its end", () =>
    Effect.gen(function* () {
      const slow = Effect.zipRight(RunContext.update("On it."), Effect.as(Effect.sleep("1 minute"), "found"))
      const Front = agent("front", { works: { slow: [{ allowCancellation: true, onHandoff: "await" }, slow] } })
      const test = yield* talk({ agent: Front })
      yield* test.say("Work")
      yield* test.session.handoff(Back)
      yield* TestSession.advance("1 minute")
      expect(yield* test.ended).toEqual([["slow", "done"]])
      expect(yield* test.replies).toEqual([["dropped", "slow_final"]])
    }).pipe(script([[call("slow")], "Working."]))
  )

  it.scoped("[S2c] onHandoff: promote moves the call to the session, with its agent's scope kept open for it", () =>
    Effect.gen(function* () {
      const { all, layer, note } = notes()
      const slow = Effect.gen(function* () {
        yield* RunContext.update("On it.")
        yield* Effect.sleep("1 minute")
        yield* note("used")
        return "found"
      })
      const Front = agent("front", {
        works: { slow: [{ allowCancellation: true, onHandoff: "promote" }, slow] }
      }).pipe(Agent.provide(layer("res")))
      const test = yield* talk({ agent: Front })
      yield* test.say("Work")
      yield* test.session.handoff(Back)
      yield* TestSession.settle
      yield* test.session.handoff(agent("third"))
      yield* TestSession.settle
      expect(yield* test.running).toEqual(["slow"])
      yield* TestSession.advance("1 minute")
      expect(all).toEqual(["+res", "used", "-res"])
      expect(yield* test.said).toEqual(["Working.", "Found."])
      expect(yield* test.asked).toEqual(["front", "front", "third"])
      expect(yield* test.replies).toEqual([["completed", "slow_final"]])
    }).pipe(script([[call("slow")], "Working.", "Found."]))
  )

  it.scoped("[S2c] a promoted inline call leaves the turn, and can still be cancelled", () =>
    Effect.gen(function* () {
      const slow = Effect.as(Effect.sleep("1 minute"), "found")
      const Front = agent("front", { works: { slow: [{ allowCancellation: true, onHandoff: "promote" }, slow] } })
      const test = yield* talk({ agent: Front })
      yield* test.say("Work")
      yield* test.session.handoff(Back)
      yield* TestSession.settle
      expect(yield* test.said).toEqual(["Two at work."])
      expect(yield* test.running).toEqual(["a", "b"])
      yield* test.session.cancelTool("a")
      yield* TestSession.advance("1 minute")
      expect(yield* test.ended).toEqual([
        ["a", "cancelled"],
        ["b", "done"]
      ])
      expect(yield* test.said).toEqual(["Two at work.", "Found."])
      expect(yield* test.asked).toEqual(["front", "back", "back"])
    }).pipe(script([[call("slow", {}, "a"), call("slow", {}, "b")], "Two at work.", "Found."]))
  )

  const search = (mode: "reject" | "join", ran: Array<string>) =>
    toolset("search", {
      find: [
        { onDuplicate: mode, onHandoff: mode === "reject" ? "promote" : "await" },
        Effect.gen(function* () {
          yield* RunContext.update("Searching.")
          yield* Effect.sleep("10 seconds")
          ran.push(mode)
          return "found"
        })
      ]
    })

  it.scoped("[S2c, T2] what a promoted call has reported goes on with it, though it was held for another call", () =>
    Effect.gen(function* () {
      const test = yield* talk({
        agent: agent("front", {
          works: {
            slow: [{ onHandoff: "await" }, Effect.as(Effect.sleep("1 hour"), "slow")],
            watch: [
              { onHandoff: "promote" },
              RunContext.update("Watching.").pipe(
                Effect.zipRight(RunContext.update("Seen one.")),
                Effect.zipRight(Effect.sleep("1 hour")),
                Effect.as("seen all")
              )
            ]
          }
        })
      })
      yield* test.say("Go")
      yield* test.session.handoff(agent("back"))
      yield* TestSession.settle
      expect(yield* test.replies).toEqual([["completed", "watch_update_1"]])
      expect(yield* test.said).toEqual(["I am new here.", "One was seen."])
    }).pipe(script([[call("slow"), call("watch")], "I am new here.", "One was seen."]))
  )

  it.scoped("[S2c, T12] so it does where that other call is cancelled before it began", () =>
    Effect.gen(function* () {
      const one = toolset(
        "one",
        {
          busy: [{ onHandoff: "await" }, Effect.zipRight(RunContext.update("Busy."), Effect.sleep("1 hour"))],
          queued: [{ allowCancellation: true }, Effect.sleep("1 hour")]
        },
        { maxConcurrency: 1 }
      )
      const watch = RunContext.update("Watching.").pipe(
        Effect.zipRight(RunContext.update("Seen one.")),
        Effect.zipRight(Effect.sleep("1 hour"))
      )
      const test = yield* talk({
        agent: agent("front", { sets: [one], works: { watch: [{ onHandoff: "promote" }, watch] } })
      })
      yield* test.say("Go")
      yield* test.session.handoff(agent("back"))
      yield* TestSession.settle
      expect(yield* test.replies).toEqual([["completed", "watch_update_1"]])
      expect(yield* test.said).toEqual(["I am new here.", "One was seen."])
    }).pipe(script([[call("busy"), call("queued"), call("watch")], "I am new here.", "One was seen."]))
  )

  it.scoped("[S2c, P4b] a promoted call still counts where the new agent has the same toolset", () =>
    Effect.gen(function* () {
      const ran: Array<string> = []
      const sets = [search("reject", ran)]
      const test = yield* talk({ agent: agent("front", { sets }) })
      yield* test.say("Find it")
      yield* test.session.handoff(agent("back", { sets }))
      yield* test.say("Find it!")
      expect((yield* test.outputs)[1]).toEqual(["find_1", expect.stringContaining("already running")])
      yield* TestSession.advance("10 seconds")
      expect(ran).toEqual(["reject"])
      expect(yield* test.replies).toEqual([["completed", "find_final"]])
      expect(yield* test.said).toEqual(["On it.", "At it already.", "Found."])
    }).pipe(script([[call("find")], "On it.", [call("find", {}, "find_1")], "At it already.", "Found."]))
  )

  it.scoped("[S2b, P2b] the new agent may join a call that the old one left behind; it is voiced once", () =>
    Effect.gen(function* () {
      const ran: Array<string> = []
      const sets = [search("join", ran)]
      const test = yield* talk({ agent: agent("front", { sets }) })
      yield* test.say("Find it")
      yield* test.session.handoff(agent("back", { sets }))
      yield* test.say("Find it!")
      yield* TestSession.advance("10 seconds")
      expect(ran).toEqual(["join"])
      expect((yield* test.outputs).slice(2)).toEqual([
        ["find_final", "found"],
        ["find_1_final", "found"]
      ])
      expect(yield* test.said).toEqual(["On it.", "Together then.", "Found."])
      expect((yield* test.replies).filter(([status]) => status === "completed")).toEqual([
        ["completed", "find_1_final"]
      ])
    }).pipe(script([[call("find")], "On it.", [call("find", {}, "find_1")], "Together then.", "Found."]))
  )

  it.scoped("[D8, S4] a reply that may act can hand over: the rest of it is the new agent's", () =>
    Effect.gen(function* () {
      const Front = agent("front", {
        works: {
          look: [
            { onResult: "act" },
            Effect.as(Effect.zipRight(RunContext.update("Looking."), Effect.sleep("1 second")), "broken")
          ],
          go: Effect.as(handoff, "handed over")
        }
      })
      const test = yield* talk({ agent: Front })
      yield* test.say("Look")
      yield* TestSession.advance("1 second")
      expect(yield* test.asked).toEqual(["front", "front", "front", "back"])
      expect(yield* test.said).toEqual(["Looking.", "I am back."])
      expect(yield* test.replies).toEqual([["completed", "look_final"]])
    }).pipe(script([[call("look")], "Looking.", [call("go")], "I am back."]))
  )

  it.scoped("[D10] replies that wait are dropped with the agent; the new agent is shown their items", () =>
    Effect.gen(function* () {
      const Front = agent("front", {
        works: { slow: Effect.zipRight(RunContext.update("On it."), Effect.as(Effect.sleep("1 second"), "found")) }
      })
      const test = yield* talk({ agent: Front })
      yield* test.say("Work")
      yield* test.session.claimUserTurn
      yield* TestSession.advance("1 second")
      expect(yield* test.replies).toEqual([])
      yield* test.session.handoff(Back)
      yield* TestSession.settle
      expect(yield* test.replies).toEqual([["dropped", "slow_final"]])
      yield* test.say("And?")
      expect(yield* test.transcript).toContain(`result slow_final: "found"`)
    }).pipe(script([[call("slow")], "Working.", "Found."]))
  )
})

describe("a hand-off", () => {
  it.scoped("[S4] inline: the step's text and the output come first, the rest of the turn is the new agent's", () =>
    Effect.gen(function* () {
      const test = yield* talk({
        agent: agent("front", { works: { leave: Effect.zipRight(handoff, Effect.succeed("going")) } })
      })
      const speech = yield* test.say("Support, please")
      yield* speech.wait
      expect((yield* test.session.history).items.map((item) => item._tag)).toEqual([
        "Message",
        "Message",
        "FunctionCall",
        "FunctionCallOutput",
        "AgentHandoff",
        "Message"
      ])
      expect((yield* test.session.history).items[4]).toMatchObject({ from: "front", to: "back" })
      expect(yield* test.handoffs).toEqual([["front", "back"]])
      expect(yield* test.agentName).toBe("back")
      expect(yield* test.asked).toEqual(["front", "back"])
      expect(yield* test.said).toEqual(["One moment.", "Support here."])
      expect(yield* test.events.filter("SpeechEnded")).toHaveLength(1)
    }).pipe(script([["One moment.", call("leave")], "Support here."]))
  )

  it.scoped("[S4] inline: a handler that ends with nothing asks for no reply, onEnter speaks for the new agent", () =>
    Effect.gen(function* () {
      const To = agent("to", { onEnter: AgentSession.generateReply({ instructions: "Greet." }) })
      const test = yield* talk({ agent: agent("front", { works: { leave: RunContext.handoff(To) } }) })
      yield* test.say("Support, please")
      expect(yield* test.asked).toEqual(["front", "to"])
      expect(yield* test.said).toEqual(["Support here."])
    }).pipe(script([call("leave"), "Support here."]))
  )

  it.scoped("[S4] inline: it waits until the step's text has been played and the handler has answered", () =>
    Effect.gen(function* () {
      const Front = agent("front", { works: { leave: Effect.zipRight(handoff, Effect.sleep("5 seconds")) } })
      const test = yield* talk({ agent: Front })
      yield* test.say("Support, please")
      expect(yield* test.agentName).toBe("front")
      yield* TestSession.advance("4 seconds")
      expect(yield* test.agentName).toBe("front")
      yield* TestSession.advance("1 second")
      expect(yield* test.agentName).toBe("front")
      yield* TestSession.advance("5 seconds")
      expect(yield* test.agentName).toBe("back")
    }).pipe(
      script([[call("leave"), ScriptedModel.text("0123456789".repeat(10), { chunks: ["0123456789".repeat(10)] })]]),
      Effect.provide(AgentOutput.layerPaced({ charactersPerSecond: 10 }))
    )
  )

  it.scoped("[S4] onExit of the old agent runs, then onEnter of the new one, each once", () =>
    Effect.gen(function* () {
      const { all, note } = notes()
      const entering = (name: string) => ({
        onEnter: Effect.flatMap(AgentSession.AgentSession, (session) =>
          Effect.flatMap(session.currentAgent, (current) => note(`enter ${name} (${current.name})`))
        ),
        onExit: Effect.zipRight(note(`exit ${name}`), Effect.zipRight(Effect.sleep("1 second"), note(`left ${name}`)))
      })
      const To = agent("to", entering("to"))
      const test = yield* talk({
        agent: agent("from", { ...entering("from"), works: { leave: RunContext.handoff(To) } })
      })
      expect(all).toEqual(["enter from (from)"])
      yield* test.say("Support, please")
      expect(all.slice(1)).toEqual(["exit from"])
      expect(yield* test.agentName).toBe("from")
      yield* TestSession.advance("1 second")
      expect(all.slice(1)).toEqual(["exit from", "left from", "enter to (to)"])
    }).pipe(script([call("leave"), "Support here."]))
  )

  it.scoped("[S4] a user's turn that comes while onExit runs is the new agent's", () =>
    Effect.gen(function* () {
      const Front = agent("front", { onExit: Effect.sleep("10 seconds") })
      const test = yield* talk({ agent: Front })
      const fiber = yield* Effect.fork(test.session.handoff(Back))
      yield* TestSession.settle
      yield* test.say("Hello?")
      expect(yield* test.asked).toEqual([])
      yield* TestSession.advance("10 seconds")
      yield* Fiber.join(fiber)
      expect(yield* test.asked).toEqual(["back"])
      expect(yield* test.said).toEqual(["Here."])
    }).pipe(script(["Here."]))
  )

  it.scoped("[S4] onExit may speak and wait for it, and onEnter too", () =>
    Effect.gen(function* () {
      const speak = (text: string) => Effect.flatMap(AgentSession.say(text), (speech) => Effect.ignore(speech.wait))
      const test = yield* talk({ agent: agent("front", { onExit: speak("Good bye.") }) })
      yield* Effect.forkScoped(test.session.handoff(agent("to", { onEnter: speak("Hello.") })))
      expect(yield* test.said).toEqual(["Good bye.", "Hello."])
      const tags = (yield* test.session.history).items.map((item) => item._tag)
      expect(tags).toEqual(["Message", "AgentHandoff", "Message"])
    }).pipe(script([]))
  )

  it.scoped("[S4] onExit may ask the model for a last word and wait for it", () =>
    Effect.gen(function* () {
      const onExit = Effect.flatMap(AgentSession.generateReply({ instructions: "Say good bye." }), (speech) =>
        Effect.ignore(speech.wait)
      )
      const test = yield* talk({ agent: agent("front", { onExit }) })
      yield* Effect.forkScoped(test.session.handoff(Back))
      yield* TestSession.settle
      expect(yield* test.asked).toEqual(["front"])
      expect(yield* test.said).toEqual(["Good bye."])
      expect(yield* test.agentName).toBe("back")
    }).pipe(script(["Good bye."]))
  )

  it.scoped("[S4] onExit may wait for idle, and the session goes on", () =>
    Effect.gen(function* () {
      const onExit = Effect.flatMap(AgentSession.AgentSession, (session) => session.waitForIdle)
      const test = yield* talk({ agent: agent("front", { onExit }) })
      yield* Effect.forkScoped(test.session.handoff(Back))
      yield* TestSession.settle
      yield* test.say("Hello?")
      yield* TestSession.advance("1 minute")
      expect(yield* test.said).toEqual(["Here."])
      expect(yield* test.asked).not.toContain("front")
    }).pipe(script(["Here."]))
  )

  it.scoped("[S4] onExit that asks for another hand-off does not stop the session", () =>
    Effect.gen(function* () {
      const onExit = Effect.flatMap(AgentSession.AgentSession, (session) => session.handoff(agent("third")))
      const test = yield* talk({ agent: agent("front", { onExit }) })
      yield* Effect.forkScoped(test.session.handoff(Back))
      yield* TestSession.settle
      yield* test.say("Hello?")
      yield* TestSession.advance("1 minute")
      expect(yield* test.said).toEqual(["Here."])
      expect(yield* test.asked).not.toContain("front")
    }).pipe(script(["Here."]))
  )

  it.scoped("[S4] a handler that hands over by the session lends the new agent nothing of its call", () =>
    Effect.gen(function* () {
      const { all, note } = notes()
      const To = agent("to", {
        onEnter: Effect.flatMap(AgentSession.AgentSession, (session) =>
          Effect.zipRight(session.waitForIdle, note("idle"))
        )
      })
      const leave = Effect.flatMap(RunContext.RunContext, ({ session }) =>
        Effect.zipRight(session.handoff(To), Effect.as(Effect.sleep("10 seconds"), "left"))
      )
      const test = yield* talk({ agent: agent("front"), tools: [toolset("desk", { leave })] })
      yield* test.say("Support, please")
      expect(yield* test.agentName).toBe("to")
      // the turn still waits for the call
      expect(all).toEqual([])
      yield* TestSession.advance("10 seconds")
      expect(all).toEqual(["idle"])
    }).pipe(script([call("leave"), "Here."]))
  )

  it.scoped("[S4] onEnter may hand over at once", () =>
    Effect.gen(function* () {
      const onEnter = Effect.flatMap(AgentSession.AgentSession, (session) => session.handoff(Back))
      const test = yield* talk({ agent: agent("front", { onEnter }) })
      yield* test.say("Hello?")
      expect(yield* test.handoffs).toEqual([["front", "back"]])
      expect(yield* test.asked).toEqual(["back"])
    }).pipe(script(["Here."]))
  )

  it.scoped("[S4] a session that closes while onExit waits for its last word ends", () =>
    Effect.gen(function* () {
      const onExit = Effect.flatMap(AgentSession.generateReply(), (speech) => Effect.ignore(speech.wait))
      const test = yield* talk({ agent: agent("front", { onExit }) })
      yield* Effect.forkScoped(Effect.exit(test.session.handoff(Back)))
      yield* TestSession.settle
      yield* test.close
      expect((yield* test.events.tags).at(-1)).toBe("SessionClosed")
    }).pipe(script([ScriptedModel.never]))
  )

  it.scoped("[S4] an onExit or onEnter that fails is logged and does not stop the hand-off", () => {
    const log = logs()
    return Effect.gen(function* () {
      const test = yield* talk({ agent: agent("front", { onExit: Effect.die("exit broke") }) })
      yield* test.session.handoff(agent("to", { onEnter: Effect.die("enter broke") }))
      yield* test.say("Hello?")
      expect(yield* test.agentName).toBe("to")
      expect(yield* test.said).toEqual(["Here."])
      expect(log.all.filter((line) => line.startsWith("ERROR"))).toHaveLength(2)
    }).pipe(script(["Here."]), Effect.provide(log.layer))
  })

  it.scoped("[S4] an onEnter that still runs is interrupted when its agent leaves", () =>
    Effect.gen(function* () {
      const { all, note } = notes()
      const onEnter = Effect.onInterrupt(Effect.never, () => note("interrupted"))
      const test = yield* talk({ agent: agent("front", { onEnter }) })
      yield* test.session.handoff(Back)
      yield* TestSession.settle
      expect(all).toEqual(["interrupted"])
    }).pipe(script([]))
  )

  it.scoped("[S4, S2b] it is interrupted, too, where a call keeps the agent's scope open", () =>
    Effect.gen(function* () {
      const { all, layer } = notes()
      const Front = agent("front", {
        works: { slow: RunContext.update("On it.").pipe(Effect.zipRight(Effect.sleep("1 minute"))) },
        onEnter: Effect.forever(Effect.zipRight(Effect.sleep("10 seconds"), AgentSession.say("Tick.")))
      }).pipe(Agent.provide(layer("res")))
      const test = yield* talk({ agent: Front })
      yield* test.say("Work")
      yield* test.session.handoff(Back)
      yield* TestSession.advance("50 seconds")
      expect(yield* test.running).toEqual(["slow"])
      expect(all).toEqual(["+res"])
      expect(yield* test.said).toEqual(["Working."])
      yield* TestSession.advance("10 seconds")
      expect(all).toEqual(["+res", "-res"])
    }).pipe(script([call("slow"), "Working."]))
  )

  it.scoped("[S4] inline: it happens also when the turn was interrupted", () =>
    Effect.gen(function* () {
      const Front = agent("front", {
        works: { leave: Effect.zipRight(handoff, Effect.as(Effect.sleep("5 seconds"), "going")) }
      })
      const test = yield* talk({ agent: Front })
      yield* test.say("Support, please")
      yield* TestSession.advance("1 second")
      yield* test.say("Or wait")
      expect(yield* test.said).toEqual(["Yes?"])
      yield* TestSession.advance("4 seconds")
      expect(yield* test.agentName).toBe("back")
      expect(yield* test.outputs).toEqual([["leave", "going"]])
      expect(yield* test.said).toEqual(["Yes?"])
      yield* test.say("Hello?")
      expect(yield* test.asked).toEqual(["front", "front", "back"])
    }).pipe(script([call("leave"), "Yes?", "Support here."]))
  )

  it.scoped("[S4] after an update: at the next idle moment, before the deferred reply, which the new agent gives", () =>
    Effect.gen(function* () {
      const Front = agent("front", { works: { leave: Effect.as(later(Effect.sleep("5 seconds")), "ticket 7") } })
      const test = yield* talk({ agent: Front })
      yield* test.say("Support, please")
      expect(yield* test.said).toEqual(["I am looking."])
      yield* test.session.say("One more.")
      yield* TestSession.advance("5 seconds")
      expect(yield* test.said).toEqual(["I am looking.", "One more.", "It is ticket 7."])
      expect(yield* test.asked).toEqual(["front", "front", "back"])
      expect(yield* test.replies).toEqual([["completed", "leave_final"]])
      const order = yield* test.events.filter("AgentHandoff", "ReplyScheduled")
      expect(order.map((event) => event._tag)).toEqual(["AgentHandoff", "ReplyScheduled"])
    }).pipe(script([call("leave"), "I am looking.", "It is ticket 7."]))
  )

  it.scoped("[S4] after an update: it waits for idle, a user who speaks holds it up", () =>
    Effect.gen(function* () {
      const Front = agent("front", { works: { leave: later(Effect.void) } })
      const test = yield* talk({ agent: Front })
      const claim = yield* Effect.forkScoped(
        Effect.scoped(Effect.zipRight(test.session.claimUserTurn, Effect.sleep("1 minute")))
      )
      yield* test.say("Support, please")
      yield* TestSession.advance("30 seconds")
      expect(yield* test.agentName).toBe("front")
      yield* TestSession.advance("30 seconds")
      yield* Fiber.join(claim)
      yield* TestSession.settle
      expect(yield* test.agentName).toBe("back")
    }).pipe(script([call("leave"), "I am looking."]))
  )

  it.scoped("[S4] the call that asked is not ended by it: it moves to the session, its items to the new agent", () =>
    Effect.gen(function* () {
      const { all, layer } = notes()
      const Front = agent("front", {
        works: {
          leave: [
            { allowCancellation: true },
            Effect.gen(function* () {
              yield* RunContext.update("Wait.")
              yield* handoff
              yield* Effect.sleep("10 seconds")
              yield* RunContext.update("Half way.")
              yield* Effect.sleep("10 seconds")
              return "all set"
            })
          ]
        }
      }).pipe(Agent.provide(layer("res")))
      const test = yield* talk({ agent: Front })
      yield* test.say("Support, please")
      expect(yield* test.agentName).toBe("back")
      expect(yield* test.running).toEqual(["leave"])
      yield* TestSession.advance("10 seconds")
      expect(yield* test.said).toEqual(["Wait a little.", "Half."])
      yield* TestSession.advance("10 seconds")
      expect(yield* test.said).toEqual(["Wait a little.", "Half.", "All set."])
      expect(yield* test.asked).toEqual(["front", "front", "back", "back"])
      expect(all).toEqual(["+res", "-res"])
    }).pipe(script([call("leave"), "Wait a little.", "Half.", "All set."]))
  )

  it.scoped("[S4] an update before the hand-off that waits is voiced by the new agent", () =>
    Effect.gen(function* () {
      const Front = agent("front", {
        works: {
          leave: Effect.gen(function* () {
            yield* RunContext.update("Wait.")
            yield* Effect.sleep("1 second")
            yield* RunContext.update("Handing over.")
            yield* handoff
          })
        }
      })
      const test = yield* talk({ agent: Front })
      yield* test.say("Support, please")
      yield* Effect.forkScoped(Effect.scoped(Effect.zipRight(test.session.claimUserTurn, Effect.sleep("1 minute"))))
      yield* TestSession.advance("1 minute")
      expect(yield* test.asked).toEqual(["front", "front", "back"])
      expect(yield* test.replies).toEqual([["completed", "leave_update_1"]])
    }).pipe(script([call("leave"), "Wait a little.", "Here I am."]))
  )

  it.scoped("[S4] inside foreground, inline", () =>
    Effect.gen(function* () {
      const Front = agent("front", { works: { leave: Effect.as(RunContext.foreground(handoff), "going") } })
      const test = yield* talk({ agent: Front })
      yield* test.say("Support, please")
      expect(yield* test.agentName).toBe("back")
      expect(yield* test.outputs).toEqual([["leave", "going"]])
      expect(yield* test.said).toEqual(["Support here."])
    }).pipe(script([call("leave"), "Support here."]))
  )

  it.scoped("[S4] inside foreground, after an update: no deadlock, and the floor is free afterwards", () =>
    Effect.gen(function* () {
      const Front = agent("front", {
        works: {
          leave: Effect.gen(function* () {
            yield* RunContext.update("Wait.")
            yield* RunContext.foreground(Effect.zipRight(handoff, Effect.sleep("5 seconds")))
            return "done"
          })
        }
      })
      const test = yield* talk({ agent: Front })
      const result = yield* Effect.fork(test.session.run("Support, please"))
      yield* TestSession.advance("5 seconds")
      expect(yield* test.agentName).toBe("back")
      expect(yield* test.asked).toEqual(["front", "front", "back"])
      expect((yield* Fiber.join(result)).text).toBe("Done.")
      expect(yield* test.replies).toEqual([["completed", "leave_final"]])
    }).pipe(script([call("leave"), "Wait a little.", "Done."]))
  )

  it.scoped("[S4] from outside: what is being said is said first, and the caller waits for it", () =>
    Effect.gen(function* () {
      const test = yield* talk({ agent: agent("front") })
      yield* test.session.say("0123456789")
      yield* TestSession.settle
      const fiber = yield* Effect.fork(test.session.handoff(Back))
      yield* TestSession.advance("500 millis")
      expect(yield* test.agentName).toBe("front")
      expect(Option.isNone(yield* Fiber.poll(fiber))).toBe(true)
      yield* TestSession.advance("500 millis")
      yield* Fiber.join(fiber)
      expect(yield* test.agentName).toBe("back")
      expect(yield* test.said).toEqual(["0123456789"])
    }).pipe(script([]), Effect.provide(AgentOutput.layerPaced({ charactersPerSecond: 10 })))
  )

  it.scoped("[S4] from outside, while a turn waits for its calls: the rest of the turn is the new agent's", () =>
    Effect.gen(function* () {
      const Front = agent("front", { works: { slow: Effect.as(Effect.sleep("1 minute"), "found") } })
      const test = yield* talk({ agent: Front })
      const speech = yield* test.say("Work")
      yield* test.session.handoff(Back)
      yield* speech.wait
      expect(yield* test.agentName).toBe("back")
      expect(yield* test.asked).toEqual(["front", "back"])
      expect(yield* test.transcript).toContain("call slow: slow({})")
      yield* TestSession.advance("1 minute")
      expect(yield* test.ended).toEqual([["slow", "done"]])
    }).pipe(script([call("slow"), "I take over."]))
  )

  it.scoped("[S4] from outside, twice at once: one after the other", () =>
    Effect.gen(function* () {
      const { all, note } = notes()
      const one = agent("one", { onEnter: note("one") })
      const two = agent("two", { onEnter: note("two") })
      const test = yield* talk({ agent: agent("front", { onExit: Effect.sleep("1 second") }) })
      const first = yield* Effect.fork(test.session.handoff(one))
      yield* TestSession.settle
      const second = yield* Effect.fork(test.session.handoff(two))
      yield* TestSession.advance("1 second")
      yield* Fiber.join(first)
      yield* Fiber.join(second)
      expect(yield* test.handoffs).toEqual([
        ["front", "one"],
        ["one", "two"]
      ])
      expect(all).toEqual(["one", "two"])
    }).pipe(script([]))
  )

  it.scoped("[S4] from outside: who is interrupted while waiting takes the hand-off back", () =>
    Effect.gen(function* () {
      const { all, layer } = notes()
      const one = agent("one").pipe(Agent.provide(layer("one")))
      const two = agent("two").pipe(Agent.provide(layer("two")))
      const test = yield* talk({ agent: agent("front") })
      yield* test.session.say(
        Stream.concat(Stream.make("Just a"), Stream.fromEffect(Effect.as(Effect.sleep("5 seconds"), " moment.")))
      )
      const first = yield* Effect.fork(test.session.handoff(one))
      yield* TestSession.settle
      const second = yield* Effect.fork(test.session.handoff(two))
      yield* TestSession.settle
      yield* Fiber.interrupt(second)
      yield* Fiber.interrupt(first)
      expect(all.toSorted()).toEqual(["+one", "+two", "-one", "-two"])
      yield* TestSession.advance("10 seconds")
      expect(yield* test.handoffs).toEqual([])
      expect(yield* test.agentName).toBe("front")
      yield* test.session.handoff(one)
      expect(yield* test.agentName).toBe("one")
    }).pipe(script([]))
  )

  it.scoped("[S4] from outside: a session that closes while the hand-off waits ends its caller", () =>
    Effect.gen(function* () {
      const { all, layer } = notes()
      const one = agent("one").pipe(Agent.provide(layer("one")))
      const test = yield* talk({ agent: agent("front") })
      yield* test.session.say(Stream.never)
      const caller = yield* Effect.fork(Effect.either(test.session.handoff(one)))
      yield* TestSession.settle
      yield* test.close
      yield* TestSession.settle
      expect(Option.map(yield* Fiber.poll(caller), Exit.map(Either.isLeft))).toEqual(Option.some(Exit.succeed(true)))
      expect(all).toEqual(["+one", "-one"])
    }).pipe(script([]))
  )

  it.scoped(
    "[S4] layers are acquired first; where that fails, the old agent stays and the handler gets the error",
    () => {
      const log = logs()
      return Effect.gen(function* () {
        const { all, layer, note } = notes()
        const Broken = agent("broken", { onEnter: note("entered") }).pipe(
          Agent.provide(Layer.effectDiscard(Effect.zipRight(Effect.sleep("1 second"), Effect.die("no database")))),
          Agent.provide(layer("res"))
        )
        const Front = agent("front", {
          onExit: note("exited"),
          works: {
            leave: Effect.catchTag(RunContext.handoff(Broken), "ToolError", (error) =>
              Effect.succeed(`failed: ${error.message}`)
            )
          }
        })
        const test = yield* talk({ agent: Front })
        yield* test.say("Support, please")
        yield* TestSession.advance("1 second")
        expect(all).toEqual(["+res", "-res"])
        expect(yield* test.agentName).toBe("front")
        expect(yield* test.outputs).toEqual([["leave", expect.stringMatching(/^failed: /)]])
        expect((yield* test.outputs)[0]?.[1]).not.toContain("no database")
        expect(yield* test.handoffs).toEqual([])
        expect(yield* test.asked).toEqual(["front", "front"])
        expect(log.all.filter((line) => line.startsWith("ERROR"))).toHaveLength(1)
      }).pipe(script([call("leave"), "Sorry."]), Effect.provide(log.layer))
    }
  )

  it.scoped("[S4] where the layers fail for session.handoff, its caller gets the error and the old agent stays", () =>
    Effect.gen(function* () {
      const { all, layer } = notes()
      const Broken = agent("broken").pipe(
        Agent.provide(Layer.effectDiscard(Effect.die("no database"))),
        Agent.provide(layer("res"))
      )
      const test = yield* talk({ agent: agent("front") })
      const exit = yield* Effect.exit(test.session.handoff(Broken))
      expect(Exit.isFailure(exit) && String(exit.cause)).toContain("no database")
      expect(all).toEqual(["+res", "-res"])
      expect(yield* test.agentName).toBe("front")
      yield* test.session.handoff(Back)
      expect(yield* test.agentName).toBe("back")
    }).pipe(script([]))
  )

  it.scoped("[S4] a call cancelled while the layers are acquired hands nothing over and releases them", () =>
    Effect.gen(function* () {
      const { all, layer } = notes()
      const Slow = agent("slow").pipe(
        Agent.provide(Layer.effectDiscard(Effect.sleep("1 minute"))),
        Agent.provide(layer("res"))
      )
      const Front = agent("front", {
        works: { leave: [{ allowCancellation: true }, RunContext.handoff(Slow)], next: handoff }
      })
      const test = yield* talk({ agent: Front })
      yield* test.say("Support, please")
      yield* test.session.cancelTool("leave")
      yield* TestSession.settle
      expect(all).toEqual(["+res", "-res"])
      expect(yield* test.agentName).toBe("front")
      yield* test.say("Again")
      expect(yield* test.agentName).toBe("back")
    }).pipe(script([call("leave"), "Stopped.", call("next"), "Support here."]))
  )

  it.scoped("[S4] other slow calls of the step do not hold it up; they end as the end of their agent says", () =>
    Effect.gen(function* () {
      const slow = Effect.as(Effect.sleep("1 minute"), "found")
      const Front = agent("front", {
        works: {
          before: slow,
          stopped: [{ allowCancellation: true }, slow],
          leave: Effect.as(handoff, "going"),
          after: slow
        }
      })
      const test = yield* talk({ agent: Front })
      const speech = yield* test.say("Support, please")
      expect(yield* test.agentName).toBe("back")
      yield* speech.wait
      expect(yield* test.said).toEqual(["Support here."])
      expect((yield* test.outputs).map(([id]) => id).slice(0, 4)).toEqual(["before", "stopped", "leave", "after"])
      yield* TestSession.advance("1 minute")
      expect((yield* test.ended).toSorted()).toEqual([
        ["after", "done"],
        ["before", "done"],
        ["leave", "done"],
        ["stopped", "cancelled"]
      ])
      expect(yield* test.said).toEqual(["Support here."])
    }).pipe(script([[call("before"), call("stopped"), call("leave"), call("after")], "Support here."]))
  )

  it.scoped("[S4] a cancellable call of the step that is slow to stop does not hold it up", () =>
    Effect.gen(function* () {
      const stubborn = Effect.onInterrupt(Effect.never, () => Effect.sleep("10 minutes"))
      const Front = agent("front", {
        works: { before: [{ allowCancellation: true }, stubborn], leave: Effect.as(handoff, "going") }
      })
      const test = yield* talk({ agent: Front })
      yield* test.say("Support, please")
      yield* TestSession.advance("5 seconds")
      expect(yield* test.agentName).toBe("back")
      expect(yield* test.said).toEqual(["Support here."])
      yield* TestSession.advance("10 minutes")
      expect(yield* test.ended).toEqual([
        ["leave", "done"],
        ["before", "cancelled"]
      ])
    }).pipe(script([[call("before"), call("leave")], "Support here."]))
  )

  it.scoped("[S1] a session's call in the step of a hand-off survives it, cancellable or not", () =>
    Effect.gen(function* () {
      const slow = Effect.as(Effect.sleep("1 minute"), "found")
      const set = toolset("set", { slow: [{ allowCancellation: true }, slow] })
      const test = yield* talk({
        agent: agent("front", { works: { leave: Effect.as(handoff, "going") } }),
        tools: [set]
      })
      yield* test.say("Support, please")
      yield* TestSession.advance("1 minute")
      yield* TestSession.settle
      expect(yield* test.agentName).toBe("back")
      expect(Object.fromEntries(yield* test.ended)).toEqual({ a: "done", b: "done", leave: "done" })
      expect(JSON.stringify(yield* test.outputs)).not.toContain("stopped")
    }).pipe(
      script([[call("slow", {}, "a"), call("leave"), call("slow", {}, "b")], "Support here.", "Found.", "Found."])
    )
  )

  it.scoped("[S4] a hand-off and a cancellation in one step: the model is told how the cancellation went", () =>
    Effect.gen(function* () {
      const busy = Effect.zipRight(
        RunContext.update("On it."),
        Effect.onInterrupt(Effect.never, () => Effect.sleep("2 seconds"))
      )
      const set = toolset("set", { busy: [{ allowCancellation: true }, busy] })
      const test = yield* talk({
        agent: agent("front", { works: { leave: Effect.as(handoff, "going") } }),
        tools: [set]
      })
      yield* test.say("Work")
      yield* test.say("Cancel that, and support, please")
      yield* TestSession.advance("2 seconds")
      expect(yield* test.agentName).toBe("back")
      expect((yield* test.outputs).find(([id]) => id === "c")).toEqual(["c", "busy (busy) was cancelled."])
    }).pipe(
      script([
        call("busy"),
        "Working.",
        [call("cancel_task", { call_id: "busy" }, "c"), call("leave")],
        "Support here.",
        "It was cancelled."
      ])
    )
  )

  it.scoped("[S4] an agent that hands over to itself begins anew", () =>
    Effect.gen(function* () {
      const { all, layer, note } = notes()
      const Front: Agent.Agent<never> = agent("front", { onEnter: note("enter"), onExit: note("exit") }).pipe(
        Agent.provide(layer("res"))
      )
      const test = yield* talk({ agent: Front })
      yield* test.session.handoff(Front)
      yield* TestSession.settle
      expect(all.filter((line) => !line.includes("res"))).toEqual(["enter", "exit", "enter"])
      expect(all.filter((line) => line.includes("res"))).toEqual(["+res", "+res", "-res"])
      expect(yield* test.handoffs).toEqual([["front", "front"]])
    }).pipe(script([]))
  )

  it.scoped("[S4] a call that outlives its agent can still ask for a hand-off", () =>
    Effect.gen(function* () {
      const Front = agent("front", { works: { slow: later(Effect.sleep("1 minute"), agent("third")) } })
      const test = yield* talk({ agent: Front })
      yield* test.say("Work")
      yield* test.session.handoff(Back)
      yield* TestSession.advance("1 minute")
      expect(yield* test.handoffs).toEqual([
        ["front", "back"],
        ["back", "third"]
      ])
    }).pipe(script([call("slow"), "Working."]))
  )

  it.scoped("[S4] a session that closes while onExit runs ends the caller of the hand-off", () =>
    Effect.gen(function* () {
      const test = yield* talk({ agent: agent("front", { onExit: Effect.never }) })
      const fiber = yield* Effect.fork(Effect.exit(test.session.handoff(Back)))
      yield* TestSession.settle
      yield* test.close
      const exit = yield* Fiber.join(fiber)
      expect(Exit.isFailure(exit) && String(exit.cause)).toContain("SessionClosed")
    }).pipe(script([]))
  )

  it.scoped("[S4] after a session has closed, a hand-off fails and acquires nothing", () =>
    Effect.gen(function* () {
      const { all, layer } = notes()
      const test = yield* talk({ agent: agent("front") })
      yield* test.close
      const error = yield* Effect.flip(test.session.handoff(Back.pipe(Agent.provide(layer("res")))))
      expect(error._tag).toBe("SessionClosed")
      expect(all).toEqual([])
    }).pipe(script([]))
  )

  it.scoped("[S5] two hand-offs in one step: the first wins, the other fails with ToolError", () =>
    Effect.gen(function* () {
      const { all, layer } = notes()
      const Front = agent("front", {
        works: {
          one: Effect.as(handoff, "to back"),
          two: RunContext.handoff(agent("third").pipe(Agent.provide(layer("third"))))
        }
      })
      const test = yield* talk({ agent: Front })
      yield* test.say("Support, please")
      expect(yield* test.handoffs).toEqual([["front", "back"]])
      expect(yield* test.ended).toEqual(
        expect.arrayContaining([
          ["one", "done"],
          ["two", "error"]
        ])
      )
      expect(all).toEqual([])
    }).pipe(script([[call("one"), call("two")], "Support here."]))
  )

  it.scoped("[S5] a second hand-off by the same handler fails too, also where the first still builds", () =>
    Effect.gen(function* () {
      const Slow = agent("slow").pipe(Agent.provide(Layer.effectDiscard(Effect.sleep("1 second"))))
      const second = Effect.match(handoff, { onFailure: (error) => error._tag, onSuccess: () => "handed over twice" })
      const Front = agent("front", {
        works: {
          leave: Effect.all([Effect.as(RunContext.handoff(Slow), "handed over"), Effect.delay(second, "500 millis")], {
            concurrency: "unbounded"
          })
        }
      })
      const test = yield* talk({ agent: Front })
      yield* test.say("Support, please")
      yield* TestSession.advance("1 second")
      expect(yield* test.outputs).toEqual([["leave", ["handed over", "ToolError"]]])
      expect(yield* test.handoffs).toEqual([["front", "slow"]])
    }).pipe(script([call("leave"), "Support here."]))
  )

  it.scoped("[S5] a first hand-off that fails leaves the step to the next one", () => {
    const log = logs()
    return Effect.gen(function* () {
      const Broken = agent("broken").pipe(Agent.provide(Layer.effectDiscard(Effect.die("no database"))))
      const Front = agent("front", {
        works: { leave: Effect.catchTag(RunContext.handoff(Broken), "ToolError", () => handoff) }
      })
      const test = yield* talk({ agent: Front })
      yield* test.say("Support, please")
      expect(yield* test.handoffs).toEqual([["front", "back"]])
    }).pipe(script([call("leave"), "Support here."]), Effect.provide(log.layer))
  })

  it.scoped("[S6] an agent starts with the conversation so far, and never with another's instructions", () =>
    Effect.gen(function* () {
      const test = yield* talk({ agent: agent("front", { works: { leave: Effect.as(handoff, "going") } }) })
      yield* test.say("Support, please")
      expect((yield* test.transcript).split("\n")).toEqual([
        "system: I am back.",
        "user: Support, please",
        "assistant: One moment.",
        "call leave: leave({})",
        'result leave: "going"'
      ])
    }).pipe(script([["One moment.", call("leave")], "Support here."]))
  )

  it.scoped("[S6] an agent with context empty starts without it, also in the rest of the turn", () =>
    Effect.gen(function* () {
      const Clean = agent("clean", { context: "empty" })
      const test = yield* talk({
        agent: agent("front", { works: { leave: Effect.as(RunContext.handoff(Clean), "going") } })
      })
      yield* test.say("Support, please")
      const request = yield* test.lastRequest
      expect(ScriptedModel.systemText(request)).toBe("I am clean.")
      expect(request.prompt.content.map((message) => message.role)).toEqual(["system", "user"])
      expect(yield* test.transcript).not.toContain("Support, please")
      yield* test.say("Who are you?")
      expect((yield* test.transcript).split("\n")).toEqual([
        "system: I am clean.",
        "assistant: Clean here.",
        "user: Who are you?"
      ])
      expect((yield* test.session.history).items[0]).toMatchObject({ text: "Support, please" })
    }).pipe(script([["One moment.", call("leave")], "Clean here.", "Clean."]))
  )

  it.scoped(
    "[S6] the next agent that inherits sees all again; one with context empty sees no answer without its call",
    () =>
      Effect.gen(function* () {
        const slow = Effect.as(Effect.sleep("1 minute"), "found")
        const test = yield* talk({ agent: agent("front", { works: { slow } }) })
        yield* test.say("Work")
        yield* test.say("Meanwhile?")
        yield* test.session.handoff(agent("clean", { context: "empty" }))
        yield* TestSession.settle
        yield* test.say("Hello")
        const request = yield* test.lastRequest
        expect(ScriptedModel.toolCalls(request).map(({ id }) => id)).toEqual(
          ScriptedModel.toolResults(request).map(({ id }) => id)
        )
        yield* test.session.handoff(Back)
        yield* test.say("Still there?")
        expect(yield* test.transcript).toContain("user: Work\n")
        expect(yield* test.transcript).toContain("user: Hello\n")
      }).pipe(script([call("slow"), "Here.", "Hello.", "Yes."]))
  )
})

describe("a task", () => {
  const Email = task("email", { onEnter: AgentSession.say("Which address?") })
  const ask = RunContext.foreground(runTask(Email))
  const complete = (email: string, id = "done") => call("complete", { email }, id)

  it.scoped("[S7] ends with a typed value, and the outer agent goes on with what was said in between", () =>
    Effect.gen(function* () {
      const { all, note } = notes()
      const Front = agent("front", { works: { book: Effect.tap(ask, ({ email }) => note(email)) } })
      const test = yield* talk({ agent: Front })
      const speech = yield* test.say("Book it")
      expect(yield* test.agentName).toBe("email")
      expect(yield* test.said).toEqual(["Well.", "Which address?"])
      yield* test.say("a@b.c")
      yield* speech.wait
      expect(all).toEqual(["a@b.c"])
      expect(yield* test.agentName).toBe("front")
      expect(yield* test.asked).toEqual(["front", "email", "front"])
      expect(yield* test.transcript).toContain("assistant: Which address?")
      expect(yield* test.transcript).toContain("user: a@b.c")
      expect(yield* test.transcript).toContain('result book: {"email":"a@b.c"}')
      expect(yield* test.said).toEqual(["Well.", "Which address?", "Booked."])
      expect(yield* test.handoffs).toEqual([
        ["front", "email"],
        ["email", "front"]
      ])
      expect(yield* speech.interrupted).toBe(false)
    }).pipe(script([["Well.", call("book")], complete("a@b.c"), "Booked."]))
  )

  it.scoped("[S7] the model is shown the tool complete, with the fields of the result, and the session's tools", () =>
    Effect.gen(function* () {
      const set = toolset("set", { lookup: Effect.succeed(1) })
      const Front = agent("front", { works: { book: ask } })
      const test = yield* talk({ agent: Front, tools: [set] })
      yield* test.say("Book it")
      yield* test.say("a@b.c")
      const request = (yield* test.model.requests)[1]!
      expect(ScriptedModel.toolNames(request).toSorted()).toEqual(["complete", "lookup"])
      expect(request.tools.find(({ name }) => name === "complete")?.jsonSchema).toMatchObject({
        properties: { email: { type: "string" } },
        required: ["email"]
      })
    }).pipe(script([call("book"), complete("a@b.c"), "Booked."]))
  )

  it.scoped("[S7] complete with arguments that the result refuses goes back to the model, the task goes on", () =>
    Effect.gen(function* () {
      const test = yield* talk({ agent: agent("front", { works: { book: ask } }) })
      yield* test.say("Book it")
      yield* test.say("a@b.c")
      expect(yield* test.asked).toEqual(["front", "email", "email", "front"])
      expect((yield* test.outputs)[0]).toEqual(["bad", expect.stringContaining("email")])
      expect((yield* test.outputs).at(-1)).toEqual(["book", { email: "a@b.c" }])
    }).pipe(script([call("book"), call("complete", { mail: 1 }, "bad"), complete("a@b.c"), "Booked."]))
  )

  it.scoped("[S7] what the task's agent says in the step of complete is said before the outer agent goes on", () =>
    Effect.gen(function* () {
      const test = yield* talk({ agent: agent("front", { works: { book: ask } }) })
      yield* test.say("Book it")
      yield* TestSession.advance("10 seconds")
      yield* test.say("a@b.c")
      yield* TestSession.advance("1 minute")
      expect(yield* test.said).toEqual(["Which address?", "Thanks, noted.", "Just a second.", "Booked."])
      expect(yield* test.agentName).toBe("front")
    }).pipe(
      script([call("book"), ["Thanks, noted.", complete("a@b.c"), "Just a second."], "Booked."]),
      Effect.provide(AgentOutput.layerPaced({ charactersPerSecond: 10 }))
    )
  )

  it.scoped("[S7] a handler of its own tools completes it, inline", () =>
    Effect.gen(function* () {
      const Own: Agent.AgentTask<{ readonly email: string }, never> = task("own", {
        works: { known: Effect.suspend(() => Effect.as(Own.complete({ email: "on@file" }), "taken")) }
      })
      const test = yield* talk({ agent: agent("front", { works: { book: RunContext.foreground(runTask(Own)) } }) })
      yield* test.say("Book it")
      yield* test.say("The usual one")
      expect(yield* test.agentName).toBe("front")
      expect(yield* test.outputs).toEqual([
        ["known", "taken"],
        ["book", { email: "on@file" }]
      ])
      expect(yield* test.asked).toEqual(["front", "own", "front"])
    }).pipe(script([call("book"), call("known"), "Booked."]))
  )

  it.scoped("[S7] a handler of its own tools completes it, in the background", () =>
    Effect.gen(function* () {
      const Own: Agent.AgentTask<{ readonly email: string }, never> = task("own", {
        works: {
          find: RunContext.update("Looking.").pipe(
            Effect.zipRight(Effect.sleep("1 minute")),
            Effect.zipRight(Effect.suspend(() => Own.complete({ email: "on@file" })))
          )
        }
      })
      const test = yield* talk({ agent: agent("front", { works: { book: RunContext.foreground(runTask(Own)) } }) })
      yield* test.say("Book it")
      yield* test.say("The usual one")
      expect(yield* test.said).toEqual(["I look it up."])
      yield* TestSession.advance("1 minute")
      expect(yield* test.agentName).toBe("front")
      expect(yield* test.said).toEqual(["I look it up.", "Booked."])
    }).pipe(script([call("book"), call("find"), "I look it up.", "Booked."]))
  )

  it.scoped("[S7] results of its own background calls are voiced by the task, while it has the floor", () =>
    Effect.gen(function* () {
      const Own = task("own", {
        works: {
          find: RunContext.update("Looking.").pipe(Effect.zipRight(Effect.sleep("1 minute")), Effect.as("two found"))
        }
      })
      const test = yield* talk({ agent: agent("front", { works: { book: RunContext.foreground(runTask(Own)) } }) })
      yield* test.say("Book it")
      yield* test.say("Which do you know?")
      yield* TestSession.advance("1 minute")
      expect(yield* test.said).toEqual(["I look it up.", "I found two."])
      expect(yield* test.replies).toEqual([["completed", "find_final"]])
      expect(yield* test.asked).toEqual(["front", "own", "own", "own"])
    }).pipe(script([call("book"), call("find"), "I look it up.", "I found two."]))
  )

  it.scoped("[S7] decline fails runTask with ToolError, which has the reason", () =>
    Effect.gen(function* () {
      const Own: Agent.AgentTask<{ readonly email: string }, never> = task("own", {
        works: { refuse: Effect.suspend(() => Own.decline("the user has no address")) }
      })
      const book = Effect.catchTag(RunContext.foreground(runTask(Own)), "ToolError", (error) =>
        Effect.succeed(error.message)
      )
      const test = yield* talk({ agent: agent("front", { works: { book } }) })
      yield* test.say("Book it")
      yield* test.say("I have none")
      expect((yield* test.outputs).at(-1)).toEqual(["book", expect.stringContaining("the user has no address")])
      expect(yield* test.agentName).toBe("front")
    }).pipe(script([call("book"), call("refuse"), "Pity."]))
  )

  it.scoped("[S7] the first end wins, and an end that comes too late changes nothing", () =>
    Effect.gen(function* () {
      const Own: Agent.AgentTask<{ readonly email: string }, never> = task("own", {
        works: {
          both: Effect.suspend(() => Effect.zipRight(Own.complete({ email: "first" }), Own.decline("second"))),
          late: RunContext.update("On it.").pipe(
            Effect.zipRight(Effect.sleep("1 minute")),
            Effect.zipRight(Effect.suspend(() => Own.complete({ email: "late" })))
          )
        }
      })
      const test = yield* talk({ agent: agent("front", { works: { book: RunContext.foreground(runTask(Own)) } }) })
      yield* test.say("Book it")
      yield* test.say("Both")
      expect((yield* test.outputs).find(([id]) => id === "book")).toEqual(["book", { email: "first" }])
      yield* TestSession.advance("1 minute")
      expect(yield* test.agentName).toBe("front")
      expect(yield* test.said).toEqual(["Booked."])
    }).pipe(script([call("book"), [call("late"), call("both")], "Booked."]))
  )

  it.scoped("[S7] outside foreground it takes the floor itself", () =>
    Effect.gen(function* () {
      const other = Effect.zipRight(RunContext.update("On it."), Effect.as(Effect.sleep("1 second"), "found"))
      const test = yield* talk({ agent: agent("front", { works: { book: runTask(Email), other } }) })
      yield* test.say("Look for it")
      yield* test.say("Book it")
      expect(yield* test.agentName).toBe("email")
      yield* TestSession.advance("1 minute")
      expect(yield* test.replies).toEqual([])
      yield* test.say("a@b.c")
      expect(yield* test.agentName).toBe("front")
      expect(yield* test.said).toEqual(["Looking.", "Which address?", "Booked.", "Found."])
      expect(yield* test.replies).toEqual([["completed", "other_final"]])
    }).pipe(script([call("other"), "Looking.", call("book"), complete("a@b.c"), "Booked.", "Found."]))
  )

  it.scoped(
    "[S7] the outer turn is paused: its calls run on, and a user's turn in the task does not interrupt it",
    () =>
      Effect.gen(function* () {
        const stoppable: AsyncTool.Options = { allowCancellation: true, cancelOnInterruption: true }
        const Front = agent("front", {
          works: { book: ask, slow: [stoppable, Effect.as(Effect.sleep("1 minute"), "found")] }
        })
        const test = yield* talk({ agent: Front })
        const speech = yield* test.say("Book it")
        yield* test.say("Hm")
        yield* TestSession.advance("1 minute")
        expect(yield* test.ended).toEqual([["slow", "done"]])
        expect(yield* test.agentName).toBe("email")
        yield* test.say("a@b.c")
        yield* speech.wait
        expect(yield* speech.interrupted).toBe(false)
        expect(yield* test.said).toEqual(["Which address?", "The address, please.", "Booked."])
      }).pipe(script([[call("slow"), call("book")], "The address, please.", complete("a@b.c"), "Booked."]))
  )

  it.scoped("[S7, S4] a hand-off by another call of the paused turn waits for the end of the task", () =>
    Effect.gen(function* () {
      const book = Effect.map(RunContext.foreground(runTask(task("own"))), ({ email }) => `sent to ${email}`)
      const leave = Effect.zipRight(Effect.sleep("1 second"), Effect.as(handoff, "going"))
      const test = yield* talk({ agent: agent("front", { works: { book, leave } }) })
      yield* test.say("Book it and get me support")
      yield* TestSession.advance("2 seconds")
      expect(yield* test.agentName).toBe("own")
      yield* test.say("a@b.c")
      expect(yield* test.handoffs).toEqual([
        ["front", "own"],
        ["own", "front"],
        ["front", "back"]
      ])
      expect((yield* test.said).at(-1)).toBe("Support here.")
    }).pipe(script([[call("leave"), call("book")], call("complete", { email: "a@b.c" }), "Support here."]))
  )

  it.scoped("[S7] a session-wide result waits for the end of the task, and is voiced once", () =>
    Effect.gen(function* () {
      const set = toolset("set", {
        other: Effect.zipRight(RunContext.update("On it."), Effect.as(Effect.sleep("1 second"), "found"))
      })
      const test = yield* talk({ agent: agent("front", { works: { book: ask } }), tools: [set] })
      yield* test.say("Look for it")
      yield* test.say("Book it")
      yield* TestSession.advance("1 minute")
      expect(yield* test.agentName).toBe("email")
      expect(yield* test.replies).toEqual([])
      yield* test.say("a@b.c")
      expect(yield* test.replies).toEqual([["completed", "other_final"]])
      expect(yield* test.asked).toEqual(["front", "front", "front", "email", "front", "front"])
    }).pipe(script([call("other"), "Looking.", call("book"), complete("a@b.c"), "Booked.", "Found."]))
  )

  it.scoped("[S7] several at once run one after the other", () =>
    Effect.gen(function* () {
      const Phone = task("phone", { onEnter: AgentSession.say("Which number?") })
      const Front = agent("front", {
        works: { email: ask, phone: RunContext.foreground(runTask(Phone)) }
      })
      const test = yield* talk({ agent: Front })
      const speech = yield* test.say("Book it")
      expect(yield* test.said).toEqual(["Which address?"])
      yield* test.say("a@b.c")
      expect(yield* test.said).toEqual(["Which address?", "Which number?"])
      expect(yield* test.agentName).toBe("phone")
      yield* test.say("555")
      yield* speech.wait
      expect(yield* test.agentName).toBe("front")
      expect(yield* test.outputs).toEqual(
        expect.arrayContaining([
          ["email", { email: "a@b.c" }],
          ["phone", { email: "555" }]
        ])
      )
      expect(yield* test.asked).toEqual(["front", "email", "phone", "front"])
    }).pipe(script([[call("email"), call("phone")], complete("a@b.c", "d1"), complete("555", "d2"), "Booked."]))
  )

  it.scoped("[S7] one in the background and one inline run one after the other", () =>
    Effect.gen(function* () {
      const Front = agent("front", {
        works: {
          later: RunContext.update("Later.").pipe(Effect.zipRight(Effect.sleep("1 second")), Effect.zipRight(ask)),
          now: RunContext.foreground(runTask(task("now-task", { onEnter: AgentSession.say("Now what?") })))
        }
      })
      const test = yield* talk({ agent: Front })
      yield* test.say("Both")
      yield* test.say("Now")
      expect(yield* test.agentName).toBe("now-task")
      yield* TestSession.advance("1 minute")
      expect(yield* test.agentName).toBe("now-task")
      yield* test.say("this")
      yield* TestSession.settle
      expect(yield* test.agentName).toBe("email")
      yield* test.say("a@b.c")
      expect(yield* test.agentName).toBe("front")
      expect(yield* test.said).toEqual(["I will.", "Now what?", "Fine.", "Which address?", "Got it."])
    }).pipe(
      script([
        call("later"),
        "I will.",
        call("now"),
        complete("this", "d1"),
        "Fine.",
        complete("a@b.c", "d2"),
        "Got it."
      ])
    )
  )

  it.scoped("[S7] nested: a tool of a task runs another one, in foreground, without a deadlock", () =>
    Effect.gen(function* () {
      const Outer = task("outer", { works: { inner: ask } })
      const test = yield* talk({ agent: agent("front", { works: { book: RunContext.foreground(runTask(Outer)) } }) })
      const speech = yield* test.say("Book it")
      expect(yield* test.agentName).toBe("outer")
      yield* test.say("Ask me")
      expect(yield* test.agentName).toBe("email")
      yield* test.say("a@b.c")
      expect(yield* test.agentName).toBe("outer")
      expect((yield* test.outputs).at(-1)).toEqual(["inner", { email: "a@b.c" }])
      yield* test.say("That is all")
      yield* speech.wait
      expect(yield* test.agentName).toBe("front")
      expect(yield* test.asked).toEqual(["front", "outer", "email", "outer", "outer", "front"])
    }).pipe(script([call("book"), call("inner"), complete("a@b.c", "d1"), "And?", complete("x@y.z", "d2"), "Booked."]))
  )

  it.scoped("[S7] nested: the inner one may start from the background of the task", () =>
    Effect.gen(function* () {
      const Outer = task("outer", {
        works: {
          inner: RunContext.update("Soon.").pipe(Effect.zipRight(Effect.sleep("1 second")), Effect.zipRight(ask))
        }
      })
      const test = yield* talk({ agent: agent("front", { works: { book: RunContext.foreground(runTask(Outer)) } }) })
      yield* test.say("Book it")
      yield* test.say("Ask me later")
      yield* TestSession.advance("1 second")
      expect(yield* test.agentName).toBe("email")
      yield* test.say("a@b.c")
      expect(yield* test.agentName).toBe("outer")
    }).pipe(script([call("book"), call("inner"), "Soon.", complete("a@b.c"), "Thanks."]))
  )

  it.scoped("[S7] nested: cancelling the outer call ends both tasks", () =>
    Effect.gen(function* () {
      const { all, layer } = notes()
      const Inner = task("inner-task").pipe(Agent.provide(layer("inner")))
      const Outer = task("outer", { works: { inner: RunContext.foreground(runTask(Inner)) } }).pipe(
        Agent.provide(layer("outer"))
      )
      const Front = agent("front", {
        works: { book: [{ allowCancellation: true }, RunContext.foreground(runTask(Outer))] }
      })
      const test = yield* talk({ agent: Front })
      yield* test.say("Book it")
      yield* test.say("Go on")
      expect(yield* test.agentName).toBe("inner-task")
      yield* test.session.cancelTool("book")
      yield* TestSession.settle
      expect(yield* test.agentName).toBe("front")
      yield* TestSession.settle
      expect(all).toEqual(["+outer", "+inner", "-inner", "-outer"])
      yield* test.say("Hello?")
      expect(yield* test.said).toEqual(["Stopped.", "Here."])
      expect(yield* test.running).toEqual([])
    }).pipe(script([call("book"), call("inner"), "Stopped.", "Here."]))
  )

  it.scoped("[S7] one session-wide tool may run a task in a later turn, after the task's own turn", () =>
    Effect.gen(function* () {
      const test = yield* talk({ agent: agent("front", { works: { book: ask } }) })
      for (const n of [1, 2]) {
        yield* test.say("Book it")
        expect(yield* test.agentName).toBe("email")
        yield* test.say(`a${n}@b.c`)
        expect(yield* test.agentName).toBe("front")
      }
      expect(yield* test.outputs).toEqual(
        expect.arrayContaining([
          ["b1", { email: "a1@b.c" }],
          ["b2", { email: "a2@b.c" }]
        ])
      )
    }).pipe(
      script([
        call("book", {}, "b1"),
        complete("a1@b.c", "d1"),
        "Booked.",
        call("book", {}, "b2"),
        complete("a2@b.c", "d2"),
        "Booked again."
      ])
    )
  )

  it.scoped("[S7] a call cancelled during its task gives the conversation back", () =>
    Effect.gen(function* () {
      const { all, layer } = notes()
      const Own = task("own").pipe(Agent.provide(layer("res")))
      const Front = agent("front", {
        works: { book: [{ allowCancellation: true }, RunContext.foreground(runTask(Own))] }
      })
      const test = yield* talk({ agent: Front })
      const speech = yield* test.say("Book it")
      yield* test.say("Hm")
      expect(yield* test.agentName).toBe("own")
      yield* test.session.cancelTool("book")
      yield* speech.wait
      expect(yield* test.agentName).toBe("front")
      expect(all).toEqual(["+res", "-res"])
      expect(yield* test.said).toEqual(["Yes?", "Stopped."])
      yield* test.session.waitForIdle
    }).pipe(script([call("book"), "Yes?", "Stopped."]))
  )

  it.scoped("[S7] a timeout of the handler ends the task", () =>
    Effect.gen(function* () {
      const book = Effect.timeoutTo(ask, { duration: "1 minute", onSuccess: () => "known", onTimeout: () => "unknown" })
      const test = yield* talk({ agent: agent("front", { works: { book } }) })
      yield* test.say("Book it")
      expect(yield* test.agentName).toBe("email")
      yield* TestSession.advance("1 minute")
      expect(yield* test.agentName).toBe("front")
      expect(yield* test.outputs).toEqual([["book", "unknown"]])
      expect(yield* test.said).toEqual(["Which address?", "Never mind."])
    }).pipe(script([call("book"), "Never mind."]))
  )

  it.scoped("[S7] the session closes during a task: runTask fails with SessionClosed", () =>
    Effect.gen(function* () {
      const { all, note } = notes()
      const book = Effect.tapErrorTag(ask, "SessionClosed", () => note("closed"))
      const test = yield* talk({ agent: agent("front", { works: { book } }) })
      yield* test.say("Book it")
      yield* test.close
      expect(all).toEqual(["closed"])
      expect(yield* test.ended).toEqual([["book", "error"]])
    }).pipe(script([call("book")]))
  )

  it.scoped("[S7] a hand-off from outside during a task ends it, runTask fails with ToolError", () =>
    Effect.gen(function* () {
      const { all, layer, note } = notes()
      const Own = task("own").pipe(Agent.provide(layer("res")))
      const book = Effect.tapErrorTag(RunContext.foreground(runTask(Own)), "ToolError", () => note("failed"))
      const test = yield* talk({ agent: agent("front", { works: { book } }) })
      yield* test.say("Book it")
      yield* test.session.handoff(Back)
      yield* TestSession.settle
      expect(yield* test.agentName).toBe("back")
      expect(all.toSorted()).toEqual(["+res", "-res", "failed"])
      yield* test.say("Hello?")
      expect((yield* test.said).at(-1)).toBe("Here.")
      yield* test.session.waitForIdle
    }).pipe(script((request) => (ScriptedModel.lastUserText(request) === "Book it" ? call("book") : "Here.")))
  )

  it.scoped("[S7] a hand-off that begins while the task is built: runTask fails with ToolError, too", () =>
    Effect.gen(function* () {
      const { all, layer, note } = notes()
      const Own = task("own").pipe(
        Agent.provide(layer("res")),
        Agent.provide(Layer.effectDiscard(Effect.sleep("3 seconds")))
      )
      const book = Effect.tapErrorTag(runTask(Own), "ToolError", () => note("failed"))
      const Front = agent("front", { works: { book }, onExit: Effect.sleep("5 seconds") })
      const test = yield* talk({ agent: Front })
      yield* test.say("Book it")
      yield* Effect.fork(test.session.handoff(Back))
      yield* TestSession.advance("10 seconds")
      expect(yield* test.agentName).toBe("back")
      expect(all).toEqual(["+res", "-res", "failed"])
    }).pipe(script((request) => (ScriptedModel.lastUserText(request) === "Book it" ? call("book") : "Here.")))
  )

  it.scoped("[S7] a hand-off by a tool of the task ends it; the rest of the turn is the new agent's", () =>
    Effect.gen(function* () {
      const Own = task("own", { works: { leave: Effect.as(handoff, "going") } })
      const book = Effect.catchTag(RunContext.foreground(runTask(Own)), "ToolError", () => new AsyncTool.StopResponse())
      const test = yield* talk({ agent: agent("front", { works: { book } }) })
      yield* test.say("Book it")
      yield* test.say("Support!")
      expect(yield* test.agentName).toBe("back")
      expect(yield* test.asked).toEqual(["front", "own", "back"])
      expect(yield* test.said).toEqual(["Support here."])
    }).pipe(script([call("book"), call("leave"), "Support here."]))
  )

  it.scoped(
    "[S7] [S4] a hand-off during a task: while onExit runs the outer turn waits, and so does the next hand-off",
    () =>
      Effect.gen(function* () {
        const { all, note } = notes()
        const onExit = Effect.zipRight(note("exit"), Effect.zipRight(Effect.sleep("5 seconds"), note("left")))
        const Front = agent("front", { works: { book: RunContext.foreground(runTask(task("own"))) }, onExit })
        const test = yield* talk({ agent: Front })
        yield* test.say("Book it")
        yield* Effect.forkScoped(test.session.handoff(Back))
        yield* TestSession.settle
        yield* Effect.forkScoped(test.session.handoff(agent("third")))
        yield* TestSession.settle
        expect(yield* test.ended).toEqual([["book", "error"]])
        expect(yield* test.asked).toEqual(["front"])
        expect(all).toEqual(["exit"])
        yield* TestSession.advance("1 minute")
        expect(all).toEqual(["exit", "left"])
        expect(yield* test.asked).toEqual(["front", "back"])
        expect((yield* test.handoffs).slice(2)).toEqual([
          ["front", "back"],
          ["back", "third"]
        ])
      }).pipe(script([call("book"), "Here."]))
  )

  it.scoped("[S7] [S4] a tool of the task that hands over and works on: its call moves to the session", () =>
    Effect.gen(function* () {
      const leave = handoff.pipe(
        Effect.zipRight(RunContext.update("Handing over.")),
        Effect.zipRight(Effect.as(Effect.sleep("1 minute"), "found"))
      )
      const Own = task("own", { works: { leave: [{ allowCancellation: true }, leave] } })
      const book = Effect.catchTag(RunContext.foreground(runTask(Own)), "ToolError", () => new AsyncTool.StopResponse())
      const test = yield* talk({ agent: agent("front", { works: { book } }) })
      yield* test.say("Book it")
      yield* test.say("Support!")
      expect(yield* test.agentName).toBe("back")
      expect(yield* test.running).toEqual(["leave"])
      yield* TestSession.advance("1 minute")
      expect(yield* test.ended).toContainEqual(["leave", "done"])
      expect(yield* test.replies).toEqual([["completed", "leave_final"]])
      expect(yield* test.asked).toEqual(["front", "own", "back", "back"])
      expect(yield* test.said).toEqual(["Support here.", "Found."])
    }).pipe(script([call("book"), call("leave"), "Support here.", "Found."]))
  )

  it.scoped("[S7] it inherits the conversation or starts empty, and never has the outer instructions", () =>
    Effect.gen(function* () {
      const works = {
        inherit: RunContext.foreground(runTask(task("open"))),
        empty: RunContext.foreground(runTask(task("shut", { context: "empty" })))
      }
      const test = yield* talk({ agent: agent("front", { works }) })
      yield* test.say("First")
      yield* test.say("One")
      const [, open] = yield* test.model.requests
      expect(ScriptedModel.systemText(open!)).toBe("I am open.")
      expect(ScriptedModel.userTexts(open!)).toEqual(["First", "One"])
      yield* test.say("Second")
      yield* test.say("Two")
      const shut = (yield* test.model.requests)[4]
      expect(ScriptedModel.systemText(shut!)).toBe("I am shut.")
      expect(ScriptedModel.userTexts(shut!)).toEqual(["Two"])
      expect(yield* test.transcript).toContain("user: Two")
    }).pipe(
      script([call("inherit"), complete("1", "d1"), "One done.", call("empty"), complete("2", "d2"), "Two done."])
    )
  )

  it.scoped("[S7] onEnter and onExit of a task run, its resources live as long as it does", () =>
    Effect.gen(function* () {
      const { all, layer, note } = notes()
      const Own = task("own", { onEnter: note("enter"), onExit: note("exit") }).pipe(Agent.provide(layer("res")))
      const Front = agent("front", {
        works: { book: RunContext.foreground(runTask(Own)) },
        onEnter: note("front enter"),
        onExit: note("front exit")
      })
      const test = yield* talk({ agent: Front })
      yield* test.say("Book it")
      expect(all).toEqual(["front enter", "+res", "enter"])
      yield* test.say("a@b.c")
      expect(all).toEqual(["front enter", "+res", "enter", "exit", "-res"])
      expect(yield* test.agentName).toBe("front")
    }).pipe(script([call("book"), complete("a@b.c"), "Booked."]))
  )

  it.scoped("[S7] a call of the task that outlives it is recorded and shown to the outer agent", () =>
    Effect.gen(function* () {
      const { all, layer } = notes()
      const Own = task("own", {
        works: { slow: Effect.zipRight(RunContext.update("On it."), Effect.as(Effect.sleep("1 minute"), "found")) }
      }).pipe(Agent.provide(layer("res")))
      const test = yield* talk({ agent: agent("front", { works: { book: RunContext.foreground(runTask(Own)) } }) })
      yield* test.say("Book it")
      yield* test.say("a@b.c")
      expect(yield* test.agentName).toBe("front")
      expect(all).toEqual(["+res"])
      yield* TestSession.advance("1 minute")
      expect(all).toEqual(["+res", "-res"])
      expect(yield* test.said).toEqual(["Booked."])
      yield* test.say("And?")
      expect(yield* test.transcript).toContain('result slow_final: "found"')
    }).pipe(script([call("book"), [call("slow"), complete("a@b.c")], "Booked.", "Found."]))
  )

  it.scoped("[F5, S7] a call of the task that wants the floor lets its own waiting reply out first, too", () =>
    Effect.gen(function* () {
      const order: Array<string> = []
      const Ask = task("ask", {
        works: {
          look: RunContext.update("Looking.").pipe(
            Effect.zipRight(RunContext.update("Half of it is seen.")),
            Effect.zipRight(RunContext.foreground(Effect.sync(() => void order.push("floor")))),
            Effect.as("seen")
          )
        }
      })
      const test = yield* talk({
        agent: agent("front", { works: { ask: Effect.zipRight(RunContext.update("Asking."), runTask(Ask)) } })
      })
      yield* Effect.forkScoped(
        Stream.runForEach(test.session.events, (event) =>
          Effect.sync(() => {
            if (event._tag === "ReplyEnded") order.push(`${event.status} ${event.updateIds.join()}`)
          })
        )
      )
      yield* test.say("Ask")
      yield* test.say("Look")
      yield* TestSession.settle
      expect(order.slice(0, 3)).toEqual(["completed look_update_1", "floor", "completed look_final"])
    }).pipe(script([call("ask"), "Asking.", call("look"), "Looking.", "Half.", "All."]))
  )

  it.scoped("[S7, S2b, S2c] its calls end with it as an agent's do: cancelled, awaited or promoted", () =>
    Effect.gen(function* () {
      const { all, layer } = notes()
      const slow = (seconds: number, found: string) =>
        RunContext.update("On it.").pipe(Effect.zipRight(Effect.sleep(seconds * 1000)), Effect.as(found))
      const Ask = task("ask", {
        works: {
          cut: [{ allowCancellation: true }, slow(1, "never")],
          wait: slow(5, "awaited"),
          move: [{ onHandoff: "promote" }, slow(8, "promoted")]
        }
      }).pipe(Agent.provide(layer("ask")))
      const test = yield* talk({
        agent: agent("front", { works: { ask: Effect.zipRight(RunContext.update("Asking."), runTask(Ask)) } })
      })
      yield* test.say("Ask")
      yield* test.say("Work")
      yield* test.say("a@b")
      yield* TestSession.advance("7 seconds")
      expect(all).toEqual(["+ask"])
      yield* TestSession.advance("1 second")
      expect(all).toEqual(["+ask", "-ask"])
      expect(Object.fromEntries(yield* test.ended)).toEqual({
        complete: "done",
        ask: "done",
        cut: "cancelled",
        wait: "done",
        move: "done"
      })
      expect(yield* test.said).toEqual(["Asking.", "Working.", "Thanks.", "Moved."])
      expect(yield* test.transcript).toContain("awaited")
    }).pipe(
      script([
        [call("ask")],
        "Asking.",
        [call("cut"), call("wait"), call("move")],
        "Working.",
        [call("complete", { email: "a@b" })],
        "Thanks.",
        "Moved."
      ])
    )
  )

  it.scoped("[S7] where its layers fail, the handler's error is told and the outer agent goes on", () => {
    const log = logs()
    return Effect.gen(function* () {
      const Broken = task("broken").pipe(Agent.provide(Layer.effectDiscard(Effect.die("no database"))))
      const test = yield* talk({ agent: agent("front", { works: { book: RunContext.foreground(runTask(Broken)) } }) })
      const speech = yield* test.say("Book it")
      yield* speech.wait
      expect(yield* test.agentName).toBe("front")
      expect(yield* test.ended).toEqual([["book", "error"]])
      expect(yield* test.said).toEqual(["Sorry."])
      yield* test.session.waitForIdle
    }).pipe(script([call("book"), "Sorry."]), Effect.provide(log.layer))
  })

  it.scoped("[S7] complete counts also where the user interrupts its turn", () =>
    Effect.gen(function* () {
      const test = yield* talk({ agent: agent("front", { works: { book: ask } }) })
      yield* test.say("Book it")
      yield* TestSession.advance("10 seconds")
      yield* test.say("a@b.c")
      yield* TestSession.advance("1 second")
      yield* test.say("And hurry")
      yield* TestSession.advance("1 minute")
      expect((yield* test.outputs).at(-1)).toEqual(["book", { email: "a@b.c" }])
      expect(yield* test.agentName).toBe("front")
      expect(yield* test.running).toEqual([])
      expect((yield* test.said).at(-1)).toBe("Booked.")
    }).pipe(
      script((request) => {
        const user = ScriptedModel.userTexts(request).filter((text) => !text.startsWith("["))
        if (ScriptedModel.systemText(request) === "I am email.") {
          return user.at(-1) === "a@b.c" ? [complete("a@b.c"), "It will take a long while, I am afraid."] : "Yes."
        }
        return user.length === 1 ? call("book") : "Booked."
      }),
      Effect.provide(AgentOutput.layerPaced({ charactersPerSecond: 10 }))
    )
  )

  it.scoped("[S7] a call whose agent has left may still run one: it comes back to the agent that is current", () =>
    Effect.gen(function* () {
      const book = RunContext.update("Wait.").pipe(Effect.zipRight(Effect.sleep("1 minute")), Effect.zipRight(ask))
      const test = yield* talk({ agent: agent("front", { works: { book } }) })
      yield* test.say("Book it")
      yield* test.session.handoff(Back)
      yield* TestSession.advance("1 minute")
      expect(yield* test.agentName).toBe("email")
      yield* test.say("a@b.c")
      expect(yield* test.agentName).toBe("back")
      expect((yield* test.outputs).at(-1)).toEqual(["book_final", { email: "a@b.c" }])
    }).pipe(script([call("book"), "I will.", complete("a@b.c")]))
  )

  it.scoped("[S7] nested in itself: a call of the outer one ends the outer one, not the inner", () =>
    Effect.gen(function* () {
      const Own: Agent.AgentTask<{ readonly email: string }, never> = task("own", {
        works: {
          again: Effect.suspend(() => RunContext.foreground(runTask(Own))),
          later: RunContext.update("Later.").pipe(
            Effect.zipRight(Effect.sleep("1 minute")),
            Effect.zipRight(Effect.suspend(() => Own.complete({ email: "outer" })))
          )
        }
      })
      const test = yield* talk({ agent: agent("front", { works: { book: RunContext.foreground(runTask(Own)) } }) })
      yield* test.say("Book it")
      yield* test.say("Again, and later")
      yield* TestSession.advance("1 minute")
      yield* test.say("Inner")
      yield* TestSession.settle
      const outputs = Object.fromEntries(yield* test.outputs)
      expect(outputs.again).not.toEqual({ email: "outer" })
      expect(outputs.book).toEqual({ email: "outer" })
      expect(yield* test.agentName).toBe("front")
    }).pipe(
      script((request) => {
        const user = ScriptedModel.userTexts(request).at(-1)
        if (ScriptedModel.systemText(request) === "I am front.") return user === "Book it" ? call("book") : "Booked."
        return user === "Again, and later" ? [call("later"), call("again")] : complete("inner")
      })
    )
  )

  it.scoped("[S7] of two that wait, one that is cancelled meanwhile never takes the floor", () =>
    Effect.gen(function* () {
      const Second = task("second")
      const Front = agent("front", {
        works: { first: ask, second: [{ allowCancellation: true }, RunContext.foreground(runTask(Second))] }
      })
      const test = yield* talk({ agent: Front })
      const speech = yield* test.say("Both")
      yield* test.session.cancelTool("second")
      yield* test.say("a@b.c")
      yield* speech.wait
      expect(yield* test.agentName).toBe("front")
      expect(yield* test.asked).toEqual(["front", "email", "front"])
      yield* test.session.waitForIdle
    }).pipe(script([[call("first"), call("second")], complete("a@b.c"), "Booked."]))
  )

  it.scoped("[S7] run waits for the task that its call runs in", () =>
    Effect.gen(function* () {
      const test = yield* talk({ agent: agent("front", { works: { book: ask } }) })
      const fiber = yield* Effect.fork(test.session.run("Book it"))
      yield* TestSession.advance("1 minute")
      expect(Option.isNone(yield* Fiber.poll(fiber))).toBe(true)
      yield* test.say("a@b.c")
      const result = yield* Fiber.join(fiber)
      expect(result.text).toBe("Booked.")
    }).pipe(script([call("book"), complete("a@b.c"), "Booked."]))
  )
})
