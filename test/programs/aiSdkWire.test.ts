/**
 * `@ai-sdk/openai` and `@ai-sdk/anthropic` themselves behind a session, over HTTP, against the local servers.
 */
import { createAnthropic } from "@ai-sdk/anthropic"
import { createOpenAI } from "@ai-sdk/openai"
import { LanguageModel, Toolkit } from "@effect/ai"
import { describe, expect, it } from "@effect/vitest"
import { Deferred, Effect, type Layer, Option, Stream } from "effect"
import { type AgentSession, RunContext } from "effect-meantime"
import { AiSdkModel } from "effect-meantime/ai-sdk"
import { TestSession } from "effect-meantime/testing"
import { silent } from "../support/requests.js"
import { handlers, Travel, Weather } from "../support/travel.js"
import * as Anthropic from "../wire/Anthropic.js"
import * as OpenAi from "../wire/OpenAi.js"
import * as Providers from "../wire/Providers.js"
import * as Script from "../wire/Script.js"
import type { Server } from "../wire/Server.js"

interface Gates {
  readonly found: Deferred.Deferred<void>
  readonly booked: Deferred.Deferred<void>
}

interface Provider {
  readonly make: (script: Script.Script) => ReturnType<typeof OpenAi.make>
  readonly model: (server: Server) => AiSdkModel.SdkModel
  readonly options?: AiSdkModel.Options
  /** what makes the model think aloud */
  readonly thinking: AiSdkModel.Options
  /** the calls of a request, and which of them have a result */
  readonly pairs: (body: any) => { readonly calls: ReadonlyArray<string>; readonly results: ReadonlyArray<string> }
}

const providers: Record<string, Provider> = {
  "@ai-sdk/openai": {
    make: OpenAi.make,
    model: ({ url }) => createOpenAI({ apiKey: "sk-test", baseURL: url })("gpt-5-mini"),
    thinking: { providerOptions: { openai: { reasoningSummary: "auto" } } },
    pairs: ({ input }) => ({
      calls: input.filter((item: any) => item.type === "function_call").map((item: any) => item.call_id),
      results: input.filter((item: any) => item.type === "function_call_output").map((item: any) => item.call_id)
    })
  },
  "@ai-sdk/anthropic": {
    make: Anthropic.make,
    model: ({ url }) => createAnthropic({ apiKey: "sk-test", baseURL: `${url}/v1` })("claude-sonnet-4-5"),
    options: { maxOutputTokens: 4000 },
    thinking: { providerOptions: { anthropic: { thinking: { type: "enabled", budgetTokens: 1024 } } } },
    pairs: ({ messages }) => {
      const blocks: ReadonlyArray<any> = messages.flatMap((message: any) =>
        Array.isArray(message.content) ? message.content : []
      )
      return {
        calls: blocks.filter((block) => block.type === "tool_use").map((block) => block.id),
        results: blocks.filter((block) => block.type === "tool_result").map((block) => block.tool_use_id)
      }
    }
  }
}

for (const [name, provider] of Object.entries(providers)) {
  const talk = <A, E>(
    script: Script.Script,
    body: (session: AgentSession.Service, server: Server, gates: Gates) => Effect.Effect<A, E>,
    options?: AiSdkModel.Options
  ) =>
    Effect.gen(function* () {
      const server = yield* provider.make(script)
      const gates = { found: yield* Deferred.make<void>(), booked: yield* Deferred.make<void>() }
      const result = yield* Effect.gen(function* () {
        const { session } = yield* TestSession.make({ agent: Travel })
        return yield* body(session, server, gates)
      }).pipe(
        Effect.provide([
          AiSdkModel.layer(provider.model(server), { ...provider.options, ...options }),
          handlers(gates),
          silent
        ])
      )
      expect(server.violations).toEqual([])
      const bodies = server.requests.map((request) => request.body)
      expect(new Set(bodies.map((sent) => JSON.stringify(sent.tools))).size).toBe(1)
      for (const sent of bodies) {
        const { calls, results } = provider.pairs(sent)
        expect(results).toEqual(calls)
        expect(new Set(calls).size).toBe(calls.length)
      }
      return result
    })

  describe(`${name} over HTTP`, () => {
    it.scopedLive("[M2] [M3] text, reasoning and several calls in one step; what it signed comes back unchanged", () =>
      talk(
        [
          [
            Script.reasoning("Two cities to look at."),
            "Let me look.",
            Script.call("weather", { city: "Oslo" }),
            Script.call("weather", { city: "Atlantis" })
          ],
          [Script.reasoning("One more."), Script.call("weather", { city: "Rome" })],
          [Script.reasoning("Now I know."), "Sunny, and no such place."],
          "You are welcome."
        ],
        (session, server) =>
          Effect.gen(function* () {
            expect((yield* session.run("How is Oslo? And Atlantis?")).text).toBe("Sunny, and no such place.")
            expect((yield* session.run("Thanks")).text).toBe("You are welcome.")
            const items = (yield* session.history).items
            expect(items.filter((item) => item._tag === "Reasoning").map((item) => item.text)).toEqual([
              "Two cities to look at.",
              "One more.",
              "Now I know."
            ])
            // the servers refuse a request whose reasoning is not what they sent; it must be there at all
            expect(JSON.stringify(server.requests[1]?.body)).toMatch(/gAAAA-|EqQB-/)
            expect(provider.pairs(server.requests[3]?.body).calls).toHaveLength(3)
          }),
        provider.thinking
      )
    )

    it.scopedLive("[U1] [U2] [U3] a tool in the background, with two updates and a result", () =>
      talk(
        [
          Script.call("book", { city: "Oslo", confirm_duplicate: null }),
          "I am on it.",
          "There is one.",
          "It is booked."
        ],
        (session, server, gates) =>
          Effect.gen(function* () {
            const speech = yield* session.send("Book Oslo")
            yield* speech.wait
            const idle = session.waitForIdle
            yield* idle
            yield* Deferred.succeed(gates.found, undefined)
            yield* untilSaid(session, 2)
            yield* Deferred.succeed(gates.booked, undefined)
            yield* untilSaid(session, 3)
            expect(yield* TestSession.said(session)).toEqual(["I am on it.", "There is one.", "It is booked."])
            expect(provider.pairs(server.requests[3]?.body).calls).toHaveLength(3)
          })
      )
    )

    it.scopedLive("[T3] arguments that are not JSON are an error of that one call", () =>
      talk(
        [[Script.rawCall("weather", '{"city":"Os'), Script.call("weather", { city: "Oslo" })], "Sorry. Sunny."],
        (session) =>
          Effect.gen(function* () {
            expect((yield* session.run("How is Oslo?")).text).toBe("Sorry. Sunny.")
            const outputs = yield* TestSession.outputs(session)
            expect(outputs.map((output) => output.isError)).toEqual([true, false])
          })
      )
    )

    it.scopedLive("[F7] an error in mid-stream, a broken connection, an answer cut short: the session goes on", () =>
      talk(
        [
          ["One and", Script.errorEvent("server_error", "It broke.")],
          ["Two and", Script.drop],
          ["Three and", Script.cut],
          "Here I am."
        ],
        (session) =>
          Effect.gen(function* () {
            for (const end of ["It broke.", "", ""]) {
              const speech = yield* session.send("Hi")
              yield* speech.wait
              const error = Option.getOrUndefined(yield* speech.error)
              expect(error?._tag).toMatch(/HttpRequestError|HttpResponseError|UnknownError/)
              expect(error?.message).toContain(end)
            }
            expect((yield* session.run("Still there?")).text).toBe("Here I am.")
            expect(yield* TestSession.said(session)).toEqual(["One and", "Two and", "Three and", "Here I am."])
          })
      )
    )

    it.scopedLive("[F7] 429 with retry-after: told as such, and tried again where that was asked for", () =>
      Effect.gen(function* () {
        const busy = Script.httpError(429, "Slow down.", { "retry-after": "0" })
        yield* talk([busy, "Back."], (session) =>
          Effect.gen(function* () {
            const speech = yield* session.send("Hi")
            yield* speech.wait
            const error = Option.getOrThrow(yield* speech.error)
            expect(error).toMatchObject({ _tag: "HttpResponseError", response: { status: 429 } })
            expect(Option.isSome(AiSdkModel.retryAfter(error))).toBe(true)
            expect((yield* session.run("Again")).text).toBe("Back.")
          })
        )
        yield* talk(
          [busy, busy, "Back."],
          (session, server) =>
            Effect.gen(function* () {
              expect((yield* session.run("Hi")).text).toBe("Back.")
              expect(server.requests.map((request) => request.status)).toEqual([429, 429, 200])
            }),
          { maxRetries: 2 }
        )
      })
    )

    it.scopedLive(
      "[F3] an interruption closes the connection, and the next request stands without the server's memory",
      () =>
        talk([[Script.reasoning("Hm."), "One and", Script.stall], "Two."], (session, server) =>
          Effect.gen(function* () {
            yield* session.send("Hi")
            yield* untilSaying(session)
            yield* session.interrupt()
            expect((yield* session.run("Again")).text).toBe("Two.")
            yield* Effect.repeat(turn, { until: () => server.open() === 0 })
          })
        )
    )

    it.scopedLive("a LanguageModel of @effect/ai, with a toolkit", () =>
      Effect.gen(function* () {
        const server = yield* provider.make([["Let me look.", Script.call("weather", { city: "Oslo" })]])
        const gates = { found: yield* Deferred.make<void>(), booked: yield* Deferred.make<void>() }
        const plain = Toolkit.make(Weather)
        const parts = yield* Stream.runCollect(LanguageModel.streamText({ prompt: "Oslo?", toolkit: plain })).pipe(
          Effect.provide([AiSdkModel.layerLanguageModel(provider.model(server)), handlers(gates)]),
          Effect.provideService(RunContext.RunContext, {} as RunContext.Service)
        )
        const all = Array.from(parts)
        expect(all.find((part) => part.type === "tool-result")).toMatchObject({ result: "Sunny in Oslo." })
        expect(all.find((part) => part.type === "finish")?.usage.outputTokens).toBeGreaterThan(0)
        expect(server.violations).toEqual([])
      })
    )
  })
}

const bodies: Record<string, string> = {
  "an end and nothing else": "data: [DONE]\n\n",
  "a page": "<html><body>Welcome</body></html>",
  "an empty object": "{}",
  nothing: "",
  "a comment": ": hello\n\n"
}

/** The model in the ways in which it is asked; the servers answer with streams only. */
const seams: Record<string, Record<string, (server: Server) => Layer.Layer<any>>> = {
  "@ai-sdk/openai": {
    streaming: (server) => AiSdkModel.layer(providers["@ai-sdk/openai"]!.model(server)),
    "as a LanguageModel": (server) => AiSdkModel.layerLanguageModel(providers["@ai-sdk/openai"]!.model(server))
  },
  "@ai-sdk/anthropic": {
    streaming: (server) => AiSdkModel.layer(providers["@ai-sdk/anthropic"]!.model(server)),
    "as a LanguageModel": (server) => AiSdkModel.layerLanguageModel(providers["@ai-sdk/anthropic"]!.model(server))
  },
  "@effect/ai-openai": { streaming: Providers.openai.model },
  "@effect/ai-anthropic": { streaming: Providers.anthropic.model }
}

describe("an answer with status 200 that is none", () => {
  for (const [name, ways] of Object.entries(seams)) {
    for (const [way, layer] of Object.entries(ways)) {
      it.scopedLive(`[F7] ${name}, ${way}: is a failure of the model, and the session goes on`, () =>
        Effect.gen(function* () {
          const make = name.endsWith("openai") ? OpenAi.make : Anthropic.make
          for (const body of Object.values(bodies)) {
            const server = yield* make(() => Script.raw(body))
            yield* Effect.gen(function* () {
              const { session } = yield* TestSession.make({ agent: Travel })
              for (let i = 0; i < 2; i++) {
                const speech = yield* session.send("Hi")
                yield* speech.wait
                expect([body, Option.isSome(yield* speech.error)]).toEqual([body, true])
              }
            }).pipe(
              Effect.provide([
                layer(server),
                handlers({ found: yield* Deferred.make<void>(), booked: yield* Deferred.make<void>() }),
                silent
              ])
            )
            expect(server.violations).toEqual([])
          }
        })
      )
    }
  }
})

const turn = Effect.async<void>((resume) => {
  setImmediate(() => resume(Effect.void))
})

/** Waits for the n-th message of the agent to be complete, by the events. */
const untilSaid = (session: AgentSession.Service, n: number): Effect.Effect<void> =>
  Effect.gen(function* () {
    yield* session.events.pipe(
      Stream.map(() => undefined),
      Stream.merge(Stream.succeed(undefined)),
      Stream.mapEffect(() => TestSession.said(session)),
      Stream.takeUntil((said) => said.length >= n),
      Stream.runDrain
    )
    yield* Effect.ignore(session.waitForIdle)
  })

const untilSaying = (session: AgentSession.Service): Effect.Effect<void> =>
  session.events.pipe(
    Stream.takeUntil((event) => event._tag === "AgentStateChanged" && event.state === "speaking"),
    Stream.runDrain
  )
