/**
 * Durable sessions in SQLite or PostgreSQL, by any `SqlClient` of Effect.
 *
 * @example
 * ```ts
 * import { PgClient } from "@effect/sql-pg"
 * import { SqlSessionStorage } from "effect-meantime/sql"
 * import { Config, Layer } from "effect"
 *
 * export const StorageLive = SqlSessionStorage.layer().pipe(
 *   Layer.provide(PgClient.layerConfig({ url: Config.redacted("DATABASE_URL") }))
 * )
 * ```
 *
 * @since 0.1.0
 */
import type * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { make } from "../internal/sql/storage.js"
import { check, ofSqlStorage } from "../internal/values/options.js"
import { SessionStorage, type StorageError } from "../Tags.js"

/**
 * Keeps sessions in the database of an `SqlClient`: SQLite or PostgreSQL. It makes its tables if they are missing; a
 * program that may not do so can use those that another one has made.
 *
 * Each write is one statement, in which the database checks that nobody has taken the session over; writes of many sessions
 * at the same time share one. What a session stores is never part of a transaction of your program. A client with one
 * connection (SQLite) makes sessions wait while your program is inside of a transaction: call no session in there.
 *
 * Building fails with a `StorageError` if the database cannot be reached, is another one, or has tables of a newer release.
 *
 * @param options `prefix`: what the names of the tables begin with: small letters, digits and `_`, 40 at most (default:
 * `effect_meantime`)
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options?: {
  readonly prefix?: string
}): Layer.Layer<SessionStorage, StorageError, SqlClient.SqlClient> =>
  Layer.scoped(
    SessionStorage,
    Effect.zipRight(
      check("SqlSessionStorage.layer", options, ofSqlStorage),
      Effect.suspend(() => make(options?.prefix ?? "effect_meantime"))
    )
  )
