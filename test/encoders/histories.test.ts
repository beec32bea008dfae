/**
 * Any history that is given to a session, with the packages of Google, Bedrock and OpenRouter: each request of its next
 * turns is one that the provider takes, and says what the history says. `HISTORIES=500 SEED=7 npm run test:encoders`
 * tries more.
 */
import assert from "node:assert/strict"
import { describe, it } from "node:test"
import { Tool, Toolkit } from "@effect/ai"
import { Effect, Logger, Option, Schema } from "effect"
import * as fc from "effect/FastCheck"
import { Agent, AgentSession } from "effect-meantime"
import * as Bedrock from "../checkers/bedrock.js"
import * as Google from "../checkers/google.js"
import { missing, type Read, readers, type Talk, talk } from "../checkers/histories.js"
import * as OpenRouter from "../checkers/openrouter.js"
import type { Checker } from "../checkers/rules.js"
import * as Wire from "./wire.js"

const runs = Number(process.env.HISTORIES ?? 40)
const seed = Number(process.env.SEED ?? 1)

const Look = Tool.make("look", { description: "Looks.", parameters: { at: Schema.String }, success: Schema.Unknown })
const Looks = Toolkit.make(Look)

const silent = Logger.replace(
  Logger.defaultLogger,
  Logger.make(() => {})
)

const bodiesOf = (provider: Wire.Provider, { given, hasTools, instructions, note, result, says }: Talk) =>
  Effect.gen(function* () {
    const call = [{ call: "look", args: { at: "x" }, id: "c1" }]
    const words = [{ text: "Well." }]
    const { layer, requests } = Wire.make(provider, [hasTools ? call : words, words, words, words])
    yield* Effect.gen(function* () {
      const agent = Agent.make("a", { instructions, tools: hasTools ? [Looks] : [] })
      const session = yield* AgentSession.make({ agent, history: given as any })
      const turns = [
        session.send(says[0] as string),
        session.generateReply({ instructions: note }),
        session.send(says[1] as string)
      ]
      for (const turn of turns) {
        const speech = yield* turn
        yield* speech.wait
        assert.equal(Option.getOrUndefined(yield* speech.error), undefined)
      }
    }).pipe(
      Effect.scoped,
      Effect.provide(Looks.toLayer({ look: () => Effect.succeed(result) })),
      Effect.provide(layer),
      Effect.provide(silent),
      Effect.orDie
    )
    return requests.map(({ body }) => body)
  })

const providers: ReadonlyArray<readonly [Wire.Provider, Checker, (body: any) => Read]> = [
  [Wire.google, Google.check, readers.google as (body: any) => Read],
  [Wire.bedrock, Bedrock.check, readers.bedrock as (body: any) => Read],
  [Wire.openrouter, OpenRouter.check, readers.chat as (body: any) => Read]
]

describe("given histories", () => {
  for (const [provider, check, read] of providers) {
    it(`[M3b] [M3] [M5] [T3] ${provider.name} takes every request behind any of ${runs}`, async () => {
      let requests = 0
      const holds = async (given: Talk): Promise<void> => {
        const bodies = await Effect.runPromise(bodiesOf(provider, given) as Effect.Effect<ReadonlyArray<any>>)
        assert.equal(bodies.length, given.hasTools ? 4 : 3)
        for (const body of bodies) assert.deepEqual([...check(body), ...missing(given.given, read(body))], [])
        requests += bodies.length
      }
      await fc.assert(fc.asyncProperty(talk as any, holds as any), { numRuns: runs, seed })
      console.log(`${provider.name}: ${runs} histories, ${requests} requests`)
    })
  }
})
