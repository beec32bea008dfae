/**
 * What ended calls cost: turns with one call in a session that has ended many, beside one that is young, in interleaved
 * rounds. The model is shown the last 20 items, since what it is shown is not the session's cost.
 */
import { Context, Effect, Layer, Scope } from "effect"
import { AgentSession, ChatContext } from "effect-meantime"
import { handlers, viaScript, worker } from "../contestants/meantime.js"
import { inRounds, type Measured } from "../measure.js"
import * as work from "../work.js"

const view = Layer.succeed(ChatContext.ModelView, ({ items }: ChatContext.ChatContext) => ({ items: items.slice(-20) }))

const talk = (session: AgentSession.Service, turns: number) =>
  Effect.runPromise(
    Effect.repeatN(
      Effect.flatMap(session.send(work.userText), (speech) => speech.wait),
      turns - 1
    )
  )

export const measure = async (options: { readonly calls: number; readonly rounds: number }) => {
  work.setCallsPerTurn(1)
  const open = async () => {
    const scope = Effect.runSync(Scope.make())
    const context = await Effect.runPromise(Layer.buildWithScope(Layer.mergeAll(handlers, viaScript, view), scope))
    return Effect.runPromise(
      Effect.provide(AgentSession.make({ agent: worker }), Context.add(context, Scope.Scope, scope))
    )
  }
  const old = await open()
  for (let i = 0; i < 10; i++) await talk(old, options.calls / 10)
  // a young session is one of at most 1,100 ended calls
  let young = await open()
  let age = 0
  const units = 100
  const measured = await inRounds(
    [
      {
        contestant: "young",
        name: "100 to 1,100 ended calls",
        units,
        run: async () => {
          age += units
          if (age > 1_000) {
            young = await open()
            age = units
            await talk(young, 100)
          }
          await talk(young, units)
        }
      },
      { contestant: "old", name: `${options.calls} ended calls`, units, run: () => talk(old, units) }
    ],
    { warmUp: 2_000, rounds: options.rounds, slice: 300 }
  )
  return measured satisfies ReadonlyArray<Measured>
}
