import { Tool, Toolkit } from "@effect/ai"
import { describe, expect, it } from "@effect/vitest"
import { Cause, Deferred, Effect, Exit, Fiber, Layer, Option, Schema } from "effect"
import {
  Agent,
  AgentOutput,
  type AgentSession,
  AsyncTool,
  AsyncToolset,
  RunContext,
  ToolPrompts
} from "effect-meantime"
import { ScriptedModel, TestSession } from "effect-meantime/testing"
import {
  call,
  cancel,
  collector,
  ends,
  type Journal,
  journal,
  open,
  outputOf,
  runningIds,
  say,
  slowly,
  turns,
  watched,
  work,
  workshop,
  workTool
} from "./support/journal.js"
import { scoped } from "./support/virtual.js"

const { advance, drive, settle } = TestSession

const cancellable = { allowCancellation: true } as const
const script = { first: work(1, "a"), second: work(2, "b"), third: work(3, "c"), stop: cancel("a", "x") }
const list = { list: call("get_running_tasks", {}, "g") }
const howTemplate = ToolPrompts.layer({ ended: "{callId} {how}" })

const inBackground = (n: number) => Effect.zipRight(RunContext.update(`at ${n}`), slowly(n))

/** Asks for cancellation and reports, with the time, what the canceller was told. */
const canceller = (session: AgentSession.AgentSession_, log: Journal, callId = "a") =>
  session.cancelTool(callId).pipe(
    Effect.matchEffect({
      onSuccess: () => log.note("told: cancelled"),
      onFailure: ({ message }) => log.note(/stopping/.test(message) ? "told: still stopping" : `told: ${message}`)
    }),
    Effect.forkScoped
  )

const refusal = (session: AgentSession.AgentSession_, callId: string) =>
  Effect.map(Effect.flip(session.cancelTool(callId)), ({ message }) => message)

const Other = Agent.make("other", { instructions: "You help." })

describe("cancelling", () => {
  scoped("[C1] interrupts the fiber of the call and waits until its finalizers have run", () =>
    Effect.gen(function* () {
      const log = journal()
      const { events, session } = yield* workshop({
        turns: script,
        tool: cancellable,
        handler: watched(log, slowly, Effect.sleep("2 seconds"))
      })
      yield* say(session, "first")
      yield* advance("3 seconds")
      yield* canceller(session, log)
      yield* advance("1 second")
      expect(log.lines).toEqual(["0 start 1", "3 stop 1"])
      expect(yield* ends(events)).toEqual([])
      expect(yield* runningIds(session)).toEqual(["a"])
      yield* advance("1 second")
      expect(log.lines).toEqual(["0 start 1", "3 stop 1", "5 clean 1", "5 told: cancelled"])
      expect(yield* ends(events)).toEqual(["a cancelled"])
      expect(yield* runningIds(session)).toEqual([])
      yield* advance("1 minute")
      expect(log.lines).toHaveLength(4)
    })
  )

  scoped("[C1] interrupts the fibers that the handler started", () =>
    Effect.gen(function* () {
      const log = journal()
      const child = (name: string) => Effect.onInterrupt(Effect.never, () => log.note(`stop ${name}`))
      const { session } = yield* workshop({
        turns: script,
        tool: cancellable,
        handler: () => Effect.as(Effect.all([child("x"), child("y")], { concurrency: "unbounded" }), "never")
      })
      yield* say(session, "first")
      yield* drive(session.cancelTool("a"))
      expect(log.lines.toSorted()).toEqual(["0 stop x", "0 stop y"])
    })
  )

  scoped("[C1] a region that cannot be interrupted runs to its end, and nothing after it", () =>
    Effect.gen(function* () {
      const log = journal()
      const { events, session } = yield* workshop({
        turns: script,
        tool: cancellable,
        handler: () =>
          Effect.uninterruptible(Effect.zipRight(Effect.sleep("3 seconds"), log.note("region"))).pipe(
            Effect.zipRight(log.note("after")),
            Effect.as("never")
          )
      })
      yield* say(session, "first")
      yield* advance("1 second")
      yield* canceller(session, log)
      yield* advance("5 seconds")
      expect(log.lines).toEqual(["3 region", "3 told: cancelled"])
      expect(yield* ends(events)).toEqual(["a cancelled"])
    })
  )

  scoped("[C1] after five seconds the canceller is told that the call is still stopping; it stops all the same", () =>
    Effect.gen(function* () {
      const log = journal()
      const { events, session } = yield* workshop({
        turns: script,
        tool: cancellable,
        handler: watched(log, slowly, Effect.sleep("20 seconds"))
      })
      yield* say(session, "first")
      yield* advance("1 second")
      yield* canceller(session, log)
      yield* advance("4999 millis")
      expect(log.lines).toEqual(["0 start 1", "1 stop 1"])
      yield* advance("1 millis")
      expect(log.lines).toEqual(["0 start 1", "1 stop 1", "6 told: still stopping"])
      expect(yield* ends(events)).toEqual([])
      yield* advance("1 minute")
      expect(log.lines.slice(3)).toEqual(["21 clean 1"])
      expect(yield* ends(events)).toEqual(["a cancelled"])
    })
  )

  scoped("[C1] cancellationTimeout can be set; infinite waits as long as it takes", () =>
    Effect.gen(function* () {
      const log = journal()
      for (const cancellationTimeout of ["2 seconds", Number.POSITIVE_INFINITY] as const) {
        const { close, session } = yield* workshop({
          turns: script,
          tool: cancellable,
          handler: watched(journal(), slowly, Effect.sleep("60 seconds")),
          options: { cancellationTimeout }
        })
        yield* say(session, "first")
        yield* canceller(session, log)
        yield* advance("60 seconds")
        yield* close
      }
      expect(log.lines).toEqual(["2 told: still stopping", "120 told: cancelled"])
    })
  )

  scoped("[C1] a tool that ignores cancellation stays visible until it has ended, and ends once", () =>
    Effect.gen(function* () {
      const log = journal()
      const { events, session } = yield* workshop({
        turns: script,
        tool: cancellable,
        handler: watched(log, (n) => Effect.uninterruptible(Effect.as(Effect.sleep("1 minute"), `result ${n}`)))
      })
      yield* say(session, "first")
      yield* canceller(session, log)
      yield* advance("59 seconds")
      expect(yield* runningIds(session)).toEqual(["a"])
      expect(log.lines).toEqual(["0 start 1", "5 told: still stopping"])
      yield* advance("1 second")
      expect(yield* runningIds(session)).toEqual([])
      expect(yield* ends(events)).toHaveLength(1)
      expect(yield* outputOf(session, "a")).toBeDefined()
    })
  )

  scoped("[C1] the model is told, too: done when the finalizers have run, an error when it takes too long", () =>
    Effect.gen(function* () {
      for (const [cleanUp, isError, told] of [
        ["2 seconds", false, 2],
        ["20 seconds", true, 5]
      ] as const) {
        const { events, session } = yield* workshop({
          turns: script,
          tool: cancellable,
          handler: watched(journal(), inBackground, Effect.sleep(cleanUp))
        })
        yield* say(session, "first", "stop")
        yield* advance(told * 1000 - 1)
        expect(yield* outputOf(session, "x")).toBeUndefined()
        yield* advance(1)
        expect(yield* outputOf(session, "x")).toMatchObject({ isError })
        expect((yield* outputOf(session, "x"))?.output).toEqual(expect.stringContaining("a"))
        yield* advance("1 minute")
        expect(yield* ends(events)).toContain("a cancelled")
      }
    })
  )

  scoped("[C1] one who cancels again waits for the same end", () =>
    Effect.gen(function* () {
      const log = journal()
      const { events, session } = yield* workshop({
        turns: script,
        tool: cancellable,
        handler: watched(log, slowly, Effect.sleep("8 seconds"))
      })
      yield* say(session, "first")
      yield* canceller(session, log)
      yield* advance("4 seconds")
      yield* canceller(session, log)
      yield* advance("10 seconds")
      expect(log.lines).toEqual(["0 start 1", "0 stop 1", "5 told: still stopping", "8 clean 1", "8 told: cancelled"])
      expect(yield* ends(events)).toEqual(["a cancelled"])
    })
  )

  for (const [title, callId] of [
    ["another call", "b"],
    ["its own call", "a"]
  ] as const) {
    scoped(`[C1] a region that must not be cut and that cancels ${title} is told after cancellationTimeout, too`, () =>
      Effect.gen(function* () {
        const log = journal()
        const cancels = Effect.flatMap(RunContext.RunContext, ({ session }) => session.cancelTool(callId)).pipe(
          Effect.catchAll(({ message }) => log.note(message)),
          Effect.as("went on"),
          Effect.uninterruptible
        )
        const slowToStop = Effect.onInterrupt(slowly(2), () => Effect.sleep("20 seconds"))
        const { events, session } = yield* workshop({
          turns: { both: [work(2, "b"), work(1, "a")] },
          tool: cancellable,
          handler: (n) => (n === 1 ? cancels : slowToStop)
        })
        yield* say(session, "both")
        yield* advance("5 seconds")
        expect(log.lines).toEqual([`5 Call ${callId} is still stopping: it ends once its clean-up is done.`])
        expect(yield* ends(events)).toEqual([callId === "a" ? "a cancelled" : "a done"])
      })
    )
  }

  scoped("[C1] a canceller that is interrupted itself does not take the cancellation back", () =>
    Effect.gen(function* () {
      const log = journal()
      const { events, session } = yield* workshop({
        turns: script,
        tool: cancellable,
        handler: watched(log, slowly, Effect.sleep("2 seconds"))
      })
      yield* say(session, "first")
      const fiber = yield* canceller(session, log)
      yield* settle
      yield* Fiber.interrupt(fiber)
      yield* advance("2 seconds")
      expect(log.lines).toEqual(["0 start 1", "0 stop 1", "2 clean 1"])
      expect(yield* ends(events)).toEqual(["a cancelled"])
    })
  )

  scoped("[C1] a finalizer that dies changes nothing: the call is cancelled, and the defect is logged once", () =>
    Effect.gen(function* () {
      const { layer, logged } = collector()
      const { events, session } = yield* workshop({
        turns: script,
        tool: cancellable,
        handler: watched(journal(), slowly, Effect.dieMessage("secret of the finalizer")),
        provide: howTemplate
      }).pipe(Effect.provide(layer))
      yield* say(session, "first")
      yield* drive(session.cancelTool("a"))
      expect(yield* ends(events)).toEqual(["a cancelled"])
      expect(yield* outputOf(session, "a")).toEqual({ output: "a cancelled", isError: false })
      expect(logged.filter((line) => line.startsWith("ERROR"))).toHaveLength(1)
    })
  )

  scoped("[C1] a handler can cancel its own call", () =>
    Effect.gen(function* () {
      const log = journal()
      const { events, session } = yield* workshop({
        turns: script,
        tool: cancellable,
        handler: watched(log, (n) =>
          Effect.flatMap(RunContext.RunContext, ({ call, session }) =>
            Effect.zipRight(Effect.orDie(session.cancelTool(call.callId)), slowly(n))
          )
        )
      })
      yield* say(session, "first")
      expect(yield* ends(events)).toEqual(["a cancelled"])
      expect(log.lines).toEqual(["0 start 1", "0 stop 1", "0 clean 1"])
    })
  )

  scoped("[C1] a timeout takes the same path: the call ends when its finalizers have run", () =>
    Effect.gen(function* () {
      const log = journal()
      const { events, session } = yield* workshop({
        turns: script,
        tool: { timeout: "4 seconds" },
        handler: watched(log, slowly, Effect.sleep("8 seconds"))
      })
      yield* say(session, "first")
      yield* advance("11 seconds")
      expect(yield* ends(events)).toEqual([])
      yield* advance("1 second")
      expect(log.lines).toEqual(["0 start 1", "4 stop 1", "12 clean 1"])
      expect(yield* ends(events)).toEqual(["a error"])
    })
  )

  scoped("[C1] so does a hand-off", () =>
    Effect.gen(function* () {
      const log = journal()
      const { events, session } = yield* workshop({
        turns: script,
        tool: cancellable,
        handler: watched(log, inBackground, Effect.sleep("3 seconds"))
      })
      yield* say(session, "first")
      yield* drive(session.handoff(Other))
      expect(yield* runningIds(session)).toEqual(["a"])
      yield* advance("3 seconds")
      expect(log.lines).toEqual(["0 start 1", "0 stop 1", "3 clean 1"])
      expect(yield* ends(events)).toEqual(["a cancelled"])
    })
  )

  scoped("[C1] and a drain", () =>
    Effect.gen(function* () {
      const log = journal()
      const { close, events, session } = yield* workshop({
        turns: script,
        tool: cancellable,
        handler: watched(log, inBackground, Effect.sleep("3 seconds"))
      })
      yield* say(session, "first")
      yield* close
      expect(log.lines).toEqual(["0 start 1", "0 stop 1", "3 clean 1"])
      expect(yield* ends(events)).toEqual(["a cancelled"])
    })
  )

  scoped("[C1] the first reason counts: a timeout that comes while a call is cancelled changes nothing", () =>
    Effect.gen(function* () {
      const { events, session } = yield* workshop({
        turns: script,
        tool: { ...cancellable, timeout: "2 seconds" },
        handler: watched(journal(), slowly, Effect.sleep("4 seconds"))
      })
      yield* say(session, "first")
      yield* advance("1 second")
      yield* drive(session.cancelTool("a"))
      yield* advance("1 minute")
      expect(yield* ends(events)).toEqual(["a cancelled"])
    })
  )

  scoped("[C1] a call that was cancelled in the background gets its last item without a reply", () =>
    Effect.gen(function* () {
      const { events, requests, session } = yield* workshop({
        turns: script,
        tool: cancellable,
        handler: inBackground,
        provide: howTemplate
      })
      yield* say(session, "first")
      const before = (yield* requests).length
      yield* drive(session.cancelTool("a"))
      yield* advance("1 minute")
      expect(yield* outputOf(session, "a_final")).toEqual({ output: "a cancelled", isError: false })
      expect(yield* events.filter("ToolCallEnded")).toMatchObject([{ id: "a_final", callId: "a", status: "cancelled" }])
      expect((yield* requests).length).toBe(before)
      yield* say(session, "Well?")
      expect(ScriptedModel.toolResults((yield* requests).at(-1)!).at(-1)).toMatchObject({
        id: "a_final",
        result: "a cancelled"
      })
    })
  )

  scoped("[C1] an update of a fiber that outlived its cancelled call is ignored, with a warning", () =>
    Effect.gen(function* () {
      const { layer, logged } = collector()
      const { events, session } = yield* workshop({
        turns: script,
        tool: cancellable,
        handler: (n) =>
          Effect.sleep("5 seconds").pipe(
            Effect.zipRight(RunContext.update("late")),
            Effect.forkDaemon,
            Effect.zipRight(slowly(n))
          )
      }).pipe(Effect.provide(layer))
      yield* say(session, "first")
      yield* drive(session.cancelTool("a"))
      const outputs = yield* TestSession.outputs(session)
      yield* advance("10 seconds")
      expect(yield* TestSession.outputs(session)).toEqual(outputs)
      expect(yield* events.filter("ToolCallUpdated", "ToolCallReleased")).toEqual([])
      expect(logged).toHaveLength(1)
      expect(logged[0]).toMatch(/^WARN .*work/)
    })
  )

  scoped("[C1] in the moment in which the handler ends, either its result or the cancellation counts", () =>
    Effect.gen(function* () {
      const { events, session } = yield* workshop({ turns: script, tool: cancellable, provide: howTemplate })
      yield* say(session, "first")
      const told = yield* Effect.forkScoped(
        Effect.zipRight(Effect.sleep("10 seconds"), Effect.either(session.cancelTool("a")))
      )
      yield* advance("1 minute")
      const { _tag } = yield* Fiber.join(told)
      expect([_tag, yield* ends(events), (yield* outputOf(session, "a"))?.output]).toEqual(
        _tag === "Left" ? ["Left", ["a done"], "result 1"] : ["Right", ["a cancelled"], "a cancelled"]
      )
    })
  )

  scoped("[C1] a queued call is cancelled at once and never begins", () =>
    Effect.gen(function* () {
      const log = journal()
      const { events, session } = yield* workshop({
        turns: { go: [work(1, "a"), work(2, "b"), work(3, "c")] },
        tool: cancellable,
        handler: watched(log),
        maxConcurrency: 1
      })
      yield* say(session, "go")
      yield* session.cancelTool("b")
      expect(yield* ends(events)).toEqual(["b cancelled"])
      yield* advance("20 seconds")
      expect(log.lines).toEqual(["0 start 1", "10 end 1", "10 start 3", "20 end 3"])
      expect(yield* ends(events)).toEqual(["b cancelled", "a done", "c done"])
    })
  )
})

describe("the point of no return", () => {
  /** Works for three seconds, commits to something that takes four, and then for three more. */
  const booking =
    (log: Journal, then: Effect.Effect<unknown> = Effect.sleep("3 seconds")) =>
    (n: number) =>
      Effect.sleep("3 seconds").pipe(
        Effect.zipRight(
          RunContext.commit(
            log.note("commit").pipe(Effect.zipRight(Effect.sleep("4 seconds")), Effect.zipRight(log.note("booked")))
          )
        ),
        Effect.zipRight(then),
        Effect.as(`result ${n}`)
      )
  const whole = ["3 commit", "7 booked"]

  for (const [when, seconds] of [
    ["while it runs", 4],
    ["after it, while the handler goes on", 8]
  ] as const) {
    scoped(`[C1b] ${when} nobody can cancel the call, and its result is recorded`, () =>
      Effect.gen(function* () {
        const log = journal()
        const { events, session } = yield* workshop({
          turns: { ...script, ...list },
          tool: cancellable,
          handler: (n) => Effect.zipRight(RunContext.update("on it"), booking(log)(n))
        })
        yield* say(session, "first")
        yield* advance(seconds * 1000)
        expect(yield* refusal(session, "a")).toMatch(/too late/i)
        expect(yield* session.runningTools).toMatchObject([{ callId: "a", allowCancellation: false }])
        yield* say(session, "stop", "list")
        expect(yield* outputOf(session, "x")).toMatchObject({
          isError: true,
          output: expect.stringMatching(/too late/i)
        })
        expect(yield* outputOf(session, "g")).toEqual({ output: [], isError: false })
        yield* advance("1 minute")
        expect(log.lines).toEqual(whole)
        expect(yield* outputOf(session, "a_final")).toEqual({ output: "result 1", isError: false })
        expect(yield* ends(events)).toContain("a done")
      })
    )
  }

  scoped("[C1b] before it the call can be cancelled, and the effect does not run", () =>
    Effect.gen(function* () {
      const log = journal()
      const { events, session } = yield* workshop({ turns: script, tool: cancellable, handler: booking(log) })
      yield* say(session, "first")
      yield* advance("2999 millis")
      yield* drive(session.cancelTool("a"))
      yield* advance("1 minute")
      expect(log.lines).toEqual([])
      expect(yield* ends(events)).toEqual(["a cancelled"])
    })
  )

  scoped("[C1b] a cancellation that came first wins over a commit in the same uninterruptible region", () =>
    Effect.gen(function* () {
      const log = journal()
      const { events, session } = yield* workshop({
        turns: script,
        tool: cancellable,
        handler: (n) => Effect.uninterruptible(booking(log)(n))
      })
      yield* say(session, "first")
      yield* advance("1 second")
      yield* canceller(session, log)
      yield* advance("1 minute")
      expect(log.lines).toEqual(["3 told: cancelled"])
      expect(yield* ends(events)).toEqual(["a cancelled"])
      expect(yield* outputOf(session, "a")).toMatchObject({ isError: false })
    })
  )

  scoped("[C1b] in one moment either the cancellation or the commit wins, and all agree which", () =>
    Effect.gen(function* () {
      const log = journal()
      const { events, session } = yield* workshop({ turns: script, tool: cancellable, handler: booking(log) })
      yield* say(session, "first")
      const told = yield* Effect.forkScoped(
        Effect.zipRight(Effect.sleep("3 seconds"), Effect.either(session.cancelTool("a")))
      )
      yield* advance("1 minute")
      const answer = yield* Fiber.join(told)
      expect([answer._tag, yield* ends(events), log.lines]).toEqual(
        answer._tag === "Left" ? ["Left", ["a done"], whole] : ["Right", ["a cancelled"], []]
      )
    })
  )

  scoped("[C1b] a timeout that comes after it does nothing", () =>
    Effect.gen(function* () {
      const log = journal()
      const { events, session } = yield* workshop({
        turns: script,
        tool: { timeout: "5 seconds" },
        handler: booking(log)
      })
      yield* say(session, "first")
      yield* advance("1 minute")
      expect(log.lines).toEqual(whole)
      expect(yield* outputOf(session, "a")).toEqual({ output: "result 1", isError: false })
      expect(yield* ends(events)).toEqual(["a done"])
    })
  )

  scoped("[C1b] a timeout that came before it wins", () =>
    Effect.gen(function* () {
      const log = journal()
      const { events, session } = yield* workshop({
        turns: script,
        tool: { timeout: "2 seconds" },
        handler: (n) => Effect.uninterruptible(booking(log)(n))
      })
      yield* say(session, "first")
      yield* advance("1 minute")
      expect(log.lines).toEqual([])
      expect(yield* ends(events)).toEqual(["a error"])
    })
  )

  scoped("[C1b] who wants to replace the call is told that it is too late", () =>
    Effect.gen(function* () {
      const log = journal()
      const { events, session } = yield* workshop({
        turns: script,
        tool: { ...cancellable, onDuplicate: "replace" },
        handler: booking(log)
      })
      yield* say(session, "first")
      yield* advance("4 seconds")
      yield* say(session, "second")
      expect(yield* outputOf(session, "b")).toMatchObject({ isError: true, output: expect.stringMatching(/too late/i) })
      yield* advance("1 minute")
      expect(log.lines).toEqual(whole)
      expect(yield* ends(events)).toEqual(["b error", "a done"])
    })
  )

  scoped("[C1b] a replacement that came first wins", () =>
    Effect.gen(function* () {
      const log = journal()
      const { events, session } = yield* workshop({
        turns: script,
        tool: { ...cancellable, onDuplicate: "replace" },
        handler: (n) => (n === 1 ? Effect.uninterruptible(booking(log)(n)) : slowly(n))
      })
      yield* say(session, "first", "second")
      yield* advance("1 minute")
      expect(log.lines).toEqual([])
      expect(yield* ends(events)).toEqual(["a cancelled", "b done"])
    })
  )

  scoped("[C1b] a hand-off does not cut it; what it ends with is recorded", () =>
    Effect.gen(function* () {
      const log = journal()
      const { events, requests, session } = yield* workshop({
        turns: script,
        tool: cancellable,
        handler: (n) => Effect.zipRight(RunContext.update("on it"), booking(log)(n))
      })
      yield* say(session, "first")
      yield* advance("4 seconds")
      yield* drive(session.handoff(Other))
      yield* advance("1 minute")
      expect(log.lines).toEqual(whole)
      expect(yield* ends(events)).toEqual(["a done"])
      expect(yield* outputOf(session, "a_final")).toEqual({ output: "result 1", isError: false })
      yield* say(session, "Well?")
      expect(ScriptedModel.transcript((yield* requests).at(-1)!)).toContain("result 1")
    })
  )

  scoped("[C1b] a hand-off that came first wins", () =>
    Effect.gen(function* () {
      const log = journal()
      const { events, session } = yield* workshop({
        turns: script,
        tool: cancellable,
        handler: (n) => Effect.zipRight(RunContext.update("on it"), Effect.uninterruptible(booking(log)(n)))
      })
      yield* say(session, "first")
      yield* drive(session.handoff(Other))
      yield* advance("1 minute")
      expect(log.lines).toEqual([])
      expect(yield* ends(events)).toEqual(["a cancelled"])
    })
  )

  scoped("[C1b] a session that closes waits for it and records what it ends with", () =>
    Effect.gen(function* () {
      const log = journal()
      const { close, events, session } = yield* workshop({ turns: script, tool: cancellable, handler: booking(log) })
      yield* say(session, "first")
      yield* advance("4 seconds")
      yield* close
      expect(log.lines).toEqual(whole)
      expect(yield* ends(events)).toEqual(["a done"])
      expect(yield* outputOf(session, "a")).toEqual({ output: "result 1", isError: false })
    })
  )

  scoped("[C1b] also where it takes longer than drainTimeout", () =>
    Effect.gen(function* () {
      const log = journal()
      const { layer } = collector()
      const { close, events, session } = yield* workshop({
        turns: script,
        tool: cancellable,
        handler: booking(log, Effect.void),
        options: { drainTimeout: "2 seconds" }
      }).pipe(Effect.provide(layer))
      yield* say(session, "first")
      yield* advance("3500 millis")
      yield* close
      expect(log.lines).toEqual(whole)
      expect(yield* ends(events)).toEqual(["a done"])
      expect(yield* outputOf(session, "a")).toEqual({ output: "result 1", isError: false })
    })
  )

  scoped("[C1b] also where drainTimeout is 0, as long as a call that stops may take", () =>
    Effect.gen(function* () {
      const log = journal()
      const { layer } = collector()
      const { close, events, session } = yield* workshop({
        turns: script,
        tool: cancellable,
        handler: booking(log, Effect.void),
        options: { drainTimeout: 0 }
      }).pipe(Effect.provide(layer))
      yield* say(session, "first")
      yield* advance("4 seconds")
      yield* close
      expect(log.lines).toEqual(whole)
      expect(yield* ends(events)).toEqual(["a done"])
    })
  )

  scoped("[C1b] a drain that came first wins", () =>
    Effect.gen(function* () {
      const log = journal()
      const { close, events, session } = yield* workshop({
        turns: script,
        tool: cancellable,
        handler: (n) => Effect.uninterruptible(booking(log)(n))
      })
      yield* say(session, "first")
      yield* close
      expect(log.lines).toEqual([])
      expect(yield* ends(events)).toEqual(["a cancelled"])
    })
  )

  scoped("[C1b] an interruption of the turn does not cancel it", () =>
    Effect.gen(function* () {
      const log = journal()
      const { events, session } = yield* workshop({
        turns: script,
        tool: { ...cancellable, cancelOnInterruption: true },
        handler: booking(log)
      })
      yield* say(session, "first")
      yield* advance("4 seconds")
      yield* say(session, "Wait!")
      yield* advance("1 minute")
      expect(log.lines).toEqual(whole)
      expect(yield* ends(events)).toEqual(["a done"])
      expect(yield* outputOf(session, "a")).toEqual({ output: "result 1", isError: false })
    })
  )

  scoped("[C1b] a failure of the effect is recorded like any other", () =>
    Effect.gen(function* () {
      const { layer } = collector()
      const { events, session } = yield* workshop({
        turns: script,
        tool: cancellable,
        handler: () =>
          RunContext.commit(Effect.zipRight(Effect.sleep("1 second"), new AsyncTool.ToolError({ message: "sold out" })))
      }).pipe(Effect.provide(layer))
      yield* say(session, "first")
      expect(yield* refusal(session, "a")).toMatch(/too late/i)
      yield* advance("1 second")
      expect(yield* outputOf(session, "a")).toEqual({ output: "sold out", isError: true })
      expect(yield* ends(events)).toEqual(["a error"])
    })
  )

  scoped("[C1b] the effect cannot be interrupted by the handler either", () =>
    Effect.gen(function* () {
      const log = journal()
      const { session } = yield* workshop({
        turns: script,
        handler: () =>
          RunContext.commit(Effect.zipRight(Effect.sleep("4 seconds"), log.note("booked"))).pipe(
            Effect.timeoutOption("1 second"),
            Effect.as("over")
          )
      })
      yield* say(session, "first")
      yield* advance("10 seconds")
      expect(log.lines).toEqual(["4 booked"])
    })
  )

  scoped("[C1b] it holds for all calls that share the run", () =>
    Effect.gen(function* () {
      const log = journal()
      const { events, session } = yield* workshop({
        turns: { both: [work(1, "a"), work(1, "b")] },
        tool: { ...cancellable, onDuplicate: "join" },
        handler: booking(log)
      })
      yield* say(session, "both")
      yield* advance("4 seconds")
      for (const id of ["a", "b"]) expect(yield* refusal(session, id)).toMatch(/too late/i)
      yield* advance("1 minute")
      expect((yield* ends(events)).toSorted()).toEqual(["a done", "b done"])
    })
  )

  it.effect("[C1b] outside a session it runs the effect", () =>
    Effect.gen(function* () {
      const toolkit = Toolkit.make(workTool())
      const executed = yield* AsyncTool.execute(toolkit, { name: "work", arguments: { n: 1 } }).pipe(
        Effect.provide(toolkit.toLayer({ work: () => RunContext.commit(Effect.succeed("booked")) }))
      )
      expect(executed).toEqual({ output: "booked", isError: false, updates: [] })
    })
  )
})

describe("who can cancel what", () => {
  scoped("[C2] without the flag neither the model, nor a program, nor a hand-off cancels a call", () =>
    Effect.gen(function* () {
      const log = journal()
      // another tool has the flag, so that the model has cancel_task
      const tools = Toolkit.make(workTool(), AsyncTool.make("spare", cancellable))
      const agent = Agent.make("worker", { instructions: "You work.", tools: [tools] }).pipe(
        Agent.provide(tools.toLayer({ work: ({ n }) => watched(log, inBackground)(n), spare: () => Effect.void }))
      )
      const { events, session } = yield* open(turns(script), { agent })
      yield* say(session, "first", "stop")
      expect(yield* outputOf(session, "x")).toMatchObject({ isError: true, output: expect.stringContaining("work") })
      expect(yield* refusal(session, "a")).toMatch(/may not/)
      yield* drive(session.handoff(Other))
      yield* advance("10 seconds")
      expect(log.lines).toEqual(["0 start 1", "10 end 1"])
      expect(yield* ends(events)).toEqual(["x error", "a done"])
    })
  )

  scoped("[C2] with it the model, a program and a hand-off do", () =>
    Effect.gen(function* () {
      const ways: ReadonlyArray<(session: AgentSession.AgentSession_) => Effect.Effect<unknown, unknown>> = [
        (session) => say(session, "stop"),
        (session) => session.cancelTool("a"),
        (session) => session.handoff(Other)
      ]
      for (const way of ways) {
        const { events, session } = yield* workshop({ turns: script, tool: cancellable, handler: inBackground })
        yield* say(session, "first")
        yield* drive(way(session))
        expect(yield* ends(events)).toContain("a cancelled")
      }
    })
  )

  const offered = <R>(agent: Agent.Agent<R>, tools: ReadonlyArray<AsyncToolset.Entry> = []) =>
    Effect.gen(function* () {
      const { requests, session } = yield* open(turns({}), { agent: agent as Agent.Agent<never>, tools: tools as [] })
      yield* say(session, "hello")
      return ScriptedModel.toolNames((yield* requests)[0]!)
    })
  const quick = { work: () => Effect.succeed("done") }
  const companions = ["cancel_task", "get_running_tasks"]
  const Flagged = Toolkit.make(workTool(cancellable))
  const Plain = Toolkit.make(workTool())

  scoped("[C2] the companions are offered whenever a tool that the agent can see has the flag", () =>
    Effect.gen(function* () {
      const agent = Agent.make("worker", { instructions: "You work.", tools: [Flagged] }).pipe(
        Agent.provide(Flagged.toLayer(quick))
      )
      expect((yield* offered(agent)).toSorted()).toEqual([...companions, "work"])
      const nested = AsyncToolset.make("outer", AsyncToolset.make("inner", Flagged)).pipe(
        AsyncToolset.provide(Flagged.toLayer(quick))
      )
      const withToolset = Agent.make("worker", { instructions: "You work.", tools: [nested] })
      expect((yield* offered(withToolset)).toSorted()).toEqual([...companions, "work"])
      expect((yield* offered(Other, [nested])).toSorted()).toEqual([...companions, "work"])
    })
  )

  scoped("[C2] they are not offered where none has it", () =>
    Effect.gen(function* () {
      const agent = Agent.make("worker", { instructions: "You work.", tools: [Plain] }).pipe(
        Agent.provide(Plain.toLayer(quick))
      )
      expect(yield* offered(agent)).toEqual(["work"])
      expect(yield* offered(Other)).toEqual([])
    })
  )

  scoped("[C2] a tool of @effect/ai gets the flag by an annotation", () =>
    Effect.gen(function* () {
      const log = journal()
      const Work = Tool.make("work", { parameters: { n: Schema.Number }, success: Schema.String }).annotate(
        AsyncTool.Annotations,
        cancellable
      )
      const toolkit = Toolkit.make(Work)
      const agent = Agent.make("worker", { instructions: "You work.", tools: [toolkit] }).pipe(
        Agent.provide(
          toolkit.toLayer({
            work: () => Effect.onInterrupt(Effect.never, () => log.note("stop"))
          })
        )
      )
      const { events, session } = yield* open(turns(script), { agent })
      yield* say(session, "first", "stop")
      expect(log.lines).toEqual(["0 stop"])
      expect((yield* ends(events)).toSorted()).toEqual(["a cancelled", "x done"])
    })
  )

  scoped("[C2] the model can cancel a call of the same step", () =>
    Effect.gen(function* () {
      const { events, session } = yield* workshop({
        turns: { go: [work(1, "a"), cancel("a", "x")] },
        tool: cancellable,
        provide: howTemplate
      })
      yield* say(session, "go")
      expect((yield* ends(events)).toSorted()).toEqual(["a cancelled", "x done"])
      expect((yield* TestSession.outputs(session)).map(({ callId }) => callId)).toEqual(["a", "x"])
      expect(yield* outputOf(session, "a")).toEqual({ output: "a cancelled", isError: false })
      expect(yield* TestSession.said(session)).toEqual(["Noted."])
    })
  )

  scoped("[C2] the companions are calls like others: they have a start, an end and an output", () =>
    Effect.gen(function* () {
      const { events, session } = yield* workshop({
        turns: { ...script, ...list },
        tool: cancellable,
        handler: inBackground
      })
      yield* say(session, "first", "list", "stop")
      expect((yield* events.filter("ToolCallStarted")).map(({ call }) => call.callId)).toEqual(["a", "g", "x"])
      expect(yield* ends(events)).toEqual(["g done", "a cancelled", "x done"])
      expect(yield* runningIds(session)).toEqual([])
    })
  )

  scoped("[C3] the tools and their schemas are the same in every request, whatever runs", () =>
    Effect.gen(function* () {
      const tools = Toolkit.make(workTool({ ...cancellable, onDuplicate: "confirm", background: "model" }))
      const agent = Agent.make("worker", { instructions: "You work.", tools: [tools] }).pipe(
        Agent.provide(tools.toLayer({ work: ({ n }) => inBackground(n) }))
      )
      const { requests, session } = yield* open(turns({ ...script, ...list }), { agent })
      yield* say(session, "hello", "first", "second", "list", "stop", "again")
      yield* advance("1 minute")
      yield* say(session, "third", "bye")
      yield* advance("1 minute")
      const all = yield* requests
      expect(all.length).toBeGreaterThan(10)
      expect(all.some(({ toolChoice }) => toolChoice === "none")).toBe(true)
      const views = new Set(all.map((request) => JSON.stringify(request.tools)))
      expect(views.size).toBe(1)
      expect(all[0]?.tools.map(({ name }) => name)).toEqual(["work", "cancel_task", "get_running_tasks"])
    })
  )

  scoped("[C3] they are the same again when the agent comes back after another one", () =>
    Effect.gen(function* () {
      const make = () =>
        Agent.make("worker", { instructions: "You work.", tools: [Flagged] }).pipe(
          Agent.provide(Flagged.toLayer(quick))
        )
      const { requests, session } = yield* open(turns({}), { agent: make() })
      yield* say(session, "one")
      yield* drive(session.handoff(Other))
      yield* say(session, "two")
      yield* drive(session.handoff(make()))
      yield* say(session, "three")
      const [first, , last] = yield* requests
      expect(JSON.stringify(last?.tools)).toBe(JSON.stringify(first?.tools))
    })
  )
})

describe("get_running_tasks", () => {
  scoped("[C4] lists call id, name, arguments, start and last update", () =>
    Effect.gen(function* () {
      const { session } = yield* workshop({
        turns: { ...script, ...list },
        tool: cancellable,
        handler: (n) => (n === 1 ? Effect.zipRight(RunContext.update({ percent: 10 }), slowly(n)) : slowly(n))
      })
      yield* say(session, "first")
      yield* advance("2 seconds")
      yield* say(session, "second", "list")
      expect(yield* outputOf(session, "g")).toEqual({
        output: [
          {
            call_id: "a",
            name: "work",
            arguments: { n: 1 },
            started_at: "1970-01-01T00:00:00.000Z",
            last_update: { percent: 10 }
          },
          {
            call_id: "b",
            name: "work",
            arguments: { n: 2 },
            started_at: "1970-01-01T00:00:02.000Z",
            last_update: null
          }
        ],
        isError: false
      })
    })
  )

  scoped("[C4] leaves out what has ended, may not be cancelled, or is a companion", () =>
    Effect.gen(function* () {
      const tools = Toolkit.make(
        workTool(cancellable),
        AsyncTool.make("fixed", { parameters: { n: Schema.Number }, success: Schema.String })
      )
      const agent = Agent.make("worker", { instructions: "You work.", tools: [tools] }).pipe(
        Agent.provide(
          tools.toLayer({ work: ({ n }) => (n === 2 ? Effect.succeed("") : slowly(n)), fixed: ({ n }) => slowly(n) })
        )
      )
      const { session } = yield* open(
        turns({ go: [work(1, "a"), work(2, "b"), call("fixed", { n: 1 }, "f"), call("get_running_tasks", {}, "g")] }),
        { agent }
      )
      yield* say(session, "go")
      yield* advance("10 seconds")
      expect((yield* outputOf(session, "g"))?.output).toMatchObject([{ call_id: "a" }])
    })
  )

  scoped("[C4] never shows a call of another session, and cannot cancel one", () =>
    Effect.gen(function* () {
      const config = { turns: { ...script, ...list, cut: cancel("c", "y") }, tool: cancellable, handler: inBackground }
      const one = yield* workshop(config)
      const two = yield* workshop(config)
      yield* say(one.session, "first")
      yield* say(two.session, "third", "list")
      yield* say(one.session, "list", "cut")
      expect((yield* outputOf(one.session, "g"))?.output).toMatchObject([{ call_id: "a" }])
      expect((yield* outputOf(two.session, "g"))?.output).toMatchObject([{ call_id: "c" }])
      expect(yield* outputOf(one.session, "y")).toMatchObject({ isError: true })
      expect(yield* runningIds(two.session)).toEqual(["c"])
    })
  )

  scoped("[C4] lists the running calls of an earlier agent that survived the hand-off", () =>
    Effect.gen(function* () {
      const Flagged = Toolkit.make(workTool({ ...cancellable, onHandoff: "promote" }))
      const agent = (name: string) =>
        Agent.make(name, { instructions: "You work.", tools: [Flagged] }).pipe(
          Agent.provide(Flagged.toLayer({ work: ({ n }) => inBackground(n) }))
        )
      const { events, session } = yield* open(turns({ ...script, ...list }), { agent: agent("front") })
      yield* say(session, "first")
      yield* drive(session.handoff(agent("back")))
      yield* say(session, "list", "stop")
      expect((yield* outputOf(session, "g"))?.output).toMatchObject([{ call_id: "a" }])
      expect(yield* ends(events)).toContain("a cancelled")
    })
  )
})

describe("what cannot be cancelled", () => {
  /** The same question from a program and from the model. */
  const asked = (session: AgentSession.AgentSession_, target: string) =>
    Effect.gen(function* () {
      const told = yield* refusal(session, target)
      yield* say(session, `cancel ${target}`)
      expect(yield* outputOf(session, "x")).toEqual({ output: told, isError: true })
      return told
    })
  const cancels = (target: string) => ({ [`cancel ${target}`]: cancel(target, "x") })

  scoped("[C5] an unknown id is an error that says so", () =>
    Effect.gen(function* () {
      const { session } = yield* workshop({ turns: cancels("zzz"), tool: cancellable })
      const told = yield* asked(session, "zzz")
      expect(told).toContain("zzz")
      expect(told).toMatch(/no call/i)
      expect(yield* refusal(session, "")).toMatch(/no call/i)
    })
  )

  scoped("[C5] a call that has ended is an error that says so", () =>
    Effect.gen(function* () {
      const { session } = yield* workshop({
        turns: { ...script, ...cancels("a") },
        tool: cancellable,
        handler: () => Effect.succeed("quick")
      })
      yield* say(session, "first")
      expect(yield* asked(session, "a")).toMatch(/ended/)
    })
  )

  scoped("[C5] a call that was cancelled has ended, too", () =>
    Effect.gen(function* () {
      const { events, session } = yield* workshop({ turns: script, tool: cancellable })
      yield* say(session, "first")
      yield* session.cancelTool("a")
      expect(yield* refusal(session, "a")).toMatch(/ended/)
      expect(yield* ends(events)).toEqual(["a cancelled"])
    })
  )

  scoped("[C5] the id of an update is not the id of a call, and least of all of one that has ended", () =>
    Effect.gen(function* () {
      const { session } = yield* workshop({
        turns: { ...script, ...cancels("a_update_1") },
        tool: cancellable,
        handler: (n) => Effect.zipRight(RunContext.update("one"), Effect.zipRight(RunContext.update("two"), slowly(n)))
      })
      yield* say(session, "first")
      expect(yield* outputOf(session, "a_update_1")).toBeDefined()
      expect(yield* asked(session, "a_update_1")).not.toMatch(/ended/)
      expect(yield* runningIds(session)).toEqual(["a"])
    })
  )

  scoped("[C5] a call that may not be cancelled is an error that says so", () =>
    Effect.gen(function* () {
      const tools = Toolkit.make(workTool(), AsyncTool.make("spare", cancellable))
      const agent = Agent.make("worker", { instructions: "You work.", tools: [tools] }).pipe(
        Agent.provide(tools.toLayer({ work: ({ n }) => inBackground(n), spare: () => Effect.void }))
      )
      const { session } = yield* open(turns({ ...script, ...cancels("a") }), { agent })
      yield* say(session, "first")
      expect(yield* asked(session, "a")).toMatch(/may not be cancelled/)
      expect(yield* runningIds(session)).toEqual(["a"])
    })
  )

  scoped("[C5] a companion may not be cancelled", () =>
    Effect.gen(function* () {
      const { events, session } = yield* workshop({
        turns: { first: work(1, "a"), stop: [cancel("a", "x"), cancel("x", "y")] },
        tool: cancellable,
        handler: watched(journal(), inBackground, Effect.sleep("1 second"))
      })
      yield* say(session, "first", "stop")
      expect(yield* outputOf(session, "y")).toBeUndefined()
      yield* advance("1 second")
      expect(yield* outputOf(session, "y")).toMatchObject({ isError: true, output: expect.stringMatching(/may not/) })
      expect((yield* ends(events)).toSorted()).toEqual(["a cancelled", "x done", "y error"])
    })
  )

  scoped("[C5] a committed call is an error that says so", () =>
    Effect.gen(function* () {
      const { session } = yield* workshop({
        turns: { ...script, ...cancels("a") },
        tool: cancellable,
        handler: (n) => Effect.zipRight(RunContext.update("on it"), RunContext.commit(slowly(n)))
      })
      yield* say(session, "first")
      expect(yield* asked(session, "a")).toMatch(/too late/)
    })
  )

  scoped("[C5] a call whose speech disallows interruptions is an error that says so, while the speech lasts", () =>
    Effect.gen(function* () {
      const gate = yield* Deferred.make<void>()
      const { events, session } = yield* workshop({
        turns: { ...script, first: [work(1, "a"), ScriptedModel.effect(Deferred.await(gate))] },
        tool: cancellable,
        handler: inBackground
      })
      yield* session.send("first", { allowInterruptions: false })
      yield* settle
      const told = yield* refusal(session, "a")
      expect(told).toMatch(/speech|interrupt/)
      expect(told).not.toMatch(/ended|too late/)
      expect(yield* runningIds(session)).toEqual(["a"])
      yield* Deferred.succeed(gate, undefined)
      yield* settle
      yield* session.cancelTool("a")
      expect(yield* ends(events)).toEqual(["a cancelled"])
    })
  )

  scoped("[C5] so is one whose handler disallowed them", () =>
    Effect.gen(function* () {
      const { events, session } = yield* workshop({
        turns: script,
        tool: cancellable,
        handler: (n) => Effect.zipRight(RunContext.disallowInterruptions, slowly(n))
      })
      yield* say(session, "first")
      expect(yield* refusal(session, "a")).toMatch(/speech|interrupt/)
      yield* advance("10 seconds")
      expect(yield* ends(events)).toEqual(["a done"])
    })
  )

  scoped("[C5] the speech of another turn that disallows interruptions does not protect a call", () =>
    Effect.gen(function* () {
      const { events, session } = yield* workshop({
        turns: { ...script, slow: ScriptedModel.never },
        tool: cancellable,
        handler: inBackground
      })
      yield* say(session, "first")
      yield* session.send("slow", { allowInterruptions: false })
      yield* settle
      yield* session.cancelTool("a")
      expect(yield* ends(events)).toEqual(["a cancelled"])
    })
  )

  scoped("[C5] each of the reasons has words of its own", () =>
    Effect.gen(function* () {
      const tools = Toolkit.make(
        workTool(cancellable),
        AsyncTool.make("fixed", { parameters: { n: Schema.Number }, success: Schema.String })
      )
      const agent = Agent.make("worker", { instructions: "You work.", tools: [tools] }).pipe(
        Agent.provide(
          tools.toLayer({
            work: ({ n }) => (n === 1 ? Effect.succeed("quick") : n === 2 ? RunContext.commit(slowly(n)) : slowly(n)),
            fixed: ({ n }) => slowly(n)
          })
        )
      )
      const { session } = yield* open(
        turns({ go: [work(1, "a"), work(2, "b"), work(3, "c"), call("fixed", { n: 1 }, "d")] }),
        { agent }
      )
      yield* session.send("go", { allowInterruptions: false })
      yield* settle
      const told = yield* Effect.forEach(["a", "b", "c", "d", "e"], (id) =>
        Effect.map(refusal(session, id), (message) => message.replaceAll(id, "_"))
      )
      expect(new Set(told).size).toBe(5)
    })
  )

  scoped("[C5] cancelTool fails with a ToolError, also when the session is closed", () =>
    Effect.gen(function* () {
      const { close, session } = yield* workshop({ turns: script, tool: cancellable })
      yield* say(session, "first")
      yield* close
      expect(yield* Effect.flip(session.cancelTool("a"))).toBeInstanceOf(AsyncTool.ToolError)
    })
  )
})

describe("a call cancelled in its turn", () => {
  scoped("[C6] releases the turn with an output that says so, and the model replies to it", () =>
    Effect.gen(function* () {
      const { events, requests, session } = yield* workshop({ turns: script, tool: cancellable })
      const speech = yield* session.send("first")
      yield* advance("2 seconds")
      expect(yield* TestSession.said(session)).toEqual([])
      yield* session.cancelTool("a")
      yield* drive(speech.wait)
      const output = yield* outputOf(session, "a")
      expect(output).toMatchObject({ isError: false, output: expect.stringMatching(/cancelled/) })
      expect(ScriptedModel.toolResults((yield* requests).at(-1)!)).toMatchObject([{ id: "a", result: output?.output }])
      expect(yield* TestSession.said(session)).toEqual(["Noted."])
      expect(yield* events.filter("ToolCallEnded")).toMatchObject([{ id: "a", callId: "a", status: "cancelled" }])
      expect(yield* events.filter("ReplyScheduled")).toEqual([])
    })
  )

  scoped("[C6] uses the `ended` template", () =>
    Effect.gen(function* () {
      const { session } = yield* workshop({ turns: script, tool: cancellable, provide: howTemplate })
      yield* say(session, "first")
      yield* session.cancelTool("a")
      expect(yield* outputOf(session, "a")).toEqual({ output: "a cancelled", isError: false })
    })
  )

  scoped("[C6] the turn goes on to wait for its other calls", () =>
    Effect.gen(function* () {
      const { session } = yield* workshop({ turns: { go: [work(1, "a"), work(2, "b")] }, tool: cancellable })
      yield* say(session, "go")
      yield* session.cancelTool("a")
      yield* settle
      expect(yield* TestSession.said(session)).toEqual([])
      yield* advance("10 seconds")
      expect((yield* TestSession.outputs(session)).map(({ callId }) => callId)).toEqual(["a", "b"])
      expect(yield* TestSession.said(session)).toEqual(["Noted."])
    })
  )

  scoped("[C6] the turn is held until the finalizers have run", () =>
    Effect.gen(function* () {
      const { session } = yield* workshop({
        turns: script,
        tool: cancellable,
        handler: watched(journal(), slowly, Effect.sleep("2 seconds"))
      })
      yield* say(session, "first")
      yield* canceller(session, journal())
      yield* advance("1999 millis")
      expect(yield* outputOf(session, "a")).toBeUndefined()
      yield* advance("1 millis")
      expect(yield* TestSession.said(session)).toEqual(["Noted."])
    })
  )

  scoped("[C6] there is no reply where the turn was interrupted", () =>
    Effect.gen(function* () {
      const { requests, session } = yield* workshop({ turns: script, tool: cancellable })
      yield* say(session, "first")
      yield* session.interrupt()
      const before = (yield* requests).length
      yield* session.cancelTool("a")
      yield* advance("1 minute")
      expect(yield* outputOf(session, "a")).toMatchObject({ isError: false })
      expect((yield* requests).length).toBe(before)
      expect(yield* TestSession.said(session)).toEqual([])
    })
  )

  scoped("[C6] session.run ends with the reply to it", () =>
    Effect.gen(function* () {
      const { session } = yield* workshop({ turns: script, tool: cancellable })
      const result = yield* Effect.forkScoped(session.run("first"))
      yield* settle
      yield* session.cancelTool("a")
      expect(yield* drive(Fiber.join(result))).toMatchObject({ text: "Noted." })
    })
  )
})

describe("inside a region that must not be cut", () => {
  scoped("[C7] isCancelled tells whether cancellation has been asked for", () =>
    Effect.gen(function* () {
      const log = journal()
      const look = Effect.flatMap(RunContext.isCancelled, (cancelled) => log.note(`${cancelled}`))
      const { session } = yield* workshop({
        turns: script,
        tool: cancellable,
        handler: (n) =>
          Effect.uninterruptible(
            look.pipe(Effect.zipRight(Effect.sleep("2 seconds")), Effect.zipRight(look), Effect.zipRight(slowly(n)))
          )
      })
      yield* say(session, "first")
      yield* advance("1 second")
      yield* canceller(session, journal())
      yield* advance("1 second")
      expect(log.lines).toEqual(["0 false", "2 true"])
    })
  )

  scoped("[C7] isCancelled is true after a timeout as well", () =>
    Effect.gen(function* () {
      const log = journal()
      const { session } = yield* workshop({
        turns: script,
        tool: { timeout: "1 second" },
        handler: (n) =>
          Effect.uninterruptible(
            Effect.sleep("2 seconds").pipe(
              Effect.zipRight(RunContext.isCancelled),
              Effect.flatMap((cancelled) => log.note(`${cancelled}`)),
              Effect.as(`result ${n}`)
            )
          )
      })
      yield* say(session, "first")
      yield* advance("10 seconds")
      expect(log.lines).toEqual(["2 true"])
    })
  )

  scoped("[C7] orCancelled gives the value while nobody cancels", () =>
    Effect.gen(function* () {
      const { session } = yield* workshop({
        turns: script,
        handler: () => Effect.map(RunContext.orCancelled(Effect.as(Effect.sleep("1 second"), 7)), (value) => `${value}`)
      })
      yield* say(session, "first")
      yield* advance("1 second")
      expect((yield* outputOf(session, "a"))?.output).toContain("7")
    })
  )

  scoped("[C7] orCancelled gives none once cancellation is asked for, and stops the effect", () =>
    Effect.gen(function* () {
      const log = journal()
      const wait = Effect.onInterrupt(Effect.sleep("1 hour"), () => log.note("wait stopped"))
      const { events, session } = yield* workshop({
        turns: script,
        tool: cancellable,
        handler: (n) =>
          Effect.uninterruptible(
            Effect.flatMap(RunContext.orCancelled(wait), ({ _tag }) => log.note(_tag)).pipe(
              Effect.zipRight(Effect.sleep("1 second")),
              Effect.zipRight(log.note("tidy")),
              Effect.as(`result ${n}`)
            )
          )
      })
      yield* say(session, "first")
      yield* advance("5 seconds")
      yield* canceller(session, log)
      yield* advance("1 second")
      expect(log.lines).toEqual(["5 wait stopped", "5 None", "6 tidy", "6 told: cancelled"])
      expect(yield* ends(events)).toEqual(["a cancelled"])
    })
  )

  scoped("[C7] orCancelled gives none where cancellation was asked for before, and starts nothing", () =>
    Effect.gen(function* () {
      const log = journal()
      const { session } = yield* workshop({
        turns: script,
        tool: cancellable,
        handler: (n) =>
          Effect.uninterruptible(
            Effect.sleep("1 second").pipe(
              Effect.zipRight(RunContext.orCancelled(log.note("started"))),
              Effect.flatMap(({ _tag }) => log.note(_tag)),
              Effect.as(`result ${n}`)
            )
          )
      })
      yield* say(session, "first")
      yield* canceller(session, journal())
      yield* advance("1 second")
      expect(log.lines).toEqual(["1 None"])
    })
  )

  scoped("[C7] a loop of steps ends with the step in which cancellation was asked for", () =>
    Effect.gen(function* () {
      const log = journal()
      const { events, session } = yield* workshop({
        turns: script,
        tool: cancellable,
        handler: (n) =>
          Effect.uninterruptible(
            Effect.gen(function* () {
              for (let i = 0; !(yield* RunContext.isCancelled); i++) {
                yield* log.note(`step ${i}`)
                yield* RunContext.orCancelled(Effect.sleep("1 second"))
              }
              return `result ${n}`
            })
          )
      })
      yield* say(session, "first")
      yield* advance("2500 millis")
      yield* drive(session.cancelTool("a"))
      yield* advance("10 seconds")
      expect(log.lines).toEqual(["0 step 0", "1 step 1", "2 step 2"])
      expect(yield* ends(events)).toEqual(["a cancelled"])
    })
  )

  scoped("[C7] a failure of the effect in orCancelled is the handler's", () =>
    Effect.gen(function* () {
      const { layer } = collector()
      const { session } = yield* workshop({
        turns: script,
        tool: cancellable,
        handler: () =>
          Effect.uninterruptible(
            Effect.as(RunContext.orCancelled(new AsyncTool.ToolError({ message: "no luck" })), "never")
          )
      }).pipe(Effect.provide(layer))
      yield* say(session, "first")
      expect(yield* outputOf(session, "a")).toEqual({ output: "no luck", isError: true })
    })
  )

  it.effect(
    "[C7] [U8] a RunContext of one's own, as a unit test may give a handler, needs no more than is promised",
    () =>
      Effect.gen(function* () {
        const own = { isCancelled: Effect.succeed(false) } as RunContext.Service
        const given = Effect.provideService(RunContext.orCancelled(Effect.succeed(1)), RunContext.RunContext, own)
        expect(yield* given).toEqual(Option.some(1))
        const cancelled = { isCancelled: Effect.succeed(true) } as RunContext.Service
        const none = Effect.provideService(RunContext.orCancelled(Effect.succeed(1)), RunContext.RunContext, cancelled)
        expect(yield* none).toEqual(Option.none())
        const task = Agent.task("task", { instructions: "", result: Schema.Struct({ n: Schema.Number }) })
        expect(yield* Effect.provideService(task.complete({ n: 1 }), RunContext.RunContext, own)).toBeUndefined()
        const ran = yield* Effect.exit(Effect.provideService(RunContext.runTask(task), RunContext.RunContext, own))
        expect(Exit.isFailure(ran) && Cause.pretty(ran.cause)).toContain("has no runTask")
      })
  )

  scoped("[C7] promise code gets an AbortSignal that is aborted", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const { session } = yield* workshop({
        turns: script,
        tool: cancellable,
        handler: () =>
          Effect.promise(
            (signal) =>
              new Promise<string>(() => {
                signal.addEventListener("abort", () => seen.push("aborted"))
              })
          )
      })
      yield* say(session, "first")
      expect(seen).toEqual([])
      yield* session.cancelTool("a")
      expect(seen).toEqual(["aborted"])
    })
  )

  it.effect("[C7] outside a session nothing is ever cancelled", () =>
    Effect.gen(function* () {
      const toolkit = Toolkit.make(workTool())
      const executed = yield* AsyncTool.execute(toolkit, { name: "work", arguments: { n: 1 } }).pipe(
        Effect.provide(
          toolkit.toLayer({
            work: () =>
              Effect.zipWith(
                RunContext.isCancelled,
                RunContext.orCancelled(Effect.yieldNow()),
                (cancelled, value) => `${cancelled} ${value._tag}`
              )
          })
        )
      )
      expect(executed.output).toBe("false Some")
    })
  )
})

describe("when the user interrupts", () => {
  const spoken = { ...script, first: ["Let me look into that for you.", work(1, "a")] }
  const paced = AgentOutput.layerPaced({ charactersPerSecond: 10 })
  const merged = (...layers: ReadonlyArray<Layer.Layer<never>>) => Layer.mergeAll(Layer.empty, ...layers)

  scoped("[C8] the inline calls of the turn go on; what they return is recorded, with no reply", () =>
    Effect.gen(function* () {
      const log = journal()
      const { events, requests, session } = yield* workshop({
        turns: spoken,
        tool: cancellable,
        handler: watched(log),
        provide: paced
      })
      const speech = yield* session.send("first")
      yield* advance("1 second")
      yield* say(session, "Wait!")
      expect(yield* speech.interrupted).toBe(true)
      yield* advance("5 seconds")
      const before = (yield* requests).length
      yield* advance("1 minute")
      expect(log.lines).toEqual(["0 start 1", "10 end 1"])
      expect(yield* outputOf(session, "a")).toEqual({ output: "result 1", isError: false })
      expect(yield* ends(events)).toEqual(["a done"])
      expect((yield* requests).length).toBe(before)
      expect(yield* events.filter("ReplyScheduled")).toEqual([])
      yield* say(session, "Well?")
      expect(ScriptedModel.toolResults((yield* requests).at(-1)!)).toMatchObject([{ id: "a", result: "result 1" }])
    })
  )

  scoped("[C8] a failure is recorded, with no reply, too", () =>
    Effect.gen(function* () {
      const { layer } = collector()
      const { events, requests, session } = yield* workshop({
        turns: script,
        handler: () => Effect.zipRight(Effect.sleep("5 seconds"), new AsyncTool.ToolError({ message: "no luck" }))
      }).pipe(Effect.provide(layer))
      yield* say(session, "first")
      yield* session.interrupt()
      const before = (yield* requests).length
      yield* advance("1 minute")
      expect(yield* outputOf(session, "a")).toEqual({ output: "no luck", isError: true })
      expect(yield* ends(events)).toEqual(["a error"])
      expect((yield* requests).length).toBe(before)
    })
  )

  for (const [how, act] of [
    ["a user's turn", (session: AgentSession.AgentSession_) => session.send("Wait!")],
    ["session.interrupt", (session: AgentSession.AgentSession_) => session.interrupt()]
  ] as const) {
    scoped(`[C8] a tool with cancelOnInterruption is interrupted by ${how}`, () =>
      Effect.gen(function* () {
        const log = journal()
        const { events, session } = yield* workshop({
          turns: spoken,
          tool: { ...cancellable, cancelOnInterruption: true },
          handler: watched(log, slowly, Effect.sleep("1 second")),
          provide: merged(paced, howTemplate)
        })
        yield* session.send("first")
        yield* advance("1 second")
        yield* act(session)
        yield* advance("1 minute")
        expect(log.lines).toEqual(["0 start 1", "1 stop 1", "2 clean 1"])
        expect(yield* ends(events)).toEqual(["a cancelled"])
        expect(yield* outputOf(session, "a")).toEqual({ output: "a cancelled", isError: false })
      })
    )
  }

  scoped("[C8] it is interrupted as well while the turn waits for it", () =>
    Effect.gen(function* () {
      const { events, requests, session } = yield* workshop({
        turns: script,
        tool: { ...cancellable, cancelOnInterruption: true }
      })
      yield* say(session, "first")
      yield* advance("2 seconds")
      yield* session.interrupt()
      const before = (yield* requests).length
      yield* advance("1 minute")
      expect(yield* ends(events)).toEqual(["a cancelled"])
      expect((yield* requests).length).toBe(before)
    })
  )

  scoped("[C8] it is not once it has left the turn", () =>
    Effect.gen(function* () {
      const log = journal()
      const { events, session } = yield* workshop({
        turns: { ...script, first: [work(1, "a"), ScriptedModel.wait("5 seconds"), "So."] },
        tool: { ...cancellable, cancelOnInterruption: true },
        handler: watched(log, inBackground)
      })
      yield* say(session, "first")
      yield* advance("1 second")
      yield* say(session, "Wait!")
      yield* advance("1 minute")
      expect(log.lines).toEqual(["0 start 1", "10 end 1"])
      expect(yield* ends(events)).toEqual(["a done"])
    })
  )

  scoped("[C8] only the tools that ask for it are interrupted", () =>
    Effect.gen(function* () {
      const tools = Toolkit.make(
        workTool({ ...cancellable, cancelOnInterruption: true }),
        AsyncTool.make("patient", { success: Schema.String, allowCancellation: true })
      )
      const agent = Agent.make("worker", { instructions: "You work.", tools: [tools] }).pipe(
        Agent.provide(tools.toLayer({ work: ({ n }) => slowly(n), patient: () => slowly(9) }))
      )
      const { events, session } = yield* open(turns({ go: [work(1, "a"), call("patient", {}, "p")] }), { agent })
      yield* say(session, "go", "Wait!")
      yield* advance("1 minute")
      expect(yield* ends(events)).toEqual(["a cancelled", "p done"])
      expect(yield* outputOf(session, "p")).toEqual({ output: "result 9", isError: false })
    })
  )

  scoped("[C8] a turn that disallows interruptions keeps its calls, unless it is forced", () =>
    Effect.gen(function* () {
      const { events, session } = yield* workshop({
        turns: script,
        tool: { ...cancellable, cancelOnInterruption: true }
      })
      yield* session.send("first", { allowInterruptions: false })
      yield* settle
      expect(yield* Effect.either(session.interrupt())).toMatchObject({ left: { _tag: "InterruptionDisallowed" } })
      yield* say(session, "Wait!")
      expect(yield* ends(events)).toEqual([])
      yield* session.interrupt({ force: true })
      expect(yield* ends(events)).toEqual(["a cancelled"])
    })
  )

  scoped("[C8] cancelOnInterruption without allowCancellation fails the build and names the tool", () =>
    Effect.gen(function* () {
      const exit = yield* Effect.exit(workshop({ turns: script, tool: { cancelOnInterruption: true } }))
      expect(Exit.isFailure(exit) && String(exit.cause)).toMatch(/work.*cancelOnInterruption/s)
    })
  )
})
