/**
 * A tool that works for a day, with hourly updates, in milliseconds. Run it:
 *
 *     node --import tsx examples/day-long-job.ts
 *
 * The model follows a rule (no key, no network). All time in the library is that of Effect's `Clock`: under a
 * `TestClock` the day passes as fast as the program can go, and is the same day each time.
 */
import { Toolkit } from "@effect/ai"
import { Clock, Console, Duration, Effect, Layer, Schema, TestServices } from "effect"
import { Agent, AsyncTool, RunContext } from "effect-meantime"
import { ScriptedModel, TestSession } from "effect-meantime/testing"
import * as Model from "./shared/model.js"
import * as Transcript from "./shared/transcript.js"

// --- the tool --------------------------------------------------------------------------------------------------------

const Migrate = AsyncTool.make("migrate", {
  description: "Moves the archive to the new store.",
  success: Schema.String,
  allowCancellation: true
})
interface Moved {
  readonly moved: number
  readonly of: number
}
const Archive = Toolkit.make(Migrate)
export const ArchiveLive = Archive.toLayer({
  migrate: () =>
    Effect.gen(function* () {
      yield* RunContext.update("Moving 2400 boxes, 100 an hour.")
      for (let hour = 1; hour < 24; hour++) {
        yield* Effect.sleep("1 hour")
        // Each hour the model gets to know; the user is told every sixth hour only.
        const moved: Moved = { moved: hour * 100, of: 2400 }
        yield* RunContext.update(moved, { delivery: hour % 6 === 0 ? "when-idle" : "silent" })
      }
      yield* Effect.sleep("1 hour")
      return "All 2400 boxes are in the new store."
    })
})

export const Archivist = Agent.make("archive", { instructions: "You look after an archive.", tools: [Archive] })

// --- the conversation ------------------------------------------------------------------------------------------------

/** Asks for the job once, then says what it was told last about it. */
export const script: ScriptedModel.Script = (request) => {
  const latest = ScriptedModel.toolResults(request).at(-1)?.result as undefined | string | Moved
  if (latest === undefined) return ScriptedModel.toolCall("migrate")
  if (typeof latest !== "string") return `So far ${latest.moved} of ${latest.of} boxes.`
  return latest.startsWith("All") ? latest : "That takes a day. I will keep you posted."
}

const realTime = TestServices.provideLive(Clock.currentTimeMillis)

export const program = Effect.gen(function* () {
  const [started, startedReally] = [yield* Clock.currentTimeMillis, yield* realTime]

  const { session } = yield* TestSession.make({ agent: Archivist })
  yield* Transcript.print(session)
  yield* session.send("Please move the archive.")
  yield* TestSession.advance("15.5 hours")
  yield* session.send("How far is it?") // the hourly updates are in the conversation, spoken of or not
  yield* TestSession.advance("8.5 hours")

  const hours = Duration.toHours((yield* Clock.currentTimeMillis) - started)
  yield* Console.log(`${hours} hours of conversation took ${(yield* realTime) - startedReally} ms.`)
}).pipe(Effect.scoped, Effect.provide(Layer.merge(ArchiveLive, Model.layer(script))))

Transcript.main(import.meta.url, program)
