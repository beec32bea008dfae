/**
 * The whole surface in one program: tools, a task, agents, scopes, layers. It type-checks as it stands; `main` still
 * needs `Flights` and a `LanguageModel`.
 */
import { Toolkit } from "@effect/ai"
import { Context, Effect, Exit, Layer, Option, Schedule, Schema, Stream } from "effect"
import { Agent, AgentSession, AsyncTool, AsyncToolset, DuplicatePolicy, RunContext, ToolPrompts } from "effect-meantime"

class Flights extends Context.Tag("Flights")<
  Flights,
  {
    readonly search: (
      from: string,
      to: string
    ) => Effect.Effect<ReadonlyArray<{ readonly airline: string; readonly price: number }>>
    readonly hold: (airline: string) => Effect.Effect<string>
    readonly release: (hold: string) => Effect.Effect<void>
    readonly book: (hold: string, email: string) => Effect.Effect<string>
  }
>() {}

// A tool is a schema and flags; its handler is an Effect, given later in a Layer.
const BookFlight = AsyncTool.make("book_flight", {
  description: "Book a flight for the user.",
  parameters: { origin: Schema.String, destination: Schema.String, date: Schema.String },
  success: Schema.String,
  onDuplicate: "confirm",
  allowCancellation: true
})
const Weather = AsyncTool.make("weather", {
  description: "Weather at a place.",
  parameters: { city: Schema.String },
  success: Schema.Struct({ celsius: Schema.Number }),
  onDuplicate: "reject",
  duplicateScope: "name_and_args",
  timeout: "20 seconds"
})
const Travel = Toolkit.make(BookFlight, Weather)

const GetEmail = Agent.task("get_email", {
  instructions: "Ask for the user's e-mail address, then complete.",
  result: Schema.Struct({ email: Schema.String }),
  onEnter: AgentSession.say("Which e-mail address should I use?")
})

const TravelLive = Travel.toLayer(
  Effect.gen(function* () {
    const flights = yield* Flights
    return {
      book_flight: ({ date, destination, origin }) =>
        Effect.gen(function* () {
          // the first update hands the turn back to the model; this fiber runs on
          yield* RunContext.update(`Searching ${origin} to ${destination} on ${date}.`)
          const found = yield* flights
            .search(origin, destination)
            .pipe(RunContext.withFiller({ say: "Still searching.", delay: "5 seconds" }))
          const best = found[0]
          if (best === undefined) return yield* new AsyncTool.ToolError({ message: "There is no such flight." })
          yield* RunContext.update({ best })
          // interrupted here, the hold is given back: that is all there is to cancellation
          return yield* Effect.scoped(
            Effect.gen(function* () {
              const hold = yield* Effect.acquireRelease(flights.hold(best.airline), (hold, exit) =>
                Exit.isSuccess(exit) ? Effect.void : flights.release(hold)
              )
              const { email } = yield* RunContext.foreground(RunContext.runTask(GetEmail))
              return yield* RunContext.commit(flights.book(hold, email))
            })
          )
        }).pipe(Effect.catchTag("SessionClosed", () => new AsyncTool.StopResponse())),
      weather: ({ city }) => Effect.succeed({ celsius: city.length }).pipe(Effect.retry(Schedule.recurs(2)))
    }
  })
)

const Support = Agent.make("support", {
  instructions: "You help with bookings that went wrong.",
  onEnter: AgentSession.generateReply({ instructions: "Say who you are and ask what went wrong." })
})
const Escalate = AsyncTool.make("escalate", { description: "Hand the user to support." })
const Desk = Toolkit.make(Escalate)
const DeskLive = Desk.toLayer({ escalate: () => RunContext.handoff(Support) })

const booking = AsyncToolset.make("booking", Travel, { maxConcurrency: 4 }).pipe(
  AsyncToolset.provide(ToolPrompts.layer({ update: ({ message }) => `(${message})` }))
)
const TravelAgent = Agent.make("travel", {
  instructions: "You are a travel assistant.",
  tools: [Desk],
  onEnter: AgentSession.generateReply({ instructions: "Greet the user." })
}).pipe(
  Agent.provide(DeskLive),
  Agent.provide(DuplicatePolicy.layer("reject")),
  Agent.provide(ToolPrompts.layer({ replyAtTail: "Tell the user what came in ({callIds})." }))
)

export const program = Effect.gen(function* () {
  const session = yield* AgentSession.AgentSession
  yield* session.events.pipe(
    Stream.runForEach((event) => Effect.log(event._tag)),
    Effect.forkScoped
  )
  const speech = yield* session.send("Book a flight from Oslo to Tokyo on 2027-04-15")
  yield* speech.wait
  const running = yield* session.runningTools
  const first = Option.fromNullable(running[0])
  if (Option.isSome(first)) yield* session.cancelTool(first.value.callId)
  yield* session.waitForIdle
  return (yield* session.history).items
}).pipe(Effect.scoped)

// The travel tools are on the session, so they outlive a hand-off to support.
export const SessionLive = AgentSession.layer({ agent: TravelAgent, tools: [booking] }).pipe(
  Layer.provide(TravelLive),
  Layer.provide(ToolPrompts.layer({ update: "{toolName} says: {message}" }))
)
// what is left to provide: a LanguageModel of any provider, and Flights
export const main = program.pipe(Effect.provide(SessionLive))
