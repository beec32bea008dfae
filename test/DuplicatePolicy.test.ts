import { isDeepStrictEqual } from "node:util"
import { Tool, Toolkit } from "@effect/ai"
import { describe, expect, it } from "@effect/vitest"
import {
  Context,
  Deferred,
  Effect,
  Exit,
  FastCheck as fc,
  identity,
  Layer,
  ParseResult,
  Ref,
  Schema,
  Stream
} from "effect"
import { Agent, AsyncTool, AsyncToolset, DuplicatePolicy, RunContext, SessionModel, ToolPrompts } from "effect-meantime"
import { ScriptedModel, TestSession } from "effect-meantime/testing"
import {
  call,
  cancel,
  collector,
  ends,
  journal,
  open,
  outputOf,
  runningIds,
  say,
  slowly,
  turns,
  watched,
  work,
  workshop,
  workTool
} from "./support/journal.js"
import { scoped } from "./support/virtual.js"

const { advance, settle } = TestSession
const verdict = {
  run: { _tag: "Run" },
  join: { _tag: "Join" },
  replace: { _tag: "Replace" },
  refuse: (message: string) => ({ _tag: "Refuse", message }) as const
} as const
const policy = (
  decide: (
    n: number,
    running: ReadonlyArray<number>
  ) => DuplicatePolicy.Verdict | Effect.Effect<DuplicatePolicy.Verdict>
) =>
  DuplicatePolicy.make((asked, running) => {
    const n = (args: unknown) => (args as { readonly n: number }).n
    const decided = decide(
      n(asked.arguments),
      running.map((other) => n(other.arguments))
    )
    return Effect.isEffect(decided) ? decided : Effect.succeed(decided)
  })

/** A call of `work` with n = 1, then another turn with n = 2 and one with n = 1 again. */
const three = { first: work(1, "a"), second: work(2, "b"), third: work(1, "c") }

const inBackground = (n: number) => Effect.zipRight(RunContext.update(`at ${n}`), slowly(n))

describe("modes", () => {
  scoped("[P1] allow, the default, runs equal calls side by side", () =>
    Effect.gen(function* () {
      const log = journal()
      const { events, session } = yield* workshop({
        turns: { go: [work(1, "a"), work(1, "b")] },
        handler: watched(log)
      })
      yield* say(session, "go")
      expect(log.lines).toEqual(["0 start 1", "0 start 1"])
      yield* advance("10 seconds")
      expect((yield* ends(events)).toSorted()).toEqual(["a done", "b done"])
    })
  )

  scoped("[P1] by default the same tool with other arguments is a duplicate", () =>
    Effect.gen(function* () {
      const { events, session } = yield* workshop({ turns: three, tool: { onDuplicate: "reject" } })
      yield* say(session, "first", "second")
      expect(yield* ends(events)).toEqual(["b done"])
      expect(yield* runningIds(session)).toEqual(["a"])
    })
  )

  for (const mode of ["reject", "confirm", "replace"] as const) {
    scoped(`[P1] ${mode} with name_and_args lets other arguments run and takes equal ones for duplicates`, () =>
      Effect.gen(function* () {
        const { events, session } = yield* workshop({
          turns: three,
          tool: { onDuplicate: mode, duplicateScope: "name_and_args", allowCancellation: true }
        })
        yield* say(session, "first", "second")
        expect(yield* runningIds(session)).toEqual(["a", "b"])
        yield* say(session, "third")
        expect(yield* ends(events)).toEqual([mode === "replace" ? "a cancelled" : "c done"])
        expect(yield* runningIds(session)).toEqual(mode === "replace" ? ["b", "c"] : ["a", "b"])
      })
    )
  }

  scoped("[P1] join compares the arguments too, unless it is told not to", () =>
    Effect.gen(function* () {
      const log = journal()
      const config = { turns: three, handler: watched(log) }
      const { session } = yield* workshop({ ...config, tool: { onDuplicate: "join" } })
      yield* say(session, "first", "second", "third")
      expect(log.lines).toEqual(["0 start 1", "0 start 2"])
      log.lines.length = 0
      const other = yield* workshop({ ...config, tool: { onDuplicate: "join", duplicateScope: "name" } })
      yield* say(other.session, "first", "second", "third")
      expect(log.lines).toEqual(["0 start 1"])
    })
  )

  scoped("[P1] calls of two tools are no duplicates, whatever their arguments", () =>
    Effect.gen(function* () {
      const other = AsyncTool.make("other", { parameters: { n: Schema.Number }, success: Schema.String })
      const tools = Toolkit.make(workTool(), other)
      const agent = Agent.make("worker", { instructions: "You work.", tools: [tools] }).pipe(
        Agent.provide(tools.toLayer({ work: ({ n }) => slowly(n), other: ({ n }) => slowly(n) })),
        Agent.provide(DuplicatePolicy.layer("reject", { scope: "name_and_args" }))
      )
      const { session } = yield* open(turns({ go: [work(1, "a"), call("other", { n: 1 }, "b")] }), { agent })
      yield* say(session, "go")
      expect(yield* runningIds(session)).toEqual(["a", "b"])
    })
  )

  scoped("[P1] a call that has ended is no duplicate, even if its reply is still to come", () =>
    Effect.gen(function* () {
      const { events, session } = yield* workshop({
        turns: three,
        tool: { onDuplicate: "reject" },
        handler: (n) => Effect.zipRight(RunContext.update("on it"), Effect.as(Effect.sleep("1 second"), `result ${n}`))
      })
      yield* say(session, "first")
      const listening = yield* Deferred.make<void>()
      yield* Effect.forkScoped(Effect.scoped(Effect.zipRight(session.claimUserTurn, Deferred.await(listening))))
      yield* advance("1 second")
      expect(yield* ends(events)).toEqual(["a done"])
      expect(yield* events.filter("ReplyScheduled")).toEqual([])
      yield* say(session, "second")
      expect(yield* runningIds(session)).toEqual(["b"])
      yield* Deferred.succeed(listening, undefined)
    })
  )
})

describe("reject", () => {
  scoped("[P2] answers with the template, does not run, and the model replies to it in the same turn", () =>
    Effect.gen(function* () {
      const log = journal()
      const { events, requests, session } = yield* workshop({
        turns: three,
        tool: { onDuplicate: "reject" },
        handler: watched(log),
        provide: ToolPrompts.layer({ duplicateReject: "No: {toolName} is at work. {runningText}" })
      })
      yield* say(session, "first", "second")
      expect(log.lines).toEqual(["0 start 1"])
      const answer = yield* outputOf(session, "b")
      expect(answer).toMatchObject({ isError: false })
      expect(answer?.output).toContain("No: work is at work.")
      expect(answer?.output).toContain("a")
      expect(yield* events.filter("ToolCallEnded")).toMatchObject([{ callId: "b", id: "b", status: "done" }])
      const last = (yield* requests).at(-1)!
      expect(ScriptedModel.toolResults(last).find(({ id }) => id === "b")).toMatchObject({ isFailure: false })
      expect(yield* TestSession.said(session)).toEqual(["Noted."])
      yield* advance("10 seconds")
      expect(log.lines).toEqual(["0 start 1", "10 end 1"])
    })
  )

  scoped("[P2] a template that throws is replaced by the default, with an error in the log", () =>
    Effect.gen(function* () {
      const { layer, logged } = collector()
      const { session } = yield* workshop({
        turns: three,
        tool: { onDuplicate: "reject" },
        provide: ToolPrompts.layer({
          duplicateReject: () => {
            throw new Error("secret of the template")
          }
        })
      }).pipe(Effect.provide(layer))
      yield* say(session, "first", "second")
      const answer = yield* outputOf(session, "b")
      expect(answer).toEqual({ output: expect.stringContaining("work"), isError: false })
      expect(answer?.output).not.toContain("secret")
      expect(logged).toHaveLength(1)
      expect(logged[0]).toMatch(/^ERROR .*duplicateReject/)
    })
  )

  scoped("[P2] a refused call has one start, one end and one output", () =>
    Effect.gen(function* () {
      const { events, session } = yield* workshop({ turns: three, tool: { onDuplicate: "reject" } })
      yield* say(session, "first", "second")
      yield* advance("1 minute")
      const mine = (yield* events.all).filter((event) => "callId" in event && event.callId === "b")
      expect(mine.map((event) => event._tag)).toEqual(["ToolCallEnded"])
      expect((yield* events.filter("ToolCallStarted")).map(({ call }) => call.callId)).toEqual(["a", "b"])
      expect(yield* outputOf(session, "b")).toBeDefined()
    })
  )

  scoped("[P2] the template is given the running calls", () =>
    Effect.gen(function* () {
      const given: Array<ToolPrompts.DuplicateArgs> = []
      const { session } = yield* workshop({
        turns: three,
        tool: { onDuplicate: "reject" },
        provide: ToolPrompts.layer({
          duplicateReject: (args) => {
            given.push(args)
            return "no"
          }
        })
      })
      yield* say(session, "first", "second")
      expect(given).toMatchObject([{ toolName: "work", running: [{ callId: "a", name: "work", arguments: { n: 1 } }] }])
      expect(yield* outputOf(session, "b")).toEqual({ output: "no", isError: false })
    })
  )
})

describe("confirm", () => {
  const confirm = { onDuplicate: "confirm" } as const
  const again = (id: string, value?: boolean | null) =>
    work(2, id, value === undefined ? {} : { confirm_duplicate: value })

  scoped("[P2] answers until the model calls again with the flag; null, false and absent do not confirm", () =>
    Effect.gen(function* () {
      const seen: Array<unknown> = []
      const toolkit = Toolkit.make(workTool(confirm))
      const agent = Agent.make("worker", { instructions: "You work.", tools: [toolkit] }).pipe(
        Agent.provide(
          toolkit.toLayer({
            work: (params) => {
              seen.push(params)
              return slowly(params.n)
            }
          })
        ),
        Agent.provide(ToolPrompts.layer({ duplicateConfirm: "Sure?" }))
      )
      const { events, session } = yield* open(
        turns({ first: work(1, "a"), x: again("b"), y: again("c", null), z: again("d", false), yes: again("e", true) }),
        { agent }
      )
      yield* say(session, "first", "x", "y", "z")
      for (const id of ["b", "c", "d"])
        expect(yield* outputOf(session, id)).toEqual({ output: "Sure?", isError: false })
      expect(yield* ends(events)).toEqual(["b done", "c done", "d done"])
      yield* say(session, "yes")
      expect(yield* runningIds(session)).toEqual(["a", "e"])
      expect(seen).toEqual([{ n: 1 }, { n: 2 }])
      expect((yield* TestSession.calls(session)).at(-1)).toMatchObject({ arguments: { n: 2, confirm_duplicate: true } })
    })
  )

  scoped("[P2] with nothing running the flag changes nothing", () =>
    Effect.gen(function* () {
      const { session } = yield* workshop({ turns: { a: again("a", true), b: again("b", true) }, tool: confirm })
      yield* say(session, "a")
      expect(yield* runningIds(session)).toEqual(["a"])
      yield* advance("10 seconds")
      expect(yield* outputOf(session, "a")).toEqual({ output: "result 2", isError: false })
    })
  )

  scoped("[P2] the flag is no part of the arguments that are compared", () =>
    Effect.gen(function* () {
      const { events, session } = yield* workshop({
        turns: {
          a: again("a", true),
          b: again("b", null),
          c: again("c"),
          d: work(3, "d", { confirm_duplicate: null })
        },
        tool: { ...confirm, duplicateScope: "name_and_args" }
      })
      yield* say(session, "a", "b", "c", "d")
      expect(yield* ends(events)).toEqual(["b done", "c done"])
      expect(yield* runningIds(session)).toEqual(["a", "d"])
    })
  )

  scoped("[P2] a tool that refuses unknown parameters gets none of ours", () =>
    Effect.gen(function* () {
      const strict = AsyncTool.make("work", { success: Schema.String, ...confirm, background: "model" }).setParameters(
        Schema.Struct({ n: Schema.Number }).annotations({ parseOptions: { onExcessProperty: "error" } })
      )
      const toolkit = Toolkit.make(strict)
      const agent = Agent.make("worker", { instructions: "You work.", tools: [toolkit] }).pipe(
        Agent.provide(toolkit.toLayer({ work: ({ n }) => Effect.succeed(`result ${n}`) }))
      )
      const flags = { confirm_duplicate: true, run_in_background: false }
      const { session } = yield* open(turns({ go: work(1, "a", flags), bad: work(1, "b", { more: 1 }) }), { agent })
      yield* say(session, "go", "bad")
      expect(yield* outputOf(session, "a")).toEqual({ output: "result 1", isError: false })
      expect(yield* outputOf(session, "b")).toMatchObject({ isError: true })
    })
  )

  const schemaOf = (tool: AsyncTool.Options, provide: Layer.Layer<never> = Layer.empty) =>
    Effect.gen(function* () {
      const { requests, session } = yield* workshop({ turns: {}, tool, provide })
      yield* say(session, "hello")
      const [request] = yield* requests
      return request?.tools.find(({ name }) => name === "work")?.jsonSchema as unknown as {
        readonly properties: Record<string, unknown>
        readonly required: ReadonlyArray<string>
      }
    })
  const nullableBoolean = { anyOf: expect.arrayContaining([{ type: "boolean" }, { type: "null" }]) }

  scoped("[P2] the schema of a confirm tool has the flag as a required and nullable boolean", () =>
    Effect.gen(function* () {
      const own = yield* schemaOf(confirm)
      expect(own.properties).toMatchObject({ n: { type: "number" }, confirm_duplicate: nullableBoolean })
      expect(own.required).toEqual(["n", "confirm_duplicate"])
      expect(yield* schemaOf({}, DuplicatePolicy.layer("confirm"))).toEqual(own)
      const both = yield* schemaOf({ ...confirm, background: "model" })
      expect(both.properties).toMatchObject({ confirm_duplicate: nullableBoolean, run_in_background: nullableBoolean })
      expect(both.required).toEqual(expect.arrayContaining(["n", "confirm_duplicate", "run_in_background"]))
    })
  )

  scoped("[P2] the schemas of other tools do not have it", () =>
    Effect.gen(function* () {
      for (const onDuplicate of ["allow", "reject", "replace", "join"] as const) {
        expect(Object.keys((yield* schemaOf({ onDuplicate })).properties)).toEqual(["n"])
        expect(Object.keys((yield* schemaOf({ onDuplicate }, DuplicatePolicy.layer("confirm"))).properties)).toEqual([
          "n"
        ])
      }
    })
  )

  scoped("[P2] a tool of @effect/ai becomes a confirm tool by an annotation or by a layer", () =>
    Effect.gen(function* () {
      const Plain = Tool.make("work", { parameters: { n: Schema.Number }, success: Schema.String })
      const Annotated = Plain.annotate(AsyncTool.Annotations, confirm)
      for (const [tool, layer] of [
        [Annotated, Layer.empty],
        [Plain, DuplicatePolicy.layer("confirm")]
      ] as const) {
        const toolkit = Toolkit.make(tool)
        const agent = Agent.make("worker", { instructions: "You work.", tools: [toolkit] }).pipe(
          Agent.provide(toolkit.toLayer({ work: ({ n }) => Effect.orDie(slowly(n) as Effect.Effect<string, any>) })),
          Agent.provide(layer)
        )
        const { session } = yield* open(turns({ a: work(1, "a"), b: again("b"), c: again("c", true) }), { agent })
        yield* say(session, "a", "b", "c")
        expect(yield* runningIds(session)).toEqual(["a", "c"])
      }
    })
  )
})

describe("replace", () => {
  const replace = { onDuplicate: "replace", allowCancellation: true } as const

  scoped("[P2] interrupts the running call, waits until its finalizers have run, then runs", () =>
    Effect.gen(function* () {
      const log = journal()
      const { events, session } = yield* workshop({
        turns: three,
        tool: replace,
        handler: watched(log, slowly, Effect.sleep("3 seconds"))
      })
      yield* say(session, "first")
      yield* advance("2 seconds")
      yield* say(session, "second")
      yield* advance("2 seconds")
      expect(yield* ends(events)).toEqual([])
      yield* advance("20 seconds")
      expect(log.lines).toEqual(["0 start 1", "2 stop 1", "5 clean 1", "5 start 2", "15 end 2"])
      expect(yield* ends(events)).toEqual(["a cancelled", "b done"])
      expect(yield* outputOf(session, "b")).toEqual({ output: "result 2", isError: false })
    })
  )

  scoped("[P2] the second of two calls in one step takes the place of the first, which is told so", () =>
    Effect.gen(function* () {
      const log = journal()
      const { events, requests, session } = yield* workshop({
        turns: { go: [work(1, "a"), work(2, "b")] },
        tool: replace,
        handler: watched(log),
        provide: ToolPrompts.layer({ ended: "{callId} {how}" })
      })
      yield* say(session, "go")
      yield* advance("10 seconds")
      expect(yield* ends(events)).toEqual(["a cancelled", "b done"])
      expect(ScriptedModel.toolResults((yield* requests).at(-1)!)).toMatchObject([
        { id: "a", result: "a replaced", isFailure: false },
        { id: "b", result: "result 2", isFailure: false }
      ])
    })
  )

  scoped("[P2] a call that is replaced in the background gets its last item, and no reply", () =>
    Effect.gen(function* () {
      const { events, session } = yield* workshop({
        turns: three,
        tool: replace,
        handler: inBackground,
        provide: ToolPrompts.layer({ ended: "{callId} {how}" })
      })
      yield* say(session, "first", "second")
      expect(yield* outputOf(session, "a_final")).toEqual({ output: "a replaced", isError: false })
      yield* advance("1 minute")
      const covered = (yield* events.filter("ReplyScheduled")).flatMap(({ updateIds }) => updateIds)
      expect(covered).toEqual(["b_final"])
    })
  )

  scoped("[P2] where the running call may not be cancelled, the new one gets an error and nothing is interrupted", () =>
    Effect.gen(function* () {
      const log = journal()
      const { events, session } = yield* workshop({
        turns: three,
        tool: { onDuplicate: "replace" },
        handler: watched(log)
      })
      yield* say(session, "first", "second")
      expect(yield* outputOf(session, "b")).toMatchObject({ isError: true })
      expect(yield* ends(events)).toEqual(["b error"])
      yield* advance("10 seconds")
      expect(log.lines).toEqual(["0 start 1", "10 end 1"])
    })
  )

  scoped("[P2] where one of several may not be cancelled, none of them is interrupted", () =>
    Effect.gen(function* () {
      const log = journal()
      const { events, session } = yield* workshop({
        turns: three,
        tool: { allowCancellation: true },
        provide: policy((_, running) => (running.length === 2 ? verdict.replace : verdict.run)),
        handler: watched(log, (n) => (n === 2 ? RunContext.commit(Effect.orDie(slowly(n) as any)) : slowly(n)) as any)
      })
      yield* say(session, "first", "second", "third")
      expect(yield* ends(events)).toEqual(["c error"])
      yield* advance("10 seconds")
      expect(log.lines.toSorted()).toEqual(["0 start 1", "0 start 2", "10 end 1", "10 end 2"])
    })
  )

  scoped("[P2] several running calls are all replaced, and the last finalizer is waited for", () =>
    Effect.gen(function* () {
      const log = journal()
      const { events, session } = yield* workshop({
        turns: { go: [work(1, "a"), work(3, "b")], third: work(4, "c") },
        tool: { allowCancellation: true },
        provide: policy((_, running) => (running.length === 2 ? verdict.replace : verdict.run)),
        handler: (n) => watched(log, slowly, Effect.sleep(n * 1000))(n)
      })
      yield* say(session, "go", "third")
      yield* advance("2 seconds")
      expect(yield* runningIds(session)).toEqual(["b", "c"])
      yield* advance("1 second")
      expect(log.lines.slice(-3)).toEqual(["1 clean 1", "3 clean 3", "3 start 4"])
      expect(yield* ends(events)).toEqual(["a cancelled", "b cancelled"])
    })
  )

  scoped("[P2] a running call that is still stopping after cancellationTimeout costs the new one an error", () =>
    Effect.gen(function* () {
      const log = journal()
      const { events, session } = yield* workshop({
        turns: three,
        tool: replace,
        handler: watched(log, slowly, Effect.sleep("30 seconds")),
        options: { cancellationTimeout: "4 seconds" }
      })
      yield* say(session, "first", "second")
      yield* advance("3999 millis")
      expect(yield* outputOf(session, "b")).toBeUndefined()
      yield* advance("1 millis")
      expect(yield* outputOf(session, "b")).toMatchObject({ isError: true })
      expect(yield* ends(events)).toEqual(["b error"])
      yield* advance("1 minute")
      expect(log.lines).toEqual(["0 start 1", "0 stop 1", "30 clean 1"])
      expect(yield* ends(events)).toEqual(["b error", "a cancelled"])
      yield* say(session, "third")
      expect(yield* runningIds(session)).toEqual(["c"])
    })
  )

  scoped("[P2] a third call waits its turn while the second waits for the first one's finalizer", () =>
    Effect.gen(function* () {
      const log = journal()
      const { events, session } = yield* workshop({
        turns: { first: work(1, "a"), second: work(2, "b"), third: work(3, "c") },
        tool: replace,
        handler: watched(log, slowly, Effect.sleep("3 seconds"))
      })
      yield* say(session, "first", "second")
      yield* advance("1 second")
      yield* say(session, "third")
      yield* advance("1 second")
      expect(log.lines).toEqual(["0 start 1", "0 stop 1"])
      yield* advance("1 minute")
      expect((yield* ends(events)).toSorted()).toEqual(["a cancelled", "b cancelled", "c done"])
      const order = log.lines.map((line) => line.slice(line.indexOf(" ") + 1))
      expect(order.indexOf("clean 1")).toBeLessThan(order.indexOf("start 3"))
      if (order.includes("start 2")) expect(order.indexOf("clean 2")).toBeLessThan(order.indexOf("start 3"))
      expect(order.filter((line) => line.startsWith("end"))).toEqual(["end 3"])
    })
  )

  scoped("[P2] a third call goes on when the waiting second one is cancelled", () =>
    Effect.gen(function* () {
      const log = journal()
      const { events, session } = yield* workshop({
        turns: { first: work(1, "a"), second: work(2, "b"), third: work(3, "c") },
        tool: replace,
        handler: watched(log, slowly, Effect.sleep("3 seconds"))
      })
      yield* say(session, "first", "second", "third")
      yield* session.cancelTool("b")
      expect(yield* ends(events)).toEqual(["b cancelled"])
      yield* advance("3 seconds")
      expect(log.lines).toEqual(["0 start 1", "0 stop 1", "3 clean 1", "3 start 3"])
    })
  )

  scoped("[P2] a third call that is cancelled while it waits never runs", () =>
    Effect.gen(function* () {
      const log = journal()
      const { events, session } = yield* workshop({
        turns: { first: work(1, "a"), second: work(2, "b"), third: work(3, "c") },
        tool: replace,
        handler: watched(log, slowly, Effect.sleep("3 seconds"))
      })
      yield* say(session, "first", "second", "third")
      yield* session.cancelTool("c")
      yield* advance("1 minute")
      expect(log.lines).toEqual(["0 start 1", "0 stop 1", "3 clean 1", "3 start 2", "13 end 2"])
      expect(yield* ends(events)).toEqual(["c cancelled", "a cancelled", "b done"])
    })
  )

  scoped("[P2] a call that is being cancelled already is waited for like one that is replaced", () =>
    Effect.gen(function* () {
      const log = journal()
      const { events, session } = yield* workshop({
        turns: three,
        tool: replace,
        handler: watched(log, slowly, Effect.sleep("3 seconds")),
        provide: ToolPrompts.layer({ ended: "{callId} {how}" })
      })
      yield* say(session, "first")
      yield* Effect.forkScoped(session.cancelTool("a"))
      yield* advance("1 second")
      yield* say(session, "second")
      yield* advance("1 minute")
      expect(log.lines).toEqual(["0 start 1", "0 stop 1", "3 clean 1", "3 start 2", "13 end 2"])
      expect(yield* outputOf(session, "a")).toEqual({ output: "a cancelled", isError: false })
      expect(yield* ends(events)).toEqual(["a cancelled", "b done"])
    })
  )

  scoped("[P2] the time that a call waits for another one to stop is not of its own timeout", () =>
    Effect.gen(function* () {
      const log = journal()
      const { events, session } = yield* workshop({
        turns: three,
        tool: { ...replace, timeout: "11 seconds" },
        handler: watched(log, slowly, Effect.sleep("3 seconds"))
      })
      yield* say(session, "first", "second")
      yield* advance("1 minute")
      expect(log.lines.slice(-2)).toEqual(["3 start 2", "13 end 2"])
      expect(yield* ends(events)).toEqual(["a cancelled", "b done"])
    })
  )

  scoped("[P2] a call that still waits when the session closes never runs", () =>
    Effect.gen(function* () {
      const log = journal()
      const { close, events, session } = yield* workshop({
        turns: { first: work(1, "a"), second: work(2, "b"), third: work(3, "c") },
        tool: replace,
        handler: watched(log, slowly, Effect.sleep("3 seconds"))
      })
      yield* say(session, "first", "second", "third")
      yield* close
      expect(log.lines).toEqual(["0 start 1", "0 stop 1", "3 clean 1"])
      expect((yield* ends(events)).toSorted()).toEqual(["a cancelled", "b cancelled", "c cancelled"])
    })
  )

  scoped("[P2] a call that still waits when its agent hands over never runs", () =>
    Effect.gen(function* () {
      const log = journal()
      const { events, session } = yield* workshop({
        turns: three,
        tool: replace,
        handler: watched(log, slowly, Effect.sleep("3 seconds"))
      })
      yield* say(session, "first", "second")
      yield* TestSession.drive(session.handoff(Agent.make("other", { instructions: "You help." })))
      yield* advance("1 minute")
      expect(log.lines).toEqual(["0 start 1", "0 stop 1", "3 clean 1"])
      expect((yield* ends(events)).toSorted()).toEqual(["a cancelled", "b cancelled"])
    })
  )

  scoped("[P2] two calls that wait for one that does not stop both get an error, and it stops in the end", () =>
    Effect.gen(function* () {
      const log = journal()
      const { events, session } = yield* workshop({
        turns: { first: work(1, "a"), second: work(2, "b"), third: work(3, "c") },
        tool: replace,
        handler: watched(log, slowly, Effect.sleep("30 seconds")),
        options: { cancellationTimeout: "4 seconds" }
      })
      yield* say(session, "first", "second", "third")
      yield* advance("1 minute")
      expect(yield* ends(events)).toEqual(["b error", "c error", "a cancelled"])
      expect(log.lines).toEqual(["0 start 1", "0 stop 1", "30 clean 1"])
    })
  )

  scoped("[P2] of many calls in one step only the last one is left", () =>
    Effect.gen(function* () {
      const log = journal()
      const ids = Array.from({ length: 30 }, (_, i) => `${i}`)
      const { events, session } = yield* workshop({
        turns: { go: ids.map((id) => work(1, id)) },
        tool: replace,
        handler: watched(log)
      })
      yield* say(session, "go")
      yield* advance("10 seconds")
      expect((yield* ends(events)).filter((end) => !end.endsWith("cancelled"))).toEqual(["29 done"])
      expect(log.lines.filter((line) => line.includes("end"))).toHaveLength(1)
      expect((yield* TestSession.outputs(session)).map(({ callId }) => callId)).toEqual(ids)
    })
  )

  scoped("[P2] a queued call is replaced before it has begun", () =>
    Effect.gen(function* () {
      const log = journal()
      const { events, session } = yield* workshop({
        turns: { go: [work(1, "a"), work(2, "b")], again: work(2, "c") },
        tool: { ...replace, duplicateScope: "name_and_args" },
        handler: watched(log),
        maxConcurrency: 1
      })
      yield* say(session, "go", "again")
      expect(yield* ends(events)).toEqual(["b cancelled"])
      yield* advance("20 seconds")
      expect(log.lines).toEqual(["0 start 1", "10 end 1", "10 start 2", "20 end 2"])
      expect(yield* ends(events)).toEqual(["b cancelled", "a done", "c done"])
    })
  )

  scoped("[P2] a call that ends by itself while it is replaced makes room as well", () =>
    Effect.gen(function* () {
      const log = journal()
      const { events, session } = yield* workshop({
        turns: three,
        tool: replace,
        handler: watched(log, (n) => (n === 1 ? Effect.uninterruptible(slowly(n)) : slowly(n))),
        options: { cancellationTimeout: "20 seconds" }
      })
      yield* say(session, "first")
      yield* advance("4 seconds")
      yield* say(session, "second")
      yield* advance("6 seconds")
      expect(log.lines).toContain("10 start 2")
      expect((yield* ends(events)).filter((end) => end.startsWith("a"))).toHaveLength(1)
    })
  )

  scoped("[P2] a call whose speech disallows interruptions is not replaced while the speech lasts", () =>
    Effect.gen(function* () {
      const { events, session } = yield* workshop({ turns: three, tool: replace })
      yield* session.send("first", { allowInterruptions: false })
      yield* settle
      yield* session.send("second")
      yield* settle
      expect(yield* ends(events)).toEqual(["b error"])
      expect(yield* runningIds(session)).toEqual(["a"])
    })
  )

  scoped("[P2] a call that is replaced before it has begun does nothing", () =>
    Effect.gen(function* () {
      const log = journal()
      const toolkit = Toolkit.make(workTool(replace))
      const agent = Agent.make("worker", { instructions: "You work.", tools: [toolkit] }).pipe(
        Agent.provide(toolkit.toLayer({ work: ({ n }) => Effect.as(log.note(`did ${n}`), `result ${n}`) }))
      )
      const params = (n: number, id: string) =>
        ({ type: "tool-call", id, name: "work", params: { n }, providerExecuted: false }) as const
      const finish = { type: "finish", reason: "stop", usage: {} } as any
      let steps = 0
      // both calls in one chunk: the second is there before the first has begun
      const model = SessionModel.SessionModel.of({
        stream: () => Stream.fromIterable(steps++ === 0 ? [params(1, "a"), params(2, "b"), finish] : [finish])
      })
      const { events, session } = yield* open([], {
        agent: agent.pipe(Agent.provide(Layer.succeed(SessionModel.SessionModel, model)))
      })
      yield* say(session, "go")
      expect(yield* ends(events)).toEqual(["a cancelled", "b done"])
      expect(log.lines).toEqual(["0 did 2"])
    })
  )
})

describe("join", () => {
  const join = { onDuplicate: "join", allowCancellation: true } as const
  const twice = { both: [work(1, "a"), work(1, "b")], late: work(1, "c") }

  scoped("[P2b] two calls of one step share one run and one result", () =>
    Effect.gen(function* () {
      const log = journal()
      const { events, requests, session } = yield* workshop({ turns: twice, tool: join, handler: watched(log) })
      yield* say(session, "both")
      expect(yield* runningIds(session)).toEqual(["a", "b"])
      yield* advance("10 seconds")
      expect(log.lines).toEqual(["0 start 1", "10 end 1"])
      expect((yield* ends(events)).toSorted()).toEqual(["a done", "b done"])
      expect(ScriptedModel.toolResults((yield* requests).at(-1)!)).toMatchObject([
        { id: "a", result: "result 1" },
        { id: "b", result: "result 1" }
      ])
    })
  )

  scoped("[P2b] all updates and the end come under each call's own id", () =>
    Effect.gen(function* () {
      const { events, session } = yield* workshop({
        turns: twice,
        tool: join,
        provide: ToolPrompts.layer({ update: "{callId}: {message}" }),
        handler: () =>
          Effect.forEach(["x", "y"], (message) =>
            Effect.zipRight(Effect.sleep("1 second"), RunContext.update(message))
          ).pipe(
            Effect.zipRight(RunContext.progress(50)),
            Effect.zipRight(Effect.sleep("1 second")),
            Effect.as("found")
          )
      })
      yield* say(session, "both")
      yield* advance("1 minute")
      for (const id of ["a", "b"]) {
        expect(yield* outputOf(session, id)).toEqual({ output: `${id}: x`, isError: false })
        expect(yield* outputOf(session, `${id}_update_1`)).toEqual({ output: `${id}: y`, isError: false })
        expect(yield* outputOf(session, `${id}_final`)).toEqual({ output: "found", isError: false })
      }
      expect((yield* events.filter("ToolCallProgress")).map(({ callId }) => callId).toSorted()).toEqual(["a", "b"])
      const covered = (yield* events.filter("ReplyEnded")).map(({ status, updateIds }) => [
        status,
        ...updateIds.toSorted()
      ])
      expect(covered).toEqual([
        ["completed", "a_update_1", "b_update_1"],
        ["completed", "a_final", "b_final"]
      ])
    })
  )

  scoped("[P2b] one that joins late leaves the turn with the last update and gets the same end", () =>
    Effect.gen(function* () {
      const log = journal()
      const { events, requests, session } = yield* workshop({
        turns: { first: work(1, "a"), late: work(1, "c") },
        tool: join,
        handler: watched(log, inBackground),
        provide: ToolPrompts.layer({ update: "{callId}: {message}" })
      })
      yield* say(session, "first")
      yield* advance("4 seconds")
      yield* say(session, "late")
      expect(yield* outputOf(session, "c")).toEqual({ output: "c: at 1", isError: false })
      expect(yield* TestSession.said(session)).toEqual(["Noted.", "Noted."])
      const asked = (yield* requests).length
      yield* advance("6 seconds")
      expect(log.lines).toEqual(["0 start 1", "10 end 1"])
      expect(yield* outputOf(session, "a_final")).toEqual({ output: "result 1", isError: false })
      expect(yield* outputOf(session, "c_final")).toEqual({ output: "result 1", isError: false })
      expect((yield* ends(events)).toSorted()).toEqual(["a done", "c done"])
      expect((yield* events.filter("ReplyEnded")).map(({ updateIds }) => updateIds)).toEqual([["a_final", "c_final"]])
      expect((yield* requests).length).toBe(asked + 1)
    })
  )

  scoped("[P2b] one that joins late and inline is answered with the result in its own turn", () =>
    Effect.gen(function* () {
      const { session } = yield* workshop({ turns: { first: work(1, "a"), late: work(1, "c") }, tool: join })
      yield* say(session, "first")
      yield* advance("4 seconds")
      yield* say(session, "late")
      yield* advance("6 seconds")
      expect(yield* outputOf(session, "a")).toEqual({ output: "result 1", isError: false })
      expect(yield* outputOf(session, "c")).toEqual({ output: "result 1", isError: false })
      expect(yield* TestSession.said(session)).toEqual(["Noted."])
    })
  )

  scoped("[P2b] a failure is shared as well, and logged once", () =>
    Effect.gen(function* () {
      const { layer, logged } = collector()
      const { events, session } = yield* workshop({
        turns: twice,
        tool: join,
        handler: () => Effect.zipRight(Effect.sleep("1 second"), new AsyncTool.ToolError({ message: "no luck" }))
      }).pipe(Effect.provide(layer))
      yield* say(session, "both")
      yield* advance("1 second")
      for (const id of ["a", "b"]) expect(yield* outputOf(session, id)).toEqual({ output: "no luck", isError: true })
      expect((yield* ends(events)).toSorted()).toEqual(["a error", "b error"])
      expect(logged).toHaveLength(1)
    })
  )

  for (const target of ["a", "b", "c"]) {
    scoped(`[P2b] cancelling ${target}, one of three joined calls, cancels the run for all of them`, () =>
      Effect.gen(function* () {
        const log = journal()
        const { events, session } = yield* workshop({
          turns: twice,
          tool: join,
          handler: watched(log, slowly, Effect.sleep("2 seconds"))
        })
        yield* say(session, "both", "late")
        yield* advance("3 seconds")
        yield* TestSession.drive(session.cancelTool(target))
        expect(log.lines).toEqual(["0 start 1", "3 stop 1", "5 clean 1"])
        expect((yield* ends(events)).toSorted()).toEqual(["a cancelled", "b cancelled", "c cancelled"])
        for (const id of ["a", "b", "c"]) expect(yield* outputOf(session, id)).toMatchObject({ isError: false })
      })
    )
  }

  scoped("[P2b] a call whose speech disallows interruptions is not cancelled through one that joined it", () =>
    Effect.gen(function* () {
      const { session } = yield* workshop({ turns: { first: work(1, "a"), late: work(1, "c") }, tool: join })
      yield* session.send("first", { allowInterruptions: false })
      yield* settle
      yield* say(session, "late")
      expect(yield* runningIds(session)).toEqual(["a", "c"])
      for (const id of ["a", "c"]) {
        expect(yield* Effect.either(session.cancelTool(id))).toMatchObject({
          _tag: "Left",
          left: { _tag: "ToolError" }
        })
      }
      yield* advance("10 seconds")
      expect(yield* outputOf(session, "a")).toEqual({ output: "result 1", isError: false })
    })
  )

  scoped("[P2b] one that comes while the run is being stopped starts a run of its own", () =>
    Effect.gen(function* () {
      const log = journal()
      const { events, session } = yield* workshop({
        turns: { first: work(1, "a"), late: work(1, "c") },
        tool: join,
        handler: watched(log, slowly, Effect.sleep("3 seconds"))
      })
      yield* say(session, "first")
      yield* Effect.forkScoped(session.cancelTool("a"))
      yield* settle
      yield* say(session, "late")
      yield* advance("1 minute")
      expect((yield* ends(events)).toSorted()).toEqual(["a cancelled", "c done"])
      expect(log.lines.filter((line) => line.includes("start"))).toHaveLength(2)
    })
  )

  scoped("[P2b] a queued run can be joined, too", () =>
    Effect.gen(function* () {
      const log = journal()
      const { session } = yield* workshop({
        turns: { go: [work(1, "a"), work(2, "b"), work(2, "c")] },
        tool: join,
        handler: watched(log),
        maxConcurrency: 1
      })
      yield* say(session, "go")
      yield* advance("20 seconds")
      expect(log.lines).toEqual(["0 start 1", "10 end 1", "10 start 2", "20 end 2"])
      expect(yield* outputOf(session, "c")).toEqual({ output: "result 2", isError: false })
    })
  )

  scoped(
    "[P2b] [T12] cancelling one of the calls that share a queued run ends both; it never runs and takes no place",
    () =>
      Effect.gen(function* () {
        const log = journal()
        const { session } = yield* workshop({
          turns: { go: [work(1, "a"), work(2, "b"), work(2, "c"), work(3, "d"), work(1, "e")] },
          tool: join,
          handler: watched(log),
          maxConcurrency: 1
        })
        yield* say(session, "go")
        yield* session.cancelTool("c")
        yield* advance("20 seconds")
        expect(log.lines).toEqual(["0 start 1", "10 end 1", "10 start 3", "20 end 3"])
        const outputs = yield* TestSession.outputs(session)
        expect(outputs.map(({ callId }) => callId)).toEqual(["a", "b", "c", "d", "e"])
        expect(outputs.map(({ output }) => output === "result 1" || output === "result 3")).toEqual([
          true,
          false,
          false,
          true,
          true
        ])
        expect(yield* runningIds(session)).toEqual([])
      })
  )

  scoped(
    "[P2] [P2b] a call that replaces a shared run takes the place of all its calls, and a policy is told them all",
    () =>
      Effect.gen(function* () {
        const told: Array<ReadonlyArray<number>> = []
        const { events, session } = yield* workshop({
          turns: { both: [work(1, "a"), work(2, "b")], late: work(3, "c") },
          tool: { allowCancellation: true },
          handler: inBackground,
          provide: policy((n, running) => {
            told.push(running)
            return n === 1 ? verdict.run : n === 2 ? verdict.join : verdict.replace
          })
        })
        yield* say(session, "both", "late")
        expect(told).toEqual([[], [1], [1, 2]])
        expect(yield* ends(events)).toEqual(["a cancelled", "b cancelled"])
        expect(yield* runningIds(session)).toEqual(["c"])
        expect(yield* outputOf(session, "a_final")).toEqual(yield* outputOf(session, "b_final"))
      })
  )

  scoped("[P2b] a joined call is in the running tools, and gone when the run is over", () =>
    Effect.gen(function* () {
      const { session } = yield* workshop({ turns: twice, tool: join, handler: inBackground })
      yield* say(session, "both")
      expect(yield* session.runningTools).toMatchObject([
        { callId: "a", lastUpdate: "at 1" },
        { callId: "b", lastUpdate: "at 1" }
      ])
      yield* advance("10 seconds")
      expect(yield* session.runningTools).toEqual([])
      expect(yield* Effect.flip(session.cancelTool("b"))).toMatchObject({ message: expect.stringContaining("ended") })
    })
  )

  scoped("[P2b] a tool with releaseAfter 0 keeps no joined call in the turn", () =>
    Effect.gen(function* () {
      const { events, session } = yield* workshop({ turns: twice, tool: { ...join, releaseAfter: 0 } })
      yield* say(session, "both", "late")
      expect((yield* events.filter("ToolCallReleased")).map(({ callId }) => callId).toSorted()).toEqual(["a", "b", "c"])
      expect(yield* TestSession.said(session)).toEqual(["Noted.", "Noted."])
      yield* advance("10 seconds")
      for (const id of ["a", "b", "c"]) {
        expect(yield* outputOf(session, `${id}_final`)).toEqual({ output: "result 1", isError: false })
      }
    })
  )

  scoped("[P2b] a joined call leaves the turn where the model asked for the background", () =>
    Effect.gen(function* () {
      const { events, session } = yield* workshop({
        turns: { first: work(1, "a"), late: work(1, "c", { run_in_background: true }) },
        tool: { ...join, background: "model" }
      })
      yield* say(session, "first", "late")
      expect(yield* events.filter("ToolCallReleased")).toMatchObject([{ callId: "c", by: "model" }])
      yield* advance("10 seconds")
      expect(yield* outputOf(session, "a")).toEqual({ output: "result 1", isError: false })
      expect(yield* outputOf(session, "c_final")).toEqual({ output: "result 1", isError: false })
    })
  )

  for (const [title, earlier, replies] of [
    ["asks for no reply, either, where nothing else was said", Effect.void, []],
    ["is replied to where something was said before", RunContext.update("said"), ["Noted.", "Noted."]]
  ] as const) {
    scoped(`[P2b] [U1] a call that joins after a silent update ${title}`, () =>
      Effect.gen(function* () {
        const { session } = yield* workshop({
          turns: { first: work(1, "a"), late: work(1, "c") },
          tool: join,
          handler: (n) =>
            earlier.pipe(
              Effect.zipRight(RunContext.update("quiet", { delivery: "silent" })),
              Effect.zipRight(slowly(n))
            )
        })
        yield* say(session, "first", "late")
        expect((yield* outputOf(session, "c"))?.output).toContain("quiet")
        expect(yield* TestSession.said(session)).toEqual(replies)
        yield* advance("10 seconds")
        expect(yield* outputOf(session, "c_final")).toEqual({ output: "result 1", isError: false })
        expect((yield* TestSession.said(session)).length).toBeGreaterThan(replies.length)
      })
    )
  }

  scoped("[P2b] each joined call has a releaseAfter of its own", () =>
    Effect.gen(function* () {
      const { events, session } = yield* workshop({
        turns: { first: work(1, "a"), late: work(1, "c") },
        tool: { ...join, releaseAfter: "2 seconds" }
      })
      yield* say(session, "first")
      yield* advance("5 seconds")
      yield* say(session, "late")
      yield* advance("2 seconds")
      expect(yield* events.filter("ToolCallReleased")).toMatchObject([
        { callId: "a", at: 2000 },
        { callId: "c", at: 7000 }
      ])
    })
  )

  scoped("[P2b] a run that timed out ends for all of them", () =>
    Effect.gen(function* () {
      const { events, session } = yield* workshop({ turns: twice, tool: { ...join, timeout: "5 seconds" } })
      yield* say(session, "both")
      yield* advance("3 seconds")
      yield* say(session, "late")
      yield* advance("2 seconds")
      expect((yield* ends(events)).toSorted()).toEqual(["a error", "b error", "c error"])
    })
  )

  scoped("[P2b] session.run waits for a run that its turn has joined", () =>
    Effect.gen(function* () {
      const { session } = yield* workshop({
        turns: { first: work(1, "a"), late: work(1, "c") },
        tool: join,
        handler: inBackground
      })
      yield* say(session, "first")
      yield* advance("4 seconds")
      const { items } = yield* TestSession.drive(session.run("late"))
      expect(items.flatMap((item) => (item._tag === "FunctionCallOutput" ? [item.callId] : []))).toEqual([
        "c",
        "c_final"
      ])
    })
  )
})

describe("arguments", () => {
  interface Asked {
    readonly parameters: Schema.Struct.Fields
    readonly calls: ReadonlyArray<unknown>
  }

  /** Which of these calls, all in one step, are taken for a duplicate of an earlier one? */
  const duplicates = ({ calls, parameters }: Asked) =>
    Effect.gen(function* () {
      const tool = AsyncTool.make("work", {
        parameters,
        success: Schema.String,
        onDuplicate: "reject",
        duplicateScope: "name_and_args"
      })
      const toolkit = Toolkit.make(tool)
      const agent = Agent.make("worker", { instructions: "You work.", tools: [toolkit] }).pipe(
        Agent.provide(
          toolkit.toLayer({ work: () => Effect.as(Effect.sleep("1 hour"), "done") } as any) as Layer.Layer<any>
        )
      ) as Agent.Agent<never>
      const { close, session } = yield* open(turns({ go: calls.map((args, i) => call("work", args, `${i}`)) }), {
        agent,
        drainTimeout: 0
      })
      yield* say(session, "go")
      const running = yield* runningIds(session)
      yield* close
      return calls.map((_, i) => !running.includes(`${i}`))
    })

  const cases: ReadonlyArray<readonly [string, Asked, ReadonlyArray<boolean>]> = [
    [
      "key order does not matter, at any depth",
      {
        parameters: { at: Schema.Struct({ x: Schema.Number, y: Schema.Unknown }) },
        calls: [
          { at: { x: 1, y: { p: 1, q: [{ r: 1, s: 2 }] } } },
          { at: { y: { q: [{ s: 2, r: 1 }], p: 1 }, x: 1 } },
          { at: { x: 1, y: { p: 1, q: [{ r: 2, s: 1 }] } } }
        ]
      },
      [false, true, false]
    ],
    [
      "array order matters",
      {
        parameters: { list: Schema.Array(Schema.Number) },
        calls: [{ list: [1, 2] }, { list: [2, 1] }, { list: [1, 2] }, { list: [1, 2, 2] }]
      },
      [false, false, true, false]
    ],
    [
      "an omitted optional equals its default",
      {
        parameters: { a: Schema.String, n: Schema.optionalWith(Schema.Number, { default: () => 5 }) },
        calls: [{ a: "x" }, { a: "x", n: 5 }, { n: 5, a: "x" }, { a: "x", n: 6 }]
      },
      [false, true, true, false]
    ],
    [
      "an omitted optional without default equals only another omitted one",
      {
        parameters: { a: Schema.String, n: Schema.optional(Schema.NullOr(Schema.Number)) },
        calls: [{ a: "x" }, { a: "x" }, { a: "x", n: undefined }, { a: "x", n: 0 }, { a: "x", n: null }]
      },
      [false, true, true, false, false]
    ],
    [
      "what the schema decodes to one value is one value",
      {
        parameters: { at: Schema.Date, name: Schema.Trim },
        calls: [
          { at: "2027-01-01", name: "a" },
          { at: "2027-01-01T00:00:00.000Z", name: " a " },
          { at: "2027-01-02", name: "a" }
        ]
      },
      [false, true, false]
    ],
    [
      "what the schema leaves out does not count",
      { parameters: { a: Schema.Number }, calls: [{ a: 1 }, { a: 1, more: 2 }, { a: 1.0 }] },
      [false, true, true]
    ],
    [
      "values of other types differ",
      {
        parameters: { a: Schema.Unknown },
        calls: [
          { a: 1 },
          { a: "1" },
          { a: true },
          { a: "true" },
          { a: null },
          { a: "null" },
          { a: [] },
          { a: {} },
          { a: "" }
        ]
      },
      Array<boolean>(9).fill(false)
    ],
    [
      "strings that look like JSON are strings",
      {
        parameters: { a: Schema.Unknown, b: Schema.optional(Schema.Unknown) },
        calls: [{ a: '1","b":"2' }, { a: "1", b: "2" }, { a: { b: "2" } }, { a: '{"b":"2"}' }]
      },
      [false, false, false, false]
    ]
  ]
  for (const [title, asked, expected] of cases) {
    scoped(`[P3] ${title}`, () => Effect.map(duplicates(asked), (found) => expect(found).toEqual(expected)))
  }

  scoped("[P3] calls without parameters are equal", () =>
    Effect.map(duplicates({ parameters: {}, calls: [{}, {}] }), (found) => expect(found).toEqual([false, true]))
  )

  scoped("[P3] so they are where the model sends something, which their handler does not see", () =>
    Effect.gen(function* () {
      const seen: Array<unknown> = []
      const tools = Toolkit.make(AsyncTool.make("work", { onDuplicate: "reject", duplicateScope: "name_and_args" }))
      const agent = Agent.make("worker", { instructions: "You work.", tools: [tools] }).pipe(
        Agent.provide(
          tools.toLayer({
            work: (params) =>
              Effect.zipRight(
                Effect.sync(() => seen.push(params)),
                Effect.never
              )
          })
        )
      )
      const { events, session } = yield* open(
        turns({ go: [call("work", { reason: "none" }, "a"), call("work", {}, "b")] }),
        { agent, drainTimeout: 0 }
      )
      yield* say(session, "go")
      expect(seen).toEqual([{}])
      expect(yield* ends(events)).toEqual(["b done"])
    })
  )

  const oneWay = Schema.transformOrFail(Schema.String, Schema.Number, {
    strict: true,
    decode: (text) => ParseResult.succeed(text.length),
    encode: (value, _, ast) => ParseResult.fail(new ParseResult.Forbidden(ast, value, "one way"))
  })

  scoped("[P3] arguments that cannot be encoded are compared as sent", () =>
    Effect.map(
      duplicates({
        parameters: { a: oneWay, b: Schema.Number },
        calls: [
          { a: "x", b: 1 },
          { a: "y", b: 1 },
          { b: 1, a: "x" }
        ]
      }),
      (found) => expect(found).toEqual([false, false, true])
    )
  )

  scoped("[P3] so are those whose encoding throws", () =>
    Effect.map(
      duplicates({
        parameters: {
          a: Schema.transform(Schema.String, Schema.Number, {
            strict: true,
            decode: (text) => text.length,
            encode: () => {
              throw new Error("one way")
            }
          })
        },
        calls: [{ a: "x" }, { a: "y" }, { a: "x" }]
      }),
      (found) => expect(found).toEqual([false, false, true])
    )
  )

  scoped("[P3] schemas that take time to decode and encode are compared like others", () =>
    Effect.map(
      duplicates({
        parameters: {
          a: Schema.transformOrFail(Schema.String, Schema.String, {
            strict: true,
            decode: (text) => Effect.as(Effect.yieldNow(), text.toLowerCase()),
            encode: (text) => Effect.as(Effect.yieldNow(), text)
          })
        },
        calls: [{ a: "x" }, { a: "X" }, { a: "y" }]
      }),
      (found) => expect(found).toEqual([false, true, false])
    )
  )

  /** The same value with its keys in another order. */
  const reordered = (value: unknown): unknown =>
    Array.isArray(value)
      ? value.map(reordered)
      : typeof value === "object" && value !== null
        ? Object.fromEntries(
            Object.entries(value)
              .reverse()
              .map(([key, part]) => [key, reordered(part)])
          )
        : value
  const json = fc.jsonValue({ maxDepth: 4 }).map((value) => JSON.parse(JSON.stringify(value)) as unknown)
  const pairs = fc.oneof(
    json.map((value) => [value, reordered(value)] as const),
    fc.tuple(json, json),
    fc.array(json, { minLength: 2, maxLength: 4 }).map((list) => [list, list.toReversed()] as const),
    fc
      .dictionary(fc.string(), json, { minKeys: 1, maxKeys: 4 })
      .chain((record) => fc.tuple(fc.constant(record), fc.constantFrom(...Object.keys(record)), json))
      .map(([record, key, other]) => [record, { ...record, [key]: other }] as const)
  )

  it.effect.prop(
    "[P3] two calls are duplicates exactly if their arguments are equal as JSON",
    [fc.array(pairs, { minLength: 24, maxLength: 24 })],
    ([several]) =>
      Effect.gen(function* () {
        const calls = several.flatMap((pair, i) => pair.map((value) => ({ i, value })))
        const found = yield* Effect.scoped(
          duplicates({ parameters: { i: Schema.Number, value: Schema.Unknown }, calls })
        )
        expect(found).toEqual(several.flatMap(([a, b]) => [false, isDeepStrictEqual(a, b)]))
      }),
    { fastCheck: { numRuns: 6 } }
  )
})

describe("the check and the start", () => {
  for (const [mode, expected] of [
    ["reject", ["a done", "b done"]],
    ["confirm", ["a done", "b done"]],
    ["replace", ["a cancelled", "b done"]]
  ] as const) {
    scoped(`[P4] ${mode}: of two equal calls in one model step the second sees the first`, () =>
      Effect.gen(function* () {
        const log = journal()
        const { events, session } = yield* workshop({
          turns: { go: [work(1, "a"), work(1, "b")] },
          tool: { onDuplicate: mode, allowCancellation: true },
          handler: watched(log)
        })
        yield* say(session, "go")
        yield* advance("10 seconds")
        expect((yield* ends(events)).toSorted()).toEqual(expected)
        expect(log.lines.filter((line) => line.includes("end"))).toHaveLength(1)
      })
    )
  }

  scoped("[P4] that holds for calls that come in one chunk and for one whose schema takes its time", () =>
    Effect.gen(function* () {
      const slow = Schema.transformOrFail(Schema.Number, Schema.Number, {
        strict: true,
        decode: (n) => Effect.as(Effect.sleep("1 second"), n),
        encode: ParseResult.succeed
      })
      for (const n of [Schema.Number, slow]) {
        const tool = AsyncTool.make("work", { parameters: { n }, success: Schema.String, onDuplicate: "reject" })
        const toolkit = Toolkit.make(tool)
        const part = (id: string) => ({ type: "tool-call", id, name: "work", params: { n: 1 } }) as any
        const finish = { type: "finish", reason: "stop", usage: {} } as any
        let steps = 0
        const agent = Agent.make("worker", { instructions: "You work.", tools: [toolkit] }).pipe(
          Agent.provide(toolkit.toLayer({ work: ({ n }) => slowly(n) })),
          Agent.provide(
            Layer.succeed(SessionModel.SessionModel, {
              stream: () => Stream.fromIterable(steps++ === 0 ? [part("a"), part("b"), finish] : [finish])
            })
          )
        )
        const { events, session } = yield* open([], { agent })
        yield* say(session, "go")
        yield* advance("1 second")
        expect(yield* runningIds(session)).toEqual(["a"])
        expect(yield* ends(events)).toEqual(["b done"])
      }
    })
  )

  scoped("[T2] [P4] where calls run side by side, one whose schema takes its time does not hold up the next", () =>
    Effect.gen(function* () {
      const n = Schema.transformOrFail(Schema.Number, Schema.Number, {
        strict: true,
        decode: (n) => (n === 1 ? Effect.as(Effect.sleep("5 seconds"), n) : Effect.succeed(n)),
        encode: ParseResult.succeed
      })
      const log = journal()
      const toolkit = Toolkit.make(AsyncTool.make("work", { parameters: { n }, success: Schema.String }))
      const agent = Agent.make("worker", { instructions: "You work.", tools: [toolkit] }).pipe(
        Agent.provide(
          toolkit.toLayer({ work: ({ n }: { readonly n: number }) => watched(log)(n) } as any) as Layer.Layer<any>
        )
      ) as Agent.Agent<never>
      const { session } = yield* open(turns({ go: [work(1, "a"), work(2, "b"), work(1, "c"), work(3, "d")] }), {
        agent
      })
      yield* say(session, "go")
      yield* advance("5 seconds")
      expect(log.lines).toEqual(["0 start 2", "0 start 3", "5 start 1", "5 start 1"])
      yield* advance("1 minute")
      expect((yield* TestSession.outputs(session)).map((output) => output.callId)).toEqual(["a", "b", "c", "d"])
    })
  )

  for (const [how, first] of [
    ["dies", Effect.zipRight(Effect.sleep("1 second"), Effect.dieMessage("secret of the schema"))],
    ["fails", Effect.zipRight(Effect.sleep("1 second"), Effect.fail("no"))],
    ["never ends and is cancelled", Effect.never]
  ] as const) {
    scoped(`[P4] a call whose arguments are still decoded, which ${how}, does not hold up the next one for good`, () =>
      Effect.gen(function* () {
        const { layer, logged } = collector()
        const n = Schema.transformOrFail(Schema.Number, Schema.Number, {
          strict: true,
          decode: (n, _, ast) =>
            n === 1
              ? Effect.mapError(first, () => new ParseResult.Type(ast, n))
              : Effect.as(Effect.sleep("100 millis"), n),
          encode: ParseResult.succeed
        })
        const toolkit = Toolkit.make(
          AsyncTool.make("work", {
            parameters: { n },
            success: Schema.String,
            allowCancellation: true,
            onDuplicate: "reject"
          })
        )
        const agent = Agent.make("worker", { instructions: "You work.", tools: [toolkit] }).pipe(
          Agent.provide(toolkit.toLayer({ work: ({ n }) => slowly(n) }))
        )
        const { events, session } = yield* open(turns({ go: [work(1, "a"), work(2, "b")] }), { agent }).pipe(
          Effect.provide(layer)
        )
        yield* say(session, "go")
        yield* advance("2 seconds")
        if (how.startsWith("never")) yield* TestSession.drive(session.cancelTool("a"))
        expect(yield* ends(events)).toEqual([how.startsWith("never") ? "a cancelled" : "a error"])
        yield* advance("1 minute")
        expect(yield* outputOf(session, "b")).toEqual({ output: "result 2", isError: false })
        expect(logged.filter((line) => line.startsWith("ERROR"))).toHaveLength(how === "dies" ? 1 : 0)
      })
    )
  }

  scoped("[P4] a slow finalizer of a replaced call holds up only calls with the same key", () =>
    Effect.gen(function* () {
      const log = journal()
      const Other = AsyncTool.make("other", { success: Schema.String, onDuplicate: "reject" })
      const Work = workTool({ onDuplicate: "replace", duplicateScope: "name_and_args", allowCancellation: true })
      const tools = Toolkit.make(Work, Other)
      const handler = watched(log, slowly, Effect.sleep("4 seconds"))
      const agent = Agent.make("worker", { instructions: "You work.", tools: [tools] }).pipe(
        Agent.provide(
          tools.toLayer({ work: ({ n }) => handler(n), other: () => Effect.as(log.note("other"), "other done") })
        )
      )
      const { session } = yield* open(
        turns({
          first: work(1, "a"),
          again: work(1, "b"),
          more: [call("other", {}, "o"), work(2, "c"), call("get_running_tasks", {}, "g")]
        }),
        { agent }
      )
      yield* say(session, "first", "again", "more")
      expect(log.lines.toSorted()).toEqual(["0 other", "0 start 1", "0 start 2", "0 stop 1"])
      expect(yield* outputOf(session, "o")).toMatchObject({ output: "other done" })
      yield* advance("4 seconds")
      expect(log.lines.at(-1)).toBe("4 start 1")
    })
  )

  scoped("[P4] nor does it hold up the conversation", () =>
    Effect.gen(function* () {
      const { session } = yield* workshop({
        turns: three,
        tool: { onDuplicate: "replace", allowCancellation: true },
        handler: watched(journal(), slowly, Effect.sleep("4 seconds"))
      })
      yield* say(session, "first", "second", "How are you?")
      expect(yield* TestSession.said(session)).toEqual(["Noted."])
      expect(yield* runningIds(session)).toEqual(["a", "b"])
    })
  )
})

describe("any course of events", () => {
  type Action =
    | { readonly _tag: "Call"; readonly calls: ReadonlyArray<number> }
    | { readonly _tag: "Cancel"; readonly index: number }
    | { readonly _tag: "Advance"; readonly seconds: number }
    | { readonly _tag: "Interrupt" }
  const calls = fc.array(fc.integer({ min: 1, max: 2 }), { minLength: 1, maxLength: 3 })
  const action = fc.oneof(
    { weight: 4, arbitrary: calls.map((calls): Action => ({ _tag: "Call", calls })) },
    { weight: 2, arbitrary: fc.nat({ max: 9 }).map((index): Action => ({ _tag: "Cancel", index })) },
    { weight: 2, arbitrary: fc.integer({ min: 1, max: 6 }).map((seconds): Action => ({ _tag: "Advance", seconds })) },
    { weight: 1, arbitrary: fc.constant<Action>({ _tag: "Interrupt" }) }
  )
  const course = fc.record({
    mode: fc.constantFrom(
      "reject" as const,
      "replace" as const,
      "join" as const,
      "confirm" as const,
      "custom" as const
    ),
    byArguments: fc.boolean(),
    cleanUp: fc.integer({ min: 0, max: 4 }),
    update: fc.boolean(),
    cancelOnInterruption: fc.boolean(),
    actions: fc.array(action, { minLength: 3, maxLength: 8 })
  })

  it.effect.prop(
    "[P4] no two handlers of one key are at work at once, and every call has one start, one end and one output",
    [course],
    ([{ actions, byArguments, cancelOnInterruption, cleanUp, mode, update }]) =>
      Effect.gen(function* () {
        const active = new Map<string, number>()
        let clashes = 0
        const key = (n: number) => (byArguments ? `${n}` : "all")
        const enter = (n: number) =>
          Effect.sync(() => {
            const now = (active.get(key(n)) ?? 0) + 1
            active.set(key(n), now)
            if (now > 1) clashes++
          })
        const leave = (n: number) => Effect.sync(() => active.set(key(n), (active.get(key(n)) ?? 0) - 1))
        const ids: Array<string> = []
        const steps: Record<string, ScriptedModel.Step> = {}
        actions.forEach((action, i) => {
          if (action._tag !== "Call") return
          steps[`${i}`] = action.calls.map((n, j) => {
            ids.push(`call-${i}-${j}`)
            return work(n, `call-${i}-${j}`)
          })
        })
        const { close, events, session } = yield* workshop({
          turns: steps,
          tool: {
            allowCancellation: true,
            cancelOnInterruption,
            duplicateScope: byArguments ? "name_and_args" : "name",
            ...(mode === "custom" ? {} : { onDuplicate: mode })
          },
          provide: policy((_, running) =>
            Effect.as(
              Effect.sleep("2 seconds"),
              running.length === 0 ? verdict.run : running.length % 2 === 1 ? verdict.replace : verdict.join
            )
          ),
          // one that is still stopping can be waited for, but cannot be joined
          handler: (n) =>
            Effect.acquireUseRelease(
              enter(n),
              () => Effect.zipRight(update ? RunContext.update("on it") : Effect.void, slowly(n)),
              () =>
                mode === "join" || mode === "custom"
                  ? Effect.zipRight(leave(n), Effect.sleep(cleanUp * 1000))
                  : Effect.zipRight(Effect.sleep(cleanUp * 1000), leave(n))
            ),
          options: { cancellationTimeout: "2 seconds" }
        })
        let asked = 0
        for (const [i, action] of actions.entries()) {
          if (action._tag === "Call") {
            yield* say(session, `${i}`)
            asked += action.calls.length
          } else if (action._tag === "Cancel") {
            yield* Effect.forkScoped(session.cancelTool(ids[action.index % Math.max(1, asked)] ?? "none"))
          } else if (action._tag === "Advance") yield* advance(action.seconds * 1000)
          else yield* session.interrupt()
        }
        yield* advance("1 minute")
        expect(yield* session.runningTools).toEqual([])
        yield* close
        expect(clashes).toBe(0)
        expect((yield* events.filter("ToolCallStarted")).map(({ call }) => call.callId)).toEqual(ids)
        expect((yield* events.filter("ToolCallEnded")).map(({ callId }) => callId).toSorted()).toEqual(ids.toSorted())
        const outputs = (yield* TestSession.outputs(session)).map(({ callId }) => callId)
        expect(new Set(outputs).size).toBe(outputs.length)
        expect(outputs).toEqual(expect.arrayContaining(ids))
      }).pipe(Effect.scoped),
    { fastCheck: { numRuns: 6 } }
  )
})

describe("a policy of one's own", () => {
  scoped("[P5] is asked before every call, with the running duplicates or none", () =>
    Effect.gen(function* () {
      const asked: Array<unknown> = []
      const { events, session } = yield* workshop({
        turns: three,
        provide: policy((n, running) => {
          asked.push([n, running])
          return running.length < 2 ? verdict.run : verdict.refuse("Two are enough.")
        })
      })
      yield* say(session, "first", "second", "third")
      expect(asked).toEqual([
        [1, []],
        [2, [1]],
        [1, [1, 2]]
      ])
      expect(yield* outputOf(session, "c")).toEqual({ output: "Two are enough.", isError: false })
      expect(yield* ends(events)).toEqual(["c done"])
    })
  )

  scoped("[P5] sees only equal calls where the tool's duplicateScope is name_and_args", () =>
    Effect.gen(function* () {
      const asked: Array<unknown> = []
      const { session } = yield* workshop({
        turns: three,
        tool: { duplicateScope: "name_and_args" },
        provide: policy((n, running) => {
          asked.push([n, running])
          return verdict.run
        })
      })
      yield* say(session, "first", "second", "third")
      expect(asked).toEqual([
        [1, []],
        [2, []],
        [1, [1]]
      ])
    })
  )

  scoped("[P5] can refuse a call with nothing running, join and replace", () =>
    Effect.gen(function* () {
      const log = journal()
      const { events, session } = yield* workshop({
        turns: { zero: work(0, "z"), first: work(1, "a"), join: work(2, "b"), replace: work(3, "c") },
        tool: { allowCancellation: true },
        handler: watched(log),
        provide: policy((n) =>
          n === 0 ? verdict.refuse("No.") : n === 2 ? verdict.join : n === 3 ? verdict.replace : verdict.run
        )
      })
      yield* say(session, "zero", "first", "join")
      expect(yield* ends(events)).toEqual(["z done"])
      expect(yield* runningIds(session)).toEqual(["a", "b"])
      yield* say(session, "replace")
      expect((yield* ends(events)).toSorted()).toEqual(["a cancelled", "b cancelled", "z done"])
      expect(log.lines).toEqual(["0 start 1", "0 stop 1", "0 clean 1", "0 start 3"])
    })
  )

  scoped("[P5] with nothing running, join and replace just run", () =>
    Effect.gen(function* () {
      const { session } = yield* workshop({
        turns: { first: work(1, "a"), second: work(2, "b") },
        tool: { duplicateScope: "name_and_args" },
        provide: policy((n) => (n === 1 ? verdict.join : verdict.replace))
      })
      yield* say(session, "first", "second")
      expect(yield* runningIds(session)).toEqual(["a", "b"])
    })
  )

  scoped("[P5] may use services, of its own layer and at the time it is asked", () =>
    Effect.gen(function* () {
      class Limit extends Context.Tag("Limit")<Limit, Ref.Ref<number>>() {}
      const limit = yield* Ref.make(1)
      const limited = DuplicatePolicy.make((_, running) =>
        Effect.map(Effect.flatMap(Limit, Ref.get), (most) =>
          running.length < most ? verdict.run : verdict.refuse("Too many.")
        )
      )
      const { session } = yield* workshop({
        turns: three,
        provide: Layer.provide(limited, Layer.succeed(Limit, limit))
      })
      yield* say(session, "first", "second")
      expect(yield* runningIds(session)).toEqual(["a"])
      yield* Ref.set(limit, 2)
      yield* say(session, "third")
      expect(yield* runningIds(session)).toEqual(["a", "c"])
    })
  )

  scoped("[P4] may take its time, and holds up only calls with the same key meanwhile", () =>
    Effect.gen(function* () {
      const log = journal()
      const { events, session } = yield* workshop({
        turns: { go: [work(1, "a"), work(2, "b"), work(2, "c")], talk: [] },
        tool: { duplicateScope: "name_and_args" },
        handler: watched(log),
        provide: policy((n, running) =>
          Effect.as(
            n === 2 ? Effect.sleep("3 seconds") : Effect.void,
            running.length === 0 ? verdict.run : verdict.join
          )
        )
      })
      yield* say(session, "go")
      expect(log.lines).toEqual(["0 start 1"])
      yield* say(session, "How are you?")
      expect(yield* TestSession.said(session)).toEqual(["Noted."])
      yield* advance("3 seconds")
      expect(log.lines).toEqual(["0 start 1", "3 start 2"])
      yield* advance("3 seconds")
      expect(yield* ends(events)).toEqual([])
      yield* advance("10 seconds")
      expect(log.lines).toEqual(["0 start 1", "3 start 2", "10 end 1", "13 end 2"])
      expect((yield* ends(events)).toSorted()).toEqual(["a done", "b done", "c done"])
    })
  )

  scoped("[P4] is asked again if the running calls changed meanwhile, and its old verdict does not count", () =>
    Effect.gen(function* () {
      const asked: Array<ReadonlyArray<number>> = []
      const log = journal()
      const { events, session } = yield* workshop({
        turns: { first: work(1, "a"), second: work(2, "b") },
        handler: watched(log, (n) => Effect.as(Effect.sleep("1 second"), `result ${n}`)),
        provide: policy((_, running) => {
          asked.push(running)
          return Effect.as(
            running.length === 0 ? Effect.void : Effect.sleep("3 seconds"),
            running.length === 0 ? verdict.run : verdict.refuse("busy")
          )
        })
      })
      yield* say(session, "first", "second")
      yield* advance("3 seconds")
      expect(asked).toEqual([[], [1], []])
      expect(log.lines).toEqual(["0 start 1", "1 end 1", "3 start 2"])
      yield* advance("1 second")
      expect((yield* ends(events)).toSorted()).toEqual(["a done", "b done"])
    })
  )

  scoped("[P4] is not asked again if other tools came and went", () =>
    Effect.gen(function* () {
      const asked: Array<string> = []
      const tools = Toolkit.make(workTool(), AsyncTool.make("other", { success: Schema.String }))
      const agent = Agent.make("worker", { instructions: "You work.", tools: [tools] }).pipe(
        Agent.provide(
          tools.toLayer({ work: ({ n }) => slowly(n), other: () => Effect.as(Effect.sleep("1 second"), "ok") })
        ),
        Agent.provide(
          DuplicatePolicy.make(({ name }) => {
            asked.push(name)
            return Effect.as(name === "work" ? Effect.sleep("3 seconds") : Effect.void, verdict.run)
          })
        )
      )
      const { session } = yield* open(turns({ go: [work(1, "a"), call("other", {}, "o")] }), { agent })
      yield* say(session, "go")
      yield* advance("5 seconds")
      expect(asked).toEqual(["work", "other"])
      expect(yield* runningIds(session)).toEqual(["a"])
    })
  )

  const broken: ReadonlyArray<readonly [string, () => Effect.Effect<DuplicatePolicy.Verdict>]> = [
    ["dies", () => Effect.zipRight(Effect.sleep("1 second"), Effect.dieMessage("secret of the policy"))],
    [
      "throws",
      () => {
        throw new Error("secret of the policy")
      }
    ]
  ]
  for (const [how, decide] of broken) {
    scoped(`[P4] one that ${how} costs the call an error, is logged once, and leaves the way free for the next`, () =>
      Effect.gen(function* () {
        const { layer, logged } = collector()
        const log = journal()
        const { events, session } = yield* workshop({
          turns: three,
          handler: watched(log),
          provide: policy((n) => (n === 1 ? decide() : verdict.run))
        }).pipe(Effect.provide(layer))
        yield* say(session, "first")
        yield* advance("1 second")
        const answer = yield* outputOf(session, "a")
        expect(answer).toMatchObject({ isError: true })
        expect(JSON.stringify(answer)).not.toContain("secret")
        expect(yield* ends(events)).toEqual(["a error"])
        expect(logged).toHaveLength(1)
        expect(logged[0]).toContain("ERROR")
        yield* say(session, "second")
        expect(log.lines).toEqual(["1 start 2"])
      })
    )
  }

  scoped("[P4] is interrupted when its call is cancelled, and the next call goes on", () =>
    Effect.gen(function* () {
      const log = journal()
      const { layer, logged } = collector()
      const { events, session } = yield* workshop({
        turns: { first: work(1, "a"), second: work(2, "b") },
        tool: { allowCancellation: true },
        handler: watched(log),
        provide: policy((n) =>
          n === 1 ? Effect.onInterrupt(Effect.never, () => log.note("policy stopped")) : verdict.run
        )
      }).pipe(Effect.provide(layer))
      yield* say(session, "first", "second")
      expect(log.lines).toEqual([])
      yield* TestSession.drive(session.cancelTool("a"))
      yield* settle
      expect(yield* ends(events)).toEqual(["a cancelled"])
      expect(log.lines.toSorted()).toEqual(["0 policy stopped", "0 start 2"])
      expect(logged).toEqual([])
    })
  )

  scoped("[P4] a call that is cancelled while its arguments are decoded never runs", () =>
    Effect.gen(function* () {
      const log = journal()
      const slow = Schema.transformOrFail(Schema.Number, Schema.Number, {
        strict: true,
        decode: (n) => Effect.as(Effect.sleep("3 seconds"), n),
        encode: ParseResult.succeed
      })
      const toolkit = Toolkit.make(
        AsyncTool.make("work", { parameters: { n: slow }, success: Schema.String, allowCancellation: true })
      )
      const agent = Agent.make("worker", { instructions: "You work.", tools: [toolkit] }).pipe(
        Agent.provide(toolkit.toLayer({ work: ({ n }) => watched(log)(n) })),
        Agent.provide(policy(() => verdict.run))
      )
      const { events, session } = yield* open(turns(three), { agent })
      yield* say(session, "first")
      yield* advance("1 second")
      yield* TestSession.drive(session.cancelTool("a"))
      yield* advance("1 minute")
      expect(yield* ends(events)).toEqual(["a cancelled"])
      expect(log.lines).toEqual([])
    })
  )

  scoped("[P4] a session closes while one decides, and no error is logged", () =>
    Effect.gen(function* () {
      const { layer, logged } = collector()
      const { close, events, session } = yield* workshop({
        turns: three,
        tool: { allowCancellation: true },
        provide: policy(() => Effect.never)
      }).pipe(Effect.provide(layer))
      yield* say(session, "first")
      yield* close
      expect(yield* ends(events)).toEqual(["a cancelled"])
      expect(logged).toEqual([])
    })
  )

  scoped("[P4] a decision that comes after the call was cancelled starts nothing", () =>
    Effect.gen(function* () {
      const log = journal()
      const { events, session } = yield* workshop({
        turns: three,
        tool: { allowCancellation: true },
        handler: watched(log),
        provide: policy(() => Effect.as(Effect.uninterruptible(Effect.sleep("3 seconds")), verdict.run))
      })
      yield* say(session, "first")
      yield* TestSession.drive(session.cancelTool("a"))
      yield* advance("5 seconds")
      expect(yield* ends(events)).toEqual(["a cancelled"])
      expect(log.lines).toEqual([])
    })
  )

  scoped("[P4] a call that waits for one can leave the turn by its timer, and gets its end later", () =>
    Effect.gen(function* () {
      const { events, session } = yield* workshop({
        turns: three,
        tool: { releaseAfter: "1 second" },
        provide: policy(() => Effect.as(Effect.sleep("3 seconds"), verdict.refuse("No, after all.")))
      })
      yield* say(session, "first")
      yield* advance("1 second")
      expect(yield* events.filter("ToolCallReleased")).toMatchObject([{ callId: "a", by: "timer" }])
      yield* advance("2 seconds")
      expect(yield* outputOf(session, "a_final")).toEqual({ output: "No, after all.", isError: false })
      expect(yield* ends(events)).toEqual(["a done"])
    })
  )
})

describe("across the session", () => {
  const handler = (log: ReturnType<typeof journal>) => ({ work: ({ n }: { readonly n: number }) => watched(log)(n) })

  /** Two agents that have the same tool in toolsets, and so in executors, of their own. */
  const desks = (
    mode: DuplicatePolicy.Mode,
    options: AsyncTool.Options,
    body: (n: number) => Effect.Effect<string, any, any>
  ) => {
    const toolkit = Toolkit.make(workTool(options))
    const desk = (name: string, other: Layer.Layer<never>) =>
      Agent.make(name, { instructions: "You work.", tools: [AsyncToolset.make(`${name} tools`, toolkit)] }).pipe(
        Agent.provide(toolkit.toLayer({ work: ({ n }) => body(n) as any })),
        Agent.provide(other)
      )
    return {
      front: desk("front", Layer.empty),
      back: desk("back", DuplicatePolicy.layer(mode))
    }
  }

  scoped("[P4b] the same tool reached through two executors is still a duplicate", () =>
    Effect.gen(function* () {
      const log = journal()
      const { back, front } = desks("reject", {}, watched(log))
      const { events, session } = yield* open(turns(three), { agent: front })
      yield* say(session, "first")
      yield* TestSession.drive(session.handoff(back))
      yield* say(session, "second")
      expect(yield* ends(events)).toEqual(["b done"])
      expect(log.lines).toEqual(["0 start 1"])
    })
  )

  scoped("[P4b] replace reaches into another executor", () =>
    Effect.gen(function* () {
      const log = journal()
      const options = { allowCancellation: true, onHandoff: "await" } as const
      const { back, front } = desks("replace", options, watched(log, slowly, Effect.sleep("1 second")))
      const { events, session } = yield* open(turns(three), { agent: front })
      yield* say(session, "first")
      yield* TestSession.drive(session.handoff(back))
      yield* say(session, "second")
      yield* advance("1 second")
      expect(log.lines).toEqual(["0 start 1", "0 stop 1", "1 clean 1", "1 start 2"])
      expect(yield* ends(events)).toEqual(["a cancelled"])
    })
  )

  scoped("[P4b] join shares a run of another executor, and the new agent tells its result", () =>
    Effect.gen(function* () {
      const log = journal()
      const { back, front } = desks("join", {}, watched(log, inBackground))
      const { events, session } = yield* open(turns(three), { agent: front })
      yield* say(session, "first")
      yield* TestSession.drive(session.handoff(back))
      yield* say(session, "third")
      yield* advance("10 seconds")
      expect(log.lines).toEqual(["0 start 1", "10 end 1"])
      expect(yield* outputOf(session, "c_final")).toEqual({ output: "result 1", isError: false })
      const completed = (yield* events.filter("ReplyEnded")).filter(({ status }) => status === "completed")
      expect(completed.flatMap(({ updateIds }) => updateIds)).toEqual(["c_final"])
    })
  )

  scoped("[P4b] a session's toolset and an agent's are two executors, too", () =>
    Effect.gen(function* () {
      const log = journal()
      const toolkit = Toolkit.make(workTool({ onDuplicate: "reject" }))
      const shared = AsyncToolset.make("shared", toolkit).pipe(AsyncToolset.provide(toolkit.toLayer(handler(log))))
      const front = Agent.make("front", { instructions: "You work." })
      const back = Agent.make("back", { instructions: "You work.", tools: [toolkit] }).pipe(
        Agent.provide(toolkit.toLayer(handler(log)))
      )
      const { events, session } = yield* open(turns(three), { agent: front, tools: [shared] })
      yield* say(session, "first")
      yield* TestSession.drive(session.handoff(back))
      yield* say(session, "second")
      expect(yield* ends(events)).toEqual(["b done"])
      expect(log.lines).toEqual(["0 start 1"])
    })
  )

  scoped("[P4b] a slow finalizer of a call in another executor is waited for in the same way", () =>
    Effect.gen(function* () {
      const log = journal()
      const options = { allowCancellation: true, onHandoff: "cancel" } as const
      const { back, front } = desks("replace", options, watched(log, slowly, Effect.sleep("3 seconds")))
      const { session } = yield* open(turns(three), { agent: front })
      yield* say(session, "first")
      yield* TestSession.drive(session.handoff(back))
      yield* say(session, "second")
      yield* advance("3 seconds")
      expect(log.lines).toEqual(["0 start 1", "0 stop 1", "3 clean 1", "3 start 2"])
    })
  )

  scoped("[P4b] calls of another session are no duplicates", () =>
    Effect.gen(function* () {
      const config = { turns: three, tool: { onDuplicate: "reject" } } as const
      const one = yield* workshop(config)
      const two = yield* workshop(config)
      yield* say(one.session, "first")
      yield* say(two.session, "first")
      expect(yield* runningIds(one.session)).toEqual(["a"])
      expect(yield* runningIds(two.session)).toEqual(["a"])
    })
  )

  const refusal = (onDuplicate: "reject" | "confirm", options: AsyncTool.Options, body = slowly) =>
    Effect.gen(function* () {
      const { session } = yield* workshop({ turns: three, tool: { onDuplicate, ...options }, handler: body as any })
      yield* say(session, "first", "second")
      const answer = yield* outputOf(session, "b")
      expect(answer).toMatchObject({ isError: false, output: expect.stringContaining("work") })
      return String(answer?.output)
    })

  for (const mode of ["reject", "confirm"] as const) {
    scoped(`[P4b] ${mode} names cancel_task where the running call can be cancelled`, () =>
      Effect.gen(function* () {
        const text = yield* refusal(mode, { allowCancellation: true })
        expect(text).toContain("cancel_task")
        expect(text).toContain("a")
      })
    )

    scoped(`[P4b] ${mode} does not name cancel_task where it cannot`, () =>
      Effect.map(refusal(mode, {}), (text) => expect(text).not.toContain("cancel_task"))
    )

    scoped(`[P4b] ${mode} does not name cancel_task for a call past its point of no return`, () =>
      Effect.map(
        refusal(mode, { allowCancellation: true }, (n) => RunContext.commit(slowly(n))),
        (text) => expect(text).not.toContain("cancel_task")
      )
    )
  }

  scoped("[P4b] the text does not name cancel_task where another tool has the flag and this one has not", () =>
    Effect.gen(function* () {
      const Other = AsyncTool.make("other", { success: Schema.String, allowCancellation: true })
      const tools = Toolkit.make(workTool({ onDuplicate: "reject" }), Other)
      const agent = Agent.make("worker", { instructions: "You work.", tools: [tools] }).pipe(
        Agent.provide(tools.toLayer({ work: ({ n }) => slowly(n), other: () => Effect.succeed("") }))
      )
      const { requests, session } = yield* open(turns(three), { agent })
      yield* say(session, "first", "second")
      expect(ScriptedModel.toolNames((yield* requests)[0]!)).toContain("cancel_task")
      expect((yield* outputOf(session, "b"))?.output).not.toContain("cancel_task")
    })
  )

  scoped("[P4b] the text does not name cancel_task where the agent is not offered it", () =>
    Effect.gen(function* () {
      // one tool name, cancellable for the first agent only
      const cancellable = Toolkit.make(workTool({ allowCancellation: true, onHandoff: "await" }))
      const plain = Toolkit.make(workTool({ onDuplicate: "reject" }))
      const front = Agent.make("front", { instructions: "You work.", tools: [cancellable] }).pipe(
        Agent.provide(cancellable.toLayer({ work: ({ n }) => slowly(n) }))
      )
      const back = Agent.make("back", { instructions: "You work.", tools: [plain] }).pipe(
        Agent.provide(plain.toLayer({ work: ({ n }) => slowly(n) }))
      )
      const { requests, session } = yield* open(turns(three), { agent: front })
      yield* say(session, "first")
      yield* TestSession.drive(session.handoff(back))
      yield* say(session, "second")
      expect(ScriptedModel.toolNames((yield* requests).at(-1)!)).toEqual(["work"])
      const answer = yield* outputOf(session, "b")
      expect(answer?.output).toEqual(expect.stringContaining("running"))
      expect(answer?.output).not.toContain("cancel_task")
    })
  )
})

describe("where the mode comes from", () => {
  const handlers = (toolkit: Toolkit.Toolkit<any>) =>
    toolkit.toLayer({ work: ({ n }: { readonly n: number }) => slowly(n) } as any) as unknown as Layer.Layer<never>

  /** `b` is allowed, rejected or joined, by what is set where. */
  const outcome = (set: {
    readonly tool?: AsyncTool.Options
    readonly annotate?: (tool: ReturnType<typeof workTool>) => ReturnType<typeof workTool>
    readonly toolset?: Layer.Layer<never>
    readonly agent?: Layer.Layer<never>
    readonly session?: Layer.Layer<never>
    readonly turns?: Record<string, ScriptedModel.Step>
  }) =>
    Effect.gen(function* () {
      const toolkit = Toolkit.make((set.annotate ?? identity)(workTool(set.tool)))
      const tools = AsyncToolset.make("tools", toolkit as any).pipe(
        AsyncToolset.provide(set.toolset ?? Layer.empty),
        AsyncToolset.provide(handlers(toolkit as any))
      )
      const agent = Agent.make("worker", { instructions: "You work.", tools: [tools] }).pipe(
        Agent.provide(set.agent ?? Layer.empty)
      ) as unknown as Agent.Agent<never>
      const { events, session } = yield* open(turns(set.turns ?? three), { agent }).pipe(
        Effect.provide(set.session ?? Layer.empty)
      )
      yield* say(session, "first", "second")
      return (yield* ends(events)).includes("b done") ? "rejected" : "allowed"
    })
  const allow = DuplicatePolicy.layer("allow")
  const reject = DuplicatePolicy.layer("reject")
  const custom = policy(() => verdict.refuse("custom"))

  scoped("[P5] none set: allow", () => Effect.map(outcome({}), (found) => expect(found).toBe("allowed")))

  scoped("[P5] the session's mode holds where nothing else is set", () =>
    Effect.map(outcome({ session: reject }), (found) => expect(found).toBe("rejected"))
  )

  scoped("[P5] the agent's wins over the session's", () =>
    Effect.gen(function* () {
      expect(yield* outcome({ session: reject, agent: allow })).toBe("allowed")
      expect(yield* outcome({ session: allow, agent: reject })).toBe("rejected")
    })
  )

  scoped("[P5] the toolset's wins over the agent's", () =>
    Effect.gen(function* () {
      expect(yield* outcome({ agent: reject, toolset: allow })).toBe("allowed")
      expect(yield* outcome({ agent: allow, toolset: reject })).toBe("rejected")
    })
  )

  scoped("[P5] the tool's own wins over all, over a policy of one's own too", () =>
    Effect.gen(function* () {
      expect(yield* outcome({ toolset: reject, tool: { onDuplicate: "allow" } })).toBe("allowed")
      expect(yield* outcome({ toolset: allow, tool: { onDuplicate: "reject" } })).toBe("rejected")
      expect(yield* outcome({ toolset: custom, tool: { onDuplicate: "allow" } })).toBe("allowed")
    })
  )

  scoped("[P5] a policy of one's own is a setting like another", () =>
    Effect.gen(function* () {
      expect(yield* outcome({ session: custom })).toBe("rejected")
      expect(yield* outcome({ session: custom, agent: allow })).toBe("allowed")
      expect(yield* outcome({ session: allow, toolset: custom })).toBe("rejected")
    })
  )

  scoped("[P5] a layer sets the scope too, and the tool's duplicateScope wins over it", () =>
    Effect.gen(function* () {
      const byArguments = DuplicatePolicy.layer("reject", { scope: "name_and_args" })
      expect(yield* outcome({ agent: byArguments })).toBe("allowed")
      expect(yield* outcome({ agent: byArguments, tool: { duplicateScope: "name" } })).toBe("rejected")
      expect(yield* outcome({ agent: reject, tool: { duplicateScope: "name_and_args" } })).toBe("allowed")
    })
  )

  scoped(
    "[P5] [A3] annotations of a tool count in a scope that asks for it, and only as the program has set them",
    () =>
      Effect.gen(function* () {
        type Work = ReturnType<typeof workTool>
        const careful = (mode: DuplicatePolicy.Mode) => DuplicatePolicy.layer(mode, { allow: "idempotent" })
        const idempotent = (tool: Work) => tool.annotate(Tool.Idempotent, true)
        for (const [annotate, found] of [
          [identity<Work>, "rejected"],
          [idempotent, "allowed"],
          [(tool: Work) => tool.annotate(Tool.Idempotent, false), "rejected"],
          [(tool: Work) => tool.annotate(Tool.Readonly, true), "allowed"],
          [(tool: Work) => tool.annotate(Tool.Readonly, false), "rejected"],
          [(tool: Work) => idempotent(tool).annotate(Tool.Readonly, false), "allowed"],
          [(tool: Work) => tool.annotate(Tool.Destructive, false), "rejected"]
        ] as const) {
          expect(yield* outcome({ annotate, session: careful("reject") })).toBe(found)
          // a scope that does not ask for it
          expect(yield* outcome({ annotate, session: reject })).toBe("rejected")
        }
        // the most specific scope decides, and the tool's own mode before all
        expect(yield* outcome({ annotate: idempotent, session: careful("reject"), agent: reject })).toBe("rejected")
        expect(yield* outcome({ annotate: idempotent, session: reject, toolset: careful("reject") })).toBe("allowed")
        expect(
          yield* outcome({ annotate: idempotent, agent: careful("reject"), tool: { onDuplicate: "reject" } })
        ).toBe("rejected")
        // nobody is asked to confirm what is allowed
        const turns = { ...three, second: work(2, "b") }
        expect(yield* outcome({ annotate: idempotent, session: careful("confirm"), turns })).toBe("allowed")
      })
  )

  scoped("[P5] [L3] options of a layer that make no sense are refused by name", () =>
    Effect.gen(function* () {
      for (const [layer, option] of [
        [DuplicatePolicy.layer("sometimes" as never), "mode"],
        [DuplicatePolicy.layer("reject", { scope: "all" as never }), "scope"],
        [DuplicatePolicy.layer("reject", { allow: "readonly" as never }), "allow"]
      ] as const) {
        const exit = yield* Effect.exit(Effect.scoped(Layer.build(layer)))
        expect(exit).toEqual(Exit.die(expect.objectContaining({ _tag: "OptionsError", option })))
      }
    })
  )

  scoped("[P5] join set by a layer compares the arguments", () =>
    Effect.gen(function* () {
      const log = journal()
      const { session } = yield* workshop({
        turns: three,
        provide: DuplicatePolicy.layer("join"),
        handler: watched(log)
      })
      yield* say(session, "first", "second", "third")
      expect(log.lines).toEqual(["0 start 1", "0 start 2"])
    })
  )

  scoped("[P5] confirm set by a layer asks, and takes the flag", () =>
    Effect.gen(function* () {
      const { events, session } = yield* workshop({
        turns: { ...three, yes: work(2, "y", { confirm_duplicate: true }) },
        provide: DuplicatePolicy.layer("confirm")
      })
      yield* say(session, "first", "second", "yes")
      expect(yield* ends(events)).toEqual(["b done"])
      expect(yield* runningIds(session)).toEqual(["a", "y"])
    })
  )

  scoped("[P5] the policies of two agents hold for their own calls", () =>
    Effect.gen(function* () {
      const toolkit = Toolkit.make(workTool({ onHandoff: "await" }))
      const agent = (name: string, layer: Layer.Layer<never>) =>
        Agent.make(name, { instructions: "You work.", tools: [toolkit] }).pipe(
          Agent.provide(toolkit.toLayer({ work: ({ n }) => slowly(n) })),
          Agent.provide(layer)
        )
      const { events, session } = yield* open(turns({ ...three, fourth: work(4, "d") }), {
        agent: agent("front", reject)
      })
      yield* say(session, "first", "second")
      expect(yield* ends(events)).toEqual(["b done"])
      yield* TestSession.drive(session.handoff(agent("back", allow)))
      yield* say(session, "fourth")
      expect(yield* runningIds(session)).toEqual(["a", "d"])
    })
  )

  scoped("[P5] the session's own tools are not subject to it", () =>
    Effect.gen(function* () {
      const { events, session } = yield* workshop({
        turns: {
          first: work(1, "a"),
          both: [call("get_running_tasks", {}, "g"), call("get_running_tasks", {}, "h"), cancel("a", "x")]
        },
        tool: { allowCancellation: true },
        provide: policy((n) => (n === 1 ? verdict.run : verdict.refuse("No.")))
      })
      yield* say(session, "first", "both")
      expect((yield* ends(events)).toSorted()).toEqual(["a cancelled", "g done", "h done", "x done"])
      expect(Exit.isExit(yield* Effect.exit(session.cancelTool("a")))).toBe(true)
    })
  )
})
