/**
 * One request to a language model of the AI SDK: its promises and its stream in one asynchronous effect, since a fiber
 * that is resumed for each part would cost more than all the rest.
 */
import type {
  LanguageModelV3CallOptions,
  LanguageModelV3GenerateResult,
  LanguageModelV3StreamPart,
  LanguageModelV3StreamResult
} from "@ai-sdk/provider"
import type * as AiError from "@effect/ai/AiError"
import type * as Response from "@effect/ai/Response"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import { cutOff, fromSdkError, isRetryable, noAnswer, retryAfter } from "./errors.js"
import { type Aside, fromStreamPart } from "./response.js"
import type { Warn } from "./warnings.js"

type Part = Response.StreamPartEncoded

/** The two calls of the interface that are used here. */
export interface Callable {
  doGenerate(options: LanguageModelV3CallOptions): PromiseLike<LanguageModelV3GenerateResult>
  doStream(options: LanguageModelV3CallOptions): PromiseLike<LanguageModelV3StreamResult>
}

type Reader = ReadableStreamDefaultReader<LanguageModelV3StreamPart>
type ReadPart = Awaited<ReturnType<Reader["read"]>>

/** What is asked, with the signal of this request. */
export type Call = (abort: Abort) => LanguageModelV3CallOptions

const nothing = (): void => {}

const asError = (error: unknown, method: string): Effect.Effect<never, AiError.AiError> =>
  Effect.fail(fromSdkError(error, method))

const ended = (aside: Aside, method: string, warn: Warn): Effect.Effect<void, AiError.AiError> => {
  const end = aside.finished ? Effect.void : Effect.fail(cutOff(method))
  return aside.warnings.length === 0 ? end : Effect.zipRight(warn(aside.warnings), end)
}

/** An abort signal that is made when the model asks for it: it costs as much as the rest of a request. */
class Abort {
  aborted = false
  private controller: AbortController | undefined

  get signal(): AbortSignal {
    if (this.controller === undefined) {
      this.controller = new AbortController()
      if (this.aborted) this.controller.abort()
    }
    return this.controller.signal
  }

  abort(): void {
    this.aborted = true
    this.controller?.abort()
  }
}

export const generate = <A>(
  model: Callable,
  call: Call,
  convert: (result: LanguageModelV3GenerateResult, aside: Aside) => A,
  warn: Warn
): Effect.Effect<A, AiError.AiError> =>
  Effect.async<A, AiError.AiError>((resume) => {
    const abort = new Abort()
    const fail = (error: unknown): void => {
      if (!abort.aborted) resume(asError(error, "generateText"))
    }
    const done = (result: LanguageModelV3GenerateResult): void => {
      if (abort.aborted) return
      const aside: Aside = { finished: false, warnings: [] }
      let answer: A
      try {
        answer = convert(result, aside)
      } catch (error) {
        return resume(Effect.fail(noAnswer(error, "generateText")))
      }
      resume(
        aside.finished && aside.warnings.length === 0
          ? Effect.succeed(answer)
          : Effect.as(ended(aside, "generateText", warn), answer)
      )
    }
    try {
      model.doGenerate(call(abort)).then(done, fail)
    } catch (error) {
      fail(error)
    }
    return Effect.sync(() => abort.abort())
  })

export const stream = (
  model: Callable,
  call: Call,
  onParts: (parts: ReadonlyArray<Part>) => void,
  all: boolean,
  warn: Warn
): Effect.Effect<void, AiError.AiError> =>
  Effect.async<void, AiError.AiError>((resume) => {
    const abort = new Abort()
    const aside: Aside = { finished: false, warnings: [] }
    let reader: Reader | undefined
    const fail = (error: unknown): void => {
      if (!abort.aborted) resume(asError(error, "streamText"))
    }
    // cancelling tells a model that does not listen to its signal, too
    const cancel = (): void => {
      reader?.cancel().then(nothing, nothing)
    }
    const next = ({ done, value }: ReadPart): void => {
      if (abort.aborted) return
      if (done) return resume(ended(aside, "streamText", warn))
      let part: Part | undefined
      try {
        if (value.type === "error") {
          fail(value.error)
          return cancel()
        }
        part = fromStreamPart(value, aside, all)
      } catch (error) {
        resume(Effect.fail(noAnswer(error, "streamText")))
        return cancel()
      }
      try {
        if (part !== undefined) onParts([part])
      } catch (defect) {
        resume(Effect.die(defect))
        return cancel()
      }
      read()
    }
    const read = (): void => {
      reader?.read().then(next, fail)
    }
    const opened = (result: LanguageModelV3StreamResult): void => {
      if (abort.aborted) {
        result.stream.cancel().then(nothing, nothing)
        return
      }
      try {
        reader = result.stream.getReader()
      } catch (error) {
        return resume(Effect.fail(noAnswer(error, "streamText")))
      }
      read()
    }
    try {
      model.doStream(call(abort)).then(opened, fail)
    } catch (error) {
      fail(error)
    }
    return Effect.sync(() => {
      abort.abort()
      cancel()
    })
  })

/** When to ask again: a number of times, or by a schedule of the caller's. */
interface Retries {
  readonly retry?: number | Schedule.Schedule<unknown, AiError.AiError> | undefined
  readonly maxRetries?: number | undefined
  readonly maxRetryAfter?: Duration.DurationInput | undefined
}

export type Retry = <A>(
  ask: Effect.Effect<A, AiError.AiError>,
  mayAsk: () => boolean
) => Effect.Effect<A, AiError.AiError>

/**
 * Asks again after a failure that may pass, as long as nothing of the answer has been handed over. What the server says
 * takes the place of the schedule's delay, up to a limit: a server may ask for a day. None, if nothing is asked twice.
 */
export const retrying = (options: Retries | undefined): Retry | undefined => {
  const retry = options?.retry ?? options?.maxRetries ?? 0
  if (retry === 0) return undefined
  const limit = Duration.decode(options?.maxRetryAfter ?? "1 minute")
  const own: Schedule.Schedule<unknown, AiError.AiError> =
    typeof retry === "number" ? Schedule.intersect(Schedule.exponential("2 seconds"), Schedule.recurs(retry)) : retry
  const schedule = Schedule.intersect(Schedule.identity<AiError.AiError>(), own).pipe(
    Schedule.modifyDelayEffect(([error], delay) =>
      Effect.map(Clock.currentTimeMillis, (now) =>
        Option.match(retryAfter(error, now), {
          onNone: () => delay,
          onSome: (asked) => Duration.min(asked, limit)
        })
      )
    )
  )
  return (ask, mayAsk) => Effect.retry(ask, { schedule, while: (error) => isRetryable(error) && mayAsk() })
}
