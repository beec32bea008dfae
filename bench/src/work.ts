/**
 * The work that every contestant does: the same user, tool and model, word for word.
 *
 * A turn is: the user says something; the model calls the tool (one call, or many in one step); the handlers run; the
 * model is shown the results and says six words. The model is a script that answers at once, so what is left is the
 * loop's own cost. A conversation has several turns, and everybody carries it on: the model is shown all of it.
 */

export const instructions = "You work."
export const userText = "Work, please"
export const toolName = "work"
export const toolDescription = "Works on a number."
export const words: ReadonlyArray<string> = ["It ", "is ", "done, ", "as ", "you ", "wanted."]
export const answer = words.join("")

/** How many calls the model makes in answer to the user. */
export let callsPerTurn = 1
export const setCallsPerTurn = (n: number): void => {
  callsPerTurn = n
}

export interface Asked {
  readonly id: string
  readonly args: { readonly n: number }
}

let asked = 0
/** The calls of one step; no id occurs twice in a process. */
export const nextCalls = (): ReadonlyArray<Asked> => {
  const calls: Array<Asked> = []
  for (let i = 0; i < callsPerTurn; i++) {
    const n = ++asked
    calls.push({ id: `call_${n}`, args: { n } })
  }
  return calls
}

let handled = 0
/** The handler. It counts, so that a contestant that left out its work is found out. */
export const handle = (n: number): number => {
  handled++
  return n + 1
}
export const handledSoFar = (): number => handled

// ------------------------------------------------------------------------------------------------ calls in flight

export const flight = { started: 0, finalized: 0 }

export const resetFlight = (): void => {
  flight.started = 0
  flight.finalized = 0
}

export const begun = (): void => {
  flight.started++
}

export const finalize = (): void => {
  flight.finalized++
}

/** A handler of the promise kind that waits, and cleans up when it is told to stop. */
export const waitForAbort = (signal: AbortSignal | undefined): Promise<number> => {
  begun()
  return new Promise((_, reject) => {
    signal?.addEventListener(
      "abort",
      () => {
        finalize()
        reject(signal.reason)
      },
      { once: true }
    )
  })
}

/** One that nobody can stop. */
export const waitForEver = (): Promise<number> => {
  begun()
  return new Promise(() => {})
}
