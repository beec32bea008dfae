/**
 * What providers attach to parts, provider by provider.
 */
import { isRecord } from "./json.js"

export type Metadata = Record<string, unknown>

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

export const hasItemId = (metadata: Metadata | undefined): boolean =>
  metadata !== undefined && Object.values(metadata).some((value) => isRecord(value) && value.itemId !== undefined)
