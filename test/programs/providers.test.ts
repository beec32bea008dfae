/**
 * Sessions with the real provider packages, over HTTP, against local servers that speak and check as the providers do.
 * Time is real, since sockets are; nothing in here waits for a certain time.
 */
import { LanguageModel, Toolkit } from "@effect/ai"
import { HttpClient, HttpClientResponse } from "@effect/platform"
import { NodeHttpClient } from "@effect/platform-node"
import { describe, expect, it } from "@effect/vitest"
import {
  Clock,
  ConfigProvider,
  Context,
  Deferred,
  Effect,
  Fiber,
  Layer,
  Schema,
  type Scope,
  Stream,
  TestClock
} from "effect"
import { Agent, AgentOutput, AgentSession, AsyncTool, ChatContext, RunContext } from "effect-meantime"
import { judge } from "effect-meantime/testing"
import * as Examples from "../../examples/providers.js"
import { retrying } from "../../examples/shared/retrying.js"
import { expectSound, failure, log, said, talk } from "../support/wire.js"
import * as Providers from "../wire/Providers.js"
import * as Script from "../wire/Script.js"

// --- an agent that looks things up, at once --------------------------------------------------------------------------

const Weather = AsyncTool.make("weather", {
  description: "The weather in a city.",
  parameters: { city: Schema.String },
  success: Schema.Struct({ celsius: Schema.Number })
})
const Pick = AsyncTool.make("pick", { description: "Picks a seat.", success: Schema.String })
const Broken = AsyncTool.make("broken", { description: "Never works.", success: Schema.String })
const Look = Toolkit.make(Weather, Pick, Broken)
const LookLive = Look.toLayer({
  weather: ({ city }) => Effect.succeed({ celsius: city.length }),
  pick: () => Effect.succeed("12A"),
  broken: () => new AsyncTool.ToolError({ message: "no luck" })
})
const Looker = Agent.make("looker", { instructions: "You look things up.", tools: [Look] })

/** What a looker answers when it has only to speak. */
const talks = <A, E>(
  provider: Providers.Provider,
  server: { readonly url: string },
  use: (session: AgentSession.Service) => Effect.Effect<A, E, Scope.Scope>,
  options?: Providers.ModelOptions
) =>
  Effect.flatMap(AgentSession.make({ agent: Looker }), use).pipe(
    Effect.scoped,
    Effect.provide(Layer.merge(LookLive, provider.model(server, options)))
  )

// --- an agent that books, in the background --------------------------------------------------------------------------

const Book = AsyncTool.make("book", {
  description: "Books a flight.",
  parameters: { to: Schema.String, seats: Schema.optional(Schema.Number) },
  success: Schema.String,
  onDuplicate: "confirm",
  background: "model",
  allowCancellation: true
})
const Booking = Toolkit.make(Book)
const Booker = Agent.make("booker", { instructions: "You book flights.", tools: [Booking] })

/** The arguments as a strict mode makes the model send them. */
const booking = (to: string, more: object = {}) => ({
  to,
  seats: null,
  confirm_duplicate: null,
  run_in_background: null,
  ...more
})

for (const provider of Providers.all) {
  describe(provider.name, () => {
    it.scopedLive("speaks text, and each turn goes on with the last", () =>
      Effect.gen(function* () {
        const server = yield* provider.serve(["Hello there.", "Fine, thank you."])
        yield* talks(provider, server, (session) =>
          Effect.gen(function* () {
            expect((yield* session.run("Hi")).text).toBe("Hello there.")
            expect((yield* session.run("How are you?")).text).toBe("Fine, thank you.")
          })
        )
        expectSound(provider, server)
        expect(talk(provider, server.requests[1])).toEqual([
          "user: Hi",
          "assistant: Hello there.",
          "user: How are you?"
        ])
      })
    )

    it.scopedLive("[K4] judges: asked in one message, without tools, and once more", () =>
      Effect.gen(function* () {
        const server = yield* provider.serve([
          "It does.",
          [Script.reasoning("A price is in it."), '{ "reason": "It names 120 euros.", "verdict": "pass" }']
        ])
        const judged = judge("names a price")("It costs 120 euros.")
        expect(yield* Effect.provide(judged, provider.model(server))).toEqual({
          verdict: "pass",
          reason: "It names 120 euros."
        })
        expect(server.violations).toEqual([])
        for (const request of server.requests) {
          expect(talk(provider, request)).toEqual([expect.stringContaining("|     It costs 120 euros.\n")])
          expect(JSON.stringify(provider.system(request.body))).toContain("The sentence: names a price")
          expect(request.body.tools ?? []).toEqual([])
        }
      })
    )

    it.scopedLive("[M3] [T2] answers several calls of one step once each, in their order, right behind them", () =>
      Effect.gen(function* () {
        const server = yield* provider.serve([
          [
            "Let me look.",
            Script.call("weather", { city: "Oslo" }, "c1"),
            Script.call("pick", {}, "c2"),
            Script.call("broken", {}, "c3"),
            Script.call("weather", { city: "Rio" }, "c4")
          ],
          "Four in Oslo, three in Rio."
        ])
        yield* talks(provider, server, (session) => session.run("Look"))
        expectSound(provider, server)
        expect(talk(provider, server.requests[1])).toEqual([
          "user: Look",
          "assistant: Let me look.",
          'call c1: weather {"city":"Oslo"}',
          "call c2: pick {}",
          "call c3: broken {}",
          'call c4: weather {"city":"Rio"}',
          'result c1: {"celsius":4}',
          "result c2: 12A",
          'result c3: {"error":"no luck"}',
          'result c4: {"celsius":3}'
        ])
      })
    )

    it.scopedLive("[M2] gives reasoning back unchanged, step by step and turn by turn", () =>
      Effect.gen(function* () {
        const server = yield* provider.serve([
          [
            Script.reasoning("The user wants two things."),
            Script.call("pick", {}, "c1"),
            Script.call("broken", {}, "c2")
          ],
          [Script.hiddenReasoning, Script.call("weather", { city: "Oslo" }, "c3")],
          [Script.reasoning(["All ", "done."]), "Your seat is 12A."],
          [Script.hiddenReasoning, "You are welcome."]
        ])
        yield* talks(provider, server, (session) => Effect.zipRight(session.run("Look"), session.run("Thanks")), {
          reasoning: true
        })
        expectSound(provider, server)
        expect(talk(provider, server.requests[3])).toEqual([
          "user: Look",
          "reasoning: The user wants two things.",
          "call c1: pick {}",
          "call c2: broken {}",
          "result c1: 12A",
          'result c2: {"error":"no luck"}',
          "reasoning: ",
          'call c3: weather {"city":"Oslo"}',
          'result c3: {"celsius":4}',
          "reasoning: All done.",
          "assistant: Your seat is 12A.",
          "user: Thanks"
        ])
      })
    )

    for (const reasoning of [false, true]) {
      it.scopedLive(`[U2] [U3] [D3] sends updates and the result as pairs${reasoning ? ", with reasoning" : ""}`, () =>
        Effect.gen(function* () {
          const think = reasoning ? [Script.reasoning("Hm.")] : []
          const server = yield* provider.serve([
            [...think, Script.call("book", booking("Oslo"), "c1")],
            [...think, "I am on it."],
            [...think, "Good morning."],
            [...think, "KLM has one."],
            [...think, "It is booked."],
            [...think, "You are welcome."]
          ])
          const [found, done] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
          const BookingLive = Booking.toLayer({
            book: ({ to }) =>
              Effect.gen(function* () {
                yield* RunContext.update(`Searching flights to ${to}.`)
                yield* Deferred.await(found)
                yield* RunContext.update({ airline: "KLM", price: 180 })
                yield* Deferred.await(done)
                return "Seat 12A."
              })
          })
          yield* Effect.gen(function* () {
            const session = yield* AgentSession.make({ agent: Booker })
            const { events, until } = yield* log(session)
            yield* (yield* session.send("Book a flight to Oslo")).wait
            yield* (yield* session.send("Good morning")).wait
            yield* Deferred.succeed(found, undefined)
            yield* until("ReplyEnded", 1)
            yield* Deferred.succeed(done, undefined)
            yield* until("ReplyEnded", 2)
            yield* session.run("Thanks")
            expect(yield* said(session)).toEqual([
              "I am on it.",
              "Good morning.",
              "KLM has one.",
              "It is booked.",
              "You are welcome."
            ])
            expect(events.filter((event) => event._tag === "SessionError")).toEqual([])
          }).pipe(Effect.scoped, Effect.provide(Layer.merge(BookingLive, provider.model(server, { reasoning }))))
          expectSound(provider, server)
          const args = JSON.stringify(booking("Oslo"))
          expect(talk(provider, server.requests[5]).filter((line) => !line.startsWith("reasoning: "))).toEqual([
            "user: Book a flight to Oslo",
            `call c1: book ${args}`,
            "result c1: Searching flights to Oslo.\n(book is still running in the background; there is no result yet.)",
            "assistant: I am on it.",
            "user: Good morning",
            "assistant: Good morning.",
            `call c1_update_1: book ${args}`,
            'result c1_update_1: {"airline":"KLM","price":180}',
            "assistant: KLM has one.",
            `call c1_final: book ${args}`,
            "result c1_final: Seat 12A.",
            "assistant: It is booked.",
            "user: Thanks"
          ])
          // a reply to a report ends with what the application asks for
          expect(talk(provider, server.requests[3]).at(-1)).toBe("note")
        })
      )
    }

    it.scopedLive("[M2] a report that comes right after what the user said is sent as the provider wants it", () =>
      Effect.gen(function* () {
        const server = yield* provider.serve([
          [Script.reasoning("Hm."), Script.call("book", booking("Oslo"), "c1")],
          [Script.reasoning("Hm."), "I am on it."],
          [Script.reasoning("Hm."), "It is booked, by the way."],
          [Script.reasoning("Hm."), "You are welcome."]
        ])
        const done = yield* Deferred.make<void>()
        const BookingLive = Booking.toLayer({
          book: () => Effect.as(Effect.zipRight(RunContext.update("Searching."), Deferred.await(done)), "Seat 12A.")
        })
        yield* Effect.gen(function* () {
          const session = yield* AgentSession.make({ agent: Booker })
          const { events, until } = yield* log(session)
          yield* (yield* session.send("Book a flight to Oslo")).wait
          // the answer to this is cut before its first word; then the result comes in
          const speech = yield* session.send("Good morning")
          yield* speech.interrupt()
          yield* Deferred.succeed(done, undefined)
          yield* until("ReplyEnded")
          yield* session.run("Thanks")
          expect(yield* said(session)).toEqual(["I am on it.", "It is booked, by the way.", "You are welcome."])
          expect(events.filter((event) => event._tag === "SessionError")).toEqual([])
        }).pipe(Effect.scoped, Effect.provide(Layer.merge(BookingLive, provider.model(server, { reasoning: true }))))
        expectSound(provider, server)
      })
    )

    it.scopedLive("[M1] shows a call that still runs with a placeholder, which is gone once it has ended", () =>
      Effect.gen(function* () {
        const server = yield* provider.serve([
          [Script.call("book", booking("Oslo"), "c1"), Script.call("book", booking("Rome"), "c2")],
          "Still at it.",
          "Both are booked."
        ])
        const [oslo, rome] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
        const BookingLive = Booking.toLayer({
          book: ({ to }) => Effect.as(Deferred.await(to === "Oslo" ? oslo : rome), `Seat to ${to}.`)
        })
        const Anyone = Agent.make("anyone", {
          instructions: "You book flights.",
          tools: [Toolkit.make(Book.annotate(AsyncTool.Annotations, { onDuplicate: "allow" }))]
        })
        yield* Effect.gen(function* () {
          const session = yield* AgentSession.make({ agent: Anyone })
          const { until } = yield* log(session)
          const speech = yield* session.send("Book both")
          yield* until("ToolCallStarted", 2)
          // the second is done, the first is not
          yield* Deferred.succeed(rome, undefined)
          yield* until("ToolCallEnded")
          yield* (yield* session.generateReply({ instructions: "Say how it goes.", toolChoice: "none" })).wait
          yield* Deferred.succeed(oslo, undefined)
          yield* speech.wait
          expect(yield* said(session)).toEqual(["Still at it.", "Both are booked."])
        }).pipe(Effect.scoped, Effect.provide(Layer.merge(BookingLive, provider.model(server))))
        expectSound(provider, server)
        const calls = [
          `call c1: book ${JSON.stringify(booking("Oslo"))}`,
          `call c2: book ${JSON.stringify(booking("Rome"))}`
        ]
        expect(talk(provider, server.requests[1])).toEqual([
          "user: Book both",
          ...calls,
          "result c1: book is still running; there is no result yet.",
          "result c2: Seat to Rome.",
          "note"
        ])
        expect(talk(provider, server.requests[2]).slice(0, 5)).toEqual([
          "user: Book both",
          ...calls,
          "result c1: Seat to Oslo.",
          "result c2: Seat to Rome."
        ])
      })
    )

    it.scopedLive(
      "[P2] [U9] takes confirm_duplicate, run_in_background and optional parameters in a strict schema",
      () =>
        Effect.gen(function* () {
          const server = yield* provider.serve([
            Script.call("book", booking("Oslo", { run_in_background: true }), "c1"),
            "It is being booked.",
            Script.call("book", booking("Rome", { seats: 2 }), "c2"),
            "Another one?",
            Script.call("book", booking("Rome", { seats: 2, confirm_duplicate: true }), "c3"),
            "Both are booked."
          ])
          const asked: Array<unknown> = []
          const oslo = yield* Deferred.make<void>()
          const BookingLive = Booking.toLayer({
            book: (params) => {
              asked.push(params)
              return params.to === "Oslo"
                ? Effect.as(Deferred.await(oslo), "Seat 12A.")
                : Effect.succeed("Seats 7C, 7D.")
            }
          })
          yield* Effect.gen(function* () {
            const session = yield* AgentSession.make({ agent: Booker })
            yield* (yield* session.send("To Oslo, please")).wait
            yield* (yield* session.send("Two to Rome")).wait
            yield* (yield* session.send("Yes")).wait
            expect(yield* said(session)).toEqual(["It is being booked.", "Another one?", "Both are booked."])
          }).pipe(Effect.scoped, Effect.provide(Layer.merge(BookingLive, provider.model(server))))
          expectSound(provider, server)
          // null stands for what is left out: the handler sees neither it nor the session's own parameters
          expect(asked).toEqual([{ to: "Oslo" }, { to: "Rome", seats: 2 }])
          const [book] = provider.decode(server.requests[0]?.body).tools
          expect(Object.keys(book?.schema.properties)).toEqual([
            "to",
            "seats",
            "confirm_duplicate",
            "run_in_background"
          ])
          expect(book?.schema.required).toEqual(
            provider.name === "openai"
              ? ["to", "seats", "confirm_duplicate", "run_in_background"]
              : ["to", "confirm_duplicate", "run_in_background"]
          )
        })
    )

    it.scopedLive("[S4] hands off: the new agent's instructions and tools, the same conversation", () =>
      Effect.gen(function* () {
        const server = yield* provider.serve([
          ["One moment.", Script.call("escalate", {}, "c1")],
          "This is support.",
          Script.call("pick", {}, "c2"),
          "Seat 12A."
        ])
        const Support = Agent.make("support", { instructions: "You are support.", tools: [Look] }).pipe(
          Agent.provide(LookLive)
        )
        const Escalate = AsyncTool.make("escalate", { description: "Hands over to support." })
        const Desk = Agent.make("desk", { instructions: "You are the desk.", tools: [Toolkit.make(Escalate)] }).pipe(
          Agent.provide(Toolkit.make(Escalate).toLayer({ escalate: () => RunContext.handoff(Support) }))
        )
        yield* Effect.gen(function* () {
          const session = yield* AgentSession.make({ agent: Desk })
          yield* (yield* session.send("Help")).wait
          yield* (yield* session.generateReply({ instructions: "Say who you are.", toolChoice: "none" })).wait
          expect((yield* session.run("My seat?")).text).toBe("Seat 12A.")
        }).pipe(Effect.scoped, Effect.provide(provider.model(server)))
        expect(server.violations).toEqual([])
        const tools = server.requests.map(({ body }) =>
          provider
            .decode(body)
            .tools.map((tool) => tool.name)
            .join()
        )
        expect(tools).toEqual(["escalate", "weather,pick,broken", "weather,pick,broken", "weather,pick,broken"])
        expect(JSON.stringify(provider.system(server.requests[0]?.body))).toContain("You are the desk.")
        expect(JSON.stringify(provider.system(server.requests[3]?.body))).toContain("You are support.")
        expect(JSON.stringify(server.requests[3]?.body)).not.toContain("You are the desk.")
        expect(talk(provider, server.requests[3])).toEqual([
          "user: Help",
          "assistant: One moment.",
          "call c1: escalate {}",
          "result c1: escalate has ended; there is nothing to report.",
          "assistant: This is support.",
          "user: My seat?",
          "call c2: pick {}",
          "result c2: 12A"
        ])
      })
    )

    it.scopedLive("[M6] sends the tools at tool choice none, and answers a call all the same", () =>
      Effect.gen(function* () {
        const server = yield* provider.serve([Script.call("pick", {}, "c1"), "I will not."])
        yield* talks(provider, server, (session) =>
          Effect.gen(function* () {
            const speech = yield* session.send("Hi", { toolChoice: "none" })
            yield* speech.wait
            expect(yield* said(session)).toEqual(["I will not."])
          })
        )
        expectSound(provider, server)
        const choices = server.requests.map(({ body }) => provider.decode(body).toolChoice)
        expect(choices).toEqual(provider.name === "openai" ? ["none", "none"] : ["auto", "auto"])
        expect(talk(provider, server.requests[1]).at(-1)).toBe(
          'result c1: {"error":"Not run: no tools can be called in this reply. Answer in words."}'
        )
      })
    )

    // ------------------------------------------------------------------------------------------------------- failures

    for (const [status, message] of [
      [401, "no such key"],
      [429, "too many requests"],
      [500, "it is us"],
      [529, "overloaded"]
    ] as const) {
      it.scopedLive(`[F7] HTTP ${status} ends the turn with an error, and the session lives on`, () =>
        Effect.gen(function* () {
          const server = yield* provider.serve([Script.httpError(status, message), "Hello."])
          yield* talks(provider, server, (session) =>
            Effect.gen(function* () {
              const { events, until } = yield* log(session)
              const error = yield* failure(session, "Hi")
              expect(error).toMatchObject({ _tag: "HttpResponseError", response: { status } })
              expect(error?.message).toContain(message)
              yield* until("SessionError")
              expect(events.filter((event) => event._tag === "SessionError")).toHaveLength(1)
              expect((yield* session.run("Again")).text).toBe("Hello.")
            })
          )
          expectSound(provider, server)
          expect(talk(provider, server.requests[1])).toEqual(["user: Hi", "user: Again"])
        })
      )
    }

    it.scopedLive("[F7] an error event in the middle of a stream: what was said counts, its message is told", () =>
      Effect.gen(function* () {
        const server = yield* provider.serve([
          [
            "Let me look.",
            Script.call("pick", {}, "c1"),
            Script.errorEvent(
              provider.name === "openai" ? "server_error" : "overloaded_error",
              "the machine room is wet"
            )
          ],
          "Hello."
        ])
        yield* talks(provider, server, (session) =>
          Effect.gen(function* () {
            const { events, until } = yield* log(session)
            expect((yield* failure(session, "Hi"))?.message).toContain("the machine room is wet")
            yield* until("SessionError")
            expect(events.flatMap((event) => (event._tag === "SessionError" ? [event.error.message] : []))).toEqual([
              expect.stringContaining("the machine room is wet")
            ])
            yield* until("ToolCallEnded")
            expect((yield* session.run("Again")).text).toBe("Hello.")
          })
        )
        expectSound(provider, server)
        expect(talk(provider, server.requests[1])).toEqual([
          "user: Hi",
          "assistant: Let me look.",
          "call c1: pick {}",
          "result c1: 12A",
          "user: Again"
        ])
      })
    )

    it.scopedLive("[F7] a connection that breaks: what was said counts, and the session lives on", () =>
      Effect.gen(function* () {
        const server = yield* provider.serve([["Let me look.", Script.drop], "Hello."])
        yield* talks(provider, server, (session) =>
          Effect.gen(function* () {
            expect(yield* failure(session, "Hi")).toMatchObject({ _tag: "HttpResponseError" })
            expect((yield* session.run("Again")).text).toBe("Hello.")
          })
        )
        expectSound(provider, server)
        expect(talk(provider, server.requests[1])).toEqual(["user: Hi", "assistant: Let me look.", "user: Again"])
      })
    )

    it.scopedLive("[F7] a stream that ends in good order before the answer does is a failure, not an answer", () =>
      Effect.gen(function* () {
        const server = yield* provider.serve([["Let me look.", Script.cut], [Script.cut], "Hello."])
        yield* talks(provider, server, (session) =>
          Effect.gen(function* () {
            expect((yield* failure(session, "Hi"))?.message).toContain("ended before the answer was complete")
            expect((yield* failure(session, "And now?"))?.message).toContain("ended before the answer was complete")
            expect((yield* session.run("Again")).text).toBe("Hello.")
          })
        )
        expectSound(provider, server)
      })
    )

    it.scopedLive("[F3] a stream that stalls is left when the user goes on, and its connection is closed", () =>
      Effect.gen(function* () {
        const server = yield* provider.serve([["Let me look.", Script.stall], "Hello."])
        yield* talks(provider, server, (session) =>
          Effect.gen(function* () {
            const { until } = yield* log(session)
            yield* session.send("Hi")
            yield* until("AgentStateChanged", 2)
            expect((yield* session.run("Again")).text).toBe("Hello.")
          })
        )
        expectSound(provider, server)
        yield* Effect.yieldNow().pipe(Effect.repeat({ until: () => server.open() === 0 }))
        expect(talk(provider, server.requests[1])).toEqual(["user: Hi", "assistant: Let me look.", "user: Again"])
      })
    )

    it.scopedLive("429 with retry-after: an HttpClient that asks again makes one turn of it", () =>
      Effect.gen(function* () {
        const busy = Script.httpError(429, "too many requests", { "retry-after": "0" })
        const server = yield* provider.serve([
          busy,
          Script.httpError(529, "overloaded", { "retry-after": "0" }),
          "Hello."
        ])
        yield* talks(
          provider,
          server,
          (session) => Effect.map(session.run("Hi"), ({ text }) => expect(text).toBe("Hello.")),
          { transformClient: retrying() }
        )
        expectSound(provider, server)
        expect(server.requests.map(({ status }) => status)).toEqual([429, 529, 200])
        expect(new Set(server.requests.map(({ bytes }) => bytes.toString("utf8"))).size).toBe(1)
      })
    )

    it.scopedLive("[T3] arguments that are not JSON: the step is asked for once more", () =>
      Effect.gen(function* () {
        const server = yield* provider.serve([
          ["Let me look.", Script.rawCall("weather", '{"city": "Oslo', "c1")],
          Script.call("weather", { city: "Oslo" }, "c2"),
          "Four degrees."
        ])
        yield* talks(provider, server, (session) =>
          Effect.map(session.run("Look"), ({ text }) => expect(text).toBe("Four degrees."))
        )
        expectSound(provider, server)
        expect(talk(provider, server.requests[2]).slice(-2)).toEqual([
          'call c2: weather {"city":"Oslo"}',
          'result c2: {"celsius":4}'
        ])
      })
    )

    it.scopedLive("[T3] [F7] arguments that are not JSON twice: the turn ends with the error", () =>
      Effect.gen(function* () {
        const broken = Script.rawCall("weather", "{", "c1")
        const server = yield* provider.serve([broken, broken, "Hello."])
        yield* talks(provider, server, (session) =>
          Effect.gen(function* () {
            expect(yield* failure(session, "Look")).toMatchObject({ _tag: "MalformedOutput" })
            expect((yield* session.run("Again")).text).toBe("Hello.")
          })
        )
        expectSound(provider, server)
        expect(talk(provider, server.requests[2])).toEqual(["user: Look", "user: Again"])
      })
    )

    it.scopedLive("[T3] [T4] wrong arguments and unknown tools are answered, and the model goes on", () =>
      Effect.gen(function* () {
        const server = yield* provider.serve([
          [Script.call("weather", { town: "Oslo" }, "c1"), Script.call("pick", {}, "c2")],
          ["Well.", Script.call("wheather", { city: "Oslo" }, "c3")],
          "Never mind."
        ])
        yield* talks(provider, server, (session) =>
          Effect.map(session.run("Look"), ({ text }) => expect(text).toBe("Never mind."))
        )
        expectSound(provider, server)
        expect(talk(provider, server.requests[2]).slice(1)).toEqual([
          'call c1: weather {"town":"Oslo"}',
          "call c2: pick {}",
          expect.stringMatching(/^result c1: .*Invalid arguments for weather: city/),
          "result c2: 12A",
          "assistant: Well.",
          'call c3: wheather {"city":"Oslo"}',
          'result c3: {"error":"There is no tool \\"wheather\\". The tools are: weather, pick, broken."}'
        ])
      })
    )

    // ----------------------------------------------------------------------------------------- parts of conversations

    it.scopedLive("[M2] [M7] a view that cuts reasoning away leaves no item of the provider that needs it", () =>
      Effect.gen(function* () {
        const view = (keep: number) =>
          Layer.succeed(ChatContext.ModelView, ({ items }: ChatContext.ChatContext) => ({ items: items.slice(-keep) }))
        for (const keep of [1, 2, 3, 4, 5, 6, 7]) {
          yield* Effect.gen(function* () {
            const server = yield* provider.serve([
              [
                Script.reasoning("Two calls."),
                Script.call("pick", {}, "c1"),
                Script.call("weather", { city: "Oslo" }, "c2")
              ],
              [Script.reasoning("All there."), "Seat 12A, four degrees."],
              [Script.reasoning("Hm."), "You are welcome."],
              [Script.reasoning("Hm."), "Bye."]
            ])
            yield* talks(
              provider,
              server,
              (session) =>
                Effect.forEach(["Look", "Thanks", "Bye"], (text) => Effect.exit(session.run(text)), { discard: true }),
              { reasoning: true }
            ).pipe(Effect.provide(view(keep)))
            // a view may leave the thinking of a tool loop out, which is the user's own decision
            const cut = server.violations.filter(
              (violation) => !/must start with a thinking block|cannot be modified/.test(violation)
            )
            expect(cut).toEqual([])
          }).pipe(Effect.scoped)
        }
      })
    )

    it.scopedLive("[M2] [F3] reasoning whose text was never heard is not sent, nor what would need it", () =>
      Effect.gen(function* () {
        const server = yield* provider.serve([
          [Script.reasoning("Hm."), "Let me look.", Script.call("pick", {}, "c1"), Script.stall],
          [Script.reasoning("Hm."), "Fine."]
        ])
        const playing = yield* Deferred.make<void>()
        const mute = Layer.succeed(AgentOutput.AgentOutput, {
          play: () => Effect.zipRight(Deferred.succeed(playing, undefined), Effect.never)
        })
        yield* talks(
          provider,
          server,
          (session) =>
            Effect.gen(function* () {
              const { until } = yield* log(session)
              yield* session.send("Look")
              yield* Deferred.await(playing)
              yield* until("ToolCallEnded")
              yield* session.send("Never mind")
              yield* until("SpeechEnded")
              yield* Effect.yieldNow().pipe(Effect.repeat({ until: () => server.requests.length === 2 }))
            }),
          { reasoning: true }
        ).pipe(Effect.provide(mute))
        // Anthropic may want the thinking of this turn all the same: see docs/providers.md
        if (provider.name === "openai") expect(server.violations).toEqual([])
        expect(talk(provider, server.requests[1])).toEqual([
          "user: Look",
          "call c1: pick {}",
          "result c1: 12A",
          "user: Never mind"
        ])
      })
    )

    it.scopedLive("[M3] goes on with a conversation from elsewhere: strange ids, open calls, the assistant first", () =>
      Effect.gen(function* () {
        const server = yield* provider.serve(["Hello again."])
        const long = `functions.book:0/${"x".repeat(80)}`
        const at = { createdAt: 0 }
        const history: ChatContext.ChatContext = {
          items: [
            { _tag: "Message", id: "1", role: "assistant", text: "Welcome.", interrupted: false, ...at },
            { _tag: "FunctionCall", id: "2", callId: long, name: "pick", arguments: {}, ...at },
            { _tag: "FunctionCall", id: "3", callId: `${long}y`, name: "pick", arguments: {}, ...at },
            { _tag: "FunctionCallOutput", id: "4", callId: long, name: "pick", output: "12A", isError: false, ...at },
            { _tag: "Message", id: "5", role: "assistant", text: "Bye.", interrupted: false, ...at }
          ]
        }
        yield* AgentSession.make({ agent: Looker, history }).pipe(
          Effect.flatMap((session) => session.run("Hi")),
          Effect.scoped,
          Effect.provide(Layer.merge(LookLive, provider.model(server)))
        )
        expectSound(provider, server)
        const spoken = talk(provider, server.requests[0]).filter((line) => line !== "note")
        expect(spoken).toEqual([
          "assistant: Welcome.",
          expect.stringMatching(/^call functions_book_0_x+_\w+: pick {}$/),
          expect.stringMatching(/^call functions_book_0_x+_\w+: pick {}$/),
          expect.stringMatching(/^result functions_book_0_x+_\w+: 12A$/),
          expect.stringMatching(/^result functions_book_0_x+_\w+: .*not known/),
          "assistant: Bye.",
          "user: Hi"
        ])
        expect(spoken[1]?.split(": ")[0]).toBe(`call ${spoken[3]?.split(": ")[0]?.slice("result ".length)}`)
      })
    )

    it.scopedLive("[M2] a report in the middle of a tool loop is sent as the provider wants it", () =>
      Effect.gen(function* () {
        const think = Script.reasoning("Hm.")
        const server = yield* provider.serve([
          [think, Script.call("book", booking("Oslo"), "c1")],
          [think, "I am on it."],
          [think, Script.call("pick", {}, "c2")],
          [think, "Seat 12A; and it is booked."],
          [think, "It is booked, as I said."]
        ])
        const [go, picked] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
        const Both = Toolkit.merge(Booking, Toolkit.make(Pick))
        const BothLive = Both.toLayer({
          book: () => Effect.as(Effect.zipRight(RunContext.update("Searching."), Deferred.await(go)), "Seat 12A."),
          pick: () => Effect.as(Deferred.await(picked), "12A")
        })
        yield* Effect.gen(function* () {
          const session = yield* AgentSession.make({
            agent: Agent.make("both", { instructions: "You do both.", tools: [Both] })
          })
          const { events, until } = yield* log(session)
          yield* (yield* session.send("Book a flight to Oslo")).wait
          const speech = yield* session.send("Pick a seat")
          yield* until("ToolCallStarted", 2)
          yield* Deferred.succeed(go, undefined)
          yield* until("ToolCallEnded")
          yield* Deferred.succeed(picked, undefined)
          yield* speech.wait
          yield* until("ReplyEnded")
          expect(events.filter((event) => event._tag === "SessionError")).toEqual([])
        }).pipe(Effect.scoped, Effect.provide(Layer.merge(BothLive, provider.model(server, { reasoning: true }))))
        expectSound(provider, server)
      })
    )

    // ------------------------------------------------------------------------------------------------ usage and caches

    it.scopedLive("[C3] what was sent once is sent again byte by byte, and is read from the provider's cache", () =>
      Effect.gen(function* () {
        const server = yield* provider.serve([
          Script.call("weather", { city: "Oslo" }),
          "Four degrees.",
          Script.call("weather", { city: "Rome" }),
          "Four, too."
        ])
        const usage: Array<any> = []
        const spy = Layer.map(provider.model(server), (context) => {
          const model: LanguageModel.Service = Context.unsafeGet(context, LanguageModel.LanguageModel)
          return Context.add(context, LanguageModel.LanguageModel, {
            ...model,
            streamText: (options: any) =>
              (model.streamText(options) as Stream.Stream<any, any, any>).pipe(
                Stream.tap((part) => Effect.sync(() => part.type === "finish" && usage.push(part.usage)))
              )
          } as any)
        })
        yield* Effect.flatMap(AgentSession.make({ agent: Looker }), (session) =>
          Effect.zipRight(session.run("And in Oslo?"), session.run("And in Rome?"))
        ).pipe(Effect.scoped, Effect.provide(Layer.merge(LookLive, spy)))
        expectSound(provider, server)
        const conversations = server.requests.map(({ body }) =>
          provider.conversation(body).map((item) => JSON.stringify(item))
        )
        for (const [i, conversation] of conversations.entries()) {
          expect(conversation.slice(0, conversations[i - 1]?.length ?? 0)).toEqual(conversations[i - 1] ?? [])
        }
        expect(usage).toHaveLength(4)
        for (const { inputTokens, outputTokens } of usage) {
          expect(inputTokens).toBeGreaterThan(0)
          expect(outputTokens).toBeGreaterThan(0)
        }
        if (provider.name === "openai") {
          const cached = usage.map(({ cachedInputTokens }) => cachedInputTokens)
          expect(cached).toEqual([...cached].sort((a, b) => a - b))
          expect(cached[3]).toBeGreaterThan(usage[2].inputTokens - 10)
        }
      })
    )
  })
}

// -------------------------------------------------------------------- what docs/providers.md says does not work, as it is

describe("what does not work", () => {
  it.scopedLive("OpenAI: response.failed without an error event is taken for an answer without words", () =>
    Effect.gen(function* () {
      const { openai } = Providers
      const failed = {
        type: "response.failed",
        sequence_number: 2,
        response: {
          id: "resp_1",
          object: "response",
          created_at: 1,
          status: "failed",
          error: { code: "server_error", message: "it is us" },
          incomplete_details: null,
          instructions: null,
          model: "gpt-5-mini",
          output: [],
          parallel_tool_calls: true,
          temperature: 1,
          tool_choice: "auto",
          tools: [],
          top_p: 1,
          metadata: {}
        }
      }
      const server = yield* openai.serve([[Script.event(failed), Script.cut]])
      yield* talks(openai, server, (session) =>
        Effect.gen(function* () {
          expect(yield* failure(session, "Hi")).toBeUndefined()
          expect(yield* said(session)).toEqual([])
        })
      )
    })
  )

  it.scopedLive("Anthropic: an event that the package does not know fails the step, which is asked for once more", () =>
    Effect.gen(function* () {
      const { anthropic } = Providers
      const server = yield* anthropic.serve([[Script.event({ type: "content_block_news" }), "Hello."], "Hello again."])
      yield* talks(anthropic, server, (session) =>
        Effect.map(session.run("Hi"), ({ text }) => expect(text).toBe("Hello again."))
      )
      expect(server.requests).toHaveLength(2)
    })
  )

  it.scopedLive("OpenAI: an event that the package does not know is skipped", () =>
    Effect.gen(function* () {
      const { openai } = Providers
      const server = yield* openai.serve([[Script.event({ type: "keepalive", sequence_number: 2 }), "Hello."]])
      yield* talks(openai, server, (session) =>
        Effect.map(session.run("Hi"), ({ text }) => expect(text).toBe("Hello."))
      )
      expect(server.requests).toHaveLength(1)
    })
  )
})

// ------------------------------------------------------------------------------------------------- examples/providers.ts

describe("examples/providers.ts", () => {
  const config = (provider: Providers.Provider, server: { readonly url: string }) =>
    ConfigProvider.fromMap(
      new Map([
        [`${provider.name.toUpperCase()}_API_KEY`, "sk-test"],
        [`${provider.name.toUpperCase()}_BASE_URL`, server.url]
      ])
    )
  /** Two turns with a tool, through a model of the example. */
  const converse = (model: Layer.Layer<any, any, any>, client: Layer.Layer<any, any, any>) =>
    Effect.flatMap(AgentSession.make({ agent: Looker }), (session) =>
      Effect.zipRight(session.run("Look"), session.run("Thanks"))
    ).pipe(
      Effect.scoped,
      Effect.provide(
        Layer.merge(LookLive, model.pipe(Layer.provide(client), Layer.provide(NodeHttpClient.layerUndici)))
      )
    ) as Effect.Effect<AgentSession.RunResult, any>
  const script = [
    [Script.reasoning("Hm."), Script.call("pick", {}, "c1")],
    [Script.reasoning("Hm."), "Seat 12A."],
    [Script.reasoning("Hm."), "You are welcome."]
  ]

  it.scopedLive("Gpt stores nothing and gives its reasoning back encrypted", () =>
    Effect.gen(function* () {
      const { openai } = Providers
      const server = yield* openai.serve(script)
      yield* Effect.withConfigProvider(converse(Examples.Gpt, Examples.OpenAi), config(openai, server))
      expectSound(openai, server)
      expect(server.requests[2]?.body).toMatchObject({ store: false, reasoning: { effort: "low" } })
      const sent = server.requests[2]?.body.input.filter((item: any) => item.type === "reasoning")
      expect(sent).toHaveLength(2)
      for (const item of sent) expect(item.encrypted_content).toMatch(/^gAAAA-complete/)
    })
  )

  it.scopedLive("Claude thinks, and gives its thinking back signed", () =>
    Effect.gen(function* () {
      const { anthropic } = Providers
      const server = yield* anthropic.serve(script)
      yield* Effect.withConfigProvider(converse(Examples.Claude, Examples.Anthropic), config(anthropic, server))
      expectSound(anthropic, server)
      const sent = server.requests[2]?.body.messages.flatMap((message: any) => message.content)
      expect(sent.filter((block: any) => block.type === "thinking")).toHaveLength(2)
    })
  )

  it.scopedLive("CachedClaude reads what it has sent before from the cache", () =>
    Effect.gen(function* () {
      const { anthropic } = Providers
      const server = yield* anthropic.serve(script)
      const read: Array<number> = []
      const spied = Layer.map(Examples.CachedClaude, (context: Context.Context<any>) => {
        const model = Context.get(context, LanguageModel.LanguageModel) as LanguageModel.Service
        const streamText = (options: any) =>
          (model.streamText(options) as Stream.Stream<any, any, any>).pipe(
            Stream.tap((part) =>
              Effect.sync(() => part.type === "finish" && read.push(part.usage.cachedInputTokens ?? 0))
            )
          )
        return Context.add(context, LanguageModel.LanguageModel, { ...model, streamText } as any)
      })
      yield* Effect.withConfigProvider(converse(spied, Examples.Anthropic), config(anthropic, server))
      expectSound(anthropic, server)
      expect(server.requests[2]?.body.system).toMatchObject([{ cache_control: { type: "ephemeral" } }])
      expect(read).toEqual([...read].sort((a, b) => a - b))
      expect(read[2]).toBeGreaterThan(read[1] as number)
      expect(read[1]).toBeGreaterThan(0)
    })
  )

  it.scopedLive("[M6] Named: a model without a name of its own is treated as its provider wants it", () =>
    Effect.gen(function* () {
      const { anthropic } = Providers
      const server = yield* anthropic.serve(script)
      const session = Effect.flatMap(AgentSession.make({ agent: Looker }), (session) =>
        Effect.zipRight(session.run("Look"), session.run("Thanks", { toolChoice: "none" }))
      )
      yield* session.pipe(
        Effect.scoped,
        Effect.provide(Layer.merge(LookLive, Examples.Named)),
        Effect.provide(Layer.provide(Examples.Anthropic, NodeHttpClient.layerUndici)),
        Effect.withConfigProvider(config(anthropic, server))
      )
      expectSound(anthropic, server)
    })
  )

  it.scopedLive("NotStrict takes parameters that strict mode has no schema for", () =>
    Effect.gen(function* () {
      const { openai } = Providers
      const server = yield* openai.serve([Script.call("tag", { tags: { a: "b" } }, "c1"), "Done."])
      const Tag = Toolkit.make(
        AsyncTool.make("tag", {
          parameters: { tags: Schema.Record({ key: Schema.String, value: Schema.String }) },
          success: Schema.String
        })
      )
      const agent = Agent.make("tagger", { instructions: "You tag.", tools: [Tag] })
      const { text } = yield* Effect.flatMap(AgentSession.make({ agent }), (session) => session.run("Tag it")).pipe(
        Effect.scoped,
        Effect.provide(Tag.toLayer({ tag: ({ tags }) => Effect.succeed(JSON.stringify(tags)) })),
        Effect.provide(Examples.NotStrict),
        Effect.provide(Layer.provide(Examples.OpenAi, NodeHttpClient.layerUndici)),
        Effect.withConfigProvider(config(openai, server))
      )
      expect(text).toBe("Done.")
      expectSound(openai, server)
      expect(talk(openai, server.requests[1]).at(-1)).toBe('result c1: {"a":"b"}')
    })
  )

  it.effect("retrying waits as long as it is asked to, and not too long", () =>
    Effect.gen(function* () {
      const asked: Array<number> = []
      const answers = [
        new Response("", { status: 429, headers: { "retry-after": "7" } }),
        new Response("", { status: 503 }),
        new Response("", { status: 529, headers: { "retry-after": new Date(20_000).toUTCString() } }),
        new Response("", { status: 429, headers: { "retry-after": "3600" } })
      ]
      const client = HttpClient.make((request) =>
        Effect.map(Clock.currentTimeMillis, (now) => {
          asked.push(now)
          return HttpClientResponse.fromWeb(request, answers[asked.length - 1] ?? new Response(""))
        })
      )
      const fiber = yield* Effect.fork(retrying({ times: 9 })(client).get("http://localhost/"))
      yield* TestClock.adjust("1 hour")
      const response = yield* Fiber.join(fiber)
      expect(asked).toEqual([0, 7_000, 8_000, 20_000])
      // an hour is too long: the turn fails with this, and the user is told now
      expect(response.status).toBe(429)
    })
  )
})
