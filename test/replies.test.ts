import { describe, expect, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { Agent, AsyncToolset, RunContext, ToolPrompts } from "effect-meantime"
import { ScriptedModel, TestSession } from "effect-meantime/testing"
import { modelFailed, started, talk, toolCall, toolkit, wait } from "./support/talk.js"
import { scoped } from "./support/virtual.js"

const { advance } = TestSession

/** Goes to the background at once and ends with its name after so many seconds. */
const job =
  (seconds: number, result = "the result") =>
  () =>
    Effect.as(Effect.delay(RunContext.update("started"), 0).pipe(Effect.zipRight(Effect.sleep(seconds * 1000))), result)

const prompts = ToolPrompts.layer({ replyAtTail: "TAIL {callIds}", replyMaybeCovered: "COVERED {callIds}" })

const interrupted = ["scheduled call_1_final", "interrupted call_1_final"]

const noteOf = (request: ScriptedModel.Request) => ScriptedModel.lastUserText(request).split("\n").at(-1)

describe("D1: one reply covers all that waits", () => {
  scoped("[D1] one reply covers the updates and results of several calls", () =>
    Effect.gen(function* () {
      const { events, model, replies, session } = yield* talk({
        script: [[toolCall("a"), toolCall("b")], "Both are well under way.", "Here it is."],
        tools: {
          a: () =>
            Effect.gen(function* () {
              yield* RunContext.update("one")
              yield* RunContext.update("two")
              return "a is done"
            }),
          b: job(0, "b is done")
        }
      })
      yield* session.send("Go")
      yield* advance("20 seconds")
      expect(yield* replies).toEqual([
        "scheduled call_1_update_1 call_1_final call_2_final",
        "completed call_1_update_1 call_1_final call_2_final"
      ])
      expect(yield* model.requests).toHaveLength(3)
      expect((yield* events.filter("SpeechCreated")).map(({ source }) => source)).toEqual(["reply", "tool-reply"])
      expect((yield* TestSession.said(session)).at(-1)).toBe("Here it is.")
    })
  )

  scoped("[D1] one reply covers what comes from the agent, a toolset of it, and the session", () =>
    Effect.gen(function* () {
      const own = toolkit({ own: job(1) })
      const inner = toolkit({ inner: job(1) })
      const outer = toolkit({ outer: job(1) })
      const { replies, session } = yield* talk({
        script: [
          [toolCall("own"), toolCall("inner"), toolCall("outer")],
          "This will take some time now.",
          "All are in."
        ],
        agent: Agent.make("helper", { instructions: "", tools: [own.kit, AsyncToolset.make("set", inner.kit)] }),
        sessionTools: [AsyncToolset.make("shared", outer.kit)],
        layer: Layer.mergeAll(own.layer, inner.layer, outer.layer)
      })
      yield* session.send("Go")
      yield* advance("20 seconds")
      expect((yield* replies).map((line) => line.split(" ").sort())).toEqual([
        ["call_1_final", "call_2_final", "call_3_final", "scheduled"],
        ["call_1_final", "call_2_final", "call_3_final", "completed"]
      ])
    })
  )

  scoped("[D1] [U7] of these, the one with the update that interrupts comes first; the others wait for idle", () =>
    Effect.gen(function* () {
      const special = ToolPrompts.layer({ replyAtTail: "B {callIds}", replyMaybeCovered: "B {callIds}" })
      const calm = toolkit({ calm: job(1) })
      const hurry = toolkit({
        hurry: () =>
          Effect.gen(function* () {
            yield* RunContext.update("started")
            yield* Effect.sleep("2 seconds")
            yield* RunContext.update("Now!", { delivery: "interrupt" })
            yield* Effect.sleep("1 hour")
          })
      })
      const { replies, session } = yield* talk({
        script: [[toolCall("calm"), toolCall("hurry")], "Ok.", "Now it is.", "Calm."],
        agent: Agent.make("helper", {
          instructions: "",
          tools: [
            AsyncToolset.make("calm", calm.kit).pipe(AsyncToolset.provide(special)),
            AsyncToolset.make("hurry", hurry.kit)
          ]
        }),
        layer: Layer.merge(calm.layer, hurry.layer)
      })
      yield* session.send("Go")
      yield* advance(500)
      yield* session.say("This goes on and on and on and on.")
      yield* session.say("And this comes next, for a while.")
      yield* advance("1 minute")
      expect((yield* replies).filter((line) => line.startsWith("scheduled"))).toEqual([
        "scheduled call_2_update_1",
        "scheduled call_1_final"
      ])
    })
  )

  scoped("[D1] calls whose scopes set different reply templates get one reply for each template", () =>
    Effect.gen(function* () {
      const kits = [toolkit({ a: job(1) }), toolkit({ b: job(1) }), toolkit({ c: job(1) })]
      const [a, b, c] = kits.map(({ kit }, i) => AsyncToolset.make(`set${i}`, kit))
      const special = ToolPrompts.layer({ replyAtTail: "B {callIds}", replyMaybeCovered: "B {callIds}" })
      const { model, replies, session } = yield* talk({
        script: [[toolCall("a"), toolCall("b"), toolCall("c")], "This will take some time now.", "One.", "Two."],
        agent: Agent.make("helper", { instructions: "", tools: [a!, b!.pipe(AsyncToolset.provide(special)), c!] }),
        layer: Layer.mergeAll(prompts, ...kits.map(({ layer }) => layer))
      })
      yield* session.send("Go")
      yield* advance("30 seconds")
      const seen = yield* replies
      expect(seen.map((line) => line.split(" ").sort().join(" ")).sort()).toEqual([
        "call_1_final call_3_final completed",
        "call_1_final call_3_final scheduled",
        "call_2_final completed",
        "call_2_final scheduled"
      ])
      // one after the other, each with its own template
      expect(seen.map((line) => line.split(" ")[0])).toEqual(["scheduled", "completed", "scheduled", "completed"])
      const notes = (yield* model.requests).slice(2).map(noteOf)
      expect(notes.filter((note) => note === "B call_2_final")).toHaveLength(1)
      expect(notes.filter((note) => /^(TAIL|COVERED) call_[13]_final, call_[13]_final$/.test(note ?? ""))).toHaveLength(
        1
      )
    })
  )

  scoped("[D1] what comes in while a reply is spoken is covered by the next one", () =>
    Effect.gen(function* () {
      const { events, replies, session } = yield* talk({
        script: [[toolCall("a"), toolCall("b"), toolCall("c")], "Fine.", "Here is what came in now.", "And the rest."],
        tools: { a: job(3, "a"), b: job(5, "b"), c: job(6, "c") }
      })
      yield* session.send("Go")
      yield* advance("40 seconds")
      expect(yield* replies).toEqual([
        "scheduled call_1_final",
        "completed call_1_final",
        "scheduled call_2_final call_3_final",
        "completed call_2_final call_3_final"
      ])
      // the first reply was spoken from 3 s on: "Here is what came in now." is 25 characters, five a second
      expect((yield* events.filter("ReplyScheduled")).map(({ at }) => at)).toEqual([3000, 8000])
    })
  )
})

describe("D1: shared and held items", () => {
  scoped("[D1, P2b] the ends of joined calls are covered by one reply", () =>
    Effect.gen(function* () {
      const { replies, session } = yield* talk({
        script: [[toolCall("a"), toolCall("a")], "This will take some time now.", "There."],
        tools: { a: { onDuplicate: "join", run: job(2) } }
      })
      yield* session.send("Go")
      yield* advance("20 seconds")
      expect(yield* replies).toEqual(["scheduled call_1_final call_2_final", "completed call_1_final call_2_final"])
    })
  )

  scoped("[D1, T2] items held behind an earlier call's output are covered together once that is in", () =>
    Effect.gen(function* () {
      const { replies, session } = yield* talk({
        script: [[toolCall("slow"), toolCall("a")], "Done.", "There."],
        tools: {
          slow: () => Effect.as(Effect.sleep("5 seconds"), "slow"),
          a: () =>
            Effect.gen(function* () {
              yield* RunContext.update("one")
              yield* Effect.sleep("1 second")
              yield* RunContext.update("two")
              yield* Effect.sleep("1 second")
              return "three"
            })
        }
      })
      yield* session.send("Go")
      yield* advance("20 seconds")
      expect(yield* replies).toEqual([
        "scheduled call_2_update_1 call_2_final",
        "completed call_2_update_1 call_2_final"
      ])
      expect((yield* TestSession.outputs(session)).map(({ callId }) => callId)).toEqual([
        "call_1",
        "call_2",
        "call_2_update_1",
        "call_2_final"
      ])
    })
  )
})

describe("D2: a reply starts only when the session is idle", () => {
  const setup = (rest: ScriptedModel.Script & ReadonlyArray<unknown> = []) => ({
    script: [toolCall("a"), "Fine.", ...(rest as ReadonlyArray<ScriptedModel.Step>)],
    tools: { a: job(5) }
  })

  scoped("[D2] at once where the session is idle", () =>
    Effect.gen(function* () {
      const { events, session } = yield* talk(setup(["There."]))
      yield* session.send("Go")
      yield* advance("20 seconds")
      expect((yield* events.filter("ReplyScheduled")).map(({ at }) => at)).toEqual([5000])
    })
  )

  scoped("[D2] not while the agent speaks, nor while something is queued", () =>
    Effect.gen(function* () {
      const { events, session } = yield* talk(setup(["There."]))
      yield* session.send("Go")
      yield* advance("4 seconds")
      yield* session.say("This will take some time now.")
      yield* session.say("Just wait for me.")
      yield* advance("30 seconds")
      // 4 s, and 29 and 17 characters, five a second
      expect((yield* events.filter("ReplyScheduled")).map(({ at }) => at)).toEqual([4000 + 5800 + 3400])
    })
  )

  scoped("[D2] not while the agent thinks", () =>
    Effect.gen(function* () {
      const { events, session } = yield* talk(setup([[wait("10 seconds"), "Well."], "There."]))
      yield* session.send("Go")
      yield* advance("4 seconds")
      yield* session.send("And?")
      yield* advance("30 seconds")
      expect((yield* events.filter("ReplyScheduled")).map(({ at }) => at)).toEqual([4000 + 10_000 + 1000])
    })
  )

  scoped("[D2] not while a turn waits for its inline call", () =>
    Effect.gen(function* () {
      const { events, session } = yield* talk({
        script: [toolCall("a"), "Fine.", toolCall("slow"), "It is slow.", "There."],
        tools: { a: job(5), slow: () => Effect.as(Effect.sleep("10 seconds"), "slow") }
      })
      yield* session.send("Go")
      yield* advance("4 seconds")
      yield* session.send("And?")
      yield* advance("30 seconds")
      expect((yield* events.filter("ReplyScheduled")).map(({ at }) => at)).toEqual([4000 + 10_000 + 2200])
    })
  )

  scoped("[D2, F4] not while the user speaks, even after the agent has answered meanwhile", () =>
    Effect.gen(function* () {
      const { events, model, session } = yield* talk(setup(["Yes.", "There."]))
      yield* session.send("Go")
      yield* advance("4 seconds")
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* session.claimUserTurn
          yield* advance("4 seconds")
          yield* session.send("Hello?")
          yield* advance("10 seconds")
          expect((yield* TestSession.said(session)).at(-1)).toBe("Yes.")
          expect(yield* events.filter("ReplyScheduled")).toEqual([])
          expect(yield* model.requests).toHaveLength(3)
        })
      )
      yield* advance("5 seconds")
      expect((yield* events.filter("ReplyScheduled")).map(({ at }) => at)).toEqual([18_000])
      expect((yield* TestSession.said(session)).at(-1)).toBe("There.")
    })
  )

  scoped(
    "[D2] an update that comes right after the user began to speak waits, one right after they stopped does not",
    () =>
      Effect.gen(function* () {
        const { events, session } = yield* talk(setup(["There."]))
        yield* session.send("Go")
        yield* advance("4999 millis")
        yield* Effect.scoped(Effect.zipRight(session.claimUserTurn, advance("1 millis")))
        expect((yield* events.filter("ReplyScheduled")).map(({ at }) => at)).toEqual([5000])
      })
  )
})

describe("D2: while the agents change", () => {
  scoped("[D2, D7] no reply starts while the old agent takes its leave; then the new one gives it", () =>
    Effect.gen(function* () {
      const shared = toolkit({ a: job(5) })
      const { events, request, session } = yield* talk({
        script: [toolCall("a"), "Fine.", "There."],
        agent: Agent.make("first", { instructions: "You are the first.", onExit: Effect.sleep("4 seconds") }),
        sessionTools: [AsyncToolset.make("shared", shared.kit)],
        layer: shared.layer
      })
      yield* session.send("Go")
      yield* advance("3 seconds")
      const done = yield* started(session.handoff(Agent.make("second", { instructions: "You are the second." })))
      yield* advance("20 seconds")
      expect(yield* done).toBe("done")
      expect((yield* events.filter("ReplyScheduled")).map(({ at }) => at)).toEqual([7000])
      expect(ScriptedModel.systemText(yield* request(2))).toBe("You are the second.")
    })
  )
})

describe("D3: how a reply is asked for", () => {
  scoped("[D3] with no tools, and as what is new when the newest item is the last of the conversation", () =>
    Effect.gen(function* () {
      const { request, session } = yield* talk({
        script: [toolCall("a"), "Fine.", "There."],
        tools: { a: job(5) },
        layer: prompts
      })
      yield* session.send("Go")
      yield* advance("20 seconds")
      const asked = yield* request(2)
      expect(asked.toolChoice).toBe("none")
      expect(noteOf(asked)).toBe("TAIL call_1_final")
      // M6, C3: the same tools are sent
      expect(asked.tools).toEqual((yield* request(0)).tools)
      expect(ScriptedModel.transcript(asked).split("\n").slice(-4, -2)).toEqual([
        "call call_1_final: a({})",
        'result call_1_final: "the result"'
      ])
      // and what was added is not stored
      expect(yield* TestSession.heard(session)).toEqual(["Go"])
    })
  )

  scoped("[D3] as perhaps told already when something was said since", () =>
    Effect.gen(function* () {
      const { request, session } = yield* talk({
        script: [[toolCall("a"), toolCall("b")], "Fine.", "They are both in now.", ""],
        tools: { a: job(4), b: job(5) },
        layer: prompts
      })
      yield* session.send("Go")
      yield* advance("3 seconds")
      yield* session.say("Wait a bit more.")
      yield* advance("30 seconds")
      // the say ends at 6.2 s, and its message comes after both
      expect(noteOf(yield* request(2))).toBe("COVERED call_1_final, call_2_final")
      expect((yield* request(2)).toolChoice).toBe("none")
    })
  )

  scoped("[D3] [O1] as perhaps told already when what waited for the user's turn was said before it", () =>
    Effect.gen(function* () {
      const { request, session } = yield* talk({
        script: [[toolCall("a"), toolCall("b")], "Fine.", "There."],
        tools: { a: job(4), b: job(8) },
        layer: prompts
      })
      yield* session.send("Go")
      yield* advance("3 seconds")
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* session.claimUserTurn
          yield* session.say("Just wait.")
          yield* advance("10 seconds")
        })
      )
      yield* advance("10 seconds")
      expect(noteOf(yield* request(2))).toBe("COVERED call_1_final, call_2_final")
    })
  )

  scoped("[D3] as new when words came between the older item and the newest", () =>
    Effect.gen(function* () {
      const { request, session } = yield* talk({
        script: [[toolCall("a"), toolCall("b")], "Fine.", "There."],
        tools: { a: job(4), b: job(8) },
        layer: prompts
      })
      yield* session.send("Go")
      yield* advance("3 seconds")
      // until the fifth second
      yield* session.say("Just wait.")
      yield* advance("500 millis")
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* session.claimUserTurn
          yield* advance("10 seconds")
        })
      )
      yield* advance("10 seconds")
      expect(noteOf(yield* request(2))).toBe("TAIL call_1_final, call_2_final")
    })
  )
})

describe("D4: a reply with nothing in it", () => {
  for (const [what, step] of [
    ["nothing", []],
    ["an empty text", ""],
    ["reasoning alone", ScriptedModel.reasoning("There is nothing to add.")],
    ["blanks", ScriptedModel.text("  ", { chunks: [" ", " \n"] })]
  ] as ReadonlyArray<[string, ScriptedModel.Step]>) {
    scoped(`[D4] ends as skipped and records no message where the model answers with ${what}`, () =>
      Effect.gen(function* () {
        const { lines, replies, session } = yield* talk({
          script: [toolCall("a"), "Fine.", step, "Sure."],
          tools: { a: job(5) }
        })
        yield* session.send("Go")
        yield* advance("20 seconds")
        expect(yield* replies).toEqual(["scheduled call_1_final", "skipped call_1_final"])
        expect((yield* lines).at(-1)).toBe('output call_1_final: "the result"')
        yield* session.send("And?")
        yield* advance("5 seconds")
        expect((yield* lines).slice(-2)).toEqual(["user: And?", "assistant: Sure."])
      })
    )
  }
})

describe("D5: the events of a reply", () => {
  scoped("[D5] scheduled at idle with its items and its speech, then completed with the same", () =>
    Effect.gen(function* () {
      const { events, session } = yield* talk({ script: [toolCall("a"), "Fine.", "Here it is."], tools: { a: job(5) } })
      yield* session.send("Go")
      yield* advance("20 seconds")
      const seen = yield* events.filter("ReplyScheduled", "ReplyEnded", "SpeechCreated", "SpeechEnded")
      const [turn, , speech] = seen
      expect(turn).toMatchObject({ _tag: "SpeechCreated", source: "reply" })
      const replyId = expect.any(String)
      expect(seen.slice(2)).toMatchObject(
        [
          { _tag: "SpeechCreated", source: "tool-reply", at: 5000 },
          { _tag: "ReplyScheduled", replyId, updateIds: ["call_1_final"], at: 5000 },
          { _tag: "SpeechEnded", interrupted: false, at: 7200 },
          { _tag: "ReplyEnded", replyId, updateIds: ["call_1_final"], status: "completed", at: 7200 }
        ].map((event) => ({ ...event, speechId: (speech as any).speechId }))
      )
    })
  )

  scoped("[D5, D6, F7] failed, where the model fails; the items stay, and the session goes on", () =>
    Effect.gen(function* () {
      const { events, lines, replies, session } = yield* talk({
        script: [toolCall("a"), "Fine.", ScriptedModel.fail("overloaded"), "Sure."],
        tools: { a: job(5) },
        onInterruptedReply: "redeliver",
        logs: [modelFailed]
      })
      yield* session.send("Go")
      yield* advance("20 seconds")
      expect(yield* replies).toEqual(["scheduled call_1_final", "failed call_1_final"])
      expect(yield* events.filter("SessionError")).toHaveLength(1)
      yield* session.send("And?")
      yield* advance("5 seconds")
      expect((yield* lines).slice(-3)).toEqual(['output call_1_final: "the result"', "user: And?", "assistant: Sure."])
      expect(yield* replies).toHaveLength(2)
    })
  )

  scoped("[D5] [O5] interrupted, where it was cut; before its first word, it is formed once more", () =>
    Effect.gen(function* () {
      const { lines, replies, session } = yield* talk({
        script: [
          [toolCall("a"), toolCall("b")],
          "Fine.",
          "Here it is for you.",
          "Yes.",
          [wait("5 seconds"), "?"],
          "Yes.",
          "Here is the other one."
        ],
        tools: { a: job(5), b: job(10) }
      })
      yield* session.send("Go")
      yield* advance("6500 millis")
      yield* session.send("Stop")
      yield* advance("5 seconds")
      yield* session.send("Stop it")
      yield* advance("10 seconds")
      expect(yield* replies).toEqual([
        "scheduled call_1_final",
        "interrupted call_1_final",
        "scheduled call_2_final",
        "interrupted call_2_final",
        "scheduled call_2_final",
        "completed call_2_final"
      ])
      expect((yield* lines).filter((line) => line.startsWith("assistant"))).toEqual([
        "assistant: Fine.",
        "assistant: Here [cut]",
        "assistant: Yes.",
        "assistant: Yes.",
        "assistant: Here is the other one."
      ])
    })
  )

  scoped("[D5] dropped and never scheduled, where the session closes before it is idle", () =>
    Effect.gen(function* () {
      const { close, lines, replies, session } = yield* talk({
        script: [[toolCall("a"), toolCall("b")], "Fine."],
        tools: { a: job(3, "a"), b: job(4, "b") }
      })
      yield* session.send("Go")
      yield* advance("2 seconds")
      yield* session.say("This takes very long, since nobody knows.")
      yield* advance("3 seconds")
      yield* close
      const seen = yield* replies
      expect(seen.filter((line) => !line.startsWith("dropped"))).toEqual([])
      expect(seen.flatMap((line) => line.split(" ").slice(1)).sort()).toEqual(["call_1_final", "call_2_final"])
      expect((yield* lines).filter((line) => line.startsWith("output")).slice(-2)).toEqual([
        'output call_1_final: "a"',
        'output call_2_final: "b"'
      ])
    })
  )

  scoped("[D5] dropped, where the result comes in while the session closes", () =>
    Effect.gen(function* () {
      const { close, events, replies, session } = yield* talk({
        script: [toolCall("a"), "Fine."],
        tools: { a: job(10) }
      })
      yield* session.send("Go")
      yield* advance("2 seconds")
      yield* close
      expect(yield* replies).toEqual(["dropped call_1_final"])
      expect(yield* events.filter("ToolCallEnded")).toMatchObject([{ id: "call_1_final", status: "done" }])
    })
  )

  scoped("[D5] a reply under way when the session closes ends as interrupted", () =>
    Effect.gen(function* () {
      const { close, lines, replies, session } = yield* talk({
        script: [toolCall("a"), "Fine.", "Here it is for you."],
        tools: { a: job(5) },
        onInterruptedReply: "redeliver"
      })
      yield* session.send("Go")
      yield* advance("6500 millis")
      yield* close
      expect((yield* replies).slice(0, 2)).toEqual(["scheduled call_1_final", "interrupted call_1_final"])
      expect((yield* lines).at(-1)).toBe("assistant: Here [cut]")
    })
  )

  scoped("[D6] [U7] what had interrupted is given again at idle, not before the turn that cut it", () =>
    Effect.gen(function* () {
      const { lines, session } = yield* talk({
        script: (request) => {
          const text = ScriptedModel.lastUserText(request)
          if (text === "Do I matter?") return "Yes, you do."
          if (text !== "Go") return "Here it is for you."
          return request.prompt.content.at(-1)?.role === "tool" ? "Fine." : toolCall("a")
        },
        tools: {
          a: () =>
            Effect.gen(function* () {
              yield* RunContext.update("started")
              yield* Effect.sleep("5 seconds")
              yield* RunContext.update("Now!", { delivery: "interrupt" })
              yield* Effect.sleep("1 hour")
            })
        },
        onInterruptedReply: "redeliver"
      })
      yield* session.send("Go")
      yield* advance("6500 millis")
      yield* session.send("Do I matter?")
      yield* advance("1 minute")
      expect((yield* lines).slice(-4)).toEqual([
        "assistant: Here [cut]",
        "user: Do I matter?",
        "assistant: Yes, you do.",
        "assistant: Here it is for you."
      ])
    })
  )

  scoped("[D5] silent items have no reply and no event of one", () =>
    Effect.gen(function* () {
      const { replies, requested, session } = yield* talk({
        script: [toolCall("a"), "Fine."],
        tools: {
          a: {
            delivery: "silent",
            run: () =>
              Effect.gen(function* () {
                yield* RunContext.update("one")
                yield* RunContext.update("two", { delivery: "silent" })
                return "three"
              })
          }
        }
      })
      yield* session.send("Go")
      yield* advance("20 seconds")
      expect(yield* TestSession.outputs(session)).toHaveLength(3)
      expect(yield* replies).toEqual([])
      expect(yield* requested).toBe(2)
    })
  )
})

describe("D6: an interrupted reply loses nothing", () => {
  const setup = (onInterruptedReply?: "drop" | "redeliver") => ({
    script: [toolCall("a"), "Fine.", "Here it is for you.", "Yes.", "As I said.", "Well."],
    tools: { a: job(5) },
    layer: prompts,
    ...(onInterruptedReply === undefined ? {} : { onInterruptedReply })
  })

  for (const mode of [undefined, "drop"] as const) {
    scoped(`[D6] its items are in what the model sees next, and it is not repeated (${mode ?? "default"})`, () =>
      Effect.gen(function* () {
        const { replies, request, requested, session } = yield* talk(setup(mode))
        yield* session.send("Go")
        yield* advance("6500 millis")
        yield* session.send("Sorry?")
        yield* advance("20 seconds")
        expect(yield* replies).toEqual(interrupted)
        expect(yield* requested).toBe(4)
        expect(ScriptedModel.toolResults(yield* request(3)).at(-1)).toMatchObject({
          id: "call_1_final",
          result: "the result"
        })
      })
    )
  }

  scoped("[D6] redeliver queues its items again, once the user has been answered", () =>
    Effect.gen(function* () {
      const { events, replies, request, session } = yield* talk(setup("redeliver"))
      yield* session.send("Go")
      yield* advance("6500 millis")
      yield* session.send("Sorry?")
      yield* advance("20 seconds")
      expect(yield* replies).toEqual([...interrupted, "scheduled call_1_final", "completed call_1_final"])
      const [first, second] = yield* events.filter("ReplyScheduled")
      expect(second?.replyId).not.toBe(first?.replyId)
      expect(second?.at).toBe(6500 + 800)
      expect(noteOf(yield* request(4))).toBe("COVERED call_1_final")
      expect((yield* TestSession.said(session)).at(-1)).toBe("As I said.")
    })
  )

  scoped("[D6] redeliver repeats as often as it is interrupted, and stops when it was heard", () =>
    Effect.gen(function* () {
      const { replies, session } = yield* talk(setup("redeliver"))
      yield* session.send("Go")
      yield* advance("6500 millis")
      // cut without a word of the user: idle at once
      yield* session.interrupt()
      yield* advance("500 millis")
      yield* session.interrupt({ force: true })
      yield* advance("30 seconds")
      expect(yield* replies).toEqual([
        ...interrupted,
        ...interrupted,
        "scheduled call_1_final",
        "completed call_1_final"
      ])
    })
  )

  scoped("[D6] redeliver joins what came in meanwhile in one reply", () =>
    Effect.gen(function* () {
      const { replies, session } = yield* talk({
        script: [[toolCall("a"), toolCall("b")], "Fine.", "Here it is for you.", "This will take some time.", "Both."],
        tools: { a: job(5), b: job(8) },
        onInterruptedReply: "redeliver"
      })
      yield* session.send("Go")
      yield* advance("6500 millis")
      yield* session.send("Sorry?")
      yield* advance("30 seconds")
      const seen = yield* replies
      expect(seen.slice(0, 2)).toEqual(interrupted)
      expect(seen.slice(2).map((line) => line.split(" ").sort().join(" "))).toEqual([
        "call_1_final call_2_final scheduled",
        "call_1_final call_2_final completed"
      ])
    })
  )

  scoped("[D6] redeliver waits until the user has stopped to speak", () =>
    Effect.gen(function* () {
      const { events, session } = yield* talk(setup("redeliver"))
      yield* session.send("Go")
      yield* advance("6500 millis")
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* session.claimUserTurn
          yield* session.interrupt()
          yield* advance("10 seconds")
          expect(yield* events.filter("ReplyScheduled")).toHaveLength(1)
        })
      )
      yield* advance("10 seconds")
      expect((yield* events.filter("ReplyScheduled")).map(({ at }) => at)).toEqual([5000, 16_500])
    })
  )

  scoped("[D6, D5] items that wait to be delivered again are dropped with an event when the session closes", () =>
    Effect.gen(function* () {
      const { close, replies, session } = yield* talk({
        ...setup("redeliver"),
        script: [toolCall("a"), "Fine.", "Here it is for you.", "This will take some time."]
      })
      yield* session.send("Go")
      yield* advance("6500 millis")
      yield* session.send("Sorry?")
      yield* advance("1 second")
      yield* close
      expect(yield* replies).toEqual([...interrupted, "dropped call_1_final"])
    })
  )
})

describe("D6: delivered again", () => {
  scoped("[D6, D3] what is delivered again before a word of it was played is still new", () =>
    Effect.gen(function* () {
      const { request, session } = yield* talk({
        script: [toolCall("a"), "Fine.", "Here it is for you.", "As I said."],
        tools: { a: job(5) },
        layer: prompts,
        onInterruptedReply: "redeliver"
      })
      yield* session.send("Go")
      yield* advance("5500 millis")
      yield* session.interrupt()
      yield* advance("20 seconds")
      expect(noteOf(yield* request(3))).toBe("TAIL call_1_final")
    })
  )

  scoped("[D6, U7] an urgent item whose reply the user interrupted waits for idle: it does not cut the answer", () =>
    Effect.gen(function* () {
      const { lines, replies, session } = yield* talk({
        script: [toolCall("a"), "Fine.", "Here it is for you.", "This is what you asked.", "As I said."],
        tools: { a: { delivery: "interrupt", run: job(5) } },
        onInterruptedReply: "redeliver"
      })
      yield* session.send("Go")
      yield* advance("6500 millis")
      yield* session.send("Sorry?")
      yield* advance("20 seconds")
      expect((yield* lines).slice(-4)).toEqual([
        "assistant: Here [cut]",
        "user: Sorry?",
        "assistant: This is what you asked.",
        "assistant: As I said."
      ])
      expect(yield* replies).toEqual([...interrupted, "scheduled call_1_final", "completed call_1_final"])
    })
  )

  scoped("[D6, U7] a reply that an urgent item cut is delivered again together with that", () =>
    Effect.gen(function* () {
      const { replies, session } = yield* talk({
        script: [[toolCall("a"), toolCall("b")], "Fine.", "Here it is for you.", "Both are in."],
        tools: { a: job(3), b: { delivery: "interrupt", run: job(5) } },
        onInterruptedReply: "redeliver"
      })
      yield* session.send("Go")
      yield* advance("20 seconds")
      const seen = yield* replies
      expect(seen.slice(0, 2)).toEqual(interrupted)
      expect(seen.slice(2).map((line) => line.split(" ").sort().join(" "))).toEqual([
        "call_1_final call_2_final scheduled",
        "call_1_final call_2_final completed"
      ])
    })
  )

  scoped("[D6, U6] updates that wait to be delivered again count as waiting", () =>
    Effect.gen(function* () {
      const { events, replies, session } = yield* talk({
        script: [toolCall("a"), "Fine.", "Here it is for you.", "As I said."],
        tools: {
          a: () =>
            Effect.gen(function* () {
              yield* RunContext.update("started")
              yield* RunContext.update("one")
              yield* RunContext.update("two")
              yield* Effect.sleep("5 seconds")
              yield* RunContext.update("three")
              yield* Effect.sleep("60 seconds")
            })
        },
        onInterruptedReply: "redeliver",
        maxPendingUpdates: 2
      })
      yield* session.send("Go")
      yield* advance("2500 millis")
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* session.claimUserTurn
          yield* session.interrupt()
          yield* advance("10 seconds")
        })
      )
      yield* advance("10 seconds")
      expect((yield* events.filter("UpdateDropped")).map(({ id }) => id)).toEqual(["call_1_update_1"])
      expect(yield* replies).toEqual([
        "scheduled call_1_update_1 call_1_update_2",
        "interrupted call_1_update_1 call_1_update_2",
        "scheduled call_1_update_2 call_1_update_3",
        "completed call_1_update_2 call_1_update_3"
      ])
    })
  )

  scoped("[D6, D8] a reply that acts is delivered again as one that acts", () =>
    Effect.gen(function* () {
      const { model, session } = yield* talk({
        script: [toolCall("a"), "Fine.", "Here it is for you.", "Yes.", "As I said."],
        tools: { a: { onResult: "act", run: job(5) } },
        onInterruptedReply: "redeliver"
      })
      yield* session.send("Go")
      yield* advance("6500 millis")
      yield* session.send("Sorry?")
      yield* advance("20 seconds")
      expect((yield* model.requests).map(({ toolChoice }) => toolChoice)).toEqual([
        "auto",
        "auto",
        "auto",
        "auto",
        "auto"
      ])
    })
  )
})

describe("D7: who gives the reply", () => {
  const Second = (context?: "inherit" | "empty") =>
    Agent.make("second", { instructions: "You are the second.", ...(context === undefined ? {} : { context }) })

  scoped("[D7] items of the agent's own tools go to that agent, with its prompts", () =>
    Effect.gen(function* () {
      const own = toolkit({ a: job(5) })
      const { request, session } = yield* talk({
        script: [toolCall("a"), "Fine.", "There."],
        agent: Agent.make("first", { instructions: "You are the first.", tools: [own.kit] }).pipe(
          Agent.provide(ToolPrompts.layer({ replyAtTail: "OF THE FIRST {callIds}" }))
        ),
        layer: own.layer
      })
      yield* session.send("Go")
      yield* advance("20 seconds")
      expect(ScriptedModel.systemText(yield* request(2))).toBe("You are the first.")
      expect(noteOf(yield* request(2))).toBe("OF THE FIRST call_1_final")
    })
  )

  for (const context of ["inherit", "empty"] as const) {
    scoped(`[D7] items of a session toolset go to the agent that is current at delivery, once (${context})`, () =>
      Effect.gen(function* () {
        const shared = toolkit({ a: job(5) })
        const { replies, request, session } = yield* talk({
          script: [toolCall("a"), "Fine.", "There."],
          agent: Agent.make("first", { instructions: "You are the first." }),
          sessionTools: [AsyncToolset.make("shared", shared.kit)],
          layer: shared.layer
        })
        yield* session.send("Go")
        yield* advance("2 seconds")
        yield* session.handoff(Second(context))
        yield* advance("20 seconds")
        expect(yield* replies).toEqual(["scheduled call_1_final", "completed call_1_final"])
        const asked = yield* request(2)
        expect(ScriptedModel.systemText(asked)).toBe("You are the second.")
        expect(ScriptedModel.toolResults(asked).filter(({ id }) => id === "call_1_final")).toHaveLength(1)
        expect(ScriptedModel.userTexts(asked).includes("Go")).toBe(context === "inherit")
      })
    )

    scoped(`[D7] an item that waited before the hand-off is in the new agent's context, once (${context})`, () =>
      Effect.gen(function* () {
        const shared = toolkit({ a: job(5) })
        const { replies, request, session } = yield* talk({
          script: [toolCall("a"), "Fine.", "There.", "Sure."],
          agent: Agent.make("first", { instructions: "You are the first." }),
          sessionTools: [AsyncToolset.make("shared", shared.kit)],
          layer: shared.layer
        })
        yield* session.send("Go")
        yield* advance("2 seconds")
        yield* Effect.scoped(
          Effect.gen(function* () {
            yield* session.claimUserTurn
            yield* advance("5 seconds")
            yield* session.handoff(Second(context))
            expect(yield* session.currentAgent).toEqual({ name: "second" })
            expect(yield* replies).toEqual([])
          })
        )
        yield* advance("10 seconds")
        expect(yield* replies).toEqual(["scheduled call_1_final", "completed call_1_final"])
        expect(ScriptedModel.systemText(yield* request(2))).toBe("You are the second.")
        expect(ScriptedModel.toolResults(yield* request(2)).filter(({ id }) => id === "call_1_final")).toMatchObject([
          { result: "the result" }
        ])
        yield* session.send("And?")
        yield* advance("5 seconds")
        expect(ScriptedModel.toolResults(yield* request(3)).filter(({ id }) => id === "call_1_final")).toHaveLength(1)
        expect((yield* TestSession.outputs(session)).filter(({ callId }) => callId === "call_1_final")).toHaveLength(1)
      })
    )
  }

  scoped("[D6, D7] items of a session toolset that are to be delivered again go to the new agent, once", () =>
    Effect.gen(function* () {
      const shared = toolkit({ a: job(5) })
      const { replies, request, session } = yield* talk({
        script: [toolCall("a"), "Fine.", "Here it is for you.", "As I was told."],
        agent: Agent.make("first", { instructions: "You are the first." }),
        sessionTools: [AsyncToolset.make("shared", shared.kit)],
        layer: Layer.merge(shared.layer, prompts),
        onInterruptedReply: "redeliver"
      })
      yield* session.send("Go")
      yield* advance("6500 millis")
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* session.claimUserTurn
          yield* session.interrupt()
          yield* session.handoff(Second("empty"))
          yield* advance("5 seconds")
          expect(yield* replies).toEqual(interrupted)
        })
      )
      yield* advance("20 seconds")
      expect(yield* replies).toEqual([...interrupted, "scheduled call_1_final", "completed call_1_final"])
      const asked = yield* request(3)
      expect(ScriptedModel.systemText(asked)).toBe("You are the second.")
      expect(ScriptedModel.toolResults(asked).map(({ id }) => id)).toEqual(["call_1_final"])
    })
  )

  scoped("[D7, D8] a result that may be acted on is acted on by the new agent", () =>
    Effect.gen(function* () {
      const shared = toolkit({ a: { onResult: "act", run: job(5) }, b: () => Effect.succeed("b is done") })
      const { replies, request, session } = yield* talk({
        script: [toolCall("a"), "Fine.", toolCall("b"), "Both are done."],
        agent: Agent.make("first", { instructions: "You are the first." }),
        sessionTools: [AsyncToolset.make("shared", shared.kit)],
        layer: shared.layer
      })
      yield* session.send("Go")
      yield* advance("2 seconds")
      yield* session.handoff(Second("inherit"))
      yield* advance("20 seconds")
      expect(yield* replies).toEqual(["scheduled call_1_final", "completed call_1_final"])
      expect([yield* request(2), yield* request(3)].map(({ toolChoice }) => toolChoice)).toEqual(["auto", "auto"])
      expect(ScriptedModel.systemText(yield* request(3))).toBe("You are the second.")
      expect((yield* TestSession.said(session)).at(-1)).toBe("Both are done.")
    })
  )

  scoped("[D7, S4] the items of a call that asked for the hand-off belong to the new agent", () =>
    Effect.gen(function* () {
      const own = toolkit({
        a: () =>
          Effect.gen(function* () {
            yield* RunContext.update("looking")
            yield* RunContext.update("found it")
            yield* RunContext.handoff(Second())
            yield* Effect.sleep("20 seconds")
            return "the result"
          })
      })
      const { replies, request, session } = yield* talk({
        script: [toolCall("a"), "This will take some time.", "Found.", "There."],
        agent: Agent.make("first", { instructions: "You are the first.", tools: [own.kit] }),
        layer: own.layer
      })
      yield* session.send("Go")
      yield* advance("40 seconds")
      expect(yield* replies).toEqual([
        "scheduled call_1_update_1",
        "completed call_1_update_1",
        "scheduled call_1_final",
        "completed call_1_final"
      ])
      expect(ScriptedModel.systemText(yield* request(2))).toBe("You are the second.")
    })
  )
})

describe("D8: a reply that may act", () => {
  const acting = (run: () => Effect.Effect<unknown, never, RunContext.RunContext>) => ({
    onResult: "act" as const,
    run
  })
  const poll = acting(job(5))
  const choices = (requests: ReadonlyArray<ScriptedModel.Request>) => requests.map(({ toolChoice }) => toolChoice)

  scoped("[D8] the reply to the final result may call another tool; that to an update may not", () =>
    Effect.gen(function* () {
      const { lines, model, replies, session } = yield* talk({
        script: [toolCall("a"), "Fine.", "Halfway.", ["Good.", toolCall("b")], "All done."],
        tools: {
          a: acting(() =>
            Effect.gen(function* () {
              yield* RunContext.update("started")
              yield* Effect.sleep("3 seconds")
              yield* RunContext.update("halfway")
              yield* Effect.sleep("5 seconds")
              return "the result"
            })
          ),
          b: () => Effect.as(Effect.sleep("2 seconds"), "b is done")
        }
      })
      yield* session.send("Go")
      yield* advance("30 seconds")
      expect(choices(yield* model.requests)).toEqual(["auto", "auto", "none", "auto", "auto"])
      expect(yield* replies).toEqual([
        "scheduled call_1_update_1",
        "completed call_1_update_1",
        "scheduled call_1_final",
        "completed call_1_final"
      ])
      expect((yield* lines).slice(-4)).toEqual([
        "assistant: Good.",
        "call call_2",
        'output call_2: "b is done"',
        "assistant: All done."
      ])
    })
  )

  scoped("[D8] a tool speaks by default: its reply runs no call", () =>
    Effect.gen(function* () {
      let ran = 0
      const { lines, model, session } = yield* talk({
        script: [toolCall("a"), "Fine.", toolCall("b"), "It is in."],
        tools: { a: job(5), b: () => Effect.sync(() => ++ran) }
      })
      yield* session.send("Go")
      yield* advance("20 seconds")
      expect(ran).toBe(0)
      expect(choices(yield* model.requests)).toEqual(["auto", "auto", "none", "none"])
      expect((yield* lines).slice(-2)).toEqual([expect.stringMatching(/^error call_2: /), "assistant: It is in."])
    })
  )

  scoped("[D8] one item that may act makes a mixed reply one that may", () =>
    Effect.gen(function* () {
      const { model, replies, session } = yield* talk({
        script: [[toolCall("a"), toolCall("b")], "This will take some time now.", "Both."],
        tools: { a: job(1), b: acting(job(2)) }
      })
      yield* session.send("Go")
      yield* advance("20 seconds")
      expect((yield* replies)[0]).toBe("scheduled call_1_final call_2_final")
      expect(choices(yield* model.requests)).toEqual(["auto", "auto", "auto"])
    })
  )

  scoped("[D8] a chain of replies shares one limit of steps, until the user's next turn", () =>
    Effect.gen(function* () {
      const { model, session } = yield* talk({
        script: [
          ...[toolCall("poll"), "Fine."],
          // the first and the second result are acted on
          ...[toolCall("poll"), "Again."],
          ...[toolCall("poll"), "And again."],
          // and the third is only spoken of
          "That is enough.",
          // a new turn
          ...[toolCall("poll"), "As you like."],
          ...[toolCall("poll"), "Once more."],
          "Enough."
        ],
        tools: { poll },
        maxToolSteps: 2
      })
      yield* session.send("Go")
      yield* advance("40 seconds")
      expect(choices(yield* model.requests)).toEqual(["auto", "auto", "auto", "auto", "auto", "none", "none"])
      yield* session.send("Once more")
      yield* advance("20 seconds")
      expect(choices(yield* model.requests).slice(7)).toEqual(["auto", "auto", "auto", "auto", "auto"])
    })
  )

  scoped("[D8] an act reply that calls in several steps uses up the limit within itself", () =>
    Effect.gen(function* () {
      const { model, session } = yield* talk({
        script: [toolCall("poll"), "Fine.", toolCall("now"), toolCall("now"), "It is late."],
        tools: { poll, now: () => Effect.succeed("noon") },
        maxToolSteps: 2
      })
      yield* session.send("Go")
      yield* advance("40 seconds")
      expect(choices(yield* model.requests)).toEqual(["auto", "auto", "auto", "auto", "none"])
    })
  )

  scoped("[D8, D9] an act reply that is cut while its call works is interrupted; the call goes on", () =>
    Effect.gen(function* () {
      const { lines, replies, session } = yield* talk({
        script: [toolCall("poll"), "Fine.", toolCall("slow"), "Yes."],
        tools: { poll, slow: () => Effect.as(Effect.sleep("5 seconds"), "slow is done") }
      })
      yield* session.send("Go")
      yield* advance("6 seconds")
      yield* session.send("Sorry?")
      yield* advance("20 seconds")
      expect(yield* replies).toEqual(["scheduled call_1_final", "interrupted call_1_final"])
      expect((yield* lines).slice(-4)).toEqual([
        "call call_2",
        "user: Sorry?",
        "assistant: Yes.",
        'output call_2: "slow is done"'
      ])
    })
  )
})

describe("D9: each item ends in one way", () => {
  scoped("[D9] an inline result is voiced by its turn and by no reply", () =>
    Effect.gen(function* () {
      const { replies, requested, session } = yield* talk({
        script: [[toolCall("a"), toolCall("b")], "Both.", "And b again."],
        tools: { a: () => Effect.as(Effect.sleep("3 seconds"), "a"), b: job(1, "b") }
      })
      yield* session.send("Go")
      yield* advance("20 seconds")
      // b ended while the turn waited for a
      expect(yield* replies).toEqual(["scheduled call_2_final", "completed call_2_final"])
      expect(yield* requested).toBe(3)
    })
  )

  // its sentence ends in the moment of the update: which comes first is another matter on a virtual clock
  it.scoped("[D9, U7] an update that interrupts takes the waiting ones along", () =>
    Effect.gen(function* () {
      const { lines, replies, session } = yield* talk({
        script: [[toolCall("a"), toolCall("b")], "Fine.", "Both are in."],
        tools: { a: job(3, "a"), b: { delivery: "interrupt", run: job(5, "b") } }
      })
      yield* session.send("Go")
      yield* advance("2 seconds")
      yield* session.say("This will take some time, I'm afraid.")
      yield* advance("30 seconds")
      expect(yield* replies).toEqual(["scheduled call_1_final call_2_final", "completed call_1_final call_2_final"])
      expect((yield* lines).slice(-2)).toEqual(["assistant: This will take [cut]", "assistant: Both are in."])
    })
  )

  scoped("[D9] an update that interrupts a deferred reply ends it, and each item ends once", () =>
    Effect.gen(function* () {
      const { replies, session } = yield* talk({
        script: [[toolCall("a"), toolCall("b")], "Fine.", "Here it is for you.", "And that."],
        tools: { a: job(3, "a"), b: { delivery: "interrupt", run: job(5, "b") } }
      })
      yield* session.send("Go")
      yield* advance("30 seconds")
      expect(yield* replies).toEqual([
        "scheduled call_1_final",
        "interrupted call_1_final",
        "scheduled call_2_final",
        "completed call_2_final"
      ])
    })
  )

  scoped("[D9] the same moment for many results: each is covered exactly once", () =>
    Effect.gen(function* () {
      const n = 20
      const { events, session } = yield* talk({
        script: (request) =>
          request.index === 0
            ? Array.from({ length: n }, () => toolCall("a"))
            : request.toolChoice === "none"
              ? "There is something new."
              : "Fine.",
        tools: { a: job(5) }
      })
      yield* session.send("Go")
      yield* advance("200 seconds")
      const ended = yield* events.filter("ReplyEnded")
      expect(ended.every(({ status }) => status === "completed")).toBe(true)
      expect(ended.flatMap(({ updateIds }) => updateIds).sort()).toEqual(
        Array.from({ length: n }, (_, i) => `call_${i + 1}_final`).sort()
      )
      // the first comes when nothing speaks; all the others wait for its end together
      expect(ended.length).toBeLessThanOrEqual(2)
    })
  )
})

describe("D10: an agent that has ended", () => {
  for (const context of ["inherit", "empty"] as const) {
    scoped(`[D10] replies that wait for it are dropped, and the new agent is shown the items (${context})`, () =>
      Effect.gen(function* () {
        const own = toolkit({ a: job(5) })
        const { lines, replies, request, requested, session } = yield* talk({
          script: [toolCall("a"), "Fine.", "Sure."],
          agent: Agent.make("first", { instructions: "You are the first.", tools: [own.kit] }),
          layer: own.layer
        })
        yield* session.send("Go")
        yield* advance("2 seconds")
        yield* Effect.scoped(
          Effect.gen(function* () {
            yield* session.claimUserTurn
            yield* advance("5 seconds")
            yield* session.handoff(Agent.make("second", { instructions: "You are the second.", context }))
          })
        )
        yield* advance("10 seconds")
        expect(yield* replies).toEqual(["dropped call_1_final"])
        expect(yield* requested).toBe(2)
        expect((yield* lines).slice(-2)).toEqual(['output call_1_final: "the result"', "handoff: second"])
        yield* session.send("And?")
        yield* advance("5 seconds")
        expect(ScriptedModel.toolResults(yield* request(2)).filter(({ id }) => id === "call_1_final")).toMatchObject([
          { result: "the result" }
        ])
      })
    )

    scoped(`[D10, S2b] what its calls end with later is dropped, too, and shown (${context})`, () =>
      Effect.gen(function* () {
        const own = toolkit({ a: job(5) })
        const { replies, request, requested, session } = yield* talk({
          script: [toolCall("a"), "Fine.", "Sure."],
          agent: Agent.make("first", { instructions: "You are the first.", tools: [own.kit] }),
          layer: own.layer
        })
        yield* session.send("Go")
        yield* advance("2 seconds")
        yield* session.handoff(Agent.make("second", { instructions: "You are the second.", context }))
        yield* advance("10 seconds")
        expect(yield* replies).toEqual(["dropped call_1_final"])
        expect(yield* requested).toBe(2)
        yield* session.send("And?")
        yield* advance("5 seconds")
        expect(ScriptedModel.toolResults(yield* request(2)).filter(({ id }) => id === "call_1_final")).toMatchObject([
          { result: "the result" }
        ])
      })
    )
  }

  scoped("[D10, D6] what was to be delivered again by an agent that has ended is dropped", () =>
    Effect.gen(function* () {
      const own = toolkit({ a: job(5), b: { onHandoff: "await", run: job(2) } })
      const { replies, session } = yield* talk({
        script: [toolCall("a"), "Fine.", "Here it is for you.", "This will take some time now."],
        agent: Agent.make("first", { instructions: "You are the first.", tools: [own.kit] }),
        layer: own.layer,
        onInterruptedReply: "redeliver"
      })
      yield* session.send("Go")
      yield* advance("6500 millis")
      yield* session.send("Sorry?")
      yield* advance("1 second")
      const done = yield* started(session.handoff(Agent.make("second", { instructions: "You are the second." })))
      yield* advance("20 seconds")
      expect(yield* done).toBe("done")
      expect(yield* replies).toEqual([...interrupted, "dropped call_1_final"])
    })
  )

  scoped("[D10, D6] a reply that acts for an agent that has ended, and is then cut, leaves nothing waiting", () =>
    Effect.gen(function* () {
      const own = toolkit({
        a: { onResult: "act", run: job(3) },
        slow: () => Effect.as(Effect.sleep("20 seconds"), "slow is done")
      })
      const { replies, session } = yield* talk({
        script: [toolCall("a"), "Fine.", toolCall("slow"), "This will take some time now.", "Yes.", "Yes."],
        agent: Agent.make("first", { instructions: "You are the first.", tools: [own.kit] }),
        layer: own.layer,
        onInterruptedReply: "redeliver"
      })
      const done = yield* started(session.run("Go"))
      yield* advance("4 seconds")
      // the reply waits for its call, and the agent changes under it
      yield* session.handoff(Agent.make("second", { instructions: "You are the second." }))
      yield* advance("1 second")
      yield* session.interrupt({ force: true })
      yield* advance("30 seconds")
      // D9: its last reply was interrupted, and there is nobody to deliver it again
      expect(yield* replies).toEqual([...interrupted, "dropped call_2_final"])
      expect(yield* done).toBe("done")
    })
  )
})
