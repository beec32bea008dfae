import { join } from "node:path"
import { SqlClient } from "@effect/sql"
import { LibsqlClient } from "@effect/sql-libsql"
import { describe, expect, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { SessionStorage } from "effect-meantime"
import { SqlSessionStorage } from "effect-meantime/sql"
import { SqliteSessionStorage } from "effect-meantime/sqlite"
import { contract } from "effect-meantime/testing"
import { connection, folder, inMemory, quick } from "./support/storages.js"
import { failing, virtual } from "./support/suites.js"

describe("[K5] the suite for storages: memory", () => {
  contract.sessionStorage(inMemory(), { it: virtual })
})

describe("[K5, Q4, Q20] the suite for storages: a file of SQLite", () => {
  const at = folder()
  const fileOf = (place: string) => join(at, `${place}.db`)
  contract.sessionStorage((place) => SqliteSessionStorage.layer({ file: fileOf(place) }), {
    it,
    // another program that is inside of a long transaction
    outage: (place) =>
      Effect.gen(function* () {
        const sql = yield* connection(fileOf(place))
        yield* Effect.acquireRelease(sql`BEGIN IMMEDIATE`, () => Effect.orDie(sql`ROLLBACK`))
      })
  })
})

/** Settings that change what a trigger does, and what it may do. */
const strict = (sql: SqlClient.SqlClient) =>
  Effect.gen(function* () {
    yield* quick(sql)
    yield* sql`PRAGMA trusted_schema = OFF`
    yield* sql`PRAGMA recursive_triggers = ON`
    yield* sql`PRAGMA foreign_keys = ON`
  })

describe("[K5] the suite for storages: any client of SQLite, with a prefix", () => {
  const at = folder()
  contract.sessionStorage(
    (place) =>
      SqlSessionStorage.layer({ prefix: `t_${place}` }).pipe(
        Layer.provide(Layer.effectDiscard(Effect.flatMap(SqlClient.SqlClient, strict))),
        Layer.provide(LibsqlClient.layer({ url: `file:${join(at, `${place}.db`)}`, intMode: "bigint" }))
      ),
    { it: virtual }
  )
})

// --------------------------------------------------------------------------------------------------- what it catches

type Service = SessionStorage.Service
type Row = SessionStorage.Row

/** Memory that can be looked into, and that others may spoil. */
const odd = (spoil: (sound: Service) => Partial<Service>) => {
  const places = inMemory()
  const spoilt = new Map<string, Service>()
  return (place: string) =>
    Layer.effect(
      SessionStorage.SessionStorage,
      Effect.map(Effect.provide(SessionStorage.SessionStorage, places(place)), (sound) => {
        const there = spoilt.get(place) ?? { ...sound, ...spoil(sound) }
        spoilt.set(place, there)
        return there
      })
    )
}

const onRows =
  (change: (rows: ReadonlyArray<Row>) => ReadonlyArray<Row>) =>
  (sound: Service): Partial<Service> => ({
    write: (id, epoch, rows, open) => sound.write(id, epoch, change(rows), open)
  })

const onRow = (change: (row: Row) => Row) => onRows((rows) => rows.map(change))

/** Writes with whatever epoch is the latest. */
const unfenced = (sound: Service) => {
  const epochs = new Map<string, number>()
  const open: Service["open"] = (id) => Effect.tap(sound.open(id), ({ epoch }) => void epochs.set(id, epoch))
  return { open, latest: (id: string, epoch: number) => epochs.get(id) ?? epoch }
}

const mutants: Record<string, readonly [spoil: (sound: Service) => Partial<Service>, caught: RegExp]> = {
  "whose epochs stay": [
    (sound) => ({ open: (id) => Effect.map(sound.open(id), ({ rows }) => ({ epoch: 1, rows })) }),
    /each opening has a higher epoch/
  ],
  "that keeps what is deleted": [
    onRow((row) => ({ ...row, data: row.data === undefined ? null : row.data })),
    /without data it is deleted/
  ],
  "that takes null for deleted": [
    onRow((row) => ({ ...row, data: row.data === null ? undefined : row.data })),
    /come back as they were/
  ],
  "that trims": [
    onRow((row) => ({ ...row, data: typeof row.data === "string" ? row.data.trim() : row.data })),
    /come back as they were/
  ],
  "that knows no kinds": [onRow((row) => ({ ...row, kind: "item" })), /told apart/],
  "that folds case": [onRow((row) => ({ ...row, id: row.id.toLowerCase() })), /told apart/],
  "that cuts names at NUL": [onRow((row) => ({ ...row, id: row.id.split("\0")[0] as string })), /told apart/],
  "that loses half characters": [onRow((row) => ({ ...row, id: Buffer.from(row.id).toString() })), /told apart/],
  "that mixes sessions up": [
    (sound) => ({ open: (id) => sound.open(id.trim()), write: (id, ...more) => sound.write(id.trim(), ...more) }),
    /told apart/
  ],
  "that deletes last": [
    onRows((rows) => rows.toSorted((a, b) => Number(a.data === undefined) - Number(b.data === undefined))),
    /named last/
  ],
  "that hands out its own objects": [
    (sound) => {
      const kept = new Map<string, ReadonlyArray<Row>>()
      return {
        write: (id, epoch, rows, open) => Effect.tap(sound.write(id, epoch, rows, open), () => void kept.set(id, rows)),
        open: (id) => Effect.map(sound.open(id), ({ epoch, rows }) => ({ epoch, rows: kept.get(id) ?? rows }))
      }
    },
    /nobody else's/
  ],
  "that writes what it can": [
    (sound) => ({
      write: (id, epoch, rows, open) =>
        Effect.forEach(rows, (row) => sound.write(id, epoch, [row], open), { discard: true })
    }),
    /fails as a whole/
  ],
  "that names no row": [
    (sound) => ({
      write: (...given) =>
        Effect.catchTag(sound.write(...given), "StorageError", ({ message }) =>
          Effect.fail(new SessionStorage.StorageError({ message }))
        )
    }),
    /names the row/
  ],
  "that fences nobody": [
    (sound) => {
      const { latest, open } = unfenced(sound)
      return { open, write: (id, epoch, ...more) => sound.write(id, latest(id, epoch), ...more) }
    },
    /is Fenced, and changes nothing/
  ],
  "that lets older epochs remove": [
    (sound) => {
      const { latest, open } = unfenced(sound)
      return { open, remove: (id, epoch) => sound.remove(id, latest(id, epoch)) }
    },
    /is Fenced, and changes nothing/
  ],
  "that is Fenced behind the write": [
    (sound) => {
      const { latest, open } = unfenced(sound)
      return {
        open,
        write: (id, epoch, ...more) =>
          epoch === latest(id, epoch)
            ? sound.write(id, epoch, ...more)
            : Effect.zipRight(sound.write(id, latest(id, epoch), ...more), sound.write(id, epoch, ...more))
      }
    },
    /is Fenced, and changes nothing/
  ],
  "that fails otherwise than Fenced": [
    (sound) => ({
      write: (...given) =>
        Effect.catchTag(sound.write(...given), "Fenced", ({ message }) =>
          Effect.fail(new SessionStorage.StorageError({ message }))
        )
    }),
    /is Fenced, and changes nothing/
  ],
  "that begins anew after a removal": [
    (sound) => {
      const gone = new Map<string, number>()
      return {
        remove: (id, epoch) => Effect.tap(sound.remove(id, epoch), () => void gone.set(id, epoch)),
        open: (id) => Effect.map(sound.open(id), ({ epoch, rows }) => ({ epoch: epoch - (gone.get(id) ?? 0), rows })),
        write: (id, epoch, ...more) => sound.write(id, epoch + (gone.get(id) ?? 0), ...more)
      }
    },
    /go on rising/
  ],
  "that keeps what is removed": [
    (sound) => ({ remove: (id, epoch) => sound.write(id, epoch, [], false) }),
    /removed is empty/
  ],
  "that remembers what was open": [
    (sound) => {
      const open = new Set<string>()
      return {
        write: (id, epoch, rows, isOpen) =>
          Effect.tap(sound.write(id, epoch, rows, isOpen), () => void (isOpen && open.add(id))),
        unfinished: Effect.sync(() => [...open])
      }
    },
    /said so/
  ],
  "that closes what it opens": [
    (sound) => ({
      open: (id) => Effect.tap(sound.open(id), ({ epoch }) => Effect.ignore(sound.write(id, epoch, [], false)))
    }),
    /said so/
  ],
  "that gives way to others": [
    (sound) => {
      let turn = 0
      return {
        write: (...given) =>
          Effect.zipRight(
            Effect.suspend(() => (turn++ % 3 === 0 ? Effect.yieldNow() : Effect.void)),
            sound.write(...given)
          )
      }
    },
    /in their order/
  ],
  "where one that is fenced disturbs others": [
    (sound) => {
      let fenced = false
      return {
        write: (id, epoch, ...more) =>
          fenced
            ? Effect.fail(new SessionStorage.Fenced({ sessionId: id, epoch }))
            : Effect.tapErrorTag(sound.write(id, epoch, ...more), "Fenced", () =>
                Effect.sync(() => {
                  fenced = true
                })
              )
      }
    },
    /disturbs no other/
  ],
  "that can be stopped inside of a write": [
    (sound) => ({
      write: (id, epoch, rows, open) =>
        Effect.forEach(rows, (row) => Effect.zipRight(Effect.yieldNow(), sound.write(id, epoch, [row], open)), {
          discard: true
        })
    }),
    /as a whole or not at all/
  ],
  "that reads before it takes over": [
    (sound) => {
      const stored = new Map<string, ReadonlyArray<Row>>()
      return {
        write: (id, epoch, rows, open) =>
          Effect.tap(sound.write(id, epoch, rows, open), () => void stored.set(id, rows)),
        open: (id) =>
          Effect.gen(function* () {
            const rows = stored.get(id) ?? []
            yield* Effect.yieldNow()
            return { epoch: (yield* sound.open(id)).epoch, rows }
          })
      }
    },
    /told is stored/
  ],
  "that checks before it writes": [
    (sound) => {
      const { latest, open } = unfenced(sound)
      return {
        open,
        write: (id, epoch, rows, isOpen) =>
          epoch === latest(id, epoch)
            ? Effect.zipRight(
                Effect.yieldNow(),
                Effect.suspend(() => sound.write(id, latest(id, epoch), rows, isOpen))
              )
            : Effect.fail(new SessionStorage.Fenced({ sessionId: id, epoch }))
      }
    },
    /told is stored/
  ]
}

describe("[K5] what the suite for storages catches", () => {
  it.effect("takes a storage that does as it should", () =>
    Effect.gen(function* () {
      expect(
        yield* failing((it) =>
          contract.sessionStorage(
            odd(() => ({})),
            { it }
          )
        )
      ).toEqual([])
    })
  )

  for (const [name, [spoil, caught]] of Object.entries(mutants)) {
    it.effect(`catches one ${name}`, () =>
      Effect.gen(function* () {
        expect(yield* failing((it) => contract.sessionStorage(odd(spoil), { it }), caught)).toHaveLength(1)
      })
    )
  }

  it.effect("catches one that forgets with its layer", () =>
    Effect.gen(function* () {
      const names = yield* failing(
        (it) => contract.sessionStorage(() => SessionStorage.layerMemory, { it }),
        /outlives/
      )
      expect(names).toHaveLength(1)
    })
  )

  it.effect("catches one that dies, or writes on, while it cannot be reached", () =>
    Effect.gen(function* () {
      for (const down of [Effect.die("gone"), Effect.void]) {
        let isDown = false
        const storage = odd((sound) => ({
          write: (...given) => Effect.suspend(() => (isDown ? down : sound.write(...given)))
        }))
        const outage = () =>
          Effect.acquireRelease(
            Effect.sync(() => {
              isDown = true
            }),
            () =>
              Effect.sync(() => {
                isDown = false
              })
          )
        expect(
          yield* failing((it) => contract.sessionStorage(storage, { it, outage }), /cannot be reached/)
        ).toHaveLength(1)
      }
    })
  )
})
