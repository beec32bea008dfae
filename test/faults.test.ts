import { AiError } from "@effect/ai"
import { describe, expect, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { Agent, RunContext } from "effect-meantime"
import {
  type Answer,
  agent,
  callPart,
  finishPart,
  firstThen,
  goesOn,
  lawful,
  type Model,
  type Part,
  standing,
  TestSession,
  type Tools,
  turn
} from "./support/law.js"

const broken = new AiError.UnknownError({ module: "Test", method: "streamText", description: "broken" })
const malformed = new AiError.MalformedOutput({ module: "Test", method: "streamText", description: "no JSON" })

// ------------------------------------------------------------------------------------------------- a model that fails

/** A stream with all there is: reasoning, text, calls that answer inline, report, and fail. */
const whole: ReadonlyArray<Part> = [
  { type: "reasoning-start", id: "r" },
  { type: "reasoning-delta", id: "r", delta: "Hm. " },
  { type: "reasoning-end", id: "r", metadata: { test: { signature: "s" } } },
  { type: "text-start", id: "t" },
  { type: "text-delta", id: "t", delta: "Let me " },
  { type: "text-delta", id: "t", delta: "look." },
  { type: "text-end", id: "t" },
  callPart("c1", "inline"),
  { type: "text-start", id: "u" },
  { type: "text-delta", id: "u", delta: "And there." },
  callPart("c2", "reporting"),
  { type: "text-end", id: "u" },
  callPart("c3", "failing"),
  callPart("c4", "slow"),
  finishPart
]

const tools: Tools = {
  inline: () => Effect.succeed("at once"),
  reporting: () =>
    Effect.gen(function* () {
      yield* RunContext.update("on it")
      yield* Effect.sleep("5 seconds")
      yield* RunContext.update("half way")
      yield* Effect.sleep("5 seconds")
      return "found"
    }),
  failing: () => Effect.die(new Error("secret")),
  slow: () => Effect.as(Effect.sleep("20 seconds"), "at last")
}

const endings: Record<string, ReadonlyArray<unknown>> = {
  "a typed failure": [Effect.fail(broken)],
  "output that cannot be read": [Effect.fail(malformed)],
  "a defect": [Effect.die(new Error("a bug"))],
  "an error part": [{ type: "error", error: new Error("broken") }],
  "a silent end": [],
  "a stall": [Effect.never]
}

describe("a model that fails at each point of its stream", () => {
  for (const [seam, output] of [
    ["direct", "paced"],
    ["LanguageModel", undefined]
  ] as const) {
    for (const [name, ending] of Object.entries(endings)) {
      it.scoped(`[F7] [T9] [M3] ${name}, ${seam}: what was called counts, the session goes on`, () =>
        Effect.forEach(
          Array.from({ length: whole.length + 1 }, (_, i) => i),
          (n) =>
            lawful({ seam, tools, model: firstThen([...whole.slice(0, n), ...ending]), output }, (talk) =>
              Effect.gen(function* () {
                yield* turn(talk.session, "Go")
                yield* TestSession.advance("1 minute")
                yield* goesOn(talk)
                const asked = whole.slice(0, n).flatMap((part) => (part.type === "tool-call" ? [part.id] : []))
                const started = yield* talk.events.filter("ToolCallStarted")
                expect(started.map((event) => event.call.callId)).toEqual(asked)
                expect((yield* talk.ends).length).toBe(asked.length)
                expect(yield* talk.session.runningTools).toEqual([])
                if (asked.includes("c1")) expect(yield* talk.output("c1")).toBe("at once")
                if (asked.includes("c2")) expect(yield* talk.output("c2_final")).toBe("found")
                if (asked.includes("c4")) expect(yield* talk.output("c4")).toBe("at last")
              })
            ),
          { discard: true }
        )
      )
    }
  }
})

// -------------------------------------------------------------------------------------------------------- broken parts

const text: ReadonlyArray<Part> = [
  { type: "text-start", id: "t" },
  { type: "text-delta", id: "t", delta: "Fine. " },
  { type: "text-end", id: "t" }
]

/** Each in the middle of a stream that is otherwise sound. */
const junk: Record<string, Answer> = {
  "no part at all": [null],
  "a number": [5],
  "a string": ["text"],
  "an array": [[]],
  "a part without type": [{}],
  "a type that is no string": [{ type: 5 }],
  "an unknown type": [{ type: "hologram", id: "h" }],
  "an inherited type": [Object.create({ type: "tool-call", id: "x", name: "work", params: {} })],
  "a text without id": [{ type: "text-start" }, { type: "text-delta", delta: "x" }, { type: "text-end" }],
  "a delta without start": [{ type: "text-delta", id: "lost", delta: "Lost. " }],
  "a delta without text": [
    { type: "text-start", id: "q" },
    { type: "text-delta", id: "q" }
  ],
  "a delta that is a number": [{ type: "text-delta", id: "q", delta: 5 }],
  "a delta that is null": [{ type: "text-delta", id: "q", delta: null }],
  "a delta that is an object": [{ type: "text-delta", id: "q", delta: {} }],
  "a delta after its end": [...text, { type: "text-delta", id: "t", delta: "More. " }],
  "a text begun twice": [
    { type: "text-start", id: "q" },
    { type: "text-delta", id: "q", delta: "One. " },
    { type: "text-start", id: "q" },
    { type: "text-delta", id: "q", delta: "Two. " },
    { type: "text-end", id: "q" }
  ],
  "a text begun after its delta": [
    { type: "text-delta", id: "q", delta: "One. " },
    { type: "text-start", id: "q" },
    { type: "text-end", id: "q" }
  ],
  "a text that never ends": [
    { type: "text-start", id: "q" },
    { type: "text-delta", id: "q", delta: "Open. " }
  ],
  "a text ended twice": [...text, { type: "text-end", id: "t" }],
  "an end without start": [{ type: "text-end", id: "nobody" }],
  "reasoning without id": [{ type: "reasoning-start" }, { type: "reasoning-delta" }, { type: "reasoning-end" }],
  "reasoning without text": [{ type: "reasoning-delta", id: "r" }],
  "reasoning ended twice": [
    { type: "reasoning-start", id: "r" },
    { type: "reasoning-end", id: "r" },
    { type: "reasoning-end", id: "r" }
  ],
  "reasoning begun twice": [
    { type: "reasoning-start", id: "r" },
    { type: "reasoning-start", id: "r" },
    { type: "reasoning-delta", id: "r", delta: "Hm." }
  ],
  "metadata that is null": [{ type: "text-start", id: "q", metadata: null }],
  "metadata that is text": [{ type: "text-start", id: "q", metadata: "mine" }],
  "metadata that is a list": [{ type: "reasoning-end", id: "q", metadata: [1] }],
  "a call without id": [{ type: "tool-call", name: "work", params: {} }],
  "a call with a number for its id": [{ type: "tool-call", id: 7, name: "work", params: {} }],
  "a call without name": [{ type: "tool-call", id: "j", params: {} }],
  "a call with null for its name": [{ type: "tool-call", id: "j", name: null, params: {} }],
  "a call without arguments": [{ type: "tool-call", id: "j", name: "work" }],
  "a call with null for arguments": [{ type: "tool-call", id: "j", name: "work", params: null }],
  "a call with a list for arguments": [{ type: "tool-call", id: "j", name: "work", params: [1, 2] }],
  "a call with text for arguments": [{ type: "tool-call", id: "j", name: "work", params: "n: 1" }],
  "a call with metadata that is null": [{ type: "tool-call", id: "j", name: "work", params: {}, metadata: null }],
  "a call with metadata that is text": [{ type: "tool-call", id: "j", name: "work", params: {}, metadata: "mine" }],
  "a call id twice": [callPart("j", "work"), callPart("j", "work")],
  "a provider's call without arguments": [{ type: "tool-call", id: "p", name: "search", providerExecuted: true }],
  "a provider's call without result": [
    { type: "tool-call", id: "p", name: "search", params: {}, providerExecuted: true }
  ],
  "a provider's result without call": [
    { type: "tool-result", id: "nobody", name: "search", result: 1, isFailure: false, providerExecuted: true }
  ],
  "a provider's result twice": [
    { type: "tool-call", id: "p", name: "search", params: {}, providerExecuted: true },
    { type: "tool-result", id: "p", name: "search", result: 1, isFailure: false, providerExecuted: true },
    { type: "tool-result", id: "p", name: "search", result: 2, isFailure: false, providerExecuted: true }
  ],
  "a provider's result for a call of ours": [
    callPart("j", "work"),
    { type: "tool-result", id: "j", name: "work", result: "forged", isFailure: false, providerExecuted: true }
  ],
  "a result without anything": [{ type: "tool-result", providerExecuted: true }],
  "a result that the provider did not produce": [
    { type: "tool-result", id: "j", name: "work", result: 1, isFailure: false }
  ],
  "an end in the middle": [finishPart],
  "two ends": [finishPart, finishPart],
  "an error without error": [{ type: "error" }],
  "an error that is no error": [{ type: "error", error: 5 }]
}

describe("a model that sends broken parts", () => {
  for (const [name, parts] of Object.entries(junk)) {
    it.scoped(`[T9] [M3] [F7] ${name}: nothing hangs, nothing is made up, the session goes on`, () =>
      lawful(
        {
          tools: { work: () => Effect.as(Effect.sleep("1 second"), "worked") },
          output: "paced",
          model: firstThen([...text, callPart("before", "work"), ...parts, callPart("after", "work"), finishPart])
        },
        (talk) =>
          Effect.gen(function* () {
            const speech = yield* turn(talk.session, "Go")
            yield* TestSession.advance("1 minute")
            expect(yield* speech.done).toBe(true)
            yield* goesOn(talk)
            expect(yield* talk.output("before")).toBe("worked")
            expect(talk.logs).toEqual([])
            const items = JSON.stringify((yield* talk.session.history).items)
            expect(items).not.toMatch(/undefined|\[object|NaN|forged/)
          })
      )
    )
  }
})

// ----------------------------------------------------------------------------------------------------------- handlers

const task = Agent.task("asking", { instructions: "I am asking.", result: Schema.Struct({ email: Schema.String }) })

/** Nobody can end it. */
const immortal = Effect.uninterruptible(Effect.never)

const callsThen = (...names: ReadonlyArray<string>): Model =>
  firstThen([...names.map((name, i) => callPart(`c${i + 1}`, name)), finishPart])

describe("a handler", () => {
  it.scoped("[S2] [T9] that never lets itself be interrupted is given up on when the session closes", () =>
    lawful(
      {
        tools: {
          stubborn: { allowCancellation: true, run: () => Effect.zipRight(RunContext.update("at it"), immortal) },
          deaf: () => immortal,
          held: () => RunContext.foreground(immortal),
          filling: () =>
            RunContext.withFiller(immortal, { say: "Still at it.", delay: "10 seconds", interval: "10 seconds" })
        },
        model: callsThen("stubborn", "deaf", "held", "filling"),
        immortal: 4
      },
      (talk) =>
        Effect.gen(function* () {
          yield* turn(talk.session, "Go")
          yield* TestSession.advance("1 minute")
          yield* talk.close
          expect(yield* talk.ends).toEqual(
            expect.arrayContaining(["c1 cancelled", "c2 cancelled", "c3 cancelled", "c4 cancelled"])
          )
          expect(talk.logs.filter((line) => line.includes("is given up on"))).toHaveLength(4)
        })
    )
  )

  it.scoped("[C1] that never lets itself be interrupted does not hang who cancels it", () =>
    lawful(
      {
        tools: {
          stubborn: { allowCancellation: true, run: () => Effect.zipRight(RunContext.update("at it"), immortal) }
        },
        model: callsThen("stubborn"),
        immortal: 1
      },
      (talk) =>
        Effect.gen(function* () {
          yield* turn(talk.session, "Go")
          const exit = yield* TestSession.drive(Effect.exit(talk.session.cancelTool("c1")))
          expect(standing(exit)).toBe("ToolError")
          yield* goesOn(talk)
        })
    )
  )

  const leaks: Record<string, (context: RunContext.Service) => Effect.Effect<unknown, any>> = {
    updates: ({ update }) => update("late"),
    "updates with a template that throws": ({ update }) =>
      update("late", {
        template: () => {
          throw new Error("a bug")
        }
      }),
    progresses: ({ progress }) => progress(100),
    commits: ({ commit }) => commit(Effect.succeed("too late")),
    "hands over": ({ handoff }) => handoff(agent("other")),
    "says something": ({ session }) => session.say("Late."),
    "waits for its speech": ({ speech }) => speech.wait,
    "waits for the playout": ({ waitForPlayout }) => waitForPlayout,
    "asks whether it is cancelled": ({ isCancelled }) => isCancelled
  }
  for (const [name, leak] of Object.entries(leaks)) {
    it.scoped(`[U11] [T9] that leaks a fiber which ${name} later changes nothing of what has ended`, () =>
      Effect.gen(function* () {
        const results: Array<string> = []
        yield* lawful(
          {
            tools: {
              leaky: () =>
                Effect.gen(function* () {
                  const context = yield* RunContext.RunContext
                  // during, after the end, while the session closes, after it has closed
                  yield* Effect.forEach(["1 second", "5 seconds", "10 minutes", "2 hours"] as const, (time) =>
                    Effect.sleep(time).pipe(
                      Effect.zipRight(Effect.exit(leak(context))),
                      Effect.flatMap((exit) => Effect.sync(() => results.push(standing(exit)))),
                      Effect.forkDaemon
                    )
                  )
                  yield* RunContext.update("begun")
                  yield* Effect.sleep("2 seconds")
                  return "the end"
                }),
              open: () => Effect.as(Effect.sleep("20 minutes"), "at last")
            },
            drainTimeout: "1 hour",
            model: callsThen("leaky", "open"),
            // the leaked fiber that is still asleep is the handler's, not the session's
            immortal: 1
          },
          (talk) =>
            Effect.gen(function* () {
              yield* turn(talk.session, "Go")
              yield* TestSession.advance("1 minute")
              expect(yield* talk.ends).toEqual(["c1 done"])
              expect(yield* talk.output("c1_final")).toBe("the end")
              yield* goesOn(talk)
            })
        )
        yield* TestSession.advance("3 hours")
        expect(results).toHaveLength(4)
      })
    )
  }

  for (const [name, hold] of [
    ["holds the floor", (context: RunContext.Service) => context.foreground(Effect.never)],
    [
      "fills the silence",
      (context: RunContext.Service) =>
        context.withFiller(Effect.never, { say: "Late.", delay: "1 second", interval: "1 second" })
    ],
    ["runs a task", (context: RunContext.Service) => context.runTask(task)]
  ] as const) {
    for (const when of ["before", "after"] as const) {
      it.scoped(`[T9] [F5] a leaked fiber that ${name}, begun ${when} the end of its call, holds up nobody`, () =>
        lawful(
          {
            tools: {
              leaky: () =>
                Effect.gen(function* () {
                  const context = yield* RunContext.RunContext
                  const late = when === "before" ? Effect.void : Effect.sleep("5 seconds")
                  yield* Effect.forkDaemon(Effect.zipRight(late, hold(context)))
                  yield* RunContext.update("begun")
                  yield* Effect.sleep("3 seconds")
                  return "the end"
                }),
              reporting: () =>
                Effect.zipRight(RunContext.update("on it"), Effect.as(Effect.sleep("20 seconds"), "found"))
            },
            model: callsThen("leaky", "reporting"),
            immortal: "some"
          },
          (talk) =>
            Effect.gen(function* () {
              yield* turn(talk.session, "Go")
              yield* TestSession.advance("1 minute")
              expect(yield* talk.ends).toEqual(["c1 done", "c2 done"])
              const replies = yield* talk.events.filter("ReplyEnded")
              expect(
                replies.filter((reply) => reply.status === "completed").flatMap((reply) => reply.updateIds)
              ).toContain("c2_final")
              expect((yield* talk.session.currentAgent).name).toBe("helper")
              const before = (yield* talk.said).length
              yield* TestSession.advance("1 minute")
              expect((yield* talk.said).length).toBe(before)
              yield* goesOn(talk)
            })
        )
      )
    }
  }

  const ends: Record<string, readonly [Effect.Effect<unknown, any, any>, string, unknown]> = {
    "dies in a finalizer": [
      Effect.ensuring(Effect.succeed("done"), Effect.die(new Error("secret"))),
      "error",
      "odd failed because of an unexpected error."
    ],
    "dies in a finalizer of its scope": [
      Effect.scoped(
        Effect.zipRight(
          Effect.addFinalizer(() => Effect.die(new Error("secret"))),
          Effect.succeed("done")
        )
      ),
      "error",
      "odd failed because of an unexpected error."
    ],
    "throws at once": [
      Effect.suspend(() => {
        throw new Error("secret")
      }),
      "error",
      "odd failed because of an unexpected error."
    ],
    "dies after its commit": [
      Effect.zipRight(RunContext.commit(Effect.succeed(1)), Effect.die(new Error("secret"))),
      "error",
      "odd failed because of an unexpected error."
    ],
    "dies inside its commit": [
      RunContext.commit(Effect.die(new Error("secret"))),
      "error",
      "odd failed because of an unexpected error."
    ],
    "fails with what its failure schema does not know": [
      Effect.fail({ secret: true }),
      "error",
      "odd failed because of an unexpected error."
    ],
    "fails with nothing": [Effect.fail(undefined), "error", "odd failed because of an unexpected error."],
    "interrupts itself": [Effect.interrupt, "cancelled", "odd was cancelled and has stopped."],
    "dies with a value that throws when it is shown": [
      Effect.die({
        get message() {
          throw new Error("secret")
        },
        toString() {
          throw new Error("secret")
        },
        toJSON() {
          throw new Error("secret")
        }
      }),
      "error",
      "odd failed because of an unexpected error."
    ],
    "is no Effect": [5 as never, "error", "odd failed because of an unexpected error."]
  }
  for (const [name, [work, status, output]] of Object.entries(ends)) {
    it.scoped(`[T8] [T9] that ${name} ends once, and shows nothing of it`, () =>
      lawful({ tools: { odd: () => work, inline: tools.inline! }, model: callsThen("odd", "inline") }, (talk) =>
        Effect.gen(function* () {
          yield* turn(talk.session, "Go")
          expect(yield* talk.ends).toContain(`c1 ${status}`)
          expect(yield* talk.output("c1")).toBe(output)
          yield* goesOn(talk)
          const shown = JSON.stringify([yield* talk.events.all, yield* talk.session.history, talk.prompts])
          expect(shown).not.toContain("secret")
        })
      )
    )
  }

  it.scoped("[C1] [T9] that dies in a finalizer while it is cancelled has been cancelled", () =>
    lawful(
      {
        tools: {
          odd: {
            allowCancellation: true,
            run: () =>
              Effect.ensuring(
                Effect.zipRight(RunContext.update("at it"), Effect.never),
                Effect.die(new Error("secret"))
              )
          }
        },
        model: callsThen("odd")
      },
      (talk) =>
        Effect.gen(function* () {
          yield* turn(talk.session, "Go")
          yield* talk.session.cancelTool("c1")
          expect(yield* talk.ends).toEqual(["c1 cancelled"])
          yield* goesOn(talk)
        })
    )
  )

  it.scoped("[S7] [T9] a task whose handler dies, fails or is given up on leaves the conversation to its agent", () =>
    lawful(
      {
        tools: {
          dying: () =>
            RunContext.foreground(
              Effect.zipRight(
                Effect.raceFirst(RunContext.runTask(task), Effect.sleep("5 seconds")),
                Effect.die(new Error("secret"))
              )
            )
        },
        model: callsThen("dying")
      },
      (talk) =>
        Effect.gen(function* () {
          yield* turn(talk.session, "Go")
          expect((yield* talk.session.currentAgent).name).toBe("asking")
          yield* TestSession.advance("10 seconds")
          expect((yield* talk.session.currentAgent).name).toBe("helper")
          expect(yield* talk.ends).toEqual(["c1 error"])
          yield* goesOn(talk)
        })
    )
  )
})
