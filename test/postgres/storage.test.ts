import { SqlClient } from "@effect/sql"
import { PgClient } from "@effect/sql-pg"
import { describe, expect, it } from "@effect/vitest"
import { Cause, Context, Deferred, Effect, Fiber, Layer, Redacted } from "effect"
import { SessionStorage } from "effect-meantime"
import { SqlSessionStorage } from "effect-meantime/sql"
import { contract } from "effect-meantime/testing"
import { afterAll, beforeAll } from "vitest"
import { type Cluster, makeCluster } from "./cluster.js"

let cluster: Cluster
beforeAll(async () => {
  cluster = await makeCluster()
})
afterAll(() => cluster.remove())

const client = Layer.suspend(() => PgClient.layer({ url: Redacted.make(cluster.url), maxConnections: 4 }))

const storageAt = (place: string) => Layer.provide(SqlSessionStorage.layer({ prefix: `t_${place}` }), client)

const outage = Effect.acquireRelease(
  Effect.sync(() => cluster.stop()),
  () => Effect.sync(() => cluster.start())
)

describe("[K5, Q4, Q20] the suite for storages: PostgreSQL", () => {
  contract.sessionStorage(storageAt, { it, outage: () => outage })
})

const row = (id: string, data: unknown): SessionStorage.Row => ({ kind: "item", id, data })

const build = (place: string) => Effect.map(Layer.build(storageAt(place)), Context.get(SessionStorage.SessionStorage))

const connection = Effect.map(Layer.build(client), Context.get(SqlClient.SqlClient))

/** Until so many statements of others wait for a lock. */
const untilWaiting = (sql: SqlClient.SqlClient, count: number): Effect.Effect<void, unknown> =>
  Effect.gen(function* () {
    for (;;) {
      const [found] = yield* sql<{ n: string }>`SELECT count(*) AS n FROM pg_locks WHERE NOT granted`
      if (Number(found?.n) >= count) return
      yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
    }
  })

describe("PostgreSQL", () => {
  it.scoped("[Q4] whoever opens a session waits for a write that is on its way, and reads it", () =>
    Effect.gen(function* () {
      const [one, two, sql, observer] = [
        yield* build("wait"),
        yield* build("wait"),
        yield* connection,
        yield* connection
      ]
      const { epoch } = yield* one.open("a")
      yield* one.write("a", epoch, [row("1", "old"), row("2", "old")], true)
      // the write of a process that stands still before the end of its statement
      const opening = yield* sql.withTransaction(
        Effect.gen(function* () {
          const write = [
            [
              "a",
              epoch,
              1000,
              1,
              [
                ["item", "1", '"on its way"'],
                ["item", "2", null],
                ["item", "3", "3"]
              ]
            ]
          ]
          yield* sql`SELECT t_wait_write(${JSON.stringify(write)})`
          const fiber = yield* Effect.fork(two.open("a"))
          yield* untilWaiting(observer, 1)
          return fiber
        })
      )
      const taken = yield* Fiber.join(opening)
      expect(taken.rows.toSorted((a, b) => a.id.localeCompare(b.id))).toEqual([row("1", "on its way"), row("3", 3)])
      expect((yield* Effect.flip(one.write("a", epoch, [row("1", "late")], true)))._tag).toBe("Fenced")
    })
  )

  it.scoped("[Q4] a write that waits for whoever takes the session over is Fenced, and stores nothing", () =>
    Effect.gen(function* () {
      const [one, sql, observer] = [yield* build("late"), yield* connection, yield* connection]
      const { epoch } = yield* one.open("a")
      yield* one.write("a", epoch, [row("1", "old")], false)
      const writing = yield* sql.withTransaction(
        Effect.gen(function* () {
          yield* sql`UPDATE t_late_sessions SET epoch = nextval('t_late_epochs'), attempt = 0 WHERE id = 'a'`
          const fiber = yield* Effect.fork(
            Effect.flip(one.write("a", epoch, [row("1", "late"), row("2", "late")], true))
          )
          yield* untilWaiting(observer, 1)
          return fiber
        })
      )
      expect(yield* Fiber.join(writing)).toEqual(new SessionStorage.Fenced({ sessionId: "a", epoch }))
      expect(yield* one.unfinished).toEqual([])
      expect((yield* one.open("a")).rows).toEqual([row("1", "old")])
    })
  )

  it.scoped("[Q4] an attempt whose answer was lost stores nothing behind the next one", () =>
    Effect.gen(function* () {
      const [one, sql, observer] = [yield* build("lost"), yield* connection, yield* connection]
      const { epoch } = yield* one.open("a")
      yield* one.write("a", epoch, [row("1", "old")], true)
      // one of the layer's attempts: the number that a write has used up which failed
      yield* Effect.flip(one.write("none", epoch, [], true))
      const attempt = (n: number, id: string) =>
        sql`SELECT t_lost_write(${JSON.stringify([["a", epoch, n, 1, [["item", id, '"lost"']]]])})`
      const next = yield* sql.withTransaction(
        Effect.gen(function* () {
          yield* attempt(2, "call")
          const fiber = yield* Effect.fork(one.write("a", epoch, [row("call", undefined), row("1", "new")], false))
          yield* untilWaiting(observer, 1)
          return fiber
        })
      )
      yield* Fiber.join(next)
      for (const n of [1, 2]) {
        const late = yield* Effect.flip(attempt(n, "1"))
        expect(String((late.cause as Error).message)).toContain("fenced")
      }
      expect((yield* one.open("a")).rows).toEqual([row("1", "new")])
    })
  )

  it.scoped("[Q20] statements that are on their way when the server goes down fail, and the next ones are stored", () =>
    Effect.gen(function* () {
      const [one, sql, observer] = [yield* build("down"), yield* connection, yield* connection]
      const { epoch } = yield* one.open("a")
      yield* one.write("a", epoch, [row("1", "old")], true)
      const isHeld = yield* Deferred.make<void>()
      const held = yield* Effect.fork(
        sql.withTransaction(
          Effect.gen(function* () {
            yield* sql`SELECT * FROM t_down_sessions FOR UPDATE`
            yield* Deferred.succeed(isHeld, undefined)
            return yield* Effect.never
          })
        )
      )
      yield* Deferred.await(isHeld)
      const writing = yield* Effect.fork(
        Effect.forEach(
          ["x", "y", "z"],
          (id) => Effect.flip(one.write("a", epoch, [row("1", "lost"), row(id, "lost")], true)),
          { concurrency: "unbounded" }
        )
      )
      yield* untilWaiting(observer, 1)
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* outage
          for (const error of yield* Fiber.join(writing)) {
            expect(error._tag).toBe("StorageError")
            expect(Cause.pretty(Cause.fail(error), { renderErrorCause: true })).not.toContain("hunter2")
          }
          expect((yield* Effect.flip(one.open("a")))._tag).toBe("StorageError")
          expect((yield* Effect.flip(one.unfinished))._tag).toBe("StorageError")
        })
      )
      yield* Fiber.interrupt(held)
      yield* one.write("a", epoch, [row("2", "stored")], true)
      expect((yield* one.open("a")).rows.toSorted((a, b) => a.id.localeCompare(b.id))).toEqual([
        row("1", "old"),
        row("2", "stored")
      ])
    })
  )

  it.scoped("[Q17] several programs make the tables at once", () =>
    Effect.gen(function* () {
      const all = yield* Effect.forEach([1, 2, 3, 4, 5, 6], () => build("make"), { concurrency: "unbounded" })
      for (const storage of all) yield* storage.open("a")
      const sql = yield* connection
      yield* sql`UPDATE t_make_version SET version = 2`
      const error = yield* Effect.flip(build("make"))
      expect((error as SessionStorage.StorageError).message).toContain("version 2")
    })
  )

  it.scoped("[Q17] a program that may not make tables uses those that are there", () =>
    Effect.gen(function* () {
      const sql = yield* connection
      yield* build("granted")
      yield* sql`CREATE ROLE modest LOGIN`
      for (const name of ["sessions", "rows", "version"]) {
        yield* sql.unsafe(`GRANT SELECT, INSERT, UPDATE, DELETE ON t_granted_${name} TO modest`)
      }
      yield* sql`GRANT USAGE ON SEQUENCE t_granted_epochs TO modest`
      const modest = Layer.suspend(() =>
        PgClient.layer({ url: Redacted.make(cluster.url.replace("postgres:hunter2", "modest")) })
      )
      const storage = (prefix: string) => Layer.build(Layer.provide(SqlSessionStorage.layer({ prefix }), modest))
      const granted = Context.get(yield* storage("t_granted"), SessionStorage.SessionStorage)
      const { epoch } = yield* granted.open("a")
      yield* granted.write("a", epoch, [row("1", 1), row("2", undefined)], true)
      expect((yield* granted.open("a")).rows).toEqual([row("1", 1)])
      const error = yield* Effect.flip(storage("t_none"))
      expect(error).toMatchObject({ _tag: "StorageError", message: expect.stringContaining("permission denied") })
    })
  )

  it.scoped("[Q3] what a session stores inside of a program's transaction does not go with its rollback", () =>
    Effect.gen(function* () {
      const context = yield* Layer.build(Layer.provideMerge(SqlSessionStorage.layer({ prefix: "t_inside" }), client))
      const sql = Context.get(context, SqlClient.SqlClient)
      const storage = Context.get(context, SessionStorage.SessionStorage)
      yield* sql
        .withTransaction(
          Effect.gen(function* () {
            const { epoch } = yield* storage.open("a")
            yield* storage.write("a", epoch, [row("1", 1)], true)
            expect(yield* storage.unfinished).toEqual(["a"])
            return yield* Effect.fail("rolled back")
          })
        )
        .pipe(Effect.flip)
      expect((yield* storage.open("a")).rows).toEqual([row("1", 1)])
    })
  )
})
