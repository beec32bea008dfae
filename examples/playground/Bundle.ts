/**
 * The page of the playground, bundled when the server starts. Everything that it needs is in here: the browser asks
 * nobody else for anything.
 */
import { readFile } from "node:fs/promises"
import { fileURLToPath } from "node:url"
import { Data, Effect } from "effect"
import { build } from "esbuild"

export class BundleFailed extends Data.TaggedError("BundleFailed")<{ readonly message: string }> {}

export interface Asset {
  readonly type: string
  readonly body: string
}

const page = (name: string): string => fileURLToPath(new URL(`./page/${name}`, import.meta.url))

/** By path. */
export const assets: Effect.Effect<ReadonlyMap<string, Asset>, BundleFailed> = Effect.tryPromise({
  try: async () => {
    const [{ outputFiles }, html, css, icon] = await Promise.all([
      build({
        entryPoints: [page("main.tsx")],
        bundle: true,
        write: false,
        minify: true,
        format: "esm",
        platform: "browser",
        target: "es2022",
        jsx: "automatic",
        tsconfig: page("tsconfig.json"),
        define: { "process.env.NODE_ENV": '"production"' },
        legalComments: "none",
        logLevel: "silent"
      }),
      readFile(page("index.html"), "utf8"),
      readFile(page("page.css"), "utf8"),
      readFile(page("icon.svg"), "utf8")
    ])
    return new Map([
      ["/", { type: "text/html; charset=utf-8", body: html }],
      ["/page.js", { type: "text/javascript; charset=utf-8", body: outputFiles[0]?.text ?? "" }],
      ["/page.css", { type: "text/css; charset=utf-8", body: css }],
      ["/icon.svg", { type: "image/svg+xml", body: icon }]
    ])
  },
  catch: (error) => new BundleFailed({ message: error instanceof Error ? error.message : String(error) })
})
