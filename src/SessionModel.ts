/**
 * The seam between a session and a model: a request with the conversation, the tools and the tool choice in, encoded
 * parts out. A session takes the `LanguageModel` of its context through `fromLanguageModel`; a `SessionModel` in the
 * context takes its place.
 *
 * @since 0.1.0
 */
import type * as AiError from "@effect/ai/AiError"
import type * as LanguageModel from "@effect/ai/LanguageModel"
import type * as Prompt from "@effect/ai/Prompt"
import type * as Response from "@effect/ai/Response"
import type * as Tool from "@effect/ai/Tool"
import type * as Toolkit from "@effect/ai/Toolkit"
import * as Chunk from "effect/Chunk"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as internal from "./internal/model.js"

/**
 * One model step that is asked for.
 *
 * @since 0.1.0
 * @category models
 */
export interface Request {
  readonly prompt: Prompt.Prompt
  /** The tools as the model is shown them; they take any arguments and have no handlers. The same object each time. */
  readonly toolkit: Toolkit.WithHandler<Record<string, Tool.Any>>
  readonly toolChoice: "auto" | "none" | "required" | { readonly tool: string }
}

/**
 * One model step as an effect: it hands over parts as they come, and ends when the model has. Interrupting it stops the
 * model. Parts that are handed over after that are ignored.
 *
 * @since 0.1.0
 * @category models
 */
export type Run = (
  request: Request,
  onParts: (parts: ReadonlyArray<Response.StreamPartEncoded>) => void
) => Effect.Effect<void, AiError.AiError>

/**
 * What answers model steps.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** One model step. Interrupting the stream stops the model. */
  readonly stream: (request: Request) => Stream.Stream<Response.StreamPartEncoded, AiError.AiError>
  /** The same without the cost of a `Stream`. A session takes this form where there is one. */
  readonly run?: Run | undefined
}

/**
 * A model that is not reached through `LanguageModel`. The most specific scope that provides one wins, as with
 * everything else.
 *
 * @since 0.1.0
 * @category tags
 */
export class SessionModel extends Context.Tag("effect-meantime/SessionModel")<SessionModel, Service>() {}

/**
 * Does the provider's package leave the tools out of a request at tool choice `none`? Then `auto` is sent instead, and
 * a call in such a step is answered with an error. Default: known by `Model.ProviderName` (of the providers of
 * `@effect/ai`, `anthropic` and `amazon-bedrock` do).
 *
 * @since 0.1.0
 * @category references
 */
export class DropsToolsAtNone extends Context.Reference<DropsToolsAtNone>()("effect-meantime/DropsToolsAtNone", {
  defaultValue: (): boolean | undefined => undefined
}) {}

/**
 * Does the provider check the parameters of tools in strict mode, where every property has to be required? Then the
 * model is shown a schema in which null stands for what is left out, and an agent whose tools have no such schema is
 * not built. Default: known by `Model.ProviderName` (`openai` and `openrouter` do). Set it to false together with
 * `strict: false` in the configuration of OpenAI's model.
 *
 * @since 0.1.0
 * @category references
 */
export class StrictSchemas extends Context.Reference<StrictSchemas>()("effect-meantime/StrictSchemas", {
  defaultValue: (): boolean | undefined => undefined
}) {}

/** What a model is made of: either of its two forms. */
type Form = Service | { readonly stream?: undefined; readonly run: Run }

/**
 * A model by either of its two forms; a `stream` is made of a `run`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: Form): Service =>
  options.stream === undefined ? { stream: internal.toStream(options.run), run: options.run } : options

/**
 * Provides a model in place of the `LanguageModel`, by either of its two forms.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Form): Layer.Layer<SessionModel> => Layer.succeed(SessionModel, make(options))

/**
 * The seam on top of a `LanguageModel` of `@effect/ai`, with tool call resolution turned off. A call of an unknown tool,
 * on which `@effect/ai` fails the whole step, is passed on as a call, with what came before it in the same chunk. A
 * stream that begins as a provider's does and ends without its end fails: the connection was cut.
 *
 * @since 0.1.0
 * @category constructors
 */
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
      const answer = new internal.Completeness()
      return Stream.runForEachChunk(stream, (parts) =>
        Effect.sync(() => onParts(answer.watch(Chunk.toReadonlyArray(parts).map(internal.encodePart))))
      ).pipe(
        Effect.zipRight(answer.check),
        Effect.catchAll((error) => {
          const parts = internal.recover(error, request.toolkit.tools)
          return parts === undefined ? Effect.fail(error) : Effect.sync(() => onParts(parts))
        })
      )
    }
  })
