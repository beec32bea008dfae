/**
 * An `HttpClient` that asks again where a provider is busy (429, 529) or failing for a moment, after as long as it asks
 * for. It does so before the first word of an answer only: nothing is said twice.
 *
 * @example
 * ```ts
 * import { OpenAiClient } from "@effect/ai-openai"
 * import { Redacted } from "effect"
 * import { retrying } from "./retrying.js"
 *
 * const client = OpenAiClient.layer({ apiKey: Redacted.make("…"), transformClient: retrying({ times: 4 }) })
 * ```
 */
import { HttpClient, type HttpClientResponse } from "@effect/platform"
import { Clock, Duration, Effect, Option } from "effect"

export interface RetryOptions {
  /** how often to ask again; default 3 */
  readonly times?: number | undefined
  /** how long to wait where the provider does not say; doubled each time; default half a second */
  readonly base?: Duration.DurationInput | undefined
  /** a provider that asks for a longer wait is not asked again; default a minute */
  readonly longest?: Duration.DurationInput | undefined
}

const transient = new Set([408, 429, 500, 502, 503, 504, 529])

/** What the response asks for: seconds, or a date. */
const asked = (response: HttpClientResponse.HttpClientResponse, now: number): Option.Option<Duration.Duration> => {
  const after = response.headers["retry-after"]
  if (after === undefined) return Option.none()
  const seconds = Number(after)
  const millis = Number.isNaN(seconds) ? Date.parse(after) - now : seconds * 1000
  return Number.isNaN(millis) ? Option.none() : Option.some(Duration.millis(Math.max(0, millis)))
}

export const retrying = (options: RetryOptions = {}): ((client: HttpClient.HttpClient) => HttpClient.HttpClient) => {
  const { base = "500 millis", longest = "1 minute", times = 3 } = options
  return HttpClient.transformResponse((ask) => {
    const attempt = (n: number): typeof ask =>
      Effect.gen(function* () {
        const response = yield* ask
        if (n >= times || !transient.has(response.status)) return response
        const wait = Option.getOrElse(asked(response, yield* Clock.currentTimeMillis), () =>
          Duration.times(base, 2 ** n)
        )
        if (Duration.greaterThan(wait, longest)) return response
        yield* Effect.sleep(wait)
        return yield* attempt(n + 1)
      })
    return attempt(0)
  })
}
