/**
 * What happens to a call that repeats a running one. The tool's `onDuplicate` decides. If the tool has none, the most
 * specific scope that has a policy decides: toolset, agent, session. If no scope has one, calls are allowed.
 *
 * ```ts
 * import { DuplicatePolicy } from "effect-meantime"
 * import { Effect } from "effect"
 *
 * const sameArguments = DuplicatePolicy.layer("reject", { scope: "name_and_args" })
 * const atMostThree = DuplicatePolicy.make((_, running) =>
 *   Effect.succeed(
 *     running.length < 3 ? DuplicatePolicy.run : DuplicatePolicy.refuse("Three of these are running already.")
 *   )
 * )
 * ```
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Tracer from "effect/Tracer"
import type { ToolCall } from "./ChatContext.js"
import * as internal from "./internal/scope/policy.js"
import { suspended } from "./internal/values/guarded.js"

/**
 * - `allow`: the calls run side by side.
 * - `reject`: the new call is answered with the `duplicateReject` template.
 * - `replace`: the running calls are cancelled; when they have stopped, the new one runs.
 * - `confirm`: the model is told to ask the user, and to call again with `confirm_duplicate: true`.
 * - `join`: the new call shares the running one, with its updates and its end.
 *
 * @since 0.1.0
 * @category models
 */
export type Mode = "allow" | "reject" | "replace" | "confirm" | "join"

/**
 * What counts as a duplicate: the same tool (default), or the same tool with the same arguments (default for `join`).
 *
 * @since 0.1.0
 * @category models
 */
export type DuplicateScope = "name" | "name_and_args"

/**
 * The decision about a call. `Refuse` makes the message the output of the call, and the call ends as done.
 *
 * @since 0.1.0
 * @category models
 */
export type Verdict =
  | { readonly _tag: "Run" }
  | { readonly _tag: "Replace" }
  | { readonly _tag: "Join" }
  | { readonly _tag: "Refuse"; readonly message: string }

/**
 * The call runs beside those that are running.
 *
 * @since 0.1.0
 * @category verdicts
 */
export const run: Verdict = { _tag: "Run" }

/**
 * The running calls are cancelled; when they have stopped, the call runs.
 *
 * @since 0.1.0
 * @category verdicts
 */
export const replace: Verdict = { _tag: "Replace" }

/**
 * The call shares the run of the newest running call.
 *
 * @since 0.1.0
 * @category verdicts
 */
export const join: Verdict = { _tag: "Join" }

/**
 * The call does not run, and this message is its output.
 *
 * @since 0.1.0
 * @category verdicts
 */
export const refuse = (message: string): Verdict => ({ _tag: "Refuse", message })

/**
 * A policy of your own, as `make` provides it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Policy {
  /**
   * Decides about each call before the call runs; `running` has the running duplicates, and may be empty. It may take
   * its time: only calls with the same key wait. It decides again if the running calls changed in the meantime.
   */
  readonly decide: (call: ToolCall, running: ReadonlyArray<ToolCall>) => Effect.Effect<Verdict>
}

/**
 * A mode for all tools of a scope that set no mode themselves. Default of `scope`: `name`; for `join`, `name_and_args`.
 *
 * With `allow: "idempotent"`, calls of tools that the program has annotated with `Tool.Idempotent` or `Tool.Readonly` of
 * `@effect/ai` run side by side all the same: to do these twice does no more than once. Default: annotations do not count.
 *
 * Building the layer dies with an `OptionsError` if it makes no sense.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  mode: Mode,
  options?: { readonly scope?: DuplicateScope | undefined; readonly allow?: "idempotent" | undefined }
): Layer.Layer<never> => internal.layer(mode, options)

/**
 * A policy of your own for all tools of a scope that set no mode themselves. If it dies, the call ends as an error and
 * does not run.
 *
 * @since 0.1.0
 * @category layers
 */
export const make = <R>(
  decide: (call: ToolCall, running: ReadonlyArray<ToolCall>) => Effect.Effect<Verdict, never, R>
): Layer.Layer<never, never, R> =>
  Layer.effect(
    internal.DuplicatePolicy,
    Effect.map(Effect.context<R>(), (built): internal.Setting => {
      // it decides inside the span of the call
      const context = Context.omit(Tracer.ParentSpan)(built as Context.Context<any>) as Context.Context<R>
      return {
        _tag: "Custom",
        policy: {
          decide: (call, running) =>
            Effect.provide(
              suspended(() => decide(call, running)),
              context
            )
        }
      }
    })
  ) as Layer.Layer<never, never, R>
