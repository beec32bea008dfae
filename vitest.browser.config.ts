import { defineConfig } from "vitest/config"
import base from "./vitest.config.js"

/** Tests that need a browser: `npm run test:browser`. */
export default defineConfig({
  ...base,
  test: {
    include: ["test/browser/**/*.browser.ts"],
    testTimeout: 120_000,
    hookTimeout: 120_000,
    fileParallelism: false
  }
})
