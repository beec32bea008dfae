// Bundles the scripts with the library's source, without what a development loader adds to every function. All other
// packages stay outside, so that `effect` is there once: the root's.
import { fileURLToPath } from "node:url"
import { build } from "esbuild"

const here = (path) => fileURLToPath(new URL(path, import.meta.url))

await build({
  entryPoints: [here("src/main.ts"), here("src/child.ts"), here("src/against.ts"), here("src/durable.ts")],
  outdir: here("dist"),
  bundle: true,
  splitting: true,
  format: "esm",
  platform: "node",
  target: "node20",
  packages: "external",
  sourcemap: "linked",
  alias: {
    "effect-meantime": here("../src/index.ts"),
    "effect-meantime/ai-sdk": process.env.AISDK ?? here("../src/ai-sdk/index.ts"),
    "effect-meantime/sql": here("../src/sql/index.ts"),
    "effect-meantime/sqlite": here("../src/sqlite/index.ts"),
    "effect-meantime/testing": here("../src/testing/index.ts")
  }
})
