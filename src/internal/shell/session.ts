/**
 * The shell of the machine: it gives it inputs with the time of Effect's `Clock`, publishes its events and carries out
 * its commands, each of which starts a fiber, interrupts one, or calls a function. Nothing waits in here.
 */
import * as Tool from "@effect/ai/Tool"
import * as Cause from "effect/Cause"
import * as Chunk from "effect/Chunk"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as FiberRef from "effect/FiberRef"
import * as FiberRefs from "effect/FiberRefs"
import * as Option from "effect/Option"
import * as Runtime from "effect/Runtime"
import * as RuntimeFlags from "effect/RuntimeFlags"
import * as Scheduler from "effect/Scheduler"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Agent } from "../../Agent.js"
import type { Options, ReplyOptions, Service } from "../../AgentSession.js"
import type { Entry } from "../../AsyncToolset.js"
import type { ChatItem } from "../../ChatContext.js"
import type { SpeechHandle } from "../../SpeechHandle.js"
import {
  AgentSession,
  AlreadyInterrupted,
  CircularWait,
  InterruptionDisallowed,
  RunContext,
  SessionClosed,
  ToolError
} from "../../Tags.js"
import * as Agents from "../machine/agents.js"
import * as Calls from "../machine/calls.js"
import * as Closing from "../machine/closing.js"
import * as Fillers from "../machine/fillers.js"
import * as History from "../machine/history.js"
import * as Idle from "../machine/idle.js"
import * as Parts from "../machine/incoming.js"
import * as Jobs from "../machine/jobs.js"
import * as Machine from "../machine/pump.js"
import * as Speech from "../machine/speech.js"
import type * as State from "../machine/state.js"
import { addWaiter, make as makeState, removeWaiter } from "../machine/state.js"
import * as PromptBuilder from "../model/prompt.js"
import {
  type AnyContext,
  type Built,
  buildAgent,
  buildSession,
  builtOf,
  companion,
  type Environment,
  millisOf,
  type SessionScope,
  withoutContext
} from "../scope/build.js"
import type { AgentDefinition } from "../scope/definitions.js"
import { type BoundTool, errorTypeOf, RefusedResult, toDecode, unexpected } from "../scope/tool.js"
import * as Telemetry from "../telemetry/recorder.js"
import { canonical } from "../values/json.js"
import { check, ofSession } from "../values/options.js"
import * as Events from "./events.js"
import { HandlerContext, type Host } from "./handlerContext.js"
import { withService } from "./overlay.js"
import { finishTask } from "./task.js"

type Fork = <A, E>(
  effect: Effect.Effect<A, E, any>,
  place: Environment,
  onExit?: (exit: Exit.Exit<A, E>) => void,
  runtimeFlags?: RuntimeFlags.RuntimeFlags
) => Fiber.RuntimeFiber<A, E>

/** For whom `onEnter` and `onExit` ask, as long as that counts. */
interface Behalf {
  jobs: ReadonlyArray<State.Job>
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

const jobsIn = (context: { readonly unsafeMap: ReadonlyMap<string, unknown> }): ReadonlyArray<State.Job> =>
  (context.unsafeMap.get(OnBehalf.key) as Behalf | undefined)?.jobs ?? []

const interrupt = (fiber: unknown): void =>
  (fiber as Fiber.RuntimeFiber<unknown, unknown> | undefined)?.unsafeInterruptAsFork(FiberId.none)

const cancelTask = Tool.make(Calls.cancelTaskName, {
  description: "Cancels a task that is running in the background.",
  parameters: {
    call_id: Schema.String.annotations({ description: "The call id of the task, as get_running_tasks shows it." })
  },
  success: Schema.String,
  failure: ToolError
})

const getRunningTasks = Tool.make(Calls.getRunningTasksName, {
  description: "Lists the tasks that are running and can be cancelled.",
  success: Schema.Unknown
})

/** One session at work. */
class Shell implements Host {
  readonly state: State.State
  readonly hub: Events.Hub
  session!: Service
  scope!: SessionScope
  telemetry!: Telemetry.Recorder
  private readonly fibers = new Set<Fiber.RuntimeFiber<any, any>>()
  /** these release what an agent had: closing waits for them, and cuts none of them */
  private readonly releasing = new Set<Fiber.RuntimeFiber<void>>()
  private readonly handles = new WeakMap<State.Speech, SpeechHandle>()
  private draining = false
  private player: Fiber.RuntimeFiber<unknown, unknown> | undefined
  private drained: (() => void) | undefined
  private activities = 0
  private readonly runFork: <A, E>(effect: Effect.Effect<A, E, any>) => Fiber.RuntimeFiber<A, E>

  constructor(
    readonly runtime: Runtime.Runtime<any>,
    readonly now: () => number,
    options: State.Options,
    eventBuffer: number
  ) {
    this.state = makeState(options)
    this.hub = Events.make(eventBuffer)
    this.runFork = Runtime.runFork(runtime)
  }

  // ------------------------------------------------------------------------------------------------ inputs, outputs

  /** One input of the machine: state first, then what has become possible, then events and commands. */
  readonly transact = <A>(input: (s: State.State) => A): A => {
    const s = this.state
    s.now = this.now()
    const result = input(s)
    Machine.pump(s)
    this.drain()
    return result
  }

  /** Waits in a list of the machine until it tells all who do, unless that is over; who waits no longer leaves it. */
  readonly waitIn: Host["waitIn"] = (of, list, over) =>
    Effect.async<void>((resume) => {
      // looked at in here: a fiber may yield between two operations
      if (over()) return resume(Effect.void)
      const waiter = () => resume(Effect.void)
      this.transact(() => addWaiter(of, list, waiter))
      return Effect.sync(() => this.transact(() => removeWaiter(of, list, waiter)))
    })

  /** Carries out what the machine asks for. An input that comes meanwhile is taken at once; its commands queue. */
  private drain(): void {
    const s = this.state
    if (this.draining) return
    this.draining = true
    try {
      while (s.events.length > 0 || s.commands.length > 0 || s.observations.length > 0) {
        const observations = s.observations
        s.observations = []
        for (const observation of observations) this.telemetry.observe(observation)
        const events = s.events
        s.events = []
        for (const event of events) this.hub.publish(event)
        const commands = s.commands
        s.commands = []
        for (const command of commands) {
          try {
            this.carryOut(command)
          } catch (cause) {
            // the commands behind it are about other things
            this.log("error", `The command ${command._tag} failed.`, cause)
          }
        }
      }
    } finally {
      this.draining = false
    }
  }

  private start<A, E>(
    effect: Effect.Effect<A, E, any>,
    { context, fiberRefs }: Environment,
    runtimeFlags = this.runtime.runtimeFlags
  ): Fiber.RuntimeFiber<A, E> {
    return Runtime.runFork(Runtime.make({ context, fiberRefs, runtimeFlags }), effect)
  }

  readonly fork: Fork = (effect, place, onExit, runtimeFlags) => {
    const fiber = this.start(effect, place, runtimeFlags)
    this.fibers.add(fiber)
    fiber.addObserver((exit) => {
      this.fibers.delete(fiber)
      onExit?.(exit)
    })
    return fiber
  }

  private carryOut(command: State.Command): void {
    switch (command._tag) {
      case "Wake":
        return command.resume()
      case "StartRun":
        return this.startRun(command.run)
      case "InterruptRun":
        return interrupt(command.run.fiber)
      case "AskModel":
        return this.askModel(command.step)
      case "ReadText":
        return this.readText(command.step)
      case "StopReading":
        return interrupt(command.step.fiber)
      case "Play":
        return this.play(command.entry)
      case "StopPlaying":
        return interrupt(command.entry.fiber)
      case "StartTimer": {
        const { timer } = command
        if (timer.cancelled) return
        timer.fiber = this.fork(Effect.sleep(timer.millis), this.runtime, (exit) => {
          if (Exit.isSuccess(exit)) this.transact((s) => Machine.timerFired(s, timer))
        })
        return
      }
      case "StopTimer":
        return interrupt(command.timer.fiber)
      case "Decode":
        return this.decode(command.call, command.tool, command.confirmed)
      case "AskPolicy":
        return this.askPolicy(command.admission)
      case "StopPolicy":
        return interrupt(command.admission.fiber)
      case "SayFiller":
        return this.sayFiller(command.filler)
      case "LeaveAgent":
        return this.leave(command.from, command.handoff)
      case "EnterAgent":
        return this.enter(command.activity, command.jobs)
      case "StopEntering":
        return interrupt(builtOf(command.activity).entering)
      case "CloseAgent": {
        const fiber = this.runFork(this.releaseAgent(builtOf(command.activity).scope))
        this.releasing.add(fiber)
        fiber.addObserver(() => this.releasing.delete(fiber))
        return
      }
      case "Log":
        return this.log(command.level, command.message, command.cause)
      case "Drained": {
        const resume = this.drained
        this.drained = undefined
        resume?.()
      }
    }
  }

  private sayFiller(filler: State.Filler): void {
    let text: string | undefined
    try {
      text = filler.say(filler.step)
    } catch (cause) {
      this.log("error", "The text of a filler failed.", cause)
    }
    this.transact((s) => Fillers.say(s, filler, text))
  }

  private leave(from: State.Activity, handoff: State.Handoff | undefined): void {
    const built = builtOf(from)
    const { onExit } = built.definition.options
    const left = () =>
      this.transact((s) => (handoff === undefined ? Agents.exitTask(s, from) : Agents.enterAgent(s, handoff)))
    // at once: in which order fibers run does not decide what comes first
    if (onExit === undefined) return left()
    const what = `onExit of ${from.name}`
    const behalf: Behalf = { jobs: handoff?.jobs ?? Jobs.ofRun(from.task?.call) }
    this.fork(this.inTime(this.quietly(onExit, what), what), onBehalf(behalf, built), () => {
      behalf.jobs = []
      left()
    })
  }

  /** Those who wait for the hand-off wait for what `onEnter` asks for before it first waits; it may go on for ever. */
  private enter(activity: State.Activity, jobs: ReadonlyArray<State.Job>): void {
    const built = builtOf(activity)
    const { onEnter } = built.definition.options
    if (onEnter !== undefined) {
      const behalf: Behalf = { jobs }
      const place = jobs.length === 0 ? built : inOneGo(behalf, onBehalf(behalf, built))
      const what = `onEnter of ${activity.name}`
      const fiber = this.fork(this.quietly(onEnter, what), place)
      behalf.jobs = []
      built.entering = fiber
      const stop = this.noLonger(Fiber.interrupt(fiber), Effect.logWarning(`${what} does not stop.`))
      this.runFork(Scope.addFinalizer(built.scope, stop))
    }
    if (jobs.length > 0) this.transact((s) => Jobs.close(s, jobs))
  }

  private releaseAgent(scope: Scope.CloseableScope): Effect.Effect<void> {
    const release = Effect.catchAllCause(Scope.close(scope, Exit.void), (cause) =>
      Effect.logError("An agent's resources failed to be released.", cause)
    )
    return Effect.suspend(() => {
      const fiber = this.runFork(release)
      // most have nothing that takes its time: to watch over them costs more than all the rest of closing
      if (fiber.unsafePoll() !== null) return Effect.void
      return this.noLonger(
        Effect.onInterrupt(Fiber.await(fiber), () => Fiber.interrupt(fiber)),
        Effect.logError("An agent's resources were not released in time.")
      )
    })
  }

  log(level: "warning" | "error", message: string, cause?: unknown): void {
    const args = cause === undefined ? [message] : [message, cause]
    this.runFork(level === "warning" ? Effect.logWarning(...args) : Effect.logError(...args))
  }

  /** The conversation does not wait for ever: what takes longer than closing would is interrupted, with a warning. */
  private inTime(effect: Effect.Effect<void, never, any>, what: string): Effect.Effect<void, never, any> {
    return this.noLonger(effect, Effect.logWarning(`${what} was interrupted: it did not end in time.`))
  }

  /** Waits for what may never end, in finalizers too, but no longer than closing waits for a call. */
  private noLonger<R>(
    effect: Effect.Effect<unknown, never, R>,
    otherwise: Effect.Effect<void>
  ): Effect.Effect<void, never, R> {
    const limit = Closing.lastWait(this.state.options)
    if (!Number.isFinite(limit)) return Effect.asVoid(effect)
    // interruptible as a whole: in a finalizer `disconnect` alone would wait all the same
    return Effect.flatMap(Effect.timeoutOption(Effect.interruptible(Effect.disconnect(effect)), limit), (done) =>
      Option.isSome(done) ? Effect.void : Telemetry.outsideSpans(otherwise)
    )
  }

  /** onEnter and onExit do not fail the session. */
  private quietly(effect: Effect.Effect<unknown, SessionClosed, any>, what: string): Effect.Effect<void, never, any> {
    return Effect.catchAllCause(Effect.asVoid(effect), (cause) =>
      Cause.isInterruptedOnly(cause) || Option.isSome(Cause.failureOption(cause))
        ? Effect.void
        : Telemetry.outsideSpans(Effect.logError(`${what} failed.`, cause))
    )
  }

  // ------------------------------------------------------------------------------------------------------- the calls

  private startRun(run: State.Run): void {
    const { stop, tool } = run
    // stopped before it began: nothing of it runs
    if (stop !== undefined) return this.transact((s) => Machine.runEnded(s, run, { _tag: "Interrupted", reason: stop }))
    const owner = run.calls[0] as State.Call
    const context = withService(tool.context, RunContext, new HandlerContext(this, run, owner))
    const place = this.telemetry.inCall(owner, { context, fiberRefs: tool.fiberRefs })
    // the machine's `runs` own it: closing waits for them, or gives them up
    const fiber = this.start(tool.work, place)
    run.fiber = fiber
    fiber.addObserver((exit) => {
      const outcome = this.outcomeOf(run, exit)
      this.transact((s) => Machine.runEnded(s, run, outcome))
    })
    // asked to stop while it started
    if (run.stop !== undefined) interrupt(fiber)
  }

  private outcomeOf(run: State.Run, exit: Exit.Exit<State.Outcome, RefusedResult>): State.Outcome {
    const named = (what: string): string => `${Calls.nameOf(run)} ${what}`
    if (Exit.isSuccess(exit)) {
      if (exit.value._tag === "Failure" && run.tool.kind === "user") {
        const { output } = exit.value
        this.log("warning", named(`failed: ${typeof output === "string" ? output : JSON.stringify(output)}`))
      }
      return exit.value
    }
    const { cause } = exit
    const interrupted = Cause.isInterruptedOnly(cause)
    if (run.stop !== undefined || interrupted) {
      if (!interrupted) this.log("error", named("failed while it was being stopped."), cause)
      return { _tag: "Interrupted", reason: run.stop ?? "cancelled" }
    }
    const refused = [...Cause.failures(cause), ...Cause.defects(cause)].find((e) => e instanceof RefusedResult)
    if (refused !== undefined) {
      this.log("error", named(`returned what its own schema refuses: ${(refused as RefusedResult).detail}`))
    } else {
      this.log("error", named("failed unexpectedly."), cause)
    }
    return defect(run.tool.name, cause)
  }

  private decode(call: State.Call, tool: BoundTool, confirmed: boolean): void {
    const decode = Effect.gen(function* () {
      const params = yield* Effect.either(
        tool.codec.decode(toDecode(tool, call.call.arguments as Record<string, unknown>))
      )
      if (!Calls.needsKey(tool) || Either.isLeft(params)) return { params, key: undefined }
      // what cannot be encoded is compared as it was sent
      const encoded = yield* Effect.exit(tool.codec.encodeParams(params.right))
      return { params, key: Exit.isSuccess(encoded) ? canonical(encoded.value) : undefined }
    })
    const run = call.run as State.Run
    run.fiber = this.fork(decode, tool, (exit) => {
      if (Exit.isSuccess(exit)) {
        const { key, params } = exit.value
        this.transact((s) => Calls.decodedArguments(s, call, confirmed, params, key))
        return
      }
      if (!Cause.isInterruptedOnly(exit.cause)) this.log("error", `${tool.name} failed unexpectedly.`, exit.cause)
      this.transact((s) => Machine.runEnded(s, run, defect(tool.name, exit.cause)))
    })
  }

  private askPolicy(admission: State.Admission): void {
    const { policy } = admission.run.tool
    if (policy._tag !== "Custom" || admission.run.phase !== "admitting") return
    const running = Calls.callsOf(admission.asked)
    const decide = Effect.suspend(() => policy.policy.decide(admission.call.call, running))
    const place = this.telemetry.inCall(admission.call, admission.run.tool)
    admission.fiber = this.fork(decide, place, (exit) => {
      if (Exit.isSuccess(exit)) return this.transact((s) => Calls.policyDecided(s, admission, exit.value))
      if (!Cause.isInterruptedOnly(exit.cause)) {
        this.log("error", `The duplicate policy of ${admission.run.tool.name} failed.`, exit.cause)
      }
      this.transact((s) => Calls.policyFailed(s, admission))
    })
  }

  // ------------------------------------------------------------------------------------------------------ the speech

  private askModel(step: State.Step): void {
    if (step.closed) return
    const { agent } = step
    const built = builtOf(agent)
    const { model, provider, toolkit } = built
    const toolChoice = step.toolChoice === "none" && provider.dropsToolsAtNone ? "auto" : step.toolChoice
    const onParts = (parts: ReadonlyArray<State.Part>): void =>
      this.transact((s) => {
        for (const part of parts) Parts.part(s, step, part)
      })
    const ask = Effect.suspend(() => {
      const request = { prompt: this.prompt(step), toolkit, toolChoice }
      return model.run !== undefined
        ? model.run(request, onParts)
        : Stream.runForEachChunk(model.stream(request), (parts) =>
            Effect.sync(() => onParts(Chunk.toReadonlyArray(parts)))
          )
    })
    step.fiber = this.fork(ask, this.telemetry.inStep(step, built), (exit) => {
      if (Exit.isFailure(exit) && !step.closed && isDefect(exit.cause)) {
        this.log("error", "The model failed unexpectedly.", exit.cause)
      }
      this.transact((s) => Parts.modelEnded(s, step, exit))
    })
    if (step.closed) interrupt(step.fiber)
  }

  private prompt(step: State.Step) {
    const s = this.state
    const { agent } = step
    const built = builtOf(agent)
    const all = agent.since === 0 ? s.history : [...this.stillInHistory(agent.carried), ...s.history.slice(agent.since)]
    const whole = built.view === PromptBuilder.viewAll
    if (built.cache.removals !== s.historyRemovals) {
      built.cache = { ...PromptBuilder.makeCache(), removals: s.historyRemovals }
    }
    const prompt = PromptBuilder.build({
      items: whole ? all : built.view({ items: this.copyFor(built, all) }).items,
      all: whole ? undefined : all,
      cache: whole ? built.cache : undefined,
      instructions: agent.instructions,
      note: step.note,
      request: true,
      provider: built.provider,
      placeholder: (callId) => this.placeholder(callId)
    })
    this.telemetry.asked(step, prompt)
    return prompt
  }

  /**
   * What a view is given: a copy, so that one that changes it all the same does no harm to the history. It grows with the
   * conversation instead of being made for each step, as long as it is what it was.
   */
  private copyFor(built: Built, all: ReadonlyArray<ChatItem>): ReadonlyArray<ChatItem> {
    const { copy } = built
    const { items } = copy
    const last = copy.length - 1
    if (
      copy.removals !== this.state.historyRemovals ||
      items.length !== copy.length ||
      items[0] !== all[0] ||
      items[last] !== all[last]
    ) {
      items.length = 0
      copy.removals = this.state.historyRemovals
    }
    for (let i = items.length; i < all.length; i++) items.push(all[i] as ChatItem)
    copy.length = items.length
    return items
  }

  /** A call without output in the history: it still runs, or its output is held for an earlier one (rule M1). */
  private placeholder(callId: string) {
    const call = this.state.unrecorded.get(callId)
    return call === undefined
      ? undefined
      : (call.output ?? { value: Calls.inProgress(this.state, call), isError: false })
  }

  private readText(step: State.Step): void {
    if (step.closed) return
    const read = Effect.suspend(() =>
      Stream.runForEach(step.speech.text as Stream.Stream<string>, (part) =>
        Effect.sync(() => this.transact((s) => Parts.textRead(s, step, part)))
      )
    )
    step.fiber = this.fork(read, builtOf(step.agent), (exit) => {
      if (Exit.isFailure(exit) && !step.closed) this.log("error", "The text to say failed.", exit.cause)
      this.transact((s) => Parts.streamEnded(s, step))
    })
    if (step.closed) interrupt(step.fiber)
  }

  /** One player at a time: the next begins when the last has stopped. */
  private play(entry: State.TextEntry): void {
    if (entry.step.closed) return
    const before = this.player
    const built = builtOf(entry.step.agent)
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
    const played = (piece: string) => Effect.sync(() => this.transact((s) => Parts.played(s, entry, piece)))
    const play = Effect.suspend(() => built.output.play(Stream.repeatEffectChunkOption(pull), played))
    let over = false
    const waits = before !== undefined
    // cut while it waits, it still waits: who comes behind it must not begin before the first one has stopped
    const start = waits ? Effect.zipRight(this.stopped(before), Effect.interruptible(play)) : play
    const place = this.telemetry.inTurn(entry.step.speech, built)
    const onExit = (exit: Exit.Exit<void>): void => {
      // it may have ended before it is known which fiber it was
      over = true
      if (this.player === entry.fiber) this.player = undefined
      const failed = Exit.isFailure(exit)
      if (failed && !entry.step.closed) this.log("error", "The output failed while it played.", exit.cause)
      this.transact((s) => Parts.playEnded(s, entry, failed))
    }
    const fiber = waits
      ? this.fork(start, place, onExit, RuntimeFlags.disable(this.runtime.runtimeFlags, RuntimeFlags.Interruption))
      : this.fork(start, place, onExit)
    entry.fiber = fiber
    if (!over) this.player = fiber
    if (entry.step.closed) interrupt(fiber)
  }

  /**
   * A player that does not let itself be interrupted must not silence the rest of the conversation. Who waits here has no
   * fiber below it: an interruption reaches those, where it does not reach the fiber itself.
   */
  private stopped(player: Fiber.RuntimeFiber<unknown, unknown>): Effect.Effect<void> {
    const limit = this.state.options.cancellationTimeout
    return Effect.async<void>((resume) => {
      let timer: Fiber.RuntimeFiber<void> | undefined
      const stopped = (): void => {
        interrupt(timer)
        resume(Effect.void)
      }
      player.addObserver(stopped)
      if (!Number.isFinite(limit) || player.unsafePoll() !== null) return
      timer = this.fork(Effect.sleep(limit), this.runtime, (exit) => {
        if (Exit.isFailure(exit)) return
        player.removeObserver(stopped)
        resume(Effect.logWarning("The output does not stop: the next speech begins beside it."))
      })
    })
  }

  // -------------------------------------------------------------------------------------------------------- handles

  readonly handleOf = (speech: State.Speech): SpeechHandle => {
    let handle = this.handles.get(speech)
    if (handle === undefined) {
      handle = this.makeHandle(speech)
      this.handles.set(speech, handle)
    }
    return handle
  }

  private makeHandle(speech: State.Speech): SpeechHandle {
    return {
      id: speech.id,
      interrupted: Effect.sync(() => speech.interrupted),
      done: Effect.sync(() => speech.state === "ended"),
      allowInterruptions: Effect.sync(() => speech.allowInterruptions),
      setAllowInterruptions: (value) =>
        Effect.suspend(() => {
          if (speech.interrupted && !value) return Effect.fail(new AlreadyInterrupted({ speechId: speech.id }))
          this.transact((s) => Speech.setAllowInterruptions(s, speech, value))
          return Effect.void
        }),
      interrupt: (options) =>
        Effect.suspend(() => {
          if (speech.state === "ended") return Effect.void
          if (!speech.allowInterruptions && options?.force !== true) {
            return Effect.fail(new InterruptionDisallowed({ speechId: speech.id }))
          }
          this.transact((s) => Machine.interrupt(s, speech))
          return Effect.void
        }),
      wait: Effect.flatMap(callerOf(this), (caller) =>
        Effect.async<void, CircularWait>((resume) => {
          if (speech.state === "ended") return resume(Effect.void)
          const circular = () => Effect.fail(new CircularWait({ speechId: speech.id, tool: caller?.call.name ?? "" }))
          if (caller !== undefined && Idle.isInlineIn(caller, speech)) return resume(circular())
          const waiter: State.SpeechWaiter = { caller, resume: (yes) => resume(yes ? circular() : Effect.void) }
          this.transact(() => addWaiter(speech, "waiters", waiter))
          return Effect.sync(() => this.transact(() => removeWaiter(speech, "waiters", waiter)))
        })
      ),
      items: Effect.sync(() => this.stillInHistory(speech.items)),
      error: Effect.sync(() => Option.fromNullable(speech.error))
    }
  }

  /** Without the updates that were dropped again. */
  stillInHistory<I extends { readonly _tag: string }>(items: ReadonlyArray<I>): ReadonlyArray<I> {
    return items.filter((item: any) => item.callId === undefined || this.state.callIds.has(item.callId))
  }

  // --------------------------------------------------------------------------------------------------------- agents

  readonly buildAgent = (agent: Agent<never>): Effect.Effect<State.Activity> =>
    this.build(agent as unknown as AgentDefinition, this.scope)

  build(definition: AgentDefinition, outer: Environment): Effect.Effect<State.Activity> {
    return Effect.suspend(() =>
      buildAgent({
        id: `agent_${++this.activities}`,
        definition,
        session: this.scope,
        outer,
        task: undefined,
        own: () => []
      })
    )
  }

  readonly buildTask: Host["buildTask"] = (task, call, resume) =>
    Effect.suspend(() => {
      const definition = task as unknown as AgentDefinition
      const complete = Tool.make("complete", {
        description: "Completes the task with its result. Call it as soon as you have what the task asks for."
      }).setParameters(definition.result as any)
      return buildAgent({
        id: `agent_${++this.activities}`,
        definition,
        session: this.scope,
        outer: this.scope,
        task: { call, resume, done: undefined },
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

  readonly discard = (activity: State.Activity): Effect.Effect<void> => Scope.close(builtOf(activity).scope, Exit.void)

  // --------------------------------------------------------------------------------------------------------- closing

  private readonly closeWaiters = new Set<() => void>()

  /** Ends when the session begins to close. */
  readonly closing: Effect.Effect<void> = Effect.async<void>((resume) => {
    if (this.state.phase !== "open") return resume(Effect.void)
    const waiter = () => resume(Effect.void)
    this.closeWaiters.add(waiter)
    return Effect.sync(() => this.closeWaiters.delete(waiter))
  })

  /** Ends all calls as rule S2 says, then every other fiber, then the agents' resources. */
  readonly close: Effect.Effect<void> = Effect.suspend(() => {
    const drained = Effect.async<void>((resume) => {
      this.drained = () => resume(Effect.void)
      this.transact(Closing.close)
      for (const waiter of Array.from(this.closeWaiters)) waiter()
    })
    const others = Effect.suspend(() => {
      const fibers = Array.from(this.fibers)
      for (const fiber of fibers) interrupt(fiber)
      const alive = [...fibers.filter((fiber) => fiber.unsafePoll() === null), ...this.releasing]
      if (alive.length === 0) return Effect.void
      return this.noLonger(
        Effect.forEach(alive, Fiber.await, { discard: true, concurrency: "unbounded" }),
        Effect.logError("Something that the session started does not let itself be interrupted.")
      )
    })
    return drained.pipe(
      Effect.zipRight(others),
      Effect.zipRight(this.releaseAgent(this.scope.scope)),
      Effect.ensuring(
        Effect.sync(() => {
          this.hub.publish({ _tag: "SessionClosed", at: this.now() })
          this.hub.close()
          this.telemetry.close()
        })
      )
    )
  })
}

/** Neither an error that was expected nor an interruption. */
const isDefect = (cause: Cause.Cause<unknown>): boolean =>
  Option.isNone(Cause.failureOption(cause)) && !Cause.isInterruptedOnly(cause)

/** A bug of the tool. What kind of error it was is told; all that the model is shown is that there was one. */
const defect = (tool: string, cause: Cause.Cause<unknown>): State.Outcome => {
  const error = Cause.squash(cause)
  const errorType = error instanceof RefusedResult ? "invalid_result" : errorTypeOf(error)
  return { _tag: "Failure", output: unexpected(tool), how: "defect", errorType, cause }
}

/** The call of this session whose handler asks, if one does. */
const callerOf = (shell: Shell): Effect.Effect<State.Call | undefined> =>
  Effect.context<never>().pipe(
    Effect.map((context) => {
      const service = context.unsafeMap.get(RunContext.key)
      if (!(service instanceof HandlerContext) || service.session !== shell.session) return undefined
      return service.run.phase === "ended" ? undefined : service.owner
    })
  )

/** What a handler has beside its call: an agent that it hands over to outlives that. */
const outsideCalls = Context.omit(RunContext) as (context: Context.Context<any>) => AnyContext

// ----------------------------------------------------------------------------------------------------------- service

const turnOptions = (options: ReplyOptions | undefined): Machine.TurnOptions => options ?? {}

const makeService = (shell: Shell): Service => {
  const { state, transact } = shell
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
      whenOpen(() => Effect.succeed(shell.handleOf(transact((s) => input(s, jobsIn(context))))))
    )
  return {
    send: (text, options) => speech((s, jobs) => Machine.send(s, text, turnOptions(options), jobs)),
    generateReply: (options) => speech((s, jobs) => Machine.generateReply(s, turnOptions(options), jobs)),
    say: (text, options) => speech((s, jobs) => Machine.say(s, text, turnOptions(options), jobs)),
    run: (text, options) =>
      Effect.contextWithEffect((context) =>
        Effect.async<State.Job, SessionClosed>((resume) => {
          if (state.phase !== "open") return resume(Effect.fail(new SessionClosed()))
          const job: State.Job = { open: 0, items: [], text: "", resume: undefined }
          job.resume = (closed) => resume(closed ? Effect.fail(new SessionClosed()) : Effect.succeed(job))
          transact((s) => Machine.run(s, text, turnOptions(options), job, jobsIn(context)))
          return Effect.sync(() => transact((s) => Jobs.withdraw(s, job)))
        }).pipe(Effect.map((job) => ({ text: job.text, items: shell.stillInHistory(job.items) })))
      ),
    interrupt: (options) =>
      Effect.suspend(() => {
        const left = transact((s) => Machine.interruptAll(s, options?.force === true))
        return left === undefined ? Effect.void : Effect.fail(new InterruptionDisallowed({ speechId: left.id }))
      }),
    handoff: (agent) => whenOpen(() => handOff(shell, agent)),
    currentAgent: Effect.sync(() => ({ name: (state.agents[state.agents.length - 1] as State.Activity).name })),
    history: Effect.sync(() => ({ items: state.history.slice() })),
    events: shell.hub.stream,
    waitForIdle: whenOpen(() =>
      Effect.flatMap(callerOf(shell), (caller) =>
        Effect.async<void, SessionClosed>((resume) => {
          const waiter = transact((s) =>
            Idle.addWaiter(s, {
              caller,
              resume: (idle) => resume(idle ? Effect.void : Effect.fail(new SessionClosed()))
            })
          )
          return Effect.sync(() => transact((s) => Idle.removeWaiter(s, waiter)))
        })
      )
    ),
    claimUserTurn: Effect.asVoid(
      Effect.acquireRelease(
        Effect.sync(() => transact(Idle.claimUserTurn)),
        () => Effect.sync(() => transact(Idle.releaseUserTurn))
      )
    ),
    runningTools: Effect.sync(() => Calls.runningTools(state)),
    cancelTool: (callId) => cancelTool(shell, callId)
  }
}

/** What the new agent begins with is part of the turn that asked. */
const handOff = <R>(shell: Shell, agent: Agent<R>): Effect.Effect<void, SessionClosed, R> =>
  Effect.contextWithEffect((caller: Context.Context<R>) =>
    Effect.uninterruptibleMask((restore) => {
      const jobs = jobsIn(caller)
      const build = shell.build(agent as unknown as AgentDefinition, {
        context: Context.merge(outsideCalls(caller), shell.scope.context),
        fiberRefs: shell.scope.fiberRefs
      })
      // a layer may take for ever: who asked is told when the session closes
      const built = Effect.raceFirst(
        Effect.disconnect(build),
        Effect.zipRight(shell.closing, Effect.fail(new SessionClosed()))
      )
      shell.transact(() => Jobs.open(jobs))
      return Effect.ensuring(
        Effect.flatMap(restore(built), (to) => restore(takeOver(shell, to, jobs))),
        Effect.sync(() => shell.transact((s) => Jobs.close(s, jobs)))
      )
    })
  )

/** Waits until the agent has taken over, behind hand-offs that are under way. */
const takeOver = (
  shell: Shell,
  to: State.Activity,
  jobs: ReadonlyArray<State.Job>
): Effect.Effect<void, SessionClosed> =>
  Effect.async<void, SessionClosed>((resume) => {
    const { transact } = shell
    const handoff: State.Handoff = {
      to,
      call: undefined,
      when: "now",
      jobs,
      resume: (done) => resume(done ? Effect.void : Effect.fail(new SessionClosed()))
    }
    const attempt = (): void => {
      if (transact((s) => Agents.requestHandoffInTurn(s, handoff, attempt))) return
      resume(Effect.zipRight(shell.discard(to), Effect.fail(new SessionClosed())))
    }
    attempt()
    return Effect.suspend(() =>
      transact((s) => Agents.withdrawHandoff(s, handoff, attempt)) ? shell.discard(to) : Effect.void
    )
  })

const cancelTool = (shell: Shell, callId: string): Effect.Effect<void, ToolError> =>
  Effect.suspend(() => {
    const call = shell.state.calls.get(callId)
    const run = shell.transact((s) => Calls.cancel(s, callId))
    if (typeof run === "string") return Effect.fail(new ToolError({ message: run }))
    const limit = shell.state.options.cancellationTimeout
    // The timer is no child of who waits: he may be in a region that must not be cut, where a timeout would wait for what
    // it is to end, and his own cancellation would reach his children.
    const ended = Effect.async<void, ToolError>((resume) => {
      if (run.phase === "ended") return resume(Effect.void)
      let timer: Fiber.RuntimeFiber<void> | undefined
      const waiter = () => {
        interrupt(timer)
        resume(Effect.void)
      }
      const leave = () => shell.transact(() => removeWaiter(run, "endWaiters", waiter))
      shell.transact(() => addWaiter(run, "endWaiters", waiter))
      if (Number.isFinite(limit)) {
        timer = shell.fork(Effect.sleep(limit), shell.runtime, (exit) => {
          if (Exit.isFailure(exit)) return
          leave()
          const message = `Call ${callId} is still stopping: it ends once its clean-up is done.`
          resume(Effect.fail(new ToolError({ message })))
        })
      }
      return Effect.sync(() => {
        interrupt(timer)
        leave()
      })
    })
    return Effect.zipRight(
      ended,
      Effect.suspend(() =>
        call?.state._tag === "Ended" && call.state.status !== "cancelled"
          ? Effect.fail(
              new ToolError({ message: `Call ${callId} has already ended: it was done before it could stop.` })
            )
          : Effect.void
      )
    )
  })

const companions = (shell: Shell, place: Environment): ReadonlyArray<BoundTool> => [
  companion(
    cancelTask,
    ({ call_id }: { readonly call_id: string }) => {
      const name = shell.state.calls.get(call_id)?.call.name
      return Effect.as(cancelTool(shell, call_id), `${name} (${call_id}) was cancelled.`)
    },
    place
  ),
  companion(
    getRunningTasks,
    () =>
      Effect.sync(() =>
        Calls.runningTools(shell.state)
          .filter((tool) => tool.allowCancellation)
          .map((tool) => ({
            call_id: tool.callId,
            name: tool.name,
            arguments: Calls.shownArguments(shell.state.calls.get(tool.callId) as State.Call),
            started_at: DateTime.formatIso(DateTime.unsafeMake(tool.startedAt)),
            last_update: tool.lastUpdate ?? null
          }))
      ),
    place
  )
]

/**
 * Effect's own scheduler keeps a queue, in a WeakMap, for each fiber that was ever woken: with many calls that is a third
 * of what it costs to end them, most of it garbage collection. A session's fibers share one queue, in the same order; a
 * scheduler that the program chose is left alone.
 */
const inOneQueue = <R>(runtime: Runtime.Runtime<R>): Runtime.Runtime<R> => {
  if (FiberRefs.getOrDefault(runtime.fiberRefs, FiberRef.currentScheduler) !== Scheduler.defaultScheduler)
    return runtime
  const queue = new Scheduler.MixedScheduler(2048)
  return Runtime.setFiberRef(runtime, FiberRef.currentScheduler, {
    shouldYield: (fiber) => queue.shouldYield(fiber),
    scheduleTask: (task, priority) => queue.scheduleTask(task, priority)
  })
}

export const make = (options: Options<any, ReadonlyArray<Entry>>): Effect.Effect<Service, never, any> =>
  Effect.gen(function* () {
    yield* check("the session", options, ofSession)
    const outer = yield* Effect.context<any>()
    const runtime = inOneQueue(
      Runtime.updateFiberRefs(
        Runtime.enableRuntimeFlag(yield* Effect.runtime<any>(), RuntimeFlags.Interruption),
        withoutContext
      )
    )
    const clock = yield* Effect.clock
    const shell = new Shell(
      runtime,
      () => clock.unsafeCurrentTimeMillis(),
      {
        maxToolSteps: options.maxToolSteps ?? 3,
        maxPendingUpdates: options.maxPendingUpdates ?? 32,
        maxRunning: options.maxRunning ?? 64,
        releaseAfter: millisOf(options.releaseAfter),
        drainTimeout: Duration.toMillis(options.drainTimeout ?? "30 seconds"),
        cancellationTimeout: Duration.toMillis(options.cancellationTimeout ?? "5 seconds"),
        onInterruptedReply: options.onInterruptedReply ?? "drop"
      },
      options.eventBuffer ?? 1024
    )
    const session = makeService(shell)
    shell.session = session
    shell.telemetry = yield* Telemetry.make(
      () => shell.state.now,
      clock,
      (cause) => shell.log("error", "Telemetry failed; the conversation goes on.", cause)
    )
    const scope = yield* Scope.make()
    let started = false
    yield* Effect.acquireRelease(
      Effect.sync(() => shell.telemetry.start(options.agent.name)),
      () =>
        started
          ? shell.close
          : Effect.ensuring(
              Scope.close(scope, Exit.void),
              Effect.sync(() => shell.telemetry.close())
            )
    )
    const context = shell.telemetry.inSession(Context.add(outer, AgentSession, session)) as AnyContext
    const place = { context, fiberRefs: runtime.fiberRefs }
    shell.scope = yield* buildSession({
      ...place,
      scope,
      entries: options.tools ?? [],
      companions: companions(shell, place),
      releaseAfter: shell.state.options.releaseAfter
    })
    const first = yield* shell.build(options.agent as unknown as AgentDefinition, shell.scope)
    const items = options.history?.items ?? []
    shell.transact((s) => {
      History.restore(s, items)
      started = true
      Agents.startSession(s, first)
    })
    return session
  })
