/**
 * The requests that sessions make of Google, Bedrock and OpenRouter, with the real packages in the only set of versions
 * in which they install. Time is real; nothing in here waits for a certain time.
 */
import assert from "node:assert/strict"
import { describe, it } from "node:test"
import { Toolkit } from "@effect/ai"
import { Deferred, Effect, Schema, type Scope, Stream } from "effect"
import { Agent, AgentSession, AsyncTool, RunContext, type SessionEvent } from "effect-meantime"
import * as Wire from "./wire.js"

const Book = AsyncTool.make("book", {
  description: "Books a flight.",
  parameters: { to: Schema.String, seats: Schema.optional(Schema.Number) },
  success: Schema.String,
  onDuplicate: "confirm",
  allowCancellation: true
})
const Pick = AsyncTool.make("pick", { description: "Picks a seat.", success: Schema.String })
const Both = Toolkit.make(Book, Pick)
const Booker = Agent.make("booker", {
  instructions: "You book flights.",
  tools: [Both],
  onEnter: AgentSession.say("Welcome.")
})

/** Waits for a number of events of a kind. */
const watch = (
  session: AgentSession.Service
): Effect.Effect<(tag: string, count?: number) => Effect.Effect<void>, never, Scope.Scope> =>
  Effect.gen(function* () {
    const events: Array<SessionEvent.SessionEvent> = []
    const waiting = new Set<() => void>()
    yield* session.events.pipe(
      Stream.runForEach((event) =>
        Effect.sync(() => {
          events.push(event)
          for (const look of waiting) look()
        })
      ),
      Effect.forkScoped
    )
    yield* Effect.yieldNow()
    return (tag, count = 1) =>
      Effect.async<void>((resume) => {
        const look = () => {
          if (events.filter((event) => event._tag === tag).length < count) return
          waiting.delete(look)
          resume(Effect.void)
        }
        waiting.add(look)
        look()
      })
  })

/** The whole conversation: a call in the background beside one that answers at once, an update, a result, thanks. */
const conversation = (provider: Wire.Provider) =>
  Effect.gen(function* () {
    const [found, done] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
    const { layer, requests } = Wire.make(provider, [
      [
        { thought: "Two things.", signature: "c2lnLTE=" },
        { call: "pick", args: {}, id: "c1", signature: "c2lnLTI=" },
        { call: "book", args: { to: "Oslo", seats: null, confirm_duplicate: null }, id: "c2" }
      ],
      [{ text: "I am on it." }],
      [{ text: "KLM has one." }],
      [{ text: "It is booked." }],
      [{ text: "You are welcome." }]
    ])
    const seen: Array<unknown> = []
    const BothLive = Both.toLayer({
      pick: () => Effect.succeed("12A"),
      book: (params) =>
        Effect.gen(function* () {
          seen.push(params)
          yield* RunContext.update("Searching.")
          yield* Deferred.await(found)
          yield* RunContext.update([{ airline: "KLM" }])
          yield* Deferred.await(done)
          return yield* new AsyncTool.ToolError({ message: "sold out" })
        })
    })
    const said = yield* Effect.gen(function* () {
      const session = yield* AgentSession.make({ agent: Booker })
      const until = yield* watch(session)
      yield* session.waitForIdle
      yield* (yield* session.send("Book a flight to Oslo")).wait
      yield* Deferred.succeed(found, undefined)
      yield* until("ReplyEnded", 1)
      yield* Deferred.succeed(done, undefined)
      yield* until("ReplyEnded", 2)
      yield* session.run("Thanks")
      const { items } = yield* session.history
      return items.flatMap((item) => (item._tag === "Message" && item.role === "assistant" ? [item.text] : []))
    }).pipe(Effect.scoped, Effect.provide(BothLive), Effect.provide(layer), Effect.orDie)
    assert.deepEqual(said, ["Welcome.", "I am on it.", "KLM has one.", "It is booked.", "You are welcome."])
    assert.deepEqual(seen, [{ to: "Oslo" }])
    return requests.map(({ body }) => body)
  })

const run = <A>(effect: Effect.Effect<A, never, any>): Promise<A> => Effect.runPromise(effect as Effect.Effect<A>)

/** Tools are the same bytes in each request. */
const sameTools = (bodies: ReadonlyArray<any>, tools: (body: any) => unknown): void => {
  assert.equal(bodies.length, 5)
  for (const body of bodies) assert.equal(JSON.stringify(tools(body)), JSON.stringify(tools(bodies[0])))
  assert.ok(JSON.stringify(tools(bodies[0])).includes("confirm_duplicate"))
}

describe("Google", () => {
  it("[M2] [M3] [M5] [M6] what a session sends is what Gemini takes", async () => {
    const bodies = await run(conversation(Wire.google))
    sameTools(bodies, (body) => body.tools)
    assert.deepEqual(
      bodies.map((body) => body.toolConfig.functionCallingConfig.mode),
      ["AUTO", "AUTO", "NONE", "NONE", "AUTO"]
    )
    for (const body of bodies) {
      assert.deepEqual(body.systemInstruction, { parts: [{ text: "You book flights." }] })
      assert.equal(body.contents[0].role, "user")
      assert.equal(body.contents.at(-1).role, "user")
      for (const [i, content] of body.contents.entries()) {
        const calls = content.parts.filter((part: any) => part.functionCall !== undefined)
        if (calls.length === 0) continue
        assert.equal(content.role, "model")
        // a call comes right behind the user or a response, and all its responses right behind it
        assert.equal(body.contents[i - 1].role, "user")
        const responses = body.contents[i + 1].parts.map((part: any) => part.functionResponse.name)
        assert.deepEqual(
          responses,
          calls.map((part: any) => part.functionCall.name)
        )
        // the first call of each step is signed, one of ours as well
        assert.equal(typeof content.parts.find((part: any) => part.functionCall).thoughtSignature, "string")
        for (const part of body.contents[i + 1].parts) {
          const { response } = part.functionResponse
          assert.ok(typeof response === "object" && response !== null && !Array.isArray(response))
        }
      }
    }
    const parts = bodies[4].contents.flatMap((content: any) => content.parts)
    const thoughts = parts.filter((part: any) => part.thought === true)
    assert.deepEqual(thoughts, [{ text: "Two things.", thought: true, thoughtSignature: "c2lnLTE=" }])
    const calls = parts.filter((part: any) => part.functionCall)
    assert.deepEqual(
      calls.map((part: any) => [part.functionCall.name, part.thoughtSignature]),
      [
        ["pick", "c2lnLTI="],
        ["book", undefined],
        ["book", "skip_thought_signature_validator"],
        ["book", "skip_thought_signature_validator"]
      ]
    )
    const responses = parts.flatMap((part: any) => part.functionResponse?.response ?? [])
    assert.deepEqual(responses, [
      { output: "12A" },
      { output: "Searching.\n(book is still running in the background; there is no result yet.)" },
      { output: [{ airline: "KLM" }] },
      { error: "sold out" }
    ])
  })
})

describe("Amazon Bedrock", () => {
  it("[M2] [M3] [M5] [M6] what a session sends is what Converse takes", async () => {
    const bodies = await run(conversation(Wire.bedrock))
    sameTools(bodies, (body) => body.toolConfig.tools)
    for (const body of bodies) {
      assert.deepEqual(body.toolConfig.toolChoice, { auto: {} })
      assert.deepEqual(body.system, [{ text: "You book flights." }])
      for (const [i, message] of body.messages.entries()) {
        assert.equal(message.role, i % 2 === 0 ? "user" : "assistant")
        const uses = message.content.flatMap((block: any) => block.toolUse?.toolUseId ?? [])
        const results = body.messages[i + 1]?.content.flatMap((block: any) => block.toolResult?.toolUseId ?? []) ?? []
        assert.deepEqual(results, uses)
      }
    }
    const blocks = bodies[4].messages.flatMap((message: any) => message.content)
    const thoughts = blocks.flatMap((block: any) => block.reasoningContent ?? [])
    // once with its call; the reports here do not begin a turn
    assert.deepEqual(thoughts, [{ reasoningText: { text: "Two things.", signature: "c2lnLTE=" } }])
    const uses = blocks.flatMap((block: any) => block.toolUse?.toolUseId ?? [])
    assert.deepEqual(uses, ["c1", "c2", "c2_update_1", "c2_final"])
    const results = blocks.flatMap((block: any) => block.toolResult?.content ?? [])
    assert.deepEqual(results.map(({ text }: any) => JSON.parse(text)).slice(2), [
      [{ airline: "KLM" }],
      { error: "sold out" }
    ])
  })
})

describe("OpenRouter", () => {
  it("[M3] [M5] [M6] what a session sends is what OpenRouter takes", async () => {
    const bodies = await run(conversation(Wire.openrouter))
    sameTools(bodies, (body) => body.tools)
    assert.deepEqual(
      bodies.map((body) => body.tool_choice),
      ["auto", "auto", "none", "none", "auto"]
    )
    for (const body of bodies) {
      for (const tool of body.tools) {
        assert.equal(tool.function.strict, true)
        assert.deepEqual(tool.function.parameters.required, Object.keys(tool.function.parameters.properties))
        assert.equal(tool.function.parameters.additionalProperties, false)
      }
      const roles = body.messages.map((message: any) => message.role)
      assert.equal(roles[0], "system")
      assert.equal(roles.lastIndexOf("system"), 0)
      assert.equal(roles[1], "user")
      for (const [i, message] of body.messages.entries()) {
        const ids = (message.tool_calls ?? []).map((call: any) => call.id)
        const answers = body.messages.slice(i + 1, i + 1 + ids.length).map((answer: any) => answer.tool_call_id)
        assert.deepEqual(answers, ids)
      }
    }
    const ids = bodies[4].messages.flatMap((message: any) => (message.tool_calls ?? []).map((call: any) => call.id))
    assert.deepEqual(ids, ["c1", "c2", "c2_update_1", "c2_final"])
    const results = bodies[4].messages
      .filter((message: any) => message.role === "tool")
      .map(({ content }: any) => JSON.parse(content))
    assert.deepEqual(results.slice(2), [[{ airline: "KLM" }], { error: "sold out" }])
  })
})
