/**
 * A clock that runs faster than the one of the context, so that a day passes in a minute. All time of a session is that
 * of Effect's `Clock`: nothing else has to know.
 */
import { Clock, Duration, Effect } from "effect"

export const make = (rate: number): Effect.Effect<Clock.Clock> =>
  Effect.clockWith((clock) =>
    Effect.map(clock.currentTimeMillis, (start) => {
      const millis = (now: number) => start + (now - start) * rate
      const nanos = (now: bigint) => {
        const origin = BigInt(start) * 1_000_000n
        return origin + BigInt(Math.round(Number(now - origin) * rate))
      }
      return {
        [Clock.ClockTypeId]: Clock.ClockTypeId,
        unsafeCurrentTimeMillis: () => millis(clock.unsafeCurrentTimeMillis()),
        unsafeCurrentTimeNanos: () => nanos(clock.unsafeCurrentTimeNanos()),
        currentTimeMillis: Effect.map(clock.currentTimeMillis, millis),
        currentTimeNanos: Effect.map(clock.currentTimeNanos, nanos),
        sleep: (duration: Duration.Duration) => clock.sleep(Duration.times(duration, 1 / rate))
      } as Clock.Clock
    })
  )
