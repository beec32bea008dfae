import { spawn } from "node:child_process"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { pathToFileURL } from "node:url"
import { Effect } from "effect"
import { root } from "./programs.js"

/** The program as it stands, on a port that is free, in a process whose requests to OpenAI come to us. */
export const serve = (source: string, wire: string) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const folder = mkdtempSync(join(root, "test/.bundles-"))
      writeFileSync(join(folder, "main.ts"), source.replace("port: 3000", "port: 0"))
      writeFileSync(
        join(folder, "wire.mjs"),
        `const real = fetch
globalThis.fetch = (url, init) => real(String(url).replace("https://api.openai.com/v1", ${JSON.stringify(wire)}), init)`
      )
      const child = spawn(
        process.execPath,
        ["--import", "tsx", "--import", pathToFileURL(join(folder, "wire.mjs")).href, join(folder, "main.ts")],
        { cwd: root, env: { ...process.env, OPENAI_API_KEY: "sk-test" } }
      )
      let out = ""
      const address = new Promise<string>((resolve, reject) => {
        const told = (data: Buffer): void => {
          out += data
          const port = /Listening on http:\/\/[^\s:]+:(\d+)/.exec(out)?.[1]
          if (port !== undefined) resolve(`http://127.0.0.1:${port}`)
        }
        child.stdout.on("data", told)
        child.stderr.on("data", told)
        child.on("close", (code) => reject(new Error(`It ended with ${code}: ${out}`)))
      })
      return { address: await address, child, folder }
    }),
    ({ child, folder }) =>
      Effect.promise(async () => {
        const ended = new Promise((done) => child.on("close", done))
        child.kill("SIGKILL")
        await ended
        rmSync(folder, { recursive: true, force: true })
      })
  )
