/**
 * What ended calls cost: heap and CPU time for each call after 1,000, 10,000 and 100,000 calls of one session, with a model
 * that answers at once and a view of the last 20 items.
 *
 *     node --expose-gc --import tsx bench/memory.ts [inline|background] [calls]
 */
import { LanguageModel, type Response, Toolkit } from "@effect/ai"
import { Effect, Layer, Schema, Stream } from "effect"
import { Agent, AgentSession, AsyncTool, ChatContext, RunContext, SessionModel } from "effect-meantime"

const mode = process.argv[2] === "background" ? "background" : "inline"
const limit = Number(process.argv[3] ?? 100_000)
const checkpoints = [100, 1_000, 10_000, 100_000].filter((calls) => calls <= limit)

const Work = AsyncTool.make("work", { parameters: { n: Schema.Number }, success: Schema.Number })
const kit = Toolkit.make(Work)
const handlers = kit.toLayer({
  work: ({ n }) => (mode === "inline" ? Effect.succeed(n) : Effect.as(RunContext.update("at it"), n))
})

let asked = 0
/** A call in answer to the user, a word in answer to anything else. */
const model: SessionModel.Service = {
  stream: ({ prompt, toolChoice }) => {
    const last = prompt.content[prompt.content.length - 1]
    const n = ++asked
    const parts: ReadonlyArray<Response.StreamPartEncoded> =
      last?.role === "user" && toolChoice !== "none"
        ? [{ type: "tool-call", id: `call_${n}`, name: "work", params: { n } }]
        : [
            { type: "text-start", id: "t" },
            { type: "text-delta", id: "t", delta: `Done ${n}.` },
            { type: "text-end", id: "t" }
          ]
    return Stream.fromIterable(parts)
  }
}

const heap = (): number => {
  for (let i = 0; i < 3; i++) globalThis.gc?.()
  return process.memoryUsage().heapUsed
}

const mb = (bytes: number) => (bytes / 2 ** 20).toFixed(2)

const talk = (session: AgentSession.Service, turns: number) => Effect.repeatN(session.run("Work, please"), turns - 1)

/** One session with this many calls: its items, the heap while it was open, and the CPU time of its last calls. */
const measure = (calls: number) =>
  Effect.scoped(
    Effect.gen(function* () {
      const session = yield* AgentSession.make({
        agent: Agent.make("worker", { instructions: "You work.", tools: [kit] })
      })
      const window = Math.min(2_000, calls)
      if (calls > window) yield* talk(session, calls - window)
      const start = process.cpuUsage()
      yield* talk(session, window)
      const used = process.cpuUsage(start)
      const { items } = yield* session.history
      return { items, open: heap(), micros: (used.user + used.system) / window }
    })
  )

const main = Effect.gen(function* () {
  yield* measure(2_000)
  console.log(`${mode} calls, the model sees the last 20 items`)
  console.log("    calls      items  history MB  beyond it MB  cpu us/call")
  for (const calls of checkpoints) {
    const before = heap()
    const { items, micros, open } = yield* measure(calls)
    // a reference of its own, so that the items live and the session does not
    const closed = heap()
    const row = [calls, items.length, mb(closed - before), mb(open - closed), micros.toFixed(0)]
    console.log(row.map((cell, i) => String(cell).padStart([9, 10, 11, 13, 12][i] as number)).join(" "))
  }
}).pipe(
  Effect.provide([
    Layer.succeed(SessionModel.SessionModel, model),
    Layer.succeed(LanguageModel.LanguageModel, {} as LanguageModel.Service),
    Layer.succeed(ChatContext.ModelView, ({ items }: ChatContext.ChatContext) => ({ items: items.slice(-20) })),
    handlers
  ])
)

await Effect.runPromise(main as Effect.Effect<void>)
