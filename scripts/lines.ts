/**
 * How many lines a newcomer's program takes, beside the same program on the AI SDK. Blank lines and comments do not count;
 * both sides have the format of this repository.
 *
 *     node --import tsx scripts/lines.ts
 */
import { readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import ts from "typescript"

const root = fileURLToPath(new URL("..", import.meta.url))

/** The programs, in the order of `docs/start.md`. */
export const programs = [
  { file: "quick-start.ts", what: "a chat in the terminal with a tool" },
  { file: "own-tool.test.ts", what: "two tests of a tool of one's own" },
  { file: "resumed.ts", what: "a conversation in a file" },
  { file: "server.ts", what: "a chat server for many conversations" }
] as const

export const ours = (file: string) =>
  file === "server.ts" ? `${root}examples/forty-lines.ts` : `${root}examples/start/${file}`
export const theirs = (file: string) => `${root}test/package/${file}`

/** Lines with code on them: TypeScript's own scanner knows what a comment is. */
const lines = (path: string): number => {
  const text = readFileSync(path, "utf8")
  const source = ts.createSourceFile(path, text, ts.ScriptTarget.ES2022)
  const counted = new Set<number>()
  const visit = (node: ts.Node): void => {
    if (node.kind === ts.SyntaxKind.EndOfFileToken || ts.isJSDoc(node)) return
    if (node.getChildCount(source) > 0) return node.getChildren(source).forEach(visit)
    const first = source.getLineAndCharacterOfPosition(node.getStart(source)).line
    const last = source.getLineAndCharacterOfPosition(node.getEnd()).line
    for (let line = first; line <= last; line++) counted.add(line)
  }
  visit(source)
  return counted.size
}

export const table = (): string =>
  [
    "| program | effect-meantime | AI SDK |",
    "| --- | ---: | ---: |",
    ...programs.map(
      ({ file, what }) => `| \`${file}\`: ${what} | ${lines(ours(file))} lines | ${lines(theirs(file))} lines |`
    )
  ].join("\n")

if (process.argv[1] === fileURLToPath(import.meta.url)) console.log(table())
