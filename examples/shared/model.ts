/**
 * The model of an example: it follows a script, or, with a key in the environment, is that provider's. `OPENAI_API_KEY`
 * with `OPENAI_BASE_URL`, or `ANTHROPIC_API_KEY` with `ANTHROPIC_BASE_URL`, as for the demo.
 */
import { LanguageModel, Tool } from "@effect/ai"
import { Context, Effect, Layer } from "effect"
import { ScriptedModel, TestSession } from "effect-meantime/testing"
import * as Providers from "../demo/Providers.js"

type Models = LanguageModel.LanguageModel | ScriptedModel.ScriptedModel

/** A provider's model in virtual time, with a record of its requests, as a scripted model has. */
const recorded = (provider: Providers.Provider): Layer.Layer<Models> =>
  Layer.map(TestSession.outside(provider.layer), (context) => {
    const model = Context.get(context, LanguageModel.LanguageModel)
    const requests: Array<ScriptedModel.Request> = []
    const service: ScriptedModel.Service = {
      requests: Effect.sync(() => [...requests]),
      prompts: Effect.sync(() => requests.map(({ prompt }) => prompt)),
      remaining: Effect.succeed(0),
      push: () => Effect.void
    }
    const streamText = (options: any) => {
      requests.push({
        index: requests.length,
        method: "streamText",
        prompt: options.prompt,
        tools: Object.values<Tool.Any>(options.toolkit?.tools ?? {}).map((tool) => ({
          name: tool.name,
          description: tool.description,
          jsonSchema: Tool.getJsonSchema(tool as any)
        })),
        toolChoice: options.toolChoice ?? "none"
      })
      return model.streamText(options)
    }
    return context.pipe(
      Context.add(LanguageModel.LanguageModel, { ...model, streamText } as LanguageModel.Service),
      Context.add(ScriptedModel.ScriptedModel, service)
    )
  })

export const layer = (script: ScriptedModel.Script): Layer.Layer<Models> =>
  Layer.unwrapEffect(
    Effect.map(Effect.orDie(Providers.Settings), (settings) => {
      const provider = Providers.real(settings)
      return provider === undefined ? ScriptedModel.layer(script) : recorded(provider)
    })
  )
