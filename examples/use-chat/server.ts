import { createServer } from "node:http"
import { Toolkit } from "@effect/ai"
import { OpenAiClient, OpenAiLanguageModel } from "@effect/ai-openai"
import { FetchHttpClient, HttpRouter, HttpServer, HttpServerRequest, HttpServerResponse } from "@effect/platform"
import { NodeHttpServer, NodeRuntime } from "@effect/platform-node"
import { Config, Effect, Layer, Schema } from "effect"
import { Agent, AsyncTool, RunContext, Sessions } from "effect-meantime"
import * as Ui from "effect-meantime/ui"

const Bake = AsyncTool.make("bake", { parameters: { cake: Schema.String }, success: Schema.String })
const Pay = AsyncTool.make("pay", { parameters: { euros: Schema.Number }, success: Schema.String, needsApproval: true })
const Kitchen = Toolkit.make(Bake, Pay)
const KitchenLive = Kitchen.toLayer({
  bake: ({ cake }) =>
    Effect.zipRight(RunContext.update(`In the oven: ${cake}.`), Effect.delay(Effect.succeed("Done!"), "1 minute")),
  pay: ({ euros }) => Effect.succeed(`Paid ${euros} euros.`)
})
const OpenAi = OpenAiLanguageModel.model("gpt-5-mini").pipe(
  Layer.provide(OpenAiClient.layerConfig({ apiKey: Config.redacted("OPENAI_API_KEY") })),
  Layer.provide(FetchHttpClient.layer)
)
const baker = Agent.make("baker", { instructions: "You bake cakes.", tools: [Kitchen] })
const Chats = Sessions.layer(() => Effect.succeed({ agent: baker, deltas: true }), { idleAfter: "1 hour" })

const server = Effect.gen(function* () {
  const refused = new Ui.UiRequestError({ message: "There is no such chat.", status: 404 })
  // whoever knows the id of a chat has the chat; an application with accounts asks whose it is
  const chat = yield* Ui.handler({ authorize: (id) => (/^[\w-]{16,}$/.test(id) ? Effect.void : refused) })
  const route = Effect.flatMap(HttpServerRequest.HttpServerRequest, HttpServerRequest.toWeb).pipe(Effect.flatMap(chat))
  const routes = HttpRouter.all(HttpRouter.empty, "/api/chat*", Effect.map(route, HttpServerResponse.fromWeb))
  yield* HttpServer.serveEffect(routes)
})
Layer.scopedDiscard(server).pipe(
  HttpServer.withLogAddress,
  Layer.provide([Layer.provide(Chats, [KitchenLive, OpenAi]), NodeHttpServer.layer(createServer, { port: 3000 })]),
  Layer.launch,
  NodeRuntime.runMain
)
