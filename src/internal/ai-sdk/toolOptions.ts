import * as Context from "effect/Context"
import type { ToolOptions } from "../../ai-sdk/AiSdkTool.js"

/**
 * The options of one tool, as an annotation:
 * `tool.annotate(AiSdkTool.Options, { providerOptions: { anthropic: { cacheControl: { type: "ephemeral" } } } })`.
 *
 * @since 0.1.0
 * @category references
 */
export class Options extends Context.Reference<Options>()("effect-meantime/ai-sdk/ToolOptions", {
  defaultValue: (): ToolOptions => ({})
}) {}
