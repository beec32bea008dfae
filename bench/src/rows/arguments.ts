/**
 * Arguments of eight fields, as text from a model to what the handler gets. What is measured ends where the handler would
 * be called; for `@effect/ai`, whose toolkit decodes and calls in one, the handler does nothing.
 */

import { safeParseJSON } from "@ai-sdk/provider-utils"
import { Tool, Toolkit } from "@effect/ai"
import { Effect, Either, ManagedRuntime, Schema } from "effect"
import { z } from "zod"
import { codecOf } from "../../../src/internal/scope/codec.js"
import type { Subject } from "../measure.js"

const fields = {
  from: Schema.String,
  to: Schema.String,
  date: Schema.String,
  seats: Schema.Number,
  direct: Schema.Boolean,
  tags: Schema.Array(Schema.String),
  seat: Schema.Literal("aisle", "window", "any"),
  remarks: Schema.NullOr(Schema.String)
}
const text = JSON.stringify({
  from: "OSL",
  to: "HND",
  date: "2027-04-15",
  seats: 2,
  direct: true,
  tags: ["business", "meal"],
  seat: "aisle",
  remarks: null
})
const zod = z.object({
  from: z.string(),
  to: z.string(),
  date: z.string(),
  seats: z.number(),
  direct: z.boolean(),
  tags: z.array(z.string()),
  seat: z.enum(["aisle", "window", "any"]),
  remarks: z.string().nullable()
})

const units = 1_000
const times = (f: () => void) => async () => {
  for (let i = 0; i < units; i++) f()
}
const known = (found: unknown): void => {
  if ((found as any)?.seats !== 2) throw new Error("not decoded")
}

export const subjects = (): ReadonlyArray<Subject> => {
  const tool = Tool.make("book", { parameters: fields, success: Schema.Number })
  const decode = Schema.decodeUnknownEither(Schema.Struct(fields), { errors: "all" })
  const codec = codecOf(tool)
  const kit = Toolkit.make(tool)
  const runtime = ManagedRuntime.make(
    kit.toLayer({
      book: (params) => {
        known(params)
        return Effect.succeed(1)
      }
    })
  )
  const subject = (contestant: string, name: string, run: () => Promise<unknown>): Subject => ({
    contestant,
    name,
    units,
    run
  })
  return [
    subject(
      "schema",
      "JSON.parse and Schema",
      times(() => {
        const result = decode(JSON.parse(text))
        if (Either.isRight(result)) known(result.right)
      })
    ),
    subject(
      "meantime",
      "effect-meantime: JSON.parse, and what a call is decoded by",
      times(() => {
        const result = codec.decode(JSON.parse(text))
        if (Either.isEither(result) && Either.isRight(result)) known(result.right)
        else throw new Error("not decoded at once")
      })
    ),
    subject("ai-sdk", "AI SDK's safe parse, zod", async () => {
      for (let i = 0; i < units; i++) {
        const result = await safeParseJSON({ text, schema: zod as any })
        if (result.success) known(result.value)
      }
    }),
    subject("effect-ai", "@effect/ai, a toolkit's handle", () =>
      runtime.runPromise(
        Effect.flatMap(kit, (handled) =>
          Effect.forEach(Array.from({ length: units }), () => handled.handle("book", JSON.parse(text)), {
            discard: true
          })
        )
      )
    ),
    {
      ...subject("rebuilt", "JSON.parse and a Schema made for each call", async () => {
        for (let i = 0; i < 100; i++) {
          const result = Schema.decodeUnknownEither(Schema.Struct(fields), { errors: "all" })(JSON.parse(text))
          if (Either.isRight(result)) known(result.right)
        }
      }),
      units: 100
    }
  ]
}
