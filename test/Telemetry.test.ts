import { readFileSync } from "node:fs"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { AiError, type LanguageModel, Model, type Response, Toolkit } from "@effect/ai"
import { describe, expect } from "@effect/vitest"
import { SpanStatusCode } from "@opentelemetry/api"
import type { ReadableSpan } from "@opentelemetry/sdk-trace-base"
import * as SemConv from "@opentelemetry/semantic-conventions/incubating"
import { Effect, Exit, Layer, Logger, Metric, Option, Schema, type Scope, Stream, Tracer } from "effect"
import {
  Agent,
  AgentOutput,
  AgentSession,
  AsyncTool,
  AsyncToolset,
  DuplicatePolicy,
  RunContext,
  SessionModel,
  Telemetry
} from "effect-meantime"
import { ScriptedModel, TestSession } from "effect-meantime/testing"
import * as Files from "./support/files.js"
import { duration, everything, kind, linksOf, type Point, parentOf, recorder, status, tree } from "./support/otel.js"
import { it } from "./support/virtual.js"

const { toolCall } = ScriptedModel
const silent = Logger.remove(Logger.defaultLogger)

type Work = Effect.Effect<unknown, AsyncTool.ToolError | AsyncTool.StopResponse, RunContext.RunContext>

/** Tools with one parameter, by name: their options, and what they do. */
const kit = (works: Record<string, readonly [AsyncTool.Options, Work]>) => {
  const tools = Object.entries(works).map(([name, [options]]) =>
    AsyncTool.make(name, {
      description: `The tool ${name}.`,
      parameters: { text: Schema.String },
      success: Schema.Unknown,
      ...options
    })
  )
  const toolkit = Toolkit.make(...(tools as Array<never>)) as unknown as Toolkit.Toolkit<{}>
  const handlers = Object.fromEntries(Object.entries(works).map(([name, [, work]]) => [name, () => work]))
  return { toolkit, live: toolkit.toLayer(handlers as {}) as Layer.Layer<never> }
}

const agent = (
  name: string,
  works: Record<string, readonly [AsyncTool.Options, Work]>,
  options: { readonly maxConcurrency?: number } = {}
): Agent.Agent<never> => {
  const { live, toolkit } = kit(works)
  return Agent.make(name, { instructions: `I am ${name}.`, tools: [toolkit], ...options }).pipe(Agent.provide(live))
}

const call = (name: string, id = name, text = "x") => toolCall(name, { text }, { id })

/** What is left to a test after its conversation: what was recorded. */
const converse = (
  options: {
    readonly agent: Agent.Agent<never>
    readonly tools?: ReadonlyArray<AsyncToolset.Entry>
    readonly script: ScriptedModel.Script
    readonly layers?: Layer.Layer<never>
    readonly maxPendingUpdates?: number
  },
  talk: (session: AgentSession.Service, close: Effect.Effect<void>) => Effect.Effect<unknown, unknown>
) => {
  const otel = recorder()
  return Effect.gen(function* () {
    const { agent, maxPendingUpdates = 32, tools = [] } = options
    const { close, session } = yield* TestSession.make({ agent, maxPendingUpdates, tools }) as Effect.Effect<
      TestSession.TestSession,
      never,
      Scope.Scope | LanguageModel.LanguageModel
    >
    yield* talk(session, close)
    yield* close
    // both are gone when the layer is released
    return { all: otel.spans(), points: yield* Effect.promise(otel.points) }
  }).pipe(
    Effect.scoped,
    Effect.provide(options.layers ?? Layer.empty),
    Effect.provide([ScriptedModel.layer(options.script), silent]),
    Effect.provide(otel.layer),
    Effect.map(view)
  )
}

const view = (recorded: { readonly all: ReadonlyArray<ReadableSpan>; readonly points: ReadonlyArray<Point> }) => {
  const { all } = recorded
  const named = (name: string) => all.filter((span) => span.name === name)
  const one = (name: string) => {
    const found = named(name)
    if (found.length !== 1) throw new Error(`${found.length} spans "${name}" among ${all.map((span) => span.name)}`)
    return found[0]!
  }
  return {
    all,
    named,
    one,
    tree: tree(all),
    parent: (name: string) => parentOf(one(name), all)?.name,
    /** the points of a metric that have these attributes */
    points: (metric: string, attributes: Record<string, string>) =>
      recorded.points.filter(
        (point) =>
          point.metric === metric && Object.entries(attributes).every(([key, value]) => point.attributes[key] === value)
      )
  }
}

const book = Effect.gen(function* () {
  yield* RunContext.update("Searching.")
  yield* Effect.sleep("5 seconds").pipe(Effect.withSpan("search"))
  yield* RunContext.update("Found one.")
  yield* Effect.sleep("5 seconds")
  return yield* RunContext.commit(Effect.as(Effect.sleep("1 second"), "Booked."))
})

describe("spans", () => {
  it.effect("[E3] a whole conversation is one trace", () =>
    Effect.gen(function* () {
      const support = agent("support", {})
      const { toolkit, live } = kit({ watch: [{ allowCancellation: true, releaseAfter: 0 }, Effect.never] })
      const { all, tree } = yield* converse(
        {
          agent: agent("travel", {
            book: [{ onHandoff: "promote" }, book],
            lookup: [{ onDuplicate: "join" }, Effect.as(Effect.sleep("2 seconds"), "found")],
            broken: [{}, Effect.die(new TypeError("a secret"))],
            slow: [{ timeout: "3 seconds" }, Effect.never],
            escalate: [{}, Effect.as(RunContext.handoff(support), "They know all about it.")]
          }),
          tools: [AsyncToolset.make("watches", toolkit).pipe(AsyncToolset.provide(live))],
          script: [
            [call("book"), call("watch")],
            "I am on it.",
            "I found one.",
            [call("lookup", "lookup_1"), call("lookup", "lookup_2"), call("broken"), call("slow")],
            "Some of it failed.",
            "It is booked.",
            toolCall("cancel_task", { call_id: "watch" }, { id: "cancel" }),
            "It is cancelled.",
            call("escalate"),
            "This is support."
          ]
        },
        (session) =>
          Effect.gen(function* () {
            yield* session.send("Book a flight, and watch the price.")
            yield* TestSession.advance("6 seconds")
            yield* session.send("Look it up.")
            yield* TestSession.advance("14 seconds")
            yield* session.send("Stop watching.")
            yield* TestSession.advance("1 second")
            yield* session.send("Let me talk to somebody.")
            yield* TestSession.advance("1 second")
          })
      )
      expect(new Set(all.map((span) => span.spanContext().traceId)).size).toBe(1)
      expect(tree).toBe(
        `
effect_meantime.session  0–22 s
  · effect_meantime.handoff at 21 s
  invoke_agent travel  0–0 s
    · effect_meantime.speaking at 0 s
    chat  0–0 s
      LanguageModel.streamText  0–0 s
    execute_tool book  0–11 s  done
      · effect_meantime.update at 0 s
      · effect_meantime.released at 0 s
      · effect_meantime.update at 5 s
      · effect_meantime.committed at 10 s
      search  0–5 s
    execute_tool watch  0–20 s  cancelled
      · effect_meantime.released at 0 s
      · effect_meantime.cancellation_requested at 20 s
    chat  0–0 s
      LanguageModel.streamText  0–0 s
  invoke_agent travel  5–5 s
    · effect_meantime.speaking at 5 s
    → call: execute_tool book
    → turn: invoke_agent travel
    chat  5–5 s
      LanguageModel.streamText  5–5 s
  invoke_agent travel  6–9 s
    · effect_meantime.speaking at 9 s
    chat  6–6 s
      LanguageModel.streamText  6–6 s
    execute_tool lookup  6–8 s  done
    execute_tool lookup  6–8 s  done
      → run: execute_tool lookup
    execute_tool broken  6–6 s  error.type=TypeError  defect
      · exception at 6 s
    execute_tool slow  6–9 s  error.type=timeout  timeout
      · effect_meantime.cancellation_requested at 9 s
      · exception at 9 s
    chat  9–9 s
      LanguageModel.streamText  9–9 s
  invoke_agent travel  11–11 s
    · effect_meantime.speaking at 11 s
    → call: execute_tool book
    → turn: invoke_agent travel
    chat  11–11 s
      LanguageModel.streamText  11–11 s
  invoke_agent travel  20–20 s
    · effect_meantime.speaking at 20 s
    chat  20–20 s
      LanguageModel.streamText  20–20 s
    execute_tool cancel_task  20–20 s  done
    chat  20–20 s
      LanguageModel.streamText  20–20 s
  invoke_agent travel  21–21 s
    · effect_meantime.speaking at 21 s
    chat  21–21 s
      LanguageModel.streamText  21–21 s
    execute_tool escalate  21–21 s  done
    chat  21–21 s
      LanguageModel.streamText  21–21 s
`.trim()
      )
    })
  )

  it.effect("[E3] names, kinds and attributes are those of the conventions", () =>
    Effect.gen(function* () {
      const { all, named, one, parent } = yield* converse(
        {
          agent: agent("travel", { book: [{}, book] }),
          script: [
            [
              ScriptedModel.part({
                type: "response-metadata",
                id: "resp_1",
                modelId: "model-2026",
                timestamp: undefined
              }),
              call("book", "call_7"),
              ScriptedModel.finish("tool-calls", { inputTokens: 12, outputTokens: 3, cachedInputTokens: 8 })
            ],
            ["On it.", ScriptedModel.finish("stop", { inputTokens: 20, outputTokens: 4, reasoningTokens: 2 })]
          ],
          layers: Layer.merge(
            Telemetry.layer({ conversationId: "conv_42", model: "model" }),
            Layer.succeed(Model.ProviderName, "google") as unknown as Layer.Layer<never>
          )
        },
        (session) => Effect.zipRight(session.send("Book."), TestSession.advance("4 seconds"))
      )
      const session = one("effect_meantime.session")
      const turn = one("invoke_agent travel")
      const [chat, second] = named("chat model") as [(typeof all)[number], (typeof all)[number]]
      const tool = one("execute_tool book")

      expect(kind(session)).toBe("INTERNAL")
      expect(kind(turn)).toBe("INTERNAL")
      expect(kind(chat)).toBe("CLIENT")
      expect(kind(tool)).toBe("INTERNAL")
      expect(session.parentSpanContext).toBeUndefined()
      expect(parent("invoke_agent travel")).toBe(session.name)
      expect(parentOf(chat, all)).toBe(turn)
      expect(parent("execute_tool book")).toBe(turn.name)
      expect(parent("search")).toBe(tool.name)

      expect(turn.attributes).toEqual({
        [SemConv.ATTR_GEN_AI_OPERATION_NAME]: SemConv.GEN_AI_OPERATION_NAME_VALUE_INVOKE_AGENT,
        [SemConv.ATTR_GEN_AI_PROVIDER_NAME]: SemConv.GEN_AI_PROVIDER_NAME_VALUE_GCP_GEMINI,
        [SemConv.ATTR_GEN_AI_AGENT_NAME]: "travel",
        [SemConv.ATTR_GEN_AI_CONVERSATION_ID]: "conv_42",
        [SemConv.ATTR_GEN_AI_REQUEST_MODEL]: "model",
        [SemConv.ATTR_GEN_AI_USAGE_INPUT_TOKENS]: 32,
        [SemConv.ATTR_GEN_AI_USAGE_OUTPUT_TOKENS]: 7,
        "effect_meantime.speech.id": "speech_1",
        "effect_meantime.speech.source": "reply",
        "effect_meantime.turn.steps": 2
      })
      expect(chat.attributes).toEqual({
        [SemConv.ATTR_GEN_AI_OPERATION_NAME]: SemConv.GEN_AI_OPERATION_NAME_VALUE_CHAT,
        [SemConv.ATTR_GEN_AI_PROVIDER_NAME]: SemConv.GEN_AI_PROVIDER_NAME_VALUE_GCP_GEMINI,
        [SemConv.ATTR_GEN_AI_AGENT_NAME]: "travel",
        [SemConv.ATTR_GEN_AI_CONVERSATION_ID]: "conv_42",
        [SemConv.ATTR_GEN_AI_REQUEST_MODEL]: "model",
        [SemConv.ATTR_GEN_AI_REQUEST_STREAM]: true,
        [SemConv.ATTR_GEN_AI_RESPONSE_ID]: "resp_1",
        [SemConv.ATTR_GEN_AI_RESPONSE_MODEL]: "model-2026",
        [SemConv.ATTR_GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK]: 0,
        // @effect/opentelemetry writes lists as text
        [SemConv.ATTR_GEN_AI_RESPONSE_FINISH_REASONS]: '[\n  "tool-calls"\n]',
        [SemConv.ATTR_GEN_AI_USAGE_INPUT_TOKENS]: 12,
        [SemConv.ATTR_GEN_AI_USAGE_OUTPUT_TOKENS]: 3,
        [SemConv.ATTR_GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS]: 8,
        "effect_meantime.step.index": 0,
        "effect_meantime.step.tool_choice": "auto"
      })
      expect(second.attributes[SemConv.ATTR_GEN_AI_USAGE_REASONING_OUTPUT_TOKENS]).toBe(2)
      expect(tool.attributes).toEqual({
        [SemConv.ATTR_GEN_AI_OPERATION_NAME]: SemConv.GEN_AI_OPERATION_NAME_VALUE_EXECUTE_TOOL,
        [SemConv.ATTR_GEN_AI_TOOL_NAME]: "book",
        [SemConv.ATTR_GEN_AI_TOOL_CALL_ID]: "call_7",
        [SemConv.ATTR_GEN_AI_TOOL_TYPE]: "function",
        [SemConv.ATTR_GEN_AI_TOOL_DESCRIPTION]: "The tool book.",
        [SemConv.ATTR_GEN_AI_AGENT_NAME]: "travel",
        [SemConv.ATTR_GEN_AI_CONVERSATION_ID]: "conv_42",
        "effect_meantime.toolset": "travel",
        "effect_meantime.step.index": 0,
        "effect_meantime.call.background": true,
        "effect_meantime.call.outcome": "done"
      })
      expect(tool.events.map(({ attributes, name }) => [name, attributes])).toEqual([
        [
          "effect_meantime.update",
          { "effect_meantime.update.id": "call_7", "effect_meantime.update.delivery": "when-idle" }
        ],
        ["effect_meantime.released", { "effect_meantime.released.by": "update" }],
        [
          "effect_meantime.update",
          { "effect_meantime.update.id": "call_7_update_1", "effect_meantime.update.delivery": "when-idle" }
        ],
        ["effect_meantime.committed", {}]
      ])
    })
  )

  it.effect("[E3] a deferred reply leads back to the calls that it covers, and to the turns that started them", () =>
    Effect.gen(function* () {
      const work = Effect.zipRight(RunContext.update("Working."), Effect.sleep("5 seconds"))
      const { all, named, one } = yield* converse(
        {
          agent: agent("travel", { fly: [{}, Effect.as(work, "a")], sleep: [{}, Effect.as(work, "b")] }),
          script: [call("fly"), "On it.", call("sleep"), "On that too.", "Both are done."]
        },
        (session) =>
          Effect.gen(function* () {
            yield* session.send("Fly.")
            yield* TestSession.advance("1 second")
            yield* session.send("Sleep.")
            yield* TestSession.settle
            yield* Effect.scoped(Effect.zipRight(session.claimUserTurn, TestSession.advance("6 seconds")))
            yield* TestSession.settle
          })
      )
      const [first, second, reply] = named("invoke_agent travel") as [
        (typeof all)[number],
        (typeof all)[number],
        (typeof all)[number]
      ]
      expect(reply.attributes["effect_meantime.reply.items"]).toBe("fly_final sleep_final")
      expect(reply.attributes["effect_meantime.reply.status"]).toBe("completed")
      expect(linksOf(reply, all).map(({ id, to }) => [to, id])).toEqual([
        ["call", one("execute_tool fly").spanContext().spanId],
        ["turn", first.spanContext().spanId],
        ["call", one("execute_tool sleep").spanContext().spanId],
        ["turn", second.spanContext().spanId]
      ])
    })
  )

  it.effect("[E3] how a call ended: errors have a type, what was cancelled is no error and says so", () =>
    Effect.gen(function* () {
      class OutOfStock extends Schema.TaggedError<OutOfStock>()("OutOfStock", {}) {}
      const failing = AsyncTool.make("failing", { failure: OutOfStock })
      const failingKit = Toolkit.make(failing)
      const others = kit({
        fine: [{}, Effect.succeed("fine")],
        quiet: [{}, new AsyncTool.StopResponse()],
        refusing: [{}, new AsyncTool.ToolError({ message: "no" })],
        thrown: [{}, Effect.die("a string")],
        wrong: [{}, Effect.die(new RangeError("wrong"))],
        late: [{ timeout: "1 second" }, Effect.never],
        stopped: [{ allowCancellation: true }, Effect.never],
        left: [{ allowCancellation: true, releaseAfter: 0 }, Effect.never]
      })
      const { named, one } = yield* converse(
        {
          agent: Agent.make("clerk", { instructions: "I am clerk.", tools: [failingKit, others.toolkit] }).pipe(
            Agent.provide(others.live),
            Agent.provide(failingKit.toLayer({ failing: () => new OutOfStock() }))
          ),
          script: [
            [
              call("fine"),
              call("quiet"),
              call("refusing"),
              call("thrown"),
              call("wrong"),
              call("late"),
              call("stopped"),
              call("left"),
              toolCall("failing", {}),
              toolCall("fine", { text: 1 }),
              toolCall("invented", {})
            ],
            "Well."
          ]
        },
        (session, close) =>
          Effect.gen(function* () {
            yield* session.send("Do it all.")
            yield* TestSession.advance("2 seconds")
            yield* session.cancelTool("stopped")
            yield* TestSession.settle
            yield* close
          })
      )
      const outcome = (name: string) => {
        const span = one(`execute_tool ${name}`)
        return [status(span), span.attributes["effect_meantime.call.outcome"], span.attributes["error.type"]]
      }
      expect(
        named("execute_tool fine").map(({ attributes, status }) => [
          SpanStatusCode[status.code],
          attributes["effect_meantime.call.outcome"],
          attributes["error.type"]
        ])
      ).toEqual([
        ["OK", "done", undefined],
        ["ERROR", "refused", "invalid_arguments"]
      ])
      expect(outcome("quiet")).toEqual(["OK", "done", undefined])
      expect(outcome("refusing")).toEqual(["ERROR", "failed", "ToolError"])
      expect(outcome("failing")).toEqual(["ERROR", "failed", "OutOfStock"])
      expect(outcome("thrown")).toEqual(["ERROR", "defect", "_OTHER"])
      expect(outcome("wrong")).toEqual(["ERROR", "defect", "RangeError"])
      expect(outcome("late")).toEqual(["ERROR", "timeout", "timeout"])
      expect(outcome("stopped")).toEqual(["OK", "cancelled", undefined])
      expect(outcome("left")).toEqual(["OK", "drained", undefined])
      // the name that the model invented is not one
      expect(outcome("_OTHER")).toEqual(["ERROR", "refused", "unknown_tool"])
      expect(one("execute_tool _OTHER").attributes["gen_ai.tool.name"]).toBe("_OTHER")
      // Effect's own mark of what was interrupted
      expect(one("execute_tool stopped").attributes["status.interrupted"]).toBe(true)
      expect(one("execute_tool stopped").events.at(-1)).toMatchObject({
        name: "effect_meantime.cancellation_requested",
        attributes: { "effect_meantime.cancellation.reason": "cancelled" }
      })
      expect(one("execute_tool left").events.at(-1)?.attributes).toEqual({
        "effect_meantime.cancellation.reason": "drained"
      })
    })
  )

  it.effect("[E3] what was decided of a duplicate is an attribute of its call", () =>
    Effect.gen(function* () {
      const forever = Effect.zipRight(RunContext.update("Working."), Effect.never)
      const custom = kit({ custom: [{ allowCancellation: true }, forever] })
      const { all } = yield* converse(
        {
          agent: agent("clerk", {
            reject: [{ onDuplicate: "reject", allowCancellation: true }, forever],
            replace: [{ onDuplicate: "replace", allowCancellation: true }, forever],
            confirm: [{ onDuplicate: "confirm", allowCancellation: true }, forever],
            join: [{ onDuplicate: "join", allowCancellation: true }, forever]
          }),
          tools: [
            AsyncToolset.make("customs", custom.toolkit).pipe(
              AsyncToolset.provide(
                Layer.merge(
                  custom.live,
                  DuplicatePolicy.make((_, running) =>
                    Effect.succeed(running.length === 0 ? DuplicatePolicy.run : DuplicatePolicy.refuse("No."))
                  )
                )
              )
            )
          ],
          script: [
            ["reject", "replace", "confirm", "join", "custom"].map((name) => call(name)),
            "On it.",
            [
              ...["reject", "replace", "confirm", "join", "custom"].map((name) => call(name, `${name}_again`)),
              toolCall("confirm", { text: "x", confirm_duplicate: true }, { id: "confirm_yes" })
            ],
            "Well."
          ]
        },
        (session) =>
          Effect.gen(function* () {
            yield* session.send("Do it.")
            yield* TestSession.advance("1 second")
            yield* session.send("Do it again.")
            yield* TestSession.advance("1 second")
          })
      )
      const decided = (id: string) => {
        const { attributes } = all.find((span) => span.attributes["gen_ai.tool.call.id"] === id)!
        const { mode, running, verdict } = Object.fromEntries(
          ["mode", "running", "verdict"].map((key) => [key, attributes[`effect_meantime.duplicate.${key}`]])
        )
        return [mode, verdict, running, attributes["effect_meantime.call.outcome"]]
      }
      expect(decided("reject_again")).toEqual(["reject", "refuse", 1, "duplicate"])
      expect(decided("replace")).toEqual([undefined, undefined, undefined, "replaced"])
      expect(decided("replace_again")).toEqual(["replace", "replace", 1, "drained"])
      expect(decided("confirm_again")).toEqual(["confirm", "refuse", 1, "duplicate"])
      expect(decided("confirm_yes")).toEqual(["confirm", "run", 1, "drained"])
      expect(decided("join_again")).toEqual(["join", "join", 1, "drained"])
      expect(decided("custom_again")).toEqual(["custom", "refuse", 1, "duplicate"])
    })
  )

  it.effect("[E3] an interrupted turn and its step say so; a model that fails is an error of both", () =>
    Effect.gen(function* () {
      const { named } = yield* converse(
        {
          agent: agent("talker", {}),
          script: [
            ScriptedModel.text("one two three", { pace: "1 second" }),
            ["Half", ScriptedModel.fail("overloaded")],
            "Fine."
          ]
        },
        (session) =>
          Effect.gen(function* () {
            yield* session.send("Talk.")
            yield* TestSession.advance("2 seconds")
            yield* session.send("Go on.")
            yield* TestSession.advance("1 second")
            yield* session.send("And?")
            yield* TestSession.advance("1 second")
          })
      )
      const ends = (name: string) =>
        named(name).map((span) => [duration(span), status(span), span.attributes["error.type"]])
      expect(ends("chat")).toEqual([
        [2, "OK", undefined],
        [0, "ERROR", "UnknownError"],
        [0, "OK", undefined]
      ])
      expect(ends("invoke_agent talker")).toEqual([
        [2, "OK", undefined],
        [0, "ERROR", "UnknownError"],
        [0, "OK", undefined]
      ])
      expect(named("chat")[0]?.attributes["effect_meantime.step.interrupted"]).toBe(true)
      expect(named("invoke_agent talker")[0]?.attributes["effect_meantime.turn.interrupted"]).toBe(true)
      expect(named("chat")[1]?.events.at(-1)?.attributes).toMatchObject({ "exception.message": "The model failed." })
    })
  )

  it.effect("[E3] the turns of a task belong to the call that runs it", () =>
    Effect.gen(function* () {
      const GetEmail = Agent.task("get_email", {
        instructions: "Ask.",
        result: Schema.Struct({ email: Schema.String }),
        onEnter: AgentSession.generateReply()
      })
      const ask = RunContext.foreground(RunContext.runTask(GetEmail)).pipe(
        Effect.catchTag("SessionClosed", () => new AsyncTool.StopResponse())
      )
      const { named, parent, one, all } = yield* converse(
        {
          agent: agent("travel", { book: [{}, ask] }),
          script: [call("book"), "Which address?", toolCall("complete", { email: "a@b.c" }), "Thanks."]
        },
        (session) =>
          Effect.gen(function* () {
            yield* session.send("Book.")
            yield* TestSession.advance("1 second")
            yield* session.send("a@b.c")
            yield* TestSession.advance("1 second")
          })
      )
      expect(named("invoke_agent get_email").map((span) => parentOf(span, all)?.name)).toEqual([
        "execute_tool book",
        "execute_tool book"
      ])
      expect(parent("execute_tool complete")).toBe("invoke_agent get_email")
      expect(one("effect_meantime.session").events.map(({ attributes }) => attributes)).toEqual([
        { "effect_meantime.handoff.from": "travel", "effect_meantime.handoff.to": "get_email" },
        { "effect_meantime.handoff.from": "get_email", "effect_meantime.handoff.to": "travel" }
      ])
    })
  )

  it.effect("[E3] each turn is a trace of its own where that is asked for, with a link to the session", () =>
    Effect.gen(function* () {
      const { all, named, one } = yield* converse(
        {
          agent: agent("travel", { book: [{}, book] }),
          script: [call("book"), "On it.", "Found.", "Booked."],
          layers: Telemetry.layer({ trace: "turn" })
        },
        (session) => Effect.zipRight(session.send("Book."), TestSession.advance("20 seconds"))
      )
      const session = one("effect_meantime.session")
      const turns = named("invoke_agent travel")
      expect(turns.map((turn) => turn.parentSpanContext)).toEqual([undefined, undefined, undefined])
      expect(new Set([session, ...turns].map((span) => span.spanContext().traceId)).size).toBe(4)
      for (const turn of turns) expect(linksOf(turn, all).map(({ span }) => span)).toContain(session.name)
      expect(linksOf(turns[2]!, all).map(({ span }) => span)).toContain("execute_tool book")
      expect(one("execute_tool book").spanContext().traceId).toBe(turns[0]?.spanContext().traceId)
    })
  )

  it.effect("[E3] a session is a part of what surrounds it: the parent span, annotations, and its scope", () => {
    const otel = recorder()
    return Effect.gen(function* () {
      const spans = yield* Effect.gen(function* () {
        const inside = Effect.withSpan(Effect.void, "connect")
        const { close, session } = yield* TestSession.make({
          agent: agent("travel", { look: [{}, Effect.succeed("seen")] }).pipe(
            Agent.provide(Layer.scopedDiscard(inside))
          )
        })
        yield* session.send("Look.")
        yield* TestSession.settle
        yield* close
      }).pipe(
        Effect.scoped,
        Effect.annotateSpans("tenant", "blue"),
        Effect.withSpan("request"),
        Effect.andThen(() => otel.spans())
      )
      const one = (name: string) => spans.find((span) => span.name === name)!
      expect(parentOf(one("effect_meantime.session"), spans)).toBe(one("request"))
      expect(parentOf(one("connect"), spans)).toBe(one("effect_meantime.session"))
      for (const name of ["effect_meantime.session", "invoke_agent travel", "chat", "execute_tool look"]) {
        expect(one(name).attributes.tenant).toBe("blue")
      }
    }).pipe(Effect.provide([ScriptedModel.layer([call("look"), "Seen."]), silent]), Effect.provide(otel.layer))
  })

  it.effect("[E3] what is played, and a duplicate policy, work inside the spans that they belong to", () =>
    Effect.gen(function* () {
      const { live, toolkit } = kit({ look: [{}, Effect.succeed("seen")] })
      const player: AgentOutput.Service = {
        play: (text, played) => Effect.withSpan(Stream.runForEach(text, played), "speak")
      }
      const policy = DuplicatePolicy.make(() => Effect.withSpan(Effect.succeed(DuplicatePolicy.run), "decide"))
      const { parent } = yield* converse(
        {
          agent: Agent.make("travel", { instructions: "I am travel.", tools: [toolkit] }).pipe(
            Agent.provide(
              Layer.mergeAll(live, policy, Layer.succeed(AgentOutput.AgentOutput, player) as Layer.Layer<never>)
            )
          ),
          script: [call("look"), "Seen."]
        },
        (session) => Effect.zipRight(session.send("Look."), TestSession.settle)
      )
      expect(parent("speak")).toBe("invoke_agent travel")
      expect(parent("decide")).toBe("execute_tool look")
    })
  )
})

describe("spans and the end of a session", () => {
  it.effect("[E3] [S2] spans end with the session, also of a call that is given up on", () =>
    Effect.gen(function* () {
      const { all, one } = yield* converse(
        {
          agent: agent("stubborn", {
            stuck: [{ allowCancellation: true, releaseAfter: 0 }, Effect.uninterruptible(Effect.never)],
            inline: [{ allowCancellation: true }, Effect.never]
          }),
          script: [[call("stuck"), call("inline")]]
        },
        (session, close) =>
          Effect.gen(function* () {
            yield* session.send("Go.")
            yield* TestSession.advance("1 second")
            yield* close
          })
      )
      expect(all.map((span) => span.name)).toEqual([
        "effect_meantime.session",
        "invoke_agent stubborn",
        "chat",
        "LanguageModel.streamText",
        "execute_tool stuck",
        "execute_tool inline"
      ])
      expect(duration(one("execute_tool stuck"))).toBe(61)
      expect(one("execute_tool stuck").attributes["effect_meantime.call.outcome"]).toBe("drained")
      expect(one("execute_tool inline").attributes["effect_meantime.call.outcome"]).toBe("drained")
      expect(duration(one("effect_meantime.session"))).toBe(61)
    })
  )

  it.effect("[E3] a session that could not be built ends its span", () => {
    const otel = recorder()
    return Effect.gen(function* () {
      const broken = agent("broken", {}).pipe(Agent.provide(Layer.effectDiscard(Effect.die("no database"))))
      const exit = yield* Effect.exit(Effect.scoped(AgentSession.make({ agent: broken })))
      expect(Exit.isFailure(exit)).toBe(true)
      expect(otel.spans().map((span) => span.name)).toEqual(["effect_meantime.session"])
    }).pipe(Effect.provide([ScriptedModel.layer([]), silent]), Effect.provide(otel.layer))
  })
})

/** A tracer that counts what is open, and can throw. */
const counting = (fail: () => boolean = () => false) => {
  const made: Array<WeakRef<Tracer.Span>> = []
  let open = 0
  const tracer = Tracer.make({
    span: (name, parent, context, links, startTime, kind) => {
      if (fail()) throw new Error("the exporter is broken")
      open++
      const span: Tracer.Span = {
        _tag: "Span",
        name,
        spanId: String(made.length),
        traceId: "trace",
        parent,
        context,
        status: { _tag: "Started", startTime },
        attributes: new Map(),
        links,
        sampled: true,
        kind,
        end: () => void open--,
        attribute: () => {},
        event: () => {},
        addLinks: () => {}
      }
      made.push(new WeakRef(span))
      return span
    },
    context: (f) => f()
  })
  return { layer: Layer.setTracer(tracer), made, open: () => open }
}

describe("the cost", () => {
  it.scoped("[E3] without a tracer there are no spans", () =>
    Effect.gen(function* () {
      const seen: Array<boolean> = []
      const look = Effect.map(Effect.option(Effect.currentSpan), (span) => void seen.push(Option.isSome(span)))
      const { session } = yield* TestSession.make({ agent: agent("travel", { look: [{}, look] }) })
      yield* session.send("Look.")
      yield* TestSession.settle
      expect(seen).toEqual([false])
    }).pipe(Effect.provide(ScriptedModel.layer([call("look"), "Seen."])))
  )

  it.scoped("[E3] nor where tracing is switched off", () => {
    const { layer, made } = counting()
    return Effect.gen(function* () {
      const { session } = yield* TestSession.make({ agent: agent("travel", {}) })
      yield* session.send("Hello.")
      yield* TestSession.settle
      expect(made).toHaveLength(0)
    }).pipe(Effect.withTracerEnabled(false), Effect.provide([ScriptedModel.layer(["Hello."]), layer]))
  })

  it.scoped("[E3] nothing is kept of calls that have ended", () => {
    const { layer, made, open } = counting()
    setFlagsFromString("--expose_gc")
    const gc: () => void = runInNewContext("gc")
    return Effect.gen(function* () {
      const work = Effect.zipRight(RunContext.update("Working."), Effect.as(Effect.sleep("1 second"), "done"))
      const { close, session } = yield* TestSession.make({ agent: agent("worker", { work: [{}, work] }) })
      for (let i = 0; i < 20; i++) {
        yield* session.send("Work.")
        yield* TestSession.advance("2 seconds")
      }
      // the session's own
      expect(open()).toBe(1)
      yield* Effect.promise(() => new Promise<void>((resume) => setImmediate(resume)))
      gc()
      const alive = made.filter((span) => span.deref() !== undefined).length
      expect(made.length).toBeGreaterThan(150)
      expect(alive).toBeLessThan(30)
      yield* close
      expect(open()).toBe(0)
    }).pipe(
      Effect.provide([
        ScriptedModel.layer((request) =>
          ScriptedModel.lastUserText(request) === "Work." ? call("work", `c${request.index}`) : "Fine."
        ),
        layer,
        silent
      ])
    )
  })

  it.scoped("[E3] a tracer that throws is told of once, and the conversation goes on", () => {
    const { layer } = counting(() => true)
    const lines: Array<string> = []
    const logger = Logger.make(({ message }) => void lines.push([message].flat().map(String).join(" ")))
    return Effect.gen(function* () {
      const { session } = yield* TestSession.make({ agent: agent("travel", { look: [{}, Effect.succeed("seen")] }) })
      yield* session.send("Look.")
      yield* TestSession.settle
      expect(yield* TestSession.said(session)).toEqual(["Seen."])
      expect(lines.filter((line) => line.startsWith("Telemetry failed"))).toHaveLength(1)
    }).pipe(
      Effect.provide([
        Layer.succeed(SessionModel.SessionModel, {
          stream: ({ prompt }) =>
            Stream.fromIterable<Response.StreamPartEncoded>(
              prompt.content.at(-1)?.role === "user"
                ? [{ type: "tool-call", id: "c", name: "look", params: { text: "x" } }]
                : [
                    { type: "text-start", id: "t" },
                    { type: "text-delta", id: "t", delta: "Seen." },
                    { type: "text-end", id: "t" }
                  ]
            )
        }),
        ScriptedModel.layer([]),
        Logger.replace(Logger.defaultLogger, logger),
        layer
      ])
    )
  })
})

const secret = "a-secret-of-the-user"

const confidential = (layers: Layer.Layer<never>) =>
  converse(
    {
      agent: agent("secretary", {
        note: [
          {},
          Effect.zipRight(
            RunContext.update(`Noted ${secret}.`),
            Effect.zipRight(Effect.sleep("1 second"), Effect.succeed({ noted: secret }))
          )
        ],
        failing: [{}, new AsyncTool.ToolError({ message: secret })],
        broken: [{}, Effect.die(new Error(secret, { cause: new Error(secret) }))]
      }),
      script: [
        [
          ScriptedModel.reasoning(secret),
          call("note", "note", secret),
          call("failing", "failing", secret),
          call("broken", "broken", secret),
          toolCall(secret, { secret })
        ],
        `You said ${secret}.`,
        `It is noted: ${secret}.`,
        ScriptedModel.fail(
          new AiError.UnknownError({ module: "model", method: "streamText", description: secret, cause: secret })
        )
      ],
      layers
    },
    (session) =>
      Effect.gen(function* () {
        yield* session.send(secret)
        yield* TestSession.advance("2 seconds")
        yield* session.send(secret)
        yield* TestSession.advance("2 seconds")
      })
  )

describe("contents", () => {
  it.effect("[E3] nothing of what is said, asked and returned is recorded by default", () =>
    Effect.gen(function* () {
      const { all, one } = yield* confidential(Layer.empty)
      // what @effect/ai records of its own is its own
      const ours = all.filter((span) => span.name !== "LanguageModel.streamText")
      expect(ours.length).toBeGreaterThan(8)
      for (const span of ours) expect(everything(span)).not.toContain(secret)
      expect(everything(one("effect_meantime.session"))).not.toContain("I am secretary")
      expect(one("execute_tool broken").events.map(({ attributes, name }) => [name, attributes])).toEqual([
        [
          "exception",
          {
            "exception.type": "Error",
            "exception.message": "The tool failed unexpectedly.",
            "exception.stacktrace": "Error: The tool failed unexpectedly."
          }
        ]
      ])
    })
  )

  it.effect("[B2, B3, E3] files are told by their types, and never by their data, where contents are recorded", () =>
    Effect.gen(function* () {
      const Draw = AsyncTool.make("draw", { success: Schema.String })
      const kit = Toolkit.make(Draw)
      const live = kit.toLayer({
        draw: () =>
          Effect.gen(function* () {
            yield* RunContext.update(AsyncTool.content("At it.", [Files.picture]))
            yield* Effect.sleep("1 second")
            return AsyncTool.content("Drawn.", [Files.paper])
          })
      })
      const sent = ScriptedModel.part({ type: "file", data: Files.gif, mediaType: "image/gif" } as never)
      const { all, named } = yield* converse(
        {
          agent: Agent.make("artist", { instructions: "Draw.", tools: [kit] }).pipe(Agent.provide(live)),
          script: [ScriptedModel.toolCall("draw"), ["On it.", sent], "Done.", "Yes."],
          layers: Telemetry.layer({ recordContent: true })
        },
        (session) =>
          Effect.gen(function* () {
            yield* session.send({ text: "Draw", files: [Files.picture] })
            yield* TestSession.advance("5 seconds")
            yield* session.send("Like it?")
            yield* TestSession.advance("5 seconds")
          })
      )
      const ours = all.filter((span) => span.name !== "LanguageModel.streamText")
      for (const data of [Files.png, Files.gif, Files.pdf]) {
        for (const span of ours) expect(everything(span)).not.toContain(data.slice(0, 20))
      }
      const [first, second, , last] = named("chat")
      const json = (span: (typeof first & {}) | undefined, attribute: string) =>
        JSON.parse(String(span?.attributes[attribute]))
      expect(json(first, SemConv.ATTR_GEN_AI_INPUT_MESSAGES)).toEqual([
        {
          role: "user",
          parts: [
            { type: "text", content: "Draw" },
            { type: "file", mime_type: "image/png" }
          ]
        }
      ])
      expect(json(second, SemConv.ATTR_GEN_AI_OUTPUT_MESSAGES)[0].parts.at(-1)).toEqual({
        type: "file",
        mime_type: "image/gif"
      })
      const shown = JSON.stringify(json(last, SemConv.ATTR_GEN_AI_INPUT_MESSAGES))
      for (const type of ["image/png", "image/gif", "application/pdf"]) {
        expect(shown).toContain(`{"type":"file","mime_type":"${type}"}`)
      }
    })
  )

  it.effect("[E3] all of it is, in the form of the conventions, where that is switched on", () =>
    Effect.gen(function* () {
      const { named, one } = yield* confidential(Telemetry.layer({ recordContent: true }))
      const [first, second] = named("chat")
      const json = (span: (typeof first & {}) | undefined, attribute: string) =>
        JSON.parse(String(span?.attributes[attribute]))
      expect(json(first, SemConv.ATTR_GEN_AI_SYSTEM_INSTRUCTIONS)).toEqual([
        { type: "text", content: "I am secretary." }
      ])
      expect(json(first, SemConv.ATTR_GEN_AI_INPUT_MESSAGES)).toEqual([
        { role: "user", parts: [{ type: "text", content: secret }] }
      ])
      expect(json(first, SemConv.ATTR_GEN_AI_OUTPUT_MESSAGES)).toEqual([
        {
          role: "assistant",
          parts: [
            { type: "reasoning", content: secret },
            { type: "tool_call", id: "note", name: "note", arguments: { text: secret } },
            { type: "tool_call", id: "failing", name: "failing", arguments: { text: secret } },
            { type: "tool_call", id: "broken", name: "broken", arguments: { text: secret } },
            { type: "tool_call", id: expect.any(String), name: secret, arguments: { secret } }
          ],
          // @effect/ai drops what comes behind a call of an unknown tool
          finish_reason: "unknown"
        }
      ])
      const messages = json(second, SemConv.ATTR_GEN_AI_INPUT_MESSAGES)
      expect(messages.at(-1)).toMatchObject({ role: "tool" })
      expect(messages.at(-1).parts[0]).toEqual({
        type: "tool_call_response",
        id: "note",
        response: expect.stringContaining(secret)
      })
      expect(json(second, SemConv.ATTR_GEN_AI_OUTPUT_MESSAGES)[0].parts).toEqual([
        { type: "text", content: `You said ${secret}.` }
      ])
      const note = one("execute_tool note")
      expect(json(note, SemConv.ATTR_GEN_AI_TOOL_CALL_ARGUMENTS)).toEqual({ text: secret })
      expect(json(note, SemConv.ATTR_GEN_AI_TOOL_CALL_RESULT)).toEqual({ noted: secret })
      expect(note.events[0]?.attributes?.["effect_meantime.update.message"]).toBe(`Noted ${secret}.`)
      expect(one("execute_tool failing").events[0]?.attributes?.["exception.message"]).toBe(secret)
      expect(one("execute_tool broken").events[0]?.attributes?.["exception.message"]).toBe(secret)
      expect(everything(named("chat").at(-1)!)).toContain(secret)
    })
  )

  it.effect("[E3] [L2] the more specific scope decides: an agent, a toolset", () =>
    Effect.gen(function* () {
      const inner = kit({ vault: [{}, Effect.succeed(secret)], tell: [{}, Effect.succeed(secret)] })
      const vault = kit({ vault: [{}, Effect.succeed(secret)] })
      const { one } = yield* converse(
        {
          agent: Agent.make("teller", {
            instructions: "I am teller.",
            tools: [
              inner.toolkit,
              AsyncToolset.make("vaults", vault.toolkit).pipe(
                AsyncToolset.provide(Layer.merge(vault.live, Telemetry.layer({ recordContent: false })))
              )
            ]
          }).pipe(Agent.provide(Layer.merge(inner.live, Telemetry.layer({ recordContent: true })))),
          script: [[call("tell"), call("vault")], "Fine."]
        },
        (session) => Effect.zipRight(session.send("Hello."), TestSession.settle)
      )
      expect(one("execute_tool tell").attributes[SemConv.ATTR_GEN_AI_TOOL_CALL_RESULT]).toBe(secret)
      expect(everything(one("execute_tool vault"))).not.toContain(secret)
    })
  )
})

describe("metrics", () => {
  it.effect("[E3] [K1] calls, updates, replies, cancellations, duplicates, and exact times", () =>
    Effect.gen(function* () {
      const { points } = yield* converse(
        {
          agent: agent(
            "meter",
            {
              m_work: [
                {},
                Effect.gen(function* () {
                  yield* Effect.sleep("2 seconds")
                  yield* RunContext.update("Started.")
                  yield* Effect.sleep("4 seconds")
                  yield* RunContext.update("Half.")
                  yield* RunContext.update("Listed.", { delivery: "silent" })
                  yield* Effect.sleep("4 seconds")
                  return "Done."
                })
              ],
              m_once: [{ onDuplicate: "reject" }, Effect.sleep("1 second")],
              m_queued: [{}, Effect.as(Effect.sleep("3 seconds"), "ok")],
              m_stop: [{ allowCancellation: true }, Effect.never],
              m_late: [{ timeout: "1 second" }, Effect.never]
            },
            { maxConcurrency: 4 }
          ),
          script: [
            [
              call("m_once", "o1"),
              call("m_once", "o2"),
              call("m_stop"),
              call("m_work"),
              call("m_late"),
              call("m_queued")
            ],
            "On it.",
            "Half.",
            ScriptedModel.text("All done.", { chunks: ["All", " done."] })
          ],
          layers: Telemetry.layer({ provider: "meters" })
        },
        (session) =>
          Effect.gen(function* () {
            yield* session.send("Go.")
            yield* TestSession.advance("4 seconds")
            yield* session.cancelTool("m_stop")
            yield* TestSession.advance("4 seconds")
            // the user speaks while the result comes in: the reply waits
            yield* Effect.scoped(Effect.zipRight(session.claimUserTurn, TestSession.advance("5 seconds")))
            yield* TestSession.settle
          })
      )
      const tool = (name: string) => ({ "gen_ai.tool.name": name })
      const read = (metric: string, attributes: Record<string, string>) =>
        points(metric, attributes).map(({ attributes: all, count, sum, value }) => {
          const rest = Object.fromEntries(Object.entries(all).filter(([key]) => !(key in attributes)))
          return Number.isNaN(count) ? [rest, value] : [rest, count, sum]
        })
      const outcome = (outcome: string) => ({ "effect_meantime.call.outcome": outcome })

      expect(read("effect_meantime.tool.calls", tool("m_work"))).toEqual([[outcome("done"), 1]])
      expect(read("gen_ai.execute_tool.duration", tool("m_work"))).toEqual([[outcome("done"), 1, 10]])
      expect(read("effect_meantime.tool.time_to_first_update", tool("m_work"))).toEqual([[{}, 1, 2]])
      expect(read("effect_meantime.tool.updates", tool("m_work"))).toEqual([[{}, 3]])
      // the result came at 10 s, the user spoke until 13 s
      expect(read("effect_meantime.tool.time_from_result_to_reply", tool("m_work"))).toEqual([[{}, 1, 3]])
      expect(read("effect_meantime.tool.deliveries", tool("m_work"))).toEqual([
        [{ "effect_meantime.delivery.kind": "update", "effect_meantime.delivery.outcome": "silent" }, 1],
        [{ "effect_meantime.delivery.kind": "update", "effect_meantime.delivery.outcome": "completed" }, 1],
        [{ "effect_meantime.delivery.kind": "result", "effect_meantime.delivery.outcome": "completed" }, 1]
      ])
      expect(read("effect_meantime.tool.calls", tool("m_once"))).toEqual([
        [outcome("duplicate"), 1],
        [outcome("done"), 1]
      ])
      expect(read("effect_meantime.tool.duplicates", tool("m_once"))).toEqual([
        [{ "effect_meantime.duplicate.mode": "reject", "effect_meantime.duplicate.verdict": "refuse" }, 1]
      ])
      // four are at work; the first of them ends after a second
      expect(read("effect_meantime.tool.queue_time", tool("m_queued"))).toEqual([[{}, 1, 1]])
      expect(read("gen_ai.execute_tool.duration", tool("m_queued"))).toEqual([[outcome("done"), 1, 4]])
      expect(read("effect_meantime.tool.cancellations", tool("m_stop"))).toEqual([
        [{ "effect_meantime.cancellation.reason": "cancelled" }, 1]
      ])
      expect(read("gen_ai.execute_tool.duration", tool("m_stop"))).toEqual([[outcome("cancelled"), 1, 4]])
      expect(read("gen_ai.execute_tool.duration", tool("m_late"))).toEqual([
        [{ ...outcome("timeout"), "error.type": "timeout" }, 1, 1]
      ])
      const meters = { "gen_ai.provider.name": "meters" }
      const chat = { "gen_ai.operation.name": "chat" }
      expect(read(SemConv.METRIC_GEN_AI_CLIENT_OPERATION_DURATION, meters)).toEqual([[chat, 4, 0]])
      expect(read("gen_ai.invoke_agent.duration", { "gen_ai.agent.name": "meter" })).toEqual([[{}, 3, 4]])
    })
  )

  it.effect("[E3] model steps: duration, time to the first chunk, tokens, errors", () =>
    Effect.gen(function* () {
      const { points } = yield* converse(
        {
          agent: agent("talker", {}),
          script: [
            [
              ScriptedModel.wait("2 seconds"),
              "Hello.",
              ScriptedModel.wait("1 second"),
              ScriptedModel.finish("stop", { inputTokens: 100, outputTokens: 7 })
            ],
            ScriptedModel.fail("overloaded")
          ],
          layers: Telemetry.layer({ provider: "tokens", model: "small" })
        },
        (session) =>
          Effect.gen(function* () {
            yield* session.send("Hello.")
            yield* TestSession.advance("5 seconds")
            yield* session.send("Hello?")
            yield* TestSession.advance("1 second")
          })
      )
      const ours = {
        "gen_ai.provider.name": "tokens",
        "gen_ai.request.model": "small",
        "gen_ai.operation.name": "chat"
      }
      const [ok, failed] = points(SemConv.METRIC_GEN_AI_CLIENT_OPERATION_DURATION, ours)
      expect(ok).toMatchObject({ unit: "s", count: 1, sum: 3, attributes: ours })
      expect(failed).toMatchObject({ count: 1, attributes: { ...ours, "error.type": "UnknownError" } })
      const [first] = points(SemConv.METRIC_GEN_AI_CLIENT_OPERATION_TIME_TO_FIRST_CHUNK, ours)
      expect(first).toMatchObject({ unit: "s", count: 1, sum: 2 })
      const tokens = points(SemConv.METRIC_GEN_AI_CLIENT_TOKEN_USAGE, ours)
      expect(
        tokens.map(({ attributes, sum, unit }) => [attributes[SemConv.ATTR_GEN_AI_TOKEN_TYPE], sum, unit])
      ).toEqual([
        ["input", 100, "{token}"],
        ["output", 7, "{token}"]
      ])
    })
  )

  it.effect("[E3] updates that are dropped, and replies by status", () =>
    Effect.gen(function* () {
      const chatty = Effect.gen(function* () {
        yield* RunContext.update("Starting.")
        yield* Effect.forEach([1, 2, 3, 4, 5], (n) => RunContext.update(n))
        return yield* Effect.as(Effect.sleep("1 second"), "Done.")
      })
      const skipped = (points: ReadonlyArray<Point>) => points[0]?.value ?? 0
      const talk = Effect.suspend(() =>
        converse(
          {
            agent: agent("chatter", { m_chatty: [{}, chatty] }),
            maxPendingUpdates: 2,
            script: [[call("m_chatty"), ScriptedModel.wait("2 seconds")], "On it.", []]
          },
          (session) => Effect.zipRight(session.send("Go."), TestSession.advance("5 seconds"))
        )
      )
      const first = yield* talk
      const kind = (kind: string, outcome: string) => ({
        "effect_meantime.delivery.kind": kind,
        "effect_meantime.delivery.outcome": outcome
      })
      expect(
        first
          .points("effect_meantime.tool.deliveries", { "gen_ai.tool.name": "m_chatty" })
          .map(({ attributes, value }) => [attributes, value])
      ).toEqual([
        [{ "gen_ai.tool.name": "m_chatty", ...kind("update", "dropped") }, 3],
        [{ "gen_ai.tool.name": "m_chatty", ...kind("update", "skipped") }, 2],
        [{ "gen_ai.tool.name": "m_chatty", ...kind("result", "skipped") }, 1]
      ])
      // nothing was said of the result
      expect(
        first.points("effect_meantime.tool.time_from_result_to_reply", { "gen_ai.tool.name": "m_chatty" })
      ).toEqual([])
      const second = yield* talk
      const replies = (recorded: typeof first) =>
        skipped(recorded.points("effect_meantime.replies", { "effect_meantime.reply.status": "skipped" }))
      expect(replies(second) - replies(first)).toBe(1)
    })
  )

  it.effect("[E3] [G3] messages to a running call, and those that nobody has read", () =>
    Effect.gen(function* () {
      const wait = Effect.zipRight(RunContext.update("Searching."), Effect.as(Effect.sleep("10 seconds"), "Done."))
      const told = (recordContent: boolean) =>
        converse(
          {
            agent: agent("teller", { m_told: [{ messages: true }, wait] }),
            script: ({ index }) =>
              index === 0
                ? call("m_told", "a")
                : index === 2
                  ? toolCall("message_task", { call_id: "a", message: "by the model" })
                  : "ok",
            layers: Telemetry.layer({ recordContent })
          },
          (session) =>
            Effect.gen(function* () {
              yield* session.send("Go.")
              yield* TestSession.advance("1 second")
              yield* session.messageTool("a", { by: "the program" })
              yield* session.send("Tell it.")
              yield* TestSession.advance("20 seconds")
            })
        )
      const { all, points } = yield* told(true)
      const eventsOf = (spans: typeof all) =>
        spans
          .find((span) => span.name === "execute_tool m_told")
          ?.events.map(({ attributes, name }) => [name, attributes])
          .filter(([name]) => String(name).includes("message"))
      expect(eventsOf(all)).toEqual([
        [
          "effect_meantime.message",
          { "effect_meantime.message.from": "program", "effect_meantime.message.content": '{"by":"the program"}' }
        ],
        [
          "effect_meantime.message",
          { "effect_meantime.message.from": "model", "effect_meantime.message.content": "by the model" }
        ],
        ["effect_meantime.messages_lost", { "effect_meantime.message.count": 2 }]
      ])
      const read = (metric: string) =>
        points(metric, { "gen_ai.tool.name": "m_told" }).map(({ attributes, value }) => [
          attributes["effect_meantime.message.from"],
          value
        ])
      expect(read("effect_meantime.tool.messages")).toEqual([
        ["program", 1],
        ["model", 1]
      ])
      expect(read("effect_meantime.tool.messages_lost")).toEqual([[undefined, 2]])
      expect(eventsOf((yield* told(false)).all)?.map(([, attributes]) => attributes)).toEqual([
        { "effect_meantime.message.from": "program" },
        { "effect_meantime.message.from": "model" },
        { "effect_meantime.message.count": 2 }
      ])
    })
  )

  it.effect("[E3] labels that surround the session are on its metrics", () =>
    Effect.gen(function* () {
      const { points } = yield* converse({ agent: agent("labelled", {}), script: ["Hello."] }, (session) =>
        Effect.zipRight(session.send("Hello."), TestSession.settle)
      ).pipe(Effect.tagMetrics("tenant", "blue"))
      const [point] = points("gen_ai.invoke_agent.duration", { "gen_ai.agent.name": "labelled" })
      expect(point?.attributes).toEqual({ "gen_ai.agent.name": "labelled", tenant: "blue" })
    })
  )
})

describe("the page", () => {
  it.effect("[E3] names every attribute, event and metric", () =>
    Effect.gen(function* () {
      const page = readFileSync(new URL("../docs/telemetry.md", import.meta.url), "utf8")
      const { all } = yield* converse(
        {
          agent: agent("travel", {
            book: [{}, book],
            lookup: [{ onDuplicate: "join" }, Effect.as(Effect.sleep("2 seconds"), "found")],
            slow: [{ timeout: "3 seconds" }, Effect.never],
            broken: [{}, Effect.die("no")],
            told: [{ messages: true }, Effect.as(Effect.sleep("2 seconds"), "done")]
          }),
          script: [
            [
              call("book"),
              ScriptedModel.finish("tool-calls", { inputTokens: 1, outputTokens: 1, cachedInputTokens: 1 })
            ],
            "On it.",
            [call("lookup", "a"), call("lookup", "b"), call("slow"), call("broken"), call("told")],
            "Found one.",
            "It is booked."
          ],
          layers: Telemetry.layer({ recordContent: true })
        },
        (session) =>
          Effect.gen(function* () {
            yield* session.send("Book.")
            yield* TestSession.advance("1 second")
            yield* session.send("Look.")
            yield* TestSession.settle
            yield* session.messageTool("told", "Hurry.")
            yield* TestSession.advance("20 seconds")
          })
      )
      const ours = (name: string) => /^(effect_meantime|gen_ai|error)\./.test(name)
      const spans = all.filter((span) => span.name !== "LanguageModel.streamText")
      const attributes = spans.flatMap((span) => [
        ...Object.keys(span.attributes),
        ...span.events.flatMap((event) => [event.name])
      ])
      const metrics = Metric.unsafeSnapshot().map(({ metricKey }) => metricKey.name)
      expect(new Set(attributes.filter(ours)).size).toBeGreaterThan(30)
      for (const name of new Set([...attributes, ...metrics].filter(ours))) {
        // in full, or by its ending behind one of its kind
        const parts = name.split(".")
        const endings = parts.map((_, i) => `\`.${parts.slice(i).join(".")}\``)
        expect(page.includes(`\`${name}\``) || endings.some((ending) => page.includes(ending)), name).toBe(true)
      }
    })
  )
})

describe("approval", () => {
  it.scoped("[E3] [A6] the wait is a span of its own, and is counted with what was decided", () =>
    Effect.gen(function* () {
      const careful = { needsApproval: true, approvalTimeout: "1 hour" } as const
      const t = yield* converse(
        {
          agent: agent("clerk", { pay: [careful, Effect.succeed("paid")], send: [careful, Effect.succeed("sent")] }),
          script: [[call("pay", "p"), call("pay", "q"), call("send", "s")], "They wait.", "Paid.", "Not sent."]
        },
        (session) =>
          Effect.gen(function* () {
            yield* session.send("Go")
            yield* TestSession.advance("10 minutes")
            yield* session.approve("p", { arguments: { text: "y" } })
            yield* session.cancelTool("q")
            yield* TestSession.advance("1 hour")
          })
      )
      const waits = t.all.filter((span) => span.name.startsWith("approve_tool "))
      expect(
        waits.map((span) => [span.name, span.attributes["effect_meantime.approval.decision"], duration(span)])
      ).toEqual([
        ["approve_tool pay", "edited", 600],
        ["approve_tool pay", "withdrawn", 600],
        ["approve_tool send", "expired", 3600]
      ])
      for (const span of waits) expect(parentOf(span, t.all)?.name).toBe(span.name.replace("approve", "execute"))
      expect(t.one("execute_tool send").attributes).toMatchObject({
        "effect_meantime.call.outcome": "expired",
        "error.type": "expired"
      })
      const counted = (tool: string, decision: string) =>
        t.points("effect_meantime.tool.approvals", {
          "gen_ai.tool.name": tool,
          "effect_meantime.approval.decision": decision
        }).length
      expect([counted("pay", "edited"), counted("pay", "withdrawn"), counted("send", "expired")]).toEqual([1, 1, 1])
      expect(counted("send", "approved")).toBe(0)
    })
  )
})
