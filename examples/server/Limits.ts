/**
 * How often one session may be asked for something: `burst` at once, and one more each `every`.
 */
import { Clock, Context, Duration, Effect, Layer } from "effect"

export interface Options {
  readonly burst: number
  readonly every: Duration.DurationInput
}

export class Limits extends Context.Tag("server/Limits")<
  Limits,
  {
    /** Milliseconds to wait; 0: it may go on, and that counts. */
    readonly take: (sessionId: string) => Effect.Effect<number>
  }
>() {}

/** How many sessions are remembered. Those that have waited long enough are forgotten first. */
const most = 10_000

export const layer = ({ burst, every }: Options): Layer.Layer<Limits> =>
  Layer.sync(Limits, () => {
    const millis = Duration.toMillis(every)
    // when a session would have all of its burst again; in the order in which they asked last
    const full = new Map<string, number>()
    return {
      take: (sessionId) =>
        Effect.map(Clock.currentTimeMillis, (now) => {
          const at = Math.max(now, full.get(sessionId) ?? 0) + millis
          const wait = at - now - burst * millis
          if (wait > 0) return wait
          full.delete(sessionId)
          full.set(sessionId, at)
          for (const [id, until] of full) {
            if (until > now && full.size <= most) break
            full.delete(id)
          }
          return 0
        })
    }
  })
