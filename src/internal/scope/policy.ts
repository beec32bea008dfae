import * as Tool from "@effect/ai/Tool"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { Options } from "../../AsyncTool.js"
import type { DuplicateScope, Mode, Policy } from "../../DuplicatePolicy.js"
import type { ToolPolicy } from "../machine/state.js"
import { check, ofDuplicates } from "../values/options.js"
import { annotated } from "./annotations.js"

export interface LayerOptions {
  readonly scope?: DuplicateScope | undefined
  readonly allow?: "idempotent" | undefined
}

export type Setting =
  | {
      readonly _tag: "Mode"
      readonly mode: Mode
      readonly scope: DuplicateScope | undefined
      /** tools whose calls may be repeated all the same */
      readonly allow: "idempotent" | undefined
    }
  | { readonly _tag: "Custom"; readonly policy: Policy }

/** The policy in force in a scope. */
export class DuplicatePolicy extends Context.Reference<DuplicatePolicy>()("effect-meantime/DuplicatePolicy", {
  defaultValue: (): Setting => ({ _tag: "Mode", mode: "allow", scope: undefined, allow: undefined })
}) {}

export const layer = (mode: Mode, options?: LayerOptions): Layer.Layer<never> =>
  Layer.effect(
    DuplicatePolicy,
    Effect.map(
      check("DuplicatePolicy.layer", { mode, ...options }, ofDuplicates),
      (): Setting => ({ _tag: "Mode", mode, scope: options?.scope, allow: options?.allow })
    )
  ) as Layer.Layer<never>

const scopeOf = (mode: Mode): DuplicateScope => (mode === "join" ? "name_and_args" : "name")

interface Bound {
  readonly policy: ToolPolicy
  /** the function that decides, if it is one of the program's own */
  readonly decide: Policy["decide"] | undefined
}

/** The tool's own mode, else that of its scope (rule P5). */
export const bind = (tool: Tool.Any, options: Options, setting: Setting): Bound => {
  const { duplicateScope, onDuplicate } = options
  if (onDuplicate !== undefined) return mode(onDuplicate, duplicateScope)
  if (setting._tag === "Custom") {
    return { policy: { _tag: "Custom", scope: duplicateScope ?? "name" }, decide: setting.policy.decide }
  }
  const repeats = setting.allow === "idempotent" && isRepeatable(tool)
  return mode(repeats ? "allow" : setting.mode, duplicateScope ?? setting.scope)
}

/** Once more does no more than once. What only reads does nothing. */
export const isRepeatable = (tool: Tool.Any): boolean =>
  annotated(tool, Tool.Idempotent) === true || annotated(tool, Tool.Readonly) === true

const mode = (mode: Mode, scope: DuplicateScope | undefined): Bound => ({
  policy: { _tag: "Mode", mode, scope: scope ?? scopeOf(mode) },
  decide: undefined
})
