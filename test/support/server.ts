import { type ChildProcess, spawn } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { expect } from "vitest"
import { root } from "./programs.js"

export interface Served {
  readonly url: string
  readonly logs: () => ReadonlyArray<Record<string, any>>
  readonly text: () => string
  /** asks it to end, as a container does; gives its exit code */
  readonly end: () => Promise<number | null>
  /** stops it on the spot, as a crash does */
  readonly kill: () => Promise<unknown>
  readonly child: ChildProcess
}

/**
 * Starts the server of the examples in a process of its own, on a port that is free. Without arguments it keeps its
 * conversations in a file that is gone when it ends.
 */
export const serve = (env: Record<string, string> = {}, args?: ReadonlyArray<string>): Promise<Served> =>
  new Promise((resolve, reject) => {
    const inherited = Object.entries(process.env).filter(([name]) => !/^(OPENAI|ANTHROPIC|DEMO|PORT|HOST$)/.test(name))
    const folder = args === undefined ? mkdtempSync(join(tmpdir(), "effect-meantime-")) : undefined
    const where = args ?? ["--file", join(folder as string, "conversations.db")]
    const child = spawn(process.execPath, ["--import", "tsx", "examples/server/main.ts", ...where], {
      cwd: root,
      env: { ...Object.fromEntries(inherited), PORT: "0", DEMO_SPEED: "20", ...env }
    })
    let text = ""
    const logs = () =>
      text
        .split("\n")
        .filter((line) => line !== "")
        .map((line) => JSON.parse(line))
    const ended = new Promise<number | null>((done) => child.on("close", done)).finally(() => {
      if (folder !== undefined) rmSync(folder, { recursive: true, force: true })
    })
    const told = (data: Buffer): void => {
      text += data
      const listening = text.split("\n").find((line) => line.includes('"listening"') && line.endsWith("}"))
      if (listening === undefined) return
      const { url } = JSON.parse(listening).annotations
      resolve({
        url,
        child,
        logs,
        text: () => text,
        end: () => {
          child.kill("SIGTERM")
          return ended
        },
        kill: () => {
          child.kill("SIGKILL")
          return ended
        }
      })
    }
    child.stdout.on("data", told)
    child.stderr.on("data", told)
    child.on("error", reject)
    child.on("close", (code) => reject(new Error(`The server ended with ${code}: ${text}`)))
  })

/** One visitor: its cookie, and what it is told. With a cookie it is one who was there before. */
export const visit = async (server: Served, known?: string) => {
  const page = await fetch(server.url, { headers: known === undefined ? {} : { cookie: known } })
  await page.text()
  const cookie = known ?? (page.headers.get("set-cookie")?.split(";")[0] as string)
  const post = (what: string, body: unknown = {}, headers: Record<string, string> = {}) =>
    fetch(`${server.url}api/${what}`, {
      method: "POST",
      headers: { cookie, "content-type": "application/json", ...headers },
      body: typeof body === "string" ? body : JSON.stringify(body)
    })
  const listen = (query = "", headers: Record<string, string> = {}) => {
    const events: Array<any> = []
    const stop = new AbortController()
    const waiting = new Set<() => void>()
    let over = false
    // headers come once the server has subscribed: what happens before reaches a page as items only
    let open = () => {}
    const opened = new Promise<void>((resolve) => {
      open = resolve
    })
    const tell = () => {
      for (const look of waiting) look()
    }
    const ended = (async () => {
      const response = await fetch(`${server.url}api/events${query}`, {
        headers: { cookie, ...headers },
        signal: stop.signal
      })
      open()
      let text = ""
      for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
        text += Buffer.from(chunk).toString("utf8")
        const frames = text.split("\n\n")
        text = frames.pop() as string
        for (const frame of frames) {
          const data = frame.split("\n").find((line) => line.startsWith("data: "))
          if (data === undefined) continue
          const event = JSON.parse(data.slice(6))
          const id = frame.split("\n").find((line) => line.startsWith("id: "))
          expect(id?.slice(4)).toBe(event._tag === "ItemAdded" ? event.item.id : undefined)
          events.push(event)
        }
        tell()
      }
    })()
      .catch((error) => {
        if (!stop.signal.aborted) throw error
      })
      .finally(() => {
        over = true
        tell()
      })
    const until = (found: () => boolean) =>
      new Promise<void>((resolve, reject) => {
        const look = () => {
          if (found()) resolve()
          else if (over) reject(new Error(`the stream ended: ${events.map(({ _tag }) => _tag).join(" ")}`))
          else return
          waiting.delete(look)
        }
        waiting.add(look)
        look()
      })
    const items = () => events.flatMap((event) => (event._tag === "ItemAdded" ? [event.item] : []))
    return {
      events,
      items,
      said: (role: string) =>
        items().flatMap((item) => (item._tag === "Message" && item.role === role ? [item.text] : [])),
      until,
      opened,
      ended,
      stop: () => stop.abort()
    }
  }
  return { cookie, post, listen, page }
}
