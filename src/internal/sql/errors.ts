/** What a database says, as errors of a storage: without passwords, and as text that can be printed. */
import { type Fenced, StorageError } from "../../Tags.js"
import { errorTypeOf, messageOf, read, redact } from "../model/errors.js"

/** What the database is made to say if a session has been taken over. */
export const fencedMark = "effect-meantime: fenced"

const maxDepth = 8

/** An error and what caused it, the outermost first. */
const chain = (error: unknown): ReadonlyArray<unknown> => {
  const found: Array<unknown> = []
  for (let at = error; at !== undefined && at !== null && found.length < maxDepth; at = read(at, "cause")) {
    if (found.includes(at)) break
    found.push(at)
  }
  return found
}

export const saysFenced = (error: unknown): boolean =>
  chain(error).some((one) => messageOf(one)?.includes(fencedMark) === true)

/** Several addresses were tried: the error itself says nothing then. */
const attempts = (error: unknown): unknown => {
  const errors = read(error, "errors")
  return Array.isArray(errors) ? errors[0] : undefined
}

const codeOf = (error: unknown): string | undefined => {
  const code = read(error, "code") ?? read(attempts(error), "code")
  return typeof code === "string" && /^\w{1,60}$/.test(code) ? code : undefined
}

const maxText = 500

/** The innermost that says something: what is around it says only that a statement failed. */
const toldBy = (
  error: unknown
): { readonly text: string; readonly code: string | undefined; readonly name: string } => {
  const errors = chain(error)
  const inner = errors.findLast((one) => (messageOf(one) ?? messageOf(attempts(one))) !== undefined)
  const text = messageOf(inner) ?? messageOf(attempts(inner)) ?? "it does not say why"
  const code = errors.map(codeOf).findLast((one) => one !== undefined)
  const line = redact(text.slice(0, maxText * 4)).split("\n")[0] as string
  return { text: line.slice(0, maxText), code, name: errorTypeOf(inner) }
}

/** `what` is the beginning of a sentence: `The sessions cannot be read`. */
export const storageError = (what: string, error: unknown): StorageError => {
  const { code, name, text } = toldBy(error)
  const said = code === undefined || text.includes(code) ? text : `${text} (${code})`
  // what drivers put into their errors, such as a client with its password, stays out
  const cause = Object.assign(new Error(text), { name, ...(code === undefined ? {} : { code }) })
  return new StorageError({ message: `${what}: ${said}${/[.!?]$/.test(said) ? "" : "."}`, cause })
}

export type WriteError = Fenced | StorageError
