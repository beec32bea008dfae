/**
 * A travel desk hands a customer to support while a booking works on. Run it:
 *
 *     node --import tsx examples/hand-off.ts
 *
 * The model is scripted (no key, no network) and the time is virtual; everything else is as in production.
 */
import { Toolkit } from "@effect/ai"
import { Effect, Layer, Schema } from "effect"
import { Agent, AgentSession, AsyncTool, AsyncToolset, RunContext } from "effect-meantime"
import { ScriptedModel, TestSession } from "effect-meantime/testing"
import * as Model from "./shared/model.js"
import * as Transcript from "./shared/transcript.js"

// --- the booking tool: half a minute of work ------------------------------------------------------------------------

const Rebook = AsyncTool.make("rebook", {
  description: "Finds another flight for a booking whose flight was cancelled.",
  parameters: { booking: Schema.String },
  success: Schema.String,
  allowCancellation: true
})
const Bookings = Toolkit.make(Rebook)
export const BookingsLive = Bookings.toLayer({
  rebook: ({ booking }) =>
    Effect.gen(function* () {
      // The first update gives the turn back: from here on the conversation and this fiber go on side by side.
      yield* RunContext.update(`Looking for another flight for ${booking}.`)
      yield* Effect.sleep("30 seconds")
      return `${booking} is now on PX 31, tomorrow at 9:10.`
    })
})

// A toolset is a scope of its own. On the session, it belongs to no agent: nobody's leaving ends its calls, although
// they may be cancelled, and whoever is the agent when one of them reports gives the reply.
export const bookings = AsyncToolset.make("bookings", Bookings)

// --- two agents -----------------------------------------------------------------------------------------------------

const Support = Agent.make("support", {
  instructions: "You help with bookings that went wrong.",
  onEnter: AgentSession.generateReply({ instructions: "Say who you are, and what you know already." })
})

// A tool that is the desk's alone: support is not offered it. Its handler ends with the hand-off; what support says
// first is support's `onEnter`.
const Escalate = AsyncTool.make("escalate", { description: "Hands the customer to support." })
const Escalation = Toolkit.make(Escalate)
const EscalationLive = Escalation.toLayer({ escalate: () => RunContext.handoff(Support) })

export const Desk = Agent.make("desk", {
  instructions: "You are a travel desk. Hand complaints to support.",
  tools: [Escalation]
}).pipe(Agent.provide(EscalationLive))

// --- the conversation -----------------------------------------------------------------------------------------------

export const script: ScriptedModel.Script = [
  // the desk
  ScriptedModel.toolCall("rebook", { booking: "AB12" }),
  "I am looking for another flight for you.",
  ["That is one for my colleagues.", ScriptedModel.toolCall("escalate")],
  // support
  "This is support. AB12 was charged twice, to a Visa and to an Amex. Which one shall I refund?",
  "Done: the money is back on your Visa in three days.",
  "And your new flight is booked: PX 31, tomorrow at 9:10."
]

export const program = Effect.gen(function* () {
  const { session } = yield* TestSession.make({ agent: Desk, tools: [bookings] })
  yield* Transcript.print(session)
  yield* session.send("My flight was cancelled! The booking is AB12.")
  yield* TestSession.advance("5 seconds")
  yield* session.send("And you have charged me twice for it.")
  yield* TestSession.advance("10 seconds")
  yield* session.send("The Visa.")
  // the booking tool is still at work, and support has never heard of it
  yield* TestSession.advance("15 seconds")
}).pipe(Effect.scoped, Effect.provide(Layer.merge(BookingsLive, Model.layer(script))))

Transcript.main(import.meta.url, program)
