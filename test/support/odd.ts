import { createContext, runInContext } from "node:vm"
import { AiError } from "@effect/ai"

export const no = (): never => {
  throw new Error("no")
}

/** Every trap throws. */
export const shut = (target: object): object => {
  const traps = Object.fromEntries(
    Object.getOwnPropertyNames(Reflect)
      .filter((name) => typeof (Reflect as any)[name] === "function")
      .map((name) => [name, no])
  )
  return new Proxy(target, traps)
}

export const revoked = (): object => {
  const { proxy, revoke } = Proxy.revocable({}, {})
  revoke()
  return proxy
}

export const circular = (): object => {
  const loop: Record<string, unknown> = {}
  loop.loop = loop
  return loop
}

export const throwing = (prototype: object, ...keys: ReadonlyArray<PropertyKey>): object =>
  Object.create(prototype, Object.fromEntries(keys.map((key) => [key, { get: no, enumerable: true }])))

const unprintable = (): object => ({
  toString: no,
  toJSON: no,
  [Symbol.toPrimitive]: no,
  get x() {
    return no()
  }
})

export const otherRealm = (code: string): unknown => runInContext(code, createContext({}))

export const unknownError = (cause: unknown, description?: any): AiError.UnknownError =>
  new AiError.UnknownError({ module: "m", method: "f", description, cause }, { disableValidation: true })

/** Values that do something when they are looked at, or that are no text, no JSON, no error. */
export const odd: Record<string, () => unknown> = {
  "an error whose name throws": () => throwing(TypeError.prototype, "name"),
  "an error whose fields all throw": () =>
    throwing(Error.prototype, "name", "message", "stack", "cause", "_tag", "toString", "toJSON"),
  "an error with a bigint as message": () => Object.assign(new Error("x"), { message: 5n }),
  "an error with an array as message": () => Object.assign(new Error("x"), { message: ["a", 1n] }),
  "an error with a circular message": () => Object.assign(new Error("x"), { message: circular() }),
  "an error with a symbol as name": () => Object.assign(new Error("x"), { name: Symbol("n") }),
  "an error with a circular name": () => Object.assign(new Error("x"), { name: circular(), _tag: circular() }),
  "an error with an object without prototype as name": () =>
    Object.assign(new Error("x"), { name: Object.create(null) }),
  "an error with an object as stack": () => Object.assign(new Error("x"), { stack: {} }),
  "an error that is its own cause": () => {
    const error = new Error("loop")
    error.cause = error
    return error
  },
  "an error with an odd cause": () => new Error("outer", { cause: shut({}) }),
  "an error with an odd field": () => Object.assign(new Error("x"), { body: shut({}), [Symbol.toStringTag]: 5 }),
  "an error with an odd span": () => Object.assign(new Error("x"), { [Symbol.for("effect/SpanAnnotation")]: shut({}) }),
  "a shut proxy": () => shut({}),
  "a shut proxy of an error": () => shut(new TypeError("x")),
  "a shut proxy of a function": () => shut(() => {}),
  "a revoked proxy": revoked,
  "a proxy that has everything": () => new Proxy({}, { has: () => true, get: (_, key) => key }),
  "a proxy that answers with itself": () => {
    const self: object = new Proxy({}, { has: () => true, get: () => self })
    return self
  },
  "what cannot be made a text": unprintable,
  "an error of another realm": () => otherRealm("new TypeError('elsewhere')"),
  "an odd error of another realm": () =>
    otherRealm("Object.defineProperty(new RangeError('x'), 'message', { get() { throw 1 } })"),
  "an object without prototype": () => Object.create(null),
  "a circular object": circular,
  "a bigint": () => 5n,
  "an object with a bigint": () => ({ a: [1n] }),
  "a symbol": () => Symbol("s"),
  nothing: () => undefined,
  null: () => null,
  "a function": () => no,
  bytes: () => new Uint8Array(1_000_000),
  "many values": () => Array.from({ length: 20_000 }, (_, i) => ({ i })),
  "an AiError with an odd cause": () => unknownError(shut({}), "broken"),
  "an AiError with an odd description": () => unknownError(undefined, circular()),
  "an AiError whose request is missing": () =>
    Object.create(AiError.HttpResponseError.prototype, {
      [AiError.TypeId]: { value: AiError.TypeId },
      response: { get: no }
    }),
  "a shut proxy of an AiError": () => shut(unknownError(undefined, "x")),
  "what only says that it is an AiError": () => ({ [AiError.TypeId]: AiError.TypeId, _tag: "HttpResponseError" })
}

/** One of each kind. */
export const someOdd: Record<string, () => unknown> = Object.fromEntries(
  [
    "an error whose fields all throw",
    "an error with a bigint as message",
    "a shut proxy",
    "a proxy that answers with itself",
    "what cannot be made a text",
    "a circular object"
  ].map((name) => [name, odd[name] as () => unknown])
)
