import { generateText, isStepCount, type ModelMessage, streamText, tool } from "ai"
import { convertArrayToReadableStream, MockLanguageModelV4 } from "ai/test"
import { z } from "zod"
import type { Contestant } from "../contestant.js"
import * as work from "../work.js"

const usage = {
  inputTokens: { total: 1, noCache: 1, cacheRead: undefined, cacheWrite: undefined },
  outputTokens: { total: 1, text: 1, reasoning: undefined }
}
const reason = (unified: "stop" | "tool-calls") => ({ unified, raw: undefined })

const asksForCalls = (prompt: ReadonlyArray<{ readonly role: string }>) => prompt[prompt.length - 1]?.role === "user"
const calls = () =>
  work.nextCalls().map(({ args, id }) => ({
    type: "tool-call" as const,
    toolCallId: id,
    toolName: work.toolName,
    input: JSON.stringify(args)
  }))

/** The AI SDK's own mock model. It remembers every request, which is not part of the work: that is taken from it. */
export const mock = () => {
  const model = new MockLanguageModelV4({
    doGenerate: async ({ prompt }) => {
      model.doGenerateCalls.length = 0
      return asksForCalls(prompt)
        ? { content: calls(), finishReason: reason("tool-calls"), usage, warnings: [] }
        : { content: [{ type: "text", text: work.answer }], finishReason: reason("stop"), usage, warnings: [] }
    },
    doStream: async ({ prompt }) => {
      model.doStreamCalls.length = 0
      const parts = asksForCalls(prompt)
        ? [...calls(), { type: "finish" as const, finishReason: reason("tool-calls"), usage }]
        : [
            { type: "text-start" as const, id: "t" },
            ...work.words.map((delta) => ({ type: "text-delta" as const, id: "t", delta })),
            { type: "text-end" as const, id: "t" },
            { type: "finish" as const, finishReason: reason("stop"), usage }
          ]
      return { stream: convertArrayToReadableStream([{ type: "stream-start" as const, warnings: [] }, ...parts]) }
    }
  })
  return model
}

const model = mock()
const inputSchema = z.object({ n: z.number() })
const description = work.toolDescription
const tools = { work: tool({ description, inputSchema, execute: async ({ n }) => work.handle(n) }) }
const waiting = {
  listening: {
    work: tool({ description, inputSchema, execute: (_, { abortSignal }) => work.waitForAbort(abortSignal) })
  },
  deaf: { work: tool({ description, inputSchema, execute: () => work.waitForEver() }) }
}

const options = (messages: Array<ModelMessage>) => ({
  model,
  instructions: work.instructions,
  messages,
  stopWhen: isStepCount(5)
})

const turn = {
  generate: async (messages: Array<ModelMessage>, set: typeof tools, abortSignal?: AbortSignal) =>
    (await generateText({ ...options(messages), tools: set, ...(abortSignal && { abortSignal }) })).responseMessages,
  stream: async (messages: Array<ModelMessage>, set: typeof tools, abortSignal?: AbortSignal) => {
    const result = streamText({
      ...options(messages),
      tools: set,
      ...(abortSignal && { abortSignal }),
      onError: () => {}
    })
    for await (const _ of result.fullStream);
    return await result.responseMessages
  }
}

const make = (kind: "generate" | "stream"): Contestant => ({
  name: `AI SDK, ${kind}Text`,
  packages: ["ai"],
  converse: async (turns) => {
    const messages: Array<ModelMessage> = []
    for (let i = 0; i < turns; i++) {
      messages.push({ role: "user", content: work.userText })
      messages.push(...(await turn[kind](messages, tools)))
    }
  },
  fly: async (handlers) => {
    const controller = new AbortController()
    const messages: Array<ModelMessage> = [{ role: "user", content: work.userText }]
    const done = turn[kind](messages, waiting[handlers] as any, controller.signal).then(
      () => {},
      () => {}
    )
    return {
      cancel: () => {
        controller.abort()
        return done
      }
    }
  }
})

export const generate = make("generate")
export const stream = make("stream")
