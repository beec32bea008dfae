/**
 * Suites that a part of your own runs: what a session expects of a `SessionModel`, of an `AgentOutput` and of a
 * `SessionStorage`. A suite is given the part and the `it` of `@effect/vitest`, and registers its tests with it. Its tests
 * run in virtual time.
 *
 * ```ts
 * import { Effect, Layer, Stream } from "effect"
 * import { AgentOutput } from "effect-meantime"
 * import { contract } from "effect-meantime/testing"
 *
 * // `it` is that of @effect/vitest
 * declare const it: contract.It
 *
 * const lines: Array<string> = []
 * const Captions = Layer.succeed(AgentOutput.AgentOutput, {
 *   play: (text, played) =>
 *     Stream.runForEach(text, (part) => Effect.zipRight(Effect.sync(() => lines.push(part)), played(part)))
 * }) as Layer.Layer<never>
 *
 * contract.agentOutput(() => Captions, { it })
 * ```
 *
 * @since 0.1.0
 */
import * as AiError from "@effect/ai/AiError"
import * as Prompt from "@effect/ai/Prompt"
import type * as Response from "@effect/ai/Response"
import * as Tool from "@effect/ai/Tool"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { AgentOutput, type Service as Output, type Speech } from "../AgentOutput.js"
import { wireOf } from "../internal/scope/wire.js"
import { isRecord } from "../internal/values/json.js"
import { type Service as Model, type Request, SessionModel } from "../SessionModel.js"
import { type Fenced, type Row, SessionStorage, type Service as Storage, type StorageError } from "../SessionStorage.js"
import * as TestSession from "./TestSession.js"

// -------------------------------------------------------------------------------------
// models
// -------------------------------------------------------------------------------------

/**
 * The part of the `it` of `@effect/vitest` that a suite needs: it registers an effect as a test that runs on a
 * `TestClock`.
 *
 * @since 0.1.0
 * @category models
 */
export interface It {
  readonly effect: (name: string, self: () => Effect.Effect<void, unknown>) => unknown
}

/**
 * What a provider was sent with one request.
 *
 * @since 0.1.0
 * @category models
 */
export interface Asked {
  /** The text of the last message of the user. */
  readonly user: string
  /** The names of the tools that were sent. */
  readonly tools: ReadonlyArray<string>
  /** As it was sent; `auto` if nothing was. */
  readonly toolChoice: Request["toolChoice"]
}

/**
 * One piece of a provider's answer. `Hold` waits for a promise, `Fail` fails in any way in which the provider does.
 *
 * @since 0.1.0
 * @category models
 */
export type Piece =
  | { readonly _tag: "Text"; readonly text: string }
  | {
      readonly _tag: "ToolCall"
      readonly id: string
      readonly name: string
      readonly arguments: Readonly<Record<string, unknown>>
    }
  | { readonly _tag: "Hold"; readonly until: Promise<void> }
  | { readonly _tag: "Fail" }

/**
 * A provider's answer: its pieces in their order, and behind them the end of a complete answer.
 *
 * @since 0.1.0
 * @category models
 */
export interface Answer {
  readonly pieces: ReadonlyArray<Piece>
  /** To be called when the provider is told to stop, or is hung up on, before the answer has ended. */
  readonly onStop: () => void
}

/**
 * The other end of a model: it is called once for each request that reaches the provider.
 *
 * @since 0.1.0
 * @category models
 */
export type Provider = (asked: Asked) => Answer

// -------------------------------------------------------------------------------------
// what suites share
// -------------------------------------------------------------------------------------

const shown = (value: unknown): string => JSON.stringify(value) ?? String(value)

const check = (holds: boolean, message: () => string): Effect.Effect<void> =>
  Effect.suspend(() => (holds ? Effect.void : Effect.dieMessage(message())))

const same = (actual: unknown, expected: unknown, what: string): Effect.Effect<void> =>
  check(shown(actual) === shown(expected), () => `${what}: expected ${shown(expected)}, got ${shown(actual)}`)

/** A part may be on the other side of a promise or of a socket: how often is looked again, a few milliseconds each. */
const patience = 100

const eventually = (condition: () => boolean, message: string): Effect.Effect<void> =>
  Effect.gen(function* () {
    for (let i = 0; i < patience; i++) {
      yield* TestSession.settle
      if (condition()) return
    }
    return yield* Effect.dieMessage(message)
  })

/** In a fiber that is interrupted with the test, and does not hold up the test's end if it cannot be. */
const begin = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<Fiber.RuntimeFiber<A, E>, never, Scope.Scope> =>
  Effect.acquireRelease(Effect.forkDaemon(Effect.interruptible(effect)), Fiber.interruptFork)

/** Interrupts without moving the clock. */
const stop = (fiber: Fiber.RuntimeFiber<unknown, unknown>, what: string): Effect.Effect<void> =>
  Effect.gen(function* () {
    yield* Fiber.interruptFork(fiber)
    let ended = false
    fiber.addObserver(() => {
      ended = true
    })
    yield* eventually(() => ended, `${what}: interrupted, it goes on`)
  })

const gate = (): { readonly opened: Promise<void>; readonly open: () => void } => {
  let open = (): void => {}
  const opened = new Promise<void>((resolve) => {
    open = resolve
  })
  return { opened, open }
}

// -------------------------------------------------------------------------------------
// SessionModel
// -------------------------------------------------------------------------------------

type Part = Response.StreamPartEncoded

type Ask = (request: Request, parts: Array<unknown>) => Effect.Effect<void, AiError.AiError>

const text = (text: string): Piece => ({ _tag: "Text", text })

const call = (id: string, name: string, args: Readonly<Record<string, unknown>> = {}): Piece => ({
  _tag: "ToolCall",
  id,
  name,
  arguments: args
})

const answer = (...pieces: ReadonlyArray<Piece>): Answer => ({ pieces, onStop: () => {} })

const tools: Record<string, Tool.Any> = Object.fromEntries(
  [
    Tool.make("look", { description: "Looks.", parameters: { at: Schema.String } }),
    Tool.make("wait", { description: "Waits." })
  ].map((tool) => [tool.name, wireOf(tool, [])])
)

const toolkit: Request["toolkit"] = {
  tools,
  handle: () => Effect.dieMessage("the model ran a tool: tool calls are the session's")
}

const request = (user: string, options?: Partial<Request>): Request => ({
  prompt: Prompt.make([
    { role: "system", content: "You are a test." },
    { role: "user", content: [{ type: "text", text: user }] }
  ]),
  toolkit,
  toolChoice: "auto",
  ...options
})

const withHistory = Prompt.make([
  { role: "system", content: "You are a test." },
  { role: "user", content: [{ type: "text", text: "Look at it." }] },
  {
    role: "assistant",
    content: [
      { type: "text", text: "Let me look." },
      { type: "tool-call", id: "call_1", name: "look", params: { at: "it" }, providerExecuted: false },
      { type: "tool-call", id: "call_2", name: "wait", params: {}, providerExecuted: false }
    ]
  },
  {
    role: "tool",
    content: [
      {
        type: "tool-result",
        id: "call_1",
        name: "look",
        result: { seen: ["it"] },
        isFailure: false,
        providerExecuted: false
      },
      { type: "tool-result", id: "call_2", name: "wait", result: "no", isFailure: true, providerExecuted: false }
    ]
  },
  { role: "assistant", content: [{ type: "text", text: "There it is." }] },
  { role: "user", content: [{ type: "text", text: "And now?" }] }
])

/** What an answer says, a line for each text and call, in the order in which they begin. Dies if it is malformed. */
const read = (parts: ReadonlyArray<unknown>, complete = true): Effect.Effect<ReadonlyArray<string>> =>
  Effect.gen(function* () {
    const blocks: Array<{ readonly kind: "text" | "call"; said: string }> = []
    const open = new Map<string, { said: string }>()
    const ids = new Set<string>()
    let finished = false
    for (const u of parts) {
      yield* check(isSound(u), () => `a part lacks what its type needs: ${shown(u)}`)
      const part = u as Part
      yield* check(!finished, () => `a part comes behind the finish part: ${shown(part)}`)
      switch (part.type) {
        case "text-start": {
          yield* check(!open.has(part.id), () => `the text ${part.id} begins twice`)
          const block = { kind: "text" as const, said: "" }
          open.set(part.id, block)
          blocks.push(block)
          break
        }
        case "text-delta": {
          const block = open.get(part.id)
          yield* check(block !== undefined, () => `a delta of a text that is not open: ${shown(part)}`)
          if (block !== undefined) block.said += part.delta
          break
        }
        case "text-end": {
          yield* check(open.delete(part.id), () => `a text ends that is not open: ${shown(part)}`)
          break
        }
        case "tool-call": {
          yield* check(part.id !== "" && part.name !== "", () => `a call needs an id and a name: ${shown(part)}`)
          yield* check(!ids.has(part.id), () => `two calls of one answer have the id ${part.id}`)
          ids.add(part.id)
          blocks.push({ kind: "call", said: `${part.name} ${shown(part.params)}` })
          break
        }
        case "finish": {
          yield* check(open.size === 0, () => `the answer ends inside of a text`)
          yield* check(typeof part.reason === "string", () => `the finish part needs a reason: ${shown(part)}`)
          finished = true
        }
      }
    }
    yield* check(finished || !complete, () => `the answer has no finish part: ${shown(parts)}`)
    // how a model cuts a text is its own affair
    const lines: Array<string> = []
    for (const [i, { kind, said }] of blocks.entries()) {
      if (kind === "call") lines.push(`call: ${said}`)
      else if (i > 0 && blocks[i - 1]?.kind === "text") lines.push(`${lines.pop()}${said}`)
      else lines.push(`text: ${said}`)
    }
    return lines.filter((line) => line !== "text: ")
  })

/** The text that has been handed over so far. */
const textIn = (parts: ReadonlyArray<unknown>): string =>
  (parts as ReadonlyArray<Part>).map((part) => (part.type === "text-delta" ? part.delta : "")).join("")

/** Parts with their ids in the order in which they come up, and without what is of one request only. */
const withoutIds = (parts: ReadonlyArray<Part>): ReadonlyArray<unknown> => {
  const ids: Array<string> = []
  return parts.flatMap((part): ReadonlyArray<unknown> => {
    if (part.type === "response-metadata") return []
    if (!("id" in part) || part.id === undefined) return [part]
    if (!ids.includes(part.id)) ids.push(part.id)
    return [{ ...part, id: ids.indexOf(part.id) }]
  })
}

const countOf = (parts: ReadonlyArray<unknown>, type: Part["type"]): number =>
  (parts as ReadonlyArray<Part>).filter((part) => part.type === type).length

/**
 * What a session expects of a `SessionModel`, in both of its forms: parts that are well-formed and in order, calls as
 * the model made them, tool choices that reach the provider, one finish part at the end, failures that are `AiError`s,
 * and requests that can be interrupted and do not disturb each other. `make` builds the model on top of the provider
 * that it is given; the provider's end of your client is yours to imitate. A model that hands over whole answers says
 * `streaming: false`.
 *
 * @since 0.1.0
 * @category suites
 */
export const sessionModel = (
  make: (provider: Provider) => Layer.Layer<SessionModel, unknown>,
  options: { readonly it: It; readonly streaming?: boolean | undefined }
): void => {
  const { it, streaming = true } = options

  /** The same test for `stream`, and for `run` if there is one; each with a model of its own. */
  const test = (
    name: string,
    body: (given: {
      /** Builds the model, with what is asked of its provider. */
      readonly on: (provider: Provider) => Effect.Effect<{ readonly ask: Ask; readonly asked: ReadonlyArray<Asked> }>
    }) => Effect.Effect<void, unknown, Scope.Scope>
  ): void => {
    it.effect(name, () =>
      Effect.forEach(
        ["stream", "run"] as const,
        (form) =>
          Effect.scoped(
            Effect.gen(function* () {
              const scope = yield* Effect.scope
              const build = (provider: Provider): Effect.Effect<Model> =>
                Effect.map(Effect.orDie(Layer.buildWithScope(make(provider), scope)), Context.get(SessionModel))
              if (form === "run" && (yield* build(() => answer())).run === undefined) return
              yield* body({
                on: (provider) =>
                  Effect.gen(function* () {
                    const asked: Array<Asked> = []
                    const model = yield* build((request) => {
                      asked.push(request)
                      return provider(request)
                    })
                    const ask: Ask = (request, parts) =>
                      form === "run" && model.run !== undefined
                        ? model.run(request, (some) => void parts.push(...some))
                        : Stream.runForEach(model.stream(request), (part) => Effect.sync(() => void parts.push(part)))
                    return { ask, asked }
                  })
              })
            })
          ).pipe(Effect.annotateLogs("form", form)),
        { discard: true }
      )
    )
  }

  /** What one answer says to one request. */
  const said = (ask: Ask, of: Request, complete = true): Effect.Effect<ReadonlyArray<string>, unknown> =>
    Effect.gen(function* () {
      const parts: Array<unknown> = []
      yield* ask(of, parts)
      return yield* read(parts, complete)
    })

  test("text comes complete and in order, and one finish part ends the answer", ({ on }) =>
    Effect.gen(function* () {
      const pieces = ["One", ", two", " and\n", "“three” \u{1F680}", "."]
      const { ask, asked } = yield* on(() => answer(...pieces.map(text)))
      yield* same(yield* said(ask, request("Count.")), [`text: ${pieces.join("")}`], "the answer")
      yield* same(
        asked.map(({ user }) => user),
        ["Count."],
        "what the provider was asked"
      )
    }))

  test("an answer with nothing in it ends, too", ({ on }) =>
    Effect.gen(function* () {
      const { ask } = yield* on(() => answer())
      yield* same(yield* said(ask, request("Say nothing.")), [], "the answer")
    }))

  test("calls come behind the text before them, with their names and arguments", ({ on }) =>
    Effect.gen(function* () {
      const args = { at: 'a "b"', deep: [{ n: 1.5, none: null, yes: true }], "": {} }
      const { ask, asked } = yield* on(() => answer(text("Let me look."), call("a", "look", args), call("b", "wait")))
      yield* same(
        yield* said(ask, request("Look.")),
        ["text: Let me look.", `call: look ${shown(args)}`, "call: wait {}"],
        "the answer"
      )
      yield* same(asked[0]?.tools.toSorted(), ["look", "wait"], "the tools that the provider was sent")
    }))

  test("two calls of one tool with the same arguments are two calls", ({ on }) =>
    Effect.gen(function* () {
      const { ask } = yield* on(() => answer(call("a", "look", { at: "x" }), call("b", "look", { at: "x" })))
      yield* same(
        yield* said(ask, request("Look twice.")),
        [`call: look {"at":"x"}`, `call: look {"at":"x"}`],
        "the answer"
      )
    }))

  test("a call of an unknown tool, or with arguments that do not fit, is handed over as it is", ({ on }) =>
    Effect.gen(function* () {
      const { ask } = yield* on(() =>
        answer(text("Hm."), call("a", "look", { at: 1, more: "x" }), call("b", "no_such_tool", { x: 1 }))
      )
      yield* same(
        // `@effect/ai` ends a step with a call that it does not know: what came behind it is lost
        yield* said(ask, request("Do what you cannot."), false),
        ["text: Hm.", `call: look {"at":1,"more":"x"}`, `call: no_such_tool {"x":1}`],
        "the answer"
      )
    }))

  test("the tool choice reaches the provider; with none, no tool is called", ({ on }) =>
    Effect.gen(function* () {
      const { ask, asked } = yield* on(({ toolChoice, tools }) =>
        toolChoice === "none" || tools.length === 0 ? answer(text("I may not.")) : answer(call("a", "wait"))
      )
      for (const toolChoice of ["auto", "required", { tool: "wait" }] as const) {
        yield* same(yield* said(ask, request("Wait.", { toolChoice })), ["call: wait {}"], `at ${shown(toolChoice)}`)
        yield* same(asked.at(-1)?.toolChoice, toolChoice, "the tool choice that the provider was sent")
      }
      yield* same(yield* said(ask, request("Talk.", { toolChoice: "none" })), ["text: I may not."], "at none")
    }))

  test("a request without tools is one, too", ({ on }) =>
    Effect.gen(function* () {
      const { ask, asked } = yield* on(() => answer(text("Yes.")))
      const none: Partial<Request> = { toolkit: { ...toolkit, tools: {} } }
      yield* same(yield* said(ask, request("Talk.", none)), ["text: Yes."], "the answer")
      yield* same(asked[0]?.tools, [], "the tools that the provider was sent")
    }))

  test("a conversation with calls and their results is sent", ({ on }) =>
    Effect.gen(function* () {
      const { ask, asked } = yield* on(() => answer(text("Nothing new.")))
      yield* same(yield* said(ask, request("", { prompt: withHistory })), ["text: Nothing new."], "the answer")
      yield* same(
        asked.map(({ user }) => user),
        ["And now?"],
        "what the provider was asked"
      )
    }))

  test("nothing is asked before it is run; run again, it asks again", ({ on }) =>
    Effect.gen(function* () {
      const { ask, asked } = yield* on(() => answer(text("Here.")))
      const parts: Array<unknown> = []
      const twice = ask(request("Where?"), parts)
      yield* TestSession.settle
      yield* same(asked.length, 0, "requests before it is run")
      yield* twice
      yield* twice
      yield* same(asked.length, 2, "requests after it was run twice")
      yield* same(textIn(parts), "Here.Here.", "the text")
    }))

  if (streaming) {
    test("what has been said is handed over while the rest is to come", ({ on }) =>
      Effect.gen(function* () {
        const more = gate()
        const { ask } = yield* on(() => answer(text("One "), { _tag: "Hold", until: more.opened }, text("two.")))
        const parts: Array<unknown> = []
        const fiber = yield* begin(ask(request("Count."), parts))
        yield* eventually(() => textIn(parts) === "One ", "the text before a pause is not handed over in it")
        yield* same(countOf(parts, "finish"), 0, "finish parts before the end")
        more.open()
        yield* Fiber.join(fiber)
        yield* same(yield* read(parts), ["text: One two."], "the answer")
      }))
  }

  test("a failure is an AiError, without a finish part; the next request is answered", ({ on }) =>
    Effect.gen(function* () {
      const { ask } = yield* on(({ user }) =>
        user === "At once."
          ? answer({ _tag: "Fail" })
          : user === "Later."
            ? answer(text("Well"), { _tag: "Fail" })
            : answer(text("Fine."))
      )
      for (const user of ["At once.", "Later."]) {
        const parts: Array<unknown> = []
        const exit = yield* Effect.exit(ask(request(user), parts))
        const error = Exit.isFailure(exit) ? Cause.failureOption(exit.cause) : Option.none()
        yield* check(
          Option.isSome(error) && AiError.isAiError(error.value),
          () => `a failure has to be an AiError: ${Exit.isFailure(exit) ? Cause.pretty(exit.cause) : "it succeeded"}`
        )
        yield* same(countOf(parts, "finish"), 0, "finish parts of an answer that failed")
        yield* same(textIn(parts), streaming && user === "Later." ? "Well" : "", "the text before the failure")
      }
      yield* same(yield* said(ask, request("Again.")), ["text: Fine."], "the answer after failures")
    }))

  test("interrupting stops the provider at once, and nothing more is handed over", ({ on }) =>
    Effect.gen(function* () {
      for (const before of [[], [text("One ")]]) {
        const more = gate()
        let stopped = 0
        const { ask, asked } = yield* on(({ user }) =>
          user === "Count."
            ? {
                pieces: [...before, { _tag: "Hold", until: more.opened }, text("two"), call("a", "wait")],
                onStop: () => stopped++
              }
            : answer(text("Yes."))
        )
        const parts: Array<unknown> = []
        const fiber = yield* begin(ask(request("Count."), parts))
        const expected = streaming ? before.length : 0
        yield* eventually(
          () => asked.length === 1 && countOf(parts, "text-delta") >= expected,
          "the request does not reach the provider"
        )
        yield* stop(fiber, "a request")
        yield* eventually(() => stopped > 0, "an interrupted request does not stop the provider")
        const handedOver = parts.length
        more.open()
        for (let i = 0; i < 5; i++) yield* TestSession.settle
        yield* TestSession.advance("1 minute")
        yield* same(parts.length, handedOver, "parts after the interruption")
        yield* same(stopped, 1, "how often the provider was stopped")
        yield* same(yield* said(ask, request("Still there?")), ["text: Yes."], "the answer after an interruption")
      }
    }))

  test("an answer that has ended is not stopped", ({ on }) =>
    Effect.gen(function* () {
      let stopped = 0
      const { ask } = yield* on(() => ({ pieces: [text("Yes.")], onStop: () => stopped++ }))
      yield* said(ask, request("There?"))
      for (let i = 0; i < 5; i++) yield* TestSession.settle
      yield* same(stopped, 0, "how often the provider was stopped")
    }))

  test("two requests at once have each their own answer, and one can be interrupted alone", ({ on }) =>
    Effect.gen(function* () {
      const gates = { first: gate(), second: gate(), third: gate() }
      const { ask, asked } = yield* on(({ user }) =>
        answer(text(`${user}: `), { _tag: "Hold", until: gates[user as keyof typeof gates].opened }, text("done"))
      )
      const parts = { first: [] as Array<unknown>, second: [] as Array<unknown>, third: [] as Array<unknown> }
      const first = yield* begin(ask(request("first"), parts.first))
      const second = yield* begin(ask(request("second"), parts.second))
      const third = yield* begin(ask(request("third"), parts.third))
      yield* eventually(() => asked.length === 3, "a request waits for another one's answer")
      gates.second.open()
      yield* Fiber.join(second)
      yield* stop(first, "a request")
      gates.third.open()
      yield* Fiber.join(third)
      yield* same(yield* read(parts.second), ["text: second: done"], "the answer that came first")
      yield* same(yield* read(parts.third), ["text: third: done"], "the answer beside an interrupted one")
      yield* same(countOf(parts.first, "finish"), 0, "finish parts of the interrupted one")
    }))

  it.effect("run and stream hand over the same parts", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const scope = yield* Effect.scope
        const pieces = [text("Let "), text("me look."), call("a", "look", { at: "x" }), call("b", "wait")]
        const partsOf = (form: "run" | "stream") =>
          Effect.gen(function* () {
            const context = yield* Layer.buildWithScope(
              make(() => answer(...pieces)),
              scope
            )
            const model = Context.get(context, SessionModel)
            const parts: Array<Part> = []
            if (form === "stream") {
              yield* Stream.runForEach(model.stream(request("Look.")), (part) =>
                Effect.sync(() => void parts.push(part))
              )
            } else if (model.run !== undefined) {
              yield* model.run(request("Look."), (some) => void parts.push(...some))
            } else return undefined
            return withoutIds(parts)
          })
        const run = yield* partsOf("run")
        if (run !== undefined) yield* same(run, yield* partsOf("stream"), "the parts of run, beside those of stream")
      })
    )
  )
}

// -------------------------------------------------------------------------------------
// AgentOutput
// -------------------------------------------------------------------------------------

const texts: ReadonlyArray<ReadonlyArray<string>> = [
  ["Hello."],
  ["One ", "two", " three", ", four. "],
  ["Wo", "rds in pie", "ces, and  two spaces; ", " ", "a line\nfeed,\n\nanother", "\n"],
  ["   "],
  ["", "Some of it ", "", "is empty.", ""],
  ["„Ümläute“, ", "\u{1F44B}\u{1F3FD} and 你好"],
  [Array.from({ length: 60 }, (_, i) => `word${i}`).join(" ")]
]

const long = Array.from({ length: 60 }, (_, i) => `word${i} `)

/**
 * What a session expects of an `AgentOutput`: what it reports as played adds up to the text, in its order, and is never
 * ahead of it; it ends when all has been played; interrupted, it stops at once, lets go of the text and reports nothing
 * more, and can play again. `make` is called for each test.
 *
 * @since 0.1.0
 * @category suites
 */
export const agentOutput = (make: () => Layer.Layer<never, unknown>, options: { readonly it: It }): void => {
  const test = (name: string, body: (output: Output) => Effect.Effect<void, unknown, Scope.Scope>): void => {
    options.it.effect(name, () =>
      Effect.scoped(
        Effect.gen(function* () {
          const context: Context.Context<never> = yield* Layer.build(Layer.suspend(make))
          yield* body(Context.get(context, AgentOutput))
        })
      )
    )
  }

  /** What was reported of a text, by offsets or by pieces, and how to report. */
  const reports = () => {
    const told: Array<string | number> = []
    let given = ""
    let to: number | undefined
    let pieces: string | undefined
    const speech: Speech = {
      id: "speech_1",
      source: "say",
      agent: "contract",
      covers: [],
      allowInterruptions: Effect.succeed(true),
      started: Effect.void,
      playedTo: (offset) =>
        Effect.sync(() => {
          told.push(offset)
          to = offset
        })
    }
    return {
      /** every report */
      told,
      text: () => (to === undefined ? (pieces ?? "") : given.slice(0, to)),
      /** the same once play has ended by itself: who reported nothing has played everything */
      ended: () => (to === undefined ? (pieces ?? given) : given.slice(0, to)),
      play: (output: Output, text: Stream.Stream<string>) =>
        output.play(
          Stream.tap(text, (part) =>
            Effect.sync(() => {
              given += part
            })
          ),
          (piece) =>
            Effect.sync(() => {
              told.push(piece)
              pieces = (pieces ?? "") + piece
            }),
          speech
        )
    }
  }

  const plays = (output: Output, parts: ReadonlyArray<string>, reporting = false): Effect.Effect<void> =>
    Effect.gen(function* () {
      const { ended, play, told } = reports()
      yield* TestSession.drive(play(output, Stream.fromIterable(parts)))
      yield* same(ended(), parts.join(""), "what was reported as played")
      yield* check(!reporting || told.length > 0, () => "it has reported a play before, and does not report this one")
    })

  test("what is reported adds up to the text, in its order", (output) =>
    Effect.forEach(texts, (parts) => plays(output, parts), { discard: true }))

  test("a text with nothing in it is played, and nothing is reported", (output) =>
    Effect.forEach([[], [""], ["", ""]], (parts) => plays(output, parts), { discard: true }))

  test("text that comes slowly is not reported before it has come, and play ends with it", (output) =>
    Effect.gen(function* () {
      const { ended: reported, play, text, told } = reports()
      let come = ""
      let ahead: string | undefined
      const end = gate()
      const slow = Stream.fromIterable(["One, ", "two ", "and thr", "ee."]).pipe(
        Stream.mapEffect((part) =>
          Effect.as(
            Effect.tap(Effect.sleep("20 seconds"), () => {
              come += part
            }),
            part
          )
        ),
        Stream.concat(Stream.execute(Effect.promise(() => end.opened)))
      )
      let ended = false
      const fiber = yield* begin(play(output, slow))
      fiber.addObserver(() => {
        ended = true
      })
      yield* TestSession.advance("10 seconds")
      yield* same(text(), "", "what was reported before any text came")
      for (let i = 0; i < 30; i++) {
        yield* TestSession.advance("10 seconds")
        const last = told[told.length - 1]
        if (typeof last === "number" ? last > come.length : !come.startsWith(text())) ahead ??= String(last)
      }
      yield* check(!ended, () => "play ended before its text did")
      yield* check(ahead === undefined, () => `reported before it had come: ${shown(ahead)}`)
      end.open()
      yield* TestSession.drive(Fiber.join(fiber))
      yield* same(reported(), come, "what was reported as played")
    }))

  test("nothing is reported after its end", (output) =>
    Effect.gen(function* () {
      const { play, told } = reports()
      yield* TestSession.drive(play(output, Stream.fromIterable(long)))
      const reported = told.length
      yield* TestSession.advance("1 hour")
      yield* same(told.length, reported, "reports by an hour after the end")
    }))

  /** Interrupts a play of the long text, which goes on for ever or not, after a while. */
  const interrupted = (output: Output, seconds: number, open: boolean): Effect.Effect<boolean, unknown, Scope.Scope> =>
    Effect.gen(function* () {
      const { play, text, told } = reports()
      let readers = 0
      const reader = Effect.acquireRelease(
        Effect.sync(() => readers++),
        () => Effect.sync(() => readers--)
      )
      const source = Stream.scoped(reader).pipe(
        Stream.flatMap(() => Stream.concat(Stream.fromIterable(long), open ? Stream.never : Stream.empty))
      )
      const fiber = yield* begin(play(output, source))
      yield* TestSession.advance(seconds * 1000)
      yield* stop(fiber, "play")
      const reported = told.length
      yield* check(readers === 0, () => "interrupted, play keeps hold of the text")
      yield* check(
        long.join("").startsWith(text()),
        () => `reported is not what the text begins with: ${shown(text())}`
      )
      yield* TestSession.advance("1 hour")
      yield* same(told.length, reported, "reports by an hour after the interruption")
      return reported > 0
    })

  test("interrupted, it stops at once and reports nothing more", (output) =>
    Effect.forEach([1, 5, 12.3], (seconds) => interrupted(output, seconds, false), { discard: true }))

  test("interrupted while it waits for text, it lets go of the text", (output) =>
    Effect.asVoid(interrupted(output, 3600, true)))

  test("it plays again after an interruption, and after a play that ended", (output) =>
    Effect.gen(function* () {
      const reporting = yield* interrupted(output, 3, true)
      yield* plays(output, ["Again, ", "from the beginning."], reporting)
      yield* interrupted(output, 0.5, true)
      yield* plays(output, ["And ", "again."], reporting)
      yield* plays(output, ["And once more."], reporting)
    }))
}

// -------------------------------------------------------------------------------------
// SessionStorage
// -------------------------------------------------------------------------------------

const row = (id: string, data: unknown, kind = "item"): Row => ({ kind, id, data })

const values: ReadonlyArray<unknown> = [
  null,
  true,
  0,
  -1.5e-7,
  9007199254740991,
  "",
  "a 'b' \"c\" \\ \\0000 $1 ? %s {} -- ; \n\t",
  "„Ümläute“ \u{1F44B}\u{1F3FD} 你好",
  "\0 and \u0007",
  "half \uD83D of a pair",
  [],
  [[[]], null, [1, "2", { three: null }]],
  {},
  { "": { "a.b": [{ c: "d" }] }, nul: "\0" },
  JSON.parse(`{"__proto__":{"polluted":1},"constructor":"x"}`),
  Array.from({ length: 100 }).reduce<unknown>((inner) => ({ inner }), "deep"),
  "long ".repeat(60_000)
]

const names = [
  "a",
  "A",
  "a ",
  " a",
  "ab",
  "",
  "%",
  "_",
  "a/b",
  "a'",
  'a"',
  "\\",
  "\\0000",
  "\0",
  "ä",
  "a\u0308",
  "\uD83D",
  "👋"
]

/** A row for each name as an id, and as a kind. */
const named = (sessionId: string): ReadonlyArray<Row> => [
  ...names.map((id) => row(id, [sessionId, id])),
  ...names.map((kind) => row("1", [sessionId, kind], kind))
]

/** Rows in one order, as text. */
const sorted = (rows: ReadonlyArray<Row>): ReadonlyArray<string> =>
  rows.map(({ data, id, kind }) => shown([kind, id, data])).toSorted()

const sameRows = (actual: ReadonlyArray<Row>, expected: ReadonlyArray<Row>, what: string): Effect.Effect<void> =>
  Effect.suspend(() => {
    const [a, e] = [sorted(actual), sorted(expected)]
    const other = a.findIndex((text, i) => text !== e[i])
    if (other < 0 && a.length === e.length) return Effect.void
    const clip = (text: string | undefined) => text?.slice(0, 200) ?? "no more"
    return Effect.dieMessage(
      `${what}: expected ${e.length} rows, got ${a.length}; the first that differs is ${clip(e[Math.max(other, 0)])}, got ${clip(a[Math.max(other, 0)])}`
    )
  })

/** The error of an effect that has to fail with this tag. */
const refused = <Tag extends (Fenced | StorageError)["_tag"]>(
  effect: Effect.Effect<unknown, Fenced | StorageError>,
  tag: Tag,
  what: string
): Effect.Effect<Extract<Fenced | StorageError, { readonly _tag: Tag }>> =>
  Effect.flatMap(Effect.exit(effect), (exit) => {
    const error = Exit.isFailure(exit) ? Option.getOrUndefined(Cause.failureOption(exit.cause)) : undefined
    return error?._tag === tag
      ? Effect.succeed(error as Extract<Fenced | StorageError, { readonly _tag: Tag }>)
      : Effect.dieMessage(
          `${what} has to fail with ${tag}: ${Exit.isFailure(exit) ? Cause.pretty(exit.cause) : "it succeeded"}`
        )
  })

/** Of the writes of a session, in the order of their epochs. */
interface Mark {
  readonly epoch: number
  readonly n: number
}

const isBehind = (a: Mark, b: Mark): boolean => a.epoch > b.epoch || (a.epoch === b.epoch && a.n > b.n)

/**
 * What a session expects of a `SessionStorage`: rows come back as they were written; a write is stored as a whole or not
 * at all, and in order; opening takes a session over, and whoever had it before is `Fenced`, however late; what is open is
 * found again.
 *
 * `make` gives the storage of a place. Layers of one place, also at the same time, share what they store, as two processes
 * with one database do; a place that was not named before is empty. The names of places are small letters.
 *
 * With `outage` the suite also looks at what a storage does while it cannot be reached: from when the effect has succeeded
 * until its scope is closed. Leave it out if yours is always there.
 *
 * @since 0.1.0
 * @category suites
 */
export const sessionStorage = (
  make: (place: string) => Layer.Layer<SessionStorage, unknown>,
  options: {
    readonly it: It
    readonly outage?: ((place: string) => Effect.Effect<void, unknown, Scope.Scope>) | undefined
  }
): void => {
  const { outage } = options

  const build = (place: string): Effect.Effect<Storage, unknown, Scope.Scope> =>
    Effect.map(Layer.build(Layer.suspend(() => make(place))), Context.get(SessionStorage))

  const test = (
    name: string,
    place: string,
    body: (storage: Storage) => Effect.Effect<void, unknown, Scope.Scope>
  ): void => {
    options.it.effect(name, () => Effect.scoped(Effect.flatMap(build(place), body)))
  }

  const rowsOf = (storage: Storage, sessionId: string): Effect.Effect<ReadonlyArray<Row>, StorageError> =>
    Effect.map(storage.open(sessionId), ({ rows }) => rows)

  test("a session that was never written has no rows, and each opening has a higher epoch", "epochs", (storage) =>
    Effect.gen(function* () {
      for (const sessionId of ["a", "b", "a", "a"]) yield* sameRows(yield* rowsOf(storage, sessionId), [], "its rows")
      const epochs: Array<number> = []
      for (let i = 0; i < 5; i++) epochs.push((yield* storage.open("a")).epoch)
      yield* check(
        epochs.every((epoch, i) => Number.isSafeInteger(epoch) && epoch > (epochs[i - 1] ?? 0)),
        () => `epochs have to be whole numbers that rise: ${shown(epochs)}`
      )
    })
  )

  test("rows come back as they were written", "rows", (storage) =>
    Effect.gen(function* () {
      const { epoch } = yield* storage.open("a")
      const rows = values.map((data, i) => row(String(i), data))
      yield* storage.write("a", epoch, rows, true)
      yield* sameRows(yield* rowsOf(storage, "a"), rows, "the rows")
    })
  )

  test("a row takes the place of that of its kind and id; without data it is deleted", "replaced", (storage) =>
    Effect.gen(function* () {
      const { epoch } = yield* storage.open("a")
      yield* storage.write("a", epoch, [row("1", 1), row("2", 2), row("3", 3), row("1", "call", "call")], true)
      yield* storage.write("a", epoch, [row("1", "new"), row("2", undefined), row("none", undefined)], true)
      yield* storage.write("a", epoch, [], true)
      yield* storage.write("a", epoch, [row("4", 4), row("3", null)], true)
      const expected = [row("1", "new"), row("3", null), row("4", 4), row("1", "call", "call")]
      yield* sameRows(yield* rowsOf(storage, "a"), expected, "the rows")
    })
  )

  test("a row that one write names twice is as it was named last", "twice", (storage) =>
    Effect.gen(function* () {
      const { epoch } = yield* storage.open("a")
      const rows = [row("1", 1), row("2", undefined), row("1", undefined), row("2", 2), row("2", "two"), row("3", 3)]
      yield* storage.write("a", epoch, rows, true)
      yield* sameRows(yield* rowsOf(storage, "a"), [row("2", "two"), row("3", 3)], "the rows")
    })
  )

  test("sessions, kinds and ids are told apart, whatever is in their names", "names", (storage) =>
    Effect.gen(function* () {
      for (const sessionId of names) {
        const { epoch } = yield* storage.open(sessionId)
        const rows = named(sessionId)
        yield* storage.write(sessionId, epoch, rows, true)
      }
      for (const sessionId of names) {
        const { epoch, rows } = yield* storage.open(sessionId)
        const expected = named(sessionId)
        yield* sameRows(rows, expected, `the rows of ${shown(sessionId)}`)
        const [first, ...others] = expected as [Row, ...Array<Row>]
        yield* storage.write(sessionId, epoch, [{ ...first, data: undefined }], true)
        yield* sameRows(yield* rowsOf(storage, sessionId), others, `the rows of ${shown(sessionId)} but one`)
      }
      yield* same((yield* storage.unfinished).toSorted(), names.toSorted(), "the sessions with something open")
    })
  )

  test("what was written, or read, is nobody else's", "copies", (storage) =>
    Effect.gen(function* () {
      const { epoch } = yield* storage.open("a")
      const data = { list: [1] }
      yield* storage.write("a", epoch, [row("1", data)], true)
      data.list.push(2)
      const read = yield* rowsOf(storage, "a")
      yield* sameRows(read, [row("1", { list: [1] })], "the rows, after what was written has changed")
      for (const { data } of read) (data as { readonly list: Array<number> }).list.push(3)
      yield* sameRows(
        yield* rowsOf(storage, "a"),
        [row("1", { list: [1] })],
        "the rows, after what was read has changed"
      )
    })
  )

  test("a write with something that is no JSON fails as a whole, and names the row", "whole", (storage) =>
    Effect.gen(function* () {
      const { epoch } = yield* storage.open("a")
      yield* storage.write("a", epoch, [row("1", 1)], false)
      const circle: Record<string, unknown> = {}
      circle.self = circle
      for (const odd of [circle, 1n, { deep: [2n] }, () => 1]) {
        const writing = storage.write("a", epoch, [row("1", 2), row("2", odd), row("3", 3)], true)
        const error = yield* refused(writing, "StorageError", "a write with something that is no JSON")
        yield* same(error.row, "item/2", "the row that is named")
        yield* check(error.message !== "", () => "the error says nothing")
      }
      yield* same(yield* storage.unfinished, [], "the sessions with something open")
      yield* sameRows(yield* rowsOf(storage, "a"), [row("1", 1)], "the rows")
    })
  )

  test("opening takes over: a write of an older epoch is Fenced, and changes nothing", "fenced", (storage) =>
    Effect.gen(function* () {
      const older = yield* storage.open("a")
      yield* storage.write("a", older.epoch, [row("1", 1)], false)
      const old = yield* storage.open("a")
      yield* storage.write("a", old.epoch, [row("1", 2)], false)
      const now = yield* storage.open("a")
      const changes = [row("1", "late"), row("2", "late")]
      for (const { epoch } of [old, older]) {
        for (const rows of [changes, [], [row("1", undefined)]]) {
          const fenced = yield* refused(storage.write("a", epoch, rows, true), "Fenced", "a write of an older epoch")
          yield* same([fenced.sessionId, fenced.epoch], ["a", epoch], "whose write was fenced")
        }
        yield* refused(storage.remove("a", epoch), "Fenced", "removing with an older epoch")
      }
      const { epoch } = yield* storage.open("b")
      yield* refused(storage.write("a", Math.max(epoch, now.epoch) + 1, changes, true), "Fenced", "an epoch to come")
      yield* refused(storage.write("none", now.epoch, changes, true), "Fenced", "a session that was never opened")
      yield* same(yield* storage.unfinished, [], "the sessions with something open")
      yield* storage.write("a", now.epoch, [row("2", 2)], true)
      yield* sameRows(yield* rowsOf(storage, "a"), [row("1", 2), row("2", 2)], "the rows")
    })
  )

  test("a session that was removed is empty, and its epochs go on rising", "removed", (storage) =>
    Effect.gen(function* () {
      const other = yield* storage.open("b")
      yield* storage.write("b", other.epoch, [row("1", "of b")], true)
      const old = yield* storage.open("a")
      const now = yield* storage.open("a")
      yield* storage.write("a", now.epoch, [row("1", 1), row("2", 2)], true)
      yield* storage.remove("a", now.epoch)
      yield* same(yield* storage.unfinished, ["b"], "the sessions with something open")
      yield* refused(storage.write("a", old.epoch, [row("1", "late")], true), "Fenced", "a write of an older epoch")
      const next = yield* storage.open("a")
      yield* sameRows(next.rows, [], "the rows of a session that was removed")
      yield* check(next.epoch > now.epoch, () => `epoch ${next.epoch} comes behind epoch ${now.epoch}`)
      for (const { epoch } of [now, old]) {
        yield* refused(storage.write("a", epoch, [row("1", "late")], true), "Fenced", "a write from before the removal")
      }
      yield* storage.write("a", next.epoch, [row("3", 3)], false)
      yield* sameRows(yield* rowsOf(storage, "a"), [row("3", 3)], "the rows")
      yield* sameRows(yield* rowsOf(storage, "b"), [row("1", "of b")], "the rows of another session")
    })
  )

  test("unfinished has the sessions whose last write said so", "unfinished", (storage) =>
    Effect.gen(function* () {
      const epochs = new Map<string, number>()
      for (const id of ["a", "b", "c", "d", "e"]) epochs.set(id, (yield* storage.open(id)).epoch)
      const say = (id: string, open: boolean) => storage.write(id, epochs.get(id) ?? 0, [row("1", open)], open)
      const are = (expected: ReadonlyArray<string>) =>
        Effect.flatMap(storage.unfinished, (ids) => same(ids.toSorted(), expected, "the sessions with something open"))
      yield* are([])
      for (const [id, open] of [
        ["a", true],
        ["b", false],
        ["c", true],
        ["d", true]
      ] as const)
        yield* say(id, open)
      yield* are(["a", "c", "d"])
      yield* storage.write("a", epochs.get("a") ?? 0, [], false)
      yield* say("b", true)
      yield* are(["b", "c", "d"])
      // whoever opens a session has yet to see what is open
      yield* storage.open("c")
      yield* storage.remove("d", epochs.get("d") ?? 0)
      yield* are(["b", "c"])
    })
  )

  test("writes of one epoch are stored in their order, though nobody waits for them", "order", (storage) =>
    Effect.gen(function* () {
      const { epoch } = yield* storage.open("a")
      const count = 40
      yield* Effect.forEach(
        Array.from({ length: count }, (_, i) => i),
        (i) =>
          storage.write("a", epoch, [row("last", i), row(String(i % 7), i % 5 === 0 ? undefined : i)], i % 2 === 0),
        { concurrency: "unbounded", discard: true }
      )
      const expected = new Map<string, Row>()
      for (let i = 0; i < count; i++) {
        if (i % 5 === 0) expected.delete(String(i % 7))
        else expected.set(String(i % 7), row(String(i % 7), i))
      }
      yield* same(yield* storage.unfinished, [], "the sessions with something open")
      yield* sameRows(yield* rowsOf(storage, "a"), [row("last", count - 1), ...expected.values()], "the rows")
    })
  )

  test("many sessions write at once, and one that is fenced disturbs no other", "many", (storage) =>
    Effect.gen(function* () {
      const ids = Array.from({ length: 40 }, (_, i) => `s${i}`)
      const isOld = (id: string) => id.endsWith("7")
      const writers = yield* Effect.forEach(ids, (id) =>
        Effect.gen(function* () {
          const { epoch } = yield* storage.open(id)
          if (isOld(id)) yield* storage.open(id)
          return { id, epoch }
        })
      )
      yield* Effect.forEach(
        writers,
        ({ epoch, id }) =>
          Effect.gen(function* () {
            for (let i = 0; i < 4; i++) {
              const writing = storage.write(id, epoch, [row(String(i), `${id} ${i}`), row("last", i)], true)
              if (isOld(id)) yield* refused(writing, "Fenced", "a write of an older epoch")
              else yield* writing
            }
          }),
        { concurrency: "unbounded", discard: true }
      )
      for (const id of ids) {
        const expected = isOld(id) ? [] : [...[0, 1, 2, 3].map((i) => row(String(i), `${id} ${i}`)), row("last", 3)]
        yield* sameRows(yield* rowsOf(storage, id), expected, `the rows of ${id}`)
      }
    })
  )

  test("an interrupted write is stored as a whole or not at all, and those behind it are", "interrupted", (storage) =>
    Effect.gen(function* () {
      const { epoch } = yield* storage.open("a")
      for (let i = 0; i < 20; i++) {
        const ids = ["1", "2", "3"]
        const fibers = yield* Effect.forEach(["a", "b"], (name) =>
          begin(
            storage.write(
              "a",
              epoch,
              ids.map((id) => row(`${name}${id}`, i)),
              true
            )
          )
        )
        for (let n = 0; n < i % 4; n++) yield* Effect.yieldNow()
        yield* Effect.forEach(fibers, Fiber.interrupt, { discard: true })
        yield* storage.write("a", epoch, [row("next", i)], true)
      }
      const { rows } = yield* storage.open("a")
      for (const name of ["a", "b"]) {
        const written = rows.filter(({ id }) => id.startsWith(name)).map(({ data }) => data)
        yield* check(
          written.length === 0 || (written.length === 3 && new Set(written).size === 1),
          () => `a part of an interrupted write is stored: ${shown(written)}`
        )
      }
      yield* sameRows(
        rows.filter(({ id }) => id === "next"),
        [row("next", 19)],
        "what was written behind"
      )
    })
  )

  test("what is stored outlives the layer", "outlives", () =>
    Effect.gen(function* () {
      const written = yield* Effect.scoped(
        Effect.gen(function* () {
          const storage = yield* build("outlives")
          const { epoch } = yield* storage.open("a")
          yield* storage.write("a", epoch, [row("1", { kept: true }), row("2", 2)], true)
          return epoch
        })
      )
      const storage = yield* build("outlives")
      yield* same(yield* storage.unfinished, ["a"], "the sessions with something open")
      const { epoch, rows } = yield* storage.open("a")
      yield* sameRows(rows, [row("1", { kept: true }), row("2", 2)], "the rows")
      yield* check(epoch > written, () => `epoch ${epoch} comes behind epoch ${written}`)
      yield* refused(storage.write("a", written, [row("1", "late")], true), "Fenced", "a write of an older epoch")
    })
  )

  test(
    "owners who take a session from each other: each sees all that the ones before were told is stored",
    "race",
    (one) =>
      Effect.gen(function* () {
        const other = yield* build("race")
        const stored: Array<Mark> = []
        const taken: Array<{ readonly epoch: number; readonly last: Mark | undefined }> = []
        const owner = (storage: Storage, rounds: number) =>
          Effect.gen(function* () {
            for (let round = 0; round < rounds; round++) {
              const { epoch, rows } = yield* storage.open("a")
              const marks = rows.map(({ data }) => data as Mark)
              yield* check(
                marks.length === 0 || (marks.length === 2 && shown(marks[0]) === shown(marks[1])),
                () => `a part of a write is stored: ${shown(rows)}`
              )
              taken.push({ epoch, last: marks[0] })
              for (let n = 0; n < 3 + (round % 4); n++) {
                const mark = { epoch, n }
                // begun behind a later opening that has returned
                const late = taken.some((other) => other.epoch > epoch)
                const exit = yield* Effect.exit(storage.write("a", epoch, [row("1", mark), row("2", mark)], true))
                if (Exit.isSuccess(exit)) {
                  stored.push(mark)
                  yield* check(!late, () => `a write of epoch ${epoch} was stored behind a later opening`)
                  continue
                }
                const error = Option.getOrUndefined(Cause.failureOption(exit.cause))
                yield* check(error?._tag === "Fenced", () => `a write failed: ${Cause.pretty(exit.cause)}`)
                break
              }
            }
          })
        yield* Effect.forEach(
          [one, other, one, other],
          (storage) => Effect.zipRight(Effect.yieldNow(), owner(storage, 12)),
          { concurrency: "unbounded", discard: true }
        )
        yield* same(new Set(taken.map(({ epoch }) => epoch)).size, taken.length, "different epochs")
        for (const { epoch, last } of taken) {
          const lost = stored.find((mark) => mark.epoch < epoch && (last === undefined || isBehind(mark, last)))
          yield* check(
            lost === undefined,
            () => `epoch ${epoch} began with ${shown(last)}, and knew nothing of ${shown(lost)}, which was stored`
          )
        }
        yield* check(stored.length > 0, () => "nobody could write")
      })
  )

  if (outage !== undefined) {
    test("while it cannot be reached each call fails with a StorageError; afterwards it goes on", "outage", (storage) =>
      Effect.gen(function* () {
        const { epoch } = yield* storage.open("a")
        yield* storage.write("a", epoch, [row("1", 1), row("2", 2)], true)
        const change = [row("1", "one"), row("2", undefined), row("3", "three")]
        yield* Effect.scoped(
          Effect.gen(function* () {
            yield* outage("outage")
            for (let i = 0; i < 2; i++) {
              const error = yield* refused(storage.write("a", epoch, change, false), "StorageError", "a write")
              yield* check(error.message !== "", () => "the error says nothing")
            }
            yield* refused(storage.remove("a", epoch), "StorageError", "removing")
          })
        )
        yield* storage.write("a", epoch, change, true)
        yield* same(yield* storage.unfinished, ["a"], "the sessions with something open")
        yield* sameRows(yield* rowsOf(storage, "a"), [row("1", "one"), row("3", "three")], "the rows")
      })
    )
  }
}

/** Has a part what its type needs? What comes from a `LanguageModel` has been decoded; other models send what they like. */
const isSound = (part: unknown): boolean => {
  if (!isRecord(part) || typeof part.type !== "string") return false
  switch (part.type) {
    case "text-delta":
    case "reasoning-delta":
      return typeof part.id === "string" && typeof part.delta === "string"
    case "text-start":
    case "text-end":
    case "reasoning-start":
    case "reasoning-end":
      return typeof part.id === "string"
    case "tool-call":
    case "tool-result":
      return typeof part.id === "string" && typeof part.name === "string"
    default:
      return true
  }
}
