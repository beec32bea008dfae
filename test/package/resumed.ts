/** The counterpart of `examples/start/resumed.ts` on the AI SDK. */
import { existsSync, readFileSync, writeFileSync } from "node:fs"
import { openai } from "@ai-sdk/openai"
import { type ModelMessage, modelMessageSchema, streamText } from "ai"
import { z } from "zod"

const [file = "chat.json", line = "Hello"] = process.argv.slice(2)
const stored: Array<ModelMessage> = existsSync(file)
  ? z.array(modelMessageSchema).parse(JSON.parse(readFileSync(file, "utf8")))
  : []

const messages: Array<ModelMessage> = [...stored, { role: "user", content: line }]
const result = streamText({ model: openai("gpt-5"), system: "You are a travel guide.", messages })
console.log(await result.text)
writeFileSync(file, JSON.stringify([...messages, ...(await result.response).messages]))
