/** Durable sessions in a database that an `SqlClient` of Effect reaches. */
import * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Runtime from "effect/Runtime"
import type * as Scope from "effect/Scope"
import type { Row, Service } from "../../SessionStorage.js"
import { StorageError } from "../../Tags.js"
import { Batches, type Change, type Send } from "./batches.js"
import { type Dialect, dialects, latest } from "./dialects.js"
import { storageError } from "./errors.js"
import { fromStored, rowOf, storedRows, toStored } from "./text.js"

const isKnown = (version: unknown): boolean => Number.isInteger(version) && (version as number) <= latest

/** The version of the tables; undefined if they have none yet. */
const versionIn = (rows: ReadonlyArray<ReadonlyArray<unknown>>): Either.Either<number | undefined, StorageError> => {
  const [row] = rows
  if (row === undefined) return Either.right(undefined)
  const version = Number(row[0])
  if (isKnown(version) && version >= 1) return Either.right(version)
  const message = `The tables of the sessions have version ${String(row[0])}, and this release knows ${latest} at most: nothing was read or changed.`
  return Either.left(new StorageError({ message }))
}

export const make = (prefix: string): Effect.Effect<Service, StorageError, SqlClient.SqlClient | Scope.Scope> =>
  Effect.gen(function* () {
    const sql = (yield* SqlClient.SqlClient).withoutTransforms()
    const dialect = sql.onDialectOrElse({
      sqlite: () => dialects.sqlite(prefix),
      pg: () => dialects.postgres(prefix),
      orElse: () => undefined
    })
    if (dialect === undefined) {
      return yield* new StorageError({ message: "Sessions are stored in SQLite and PostgreSQL, in no other database." })
    }

    // a program that calls a session inside of a transaction of its own: what is stored must not go with its rollback
    const runtime = yield* Effect.runtime<Scope.Scope>()
    const context = Context.omit(SqlClient.TransactionConnection)(runtime.context) as Context.Context<never>
    const outside = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E> =>
      Effect.withTracerEnabled(
        Effect.mapInputContext(effect, () => context),
        false
      )
    const query = (
      text: string,
      params: ReadonlyArray<unknown> = []
    ): Effect.Effect<ReadonlyArray<ReadonlyArray<unknown>>, SqlError> => outside(sql.unsafe(text, params).values)

    yield* prepare(sql, dialect, query)

    let attempts = 0
    const send: Send = (changes) => {
      const given = inOneOrder(changes).map(({ epoch, open, rows, sessionId }) => [
        toStored(sessionId),
        epoch,
        ++attempts,
        open ? 1 : 0,
        rows
      ])
      return query(dialect.write, [JSON.stringify(given)])
    }
    const batches = yield* Effect.acquireRelease(
      Effect.sync(() => new Batches(send, Runtime.runFork(runtime))),
      ({ close }) => close
    )

    const reading = <A>(effect: Effect.Effect<A, SqlError>): Effect.Effect<A, StorageError> =>
      Effect.mapError(effect, (error) => storageError("The stored sessions cannot be read", error))

    return {
      open: (sessionId) =>
        Effect.gen(function* () {
          const id = toStored(sessionId)
          const [taken] = yield* reading(query(dialect.take, [id]))
          // not in the same statement: it would see nothing of a write of the older epoch that it had to wait for
          const stored = yield* reading(query(dialect.rows, [id]))
          const rows: Array<Row> = []
          for (const one of stored) rows.push(yield* rowOf(one))
          return { epoch: Number(taken?.[0]), rows }
        }),
      write: (sessionId, epoch, rows, open) =>
        Effect.suspend(() =>
          Either.match(storedRows(rows), {
            onLeft: Effect.fail,
            onRight: (rows) => batches.put({ sessionId, epoch, rows, open })
          })
        ),
      unfinished: Effect.suspend(() =>
        Effect.map(reading(query(dialect.unfinished)), (rows) => rows.map(([id]) => fromStored(String(id))))
      ),
      remove: (sessionId, epoch) => batches.put({ sessionId, epoch, rows: null, open: false })
    }
  })

/** Makes the tables, or brings them to the version of this release. */
const prepare = (
  sql: SqlClient.SqlClient,
  dialect: Dialect,
  query: (text: string) => Effect.Effect<ReadonlyArray<ReadonlyArray<unknown>>, SqlError>
): Effect.Effect<void, StorageError> =>
  Effect.gen(function* () {
    // a program that may not change tables only reads
    const before = yield* Effect.option(query(dialect.readVersion))
    if (before._tag === "Some" && (yield* versionIn(before.value)) === latest) return
    const change = Effect.gen(function* () {
      if (dialect.lock !== undefined) yield* sql.unsafe(dialect.lock)
      yield* sql.unsafe(dialect.versionTable)
      const version = (yield* versionIn(yield* sql.unsafe(dialect.readVersion).values)) ?? 0
      for (const statement of dialect.steps.slice(version).flat()) yield* sql.unsafe(statement)
      if (version !== latest) yield* sql.unsafe(dialect.writeVersion)
    })
    yield* Effect.mapError(dialect.lock === undefined ? change : sql.withTransaction(change), (error) =>
      error._tag === "StorageError"
        ? error
        : storageError("The tables of the sessions cannot be made or brought up to date", error)
    )
  })

/** Two programs that write the same sessions, while one takes over from the other, do not wait for each other in a circle. */
const inOneOrder = (changes: ReadonlyArray<Change>): ReadonlyArray<Change> =>
  changes.length === 1
    ? changes
    : [...changes].sort((a, b) => (a.sessionId < b.sessionId ? -1 : a.sessionId > b.sessionId ? 1 : 0))
