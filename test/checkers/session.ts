/**
 * A few turns of a session behind a given history, with whatever model is there.
 */
import { Tool, Toolkit } from "@effect/ai"
import { Effect, Option, Schema } from "effect"
import { Agent, AgentSession, type ChatContext } from "effect-meantime"
import { silent } from "../support/requests.js"
import type { Talk } from "./histories.js"

const Look = Tool.make("look", { description: "Looks.", parameters: { at: Schema.String }, success: Schema.Unknown })
const Looks = Toolkit.make(Look)

/** Says what there is to say and calls what there is to call; gives the errors that turns ended with. */
export const talkTo = ({ given, hasTools, instructions, note, result, says }: Talk) =>
  Effect.gen(function* () {
    const agent = Agent.make("a", { instructions, tools: hasTools ? [Looks] : [] })
    const history = { items: given.items as unknown as ChatContext.ChatContext["items"] }
    const session = yield* AgentSession.make({ agent, history })
    const errors: Array<unknown> = []
    const speeches = [
      session.send(says[0] as string),
      session.generateReply({ instructions: note }),
      session.send(says[1] as string)
    ]
    for (const begin of speeches) {
      const speech = yield* begin
      yield* speech.wait
      const error = yield* speech.error
      if (Option.isSome(error)) errors.push(error.value)
    }
    const { items } = yield* session.history
    return { errors, items }
  }).pipe(Effect.scoped, Effect.provide(Looks.toLayer({ look: () => Effect.succeed(result) })), Effect.provide(silent))
