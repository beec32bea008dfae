/**
 * What a durable session does instead of letting events and commands go at once: what an input changed is written first,
 * and they leave after that, in order (rule Q2). Inputs that come while a write is under way share the next one. A session
 * that is not durable has none of this.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Runtime from "effect/Runtime"
import type { SessionEvent } from "../../SessionEvent.js"
import type { Row, Service as Storage } from "../../SessionStorage.js"
import { Fenced, SessionClosed, StorageError } from "../../Tags.js"
import type { Durable } from "../machine/durable.js"
import type { Command } from "../machine/protocol.js"
import * as Rows from "../machine/rows.js"
import { printable } from "../model/errors.js"
import { suspended } from "../values/guarded.js"
import { isDelta } from "./events.js"
import { type Host, log } from "./host.js"

/** How many events and commands wait for a storage before those who would add more wait, too (rule Q20). */
const most = 2048

/** Worth nothing later. */
export const isPassing = (event: SessionEvent): boolean => isDelta(event) || event._tag === "ToolCallProgress"

const firstPause = 50
const longestPause = 5_000

/** What becomes of the session: it goes on; it is left for another life; another one has it. */
type Phase = "open" | "suspended" | "fenced"

export class Storing {
  phase: Phase = "open"
  private events: Array<SessionEvent> = []
  private commands: Array<Command> = []
  private writing = false
  private leaving = false
  private wasOpen = false
  /** the storage fails, and that was told */
  private outage = false
  private roomWaiters: Array<() => void> = []
  private idleWaiters: Array<() => void> = []

  constructor(
    private readonly host: Host,
    private readonly storage: Storage,
    readonly sessionId: string,
    private readonly epoch: number,
    private readonly durable: Durable,
    private readonly release: (events: ReadonlyArray<SessionEvent>, commands: ReadonlyArray<Command>) => void,
    /** nobody else writes to it from here on, and neither does this session */
    private readonly onFenced: () => void
  ) {}

  /** Nothing of the session goes on. */
  get stopped(): boolean {
    return this.phase !== "open"
  }

  /** What an input left. */
  take(events: ReadonlyArray<SessionEvent>, commands: ReadonlyArray<Command>): void {
    if (this.phase === "open") {
      const full = this.events.length >= most
      for (const event of events) {
        // what nobody could be told in time is not kept for the end of an outage
        if (!full || !(isPassing(event) || event._tag === "UserTurnPartial")) this.events.push(event)
      }
      for (const command of commands) this.commands.push(command)
    } else {
      // nothing begins any more; who waits is told that
      for (const command of commands) if (command._tag === "Wake") this.commands.push(command)
    }
    this.go()
  }

  /** Deltas and progress need not wait, unless they would overtake something. */
  get isClear(): boolean {
    return !this.writing && !this.leaving && this.events.length === 0 && this.commands.length === 0
  }

  /** Ends once all that has happened is stored; none: another one has the session. */
  private after(done: (stored: boolean) => void): void {
    if (this.phase === "fenced") return done(false)
    this.commands.push({ _tag: "Wake", resume: () => done(this.phase !== "fenced") })
    this.go()
  }

  /** For a handler: it ends with a session that another one has. */
  readonly stored: Effect.Effect<void> = Effect.async<void>((resume) =>
    this.after((stored) => resume(stored ? Effect.void : Effect.interrupt))
  )

  /** For a program. */
  readonly told: Effect.Effect<void, SessionClosed> = Effect.async<void, SessionClosed>((resume) =>
    this.host.begun ? this.after((stored) => resume(stored ? Effect.void : closed)) : resume(Effect.void)
  )

  /** The same for somebody to whom it is all one whether the session stops. */
  readonly settled: Effect.Effect<void> = Effect.suspend(() => Effect.ignore(this.told))

  /** What waits for the storage is bounded. */
  readonly room: Effect.Effect<void> = Effect.suspend(() => {
    if (this.events.length + this.commands.length < most || this.stopped) return Effect.void
    return Effect.async<void>((resume) => {
      const waiter = () => resume(Effect.void)
      this.roomWaiters.push(waiter)
      return Effect.sync(() => {
        this.roomWaiters = this.roomWaiters.filter((other) => other !== waiter)
      })
    })
  })

  /** Ends when nothing is left to be written. */
  readonly idle: Effect.Effect<void> = Effect.async<void>((resume) => {
    if (!this.writing || this.phase === "fenced") return resume(Effect.void)
    this.idleWaiters.push(() => resume(Effect.void))
  })

  private go(): void {
    if (this.leaving || this.writing) return
    this.leaving = true
    try {
      while (!this.writing && this.hasWork()) this.step()
    } finally {
      this.leaving = false
    }
    if (!this.writing) for (const waiter of this.idleWaiters.splice(0)) waiter()
  }

  private hasWork(): boolean {
    return (
      this.events.length > 0 ||
      this.commands.length > 0 ||
      (this.phase !== "fenced" && (this.durable.rows.length > 0 || (this.phase === "open" && this.durable.touched)))
    )
  }

  private step(): void {
    const { commands, events } = this
    this.commands = []
    this.events = []
    if (this.phase === "fenced") return this.release([], commands)
    const { open, rows } = this.phase === "open" ? Rows.changes(this.host.state, this.durable) : this.lastWords()
    if (rows.length === 0) return this.leave(events, commands)
    this.writing = true
    const over = (exit: Exit.Exit<void, Fenced>): void => {
      this.writing = false
      if (Exit.isSuccess(exit)) {
        this.durable.safe = this.durable.written
        this.leave(events, commands)
      } else this.fenced(commands)
      this.go()
    }
    const fiber = Runtime.runFork(this.host.runtime, this.write(rows, open))
    fiber.addObserver(over)
  }

  /** What handlers have done until they stopped; the rest is as it was when the session was left. */
  private lastWords(): Rows.Changes {
    const { rows } = this.durable
    this.durable.rows = []
    return { rows, open: this.wasOpen }
  }

  private leave(events: ReadonlyArray<SessionEvent>, commands: ReadonlyArray<Command>): void {
    const left = this.phase === "open" ? commands : commands.filter(({ _tag }) => _tag === "Wake")
    this.release(events, left)
    if (this.roomWaiters.length > 0) for (const waiter of this.roomWaiters.splice(0)) waiter()
  }

  /** Writes, and does so again as long as the storage fails. */
  private write(rows: ReadonlyArray<Row>, open: boolean, pause = firstPause): Effect.Effect<void, Fenced> {
    return suspended(() => this.storage.write(this.sessionId, this.epoch, rows, open)).pipe(
      Effect.tap(() =>
        Effect.sync(() => {
          this.outage = false
        })
      ),
      Effect.catchAllCause((cause): Effect.Effect<void, Fenced> => {
        const failure = Cause.failureOption(cause)
        if (Option.isSome(failure) && failure.value instanceof Fenced) return Effect.fail(failure.value)
        if (Cause.isInterruptedOnly(cause)) return Effect.failCause(cause as Cause.Cause<never>)
        return Effect.zipRight(
          Effect.zipRight(
            Effect.sync(() => this.fails(cause)),
            Effect.sleep(pause)
          ),
          Effect.suspend(() => this.write(rows, open, Math.min(pause * 2, longestPause)))
        )
      })
    )
  }

  /** The outage is told once, and at once: that the storage fails cannot be stored (rule Q20). */
  private fails(cause: Cause.Cause<unknown>): void {
    if (this.outage) return
    this.outage = true
    const message = "The storage fails; what happens in the session waits for it."
    log(this.host, "warning", `${message} (session "${this.sessionId}")`, cause)
    this.tell("StorageFailed", message)
  }

  private tell(tag: string, message: string): void {
    const at = this.host.clock.unsafeCurrentTimeMillis()
    this.host.hub.publish({ _tag: "SessionError", at, error: { tag, message } })
  }

  /** Another one has the session: it says why, and lets nothing more out (rule Q4). */
  private fenced(commands: ReadonlyArray<Command>): void {
    const { message } = new Fenced({ sessionId: this.sessionId, epoch: this.epoch })
    log(this.host, "error", message)
    this.tell("Fenced", message)
    this.phase = "fenced"
    this.events = []
    const waiting = commands.concat(this.commands).filter(({ _tag }) => _tag === "Wake")
    this.commands = []
    this.onFenced()
    this.release([], waiting)
    for (const waiter of this.roomWaiters.splice(0)) waiter()
    for (const waiter of this.idleWaiters.splice(0)) waiter()
  }

  /**
   * The session is left for its next life: what has changed is written, and nothing of what it would do next is done
   * (rule Q18).
   */
  suspend(): void {
    if (this.phase !== "open") return
    this.durable.suspending = true
    const { open, rows } = Rows.changes(this.host.state, this.durable)
    this.wasOpen = open
    // behind what is being written
    this.durable.rows.push(...rows)
    this.phase = "suspended"
    this.go()
  }

  /** The session has ended for good: of what is stored only the history is left. */
  readonly forget: Effect.Effect<void, StorageError> = Effect.suspend(() => {
    if (this.phase !== "open") return Effect.void
    const { rows } = Rows.changes(this.host.state, this.durable)
    const left = rows.filter(({ data, kind }) => kind === "item" || data === undefined)
    const gone = Array.from(this.durable.live.values(), ({ id, kind }): Row => ({ kind, id, data: undefined }))
    this.durable.live.clear()
    this.durable.rows = [...left, ...gone]
    return suspended(() => this.storage.write(this.sessionId, this.epoch, [...left, ...gone], false)).pipe(
      Effect.tap(() =>
        Effect.sync(() => {
          this.durable.rows = []
        })
      ),
      Effect.catchTag("Fenced", () => Effect.void),
      Effect.catchAllDefect((defect) =>
        Effect.fail(
          new StorageError({ message: "The storage failed unexpectedly.", cause: printable(Cause.die(defect)) })
        )
      )
    )
  })
}

const closed = Effect.suspend(() => Effect.fail(new SessionClosed()))
