/** Rows of a durable session as text. */
import * as Either from "effect/Either"
import type { Row } from "../../SessionStorage.js"
import { StorageError } from "../../Tags.js"

export const nameOf = (row: { readonly kind: string; readonly id: string }): string => `${row.kind}/${row.id}`

/** The data of a row as JSON text; undefined if the row is to be deleted. */
export const textOf = (row: Row): Either.Either<string | undefined, StorageError> => {
  if (row.data === undefined) return Either.right(undefined)
  const refused = (cause: unknown) => {
    const name = nameOf(row)
    return Either.left(new StorageError({ message: `The row ${name} cannot be written as JSON.`, row: name, cause }))
  }
  try {
    const text = JSON.stringify(row.data) as string | undefined
    return text === undefined ? refused(new TypeError("it is no JSON")) : Either.right(text)
  } catch (cause) {
    return refused(cause)
  }
}
