/**
 * Connections to the playground that break in the middle of a WebSocket upgrade: it has no use for one, and lives on.
 */
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { connect, type Socket } from "node:net"
import { expect, it } from "vitest"
import { root } from "../support/programs.js"

const upgrade = (path: string, port: number) =>
  [
    `GET ${path} HTTP/1.1`,
    `Host: 127.0.0.1:${port}`,
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "\r\n"
  ].join("\r\n")

/** What is sent before the reset, and what is waited for. */
const ways: Record<string, (port: number) => { readonly sent: string; readonly answered: boolean }> = {
  "half of its headers": (port) => ({ sent: upgrade("/", port).slice(0, 70), answered: false }),
  "all of it, for the page": (port) => ({ sent: upgrade("/", port), answered: false }),
  "all of it, for the events": (port) => ({ sent: upgrade("/api/events", port), answered: false }),
  "all of it, for nothing that is there": (port) => ({ sent: upgrade("/nothing", port), answered: false }),
  "a frame behind it that is cut": (port) => ({
    sent: `${upgrade("/api/events", port)}\u0081\u0085ab`,
    answered: false
  }),
  "what no key belongs to": (port) => ({
    sent: upgrade("/", port).replace(/Sec-WebSocket-Key.*\r\n/, ""),
    answered: false
  }),
  "all of it, until the events begin": (port) => ({ sent: upgrade("/api/events", port), answered: true }),
  "all of it, until the page begins": (port) => ({ sent: upgrade("/", port), answered: true })
}

/** Resolves once the connection has been reset from this side, or was closed by the other. */
const breaks = (port: number, { answered, sent }: { readonly sent: string; readonly answered: boolean }) =>
  new Promise<void>((resolve) => {
    const socket: Socket = connect({ host: "127.0.0.1", port })
    socket.on("error", () => {})
    socket.on("close", () => resolve())
    socket.write(sent, "latin1", () => {
      if (answered) socket.once("data", () => socket.resetAndDestroy())
      else socket.resetAndDestroy()
    })
  })

const started = async (child: ChildProcess): Promise<number> => {
  let out = ""
  for await (const text of child.stdout as AsyncIterable<Buffer>) {
    out += text
    const port = /http:\/\/127\.0\.0\.1:(\d+)\//.exec(out)?.[1]
    if (port !== undefined) return Number(port)
  }
  throw new Error(`the playground does not start: ${out}`)
}

it("the playground survives resets in the middle of an upgrade", { timeout: 180_000 }, async () => {
  const child = spawn(process.execPath, ["--import", "tsx", "examples/playground/main.ts", "--port", "0"], {
    cwd: root,
    env: Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(OPENAI|ANTHROPIC)/.test(name)))
  })
  let err = ""
  child.stderr.on("data", (text) => {
    err += text
  })
  const ended = once(child, "close")
  try {
    const port = await started(child)
    for (const [way, of] of Object.entries(ways)) {
      await Promise.all(Array.from({ length: 40 }, () => breaks(port, of(port))))
      const { status } = await fetch(`http://127.0.0.1:${port}/`).catch((error) => {
        throw new Error(`after ${way}: ${error} ${err}`)
      })
      expect(status, way).toBe(200)
    }
    // the conversation is still there, for who asks as a page does
    const events = await fetch(`http://127.0.0.1:${port}/api/events`)
    const reader = (events.body as ReadableStream<Uint8Array>).getReader()
    let text = ""
    while (!text.includes("event: hello")) text += new TextDecoder().decode((await reader.read()).value)
    await reader.cancel()
    expect(child.exitCode).toBe(null)
  } finally {
    child.kill("SIGINT")
  }
  expect((await ended)[0]).toBe(130)
  expect(err).toBe("")
})
