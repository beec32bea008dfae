/**
 * A text that an output plays: what it reports of it (rules O2, O4), and where it begins once more. Offsets count from the
 * beginning of the text of that `play`, and the history keeps the text of the model up to there; pieces count as long as
 * there is no offset.
 */
import { type Playback, type State, startTimer, stopTimer, type TextEntry } from "./state.js"

/** The output is asked to play what it has not been given yet. */
export const begin = (entry: TextEntry, now: number): Playback => ({
  from: givenOf(entry),
  before: entry.played,
  pieces: undefined,
  offsets: false,
  whole: false,
  stop: undefined,
  timer: undefined,
  quietSince: now,
  starved: false
})

/** A report counts until it is known how far it has come. */
export const mayReport = (entry: TextEntry): boolean => entry.play === "playing" || entry.play === "stopping"

/** What was heard before is not unheard by what is played once more. */
const heard = (entry: TextEntry, playback: Playback, text: string): void => {
  entry.played = text.length < playback.before.length ? playback.before : text
}

export const piece = (entry: TextEntry, playback: Playback, text: string): void => {
  playback.pieces = (playback.pieces ?? "") + text
  if (!playback.offsets) heard(entry, playback, entry.text.slice(0, playback.from) + playback.pieces)
}

/** The last one counts, also a smaller one. */
export const offset = (entry: TextEntry, playback: Playback, to: number): void => {
  playback.offsets = true
  heard(entry, playback, entry.text.slice(0, clamped(entry.text, playback.from + Math.max(0, to), givenOf(entry))))
}

/** How much of the text the output has been given. */
const givenOf = (entry: TextEntry): number =>
  entry.unread.reduce((length, text) => length - text.length, entry.text.length)

/** Within what was given, and never in the middle of a character. */
const clamped = (text: string, to: number, most: number): number => {
  const at = Math.min(Math.floor(to), most)
  return isInside(text, at) ? at - 1 : at
}

const isInside = (text: string, at: number): boolean => {
  const before = text.charCodeAt(at - 1)
  const behind = text.charCodeAt(at)
  return before >= 0xd800 && before < 0xdc00 && behind >= 0xdc00 && behind < 0xe000
}

/** It has ended by itself. True if it has reported nothing, so that all was played. */
export const ended = (entry: TextEntry): boolean => {
  const { playback } = entry
  if (playback === undefined || playback.offsets || playback.pieces !== undefined) return false
  playback.whole = true
  entry.played = entry.text
  return true
}

export const isWhole = (entry: TextEntry): boolean => entry.playback?.whole === true

/** What was interrupted is played once more from the beginning of its sentence. */
export const rewind = (entry: TextEntry): void => {
  const { played, text } = entry
  const from = sentenceAt(text, Math.min(played.length, text.length))
  entry.unread = from === text.length ? [] : [text.slice(from)]
  // a play that was left behind gets no more text, and reports nothing more
  entry.playback = undefined
}

/** Where the sentence begins that is being said there; between two sentences, the next one. */
const sentenceAt = (text: string, at: number): number => {
  if (at === text.length && at > 0 && isEnd(text, at)) return at
  for (let i = at; i > 0; i--) if (isBorder(text, i)) return i
  return 0
}

/** The text before it ends a sentence, and what comes is not the space behind that. */
const isBorder = (text: string, i: number): boolean => {
  if (/\s/.test(text.charAt(i))) return false
  if (/[。！？\n]/.test(text.charAt(i - 1))) return true
  return /\s/.test(text.charAt(i - 1)) && isEnd(text, i)
}

/** A mark, with the quotes and brackets that belong to it, stands before it. */
const isEnd = (text: string, i: number): boolean =>
  /[.!?…。！？\n]["'”’»)\]]*\s*$/.test(text.slice(Math.max(0, i - 16), i))

// ----------------------------------------------------------------------------------------------- an output that stalls

/** Its time without a report runs: while it plays, is not paused, and has text (rule O6). */
export const watch = (s: State, entry: TextEntry): void => {
  const { playback } = entry
  const stallTimeout = entry.step.agent.output?.stallTimeout
  if (stallTimeout === undefined || playback === undefined || entry.play !== "playing") return
  playback.quietSince = s.now
  if (playback.starved || s.paused !== undefined) return
  playback.timer ??= startTimer(s, { _tag: "Stall", entry, playback }, stallTimeout)
}

/** It waits for text. */
export const starve = (s: State, entry: TextEntry): void => {
  const { playback } = entry
  if (playback === undefined || entry.play !== "playing") return
  playback.starved = true
  playback.timer = stopTimer(s, playback.timer)
}

export const fed = (s: State, entry: TextEntry): void => {
  if (entry.playback !== undefined) entry.playback.starved = false
  watch(s, entry)
}

/** Its time is over. True if nothing was reported meanwhile. */
export const hasStalled = (s: State, entry: TextEntry, playback: Playback): boolean => {
  if (entry.playback !== playback || entry.play !== "playing") return false
  playback.timer = undefined
  const left = playback.quietSince + (entry.step.agent.output?.stallTimeout ?? Number.POSITIVE_INFINITY) - s.now
  if (left <= 0) return true
  if (Number.isFinite(left)) playback.timer = startTimer(s, { _tag: "Stall", entry, playback }, left)
  return false
}
