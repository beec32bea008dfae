/**
 * How agents are built, begin, leave, and give back what they had.
 */
import * as Tool from "@effect/ai/Tool"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as FiberRef from "effect/FiberRef"
import * as FiberRefs from "effect/FiberRefs"
import * as Runtime from "effect/Runtime"
import * as Scheduler from "effect/Scheduler"
import * as Scope from "effect/Scope"
import type { Agent, AgentTask } from "../../Agent.js"
import { RunContext } from "../../Tags.js"
import * as Agents from "../machine/agents.js"
import * as Durable from "../machine/durable.js"
import * as Jobs from "../machine/jobs.js"
import type * as State from "../machine/state.js"
import * as Tasks from "../machine/tasks.js"
import { printable } from "../model/errors.js"
import { buildAgent, companion, type Environment, type Restore } from "../scope/build.js"
import type { AgentDefinition } from "../scope/definitions.js"
import { inResult } from "../scope/mistakes.js"
import { fork, inTime, noLonger, quietly } from "./fibers.js"
import { type Host, interrupt } from "./host.js"
import { withService } from "./overlay.js"
import { finishTask } from "./task.js"

/** For whom `onEnter` and `onExit` ask, as long as that counts. */
interface Behalf {
  jobs: ReadonlyArray<State.Job>
  /** who holds the floor for the task whose hook it is */
  readonly holder?: State.Call | undefined
  /** it is `onExit` */
  readonly leaving?: boolean
}

class OnBehalf extends Context.Tag("effect-meantime/internal/OnBehalf")<OnBehalf, Behalf>() {}

const onBehalf = (behalf: Behalf, { context, fiberRefs }: Environment): Environment => ({
  context: withService(context, OnBehalf, behalf),
  fiberRefs
})

/** As long as that counts, a scheduler that lets fibers yield anywhere does not decide how far this one gets. */
const inOneGo = (behalf: Behalf, { context, fiberRefs }: Environment): Environment => {
  const scheduler = FiberRefs.getOrDefault(fiberRefs, FiberRef.currentScheduler)
  return {
    context,
    fiberRefs: FiberRefs.updateAs(fiberRefs, {
      fiberId: FiberId.none,
      fiberRef: FiberRef.currentScheduler,
      value: {
        shouldYield: (fiber) =>
          behalf.jobs.length > 0 ? Scheduler.defaultShouldYield(fiber) : scheduler.shouldYield(fiber),
        scheduleTask: (task, priority) => scheduler.scheduleTask(task, priority)
      }
    })
  }
}

export const jobsIn = (context: { readonly unsafeMap: ReadonlyMap<string, unknown> }): ReadonlyArray<State.Job> =>
  (context.unsafeMap.get(OnBehalf.key) as Behalf | undefined)?.jobs ?? []

/** Whose floor a hook stands on, and whether it belongs to an agent that leaves. */
export const hookIn = (context: {
  readonly unsafeMap: ReadonlyMap<string, unknown>
}): { readonly holder: State.Call | undefined; readonly leaving: boolean } => {
  const behalf = context.unsafeMap.get(OnBehalf.key) as Behalf | undefined
  return { holder: behalf?.holder, leaving: behalf?.leaving === true }
}

export const leave = (host: Host, from: State.Activity, handoff: State.Handoff | undefined): void => {
  const built = from.built
  const { onExit } = built.definition.options
  const left = () =>
    host.transact((s) => (handoff === undefined ? Agents.exitTask(s, from) : Agents.enterAgent(s, handoff)))
  // at once: in which order fibers run does not decide what comes first
  if (onExit === undefined) return left()
  const what = `onExit of ${from.name}`
  const behalf: Behalf = { jobs: handoff?.jobs ?? Jobs.ofRun(from.task?.call), leaving: true }
  fork(host, inTime(host, quietly(onExit, what), what), onBehalf(behalf, built), () => {
    behalf.jobs = []
    left()
  })
}

/** Those who wait for the hand-off wait for what `onEnter` asks for before it first waits; it may go on for ever. */
export const enter = (host: Host, activity: State.Activity, jobs: ReadonlyArray<State.Job>): void => {
  const built = activity.built
  const { onEnter } = built.definition.options
  // before anything that it does
  if (host.state.durable !== undefined) host.transact(Durable.hasEntered)
  const entered = (): void => host.transact((s) => Tasks.entered(s, activity, onEnter !== undefined))
  if (onEnter === undefined) {
    if (activity.task !== undefined) entered()
  } else {
    const holder = activity.task?.call
    const behalf: Behalf = { jobs, holder }
    const place =
      jobs.length > 0
        ? inOneGo(behalf, onBehalf(behalf, built))
        : holder === undefined
          ? built
          : onBehalf(behalf, built)
    const what = `onEnter of ${activity.name}`
    const fiber = fork(host, quietly(onEnter, what), place, activity.task === undefined ? undefined : entered)
    behalf.jobs = []
    built.entering = fiber
    const stop = noLonger(host, Fiber.interrupt(fiber), Effect.logWarning(`${what} does not stop.`))
    Runtime.runFork(host.runtime, Scope.addFinalizer(built.scope, stop))
  }
  if (jobs.length > 0) host.transact((s) => Jobs.close(s, jobs))
}

export const releaseAgent = (host: Host, scope: Scope.CloseableScope): Effect.Effect<void> => {
  const release = Effect.catchAllCause(Scope.close(scope, Exit.void), (cause) =>
    Effect.logError("An agent's resources failed to be released.", printable(cause))
  )
  return Effect.suspend(() => {
    const fiber = Runtime.runFork(host.runtime, release)
    // most have nothing that takes its time: to watch over them costs more than all the rest of closing
    if (fiber.unsafePoll() !== null) return Effect.void
    return noLonger(
      host,
      Effect.onInterrupt(Fiber.await(fiber), () => Fiber.interrupt(fiber)),
      Effect.logError("An agent's resources were not released in time.")
    )
  })
}

/** Closing waits until what it had is released. */
export const closeAgent = (host: Host, activity: State.Activity): void => {
  const fiber = Runtime.runFork(host.runtime, releaseAgent(host, activity.built.scope))
  host.releasing.add(fiber)
  fiber.addObserver(() => host.releasing.delete(fiber))
}

export const stopEntering = (activity: State.Activity): void => interrupt(activity.built.entering)

/**
 * In the session's own place, unless the caller has more to give. Who gives `restore` asks in a region that is not
 * interruptible, and owns what was built.
 */
export const build = (
  host: Host,
  agent: Agent<any>,
  { outer = host.scope, restore }: { readonly outer?: Environment; readonly restore?: Restore } = {}
): Effect.Effect<State.Activity> =>
  Effect.suspend(() =>
    buildAgent({
      id: `agent_${++host.activities}`,
      definition: agent as Agent<any> & AgentDefinition,
      session: host.scope,
      outer,
      task: undefined,
      own: () => [],
      restore
    })
  )

export const buildTask = (
  host: Host,
  task: AgentTask<any, any>,
  {
    asked,
    call,
    outer = host.scope,
    restore,
    resume
  }: {
    readonly call: State.Call
    readonly resume: (result: State.TaskResult) => void
    readonly restore: Restore
    readonly outer?: Environment
    readonly asked?: State.AskedTask
  }
): Effect.Effect<State.Activity> =>
  Effect.suspend(() => {
    const definition = task as AgentTask<any, any> & AgentDefinition
    const wrong = inResult(`task "${definition.name}"`, definition.result)
    if (wrong !== undefined) return Effect.die(wrong)
    const complete = Tool.make("complete", {
      description: "Completes the task with its result. Call it as soon as you have what the task asks for."
      // typed for structs; of what a task ends with it is known that it is encoded as an object
    }).setParameters(definition.result as never)
    return buildAgent({
      id: `agent_${++host.activities}`,
      definition,
      session: host.scope,
      outer,
      task: { call, resume, done: undefined, asked },
      restore,
      own: (place) => [
        companion(
          complete,
          (value) =>
            Effect.flatMap(RunContext, (runContext) =>
              finishTask(runContext, definition.identity, { _tag: "Completed", value })
            ),
          place
        )
      ]
    })
  })

/** It was built, and will not take over. */
export const discard = (activity: State.Activity): Effect.Effect<void> => Scope.close(activity.built.scope, Exit.void)
