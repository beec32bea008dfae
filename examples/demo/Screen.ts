/**
 * The terminal: one line for each thing that happens, with the time, speech as it is spoken, and the line that the user
 * is typing kept whole below it.
 */

import * as Readline from "node:readline"
import { Clock, Context, Effect, Exit, Layer, type Scope, Stream } from "effect"
import { AgentOutput } from "effect-meantime"

export type Style = "plain" | "faint" | "good" | "bad" | "user"

export class Screen extends Context.Tag("demo/Screen")<
  Screen,
  {
    /** It is a terminal whose rows can be rewritten. */
    readonly live: boolean
    /** A whole line; `at` is when it happened, by default now. */
    readonly line: (label: string, text: string, style?: Style, at?: number) => Effect.Effect<void>
    /** Text as it is spoken. */
    readonly speech: AgentOutput.Service
    /** Lines typed at a prompt, as a scoped resource: `onLine` gets each, undefined at the end of the input. */
    readonly prompt: (onLine: (line: string | undefined) => void) => Effect.Effect<void, never, Scope.Scope>
  }
>() {}

const codes: Record<Style, string> = { plain: "", faint: "2", good: "32", bad: "31", user: "36" }

const labelWidth = 6
const indent = 9 + labelWidth + 1

const clock = (millis: number): string => new Date(millis).toTimeString().slice(0, 8)

/** What moves the cursor or rings the bell does not come from a model or a pipe onto the terminal. */
const printable = (text: string): string =>
  text.replace(/\p{Cc}/gu, (char) => (char === "\n" || char === "\t" ? " " : ""))

const make = (out: NodeJS.WriteStream) => {
  const live = out.isTTY === true && process.env.TERM !== "dumb"
  const colour = live && (process.env.NO_COLOR ?? "") === ""
  const columns = () => Math.max(40, out.columns ?? 120)
  const paint = (text: string, style: Style) =>
    colour && codes[style] !== "" ? `\u001b[${codes[style]}m${text}\u001b[0m` : text

  /** the prompt, while there is one */
  let input: Readline.Interface | undefined
  /** the row of speech that is not complete yet */
  let row: string | undefined

  const write = (text: string) => {
    if (!out.destroyed) out.write(text)
  }
  const lift = () => {
    if (input === undefined) return
    Readline.moveCursor(out, 0, -input.getCursorPos().rows)
    Readline.cursorTo(out, 0)
    Readline.clearScreenDown(out)
  }
  const lower = () => {
    if (input === undefined) return
    // the prompt starts on a fresh line: its last position is of no use any more
    Object.assign(input, { prevRows: 0 })
    input.prompt(true)
  }
  /** The prompt goes; above it every row has its end of line. */
  const leave = () => {
    if (input === undefined) return
    lift()
    input = undefined
    row = undefined
  }
  const endRow = () => {
    if (row !== undefined && input === undefined) write("\n")
    row = undefined
  }
  const show = (text: string) => {
    lift()
    endRow()
    write(`${text}\n`)
    lower()
  }
  const showRow = (text: string) => {
    lift()
    if (row !== undefined) {
      if (input !== undefined) Readline.moveCursor(out, 0, -1)
      Readline.cursorTo(out, 0)
      Readline.clearLine(out, 0)
    }
    row = text
    write(input === undefined ? text : `${text}\n`)
    lower()
  }

  const head = (label: string, at: number) => `${clock(at)} ${label.padEnd(labelWidth)} `

  /** A long text in rows that fit, the later ones under the first. */
  const wrapped = (first: string, text: string): ReadonlyArray<string> => {
    const width = live ? columns() - 1 : Number.POSITIVE_INFINITY
    const rows: Array<string> = []
    let current = first
    let empty = true
    for (const word of text.split(/\s+/)) {
      if (!empty && current.length + word.length + 1 > width) {
        rows.push(current)
        current = " ".repeat(indent)
        empty = true
      }
      current += empty ? word : ` ${word}`
      empty = false
    }
    return [...rows, current]
  }

  const line = (label: string, text: string, style: Style = "plain", at?: number) =>
    Effect.map(Clock.currentTimeMillis, (now) => {
      const rows = wrapped(head(label, at ?? now), printable(text).trim())
      show(rows.map((part) => paint(part, style)).join("\n"))
    })

  const speech: AgentOutput.Service = {
    play: (text, played) =>
      Effect.suspend(() => {
        let spoken = ""
        let begun: string | undefined
        let written = ""
        const finish = (exit: Exit.Exit<void>) =>
          Effect.map(Clock.currentTimeMillis, (now) => {
            const cut = Exit.isFailure(exit) ? " —" : ""
            if (spoken.trim() === "") return
            if (!live) return show(`${head("agent", now)}${spoken.trim()}${cut}`)
            if (cut !== "" && row !== undefined && row === written) showRow(`${row}${cut}`)
            lift()
            endRow()
            lower()
          })
        return text.pipe(
          Stream.runForEach((piece) =>
            Effect.flatMap(Clock.currentTimeMillis, (now) => {
              const clean = printable(piece)
              spoken += clean
              if (live && spoken.trim() !== "") {
                begun ??= head("agent", now)
                // where something else was shown in between, the speech goes on below it
                const goesOn = row !== undefined && row === written
                let current = written === "" ? begun : goesOn ? written : " ".repeat(indent)
                for (const part of clean.match(/\s*\S+|\s+$/g) ?? []) {
                  const atStart = current.trim() === "" || current === begun
                  const next = current + (atStart ? part.trimStart() : part)
                  if (!atStart && next.trimEnd().length > columns() - 1) {
                    showRow(current)
                    lift()
                    endRow()
                    lower()
                    current = " ".repeat(indent) + part.trimStart()
                  } else {
                    current = next
                  }
                }
                showRow(current)
                written = current
              }
              return played(piece)
            })
          ),
          Effect.onExit(finish)
        )
      })
  }

  const prompt = (onLine: (line: string | undefined) => void) =>
    Effect.acquireRelease(
      Effect.sync(() => {
        const readline = Readline.createInterface({ input: process.stdin, output: out, terminal: true, prompt: "› " })
        let open = true
        readline.on("line", (text) => {
          // the typed line makes way for the same line with its time
          const rows = Math.floor((2 + text.length) / columns())
          Readline.moveCursor(out, 0, -1 - rows)
          Readline.cursorTo(out, 0)
          Readline.clearScreenDown(out)
          onLine(text)
        })
        readline.on("close", () => {
          if (!open) return
          open = false
          leave()
          onLine(undefined)
        })
        // in raw mode Ctrl-C is a key like others
        readline.on("SIGINT", () => process.kill(process.pid, "SIGINT"))
        input = readline
        readline.prompt()
        return () => {
          open = false
          leave()
          readline.close()
        }
      }),
      (close) => Effect.sync(close)
    ).pipe(Effect.asVoid)

  return Screen.of({ live, line, speech, prompt })
}

/** The screen on standard output, and the speech of the agents on it. */
export const layer: Layer.Layer<Screen> = Layer.sync(Screen, () => make(process.stdout))

export const layerSpeech: Layer.Layer<never, never, Screen> = Layer.effect(
  AgentOutput.AgentOutput,
  Effect.map(Screen, (screen) => screen.speech)
)
