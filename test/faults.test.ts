import { AiError, LanguageModel } from "@effect/ai"
import { describe, expect } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Option, Schema, Scope, Stream } from "effect"
import {
  Agent,
  type AgentOutput,
  AgentSession,
  ChatContext,
  DuplicatePolicy,
  RunContext,
  SessionModel,
  ToolPrompts
} from "effect-meantime"
import {
  type Answer,
  agent,
  answering,
  callPart,
  finishPart,
  firstThen,
  goesOn,
  kit,
  lawful,
  type Model,
  type Part,
  scoped,
  standing,
  TestSession,
  type Tools,
  turn
} from "./support/lawful.js"
import { times } from "./support/times.js"

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
    ["push", "paced"],
    ["LanguageModel", undefined]
  ] as const) {
    for (const [name, ending] of Object.entries(endings)) {
      // the schemas of @effect/ai cost as much as all the rest: every point in the soak project
      for (let n = 0; n <= whole.length; n += seam === "push" ? 1 : times(3, 1)) {
        scoped(`[F7] [T9] [M3] ${name} after ${n} parts, ${seam}: what was called counts, the session goes on`, () =>
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
          )
        )
      }
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
    scoped(`[T9] [M3] [F7] ${name}: nothing hangs, nothing is made up, the session goes on`, () =>
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
            const told = Option.match(yield* speech.error, {
              onNone: () => [],
              onSome: () => ['WARN The model of the agent "helper" failed: The model failed.']
            })
            expect(talk.logs).toEqual(told)
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
  scoped("[S2] [T9] that never lets itself be interrupted is given up on when the session closes", () =>
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

  scoped(
    "[S2] [T9] closing goes on to its end, though who closes is interrupted",
    () =>
      Effect.gen(function* () {
        const scope = yield* Scope.make()
        const { live, toolkit } = kit({ slow: tools.slow! })
        const session = yield* AgentSession.make({
          agent: Agent.make("helper", { instructions: "You help.", tools: [toolkit] })
        }).pipe(
          Scope.extend(scope),
          Effect.provide(live),
          Effect.provideService(LanguageModel.LanguageModel, {} as LanguageModel.Service),
          Effect.provide(
            SessionModel.layer({
              run: (_, onParts) => Effect.sync(() => onParts([callPart("c1", "slow"), finishPart]))
            })
          )
        )
        const events = yield* TestSession.collect(session)
        yield* turn(session, "Go")
        const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
        yield* TestSession.settle
        const interrupting = yield* Effect.fork(Fiber.interrupt(closing))
        yield* TestSession.advance("1 minute")
        yield* Fiber.join(interrupting)
        expect(yield* events.filter("ToolCallEnded")).toMatchObject([{ callId: "c1", status: "done" }])
        expect((yield* events.tags).at(-1)).toBe("SessionClosed")
      }) as Effect.Effect<void, never, Scope.Scope>
  )

  scoped("[C1] that never lets itself be interrupted does not hang who cancels it", () =>
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
    scoped(`[U11] [T9] that leaks a fiber which ${name} later changes nothing of what has ended`, () =>
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
    [
      "runs a task",
      (context: RunContext.Service) => Effect.provideService(RunContext.runTask(task), RunContext.RunContext, context)
    ]
  ] as const) {
    for (const when of ["before", "after"] as const) {
      scoped(`[T9] [F5] a leaked fiber that ${name}, begun ${when} the end of its call, holds up nobody`, () =>
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
    scoped(`[T8] [T9] that ${name} ends once, and shows nothing of it`, () =>
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

  scoped("[C1] [T9] that dies in a finalizer while it is cancelled has been cancelled", () =>
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

  scoped("[S7] [T9] a task whose handler dies, fails or is given up on leaves the conversation to its agent", () =>
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

// ------------------------------------------------------------------------------------------------ listeners and output

describe("a subscriber", () => {
  scoped("[E2] that stalls, throws, dies or leaves holds up neither the session nor the others", () =>
    lawful({ tools, eventBuffer: 64, model: callsThen("inline", "reporting", "failing", "slow") }, (talk) =>
      Effect.gen(function* () {
        const listen = (each: (event: unknown) => Effect.Effect<unknown>) =>
          Effect.forkScoped(Effect.exit(Stream.runForEach(talk.session.events, each)))
        yield* listen(() => Effect.never)
        yield* listen(() => {
          throw new Error("a bug")
        })
        yield* listen(() => Effect.die(new Error("a bug")))
        yield* Effect.forkDaemon(Stream.runForEach(talk.session.events, () => immortal))
        yield* Effect.forkScoped(Stream.runDrain(Stream.take(talk.session.events, 1)))
        yield* turn(talk.session, "Go")
        yield* TestSession.advance("1 minute")
        expect((yield* talk.ends).toSorted()).toEqual(["c1 done", "c2 done", "c3 error", "c4 done"])
        yield* goesOn(talk)
      })
    )
  )
})

type Play = AgentOutput.Service["play"]

describe("an output", () => {
  const first = (text: Stream.Stream<string>) => Stream.take(text, 1)
  const plays: Record<string, Play> = {
    "dies at once": () => Effect.die(new Error("secret")),
    throws: () => {
      throw new Error("secret")
    },
    "is no Effect": () => 5 as never,
    "fails in the middle": (text, played) =>
      Effect.zipRight(
        Stream.runForEach(first(text), played),
        Effect.fail(new Error("secret")) as Effect.Effect<never, never>
      ),
    "dies in the middle": (text, played) =>
      Effect.zipRight(Stream.runForEach(first(text), played), Effect.die(new Error("secret"))),
    "interrupts itself": () => Effect.interrupt,
    "ends in the middle": (text, played) => Stream.runForEach(first(text), played),
    "ends before it began": () => Effect.void,
    "reports what it was not given": (text, played) =>
      Stream.runDrain(text).pipe(Effect.zipRight(played(undefined as never)), Effect.zipRight(played({} as never))),
    "reports from a fiber of its own, later": (text, played) =>
      Stream.runForEach(text, (piece) => Effect.forkDaemon(Effect.zipRight(Effect.sleep("1 second"), played(piece))))
  }
  for (const [name, play] of Object.entries(plays)) {
    scoped(`[F7] [M3] that ${name}: the calls go on, and so does the talk`, () => {
      let sound = false
      return lawful(
        {
          tools,
          output: {
            play: (text, played, speech) => (sound ? Stream.runForEach(text, played) : play(text, played, speech))
          },
          model: firstThen([
            ...text,
            callPart("c1", "inline"),
            { type: "text-start", id: "u" },
            { type: "text-delta", id: "u", delta: "One. " },
            { type: "text-delta", id: "u", delta: "Two." },
            callPart("c2", "reporting")
          ]),
          immortal: "some"
        },
        (talk) =>
          Effect.gen(function* () {
            const speech = yield* turn(talk.session, "Go")
            yield* TestSession.advance("1 minute")
            expect(yield* speech.done).toBe(true)
            expect(yield* talk.session.runningTools).toEqual([])
            expect(JSON.stringify([yield* talk.session.history, yield* talk.events.all])).not.toMatch(
              /secret|undefined|\[object/
            )
            sound = true
            yield* goesOn(talk)
          })
      )
    })
  }

  scoped("[F1] [F3] that never ends is cut by the user's turn", () => {
    let n = 0
    return lawful(
      {
        output: {
          play: (text, played) =>
            n++ === 0 ? Effect.zipRight(Stream.runForEach(text, played), Effect.never) : Stream.runForEach(text, played)
        },
        model: firstThen([...text])
      },
      (talk) =>
        Effect.gen(function* () {
          const speech = yield* turn(talk.session, "Go")
          yield* TestSession.advance("1 hour")
          expect(yield* speech.done).toBe(false)
          yield* goesOn(talk)
          expect(yield* speech.interrupted).toBe(true)
        })
    )
  })

  scoped("[F1] [F3] that does not let itself be interrupted is left behind after a while, with a warning", () => {
    let n = 0
    return lawful(
      {
        output: { play: (text, played) => (n++ === 0 ? immortal : Stream.runForEach(text, played)) },
        model: firstThen([...text]),
        immortal: 1
      },
      (talk) =>
        Effect.gen(function* () {
          yield* turn(talk.session, "Go")
          yield* TestSession.advance("1 minute")
          yield* goesOn(talk)
          expect(talk.logs).toEqual(["WARN The output does not stop: the next speech begins beside it."])
        })
    )
  })

  scoped("[F3] [O4] that reports after it has stopped changes nothing of what was recorded", () => {
    let n = 0
    return lawful(
      {
        output: {
          play: (text, played) => {
            if (n++ > 0) return Stream.runForEach(text, played)
            const late = Effect.zipRight(Effect.sleep("2 seconds"), played("What nobody heard."))
            return Effect.zipRight(played("Fine"), Effect.never).pipe(
              Effect.onInterrupt(() => Effect.zipRight(played(" and more"), Effect.forkDaemon(late)))
            )
          }
        },
        model: firstThen([...text])
      },
      (talk) =>
        Effect.gen(function* () {
          yield* turn(talk.session, "Go")
          yield* TestSession.advance("1 second")
          yield* talk.session.interrupt()
          yield* TestSession.advance("10 seconds")
          expect(yield* talk.said).toEqual(["Fine and more"])
          yield* goesOn(talk)
        })
    )
  })
})

// ---------------------------------------------------------------------------------------------------- agents and hooks

const hanging = Layer.effectDiscard(Effect.never)

const built = (layer: Layer.Layer<never>): Agent.Agent<never> => Agent.provide(layer)(agent("other"))

/** What a layer may do instead of being built. */
const layers: Record<string, Layer.Layer<never>> = {
  dies: Layer.effectDiscard(Effect.die(new Error("secret"))),
  fails: Layer.effectDiscard(Effect.fail(new Error("secret")) as Effect.Effect<never>),
  throws: Layer.suspend(() => {
    throw new Error("secret")
  }),
  "is interrupted": Layer.effectDiscard(Effect.interrupt)
}

describe("a layer at a hand-off", () => {
  for (const [name, layer] of Object.entries(layers)) {
    scoped(`[S4] that ${name}: the old agent stays, and who asked is told`, () =>
      lawful(
        {
          tools: { over: () => RunContext.handoff(built(layer)), inline: tools.inline! },
          model: callsThen("over", "inline")
        },
        (talk) =>
          Effect.gen(function* () {
            yield* turn(talk.session, "Go")
            yield* TestSession.advance("1 minute")
            expect((yield* talk.ends).map((end) => end.slice(0, 2)).toSorted()).toEqual(["c1", "c2"])
            const exit = yield* TestSession.drive(Effect.exit(talk.session.handoff(built(layer))))
            expect(standing(exit)).not.toBe("done")
            expect((yield* talk.session.currentAgent).name).toBe("helper")
            expect(JSON.stringify([yield* talk.session.history, yield* talk.events.all])).not.toContain("secret")
            // and another one succeeds
            yield* talk.session.handoff(agent("another"))
            expect((yield* talk.session.currentAgent).name).toBe("another")
            yield* goesOn(talk)
          })
      )
    )
  }

  scoped("[S4] [S2] that hangs: the talk goes on, and closing ends who waits", () =>
    lawful(
      {
        tools: { over: { releaseAfter: "5 seconds", run: () => RunContext.handoff(built(hanging)) } },
        model: callsThen("over")
      },
      (talk) =>
        Effect.gen(function* () {
          const outside = yield* Effect.fork(talk.session.handoff(built(hanging)))
          const given = yield* Effect.fork(talk.session.handoff(built(hanging)))
          yield* turn(talk.session, "Go")
          yield* TestSession.advance("1 minute")
          yield* goesOn(talk)
          yield* Fiber.interrupt(given)
          yield* talk.session.handoff(agent("another"))
          yield* goesOn(talk)
          yield* talk.close
          expect(standing(Option.getOrUndefined(yield* Fiber.poll(outside)))).toBe("SessionClosed")
        })
    )
  )

  scoped("[S4] [S2] a hand-off that waits for the speech to end is told that the session has closed", () =>
    lawful({ output: "paced", model: firstThen([...text]) }, (talk) =>
      Effect.gen(function* () {
        yield* talk.session.say("A long story, and a very long one at that.")
        const waiting = yield* Effect.fork(talk.session.handoff(agent("another")))
        const queued = yield* Effect.fork(talk.session.handoff(agent("yet another")))
        yield* TestSession.advance("1 second")
        yield* talk.close
        expect(standing(Option.getOrUndefined(yield* Fiber.poll(waiting)))).toBe("SessionClosed")
        expect(standing(Option.getOrUndefined(yield* Fiber.poll(queued)))).toBe("SessionClosed")
      })
    )
  )

  scoped("[S4] a hand-off whose caller is interrupted while it waits does not happen, and its agent is released", () =>
    Effect.gen(function* () {
      const released: Array<string> = []
      const watched = (name: string) =>
        Agent.provide(Layer.scopedDiscard(Effect.addFinalizer(() => Effect.sync(() => released.push(name)))))(
          agent(name)
        )
      yield* lawful({ output: "paced", model: answering }, (talk) =>
        Effect.gen(function* () {
          yield* talk.session.say("A long story, and a very long one at that.")
          const first = yield* Effect.fork(talk.session.handoff(watched("first")))
          const second = yield* Effect.fork(talk.session.handoff(watched("second")))
          yield* TestSession.advance("1 second")
          yield* Fiber.interrupt(first)
          yield* Fiber.interrupt(second)
          expect(released.toSorted()).toEqual(["first", "second"])
          yield* TestSession.advance("1 minute")
          expect((yield* talk.session.currentAgent).name).toBe("helper")
          yield* goesOn(talk)
        })
      )
    })
  )

  scoped("[S7] of a task that cannot be built: the handler is told, and the agent goes on", () =>
    Effect.forEach(
      Object.values(layers),
      (layer) =>
        lawful(
          {
            tools: { asking: () => RunContext.foreground(RunContext.runTask(Agent.provide(layer)(task))) },
            model: callsThen("asking")
          },
          (talk) =>
            Effect.gen(function* () {
              yield* turn(talk.session, "Go")
              expect((yield* talk.ends).map((end) => end.slice(0, 2))).toEqual(["c1"])
              expect((yield* talk.session.currentAgent).name).toBe("helper")
              yield* goesOn(talk)
            })
        ),
      { discard: true }
    )
  )

  scoped("[L2] [S2] of an agent whose resource is never released holds up neither the talk nor closing", () =>
    lawful(
      {
        agent: Agent.provide(Layer.scopedDiscard(Effect.addFinalizer(() => Effect.never)))(agent("first")),
        model: answering,
        immortal: "some"
      },
      (talk) =>
        Effect.gen(function* () {
          yield* talk.session.handoff(
            Agent.provide(Layer.scopedDiscard(Effect.addFinalizer(() => Effect.never)))(agent("second"))
          )
          yield* goesOn(talk)
          yield* talk.close
          expect(talk.logs).toContainEqual(expect.stringMatching(/released/))
        })
    )
  )

  scoped("[L2] [S2] of an agent that has left is released to its end, though the session closes meanwhile", () =>
    Effect.gen(function* () {
      const released: Array<string> = []
      const slow = Effect.addFinalizer(() =>
        Effect.zipRight(
          Effect.sleep("5 seconds"),
          Effect.sync(() => released.push("first"))
        )
      )
      yield* lawful({ agent: Agent.provide(Layer.scopedDiscard(slow))(agent("first")), model: answering }, (talk) =>
        talk.session.handoff(agent("second"))
      )
      expect(released).toEqual(["first"])
    })
  )

  scoped("[L2] of an agent whose resource dies when it is released is logged, and that is all", () =>
    lawful(
      {
        agent: Agent.provide(Layer.scopedDiscard(Effect.addFinalizer(() => Effect.die(new Error("secret")))))(
          agent("first")
        ),
        model: answering
      },
      (talk) =>
        Effect.gen(function* () {
          yield* talk.session.handoff(agent("second"))
          yield* goesOn(talk)
          expect(talk.logs).toEqual(["ERROR An agent's resources failed to be released."])
        })
    )
  )
})

describe("onEnter and onExit", () => {
  const hooks: Record<string, Effect.Effect<unknown, any>> = {
    fail: Effect.fail(new Error("secret")),
    die: Effect.die(new Error("secret")),
    throw: Effect.suspend(() => {
      throw new Error("secret")
    }),
    "interrupt themselves": Effect.interrupt,
    hang: Effect.never,
    "hang and do not let themselves be interrupted": immortal
  }
  for (const [name, hook] of Object.entries(hooks)) {
    scoped(`[S4] [S2] that ${name}: the hand-off happens, the talk goes on, and closing ends`, () => {
      const hooked = (name: string) => agent(name, tools, { onEnter: hook, onExit: hook })
      return lawful({ agent: hooked("first"), model: callsThen("slow"), immortal: "some" }, (talk) =>
        Effect.gen(function* () {
          yield* turn(talk.session, "Go")
          yield* TestSession.drive(talk.session.handoff(hooked("second")))
          expect((yield* talk.session.currentAgent).name).toBe("second")
          yield* TestSession.advance("1 minute")
          yield* goesOn(talk)
          expect(JSON.stringify([yield* talk.session.history, yield* talk.events.all])).not.toContain("secret")
          const leaving = yield* Effect.fork(talk.session.handoff(hooked("third")))
          yield* TestSession.settle
          yield* talk.close
          expect(standing(Option.getOrUndefined(yield* Fiber.poll(leaving)))).toMatch(/done|SessionClosed/)
        })
      )
    })
  }
})

// ----------------------------------------------------------------------------------- policies, templates, views, texts

describe("a duplicate policy", () => {
  const policies: Record<string, () => Effect.Effect<DuplicatePolicy.Verdict>> = {
    dies: () => Effect.die(new Error("secret")),
    throws: () => {
      throw new Error("secret")
    },
    "interrupts itself": () => Effect.interrupt,
    "decides nothing": () => Effect.succeed(undefined as never),
    "decides what there is not": () => Effect.succeed({ _tag: "Maybe" } as never),
    "refuses without a word": () => Effect.succeed({ _tag: "Refuse" } as never),
    "is no Effect": () => 5 as never
  }
  for (const [name, decide] of Object.entries(policies)) {
    scoped(`[P5] [T8] that ${name}: its call ends with an error, the next one is decided anew`, () => {
      let n = 0
      return lawful(
        {
          tools,
          layer: DuplicatePolicy.make(() => (n++ === 0 ? decide() : Effect.succeed({ _tag: "Run" }))),
          model: callsThen("inline", "inline")
        },
        (talk) =>
          Effect.gen(function* () {
            yield* turn(talk.session, "Go")
            expect((yield* talk.ends)[0]).toMatch(/^c1 (error|done)/)
            expect(yield* talk.output("c2")).toBe("at once")
            expect(JSON.stringify([yield* talk.session.history, yield* talk.events.all])).not.toMatch(
              /secret|undefined/
            )
            yield* goesOn(talk)
          })
      )
    })
  }

  for (const [name, hang, left] of [
    ["hangs", Effect.never, 0],
    ["hangs and does not let itself be interrupted", immortal, 2]
  ] as const) {
    scoped(`[P4] [S2] that ${name}: the talk goes on with the user, and closing ends`, () =>
      lawful(
        {
          tools: { inline: { allowCancellation: true, run: tools.inline as () => Effect.Effect<unknown> } },
          layer: DuplicatePolicy.make(() => hang),
          model: callsThen("inline", "inline", "inline"),
          immortal: left
        },
        (talk) =>
          Effect.gen(function* () {
            yield* turn(talk.session, "Go")
            yield* TestSession.advance("1 minute")
            expect(yield* talk.ends).toEqual([])
            yield* talk.session.cancelTool("c1")
            expect(yield* talk.ends).toEqual(["c1 cancelled"])
            yield* goesOn(talk)
            yield* talk.close
            expect((yield* talk.ends).toSorted()).toEqual(["c1 cancelled", "c2 cancelled", "c3 cancelled"])
          })
      )
    )
  }
})

describe("a template", () => {
  const names = [
    "update",
    "inProgress",
    "released",
    "ended",
    "duplicateReject",
    "duplicateConfirm",
    "replyAtTail",
    "replyMaybeCovered"
  ] as const
  const wrongs: Record<string, () => unknown> = {
    throws: () => {
      throw new Error("secret")
    },
    "gives nothing": () => undefined,
    "gives a number": () => 5,
    "gives an object": () => ({ secret: true }),
    "gives a promise": () => Promise.resolve("later")
  }
  for (const [name, wrong] of Object.entries(wrongs)) {
    scoped(`[L1] that ${name} is replaced by the default, for each of the eight`, () =>
      lawful(
        {
          tools: {
            reporting: tools.reporting!,
            quiet: () => Effect.void,
            released: { releaseAfter: 0, run: () => Effect.as(Effect.sleep("30 seconds"), "released") },
            refused: { onDuplicate: "reject", run: () => Effect.as(Effect.sleep("1 second"), "ran") },
            confirmed: { onDuplicate: "confirm", run: () => Effect.as(Effect.sleep("1 second"), "ran") }
          },
          layer: ToolPrompts.layer(Object.fromEntries(names.map((template) => [template, wrong])) as never),
          model: callsThen("reporting", "quiet", "released", "refused", "refused", "confirmed", "confirmed")
        },
        (talk) =>
          Effect.gen(function* () {
            yield* turn(talk.session, "Go")
            yield* turn(talk.session, "And?")
            yield* TestSession.advance("4 seconds")
            yield* Effect.scoped(
              Effect.gen(function* () {
                yield* talk.session.claimUserTurn
                yield* TestSession.advance("2 seconds")
                yield* talk.session.say("One moment.")
              })
            )
            yield* TestSession.advance("1 minute")
            yield* goesOn(talk)
            const shown = JSON.stringify([yield* talk.session.history, yield* talk.events.all, talk.prompts])
            expect(shown).not.toMatch(/secret|undefined|\[object/)
            for (const template of names) {
              expect(talk.logs).toContain(`ERROR The template "${template}" failed; the default is used.`)
            }
          })
      )
    )
  }
})

describe("a view of the conversation", () => {
  const views: Record<string, (context: any) => any> = {
    throws: () => {
      throw new Error("secret")
    },
    "shows nothing at all": () => undefined,
    "shows no items": () => ({}),
    "shows what is none": () => ({ items: [null, 5, {}, { _tag: "Hologram" }] }),
    "shows messages without text": () => ({ items: [{ _tag: "Message", role: "user" }] }),
    "shows all of it twice": ({ items }) => ({ items: [...items, ...items] }),
    "shows it backwards": ({ items }) => ({ items: items.toReversed() })
  }
  for (const [name, view] of Object.entries(views)) {
    for (const seam of ["direct", "LanguageModel"] as const) {
      scoped(`[M7] [M3] that ${name}, ${seam}: the history is as it was, and the session goes on`, () => {
        let wrong = true
        return lawful(
          {
            seam,
            tools,
            layer: Layer.succeed(ChatContext.ModelView, (context: ChatContext.ChatContext) =>
              wrong ? view(context) : context
            ) as Layer.Layer<never>,
            model: callsThen("inline", "reporting")
          },
          (talk) =>
            Effect.gen(function* () {
              wrong = false
              yield* turn(talk.session, "Go")
              wrong = true
              const before = (yield* talk.session.history).items
              const speech = yield* turn(talk.session, "And?")
              yield* TestSession.advance("1 minute")
              expect(yield* speech.done).toBe(true)
              const after = (yield* talk.session.history).items
              expect(after.slice(0, before.length)).toEqual(before)
              expect(JSON.stringify([after, yield* talk.events.all])).not.toContain("secret")
              wrong = false
              yield* goesOn(talk)
            })
        )
      })
    }
  }
})

describe("a text to say", () => {
  const said: Record<string, Stream.Stream<string>> = {
    dies: Stream.concat(Stream.make("One. "), Stream.die(new Error("secret"))),
    fails: Stream.concat(Stream.make("One. "), Stream.fail(new Error("secret")) as Stream.Stream<never>),
    throws: Stream.suspend(() => {
      throw new Error("secret")
    }),
    "interrupts itself": Stream.concat(Stream.make("One. "), Stream.fromEffect(Effect.interrupt)),
    "is no text": Stream.make(5, undefined, null, {}) as unknown as Stream.Stream<string>,
    "is no stream": 5 as never,
    "is nothing": undefined as never,
    "is empty": Stream.empty
  }
  for (const output of ["paced", undefined] as const) {
    for (const [name, stream] of Object.entries(said)) {
      scoped(`[F1] that ${name}, ${output ?? "instant"}: its speech ends, and the next one is said`, () =>
        lawful({ output, model: answering }, (talk) =>
          Effect.gen(function* () {
            const speech = yield* talk.session.say(stream)
            yield* talk.session.say("Next. ")
            yield* TestSession.advance("1 minute")
            expect(yield* speech.done).toBe(true)
            expect((yield* talk.said).at(-1)).toBe("Next. ")
            expect(JSON.stringify([yield* talk.session.history, yield* talk.events.all])).not.toMatch(
              /secret|undefined|\[object|null/
            )
            yield* goesOn(talk)
          })
        )
      )
    }
  }

  scoped("[F1] [F3] [S2] that never ends is cut by the user, and by closing", () =>
    lawful({ model: answering }, (talk) =>
      Effect.gen(function* () {
        yield* talk.session.say(Stream.concat(Stream.make("One. "), Stream.never))
        yield* TestSession.advance("1 hour")
        yield* goesOn(talk)
        expect(yield* talk.said).toEqual(["One. ", "Yes."])
        yield* talk.session.say(Stream.never)
      })
    )
  )

  const fillers: Record<string, (step: number) => string | undefined> = {
    throws: () => {
      throw new Error("secret")
    },
    "is a number": () => 5 as never,
    "is an object": () => ({}) as never,
    "is null": () => null as never
  }
  for (const [name, say] of Object.entries(fillers)) {
    scoped(`[F6] of a filler that ${name} is left out, and the effect goes on`, () =>
      lawful(
        {
          tools: {
            filling: () =>
              RunContext.withFiller(Effect.as(Effect.sleep("1 minute"), "filled"), {
                say,
                delay: "1 second",
                interval: "10 seconds"
              })
          },
          output: "paced",
          model: callsThen("filling")
        },
        (talk) =>
          Effect.gen(function* () {
            yield* turn(talk.session, "Go")
            yield* TestSession.advance("2 minutes")
            expect(yield* talk.output("c1")).toBe("filled")
            expect(yield* talk.said).toEqual(["Noted."])
            yield* goesOn(talk)
          })
      )
    )
  }
})
