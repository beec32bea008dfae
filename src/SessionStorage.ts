/**
 * Where durable sessions are kept. A session whose options have an `id` asks for this service, writes what each input has
 * changed as rows, and goes on from them if it is made again under its id.
 *
 * ```ts
 * import { AgentSession, SessionStorage } from "effect-meantime"
 * import type { Agent } from "effect-meantime"
 * import { Effect } from "effect"
 *
 * declare const agent: Agent.Agent<never>
 *
 * const main = AgentSession.make({ id: "customer-42", agent }).pipe(
 *   Effect.scoped,
 *   Effect.provide(SessionStorage.layerMemory)
 * )
 * ```
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as memory from "./internal/values/memory.js"
import { check, ofRecovery } from "./internal/values/options.js"
import type { Fenced, StorageError } from "./Tags.js"
import { SessionStorage } from "./Tags.js"

export {
  /**
   * @since 0.1.0
   * @category errors
   */
  Fenced,
  /**
   * @since 0.1.0
   * @category tags
   */
  SessionStorage,
  /**
   * @since 0.1.0
   * @category errors
   */
  StorageError
} from "./Tags.js"

/**
 * A piece of a session. A session has at most one row of each kind and id.
 *
 * @since 0.1.0
 * @category models
 */
export interface Row {
  readonly kind: string
  readonly id: string
  /** JSON; undefined: the row is deleted */
  readonly data: unknown
}

/**
 * What a storage does. Each write happens as a whole or not at all, and writes of one epoch happen in their order.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /**
   * Takes the session over: gives it a new epoch, higher than each before, and what is stored of it, in any order. Whoever
   * had it before can no longer write. A session that was never written has no rows.
   */
  readonly open: (
    sessionId: string
  ) => Effect.Effect<{ readonly epoch: number; readonly rows: ReadonlyArray<Row> }, StorageError>
  /**
   * Puts the rows in place of those of the same kind and id, all or none, and fails with `Fenced` if the epoch is not the
   * latest of the session. `open` says whether the session has something open after this write: a call, a turn or a reply.
   */
  readonly write: (
    sessionId: string,
    epoch: number,
    rows: ReadonlyArray<Row>,
    open: boolean
  ) => Effect.Effect<void, Fenced | StorageError>
  /** The ids of the sessions whose last write said that something was open. */
  readonly unfinished: Effect.Effect<ReadonlyArray<string>, StorageError>
  /** Forgets all rows of the session. Its epochs go on rising from where they were. */
  readonly remove: (sessionId: string, epoch: number) => Effect.Effect<void, Fenced | StorageError>
}

/**
 * Keeps sessions in the memory of this process, for as long as the layer lives: for tests of crashes in virtual time. What
 * is kept is JSON text, so a session reads what a database would give it.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerMemory: Layer.Layer<SessionStorage> = Layer.sync(SessionStorage, memory.make)

/**
 * Gives the id of every unfinished session of the storage to `open`, several at once (default: 16). It ends when all of
 * them have; the first that fails ends it.
 *
 * @since 0.1.0
 * @category combinators
 */
export const recover = <E, R>(
  open: (sessionId: string) => Effect.Effect<void, E, R>,
  options?: { readonly concurrency?: number }
): Effect.Effect<void, E | StorageError, R | SessionStorage> =>
  Effect.gen(function* () {
    yield* check("SessionStorage.recover", options, ofRecovery)
    const storage = yield* SessionStorage
    const ids = yield* storage.unfinished
    yield* Effect.forEach(ids, open, { concurrency: options?.concurrency ?? 16, discard: true })
  })
