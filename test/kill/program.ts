/**
 * Three durable sessions in a file, whose users ask one thing after another, until the process is killed. What handlers do
 * is written down outside, as the systems that they talk to would know it; and so is what listeners were told.
 *
 *     node program.mjs <file of the sessions> <log> <file that says stop> <where the histories go> <which life it is>
 */
import { appendFileSync, existsSync, readFileSync, writeFileSync } from "node:fs"
import { Tool, Toolkit } from "@effect/ai"
import { Effect, Layer, Schema, Stream } from "effect"
import { Agent, AgentSession, AsyncTool, RunContext } from "effect-meantime"
import { SqliteSessionStorage } from "effect-meantime/sqlite"
import { ScriptedModel } from "effect-meantime/testing"
import { type Deed, sessionIds, toolOf } from "./deeds.js"

const [file = "", log = "", stop = "", out = "", life = ""] = process.argv.slice(2)

const note = (deed: Deed) => Effect.sync(() => appendFileSync(log, `${JSON.stringify({ ...deed, life })}\n`))

// ------------------------------------------------------------------------------------------------------------- tools

const parameters = { id: Schema.String }
const Deliver = AsyncTool.make("deliver", { parameters, success: Schema.String, onRestart: "rerun" })
const Shout = AsyncTool.make("shout", { parameters, success: Schema.String })
const Look = AsyncTool.make("look", { parameters, success: Schema.String }).annotate(Tool.Readonly, true)
const kit = Toolkit.make(Deliver, Shout, Look)

const does = (id: string, what: string) =>
  note({ _tag: "Does", id, what }).pipe(Effect.delay("4 millis"), Effect.as(what), Effect.tap(Effect.sleep("4 millis")))

const handlers = kit.toLayer({
  deliver: ({ id }) =>
    Effect.gen(function* () {
      yield* RunContext.update(`${id} begins`)
      yield* RunContext.step("reserve", does(id, "reserve"))
      yield* RunContext.update(`${id} goes on`)
      yield* RunContext.sleep("rest", "10 millis")
      yield* RunContext.step("pack", does(id, "pack"))
      yield* RunContext.commit(does(id, "commit"))
      yield* RunContext.update(`${id} is on its way`)
      return `${id} is done`
    }),
  shout: ({ id }) =>
    Effect.gen(function* () {
      yield* RunContext.update(`${id} begins`)
      yield* does(id, "shout")
      return `${id} is done`
    }),
  look: ({ id }) => Effect.as(does(id, "look"), `${id} is done`)
})

const model = ScriptedModel.layer((request) => {
  // the session has words of its own for the model, as those of a user
  const id =
    ScriptedModel.userTexts(request)
      .findLast((text) => text.startsWith("Please see to "))
      ?.slice(14) ?? ""
  const isCalled = ScriptedModel.toolCalls(request).some(({ params }) => (params as { readonly id?: string }).id === id)
  return isCalled
    ? `I know of ${id}.`
    : ["Let me see.", ScriptedModel.toolCall(toolOf(id), { id }, { id: `call_${id}` })]
})

const agent = Agent.make("helper", { instructions: "You help.", tools: [kit] })

// ------------------------------------------------------------------------------------------------------------- users

/** The first turn of which it is not known that it is over. */
const firstTurn = (sessionId: string): number => {
  const lines = existsSync(log) ? readFileSync(log, "utf8").split("\n") : []
  return lines.filter((line) => line.includes(`"_tag":"Asked","id":"${sessionId}-`)).length
}

const converse = (sessionId: string) =>
  Effect.gen(function* () {
    const session = yield* AgentSession.make({ id: sessionId, agent })
    yield* session.events.pipe(
      Stream.runForEach((event) => note({ _tag: "Told", sessionId, event })),
      Effect.forkScoped
    )
    for (let n = firstTurn(sessionId); !existsSync(stop); n++) {
      const id = `${sessionId}-${n}`
      // asked again, it is the same turn; what comes next would interrupt it
      const speech = yield* session.send(`Please see to ${id}`, { id })
      yield* speech.wait
      yield* note({ _tag: "Asked", id })
      yield* Effect.sleep(`${5 + ((n * 7) % 5) * 10} millis`)
    }
    do {
      yield* Effect.sleep("20 millis")
      yield* session.waitForIdle
    } while ((yield* session.runningTools).length > 0)
    return [sessionId, (yield* session.history).items] as const
  })

await Effect.forEach(sessionIds, converse, { concurrency: "unbounded" }).pipe(
  Effect.tap((all) => Effect.sync(() => writeFileSync(out, JSON.stringify(Object.fromEntries(all))))),
  Effect.scoped,
  Effect.provide(Layer.mergeAll(handlers, model, SqliteSessionStorage.layer({ file }))),
  Effect.runPromise
)
