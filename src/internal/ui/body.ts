/**
 * What of a page's request is read: its last message, if that is a user's, and decisions (rule V3). All else, above all the
 * history that it brings, is not looked at.
 */
import * as Either from "effect/Either"
import { UiRequestError } from "../../Tags.js"
import { guarded } from "../values/guarded.js"
import { isRecord } from "../values/record.js"
import { isBlank, wellFormed } from "../values/text.js"

export interface SentFile {
  readonly data: string | URL
  readonly mediaType: string
  readonly name?: string
}

export interface SentMessage {
  readonly id: string
  readonly text: string
  readonly files: ReadonlyArray<SentFile>
  /** the page names the message as one that was there before */
  readonly again: boolean
}

export interface Decision {
  readonly callId: string
  readonly approved: boolean
  readonly reason: string | undefined
  /** other arguments; absent: those of the call */
  readonly edit: { readonly arguments: unknown } | undefined
  /** the part is in the message that the page goes on with */
  readonly inTarget: boolean
}

export interface Asked {
  readonly message: SentMessage | undefined
  readonly decisions: ReadonlyArray<Decision>
  /** the assistant's message that the page goes on with */
  readonly target: string | undefined
  /** the page shows nothing behind it */
  readonly targetIsLast: boolean
}

/** Characters of a message, of an id, of a reason; files of a message; decisions. */
const bounds = { text: 400_000, id: 256, reason: 2000, files: 32, decisions: 256, edit: 400_000 }

const refuse = (message: string, status?: number): never => {
  throw new UiRequestError({ message, status })
}

export const readBody = (body: unknown): Either.Either<Asked, UiRequestError> =>
  guarded<Either.Either<Asked, UiRequestError>>(
    () => Either.right(read(body)),
    (thrown) =>
      Either.left(
        thrown instanceof UiRequestError
          ? thrown
          : new UiRequestError({ message: "The request is none of a chat: it cannot be read." })
      )
  )

const idOf = (value: unknown, what: string): string =>
  typeof value === "string" && value !== "" && value.length <= bounds.id
    ? wellFormed(value)
    : refuse(`${what} has no id of at most ${bounds.id} characters.`)

const read = (body: unknown): Asked => {
  if (!isRecord(body)) return refuse("The request is none of a chat: its body is no object.")
  const { edits, messageId, messages, trigger } = body
  if (trigger === "regenerate-message") {
    return refuse("An answer cannot be given again: the conversation goes on from what has been said.")
  }
  if (trigger !== undefined && trigger !== "submit-message") return refuse("The request has a trigger that is unknown.")
  if (!Array.isArray(messages)) return refuse("The request is none of a chat: it has no list of messages.")
  const last: unknown = messages[messages.length - 1]
  if (!isRecord(last)) return refuse("The request has no message.")
  if (last.role !== "user" && last.role !== "assistant") return refuse("The last message is nobody's.")
  if (edits !== undefined && !isRecord(edits)) return refuse("The edits are no object of arguments by call.")

  const target =
    messageId === undefined || messageId === null
      ? last.role === "assistant"
        ? last
        : undefined
      : messages.findLast(
          (message): message is Record<string, unknown> => isRecord(message) && message.id === messageId
        )
  const goesOn = target?.role === "assistant" ? target : undefined
  return {
    message: last.role === "user" ? userMessage(last, target) : undefined,
    decisions: decisionsIn(messages, goesOn, edits ?? {}),
    target: goesOn === undefined ? undefined : idOf(goesOn.id, "The message"),
    targetIsLast: goesOn === last
  }
}

const userMessage = (message: Record<string, unknown>, target: Record<string, unknown> | undefined): SentMessage => {
  const { parts } = message
  if (!Array.isArray(parts)) return refuse("The message has no parts.")
  const texts: Array<string> = []
  const files: Array<SentFile> = []
  let length = 0
  for (const part of parts as ReadonlyArray<unknown>) {
    if (!isRecord(part)) return refuse("A part of the message cannot be read.")
    if (part.type === "text") {
      if (typeof part.text !== "string") return refuse("A text of the message is none.")
      length += part.text.length
      if (length > bounds.text) return refuse(`The message has more than ${bounds.text} characters.`, 413)
      texts.push(part.text)
    } else if (part.type === "file") {
      files.push(fileOf(part))
      if (files.length > bounds.files) return refuse(`The message has more than ${bounds.files} files.`, 413)
    }
  }
  const text = wellFormed(texts.join("\n"))
  if (isBlank(text) && files.length === 0) return refuse("The message says nothing.")
  return { id: idOf(message.id, "The message"), text, files, again: target === message }
}

const dataUrl = /^data:[^,]*;base64,/i

const fileOf = ({ filename, mediaType, url }: Record<string, unknown>): SentFile => {
  if (typeof url !== "string" || typeof mediaType !== "string" || mediaType.length > bounds.id) {
    return refuse("A file of the message has no address or no media type.")
  }
  const name = typeof filename === "string" ? { name: filename.slice(0, bounds.id) } : {}
  const head = dataUrl.exec(url.slice(0, 1000))
  if (head !== null) return { data: url.slice(head[0].length), mediaType, ...name }
  const address = guarded(
    () => new URL(url),
    () => undefined
  )
  if (address?.protocol !== "https:") return refuse("A file of the message is neither base64 nor at an https address.")
  return { data: address, mediaType, ...name }
}

const decisionsIn = (
  messages: ReadonlyArray<unknown>,
  target: Record<string, unknown> | undefined,
  edits: Record<string, unknown>
): ReadonlyArray<Decision> => {
  const found = new Map<string, Decision>()
  for (const message of messages) {
    if (!isRecord(message) || message.role !== "assistant" || !Array.isArray(message.parts)) continue
    for (const part of message.parts as ReadonlyArray<unknown>) {
      if (!isRecord(part) || part.state !== "approval-responded") continue
      const { approval } = part
      if (!isRecord(approval) || typeof approval.approved !== "boolean") {
        return refuse("A decision says neither yes nor no.")
      }
      const callId = idOf(approval.id, "A decision")
      const reason =
        typeof approval.reason === "string" ? wellFormed(approval.reason.slice(0, bounds.reason)) : undefined
      const edit =
        approval.approved && Object.hasOwn(edits, callId) ? { arguments: withinBounds(edits[callId]) } : undefined
      found.set(callId, { callId, approved: approval.approved, reason, edit, inTarget: message === target })
      if (found.size > bounds.decisions) return refuse(`There are more than ${bounds.decisions} decisions.`, 413)
    }
  }
  return Array.from(found.values())
}

const withinBounds = (value: unknown): unknown =>
  (JSON.stringify(value) ?? "").length > bounds.edit ? refuse("The edited arguments are too long.", 413) : value
