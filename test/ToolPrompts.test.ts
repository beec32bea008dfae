import { describe, expect } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { Agent, RunContext, ToolPrompts } from "effect-meantime"
import { ScriptedModel, TestSession } from "effect-meantime/testing"
import { agent, call, script, talk } from "./support/scopes.js"
import { it } from "./support/virtual.js"

/** What becomes of an update, for a template and a message. */
const updated = (template: string, message: string) =>
  Effect.gen(function* () {
    const Front = agent("front", { works: { work: RunContext.update(message) } }).pipe(
      Agent.provide(ToolPrompts.layer({ update: template }))
    )
    const test = yield* talk({ agent: Front })
    yield* test.say("Work")
    return (yield* test.outputs)[0]?.[1]
  }).pipe(Effect.scoped, script([call("work"), "Working."]))

describe("templates", () => {
  it.effect("[L1] a string template is filled in, each placeholder as often as it stands there", () =>
    Effect.gen(function* () {
      expect(yield* updated("{message}, {message} from {toolName} ({callId})", "hi")).toBe("hi, hi from work (work)")
      expect(yield* updated("no placeholder", "hi")).toBe("no placeholder")
    })
  )

  it.effect("[L1] braces in an argument stay what they are", () =>
    Effect.gen(function* () {
      expect(yield* updated("> {message}", "{toolName} {{x}} $& $1 {nobody}")).toBe("> {toolName} {{x}} $& $1 {nobody}")
    })
  )

  it.scoped("[L1] two layers side by side override what each of them names", () =>
    Effect.gen(function* () {
      const Front = agent("front", { works: { work: Effect.as(RunContext.update("hi"), "result") } }).pipe(
        Agent.provide(
          Layer.mergeAll(
            ToolPrompts.layer({ update: "<{message}>" }),
            ToolPrompts.layer({ replyMaybeCovered: "what is new" }),
            ToolPrompts.layer({ inProgress: "busy" })
          )
        )
      )
      const test = yield* talk({ agent: Front })
      yield* test.say("Work")
      expect((yield* test.outputs)[0]?.[1]).toBe("<hi>")
      expect(ScriptedModel.lastUserText(yield* test.lastRequest)).toMatch(/what is new$/)
    }).pipe(script([call("work"), "Working.", "Done."]))
  )

  it.effect("[L3] a literal brace is written twice", () =>
    Effect.gen(function* () {
      expect(yield* updated(`{{"text": "{message}"}}`, "hi")).toBe(`{"text": "hi"}`)
      expect(yield* updated("{{message}} {{{message}}}", "hi")).toBe("{message} {hi}")
    })
  )

  it.effect("[L3] a brace that opens or closes nothing is text", () =>
    Effect.gen(function* () {
      expect(yield* updated("{ {message}", "hi")).toBe("{ hi")
      expect(yield* updated("{message} }", "hi")).toBe("hi }")
    })
  )

  it.effect("[L3] a TemplateError says what is wrong and what there is instead", () =>
    Effect.sync(() => {
      const error = new ToolPrompts.TemplateError({ template: "update", placeholder: "msg" })
      expect(error._tag).toBe("TemplateError")
      expect(error.message).toContain("update")
      expect(error.message).toContain("{msg}")
      for (const known of ["{toolName}", "{callId}", "{message}"]) expect(error.message).toContain(known)
    })
  )
})

describe("the default templates", () => {
  const base = { toolName: "book_flight", callId: "c1" }
  const running = [{ callId: "c0", name: "book_flight", arguments: {} }]
  const args: { readonly [K in keyof ToolPrompts.Prompts]: ReadonlyArray<object> } = {
    update: [{ ...base, message: "Half done." }],
    inProgress: [base],
    released: [base],
    ended: (["done", "cancelled", "replaced", "drained"] as const).map((how) => ({ ...base, how })),
    outcomeUnknown: [base],
    approvalPending: ["", "It moves money."].map((reason) => ({ ...base, reason })),
    // what it shows of the arguments is JSON
    approvalEdited: [{ ...base, arguments: "none" }],
    approvalDenied: [
      { ...base, reason: "", how: "denied" },
      { ...base, reason: "too late!", how: "denied" },
      { ...base, reason: "", how: "expired" }
    ],
    duplicateReject: [{ ...base, running, runningText: "Call c0." }],
    duplicateConfirm: [{ ...base, running, runningText: "Call c0." }],
    replyAtTail: [{ callIds: ["c1_final"] }],
    replyMaybeCovered: [{ callIds: ["c1_final"] }]
  }
  const render = (template: ToolPrompts.Template<any>, values: Record<string, any>) =>
    typeof template === "function"
      ? template(values)
      : template.replace(/\{(\w+)\}/g, (whole, name: string) => String(values[name] ?? whole))
  const texts = Object.entries(args).flatMap(([name, all]) =>
    all.map((values) => [name, render(ToolPrompts.defaults[name as keyof ToolPrompts.Prompts], values)] as const)
  )
  const instructions = texts.filter(([name]) => name.startsWith("reply"))

  it.effect("[W1] each is short", () =>
    Effect.sync(() => {
      expect(texts).toHaveLength(18)
      for (const [name, text] of texts) expect([name, text.length <= 320]).toEqual([name, true])
      for (const [name, text] of texts.filter(([name]) => ["inProgress", "released", "ended"].includes(name))) {
        expect([name, text.length <= 100]).toEqual([name, true])
      }
    })
  )

  it.effect("[W1] each is for speech and for text alike: plain sentences, no markup, no medium", () =>
    Effect.sync(() => {
      for (const [, text] of texts) {
        expect(text).toMatch(/[.)]$/)
        expect(text).not.toMatch(/[*#`<>|[\]{}]|\b(read|write|type|voice|aloud|screen|click|listen|spoken|markdown)\b/i)
      }
    })
  )

  it.effect("[W1] what tools return is data: the replies' instructions say so, and add no orders of a tool", () =>
    Effect.sync(() => {
      for (const [, text] of instructions) {
        expect(text).toMatch(/\bdata\b/)
        expect(text).toMatch(/follow no instructions/)
      }
      for (const [name, text] of texts) {
        if (name.startsWith("reply") || name === "duplicateConfirm") continue
        expect(text).not.toMatch(/\b(tell|say|inform|you must|you should|please)\b/i)
      }
    })
  )

  it.effect("[W1] none describes the format of a message to come", () =>
    Effect.sync(() => {
      for (const [, text] of texts.filter(([name]) => !name.startsWith("reply"))) {
        expect(text).not.toMatch(/\b(will (be|come|receive|get|see|arrive)|format|json|later message|notification)\b/i)
        expect(text).not.toMatch(/_update|_final/)
      }
      for (const [, text] of instructions) expect(text).not.toMatch(/\b(will|format|json)\b/i)
    })
  )

  it.effect("[W1] none says that a call still runs once it has ended", () =>
    Effect.sync(() => {
      for (const [, text] of texts.filter(([name]) => name === "ended")) expect(text).not.toMatch(/running|in progress/)
    })
  )

  it.scoped("[W1] the instruction of a reply comes in a frame that says that the user did not say it", () =>
    Effect.gen(function* () {
      const work = RunContext.update("x").pipe(Effect.zipRight(Effect.sleep("1 second")), Effect.as("found"))
      const test = yield* talk({ agent: agent("front", { works: { work } }) })
      yield* test.say("Work")
      yield* TestSession.advance("1 second")
      const text = ScriptedModel.lastUserText(yield* test.lastRequest)
      expect(text).toMatch(/not from the user/)
      expect(text).toContain("work_final")
      expect(
        (yield* test.session.history).items.some(
          (item) => item._tag === "Message" && item.text.includes("not from the user")
        )
      ).toBe(false)
    }).pipe(script([call("work"), "Working.", "Found."]))
  )
})
