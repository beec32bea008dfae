/**
 * The session as programs and handlers see it.
 */
import { type AiError, UnknownError } from "@effect/ai/AiError"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FiberId from "effect/FiberId"
import type { Agent, AgentTask } from "../../Agent.js"
import type { Input, SendOptions, Service } from "../../AgentSession.js"
import type { SpeechHandle } from "../../SpeechHandle.js"
import { InterruptionDisallowed, SessionClosed, ToolError } from "../../Tags.js"
import * as Agents from "../machine/agents.js"
import * as Calls from "../machine/calls.js"
import * as Idle from "../machine/idle.js"
import * as Jobs from "../machine/jobs.js"
import type * as State from "../machine/state.js"
import * as Tasks from "../machine/tasks.js"
import * as Turns from "../machine/turns.js"
import type { AnyContext, Environment, Restore } from "../scope/build.js"
import { isBlank } from "../values/text.js"
import { build, buildTask, discard, hookIn, jobsIn } from "./agents.js"
import { approve, copied, deny, pending, respond } from "./approval.js"
import { built } from "./building.js"
import { callerOf } from "./caller.js"
import { cancelTool, runningTools } from "./cancelling.js"
import { begun, end } from "./closing.js"
import { inputOf } from "./door.js"
import { handleOf } from "./handles.js"
import { doneUnless, type Host, logOf, stillInHistory } from "./host.js"
import { messageTool } from "./messaging.js"
import { runTask } from "./tasks.js"
import { noOptions, turnOptions } from "./turnOptions.js"
import { userTurn } from "./userTurns.js"

/** The same, of a user's turn. */
const userTurnOptions = (options: SendOptions | undefined): Turns.UserTurnOptions => {
  if (options === undefined) return noOptions
  const { author, id, interrupt } = options
  return {
    ...turnOptions(options),
    interrupt,
    author: typeof author === "string" && !isBlank(author) ? author : undefined,
    id: typeof id === "string" ? id : undefined
  }
}

export const makeService = (host: Host): Service => {
  const { state } = host
  const whenOpen = <A, E, R>(effect: () => Effect.Effect<A, E, R>): Effect.Effect<A, E | SessionClosed, R> =>
    Effect.suspend(
      (): Effect.Effect<A, E | SessionClosed, R> =>
        state.phase === "open" ? effect() : Effect.fail(new SessionClosed())
    )
  // in one go with the look at the phase: the session may close between two operations of a fiber
  const speech = <T>(
    turnOf: () => T,
    input: (s: State.State, turn: T, jobs: ReadonlyArray<State.Job>) => State.Speech
  ): Effect.Effect<SpeechHandle, SessionClosed> =>
    Effect.contextWithEffect((context) =>
      whenOpen(() => {
        const turn = turnOf()
        const created = host.transact((s) => input(s, turn, jobsIn(context)))
        return Effect.succeed(handleOf(host, created))
      })
    )
  return {
    send: (given, options) =>
      speech(
        () => ({ input: inputOf(given, host, logOf(host)), turn: userTurnOptions(options) }),
        (s, { input, turn }, jobs) => Turns.send(s, input, turn, jobs)
      ),
    generateReply: (options) => speech(() => turnOptions(options), Turns.generateReply),
    say: (text, options) =>
      speech(
        () => turnOptions(options),
        (s, turn, jobs) => Turns.say(s, text, turn, jobs)
      ),
    run: (given, options) =>
      Effect.flatMap(Effect.zip(Effect.context<never>(), callerOf(host)), ([context, caller]) =>
        Effect.async<State.Job, SessionClosed | AiError>((resume) => {
          if (state.phase !== "open") return resume(Effect.fail(new SessionClosed()))
          const turn = userTurnOptions(options)
          const input = inputOf(given, host, logOf(host))
          const giveUp = options?.onInterrupt === "stop" ? Turns.stop : Jobs.withdraw
          // it may be told before it is known for which job
          let told: ((job: State.Job) => void) | undefined
          const waiter: State.JobWaiter = {
            caller,
            resume: (how) => {
              told = (job) => resume(how === "done" ? resultOf(job) : Effect.fail(errorOf(how, caller)))
              if (job !== undefined) told(job)
            }
          }
          let job: State.Job | undefined
          const made = host.transact((s) => {
            const { id } = turn
            if (id !== undefined) return Turns.runOnce(s, id, input, turn, waiter, jobsIn(context))
            const own = Jobs.make(waiter)
            Turns.run(s, input, turn, own, jobsIn(context))
            return own
          })
          job = made
          told?.(made)
          return Effect.sync(() => host.transact((s) => void giveUp(s, made, waiter)))
        }).pipe(
          Effect.map((job) => ({
            text: job.text,
            items: stillInHistory(host, job.items),
            usage: { ...job.usage },
            approvals: copied(job.approvals)
          }))
        )
      ),
    interrupt: (options) =>
      Effect.suspend(() => {
        const force = options?.force === true
        const left = host.transact((s) => Turns.interruptAll(s, force))
        return left === undefined ? Effect.void : Effect.fail(new InterruptionDisallowed({ speechId: left.id }))
      }),
    handoff: (agent) =>
      Effect.suspend(() => {
        const handsOver = whenOpen(() => handOff(host, agent))
        // at once, if it can be: for whom it is asked counts only until the fiber first waits
        return host.begun ? handsOver : Effect.zipRight(begun(host), handsOver)
      }),
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
    userTurn: (options) => userTurn(host, options),
    runTask: (task, text) =>
      Effect.suspend(() => {
        const runs = whenOpen(() => runTaskFor(host, task, text))
        return host.begun ? runs : Effect.zipRight(begun(host), runs)
      }),
    runningTools: Effect.sync(() => runningTools(host)),
    cancelTool: (callId) => cancelTool(host, callId),
    messageTool: (callId, message) => messageTool(host, callId, "program", message),
    approvals: Effect.sync(() => pending(host)),
    approve: (callId, options) => approve(host, callId, options),
    deny: (callId, options) => deny(host, callId, options),
    respond: (callId, output, options) => respond(host, callId, output, options),
    end: Effect.suspend(() => end(host)),
    release: (callId) => Effect.suspend(() => doneUnless(host.transact((s) => Calls.releaseBy(s, callId))))
  }
}

/** A turn that is asked for again by its id may be the one that waits for this call. */
const errorOf = (how: "closed" | "circular", caller: State.Call | undefined): SessionClosed | AiError =>
  how === "closed"
    ? new SessionClosed()
    : new UnknownError({
        module: "AgentSession",
        method: "run",
        description: `The handler of ${caller?.call.name} waits for a turn that waits for that handler.`
      })

const resultOf = (job: State.Job): Effect.Effect<State.Job, AiError> =>
  job.failure === undefined ? Effect.succeed(job) : Effect.fail(job.failure.error)

/** What the new agent begins with is part of the turn that asked. */
const handOff = <R>(host: Host, agent: Agent<R>): Effect.Effect<void, SessionClosed, R> =>
  Effect.contextWithEffect((caller: Context.Context<R>) =>
    Effect.uninterruptibleMask((restore) => {
      const jobs = jobsIn(caller)
      const outer = outerOf(host, caller)
      host.transact(() => Jobs.open(jobs))
      return Effect.ensuring(
        Effect.flatMap(built(host, build(host, agent, { outer, restore: Effect.interruptible }), restore), (to) =>
          takeOver(host, to, jobs, restore)
        ),
        Effect.sync(() => host.transact((s) => Jobs.close(s, jobs)))
      )
    })
  )

/** Waits until the agent has taken over, behind hand-offs that are under way. */
const takeOver = (
  host: Host,
  to: State.Activity,
  jobs: ReadonlyArray<State.Job>,
  restore: Restore
): Effect.Effect<void, SessionClosed> =>
  Effect.suspend(() => {
    const over = Deferred.unsafeMake<void, SessionClosed>(FiberId.none)
    const end = (result: Effect.Effect<void, SessionClosed>): void => Deferred.unsafeDone(over, result)
    const closed = Effect.fail(new SessionClosed())
    const handoff: State.Handoff = {
      to,
      call: undefined,
      when: "now",
      jobs,
      resume: (done) => end(done ? Effect.void : closed)
    }
    const attempt = (): void => {
      if (!host.transact((s) => Agents.requestHandoffInTurn(s, handoff, attempt))) {
        end(Effect.zipRight(discard(to), closed))
      }
    }
    // before anybody can be interrupted: from here on the machine has it
    attempt()
    return Effect.onInterrupt(restore(Deferred.await(over)), () =>
      Effect.suspend(() =>
        host.transact((s) => Agents.withdrawHandoff(s, handoff, attempt)) ? discard(to) : Effect.void
      )
    )
  })

/** Services of the session win over those of the caller. */
const outerOf = (host: Host, caller: Context.Context<any>): Environment => ({
  context: Context.merge(outsideCalls(caller), host.scope.context),
  fiberRefs: host.scope.fiberRefs
})

/** The handler of a call holds the floor itself, and so does a hook of a task for that; else the program does. */
const runTaskFor = <A, R>(
  host: Host,
  task: AgentTask<A, R>,
  given: Input | undefined
): Effect.Effect<A, SessionClosed | ToolError | AiError, R> =>
  Effect.flatMap(Effect.zip(Effect.context<R>(), callerOf(host)), ([context, caller]) => {
    const { holder, leaving } = hookIn(context)
    if (leaving && host.state.leavingSince !== undefined) {
      return Effect.fail(new ToolError({ message: "An agent that leaves can run no task." }))
    }
    const call = caller ?? holder ?? Tasks.holderFor(host.state, jobsIn(context))
    const outer = outerOf(host, context)
    const input = given === undefined ? undefined : inputOf(given, host, logOf(host))
    const asked: State.AskedTask = {
      text: input?.text,
      files: input?.files,
      said: false,
      pressed: false,
      failure: undefined
    }
    return runTask<A>(host, call, (resume, restore) =>
      built(host, buildTask(host, task, { call, resume, restore: Effect.interruptible, outer, asked }), restore)
    )
  })

/**
 * What a caller has of its own. An agent outlives the call that hands over to it, and what is ours in a context was set
 * for the scope of the caller: duplicates and templates of a toolset hold for its own tools.
 */
const outsideCalls = (caller: AnyContext): AnyContext =>
  Context.unsafeMake(new Map(Array.from(caller.unsafeMap).filter(([key]) => !key.startsWith("effect-meantime/"))))
