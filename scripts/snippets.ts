/**
 * Writes the code of README.md, of the guide's pages and of the docstrings to test/.snippets, one module for each page and
 * one for each docstring, so that `npm run check` type-checks it with everything else.
 *
 *     node --import tsx scripts/snippets.ts
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { guide, readSnippets, snippets, typed } from "../test/support/guide.js"

const root = new URL("../", import.meta.url)
const out = new URL("test/.snippets/", root)

const read = (path: string) => readFileSync(new URL(path, root), "utf8")
const blocks = (text: string) => Array.from(text.matchAll(/^```ts\n([\s\S]*?)^```$/gm), ([, code = ""]) => code)

/** Blocks of one page import what they need, each for itself; in one module a name can be imported once. */
const joined = (codes: ReadonlyArray<string>): string => {
  const imports = new Map<string, Set<string>>()
  const rest = codes.map((code) =>
    code.replace(/^import \{([^}]*)\} from "([^"]+)"\n/gm, (_, names: string, from: string) => {
      const all = imports.get(from) ?? new Set()
      for (const name of names.split(",")) if (name.trim() !== "") all.add(name.trim())
      imports.set(from, all)
      return ""
    })
  )
  // exported, so that nothing counts as unused
  const exported = rest.map((code) => code.replace(/^(?=(?:const|class|function|type|interface) )/gm, "export "))
  const lines = Array.from(imports, ([from, names]) => `import { ${Array.from(names).join(", ")} } from "${from}"`)
  return [...lines, ...exported, "export {}"].join("\n")
}

const files: Record<string, string> = { README: joined(blocks(read("README.md"))) }
// the other pages show parts of the examples, where a test looks for them
for (const page of [...guide, ...typed]) files[page] = joined(blocks(read(`docs/${page}.md`)))
for (const { code, number } of readSnippets(read(`docs/${snippets}.md`)))
  files[`${snippets}.${number}`] = joined([code])
for (const folder of [
  "src/",
  "src/ai-sdk/",
  "src/mcp/",
  "src/sql/",
  "src/sqlite/",
  "src/testing/",
  "src/ui/",
  "src/voice/"
]) {
  for (const file of readdirSync(new URL(folder, root))) {
    if (!file.endsWith(".ts")) continue
    const comments = read(`${folder}${file}`).match(/\/\*\*[\s\S]*?\*\//g) ?? []
    const codes = comments.flatMap((comment) => blocks(comment.replace(/^ \* ?/gm, "")))
    for (const [i, code] of codes.entries())
      files[`${folder.replaceAll("/", ".")}${file.replace(/\.ts$/, "")}.${i + 1}`] = joined([code])
  }
}

rmSync(out, { recursive: true, force: true })
mkdirSync(out, { recursive: true })
for (const [name, code] of Object.entries(files)) writeFileSync(new URL(`${name}.ts`, out), code)
