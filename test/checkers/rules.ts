/**
 * What the checkers of requests share. A checker is given the JSON body of a request and says, in words, which rules of
 * the API it breaks. They know nothing of how the bodies are made.
 */
export type Checker = (body: any) => ReadonlyArray<string>

/** Collects what is wrong, with the place. */
export class Problems {
  readonly found: Array<string> = []

  /** Says so if it does not hold, and whether it does. */
  holds(condition: boolean, at: string, problem: string): boolean {
    if (!condition) this.found.push(`${at}: ${problem}`)
    return condition
  }
}

export const isRecord = (value: unknown): value is Record<string, any> =>
  typeof value === "object" && value !== null && !Array.isArray(value)

/** Python's `str.strip`, by which several of the APIs go, knows these, too. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: separators that Python takes for blanks
export const isBlank = (text: unknown): boolean => typeof text !== "string" || /^[\s\x1c-\x1f\x85]*$/.test(text)

const half = /\p{Surrogate}/u

/** No string of a body, key or value, has half of a surrogate pair. */
export const wholeCharacters = (problems: Problems, value: unknown, at = "body"): void => {
  if (typeof value === "string") problems.holds(!half.test(value), at, "half of a surrogate pair")
  else if (Array.isArray(value)) for (const [i, part] of value.entries()) wholeCharacters(problems, part, `${at}.${i}`)
  else if (isRecord(value)) {
    for (const [key, part] of Object.entries(value)) {
      problems.holds(!half.test(key), at, "half of a surrogate pair in a key")
      wholeCharacters(problems, part, `${at}.${key}`)
    }
  }
}

/** Arguments that are sent as text are the text of a JSON object. */
export const isObjectText = (text: unknown): boolean => {
  if (typeof text !== "string") return false
  try {
    return isRecord(JSON.parse(text))
  } catch {
    return false
  }
}

export const name = /^[a-zA-Z0-9_-]{1,64}$/

/** The names of tools: of the alphabet, each once. */
export const toolNames = (problems: Problems, names: ReadonlyArray<unknown>, pattern = name): void => {
  for (const [i, tool] of names.entries()) {
    problems.holds(typeof tool === "string" && pattern.test(tool), `tools.${i}`, `the name does not match ${pattern}`)
    problems.holds(names.indexOf(tool) === i, `tools.${i}`, "the name is there twice")
  }
}

/** Each of the wanted ones once, and no other. */
export const sameIds = (
  problems: Problems,
  at: string,
  wanted: ReadonlyArray<unknown>,
  got: ReadonlyArray<unknown>
): void => {
  for (const id of wanted) {
    problems.holds(got.filter((other) => other === id).length === 1, at, `the call ${id} has not exactly one result`)
  }
  for (const id of got) problems.holds(wanted.includes(id), at, `the result ${id} has no call`)
}

/** No id is used for two calls. */
export const onceEach = (problems: Problems, ids: ReadonlyArray<unknown>): void => {
  for (const [i, id] of ids.entries()) problems.holds(ids.indexOf(id) === i, "calls", `the id ${id} is used twice`)
}

// -------------------------------------------------------------------------------------------------------------- files

/** What data of a type begins with, in base64. */
const beginnings: Record<string, RegExp> = {
  "image/png": /^iVBORw0KGg/,
  "image/jpeg": /^\/9j\//,
  "image/gif": /^R0lGOD/,
  "image/webp": /^UklGR/,
  "application/pdf": /^JVBERi/
}

export const pictures = ["image/png", "image/jpeg", "image/gif", "image/webp"]

/** Base64 that is not empty, of one of the types, and what it says it is. */
export const data = (
  problems: Problems,
  at: string,
  type: unknown,
  base64: unknown,
  types: ReadonlyArray<string>
): void => {
  problems.holds(typeof type === "string" && types.includes(type), at, `no data of type ${type}`)
  const written = typeof base64 === "string" && base64.length % 4 === 0 && /^[A-Za-z0-9+/]+={0,2}$/.test(base64)
  if (!problems.holds(written, at, "the data is not base64, or empty")) return
  const begins = beginnings[type as string]
  problems.holds(begins === undefined || begins.test(base64 as string), at, `the data is not of type ${type}`)
}

/** An address that the API opens, or a `data:` one with data of one of the types. */
export const address = (problems: Problems, at: string, url: unknown, types: ReadonlyArray<string>): void => {
  const inside = typeof url === "string" ? /^data:([^;,]*);base64,([\s\S]*)$/.exec(url) : null
  if (inside !== null) return data(problems, at, inside[1], inside[2], types)
  problems.holds(typeof url === "string" && /^https?:\/\/\S+$/.test(url), at, `no address: ${String(url).slice(0, 40)}`)
}
