/** Programs that no compiler has checked. What the compiler itself says is in test/programs/mistakes.test.ts. */
import { Tool, Toolkit } from "@effect/ai"
import { describe, expect } from "@effect/vitest"
import { Cause, Effect, Exit, Option, Schema } from "effect"
import {
  Agent,
  AgentSession,
  AsyncTool,
  AsyncToolset,
  type ChatContext,
  RunContext,
  ToolPrompts
} from "effect-meantime"
import { ScriptedModel, TestSession } from "effect-meantime/testing"
import { z } from "zod"
import { logs } from "./support/scopes.js"
import { it } from "./support/virtual.js"

/** What a build that cannot be type-checked died with. */
const defect = (built: Effect.Effect<unknown, unknown, any>): Effect.Effect<string> =>
  Effect.map(
    Effect.exit(Effect.scoped(built as Effect.Effect<unknown, unknown>)),
    Exit.match({
      onSuccess: () => "built",
      onFailure: (cause) => Option.match(Cause.dieOption(cause), { onNone: () => Cause.pretty(cause), onSome: String })
    })
  )

const session = (options: object) =>
  AgentSession.make({ agent: Agent.make("front", { instructions: "" }), ...options } as AgentSession.Options<
    never,
    []
  >).pipe(Effect.provide(ScriptedModel.layer([])))
const withTools = (tools: unknown) => session({ agent: Agent.make("front", { instructions: "", tools: tools as [] }) })
const withTool = (tool: Tool.Any) => withTools([Toolkit.make(tool)])
const anyTool = (options: object) => AsyncTool.make("look", options) as Tool.Any

const Look = AsyncTool.make("look")
const Looks = Toolkit.make(Look)

describe("[L3] a tool in place of a toolkit", () => {
  const says = (owner: string) =>
    `OptionsError: The option tools of ${owner} has the tool "look" in it, which belongs in a toolkit: ` +
    "write Toolkit.make(tool)."

  it.effect("in an agent, a session, a toolset, a toolset in a toolset", () =>
    Effect.gen(function* () {
      const set = (tools: unknown) => AsyncToolset.make("set", tools as [])
      expect(yield* defect(withTools([Look]))).toBe(says('agent "front"'))
      expect(yield* defect(withTools([Toolkit.make(), Look]))).toBe(says('agent "front"'))
      expect(yield* defect(session({ tools: [Look] }))).toBe(says("the session"))
      expect(yield* defect(session({ tools: [set(Look)] }))).toBe(says('toolset "set"'))
      expect(yield* defect(withTools([AsyncToolset.make("outer", [set([Look])])]))).toBe(says('toolset "set"'))
    })
  )

  it.effect("other things, and lists that are none", () =>
    Effect.gen(function* () {
      const neither = 'The option tools of agent "front" has something in it that is neither a toolkit nor a toolset.'
      for (const wrong of [undefined, null, 1, "look", {}, [], () => 1, z.string()]) {
        expect(yield* defect(withTools([wrong])), String(wrong)).toBe(`OptionsError: ${neither}`)
      }
      for (const wrong of [Looks, { Looks }, 1, "look"]) {
        expect(yield* defect(withTools(wrong))).toBe(
          'OptionsError: The option tools of agent "front" has to be a list of toolkits and toolsets: ' +
            "write [Toolkit.make(tool)]."
        )
      }
      expect(yield* defect(withTools(undefined))).toBe("built")
    })
  )
})

describe("[T1] schemas", () => {
  const of = (problem: string) => `ToolOptionsError: Tool "look": ${problem}`
  const cases: ReadonlyArray<readonly [string, object, string]> = [
    [
      "Schema.Struct around the parameters",
      { parameters: Schema.Struct({ city: Schema.String }) },
      "parameters has to be fields without Schema.Struct around them: write { city: Schema.String }."
    ],
    [
      "an object of another library",
      { parameters: z.object({ city: z.string() }) },
      "parameters has to be fields, each a Schema of Effect: write { city: Schema.String }."
    ],
    [
      "no fields at all",
      { parameters: "city" },
      "parameters has to be fields, each a Schema of Effect: write { city: Schema.String }."
    ],
    [
      "one parameter of another library",
      { parameters: { at: Schema.String, city: z.string() } },
      'the parameter "city" has to be a Schema of Effect: write Schema.String and the like.'
    ],
    [
      "a success of another library",
      { success: z.string() },
      "success has to be a Schema of Effect: write Schema.String and the like."
    ],
    [
      "fields as success",
      { success: { celsius: Schema.Number } },
      "success has to be a Schema of Effect: write Schema.String and the like."
    ],
    [
      "a failure of another library",
      { failure: z.string() },
      "failure has to be a Schema of Effect: write Schema.String and the like."
    ]
  ]

  for (const [title, options, problem] of cases) {
    it.effect(`${title}: the session, and AsyncTool.execute, die with what to write`, () =>
      Effect.gen(function* () {
        const tool = anyTool(options)
        expect(yield* defect(withTool(tool))).toBe(of(problem))
        // what is done to the tool afterwards does not hide it
        expect(yield* defect(withTool(Tool.isUserDefined(tool) ? (tool as any).addDependency(Looks) : tool))).toBe(
          of(problem)
        )
        expect(yield* defect(AsyncTool.execute(Toolkit.make(tool), { name: "look", arguments: {} }))).toBe(of(problem))
      })
    )
  }

  it.effect("of an ordinary tool", () =>
    Effect.gen(function* () {
      const options = { success: z.string() } as object
      expect(yield* defect(withTool(Tool.make("look", options)))).toBe(
        of("success has to be a Schema of Effect: write Schema.String and the like.")
      )
    })
  )

  it.effect("fields of every kind are taken", () =>
    Effect.gen(function* () {
      class Place extends Schema.Class<Place>("Place")({ city: Schema.String }) {}
      const Fine = AsyncTool.make("fine", {
        parameters: {
          a: Schema.optional(Schema.String),
          b: Schema.optionalWith(Schema.Number, { default: () => 1 }),
          c: Place,
          d: Schema.propertySignature(Schema.String).annotations({ description: "d" })
        },
        success: Place,
        failure: Schema.Union(Place, Schema.Never)
      })
      const fine = Toolkit.make(Fine)
      const Live = fine.toLayer({ fine: ({ c }) => Effect.succeed(c) })
      expect(yield* defect(withTools([fine]).pipe(Effect.provide(Live)))).toBe("built")
    })
  )
})

describe("[S7] the result of a task", () => {
  const run = (result: unknown) =>
    Effect.gen(function* () {
      const log = logs()
      const Email = Agent.task("email", { instructions: "", ...({ result } as { result: Schema.Schema<{}, {}> }) })
      const live = Looks.toLayer({
        look: () => Effect.asVoid(RunContext.runTask(Email as Agent.AgentTask<unknown, never>)).pipe(Effect.orDie)
      })
      const agent = Agent.make("front", { instructions: "", tools: [Looks] }).pipe(Agent.provide(live))
      const { session } = yield* TestSession.make({ agent }).pipe(
        Effect.provide([ScriptedModel.layer([ScriptedModel.toolCall("look"), "Done."]), log.layer])
      )
      yield* session.send("Go")
      yield* TestSession.settle
      const { items } = yield* session.history
      const outputs = items.filter((item): item is ChatContext.FunctionCallOutput => item._tag === "FunctionCallOutput")
      return { log: log.causes.join(), outputs: outputs.map(({ isError }) => isError) }
    }).pipe(Effect.scoped)

  it.effect("of another library: the call of runTask dies with what to write", () =>
    Effect.gen(function* () {
      for (const wrong of [z.object({ email: z.string() }), undefined, 1]) {
        const { log, outputs } = yield* run(wrong)
        expect(outputs).toEqual([true])
        expect(log).toContain(
          'OptionsError: The option result of task "email" has to be a Schema of Effect with fields'
        )
      }
    })
  )
})

describe("[L2] a handler that nobody provides", () => {
  it.effect("the session, and AsyncTool.execute, say what to provide", () =>
    Effect.gen(function* () {
      const provide = "provide toolkit.toLayer({ look: … }) to the session, the agent or the toolset."
      expect(yield* defect(withTools([Looks]))).toBe(
        `ToolOptionsError: Tool "look": agent "front" has no handler for it: ${provide}`
      )
      expect(yield* defect(withTool(AsyncTool.make("look-up")))).toContain('toolkit.toLayer({ "look-up": … })')
      expect(yield* defect(AsyncTool.execute(Looks, { name: "look", arguments: {} }))).toContain(
        "has no handler for it: provide toolkit.toLayer({ look: … })"
      )
    })
  )
})

describe("[L3] a placeholder that a template does not have", () => {
  it.effect("the session dies with those that it has", () =>
    Effect.gen(function* () {
      const prompts = ToolPrompts.layer({ update: "{nobody}" as string })
      expect(yield* defect(session({}).pipe(Effect.provide(prompts)))).toBe(
        'TemplateError: The template "update" has no placeholder {nobody}. It has {toolName}, {callId}, {message}. ' +
          "A literal brace is written twice."
      )
    })
  )
})
