/**
 * The `RunContext` of a session: what a handler says becomes an input of the machine.
 */
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberId from "effect/FiberId"
import type { Agent, AgentTask } from "../../Agent.js"
import type { Service as AgentSession } from "../../AgentSession.js"
import type { FillerOptions, UpdateOptions } from "../../RunContext.js"
import type { SpeechHandle } from "../../SpeechHandle.js"
import { SessionClosed, ToolError } from "../../Tags.js"
import * as Agents from "../machine/agents.js"
import * as Calls from "../machine/calls.js"
import * as Fillers from "../machine/fillers.js"
import * as Idle from "../machine/idle.js"
import * as Jobs from "../machine/jobs.js"
import * as Speech from "../machine/speech.js"
import type {
  Activity,
  Call,
  Filler,
  Run,
  Speech as SpeechState,
  State,
  TaskResult,
  Waiters
} from "../machine/state.js"
import { builtOf } from "../scope/build.js"
import { outsideSpans } from "../telemetry/recorder.js"
import { toJson } from "../values/json.js"
import { errorIn, ofFiller } from "../values/options.js"
import type { TaskFinisher } from "./task.js"

/** What a handler's context needs of the session. */
export interface Host {
  readonly state: State
  readonly session: AgentSession
  readonly transact: <A>(input: (s: State) => A) => A
  readonly waitIn: <K extends string>(of: Record<K, Waiters>, list: K, over: () => boolean) => Effect.Effect<void>
  readonly handleOf: (speech: SpeechState) => SpeechHandle
  readonly buildAgent: (agent: Agent<never>) => Effect.Effect<Activity>
  readonly buildTask: (
    task: AgentTask<any, never>,
    call: Call,
    resume: (result: TaskResult) => void
  ) => Effect.Effect<Activity>
  readonly discard: (activity: Activity) => Effect.Effect<void>
}

export class HandlerContext implements TaskFinisher {
  constructor(
    private readonly host: Host,
    readonly run: Run,
    readonly owner: Call
  ) {}

  get call() {
    return this.owner.call
  }

  get session() {
    return this.host.session
  }

  get speech() {
    return this.host.handleOf(this.owner.step.speech)
  }

  get update() {
    return (message: unknown, options?: UpdateOptions): Effect.Effect<void> =>
      Effect.sync(() => this.host.transact((s) => Calls.update(s, this.run, message, options)))
  }

  get progress() {
    return (value: unknown): Effect.Effect<void> =>
      Effect.sync(() => this.host.transact((s) => Calls.progress(s, this.run, toJson(value))))
  }

  get isCancelled(): Effect.Effect<boolean> {
    return Effect.sync(() => this.run.stop !== undefined)
  }

  get cancelled(): Effect.Effect<void> {
    return this.host.waitIn(this.run, "stopWaiters", () => this.run.stop !== undefined)
  }

  get commit() {
    return <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
      Effect.uninterruptible(
        Effect.suspend(() => (this.host.transact((s) => Calls.commit(s, this.run)) ? effect : Effect.interrupt))
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
          return restore(host.buildAgent(agent)).pipe(
            Effect.tapErrorCause(() => Effect.sync(() => host.transact((s) => Agents.unclaimHandoff(s, owner, when)))),
            Effect.catchAllDefect((defect) =>
              Effect.zipRight(
                outsideSpans(Effect.logError(`The agent "${agent.name}" could not be built.`, defect)),
                Effect.fail(new ToolError({ message: `The agent "${agent.name}" is not available.` }))
              )
            ),
            Effect.flatMap((to) =>
              host.transact((s) =>
                Agents.requestHandoff(s, {
                  to,
                  call: owner,
                  when,
                  jobs: Jobs.ofRun(owner),
                  resume: undefined
                })
              )
                ? Effect.void
                : Effect.zipRight(
                    host.discard(to),
                    Effect.fail(new ToolError({ message: "Another hand-off of the conversation came first." }))
                  )
            )
          )
        })
      )
    }
  }

  get foreground() {
    return <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | SessionClosed, R> =>
      Effect.uninterruptibleMask((restore) =>
        Effect.suspend(() => {
          const granted = Deferred.unsafeMake<void, SessionClosed>(FiberId.none)
          const request = this.host.transact((s) =>
            Idle.requestFloor(s, this.owner, (yes) =>
              Deferred.unsafeDone(granted, yes ? Effect.void : Effect.fail(new SessionClosed()))
            )
          )
          // around both: an interruption may come between the grant and the effect
          return Effect.ensuring(
            Effect.zipRight(restore(Deferred.await(granted)), restore(effect)),
            Effect.sync(() => this.host.transact((s) => Idle.leaveFloor(s, request)))
          )
        })
      )
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
    return <A>(task: AgentTask<A, never>): Effect.Effect<A, SessionClosed | ToolError> =>
      this.foreground(
        Effect.uninterruptibleMask((restore) =>
          Effect.suspend(() => {
            const { host } = this
            const ended = Deferred.unsafeMake<TaskResult>(FiberId.none)
            const resume = (result: TaskResult): void => Deferred.unsafeDone(ended, Effect.succeed(result))
            return Effect.flatMap(
              restore(host.buildTask(task, this.owner, resume)),
              (activity): Effect.Effect<A, SessionClosed | ToolError> => {
                if (!host.transact((s) => Agents.startTask(s, activity))) {
                  const error =
                    host.state.phase === "open"
                      ? new ToolError({ message: "The conversation is being handed to another agent." })
                      : new SessionClosed()
                  return Effect.zipRight(host.discard(activity), Effect.fail(error))
                }
                return Deferred.await(ended).pipe(
                  restore,
                  Effect.onInterrupt(() => Effect.sync(() => host.transact((s) => Agents.abandonTask(s, activity)))),
                  Effect.flatMap(valueOf<A>)
                )
              }
            )
          })
        )
      )
  }

  finishTask(identity: object, result: TaskResult): Effect.Effect<void> {
    return Effect.sync(() =>
      this.host.transact((s) => {
        const own = this.owner.step.agent
        const activity =
          builtOf(own).definition.identity === identity
            ? own
            : s.agents.findLast((agent) => builtOf(agent).definition.identity === identity)
        if (activity !== undefined) Agents.finishTask(s, activity, this.owner, result)
      })
    )
  }
}

const valueOf = <A>(result: TaskResult): Effect.Effect<A, SessionClosed | ToolError> => {
  switch (result._tag) {
    case "Completed":
      return Effect.succeed(result.value as A)
    case "Declined":
      return Effect.fail(new ToolError({ message: result.reason }))
    case "SessionClosed":
      return Effect.fail(new SessionClosed())
  }
}
