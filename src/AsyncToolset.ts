/**
 * A scope of its own for some tools: on an agent it ends with the agent, on the session it survives hand-offs.
 *
 * ```ts
 * import { Tool, Toolkit } from "@effect/ai"
 * import { AsyncToolset, DuplicatePolicy } from "effect-meantime"
 *
 * const booking = AsyncToolset.make("booking", Toolkit.make(Tool.make("book")), { maxConcurrency: 4 }).pipe(
 *   AsyncToolset.provide(DuplicatePolicy.layer("confirm"))
 * )
 * ```
 *
 * @since 0.1.0
 */
import type * as Tool from "@effect/ai/Tool"
import type * as Toolkit from "@effect/ai/Toolkit"
import { dual } from "effect/Function"
import type * as Layer from "effect/Layer"
import { type Pipeable, pipeArguments } from "effect/Pipeable"
import type { Expected } from "./AsyncTool.js"
import type { Mode } from "./DuplicatePolicy.js"
import type { ToolsetDefinition as Definition } from "./internal/scope/definitions.js"
import type { RunContext } from "./RunContext.js"

/**
 * The handlers that the tools of an entry need, and what those need in turn.
 *
 * @since 0.1.0
 * @category type-level
 */
export type HandlersOf<T> =
  T extends Toolkit.Toolkit<infer Tools>
    ? Tool.HandlersFor<Tools> | Exclude<Tool.Requirements<Tools[keyof Tools]>, RunContext>
    : T extends AsyncToolset<infer R>
      ? R
      : never

/**
 * A toolset. `R` is what its tools and layers still need.
 *
 * @since 0.1.0
 * @category models
 */
export interface AsyncToolset<out R> extends Pipeable {
  readonly _tag: "AsyncToolset"
  readonly id: string
  /** A phantom: what is still needed. */
  readonly _R: (_: never) => R
}

/**
 * Tools in an agent, a session or a toolset: a toolkit, or a toolset with a scope of its own.
 *
 * @since 0.1.0
 * @category models
 */
export type Entry = Toolkit.Any | AsyncToolset<any>

/**
 * A list of entries; an error at one of them says what belongs there.
 *
 * @since 0.1.0
 * @category type-level
 */
export type Entries = ReadonlyArray<Entry | Expected<"toolkits: [Toolkit.make(tool)]">>

const proto = {
  _tag: "AsyncToolset",
  pipe() {
    return pipeArguments(this, arguments)
  }
}

const construct = (fields: Omit<Definition, keyof AsyncToolset<any>> & { readonly id: string }): AsyncToolset<any> =>
  Object.assign(Object.create(proto), fields)

/**
 * Makes a toolset. `maxConcurrency` bounds the calls at work in it, at least 1; more of them wait in a queue. Default: no
 * bound.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <const T extends Entry | Entries | Expected<"a toolkit: Toolkit.make(tool)">>(
  id: string,
  tools: T,
  options?: {
    readonly maxConcurrency?: number | undefined
    /** @deprecated the way of LiveKit Agents; write `AsyncToolset.provide(DuplicatePolicy.layer(mode))` */
    readonly onDuplicateCall?: Mode | undefined
  }
): AsyncToolset<T extends ReadonlyArray<infer E> ? HandlersOf<E> : HandlersOf<T>> =>
  construct({
    id,
    entries: (Array.isArray(tools) ? tools : [tools]) as ReadonlyArray<Entry>,
    maxConcurrency: options?.maxConcurrency,
    onDuplicateCall: options?.onDuplicateCall,
    layers: []
  })

/**
 * Attaches a layer to the toolset: handlers, services, prompts, a duplicate policy. It wins over the layers of the
 * agent and the session. If several layers are attached, the first one is the innermost.
 *
 * @since 0.1.0
 * @category layers
 */
export const provide: {
  <ROut, RIn>(layer: Layer.Layer<ROut, never, RIn>): <R>(self: AsyncToolset<R>) => AsyncToolset<Exclude<R, ROut> | RIn>
  <R, ROut, RIn>(self: AsyncToolset<R>, layer: Layer.Layer<ROut, never, RIn>): AsyncToolset<Exclude<R, ROut> | RIn>
} = dual(2, (self: Definition, layer: Layer.Layer<any, never, any>) =>
  construct({ ...self, layers: [...self.layers, layer] })
)
