import { readFileSync } from "node:fs"
import { join } from "node:path"
import { Chat } from "@ai-sdk/react"
import { describe, expect, it } from "@effect/vitest"
import { DefaultChatTransport, type UIMessage } from "ai"
import { Effect } from "effect"
import { ScriptedModel } from "effect-meantime/testing"
import { approvalsAnswered, deferredReplies, patchCalls } from "effect-meantime/ui/client"
import { serve } from "../support/onePort.js"
import { root } from "../support/programs.js"
import * as Behind from "../wire/Behind.js"
import * as Providers from "../wire/Providers.js"

const source = readFileSync(join(root, "examples/use-chat/server.ts"), "utf8")
const page = readFileSync(join(root, "examples/use-chat/page/Page.tsx"), "utf8")
const docs = readFileSync(join(root, "docs/ui.md"), "utf8")

/** until the chat shows it; the test's own time limit is the only one */
const until = async (look: () => boolean): Promise<void> => {
  while (!look()) await new Promise((done) => setTimeout(done, 20))
}

describe("the server of forty lines behind useChat", () => {
  it("has no more lines than that; the docs show it and its page as they are", () => {
    expect(source.trimEnd().split("\n").length).toBeLessThanOrEqual(40)
    expect(docs).toContain(`\`\`\`ts\n${source}\`\`\`\n`)
    expect(docs).toContain(`\`\`\`tsx\n${page}\`\`\`\n`)
  })

  it.scopedLive(
    "[V2] [V4] [V6] [V7] [V8] over HTTP, with the chat of @ai-sdk/react: background, late result, approval",
    () =>
      Effect.gen(function* () {
        const { languageModel } = yield* ScriptedModel.make([
          ScriptedModel.toolCall("bake", { cake: "chocolate cake" }),
          "It is in the oven.",
          ScriptedModel.toolCall("pay", { euros: 5 }),
          "Do you agree?",
          "It is paid.",
          "The cake is done."
        ])
        const wire = yield* Providers.openai.serve(Behind.model(languageModel, Providers.openai.decode))
        // the minute that the cake takes
        const { address } = yield* serve(source.replace('"1 minute"', '"3 seconds"'), wire.url)
        yield* Effect.promise(async () => {
          const make = (id: string, messages: Array<UIMessage> = []) => {
            const chat: Chat<UIMessage> = new Chat<UIMessage>({
              id,
              messages,
              transport: new DefaultChatTransport({ api: `${address}/api/chat` }),
              onData: (part) => patchCalls(chat)(part),
              sendAutomaticallyWhen: approvalsAnswered
            })
            return chat
          }
          const said = (chat: Chat<UIMessage>) =>
            chat.messages.flatMap(({ parts, role }) =>
              parts.flatMap((part) => (part.type === "text" ? [`${role}: ${part.text}`] : []))
            )
          const parts = (chat: Chat<UIMessage>) =>
            chat.messages.flatMap(({ parts }) => parts as ReadonlyArray<Record<string, any>>)
          const stranger = make("short")
          await stranger.sendMessage({ text: "hi" })
          expect(stranger.error?.message).toBe("There is no such chat.")

          const chat = make("a-chat-of-ann-0123456789")
          await chat.sendMessage({ text: "A chocolate cake, please." })
          expect(said(chat)).toEqual(["user: A chocolate cake, please.", "assistant: It is in the oven."])
          const stop = deferredReplies(chat)
          await chat.sendMessage({ text: "Pay for it." })
          const asking = parts(chat).find(({ state }) => state === "approval-requested")
          expect(asking).toMatchObject({ type: "tool-pay", input: { euros: 5 } })
          await chat.addToolApprovalResponse({ id: asking?.approval.id, approved: true })
          await until(() => parts(chat).some(({ output }) => output === "Paid 5 euros."))
          await until(() =>
            parts(chat).some(({ output, preliminary }) => output === "Done!" && preliminary === undefined)
          )
          await until(() => said(chat).length >= 6 && chat.status === "ready")
          stop()
          expect(said(chat).slice(-2)).toEqual(["assistant: It is paid.", "assistant: The cake is done."])
          expect(chat.error).toBe(undefined)
        })
        expect(wire.violations).toEqual([])
      }),
    60_000
  )
})
