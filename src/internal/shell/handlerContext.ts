/**
 * The `RunContext` of a session: what a handler says becomes an input of the machine.
 */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Stream from "effect/Stream"
import type { Agent, AgentTask } from "../../Agent.js"
import type { CommitOptions, FillerOptions, StepOptions, UpdateOptions } from "../../RunContext.js"
import { type SessionClosed, ToolError } from "../../Tags.js"
import * as Agents from "../machine/agents.js"
import * as Calls from "../machine/calls.js"
import { idOf } from "../machine/durable.js"
import * as Fillers from "../machine/fillers.js"
import * as Jobs from "../machine/jobs.js"
import * as Speech from "../machine/speech.js"
import type { Filler, Handoff, Outcome, State, TaskResult } from "../machine/state.js"
import * as Updates from "../machine/updates.js"
import { nameOf } from "../machine/updates.js"
import { printable } from "../model/errors.js"
import { outsideSpans } from "../telemetry/recorder.js"
import { unwrap } from "../values/files.js"
import { toJson } from "../values/json.js"
import { errorIn, ofFiller } from "../values/options.js"
import { build, buildTask, discard } from "./agents.js"
import { Caller } from "./caller.js"
import { messageOf, outcomeOf, shown } from "./door.js"
import { handleOf } from "./handles.js"
import { logOf, waitIn } from "./host.js"
import { keyOfSession } from "./keys.js"
import { messagesTo } from "./messaging.js"
import type { TaskFinisher } from "./task.js"
import { inForeground, runTask } from "./tasks.js"
import { stepOf, type Undo, undoAll, undoOf } from "./undoing.js"

export class HandlerContext extends Caller implements TaskFinisher {
  /** what takes back the steps that it has done, in their order (rule Q12) */
  protected undos: Array<Effect.Effect<unknown>> | undefined = undefined

  /** What is to be done of its steps once it has ended like this; none: nothing. */
  undoing(exit: Exit.Exit<Outcome, unknown>): Effect.Effect<void> | undefined {
    const { undos } = this
    if (undos === undefined || (Exit.isSuccess(exit) && exit.value._tag !== "Failure")) return undefined
    return undoAll(undos, nameOf(this.run))
  }

  /** How it has ended. */
  outcome(exit: Exit.Exit<Outcome, unknown>): Outcome {
    return outcomeOf(this.run, exit, this.host, logOf(this.host))
  }

  /** Of a step that is done. */
  protected register<A>(value: A, undo: Undo<A> | undefined): Effect.Effect<void, never, any> {
    if (undo === undefined) return Effect.void
    return Effect.map(undoOf(value, undo), (made) => this.add(made))
  }

  private add(undo: Effect.Effect<void>): void {
    this.undos ??= []
    this.undos.push(undo)
  }

  get step() {
    return <A, E, R, R2 = never>(
      _name: string,
      effect: Effect.Effect<A, E, R>,
      options?: StepOptions<A, R2>
    ): Effect.Effect<A, E, R | R2> => stepOf(effect, options, (undo) => this.add(undo))
  }

  get sleep() {
    return (_name: string, duration: Duration.DurationInput): Effect.Effect<void> => Effect.sleep(duration)
  }

  get idempotencyKey(): Effect.Effect<string> {
    return Effect.map(keyOfSession(this.host), (key) => `${key}/${idOf(this.run)}`)
  }

  get attempt(): Effect.Effect<number> {
    return Effect.succeed(1)
  }

  /** A copy at each look: a handler may change what it is given. */
  get call() {
    return shown(this.owner)
  }

  get session() {
    return this.host.session
  }

  get speech() {
    return handleOf(this.host, this.owner.step.speech)
  }

  get update() {
    return (message: unknown, options?: UpdateOptions): Effect.Effect<void> =>
      Effect.sync(() => {
        const read = messageOf(this.run, message, options, this.host, logOf(this.host))
        this.host.transact((s) => Updates.update(s, this.run, read))
      })
  }

  get progress() {
    return (value: unknown): Effect.Effect<void> =>
      Effect.sync(() => {
        const json = toJson(unwrap(value).value)
        this.host.transact((s) => Updates.progress(s, this.run, json))
      })
  }

  get release(): Effect.Effect<void> {
    return Effect.sync(() => this.host.transact((s) => Updates.releaseRun(s, this.run)))
  }

  get messages(): Stream.Stream<unknown> {
    return messagesTo(this.host, this.run)
  }

  get isCancelled(): Effect.Effect<boolean> {
    return Effect.sync(() => this.run.stop !== undefined)
  }

  get cancelled(): Effect.Effect<void> {
    return waitIn(this.host, this.run, "stopWaiters", () => this.run.stop !== undefined)
  }

  get commit() {
    return <A, E, R>(effect: Effect.Effect<A, E, R>, _options?: CommitOptions<A>): Effect.Effect<A, E, R> =>
      Effect.uninterruptible(
        Effect.suspend(() => {
          if (!this.host.transact((s) => Calls.commit(s, this.run))) return Effect.interrupt
          return Effect.map(effect, (value) => {
            this.undos = undefined
            return value
          })
        })
      )
  }

  get waitForPlayout(): Effect.Effect<void> {
    return Effect.async<void>((resume) => {
      this.host.transact((s) => Speech.waitForPlayout(s, this.owner, () => resume(Effect.void)))
    })
  }

  get disallowInterruptions(): Effect.Effect<void> {
    return Effect.sync(() => this.host.transact((s) => Speech.setAllowInterruptions(s, this.owner.step.speech, false)))
  }

  get handoff() {
    return (agent: Agent<never>): Effect.Effect<void, ToolError> => {
      const { host, owner } = this
      return Effect.uninterruptibleMask((restore) =>
        Effect.suspend((): Effect.Effect<void, ToolError> => {
          const when = host.transact((s) => Agents.claimHandoff(s, owner))
          if (when === undefined) {
            return Effect.fail(
              new ToolError({ message: "The conversation is already being handed to another agent, or has ended." })
            )
          }
          return build(host, agent, { restore }).pipe(
            Effect.tapErrorCause(() => Effect.sync(() => host.transact((s) => Agents.unclaimHandoff(s, owner, when)))),
            Effect.catchAllCause((cause) =>
              Cause.isInterruptedOnly(cause)
                ? Effect.failCause(cause)
                : Effect.zipRight(
                    outsideSpans(
                      Effect.logError(`The agent "${agent.name}" could not be built.`, printable(Cause.squash(cause)))
                    ),
                    Effect.fail(new ToolError({ message: `The agent "${agent.name}" is not available.` }))
                  )
            ),
            Effect.flatMap((to) =>
              host.transact((s) =>
                this.requestHandoff(s, {
                  to,
                  call: owner,
                  when,
                  jobs: Jobs.ofRun(owner),
                  resume: undefined
                })
              )
                ? Effect.void
                : Effect.zipRight(
                    discard(to),
                    Effect.fail(new ToolError({ message: "Another hand-off of the conversation came first." }))
                  )
            )
          )
        })
      )
    }
  }

  protected requestHandoff(s: State, handoff: Handoff): boolean {
    return Agents.requestHandoff(s, handoff)
  }

  get foreground() {
    return <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | SessionClosed, R> =>
      inForeground(this.host, this.owner, effect)
  }

  get withFiller() {
    return <A, E, R>(effect: Effect.Effect<A, E, R>, options: FillerOptions): Effect.Effect<A, E, R> =>
      Effect.suspend(() => {
        const odd = errorIn("RunContext.withFiller", options, ofFiller)
        if (odd !== undefined) return Effect.die(odd)
        const { say } = options
        const filler: Filler = {
          call: this.owner,
          delay: Duration.toMillis(options.delay ?? 0),
          interval: options.interval === undefined ? undefined : Duration.toMillis(options.interval),
          maxSteps: options.maxSteps ?? (options.interval === undefined ? 1 : Number.POSITIVE_INFINITY),
          say: typeof say === "string" ? () => say : say,
          step: 0,
          timer: undefined,
          speech: undefined,
          due: false,
          ended: false
        }
        return Effect.acquireUseRelease(
          Effect.sync(() => this.host.transact((s) => Fillers.start(s, filler))),
          () => effect,
          () => Effect.sync(() => this.host.transact((s) => Fillers.end(s, filler)))
        )
      })
  }

  get runTask() {
    return <A>(task: AgentTask<A, never>): Effect.Effect<A, SessionClosed | ToolError> => {
      const { host, owner } = this
      // only a task that a program runs fails with what a model failed with
      return runTask<A>(host, owner, (resume, restore) =>
        buildTask(host, task, { call: owner, resume, restore })
      ) as Effect.Effect<A, SessionClosed | ToolError>
    }
  }

  finishTask(identity: object, result: TaskResult): Effect.Effect<void> {
    return Effect.sync(() =>
      this.host.transact((s) => {
        const own = this.owner.step.agent
        const activity =
          own.built.definition.identity === identity
            ? own
            : s.agents.findLast((agent) => agent.built.definition.identity === identity)
        if (activity !== undefined) Agents.finishTask(s, activity, this.owner, result)
      })
    )
  }
}
