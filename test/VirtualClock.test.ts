import { Toolkit } from "@effect/ai"
import { describe, expect, it } from "@effect/vitest"
import { Clock, Duration, Effect, Exit, Fiber, FiberRef, Layer, Option, Schedule, TestClock } from "effect"
import { Agent, AsyncTool, RunContext } from "effect-meantime"
import { ScriptedModel, TestSession, VirtualClock } from "effect-meantime/testing"

const virtual =
  (options?: VirtualClock.Options) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    Effect.provide(effect, VirtualClock.layer(options))

/** Notes what ended, and when. */
const log = () => {
  const lines: Array<string> = []
  const note = (line: string) => Effect.map(Clock.currentTimeMillis, (now) => void lines.push(`${now} ${line}`))
  const sleeper = (name: string, millis: number) => Effect.fork(Effect.zipRight(Effect.sleep(millis), note(name)))
  return { lines, note, sleeper }
}

describe("VirtualClock", () => {
  it.effect("stands still until it is moved, and begins where it is told", () =>
    Effect.gen(function* () {
      expect(yield* Clock.currentTimeMillis).toBe(1_000)
      yield* VirtualClock.settle
      expect(yield* Clock.currentTimeMillis).toBe(1_000)
      yield* VirtualClock.advance("2 seconds")
      expect(yield* Clock.currentTimeMillis).toBe(3_000)
      yield* VirtualClock.advanceTo(2_000)
      expect(yield* Clock.currentTimeMillis).toBe(3_000)
    }).pipe(virtual({ now: 1_000 }))
  )

  it.effect("tells milliseconds and nanoseconds, inside and outside of an effect", () =>
    Effect.gen(function* () {
      const clock = yield* VirtualClock.VirtualClock
      yield* VirtualClock.advance("1500 millis")
      expect(clock.unsafeCurrentTimeMillis()).toBe(1_500)
      expect(clock.unsafeCurrentTimeNanos()).toBe(1_500_000_000n)
      expect(yield* Clock.currentTimeNanos).toBe(1_500_000_000n)
      yield* VirtualClock.advance(Duration.nanos(500n))
      expect(yield* Clock.currentTimeNanos).toBe(1_500_000_500n)
    }).pipe(virtual())
  )

  it.effect("ends sleeps in the order of their times, each at its own time", () =>
    Effect.gen(function* () {
      const { lines, sleeper } = log()
      for (const millis of [30, 10, 50, 20, 40]) yield* sleeper("woke", millis)
      yield* VirtualClock.advance(45)
      expect(lines).toEqual(["10 woke", "20 woke", "30 woke", "40 woke"])
      yield* VirtualClock.advance(5)
      expect(lines).toHaveLength(5)
    }).pipe(virtual())
  )

  it.effect("ends sleeps of one time in the order in which they began", () =>
    Effect.gen(function* () {
      const { lines, sleeper } = log()
      for (const name of ["a", "b", "c", "d", "e", "f"]) yield* sleeper(name, 10)
      yield* VirtualClock.advance(10)
      expect(lines).toEqual(["10 a", "10 b", "10 c", "10 d", "10 e", "10 f"])
    }).pipe(virtual())
  )

  it.effect("of sleeps that end together the first to begin is the first to end, also where it is the longest", () =>
    Effect.gen(function* () {
      const { lines, note } = log()
      const in1s = (name: string) => Effect.zipRight(Effect.sleep(1_000), note(name))
      yield* Effect.fork(Effect.zipRight(in1s("short"), in1s("short again")))
      yield* Effect.fork(Effect.zipRight(Effect.sleep(2_000), note("long")))
      yield* VirtualClock.advance(2_000)
      expect(lines).toEqual(["1000 short", "2000 long", "2000 short again"])
    }).pipe(virtual())
  )

  it.effect("lets what a sleeper does end before the next sleep of the same time", () =>
    Effect.gen(function* () {
      const { lines, note } = log()
      const worker = (name: string) =>
        Effect.sleep(10).pipe(
          Effect.zipRight(note(`${name} woke`)),
          Effect.zipRight(Effect.yieldNow()),
          Effect.zipRight(Effect.promise(() => Promise.resolve())),
          Effect.zipRight(note(`${name} went on`)),
          Effect.fork
        )
      yield* worker("a")
      yield* worker("b")
      yield* VirtualClock.advance(10)
      expect(lines).toEqual(["10 a woke", "10 a went on", "10 b woke", "10 b went on"])
    }).pipe(virtual())
  )

  it.effect("counts the sleeps that begin while it moves", () =>
    Effect.gen(function* () {
      const { lines, note } = log()
      yield* Effect.fork(Effect.repeat(Effect.zipRight(Effect.sleep(10), note("tick")), Schedule.recurs(9)))
      yield* VirtualClock.advance(35)
      expect(lines).toEqual(["10 tick", "20 tick", "30 tick"])
      expect(yield* Clock.currentTimeMillis).toBe(35)
    }).pipe(virtual())
  )

  it.effect("a sleep of 0 gives the others their turn and needs no move", () =>
    Effect.gen(function* () {
      const { lines, note } = log()
      yield* Effect.fork(note("other"))
      yield* Effect.sleep(0)
      yield* note("slept")
      expect(lines).toEqual(["0 other", "0 slept"])
    }).pipe(virtual())
  )

  it.effect("an infinite sleep never ends and holds nothing up", () =>
    Effect.gen(function* () {
      const fiber = yield* Effect.fork(Effect.sleep(Duration.infinity))
      yield* VirtualClock.runUntilIdle
      expect(yield* Clock.currentTimeMillis).toBe(0)
      expect(Option.isNone(yield* Fiber.poll(fiber))).toBe(true)
      expect(Exit.isInterrupted(yield* Fiber.interrupt(fiber))).toBe(true)
    }).pipe(virtual())
  )

  it.effect("an interrupted sleep is gone", () =>
    Effect.gen(function* () {
      const clock = yield* VirtualClock.VirtualClock
      const { lines, sleeper } = log()
      const fibers = yield* Effect.forEach([70, 20, 50, 10, 60, 30, 40], (millis) => sleeper("woke", millis))
      yield* VirtualClock.settle
      expect(clock.unsafePending()).toBe(7)
      yield* Fiber.interrupt(fibers[1]!)
      yield* Fiber.interrupt(fibers[2]!)
      yield* Fiber.interrupt(fibers[0]!)
      expect([...(yield* TestClock.sleeps())].sort()).toEqual([10, 30, 40, 60])
      yield* VirtualClock.runUntilIdle
      expect(lines).toEqual(["10 woke", "30 woke", "40 woke", "60 woke"])
      expect(yield* Clock.currentTimeMillis).toBe(60)
    }).pipe(virtual())
  )

  it.effect("`next` moves to one sleep, `runUntilIdle` to the last", () =>
    Effect.gen(function* () {
      const { lines, sleeper } = log()
      yield* sleeper("a", 10)
      yield* sleeper("b", 10)
      yield* sleeper("c", 1_000_000)
      expect(yield* VirtualClock.next).toBe(true)
      expect(lines).toEqual(["10 a"])
      yield* VirtualClock.runUntilIdle
      expect(lines).toEqual(["10 a", "10 b", "1000000 c"])
      expect(yield* VirtualClock.next).toBe(false)
    }).pipe(virtual())
  )

  it.effect("timeouts, schedules and races work on it", () =>
    Effect.gen(function* () {
      const start = yield* Effect.fork(
        Effect.all(
          {
            timedOut: Effect.timeoutOption(Effect.never, "5 seconds"),
            inTime: Effect.timeoutOption(Effect.delay(Effect.succeed("done"), "1 second"), "5 seconds"),
            retried: Effect.flip(
              Effect.retry(Effect.fail("no"), Schedule.exponential("1 second").pipe(Schedule.upTo("1 minute")))
            ),
            raced: Effect.race(Effect.as(Effect.sleep("2 seconds"), "two"), Effect.as(Effect.sleep("1 second"), "one"))
          },
          { concurrency: "unbounded" }
        ).pipe(Effect.timed)
      )
      yield* VirtualClock.runUntilIdle
      const [took, results] = yield* Fiber.join(start)
      expect(results).toEqual({ timedOut: Option.none(), inTime: Option.some("done"), retried: "no", raced: "one" })
      expect(Duration.toSeconds(took)).toBeGreaterThan(31)
    }).pipe(virtual())
  )

  it.effect("waits for a fiber that yields thousands of times before the next sleep ends", () =>
    Effect.gen(function* () {
      const { lines, note, sleeper } = log()
      yield* Effect.fork(
        Effect.sleep(10).pipe(
          Effect.zipRight(Effect.repeatN(Effect.yieldNow(), 10_000)),
          Effect.zipRight(note("worked"))
        )
      )
      yield* sleeper("woke", 20)
      yield* VirtualClock.advance(20)
      expect(lines).toEqual(["10 worked", "20 woke"])
    }).pipe(virtual())
  )

  it.effect("twenty thousand sleeps of a millisecond are no wait", () =>
    Effect.gen(function* () {
      let ticks = 0
      const tick = Effect.zipRight(
        Effect.sleep(1),
        Effect.sync(() => ticks++)
      )
      yield* Effect.fork(Effect.forever(tick))
      yield* VirtualClock.advance("20 seconds")
      expect(ticks).toBe(20_000)
    }).pipe(virtual())
  )

  it.effect("is a TestClock to who asks for one", () =>
    Effect.gen(function* () {
      const { lines, sleeper } = log()
      yield* sleeper("a", 10)
      yield* sleeper("b", 20)
      yield* TestClock.adjust(15)
      const restore = yield* TestClock.save()
      yield* TestClock.setTime(100)
      expect(lines).toEqual(["10 a", "20 b"])
      yield* restore
      expect(yield* Clock.currentTimeMillis).toBe(15)
    }).pipe(virtual())
  )

  it.effect("with a seed, ready fibers run in another order, the same one each time", () =>
    Effect.gen(function* () {
      const orderOf = (seed: number | undefined) =>
        Effect.gen(function* () {
          const { lines, note } = log()
          yield* Effect.forEach(
            ["a", "b", "c", "d", "e", "f", "g", "h"],
            (name) => Effect.fork(Effect.zipRight(Effect.yieldNow(), note(name))),
            { discard: true }
          )
          yield* VirtualClock.settle
          return lines.join(" ")
        }).pipe(virtual(seed === undefined ? {} : { seed }))
      expect(yield* orderOf(undefined)).toBe("0 a 0 b 0 c 0 d 0 e 0 f 0 g 0 h")
      expect(yield* orderOf(1)).toBe(yield* orderOf(1))
      expect(new Set(yield* Effect.forEach([1, 2, 3, 4], orderOf)).size).toBeGreaterThan(1)
    })
  )

  it.effect("what a fiber did before it came under the clock does not count, with a seed and without", () =>
    Effect.gen(function* () {
      // a fiber has to yield after 2048 steps: those from before would be among them
      const orderAfter = (steps: number, seed: number | undefined) =>
        Effect.gen(function* () {
          const { lines, note } = log()
          yield* Effect.repeatN(Effect.void, steps)
          yield* Effect.gen(function* () {
            for (const name of ["a", "b", "c", "d"]) {
              yield* Effect.fork(Effect.zipRight(Effect.yieldNow(), note(name)))
              yield* note(`forked ${name}`)
            }
            yield* VirtualClock.settle
          }).pipe(virtual({ seed }))
          return lines.join(" ")
        })
      for (const seed of [undefined, 1, 2, 3]) {
        const orders = yield* Effect.forEach(
          Array.from({ length: 100 }, (_, i) => i * 21),
          (steps) => orderAfter(steps, seed)
        )
        expect(new Set(orders).size).toBe(1)
      }
    })
  )

  it.effect("clock and scheduler are those from before when the layer has gone", () =>
    Effect.gen(function* () {
      const inPlace = Effect.all([Effect.clock, FiberRef.get(FiberRef.currentScheduler)])
      const before = yield* inPlace
      for (const seed of [undefined, 1]) {
        const [clock, scheduler] = yield* inPlace.pipe(virtual({ seed }))
        expect(clock).not.toBe(before[0])
        expect(scheduler).not.toBe(before[1])
        const after = yield* inPlace
        expect(after[0]).toBe(before[0])
        expect(after[1]).toBe(before[1])
      }
    })
  )

  it.effect("dies where there is none, and says what to do", () =>
    Effect.gen(function* () {
      const exit = yield* Effect.exit(VirtualClock.advance(1))
      expect(String(exit)).toContain("Provide VirtualClock.layer()")
    })
  )
})

const Job = AsyncTool.make("job")
const Jobs = Toolkit.make(Job)
const JobsLive = Jobs.toLayer({
  job: () => Effect.zipRight(RunContext.update("started"), Effect.sleep("1 hour"))
})

describe("TestSession on a VirtualClock", () => {
  const script = [ScriptedModel.toolCall("job"), "It runs.", "It is done."]
  const agent = Agent.make("worker", { instructions: "You work.", tools: [Jobs] })

  it.scoped("advances, collects and closes", () =>
    Effect.gen(function* () {
      const { close, session } = yield* TestSession.make({ agent })
      const events = yield* TestSession.collect(session)
      yield* session.send("Go")
      yield* TestSession.advance("30 minutes")
      expect(yield* TestSession.said(session)).toEqual(["It runs."])
      expect(yield* session.runningTools).toHaveLength(1)
      yield* close
      expect((yield* events.tags).at(-1)).toBe("SessionClosed")
      expect(yield* Clock.currentTimeMillis).toBe(Duration.toMillis("30 minutes") + Duration.toMillis("30 seconds"))
    }).pipe(Effect.provide(Layer.merge(JobsLive, ScriptedModel.layer(script))), virtual())
  )

  it.scoped("drives what waits to its end", () =>
    Effect.gen(function* () {
      const { session } = yield* TestSession.make({ agent })
      const { items } = yield* TestSession.drive(session.run("Go"))
      expect(items.length).toBeGreaterThan(3)
      expect(yield* Clock.currentTimeMillis).toBe(Duration.toMillis("1 hour"))
      const exit = yield* Effect.exit(TestSession.drive(Effect.never))
      expect(String(exit)).toContain("this never ends")
    }).pipe(Effect.provide(Layer.merge(JobsLive, ScriptedModel.layer(script))), virtual({ seed: 7 }))
  )
})
