/**
 * Parameters of tools as providers take them: strict mode, null for what is left out, and what is refused at the start.
 */
import { Model, Tool, Toolkit } from "@effect/ai"
import { describe, expect } from "@effect/vitest"
import { Effect, Layer, Schema } from "effect"
import { Agent, AgentSession, AsyncTool, SessionModel } from "effect-meantime"
import { ScriptedModel, TestSession } from "effect-meantime/testing"
import { it } from "./support/virtual.js"
import * as Strict from "./wire/Strict.js"

const named = (provider: string) => Layer.succeed(Model.ProviderName, provider)

/** A session with one tool `t`, called once with these arguments. */
const called = (
  parameters: Schema.Struct.Fields,
  args: unknown,
  layer: Layer.Layer<any> | Layer.Layer<never> = named("openai"),
  name = "t"
) =>
  Effect.gen(function* () {
    const seen: Array<unknown> = []
    const toolkit = Toolkit.make(AsyncTool.make(name, { parameters, success: Schema.String }))
    const handlers = toolkit.toLayer({
      [name]: (params: unknown) => {
        seen.push(params)
        return Effect.succeed("done")
      }
    } as any) as Layer.Layer<any>
    const outputs = yield* Effect.gen(function* () {
      const { session } = yield* TestSession.make({ agent: Agent.make("a", { instructions: "x", tools: [toolkit] }) })
      yield* session.run("Go")
      return {
        outputs: (yield* TestSession.outputs(session)).map((output) => output.output),
        requests: yield* (yield* ScriptedModel.ScriptedModel).requests
      }
    }).pipe(
      Effect.scoped,
      Effect.provide(Layer.mergeAll(handlers, ScriptedModel.layer([ScriptedModel.toolCall(name, args), "ok"]), layer))
    )
    return { seen, outputs: outputs.outputs, schema: outputs.requests[0]?.tools[0]?.jsonSchema as any }
  })

/** What the build of an agent with this tool dies with. */
const refusal = (parameters: Schema.Schema<any, any>, provider: string, name = "t", layer = Layer.empty) =>
  Effect.gen(function* () {
    const toolkit = Toolkit.make(Tool.make(name).setParameters(parameters as any) as any)
    const handlers = toolkit.toLayer({ [name]: () => Effect.void } as any) as Layer.Layer<any>
    const cause = yield* AgentSession.make({ agent: Agent.make("a", { instructions: "x", tools: [toolkit] }) }).pipe(
      Effect.scoped,
      Effect.provide(Layer.mergeAll(handlers, ScriptedModel.layer([]), named(provider), layer)),
      Effect.catchAllDefect((defect) => Effect.succeed(defect)),
      Effect.map((result) => (result instanceof AsyncTool.ToolOptionsError ? result.message : undefined))
    )
    return cause
  })

class Place extends Schema.Class<Place>("Place")({ city: Schema.String, zip: Schema.optional(Schema.String) }) {}

interface Folder {
  readonly name: string
  readonly folders: ReadonlyArray<Folder>
}
const Folder: Schema.Schema<Folder> = Schema.Struct({
  name: Schema.String,
  folders: Schema.Array(Schema.suspend((): Schema.Schema<Folder> => Folder))
}).annotations({ identifier: "Folder" })

const everything = {
  text: Schema.NonEmptyString,
  short: Schema.String.pipe(Schema.maxLength(3)),
  count: Schema.Int.pipe(Schema.between(1, 5)),
  list: Schema.Array(Schema.String).pipe(Schema.minItems(1)),
  day: Schema.DateFromString,
  id: Schema.UUID,
  kind: Schema.Literal("a", "b", null),
  enums: Schema.Enums({ A: "a", B: "b" } as const),
  template: Schema.TemplateLiteral("a-", Schema.String),
  place: Place,
  places: Schema.Array(Place),
  maybe: Schema.optional(Schema.Number),
  maybeNull: Schema.optional(Schema.NullOr(Schema.String)),
  nullable: Schema.optionalWith(Schema.String, { nullable: true }),
  withDefault: Schema.optionalWith(Schema.String, { default: () => "x" }),
  either: Schema.Union(Place, Schema.Struct({ _tag: Schema.Literal("k"), o: Schema.optional(Schema.Number) })),
  folder: Folder
}

describe("strict mode", () => {
  it.scoped("shows every schema of everyday use in a form that strict mode takes", () =>
    Effect.gen(function* () {
      const { schema } = yield* called(everything, {})
      expect(Strict.problem(schema)).toBeUndefined()
      expect(schema.required).toEqual(Object.keys(everything))
      expect(schema.properties.maybe).toEqual({ anyOf: [{ type: "number" }, { type: "null" }] })
      // what the provider cannot check, the tool's own schema does
      expect(schema.properties.text).toEqual({
        type: "string",
        description: "a non empty string",
        title: "nonEmptyString"
      })
    })
  )

  for (const [title, layer] of [
    ["for a provider without strict mode", named("anthropic")],
    ["for a provider that is not known", Layer.empty],
    ["where strict mode is turned off", Layer.merge(named("openai"), Layer.succeed(SessionModel.StrictSchemas, false))]
  ] as const) {
    it.scoped(`[T1] leaves the schema as it is ${title}`, () =>
      Effect.gen(function* () {
        const { schema } = yield* called(everything, {}, layer)
        expect(schema).toEqual(Tool.getJsonSchema(Tool.make("t", { parameters: everything })))
      })
    )
  }

  it.scoped("[C3] leaves a schema that is strict already as it is, to the byte", () =>
    Effect.gen(function* () {
      const parameters = { city: Schema.String, days: Schema.NullOr(Schema.Int) }
      const { schema } = yield* called(parameters, { city: "Oslo", days: null })
      expect(JSON.stringify(schema)).toBe(JSON.stringify(Tool.getJsonSchema(Tool.make("t", { parameters }))))
    })
  )

  it.scoped("can be turned on for a provider that is not known", () =>
    Effect.gen(function* () {
      const { schema } = yield* called(everything, {}, Layer.succeed(SessionModel.StrictSchemas, true))
      expect(Strict.problem(schema)).toBeUndefined()
    })
  )

  for (const [title, field, problem] of [
    ["a record", Schema.Record({ key: Schema.String, value: Schema.Number }), /"x" is a record/],
    ["anything", Schema.Unknown, /"x" is of any type/],
    ["a tuple", Schema.Tuple(Schema.String, Schema.Number), /"x" is a tuple/],
    [
      "a record in a list",
      Schema.Array(Schema.Struct({ y: Schema.Record({ key: Schema.String, value: Schema.Number }) })),
      /"x\.\[\]\.y" is a record/
    ]
  ] as const) {
    it.scoped(`refuses ${title} at the start, and says where`, () =>
      Effect.gen(function* () {
        expect(yield* refusal(Schema.Struct({ x: field }) as any, "openai")).toMatch(problem)
        expect(yield* refusal(Schema.Struct({ x: field }) as any, "anthropic")).toBeUndefined()
      })
    )
  }
})

describe("null for what is left out", () => {
  for (const [title, parameters, args, seen] of [
    ["an optional parameter", { a: Schema.optional(Schema.Number) }, { a: null }, {}],
    ["one with a default", { a: Schema.optionalWith(Schema.String, { default: () => "x" }) }, { a: null }, { a: "x" }],
    ["one that takes null", { a: Schema.optional(Schema.NullOr(Schema.Number)) }, { a: null }, { a: null }],
    [
      "one in an object",
      { p: Schema.Struct({ a: Schema.optional(Schema.Number), b: Schema.Number }) },
      { p: { a: null, b: 1 } },
      { p: { b: 1 } }
    ],
    [
      "one in a list of objects",
      { ps: Schema.Array(Schema.Struct({ a: Schema.optional(Schema.Number) })) },
      { ps: [{ a: null }, { a: 1 }] },
      { ps: [{}, { a: 1 }] }
    ],
    [
      "one in an optional object",
      { p: Schema.optional(Schema.Struct({ a: Schema.optional(Schema.Number) })) },
      { p: { a: null } },
      { p: {} }
    ]
  ] as const) {
    it.scoped(`[T3] ${title}: the handler does not see it`, () =>
      Effect.gen(function* () {
        for (const provider of ["openai", "unknown"]) {
          const result = yield* called(parameters as any, args, named(provider))
          expect(result.seen).toEqual([seen])
        }
      })
    )
  }

  it.scoped("[T3] a required parameter is still required", () =>
    Effect.gen(function* () {
      const { outputs, seen } = yield* called({ a: Schema.Number }, { a: null })
      expect(seen).toEqual([])
      expect(outputs).toEqual([expect.stringContaining("a: ")])
    })
  )

  it.scoped("[T3] in a recursive schema, as deep as it goes", () =>
    Effect.gen(function* () {
      interface Tree {
        readonly label?: string | undefined
        readonly kids: ReadonlyArray<Tree>
      }
      const Tree: Schema.Schema<Tree> = Schema.Struct({
        label: Schema.optional(Schema.String),
        kids: Schema.Array(Schema.suspend((): Schema.Schema<Tree> => Tree))
      }).annotations({ identifier: "Tree" })
      const args = { tree: { label: null, kids: [{ label: null, kids: [{ label: "leaf", kids: [] }] }] } }
      const { seen } = yield* called({ tree: Tree }, args)
      expect(seen).toEqual([{ tree: { kids: [{ kids: [{ label: "leaf", kids: [] }] }] } }])
    })
  )
})

describe("refused at the start", () => {
  for (const provider of ["openai", "anthropic", "google", "amazon-bedrock", "openrouter"]) {
    it.scoped(`${provider}: a name, and parameters, that every request would fail on`, () =>
      Effect.gen(function* () {
        const none = Schema.Struct({})
        expect(yield* refusal(none, provider, "look up")).toMatch(/^Tool "look up": .*refuses this name/)
        expect(yield* refusal(none, provider, "a".repeat(65))).toMatch(/refuses this name/)
        expect(yield* refusal(none, provider, "look_up-2")).toBeUndefined()
        const choice = Schema.Union(Schema.Struct({ a: Schema.String }), Schema.Struct({ b: Schema.String }))
        expect(yield* refusal(choice as any, provider)).toMatch(/one object, not a choice/)
      })
    )
  }

  it.scoped("google: a schema that refers to definitions, which its package cannot send", () =>
    Effect.gen(function* () {
      const parameters = Schema.Struct({ folder: Folder })
      expect(yield* refusal(parameters as any, "google")).toMatch(/recursive/)
      expect(yield* refusal(parameters as any, "anthropic")).toBeUndefined()
      expect(yield* refusal(parameters as any, "openai")).toBeUndefined()
    })
  )

  it.scoped("[T1] parameters that are a choice of several are shown as they are where the provider is not known", () =>
    Effect.gen(function* () {
      const parameters = Schema.Union(Schema.Struct({ a: Schema.String }), Schema.Struct({ b: Schema.String }))
      const tool = Tool.make("t", { success: Schema.String }).setParameters(parameters as any)
      const toolkit = Toolkit.make(tool)
      const handlers = toolkit.toLayer({ t: () => Effect.succeed("done") } as any) as Layer.Layer<any>
      const requests = yield* Effect.gen(function* () {
        const { session } = yield* TestSession.make({ agent: Agent.make("a", { instructions: "x", tools: [toolkit] }) })
        yield* session.run("Go")
        return yield* (yield* ScriptedModel.ScriptedModel).requests
      }).pipe(Effect.scoped, Effect.provide(Layer.merge(handlers, ScriptedModel.layer(["ok"]))))
      expect(requests[0]?.tools[0]?.jsonSchema).toEqual(Tool.getJsonSchema(tool as any))
    })
  )

  it.scoped("[T1] nothing is refused where the provider is not known", () =>
    Effect.gen(function* () {
      expect(yield* refusal(Schema.Struct({ x: Schema.Unknown }), "my-own", "look up")).toBeUndefined()
    })
  )
})
