/**
 * Details of the seam to a model.
 */
import type * as AiError from "@effect/ai/AiError"
import type * as Response from "@effect/ai/Response"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as ParseResult from "effect/ParseResult"
import * as Stream from "effect/Stream"
import type { Run, Service } from "../SessionModel.js"

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
