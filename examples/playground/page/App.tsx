/**
 * The page: a conversation, live or recorded, and beside it the timeline of its calls.
 */
import { Either } from "effect"
import { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "react"
import * as Recording from "../../shared/Recording.js"
import * as View from "../../shared/View.js"
import type * as Protocol from "../Protocol.js"
import { Conversation } from "./Conversation.js"
import * as Live from "./live.js"
import { fate, fateText, Icon, nameOf } from "./parts.js"
import * as Replay from "./replay.js"
import { TimelineView } from "./TimelineView.js"

/** The time, as long as it matters. */
const useNow = (busy: boolean, every: number, time: () => number): number => {
  const [now, setNow] = useState(time)
  const latest = useRef(time)
  latest.current = time
  useEffect(() => {
    if (!busy) return
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches
    const timer = setInterval(() => setNow(latest.current()), calm ? 1000 : every)
    return () => clearInterval(timer)
  }, [busy, every])
  return now
}

type Theme = "light" | "dark"
const stored = "playground theme"

const useTheme = (): readonly [Theme, () => void] => {
  const [chosen, setChosen] = useState<Theme | undefined>(() => {
    const theme = localStorage.getItem(stored)
    return theme === "light" || theme === "dark" ? theme : undefined
  })
  const [query] = useState(() => matchMedia("(prefers-color-scheme: dark)"))
  const [system, setSystem] = useState<Theme>(query.matches ? "dark" : "light")
  useEffect(() => {
    const read = () => setSystem(query.matches ? "dark" : "light")
    read()
    query.addEventListener("change", read)
    return () => query.removeEventListener("change", read)
  }, [query])
  // before anything is drawn in the wrong colours
  useLayoutEffect(() => {
    if (chosen !== undefined) document.documentElement.dataset.theme = chosen
  }, [chosen])
  const theme = chosen ?? system
  const toggle = () => {
    const next = theme === "dark" ? "light" : "dark"
    localStorage.setItem(stored, next)
    setChosen(next)
  }
  return [theme, toggle]
}

const stateText = { listening: "listening", thinking: "thinking", speaking: "speaking" }
const floorText = { user: "You have the floor", agent: "The agent has the floor", nobody: "The floor is free" }
const none: ReadonlyArray<Protocol.Unheard> = []

export const App = () => {
  const live = Live.useLive()
  const [theme, toggleTheme] = useTheme()
  const [recording, setRecording] = useState<Replay.Recording>()
  const player = Replay.usePlayer(recording)
  const [selected, setSelected] = useState<string>()
  const [tab, setTab] = useState<"conversation" | "timeline">("conversation")
  const [trouble, setTrouble] = useState<string>()
  const [stopping, setStopping] = useState<ReadonlySet<string>>(new Set())

  const view = player?.view ?? live.view
  const busy = player === undefined && live.connected && View.isBusy(view)
  // the more there is to draw, the less often
  const every = view.calls.length < 100 ? 80 : 500
  const ticking = useNow(busy, every, () => Live.timeOf(live))
  const now = player !== undefined ? player.at : busy ? Math.max(ticking, view.at ?? 0) : (view.at ?? 0)
  const agent = player === undefined ? live.hello?.agents.find(({ name }) => name === live.hello?.agent) : undefined
  const cancellable = player === undefined ? live.cancellable : []
  const approvals = player === undefined ? live.approvals : []
  const saying = player === undefined ? live.saying : null
  const paused = saying?.paused === true
  const floor = View.floor(view)
  const tools = player === undefined ? (live.hello?.tools ?? []) : []

  useEffect(() => {
    if (trouble === undefined) return
    const timer = setTimeout(() => setTrouble(undefined), 6000)
    return () => clearTimeout(timer)
  }, [trouble])

  // another conversation: nothing of the old one is selected or being stopped
  const conversation = live.hello?.conversation
  useEffect(() => {
    if (conversation === undefined) return
    setSelected(undefined)
    setStopping(new Set())
  }, [conversation])

  const open = useCallback((name: string, text: string) => {
    const events = Recording.decode(text)
    if (Either.isLeft(events)) return setTrouble(`${name} cannot be shown. ${events.left.message}`)
    if (events.right.length === 0) return setTrouble(`There is nothing in ${name}.`)
    setSelected(undefined)
    setRecording({ name, events: events.right })
  }, [])

  // a recording that the server was started with is what one came for
  const offered = live.hello?.recording === true
  useEffect(() => {
    if (!offered) return
    void fetch("/api/replay")
      .then(async (response) => {
        if (response.ok) open("the recording", await response.text())
      })
      .catch(() => setTrouble("The recording cannot be loaded."))
  }, [offered, open])

  const cancel = async (callId: string) => {
    setStopping((calls) => new Set([...calls, callId]))
    setTrouble(await Live.cancel(callId))
    setStopping((calls) => new Set([...calls].filter((id) => id !== callId)))
  }
  /** whether it was done; what the server has against it is shown */
  const done = async (request: Promise<string | undefined>) => {
    const refusal = await request
    setTrouble(refusal)
    return refusal === undefined
  }
  const start = async (name?: string) => setTrouble(await Live.start(name))
  const select = useCallback((callId: string | undefined) => {
    setSelected(callId)
    if (callId !== undefined) setTab("timeline")
  }, [])

  const running = View.running(view).length
  const news = useNews(view)

  return (
    <div className={`app on-${tab}`}>
      <header className="top">
        <h1>
          <img src="/icon.svg" alt="" width="26" height="26" />
          <span>
            Playground <small>effect-meantime</small>
          </span>
        </h1>
        {player === undefined && live.hello !== undefined && (
          <label className="agents">
            <span className="sr">Agent</span>
            <select value={live.hello.agent} onChange={({ target }) => void start(target.value)}>
              {live.hello.agents.map(({ name, title }) => (
                <option key={name} value={name}>
                  {title}
                </option>
              ))}
            </select>
          </label>
        )}
        <p className={`state ${live.connected ? (paused ? "paused" : view.agentState) : "lost"}`} role="status">
          {player !== undefined
            ? "replaying"
            : live.connected
              ? paused
                ? "paused"
                : stateText[view.agentState]
              : "connecting"}
        </p>
        <p className={`floor ${floor}`}>{floorText[floor]}</p>
        {player === undefined && live.hello !== undefined && <p className="model">{live.hello.model}</p>}
        <nav aria-label="Conversation">
          {player === undefined && (
            <button
              type="button"
              title="Start a new conversation"
              aria-label="Start a new conversation"
              onClick={() => void start()}
            >
              <Icon name="fresh" />
            </button>
          )}
          {player === undefined && (
            <a href="/api/recording" download title="Download the recording" aria-label="Download the recording">
              <Icon name="download" />
            </a>
          )}
          <OpenFile onOpen={open} />
          <button
            type="button"
            title={`Switch to ${theme === "dark" ? "light" : "dark"}`}
            aria-label={`Switch to ${theme === "dark" ? "light" : "dark"}`}
            onClick={toggleTheme}
          >
            <Icon name={theme === "dark" ? "sun" : "moon"} />
          </button>
        </nav>
      </header>
      {player !== undefined && <Controls player={player} onClose={() => setRecording(undefined)} />}
      <fieldset className="tabs">
        <legend className="sr">Show</legend>
        <button type="button" aria-pressed={tab === "conversation"} onClick={() => setTab("conversation")}>
          Conversation
        </button>
        <button type="button" aria-pressed={tab === "timeline"} onClick={() => setTab("timeline")}>
          Timeline {running > 0 && <b>{running}</b>}
        </button>
      </fieldset>
      <main>
        <Conversation
          view={view}
          saying={saying}
          unheard={player === undefined ? live.unheard : none}
          agent={agent}
          now={now}
          cancellable={cancellable}
          replaying={player !== undefined}
          approvals={approvals}
          tools={tools}
          conversation={conversation ?? ""}
          onSay={(text) => done(Live.say(text))}
          onApprove={(callId, args) => done(Live.approve(callId, args))}
          onDeny={(callId, reason) => done(Live.deny(callId, reason))}
          onCancel={(callId) => void cancel(callId)}
          onSelect={select}
        />
        <TimelineView
          view={view}
          now={now}
          rate={player === undefined ? live.clock.rate : 1}
          cancellable={cancellable}
          listening={tools.flatMap(({ name, takesMessages }) => (takesMessages ? [name] : []))}
          onTell={(callId, text) => done(Live.tell(callId, text))}
          stopping={stopping}
          selected={selected}
          replaying={player !== undefined}
          onCancel={(callId) => void cancel(callId)}
          onSelect={select}
        />
      </main>
      <p className="sr" role="status" aria-live="polite">
        {news}
      </p>
      <div className="trouble" role="alert">
        {trouble !== undefined && <p>{trouble}</p>}
      </div>
    </div>
  )
}

/** What happened to a call last, for those who hear the page. */
const useNews = (view: View.View): string =>
  useMemo(() => {
    let newest = -1
    let text = ""
    for (const call of view.calls) {
      if (call.ended !== undefined && call.ended.at > newest) {
        newest = call.ended.at
        text = `${nameOf(call)} ${fateText[fate(call)]}`
      }
      if (call.approval !== undefined && View.waits(call) && call.approval.at > newest) {
        newest = call.approval.at
        text = `${nameOf(call)} ${fateText.waiting}`
      }
      const update = call.updates.at(-1)
      if (update !== undefined && update.at > newest) {
        newest = update.at
        text = `${nameOf(call)}: ${View.brief(update.message)}`
      }
    }
    return text
  }, [view.calls])

const OpenFile = ({ onOpen }: { readonly onOpen: (name: string, text: string) => void }) => {
  const input = useRef<HTMLInputElement>(null)
  return (
    <>
      <button
        type="button"
        title="Open a recording"
        aria-label="Open a recording"
        onClick={() => input.current?.click()}
      >
        <Icon name="open" />
      </button>
      <input
        ref={input}
        className="sr"
        type="file"
        accept=".jsonl,.ndjson,.json"
        aria-label="Recording"
        tabIndex={-1}
        onChange={async ({ currentTarget }) => {
          const file = currentTarget.files?.[0]
          if (file !== undefined) onOpen(file.name, await file.text())
          currentTarget.value = ""
        }}
      />
    </>
  )
}

const speeds = [
  [1, "1×"],
  [4, "4×"],
  [16, "16×"],
  [0, "all in 30 s"]
] as const

const Controls = ({ onClose, player }: { readonly player: Replay.Player; readonly onClose: () => void }) => (
  <section className="controls" aria-label="Replay">
    <button type="button" className="play" aria-label={player.playing ? "Pause" : "Play"} onClick={player.toggle}>
      <Icon name={player.playing ? "pause" : "play"} />
    </button>
    <span className="file">{player.name}</span>
    <input
      type="range"
      aria-label="Position"
      min={player.from}
      max={Math.max(player.to, player.from + 1)}
      step="any"
      value={player.at}
      aria-valuetext={View.duration(player.at - player.from)}
      onChange={({ target }) => player.seek(Number(target.value))}
    />
    <output>
      {View.duration(player.at - player.from)} / {View.duration(player.to - player.from)}
    </output>
    <label>
      <span className="sr">Speed</span>
      <select value={player.speed} onChange={({ target }) => player.setSpeed(Number(target.value))}>
        {speeds.map(([speed, text]) => (
          <option key={speed} value={speed}>
            {text}
          </option>
        ))}
      </select>
    </label>
    <button type="button" onClick={onClose}>
      Back to live
    </button>
  </section>
)
