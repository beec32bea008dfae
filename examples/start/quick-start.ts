/** A chat in the terminal: an agent with a tool, and its words as they come. It needs `OPENAI_API_KEY`. */
import { createInterface } from "node:readline"
import { openai } from "@ai-sdk/openai"
import { Toolkit } from "@effect/ai"
import { Effect, Layer, Schema, Stream } from "effect"
import { Agent, AgentOutput, AgentSession, AsyncTool } from "effect-meantime"
import { AiSdkModel } from "effect-meantime/ai-sdk"

const Weather = AsyncTool.make("weather", {
  description: "The weather in a city.",
  parameters: { city: Schema.String },
  success: Schema.Struct({ city: Schema.String, celsius: Schema.Number })
})
const Tools = Toolkit.make(Weather)
const ToolsLive = Tools.toLayer({ weather: ({ city }) => Effect.succeed({ city, celsius: 21 }) })
const agent = Agent.make("guide", { instructions: "You are a travel guide.", tools: [Tools] })

const write = (text: string) => Effect.sync(() => process.stdout.write(text))
const Terminal = Layer.succeed(AgentOutput.AgentOutput, {
  play: (text, played) => Stream.runForEach(text, (piece) => Effect.zipRight(write(piece), played(piece)))
})

const chat = Effect.gen(function* () {
  const session = yield* AgentSession.make({ agent })
  yield* Stream.fromAsyncIterable(createInterface({ input: process.stdin }), String).pipe(
    Stream.runForEach((line) => Effect.zipRight(session.run(line), write("\n")))
  )
}).pipe(Effect.scoped)

chat.pipe(Effect.provide([ToolsLive, Terminal, AiSdkModel.layer(openai("gpt-5"))]), Effect.runPromise)
