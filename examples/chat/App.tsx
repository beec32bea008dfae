/**
 * The chat on a terminal: what has happened scrolls away above; below it what is being said, the calls that run, and the
 * line that the user is typing.
 */
import { Deferred, Effect, Exit, Mailbox } from "effect"
import { Box, render, Static, Text, useInput } from "ink"
import { useEffect, useRef, useState, useSyncExternalStore } from "react"
import * as View from "../shared/View.js"
import * as Chat from "./Chat.js"
import * as Editor from "./Editor.js"

export interface Terminal {
  readonly stdin: NodeJS.ReadStream
  readonly stdout: NodeJS.WriteStream
  /** every drawing is written whole, at once, below the one before */
  readonly debug?: boolean
}

interface Shown {
  readonly entries: ReadonlyArray<Chat.Entry>
  readonly view: View.View
  readonly saying: string
  readonly closing: boolean
}

/** What the program shows and the terminal draws. */
class Store {
  shown: Shown = { entries: [], view: View.empty, saying: "", closing: false }
  private readonly listeners = new Set<() => void>()

  readonly set = (change: Partial<Shown>): void => {
    this.shown = { ...this.shown, ...change }
    for (const listener of this.listeners) listener()
  }
  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }
  readonly get = (): Shown => this.shown
}

const colours = { user: "cyan", agent: undefined, note: "gray", good: "green", bad: "red" } as const

const Line = ({ label, style, text }: Pick<Chat.Entry, "label" | "style" | "text">) => {
  const colour = colours[style]
  return (
    <Box>
      <Box width={8} flexShrink={0}>
        <Text bold={style === "user" || style === "agent"} {...(colour === undefined ? {} : { color: colour })}>
          {label}
        </Text>
      </Box>
      <Text {...(colour === undefined ? {} : { color: colour })}>{text}</Text>
    </Box>
  )
}

const Running = ({ time, view }: { readonly view: View.View; readonly time: () => number }) => {
  const running = View.running(view)
  const [now, setNow] = useState(time)
  const busy = running.length > 0
  useEffect(() => {
    if (!busy) return
    setNow(time())
    const timer = setInterval(() => setNow(time()), 1000)
    return () => clearInterval(timer)
  }, [busy, time])
  if (!busy) return null
  const shown = running.slice(-5)
  return (
    <Box flexDirection="column" marginTop={1}>
      {running.length > shown.length && <Text color="gray"> {running.length - shown.length} more are running</Text>}
      {shown.map((call) => (
        <Text key={call.callId} wrap="truncate-end">
          <Text color="yellow">● </Text>
          {Chat.status(call, Math.max(now, view.at ?? now))}
        </Text>
      ))}
    </Box>
  )
}

const Prompt = ({ editor }: { readonly editor: Editor.Editor }) => {
  const all = Editor.characters(editor.text)
  const at = all[editor.cursor]
  return (
    <Box marginTop={1}>
      <Text color="cyan">› </Text>
      {editor.text === "" ? (
        <Text>
          <Text inverse> </Text>
          <Text color="gray"> say something, or /help</Text>
        </Text>
      ) : (
        <Text>
          {all.slice(0, editor.cursor).join("")}
          <Text inverse>{at ?? " "}</Text>
          {all.slice(editor.cursor + 1).join("")}
        </Text>
      )}
    </Box>
  )
}

/** Keys that come as one character. */
const controls: Readonly<Record<string, Editor.Key>> = {
  "\u0001": { _tag: "Home" },
  "\u0004": { _tag: "EraseAhead" },
  "\u0005": { _tag: "End" },
  "\u0008": { _tag: "Erase" },
  "\u000b": { _tag: "EraseAfter" },
  "\u0015": { _tag: "EraseBefore" },
  "\u0017": { _tag: "EraseWord" },
  "\u007f": { _tag: "Erase" }
}

interface Props {
  readonly store: Store
  readonly time: () => number
  readonly onLine: (line: string) => void
  readonly onEnd: (how: "quit" | "interrupt") => void
}

const App = ({ onEnd, onLine, store, time }: Props) => {
  const { closing, entries, saying, view } = useSyncExternalStore(store.subscribe, store.get)
  // several keys may come between two drawings
  const edited = useRef(Editor.empty)
  const [editor, setEditor] = useState(edited.current)
  const change = (next: Editor.Editor) => {
    edited.current = next
    setEditor(next)
  }

  useInput((input, key) => {
    if (key.ctrl && input === "c") return onEnd("interrupt")
    if (closing) return
    if (key.ctrl && input === "d" && edited.current.text === "") return onEnd("quit")
    const press = (pressed: Editor.Key) => change(Editor.press(edited.current, pressed))
    if (key.upArrow) return press({ _tag: "Up" })
    if (key.downArrow) return press({ _tag: "Down" })
    if (key.leftArrow) return press({ _tag: key.ctrl || key.meta ? "WordLeft" : "Left" })
    if (key.rightArrow) return press({ _tag: key.ctrl || key.meta ? "WordRight" : "Right" })
    if (key.home) return press({ _tag: "Home" })
    if (key.end) return press({ _tag: "End" })
    // what most terminals send for the key that erases backwards comes as `delete`
    if (key.backspace || key.delete) return press({ _tag: "Erase" })
    const control =
      key.ctrl && /^[a-z]$/.test(input) ? controls[String.fromCharCode(input.charCodeAt(0) - 96)] : undefined
    if (control !== undefined) return press(control)
    if (key.ctrl || key.meta || key.escape || key.tab) return
    // what is pasted, or typed faster than it is read, comes as one piece; its last line is left to be edited
    let next = edited.current
    for (const piece of (key.return ? "\r" : input).match(/\r\n|\p{Cc}|\P{Cc}+/gu) ?? []) {
      const control = controls[piece]
      if (piece === "\u0003") return onEnd("interrupt")
      if (/^[\r\n]/.test(piece)) {
        if (next.text.trim() !== "") onLine(next.text)
        next = Editor.enter(next)
      } else {
        next = Editor.press(next, control ?? { _tag: "Insert", text: piece })
      }
    }
    change(next)
  })

  const said = Chat.printable(saying)
  return (
    <>
      <Static items={[...entries]}>{(entry, index) => <Line key={index} {...entry} />}</Static>
      {said !== "" && <Line style="agent" label={view.agent ?? "agent"} text={said} />}
      <Running view={view} time={time} />
      {!closing && <Prompt editor={editor} />}
      {closing && !view.closed && (
        <Box marginTop={1}>
          <Text color="gray">closing; Ctrl-C ends at once</Text>
        </Box>
      )}
    </>
  )
}

/**
 * Draws the chat on a terminal while the scope is open. `interrupted` ends for Ctrl-C, which is a key like others while
 * the terminal gives every key to the chat; `leave` is called for the second one.
 */
const open = (terminal: Terminal, leave: () => void) =>
  Effect.gen(function* () {
    const clock = yield* Effect.clock
    // typed by hand: it stays small
    const lines = yield* Mailbox.make<string>()
    const interrupted = yield* Deferred.make<void>()
    const store = new Store()
    const onEnd = (how: "quit" | "interrupt") => {
      if (store.shown.closing) return leave()
      store.set({ closing: true })
      if (how === "quit") lines.unsafeDone(Exit.void)
      else Deferred.unsafeDone(interrupted, Exit.void)
    }
    yield* Effect.acquireRelease(
      Effect.sync(() =>
        render(
          <App
            store={store}
            time={() => clock.unsafeCurrentTimeMillis()}
            onLine={(line) => lines.unsafeOffer(line)}
            onEnd={onEnd}
          />,
          {
            stdin: terminal.stdin,
            stdout: terminal.stdout,
            debug: terminal.debug === true,
            exitOnCtrlC: false,
            patchConsole: false
          }
        )
      ),
      (ink) =>
        Effect.promise(async () => {
          ink.unmount()
          await ink.waitUntilExit()
        })
    )
    const face: Chat.Face = {
      lines: Mailbox.toStream(lines),
      typed: true,
      entry: (entry) =>
        Effect.sync(() => {
          const spoken = entry.style === "agent"
          store.set({ entries: [...store.shown.entries, entry], ...(spoken ? { saying: "" } : {}) })
        }),
      view: (view) => Effect.sync(() => store.set(view.agentState === "speaking" ? { view } : { view, saying: "" })),
      saying: (saying) => Effect.sync(() => store.set({ saying }))
    }
    return { face, interrupted: Deferred.await(interrupted) }
  })

/** The chat on a terminal, until the user leaves. What happens while it is closed is still shown. */
export const run = (terminal: Terminal, leave: () => void, file?: string) =>
  Effect.scoped(
    Effect.flatMap(open(terminal, leave), ({ face, interrupted }) =>
      Effect.raceFirst(Chat.converse(face, file), Effect.zipRight(interrupted, Effect.interrupt))
    )
  )
