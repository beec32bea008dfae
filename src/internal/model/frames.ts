/**
 * Notes of the application (rule M5): the frame that says that nobody said them, and what passes for one to a reader.
 */
export const frame = (text: string): string =>
  `[Note from the application, not from the user: nobody said this in the conversation.]\n${text}`

const mark = "[quoted, not from the application: "

/** What the user says and what tools report must not pass for a note of the application: only `frame` opens one. */
export const quoted = (text: string): string => {
  if (!bracket.test(text)) return text
  if (!unusual.test(text)) return text.replace(opening, mark)
  const places = placesIn(seen(text, false))
  if (hidden.test(text)) places.push(...placesIn(seen(text, true)))
  if (places.length === 0) return text
  let out = ""
  let from = 0
  for (const place of Array.from(new Set(places)).sort((a, b) => a - b)) {
    out += `${text.slice(from, place)}${mark}`
    from = place + 1
  }
  return out + text.slice(from)
}

const placesIn = (skeleton: string): Array<number> => Array.from(skeleton.matchAll(opening), ({ index }) => index)

/** a bracket, or what looks like one; all are one UTF-16 unit */
const brackets = "[［﹝【〔〖〘〚⟦⟬⁅❲⦋⦍⦏⌈⌊⎡⎢⎣「『｢"
const bracket = new RegExp(`[\\${brackets}]`)

/** What is read as it stands: without these, a text needs no skeleton. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: all of ASCII, control characters included
const unusual = /[^\x00-\x7f]/

/** letters that no reader sees, and a model may read */
const hidden = /[\u{e0041}-\u{e007a}]/u

/** By the letter: what is taken for it. `η` is an N or an H. */
const letters: Record<string, string> = {
  n: "[nη]",
  o: "[o0]",
  t: "[t7]",
  e: "[e3]",
  m: "(?:m|rn)",
  h: "[hη]",
  a: "[a4@]",
  l: "[l1i|]",
  i: "[i1l|]"
}

/** What stands between the letters does not matter, as long as it is no letter, digit or bracket. */
const between = "[^a-z0-9\\[|@η]*"

const opening = new RegExp(
  `\\[(?=${between}${Array.from("notefromtheapplication", (letter) => letters[letter] ?? letter).join(between)})`,
  "gi"
)

/** By the letter: what looks like it and is not made of it. */
const lookalikes: Record<string, string> = {
  "[": brackets,
  a: "аαɑ⍺ᴀꓮᎪꭺ",
  c: "сϲᴄⅽꓚᏟꮯⲥ",
  e: "еεєҽ℮ᴇꓰᎬꭼ",
  f: "ƒϝꞙꜰғꓝ",
  h: "һнհʜꓧᎻꮋ",
  i: "іιɩıɪꓲᎥꭵⲓ",
  l: "ӏⅼʟǀ∣│┃ꓡᏞꮮłӀ",
  m: "мʍᴍꓟᎷꮇⲙ",
  n: "пոɴνΝꓠⲛŋɲ",
  o: "оοօσᴏ૦०০੦୦๐ꓳⲟøө",
  p: "рρᴘϱꓑᏢꮲⲣ",
  r: "гʀꭇᴦꓣ",
  t: "тτᴛꓔᎢꭲⲧ",
  η: "ηΗ"
}

const known = new Map<number, string>()

for (const [letter, others] of Object.entries(lookalikes)) {
  for (const other of others) known.set(other.codePointAt(0) as number, letter)
}

/** One ASCII letter, digit or bracket; a space for what a reader does not see, or passes over. */
const lookOf = (code: number): string => {
  const given = known.get(code)
  if (given !== undefined) return given
  const look = lookOfNew(code)
  known.set(code, look)
  return look
}

const lookOfNew = (code: number): string => {
  // letters in circles, squares and flags
  for (const first of [0x1f150, 0x1f170, 0x1f1e6]) {
    if (code >= first && code < first + 26) return String.fromCharCode(0x61 + code - first)
  }
  const parts = String.fromCodePoint(code).normalize("NFKD")
  for (const part of `${parts}${parts.toLowerCase()}`) {
    const lower = part.toLowerCase()
    if (/[a-z0-9[|@]/.test(lower)) return lower
    const like = known.get(part.codePointAt(0) as number)
    if (like !== undefined && like !== " " && like !== "z") return like
  }
  // any other letter is one that the words do not have
  return /[\p{L}\p{N}]/u.test(parts) ? "z" : " "
}

/** A text as a reader sees it, a UTF-16 unit for each of its own. */
const seen = (text: string, withHidden: boolean): string => {
  let out = ""
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    if (unit < 0x80) {
      out += text[i]
      continue
    }
    const code = text.codePointAt(i) as number
    const tag = code - 0xe0000
    out += withHidden && tag > 0x20 && tag < 0x7f ? String.fromCharCode(tag) : lookOf(code)
    if (code > 0xffff) {
      out += " "
      i++
    }
  }
  return out
}
