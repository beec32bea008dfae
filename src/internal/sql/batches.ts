/**
 * Writes of many sessions in one statement: while one is on its way, what comes meanwhile waits, and goes together with the
 * next. A database that makes each statement safe on its disk then does so once for all of them.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { Fenced, StorageError } from "../../Tags.js"
import { saysFenced, storageError, type WriteError } from "./errors.js"
import type { StoredRow } from "./text.js"

/** What is to be stored of a session; without rows, the session is to be removed. */
export interface Change {
  readonly sessionId: string
  readonly epoch: number
  readonly rows: ReadonlyArray<StoredRow> | null
  readonly open: boolean
}

interface Waiting extends Change {
  readonly size: number
  readonly resume: (exit: Exit.Exit<void, WriteError>) => void
}

/** Several changes in one statement, all or none. */
export type Send = (changes: ReadonlyArray<Change>) => Effect.Effect<unknown, unknown>

/** Bounds of one statement: changes, and characters of their rows. */
const maxChanges = 256
const maxSize = 4_000_000

const sizeOf = (rows: ReadonlyArray<StoredRow> | null): number =>
  rows === null ? 0 : rows.reduce((sum, [kind, id, data]) => sum + kind.length + id.length + (data?.length ?? 0), 0)

const done = Exit.void

const closed = () => Exit.fail(new StorageError({ message: "The storage is closed." }))

const isFenced = (exit: Exit.Exit<void, WriteError>): boolean =>
  Exit.isFailure(exit) && exit.cause._tag === "Fail" && exit.cause.error._tag === "Fenced"

export class Batches {
  private waiting: Array<Waiting> = []
  private sending: ReadonlyArray<Waiting> = []
  private running: Fiber.RuntimeFiber<void> | undefined
  private isClosed = false

  /** `fork` starts the fiber in which statements run, in no session's context. */
  constructor(
    private readonly send: Send,
    private readonly fork: (effect: Effect.Effect<void>) => Fiber.RuntimeFiber<void>
  ) {}

  /** Interrupted, a change that has not left is withdrawn; of one that has, nobody knows. */
  readonly put = (change: Change): Effect.Effect<void, WriteError> =>
    Effect.async((resume) => {
      if (this.isClosed) return resume(closed())
      const waiting: Waiting = { ...change, size: sizeOf(change.rows), resume }
      this.waiting.push(waiting)
      this.start()
      return Effect.sync(() => {
        this.waiting = this.waiting.filter((one) => one !== waiting)
      })
    })

  /** Whoever still waits then, for what is on its way or behind it, is told that it may not have been written. */
  readonly close: Effect.Effect<void> = Effect.suspend(() => {
    this.isClosed = true
    return this.running === undefined ? Effect.void : Fiber.interrupt(this.running)
  })

  private start(): void {
    if (this.running !== undefined || this.waiting.length === 0) return
    const fiber = this.fork(Effect.suspend(() => this.run()))
    this.running = fiber
    fiber.addObserver(() => {
      const left = this.isClosed ? [...this.sending, ...this.waiting.splice(0)] : this.sending
      for (const { resume } of left) resume(closed())
      this.running = undefined
      this.start()
    })
  }

  private run(): Effect.Effect<void> {
    return Effect.whileLoop({
      while: () => this.waiting.length > 0,
      // whatever else is ready to run may have something to write, too
      body: () =>
        Effect.zipRight(
          Effect.yieldNow(),
          Effect.suspend(() => this.sendNext())
        ),
      step: () => {
        this.sending = []
      }
    })
  }

  /** As many as one statement takes. */
  private take(): ReadonlyArray<Waiting> {
    let size = 0
    let count = 0
    for (const { size: own } of this.waiting) {
      if (count > 0 && (count === maxChanges || size + own > maxSize)) break
      size += own
      count++
    }
    return this.waiting.splice(0, count)
  }

  private sendNext(): Effect.Effect<void> {
    const batch = this.take()
    this.sending = batch
    return this.sendAll(batch)
  }

  private sendAll(batch: ReadonlyArray<Waiting>): Effect.Effect<void> {
    const [first] = batch
    if (first === undefined) return Effect.void
    if (batch.length === 1) return Effect.asVoid(this.sendOne(first))
    return Effect.flatMap(Effect.exit(this.send(batch)), (exit) => {
      if (Exit.isSuccess(exit)) {
        for (const { resume } of batch) resume(done)
        return Effect.void
      }
      if (!saysFenced(Cause.squash(exit.cause))) return this.sendEach(batch)
      // it is not said who: the others are not to pay for it with a statement each
      const half = batch.length >> 1
      return Effect.zipRight(
        Effect.suspend(() => this.sendAll(batch.slice(0, half))),
        Effect.suspend(() => this.sendAll(batch.slice(half)))
      )
    })
  }

  /** A row that the database does not take is not the fault of the others. */
  private sendEach(batch: ReadonlyArray<Waiting>): Effect.Effect<void> {
    let failures = 0
    let last: Exit.Exit<void, WriteError> = done
    return Effect.forEach(
      batch,
      (one) => {
        // two in a row: it is the database
        if (failures === 2) return Effect.sync(() => one.resume(last))
        return Effect.map(this.sendOne(one), (exit) => {
          last = exit
          failures = Exit.isSuccess(exit) || isFenced(exit) ? 0 : failures + 1
        })
      },
      { discard: true }
    )
  }

  private sendOne(one: Waiting): Effect.Effect<Exit.Exit<void, WriteError>> {
    return Effect.map(Effect.exit(this.send([one])), (sent) => {
      const exit = Exit.isSuccess(sent) ? done : Exit.fail(refusal(one, Cause.squash(sent.cause)))
      one.resume(exit)
      return exit
    })
  }
}

const refusal = ({ epoch, sessionId }: Change, error: unknown): WriteError =>
  saysFenced(error) ? new Fenced({ sessionId, epoch }) : storageError("A session cannot be stored", error)
