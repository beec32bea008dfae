/**
 * What agents and toolsets are made of, behind their public types.
 */
import type * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import type { Pipeable } from "effect/Pipeable"
import type * as Schema from "effect/Schema"
import type { Options } from "../../Agent.js"
import type { AsyncToolset, Entry } from "../../AsyncToolset.js"
import type { Mode } from "../../DuplicatePolicy.js"

/** An agent or a task. */
export interface AgentDefinition extends Pipeable {
  readonly _tag: "Agent" | "AgentTask"
  readonly name: string
  /** the same for all that `provide` makes of one agent */
  readonly identity: object
  readonly options: Options<ReadonlyArray<Entry>, any, any>
  readonly result: Schema.Schema<any, any> | undefined
  /** as they were provided: the first is the innermost */
  readonly layers: ReadonlyArray<Layer.Layer<any, never, any>>
}

export interface ToolsetDefinition extends AsyncToolset<any> {
  /** what gives the toolset that stands for it, once its scope is built; none: its entries are known */
  readonly unwrap: (() => Effect.Effect<AsyncToolset<any>, unknown, any>) | undefined
  readonly entries: ReadonlyArray<Entry>
  readonly maxConcurrency: number | undefined
  readonly onDuplicateCall: Mode | undefined
  /** as they were provided: the first is the innermost */
  readonly layers: ReadonlyArray<Layer.Layer<any, never, any>>
}
