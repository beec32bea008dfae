import { describe, expect, it } from "@effect/vitest"
import { Effect, Either, Exit } from "effect"
import { SessionStorage } from "effect-meantime"

const inMemory = Effect.provide(SessionStorage.layerMemory)

describe("SessionStorage.layerMemory", () => {
  it.effect("[Q2] gives back what was written last, without what was deleted", () =>
    Effect.gen(function* () {
      const storage = yield* SessionStorage.SessionStorage
      const first = yield* storage.open("a")
      expect(first.rows).toEqual([])
      yield* storage.write(
        "a",
        first.epoch,
        [
          { kind: "item", id: "1", data: { text: "one" } },
          { kind: "item", id: "2", data: [null, 2] },
          { kind: "call", id: "1", data: "another kind" }
        ],
        true
      )
      yield* storage.write(
        "a",
        first.epoch,
        [
          { kind: "item", id: "1", data: undefined },
          { kind: "item", id: "2", data: null }
        ],
        false
      )
      const { rows } = yield* storage.open("a")
      expect(rows).toHaveLength(2)
      expect(rows).toEqual(
        expect.arrayContaining([
          { kind: "call", id: "1", data: "another kind" },
          { kind: "item", id: "2", data: null }
        ])
      )
      expect((yield* storage.open("b")).rows).toEqual([])
    }).pipe(inMemory)
  )

  it.effect("[Q4] an older epoch is refused, before and after the session was removed, and epochs go on rising", () =>
    Effect.gen(function* () {
      const storage = yield* SessionStorage.SessionStorage
      const old = yield* storage.open("a")
      const now = yield* storage.open("a")
      expect(now.epoch).toBeGreaterThan(old.epoch)
      const row = { kind: "item", id: "1", data: 1 }
      const refused = new SessionStorage.Fenced({ sessionId: "a", epoch: old.epoch })
      expect(yield* Effect.either(storage.write("a", old.epoch, [row], true))).toEqual(Either.left(refused))
      expect(yield* Effect.either(storage.remove("a", old.epoch))).toEqual(Either.left(refused))
      yield* storage.write("a", now.epoch, [row], true)
      yield* storage.remove("a", now.epoch)
      const next = yield* storage.open("a")
      expect(next.epoch).toBeGreaterThan(now.epoch)
      expect(next.rows).toEqual([])
    }).pipe(inMemory)
  )

  it.effect("[Q2] a write with something that is no JSON is refused as a whole, and says in which row", () =>
    Effect.gen(function* () {
      const storage = yield* SessionStorage.SessionStorage
      const { epoch } = yield* storage.open("a")
      const rows = [
        { kind: "item", id: "1", data: 1 },
        { kind: "item", id: "2", data: 2n }
      ]
      const refused = yield* Effect.flip(storage.write("a", epoch, rows, true))
      expect(refused).toMatchObject({ _tag: "StorageError", row: "item/2" })
      expect((yield* storage.open("a")).rows).toEqual([])
    }).pipe(inMemory)
  )
})

describe("SessionStorage.recover", () => {
  it.effect("[Q2] gives the sessions that have something open, and no other", () =>
    Effect.gen(function* () {
      const storage = yield* SessionStorage.SessionStorage
      for (const [id, open] of [
        ["a", true],
        ["b", false],
        ["c", true],
        ["d", true]
      ] as const) {
        const { epoch } = yield* storage.open(id)
        yield* storage.write(id, epoch, [{ kind: "item", id: "1", data: 1 }], open)
        if (id === "d") yield* storage.remove(id, epoch)
      }
      yield* storage.open("e")
      const found: Array<string> = []
      yield* SessionStorage.recover((id) => Effect.sync(() => void found.push(id)))
      expect(found.sort()).toEqual(["a", "c"])
      expect(yield* Effect.flip(SessionStorage.recover((id) => Effect.fail(`not ${id}`), { concurrency: 1 }))).toBe(
        "not a"
      )
    }).pipe(inMemory)
  )

  it.effect("[L3] refuses a concurrency that opens nothing", () =>
    Effect.gen(function* () {
      const exit = yield* Effect.exit(SessionStorage.recover(() => Effect.void, { concurrency: 0 }))
      expect(Exit.isFailure(exit) && String(exit.cause)).toContain("concurrency of SessionStorage.recover")
    }).pipe(inMemory)
  )
})
