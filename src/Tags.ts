/**
 * The errors, tags and references of the library: the leaf that everything else may import, and that imports nothing of
 * it. Each is exported again by the module of its subject, from where a program takes it.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { Service as Output } from "./AgentOutput.js"
import type { Service as Session } from "./AgentSession.js"
import type { Options as ToolOptions } from "./AsyncTool.js"
import type { ChatContext } from "./ChatContext.js"
import type { Service as Run } from "./RunContext.js"
import type { Service as Model } from "./SessionModel.js"
import type { Service as Storage } from "./SessionStorage.js"
import type { Service as Many } from "./Sessions.js"
import type { Options as TelemetryOptions } from "./Telemetry.js"

/**
 * The session is closing or closed.
 *
 * @since 0.1.0
 * @category errors
 */
export class SessionClosed extends Data.TaggedError("SessionClosed")<{}> {
  override get message(): string {
    return "The session is closed: nothing more can be said in it."
  }
}

/**
 * Two tools cannot be told apart. Building the session, or the agent, dies with it.
 *
 * @since 0.1.0
 * @category errors
 */
export class ToolNameConflict extends Data.TaggedError("ToolNameConflict")<{
  readonly tool: string
  readonly first: string
  readonly second: string
}> {
  override get message(): string {
    return `Two tools are named "${this.tool}": that of ${this.first} and that of ${this.second}. Rename one of them.`
  }
}

/**
 * An expected failure of a tool. The model sees the message as the call's output, marked as an error.
 *
 * @since 0.1.0
 * @category errors
 */
export class ToolError extends Schema.TaggedError<ToolError>("ToolError")("ToolError", { message: Schema.String }) {}

/**
 * Ends a call without a reply. It is a signal in the error channel, and is never logged as an error.
 *
 * @since 0.1.0
 * @category errors
 */
export class StopResponse extends Schema.TaggedError<StopResponse>("StopResponse")("StopResponse", {}) {}

/**
 * A conversation that is kept by id cannot be had: its options failed, there is no room, or the service is closed. The
 * message says which.
 *
 * @since 0.1.0
 * @category errors
 */
export class SessionsError extends Schema.TaggedError<SessionsError>("SessionsError")("SessionsError", {
  sessionId: Schema.String,
  message: Schema.String
}) {}

/**
 * Another process, or another part of this one, has taken the session over: what this one would write is out of date.
 *
 * @since 0.1.0
 * @category errors
 */
export class Fenced extends Data.TaggedError("Fenced")<{
  readonly sessionId: string
  /** of the one that is out of date */
  readonly epoch: number
}> {
  override get message(): string {
    return `Session "${this.sessionId}" has been taken over: epoch ${this.epoch} is out of date, and writes nothing more.`
  }
}

/**
 * A storage cannot be read or written, or what it holds cannot be used. The message says which, `row` names the row.
 *
 * @since 0.1.0
 * @category errors
 */
export class StorageError extends Data.TaggedError("StorageError")<{
  readonly message: string
  /** kind and id of the row, as in `call/c1` */
  readonly row?: string
  readonly cause?: unknown
}> {}

/**
 * A page has sent something that the session is not asked for: a body that cannot be read, an edit of what was said, a
 * decision about a call that is not there. `status` is that of the response, 400 if nothing else is said.
 *
 * @since 0.1.0
 * @category errors
 */
export class UiRequestError extends Data.TaggedError("UiRequestError")<{
  readonly message: string
  readonly status: number
}> {
  constructor(options: { readonly message: string; readonly status?: number | undefined }) {
    super({ message: options.message, status: options.status ?? 400 })
  }
}

/**
 * Options of a tool contradict each other or are no sensible numbers, or its parameters have a name that is taken.
 * Building the session, or the agent, dies with it.
 *
 * @since 0.1.0
 * @category errors
 */
export class ToolOptionsError extends Data.TaggedError("ToolOptionsError")<{
  readonly tool: string
  readonly problem: string
}> {
  override get message(): string {
    return `Tool "${this.tool}": ${this.problem}`
  }
}

/**
 * An option is no sensible number: a count that is negative, NaN or a fraction, or a time that is negative or cannot be
 * read. Whatever has the option dies with this error when it is built, or called. Tools die with a `ToolOptionsError`.
 *
 * @since 0.1.0
 * @category errors
 */
export class OptionsError extends Data.TaggedError("OptionsError")<{
  /** What has the option: `the session`, `agent "travel"`, `toolset "booking"`, … */
  readonly owner: string
  readonly option: string
  readonly problem: string
}> {
  override get message(): string {
    return `The option ${this.option} of ${this.owner} ${this.problem}.`
  }
}

/**
 * The speech disallows interruptions. `interrupt({ force: true })` cuts it all the same.
 *
 * @since 0.1.0
 * @category errors
 */
export class InterruptionDisallowed extends Data.TaggedError("InterruptionDisallowed")<{
  readonly speechId: string
}> {
  override get message(): string {
    return `Speech ${this.speechId} disallows interruptions. Pass { force: true } to cut it all the same.`
  }
}

/**
 * The handler of an inline call waits for the speech of its own turn, and that speech waits for the handler. Send an
 * update first, or wait with `RunContext.waitForPlayout`. The error also comes if another call of the turn joined the
 * handler or is queued behind it. Every fiber of the handler that waits gets the error, since the session cannot know
 * which of these fibers the handler needs in order to end.
 *
 * @since 0.1.0
 * @category errors
 */
export class CircularWait extends Data.TaggedError("CircularWait")<{
  readonly speechId: string
  readonly tool: string
}> {
  override get message(): string {
    return (
      `The handler of ${this.tool} waits for speech ${this.speechId}, which waits for that handler. ` +
      `Send an update first, or use RunContext.waitForPlayout.`
    )
  }
}

/**
 * The speech has been interrupted already; interruptions can no longer be disallowed.
 *
 * @since 0.1.0
 * @category errors
 */
export class AlreadyInterrupted extends Data.TaggedError("AlreadyInterrupted")<{ readonly speechId: string }> {
  override get message(): string {
    return `Speech ${this.speechId} has already been interrupted.`
  }
}

/**
 * A synthesizer, a recogniser or a sink of audio failed. An output ends its speech with it; the session lives on.
 *
 * @since 0.1.0
 * @category errors
 */
export class VoiceError extends Data.TaggedError("VoiceError")<{
  readonly message: string
  readonly cause?: unknown
}> {}

/**
 * The session, for handlers, `onEnter`, `onExit` and programs.
 *
 * @since 0.1.0
 * @category tags
 */
export class AgentSession extends Context.Tag("effect-meantime/AgentSession")<AgentSession, Session>() {}

/**
 * The tag of many conversations, by id.
 *
 * @since 0.1.0
 * @category tags
 */
export class Sessions extends Context.Tag("effect-meantime/Sessions")<Sessions, Many>() {}

/**
 * Where durable sessions are kept.
 *
 * @since 0.1.0
 * @category tags
 */
export class SessionStorage extends Context.Tag("effect-meantime/SessionStorage")<SessionStorage, Storage>() {}

/**
 * The context of a running call.
 *
 * @since 0.1.0
 * @category tags
 */
export class RunContext extends Context.Tag("effect-meantime/RunContext")<RunContext, Run>() {}

/**
 * A model that is not reached through `LanguageModel`. The most specific scope that provides one wins, as with
 * everything else.
 *
 * @since 0.1.0
 * @category tags
 */
export class SessionModel extends Context.Tag("effect-meantime/SessionModel")<SessionModel, Model>() {}

/**
 * The options of a tool, as an annotation.
 *
 * ```ts
 * import { Tool } from "@effect/ai"
 * import { AsyncTool } from "effect-meantime"
 *
 * const Search = Tool.make("search").annotate(AsyncTool.Annotations, { allowCancellation: true })
 * ```
 *
 * @since 0.1.0
 * @category annotations
 */
export class Annotations extends Context.Reference<Annotations>()("effect-meantime/AsyncTool/Annotations", {
  defaultValue: (): ToolOptions => ({})
}) {}

const instant: Output = { play: (text, played) => Stream.runForEach(text, played) }

/**
 * Where speech goes. Default: text that counts as played as soon as it comes; a session then spends no fiber on
 * playing.
 *
 * @since 0.1.0
 * @category references
 */
export class AgentOutput extends Context.Reference<AgentOutput>()("effect-meantime/AgentOutput", {
  defaultValue: (): Output => instant
}) {}

const viewAll = (context: ChatContext): ChatContext => context

/**
 * Decides which part of a long conversation the model sees: a function from context to context, as a layer of the
 * session or of an agent. Default: the whole conversation. Even if it leaves items out, every call in a request is
 * answered exactly once. Its argument belongs to the session and grows with the conversation: copy what you keep, and
 * change nothing in place.
 *
 * ```ts
 * import { ChatContext } from "effect-meantime"
 * import { Layer } from "effect"
 *
 * const lastTwenty = Layer.succeed(ChatContext.ModelView, (context) => ({ items: context.items.slice(-20) }))
 * ```
 *
 * @since 0.1.0
 * @category references
 */
export class ModelView extends Context.Reference<ModelView>()("effect-meantime/ModelView", {
  defaultValue: () => viewAll
}) {}

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

/**
 * The options in force in a scope. `trace` and `conversationId` are the session's.
 *
 * @since 0.1.0
 * @category references
 */
export class Telemetry extends Context.Reference<Telemetry>()("effect-meantime/Telemetry", {
  defaultValue: (): TelemetryOptions => ({})
}) {}
