/**
 * Streams in the form in which the providers document them, written by hand from the pages that are named. The local
 * servers are held to them: what a fixture has in an event, a server's event of that type has as well.
 */

export interface Fixture {
  readonly provider: "openai" | "anthropic"
  readonly title: string
  readonly page: string
  readonly events: ReadonlyArray<{ readonly type: string; readonly [field: string]: unknown }>
}

const response = (status: string, rest: object = {}) => ({
  id: "resp_67c9fdcecf488190bdd9a0409de3a1ec07b8b0ad4e5eb654",
  object: "response",
  created_at: 1741290958,
  status,
  error: null,
  incomplete_details: null,
  instructions: null,
  max_output_tokens: null,
  model: "gpt-5-mini",
  output: [],
  parallel_tool_calls: true,
  previous_response_id: null,
  reasoning: { effort: null, summary: null },
  store: true,
  temperature: 1,
  text: { format: { type: "text" } },
  tool_choice: "auto",
  tools: [],
  top_p: 1,
  truncation: "disabled",
  usage: null,
  user: null,
  metadata: {},
  ...rest
})

const usage = {
  input_tokens: 37,
  input_tokens_details: { cached_tokens: 0 },
  output_tokens: 11,
  output_tokens_details: { reasoning_tokens: 0 },
  total_tokens: 48
}

const begin = [
  { type: "response.created", sequence_number: 0, response: response("in_progress") },
  { type: "response.in_progress", sequence_number: 1, response: response("in_progress") }
]

const msg = "msg_67c9fdcf37fc8190ba82116e33fb28c507b8b0ad4e5eb654"
const fc = "fc_67ca09c6bedc8190a7abfec07b1a1332096610f474011cc0"
const rs = "rs_6820f383d7c08191846711c5df8233bc0ac5ba57aafcbac7"

export const fixtures: ReadonlyArray<Fixture> = [
  {
    provider: "openai",
    title: "text",
    page: "https://platform.openai.com/docs/api-reference/responses-streaming",
    events: [
      ...begin,
      {
        type: "response.output_item.added",
        sequence_number: 2,
        output_index: 0,
        item: { id: msg, type: "message", status: "in_progress", role: "assistant", content: [] }
      },
      {
        type: "response.content_part.added",
        sequence_number: 3,
        item_id: msg,
        output_index: 0,
        content_index: 0,
        part: { type: "output_text", text: "", annotations: [] }
      },
      {
        type: "response.output_text.delta",
        sequence_number: 4,
        item_id: msg,
        output_index: 0,
        content_index: 0,
        delta: "Hi",
        logprobs: []
      },
      {
        type: "response.output_text.done",
        sequence_number: 5,
        item_id: msg,
        output_index: 0,
        content_index: 0,
        text: "Hi",
        logprobs: []
      },
      {
        type: "response.content_part.done",
        sequence_number: 6,
        item_id: msg,
        output_index: 0,
        content_index: 0,
        part: { type: "output_text", text: "Hi", annotations: [] }
      },
      {
        type: "response.output_item.done",
        sequence_number: 7,
        output_index: 0,
        item: {
          id: msg,
          type: "message",
          status: "completed",
          role: "assistant",
          content: [{ type: "output_text", text: "Hi", annotations: [] }]
        }
      },
      { type: "response.completed", sequence_number: 8, response: response("completed", { usage }) }
    ]
  },
  {
    provider: "openai",
    title: "a function call",
    page: "https://platform.openai.com/docs/guides/function-calling",
    events: [
      ...begin,
      {
        type: "response.output_item.added",
        sequence_number: 2,
        output_index: 0,
        item: {
          id: fc,
          type: "function_call",
          status: "in_progress",
          arguments: "",
          call_id: "call_CUdAK9KGjZBRT9nVAx1iTZkT",
          name: "pick"
        }
      },
      {
        type: "response.function_call_arguments.delta",
        sequence_number: 3,
        item_id: fc,
        output_index: 0,
        delta: "{}"
      },
      {
        type: "response.function_call_arguments.done",
        sequence_number: 4,
        item_id: fc,
        output_index: 0,
        arguments: "{}"
      },
      {
        type: "response.output_item.done",
        sequence_number: 5,
        output_index: 0,
        item: {
          id: fc,
          type: "function_call",
          status: "completed",
          arguments: "{}",
          call_id: "call_CUdAK9KGjZBRT9nVAx1iTZkT",
          name: "pick"
        }
      },
      { type: "response.completed", sequence_number: 6, response: response("completed", { usage }) }
    ]
  },
  {
    provider: "openai",
    title: "reasoning with a summary and encrypted content",
    page: "https://platform.openai.com/docs/guides/reasoning",
    events: [
      ...begin,
      {
        type: "response.output_item.added",
        sequence_number: 2,
        output_index: 0,
        item: { id: rs, type: "reasoning", summary: [], encrypted_content: "gAAAAABo" }
      },
      {
        type: "response.reasoning_summary_part.added",
        sequence_number: 3,
        item_id: rs,
        output_index: 0,
        summary_index: 0,
        part: { type: "summary_text", text: "" }
      },
      {
        type: "response.reasoning_summary_text.delta",
        sequence_number: 4,
        item_id: rs,
        output_index: 0,
        summary_index: 0,
        delta: "Hm."
      },
      {
        type: "response.reasoning_summary_text.done",
        sequence_number: 5,
        item_id: rs,
        output_index: 0,
        summary_index: 0,
        text: "Hm."
      },
      {
        type: "response.reasoning_summary_part.done",
        sequence_number: 6,
        item_id: rs,
        output_index: 0,
        summary_index: 0,
        part: { type: "summary_text", text: "Hm." }
      },
      {
        type: "response.output_item.done",
        sequence_number: 7,
        output_index: 0,
        item: {
          id: rs,
          type: "reasoning",
          summary: [{ type: "summary_text", text: "Hm." }],
          encrypted_content: "gAAAAABoISQ24OyVRYb"
        }
      },
      { type: "response.completed", sequence_number: 8, response: response("completed", { usage }) }
    ]
  },
  {
    provider: "openai",
    title: "an error in the middle of a stream",
    page: "https://platform.openai.com/docs/api-reference/responses-streaming",
    events: [
      ...begin,
      { type: "error", sequence_number: 2, code: "server_error", message: "Something went wrong", param: null },
      {
        type: "response.failed",
        sequence_number: 3,
        response: response("failed", { error: { code: "server_error", message: "Something went wrong" } })
      }
    ]
  },
  {
    provider: "anthropic",
    title: "text",
    page: "https://platform.claude.com/docs/en/build-with-claude/streaming",
    events: [
      {
        type: "message_start",
        message: {
          id: "msg_1nZdL29xx5MUA1yADyHTEsnR8uuvGzszyY",
          type: "message",
          role: "assistant",
          content: [],
          model: "claude-haiku-4-5",
          stop_reason: null,
          stop_sequence: null,
          usage: { input_tokens: 25, output_tokens: 1 }
        }
      },
      { type: "content_block_start", index: 0, content_block: { type: "text", text: "" } },
      { type: "ping" },
      { type: "content_block_delta", index: 0, delta: { type: "text_delta", text: "Hi" } },
      { type: "content_block_stop", index: 0 },
      {
        type: "message_delta",
        delta: { stop_reason: "end_turn", stop_sequence: null },
        usage: { output_tokens: 15 }
      },
      { type: "message_stop" }
    ]
  },
  {
    provider: "anthropic",
    title: "a tool use",
    page: "https://platform.claude.com/docs/en/build-with-claude/streaming",
    events: [
      {
        type: "message_start",
        message: {
          id: "msg_014p7gG3wDgGV9EUtLvnow3U",
          type: "message",
          role: "assistant",
          model: "claude-haiku-4-5",
          content: [],
          stop_reason: null,
          stop_sequence: null,
          usage: { input_tokens: 472, output_tokens: 2 }
        }
      },
      {
        type: "content_block_start",
        index: 0,
        content_block: { type: "tool_use", id: "toolu_01T1x1fJ34qAmk2tNTrN7Up6", name: "pick", input: {} }
      },
      { type: "content_block_delta", index: 0, delta: { type: "input_json_delta", partial_json: "" } },
      { type: "content_block_delta", index: 0, delta: { type: "input_json_delta", partial_json: "{}" } },
      { type: "content_block_stop", index: 0 },
      {
        type: "message_delta",
        delta: { stop_reason: "tool_use", stop_sequence: null },
        usage: { output_tokens: 89 }
      },
      { type: "message_stop" }
    ]
  },
  {
    provider: "anthropic",
    title: "thinking with a signature",
    page: "https://platform.claude.com/docs/en/build-with-claude/extended-thinking",
    events: [
      {
        type: "message_start",
        message: {
          id: "msg_01",
          type: "message",
          role: "assistant",
          content: [],
          model: "claude-haiku-4-5",
          stop_reason: null,
          stop_sequence: null,
          usage: { input_tokens: 25, output_tokens: 1 }
        }
      },
      { type: "content_block_start", index: 0, content_block: { type: "thinking", thinking: "", signature: "" } },
      { type: "content_block_delta", index: 0, delta: { type: "thinking_delta", thinking: "Hm." } },
      { type: "content_block_delta", index: 0, delta: { type: "signature_delta", signature: "EqQBCgIYAhIM1gbcDa9G" } },
      { type: "content_block_stop", index: 0 },
      {
        type: "message_delta",
        delta: { stop_reason: "end_turn", stop_sequence: null },
        usage: { output_tokens: 9 }
      },
      { type: "message_stop" }
    ]
  },
  {
    provider: "anthropic",
    title: "an error in the middle of a stream",
    page: "https://platform.claude.com/docs/en/build-with-claude/streaming",
    events: [{ type: "error", error: { type: "overloaded_error", message: "Overloaded" } }]
  }
]
