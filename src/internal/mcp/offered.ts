/**
 * What a host of the protocol is offered: tools, and the results of their calls (rule J11).
 */
import * as Tool from "@effect/ai/Tool"
import type { CallToolResult, ContentBlock, Tool as Listed } from "@modelcontextprotocol/server"
import type * as Effect from "effect/Effect"
import type { Executed } from "../../AsyncTool.js"
import type { File } from "../../ChatContext.js"
import { annotated } from "../scope/annotations.js"
import { jsonSchemaOf } from "../scope/wire.js"
import { toText } from "../values/json.js"
import { isRecord } from "../values/record.js"
import { clip } from "../values/text.js"

/** What the host's person may be asked. */
export interface Approval {
  readonly name: string
  readonly arguments: unknown
  readonly reason?: string | undefined
}

/** `later`: nobody has decided, and it may still wait. */
export type Decision = "approve" | "deny" | "later"

/** The host, for one call. */
export interface Host {
  readonly told: (value: unknown) => void
  /** does it put questions to its person? */
  readonly canAsk: boolean
  readonly ask: (approval: Approval) => Effect.Effect<Decision>
}

export interface Offered {
  readonly listed: Listed
  readonly call: (args: Record<string, unknown>, host: Host) => Effect.Effect<CallToolResult>
}

/** How a tool is listed. What the program has annotated is said, and nothing else. */
export const listedOf = (tool: Tool.Any): Listed => {
  const title: unknown = tool.annotations?.unsafeMap.get(Tool.Title.key)
  const openWorld: unknown = tool.annotations?.unsafeMap.get(Tool.OpenWorld.key)
  const hints = {
    readOnlyHint: annotated(tool, Tool.Readonly),
    destructiveHint: annotated(tool, Tool.Destructive),
    idempotentHint: annotated(tool, Tool.Idempotent),
    openWorldHint: typeof openWorld === "boolean" ? openWorld : undefined
  }
  const said = Object.entries(hints).filter(([, value]) => value !== undefined)
  return {
    name: tool.name,
    ...(typeof title === "string" ? { title } : {}),
    ...(tool.description === undefined ? {} : { description: tool.description }),
    // the protocol wants the type, which a schema that was given need not say
    inputSchema: { ...jsonSchemaOf(tool, []), type: "object" },
    ...(said.length === 0 ? {} : { annotations: Object.fromEntries(said) })
  }
}

const blockOf = (file: File, index: number): ContentBlock => {
  const { data, mediaType, name = `file-${index + 1}`, omitted } = file
  if (omitted !== undefined) return { type: "text", text: `${name}: ${omitted}` }
  if (data instanceof URL) return { type: "resource_link", uri: data.href, name, mimeType: mediaType }
  const base64 = data as string
  if (mediaType.startsWith("image/")) return { type: "image", data: base64, mimeType: mediaType }
  if (mediaType.startsWith("audio/")) return { type: "audio", data: base64, mimeType: mediaType }
  const uri = `file:///${encodeURIComponent(name)}`
  return { type: "resource", resource: { uri, blob: base64, mimeType: mediaType } }
}

export const resultOf = ({ files = [], isError, output }: Executed): CallToolResult => {
  const text = output === undefined || output === null ? "" : typeof output === "string" ? output : toText(output)
  return {
    content: [...(text === "" ? [] : [{ type: "text" as const, text }]), ...files.map(blockOf)],
    ...(isError ? { isError } : isRecord(output) ? { structuredContent: output } : {})
  }
}

export const errorResult = (text: string): CallToolResult => ({ content: [{ type: "text", text }], isError: true })

/** What the person reads before a call runs. */
export const approvalText = ({ arguments: args, name, reason }: Approval): string =>
  `May ${name} run with these arguments?\n${clip(toText(args), 2000, "…")}${reason === undefined ? "" : `\n${reason}`}`

/** Progress that always grows, whatever the handler says of it. */
export const growing = (): ((value: unknown) => {
  readonly progress: number
  readonly total?: number
  readonly message?: string
}) => {
  // the first may be 0
  let last = -1
  return (value) => {
    const { message, progress, total } = (isRecord(value) ? value : {}) as Record<string, unknown>
    const isCounted = typeof progress === "number" && Number.isFinite(progress) && progress > last
    last = isCounted ? progress : Math.max(last, 0) + 1
    const told = isRecord(value) && typeof progress === "number" ? message : value
    return {
      progress: last,
      ...(isCounted && typeof total === "number" && total >= last ? { total } : {}),
      ...(told === undefined || told === null ? {} : { message: typeof told === "string" ? told : toText(told) })
    }
  }
}
