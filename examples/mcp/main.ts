/**
 * A server of the Model Context Protocol: a tool with progress, and the travel agent of the demo as a conversation, with the
 * tools `send`, `wait` and `cancel`. A host (a desktop application, an editor, the inspector) starts it:
 *
 *     npx @modelcontextprotocol/inspector node --import tsx examples/mcp/main.ts
 *
 * With `--http` it listens on PORT (4243) in place of its input, under the path /mcp. OPENAI_API_KEY or ANTHROPIC_API_KEY say
 * which model answers; without a key an offline model does.
 */
import { createServer } from "node:http"
import { Toolkit } from "@effect/ai"
import { HttpRouter, HttpServer } from "@effect/platform"
import { NodeHttpServer, NodeRuntime } from "@effect/platform-node"
import { Config, Effect, Layer, Logger, Schema } from "effect"
import { AsyncTool, RunContext, Sessions } from "effect-meantime"
import { McpServer } from "effect-meantime/mcp"
import * as Providers from "../demo/Providers.js"
import { flightsLayer, TravelAgent } from "../demo/Travel.js"

const Countdown = AsyncTool.make("countdown", {
  description: "Counts down, once a second, and tells each number as progress.",
  parameters: { from: Schema.Int.pipe(Schema.between(1, 60)) },
  success: Schema.String
})

const clocks = Toolkit.make(Countdown)

const ClocksLive = clocks.toLayer({
  countdown: ({ from }) =>
    Effect.as(
      Effect.forEach(
        Array.from({ length: from }, (_, i) => from - i),
        (left) => Effect.zipRight(RunContext.update(`${left}…`), Effect.sleep("1 second")),
        { discard: true }
      ),
      "Lift-off."
    )
})

const program = Effect.gen(function* () {
  const server = yield* McpServer.make({
    name: "travel",
    version: "1.0.0",
    tools: clocks,
    sessions: yield* Sessions.Sessions
  })
  if (!process.argv.includes("--http")) return yield* server.stdio
  const port = yield* Config.integer("PORT").pipe(Config.withDefault(4243))
  const router = HttpRouter.empty.pipe(HttpRouter.all("/mcp", server.httpApp))
  const served = Layer.provide(
    HttpServer.serve(router).pipe(HttpServer.withLogAddress),
    NodeHttpServer.layer(createServer, { port, host: "127.0.0.1" })
  )
  yield* Layer.launch(served)
})

const SessionsLive = Layer.unwrapEffect(
  Effect.map(Providers.Settings, (settings) =>
    Sessions.layer(() => Effect.succeed({ agent: TravelAgent }), { idleAfter: "15 minutes", maxSessions: 100 }).pipe(
      Layer.provide([Providers.choose(settings).layer, flightsLayer({ pace: 1 / settings.speed })])
    )
  )
)

program.pipe(
  Effect.scoped,
  Effect.provide(Layer.merge(ClocksLive, SessionsLive)),
  // the standard output belongs to the protocol
  Effect.provide(Logger.replace(Logger.defaultLogger, Logger.withConsoleError(Logger.stringLogger))),
  NodeRuntime.runMain({ disablePrettyLogger: true })
)
