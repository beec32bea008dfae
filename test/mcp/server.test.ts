/**
 * The server beside official clients of both lines, over the standard streams of a process and over HTTP, and beside the
 * protocol's conformance suite. `npm run test:mcp` installs them.
 */
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { fileURLToPath } from "node:url"
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client"
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { freePort } from "./servers.js"

const root = fileURLToPath(new URL("../..", import.meta.url))
const command = { command: process.execPath, args: ["--import", "tsx", "examples/mcp/main.ts"], cwd: root }
const env = { DEMO_SPEED: "20" }

let port = 0
let child: ChildProcess
beforeAll(async () => {
  port = await freePort()
  child = spawn(command.command, [...command.args, "--http"], {
    cwd: root,
    env: { ...process.env, ...env, PORT: String(port) },
    stdio: ["ignore", "ignore", "pipe"]
  })
  for await (const chunk of child.stderr ?? []) if (String(chunk).includes("Listening")) break
})
afterAll(async () => {
  const ended = once(child, "exit")
  child.kill()
  await ended
})

/** What the tests do with a client, whichever line it is of. */
interface AnyClient {
  readonly listTools: () => Promise<{ readonly tools: ReadonlyArray<{ readonly name: string }> }>
  readonly callTool: (
    name: string,
    args: Record<string, unknown>,
    options?: { readonly signal?: AbortSignal; readonly onprogress?: (progress: any) => void }
  ) => Promise<any>
  readonly close: () => Promise<void>
}

const second =
  (mode: "legacy" | { readonly pin: string }, transport: () => StdioClientTransport | StreamableHTTPClientTransport) =>
  async (): Promise<AnyClient> => {
    const client = new Client({ name: "host", version: "1" }, { versionNegotiation: { mode } })
    await client.connect(transport())
    return {
      listTools: () => client.listTools(),
      callTool: (name, args, options) => client.callTool({ name, arguments: args }, options),
      close: () => client.close()
    }
  }

/** The modules of the first line are installed in this folder only. */
const first = (transportOf: "stdio" | "http") => async (): Promise<AnyClient> => {
  const sdk = (name: string): Promise<any> =>
    import(new URL(`node_modules/@modelcontextprotocol/sdk/dist/esm/client/${name}.js`, import.meta.url).href)
  const [index, stdio, http] = await Promise.all([sdk("index"), sdk("stdio"), sdk("streamableHttp")])
  const client = new index.Client({ name: "host", version: "1" })
  await client.connect(
    transportOf === "stdio"
      ? new stdio.StdioClientTransport({ ...command, env: { ...process.env, ...env }, stderr: "ignore" })
      : new http.StreamableHTTPClientTransport(new URL(`http://localhost:${port}/mcp`))
  )
  return {
    listTools: () => client.listTools(),
    callTool: (name, args, options) => client.callTool({ name, arguments: args }, undefined, options),
    close: () => client.close()
  }
}

const byStdio = () => new StdioClientTransport({ ...command, env, stderr: "ignore" })
const byHttp = () => new StreamableHTTPClientTransport(new URL(`http://localhost:${port}/mcp`))

for (const [name, connect] of [
  ["client 2.x, protocol of 2026, stdio", second({ pin: "2026-07-28" }, byStdio)],
  ["client 2.x, protocol of 2025, stdio", second("legacy", byStdio)],
  ["client 1.x, stdio", first("stdio")],
  ["client 2.x, protocol of 2026, HTTP", second({ pin: "2026-07-28" }, byHttp)],
  ["client 2.x, protocol of 2025, HTTP", second("legacy", byHttp)],
  ["client 1.x, HTTP", first("http")]
] as const) {
  describe(name, () => {
    it("[J11] [J12] lists, calls with progress, cancels, and holds a conversation", async () => {
      const client = await connect()
      try {
        const { tools } = await client.listTools()
        expect(tools.map(({ name }) => name)).toEqual(["countdown", "send", "wait", "cancel"])
        const progress: Array<any> = []
        const counted = await client.callTool("countdown", { from: 2 }, { onprogress: (one) => progress.push(one) })
        expect(counted.content).toEqual([{ type: "text", text: "Lift-off." }])
        expect(progress).toEqual([
          { progress: 1, message: "2…" },
          { progress: 2, message: "1…" }
        ])
        const controller = new AbortController()
        const cancelled = client.callTool(
          "countdown",
          { from: 60 },
          { signal: controller.signal, onprogress: () => controller.abort() }
        )
        await expect(cancelled).rejects.toThrow()
        const opened = await client.callTool("send", { message: "how is the weather in Tokyo?" })
        expect(opened.structuredContent.text).toMatch(/Tokyo/)
        const { conversation_id } = opened.structuredContent
        const booking = await client.callTool("send", { message: "book a flight from Oslo to Tokyo", conversation_id })
        expect(booking.structuredContent.conversation_id).toBe(conversation_id)
        expect(booking.structuredContent.text).not.toBe("")
        expect((await client.callTool("wait", { conversation_id: "forged" })).isError).toBe(true)
      } finally {
        await client.close()
      }
    })
  })
}

describe("over stdio", () => {
  it("[J11] the process ends with its input, a call at work or not, and writes nothing else to its output", async () => {
    const server = spawn(command.command, command.args, { cwd: root, stdio: ["pipe", "pipe", "ignore"] })
    let written = ""
    const heard = (text: string): Promise<void> =>
      new Promise((resolve) => {
        const look = (): void => void (written.includes(text) && resolve())
        server.stdout.on("data", look)
        look()
      })
    server.stdout.on("data", (chunk) => {
      written += chunk
    })
    const send = (message: object): void =>
      void server.stdin.write(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`)
    send({
      id: 1,
      method: "initialize",
      params: { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "host", version: "1" } }
    })
    await heard('"id":1')
    send({ method: "notifications/initialized" })
    send({
      id: 2,
      method: "tools/call",
      params: { name: "countdown", arguments: { from: 60 }, _meta: { progressToken: "p" } }
    })
    await heard("60…")
    const ended = once(server, "exit")
    server.stdin.end()
    expect((await ended)[0]).toBe(0)
    for (const line of written.trim().split("\n")) expect(JSON.parse(line)).toMatchObject({ jsonrpc: "2.0" })
  })
})
