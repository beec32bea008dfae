/**
 * Errors of models, whatever was thrown, and secrets in their texts: tables, and properties over odd values.
 */
import { AiError } from "@effect/ai"
import { describe, expect, it } from "@effect/vitest"
import { Cause, FiberId, FiberRefs, FastCheck as fc, Inspectable, Logger, LogLevel, Option } from "effect"
import {
  asAiError,
  describeError,
  errorTypeOf,
  inSession,
  isAiError,
  isError,
  messageOf,
  printable,
  read
} from "../src/internal/model/errors.js"
import { no, odd, otherRealm, shut, throwing, unknownError } from "./support/odd.js"

// ---------------------------------------------------------------------------------------------------------- odd values

const details = { method: "POST" as const, url: "https://models.test", urlParams: [], hash: Option.none(), headers: {} }

/** Made when they are called for: whoever generates values looks at them. */
type Make<A> = () => A

/** Odd values within each other, and plain ones among them. */
const anything: fc.Arbitrary<Make<unknown>> = fc.letrec<{ any: Make<unknown> }>((tie) => ({
  any: fc.oneof(
    { depthSize: "small" },
    fc.constantFrom(...Object.values(odd)),
    fc.anything().map((value) => () => value),
    fc.record({ message: tie("any"), name: tie("any"), cause: tie("any") }).map((fields) => () => {
      const error = new Error("x")
      for (const [key, make] of Object.entries(fields)) {
        Object.defineProperty(error, key, { value: make(), enumerable: true })
      }
      return error
    }),
    fc.record({ description: tie("any"), cause: tie("any") }).map(
      ({ cause, description }) =>
        () =>
          unknownError(cause(), description())
    )
  )
})).any

const anyCause = (errors: fc.Arbitrary<Make<unknown>>): fc.Arbitrary<Make<Cause.Cause<unknown>>> =>
  fc.letrec<{ cause: Make<Cause.Cause<unknown>> }>((tie) => ({
    cause: fc.oneof(
      { depthSize: "small" },
      errors.map((make) => () => Cause.fail(make())),
      errors.map((make) => () => Cause.die(make())),
      fc.constant(() => Cause.interrupt(FiberId.none)),
      fc.constant(() => Cause.empty),
      fc.tuple(tie("cause"), tie("cause")).map(
        ([a, b]) =>
          () =>
            Cause.parallel(a(), b())
      ),
      fc.tuple(tie("cause"), tie("cause")).map(
        ([a, b]) =>
          () =>
            Cause.sequential(a(), b())
      )
    )
  })).cause

const options = (cause: Cause.Cause<unknown>): any => ({
  fiberId: FiberId.none,
  logLevel: LogLevel.Error,
  message: ["It failed."],
  cause,
  context: undefined,
  spans: [],
  annotations: new Map(),
  date: new Date(0)
})

/** As a fiber has it logged: there, what redacts itself is asked to. */
const logged = (cause: Cause.Cause<unknown>): string =>
  Inspectable.withRedactableContext(FiberRefs.empty(), () => Logger.logfmtLogger.log(options(cause)))

describe("a foreign value", () => {
  for (const [name, make] of Object.entries(odd)) {
    it(`[F7] [T8] ${name}: looking at it never throws`, () => {
      const value = make()
      expect(typeof isError(value)).toBe("boolean")
      expect(typeof isAiError(value)).toBe("boolean")
      expect(errorTypeOf(value)).toMatch(/^[\w.$/@-]{1,80}$/)
      expect(["string", "undefined"]).toContain(typeof messageOf(value))
      expect(describeError(value)).toMatch(/./)
      const error = asAiError(value, { module: "Test", method: "streamText" })
      expect(isAiError(error)).toBe(true)
      expect(typeof error.message).toBe("string")
      expect(describeError(error)).toMatch(/./)
      expect(logged(Cause.fail(error))).toMatch(/cause=/)
      for (const cause of [Cause.fail(value), Cause.die(value)]) expect(logged(printable(cause))).toMatch(/cause=/)
    })
  }

  it("[F7] [T8] so with any others, and values within values", () => {
    fc.assert(
      fc.property(anything, (make) => {
        const value = make()
        errorTypeOf(value)
        read(value, "x")
        messageOf(value)
        expect(describeError(value).length).toBeLessThanOrEqual(400)
        const error = asAiError(value)
        expect(isAiError(error)).toBe(true)
        expect(describeError(error).length).toBeLessThanOrEqual(400)
        logged(Cause.fail(error))
      }),
      { numRuns: 60 }
    )
  })

  it("[T8] a cause is printable afterwards, and has the same shape", () => {
    const shape = (cause: Cause.Cause<unknown>): unknown =>
      Cause.match<unknown, unknown>(cause, {
        onEmpty: "empty",
        onFail: () => "fail",
        onDie: () => "die",
        onInterrupt: () => "interrupt",
        onSequential: (a, b) => ["then", a, b],
        onParallel: (a, b) => ["and", a, b]
      })
    fc.assert(
      fc.property(anyCause(anything), (make) => {
        const cause = make()
        const safe = printable(cause)
        logged(safe)
        Logger.structuredLogger.log(options(safe))
        expect(shape(safe)).toEqual(shape(cause))
        // once is enough
        expect(printable(safe)).toBe(safe)
      }),
      { numRuns: 60 }
    )
  })

  it("[T8] a cause of ordinary errors is the same cause", () => {
    const ordinary = fc.oneof(
      fc.string(),
      fc.integer(),
      fc.string().map((text) => new Error(text)),
      fc.tuple(fc.string(), fc.string()).map(([a, b]) => new TypeError(a, { cause: new Error(b) })),
      fc.string().map((text) => unknownError(new Error(text), text)),
      fc.jsonValue()
    )
    fc.assert(
      fc.property(anyCause(ordinary.map((value) => () => value)), (make) => {
        const cause = make()
        expect(printable(cause)).toBe(cause)
      })
    )
  })

  it("[T8] Of a cause that cannot be printed what can be is logged", () => {
    const told = (value: unknown): string =>
      logged(printable(Cause.sequential(Cause.fail(new Error("beside it")), Cause.die(value))))
    expect(told(throwing(TypeError.prototype, "name"))).toContain("beside it")
    expect(told(Object.assign(new Error("the message"), { name: Symbol("n") }))).toContain("the message")
    expect(told(Object.assign(new Error("x"), { message: 5n, name: Symbol("n") }))).toContain("5")
    expect(told(Object.assign(new Error("x"), { message: 5n, _tag: "OutOfStock", stack: {} }))).toContain("OutOfStock")
    expect(told(new Error("outer", { cause: new Error("middle", { cause: shut({}) }) }))).toMatch(/outer.*middle/s)
    expect(told(unknownError(shut({}), "the description"))).toContain("the description")
    expect(told({ a: [1n], toString: no })).toContain("1")
    expect(told(otherRealm("new TypeError('elsewhere')"))).toContain("elsewhere")
    const kept = Object.assign(new Error("x"), { name: Symbol("n"), stack: "Error: x\n    at somewhere (file.ts:1:2)" })
    expect(told(kept)).toContain("file.ts:1:2")
    // no cause, but printed beside a message
    expect(String(printable(shut({})))).toContain("cannot be shown")
    expect(printable("text")).toBe("text")
  })

  it("[T8] printing changes nothing for others", () => {
    const { stackTraceLimit } = Error
    printable(Cause.die(5n))
    expect(Error.stackTraceLimit).toBe(stackTraceLimit)
  })
})

describe("errorTypeOf", () => {
  class Tagged {
    readonly _tag = "NoSuchCity"
  }
  const table: ReadonlyArray<readonly [unknown, string]> = [
    [new TypeError("x"), "TypeError"],
    [new Tagged(), "NoSuchCity"],
    [otherRealm("new RangeError('x')"), "RangeError"],
    [new DOMException("x", "AbortError"), "AbortError"],
    [unknownError(undefined), "UnknownError"],
    [Object.assign(new Error("x"), { _tag: 5 }), "Error"],
    [{ name: "NotAnError" }, "_OTHER"],
    [{ _tag: "two words" }, "_OTHER"],
    [{ _tag: "x".repeat(81) }, "_OTHER"],
    ["text", "_OTHER"],
    [undefined, "_OTHER"]
  ]
  for (const [value, type] of table) {
    it(`[E3] is ${type} for ${Object.prototype.toString.call(value)}`, () => expect(errorTypeOf(value)).toBe(type))
  }
})

describe("AiErrors", () => {
  const errors: Record<string, AiError.AiError> = {
    HttpRequestError: new AiError.HttpRequestError({ module: "m", method: "f", reason: "Transport", request: details }),
    HttpResponseError: new AiError.HttpResponseError({
      module: "m",
      method: "f",
      reason: "StatusCode",
      request: details,
      response: { status: 503, headers: {} }
    }),
    MalformedInput: new AiError.MalformedInput({ module: "m", method: "f" }),
    MalformedOutput: new AiError.MalformedOutput({ module: "m", method: "f" }),
    UnknownError: unknownError(new Error("x"))
  }
  for (const [tag, error] of Object.entries(errors)) {
    it(`[F7] ${tag} is itself, as one of another copy of the package is`, () => {
      expect(isAiError(error)).toBe(true)
      expect(asAiError(error)).toBe(error)
      const elsewhere = Object.assign(Object.create(Error.prototype), { ...error, _tag: tag, message: "x" })
      expect(isAiError(elsewhere)).toBe(true)
      expect(describeError(elsewhere)).toBe(describeError(error))
    })
  }

  it("[F7] what clients are told of them", () => {
    expect(Object.values(errors).map(describeError)).toEqual([
      "The request to the model's provider failed (Transport).",
      "The model's provider answered with status 503 (StatusCode).",
      "The conversation could not be sent to the model.",
      "What the model sent could not be read.",
      "The model failed."
    ])
  })

  it("[F7] of other values what they say is the description, and they are the cause", () => {
    const where = { module: "Test", method: "generateText" }
    const thrown = new Error("no route")
    expect(asAiError(thrown, where)).toMatchObject({ ...where, _tag: "UnknownError", description: "no route" })
    expect((asAiError(thrown) as AiError.UnknownError).cause).toBe(thrown)
    expect(asAiError(thrown)).toMatchObject(inSession)
    for (const value of ["said", { message: "said" }, { error: { message: "said" } }, { error: "said" }]) {
      expect(asAiError(value)).toMatchObject({ description: "said" })
    }
  })

  it("[F7] one with an odd cause keeps its tag and what it says", () => {
    const error = asAiError(unknownError(shut({}), "broken"))
    expect(error).toMatchObject({ _tag: "UnknownError", description: "broken" })
    expect((error as any).cause).toBeInstanceOf(Error)
  })

  it("[F7] a long text is told in part, without half a character or half a key", () => {
    const told = describeError(new Error(`${"x".repeat(399)}🧭${"y".repeat(100)}`))
    expect(told).toBe("x".repeat(399))
    const keys = describeError(new Error(`${"sk-proj-AbCdEfGh1234567890 ".repeat(2_000)}`))
    expect(keys).not.toContain("AbCd")
    expect(describeError(new Error("z".repeat(1_000_000)))).toHaveLength(400)
  })
})
