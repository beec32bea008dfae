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
import type * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Stream from "effect/Stream"
import * as internal from "./internal/model/seam.js"
import { DropsToolsAtNone, SessionModel, StrictSchemas } from "./Tags.js"

export { DropsToolsAtNone, SessionModel, StrictSchemas }

/**
 * The request for one model step.
 *
 * @since 0.1.0
 * @category models
 */
export interface Request {
  readonly prompt: Prompt.Prompt
  /**
   * The tools as the model is shown them; they take any arguments and have no handlers. For an agent of a session it is
   * the same object in each request, and so is its `tools`: keep what you make of it in a `WeakMap`.
   */
  readonly toolkit: Toolkit.WithHandler<Record<string, Tool.Any>>
  readonly toolChoice: "auto" | "none" | "required" | { readonly tool: string }
  /** The session tells of input of tools as it is written: `tool-params-delta` parts are read. Absent: they are not. */
  readonly deltas?: boolean | undefined
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
 * A model, as a session uses it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** One model step. Interrupting the stream stops the model. */
  readonly stream: (request: Request) => Stream.Stream<Response.StreamPartEncoded, AiError.AiError>
  /** The same without the cost of a `Stream`. A session uses this form if there is one. */
  readonly run?: Run | undefined
}

/**
 * What a model is made of: a whole service, or a `run` alone.
 *
 * @since 0.1.0
 * @category models
 */
export type Form = Service | { readonly stream?: undefined; readonly run: Run }

/**
 * A model by either of its two forms; a `stream` is made of a `run`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: (options: Form) => Service = internal.make

/**
 * Provides a model in place of the `LanguageModel`, by either of its two forms.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Form): Layer.Layer<SessionModel> => Layer.succeed(SessionModel, make(options))

/**
 * The seam on top of a `LanguageModel` of `@effect/ai`, with tool call resolution turned off. `@effect/ai` fails the
 * whole step on a call of an unknown tool; here such a call is passed on, with the parts before it in the same chunk.
 * If a stream begins as a provider's does and has no `finish` part, it fails: the connection was cut.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromLanguageModel: (model: LanguageModel.Service) => Service = internal.fromLanguageModel
