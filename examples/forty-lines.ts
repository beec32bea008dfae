import { createServer } from "node:http"
import { Toolkit } from "@effect/ai"
import { OpenAiClient, OpenAiLanguageModel } from "@effect/ai-openai"
import { FetchHttpClient, HttpRouter, HttpServer, HttpServerRequest, HttpServerResponse } from "@effect/platform"
import { NodeHttpServer, NodeRuntime } from "@effect/platform-node"
import { Config, Effect, Layer, Schema } from "effect"
import { Agent, AsyncTool, RunContext, Sessions } from "effect-meantime"

const Bake = AsyncTool.make("bake", { parameters: { cake: Schema.String }, success: Schema.String })
const Kitchen = Toolkit.make(Bake)
const KitchenLive = Kitchen.toLayer({
  bake: ({ cake }) =>
    Effect.zipRight(RunContext.update(`The ${cake} is in the oven.`), Effect.delay(Effect.succeed("Done!"), "1 minute"))
})
const OpenAi = OpenAiLanguageModel.model("gpt-5-mini").pipe(
  Layer.provide(OpenAiClient.layerConfig({ apiKey: Config.redacted("OPENAI_API_KEY") })),
  Layer.provide(FetchHttpClient.layer)
)
const baker = Agent.make("baker", { instructions: "You bake cakes.", tools: [Kitchen] })
const Chats = Sessions.layer(() => Effect.succeed({ agent: baker, deltas: true }), { idleAfter: "1 hour" })

const chat = Effect.flatMap(HttpRouter.params, ({ id = "" }) =>
  Effect.flatMap(Sessions.Sessions, (sessions) => sessions.get(id))
)
const say = Effect.gen(function* () {
  const { text } = yield* HttpServerRequest.schemaBodyJson(Schema.Struct({ text: Schema.String }))
  yield* (yield* chat).send(text)
  return HttpServerResponse.empty({ status: 202 })
})
const listen = Effect.gen(function* () {
  const { headers } = yield* HttpServerRequest.HttpServerRequest
  const events = Sessions.serverSentEvents(yield* chat, { after: headers["last-event-id"] })
  return HttpServerResponse.stream(events, { contentType: "text/event-stream" })
})
HttpServer.serve(HttpRouter.empty.pipe(HttpRouter.post("/chat/:id", say), HttpRouter.get("/chat/:id", listen))).pipe(
  HttpServer.withLogAddress,
  Layer.provide([Layer.provide(Chats, [KitchenLive, OpenAi]), NodeHttpServer.layer(createServer, { port: 3000 })]),
  Layer.launch,
  NodeRuntime.runMain
)
