import { readdirSync } from "node:fs"

/** The pages of the guide, which are programs (see `test/programs/docs.test.ts`). */
export const guide = [
  "first-tool",
  "background",
  "duplicates",
  "cancellation",
  "steering",
  "approval",
  "layers",
  "handing-over",
  "tools-from-elsewhere",
  "testing",
  "models",
  "events",
  "content",
  "telemetry",
  "mistakes"
]

/** Pages whose code is taken from the examples; tests look for it there. */
export const shown = ["ai-sdk", "livekit", "providers", "scopes", "serve", "start"]

/** A page of which each block is a module of its own, under a numbered heading. */
export const snippets = "snippets"

/** All other pages: their code is type-checked and not run. Each is one module. */
export const typed = readdirSync(new URL("../../docs/", import.meta.url))
  .filter((file) => file.endsWith(".md"))
  .map((file) => file.replace(/\.md$/, ""))
  .filter((page) => ![...guide, ...shown, snippets].includes(page))

export interface Snippet {
  readonly number: number
  readonly topic: string
  readonly title: string
  readonly code: string
  /** what the effect `program` that it exports gives; undefined if it is only type-checked */
  readonly output: string | undefined
}

/** The snippets of a page: `## number · topic · title`, one block of code, and its output if it has one. */
export const readSnippets = (page: string): ReadonlyArray<Snippet> =>
  page
    .split(/^(?=## )/m)
    .slice(1)
    .map((section) => {
      const heading = /^## (\d+) · ([\w-]+) · (.+)\n/.exec(section)
      const codes = Array.from(section.matchAll(/^```ts\n([\s\S]*?)^```$/gm), ([, code = ""]) => code)
      const outputs = Array.from(section.matchAll(/^```text\n([\s\S]*?)^```$/gm), ([, text = ""]) => text)
      const [code] = codes
      if (heading === null || code === undefined || codes.length > 1 || outputs.length > 1) {
        throw new Error(`Not a snippet, or more than one: ${section.slice(0, 80)}`)
      }
      const [, number, topic = "", title = ""] = heading
      return { number: Number(number), topic, title, code, output: outputs[0]?.trimEnd() }
    })
