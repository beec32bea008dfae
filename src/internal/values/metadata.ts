/**
 * What providers attach to parts, provider by provider.
 */
import { isRecord } from "./record.js"

export type Metadata = Record<string, unknown>

/** The key of what is the session's own in an item's metadata. */
export const ours = "effect-meantime"

/** What is the session's own in metadata, and what would change the prototype of a copy, no provider can set. */
const ofProvider = (metadata: Metadata): Metadata =>
  Object.hasOwn(metadata, ours) || Object.hasOwn(metadata, "__proto__")
    ? Object.fromEntries(Object.entries(metadata).filter(([key]) => key !== ours && key !== "__proto__"))
    : metadata

/** A later part says nothing of what it leaves out. */
const defined = (value: Metadata): Metadata =>
  Object.fromEntries(Object.entries(value).filter(([, field]) => field !== undefined))

/** Metadata of a part's start, deltas and end, merged provider by provider (rule M2). */
export const mergeMetadata = (a: Metadata | undefined, given: Metadata | undefined): Metadata | undefined => {
  if (!isRecord(given)) return a
  const b = ofProvider(given)
  if (Object.keys(b).length === 0) return a
  if (a === undefined) return b
  const out: Metadata = { ...a }
  for (const [provider, value] of Object.entries(b)) {
    if (value === undefined) continue
    const old = out[provider]
    out[provider] = isRecord(old) && isRecord(value) ? { ...old, ...defined(value) } : value
  }
  return out
}

/** All but what names an item of the provider: that stands for the whole item, and may be sent once. */
export const withoutItemId = (metadata: Metadata | undefined): Metadata | undefined => {
  if (metadata === undefined) return undefined
  const out: Metadata = {}
  for (const [provider, value] of Object.entries(metadata)) {
    if (!isRecord(value)) {
      out[provider] = value
      continue
    }
    const { itemId: _, ...rest } = value
    if (Object.keys(rest).length > 0) out[provider] = rest
  }
  return Object.keys(out).length > 0 ? out : undefined
}
