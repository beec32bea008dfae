/**
 * Calls that wait until a person agrees (rules A).
 */
import { Tool, Toolkit } from "@effect/ai"
import { describe, expect } from "@effect/vitest"
import { Cause, Context, Effect, Exit, Layer, Option, Schema } from "effect"
import { Agent, ApprovalPolicy, AsyncTool, AsyncToolset, RunContext, ToolPrompts } from "effect-meantime"
import { ScriptedModel, TestSession } from "effect-meantime/testing"
import { ask, failure, noted, outputs, paying, sent, told, words } from "./support/paying.js"
import { talk, toolCall } from "./support/talk.js"
import { it } from "./support/virtual.js"

describe("a call that waits", () => {
  it.scoped("[A1] [A2] it leaves its turn at once, has not run, and the conversation goes on with all tools", () =>
    Effect.gen(function* () {
      const log: Array<unknown> = []
      const t = yield* paying({
        log,
        script: [ask, "It waits.", [toolCall("look", {}, { id: "l" })], "Seen.", "Paid."],
        tools: { look: () => Effect.succeed("seen") }
      })
      yield* sent(t)
      expect(log).toEqual([])
      expect(yield* TestSession.said(t.session)).toEqual(["It waits."])
      expect((yield* t.events.filter("ToolCallReleased")).map(({ by, callId }) => [callId, by])).toEqual([
        ["p", "approval"]
      ])
      const [pending] = (yield* t.session.history).items.filter((item) => item._tag === "FunctionCallOutput")
      expect(pending).toMatchObject({ callId: "p", isError: false, open: "approval" })
      expect(String((pending as { output: unknown }).output)).toMatch(
        /^pay has not been run: it waits until a person approves it/
      )
      // it is not asked for with "none", which makes models invent calls
      expect((yield* t.request(1)).toolChoice).toBe("auto")
      yield* sent(t, "Look")
      expect((yield* t.request(2)).toolChoice).toBe("auto")
      expect(yield* TestSession.said(t.session)).toEqual(["It waits.", "Seen."])
      yield* t.session.approve("p", { by: "ann" })
      yield* TestSession.settle
      expect(log).toEqual([{ n: 1 }])
      expect(yield* told(t)).toEqual(["asks p", "l done", "approved p by ann", "p_final done"])
      expect((yield* outputs(t)).at(-1)).toBe("p_final: paid")
      expect(yield* TestSession.said(t.session)).toEqual(["It waits.", "Seen.", "Paid."])
    })
  )

  it.scoped("[A1] it holds no permit and no timeout, and only then the limits count", () =>
    Effect.gen(function* () {
      const log: Array<unknown> = []
      const t = yield* paying({
        log,
        maxRunning: 1,
        pay: { timeout: "1 second", run: noted(log, Effect.as(Effect.sleep("900 millis"), "paid")) },
        tools: { long: () => Effect.zipRight(RunContext.update("long"), Effect.as(Effect.sleep("1 hour"), "long")) },
        script: [ask, "A.", toolCall("long", {}, { id: "l" }), "B.", "C.", "D."]
      })
      yield* sent(t)
      yield* TestSession.advance("10 minutes")
      yield* sent(t, "Long")
      // the one permit is taken by now
      yield* t.session.approve("p")
      yield* TestSession.settle
      expect(yield* told(t)).toEqual(["asks p", "approved p", "p_final error"])
      expect((yield* outputs(t)).find((line) => line.startsWith("p_final"))).toMatch(
        /^p_final! Not run: 1 calls are running already/
      )
      expect(log).toEqual([])
    })
  )

  it.scoped("[A1] [T12] its time limit starts with its handler, and it waits in the queue of its scope only then", () =>
    Effect.gen(function* () {
      const log: Array<unknown> = []
      const work = {
        run: noted(log, Effect.as(Effect.sleep("10 seconds"), "paid")),
        needsApproval: true,
        timeout: "11 seconds"
      } as const
      const kit = Toolkit.make(
        AsyncTool.make("pay", { success: Schema.String, parameters: { n: Schema.Number }, ...work })
      )
      const t = yield* talk({
        pace: "instant",
        agent: Agent.make("clerk", { instructions: "You pay.", tools: [kit], maxConcurrency: 1 }).pipe(
          Agent.provide(kit.toLayer({ pay: work.run as never }))
        ),
        script: [
          [toolCall("pay", { n: 1 }, { id: "a" }), toolCall("pay", { n: 2 }, { id: "b" })],
          "Wait.",
          "So.",
          "So.",
          "So."
        ]
      })
      yield* sent(t)
      yield* TestSession.advance("1 hour")
      yield* t.session.approve("a")
      yield* t.session.approve("b")
      yield* TestSession.advance("9 seconds")
      expect(log).toEqual([{ n: 1 }])
      yield* TestSession.advance("10 seconds")
      expect(log).toEqual([{ n: 1 }, { n: 2 }])
      yield* TestSession.advance("10 seconds")
      expect(yield* told(t)).toEqual(["asks a", "asks b", "approved a", "approved b", "a_final done", "b_final done"])
    })
  )

  it.scoped("[A1] at most maxRunning calls wait; one more gets an error output", () =>
    Effect.gen(function* () {
      const t = yield* paying({
        maxRunning: 2,
        script: [["a", "b", "c"].map((id) => toolCall("pay", {}, { id })), "So."]
      })
      yield* sent(t)
      expect((yield* t.session.approvals).map(({ callId }) => callId)).toEqual(["a", "b"])
      expect((yield* outputs(t)).at(-1)).toMatch(/^c! Not run: 2 calls wait for approval already/)
      yield* t.session.deny("a")
    })
  )

  it.scoped("[A1] [T2] with startAfter `step` the person is asked once the step has ended well, else never", () =>
    Effect.gen(function* () {
      const t = yield* paying({
        pay: { startAfter: "step" },
        script: [
          [ask, ScriptedModel.wait("1 second")],
          "So.",
          [toolCall("pay", {}, { id: "q" }), ScriptedModel.finish("length")],
          "Oh."
        ]
      })
      yield* sent(t)
      expect(yield* told(t)).toEqual([])
      yield* TestSession.advance("1 second")
      expect(yield* told(t)).toEqual(["asks p"])
      yield* sent(t, "Again")
      expect(yield* told(t)).toEqual(["asks p", "q error"])
    })
  )

  it.scoped("[A1] [T3] arguments that do not fit are an error before anybody is asked", () =>
    Effect.gen(function* () {
      const t = yield* paying({ script: [toolCall("pay", { n: "much" }, { id: "p" }), "Oh."] })
      yield* sent(t)
      expect(yield* told(t)).toEqual(["p error"])
      expect(yield* t.session.approvals).toEqual([])
    })
  )
})

describe("who decides whether a person is asked", () => {
  const Pay = AsyncTool.make("pay", { parameters: { n: Schema.Number }, success: Schema.String })
  const kitOf = (options: AsyncTool.Options = {}) => Toolkit.make(Pay.annotate(AsyncTool.Annotations, options))
  const paid = kitOf().toLayer({ pay: () => Effect.succeed("paid") })

  /** What becomes of a call, by what its tool, toolset, agent and session say. */
  const decided = (places: {
    readonly tool?: AsyncTool.Options
    readonly toolset?: Layer.Layer<never>
    readonly agent?: Layer.Layer<never>
    readonly session?: Layer.Layer<never>
    readonly logs?: ReadonlyArray<RegExp>
  }) =>
    Effect.scoped(
      Effect.gen(function* () {
        const none = Layer.empty
        const t = yield* talk({
          pace: "instant",
          agent: Agent.make("clerk", {
            instructions: "You pay.",
            tools: [AsyncToolset.make("money", kitOf(places.tool)).pipe(AsyncToolset.provide(places.toolset ?? none))]
          }).pipe(Agent.provide(places.agent ?? none)),
          layer: Layer.merge(paid, places.session ?? none) as Layer.Layer<any>,
          script: [ask, "So."],
          logs: places.logs ?? []
        })
        yield* sent(t)
        const [pending] = yield* t.session.approvals
        const [output] = yield* outputs(t)
        return pending === undefined ? output : `asks${pending.reason === undefined ? "" : `: ${pending.reason}`}`
      })
    )

  const never = ApprovalPolicy.layer("never")
  const always = ApprovalPolicy.layer("always")

  it.scoped("[A3] the most specific place decides: tool, toolset, agent, session; else it runs", () =>
    Effect.gen(function* () {
      const runs = "p: paid"
      const table: ReadonlyArray<readonly [Parameters<typeof decided>[0], string]> = [
        [{}, runs],
        [{ session: always }, "asks"],
        [{ agent: always, session: never }, "asks"],
        [{ agent: never, session: always }, runs],
        [{ toolset: always, agent: never }, "asks"],
        [{ toolset: never, agent: always, session: always }, runs],
        [{ tool: { needsApproval: true }, toolset: never, agent: never, session: never }, "asks"],
        [{ tool: { needsApproval: false }, toolset: always, agent: always, session: always }, runs],
        [{ tool: { needsApproval: ({ n }) => Effect.succeed(n === 1) }, session: never }, "asks"],
        [{ tool: { needsApproval: ({ n }) => Effect.succeed(n !== 1) }, session: always }, runs]
      ]
      for (const [places, expected] of table) expect([places, yield* decided(places)]).toEqual([places, expected])
    })
  )

  it.scoped(
    "[A3] a policy runs, asks with a reason, or denies: then the call is an inline error and nobody is asked",
    () =>
      Effect.gen(function* () {
        const by = (verdict: ApprovalPolicy.Verdict) =>
          decided({ agent: ApprovalPolicy.make(() => Effect.succeed(verdict)) })
        expect(yield* by(ApprovalPolicy.run)).toBe("p: paid")
        expect(yield* by(ApprovalPolicy.ask())).toBe("asks")
        expect(yield* by(ApprovalPolicy.ask("It is a lot."))).toBe("asks: It is a lot.")
        expect(yield* by(ApprovalPolicy.deny("It is too much."))).toBe(
          "p! pay was not run: it was not approved (reason: It is too much)."
        )
      })
  )

  it.scoped("[A3] a denial of the policy is told by no event of approvals, and gets its answer in the same turn", () =>
    Effect.gen(function* () {
      const log: Array<unknown> = []
      const t = yield* paying({
        log,
        pay: { needsApproval: undefined },
        layer: ApprovalPolicy.make(() => Effect.succeed(ApprovalPolicy.deny("no")))
      })
      const handle = yield* t.session.send("Pay")
      yield* handle.wait
      expect(yield* told(t)).toEqual(["p error"])
      expect(yield* t.replies).toEqual([])
      expect(log).toEqual([])
    })
  )

  it.scoped("[A3] a policy that dies, throws, fails, is interrupted or gives no verdict means ask", () =>
    Effect.gen(function* () {
      const odd: ReadonlyArray<readonly [string, () => unknown]> = [
        ["failed", () => Effect.die(new Error("boom"))],
        ["failed", () => Effect.fail("boom")],
        ["failed", () => Effect.interrupt],
        [
          "failed",
          () => {
            throw new Error("boom")
          }
        ],
        ["failed", () => "Run"],
        ["gave no verdict", () => Effect.succeed(undefined)],
        ["gave no verdict", () => Effect.succeed("Run")],
        ["gave no verdict", () => Effect.succeed({ _tag: "Allow" })],
        ["gave no verdict", () => Effect.succeed({ _tag: "Deny" })],
        [
          "gave no verdict",
          () =>
            Effect.succeed(
              new Proxy(
                {},
                {
                  get: () => {
                    throw new Error("boom")
                  }
                }
              )
            )
        ]
      ]
      for (const [what, policy] of odd) {
        const logs = [new RegExp(`^ERROR: The approval policy of pay ${what}: a person is asked.`)]
        expect(yield* decided({ session: ApprovalPolicy.make(policy as never), logs })).toBe("asks")
      }
      for (const answer of ["yes", 1, null]) {
        const logs = [/^ERROR: The approval policy of pay gave no verdict/]
        expect(yield* decided({ tool: { needsApproval: (() => Effect.succeed(answer)) as never }, logs })).toBe("asks")
      }
      const logs = [/^ERROR: The approval policy of pay failed/]
      expect(yield* decided({ tool: { needsApproval: () => Effect.die("boom") }, logs })).toBe("asks")
    })
  )

  it.scoped("[A3] what it is given of a call is its own, and it has the services of its layer", () =>
    Effect.gen(function* () {
      class Limit extends Context.Tag("Limit")<Limit, number>() {}
      const seen: Array<unknown> = []
      const policy = ApprovalPolicy.make((call, tool) =>
        Effect.map(Limit, (limit) => {
          seen.push(structuredClone([call, tool]))
          const args = call.arguments as { n: number }
          const verdict = args.n > limit ? ApprovalPolicy.ask("much") : ApprovalPolicy.run
          args.n = 1000
          Reflect.set(tool, "readonly", true)
          return verdict
        })
      ).pipe(Layer.provide(Layer.succeed(Limit, 0)))
      const log: Array<unknown> = []
      const t = yield* paying({
        log,
        pay: { needsApproval: undefined },
        layer: policy,
        script: [ask, "A.", toolCall("pay", { n: 2 }, { id: "q" }), ...words]
      })
      yield* sent(t)
      yield* sent(t, "Again")
      expect(seen).toEqual([
        [
          { callId: "p", name: "pay", arguments: { n: 1 } },
          { readonly: false, destructive: false }
        ],
        [
          { callId: "q", name: "pay", arguments: { n: 2 } },
          { readonly: false, destructive: false }
        ]
      ])
      expect((yield* t.session.approvals).map((one) => one.arguments)).toEqual([{ n: 1 }, { n: 2 }])
      yield* t.session.approve("p")
      yield* TestSession.settle
      expect(log).toEqual([{ n: 1 }])
      yield* t.session.deny("q")
    })
  )

  it.scoped("[A3] what a tool's own function does to its arguments changes nothing", () =>
    Effect.gen(function* () {
      const log: Array<unknown> = []
      const t = yield* paying({
        log,
        pay: {
          needsApproval: (args, call) => {
            args.n = 1000
            ;(call.arguments as { n: number }).n = 1000
            return Effect.succeed(false)
          }
        }
      })
      yield* sent(t)
      expect(log).toEqual([{ n: 1 }])
    })
  )

  it.scoped("[A3] `destructive` asks unless the program has said that the tool does no harm", () =>
    Effect.gen(function* () {
      const facts: Array<ApprovalPolicy.ToolFacts> = []
      const policy = ApprovalPolicy.make((_, tool) => {
        facts.push(tool)
        return Effect.succeed(ApprovalPolicy.run)
      })
      const table = [
        [(tool: typeof Pay) => tool, true, {}],
        [(tool: typeof Pay) => tool.annotate(Tool.Destructive, true), true, { destructive: true }],
        [(tool: typeof Pay) => tool.annotate(Tool.Destructive, false), false, {}],
        [(tool: typeof Pay) => tool.annotate(Tool.Readonly, true), false, { readonly: true }],
        [(tool: typeof Pay) => tool.annotate(Tool.Readonly, false), true, {}],
        [
          (tool: typeof Pay) => tool.annotate(Tool.Readonly, true).annotate(Tool.Destructive, true),
          false,
          { readonly: true, destructive: true }
        ]
      ] as const
      for (const [annotate, asks, known] of table) {
        for (const layer of [ApprovalPolicy.layer("destructive"), policy]) {
          yield* Effect.scoped(
            Effect.gen(function* () {
              const kit = Toolkit.make(annotate(Pay))
              const t = yield* talk({
                pace: "instant",
                agent: Agent.make("clerk", {
                  instructions: "You pay.",
                  tools: [AsyncToolset.make("outer", AsyncToolset.make("money", kit))]
                }).pipe(Agent.provide(layer)),
                layer: paid as Layer.Layer<any>,
                script: [ask, "So."]
              })
              yield* sent(t)
              expect((yield* t.session.approvals).length).toBe(layer !== policy && asks ? 1 : 0)
            })
          )
        }
        expect(facts.pop()).toEqual({ readonly: false, destructive: false, toolset: "money", ...known })
      }
    })
  )

  it.scoped("[A3] companions and the tool `complete` of a task are exempt", () =>
    Effect.gen(function* () {
      const t = yield* paying({
        layer: ApprovalPolicy.layer("always"),
        pay: { allowCancellation: true, needsApproval: false, run: () => Effect.never },
        script: [
          [ask, toolCall("get_running_tasks", {}, { id: "g" }), toolCall("cancel_task", { call_id: "p" }, { id: "c" })],
          "So.",
          toolCall("complete", { ok: true }, { id: "d" })
        ]
      })
      yield* sent(t)
      expect(yield* told(t)).toEqual(["g done", "p cancelled", "c done"])
      const Ok = Agent.task("ok", { instructions: "Complete.", result: Schema.Struct({ ok: Schema.Boolean }) })
      expect(yield* t.session.runTask(Ok)).toEqual({ ok: true })
    })
  )

  it.scoped("[A3] [T1] a tool of the provider's own is exempt", () =>
    Effect.gen(function* () {
      const Search = Tool.providerDefined({
        id: "acme.search",
        toolkitName: "Search",
        providerName: "search",
        args: {},
        requiresHandler: true,
        parameters: { q: Schema.String },
        success: Schema.String
      })({})
      const kit = Toolkit.make(Search as never) as Toolkit.Toolkit<any>
      const t = yield* talk({
        pace: "instant",
        agent: Agent.make("clerk", { instructions: "You look.", tools: [kit] }),
        layer: Layer.merge(
          ApprovalPolicy.layer("always"),
          kit.toLayer({ Search: () => Effect.succeed("found") } as never) as Layer.Layer<any>
        ) as Layer.Layer<any>,
        script: [toolCall("Search", { q: "x" }, { id: "s" }), "So."]
      })
      yield* sent(t)
      expect(yield* t.session.approvals).toEqual([])
    })
  )

  it.scoped(
    "[A3] [U9] a policy that takes its time: the call is inline until it has decided, or leaves its turn before",
    () =>
      Effect.gen(function* () {
        const log: Array<unknown> = []
        const t = yield* paying({
          log,
          pay: { needsApproval: () => Effect.as(Effect.sleep("5 seconds"), true), releaseAfter: "7 seconds" },
          script: [
            ask,
            "It waits.",
            toolCall("pay", { n: 2 }, { id: "q" }),
            "It works.",
            "It waits, too.",
            "It is paid."
          ]
        })
        yield* sent(t)
        yield* TestSession.advance("4 seconds")
        expect(yield* failure(t.session.approve("p"))).toMatch(/its policy has not decided yet/)
        expect(yield* TestSession.said(t.session)).toEqual([])
        yield* TestSession.advance("1 second")
        expect(yield* TestSession.said(t.session)).toEqual(["It waits."])
        expect(yield* t.session.approvals).toMatchObject([{ callId: "p", agent: "helper", requestedAt: 5000 }])
        yield* sent(t, "Again")
        yield* t.session.release("q")
        yield* TestSession.advance("5 seconds")
        expect((yield* t.session.approvals).map(({ callId }) => callId)).toEqual(["p", "q"])
        // it had left its turn: that it waits is a report, which is voiced
        expect((yield* outputs(t)).map((line) => line.slice(0, 40))).toEqual(
          [
            "p: pay has not been run: it waits until a",
            "q: pay works in the background now; there",
            "q_update_1: pay has not been run: it wai"
          ].map((line) => line.slice(0, 40))
        )
        expect(yield* TestSession.said(t.session)).toEqual(["It waits.", "It works.", "It waits, too."])
        const open = (yield* TestSession.outputs(t.session)).map(({ callId, open }) => [callId, open])
        expect(open).toEqual([
          ["p", "approval"],
          ["q", "approval"],
          ["q_update_1", undefined]
        ])
        yield* t.session.approve("q")
        yield* TestSession.settle
        expect(log).toEqual([{ n: 2 }])
        yield* t.session.deny("p")
      })
  )
})

describe("the words of approval", () => {
  const prompts = (place: string) =>
    ToolPrompts.layer({
      approvalPending: `${place} pending {toolName} {callId} {reason}`,
      approvalEdited: ({ arguments: args, callId }) => `${place} edited ${callId} ${args}`,
      approvalDenied: `${place} {how} {toolName} {callId} {reason}`
    })

  it.scoped("[L1] [A2] [A5] [A6] each scope may have its own, the most specific one wins", () =>
    Effect.gen(function* () {
      const kit = (name: string) =>
        Toolkit.make(
          AsyncTool.make(name, { parameters: { n: Schema.Number }, success: Schema.String, approvalTimeout: "1 hour" })
        )
      const [inner, own, shared] = [kit("inner"), kit("own"), kit("shared")]
      const handlers = Layer.mergeAll(
        inner.toLayer({ inner: () => Effect.succeed("done") } as never),
        own.toLayer({ own: () => Effect.succeed("done") } as never),
        shared.toLayer({ shared: () => Effect.succeed("done") } as never)
      ) as Layer.Layer<any>
      const policy = ApprovalPolicy.make(() => Effect.succeed(ApprovalPolicy.ask("since")))
      const names = ["inner", "own", "shared"]
      const t = yield* talk({
        pace: "instant",
        agent: Agent.make("clerk", {
          instructions: "You pay.",
          tools: [AsyncToolset.make("set", inner).pipe(AsyncToolset.provide(prompts("toolset"))), own]
        }).pipe(Agent.provide(prompts("agent"))),
        sessionTools: [shared],
        layer: Layer.mergeAll(handlers, policy, prompts("session")) as Layer.Layer<any>,
        script: [
          names.flatMap((name) => ["a", "b", "c"].map((id) => toolCall(name, { n: 1 }, { id: `${name}.${id}` }))),
          ...words,
          ...words
        ]
      })
      yield* sent(t)
      for (const name of names) {
        yield* t.session.approve(`${name}.a`, { arguments: { n: 2 } })
        yield* t.session.deny(`${name}.b`, { reason: "no" })
      }
      yield* TestSession.advance("1 hour")
      const all = yield* outputs(t)
      for (const [name, place] of [
        ["inner", "toolset"],
        ["own", "agent"],
        ["shared", "session"]
      ]) {
        expect(all).toContain(`${name}.a: ${place} pending ${name} ${name}.a since`)
        expect(all).toContain(`${name}.a_update_1: ${place} edited ${name}.a {"n":2}`)
        expect(all).toContain(`${name}.b_final! ${place} denied ${name} ${name}.b no`)
        expect(all).toContain(`${name}.c_final! ${place} expired ${name} ${name}.c `)
      }
    })
  )

  it.scoped("[L1] a template that fails gives way to the default", () =>
    Effect.gen(function* () {
      const t = yield* paying({
        layer: ToolPrompts.layer({
          approvalPending: () => {
            throw new Error("boom")
          }
        }),
        logs: [/^ERROR: The template "approvalPending" failed/]
      })
      yield* sent(t)
      expect((yield* outputs(t))[0]).toMatch(/^p: pay has not been run/)
      yield* t.session.deny("p")
    })
  )
})

describe("options of approval", () => {
  const died = (setup: Parameters<typeof paying>[0]) =>
    Effect.map(Effect.exit(Effect.scoped(paying(setup))), (exit) =>
      Exit.isFailure(exit) ? Option.getOrUndefined(Cause.dieOption(exit.cause)) : undefined
    )

  it.scoped("[L3] what makes no sense is refused by name when it is built", () =>
    Effect.gen(function* () {
      const odd = { callId: "p", name: "pay", arguments: {}, requestedAt: 0 }
      const table: ReadonlyArray<readonly [Parameters<typeof paying>[0], string, string]> = [
        [{ pay: { approvalTimeout: 0 } }, "ToolOptionsError", "approvalTimeout"],
        [{ pay: { approvalTimeout: Number.NaN } }, "ToolOptionsError", "approvalTimeout"],
        [{ pay: { approvalTimeout: "soon" as never } }, "ToolOptionsError", "approvalTimeout"],
        [{ pay: { needsApproval: "yes" as never } }, "ToolOptionsError", "needsApproval"],
        [{ layer: ApprovalPolicy.layer("sometimes" as never) }, "OptionsError", "mode"],
        [{ layer: ApprovalPolicy.layer("always", { timeout: -1 }) }, "OptionsError", "timeout"],
        [{ approvals: "p" as never }, "OptionsError", "approvals"],
        [{ approvals: [null] as never }, "OptionsError", "approvals"],
        [{ approvals: [{ ...odd, callId: 1 }] as never }, "OptionsError", "approvals"],
        [{ approvals: [{ ...odd, requestedAt: Number.NaN }] }, "OptionsError", "approvals"],
        [{ approvals: [{ ...odd, expiresAt: "tomorrow" }] as never }, "OptionsError", "approvals"]
      ]
      for (const [setup, tag, option] of table) {
        const error = (yield* died(setup)) as { readonly _tag: string; readonly message: string } | undefined
        expect([option, error?._tag]).toEqual([option, tag])
        expect(error?.message).toContain(option)
      }
      // it never expires
      expect(yield* died({ pay: { approvalTimeout: Number.POSITIVE_INFINITY }, approvals: [] })).toBe(undefined)
    })
  )
})
