/**
 * A tool as a scope has it: its handler bound, its schemas compiled once, its policy and its prompts decided.
 */
import type * as Tool from "@effect/ai/Tool"
import type * as Context from "effect/Context"
import type * as FiberRefs from "effect/FiberRefs"
import type { Mode, Options } from "../../AsyncTool.js"
import type { Policy } from "../../DuplicatePolicy.js"
import { Annotations } from "../../Tags.js"
import type * as Machine from "../machine/state.js"
import { backgroundParameter, confirmParameter } from "../machine/texts.js"
import { isRecord, withoutProto } from "../values/json.js"
import { clip, wellFormed } from "../values/text.js"
import type { Asks } from "./approval.js"
import type { Codec, Work } from "./codec.js"
import { givenOf } from "./dynamic.js"
import { fieldsOf } from "./wire.js"

export interface BoundTool extends Machine.Tool {
  readonly tool: Tool.Any
  readonly options: Options
  /** a duplicate policy of the program's own */
  readonly decide: Policy["decide"] | undefined
  /** what says whether a person is asked, if that is a function of the program */
  readonly asks: Asks | undefined
  /** what the model is shown */
  readonly wire: Tool.Any
  readonly codec: Codec
  readonly context: Context.Context<any>
  readonly fiberRefs: FiberRefs.FiberRefs
  /** what a call's fiber does */
  readonly work: Work
}

/** The machine knows less of a tool than the shell; every tool in its state was bound by a scope. */
export const boundOf = (tool: Machine.Tool): BoundTool => tool as BoundTool

/** The parameters of ours that a tool with these options has. */
export const addedParameters = (mode: Mode | undefined, { background }: Options): ReadonlyArray<string> => [
  ...(mode === "confirm" ? [confirmParameter] : []),
  ...(background === "model" ? [backgroundParameter] : [])
]

/** Which of our parameters are neither a boolean nor left out, in the words of a schema (rule T3). */
export const addedProblem = (added: ReadonlyArray<string>, args: Record<string, unknown>): string | undefined => {
  const problems: Array<string> = []
  for (const name of added) {
    const value = Object.hasOwn(args, name) ? args[name] : undefined
    if (value === undefined || value === null || typeof value === "boolean") continue
    problems.push(`${name}: Expected boolean | null, actual ${clip(wellFormed(JSON.stringify(value)), 240, "…")}`)
  }
  return problems.length === 0 ? undefined : problems.join("; ")
}

/** The tool's own arguments: without the parameters that are ours, and without null for what is left out. */
export const ownArguments = (
  added: ReadonlyArray<string>,
  codec: Codec
): ((args: Record<string, unknown>) => Record<string, unknown>) => {
  if (added.length === 0) return codec.prepare
  return (args) => {
    const out: Record<string, unknown> = { ...args }
    for (const name of added) delete out[name]
    return codec.prepare(out)
  }
}

/** What the schema is given to decode. */
export const toDecode = (
  tool: Pick<BoundTool, "ownArguments">,
  args: Record<string, unknown>
): Record<string, unknown> => tool.ownArguments(withoutProto(args))

export const optionsOf = (tool: Tool.Any): Options =>
  tool.annotations === undefined ? {} : ((tool.annotations.unsafeMap.get(Annotations.key) as Options | undefined) ?? {})

export const ownParameters = (tool: Tool.Any): ReadonlyArray<string> => {
  const given: unknown = givenOf(tool)?.properties
  return Object.keys(isRecord(given) ? given : (fieldsOf(tool) ?? {}))
}
