/**
 * A thousand sessions with ten background calls each, which report every ten minutes for an hour of virtual time; each
 * report is told by a reply. And what an idle session keeps.
 */
import { Toolkit } from "@effect/ai"
import { Clock, Context, Effect, Layer, Schema, Scope } from "effect"
import { Agent, AgentSession, AsyncTool, RunContext } from "effect-meantime"
import { VirtualClock } from "effect-meantime/testing"
import { handlers, viaScript, worker } from "../contestants/meantime.js"
import { heapUsed } from "../measure.js"
import * as work from "../work.js"

const kit = Toolkit.make(AsyncTool.make(work.toolName, { parameters: { n: Schema.Number }, success: Schema.Number }))
const agent = Agent.make("worker", { instructions: work.instructions, tools: [kit] })

let ended = 0
const reporting = kit.toLayer({
  work: ({ n }) =>
    Effect.gen(function* () {
      yield* RunContext.update("at it")
      for (let i = 0; i < 6; i++) {
        yield* Effect.sleep("10 minutes")
        yield* RunContext.update(`report ${i}`)
      }
      ended++
      return n
    })
})

export const hour = async (sessions: number) => {
  work.setCallsPerTurn(10)
  const cpu = process.cpuUsage()
  const wall = performance.now()
  const items = await Effect.runPromise(
    Effect.gen(function* () {
      const opened = yield* Effect.forEach(Array.from({ length: sessions }), () => AgentSession.make({ agent }))
      yield* Effect.forEach(opened, (session) => session.send(work.userText), { discard: true })
      yield* VirtualClock.advance("1 hour")
      const histories = yield* Effect.forEach(opened, (session) => session.history)
      const now = yield* Clock.currentTimeMillis
      if (now !== 3_600_000 || ended !== sessions * 10) throw new Error(`${ended} calls ended, ${now} ms passed`)
      return histories.reduce((sum, { items }) => sum + items.length, 0)
    }).pipe(Effect.scoped, Effect.provide([reporting, viaScript, VirtualClock.layer()]))
  )
  const passed = performance.now() - wall
  const { system, user } = process.cpuUsage(cpu)
  return { sessions, calls: sessions * 10, items, seconds: passed / 1_000, cpuSeconds: (user + system) / 1e6 }
}

/** Bytes for each session: fresh, and after one turn with one call. */
export const idleHeap = async (sessions: number) => {
  work.setCallsPerTurn(1)
  const scope = Effect.runSync(Scope.make())
  const context = await Effect.runPromise(Layer.buildWithScope(Layer.merge(handlers, viaScript), scope))
  const open = (n: number) =>
    Effect.runPromise(
      Effect.forEach(Array.from({ length: n }), () => AgentSession.make({ agent: worker })).pipe(
        Effect.provide(Context.add(context, Scope.Scope, scope))
      )
    )
  const talk = (all: ReadonlyArray<AgentSession.Service>) =>
    Effect.runPromise(
      Effect.forEach(all, (session) => Effect.flatMap(session.send(work.userText), (speech) => speech.wait))
    )
  await talk(await open(50))
  const before = heapUsed()
  const all = await open(sessions)
  const fresh = (heapUsed() - before) / sessions
  await talk(all)
  const used = (heapUsed() - before) / sessions
  return { sessions, fresh, used, alive: all.length }
}
