/**
 * What the two APIs of the form of OpenAI's chat completions have in common: messages with `tool_calls`, answered by
 * messages of the role `tool`.
 */
import { address, isBlank, isObjectText, name, onceEach, type Problems, pictures } from "./rules.js"

export const textOf = (content: unknown): string =>
  typeof content === "string"
    ? content
    : Array.isArray(content)
      ? content.map((part) => (part?.type === "text" ? String(part.text) : "")).join("")
      : ""

const isFull = (content: unknown): boolean =>
  typeof content === "string" ? !isBlank(content) : Array.isArray(content) && content.length > 0

export const idsOf = (message: any): ReadonlyArray<unknown> => (message?.tool_calls ?? []).map((call: any) => call.id)

/** The forms of OpenRouter, and those of Mistral. */
const file = (problems: Problems, part: any, at: string): void => {
  switch (part?.type) {
    case "text":
      return
    case "image_url":
      return address(problems, at, part.image_url?.url ?? part.image_url, pictures)
    case "document_url":
      return address(problems, at, part.document_url, ["application/pdf"])
    case "file":
      return address(problems, at, part.file?.file_data, ["application/pdf"])
    default:
      problems.holds(false, at, `no part of type ${part?.type}`)
  }
}

/** Each message by itself, and each call answered right behind the message that has it. */
export const messages = (problems: Problems, all: ReadonlyArray<any>, id: RegExp): void => {
  for (const [i, message] of all.entries()) {
    const at = `messages.${i}`
    const calls: ReadonlyArray<any> = message?.tool_calls ?? []
    switch (message?.role) {
      case "system":
      case "user": {
        problems.holds(isFull(message.content), at, "no content")
        if (!Array.isArray(message.content)) break
        for (const part of message.content) {
          if (part?.type === "text") problems.holds(!isBlank(part.text), at, "a text part is blank")
          file(problems, part, at)
        }
        break
      }
      case "assistant": {
        problems.holds(isFull(message.content) || calls.length > 0, at, "neither content nor tool_calls")
        problems.holds(message.tool_calls === undefined || calls.length > 0, at, "tool_calls are empty")
        break
      }
      case "tool": {
        let j = i - 1
        while (all[j]?.role === "tool") j--
        problems.holds(idsOf(all[j]).includes(message.tool_call_id), at, `no call ${message.tool_call_id} before it`)
        const same = all.slice(j + 1, i).some((other) => other.tool_call_id === message.tool_call_id)
        problems.holds(!same, at, `a second answer to ${message.tool_call_id}`)
        problems.holds(typeof message.content === "string" || Array.isArray(message.content), at, "no content")
        break
      }
      default:
        problems.holds(false, at, `no role ${message?.role}`)
    }
    for (const call of calls) {
      problems.holds(call.type === "function", at, `no call of type ${call.type}`)
      problems.holds(typeof call.id === "string" && id.test(call.id), at, `the id ${call.id} does not match ${id}`)
      const called = call.function?.name
      problems.holds(typeof called === "string" && name.test(called), at, `the name ${called} does not match`)
      problems.holds(isObjectText(call.function?.arguments), at, "arguments are not the text of an object")
    }
    const answers = all.slice(i + 1, i + 1 + calls.length).filter((other) => other.role === "tool")
    for (const call of calls) {
      const answered = answers.some((answer) => answer.tool_call_id === call.id)
      problems.holds(answered, at, `the call ${call.id} is not answered right behind it`)
    }
  }
  onceEach(problems, all.flatMap(idsOf))
  problems.holds(
    all.every((message, i) => message?.role !== "system" || i === 0),
    "messages",
    "the system message is not the first one"
  )
}
