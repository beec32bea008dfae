/**
 * What is said, with a chip where a call was asked for.
 */
import { Fragment, memo, useEffect, useLayoutEffect, useRef, useState } from "react"
import * as View from "../../shared/View.js"
import type * as Protocol from "../Protocol.js"
import { Approvals, type Props as ApprovalsProps } from "./Approvals.js"
import { useFloor } from "./floor.js"
import { briefArguments, FateIcon, fate, fateText, Icon, nameOf } from "./parts.js"

interface Props extends Pick<ApprovalsProps, "approvals" | "tools" | "conversation" | "onApprove" | "onDeny"> {
  readonly view: View.View
  readonly saying: Protocol.Saying | null
  readonly unheard: ReadonlyArray<Protocol.Unheard>
  readonly agent: Protocol.AgentInfo | undefined
  readonly now: number
  readonly cancellable: ReadonlyArray<string>
  readonly replaying: boolean
  readonly onSay: (text: string) => Promise<boolean>
  readonly onCancel: (callId: string) => void
  readonly onSelect: (callId: string) => void
}

export const Conversation = (props: Props) => {
  const { agent, onSelect, replaying, saying, unheard, view } = props
  const scroller = useRef<HTMLDivElement>(null)
  const atEnd = useRef(true)
  useLayoutEffect(() => {
    const element = scroller.current
    if (element !== null && atEnd.current) element.scrollTop = element.scrollHeight
  })
  const begun = view.lines.some((line) => line._tag === "Said" && line.who === "user")

  return (
    <section className="conversation panel" aria-label="Conversation">
      <div
        className="lines"
        ref={scroller}
        onScroll={({ currentTarget: { clientHeight, scrollHeight, scrollTop } }) => {
          atEnd.current = scrollHeight - scrollTop - clientHeight < 40
        }}
      >
        {agent !== undefined && !replaying && (
          <header className="about">
            <h2>{agent.title}</h2>
            <p>{agent.about}</p>
          </header>
        )}
        <Lines view={view} title={agent?.title ?? "Agent"} unheard={unheard} onSelect={onSelect} />
        {saying !== null && saying.text.trim() !== "" ? (
          <p className={`said agent saying${saying.paused ? " paused" : ""}`} aria-hidden="true">
            <span className="played">{saying.text.slice(0, saying.played)}</span>
            <span className="rest">{saying.text.slice(saying.played)}</span>
            {saying.paused && <span className="note"> — paused</span>}
          </p>
        ) : (
          view.agentState === "thinking" && (
            <p className="said agent thinking" aria-hidden="true">
              <i />
              <i />
              <i />
            </p>
          )
        )}
        {view.partial !== undefined && view.partial.trim() !== "" && (
          <p className="said user partial" aria-hidden="true">
            {view.partial}
          </p>
        )}
        {!begun && !replaying && agent !== undefined && (
          <div className="suggestions first">
            <p>Try</p>
            {agent.suggestions.map((text) => (
              <button type="button" key={text} onClick={() => void props.onSay(text)}>
                {text}
              </button>
            ))}
          </div>
        )}
      </div>
      <Running {...props} />
      <Approvals
        approvals={props.approvals}
        tools={props.tools}
        conversation={props.conversation}
        onApprove={props.onApprove}
        onDeny={props.onDeny}
        onSelect={onSelect}
      />
      {!replaying && <Composer {...props} begun={begun} />}
    </section>
  )
}

/** Drawn again only when something has happened. */
const Lines = memo(
  (props: {
    readonly view: View.View
    readonly title: string
    readonly unheard: ReadonlyArray<Protocol.Unheard>
    readonly onSelect: (callId: string) => void
  }) => {
    const { onSelect, title, unheard, view } = props
    const calls = new Map(view.calls.map((call) => [call.callId, call]))
    return (
      <div role="log" aria-label="What is said" aria-live="polite">
        {view.lines.map((line, index) => (
          <LineOf
            // biome-ignore lint/suspicious/noArrayIndexKey: lines are only ever added at the end
            key={index}
            line={line}
            previous={view.lines[index - 1]}
            calls={calls}
            view={view}
            title={title}
            unheard={line._tag === "Said" ? unheard.find(({ itemId }) => itemId === line.id)?.text : undefined}
            onSelect={onSelect}
          />
        ))}
      </div>
    )
  }
)

const LineOf = (props: {
  readonly line: View.Line
  readonly previous: View.Line | undefined
  readonly calls: ReadonlyMap<string, View.Call>
  readonly view: View.View
  readonly title: string
  /** what was written of the line, and not heard */
  readonly unheard: string | undefined
  readonly onSelect: (callId: string) => void
}) => {
  const { calls, line, onSelect, previous, title, unheard, view } = props
  switch (line._tag) {
    case "Said": {
      if (line.who === "user") {
        return (
          <p className="said user">
            <span className="sr">You: </span>
            {line.text}
          </p>
        )
      }
      const about = line.replyId === undefined ? [] : repliedTo(view, line.replyId)
      const goesOn = previous?._tag === "Said" && previous.who !== "user" && about.length === 0
      return (
        <Fragment>
          {!goesOn && (
            <p className="who">
              {line.who === "system" ? "system" : (line.agent ?? title)}
              {about.length > 0 && (
                <span className="about-calls">
                  <Icon name="reply" /> about{" "}
                  {about.map((call, index) => (
                    <Fragment key={call.callId}>
                      {index > 0 && ", "}
                      <button type="button" onClick={() => onSelect(call.callId)}>
                        {nameOf(call)} <small>{call.callId}</small>
                      </button>
                    </Fragment>
                  ))}
                </span>
              )}
            </p>
          )}
          <p className={`said agent${line.interrupted ? " cut" : ""}${about.length > 0 ? " deferred" : ""}`}>
            {line.text}
            {line.interrupted && unheard !== undefined && <del title="This was not heard.">{unheard}</del>}
            {line.interrupted && <span className="note"> — interrupted</span>}
          </p>
        </Fragment>
      )
    }
    case "Called": {
      const call = calls.get(line.callId)
      if (call === undefined) return null
      const state = fate(call)
      return (
        <p className="chip-line">
          <button type="button" className={`chip ${state}`} onClick={() => onSelect(call.callId)}>
            <FateIcon of={state} />
            <b>{nameOf(call)}</b>
            {briefArguments(call.arguments) !== "" && <span className="args">{briefArguments(call.arguments)}</span>}
            <span className="sr">, {fateText[state]}; show it in the timeline</span>
          </button>
        </p>
      )
    }
    case "HandedOff":
      return (
        <p className="event">
          <Icon name="hand" /> {line.from ?? "the session"} hands over to <b>{line.to}</b>
        </p>
      )
    case "Trouble":
      return <p className="event bad">{line.message}</p>
    case "Missed":
      return <p className="event">{line.count === 1 ? "1 event was missed" : `${line.count} events were missed`}</p>
    case "Closed":
      return <p className="event">The session is closed.</p>
  }
}

const repliedTo = (view: View.View, replyId: string): ReadonlyArray<View.Call> => {
  const ids = view.replies.find(({ id }) => id === replyId)?.itemIds ?? []
  return view.calls.filter((call) => View.itemIds(call).some((id) => ids.includes(id)))
}

/** What runs now, for those who do not see the timeline. */
const Running = ({ cancellable, now, onCancel, onSelect, replaying, view }: Props) => {
  const running = View.running(view)
  if (running.length === 0 || replaying) return null
  return (
    <ul className="at-work" aria-label="Running calls">
      {running.map((call) => {
        const part = View.percent(call.progress?.value)
        return (
          <li key={call.callId}>
            <button type="button" className="what" onClick={() => onSelect(call.callId)}>
              <FateIcon of={fate(call)} />
              <b>{nameOf(call)}</b>
              <span className="latest">{View.latest(call) ?? briefArguments(call.arguments)}</span>
              <time>{View.duration(now - call.startedAt)}</time>
            </button>
            {cancellable.includes(call.callId) && (
              <button
                type="button"
                className="cancel"
                aria-label={`Cancel ${nameOf(call)} ${call.callId}`}
                onClick={() => onCancel(call.callId)}
              >
                <Icon name="stop" />
              </button>
            )}
            {part !== undefined && <progress max={100} value={part} aria-label="Progress" />}
          </li>
        )
      })}
    </ul>
  )
}

const Composer = ({ agent, begun, conversation, onSay }: Props & { readonly begun: boolean }) => {
  const [text, setText] = useState("")
  const [history, setHistory] = useState<ReadonlyArray<string>>([])
  const [back, setBack] = useState(0)
  const field = useRef<HTMLTextAreaElement>(null)
  const floor = useFloor(conversation)
  // Another agent, another conversation. The first one that is known is the one that was typed for.
  const name = agent?.name
  const before = useRef(name)
  useEffect(() => {
    if (before.current !== undefined && name !== undefined && name !== before.current) setText("")
    before.current = name ?? before.current
  }, [name])

  const send = async (said: string) => {
    const trimmed = said.trim()
    if (trimmed === "") return
    setText("")
    setBack(0)
    floor.sent()
    setHistory((history) => [...history.filter((line) => line !== trimmed), trimmed].slice(-50))
    // it can be sent again; what was typed meanwhile stays
    if (!(await onSay(trimmed))) setText((text) => (text === "" ? trimmed : text))
  }
  const recall = (to: number) => {
    if (to < 0 || to > history.length) return
    setBack(to)
    setText(to === 0 ? "" : (history[history.length - to] ?? ""))
  }

  return (
    <div className="composer">
      {begun && (
        <fieldset className="suggestions">
          <legend className="sr">Suggestions</legend>
          {agent?.suggestions.map((suggestion) => (
            <button type="button" key={suggestion} onClick={() => void send(suggestion)}>
              {suggestion}
            </button>
          ))}
        </fieldset>
      )}
      <form
        onSubmit={(event) => {
          event.preventDefault()
          void send(text)
        }}
      >
        <label className="sr" htmlFor="message">
          Message
        </label>
        <textarea
          id="message"
          ref={field}
          rows={1}
          value={text}
          placeholder={agent === undefined ? "…" : `Say something to the ${agent.title.toLowerCase()}`}
          maxLength={8000}
          autoComplete="off"
          onChange={({ target }) => {
            setText(target.value)
            setBack(0)
            floor.type(target.value)
          }}
          onKeyDown={(event) => {
            if (event.nativeEvent.isComposing) return
            if (event.key === "Enter" && !event.shiftKey) {
              event.preventDefault()
              void send(text)
            }
            if (event.key === "ArrowUp" && (text === "" || back > 0)) {
              event.preventDefault()
              recall(back + 1)
            }
            if (event.key === "ArrowDown" && back > 0) {
              event.preventDefault()
              recall(back - 1)
            }
          }}
        />
        <button
          type="button"
          className="hold"
          title={floor.pressed ? "Give the floor back" : "Hold the floor: the agent pauses"}
          aria-label="Hold the floor"
          aria-pressed={floor.pressed}
          onClick={() => floor.press(text)}
        >
          <Icon name="mouth" />
        </button>
        <button type="submit" className="send" aria-label="Send" disabled={text.trim() === ""}>
          <Icon name="send" />
        </button>
      </form>
    </div>
  )
}
