/** The counterpart of `examples/start/quick-start.ts` on the AI SDK. */
import { createInterface } from "node:readline"
import { openai } from "@ai-sdk/openai"
import { type ModelMessage, stepCountIs, streamText, tool } from "ai"
import { z } from "zod"

const weather = tool({
  description: "The weather in a city.",
  inputSchema: z.object({ city: z.string() }),
  execute: async ({ city }) => ({ city, celsius: 21 })
})

const messages: Array<ModelMessage> = []

for await (const line of createInterface({ input: process.stdin })) {
  messages.push({ role: "user", content: line })
  const result = streamText({
    model: openai("gpt-5"),
    system: "You are a travel guide.",
    messages,
    tools: { weather },
    stopWhen: stepCountIs(4)
  })
  for await (const text of result.textStream) process.stdout.write(text)
  process.stdout.write("\n")
  messages.push(...(await result.response).messages)
}
