import * as Context from "effect/Context"
import type { Elicit } from "../../mcp/McpClient.js"

/**
 * Who answers a server's question: with `task` a sub-conversation of the call that it belongs to, in the foreground; with
 * `never` nobody; or a function of the program. A question with a URL goes only to a function. The server is told that it may
 * ask when the connection is made. Default: `task`.
 *
 * @example
 * import { AsyncToolset } from "effect-meantime"
 * import { McpClient } from "effect-meantime/mcp"
 * import { Layer } from "effect"
 *
 * export const quiet = McpClient.toolset("files", { transport: { type: "http", url: "https://example.com/mcp" } }).pipe(
 *   AsyncToolset.provide(Layer.succeed(McpClient.Elicitation, "never"))
 * )
 *
 * @since 0.1.0
 * @category references
 */
export class Elicitation extends Context.Reference<Elicitation>()("effect-meantime/mcp/Elicitation", {
  defaultValue: (): Elicit => "task"
}) {}
