/**
 * From an update to its item in the history, and from a result to the request for the reply that tells it, in an idle
 * session: with few and with many calls running, and with many that have ended.
 */
import { Toolkit } from "@effect/ai"
import { Context, Deferred, Effect, Layer, Schema, Scope, Stream } from "effect"
import { Agent, AgentSession, AsyncTool, ChatContext, RunContext, SessionModel } from "effect-meantime"
import { calls } from "../contestants/effect-ai.js"
import { viaScript } from "../contestants/meantime.js"
import { median } from "../measure.js"
import * as work from "../work.js"

interface Running {
  readonly update: (message: unknown) => Effect.Effect<void>
  readonly end: Deferred.Deferred<number>
}

const kit = Toolkit.make(AsyncTool.make(work.toolName, { parameters: { n: Schema.Number }, success: Schema.Number }))
const agent = Agent.make("worker", { instructions: work.instructions, tools: [kit] })
const view = Layer.succeed(ChatContext.ModelView, ({ items }: ChatContext.ChatContext) => ({ items: items.slice(-20) }))

const open = async (running: number, ended: number) => {
  const all: Array<Running> = []
  let asked: (() => void) | undefined
  const script: SessionModel.Service = {
    stream: () => Stream.dieMessage("not used"),
    run: ({ prompt, toolChoice }, onParts) =>
      Effect.sync(() => {
        asked?.()
        const last = prompt.content[prompt.content.length - 1]
        const text = last?.role === "user" ? (last.content[0] as any).text : undefined
        if (toolChoice === "auto" && text === work.userText) onParts(calls())
        else
          onParts([
            { type: "text-start", id: "t" },
            { type: "text-delta", id: "t", delta: work.answer }
          ])
      })
  }
  const handler = Effect.gen(function* () {
    const context = yield* RunContext.RunContext
    const end = yield* Deferred.make<number>()
    yield* context.update("at it")
    all.push({ update: (message) => context.update(message), end })
    return yield* Deferred.await(end)
  })
  const layer = Layer.mergeAll(
    kit.toLayer({ work: () => handler }),
    viaScript,
    Layer.succeed(SessionModel.SessionModel, script),
    view
  )
  const scope = Effect.runSync(Scope.make())
  const context = await Effect.runPromise(Layer.buildWithScope(layer, scope))
  const session = await Effect.runPromise(
    AgentSession.make({ agent, maxRunning: Number.MAX_SAFE_INTEGER }).pipe(
      Effect.provide(Context.add(context, Scope.Scope, scope))
    )
  )
  const send = async (n: number) => {
    work.setCallsPerTurn(n)
    await Effect.runPromise(Effect.flatMap(session.send(work.userText), (speech) => speech.wait))
  }
  for (let left = ended; left > 0; left -= 1_000) {
    const before = all.length
    await send(Math.min(left, 1_000))
    for (const { end } of all.splice(before)) Effect.runSync(Deferred.succeed(end, 1))
    await Effect.runPromise(session.waitForIdle)
  }
  await send(running)
  await Effect.runPromise(session.waitForIdle)
  const onAsked = (f: (() => void) | undefined): void => {
    asked = f
  }
  return { session, all, onAsked }
}

const micros = (start: bigint): number => Number(process.hrtime.bigint() - start) / 1_000

const one = async (running: number, ended: number) => {
  const { all, onAsked, session } = await open(running, ended)
  const updates: Array<number> = []
  const results: Array<number> = []
  const holding = Effect.runSync(Scope.make())
  for (let i = 0; i < 1_500; i++) {
    const { update } = all[i % Math.min(all.length, 8)] as Running
    // the user speaks, so that no reply is part of it
    await Effect.runPromise(Scope.extend(session.claimUserTurn, holding))
    const start = process.hrtime.bigint()
    Effect.runSync(update({ i }))
    updates.push(micros(start))
  }
  await Effect.runPromise(Scope.close(holding, { _tag: "Success" } as any))
  await Effect.runPromise(session.waitForIdle)
  const perRound = Math.min(all.length - 8, 400)
  for (let i = 0; i < perRound; i++) {
    const { end } = all.pop() as Running
    const reply = new Promise<number>((resolve) => {
      const start = process.hrtime.bigint()
      onAsked(() => resolve(micros(start)))
      Effect.runSync(Deferred.succeed(end, 1))
    })
    results.push(await reply)
    onAsked(undefined)
    await Effect.runPromise(session.waitForIdle)
  }
  // the second half: the first warms up
  const late = (found: ReadonlyArray<number>) => median(found.slice(found.length >> 1))
  return { running, ended, update: late(updates), result: late(results) }
}

export const measure = async () => {
  await one(500, 0)
  await one(500, 1_000)
  const found: Array<unknown> = []
  for (const [running, ended] of [
    [500, 0],
    [10_000, 0],
    [500, 20_000]
  ] as const) {
    const several: Array<{ readonly update: number; readonly result: number }> = []
    for (let i = 0; i < 3; i++) several.push(await one(running, ended))
    found.push({
      running,
      ended,
      update: median(several.map(({ update }) => update)),
      result: median(several.map(({ result }) => result))
    })
  }
  return found
}
