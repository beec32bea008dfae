/**
 * A bank transfer that must not be cut in the middle, and that the user stops at four different moments. Run it:
 *
 *     node --import tsx examples/bank-transfer.ts
 *
 * The model is scripted (no key, no network) and the time is virtual; everything else is as in production.
 */
import { Toolkit } from "@effect/ai"
import { Console, type Duration, Effect, Exit, Option, Schema } from "effect"
import { Agent, AsyncTool, RunContext } from "effect-meantime"
import { ScriptedModel, TestSession } from "effect-meantime/testing"
import * as Model from "./shared/model.js"
import * as Transcript from "./shared/transcript.js"

// --- the tool --------------------------------------------------------------------------------------------------------

const Transfer = AsyncTool.make("transfer", {
  description: "Sends money.",
  parameters: { euros: Schema.Number, to: Schema.String },
  success: Schema.String,
  // without it nobody could cancel: not the model with `cancel_task`, not a hand-off, not a newer call
  allowCancellation: true
})
const Banking = Toolkit.make(Transfer)

/** What the bank does; it takes a while and shows in the transcript. */
const bank = (what: string, takes: Duration.DurationInput = "1 second") =>
  Effect.zipRight(Effect.sleep(takes), RunContext.progress(what))

export const BankingLive = Banking.toLayer({
  transfer: ({ euros, to }) =>
    Effect.gen(function* () {
      yield* RunContext.update(`Sending ${euros} euros to ${to}.`)

      // To cancel a call is to interrupt its fiber. Here that is harmless: nothing has happened yet.
      yield* bank("the limits allow it", "3 seconds")

      return yield* Effect.scoped(
        Effect.gen(function* () {
          // Compensation: however the transfer ends from here on, unless it succeeds the reservation is taken back.
          yield* Effect.acquireRelease(bank(`${euros} euros reserved`), (_, exit) =>
            Exit.isSuccess(exit) ? Effect.void : bank("the reservation is taken back")
          )

          // What the two banks agree upon must not be cut in the middle, or the other one waits for ever. An
          // interruption stays outside until the region has ended; inside, one looks and leaves in good order.
          yield* Effect.uninterruptible(
            Effect.gen(function* () {
              for (const detail of ["the payer", "the payee", "the sum"]) {
                if (yield* RunContext.isCancelled) return yield* bank("the other bank is told to forget it")
                yield* bank(`the other bank knows ${detail}`, "2 seconds")
              }
              // `orCancelled` can be cut even here: it is none as soon as cancellation has been asked for
              const answer = yield* RunContext.orCancelled(bank("the other bank agrees", "5 seconds"))
              if (Option.isNone(answer)) yield* bank("the other bank is told to forget it")
            })
          )

          // Asked to stop before, the fiber never gets here. From here on it is the other way round: who tries to
          // cancel is told that it is too late, and what the transfer ends with is recorded.
          return yield* RunContext.commit(
            Effect.as(bank("the money is booked", "4 seconds"), `${to} has ${euros} euros more.`)
          )
        })
      )
    })
})

export const Teller = Agent.make("bank", { instructions: "You are a bank.", tools: [Banking] })

// --- four conversations ----------------------------------------------------------------------------------------------

const stopped = "I stopped it. Your money is where it was."

const scenes: ReadonlyArray<{
  readonly title: string
  readonly after: Duration.DurationInput
  readonly answers: ReadonlyArray<string>
}> = [
  { title: "before anything has happened", after: "1 second", answers: [stopped] },
  { title: "while the banks talk", after: "7 seconds", answers: [stopped] },
  { title: "while the other bank thinks", after: "12 seconds", answers: [stopped] },
  {
    title: "after the point of no return",
    after: "17 seconds",
    answers: ["That is too late, I am afraid: it is being booked.", "Grete has her 200 euros."]
  }
]

const script = (answers: ReadonlyArray<string>): ReadonlyArray<ScriptedModel.Step> => [
  ScriptedModel.toolCall("transfer", { euros: 200, to: "Grete" }),
  "The money is on its way.",
  // the model gets this tool as soon as one of its tools may be cancelled; it waits until the call has stopped
  ScriptedModel.toolCall("cancel_task", { call_id: "call_1" }),
  ...answers
]
export const scripts = scenes.map(({ answers }) => script(answers))

const converse = ({ after, answers, title }: (typeof scenes)[number]) =>
  Effect.gen(function* () {
    yield* Console.log(`--- "Stop!" ${title}`)
    const { session } = yield* TestSession.make({ agent: Teller })
    yield* Transcript.print(session)
    yield* session.send("Send 200 euros to Grete.")
    yield* TestSession.advance(after)
    yield* session.send("Stop! That is the wrong Grete.")
    yield* TestSession.advance("10 seconds")
  }).pipe(Effect.scoped, Effect.provide(BankingLive), Effect.provide(Model.layer(script(answers))))

export const program = Effect.forEach(scenes, converse, { discard: true })

Transcript.main(import.meta.url, program)
