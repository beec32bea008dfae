/**
 * The pages of the guide are programs: all `ts` blocks of a page are one module, and a `text` block is what the effect
 * that was exported last before it returns, in virtual time.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { table } from "../../scripts/lines.js"
import { guide, readSnippets, snippets } from "../support/guide.js"

const docs = new URL("../../docs/", import.meta.url)
const out = new URL("../.docs/", import.meta.url)

interface Page {
  readonly name: string
  readonly code: string
  readonly outputs: ReadonlyArray<{ readonly name: string; readonly text: string }>
}

const read = (name: string): Page => {
  const page = readFileSync(new URL(`${name}.md`, docs), "utf8")
  const code: Array<string> = []
  const outputs: Array<{ name: string; text: string }> = []
  for (const [, language, block = ""] of page.matchAll(/^```(ts|text)\n([\s\S]*?)^```$/gm)) {
    if (language === "ts") {
      code.push(block)
      continue
    }
    const name = Array.from(code.join("").matchAll(/^export const (\w+)/gm)).at(-1)?.[1]
    if (name === undefined) throw new Error(`${page}: an output, but nothing was exported before it`)
    outputs.push({ name, text: block.trimEnd() })
  }
  return { name, code: code.join("\n"), outputs }
}

rmSync(out, { recursive: true, force: true })
mkdirSync(out, { recursive: true })

describe("the guide", () => {
  it("is complete: the index names each page", () => {
    const index = readFileSync(new URL("README.md", docs), "utf8")
    const pages = readdirSync(docs).filter((file) => file.endsWith(".md") && file !== "README.md")
    for (const page of pages) expect(index).toContain(`](${page})`)
  })

  it("has the table of lines as it is now", () => {
    expect(readFileSync(new URL("start.md", docs), "utf8")).toContain(table())
  })

  for (const page of guide.map(read)) {
    describe(page.name, async () => {
      const file = new URL(`${page.name}.ts`, out)
      writeFileSync(file, page.code)
      const module: Record<string, unknown> = await import(/* @vite-ignore */ fileURLToPath(file))
      it("has outputs", () => expect(page.outputs.length).toBeGreaterThan(0))
      for (const { name, text } of page.outputs) {
        it.effect(`${name} says what the page says`, () =>
          Effect.gen(function* () {
            const effect = module[name] as Effect.Effect<unknown, unknown>
            expect(yield* effect).toBe(text)
          })
        )
      }
    })
  }
})

describe("the snippets", () => {
  const all = readSnippets(readFileSync(new URL(`${snippets}.md`, docs), "utf8"))

  it("count up, in one piece for each topic", () => {
    expect(all.map(({ number }) => number)).toEqual(all.map((_, i) => i + 1))
    const topics = all.map(({ topic }) => topic).filter((topic, i, every) => topic !== every[i - 1])
    expect(topics).toEqual(Array.from(new Set(topics)))
  })

  for (const { code, number, output, title } of all) {
    // one without an output is loaded if it has tests in it
    if (output === undefined && !/^it\./m.test(code)) continue
    describe(`${number} · ${title}`, async () => {
      const file = new URL(`snippet-${number}.ts`, out)
      writeFileSync(file, code)
      const module: Record<string, unknown> = await import(/* @vite-ignore */ fileURLToPath(file))
      if (output === undefined) return
      it.effect("gives what the page says", () =>
        Effect.gen(function* () {
          expect(yield* module.program as Effect.Effect<unknown, unknown>).toBe(output)
        })
      )
    })
  }
})

describe("the pages around the guide", () => {
  const root = new URL("../../", import.meta.url)
  const markdown = (folder: string) =>
    readdirSync(new URL(folder, root))
      .filter((file) => file.endsWith(".md"))
      .map((file) => `${folder}${file}`)
  const pages = ["", ".changeset/", "bench/", "docs/", "docs/decisions/", "examples/"].flatMap(markdown)
  const text = (page: string) => readFileSync(new URL(page, root), "utf8")

  it.each(pages)("%s links to files and headings that exist", (page) => {
    for (const [, target = "", heading] of text(page).matchAll(/\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)/g)) {
      const file = target === "" ? new URL(page, root) : new URL(target, new URL(page, root))
      expect(existsSync(file), target).toBe(true)
      if (heading === undefined) continue
      const headings = Array.from(readFileSync(file, "utf8").matchAll(/^#+ (.*)$/gm), ([, title = ""]) =>
        title
          .toLowerCase()
          .replace(/[^\w -]/g, "")
          .replaceAll(" ", "-")
      )
      expect(headings).toContain(heading)
    }
  })

  it.each(pages)("%s names commands that package.json has", (page) => {
    const { scripts }: { scripts: Record<string, string> } = JSON.parse(text("package.json"))
    for (const [, name = ""] of text(page).matchAll(/npm run (?:-\S+ )*([\w:]+)/g))
      expect(scripts).toHaveProperty([name])
  })

  it("each decision is in the index", () => {
    const index = text("docs/decisions/README.md")
    for (const page of markdown("docs/decisions/")) {
      const file = page.replace("docs/decisions/", "")
      if (file !== "README.md") expect(index).toContain(`](${file})`)
    }
  })
})
