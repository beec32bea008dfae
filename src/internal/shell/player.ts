/**
 * How text gets to the output.
 */
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as RuntimeFlags from "effect/RuntimeFlags"
import * as Stream from "effect/Stream"
import type { Speech as PlayedSpeech } from "../../AgentOutput.js"
import * as Parts from "../machine/incoming.js"
import * as State from "../machine/state.js"
import { suspended } from "../values/guarded.js"
import { atMostInSession, fork } from "./fibers.js"
import { type Host, interrupt, log } from "./host.js"

/** One player at a time: the next begins when the last has stopped. */
export const play = (host: Host, entry: State.TextEntry): void => {
  if (entry.step.closed) return
  const before = host.player
  const built = entry.step.agent.built
  const pull: Effect.Effect<Chunk.Chunk<string>, Option.Option<never>> = Effect.suspend(() => {
    if (entry.unread.length > 0) return Effect.succeed(Chunk.unsafeFromArray(entry.unread.splice(0)))
    if (entry.ended) return Effect.fail(Option.none())
    return Effect.zipRight(
      Effect.async<void>((resume) => {
        // the fiber may have yielded since it looked
        if (entry.unread.length > 0 || entry.ended) return resume(Effect.void)
        entry.notify = () => resume(Effect.void)
      }),
      pull
    )
  })
  const { playback } = entry
  // a play that was left behind reports nothing of the next one
  const report = (input: (s: State.State) => void): Effect.Effect<void> =>
    Effect.sync(() => {
      if (entry.playback === playback) host.transact(input)
    })
  const played = (piece: string) => report((s) => Parts.played(s, entry, piece))
  const playing = suspended(() =>
    built.output.play(Stream.repeatEffectChunkOption(pull), played, speechOf(entry, report))
  )
  let over = false
  const waits = before !== undefined
  // cut while it waits, it still waits: who comes behind it must not begin before the first one has stopped
  const inTurn = waits ? Effect.zipRight(stopped(host, before), Effect.interruptible(playing)) : playing
  const place = host.telemetry.inTurn(entry.step.speech, built)
  const onExit = (exit: Exit.Exit<void>): void => {
    // it may have ended before it is known which fiber it was
    over = true
    if (host.player === entry.fiber) host.player = undefined
    const failed = Exit.isFailure(exit)
    if (failed && !entry.step.closed) log(host, "error", "The output failed while it played.", exit.cause)
    host.transact((s) => Parts.playEnded(s, entry, failed))
  }
  const fiber = waits
    ? fork(host, inTurn, place, onExit, RuntimeFlags.disable(host.runtime.runtimeFlags, RuntimeFlags.Interruption))
    : fork(host, inTurn, place, onExit)
  entry.fiber = fiber
  if (!over) host.player = fiber
  if (entry.step.closed) interrupt(fiber)
}

/** What an output is told of the speech that it plays (rule O2). */
const speechOf = (
  entry: State.TextEntry,
  report: (input: (s: State.State) => void) => Effect.Effect<void>
): PlayedSpeech => {
  const { agent, speech } = entry.step
  return {
    id: speech.id,
    source: speech.source,
    agent: agent.name,
    covers: speech.reply?.ids ?? State.none,
    allowInterruptions: Effect.sync(() => speech.allowInterruptions),
    started: report((s) => Parts.playStarted(s, entry)),
    playedTo: (offset) => report((s) => Parts.playedTo(s, entry, offset))
  }
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
