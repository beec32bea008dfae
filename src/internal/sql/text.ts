/**
 * What travels to a database: texts that every database keeps as they are, and rows as JSON text inside of them. PostgreSQL
 * refuses the character NUL, and half of a surrogate pair is lost on the way; a session's id, or a call's, may have either.
 */
import * as Either from "effect/Either"
import type { Row } from "../../SessionStorage.js"
import { StorageError } from "../../Tags.js"
import { nameOf, textOf } from "../values/rows.js"

// a pair matches as a whole in the first place, and stays
const odd = /[\uD800-\uDBFF][\uDC00-\uDFFF]|[\uD800-\uDFFF\\\0]/g

const escaped = (piece: string): string =>
  piece.length === 2 ? piece : `\\${piece.charCodeAt(0).toString(16).padStart(4, "0")}`

/** An id as it is stored: what not every database keeps is written as a backslash and four digits. */
export const toStored = (id: string): string => id.replace(odd, escaped)

export const fromStored = (stored: string): string =>
  stored.replace(/\\([0-9a-f]{4})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 16)))

/** Kind, id, and JSON text, or null if the row is to be deleted. */
export type StoredRow = readonly [kind: string, id: string, data: string | null]

/** The rows of one write, each kind and id once: the last one counts. */
export const storedRows = (rows: ReadonlyArray<Row>): Either.Either<ReadonlyArray<StoredRow>, StorageError> => {
  const stored = new Map<string, StoredRow>()
  for (const row of rows) {
    const text = textOf(row)
    if (Either.isLeft(text)) return Either.left(text.left)
    const [kind, id] = [toStored(row.kind), toStored(row.id)]
    stored.set(`${kind}\0${id}`, [kind, id, text.right ?? null])
  }
  return Either.right([...stored.values()])
}

/** A row as it was read; the data of a damaged one is no JSON. */
export const rowOf = ([kind, id, data]: ReadonlyArray<unknown>): Either.Either<Row, StorageError> => {
  const row = { kind: fromStored(String(kind)), id: fromStored(String(id)) }
  try {
    return Either.right({ ...row, data: JSON.parse(String(data)) as unknown })
  } catch {
    const name = nameOf(row)
    return Either.left(new StorageError({ message: `The stored row ${name} is damaged: it is no JSON.`, row: name }))
  }
}
