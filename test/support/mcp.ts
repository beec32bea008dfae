/** Servers of the Model Context Protocol in this process, of both ages. */
import { InMemoryTransport } from "@modelcontextprotocol/client"
import { type CallToolResult, Server, type ServerContext, type Tool } from "@modelcontextprotocol/server"
import { serveStdio } from "@modelcontextprotocol/server/stdio"
import type { McpClient } from "effect-meantime/mcp"

export type Age = "2025" | "2026"
export const ages: ReadonlyArray<Age> = ["2025", "2026"]

export interface Called {
  readonly name: string
  readonly args: Record<string, unknown>
  readonly context: ServerContext
  readonly server: Server
  readonly answer: (result: Record<string, unknown>) => void
  readonly fail: (error: unknown) => void
  readonly progress: (progress: number, message?: string) => Promise<void>
}

export interface InProcess {
  readonly transport: McpClient.Transport
  /** the calls that it got, each answered by the test, or by `onCall` */
  readonly calls: Array<Called>
  readonly list: Array<Tool>
  /** connections that were made */
  readonly opened: () => number
  /** cuts the connection */
  readonly kill: () => Promise<void>
  /** while it is down nobody can connect */
  readonly down: (isDown: boolean) => void
  readonly listChanged: () => Promise<void>
  readonly server: () => Server
  /** the requests of other methods, by handlers that a test adds */
  readonly onServer: (add: (server: Server) => void) => void
}

export const tool = (name: string, more: Partial<Tool> = {}): Tool => ({
  name,
  inputSchema: { type: "object", properties: { a: { type: "string" } } },
  ...more
})

export const text = (text: string): Record<string, unknown> => ({ content: [{ type: "text", text }] })

export const serving = (
  age: Age,
  tools: ReadonlyArray<Tool>,
  onCall: (called: Called) => void = () => {},
  capabilities: Record<string, unknown> = {}
): InProcess => {
  const list = [...tools]
  const calls: Array<Called> = []
  const adding: Array<(server: Server) => void> = []
  let opened = 0
  let isDown = false
  let current: Server | undefined
  let end: { readonly close: () => Promise<void> } | undefined
  const make = (): Server => {
    const server = new Server(
      { name: "test", version: "1" },
      { capabilities: { tools: { listChanged: true }, ...capabilities } }
    )
    server.setRequestHandler("tools/list", () => ({ tools: list.map((tool) => structuredClone(tool)) }))
    server.setRequestHandler("tools/call", ({ params }, context) => {
      return new Promise<CallToolResult>((resolve, reject) => {
        const called: Called = {
          name: params.name,
          args: params.arguments ?? {},
          context,
          server,
          answer: (result) => resolve(result as CallToolResult),
          fail: reject,
          progress: (progress, message) =>
            context.mcpReq.notify({
              method: "notifications/progress",
              params: {
                progressToken: context.mcpReq._meta?.progressToken as number,
                progress,
                ...(message === undefined ? {} : { message })
              }
            })
        }
        calls.push(called)
        onCall(called)
      })
    })
    for (const add of adding) add(server)
    current = server
    return server
  }
  const open = (): unknown => {
    opened++
    if (isDown) throw new Error("nobody is there")
    const [ours, theirs] = InMemoryTransport.createLinkedPair()
    end = theirs
    if (age === "2026") serveStdio(make, { transport: theirs, legacy: "reject" })
    else void make().connect(theirs)
    return ours
  }
  return {
    transport: { type: "custom", open },
    calls,
    list,
    opened: () => opened,
    kill: async () => end?.close(),
    down: (down) => {
      isDown = down
    },
    listChanged: async () => current?.sendToolListChanged(),
    server: () => current as Server,
    onServer: (add) => void adding.push(add)
  }
}

/** A server of 2025 that runs its tools as tasks: the official package has none, so the messages are written by hand. */
export const taskServer = (taskSupport: "optional" | "required" | "forbidden" = "required") => {
  const requests: Array<{ readonly method: string; readonly params: Record<string, any> }> = []
  const answered: Array<unknown> = []
  let send: (message: object) => void = () => {}
  let status: Record<string, unknown> = { status: "working" }
  let result: Record<string, unknown> | undefined
  let waiting: unknown
  let asked = 100
  let isSilent = false
  const task = () => ({ taskId: "t1", ttl: null, createdAt: "", lastUpdatedAt: "", pollInterval: 500, ...status })
  const reply = (id: unknown, result: object) => send({ jsonrpc: "2.0", id, result })
  const onRequest = (id: unknown, method: string, params: Record<string, any>): void => {
    switch (method) {
      case "initialize":
        return reply(id, {
          protocolVersion: "2025-11-25",
          serverInfo: { name: "tasks", version: "1" },
          capabilities: { tools: {}, tasks: { requests: { tools: { call: {} } }, cancel: {} } }
        })
      case "tools/list":
        return reply(id, { tools: [{ ...tool("research"), execution: { taskSupport } }] })
      case "tools/call":
        return reply(id, params.task === undefined ? text("at once") : { task: task() })
      case "tasks/get":
        return isSilent ? undefined : reply(id, task())
      case "tasks/result":
        if (result === undefined) waiting = id
        else reply(id, result)
        return
      case "tasks/cancel":
        return reply(id, task())
      default:
        return send({ jsonrpc: "2.0", id, error: { code: -32601, message: "Method not found" } })
    }
  }
  const open = (): unknown => {
    const [ours, theirs] = InMemoryTransport.createLinkedPair()
    send = (message) => void theirs.send(message as never)
    theirs.onmessage = (message: Record<string, any>) => {
      if (message.method === undefined) answered.push(message.result ?? message.error)
      else if (message.id !== undefined) {
        requests.push({ method: message.method, params: message.params ?? {} })
        onRequest(message.id, message.method, message.params ?? {})
      }
    }
    void theirs.start()
    return ours
  }
  return {
    transport: { type: "custom", open } as McpClient.Transport,
    requests,
    methods: () => requests.map(({ method }) => method).filter((method) => /^t/.test(method)),
    answered,
    become: (next: Record<string, unknown>) => {
      status = next
    },
    silent: () => {
      isSilent = true
    },
    finish: (next: Record<string, unknown>) => {
      result = next
      if (waiting !== undefined) reply(waiting, next)
    },
    /** asks, with the task that it asks for, or without */
    ask: (params: Record<string, unknown>, taskId?: string) =>
      send({
        jsonrpc: "2.0",
        id: ++asked,
        method: "elicitation/create",
        params: {
          ...params,
          ...(taskId === undefined ? {} : { _meta: { "io.modelcontextprotocol/related-task": { taskId } } })
        }
      })
  }
}
