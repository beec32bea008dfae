/**
 * Drives a session in virtual time: builds it, moves the clock, reads the conversation and the events, and closes it
 * without a wait. Use it under `TestClock`, as in `it.scoped` of `@effect/vitest`, or under a `VirtualClock`, which is
 * faster if many sleeps come due.
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Agent } from "effect-meantime"
 * import { ScriptedModel, TestSession } from "effect-meantime/testing"
 *
 * const Greeter = Agent.make("greeter", { instructions: "You greet." })
 *
 * const program = Effect.gen(function* () {
 *   const { session } = yield* TestSession.make({ agent: Greeter })
 *   const events = yield* TestSession.collect(session)
 *   yield* session.send("Hi")
 *   yield* TestSession.advance("2 seconds")
 *   return { said: yield* TestSession.said(session), ended: yield* events.filter("SpeechEnded") }
 * }).pipe(Effect.scoped, Effect.provide(ScriptedModel.layer([[ScriptedModel.wait("1 second"), "Hello!"]])))
 * ```
 *
 * @since 0.1.0
 */
import * as LanguageModel from "@effect/ai/LanguageModel"
import type * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Scheduler from "effect/Scheduler"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/TestClock"
import type { Agent, RequirementsOf } from "../Agent.js"
import * as AgentSession from "../AgentSession.js"
import type { Entries, HandlersOf } from "../AsyncToolset.js"
import type { FunctionCall, FunctionCallOutput } from "../ChatContext.js"
import { itemLine } from "../internal/testing/lines.js"
import type { SessionEvent } from "../SessionEvent.js"
import { isVirtualClock } from "./VirtualClock.js"

// -------------------------------------------------------------------------------------
// models
// -------------------------------------------------------------------------------------

/**
 * A session that a test can close.
 *
 * @since 0.1.0
 * @category models
 */
export interface TestSession {
  readonly session: AgentSession.Service
  /**
   * Closes the session's scope and moves the clock until the session is closed, so calls that closing waits for get
   * their time. A second `close` does nothing.
   */
  readonly close: Effect.Effect<void>
}

/**
 * The events of a session since `collect`. Each of the effects first lets the session settle.
 *
 * @since 0.1.0
 * @category models
 */
export interface Collected {
  readonly all: Effect.Effect<ReadonlyArray<SessionEvent>>
  readonly tags: Effect.Effect<ReadonlyArray<SessionEvent["_tag"]>>
  /** The events with one of these tags, in order. */
  readonly filter: <const Tag extends SessionEvent["_tag"]>(
    ...tags: ReadonlyArray<Tag>
  ) => Effect.Effect<ReadonlyArray<Extract<SessionEvent, { readonly _tag: Tag }>>>
  /** Forgets the events so far. */
  readonly clear: Effect.Effect<void>
}

// -------------------------------------------------------------------------------------
// time
// -------------------------------------------------------------------------------------

// Fibers run on microtasks, so all that can run has run once a timer fires. The scheduler itself puts in a timer after
// a long stretch: hence more than one round.
const timer = Effect.withScheduler(Effect.yieldNow(), Scheduler.timer(0))

// cheaper than a timer, and behind all microtasks as well
const immediate = Effect.withScheduler(
  Effect.yieldNow(),
  Scheduler.make((task) => setImmediate(task))
)

const round = Effect.zipRight(immediate, timer)

/** How many models of the outside world are answering, for each clock that has some. */
const answering = new WeakMap<Clock.Clock, { count: number }>()

/** Waits while a model of the outside world answers, and until what it said has had its effect. */
const quiet: Effect.Effect<void> = Effect.clockWith((clock) => {
  const outside = answering.get(clock)
  if (outside === undefined) return Effect.void
  const wait: Effect.Effect<void> = Effect.suspend(() =>
    outside.count === 0 ? Effect.void : Effect.zipRight(round, wait)
  )
  return Effect.zipRight(wait, round).pipe(Effect.repeat({ until: () => outside.count === 0 }))
})

/**
 * Lets every fiber run until each of them waits for something: the clock, a queue, a promise. The clock stands still.
 *
 * @since 0.1.0
 * @category time
 */
export const settle: Effect.Effect<void> = Effect.clockWith((clock) =>
  Effect.zipRight(isVirtualClock(clock) ? clock.settle : Effect.zipRight(round, immediate), quiet)
)

/**
 * Moves the clock, and lets all fibers that came due run until they wait again. A number is milliseconds.
 *
 * @since 0.1.0
 * @category time
 */
export const advance = (duration: Duration.DurationInput): Effect.Effect<void> =>
  Effect.clockWith((clock) =>
    answering.has(clock) && isTestClock(clock)
      ? stepTo(clock, duration)
      : isVirtualClock(clock)
        ? clock.advance(duration)
        : Effect.zipRight(TestClock.adjust(duration), round)
  )

/** From one sleep that is due to the next, so that each answer comes at the time at which it was asked for. */
const stepTo = Effect.fnUntraced(function* (clock: TestClock.TestClock, duration: Duration.DurationInput) {
  yield* settle
  const end = clock.unsafeCurrentTimeMillis() + Duration.toMillis(duration)
  while (true) {
    const due = Math.min(...(yield* clock.sleeps))
    yield* clock.setTime(Math.min(due, end))
    yield* settle
    if (due > end) return
  }
})

/**
 * Puts a model that is reached over a network into a test in virtual time: the `TestClock` stands still while the model
 * answers. So a conversation with a real provider takes only the time that its tools take, and that time is the same in
 * each run. The model itself must not wait for the clock: a client that repeats a request after a while would wait for
 * ever.
 *
 * ```ts
 * import { OpenAiClient, OpenAiLanguageModel } from "@effect/ai-openai"
 * import { NodeHttpClient } from "@effect/platform-node"
 * import { Config, Layer } from "effect"
 * import { TestSession } from "effect-meantime/testing"
 *
 * const Real = OpenAiLanguageModel.model("gpt-5-mini").pipe(
 *   Layer.provide(OpenAiClient.layerConfig({ apiKey: Config.redacted("OPENAI_API_KEY") })),
 *   Layer.provide(NodeHttpClient.layerUndici),
 *   TestSession.outside
 * )
 * ```
 *
 * @since 0.1.0
 * @category time
 */
export const outside = <A, E, R>(layer: Layer.Layer<A, E, R>): Layer.Layer<A, E, R> =>
  Layer.flatMap(layer, (context) =>
    Layer.effectContext(
      Effect.clockWith((clock) => {
        const outside = answering.get(clock) ?? { count: 0 }
        answering.set(clock, outside)
        const model = Context.getOption(context as Context.Context<any>, LanguageModel.LanguageModel)
        return Effect.succeed(
          Option.isNone(model)
            ? context
            : (Context.add(context, LanguageModel.LanguageModel, counted(model.value, outside)) as Context.Context<any>)
        )
      })
    )
  )

const counted = (model: LanguageModel.Service, outside: { count: number }): LanguageModel.Service => {
  const answers = Effect.acquireRelease(
    Effect.sync(() => {
      outside.count++
    }),
    () =>
      Effect.sync(() => {
        outside.count--
      })
  )
  return {
    generateText: (options: any) => Effect.scoped(Effect.zipRight(answers, model.generateText(options))),
    generateObject: (options: any) => Effect.scoped(Effect.zipRight(answers, model.generateObject(options))),
    streamText: (options: any) => Stream.unwrapScoped(Effect.as(answers, model.streamText(options)))
  } as LanguageModel.Service
}

/**
 * Runs an effect to its end, for instance `session.waitForIdle`, while the clock goes from one sleep to the next. If
 * nothing sleeps and the effect still does not end, `drive` dies with a message instead of hanging. If the clock cannot
 * be moved, the effect runs as it is.
 *
 * @since 0.1.0
 * @category time
 */
export const drive = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.clockWith((clock) =>
    isTestClock(clock)
      ? Effect.acquireUseRelease(
          // no child of this fiber: an effect that cannot be interrupted must not hold up the end of the test
          Effect.forkDaemon(Effect.interruptible(effect)),
          (fiber) => Effect.flatten(moveUntilDone(clock, fiber)),
          Fiber.interruptFork
        )
      : effect
  )

const isTestClock = (clock: Clock.Clock): clock is TestClock.TestClock => Predicate.hasProperty(clock, "setTime")

/** False if nothing sleeps. */
const moveToNext = (clock: TestClock.TestClock): Effect.Effect<boolean> =>
  isVirtualClock(clock)
    ? clock.next
    : Effect.flatMap(clock.sleeps, (sleeps) => {
        const due = Math.min(...sleeps)
        return Number.isFinite(due) ? Effect.as(clock.setTime(due), true) : Effect.succeed(false)
      })

/** How often to look again if nothing sleeps: promises of the outside may be on their way. */
const patience = 100

const moveUntilDone = Effect.fnUntraced(function* <A, E>(clock: TestClock.TestClock, fiber: Fiber.RuntimeFiber<A, E>) {
  // some seconds of real time either way
  const maxJumps = isVirtualClock(clock) ? 500_000 : 5_000
  let waited = 0
  let jumps = 0
  yield* settle
  while (true) {
    const exit = yield* Fiber.poll(fiber)
    if (Option.isSome(exit)) return exit.value
    if (yield* moveToNext(clock)) {
      if (++jumps > maxJumps) {
        return yield* Effect.dieMessage(`TestSession: gave up after the clock was moved ${maxJumps} times`)
      }
      waited = 0
      yield* quiet
    } else {
      if (++waited > patience) {
        return yield* Effect.dieMessage(
          "TestSession: this never ends: no fiber waits for the clock, and something waits for what does not happen"
        )
      }
      yield* settle
    }
  }
})

// -------------------------------------------------------------------------------------
// constructors
// -------------------------------------------------------------------------------------

/**
 * Builds a session in a scope of its own, so that the test can close it. The surrounding scope closes the session at
 * the latest. In both cases the clock moves while the session closes, so the test does not hang on calls that still
 * run.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <R, const T extends Entries = [], const A extends ReadonlyArray<Agent<any>> = []>(
  options: AgentSession.Options<R, T, A>
): Effect.Effect<
  TestSession,
  never,
  R | RequirementsOf<A> | HandlersOf<T[number]> | LanguageModel.LanguageModel | Scope.Scope
> =>
  Effect.gen(function* () {
    const scope = yield* Scope.make()
    const close = drive(Effect.uninterruptible(Scope.close(scope, Exit.void)))
    yield* Effect.addFinalizer(() => close)
    const session = yield* Scope.extend(AgentSession.make(options), scope)
    return { session, close }
  })

/**
 * Collects the events of a session from now on, until the surrounding scope closes.
 *
 * @since 0.1.0
 * @category constructors
 */
export const collect = (session: Pick<AgentSession.Service, "events">): Effect.Effect<Collected, never, Scope.Scope> =>
  Effect.gen(function* () {
    let events: Array<SessionEvent> = []
    yield* session.events.pipe(
      Stream.runForEach((event) => Effect.sync(() => events.push(event))),
      Effect.interruptible,
      Effect.forkScoped
    )
    // the fiber has subscribed once it waits
    yield* settle
    const all = Effect.map(settle, () => [...events])
    return {
      all,
      tags: Effect.map(all, (events) => events.map((event) => event._tag)),
      filter: <Tag extends SessionEvent["_tag"]>(...tags: ReadonlyArray<Tag>) =>
        Effect.map(all, (events) =>
          events.filter((event): event is Extract<SessionEvent, { readonly _tag: Tag }> =>
            (tags as ReadonlyArray<string>).includes(event._tag)
          )
        ),
      clear: Effect.map(settle, () => {
        events = []
      })
    }
  })

// -------------------------------------------------------------------------------------
// reading
// -------------------------------------------------------------------------------------

type WithHistory = Pick<AgentSession.Service, "history">

/**
 * What the assistant said, in order; an interrupted message as far as it was played.
 *
 * @since 0.1.0
 * @category reading
 */
export const said = (session: WithHistory): Effect.Effect<ReadonlyArray<string>> => texts(session, "assistant")

/**
 * What the user said, in order.
 *
 * @since 0.1.0
 * @category reading
 */
export const heard = (session: WithHistory): Effect.Effect<ReadonlyArray<string>> => texts(session, "user")

/**
 * The calls that are recorded, in order: those that the model asked for, and those of later updates and results.
 *
 * @since 0.1.0
 * @category reading
 */
export const calls = (session: WithHistory): Effect.Effect<ReadonlyArray<FunctionCall>> =>
  Effect.map(session.history, ({ items }) => items.filter((item) => item._tag === "FunctionCall"))

/**
 * The outputs of calls that are recorded, in order: outputs, updates and results.
 *
 * @since 0.1.0
 * @category reading
 */
export const outputs = (session: WithHistory): Effect.Effect<ReadonlyArray<FunctionCallOutput>> =>
  Effect.map(session.history, ({ items }) => items.filter((item) => item._tag === "FunctionCallOutput"))

const texts = (session: WithHistory, role: "assistant" | "user") =>
  Effect.map(session.history, ({ items }) =>
    items.flatMap((item) => {
      if (item._tag !== "Message" || item.role !== role) return []
      // a file of the model's is a message without a word
      return item.text === "" && item.files !== undefined ? [] : [item.text]
    })
  )

/**
 * The whole history as lines, one for each item: how long after the first item it came (minutes and seconds), and what
 * it is. Short enough for an assertion.
 *
 * ```text
 * 0:00  user: Book a flight.
 * 0:00  call call_1: book_flight({"to":"Oslo"})
 * 0:00  output call_1: "Searching."
 * 0:00  assistant: I am on it.
 * 0:10  call call_1_final: book_flight({"to":"Oslo"})
 * 0:10  output call_1_final: "Booked."
 * 0:10  assistant: It is booked.
 * ```
 *
 * @since 0.1.0
 * @category reading
 */
export const transcript = (session: WithHistory): Effect.Effect<string> =>
  Effect.map(session.history, ({ items }) => {
    const start = items[0]?.createdAt ?? 0
    return items.map((item) => `${elapsed(item.createdAt - start)}  ${itemLine(item)}`).join("\n")
  })

const elapsed = (millis: number): string => {
  const seconds = Math.floor(millis / 1000)
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`
}
