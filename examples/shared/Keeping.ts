/**
 * Where a conversation is kept that outlives its process: a file of SQLite, which the programs take as `--file FILE`.
 */
import { Clock, Effect, Layer, Stream } from "effect"
import { type AgentSession, type SessionEvent, type SessionStorage, Sessions } from "effect-meantime"

/** The database is loaded only if a conversation is kept. */
export const inFile = (file: string): Layer.Layer<SessionStorage.SessionStorage, SessionStorage.StorageError> =>
  Layer.unwrapEffect(
    Effect.map(
      Effect.promise(() => import("effect-meantime/sqlite")),
      ({ SqliteSessionStorage }) => SqliteSessionStorage.layer({ file })
    )
  )

/** It is open for as long as the Scope is. */
export const provided =
  (file: string) =>
  <A, E, R>(session: Effect.Effect<A, E, R>) =>
    Effect.flatMap(Layer.build(inFile(file)), (context) => Effect.provide(session, context))

export interface Resumed {
  /** the ids of the items of its earlier lives */
  readonly before: ReadonlySet<string>
  /** what there is already, as if it had just happened, and then what happens */
  readonly events: Stream.Stream<SessionEvent.SessionEvent>
}

/** A conversation that is kept, for somebody who was not there. */
export const resumed = (session: AgentSession.Service): Effect.Effect<Resumed> =>
  Effect.gen(function* () {
    const at = yield* Clock.currentTimeMillis
    const { items } = yield* session.history
    const running = yield* session.runningTools
    const waiting = yield* session.approvals
    const open: ReadonlyArray<SessionEvent.SessionEvent> = [
      ...running.map(({ arguments: args, callId, name, startedAt }) => ({
        _tag: "ToolCallStarted" as const,
        at: startedAt,
        call: { arguments: args, callId, name }
      })),
      ...waiting.map(({ arguments: args, callId, expiresAt, name, reason }) => ({
        _tag: "ApprovalRequested" as const,
        at,
        call: { arguments: args, callId, name },
        ...(reason === undefined ? {} : { reason }),
        ...(expiresAt === undefined ? {} : { expiresAt })
      }))
    ]
    const last = items.at(-1)?.id
    const events = Sessions.fromSession(session)
      .events({ after: "" })
      .pipe(
        Stream.mapConcat((event) =>
          event._tag === "ItemAdded" && event.item.id === last ? [event, ...open] : [event]
        ),
        // of a session of this process there is no such failure
        Stream.orDie
      )
    return { before: new Set(items.map(({ id }) => id)), events }
  })

export interface Given {
  readonly help: boolean
  readonly file: string | undefined
  /** those among the flags that the program knows */
  readonly flags: ReadonlySet<string>
}

/** What stands behind the name of the program; a text says what is wrong with it. */
export const given = (args: ReadonlyArray<string>, flags: ReadonlyArray<string> = []): Given | string => {
  const rest = [...args]
  const set = new Set<string>()
  let help = false
  let file: string | undefined
  for (let arg = rest.shift(); arg !== undefined; arg = rest.shift()) {
    if (arg === "--help" || arg === "-h") help = true
    else if (flags.includes(arg)) set.add(arg)
    else if (arg === "--file" || arg.startsWith("--file=")) {
      file = arg === "--file" ? rest.shift() : arg.slice("--file=".length)
      if (file === undefined || file === "" || file.startsWith("-"))
        return "--file wants the path of a file; see --help."
    } else return `There is no option ${arg}; see --help.`
  }
  return { help, file, flags: set }
}
