/**
 * Tests `effect-meantime/mcp` beside servers and clients of others: installs them in this folder, so that the library's own
 * install stays small, and runs the tests.
 */
import { execFileSync } from "node:child_process"
import { fileURLToPath } from "node:url"

const here = fileURLToPath(new URL(".", import.meta.url))
const root = fileURLToPath(new URL("../..", import.meta.url))
const run = (command, args, cwd) => execFileSync(command, args, { cwd, stdio: "inherit" })

run("npm", ["ci", "--no-audit", "--no-fund"], here)
run(
  process.execPath,
  [`${root}node_modules/vitest/vitest.mjs`, "run", "--project", "mcp", ...process.argv.slice(2)],
  root
)
