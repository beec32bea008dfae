import { execFile } from "node:child_process"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { describe, expect, it } from "vitest"

const program = fileURLToPath(new URL("toolkit.ts", import.meta.url))

/** A turn of an agent with that many tools, in a process that has no more memory than this. */
const run = async (megabytes: number, tools: number, model: string) => {
  const args = [
    `--max-old-space-size=${megabytes}`,
    "--import",
    "tsx",
    program,
    "--tools",
    `${tools}`,
    "--model",
    model
  ]
  const { stdout } = await promisify(execFile)(process.execPath, args)
  return JSON.parse(stdout) as { readonly outputs: ReadonlyArray<string>; readonly text: string }
}

describe("many tools", () => {
  for (const model of ["seam", "sdk"]) {
    // each with a context of its own, they would take some gigabytes
    it(`[T1] 10,000 tools fit in 512 MB, and are called like any others: ${model}`, async () => {
      const { outputs, text } = await run(512, 10_000, model)
      expect(outputs).toEqual(["tool_0 read a", "tool_9999 read b"])
      expect(text).toBe("done")
    })
  }
})
