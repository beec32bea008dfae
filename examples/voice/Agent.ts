/**
 * The agent: a travel desk. It looks for flights in the background, and tells the result once nobody speaks. Without a
 * key its model follows a few rules; a provider's takes its place if there is one.
 */
import { type LanguageModel, Toolkit } from "@effect/ai"
import { Context, Effect, type Layer, Schema } from "effect"
import { Agent, AgentSession, AsyncTool, RunContext } from "effect-meantime"
import { real, Settings } from "../demo/Providers.js"
import * as Offline from "../shared/Offline.js"

/** What the user can say, as the recogniser is told it. */
export const grammar = `#JSGF V1.0;
grammar desk;
public <said> = book a flight to <city> [please] | how is the weather in <city> | okay | stop | thank you ;
<city> = oslo | rome | tokyo | paris | london ;
`

/** How long it takes to find a flight. */
export class Airline extends Context.Tag("Airline")<Airline, { readonly search: Effect.Effect<void> }>() {}

const BookFlight = AsyncTool.make("book_flight", {
  description: "Books a flight to a city.",
  parameters: { city: Schema.String },
  success: Schema.String
})
const Desk = Toolkit.make(BookFlight)

const DeskLive = Desk.toLayer(
  Effect.gen(function* () {
    const airline = yield* Airline
    return {
      book_flight: ({ city }) =>
        Effect.gen(function* () {
          yield* RunContext.update(`I am looking for a flight to ${city}.`)
          yield* airline.search
          return `Your flight to ${city} is booked. It leaves at nine.`
        })
    }
  })
)

export const agent = Agent.make("desk", {
  instructions:
    "You are a travel desk on the telephone. You book flights with your tool, and talk about the weather as if you knew it. " +
    "Say little, in whole sentences, without markup.",
  tools: [Desk],
  onEnter: AgentSession.generateReply({ instructions: "Greet the user." })
}).pipe(Agent.provide(DeskLive))

export const weather = (city: string): string =>
  `In ${city} it is warm and sunny today. A light wind comes from the west. Tomorrow there will be some clouds in the ` +
  "morning, and a little rain in the evening. On Sunday the sun comes back, and it will be the best day of the week."

const place = (text: string, after: RegExp): string => Offline.place(text, after) ?? "Oslo"

const rules: Offline.Rules = {
  greet: () => "Hello, this is the travel desk. How can I help you?",
  hear: ({ text }) => {
    if (/book/.test(text)) return { calls: [["book_flight", { city: place(text, /to (\p{L}+)/u) }]] }
    if (/weather/.test(text)) return weather(place(text, /in (\p{L}+)/u))
    if (/stop/.test(text)) return "All right."
    return /thank/.test(text) ? "You are welcome. Goodbye." : "I did not understand that."
  }
}

/** The model, and what it is called. */
export const model: Effect.Effect<{ readonly name: string; readonly layer: Layer.Layer<LanguageModel.LanguageModel> }> =
  Effect.map(
    Effect.orDie(Settings),
    (settings) =>
      real(settings) ?? {
        name: "a model that follows rules",
        layer: Offline.layer(rules, { thinking: "100 millis", perWord: "10 millis" })
      }
  )
