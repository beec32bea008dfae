import { execFileSync, spawnSync } from "node:child_process"
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs"
import { createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"

/** Where Debian's package has its programs; else they are on the path. */
const folder = (): string => {
  const root = "/usr/lib/postgresql"
  const versions = existsSync(root) ? readdirSync(root).sort((a, b) => Number(b) - Number(a)) : []
  const found = versions.map((version) => join(root, version, "bin")).find((bin) => existsSync(join(bin, "initdb")))
  if (found === undefined && spawnSync("initdb", ["--version"]).status !== 0) {
    throw new Error("PostgreSQL is missing: apt-get install postgresql")
  }
  return found ?? ""
}

const freePort = (): Promise<number> =>
  new Promise((resolve, reject) => {
    const probe = createServer().on("error", reject)
    probe.listen(0, "127.0.0.1", () => {
      const address = probe.address()
      probe.close(() => resolve(typeof address === "object" && address !== null ? address.port : 0))
    })
  })

export interface Cluster {
  readonly url: string
  readonly start: () => void
  /** Also with statements on their way: they are lost. */
  readonly stop: () => void
  /** Stops it, and nothing of it is left. */
  readonly remove: () => void
}

/**
 * A server of one's own, with nothing in it. It does not run as root: then it is the user postgres that runs it. `safe`: it
 * waits for the disk.
 */
export const makeCluster = async (options?: { readonly safe?: boolean }): Promise<Cluster> => {
  const bin = folder()
  const at = mkdtempSync(join(tmpdir(), "effect-meantime-pg-"))
  const isRoot = process.getuid?.() === 0
  if (isRoot) execFileSync("chown", ["postgres", at])
  const run = (program: string, ...args: ReadonlyArray<string>): void => {
    const [command, ...rest] = [...(isRoot ? ["runuser", "-u", "postgres", "--"] : []), join(bin, program), ...args]
    execFileSync(command as string, rest, { cwd: at, stdio: ["ignore", "ignore", "inherit"] })
  }
  const data = join(at, "data")
  const port = await freePort()
  const start = () =>
    run(
      "pg_ctl",
      "-D",
      data,
      "-w",
      "-s",
      "-l",
      join(at, "log"),
      "-o",
      `-p ${port} -k ${at} -h 127.0.0.1${options?.safe === true ? "" : " -F"}`,
      "start"
    )
  const stop = () => run("pg_ctl", "-D", data, "-w", "-s", "-m", "immediate", "stop")
  run("initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")
  start()
  let runs = true
  return {
    url: `postgres://postgres:hunter2@127.0.0.1:${port}/postgres`,
    start: () => {
      start()
      runs = true
    },
    stop: () => {
      stop()
      runs = false
    },
    remove: () => {
      if (runs) stop()
      rmSync(at, { recursive: true, force: true })
    }
  }
}
