/**
 * A tool that needs something from the user half way: it asks for an e-mail address, and goes on with it. Run it:
 *
 *     node --import tsx examples/ask-half-way.ts
 *
 * The model is scripted (no key, no network) and the time is virtual; everything else is as in production.
 */
import { Toolkit } from "@effect/ai"
import { Effect, Layer, Schema } from "effect"
import { Agent, AgentSession, AsyncTool, RunContext } from "effect-meantime"
import { ScriptedModel, TestSession } from "effect-meantime/testing"
import * as Model from "./shared/model.js"
import * as Transcript from "./shared/transcript.js"

// --- the question: a small agent that ends with a typed value --------------------------------------------------------

// The model ends a task with the tool `complete`, whose parameters are these fields. They are checked by the Schema, so
// what comes back is an address, or the model is told what is wrong with it and asks again.
const Email = Schema.String.pipe(Schema.pattern(/^[^@\s]+@[^@\s]+\.[^@\s]+$/)).annotations({
  message: () => "not an e-mail address"
})

const GetEmail = Agent.task("clerk", {
  instructions: "Ask for the user's e-mail address, then complete.",
  result: Schema.Struct({ email: Email }),
  onEnter: AgentSession.say("Which e-mail address shall I send the ticket to?")
})

// --- the tool that asks ----------------------------------------------------------------------------------------------

const BookFlight = AsyncTool.make("book_flight", {
  description: "Books a flight.",
  parameters: { to: Schema.String },
  success: Schema.String
})
const WatchPrice = AsyncTool.make("watch_price", {
  description: "Watches the price of a flight.",
  parameters: { to: Schema.String },
  success: Schema.String
})
const Travel = Toolkit.make(BookFlight, WatchPrice)
export const TravelLive = Travel.toLayer({
  book_flight: ({ to }) =>
    Effect.gen(function* () {
      yield* RunContext.update(`Searching flights to ${to}.`)
      yield* Effect.sleep("5 seconds")
      // `foreground` waits until nobody speaks and then holds the floor: whatever other tools report meanwhile waits
      // until the effect has ended, so that nothing comes between the question and the answer. Inside it the task
      // talks, with the conversation so far in its context; the travel agent is paused, its calls run on.
      const { email } = yield* RunContext.foreground(RunContext.runTask(GetEmail))
      yield* Effect.sleep("5 seconds")
      return `Flight to ${to} booked, the ticket goes to ${email}.`
    }).pipe(
      // the session may close while the question is open: then there is nobody left to tell
      Effect.catchTag("SessionClosed", () => new AsyncTool.StopResponse())
    ),
  watch_price: ({ to }) =>
    Effect.gen(function* () {
      yield* RunContext.update(`Watching the price of flights to ${to}.`)
      yield* Effect.sleep("10 seconds")
      return `Flights to ${to} are 40 euros cheaper than an hour ago.`
    })
})

export const TravelAgent = Agent.make("travel", { instructions: "You are a travel agent.", tools: [Travel] })

// --- the conversation ------------------------------------------------------------------------------------------------

export const script: ScriptedModel.Script = [
  // the travel agent, in one step
  [ScriptedModel.toolCall("book_flight", { to: "Tokyo" }), ScriptedModel.toolCall("watch_price", { to: "Rome" })],
  "I am on both.",
  // the clerk
  ScriptedModel.toolCall("complete", { email: "ada at example" }),
  "Sorry, that was no address. Could you spell it for me?",
  ScriptedModel.toolCall("complete", { email: "ada@example.org" }),
  // the travel agent again: first what had to wait, then the booking
  "Thank you. By the way: flights to Rome are 40 euros cheaper than an hour ago.",
  "Your flight to Tokyo is booked. The ticket goes to ada@example.org."
]

export const program = Effect.gen(function* () {
  const { session } = yield* TestSession.make({ agent: TravelAgent })
  yield* Transcript.print(session)
  yield* session.send("Book a flight to Tokyo, and tell me when Rome gets cheaper.")
  yield* TestSession.advance("8 seconds")
  yield* session.send("ada at example")
  yield* TestSession.advance("4 seconds")
  yield* session.send("ada@example.org")
  yield* TestSession.advance("10 seconds")
}).pipe(Effect.scoped, Effect.provide(Layer.merge(TravelLive, Model.layer(script))))

Transcript.main(import.meta.url, program)
