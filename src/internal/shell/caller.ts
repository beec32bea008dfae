/**
 * By what a session knows its own calls again: the `RunContext` of a handler stands for the call.
 */
import * as Effect from "effect/Effect"
import { RunContext } from "../../Tags.js"
import type { Call, Run } from "../machine/state.js"
import type { Host } from "./host.js"

export class Caller {
  constructor(
    protected readonly host: Host,
    readonly run: Run,
    readonly owner: Call
  ) {}

  isOf(host: Host): boolean {
    return this.host === host
  }
}

/** The call of this session whose handler asks, if one does. */
export const callerOf = (host: Host): Effect.Effect<Call | undefined> =>
  Effect.contextWith((context) => {
    const service = context.unsafeMap.get(RunContext.key)
    if (!(service instanceof Caller) || !service.isOf(host)) return undefined
    return service.run.phase === "ended" ? undefined : service.owner
  })
