/**
 * What the compiler says of mistakes: of those on the page, and of the same ones in all other places. One program has
 * them all, each in a function of its own, on top of the page's code.
 */
import { readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { describe, expect, it } from "@effect/vitest"
import ts from "typescript"

const root = fileURLToPath(new URL("../../", import.meta.url))
const page = readFileSync(`${root}docs/mistakes.md`, "utf8")

interface Mistake {
  readonly code: string
  /** the line, what is underlined in it, the first line of the message; `…` stands for any text */
  readonly says: string
}

const blocks = (language: string) =>
  Array.from(page.matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\`$`, "gm")), ([, code = ""]) => code)

const onPage = Array.from(
  page.matchAll(/^```ts wrong\n([\s\S]*?)^```\n\n```console\n([\s\S]*?)\n```$/gm),
  ([, code = "", says = ""]): Mistake => ({ code, says })
)

const list = `Type 'Tool<"weather", …>' is not assignable to type 'Entry | Expected<"toolkits: [Toolkit.make(tool)]">'.`
const schema = `is not assignable to type '… | Expected<"a Schema of Effect, such as Schema.String"> | undefined'.`
const result = `Expected<"a Schema.Struct of Effect: Schema.Struct({ email: Schema.String })">`
const placeholder = (template: string, what: string) =>
  `Type '"${template}"' is not assignable to type '"${template}" & Expected<"${what}; a literal brace is written twice">'.`

const elsewhere: ReadonlyArray<readonly [string, string, string]> = [
  [`AsyncToolset.make("x", [Outdoors, Weather])`, "Weather", list],
  [`AsyncToolset.make("x", [outdoors, Weather], { maxConcurrency: 2 })`, "Weather", list],
  [`Agent.make("x", { instructions: "", tools: [Outdoors, Weather], onEnter: Prices })`, "Weather", list],
  [`Agent.task("x", { instructions: "", tools: [Weather], result: Schema.Struct({}) })`, "Weather", list],
  [`AgentSession.make({ agent: guide, tools: [Weather] })`, "Weather", list],
  [`AgentSession.layer({ agent: guide, tools: [outdoors, Weather] })`, "Weather", list],
  [`TestSession.make({ agent: guide, tools: [Weather] })`, "Weather", list],
  [
    `Agent.make("x", { instructions: "", tools: Outdoors })`,
    "tools",
    `Type 'Toolkit<…>' is missing the following properties from type 'readonly (Entry | Expected<"toolkits: [Toolkit.make(tool)]">)[]': …`
  ],
  [
    `AsyncTool.make("x", { parameters: z.object({ a: z.string() }) })`,
    "parameters",
    `Type 'ZodObject<…>' is not assignable to type '… | Expected<"fields without Schema.Struct around them: { city: Schema.String }"> | undefined'.`
  ],
  [
    `AsyncTool.make("x", { parameters: { a: Schema.String, b: 1 } })`,
    "b",
    `Type 'number' is not assignable to type 'Field | Expected<"a Schema of Effect, such as Schema.String">'.`
  ],
  [`AsyncTool.make("x", { failure: z.string() })`, "failure", `Type 'ZodString' ${schema}`],
  [
    `AsyncTool.make("x", { success: { celsius: Schema.Number } })`,
    "celsius",
    `Object literal may only specify known properties, and 'celsius' does not exist in type '…Expected<"a Schema of Effect, such as Schema.String">…'.`
  ],
  [
    `Agent.task("x", { instructions: "", result: z.object({ a: z.string() }) })`,
    "result",
    `Type 'ZodObject<…>' is not assignable to type '${result} | …'.`
  ],
  [
    `Agent.task("x", { instructions: "", result: { email: Schema.String } })`,
    "email",
    `Object literal may only specify known properties, and 'email' does not exist in type '${result} | …'.`
  ],
  [
    `ToolPrompts.layer({ update: "{message}", ended: "{message}" })`,
    "ended",
    placeholder("{message}", "{toolName}, {callId} or {how} as a placeholder, not {message}")
  ],
  [
    `ToolPrompts.layer({ replyAtTail: "{callId}", update: ({ message }) => message })`,
    "replyAtTail",
    placeholder("{callId}", "{callIds} as a placeholder, not {callId}")
  ],
  ...(["inProgress", "released"] as const).map(
    (name) =>
      [
        `ToolPrompts.layer({ ${name}: "{how}" })`,
        name,
        placeholder("{how}", "{toolName} or {callId} as a placeholder, not {how}")
      ] as const
  ),
  ...(["duplicateReject", "duplicateConfirm"] as const).map(
    (name) =>
      [
        `ToolPrompts.layer({ ${name}: "{how}" })`,
        name,
        placeholder("{how}", "{toolName}, {running} or {runningText} as a placeholder, not {how}")
      ] as const
  )
]

const underlined = (line: string, part: string): string =>
  `${line}\n${" ".repeat(line.lastIndexOf(part))}${"~".repeat(part.length)}`

const mistakes: ReadonlyArray<Mistake> = [
  ...onPage,
  ...elsewhere.map(([line, part, says]) => ({ code: `${line}\n`, says: `${underlined(line, part)}\n${says}` }))
]

/** The first error in each of the mistakes, as the page shows it, and what is wrong with the page's own code. */
const check = () => {
  const file = `${root}test/mistakes-on-the-page.ts`
  const imports = new Set(["export {}"])
  const body = (code: string) =>
    code.replace(/^import .*$/gm, (line) => {
      imports.add(line)
      return ""
    })
  imports.add('import { z } from "zod"')
  const right = body(blocks("ts").join("\n"))
  const wrong = mistakes.map(({ code }) => `export const _ = () => {\n${body(code)}}\n`)
  const head = `${Array.from(imports).join("\n")}\n${right}\n`
  const text = head + wrong.map((code, i) => code.replace("const _", `const mistake${i}`)).join("")
  const config = ts.readConfigFile(`${root}tsconfig.json`, ts.sys.readFile)
  const { options } = ts.parseJsonConfigFileContent(config.config, ts.sys, root)
  // as most programs have it: with `exactOptionalPropertyTypes` some of the messages are longer
  const host = ts.createCompilerHost({ ...options, exactOptionalPropertyTypes: false, noUnusedLocals: false })
  const { getSourceFile, fileExists } = host
  host.fileExists = (name) => name === file || fileExists(name)
  host.getSourceFile = (name, language, ...rest) =>
    name === file ? ts.createSourceFile(name, text, language) : getSourceFile(name, language, ...rest)
  const program = ts.createProgram(
    [file],
    { ...options, exactOptionalPropertyTypes: false, noUnusedLocals: false },
    host
  )
  const source = program.getSourceFile(file) as ts.SourceFile
  const found = new Map<number, string>()
  const lines = text.split("\n")
  for (const { length, messageText, start = 0 } of [
    ...program.getSyntacticDiagnostics(source),
    ...program.getSemanticDiagnostics(source)
  ]) {
    const at = source.getLineAndCharacterOfPosition(start)
    const line = lines[at.line] ?? ""
    const of = text.slice(0, start).split(/^export const mistake\d+ = /m).length - 2
    if (found.has(of)) continue
    const marks = "~".repeat(Math.min(length ?? 0, line.length - at.character))
    const [first = ""] = ts.flattenDiagnosticMessageText(messageText, "\n").split("\n")
    found.set(of, `${line}\n${" ".repeat(at.character)}${marks}\n${first}`)
  }
  return found
}

const withGaps = (text: string): RegExp =>
  new RegExp(
    `^${text
      .split("…")
      .map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"))
      .join(".*")}$`
  )

describe("[L3] the compiler says at the place of a mistake what belongs there", () => {
  const found = check()

  it("and nothing of the code that is right", () => {
    expect(found.get(-1)).toBeUndefined()
    expect(onPage.length).toBe(blocks("ts wrong").length)
  })

  for (const [i, { says }] of mistakes.entries()) {
    it((says.split("\n")[0] ?? "").trim(), () => expect(found.get(i)).toMatch(withGaps(says)))
  }
})
