/**
 * Durable sessions in a file of SQLite: all that a single machine needs.
 *
 * @example
 * ```ts
 * import { SqliteSessionStorage } from "effect-meantime/sqlite"
 *
 * export const StorageLive = SqliteSessionStorage.layer({ file: "sessions.db" })
 * ```
 *
 * @since 0.1.0
 */

import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { open } from "../internal/sql/file.js"
import { make } from "../internal/sql/storage.js"
import { check, ofSqliteStorage } from "../internal/values/options.js"
import { SessionStorage, type StorageError } from "../Tags.js"

/**
 * Keeps sessions in a file. It makes the file and its tables if they are missing; the folder has to be there. Several
 * processes of one machine may use the file at the same time; on a network's drive SQLite is not safe.
 *
 * Building fails with a `StorageError` if the file cannot be opened, is no database, or has tables of a newer release.
 *
 * @param options
 * - `file`: its path
 * - `synchronous`: `"full"` (default) waits for the disk with each write, so what is stored survives a loss of power;
 *   `"normal"` does not wait: what is stored survives the end of the process, however it ends, and the last writes may be
 *   gone after a loss of power.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: {
  readonly file: string
  readonly synchronous?: "full" | "normal"
}): Layer.Layer<SessionStorage, StorageError> =>
  Layer.scoped(
    SessionStorage,
    Effect.gen(function* () {
      // it has no default
      yield* check("SqliteSessionStorage.layer", { ...options, file: options.file ?? null }, ofSqliteStorage)
      const sql = yield* open(options.file, options.synchronous ?? "full")
      return yield* Effect.provideService(make("effect_meantime"), SqlClient.SqlClient, sql)
    })
  )
