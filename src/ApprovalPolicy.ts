/**
 * Which calls may not run before a person agrees. The tool's `needsApproval` decides. If the tool has none, the most
 * specific scope that has a policy decides: toolset, agent, session. If no scope has one, calls run. What waits is listed by
 * `session.approvals`, and decided with `session.approve`, `deny` and `respond`; the conversation goes on meanwhile.
 *
 * ```ts
 * import { ApprovalPolicy } from "effect-meantime"
 * import { Effect } from "effect"
 *
 * const careful = ApprovalPolicy.layer("destructive", { timeout: "2 hours" })
 * const byAmount = ApprovalPolicy.make((call) =>
 *   Effect.succeed(call.name === "pay" ? ApprovalPolicy.ask("It moves money.") : ApprovalPolicy.run)
 * )
 * ```
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { ToolCall } from "./ChatContext.js"
import * as internal from "./internal/scope/approval.js"

/**
 * The decision about a call. `Deny` makes the reason the call's output, an error, and nobody is asked.
 *
 * @since 0.1.0
 * @category models
 */
export type Verdict =
  | { readonly _tag: "Run" }
  | { readonly _tag: "Ask"; readonly reason?: string }
  | { readonly _tag: "Deny"; readonly reason: string }

/**
 * The call runs.
 *
 * @since 0.1.0
 * @category verdicts
 */
export const run: Verdict = { _tag: "Run" }

/**
 * A person is asked. The reason is shown to that person, and to the model.
 *
 * @since 0.1.0
 * @category verdicts
 */
export const ask = (reason?: string): Verdict => (reason === undefined ? { _tag: "Ask" } : { _tag: "Ask", reason })

/**
 * The call does not run.
 *
 * @since 0.1.0
 * @category verdicts
 */
export const deny = (reason: string): Verdict => ({ _tag: "Deny", reason })

/**
 * What is known of the tool that is called: what the program has annotated with `Tool.Readonly` and `Tool.Destructive` of
 * `@effect/ai`, and false if it has not; and the innermost toolset that contains it.
 *
 * @since 0.1.0
 * @category models
 */
export interface ToolFacts {
  readonly readonly: boolean
  readonly destructive: boolean
  readonly toolset?: string
}

/**
 * The Schema of a `PendingApproval`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const PendingApproval = Schema.Struct({
  ...ToolCall.fields,
  agent: Schema.optionalWith(Schema.String, { exact: true }),
  reason: Schema.optionalWith(Schema.String, { exact: true }),
  requestedAt: Schema.Number,
  expiresAt: Schema.optionalWith(Schema.Number, { exact: true })
})

/**
 * A call that waits until somebody agrees. `agent` is the one that the call ends with; none: it belongs to the session.
 * Times are milliseconds of Effect's `Clock`; without `expiresAt` it waits for ever.
 *
 * @since 0.1.0
 * @category models
 */
export interface PendingApproval extends Schema.Schema.Type<typeof PendingApproval> {}

/**
 * A policy for all tools of a scope that have no `needsApproval`.
 *
 * - `never`: their calls run.
 * - `always`: a person is asked of each call.
 * - `destructive`: a person is asked, unless the program has annotated the tool with `Tool.Readonly`, or with
 *   `Tool.Destructive` as false.
 *
 * `timeout`, which is more than 0, is the `approvalTimeout` of the scope's tools that have none of their own. Default: they
 * wait for ever. Building the layer dies with an `OptionsError` if it makes no sense.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  mode: "never" | "always" | "destructive",
  options?: { readonly timeout?: Duration.DurationInput | undefined }
): Layer.Layer<never> => internal.layer(mode, options)

/**
 * A policy of your own for all tools of a scope that have no `needsApproval`. It may take its time: the call stays in its
 * turn until the policy has decided. It is asked once for a call, never again. If it dies, a person is asked.
 *
 * @since 0.1.0
 * @category layers
 */
export const make = <R>(
  decide: (call: ToolCall, tool: ToolFacts) => Effect.Effect<Verdict, never, R>
): Layer.Layer<never, never, R> => internal.make(decide)
