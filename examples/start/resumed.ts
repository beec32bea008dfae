/** A conversation in a file, one turn for each run: `node resumed.js chat.jsonl "Hello"`. It needs `OPENAI_API_KEY`. */
import { appendFileSync, existsSync, readFileSync } from "node:fs"
import { openai } from "@ai-sdk/openai"
import { Effect, Schema } from "effect"
import { Agent, AgentSession, ChatContext } from "effect-meantime"
import { AiSdkModel } from "effect-meantime/ai-sdk"

const [file = "chat.jsonl", line = "Hello"] = process.argv.slice(2)
const agent = Agent.make("guide", { instructions: "You are a travel guide." })
const Items = Schema.Array(Schema.parseJson(ChatContext.ChatItem))
const stored = existsSync(file) ? readFileSync(file, "utf8").trim().split("\n") : []

const turn = Effect.gen(function* () {
  const session = yield* AgentSession.make({
    agent,
    history: { items: yield* Schema.decode(Items)(stored) },
    resume: true,
    onItems: (items) =>
      Effect.orDie(Schema.encode(Items)(items)).pipe(
        Effect.map((lines) => appendFileSync(file, lines.map((line) => `${line}\n`).join("")))
      )
  })
  const { text } = yield* session.run(line)
  console.log(text)
}).pipe(Effect.scoped)

turn.pipe(Effect.provide(AiSdkModel.layer(openai("gpt-5"))), Effect.runPromise)
