import { defineConfig } from "vitest/config"
import base from "./vitest.config.js"

/** Tests that need a browser: `npm run test:browser`. */
export default defineConfig({
  ...base,
  test: {
    include: ["test/browser/**/*.browser.ts"],
    // a test does a dozen things, and a busy machine may take its time for each
    testTimeout: 180_000,
    hookTimeout: 120_000,
    expect: { poll: { timeout: 60_000 } },
    fileParallelism: false
  }
})
