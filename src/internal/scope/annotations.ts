/**
 * What a program says of its tools with the annotations of `@effect/ai`.
 */
import type * as Tool from "@effect/ai/Tool"

/** The defaults of these annotations say nothing of a tool: only what was set counts. */
export const annotated = (
  tool: Tool.Any,
  annotation: typeof Tool.Readonly | typeof Tool.Destructive | typeof Tool.Idempotent
): boolean | undefined => {
  const value: unknown = tool.annotations?.unsafeMap.get(annotation.key)
  return typeof value === "boolean" ? value : undefined
}
