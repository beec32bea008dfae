/**
 * What tells the calls of a session from those of all others, for the systems that handlers talk to.
 */
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import type { Host } from "./host.js"

const keys = new WeakMap<Host, string>()

const part = Effect.map(Random.nextIntBetween(0, 2 ** 32), (n) => n.toString(36))

/** The id of a durable session; another one makes one up once somebody asks. */
export const keyOfSession = (host: Host): Effect.Effect<string> =>
  Effect.suspend(() => {
    const known = host.storing?.sessionId ?? keys.get(host)
    if (known !== undefined) return Effect.succeed(known)
    return Effect.zipWith(part, part, (one, other) => {
      const key = keys.get(host) ?? `${one}-${other}`
      keys.set(host, key)
      return key
    })
  })
