/**
 * The Model Context Protocol, both ways: a server's tools for an agent, and tools or whole conversations for a host.
 *
 * @since 0.1.0
 */
export * as McpClient from "./McpClient.js"
export * as McpServer from "./McpServer.js"
