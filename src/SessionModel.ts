/**
 * The seam between a session and a model: a request with the conversation, the tools and the tool choice in, a stream
 * of encoded parts out. A session takes the `LanguageModel` of its context through `fromLanguageModel`; a
 * `SessionModel` in the context takes its place.
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
import * as Stream from "effect/Stream"
import * as internal from "./internal/model.js"

/**
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
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** One model step. Interrupting the stream stops the model. */
  readonly stream: (request: Request) => Stream.Stream<Response.StreamPartEncoded, AiError.AiError>
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
 * a call in such a step is answered with an error. Default: known by `Model.ProviderName` (`anthropic` and
 * `amazon-bedrock` do).
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

/**
 * The seam on top of a `LanguageModel` of `@effect/ai`, with tool call resolution turned off. A call of an unknown tool,
 * on which `@effect/ai` fails the whole step, is passed on as a call, with what came before it in the same chunk. A
 * stream that begins as a provider's does and ends without its end fails: the connection was cut.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromLanguageModel = (model: LanguageModel.Service): Service => ({
  stream: (request) => {
    const hasTools = Object.keys(request.toolkit.tools).length > 0
    const options: any = hasTools
      ? {
          prompt: request.prompt,
          toolkit: request.toolkit,
          toolChoice: request.toolChoice,
          disableToolCallResolution: true
        }
      : { prompt: request.prompt }
    return (model.streamText(options) as Stream.Stream<Response.StreamPart<any>, AiError.AiError>).pipe(
      Stream.mapChunks(Chunk.map(internal.encodePart)),
      internal.toItsEnd,
      Stream.catchAll((error) => {
        const parts = internal.recover(error, request.toolkit.tools)
        return parts === undefined ? Stream.fail(error) : Stream.fromIterable(parts)
      })
    )
  }
})
