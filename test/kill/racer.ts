/**
 * One of several processes that take a session from each other, as often as they can, until they are killed. What it does
 * is in the log, a line for each thing: before a write, and after whatever has returned.
 *
 *     node racer.mjs <file of the sessions> <log> <its name>
 */
import { appendFileSync } from "node:fs"
import { Effect } from "effect"
import { SessionStorage } from "effect-meantime"
import { SqliteSessionStorage } from "effect-meantime/sqlite"
import type { Line, Mark } from "./lines.js"

const [file = "", log = "", by = ""] = process.argv.slice(2)

const note = (line: Line) => appendFileSync(log, `${JSON.stringify({ ...line, by })}\n`)

const main = Effect.gen(function* () {
  const storage = yield* SessionStorage.SessionStorage
  for (;;) {
    const opened = yield* Effect.either(storage.open("a"))
    if (opened._tag === "Left") {
      note({ _tag: "Failed", message: opened.left.message })
      continue
    }
    const { epoch, rows } = opened.right
    note({ _tag: "Opened", epoch, marks: rows.map(({ data }) => data as Mark) })
    for (let n = 0; ; n++) {
      const mark: Mark = { epoch, n }
      const pair = ["1", "2"].map((id) => ({ kind: "item", id, data: mark }))
      note({ _tag: "Writes", mark })
      const written = yield* Effect.either(storage.write("a", epoch, pair, true))
      if (written._tag === "Left" && written.left._tag === "Fenced") break
      note(written._tag === "Right" ? { _tag: "Wrote", mark } : { _tag: "Failed", message: written.left.message })
      // some keep it for a while
      if (n > epoch % 7) break
    }
  }
})

await main.pipe(Effect.provide(SqliteSessionStorage.layer({ file, synchronous: "normal" })), Effect.runPromise)
