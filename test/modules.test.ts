import { mkdtemp, readdir, rm } from "node:fs/promises"
import { fileURLToPath, pathToFileURL } from "node:url"
import { build } from "esbuild"
import { afterAll, beforeAll, describe, expect, it } from "vitest"

const src = fileURLToPath(new URL("../src/", import.meta.url))

/** Every module that users may import, as a path from `src`. */
const modules = (
  await Promise.all(["", "testing/", "ai-sdk/"].map(async (at) => [at, await readdir(`${src}${at}`)] as const))
).flatMap(([at, files]) => files.filter((file) => file.endsWith(".ts")).map((file) => `${at}${file}`))

describe("a module that a program imports first", () => {
  let out = ""
  beforeAll(async () => {
    // inside the project, where the dependencies are found
    out = await mkdtemp(fileURLToPath(new URL(".bundles-", import.meta.url)))
    // one bundle for each: all modules behind it are loaded anew, in the order that it gives
    await build({
      entryPoints: modules.map((module) => `${src}${module}`),
      outbase: src,
      outdir: out,
      outExtension: { ".js": ".mjs" },
      bundle: true,
      packages: "external",
      platform: "node",
      format: "esm",
      // with all that Node would load
      ignoreAnnotations: true,
      logLevel: "error"
    })
  })
  afterAll(() => rm(out, { recursive: true, force: true }))

  it.each(modules)("loads: %s", async (module) => {
    const url = pathToFileURL(`${out}/${module.replace(/\.ts$/, ".mjs")}`).href
    expect(Object.keys(await import(/* @vite-ignore */ url)).length).toBeGreaterThanOrEqual(0)
  })
})
