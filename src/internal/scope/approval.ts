/**
 * Which tools of a scope ask before their calls run, and how that is found out (rule A3).
 */
import * as Tool from "@effect/ai/Tool"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Tracer from "effect/Tracer"
import type { ToolFacts, Verdict } from "../../ApprovalPolicy.js"
import type { Options } from "../../AsyncTool.js"
import type { ToolCall } from "../../ChatContext.js"
import type * as Machine from "../machine/state.js"
import { suspended } from "../values/guarded.js"
import { check, ofApprovals } from "../values/options.js"
import { annotated } from "./annotations.js"

type Mode = "never" | "always" | "destructive"

type Decide = (call: ToolCall, tool: ToolFacts) => Effect.Effect<Verdict>

export type Setting =
  | { readonly _tag: "Mode"; readonly mode: Mode; readonly timeout: Duration.DurationInput | undefined }
  | { readonly _tag: "Custom"; readonly decide: Decide }

/** The policy in force in a scope. */
export class ApprovalPolicy extends Context.Reference<ApprovalPolicy>()("effect-meantime/ApprovalPolicy", {
  defaultValue: (): Setting => ({ _tag: "Mode", mode: "never", timeout: undefined })
}) {}

export const layer = (
  mode: Mode,
  options?: { readonly timeout?: Duration.DurationInput | undefined }
): Layer.Layer<never> =>
  Layer.effect(
    ApprovalPolicy,
    Effect.map(
      check("ApprovalPolicy.layer", { mode, ...options }, ofApprovals),
      (): Setting => ({ _tag: "Mode", mode, timeout: options?.timeout })
    )
  ) as Layer.Layer<never>

export const make = <R>(
  decide: (call: ToolCall, tool: ToolFacts) => Effect.Effect<Verdict, never, R>
): Layer.Layer<never, never, R> =>
  Layer.effect(
    ApprovalPolicy,
    Effect.map(Effect.context<R>(), (built): Setting => {
      // it decides inside the span of the call
      const context = Context.omit(Tracer.ParentSpan)(built as Context.Context<any>) as Context.Context<R>
      return {
        _tag: "Custom",
        decide: (call, tool) =>
          Effect.provide(
            suspended(() => decide(call, tool)),
            context
          )
      }
    })
  ) as Layer.Layer<never, never, R>

// -------------------------------------------------------------------------------------------------------------- a tool

/** A function of the program that says whether a person is asked. */
export type Asks =
  /** the tool's own: of the arguments as the handler gets them */
  | { readonly _tag: "Tool"; readonly needs: (args: any, call: ToolCall) => Effect.Effect<boolean> }
  | { readonly _tag: "Policy"; readonly decide: Decide; readonly facts: ToolFacts }

export interface Bound {
  readonly approval: Machine.Tool["approval"]
  readonly approvalTimeout: Duration.DurationInput | undefined
  /** if the approval is a matter of a policy */
  readonly asks: Asks | undefined
}

const never: Bound = { approval: undefined, approvalTimeout: undefined, asks: undefined }

/** The tool's own word, else that of its scope. What a provider runs, or has defined, is exempt. */
export const bind = (tool: Tool.Any, options: Options, setting: Setting, toolset: string | undefined): Bound => {
  if (Tool.isProviderDefined(tool)) return never
  const { approvalTimeout, needsApproval } = options
  const timeout = approvalTimeout ?? (setting._tag === "Mode" ? setting.timeout : undefined)
  const always: Bound = { approval: "always", approvalTimeout: timeout, asks: undefined }
  if (typeof needsApproval === "boolean") return needsApproval ? always : never
  if (needsApproval !== undefined) {
    return { approval: "policy", approvalTimeout: timeout, asks: { _tag: "Tool", needs: needsApproval } }
  }
  const isReadonly = annotated(tool, Tool.Readonly)
  const isDestructive = annotated(tool, Tool.Destructive)
  if (setting._tag === "Custom") {
    const facts: ToolFacts = {
      readonly: isReadonly === true,
      destructive: isDestructive === true,
      ...(toolset === undefined ? {} : { toolset })
    }
    return { approval: "policy", approvalTimeout: timeout, asks: { _tag: "Policy", decide: setting.decide, facts } }
  }
  switch (setting.mode) {
    case "never":
      return never
    case "always":
      return always
    case "destructive":
      return isReadonly === true || isDestructive === false ? never : always
  }
}
