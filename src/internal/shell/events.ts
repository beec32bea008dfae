/**
 * The events of a session for those who listen. Each subscriber has a bounded buffer of its own; one that falls behind
 * loses the oldest, deltas first, and is told how many (rule E2). What happened before the first subscriber came is kept
 * for it, as far as the buffer reaches, but for all deltas but the last ones: they would be most of an idle session.
 */
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { SessionEvent } from "../../SessionEvent.js"

/** What is written, piece by piece: the one kind of event that another one (`ItemAdded`) says as well. */
export const isDelta = ({ _tag }: SessionEvent): boolean =>
  _tag === "TextDelta" || _tag === "ReasoningDelta" || _tag === "ToolInputDelta"

/** How many deltas are kept while nobody has listened yet: the rest of them is in the items. */
const earlyDeltas = 64

class Buffer {
  private items: Array<SessionEvent> = []
  /** how many of them are deltas */
  private deltas = 0
  private missed = 0
  private resume: (() => void) | undefined = undefined
  closed = false

  constructor(
    private readonly capacity: number,
    /** nobody has listened yet */
    private early: boolean
  ) {}

  /** From here on somebody listens. */
  listened(): this {
    this.early = false
    return this
  }

  push(event: SessionEvent, delta: boolean): void {
    this.items.push(event)
    if (delta && ++this.deltas >= earlyDeltas * 2 && this.early) this.dropDeltas(this.deltas - earlyDeltas)
    // amortised: twice the capacity is cut to the capacity at once
    if (this.items.length >= this.capacity * 2) this.trim()
    this.wake()
  }

  close(): void {
    this.closed = true
    this.wake()
  }

  private trim(): void {
    const over = this.items.length - this.capacity
    if (over <= 0) return
    // the items say again what was in deltas: they go first
    const left = over - this.dropDeltas(over)
    this.items.splice(0, left)
    this.missed += this.early ? left : over
  }

  /** The oldest deltas, so many if there are so many. */
  private dropDeltas(most: number): number {
    const dropped = Math.min(most, this.deltas)
    if (dropped === 0) return 0
    let left = dropped
    this.items = this.items.filter((event) => left === 0 || !isDelta(event) || --left < 0)
    this.deltas -= dropped
    return dropped
  }

  private wake(): void {
    const resume = this.resume
    this.resume = undefined
    resume?.()
  }

  readonly take: Effect.Effect<Chunk.Chunk<SessionEvent>, Option.Option<never>> = Effect.suspend(() => {
    if (this.items.length === 0) {
      return this.closed
        ? Effect.fail(Option.none())
        : Effect.zipRight(
            Effect.async<void>((resume) => {
              // the fiber may have yielded since it looked
              if (this.items.length > 0 || this.closed) return resume(Effect.void)
              this.resume = () => resume(Effect.void)
              return Effect.sync(() => {
                this.resume = undefined
              })
            }),
            this.take
          )
    }
    this.trim()
    const items = this.items
    this.items = []
    this.deltas = 0
    if (this.missed > 0) {
      items.unshift({ _tag: "EventsMissed", at: (items[0] as SessionEvent).at, count: this.missed })
      this.missed = 0
    }
    return Effect.succeed(Chunk.unsafeFromArray(items))
  })
}

export interface Hub {
  readonly publish: (event: SessionEvent) => void
  readonly close: () => void
  readonly stream: Stream.Stream<SessionEvent>
  /** From this moment on. What was kept for the first subscriber is dropped: whoever asks knows what has been. */
  readonly since: Effect.Effect<Stream.Stream<SessionEvent>, never, Scope.Scope>
}

/** `deltas`: there may be some. */
export const make = (capacity: number, deltas: boolean): Hub => {
  let early: Buffer | undefined = new Buffer(capacity, true)
  let closed = false
  const buffers = new Set<Buffer>()
  const added = (buffer: Buffer): Buffer => {
    early = undefined
    if (closed) buffer.close()
    else buffers.add(buffer)
    return buffer
  }
  const streamOf = (subscribe: () => Buffer): Effect.Effect<Stream.Stream<SessionEvent>, never, Scope.Scope> =>
    Effect.map(
      Effect.acquireRelease(Effect.sync(subscribe), (buffer) => Effect.sync(() => buffers.delete(buffer))),
      (buffer) => Stream.repeatEffectChunkOption(buffer.take)
    )
  return {
    publish: (event) => {
      if (closed) return
      const delta = deltas && isDelta(event)
      if (early !== undefined) early.push(event, delta)
      for (const buffer of buffers) buffer.push(event, delta)
    },
    close: () => {
      closed = true
      for (const buffer of buffers) buffer.close()
      buffers.clear()
    },
    stream: Stream.unwrapScoped(streamOf(() => added(early?.listened() ?? new Buffer(capacity, false)))),
    since: streamOf(() => added(new Buffer(capacity, false)))
  }
}
