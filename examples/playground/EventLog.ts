/**
 * The events of one conversation, numbered, for readers that come and go. It keeps the newest ones; a reader is a number
 * and nothing else, so a slow one costs no memory, and is told how many it missed.
 */
import type { SessionEvent } from "effect-meantime"

export interface Entry {
  readonly seq: number
  readonly event: SessionEvent.SessionEvent
}

export class EventLog {
  private items: Array<SessionEvent.SessionEvent> = []
  private dropped = 0

  constructor(private readonly capacity: number) {}

  append(event: SessionEvent.SessionEvent): void {
    this.items.push(event)
    // amortised: twice the capacity is cut to the capacity at once
    if (this.items.length >= this.capacity * 2) {
      this.dropped += this.items.length - this.capacity
      this.items = this.items.slice(-this.capacity)
    }
  }

  /** The number of the newest event, 0 before the first. */
  get newest(): number {
    return this.dropped + this.items.length
  }

  /** The events after the one with this number, `most` at once. */
  after(seq: number, most: number): ReadonlyArray<Entry> {
    const entries: Array<Entry> = []
    const oldest = this.items[0]
    if (seq < this.dropped && oldest !== undefined) {
      const event = { _tag: "EventsMissed", at: oldest.at, count: this.dropped - seq } as const
      entries.push({ seq: this.dropped, event })
    }
    const start = Math.max(0, seq - this.dropped)
    for (const [index, event] of this.items.slice(start, start + most).entries()) {
      entries.push({ seq: this.dropped + start + index + 1, event })
    }
    return entries
  }
}
