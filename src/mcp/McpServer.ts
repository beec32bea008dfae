/**
 * Tools and conversations of ours for any host of the Model Context Protocol: an editor, a desktop application, another
 * agent. Over the standard streams of a process, and over HTTP.
 *
 * ```ts
 * import { Toolkit } from "@effect/ai"
 * import { AsyncTool, RunContext } from "effect-meantime"
 * import { McpServer } from "effect-meantime/mcp"
 * import { Effect, Schema } from "effect"
 *
 * const Report = AsyncTool.make("report", { parameters: { topic: Schema.String }, success: Schema.String })
 * const reports = Toolkit.make(Report)
 * const ReportsLive = reports.toLayer({
 *   report: ({ topic }) => Effect.as(RunContext.update("Reading."), `All about ${topic}.`)
 * })
 *
 * // a host starts this program, and ends it by closing its input
 * export const program = Effect.gen(function* () {
 *   const server = yield* McpServer.make({ name: "reports", version: "1.0.0", tools: reports })
 *   yield* server.stdio
 * }).pipe(Effect.scoped, Effect.provide(ReportsLive))
 * ```
 *
 * @since 0.1.0
 */
import type * as Tool from "@effect/ai/Tool"
import type * as Toolkit from "@effect/ai/Toolkit"
import * as HttpApp from "@effect/platform/HttpApp"
import {
  createMcpHandler,
  hostHeaderValidationResponse,
  isLegacyRequest,
  localhostAllowedHostnames,
  localhostAllowedOrigins,
  originValidationResponse,
  Server,
  WebStandardStreamableHTTPServerTransport
} from "@modelcontextprotocol/server"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Runtime from "effect/Runtime"
import type * as Scope from "effect/Scope"
import * as AsyncTool from "../AsyncTool.js"
import type { Entries, Entry, HandlersOf } from "../AsyncToolset.js"
import { type Host, listedOf, type Offered, resultOf } from "../internal/mcp/offered.js"
import * as Runs from "../internal/mcp/runs.js"
import type { ToolsetDefinition } from "../internal/scope/definitions.js"
import { check, ofMcpServer } from "../internal/values/options.js"
import type { Service as Sessions } from "../Sessions.js"
import { ToolNameConflict } from "../Tags.js"
import { conversationTools } from "./conversations.js"

/**
 * What a server offers, and to whom.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<T extends Entry | Entries> {
  /** How the server is called by its hosts. */
  readonly name: string
  readonly version: string
  /** Toolkits and toolsets, or one of them. Default: none. */
  readonly tools?: T | undefined
  /**
   * Conversations by their ids, as the tools `send`, `wait` and `cancel`. A host knows only those that it has opened itself.
   * Default: none.
   */
  readonly sessions?: Sessions | undefined
  /** How long `send` and `wait` wait for the agent, more than 0; what is said later comes with the next one. Default: 30 seconds. */
  readonly wait?: Duration.DurationInput | undefined
  /** The host names under which the HTTP server may be asked. Default: those of this machine. */
  readonly allowedHosts?: ReadonlyArray<string> | undefined
  /** The host names of pages that may ask it. Default: those of this machine. */
  readonly allowedOrigins?: ReadonlyArray<string> | undefined
}

/**
 * A server, for one host over the standard streams and for many over HTTP.
 *
 * @since 0.1.0
 * @category models
 */
export interface McpServer {
  /**
   * Serves the host that has started this process, and ends with its input. Nothing else may write to the standard output;
   * what the calls log goes to the standard error.
   */
  readonly stdio: Effect.Effect<void>
  /** Answers a request of streamable HTTP, whatever its path. */
  readonly fetch: (request: Request) => Promise<Response>
  /** The same for a router of `@effect/platform`. */
  readonly httpApp: HttpApp.Default<unknown>
}

/** More sessions of the older protocol than these are not kept: the one that was used least recently goes. */
const maxSessions = 1_000

/**
 * Makes a server. Each call is a fiber; closing the Scope interrupts all of them. A call that needs approval is put to the
 * person behind the host, if the host can ask; else it is denied. Two tools of one name are a defect.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <const T extends Entry | Entries = []>(
  options: Options<T>
): Effect.Effect<McpServer, never, HandlersOf<T extends ReadonlyArray<infer E> ? E : T> | Scope.Scope> =>
  Effect.gen(function* () {
    yield* check(`MCP server "${options.name}"`, options, ofMcpServer)
    const scope = yield* Effect.scope
    const context = yield* Effect.context<any>()
    const runtime = yield* Effect.runtime<never>()
    // the standard output belongs to the protocol
    const onStdio = yield* Effect.provide(
      Effect.runtime<never>(),
      Logger.replace(Logger.defaultLogger, Logger.withConsoleError(Logger.stringLogger))
    )
    const { tools = [] } = options
    const entries = (Array.isArray(tools) ? tools : [tools]) as ReadonlyArray<Entry>
    const offered = new Map<string, Offered>()
    const all = [
      ...(yield* Effect.forEach(entries, (entry) => offeredIn(entry, context))).flat(),
      ...(options.sessions === undefined
        ? []
        : conversationTools(options.sessions, options.wait ?? "30 seconds", () => crypto.randomUUID()))
    ]
    for (const one of all) {
      const { name } = one.listed
      if (offered.has(name)) {
        return yield* Effect.die(new ToolNameConflict({ tool: name, first: "the server", second: "the server" }))
      }
      offered.set(name, one)
    }
    const runs = Runs.make(scope, () => crypto.randomUUID())

    const serving = (runtime: Runtime.Runtime<never>) => (): Server => {
      const server = new Server({ name: options.name, version: options.version }, { capabilities: { tools: {} } })
      server.setRequestHandler("tools/list", () => ({ tools: all.map(({ listed }) => listed) }))
      server.setRequestHandler("tools/call", ({ params }, context) => {
        const one = offered.get(params.name)
        if (one === undefined) {
          const names = Array.from(offered.keys()).join(", ")
          return {
            content: [{ type: "text", text: `There is no tool "${params.name}". The tools are: ${names}.` }],
            isError: true
          }
        }
        return Runtime.runPromise(runtime)(runs.call(server, one, params.arguments ?? {}, context), {
          signal: context.mcpReq.signal
        })
      })
      return server
    }

    const make = serving(runtime)
    const modern = createMcpHandler(make, { legacy: "reject" })
    const sessions = legacySessions(make)
    yield* Effect.addFinalizer(() =>
      Effect.promise(async () => {
        await sessions.close()
        await modern.close()
      })
    )
    const hosts = [...(options.allowedHosts ?? localhostAllowedHostnames())]
    const origins = [...(options.allowedOrigins ?? localhostAllowedOrigins())]
    const fetch = async (request: Request): Promise<Response> =>
      hostHeaderValidationResponse(withHost(request), hosts) ??
      originValidationResponse(request, origins) ??
      ((await isLegacyRequest(request)) ? sessions.fetch(request) : modern.fetch(request))

    const stdio = Effect.async<void>((resume) => {
      let close: () => Promise<void> = async () => {}
      import("@modelcontextprotocol/server/stdio").then(
        ({ serveStdio, StdioServerTransport }) => {
          const transport = new StdioServerTransport()
          const closeTransport = transport.close.bind(transport)
          transport.close = async () => {
            await closeTransport()
            resume(Effect.void)
          }
          const handle = serveStdio(serving(onStdio), { transport })
          close = () => handle.close()
        },
        (error: unknown) => resume(Effect.die(error))
      )
      return Effect.promise(() => close())
    })
    return { stdio, fetch, httpApp: HttpApp.fromWebHandler(fetch) }
  }) as Effect.Effect<McpServer, never, any>

/** A request that was made in this process need not say its host twice. */
const withHost = (request: Request): Request => {
  if (request.headers.has("host")) return request
  return new Request(request.url, { headers: { host: new URL(request.url).host } })
}

/** The tools of an entry, each with the context of its place. */
const offeredIn = (
  entry: Entry,
  context: Context.Context<any>
): Effect.Effect<ReadonlyArray<Offered>, never, Scope.Scope> => {
  if (!("_tag" in entry) || entry._tag !== "AsyncToolset") {
    const toolkit = entry as Toolkit.Toolkit<Record<string, Tool.Any>>
    return Effect.succeed(Object.values(toolkit.tools).map((tool) => offeredTool(toolkit, tool, context)))
  }
  const { entries, layers, unwrap } = entry as ToolsetDefinition
  return Effect.gen(function* () {
    let inner = context
    // the first that was attached is the innermost
    for (const layer of [...layers].reverse()) {
      const built = yield* Effect.provide(Layer.build(layer as Layer.Layer<any>), inner)
      inner = Context.merge(inner, built)
    }
    const inside = unwrap === undefined ? entries : [yield* Effect.orDie(Effect.provide(unwrap(), inner))]
    return (yield* Effect.forEach(inside, (one) => offeredIn(one, inner))).flat()
  })
}

const offeredTool = (
  toolkit: Toolkit.Toolkit<Record<string, Tool.Any>>,
  tool: Tool.Any,
  context: Context.Context<any>
): Offered => {
  const { name } = tool
  return {
    listed: listedOf(tool),
    call: (args, host: Host) =>
      AsyncTool.execute(
        toolkit,
        { name, arguments: args },
        {
          onUpdate: host.told,
          onProgress: host.told,
          decide: (call) => Effect.map(host.ask(call), (decision) => (decision === "approve" ? "approve" : "deny"))
        }
      ).pipe(Effect.provide(context), Effect.map(resultOf)) as ReturnType<Offered["call"]>
  }
}

interface LegacySession {
  readonly server: Server
  readonly transport: WebStandardStreamableHTTPServerTransport
}

/** Sessions of the older protocol: in a handler without them a cancellation would find no call. */
const legacySessions = (make: () => Server) => {
  /** the one that was used least recently comes first */
  const open = new Map<string, LegacySession>()
  const used = (id: string, session: LegacySession): void => {
    open.delete(id)
    open.set(id, session)
    if (open.size <= maxSessions) return
    const [oldest] = open
    if (oldest === undefined) return
    open.delete(oldest[0])
    void oldest[1].server.close()
  }
  return {
    fetch: async (request: Request): Promise<Response> => {
      const id = request.headers.get("mcp-session-id")
      if (id !== null) {
        const session = open.get(id)
        if (session === undefined) return notFound()
        used(id, session)
        return session.transport.handleRequest(request)
      }
      const server = make()
      const transport: WebStandardStreamableHTTPServerTransport = new WebStandardStreamableHTTPServerTransport({
        sessionIdGenerator: () => crypto.randomUUID(),
        onsessioninitialized: (opened): void => used(opened, { server, transport }),
        onsessionclosed: (closed) => {
          open.delete(closed)
          void server.close()
        }
      })
      await server.connect(transport)
      const response = await transport.handleRequest(request)
      // no session has begun, so nobody could ever end it
      if (transport.sessionId === undefined) await server.close()
      return response
    },
    close: async (): Promise<void> => {
      await Promise.allSettled(Array.from(open.values(), ({ server }) => server.close()))
      open.clear()
    }
  }
}

const notFound = (): Response =>
  Response.json({ jsonrpc: "2.0", error: { code: -32001, message: "Session not found" }, id: null }, { status: 404 })
