/**
 * From what a language model of the AI SDK answers to parts of `@effect/ai`.
 */
import type {
  LanguageModelV3Content,
  LanguageModelV3FinishReason,
  LanguageModelV3GenerateResult,
  LanguageModelV3ResponseMetadata,
  LanguageModelV3StreamPart,
  LanguageModelV3Usage
} from "@ai-sdk/provider"
import type * as Response from "@effect/ai/Response"
import * as Encoding from "effect/Encoding"
import * as Predicate from "effect/Predicate"

type Part = Response.StreamPartEncoded

/** What is no part of an answer: it is told apart from the parts. */
export interface Aside {
  /** the answer is complete */
  finished: boolean
  readonly warnings: Array<unknown>
}

/** Arguments that are not JSON are passed on as text, so that it is that one call which fails. */
const paramsOf = (input: unknown): unknown => {
  if (typeof input !== "string") return input
  if (input.trim() === "") return {}
  try {
    return JSON.parse(input)
  } catch {
    return input
  }
}

const reasonOf = (reason: LanguageModelV3FinishReason | undefined): Response.FinishReason => {
  // there is no word of the AI SDK's for it
  if (typeof reason?.raw === "string" && /^pause(?:_turn)?$/i.test(reason.raw)) return "pause"
  const unified: string | undefined = reason?.unified
  switch (unified) {
    case "stop":
    case "length":
    case "content-filter":
    case "tool-calls":
    case "error":
    case "other":
      return unified
    default:
      return "unknown"
  }
}

/** A schema of `@effect/ai` would fail the whole answer on anything else. */
const countOf = (count: unknown): number | undefined =>
  Number.isSafeInteger(count) && (count as number) >= 0 ? (count as number) : undefined

const usageOf = (usage: LanguageModelV3Usage | undefined): Response.FinishPartEncoded["usage"] => {
  const inputTokens = countOf(usage?.inputTokens?.total)
  const outputTokens = countOf(usage?.outputTokens?.total)
  return {
    inputTokens,
    outputTokens,
    totalTokens: inputTokens === undefined || outputTokens === undefined ? undefined : inputTokens + outputTokens,
    reasoningTokens: countOf(usage?.outputTokens?.reasoning),
    cachedInputTokens: countOf(usage?.inputTokens?.cacheRead)
  }
}

const finishOf = (
  part: Pick<LanguageModelV3GenerateResult, "finishReason" | "usage" | "providerMetadata">
): Response.FinishPartEncoded => ({
  type: "finish",
  reason: reasonOf(part.finishReason),
  usage: usageOf(part.usage),
  metadata: part.providerMetadata
})

/**
 * A stream that was cut off without the transport's notice: version 4 says so; in version 3 the packages end it with a
 * reason and a usage that nobody sent.
 */
const isCutOff = ({ finishReason: reason, usage }: Pick<LanguageModelV3GenerateResult, "finishReason" | "usage">) =>
  (reason?.unified as string) === "interrupted" ||
  (reason?.unified === "other" && reason.raw === undefined && !hasTokens(usage))

const hasTokens = (usage: LanguageModelV3Usage | undefined): boolean => (usage?.outputTokens?.total ?? 0) > 0

const metadataOf = ({
  id,
  modelId,
  timestamp
}: LanguageModelV3ResponseMetadata): Response.ResponseMetadataPartEncoded => ({
  type: "response-metadata",
  id,
  modelId,
  timestamp: Predicate.isDate(timestamp) && Number.isFinite(timestamp.getTime()) ? timestamp.toISOString() : undefined
})

/** Version 4 says what kind of data it is; a file that is only a link becomes a source. */
type FileData =
  | string
  | Uint8Array
  | { readonly type: "data"; readonly data: string | Uint8Array }
  | { readonly type: "url"; readonly url: URL | string }

const fileOf = (part: Extract<LanguageModelV3Content, { type: "file" }>): Part => {
  const data = part.data as FileData
  const metadata = part.providerMetadata
  if (typeof data === "object" && !(data instanceof Uint8Array) && data.type === "url") {
    const url = String(data.url)
    return { type: "source", sourceType: "url", id: url, url, title: part.mediaType, metadata }
  }
  const bytes = typeof data === "string" || data instanceof Uint8Array ? data : data.data
  return {
    type: "file",
    mediaType: part.mediaType,
    data: typeof bytes === "string" ? bytes : Encoding.encodeBase64(bytes),
    metadata
  }
}

const sourceOf = (part: Extract<LanguageModelV3Content, { type: "source" }>): Part =>
  part.sourceType === "url"
    ? {
        type: "source",
        sourceType: "url",
        id: part.id,
        url: part.url,
        title: part.title ?? part.url,
        metadata: part.providerMetadata
      }
    : {
        type: "source",
        sourceType: "document",
        id: part.id,
        mediaType: part.mediaType,
        title: part.title,
        ...(part.filename === undefined ? {} : { fileName: part.filename }),
        metadata: part.providerMetadata
      }

type Whole = Extract<LanguageModelV3Content, { type: "file" | "source" | "tool-call" | "tool-result" }>

/** What comes in one piece, streamed or not. */
const wholeOf = (part: Whole): Part | undefined => {
  switch (part.type) {
    case "tool-call":
      return {
        type: "tool-call",
        id: part.toolCallId,
        name: part.toolName,
        params: paramsOf(part.input),
        providerExecuted: part.providerExecuted === true,
        metadata: part.providerMetadata
      }
    case "tool-result":
      // one that a final result will take the place of is nothing to remember
      if (part.preliminary === true) return undefined
      return {
        type: "tool-result",
        id: part.toolCallId,
        name: part.toolName,
        result: part.result,
        isFailure: part.isError === true,
        providerExecuted: true,
        metadata: part.providerMetadata
      }
    case "file":
      return fileOf(part)
    case "source":
      return sourceOf(part)
  }
}

const approvalWarning = {
  type: "other",
  message:
    "The provider asks for an approval of one of its own tools, which cannot be given here: the call stays without " +
    "a result. Configure the tool so that it needs none."
}

/**
 * A part of a stream; nothing for what has no place in `@effect/ai`. `error` parts are not for this function. With
 * `all` it has those too that only a reader of the whole stream can use.
 */
export const fromStreamPart = (part: LanguageModelV3StreamPart, aside: Aside, all: boolean): Part | undefined => {
  switch (part.type) {
    case "text-start":
    case "text-end":
    case "reasoning-start":
    case "reasoning-end":
      return { type: part.type, id: part.id, metadata: part.providerMetadata }
    case "text-delta":
    case "reasoning-delta":
      return { type: part.type, id: part.id, delta: part.delta, metadata: part.providerMetadata }
    case "tool-call":
    case "tool-result":
    case "source":
    case "file":
      return wholeOf(part)
    case "tool-input-start":
      return all
        ? {
            type: "tool-params-start",
            id: part.id,
            name: part.toolName,
            providerExecuted: part.providerExecuted === true,
            metadata: part.providerMetadata
          }
        : undefined
    case "tool-input-delta":
      return all
        ? { type: "tool-params-delta", id: part.id, delta: part.delta, metadata: part.providerMetadata }
        : undefined
    case "tool-input-end":
      return all ? { type: "tool-params-end", id: part.id, metadata: part.providerMetadata } : undefined
    case "response-metadata":
      return metadataOf(part)
    case "finish":
      aside.finished = !isCutOff(part)
      return finishOf(part)
    case "stream-start":
      if (part.warnings !== undefined) for (const warning of part.warnings) aside.warnings.push(warning)
      return undefined
    case "tool-approval-request":
      aside.warnings.push(approvalWarning)
      return undefined
    default:
      return undefined
  }
}

const begun = (result: LanguageModelV3GenerateResult, aside: Aside): void => {
  if (result.warnings !== undefined) for (const warning of result.warnings) aside.warnings.push(warning)
  // one that has neither content nor a reason to end is no answer
  aside.finished = !isCutOff(result) && (result.finishReason !== undefined || result.content.length > 0)
}

/** A whole answer, as the parts of a stream. */
export const toStreamParts = (result: LanguageModelV3GenerateResult, aside: Aside): ReadonlyArray<Part> => {
  begun(result, aside)
  const out: Array<Part> = []
  let n = 0
  for (const part of result.content) {
    switch (part.type) {
      case "text":
      case "reasoning": {
        const id = `${n++}`
        const { type } = part
        out.push(
          { type: `${type}-start`, id, metadata: part.providerMetadata } as Part,
          { type: `${type}-delta`, id, delta: part.text } as Part,
          { type: `${type}-end`, id } as Part
        )
        break
      }
      case "tool-call":
      case "tool-result":
      case "file":
      case "source": {
        const whole = wholeOf(part)
        if (whole !== undefined) out.push(whole)
        break
      }
      case "tool-approval-request":
        aside.warnings.push(approvalWarning)
    }
  }
  if (result.response !== undefined) out.push(metadataOf(result.response))
  out.push(finishOf(result))
  return out
}

/** A whole answer as `generateText` has it. */
export const toParts = (result: LanguageModelV3GenerateResult, aside: Aside): Array<Response.PartEncoded> => {
  begun(result, aside)
  const out: Array<Response.PartEncoded> = []
  // version 4: if the text to parse is not all that was said
  const structured = (result as { readonly structuredOutputText?: string }).structuredOutputText
  if (structured !== undefined) out.push({ type: "text", text: structured })
  for (const part of result.content) {
    switch (part.type) {
      case "text":
        if (structured === undefined) out.push({ type: "text", text: part.text, metadata: part.providerMetadata })
        break
      case "reasoning":
        out.push({ type: "reasoning", text: part.text, metadata: part.providerMetadata })
        break
      case "tool-call":
      case "tool-result":
      case "file":
      case "source": {
        const whole = wholeOf(part)
        if (whole !== undefined) out.push(whole as Response.PartEncoded)
        break
      }
      case "tool-approval-request":
        aside.warnings.push(approvalWarning)
    }
  }
  if (result.response !== undefined) out.push(metadataOf(result.response))
  out.push(finishOf(result))
  return out
}
