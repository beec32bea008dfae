/**
 * Text to sentences, as it streams. What is decided depends on the text alone, never on how it was cut into pieces: a
 * boundary is found once the first character behind it is known that decides, and not before.
 */
import { followsOrdinal, kindOf } from "./abbreviations.js"

/** UTF-16 offsets into the whole text. */
export interface Sentence {
  readonly text: string
  readonly from: number
  readonly to: number
}

/** Where a sentence ends, by the text so far: `undefined`, if nothing is decided yet. */
type Found = { readonly end: number } | { readonly open: number } | undefined

const ends = /[\p{Sentence_Terminal}…]/u
/** what belongs to the mark in front of it */
const closes = /[\p{Pe}\p{Pf}]|\p{Extended_Pictographic}|\p{Emoji_Modifier}|\p{Regional_Indicator}|\u200d|\ufe0f/u
/** closes as well, unless a word follows: then it opens */
const quotes = /[\p{Pi}"'*_~`]/u
const blank = /\s/u
const breaks = /[\n\r\u2028\u2029]/u
const lower = /\p{Ll}/u
const digit = /\p{Nd}/u
const letter = /[\p{L}\p{M}]/u
const word = /[\p{L}\p{N}]/u
/** scripts that put no space behind a sentence */
const spaceless = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Bopomofo}]/u

const isAscii = (char: string): boolean => char < "\u0080"

/** The character at an offset, both of its halves; undefined: not all of it is known. */
const charAt = (text: string, at: number, whole: boolean): string | undefined => {
  const unit = text.charCodeAt(at)
  if (Number.isNaN(unit)) return undefined
  if (unit < 0xd800 || unit > 0xdbff) return text.charAt(at)
  if (at + 1 >= text.length && !whole) return undefined
  const next = text.charCodeAt(at + 1)
  return next >= 0xdc00 && next <= 0xdfff ? text.slice(at, at + 2) : text.charAt(at)
}

/** The word that begins at an offset; undefined: it may go on. */
const wordAt = (text: string, at: number, whole: boolean): string | undefined => {
  let end = at
  while (end < text.length && letter.test(text.charAt(end))) end++
  return end < text.length || whole ? text.slice(at, end) : undefined
}

const lastCharOf = (text: string): string => {
  const unit = text.charCodeAt(text.length - 1)
  return unit >= 0xdc00 && unit <= 0xdfff ? text.slice(-2) : text.slice(-1)
}

/** Does a sentence end with the mark at `mark`, whose closing quotes end at `closed` and whose spaces end at `next`? */
const isBoundary = (
  text: string,
  mark: { readonly from: number; readonly to: number; readonly closed: number; readonly next: number },
  whole: boolean
): boolean | undefined => {
  const { closed, from, next, to } = mark
  const following = charAt(text, next, whole)
  if (following === undefined) return undefined
  const marks = text.slice(from, to)
  const spaced = next > closed
  if (spaced && breaks.test(text.slice(closed, next))) return true
  // spaced marks, as in ". . ." or "Quoi ?!"
  if (ends.test(following)) return false
  const before = text.slice(0, from)
  const last = lastCharOf(before)
  const stop = marks === "." || marks === "．"
  if (!spaced) {
    if (stop && digit.test(following)) return false
    const free = [...marks].some((char) => !isAscii(char) && char !== "…") || spaceless.test(following)
    return free && !(stop && digit.test(last)) && !(marks === "…" && !spaceless.test(following))
  }
  if (lower.test(following)) {
    // "Really?" she said. After a bare mark a new sentence may be written small
    return !/[.…．]/u.test(marks) && closed === to
  }
  if (!stop || closed > to) return true
  if (digit.test(last)) {
    const number = /(?:^|[^\p{Nd}\p{L}.,])(\p{Nd}{1,3})$/u.exec(before)
    if (number === null) return true
    // "1. Eggs": the number of a list, at the beginning of the sentence
    if (before.trim().length === number[1]?.length) return false
    if (!letter.test(following)) return true
    const noun = wordAt(text, next, whole)
    return noun === undefined ? undefined : !followsOrdinal(noun)
  }
  const kind = kindOf(before)
  return kind === "none" || (kind === "number" && !digit.test(following))
}

const findIn = (text: string, start: number, whole: boolean): Found => {
  let at = start
  while (at < text.length) {
    const char = charAt(text, at, whole)
    if (char === undefined) return { open: at }
    if (ends.test(char)) {
      let to = at + char.length
      let closed = to
      let next = to
      while (next < text.length) {
        const here = charAt(text, next, whole)
        if (here === undefined) return { open: at }
        if (blank.test(here)) next += here.length
        else if (next > closed) break
        else if (ends.test(here) && closed === to) to = closed = next = next + here.length
        else if (closes.test(here)) closed = next = next + here.length
        else if (quotes.test(here)) {
          const behind = charAt(text, next + here.length, whole)
          if (behind === undefined && !whole) return { open: at }
          if (behind !== undefined && word.test(behind)) break
          closed = next = next + here.length
        } else break
      }
      if (next >= text.length) return { open: at }
      const boundary = isBoundary(text, { from: at, to, closed, next }, whole)
      if (boundary === undefined) return { open: at }
      if (boundary) return { end: next }
      at = closed
    } else if (breaks.test(char) && /\S/u.test(text.slice(0, at))) {
      let next = at
      while (next < text.length && blank.test(text.charAt(next))) next++
      return next < text.length ? { end: next } : { open: at }
    } else at += char.length
  }
  return { open: at }
}

const words = new Intl.Segmenter(undefined, { granularity: "word" })
const graphemes = new Intl.Segmenter(undefined, { granularity: "grapheme" })

const lastOf = (text: string, most: number, pattern: RegExp): number => {
  let last = 0
  for (const found of text.matchAll(pattern)) {
    const end = found.index + found[0].length
    if (end > most) break
    last = end
  }
  return last
}

const lastSegment = (segmenter: Intl.Segmenter, text: string, most: number): number => {
  let last = 0
  for (const { index } of segmenter.segment(text)) {
    if (index > most) break
    last = index
  }
  return last
}

const clauses = /[,;:،؛][\p{Pe}\p{Pf}"']*\s+|[、，；：]|\s[—–-]\s+|—/gu
const spaces = /\s+/gu

/** How much of the text behind the longest piece is looked at: a word that stands across the cut should be known as one. */
const beyond = 16

/** Where a text that is too long is cut: behind a mark, a clause, a word, a whole character. */
const cutAt = (text: string, most: number, open: number): number => {
  // a mark of which only the end of the space behind it is not known
  if (open > 0) {
    const mark = /^[\p{Sentence_Terminal}…]+[\p{Pe}\p{Pf}"']*(?=\s)\s*/u.exec(text.slice(open, most))
    if (mark !== null) return open + mark[0].length
  }
  for (const pattern of [clauses, spaces]) {
    const cut = lastOf(text, most, pattern)
    // a cut close to the beginning would leave crumbs
    if (cut > most / 4) return cut
  }
  const segment = lastSegment(words, text, most)
  if (segment > most / 4) return segment
  const grapheme = lastSegment(graphemes, text, most)
  if (grapheme > 0) return grapheme
  const unit = text.charCodeAt(most)
  return unit >= 0xdc00 && unit <= 0xdfff ? most - 1 : most
}

/** What a reader of one text keeps: at most the sentence that is not over yet, and what has come behind it. */
export class Splitter {
  private rest = ""
  private from = 0
  /** nothing before it can end the sentence */
  private looked = 0

  constructor(readonly maxLength: number) {}

  add(piece: string): ReadonlyArray<Sentence> {
    this.rest += piece
    return this.take(false)
  }

  end(): ReadonlyArray<Sentence> {
    const out = this.take(true)
    return this.rest === "" ? out : [...out, this.cut(this.rest.length)]
  }

  private take(whole: boolean): Array<Sentence> {
    const out: Array<Sentence> = []
    while (this.rest !== "") {
      const most = this.maxLength + beyond
      const window = this.rest.length <= most ? this.rest : this.rest.slice(0, most)
      const all = whole && window.length === this.rest.length
      const found = findIn(window, this.looked, all)
      if (found !== undefined && "end" in found && found.end <= this.maxLength) {
        out.push(this.cut(found.end))
        continue
      }
      if (found !== undefined && "end" in found && !/\S/u.test(window.slice(this.maxLength, found.end))) {
        out.push(this.cut(this.maxLength))
        continue
      }
      const long = all ? window.length > this.maxLength : window.length === most
      if (!long) {
        if (found !== undefined && "open" in found) this.looked = found.open
        break
      }
      out.push(this.cut(cutAt(window, this.maxLength, found !== undefined && "open" in found ? found.open : 0)))
    }
    return out
  }

  private cut(length: number): Sentence {
    const text = this.rest.slice(0, length)
    const sentence = { text, from: this.from, to: this.from + length }
    this.rest = this.rest.slice(length)
    this.from += length
    this.looked = 0
    return sentence
  }
}
