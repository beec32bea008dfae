import { fileURLToPath } from "node:url"
import { defineConfig } from "vitest/config"

const src = fileURLToPath(new URL("./src/", import.meta.url))

export default defineConfig({
  resolve: {
    // most specific first: the first match wins
    alias: [
      { find: /^effect-meantime\/testing$/, replacement: `${src}testing/index.ts` },
      { find: /^effect-meantime\/ai-sdk$/, replacement: `${src}ai-sdk/index.ts` },
      { find: /^effect-meantime\/(.+)$/, replacement: `${src}$1.ts` },
      { find: /^effect-meantime$/, replacement: `${src}index.ts` }
    ]
  },
  test: {
    include: ["test/**/*.test.ts"],
    setupFiles: ["test/support/seed.ts"],
    // they need another set of versions: npm run test:encoders
    exclude: ["test/encoders/**"],
    // one module graph for each worker: loading Effect anew for each file took a fifth of the run
    isolate: false,
    // virtual time: a test is slow only where the machine is; one that hangs is still ended
    testTimeout: 60_000,
    hookTimeout: 60_000,
    minWorkers: 2,
    maxWorkers: 2
  }
})
