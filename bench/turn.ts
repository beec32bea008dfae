/**
 * The part of a turn that is ours: CPU time of one turn with one call (two model steps), measured five ways in
 * interleaved rounds, each round with a conversation of its own.
 *
 *     node --import tsx bench/turn.ts [rounds] [turns]
 */
import { LanguageModel, Prompt, type Response, Tool, Toolkit } from "@effect/ai"
import { Chunk, Effect, Layer, Schema, Stream } from "effect"
import { Agent, AgentSession, SessionModel } from "effect-meantime"

const rounds = Number(process.argv[2] ?? 30)
const turns = Number(process.argv[3] ?? 25)

const Work = Tool.make("work", { parameters: { n: Schema.Number }, success: Schema.Number })
const kit = Toolkit.make(Work)
const handlers = { work: ({ n }: { readonly n: number }) => Effect.succeed(n) }
const handlersLive = kit.toLayer(handlers)
const Worker = Agent.make("worker", { instructions: "You work.", tools: [kit] })

let asked = 0
const said = ["It ", "is ", "done, ", "as ", "you ", "wanted."].map(
  (delta): Response.StreamPartEncoded => ({ type: "text-delta", id: "t", delta })
)
const finish = (reason: Response.FinishReason): Response.StreamPartEncoded => ({
  type: "finish",
  reason,
  usage: { inputTokens: 1, outputTokens: 1, totalTokens: 2 }
})

/** The same model for all: a call in answer to the user, words in answer to a result; each part a chunk of its own. */
const partsOf = (last: string | undefined): ReadonlyArray<Response.StreamPartEncoded> => {
  const n = ++asked
  return last === "user"
    ? [{ type: "tool-call", id: `call_${n}`, name: "work", params: { n } }, finish("tool-calls")]
    : [{ type: "text-start", id: "t" }, ...said, { type: "text-end", id: "t" }, finish("stop")]
}
const respond = (last: string | undefined) => Stream.fromIterable(partsOf(last)).pipe(Stream.rechunk(1))
const lastRole = (prompt: Prompt.Prompt) => prompt.content[prompt.content.length - 1]?.role

const languageModel = LanguageModel.make({
  generateText: () => Effect.dieMessage("not used"),
  streamText: ({ prompt }) => respond(lastRole(prompt))
})
const direct = SessionModel.make({ stream: ({ prompt }) => respond(lastRole(prompt)) })
const pushing = SessionModel.make({
  run: ({ prompt }, onParts) =>
    Effect.sync(() => {
      for (const part of partsOf(lastRole(prompt))) onParts([part])
    })
})

const session = Effect.scoped(
  Effect.gen(function* () {
    const session = yield* AgentSession.make({ agent: Worker })
    for (let i = 0; i < turns; i++) yield* Effect.flatMap(session.send("Work, please"), (speech) => speech.wait)
  })
)

const via = (model: SessionModel.Service) =>
  session.pipe(
    Effect.provide([
      handlersLive,
      SessionModel.layer(model),
      Layer.succeed(LanguageModel.LanguageModel, {} as LanguageModel.Service)
    ])
  )

const viaLanguageModel = session.pipe(
  Effect.provide([handlersLive, Layer.effect(LanguageModel.LanguageModel, languageModel)])
)

/** What one writes with @effect/ai alone. */
const bareLanguageModel = Effect.gen(function* () {
  let prompt = Prompt.make([{ role: "system", content: "You work." }])
  for (let i = 0; i < turns; i++) {
    prompt = Prompt.merge(prompt, "Work, please")
    for (;;) {
      const parts = Chunk.toReadonlyArray(yield* Stream.runCollect(LanguageModel.streamText({ prompt, toolkit: kit })))
      prompt = Prompt.merge(prompt, Prompt.fromResponseParts(parts))
      if (!parts.some((part) => part.type === "tool-call")) break
    }
  }
}).pipe(Effect.provide([handlersLive, Layer.effect(LanguageModel.LanguageModel, languageModel)]))

/** The least that any loop has to do: read the stream, run the handler, keep the conversation. */
const bare = Effect.gen(function* () {
  const items: Array<unknown> = []
  for (let i = 0; i < turns; i++) {
    items.push({ role: "user", text: "Work, please" })
    let last = "user"
    for (;;) {
      const calls: Array<{ readonly id: string; readonly params: any }> = []
      let text = ""
      yield* Stream.runForEach(respond(last), (part) =>
        Effect.sync(() => {
          if (part.type === "tool-call") calls.push(part)
          if (part.type === "text-delta") text += part.delta
        })
      )
      if (text !== "") items.push({ role: "assistant", text })
      if (calls.length === 0) break
      for (const { id, params } of calls) items.push({ id, params, result: yield* handlers.work(params) })
      last = "tool"
    }
  }
})

const variants = {
  "a session, SessionModel": via(direct),
  "b session, LanguageModel": viaLanguageModel,
  "c loop, LanguageModel": bareLanguageModel,
  "d loop, no @effect/ai": bare,
  "e session, push form": via(pushing)
}
const times = new Map<string, Array<number>>(Object.keys(variants).map((name) => [name, []]))

for (let round = -5; round < rounds; round++) {
  for (const [name, variant] of Object.entries(variants)) {
    const start = process.cpuUsage()
    await Effect.runPromise(variant as Effect.Effect<unknown>)
    const { system, user } = process.cpuUsage(start)
    if (round >= 0) times.get(name)?.push((user + system) / turns)
  }
}

const median = (all: ReadonlyArray<number>) => all.toSorted((a, b) => a - b)[all.length >> 1] as number
const [a, b, c, d] = Array.from(times.values(), median) as [number, number, number, number]
console.log(`cpu us per turn (two model steps, one call), median of ${rounds} rounds of ${turns} turns`)
for (const [name, all] of times) console.log(`  ${name.padEnd(26)} ${median(all).toFixed(0).padStart(6)}`)
console.log(
  `  a / d ${(a / d).toFixed(2)}   b / c ${(b / c).toFixed(2)}   ours, apart from the model's: a - d = ${(a - d).toFixed(0)} us`
)
console.log(`  the model's package in (b): b - a = ${(b - a).toFixed(0)} us`)
console.log(
  `  ours, as a part of (b): ${((100 * (a - d)) / b).toFixed(0)} %; a loop of one's own in (c): ${((100 * d) / c).toFixed(0)} %`
)
