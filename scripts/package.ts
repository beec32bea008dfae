/**
 * Does the package work for somebody who has nothing but what it brings? Packs it, and looks at the tarball: do the links of
 * its pages lead to files in it? Then runs the README's first example and the programs of `docs/start.md`, each in an empty
 * folder, installed with the commands that the pages give, type-checked, and with a local server in the place of OpenAI.
 * Beside them run their counterparts on the AI SDK, of which `scripts/lines.ts` counts the lines.
 *
 *     npm run test:package
 *     node --import tsx scripts/package.ts server.ts   # of the programs only this one; `npm run build` first
 */
import { spawn } from "node:child_process"
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync
} from "node:fs"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { setTimeout } from "node:timers/promises"
import { fileURLToPath } from "node:url"
import { Effect } from "effect"
import { build } from "esbuild"
import ts from "typescript"
import * as OpenAi from "../test/wire/OpenAi.js"
import { type Request as Asked, call, type Script } from "../test/wire/Script.js"
import { ours, table, theirs } from "./lines.js"

const root = fileURLToPath(new URL("..", import.meta.url))
const read = (path: string) => readFileSync(join(root, path), "utf8")

const required = <A>(value: A | undefined, what: string): A => {
  if (value === undefined) throw new Error(`There is no ${what}.`)
  return value
}
const expectSame = (what: string, actual: unknown, expected: unknown): void => {
  const [a, e] = [JSON.stringify(actual), JSON.stringify(expected)]
  if (a !== e) throw new Error(`${what}: expected ${e}, got ${a}`)
}

// --- what the pages say ----------------------------------------------------------------------------------------------

const readme = read("README.md")
const start = read("docs/start.md")
const install = required(
  /^npm i (effect-meantime .*)$/m.exec(readme)?.[1],
  "command to install the package in README.md"
)
const example = required(/^```ts\n([\s\S]*?)^```$/m.exec(readme)?.[1], "example in README.md")

/** What a program of `docs/start.md` needs beyond the README's command: the `npm i` of its section. */
const needs = (file: string): ReadonlyArray<string> => {
  const section = required(
    start.split(/^(?=## )/m).find((section) => new RegExp(` ${file.replaceAll(".", "\\.")}( |$)`, "m").test(section)),
    `section about ${file} in docs/start.md`
  )
  return Array.from(section.matchAll(/^npm i (?:-D )?(.*)$/gm), ([, names = ""]) => names.split(" ")).flat()
}

// --- folders and processes -------------------------------------------------------------------------------------------

const work = mkdtempSync(join(tmpdir(), "effect-meantime-"))

/** Runs a command, and gives what it printed; what it complains of is shown. */
const run = (
  cwd: string,
  command: string,
  args: ReadonlyArray<string>,
  options: { readonly input?: string; readonly env?: Record<string, string> } = {}
): Promise<string> =>
  new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd,
      env: { ...process.env, ...options.env },
      stdio: ["pipe", "pipe", "inherit"]
    })
    let out = ""
    child.stdout.on("data", (data) => {
      out += data
    })
    child.on("error", reject)
    child.on("close", (code) =>
      code === 0 ? resolve(out) : reject(new Error(`${command} ${args.join(" ")} ended with ${code}:\n${out}`))
    )
    child.stdin.end(options.input ?? "")
  })

/** An empty folder, with these packages and nothing else. */
const folder = async (name: string, packages: ReadonlyArray<string>): Promise<string> => {
  const at = join(work, name)
  mkdirSync(at)
  writeFileSync(join(at, "package.json"), JSON.stringify({ name, private: true, type: "module" }))
  await run(at, "npm", ["i", "--no-audit", "--no-fund", "--prefer-offline", "--ignore-scripts", ...packages])
  // fails if a peer is missing or of another version, or if there are two of a kind
  await run(at, "npm", ["ls", "--all"])
  return at
}

/** Type-checks a file as a newcomer's project does, and writes the JavaScript beside it. */
const compile = (at: string, file: string): void => {
  const program = ts.createProgram([join(at, file)], {
    target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    moduleDetection: ts.ModuleDetectionKind.Force,
    strict: true,
    exactOptionalPropertyTypes: true,
    typeRoots: [join(at, "node_modules/@types")],
    types: existsSync(join(at, "node_modules/@types/node")) ? ["node"] : []
  })
  // the program and what it imports of ours; the declarations of others are theirs
  const checked = program
    .getSourceFiles()
    .filter(({ fileName }) => /\/node_modules\/effect-meantime\//.test(fileName) || !/\/node_modules\//.test(fileName))
  const diagnostics = checked.flatMap((file) => [
    ...program.getSyntacticDiagnostics(file),
    ...program.getSemanticDiagnostics(file)
  ])
  if (diagnostics.length > 0) {
    throw new Error(
      ts.formatDiagnostics(diagnostics, {
        getCanonicalFileName: (name) => name,
        getCurrentDirectory: () => at,
        getNewLine: () => "\n"
      })
    )
  }
  program.emit()
}

/** With a local server in the place of OpenAI, which answers by the script. */
const withOpenAi = (script: Script, use: (env: Record<string, string>) => Promise<void>): Promise<void> =>
  Effect.gen(function* () {
    const server = yield* OpenAi.make(script)
    yield* Effect.promise(() => use({ OPENAI_BASE_URL: server.url, OPENAI_API_KEY: "key" }))
    expectSame("rules of the API that were broken", server.violations, [])
  }).pipe(Effect.scoped, Effect.runPromise)

// --- the tarball -----------------------------------------------------------------------------------------------------

/** Every relative link of a page leads to a file of the package, and no address of the package is made up. */
const checkPages = (installed: string): void => {
  const pages = (at: string): ReadonlyArray<string> =>
    readdirSync(at, { withFileTypes: true }).flatMap((entry) =>
      entry.isDirectory() ? pages(join(at, entry.name)) : entry.name.endsWith(".md") ? [join(at, entry.name)] : []
    )
  const wrong: Array<string> = []
  for (const page of pages(installed)) {
    // code may look like a link
    const text = readFileSync(page, "utf8")
      .replace(/^```[\s\S]*?^```$/gm, "")
      .replace(/`[^`\n]*`/g, "")
    const links = text.matchAll(/\]\(([^)\s]+)\)|\b(?:src|srcset|href)="([^"]+)"/g)
    for (const [, link, source] of links) {
      const target = (link ?? source ?? "").replace(/#.*$/, "")
      if (/^https?:/.test(target)) {
        if (target.includes("effect-meantime")) wrong.push(`${page}: ${target} is an address that nobody has`)
      } else if (target !== "" && !existsSync(join(dirname(page), target))) wrong.push(`${page}: ${target}`)
    }
  }
  // for an agent, a path in backquotes is a link
  for (const [, path = ""] of readFileSync(join(installed, "AGENTS.md"), "utf8").matchAll(
    /`((?:docs|dist|examples)\/[\w./-]+|[A-Z]+\.md)`/g
  )) {
    if (!existsSync(join(installed, path))) wrong.push(`AGENTS.md: ${path}`)
  }
  expectSame("links that lead nowhere", wrong, [])
}

// --- the programs ----------------------------------------------------------------------------------------------------

const ending = `
import { Chunk, Stream, TestContext } from "effect"
import { ScriptedModel, TestSession } from "effect-meantime/testing"
import { sentences } from "effect-meantime/voice"

const said = await TestSession.drive(main).pipe(
  Effect.provide(
    ScriptedModel.layer([
      ScriptedModel.toolCall("book_flight", { from: "Oslo", to: "Tokyo" }),
      "I am on it.",
      "KLM has one.",
      "It is booked."
    ])
  ),
  Effect.provide(TestContext.TestContext),
  Effect.runPromise
)
console.log(said)
const spoken = await Effect.runPromise(Stream.runCollect(sentences(Stream.make("One 1.", "5. Two."))))
console.log(Chunk.toReadonlyArray(spoken).map(({ text }) => text).join("|"))
`

/** What each program does, in the folder where it is. */
const programs: Record<string, (at: string, side: "ours" | "theirs") => Promise<void>> = {
  "quick-start.ts": (at) =>
    withOpenAi([call("weather", { city: "Oslo" }), "It is 21 degrees in Oslo.", "You are welcome."], async (env) => {
      compile(at, "quick-start.ts")
      const input = "How is the weather in Oslo?\nThank you.\n"
      const out = await run(at, "node", ["quick-start.js"], { input, env })
      expectSame("quick-start.ts", out, "It is 21 degrees in Oslo.\nYou are welcome.\n")
    }),
  "own-tool.test.ts": async (at) => {
    compile(at, "own-tool.test.ts")
    rmSync(join(at, "own-tool.test.js"))
    const out = await run(at, "npx", ["--no-install", "vitest", "run", "own-tool.test.ts"], { env: { NO_COLOR: "1" } })
    expectSame("own-tool.test.ts", /Tests {2}(.*)$/m.exec(out)?.[1], "2 passed (2)")
  },
  "resumed.ts": (at) =>
    withOpenAi(
      [
        "Have a good flight.",
        ({ body }) => (JSON.stringify(body.input).includes("I fly to Oslo.") ? "To Oslo." : "I do not know.")
      ],
      async (env) => {
        compile(at, "resumed.ts")
        const turn = (text: string) => run(at, "node", ["resumed.js", "chat", text], { env })
        expectSame("resumed.ts", await turn("I fly to Oslo."), "Have a good flight.\n")
        expectSame("resumed.ts", await turn("Where do I fly to?"), "To Oslo.\n")
      }
    ),
  "server.ts": (at, side) => {
    const again = ({ body }: Asked) =>
      JSON.stringify(body.input).includes("chocolate") ? "Not yet." : "What do you mean?"
    return withOpenAi([call("bake", { cake: "chocolate cake" }), "It is in the oven.", again, again], async (env) => {
      compile(at, "server.ts")
      // both say where they listen and whom they ask in the program itself
      const compiled = readFileSync(join(at, "server.js"), "utf8")
      const port = await freePort()
      writeFileSync(join(at, "server.js"), compiled.replace("3000", String(port)))
      writeFileSync(
        join(at, "wire.js"),
        `const real = fetch
globalThis.fetch = (url, init) => real(String(url).replace("https://api.openai.com/v1", "${env.OPENAI_BASE_URL}"), init)`
      )
      await serving(at, ["--import", "./wire.js", "server.js"], env, port, async (url) => {
        const ask = side === "ours" ? askOurs : askTheirs
        expectSame("server.ts", await ask(`${url}/chat/ada`, "A chocolate cake, please.", 1), "It is in the oven.")
        // each conversation by itself
        expectSame("server.ts", await ask(`${url}/chat/bo`, "Is it done?", 1), "What do you mean?")
        expectSame("server.ts", await ask(`${url}/chat/ada`, "Is it done?", 2), "Not yet.")
      })
    })
  }
}

/** Says something, then reads what happened in the conversation, up to so many words of the agent. */
const askOurs = async (chat: string, text: string, count: number): Promise<string> => {
  const headers = { "content-type": "application/json" }
  const { status } = await fetch(chat, { method: "POST", body: JSON.stringify({ text }), headers })
  expectSame("status", status, 202)
  let said = 0
  for await (const data of messages(await fetch(chat))) {
    const { _tag, item } = JSON.parse(data)
    if (_tag === "ItemAdded" && item._tag === "Message" && item.role === "assistant" && ++said === count)
      return item.text
  }
  return "The stream ended."
}

const askTheirs = async (chat: string, text: string): Promise<string> => {
  let said = ""
  for await (const data of messages(await fetch(chat, { method: "POST", body: JSON.stringify({ text }) }))) {
    if (data !== "[DONE]") said += JSON.parse(data).delta ?? ""
  }
  return said
}

/** The data of server-sent events. */
async function* messages({ body }: Response): AsyncGenerator<string> {
  let rest = ""
  for await (const chunk of body ?? []) {
    const lines = `${rest}${Buffer.from(chunk).toString()}`.split("\n")
    rest = lines.pop() ?? ""
    for (const line of lines) if (line.startsWith("data: ")) yield line.slice("data: ".length)
  }
}

const freePort = (): Promise<number> =>
  new Promise((resolve) => {
    const probe = createServer().listen(0, () => {
      const { port } = probe.address() as AddressInfo
      probe.close(() => resolve(port))
    })
  })

/** Runs a server for as long as it is used. */
const serving = async (
  at: string,
  args: ReadonlyArray<string>,
  env: Record<string, string>,
  port: number,
  use: (url: string) => Promise<void>
): Promise<void> => {
  const child = spawn("node", args, {
    cwd: at,
    env: { ...process.env, ...env },
    stdio: ["ignore", "ignore", "inherit"]
  })
  const ended = new Promise<void>((resolve) => child.on("close", () => resolve()))
  try {
    const url = `http://127.0.0.1:${port}`
    for (;;) {
      if (child.exitCode !== null) throw new Error("The server ended before it listened.")
      const there = await fetch(url).then(
        () => true,
        () => false
      )
      if (there) break
      await setTimeout(100)
    }
    await use(url)
  } finally {
    child.kill("SIGTERM")
    await ended
  }
}

// --- a page with useChat ---------------------------------------------------------------------------------------------

/** What the page of `docs/ui.md` does with its chat, without a browser. */
const drive = `
import { Chat } from "@ai-sdk/react"
import { DefaultChatTransport } from "ai"
import { approvalsAnswered, deferredReplies, patchCalls } from "effect-meantime/ui/client"

const chat = new Chat({
  id: "a-chat-of-ann-0123456789",
  transport: new DefaultChatTransport({ api: process.argv[2] + "/api/chat" }),
  onData: (part) => patchCalls(chat)(part),
  sendAutomaticallyWhen: approvalsAnswered
})
const parts = () => chat.messages.flatMap(({ parts }) => parts)
const until = async (look) => {
  while (!look()) await new Promise((done) => setTimeout(done, 50))
}
await chat.sendMessage({ text: "A chocolate cake, please." })
const stop = deferredReplies(chat)
await chat.sendMessage({ text: "Pay for it." })
const asked = parts().find(({ state }) => state === "approval-requested")
await chat.addToolApprovalResponse({ id: asked.approval.id, approved: true })
await until(() => parts().some(({ output, preliminary }) => output === "Done!" && !preliminary))
await until(() => parts().some(({ text }) => text === "The cake is done.") && chat.status === "ready")
stop()
console.log(parts().flatMap(({ text, output }) => text ?? output ?? []).join("\\n"))
process.exit(0)
`

/** The server of forty lines and its page, as the docs show them. */
const pageFromTarball = async (packages: ReadonlyArray<string>): Promise<void> => {
  const theirs = ["ai@^6", "@ai-sdk/react@^3", "react@^19", "react-dom@^19", "zod@^4"]
  const at = await folder("use-chat", [...packages, ...needs("server.ts"), ...theirs, "@types/node@^20"])
  copyFileSync(join(root, "examples/use-chat/server.ts"), join(at, "server.ts"))
  copyFileSync(join(root, "examples/use-chat/page/Page.tsx"), join(at, "Page.tsx"))
  writeFileSync(join(at, "drive.js"), drive)
  compile(at, "server.ts")
  // the page, with what a bundler finds in the package
  await build({
    absWorkingDir: at,
    entryPoints: ["Page.tsx"],
    bundle: true,
    write: false,
    format: "esm",
    platform: "browser",
    jsx: "automatic",
    logLevel: "warning"
  })
  const script = [
    call("bake", { cake: "chocolate cake" }),
    "It is in the oven.",
    call("pay", { euros: 5 }),
    "Do you agree?",
    "It is paid.",
    "The cake is done."
  ]
  await withOpenAi(script, async (env) => {
    const port = await freePort()
    const compiled = readFileSync(join(at, "server.js"), "utf8")
    // the minute that a cake takes is longer than a test
    writeFileSync(join(at, "server.js"), compiled.replace("3000", String(port)).replace('"1 minute"', '"5 seconds"'))
    writeFileSync(
      join(at, "wire.js"),
      `const real = fetch
globalThis.fetch = (url, init) => real(String(url).replace("https://api.openai.com/v1", "${env.OPENAI_BASE_URL}"), init)`
    )
    await serving(at, ["--import", "./wire.js", "server.js"], env, port, async (url) => {
      const out = await run(at, "node", ["drive.js", url])
      expectSame("what the page has", out.trimEnd().split("\n"), [
        "A chocolate cake, please.",
        "Done!",
        "It is in the oven.",
        "Pay for it.",
        "Paid 5 euros.",
        "Do you agree?",
        "It is paid.",
        "The cake is done."
      ])
    })
  })
  console.log("The server of forty lines runs behind useChat, and its page is built, from the packed package.")
}

try {
  await run(root, "npm", ["pack", "--silent", "--ignore-scripts", "--pack-destination", work])
  const tarball = join(
    work,
    required(
      readdirSync(work).find((file) => file.endsWith(".tgz")),
      "tarball"
    )
  )
  const packages = install.split(" ").map((name) => (name === "effect-meantime" ? tarball : name))

  const first = await folder("readme", packages)
  checkPages(join(first, "node_modules/effect-meantime"))
  writeFileSync(join(first, "example.ts"), example + ending)
  compile(first, "example.ts")
  expectSame("the README's first example", (await run(first, "node", ["example.js"])).split("\n").slice(-3, -1), [
    "It is booked.",
    "One 1.5. |Two."
  ])
  const listed = JSON.parse(await run(first, "npm", ["ls", "--depth=0", "--json"]))
  const versions = Object.entries<{ version: string }>(listed.dependencies).map(
    ([name, { version }]) => `${name} ${version}`
  )
  console.log(`The README's command installs ${versions.join(", ")}, and its first example runs.`)

  // with the command of the page; without it, nothing of SQLite is installed
  const forSqlite = required(
    /^npm i (@effect\/sql.*)$/m.exec(read("docs/restart.md"))?.[1],
    "command in docs/restart.md"
  )
  expectSame("a database in the package", existsSync(join(first, "node_modules/@effect/sql")), false)
  const durable = await folder("durable", [...packages, ...forSqlite.split(" "), "@types/node@^20"])
  copyFileSync(join(root, "test/package/survives.ts"), join(durable, "survives.ts"))
  compile(durable, "survives.ts")
  const turn = (...args: ReadonlyArray<string>) => run(durable, "node", ["survives.js", ...args])
  expectSame("a first life", await turn("1", "Hello."), "2: You said: Hello.\n")
  expectSame("a second life", await turn("2", "Again."), "4: You said: Hello. Again.\n")
  expectSame("a turn that was asked for before", await turn("2", "Again."), "4: You said: Hello. Again.\n")
  console.log("A session in a file of SQLite goes on in the next process.")

  const theirPackages = ["ai@^6", "@ai-sdk/openai@^3", "@ai-sdk/provider@^3", "zod@^4", "vitest@^3", "@types/node@^20"]
  const beside = await folder("ai-sdk", theirPackages)
  for (const [file, use] of Object.entries(programs)) {
    if (process.argv[2] !== undefined && process.argv[2] !== file) continue
    const at = await folder(file.replace(/\..*$/, ""), [...packages, ...needs(file), "@types/node@^20"])
    copyFileSync(ours(file), join(at, file))
    await use(at, "ours")
    copyFileSync(theirs(file), join(beside, file))
    await use(beside, "theirs")
    console.log(`${file} runs in an empty folder, and so does its counterpart on the AI SDK.`)
  }
  const protocol = Array.from(read("docs/mcp.md").matchAll(/^npm i (.*)$/gm), ([, names = ""]) =>
    names.split(" ")
  ).flat()
  const mcp = await folder("mcp", [...packages, ...protocol, "@types/node@^20"])
  copyFileSync(join(root, "test/package/mcp.ts"), join(mcp, "mcp.ts"))
  compile(mcp, "mcp.ts")
  expectSame("test/package/mcp.ts", (await run(mcp, "node", ["mcp.js"])).trim(), "Hello, Ada.")
  console.log("A server of the Model Context Protocol and its host run in an empty folder.")
  if (process.argv[2] === undefined || process.argv[2] === "use-chat") await pageFromTarball(packages)
  expectSame("the table in docs/start.md", start.includes(table()), true)
  console.log(table())
} finally {
  rmSync(work, { recursive: true, force: true })
}
