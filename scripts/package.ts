/**
 * Does the package work for somebody who has nothing but the README? Packs it, installs the tarball into an empty project
 * with the command that the README gives, type-checks the README's first example there, and runs it with a scripted model
 * in virtual time.
 *
 *     npm run test:package
 */
import { execFileSync } from "node:child_process"
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import ts from "typescript"

const root = fileURLToPath(new URL("..", import.meta.url))
const readme = readFileSync(join(root, "README.md"), "utf8")

const required = <A>(value: A | undefined, what: string): A => {
  if (value === undefined) throw new Error(`The README has no ${what}.`)
  return value
}
const install = required(/^npm i (effect-meantime .*)$/m.exec(readme)?.[1], "command to install the package")
const example = required(/^```ts\n([\s\S]*?)^```$/m.exec(readme)?.[1], "example")

const ending = `
import { TestContext } from "effect"
import { ScriptedModel, TestSession } from "effect-meantime/testing"

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
if (said !== "It is booked.") throw new Error(\`The README's first example said: \${said}\`)
`

const project = mkdtempSync(join(tmpdir(), "effect-meantime-"))
const run = (command: string, args: ReadonlyArray<string>, cwd = project): void => {
  execFileSync(command, args, { cwd, stdio: ["ignore", "inherit", "inherit"] })
}

try {
  run("npm", ["pack", "--silent", "--ignore-scripts", "--pack-destination", project], root)
  const tarball = required(
    readdirSync(project).find((file) => file.endsWith(".tgz")),
    "tarball"
  )
  writeFileSync(join(project, "package.json"), JSON.stringify({ name: "empty", private: true, type: "module" }))
  const packages = install.split(" ").map((name) => (name === "effect-meantime" ? `./${tarball}` : name))
  run("npm", ["install", "--no-audit", "--no-fund", "--prefer-offline", "--ignore-scripts", ...packages])

  writeFileSync(join(project, "example.ts"), example + ending)
  const options: ts.CompilerOptions = {
    target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    strict: true,
    exactOptionalPropertyTypes: true,
    types: []
  }
  const program = ts.createProgram([join(project, "example.ts")], options)
  // the example and what it imports of ours; the declarations of others are theirs
  const ours = program
    .getSourceFiles()
    .filter(({ fileName }) => /\/node_modules\/effect-meantime\//.test(fileName) || !/\/node_modules\//.test(fileName))
  const diagnostics = ours.flatMap((file) => [
    ...program.getSyntacticDiagnostics(file),
    ...program.getSemanticDiagnostics(file)
  ])
  if (diagnostics.length > 0) {
    const host = {
      getCanonicalFileName: (name: string) => name,
      getCurrentDirectory: () => project,
      getNewLine: () => "\n"
    }
    throw new Error(ts.formatDiagnostics(diagnostics, host))
  }
  program.emit()
  run("node", ["example.js"])
  console.log("The tarball, installed as the README says, runs the README's first example.")
} finally {
  rmSync(project, { recursive: true, force: true })
}
