import { Chat, useChat } from "@ai-sdk/react"
import type { UIMessage } from "ai"
import { approvalsAnswered, deferredReplies, patchCalls } from "effect-meantime/ui/client"
import { useEffect, useState } from "react"

const chat: Chat<UIMessage> = new Chat<UIMessage>({
  id: sessionStorage.getItem("chat") ?? crypto.randomUUID(),
  onData: (part) => patchCalls(chat)(part),
  sendAutomaticallyWhen: approvalsAnswered
})
sessionStorage.setItem("chat", chat.id)

const Part = ({ part }: { readonly part: UIMessage["parts"][number] }) => {
  if (part.type === "text") return <p>{part.text}</p>
  if (!("toolCallId" in part)) return null
  if (part.state === "output-available" && part.preliminary === true) return <p>{part.type} goes on …</p>
  if (part.state !== "approval-requested")
    return <p>{`${part.type}: ${part.output ?? part.errorText ?? part.state}`}</p>
  const { id } = part.approval
  return (
    <p>
      {part.type} {JSON.stringify(part.input)}?{" "}
      <button type="button" onClick={() => void chat.addToolApprovalResponse({ id, approved: true })}>
        Yes
      </button>
      <button type="button" onClick={() => void chat.addToolApprovalResponse({ id, approved: false })}>
        No
      </button>
    </p>
  )
}

export const Page = () => {
  const { error, messages, sendMessage, status } = useChat({ chat })
  const [text, setText] = useState("")
  useEffect(() => deferredReplies(chat), [])
  return (
    <main>
      {messages.map(({ id, parts, role }) => (
        <section key={id} className={role}>
          {parts.map((part, at) => (
            <Part key={"toolCallId" in part ? part.toolCallId : `${part.type} ${String(at)}`} part={part} />
          ))}
        </section>
      ))}
      {error !== undefined && <p>{error.message}</p>}
      <form
        onSubmit={(event) => {
          event.preventDefault()
          void sendMessage({ text })
          setText("")
        }}
      >
        <input aria-label="Message" value={text} onChange={(event) => setText(event.target.value)} />
        <button type="submit" disabled={status !== "ready" && status !== "error"}>
          Send
        </button>
      </form>
    </main>
  )
}
