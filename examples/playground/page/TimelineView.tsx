/**
 * A bar for each call: its inline and background parts, its updates, how it ended, and the replies that covered them.
 */
import { Fragment, useEffect, useRef, useState } from "react"
import * as Timeline from "../../shared/Timeline.js"
import * as View from "../../shared/View.js"
import { briefArguments, FateIcon, fate, fateText, nameOf, shown } from "./parts.js"

interface Props {
  readonly view: View.View
  readonly now: number
  /** how fast the time of the conversation passes */
  readonly rate: number
  readonly cancellable: ReadonlyArray<string>
  /** tools whose running calls can be told something */
  readonly listening: ReadonlyArray<string>
  readonly stopping: ReadonlySet<string>
  readonly selected: string | undefined
  readonly replaying: boolean
  readonly onCancel: (callId: string) => void
  /** resolves to whether the call has the message */
  readonly onTell: (callId: string, text: string) => Promise<boolean>
  readonly onSelect: (callId: string | undefined) => void
}

const percent = (fraction: number): string => `${(fraction * 100).toFixed(3)}%`

/** The whole conversation. It grows in steps, so that the bars hold still between two of them. */
const whole = (scale: Timeline.Scale, start: number, now: number, rate: number): Timeline.Window => {
  const from = scale.shown(start)
  let span = 15_000 * rate
  while (span < (scale.shown(now) - from) * 1.02) span *= 1.3
  return { scale, from, to: from + span }
}

const recent = (scale: Timeline.Scale, start: number, now: number, rate: number): Timeline.Window => {
  const minute = 60_000 * rate
  const to = scale.shown(now) + minute * 0.04
  return to - minute <= scale.shown(start) ? whole(scale, start, now, rate) : { scale, from: to - minute, to }
}

export const TimelineView = (props: Props) => {
  const { now, rate, replaying, view } = props
  const [range, setRange] = useState<"all" | "recent">("all")
  const from = view.from ?? now
  const scale = Timeline.scale(view, now, 3000 * rate)
  const window = (range === "all" ? whole : recent)(scale, from, now, rate)
  const rows = Timeline.rows(view, window, now)
  const ticks = Timeline.ticks(window, from, 6)
  const nowAt = Timeline.position(window, now)
  const busy = View.isBusy(view)

  return (
    <section className="timeline panel" aria-label="Timeline">
      <header>
        <h2>Calls</h2>
        <Legend />
        <fieldset className="range">
          <legend className="sr">Range</legend>
          <button type="button" aria-pressed={range === "all"} onClick={() => setRange("all")}>
            All
          </button>
          <button type="button" aria-pressed={range === "recent"} onClick={() => setRange("recent")}>
            Recent
          </button>
        </fieldset>
      </header>
      <div className="scroll">
        <div className="axis" aria-hidden="true">
          <div className="track">
            {ticks.map(({ label, x }) => (
              <span key={label} className={x > 0.96 ? "tick last" : "tick"} style={{ left: percent(x) }}>
                {label}
              </span>
            ))}
            {scale.breaks.map(({ from, to }) => {
              const [left, right] = [Timeline.position(window, from), Timeline.position(window, to)]
              if (left < 0 || right > 1) return null
              return (
                <i
                  key={from}
                  className="break"
                  title={`${View.duration(to - from)} in which nothing happened`}
                  style={{ left: percent((left + right) / 2) }}
                />
              )
            })}
          </div>
        </div>
        <Speech view={view} window={window} now={now} />
        {rows.length === 0 ? (
          <Empty replaying={replaying} />
        ) : (
          <ul className="calls">
            {rows.map((row) => (
              <RowOf key={row.call.callId} {...props} row={row} ticks={ticks} nowAt={busy ? nowAt : undefined} />
            ))}
          </ul>
        )}
      </div>
    </section>
  )
}

const Legend = () => (
  <ul className="legend" aria-label="Legend">
    <li>
      <i className="swatch inline" /> inline
    </li>
    <li>
      <i className="swatch background" /> background
    </li>
    <li>
      <i className="swatch waiting" /> waits for you
    </li>
    <li>
      <i className="swatch update" /> update
    </li>
    <li>
      <i className="swatch drop" /> answer in the turn
    </li>
    <li>
      <i className="swatch reply" /> deferred reply
    </li>
  </ul>
)

/** When the agent thought, spoke and was cut, and when the user had the floor and said something. */
const Speech = ({
  now,
  view,
  window
}: {
  readonly view: View.View
  readonly window: Timeline.Window
  readonly now: number
}) => (
  <div className="lane" aria-hidden="true">
    <div className="label">speech</div>
    <div className="track">
      {view.spans.map((span) => {
        const left = Math.max(0, Timeline.position(window, span.from))
        const right = Math.min(1, Timeline.position(window, span.to ?? now))
        if (right < 0 || left > 1 || right <= left) return null
        return (
          <i
            key={`${span.state} ${span.from} ${span.to}`}
            className={`span ${span.state}`}
            style={{ left: percent(left), width: percent(right - left) }}
          />
        )
      })}
      {view.turns.map(({ from, to }) => {
        const left = Math.max(0, Timeline.position(window, from))
        const right = Math.min(1, Timeline.position(window, to ?? now))
        if (right < 0 || left > 1 || right <= left) return null
        return (
          <i
            key={`${from} ${to}`}
            className="floor"
            title="You had the floor"
            style={{ left: percent(left), width: percent(right - left) }}
          />
        )
      })}
      {view.lines.map((line) => {
        if (line._tag !== "Said" || (line.who !== "user" && !line.interrupted)) return null
        const x = Timeline.position(window, line.at)
        if (x < 0 || x > 1) return null
        return line.who === "user" ? (
          <i key={line.id} className="turn" title={line.text} style={{ left: percent(x) }} />
        ) : (
          <i key={line.id} className="cut" title={`Cut after: ${line.text}`} style={{ left: percent(x) }} />
        )
      })}
    </div>
  </div>
)

const Empty = ({ replaying }: { readonly replaying: boolean }) => (
  <div className="empty">
    <svg viewBox="0 0 240 96" aria-hidden="true">
      <rect className="inline" x="20" y="16" width="34" height="12" rx="6" />
      <rect className="background" x="58" y="16" width="112" height="12" rx="6" />
      <circle className="update" cx="58" cy="22" r="5" />
      <circle className="update" cx="112" cy="22" r="5" />
      <path className="link" d="M112 30q0 10 10 10h22" />
      <rect className="reply" x="146" y="36" width="26" height="8" rx="4" />
      <rect className="inline" x="74" y="62" width="52" height="12" rx="6" />
      <path className="link" d="M126 76q0 8 8 8h12" />
      <rect className="reply" x="148" y="80" width="18" height="8" rx="4" />
    </svg>
    <p>{replaying ? "No call has been made at this moment." : "Nothing has been called yet."}</p>
    <p>
      Each call of a tool gets a bar: striped while the turn waits for it, solid in the background, a dot for each
      update, and below it the reply in which the agent told you.
    </p>
  </div>
)

interface RowProps extends Props {
  readonly row: Timeline.Row
  readonly ticks: ReadonlyArray<{ readonly x: number; readonly label: string }>
  readonly nowAt: number | undefined
}

const RowOf = (props: RowProps) => {
  const { cancellable, listening, now, nowAt, onCancel, onSelect, row, selected, stopping, ticks, view } = props
  const { call } = row
  const state = fate(call)
  const open = selected === call.callId
  const element = useRef<HTMLLIElement>(null)
  useEffect(() => {
    if (open) element.current?.scrollIntoView({ block: "nearest" })
  }, [open])
  const took = View.duration((call.ended?.at ?? now) - call.startedAt)
  const part = state === "running" ? View.percent(call.progress?.value) : undefined
  const stops = stopping.has(call.callId)
  const alive = state === "running" || state === "waiting"

  return (
    <li className={`call ${state}${open ? " open" : ""}${call.uncertain ? " uncertain" : ""}`} ref={element}>
      <div className="row">
        <button
          type="button"
          className="label"
          aria-expanded={open}
          onClick={() => onSelect(open ? undefined : call.callId)}
        >
          <FateIcon of={state} />
          <span className="name">{nameOf(call)}</span>
          <span className="args">{briefArguments(call.arguments) || call.callId}</span>
          <span className="sr">
            {call.callId}, {fateText[state]}, {took}
          </span>
        </button>
        <div className="track">
          {ticks.map(({ label, x }) => (
            <i key={label} className="grid" style={{ left: percent(x) }} />
          ))}
          {row.parts.map(({ kind, left, width }) => (
            <i key={kind} className={`part ${kind}`} style={{ left: percent(left), width: percent(width) }} />
          ))}
          {part !== undefined && (
            <i
              className="progress"
              style={{
                left: percent(row.parts[0]?.left ?? 0),
                width: percent(
                  ((row.parts.at(-1)?.left ?? 0) + (row.parts.at(-1)?.width ?? 0) - (row.parts[0]?.left ?? 0)) *
                    (part / 100)
                )
              }}
            />
          )}
          {row.marks.map(({ id, update, x }) => (
            <i
              key={id}
              className={`mark${update.dropped ? " dropped" : ""}`}
              title={View.brief(update.message)}
              style={{ left: percent(x) }}
            />
          ))}
          {row.answer !== undefined && (
            <i className="answer" title="answered in the turn" style={{ left: percent(row.answer) }} />
          )}
          {row.covers.map(({ left, reply, since, width }) => (
            <Fragment key={reply.id}>
              <i className="link" style={{ left: percent(since), width: percent(Math.max(0, left - since)) }} />
              <i
                className={`cover ${reply.ended?.status ?? "waiting"}`}
                title={reply.text === "" ? `reply: ${reply.ended?.status ?? "being given"}` : reply.text}
                style={{ left: percent(left), width: percent(width) }}
              />
            </Fragment>
          ))}
          {row.end !== undefined && (
            <span className="end" style={{ left: percent(row.end) }}>
              <FateIcon of={state} />
            </span>
          )}
          {nowAt !== undefined && nowAt <= 1 && <i className="now" style={{ left: percent(nowAt) }} />}
        </div>
        <div className="side">
          {alive && cancellable.includes(call.callId) ? (
            <button
              type="button"
              className="cancel"
              disabled={stops}
              aria-label={`Cancel ${nameOf(call)} ${call.callId}`}
              onClick={() => onCancel(call.callId)}
            >
              {stops ? "Stopping" : "Cancel"}
            </button>
          ) : (
            <time>{took}</time>
          )}
        </div>
      </div>
      {state === "running" && View.latest(call) !== undefined && !open && <p className="latest">{View.latest(call)}</p>}
      {open && <Details call={call} view={view} took={took} />}
      {open && state === "running" && call.name !== undefined && listening.includes(call.name) && (
        <Tell call={call} onTell={props.onTell} />
      )}
    </li>
  )
}

const covered: Record<NonNullable<View.Reply["ended"]>["status"], string> = {
  completed: "told",
  interrupted: "its reply was interrupted",
  skipped: "the agent had nothing to add",
  failed: "its reply failed",
  dropped: "dropped",
  unknown: "not known whether it was told"
}

interface Chapter {
  readonly key: string
  readonly at: number
  readonly text: string
  /** the item of which is told whether somebody has voiced it */
  readonly about?: string
  readonly kind?: string
}

const releasedBy: Record<NonNullable<View.Call["released"]>["by"], string> = {
  update: "",
  approval: "",
  timer: "moved to the background by the timer",
  model: "moved to the background by the model",
  handler: "moved to the background by its handler",
  program: "moved to the background by the program"
}

const decisions: Record<NonNullable<View.Approval["decided"]>["decision"], string> = {
  approved: "approved",
  edited: "approved with other arguments",
  denied: "denied",
  answered: "answered in its place",
  expired: "not decided in time",
  withdrawn: "withdrawn before a decision"
}

/** What happened to a call, in order. */
const story = (call: View.Call): ReadonlyArray<Chapter> => {
  const { approval, ended, messages, progress, released } = call
  const decided = approval?.decided
  const state = fate(call)
  const chapters: ReadonlyArray<Chapter> = [
    { key: "start", at: call.startedAt, text: call.startMissed ? "first heard of" : "started" },
    ...(approval === undefined
      ? []
      : [
          {
            key: "asked",
            at: approval.at,
            text: `waits for you${approval.reason === undefined ? "" : `: ${approval.reason}`}`
          }
        ]),
    ...(decided === undefined
      ? []
      : [
          {
            key: "decided",
            at: decided.at,
            text:
              decisions[decided.decision] +
              (decided.by === undefined ? "" : ` by ${decided.by}`) +
              (decided.reason === undefined ? "" : `: ${decided.reason}`)
          }
        ]),
    ...call.updates.map(
      ({ at, dropped, id, message }): Chapter => ({
        key: id,
        at,
        text: shown(message),
        about: dropped ? "dropped" : id
      })
    ),
    ...messages.map(
      ({ at, from, message }, index): Chapter => ({
        key: `message ${index}`,
        at,
        text: `told by the ${from}: ${shown(message)}`
      })
    ),
    ...(released === undefined || releasedBy[released.by] === ""
      ? []
      : [{ key: "released", at: released.at, text: releasedBy[released.by] }]),
    ...(progress === undefined || ended !== undefined
      ? []
      : [{ key: "progress", at: progress.at, text: View.brief(progress.value) }]),
    ...(call.lost === 0 || ended === undefined
      ? []
      : [{ key: "lost", at: ended.at, text: `${call.lost} of the messages were not read` }]),
    ...(ended === undefined
      ? []
      : [{ key: "end", at: ended.at, text: shown(ended.output) || fateText[state], about: ended.id, kind: state }])
  ]
  return chapters.toSorted((a, b) => a.at - b.at)
}

/** A running call is told something. */
const Tell = ({ call, onTell }: { readonly call: View.Call; readonly onTell: Props["onTell"] }) => {
  const [text, setText] = useState("")
  return (
    <form
      className="tell"
      onSubmit={(event) => {
        event.preventDefault()
        const told = text.trim()
        if (told === "") return
        setText("")
        // it can be sent again; what was typed meanwhile stays
        void onTell(call.callId, told).then((done) => {
          if (!done) setText((text) => (text === "" ? told : text))
        })
      }}
    >
      <input
        aria-label={`Tell ${nameOf(call)} ${call.callId}`}
        placeholder="Tell it something"
        maxLength={8000}
        autoComplete="off"
        value={text}
        onChange={({ target }) => setText(target.value)}
      />
      <button type="submit" disabled={text.trim() === ""}>
        Tell
      </button>
    </form>
  )
}

const Details = ({
  call,
  took,
  view
}: {
  readonly call: View.Call
  readonly view: View.View
  readonly took: string
}) => {
  const origin = view.from ?? call.startedAt
  const covers = View.covers(view)
  const at = (time: number) => View.duration(time - origin)
  const told = (id: string) => {
    const reply = covers.get(id)
    if (reply !== undefined) return reply.ended === undefined ? "being told" : covered[reply.ended.status]
    if (id === call.callId && call.answeredAt !== undefined) return "told in the turn"
    return id === call.ended?.id && call.ended.status === "cancelled" ? "" : "not told"
  }
  const state = fate(call)
  return (
    <div className="details">
      <dl>
        <dt>Call</dt>
        <dd>
          <code>{call.callId}</code> {fateText[state]} · {took}
          {call.uncertain && " · events were missed, it may have ended"}
        </dd>
        <dt>Arguments</dt>
        <dd>
          <pre>{shown(call.arguments)}</pre>
        </dd>
        <dt>Story</dt>
        <dd>
          <ol>
            {story(call).map(({ about, at: time, key, kind, text }) => (
              <li key={key} className={kind}>
                <time>{at(time)}</time>
                <span>
                  {text}
                  {about !== undefined && <em>{about === "dropped" ? about : told(about)}</em>}
                </span>
              </li>
            ))}
          </ol>
        </dd>
      </dl>
    </div>
  )
}
