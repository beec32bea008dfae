/** The client that the conformance suite looks at: a session whose model calls each tool of the server once. */
import { LanguageModel } from "@effect/ai"
import { Effect, Layer } from "effect"
import { Agent, AgentSession } from "effect-meantime"
import { McpClient } from "effect-meantime/mcp"
import { ScriptedModel } from "effect-meantime/testing"

const url = process.argv.at(-1) ?? ""
const args: Record<string, Record<string, unknown>> = { add_numbers: { a: 5, b: 3 } }

const program = Effect.gen(function* () {
  const names: Array<string> = []
  const toolset = McpClient.toolset("suite", {
    transport: { type: "http", url },
    tools: ({ name }) => names.push(name) > 0
  })
  const model = yield* ScriptedModel.make([])
  const session = yield* AgentSession.make({
    agent: Agent.make("agent", { instructions: "x", tools: [toolset] })
  }).pipe(Effect.provideService(LanguageModel.LanguageModel, model.languageModel))
  if (names.length > 0) {
    yield* model.service.push(names.map((name) => ScriptedModel.toolCall(name, args[name] ?? {})))
  }
  yield* model.service.push("done")
  yield* session.run("Call all of them.")
})

program.pipe(
  Effect.scoped,
  Effect.provide(Layer.succeed(McpClient.Elicitation, () => Effect.succeed({ action: "accept", content: {} }))),
  Effect.runPromise
)
