/** The least that any loop does: ask, run the handlers, keep the conversation. No schema, no stream, no cancellation. */
import type { Contestant } from "../contestant.js"
import * as work from "../work.js"

type Message = { readonly role: string; readonly [key: string]: unknown }

const ask = async (messages: ReadonlyArray<Message>) =>
  messages[messages.length - 1]?.role === "user"
    ? { calls: work.nextCalls(), text: "" }
    : { calls: [], text: work.answer }

export const contestant: Contestant = {
  name: "bare promises",
  packages: [],
  converse: async (turns) => {
    const messages: Array<Message> = [{ role: "system", content: work.instructions }]
    for (let i = 0; i < turns; i++) {
      messages.push({ role: "user", content: work.userText })
      for (;;) {
        const { calls, text } = await ask(messages)
        if (calls.length === 0) {
          messages.push({ role: "assistant", content: text })
          break
        }
        messages.push({ role: "assistant", calls })
        const results = await Promise.all(calls.map(async ({ args }) => work.handle(args.n)))
        messages.push({ role: "tool", results })
      }
    }
  },
  fly: async (handlers) => {
    const controller = new AbortController()
    const calls = work
      .nextCalls()
      .map(() => (handlers === "listening" ? work.waitForAbort(controller.signal) : work.waitForEver()))
    const turn = Promise.allSettled(calls)
    return {
      cancel: () => {
        controller.abort()
        return turn
      }
    }
  }
}
