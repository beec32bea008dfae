/** This library: a session, its conversation carried on, its calls recorded, answered and told of as events. */
import { LanguageModel, type Response, Toolkit } from "@effect/ai"
import { Context, Effect, Exit, Layer, ManagedRuntime, Schema, Scope, Stream } from "effect"
import { Agent, AgentSession, AsyncTool, RunContext, SessionModel } from "effect-meantime"
import { AiSdkModel } from "effect-meantime/ai-sdk"
import type { Contestant } from "../contestant.js"
import * as work from "../work.js"
import { mock } from "./ai-sdk.js"
import { calls, languageModel, streamParts } from "./effect-ai.js"

const parameters = { n: Schema.Number }
const shape = { description: work.toolDescription, parameters, success: Schema.Number } as const
export const kit = Toolkit.make(AsyncTool.make(work.toolName, shape))
export const worker = Agent.make("worker", { instructions: work.instructions, tools: [kit] })
export const handlers = kit.toLayer({ work: ({ n }) => Effect.sync(() => work.handle(n)) })

const none = Layer.succeed(LanguageModel.LanguageModel, {} as LanguageModel.Service)

/** The script through the push form of the direct seam. */
export const scripted: SessionModel.Service = {
  stream: ({ prompt }) => Stream.suspend(() => Stream.fromIterable(streamParts(prompt))),
  run: ({ prompt }, onParts) => Effect.sync(() => onParts(streamParts(prompt)))
}
export const viaScript = Layer.merge(none, Layer.succeed(SessionModel.SessionModel, scripted))

const sdk = (streaming: boolean) => Layer.merge(none, AiSdkModel.layer(mock() as any, { streaming }))

const conversation = (turns: number) =>
  Effect.scoped(
    Effect.gen(function* () {
      const session = yield* AgentSession.make({ agent: worker, maxRunning: Number.MAX_SAFE_INTEGER })
      for (let i = 0; i < turns; i++) yield* Effect.flatMap(session.send(work.userText), (speech) => speech.wait)
    })
  )

// ------------------------------------------------------------------------------------------------ calls in flight

const flying = Toolkit.make(
  AsyncTool.make(work.toolName, { ...shape, allowCancellation: true, cancelOnInterruption: true })
)
const flyer = Agent.make("worker", { instructions: work.instructions, tools: [flying] })
const wait = Effect.ensuring(
  Effect.async<number>((_) => work.begun()),
  Effect.sync(work.finalize)
)

const fly =
  (background: boolean): NonNullable<Contestant["fly"]> =>
  async (kind) => {
    const handler = kind === "listening" ? wait : Effect.uninterruptible(wait)
    const scope = Effect.runSync(Scope.make())
    const layer = Layer.merge(
      flying.toLayer({ work: () => (background ? Effect.zipRight(RunContext.update("at it"), handler) : handler) }),
      viaScript
    )
    const context = await Effect.runPromise(Layer.buildWithScope(layer, scope))
    const { session, speech } = await Effect.runPromise(
      Effect.gen(function* () {
        const session = yield* AgentSession.make({ agent: flyer, maxRunning: Number.MAX_SAFE_INTEGER })
        const speech = yield* session.send(work.userText)
        if (background) yield* speech.wait
        return { session, speech }
      }).pipe(Effect.provide(Context.add(context, Scope.Scope, scope)))
    )
    return {
      cancel: () =>
        Effect.runPromise(
          background
            ? Scope.close(scope, Exit.void)
            : Effect.zipRight(Effect.orDie(speech.interrupt()), speech.wait).pipe(
                // the user has the floor again here; the handlers still clean up
                Effect.zipRight(kind === "deaf" ? Effect.void : ended(session))
              )
        )
    }
  }

/** All calls have their output in the history. */
const ended = (session: AgentSession.Service): Effect.Effect<void> =>
  Effect.flatMap(session.runningTools, (running) =>
    running.length === 0 ? Effect.void : Effect.zipRight(Effect.yieldNow(), ended(session))
  )

const make = (name: string, model: Layer.Layer<LanguageModel.LanguageModel>, packages: ReadonlyArray<string>) => {
  const runtime = ManagedRuntime.make(Layer.merge(handlers, model))
  return {
    name,
    packages,
    converse: (turns: number) => runtime.runPromise(conversation(turns))
  }
}

const own = "effect-meantime"
export const throughLanguageModel: Contestant = make(
  `${own}, LanguageModel`,
  Layer.effect(LanguageModel.LanguageModel, languageModel),
  [own, "@effect/ai", "effect"]
)
export const throughSeam: Contestant = {
  ...make(`${own}, scripted model`, viaScript, [own, "effect"]),
  fly: fly(false)
}
export const inBackground: Contestant = { ...throughSeam, name: `${own}, in the background`, fly: fly(true) }
export const throughSdkStream: Contestant = make(`${own}, AI SDK's mock, stream`, sdk(true), [own, "effect", "ai"])
export const throughSdkGenerate: Contestant = make(`${own}, AI SDK's mock, generate`, sdk(false), [own, "effect", "ai"])

export type { Response }
export { calls }
