import { Tool, Toolkit } from "@effect/ai"
import { describe, expect } from "@effect/vitest"
import { Arbitrary, Effect, FastCheck, JSONSchema, Layer, Schema } from "effect"
import { Agent, AsyncTool, AsyncToolset, ChatContext, RunContext } from "effect-meantime"
import { ScriptedModel, TestSession } from "effect-meantime/testing"
import { wire } from "./support/json.js"
import { allProblems, collectLogs, problems, silent, unanswered } from "./support/requests.js"
import { times } from "./support/times.js"
import { it } from "./support/virtual.js"

const { reasoning, text, toolCall } = ScriptedModel

const Note = AsyncTool.make("note", {
  description: "Reports, and ends later.",
  parameters: { topic: Schema.String },
  success: Schema.Struct({ pages: Schema.Number, tags: Schema.Array(Schema.String) })
})
const Ask = AsyncTool.make("ask", { parameters: { seconds: Schema.Number }, success: Schema.String })
const kit = Toolkit.make(Note, Ask)
const kitLive = kit.toLayer({
  note: ({ topic }) =>
    RunContext.update(`noting ${topic}`).pipe(
      Effect.zipRight(Effect.sleep("5 seconds")),
      Effect.zipRight(RunContext.update({ half: [1, null, "x"] })),
      Effect.zipRight(Effect.sleep("5 seconds")),
      Effect.as({ pages: 3, tags: ["a"] })
    ),
  ask: ({ seconds }) => Effect.as(Effect.sleep(`${seconds} seconds`), "answer")
})
const Writer = Agent.make("writer", { instructions: "You write.", tools: [kit] })

const { prompts, requests } = {
  prompts: Effect.flatMap(ScriptedModel.ScriptedModel, (model) => model.prompts),
  requests: Effect.flatMap(ScriptedModel.ScriptedModel, (model) => model.requests)
}
const last = <A>(all: ReadonlyArray<A>): A => all[all.length - 1] as A
const working =
  (script: ScriptedModel.Script) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    Effect.provide(effect, [ScriptedModel.layer(script), kitLive, silent])
const seeing = (view: (context: ChatContext.ChatContext) => ChatContext.ChatContext) =>
  Layer.succeed(ChatContext.ModelView, view) as Layer.Layer<never>

const stored = (context: ChatContext.ChatContext): unknown =>
  JSON.parse(JSON.stringify(Schema.encodeSync(ChatContext.ChatContext)(context)))
const restore = (json: unknown) => Schema.decodeUnknownSync(ChatContext.ChatContext)(json)

// items by hand
const user = (text: string): ChatContext.ChatItem => ({
  _tag: "Message",
  id: `u_${text}`,
  role: "user",
  text,
  interrupted: false,
  createdAt: 1
})
const assistant = (text: string): ChatContext.ChatItem => ({
  _tag: "Message",
  id: `a_${text}`,
  role: "assistant",
  text,
  interrupted: false,
  createdAt: 1
})
const think = (text: string): ChatContext.ChatItem => ({
  _tag: "Reasoning",
  id: `r_${text}`,
  text,
  metadata: { openai: { itemId: `rs_${text}` } },
  createdAt: 1
})
const call = (callId: string): ChatContext.ChatItem => ({
  _tag: "FunctionCall",
  id: `call_${callId}`,
  callId,
  name: "ask",
  arguments: { seconds: 1 },
  createdAt: 1
})
const output = (callId: string, value: unknown = `output of ${callId}`, isError = false): ChatContext.ChatItem => ({
  _tag: "FunctionCallOutput",
  id: `out_${callId}`,
  callId,
  name: "ask",
  output: value,
  isError,
  createdAt: 1
})
const handoff: ChatContext.ChatItem = { _tag: "AgentHandoff", id: "h", from: undefined, to: "writer", createdAt: 1 }

/** The messages of a prompt in short: `assistant(text a, call c1)`. */
const outline = (items: ReadonlyArray<ChatContext.ChatItem>): ReadonlyArray<string> =>
  ChatContext.toPrompt({ items }).content.map((message) => {
    if (message.role === "system") return `system(${message.content})`
    const parts = message.content.map((part) => {
      switch (part.type) {
        case "tool-call":
          return `call ${part.id}`
        case "tool-result":
          return `result ${part.id}`
        case "file":
          return "file"
        default:
          return `${part.type === "text" ? "" : "reasoning "}${part.text}`
      }
    })
    return `${message.role}(${parts.join(", ")})`
  })

describe("a conversation that is stored", () => {
  const rich = [
    [
      reasoning("Hm.", {
        metadata: { openai: { itemId: "rs_1" } },
        endMetadata: { openai: { encryptedContent: "e" } }
      }),
      text("Noting.", { metadata: { openai: { itemId: "msg_1" } } }),
      toolCall("note", { topic: "Oslo" }, { id: "c1", metadata: { google: { thoughtSignature: "sig" } } }),
      toolCall("nope", { deep: { list: [1, null] } }, { id: "c2" })
    ],
    "I am at it.",
    "Half way.",
    "Done."
  ]

  it.scoped("[M2] goes through JSON and back unchanged, metadata included", () =>
    Effect.gen(function* () {
      const { session } = yield* TestSession.make({ agent: Writer })
      yield* session.run("Note Oslo").pipe(TestSession.drive)
      yield* session.handoff(Agent.make("second", { instructions: "S." }))
      const history = yield* session.history
      expect(new Set(history.items.map((item) => item._tag)).size).toBe(5)
      const restored = restore(stored(history))
      expect(restored).toEqual(history)
      expect(ChatContext.toPrompt(restored)).toEqual(ChatContext.toPrompt(history))
      expect(unanswered(history)).toEqual([])
      expect(problems(ChatContext.toPrompt(restored))).toEqual(["the last message is the assistant's"])
    }).pipe(working(rich))
  )

  it.scoped(
    "[M2] [M3] is gone on with by a new session that shows the provider what the old one would have shown",
    () =>
      Effect.gen(function* () {
        const first = yield* TestSession.make({ agent: Writer })
        yield* first.session.run("Note Oslo").pipe(TestSession.drive)
        const json = stored(yield* first.session.history)
        yield* first.session.send("And now?")
        yield* TestSession.settle
        const expected = last(yield* prompts)
        const second = yield* TestSession.make({ agent: Writer, history: restore(json) })
        yield* second.session.send("And now?")
        yield* TestSession.settle
        expect(last(yield* prompts)).toEqual(expected)
        expect(problems(expected)).toEqual([])
      }).pipe(working([...rich, "Well.", "Well."]))
  )

  it.scoped("goes on with new ids: no item and no call of the new session is taken for an old one", () =>
    Effect.gen(function* () {
      const first = yield* TestSession.make({ agent: Writer })
      yield* first.session.run("Ask").pipe(TestSession.drive)
      const history = restore(stored(yield* first.session.history))
      const { session } = yield* TestSession.make({ agent: Writer, history })
      yield* session.run("Ask").pipe(TestSession.drive)
      const { items } = yield* session.history
      expect(items.slice(0, history.items.length)).toEqual(history.items)
      expect(items).toHaveLength(history.items.length * 2)
      expect(new Set(items.map((item) => item.id)).size).toBe(items.length)
      expect((yield* TestSession.calls(session)).map((call) => call.callId)).toEqual(["c1", "c1_1"])
      expect(allProblems(yield* prompts)).toEqual([])
    }).pipe(
      working([
        toolCall("ask", { seconds: 1 }, { id: "c1" }),
        "One.",
        toolCall("ask", { seconds: 1 }, { id: "c1" }),
        "Two."
      ])
    )
  )

  it.scoped("holds calls of the provider's own, with and without what they returned", () =>
    Effect.gen(function* () {
      const Search = Tool.providerDefined({
        id: "test.search",
        toolkitName: "Search",
        providerName: "search",
        args: {},
        success: Schema.Unknown
      })({})
      const agent = Agent.make("s", { instructions: "S.", tools: [Toolkit.make(Search as any)] }) as Agent.Agent<never>
      const { session } = yield* TestSession.make({ agent })
      yield* session.run("Search").pipe(TestSession.drive)
      const history = yield* session.history
      const restored = restore(stored(history))
      expect(restored.items).toHaveLength(history.items.length)
      const next = yield* TestSession.make({ agent, history: restored })
      yield* next.session.run("And?").pipe(TestSession.drive)
      const parts = last(yield* prompts).content.flatMap((message) =>
        message.role === "assistant" ? message.content : []
      )
      expect(parts).toMatchObject([
        { type: "tool-call", id: "p1", providerExecuted: true },
        { type: "tool-result", id: "p1", result: { hits: 3 }, providerExecuted: true },
        { type: "tool-call", id: "p2", providerExecuted: true },
        { type: "tool-result", id: "p2", isFailure: true, providerExecuted: true },
        { type: "text", text: "Found." }
      ])
      expect(allProblems(yield* prompts)).toEqual([])
    }).pipe(
      working([
        [
          toolCall("Search", {}, { id: "p1", providerExecuted: true, providerName: "search" }),
          ScriptedModel.toolResult("Search", { hits: 3 }, { providerName: "search" }),
          toolCall("Search", {}, { id: "p2", providerExecuted: true, providerName: "search" }),
          ScriptedModel.toolResult("Search", { code: "timeout" }, { providerName: "search", isFailure: true }),
          "Found."
        ],
        "Well."
      ])
    )
  )

  it.scoped("is a snapshot: what is said later does not change it", () =>
    Effect.gen(function* () {
      const { session } = yield* TestSession.make({ agent: Writer })
      yield* session.run("One").pipe(TestSession.drive)
      const before = yield* session.history
      expect(before.items).toHaveLength(2)
      yield* session.run("Two").pipe(TestSession.drive)
      expect(before.items).toHaveLength(2)
      const given = yield* TestSession.make({ agent: Writer, history: before })
      yield* given.session.run("Three").pipe(TestSession.drive)
      expect(before.items).toHaveLength(2)
    }).pipe(working(() => "Yes."))
  )

  // a conversation as version 0.1.0 wrote it, before the types were made from the Schemas
  const written = `{"items":[
    {"_tag":"Message","id":"item_1","role":"user","text":"Note Oslo","interrupted":false,"createdAt":0},
    {"_tag":"Reasoning","id":"item_2","text":"Hm.","metadata":{"openai":{"itemId":"rs_1"}},"createdAt":0},
    {"_tag":"Reasoning","id":"item_3","text":"Well.","createdAt":0},
    {"_tag":"Message","id":"item_4","role":"assistant","text":"No","interrupted":true,
      "metadata":{"openai":{"itemId":"msg_1"}},"createdAt":0},
    {"_tag":"FunctionCall","id":"item_5","callId":"c1","name":"note","arguments":{"topic":"Oslo"},
      "metadata":{"google":{"thoughtSignature":"sig"}},"createdAt":0},
    {"_tag":"FunctionCall","id":"item_6","callId":"c2","name":"nope","arguments":{"deep":[1,null]},"createdAt":0},
    {"_tag":"FunctionCallOutput","id":"item_7","callId":"c1","name":"note","output":{"pages":3},"isError":false,
      "createdAt":0},
    {"_tag":"FunctionCallOutput","id":"item_8","callId":"c2","name":"nope","output":"No such tool.","isError":true,
      "createdAt":0},
    {"_tag":"FunctionCallOutput","id":"item_9","callId":"c3","name":"void","isError":false,"createdAt":5000},
    {"_tag":"AgentHandoff","id":"item_10","from":"writer","to":"second","createdAt":5000},
    {"_tag":"AgentHandoff","id":"item_11","to":"writer","createdAt":5000.5}
  ]}`

  it("[M2] [E1] is read from what was stored before the types were made from the Schemas, and written the same", () => {
    const read = restore(JSON.parse(written))
    expect(read.items).toStrictEqual([
      { _tag: "Message", id: "item_1", role: "user", text: "Note Oslo", interrupted: false, createdAt: 0 },
      { _tag: "Reasoning", id: "item_2", text: "Hm.", metadata: { openai: { itemId: "rs_1" } }, createdAt: 0 },
      { _tag: "Reasoning", id: "item_3", text: "Well.", createdAt: 0 },
      {
        _tag: "Message",
        id: "item_4",
        role: "assistant",
        text: "No",
        interrupted: true,
        metadata: { openai: { itemId: "msg_1" } },
        createdAt: 0
      },
      {
        _tag: "FunctionCall",
        id: "item_5",
        callId: "c1",
        name: "note",
        arguments: { topic: "Oslo" },
        metadata: { google: { thoughtSignature: "sig" } },
        createdAt: 0
      },
      {
        _tag: "FunctionCall",
        id: "item_6",
        callId: "c2",
        name: "nope",
        arguments: { deep: [1, null] },
        createdAt: 0
      },
      {
        _tag: "FunctionCallOutput",
        id: "item_7",
        callId: "c1",
        name: "note",
        output: { pages: 3 },
        isError: false,
        createdAt: 0
      },
      {
        _tag: "FunctionCallOutput",
        id: "item_8",
        callId: "c2",
        name: "nope",
        output: "No such tool.",
        isError: true,
        createdAt: 0
      },
      {
        _tag: "FunctionCallOutput",
        id: "item_9",
        callId: "c3",
        name: "void",
        output: undefined,
        isError: false,
        createdAt: 5000
      },
      { _tag: "AgentHandoff", id: "item_10", from: "writer", to: "second", createdAt: 5000 },
      { _tag: "AgentHandoff", id: "item_11", from: undefined, to: "writer", createdAt: 5000.5 }
    ])
    expect(stored(read)).toStrictEqual(JSON.parse(written))
  })

  it("[E1] a hand-off always has its `from` in a program, and has it in JSON only if there is one", () => {
    const encode = Schema.encodeSync(ChatContext.AgentHandoff)
    const decode = Schema.decodeUnknownSync(ChatContext.AgentHandoff)
    const first = { _tag: "AgentHandoff", id: "h", to: "writer", createdAt: 1 } as const
    expect(decode(first)).toStrictEqual({ ...first, from: undefined })
    // as a copy that is not JSON carries it (`structuredClone`)
    expect(decode({ ...first, from: undefined })).toStrictEqual({ ...first, from: undefined })
    expect(encode({ ...first, from: undefined })).toStrictEqual(first)
    expect(encode({ ...first, from: "second" })).toStrictEqual({ ...first, from: "second" })
    expect(Schema.is(ChatContext.ChatItem)({ ...first, from: undefined })).toBe(true)
    expect(() => decode({ ...first, from: null })).toThrow()
    // of a program that is not checked by TypeScript, or from an older version
    expect(encode(first as unknown as ChatContext.AgentHandoff)).toStrictEqual(first)
  })

  it("[M2] metadata is kept under any name, and is a record", () => {
    const json = JSON.parse(
      `{"_tag":"Reasoning","id":"r","text":"","metadata":{"__proto__":{"itemId":"x"},"own":null},"createdAt":1}`
    )
    const read = Schema.decodeUnknownSync(ChatContext.Reasoning)(json)
    expect(Object.getPrototypeOf(read.metadata)).toBe(Object.prototype)
    expect(JSON.stringify(Schema.encodeSync(ChatContext.Reasoning)(read))).toContain(`"__proto__":{"itemId":"x"}`)
    for (const metadata of [null, [], "text", 1, undefined]) {
      expect(() => Schema.decodeUnknownSync(ChatContext.ChatItem)({ ...json, metadata })).toThrow()
    }
    expect(() => JSONSchema.make(ChatContext.ChatContext)).not.toThrow()
  })

  it("[M2] [E1] whatever the items hold, JSON keeps all of it that JSON has", () => {
    FastCheck.assert(
      FastCheck.property(Arbitrary.make(ChatContext.ChatContext), (context) => {
        const json = wire(Schema.encodeSync(ChatContext.ChatContext)(context))
        const read = restore(json)
        expect(Schema.is(ChatContext.ChatContext)(read)).toBe(true)
        expect(stored(read)).toStrictEqual(json)
        expect(restore(stored(read))).toStrictEqual(read)
        expect(read.items.map(({ _tag, id }) => [_tag, id])).toEqual(context.items.map(({ _tag, id }) => [_tag, id]))
      }),
      { numRuns: times(60, 1_000) }
    )
  })

  it("[E1] items that do not go through JSON are unchanged", () => {
    FastCheck.assert(
      FastCheck.property(Arbitrary.make(ChatContext.ChatItem), (item) => {
        const encoded = Schema.encodeSync(ChatContext.ChatItem)(item)
        expect(Schema.decodeSync(ChatContext.ChatItem)(encoded)).toStrictEqual(item)
      }),
      { numRuns: times(60, 1_000) }
    )
  })

  it("refuses what is no conversation", () => {
    expect(() => restore({ items: [{ _tag: "Message", id: "m" }] })).toThrow()
    expect(() => restore({ items: [{ _tag: "Nonsense", id: "m", createdAt: 0 }] })).toThrow()
    expect(restore({ items: [] })).toEqual({ items: [] })
  })
})

describe("toPrompt", () => {
  it("[M3] answers every call once, right after the message that has it", () => {
    expect(
      outline([user("u"), assistant("a"), call("1"), call("2"), output("1"), output("2"), assistant("b")])
    ).toEqual(["user(u)", "assistant(a, call 1, call 2)", "tool(result 1, result 2)", "assistant(b)"])
  })

  it("[M3] puts a late output to its call, whatever was said in between", () => {
    expect(outline([call("1"), user("u"), assistant("a"), output("1"), user("v")])).toEqual([
      "assistant(call 1)",
      "tool(result 1)",
      "user(u)",
      "assistant(a)",
      "user(v)"
    ])
  })

  it("[M3] sends no output without its call, and no call and no output twice", () => {
    const items = [output("0"), call("1"), output("1"), output("1", "again"), call("1"), user("u"), output("9")]
    expect(outline(items)).toEqual(["assistant(call 1)", "tool(result 1)", "user(u)"])
    expect(problems(ChatContext.toPrompt({ items }))).toEqual([])
  })

  it("[M3] says of a call without output that its outcome is not known", () => {
    const prompt = ChatContext.toPrompt({ items: [call("1"), call("2"), user("u"), output("2")] })
    expect(problems(prompt)).toEqual([])
    expect(prompt.content[1]).toMatchObject({
      role: "tool",
      content: [
        { id: "1", isFailure: true, result: { error: "The outcome of this call is not known." } },
        { id: "2", isFailure: false, result: "output of 2" }
      ]
    })
  })

  it("[M3] says in the value, too, that an output is an error", () => {
    const prompt = ChatContext.toPrompt({ items: [call("1"), output("1", { why: "no" }, true)] })
    expect(prompt.content[1]).toMatchObject({ content: [{ isFailure: true, result: { error: { why: "no" } } }] })
  })

  it("[M2] keeps calls of one step together and those of two steps apart", () => {
    expect(outline([call("1"), output("1"), call("2"), output("2")])).toEqual([
      "assistant(call 1)",
      "tool(result 1)",
      "assistant(call 2)",
      "tool(result 2)"
    ])
    expect(outline([call("1"), call("2"), output("1"), call("1_update_1"), output("1_update_1"), output("2")])).toEqual(
      ["assistant(call 1, call 2)", "tool(result 1, result 2)", "assistant(call 1_update_1)", "tool(result 1_update_1)"]
    )
  })

  it("[M2] sends reasoning only before the part that it came with", () => {
    expect(outline([user("u"), think("t"), assistant("a"), user("v")])[1]).toBe("assistant(reasoning t, a)")
    expect(outline([user("u"), think("t"), think("s"), call("1"), output("1")])[1]).toBe(
      "assistant(reasoning t, reasoning s, call 1)"
    )
    for (const between of [user("v"), output("0"), handoff]) {
      expect(outline([user("u"), think("t"), between, assistant("a")]).join()).not.toContain("reasoning")
    }
    expect(outline([user("u"), think("t")])).toEqual(["user(u)"])
  })

  it("[M5] frames a system message of the history, and leaves out what is empty", () => {
    const system = {
      ...(user("Be nice.") as Extract<ChatContext.ChatItem, { _tag: "Message" }>),
      role: "system" as const
    }
    const lines = outline([system, user(""), assistant(""), handoff, assistant("a")])
    expect(lines).toHaveLength(2)
    expect(lines[0]).toMatch(/^user\(.*not from the user[\s\S]*Be nice\.\)$/)
    expect(outline([])).toEqual([])
  })

  it("[M2] hands metadata on as options", () => {
    const metadata = { openai: { itemId: "x" }, own: { a: [1] } }
    const items = [
      { ...user("u"), metadata },
      { ...think("t"), metadata },
      { ...assistant("a"), metadata },
      { ...call("1"), metadata }
    ]
    const parts = ChatContext.toPrompt({ items }).content.flatMap((message) =>
      message.role === "user" || message.role === "assistant" ? [...message.content] : []
    )
    expect(parts.map((part) => part.options)).toEqual([metadata, metadata, metadata, metadata])
  })
})

describe("ModelView", () => {
  const talk = Effect.fnUntraced(function* (turns: number) {
    const { session } = yield* TestSession.make({ agent: Writer })
    for (let i = 0; i < turns; i++) yield* session.run(`Turn ${i}`).pipe(TestSession.drive)
    return session
  })

  it.scoped("[M7] shows the model all of the conversation by default", () =>
    Effect.gen(function* () {
      yield* talk(5)
      expect(ScriptedModel.userTexts(last(yield* requests))).toHaveLength(5)
    }).pipe(working(() => "Yes."))
  )

  it.scoped("[M7] decides what the model sees, and the history keeps everything", () =>
    Effect.gen(function* () {
      const session = yield* talk(5)
      const request = last(yield* requests)
      expect(ScriptedModel.userTexts(request)).toEqual(["Turn 3", "Turn 4"])
      expect(ScriptedModel.systemText(request)).toBe("You write.")
      expect((yield* session.history).items).toHaveLength(10)
    }).pipe(
      working(() => "Yes."),
      Effect.provide(seeing(({ items }) => ({ items: items.slice(-3) })))
    )
  )

  it.scoped("[M7] [M3] a call whose output was left out is still answered with it", () =>
    Effect.gen(function* () {
      yield* talk(1)
      const request = last(yield* requests)
      expect(ScriptedModel.toolCalls(request)).toHaveLength(1)
      expect(ScriptedModel.toolResults(request)).toMatchObject([{ id: "c1", result: "answer" }])
      expect(allProblems(yield* prompts)).toEqual([])
    }).pipe(
      working([toolCall("ask", { seconds: 1 }, { id: "c1" }), "Yes."]),
      Effect.provide(seeing(({ items }) => ({ items: items.filter((item) => item._tag !== "FunctionCallOutput") })))
    )
  )

  it.scoped("[M7] [M3] an output whose call was left out is not sent", () =>
    Effect.gen(function* () {
      yield* talk(1)
      const request = last(yield* requests)
      expect(ScriptedModel.toolCalls(request)).toEqual([])
      expect(ScriptedModel.toolResults(request)).toEqual([])
      expect(allProblems(yield* prompts)).toEqual([])
    }).pipe(
      working([toolCall("ask", { seconds: 1 }, { id: "c1" }), "Yes."]),
      Effect.provide(seeing(({ items }) => ({ items: items.filter((item) => item._tag !== "FunctionCall") })))
    )
  )

  it.scoped("[M7] an output that the view shortens is sent as the view has it", () =>
    Effect.gen(function* () {
      const session = yield* talk(1)
      const request = last(yield* requests)
      expect(ScriptedModel.toolResults(request)).toMatchObject([{ id: "c1", result: "(cut)" }])
      expect(yield* TestSession.outputs(session)).toMatchObject([{ output: "answer" }])
    }).pipe(
      working([toolCall("ask", { seconds: 1 }, { id: "c1" }), "Yes."]),
      Effect.provide(
        seeing(({ items }) => ({
          items: items.map((item) => (item._tag === "FunctionCallOutput" ? { ...item, output: "(cut)" } : item))
        }))
      )
    )
  )

  it.scoped("[M7] [M3] a view may add a summary, and the calls that it made of nothing are answered", () =>
    Effect.gen(function* () {
      yield* talk(3)
      const request = last(yield* requests)
      expect(ScriptedModel.userTexts(request)[0]).toMatch(/not from the user[\s\S]*So far: nothing\./)
      expect(ScriptedModel.toolCalls(request)).toMatchObject([{ id: "invented" }])
      expect(allProblems(yield* prompts)).toEqual([])
    }).pipe(
      working(() => "Yes."),
      Effect.provide(
        seeing(({ items }) => ({
          items: [
            {
              _tag: "Message",
              id: "s",
              role: "system",
              text: "So far: nothing.",
              interrupted: false,
              createdAt: 0
            } as const,
            call("invented"),
            ...items.slice(-1)
          ]
        }))
      )
    )
  )

  it.scoped("[M7] [M5] a view that shows nothing leaves a request that can be answered", () =>
    Effect.gen(function* () {
      const session = yield* talk(2)
      expect(allProblems(yield* prompts)).toEqual([])
      expect(yield* TestSession.said(session)).toEqual(["Yes.", "Yes."])
    }).pipe(
      working(() => "Yes."),
      Effect.provide(seeing(() => ({ items: [] })))
    )
  )

  it.scoped("[M7] [M2] reasoning goes with the part that it came with, where the view cuts that", () =>
    Effect.gen(function* () {
      yield* talk(3)
      for (const prompt of yield* prompts) expect(JSON.stringify(prompt)).not.toContain("reasoning")
      expect(allProblems(yield* prompts)).toEqual([])
    }).pipe(
      working((request) => [reasoning("Hm."), `Cut ${request.index}.`, "Kept."]),
      Effect.provide(
        seeing(({ items }) => ({
          items: items.filter((item) => !(item._tag === "Message" && item.text.startsWith("Cut")))
        }))
      )
    )
  )

  it.scoped("[M7] [M1] a running call that the view keeps is shown as in progress", () =>
    Effect.gen(function* () {
      const { session } = yield* TestSession.make({ agent: Writer })
      yield* session.send("Ask")
      yield* TestSession.settle
      yield* session.generateReply()
      yield* TestSession.settle
      const results = ScriptedModel.toolResults(last(yield* requests))
      expect(results).toMatchObject([{ id: "c1" }])
      expect(String(results[0]?.result)).toContain("still running")
    }).pipe(
      working([toolCall("ask", { seconds: 9 }, { id: "c1" }), "Yes."]),
      Effect.provide(seeing(({ items }) => ({ items: items.slice(-1) })))
    )
  )

  it.scoped("[M7] is given to an agent as any other layer, and belongs to it alone", () =>
    Effect.gen(function* () {
      const short = seeing(({ items }) => ({ items: items.slice(-1) }))
      const First = Agent.make("first", { instructions: "F." }).pipe(Agent.provide(short))
      const { session } = yield* TestSession.make({ agent: First })
      yield* session.run("One").pipe(TestSession.drive)
      yield* session.run("Two").pipe(TestSession.drive)
      expect(ScriptedModel.userTexts(last(yield* requests))).toEqual(["Two"])
      yield* session.handoff(Agent.make("second", { instructions: "S." }))
      yield* session.run("Three").pipe(TestSession.drive)
      expect(ScriptedModel.userTexts(last(yield* requests))).toEqual(["One", "Two", "Three"])
    }).pipe(working(() => "Yes."))
  )

  it.scoped("[M7] a view that throws ends the speech with an error, and the session goes on", () => {
    const logs = collectLogs()
    let broken = true
    return Effect.gen(function* () {
      const { session } = yield* TestSession.make({ agent: Writer })
      const speech = yield* session.send("Hi")
      yield* TestSession.settle
      expect((yield* speech.error)._tag).toBe("Some")
      expect(yield* session.currentAgent).toEqual({ name: "writer" })
      broken = false
      const { text } = yield* session.run("Hi").pipe(TestSession.drive)
      expect(text).toBe("Yes.")
      expect(logs.messages).toHaveLength(1)
    }).pipe(
      Effect.provide([
        ScriptedModel.layer(() => "Yes."),
        kitLive,
        seeing((context) => {
          if (broken) throw new Error("a bug of the view")
          return context
        })
      ]),
      Effect.provide(logs.layer)
    )
  })

  it.scoped("[M7] sees what a toolset of the session recorded, too", () =>
    Effect.gen(function* () {
      const seen: Array<number> = []
      const { session } = yield* TestSession.make({
        agent: Agent.make("a", { instructions: "A." }).pipe(
          Agent.provide(
            seeing((context) => {
              seen.push(context.items.length)
              return context
            })
          )
        ),
        tools: [AsyncToolset.make("set", kit)]
      })
      yield* session.run("Note").pipe(TestSession.drive)
      expect(seen).toEqual([1, 3, 6, 9])
    }).pipe(working([toolCall("note", { topic: "x" }, { id: "c1" }), "At it.", "Half.", "Done."]))
  )
})
