import * as Context from "effect/Context"
import type { Options } from "../../AsyncTool.js"
import type { DuplicateScope, Mode, Policy } from "../../DuplicatePolicy.js"
import type { BoundPolicy } from "./tool.js"

export type Setting =
  | { readonly _tag: "Mode"; readonly mode: Mode; readonly scope: DuplicateScope | undefined }
  | { readonly _tag: "Custom"; readonly policy: Policy }

/** The policy in force in a scope. */
export class DuplicatePolicy extends Context.Reference<DuplicatePolicy>()("effect-meantime/DuplicatePolicy", {
  defaultValue: (): Setting => ({ _tag: "Mode", mode: "allow", scope: undefined })
}) {}

const scopeOf = (mode: Mode): DuplicateScope => (mode === "join" ? "name_and_args" : "name")

/** The tool's own mode, else that of its scope (rule P5). */
export const bind = (options: Options, setting: Setting): BoundPolicy => {
  if (options.onDuplicate !== undefined) {
    return {
      _tag: "Mode",
      mode: options.onDuplicate,
      scope: options.duplicateScope ?? scopeOf(options.onDuplicate)
    }
  }
  return setting._tag === "Custom"
    ? { _tag: "Custom", policy: setting.policy, scope: options.duplicateScope ?? "name" }
    : { _tag: "Mode", mode: setting.mode, scope: options.duplicateScope ?? setting.scope ?? scopeOf(setting.mode) }
}
