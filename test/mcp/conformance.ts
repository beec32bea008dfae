/** The server that the conformance suite looks at: what it calls, as tools of ours. */
import { createServer } from "node:http"
import { Toolkit } from "@effect/ai"
import { HttpRouter, HttpServer } from "@effect/platform"
import { NodeHttpServer, NodeRuntime } from "@effect/platform-node"
import { Effect, Layer, Schema } from "effect"
import { AsyncTool, RunContext } from "effect-meantime"
import { McpServer } from "effect-meantime/mcp"

const png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
const wav = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA="
const image = { data: png, mediaType: "image/png" }
const audio = { data: wav, mediaType: "audio/wav" }
const document = { data: "aGVsbG8=", mediaType: "text/plain", name: "hello.txt" }

const tool = <const Name extends string>(name: Name) =>
  AsyncTool.make(name, { description: `For the suite: ${name}.`, success: Schema.Unknown })

const Schema2020 = AsyncTool.dynamic("json_schema_2020_12_tool", {
  description: "Tool with JSON Schema 2020-12 features",
  jsonSchema: {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    type: "object",
    $defs: { address: { type: "object", properties: { street: { type: "string" }, city: { type: "string" } } } },
    properties: { name: { type: "string" }, address: { $ref: "#/$defs/address" } },
    additionalProperties: false
  }
})

const kit = Toolkit.make(
  tool("test_simple_text"),
  tool("test_image_content"),
  tool("test_audio_content"),
  tool("test_embedded_resource"),
  tool("test_multiple_content_types"),
  tool("test_error_handling"),
  tool("test_tool_with_progress"),
  Schema2020
)

const handlers = kit.toLayer({
  test_simple_text: () => Effect.succeed("This is a simple text response for testing."),
  test_image_content: () => Effect.succeed(AsyncTool.content("", [image])),
  test_audio_content: () => Effect.succeed(AsyncTool.content("", [audio])),
  test_embedded_resource: () => Effect.succeed(AsyncTool.content("", [document])),
  test_multiple_content_types: () =>
    Effect.succeed(AsyncTool.content("Multiple content types test:", [image, document])),
  test_error_handling: () =>
    Effect.fail(new AsyncTool.ToolError({ message: "This tool intentionally returns an error for testing" })),
  test_tool_with_progress: () =>
    Effect.as(
      Effect.forEach([0, 50, 100], (progress) =>
        Effect.zipRight(RunContext.progress({ progress, total: 100 }), Effect.sleep("50 millis"))
      ),
      "done"
    ),
  json_schema_2020_12_tool: () => Effect.succeed("ok")
})

const program = Effect.gen(function* () {
  const server = yield* McpServer.make({ name: "conformance", version: "1.0.0", tools: kit })
  const router = HttpRouter.empty.pipe(HttpRouter.all("/mcp", server.httpApp))
  const port = Number(process.env.PORT)
  yield* Layer.launch(
    Layer.provide(
      HttpServer.serve(router).pipe(HttpServer.withLogAddress),
      NodeHttpServer.layer(createServer, { port, host: "127.0.0.1" })
    )
  )
})

program.pipe(Effect.scoped, Effect.provide(handlers), NodeRuntime.runMain)
