import { Toolkit } from "@effect/ai"
import { Effect, Schema } from "effect"
import { Agent, AsyncTool, RunContext } from "effect-meantime"

const City = { city: Schema.String }
export const Weather = AsyncTool.make("weather", {
  description: "The weather.",
  parameters: City,
  success: Schema.String
})
const Book = AsyncTool.make("book", {
  description: "Books.",
  parameters: City,
  success: Schema.Struct({ seat: Schema.String }),
  onDuplicate: "confirm",
  allowCancellation: true
})
const kit = Toolkit.make(Weather, Book)

/** An agent with a tool that answers at once, or refuses, and one that reports twice while it works. */
export const Travel = Agent.make("travel", { instructions: "You are a travel agent.", tools: [kit] })

/** What booking waits for before its second report, and before its result. */
export interface Gates {
  readonly found: Effect.Effect<void>
  readonly booked: Effect.Effect<void>
}

export const handlers = ({ booked, found }: Gates) =>
  kit.toLayer({
    weather: ({ city }) =>
      city === "Atlantis"
        ? new AsyncTool.ToolError({ message: "There is no such city." })
        : Effect.succeed(`Sunny in ${city}.`),
    book: ({ city }) =>
      Effect.gen(function* () {
        yield* RunContext.update(`Looking for ${city}.`)
        yield* found
        yield* RunContext.update({ found: 1 })
        yield* booked
        return { seat: "12A" }
      })
  })
