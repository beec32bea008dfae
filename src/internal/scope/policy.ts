import * as Context from "effect/Context"
import type { Options } from "../../AsyncTool.js"
import type { DuplicateScope, Mode, Policy } from "../../DuplicatePolicy.js"
import type { ToolPolicy } from "../machine/state.js"

export type Setting =
  | { readonly _tag: "Mode"; readonly mode: Mode; readonly scope: DuplicateScope | undefined }
  | { readonly _tag: "Custom"; readonly policy: Policy }

/** The policy in force in a scope. */
export class DuplicatePolicy extends Context.Reference<DuplicatePolicy>()("effect-meantime/DuplicatePolicy", {
  defaultValue: (): Setting => ({ _tag: "Mode", mode: "allow", scope: undefined })
}) {}

const scopeOf = (mode: Mode): DuplicateScope => (mode === "join" ? "name_and_args" : "name")

interface Bound {
  readonly policy: ToolPolicy
  /** the function that decides, if it is one of the program's own */
  readonly decide: Policy["decide"] | undefined
}

/** The tool's own mode, else that of its scope (rule P5). */
export const bind = (options: Options, setting: Setting): Bound => {
  const { duplicateScope, onDuplicate } = options
  if (onDuplicate !== undefined) return mode(onDuplicate, duplicateScope)
  return setting._tag === "Custom"
    ? { policy: { _tag: "Custom", scope: duplicateScope ?? "name" }, decide: setting.policy.decide }
    : mode(setting.mode, duplicateScope ?? setting.scope)
}

const mode = (mode: Mode, scope: DuplicateScope | undefined): Bound => ({
  policy: { _tag: "Mode", mode, scope: scope ?? scopeOf(mode) },
  decide: undefined
})
