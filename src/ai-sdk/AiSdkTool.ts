/**
 * Tools of the AI SDK beyond those of `@effect/ai`: settings of one function tool, and tools that a provider defines.
 *
 * @since 0.1.0
 */
import * as Tool from "@effect/ai/Tool"
import * as Schema from "effect/Schema"
import { Options } from "../internal/ai-sdk/toolOptions.js"

export { Options }

/**
 * Settings of one function tool.
 *
 * @since 0.1.0
 * @category models
 */
export interface ToolOptions {
  /** Does the provider have to keep to the schema? Default: the provider decides. */
  readonly strict?: boolean | undefined
  /** Sent with the definition of the tool, such as Anthropic's `cacheControl` */
  readonly providerOptions?: Readonly<Record<string, Readonly<Record<string, unknown>>>> | undefined
  /** Arguments that show the model how the tool is called. */
  readonly inputExamples?: ReadonlyArray<unknown> | undefined
}

/**
 * A tool as a provider's package of the AI SDK makes it: `openai.tools.webSearch({})`.
 *
 * @since 0.1.0
 * @category models
 */
export interface ProviderTool {
  readonly type: "provider" | "provider-defined"
  readonly id: string
  readonly args: Readonly<Record<string, unknown>>
}

/**
 * A tool that the provider runs itself, under the name by which its package knows it:
 * `AiSdkTool.provider("web_search", openai.tools.webSearch({ searchContextSize: "low" }))`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const provider = <const Name extends string>(
  name: Name,
  tool: ProviderTool
): Tool.ProviderDefined<
  Name,
  {
    readonly args: Schema.Struct<{}>
    readonly parameters: Schema.Struct<{}>
    readonly success: typeof Schema.Unknown
    readonly failure: typeof Schema.Unknown
    readonly failureMode: "error"
  }
> => define(name, tool, false, {}, Schema.Unknown)

/**
 * A tool that the provider defines and a handler of yours runs, such as `anthropic.tools.bash_20250124({})`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const providerWithHandler = <
  const Name extends string,
  Parameters extends Schema.Struct.Fields,
  Success extends Schema.Schema.Any
>(
  name: Name,
  tool: ProviderTool,
  options: { readonly parameters: Parameters; readonly success: Success }
): Tool.ProviderDefined<
  Name,
  {
    readonly args: Schema.Struct<{}>
    readonly parameters: Schema.Struct<Parameters>
    readonly success: Success
    readonly failure: typeof Schema.Unknown
    readonly failureMode: "error"
  },
  true
> => define(name, tool, true, options.parameters, options.success)

const define = <
  const Name extends string,
  Parameters extends Schema.Struct.Fields,
  Success extends Schema.Schema.Any,
  RequiresHandler extends boolean
>(
  name: Name,
  tool: ProviderTool,
  requiresHandler: RequiresHandler,
  parameters: Parameters,
  success: Success
): Tool.ProviderDefined<
  Name,
  {
    readonly args: Schema.Struct<{}>
    readonly parameters: Schema.Struct<Parameters>
    readonly success: Success
    readonly failure: typeof Schema.Unknown
    readonly failureMode: "error"
  },
  RequiresHandler
> =>
  Tool.providerDefined({
    id: tool.id as `${string}.${string}`,
    toolkitName: name,
    providerName: name,
    args: {},
    requiresHandler,
    parameters,
    success,
    failure: Schema.Unknown
    // `never`: the fields of the arguments are the package's own, and not known here. `any`: the parameters have a
    // conditional type there, which TypeScript does not resolve for a type parameter
  })({ ...tool.args } as never) as any
