/**
 * The tools of a server of the Model Context Protocol as a toolset. Its progress is shown, its long tasks work in the
 * background, its questions are asked in the conversation, and a call that is cancelled here is cancelled there.
 *
 * ```ts
 * import { Agent } from "effect-meantime"
 * import { McpClient } from "effect-meantime/mcp"
 *
 * const Files = McpClient.toolset("files", {
 *   transport: { type: "stdio", command: "npx", args: ["-y", "@modelcontextprotocol/server-filesystem", "."] },
 *   tools: ({ name }) => name.startsWith("read_"),
 *   options: { read_text_file: { allowCancellation: true } }
 * })
 *
 * export const Librarian = Agent.make("librarian", { instructions: "You find things in files.", tools: [Files] })
 * ```
 *
 * @since 0.1.0
 */
import * as Tool from "@effect/ai/Tool"
import * as Toolkit from "@effect/ai/Toolkit"
import type { Tool as McpTool } from "@modelcontextprotocol/client"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import * as AsyncTool from "../AsyncTool.js"
import * as AsyncToolset from "../AsyncToolset.js"
import type { ToolCall } from "../ChatContext.js"
import { type CallOptions, callOf } from "../internal/mcp/call.js"
import * as Connection from "../internal/mcp/connection.js"
import { Elicitation } from "../internal/mcp/elicitation.js"
import { McpError } from "../internal/mcp/errors.js"
import { clashIn, nameFor } from "../internal/mcp/names.js"
import { Claimed } from "../internal/scope/annotations.js"
import { check, ofMcpClient, ofMcpTool } from "../internal/values/options.js"
import { answering } from "./questions.js"

export type { McpTool }
export { Elicitation, McpError }

/**
 * How a server is reached. `stdio`: a process that the connection starts and ends, with few variables of this process's
 * environment beside `env`. `http`: streamable HTTP; `headers` is run for each request, and `authProvider` is one of
 * `@modelcontextprotocol/client`. `custom`: a transport of that package, made anew for each connection, such as one end of
 * `InMemoryTransport.createLinkedPair()` in a test.
 *
 * @since 0.1.0
 * @category models
 */
export type Transport =
  | {
      readonly type: "stdio"
      readonly command: string
      readonly args?: ReadonlyArray<string>
      readonly env?: Record<string, string>
      readonly cwd?: string
    }
  | {
      readonly type: "http"
      readonly url: string | URL
      readonly headers?: Effect.Effect<Record<string, string>>
      readonly authProvider?: unknown
    }
  | { readonly type: "custom"; readonly open: () => unknown }

/**
 * The options of one tool: those of `AsyncTool`, and what concerns its server.
 *
 * @since 0.1.0
 * @category models
 */
export interface ToolOptions extends AsyncTool.Options {
  /**
   * What the server's progress becomes: `RunContext.progress`; with `update`, if it has a message, an update, and equal ones
   * once; or nothing. Default: `progress`.
   */
  readonly onProgress?: "progress" | "update" | "ignore" | undefined
  /**
   * A call about which the server tells nothing for this time, which is more than 0, is given up; progress arms it anew, and
   * a question to the user stops it. Default: 60 seconds, and none for a tool with a `timeout`.
   */
  readonly idleTimeout?: Duration.DurationInput | undefined
  /**
   * With `auto`, what the server can run as a task is run as one: the call leaves the turn as soon as the task exists.
   * Default: `auto`.
   */
  readonly tasks?: "auto" | "never" | undefined
  /**
   * Which calls are made again on a new connection: those of which nothing reached the server, or, with `idempotent`, those
   * that were lost at work, too. Default: `unsent`.
   */
  readonly retry?: "unsent" | "idempotent" | undefined
}

/**
 * A server and what is taken of it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  readonly transport: Transport
  /** Which of the server's tools are offered. Default: all. */
  readonly tools?: ((tool: McpTool) => boolean) | undefined
  /** Stands before the name of each tool, for the model. Default: nothing. */
  readonly prefix?: string | undefined
  /** The options of every tool. */
  readonly defaults?: ToolOptions | undefined
  /** The options of single tools, by the server's own names; they win over `defaults`. */
  readonly options?: Record<string, ToolOptions> | undefined
  /**
   * If the server cannot be reached when its toolset is built: building dies (`fail`), or there are no tools and a warning
   * (`without`). Default: `fail`.
   */
  readonly connect?: "fail" | "without" | undefined
}

/**
 * What is new in the list of a server's tools, by their own names.
 *
 * @since 0.1.0
 * @category models
 */
export interface Changes {
  readonly added: ReadonlyArray<string>
  readonly removed: ReadonlyArray<string>
  /** described in other words, or with another schema */
  readonly changed: ReadonlyArray<string>
}

/**
 * A connection of one's own, which several agents and sessions may share.
 *
 * @since 0.1.0
 * @category models
 */
export interface McpClient {
  /** Lists the server's tools each time that a session or an agent is built with it; then the list stands. */
  readonly toolset: AsyncToolset.AsyncToolset<never>
  /** Begins with the next change. A hand-off to the same agent takes over what has changed. */
  readonly changes: Stream.Stream<Changes>
}

/**
 * A server's question to the user.
 *
 * @since 0.1.0
 * @category models
 */
export interface Question {
  readonly server: string
  readonly message: string
  /** The JSON Schema of the answer, a flat object. A question with a URL has none. */
  readonly schema?: object
  /** The user is to open it. It is the server's: look at it before you show it. */
  readonly url?: string
}

/**
 * The answer: `decline` says that the user does not want to answer, `cancel` that nobody has.
 *
 * @since 0.1.0
 * @category models
 */
export interface Answer {
  readonly action: "accept" | "decline" | "cancel"
  readonly content?: unknown
}

/**
 * Who answers a server's question.
 *
 * @since 0.1.0
 * @category models
 */
export type Elicit = "task" | "never" | ((question: Question, call?: ToolCall) => Effect.Effect<Answer>)

/**
 * The tools of a server, on a connection that is made and closed with the session or the agent that has the toolset. The list
 * stands as long as that does. Names that models do not take are rewritten; if two become one, building dies with an
 * `McpError`. A connection that is lost fails the calls in flight, and the next call makes a new one.
 *
 * @since 0.1.0
 * @category constructors
 */
export const toolset = (id: string, options: Options): AsyncToolset.AsyncToolset<never> =>
  AsyncToolset.unwrap(
    id,
    Effect.gen(function* () {
      yield* checked(id, options)
      const connection = yield* connectionOf(id, options, false)
      return yield* toolsOf(id, options, connection)
    })
  )

/**
 * A connection by itself, in the Scope: several agents may have its toolset, and `changes` tells what has become of the
 * server's list. Fails with an `McpError` if the server cannot be reached, unless `connect` is `without`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const connect = (id: string, options: Options): Effect.Effect<McpClient, McpError, Scope.Scope> =>
  Effect.gen(function* () {
    yield* checked(id, options)
    const connection = yield* connectionOf(id, options, true)
    // what changes is what is not as it is now
    yield* options.connect === "without"
      ? Effect.catchAll(connection.list, ({ message }) => Effect.logWarning(message))
      : connection.list
    return {
      toolset: AsyncToolset.unwrap(id, toolsOf(id, options, connection)),
      changes: connection.changes
    }
  })

const checked = (id: string, options: Options): Effect.Effect<void> => {
  const owner = `MCP server "${id}"`
  return Effect.zipRight(
    check(owner, options, ofMcpClient),
    Effect.forEach(
      [["defaults", options.defaults] as const, ...Object.entries(options.options ?? {})],
      ([name, one]) => check(`${name} of ${owner}`, one, ofMcpTool),
      { discard: true }
    )
  )
}

const connectionOf = (id: string, { transport }: Options, watch: boolean) =>
  Effect.flatMap(Elicitation, (elicit) => Connection.make(id, { transport, elicit, watch }))

const toolsOf = (
  id: string,
  options: Options,
  connection: Connection.Connection
): Effect.Effect<AsyncToolset.AsyncToolset<never>, McpError> =>
  Effect.gen(function* () {
    const listed = yield* options.connect === "without"
      ? Effect.catchAll(connection.list, ({ message }) =>
          Effect.as(Effect.logWarning(`${message} Its tools are left out.`), [])
        )
      : connection.list
    const unknown = Object.keys(options.options ?? {}).filter((name) => !listed.some((tool) => tool.name === name))
    if (unknown.length > 0 && listed.length > 0) {
      yield* Effect.logWarning(`The MCP server "${id}" has no tool ${unknown.join(", ")}, for which there are options.`)
    }
    const { prefix = "", tools = () => true } = options
    const offered = listed.filter((tool) => tools(tool))
    const clash = clashIn(
      prefix,
      offered.map(({ name }) => name)
    )
    if (clash !== undefined) {
      const { first, name, second } = clash
      const message =
        `Two tools of the MCP server "${id}" would be named "${name}": "${first}" and "${second}". ` +
        "Leave one of them out with the option tools."
      return yield* new McpError({ server: id, message })
    }
    const made = offered.map((tool) => {
      const { idleTimeout, onProgress, retry, tasks, ...flags } = {
        ...options.defaults,
        ...options.options?.[tool.name]
      }
      const call: CallOptions = {
        onProgress: onProgress ?? "progress",
        idleTimeout:
          idleTimeout !== undefined
            ? Duration.toMillis(idleTimeout)
            : flags.timeout === undefined
              ? defaultIdleTimeout
              : undefined,
        tasks: tasks ?? "auto",
        retry: retry ?? "unsent"
      }
      const name = nameFor(prefix, tool.name)
      return { name, tool: toolOf(name, tool, flags), handler: callOf(connection, tool, call, answering(id)) }
    })
    const toolkit = Toolkit.make(...made.map(({ tool }) => tool))
    const handlers = Object.fromEntries(made.map(({ handler, name }) => [name, handler]))
    return AsyncToolset.make(id, toolkit).pipe(
      AsyncToolset.provide(toolkit.toLayer(handlers as never) as Layer.Layer<any>)
    ) as AsyncToolset.AsyncToolset<never>
  })

const defaultIdleTimeout = 60_000

/** What the server says of its tool is a claim: the session shows it, and relies on none of it. */
const toolOf = (name: string, { annotations, description, inputSchema, title }: McpTool, flags: AsyncTool.Options) => {
  let tool = AsyncTool.dynamic(name, {
    ...flags,
    jsonSchema: inputSchema,
    ...(description === undefined ? {} : { description })
  }).annotate(Claimed, true)
  const called = title ?? annotations?.title
  if (called !== undefined) tool = tool.annotate(Tool.Title, called)
  if (annotations?.readOnlyHint !== undefined) tool = tool.annotate(Tool.Readonly, annotations.readOnlyHint)
  if (annotations?.destructiveHint !== undefined) tool = tool.annotate(Tool.Destructive, annotations.destructiveHint)
  if (annotations?.idempotentHint !== undefined) tool = tool.annotate(Tool.Idempotent, annotations.idempotentHint)
  if (annotations?.openWorldHint !== undefined) tool = tool.annotate(Tool.OpenWorld, annotations.openWorldHint)
  return tool
}
