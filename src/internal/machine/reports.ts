/**
 * The ids of reports: `<callId>_update_<n>` and `<callId>_final` (rules U2, U3). A model may choose the same for a call
 * of its own; in the history such a call is marked, so that who reads it later is not misled.
 */
import { type Metadata, ours } from "../values/metadata.js"
import type { ChatItem } from "./words.js"

type FunctionCall = Extract<ChatItem, { readonly _tag: "FunctionCall" }>

/** With what `reserveCallId` adds to an id that is taken. */
const reportId = /^(.+)_(update_\d+|final)(?:_\d+)?$/s

/** The call of which this one is a report, by its id. */
export const reportOf = ({
  callId,
  metadata
}: FunctionCall): { readonly of: string; readonly final: boolean } | undefined => {
  const found = reportId.exec(callId)
  if (found === null || isMarked(metadata)) return undefined
  return { of: found[1] as string, final: found[2] === "final" }
}

/** The metadata of a call that a model makes. */
export const marked = (callId: string, metadata: Metadata | undefined): Metadata | undefined =>
  reportId.test(callId) ? { ...metadata, [ours]: { byModel: true } } : metadata

const isMarked = (metadata: Metadata | undefined): boolean =>
  (metadata?.[ours] as { readonly byModel?: unknown } | undefined)?.byModel === true
