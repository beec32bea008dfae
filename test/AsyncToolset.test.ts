import { type AiError, Toolkit } from "@effect/ai"
import { describe, expect } from "@effect/vitest"
import { Clock, Effect, Exit, Fiber, Layer, ParseResult, Schema, Stream, Supervisor } from "effect"
import { Agent, AgentOutput, AgentSession, AsyncTool, AsyncToolset, DuplicatePolicy, RunContext } from "effect-meantime"
import { ScriptedModel, TestSession } from "effect-meantime/testing"
import { agent, call, kit, logs, notes, script, talk, task, toolset } from "./support/scopes.js"
import { it } from "./support/virtual.js"

const started = RunContext.update("On it.")
const background = <A, E, R>(work: Effect.Effect<A, E, R>) => Effect.zipRight(started, work)
const cancellable: AsyncTool.Options = { allowCancellation: true }
const now = Clock.currentTimeMillis

/** One call of `slow` is at work. */
const working = Effect.fnUntraced(function* (
  work: Parameters<typeof agent>[1] & {},
  options: Partial<Parameters<typeof talk>[0]> = {}
) {
  const test = yield* talk({ ...options, agent: agent("front", work) })
  yield* test.say("Work")
  return test
})
const oneCall = script([call("slow"), "Working."])

describe("closing a session", () => {
  it.scoped("[S2] interrupts cancellable calls, and waits for their finalizers", () =>
    Effect.gen(function* () {
      const { all, note } = notes()
      const slow = Effect.onInterrupt(Effect.never, () => Effect.zipRight(Effect.sleep("10 seconds"), note("cleaned")))
      const test = yield* working({ works: { slow: [cancellable, background(slow)] } })
      yield* test.close
      expect(all).toEqual(["cleaned"])
      expect(yield* now).toBe(10_000)
      expect(yield* test.ended).toEqual([["slow", "cancelled"]])
      expect((yield* test.outputs).at(-1)).toEqual(["slow_final", expect.stringContaining("stopped")])
      expect((yield* test.events.tags).at(-1)).toBe("SessionClosed")
    }).pipe(oneCall)
  )

  it.scoped("[S2] waits for the others, and records what they end with", () =>
    Effect.gen(function* () {
      const slow = background(
        Effect.gen(function* () {
          yield* Effect.sleep("10 seconds")
          yield* RunContext.update("Half.")
          yield* Effect.sleep("10 seconds")
          return "found"
        })
      )
      const test = yield* working({ works: { slow } })
      yield* test.close
      expect(yield* now).toBe(20_000)
      expect(yield* test.ended).toEqual([["slow", "done"]])
      expect((yield* test.outputs).slice(1).map(([id]) => id)).toEqual(["slow_update_1", "slow_final"])
      expect(yield* test.said).toEqual(["Working."])
      expect((yield* test.replies).every(([status]) => status === "dropped")).toBe(true)
    }).pipe(oneCall)
  )

  it.scoped("[S2] waits for an inline call too, and records its output", () =>
    Effect.gen(function* () {
      const test = yield* working({ works: { slow: Effect.as(Effect.sleep("10 seconds"), "found") } })
      yield* test.close
      expect(yield* test.outputs).toEqual([["slow", "found"]])
      expect(yield* test.ended).toEqual([["slow", "done"]])
      expect(yield* test.asked).toEqual(["front"])
    }).pipe(oneCall)
  )

  it.scoped("[S2] interrupts the others after drainTimeout, with a warning that names the call", () => {
    const log = logs()
    return Effect.gen(function* () {
      const { all, note } = notes()
      const slow = Effect.onInterrupt(Effect.never, () => note("interrupted"))
      const test = yield* working({ works: { slow: background(slow) } }, { drainTimeout: "7 seconds" })
      yield* test.close
      expect(yield* now).toBe(7_000)
      expect(all).toEqual(["interrupted"])
      expect(yield* test.ended).toEqual([["slow", "cancelled"]])
      expect((yield* test.outputs).at(-1)?.[0]).toBe("slow_final")
      expect(log.all.filter((line) => line.startsWith("WARN"))).toEqual([expect.stringContaining("slow")])
    }).pipe(oneCall, Effect.provide(log.layer))
  })

  it.scoped("[S2] drainTimeout is 30 seconds by default", () => {
    const log = logs()
    return Effect.gen(function* () {
      const test = yield* working({ works: { slow: background(Effect.never) } })
      yield* test.close
      expect(yield* now).toBe(30_000)
    }).pipe(oneCall, Effect.provide(log.layer))
  })

  it.scoped("[S2] drainTimeout 0 interrupts at once, and still lets finalizers run", () => {
    const log = logs()
    return Effect.gen(function* () {
      const { all, note } = notes()
      const slow = Effect.onInterrupt(Effect.never, () => Effect.zipRight(Effect.sleep("1 second"), note("cleaned")))
      const test = yield* working({ works: { slow: background(slow) } }, { drainTimeout: 0 })
      yield* test.close
      expect(all).toEqual(["cleaned"])
      expect(yield* now).toBe(1_000)
      expect(yield* test.ended).toEqual([["slow", "cancelled"]])
    }).pipe(oneCall, Effect.provide(log.layer))
  })

  it.scoped(
    "[S2] a handler that never lets itself be interrupted is given up on, with an error and its end event",
    () => {
      const log = logs()
      return Effect.gen(function* () {
        const slow = background(Effect.uninterruptible(Effect.never))
        const test = yield* working({ works: { slow } }, { drainTimeout: "7 seconds" })
        yield* test.close
        expect(yield* now).toBe(14_000)
        expect(yield* test.ended).toEqual([["slow", "cancelled"]])
        expect(log.all.filter((line) => line.startsWith("ERROR"))).toEqual([expect.stringContaining("slow")])
        expect((yield* test.events.tags).slice(-1)).toEqual(["SessionClosed"])
        expect(yield* test.running).toEqual([])
      }).pipe(oneCall, Effect.provide(log.layer))
    }
  )

  it.scoped("[S2] closing ends with drainTimeout 0 too, where a handler never lets itself be interrupted", () => {
    const log = logs()
    return Effect.gen(function* () {
      const slow = background(Effect.uninterruptible(Effect.never))
      const test = yield* working({ works: { slow } }, { drainTimeout: 0 })
      yield* test.close
      expect(yield* now).toBeLessThanOrEqual(5_000)
      expect(yield* test.ended).toEqual([["slow", "cancelled"]])
      expect(log.all.filter((line) => line.startsWith("ERROR"))).toHaveLength(1)
    }).pipe(oneCall, Effect.provide(log.layer))
  })

  it.scoped("[S2] a cancellable call whose clean-up never ends is given up on in the same time", () => {
    const log = logs()
    return Effect.gen(function* () {
      const slow = Effect.onInterrupt(Effect.never, () => Effect.never)
      const test = yield* working({ works: { slow: [cancellable, background(slow)] } }, { drainTimeout: "7 seconds" })
      yield* test.close
      expect(yield* now).toBeLessThanOrEqual(14_000)
      expect(yield* test.ended).toEqual([["slow", "cancelled"]])
    }).pipe(oneCall, Effect.provide(log.layer))
  })

  it.scoped("[S2] what a handler that was given up on does later changes nothing", () => {
    const log = logs()
    return Effect.gen(function* () {
      const slow = background(
        Effect.uninterruptible(
          Effect.zipRight(Effect.sleep("1 hour"), Effect.as(RunContext.update("Still here."), "late"))
        )
      )
      const test = yield* working({ works: { slow } })
      yield* test.close
      const before = yield* test.session.history
      yield* TestSession.advance("1 hour")
      expect(yield* test.session.history).toEqual(before)
      expect(yield* test.ended).toEqual([["slow", "cancelled"]])
      expect(log.all.filter((line) => line.startsWith("WARN")).at(-1)).toContain("ignored")
    }).pipe(oneCall, Effect.provide(log.layer))
  })

  it.scoped("[S2] a call that was committed is awaited, though its tool is cancellable", () =>
    Effect.gen(function* () {
      const slow = background(RunContext.commit(Effect.as(Effect.sleep("20 seconds"), "paid")))
      const test = yield* working({ works: { slow: [cancellable, slow] } })
      yield* test.close
      expect(yield* now).toBe(20_000)
      expect((yield* test.outputs).at(-1)).toEqual(["slow_final", "paid"])
      expect(yield* test.ended).toEqual([["slow", "done"]])
    }).pipe(oneCall)
  )

  it.scoped("[S2] a speech that disallows interruptions does not hold up a cancellable call", () =>
    Effect.gen(function* () {
      const slow = Effect.zipRight(RunContext.disallowInterruptions, Effect.never)
      const test = yield* working({ works: { slow: [cancellable, slow] } })
      yield* test.close
      expect(yield* now).toBe(0)
      expect(yield* test.ended).toEqual([["slow", "cancelled"]])
    }).pipe(oneCall)
  )

  it.scoped("[S2] queued calls, those of an agent that has left and of the session get the same treatment", () =>
    Effect.gen(function* () {
      const slow = background(Effect.as(Effect.sleep("10 seconds"), "found"))
      const set = toolset("set", { own: slow, cut: [cancellable, slow] })
      const Front = agent("front", { works: { slow: [{ releaseAfter: 0 }, slow] }, maxConcurrency: 1 })
      const test = yield* talk({ agent: Front, tools: [set] })
      yield* test.say("Work")
      yield* test.session.handoff(agent("back"))
      yield* TestSession.settle
      yield* test.close
      expect(yield* now).toBe(20_000)
      expect(Object.fromEntries(yield* test.ended)).toEqual({ a: "done", b: "done", own: "done", cut: "cancelled" })
    }).pipe(script([[call("slow", {}, "a"), call("slow", {}, "b"), call("own"), call("cut")], "Working."]))
  )

  it.scoped("[S2] whoever waits for the session is told that it closed", () =>
    Effect.gen(function* () {
      const { all, note } = notes()
      const told =
        (name: string) =>
        <A, R>(effect: Effect.Effect<A, AgentSession.SessionClosed | AiError.AiError, R>) =>
          Effect.catchAll(effect, () => note(name))
      const slow = background(Effect.never)
      const floor = RunContext.foreground(Effect.never)
      const test = yield* talk({
        agent: agent("front", {
          works: {
            slow: [cancellable, slow],
            first: Effect.zipRight(started, floor),
            second: Effect.zipRight(started, told("foreground")(RunContext.foreground(Effect.void)))
          }
        }),
        drainTimeout: "1 second"
      })
      const run = yield* Effect.fork(told("run")(test.session.run("Work")))
      yield* TestSession.settle
      const idle = yield* Effect.fork(told("idle")(test.session.waitForIdle))
      yield* TestSession.settle
      yield* test.close
      yield* Fiber.join(run)
      yield* Fiber.join(idle)
      expect(all.toSorted()).toEqual(["foreground", "idle", "run"])
      const attempts: ReadonlyArray<Effect.Effect<unknown, unknown>> = [
        test.session.send("?"),
        test.session.say("?"),
        test.session.generateReply(),
        test.session.run("?"),
        test.session.waitForIdle
      ]
      for (const attempt of attempts) {
        expect(yield* Effect.flip(attempt)).toMatchObject({ _tag: "SessionClosed" })
      }
    }).pipe(script([[call("slow"), call("first"), call("second")], "Working."]), Effect.provide(logs().layer))
  )

  it.scoped("[S2] resources go after the calls that use them: toolset, agent, session", () =>
    Effect.gen(function* () {
      const { all, layer, note } = notes()
      const set = toolset("set", {
        slow: [
          cancellable,
          background(Effect.onInterrupt(Effect.never, () => Effect.zipRight(Effect.sleep("1 second"), note("cleaned"))))
        ]
      }).pipe(AsyncToolset.provide(layer("set")))
      const Front = agent("front", { sets: [set] }).pipe(Agent.provide(layer("agent")))
      const test = yield* talk({ agent: Front })
      yield* test.say("Work")
      yield* test.close
      expect(all).toEqual(["+agent", "+set", "cleaned", "-set", "-agent"])
    }).pipe(oneCall)
  )

  it.scoped("[S2] events of the closing come before the stream of events ends", () =>
    Effect.gen(function* () {
      const test = yield* working({ works: { slow: background(Effect.sleep("1 second")) } })
      const events = yield* Effect.fork(Stream.runCollect(test.session.events))
      yield* TestSession.settle
      yield* test.close
      const tags = Array.from(yield* Fiber.join(events)).map((event) => event._tag)
      expect(tags.at(-1)).toBe("SessionClosed")
      expect(tags).toContain("ToolCallEnded")
    }).pipe(oneCall)
  )
})

/** Runs a session under a supervisor and counts what is left of its fibers once it has closed. */
const leftAfterClosing = <E, R>(
  options: Partial<Parameters<typeof talk>[0]> & Pick<Parameters<typeof talk>[0], "agent">,
  body: (test: Effect.Effect.Success<ReturnType<typeof talk>>) => Effect.Effect<unknown, E, R>
) =>
  Effect.gen(function* () {
    const supervisor = yield* Supervisor.track
    const test = yield* Effect.supervised(
      Effect.gen(function* () {
        const { close, session } = yield* TestSession.make(options)
        return { close, session }
      }),
      supervisor
    )
    yield* TestSession.settle
    yield* body({ ...test, say: (text: string) => Effect.tap(test.session.send(text), TestSession.settle) } as never)
    expect((yield* supervisor.value).length).toBeGreaterThan(0)
    yield* test.close
    yield* TestSession.settle
    return (yield* supervisor.value).length
  })

describe("after a session has closed", () => {
  const left = (works: Parameters<typeof agent>[1], options: Partial<Parameters<typeof talk>[0]> = {}) =>
    leftAfterClosing({ agent: agent("front", works), ...options }, (test) => test.say("Work"))

  it.scoped("[S2] no fiber that it started is alive: calls of all kinds, timers, fillers, floors", () =>
    Effect.gen(function* () {
      const filler = RunContext.withFiller(Effect.never, { say: "Hm.", delay: "1 minute", interval: "1 minute" })
      const works = {
        a: [{ ...cancellable, timeout: "1 hour" }, background(filler)],
        b: [{ releaseAfter: "1 hour" }, Effect.sleep("1 second")],
        c: [cancellable, background(RunContext.foreground(Effect.never))],
        d: background(Effect.zipRight(Effect.sleep("1 second"), RunContext.foreground(Effect.never)))
      } as const
      expect(yield* left({ works })).toBe(0)
    }).pipe(script([[call("a"), call("b"), call("c"), call("d")], "Working."]))
  )

  it.scoped("[S2] no fiber that it started is alive: model, output, onEnter, text that never ends", () =>
    Effect.gen(function* () {
      const onEnter = Effect.zipRight(AgentSession.say(Stream.concat(Stream.make("One."), Stream.never)), Effect.never)
      expect(yield* leftAfterClosing({ agent: agent("front", { onEnter }) }, (test) => test.say("Hello"))).toBe(0)
      expect(yield* leftAfterClosing({ agent: agent("front") }, (test) => test.say("Hello"))).toBe(0)
    }).pipe(
      script(() => ["Some text", ScriptedModel.never]),
      Effect.provide(AgentOutput.layerPaced())
    )
  )

  it.scoped("[S2] no fiber that it started is alive: a hand-off and a task under way", () =>
    Effect.gen(function* () {
      const busy = agent("front", { onExit: Effect.never })
      expect(
        yield* leftAfterClosing({ agent: busy }, ({ session }) =>
          Effect.zipRight(Effect.fork(Effect.exit(session.handoff(agent("back")))), TestSession.settle)
        )
      ).toBe(0)
      const book = RunContext.foreground(RunContext.runTask(task("own", { onEnter: Effect.never })))
      expect(yield* left({ works: { book } })).toBe(0)
    }).pipe(script([call("book")]))
  )

  it.scoped("[S2] no fiber that it started is alive but the handler that it gave up on", () =>
    Effect.gen(function* () {
      const slow = background(Effect.uninterruptible(Effect.never))
      expect(yield* left({ works: { slow, other: background(Effect.never) } })).toBe(1)
    }).pipe(script([[call("slow"), call("other")], "Working."]), Effect.provide(logs().layer))
  )

  it.scoped("[S2] no fiber that it started is alive: policies and arguments that take their time", () =>
    Effect.gen(function* () {
      const Slow = Schema.transformOrFail(Schema.String, Schema.String, {
        decode: () => Effect.never,
        encode: ParseResult.succeed
      })
      const tools = Toolkit.make(AsyncTool.make("typed", { parameters: { slow: Slow } }), AsyncTool.make("asked"))
      const Front = Agent.make("front", { instructions: "I am front.", tools: [tools] }).pipe(
        Agent.provide(tools.toLayer({ typed: () => Effect.void, asked: () => Effect.void })),
        Agent.provide(DuplicatePolicy.make(() => Effect.never))
      )
      expect(yield* leftAfterClosing({ agent: Front, drainTimeout: 0 }, (test) => test.say("Work"))).toBe(0)
    }).pipe(script([[call("typed", { slow: "x" }), call("asked")]]), Effect.provide(logs().layer))
  )
})

describe("which scope owns a tool", () => {
  const Shared = AsyncTool.make("shared")
  const shared = Toolkit.make(Shared)
  const owned = (by: string, seen: Array<string>) =>
    shared.toLayer({ shared: () => Effect.sync(() => void seen.push(by)) })
  const die = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    Effect.map(Effect.exit(Effect.scoped(effect)), (exit) => (Exit.isFailure(exit) ? String(exit.cause) : "built"))

  it.scoped("[S3] the innermost toolset that contains the tool owns the call", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const inner = AsyncToolset.make("inner", shared).pipe(AsyncToolset.provide(owned("inner", seen)))
      const outer = AsyncToolset.make("outer", [inner, shared]).pipe(AsyncToolset.provide(owned("outer", seen)))
      const Front = Agent.make("front", { instructions: "I am front.", tools: [shared, outer] }).pipe(
        Agent.provide(owned("agent", seen))
      )
      const { session } = yield* TestSession.make({ agent: Front, tools: [shared] }).pipe(
        Effect.provide(owned("session", seen))
      )
      yield* session.run("Go")
      expect(seen).toEqual(["inner"])
    }).pipe(script([call("shared"), "Done."]))
  )

  it.scoped("[S3] it hides another tool of the same name further out", () =>
    Effect.gen(function* () {
      const inner = toolset("inner", { find: Effect.succeed("inner") })
      const test = yield* talk({
        agent: agent("front", { works: { find: Effect.succeed("agent") }, sets: [inner] }),
        tools: [toolset("set", { find: Effect.succeed("session") })]
      })
      yield* test.say("Find")
      expect(yield* test.outputs).toEqual([["find", "inner"]])
      expect(ScriptedModel.toolNames(yield* test.lastRequest)).toEqual(["find"])
    }).pipe(script([call("find"), "Found."]))
  )

  it.scoped("[S3] an agent's tool hides the session's of the same name, for this agent only", () =>
    Effect.gen(function* () {
      const test = yield* talk({
        agent: agent("front", { works: { find: Effect.succeed("agent") } }),
        tools: [toolset("set", { find: Effect.succeed("session") })]
      })
      yield* test.say("Find")
      yield* test.session.handoff(agent("back"))
      yield* test.say("Find")
      expect((yield* test.outputs).map(([, output]) => output)).toEqual(["agent", "session"])
    }).pipe(script([call("find", {}, "a"), "Found.", call("find", {}, "b"), "Found."]))
  )

  it.scoped("[S3] two toolsets with one id and different tools coexist", () =>
    Effect.gen(function* () {
      const sets = [toolset("set", { a: Effect.succeed(1) }), toolset("set", { b: Effect.succeed(2) })]
      const test = yield* talk({ agent: agent("front"), tools: sets })
      yield* test.say("Both")
      expect(yield* test.outputs).toEqual([
        ["a", 1],
        ["b", 2]
      ])
    }).pipe(script([[call("a"), call("b")], "Done."]))
  )

  it.scoped("[S3] two different tools of one name in one scope fail the build, with an error that names both", () =>
    Effect.gen(function* () {
      const { all, layer } = notes()
      const [one, two] = [kit({ find: Effect.succeed(1) }), kit({ find: Effect.succeed(2) })]
      const twice = [
        AgentSession.make({
          agent: Agent.make("front", { instructions: "", tools: [one.toolkit, two.toolkit] }).pipe(
            Agent.provide(layer("res"))
          )
        }),
        AgentSession.make({ agent: agent("front"), tools: [one.toolkit, two.toolkit] }),
        AgentSession.make({ agent: agent("front", { sets: [AsyncToolset.make("set", [one.toolkit, two.toolkit])] }) })
      ]
      const places = [`agent "front"`, "the session", `toolset "set"`]
      for (const [i, build] of twice.entries()) {
        const cause = yield* die(Effect.provide(build, Layer.merge(one.live, two.live)))
        expect(cause).toContain(`"find"`)
        expect(cause).toContain(places[i])
      }
      expect(all).toEqual(["+res", "-res"])
      const sets = [toolset("left", { find: Effect.succeed(1) }), toolset("right", { find: Effect.succeed(2) })]
      const cause = yield* die(AgentSession.make({ agent: agent("front", { sets }) }))
      expect(cause).toContain(`toolset "left"`)
      expect(cause).toContain(`toolset "right"`)
    }).pipe(script([]))
  )

  it.scoped("[S3] one tool that a scope has twice is no conflict", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const Front = Agent.make("front", { instructions: "I am front.", tools: [shared, shared] }).pipe(
        Agent.provide(owned("agent", seen))
      )
      const test = yield* talk({ agent: Front })
      yield* test.say("Go")
      expect(seen).toEqual(["agent"])
    }).pipe(script([call("shared"), "Done."]))
  )

  it.scoped("[S3] a user's tool named like a companion fails the build, with an error that names both", () =>
    Effect.gen(function* () {
      for (const name of ["cancel_task", "get_running_tasks"]) {
        const works = { [name]: Effect.void }
        for (const options of [
          { agent: agent("front", { works }) },
          { agent: agent("front", { sets: [toolset("set", works)] }) },
          { agent: agent("front"), tools: [toolset("set", works)] }
        ]) {
          const cause = yield* die(AgentSession.make(options))
          expect(cause).toContain("ToolNameConflict")
          expect(cause).toContain(`"${name}"`)
        }
      }
    }).pipe(script([]))
  )

  it.scoped("[S3] a hand-off to an agent whose tools conflict fails, and the old agent stays", () => {
    const log = logs()
    return Effect.gen(function* () {
      const Bad = agent("bad", { works: { cancel_task: Effect.void } })
      const test = yield* talk({ agent: agent("front", { works: { leave: RunContext.handoff(Bad) } }) })
      yield* test.say("Go")
      expect(yield* test.agentName).toBe("front")
      expect(yield* test.ended).toEqual([["leave", "error"]])
      expect(log.all.join()).toContain(`"cancel_task"`)
    }).pipe(script([call("leave"), "Sorry."]), Effect.provide(log.layer))
  })

  it.scoped("[S3] a tool of a task that is named complete fails the build of the task", () => {
    const log = logs()
    return Effect.gen(function* () {
      const Bad = task("bad", { works: { complete: Effect.void } })
      const test = yield* talk({ agent: agent("front", { works: { book: RunContext.runTask(Bad) } }) })
      yield* test.say("Go")
      expect(yield* test.agentName).toBe("front")
      expect(yield* test.ended).toEqual([["book", "error"]])
      expect(log.causes.join()).toContain(`"complete"`)
    }).pipe(script([call("book"), "Sorry."]), Effect.provide(log.layer))
  })
})
