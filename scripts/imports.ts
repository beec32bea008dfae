/**
 * Checks who imports whom in `src`: no cycle among imports of values, and each room of `src/internal` takes only what
 * the table below allows. `import { type X }` counts as an import of a value: it loads the module all the same.
 */
import { readdirSync, readFileSync } from "node:fs"
import { dirname, join, relative, resolve } from "node:path"
import { fileURLToPath } from "node:url"
import ts from "typescript"

interface Import {
  readonly from: string
  /** a path below the root for a module of ours, else the name of a package's module */
  readonly to: string
  readonly ours: boolean
  readonly typeOnly: boolean
}

/** What a room may import; the longest matching prefix of a file decides. Types are checked where `types` says so. */
interface Rule {
  readonly room: string
  readonly may: ReadonlyArray<string>
  /** modules of packages; absent: any */
  readonly packages?: ReadonlyArray<string>
  /** holds for imports of types, too */
  readonly types?: boolean
}

const leaf = "Tags.ts"

const rules: ReadonlyArray<Rule> = [
  { room: leaf, may: [], packages: ["effect/Context", "effect/Data", "effect/Schema", "effect/Stream"] },
  {
    room: "internal/machine/",
    may: ["internal/machine/", "internal/values/metadata.ts", "internal/values/pairing.ts"],
    packages: ["effect/Either", "effect/Option"],
    types: true
  },
  // the words of the machine are types: they may name what the shell keeps in its slots
  { room: "internal/machine/words.ts", may: [], packages: [] },
  { room: "internal/values/", may: [leaf, "internal/values/"] },
  { room: "internal/model/", may: [leaf, "internal/model/", "internal/values/"] },
  {
    room: "internal/scope/",
    may: [leaf, "internal/scope/", "internal/model/", "internal/values/", "internal/machine/"]
  },
  {
    room: "internal/telemetry/",
    may: [leaf, "internal/telemetry/", "internal/scope/", "internal/machine/"]
  },
  { room: "internal/ai-sdk/", may: ["internal/ai-sdk/", "internal/model/"] },
  { room: "internal/sql/", may: [leaf, "internal/sql/", "internal/values/", "internal/model/errors.ts"] },
  {
    room: "internal/mcp/",
    may: [leaf, "internal/mcp/", "internal/scope/", "internal/model/", "internal/values/"]
  },
  { room: "internal/testing/", may: [leaf, "internal/testing/", "internal/model/", "internal/values/"] },
  { room: "internal/voice/", may: [leaf, "internal/voice/", "internal/values/"] },
  {
    room: "internal/ui/",
    may: [
      leaf,
      "internal/ui/",
      "internal/values/",
      "internal/model/errors.ts",
      "internal/machine/reports.ts",
      "internal/shell/sessionHandle.ts"
    ]
  },
  // it is for a browser: not a line of Effect
  { room: "ui/client.ts", may: [], packages: [] },
  { room: "internal/", may: [leaf, "internal/"] }
]

const sources = (folder: string): ReadonlyArray<string> =>
  readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts") || name.endsWith(".tsx"))
    .map((name) => name.replaceAll("\\", "/"))
    .sort()

const importsOf = (root: string, file: string): ReadonlyArray<Import> => {
  const path = join(root, file)
  const source = ts.createSourceFile(path, readFileSync(path, "utf8"), ts.ScriptTarget.Latest)
  const found: Array<Import> = []
  const add = (specifier: ts.Expression | undefined, typeOnly: boolean): void => {
    if (specifier === undefined || !ts.isStringLiteral(specifier)) return
    const name = specifier.text
    const ours = name.startsWith(".")
    const to = ours
      ? relative(root, resolve(dirname(path), name))
          .replaceAll("\\", "/")
          .replace(/\.js$/, ".ts")
      : name
    found.push({ from: file, to, ours, typeOnly })
  }
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node)) add(node.moduleSpecifier, node.importClause?.isTypeOnly === true)
    else if (ts.isExportDeclaration(node)) add(node.moduleSpecifier, node.isTypeOnly)
    else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) add(node.argument.literal, true)
    else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      add(node.arguments[0], false)
    }
    ts.forEachChild(node, visit)
  }
  visit(source)
  return found
}

const ruleOf = (file: string): Rule | undefined =>
  rules
    .filter(({ room }) => file === room || (room.endsWith("/") && file.startsWith(room)))
    .sort((a, b) => b.room.length - a.room.length)[0]

const isAllowed = (names: ReadonlyArray<string>, to: string): boolean =>
  names.some((name) => to === name || (name.endsWith("/") && to.startsWith(name)))

/** What each file imports that its room may not. */
const trespasses = (imports: ReadonlyArray<Import>): ReadonlyArray<string> =>
  imports.flatMap(({ from, ours, to, typeOnly }) => {
    const rule = ruleOf(from)
    if (rule === undefined || (typeOnly && rule.types !== true)) return []
    const allowed = ours ? isAllowed(rule.may, to) : rule.packages === undefined || isAllowed(rule.packages, to)
    return allowed ? [] : [`${from} may not import ${typeOnly ? "types of " : ""}${to}: see the rule of ${rule.room}`]
  })

/** The cycles among imports of values, each as the files in its order. */
const cycles = (imports: ReadonlyArray<Import>): ReadonlyArray<string> => {
  const next = new Map<string, Array<string>>()
  for (const { from, ours, to, typeOnly } of imports) {
    if (ours && !typeOnly) next.set(from, [...(next.get(from) ?? []), to])
  }
  const done = new Set<string>()
  const found = new Set<string>()
  const walk = (file: string, path: ReadonlyArray<string>): void => {
    const at = path.indexOf(file)
    if (at >= 0) {
      found.add(`a cycle of values: ${[...path.slice(at), file].join(" → ")}`)
      return
    }
    if (done.has(file)) return
    for (const to of next.get(file) ?? []) walk(to, [...path, file])
    done.add(file)
  }
  for (const file of next.keys()) walk(file, [])
  return Array.from(found)
}

/** All that is wrong in a folder of sources. */
export const check = (root: string): ReadonlyArray<string> => {
  const imports = sources(root).flatMap((file) => importsOf(root, file))
  return [...cycles(imports), ...trespasses(imports)]
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const problems = check(process.argv[2] ?? "src")
  for (const problem of problems) console.error(problem)
  console.log(
    `imports: ${problems.length === 0 ? "no cycle, and every room keeps to itself" : `${problems.length} wrong`}`
  )
  process.exitCode = problems.length === 0 ? 0 : 1
}
