/**
 * The words that tools put into the conversation, as templates. A layer overrides the templates that it names, in the
 * scope it is provided to; for the others the next broader scope decides (toolset, agent, session), and at last the
 * defaults.
 *
 * ```ts
 * import { ToolPrompts } from "effect-meantime"
 *
 * const prompts = ToolPrompts.layer({
 *   update: "{toolName} says: {message}",
 *   ended: ({ how, toolName }) => `${toolName}: ${how}.`
 * })
 * ```
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { Expected } from "./AsyncTool.js"
import type { ToolCall } from "./ChatContext.js"
import * as internal from "./internal/values/templates.js"

/**
 * A template: text with `{placeholders}` (a literal brace is written twice), or a function of the typed arguments.
 *
 * @since 0.1.0
 * @category models
 */
export type Template<Args> = string | ((args: Args) => string)

/**
 * What the `update` template is given.
 *
 * @since 0.1.0
 * @category models
 */
export interface UpdateArgs {
  readonly toolName: string
  readonly callId: string
  readonly message: string
}

/**
 * What the templates for duplicates are given.
 *
 * @since 0.1.0
 * @category models
 */
export interface DuplicateArgs {
  readonly toolName: string
  readonly running: ReadonlyArray<ToolCall>
  /** The running calls in words; it names `cancel_task` for those that can be cancelled with it. */
  readonly runningText: string
}

/**
 * What the templates of deferred replies are given.
 *
 * @since 0.1.0
 * @category models
 */
export interface ReplyArgs {
  /** The ids of the items that the reply covers (`c1_update_1`, `c1_final`). */
  readonly callIds: ReadonlyArray<string>
}

/**
 * What the `inProgress`, `released` and `outcomeUnknown` templates are given.
 *
 * @since 0.1.0
 * @category models
 */
export interface CallArgs {
  readonly toolName: string
  readonly callId: string
}

/**
 * What the `ended` template is given.
 *
 * @since 0.1.0
 * @category models
 */
export interface EndedArgs extends CallArgs {
  readonly how: "done" | "cancelled" | "replaced" | "drained"
}

/**
 * What the `approvalPending` template is given.
 *
 * @since 0.1.0
 * @category models
 */
export interface ApprovalPendingArgs extends CallArgs {
  /** That of the policy, or empty. */
  readonly reason: string
}

/**
 * What the `approvalEdited` template is given.
 *
 * @since 0.1.0
 * @category models
 */
export interface ApprovalEditedArgs extends CallArgs {
  /** The new arguments, as JSON. */
  readonly arguments: string
}

/**
 * What the `approvalDenied` template is given.
 *
 * @since 0.1.0
 * @category models
 */
export interface ApprovalDeniedArgs extends CallArgs {
  /** That of the person or of the policy who denied, or empty. */
  readonly reason: string
  /** `expired`: nobody decided within `approvalTimeout`. */
  readonly how: "denied" | "expired"
}

/**
 * The templates, see the guide on layers for what each is for.
 *
 * @since 0.1.0
 * @category models
 */
export interface Prompts {
  /** The text of an update that is a string. */
  readonly update: Template<UpdateArgs>
  /** Shown to the model for an inline call that still runs; never stored. */
  readonly inProgress: Template<CallArgs>
  /** The output of a call that left the turn without an update of its own. */
  readonly released: Template<CallArgs>
  /** Written for a call that ended with nothing to say, or was cancelled, replaced or drained. */
  readonly ended: Template<EndedArgs>
  /** Written for a call that was at work when its conversation was stored, as the conversation is gone on with. */
  readonly outcomeUnknown: Template<CallArgs>
  /** The output of a call that waits until somebody agrees: it has not run. */
  readonly approvalPending: Template<ApprovalPendingArgs>
  /** Written, silently, for a call that was approved with other arguments. */
  readonly approvalEdited: Template<ApprovalEditedArgs>
  /** The end of a call that was not run, since it was denied or nobody decided in time. */
  readonly approvalDenied: Template<ApprovalDeniedArgs>
  /** The answer to a duplicate call that is rejected. */
  readonly duplicateReject: Template<DuplicateArgs>
  /** The answer to a duplicate call that waits for a confirmation. */
  readonly duplicateConfirm: Template<DuplicateArgs>
  /** The instruction of a deferred reply if its newest item is the last item of the conversation. */
  readonly replyAtTail: Template<ReplyArgs>
  /** The instruction of a deferred reply if something was said after its newest item. */
  readonly replyMaybeCovered: Template<ReplyArgs>
}

/** The placeholders of each template, in words. */
interface Placeholders {
  readonly update: "{toolName}, {callId} or {message}"
  readonly inProgress: "{toolName} or {callId}"
  readonly released: "{toolName} or {callId}"
  readonly ended: "{toolName}, {callId} or {how}"
  readonly outcomeUnknown: "{toolName} or {callId}"
  readonly approvalPending: "{toolName}, {callId} or {reason}"
  readonly approvalEdited: "{toolName}, {callId} or {arguments}"
  readonly approvalDenied: "{toolName}, {callId}, {reason} or {how}"
  readonly duplicateReject: "{toolName}, {running} or {runningText}"
  readonly duplicateConfirm: "{toolName}, {running} or {runningText}"
  readonly replyAtTail: "{callIds}"
  readonly replyMaybeCovered: "{callIds}"
}

/** Those that a template names and does not have. */
type Unknown<Text extends string, Known extends string> = Exclude<PlaceholdersOf<Text>, PlaceholdersOf<Known>>

/**
 * The placeholders that a literal template names; doubled braces are text.
 *
 * @since 0.1.0
 * @category type-level
 */
export type PlaceholdersOf<S extends string> = S extends `${string}{${infer Rest}`
  ? Rest extends `{${infer After}`
    ? PlaceholdersOf<After>
    : Rest extends `${infer Name}}${infer After}`
      ? Name | PlaceholdersOf<After>
      : never
  : never

/**
 * Refuses a literal template with an unknown placeholder at compile time.
 *
 * @since 0.1.0
 * @category type-level
 */
export type Checked<P> = {
  readonly [K in keyof P]: K extends keyof Placeholders
    ? P[K] extends string
      ? string extends P[K]
        ? P[K]
        : [Unknown<P[K], Placeholders[K]>] extends [never]
          ? P[K]
          : Expected<`${Placeholders[K]} as a placeholder, not {${Unknown<P[K], Placeholders[K]>}}; a literal brace is written twice`>
      : P[K]
    : never
}

/**
 * A string template has a placeholder that its arguments do not have. Building the layer dies with it.
 *
 * @since 0.1.0
 * @category errors
 */
export class TemplateError extends Data.TaggedError("TemplateError")<{
  readonly template: keyof Prompts
  readonly placeholder: string
}> {
  override get message(): string {
    const known = internal.placeholders[this.template].map((name) => `{${name}}`).join(", ")
    return (
      `The template "${this.template}" has no placeholder {${this.placeholder}}. ` +
      `It has ${known}. A literal brace is written twice.`
    )
  }
}

/**
 * The default templates.
 *
 * @since 0.1.0
 * @category constants
 */
export const defaults: Prompts = internal.defaults

/**
 * Overrides the given templates for one scope; the next broader scope decides the others. Building the layer dies with
 * a `TemplateError` if a template that the compiler could not check has an unknown placeholder.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <const P extends Partial<Prompts>>(prompts: P & Checked<P>): Layer.Layer<never> =>
  Layer.effectContext(
    Effect.suspend(() => {
      for (const [template, text] of Object.entries(prompts) as Array<[keyof Prompts, Template<any> | undefined]>) {
        if (typeof text !== "string") continue
        const placeholder = internal.unknownPlaceholder(template, text)
        if (placeholder !== undefined) return Effect.die(new TemplateError({ template, placeholder }))
      }
      return Effect.succeed(internal.toContext(prompts as Partial<Prompts>))
    })
  )
