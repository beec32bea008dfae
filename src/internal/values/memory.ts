/** Durable sessions in the memory of this process. */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import type { Row, Service } from "../../SessionStorage.js"
import { Fenced } from "../../Tags.js"
import { textOf } from "./rows.js"

interface Stored {
  epoch: number
  open: boolean
  /** the data as JSON text, by kind and id */
  readonly rows: Map<string, { readonly kind: string; readonly id: string; readonly text: string }>
}

const keyOf = (row: Row): string => JSON.stringify([row.kind, row.id])

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
        const rows = Array.from(stored.rows.values(), ({ id, kind, text }) => ({ kind, id, data: JSON.parse(text) }))
        return { epoch: stored.epoch, rows }
      }),
    write: (sessionId, epoch, rows, open) =>
      Effect.flatMap(held(sessionId, epoch), (stored) => {
        const texts: Array<readonly [Row, string | undefined]> = []
        for (const row of rows) {
          const text = textOf(row)
          if (Either.isLeft(text)) return Effect.fail(text.left)
          texts.push([row, text.right])
        }
        for (const [row, text] of texts) {
          if (text === undefined) stored.rows.delete(keyOf(row))
          else stored.rows.set(keyOf(row), { kind: row.kind, id: row.id, text })
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
