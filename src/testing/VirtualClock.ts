/**
 * A virtual `Clock` for long simulations: time stands still until a program moves it. A sleep that comes due costs a
 * few microseconds, and not the milliseconds that it costs on `TestClock`. The clock is also a `TestClock`:
 * `TestClock.adjust`, `TestClock.sleeps` and `TestSession` work on it.
 *
 * One thing differs. If several sleeps come due in the same instant, the sleep that began first ends first, as with
 * timers of JavaScript that have the same delay. On `TestClock` of Effect 3, the sleep that began last ends first. For
 * example, a sleep of 2 seconds ends before the second of two sleeps of 1 second that began with it. If the outcome of
 * a program depends on that, the program has a race: run it with some seeds, or choose times that differ.
 *
 * ```ts
 * import { Effect, Schedule } from "effect"
 * import { VirtualClock } from "effect-meantime/testing"
 *
 * const program = Effect.gen(function* () {
 *   let ticks = 0
 *   yield* Effect.fork(Effect.repeat(Effect.sync(() => ticks++), Schedule.spaced("1 second")))
 *   yield* VirtualClock.advance("1 hour")
 *   return ticks // 3601, after some milliseconds
 * }).pipe(Effect.provide(VirtualClock.layer()))
 * ```
 *
 * The layer also puts a `Scheduler` in place, which tells the clock when every fiber waits. With a `seed`, that
 * scheduler runs ready fibers in an order that depends on the seed, lets them yield at other places, and ends sleeps of
 * the same time together. So one program runs under many interleavings, and each of them can be repeated.
 *
 * Only the same program repeats an interleaving, with the same versions of its packages: every step of a fiber counts.
 * One more step makes another interleaving, and so does a step that only the first run in a process takes (something is
 * made once and kept). The clock does not govern what comes from outside, and does not wait for it: a socket, a file, a
 * timer of JavaScript, an `import()`, a fiber on another scheduler (`Effect.runPromise` inside of a promise),
 * `Math.random`.
 *
 * @since 0.1.0
 */
import * as Chunk from "effect/Chunk"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as FiberRef from "effect/FiberRef"
import * as Layer from "effect/Layer"
import * as Predicate from "effect/Predicate"
import * as Scheduler from "effect/Scheduler"
import type * as TestClock from "effect/TestClock"
import { PCGRandom } from "effect/Utils"
import { errorIn, ofClock } from "../internal/values/options.js"

// -------------------------------------------------------------------------------------
// models
// -------------------------------------------------------------------------------------

/**
 * A clock that a program moves.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service extends TestClock.TestClock {
  /**
   * Moves the time by a duration. The sleeps that come due end one after another, by their time and then in the order
   * in which they began; each time all fibers run until they wait again, and what they sleep then counts as well.
   */
  readonly advance: (duration: Duration.DurationInput) => Effect.Effect<void>
  /** As `advance`, to a time in milliseconds. Time never goes back: for one that is past only `settle` happens. */
  readonly advanceTo: (millis: number) => Effect.Effect<void>
  /** Moves the time to the next sleep and ends it (with a seed: those of its time); false where nothing sleeps. */
  readonly next: Effect.Effect<boolean>
  /** Moves the time from sleep to sleep until nothing sleeps any more. */
  readonly runUntilIdle: Effect.Effect<void>
  /** Lets all fibers run until each of them waits. The time stands still. */
  readonly settle: Effect.Effect<void>
  /** How many sleeps have not ended. */
  readonly unsafePending: () => number
  /** What the layer puts in place beside the clock. */
  readonly scheduler: Scheduler.Scheduler
}

/**
 * The beginning of the time, and the order of fibers.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** The time to begin with, in milliseconds; any finite number. Default: 0. */
  readonly now?: number | undefined
  /**
   * Runs ready fibers in an order that depends on this whole number, and lets them yield at places that depend on it;
   * sleeps of the same time end together. Default: no seed; fibers run in the order in which they became ready.
   */
  readonly seed?: number | undefined
}

// -------------------------------------------------------------------------------------
// tags
// -------------------------------------------------------------------------------------

/**
 * The virtual clock as a service, for programs that use it directly. The functions of this module find it by
 * themselves.
 *
 * @since 0.1.0
 * @category tags
 */
export class VirtualClock extends Context.Tag("effect-meantime/testing/VirtualClock")<VirtualClock, Service>() {}

// -------------------------------------------------------------------------------------
// the clock
// -------------------------------------------------------------------------------------

interface Sleep {
  readonly at: number
  readonly order: number
  readonly wake: () => void
  /** its place in the heap; -1 once it has left */
  index: number
}

const before = (a: Sleep, b: Sleep): boolean => a.at < b.at || (a.at === b.at && a.order < b.order)

/** The sleeps, the next one first. Each knows its place, so that an interrupted one leaves without a search. */
class Sleeps {
  heap: Array<Sleep> = []

  get next(): Sleep | undefined {
    return this.heap[0]
  }

  add(sleep: Sleep): void {
    sleep.index = this.heap.length
    this.heap.push(sleep)
    this.up(sleep)
  }

  remove(sleep: Sleep): void {
    const { index } = sleep
    if (index < 0) return
    sleep.index = -1
    const last = this.heap.pop() as Sleep
    if (last === sleep) return
    last.index = index
    this.heap[index] = last
    this.up(last)
    this.down(last)
  }

  private up(sleep: Sleep): void {
    while (sleep.index > 0) {
      const parent = this.heap[(sleep.index - 1) >> 1] as Sleep
      if (!before(sleep, parent)) return
      this.swap(parent, sleep)
    }
  }

  private down(sleep: Sleep): void {
    for (;;) {
      const left = this.heap[2 * sleep.index + 1]
      const right = this.heap[2 * sleep.index + 2]
      if (left === undefined) return
      const child = right !== undefined && before(right, left) ? right : left
      if (!before(child, sleep)) return
      this.swap(sleep, child)
    }
  }

  /** `child` takes the place of its parent. */
  private swap(parent: Sleep, child: Sleep): void {
    const { index } = parent
    this.heap[index] = child
    this.heap[child.index] = parent
    parent.index = child.index
    child.index = index
  }
}

class ClockImpl implements Service {
  readonly [Clock.ClockTypeId]: typeof Clock.ClockTypeId = Clock.ClockTypeId
  private readonly asleep = new Sleeps()
  private order = 0

  constructor(
    private now: number,
    readonly scheduler: VirtualScheduler,
    /** sleeps of one time end at once, and the scheduler has the choice */
    private readonly together: boolean
  ) {}

  unsafeCurrentTimeMillis(): number {
    return this.now
  }

  unsafeCurrentTimeNanos(): bigint {
    return BigInt(Math.floor(this.now * 1_000_000))
  }

  readonly currentTimeMillis = Effect.sync(() => this.unsafeCurrentTimeMillis())

  readonly currentTimeNanos = Effect.sync(() => this.unsafeCurrentTimeNanos())

  readonly unsafePending = (): number => this.asleep.heap.length

  sleep(input: Duration.DurationInput): Effect.Effect<void> {
    const millis = Duration.toMillis(input)
    // due at once: the others have their turn, and the clock need not be moved
    if (millis <= 0) return Effect.yieldNow()
    if (!Number.isFinite(millis)) return Effect.never
    return Effect.suspend(() => {
      let sleep: Sleep | undefined
      const wait = Effect.async<void>((resume) => {
        sleep = { at: this.now + millis, order: this.order++, wake: () => resume(Effect.void), index: -1 }
        this.asleep.add(sleep)
      })
      // around all of it: a fiber may be interrupted before it waits
      return Effect.onInterrupt(wait, () =>
        Effect.sync(() => {
          if (sleep !== undefined) this.asleep.remove(sleep)
        })
      )
    })
  }

  /**
   * All microtasks have run when an immediate does, so every fiber waits; one that takes very long stretches is asked
   * for by the scheduler.
   */
  private moveWhile(due: (at: number) => boolean): Effect.Effect<void> {
    return Effect.async<void>((resume) => {
      let stopped = false
      const turn = (): void => {
        if (stopped) return
        const { next } = this.asleep
        if (!this.scheduler.busy) {
          if (next === undefined || !due(next.at)) return resume(Effect.void)
          this.end(next)
          while (this.together && this.asleep.next?.at === next.at) this.end(this.asleep.next)
        }
        setImmediate(turn)
      }
      setImmediate(turn)
      return Effect.sync(() => {
        stopped = true
      })
    })
  }

  private end(sleep: Sleep): void {
    this.asleep.remove(sleep)
    if (sleep.at > this.now) this.now = sleep.at
    sleep.wake()
  }

  readonly settle = this.moveWhile(() => false)

  readonly advanceTo = (millis: number): Effect.Effect<void> =>
    Effect.zipRight(
      this.moveWhile((at) => at <= millis),
      Effect.sync(() => {
        if (millis > this.now) this.now = millis
      })
    )

  readonly advance = (duration: Duration.DurationInput): Effect.Effect<void> =>
    Effect.suspend(() => this.advanceTo(this.now + Duration.toMillis(duration)))

  readonly next = Effect.suspend(() => {
    let ended = false
    return Effect.map(
      this.moveWhile(() => {
        const first = !ended
        ended = true
        return first
      }),
      () => ended
    )
  })

  readonly runUntilIdle = this.moveWhile(() => true)

  // what `TestClock` has beside these

  adjust(duration: Duration.DurationInput): Effect.Effect<void> {
    return this.advance(duration)
  }

  adjustWith(duration: Duration.DurationInput) {
    return <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
      Effect.zipLeft(effect, this.adjust(duration), { concurrent: true })
  }

  setTime(millis: number): Effect.Effect<void> {
    return this.advanceTo(millis)
  }

  get save(): Effect.Effect<Effect.Effect<void>> {
    return Effect.sync(() => {
      const { now } = this
      const sleeps = [...this.asleep.heap]
      return Effect.sync(() => {
        for (const sleep of this.asleep.heap) sleep.index = -1
        this.asleep.heap = []
        for (const sleep of sleeps) this.asleep.add(sleep)
        this.now = now
      })
    })
  }

  get sleeps(): Effect.Effect<Chunk.Chunk<number>> {
    return Effect.sync(() => Chunk.fromIterable(this.asleep.heap.map((sleep) => sleep.at)))
  }
}

// -------------------------------------------------------------------------------------
// the scheduler
// -------------------------------------------------------------------------------------

interface VirtualScheduler extends Scheduler.Scheduler {
  /** fibers are ready that have not run */
  readonly busy: boolean
}

/** After so many rounds without a pause the event loop has its turn. */
const maxRounds = 2048

abstract class Rounds implements VirtualScheduler {
  busy = false
  private rounds = 0

  scheduleTask(task: Scheduler.Task, priority: number): void {
    this.add(task, priority)
    if (this.busy) return
    this.busy = true
    this.rounds = 0
    queueMicrotask(this.round)
  }

  shouldYield(fiber: Fiber.RuntimeFiber<unknown, unknown>): number | false {
    return Scheduler.defaultShouldYield(fiber)
  }

  private readonly round = (): void => {
    if (this.run()) this.busy = false
    else if (++this.rounds < maxRounds) queueMicrotask(this.round)
    else {
      this.rounds = 0
      setImmediate(this.round)
    }
  }

  protected abstract add(task: Scheduler.Task, priority: number): void
  /** runs one round; true where nothing is left to run */
  protected abstract run(): boolean
}

/** Ready fibers run in their order, those of a lower number first. */
class InOrder extends Rounds {
  private readonly tasks = new Scheduler.PriorityBuckets()

  protected add(task: Scheduler.Task, priority: number): void {
    this.tasks.scheduleTask(task, priority)
  }

  protected run(): boolean {
    const { buckets } = this.tasks
    this.tasks.buckets = []
    for (const [, tasks] of buckets) for (const task of tasks) task()
    return this.tasks.buckets.length === 0
  }
}

/** After so many steps, about, one yields. */
const stepsBetween = 24

/** One of the ready fibers, whichever the seed picks; and now and then it has to yield. */
class Shuffled extends Rounds {
  private readonly tasks: Array<Scheduler.Task> = []
  private readonly random: PCGRandom
  /** steps until one yields */
  private left = 0

  constructor(seed: number) {
    super()
    this.random = new PCGRandom(seed)
  }

  /** Not by the fiber's count of steps: one that came from elsewhere has steps that another run has not. */
  override shouldYield(fiber: Fiber.RuntimeFiber<unknown, unknown>): number | false {
    // drawn once for many steps: a draw for each step took more time than the step
    if (this.left-- > 0) return false
    this.left = this.random.integer(2 * stepsBetween)
    return fiber.getFiberRef(FiberRef.currentSchedulingPriority)
  }

  protected add(task: Scheduler.Task): void {
    this.tasks.push(task)
  }

  protected run(): boolean {
    const { tasks } = this
    const i = this.random.integer(tasks.length)
    const task = tasks[i] as Scheduler.Task
    const last = tasks.pop() as Scheduler.Task
    if (last !== task) tasks[i] = last
    task()
    return tasks.length === 0
  }
}

// -------------------------------------------------------------------------------------
// constructors, layers
// -------------------------------------------------------------------------------------

/**
 * Makes a virtual clock; it dies with an `OptionsError` if an option makes no sense. `layer` puts one in place. If you do
 * so by hand (`Effect.withClock`), put its scheduler in place as well (`Effect.withScheduler`).
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options?: Options): Effect.Effect<Service> => Effect.sync(() => unsafeMake(options))

/**
 * As `make`, but outside of Effect: it throws the error.
 *
 * @since 0.1.0
 * @category constructors
 */
export const unsafeMake = (options?: Options): Service => {
  const error = errorIn("VirtualClock", options, ofClock)
  if (error !== undefined) throw error
  return options?.seed === undefined
    ? new ClockImpl(options?.now ?? 0, new InOrder(), false)
    : new ClockImpl(options.now ?? 0, new Shuffled(options.seed), true)
}

/**
 * Puts a virtual clock and its scheduler in place. Under `it.effect` of `@effect/vitest` it replaces the `TestClock`.
 * Provide it by itself and last, around the other layers. If it is merged with other layers, they are built beside it,
 * and not on its clock.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options?: Options): Layer.Layer<VirtualClock> =>
  // one scope and no merge: what merged layers put in place by a FiberRef stays in place when they have gone
  Layer.scoped(
    VirtualClock,
    Effect.gen(function* () {
      const clock = yield* make(options)
      yield* Effect.withClockScoped(clock)
      yield* Effect.locallyScoped(FiberRef.currentScheduler, clock.scheduler)
      // Effect counts the steps of a fiber and then has it yield; those from before the clock are not the program's
      yield* Effect.yieldNow()
      return clock
    })
  )

// -------------------------------------------------------------------------------------
// time
// -------------------------------------------------------------------------------------

/**
 * Is this a virtual clock?
 *
 * @since 0.1.0
 * @category guards
 */
export const isVirtualClock = (clock: Clock.Clock): clock is Clock.Clock & Service =>
  Predicate.hasProperty(clock, "runUntilIdle")

const virtualClockWith = <A>(f: (clock: Service) => Effect.Effect<A>): Effect.Effect<A> =>
  Effect.clockWith((clock) =>
    isVirtualClock(clock)
      ? f(clock)
      : Effect.dieMessage(
          "VirtualClock: the clock of this fiber is another one. Provide VirtualClock.layer() to the program, last, so " +
            "that it is around all of it; a fiber that was forked outside does not have it."
        )
  )

/**
 * Moves the time by a duration, and lets everything run that comes due. A number is milliseconds.
 *
 * @since 0.1.0
 * @category time
 */
export const advance = (duration: Duration.DurationInput): Effect.Effect<void> =>
  virtualClockWith((clock) => clock.advance(duration))

/**
 * Moves the time to a point in milliseconds, and lets everything run that comes due.
 *
 * @since 0.1.0
 * @category time
 */
export const advanceTo = (millis: number): Effect.Effect<void> => virtualClockWith((clock) => clock.advanceTo(millis))

/**
 * Moves the time to the next sleep and ends that sleep; the result is false if nothing sleeps.
 *
 * @since 0.1.0
 * @category time
 */
export const next: Effect.Effect<boolean> = virtualClockWith((clock) => clock.next)

/**
 * Moves the time from sleep to sleep until nothing sleeps any more.
 *
 * @since 0.1.0
 * @category time
 */
export const runUntilIdle: Effect.Effect<void> = virtualClockWith((clock) => clock.runUntilIdle)

/**
 * Lets all fibers run until each of them waits. The time stands still.
 *
 * @since 0.1.0
 * @category time
 */
export const settle: Effect.Effect<void> = virtualClockWith((clock) => clock.settle)
