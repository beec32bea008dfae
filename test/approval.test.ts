/**
 * What becomes of a call that waits for approval: decided, expired, withdrawn, shared with others, and raced for.
 */
import { Toolkit } from "@effect/ai"
import { describe, expect } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, type Layer, Schema } from "effect"
import { Agent, ApprovalPolicy, AsyncTool, RunContext } from "effect-meantime"
import { TestSession } from "effect-meantime/testing"
import * as Files from "./support/files.js"
import { ask, failure, noted, outputs, paying, sent, told, words } from "./support/paying.js"
import { talk, toolCall } from "./support/talk.js"
import { it } from "./support/virtual.js"

const again = (id: string, n = 1) => toolCall("pay", { n }, { id })

describe("a decision", () => {
  it.scoped("[A4] [A5] names a waiting call, whose arguments are the session's; a second one is told", () =>
    Effect.gen(function* () {
      const log: Array<unknown> = []
      const t = yield* paying({
        log,
        tools: { look: { allowCancellation: true, run: () => Effect.never } },
        script: [[ask, again("q", 2), toolCall("look", {}, { id: "l" })], ...words]
      })
      yield* sent(t)
      yield* t.session.release("l")
      yield* TestSession.settle
      const [shown] = yield* t.session.approvals
      expect(shown).toEqual({ callId: "p", name: "pay", arguments: { n: 1 }, agent: "helper", requestedAt: 0 })
      // what is shown is a copy
      ;(shown?.arguments as { n: number }).n = 1000
      expect(yield* failure(t.session.approve("nobody"))).toBe('There is no call with the id "nobody".')
      expect(yield* failure(t.session.approve("p_final"))).toBe('There is no call with the id "p_final".')
      expect(yield* failure(t.session.deny("l"))).toBe("Call l does not wait for approval.")
      yield* t.session.approve("p")
      for (const second of [
        t.session.approve("p"),
        t.session.deny("p"),
        t.session.respond("p", "x"),
        t.session.approve("p", { arguments: { n: 3 } })
      ]) {
        expect(yield* failure(second)).toBe("Call p has already ended.")
      }
      yield* TestSession.settle
      expect(log).toEqual([{ n: 1 }])
      expect((yield* t.session.approvals).map(({ callId }) => callId)).toEqual(["q"])
      yield* t.session.deny("q")
    })
  )

  it.scoped("[A4] an approved call that is at work does not wait; nor does one that is queued", () =>
    Effect.gen(function* () {
      const t = yield* paying({ pay: { run: () => Effect.as(Effect.sleep("1 second"), "paid") } })
      yield* sent(t)
      yield* t.session.approve("p")
      expect(yield* failure(t.session.deny("p"))).toBe("Call p does not wait for approval.")
      yield* TestSession.advance("1 second")
    })
  )

  it.scoped(
    "[A4] the model cannot approve: a call of the same tool waits as well, and companions do not reach it",
    () =>
      Effect.gen(function* () {
        const log: Array<unknown> = []
        const t = yield* paying({
          log,
          script: [[ask, toolCall("approve", { call_id: "p" }, { id: "x" })], "So.", again("q"), ...words]
        })
        yield* sent(t)
        yield* sent(t, "yes, I approve")
        yield* TestSession.advance("1 day")
        expect(log).toEqual([])
        expect((yield* t.session.approvals).map(({ callId }) => callId)).toEqual(["p", "q"])
      })
  )

  it.scoped("[A6] denied: an error by the template, with the reason and a reply; the handler never runs", () =>
    Effect.gen(function* () {
      const log: Array<unknown> = []
      const t = yield* paying({ log })
      yield* sent(t)
      yield* t.session.deny("p", { by: "ann", reason: "Not today." })
      yield* TestSession.settle
      expect(yield* told(t)).toEqual(["asks p", "denied p by ann", "p_final error"])
      expect((yield* t.events.filter("ApprovalDecided"))[0]).toMatchObject({ reason: "Not today." })
      expect((yield* outputs(t)).at(-1)).toBe("p_final! pay was not run: it was not approved (reason: Not today).")
      expect(yield* t.replies).toEqual(["scheduled p_final", "completed p_final"])
      expect(log).toEqual([])
    })
  )

  it.scoped(
    "[A6] past approvalTimeout: the same in its own words; the time is the tool's, else that of its scope",
    () =>
      Effect.gen(function* () {
        const log: Array<unknown> = []
        const t = yield* paying({
          log,
          pay: { approvalTimeout: "2 hours" },
          layer: ApprovalPolicy.layer("never", { timeout: "1 hour" })
        })
        yield* sent(t)
        expect(yield* t.session.approvals).toMatchObject([{ expiresAt: 7_200_000 }])
        expect((yield* t.events.filter("ApprovalRequested"))[0]).toMatchObject({ expiresAt: 7_200_000 })
        yield* TestSession.advance("2 hours")
        expect(yield* told(t)).toEqual(["asks p", "expired p", "p_final error"])
        expect((yield* outputs(t)).at(-1)).toBe("p_final! pay was not run: nobody approved it in time.")
        expect(yield* t.replies).toEqual(["scheduled p_final", "completed p_final"])
        expect(yield* failure(t.session.approve("p"))).toBe("Call p has already ended.")
        expect(log).toEqual([])
      })
  )

  it.scoped("[A6] the scope's policy has a timeout for its tools; without any a call waits for ever", () =>
    Effect.gen(function* () {
      const t = yield* paying({
        pay: { needsApproval: undefined },
        layer: ApprovalPolicy.layer("always", { timeout: "1 hour" })
      })
      yield* sent(t)
      yield* TestSession.advance("1 hour")
      expect(yield* told(t)).toEqual(["asks p", "expired p", "p_final error"])
      const forever = yield* paying()
      yield* sent(forever)
      yield* TestSession.advance("300 days")
      expect(yield* told(forever)).toEqual(["asks p"])
      yield* forever.session.approve("p")
      yield* TestSession.settle
    })
  )

  it.scoped(
    "[A6] respond: the output is decoded by the success schema and ends it as done; a bad one, and it waits on",
    () =>
      Effect.gen(function* () {
        const Look = AsyncTool.make("look", { success: Schema.Struct({ on: Schema.Date }), needsApproval: true })
        const Touch = AsyncTool.make("touch", { needsApproval: true })
        const kit = Toolkit.make(Look, Touch)
        const t = yield* talk({
          pace: "instant",
          agent: Agent.make("clerk", { instructions: "You look.", tools: [kit] }),
          layer: kit.toLayer({
            look: () => Effect.dieMessage("it runs"),
            touch: () => Effect.dieMessage("it runs")
          }) as Layer.Layer<any>,
          script: [[toolCall("look", {}, { id: "a" }), toolCall("touch", {}, { id: "b" })], ...words]
        })
        yield* sent(t)
        for (const bad of [undefined, null, "x", { on: "never" }, { on: 1 }]) {
          expect(yield* failure(t.session.respond("a", bad))).toMatch(
            /^The output for look cannot be used: .*The call waits on\.$/
          )
        }
        expect((yield* t.session.approvals).length).toBe(2)
        yield* t.session.respond("a", { on: "2027-01-02T00:00:00.000Z" }, { by: "ann" })
        yield* t.session.respond("b", undefined)
        yield* TestSession.settle
        expect(yield* told(t)).toEqual([
          "asks a",
          "asks b",
          "answered a by ann",
          "a_final done",
          "answered b",
          "b_final done"
        ])
        const [, , final, other] = yield* TestSession.outputs(t.session)
        expect(final).toMatchObject({ callId: "a_final", isError: false, output: { on: "2027-01-02T00:00:00.000Z" } })
        expect(other).toMatchObject({
          callId: "b_final",
          isError: false,
          output: "touch has ended; there is nothing to report."
        })
        expect(yield* t.replies).toEqual(["scheduled a_final", "completed a_final"])
      })
  )

  it.scoped("[A6] an answer is bounded as a result is", () =>
    Effect.gen(function* () {
      const t = yield* paying({ maxOutputLength: 300, logs: [/gave a text of 1000 characters/] })
      yield* sent(t)
      yield* t.session.respond("p", "x".repeat(1000))
      yield* TestSession.settle
      const final = (yield* TestSession.outputs(t.session)).at(-1)
      expect(String(final?.output).length).toBeLessThan(400)
    })
  )

  it.scoped("[A6] [B3] an answer carries files as a result does, and what does not fit is still refused", () =>
    Effect.gen(function* () {
      const Scan = AsyncTool.make("pay", {
        parameters: { n: Schema.Number },
        success: Schema.Struct({ paid: Schema.NumberFromString }),
        needsApproval: true
      })
      const kit = Toolkit.make(Scan)
      const t = yield* talk({
        pace: "instant",
        agent: Agent.make("clerk", { instructions: "You pay.", tools: [kit] }),
        layer: kit.toLayer({ pay: () => Effect.dieMessage("it runs") }) as Layer.Layer<any>,
        script: [ask, ...words],
        maxFileBytes: 1000,
        logs: [/file/i]
      })
      yield* sent(t)
      expect(yield* failure(t.session.respond("p", AsyncTool.content({ paid: 1 }, [Files.picture])))).toMatch(
        /^The output for pay cannot be used: paid: .*The call waits on\.$/
      )
      const large = { data: "A".repeat(4000), mediaType: "application/pdf", name: "all.pdf" }
      yield* t.session.respond("p", AsyncTool.content({ paid: "90" }, [Files.picture, large]))
      yield* TestSession.settle
      const final = (yield* t.session.history).items.findLast((item) => item._tag === "FunctionCallOutput")
      expect(final).toMatchObject({
        callId: "p_final",
        output: { paid: "90" },
        files: [
          { mediaType: Files.picture.mediaType, data: Files.picture.data },
          { name: "all.pdf", data: "", omitted: expect.stringContaining("at most 1000") }
        ]
      })
      expect(JSON.stringify(final)).not.toContain("AAAAAAAA")
    })
  )

  it.scoped("[A4] [A5] [A6] odd values in place of options, arguments and outputs decide nothing", () =>
    Effect.gen(function* () {
      const log: Array<unknown> = []
      const Odd = AsyncTool.make("pay", {
        parameters: {
          n: Schema.Number.pipe(
            Schema.filter((n) => {
              if (n === 13) throw new Error("boom")
              return true
            })
          )
        },
        success: Schema.String,
        needsApproval: true
      })
      const kit = Toolkit.make(Odd)
      const t = yield* talk({
        pace: "instant",
        agent: Agent.make("clerk", { instructions: "You pay.", tools: [kit] }),
        layer: kit.toLayer({ pay: noted(log) as never }) as Layer.Layer<any>,
        script: [ask, ...words],
        logs: [/^ERROR: A schema of pay failed unexpectedly/]
      })
      yield* sent(t)
      const circular: Record<string, unknown> = { n: 2 }
      circular.self = circular
      for (const bad of [null, "n", 1, [], () => 1, circular, { n: "x" }, { n: Number.NaN }, {}]) {
        expect(yield* failure(t.session.approve("p", { arguments: bad }))).toMatch(
          /^The arguments for pay cannot be used: .*The call waits on\.$/
        )
      }
      expect(yield* failure(t.session.approve("p", { arguments: { n: 13 } }))).toMatch(
        /failed unexpectedly. The call waits on\.$/
      )
      expect((yield* t.session.approvals).length).toBe(1)
      yield* t.session.approve("p", { by: 1 } as never)
      yield* TestSession.settle
      expect(yield* told(t)).toEqual(["asks p", "approved p", "p_final done"])
      expect(log).toEqual([{ n: 1 }])
    })
  )
})

describe("edited arguments", () => {
  it.scoped(
    "[A5] are decoded, and stand in all that is written of the call from then on; one silent update says so",
    () =>
      Effect.gen(function* () {
        const log: Array<unknown> = []
        const seen: Array<unknown> = []
        const t = yield* paying({
          log,
          pay: {
            run: noted(
              log,
              Effect.gen(function* () {
                const context = yield* RunContext.RunContext
                seen.push(context.call.arguments)
                yield* RunContext.update("half")
                yield* Effect.sleep("1 minute")
                return "paid"
              })
            )
          }
        })
        yield* sent(t)
        yield* t.session.approve("p", { arguments: { n: 7 }, by: "ann" })
        yield* TestSession.advance("1 second")
        expect(log).toEqual([{ n: 7 }])
        expect(seen).toEqual([{ n: 7 }])
        expect(yield* t.session.runningTools).toMatchObject([{ callId: "p", arguments: { n: 7 } }])
        yield* TestSession.advance("1 minute")
        expect(yield* told(t)).toEqual(["asks p", "edited p by ann", "p_final done"])
        const calls = (yield* TestSession.calls(t.session)).map(({ arguments: args, callId }) => [callId, args])
        expect(calls).toEqual([
          ["p", { n: 1 }],
          ["p_update_1", { n: 7 }],
          ["p_update_2", { n: 7 }],
          ["p_final", { n: 7 }]
        ])
        expect((yield* outputs(t))[1]).toBe(
          'p_update_1: A person has approved pay with other arguments, and it runs with these: {"n":7}. ' +
            "What it was called with before does not count."
        )
        // a model is not asked for a reply to it
        expect(yield* t.replies).toEqual([
          "scheduled p_update_2",
          "completed p_update_2",
          "scheduled p_final",
          "completed p_final"
        ])
      })
  )

  it.scoped("[A5] the call itself is recorded with them if it is not recorded yet", () =>
    Effect.gen(function* () {
      const log: Array<unknown> = []
      const t = yield* paying({ log, pace: 5, script: [["I pay now", ask], ...words] })
      yield* sent(t)
      yield* t.session.approve("p", { arguments: { n: 7 } })
      yield* TestSession.advance("1 minute")
      expect((yield* TestSession.calls(t.session)).map((call) => call.arguments)).toEqual([
        { n: 7 },
        { n: 7 },
        { n: 7 }
      ])
      expect(log).toEqual([{ n: 7 }])
    })
  )

  it.scoped("[A5] what was sent back as it was shown is no edit", () =>
    Effect.gen(function* () {
      const t = yield* paying({ script: [toolCall("pay", { n: 1, m: [1] }, { id: "p" }), ...words] })
      yield* sent(t)
      const [shown] = yield* t.session.approvals
      yield* t.session.approve("p", { arguments: JSON.parse(JSON.stringify(shown?.arguments)) })
      yield* TestSession.settle
      expect(yield* told(t)).toEqual(["asks p", "approved p", "p_final done"])
    })
  )

  it.scoped("[A5] [P4] duplicates are compared by them", () =>
    Effect.gen(function* () {
      const t = yield* paying({
        pay: { duplicateScope: "name_and_args", onDuplicate: "reject", run: () => Effect.never },
        drainTimeout: 0,
        logs: [/./],
        script: [ask, "A.", again("q", 1), "B.", again("r", 7), "C.", ...words]
      })
      yield* sent(t)
      yield* t.session.approve("p", { arguments: { n: 7 } })
      yield* sent(t, "Again")
      expect((yield* t.session.approvals).map(({ callId }) => callId)).toEqual(["q"])
      yield* sent(t, "And again")
      expect((yield* outputs(t)).at(-1)).toMatch(/^r: Not started: pay is already running. Call p with {"n":7}/)
    })
  )

  it.scoped("[A5] [A4] while a schema takes its time another decision may come first", () =>
    Effect.gen(function* () {
      const log: Array<unknown> = []
      const Slow = AsyncTool.make("pay", {
        parameters: {
          n: Schema.transformOrFail(Schema.Number, Schema.Number, {
            strict: true,
            decode: (n) => Effect.as(Effect.sleep("1 second"), n),
            encode: Effect.succeed
          })
        },
        success: Schema.String,
        needsApproval: true
      })
      const kit = Toolkit.make(Slow)
      const t = yield* talk({
        pace: "instant",
        agent: Agent.make("clerk", { instructions: "You pay.", tools: [kit] }),
        layer: kit.toLayer({ pay: noted(log) as never }) as Layer.Layer<any>,
        script: [[ask, again("q")], ...words]
      })
      yield* sent(t)
      yield* TestSession.advance("1 second")
      const edits = yield* Effect.forkScoped(Effect.exit(t.session.approve("p", { arguments: { n: 2 } })))
      const other = yield* Effect.forkScoped(Effect.exit(t.session.approve("q", { arguments: { n: 2 } })))
      yield* TestSession.settle
      yield* t.session.deny("p")
      yield* TestSession.advance("1 second")
      expect(Exit.isFailure(yield* Fiber.join(edits))).toBe(true)
      expect(Exit.isSuccess(yield* Fiber.join(other))).toBe(true)
      expect(log).toEqual([{ n: 2 }])
      expect((yield* told(t)).filter((line) => line.includes(" p"))).toEqual(["asks p", "denied p"])
    })
  )
})

describe("a call that waits and duplicates", () => {
  it.scoped("[A1] it counts as running, and the text says that it waits", () =>
    Effect.gen(function* () {
      const t = yield* paying({ pay: { onDuplicate: "confirm" }, script: [ask, "A.", again("q"), "B.", ...words] })
      yield* sent(t)
      yield* sent(t, "Again")
      expect((yield* outputs(t)).at(-1)).toMatch(
        /^q: Not started: pay is already running\. Call p with {"n":1} waits for approval\./
      )
      expect((yield* t.session.approvals).map(({ callId }) => callId)).toEqual(["p"])
      yield* t.session.deny("p")
    })
  )

  it.scoped("[A1] [P2] replace stops the running call only once the new one is approved", () =>
    Effect.gen(function* () {
      const log: Array<unknown> = []
      const slow = Effect.onInterrupt(Effect.as(Effect.sleep("1 hour"), "paid"), () =>
        Effect.zipRight(
          Effect.sleep("1 second"),
          Effect.sync(() => void log.push("stopped"))
        )
      )
      const t = yield* paying({
        pay: {
          needsApproval: ({ n }) => Effect.succeed(n > 1),
          onDuplicate: "replace",
          allowCancellation: true,
          run: noted(log, slow)
        },
        releaseAfter: 0,
        script: [ask, "A.", again("q", 2), "B.", ...words]
      })
      yield* sent(t)
      yield* sent(t, "Another")
      expect(yield* told(t)).toEqual(["asks q"])
      expect((yield* t.session.runningTools).map(({ callId }) => callId)).toEqual(["p", "q"])
      yield* t.session.approve("q")
      expect(log).toEqual([{ n: 1 }])
      yield* TestSession.advance("1 second")
      expect(log).toEqual([{ n: 1 }, "stopped", { n: 2 }])
      expect(yield* told(t)).toEqual(["asks q", "approved q", "p_final cancelled"])
      yield* t.session.cancelTool("q").pipe(Effect.fork)
      yield* TestSession.advance("1 second")
    })
  )

  it.scoped(
    "[A1] [P2] denied, it stops nothing; approved when the other has ended, it just runs; one that cannot be replaced",
    () =>
      Effect.gen(function* () {
        const log: Array<unknown> = []
        const gate = yield* Deferred.make<void>()
        const t = yield* paying({
          pay: {
            needsApproval: ({ n }) => Effect.succeed(n > 1),
            onDuplicate: "replace",
            allowCancellation: true,
            run: (params) =>
              noted(
                log,
                params.n === 1 ? RunContext.commit(Effect.as(Deferred.await(gate), "paid")) : Effect.succeed("paid")
              )(params)
          },
          releaseAfter: 0,
          script: [[ask, again("q", 2), again("r", 3)], "A.", "B.", "C.", "D.", "E."]
        })
        yield* sent(t)
        // p is past its point of no return: what would replace it is refused before anybody is asked
        expect(yield* told(t)).toEqual(["q error", "r error"])
        yield* Deferred.succeed(gate, undefined)
        yield* TestSession.settle
      })
  )

  it.scoped("[A1] [A7] [P2] one that waits is replaced at once, whatever its flags", () =>
    Effect.gen(function* () {
      const log: Array<unknown> = []
      const t = yield* paying({
        log,
        pay: { onDuplicate: "replace", needsApproval: ({ n }) => Effect.succeed(n === 1) },
        script: [ask, "A.", again("q", 2), "B.", ...words]
      })
      yield* sent(t)
      yield* sent(t, "Another")
      expect(yield* told(t)).toEqual(["asks p", "withdrawn p", "p_final cancelled", "q done"])
      expect(log).toEqual([{ n: 2 }])
    })
  )

  it.scoped("[A1] two that wait to replace: each stops what it was to stop when it is approved", () =>
    Effect.gen(function* () {
      const log: Array<unknown> = []
      const t = yield* paying({
        log,
        pay: { onDuplicate: "replace", allowCancellation: true, run: noted(log, Effect.never) },
        script: [ask, "A.", again("q", 2), "B.", again("r", 3), "C.", ...words]
      })
      yield* sent(t)
      yield* sent(t, "Another")
      yield* sent(t, "Another")
      expect((yield* t.session.approvals).map(({ callId }) => callId)).toEqual(["p", "q", "r"])
      yield* t.session.approve("q")
      yield* TestSession.settle
      expect(yield* told(t)).toEqual(["asks p", "asks q", "asks r", "approved q", "withdrawn p", "p_final cancelled"])
      yield* t.session.approve("r")
      yield* TestSession.settle
      expect(log).toEqual([{ n: 2 }, { n: 3 }])
      expect((yield* told(t)).slice(6)).toEqual(["approved r", "q_final cancelled"])
      yield* t.session.cancelTool("r")
    })
  )

  it.scoped("[A8] joined calls share one approval: any of their ids decides for all, the list has the first", () =>
    Effect.gen(function* () {
      const log: Array<unknown> = []
      const t = yield* paying({
        log,
        pay: { onDuplicate: "join" },
        script: [ask, "A.", again("q"), "B.", ...words]
      })
      yield* sent(t)
      yield* sent(t, "Again")
      expect((yield* t.session.approvals).map(({ callId }) => callId)).toEqual(["p"])
      expect((yield* outputs(t)).map((line) => line.slice(0, 27))).toEqual([
        "p: pay has not been run: it",
        "q: pay has not been run: it"
      ])
      yield* t.session.approve("q", { arguments: { n: 7 } })
      yield* TestSession.settle
      expect(log).toEqual([{ n: 7 }])
      expect(yield* told(t)).toEqual(["asks p", "edited p", "p_final done", "q_final done"])
      expect((yield* TestSession.calls(t.session)).map(({ arguments: args, callId }) => [callId, args])).toEqual([
        ["p", { n: 1 }],
        ["q", { n: 1 }],
        ["p_update_1", { n: 7 }],
        ["q_update_1", { n: 7 }],
        ["p_final", { n: 7 }],
        ["q_final", { n: 7 }]
      ])
      expect(yield* failure(t.session.deny("p"))).toBe("Call p has already ended.")
    })
  )

  it.scoped("[A8] denied, expired and withdrawn for all; and one that joins a running call is not asked for", () =>
    Effect.gen(function* () {
      const log: Array<unknown> = []
      const t = yield* paying({
        pay: {
          onDuplicate: "join",
          allowCancellation: true,
          run: noted(log, Effect.as(Effect.sleep("1 hour"), "paid"))
        },
        script: [
          [ask, again("q")],
          "A.",
          "Denied.",
          [again("r"), again("s")],
          "B.",
          [again("u")],
          "D.",
          [again("v")],
          ...words
        ]
      })
      yield* sent(t)
      yield* t.session.deny("q")
      expect(yield* told(t)).toEqual(["asks p", "denied p", "p_final error", "q_final error"])
      yield* TestSession.settle
      yield* sent(t, "Again")
      yield* t.session.cancelTool("s")
      expect((yield* told(t)).slice(4)).toEqual(["asks r", "withdrawn r", "r_final cancelled", "s_final cancelled"])
      yield* TestSession.settle
      yield* sent(t, "Again")
      yield* t.session.approve("u")
      yield* sent(t, "Again")
      expect(yield* t.session.approvals).toEqual([])
      expect(log).toEqual([{ n: 1 }])
      yield* TestSession.advance("1 hour")
      expect((yield* told(t)).slice(8)).toEqual(["asks u", "approved u", "u_final done", "v done"])
    })
  )
})
