/** What `docs/restart.md` says of one machine: a life of a session, of which the next one knows. `scripts/package.ts` runs it. */
import { Effect, Layer } from "effect"
import { Agent, AgentSession } from "effect-meantime"
import { SqliteSessionStorage } from "effect-meantime/sqlite"
import { ScriptedModel } from "effect-meantime/testing"

const [id = "", text = ""] = process.argv.slice(2)

const agent = Agent.make("helper", { instructions: "You help." })

const main = Effect.gen(function* () {
  const session = yield* AgentSession.make({ id: "chat", agent })
  const { text: answer } = yield* session.run(text, { id })
  const { items } = yield* session.history
  return `${items.length}: ${answer}`
}).pipe(
  Effect.scoped,
  Effect.provide(
    Layer.merge(
      SqliteSessionStorage.layer({ file: "sessions.db" }),
      ScriptedModel.layer((request) => `You said: ${ScriptedModel.userTexts(request).join(" ")}`)
    )
  )
)

console.log(await Effect.runPromise(main))
