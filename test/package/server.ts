/** The counterpart of `examples/forty-lines.ts` on the AI SDK: POST a text to `/chat/:id`, and the answer streams back. */
import { createServer } from "node:http"
import { json } from "node:stream/consumers"
import { openai } from "@ai-sdk/openai"
import { type ModelMessage, stepCountIs, streamText, tool } from "ai"
import { z } from "zod"

const bake = tool({
  inputSchema: z.object({ cake: z.string() }),
  execute: async ({ cake }) => `The ${cake} is in the oven.`
})

const conversations = new Map<string, Array<ModelMessage>>()

const server = createServer(async (request, response) => {
  const [, id] = /^\/chat\/([^/]+)$/.exec(request.url ?? "") ?? []
  if (id === undefined || request.method !== "POST") return void response.writeHead(404).end()
  const messages = conversations.get(id) ?? []
  conversations.set(id, messages)
  const body = z.object({ text: z.string() }).parse(await json(request))
  messages.push({ role: "user", content: body.text })
  const result = streamText({
    model: openai("gpt-5-mini"),
    system: "You bake cakes.",
    messages,
    tools: { bake },
    stopWhen: stepCountIs(4)
  })
  result.pipeUIMessageStreamToResponse(response)
  messages.push(...(await result.response).messages)
})

server.listen(3000)
