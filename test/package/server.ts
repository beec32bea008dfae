/** The counterpart of `examples/start/server.ts` on the AI SDK: POST a text to `/chat/:id`, and the answer streams back. */
import { createServer } from "node:http"
import { text } from "node:stream/consumers"
import { openai } from "@ai-sdk/openai"
import { type ModelMessage, stepCountIs, streamText, tool } from "ai"
import { z } from "zod"

const weather = tool({
  inputSchema: z.object({ city: z.string() }),
  execute: async ({ city }) => `21 degrees in ${city}`
})

const conversations = new Map<string, Array<ModelMessage>>()

const server = createServer(async (request, response) => {
  const [, id] = /^\/chat\/([^/]+)$/.exec(request.url ?? "") ?? []
  if (id === undefined || request.method !== "POST") return void response.writeHead(404).end()
  const messages = conversations.get(id) ?? []
  conversations.set(id, messages)
  messages.push({ role: "user", content: await text(request) })
  const result = streamText({
    model: openai("gpt-5"),
    system: "You are a travel guide.",
    messages,
    tools: { weather },
    stopWhen: stepCountIs(4)
  })
  result.pipeUIMessageStreamToResponse(response)
  messages.push(...(await result.response).messages)
})

server.listen(Number(process.env.PORT ?? 3000))
