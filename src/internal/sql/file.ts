/** A file of SQLite, with the settings that durable sessions want. */

import * as SqlClient from "@effect/sql/SqlClient"
import * as LibsqlClient from "@effect/sql-libsql/LibsqlClient"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { StorageError } from "../../Tags.js"
import { storageError } from "./errors.js"

/** Long enough for a statement of another process; the whole process stands still for that time. */
const busyMillis = 500

/** libsql takes an address: what means something in one is escaped. */
const addressOf = (file: string): string =>
  `file:${encodeURI(file).replace(/[?#]/g, encodeURIComponent).replace(/^\/+/, "/")}`

export const open = (
  file: string,
  synchronous: "full" | "normal"
): Effect.Effect<SqlClient.SqlClient, StorageError, Scope.Scope> => {
  const failed = (error: unknown) => storageError(`The file ${file} cannot be used for sessions`, error)
  return Effect.gen(function* () {
    const sql = yield* Effect.suspend(() => Layer.build(LibsqlClient.layer({ url: addressOf(file) }))).pipe(
      Effect.map(Context.get(SqlClient.SqlClient)),
      // libsql throws
      Effect.catchAllDefect((defect) => Effect.fail(failed(defect)))
    )
    const settings = [
      `PRAGMA busy_timeout = ${busyMillis}`,
      // readers and the writer do not wait for each other
      "PRAGMA journal_mode = WAL",
      `PRAGMA synchronous = ${synchronous === "full" ? "FULL" : "NORMAL"}`
    ]
    for (const setting of settings) yield* Effect.mapError(sql.unsafe(setting), failed)
    return sql
  })
}
