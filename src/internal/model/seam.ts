/**
 * Details of the seam to a model.
 */
import * as AiError from "@effect/ai/AiError"
import type * as LanguageModel from "@effect/ai/LanguageModel"
import type * as Response from "@effect/ai/Response"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as ParseResult from "effect/ParseResult"
import * as Stream from "effect/Stream"
import type { Form, Run, Service } from "../../SessionModel.js"
import { kept } from "../values/guarded.js"
import { isRecord } from "../values/json.js"
import { inSession } from "./errors.js"

export const make = (options: Form): Service =>
  options.stream === undefined ? { stream: toStream(options.run), run: options.run } : options

/** Reads a step like any other source that pushes. What it holds is no more than the answer of one step. */
export const toStream =
  (run: Run): Service["stream"] =>
  (request) =>
    streamOf((onParts) => run(request, onParts))

export const streamOf = (
  run: (onParts: Parameters<Run>[1]) => Effect.Effect<void, AiError.AiError>
): ReturnType<Service["stream"]> =>
  Stream.asyncPush<Response.StreamPartEncoded, AiError.AiError>(
    (emit) =>
      Effect.suspend(() => run((parts) => void emit.array(parts))).pipe(
        Effect.onExit((exit) => Effect.sync(() => (Exit.isSuccess(exit) ? emit.end() : emit.halt(exit.cause)))),
        kept,
        Effect.forkScoped
      ),
    { bufferSize: "unbounded" }
  )

/** Results are passed on as they were encoded; all other parts are what they were on the wire. */
const encodePart = (part: Response.StreamPart<any>): Response.StreamPartEncoded =>
  part.type === "tool-result"
    ? ({ ...part, result: part.encodedResult } as Response.StreamPartEncoded)
    : // the types of both differ in what providers attach, which passes unread
      (part as unknown as Response.StreamPartEncoded)

/**
 * Providers begin with what they say of the response and end with `finish`. If the one came and the other did not,
 * somebody between them and us closed the stream in good order. If nothing came at all, what was sent was no answer: an
 * empty body, a page, or another service's. An answer without a word has at least its end.
 */
class Completeness {
  private any = false
  private begun = false
  private ended = false

  watch(parts: ReadonlyArray<Response.StreamPartEncoded>): ReadonlyArray<Response.StreamPartEncoded> {
    this.any ||= parts.length > 0
    for (const part of parts) {
      if (part.type === "response-metadata") this.begun = true
      else if (part.type === "finish" || part.type === "error") this.ended = true
    }
    return parts
  }

  readonly check: Effect.Effect<void, AiError.AiError> = Effect.suspend(() =>
    !this.any
      ? Effect.fail(incomplete("The model's answer was empty, or could not be read."))
      : this.begun && !this.ended
        ? Effect.fail(incomplete("The model's stream ended before the answer was complete."))
        : Effect.void
  )
}

const incomplete = (description: string) => new AiError.UnknownError({ ...inSession, description })

const isPart = (u: unknown): u is Response.StreamPartEncoded => isRecord(u) && typeof u.type === "string"

const isCall = (part: Response.StreamPartEncoded): part is Response.ToolCallPartEncoded =>
  part.type === "tool-call" && typeof part.id === "string" && typeof part.name === "string"

/**
 * The raw parts of a chunk that failed to decode because it has a call of a tool that was not offered. Anything else
 * that does not decode is a failure of the model.
 */
const recover = (
  error: AiError.AiError,
  tools: Record<string, unknown>
): ReadonlyArray<Response.StreamPartEncoded> | undefined => {
  if (error._tag !== "MalformedOutput" || !ParseResult.isParseError(error.cause)) return undefined
  const raw: unknown = error.cause.issue.actual
  const parts: ReadonlyArray<unknown> = Chunk.isChunk(raw)
    ? Chunk.toReadonlyArray(raw)
    : Array.isArray(raw)
      ? raw
      : [raw]
  if (!parts.every(isPart)) return undefined
  return parts.some((part) => isCall(part) && !Object.hasOwn(tools, part.name)) ? parts : undefined
}

export const fromLanguageModel = (model: LanguageModel.Service): Service =>
  make({
    run: (request, onParts) => {
      const hasTools = Object.keys(request.toolkit.tools).length > 0
      const options: any = hasTools
        ? {
            prompt: request.prompt,
            toolkit: request.toolkit,
            toolChoice: request.toolChoice,
            disableToolCallResolution: true
          }
        : { prompt: request.prompt }
      const stream = model.streamText(options) as Stream.Stream<Response.StreamPart<any>, AiError.AiError>
      const answer = new Completeness()
      return Stream.runForEachChunk(stream, (parts) =>
        Effect.sync(() => onParts(answer.watch(Chunk.toReadonlyArray(parts).map(encodePart))))
      ).pipe(
        Effect.zipRight(answer.check),
        Effect.catchAll((error) => {
          const parts = recover(error, request.toolkit.tools)
          return parts === undefined ? Effect.fail(error) : Effect.sync(() => onParts(parts))
        })
      )
    }
  })
