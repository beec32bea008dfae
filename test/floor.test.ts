import { describe, expect } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Scope, Stream } from "effect"
import { Agent, AgentOutput, RunContext } from "effect-meantime"
import { ScriptedModel, TestSession } from "effect-meantime/testing"
import { deck } from "./support/deck.js"
import { now, talk, toolCall, wait } from "./support/talk.js"
import { it } from "./support/virtual.js"

const { advance, settle } = TestSession
const { scoped } = it

/** Claims the floor for as long as the effect takes. */
const claimed = <A, E, R>(
  session: { readonly claimUserTurn: Effect.Effect<void, never, Scope.Scope> },
  effect: Effect.Effect<A, E, R>
) => Effect.scoped(Effect.zipRight(session.claimUserTurn, effect))

const background = (seconds: number) => () =>
  RunContext.update("started").pipe(Effect.zipRight(Effect.sleep(seconds * 1000)), Effect.as("found"))

describe("O1: while the user has the floor", () => {
  scoped("[O1] no say and no reply that a program asks for begins; they keep their places", () =>
    Effect.gen(function* () {
      const { lines, requested, session } = yield* talk({ script: ["Two."], pace: "instant" })
      yield* claimed(
        session,
        Effect.gen(function* () {
          yield* session.say("One.")
          yield* session.generateReply()
          yield* session.say("Zero.", { priority: 1 })
          yield* advance("1 hour")
          expect([yield* lines, yield* requested]).toEqual([[], 0])
        })
      )
      yield* settle
      expect(yield* lines).toEqual(["assistant: Zero.", "assistant: One.", "assistant: Two."])
    })
  )

  scoped("[O1] no deferred reply and no filler begins", () =>
    Effect.gen(function* () {
      const { lines, replies, session } = yield* talk({
        script: [toolCall("a"), "Fine.", "There."],
        tools: {
          a: () =>
            RunContext.update("started").pipe(
              Effect.zipRight(Effect.sleep("20 seconds")),
              RunContext.withFiller({ say: "Still at it.", delay: "5 seconds" }),
              Effect.as("found")
            )
        },
        pace: "instant"
      })
      yield* session.send("Go")
      yield* advance("1 second")
      yield* claimed(
        session,
        Effect.gen(function* () {
          yield* advance("1 minute")
          expect(yield* replies).toEqual([])
        })
      )
      yield* settle
      expect((yield* lines).filter((line) => line.startsWith("assistant"))).toEqual([
        "assistant: Fine.",
        "assistant: There."
      ])
    })
  )

  scoped("[O1] the answer that follows an inline call waits, and the call goes on", () =>
    Effect.gen(function* () {
      const { lines, requested, session } = yield* talk({
        script: [["Look.", toolCall("a")], "Done."],
        tools: { a: () => Effect.as(Effect.sleep("2 seconds"), "a") },
        pace: "instant"
      })
      yield* session.send("Go")
      yield* advance("1 second")
      yield* claimed(
        session,
        Effect.gen(function* () {
          yield* advance("1 minute")
          expect((yield* lines).at(-1)).toBe('output call_1: "a"')
          expect(yield* requested).toBe(1)
        })
      )
      yield* settle
      expect((yield* lines).at(-1)).toBe("assistant: Done.")
    })
  )

  scoped("[O1] what is being said goes on to its end", () =>
    Effect.gen(function* () {
      const { layer, log } = deck()
      const { lines, session } = yield* talk({ script: [], pace: "instant", layer })
      yield* session.say("This will take.")
      yield* advance("500 millis")
      yield* claimed(session, advance("1 minute"))
      expect(yield* lines).toEqual(["assistant: This will take."])
      expect(log).toEqual(["0 plays speech_1", "200 sounds"])
    })
  )

  scoped("[O1] [F4] what is sent inside the claim is answered whole, its steps after inline calls included", () =>
    Effect.gen(function* () {
      const { lines, session } = yield* talk({
        script: [["Look.", toolCall("a")], "Done."],
        tools: { a: () => Effect.as(Effect.sleep("2 seconds"), "a") },
        pace: "instant"
      })
      yield* claimed(
        session,
        Effect.gen(function* () {
          yield* session.say("Waits.")
          yield* session.send("Go")
          yield* advance("10 seconds")
          expect(yield* lines).toEqual([
            "user: Go",
            "assistant: Look.",
            "call call_1",
            'output call_1: "a"',
            "assistant: Done."
          ])
        })
      )
      yield* settle
      expect((yield* lines).at(-1)).toBe("assistant: Waits.")
    })
  )

  scoped("[O1] a new claim holds the rest of an answer that an earlier one let begin", () =>
    Effect.gen(function* () {
      const { lines, session } = yield* talk({
        script: [["Look.", toolCall("a")], "Done."],
        tools: { a: () => Effect.as(Effect.sleep("2 seconds"), "a") },
        pace: "instant"
      })
      yield* claimed(
        session,
        Effect.gen(function* () {
          yield* session.send("Go")
          yield* advance("1 second")
          yield* claimed(session, advance("10 seconds"))
          // the outer claim is the older one: the newer held it, and has ended, but the floor is still the user's
          expect((yield* lines).at(-1)).toBe('output call_1: "a"')
        })
      )
      yield* settle
      expect((yield* lines).at(-1)).toBe("assistant: Done.")
    })
  )

  scoped("[O1] a turn whose model thinks gives the mouth back: its words wait, and the model is not asked again", () =>
    Effect.gen(function* () {
      const { lines, requested, session } = yield* talk({
        script: [[wait("2 seconds"), "Sure."]],
        pace: "instant"
      })
      yield* session.send("Go")
      yield* advance("1 second")
      yield* claimed(session, advance("10 seconds"))
      expect([yield* requested]).toEqual([1])
      yield* settle
      expect(yield* lines).toEqual(["user: Go", "assistant: Sure."])
      expect(yield* requested).toBe(1)
    })
  )

  scoped("[O1] [O3] what was asked to play and has not sounded is taken back, and the answer passes it", () =>
    Effect.gen(function* () {
      const { layer, log } = deck()
      const { events, lines, session } = yield* talk({ script: ["Sure."], pace: "instant", layer })
      const said = yield* session.say("This will take.")
      yield* advance("100 millis")
      yield* claimed(
        session,
        Effect.gen(function* () {
          yield* advance("5 seconds")
          expect(log).toEqual(["0 plays speech_1", "100 stops"])
          yield* session.send("Well?")
          yield* advance("5 seconds")
          expect(yield* lines).toEqual(["user: Well?", "assistant: Sure."])
        })
      )
      yield* advance("5 seconds")
      expect(yield* lines).toEqual(["user: Well?", "assistant: Sure.", "assistant: This will take."])
      expect(yield* said.interrupted).toBe(false)
      expect((yield* events.filter("SpeechEnded")).map(({ interrupted, speechId }) => [speechId, interrupted])).toEqual(
        [
          ["speech_2", false],
          ["speech_1", false]
        ]
      )
    })
  )

  scoped("[O1] one that may not be interrupted and has not begun is passed as well", () =>
    Effect.gen(function* () {
      const { lines, session } = yield* talk({
        script: [[wait("2 seconds"), "One."], "Two."],
        pace: "instant"
      })
      yield* session.generateReply({ allowInterruptions: false })
      yield* advance("1 second")
      yield* claimed(
        session,
        Effect.gen(function* () {
          yield* session.send("Well?")
          yield* advance("5 seconds")
          expect(yield* lines).toEqual(["user: Well?", "assistant: Two."])
        })
      )
      yield* settle
      expect((yield* lines).at(-1)).toBe("assistant: One.")
    })
  )

  scoped("[O1] a user's turn that has not begun is cut by the next one, which answers both", () =>
    Effect.gen(function* () {
      const { lines, request, session } = yield* talk({
        script: [[wait("2 seconds"), "One."], "Both."],
        pace: "instant"
      })
      const first = yield* session.send("Book a flight")
      yield* advance("1 second")
      yield* claimed(session, session.send("to Oslo"))
      yield* advance("5 seconds")
      expect(yield* first.interrupted).toBe(true)
      expect(yield* lines).toEqual(["user: Book a flight", "user: to Oslo", "assistant: Both."])
      expect(ScriptedModel.userTexts(yield* request(1)).slice(-2)).toEqual(["Book a flight", "to Oslo"])
    })
  )

  scoped("[O1] [S4] a hand-off waits for what was given back: its agent is read to its end", () =>
    Effect.gen(function* () {
      const { events, lines, session } = yield* talk({
        script: [[wait("2 seconds"), "One."]],
        pace: "instant"
      })
      yield* session.generateReply()
      yield* advance("1 second")
      const handing = yield* claimed(
        session,
        Effect.gen(function* () {
          const fiber = yield* Effect.forkDaemon(session.handoff(Agent.make("next", { instructions: "You go on." })))
          yield* advance("10 seconds")
          expect(yield* events.filter("AgentHandoff")).toEqual([])
          return fiber
        })
      )
      yield* Fiber.join(handing)
      expect(yield* lines).toEqual(["assistant: One.", "handoff: next"])
    })
  )
})

describe("O7: a turn that is being spoken", () => {
  scoped("[O7] partial texts are told, and commit sends the last one", () =>
    Effect.gen(function* () {
      const { events, lines, session } = yield* talk({ script: ["Sure."], pace: "instant" })
      const turn = yield* session.userTurn()
      yield* turn.partial("Book")
      yield* turn.partial("Book a flight")
      const handle = yield* turn.commit()
      yield* handle.wait
      expect(yield* lines).toEqual(["user: Book a flight", "assistant: Sure."])
      expect(yield* events.filter("UserTurnPartial", "UserStateChanged")).toMatchObject([
        { state: "speaking" },
        { text: "Book" },
        { text: "Book a flight" },
        { state: "listening" }
      ])
    })
  )

  scoped("[O7] commit takes a text, files and the options of a reply", () =>
    Effect.gen(function* () {
      const { lines, request, session } = yield* talk({ script: ["Sure.", "Nice."], pace: "instant" })
      const turn = yield* session.userTurn()
      yield* turn.partial("book a fright")
      yield* turn.commit("Book a flight", { toolChoice: "none", instructions: "Be short." })
      yield* settle
      expect((yield* request(0)).toolChoice).toBe("none")
      const other = yield* session.userTurn()
      yield* other.commit({ text: "", files: [{ data: "aGk=", mediaType: "text/plain" }] })
      yield* settle
      expect((yield* lines).filter((line) => !line.startsWith("user: [")).slice(0, 2)).toEqual([
        "user: Book a flight",
        "assistant: Sure."
      ])
      expect((yield* lines).at(-1)).toBe("assistant: Nice.")
    })
  )

  scoped("[O7] it ends once: a later commit gives the same handle, all else does nothing", () =>
    Effect.gen(function* () {
      const { events, lines, session } = yield* talk({ script: ["Sure."], pace: "instant" })
      const turn = yield* session.userTurn()
      const handle = yield* turn.commit("Go")
      expect(yield* turn.commit("Again")).toBe(handle)
      yield* turn.partial("more")
      yield* turn.discard
      yield* settle
      expect(yield* turn.commit()).toBe(handle)
      expect(yield* lines).toEqual(["user: Go", "assistant: Sure."])
      expect(yield* events.filter("UserTurnPartial")).toEqual([])
      expect((yield* events.filter("UserStateChanged")).map(({ state }) => state)).toEqual(["speaking", "listening"])
    })
  )

  scoped("[O7] discarded it is as if nothing had been said, and cannot be committed", () =>
    Effect.gen(function* () {
      const { events, lines, session } = yield* talk({ script: [], pace: "instant" })
      const turn = yield* session.userTurn()
      yield* turn.partial("Hm")
      yield* session.say("One.")
      yield* turn.discard
      yield* turn.discard
      yield* settle
      expect(yield* lines).toEqual(["assistant: One."])
      const error = yield* Effect.flip(turn.commit("Go"))
      expect(error).toMatchObject({ _tag: "ToolError", message: expect.stringContaining("discarded") })
      yield* turn.partial("more")
      expect(yield* events.filter("UserTurnPartial")).toHaveLength(1)
    })
  )

  for (const [what, use] of Object.entries({
    "there is no partial": [undefined, undefined],
    "the partial is blank": ["  ", undefined],
    "the text is empty": ["Go", ""],
    "the input is blank": [undefined, { text: " \n", files: [] }]
  } as const)) {
    scoped(`[O7] a commit without a text is a discard and a ToolError: ${what}`, () =>
      Effect.gen(function* () {
        const { events, lines, session } = yield* talk({ script: [], pace: "instant" })
        const turn = yield* session.userTurn()
        const [partial, input] = use
        if (partial !== undefined) yield* turn.partial(partial)
        expect(yield* Effect.flip(turn.commit(input))).toMatchObject({ _tag: "ToolError" })
        expect((yield* events.filter("UserStateChanged")).map(({ state }) => state)).toEqual(["speaking", "listening"])
        expect(yield* Effect.flip(turn.commit("Go"))).toMatchObject({ _tag: "ToolError" })
        expect(yield* lines).toEqual([])
      })
    )
  }

  for (const how of ["closed", "interrupted", "failed"] as const) {
    scoped(`[O7] its scope gives the floor back when it is ${how}`, () =>
      Effect.gen(function* () {
        const { events, lines, session } = yield* talk({ script: [], pace: "instant" })
        yield* session.say("One.")
        const speak = Effect.scoped(
          Effect.gen(function* () {
            const turn = yield* session.userTurn()
            yield* session.say("Two.")
            yield* turn.partial("Hm")
            if (how === "failed") return yield* Effect.fail("lost the line")
            if (how === "interrupted") return yield* Effect.never
          })
        )
        const fiber = yield* Effect.fork(Effect.exit(speak))
        yield* settle
        if (how === "interrupted") yield* Fiber.interrupt(fiber)
        yield* settle
        expect(yield* lines).toEqual(["assistant: One.", "assistant: Two."])
        expect((yield* events.filter("UserStateChanged")).at(-1)).toMatchObject({ state: "listening" })
      })
    )
  }

  scoped("[O7] a turn that was committed is not ended again by its scope", () =>
    Effect.gen(function* () {
      const { lines, session } = yield* talk({ script: ["Sure."], pace: "instant" })
      const scope = yield* Scope.make()
      const turn = yield* Scope.extend(session.userTurn(), scope)
      yield* turn.commit("Go")
      yield* settle
      yield* claimed(
        session,
        Effect.gen(function* () {
          yield* Scope.close(scope, Exit.void)
          yield* session.say("Waits.")
          yield* settle
          expect(yield* lines).toEqual(["user: Go", "assistant: Sure."])
        })
      )
      yield* settle
      expect((yield* lines).at(-1)).toBe("assistant: Waits.")
    })
  )

  scoped("[O7] several may be open: the floor is free when all have ended", () =>
    Effect.gen(function* () {
      const { events, lines, session } = yield* talk({ script: ["Sure."], pace: "instant" })
      const one = yield* session.userTurn()
      const two = yield* session.userTurn()
      const three = yield* session.userTurn()
      yield* session.say("Waits.")
      yield* one.discard
      yield* settle
      expect(yield* lines).toEqual([])
      yield* two.commit("Go")
      yield* settle
      expect(yield* lines).toEqual(["user: Go", "assistant: Sure."])
      yield* three.discard
      yield* settle
      expect((yield* lines).at(-1)).toBe("assistant: Waits.")
      expect(yield* events.filter("UserStateChanged")).toHaveLength(2)
    })
  )

  scoped("[O7] [S2] a session that is closed has none, and one that closes ends those there are", () =>
    Effect.gen(function* () {
      const { close, session } = yield* talk({ script: [], pace: "instant" })
      const turn = yield* session.userTurn()
      yield* close
      expect(yield* Effect.flip(Effect.scoped(session.userTurn()))).toMatchObject({ _tag: "SessionClosed" })
      expect(yield* Effect.flip(turn.commit("Go"))).toMatchObject({ _tag: "SessionClosed" })
      yield* turn.partial("more")
      yield* turn.discard
    })
  )

  scoped("[O7] [L3] an option that makes no sense is refused", () =>
    Effect.gen(function* () {
      const { session } = yield* talk({ script: [], pace: "instant" })
      const exit = yield* Effect.exit(Effect.scoped(session.userTurn({ speech: "stop" as never })))
      expect(String(Exit.isFailure(exit) ? exit.cause : "")).toContain(
        "The option speech of session.userTurn has to be"
      )
    })
  )
})

describe("O7: what it does to the current speech", () => {
  const text = "One two. Three four. Five."

  scoped("[O7] keep: it goes on, and a commit cuts it", () =>
    Effect.gen(function* () {
      const { layer } = deck()
      const { lines, session } = yield* talk({ script: ["Sure."], pace: "instant", layer })
      yield* session.say(text)
      yield* advance("1100 millis")
      const turn = yield* session.userTurn()
      yield* advance("200 millis")
      yield* turn.commit("Stop")
      yield* advance("5 seconds")
      expect(yield* lines).toEqual(["assistant: One two. [cut]", "user: Stop", "assistant: Sure."])
    })
  )

  scoped("[O7] interrupt: it is cut at once", () =>
    Effect.gen(function* () {
      const { layer } = deck()
      const { lines, session } = yield* talk({ script: [], pace: "instant", layer })
      const handle = yield* session.say(text)
      yield* advance("700 millis")
      const turn = yield* session.userTurn({ speech: "interrupt" })
      yield* settle
      expect([yield* handle.done, yield* lines]).toEqual([true, ["assistant: One [cut]"]])
      yield* turn.discard
      yield* advance("5 seconds")
      expect(yield* lines).toEqual(["assistant: One [cut]"])
    })
  )

  scoped("[O7] pause: an output that can goes on after discard", () =>
    Effect.gen(function* () {
      const { layer, log } = deck({ pauses: true })
      const { lines, session } = yield* talk({ script: [], pace: "instant", layer })
      yield* session.say(text)
      yield* session.say("Next.")
      yield* advance("700 millis")
      const turn = yield* session.userTurn({ speech: "pause" })
      yield* advance("1 minute")
      expect(yield* lines).toEqual([])
      yield* turn.discard
      yield* advance("10 seconds")
      expect(yield* lines).toEqual([`assistant: ${text}`, "assistant: Next."])
      expect(log).toEqual([
        "0 plays speech_1",
        "200 sounds",
        "700 pauses",
        "60700 resumes",
        expect.stringMatching(/plays speech_2$/),
        expect.stringMatching(/sounds$/)
      ])
    })
  )

  scoped("[O7] pause: an output that cannot begins the interrupted sentence anew", () =>
    Effect.gen(function* () {
      const base = deck()
      const { lines, session } = yield* talk({ script: [], pace: "instant", layer: base.layer })
      yield* session.say(text)
      // "One two. Three " has been heard
      yield* advance(200 + 1500 + 50)
      const turn = yield* session.userTurn({ speech: "pause" })
      yield* advance("1 minute")
      expect(base.log.slice(-1)).toEqual(["1750 stops"])
      yield* turn.discard
      const before = yield* now
      yield* advance("20 seconds")
      expect(yield* lines).toEqual([`assistant: ${text}`])
      // from "Three" on
      const ended = base.log.filter((line) => line.includes("sounds")).at(-1)
      expect(ended).toBe(`${before + 200} sounds`)
    })
  )

  scoped("[O7] pause: what is cut while the sentence is said anew keeps what was heard before", () =>
    Effect.gen(function* () {
      const { layer } = deck()
      const { lines, session } = yield* talk({ script: [], pace: "instant", layer })
      yield* session.say(text)
      yield* advance(200 + 1500 + 50)
      const turn = yield* session.userTurn({ speech: "pause" })
      yield* advance("1 second")
      yield* turn.discard
      yield* advance("100 millis")
      yield* session.interrupt()
      yield* settle
      expect(yield* lines).toEqual(["assistant: One two. Three [cut]"])
    })
  )

  scoped("[O7] pause and commit: it is cut, and resume is called before the answer is played", () =>
    Effect.gen(function* () {
      const { layer, log } = deck({ pauses: true })
      const { lines, session } = yield* talk({ script: ["Sure."], pace: "instant", layer })
      yield* session.say(text)
      yield* advance("700 millis")
      const turn = yield* session.userTurn({ speech: "pause" })
      yield* advance("1 second")
      yield* turn.commit("Stop")
      yield* advance("10 seconds")
      expect(yield* lines).toEqual(["assistant: One [cut]", "user: Stop", "assistant: Sure."])
      expect(log).toEqual([
        "0 plays speech_1",
        "200 sounds",
        "700 pauses",
        "1700 stops",
        "1700 resumes",
        "1700 plays speech_2",
        "1900 sounds"
      ])
    })
  )

  scoped("[O7] a speech that disallows interruptions is kept, also if it does so while it is paused", () =>
    Effect.gen(function* () {
      const { layer, log } = deck({ pauses: true })
      const { lines, session } = yield* talk({ script: [], pace: "instant", layer })
      const handle = yield* session.say(text, { allowInterruptions: false })
      yield* advance("500 millis")
      const turn = yield* session.userTurn({ speech: "pause" })
      const other = yield* session.userTurn({ speech: "interrupt" })
      yield* settle
      expect(log).not.toContain("500 pauses")
      yield* handle.setAllowInterruptions(true)
      const third = yield* session.userTurn({ speech: "pause" })
      yield* advance("1 second")
      expect(log.at(-1)).toBe("500 pauses")
      yield* handle.setAllowInterruptions(false)
      yield* advance("10 seconds")
      expect(yield* lines).toEqual([`assistant: ${text}`])
      for (const one of [turn, other, third]) yield* one.discard
      expect(log.filter((line) => /pauses|resumes/.test(line))).toEqual(["500 pauses", "1500 resumes"])
    })
  )

  scoped("[O7] what was paused goes on only when the floor is free, and is resumed once", () =>
    Effect.gen(function* () {
      const { layer, log } = deck({ pauses: true })
      const { lines, session } = yield* talk({ script: [], pace: "instant", layer })
      yield* session.say(text)
      yield* advance("500 millis")
      const one = yield* session.userTurn({ speech: "pause" })
      const two = yield* session.userTurn({ speech: "pause" })
      yield* one.discard
      yield* advance("1 second")
      expect(log.at(-1)).toBe("500 pauses")
      yield* two.discard
      yield* advance("10 seconds")
      expect(log.filter((line) => /pauses|resumes/.test(line))).toEqual(["500 pauses", "1500 resumes"])
      expect(yield* lines).toEqual([`assistant: ${text}`])
    })
  )

  scoped("[O7] [S2] closing lets the output go on", () =>
    Effect.gen(function* () {
      const { layer, log } = deck({ pauses: true })
      const { close, lines, session } = yield* talk({ script: [], pace: "instant", layer })
      yield* session.say(text)
      yield* advance("700 millis")
      yield* session.userTurn({ speech: "pause" })
      yield* settle
      yield* close
      expect(log.slice(-2)).toEqual(["700 stops", "700 resumes"])
      expect(yield* lines).toEqual(["assistant: One [cut]"])
    })
  )

  scoped("[O7] text that comes meanwhile waits as well, shown as it comes or not", () =>
    Effect.gen(function* () {
      for (const plays of [false, true]) {
        const { layer, log } = deck({ pauses: true })
        const { lines, session } = yield* talk({ script: [], pace: "instant", ...(plays ? { layer } : {}) })
        const slow = Stream.concat(
          Stream.make("One. "),
          Stream.fromEffect(Effect.as(Effect.sleep("2 seconds"), "Two."))
        )
        yield* session.say(slow)
        yield* advance("1500 millis")
        const turn = yield* session.userTurn({ speech: "pause" })
        yield* advance("10 seconds")
        expect(yield* lines).toEqual([])
        yield* turn.discard
        yield* advance("10 seconds")
        expect(yield* lines).toEqual(["assistant: One. Two."])
        expect(log.filter((line) => line.includes("plays"))).toHaveLength(plays ? 1 : 0)
      }
    })
  )
})

describe("O7: races", () => {
  scoped("[O7] [D6] a deferred reply that is paused, and cut by a commit, ends as its option says", () =>
    Effect.gen(function* () {
      const { layer } = deck({ pauses: true })
      const { replies, session } = yield* talk({
        script: [toolCall("a"), "Fine.", "Here it is for you.", "Sure."],
        tools: { a: background(5) },
        pace: "instant",
        layer
      })
      yield* session.send("Go")
      yield* advance("6 seconds")
      const turn = yield* session.userTurn({ speech: "pause" })
      yield* advance("1 second")
      yield* turn.commit("Stop")
      yield* advance("20 seconds")
      expect(yield* replies).toEqual(["scheduled call_1_final", "interrupted call_1_final"])
    })
  )

  scoped("[O7] a pause that hangs, and one that dies, do not silence the session", () =>
    Effect.gen(function* () {
      for (const pause of [Effect.never, Effect.die(new Error("no such device"))]) {
        const { layer } = deck({ pauses: true })
        const broken = Layer.effect(
          AgentOutput.AgentOutput,
          Effect.map(AgentOutput.AgentOutput, (output) => ({ ...output, pause }))
        ).pipe(Layer.provide(layer)) as Layer.Layer<never>
        const { lines, session } = yield* talk({
          script: ["Sure."],
          pace: "instant",
          layer: broken,
          logs: [/^ERROR: The output failed when it was to pause/, /^WARN: The output does not stop/]
        })
        yield* session.say("One two. Three.")
        yield* advance("700 millis")
        const turn = yield* session.userTurn({ speech: "pause" })
        yield* settle
        yield* turn.commit("Go")
        yield* advance("30 seconds")
        expect(yield* lines).toEqual(["assistant: One [cut]", "user: Go", "assistant: Sure."])
      }
    })
  )
})
