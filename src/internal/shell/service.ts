/**
 * The session as programs and handlers see it.
 */
import type { AiError } from "@effect/ai/AiError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type { Agent } from "../../Agent.js"
import type { ReplyOptions, Service } from "../../AgentSession.js"
import type { SpeechHandle } from "../../SpeechHandle.js"
import { InterruptionDisallowed, RunContext, SessionClosed } from "../../Tags.js"
import * as Agents from "../machine/agents.js"
import * as Idle from "../machine/idle.js"
import * as Jobs from "../machine/jobs.js"
import type * as State from "../machine/state.js"
import * as Turns from "../machine/turns.js"
import type { AnyContext } from "../scope/build.js"
import { build, discard, jobsIn } from "./agents.js"
import { callerOf } from "./caller.js"
import { cancelTool, runningTools } from "./cancelling.js"
import { closing } from "./closing.js"
import { handleOf } from "./handles.js"
import { type Host, stillInHistory } from "./host.js"

const turnOptions = (options: ReplyOptions | undefined): Turns.TurnOptions => options ?? {}

export const makeService = (host: Host): Service => {
  const { state } = host
  const whenOpen = <A, E, R>(effect: () => Effect.Effect<A, E, R>): Effect.Effect<A, E | SessionClosed, R> =>
    Effect.suspend(
      (): Effect.Effect<A, E | SessionClosed, R> =>
        state.phase === "open" ? effect() : Effect.fail(new SessionClosed())
    )
  // in one go with the look at the phase: the session may close between two operations of a fiber
  const speech = (
    input: (s: State.State, jobs: ReadonlyArray<State.Job>) => State.Speech
  ): Effect.Effect<SpeechHandle, SessionClosed> =>
    Effect.contextWithEffect((context) =>
      whenOpen(() => {
        const created = host.transact((s) => input(s, jobsIn(context)))
        return Effect.succeed(handleOf(host, created))
      })
    )
  return {
    send: (text, options) => speech((s, jobs) => Turns.send(s, text, turnOptions(options), jobs)),
    generateReply: (options) => speech((s, jobs) => Turns.generateReply(s, turnOptions(options), jobs)),
    say: (text, options) => speech((s, jobs) => Turns.say(s, text, turnOptions(options), jobs)),
    run: (text, options) =>
      Effect.contextWithEffect((context) =>
        Effect.async<State.Job, SessionClosed | AiError>((resume) => {
          if (state.phase !== "open") return resume(Effect.fail(new SessionClosed()))
          const job: State.Job = { open: 0, items: [], text: "", failure: undefined, resume: undefined }
          job.resume = (closed) => resume(closed ? Effect.fail(new SessionClosed()) : resultOf(job))
          host.transact((s) => Turns.run(s, text, turnOptions(options), job, jobsIn(context)))
          const giveUp = options?.onInterrupt === "stop" ? Turns.stop : Jobs.withdraw
          return Effect.sync(() => host.transact((s) => giveUp(s, job)))
        }).pipe(Effect.map((job) => ({ text: job.text, items: stillInHistory(host, job.items) })))
      ),
    interrupt: (options) =>
      Effect.suspend(() => {
        const left = host.transact((s) => Turns.interruptAll(s, options?.force === true))
        return left === undefined ? Effect.void : Effect.fail(new InterruptionDisallowed({ speechId: left.id }))
      }),
    handoff: (agent) => whenOpen(() => handOff(host, agent)),
    currentAgent: Effect.sync(() => ({ name: (state.agents[state.agents.length - 1] as State.Activity).name })),
    history: Effect.sync(() => ({ items: state.history.slice() })),
    events: host.hub.stream,
    waitForIdle: whenOpen(() =>
      Effect.flatMap(callerOf(host), (caller) =>
        Effect.async<void, SessionClosed>((resume) => {
          const waiter = host.transact((s) =>
            Idle.addWaiter(s, {
              caller,
              resume: (idle) => resume(idle ? Effect.void : Effect.fail(new SessionClosed()))
            })
          )
          return Effect.sync(() => host.transact((s) => Idle.removeWaiter(s, waiter)))
        })
      )
    ),
    claimUserTurn: Effect.asVoid(
      Effect.acquireRelease(
        Effect.sync(() => host.transact(Idle.claimUserTurn)),
        () => Effect.sync(() => host.transact(Idle.releaseUserTurn))
      )
    ),
    runningTools: Effect.sync(() => runningTools(host)),
    cancelTool: (callId) => cancelTool(host, callId)
  }
}

const resultOf = (job: State.Job): Effect.Effect<State.Job, AiError> =>
  job.failure === undefined ? Effect.succeed(job) : Effect.fail(job.failure.error)

/** What the new agent begins with is part of the turn that asked. */
const handOff = <R>(host: Host, agent: Agent<R>): Effect.Effect<void, SessionClosed, R> =>
  Effect.contextWithEffect((caller: Context.Context<R>) =>
    Effect.uninterruptibleMask((restore) => {
      const jobs = jobsIn(caller)
      const building = build(host, agent, {
        context: Context.merge(outsideCalls(caller), host.scope.context),
        fiberRefs: host.scope.fiberRefs
      })
      // a layer may take for ever: who asked is told when the session closes
      const built = Effect.raceFirst(
        Effect.disconnect(building),
        Effect.zipRight(closing(host), Effect.fail(new SessionClosed()))
      )
      host.transact(() => Jobs.open(jobs))
      return Effect.ensuring(
        Effect.flatMap(restore(built), (to) => restore(takeOver(host, to, jobs))),
        Effect.sync(() => host.transact((s) => Jobs.close(s, jobs)))
      )
    })
  )

/** Waits until the agent has taken over, behind hand-offs that are under way. */
const takeOver = (host: Host, to: State.Activity, jobs: ReadonlyArray<State.Job>): Effect.Effect<void, SessionClosed> =>
  Effect.async<void, SessionClosed>((resume) => {
    const handoff: State.Handoff = {
      to,
      call: undefined,
      when: "now",
      jobs,
      resume: (done) => resume(done ? Effect.void : Effect.fail(new SessionClosed()))
    }
    const attempt = (): void => {
      if (host.transact((s) => Agents.requestHandoffInTurn(s, handoff, attempt))) return
      resume(Effect.zipRight(discard(to), Effect.fail(new SessionClosed())))
    }
    attempt()
    return Effect.suspend(() =>
      host.transact((s) => Agents.withdrawHandoff(s, handoff, attempt)) ? discard(to) : Effect.void
    )
  })

/** What a handler has beside its call: an agent that it hands over to outlives that. */
const outsideCalls = Context.omit(RunContext) as (context: Context.Context<any>) => AnyContext
