/**
 * How much a test tries that tries many cases of one kind: `few` in the rules project, `many` in the soak project, which
 * runs the same files with `THOROUGH` set.
 */
export const times = (few: number, many: number): number => (process.env.THOROUGH === undefined ? few : many)
