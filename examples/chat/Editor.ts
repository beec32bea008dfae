/**
 * One line of text that is being edited, and the lines before it. Pure: a key makes a new editor.
 */

export interface Editor {
  readonly text: string
  /** between which characters the cursor is; characters are those that a person sees */
  readonly cursor: number
  /** what was entered, the oldest first */
  readonly history: ReadonlyArray<string>
  /** how far back in it one is; 0: at the line that is being written */
  readonly back: number
  /** that line, kept while one looks back */
  readonly draft: string
}

export const empty: Editor = { text: "", cursor: 0, history: [], back: 0, draft: "" }

export type Key =
  | { readonly _tag: "Insert"; readonly text: string }
  | { readonly _tag: "Erase" | "EraseAhead" | "EraseWord" | "EraseBefore" | "EraseAfter" }
  | { readonly _tag: "Left" | "Right" | "WordLeft" | "WordRight" | "Home" | "End" }
  | { readonly _tag: "Up" | "Down" }

const segmenter = new Intl.Segmenter()
export const characters = (text: string): ReadonlyArray<string> =>
  Array.from(segmenter.segment(text), ({ segment }) => segment)

/** What moves the cursor or rings the bell has no place in a line. */
const plain = (text: string): string => text.replace(/\t/g, " ").replace(/\p{Cc}/gu, "")

const edit = (self: Editor, before: ReadonlyArray<string>, after: ReadonlyArray<string>): Editor => {
  const head = before.join("")
  return { ...self, text: head + after.join(""), cursor: characters(head).length }
}

const wordStart = (all: ReadonlyArray<string>, cursor: number): number => {
  let at = cursor
  while (at > 0 && all[at - 1]?.trim() === "") at--
  while (at > 0 && all[at - 1]?.trim() !== "") at--
  return at
}
const wordEnd = (all: ReadonlyArray<string>, cursor: number): number => {
  let at = cursor
  while (at < all.length && all[at]?.trim() === "") at++
  while (at < all.length && all[at]?.trim() !== "") at++
  return at
}

const recall = (self: Editor, back: number): Editor => {
  if (back < 0 || back > self.history.length) return self
  const draft = self.back === 0 ? self.text : self.draft
  const text = back === 0 ? draft : (self.history[self.history.length - back] ?? "")
  return { ...self, back, draft, text, cursor: characters(text).length }
}

export const press = (self: Editor, key: Key): Editor => {
  const all = characters(self.text)
  const { cursor } = self
  switch (key._tag) {
    case "Insert":
      return edit(self, [...all.slice(0, cursor), plain(key.text)], all.slice(cursor))
    case "Erase":
      return edit(self, all.slice(0, Math.max(0, cursor - 1)), all.slice(cursor))
    case "EraseAhead":
      return edit(self, all.slice(0, cursor), all.slice(cursor + 1))
    case "EraseWord":
      return edit(self, all.slice(0, wordStart(all, cursor)), all.slice(cursor))
    case "EraseBefore":
      return edit(self, [], all.slice(cursor))
    case "EraseAfter":
      return edit(self, all.slice(0, cursor), [])
    case "Left":
      return { ...self, cursor: Math.max(0, cursor - 1) }
    case "Right":
      return { ...self, cursor: Math.min(all.length, cursor + 1) }
    case "WordLeft":
      return { ...self, cursor: wordStart(all, cursor) }
    case "WordRight":
      return { ...self, cursor: wordEnd(all, cursor) }
    case "Home":
      return { ...self, cursor: 0 }
    case "End":
      return { ...self, cursor: all.length }
    case "Up":
      return recall(self, self.back + 1)
    case "Down":
      return recall(self, self.back - 1)
  }
}

/** The line is entered: it goes to the history, and the editor is empty again. */
export const enter = (self: Editor): Editor => {
  const line = self.text.trim()
  const history = line === "" || self.history.at(-1) === line ? self.history : [...self.history, line].slice(-200)
  return { ...empty, history }
}
