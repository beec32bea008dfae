import { mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { Reactivity } from "@effect/experimental"
import { SqlClient, type SqlConnection, SqlError, Statement } from "@effect/sql"
import { describe, expect, it } from "@effect/vitest"
import { Cause, Context, Effect, Either, Exit, Fiber, Layer, type Scope } from "effect"
import { SessionStorage } from "effect-meantime"
import { SqlSessionStorage } from "effect-meantime/sql"
import { SqliteSessionStorage } from "effect-meantime/sqlite"
import { TestSession } from "effect-meantime/testing"
import { open as openFile } from "../src/internal/sql/file.js"
import { connection, folder, quick } from "./support/storages.js"

const at = folder()
let files = 0
const newFile = () => join(at, `${++files}.db`)

type Building = Effect.Effect<SessionStorage.Service, SessionStorage.StorageError, Scope.Scope>

const build = (layer: Layer.Layer<SessionStorage.SessionStorage, SessionStorage.StorageError>): Building =>
  Effect.map(Layer.build(layer), Context.get(SessionStorage.SessionStorage))

const inFile = (file: string): Building => build(SqliteSessionStorage.layer({ file }))

const overClient = (client: SqlClient.SqlClient, prefix?: string): Building =>
  build(
    Layer.provide(
      SqlSessionStorage.layer(prefix === undefined ? {} : { prefix }),
      Layer.succeed(SqlClient.SqlClient, client)
    )
  )

/** A client whose statements go where the test says. */
const clientOf = (execute: (statement: string) => Effect.Effect<ReadonlyArray<any>, SqlError.SqlError>) => {
  const fails = () => Effect.die("not asked for")
  const made: SqlConnection.Connection = {
    execute,
    executeRaw: execute,
    executeValues: execute,
    executeUnprepared: execute,
    executeStream: fails as never
  }
  return SqlClient.make({
    acquirer: Effect.succeed(made),
    compiler: Statement.makeCompilerSqlite(),
    spanAttributes: []
  }).pipe(Effect.provide(Reactivity.layer))
}

/** A file, and the statements that are sent to it, each as its first word and its changes. */
const watched = (file: string) =>
  Effect.gen(function* () {
    const sql = yield* connection(file)
    yield* Effect.orDie(quick(sql))
    const sent: Array<string> = []
    const unsafe: SqlClient.SqlClient["unsafe"] = (statement, params) => {
      sent.push(statement.split(/[\s_]/)[0] === "INSERT" && statement.includes("_changes") ? String(params?.[0]) : "")
      return sql.unsafe(statement, params)
    }
    // the client is a function, and asked for a copy of itself
    const client: SqlClient.SqlClient = Object.assign((...args: Array<never>) => (sql as any)(...args), sql, {
      unsafe,
      withoutTransforms: () => client
    }) as never
    return { sql, client, writes: () => sent.filter((text) => text !== "").map((text) => JSON.parse(text).length) }
  })

const row = (id: string, data: unknown): SessionStorage.Row => ({ kind: "item", id, data })

const told = (error: SessionStorage.StorageError) =>
  [error.message, String(error.cause), Cause.pretty(Cause.fail(error), { renderErrorCause: true })].join("\n")

// ------------------------------------------------------------------------------------------------------------- tables

describe("the tables of durable sessions", () => {
  it.scoped("[Q17] are made where they are missing, by several programs at once", () =>
    Effect.gen(function* () {
      const file = newFile()
      const all = yield* Effect.forEach([1, 2, 3, 4], () => inFile(file), { concurrency: "unbounded" })
      for (const storage of all) yield* storage.open("a")
    })
  )

  it.scoped("[Q17] of a newer release are neither read nor changed", () =>
    Effect.gen(function* () {
      const file = newFile()
      const storage = yield* inFile(file)
      const { epoch } = yield* storage.open("a")
      yield* storage.write("a", epoch, [row("1", 1)], true)
      const sql = yield* connection(file)
      const all = Effect.all([
        sql.unsafe("SELECT * FROM effect_meantime_sessions").values,
        sql.unsafe("SELECT * FROM effect_meantime_rows").values,
        sql.unsafe("SELECT name, sql FROM sqlite_master").values
      ])
      for (const version of [2, 0, -1, 1.5, "one"]) {
        yield* sql`UPDATE effect_meantime_version SET version = ${version}`
        const before = yield* all
        const error = yield* Effect.flip(inFile(file))
        expect(error._tag).toBe("StorageError")
        expect(error.message).toContain(`version ${version}`)
        expect(yield* all).toEqual(before)
      }
      yield* sql`UPDATE effect_meantime_version SET version = 1`
      expect((yield* Effect.flatMap(inFile(file), ({ open }) => open("a"))).rows).toEqual([row("1", 1)])
    })
  )

  it.scoped("[Q17] that were left half made are completed", () =>
    Effect.gen(function* () {
      const file = newFile()
      yield* Effect.scoped(inFile(file))
      const sql = yield* connection(file)
      yield* sql`DELETE FROM effect_meantime_version`
      yield* sql`DROP TRIGGER effect_meantime_remove`
      const storage = yield* inFile(file)
      const { epoch } = yield* storage.open("a")
      yield* storage.write("a", epoch, [row("1", 1)], true)
      yield* storage.remove("a", epoch)
      expect(yield* sql`SELECT version FROM effect_meantime_version`).toEqual([{ version: 1 }])
    })
  )

  it.scoped("[Q17] a row that is damaged fails the opening, which names it; other sessions open", () =>
    Effect.gen(function* () {
      const file = newFile()
      const storage = yield* inFile(file)
      for (const id of ["a", "b"]) {
        const { epoch } = yield* storage.open(id)
        yield* storage.write(id, epoch, [row("1", 1), row("\0", 2)], true)
      }
      const sql = yield* connection(file)
      yield* sql`UPDATE effect_meantime_rows SET data = '{"half' WHERE session = 'a' AND id <> '1'`
      const before = yield* sql`SELECT * FROM effect_meantime_rows`
      const error = yield* Effect.flip(storage.open("a"))
      expect(error).toMatchObject({ _tag: "StorageError", row: "item/\0" })
      expect(error.message).toContain("item/\0")
      expect((yield* storage.open("b")).rows).toHaveLength(2)
      expect(yield* sql`SELECT * FROM effect_meantime_rows`).toEqual(before)
    })
  )

  it.scoped("of two prefixes in one file have nothing to do with each other", () =>
    Effect.gen(function* () {
      const sql = yield* connection(newFile())
      const [one, two] = [yield* overClient(sql, "one"), yield* overClient(sql, "two")]
      const { epoch } = yield* one.open("a")
      yield* one.write("a", epoch, [row("1", 1)], true)
      expect((yield* two.open("a")).rows).toEqual([])
      expect(yield* two.unfinished).toEqual([])
      yield* one.write("a", epoch, [row("2", 2)], true)
    })
  )

  it.scoped("are not made in another database", () =>
    Effect.gen(function* () {
      const sql = yield* clientOf(() => Effect.die("asked"))
      const mysql = Object.assign(() => {}, sql, {
        onDialectOrElse: ({ orElse }: { readonly orElse: () => unknown }) => orElse(),
        withoutTransforms: () => mysql
      }) as never
      expect((yield* Effect.flip(overClient(mysql))).message).toContain("SQLite and PostgreSQL")
    })
  )
})

// ------------------------------------------------------------------------------------------------------------ options

describe("[L3] options of storages", () => {
  const defect = (layer: Layer.Layer<SessionStorage.SessionStorage, unknown>) =>
    Effect.map(Effect.exit(Effect.scoped(Layer.build(layer))), (exit) => Exit.isFailure(exit) && String(exit.cause))

  for (const prefix of ["", "1a", "a-b", "a b", "A", 'x"; DROP', "a".repeat(41), 7, null]) {
    it.effect(`a prefix is no ${JSON.stringify(prefix)}`, () =>
      Effect.gen(function* () {
        const client = Layer.effect(
          SqlClient.SqlClient,
          clientOf(() => Effect.die("asked"))
        )
        const layer = Layer.provide(SqlSessionStorage.layer({ prefix: prefix as string }), client)
        expect(yield* defect(layer)).toContain("The option prefix of SqlSessionStorage.layer has to be")
      })
    )
  }

  for (const file of ["", ":memory:", "file:a.db", "a\0b", 7, undefined]) {
    it.effect(`a file is no ${JSON.stringify(file)}`, () =>
      Effect.gen(function* () {
        const layer = SqliteSessionStorage.layer({ file: file as string })
        expect(yield* defect(layer)).toContain("The option file of SqliteSessionStorage.layer has to be")
      })
    )
  }

  it.effect("synchronous is full or normal", () =>
    Effect.gen(function* () {
      const layer = SqliteSessionStorage.layer({ file: newFile(), synchronous: "off" as "full" })
      expect(yield* defect(layer)).toContain('The option synchronous of SqliteSessionStorage.layer has to be "full" or')
    })
  )
})

// --------------------------------------------------------------------------------------------------------------- files

describe("a file of sessions", () => {
  it.scoped("may have any name", () =>
    Effect.gen(function* () {
      for (const name of ["a b.db", "100%.db", "a?b#c&d=e.db", "Grüße 👋.db", "'q\"uoted'.db", "%41.db"]) {
        const file = join(at, name)
        const { epoch } = yield* Effect.flatMap(inFile(file), ({ open }) => open("a"))
        expect(yield* Effect.flatMap(inFile(file), ({ open }) => open("a"))).toEqual({ epoch: epoch + 1, rows: [] })
      }
      expect((yield* Effect.flatMap(inFile(join(at, "A.db")), ({ open }) => open("a"))).epoch).toBe(1)
    })
  )

  it.scoped("that cannot be used is told by a StorageError that names it", () =>
    Effect.gen(function* () {
      const text = join(at, "text.db")
      writeFileSync(text, "This is no database. ".repeat(500))
      mkdirSync(join(at, "folder.db"))
      for (const file of [text, join(at, "folder.db"), join(at, "nowhere", "a.db"), `${join(at, "half")}\uD83D.db`]) {
        const error = yield* Effect.flip(inFile(file))
        expect(error._tag).toBe("StorageError")
        expect(error.message).toContain(file)
        expect(error.message.length).toBeGreaterThan(file.length + 50)
      }
    })
  )

  it.scoped("is opened so that readers do not wait, and what is written is safe as asked", () =>
    Effect.gen(function* () {
      for (const [mode, synchronous] of [
        ["full", 2],
        ["normal", 1]
      ] as const) {
        const sql = yield* openFile(newFile(), mode)
        expect(yield* sql.unsafe("PRAGMA journal_mode").values).toEqual([["wal"]])
        expect(yield* sql.unsafe("PRAGMA synchronous").values).toEqual([[synchronous]])
        expect(yield* sql.unsafe("PRAGMA busy_timeout").values).toEqual([[500]])
      }
    })
  )

  it.scoped("[Q4] a late attempt of the same epoch is refused as one of an older epoch is", () =>
    Effect.gen(function* () {
      const file = newFile()
      const storage = yield* inFile(file)
      const { epoch } = yield* storage.open("a")
      const sql = yield* connection(file)
      const attempt = (n: number, data: string | null) =>
        Effect.either(
          sql.unsafe(
            "INSERT INTO effect_meantime_changes (session, epoch, attempt, open, changed) VALUES (?, ?, ?, ?, ?)",
            ["a", epoch, n, 0, data]
          )
        )
      yield* storage.write("a", epoch, [row("1", "first")], true)
      yield* storage.write("a", epoch, [row("1", "second")], true)
      for (const data of ['[["item","1","late"]]', null]) {
        for (const n of [1, 2]) expect(Either.isLeft(yield* attempt(n, data))).toBe(true)
      }
      expect(Either.isRight(yield* attempt(3, '[["item","2","3"]]'))).toBe(true)
      expect((yield* storage.open("a")).rows).toEqual([row("1", "second"), row("2", 3)])
    })
  )
})

// ------------------------------------------------------------------------------------------------------------- batches

describe("[Q2] writes of many sessions", () => {
  const writeAll = (
    storage: SessionStorage.Service,
    ids: ReadonlyArray<string>,
    rows: ReadonlyArray<SessionStorage.Row>
  ) =>
    Effect.gen(function* () {
      const epochs = yield* Effect.forEach(ids, (id) => Effect.map(storage.open(id), ({ epoch }) => ({ id, epoch })))
      return yield* Effect.forEach(epochs, ({ epoch, id }) => Effect.either(storage.write(id, epoch, rows, true)), {
        concurrency: "unbounded"
      })
    })

  const ids = Array.from({ length: 300 }, (_, i) => `s${i}`)

  it.scoped("share a statement, up to a bound", () =>
    Effect.gen(function* () {
      const { client, writes } = yield* watched(newFile())
      const storage = yield* overClient(client)
      expect((yield* writeAll(storage, ids, [row("1", 1)])).every(Either.isRight)).toBe(true)
      expect(writes().length).toBeLessThanOrEqual(3)
      expect(Math.max(...writes())).toBe(256)
      const before = writes().length
      const long = "x".repeat(1_000_000)
      expect((yield* writeAll(storage, ids.slice(0, 9), [row("1", long)])).every(Either.isRight)).toBe(true)
      expect(Math.max(...writes().slice(before))).toBeLessThan(5)
    })
  )

  it.scoped("a row that the database does not take fails the write of its session only", () =>
    Effect.gen(function* () {
      const { client, sql } = yield* watched(newFile())
      const storage = yield* overClient(client)
      yield* sql`CREATE TRIGGER bad BEFORE INSERT ON effect_meantime_rows WHEN NEW.session = 's3' OR NEW.session = 's150'
        BEGIN SELECT RAISE(ABORT, 'too odd'); END`
      const all = yield* writeAll(storage, ids, [row("1", 1)])
      const failed = all.flatMap((one) => (Either.isLeft(one) ? [one.left] : []))
      expect(failed.map(({ message, _tag }) => [_tag, message.includes("too odd")])).toEqual([
        ["StorageError", true],
        ["StorageError", true]
      ])
      expect(yield* sql`SELECT count(*) AS n FROM effect_meantime_rows`).toEqual([{ n: 298 }])
    })
  )

  it.scoped("[Q20] an outage is not tried out with each of them", () =>
    Effect.gen(function* () {
      const { client, sql, writes } = yield* watched(newFile())
      const storage = yield* overClient(client)
      yield* sql`CREATE TRIGGER bad BEFORE INSERT ON effect_meantime_rows BEGIN SELECT RAISE(ABORT, 'disk is full'); END`
      const all = yield* writeAll(storage, ids.slice(0, 200), [row("1", 1)])
      expect(all.every((one) => Either.isLeft(one) && one.left.message.includes("disk is full"))).toBe(true)
      expect(writes().length).toBeLessThanOrEqual(4)
      yield* sql`DROP TRIGGER bad`
      expect((yield* writeAll(storage, ids.slice(0, 200), [row("1", 1)])).every(Either.isRight)).toBe(true)
    })
  )

  it.scoped("closing the layer tells whoever still waits, and ends at once", () =>
    Effect.gen(function* () {
      let hangs = false
      let stopped = 0
      const client = yield* clientOf((statement) =>
        hangs
          ? Effect.onInterrupt(Effect.never, () => Effect.sync(() => stopped++))
          : Effect.succeed(/^SELECT version/.test(statement) ? [[1]] : [[1]])
      )
      const scope = yield* Effect.scope
      const waiting = yield* Effect.scoped(
        Effect.gen(function* () {
          const storage = yield* overClient(client)
          hangs = true
          const fibers = yield* Effect.forEach(["a", "b"], (id) => Effect.forkIn(storage.write(id, 1, [], true), scope))
          yield* TestSession.settle
          fibers.push(yield* Effect.forkIn(storage.write("c", 1, [], true), scope))
          const withdrawn = yield* Effect.forkIn(storage.write("d", 1, [], true), scope)
          yield* TestSession.settle
          yield* Fiber.interrupt(withdrawn)
          return { fibers, storage }
        })
      )
      expect(stopped).toBe(1)
      for (const fiber of waiting.fibers) {
        expect((yield* Effect.flip(Fiber.join(fiber))).message).toBe("The storage is closed.")
      }
      expect((yield* Effect.flip(waiting.storage.write("a", 1, [], true))).message).toBe("The storage is closed.")
    })
  )
})

// -------------------------------------------------------------------------------------------------------------- errors

describe("[Q20] errors of a database", () => {
  const errors: ReadonlyArray<readonly [string, unknown, says: string]> = [
    ["an address", new Error("connect to postgres://ann:hunter2@db.example.com:5432/x failed"), "db.example.com"],
    ["a field", Object.assign(new Error('password=hunter2 for "ann" is wrong'), { code: "28P01" }), "28P01"],
    [
      "a client in it",
      Object.assign(new Error("terminated"), { client: { password: "hunter2", connectionString: "hunter2" } }),
      "terminated"
    ],
    [
      "several attempts",
      Object.assign(
        new AggregateError([Object.assign(new Error("connect ECONNREFUSED ::1:5432"), { code: "ECONNREFUSED" })]),
        {
          hunter2: "hunter2"
        }
      ),
      "ECONNREFUSED"
    ],
    ["nothing", undefined, "Failed to execute statement"],
    ["an odd value", { message: 7, code: {}, cause: "hunter2 ".repeat(0) }, "Failed to execute statement"]
  ]
  for (const [name, cause, says] of errors) {
    it.scoped(`with ${name} say what happened, and no password`, () =>
      Effect.gen(function* () {
        const failing = { on: false }
        const client = yield* clientOf(() =>
          failing.on
            ? Effect.fail(new SqlError.SqlError({ cause, message: "Failed to execute statement" }))
            : Effect.succeed([[1]])
        )
        const storage = yield* overClient(client)
        failing.on = true
        const building = Effect.flip(overClient(client))
        for (const error of [
          yield* Effect.flip(storage.open("a")),
          yield* Effect.flip(storage.write("a", 1, [], true)),
          yield* Effect.flip(storage.unfinished),
          yield* Effect.flip(storage.remove("a", 1)),
          yield* building
        ]) {
          expect(error._tag).toBe("StorageError")
          expect(told(error as SessionStorage.StorageError)).toContain(says)
          expect(told(error as SessionStorage.StorageError)).not.toContain("hunter2")
          expect(JSON.stringify(error)).not.toContain("hunter2")
        }
      })
    )
  }
})

describe("a program's own transaction", () => {
  it.scoped("[Q3] what sessions store is no part of it", () =>
    Effect.gen(function* () {
      const sql = yield* connection(newFile())
      const storage = yield* overClient(sql)
      // as inside of one whose client has more than one connection: a statement in it would run with that one
      const inside = Effect.provideService(SqlClient.TransactionConnection, [
        {
          execute: () => Effect.die("in the transaction"),
          executeValues: () => Effect.die("in the transaction")
        } as unknown as SqlConnection.Connection,
        0
      ])
      const { epoch } = yield* inside(storage.open("a"))
      yield* inside(storage.write("a", epoch, [row("1", 1)], true))
      expect(yield* inside(storage.unfinished)).toEqual(["a"])
    })
  )
})
