/**
 * A conversation and the timeline of its calls in the browser: `npm run playground`.
 */
import { createServer } from "node:http"
import { parseArgs } from "node:util"
import { HttpServer } from "@effect/platform"
import { NodeContext, NodeHttpServer, NodeRuntime } from "@effect/platform-node"
import { Cause, Console, Data, Effect, Exit, Logger, LogLevel, Option } from "effect"
import { Settings } from "../demo/Providers.js"
import * as RecordingFile from "../shared/RecordingFile.js"
import { agents } from "./agents.js"
import * as Bundle from "./Bundle.js"
import * as Room from "./Room.js"
import * as Server from "./Server.js"

const usage = `Talk with the agents of the examples in the browser, beside a timeline of their calls.

  npm run playground -- [options]

  --port PORT      the port to listen on, default 4141; 0 for any that is free
  --host HOST      the address to listen on, default 127.0.0.1: only this machine
  --agent NAME     the agent to begin with: travel, desk, bank, clerk, archive
  --record FILE    write the conversation to this file as JSON lines (later ones to FILE-2, FILE-3, …)
  --replay FILE    open with this recording
  --pace N         how fast the agents speak, in characters a second; default 60, about four times as fast as a voice

Environment: OPENAI_API_KEY, ANTHROPIC_API_KEY and DEMO_SPEED, as for npm run demo; without a key the agents answer
offline.
`

class Trouble extends Data.TaggedError("Trouble")<{ readonly message: string; readonly code: number }> {}
const trouble = (code: number) => (error: { readonly message: string }) => new Trouble({ message: error.message, code })

const options = Effect.try({
  try: () =>
    parseArgs({
      options: {
        agent: { type: "string" },
        help: { type: "boolean", short: "h" },
        host: { type: "string", default: "127.0.0.1" },
        pace: { type: "string", default: "60" },
        port: { type: "string", default: "4141" },
        record: { type: "string" },
        replay: { type: "string" }
      }
    }).values,
  catch: (error) => new Trouble({ message: error instanceof Error ? error.message : String(error), code: 2 })
})

const program = Effect.gen(function* () {
  const { agent, help, host, pace, port, record, replay } = yield* options
  if (help === true) return yield* Console.log(usage.trimEnd())
  if (!/^\d+$/.test(port) || Number(port) > 65_535) {
    return yield* new Trouble({ message: `--port has to be a number up to 65535, not ${port}.`, code: 2 })
  }
  if (!/^\d{1,6}$/.test(pace) || Number(pace) === 0) {
    return yield* new Trouble({ message: `--pace has to be a whole number from 1 on, not ${pace}.`, code: 2 })
  }
  const settings = yield* Effect.mapError(Settings, (error) => new Trouble({ message: String(error), code: 2 }))
  const shown = replay === undefined ? undefined : yield* Effect.mapError(RecordingFile.read(replay), trouble(1))
  const assets = yield* Effect.mapError(Bundle.assets, trouble(1))

  const server = createServer()
  const room = Room.layer({
    agents: agents(settings),
    first: agent,
    record,
    replay: shown,
    charactersPerSecond: Number(pace) * settings.speed
  })
  const listening = Effect.gen(function* () {
    yield* HttpServer.serveEffect(Server.app({ assets, host }))
    // There are no sockets here. Who asks for one gets what anybody gets, and Node still looks after the connection: one
    // that is being upgraded has nobody to take its errors, and a reset would end the program.
    server.removeAllListeners("upgrade")
    // streams of events have no end of their own
    yield* Effect.addFinalizer(() => Effect.sync(() => server.closeAllConnections()))
    const { address } = yield* HttpServer.HttpServer
    const at = address._tag === "TcpAddress" ? address.port : port
    const name = host.includes(":") ? `[${host}]` : host
    yield* Console.log(`The playground is at http://${name}:${at}/ (Ctrl-C ends it)`)
    if (!Server.loopback(host)) yield* Console.log("Everyone who reaches this address may talk to it.")
    return yield* Effect.never
  })
  yield* listening.pipe(
    Effect.scoped,
    Effect.provide(room),
    Effect.provide(NodeHttpServer.layer(() => server, { host, port: Number(port) })),
    Effect.catchTags({
      Refused: (refused) => trouble(2)(refused),
      ServeError: ({ cause }) =>
        new Trouble({ message: cause instanceof Error ? cause.message : String(cause), code: 1 })
    })
  )
}).pipe(Effect.provide(NodeContext.layer), Logger.withMinimumLogLevel(LogLevel.Error))

NodeRuntime.runMain(program, {
  disableErrorReporting: true,
  teardown: (exit, end) => {
    if (Exit.isSuccess(exit) || Cause.isInterruptedOnly(exit.cause)) return end(Exit.isSuccess(exit) ? 0 : 130)
    const failure = Option.getOrUndefined(Cause.failureOption(exit.cause))
    process.stderr.write(`${failure instanceof Trouble ? failure.message : Cause.pretty(exit.cause)}\n`)
    end(failure instanceof Trouble ? failure.code : 1)
  }
})
