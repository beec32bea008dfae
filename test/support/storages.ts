import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { SqlClient, SqlError } from "@effect/sql"
import { LibsqlClient } from "@effect/sql-libsql"
import { Context, Effect, Layer, type Scope } from "effect"
import { SessionStorage } from "effect-meantime"
import { afterAll } from "vitest"

/** A folder for the tests of a `describe`, gone after them. */
export const folder = (): string => {
  const path = mkdtempSync(join(tmpdir(), "effect-meantime-"))
  afterAll(() => rmSync(path, { recursive: true, force: true }))
  return path
}

/** Memory that layers of one place share. */
export const inMemory = (): ((place: string) => Layer.Layer<SessionStorage.SessionStorage>) => {
  const places = new Map<string, SessionStorage.Service>()
  return (place) =>
    Layer.effect(
      SessionStorage.SessionStorage,
      Effect.suspend(() => {
        const there = places.get(place)
        if (there !== undefined) return Effect.succeed(there)
        return SessionStorage.SessionStorage.pipe(
          Effect.provide(SessionStorage.layerMemory),
          Effect.tap((made) => void places.set(place, made))
        )
      })
    )
}

/** Another connection to a file, for whatever statements. */
export const connection = (file: string): Effect.Effect<LibsqlClient.LibsqlClient, never, Scope.Scope> =>
  Effect.map(Layer.build(LibsqlClient.layer({ url: `file:${file}` })), Context.get(LibsqlClient.LibsqlClient))

/** No disk is waited for: for tests in which that is not what is looked at. */
export const quick = (sql: SqlClient.SqlClient): Effect.Effect<void, SqlError.SqlError> =>
  Effect.zipRight(sql`PRAGMA journal_mode = WAL`, Effect.asVoid(sql`PRAGMA synchronous = OFF`))
