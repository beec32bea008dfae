/**
 * Any history that is given to a session: each request of its next turns is one that the provider takes, and says what the
 * history says. `HISTORIES=500 SEED=random npx vitest run test/checkers/histories.test.ts` tries more.
 */

import { Model } from "@effect/ai"
import { describe, expect, it } from "@effect/vitest"
import { Effect, FastCheck as fc, Layer } from "effect"
import { callPart, directModel, textParts } from "../support/requests.js"
import { times } from "../support/times.js"
import * as Script from "../wire/Script.js"
import { encoders } from "./encoders.js"
import { missing, type Talk, talk } from "./histories.js"
import { check } from "./prompt.js"
import { talkTo } from "./session.js"

const runs = Number(process.env.HISTORIES ?? times(8, 60))

for (const [name, encoder] of Object.entries(encoders)) {
  describe(name, () => {
    it(
      `[M3b] [M3] [M5] [T3] [N7] takes every request behind any of ${runs} histories, and is told what they say`,
      async () => {
        let requests = 0
        const holds = async (given: Talk): Promise<void> => {
          const { bodies, layer } = encoder.make(given.hasTools ? [Script.call("look", { at: "x" })] : [])
          const { errors, items } = await Effect.runPromise(
            talkTo(given).pipe(Effect.provide(layer)) as Effect.Effect<Effect.Effect.Success<ReturnType<typeof talkTo>>>
          )
          expect(errors).toEqual([])
          expect(bodies.length).toBe(given.hasTools ? 4 : 3)
          for (const [i, body] of bodies.entries()) {
            expect(encoder.check(body).map((problem) => `request ${i}: ${problem}`)).toEqual([])
            expect(missing(given.given, encoder.read(body)).map((problem) => `request ${i}: ${problem}`)).toEqual([])
          }
          expect(new Set(items.map((item) => item.id)).size).toBe(items.length)
          requests += bodies.length
        }
        await fc.assert(fc.asyncProperty(talk, holds), { numRuns: runs })
        console.log(`${name}: ${runs} histories, ${requests} requests`)
      },
      60_000 + runs * 2_000
    )
  })
}

describe("a model of any provider", () => {
  it.each(["unknown", "openai.chat", "mistral.chat", "google", "google.generative-ai", "amazon-bedrock", "openrouter"])(
    `[M3b] [M3] [M5] %s: a prompt is in order behind any of ${runs} histories`,
    async (provider) => {
      const holds = async (given: Talk): Promise<void> => {
        const model = directModel((_, i) =>
          given.hasTools && i === 0 ? [callPart("c", "look", { at: "x" })] : textParts("Well.")
        )
        const layer = Layer.merge(model.layer, Layer.succeed(Model.ProviderName, provider))
        const { errors } = await Effect.runPromise(
          talkTo(given).pipe(Effect.provide(layer)) as Effect.Effect<Effect.Effect.Success<ReturnType<typeof talkTo>>>
        )
        expect(errors).toEqual([])
        expect(model.prompts().length).toBe(given.hasTools ? 4 : 3)
        expect(
          model.prompts().flatMap((prompt, i) => check(prompt).map((problem) => `request ${i}: ${problem}`))
        ).toEqual([])
      }
      await fc.assert(fc.asyncProperty(talk, holds), { numRuns: runs })
    },
    60_000 + runs * 2_000
  )
})
