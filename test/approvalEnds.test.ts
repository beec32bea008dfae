/**
 * Calls that wait for approval and what goes on around them: their scope ends, a turn is waited for, two decide at once, the
 * conversation is stored.
 */
import { Toolkit } from "@effect/ai"
import { describe, expect } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Schema, type Scope } from "effect"
import {
  Agent,
  ApprovalPolicy,
  AsyncTool,
  ChatContext,
  RunContext,
  type SessionEvent,
  ToolPrompts
} from "effect-meantime"
import { ScriptedModel, TestSession } from "effect-meantime/testing"
import { ask, failure, noted, outputs, paying, sent, told, words } from "./support/paying.js"
import { silent } from "./support/requests.js"
import { talk, toolCall, toolkit } from "./support/talk.js"
import { it } from "./support/virtual.js"

const again = (id: string, n = 1) => toolCall("pay", { n }, { id })

const Next = Agent.make("next", { instructions: "You come next." })

describe("a call that waits is withdrawn", () => {
  it.scoped("[A7] [C5] by cancelTool, whatever its flags and those of its speech: cancelled, written silently", () =>
    Effect.gen(function* () {
      const log: Array<unknown> = []
      const t = yield* paying({ log })
      yield* t.session.send("Pay", { allowInterruptions: false })
      yield* TestSession.settle
      expect(yield* t.session.runningTools).toMatchObject([{ callId: "p", allowCancellation: true }])
      yield* t.session.cancelTool("p")
      yield* TestSession.settle
      expect(yield* told(t)).toEqual(["asks p", "withdrawn p", "p_final cancelled"])
      expect((yield* outputs(t)).at(-1)).toBe("p_final: pay was cancelled and has stopped.")
      expect(yield* t.replies).toEqual([])
      expect(yield* failure(t.session.approve("p"))).toBe("Call p has already ended.")
      expect(yield* failure(t.session.cancelTool("p"))).toBe("Call p has already ended.")
      expect(log).toEqual([])
    })
  )

  it.scoped("[A7] [C4] by the model with cancel_task, which finds it in get_running_tasks as one that waits", () =>
    Effect.gen(function* () {
      const t = yield* paying({
        tools: { other: { allowCancellation: true, run: () => Effect.never } },
        script: [
          ask,
          "A.",
          [toolCall("get_running_tasks", {}, { id: "g" }), toolCall("cancel_task", { call_id: "p" }, { id: "c" })],
          ...words
        ]
      })
      yield* sent(t)
      yield* sent(t, "Never mind")
      const listed = (yield* TestSession.outputs(t.session)).find(({ callId }) => callId === "g")
      expect(listed?.output).toMatchObject([{ call_id: "p", name: "pay", waits_for_approval: true }])
      expect(yield* told(t)).toEqual(["asks p", "g done", "withdrawn p", "p_final cancelled", "c done"])
    })
  )

  it.scoped("[A7] [S2b] [S2c] by the hand-off of its agent, but for `promote` and tools of the session", () =>
    Effect.gen(function* () {
      const log: Array<unknown> = []
      const pay = (onHandoff?: "await" | "promote") => ({
        needsApproval: true,
        run: noted(log),
        ...(onHandoff === undefined ? {} : { onHandoff })
      })
      const own = toolkit({ plain: pay(), waits: pay("await"), kept: pay("promote") })
      const shared = toolkit({ shared: pay() })
      const t = yield* talk({
        pace: "instant",
        agent: Agent.make("clerk", { instructions: "You pay.", tools: [own.kit] }),
        sessionTools: [shared.kit],
        layer: Layer.merge(own.layer, shared.layer),
        script: [["plain", "waits", "kept", "shared"].map((name) => toolCall(name, {}, { id: name })), ...words]
      })
      yield* sent(t)
      expect((yield* t.session.approvals).map(({ agent, callId }) => [callId, agent])).toEqual([
        ["plain", "clerk"],
        ["waits", "clerk"],
        ["kept", "clerk"],
        ["shared", undefined]
      ])
      yield* t.session.handoff(Next)
      yield* TestSession.settle
      expect((yield* told(t)).slice(4)).toEqual([
        "withdrawn plain",
        "plain_final cancelled",
        "withdrawn waits",
        "waits_final cancelled"
      ])
      expect((yield* t.session.approvals).map(({ agent, callId }) => [callId, agent])).toEqual([
        ["kept", undefined],
        ["shared", undefined]
      ])
      yield* t.session.approve("kept")
      yield* t.session.approve("shared")
      yield* TestSession.settle
      expect(log).toEqual([{}, {}])
      expect(yield* t.replies).toEqual([
        "scheduled kept_final",
        "completed kept_final",
        "scheduled shared_final",
        "completed shared_final"
      ])
    })
  )

  it.scoped("[A7] [S2] by closing, at once, also one whose policy still thinks", () =>
    Effect.gen(function* () {
      const log: Array<unknown> = []
      const stopped: Array<string> = []
      const t = yield* paying({
        log,
        pay: {
          needsApproval: ({ n }) =>
            n === 1
              ? Effect.succeed(true)
              : Effect.onInterrupt(Effect.never, () => Effect.sync(() => void stopped.push("policy")))
        },
        script: [[ask, again("q", 2)], ...words]
      })
      yield* sent(t)
      yield* t.session.release("q")
      yield* TestSession.settle
      yield* t.close
      expect(yield* told(t)).toEqual(["asks p", "withdrawn p", "p_final cancelled", "q_final cancelled"])
      expect(stopped).toEqual(["policy"])
      expect(log).toEqual([])
      expect(yield* failure(t.session.approve("p"))).toBe("Call p has already ended.")
      expect(yield* t.session.approvals).toEqual([])
    })
  )

  it.scoped("[A7] [S7] by the end of its task, and not by a task that pauses its agent", () =>
    Effect.gen(function* () {
      const inner = toolkit({ inner: { needsApproval: true, run: () => Effect.dieMessage("it runs") } })
      const Ok = Agent.task("ok", {
        instructions: "Complete.",
        tools: [inner.kit],
        result: Schema.Struct({ ok: Schema.Boolean })
      })
      const t = yield* paying({
        layer: inner.layer,
        script: [
          ask,
          "A.",
          [toolCall("inner", {}, { id: "i" })],
          toolCall("complete", { ok: true }, { id: "d" }),
          ...words
        ]
      })
      yield* sent(t)
      yield* t.session.runTask(Ok)
      yield* TestSession.settle
      expect((yield* told(t)).filter((line) => line.includes(" i"))).toEqual(["asks i", "withdrawn i"])
      expect((yield* t.session.approvals).map(({ callId }) => callId)).toEqual(["p"])
      yield* t.session.deny("p")
    })
  )

  it.scoped("[A1] [G1] a call that waits takes no message, and does once it is approved", () =>
    Effect.gen(function* () {
      const t = yield* paying({ pay: { messages: true, run: () => Effect.as(Effect.sleep("1 minute"), "paid") } })
      yield* sent(t)
      expect(yield* failure(t.session.messageTool("p", "faster"))).toBe(
        "Call p takes no messages yet: it waits for approval, and does not run."
      )
      yield* t.session.approve("p")
      yield* t.session.messageTool("p", "faster")
      yield* TestSession.advance("1 minute")
    })
  )

  it.scoped("[A7] [C8] an interruption of its turn is none of these: the call waits on", () =>
    Effect.gen(function* () {
      const t = yield* paying({
        pace: 5,
        pay: { allowCancellation: true, cancelOnInterruption: true },
        script: [["I will pay now", ask], "It waits", ...words]
      })
      yield* sent(t)
      yield* t.session.interrupt()
      yield* TestSession.settle
      expect(yield* told(t)).toEqual(["asks p"])
      yield* t.session.approve("p")
      yield* TestSession.advance("1 minute")
    })
  )
})

describe("session.run", () => {
  it.scoped("[A9] does not wait for a decision: it tells what waits of its turn", () =>
    Effect.gen(function* () {
      const t = yield* paying({ script: [ask, "A.", again("q", 2), "B.", ...words] })
      yield* sent(t)
      const result = yield* t.session.run("Again")
      expect(result.text).toBe("B.")
      expect(result.approvals).toEqual([
        { callId: "q", name: "pay", arguments: { n: 2 }, agent: "helper", requestedAt: 0 }
      ])
      yield* t.session.approve("q")
      yield* TestSession.settle
      // what comes later is none of its items
      expect(result.items.some((item) => "callId" in item && item.callId === "q_final")).toBe(false)
      yield* t.session.deny("p")
    })
  )

  it.scoped("[A9] one that is decided while it still waits for other calls is waited for", () =>
    Effect.gen(function* () {
      const t = yield* paying({
        pay: { run: () => Effect.as(Effect.sleep("10 seconds"), "paid") },
        tools: {
          long: () => Effect.zipRight(RunContext.update("long"), Effect.as(Effect.sleep("5 seconds"), "long"))
        },
        script: [[ask, again("q", 2), toolCall("long", {}, { id: "l" })], ...words]
      })
      const run = yield* Effect.forkScoped(t.session.run("Pay"))
      yield* TestSession.advance("4 seconds")
      yield* t.session.approve("p")
      yield* TestSession.advance("9 seconds")
      expect(run.unsafePoll()).toBe(null)
      yield* TestSession.advance("2 seconds")
      const { approvals, items } = yield* Fiber.join(run)
      expect(approvals.map(({ callId }) => callId)).toEqual(["q"])
      expect(items.some((item) => "callId" in item && item.callId === "p_final")).toBe(true)
      yield* t.session.deny("q")
    })
  )

  it.scoped(
    "[A9] denied and expired meanwhile are waited for with their replies; without approvals the list is empty",
    () =>
      Effect.gen(function* () {
        const t = yield* paying({
          pay: { approvalTimeout: "2 seconds" },
          tools: {
            long: () => Effect.zipRight(RunContext.update("long"), Effect.as(Effect.sleep("5 seconds"), "long"))
          },
          script: [[ask, again("q", 2), toolCall("long", {}, { id: "l" })], ...words]
        })
        const run = yield* Effect.forkScoped(t.session.run("Pay"))
        yield* TestSession.advance("1 second")
        yield* t.session.deny("p")
        yield* TestSession.advance("10 seconds")
        const { approvals, items } = yield* Fiber.join(run)
        expect(approvals).toEqual([])
        const finals = items.flatMap((item) =>
          item._tag === "FunctionCallOutput" && item.callId.endsWith("_final") ? [item.callId] : []
        )
        expect(finals).toEqual(["p_final", "q_final", "l_final"])
      })
  )

  it.scoped("[A9] [R4] onInterrupt `stop` withdraws what waits of the turn", () =>
    Effect.gen(function* () {
      const t = yield* paying({
        tools: {
          long: { allowCancellation: true, run: () => Effect.zipRight(RunContext.update("long"), Effect.never) }
        },
        script: [[ask, toolCall("long", {}, { id: "l" })], ...words]
      })
      const run = yield* Effect.forkScoped(t.session.run("Pay", { onInterrupt: "stop" }))
      yield* TestSession.settle
      yield* Fiber.interrupt(run)
      yield* TestSession.settle
      expect(yield* told(t)).toEqual(["asks p", "withdrawn p", "p_final cancelled", "l_final cancelled"])
    })
  )

  it.scoped("[A9] [Q19] the same turn by its id: what waited when it ended, also later", () =>
    Effect.gen(function* () {
      const t = yield* paying()
      const first = yield* t.session.run("Pay", { id: "one" })
      yield* t.session.approve("p")
      yield* TestSession.settle
      const second = yield* t.session.run("Pay", { id: "one" })
      expect(first.approvals.map(({ callId }) => callId)).toEqual(["p"])
      expect(second.approvals).toEqual(first.approvals)
      expect(second.text).toBe(first.text)
    })
  )

  it.scoped("[A9] [R1] a handler that runs a turn whose call waits comes back, and nobody waits in a circle", () =>
    Effect.gen(function* () {
      const seen: Array<unknown> = []
      const t = yield* paying({
        tools: {
          outer: () =>
            Effect.gen(function* () {
              const { session } = yield* RunContext.RunContext
              yield* RunContext.update("outer")
              const { approvals } = yield* session.run("Pay")
              seen.push(approvals.map(({ callId }) => callId))
              return "done"
            }).pipe(Effect.orDie)
        },
        script: (request) => {
          if (request.prompt.content.at(-1)?.role !== "user") return "So."
          const text = ScriptedModel.lastUserText(request)
          return text === "Go" ? toolCall("outer", {}, { id: "o" }) : text === "Pay" ? ask : "So."
        }
      })
      yield* sent(t, "Go")
      yield* TestSession.advance("1 minute")
      expect(seen).toEqual([["p"]])
      yield* t.session.deny("p")
    })
  )
})

describe("races: one outcome, one end event, and the second is told", () => {
  type Act = "approve" | "edit" | "deny" | "respond" | "expire" | "cancel" | "replace" | "handoff" | "close"
  const decisions: { readonly [_ in string]: Act } = {
    approved: "approve",
    edited: "edit",
    denied: "deny",
    answered: "respond",
    expired: "expire"
  }
  const all: ReadonlyArray<Act> = [
    "approve",
    "edit",
    "deny",
    "respond",
    "expire",
    "cancel",
    "replace",
    "handoff",
    "close"
  ]

  for (const first of all) {
    for (const second of all) {
      if (first === second && !["approve", "deny", "respond", "edit"].includes(first)) continue
      it.scoped(`[A4] [A6] [A7] ${first} against ${second}, at one instant`, () =>
        Effect.gen(function* () {
          const log: Array<unknown> = []
          const t = yield* paying({
            log,
            cancellationTimeout: "1 second",
            pay: {
              approvalTimeout: "1 hour",
              onDuplicate: "replace",
              needsApproval: ({ n }) => Effect.succeed(n === 1),
              run: noted(log, Effect.as(Effect.sleep("1 minute"), "paid"))
            },
            logs: [/./],
            script: ({ prompt }) => {
              const last = prompt.content.at(-1)
              const text = last?.role === "user" ? JSON.stringify(last.content) : ""
              if (text.includes("Another")) return again("q", 2)
              return text.includes("Pay") ? ask : "So."
            }
          })
          yield* sent(t)
          const act: { readonly [_ in Act]: Effect.Effect<unknown, unknown, Scope.Scope> } = {
            approve: t.session.approve("p"),
            edit: t.session.approve("p", { arguments: { n: 5 } }),
            deny: t.session.deny("p"),
            respond: t.session.respond("p", "by hand"),
            // its timer is due at this instant
            expire: Effect.void,
            cancel: t.session.cancelTool("p"),
            replace: t.session.send("Another"),
            handoff: Effect.forkScoped(t.session.handoff(Next)),
            close: Effect.forkScoped(t.close)
          }
          // both sleep until the instant at which the time is over: they are woken in one order or the other
          const at = first === "expire" || second === "expire" ? "1 hour" : "1 minute"
          const one = yield* Effect.forkScoped(Effect.exit(Effect.zipRight(Effect.sleep(at), act[first])))
          const two = yield* Effect.forkScoped(Effect.exit(Effect.zipRight(Effect.sleep(at), act[second])))
          yield* TestSession.advance(at)
          yield* TestSession.advance("5 minutes")
          const decided = yield* t.events.filter("ApprovalDecided")
          expect(decided.length).toBe(1)
          const [{ decision }] = decided as [SessionEvent.ApprovalDecided]
          const ends = yield* t.events.filter("ToolCallEnded")
          const ofP = ends.filter(({ callId }) => callId === "p")
          expect(ofP.length).toBeLessThanOrEqual(1)
          const ran = log.filter((params) => (params as { n: number }).n !== 2)
          expect(ran).toEqual(decision === "approved" ? [{ n: 1 }] : decision === "edited" ? [{ n: 5 }] : [])
          // who came second is told: only one of those that decide says that it did
          const winner = decisions[decision] ?? "withdrawn"
          for (const [which, fiber] of [
            [first, one],
            [second, two]
          ] as const) {
            if (!["approve", "edit", "deny", "respond"].includes(which)) continue
            const exit = yield* Fiber.join(fiber)
            const won = which === winner
            if (first === second) continue
            expect([which, Exit.isSuccess(exit)]).toEqual([which, won])
          }
          if (first === second) {
            const exits = [yield* Fiber.join(one), yield* Fiber.join(two)]
            expect(exits.map(Exit.isSuccess)).toEqual([true, false])
          }
          if (decision === "denied" || decision === "expired") expect(ofP[0]?.status).toBe("error")
          if (decision === "answered") expect(ofP[0]).toMatchObject({ status: "done", output: "by hand" })
          if (decision === "withdrawn") expect(ofP[0]?.status).toBe("cancelled")
          expect((yield* t.session.approvals).length).toBe(0)
          yield* t.close
        })
      )
    }
  }
})

describe("a stored conversation", () => {
  const stored = (items: ReadonlyArray<ChatContext.ChatItem>) =>
    Schema.decodeUnknownSync(ChatContext.ChatContext)(
      JSON.parse(JSON.stringify(Schema.encodeSync(ChatContext.ChatContext)({ items })))
    )
  const storedApprovals = (all: ReadonlyArray<ApprovalPolicy.PendingApproval>) =>
    Schema.decodeUnknownSync(Schema.Array(ApprovalPolicy.PendingApproval))(
      JSON.parse(JSON.stringify(Schema.encodeSync(Schema.Array(ApprovalPolicy.PendingApproval))(all)))
    )

  /** What a session leaves in the middle of things. */
  const left = (options: Parameters<typeof paying>[0] = {}, during: Effect.Effect<void> = Effect.void) =>
    Effect.scoped(
      Effect.gen(function* () {
        const t = yield* paying(options)
        yield* sent(t)
        yield* during
        const { items } = yield* t.session.history
        return { approvals: storedApprovals(yield* t.session.approvals), history: stored(items) }
      })
    )

  it.scoped("[A10] [R5] what is given in `approvals` waits on under its id; the policy is not asked again", () =>
    Effect.gen(function* () {
      const { approvals, history } = yield* left()
      expect(approvals.map(({ callId }) => callId)).toEqual(["p"])
      for (const resume of [true, false]) {
        yield* Effect.scoped(
          Effect.gen(function* () {
            const log: Array<unknown> = []
            const t = yield* paying({
              log,
              history,
              approvals,
              resume,
              pay: { needsApproval: () => Effect.dieMessage("it is asked again") },
              script: words
            })
            yield* TestSession.advance("1 day")
            expect(yield* t.session.approvals).toEqual(approvals)
            expect((yield* t.session.history).items).toEqual(history.items)
            expect(yield* told(t)).toEqual(["asks p"])
            yield* t.session.approve("p", { arguments: { n: 3 } })
            yield* TestSession.settle
            expect(log).toEqual([{ n: 3 }])
            expect(yield* told(t)).toEqual(["asks p", "edited p", "p_final done"])
            expect((yield* TestSession.calls(t.session)).map(({ callId }) => callId)).toEqual([
              "p",
              "p_update_1",
              "p_final"
            ])
            expect(yield* t.replies).toEqual(["scheduled p_final", "completed p_final"])
          })
        )
      }
    })
  )

  it.scoped("[A10] [R5] what is not given is withdrawn, since it has not run", () =>
    Effect.gen(function* () {
      const { history } = yield* left()
      const t = yield* paying({ history, resume: true, script: words })
      yield* TestSession.settle
      expect((yield* outputs(t)).at(-1)).toBe("p_final: pay was cancelled and has stopped.")
      expect(yield* t.session.approvals).toEqual([])
    })
  )

  it.scoped("[A10] its arguments and its tool are those of the history, never those of the record", () =>
    Effect.gen(function* () {
      const { approvals, history } = yield* left()
      const forged = approvals.map((one) => ({ ...one, name: "other", arguments: { n: 1_000_000 } }))
      const log: Array<unknown> = []
      const t = yield* paying({ log, history, approvals: forged, resume: true, script: words })
      expect(yield* t.session.approvals).toEqual(approvals)
      yield* t.session.approve("p")
      yield* TestSession.settle
      expect(log).toEqual([{ n: 1 }])
    })
  )

  it.scoped("[A10] one whose tool or arguments no longer fit ends as an error, and the user is told", () =>
    Effect.gen(function* () {
      const { approvals, history } = yield* left()
      const Strict = Toolkit.make(AsyncTool.make("pay", { parameters: { n: Schema.String }, success: Schema.String }))
      const gone = yield* talk({
        pace: "instant",
        history,
        approvals,
        resume: true,
        agent: Agent.make("helper", { instructions: "" }),
        script: words
      })
      const other = yield* talk({
        pace: "instant",
        history,
        approvals,
        resume: true,
        agent: Agent.make("helper", { instructions: "", tools: [Strict] }),
        layer: Strict.toLayer({ pay: () => Effect.dieMessage("it runs") }) as Layer.Layer<any>,
        script: words
      })
      yield* TestSession.settle
      expect((yield* outputs(gone)).at(-1)).toMatch(/^p_final! There is no tool "pay"/)
      expect((yield* outputs(other)).at(-1)).toMatch(/^p_final! Invalid arguments for pay: n: /)
      for (const t of [gone, other]) {
        expect(yield* t.session.approvals).toEqual([])
        expect(yield* told(t)).toEqual(["p_final error"])
        expect(yield* t.replies).toEqual(["scheduled p_final", "completed p_final"])
      }
    })
  )

  it.scoped("[A10] [A6] the time goes on while nobody is there", () =>
    Effect.gen(function* () {
      const { approvals, history } = yield* left({ pay: { approvalTimeout: "1 hour" } })
      yield* TestSession.advance("50 minutes")
      const t = yield* paying({ history, approvals, resume: true, script: words })
      expect(yield* t.session.approvals).toMatchObject([{ requestedAt: 0, expiresAt: 3_600_000 }])
      yield* TestSession.advance("10 minutes")
      expect(yield* told(t)).toEqual(["asks p", "expired p", "p_final error"])
      yield* TestSession.advance("10 minutes")
      const late = yield* paying({ history, approvals, resume: true, script: words })
      yield* TestSession.settle
      expect(yield* told(late)).toEqual(["asks p", "expired p", "p_final error"])
    })
  )

  it.scoped("[A10] [M3] one whose call or output was not recorded yet waits on as well", () =>
    Effect.gen(function* () {
      const whole = yield* left({ pace: 1, script: [["I pay now", ask], ...words] })
      expect(whole.approvals.map(({ callId }) => callId)).toEqual(["p"])
      expect(whole.history.items.map(({ _tag }) => _tag)).toEqual(["Message"])
      const held = yield* left({
        tools: { long: { allowCancellation: true, run: () => Effect.never } },
        script: [[toolCall("long", {}, { id: "l" }), ask], ...words]
      })
      expect(held.history.items.map(({ _tag }) => _tag)).toEqual(["Message", "FunctionCall", "FunctionCall"])
      for (const { approvals, history } of [whole, held]) {
        yield* Effect.scoped(
          Effect.gen(function* () {
            const log: Array<unknown> = []
            const t = yield* paying({
              log,
              history,
              approvals,
              resume: true,
              tools: { long: () => Effect.never },
              script: words
            })
            yield* t.session.approve("p")
            yield* TestSession.settle
            expect(log).toEqual([{ n: 1 }])
            expect((yield* outputs(t)).filter((line) => line.startsWith("p")).map((line) => line.slice(0, 24))).toEqual(
              ["p: pay has not been run: ", "p_final: paid"].map((line) => line.slice(0, 24))
            )
          })
        )
      }
    })
  )

  it.scoped("[A10] [R5] an approved call that was at work has an outcome that is not known", () =>
    Effect.gen(function* () {
      const { approvals, history } = yield* Effect.scoped(
        Effect.gen(function* () {
          const t = yield* paying({ pay: { allowCancellation: true, run: () => Effect.never } })
          yield* sent(t)
          const before = yield* t.session.approvals
          yield* t.session.approve("p")
          yield* TestSession.settle
          return { approvals: before, history: stored((yield* t.session.history).items) }
        })
      )
      expect(history.items.find((item) => item._tag === "FunctionCallOutput")).toMatchObject({ open: "running" })
      // a list that was stored before is of no use any more
      const t = yield* paying({
        history,
        approvals,
        resume: true,
        script: words,
        logs: [/^WARN: The approval of call p was ignored/]
      })
      yield* TestSession.settle
      expect((yield* outputs(t)).at(-1)).toMatch(/^p_final! The outcome of pay is not known/)
      expect(yield* t.session.approvals).toEqual([])
    })
  )

  it.scoped("[A10] one that has ended, and one that is there twice", () =>
    Effect.gen(function* () {
      const { approvals, history } = yield* Effect.scoped(
        Effect.gen(function* () {
          const t = yield* paying({ script: [[ask, again("q")], ...words] })
          yield* sent(t)
          const before = yield* t.session.approvals
          yield* t.session.deny("p")
          yield* TestSession.settle
          return { approvals: [...before, ...before], history: stored((yield* t.session.history).items) }
        })
      )
      const logs = [/^WARN: The approval of call p was ignored/]
      const t = yield* paying({ history, approvals, resume: true, script: words, logs })
      yield* TestSession.settle
      expect(yield* told(t)).toEqual(["asks q"])
      yield* t.session.approve("q")
      yield* TestSession.settle
    })
  )

  it.scoped("[A10] [R5] with the agent of the last hand-off, under an id that goes on to count", () =>
    Effect.gen(function* () {
      const kit = toolkit({
        pay: {
          needsApproval: ({ n }: any) => Effect.as(Effect.sleep("1 second"), n === 1),
          releaseAfter: 500,
          run: () => Effect.succeed("paid")
        }
      })
      const Second = Agent.make("second", { instructions: "You pay.", tools: [kit.kit] })
      const First = Agent.make("first", { instructions: "You come first." })
      const setup = { pace: "instant", agent: First, agents: [Second], layer: kit.layer } as const
      const before = yield* Effect.scoped(
        Effect.gen(function* () {
          const t = yield* talk({ ...setup, agents: [Second] as never, script: [ask, ...words] })
          yield* t.session.handoff(Second as Agent.Agent<never>)
          yield* sent(t)
          yield* TestSession.advance("2 seconds")
          return { approvals: yield* t.session.approvals, history: stored((yield* t.session.history).items) }
        })
      )
      expect(before.approvals).toMatchObject([{ callId: "p", agent: "second" }])
      const t = yield* talk({ ...setup, agents: [Second] as never, ...before, resume: true, script: words })
      yield* t.session.approve("p", { arguments: { n: 2 } })
      yield* TestSession.settle
      const ids = (yield* TestSession.calls(t.session)).map(({ callId }) => callId)
      expect(ids).toEqual(["p", "p_update_1", "p_update_2", "p_final"])
    })
  )
})

describe("outside a session", () => {
  const Pay = AsyncTool.make("pay", {
    parameters: { n: Schema.Number },
    success: Schema.String,
    needsApproval: ({ n }) => Effect.succeed(n > 1),
    timeout: "1 second"
  })
  const kit = Toolkit.make(Pay)
  /** what the handler was given, before it is an effect */
  const began: Array<number> = []
  const execute = (n: unknown, options?: AsyncTool.ExecuteOptions, layer: Layer.Layer<never> = Layer.empty) =>
    AsyncTool.execute(kit, { callId: "p", name: "pay", arguments: { n } }, options).pipe(
      Effect.provide(
        kit.toLayer({
          pay: ({ n }) => {
            began.push(n)
            return Effect.succeed(`paid ${n}`)
          }
        })
      ),
      Effect.provide(layer),
      Effect.provide(silent)
    )
  const denied = { isError: true, output: "pay was not run: it was not approved.", updates: [] }

  it.scoped("[A10] [U8] execute denies unless it is told how to decide; what needs no approval runs", () =>
    Effect.gen(function* () {
      expect(yield* execute(1)).toEqual({ isError: false, output: "paid 1", updates: [] })
      expect(yield* execute(2)).toEqual(denied)
      expect((yield* execute("x", { decide: () => Effect.dieMessage("asked") })).output).toMatch(/^Invalid arguments/)
      const seen: Array<unknown> = []
      const decide = (decision: "approve" | "deny") => (call: ChatContext.ToolCall) => {
        seen.push(structuredClone(call))
        ;(call.arguments as { n: number }).n = 1000
        // it holds no time limit
        return Effect.as(Effect.sleep("1 hour"), decision)
      }
      const approved = yield* Effect.forkScoped(execute(2, { decide: decide("approve") }))
      const not = yield* Effect.forkScoped(execute(3, { decide: decide("deny") }))
      yield* TestSession.advance("1 hour")
      expect(yield* Fiber.join(approved)).toEqual({ isError: false, output: "paid 2", updates: [] })
      expect(yield* Fiber.join(not)).toEqual(denied)
      expect(seen).toEqual([2, 3].map((n) => ({ callId: "p", name: "pay", arguments: { n } })))
      expect(began).toEqual([1, 2])
    })
  )

  it.scoped(
    "[A10] [A3] a decision that dies, or is none, denies; the policy around it asks or denies in its words",
    () =>
      Effect.gen(function* () {
        for (const odd of [() => Effect.die("boom"), () => Effect.succeed("yes"), () => "approve"]) {
          expect(yield* execute(2, { decide: odd as never })).toEqual(denied)
        }
        const plain = Toolkit.make(AsyncTool.make("plain"))
        const run = (layer: Layer.Layer<never>, options?: AsyncTool.ExecuteOptions) =>
          AsyncTool.execute(plain, { name: "plain", arguments: {} }, options).pipe(
            Effect.provide(plain.toLayer({ plain: () => Effect.void })),
            Effect.provide(layer),
            Effect.provide(silent)
          )
        const words = ToolPrompts.layer({ approvalDenied: "{toolName} {how} {reason}" })
        const by = (policy: ApprovalPolicy.Verdict) =>
          Layer.merge(
            ApprovalPolicy.make(() => Effect.succeed(policy)),
            words
          )
        expect(yield* run(by(ApprovalPolicy.run))).toMatchObject({ isError: false })
        expect(yield* run(by(ApprovalPolicy.deny("no")))).toMatchObject({ isError: true, output: "plain denied no" })
        expect(yield* run(by(ApprovalPolicy.ask("hm")))).toMatchObject({ isError: true, output: "plain denied " })
        const yes = { decide: () => Effect.succeed("approve" as const) }
        expect(yield* run(by(ApprovalPolicy.ask("hm")), yes)).toMatchObject({ isError: false })
      })
  )
})
