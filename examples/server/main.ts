/**
 * A chat server: `npm run server`. Many conversations, streamed to a page in plain HTML.
 *
 * PORT (4242) and HOST (127.0.0.1) say where it listens, OPENAI_API_KEY or ANTHROPIC_API_KEY which model answers; without
 * a key an offline model does. SIGTERM and Ctrl-C end it in good order.
 */
import { createServer } from "node:http"
import { HttpServer } from "@effect/platform"
import { NodeHttpServer, NodeRuntime } from "@effect/platform-node"
import { Config, Effect, Exit, Layer, Logger, Scope } from "effect"
import { ApprovalPolicy, Sessions } from "effect-meantime"
import * as Providers from "../demo/Providers.js"
import { flightsLayer, TravelAgent } from "../demo/Travel.js"
import { app, chatLayer } from "./App.js"
import * as Limits from "./Limits.js"

const Settings = Config.all({
  port: Config.integer("PORT").pipe(Config.withDefault(4242)),
  host: Config.string("HOST").pipe(Config.withDefault("127.0.0.1")),
  models: Providers.Settings
})

const program = Effect.gen(function* () {
  const { host, models, port } = yield* Settings
  const provider = Providers.choose(models)

  const sessions = Sessions.layer(
    () => Effect.succeed({ agent: TravelAgent, deltas: true, drainTimeout: "10 seconds" }),
    { idleAfter: "15 minutes", maxSessions: 1000 }
  ).pipe(
    Layer.provide([
      provider.layer,
      flightsLayer({ pace: 1 / models.speed }),
      // a call that waits for its visitor keeps the session open, so it does not wait for ever
      ApprovalPolicy.layer("never", { timeout: "1 hour" })
    ])
  )

  const server = createServer({ requestTimeout: 30_000, keepAliveTimeout: 65_000 })
  const listening = Effect.gen(function* () {
    // the sessions close before the server does: what is said until then still reaches the pages
    const scope = yield* Scope.make()
    const context = yield* Layer.buildWithScope(Layer.provideMerge(chatLayer, sessions), scope)
    yield* HttpServer.serveEffect(Effect.provide(app, context))
    yield* Effect.addFinalizer(() =>
      Effect.gen(function* () {
        yield* Effect.log("draining")
        yield* Scope.close(scope, Exit.void)
        yield* Effect.log("drained")
        // whoever does not take what it is sent
        yield* Effect.sync(() => setTimeout(() => server.closeAllConnections(), 3000).unref())
      })
    )
    const { address } = yield* HttpServer.HttpServer
    yield* Effect.annotateLogs(Effect.log("listening"), {
      url: `http://${host}:${address._tag === "TcpAddress" ? address.port : port}/`,
      model: provider.name
    })
    return yield* Effect.never
  })
  yield* listening.pipe(
    Effect.scoped,
    Effect.provide(NodeHttpServer.layer(() => server, { host, port })),
    Effect.provide(Limits.layer({ burst: 10, every: "2 seconds" }))
  )
})

NodeRuntime.runMain(program.pipe(Effect.provide(Logger.json)), { disablePrettyLogger: true })
