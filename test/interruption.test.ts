import { describe, expect } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { Agent, AgentSession, RunContext } from "effect-meantime"
import { ScriptedModel, TestSession } from "effect-meantime/testing"
import { now, started, talk, toolCall, toolkit } from "./support/talk.js"
import { it, onTestClock } from "./support/virtual.js"

const { advance, settle } = TestSession

/** Ten words of a second each. */
const long = "This will take some time, and then some more time."
const disallowed = { allowInterruptions: false } as const

/** Works inline for so many seconds. */
const inline =
  (seconds = 5) =>
  () =>
    Effect.as(Effect.sleep(seconds * 1000), "the result")
/** Goes to the background at once. */
const background =
  (seconds = 5) =>
  () =>
    Effect.as(Effect.zipRight(RunContext.update("started"), Effect.sleep(seconds * 1000)), "the result")

const assistant = (lines: ReadonlyArray<string>) => lines.filter((line) => line.startsWith("assistant"))
const result = 'output call_1: "the result"'
const final = 'output call_1_final: "the result"'
const updated = expect.stringMatching(/^output call_1: "started/)
const stopped = expect.stringMatching(/stopped before it could finish/)

describe("an inline call", () => {
  const turn = ["Look.", toolCall("a")]
  const cancellable = { allowCancellation: true, cancelOnInterruption: true, run: inline() }

  it.scoped("[C8, F3] an inline call goes on when the user speaks, and its result is recorded without a reply", () =>
    Effect.gen(function* () {
      const { events, lines, replies, request, requested, session } = yield* talk({
        script: [turn, "Sure."],
        tools: { a: inline() }
      })
      const handle = yield* session.send("Go")
      yield* advance("2 seconds")
      yield* session.send("Well?")
      expect([yield* handle.done, yield* handle.interrupted]).toEqual([true, true])
      yield* advance("20 seconds")
      expect(yield* lines).toEqual([
        "user: Go",
        // it had been played to its end
        "assistant: Look.",
        "call call_1",
        "user: Well?",
        "assistant: Sure.",
        result
      ])
      expect(yield* events.filter("ToolCallEnded")).toMatchObject([{ id: "call_1", status: "done", at: 5000 }])
      expect(yield* requested).toBe(2)
      expect(yield* replies).toEqual([])
      // M1: the answer to the user knows that it still runs
      expect(ScriptedModel.toolResults(yield* request(1))).toMatchObject([
        { id: "call_1", result: expect.stringMatching(/still running/) }
      ])
    })
  )

  it.scoped("[C8, F3] an inline call goes on when the user speaks over the words before it", () =>
    Effect.gen(function* () {
      const { lines, session } = yield* talk({ script: [[long, toolCall("a")], "Sure."], tools: { a: inline() } })
      yield* session.send("Go")
      yield* advance("2 seconds")
      yield* session.send("Well?")
      yield* advance("20 seconds")
      expect(yield* lines).toEqual([
        "user: Go",
        "assistant: This will [cut]",
        "call call_1",
        "user: Well?",
        "assistant: Sure.",
        result
      ])
    })
  )

  it.scoped("[C8] the result that came before the user spoke is recorded, and the reply to it is cut", () =>
    Effect.gen(function* () {
      const { lines, session } = yield* talk({ script: [turn, long, "Sure."], tools: { a: inline() } })
      yield* session.send("Go")
      yield* advance("7 seconds")
      yield* session.send("Well?")
      yield* advance("20 seconds")
      expect((yield* lines).slice(2)).toEqual([
        "call call_1",
        result,
        "assistant: This will [cut]",
        "user: Well?",
        "assistant: Sure."
      ])
    })
  )

  it.scoped(
    "[C8, U1] an inline call that first reports after the user spoke goes on in the background, and its result is voiced",
    () =>
      Effect.gen(function* () {
        const { lines, replies, session } = yield* talk({
          script: [turn, "Sure.", "There."],
          tools: { a: () => Effect.delay(Effect.suspend(background()), "4 seconds") }
        })
        yield* session.send("Go")
        yield* advance("2 seconds")
        yield* session.send("Well?")
        yield* advance("20 seconds")
        expect((yield* lines).slice(2)).toEqual([
          "call call_1",
          "user: Well?",
          "assistant: Sure.",
          updated,
          "call call_1_final",
          final,
          "assistant: There."
        ])
        expect(yield* replies).toEqual(["scheduled call_1_final", "completed call_1_final"])
      })
  )

  it.scoped("[C8] a tool with cancelOnInterruption is interrupted when the user speaks, with no reply of its own", () =>
    Effect.gen(function* () {
      const { events, lines, requested, session } = yield* talk({
        script: [turn, "Sure."],
        tools: { a: cancellable }
      })
      yield* session.send("Go")
      yield* advance("2 seconds")
      yield* session.send("Well?")
      yield* advance("20 seconds")
      expect(yield* events.filter("ToolCallEnded")).toMatchObject([{ id: "call_1", status: "cancelled", at: 2000 }])
      expect((yield* lines).filter((line) => line.includes("output"))).toEqual([
        expect.stringMatching(/^output call_1: .*cancelled/)
      ])
      expect(yield* requested).toBe(2)
    })
  )

  it.scoped("[C8, C1b] one that is past its point of no return is not", () =>
    Effect.gen(function* () {
      const { lines, session } = yield* talk({
        script: [turn, "Sure."],
        tools: { a: { ...cancellable, run: () => RunContext.commit(Effect.suspend(inline())) } }
      })
      yield* session.send("Go")
      yield* advance("2 seconds")
      yield* session.send("Well?")
      yield* advance("20 seconds")
      expect((yield* lines).at(-1)).toBe(result)
    })
  )

  for (const how of ["session", "handle"] as const) {
    it.scoped(
      `[C8, F2] an inline call goes on when its turn is cut by force (${how}), although it disallows that`,
      () =>
        Effect.gen(function* () {
          const { events, lines, requested, session } = yield* talk({ script: [turn], tools: { a: inline() } })
          const handle = yield* session.send("Go", disallowed)
          yield* advance("2 seconds")
          expect(yield* Effect.flip(session.interrupt())).toMatchObject({ _tag: "InterruptionDisallowed" })
          yield* (how === "session" ? session : handle).interrupt({ force: true })
          expect([yield* handle.done, yield* handle.interrupted]).toEqual([true, true])
          yield* advance("20 seconds")
          expect(yield* lines).toEqual(["user: Go", "assistant: Look.", "call call_1", result])
          expect(yield* events.filter("ToolCallEnded")).toMatchObject([{ status: "done", at: 5000 }])
          expect(yield* requested).toBe(1)
        })
    )
  }

  it.scoped("[C8, F2] a tool with cancelOnInterruption is interrupted when its turn is cut by force", () =>
    Effect.gen(function* () {
      const { events, session } = yield* talk({ script: [turn], tools: { a: cancellable } })
      yield* session.send("Go", disallowed)
      yield* advance("2 seconds")
      yield* session.interrupt({ force: true })
      expect(yield* events.filter("ToolCallEnded")).toMatchObject([{ status: "cancelled", at: 2000 }])
    })
  )

  it.scoped(
    "[F3, C5] an inline call of a turn that disallows interruptions is replied to by its turn, also when the user speaks",
    () =>
      Effect.gen(function* () {
        const { events, lines, session } = yield* talk({
          script: [turn, "Sure.", "Done."],
          tools: { a: cancellable }
        })
        const handle = yield* session.send("Go", disallowed)
        yield* advance("2 seconds")
        yield* session.send("Well?")
        expect(yield* Effect.flip(session.cancelTool("call_1"))).toMatchObject({
          _tag: "ToolError",
          message: expect.stringMatching(/disallows interruptions/)
        })
        yield* advance("20 seconds")
        expect(yield* handle.interrupted).toBe(false)
        expect(yield* events.filter("ToolCallEnded")).toMatchObject([{ status: "done", at: 5000 }])
        expect((yield* lines).slice(2)).toEqual([
          "call call_1",
          "user: Well?",
          "assistant: Sure.",
          result,
          "assistant: Done."
        ])
      })
  )

  it.scoped("[S2] an inline call is awaited when the session closes, and its result recorded", () =>
    Effect.gen(function* () {
      const { close, events, lines, session } = yield* talk({ script: [turn], tools: { a: inline() } })
      const handle = yield* session.send("Go")
      yield* advance("2 seconds")
      yield* close
      expect(yield* now).toBe(5000)
      expect([yield* handle.done, yield* handle.interrupted]).toEqual([true, true])
      expect(yield* lines).toEqual(["user: Go", "assistant: Look.", "call call_1", result])
      expect((yield* events.tags).at(-1)).toBe("SessionClosed")
      expect(yield* Effect.flip(session.send("Well?"))).toMatchObject({ _tag: "SessionClosed" })
    })
  )

  it.scoped(
    "[S2] an inline call that may be cancelled is interrupted when the session closes, also where its turn disallows it",
    () =>
      Effect.gen(function* () {
        const { close, events, lines, session } = yield* talk({
          script: [turn],
          tools: { a: { allowCancellation: true, run: inline() } }
        })
        yield* session.send("Go", disallowed)
        yield* advance("2 seconds")
        yield* close
        expect(yield* now).toBe(2000)
        expect(yield* events.filter("ToolCallEnded")).toMatchObject([{ id: "call_1", status: "cancelled" }])
        expect((yield* lines).at(-1)).toEqual(stopped)
      })
  )
})

describe("a background call", () => {
  const script = [toolCall("a"), long, "Sure.", "There."]

  for (const cancelOnInterruption of [false, true]) {
    const flag = cancelOnInterruption ? ", with cancelOnInterruption" : ""
    it.scoped(`[C8, F3] a background call goes on when the user speaks, and its result gets its reply${flag}`, () =>
      Effect.gen(function* () {
        const { events, lines, replies, session } = yield* talk({
          script,
          tools: { a: { allowCancellation: true, cancelOnInterruption, run: background() } }
        })
        yield* session.send("Go")
        // its turn still speaks of it
        yield* advance("2 seconds")
        yield* session.send("Well?")
        yield* advance("20 seconds")
        expect(yield* events.filter("ToolCallEnded")).toMatchObject([{ id: "call_1_final", status: "done", at: 5000 }])
        expect(yield* lines).toEqual([
          "user: Go",
          "call call_1",
          updated,
          "assistant: This will [cut]",
          "user: Well?",
          "assistant: Sure.",
          "call call_1_final",
          final,
          "assistant: There."
        ])
        expect(yield* replies).toEqual(["scheduled call_1_final", "completed call_1_final"])
      })
    )
  }

  it.scoped("[C8, F2] a background call goes on when its turn is cut by force", () =>
    Effect.gen(function* () {
      const { lines, replies, session } = yield* talk({
        script: [toolCall("a"), long, "There."],
        tools: { a: { allowCancellation: true, cancelOnInterruption: true, run: background() } }
      })
      const handle = yield* session.send("Go", disallowed)
      yield* advance("2 seconds")
      yield* session.interrupt({ force: true })
      expect(yield* handle.interrupted).toBe(true)
      yield* advance("20 seconds")
      expect(assistant(yield* lines)).toEqual(["assistant: This will [cut]", "assistant: There."])
      expect(yield* replies).toEqual(["scheduled call_1_final", "completed call_1_final"])
    })
  )

  it.scoped(
    "[F3, C5] a background call of a speech that disallows interruptions cannot be cancelled while that lasts",
    () =>
      Effect.gen(function* () {
        const { events, session } = yield* talk({
          script: [toolCall("a"), "This will take.", "Sure."],
          tools: { a: { allowCancellation: true, run: background(60) } }
        })
        yield* session.send("Go", disallowed)
        yield* advance("2 seconds")
        yield* session.send("Stop it")
        expect(yield* Effect.flip(session.cancelTool("call_1"))).toMatchObject({ _tag: "ToolError" })
        yield* advance("1 second")
        yield* session.cancelTool("call_1")
        expect(yield* events.filter("ToolCallEnded")).toMatchObject([{ status: "cancelled", at: 3000 }])
      })
  )

  it.scoped("[F3, D2] the result of a background call waits for a speech that disallows interruptions", () =>
    Effect.gen(function* () {
      const { events, lines, session } = yield* talk({
        script: [toolCall("a"), "Fine.", "There."],
        tools: { a: { delivery: "interrupt", run: background(3) } }
      })
      yield* session.send("Go")
      yield* advance("2 seconds")
      yield* session.say("This will take some time.", disallowed)
      yield* advance("20 seconds")
      expect((yield* events.filter("ReplyScheduled")).map(({ at }) => at)).toEqual([7000])
      expect(assistant(yield* lines)).toEqual([
        "assistant: Fine.",
        "assistant: This will take some time.",
        "assistant: There."
      ])
    })
  )

  it.scoped(
    "[S2] a background call is awaited when the session closes; its result is recorded and its reply dropped",
    () =>
      Effect.gen(function* () {
        const { close, lines, replies, session } = yield* talk({
          script: [toolCall("a"), "Fine."],
          tools: { a: background() }
        })
        yield* session.send("Go")
        yield* advance("2 seconds")
        yield* close
        expect(yield* now).toBe(5000)
        expect((yield* lines).at(-1)).toBe(final)
        expect(yield* replies).toEqual(["dropped call_1_final"])
      })
  )

  it.scoped(
    "[S2, U3] a background call that may be cancelled is interrupted when the session closes, and that is written",
    () =>
      Effect.gen(function* () {
        const { close, events, lines, replies, session } = yield* talk({
          script: [toolCall("a"), "Fine."],
          tools: { a: { allowCancellation: true, run: background() } }
        })
        yield* session.send("Go")
        yield* advance("2 seconds")
        yield* close
        expect(yield* now).toBe(2000)
        expect(yield* events.filter("ToolCallEnded")).toMatchObject([{ id: "call_1_final", status: "cancelled" }])
        expect((yield* lines).slice(-2)).toEqual(["call call_1_final", stopped])
        expect(yield* replies).toEqual([])
      })
  )
})

describe("a deferred reply", () => {
  const scheduled = "scheduled call_1_final"
  const interrupted = "interrupted call_1_final"

  it.scoped("[D6, F3] a deferred reply is cut when the user speaks, and its item stays", () =>
    Effect.gen(function* () {
      const { lines, replies, session } = yield* talk({
        script: [toolCall("a"), "Fine.", long, "Sure."],
        tools: { a: background() }
      })
      yield* session.send("Go")
      yield* advance("7 seconds")
      yield* session.send("Well?")
      yield* advance("20 seconds")
      expect((yield* lines).slice(-4)).toEqual([final, "assistant: This will [cut]", "user: Well?", "assistant: Sure."])
      expect(yield* replies).toEqual([scheduled, interrupted])
    })
  )

  it.scoped("[D2, F4] a deferred reply that is due while the user speaks comes after the answer", () =>
    Effect.gen(function* () {
      const { lines, session } = yield* talk({
        script: [toolCall("a"), "Fine.", "Sure.", "There."],
        tools: { a: background() }
      })
      yield* session.send("Go")
      yield* advance("4 seconds")
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* session.claimUserTurn
          yield* advance("3 seconds")
          yield* session.send("Well?")
        })
      )
      yield* advance("10 seconds")
      expect((yield* lines).slice(-4)).toEqual([final, "user: Well?", "assistant: Sure.", "assistant: There."])
    })
  )

  it.scoped("[D6, F2] a deferred reply is cut by force; nothing follows", () =>
    Effect.gen(function* () {
      const { lines, replies, session } = yield* talk({
        script: [toolCall("a"), "Fine.", long],
        tools: { a: background() }
      })
      yield* session.send("Go")
      yield* advance("7 seconds")
      yield* session.interrupt({ force: true })
      yield* advance("20 seconds")
      expect((yield* lines).at(-1)).toBe("assistant: This will [cut]")
      expect(yield* replies).toEqual([scheduled, interrupted])
    })
  )

  it.scoped(
    "[D8, F3] a deferred reply whose handler disallows interruptions is spoken to its end, and the user answered after it",
    () =>
      Effect.gen(function* () {
        const { lines, replies, session } = yield* talk({
          script: [toolCall("a"), "Fine.", toolCall("protect"), "This will take.", "Sure."],
          tools: {
            a: { onResult: "act", run: background() },
            protect: () => Effect.as(RunContext.disallowInterruptions, "ok")
          }
        })
        yield* session.send("Go")
        yield* advance("7 seconds")
        yield* session.send("Well?")
        expect(yield* Effect.flip(session.interrupt())).toMatchObject({ _tag: "InterruptionDisallowed" })
        yield* advance("20 seconds")
        expect(assistant(yield* lines)).toEqual(["assistant: Fine.", "assistant: This will take.", "assistant: Sure."])
        expect(yield* replies).toEqual([scheduled, "completed call_1_final"])
      })
  )

  it.scoped("[D5, S2] a deferred reply that is spoken when the session closes is interrupted", () =>
    Effect.gen(function* () {
      const { close, lines, replies, session } = yield* talk({
        script: [toolCall("a"), "Fine.", long],
        tools: { a: background() }
      })
      yield* session.send("Go")
      yield* advance("7 seconds")
      yield* close
      expect(yield* replies).toEqual([scheduled, interrupted])
      expect((yield* lines).slice(-2)).toEqual([final, "assistant: This will [cut]"])
    })
  )

  it.scoped("[D5, S2] a deferred reply that waits when the session closes is dropped", () =>
    Effect.gen(function* () {
      const { close, replies, session } = yield* talk({
        script: [toolCall("a"), "Fine."],
        tools: { a: background() }
      })
      yield* session.send("Go")
      yield* advance("2 seconds")
      yield* session.say(long)
      yield* advance("4 seconds")
      yield* close
      expect(yield* replies).toEqual(["dropped call_1_final"])
    })
  )
})

describe("a filler", () => {
  const filler = { say: "Wait a bit more.", delay: "2 seconds", interval: "2 seconds" } as const
  const filled = (run: () => Effect.Effect<unknown, never, RunContext.RunContext>) => () =>
    RunContext.withFiller(Effect.suspend(run), filler)

  it.scoped("[F6, F3] a filler of an inline call is cut when the user speaks, and ends; the call goes on", () =>
    Effect.gen(function* () {
      const { lines, session } = yield* talk({ script: [toolCall("a"), "Sure."], tools: { a: filled(inline(30)) } })
      yield* session.send("Go")
      yield* advance("4 seconds")
      yield* session.send("Well?")
      yield* advance("60 seconds")
      expect(yield* lines).toEqual([
        "user: Go",
        "call call_1",
        "assistant: Wait a [cut]",
        "user: Well?",
        "assistant: Sure.",
        result
      ])
    })
  )

  it.scoped("[F6, F3] a filler of a background call is cut when the user speaks, and said again after its delay", () =>
    Effect.gen(function* () {
      const { lines, session } = yield* talk({
        script: [toolCall("a"), "Fine.", "Sure.", "There."],
        tools: { a: filled(background(11)) }
      })
      yield* session.send("Go")
      // Fine. until 1 s, the filler from 3 s on
      yield* advance("5 seconds")
      yield* session.send("Well?")
      // Sure. until 6 s, the filler from 8 s on
      yield* advance("60 seconds")
      expect(assistant(yield* lines)).toEqual([
        "assistant: Fine.",
        "assistant: Wait a [cut]",
        "assistant: Sure.",
        "assistant: Wait a bit more.",
        "assistant: There."
      ])
    })
  )

  it.scoped("[F6] a filler of a background call ends when the user speaks over the turn that the call belongs to", () =>
    Effect.gen(function* () {
      const { lines, session } = yield* talk({
        script: [toolCall("a"), long, "Sure.", "There."],
        tools: { a: filled(background(30)) }
      })
      yield* session.send("Go")
      yield* advance("2 seconds")
      yield* session.send("Well?")
      yield* advance("60 seconds")
      expect(assistant(yield* lines)).toEqual(["assistant: This will [cut]", "assistant: Sure.", "assistant: There."])
    })
  )

  it.scoped("[F6, F2] a filler of an inline call is cut by force, and ends with its turn", () =>
    Effect.gen(function* () {
      const { lines, session } = yield* talk({ script: [toolCall("a")], tools: { a: filled(inline(30)) } })
      const handle = yield* session.send("Go", disallowed)
      yield* advance("4 seconds")
      yield* session.interrupt({ force: true })
      expect(yield* handle.interrupted).toBe(true)
      yield* advance("60 seconds")
      expect(yield* lines).toEqual(["user: Go", "call call_1", "assistant: Wait a [cut]", result])
    })
  )

  it.scoped("[F6, F2] a filler that waits in the queue when its turn is cut is never said", () =>
    Effect.gen(function* () {
      const { lines, session } = yield* talk({
        script: [toolCall("a")],
        tools: { a: filled(inline(30)) },
        pace: "instant"
      })
      const handle = yield* session.send("Go")
      yield* advance("1 second")
      yield* handle.interrupt()
      yield* session.say("Next.")
      yield* advance("60 seconds")
      expect(assistant(yield* lines)).toEqual(["assistant: Next."])
    })
  )

  it.scoped("[F6, F3] a filler of a turn that disallows interruptions goes on when the user has been answered", () =>
    Effect.gen(function* () {
      const { lines, session } = yield* talk({
        script: [toolCall("a"), "Sure.", "Done."],
        tools: { a: filled(inline(10)) }
      })
      const handle = yield* session.send("Go", disallowed)
      yield* advance("4 seconds")
      yield* session.send("Well?")
      yield* advance("60 seconds")
      expect(yield* handle.interrupted).toBe(false)
      const said = assistant(yield* lines)
      expect(said.filter((line) => line === "assistant: Wait a bit more.").length).toBeGreaterThan(0)
      expect(said).toContain("assistant: Sure.")
      expect(said.at(-1)).toBe("assistant: Done.")
    })
  )

  for (const [what, run] of [
    ["an inline", inline],
    ["a background", background]
  ] as const) {
    it.scoped(
      `[F6, S2] a filler of ${what} call ends when the session closes, and nothing is said while it is awaited`,
      () =>
        Effect.gen(function* () {
          const { close, events, lines, session } = yield* talk({
            script: [toolCall("a"), "Fine."],
            tools: { a: filled(run(30)) }
          })
          yield* session.send("Go")
          yield* advance("5 seconds")
          yield* close
          expect(yield* now).toBe(30_000)
          expect(assistant(yield* lines).filter((line) => line.includes("Wait"))).toEqual([
            expect.stringMatching(/^assistant: Wait .*\[cut\]$/)
          ])
          expect(yield* events.filter("ToolCallEnded")).toMatchObject([{ status: "done", output: "the result" }])
        })
    )
  }
})

describe("the foreground", () => {
  const holding = (seconds: number) => () =>
    Effect.as(
      Effect.zipRight(RunContext.update("started"), RunContext.foreground(Effect.sleep(seconds * 1000))),
      "the result"
    )
  const quietly = (seconds: number) => () => Effect.asVoid(holding(seconds)())
  const inForeground = (seconds: number) => () =>
    Effect.as(RunContext.foreground(Effect.sleep(seconds * 1000)), "the result")

  it.scoped(
    "[F5, F3] what holds the floor goes on when the user speaks; the user is answered, and the reports of others wait",
    () =>
      Effect.gen(function* () {
        const { events, lines, session } = yield* talk({
          script: [[toolCall("a"), toolCall("b")], "Fine.", "Sure.", "All."],
          tools: { a: quietly(10), b: background(3) }
        })
        yield* session.send("Go")
        yield* advance("5 seconds")
        yield* session.send("Well?")
        yield* advance("20 seconds")
        expect(assistant(yield* lines)).toEqual(["assistant: Fine.", "assistant: Sure.", "assistant: All."])
        expect((yield* events.filter("ReplyScheduled")).map(({ at }) => at)).toEqual([11_000])
      })
  )

  it.scoped(
    "[F5, C8] an inline call that holds the floor goes on when the user speaks; its result is recorded without a reply",
    () =>
      Effect.gen(function* () {
        const { events, lines, replies, session } = yield* talk({
          script: [["Look.", toolCall("a")], "Sure."],
          tools: { a: inForeground(5) }
        })
        yield* session.send("Go")
        yield* advance("3 seconds")
        yield* session.send("Well?")
        yield* advance("20 seconds")
        expect((yield* lines).slice(2)).toEqual(["call call_1", "user: Well?", "assistant: Sure.", result])
        expect(yield* events.filter("ToolCallEnded")).toMatchObject([{ at: 6000 }])
        expect(yield* replies).toEqual([])
      })
  )

  it.scoped("[F5] one that waits for the floor gets it after the user has been answered", () =>
    Effect.gen(function* () {
      const { events, session } = yield* talk({
        script: [toolCall("a"), long, "Sure.", "There."],
        tools: { a: holding(5) }
      })
      yield* session.send("Go")
      yield* advance("2 seconds")
      yield* session.send("Well?")
      yield* advance("30 seconds")
      expect(yield* events.filter("ToolCallEnded")).toMatchObject([{ status: "done", at: 2000 + 1000 + 5000 }])
    })
  )

  it.scoped("[F5, C8] an inline call that waits for the floor when its turn is cut gets it all the same", () =>
    Effect.gen(function* () {
      const { events, lines, session } = yield* talk({
        script: [[long, toolCall("a")], "Sure."],
        tools: { a: inForeground(5) }
      })
      yield* session.send("Go")
      yield* advance("2 seconds")
      yield* session.send("Well?")
      yield* advance("30 seconds")
      expect(yield* events.filter("ToolCallEnded")).toMatchObject([{ status: "done", at: 2000 + 1000 + 5000 }])
      expect((yield* lines).at(-1)).toBe(result)
    })
  )

  it.scoped("[F5, F2] what holds the floor goes on when all speech is cut by force", () =>
    Effect.gen(function* () {
      const { events, lines, session } = yield* talk({
        script: [[toolCall("a"), toolCall("b")], "Fine.", "All."],
        tools: { a: quietly(10), b: background(3) }
      })
      yield* session.send("Go")
      yield* advance("4 seconds")
      yield* session.say(long, disallowed)
      yield* advance("2 seconds")
      yield* session.interrupt({ force: true })
      yield* advance("30 seconds")
      expect(assistant(yield* lines)).toEqual(["assistant: Fine.", "assistant: This will [cut]", "assistant: All."])
      expect((yield* events.filter("ReplyScheduled")).map(({ at }) => at)).toEqual([11_000])
    })
  )

  it.scoped("[F5, C8] an inline call that holds the floor goes on when its turn is cut by force", () =>
    Effect.gen(function* () {
      const { lines, session } = yield* talk({
        script: [["Look.", toolCall("a")]],
        tools: { a: inForeground(5) }
      })
      const handle = yield* session.send("Go", disallowed)
      yield* advance("3 seconds")
      yield* handle.interrupt({ force: true })
      yield* advance("20 seconds")
      expect((yield* lines).slice(2)).toEqual(["call call_1", result])
      const idle = yield* started(session.waitForIdle)
      expect(yield* idle).toBe("done")
    })
  )

  it.scoped(
    "[F5, F3] the floor is given when a speech that disallows interruptions has been spoken, although the user spoke",
    () =>
      Effect.gen(function* () {
        const { events, lines, session } = yield* talk({
          script: [toolCall("a"), "This will take.", "Sure.", "There."],
          tools: { a: holding(5) }
        })
        yield* session.send("Go", disallowed)
        yield* advance("2 seconds")
        yield* session.send("Well?")
        yield* advance("30 seconds")
        expect(assistant(yield* lines)).toEqual(["assistant: This will take.", "assistant: Sure.", "assistant: There."])
        expect(yield* events.filter("ToolCallEnded")).toMatchObject([{ at: 3000 + 1000 + 5000 }])
      })
  )

  it.scoped("[F5, S2] one that waits for the floor when the session closes fails with SessionClosed", () =>
    Effect.gen(function* () {
      const seen: Array<unknown> = []
      const { close, events, session } = yield* talk({
        script: [toolCall("a"), long],
        tools: {
          a: () =>
            RunContext.update("started").pipe(
              Effect.zipRight(RunContext.foreground(Effect.sync(() => seen.push("never")))),
              Effect.catchAll((error) => Effect.sync(() => seen.push(error._tag)))
            )
        }
      })
      yield* session.send("Go")
      yield* advance("2 seconds")
      yield* close
      expect(seen).toEqual(["SessionClosed"])
      expect(yield* events.filter("ToolCallEnded")).toMatchObject([{ status: "done", at: 2000 }])
    })
  )

  it.scoped("[F5, S2] what holds the floor when the session closes runs to its end, and cannot have it again", () =>
    Effect.gen(function* () {
      const seen: Array<unknown> = []
      const { close, session } = yield* talk({
        script: [toolCall("a"), "Fine."],
        tools: {
          a: () =>
            Effect.gen(function* () {
              yield* RunContext.update("started")
              yield* RunContext.foreground(Effect.sleep("5 seconds"))
              seen.push(yield* now)
              seen.push((yield* Effect.flip(RunContext.foreground(Effect.void)))._tag)
            }).pipe(Effect.orDie)
        }
      })
      yield* session.send("Go")
      yield* advance("3 seconds")
      yield* close
      expect(seen).toEqual([6000, "SessionClosed"])
    })
  )

  it.scoped("[F5, S2] what holds the floor and may be cancelled is interrupted when the session closes", () =>
    Effect.gen(function* () {
      const { close, events, session } = yield* talk({
        script: [toolCall("a"), "Fine."],
        tools: { a: { allowCancellation: true, run: holding(60) } }
      })
      yield* session.send("Go")
      yield* advance("3 seconds")
      yield* close
      expect(yield* events.filter("ToolCallEnded")).toMatchObject([{ status: "cancelled", at: 3000 }])
    })
  )
})

describe("odd moments", () => {
  // a word and the handler are due at the same time: which one is first is up to the clock
  onTestClock("[F3, F2] a handler that cuts its own turn goes on, and its result is recorded", () =>
    Effect.gen(function* () {
      const { lines, session } = yield* talk({
        script: [[long, toolCall("a")]],
        tools: {
          a: () =>
            Effect.gen(function* () {
              const { speech } = yield* RunContext.RunContext
              yield* Effect.sleep("2 seconds")
              yield* Effect.orDie(speech.interrupt())
              return "the result"
            })
        }
      })
      yield* session.send("Go")
      yield* advance("20 seconds")
      expect(yield* lines).toEqual(["user: Go", "assistant: This will [cut]", "call call_1", result])
    })
  )

  it.scoped("[F2] waiting for the own turn's speech is over at once when that has been cut", () =>
    Effect.gen(function* () {
      const { lines, session } = yield* talk({
        script: [[long, toolCall("a")]],
        tools: {
          a: () =>
            Effect.gen(function* () {
              const { speech } = yield* RunContext.RunContext
              yield* Effect.sleep("4 seconds")
              return yield* Effect.match(speech.wait, { onFailure: ({ _tag }) => _tag, onSuccess: () => "over" })
            })
        }
      })
      const handle = yield* session.send("Go")
      yield* advance("2 seconds")
      yield* handle.interrupt()
      yield* advance("20 seconds")
      expect((yield* lines).at(-1)).toBe('output call_1: "over"')
    })
  )

  it.scoped("[F5] a call that is cancelled at the moment at which the floor becomes free does not keep it", () =>
    Effect.gen(function* () {
      const hold = (effect: Effect.Effect<void>) => ({
        allowCancellation: true,
        run: () => Effect.zipRight(RunContext.update("started"), RunContext.foreground(effect))
      })
      const { session } = yield* talk({
        script: [[toolCall("a"), toolCall("b"), toolCall("c")], "Fine."],
        tools: { a: hold(Effect.never), b: hold(Effect.never), c: hold(Effect.void) }
      })
      yield* session.send("Go")
      yield* advance("3 seconds")
      yield* Effect.all([session.cancelTool("call_1"), session.cancelTool("call_2")], { concurrency: "unbounded" })
      yield* advance("1 second")
      expect(yield* session.runningTools).toEqual([])
      expect(yield* yield* started(session.waitForIdle)).toBe("done")
    })
  )

  it.scoped("[F3] a handler that sends in the user's name cuts its own turn, and can wait for the answer", () =>
    Effect.gen(function* () {
      const { lines, session } = yield* talk({
        script: [["Look.", toolCall("a")], "Sure."],
        tools: {
          a: () =>
            Effect.gen(function* () {
              const { session } = yield* RunContext.RunContext
              yield* Effect.sleep("2 seconds")
              yield* Effect.orDie(Effect.flatMap(session.send("Well?"), (speech) => speech.wait))
              return "the result"
            })
        }
      })
      yield* session.send("Go")
      yield* advance("20 seconds")
      expect((yield* lines).slice(2)).toEqual(["call call_1", "user: Well?", "assistant: Sure.", result])
    })
  )

  it.scoped(
    "[F3, D9] the user speaks at the very moment at which a call ends: its result is recorded once, and voiced at most once",
    () =>
      Effect.gen(function* () {
        const { lines, session } = yield* talk({
          script: (request) => (request.index === 0 ? ["Look.", toolCall("a")] : "Sure."),
          tools: { a: inline(5) }
        })
        yield* session.send("Go")
        yield* advance("4999 millis")
        yield* Effect.fork(Effect.zipRight(Effect.sleep("1 millis"), session.send("Well?")))
        yield* settle
        yield* advance("20 seconds")
        expect((yield* lines).filter((line) => line === result)).toHaveLength(1)
        expect((yield* lines).filter((line) => line === "user: Well?")).toHaveLength(1)
        expect((yield* lines).at(-1)).toMatch(/^(assistant: Sure.|output call_1: "the result")$/)
      })
  )

  it.scoped("[F3] of many turns in a row only the last is answered, and each message stays", () =>
    Effect.gen(function* () {
      const { events, lines, session } = yield* talk({
        script: () => "Sure."
      })
      for (const text of ["One", "Two", "Three"]) yield* session.send(text)
      yield* advance("10 seconds")
      expect(yield* TestSession.heard(session)).toEqual(["One", "Two", "Three"])
      expect((yield* lines).at(-1)).toBe("assistant: Sure.")
      expect(assistant(yield* lines)).toHaveLength(1)
      expect((yield* events.filter("SpeechEnded")).map(({ interrupted }) => interrupted)).toEqual([true, true, false])
    })
  )

  it.scoped(
    "[F2, F3] a speech that starts to disallow interruptions while the user's turn waits for it is spoken to its end",
    () =>
      Effect.gen(function* () {
        const { lines, session } = yield* talk({ script: ["This will take.", "Sure."] })
        const handle = yield* session.send("Go")
        yield* advance("1 second")
        yield* handle.setAllowInterruptions(false)
        yield* session.send("Well?")
        yield* handle.setAllowInterruptions(true)
        yield* advance("10 seconds")
        expect(assistant(yield* lines)).toEqual(["assistant: This will take.", "assistant: Sure."])
      })
  )
})

describe("a task in the foreground", () => {
  const asking = Agent.task("email", {
    instructions: "Ask for the address.",
    result: Schema.Struct({ email: Schema.String }),
    onEnter: AgentSession.say(long)
  })
  const book = (ended: Array<string>) => () =>
    RunContext.foreground(RunContext.runTask(asking)).pipe(
      Effect.tapError((error) => Effect.sync(() => ended.push(error._tag))),
      Effect.map(({ email }) => `Booked for ${email}.`),
      Effect.catchTag("SessionClosed", () => Effect.succeed("The session was closed."))
    )
  const address = toolCall("complete", { email: "a@b.c" })

  it.scoped("[S7, F3] the user who speaks cuts what the task says, and neither the task nor the paused turn", () =>
    Effect.gen(function* () {
      const ended: Array<string> = []
      const { lines, session } = yield* talk({
        script: [toolCall("book"), address, "Booked."],
        tools: { book: book(ended) }
      })
      const outer = yield* session.send("Book it")
      yield* advance("3 seconds")
      expect(yield* session.currentAgent).toEqual({ name: "email" })
      yield* session.send("a@b.c")
      yield* advance("1 minute")
      yield* outer.wait
      expect(yield* outer.interrupted).toBe(false)
      expect(ended).toEqual([])
      expect(assistant(yield* lines)).toEqual(["assistant: This will take [cut]", "assistant: Booked."])
    })
  )

  it.scoped("[S7, F2] a forced interrupt cuts what the task says, and neither the task nor the paused turn", () =>
    Effect.gen(function* () {
      const ended: Array<string> = []
      const { session } = yield* talk({ script: [toolCall("book"), address, "Booked."], tools: { book: book(ended) } })
      const outer = yield* session.send("Book it")
      yield* advance("3 seconds")
      yield* session.interrupt({ force: true })
      yield* advance("1 minute")
      expect(yield* session.currentAgent).toEqual({ name: "email" })
      expect(yield* outer.done).toBe(false)
      yield* session.send("a@b.c")
      yield* advance("1 minute")
      expect(yield* outer.done).toBe(true)
      expect(yield* outer.interrupted).toBe(false)
    })
  )

  it.scoped(
    "[S7, F2] a paused turn that disallows interruptions does not stop the user from speaking in the task",
    () =>
      Effect.gen(function* () {
        const ended: Array<string> = []
        const { lines, session } = yield* talk({
          script: [toolCall("book"), address, "Booked."],
          tools: { book: book(ended) }
        })
        const outer = yield* session.send("Book it", disallowed)
        yield* advance("3 seconds")
        yield* session.send("a@b.c")
        yield* advance("1 minute")
        expect(yield* outer.done).toBe(true)
        expect(assistant(yield* lines)).toEqual(["assistant: This will take [cut]", "assistant: Booked."])
      })
  )

  it.scoped("[S7, S2] a session that closes ends the task: runTask fails with SessionClosed", () =>
    Effect.gen(function* () {
      const ended: Array<string> = []
      const { close, events, session } = yield* talk({
        script: [toolCall("book"), address, "Booked."],
        tools: { book: book(ended) }
      })
      yield* session.send("Book it")
      yield* advance("3 seconds")
      yield* close
      expect(ended).toEqual(["SessionClosed"])
      expect(yield* events.filter("ToolCallEnded")).toMatchObject([
        { status: "done", output: "The session was closed." }
      ])
    })
  )

  it.scoped("[S7, S2] a session that closes ends a task, the one inside it, and the one that waits for its turn", () =>
    Effect.gen(function* () {
      const ended: Array<string> = []
      const run = (name: string, task: Agent.AgentTask<any, never>) => () =>
        RunContext.foreground(RunContext.runTask(task)).pipe(
          Effect.tapError((error) => Effect.sync(() => ended.push(`${name} ${error._tag}`))),
          Effect.asVoid,
          Effect.catchTag("SessionClosed", () => Effect.void)
        )
      const inner = toolkit({ nested: run("nested", asking) })
      const outer = Agent.task("outer", {
        instructions: "Ask.",
        result: Schema.Struct({ email: Schema.String }),
        tools: [inner.kit],
        onEnter: AgentSession.generateReply()
      }).pipe(Agent.provide(inner.layer))
      const { close, events, replies, session } = yield* talk({
        script: [[toolCall("a"), toolCall("b"), toolCall("c")], "Fine.", toolCall("nested")],
        tools: {
          a: () => Effect.zipRight(RunContext.update("a"), run("a", outer)()),
          b: () => Effect.zipRight(RunContext.update("b"), run("b", asking)()),
          // its reply waits for the end of the tasks
          c: background(3)
        }
      })
      yield* session.send("Go")
      yield* advance("6 seconds")
      expect(yield* session.currentAgent).toEqual({ name: "email" })
      yield* close
      expect(yield* now).toBe(6000)
      expect([...ended].sort()).toEqual(["a SessionClosed", "b SessionClosed", "nested SessionClosed"])
      expect((yield* events.filter("ToolCallEnded")).map(({ status }) => status)).toEqual(Array(4).fill("done"))
      expect(yield* replies).toEqual(["dropped call_3_final"])
    })
  )
})
