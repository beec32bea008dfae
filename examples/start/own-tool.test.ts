/** Tests of a tool of one's own: what the model gets, what the user hears, and when. `npx vitest run` */
import { Toolkit } from "@effect/ai"
import { expect, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { Agent, AsyncTool } from "effect-meantime"
import { expectEvents, Outcome, ScriptedModel, stubs, TestSession } from "effect-meantime/testing"

const Book = AsyncTool.make("book", { parameters: { to: Schema.String }, success: Schema.String })
const Tools = Toolkit.make(Book)
const ToolsLive = Tools.toLayer({
  book: ({ to }) => Effect.as(Effect.sleep("10 seconds"), `Seat 12A to ${to}.`)
})
const agent = Agent.make("clerk", { instructions: "You book flights.", tools: [Tools] })
const call = ScriptedModel.toolCall("book", { to: "Oslo" })

it.scoped("books, and says so", () =>
  Effect.gen(function* () {
    const { session } = yield* TestSession.make({ agent })
    const events = yield* expectEvents(session)
    yield* session.send("To Oslo, please.")
    yield* events.skipTo("ToolCallStarted", { call: { name: "book", arguments: { to: "Oslo" } } })
    yield* TestSession.advance("10 seconds")
    yield* events.skipTo("ToolCallEnded", { status: "done", output: "Seat 12A to Oslo." })
    expect(yield* TestSession.said(session)).toEqual(["You have 12A."])
  }).pipe(Effect.provide([ToolsLive, ScriptedModel.layer([call, "You have 12A."])]))
)

it.scoped("says sorry if there is no seat", () =>
  Effect.gen(function* () {
    const { session } = yield* TestSession.make({ agent })
    const { text } = yield* session.run("To Oslo, please.")
    expect(text).toBe("There is no seat, sorry.")
  }).pipe(
    Effect.provide([
      stubs({ book: [Outcome.failure(new AsyncTool.ToolError({ message: "Sold out." }))] }),
      ScriptedModel.layer([call, "There is no seat, sorry."])
    ])
  )
)
