import type { LanguageModelV3, LanguageModelV3Content, LanguageModelV3StreamPart } from "@ai-sdk/provider"
import { AiError, LanguageModel, type Response } from "@effect/ai"
import { Terminal } from "@effect/platform"
import { describe, expect, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, FiberId, Layer, Stream } from "effect"
import { AgentOutput, SessionModel } from "effect-meantime"
import { AiSdkModel } from "effect-meantime/ai-sdk"
import { contract, ScriptedModel } from "effect-meantime/testing"
import { failing, virtual } from "./support/suites.js"

type Part = Response.StreamPartEncoded

const textOf = (content: unknown): string =>
  typeof content === "string"
    ? content
    : (content as ReadonlyArray<{ readonly type: string; readonly text?: string }>)
        .map((part) => (part.type === "text" ? part.text : ""))
        .join("")

const lastOfUser = (messages: ReadonlyArray<{ readonly role: string; readonly content: unknown }>): string =>
  textOf(messages.findLast(({ role }) => role === "user")?.content ?? "")

/** What the pieces of an answer are as parts; what has to be waited for, or fails, stays. */
type Step = Part | Extract<contract.Piece, { readonly _tag: "Hold" | "Fail" }>

const stepsOf = ({ pieces }: contract.Answer): ReadonlyArray<Step> => {
  const steps: Array<Step> = [{ type: "response-metadata", id: "r1", modelId: "m1", timestamp: undefined }]
  let open: string | undefined
  const close = () => {
    if (open !== undefined) steps.push({ type: "text-end", id: open })
    open = undefined
  }
  for (const [i, piece] of pieces.entries()) {
    switch (piece._tag) {
      case "Text":
        if (open === undefined) steps.push({ type: "text-start", id: `t${i}` })
        open ??= `t${i}`
        steps.push({ type: "text-delta", id: open, delta: piece.text })
        break
      case "ToolCall":
        close()
        steps.push({ type: "tool-call", id: piece.id, name: piece.name, params: piece.arguments })
        break
      default:
        steps.push(piece)
    }
  }
  close()
  const calls = pieces.some(({ _tag }) => _tag === "ToolCall")
  steps.push({
    type: "finish",
    reason: calls ? "tool-calls" : "stop",
    usage: { inputTokens: 1, outputTokens: 1, totalTokens: 2 }
  })
  return steps
}

const overloaded = new AiError.UnknownError({ module: "test", method: "streamText", description: "overloaded" })

// ------------------------------------------------------------------------------------------------------------- models

/** A model that is reached without anything in between. */
const run =
  (provider: contract.Provider): SessionModel.Run =>
  (request, onParts) =>
    Effect.suspend(() => {
      const answer = provider({
        user: lastOfUser(request.prompt.content),
        tools: Object.keys(request.toolkit.tools),
        toolChoice: request.toolChoice
      })
      return Effect.forEach(
        stepsOf(answer),
        (step) =>
          "type" in step
            ? Effect.sync(() => onParts([step]))
            : step._tag === "Fail"
              ? Effect.fail(overloaded)
              : Effect.promise(() => step.until),
        { discard: true }
      ).pipe(Effect.onInterrupt(() => Effect.sync(answer.onStop)))
    })

const scripted = (provider: contract.Provider) =>
  ScriptedModel.layer(({ prompt, toolChoice, tools }) => {
    const answer = provider({
      user: lastOfUser(prompt.content),
      tools: tools.map(({ name }) => name),
      toolChoice: toolChoice as contract.Asked["toolChoice"]
    })
    const contentOf = (piece: contract.Piece): ScriptedModel.Content => {
      switch (piece._tag) {
        case "Text":
          return ScriptedModel.text(piece.text)
        case "ToolCall":
          return ScriptedModel.toolCall(piece.name, piece.arguments, { id: piece.id })
        case "Fail":
          return ScriptedModel.fail("overloaded")
        case "Hold":
          return ScriptedModel.effect(
            Effect.onInterrupt(
              Effect.promise(() => piece.until),
              () => Effect.sync(answer.onStop)
            )
          )
      }
    }
    return answer.pieces.map(contentOf)
  })

/** A `LanguageModel` as a provider's package has it: parts come in chunks. */
const languageModel = (provider: contract.Provider) =>
  Layer.effect(
    LanguageModel.LanguageModel,
    LanguageModel.make({
      generateText: () => Effect.die("a session streams"),
      streamText: ({ prompt, toolChoice, tools }) =>
        Stream.suspend(() => {
          const answer = provider({
            user: lastOfUser(prompt.content),
            tools: tools.map(({ name }) => name),
            toolChoice: toolChoice as contract.Asked["toolChoice"]
          })
          const chunks: Array<Stream.Stream<Part, AiError.AiError>> = []
          let parts: Array<Part> = []
          for (const step of stepsOf(answer)) {
            if ("type" in step) {
              parts.push(step)
              continue
            }
            chunks.push(
              Stream.fromIterable(parts),
              step._tag === "Fail"
                ? Stream.fail(overloaded)
                : Stream.execute(
                    Effect.onInterrupt(
                      Effect.promise(() => step.until),
                      () => Effect.sync(answer.onStop)
                    )
                  )
            )
            parts = []
          }
          return Stream.concat(
            chunks.reduce((all, next) => Stream.concat(all, next), Stream.empty),
            Stream.fromIterable(parts)
          )
        })
    })
  )

const throughLanguageModel = <R>(layer: Layer.Layer<LanguageModel.LanguageModel | R>) =>
  Layer.provide(
    Layer.effect(SessionModel.SessionModel, Effect.map(LanguageModel.LanguageModel, SessionModel.fromLanguageModel)),
    layer
  )

type CallOptions = Parameters<LanguageModelV3["doStream"]>[0]

/** A model of the AI SDK, which listens to its signal. */
const sdk = (provider: contract.Provider): LanguageModelV3 => {
  const ask = ({ abortSignal, prompt, toolChoice, tools = [] }: CallOptions) => {
    const answer = provider({
      user: lastOfUser(prompt),
      tools: tools.map(({ name }) => name),
      toolChoice: toolChoice?.type === "tool" ? { tool: toolChoice.toolName } : (toolChoice?.type ?? "auto")
    })
    let over = false
    const stop = (): void => {
      if (!over) answer.onStop()
      over = true
    }
    abortSignal?.addEventListener("abort", stop)
    return {
      answer,
      stop,
      end: () => {
        over = true
      }
    }
  }
  const finish = (answer: contract.Answer) => ({
    finishReason: {
      unified: answer.pieces.some(({ _tag }) => _tag === "ToolCall") ? ("tool-calls" as const) : ("stop" as const),
      raw: undefined
    },
    usage: {
      inputTokens: { total: 1, noCache: 1, cacheRead: undefined, cacheWrite: undefined },
      outputTokens: { total: 1, text: 1, reasoning: undefined }
    }
  })
  return {
    specificationVersion: "v3",
    provider: "test",
    modelId: "m1",
    supportedUrls: {},
    doGenerate: async (options) => {
      const { answer, end } = ask(options)
      const content: Array<LanguageModelV3Content> = []
      for (const piece of answer.pieces) {
        if (piece._tag === "Hold") await piece.until
        else if (piece._tag === "Fail") {
          end()
          throw new Error("overloaded")
        } else if (piece._tag === "Text") {
          const last = content.at(-1)
          if (last?.type === "text") last.text += piece.text
          else content.push({ type: "text", text: piece.text })
        } else {
          const input = JSON.stringify(piece.arguments)
          content.push({ type: "tool-call", toolCallId: piece.id, toolName: piece.name, input })
        }
      }
      end()
      return { content, warnings: [], ...finish(answer) }
    },
    doStream: async (options) => {
      const { answer, end, stop } = ask(options)
      const stream = new ReadableStream<LanguageModelV3StreamPart>({
        start: async (controller) => {
          controller.enqueue({ type: "stream-start", warnings: [] })
          for (const step of stepsOf(answer)) {
            if (!("type" in step)) {
              if (step._tag === "Hold") await step.until
              else {
                end()
                controller.enqueue({ type: "error", error: new Error("overloaded") })
                return controller.close()
              }
            } else if (step.type === "tool-call") {
              const input = JSON.stringify(step.params)
              controller.enqueue({ type: "tool-call", toolCallId: step.id, toolName: step.name, input })
            } else if (step.type === "finish") {
              end()
              controller.enqueue({ type: "finish", ...finish(answer) })
            } else if (step.type === "text-start" || step.type === "text-end") {
              controller.enqueue({ type: step.type, id: step.id })
            } else if (step.type === "text-delta") {
              controller.enqueue({ type: step.type, id: step.id, delta: step.delta })
            }
          }
          controller.close()
        },
        cancel: stop
      })
      return { stream }
    }
  }
}

describe("[K5] a model in both of its forms", () => {
  contract.sessionModel((provider) => SessionModel.layer({ run: run(provider) }), { it })
})

describe("[K5] a model that streams only", () => {
  const streams = (provider: contract.Provider) =>
    SessionModel.layer({ stream: SessionModel.make({ run: run(provider) }).stream })
  contract.sessionModel(streams, { it: virtual })
})

describe("[K5] [M4] the scripted model", () => {
  contract.sessionModel((provider) => throughLanguageModel(scripted(provider)), { it })
})

describe("[K5] [M4] a LanguageModel of @effect/ai", () => {
  contract.sessionModel((provider) => throughLanguageModel(languageModel(provider)), { it: virtual })
})

for (const streaming of [true, false]) {
  const how = streaming ? "streaming" : "whole answers"
  describe(`[K5] [M4] a model of the AI SDK, ${how}`, () => {
    contract.sessionModel((provider) => AiSdkModel.layer(sdk(provider), { streaming }), { it, streaming })
  })

  describe(`[K5] [M4] a model of the AI SDK as a LanguageModel, ${how}`, () => {
    contract.sessionModel(
      (provider) => throughLanguageModel(AiSdkModel.layerLanguageModel(sdk(provider), { streaming })),
      { it, streaming }
    )
  })
}

// ------------------------------------------------------------------------------------------------------------ outputs

const terminal = (shown: Array<string>) =>
  Layer.succeed(Terminal.Terminal, {
    display: (text: string) => Effect.sync(() => void shown.push(text))
  } as unknown as Terminal.Terminal)

describe("[K5] [O1] the default output", () => {
  contract.agentOutput(() => Layer.empty, { it })
})

for (const charactersPerSecond of [15, 2, Number.POSITIVE_INFINITY]) {
  describe(`[K5] [O2] layerPaced, ${charactersPerSecond} characters a second`, () => {
    contract.agentOutput(() => AgentOutput.layerPaced({ charactersPerSecond }), { it: virtual })
  })
}

describe("[K5] [O2] layerTerminal", () => {
  contract.agentOutput(() => Layer.provide(AgentOutput.layerTerminal, terminal([])), { it })
})

// --------------------------------------------------------------------------------------------------- what they catch

type Mutant = (sound: SessionModel.Run, provider: contract.Provider) => SessionModel.Run

const onEach =
  (change: (part: Part) => ReadonlyArray<Part>): Mutant =>
  (sound) =>
  (request, onParts) =>
    sound(request, (parts) => onParts(parts.flatMap(change)))

const models: Record<string, readonly [mutant: Mutant, caught: RegExp]> = {
  "that loses a delta": [
    onEach((part) => (part.type === "text-delta" && part.delta === " and\n" ? [] : [part])),
    /in order/
  ],
  "that trims": [
    onEach((part) => (part.type === "text-delta" ? [{ ...part, delta: part.delta.trim() }] : [part])),
    /in order/
  ],
  "without a finish part": [onEach((part) => (part.type === "finish" ? [] : [part])), /nothing in it/],
  "with two finish parts": [onEach((part) => (part.type === "finish" ? [part, part] : [part])), /nothing in it/],
  "that begins no text": [onEach((part) => (part.type === "text-start" ? [] : [part])), /in order/],
  "that ends no text": [onEach((part) => (part.type === "text-end" ? [] : [part])), /in order/],
  "that sends arguments as text": [
    onEach((part) => (part.type === "tool-call" ? [{ ...part, params: JSON.stringify(part.params) }] : [part])),
    /names and arguments/
  ],
  "that gives all calls one id": [
    onEach((part) => (part.type === "tool-call" ? [{ ...part, id: "x" }] : [part])),
    /two calls/
  ],
  "that knows no other tools": [
    onEach((part) => (part.type === "tool-call" && part.name === "no_such_tool" ? [] : [part])),
    /unknown tool/
  ],
  "that swaps text and calls": [
    (sound) => (request, onParts) => {
      const all: Array<Part> = []
      return Effect.zipRight(
        sound(request, (parts) => void all.push(...parts)),
        Effect.sync(() =>
          onParts(all.toSorted((a, b) => Number(b.type === "tool-call") - Number(a.type === "tool-call")))
        )
      )
    },
    /behind the text/
  ],
  "that ignores the tool choice": [
    (sound) => (request, onParts) => sound({ ...request, toolChoice: "auto" }, onParts),
    /tool choice/
  ],
  "that takes required for auto": [
    (sound) => (request, onParts) =>
      sound({ ...request, toolChoice: request.toolChoice === "required" ? "auto" : request.toolChoice }, onParts),
    /tool choice/
  ],
  "that always sends tools": [
    (sound, provider) => {
      const always = run((asked) => provider({ ...asked, tools: ["look", "wait"] }))
      return (request, onParts) => (Object.keys(request.toolkit.tools).length > 0 ? sound : always)(request, onParts)
    },
    /without tools/
  ],
  "that sends the first message only": [
    (_, provider) =>
      run((asked) => provider({ ...asked, user: asked.user === "And now?" ? "Look at it." : asked.user })),
    /conversation with calls/
  ],
  "that hands over whole answers": [
    (sound) => (request, onParts) => {
      const all: Array<Part> = []
      return Effect.zipRight(
        sound(request, (parts) => void all.push(...parts)),
        Effect.sync(() => onParts(all))
      )
    },
    /while the rest is to come/
  ],
  "that dies instead of failing": [(sound) => (request, onParts) => Effect.orDie(sound(request, onParts)), /AiError/],
  "that fails with errors of its own": [
    (sound) => (request, onParts) => Effect.mapError(sound(request, onParts), () => new Error("mine") as never),
    /AiError/
  ],
  "that ends where it failed": [
    (sound) => (request, onParts) => Effect.catchAll(sound(request, onParts), () => Effect.void),
    /AiError/
  ],
  "that cannot be interrupted": [
    (sound) => (request, onParts) => Effect.uninterruptible(sound(request, onParts)),
    /interrupting stops/
  ],
  "that leaves the provider at work": [
    (sound) => (request, onParts) =>
      Effect.flatMap(Effect.forkDaemon(sound(request, onParts)), (fiber) => Fiber.join(fiber)),
    /interrupting stops/
  ],
  "that hands over what comes after the interruption": [
    (_, provider) => (request, onParts) => {
      let stop = (): void => {}
      const spied = run((asked) => {
        const answer = provider(asked)
        stop = answer.onStop
        return { ...answer, onStop: () => {} }
      })
      return Effect.flatMap(Effect.forkDaemon(spied(request, onParts)), (fiber) =>
        Effect.onInterrupt(Fiber.join(fiber), () => Effect.sync(() => stop()))
      )
    },
    /interrupting stops/
  ],
  "that stops what has ended": [
    (_, provider) => (request, onParts) => {
      let stop = (): void => {}
      const spied = run((asked) => {
        const answer = provider(asked)
        stop = answer.onStop
        return answer
      })
      return Effect.ensuring(
        spied(request, onParts),
        Effect.sync(() => stop())
      )
    },
    /not stopped/
  ],
  "that answers one request at a time": [
    (sound) => {
      const lock = Effect.unsafeMakeSemaphore(1)
      return (request, onParts) => lock.withPermits(1)(sound(request, onParts))
    },
    /two requests/
  ],
  "whose requests end together": [
    (sound) => {
      const stopped = Deferred.unsafeMake<void>(FiberId.none)
      return (request, onParts) =>
        Effect.raceFirst(
          Effect.onInterrupt(sound(request, onParts), () => Deferred.succeed(stopped, undefined)),
          Deferred.await(stopped)
        )
    },
    /two requests/
  ],
  "that gives its first answer again": [
    (sound) => {
      let first: Array<Part> | undefined
      return (request, onParts) => {
        if (first !== undefined) return Effect.sync(() => onParts(first as Array<Part>))
        const parts: Array<Part> = []
        first = parts
        return sound(request, (some) => {
          parts.push(...some)
          onParts(some)
        })
      }
    },
    /asks again/
  ],
  "that asks before it is run": [
    (sound) => (request, onParts) => {
      const parts: Array<Part> = []
      const fiber = Effect.runFork(sound(request, (some) => void parts.push(...some)))
      return Effect.zipRight(
        Fiber.join(fiber),
        Effect.sync(() => onParts(parts))
      )
    },
    /before it is run/
  ]
}

describe("[K5] the suite for models", () => {
  it.effect("takes a model that does as it should", () =>
    Effect.gen(function* () {
      const sound = (provider: contract.Provider) => SessionModel.layer({ run: run(provider) })
      expect(yield* failing((it) => contract.sessionModel(sound, { it }))).toEqual([])
    })
  )

  for (const [name, [mutant, caught]] of Object.entries(models)) {
    it.effect(`catches a model ${name}`, () =>
      Effect.gen(function* () {
        const odd = (provider: contract.Provider) => SessionModel.layer({ run: mutant(run(provider), provider) })
        const names = yield* failing((it) => contract.sessionModel(odd, { it }), caught)
        expect(names).toHaveLength(1)
      })
    )
  }

  it.effect("catches a run that is not as the stream", () =>
    Effect.gen(function* () {
      const odd = (provider: contract.Provider) =>
        SessionModel.layer({
          stream: SessionModel.make({ run: run(provider) }).stream,
          run: onEach((part) => (part.type === "finish" ? [{ ...part, reason: "other" }] : [part]))(
            run(provider),
            provider
          )
        })
      expect(yield* failing((it) => contract.sessionModel(odd, { it }))).toEqual([
        "run and stream hand over the same parts"
      ])
    })
  )

  it.effect("catches a layer that is not built", () =>
    Effect.gen(function* () {
      const odd = () => Layer.fail("no key")
      const names = yield* failing((it) => contract.sessionModel(odd, { it }))
      const all = yield* failing((it) => contract.sessionModel(() => Layer.die("no model"), { it }))
      expect(names.length).toBeGreaterThan(10)
      expect(names).toEqual(all)
    })
  )
})

const sleepy = (text: Stream.Stream<string>, played: (piece: string) => Effect.Effect<void>) =>
  Stream.runForEach(text, (piece) => Effect.zipRight(Effect.sleep("100 millis"), played(piece)))

const outputs: Record<string, readonly [play: () => AgentOutput.Service["play"], caught: RegExp]> = {
  "that loses a piece": [
    () => (text, played) =>
      Stream.runForEach(
        Stream.filter(text, (part) => part !== " three"),
        played
      ),
    /adds up/
  ],
  "that trims": [() => (text, played) => Stream.runForEach(text, (part) => played(part.trim())), /adds up/],
  "that reports out of order": [
    () => (text, played) =>
      Effect.flatMap(Stream.runCollect(text), (parts) =>
        Effect.forEach([...parts].reverse(), played, { discard: true })
      ),
    /adds up/
  ],
  "that says something of its own": [
    () => (text, played) => Effect.zipRight(Stream.runForEach(text, played), played("\n")),
    /nothing in it/
  ],
  "that ends before its text": [
    () => (text, played) =>
      Effect.asVoid(Effect.timeout(Stream.runForEach(text, played), "3 minutes")).pipe(Effect.ignore),
    /comes slowly/
  ],
  "that reports what it has not got": [
    () => (text, played) =>
      Effect.zipRight(
        Effect.zipRight(Effect.sleep("15 seconds"), played("One, ")),
        Stream.runForEach(Stream.drop(text, 1), played)
      ),
    /comes slowly/
  ],
  "that goes on after its end": [
    () => (text, played) =>
      Effect.flatMap(Stream.runCollect(text), (parts) =>
        Effect.asVoid(Effect.forkDaemon(sleepy(Stream.fromChunk(parts), played)))
      ),
    /after its end/
  ],
  "that goes on after an interruption": [
    () => (text, played) => Effect.flatMap(Effect.forkDaemon(sleepy(text, played)), Fiber.join),
    /stops at once/
  ],
  "that cannot be interrupted": [() => (text, played) => Effect.uninterruptible(sleepy(text, played)), /stops at once/],
  "that takes its time to stop": [
    () => (text, played) => Effect.onInterrupt(sleepy(text, played), () => Effect.sleep("1 second")),
    /stops at once/
  ],
  "that reports all when it is interrupted": [
    () => (text, played) => Effect.onInterrupt(sleepy(text, played), () => played("word59 ")),
    /stops at once/
  ],
  "that keeps hold of a text that does not end": [
    () => (text, played) =>
      Effect.flatMap(Effect.forkDaemon(Stream.runForEach(Stream.take(text, 1_000_000), () => Effect.void)), () =>
        Stream.runForEach(text, played)
      ),
    /lets go/
  ],
  "that plays once": [
    () => {
      let interrupted = false
      return (text, played) =>
        Effect.suspend(() =>
          interrupted
            ? Stream.runDrain(text)
            : Effect.onInterrupt(Stream.runForEach(text, played), () =>
                Effect.sync(() => {
                  interrupted = true
                })
              )
        )
    },
    /plays again/
  ],
  "that goes on with what was cut": [
    () => {
      const rest: Array<string> = []
      return (text, played) =>
        Stream.runForEach(text, (part) => {
          rest.push(part)
          return Effect.zipRight(
            Effect.sleep("100 millis"),
            Effect.suspend(() => played(rest.splice(0).join("")))
          )
        })
    },
    /plays again/
  ]
}

describe("[K5] the suite for outputs", () => {
  const layerOf = (play: AgentOutput.Service["play"]) =>
    Layer.succeed(AgentOutput.AgentOutput, { play }) as Layer.Layer<never>

  it.effect("takes an output that does as it should", () =>
    Effect.gen(function* () {
      expect(yield* failing((it) => contract.agentOutput(() => layerOf(sleepy), { it }))).toEqual([])
    })
  )

  for (const [name, [make, caught]] of Object.entries(outputs)) {
    it.effect(`catches an output ${name}`, () =>
      Effect.gen(function* () {
        const names = yield* failing((it) => contract.agentOutput(() => layerOf(make()), { it }), caught)
        expect(names).toHaveLength(1)
      })
    )
  }
})
