/**
 * From errors of the AI SDK to `AiError`. They are known by name, since there may be several copies of the packages.
 */
import * as AiError from "@effect/ai/AiError"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import { asAiError, isAiError, isError, messageOf, printable, read, redact } from "../model/errors.js"
import { hidden, isSecretName } from "../model/secrets.js"

const moduleName = "AiSdkModel"

const unchecked = { disableValidation: true }

/** Without user, password and query: keys travel in all of them. */
const publicUrl = (url: unknown): string => {
  if (typeof url !== "string") return ""
  const parsed = URL.canParse(url) ? new URL(url) : undefined
  return redact(parsed === undefined ? (url.split("?")[0] as string) : `${parsed.origin}${parsed.pathname}`)
}

const publicHeaders = (headers: unknown): Record<string, string> => {
  const out: Record<string, string> = {}
  for (const [name, value] of entriesOf(headers)) {
    if (typeof value === "string") out[name.toLowerCase()] = isSecretName(name) ? hidden : redact(value)
  }
  return out
}

const entriesOf = (headers: unknown): ReadonlyArray<readonly [string, unknown]> => {
  if (typeof headers !== "object" || headers === null) return []
  try {
    return Object.entries(headers)
  } catch {
    return []
  }
}

const descriptionOf = (error: unknown): string => {
  const type = read(error, "type")
  return redact(messageOf(error) ?? (typeof type === "string" && type !== "" ? type : "The model failed."))
}

const responseError = (error: unknown, method: string, status: number): AiError.HttpResponseError => {
  const body = read(error, "responseBody")
  return new AiError.HttpResponseError(
    {
      module: moduleName,
      method,
      reason: "StatusCode",
      description: descriptionOf(error),
      request: requestOf(error),
      response: { status, headers: publicHeaders(read(error, "responseHeaders")) },
      ...(typeof body === "string" ? { body: redact(body) } : {})
    },
    unchecked
  )
}

const requestOf = (error: unknown): typeof AiError.HttpRequestDetails.Type => ({
  method: "POST",
  url: publicUrl(read(error, "url")),
  urlParams: [],
  hash: Option.none(),
  headers: {}
})

const transportError = (error: unknown, method: string): AiError.HttpRequestError =>
  new AiError.HttpRequestError(
    {
      module: moduleName,
      method,
      reason: "Transport",
      description: descriptionOf(error),
      request: requestOf(error),
      cause: printable(error)
    },
    unchecked
  )

const malformedOutput = new Set([
  "AI_JSONParseError",
  "AI_TypeValidationError",
  "AI_InvalidResponseDataError",
  "AI_NoContentGeneratedError",
  "AI_EmptyResponseBodyError"
])

const malformedInput = new Set([
  "AI_InvalidPromptError",
  "AI_InvalidArgumentError",
  "AI_UnsupportedFunctionalityError",
  "AI_TooManyEmbeddingValuesForCallError"
])

/** Status by which packages and servers name an error that comes in the middle of a stream. */
const streamStatus: Record<string, number> = {
  overloaded_error: 529,
  rate_limit_error: 429,
  rate_limit_exceeded: 429,
  api_error: 500,
  server_error: 500,
  internal_error: 500,
  timeout_error: 504,
  authentication_error: 401,
  permission_error: 403,
  invalid_request_error: 400
}

const statusOf = (error: unknown): number | undefined => {
  const status = read(error, "statusCode")
  if (typeof status === "number") return status
  if (isError(error)) return undefined
  for (const key of [read(error, "code"), read(error, "type"), read(read(error, "error"), "type")]) {
    if (typeof key === "string" && streamStatus[key] !== undefined) return streamStatus[key]
  }
  return undefined
}

export const fromSdkError = (error: unknown, method: string): AiError.AiError => {
  if (isAiError(error)) return asAiError(error)
  const name = read(error, "name")
  const status = statusOf(error)
  if (status !== undefined) return responseError(error, method, status)
  if (name === "AI_APICallError") return transportError(error, method)
  // undici's, when the connection breaks while the body is read
  const message = read(error, "message")
  if (name === "TypeError" && (message === "terminated" || message === "fetch failed")) {
    return transportError(error, method)
  }
  const params = { module: moduleName, method, description: descriptionOf(error), cause: printable(error) }
  if (typeof name === "string" && malformedOutput.has(name)) return new AiError.MalformedOutput(params, unchecked)
  if (typeof name === "string" && malformedInput.has(name)) return new AiError.MalformedInput(params, unchecked)
  return new AiError.UnknownError(params, unchecked)
}

export const cutOff = (method: string): AiError.AiError =>
  transportError(new Error("The model's answer ended before it was complete."), method)

/** An answer in good order that is none. */
export const noAnswer = (error: unknown, method: string): AiError.AiError =>
  new AiError.MalformedOutput(
    {
      module: moduleName,
      method,
      description: "What the model sent could not be read.",
      cause: printable(error)
    },
    unchecked
  )

// ----------------------------------------------------------------------------------------------------------- retries

export const isRetryable = (error: AiError.AiError): boolean => {
  if (error._tag === "HttpRequestError") return error.reason === "Transport"
  if (error._tag !== "HttpResponseError") return false
  const { status } = error.response
  return status === 408 || status === 409 || status === 429 || status >= 500
}

const headerOf = (error: AiError.AiError, name: string): string => {
  const value = read(read(read(error, "response"), "headers"), name)
  return typeof value === "string" ? value.trim() : ""
}

/** The moment that a date of HTTP names, which is always in GMT. */
const timeOf = (date: string): number | undefined =>
  Option.getOrUndefined(Option.map(DateTime.make(date.replace(/ (?:GMT|UTC)$/, "Z")), DateTime.toEpochMillis))

/** What the server asks for. A date counts from the server's own, or else from `now`, in milliseconds. */
export const retryAfter = (error: AiError.AiError, now?: number): Option.Option<Duration.Duration> => {
  if (error._tag !== "HttpResponseError") return Option.none()
  const millis = Number.parseFloat(headerOf(error, "retry-after-ms"))
  if (Number.isFinite(millis) && millis >= 0) return Option.some(Duration.millis(millis))
  const after = headerOf(error, "retry-after")
  if (/^\d+(?:\.\d+)?$/.test(after)) return Option.some(Duration.seconds(Number(after)))
  // a number that is none, such as -1, would pass for a year
  const date = /[a-z]/i.test(after) ? timeOf(after) : undefined
  const from = timeOf(headerOf(error, "date")) ?? now
  return date === undefined || from === undefined
    ? Option.none()
    : Option.some(Duration.millis(Math.max(0, date - from)))
}
