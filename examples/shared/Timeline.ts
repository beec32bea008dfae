/**
 * Where everything of a `View` is on a timeline, in fractions of the window that is shown: 0 is its left edge, 1 its
 * right edge. No pixels and no drawing.
 */
import type * as View from "./View.js"

/**
 * Shown time: as real time, but what nobody did anything in for long takes a moment only. Without that a coffee break
 * leaves nothing of the calls before it.
 */
export interface Scale {
  readonly shown: (at: number) => number
  /** the stretches of real time that are drawn short */
  readonly breaks: ReadonlyArray<{ readonly from: number; readonly to: number }>
}

/** A part of shown time. */
export interface Window {
  readonly scale: Scale
  readonly from: number
  readonly to: number
}

export interface Part {
  readonly kind: "inline" | "waiting" | "background"
  readonly left: number
  readonly width: number
}

export interface Mark {
  readonly id: string
  readonly at: number
  readonly x: number
  readonly update: View.Update
}

/** A reply under the bar of a call: from where the first of the items that it covers came, to where it was voiced. */
export interface Cover {
  readonly reply: View.Reply
  readonly since: number
  readonly left: number
  readonly width: number
}

export interface Row {
  readonly call: View.Call
  readonly parts: ReadonlyArray<Part>
  readonly marks: ReadonlyArray<Mark>
  readonly end: number | undefined
  /** where the agent first spoke of its output, in the turn itself */
  readonly answer: number | undefined
  readonly covers: ReadonlyArray<Cover>
  readonly visible: boolean
}

/** When a call works; while a person thinks about it, for days perhaps, it does not. */
const atWork = (
  { approval, ended, startedAt }: View.Call,
  now: number
): ReadonlyArray<readonly [from: number, to: number]> => {
  const to = ended?.at ?? now
  if (approval === undefined) return [[startedAt, to]]
  const { at, decided } = approval
  return decided === undefined
    ? [
        [startedAt, Math.max(startedAt, at)],
        [to, to]
      ]
    : [
        [startedAt, Math.max(startedAt, at)],
        [decided.at, Math.max(decided.at, to)]
      ]
}

/** The stretches in which something went on, in order, without overlaps. */
const activity = (view: View.View, now: number, around: number): ReadonlyArray<readonly [from: number, to: number]> => {
  const found: Array<readonly [number, number]> = [
    ...view.calls.flatMap((call) => atWork(call, now)),
    ...view.spans.map(({ from, to }) => [from, to ?? now] as const),
    ...view.turns.map(({ from, to }) => [from, to ?? now] as const),
    ...view.lines.map(({ at }) => [at, at] as const),
    ...view.replies.flatMap(({ ended, scheduledAt }) =>
      scheduledAt === undefined ? [] : [[scheduledAt, ended?.at ?? now] as const]
    )
  ].sort(([a], [b]) => a - b)
  const merged: Array<[number, number]> = []
  for (const [from, to] of found) {
    const last = merged.at(-1)
    if (last !== undefined && from - around <= last[1]) last[1] = Math.max(last[1], to + around)
    else merged.push([from - around, to + around])
  }
  return merged
}

/** A pause of more than three times `pause` is drawn as one `pause` long, with a third of it on either side as it was. */
export const scale = (view: View.View, now: number, pause: number): Scale => {
  const breaks: Array<{ readonly from: number; readonly to: number }> = []
  let last: number | undefined
  for (const [from, to] of activity(view, now, pause / 3)) {
    if (last !== undefined && from - last > pause * 2) breaks.push({ from: last, to: from })
    last = to
  }
  const short = pause / 3
  const shown = (at: number): number => {
    let saved = 0
    for (const { from, to } of breaks) {
      if (at <= from) break
      const within = Math.min(at, to) - from
      saved += within * (1 - short / (to - from))
    }
    return at - saved
  }
  return { shown, breaks }
}

export const position = ({ from, scale, to }: Window, at: number): number =>
  (scale.shown(at) - from) / Math.max(1, to - from)

const extent = (window: Window, from: number, to: number) => {
  const left = Math.min(1, Math.max(0, position(window, from)))
  return { left, width: Math.min(1, Math.max(0, position(window, to))) - left }
}

const inside = (x: number) => x >= 0 && x <= 1

/** The rows of the calls, in the order in which they started. */
export const rows = (view: View.View, window: Window, now: number): ReadonlyArray<Row> => {
  const covered = new Map<string, Array<View.Reply>>()
  for (const reply of view.replies) {
    for (const id of reply.itemIds) {
      const replies = covered.get(id)
      if (replies === undefined) covered.set(id, [reply])
      else replies.push(reply)
    }
  }
  return view.calls.map((call) => {
    const until = call.ended?.at ?? Math.max(now, call.startedAt)
    const release = Math.min(call.released?.at ?? until, until)
    const parts: Array<Part> = []
    if (release > call.startedAt || call.released === undefined) {
      parts.push({ kind: "inline", ...extent(window, call.startedAt, release) })
    }
    if (call.released !== undefined) {
      const asked = call.approval === undefined ? undefined : Math.max(release, call.approval.at)
      // nothing of it is done before somebody has agreed
      const from = asked === undefined ? release : Math.max(asked, Math.min(call.approval?.decided?.at ?? until, until))
      if (asked !== undefined) parts.push({ kind: "waiting", ...extent(window, Math.min(asked, until), from) })
      if (asked === undefined || from < until) parts.push({ kind: "background", ...extent(window, from, until) })
    }

    const times = new Map(call.updates.map(({ at, id }) => [id, at]))
    if (call.ended !== undefined) times.set(call.ended.id, call.ended.at)
    const covers = new Map<View.Reply, number>()
    for (const [id, at] of times) {
      for (const reply of covered.get(id) ?? []) covers.set(reply, Math.min(at, covers.get(reply) ?? at))
    }
    const end = call.ended === undefined ? undefined : position(window, call.ended.at)
    return {
      call,
      parts,
      marks: call.updates
        .map((update) => ({ id: update.id, at: update.at, x: position(window, update.at), update }))
        .filter(({ x }) => inside(x)),
      end: end !== undefined && inside(end) ? end : undefined,
      answer:
        call.answeredAt !== undefined && inside(position(window, call.answeredAt))
          ? position(window, call.answeredAt)
          : undefined,
      covers: [...covers].flatMap(([reply, since]) => {
        const to = reply.ended?.at ?? now
        if (reply.scheduledAt === undefined || !inside(position(window, to))) return []
        return [{ reply, since: Math.max(0, position(window, since)), ...extent(window, reply.scheduledAt, to) }]
      }),
      visible: position(window, until) >= 0 && position(window, call.startedAt) <= 1
    }
  })
}

const second = 1000
const minute = 60 * second
const hour = 60 * minute
const steps = [
  ...[1, 2, 5, 10, 15, 30].map((n) => n * second),
  ...[1, 2, 5, 10, 15, 30].map((n) => n * minute),
  ...[1, 2, 3, 6, 12, 24, 48, 24 * 7].map((n) => n * hour)
]

/** Round times in the window, about `most` of them, told from `origin` on; none within a break. */
export const ticks = (
  window: Window,
  origin: number,
  most: number
): ReadonlyArray<{ readonly x: number; readonly label: string }> => {
  const { scale } = window
  const step = steps.find((step) => (window.to - window.from) / step <= most) ?? window.to - window.from
  const found: Array<{ readonly x: number; readonly label: string }> = []
  const stretches = [...scale.breaks, { from: Number.POSITIVE_INFINITY, to: Number.POSITIVE_INFINITY }]
  let from = origin
  for (const stretch of stretches) {
    // between two breaks real and shown time go alike
    const shift = scale.shown(from) - from
    const start = Math.max(from, window.from - shift)
    const end = Math.min(stretch.from, window.to - shift)
    for (let n = Math.ceil((start - origin) / step); origin + n * step <= end; n++) {
      const x = position(window, origin + n * step)
      const before = found.at(-1)
      if (before === undefined || x - before.x > 0.6 / most) found.push({ x, label: tickLabel(n * step, step) })
    }
    from = stretch.to
  }
  return found
}

const tickLabel = (millis: number, step: number): string => {
  if (step >= hour) return `${Math.round(millis / hour)} h`
  if (step >= minute && millis < hour) return `${Math.round(millis / minute)} min`
  const whole = Math.round(millis / second)
  if (whole < 60) return `${whole} s`
  const two = (n: number) => String(n).padStart(2, "0")
  const hours = Math.floor(whole / 3600)
  const rest = `${hours > 0 ? two(Math.floor(whole / 60) % 60) : Math.floor(whole / 60)}:${two(whole % 60)}`
  return hours > 0 ? `${hours}:${rest}` : rest
}
