/**
 * A chat server: POST a text to `/chat/:id`, and GET `/chat/:id` has what happens in that conversation, as server-sent
 * events. It needs `OPENAI_API_KEY`, and listens on `PORT`.
 */
import { createServer } from "node:http"
import { openai } from "@ai-sdk/openai"
import { Toolkit } from "@effect/ai"
import { HttpRouter, HttpServer, HttpServerRequest, HttpServerResponse } from "@effect/platform"
import { NodeHttpServer, NodeRuntime } from "@effect/platform-node"
import { Config, Effect, Layer, Schema } from "effect"
import { Agent, AsyncTool, Sessions } from "effect-meantime"
import { AiSdkModel } from "effect-meantime/ai-sdk"

const Weather = AsyncTool.make("weather", { parameters: { city: Schema.String }, success: Schema.String })
const Tools = Toolkit.make(Weather)
const ToolsLive = Tools.toLayer({ weather: ({ city }) => Effect.succeed(`21 degrees in ${city}`) })
const agent = Agent.make("guide", { instructions: "You are a travel guide.", tools: [Tools] })

const SessionsLive = Sessions.layer(() => Effect.succeed({ agent, deltas: true }), {
  idleAfter: "1 hour",
  maxSessions: 1000
}).pipe(Layer.provide([ToolsLive, AiSdkModel.layer(openai("gpt-5"))]))

const session = Effect.gen(function* () {
  const { id = "" } = yield* HttpRouter.params
  return yield* (yield* Sessions.Sessions).get(id)
})
const post = Effect.gen(function* () {
  const request = yield* HttpServerRequest.HttpServerRequest
  yield* (yield* session).send(yield* request.text)
  return HttpServerResponse.empty()
})
const events = Effect.gen(function* () {
  const { headers } = yield* HttpServerRequest.HttpServerRequest
  const body = Sessions.serverSentEvents(yield* session, { after: headers["last-event-id"] })
  return HttpServerResponse.stream(body, { contentType: "text/event-stream" })
})

const port = Config.withDefault(Config.integer("PORT"), 3000)
HttpRouter.empty
  .pipe(HttpRouter.post("/chat/:id", post), HttpRouter.get("/chat/:id", events), HttpServer.serve())
  .pipe(
    Layer.provide([SessionsLive, NodeHttpServer.layerConfig(createServer, { port })]),
    Layer.launch,
    NodeRuntime.runMain
  )
