/**
 * Small parts that both halves of the page use.
 */
import type { ReactNode } from "react"
import * as View from "../../shared/View.js"

export type Fate = "running" | "waiting" | "done" | "error" | "cancelled" | "unknown"

export const fate = (call: View.Call): Fate => call.ended?.status ?? (View.waits(call) ? "waiting" : "running")

export const fateText: Record<Fate, string> = {
  running: "running",
  waiting: "waits for you",
  done: "done",
  error: "failed",
  cancelled: "cancelled",
  unknown: "end unknown"
}

const drawn: Record<Fate, ReactNode> = {
  running: <circle cx="8" cy="8" r="3.5" fill="currentColor" />,
  waiting: <path d="M6.1 5v6m3.8-6v6" />,
  done: <path d="M4.5 8.4 7 10.8l4.6-5.4" />,
  error: <path d="m5.3 5.3 5.4 5.4m0-5.4-5.4 5.4" />,
  cancelled: <rect x="5.4" y="5.4" width="5.2" height="5.2" rx="0.8" fill="currentColor" />,
  unknown: <path d="M6 6.2a2 2 0 1 1 2.6 1.9q-.6.2-.6 1v.3m0 1.9v.1" />
}

/** A disc in the colour of the fate, with its sign. */
export const FateIcon = ({ of }: { readonly of: Fate }) => (
  <svg className={`fate ${of}`} viewBox="0 0 16 16" aria-hidden="true">
    <circle className="disc" cx="8" cy="8" r="8" />
    <g className="sign">{drawn[of]}</g>
  </svg>
)

const icons = {
  send: <path d="M8 13V3m0 0L3.8 7.2M8 3l4.2 4.2" />,
  stop: <rect x="4" y="4" width="8" height="8" rx="1.5" fill="currentColor" stroke="none" />,
  moon: <path d="M13.2 9.6A5.6 5.6 0 0 1 6.4 2.8a5.6 5.6 0 1 0 6.8 6.8Z" />,
  sun: (
    <path d="M8 5.2a2.8 2.8 0 1 0 0 5.6 2.8 2.8 0 0 0 0-5.6ZM8 1.2v1.2m0 11.2v1.2M1.2 8h1.2m11.2 0h1.2M3.2 3.2l.9.9m7.8 7.8.9.9m0-9.6-.9.9m-7.8 7.8-.9.9" />
  ),
  download: <path d="M8 2.5v7.6m0 0L4.8 7m3.2 3.1L11.2 7M3 13.2h10" />,
  open: <path d="M2.2 4.2h3.9l1.4 1.6h6.3v7H2.2Z" />,
  fresh: <path d="M8 3v10M3 8h10" />,
  play: <path d="M5 3.2 12.4 8 5 12.8Z" fill="currentColor" />,
  pause: <path d="M5.4 3.4v9.2m5.2-9.2v9.2" strokeWidth="2.4" />,
  reply: <path d="M6.2 4 2.8 7.4l3.4 3.4M3 7.4h6.2a3.8 3.8 0 0 1 3.8 3.8v1" />,
  mouth: <path d="M8 2a2 2 0 0 1 2 2v4a2 2 0 0 1-4 0V4a2 2 0 0 1 2-2ZM3.8 7.6a4.2 4.2 0 0 0 8.4 0M8 11.8V14" />,
  hand: <path d="M2.5 8h10.4m0 0L9.4 4.5M12.9 8l-3.5 3.5" />,
  chevron: <path d="m5.8 3.6 4.4 4.4-4.4 4.4" />
}

export const Icon = ({ name }: { readonly name: keyof typeof icons }) => (
  <svg className="icon" viewBox="0 0 16 16" aria-hidden="true">
    {icons[name]}
  </svg>
)

/** A value as a person reads it: text as it is, anything else as JSON. */
export const shown = (value: unknown): string =>
  typeof value === "string" ? value : value === undefined ? "" : (JSON.stringify(value, undefined, 2) ?? String(value))

export const nameOf = (call: View.Call): string => call.name ?? "a call"

/** The arguments in one line: their values, without what was left out. */
export const briefArguments = (value: unknown): string => {
  if (typeof value !== "object" || value === null) return ""
  return Object.values(value)
    .filter((part) => part !== null && part !== undefined && typeof part !== "boolean")
    .map((part) => (typeof part === "string" ? part : JSON.stringify(part)))
    .join(" · ")
}
