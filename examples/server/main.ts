/**
 * A chat server: `npm run server`. Many conversations, streamed to a page in plain HTML, and kept in a file: a server that
 * is started again goes on with them, however the last one ended. `--file` and `--memory` say where else.
 *
 * PORT (4242) and HOST (127.0.0.1) say where it listens, OPENAI_API_KEY or ANTHROPIC_API_KEY which model answers; without
 * a key an offline model does. SIGTERM and Ctrl-C end it in good order.
 */
import { mkdirSync } from "node:fs"
import { createServer } from "node:http"
import { HttpServer } from "@effect/platform"
import { NodeHttpServer, NodeRuntime } from "@effect/platform-node"
import { Config, Data, Effect, Exit, Layer, Logger, Scope } from "effect"
import { ApprovalPolicy, Sessions } from "effect-meantime"
import * as Providers from "../demo/Providers.js"
import { flightsLayer, type SeatChange, Support, TravelAgent } from "../demo/Travel.js"
import * as Keeping from "../shared/Keeping.js"
import { app, chatLayer } from "./App.js"
import * as Limits from "./Limits.js"

const Settings = Config.all({
  port: Config.integer("PORT").pipe(Config.withDefault(4242)),
  host: Config.string("HOST").pipe(Config.withDefault("127.0.0.1")),
  models: Providers.Settings
})

class WrongOption extends Data.TaggedError("WrongOption")<{ readonly message: string }> {}

/** The file of the conversations; none: they are in memory only. */
const fileOf = ({ file, flags }: Keeping.Given): string | undefined => {
  if (file !== undefined || flags.has("--memory")) return file
  mkdirSync("data", { recursive: true })
  return "data/conversations.db"
}

/** What becomes of a seat, for whoever runs the server. */
const seat = ({ _tag, hold }: SeatChange) => Effect.annotateLogs(Effect.log("seat"), { change: _tag, hold: hold.id })

const usage = `A chat server.

  npm run server                   keeps its conversations in data/conversations.db
  npm run server -- --file FILE    in another file, whose folder is there
  npm run server -- --memory       in memory only

Environment: PORT, HOST, and OPENAI_API_KEY, ANTHROPIC_API_KEY, DEMO_SPEED as for npm run demo.
`

const program = Effect.gen(function* () {
  const given = Keeping.given(process.argv.slice(2), ["--memory"])
  if (typeof given === "string") return yield* new WrongOption({ message: given })
  if (given.help) {
    process.stdout.write(usage)
    return
  }
  const { host, models, port } = yield* Settings
  const file = fileOf(given)
  const provider = Providers.choose(models)

  const options = () =>
    Effect.succeed({
      agent: TravelAgent,
      // with whom a conversation that is kept may go on
      agents: [Support],
      deltas: true,
      drainTimeout: "10 seconds" as const
    })
  const bounds = { idleAfter: "15 minutes", maxSessions: 1000 } as const
  const sessions = (
    file === undefined
      ? Sessions.layer(options, bounds)
      : // what was at work when the last process ended goes on with this one
        Sessions.layer(options, { ...bounds, durable: true }).pipe(Layer.provideMerge(Keeping.inFile(file)))
  ).pipe(
    Layer.provide([
      provider.layer,
      flightsLayer({ pace: 1 / models.speed, watch: seat }),
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
      model: provider.name,
      conversations: file ?? "in memory"
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
