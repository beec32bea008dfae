/**
 * A language model behind a local server: requests are read back into a prompt, and what the model answers is sent in
 * the provider's format.
 */
import { type LanguageModel, Tool, type Toolkit } from "@effect/ai"
import { Effect, Schema, Stream } from "effect"
import { ScriptedModel } from "effect-meantime/testing"
import type { Decoded } from "./Decode.js"
import * as Script from "./Script.js"

const toolkitOf = (decoded: Decoded): Toolkit.WithHandler<any> => ({
  tools: Object.fromEntries(
    decoded.tools.map(({ description, name, schema }) => [
      name,
      Tool.make(name, description === undefined ? {} : { description }).setParameters(
        Schema.Unknown.annotations({ jsonSchema: schema }) as any
      )
    ])
  ) as any,
  handle: () => Effect.dieMessage("a model behind a server runs no tools")
})

/** The answer of a model to one request. */
const ask = (model: LanguageModel.Service, decoded: Decoded): Effect.Effect<Script.Answer> =>
  Effect.gen(function* () {
    const pieces: Array<Script.Piece> = []
    const texts = new Map<string, Array<string>>()
    const options: any = {
      prompt: decoded.prompt,
      ...(decoded.tools.length === 0
        ? {}
        : { toolkit: toolkitOf(decoded), toolChoice: decoded.toolChoice, disableToolCallResolution: true })
    }
    yield* Stream.runForEach(model.streamText(options) as Stream.Stream<any, any>, (part) =>
      Effect.sync(() => {
        if (part.type === "text-start") {
          const deltas: Array<string> = []
          texts.set(part.id, deltas)
          pieces.push(Script.text(deltas))
        } else if (part.type === "text-delta") texts.get(part.id)?.push(part.delta)
        else if (part.type === "tool-call") pieces.push(Script.call(part.name, part.params, part.id))
      })
    )
    return pieces.filter((piece) => piece._tag !== "Text" || piece.deltas.length > 0)
  }).pipe(Effect.catchAll((error) => Effect.succeed(Script.httpError(500, String((error as any)?.message)))))

export const model =
  (model: LanguageModel.Service, decode: (body: any) => Decoded): Script.Script =>
  ({ body }) =>
    ask(model, decode(body))

/** Scripted models, one after another: the next begins where the script of the last has ended. */
export const scripts = (
  scripts: ReadonlyArray<ScriptedModel.Script>,
  decode: (body: any) => Decoded
): Effect.Effect<Script.Script> =>
  Effect.map(Effect.forEach(scripts, ScriptedModel.make), (models) => {
    const queue = [...models]
    return ({ body }) =>
      Effect.gen(function* () {
        while (queue.length > 1 && (yield* queue[0]!.service.remaining) === 0) queue.shift()
        return yield* ask(queue[0]!.languageModel, decode(body))
      })
  })
