/**
 * The conversation with `useChat`: calls in the background with their progress and late results, approvals with arguments
 * that can be changed, usage. All text goes in as text.
 */
import { Chat, useChat } from "@ai-sdk/react"
import type { UIMessage } from "ai"
import { approvalsAnswered, approveWith, deferredReplies, patchCalls } from "effect-meantime/ui/client"
import { useEffect, useMemo, useState } from "react"

/** What is looked at of a part of a call. */
interface Call {
  readonly type: string
  readonly toolCallId: string
  readonly state: string
  readonly input: unknown
  readonly output?: unknown
  readonly preliminary?: boolean
  readonly errorText?: string
  readonly approval?: {
    readonly id: string
    readonly descriptor?: { readonly reason?: string; readonly problem?: string }
  }
}

interface Metadata {
  readonly agent?: string
  readonly usage?: { readonly inputTokens?: number; readonly outputTokens?: number }
}

const shown = (value: unknown): string => (typeof value === "string" ? value : (JSON.stringify(value) ?? ""))

/** A person agrees, also with other arguments. */
const Approval = ({ call, chat }: { readonly call: Call; readonly chat: Chat<UIMessage> }) => {
  const [text, setText] = useState(JSON.stringify(call.input))
  const [problem, setProblem] = useState(call.approval?.descriptor?.problem)
  const approve = () => {
    let args: unknown
    try {
      args = JSON.parse(text)
    } catch {
      return setProblem("That is no JSON.")
    }
    if (JSON.stringify(args) === JSON.stringify(call.input)) {
      void chat.addToolApprovalResponse({ id: call.toolCallId, approved: true })
    } else void approveWith(chat, call.toolCallId, args)
  }
  const deny = () => void chat.addToolApprovalResponse({ id: call.toolCallId, approved: false, reason: "not now" })
  return (
    <form
      className="call waits"
      onSubmit={(event) => {
        event.preventDefault()
        approve()
      }}
    >
      <span>
        {call.type.slice("tool-".length)}
        {call.approval?.descriptor?.reason === undefined ? "" : `: ${call.approval.descriptor.reason}`}
      </span>
      <input aria-label="Arguments" value={text} onChange={(event) => setText(event.target.value)} />
      <button type="submit">Approve</button>
      <button type="button" onClick={deny}>
        Deny
      </button>
      {problem !== undefined && <span role="alert">{problem}</span>}
    </form>
  )
}

const CallPart = ({
  call,
  chat,
  progress
}: {
  readonly call: Call
  readonly chat: Chat<UIMessage>
  readonly progress: unknown
}) => {
  const name = call.type.slice("tool-".length)
  if (call.state === "approval-requested") return <Approval call={call} chat={chat} />
  const goes = call.preliminary === true || call.state === "input-available"
  const state =
    call.state === "output-denied"
      ? "denied"
      : call.state === "output-error"
        ? `failed: ${call.errorText ?? ""}`
        : goes
          ? `in progress${progress === undefined ? "" : ` ${shown(progress)}`}${call.output == null ? "" : `: ${shown(call.output)}`}`
          : `done: ${shown(call.output)}`
  return <p className="call">{`${name} ${shown(call.input)}: ${state}`}</p>
}

const Usage = ({ agent, usage }: Metadata) => (
  <p className="usage">
    {[
      agent,
      usage?.inputTokens === undefined ? undefined : `${usage.inputTokens} tokens in`,
      usage?.outputTokens === undefined ? undefined : `${usage.outputTokens} out`
    ]
      .filter((text) => text !== undefined)
      .join(", ")}
  </p>
)

export const Page = ({ id, messages: said }: { readonly id: string; readonly messages: Array<UIMessage> }) => {
  const [text, setText] = useState("")
  const [progress, setProgress] = useState<Readonly<Record<string, unknown>>>({})
  const chat = useMemo(() => {
    const made: Chat<UIMessage> = new Chat<UIMessage>({
      id,
      messages: said,
      onData: (part) => {
        patchCalls(made)(part)
        if (part.type !== "data-progress") return
        const { toolCallId, value } = part.data as { readonly toolCallId: string; readonly value: unknown }
        setProgress((known) => ({ ...known, [toolCallId]: value }))
      },
      sendAutomaticallyWhen: approvalsAnswered
    })
    return made
  }, [id, said])
  const { error, messages, sendMessage, status } = useChat({ chat })
  useEffect(() => deferredReplies(chat), [chat])
  const stop = () => void fetch(`/api/chat/${encodeURIComponent(id)}`, { method: "DELETE" })
  return (
    <main>
      <div id="talk" aria-live="polite">
        {messages.map(({ id, metadata, parts, role }) => (
          <section key={id} className={role}>
            {parts.map((part, at) => {
              if ("toolCallId" in part) {
                const call = part as unknown as Call
                // one that is asked for again begins with what it was refused for
                const key = `${call.toolCallId} ${call.approval?.descriptor?.problem ?? ""}`
                return <CallPart key={key} call={call} chat={chat} progress={progress[call.toolCallId]} />
              }
              return part.type === "text" ? <p key={`text ${String(at)}`}>{part.text}</p> : null
            })}
            {role === "assistant" && metadata !== undefined && <Usage {...(metadata as Metadata)} />}
          </section>
        ))}
      </div>
      {error !== undefined && <p role="alert">{error.message}</p>}
      <form
        onSubmit={(event) => {
          event.preventDefault()
          if (text.trim() === "") return
          void sendMessage({ text })
          setText("")
        }}
      >
        <input aria-label="Message" value={text} onChange={(event) => setText(event.target.value)} />
        <button type="submit" disabled={status === "submitted" || status === "streaming"}>
          Send
        </button>
        <button type="button" onClick={stop}>
          Stop
        </button>
      </form>
      <p className="state">{status}</p>
    </main>
  )
}
