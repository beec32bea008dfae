/**
 * How text gets to the output, and what the output says of it.
 */
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as RuntimeFlags from "effect/RuntimeFlags"
import * as Stream from "effect/Stream"
import type { Speech } from "../../AgentOutput.js"
import * as Parts from "../machine/incoming.js"
import * as Speeches from "../machine/speech.js"
import * as State from "../machine/state.js"
import { suspended } from "../values/guarded.js"
import { atMostInSession, fork } from "./fibers.js"
import { type Host, interrupt, log } from "./host.js"

/** One player at a time: the next begins when the last has stopped, and once the output is no longer paused. */
export const play = (host: Host, entry: State.TextEntry): void => {
  const { playback, step } = entry
  const { speech } = step
  entry.fiber = undefined
  // stopped before it was begun
  if (entry.play !== "playing") return host.transact((s) => Speeches.stopped(s, entry))
  const built = step.agent.built
  const mayStall = step.agent.output?.stallTimeout !== undefined
  /** a play that was left behind gets no more text, and reports nothing more */
  const isCurrent = (): boolean => entry.playback === playback
  const pull: Effect.Effect<Chunk.Chunk<string>, Option.Option<never>> = Effect.suspend(() => {
    if (!isCurrent()) return Effect.fail(Option.none())
    if (entry.unread.length > 0) return Effect.succeed(Chunk.unsafeFromArray(entry.unread.splice(0)))
    if (entry.ended) return Effect.fail(Option.none())
    if (mayStall) host.transact((s) => Parts.playStarved(s, entry))
    return Effect.zipRight(
      Effect.async<void>((resume) => {
        // the fiber may have yielded since it looked
        if (!isCurrent() || entry.unread.length > 0 || entry.ended) return resume(Effect.void)
        entry.notify = () => resume(Effect.void)
      }),
      pull
    )
  })
  const report = (input: (s: State.State) => void): Effect.Effect<void> =>
    Effect.sync(() => {
      if (isCurrent()) host.transact(input)
    })
  const played = (piece: string) => report((s) => Parts.played(s, entry, piece))
  const playing = suspended(() => {
    if (!isCurrent()) return Effect.void
    entry.begun = true
    if (mayStall) host.transact((s) => Parts.playBegan(s, entry))
    return built.output.play(Stream.repeatEffectChunkOption(pull), played, speechOf(host, entry, report))
  })
  let over = false
  const before = [host.player, host.pausing].filter((fiber) => fiber !== undefined)
  const waits = before.length > 0
  // cut while it waits, it still waits: who comes behind it must not begin before the first one has stopped
  const inTurn = waits
    ? Effect.zipRight(
        Effect.forEach(before, (fiber) => stopped(host, fiber), { discard: true }),
        Effect.interruptible(playing)
      )
    : playing
  const place = host.telemetry.inTurn(speech, built)
  const onExit = (exit: Exit.Exit<void>): void => {
    // it may have ended before it is known which fiber it was
    over = true
    if (host.player === fiber) host.player = undefined
    if (!isCurrent()) return
    const failed = Exit.isFailure(exit)
    if (failed && entry.play === "playing") log(host, "error", "The output failed while it played.", exit.cause)
    host.transact((s) => Parts.playEnded(s, entry, failed))
  }
  entry.begun = false
  let fiber: Fiber.RuntimeFiber<unknown, unknown> | undefined
  fiber = waits
    ? fork(host, inTurn, place, onExit, RuntimeFlags.disable(host.runtime.runtimeFlags, RuntimeFlags.Interruption))
    : fork(host, inTurn, place, onExit)
  if (!over) host.player = fiber
  if (!isCurrent()) return
  entry.fiber = fiber
  // it may have been stopped by what the output did before it first waited
  if (Parts.isStopping(entry)) interrupt(fiber)
}

/** What an output is told of the speech that it plays (rule O2). */
const speechOf = (
  host: Host,
  entry: State.TextEntry,
  report: (input: (s: State.State) => void) => Effect.Effect<void>
): Speech => {
  const { agent, speech } = entry.step
  const started = report((s) => Parts.playStarted(s, entry))
  return {
    id: speech.id,
    source: speech.source,
    agent: agent.name,
    covers: speech.reply?.ids ?? State.none,
    allowInterruptions: Effect.sync(() => speech.allowInterruptions),
    // a durable session has it stored before the first sound (rule Q5)
    started: host.storing === undefined ? started : Effect.zipRight(started, host.storing.settled),
    playedTo: (offset) => report((s) => Parts.playedTo(s, entry, offset))
  }
}

/** What has not begun, since it waits for another to stop, has nothing to report. */
export const stopPlaying = (host: Host, entry: State.TextEntry): void => {
  const { fiber } = entry
  interrupt(fiber)
  if (fiber !== undefined && !entry.begun) host.transact((s) => Speeches.stopped(s, entry))
}

export const pausePlaying = (host: Host, entry: State.TextEntry): void =>
  control(host, entry, "pause", () => host.transact((s) => Speeches.pauseFailed(s, entry)))

export const resumePlaying = (host: Host, entry: State.TextEntry): void =>
  control(host, entry, "resume", () => host.transact((s) => Speeches.resumeFailed(s, entry)))

/** One after the other, in their order, and what is played next comes behind them. Closing does not cut a `resume`. */
const control = (host: Host, entry: State.TextEntry, what: "pause" | "resume", otherwise: () => void): void => {
  const before = host.pausing
  const { output } = entry.step.agent.built
  const asked = suspended(() => output[what] ?? Effect.void)
  const inTurn = before === undefined ? asked : Effect.zipRight(stopped(host, before), asked)
  let over = false
  let fiber: Fiber.RuntimeFiber<unknown, unknown> | undefined
  fiber = fork(
    host,
    inTurn,
    host.telemetry.inTurn(entry.step.speech, entry.step.agent.built),
    (exit) => {
      over = true
      if (host.pausing === fiber) host.pausing = undefined
      if (Exit.isSuccess(exit)) return
      log(host, "error", `The output failed when it was to ${what}.`, exit.cause)
      otherwise()
    },
    what === "pause"
      ? host.runtime.runtimeFlags
      : RuntimeFlags.disable(host.runtime.runtimeFlags, RuntimeFlags.Interruption)
  )
  if (!over) host.pausing = fiber
}

/**
 * A player that does not let itself be interrupted must not silence the rest of the conversation. Who waits here has no
 * fiber below it: an interruption reaches those, even if it does not reach the fiber itself.
 */
const stopped = (host: Host, player: Fiber.RuntimeFiber<unknown, unknown>): Effect.Effect<void> =>
  atMostInSession(host, {
    millis: host.state.options.cancellationTimeout,
    begin: (done) => {
      const ended = (): void => done(Effect.void)
      player.addObserver(ended)
      return () => player.removeObserver(ended)
    },
    late: () => Effect.logWarning("The output does not stop: the next speech begins beside it.")
  })
