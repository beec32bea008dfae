/** Durable sessions in the memory of this process. */
import * as Effect from "effect/Effect"
import type { Row, Service } from "../../SessionStorage.js"
import { Fenced, StorageError } from "../../Tags.js"

interface Stored {
  epoch: number
  open: boolean
  /** rows as JSON text, by kind and id */
  readonly rows: Map<string, string>
}

const keyOf = (row: Row): string => JSON.stringify([row.kind, row.id])

const textOf = (row: Row): string | undefined => {
  if (row.data === undefined) return undefined
  const text = JSON.stringify(row) as string | undefined
  if (text === undefined) throw new TypeError("it is no JSON")
  return text
}

export const make = (): Service => {
  const sessions = new Map<string, Stored>()

  /** The session, if it is still that of the epoch. */
  const held = (sessionId: string, epoch: number): Effect.Effect<Stored, Fenced> =>
    Effect.suspend(() => {
      const stored = sessions.get(sessionId)
      return stored === undefined || stored.epoch !== epoch
        ? Effect.fail(new Fenced({ sessionId, epoch }))
        : Effect.succeed(stored)
    })

  return {
    open: (sessionId) =>
      Effect.sync(() => {
        const stored = sessions.get(sessionId) ?? { epoch: 0, open: false, rows: new Map() }
        stored.epoch += 1
        sessions.set(sessionId, stored)
        return { epoch: stored.epoch, rows: [...stored.rows.values()].map((text) => JSON.parse(text) as Row) }
      }),
    write: (sessionId, epoch, rows, open) =>
      Effect.flatMap(held(sessionId, epoch), (stored) => {
        const texts: Array<readonly [string, string | undefined]> = []
        for (const row of rows) {
          try {
            texts.push([keyOf(row), textOf(row)])
          } catch (cause) {
            const message = "A row could not be written as JSON."
            return Effect.fail(new StorageError({ message, row: `${row.kind}/${row.id}`, cause }))
          }
        }
        for (const [key, text] of texts) {
          if (text === undefined) stored.rows.delete(key)
          else stored.rows.set(key, text)
        }
        stored.open = open
        return Effect.void
      }),
    unfinished: Effect.sync(() => [...sessions].filter(([, stored]) => stored.open).map(([id]) => id)),
    remove: (sessionId, epoch) =>
      Effect.map(held(sessionId, epoch), (stored) => {
        stored.rows.clear()
        stored.open = false
      })
  }
}
