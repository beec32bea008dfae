/**
 * Values that handlers, models and layers give, and what they may do with those that they get.
 */
import { Toolkit } from "@effect/ai"
import { Chunk, Data, Effect, Layer, Option, Schema } from "effect"
import { type AgentSession, AsyncTool, DuplicatePolicy, RunContext, ToolPrompts } from "effect-meantime"
import { ScriptedModel, TestSession } from "effect-meantime/testing"
import { describe, expect } from "vitest"
import { logs } from "./support/scopes.js"
import { talk, toolCall } from "./support/talk.js"
import { it } from "./support/virtual.js"

type Handler = (params: any) => Effect.Effect<unknown, any, RunContext.RunContext>

/** One call outside a session, of a tool whose results and failures may be anything. */
const execute = (run: Handler, options: AsyncTool.Options = {}, args: unknown = {}) => {
  const kit = Toolkit.make(
    AsyncTool.make("look", {
      parameters: { n: Schema.optional(Schema.Number), filter: Schema.optional(Schema.Unknown) },
      success: Schema.Unknown,
      failure: Schema.Unknown,
      ...options
    })
  )
  return AsyncTool.execute(kit, { name: "look", arguments: args }).pipe(
    Effect.provide(kit.toLayer({ look: run as never }))
  ) as Effect.Effect<AsyncTool.Executed>
}

/** The value as result, failure and update of `execute`. */
const everywhere = (value: () => unknown) =>
  Effect.gen(function* () {
    const done = yield* execute(() => Effect.as(RunContext.update(value()), value()))
    const failed = yield* execute(() => Effect.suspend(() => Effect.fail(value())))
    return [done.output, failed.output, ...done.updates]
  })

const expectEverywhere = (value: () => unknown, expected: unknown) =>
  Effect.map(everywhere(value), (all) => expect(all).toEqual([expected, expected, expected]))

// --------------------------------------------------------------------------------------------------------------- kinds

class Empty {}
class Sized {
  get size() {
    return 7
  }
}

const kinds: ReadonlyArray<readonly [string, () => unknown, string]> = [
  ["a Buffer", () => Buffer.from("secret"), "(Buffer of 6 bytes)"],
  ["bytes", () => new Uint8Array(12), "(Uint8Array of 12 bytes)"],
  ["clamped bytes", () => new Uint8ClampedArray(3), "(Uint8ClampedArray of 3 bytes)"],
  ["numbers of four bytes", () => new Float32Array(5), "(Float32Array of 5 elements, 20 bytes)"],
  ["big numbers", () => new BigInt64Array(2), "(BigInt64Array of 2 elements, 16 bytes)"],
  ["a DataView", () => new DataView(new ArrayBuffer(9)), "(DataView of 9 bytes)"],
  ["an ArrayBuffer", () => new ArrayBuffer(4), "(ArrayBuffer of 4 bytes)"],
  ["a SharedArrayBuffer", () => new SharedArrayBuffer(8), "(SharedArrayBuffer of 8 bytes)"],
  ["a Blob", () => new Blob(["secret"]), "(Blob of 6 bytes)"],
  ["a File", () => new File(["secret"], "secret.txt"), "(File of 6 bytes)"],
  ["Headers", () => new Headers({ authorization: "secret" }), "(Headers)"],
  ["a FormData", () => new FormData(), "(FormData)"],
  ["a ReadableStream", () => new ReadableStream(), "(ReadableStream)"],
  ["a Request", () => new Request("http://localhost/secret"), "(Request)"],
  ["a Response", () => new Response("secret"), "(Response)"],
  ["a Promise", () => Promise.resolve("secret"), "(Promise)"],
  ["a WeakMap", () => new WeakMap(), "(WeakMap)"],
  ["a generator", () => (function* () {})(), "(Generator)"],
  ["an iterator", () => ["secret"].values(), "(Array Iterator)"],
  ["a class without fields", () => new Empty(), "(Empty)"],
  ["a class that says its size", () => new Sized(), "(Sized of 7 entries)"],
  ["a class without a name", () => new (class {})(), "(an object without fields)"],
  ["an object of functions", () => ({ run: () => "secret" }), "(an object without fields)"],
  ["a proxy of bytes", () => new Proxy(new Uint8Array(5), {}), "(Uint8Array)"]
]

describe("what is told by its kind", () => {
  for (const [name, value, text] of kinds) {
    it.effect(`[U4] ${name}, alone and at any depth`, () =>
      Effect.gen(function* () {
        yield* expectEverywhere(value, text)
        yield* expectEverywhere(() => ({ a: [[{ b: value() }]], n: 1 }), { a: [[{ b: text }]], n: 1 })
      })
    )
  }

  it.effect("[U4] inside what JSON cannot carry, it is told in the text", () =>
    expectEverywhere(
      () => new Map<string, unknown>([["a", { b: [new Uint16Array(3)], e: new Empty(), n: 10n }]]),
      JSON.stringify([["a", { b: ["(Uint16Array of 3 elements, 6 bytes)"], e: "(Empty)", n: "10" }]])
    )
  )

  it.effect("[U4] what is plain, and what says its JSON itself, is as it was", () =>
    expectEverywhere(
      () => ({
        plain: {},
        bare: Object.create(null),
        list: [],
        data: Data.struct({}),
        option: Option.some(1),
        chunk: Chunk.make(1, 2),
        date: new Date(0),
        url: new URL("http://localhost/"),
        none: { gone: undefined },
        string: new String("text")
      }),
      {
        plain: {},
        bare: {},
        list: [],
        data: {},
        option: { _id: "Option", _tag: "Some", value: 1 },
        chunk: { _id: "Chunk", values: [1, 2] },
        date: "1970-01-01T00:00:00.000Z",
        url: "http://localhost/",
        none: {},
        string: "text"
      }
    )
  )

  it.scoped("[U4] [U10] a session tells it in results, updates, failures and progress", () =>
    Effect.gen(function* () {
      const { events, session } = yield* talk({
        tools: {
          look: () => {
            const value = { pixels: [[new Uint16Array(1_000_000)]] }
            return Effect.zipRight(RunContext.progress(value), Effect.as(RunContext.update(value), value))
          },
          fail: { failure: Schema.Unknown, run: () => Effect.fail(new Headers()) } as never
        },
        script: [[toolCall("look", {}, { id: "a" }), toolCall("fail", {}, { id: "b" })], "Well.", "Well."],
        logs: [/failed: \(Headers\)/],
        pace: "instant"
      })
      yield* session.send("Go")
      yield* TestSession.settle
      const outputs = (yield* TestSession.outputs(session)).map(({ callId, output }) => [callId, output])
      const text = { pixels: [["(Uint16Array of 1000000 elements, 2000000 bytes)"]] }
      expect(outputs).toEqual([
        ["a", text],
        ["a_final", text],
        ["b", "(Headers)"]
      ])
      expect((yield* events.filter("ToolCallProgress")).map(({ value }) => value)).toEqual([text])
    })
  )
})

// -------------------------------------------------------------------------------------------------------- bounded time

/** Counts each look at a part. */
class Counter {
  reads = 0
  proxy<A extends object>(target: A): A {
    return new Proxy(target, {
      get: (object, key, receiver) => {
        if (typeof key === "string" && /^\d+$/.test(key)) this.reads++
        return Reflect.get(object, key, receiver)
      }
    })
  }
  map(size: number): Map<number, number> {
    const counter = this
    return new (class extends Map<number, number> {
      override get size() {
        return size
      }
      override *[Symbol.iterator](): MapIterator<[number, number]> {
        for (let i = 0; i < size; i++) {
          counter.reads++
          yield [i, i]
        }
      }
    })()
  }
  object(size: number): object {
    const out = {}
    const get = () => {
      this.reads++
      return 1
    }
    for (let i = 0; i < size; i++) Object.defineProperty(out, `k${i}`, { get, enumerable: true })
    return out
  }
}

describe("large containers", () => {
  const large: ReadonlyArray<readonly [string, (counter: Counter) => unknown]> = [
    ["an array", (counter) => counter.proxy(new Array(1_000_000).fill(7))],
    ["an array beside what JSON cannot carry", (counter) => [10n, counter.proxy(new Array(200_000).fill(7))]],
    ["an array that is nearly empty", (counter) => counter.proxy(new Array(4_000_000_000))],
    ["a map", (counter) => counter.map(1_000_000)],
    ["a map at some depth", (counter) => ({ a: [[counter.map(1_000_000)]] })],
    ["an object", (counter) => counter.object(300_000)],
    [
      "an array of which a proxy says no length",
      (counter) =>
        counter.proxy(new Proxy([], { get: (array, key) => (key === "length" ? Number.NaN : Reflect.get(array, key)) }))
    ]
  ]
  for (const [name, make] of large) {
    it.effect(`[U4] of ${name} only the beginning is read`, () =>
      Effect.gen(function* () {
        const counter = new Counter()
        const { output } = yield* execute(() => Effect.sync(() => make(counter)))
        expect(counter.reads).toBeLessThan(2_100)
        expect(String(output).length).toBeLessThan(20_000)
        expect(JSON.stringify(output)).toContain("…")
      })
    )
  }

  it.effect("[U4] no element of bytes is looked at, and their toJSON is not called", () =>
    Effect.gen(function* () {
      const looks: Array<PropertyKey> = []
      const note = (key: PropertyKey) => ({
        configurable: true,
        get: () => {
          looks.push(key)
          return undefined
        }
      })
      const buffer = Object.defineProperties(Buffer.alloc(1_000_000), {
        toJSON: note("toJSON"),
        [Symbol.iterator]: note(Symbol.iterator)
      })
      const counter = new Counter()
      const behind = counter.proxy(new Uint8Array(1_000_000))
      const { output } = yield* execute(() => Effect.succeed({ pages: [{ buffer, behind }], n: 1n }))
      expect(output).toBe(
        JSON.stringify({ pages: [{ buffer: "(Buffer of 1000000 bytes)", behind: "(Uint8Array)" }], n: "1" })
      )
      expect(looks).toEqual([])
      expect(counter.reads).toBe(0)
    })
  )

  it.effect("[U4] the rest of a large container is told by kind and length", () =>
    Effect.gen(function* () {
      const numbers = Array.from({ length: 5_000 }, (_, i) => i)
      const { output } = yield* execute(() => Effect.succeed([new Set(numbers), 1n]))
      expect(String(output).endsWith('999,"… (Set of 5000 entries)"],"1"]')).toBe(true)
    })
  )

  it.effect("[U4] [T9] a part that cannot be looked at takes nothing else with it", () =>
    expectEverywhere(
      () => ({
        n: 1n,
        bad: {
          get x() {
            throw new Error("no")
          }
        },
        error: Object.assign(new Error("x"), { message: ["a", 1n] })
      }),
      JSON.stringify({ n: "1", bad: { x: "(a value that cannot be shown)" }, error: ["a", "1"] })
    )
  )

  it.effect("[U4] a bigint whose digits nobody could read is not written down", () =>
    expectEverywhere(() => [1n << 5_000_000n], JSON.stringify(["(a bigint of more than 1000 digits)"]))
  )
})

// -------------------------------------------------------------------------------------------------------- long outputs

describe("maxOutputLength", () => {
  const note = (missing: number) => `\n[Cut here: ${missing} more characters are missing.]`

  it.effect("[U4] is 400,000 outside sessions: a longer text is cut, and the log says so", () =>
    Effect.gen(function* () {
      const { all, layer } = logs()
      const text = "x".repeat(400_123)
      const outputs = yield* everywhere(() => text).pipe(Effect.provide(layer))
      expect(outputs.map((output) => String(output).length)).toEqual(outputs.map(() => 400_000 + note(123).length))
      expect(outputs.every((output) => String(output).endsWith(`x${note(123)}`))).toBe(true)
      expect(all).toHaveLength(3)
      expect(all[0]).toBe("WARN look gave a text of 400123 characters. It was cut to 400000, which is maxOutputLength.")
      yield* expectEverywhere(() => "x".repeat(400_000), "x".repeat(400_000))
    })
  )

  it.effect("[U4] any other value becomes text that is cut, and is left alone if its JSON is short enough", () =>
    Effect.gen(function* () {
      const { layer } = logs()
      const list = Array.from({ length: 50_000 }, () => "a\n")
      const left = 400_000 - JSON.stringify({ list, end: [""] }).length
      const fits = { list, end: ["x".repeat(left)] }
      expect(JSON.stringify(fits).length).toBe(400_000)
      yield* expectEverywhere(() => fits, fits)
      const over = { list, end: [`${"x".repeat(left)}"`] }
      const text = JSON.stringify(over)
      yield* Effect.provide(
        expectEverywhere(() => over, text.slice(0, 400_000) + note(text.length - 400_000)),
        layer
      )
    })
  )

  it.effect("[U4] what repeats a long text is cut without being written down", () =>
    Effect.gen(function* () {
      const { layer } = logs()
      const long = "\u0001".repeat(1_000_000)
      const outputs = yield* Effect.provide(
        everywhere(() => Array.from({ length: 10_000 }, () => long)),
        layer
      )
      const all = 10_000 * (6_000_000 + 2) + 10_001
      for (const output of outputs) expect(String(output).endsWith(note(all - 400_000))).toBe(true)
    })
  )

  it.scoped("[U4] [U1] [U3] is an option of the session, and no character is cut in two", () =>
    Effect.gen(function* () {
      const { session } = yield* talk({
        tools: {
          look: () => Effect.as(RunContext.update("12345678🎈"), { list: [1, 2, 3, 4] }),
          fail: () => new AsyncTool.ToolError({ message: "1234567890" })
        },
        script: [[toolCall("look", {}, { id: "a" }), toolCall("fail", {}, { id: "b" })], "Well.", "Well."],
        maxOutputLength: 9,
        layer: ToolPrompts.layer({ update: "<{message}>" }),
        logs: [
          /look \(a\) gave a text of 10 characters\. It was cut to 9/,
          /look \(a\) gave a text of 18 characters\. It was cut to 9/,
          /fail \(b\) gave a text of 10 characters\. It was cut to 9/,
          /fail \(b\) failed: 123456789/
        ],
        pace: "instant"
      })
      yield* session.send("Go")
      yield* TestSession.settle
      expect((yield* TestSession.outputs(session)).map(({ callId, output }) => [callId, output])).toEqual([
        ["a", `<12345678${note(2)}>`],
        ["a_final", `{"list":[${note(9)}`],
        ["b", `123456789${note(1)}`]
      ])
    })
  )
})

// ---------------------------------------------------------------------------------------------------------- parameters

describe("the parameters that are ours", () => {
  const ours = {
    onDuplicate: "confirm",
    background: "model"
  } as const satisfies AsyncTool.Options
  const odd: ReadonlyArray<readonly [unknown, string]> = [
    ["false", '"false"'],
    [1, "1"],
    [[], "[]"],
    [{ yes: true }, '{"yes":true}'],
    ["🎈".repeat(500), "…"]
  ]

  for (const [value, shown] of odd) {
    it.scoped(`[T3] one that is neither boolean nor null is named beside the tool's own: ${shown}`, () =>
      Effect.gen(function* () {
        let runs = 0
        const run = () => Effect.sync(() => ++runs)
        const args = { n: "many", confirm_duplicate: value, run_in_background: value }
        const { session } = yield* talk({
          tools: { look: { ...ours, run } },
          script: [toolCall("look", args, { id: "a" }), "Well."],
          pace: "instant"
        })
        yield* session.send("Go")
        yield* TestSession.settle
        const [output] = yield* TestSession.outputs(session)
        const executed = yield* execute(run, ours, args)
        expect(output?.isError).toBe(true)
        expect(executed.isError).toBe(true)
        expect(executed.output).toBe(output?.output)
        const text = String(output?.output)
        for (const name of ["confirm_duplicate", "run_in_background"]) {
          expect(text).toContain(`${name}: Expected boolean | null, actual `)
        }
        expect(text).toContain(shown)
        expect(text).toMatch(/; n: /)
        expect(runs).toBe(0)
      })
    )
  }

  it.scoped("[T3] it is so if nothing else is wrong, and for a schema that takes its time", () =>
    Effect.gen(function* () {
      let runs = 0
      const slow = Schema.transformOrFail(Schema.Number, Schema.Number, {
        decode: (n) => Effect.delay(Effect.succeed(n), "1 second"),
        encode: (n) => Effect.succeed(n)
      })
      const { session } = yield* talk({
        tools: {
          look: { background: "model", run: () => Effect.sync(() => ++runs) },
          wait: { background: "model", parameters: { n: slow }, run: () => Effect.sync(() => ++runs) } as never
        },
        script: [
          [
            toolCall("look", { run_in_background: "yes" }, { id: "a" }),
            toolCall("wait", { n: 1, run_in_background: 0 }, { id: "b" }),
            toolCall("wait", { n: 1, run_in_background: null }, { id: "c" })
          ],
          "Well."
        ],
        pace: "instant"
      })
      yield* session.send("Go")
      yield* TestSession.advance("2 seconds")
      const outputs = yield* TestSession.outputs(session)
      expect(outputs.map(({ callId, isError }) => [callId, isError])).toEqual([
        ["a", true],
        ["b", true],
        ["c", false]
      ])
      expect(outputs[0]?.output).toContain('run_in_background: Expected boolean | null, actual "yes". ')
      expect(outputs[1]?.output).toContain("run_in_background: Expected boolean | null, actual 0. ")
      expect(runs).toBe(1)
    })
  )

  it.effect("[T3] null, true, false and nothing are taken, and a parameter that is not ours is the tool's affair", () =>
    Effect.gen(function* () {
      for (const value of [null, true, false, undefined]) {
        const args = { confirm_duplicate: value, run_in_background: value }
        expect((yield* execute(() => Effect.succeed("done"), ours, args)).output).toBe("done")
      }
      const { output } = yield* execute(() => Effect.succeed("done"), {}, { confirm_duplicate: "maybe" })
      expect(output).toBe("done")
    })
  )
})

// -------------------------------------------------------------------------------------------------------------- copies

describe("arguments that somebody changes", () => {
  const sent = { filter: { ids: [1, 2, 3], by: { name: "b" } } }

  /** Changes what it can of arguments. */
  const spoil = (args: any): void => {
    for (const change of [
      () => args.filter.ids.reverse(),
      () => (args.filter.by.name = "x"),
      () => delete args.filter.by,
      () => (args.filter = "gone")
    ]) {
      try {
        change()
      } catch {
        // what cannot be changed need not be
      }
    }
  }
  const spoilCalls = (calls: ReadonlyArray<{ readonly arguments: unknown }>) =>
    Effect.sync(() => {
      for (const call of calls) spoil(call.arguments)
    })

  const tool = (run: Handler, options: AsyncTool.Options = {}) => ({
    ...options,
    parameters: { filter: Schema.Object },
    run
  })

  /** Calls the tool, once more, and talks on: everything that is said of the calls is what the model sent. */
  const expectUnchanged = (
    run: Handler,
    options: AsyncTool.Options & { readonly layer?: Layer.Layer<never> } = {},
    listen: (session: AgentSession.Service) => Effect.Effect<void> = () => Effect.void
  ) =>
    Effect.gen(function* () {
      const { layer = Layer.empty, ...own } = options
      const { events, model, session } = yield* talk({
        tools: { look: tool(run, own) as never },
        script: [
          toolCall("look", sent, { id: "a" }),
          "Well.",
          toolCall("look", sent, { id: "b" }),
          // as many replies as the longest of these conversations has
          ...Array.from({ length: 6 }, () => "Well.")
        ],
        layer,
        pace: "instant",
        logs: [/template .* failed/]
      })
      yield* Effect.forkScoped(listen(session))
      yield* TestSession.settle
      yield* session.send("Go")
      yield* TestSession.advance("1 second")
      yield* session.send("Again")
      yield* TestSession.advance("10 seconds")
      yield* session.send("And now?")
      yield* TestSession.settle
      const calls = (yield* session.history).items.flatMap((item) => (item._tag === "FunctionCall" ? [item] : []))
      const started = (yield* events.filter("ToolCallStarted")).map(({ call }) => call)
      expect(started.map(({ callId }) => callId)).toEqual(["a", "b"])
      expect(calls.length).toBeGreaterThan(1)
      const requests = yield* model.requests
      const asked = requests.flatMap((request) => ScriptedModel.toolCalls(request).map(({ params }) => params))
      expect(asked.length).toBeGreaterThan(1)
      for (const args of [...calls, ...started].map((call) => call.arguments)) expect(args).toEqual(sent)
      for (const params of asked) expect(params).toEqual(sent)
    })

  it.scoped("[T3] by the handler's parameters", () => expectUnchanged((params) => Effect.sync(() => spoil(params))))

  it.scoped("[T3] by RunContext.call, which the next look at it does not show", () =>
    expectUnchanged((params) =>
      Effect.gen(function* () {
        spoil((yield* RunContext.call).arguments)
        expect((yield* RunContext.call).arguments).toEqual(sent)
        expect(params).toEqual(sent)
      })
    )
  )

  it.scoped("[T3] [U2] [U3] in the background, where later items carry the arguments again", () =>
    expectUnchanged((params) =>
      Effect.gen(function* () {
        yield* RunContext.update("one")
        spoil(params)
        spoil((yield* RunContext.call).arguments)
        yield* Effect.sleep("3 seconds")
        yield* RunContext.update("two")
        yield* Effect.sleep("1 second")
        return "done"
      })
    )
  )

  it.scoped("[T3] by the session of the handler: its history and its running tools", () =>
    expectUnchanged(() =>
      Effect.gen(function* () {
        const { session } = yield* RunContext.RunContext
        yield* spoilCalls(yield* session.runningTools)
        const { items } = yield* session.history
        yield* spoilCalls(items.flatMap((item) => (item._tag === "FunctionCall" ? [item] : [])))
      })
    )
  )

  it.scoped("[T3] [E1] by a listener of events", () =>
    expectUnchanged(
      () => Effect.void,
      {},
      (session) =>
        TestSession.collect(session).pipe(
          Effect.zipRight(Effect.yieldNow()),
          Effect.zipRight(
            Effect.gen(function* () {
              const events = yield* TestSession.collect(session)
              yield* Effect.sleep("500 millis")
              yield* spoilCalls((yield* events.filter("ToolCallStarted")).map(({ call }) => call))
              yield* spoilCalls(
                (yield* events.filter("ItemAdded")).flatMap(({ item }) => (item._tag === "FunctionCall" ? [item] : []))
              )
            })
          ),
          Effect.scoped
        )
    )
  )

  const slow = () => Effect.zipRight(RunContext.update("at it"), Effect.sleep("5 seconds"))

  it.scoped("[T3] [P4] by a duplicate policy: of the call and of those that run", () =>
    expectUnchanged(slow, {
      layer: DuplicatePolicy.make((call, running) =>
        Effect.as(spoilCalls([call, ...running]), { _tag: running.length === 0 ? "Run" : "Join" } as const)
      ) as Layer.Layer<never>
    })
  )

  it.scoped("[T3] [P1] by a template about those that run, which is given copies", () =>
    Effect.gen(function* () {
      let given = 0
      yield* expectUnchanged(slow, {
        onDuplicate: "reject",
        layer: ToolPrompts.layer({
          duplicateReject: ({ running }) => {
            for (const call of running) {
              ;(call.arguments as any).filter.ids.reverse()
              given++
            }
            return "It runs."
          }
        })
      })
      expect(given).toBe(1)
    })
  )

  it.scoped("[T3] [P2b] of calls that are joined, and compared after their arguments were changed", () =>
    Effect.gen(function* () {
      let runs = 0
      yield* expectUnchanged(
        (params) =>
          Effect.suspend(() => {
            runs++
            spoil(params)
            return slow()
          }),
        { onDuplicate: "join" }
      )
      expect(runs).toBe(1)
    })
  )

  it.effect("[T3] [U8] of execute: neither the caller's, nor RunContext.call by the parameters", () =>
    Effect.gen(function* () {
      const given = structuredClone(sent)
      let shown: unknown
      const { output } = yield* execute(
        (params) =>
          Effect.gen(function* () {
            spoil(params)
            const call = yield* RunContext.call
            shown = structuredClone(call.arguments)
            spoil(call.arguments)
            return "done"
          }),
        {},
        given
      )
      expect(output).toBe("done")
      expect(given).toEqual(sent)
      expect(shown).toEqual(sent)
    })
  )
})
