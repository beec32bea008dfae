/**
 * A value as JSON carries it. A number that JSON does not have becomes 0: times and counts are finite, and a Schema that
 * only says `Number` makes others too.
 */
export const wire = (value: unknown): unknown =>
  JSON.parse(JSON.stringify(value, (_key, part) => (typeof part === "number" && !Number.isFinite(part) ? 0 : part)))
