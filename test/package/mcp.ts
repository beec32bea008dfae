/** A host and a server of the Model Context Protocol in one program: the host starts it again, as the server. */
import { LanguageModel, Toolkit } from "@effect/ai"
import { Effect, Schema } from "effect"
import { Agent, AgentSession, AsyncTool } from "effect-meantime"
import { McpClient, McpServer } from "effect-meantime/mcp"
import { ScriptedModel } from "effect-meantime/testing"

const Greet = AsyncTool.make("greet", { parameters: { name: Schema.String }, success: Schema.String })
const greetings = Toolkit.make(Greet)

const server = Effect.gen(function* () {
  const { stdio } = yield* McpServer.make({ name: "greetings", version: "1.0.0", tools: greetings })
  yield* stdio
}).pipe(Effect.provide(greetings.toLayer({ greet: ({ name }) => Effect.succeed(`Hello, ${name}.`) })))

const host = Effect.gen(function* () {
  const toolset = McpClient.toolset("greetings", {
    transport: { type: "stdio", command: process.execPath, args: [process.argv[1] ?? "", "serve"] }
  })
  const model = yield* ScriptedModel.make([ScriptedModel.toolCall("greet", { name: "Ada" }), "Done."])
  const session = yield* AgentSession.make({
    agent: Agent.make("agent", { instructions: "Greet.", tools: [toolset] })
  }).pipe(Effect.provideService(LanguageModel.LanguageModel, model.languageModel))
  yield* session.run("Greet Ada.")
  const { items } = yield* session.history
  for (const item of items) if (item._tag === "FunctionCallOutput") console.log(item.output)
})

Effect.runPromise(Effect.scoped(process.argv[2] === "serve" ? server : host))
