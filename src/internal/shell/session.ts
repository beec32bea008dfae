/**
 * The shell of the machine: it gives it inputs with the time of Effect's `Clock`, publishes its events and carries out
 * its commands, each of which starts a fiber, interrupts one, or calls a function. Nothing waits in here.
 */
import type * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import type * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Runtime from "effect/Runtime"
import * as RuntimeFlags from "effect/RuntimeFlags"
import * as Scope from "effect/Scope"
import type { Agent } from "../../Agent.js"
import type { Options, Service } from "../../AgentSession.js"
import type { PendingApproval } from "../../ApprovalPolicy.js"
import type { Entry } from "../../AsyncToolset.js"
import type { ChatItem } from "../../ChatContext.js"
import type { SessionEvent } from "../../SessionEvent.js"
import type { SpeechHandle } from "../../SpeechHandle.js"
import { AgentSession, SessionStorage, type StorageError } from "../../Tags.js"
import * as Agents from "../machine/agents.js"
import * as Closing from "../machine/closing.js"
import * as History from "../machine/history.js"
import type { Command } from "../machine/protocol.js"
import * as Machine from "../machine/pump.js"
import * as Restoring from "../machine/restoring.js"
import * as Resume from "../machine/resume.js"
import * as Reviving from "../machine/reviving.js"
import * as Saving from "../machine/saving.js"
import type * as State from "../machine/state.js"
import { make as makeState } from "../machine/state.js"
import { type AnyContext, buildSession, millisOf, type SessionScope, withoutContext } from "../scope/build.js"
import { inAgents, noAgent } from "../scope/mistakes.js"
import * as Telemetry from "../telemetry/recorder.js"
import { defaultFileBytes, withOwnFiles } from "../values/files.js"
import { copyPlain } from "../values/json.js"
import { check, defaultOutputLength, ofSession } from "../values/options.js"
import { defaults } from "../values/templates.js"
import { build, closeAgent, enter, leave, stopEntering } from "./agents.js"
import { askApproval, readWaiting } from "./approval.js"
import { askPolicy, compare, decode, sayFiller, startRun } from "./calls.js"
import { companions } from "./cancelling.js"
import { abandon, closeOnce, drained, suspendOnce } from "./closing.js"
import { textOf, thrownBy } from "./door.js"
import * as Events from "./events.js"
import { inOneQueue, startTimer } from "./fibers.js"
import { type Host, interrupt, log, logOf, withHost } from "./host.js"
import { messageTask } from "./messaging.js"
import { askModel, logFailure, readText } from "./models.js"
import * as Opening from "./opening.js"
import { pausePlaying, play, resumePlaying, stopPlaying } from "./player.js"
import { type Saver, startSaving } from "./saving.js"
import { makeService } from "./service.js"
import { makeStoredService } from "./storedService.js"
import { isPassing, Storing } from "./storing.js"

/** One session at work. */
class Session implements Host {
  readonly state: State.State
  readonly hub: Events.Hub
  session!: Service
  scope!: SessionScope
  telemetry!: Telemetry.Recorder
  readonly fibers = new Set<Fiber.RuntimeFiber<any, any>>()
  readonly releasing = new Set<Fiber.RuntimeFiber<void>>()
  readonly handles = new WeakMap<State.Speech, SpeechHandle>()
  saver: Saver | undefined
  watch: (() => void) | undefined
  ending: Deferred.Deferred<void> | undefined
  begun = false
  readonly beginWaiters = new Set<() => void>()
  readonly closeWaiters = new Set<() => void>()
  drained: (() => void) | undefined
  storing: Storing | undefined = undefined
  player: Fiber.RuntimeFiber<unknown, unknown> | undefined
  pausing: Fiber.RuntimeFiber<unknown, unknown> | undefined
  activities = 0
  /** commands are being carried out */
  draining = false
  /** templates of the program are being asked for texts */
  wording = false

  constructor(
    readonly runtime: Runtime.Runtime<any>,
    readonly clock: Clock.Clock,
    options: State.Options,
    readonly maxOutputLength: number,
    readonly maxFileBytes: number,
    eventBuffer: number,
    readonly agents: ReadonlyArray<Agent<any>>
  ) {
    this.state = makeState(options)
    this.hub = Events.make(eventBuffer, options.deltas)
  }

  transact<A>(input: (s: State.State) => A): A {
    const s = this.state
    s.now = this.clock.unsafeCurrentTimeMillis()
    const result = input(s)
    Machine.pump(s)
    // a template that calls the session in turn: the input whose texts are being worded words and drains for both
    if (this.wording) return result
    if (s.phrases.length > 0) word(this)
    this.leave()
    return result
  }

  /** Tells what has happened, and does what is to be done. */
  leave(): void {
    drain(this)
  }
}

/** A session whose events and commands leave once what they tell of is stored (rules Q). */
class DurableSession extends Session {
  /** nothing of it goes on: what still comes in has no effect but to tell those who wait */
  private over = false

  override transact<A>(input: (s: State.State) => A): A {
    if (!this.over) return super.transact(input)
    const s = this.state
    s.now = this.clock.unsafeCurrentTimeMillis()
    const result = input(s)
    s.phrases.length = 0
    this.leave()
    return result
  }

  override leave(): void {
    const s = this.state
    const observations = s.observations
    s.observations = []
    for (const observation of observations) this.telemetry.observe(observation)
    // nothing is known yet of what is stored: it leaves once the session has begun
    if (!this.begun) {
      // it is not going to begin
      if (s.phase !== "open")
        for (const command of s.commands.splice(0)) if (command._tag === "Wake") carry(this, command)
      return
    }
    const { commands, events } = s
    if (events.length > 0) s.events = []
    if (commands.length > 0) s.commands = []
    const { storing } = this
    if (storing === undefined) return
    if (commands.length === 0 && storing.isClear && events.every(isPassing) && !storing.stopped) {
      for (const event of events) this.hub.publish(event)
      if (s.durable?.touched === true || s.durable?.rows.length !== 0) storing.take([], [])
      return this.watch?.()
    }
    storing.take(events, commands)
    this.watch?.()
  }

  /** What it tells and does from here on is stored before. */
  begin({ durable, epoch, rows, sessionId, storage }: Opening.Opened): void {
    Reviving.remember(durable, rows)
    // a history that was given is stored, though nothing has happened yet
    durable.touched = true
    this.storing = new Storing(this, storage, sessionId, epoch, durable, this.release, this.fenced)
  }

  /** What is stored now leaves. */
  readonly release = (events: ReadonlyArray<SessionEvent>, commands: ReadonlyArray<Command>): void => {
    for (const event of events) this.hub.publish(event)
    for (const command of commands) carry(this, command)
    this.saver?.notify()
  }

  /** Its state is what is stored, and what it would do next is another life's. */
  stop(): void {
    if (this.over) return
    this.over = true
    this.storing?.suspend()
    for (const run of this.state.runs) interrupt(run.fiber)
    this.transact(Closing.close)
    for (const waiter of Array.from(this.closeWaiters)) waiter()
  }

  /** Another one has it. */
  readonly fenced = (): void => {
    this.stop()
    for (const fiber of Array.from(this.fibers)) interrupt(fiber)
    this.hub.close()
    this.watch?.()
  }
}

/** The texts that an input left to be worded, before anything of it leaves: templates are code of the program. */
const word = (host: Session): void => {
  const { phrases } = host.state
  host.wording = true
  // there may be more of them when a template has been asked
  for (let i = 0; i < phrases.length; i++) {
    const { args, name, template } = phrases[i] as State.Phrase
    phrases[i]?.word(textOf(name, template, args, logOf(host)))
  }
  phrases.length = 0
  host.wording = false
}

/** Carries out what the machine asks for. An input that comes meanwhile is taken at once; its commands queue. */
const drain = (host: Session): void => {
  const s = host.state
  if (host.draining) return
  host.draining = true
  try {
    while (s.events.length > 0 || s.commands.length > 0 || s.observations.length > 0) {
      const observations = s.observations
      s.observations = []
      for (const observation of observations) host.telemetry.observe(observation)
      const events = s.events
      s.events = []
      for (const event of events) host.hub.publish(event)
      const commands = s.commands
      s.commands = []
      for (const command of commands) carry(host, command)
    }
  } finally {
    host.draining = false
  }
  host.saver?.notify()
  host.watch?.()
}

const carry = (host: Host, command: Command): void => {
  try {
    carryOut(host, command)
  } catch (cause) {
    // the commands behind it are about other things
    log(host, "error", `The command ${command._tag} failed.`, thrownBy(cause))
  }
}

const carryOut = (host: Host, command: Command): void => {
  switch (command._tag) {
    case "Wake":
      return command.resume()
    case "StartRun":
      return startRun(host, command.run)
    case "InterruptRun":
      return interrupt(command.run.fiber)
    case "AskModel":
      return askModel(host, command.step)
    case "ReadText":
      return readText(host, command.step)
    case "StopReading":
      return interrupt(command.step.fiber)
    case "Play":
      return play(host, command.entry)
    case "StopPlaying":
      return stopPlaying(host, command.entry)
    case "PausePlaying":
      return pausePlaying(host, command.entry)
    case "ResumePlaying":
      return resumePlaying(host, command.entry)
    case "StartTimer":
      return startTimer(host, command.timer)
    case "StopTimer":
      return interrupt(command.timer.fiber)
    case "Decode":
      return decode(host, command.call, command.run)
    case "Compare":
      return compare(host, command.admission, command.runs)
    case "AskPolicy":
      return askPolicy(host, command.admission, command.running)
    case "StopPolicy":
      return interrupt(command.admission.fiber)
    case "AskApproval":
      return askApproval(host, command.approval)
    case "StopApproval":
      return interrupt(command.approval.fiber)
    case "SayFiller":
      return sayFiller(host, command.filler)
    case "LeaveAgent":
      return leave(host, command.from, command.handoff)
    case "EnterAgent":
      return enter(host, command.activity, command.jobs)
    case "StopEntering":
      return stopEntering(command.activity)
    case "CloseAgent":
      return closeAgent(host, command.activity)
    case "LogFailure":
      return logFailure(host, command.agent, command.failure)
    case "Log":
      return log(host, command.level, command.message)
    case "Drained":
      return drained(host)
  }
}

/** Stands for the first agent while that is built: what is asked for waits, as for an agent that is paused. */
const notBegun = (name: string, since: number): State.Activity => ({
  id: "agent_0",
  name,
  instructions: "",
  tools: new Map(),
  prompts: defaults,
  hasCompanions: false,
  instantOutput: true,
  output: undefined,
  context: "inherit",
  // nothing of an agent that is paused runs
  built: undefined as never,
  task: undefined,
  state: "paused",
  since,
  carried: [],
  running: 0
})

type AnyOptions = Options<any, ReadonlyArray<Entry>, ReadonlyArray<Agent<any>>> & { readonly id?: string | undefined }

/** Who begins; none: the one who would go on is gone. */
const agentOf = ({ agent, agents = [] }: AnyOptions, resumed: Resume.Resumed | undefined): Agent<any> | undefined =>
  resumed?.agent === undefined ? agent : [agent, ...agents].find(({ name }) => name === resumed.agent)

export const make = (options: AnyOptions): Effect.Effect<Service, StorageError, any> =>
  Effect.gen(function* () {
    yield* check("the session", options, ofSession)
    const wrong = inAgents(options.agent, options.agents)
    if (wrong !== undefined) return yield* Effect.die(wrong)
    const outer = yield* Effect.context<any>()
    const runtime = inOneQueue(
      Runtime.updateFiberRefs(
        Runtime.enableRuntimeFlag(yield* Effect.runtime<any>(), RuntimeFlags.Interruption),
        withoutContext
      )
    )
    const clock = yield* Effect.clock
    const opened =
      options.id === undefined ? undefined : yield* Opening.open(options.id, Context.get(outer, SessionStorage))
    const isStored = opened !== undefined && opened.stored.items.length > 0
    const goesOn = opened !== undefined && Opening.isBegun(opened)
    const host = new (opened === undefined ? Session : DurableSession)(
      runtime,
      clock,
      {
        maxToolSteps: options.maxToolSteps ?? 3,
        maxPendingUpdates: options.maxPendingUpdates ?? 32,
        maxMessages: options.maxMessages ?? 32,
        maxRunning: options.maxRunning ?? 64,
        releaseAfter: millisOf(options.releaseAfter),
        drainTimeout: Duration.toMillis(options.drainTimeout ?? "30 seconds"),
        cancellationTimeout: Duration.toMillis(options.cancellationTimeout ?? "5 seconds"),
        onInterruptedReply: options.onInterruptedReply ?? "drop",
        deltas: options.deltas ?? false
      },
      options.maxOutputLength ?? defaultOutputLength,
      options.maxFileBytes ?? defaultFileBytes,
      options.eventBuffer ?? 1024,
      [options.agent, ...(options.agents ?? [])]
    )
    const session = withHost(opened === undefined ? makeService(host) : makeStoredService(host), host)
    host.session = session
    // a copy: the program may change what it gave
    const given = isStored || goesOn ? [] : (options.history?.items ?? [])
    const copy = opened === undefined ? copyPlain : Opening.storable
    const items = given.map((item) => withOwnFiles(copy(item) as ChatItem, host.maxFileBytes))
    const before = isStored && !goesOn ? opened.stored.items.map(({ item }) => item) : items
    const read = (options.resume === true || before !== items) && before.length > 0 ? Resume.read(before) : undefined
    const found =
      options.approvals === undefined || options.approvals.length === 0 || isStored || goesOn
        ? undefined
        : Restoring.find(
            items,
            options.approvals.map((one) => copyPlain(one) as PendingApproval)
          )
    const resumed = read === undefined || found === undefined ? read : { ...read, open: found.open }
    const agent = goesOn ? yield* Opening.agentOf(opened, host.agents) : agentOf(options, resumed)
    const { onItems } = options
    if (agent === undefined) return yield* Effect.die(noAgent(resumed?.agent as string))
    // layers may use the session while it is made: what they ask for comes behind the conversation so far
    host.transact((s) => {
      if (opened !== undefined) {
        s.durable = opened.durable
        Reviving.recall(s, opened.durable, opened.stored)
      }
      History.restore(s, items)
      s.agents.push(notBegun(agent.name, s.history.length))
      if (onItems !== undefined) Saving.begin(s)
    })
    host.telemetry = yield* Telemetry.make(
      () => host.state.now,
      clock,
      (cause) => log(host, "error", "Telemetry failed; the conversation goes on.", thrownBy(cause))
    )
    const scope = yield* Scope.make()
    yield* Effect.acquireRelease(
      Effect.sync(() => host.telemetry.start(agent.name)),
      () =>
        host.begun
          ? host instanceof DurableSession
            ? suspendOnce(host)
            : closeOnce(host)
          : Effect.ensuring(
              Effect.zipRight(
                Effect.sync(() => abandon(host)),
                Scope.close(scope, Exit.void)
              ),
              Effect.sync(() => host.telemetry.close())
            )
    )
    const context = host.telemetry.inSession(Context.add(outer, AgentSession, session)) as AnyContext
    const place = { context, fiberRefs: runtime.fiberRefs }
    host.scope = yield* buildSession({
      ...place,
      scope,
      entries: options.tools ?? [],
      companions: companions(host, place),
      messaging: (tools) => messageTask(host, place, tools),
      releaseAfter: host.state.options.releaseAfter,
      startAfter: options.startAfter
    })
    const first = yield* build(host, agent)
    const waiting =
      found === undefined ? undefined : { restored: yield* readWaiting(host, first, found.waiting), stale: found.stale }
    const revival = goesOn ? yield* Opening.revival(host, opened, first) : undefined
    if (opened !== undefined && host instanceof DurableSession) host.begin(opened)
    host.transact((s) => {
      host.begun = true
      if (revival === undefined || s.durable === undefined) Agents.startSession(s, first, resumed, waiting)
      else Reviving.revive(s, s.durable, revival)
    })
    if (onItems !== undefined) host.saver = startSaving(host, onItems)
    for (const waiter of host.beginWaiters) waiter()
    return session
  })
