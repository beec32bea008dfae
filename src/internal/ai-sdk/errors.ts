/**
 * From errors of the AI SDK to `AiError`. They are known by name, since there may be several copies of the packages.
 */
import * as AiError from "@effect/ai/AiError"
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"

export const moduleName = "AiSdkModel"

/** What looks like a key, in what a server or a package says of a request. */
const secrets = [
  /\b(Bearer|Basic)\s+[\w.~+/=*-]{6,}/gi,
  /\b(?:sk|pk|rk|gsk|xai|key|pplx|hf|r8|fw|nvapi|csk)[-_][\w*-]{8,}/gi,
  /\bAIza[\w*-]{12,}/g,
  /\beyJ[\w-]{8,}\.[\w-]+\.[\w-]+/g,
  /\bAKIA[A-Z0-9*]{8,}/g
]

const redact = (text: string): string => secrets.reduce((out, pattern) => out.replace(pattern, "<redacted>"), text)

/** Without user, password and query: keys travel in all of them. */
const publicUrl = (url: unknown): string => {
  if (typeof url !== "string") return ""
  const parsed = URL.canParse(url) ? new URL(url) : undefined
  return parsed === undefined ? redact(url.split("?")[0] as string) : `${parsed.origin}${parsed.pathname}`
}

const hidden = /^(authorization|proxy-authorization|cookie|set-cookie|x-api-key|api-key|x-goog-api-key)$/i

const publicHeaders = (headers: unknown): Record<string, string> => {
  const out: Record<string, string> = {}
  if (typeof headers !== "object" || headers === null) return out
  for (const [name, value] of Object.entries(headers)) {
    if (typeof value === "string") out[name.toLowerCase()] = hidden.test(name) ? "<redacted>" : value
  }
  return out
}

const field = (error: unknown, name: string): unknown =>
  typeof error === "object" && error !== null ? (error as Record<string, unknown>)[name] : undefined

const messageOf = (error: unknown): string => {
  if (typeof error === "string") return redact(error)
  const nested = field(error, "error")
  for (const message of [field(error, "message"), field(nested, "message"), nested, field(error, "type")]) {
    if (typeof message === "string" && message !== "") return redact(message)
  }
  return "The model failed."
}

const responseError = (error: unknown, method: string, status: number): AiError.HttpResponseError => {
  const body = field(error, "responseBody")
  return new AiError.HttpResponseError(
    {
      module: moduleName,
      method,
      reason: "StatusCode",
      description: messageOf(error),
      request: requestOf(error),
      response: { status, headers: publicHeaders(field(error, "responseHeaders")) },
      ...(typeof body === "string" ? { body: redact(body) } : {})
    },
    { disableValidation: true }
  )
}

const requestOf = (error: unknown): typeof AiError.HttpRequestDetails.Type => ({
  method: "POST",
  url: publicUrl(field(error, "url")),
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
      description: messageOf(error),
      request: requestOf(error),
      cause: error
    },
    { disableValidation: true }
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
  const status = field(error, "statusCode")
  if (typeof status === "number") return status
  if (error instanceof Error) return undefined
  for (const key of [field(error, "code"), field(error, "type"), field(field(error, "error"), "type")]) {
    if (typeof key === "string" && streamStatus[key] !== undefined) return streamStatus[key]
  }
  return undefined
}

export const fromSdkError = (error: unknown, method: string): AiError.AiError => {
  if (AiError.isAiError(error)) return error
  const name = field(error, "name")
  const status = statusOf(error)
  if (status !== undefined) return responseError(error, method, status)
  if (name === "AI_APICallError") return transportError(error, method)
  // undici's, when the connection breaks while the body is read
  if (error instanceof TypeError && (error.message === "terminated" || error.message === "fetch failed")) {
    return transportError(error, method)
  }
  const params = { module: moduleName, method, description: messageOf(error), cause: error }
  if (typeof name === "string" && malformedOutput.has(name)) return new AiError.MalformedOutput(params)
  if (typeof name === "string" && malformedInput.has(name)) return new AiError.MalformedInput(params)
  return new AiError.UnknownError(params)
}

export const cutOff = (method: string): AiError.AiError =>
  transportError(new Error("The model's answer ended before it was complete."), method)

// ----------------------------------------------------------------------------------------------------------- retries

export const isRetryable = (error: AiError.AiError): boolean => {
  if (error._tag === "HttpRequestError") return error.reason === "Transport"
  if (error._tag !== "HttpResponseError") return false
  const { status } = error.response
  return status === 408 || status === 409 || status === 429 || status >= 500
}

/** What the server asks for; a date is left to the caller's own delay, which needs no clock to be right. */
export const retryAfter = (error: AiError.AiError): Option.Option<Duration.Duration> => {
  if (error._tag !== "HttpResponseError") return Option.none()
  const { headers } = error.response
  const millis = Number.parseFloat(headers["retry-after-ms"] ?? "")
  if (Number.isFinite(millis) && millis >= 0) return Option.some(Duration.millis(millis))
  const seconds = Number(headers["retry-after"] ?? Number.NaN)
  return Number.isFinite(seconds) && seconds >= 0 ? Option.some(Duration.seconds(seconds)) : Option.none()
}
