/**
 * What a model of the AI SDK warns of. Warnings are logged once for each model: most of them come with each request.
 */
import * as Effect from "effect/Effect"

export type Warn = (warnings: ReadonlyArray<unknown>) => Effect.Effect<void>

export const logOnce = (name: string): Warn => {
  const seen = new Set<string>()
  return (warnings) =>
    Effect.forEach(
      warnings,
      (warning) => {
        const text = JSON.stringify(warning)
        if (seen.has(text)) return Effect.void
        seen.add(text)
        return Effect.logWarning(`${name} warns: ${text}`)
      },
      { discard: true }
    )
}
