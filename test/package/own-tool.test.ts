/** The counterpart of `examples/start/own-tool.test.ts` on the AI SDK. */
import type { LanguageModelV3Content } from "@ai-sdk/provider"
import { generateText, stepCountIs, type ToolSet, tool } from "ai"
import { MockLanguageModelV3 } from "ai/test"
import { afterEach, beforeEach, expect, it, vi } from "vitest"
import { z } from "zod"

const inputSchema = z.object({ to: z.string() })
const book = tool({
  inputSchema,
  execute: async ({ to }) => {
    await new Promise((resolve) => setTimeout(resolve, 10_000))
    return `Seat 12A to ${to}.`
  }
})

const usage = {
  inputTokens: { total: 1, noCache: 1, cacheRead: 0, cacheWrite: 0 },
  outputTokens: { total: 1, text: 1, reasoning: 0 }
}
const scripted = (answers: ReadonlyArray<LanguageModelV3Content>) =>
  new MockLanguageModelV3({
    doGenerate: answers.map((content) => ({
      content: [content],
      finishReason: { unified: content.type === "tool-call" ? "tool-calls" : "stop", raw: undefined },
      usage,
      warnings: []
    }))
  })
const call = { type: "tool-call", toolCallId: "call_1", toolName: "book", input: '{"to":"Oslo"}' } as const
const run = (tools: ToolSet, text: string) =>
  generateText({
    model: scripted([call, { type: "text", text }]),
    system: "You book flights.",
    prompt: "To Oslo, please.",
    tools,
    stopWhen: stepCountIs(4)
  })

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

it("books, and says so", async () => {
  const running = run({ book }, "You have 12A.")
  await vi.advanceTimersByTimeAsync(10_000)
  const { steps, text } = await running
  expect(steps[0]?.toolCalls[0]).toMatchObject({ toolName: "book", input: { to: "Oslo" } })
  expect(steps[0]?.toolResults[0]).toMatchObject({ output: "Seat 12A to Oslo." })
  expect(text).toBe("You have 12A.")
})

it("says sorry if there is no seat", async () => {
  const execute = async (): Promise<string> => {
    throw new Error("Sold out.")
  }
  const { text } = await run({ book: tool({ inputSchema, execute }) }, "There is no seat, sorry.")
  expect(text).toBe("There is no seat, sorry.")
})
