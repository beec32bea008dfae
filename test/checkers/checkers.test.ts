/**
 * The checkers themselves: bodies that the APIs take, and what of each kind they refuse.
 */
import { describe, expect, it } from "@effect/vitest"
import * as Anthropic from "./anthropic.js"
import * as Bedrock from "./bedrock.js"
import * as Google from "./google.js"
import * as Mistral from "./mistral.js"
import * as OpenAi from "./openai.js"
import * as OpenRouter from "./openrouter.js"
import type { Checker } from "./rules.js"

/** A change to a copy of a body that was in order. */
type Change = readonly [what: string, change: (body: any) => void, complaint: RegExp]

const suite = (name: string, check: Checker, good: () => any, changes: ReadonlyArray<Change>): void => {
  describe(name, () => {
    it("takes a body that is in order", () => {
      expect(check(good())).toEqual([])
    })
    it.each(changes)("refuses %s", (_, change, complaint) => {
      const body = good()
      change(body)
      const problems = check(body)
      expect(problems.join("\n")).toMatch(complaint)
    })
    it("refuses nothing at all", () => {
      expect(check({}).length).toBeGreaterThan(0)
    })
  })
}

const schema = {
  type: "object",
  properties: { city: { type: "string" } },
  required: ["city"],
  additionalProperties: false
}

suite(
  "Anthropic",
  Anthropic.check,
  () => ({
    model: "claude-haiku-4-5",
    max_tokens: 4096,
    system: [{ type: "text", text: "You know the weather." }],
    tools: [{ name: "weather", input_schema: schema }],
    tool_choice: { type: "auto" },
    messages: [
      { role: "user", content: "Lima?" },
      {
        role: "assistant",
        content: [
          { type: "thinking", thinking: "Hm.", signature: "c2ln" },
          { type: "server_tool_use", id: "srvtoolu_01", name: "web_search", input: { query: "Lima" } },
          { type: "web_search_tool_result", tool_use_id: "srvtoolu_01", content: [] },
          { type: "text", text: "Let me look." },
          { type: "tool_use", id: "toolu_1", name: "weather", input: { city: "Lima" } },
          { type: "tool_use", id: "toolu_2", name: "weather", input: {} }
        ]
      },
      { role: "user", content: [{ type: "tool_result", tool_use_id: "toolu_1", content: "18" }] },
      {
        role: "user",
        content: [
          { type: "tool_result", tool_use_id: "toolu_2", content: [{ type: "text", text: "no city" }], is_error: true },
          { type: "text", text: "And now?" }
        ]
      }
    ]
  }),
  [
    ["half a character in a text", (b) => (b.messages[0].content = "Lima \ud83d"), /surrogate/],
    ["half a character in a key", (b) => (b.messages[1].content[4].input = { "\udc00": 1 }), /surrogate.* key/],
    ["half a character in a schema", (b) => (b.tools[0].description = "\ud800"), /surrogate/],
    ["a blank text", (b) => (b.messages[1].content[3].text = " \n"), /non-whitespace/],
    ["a blank system text", (b) => (b.system[0].text = "\u00a0"), /system.0/],
    ["a blank text in a result", (b) => (b.messages[3].content[0].content[0].text = ""), /must contain text/],
    ["empty content", (b) => (b.messages[0].content = []), /content is empty/],
    ["an assistant that begins", (b) => b.messages.shift(), /first message/],
    ["an assistant that ends", (b) => b.messages.push({ role: "assistant", content: "So" }), /end with a user/],
    ["a role of its own", (b) => (b.messages[0].role = "system"), /no role system/],
    ["an id outside the alphabet", (b) => (b.messages[1].content[4].id = "toolu#1"), /does not match its pattern/],
    ["a name outside the alphabet", (b) => (b.messages[1].content[4].name = "weather/now"), /does not match/],
    ["a name that is too long", (b) => (b.messages[1].content[4].name = "w".repeat(65)), /does not match/],
    ["arguments that are no object", (b) => (b.messages[1].content[4].input = "Lima"), /no dictionary/],
    ["arguments that are a list", (b) => (b.messages[1].content[4].input = ["Lima"]), /no dictionary/],
    ["a call without a result", (b) => b.messages.splice(2, 1), /toolu_1 has not exactly one result/],
    ["a result without a call", (b) => (b.messages[2].content[0].tool_use_id = "toolu_9"), /toolu_9 has no call/],
    ["two results of one call", (b) => b.messages[2].content.push(b.messages[2].content[0]), /not exactly one result/],
    ["two calls with one id", (b) => (b.messages[1].content[5].id = "toolu_1"), /used twice/],
    [
      "a text before a result",
      (b) => b.messages[2].content.unshift({ type: "text", text: "So." }),
      /results come first/
    ],
    ["tool blocks without tools", (b) => (b.tools = undefined), /must define tools/],
    ["thinking without a signature", (b) => (b.messages[1].content[0].signature = undefined), /no signature/],
    ["redacted thinking without data", (b) => (b.messages[1].content[0] = { type: "redacted_thinking" }), /no data/],
    ["a server's call with an id of ours", (b) => (b.messages[1].content[1].id = "c1"), /not one of the server's/],
    ["a server's result without a call", (b) => b.messages[1].content.splice(1, 1), /srvtoolu_01 has no call/],
    ["another kind of cache control", (b) => (b.messages[1].content[3].cache_control = { type: "x" }), /not ephemeral/],
    ["two tools of one name", (b) => b.tools.push(b.tools[0]), /there twice/]
  ]
)

suite(
  "OpenAI",
  OpenAi.check,
  () => ({
    model: "gpt-5-mini",
    input: [
      { role: "developer", content: "You know the weather." },
      { role: "user", content: [{ type: "input_text", text: "Lima?" }] },
      { type: "reasoning", id: "rs_1", summary: [], encrypted_content: "gAAA" },
      { type: "function_call", id: "fc_1", call_id: "call_1", name: "weather", arguments: '{"city":"Lima"}' },
      { type: "function_call_output", call_id: "call_1", output: "18" },
      { role: "assistant", id: "msg_1", content: [{ type: "output_text", text: "18 degrees." }] },
      { role: "user", content: [{ type: "input_text", text: "And now?" }] }
    ],
    tools: [{ type: "function", name: "weather", parameters: schema, strict: true }],
    tool_choice: "auto"
  }),
  [
    ["half a character", (b) => (b.input[4].output = "\ud83d"), /surrogate/],
    ["an id that is too long", (b) => (b.input[3].call_id = b.input[4].call_id = "c".repeat(65)), /1 to 64/],
    ["an empty id", (b) => (b.input[3].call_id = b.input[4].call_id = ""), /1 to 64/],
    ["an item's id of another kind", (b) => (b.input[3].id = "msg_2"), /does not begin with fc/],
    ["an item twice", (b) => b.input.push({ ...b.input[5] }, b.input[6]), /duplicate item msg_1/],
    ["a name outside the alphabet", (b) => (b.input[3].name = "número"), /does not match/],
    ["arguments that are no object", (b) => (b.input[3].arguments = "true"), /not the text of an object/],
    ["arguments that are no JSON", (b) => (b.input[3].arguments = "{"), /not the text of an object/],
    ["a call without an output", (b) => b.input.splice(4, 1), /no tool output found/],
    ["an output without a call", (b) => b.input.splice(3, 1), /no tool call found/],
    ["an output before its call", (b) => b.input.splice(2, 0, b.input.splice(4, 1)[0]), /no tool call found/],
    ["two outputs of one call", (b) => b.input.splice(4, 0, b.input[4]), /a second output/],
    ["two calls of one id", (b) => b.input.splice(3, 0, { ...b.input[3], id: "fc_2" }), /used twice/],
    ["reasoning with nothing behind it", (b) => b.input.splice(3, 0, b.input[6]), /required following item/],
    ["reasoning that nobody knows", (b) => (b.input[2] = { type: "reasoning", summary: [] }), /neither an id nor/],
    ["a part of the wrong role", (b) => (b.input[1].content[0].type = "output_text"), /no output_text for user/],
    ["an assistant that ends", (b) => b.input.pop(), /ends with the assistant/],
    ["nothing but instructions", (b) => b.input.splice(1), /nothing but instructions/],
    ["a schema that is not strict", (b) => (b.tools[0].parameters = { ...schema, required: [] }), /required/],
    ["a choice without tools", (b) => (b.tools = undefined), /only with tools/]
  ]
)

suite(
  "Google",
  Google.check,
  () => ({
    systemInstruction: { parts: [{ text: "You know the weather." }] },
    contents: [
      { role: "user", parts: [{ text: "Lima and Quito?" }] },
      {
        role: "model",
        parts: [
          { text: "Hm.", thought: true, thoughtSignature: "c2ln" },
          { functionCall: { name: "weather", args: { city: "Lima" } }, thoughtSignature: "c2lnLTI=" },
          { functionCall: { name: "time:now", args: {} } }
        ]
      },
      {
        role: "user",
        parts: [
          { functionResponse: { name: "weather", response: { output: 18 } } },
          { functionResponse: { name: "time:now", response: { output: "noon" } } }
        ]
      },
      { role: "model", parts: [{ text: "18 degrees at noon." }] },
      { role: "user", parts: [{ text: "Thanks." }] }
    ],
    tools: [{ functionDeclarations: [{ name: "weather", parameters: schema }] }]
  }),
  [
    ["half a character", (b) => (b.contents[0].parts[0].text = "\udd5a"), /surrogate/],
    ["a part without text", (b) => (b.contents[3].parts[0].text = ""), /no text in a part/],
    ["a part of nothing", (b) => b.contents[3].parts.push({}), /exactly one of its kinds/],
    ["no parts", (b) => (b.contents[3].parts = []), /at least one parts/],
    ["another role", (b) => (b.contents[3].role = "assistant"), /valid role/],
    ["a name that begins with a digit", (b) => (b.contents[1].parts[1].functionCall.name = "9"), /does not match/],
    ["arguments that are no object", (b) => (b.contents[1].parts[1].functionCall.args = [1]), /args are no Struct/],
    [
      "a response that is no object",
      (b) => (b.contents[2].parts[0].functionResponse.response = 18),
      /response is no Struct/
    ],
    ["a response less", (b) => b.contents[2].parts.pop(), /are not those of the calls/],
    ["responses in another order", (b) => b.contents[2].parts.reverse(), /are not those of the calls/],
    ["a call without responses", (b) => b.contents.splice(2, 1), /are not those of the calls/],
    ["a response without a call", (b) => b.contents.splice(1, 1), /comes immediately after a call/],
    ["a call behind the model", (b) => b.contents.splice(1, 0, b.contents[3]), /immediately after a user/],
    ["a signature that is no Base64", (b) => (b.contents[1].parts[1].thoughtSignature = "no!"), /not Base64/],
    ["a model that begins", (b) => b.contents.splice(0, 3), /begins with the user/],
    ["a model that ends", (b) => b.contents.pop(), /ends with the user/],
    ["instructions without words", (b) => (b.systemInstruction.parts[0].text = " "), /systemInstruction/]
  ]
)

suite(
  "Amazon Bedrock",
  Bedrock.check,
  () => ({
    system: [{ text: "You know the weather." }],
    messages: [
      { role: "user", content: [{ text: "Lima?" }] },
      {
        role: "assistant",
        content: [
          { reasoningContent: { reasoningText: { text: "Hm.", signature: "c2ln" } } },
          { text: "Let me look." },
          { toolUse: { toolUseId: "tooluse_1", name: "weather", input: { city: "Lima" } } }
        ]
      },
      {
        role: "user",
        content: [{ toolResult: { toolUseId: "tooluse_1", content: [{ text: "18" }] } }, { text: "And now?" }]
      }
    ],
    toolConfig: { tools: [{ toolSpec: { name: "weather", description: "Looks.", inputSchema: { json: schema } } }] }
  }),
  [
    ["half a character", (b) => (b.messages[1].content[1].text = "x\ud800y"), /surrogate/],
    ["a blank text", (b) => (b.messages[2].content[1].text = "\t"), /is blank/],
    ["a blank result", (b) => (b.messages[2].content[0].toolResult.content[0].text = ""), /is blank/],
    ["a result without content", (b) => (b.messages[2].content[0].toolResult.content = []), /a result has content/],
    ["blank instructions", (b) => (b.system[0].text = ""), /is blank/],
    ["two messages of one role", (b) => b.messages.splice(1, 1), /must alternate/],
    ["a message without content", (b) => (b.messages[0].content = []), /is empty/],
    ["a block of two kinds", (b) => (b.messages[0].content[0].image = {}), /exactly one of a union/],
    ["an id outside the alphabet", (b) => (b.messages[1].content[2].toolUse.toolUseId = "1.2"), /does not match/],
    ["an id that is too long", (b) => (b.messages[1].content[2].toolUse.toolUseId = "c".repeat(65)), /does not match/],
    ["a name outside the alphabet", (b) => (b.messages[1].content[2].toolUse.name = "a:b"), /does not match/],
    ["arguments that are no object", (b) => (b.messages[1].content[2].toolUse.input = null), /no JSON object/],
    ["a result without a call", (b) => b.messages[1].content.pop(), /tooluse_1 has no call/],
    ["a call without a result", (b) => b.messages[2].content.shift(), /not exactly one result/],
    ["tool blocks without tools", (b) => (b.toolConfig = undefined), /must be defined/],
    [
      "reasoning without a signature",
      (b) => (b.messages[1].content[0].reasoningContent.reasoningText = { text: "x" }),
      /neither text/
    ],
    ["an assistant that ends", (b) => b.messages.pop(), /end with a user/],
    ["an empty description", (b) => (b.toolConfig.tools[0].toolSpec.description = ""), /empty description/]
  ]
)

const chat = (id: string) => ({
  model: "m",
  messages: [
    { role: "system", content: "You know the weather." },
    { role: "user", content: [{ type: "text", text: "Lima?" }] },
    {
      role: "assistant",
      content: "",
      tool_calls: [{ id, type: "function", function: { name: "weather", arguments: '{"city":"Lima"}' } }]
    },
    { role: "tool", tool_call_id: id, name: "weather", content: "18" },
    { role: "assistant", content: "18 degrees." },
    { role: "user", content: "And now?" }
  ],
  tools: [{ type: "function", function: { name: "weather", parameters: schema, strict: true } }]
})

const chatChanges: ReadonlyArray<Change> = [
  ["half a character", (b) => (b.messages[3].content = "\ud83d"), /surrogate/],
  ["a blank message", (b) => (b.messages[5].content = " "), /no content/],
  ["a blank part", (b) => (b.messages[1].content[0].text = "\n"), /a text part is blank/],
  ["an assistant who says and calls nothing", (b) => (b.messages[4].content = ""), /neither content nor tool_calls/],
  ["a name outside the alphabet", (b) => (b.messages[2].tool_calls[0].function.name = "a b"), /does not match/],
  [
    "arguments that are no object",
    (b) => (b.messages[2].tool_calls[0].function.arguments = "null"),
    /text of an object/
  ],
  ["a call without an answer", (b) => b.messages.splice(3, 1), /not answered right behind/],
  ["an answer without a call", (b) => b.messages.splice(2, 1), /no call .* before it/],
  ["two answers", (b) => b.messages.splice(3, 0, b.messages[3]), /a second answer/],
  ["an assistant that ends", (b) => b.messages.pop(), /ends with the assistant|expected last role/],
  ["instructions in the middle", (b) => b.messages.splice(2, 0, b.messages[0]), /not the first one/],
  ["two tools of one name", (b) => b.tools.push(b.tools[0]), /there twice/]
]

suite("Mistral", Mistral.check, () => chat("aB3456789"), [
  ...chatChanges,
  [
    "an id of eight",
    (b) => (b.messages[2].tool_calls[0].id = b.messages[3].tool_call_id = "aB345678"),
    /does not match/
  ],
  [
    "an id with a line",
    (b) => (b.messages[2].tool_calls[0].id = b.messages[3].tool_call_id = "call_0001"),
    /does not match/
  ],
  ["the user right behind a result", (b) => b.messages.splice(4, 1), /unexpected role 'user' after role 'tool'/]
])

suite("OpenRouter", OpenRouter.check, () => chat("call_1"), [
  ...chatChanges,
  [
    "an id outside the alphabet",
    (b) => (b.messages[2].tool_calls[0].id = b.messages[3].tool_call_id = "#1"),
    /does not match/
  ],
  ["calls without tools", (b) => (b.tools = undefined), /must be in every request/],
  ["an assistant that begins", (b) => b.messages.splice(1, 3), /begins with the user/],
  [
    "a schema that is not strict",
    (b) => (b.tools[0].function.parameters = { type: "object", properties: {} }),
    /additionalProperties/
  ]
])
