/**
 * The door to foreign code. Each value here does something when it is looked at, or is nothing of what belongs there; it
 * comes in through each place through which a value of a program, a model or a provider can come in:
 *
 * - a handler: what it gives in place of an Effect, returns, fails with, dies with, rejects with; before and after its
 *   first update, and while it is stopped; a finalizer; what it reports, shows as progress, and the options of a report
 * - a tool's Schemas: what they throw when they decode and encode, and what their messages give
 * - a duplicate policy: what it gives in place of an Effect, its verdict, what it fails and dies with
 * - templates of a scope and of an update, the text of a filler
 * - a model: its parts, their fields, arguments and metadata, error parts, what it fails and dies with, what it gives in
 *   place of an Effect or a Stream; each in both seams
 * - an output: what it dies with and what it says that it has played; a text that is said
 * - hooks and layers of agents, a view of the conversation
 * - `AsyncTool.execute`
 */

import { LanguageModel, Toolkit } from "@effect/ai"
import { describe, expect } from "@effect/vitest"
import { Cause, Effect, Layer, Logger, LogLevel, Schema, Stream } from "effect"
import {
  Agent,
  type AgentSession,
  AsyncTool,
  ChatContext,
  DuplicatePolicy,
  RunContext,
  SessionModel,
  ToolPrompts
} from "effect-meantime"
import {
  type Answer,
  agent,
  callPart,
  firstThen,
  goesOn,
  lawful,
  type Model,
  type Setup,
  scoped,
  TestSession,
  type Tools,
  textParts,
  turn
} from "./support/lawful.js"
import { odd, someOdd } from "./support/odd.js"

/** A call of the tool, and answers. */
const callsTool: Model = firstThen([...textParts("Well. "), callPart("c1", "tool")])

interface Place {
  readonly rules: string
  readonly setup: (value: unknown) => Setup
  /** beside all that holds of each conversation */
  readonly expect?: (value: unknown) => {
    readonly ends?: ReadonlyArray<string>
    /** a line of the log that tells of it */
    readonly log?: RegExp
  }
  readonly meanwhile?: (session: AgentSession.Service, value: unknown) => Effect.Effect<unknown>
}

const handler = (run: (value: unknown) => any, options: AsyncTool.Options = {}): ((value: unknown) => Setup) => {
  return (value) => {
    const tools: Tools = { tool: { ...options, run: () => run(value) } }
    return { tools, model: callsTool }
  }
}

/** `Effect.die` looks at the value. */
const die = (value: unknown) => Effect.failCause(Cause.die(value))

const failed = { ends: ["c1 error"], log: /tool \(c1\) (failed|returned)/ }

const places: Record<string, Place> = {
  "a handler gives it in place of an Effect": {
    rules: "[T8] [T9]",
    setup: handler((value) => value),
    expect: () => failed
  },
  "a handler returns it": { rules: "[T9] [U4]", setup: handler((value) => Effect.succeed(value)) },
  "a handler fails with it": {
    rules: "[T6] [T9]",
    setup: handler((value) => Effect.failCause(Cause.fail(value))),
    expect: () => failed
  },
  "a handler dies with it": { rules: "[T8] [T9]", setup: handler((value) => die(value)), expect: () => failed },
  "a handler rejects with it": {
    rules: "[T8] [T9]",
    setup: handler((value) => Effect.promise(() => Promise.reject(value))),
    expect: () => failed
  },
  "a handler throws it": {
    rules: "[T8] [T9]",
    setup: handler((value) => {
      throw value
    }),
    expect: () => failed
  },
  "a handler dies with it in the background": {
    rules: "[T8] [T9] [U3]",
    setup: handler((value) =>
      RunContext.update("at it").pipe(Effect.zipRight(Effect.sleep("1 second")), Effect.zipRight(die(value)))
    ),
    expect: () => failed
  },
  "a handler returns it in the background": {
    rules: "[T9] [U3] [U4]",
    setup: handler((value) =>
      RunContext.update("at it").pipe(Effect.zipRight(Effect.sleep("1 second")), Effect.as(value))
    )
  },
  "a finalizer dies with it while the call is stopped": {
    rules: "[C1] [T9]",
    setup: handler((value) => Effect.ensuring(Effect.zipRight(RunContext.update("at it"), Effect.never), die(value)), {
      allowCancellation: true
    }),
    meanwhile: (session) => Effect.ignore(session.cancelTool("c1")),
    expect: () => ({ ends: ["c1 cancelled"] })
  },
  "a handler reports it": {
    rules: "[U1] [U2] [U4]",
    setup: handler((value) =>
      RunContext.update(value).pipe(Effect.zipRight(RunContext.update(value)), Effect.as("done"))
    ),
    expect: () => ({ ends: ["c1 done"] })
  },
  "a handler shows it as progress": {
    rules: "[U10]",
    setup: handler((value) => Effect.as(RunContext.progress(value), "done")),
    expect: () => ({ ends: ["c1 done"] })
  },
  "a template of one update gives it": {
    rules: "[U4] [L1]",
    setup: handler((value) => Effect.as(RunContext.update("at it", { template: () => value as string }), "done")),
    expect: () => ({ ends: ["c1 done"] })
  },
  "a template of one update throws it": {
    rules: "[U4] [L1]",
    setup: handler((value) =>
      Effect.as(
        RunContext.update("at it", {
          template: () => {
            throw value
          }
        }),
        "done"
      )
    ),
    expect: () => ({ ends: ["c1 done"], log: /template "update" failed/ })
  },
  "the text of a filler is it": {
    rules: "[F6]",
    setup: handler((value) =>
      Effect.as(
        RunContext.update("at it").pipe(
          Effect.zipRight(
            RunContext.withFiller(Effect.sleep("10 seconds"), { say: () => value as string, delay: "1 second" })
          )
        ),
        "done"
      )
    ),
    expect: () => ({ ends: ["c1 done"] })
  },
  "the text of a filler throws it": {
    rules: "[F6]",
    setup: handler((value) =>
      Effect.as(
        RunContext.update("at it").pipe(
          Effect.zipRight(
            RunContext.withFiller(Effect.sleep("10 seconds"), {
              say: () => {
                throw value
              },
              delay: "1 second"
            })
          )
        ),
        "done"
      )
    ),
    expect: () => ({ ends: ["c1 done"], log: /text of a filler failed/ })
  },
  "a Schema of arguments throws it": {
    rules: "[T3] [T9]",
    setup: (value) => withSchema(throwing(value), Schema.Unknown, Schema.Never),
    expect: () => failed0
  },
  "a Schema of results throws it": {
    rules: "[T8] [T9]",
    setup: (value) => withSchema(Schema.Unknown, throwing(value), Schema.Never),
    expect: () => failed
  },
  "a Schema of failures throws it": {
    rules: "[T6] [T9]",
    setup: (value) => withSchema(Schema.Unknown, Schema.Unknown, throwing(value), Effect.fail("no")),
    expect: () => failed
  },
  "the message of a Schema is it": {
    rules: "[T3] [T9]",
    setup: (value) =>
      withSchema(
        Schema.Unknown.pipe(Schema.filter(() => false, { message: () => value as string })),
        Schema.Unknown,
        Schema.Never
      ),
    expect: () => ({ ends: ["c1 error"] })
  },
  "a duplicate policy gives it in place of an Effect": {
    rules: "[P4] [P5] [T9]",
    setup: (value) => withPolicy(() => value as never),
    expect: () => ({ ends: ["c1 error"], log: /duplicate policy of tool/ })
  },
  "a duplicate policy decides it": {
    rules: "[P4] [P5] [T9]",
    setup: (value) => withPolicy(() => Effect.succeed(value as never)),
    expect: () => ({ ends: ["c1 error"], log: /duplicate policy of tool gave no verdict/ })
  },
  "a duplicate policy refuses with it": {
    rules: "[P4] [P5] [T9]",
    setup: (value) => withPolicy(() => Effect.succeed({ _tag: "Refuse", message: value as string })),
    expect: () => ({ ends: ["c1 error"], log: /duplicate policy of tool gave no verdict/ })
  },
  "a duplicate policy dies with it": {
    rules: "[P4] [P5] [T9]",
    setup: (value) => withPolicy(() => die(value)),
    expect: () => ({ ends: ["c1 error"], log: /duplicate policy of tool failed/ })
  },
  "each template gives it": {
    rules: "[L1] [T9]",
    setup: (value) => withTemplates(() => value as string),
    expect: () => ({ ends: ["c1 done"] })
  },
  "each template throws it": {
    rules: "[L1] [T9]",
    setup: (value) =>
      withTemplates(() => {
        throw value
      }),
    expect: () => ({ ends: ["c1 done"], log: /The template "released" failed/ })
  },
  "onEnter dies with it": {
    rules: "[S4]",
    setup: (value) => ({ agent: agent("odd", {}, { onEnter: die(value) }), model: firstThen() }),
    expect: () => ({ log: /onEnter of odd failed/ })
  },
  "onExit dies with it": {
    rules: "[S4]",
    setup: (value) => ({ agent: agent("odd", {}, { onExit: die(value) }), model: firstThen() }),
    meanwhile: (session) => session.handoff(agent("next")).pipe(Effect.orDie),
    expect: () => ({ log: /onExit of odd failed/ })
  },
  "a layer of the next agent dies with it": {
    rules: "[S4]",
    setup: (value) => ({
      tools: {
        tool: () => RunContext.handoff(agent("next").pipe(Agent.provide(Layer.effectDiscard(die(value)))))
      },
      model: callsTool
    }),
    expect: () => ({ ends: ["c1 error"], log: /"next" could not be built/ })
  },
  "what an agent holds dies with it when it is released": {
    rules: "[L2] [S2]",
    setup: (value) => ({
      agent: agent("odd").pipe(Agent.provide(Layer.scopedDiscard(Effect.addFinalizer(() => die(value))))),
      model: firstThen()
    }),
    meanwhile: (session) => session.handoff(agent("next")).pipe(Effect.orDie),
    expect: () => ({ log: /resources failed to be released/ })
  },
  "an output dies with it": {
    rules: "[F7] [O5]",
    setup: (value) => ({ model: firstThen(), output: outputOnce(() => die(value)) }),
    meanwhile: (session) => turn(session, "Speak").pipe(Effect.orDie),
    expect: () => ({ log: /output failed/ })
  },
  "an output says that it has played it": {
    rules: "[F3]",
    setup: (value) => ({ model: firstThen(), output: outputOnce((played) => played(value as string)) }),
    meanwhile: (session) => turn(session, "Speak").pipe(Effect.orDie)
  },
  "an output gives it in place of an Effect": {
    rules: "[F7]",
    setup: (value) => ({ model: firstThen(), output: outputOnce(() => value as never) }),
    meanwhile: (session) => turn(session, "Speak").pipe(Effect.orDie),
    expect: () => ({ log: /output failed/ })
  },
  "a text that is said dies with it": {
    rules: "[F1]",
    setup: () => ({ model: firstThen() }),
    meanwhile: (session, value) =>
      Effect.zipRight(session.say(Stream.failCause(Cause.die(value))), TestSession.settle).pipe(Effect.orDie),
    expect: () => ({ log: /text to say failed/ })
  },
  "a text that is said has it among its pieces": {
    rules: "[F1]",
    setup: () => ({ model: firstThen() }),
    meanwhile: (session, value) =>
      Effect.zipRight(session.say(Stream.make("So. ", value as string)), TestSession.settle).pipe(Effect.orDie)
  },
  "a view of the conversation gives it": {
    rules: "[M7] [F7]",
    setup: (value) => withView(() => value as never)
  },
  "a view of the conversation throws it": {
    rules: "[M7] [F7]",
    setup: (value) =>
      withView(() => {
        throw value
      }),
    expect: () => ({ log: /model failed unexpectedly/ })
  }
}

/** What a model may give in place of what is expected of it; the question is answered by the next one. */
const ofModels: Record<string, (value: unknown) => Answer> = {
  "a part": (value) => [value],
  "a type of a part": (value) => [{ type: value }],
  "the words of a text": (value) => [{ type: "text-delta", id: "t", delta: value }],
  "the id of a text": (value) => [{ type: "text-start", id: value }],
  "the metadata of a text": (value) => [
    { type: "text-start", id: "t", metadata: value },
    { type: "text-delta", id: "t", delta: "Well.", metadata: { p: value } },
    { type: "text-end", id: "t", metadata: value }
  ],
  "the arguments of a call": (value) => [{ type: "tool-call", id: "c1", name: "tool", params: value }],
  "an argument of a call": (value) => [{ type: "tool-call", id: "c1", name: "tool", params: { n: value } }],
  "the metadata of a call": (value) => [
    { type: "tool-call", id: "c1", name: "tool", params: {}, metadata: { p: value } }
  ],
  "the name of a call": (value) => [{ type: "tool-call", id: "c1", name: value, params: {} }],
  "the arguments of a call of the provider": (value) => [
    { type: "tool-call", id: "c1", name: "search", params: value, providerExecuted: true, providerName: value }
  ],
  "the result of a call of the provider": (value) => [
    { type: "tool-call", id: "c1", name: "search", params: {}, providerExecuted: true },
    { type: "tool-result", id: "c1", name: "search", result: value, isFailure: value, providerExecuted: true }
  ],
  "the usage of an answer": (value) => [{ type: "finish", reason: value, usage: value }],
  "what is said of an answer": (value) => [{ type: "response-metadata", id: value, modelId: value, timestamp: value }],
  "an error part": (value) => [{ type: "error", error: value }],
  "a failure": (value) => [...textParts("Well. "), Effect.failCause(Cause.fail(value))],
  "a defect": (value) => [...textParts("Well. "), die(value)]
}

for (const [what, answer] of Object.entries(ofModels)) {
  for (const seam of what === "a failure" || what === "a defect"
    ? (["direct", "push"] as const)
    : (["push"] as const)) {
    places[`a model gives it as ${what}, ${seam}`] = {
      rules: "[F7] [T3] [T9]",
      setup: (value) => ({
        seam,
        tools: { tool: () => Effect.succeed("done") },
        // an answer that cannot be read is asked for once more
        model: firstThen(answer(value))
      })
    }
  }
}

const failed0 = { ends: ["c1 error"], log: /tool failed unexpectedly|tool \(c1\) failed/ }

const throwing = (value: unknown): Schema.Schema<any, any> =>
  Schema.transform(Schema.Unknown, Schema.Unknown, {
    decode: () => {
      throw value
    },
    encode: () => {
      throw value
    }
  })

const withSchema = (
  parameter: Schema.Schema.All,
  success: Schema.Schema.Any,
  failure: Schema.Schema.All,
  run: Effect.Effect<unknown, any> = Effect.succeed("done")
): Setup => {
  const parameters = { a: parameter as Schema.Schema<unknown> }
  const kit = Toolkit.make(AsyncTool.make("tool", { parameters, success, failure }))
  return {
    agent: Agent.make("odd", { instructions: "I am odd.", tools: [kit] }).pipe(
      Agent.provide(kit.toLayer({ tool: () => run }) as Layer.Layer<any>)
    ),
    model: firstThen([callPart("c1", "tool", { a: 1 })])
  }
}

const withPolicy = (decide: Parameters<typeof DuplicatePolicy.make<never>>[0]): Setup => ({
  agent: agent("odd", { tool: () => Effect.succeed("done") }).pipe(Agent.provide(DuplicatePolicy.make(decide))),
  model: callsTool
})

/** The view of the first request only. */
const withView = (view: () => ChatContext.ChatContext): Setup => {
  let asked = 0
  const layer = Layer.succeed(ChatContext.ModelView, (context: ChatContext.ChatContext) =>
    asked++ === 0 ? view() : context
  )
  return { agent: agent("odd").pipe(Agent.provide(layer as Layer.Layer<never>)), model: firstThen() }
}

const withTemplates = (template: () => string): Setup => ({
  agent: agent("odd", {
    tool: {
      releaseAfter: "1 second",
      run: () =>
        Effect.sleep("2 seconds").pipe(
          Effect.zipRight(RunContext.update("at it")),
          Effect.zipRight(Effect.sleep("10 seconds"))
        )
    }
  }).pipe(
    Agent.provide(
      ToolPrompts.layer({
        update: template,
        inProgress: template,
        released: template,
        ended: template,
        duplicateReject: template,
        duplicateConfirm: template,
        replyAtTail: template,
        replyMaybeCovered: template
      })
    )
  ),
  model: callsTool
})

/** It plays as any other from its second text on. */
const outputOnce = (first: (played: (piece: string) => Effect.Effect<void>) => Effect.Effect<void>) => {
  let asked = 0
  return {
    play: (text: Stream.Stream<string>, played: (piece: string) => Effect.Effect<void>) =>
      asked++ === 0 ? first(played) : Stream.runForEach(text, played)
  }
}

/** Places at which each value is tried; at the others one of each kind is enough. */
const all = new Set([
  "a handler returns it",
  "a handler dies with it in the background",
  "a model gives it as a failure, push"
])

/**
 * Effect looks at what a promise rejects with outside of any fiber, so that such a promise never ends: not for us, nor for
 * anybody.
 */
const isShut = (value: unknown): boolean => {
  if ((typeof value !== "object" || value === null) && typeof value !== "function") return false
  try {
    void (Symbol() in value)
    return false
  } catch {
    return true
  }
}

for (const [place, { expect: expected, meanwhile, rules, setup }] of Object.entries(places)) {
  describe(`${place}:`, () => {
    for (const [name, make] of Object.entries(all.has(place) ? odd : someOdd)) {
      if (place === "a handler rejects with it" && isShut(make())) continue
      // the model of these tests would take it for an effect between two parts
      if (place.startsWith("a model gives it as a part") && name.startsWith("a proxy that")) continue
      scoped(`${rules} ${name}`, () =>
        Effect.suspend(() => {
          const value = make()
          const { ends, log } = expected?.(value) ?? {}
          return lawful(setup(value), (talk) =>
            Effect.gen(function* () {
              yield* turn(talk.session, "Go")
              if (meanwhile !== undefined) yield* meanwhile(talk.session, value)
              yield* TestSession.advance("1 minute")
              yield* goesOn(talk)
              // undefined, a function and so on may be what a handler has to say: then they are no failure
              if (ends !== undefined) expect(yield* talk.ends).toEqual(ends)
              if (log !== undefined) expect(talk.logs.filter((line) => log.test(line)).length).toBeGreaterThan(0)
              expect((yield* talk.ends).length).toBe((yield* talk.events.filter("ToolCallStarted")).length)
            })
          )
        })
      )
    }
  })
}

describe("what the program gives is looked at outside of an input:", () => {
  scoped("[L1] [U4] a template that calls the session: the model is asked with its text", () => {
    let session: AgentSession.Service | undefined
    const template = () => {
      if (session !== undefined) Effect.runSync(session.say("By the way."))
      return "Half way."
    }
    return lawful(
      {
        agent: agent("helper", {
          tool: () =>
            RunContext.RunContext.pipe(
              Effect.tap((context) => Effect.sync(() => (session = context.session))),
              Effect.zipRight(Effect.sleep("1 second")),
              Effect.zipRight(RunContext.update("at it")),
              Effect.as("done")
            )
        }).pipe(Agent.provide(ToolPrompts.layer({ update: template }))),
        model: callsTool
      },
      (talk) =>
        Effect.gen(function* () {
          yield* turn(talk.session, "Go")
          yield* TestSession.advance("1 minute")
          yield* goesOn(talk)
          expect(yield* talk.output("c1")).toBe("Half way.")
          const sent = JSON.stringify(talk.prompts)
          expect(sent).toContain("Half way.")
          expect(sent).not.toContain("places")
        })
    )
  })

  scoped("[F7] [T9] options of a turn whose getters throw: the caller's defect, and the session goes on", () =>
    lawful({ model: firstThen() }, (talk) =>
      Effect.gen(function* () {
        const options = {
          get instructions(): string {
            throw new Error("no")
          }
        }
        const asked: ReadonlyArray<Effect.Effect<unknown, unknown>> = [
          talk.session.send("Hello", options),
          talk.session.run("Hello", options),
          talk.session.generateReply(options),
          talk.session.interrupt({
            get force(): boolean {
              throw new Error("no")
            }
          })
        ]
        for (const ask of asked) {
          const exit = yield* Effect.exit(ask)
          expect(exit._tag).toBe("Failure")
        }
        // nothing of it got into the conversation
        expect((yield* talk.session.history).items).toEqual([])
        yield* goesOn(talk)
      })
    )
  )

  // Effect tells the loggers of a fiber that fails before anybody else; those of a Stream are the program's, not ours
  const fragile = Logger.make(({ cause }) => {
    for (const error of [...Cause.failures(cause), ...Cause.defects(cause)]) void `${(error as Error).message}`
  })
  const atDebug = Layer.merge(Logger.add(fragile), Logger.minimumLogLevel(LogLevel.Debug))
  for (const [place, { expect: expected, meanwhile, setup }] of Object.entries(places)) {
    if (!/dies|throws|fails/.test(place) || place.startsWith("a text that is said")) continue
    for (const name of ["an error whose fields all throw", "a shut proxy"]) {
      scoped(`[T8] [T9] ${place}, and a logger that looks at ${name} throws at the level Debug`, () =>
        Effect.suspend(() => {
          const value = (odd[name] as () => unknown)()
          return lawful({ ...setup(value), layer: atDebug }, (talk) =>
            Effect.gen(function* () {
              yield* turn(talk.session, "Go")
              if (meanwhile !== undefined) yield* meanwhile(talk.session, value)
              yield* TestSession.advance("1 minute")
              yield* goesOn(talk)
              const { ends } = expected?.(value) ?? {}
              if (ends !== undefined) expect(yield* talk.ends).toEqual(ends)
            })
          )
        })
      )
    }
  }

  for (const [name, make] of Object.entries(someOdd)) {
    scoped(`[U8] [T8] outside of a session a handler dies with it: ${name}`, () =>
      Effect.gen(function* () {
        const kit = Toolkit.make(AsyncTool.make("tool"))
        const logs: Array<string> = []
        const logger = Logger.make(({ cause }) => {
          logs.push(Cause.pretty(cause))
        })
        const executed = yield* AsyncTool.execute(kit, { name: "tool", arguments: {} }).pipe(
          Effect.provide(kit.toLayer({ tool: () => die(make()) })),
          Effect.provide(Logger.replace(Logger.defaultLogger, logger))
        )
        expect(executed.isError).toBe(true)
        expect(logs).toHaveLength(1)
      })
    )
  }

  scoped("[T3] the schema of a call that comes when its step is over does not run", () => {
    let decoded = 0
    let late: ((parts: ReadonlyArray<any>) => void) | undefined
    const counted = Schema.transform(Schema.Unknown, Schema.Unknown, {
      decode: (value) => {
        decoded++
        return value
      },
      encode: (value) => value
    })
    const setup = withSchema(counted, Schema.Unknown, Schema.Never)
    const layer = SessionModel.layer({
      run: (_, onParts) =>
        Effect.suspend(() => {
          late ??= onParts
          return Effect.never
        })
    })
    return Effect.gen(function* () {
      const { session } = yield* TestSession.make({ agent: setup.agent as Agent.Agent<never> }).pipe(
        Effect.provide(layer),
        Effect.provide(
          Layer.effect(
            LanguageModel.LanguageModel,
            LanguageModel.make({ generateText: () => Effect.succeed([]), streamText: () => Stream.empty })
          )
        )
      )
      const speech = yield* session.send("Go")
      yield* TestSession.settle
      yield* speech.interrupt()
      late?.([callPart("c1", "tool", { a: 1 })])
      expect(decoded).toBe(0)
    })
  })
})
