/** What processes write down before they are killed. */

/** Of the writes of a session, in the order of their epochs. */
export interface Mark {
  readonly epoch: number
  readonly n: number
}

export type Line =
  | { readonly _tag: "Opened"; readonly epoch: number; readonly marks: ReadonlyArray<Mark> }
  | { readonly _tag: "Writes"; readonly mark: Mark }
  | { readonly _tag: "Wrote"; readonly mark: Mark }
  | { readonly _tag: "Failed"; readonly message: string }

const isBehind = (a: Mark, b: Mark): boolean => a.epoch > b.epoch || (a.epoch === b.epoch && a.n > b.n)

/** What is wrong with a race, by the log of all who ran in it. */
export const problemsOf = (lines: ReadonlyArray<Line>): ReadonlyArray<string> => {
  const problems: Array<string> = []
  const wrote = lines.flatMap((line) => (line._tag === "Wrote" ? [line.mark] : []))
  const epochs = new Set<number>()
  let highest = 0
  const late = new Set<string>()
  for (const line of lines) {
    if (line._tag === "Writes" && line.mark.epoch < highest) late.add(JSON.stringify(line.mark))
    if (line._tag === "Wrote" && late.has(JSON.stringify(line.mark))) {
      problems.push(`written behind a later opening: ${JSON.stringify(line.mark)}`)
    }
    if (line._tag !== "Opened") continue
    if (epochs.has(line.epoch)) problems.push(`epoch ${line.epoch} was given twice`)
    epochs.add(line.epoch)
    highest = Math.max(highest, line.epoch)
    const [first, second] = line.marks
    if (JSON.stringify(first) !== JSON.stringify(second)) problems.push(`half a write: ${JSON.stringify(line)}`)
    const lost = wrote.find((mark) => mark.epoch < line.epoch && (first === undefined || isBehind(mark, first)))
    if (lost !== undefined) {
      problems.push(`epoch ${line.epoch} knew nothing of ${JSON.stringify(lost)}: ${JSON.stringify(first)}`)
    }
  }
  return problems
}
