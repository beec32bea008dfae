/**
 * A history as the messages of a page.
 */
import type { ChatContext, ChatItem } from "../../ChatContext.js"
import { reportOf } from "../machine/reports.js"
import { idBehind } from "./board.js"
import type { ToolPart, UIMessage, UIPart } from "./chunks.js"

type Writable = {
  -readonly [K in keyof UIMessage]: UIMessage[K] extends ReadonlyArray<infer T> ? Array<T> : UIMessage[K]
}

const textOf = (value: unknown): string => (typeof value === "string" ? value : (JSON.stringify(value) ?? ""))

const fileParts = (item: Extract<ChatItem, { readonly _tag: "Message" }>): ReadonlyArray<UIPart> =>
  (item.files ?? []).flatMap(({ data, mediaType, name, omitted }) =>
    omitted === undefined
      ? [
          {
            type: "file" as const,
            mediaType,
            url: typeof data === "string" ? `data:${mediaType};base64,${data}` : data.href,
            ...(name === undefined ? {} : { filename: name })
          }
        ]
      : []
  )

export const toMessages = ({ items }: ChatContext): ReadonlyArray<UIMessage> => {
  const messages: Array<Writable> = []
  /** what the agent says and does, until the user speaks or something comes of a call in the background */
  let open: Writable | undefined
  let before: string | undefined
  const calls = new Map<string, { readonly message: Writable; readonly at: number }>()
  const reports = new Map<string, string>()
  const part = (made: UIPart): Writable => {
    if (open === undefined) {
      open = { id: idBehind(before), role: "assistant", parts: [] }
      messages.push(open)
    }
    open.parts.push(made)
    return open
  }
  const change = (callId: string, f: (part: ToolPart) => ToolPart): void => {
    const found = calls.get(callId)
    if (found !== undefined) found.message.parts[found.at] = f(found.message.parts[found.at] as ToolPart)
  }
  for (const item of items) {
    switch (item._tag) {
      case "Message":
        if (item.role === "assistant") {
          if (item.text !== "") part({ type: "text", text: item.text, state: "done" })
          for (const file of fileParts(item)) part(file)
        } else if (item.role === "user") {
          open = undefined
          const text: ReadonlyArray<UIPart> = item.text === "" ? [] : [{ type: "text", text: item.text, state: "done" }]
          messages.push({ id: item.id, role: "user", parts: [...fileParts(item), ...text] })
        }
        break
      case "Reasoning":
        if (item.text !== "") part({ type: "reasoning", text: item.text, state: "done" })
        break
      case "FunctionCall": {
        const report = reportOf(item)
        if (report !== undefined && calls.has(report.of)) {
          reports.set(item.callId, report.of)
          change(report.of, (shown) => ({ ...shown, input: item.arguments }))
          break
        }
        const message = part({
          type: `tool-${item.name}`,
          toolCallId: item.callId,
          state: "input-available",
          input: item.arguments
        })
        calls.set(item.callId, { message, at: message.parts.length - 1 })
        break
      }
      case "FunctionCallOutput": {
        const of = reports.get(item.callId)
        const final = of !== undefined && item.callId.startsWith(`${of}_final`)
        const going = of === undefined ? item.open !== undefined : !final
        change(of ?? item.callId, (shown) => ended(shown, item, going))
        if (of !== undefined) open = undefined
        break
      }
      case "AgentHandoff":
        break
    }
    before = item.id
  }
  return messages
}

const ended = (
  shown: ToolPart,
  { isError, open, output }: Extract<ChatItem, { readonly _tag: "FunctionCallOutput" }>,
  going: boolean
): ToolPart => {
  const { input, toolCallId, type } = shown
  const base = { type, toolCallId, input }
  if (open === "approval") return { ...base, state: "approval-requested", approval: { id: toolCallId } }
  if (isError && !going) return { ...base, state: "output-error", errorText: textOf(output) }
  return { ...base, state: "output-available", output, ...(going ? { preliminary: true } : {}) }
}
