/**
 * The one redactor: what looks like a key, a token or a password, in what a server or a package says of a request.
 *
 * It goes through a text once, word by word. No pattern here can backtrack: each is one class of characters, or has
 * bounds, or is followed by nothing that can fail. So a server cannot make it slow.
 */
import * as Either from "effect/Either"
import * as Encoding from "effect/Encoding"

export const hidden = "<redacted>"

/** With dots inside, as hosts and signed tokens have them. */
const words = /[\w*.-]+/g

/** Whoever makes these begins them with a word of his own: no other word begins so. */
const ownBeginnings = [
  ...["sk-ant-", "sk-proj-", "sk-svcacct-", "sk-admin-", "sk-or-", "sk_live_", "sk_test_", "rk_live_", "rk_test_"],
  ...["pk_live_", "pk_test_", "whsec_", "gsk_", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-"],
  ...["xoxa-", "xoxb-", "xoxc-", "xoxd-", "xoxe-", "xoxo-", "xoxp-", "xoxr-", "xoxs-", "xapp-", "nvapi-", "pplx-"],
  ...["tvly-", "tgp_v1_", "shpat_", "dop_v1_", "GOCSPX-", "lsv2_pt_", "lsv2_sk_", "vck_"]
]

/** Other words begin so, too: what follows has to look random. */
const commonBeginning = /^(?:c?sk|pk|rk|key|hf|r8|fw|xai|npm)[-_]/

/** A long piece without a break, or one that mixes letters and digits; or what was masked already. */
const looksRandom = (text: string): boolean =>
  text.includes("**") ||
  (text.length >= 32 && /\d/.test(text)) ||
  text.split(/[-_]/).some((piece) => piece.length >= 16 || (piece.length >= 8 && isMixed(piece)))

const isMixed = (text: string): boolean => /\d/.test(text) && /[a-z]/i.test(text)

/** Where a key begins within a part of a word; -1 if it has none. */
const keyIn = (part: string): number => {
  // before anything else: nearly all words are short
  if (part.length < 10) return -1
  const common = commonBeginning.exec(part)
  if (common !== null && looksRandom(part.slice(common[0].length))) return 0
  if (part.startsWith("AIza") && part.length >= 16) return 0
  if (/^AKIA[A-Z0-9*]{8,}$/.test(part) || (/^A(?:SIA|BIA|CCA)[A-Z0-9]{16}$/.test(part) && /\d/.test(part))) return 0
  let first = -1
  for (const beginning of ownBeginnings) {
    let at = part.indexOf(beginning)
    while (at > 0 && part[at - 1] !== "-" && part[at - 1] !== "_") at = part.indexOf(beginning, at + 1)
    if (at >= 0 && (first < 0 || at < first) && part.length - at - beginning.length >= 8) first = at
  }
  return first
}

/** The word without its keys. */
const cleaned = (word: string): string => {
  if (word.length < 10) return word
  const parts = word.split(".")
  for (const [i, part] of parts.entries()) {
    const next = parts[i + 1]
    // signed tokens (JWT), and those of Google and SendGrid, have dots of their own
    const dotted =
      (part.startsWith("eyJ") && part.length >= 10 && next !== undefined) ||
      ((part === "ya29" || part === "SG") && next !== undefined && next.length >= 16)
    if (dotted) return [...parts.slice(0, i), hidden].join(".")
    const at = keyIn(part)
    if (at >= 0) parts[i] = part.slice(0, at) + hidden
  }
  return parts.join(".")
}

// -------------------------------------------------------------------------------------------- what has a name before it

const secretName =
  /(?:api|access|secret|private|signing|encryption|subscription|auth|account)key(?:id)?$|token$|secret$|password$|passw(?:or)?d$|passphrase$|^_?auth$|authorization$|cookie$|amzsignature$|amzcredential$|pwd$/

/** Is it the name of a header, a field or a parameter that has a secret? The last of a name is what it is. */
export const isSecretName = (word: string): boolean => {
  const last = word.slice(-64)
  return secretName.test(last.replace(/[-_.]/g, "").toLowerCase()) || /^[A-Z\d_]+_KEY$/.test(last)
}

/** Names that say so in the query of an address only. */
const secretParameters = new Set(["key", "sig", "signature", "code", "auth", "pass", "pw", "hmac", "jwt", "assertion"])

const beforeKey = /^(?:api|access|secret|private|auth)$/i

const separator = /["'`\\]{0,4}(?:\s{1,4}(?:provided|given|used|was|is))?\s{0,4}[:=]{1,2}\s{0,8}[[({]?\s{0,4}/y

const opening = /\\{0,4}["'`]/y

const bare = /[^\s"'`,;&<>()[\]{}\\]+/y

const scheme = /[A-Za-z][\w-]{1,20} {1,4}(?=[^\s"'`,;&<>()[\]{}\\])/y

const restOfLine = /[^\r\n"'`<]+/y

/** What follows a name in a sentence, or where there is no value. */
const noSecret =
  /^(?:a|an|and|are|as|at|be|been|but|by|can|could|did|do|does|empty|expected|expired|failed|false|for|from|has|have|if|in|incorrect|invalid|is|it|its|may|missing|must|no|none|not|null|of|on|one|or|please|rejected|required|should|string|that|the|this|to|true|undefined|unexpected|was|were|when|with|wrong|you|your|\d{1,2}|\W{1,3})[.!?]?$/i

const bearerWords =
  /^(?:tokens?|schemes?|headers?|auth|authentication|authorization|credentials?|realm|prefix|format|required|missing|invalid|instead|followed|without)[.:!?]*$/i

const end = (pattern: RegExp, text: string, at: number): number => {
  pattern.lastIndex = at
  return pattern.test(text) ? pattern.lastIndex : at
}

/** Up to the same quotation mark, or the end of the line. */
const endOfQuoted = (text: string, at: number, mark: string): number => {
  const quote = mark.charCodeAt(mark.length - 1)
  for (let i = at; i < text.length; i++) {
    const char = text.charCodeAt(i)
    if (char === 10 || char === 13) return i
    if (char === 92 && mark.length === 1) i++
    else if (char === quote) return Math.max(at, i - (mark.length - 1))
  }
  return text.length
}

/** Where the value behind a name begins and ends; none if it is a word of a sentence. */
const valueAt = (text: string, name: string, from: number): readonly [number, number] | undefined => {
  const at = end(separator, text, from)
  if (at === from) return undefined
  const inside = end(opening, text, at)
  if (inside > at) {
    const to = endOfQuoted(text, inside, text.slice(at, inside))
    return to > inside && !noSecret.test(text.slice(inside, Math.min(to, inside + 20))) ? [inside, to] : undefined
  }
  if (/cookie$/i.test(name)) {
    const to = end(restOfLine, text, at)
    return to > at ? [at, to] : undefined
  }
  // the folder that a shell is in
  if (text[at] === "/" && /pwd$/i.test(name)) return undefined
  const to = end(bare, text, at)
  if (to === at || noSecret.test(text.slice(at, Math.min(to, at + 24)))) return undefined
  // a scheme, such as Bearer, is followed by the value
  if (!/authorization$/i.test(name)) return [at, to]
  const value = end(scheme, text, at)
  return value > at ? [at, end(bare, text, value)] : [at, to]
}

/** A value behind Bearer or Basic that is no word of a sentence about them. */
const schemeValueAt = (text: string, word: string, from: number): readonly [number, number] | undefined => {
  const at = end(/[ \t]{1,4}/y, text, from)
  const to = end(bare, text, at)
  if (at === from || to - at < 6) return undefined
  const value = text.slice(at, to)
  const secret =
    word === "Bearer"
      ? !bearerWords.test(value.slice(0, 24))
      : (value.length >= 8 && isMixed(value)) || value.length >= 32 || isUserAndPassword(value)
  return secret ? [at, to] : undefined
}

const isUserAndPassword = (value: string): boolean => {
  const decoded = Encoding.decodeBase64String(value)
  return Either.isRight(decoded) && decoded.right.includes(":")
}

const parameter = /[^\s"'`,;&<>()[\]{}\\?#]+/y

const inQuery = (text: string, at: number): boolean => {
  const before = text[at - 1]
  return before === "?" || before === "&"
}

const parameterAt = (text: string, name: string, from: number): readonly [number, number] | undefined => {
  if (text[from] !== "=") return undefined
  const to = end(parameter, text, from + 1)
  if (to === from + 1) return undefined
  const value = text.slice(from + 1, to)
  const secret =
    secretParameters.has(name.toLowerCase()) || (value.length >= 16 && isMixed(value) && looksRandom(value))
  return secret ? [from + 1, to] : undefined
}

const userInfo = /:\/\/[^\s/?#"'`<>]*@/y

const webhook = /\/(?:services|api\/webhooks)\/[\w/-]+/y

/** What is hidden behind this word, or because of it. */
const behind = (
  text: string,
  word: string,
  from: number,
  to: number,
  previous: string
): readonly [number, number] | undefined => {
  if (word.length <= 6 && /^b(?:earer|asic)$/i.test(word)) return schemeValueAt(text, word, to)
  if (isSecretName(word) || (/^keys?$/i.test(word) && beforeKey.test(previous))) {
    const value = valueAt(text, word, to)
    if (value !== undefined) return value
  }
  if (inQuery(text, from)) return parameterAt(text, word, to)
  if (text.startsWith("://", to)) {
    const host = end(userInfo, text, to)
    return host > to ? [to + 3, host - 1] : undefined
  }
  if (word === "hooks.slack.com" || word === "discord.com") {
    const path = end(webhook, text, to)
    return path > to ? [to + 1, path] : undefined
  }
  return undefined
}

const keyBlock = "-----BEGIN "

/** Private keys as files have them. One whose end was cut off is hidden to the end of the text. */
const withoutKeyBlocks = (text: string): string => {
  let out = ""
  let done = 0
  for (let at = text.indexOf(keyBlock); at >= 0; at = text.indexOf(keyBlock, at + keyBlock.length)) {
    const head = text.slice(at, at + 64)
    if (at < done || !/^-----BEGIN [A-Z ]{0,32}PRIVATE KEY-----/.test(head)) continue
    const closing = text.indexOf("-----END ", at)
    const rest = closing < 0 ? text.length : text.indexOf("-----", closing + 9)
    out += text.slice(done, at) + hidden
    done = rest < 0 || rest === text.length ? text.length : rest + 5
    if (done === text.length) break
  }
  return out + text.slice(done)
}

/** Those of a sentence are not the word's own. */
const withoutFullStops = (word: string): string => {
  let length = word.length
  while (length > 0 && word.charCodeAt(length - 1) === 46) length--
  return word.slice(0, length)
}

const withoutKeys = (text: string): string => {
  let out = ""
  let done = 0
  let previous = ""
  for (const match of text.matchAll(words)) {
    const { index: from } = match
    // hidden already, as a part of a value
    if (from < done) continue
    const word = withoutFullStops(match[0])
    const to = from + word.length
    out += text.slice(done, from) + cleaned(word)
    done = to
    const value = behind(text, word, from, to, previous)
    if (value !== undefined) {
      out += text.slice(to, value[0]) + hidden
      done = value[1]
    }
    previous = word
  }
  return out + text.slice(done)
}

/** The text without what looks like a key, a token or a password. Text that has none stays as it is. */
export const redact = (text: string): string =>
  typeof text !== "string" ? "" : withoutKeys(text.includes(keyBlock) ? withoutKeyBlocks(text) : text)
