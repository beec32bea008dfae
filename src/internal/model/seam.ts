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
import type { Run, Service } from "../../SessionModel.js"
import { clip } from "../values/text.js"

/** What a model is made of: either of its two forms. */
export type Form = Service | { readonly stream?: undefined; readonly run: Run }

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
        Effect.forkScoped
      ),
    { bufferSize: "unbounded" }
  )

/** Results are passed on as they were encoded; all other parts are what they were on the wire. */
export const encodePart = (part: Response.StreamPart<any>): Response.StreamPartEncoded =>
  part.type === "tool-result"
    ? ({ ...part, result: (part as any).encodedResult } as Response.StreamPartEncoded)
    : (part as unknown as Response.StreamPartEncoded)

/**
 * Providers begin with what they say of the response and end with `finish`. Where the one came and the other did not,
 * somebody between them and us closed the stream in good order.
 */
export class Completeness {
  private begun = false
  private ended = false

  watch(parts: ReadonlyArray<Response.StreamPartEncoded>): ReadonlyArray<Response.StreamPartEncoded> {
    for (const part of parts) {
      if (part.type === "response-metadata") this.begun = true
      else if (part.type === "finish" || part.type === "error") this.ended = true
    }
    return parts
  }

  readonly check: Effect.Effect<void, AiError.AiError> = Effect.suspend(() =>
    this.begun && !this.ended ? Effect.fail(cutShort()) : Effect.void
  )
}

const cutShort = () =>
  new AiError.UnknownError({
    module: "effect-meantime",
    method: "streamText",
    description: "The model's stream ended before the answer was complete."
  })

const isPart = (u: unknown): u is Response.StreamPartEncoded =>
  typeof u === "object" && u !== null && typeof (u as any).type === "string"

/** Has a part what its type needs? What comes from a `LanguageModel` has been decoded; other models send what they like. */
export const isSound = (u: unknown): u is Response.StreamPartEncoded => {
  if (!isPart(u)) return false
  const part = u as unknown as Record<string, unknown>
  switch (part.type) {
    case "text-delta":
    case "reasoning-delta":
      return typeof part.id === "string" && typeof part.delta === "string"
    case "text-start":
    case "text-end":
    case "reasoning-start":
    case "reasoning-end":
      return typeof part.id === "string"
    case "tool-call":
    case "tool-result":
      return typeof part.id === "string" && typeof part.name === "string"
    default:
      return true
  }
}

/** What clients are told of a failure: no address, no header, no body, and nothing that looks like a key. */
export const describeError = (error: AiError.AiError): string => {
  switch (error._tag) {
    case "HttpRequestError":
      return `The request to the model's provider failed (${error.reason}).`
    case "HttpResponseError":
      return `The model's provider answered with status ${error.response.status} (${error.reason}).`
    case "MalformedInput":
      return withoutSecrets(error.description ?? "The conversation could not be sent to the model.")
    case "MalformedOutput":
      return withoutSecrets(error.description ?? "What the model sent could not be read.")
    default:
      return withoutSecrets(error.description ?? "The model failed.")
  }
}

const withoutSecrets = (text: string): string =>
  clip(
    clip(text, 2_000)
      .replace(/\b(\w+:\/\/)[^\s/@]+@/g, "$1")
      .replace(/([?&][\w.~-]+=)[^\s&#"']+/g, "$1…")
      .replace(/\b(bearer|basic)\s+[^\s"',;]+/gi, "$1 …")
      .replace(
        /\b((?:[\w-]*api[-_ ]?key|[\w-]*token|secret|password|authorization)["']?\s*[:=]\s*["']?)(?!(?:bearer|basic) )[^\s"',;]+/gi,
        "$1…"
      )
      .replace(/\b(?:sk|pk|rk|xox[a-z]|gh[a-z]|AIza|AKIA)[-_A-Za-z0-9]{16,}/g, "…"),
    400
  )

const isCall = (part: Response.StreamPartEncoded): part is Response.ToolCallPartEncoded =>
  part.type === "tool-call" && typeof part.id === "string" && typeof part.name === "string"

/**
 * The raw parts of a chunk that failed to decode because it has a call of a tool that was not offered. Anything else
 * that does not decode is a failure of the model.
 */
export const recover = (
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
