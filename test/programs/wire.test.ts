/**
 * The local servers themselves: they speak as documented, and they refuse what the providers refuse.
 */
import { LanguageModel, Tool, Toolkit } from "@effect/ai"
import { describe, expect, it } from "@effect/vitest"
import { Effect, Schema, Stream } from "effect"
import * as Anthropic from "../wire/Anthropic.js"
import { type Fixture, fixtures } from "../wire/fixtures.js"
import * as OpenAi from "../wire/OpenAi.js"
import * as Providers from "../wire/Providers.js"
import * as Script from "../wire/Script.js"
import { sse } from "../wire/Server.js"

const post = (url: string, body: unknown, headers: Record<string, string>) =>
  Effect.promise(async () => {
    const response = await fetch(url, {
      method: "POST",
      headers: { "content-type": "application/json", ...headers },
      body: JSON.stringify(body)
    })
    const text = await response.text()
    return { status: response.status, headers: response.headers, text }
  })

/** The events of a stream: name and data. */
const eventsOf = (text: string): ReadonlyArray<{ readonly name: string; readonly data: any }> =>
  text
    .split("\n\n")
    .filter((block) => block !== "")
    .map((block) => {
      const [name, data] = block.split("\n") as [string, string]
      return { name: name.slice("event: ".length), data: JSON.parse(data.slice("data: ".length)) }
    })

const ask = { role: "user", content: [{ type: "input_text", text: "Hi" }] }
const call = (id: string, extra: object = {}) => ({
  type: "function_call",
  call_id: id,
  name: "book",
  arguments: "{}",
  ...extra
})
const output = (id: string) => ({ type: "function_call_output", call_id: id, output: "null" })
const strict = (parameters: unknown, name = "book") => ({ type: "function", name, parameters, strict: true })

describe("the local server of OpenAI's Responses API", () => {
  const key = { authorization: "Bearer sk-test" }
  const send = (server: { readonly url: string }, body: object, headers: Record<string, string> = key) =>
    post(`${server.url}/responses`, { model: "gpt-5-mini", stream: true, ...body }, headers)

  it.scoped("streams text, reasoning and calls, with the usage at the end", () =>
    Effect.gen(function* () {
      const server = yield* OpenAi.make([[Script.reasoning("Hm."), "Hello there", Script.call("book", { to: "Oslo" })]])
      const { text } = yield* send(server, { input: [ask], include: ["reasoning.encrypted_content"] })
      const events = eventsOf(text)
      expect(events.map((event) => event.name)).toEqual([
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.reasoning_summary_part.added",
        "response.reasoning_summary_text.delta",
        "response.reasoning_summary_text.done",
        "response.reasoning_summary_part.done",
        "response.output_item.done",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.output_item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
        "response.completed"
      ])
      expect(events.map((event) => event.data.sequence_number)).toEqual(events.map((_, i) => i))
      expect(events.at(-1)?.data.response.output.map((item: any) => item.type)).toEqual([
        "reasoning",
        "message",
        "function_call"
      ])
      expect(events.at(-1)?.data.response.usage.output_tokens).toBeGreaterThan(0)
    })
  )

  const refused: ReadonlyArray<readonly [title: string, body: object, message: RegExp]> = [
    ["an empty input", { input: [] }, /must be provided/],
    ["a call without output", { input: [ask, call("c1")] }, /No tool output found for function call c1/],
    ["an output without call", { input: [ask, output("c1")] }, /No tool call found for function call output/],
    ["a second output", { input: [ask, call("c1"), output("c1"), output("c1")] }, /Duplicate output/],
    ["a second call of one id", { input: [ask, call("c1"), call("c1"), output("c1")] }, /Duplicate function call/],
    [
      "an item id twice",
      { input: [ask, call("c1", { id: "fc_1" }), output("c1"), call("c2", { id: "fc_1" }), output("c2")] },
      /Duplicate item found with id fc_1/
    ],
    ["an item id of another kind", { input: [call("c1", { id: "msg_1" }), output("c1")] }, /begins with 'fc'/],
    ["a call id of 65 characters", { input: [call("c".repeat(65)), output("c".repeat(65))] }, /maximum length 64/],
    ["arguments that are no text", { input: [call("c1", { arguments: {} }), output("c1")] }, /expected a string/],
    ["reasoning that it never sent", { input: [{ type: "reasoning", id: "rs_9", summary: [] }, ask] }, /not found/],
    ["user's text in the assistant's name", { input: [{ role: "assistant", content: ask.content }] }, /Invalid value/],
    ["a tool name with a dot", { input: [ask], tools: [strict({ type: "object" }, "a.b")] }, /does not match pattern/],
    ["tool choice without tools", { input: [ask], tool_choice: "auto" }, /only allowed when 'tools'/],
    [
      "an optional parameter in strict mode",
      {
        input: [ask],
        tools: [
          strict({ type: "object", properties: { a: { type: "string" } }, required: [], additionalProperties: false })
        ]
      },
      /Missing 'a'/
    ],
    [
      "an open object in strict mode",
      { input: [ask], tools: [strict({ type: "object", properties: {}, required: [] })] },
      /'additionalProperties' is required/
    ],
    [
      "a keyword that strict mode does not know",
      {
        input: [ask],
        tools: [
          strict({
            type: "object",
            properties: { a: { type: "string", minLength: 1 } },
            required: ["a"],
            additionalProperties: false
          })
        ]
      },
      /'minLength' is not permitted/
    ]
  ]
  for (const [title, body, message] of refused) {
    it.scoped(`refuses ${title}`, () =>
      Effect.gen(function* () {
        const server = yield* OpenAi.make([])
        const { status, text } = yield* send(server, body)
        expect(status).toBe(400)
        expect(JSON.parse(text).error).toMatchObject({
          type: "invalid_request_error",
          message: expect.stringMatching(message)
        })
        expect(server.violations).toHaveLength(1)
      })
    )
  }

  it.scoped("wants reasoning back as it was, with what came after it", () =>
    Effect.gen(function* () {
      const server = yield* OpenAi.make([
        [Script.reasoning("Hm."), Script.call("book", {}, "c1")],
        "fine",
        ...Array.from({ length: 9 }, () => "fine")
      ])
      const options = { include: ["reasoning.encrypted_content"], store: false }
      const { text } = yield* send(server, { input: [ask], ...options })
      const [reasoning, made] = (eventsOf(text).at(-1) as any).data.response.output as [any, any]
      const status = (input: ReadonlyArray<unknown>) =>
        Effect.map(send(server, { input: [ask, ...input], ...options }), (response) => response.status)
      expect(yield* status([reasoning, made, output("c1")])).toBe(200)
      expect(yield* status([{ ...reasoning, encrypted_content: "x" }, made, output("c1")])).toBe(400)
      expect(yield* status([{ ...reasoning, encrypted_content: undefined }, made, output("c1")])).toBe(400)
      expect(yield* status([reasoning, ask, made, output("c1")])).toBe(400)
      expect(yield* status([reasoning])).toBe(400)
      expect(yield* status([made, output("c1")])).toBe(400)
      // without its item id the call stands for itself
      expect(yield* status([{ ...made, id: undefined }, output("c1")])).toBe(200)
    })
  )

  it.scoped("wants a key", () =>
    Effect.gen(function* () {
      const server = yield* OpenAi.make([])
      expect((yield* send(server, { input: [ask] }, {})).status).toBe(401)
    })
  )
})

const use = (id: string, extra: object = {}) => ({ type: "tool_use", id, name: "book", input: {}, ...extra })
const result = (id: string) => ({ type: "tool_result", tool_use_id: id, content: "null" })
const tools = [{ name: "book", input_schema: { type: "object", properties: {} } }]
const user = (...content: ReadonlyArray<unknown>) => ({ role: "user", content })
const assistant = (...content: ReadonlyArray<unknown>) => ({ role: "assistant", content })
const hi = user({ type: "text", text: "Hi" })

describe("the local server of Anthropic's Messages API", () => {
  const headers = { "x-api-key": "sk-ant-test", "anthropic-version": "2023-06-01" }
  const send = (server: { readonly url: string }, body: object, sent: Record<string, string> = headers) =>
    post(`${server.url}/v1/messages`, { model: "claude-haiku-4-5", max_tokens: 4096, stream: true, ...body }, sent)

  it.scoped("streams text, thinking and calls, with the usage at both ends", () =>
    Effect.gen(function* () {
      const server = yield* Anthropic.make([
        [Script.reasoning("Hm."), Script.hiddenReasoning, "Hello there", Script.call("book", { to: "Oslo" })]
      ])
      const events = eventsOf((yield* send(server, { messages: [hi], tools })).text)
      expect(events.map((event) => event.name)).toEqual([
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "content_block_start",
        "content_block_stop",
        "content_block_start",
        "ping",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop"
      ])
      expect(events.at(-2)?.data).toMatchObject({ delta: { stop_reason: "tool_use" } })
    })
  )

  const refused: ReadonlyArray<readonly [title: string, body: object, message: RegExp]> = [
    ["no messages", { messages: [] }, /at least one message/],
    ["no max_tokens", { messages: [hi], max_tokens: undefined }, /max_tokens: Field required/],
    ["a first message of the assistant", { messages: [assistant({ type: "text", text: "Hi" }), hi] }, /first message/],
    ["a last message of the assistant", { messages: [hi, assistant({ type: "text", text: "Hi" })] }, /must end with/],
    ["a system message among the messages", { messages: [hi, { role: "system", content: "x" }] }, /messages.1.role/],
    ["empty text", { messages: [user({ type: "text", text: "" })] }, /must be non-empty/],
    ["blank text", { messages: [user({ type: "text", text: " \n" })] }, /non-whitespace/],
    ["a call without result", { messages: [hi, assistant(use("t1")), hi], tools }, /were found without `tool_result`/],
    [
      "a result one message later",
      { messages: [hi, assistant(use("t1")), hi, assistant({ type: "text", text: "x" }), user(result("t1"))], tools },
      /were found without `tool_result`/
    ],
    ["a result without call", { messages: [user(result("t1"))], tools }, /unexpected `tool_use_id`/],
    [
      "two results",
      { messages: [hi, assistant(use("t1")), user(result("t1"), result("t1"))], tools },
      /must have a single result/
    ],
    [
      "text before a result",
      { messages: [hi, assistant(use("t1")), user({ type: "text", text: "x" }, result("t1"))], tools },
      /must come first/
    ],
    [
      "a call id twice",
      { messages: [hi, assistant(use("t1"), use("t1")), user(result("t1"))], tools },
      /ids must be unique/
    ],
    [
      "a call id with a dot",
      { messages: [hi, assistant(use("t.1")), user(result("t.1"))], tools },
      /should match pattern/i
    ],
    ["tool blocks without tools", { messages: [hi, assistant(use("t1")), user(result("t1"))] }, /must define tools/],
    [
      "arguments that are no object",
      { messages: [hi, assistant(use("t1", { input: [] })), user(result("t1"))], tools },
      /valid dictionary/
    ],
    [
      "a tool name of 65 characters",
      { messages: [hi], tools: [{ ...tools[0], name: "a".repeat(65) }] },
      /should match pattern/i
    ],
    [
      "thinking that it never signed",
      {
        messages: [hi, assistant({ type: "thinking", thinking: "x", signature: "y" }, use("t1")), user(result("t1"))],
        tools
      },
      /Invalid `signature`/
    ],
    [
      "five cache breakpoints",
      {
        messages: Array.from({ length: 5 }, () =>
          user({ type: "text", text: "x", cache_control: { type: "ephemeral" } })
        )
      },
      /maximum of 4 blocks/
    ]
  ]
  for (const [title, body, message] of refused) {
    it.scoped(`refuses ${title}`, () =>
      Effect.gen(function* () {
        const server = yield* Anthropic.make([])
        const { status, text } = yield* send(server, body)
        expect(JSON.parse(text)).toMatchObject({
          type: "error",
          error: { type: "invalid_request_error", message: expect.stringMatching(message) }
        })
        expect(status).toBe(400)
      })
    )
  }

  it.scoped("wants thinking back as it was, before the call that it came with", () =>
    Effect.gen(function* () {
      const server = yield* Anthropic.make([
        [Script.reasoning("Hm."), Script.hiddenReasoning, Script.call("book", {}, "t1")],
        ...Array.from({ length: 9 }, () => "fine")
      ])
      const thinking = { type: "enabled", budget_tokens: 2048 }
      const { text } = yield* send(server, { messages: [hi], tools, thinking })
      const signature = eventsOf(text).flatMap(({ data }) => data.delta?.signature ?? [])[0]
      const data = eventsOf(text).flatMap((event) => event.data.content_block?.data ?? [])[0]
      const blocks = [
        { type: "thinking", thinking: "Hm.", signature },
        { type: "redacted_thinking", data }
      ]
      const status = (...content: ReadonlyArray<unknown>) =>
        Effect.map(
          send(server, { messages: [hi, assistant(...content), user(result("t1"))], tools, thinking }),
          (response) => response.status
        )
      expect(yield* status(...blocks, use("t1"))).toBe(200)
      expect(yield* status(blocks[0], use("t1"))).toBe(400)
      expect(yield* status(use("t1"))).toBe(400)
      expect(yield* status({ ...blocks[0], thinking: "Ho." }, blocks[1], use("t1"))).toBe(400)
      expect(yield* status({ type: "text", text: "x" }, ...blocks, use("t1"))).toBe(400)
    })
  )

  it.scoped("wants a key", () =>
    Effect.gen(function* () {
      const server = yield* Anthropic.make([])
      expect((yield* send(server, { messages: [hi] }, {})).status).toBe(401)
    })
  )
})

describe("the documented streams", () => {
  const said: Record<string, Script.Answer> = {
    text: "Hi",
    "a function call": Script.call("pick"),
    "a tool use": Script.call("pick"),
    "reasoning with a summary and encrypted content": Script.reasoning("Hm."),
    "thinking with a signature": Script.reasoning("Hm."),
    "an error in the middle of a stream": Script.errorEvent("server_error", "Something went wrong")
  }
  const parsed: Record<string, ReadonlyArray<unknown>> = {
    text: [{ type: "text-delta", delta: "Hi" }],
    "a function call": [{ type: "tool-call", name: "pick", params: {} }],
    "a tool use": [{ type: "tool-call", name: "pick", params: {} }],
    "reasoning with a summary and encrypted content": [
      { type: "reasoning-delta", delta: "Hm." },
      { type: "reasoning-end", metadata: { openai: { encryptedContent: "gAAAAABoISQ24OyVRYb" } } }
    ],
    "thinking with a signature": [
      { type: "reasoning-delta", delta: "Hm." },
      { type: "reasoning-delta", delta: "", metadata: { anthropic: { signature: "EqQBCgIYAhIM1gbcDa9G" } } }
    ],
    "an error in the middle of a stream": [{ type: "error" }]
  }
  const providerOf = (fixture: Fixture) => (fixture.provider === "openai" ? Providers.openai : Providers.anthropic)
  const Pick = Tool.make("pick", { success: Schema.String })

  /** What of `wanted` is not there: a path. */
  const missing = (wanted: unknown, found: unknown, path: string): ReadonlyArray<string> => {
    if (typeof wanted !== "object" || wanted === null) return typeof wanted === typeof found ? [] : [path]
    if (typeof found !== "object" || found === null) return [path]
    return Object.entries(wanted).flatMap(([key, value]) =>
      key in found ? (value === null ? [] : missing(value, (found as any)[key], `${path}.${key}`)) : [`${path}.${key}`]
    )
  }

  for (const fixture of fixtures) {
    it.scopedLive(`${fixture.provider}, ${fixture.title}: the package takes it`, () =>
      Effect.gen(function* () {
        const provider = providerOf(fixture)
        const server = yield* provider.serve([
          Script.raw(fixture.events.map((event) => sse(event.type, event)).join(""))
        ])
        const parts = yield* LanguageModel.streamText({
          prompt: "Hi",
          toolkit: Toolkit.make(Pick),
          disableToolCallResolution: true
        }).pipe(
          Stream.runCollect,
          Effect.provide(Toolkit.make(Pick).toLayer({ pick: () => Effect.succeed("12A") })),
          Effect.provide(provider.model(server))
        )
        const types = new Set(parsed[fixture.title]?.map((part: any) => part.type))
        expect(Array.from(parts).filter((part) => types.has(part.type))).toMatchObject(parsed[fixture.title] as any)
      })
    )

    it.scopedLive(`${fixture.provider}, ${fixture.title}: the local server speaks so`, () =>
      Effect.gen(function* () {
        const provider = providerOf(fixture)
        const server = yield* provider.serve([said[fixture.title] as Script.Answer])
        const openai = provider.name === "openai"
        const { text } = yield* post(
          openai ? `${server.url}/responses` : `${server.url}/v1/messages`,
          openai
            ? { model: "gpt-5-mini", stream: true, input: [ask], include: ["reasoning.encrypted_content"] }
            : { model: "claude-haiku-4-5", max_tokens: 9, stream: true, messages: [hi], tools },
          openai ? { authorization: "Bearer sk-test" } : { "x-api-key": "sk", "anthropic-version": "2023-06-01" }
        )
        const events = eventsOf(text)
        for (const event of fixture.events) {
          const fits = events.filter(({ data, name }) => name === event.type && missing(event, data, "").length === 0)
          expect(
            fits.length,
            `${event.type}: ${missing(event, events.find(({ name }) => name === event.type)?.data, "")}`
          ).toBeGreaterThan(0)
        }
      })
    )
  }
})
