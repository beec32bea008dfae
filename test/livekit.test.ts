import { expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { type AsyncTool, AsyncToolset, DuplicatePolicy, RunContext } from "effect-meantime"
import { TestSession } from "effect-meantime/testing"
import { agent, call, logs, script, talk, toolset } from "./support/scopes.js"

const slow = Effect.zipRight(RunContext.update("On it."), Effect.never)
const stoppable: AsyncTool.Options = { allowCancellation: true }
const warnings = (all: ReadonlyArray<string>) => all.filter((line) => line.startsWith("WARN"))
const twice = script([[call("slow", {}, "a"), call("slow", {}, "b")], "Working."])

it.scoped("[X1] AsyncRunContext is RunContext, in code that is carried over", () =>
  Effect.gen(function* () {
    expect(RunContext.AsyncRunContext).toBe(RunContext.RunContext)
    const work = Effect.flatMap(RunContext.AsyncRunContext, (context) => context.update("carried over"))
    const test = yield* talk({ agent: agent("front", { works: { work } }) })
    yield* test.say("Work")
    expect((yield* test.outputs)[0]?.[1]).toContain("carried over")
  }).pipe(script([call("work"), "Working."]))
)

it.scoped("[X2] onDuplicateCall logs one warning when the toolset's scope is built, and not before", () => {
  const log = logs()
  return Effect.gen(function* () {
    const set = toolset("old", { slow: [stoppable, slow], other: [stoppable, slow] }, { onDuplicateCall: "reject" })
    const Front = agent("front", { sets: [set] })
    yield* TestSession.settle
    expect(log.all).toEqual([])
    const test = yield* talk({ agent: agent("first") })
    yield* TestSession.settle
    expect(log.all).toEqual([])
    yield* test.session.handoff(Front)
    yield* test.say("Work")
    expect(warnings(log.all)).toHaveLength(1)
    expect(warnings(log.all)[0]).toContain("onDuplicateCall")
    expect(warnings(log.all)[0]).toContain("old")
    expect(warnings(log.all)[0]).toContain("DuplicatePolicy.layer")
  }).pipe(twice, Effect.provide(log.layer))
})

it.scoped("[X2] it is the mode of the contained tools, in the same way as DuplicatePolicy.layer", () =>
  Effect.gen(function* () {
    const works = { slow: [stoppable, slow] as const }
    const deprecated = toolset("set", works, { onDuplicateCall: "reject" })
    const written = toolset("set", works).pipe(AsyncToolset.provide(DuplicatePolicy.layer("reject")))
    for (const set of [deprecated, written]) {
      const test = yield* Effect.scoped(
        Effect.gen(function* () {
          const test = yield* talk({ agent: agent("front", { sets: [set] }) })
          yield* test.say("Work")
          return { running: yield* test.running, outputs: yield* test.outputs }
        })
      ).pipe(twice)
      expect(test.running).toEqual(["a"])
      expect(test.outputs[1]?.[1]).toContain("already running")
    }
  }).pipe(Effect.provide(logs().layer))
)

it.scoped("[X2] a tool that sets a mode of its own keeps it; nested toolsets take it over", () =>
  Effect.gen(function* () {
    const nested = toolset("nested", { deep: [stoppable, slow] })
    const own = toolset("own", { slow: [{ ...stoppable, onDuplicate: "allow" }, slow] })
    const set = AsyncToolset.make("set", [nested, own], { onDuplicateCall: "reject" })
    const test = yield* talk({ agent: agent("front", { sets: [set] }) })
    yield* test.say("Work")
    expect(yield* test.running).toEqual(["a", "b", "c"])
  }).pipe(
    script([[call("slow", {}, "a"), call("slow", {}, "b"), call("deep", {}, "c"), call("deep", {}, "d")], "Working."]),
    Effect.provide(logs().layer)
  )
)

it.scoped("[X2] it wins over the policy of the agent, and says nothing of tools outside the toolset", () =>
  Effect.gen(function* () {
    const set = toolset("set", { slow: [stoppable, slow] }, { onDuplicateCall: "reject" })
    const Front = agent("front", { sets: [set], works: { outside: [stoppable, slow] } })
    const test = yield* talk({ agent: Front })
    yield* test.say("Work")
    expect(yield* test.running).toEqual(["a", "x", "y"])
  }).pipe(
    script([
      [call("slow", {}, "a"), call("slow", {}, "b"), call("outside", {}, "x"), call("outside", {}, "y")],
      "Working."
    ]),
    Effect.provide(logs().layer)
  )
)

it.scoped("[X2] onDuplicateCall replace cancels the running call, as on LiveKit", () =>
  Effect.gen(function* () {
    const set = toolset("set", { slow: [stoppable, slow] }, { onDuplicateCall: "replace" })
    const test = yield* talk({ agent: agent("front"), tools: [set] })
    yield* test.say("Work")
    expect(yield* test.running).toEqual(["b"])
    expect(yield* test.ended).toEqual([["a", "cancelled"]])
  }).pipe(twice, Effect.provide(logs().layer))
)
