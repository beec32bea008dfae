/**
 * Four calls run when their agent leaves; each has another fate. Run it:
 *
 *     node --import tsx examples/scopes.ts
 *
 * The model is scripted (no key, no network) and the time is virtual; everything else is as in production.
 * docs/scopes.md explains what happens here.
 */
import { Toolkit } from "@effect/ai"
import { Console, Context, type Duration, Effect, Layer, Schema } from "effect"
import { Agent, AgentSession, AsyncTool, AsyncToolset, RunContext } from "effect-meantime"
import { ScriptedModel, TestSession } from "effect-meantime/testing"
import * as Model from "./shared/model.js"
import * as Transcript from "./shared/transcript.js"

// --- tools ------------------------------------------------------------------------------------------------------------

const Book = AsyncTool.make("book", { success: Schema.String, allowCancellation: true })
const Search = AsyncTool.make("search", { success: Schema.String, allowCancellation: true })
const Pay = AsyncTool.make("pay", { success: Schema.String })
const Watch = AsyncTool.make("watch", { success: Schema.String, allowCancellation: true, onHandoff: "promote" })
const Leave = AsyncTool.make("leave")

const OfSession = Toolkit.make(Book)
const OfAgent = Toolkit.make(Search, Pay, Watch, Leave)

/** A resource of the agent: open as long as a call of the agent may need it. */
class Rates extends Context.Tag("Rates")<Rates, { readonly euros: number }>() {
  static readonly layer = Layer.scoped(
    Rates,
    Effect.acquireRelease(Effect.succeed({ euros: 180 }), () =>
      Effect.delay(Console.log("          (the rates of the first agent are released)"), "1 second")
    )
  )
}

const work = (takes: Duration.DurationInput, result: string) =>
  RunContext.update("at work").pipe(Effect.zipRight(Effect.sleep(takes)), Effect.as(result))

const OfSessionLive = OfSession.toLayer({ book: () => work("10 seconds", "booked") })
const OfAgentLive = OfAgent.toLayer(
  Effect.map(Rates, ({ euros }) => ({
    search: () => work("20 seconds", "found"),
    pay: () => work("20 seconds", `paid ${euros} euros`),
    watch: () => work("30 seconds", "cheaper now"),
    leave: () => RunContext.handoff(Second)
  }))
)

// --- scopes -----------------------------------------------------------------------------------------------------------

// On the session, a toolset survives hand-offs; on an agent it would end with the agent.
const bookings = AsyncToolset.make("bookings", OfSession)

const First = Agent.make("first", { instructions: "You start things.", tools: [OfAgent] }).pipe(
  // what is provided first is the innermost: the handlers need the rates, which need nothing
  Agent.provide(OfAgentLive),
  Agent.provide(Rates.layer)
)
const Second: Agent.Agent<never> = Agent.make("second", {
  instructions: "You finish things.",
  onEnter: AgentSession.say("I am taking over.")
})

// --- the conversation -------------------------------------------------------------------------------------------------

export const script: ScriptedModel.Script = [
  ["book", "search", "pay", "watch"].map((name) => ScriptedModel.toolCall(name)),
  "All four are under way.",
  ScriptedModel.toolCall("leave"),
  "The booking is done.",
  "Yes, 180 euros.",
  "It has become cheaper."
]

export const program = Effect.gen(function* () {
  const { session } = yield* TestSession.make({ agent: First, tools: [bookings] })
  yield* Transcript.print(session)
  yield* session.send("Start everything.")
  yield* TestSession.advance("5 seconds")
  yield* session.send("Let somebody else go on.")
  yield* TestSession.advance("20 seconds")
  yield* session.send("Has it been paid?")
  yield* TestSession.advance("10 seconds")
}).pipe(Effect.scoped, Effect.provide(Layer.merge(OfSessionLive, Model.layer(script))))

Transcript.main(import.meta.url, program)
