/**
 * The page with `useChat`, built by Vite when somebody first asks for it. The browser asks nobody but this server.
 */
import { fileURLToPath } from "node:url"
import { Data, Effect } from "effect"

export class BuildFailed extends Data.TaggedError("BuildFailed")<{ readonly message: string }> {}

export interface Asset {
  readonly type: string
  readonly body: string
}

const types: Readonly<Record<string, string>> = {
  html: "text/html; charset=utf-8",
  js: "text/javascript; charset=utf-8",
  css: "text/css; charset=utf-8"
}

/** By their path below `/chat/`; the page itself is `index.html`. */
export const build: Effect.Effect<ReadonlyMap<string, Asset>, BuildFailed> = Effect.tryPromise({
  try: async () => {
    const { build } = await import("vite")
    const made = await build({
      root: fileURLToPath(new URL("./page/", import.meta.url)),
      base: "/chat/",
      configFile: false,
      logLevel: "silent",
      esbuild: { jsx: "automatic" },
      resolve: {
        alias: {
          "effect-meantime/ui/client": fileURLToPath(new URL("../../src/ui/client.ts", import.meta.url))
        }
      },
      build: { write: false, target: "es2022", modulePreload: { polyfill: false } }
    })
    const assets = new Map<string, Asset>()
    for (const { output } of Array.isArray(made) ? made : "output" in made ? [made] : []) {
      for (const file of output) {
        const body = file.type === "chunk" ? file.code : Buffer.from(file.source).toString("utf8")
        assets.set(file.fileName, { type: types[file.fileName.split(".").at(-1) ?? ""] ?? "text/plain", body })
      }
    }
    return assets
  },
  catch: (error) => new BuildFailed({ message: error instanceof Error ? error.message : String(error) })
})
