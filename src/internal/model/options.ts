/**
 * The options of parts: what providers attached to them, which goes back unchanged (rule M2). What a provider cannot have
 * attached is left out: its package would fail on it, or its API refuse the request.
 */
import { isRecord } from "../values/json.js"
import { type Metadata, ours } from "../values/metadata.js"
import { isWellFormed } from "../values/text.js"
import { wireValue } from "./wire.js"

export const oursOf = (metadata: unknown): any => (isRecord(metadata) ? metadata[ours] : undefined)

export type Kind = "text" | "call" | "executed" | "reasoning"

const noOptions: Metadata = {}

const isText = (value: unknown): value is string => typeof value === "string" && value !== "" && isWellFormed(value)

const itemIds: Record<Kind, RegExp> = {
  text: /^msg[\w-]{1,61}$/,
  call: /^fc[\w-]{1,62}$/,
  executed: /^[a-z]{2,5}_[\w-]{1,58}$/,
  reasoning: /^rs[\w-]{1,62}$/
}

const isEncoded = (value: unknown): boolean => isText(value) && /^[\w+/=-]+$/.test(value)

/** By provider and field: is the value one that it can have made? Fields that are not named here pass. */
const fields: Record<string, Record<string, (value: unknown, kind: Kind) => boolean>> = {
  openai: {
    itemId: (value, kind) => isText(value) && itemIds[kind].test(value),
    encryptedContent: (value) => value === null || isText(value),
    reasoningEncryptedContent: (value) => value === null || isText(value)
  },
  anthropic: {
    signature: isText,
    redactedData: isText,
    cacheControl: (value) => isRecord(value) && value.type === "ephemeral"
  },
  bedrock: { signature: isText, redactedData: isText },
  google: { thoughtSignature: isEncoded }
}

/** The fields that are as they can be; the same object if all are. */
const soundFields = (provider: string, value: Metadata, kind: Kind): Metadata => {
  const rules = Object.hasOwn(fields, provider) ? fields[provider] : undefined
  if (rules === undefined) return value
  let out: Metadata | undefined
  for (const name of Object.keys(rules)) {
    const field = value[name]
    if (field === undefined || (rules[name] as (value: unknown, kind: Kind) => boolean)(field, kind)) continue
    out ??= { ...value }
    delete out[name]
  }
  return out ?? value
}

/**
 * Thinking goes back with its signature or in its encrypted form. Packages take one that says neither for the one of
 * them, and send it without what the API wants of it.
 */
const soundThinking = (value: Metadata): Metadata | undefined => {
  const type = value.signature !== undefined ? "thinking" : value.redactedData !== undefined ? "redacted_thinking" : ""
  return type === "" ? undefined : value.type === type ? value : { ...value, type }
}

/** How a provider's package reads what is attached. */
export interface Reading {
  /** which metadata it reads */
  readonly provider: "openai" | "anthropic" | "bedrock" | "google"
  /** it goes by the type of thinking, and sends none that says neither */
  readonly typed?: boolean
}

/** Providers' metadata without ours. Of what this provider reads only that is left which it can have attached itself. */
export const optionsOf = (metadata: unknown, kind: Kind, reading: Reading | undefined): any => {
  if (!isRecord(metadata)) return noOptions
  let out: Metadata | undefined
  for (const provider of Object.keys(metadata)) {
    const given = metadata[provider]
    const whole = provider !== ours && isRecord(given) ? wireValue(given) : undefined
    let sound = isRecord(whole) ? whole : undefined
    if (sound !== undefined && provider === reading?.provider) {
      sound = soundFields(provider, sound, kind)
      if (kind === "reasoning" && reading.typed === true) sound = soundThinking(sound)
    }
    if (sound === given) continue
    out ??= { ...metadata }
    if (sound === undefined) delete out[provider]
    else out[provider] = sound
  }
  return out ?? metadata
}

/** The id by which a provider knows the item. */
export const itemIdOf = (options: any): string | undefined => {
  for (const provider of Object.keys(options)) {
    const id = options[provider]?.itemId
    if (typeof id === "string") return id
  }
  return undefined
}
