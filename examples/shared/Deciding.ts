/**
 * What a person decides about calls at a terminal: commands after a slash, which the program carries out. The model never
 * sees them, and cannot give them.
 */
import { Effect } from "effect"
import type { AgentSession } from "effect-meantime"

export type Command =
  | { readonly _tag: "Approve"; readonly callId: string | undefined; readonly arguments: string | undefined }
  | { readonly _tag: "Deny"; readonly callId: string | undefined; readonly reason: string | undefined }
  | { readonly _tag: "Tell"; readonly callId: string; readonly text: string }

export const help = [
  "/approve [ID [JSON]]   let a call run that waits for you, perhaps with other arguments",
  "/deny [ID [REASON]]    do not let it run",
  "/tell ID TEXT          tell a running call something"
]

/** Undefined for any other command. */
export const parse = (name: string, rest: string): Command | undefined => {
  const [, id = "", more = ""] = /^(\S*)\s*(.*)$/s.exec(rest.trim()) ?? []
  const given = (text: string) => (text === "" ? undefined : text)
  switch (name) {
    case "approve":
      return { _tag: "Approve", callId: given(id), arguments: given(more) }
    case "deny":
      return { _tag: "Deny", callId: given(id), reason: given(more) }
    case "tell":
      return { _tag: "Tell", callId: id, text: more }
    default:
      return undefined
  }
}

/** Why a command is not carried out, in one sentence; none: it is. */
export const carryOut = (session: AgentSession.Service, command: Command): Effect.Effect<string | undefined> =>
  Effect.gen(function* () {
    if (command._tag === "Tell") {
      if (command.text === "") return "Say which call, and what: /tell call_1 a window seat"
      yield* session.messageTool(command.callId, command.text)
      return undefined
    }
    // without an id it is the only one there is: nobody should agree to what they do not mean
    const waiting = yield* session.approvals
    const [only, another] = waiting
    if (command.callId === undefined && only === undefined) return "Nothing waits for you."
    if (command.callId === undefined && another !== undefined) {
      return `Which one? ${waiting.map(({ callId, name }) => `${callId} (${name})`).join(", ")}`
    }
    const callId = command.callId ?? only?.callId ?? ""
    if (command._tag === "Deny") {
      yield* session.deny(callId, { reason: command.reason, by: "you" })
      return undefined
    }
    if (command.arguments === undefined) {
      yield* session.approve(callId, { by: "you" })
      return undefined
    }
    const args = json(command.arguments)
    if (args === undefined) return 'The arguments have to be a JSON object, such as {"euros": 90}.'
    const call = waiting.find((call) => call.callId === callId)
    // what is not named stays as it was
    yield* session.approve(callId, { arguments: { ...Object(call?.arguments), ...args }, by: "you" })
    return undefined
  }).pipe(Effect.catchTag("ToolError", ({ message }) => Effect.succeed(message)))

const json = (text: string): object | undefined => {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === "object" && value !== null && !Array.isArray(value) ? value : undefined
  } catch {
    return undefined
  }
}

/** Whether something runs on by itself: what waits for a person does not. */
export const works = (session: AgentSession.Service): Effect.Effect<boolean> =>
  Effect.zipWith(session.runningTools, session.approvals, (running, waiting) =>
    running.some(({ callId }) => waiting.every((call) => call.callId !== callId))
  )
