/**
 * What an output reports of a text that it plays (rules O2, O4): offsets into the text of its `play`, or pieces. Offsets
 * win, and the history keeps the text of the model up to there.
 */
import type { Playback, TextEntry } from "./state.js"

/** The output is asked to play what has not been heard yet. */
export const begin = (entry: TextEntry): Playback => ({
  from: 0,
  before: entry.played,
  pieces: undefined,
  offsets: false,
  whole: false
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
  heard(entry, playback, entry.text.slice(0, whole(entry.text, playback.from + Math.max(0, to), givenOf(entry))))
}

/** How much of the text the output has been given. */
const givenOf = (entry: TextEntry): number =>
  entry.unread.reduce((length, text) => length - text.length, entry.text.length)

/** Within what was given, and never in the middle of a character. */
const whole = (text: string, to: number, most: number): number => {
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
