/**
 * What a program says of its tools with the annotations of `@effect/ai`.
 */
import * as Tool from "@effect/ai/Tool"
import * as Context from "effect/Context"

/** What is said of the tool is a claim of somebody else, such as a server that offers it (rule J10). */
export class Claimed extends Context.Reference<Claimed>()("effect-meantime/internal/Claimed", {
  defaultValue: (): boolean => false
}) {}

/** The defaults of these annotations say nothing of a tool: only what was set counts. */
export const annotated = (
  tool: Tool.Any,
  annotation: typeof Tool.Readonly | typeof Tool.Destructive | typeof Tool.Idempotent
): boolean | undefined => {
  const value: unknown = tool.annotations?.unsafeMap.get(annotation.key)
  if (typeof value !== "boolean") return undefined
  // a claim may make the session more careful, never less
  const isCareful = annotation.key === Tool.Destructive.key ? value : !value
  return isCareful || tool.annotations?.unsafeMap.get(Claimed.key) !== true ? value : undefined
}
