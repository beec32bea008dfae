import { Tool, Toolkit } from "@effect/ai"
import { expect } from "@effect/vitest"
import { Cause, Duration, Effect, Exit, FastCheck as fc, Layer, Option } from "effect"
import { Agent, AgentOutput, AgentSession, AsyncTool, AsyncToolset, RunContext } from "effect-meantime"
import { AiSdkModel } from "effect-meantime/ai-sdk"
import { ScriptedModel, TestSession, VirtualClock } from "effect-meantime/testing"
import { describe } from "vitest"
import { logs } from "./support/scopes.js"
import { it } from "./support/virtual.js"

type Numbers = Readonly<Record<string, unknown>>
type Built = (options: Numbers) => Effect.Effect<unknown, unknown, never>

/** What building died with; none if it was built. */
const defectOf = (built: Effect.Effect<unknown, unknown>): Effect.Effect<Option.Option<unknown>> =>
  Effect.map(
    Effect.exit(built),
    Exit.match({
      onSuccess: () => Option.none(),
      onFailure: (cause) => Option.orElse(Cause.dieOption(cause), () => expect.fail(Cause.pretty(cause)))
    })
  )

const tool = (options: Numbers) => {
  const toolkit = Toolkit.make(AsyncTool.make("look", options as AsyncTool.Options))
  return { toolkit, live: toolkit.toLayer({ look: () => Effect.void }) }
}

const front = Agent.make("front", { instructions: "" })
const session = (options: Numbers) =>
  AgentSession.make({ agent: front, ...options }).pipe(Effect.scoped, Effect.provide(ScriptedModel.layer([])))

const inTool = (annotate: boolean) => (options: Numbers) => {
  const { live, toolkit } = tool(options)
  const old = Toolkit.make(Tool.make("look").annotate(AsyncTool.Annotations, options as AsyncTool.Options))
  return session({
    agent: Agent.make("front", { instructions: "", tools: [annotate ? old : toolkit] }).pipe(
      Agent.provide(annotate ? old.toLayer({ look: () => Effect.void }) : live)
    )
  })
}

const sdkModel: AiSdkModel.SdkModel = {
  specificationVersion: "v3",
  provider: "none",
  modelId: "m",
  doGenerate: () => Promise.reject(new Error("not asked")),
  doStream: () => Promise.reject(new Error("not asked"))
}

const handlerContext = (use: (context: RunContext.Service) => Effect.Effect<unknown>) =>
  Effect.gen(function* () {
    let exit: Exit.Exit<unknown> | undefined
    const toolkit = Toolkit.make(AsyncTool.make("look"))
    const agent = Agent.make("front", { instructions: "", tools: [toolkit] }).pipe(
      Agent.provide(
        toolkit.toLayer({
          look: () =>
            Effect.flatMap(RunContext.RunContext, use).pipe(
              Effect.exit,
              Effect.flatMap((ended) => {
                exit = ended
                return Effect.asVoid(ended)
              })
            )
        })
      )
    )
    const test = yield* TestSession.make({ agent })
    yield* test.session.send("Go")
    yield* TestSession.settle
    // the session stands
    expect((yield* test.session.history).items.filter((item) => item._tag === "FunctionCallOutput")).toHaveLength(1)
    return yield* exit as unknown as Exit.Exit<unknown>
  }).pipe(Effect.scoped, Effect.provide([ScriptedModel.layer([ScriptedModel.toolCall("look"), "Done."]), logs().layer]))

/** `least`: the smallest that is taken. `infinite`: Infinity means that there is no bound. */
interface Count {
  readonly kind: "count"
  readonly least: number
  readonly infinite: boolean
}
interface Time {
  readonly kind: "time"
  readonly zero: boolean
}
interface Rate {
  readonly kind: "rate"
}

interface Case {
  readonly rules: string
  readonly owner: string
  readonly option: string
  readonly takes: Count | Time | Rate
  readonly build: Built
  readonly tag?: "ToolOptionsError"
  /** each value has a conversation of its own */
  readonly slow?: boolean
}

const atLeast = (least: number): Count => ({ kind: "count", least, infinite: true })
const bounding: Count = { kind: "count", least: 1, infinite: false }
const time: Time = { kind: "time", zero: true }
const someTime: Time = { kind: "time", zero: false }

const filler = (options: Numbers) => ({ say: "Hm.", interval: "1 second", ...options }) as RunContext.FillerOptions
const set = (options: Numbers) => AsyncToolset.make("booking", Toolkit.make(), options)

const cases: ReadonlyArray<Case> = [
  ...(
    [
      ["L3, T10", "maxToolSteps", atLeast(0)],
      ["L3, U6", "maxPendingUpdates", bounding],
      ["L3, T12", "maxRunning", bounding],
      ["L3, G3", "maxMessages", bounding],
      ["L3, E2", "eventBuffer", bounding],
      ["L3, U4", "maxOutputLength", bounding],
      ["L3, U9", "releaseAfter", time],
      ["L3, S2", "drainTimeout", time],
      ["L3, C1", "cancellationTimeout", time]
    ] as const
  ).map(([rules, option, takes]): Case => ({ rules, owner: "the session", option, takes, build: session })),
  {
    rules: "L3, T12",
    owner: 'agent "front"',
    option: "maxConcurrency",
    takes: atLeast(1),
    build: (options) => session({ agent: Agent.make("front", { instructions: "", ...options }) })
  },
  {
    rules: "L3, T12",
    owner: 'toolset "booking"',
    option: "maxConcurrency",
    takes: atLeast(1),
    build: (options) => session({ tools: [set(options)] })
  },
  {
    rules: "L3, T12",
    owner: 'toolset "booking"',
    option: "maxConcurrency",
    takes: atLeast(1),
    build: (options) =>
      session({ agent: Agent.make("front", { instructions: "", tools: [AsyncToolset.make("outer", set(options))] }) })
  },
  ...(["releaseAfter", "timeout"] as const).flatMap((option) =>
    [
      inTool(false),
      inTool(true),
      (options: Numbers) => {
        const { live, toolkit } = tool(options)
        return AsyncTool.execute(toolkit, { name: "look", arguments: {} }).pipe(Effect.provide(live))
      }
    ].map(
      (build): Case => ({
        rules: option === "timeout" ? "L3, T12" : "L3, U9",
        owner: 'Tool "look"',
        option,
        takes: option === "timeout" ? someTime : time,
        build,
        tag: "ToolOptionsError"
      })
    )
  ),
  ...(
    [
      ["delay", time],
      ["interval", someTime],
      ["maxSteps", atLeast(0)]
    ] as const
  ).flatMap(([option, takes]) =>
    [
      (options: Numbers) => handlerContext((context) => context.withFiller(Effect.void, filler(options))),
      (options: Numbers) => RunContext.test().withFiller(Effect.void, filler(options))
    ].map(
      (build, i): Case => ({ rules: "L3, F6", owner: "RunContext.withFiller", option, takes, build, slow: i === 0 })
    )
  ),
  {
    rules: "L3, O2",
    owner: "AgentOutput.layerPaced",
    option: "charactersPerSecond",
    takes: { kind: "rate" },
    build: (options) => Effect.scoped(Layer.build(AgentOutput.layerPaced(options)))
  },
  ...[
    (options: Numbers) => Effect.scoped(Layer.build(AiSdkModel.layer(sdkModel, options))),
    (options: Numbers) => AiSdkModel.make(sdkModel, options),
    (options: Numbers) => AiSdkModel.makeLanguageModel(sdkModel, options)
  ].map(
    (build): Case => ({
      rules: "L3",
      owner: 'AiSdkModel "none m"',
      option: "maxRetries",
      takes: atLeast(0),
      build
    })
  ),
  ...(
    [
      ["text", "pace", (options: Numbers) => ScriptedModel.text("a", options)],
      ["reasoning", "pace", (options: Numbers) => ScriptedModel.reasoning("a", options)],
      ["wait", "duration", ({ duration }: Numbers) => ScriptedModel.wait(duration as Duration.DurationInput)]
    ] as const
  ).flatMap(([name, option, content]) =>
    [
      (options: Numbers) => Effect.scoped(Layer.build(ScriptedModel.layer(["a", ["b", content(options)]]))),
      (options: Numbers) =>
        Effect.flatMap(ScriptedModel.make([]), ({ service }) => service.push(["b", content(options)]))
    ].map((build): Case => ({ rules: "L3", owner: `ScriptedModel.${name}`, option, takes: time, build }))
  )
]

const noNumber = fc.constantFrom<unknown>(null, true, "", "many", "3", {}, [], [1], [1, 2, 3], Symbol.iterator, () => 1)
const negative = fc.oneof(
  fc.integer({ max: -1 }),
  fc.double({ max: -Number.MIN_VALUE, noNaN: true }),
  fc.constant(Number.NEGATIVE_INFINITY)
)
const fraction = fc.double({ min: 0, max: 1e9, noNaN: true }).filter((n) => !Number.isInteger(n))

const wrong = (takes: Case["takes"]): fc.Arbitrary<unknown> => {
  const nan = fc.constant<unknown>(Number.NaN)
  switch (takes.kind) {
    case "count":
      return fc.oneof(
        noNumber,
        nan,
        negative,
        fraction,
        fc.integer({ max: takes.least - 1 }),
        fc.constant(2 ** 60),
        fc.constantFrom<unknown>(3n, ...(takes.infinite ? [] : [Number.POSITIVE_INFINITY]))
      )
    case "time":
      return fc.oneof(
        noNumber,
        nan,
        negative,
        fc.bigInt({ max: -1n }),
        fc.constantFrom<unknown>(
          "-1 seconds",
          "NaN seconds",
          "Infinity seconds",
          "1e3 seconds",
          "1 fortnight",
          [Number.NaN, 0],
          [0, Number.NaN],
          [-1, 5],
          [0, -1],
          [Number.NEGATIVE_INFINITY, 0],
          ["1", 0],
          { seconds: 1 },
          ...(takes.zero ? [] : [0, -0, 0n, "0 seconds", "0.0 millis", [0, 0], Duration.zero])
        )
      )
    case "rate":
      return fc.oneof(noNumber, nan, negative, fc.constantFrom<unknown>(0, -0, Number.MIN_VALUE, 3n))
  }
}

const right = (takes: Case["takes"]): fc.Arbitrary<unknown> => {
  switch (takes.kind) {
    case "count":
      return fc.oneof(
        fc.integer({ min: takes.least }),
        fc.constantFrom<unknown>(
          undefined,
          takes.least,
          Number.MAX_SAFE_INTEGER,
          ...(takes.infinite ? [Number.POSITIVE_INFINITY] : [])
        )
      )
    case "time":
      return fc.oneof(
        fc.integer({ min: 1 }),
        fraction.filter((n) => n > 1),
        fc.constantFrom<unknown>(
          1n,
          "1.5 seconds",
          "2 days",
          [1, 2],
          [1, -1],
          Number.POSITIVE_INFINITY,
          Duration.infinity,
          Duration.minutes(1),
          ...(takes.zero ? [undefined, 0, -0, 0n, "0 seconds", [0, 0], Duration.zero] : [])
        )
      )
    case "rate":
      return fc.oneof(
        fc.double({ min: 0.001, noNaN: true }),
        fc.constantFrom<unknown>(undefined, 1, 0.5, Number.POSITIVE_INFINITY)
      )
  }
}

const valuesOf = (from: fc.Arbitrary<unknown>, slow: boolean): ReadonlyArray<unknown> =>
  fc.sample(from, { numRuns: slow ? 12 : 40, seed: 3 })

describe("options that are no sensible numbers", () => {
  for (const { build, option, owner, rules, slow = false, tag = "OptionsError", takes } of cases) {
    it.effect(`[${rules}] ${owner}: ${option} is refused by name`, () =>
      Effect.forEach(valuesOf(wrong(takes), slow), (value) =>
        Effect.map(
          defectOf(build({ [option]: value })),
          Option.match({
            onNone: () => expect.fail(`${String(value)} was taken`),
            onSome: (defect) => {
              expect(defect).toMatchObject({ _tag: tag })
              expect(defect).toBeInstanceOf(
                tag === "OptionsError" ? AgentSession.OptionsError : AsyncTool.ToolOptionsError
              )
              if (tag === "OptionsError") expect(defect).toMatchObject({ owner, option })
              expect(String(defect)).toContain(owner)
              expect(String(defect)).toContain(option)
            }
          })
        )
      )
    )

    it.effect(`[${rules}] ${owner}: ${option} is taken if it is one`, () =>
      Effect.forEach(valuesOf(right(takes), slow), (value) =>
        Effect.map(defectOf(build({ [option]: value })), (defect) =>
          expect(Option.getOrUndefined(defect), String(value)).toBeUndefined()
        )
      )
    )
  }

  it.effect("[L3] the message says what is taken, and what was given", () =>
    Effect.gen(function* () {
      const message = (options: Numbers) =>
        Effect.map(defectOf(session(options)), (defect) => String(Option.getOrThrow(defect)))
      expect(yield* message({ maxRunning: Number.NaN })).toBe(
        "OptionsError: The option maxRunning of the session has to be a whole number of at least 1, not NaN."
      )
      expect(yield* message({ eventBuffer: Number.POSITIVE_INFINITY })).toBe(
        "OptionsError: The option eventBuffer of the session has to be a whole number of at least 1, not Infinity: it " +
          "bounds what is kept in memory."
      )
      expect(yield* message({ drainTimeout: "soon" })).toBe(
        "OptionsError: The option drainTimeout of the session has to be a time of at least 0, as milliseconds or as text " +
          'such as "5 seconds", not "soon".'
      )
      // what cannot be looked at is no time either
      const { proxy, revoke } = Proxy.revocable({}, {})
      revoke()
      expect(yield* message({ drainTimeout: proxy })).toContain("not an object")
    })
  )

  it.effect("[L3] what was acquired before is released, and a hand-off to a wrong agent is refused", () => {
    const log = logs()
    return Effect.gen(function* () {
      const released: Array<string> = []
      const held = Layer.scopedDiscard(Effect.addFinalizer(() => Effect.sync(() => void released.push("released"))))
      const first = AsyncToolset.make("first", Toolkit.make()).pipe(AsyncToolset.provide(held))
      yield* defectOf(session({ tools: [first, set({ maxConcurrency: -1 })] }))
      expect(released).toEqual(["released"])

      const wrong = Agent.make("wrong", { instructions: "", maxConcurrency: 0 })
      const exit = yield* Effect.exit(handlerContext((context) => Effect.orDie(context.handoff(wrong))))
      expect(String(exit)).toContain('The agent \\"wrong\\" is not available.')
    }).pipe(Effect.provide(log.layer))
  })

  it.effect("[L3] a step that is computed is looked at when it is", () =>
    Effect.gen(function* () {
      const { languageModel } = yield* ScriptedModel.make(() => ScriptedModel.wait(Number.NaN))
      expect(Option.getOrUndefined(yield* defectOf(languageModel.generateText({ prompt: "Hi" })))).toMatchObject({
        _tag: "OptionsError",
        owner: "ScriptedModel.wait"
      })
    })
  )

  it.effect("[L3, K1] a virtual clock begins at a number, with a whole number for its seed", () =>
    Effect.gen(function* () {
      for (const [option, wrong, right] of [
        ["now", [Number.NaN, Number.POSITIVE_INFINITY, "0", null], [0, -5, 1.5, undefined]],
        ["seed", [Number.NaN, Number.POSITIVE_INFINITY, 0.5, "0", null], [0, -5, 2 ** 40, undefined]]
      ] as const) {
        for (const value of wrong) {
          const options = { [option]: value } as VirtualClock.Options
          expect(Option.getOrUndefined(yield* defectOf(VirtualClock.make(options)))).toMatchObject({ option })
          expect(
            Option.getOrUndefined(yield* defectOf(Effect.void.pipe(Effect.provide(VirtualClock.layer(options)))))
          ).toMatchObject({
            _tag: "OptionsError",
            owner: "VirtualClock"
          })
          expect(() => VirtualClock.unsafeMake(options)).toThrow(AgentSession.OptionsError)
        }
        for (const value of right) {
          const options = { [option]: value } as VirtualClock.Options
          expect(Option.isNone(yield* defectOf(VirtualClock.make(options)))).toBe(true)
        }
      }
    })
  )
})
