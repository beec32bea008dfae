/**
 * A language model that answers offline, from rules, so that the demo needs no key. It is a `LanguageModel` like any
 * provider's: it sees the prompt, the tools and the tool choice of a request, and nothing else.
 *
 * @example
 * ```ts
 * import { LanguageModel } from "@effect/ai"
 * import { Effect } from "effect"
 * import * as OfflineModel from "./OfflineModel.js"
 *
 * const program = LanguageModel.generateText({ prompt: "What can you do?" }).pipe(Effect.provide(OfflineModel.layer()))
 * ```
 */
import { AiError, LanguageModel, Model, type Response, Tool } from "@effect/ai"
import { Duration, Effect, Layer, Stream } from "effect"
import { type Answer, answer, type Request } from "./Dialogue.js"

export interface Options {
  /** how long it thinks before it answers; default not at all */
  readonly thinking?: Duration.DurationInput | undefined
  /** how long each word takes; default no time */
  readonly perWord?: Duration.DurationInput | undefined
}

const parameters = (tool: Tool.Any): ReadonlySet<string> => {
  const schema = Tool.getJsonSchema(tool as any) as { readonly properties?: Record<string, unknown> }
  return new Set(Object.keys(schema.properties ?? {}))
}

const requestOf = (options: LanguageModel.ProviderOptions): Request => {
  const { prompt, toolChoice } = options
  const allowed = typeof toolChoice === "object" && "tool" in toolChoice ? [toolChoice.tool] : undefined
  const tools = options.tools.filter((tool) => allowed === undefined || allowed.includes(tool.name))
  const mode =
    typeof toolChoice === "string" ? toolChoice : "tool" in toolChoice ? "required" : (toolChoice.mode ?? "auto")
  return { prompt, tools: new Map(tools.map((tool) => [tool.name, parameters(tool)])), toolChoice: mode }
}

const usage = { inputTokens: undefined, outputTokens: undefined, totalTokens: undefined }

const toolCalls = ({ calls }: Answer): Array<Response.ToolCallPartEncoded> =>
  calls.map(({ id, name, params }) => ({ type: "tool-call", id, name, params }))

const finish = ({ calls }: Answer): Response.FinishPartEncoded => ({
  type: "finish",
  reason: calls.length > 0 ? "tool-calls" : "stop",
  usage
})

const textOnly = (options: LanguageModel.ProviderOptions): Effect.Effect<void, AiError.AiError> =>
  options.responseFormat.type === "text"
    ? Effect.void
    : new AiError.UnknownError({
        module: "OfflineModel",
        method: "generateObject",
        description: "the offline model speaks and calls tools, it generates no objects"
      })

export const make = (options?: Options): Effect.Effect<LanguageModel.Service> => {
  const thinking = Duration.decode(options?.thinking ?? 0)
  const perWord = Duration.decode(options?.perWord ?? 0)
  const pause = (duration: Duration.Duration) =>
    Duration.greaterThan(duration, Duration.zero) ? Effect.sleep(duration) : Effect.void

  return LanguageModel.make({
    generateText: (request) =>
      textOnly(request).pipe(
        Effect.zipRight(pause(thinking)),
        Effect.map(() => {
          const reply = answer(requestOf(request))
          const text: Array<Response.PartEncoded> = reply.text === "" ? [] : [{ type: "text", text: reply.text }]
          return [...text, ...toolCalls(reply), finish(reply)]
        })
      ),
    streamText: (request) =>
      Stream.unwrap(
        textOnly(request).pipe(
          Effect.zipRight(pause(thinking)),
          Effect.map(() => {
            const reply = answer(requestOf(request))
            const words = reply.text.match(/\s*\S+/g) ?? []
            const id = "text_1"
            const deltas = Stream.fromIterable(words).pipe(
              Stream.rechunk(1),
              Stream.tap(() => pause(perWord)),
              Stream.map((delta): Response.StreamPartEncoded => ({ type: "text-delta", id, delta }))
            )
            const text: Stream.Stream<Response.StreamPartEncoded> =
              words.length === 0
                ? Stream.empty
                : Stream.make<Array<Response.StreamPartEncoded>>({ type: "text-start", id }).pipe(
                    Stream.concat(deltas),
                    Stream.concat(Stream.make<Array<Response.StreamPartEncoded>>({ type: "text-end", id }))
                  )
            return Stream.concat(text, Stream.fromIterable([...toolCalls(reply), finish(reply)]))
          })
        )
      )
  })
}

export const layer = (options?: Options): Model.Model<"offline", LanguageModel.LanguageModel, never> =>
  Model.make("offline", Layer.effect(LanguageModel.LanguageModel, make(options)))
