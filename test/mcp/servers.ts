/** The reference servers of the protocol, as processes of this one. */
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { readdirSync, readFileSync } from "node:fs"
import type { AddressInfo } from "node:net"
import { createServer } from "node:net"
import { fileURLToPath } from "node:url"
import type { McpClient } from "effect-meantime/mcp"

export const bin = (name: string): string =>
  fileURLToPath(new URL(`node_modules/@modelcontextprotocol/${name}/dist/index.js`, import.meta.url))

export const stdio = (name: string, ...args: ReadonlyArray<string>): McpClient.Transport => ({
  type: "stdio",
  command: process.execPath,
  args: [bin(name), ...args]
})

/** The children of this process that run such a file. */
export const children = (file: string): ReadonlyArray<number> =>
  readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        const parent = /^PPid:\t(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]
        return parent === String(process.pid) && readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(file)
      } catch {
        // it has ended meanwhile
        return false
      }
    })
    .map(Number)

export const freePort = async (): Promise<number> => {
  const server = createServer().listen(0)
  await once(server, "listening")
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, "close")
  return port
}

export interface HttpServer {
  readonly url: string
  readonly start: () => Promise<void>
  readonly kill: () => Promise<void>
}

/** The everything server over streamable HTTP, on a port that stays the same when it is started again. */
export const everythingOverHttp = async (): Promise<HttpServer> => {
  const port = await freePort()
  let child: ChildProcess | undefined
  return {
    url: `http://127.0.0.1:${port}/mcp`,
    start: async () => {
      child = spawn(process.execPath, [bin("server-everything"), "streamableHttp"], {
        env: { ...process.env, PORT: String(port) },
        stdio: ["ignore", "ignore", "pipe"]
      })
      for await (const chunk of child.stderr ?? []) if (String(chunk).includes("listening")) break
    },
    kill: async () => {
      const ending = child
      child = undefined
      if (ending === undefined || ending.exitCode !== null) return
      const ended = once(ending, "exit")
      ending.kill("SIGKILL")
      await ended
    }
  }
}
