/**
 * The `RunContext` of a durable session: what a handler does is stored before it goes on, and a handler that runs again
 * finds what it has done (rules Q9 to Q15).
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { Agent } from "../../Agent.js"
import type { CommitOptions, StepOptions, UpdateOptions } from "../../RunContext.js"
import { ToolError } from "../../Tags.js"
import * as Agents from "../machine/agents.js"
import * as Calls from "../machine/calls.js"
import * as Durable from "../machine/durable.js"
import type { Call, Handoff, Outcome, Run, State } from "../machine/state.js"
import { nameOf, update } from "../machine/updates.js"
import { digestOf, given, keep } from "../values/keeping.js"
import { messageOf } from "./door.js"
import { HandlerContext } from "./handlerContext.js"
import { type Host, interrupt, log, logOf } from "./host.js"
import type { Storing } from "./storing.js"
import { undoAll } from "./undoing.js"

export class DurableContext extends HandlerContext {
  private readonly life: Durable.Life
  private readonly names = new Set<string>()
  /** how often each was asked for */
  private readonly counts = new Map<string, number>()
  /** stored steps that it has come to again */
  private replayed = 0
  private commits = 0
  private updates = 0
  private handoffs = 0
  /** it was asked to stop in an earlier life, and has come to all that was stored */
  over = false

  constructor(
    host: Host,
    run: Run,
    owner: Call,
    private readonly storing: Storing,
    private readonly durable: Durable.Durable
  ) {
    super(host, run, owner)
    this.life = Durable.lifeOf(durable, run)
  }

  get replays(): boolean {
    return this.life.replays
  }

  override undoing(exit: Exit.Exit<Outcome, unknown>): Effect.Effect<void> | undefined {
    if (this.storing.stopped) return undefined
    if (this.replays) return this.undos === undefined ? undefined : undoAll(this.undos, nameOf(this.run))
    return super.undoing(exit)
  }

  override outcome(exit: Exit.Exit<Outcome, unknown>): Outcome {
    const { stop } = this.run
    return this.replays && stop !== undefined ? { _tag: "Interrupted", reason: stop } : super.outcome(exit)
  }

  /** In a call that was asked to stop nothing new begins (rule Q13). */
  private ends(): Effect.Effect<never> {
    this.over = true
    interrupt(this.run.fiber)
    return Effect.interrupt
  }

  /** Nothing that would not be stored begins. */
  private get isClosed(): boolean {
    return this.storing.stopped || this.run.phase === "ended"
  }

  /** The first free one of `name`, `name#2`, … */
  private counted(name: string): string {
    let n = this.counts.get(name) ?? 1
    let key = n === 1 ? name : `${name}#${n}`
    while (this.names.has(key)) key = `${name}#${++n}`
    this.names.add(key)
    this.counts.set(name, n + 1)
    return key
  }

  /** It has come to a stored step again. */
  private cameTo<A>(value: A): Effect.Effect<A> {
    return ++this.replayed < this.life.steps.size || !this.replays ? Effect.succeed(value) : this.ends()
  }

  override get step() {
    return <A, E, R, R2 = never>(
      name: string,
      effect: Effect.Effect<A, E, R>,
      options?: StepOptions<A, R2>
    ): Effect.Effect<A, E, R | R2> =>
      Effect.suspend((): Effect.Effect<A, E, any> => {
        const key = this.counted(name)
        const what = `the step "${key}" of ${nameOf(this.run)}`
        const kept = this.life.steps.get(key)
        if (kept !== undefined) {
          return Effect.uninterruptible(
            Effect.flatMap(given(what, kept, options?.success), (value: A) =>
              Effect.flatMap(this.register(value, options?.undo), () => this.cameTo(value))
            )
          )
        }
        if (this.replays) return this.ends()
        return Effect.uninterruptibleMask((restore) =>
          Effect.flatMap(restore(effect), (value) =>
            Effect.zipRight(
              this.register(value, options?.undo),
              Effect.flatMap(keep(what, value, options?.success), (made) => Effect.as(this.store(key, made), value))
            )
          )
        )
      })
  }

  private store(key: string, kept: Durable.Kept): Effect.Effect<void> {
    return Effect.suspend(() => {
      // a fiber that its handler has left behind
      if (this.run.phase === "ended") return Effect.void
      this.host.transact(() => Durable.stepEnded(this.durable, this.run, key, kept))
      this.replayed++
      return this.storing.stored
    })
  }

  override get sleep() {
    return (name: string, duration: Duration.DurationInput): Effect.Effect<void> =>
      Effect.suspend(() => {
        const key = this.counted(name)
        const kept = this.life.steps.get(key)
        const now = this.host.clock.unsafeCurrentTimeMillis()
        if (kept !== undefined) {
          const { value } = kept
          return Effect.zipRight(
            this.cameTo(undefined),
            this.replays
              ? Effect.void
              : typeof value === "number"
                ? Effect.sleep(Math.max(0, value - now))
                : Effect.never
          )
        }
        if (this.replays) return this.ends()
        const millis = Duration.toMillis(duration)
        const until = Number.isFinite(millis) ? now + millis : null
        return Effect.zipRight(this.store(key, { value: until }), Effect.sleep(duration))
      })
  }

  override get attempt(): Effect.Effect<number> {
    return Effect.succeed(this.life.attempt)
  }

  override get commit() {
    return <A, E, R>(effect: Effect.Effect<A, E, R>, options?: CommitOptions<A>): Effect.Effect<A, E, R> =>
      Effect.uninterruptible(
        Effect.suspend((): Effect.Effect<A, E, any> => {
          const n = this.commits++
          const what = `a commit of ${nameOf(this.run)}`
          const known = this.life.commits[n]
          if (known?._tag === "Ended" && known.kept) {
            this.undos = undefined
            return given(what, known, options?.success)
          }
          if (this.replays) return this.ends()
          if (this.isClosed) return Effect.interrupt
          const begins = this.host.transact((s) => {
            if (!Calls.commit(s, this.run)) return false
            Durable.commitBegun(this.durable, this.run, n)
            return true
          })
          if (!begins) return Effect.interrupt
          return Effect.zipRight(
            this.storing.stored,
            Effect.flatMap(effect, (value) =>
              Effect.flatMap(Effect.exit(keep(what, value, options?.success)), (made) => {
                this.undos = undefined
                if (Exit.isFailure(made))
                  log(this.host, "warning", `What ${what} gave could not be stored.`, made.cause)
                const kept = Exit.isSuccess(made) ? made.value : undefined
                if (this.run.phase === "ended") return Effect.succeed(value)
                this.host.transact(() => Durable.commitEnded(this.durable, this.run, n, kept))
                return Effect.as(this.storing.stored, value)
              })
            )
          )
        })
      )
  }

  override get update() {
    return (message: unknown, options?: UpdateOptions): Effect.Effect<void> =>
      Effect.suspend(() => {
        if (this.storing.stopped) return Effect.void
        const read = messageOf(this.run, message, options, this.host, logOf(this.host))
        const key = typeof options?.key === "string" ? options.key : undefined
        const told = this.toldBefore(key)
        const digest = digestOf(read.value)
        if (told !== undefined) {
          if (told.digest !== digest) {
            const which = key === undefined ? `number ${this.updates}` : `"${key}"`
            log(this.host, "warning", `The update ${which} of ${nameOf(this.run)} was told before with another text.`)
          }
          return Effect.void
        }
        if (this.replays) return Effect.void
        return Effect.zipRight(
          this.storing.room,
          Effect.suspend(() => {
            this.host.transact((s) => {
              if (this.run.phase !== "ended") Durable.updateTold(this.durable, this.run, { key, digest })
              update(s, this.run, read)
            })
            return this.storing.stored
          })
        )
      })
  }

  /** The update that this one is, if it was stored. */
  private toldBefore(key: string | undefined): Durable.Told | undefined {
    if (key !== undefined) return this.life.told.find((told) => told.key === key)
    const n = this.updates++
    return this.life.told.filter((told) => told.key === undefined)[n]
  }

  override get handoff() {
    const ask = super.handoff
    return (agent: Agent<never>): Effect.Effect<void, ToolError> =>
      Effect.suspend((): Effect.Effect<void, ToolError> => {
        if (!this.host.agents.some(({ name }) => name === agent.name)) {
          const message =
            `The agent "${agent.name}" cannot be handed to: a durable session finds its agents by name among the ` +
            "option `agents`."
          return Effect.fail(new ToolError({ message }))
        }
        if (this.handoffs++ < this.life.handoffs.length) return Effect.void
        if (this.replays) return this.ends()
        return Effect.zipLeft(ask(agent), this.storing.stored)
      })
  }

  protected override requestHandoff(s: State, handoff: Handoff): boolean {
    if (!Agents.requestHandoff(s, handoff)) return false
    this.life.handoffs.push(handoff.to.name)
    return true
  }
}
