/**
 * What the functions of the shell need of one session. They take it as their first argument; only `session.ts` makes one.
 */
import type * as Cause from "effect/Cause"
import type * as Clock from "effect/Clock"
import type * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as Runtime from "effect/Runtime"
import type { Agent } from "../../Agent.js"
import type { Service } from "../../AgentSession.js"
import type { SpeechHandle } from "../../SpeechHandle.js"
import { ToolError } from "../../Tags.js"
import type * as State from "../machine/state.js"
import { addWaiter, removeWaiter } from "../machine/state.js"
import { printable } from "../model/errors.js"
import type { SessionScope } from "../scope/build.js"
import type { Recorder } from "../telemetry/recorder.js"
import type { Log } from "./door.js"
import type { Hub } from "./events.js"
import type { Saver } from "./saving.js"
import type { Storing } from "./storing.js"

export interface Host {
  readonly state: State.State
  readonly runtime: Runtime.Runtime<any>
  readonly clock: Clock.Clock
  readonly hub: Hub
  readonly session: Service
  readonly scope: SessionScope
  readonly telemetry: Recorder
  /** characters of what a call gives to the conversation */
  readonly maxOutputLength: number
  /** bytes of a file, whoever gives it */
  readonly maxFileBytes: number
  /** all but those of handlers, which belong to their runs */
  readonly fibers: Set<Fiber.RuntimeFiber<any, any>>
  /** these release what an agent had: closing waits for them, and cuts none of them */
  readonly releasing: Set<Fiber.RuntimeFiber<void>>
  readonly handles: WeakMap<State.Speech, SpeechHandle>
  /** the agents that are known by name, the first one too */
  readonly agents: ReadonlyArray<Agent<any>>
  /** told after each input, if somebody keeps the session among others */
  watch: (() => void) | undefined
  /** the session is closing, by its scope or before that */
  ending: Deferred.Deferred<void> | undefined
  /** what a durable session waits for before it tells and does anything; none: it is not durable */
  readonly storing: Storing | undefined
  /** gives new items to the program, if it asked for them */
  saver: Saver | undefined
  /** its first agent is built */
  begun: boolean
  /** told when the session begins, or is not going to */
  readonly beginWaiters: Set<() => void>
  /** told when the session begins to close */
  readonly closeWaiters: Set<() => void>
  /** told when all calls have ended */
  drained: (() => void) | undefined
  /** the fiber that plays last, as long as it does */
  player: Fiber.RuntimeFiber<unknown, unknown> | undefined
  /** the fiber that pauses an output, or lets it go on, as long as it does */
  pausing: Fiber.RuntimeFiber<unknown, unknown> | undefined
  /** how many agents were built */
  activities: number
  /** One input of the machine: state first, then what has become possible, then events and commands. */
  transact<A>(input: (s: State.State) => A): A
}

/** Where a session has its host, for what handles of it need. A copy of a session has none. */
const hostKey = Symbol("effect-meantime/internal/host")

export const withHost = (session: Service, host: Host): Service =>
  Object.defineProperty(session, hostKey, { value: host })

/** None: it is a double, or a copy, of a session. */
export const hostOf = (session: Service): Host | undefined =>
  (session as { readonly [hostKey]?: Host | undefined })[hostKey]

export const interrupt = (fiber: Fiber.RuntimeFiber<any, any> | undefined): void =>
  fiber?.unsafeInterruptAsFork(FiberId.none)

/** A cause of foreign code is made printable first: a logger that fails would take the line with it. */
export const log = (host: Host, level: "warning" | "error", message: string, cause?: Cause.Cause<unknown>): void => {
  const args = cause === undefined ? [message] : [message, printable(cause)]
  Runtime.runFork(host.runtime, level === "warning" ? Effect.logWarning(...args) : Effect.logError(...args))
}

export const logOf =
  (host: Host): Log =>
  (level, message, cause) =>
    log(host, level, message, cause)

/** Waits in a list of the machine until it tells all who do, unless that is over; who waits no longer leaves it. */
export const waitIn = <K extends string>(
  host: Host,
  of: Record<K, State.Waiters>,
  list: K,
  over: () => boolean
): Effect.Effect<void> =>
  Effect.async<void>((resume) => {
    // looked at in here: a fiber may yield between two operations
    if (over()) return resume(Effect.void)
    const waiter = () => resume(Effect.void)
    host.transact(() => addWaiter(of, list, waiter))
    return Effect.sync(() => host.transact(() => removeWaiter(of, list, waiter)))
  })

/** Without the updates that were dropped again. */
export const stillInHistory = <I extends { readonly _tag: string }>(
  { state }: Host,
  items: ReadonlyArray<I>
): ReadonlyArray<I> => items.filter((item: any) => item.callId === undefined || state.callIds.has(item.callId))

/** What was asked of a call cannot be done. */
export const refused = (message: string): Effect.Effect<never, ToolError> => Effect.fail(new ToolError({ message }))

/** What an input gives that says why it did nothing; none: it did what was asked. */
export const doneUnless = (problem: string | undefined): Effect.Effect<void, ToolError> =>
  problem === undefined ? Effect.void : refused(problem)
