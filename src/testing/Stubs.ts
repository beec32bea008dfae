/**
 * Stands in for the handlers of some tools, in a test: outcomes one after another, or a function of the arguments. The
 * handlers of all other tools stay, and what was called is recorded.
 *
 * ```ts
 * import { Toolkit } from "@effect/ai"
 * import { Effect, Schema } from "effect"
 * import { Agent, AsyncTool } from "effect-meantime"
 * import { Outcome, ScriptedModel, Stubs, stubs, TestSession } from "effect-meantime/testing"
 *
 * const Book = AsyncTool.make("book", { parameters: { to: Schema.String }, success: Schema.String })
 * const Travel = Agent.make("travel", { instructions: "You book.", tools: [Toolkit.make(Book)] })
 *
 * const program = Effect.gen(function* () {
 *   const { session } = yield* TestSession.make({ agent: Travel })
 *   yield* session.send("To Oslo, please.")
 *   yield* TestSession.advance("1 minute")
 *   return { called: yield* Stubs.calls, said: yield* TestSession.said(session) }
 * }).pipe(
 *   Effect.scoped,
 *   Effect.provide([
 *     stubs({ book: [Outcome.withUpdates(["Searching."], Outcome.after("20 seconds", Outcome.success("Booked.")))] }),
 *     ScriptedModel.layer([ScriptedModel.toolCall("book", { to: "Oslo" }), "I search.", "It is booked."])
 *   ])
 * )
 * ```
 *
 * @since 0.1.0
 */
import type * as Tool from "@effect/ai/Tool"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type { ToolCall } from "../ChatContext.js"
import { toContext } from "../internal/scope/handlers.js"
import { die, guarded } from "../internal/values/guarded.js"
import { copyPlain } from "../internal/values/json.js"
import { errorIn, ofScript } from "../internal/values/options.js"
import * as RunContext from "../RunContext.js"
import { OptionsError } from "../Tags.js"

// -------------------------------------------------------------------------------------
// models
// -------------------------------------------------------------------------------------

/**
 * What becomes of a call. Made with the functions of the value of the same name.
 *
 * @since 0.1.0
 * @category models
 */
export type Outcome =
  | { readonly _tag: "Success"; readonly value: unknown }
  | { readonly _tag: "Failure"; readonly error: unknown }
  | { readonly _tag: "Defect"; readonly cause: unknown }
  | { readonly _tag: "Never" }
  | { readonly _tag: "After"; readonly duration: Duration.DurationInput; readonly outcome: Outcome }
  | { readonly _tag: "WithUpdates"; readonly messages: ReadonlyArray<unknown>; readonly outcome: Outcome }

/**
 * A stub: the outcomes of a tool's calls, in the order in which their handlers start; or a function of the arguments,
 * decoded as a handler gets them, and of the call.
 *
 * @since 0.1.0
 * @category models
 */
export type Stub = ReadonlyArray<Outcome> | ((args: any, call: ToolCall) => Outcome)

// -------------------------------------------------------------------------------------
// tags
// -------------------------------------------------------------------------------------

/**
 * What the stubs were called with. A layer of `stubs` provides it; stubs inside of its scope, such as those of an agent,
 * record there as well. `stubs({})` only records.
 *
 * @since 0.1.0
 * @category tags
 */
export class Stubs extends Context.Tag("effect-meantime/testing/Stubs")<
  Stubs,
  {
    /** The calls so far, in the order in which their handlers started; the arguments as the model sent them. */
    readonly calls: Effect.Effect<ReadonlyArray<ToolCall>>
    /** Adds a call. */
    readonly record: (call: ToolCall) => Effect.Effect<void>
  }
>() {
  /** The calls so far, in the order in which their handlers started; the arguments as the model sent them. */
  static readonly calls: Effect.Effect<ReadonlyArray<ToolCall>, never, Stubs> = Effect.flatMap(
    Stubs,
    ({ calls }) => calls
  )
}

// -------------------------------------------------------------------------------------
// outcomes
// -------------------------------------------------------------------------------------

/**
 * Outcomes of calls. `after` and `withUpdates` take another outcome, so they can be put around each other.
 *
 * @since 0.1.0
 * @category constructors
 */
export const Outcome: {
  /** The handler returns this value: not encoded, as its type says. */
  readonly success: (value: unknown) => Outcome
  /** The handler fails with this error: a `ToolError`, or what the tool's `failure` schema takes. */
  readonly failure: (error: unknown) => Outcome
  /** The handler dies. */
  readonly defect: (cause: unknown) => Outcome
  /** The handler does not end by itself. */
  readonly never: Outcome
  /** The outcome after a time of Effect's `Clock`; a number is milliseconds. */
  readonly after: (duration: Duration.DurationInput, outcome: Outcome) => Outcome
  /** First these updates, one right after another, as `RunContext.update` sends them. */
  readonly withUpdates: (messages: ReadonlyArray<unknown>, outcome: Outcome) => Outcome
} = {
  success: (value) => ({ _tag: "Success", value }),
  failure: (error) => ({ _tag: "Failure", error }),
  defect: (cause) => ({ _tag: "Defect", cause }),
  never: { _tag: "Never" },
  after: (duration, outcome) => ({ _tag: "After", duration, outcome }),
  withUpdates: (messages, outcome) => ({ _tag: "WithUpdates", messages, outcome })
}

// -------------------------------------------------------------------------------------
// layers
// -------------------------------------------------------------------------------------

/**
 * Handlers of the tools that it names. Given to the test as a whole, to a session, an agent or a toolset, they stand in
 * front of the real handlers there and in all scopes inside; those of an inner scope win. All other tools keep theirs.
 *
 * If the list of a tool is used up, its next call dies with an error that names the tool. What a function throws, or returns in
 * place of an outcome, is a defect of the call. What is no list of outcomes, and a duration that cannot be read, is an
 * `AgentSession.OptionsError`: the layer dies with it when it is built, a function's call when it is made.
 *
 * A sequence and the record of calls begin anew with each time that the layer is built, so tests in parallel share
 * neither; sessions under one layer share both. The layers of an agent are built whenever it takes over.
 *
 * @since 0.1.0
 * @category layers
 */
export const stubs = <const O extends Record<string, Stub>>(
  outcomes: O
): Layer.Layer<{ [Name in keyof O & string]: Tool.Handler<Name> }[keyof O & string] | Stubs> =>
  Layer.effectContext(
    Effect.contextWithEffect((context: Context.Context<never>) =>
      Effect.suspend(() => {
        for (const [tool, stub] of Object.entries(outcomes)) {
          const problem = problemOf(stub)
          if (problem !== undefined) return Effect.die(new OptionsError({ owner: "stubs", option: tool, problem }))
          const odd = typeof stub === "function" ? undefined : stub.map(oddTime).find((error) => error !== undefined)
          if (odd !== undefined) return Effect.die(odd)
        }
        const recorder = Option.getOrElse(Context.getOption(context as Context.Context<Stubs>, Stubs), makeRecorder)
        const handlers = Object.fromEntries(
          Object.entries(outcomes).map(([tool, stub]) => [tool, handlerOf(tool, stub, recorder)])
        ) as Record<keyof O & string, (args: unknown) => Effect.Effect<unknown, unknown>>
        return Effect.succeed(Context.add(toContext(handlers, context), Stubs, recorder))
      })
    )
  )

const makeRecorder = (): Context.Tag.Service<Stubs> => {
  const calls: Array<ToolCall> = []
  return {
    calls: Effect.sync(() => [...calls]),
    record: (call) => Effect.sync(() => void calls.push(call))
  }
}

const handlerOf = (tool: string, stub: Stub, own: Context.Tag.Service<Stubs>) => {
  const outcomes = typeof stub === "function" ? undefined : [...stub]
  let called = 0
  const next = (args: unknown, call: ToolCall): Outcome => {
    const n = called++
    if (typeof stub === "function") return stub(args, call)
    const outcome = outcomes?.[n]
    if (outcome !== undefined) return outcome
    throw new Error(`The stub of "${tool}" has run out: it has ${plural(stub.length)}, and this is call ${n + 1}.`)
  }
  return (args: unknown): Effect.Effect<unknown, unknown> =>
    Effect.contextWithEffect((context: Context.Context<never>) => {
      // where @effect/ai itself runs a toolkit, there is no such context
      const run = Option.getOrElse(
        Context.getOption(context as Context.Context<RunContext.RunContext>, RunContext.RunContext),
        () => RunContext.test({ call: { callId: "call", name: tool, arguments: args } })
      )
      // layers beside each other have a record each; the one that is in force has all calls
      const recorder = Option.getOrElse(Context.getOption(context as Context.Context<Stubs>, Stubs), () => own)
      const call = run.call
      return Effect.zipRight(
        recorder.record({ ...call, arguments: copyPlain(call.arguments) }),
        Effect.suspend(() =>
          guarded(
            () => {
              const outcome = next(args, call)
              if (!isOutcome(outcome)) throw new TypeError(`The stub of "${tool}" gave no outcome.`)
              const odd = oddTime(outcome)
              return odd === undefined ? perform(outcome, run) : Effect.die(odd)
            },
            (thrown) => die(thrown)
          )
        )
      )
    })
}

const plural = (count: number): string => (count === 1 ? "one outcome" : `${count} outcomes`)

const perform = (outcome: Outcome, run: RunContext.Service): Effect.Effect<unknown, unknown> => {
  switch (outcome._tag) {
    case "Success":
      return Effect.succeed(outcome.value)
    case "Failure":
      return Effect.fail(outcome.error)
    case "Defect":
      return die(outcome.cause)
    case "Never":
      return Effect.never
    case "After":
      return Effect.zipRight(Effect.sleep(outcome.duration), perform(outcome.outcome, run))
    case "WithUpdates":
      return Effect.zipRight(
        Effect.forEach(outcome.messages, (message) => run.update(message), { discard: true }),
        perform(outcome.outcome, run)
      )
  }
}

// -------------------------------------------------------------------------------------
// what is no stub
// -------------------------------------------------------------------------------------

const problemOf = (stub: unknown): string | undefined => {
  if (typeof stub === "function") return undefined
  if (!isArray(stub)) return "has to be a list of outcomes, or a function that gives one"
  const at = stub.findIndex((outcome) => !isOutcome(outcome))
  return at < 0 ? undefined : `has something in it that is no outcome, at ${at}: write Outcome.success(…) and the like`
}

const isArray = (u: unknown): u is ReadonlyArray<unknown> =>
  guarded(
    () => Array.isArray(u),
    // a proxy that has been revoked
    () => false
  )

const isOutcome = (u: unknown): u is Outcome =>
  guarded(
    () => {
      if (typeof u !== "object" || u === null) return false
      const { messages, outcome, _tag } = u as Readonly<Record<string, unknown>>
      switch (_tag) {
        case "Success":
        case "Failure":
        case "Defect":
        case "Never":
          return true
        case "After":
          return isOutcome(outcome)
        case "WithUpdates":
          return Array.isArray(messages) && isOutcome(outcome)
        default:
          return false
      }
    },
    () => false
  )

const oddTime = (outcome: Outcome): OptionsError | undefined => {
  switch (outcome._tag) {
    case "After":
      return errorIn("Outcome.after", outcome, ofScript) ?? oddTime(outcome.outcome)
    case "WithUpdates":
      return oddTime(outcome.outcome)
    default:
      return undefined
  }
}
