/**
 * The one door for errors of models, and for whatever was thrown. A foreign value may do anything when it is looked at:
 * it is a proxy, has getters that throw, comes from another realm, or has a message that is no text. Nothing here ever
 * throws, whatever it is given.
 */
import * as AiError from "@effect/ai/AiError"
import * as Cause from "effect/Cause"
import * as FiberRefs from "effect/FiberRefs"
import * as Inspectable from "effect/Inspectable"
import { guarded } from "../values/guarded.js"
import { toText } from "../values/json.js"
import { clip } from "../values/text.js"
import { redact } from "./secrets.js"

export { redact } from "./secrets.js"

/** What it gives, or this if it throws. */
const orElse = <A>(look: () => A, otherwise: A): A => guarded(look, () => otherwise)

// ------------------------------------------------------------------------------------------------ looking at any value

/** What a foreign value has by that name; nothing if it has none, or does not let it be read. */
export const read = (u: unknown, key: PropertyKey): unknown =>
  (typeof u === "object" && u !== null) || typeof u === "function"
    ? orElse(() => (u as Record<PropertyKey, unknown>)[key], undefined)
    : undefined

/** An error of this realm or of another. */
export const isError = (u: unknown): boolean =>
  typeof u === "object" &&
  u !== null &&
  orElse(() => u instanceof Error || Object.prototype.toString.call(u) === "[object Error]", false)

/** The first text that says what happened, of an error or of the body that a server sent. */
export const messageOf = (u: unknown): string | undefined => {
  if (typeof u === "string") return u === "" ? undefined : u
  const nested = read(u, "error")
  return [read(u, "message"), read(nested, "message"), nested].find(
    (text): text is string => typeof text === "string" && text !== ""
  )
}

const otherError = "_OTHER"

const isWord = (u: unknown): u is string => typeof u === "string" && /^[\w.$/@-]{1,80}$/.test(u)

/** What kind of error it is, in one word that says nothing of what it is about: its tag, else its class. */
export const errorTypeOf = (error: unknown): string => {
  const tag = read(error, "_tag")
  const type = typeof tag === "string" ? tag : isError(error) ? read(error, "name") : undefined
  return isWord(type) ? type : otherError
}

// ------------------------------------------------------------------------------------------------------------ AiErrors

/** Is it an `AiError`, of whichever copy of the package, with all that is read of one? */
export const isAiError = (u: unknown): u is AiError.AiError => {
  if (read(u, AiError.TypeId) !== AiError.TypeId) return false
  const description = read(u, "description")
  if (description !== undefined && typeof description !== "string") return false
  switch (read(u, "_tag")) {
    case "HttpRequestError":
      return typeof read(u, "reason") === "string"
    case "HttpResponseError":
      return typeof read(u, "reason") === "string" && typeof read(read(u, "response"), "status") === "number"
    case "MalformedInput":
    case "MalformedOutput":
    case "UnknownError":
      return true
    default:
      return false
  }
}

/** Who asked for what. */
export interface Where {
  readonly module: string
  readonly method: string
}

export const inSession: Where = { module: "effect-meantime", method: "streamText" }

const unchecked = { disableValidation: true }

/** Any value as an `AiError` that can be printed: the same one if it is one already. */
export const asAiError = (u: unknown, where: Where = inSession): AiError.AiError => {
  if (isAiError(u)) {
    const same = prints(u) ? u : orElse(() => withCause(u), undefined)
    if (same !== undefined) return same
  }
  const description = messageOf(u) ?? "The model failed."
  return new AiError.UnknownError({ ...where, description, cause: printableError(u) }, unchecked)
}

const classes = {
  HttpRequestError: AiError.HttpRequestError,
  HttpResponseError: AiError.HttpResponseError,
  MalformedInput: AiError.MalformedInput,
  MalformedOutput: AiError.MalformedOutput,
  UnknownError: AiError.UnknownError
}

/** The same error with a cause that can be printed. */
const withCause = (error: AiError.AiError): AiError.AiError | undefined => {
  const props: any = { ...error, cause: printableError(read(error, "cause")) }
  const copy = new classes[error._tag](props, unchecked)
  return isAiError(copy) && prints(copy) ? copy : undefined
}

const maxTold = 400

/** What clients are told of a failure: no address, no header, no body, and nothing that looks like a key. */
export const describeError = (error: unknown): string => clip(redact(upToAWord(describe(error))), maxTold)

const describe = (error: unknown): string => {
  if (!isAiError(error)) return messageOf(error) ?? "The model failed."
  const description = messageOf(read(error, "description"))
  switch (read(error, "_tag")) {
    case "HttpRequestError":
      return `The request to the model's provider failed (${read(error, "reason")}).`
    case "HttpResponseError":
      return `The model's provider answered with status ${read(read(error, "response"), "status")} (${read(error, "reason")}).`
    case "MalformedInput":
      return description ?? "The conversation could not be sent to the model."
    case "MalformedOutput":
      return description ?? "What the model sent could not be read."
    default:
      return description ?? "The model failed."
  }
}

const maxRead = 20_000

/** The beginning of a long text. A word is not cut: half a key might not look like one. */
const upToAWord = (text: string): string => {
  if (text.length <= maxRead) return text
  const space = Math.max(text.lastIndexOf(" ", maxRead), text.lastIndexOf("\n", maxRead))
  return text.slice(0, space > 0 ? space : maxTold)
}

// ------------------------------------------------------------------------------------------------- what can be printed

/**
 * A value that a logger can print. Of a cause whose errors cannot be looked at, those are replaced by errors that say
 * what could be read of them, and the rest stays; all that prints is given back as it is.
 */
export const printable: {
  <E>(cause: Cause.Cause<E>): Cause.Cause<E>
  (u: unknown): unknown
} = (u: unknown): any =>
  orElse(() => Cause.isCause(u), false)
    ? orElse(() => printableCause(u as Cause.Cause<unknown>), unreadable)
    : printableError(u)

const unreadable: Cause.Cause<unknown> = Cause.die("(a cause that cannot be read)")

const printableCause = (cause: Cause.Cause<unknown>): Cause.Cause<unknown> => {
  const errors = [...Cause.failures(cause), ...Cause.defects(cause)]
  if (errors.every(prints)) return cause
  return Cause.match<Cause.Cause<unknown>, unknown>(cause, {
    onEmpty: Cause.empty,
    onFail: (error) => Cause.fail(printableError(error)),
    onDie: (defect) => Cause.die(printableError(defect)),
    onInterrupt: Cause.interrupt,
    onSequential: Cause.sequential,
    onParallel: Cause.parallel
  })
}

/** V8's: how many lines of a stack are kept. */
const traces: ErrorConstructor & { stackTraceLimit?: number | undefined } = Error

/** Does it print, with all its causes, where a fiber has it logged? Whoever prints it later reads the same. */
const prints = (u: unknown): boolean => {
  const { stackTraceLimit } = traces
  try {
    return hasEnd(u) && !isLarge(u) && typeof Inspectable.withRedactableContext(noRefs, () => pretty(u)) === "string"
  } catch {
    return false
  } finally {
    // printing lowers the limit for a moment, and leaves it low if it is stopped by an exception
    traces.stackTraceLimit = stackTraceLimit
  }
}

const maxChain = 200

/** A longer chain of causes is a circle: printing would follow it until the stack is full, which takes long. */
const hasEnd = (u: unknown): boolean => {
  for (let n = 0; n < maxChain; n++) {
    if (typeof u !== "object" || u === null) return true
    u = (u as { readonly cause?: unknown }).cause
  }
  return false
}
/** What redacts itself is asked to in the context of a fiber only. */
const noRefs = FiberRefs.empty()
const pretty = (u: unknown): unknown => Cause.pretty(Cause.fail(u), { renderErrorCause: true })

const maxPrinted = 5_000

/** Values that are no errors are printed whole, in a time that grows with the square of what is in them. */
const isLarge = (u: unknown): boolean => {
  let left = maxPrinted
  const seen = new Set<unknown>()
  const walk = (value: unknown): boolean => {
    if (typeof value !== "object" || value === null || seen.has(value)) return false
    seen.add(value)
    if (ArrayBuffer.isView(value)) return value.byteLength > left
    if (Array.isArray(value) && value.length > left) return true
    for (const key of Object.keys(value)) {
      if (--left < 0 || walk((value as Record<string, unknown>)[key])) return true
    }
    return false
  }
  for (let n = 0; n < maxCauses && typeof u === "object" && u !== null; n++) {
    if (!isError(u) && !hasText(u) && walk(u)) return true
    u = (u as { readonly cause?: unknown }).cause
  }
  return false
}

/** Is it printed by a `toString` of its own? */
const hasText = (u: object): boolean => {
  const own: unknown = u.toString
  return typeof own === "function" && own !== Object.prototype.toString && own !== Array.prototype.toString
}

const maxCauses = 8

const printableError = (u: unknown, depth = 0): unknown => (prints(u) ? u : safe(u, depth))

/** An error that says what could be read of a value. */
const safe = (u: unknown, depth: number): Error => {
  const error = new Error(saying(u))
  const type = errorTypeOf(u)
  if (type !== otherError) error.name = type
  const stack = read(u, "stack")
  // ours would say where it was logged
  error.stack = typeof stack === "string" && stack !== "" ? stack : `${error.name}: ${error.message}`
  const cause = read(u, "cause")
  if (cause !== undefined && depth < maxCauses) error.cause = printableError(cause, depth + 1)
  return error
}

const saying = (u: unknown): string => {
  const message = read(u, "message")
  if (typeof message === "string") return message
  if (message !== undefined) return textOf(message)
  return isError(u) ? "(an error whose message cannot be read)" : textOf(u)
}

const textOf = (u: unknown): string => {
  if (orElse(() => isLarge(u), false)) return "(a value that is too large to be shown)"
  const text: unknown = orElse(() => toText(u), undefined)
  return typeof text === "string" ? text : "(a value that cannot be shown)"
}
