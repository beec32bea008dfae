/**
 * Details of the seam to `LanguageModel`.
 */
import * as AiError from "@effect/ai/AiError"
import type * as Response from "@effect/ai/Response"
import * as Chunk from "effect/Chunk"
import * as ParseResult from "effect/ParseResult"
import * as Stream from "effect/Stream"

/** Results are passed on as they were encoded; all other parts are what they were on the wire. */
export const encodePart = (part: Response.StreamPart<any>): Response.StreamPartEncoded =>
  part.type === "tool-result"
    ? ({ ...part, result: (part as any).encodedResult } as Response.StreamPartEncoded)
    : (part as unknown as Response.StreamPartEncoded)

/**
 * Providers begin with what they say of the response and end with `finish`. Where the one came and the other did not,
 * somebody between them and us closed the stream in good order.
 */
export const toItsEnd = (
  parts: Stream.Stream<Response.StreamPartEncoded, AiError.AiError>
): Stream.Stream<Response.StreamPartEncoded, AiError.AiError> =>
  Stream.suspend(() => {
    let begun = false
    let ended = false
    const look = (part: Response.StreamPartEncoded): Response.StreamPartEncoded => {
      if (part.type === "response-metadata") begun = true
      else if (part.type === "finish" || part.type === "error") ended = true
      return part
    }
    return Stream.concat(
      Stream.mapChunks(parts, Chunk.map(look)),
      Stream.suspend(() => (begun && !ended ? Stream.fail(cutShort()) : Stream.empty))
    )
  })

const cutShort = () =>
  new AiError.UnknownError({
    module: "effect-meantime",
    method: "streamText",
    description: "The model's stream ended before the answer was complete."
  })

const isPart = (u: unknown): u is Response.StreamPartEncoded =>
  typeof u === "object" && u !== null && typeof (u as any).type === "string"

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
