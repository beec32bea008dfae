import * as Data from "effect/Data"

/**
 * A server of the Model Context Protocol cannot be reached, or its tools cannot be offered. The message names the server.
 *
 * @since 0.1.0
 * @category errors
 */
export class McpError extends Data.TaggedError("McpError")<{
  readonly server: string
  readonly message: string
}> {}
