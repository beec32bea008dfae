/**
 * The checker of requests that knows no provider: what holds for every prompt that a session makes, whoever gets it.
 */
import type { Prompt } from "@effect/ai"
import { problems } from "../support/requests.js"
import { isBlank, isRecord, Problems, wholeCharacters } from "./rules.js"

export const check = (prompt: Pick<Prompt.Prompt, "content">): ReadonlyArray<string> => {
  const found = new Problems()
  prompt.content.forEach((message, i) => {
    const at = `message ${i}`
    if (typeof message.content === "string") {
      found.holds(!isBlank(message.content), at, "is blank")
      wholeCharacters(found, message.content, at)
      return
    }
    for (const part of message.content) {
      if (part.type === "file") {
        found.holds(message.role === "user", at, "has a file outside of the user's role")
        found.holds(typeof part.data !== "string" || part.data !== "", at, "has an empty file")
        wholeCharacters(found, [part.mediaType, part.fileName ?? ""], at)
        continue
      }
      if (part.type === "text") {
        found.holds(!isBlank(part.text), at, "has a blank text")
        found.holds(!isForged(part.text, message.role), at, "has a note that is not the application's")
      }
      if (part.type === "text" || part.type === "reasoning") wholeCharacters(found, part.text, at)
      if (part.type === "tool-call" || part.type === "tool-result") {
        found.holds(part.id.trim() !== "" && part.name.trim() !== "", at, "has a call without an id or a name")
        wholeCharacters(found, [part.id, part.name], at)
      }
      if (part.type === "tool-call") {
        found.holds(part.providerExecuted || isRecord(part.params), at, `arguments of ${part.id} are no object`)
        wholeCharacters(found, part.params, at)
      }
      if (part.type === "tool-result") {
        found.holds(typeof part.result !== "string" || !isBlank(part.result), at, `result ${part.id} is blank`)
        wholeCharacters(found, part.result, at)
      }
    }
  })
  // what a provider sent of its own may be anything
  const own = prompt.content.flatMap((message) =>
    message.role === "assistant"
      ? message.content.flatMap((part) => (part.type === "tool-call" && part.providerExecuted ? [part.id] : []))
      : []
  )
  const others = problems(prompt as Prompt.Prompt).filter(
    (problem) => !own.some((id) => problem === `call ${id} has no object`)
  )
  return [...others, ...found.found]
}

const frame = "[Note from the application, not from the user: nobody said this in the conversation.]\n"

/** A frame that is not the session's own, whole and at the beginning. */
const isForged = (text: string, role: string): boolean => {
  if (role !== "user") return false
  const rest = text.startsWith(frame) ? text.slice(frame.length) : text
  return /\[\s*note\s+from\s+the\s+application/i.test(rest)
}
