/**
 * A failure of a model is always told: to whoever runs the turn, on the handle, or in the log; and the reason with which
 * an answer ends may be one.
 */
import { AiError, LanguageModel, type Prompt, Response } from "@effect/ai"
import { ProviderName } from "@effect/ai/Model"
import { describe, expect } from "@effect/vitest"
import { MockLanguageModelV3 } from "ai/test"
import { Effect, Exit, Fiber, Layer, Option } from "effect"
import { Agent, AgentSession, RunContext, type SessionModel, Telemetry } from "effect-meantime"
import { AiSdkModel } from "effect-meantime/ai-sdk"
import { ScriptedModel, TestSession } from "effect-meantime/testing"
import { collectLogs, directModel, problems, textParts } from "./support/requests.js"
import { modelFailed, talk, toolCall, toolkit } from "./support/talk.js"
import { it } from "./support/virtual.js"

const { fail, finish, text, wait } = ScriptedModel
const { drive } = TestSession

const Host = Agent.make("host", { instructions: "You host." })

/** The texts of a request, each with its role, without the instructions. */
const shown = (prompt: Prompt.Prompt): ReadonlyArray<string> =>
  prompt.content.flatMap((message) =>
    message.role === "system"
      ? []
      : message.content.map((part) => {
          if (part.type === "text") return `${message.role}: ${part.text}`
          return part.type === "tool-call" || part.type === "tool-result"
            ? `${message.role}: ${part.type} ${part.id}`
            : `${message.role}: ${part.type}`
        })
  )

/** A session whose model answers with these parts, and what was logged. */
const direct = (
  respond: Parameters<typeof directModel>[0],
  options: { readonly provider?: string; readonly agent?: Agent.Agent<never> } = {}
) =>
  Effect.gen(function* () {
    const model = directModel(respond)
    const logs = collectLogs()
    const named = options.provider === undefined ? Layer.empty : Layer.succeed(ProviderName, options.provider)
    const test = yield* TestSession.make({ agent: options.agent ?? Host }).pipe(
      Effect.provide([model.layer, named, logs.layer])
    )
    const events = yield* TestSession.collect(test.session)
    return { ...test, events, logs: logs.messages, prompts: model.prompts }
  })

const ends = (reason: string): any => ({ type: "finish", reason, usage: {} })

describe("run", () => {
  it.scoped("[R3] fails with the error of its turn, and nothing is logged: somebody has looked", () =>
    Effect.gen(function* () {
      const { session } = yield* talk({ script: [["Half ", wait("2 seconds"), fail("overloaded")], "Again."] })
      const error = yield* drive(Effect.flip(session.run("Hi")))
      expect(error).toMatchObject({ _tag: "UnknownError", description: "overloaded" })
      expect((yield* drive(session.run("Once more"))).text).toBe("Again.")
    })
  )

  it.scoped("[R3] fails with the error of a reply that it waits for, once all has ended; the history has both", () =>
    Effect.gen(function* () {
      const { events, lines, session } = yield* talk({
        tools: {
          book: () => Effect.zipRight(RunContext.update("on it"), Effect.as(Effect.sleep("9 seconds"), "done"))
        },
        script: [toolCall("book"), "Booking.", fail("down")]
      })
      const error = yield* drive(Effect.flip(session.run("Book")))
      expect(error).toMatchObject({ description: "down" })
      expect((yield* lines).slice(-2)).toEqual(["call call_1_final", 'output call_1_final: "done"'])
      expect(yield* events.filter("ReplyEnded")).toMatchObject([{ status: "failed" }])
    })
  )

  it.scoped("[R3] fails with the first of two failures", () =>
    Effect.gen(function* () {
      const { session } = yield* talk({
        tools: {
          book: () => Effect.zipRight(RunContext.update("on it"), Effect.as(Effect.sleep("9 seconds"), "done"))
        },
        script: [toolCall("book"), fail("first"), fail("second")]
      })
      expect(yield* drive(Effect.flip(session.run("Book")))).toMatchObject({ description: "first" })
    })
  )

  it.scoped("[R3] of another turn does not fail", () =>
    Effect.gen(function* () {
      const { session } = yield* talk({ script: [fail("down"), "Fine."], logs: [modelFailed] })
      const speech = yield* session.send("Hi")
      yield* drive(speech.wait)
      expect((yield* drive(session.run("Hello"))).text).toBe("Fine.")
    })
  )

  it.scoped("[R3] [R1] fails if what the new agent begins with fails", () =>
    Effect.gen(function* () {
      const Next = Agent.make("next", { instructions: "N.", onEnter: AgentSession.generateReply() })
      const { session } = yield* talk({
        tools: { pass: () => RunContext.handoff(Next) },
        script: [toolCall("pass"), fail("not in")]
      })
      expect(yield* drive(Effect.flip(session.run("Pass")))).toMatchObject({ description: "not in" })
    })
  )

  it.scoped("[R3] [S4] one that fails in onEnter or onExit is logged, and the session goes on", () =>
    Effect.gen(function* () {
      const run = Effect.flatMap(AgentSession.AgentSession, (session) => session.run("Are you there?"))
      const First = Agent.make("first", { instructions: "F.", onExit: Effect.fail("no time") })
      const Next = Agent.make("next", { instructions: "N.", onEnter: run })
      const { logs, session } = yield* talk({
        agent: First,
        script: [fail("not in"), "Here."],
        logs: [/ERROR: on(?:Enter of next|Exit of first) failed\./]
      })
      yield* drive(session.handoff(Next))
      yield* drive(session.waitForIdle)
      expect(logs).toEqual(["ERROR: onExit of first failed.", "ERROR: onEnter of next failed."])
      expect((yield* drive(session.run("Hello"))).text).toBe("Here.")
    })
  )
})

describe("a failure that nobody waits for", () => {
  it.scoped("[R3] is logged once, as a warning that names the agent", () =>
    Effect.gen(function* () {
      const { logs, session } = yield* talk({ script: [fail("overloaded")], logs: [modelFailed] })
      const speech = yield* session.send("Hi")
      yield* drive(speech.wait)
      expect(logs).toEqual(['WARN: The model of the agent "helper" failed: overloaded'])
      expect(Option.map(yield* speech.error, (error) => error._tag)).toEqual(Option.some("UnknownError"))
    })
  )

  it.scoped("[R3] is not logged if the handle's error was read before the end, and is there after it", () =>
    Effect.gen(function* () {
      const { session } = yield* talk({ script: [["Half", wait("5 seconds"), fail("overloaded")]] })
      const speech = yield* session.send("Hi")
      expect(yield* speech.error).toEqual(Option.none())
      yield* drive(speech.wait)
      expect(yield* speech.error).toMatchObject({ value: { description: "overloaded" } })
    })
  )

  it.scoped("[R3] is logged for a deferred reply and for generateReply, too", () =>
    Effect.gen(function* () {
      const { events, logs, session } = yield* talk({
        tools: {
          book: () => Effect.zipRight(RunContext.update("on it"), Effect.as(Effect.sleep("9 seconds"), "done"))
        },
        script: [toolCall("book"), "Booking.", fail("down"), fail("out")],
        logs: [modelFailed]
      })
      yield* session.send("Book")
      yield* drive(session.waitForIdle)
      yield* TestSession.advance("20 seconds")
      yield* session.generateReply()
      yield* drive(session.waitForIdle)
      expect(logs).toEqual([
        'WARN: The model of the agent "helper" failed: down',
        'WARN: The model of the agent "helper" failed: out'
      ])
      expect(yield* events.filter("SessionError")).toHaveLength(2)
    })
  )

  it.scoped("[R3] is logged if the run that waited was given up", () =>
    Effect.gen(function* () {
      const { logs, session } = yield* talk({ script: [[wait("5 seconds"), fail("overloaded")]], logs: [modelFailed] })
      const run = yield* Effect.fork(session.run("Hi"))
      yield* TestSession.advance("1 second")
      yield* Fiber.interrupt(run)
      yield* TestSession.advance("9 seconds")
      expect(logs).toHaveLength(1)
    })
  )

  const names: ReadonlyArray<readonly [Telemetry.Options, string | undefined, string]> = [
    [{}, "anthropic", "The model anthropic"],
    [{ model: "m-1" }, undefined, "The model m-1"],
    [{ model: "m-1" }, "openai", "The model openai m-1"],
    [{ model: "m-1", provider: "mine" }, "openai", "The model mine m-1"]
  ]
  for (const [options, provider, name] of names) {
    it.scoped(`[R3] names the model: ${name}`, () =>
      Effect.gen(function* () {
        const { logs, session } = yield* direct(() => [Effect.fail(failure("no"))], {
          ...(provider === undefined ? {} : { provider }),
          agent: Agent.provide(Host, Telemetry.layer(options))
        })
        yield* Effect.flatMap(session.send("Hi"), (speech) => drive(speech.wait))
        expect(logs).toEqual([`${name} of the agent "host" failed: no`])
      })
    )
  }
})

const failure = (description: string) => new AiError.UnknownError({ module: "test", method: "streamText", description })

describe("an answer that ends with a reason", () => {
  it.scoped("[F7] error: it has failed, with the text that was heard in the history", () =>
    Effect.gen(function* () {
      const { events, lines, session } = yield* talk({
        script: [[text("I am loo"), finish("error")]],
        pace: "instant",
        logs: [modelFailed]
      })
      const speech = yield* session.generateReply()
      yield* drive(speech.wait)
      expect(yield* speech.error).toMatchObject({ value: { _tag: "UnknownError" } })
      expect(yield* lines).toEqual(["assistant: I am loo"])
      expect(yield* events.filter("SessionError")).toMatchObject([{ error: { tag: "UnknownError" } }])
    })
  )

  it.scoped("[F7] [D5] error: a deferred reply has failed, and what it had to say stays", () =>
    Effect.gen(function* () {
      const { replies, session } = yield* talk({
        tools: {
          book: () => Effect.zipRight(RunContext.update("on it"), Effect.as(Effect.sleep("9 seconds"), "done"))
        },
        script: [toolCall("book"), "Booking.", [finish("error")]]
      })
      expect(yield* drive(Effect.flip(session.run("Book")))).toMatchObject({ _tag: "UnknownError" })
      expect(yield* replies).toEqual(["scheduled call_1_final", "failed call_1_final"])
    })
  )

  const unfinished = [
    ["length", "Length"],
    ["content-filter", "ContentFilter"]
  ] as const
  for (const [reason, tag] of unfinished) {
    it.scoped(`[F7] ${reason}, without a word: it is told, and the turn ends`, () =>
      Effect.gen(function* () {
        const { events, session } = yield* talk({ script: [[finish(reason)], ["Some", finish(reason)]] })
        expect((yield* drive(session.run("Hi"))).text).toBe("")
        expect(yield* events.filter("SessionError")).toMatchObject([{ error: { tag } }])
        expect((yield* drive(session.run("Hi"))).text).toBe("Some")
        expect(yield* events.filter("SessionError")).toHaveLength(1)
      })
    )
  }

  for (const streaming of [true, false]) {
    const answering = (...finishReasons: ReadonlyArray<{ readonly unified: any; readonly raw: string }>) => {
      let n = 0
      const answer = () => ({
        content: [] as Array<any>,
        finishReason: finishReasons[n++] ?? { unified: "stop" as const, raw: "end" },
        usage: { inputTokens: {}, outputTokens: { total: 1 } } as any,
        warnings: []
      })
      const model = new MockLanguageModelV3({
        doGenerate: async () => answer(),
        doStream: async () => ({
          stream: new ReadableStream({
            start: (controller) => {
              const { finishReason, usage, warnings } = answer()
              controller.enqueue({ type: "stream-start", warnings })
              controller.enqueue({ type: "finish", finishReason, usage })
              controller.close()
            }
          })
        })
      })
      return { model, layer: AiSdkModel.layer(model, { streaming }) }
    }
    const how = streaming ? "streamed" : "whole"

    it.scoped(`[F7] error without any content, AI SDK, ${how}`, () => {
      const { layer } = answering({ unified: "error", raw: "MALFORMED_FUNCTION_CALL" })
      return Effect.gen(function* () {
        const { session } = yield* TestSession.make({ agent: Host })
        expect(yield* drive(Effect.flip(session.run("Hi")))).toMatchObject({ _tag: "UnknownError" })
        expect((yield* drive(session.run("Hi"))).text).toBe("")
      }).pipe(Effect.provide(layer))
    })

    it.scoped(`[F7] a pause that only the raw reason tells, AI SDK, ${how}`, () => {
      const { layer, model } = answering({ unified: "stop", raw: "pause_turn" }, { unified: "other", raw: "pause" })
      return Effect.gen(function* () {
        const { session } = yield* TestSession.make({ agent: Host })
        yield* drive(session.run("Hi"))
        expect(model.doStreamCalls.length + model.doGenerateCalls.length).toBe(3)
      }).pipe(Effect.provide(layer))
    })
  }

  it.scoped("[F7] none at all and no part: that is no answer, whichever the model", () =>
    Effect.gen(function* () {
      const { session } = yield* direct((_, index) => (index === 0 ? [] : [ends("stop")]))
      expect(yield* drive(Effect.flip(session.run("Hi")))).toMatchObject({ _tag: "UnknownError" })
      expect((yield* drive(session.run("Hi"))).text).toBe("")
    })
  )
})

describe("an answer that the model has paused", () => {
  const three = (reason: string) => (_: SessionModel.Request, index: number) => [
    ...textParts(["First, ", "second, ", "third."][index] ?? "too much"),
    ends(index < 2 ? reason : "stop")
  ]

  it.scoped("[F7] [M5] is gone on with: the answer so far comes last, behind what was asked", () =>
    Effect.gen(function* () {
      const { events, prompts, session } = yield* direct(three("pause"))
      const result = yield* drive(session.run("Count", { toolChoice: "none", instructions: "Slowly." }))
      expect(result.text).toBe("First, second, third.")
      expect(yield* TestSession.said(session)).toEqual(["First, ", "second, ", "third."])
      expect(yield* events.filter("SpeechCreated")).toHaveLength(1)
      const [first, second, third] = prompts().map(shown)
      expect(first).toHaveLength(2)
      expect(second).toEqual([...(first ?? []), "assistant: First, "])
      expect(third).toEqual([...(second ?? []), "assistant: second, "])
      expect(problems(prompts()[0] as Prompt.Prompt)).toEqual([])
    })
  )

  it.scoped("[F7] in the provider's own words, too; a later request has it in the conversation and ends as any", () =>
    Effect.gen(function* () {
      const { prompts, session } = yield* direct(three("pause_turn"))
      yield* drive(session.run("Count"))
      yield* drive(session.run("Thanks"))
      expect(prompts()).toHaveLength(4)
      expect(shown(prompts()[3] as Prompt.Prompt)).toEqual([
        "user: Count",
        "assistant: First, ",
        "assistant: second, ",
        "assistant: third.",
        "user: Thanks"
      ])
    })
  )

  it.scoped("[F7] [M5] where nobody has spoken, the note that asked for it stays in its place", () =>
    Effect.gen(function* () {
      const { prompts, session } = yield* direct(three("pause"))
      const speech = yield* session.generateReply()
      yield* drive(speech.wait)
      const [first, second] = prompts().map(shown)
      expect(first).toHaveLength(1)
      expect(second).toEqual([...(first ?? []), "assistant: First, "])
    })
  )

  it.scoped("[M3b] Anthropic takes no blanks at the very end", () =>
    Effect.gen(function* () {
      const { prompts, session } = yield* direct(three("pause"), { provider: "anthropic" })
      yield* drive(session.run("Count"))
      expect(prompts().map((prompt) => shown(prompt).at(-1))).toEqual([
        "user: Count",
        "assistant: First,",
        "assistant: second,"
      ])
    })
  )

  it.scoped("[M5] where the API wants the user last, a note asks to go on", () =>
    Effect.gen(function* () {
      const { prompts, session } = yield* direct(three("pause"), { provider: "mistral.chat" })
      yield* drive(session.run("Count"))
      for (const prompt of prompts()) expect(problems(prompt)).toEqual([])
      expect(shown(prompts()[1] as Prompt.Prompt).at(-1)).toContain("Go on with your answer")
    })
  )

  it.scoped("[T1] a call of the provider's own that is still open goes back, and gets its result", () =>
    Effect.gen(function* () {
      const call = { type: "tool-call", id: "srvtoolu_1", name: "web_search", params: { query: "x" } } as const
      const result = {
        type: "tool-result",
        id: call.id,
        name: call.name,
        result: [{ url: "u" }],
        isFailure: false
      } as const
      const { prompts, session } = yield* direct((_, index) =>
        index === 0
          ? [...textParts("Looking."), { ...call, providerExecuted: true }, ends("pause")]
          : index === 1
            ? [{ ...result, providerExecuted: true }, ...textParts("Found."), ends("stop")]
            : [...textParts("Bye."), ends("stop")]
      )
      const { items } = yield* drive(session.run("Search"))
      expect(items.map((item) => item._tag)).toEqual([
        "Message",
        "Message",
        "FunctionCall",
        "FunctionCallOutput",
        "Message"
      ])
      yield* drive(session.run("Thanks"))
      expect(prompts().map((prompt) => shown(prompt).slice(1))).toEqual([
        [],
        ["assistant: Looking.", "assistant: tool-call srvtoolu_1"],
        [
          "assistant: Looking.",
          "assistant: tool-call srvtoolu_1",
          "assistant: tool-result srvtoolu_1",
          "assistant: Found.",
          "user: Thanks"
        ]
      ])
    })
  )

  it.scoped("[F7] ten times in a row, and no more: the rest is told to be missing", () =>
    Effect.gen(function* () {
      const { events, prompts, session } = yield* direct((_, index) => [...textParts(`${index} `), ends("pause")])
      yield* drive(session.run("Count"))
      expect(prompts()).toHaveLength(11)
      expect(yield* events.filter("SessionError")).toMatchObject([{ error: { tag: "Pause" } }])
    })
  )

  it.scoped("[F7] behind a user's message that came in between it is a part of the conversation", () =>
    Effect.gen(function* () {
      const own = toolkit({})
      const { languageModel, service } = yield* ScriptedModel.make([
        ["First.", wait("5 seconds"), finish("pause")],
        [wait("5 seconds"), "Second."],
        "Yes?"
      ])
      const { session } = yield* TestSession.make({ agent: Host }).pipe(
        Effect.provide(own.layer),
        Effect.provideService(LanguageModel.LanguageModel, languageModel)
      )
      const speech = yield* session.send("Count", { allowInterruptions: false })
      yield* TestSession.advance("1 second")
      yield* session.send("Hey")
      yield* drive(speech.wait)
      yield* drive(session.waitForIdle)
      const requests = (yield* service.prompts).map(shown)
      expect(requests[1]).toEqual(["user: Count", "assistant: First.", "user: Hey"])
    })
  )
})

describe("run that is interrupted", () => {
  const setup = () =>
    talk({
      tools: {
        book: { allowCancellation: true, run: () => Effect.never },
        keep: () => Effect.as(Effect.sleep("30 seconds"), "kept")
      },
      script: [["On it.", toolCall("book"), toolCall("keep")], "Kept."],
      pace: "instant"
    })

  it.scoped("[R4] leaves the turn alone", () =>
    Effect.gen(function* () {
      const { events, session } = yield* setup()
      const run = yield* Effect.fork(session.run("Go"))
      yield* TestSession.advance("1 second")
      yield* Fiber.interrupt(run)
      expect((yield* session.runningTools).map(({ name }) => name)).toEqual(["book", "keep"])
      expect(yield* events.filter("SpeechEnded")).toEqual([])
    })
  )

  it.scoped("[R4] with `stop` cuts the turn and cancels the calls that may be cancelled", () =>
    Effect.gen(function* () {
      const { events, session } = yield* setup()
      const run = yield* Effect.fork(session.run("Go", { onInterrupt: "stop" }))
      yield* TestSession.advance("1 second")
      const exit = yield* Fiber.interrupt(run)
      expect(Exit.isInterrupted(exit)).toBe(true)
      yield* TestSession.settle
      expect((yield* session.runningTools).map(({ name }) => name)).toEqual(["keep"])
      expect(yield* events.filter("SpeechEnded")).toMatchObject([{ interrupted: true }])
      expect(yield* events.filter("ToolCallEnded")).toMatchObject([{ status: "cancelled" }])
      yield* TestSession.advance("1 minute")
      expect((yield* events.filter("ToolCallEnded")).map(({ status }) => status)).toEqual(["cancelled", "done"])
    })
  )

  it.scoped("[R4] with `stop` changes nothing once it has come back", () =>
    Effect.gen(function* () {
      const { events, session } = yield* talk({ script: ["One.", "Two."], pace: "instant" })
      yield* drive(session.run("Go", { onInterrupt: "stop" }))
      yield* drive(session.run("Go", { onInterrupt: "stop" }))
      expect((yield* events.filter("SpeechEnded")).map(({ interrupted }) => interrupted)).toEqual([false, false])
    })
  )
})

it("[F7] the reasons of `@effect/ai` have a pause", () => {
  expect(Response.FinishReason.literals).toContain("pause")
})
