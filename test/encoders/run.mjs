/**
 * Checks the request encoders of the providers that install only with an older set of `@effect/ai`: installs that set,
 * puts the built package beside it, checks the types, and runs the tests.
 */
import { execFileSync } from "node:child_process"
import { copyFileSync, mkdirSync } from "node:fs"
import { fileURLToPath } from "node:url"

const here = fileURLToPath(new URL(".", import.meta.url))
const root = fileURLToPath(new URL("../..", import.meta.url))
const run = (command, args, cwd) => execFileSync(command, args, { cwd, stdio: "inherit" })
const tsc = `${root}node_modules/typescript/bin/tsc`

run("npm", ["ci", "--no-audit", "--no-fund"], here)
const target = `${here}node_modules/effect-meantime`
mkdirSync(target, { recursive: true })
copyFileSync(`${root}package.json`, `${target}/package.json`)
run(process.execPath, [tsc, "-p", "tsconfig.build.json", "--outDir", `${target}/dist`], root)
run(process.execPath, [tsc, "-p", `${here}tsconfig.json`], root)
const tests = ["encoders.test.ts", "files.test.ts", "histories.test.ts"].map((name) => `${here}${name}`)
run(process.execPath, ["--import", "tsx", "--test", ...tests], root)
