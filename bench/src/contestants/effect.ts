/** The same with Effect: each handler in a fiber that is forked and joined. No schema, no stream. */
import { Effect, Fiber } from "effect"
import type { Contestant } from "../contestant.js"
import * as work from "../work.js"

type Message = { readonly role: string; readonly [key: string]: unknown }

const ask = (messages: ReadonlyArray<Message>) =>
  Effect.sync(() =>
    messages[messages.length - 1]?.role === "user"
      ? { calls: work.nextCalls(), text: "" }
      : { calls: [], text: work.answer }
  )

const conversation = (turns: number) =>
  Effect.gen(function* () {
    const messages: Array<Message> = [{ role: "system", content: work.instructions }]
    for (let i = 0; i < turns; i++) {
      messages.push({ role: "user", content: work.userText })
      for (;;) {
        const { calls, text } = yield* ask(messages)
        if (calls.length === 0) {
          messages.push({ role: "assistant", content: text })
          break
        }
        messages.push({ role: "assistant", calls })
        const fibers = yield* Effect.forEach(calls, ({ args }) => Effect.fork(Effect.sync(() => work.handle(args.n))))
        const results = yield* Fiber.joinAll(fibers)
        messages.push({ role: "tool", results })
      }
    }
  })

const cleanUp = Effect.sync(work.finalize)
const wait = Effect.ensuring(
  Effect.async<number>((_) => work.begun()),
  cleanUp
)

export const contestant: Contestant = {
  name: "bare Effect",
  packages: ["effect"],
  converse: (turns) => Effect.runPromise(conversation(turns)),
  fly: async (handlers) => {
    const one = handlers === "listening" ? wait : Effect.uninterruptible(wait)
    const fibers = await Effect.runPromise(
      Effect.forEach(work.nextCalls(), () => Effect.forkDaemon(one)).pipe(Effect.zipLeft(Effect.yieldNow()))
    )
    return { cancel: () => Effect.runPromise(Fiber.interruptAll(fibers)) }
  }
}
