import { type ChildProcess, spawn } from "node:child_process"
import { root } from "./programs.js"

export interface Served {
  readonly url: string
  readonly logs: () => ReadonlyArray<Record<string, any>>
  readonly text: () => string
  /** asks it to end, as a container does; gives its exit code */
  readonly end: () => Promise<number | null>
  readonly child: ChildProcess
}

/** Starts the server of the examples in a process of its own, on a port that is free. */
export const serve = (env: Record<string, string> = {}): Promise<Served> =>
  new Promise((resolve, reject) => {
    const inherited = Object.entries(process.env).filter(([name]) => !/^(OPENAI|ANTHROPIC|DEMO|PORT|HOST$)/.test(name))
    const child = spawn(process.execPath, ["--import", "tsx", "examples/server/main.ts"], {
      cwd: root,
      env: { ...Object.fromEntries(inherited), PORT: "0", DEMO_SPEED: "20", ...env }
    })
    let text = ""
    const logs = () =>
      text
        .split("\n")
        .filter((line) => line !== "")
        .map((line) => JSON.parse(line))
    const ended = new Promise<number | null>((done) => child.on("close", done))
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
        }
      })
    }
    child.stdout.on("data", told)
    child.stderr.on("data", told)
    child.on("error", reject)
    child.on("close", (code) => reject(new Error(`The server ended with ${code}: ${text}`)))
  })
