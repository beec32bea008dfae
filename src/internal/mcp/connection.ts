/**
 * The connection to a server, over the links that it has had: the next call connects anew, once for all that wait (rule J8).
 */
import type { Tool as Listed, PriorDiscovery } from "@modelcontextprotocol/client"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as PubSub from "effect/PubSub"
import * as Queue from "effect/Queue"
import * as Runtime from "effect/Runtime"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Changes, Elicit, Transport } from "../../mcp/McpClient.js"
import { describeError } from "../model/errors.js"
import { canonical } from "../values/json.js"
import { McpError } from "./errors.js"
import { Link, noTimeout } from "./link.js"

/** How long a call waits for a server that is down. */
const patience = "10 seconds"

/** How long the first connection may take: a command may have to be fetched. */
const firstPatience = "60 seconds"

/** How long closing waits for what is on its way. */
const farewell = "2 seconds"

const backoff = Schedule.exponential("100 millis").pipe(Schedule.union(Schedule.spaced("2 seconds")))

export interface Connection {
  readonly server: string
  /** The link in use, or a new one. */
  readonly link: Effect.Effect<Link, McpError>
  /** What the server lists, asked for anew. */
  readonly list: Effect.Effect<ReadonlyArray<Listed>, McpError>
  readonly changes: Stream.Stream<Changes>
}

export const make = (
  server: string,
  options: { readonly transport: Transport; readonly elicit: Elicit; readonly watch: boolean }
): Effect.Effect<Connection, McpError, Scope.Scope> =>
  Effect.gen(function* () {
    const scope = yield* Effect.scope
    const runtime = yield* Effect.runtime<never>()
    const changes = yield* PubSub.sliding<Changes>(64)
    const changed = yield* Queue.sliding<void>(1)
    let current: Link | undefined
    let opening: Deferred.Deferred<Link, McpError> | undefined
    let prior: PriorDiscovery | undefined
    let known: ReadonlyMap<string, string | undefined> | undefined

    const capabilities =
      options.elicit === "never"
        ? {}
        : { elicitation: typeof options.elicit === "function" ? { form: {}, url: {} } : { form: {} } }
    const unreachable = (error: unknown): McpError =>
      new McpError({ server, message: `The MCP server "${server}" cannot be reached: ${describeError(error)}` })

    /** One attempt. A link that is made although nobody waits any more is closed. */
    const attempt = Effect.async<Link, McpError>((resume) => {
      const controller = new AbortController()
      Link.open(
        {
          server,
          transport: options.transport,
          capabilities,
          runPromise: Runtime.runPromise(runtime),
          warn: (message) => void Runtime.runFork(runtime)(Effect.logWarning(message)),
          onListChanged: options.watch ? () => void changed.unsafeOffer(undefined) : undefined,
          prior
        },
        controller.signal
      ).then(
        (link) => {
          if (controller.signal.aborted) void link.close()
          else resume(Effect.succeed(link))
        },
        (error: unknown) => resume(Effect.fail(unreachable(error)))
      )
      return Effect.sync(() => controller.abort())
    })

    const open = (isFirst: boolean): Effect.Effect<Link, McpError> =>
      Effect.suspend(() => {
        let last: McpError | undefined
        const tried = Effect.tapError(attempt, (error) =>
          Effect.sync(() => {
            last = error
          })
        )
        return Effect.timeoutFail(isFirst ? tried : Effect.retry(tried, backoff), {
          duration: isFirst ? firstPatience : patience,
          onTimeout: () => last ?? unreachable(new Error("It does not answer."))
        })
      })

    /** A fiber of the connection's own, so that a call that gives up takes nothing from the others. */
    const start = (isFirst: boolean): Deferred.Deferred<Link, McpError> => {
      const opened = Deferred.unsafeMake<Link, McpError>(fiberId)
      opening = opened
      Runtime.runFork(runtime)(
        open(isFirst).pipe(
          Effect.exit,
          Effect.flatMap((exit) =>
            Effect.suspend(() => {
              opening = undefined
              if (Exit.isSuccess(exit)) {
                current = exit.value
                prior = current.isModern ? undefined : { kind: "legacy" }
                // the new process may have other tools
                if (!isFirst && options.watch) changed.unsafeOffer(undefined)
              }
              return Deferred.done(opened, exit)
            })
          )
        ),
        { scope }
      )
      return opened
    }
    const fiberId = yield* Effect.fiberId

    const link: Effect.Effect<Link, McpError> = Effect.suspend(() => {
      if (current?.isOpen === true) return Effect.succeed(current)
      const opened = opening ?? start(current === undefined && known === undefined)
      return Deferred.await(opened)
    })

    const listOn = (link: Link) =>
      Effect.async<ReadonlyArray<Listed>, McpError>((resume) => {
        const controller = new AbortController()
        link.client.listTools(undefined, { cacheMode: "refresh", signal: controller.signal, timeout: noTimeout }).then(
          ({ tools }) => resume(Effect.succeed(tools)),
          (error: unknown) => {
            // a server that forgot its session answers nothing any more
            link.retire()
            resume(Effect.fail(unreachable(error)))
          }
        )
        return Effect.sync(() => controller.abort())
      }).pipe(
        Effect.timeoutFail({ duration: firstPatience, onTimeout: () => unreachable(new Error("It lists no tools.")) })
      )

    /** Keeps what was listed, and tells what is new in it. */
    const compare = (tools: ReadonlyArray<Listed>): Effect.Effect<void> =>
      Effect.suspend(() => {
        const before = known
        const now = new Map(tools.map((tool) => [tool.name, canonical(tool)]))
        known = now
        if (before === undefined) return Effect.void
        const names = [...now.keys()]
        const told: Changes = {
          added: names.filter((name) => !before.has(name)),
          removed: [...before.keys()].filter((name) => !now.has(name)),
          changed: names.filter((name) => before.has(name) && before.get(name) !== now.get(name))
        }
        const isSame = told.added.length + told.removed.length + told.changed.length === 0
        return isSame ? Effect.void : Effect.asVoid(PubSub.publish(changes, told))
      })

    const list = Effect.suspend(() =>
      link.pipe(
        Effect.flatMap(listOn),
        // a link that turned out to be dead: once more, on a new one
        known === undefined ? (effect) => effect : Effect.retry({ times: 1 }),
        Effect.tap(compare)
      )
    )

    if (options.watch) {
      yield* Queue.take(changed).pipe(
        Effect.zipRight(Effect.catchAll(list, (error) => Effect.logDebug(error.message))),
        Effect.forever,
        Effect.forkScoped
      )
    }
    yield* Effect.addFinalizer(() =>
      Effect.suspend(() => {
        if (current === undefined) return Effect.void
        const closing = Effect.promise(() => (current as Link).close())
        return Effect.raceFirst(Effect.interruptible(closing), Effect.interruptible(Effect.sleep(farewell)))
      })
    )
    return { server, link, list, changes: Stream.fromPubSub(changes) }
  })
