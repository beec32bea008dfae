/**
 * Many conversations by id (rule R6). An id has an `Entry` for as long as anything of its session is there:
 *
 *     (none) ──asked for──▶ opening ──▶ open ──idle, closed, ended──▶ closing ──▶ (none)
 *                              └──nobody waits, closed, failed──────────┘
 *
 * Each step is taken at once, without a fiber in between, so two who ask see the same. A session is opened and closed in
 * fibers of the service: who asks may be interrupted, and is not where the session gets its context from. The entry owns
 * the session's scope; closing the service closes all of them, side by side.
 */
import * as Cause from "effect/Cause"
import type * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as Option from "effect/Option"
import * as Runtime from "effect/Runtime"
import * as RuntimeFlags from "effect/RuntimeFlags"
import * as Scope from "effect/Scope"
import type { Options, Service as Session } from "../../AgentSession.js"
import type { ChatContext } from "../../ChatContext.js"
import type { Handle, Service, Settings } from "../../Sessions.js"
import { SessionStorage, SessionsError, type StorageError, Telemetry } from "../../Tags.js"
import { isQuiet } from "../machine/idle.js"
import { messageOf, printable } from "../model/errors.js"
import type { Restore } from "../scope/build.js"
import { suspended } from "../values/guarded.js"
import { check, ofSessions } from "../values/options.js"
import { hostOf, interrupt } from "./host.js"
import { make as makeSession } from "./session.js"
import { endFor, handle, type Use } from "./sessionHandle.js"

type AnyOptions = Options<any, any, any>

/** One id, while anything of its session is there. */
class Entry {
  phase: "opening" | "open" | "closing" = "opening"
  /** who waits for it to open, or uses it: a call of a method, a scope of `local` */
  users = 0
  /** ended: it is open, or will not be */
  readonly opened = Deferred.unsafeMake<void, SessionsError>(FiberId.none)
  /** ended: nothing of it is left */
  readonly over = Deferred.unsafeMake<void>(FiberId.none)
  opener: Fiber.RuntimeFiber<void> | undefined
  session: Session | undefined
  scope: Scope.CloseableScope | undefined
  /** has its place among `maxSessions` */
  placed = false
  /** ended for good: its history is not kept */
  ended = false

  constructor(
    readonly id: string,
    /** what was said before */
    readonly kept: ChatContext | undefined
  ) {}
}

/** How long closing waits for the options of a session that does not let itself be interrupted. */
const patience = Duration.seconds(30)

class Registry {
  readonly entries = new Map<string, Entry>()
  /** what closed sessions had said, the one that closed last at the end */
  readonly kept = new Map<string, ChatContext>()
  /** open, with nothing open in them and nobody who uses them, and since when; the longest idle one comes first */
  readonly idle = new Map<Entry, number>()
  /** entries that are to be open, and those that hold resources */
  active = 0
  placed = 0
  readonly waiting = new Set<() => void>()
  sweeper: Fiber.RuntimeFiber<void> | undefined
  closed = false
  readonly watches: boolean

  constructor(
    readonly runtime: Runtime.Runtime<any>,
    readonly clock: Clock.Clock,
    readonly options: (sessionId: string) => Effect.Effect<AnyOptions, unknown, any>,
    readonly idleAfter: number,
    readonly maxSessions: number,
    readonly maxKept: number,
    /** its sessions are stored under their ids */
    readonly durable: boolean
  ) {
    this.watches = durable || Number.isFinite(idleAfter) || Number.isFinite(maxSessions)
  }

  fail(id: string, message: string): SessionsError {
    return new SessionsError({ sessionId: id, message })
  }

  // ------------------------------------------------------------------------------------------------------ who uses it

  /** The session is open until `leave`. */
  enter(id: string, restore: Restore): Effect.Effect<Entry, SessionsError> {
    return Effect.suspend((): Effect.Effect<Entry, SessionsError> => {
      if (this.closed) return Effect.fail(this.fail(id, "The sessions are closed."))
      const found = this.entries.get(id)
      if (found?.phase === "closing") {
        return Effect.zipRight(restore(Deferred.await(found.over)), this.enter(id, restore))
      }
      // one that begins here may have failed already
      const entry = found ?? this.begin(id)
      if (entry === undefined) return Effect.fail(this.fail(id, this.full()))
      entry.users++
      if (entry.phase === "open") {
        this.idle.delete(entry)
        return Effect.succeed(entry)
      }
      return Effect.zipRight(
        restore(Deferred.await(entry.opened)).pipe(
          Effect.onError((cause) =>
            Cause.isInterrupted(cause) ? this.giveUp(entry) : Effect.sync(() => this.leave(entry))
          )
        ),
        // somebody may have closed it before this fiber could go on
        Effect.suspend(() => {
          if (entry.phase === "open") return Effect.succeed(entry)
          this.leave(entry)
          return this.enter(id, restore)
        })
      )
    })
  }

  leave(entry: Entry): void {
    entry.users--
    this.look(entry)
  }

  /** Who asked does not wait any longer: if nobody does, nothing of it stays. */
  giveUp(entry: Entry): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.leave(entry)
      if (entry.phase !== "opening" || entry.users > 0) return Effect.void
      return this.close(entry)
    })
  }

  use(id: string): Use {
    return (f) =>
      Effect.uninterruptibleMask((restore) =>
        Effect.flatMap(this.enter(id, restore), (entry) =>
          Effect.ensuring(
            restore(Effect.suspend(() => f(entry.session as Session))),
            Effect.sync(() => this.leave(entry))
          )
        )
      )
  }

  // ------------------------------------------------------------------------------------------------------------- idle

  /** After an input of the session, or when somebody has left it. */
  look(entry: Entry): void {
    if (!this.watches) return
    this.idle.delete(entry)
    if (entry.phase !== "open") return
    const host = hostOf(entry.session as Session)
    // another one has it: who asks for it here takes it over again
    if (host?.storing?.phase === "fenced") return this.startClosing(entry)
    if (entry.users > 0) return
    if (host === undefined || !isQuiet(host.state)) return
    this.idle.set(entry, this.clock.unsafeCurrentTimeMillis())
    if (this.sweeper === undefined && Number.isFinite(this.idleAfter) && !this.closed) {
      // not at once: this may be in the middle of an input
      this.sweeper = Runtime.runFork(this.runtime, Effect.zipRight(Effect.yieldNow(), this.sweep()))
    }
  }

  /** One timer for all: as long as any is idle. */
  sweep(): Effect.Effect<void> {
    return Effect.suspend(() => {
      const now = this.clock.unsafeCurrentTimeMillis()
      for (const [entry, since] of this.idle) {
        const left = since + this.idleAfter - now
        // one more may become idle while these close: it waits for its own time
        if (left > 0) return Effect.zipRight(Effect.sleep(left), this.sweep())
        this.startClosing(entry)
      }
      this.sweeper = undefined
      return Effect.void
    })
  }

  // ----------------------------------------------------------------------------------------------------------- opening

  full(): string {
    return `There are ${this.maxSessions} sessions, and none of them is idle.`
  }

  /** None: there is no room, and nobody to make some. */
  begin(id: string): Entry | undefined {
    if (this.active >= this.maxSessions) {
      const [longest] = this.idle.keys()
      if (longest === undefined) return undefined
      this.startClosing(longest)
    }
    const entry = new Entry(id, this.kept.get(id))
    this.kept.delete(id)
    this.entries.set(id, entry)
    this.active++
    const opener = Runtime.runFork(this.runtime, this.open(entry))
    // what the program's options do at once may have closed it
    if (entry.phase === "closing") interrupt(opener)
    else entry.opener = opener
    return entry
  }

  /** Waits until one that closes has given back what it had. */
  place(entry: Entry): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (this.placed < this.maxSessions) {
        this.placed++
        entry.placed = true
        return Effect.void
      }
      return Effect.async<void>((resume) => {
        const waiter = (): void => {
          this.placed++
          entry.placed = true
          resume(Effect.void)
        }
        this.waiting.add(waiter)
        return Effect.sync(() => this.waiting.delete(waiter))
      })
    })
  }

  open(entry: Entry): Effect.Effect<void> {
    return Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(Scope.make(), (scope) =>
        Effect.flatMap(
          Effect.exit(restore(Effect.zipRight(this.place(entry), Scope.extend(this.build(entry), scope)))),
          (exit) => {
            if (Exit.isSuccess(exit) && entry.phase === "opening") {
              this.isOpen(entry, exit.value, scope)
              return Effect.void
            }
            return Effect.zipRight(
              this.release(entry, scope, exit),
              Effect.sync(() => this.notOpened(entry, exit))
            )
          }
        )
      )
    )
  }

  /** The options are made in the session's scope; what was kept goes on, unless they bring a history themselves. */
  build({ id, kept }: Entry): Effect.Effect<Session, unknown, Scope.Scope> {
    return suspended(() => this.options(id)).pipe(
      Effect.flatMap((options) => {
        if (this.durable) return makeSession({ ...options, id })
        const { id: _, ...given } = options as AnyOptions & { readonly id?: string }
        return makeSession(
          kept === undefined || given.history !== undefined ? given : { ...given, history: kept, resume: true }
        )
      }),
      // the conversation has its id in traces, unless the program says which
      Effect.mapInputContext((context: Context.Context<any>) => {
        const telemetry = Context.get(context, Telemetry)
        return telemetry.conversationId === undefined
          ? Context.add(context, Telemetry, { ...telemetry, conversationId: id })
          : context
      })
    )
  }

  isOpen(entry: Entry, session: Session, scope: Scope.CloseableScope): void {
    entry.phase = "open"
    entry.session = session
    entry.scope = scope
    const host = hostOf(session)
    if (this.watches && host !== undefined) host.watch = () => this.look(entry)
    Deferred.unsafeDone(entry.opened, Exit.void)
    this.look(entry)
  }

  notOpened(entry: Entry, exit: Exit.Exit<unknown, unknown>): void {
    // a later one goes on with it
    if (entry.kept !== undefined && !entry.ended) this.keep(entry.id, entry.kept)
    const given = entry.phase === "opening"
    this.remove(entry)
    if (given) Deferred.unsafeDone(entry.opened, this.failure(entry.id, exit))
  }

  failure(id: string, exit: Exit.Exit<unknown, unknown>): Exit.Exit<void, SessionsError> {
    const cause = Exit.isFailure(exit) ? exit.cause : Cause.empty
    const defects = Cause.keepDefects(cause)
    if (Option.isSome(defects)) return Exit.failCause(defects.value)
    const failure = Cause.failureOption(cause)
    const message = Option.isSome(failure)
      ? (messageOf(failure.value) ?? "The options of this session failed.")
      : "The options of this session were interrupted."
    return Exit.fail(this.fail(id, message))
  }

  // ----------------------------------------------------------------------------------------------------------- closing

  /** Ends when nothing of it is left. */
  close(entry: Entry): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.startClosing(entry)
      return Deferred.await(entry.over)
    })
  }

  startClosing(entry: Entry): void {
    const { opener, phase, scope, session } = entry
    if (phase === "closing") return
    entry.phase = "closing"
    this.idle.delete(entry)
    this.active--
    if (phase === "opening") {
      Deferred.unsafeDone(entry.opened, Exit.fail(this.fail(entry.id, "The session was closed while it was opened.")))
      return interrupt(opener)
    }
    const host = hostOf(session as Session)
    if (host !== undefined) host.watch = undefined
    const closing = Effect.flatMap(this.release(entry, scope as Scope.CloseableScope, Exit.void), () =>
      Effect.map((session as Session).history, (history) => {
        if (!entry.ended) this.keep(entry.id, history)
        this.remove(entry)
      })
    )
    Runtime.runFork(this.runtime, Effect.uninterruptible(closing))
  }

  /** What fails as it is given back is logged: the place is free all the same. */
  release(entry: Entry, scope: Scope.CloseableScope, exit: Exit.Exit<unknown, unknown>): Effect.Effect<void> {
    return Effect.catchAllCause(Scope.close(scope, exit), (cause) =>
      Effect.logError(`What the session "${entry.id}" had failed to be released.`, printable(cause))
    )
  }

  remove(entry: Entry): void {
    if (entry.phase !== "closing") {
      entry.phase = "closing"
      this.active--
    }
    this.entries.delete(entry.id)
    if (entry.placed) {
      this.placed--
      const [next] = this.waiting
      if (next !== undefined) {
        this.waiting.delete(next)
        next()
      }
    }
    Deferred.unsafeDone(entry.over, Exit.void)
  }

  keep(id: string, history: ChatContext): void {
    if (this.durable || this.closed || history.items.length === 0 || this.maxKept === 0) return
    this.kept.set(id, history)
    if (this.kept.size > this.maxKept) {
      for (const oldest of this.kept.keys()) {
        this.kept.delete(oldest)
        return
      }
    }
  }

  closeAll(): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.closed = true
      this.kept.clear()
      interrupt(this.sweeper)
      const all = Array.from(this.entries.values(), (entry) =>
        entry.phase === "open" || entry.session !== undefined ? this.close(entry) : this.abandon(entry)
      )
      return Effect.forEach(all, (closing) => closing, { concurrency: "unbounded", discard: true })
    })
  }

  /** The program's options may never end. */
  abandon(entry: Entry): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.startClosing(entry)
      if (this.entries.get(entry.id) !== entry) return Effect.void
      const late = Effect.logError(`The options of the session "${entry.id}" do not let themselves be interrupted.`)
      const waits = Effect.timeoutTo(Deferred.await(entry.over), {
        duration: patience,
        onSuccess: () => Effect.void,
        onTimeout: () => late
      })
      // a fiber of its own: this one may be in the middle of an interruption, or in a region that must not be cut
      return Effect.flatMap(Effect.forkDaemon(Effect.interruptible(Effect.flatten(waits))), (fiber) =>
        Effect.asVoid(Fiber.await(fiber))
      )
    })
  }

  // ----------------------------------------------------------------------------------------------------------- service

  handle(id: string): Handle {
    return handle(id, this.use(id), this.durable ? this.endStored(id) : this.end(id, true))
  }

  /** It is opened for that: its calls end, and what they did is undone, as in any session. */
  endStored(id: string): Effect.Effect<void, SessionsError> {
    const ends = this.use(id)((session) => {
      const host = hostOf(session)
      return host === undefined ? Effect.void : endFor(id, host)
    })
    // a caller that gives up leaves it to end
    return Effect.flatMap(
      Effect.forkDaemon(Effect.uninterruptible(Effect.zipRight(ends, this.end(id, true)))),
      Fiber.join
    )
  }

  /** What had something open when its process stopped goes on by itself (rule R6). */
  recover(ids: ReadonlyArray<string>): Effect.Effect<void> {
    return Effect.forEach(
      ids,
      (id) =>
        Effect.uninterruptibleMask((restore) =>
          Effect.matchCauseEffect(this.enter(id, restore), {
            onSuccess: (entry) => Effect.sync(() => this.leave(entry)),
            onFailure: (cause) =>
              Cause.isInterruptedOnly(cause)
                ? Effect.failCause(cause as Cause.Cause<never>)
                : Effect.logError(`The session "${id}" could not be opened.`, printable(cause))
          })
        ),
      { concurrency: 16, discard: true }
    )
  }

  end(id: string, forGood: boolean): Effect.Effect<void, SessionsError> {
    return Effect.suspend(() => {
      const entry = this.entries.get(id)
      if (forGood) this.kept.delete(id)
      if (entry === undefined) return Effect.void
      if (forGood) entry.ended = true
      return this.close(entry)
    })
  }

  get service(): Service {
    return {
      get: (id) =>
        Effect.uninterruptibleMask((restore) =>
          Effect.map(this.enter(id, restore), (entry) => {
            this.leave(entry)
            return this.handle(id)
          })
        ),
      local: (id) =>
        Effect.uninterruptibleMask((restore) =>
          Effect.flatMap(this.enter(id, restore), (entry) =>
            Effect.as(
              Effect.addFinalizer(() => Effect.sync(() => this.leave(entry))),
              entry.session as Session
            )
          )
        ),
      ids: Effect.sync(() =>
        Array.from(this.entries.values()).flatMap(({ id, phase }) => (phase === "open" ? [id] : []))
      ),
      close: (id) => this.end(id, false)
    }
  }
}

export const make = (
  options: (sessionId: string) => Effect.Effect<AnyOptions, unknown, any>,
  settings: Settings = {}
): Effect.Effect<Service, StorageError, any> =>
  Effect.gen(function* () {
    yield* check("the sessions", settings, ofSessions)
    const { durable = false, maxKept = 10_000, maxSessions } = settings
    // what is stored need not be in memory
    const idleAfter = settings.idleAfter ?? (durable ? "5 minutes" : undefined)
    const registry = new Registry(
      Runtime.enableRuntimeFlag(yield* Effect.runtime<any>(), RuntimeFlags.Interruption),
      yield* Effect.clock,
      options,
      idleAfter === undefined ? Number.POSITIVE_INFINITY : Duration.toMillis(idleAfter),
      maxSessions ?? Number.POSITIVE_INFINITY,
      maxKept,
      durable
    )
    yield* Effect.addFinalizer(() => registry.closeAll())
    if (durable) {
      const storage = yield* SessionStorage
      yield* registry.recover(yield* suspended(() => storage.unfinished))
    }
    return registry.service
  })
