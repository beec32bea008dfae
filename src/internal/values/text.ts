/**
 * Text as other systems take it: whole characters, and something to read.
 */
interface WellFormedString {
  isWellFormed?(): boolean
  toWellFormed?(): string
}

const half = /\p{Surrogate}/u
const halves = /\p{Surrogate}/gu

/** Has the text no half of a surrogate pair? */
export const isWellFormed = (text: string): boolean => (text as WellFormedString).isWellFormed?.() ?? !half.test(text)

/** The text itself; a half of a surrogate pair becomes U+FFFD. */
export const wellFormed = (text: string): string =>
  isWellFormed(text) ? text : ((text as WellFormedString).toWellFormed?.() ?? text.replace(halves, "\ufffd"))

/** The beginning of a text, at most so many UTF-16 units, no character cut in two. What was cut is marked. */
export const clip = (text: string, length: number, mark = ""): string => {
  if (text.length <= length) return text
  const last = text.charCodeAt(length - 1)
  const next = text.charCodeAt(length)
  const inside = last >= 0xd800 && last <= 0xdbff && next >= 0xdc00 && next <= 0xdfff
  return `${text.slice(0, inside ? length - 1 : length)}${mark}`
}

const visible = /[^\s\p{Cc}\p{Cf}\p{Z}]/u

/** Has the text nothing that a reader sees? Nearly every text begins with a visible character of ASCII. */
export const isBlank = (text: string): boolean => {
  const first = text.charCodeAt(0)
  return !(first > 0x20 && first < 0x7f) && !visible.test(text)
}

const controls = /(?![\n\t])\p{Cc}/gu

/**
 * A text for a terminal, without what would move the cursor, ring the bell or begin a sequence of commands. A sequence
 * begins with such a character, so none arrives, in whichever pieces it comes; what is left of it is text.
 */
export const forTerminal = (text: string): string => text.replace(controls, "")
