import { AiError } from "@effect/ai"
import { describe, expect } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Option, Stream } from "effect"
import { RunContext, type SpeechHandle } from "effect-meantime"
import { ScriptedModel, TestSession } from "effect-meantime/testing"
import { modelFailed, now, started, talk, toolCall, wait } from "./support/talk.js"
import { scoped } from "./support/virtual.js"

const { advance, settle } = TestSession

/** Ten words of a second each, the last without its space. */
const long = "This will take some time, and then some more time."
const sleeper = (seconds: number, result: string) => () => Effect.as(Effect.sleep(seconds * 1000), result)

describe("F1: one speech at a time", () => {
  scoped("[F1] the others wait by priority, then by order", () =>
    Effect.gen(function* () {
      const { events, session } = yield* talk({ script: ["Hi there."] })
      const handles = [yield* session.say("Nine one.")]
      handles.push(yield* session.say("Nine two."))
      handles.push(yield* session.say("Nine low.", { priority: -1 }))
      handles.push(yield* session.say("Nine top.", { priority: 10 }))
      handles.push(yield* session.generateReply({ priority: 5 }))
      handles.push(yield* session.say("Nine six.", { priority: 10 }))
      yield* advance("20 seconds")
      expect(yield* TestSession.said(session)).toEqual([
        "Nine one.",
        "Nine top.",
        "Nine six.",
        "Hi there.",
        "Nine two.",
        "Nine low."
      ])
      const ended = yield* events.filter("SpeechEnded")
      expect(ended.map(({ at }) => at)).toEqual([1800, 3600, 5400, 7200, 9000, 10_800])
      expect(ended.map(({ speechId }) => handles.findIndex(({ id }) => id === speechId))).toEqual([0, 3, 5, 4, 1, 2])
    })
  )

  scoped("[F1] a speech of higher priority does not cut the one that is spoken", () =>
    Effect.gen(function* () {
      const { lines, session } = yield* talk({ script: [] })
      yield* session.say("This will take some time.")
      yield* advance("2 seconds")
      yield* session.say("Me first.", { priority: 100 })
      yield* advance("10 seconds")
      expect(yield* lines).toEqual(["assistant: This will take some time.", "assistant: Me first."])
    })
  )

  scoped("[F1] a turn that waits for its calls lets others speak, and comes back after them", () =>
    Effect.gen(function* () {
      const { events, lines, request, session } = yield* talk({
        script: [["Look.", toolCall("slow")], "Just wait a bit.", "Slow is done now."],
        tools: { slow: sleeper(5, "slow") }
      })
      const turn = yield* session.send("Go")
      yield* advance("2 seconds")
      const reply = yield* session.generateReply({ instructions: "Say something." })
      const say = yield* session.say("Just one more bit.")
      yield* advance("20 seconds")
      expect(yield* lines).toEqual([
        "user: Go",
        "assistant: Look.",
        "call call_1",
        'output call_1: "slow"',
        "assistant: Just wait a bit.",
        // the turn has its old place in the queue: before what was asked for later
        "assistant: Slow is done now.",
        "assistant: Just one more bit."
      ])
      // M1: meanwhile the model is told that the call still runs
      expect(ScriptedModel.toolResults(yield* request(1))[0]?.result).toMatch(/still running/)
      expect(ScriptedModel.toolResults(yield* request(2))[0]?.result).toBe("slow")
      expect((yield* events.filter("SpeechEnded")).map(({ speechId }) => speechId)).toEqual([reply.id, turn.id, say.id])
    })
  )

  scoped("[F1] a turn whose call ends while another one speaks waits for its end", () =>
    Effect.gen(function* () {
      const { events, lines, session } = yield* talk({
        script: [toolCall("slow"), "Slow is done now."],
        tools: { slow: sleeper(2, "slow") }
      })
      yield* session.send("Go")
      yield* session.say("This will take some time.")
      yield* advance("20 seconds")
      expect((yield* lines).slice(2)).toEqual([
        'output call_1: "slow"',
        "assistant: This will take some time.",
        "assistant: Slow is done now."
      ])
      expect((yield* events.filter("SpeechEnded")).map(({ at }) => at)).toEqual([5000, 5000 + 3400])
    })
  )

  scoped("[F1, D6] after a filler the agent goes on thinking until its turn has ended", () =>
    Effect.gen(function* () {
      const { events, session } = yield* talk({
        script: [toolCall("slow"), "Done."],
        tools: {
          slow: () =>
            Effect.as(Effect.sleep("5 seconds"), "slow").pipe(RunContext.withFiller({ say: "Hm...", delay: 1000 }))
        }
      })
      yield* session.send("Go")
      yield* advance("20 seconds")
      expect((yield* events.filter("AgentStateChanged")).map(({ at, state }) => [state, at])).toEqual([
        ["thinking", 0],
        ["speaking", 2000],
        ["thinking", 2000],
        ["speaking", 6000],
        ["listening", 6000]
      ])
    })
  )

  scoped("[F1] a text that streams in is spoken as it comes", () =>
    Effect.gen(function* () {
      const { events, lines, session } = yield* talk({ script: [] })
      const text = Stream.make("This ", "will ", "take.").pipe(Stream.tap(() => Effect.sleep("2 seconds")))
      yield* session.say(text)
      yield* session.say("Next.")
      yield* advance("20 seconds")
      expect(yield* lines).toEqual(["assistant: This will take.", "assistant: Next."])
      expect((yield* events.filter("SpeechEnded")).map(({ at }) => at)).toEqual([7000, 8000])
    })
  )

  scoped("[F1] a text with nothing in it ends at once and leaves no message", () =>
    Effect.gen(function* () {
      const { lines, session } = yield* talk({ script: [] })
      const handles = [
        yield* session.say(""),
        yield* session.say(Stream.empty),
        yield* session.say(Stream.make("", ""))
      ]
      yield* settle
      for (const handle of handles) expect([yield* handle.done, yield* handle.interrupted]).toEqual([true, false])
      expect(yield* lines).toEqual([])
    })
  )

  scoped("[F1] a text that breaks off leaves the session alive, and what was said of it", () =>
    Effect.gen(function* () {
      const { lines, session } = yield* talk({ script: [], logs: [/^ERROR: The text to say failed/] })
      const broken = yield* session.say(Stream.concat(Stream.make("This ", "will "), Stream.die("broken")))
      yield* session.say("Next.")
      yield* advance("20 seconds")
      expect(yield* broken.done).toBe(true)
      expect(yield* lines).toEqual(["assistant: This will", "assistant: Next."])
    })
  )
})

describe("F2: the handle of a speech", () => {
  scoped("[F2] tells how it stands: id, done, interrupted, and what it added to the history", () =>
    Effect.gen(function* () {
      const { events, session } = yield* talk({
        script: [["Look.", toolCall("slow")], "Done."],
        tools: { slow: sleeper(1, "slow") }
      })
      const handle = yield* session.send("Go")
      const other = yield* session.say("Wait.")
      expect(other.id).not.toBe(handle.id)
      expect((yield* events.filter("SpeechCreated")).map(({ speechId }) => speechId)).toEqual([handle.id, other.id])
      yield* advance("1500 millis")
      expect([yield* handle.done, yield* handle.interrupted, yield* handle.allowInterruptions]).toEqual([
        false,
        false,
        true
      ])
      yield* advance("10 seconds")
      expect([yield* handle.done, yield* handle.interrupted]).toEqual([true, false])
      expect(yield* handle.error).toEqual(Option.none())
      expect(yield* handle.items).toMatchObject([
        { _tag: "Message", role: "assistant", text: "Look." },
        { _tag: "FunctionCall", callId: "call_1" },
        { _tag: "FunctionCallOutput", callId: "call_1", output: "slow" },
        { _tag: "Message", role: "assistant", text: "Done." }
      ])
      expect(yield* other.items).toMatchObject([{ _tag: "Message", text: "Wait." }])
    })
  )

  scoped("[F2] wait ends when the whole turn has been played: the tool steps and their replies, too", () =>
    Effect.gen(function* () {
      const { session } = yield* talk({
        script: [["Look.", toolCall("slow")], "Done."],
        tools: { slow: sleeper(3, "slow") }
      })
      const handle = yield* session.send("Go")
      const waiting = yield* started(handle.wait)
      yield* advance("3900 millis")
      expect(yield* waiting).toBe("pending")
      yield* advance("100 millis")
      expect(yield* waiting).toBe("done")
      expect(yield* TestSession.said(session)).toEqual(["Look.", "Done."])
      yield* handle.wait
    })
  )

  scoped(
    "[F2] a wait ends when the speech is cut, and when the session closes; one that is interrupted hurts nobody",
    () =>
      Effect.gen(function* () {
        const { close, session } = yield* talk({ script: [] })
        const first = yield* session.say(long)
        const second = yield* session.say(long)
        const waits = [yield* started(first.wait), yield* started(second.wait)]
        const given = yield* Effect.fork(first.wait)
        yield* settle
        yield* Fiber.interrupt(given)
        yield* first.interrupt()
        expect([yield* waits[0]!, yield* waits[1]!]).toEqual(["done", "pending"])
        yield* close
        expect(yield* waits[1]!).toBe("done")
        expect(yield* second.interrupted).toBe(true)
      })
  )

  scoped("[F2] interrupting a speech that disallows it is a typed failure, unless forced", () =>
    Effect.gen(function* () {
      const { lines, session } = yield* talk({ script: [] })
      const handle = yield* session.say(long, { allowInterruptions: false })
      expect(yield* handle.allowInterruptions).toBe(false)
      yield* advance("2 seconds")
      expect(yield* Effect.flip(handle.interrupt())).toMatchObject({
        _tag: "InterruptionDisallowed",
        speechId: handle.id
      })
      expect(yield* Effect.flip(handle.interrupt({ force: false }))).toMatchObject({ _tag: "InterruptionDisallowed" })
      expect(yield* Effect.flip(session.interrupt())).toMatchObject({
        _tag: "InterruptionDisallowed",
        speechId: handle.id
      })
      expect([yield* handle.interrupted, yield* handle.done]).toEqual([false, false])
      yield* handle.interrupt({ force: true })
      expect([yield* handle.interrupted, yield* handle.done]).toEqual([true, true])
      yield* settle
      expect(yield* lines).toEqual(["assistant: This will [cut]"])
      // on one that has ended it does nothing
      yield* handle.interrupt()
    })
  )

  scoped("[F2] allowInterruptions can be set while it lasts, but not be taken back once it was interrupted", () =>
    Effect.gen(function* () {
      const { session } = yield* talk({ script: [] })
      const handle = yield* session.say(long)
      yield* handle.setAllowInterruptions(false)
      expect(yield* handle.allowInterruptions).toBe(false)
      expect(yield* Effect.flip(handle.interrupt())).toMatchObject({ _tag: "InterruptionDisallowed" })
      yield* handle.setAllowInterruptions(true)
      yield* handle.interrupt()
      expect(yield* Effect.flip(handle.setAllowInterruptions(false))).toMatchObject({
        _tag: "AlreadyInterrupted",
        speechId: handle.id
      })
      expect(yield* handle.allowInterruptions).toBe(true)
    })
  )

  scoped("[F2] interrupting one that has been spoken does not change it", () =>
    Effect.gen(function* () {
      const { events, session } = yield* talk({ script: [] })
      const handle = yield* session.say("Next.")
      yield* advance("2 seconds")
      yield* handle.interrupt({ force: true })
      expect(yield* handle.interrupted).toBe(false)
      expect(yield* events.filter("SpeechEnded")).toMatchObject([{ interrupted: false }])
    })
  )

  scoped("[F2] a speech that waits in the queue can be interrupted: it is never played", () =>
    Effect.gen(function* () {
      const { lines, session } = yield* talk({ script: [] })
      yield* session.say("First.")
      const second = yield* session.say("Never.")
      yield* session.say("Third.")
      yield* second.interrupt()
      expect([yield* second.done, yield* second.interrupted, yield* second.items]).toEqual([true, true, []])
      yield* advance("10 seconds")
      expect(yield* lines).toEqual(["assistant: First.", "assistant: Third."])
    })
  )

  scoped("[F2] waiting for the own turn's speech from an inline handler is a failure, never a deadlock", () =>
    Effect.gen(function* () {
      const failures: Array<unknown> = []
      const given = yield* Deferred.make<SpeechHandle.SpeechHandle>()
      const keep = Effect.catchAll((error: unknown) => Effect.sync(() => failures.push(error)))
      const { lines, session } = yield* talk({
        script: [["Look.", toolCall("a"), toolCall("b")], "Done."],
        tools: {
          a: () =>
            Effect.gen(function* () {
              const { speech } = yield* RunContext.RunContext
              yield* keep(speech.wait)
              // also from a fiber of the handler
              yield* Fiber.join(yield* Effect.fork(keep(speech.wait)))
              return "a"
            }),
          // also through the handle that the program got
          b: () => Effect.as(keep(Effect.flatMap(Deferred.await(given), (speech) => speech.wait)), "b")
        }
      })
      const handle = yield* session.send("Go")
      yield* Deferred.succeed(given, handle)
      yield* advance("10 seconds")
      expect(failures).toMatchObject([
        { _tag: "CircularWait", speechId: handle.id, tool: "a" },
        { _tag: "CircularWait", speechId: handle.id, tool: "a" },
        { _tag: "CircularWait", speechId: handle.id, tool: "b" }
      ])
      expect((yield* lines).at(-1)).toBe("assistant: Done.")
    })
  )

  scoped("[F2, P2b] so is waiting for a later turn that has joined the run", () =>
    Effect.gen(function* () {
      const turn = yield* Deferred.make<SpeechHandle.SpeechHandle>()
      const { lines, session } = yield* talk({
        script: [toolCall("a"), toolCall("a"), "Done."],
        tools: {
          a: {
            onDuplicate: "join",
            run: () =>
              Effect.flatMap(Deferred.await(turn), (speech) => speech.wait).pipe(
                Effect.delay("5 seconds"),
                Effect.catchTag("CircularWait", ({ tool }) => Effect.succeed(`circular: ${tool}`))
              )
          }
        }
      })
      yield* session.send("Go")
      yield* advance("2 seconds")
      yield* Deferred.succeed(turn, yield* session.send("Go on"))
      yield* advance("20 seconds")
      expect((yield* lines).slice(-2)).toEqual([`output call_2: "circular: a"`, "assistant: Done."])
    })
  )

  scoped("[F2, P2b] a turn that joins the run which waits for it already fails that wait, and no other", () =>
    Effect.gen(function* () {
      const given = yield* Deferred.make<SpeechHandle.SpeechHandle>()
      const { lines, session } = yield* talk({
        script: [toolCall("a"), [toolCall("a"), toolCall("b")], "Done."],
        tools: {
          a: {
            onDuplicate: "join",
            run: () =>
              Effect.gen(function* () {
                const { session } = yield* RunContext.RunContext
                // the model answers this with a call that joins this very run
                const inner = yield* session.send("And?")
                yield* Deferred.succeed(given, inner)
                return yield* Effect.as(inner.wait, "waited")
              }).pipe(Effect.catchTag("CircularWait", ({ tool }) => Effect.succeed(`circular: ${tool}`)))
          },
          b: () => Effect.as(Effect.sleep("5 seconds"), "b")
        }
      })
      yield* session.send("Go")
      const other = yield* Effect.fork(Effect.flatMap(Deferred.await(given), (inner) => Effect.exit(inner.wait)))
      yield* advance("20 seconds")
      expect((yield* lines).slice(-3)).toEqual([
        `output call_2: "circular: a"`,
        `output call_3: "b"`,
        "assistant: Done."
      ])
      expect(yield* Fiber.join(other)).toEqual(Exit.void)
    })
  )

  scoped("[F2] a handler in the background may wait for the speech of its turn", () =>
    Effect.gen(function* () {
      const { lines, session } = yield* talk({
        script: [toolCall("a"), "This will take some time.", "There."],
        tools: {
          a: () =>
            Effect.gen(function* () {
              yield* RunContext.update("started")
              const { speech } = yield* RunContext.RunContext
              yield* speech.wait
              return `waited until ${yield* now}`
            })
        }
      })
      yield* session.send("Go")
      yield* advance("10 seconds")
      expect(yield* lines).toContain('output call_1_final: "waited until 5000"')
    })
  )

  scoped("[F2] an inline handler may wait for another speech, and for idle", () =>
    Effect.gen(function* () {
      const { lines, session } = yield* talk({
        script: [["Look.", toolCall("a")], "Done."],
        tools: {
          a: () =>
            Effect.gen(function* () {
              const { session } = yield* RunContext.RunContext
              yield* (yield* session.say("Just wait for it.")).wait
              const said = yield* now
              yield* session.waitForIdle
              return [said, yield* now]
            })
        }
      })
      yield* session.send("Go")
      yield* advance("20 seconds")
      expect(yield* lines).toEqual([
        "user: Go",
        "assistant: Look.",
        "call call_1",
        "assistant: Just wait for it.",
        "output call_1: [4400,4400]",
        "assistant: Done."
      ])
    })
  )

  scoped("[F2] waitForPlayout ends when what was said before the call has been played", () =>
    Effect.gen(function* () {
      const times: Array<number> = []
      const tool = () =>
        Effect.gen(function* () {
          times.push(yield* now)
          yield* RunContext.waitForPlayout
          times.push(yield* now)
          return "ok"
        })
      const { session } = yield* talk({
        script: [["This will take.", toolCall("a"), "Some more time.", toolCall("a")], toolCall("a"), "Done."],
        tools: { a: tool }
      })
      yield* session.send("Go")
      yield* advance("20 seconds")
      // both calls of the first step start at once; the last one has nothing said before it
      expect(times).toEqual([0, 0, 3000, 6000, 6000, 6000])
    })
  )

  scoped("[F2] waitForPlayout ends when that text is cut", () =>
    Effect.gen(function* () {
      const times: Array<number> = []
      const { session } = yield* talk({
        script: [[long, toolCall("a")], "Yes."],
        tools: {
          a: () =>
            Effect.zipRight(
              RunContext.waitForPlayout,
              Effect.map(now, (at) => void times.push(at))
            )
        }
      })
      yield* session.send("Go")
      yield* advance("2 seconds")
      yield* session.send("Stop")
      yield* advance("10 seconds")
      expect(times).toEqual([2000])
    })
  )
})

describe("F3: a user's turn interrupts", () => {
  scoped("[F3] the message is cut to what had been played, and marked", () =>
    Effect.gen(function* () {
      const { events, lines, request, session } = yield* talk({ script: [long, "Sure."] })
      const handle = yield* session.send("Go")
      yield* advance("3500 millis")
      yield* session.send("Stop")
      expect(yield* handle.interrupted).toBe(true)
      yield* advance("10 seconds")
      expect(yield* lines).toEqual(["user: Go", "assistant: This will take [cut]", "user: Stop", "assistant: Sure."])
      expect(yield* handle.items).toMatchObject([{ text: "This will take ", interrupted: true }])
      expect(ScriptedModel.assistantTexts(yield* request(1))).toEqual(["This will take "])
      expect((yield* events.filter("SpeechEnded")).map(({ at, interrupted }) => [at, interrupted])).toEqual([
        [3500, true],
        [4500, false]
      ])
      // the user is answered at once: the first word has been heard a second later
      expect((yield* events.filter("AgentStateChanged")).map(({ at, state }) => [state, at])).toEqual([
        ["thinking", 0],
        ["speaking", 1000],
        ["thinking", 3500],
        ["speaking", 4500],
        ["listening", 4500]
      ])
    })
  )

  scoped("[F3] what was not played at all leaves no message", () =>
    Effect.gen(function* () {
      const { lines, session } = yield* talk({ script: [long, [wait("1 second"), "Sure."], "Yes."] })
      yield* session.send("Go")
      yield* advance("500 millis")
      yield* session.send("Stop")
      yield* advance("500 millis")
      // this time the agent has not even begun
      yield* session.send("Stop it")
      yield* advance("10 seconds")
      expect(yield* lines).toEqual(["user: Go", "user: Stop", "user: Stop it", "assistant: Yes."])
    })
  )

  scoped("[F3] a speech that disallows interruptions is spoken to its end, and the user is answered after it", () =>
    Effect.gen(function* () {
      const { lines, session } = yield* talk({ script: ["This will take some time.", "Sure."] })
      const first = yield* session.send("Go", { allowInterruptions: false })
      yield* advance("2 seconds")
      const second = yield* session.send("Stop")
      yield* advance("2 seconds")
      expect([yield* first.done, yield* second.done]).toEqual([false, false])
      yield* advance("10 seconds")
      expect([yield* first.interrupted, yield* second.interrupted]).toEqual([false, false])
      expect((yield* lines).filter((line) => line.startsWith("assistant"))).toEqual([
        "assistant: This will take some time.",
        "assistant: Sure."
      ])
      expect(yield* TestSession.heard(session)).toEqual(["Go", "Stop"])
    })
  )

  scoped("[F3] the model and the text that stream in are interrupted, too", () =>
    Effect.gen(function* () {
      const stopped: Array<string> = []
      const stream = (name: string) =>
        Effect.never.pipe(Effect.onInterrupt(() => Effect.sync(() => stopped.push(name))))
      const { lines, session } = yield* talk({
        script: [["This will ", ScriptedModel.effect(stream("model")), "end."], "Sure.", "Yes."]
      })
      yield* session.send("Go")
      yield* advance("5 seconds")
      yield* session.send("Stop")
      yield* advance("5 seconds")
      yield* session.say(Stream.concat(Stream.make("Well "), Stream.fromEffect(stream("text"))))
      yield* advance("5 seconds")
      yield* session.send("Stop it")
      yield* advance("5 seconds")
      expect(stopped).toEqual(["model", "text"])
      expect((yield* lines).filter((line) => line.startsWith("assistant"))).toEqual([
        "assistant: This will",
        "assistant: Sure.",
        "assistant: Well [cut]",
        "assistant: Yes."
      ])
    })
  )

  scoped("[F3] of several texts in a step the one that is spoken is cut, and those behind it never were", () =>
    Effect.gen(function* () {
      const { lines, session } = yield* talk({
        script: [["Look.", toolCall("a"), "This will take some time.", toolCall("b"), "Also never said."], "Sure."],
        tools: { a: sleeper(3, "a"), b: sleeper(1, "b") }
      })
      yield* session.send("Go")
      yield* advance("2500 millis")
      yield* session.send("Stop")
      yield* advance("10 seconds")
      expect(yield* lines).toEqual([
        "user: Go",
        "assistant: Look.",
        "call call_1",
        "assistant: This [cut]",
        "call call_2",
        "user: Stop",
        'output call_1: "a"',
        'output call_2: "b"',
        "assistant: Sure."
      ])
    })
  )

  scoped("[F3] what is queued is not cut by it", () =>
    Effect.gen(function* () {
      const { lines, session } = yield* talk({ script: ["Sure."] })
      yield* session.say(long)
      yield* session.say("Also this.")
      yield* advance("2 seconds")
      yield* session.send("Stop")
      yield* advance("20 seconds")
      expect((yield* lines).toSorted()).toEqual(
        ["assistant: This will [cut]", "user: Stop", "assistant: Also this.", "assistant: Sure."].toSorted()
      )
    })
  )

  scoped("[F3] with the default output text counts as played as it streams in", () =>
    Effect.gen(function* () {
      const { lines, session } = yield* talk({
        script: [ScriptedModel.text("This will take.", { pace: "2 seconds" }), "Sure."],
        pace: "instant"
      })
      yield* session.send("Go")
      yield* advance("5 seconds")
      yield* session.send("Stop")
      yield* settle
      expect(yield* lines).toEqual(["user: Go", "assistant: This will [cut]", "user: Stop", "assistant: Sure."])
    })
  )

  scoped("[F3] session.interrupt cuts without a turn: nothing is said in return", () =>
    Effect.gen(function* () {
      const { lines, requested, session } = yield* talk({ script: [long] })
      yield* session.send("Go")
      yield* advance("2 seconds")
      yield* session.interrupt()
      yield* advance("10 seconds")
      expect(yield* lines).toEqual(["user: Go", "assistant: This will [cut]"])
      expect(yield* requested).toBe(1)
      // where nobody speaks it does nothing
      yield* session.interrupt()
    })
  )

  scoped("[F3] disallowInterruptions protects the rest of the turn", () =>
    Effect.gen(function* () {
      const { lines, session } = yield* talk({
        script: [toolCall("a"), "This will take some time.", "Sure."],
        tools: { a: () => Effect.as(RunContext.disallowInterruptions, "a") }
      })
      const handle = yield* session.send("Go")
      yield* advance("2 seconds")
      expect(yield* handle.allowInterruptions).toBe(false)
      yield* session.send("Stop")
      yield* advance("10 seconds")
      expect((yield* lines).slice(-2)).toEqual(["assistant: This will take some time.", "assistant: Sure."])
    })
  )
})

describe("F4: the user speaks", () => {
  scoped("[F4] a claim marks the user as speaking for as long as its scope lasts; claims nest", () =>
    Effect.gen(function* () {
      const { events, session } = yield* talk({ script: [] })
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* session.claimUserTurn
          yield* advance("1 second")
          yield* Effect.scoped(Effect.zipRight(session.claimUserTurn, advance("1 second")))
          yield* advance("1 second")
        })
      )
      expect((yield* events.filter("UserStateChanged")).map(({ at, state }) => [state, at])).toEqual([
        ["speaking", 0],
        ["listening", 3000]
      ])
    })
  )

  scoped("[F4] claiming cuts nothing, and a send inside a claim is answered at once", () =>
    Effect.gen(function* () {
      const { lines, session } = yield* talk({ script: ["Sure."] })
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* session.say("This will take.")
          yield* session.claimUserTurn
          yield* advance("5 seconds")
          expect(yield* lines).toEqual(["assistant: This will take."])
          yield* session.send("Well?")
          yield* advance("1 second")
          expect((yield* lines).slice(1)).toEqual(["user: Well?", "assistant: Sure."])
        })
      )
    })
  )

  scoped("[F4] no reply starts during a claim, not even one that interrupts", () =>
    Effect.gen(function* () {
      const { events, replies, session } = yield* talk({
        script: [toolCall("a"), "Fine.", "There."],
        tools: {
          a: () =>
            Effect.gen(function* () {
              yield* RunContext.update("started")
              yield* Effect.sleep("3 seconds")
              yield* RunContext.update("urgent", { delivery: "interrupt" })
              yield* Effect.sleep("1 hour")
            })
        },
        drainTimeout: 0
      })
      yield* session.send("Go")
      yield* advance("2 seconds")
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* session.claimUserTurn
          yield* session.say("This will take.")
          yield* advance("10 seconds")
          expect(yield* replies).toEqual([])
        })
      )
      yield* advance("10 seconds")
      expect((yield* events.filter("ReplyScheduled")).map(({ at }) => at)).toEqual([12_000])
    })
  )

  scoped("[F4] a claim that is still open when the session closes harms nothing", () =>
    Effect.gen(function* () {
      const { close, events, session } = yield* talk({ script: [] })
      const idle = yield* started(session.waitForIdle)
      expect(yield* idle).toBe("done")
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* session.claimUserTurn
          const never = yield* started(session.waitForIdle)
          yield* close
          expect(yield* never).toBe("SessionClosed")
        })
      )
      expect((yield* events.tags).at(-1)).toBe("SessionClosed")
    })
  )

  scoped("[F4] waitForIdle waits for the end of a claim", () =>
    Effect.gen(function* () {
      const { session } = yield* talk({ script: [] })
      const idle = yield* Effect.scoped(
        Effect.gen(function* () {
          yield* session.claimUserTurn
          const idle = yield* started(session.waitForIdle).pipe(Effect.interruptible)
          yield* advance("5 seconds")
          expect(yield* idle).toBe("pending")
          return session.waitForIdle
        })
      )
      yield* idle
    })
  )
})

describe("F5: the foreground", () => {
  const times = () => {
    const seen: Array<readonly [string, number]> = []
    return { seen, mark: (what: string) => Effect.map(now, (at) => void seen.push([what, at])) }
  }

  scoped(
    "[F5] an own report goes out first, then the effect runs and nobody else's reply starts until it has ended",
    () =>
      Effect.gen(function* () {
        const { mark, seen } = times()
        const { events, replies, session } = yield* talk({
          script: [[toolCall("a"), toolCall("b")], "Fine.", "My own.", "Of b."],
          tools: {
            a: () =>
              Effect.gen(function* () {
                yield* RunContext.update("started")
                yield* Effect.sleep("2 seconds")
                yield* RunContext.update("found")
                yield* RunContext.foreground(Effect.zipRight(mark("floor"), Effect.sleep("10 seconds")))
                yield* mark("free")
                yield* Effect.sleep("10 seconds")
              }),
            b: () => Effect.as(Effect.zipRight(RunContext.update("started"), Effect.sleep("5 seconds")), "b")
          }
        })
        yield* session.send("Go")
        yield* advance("30 seconds")
        expect(seen).toEqual([
          ["floor", 2000 + 1400],
          ["free", 2000 + 1400 + 10_000]
        ])
        expect(yield* replies).toEqual([
          "scheduled call_1_update_1",
          "completed call_1_update_1",
          "scheduled call_2_final",
          "completed call_2_final"
        ])
        expect((yield* events.filter("ReplyScheduled")).map(({ at }) => at)).toEqual([2000, 13_400])
      })
  )

  scoped("[F5] it waits for idle: the agent's speech, the user's, and what is queued", () =>
    Effect.gen(function* () {
      const { mark, seen } = times()
      const { session } = yield* talk({
        script: [toolCall("a"), "This will take."],
        tools: {
          a: () => Effect.zipRight(RunContext.update("started"), RunContext.foreground(mark("floor")))
        }
      })
      yield* session.send("Go")
      yield* session.say("Look.")
      yield* advance("3500 millis")
      yield* Effect.scoped(Effect.zipRight(session.claimUserTurn, advance("6500 millis")))
      expect(seen).toEqual([])
      yield* settle
      expect(seen).toEqual([["floor", 10_000]])
    })
  )

  scoped("[F5] an inline call gets the floor while its own turn waits for it", () =>
    Effect.gen(function* () {
      const { mark, seen } = times()
      const { replies, session } = yield* talk({
        script: [toolCall("b"), "Fine.", ["Look.", toolCall("a")], "Done.", "Of b."],
        tools: {
          a: () => Effect.as(RunContext.foreground(Effect.zipRight(mark("floor"), Effect.sleep("5 seconds"))), "a"),
          b: () => Effect.as(Effect.zipRight(RunContext.update("started"), Effect.sleep("3 seconds")), "b")
        }
      })
      yield* session.send("Go")
      yield* advance("2 seconds")
      yield* session.send("And a")
      yield* advance("20 seconds")
      expect(seen).toEqual([["floor", 3000]])
      expect(yield* replies).toEqual(["scheduled call_1_final", "completed call_1_final"])
      expect((yield* TestSession.said(session)).slice(-2)).toEqual(["Done.", "Of b."])
    })
  )

  scoped("[F5] two calls hold the floor one after the other", () =>
    Effect.gen(function* () {
      const { mark, seen } = times()
      const hold = (name: string) => () =>
        Effect.gen(function* () {
          yield* RunContext.update("started")
          yield* RunContext.foreground(
            Effect.gen(function* () {
              yield* mark(`${name} has it`)
              yield* Effect.sleep("3 seconds")
              yield* mark(`${name} gives it back`)
            })
          )
        })
      const { session } = yield* talk({
        script: [[toolCall("a"), toolCall("b")], "Fine."],
        tools: { a: hold("a"), b: hold("b") }
      })
      yield* session.send("Go")
      yield* advance("20 seconds")
      expect(seen).toEqual([
        ["a has it", 1000],
        ["a gives it back", 4000],
        ["b has it", 4000],
        ["b gives it back", 7000]
      ])
    })
  )

  scoped("[F5] inside it the holder may wait for idle, say something, use a filler, and hold the floor again", () =>
    Effect.gen(function* () {
      const { mark, seen } = times()
      const { lines, session } = yield* talk({
        script: [toolCall("a"), "Fine."],
        tools: {
          a: () =>
            Effect.gen(function* () {
              yield* RunContext.update("started")
              const { session } = yield* RunContext.RunContext
              yield* RunContext.foreground(
                Effect.gen(function* () {
                  yield* session.waitForIdle
                  yield* mark("idle")
                  yield* (yield* session.say("Whom?")).wait
                  yield* mark("asked")
                  yield* RunContext.foreground(mark("again"))
                  yield* RunContext.withFiller(Effect.sleep("4 seconds"), { say: "Well?", delay: "1 second" })
                })
              )
              yield* mark("free")
            })
        }
      })
      yield* session.send("Go")
      yield* advance("20 seconds")
      expect(seen).toEqual([
        ["idle", 1000],
        ["asked", 2000],
        ["again", 2000],
        ["free", 6000]
      ])
      expect((yield* lines).filter((line) => line.startsWith("assistant"))).toEqual([
        "assistant: Fine.",
        "assistant: Whom?",
        "assistant: Well?"
      ])
    })
  )

  scoped(
    "[F5] the floor is given back when the effect fails, when its call is cancelled, and when nobody waited for it any more",
    () =>
      Effect.gen(function* () {
        const { mark, seen } = times()
        const { session } = yield* talk({
          script: [
            [toolCall("fails"), toolCall("stuck"), toolCall("gave_up"), toolCall("last")],
            "Fine.",
            "One.",
            "Two."
          ],
          tools: {
            fails: () =>
              RunContext.update("started").pipe(
                Effect.zipRight(RunContext.foreground(Effect.zipRight(Effect.sleep("1 second"), Effect.fail("no")))),
                Effect.catchAll(() => Effect.void)
              ),
            stuck: {
              allowCancellation: true,
              run: () => Effect.zipRight(RunContext.update("started"), RunContext.foreground(Effect.never))
            },
            gave_up: () =>
              RunContext.update("started").pipe(
                Effect.zipRight(Effect.timeout(RunContext.foreground(mark("too late")), "3 seconds")),
                Effect.catchAll(() => Effect.void)
              ),
            last: () => Effect.zipRight(RunContext.update("started"), RunContext.foreground(mark("floor")))
          }
        })
        yield* session.send("Go")
        yield* advance("10 seconds")
        expect(seen).toEqual([])
        yield* session.cancelTool("call_2")
        yield* advance("10 seconds")
        expect(seen).toEqual([["floor", 10_000]])
      })
  )

  scoped("[F5] a user's turn is answered while the floor is held, and the effect goes on", () =>
    Effect.gen(function* () {
      const { mark, seen } = times()
      const { lines, replies, session } = yield* talk({
        script: [[toolCall("a"), toolCall("b")], "Fine.", "Sure.", "Both."],
        tools: {
          a: () =>
            Effect.zipRight(
              RunContext.update("started"),
              RunContext.foreground(Effect.zipRight(Effect.sleep("10 seconds"), mark("end")))
            ),
          b: () => Effect.as(Effect.zipRight(RunContext.update("started"), Effect.sleep("3 seconds")), "b")
        }
      })
      yield* session.send("Go")
      yield* advance("5 seconds")
      yield* session.send("Well?")
      yield* advance("2 seconds")
      expect((yield* lines).at(-1)).toBe("assistant: Sure.")
      expect(yield* replies).toEqual([])
      yield* advance("20 seconds")
      expect(seen).toEqual([["end", 11_000]])
      expect(yield* replies).toEqual(["scheduled call_2_final", "completed call_2_final"])
    })
  )

  scoped("[F5] an own report made while holding the floor is not lost", () =>
    Effect.gen(function* () {
      const { replies, session } = yield* talk({
        script: [toolCall("a"), "Fine.", "Found.", "There."],
        tools: {
          a: () =>
            Effect.gen(function* () {
              yield* RunContext.update("started")
              yield* RunContext.foreground(
                Effect.gen(function* () {
                  yield* RunContext.update("found")
                  yield* Effect.sleep("5 seconds")
                })
              )
              yield* Effect.sleep("5 seconds")
              return "the result"
            })
        }
      })
      yield* session.send("Go")
      yield* advance("30 seconds")
      expect(yield* replies).toEqual([
        "scheduled call_1_update_1",
        "completed call_1_update_1",
        "scheduled call_1_final",
        "completed call_1_final"
      ])
    })
  )

  scoped("[F5] two inline calls of one step hold the floor one after the other", () =>
    Effect.gen(function* () {
      const hold = () => Effect.zipRight(RunContext.foreground(Effect.sleep("2 seconds")), now)
      const { lines, session } = yield* talk({
        script: [[toolCall("a"), toolCall("b")], "Done."],
        tools: { a: hold, b: hold }
      })
      yield* session.send("Go")
      yield* advance("20 seconds")
      expect((yield* lines).slice(-3)).toEqual(["output call_1: 2000", "output call_2: 4000", "assistant: Done."])
    })
  )

  scoped("[F5] two turns whose inline calls both wait for the floor do not wait for each other", () =>
    Effect.gen(function* () {
      const hold = (seconds: number) => () =>
        Effect.gen(function* () {
          yield* Effect.sleep(seconds * 1000)
          yield* RunContext.foreground(Effect.sleep("2 seconds"))
          return yield* now
        })
      const { lines, session } = yield* talk({
        script: [toolCall("a"), toolCall("b"), "Done.", "Done too."],
        tools: { a: hold(3), b: hold(4) }
      })
      yield* session.generateReply()
      yield* session.generateReply()
      yield* advance("20 seconds")
      expect(yield* lines).toEqual([
        "call call_1",
        "call call_2",
        "output call_1: 6000",
        "assistant: Done.",
        expect.stringMatching(/^output call_2: /),
        "assistant: Done too."
      ])
    })
  )

  scoped("[F5] two turns whose inline calls both wait for idle do not wait for each other", () =>
    Effect.gen(function* () {
      const idle = () =>
        Effect.gen(function* () {
          yield* Effect.sleep("3 seconds")
          yield* Effect.flatMap(RunContext.RunContext, ({ session }) => session.waitForIdle)
          return "idle"
        })
      const { session } = yield* talk({
        script: [toolCall("a"), toolCall("b"), "Done.", "Done too."],
        tools: { a: idle, b: idle }
      })
      yield* session.generateReply()
      yield* session.generateReply()
      yield* advance("20 seconds")
      expect(yield* TestSession.said(session)).toEqual(["Done.", "Done too."])
    })
  )

  scoped("[F5, P2b] a run that a later turn has joined is inline in that turn as well: it gets the floor", () =>
    Effect.gen(function* () {
      const { lines, session } = yield* talk({
        script: [toolCall("a"), toolCall("a"), "Done."],
        tools: {
          a: {
            onDuplicate: "join",
            run: () =>
              Effect.gen(function* () {
                yield* Effect.sleep("5 seconds")
                yield* Effect.flatMap(RunContext.RunContext, ({ session }) => session.waitForIdle)
                yield* RunContext.foreground(Effect.sleep("2 seconds"))
                return yield* now
              })
          }
        }
      })
      yield* session.send("Go")
      yield* advance("2 seconds")
      yield* session.send("Go on")
      yield* advance("20 seconds")
      expect(yield* lines).toEqual([
        "user: Go",
        "call call_1",
        "user: Go on",
        "call call_2",
        "output call_1: 7000",
        "output call_2: 7000",
        "assistant: Done."
      ])
    })
  )

  scoped("[F5, U7] an update that interrupts waits while the floor is held", () =>
    Effect.gen(function* () {
      const { events, lines, session } = yield* talk({
        script: [[toolCall("a"), toolCall("b")], "Fine.", "There."],
        tools: {
          a: () =>
            Effect.gen(function* () {
              yield* RunContext.update("started")
              const { session } = yield* RunContext.RunContext
              yield* RunContext.foreground(
                Effect.flatMap(session.say("This will take some time."), (speech) => speech.wait)
              )
            }),
          b: {
            delivery: "interrupt",
            run: () => Effect.as(Effect.zipRight(RunContext.update("started"), Effect.sleep("3 seconds")), "b")
          }
        }
      })
      yield* session.send("Go")
      yield* advance("20 seconds")
      expect((yield* lines).filter((line) => line.startsWith("assistant"))).toEqual([
        "assistant: Fine.",
        "assistant: This will take some time.",
        "assistant: There."
      ])
      expect((yield* events.filter("ReplyScheduled")).map(({ at }) => at)).toEqual([6000])
    })
  )

  scoped("[F5, F7] an own report whose reply fails or is cut does not hold up the floor", () =>
    Effect.gen(function* () {
      const times: Array<number> = []
      const report = (text: string) =>
        Effect.zipRight(RunContext.update(text), RunContext.foreground(Effect.map(now, (at) => void times.push(at))))
      const { replies, session } = yield* talk({
        script: [toolCall("a"), "Fine.", ScriptedModel.fail("overloaded"), long],
        logs: [modelFailed],
        tools: {
          a: () =>
            Effect.gen(function* () {
              yield* RunContext.update("started")
              yield* Effect.sleep("2 seconds")
              yield* report("one")
              yield* report("two")
            })
        }
      })
      yield* session.send("Go")
      yield* advance("5 seconds")
      yield* session.interrupt()
      yield* advance("1 second")
      expect(times).toEqual([2000, 5000])
      expect(yield* replies).toEqual([
        "scheduled call_1_update_1",
        "failed call_1_update_1",
        "scheduled call_1_update_2",
        "interrupted call_1_update_2"
      ])
    })
  )

  scoped("[F5] older reports of others go out before the floor is given", () =>
    Effect.gen(function* () {
      const { mark, seen } = times()
      const { replies, session } = yield* talk({
        script: [[toolCall("a"), toolCall("b")], "This will take some time.", "Of b."],
        tools: {
          a: () =>
            Effect.gen(function* () {
              yield* RunContext.update("started")
              yield* Effect.sleep("4 seconds")
              yield* RunContext.foreground(Effect.zipRight(mark("floor"), Effect.sleep("5 seconds")))
            }),
          b: () => Effect.as(Effect.zipRight(RunContext.update("started"), Effect.sleep("2 seconds")), "b")
        }
      })
      yield* session.send("Go")
      yield* advance("30 seconds")
      expect(yield* replies).toEqual(["scheduled call_2_final", "completed call_2_final"])
      expect(seen).toEqual([["floor", 5000 + 1000]])
    })
  )
})

describe("F6: fillers", () => {
  /** One call that works in the background, or inline, under a filler. What was said is listed with its start. */
  const filled = (
    options: RunContext.FillerOptions,
    more: {
      readonly inline?: boolean
      readonly work?: Effect.Effect<unknown, never, RunContext.RunContext>
      readonly pace?: "instant" | number
      readonly script?: ReadonlyArray<ScriptedModel.Step>
      readonly logs?: ReadonlyArray<RegExp>
      readonly before?: Effect.Effect<unknown, never, RunContext.RunContext>
    } = {}
  ) =>
    Effect.gen(function* () {
      const { before = Effect.void, inline = false, work = Effect.sleep("60 seconds"), script = [] } = more
      const made = yield* talk({
        script: [toolCall("a"), ...script, ...Array.from({ length: 9 }, () => "Well.")],
        pace: more.pace ?? "instant",
        logs: more.logs ?? [],
        tools: {
          a: () =>
            Effect.gen(function* () {
              if (!inline) yield* RunContext.update("started", { delivery: "silent" })
              yield* before
              yield* RunContext.withFiller(work, options)
              return "the result"
            })
        }
      })
      const handle = yield* made.session.send("Go")
      yield* settle
      const said = Effect.map(made.session.history, ({ items }) =>
        items.flatMap((item) =>
          item._tag === "Message" && item.role === "assistant" ? [[item.text, item.createdAt]] : []
        )
      )
      return { ...made, handle, said }
    })

  for (const inline of [true, false]) {
    const how = inline ? "inline" : "in the background"
    scoped(`[F6] the filler is said once it has been idle for the delay, and not before (${how})`, () =>
      Effect.gen(function* () {
        const { said } = yield* filled({ say: "Hm.", delay: "5 seconds" }, { inline })
        yield* advance("4999 millis")
        expect(yield* said).toEqual([])
        yield* advance("1 millis")
        expect(yield* said).toEqual([["Hm.", 5000]])
        // without an interval it is said once
        yield* advance("50 seconds")
        expect(yield* said).toHaveLength(1)
      })
    )

    scoped(`[F6] it is said again each interval, until the effect has ended (${how})`, () =>
      Effect.gen(function* () {
        const { said } = yield* filled({ say: "Hm.", delay: "5 seconds", interval: "20 seconds" }, { inline })
        yield* advance("200 seconds")
        expect((yield* said).filter(([text]) => text === "Hm.")).toEqual([
          ["Hm.", 5000],
          ["Hm.", 25_000],
          ["Hm.", 45_000]
        ])
      })
    )

    scoped(`[F6] an effect that ends before says nothing (${how})`, () =>
      Effect.gen(function* () {
        const { said } = yield* filled({ say: "Hm.", delay: "5 seconds" }, { inline, work: Effect.sleep("4 seconds") })
        yield* advance("60 seconds")
        expect((yield* said).filter(([text]) => text === "Hm.")).toEqual([])
      })
    )
  }

  scoped("[F6] maxSteps bounds how often it is said; 0 is never", () =>
    Effect.gen(function* () {
      const twice = yield* filled({ say: "Hm.", delay: "1 second", interval: "2 seconds", maxSteps: 2 })
      yield* advance("50 seconds")
      expect(yield* twice.said).toEqual([
        ["Hm.", 1000],
        ["Hm.", 3000]
      ])
      const never = yield* filled({ say: "Hm.", delay: "1 second", interval: "2 seconds", maxSteps: 0 })
      yield* advance("50 seconds")
      expect(yield* never.said).toEqual([])
    })
  )

  scoped("[F6] a function is asked for the text of each step when it is due; undefined skips that step", () =>
    Effect.gen(function* () {
      const asked: Array<number> = []
      const { said } = yield* filled({
        say: (step) => {
          asked.push(step)
          return step === 1 ? undefined : `Step ${step}.`
        },
        delay: "2 seconds",
        interval: "10 seconds"
      })
      yield* advance("1999 millis")
      expect(asked).toEqual([])
      yield* advance("30 seconds")
      expect(asked).toEqual([0, 1, 2])
      expect(yield* said).toEqual([
        ["Step 0.", 2000],
        ["Step 2.", 22_000]
      ])
    })
  )

  scoped("[F6] a function that throws is logged and harms neither the effect nor the conversation", () =>
    Effect.gen(function* () {
      const { events, logs, said } = yield* filled(
        {
          say: (step) => {
            if (step === 0) throw new Error("no words")
            return "Hm."
          },
          delay: "2 seconds",
          interval: "10 seconds"
        },
        { logs: [/^ERROR: The text of a filler failed/], work: Effect.sleep("15 seconds") }
      )
      yield* advance("60 seconds")
      expect(yield* said).toEqual([
        ["Hm.", 12_000],
        ["Well.", 15_000]
      ])
      expect(logs).toHaveLength(1)
      expect(yield* events.filter("ToolCallEnded")).toMatchObject([{ status: "done", output: "the result" }])
    })
  )

  scoped("[F6] the delay is zero by default: it is said as soon as the session is idle", () =>
    Effect.gen(function* () {
      const { lines, session } = yield* talk({
        script: [["Look.", toolCall("a")], "Done."],
        tools: { a: () => Effect.as(Effect.sleep("10 seconds"), "a").pipe(RunContext.withFiller({ say: "Wait." })) }
      })
      yield* session.send("Go")
      yield* advance("2 seconds")
      expect(yield* lines).toEqual(["user: Go", "assistant: Look.", "call call_1", "assistant: Wait."])
    })
  )

  scoped("[F6] the agent's speech starts the delay anew", () =>
    Effect.gen(function* () {
      const { said, session } = yield* filled({ say: "Hm.", delay: "5 seconds" }, { pace: 5 })
      yield* advance("4 seconds")
      yield* session.say("Just wait.")
      // spoken until 6 s
      yield* advance("4900 millis")
      yield* session.say("Wait.")
      // until 9.9 s
      yield* advance("30 seconds")
      expect(yield* said).toEqual([
        ["Just wait.", 6000],
        ["Wait.", 9900],
        ["Hm.", 14_900 + 600]
      ])
    })
  )

  scoped("[F6] the agent's speech starts the delay anew, also where it takes no time", () =>
    Effect.gen(function* () {
      const { said, session } = yield* filled({ say: "Hm.", delay: "5 seconds" })
      yield* advance("4 seconds")
      yield* session.say("Wait.")
      yield* advance("30 seconds")
      expect(yield* said).toEqual([
        ["Wait.", 4000],
        ["Hm.", 9000]
      ])
    })
  )

  scoped("[F6] the user's speech starts the delay anew", () =>
    Effect.gen(function* () {
      const { said, session } = yield* filled({ say: "Hm.", delay: "5 seconds" })
      yield* advance("4 seconds")
      yield* Effect.scoped(Effect.zipRight(session.claimUserTurn, advance("8 seconds")))
      yield* advance("4999 millis")
      expect(yield* said).toEqual([])
      yield* advance("1 millis")
      expect(yield* said).toEqual([["Hm.", 17_000]])
    })
  )

  for (const delivery of ["when-idle", "silent"] as const) {
    scoped(`[F6] an update starts the delay anew (${delivery})`, () =>
      Effect.gen(function* () {
        const { said } = yield* filled(
          { say: "Hm.", delay: "5 seconds" },
          {
            work: Effect.zipRight(
              Effect.delay(RunContext.update("more", { delivery }), "4 seconds"),
              Effect.sleep("20 seconds")
            )
          }
        )
        yield* advance("20 seconds")
        expect((yield* said).filter(([text]) => text === "Hm.")).toEqual([["Hm.", 9000]])
      })
    )
  }

  scoped("[F6] a first update that comes inside it moves the call to the background, and the filler goes on", () =>
    Effect.gen(function* () {
      const { lines } = yield* filled(
        { say: "Hm.", delay: "3 seconds" },
        {
          inline: true,
          pace: 5,
          work: Effect.zipRight(Effect.delay(RunContext.update("more"), "2 seconds"), Effect.sleep("20 seconds"))
        }
      )
      yield* advance("10 seconds")
      expect((yield* lines).slice(-2)).toEqual(["assistant: Well.", "assistant: Hm."])
    })
  )

  scoped("[F6] progress is no update: it does not touch the delay", () =>
    Effect.gen(function* () {
      const { said } = yield* filled(
        { say: "Hm.", delay: "5 seconds" },
        { work: Effect.zipRight(Effect.delay(RunContext.progress(50), "4 seconds"), Effect.sleep("20 seconds")) }
      )
      yield* advance("10 seconds")
      expect(yield* said).toEqual([["Hm.", 5000]])
    })
  )

  scoped("[F6] one that waits in the queue when the effect ends is never said", () =>
    Effect.gen(function* () {
      const { said, session } = yield* filled(
        { say: "Hm.", delay: "5 seconds" },
        { pace: 5, work: Effect.sleep("7 seconds") }
      )
      yield* advance("4900 millis")
      // at 5 s both are due: whoever is first, the other one waits for its end
      yield* session.say(long)
      yield* advance("60 seconds")
      expect((yield* said).filter(([text]) => text === "Hm.")).toEqual([])
    })
  )

  scoped("[F6] one in the middle of its words when the effect ends is spoken to its end, and the reply waits", () =>
    Effect.gen(function* () {
      const { lines, session } = yield* talk({
        script: [toolCall("a"), "Done."],
        tools: {
          a: () =>
            Effect.as(Effect.sleep("3 seconds"), "a").pipe(
              RunContext.withFiller({ say: "Just wait.", delay: "2 seconds" })
            )
        }
      })
      yield* session.send("Go")
      yield* advance("10 seconds")
      expect((yield* lines).slice(2)).toEqual(['output call_1: "a"', "assistant: Just wait.", "assistant: Done."])
    })
  )

  scoped("[F6] the effect's value and failure pass through, and its interruption ends the filler", () =>
    Effect.gen(function* () {
      const seen: Array<unknown> = []
      const { said } = yield* filled(
        { say: "Hm.", delay: "5 seconds" },
        {
          before: Effect.gen(function* () {
            const filler = { say: "Never.", delay: "2 seconds" } as const
            seen.push(yield* RunContext.withFiller(Effect.succeed(1), filler))
            seen.push(yield* Effect.flip(RunContext.withFiller(Effect.fail("no"), filler)))
            seen.push(yield* Effect.option(Effect.timeout(RunContext.withFiller(Effect.never, filler), "1 second")))
          })
        }
      )
      yield* advance("30 seconds")
      expect(seen).toEqual([1, "no", Option.none()])
      expect(yield* said).toEqual([["Hm.", 6000]])
    })
  )

  scoped("[F6] it ends with an interruption of the call's speech", () =>
    Effect.gen(function* () {
      const { handle, events, said } = yield* filled(
        { say: "Hm.", delay: "5 seconds", interval: "5 seconds" },
        { inline: true }
      )
      yield* advance("7 seconds")
      yield* handle.interrupt()
      yield* advance("40 seconds")
      expect(yield* said).toEqual([["Hm.", 5000]])
      // the effect goes on
      yield* advance("40 seconds")
      expect(yield* events.filter("ToolCallEnded")).toMatchObject([{ at: 60_000, status: "done" }])
    })
  )

  scoped("[F6] one that starts after the call's speech was interrupted says nothing", () =>
    Effect.gen(function* () {
      const { handle, said } = yield* filled(
        { say: "Hm.", delay: "5 seconds", interval: "5 seconds" },
        { inline: true, before: Effect.sleep("3 seconds") }
      )
      yield* advance("2 seconds")
      yield* handle.interrupt()
      yield* advance("40 seconds")
      expect(yield* said).toEqual([])
    })
  )

  scoped("[F6] two at once are two: each has its own delay, and each restarts the other's", () =>
    Effect.gen(function* () {
      const { lines, session } = yield* talk({
        script: [[toolCall("a"), toolCall("b")], "Done."],
        pace: "instant",
        tools: {
          a: () =>
            Effect.as(Effect.sleep("10 seconds"), "a").pipe(RunContext.withFiller({ say: "A.", delay: "2 seconds" })),
          b: () =>
            Effect.as(Effect.sleep("10 seconds"), "b").pipe(RunContext.withFiller({ say: "B.", delay: "3 seconds" }))
        }
      })
      yield* session.send("Go")
      yield* advance("4900 millis")
      expect((yield* lines).filter((line) => line.startsWith("assistant"))).toEqual(["assistant: A."])
      yield* advance("100 millis")
      expect((yield* lines).filter((line) => line.startsWith("assistant"))).toEqual(["assistant: A.", "assistant: B."])
    })
  )

  scoped("[F6] a filler under another one of the same call", () =>
    Effect.gen(function* () {
      const { said } = yield* filled(
        { say: "Outer.", delay: "10 seconds" },
        { work: RunContext.withFiller(Effect.sleep("30 seconds"), { say: "Inner.", delay: "4 seconds" }) }
      )
      yield* advance("29 seconds")
      expect(yield* said).toEqual([
        ["Inner.", 4000],
        ["Outer.", 14_000]
      ])
    })
  )

  scoped("[F6] while somebody else holds the floor nothing is said, and the delay starts when it is free", () =>
    Effect.gen(function* () {
      const { lines, session } = yield* talk({
        script: [[toolCall("a"), toolCall("b")], ""],
        pace: "instant",
        tools: {
          a: () =>
            Effect.zipRight(RunContext.update("started"), Effect.sleep("60 seconds")).pipe(
              RunContext.withFiller({ say: "Hm.", delay: "5 seconds" })
            ),
          b: () => Effect.zipRight(RunContext.update("started"), RunContext.foreground(Effect.sleep("20 seconds")))
        }
      })
      yield* session.send("Go")
      yield* advance("24 seconds")
      expect((yield* lines).filter((line) => line.startsWith("assistant"))).toEqual([])
      yield* advance("1 second")
      expect((yield* lines).at(-1)).toBe("assistant: Hm.")
    })
  )
})

describe("F7: the model fails", () => {
  const failure = new AiError.HttpRequestError({
    module: "Test",
    method: "streamText",
    reason: "Transport",
    request: { method: "POST", url: "http://localhost", urlParams: [], hash: Option.none(), headers: {} }
  })

  scoped("[F7] the speech ends with that error, an event tells it, and the session lives on", () =>
    Effect.gen(function* () {
      const { events, lines, session } = yield* talk({
        script: [ScriptedModel.fail(failure), "Here I am."],
        logs: [modelFailed]
      })
      const handle = yield* session.send("Go")
      yield* handle.wait
      expect(yield* handle.error).toEqual(Option.some(failure))
      expect([yield* handle.done, yield* handle.interrupted]).toEqual([true, false])
      expect(yield* events.filter("SessionError")).toMatchObject([{ error: { tag: "HttpRequestError" } }])
      expect(yield* events.filter("SpeechEnded")).toMatchObject([{ speechId: handle.id, interrupted: false }])
      yield* session.send("Well?")
      yield* advance("5 seconds")
      expect(yield* lines).toEqual(["user: Go", "user: Well?", "assistant: Here I am."])
    })
  )

  scoped("[F7] an error in the middle keeps what was played and what was called", () =>
    Effect.gen(function* () {
      const { events, lines, session } = yield* talk({
        script: [["Look here.", toolCall("a"), wait("1500 millis"), ScriptedModel.fail("broken")], "Sure."],
        logs: [modelFailed],
        tools: { a: sleeper(5, "a") }
      })
      const handle = yield* session.send("Go")
      yield* advance("10 seconds")
      expect(Option.map(yield* handle.error, (error) => error._tag)).toEqual(Option.some("UnknownError"))
      expect(yield* events.filter("SessionError")).toMatchObject([{ at: 1500 }])
      expect(yield* lines).toEqual(["user: Go", "assistant: Look [cut]", "call call_1", 'output call_1: "a"'])
      yield* session.send("Well?")
      yield* advance("5 seconds")
      expect((yield* lines).at(-1)).toBe("assistant: Sure.")
    })
  )

  scoped("[F7] an error part in the stream is such a failure", () =>
    Effect.gen(function* () {
      const { events, session } = yield* talk({
        logs: [modelFailed],
        script: [[ScriptedModel.part({ type: "error", error: "overloaded" })], "Sure."]
      })
      const handle = yield* session.send("Go")
      yield* advance("5 seconds")
      expect(Option.isSome(yield* handle.error)).toBe(true)
      expect(yield* events.filter("SessionError")).toHaveLength(1)
      yield* (yield* session.send("Well?")).wait.pipe(Effect.fork)
      yield* advance("5 seconds")
      expect(yield* TestSession.said(session)).toEqual(["Sure."])
    })
  )

  scoped("[F7] a failure after a tool step: the output stays, and the next turn sees it", () =>
    Effect.gen(function* () {
      const { lines, request, session } = yield* talk({
        script: [toolCall("a"), ScriptedModel.fail("broken"), "Sure."],
        logs: [modelFailed],
        tools: { a: sleeper(1, "a") }
      })
      yield* session.send("Go")
      yield* advance("5 seconds")
      expect((yield* lines).at(-1)).toBe('output call_1: "a"')
      yield* session.send("Well?")
      yield* advance("5 seconds")
      expect(ScriptedModel.toolResults(yield* request(2))).toMatchObject([{ id: "call_1", result: "a" }])
    })
  )

  scoped("[F7] a model that throws is a failure like others, told in full to the log only", () =>
    Effect.gen(function* () {
      const { events, logs, session } = yield* talk({
        script: [ScriptedModel.effect(Effect.die(new Error("secret"))), "Sure."],
        logs: [/^ERROR: The model failed unexpectedly/]
      })
      const handle = yield* session.send("Go")
      yield* handle.wait
      expect(Option.isSome(yield* handle.error)).toBe(true)
      expect(logs).toHaveLength(1)
      expect(JSON.stringify(yield* events.filter("SessionError"))).not.toContain("secret")
      yield* session.send("Well?")
      yield* advance("5 seconds")
      expect(yield* TestSession.said(session)).toEqual(["Sure."])
    })
  )

  scoped(
    "[F7] what waits in the queue is said all the same, and a model that failed after it was cut tells nothing",
    () =>
      Effect.gen(function* () {
        const { events, lines, session } = yield* talk({
          logs: [modelFailed],
          script: [
            [wait("1 second"), ScriptedModel.fail("broken")],
            [
              "Well.",
              ScriptedModel.effect(
                Effect.never.pipe(Effect.onInterrupt(() => Effect.sleep("1 second"))) as Effect.Effect<never>
              )
            ]
          ]
        })
        yield* session.generateReply()
        yield* session.say("Next.")
        yield* advance("5 seconds")
        expect(yield* lines).toEqual(["assistant: Next."])
        yield* session.generateReply()
        yield* advance("2 seconds")
        yield* session.interrupt()
        yield* advance("5 seconds")
        expect(yield* events.filter("SessionError")).toHaveLength(1)
      })
  )
})
