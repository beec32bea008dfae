/**
 * A `LanguageModel` that follows a script, for tests: no network, no key, the same answers in each run.
 * `LanguageModel.make` builds it, so its parts take the same way as those of a real provider (schemas, streams,
 * errors). It records every request.
 *
 * ```ts
 * import { LanguageModel } from "@effect/ai"
 * import { Effect, Stream } from "effect"
 * import { ScriptedModel } from "effect-meantime/testing"
 *
 * const program = Effect.gen(function* () {
 *   const text = yield* LanguageModel.streamText({ prompt: "Hi" }).pipe(
 *     Stream.runFold("", (text, part) => (part.type === "text-delta" ? text + part.delta : text))
 *   )
 *   const [first] = yield* (yield* ScriptedModel.ScriptedModel).requests
 *   return { text, asked: first && ScriptedModel.lastUserText(first) }
 * }).pipe(
 *   Effect.provide(
 *     ScriptedModel.layer([
 *       // one step answers one request: a string, one piece of content, or several
 *       "Hello!",
 *       ["Let me look.", ScriptedModel.toolCall("weather", { city: "Oslo" })],
 *       [ScriptedModel.wait("2 seconds"), "It is sunny."]
 *     ])
 *   )
 * )
 * ```
 *
 * A function can also compute a step from the request, see {@link Respond}. If the script has no step left, a request
 * fails with an `AiError` that says so; it never hangs.
 *
 * @since 0.1.0
 */
import * as AiError from "@effect/ai/AiError"
import * as LanguageModel from "@effect/ai/LanguageModel"
import type * as Prompt from "@effect/ai/Prompt"
import type * as Response from "@effect/ai/Response"
import * as Tool from "@effect/ai/Tool"
import * as Chunk from "effect/Chunk"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { identity } from "effect/Function"
import type * as JSONSchema from "effect/JSONSchema"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Stream from "effect/Stream"
import type { OptionsError } from "../AgentSession.js"
import { mergeMetadata } from "../internal/values/metadata.js"
import { errorIn, ofScript } from "../internal/values/options.js"

// -------------------------------------------------------------------------------------
// models
// -------------------------------------------------------------------------------------

/**
 * A request that the model got.
 *
 * @since 0.1.0
 * @category models
 */
export interface Request {
  /** 0 for the first request of this model. */
  readonly index: number
  readonly method: "streamText" | "generateText" | "generateObject"
  readonly prompt: Prompt.Prompt
  readonly tools: ReadonlyArray<RequestTool>
  /** As it reaches a provider: `"none"` where there are no tools. */
  readonly toolChoice: LanguageModel.ToolChoice<string>
}

/**
 * A tool that came with a request.
 *
 * @since 0.1.0
 * @category models
 */
export interface RequestTool {
  readonly name: string
  readonly description: string | undefined
  /** The schema of the parameters; `undefined` for a tool that the provider defines. */
  readonly jsonSchema: JSONSchema.JsonSchema7 | undefined
}

/**
 * One piece of an answer. Made with `text`, `reasoning`, `toolCall`, `toolResult`, `finish`, `part`, `wait`, `effect`,
 * `fail` and `never`.
 *
 * @since 0.1.0
 * @category models
 */
export type Content =
  | {
      readonly _tag: "Text" | "Reasoning"
      readonly deltas: ReadonlyArray<string>
      readonly options: TextOptions
    }
  | {
      readonly _tag: "ToolCall"
      readonly name: string
      readonly params: unknown
      readonly options: ToolCallOptions
    }
  | {
      readonly _tag: "ToolResult"
      readonly name: string
      readonly result: unknown
      readonly options: ToolResultOptions
    }
  | { readonly _tag: "Finish"; readonly reason: Response.FinishReason; readonly usage: Partial<Response.Usage> }
  | { readonly _tag: "Part"; readonly part: Response.StreamPartEncoded }
  | { readonly _tag: "Wait"; readonly duration: Duration.DurationInput }
  | { readonly _tag: "Run"; readonly effect: Effect.Effect<unknown, AiError.AiError> }
  | { readonly _tag: "Fail"; readonly error: AiError.AiError | string }
  | { readonly _tag: "Never" }

/**
 * The answer to one request; a string is text, an empty array is an answer with nothing in it.
 *
 * @since 0.1.0
 * @category models
 */
export type Step = string | Content | ReadonlyArray<string | Content>

/**
 * Computes a step from the request.
 *
 * @since 0.1.0
 * @category models
 */
export type Respond = (request: Request, index: number) => Step | Effect.Effect<Step, AiError.AiError>

/**
 * The answers of a model: steps for its requests, one after another, each of them a value or a function; or one
 * function for all requests.
 *
 * @since 0.1.0
 * @category models
 */
export type Script = ReadonlyArray<Step | Respond> | Respond

/**
 * Access to the model from the test.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** All requests so far, in order. */
  readonly requests: Effect.Effect<ReadonlyArray<Request>>
  /** The prompts of all requests so far. */
  readonly prompts: Effect.Effect<ReadonlyArray<Prompt.Prompt>>
  /** How many steps of the script have not been asked for yet. */
  readonly remaining: Effect.Effect<number>
  /** Adds steps. Where the script is a function, they are used before it is asked again. */
  readonly push: (...steps: ReadonlyArray<Step | Respond>) => Effect.Effect<void>
}

// -------------------------------------------------------------------------------------
// tags
// -------------------------------------------------------------------------------------

/**
 * The scripted model, for a test that looks at its requests or adds to its script.
 *
 * @since 0.1.0
 * @category tags
 */
export class ScriptedModel extends Context.Tag("effect-meantime/testing/ScriptedModel")<ScriptedModel, Service>() {}

// -------------------------------------------------------------------------------------
// content
// -------------------------------------------------------------------------------------

/**
 * Options of `text` and `reasoning`.
 *
 * @since 0.1.0
 * @category models
 */
export interface TextOptions {
  /** Default: `text_1`, `reasoning_1` and so on. */
  readonly id?: string | undefined
  /** The deltas to stream. Default: word by word. */
  readonly chunks?: ReadonlyArray<string> | undefined
  /** A pause before each delta, on Effect's `Clock`. */
  readonly pace?: Duration.DurationInput | undefined
  /** What the provider attaches to the start part. */
  readonly metadata?: Response.ProviderMetadata | undefined
  /** What comes with an empty delta after the others, as some providers send a signature. */
  readonly deltaMetadata?: Response.ProviderMetadata | undefined
  /** What the provider attaches to the end part. */
  readonly endMetadata?: Response.ProviderMetadata | undefined
}

/**
 * Options of `toolCall`.
 *
 * @since 0.1.0
 * @category models
 */
export interface ToolCallOptions {
  /** Default: `call_1`, `call_2` and so on, counted for each model. */
  readonly id?: string | undefined
  readonly metadata?: Response.ProviderMetadata | undefined
  /** The provider runs the tool itself; a `toolResult` should follow. */
  readonly providerExecuted?: boolean | undefined
  readonly providerName?: string | undefined
}

/**
 * Options of `toolResult`.
 *
 * @since 0.1.0
 * @category models
 */
export interface ToolResultOptions {
  /** The call that it belongs to. Default: the last one of the step. */
  readonly id?: string | undefined
  readonly isFailure?: boolean | undefined
  readonly metadata?: Response.ProviderMetadata | undefined
  readonly providerName?: string | undefined
}

/**
 * Text that the model says.
 *
 * @since 0.1.0
 * @category content
 */
export const text = (text: string, options: TextOptions = {}): Content => ({
  _tag: "Text",
  deltas: options.chunks ?? words(text),
  options
})

/**
 * What the model thinks before it answers.
 *
 * @since 0.1.0
 * @category content
 */
export const reasoning = (text: string, options: TextOptions = {}): Content => ({
  _tag: "Reasoning",
  deltas: options.chunks ?? words(text),
  options
})

/**
 * A request to run a tool. The parameters are given as the model sends them, encoded; they need not be valid.
 *
 * @since 0.1.0
 * @category content
 */
export const toolCall = (name: string, params: unknown = {}, options: ToolCallOptions = {}): Content => ({
  _tag: "ToolCall",
  name,
  params,
  options
})

/**
 * The result of a tool that the provider executed itself.
 *
 * @since 0.1.0
 * @category content
 */
export const toolResult = (name: string, result: unknown, options: ToolResultOptions = {}): Content => ({
  _tag: "ToolResult",
  name,
  result,
  options
})

/**
 * Ends the answer with this reason and usage. Without it, a step that has calls for us to run ends with `tool-calls`,
 * and any other step with `stop`; both have no usage.
 *
 * @since 0.1.0
 * @category content
 */
export const finish = (reason: Response.FinishReason, usage: Partial<Response.Usage> = {}): Content => ({
  _tag: "Finish",
  reason,
  usage
})

/**
 * A part as it is, if it has no constructor here.
 *
 * @since 0.1.0
 * @category content
 */
export const part = (part: Response.StreamPartEncoded): Content => ({ _tag: "Part", part })

/**
 * A pause on Effect's `Clock`; a number is milliseconds. If the duration is negative or cannot be read, the model dies
 * with an `AgentSession.OptionsError` when it is built, or when it is asked if the step is computed. So it does for `pace`.
 *
 * @since 0.1.0
 * @category content
 */
export const wait = (duration: Duration.DurationInput): Content => ({ _tag: "Wait", duration })

/**
 * Runs an effect at this point of the answer, for instance `Deferred.await(gate)`. The answer goes on when the effect
 * has ended, and fails if the effect fails.
 *
 * @since 0.1.0
 * @category content
 */
export const effect = (effect: Effect.Effect<unknown, AiError.AiError>): Content => ({ _tag: "Run", effect })

/**
 * The model fails at this point. A string becomes an `AiError.UnknownError` with that description.
 *
 * @since 0.1.0
 * @category content
 */
export const fail = (error: AiError.AiError | string): Content => ({ _tag: "Fail", error })

/**
 * The model says nothing more and does not end.
 *
 * @since 0.1.0
 * @category content
 */
export const never: Content = { _tag: "Never" }

const words = (text: string): ReadonlyArray<string> => text.match(/\S+\s*|\s+/g) ?? []

// -------------------------------------------------------------------------------------
// constructors
// -------------------------------------------------------------------------------------

/**
 * Builds a scripted model and the service to watch it. Use it instead of `layer` if a test has several models.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: (
  script: Script
) => Effect.Effect<{ readonly service: Service; readonly languageModel: LanguageModel.Service }> = Effect.fnUntraced(
  function* (script) {
    const requests: Array<Request> = []
    const queue: Array<Step | Respond> = typeof script === "function" ? [] : [...script]
    yield* sound(queue)
    const fallback = typeof script === "function" ? script : undefined
    const counters = { Text: 0, Reasoning: 0, ToolCall: 0 }
    const jsonSchemas = new WeakMap<object, JSONSchema.JsonSchema7>()

    const describe = (tool: Tool.Any): RequestTool => {
      if (Tool.isProviderDefined(tool)) return { name: tool.name, description: tool.description, jsonSchema: undefined }
      const declared = tool as Tool.Tool<string, ToolConfig>
      let jsonSchema = jsonSchemas.get(tool)
      if (jsonSchema === undefined) {
        jsonSchema = Tool.getJsonSchema(declared)
        jsonSchemas.set(tool, jsonSchema)
      }
      return { name: tool.name, description: Tool.getDescription(declared), jsonSchema }
    }

    const respond = (method: Request["method"], options: LanguageModel.ProviderOptions) =>
      Effect.suspend((): Effect.Effect<Step, AiError.AiError> => {
        const request: Request = {
          index: requests.length,
          method,
          prompt: options.prompt,
          tools: options.tools.map(describe),
          toolChoice: options.toolChoice
        }
        requests.push(request)
        const next = queue.length > 0 ? queue.shift() : fallback
        if (next === undefined) {
          return Effect.fail(
            unknownError(
              method,
              `The script is exhausted: there is no step for request ${request.index + 1}. ` +
                `Its last user message is: ${JSON.stringify(lastUserText(request))}`
            )
          )
        }
        if (typeof next !== "function") return Effect.succeed(next)
        const step = next(request, request.index)
        const computed = Effect.isEffect(step) ? (step as Effect.Effect<Step, AiError.AiError>) : Effect.succeed(step)
        return Effect.tap(computed, (step) => sound([step]))
      })

    const answer = (method: Request["method"], options: LanguageModel.ProviderOptions) =>
      respond(method, options).pipe(
        Effect.map((step) =>
          Stream.fromIterable(render(method, step, counters)).pipe(
            // every part is a chunk of its own, and others run between two parts, as with a network in between
            Stream.mapEffect(identity),
            Stream.filterMap(identity),
            Stream.tap(() => Effect.yieldNow())
          )
        ),
        Stream.unwrap
      )

    const languageModel = yield* LanguageModel.make({
      streamText: (options) => answer("streamText", options),
      generateText: (options) =>
        answer(options.responseFormat.type === "json" ? "generateObject" : "generateText", options).pipe(
          Stream.runCollect,
          Effect.flatMap(whole)
        )
    })

    const service: Service = {
      requests: Effect.sync(() => [...requests]),
      prompts: Effect.sync(() => requests.map((request) => request.prompt)),
      remaining: Effect.sync(() => queue.length),
      push: (...steps) =>
        Effect.zipRight(
          sound(steps),
          Effect.sync(() => void queue.push(...steps))
        )
    }

    return { service, languageModel }
  }
)

/**
 * Provides the scripted model as `LanguageModel`, and the service to watch it.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (script: Script): Layer.Layer<LanguageModel.LanguageModel | ScriptedModel> =>
  Layer.effectContext(
    Effect.map(make(script), ({ languageModel, service }) =>
      Context.make(LanguageModel.LanguageModel, languageModel).pipe(Context.add(ScriptedModel, service))
    )
  )

interface ToolConfig {
  readonly parameters: Tool.AnyParametersSchema
  readonly success: Tool.Any["successSchema"]
  readonly failure: Tool.Any["failureSchema"]
  readonly failureMode: Tool.FailureMode
}

const unknownError = (method: Request["method"], description: string) =>
  new AiError.UnknownError({ module: "ScriptedModel", method, description })

const contentsOf = (step: Step): ReadonlyArray<Content> =>
  (Predicate.isString(step) || Predicate.hasProperty(step, "_tag") ? [step] : step).map((element) =>
    typeof element === "string" ? text(element) : element
  )

const oddTime = (content: Content): OptionsError | undefined => {
  switch (content._tag) {
    case "Text":
    case "Reasoning":
      return errorIn(`ScriptedModel.${content._tag.toLowerCase()}`, content.options, ofScript)
    case "Wait":
      return errorIn("ScriptedModel.wait", content, ofScript)
    default:
      return undefined
  }
}

/** Dies with the first time in the steps that is none; steps that are computed are looked at then. */
const sound = (steps: ReadonlyArray<Step | Respond>): Effect.Effect<void> =>
  Effect.suspend(() => {
    for (const step of steps) {
      if (typeof step === "function") continue
      const odd = contentsOf(step).map(oddTime).find(Predicate.isNotUndefined)
      if (odd !== undefined) return Effect.die(odd)
    }
    return Effect.void
  })

type Action = Effect.Effect<Option.Option<Response.StreamPartEncoded>, AiError.AiError>

/** What a step does, one action after another; ids are given out here. */
const render = (
  method: Request["method"],
  step: Step,
  counters: { Text: number; Reasoning: number; ToolCall: number }
): ReadonlyArray<Action> => {
  const actions: Array<Action> = []
  const emit = (part: Response.StreamPartEncoded) => void actions.push(Effect.succeedSome(part))
  const run = (effect: Effect.Effect<unknown, AiError.AiError>) => void actions.push(Effect.as(effect, Option.none()))
  let lastCall: string | undefined
  let calls = false
  let finished = false

  for (const content of contentsOf(step)) {
    switch (content._tag) {
      case "Text":
      case "Reasoning": {
        const { deltaMetadata, deltas, endMetadata, id: givenId, metadata, pace } = { ...content, ...content.options }
        if (deltas.length === 0 && !metadata && !deltaMetadata && !endMetadata) break
        const kind = content._tag === "Text" ? "text" : "reasoning"
        const id = givenId ?? `${kind}_${++counters[content._tag]}`
        emit({ type: `${kind}-start`, id, metadata })
        for (const delta of deltas) {
          if (pace !== undefined) run(Effect.sleep(pace))
          emit({ type: `${kind}-delta`, id, delta })
        }
        if (deltaMetadata) emit({ type: `${kind}-delta`, id, delta: "", metadata: deltaMetadata })
        emit({ type: `${kind}-end`, id, metadata: endMetadata })
        break
      }
      case "ToolCall": {
        const { name, params } = content
        const { metadata, providerExecuted, providerName } = content.options
        const id = content.options.id ?? `call_${++counters.ToolCall}`
        emit({
          type: "tool-params-start",
          id,
          name,
          ...(providerName === undefined ? {} : { providerName }),
          ...(providerExecuted === undefined ? {} : { providerExecuted })
        })
        emit({ type: "tool-params-delta", id, delta: JSON.stringify(params) ?? "" })
        emit({ type: "tool-params-end", id })
        emit({ type: "tool-call", id, name, params, metadata, providerName, providerExecuted })
        lastCall = id
        if (providerExecuted !== true) calls = true
        break
      }
      case "ToolResult": {
        const { name, result } = content
        const { isFailure = false, metadata, providerName } = content.options
        const id = content.options.id ?? lastCall ?? `call_${++counters.ToolCall}`
        emit({ type: "tool-result", id, name, result, isFailure, metadata, providerName, providerExecuted: true })
        break
      }
      case "Finish": {
        emit(finishPart(content.reason, content.usage))
        finished = true
        break
      }
      case "Part": {
        emit(content.part)
        if (content.part.type === "finish") finished = true
        if (content.part.type === "tool-call") {
          lastCall = content.part.id
          if (content.part.providerExecuted !== true) calls = true
        }
        break
      }
      case "Wait": {
        run(Effect.sleep(content.duration))
        break
      }
      case "Run": {
        run(content.effect)
        break
      }
      case "Fail": {
        run(Effect.fail(Predicate.isString(content.error) ? unknownError(method, content.error) : content.error))
        break
      }
      case "Never": {
        run(Effect.never)
        break
      }
    }
  }
  if (!finished) emit(finishPart(calls ? "tool-calls" : "stop", {}))
  return actions
}

const finishPart = (reason: Response.FinishReason, usage: Partial<Response.Usage>): Response.FinishPartEncoded => ({
  type: "finish",
  reason,
  usage: { inputTokens: undefined, outputTokens: undefined, totalTokens: undefined, ...usage }
})

/** The parts of an answer that is not streamed. */
const whole = (
  chunk: Chunk.Chunk<Response.StreamPartEncoded>
): Effect.Effect<Array<Response.PartEncoded>, AiError.AiError> => {
  const parts: Array<Response.PartEncoded> = []
  const open = new Map<string, { type: "text" | "reasoning"; text: string; metadata: Response.ProviderMetadata }>()
  for (const part of Chunk.toReadonlyArray(chunk)) {
    switch (part.type) {
      case "text-start":
      case "reasoning-start": {
        const started = {
          type: part.type === "text-start" ? ("text" as const) : ("reasoning" as const),
          text: "",
          metadata: part.metadata ?? {}
        }
        open.set(part.id, started)
        parts.push(started)
        break
      }
      case "text-delta":
      case "reasoning-delta":
      case "text-end":
      case "reasoning-end": {
        const started = open.get(part.id)
        if (started === undefined) break
        if ("delta" in part) started.text += part.delta
        started.metadata = mergeMetadata(started.metadata, part.metadata) as Response.ProviderMetadata
        break
      }
      case "tool-params-start":
      case "tool-params-delta":
      case "tool-params-end":
        break
      case "error":
        return Effect.fail(
          new AiError.UnknownError({
            module: "ScriptedModel",
            method: "generateText",
            description: "The script has an error part",
            cause: part.error
          })
        )
      default:
        parts.push(part)
    }
  }
  return Effect.succeed(parts)
}

// -------------------------------------------------------------------------------------
// reading requests
// -------------------------------------------------------------------------------------

/**
 * The text of the last message in the user's role, or an empty string. The instruction of a reply is such a message,
 * too.
 *
 * @since 0.1.0
 * @category reading requests
 */
export const lastUserText = (request: Request): string => userTexts(request).at(-1) ?? ""

/**
 * The texts of all messages in the user's role, in order.
 *
 * @since 0.1.0
 * @category reading requests
 */
export const userTexts = (request: Request): ReadonlyArray<string> =>
  request.prompt.content.flatMap((message) => (message.role === "user" ? [textOf(message.content)] : []))

/**
 * The texts that the model said before, one for each message of the assistant with a text.
 *
 * @since 0.1.0
 * @category reading requests
 */
export const assistantTexts = (request: Request): ReadonlyArray<string> =>
  request.prompt.content.flatMap((message) => {
    if (message.role !== "assistant" || !message.content.some((part) => part.type === "text")) return []
    return [textOf(message.content)]
  })

/**
 * The instructions: all system messages, each as a paragraph.
 *
 * @since 0.1.0
 * @category reading requests
 */
export const systemText = (request: Request): string =>
  request.prompt.content.flatMap((message) => (message.role === "system" ? [message.content] : [])).join("\n\n")

/**
 * The calls that the request shows to the model, in order.
 *
 * @since 0.1.0
 * @category reading requests
 */
export const toolCalls = (request: Request): ReadonlyArray<Prompt.ToolCallPart> =>
  parts(request).filter((part) => part.type === "tool-call")

/**
 * The results of calls that the request shows to the model, in order.
 *
 * @since 0.1.0
 * @category reading requests
 */
export const toolResults = (request: Request): ReadonlyArray<Prompt.ToolResultPart> =>
  parts(request).filter((part) => part.type === "tool-result")

/**
 * The names of the tools that came with the request.
 *
 * @since 0.1.0
 * @category reading requests
 */
export const toolNames = (request: Request): ReadonlyArray<string> => request.tools.map((tool) => tool.name)

/**
 * The whole prompt as lines, one for each part: short enough for an assertion, complete enough to see what is wrong.
 *
 * ```text
 * system: You are a travel assistant.
 * user: Book a flight.
 * call call_1: book_flight({"to":"Oslo"})
 * result call_1: "Booked."
 * assistant: It is booked.
 * ```
 *
 * @since 0.1.0
 * @category reading requests
 */
export const transcript = (request: Request): string =>
  request.prompt.content
    .flatMap((message): ReadonlyArray<string> => {
      if (message.role === "system") return [`system: ${message.content}`]
      return (message.content as ReadonlyArray<Prompt.Part>).map((part) => {
        switch (part.type) {
          case "text":
            return `${message.role}: ${part.text}`
          case "reasoning":
            return `reasoning: ${part.text}`
          case "tool-call":
            return `call ${part.id}: ${part.name}(${JSON.stringify(part.params)})`
          case "tool-result":
            return `${part.isFailure ? "failure" : "result"} ${part.id}: ${JSON.stringify(part.result)}`
          case "file":
            return `file: ${part.mediaType}`
          default:
            return ""
        }
      })
    })
    .join("\n")

const parts = (request: Request): ReadonlyArray<Prompt.Part> =>
  request.prompt.content.flatMap(
    (message): ReadonlyArray<Prompt.Part> => (message.role === "system" ? [] : message.content)
  )

const textOf = (parts: ReadonlyArray<Prompt.Part>): string =>
  parts.map((part) => (part.type === "text" ? part.text : "")).join("")
