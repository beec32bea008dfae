/**
 * A recording, and where in it one is. Everything of it happens in the page.
 */
import type { SessionEvent } from "effect-meantime/SessionEvent"
import { useEffect, useMemo, useState } from "react"
import * as View from "../../shared/View.js"

export interface Recording {
  readonly name: string
  readonly events: ReadonlyArray<SessionEvent>
}

export interface Player {
  readonly name: string
  readonly view: View.View
  readonly from: number
  readonly to: number
  readonly at: number
  readonly playing: boolean
  /** 0: the whole in half a minute */
  readonly speed: number
  readonly seek: (at: number) => void
  readonly toggle: () => void
  readonly setSpeed: (speed: number) => void
}

const half = 30_000
const none: ReadonlyArray<SessionEvent> = []

/** One view in this many is kept; those between are a short fold away. */
const every = 256

export const usePlayer = (recording: Recording | undefined): Player | undefined => {
  const events = recording?.events ?? none
  const from = events[0]?.at ?? 0
  const to = Math.max(from, events.at(-1)?.at ?? 0)
  const [at, setAt] = useState(to)
  const [playing, setPlaying] = useState(false)
  const [speed, setSpeed] = useState(1)

  // another recording is shown from its end: all of it
  useEffect(() => {
    setAt(recording === undefined ? 0 : Math.max(...recording.events.map(({ at }) => at), 0))
    setPlaying(false)
  }, [recording])

  useEffect(() => {
    if (!playing) return
    const rate = speed === 0 ? (to - from) / half : speed
    let last = performance.now()
    const timer = setInterval(() => {
      const now = performance.now()
      const passed = (now - last) * rate
      last = now
      setAt((at) => Math.min(to, at + passed))
    }, 50)
    return () => clearInterval(timer)
  }, [playing, speed, from, to])
  useEffect(() => {
    if (playing && at >= to) setPlaying(false)
  }, [playing, at, to])

  const views = useMemo(() => {
    const views = [View.empty]
    let view = View.empty
    for (const [index, event] of events.entries()) {
      view = View.step(view, event)
      if ((index + 1) % every === 0) views.push(view)
    }
    return views
  }, [events])

  let count = 0
  while ((events[count]?.at ?? Number.POSITIVE_INFINITY) <= at) count++
  const view = useMemo(() => {
    const kept = Math.floor(count / every)
    return events.slice(kept * every, count).reduce(View.step, views[kept] ?? View.empty)
  }, [events, views, count])

  if (recording === undefined) return undefined
  return {
    name: recording.name,
    view,
    from,
    to,
    at,
    playing,
    speed,
    seek: (at) => setAt(at),
    toggle: () => {
      if (!playing && at >= to) setAt(from)
      setPlaying(!playing)
    },
    setSpeed
  }
}
