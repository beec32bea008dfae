import { mkdtemp, rm } from "node:fs/promises"
import { basename, join } from "node:path"
import { fileURLToPath } from "node:url"
import { build } from "esbuild"
import { afterAll, beforeAll } from "vitest"

export const root = fileURLToPath(new URL("../..", import.meta.url))

/**
 * Bundles a program of `examples/` for the tests of a file, which start it in processes of their own: it begins in a
 * tenth of the time that it takes to load the sources one by one. Returns where the bundle will be. What a program
 * loads only when it needs it stays apart.
 */
export const bundled = (program: string): (() => string) => {
  let out = ""
  beforeAll(async () => {
    // inside the project, where the packages are found that are not in it
    out = await mkdtemp(join(root, "test/.bundles-"))
    await build({
      absWorkingDir: root,
      entryPoints: [join(root, "examples", program)],
      outdir: out,
      outExtension: { ".js": ".mjs" },
      bundle: true,
      splitting: true,
      platform: "node",
      format: "esm",
      // for terminals; the tokenizer reads a file beside it, and the database is a native module
      external: ["ink", "react", "@anthropic-ai/tokenizer", "@libsql/client"],
      logLevel: "error",
      // for those dependencies that are CommonJS
      banner: {
        js: 'import { createRequire as requireHere } from "node:module"; const require = requireHere(import.meta.url)'
      }
    })
  }, 60_000)
  afterAll(() => rm(out, { recursive: true, force: true }))
  return () => join(out, `${basename(program, ".ts")}.mjs`)
}
