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
import type * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import type * as Layer from "effect/Layer"
import { type Pipeable, pipeArguments } from "effect/Pipeable"
import type * as Scope from "effect/Scope"
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
    unwrap: undefined,
    entries: (Array.isArray(tools) ? tools : [tools]) as ReadonlyArray<Entry>,
    maxConcurrency: options?.maxConcurrency,
    onDuplicateCall: options?.onDuplicateCall,
    layers: []
  })

/**
 * A toolset that is known once its scope is built, such as the tools of a server that is asked for them. The effect runs
 * each time that a session, or an agent, is built with it, and its Scope is the one that holds the toolset: that of the
 * session, or of the agent. If it fails, building dies with what it failed with. The layers that `provide` attaches are
 * there for the effect and for the toolset that it gives.
 *
 * ```ts
 * import { Toolkit } from "@effect/ai"
 * import { AsyncTool, AsyncToolset } from "effect-meantime"
 * import { Effect } from "effect"
 *
 * interface Server {
 *   readonly list: Effect.Effect<ReadonlyArray<{ readonly name: string; readonly inputSchema: object }>>
 *   readonly call: (name: string, args: unknown) => Effect.Effect<unknown>
 * }
 *
 * const toolsOf = (server: Server) =>
 *   AsyncToolset.unwrap(
 *     "server",
 *     Effect.map(server.list, (listed) => {
 *       const toolkit = Toolkit.make(
 *         ...listed.map(({ inputSchema, name }) => AsyncTool.dynamic(name, { jsonSchema: inputSchema }))
 *       )
 *       const handlers = Object.fromEntries(
 *         listed.map(({ name }) => [name, (args: Record<string, unknown>) => server.call(name, args)])
 *       )
 *       return AsyncToolset.make("listed", toolkit).pipe(AsyncToolset.provide(toolkit.toLayer(handlers)))
 *     })
 *   )
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const unwrap = <R, E, R2>(
  id: string,
  effect: Effect.Effect<AsyncToolset<R>, E, R2 | Scope.Scope>
): AsyncToolset<R | Exclude<R2, Scope.Scope>> =>
  construct({
    id,
    unwrap: () => effect,
    entries: [],
    maxConcurrency: undefined,
    onDuplicateCall: undefined,
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
