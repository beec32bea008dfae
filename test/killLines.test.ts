import { describe, expect, it } from "vitest"
import { type Line, type Mark, problemsOf } from "./kill/lines.js"

const mark = (epoch: number, n: number): Mark => ({ epoch, n })
const opened = (epoch: number, ...marks: ReadonlyArray<Mark>): Line => ({ _tag: "Opened", epoch, marks })
const writes = (epoch: number, n: number): Line => ({ _tag: "Writes", mark: mark(epoch, n) })
const wrote = (epoch: number, n: number): Line => ({ _tag: "Wrote", mark: mark(epoch, n) })
const both = (epoch: number, n: number): ReadonlyArray<Mark> => [mark(epoch, n), mark(epoch, n)]

const logs: Record<string, readonly [lines: ReadonlyArray<Line>, problem: RegExp | undefined]> = {
  "a takeover behind a write": [[opened(1), writes(1, 0), wrote(1, 0), opened(2, ...both(1, 0))], undefined],
  "a write whose answer was lost": [[opened(1), writes(1, 0), opened(2, ...both(1, 0))], undefined],
  "a write that was on its way": [[opened(1), writes(1, 0), opened(2, ...both(1, 0)), wrote(1, 0)], undefined],
  "an opening that returns behind a later one": [
    [opened(1), opened(3), writes(3, 0), wrote(3, 0), opened(2, ...both(3, 0))],
    undefined
  ],
  "a write that is lost": [[opened(1), writes(1, 0), wrote(1, 0), opened(2)], /epoch 2 knew nothing of/],
  "the newer of two that is lost": [
    [opened(1), wrote(1, 0), wrote(1, 1), opened(2, ...both(1, 0))],
    /epoch 2 knew nothing of/
  ],
  "half a write": [[opened(1), opened(2, mark(1, 0))], /half a write/],
  "two halves": [[opened(1), opened(2, mark(1, 0), mark(1, 1))], /half a write/],
  "an epoch for two": [[opened(1), opened(1)], /given twice/],
  "a write behind a takeover": [[opened(1), opened(2), writes(1, 0), wrote(1, 0)], /behind a later opening/]
}

describe("what the race of `npm run test:kill` finds", () => {
  for (const [name, [lines, problem]] of Object.entries(logs)) {
    it(problem === undefined ? `nothing in ${name}` : name, () => {
      const found = problemsOf(lines)
      if (problem === undefined) expect(found).toEqual([])
      else expect(found.join("\n")).toMatch(problem)
    })
  }
})
