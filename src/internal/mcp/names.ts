/**
 * The names of a server's tools, as models take them (rule J1).
 */
import { clip } from "../values/text.js"

/** What is no letter, digit, `_` or `-` becomes `_`; more than 64 characters are cut. */
export const nameFor = (prefix: string, name: string): string =>
  clip(`${prefix}${name}`.replace(/[^A-Za-z0-9_-]/g, "_"), 64)

/** The first two names of the server that become one. */
export const clashIn = (
  prefix: string,
  names: ReadonlyArray<string>
): { readonly name: string; readonly first: string; readonly second: string } | undefined => {
  const taken = new Map<string, string>()
  for (const second of names) {
    const name = nameFor(prefix, second)
    const first = taken.get(name)
    if (first !== undefined) return { name, first, second }
    taken.set(name, second)
  }
  return undefined
}
