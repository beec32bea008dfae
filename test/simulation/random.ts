/** Random numbers from a seed. `fork` makes streams that do not depend on how much was drawn from each other. */
export interface Random {
  /** 0 ≤ x < 1 */
  readonly next: () => number
  /** an integer, 0 ≤ x < n */
  readonly int: (n: number) => number
  readonly chance: (p: number) => boolean
  readonly pick: <const A>(...all: ReadonlyArray<A>) => A
  /** one of them, as often as its weight says */
  readonly weighted: <const K extends string>(weights: Readonly<Record<K, number>>) => K
  readonly fork: (name: string, n?: number) => Random
}

const hash = (text: string, seed: number): number => {
  let h = seed ^ 0x9e3779b9
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193)
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}

export const make = (seed: number): Random => {
  let state = hash("seed", seed | 0)
  const next = () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
  const int = (n: number) => Math.floor(next() * n)
  return {
    next,
    int,
    chance: (p) => next() < p,
    pick: (...all) => all[int(all.length)] as any,
    weighted: (weights) => {
      const entries = Object.entries<number>(weights)
      let x = next() * entries.reduce((sum, [, weight]) => sum + weight, 0)
      for (const [name, weight] of entries) {
        x -= weight
        if (x < 0) return name as any
      }
      return entries[0]?.[0] as any
    },
    fork: (name, n = 0) => make(hash(`${name}/${n}`, seed | 0))
  }
}
