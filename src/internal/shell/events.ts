/**
 * The events of a session for those who listen. Each subscriber has a bounded buffer of its own; one that falls behind
 * loses the oldest and is told how many (rule E2). What happened before the first subscriber came is kept for it, as
 * far as the buffer reaches.
 */
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { SessionEvent } from "../../SessionEvent.js"

class Buffer {
  private items: Array<SessionEvent> = []
  private missed = 0
  private resume: (() => void) | undefined = undefined
  closed = false

  constructor(private readonly capacity: number) {}

  push(event: SessionEvent): void {
    this.items.push(event)
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
    this.items.splice(0, over)
    this.missed += over
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

export const make = (capacity: number): Hub => {
  let early: Buffer | undefined = new Buffer(capacity)
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
      if (early !== undefined) early.push(event)
      for (const buffer of buffers) buffer.push(event)
    },
    close: () => {
      closed = true
      for (const buffer of buffers) buffer.close()
      buffers.clear()
    },
    stream: Stream.unwrapScoped(streamOf(() => added(early ?? new Buffer(capacity)))),
    since: streamOf(() => added(new Buffer(capacity)))
  }
}
