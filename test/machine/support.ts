/**
 * Plain states of a session and inputs to them: no Effect, no fiber, no clock. What comes out is shown as short lines, so
 * that a test reads like a table.
 */
import { needsKey } from "../../src/internal/machine/admission.js"
import * as Agents from "../../src/internal/machine/agents.js"
import * as Calls from "../../src/internal/machine/calls.js"
import * as Incoming from "../../src/internal/machine/incoming.js"
import * as Jobs from "../../src/internal/machine/jobs.js"
import type { CallPart, Command, Decoded, ModelEnd, Observation, Timer } from "../../src/internal/machine/protocol.js"
import { pump, runEnded, timerFired } from "../../src/internal/machine/pump.js"
import {
  type Activity,
  type Call,
  type Executor,
  type Handoff,
  type Job,
  make,
  type Options,
  type Outcome,
  type OutputTraits,
  Phrase,
  type Run,
  type Speech,
  type State,
  type Step,
  type Task,
  type Tool,
  type ToolOptions,
  type ToolPolicy
} from "../../src/internal/machine/state.js"
import { backgroundParameter, confirmParameter } from "../../src/internal/machine/texts.js"
import * as Turns from "../../src/internal/machine/turns.js"
import * as Updates from "../../src/internal/machine/updates.js"
import type {
  AgentParts,
  ChatItem,
  DeliveryMode,
  DuplicateScope,
  Mode,
  ModelError,
  Prompts,
  SessionEvent
} from "../../src/internal/machine/words.js"

// ---------------------------------------------------------------------------------------------------------- builders

/** Each template is its own name. */
export const prompts: Prompts = {
  update: "update",
  inProgress: "inProgress",
  released: "released",
  ended: "ended",
  outcomeUnknown: "outcomeUnknown",
  approvalPending: "approvalPending",
  approvalEdited: "approvalEdited",
  approvalDenied: "approvalDenied",
  duplicateReject: "duplicateReject",
  duplicateConfirm: "duplicateConfirm",
  replyAtTail: "replyAtTail",
  replyMaybeCovered: "replyMaybeCovered"
}

export const executor = (id: string, activity?: Activity, limit: number = Number.POSITIVE_INFINITY): Executor => ({
  id,
  activity,
  limit,
  active: 0,
  queue: []
})

/** A tool that an agent takes into its own executor, unless it has one. */
export interface ToolPlan extends ToolOptions {
  readonly name: string
  readonly kind?: Tool["kind"]
  readonly mode?: Mode
  readonly scope?: DuplicateScope
  /** its policy is a function of the program */
  readonly custom?: boolean
  readonly approval?: Tool["approval"]
  readonly approvalTimeout?: number
  readonly releaseAfter?: number
  readonly timeout?: number
  readonly afterStep?: boolean
  readonly added?: ReadonlyArray<string>
  readonly prompts?: Prompts
  readonly in?: Executor
}

const policyOf = ({ custom, mode = "allow", scope = "name" }: ToolPlan): ToolPolicy =>
  custom === true ? { _tag: "Custom", scope } : { _tag: "Mode", mode, scope }

export const tool = (plan: ToolPlan, home: Executor): Tool => ({
  name: plan.name,
  kind: plan.kind ?? "user",
  options: plan,
  executor: plan.in ?? home,
  policy: policyOf(plan),
  approval: plan.approval,
  approvalTimeout: plan.approvalTimeout,
  prompts: plan.prompts ?? prompts,
  releaseAfter: plan.releaseAfter,
  timeout: plan.timeout,
  afterStep: plan.afterStep ?? false,
  added: plan.added ?? [confirmParameter, backgroundParameter],
  ownArguments: ({ [confirmParameter]: _, [backgroundParameter]: __, ...own }) => own
})

export interface AgentPlan {
  readonly tools?: ReadonlyArray<ToolPlan>
  /** how many handlers of its own tools work at once */
  readonly limit?: number
  readonly context?: Activity["context"]
  readonly task?: Task
  /** text is to be played piece by piece */
  readonly plays?: boolean
  readonly output?: Partial<OutputTraits>
}

/** An agent that has been built and not begun. */
export const agent = (name: string, plan: AgentPlan = {}): Activity => {
  const tools = new Map<string, Tool>()
  const made: Activity = {
    id: name,
    name,
    instructions: `You are ${name}.`,
    tools,
    prompts,
    hasCompanions: true,
    instantOutput: plan.plays !== true,
    output:
      plan.plays === true
        ? { stopTimeout: 1000, stallTimeout: undefined, canPause: false, tellsStart: true, ...plan.output }
        : undefined,
    context: plan.context ?? "inherit",
    // the shell's, which the machine never looks into
    built: Object.freeze({}) as AgentParts,
    task: plan.task,
    state: "new",
    since: 0,
    carried: [],
    running: 0
  }
  const home = executor(name, made, plan.limit)
  for (const one of plan.tools ?? []) tools.set(one.name, tool(one, home))
  return made
}

/** The agent of a task, which tells with what it ended. */
export const taskAgent = (name: string, call: Call | undefined, told: Array<string>, plan: AgentPlan = {}): Activity =>
  agent(name, {
    ...plan,
    task: { call, done: undefined, resume: (result) => told.push(`${name} ${result._tag}`) }
  })

export const options: Options = {
  maxToolSteps: 3,
  maxPendingUpdates: 32,
  maxMessages: 32,
  maxRunning: 64,
  releaseAfter: undefined,
  drainTimeout: 30_000,
  cancellationTimeout: 5_000,
  onInterruptedReply: "drop",
  deltas: false
}

/** A session with its first agent at work. */
export const session = (first: Activity = agent("ada"), given: Partial<Options> = {}): State => {
  const s = make({ ...options, ...given })
  input(s, () => Agents.startSession(s, first))
  return s
}

export const job = (told: Array<string> = [], name = "job", caller?: Call): Job =>
  Jobs.make({ caller, resume: (how) => told.push(`${name} ${how}`) })

// ------------------------------------------------------------------------------------------------------------ driver

/** What one input left. */
export class Left<A> {
  constructor(
    readonly result: A,
    readonly raw: {
      readonly events: ReadonlyArray<SessionEvent>
      readonly commands: ReadonlyArray<Command>
      readonly observations: ReadonlyArray<Observation>
    }
  ) {}

  /** as lines */
  get events(): ReadonlyArray<string> {
    return this.raw.events.map(showEvent)
  }

  /** as lines, without those who are told */
  get commands(): ReadonlyArray<string> {
    return this.raw.commands.filter((command) => command._tag !== "Wake").map(showCommand)
  }
}

/** Words them as the name of the template, with what it is given. */
const word = (s: State): void => {
  for (const phrase of s.phrases.splice(0))
    phrase.word(`<${[phrase.template, ...Object.values(phrase.args)].map(plain).join(" ")}>`)
}

const plain = (value: unknown): string =>
  Array.isArray(value)
    ? value.map((one) => (typeof one === "string" ? one : (one as Call).callId)).join(",")
    : String(value)

/**
 * One input, as the shell gives it: what the machine left comes back as data, and those who waited are told. They may give
 * inputs of their own: `first` has what this one left before them.
 */
export const input = <A>(
  s: State,
  f: (s: State) => A,
  at: number = s.now + 1,
  first: (raw: Left<A>["raw"]) => void = () => undefined
): Left<A> => {
  s.now = at
  const result = f(s)
  pump(s)
  if (s.phrases.length > 0) word(s)
  const { commands, events, observations } = s
  if (events.length > 0) s.events = []
  if (commands.length > 0) s.commands = []
  if (observations.length > 0) s.observations = []
  first({ events, commands, observations })
  for (const command of commands) if (command._tag === "Wake") command.resume()
  return new Left(result, { events, commands, observations })
}

// ------------------------------------------------------------------------------------------------------------ inputs

export const send = (s: State, text = "hi", given: Turns.TurnOptions = {}, jobs: ReadonlyArray<Job> = []) =>
  input(s, () => Turns.send(s, { text }, given, jobs))

/** The step of whoever has the mouth. */
export const stepOf = (s: State): Step => {
  const step = s.mouth?.step
  if (step === undefined) throw new Error("nobody has the mouth")
  return step
}

export const callPart = (step: Step, id: string, name: string, args: Record<string, unknown> = {}): CallPart => ({
  type: "tool-call",
  id,
  name,
  arguments: args,
  problem: undefined,
  decoded: decodedOf(step, name, args),
  metadata: undefined
})

/** As the shell reads them; the arguments of a tool that compares them have a key. */
export const decodedOf = (step: Step, name: string, args: Record<string, unknown>): Decoded => {
  const asked = step.agent.tools.get(name)
  const params = asked?.ownArguments(args) ?? args
  const key = asked !== undefined && needsKey(asked) ? JSON.stringify(params) : undefined
  return { _tag: "Decoded", params, key }
}

/** The model asks for a tool. */
export const call = (s: State, step: Step, id: string, name: string, args: Record<string, unknown> = {}) =>
  input(s, () => Incoming.part(s, step, callPart(step, id, name, args)))

/** The same with arguments whose Schema takes its time. */
export const callLater = (s: State, step: Step, id: string, name: string, args: Record<string, unknown> = {}) =>
  input(s, () => Incoming.part(s, step, { ...callPart(step, id, name, args), decoded: "later" }))

export const decode = (s: State, callId: string) => {
  const it = callOf(s, callId)
  const args = decodedOf(it.step, it.call.name, it.call.arguments as Record<string, unknown>)
  return input(s, () => Calls.decoded(s, it, args))
}

export const say = (s: State, step: Step, delta: string) =>
  input(s, () => Incoming.part(s, step, { type: "text-delta", id: "text", delta, metadata: undefined }))

export const done = (s: State, step: Step) => input(s, () => Incoming.modelEnded(s, step, { _tag: "Done" }))

/** The model says a text and is done. */
export const answer = (s: State, text = "ok", step: Step = stepOf(s)) => {
  if (text !== "") say(s, step, text)
  return done(s, step)
}

export const failure = (malformed = false): Extract<ModelEnd, { readonly _tag: "Failed" }> => ({
  _tag: "Failed",
  failure: {
    tag: malformed ? "MalformedOutput" : "HttpResponseError",
    message: "The model failed.",
    errorType: "error",
    malformed,
    // the shell's, which the machine never looks into
    error: Object.freeze({}) as ModelError,
    cause: undefined
  }
})

/** A user's turn whose first step asks for these tools: `[id, name, arguments]`. */
export const turn = (
  s: State,
  asked: ReadonlyArray<readonly [id: string, name: string, args?: Record<string, unknown>]>,
  jobs: ReadonlyArray<Job> = []
): Step => {
  send(s, "hi", {}, jobs)
  const step = stepOf(s)
  for (const [id, name, args] of asked) call(s, step, id, name, args)
  done(s, step)
  return step
}

export const callOf = (s: State, callId: string): Call => {
  const found = s.calls.get(callId) ?? s.unrecorded.get(callId)
  if (found === undefined) throw new Error(`no call ${callId}`)
  return found
}

export const runOf = (s: State, callId: string): Run => {
  const { run } = callOf(s, callId)
  if (run === undefined) throw new Error(`${callId} has no run`)
  return run
}

export const update = (s: State, callId: string, value: unknown, mode: DeliveryMode = "when-idle") =>
  input(s, () =>
    Updates.update(s, runOf(s, callId), { value, isText: typeof value === "string", template: undefined, mode })
  )

export const success = (output: unknown): Outcome => ({ _tag: "Success", output })

export const end = (s: State, callId: string, outcome: Outcome = success(`${callId} is done`)) => {
  const run = runOf(s, callId)
  return input(s, () => runEnded(s, run, outcome))
}

/** The fiber of a run that was asked to stop has stopped. */
export const stopped = (s: State, callId: string) => {
  const run = runOf(s, callId)
  return end(s, callId, { _tag: "Interrupted", reason: run.stop ?? "cancelled" })
}

export const cancel = (s: State, callId: string) => input(s, () => Calls.cancel(s, callId))

export const fire = (s: State, timer: Timer) => input(s, () => timerFired(s, timer), s.now + timer.millis)

/** The timer that this input started. */
export const timerOf = (left: Left<unknown>, kind: Timer["kind"]["_tag"]): Timer => {
  for (const command of left.raw.commands) {
    if (command._tag === "StartTimer" && command.timer.kind._tag === kind) return command.timer
  }
  throw new Error(`no timer ${kind}`)
}

export const handoffTo = (to: Activity, told: Array<string> = [], jobs: ReadonlyArray<Job> = []): Handoff => ({
  to,
  call: undefined,
  when: "now",
  jobs,
  resume: (taken) => told.push(`${to.name} ${taken ? "took over" : "was dropped"}`)
})

/** The `onExit` of an agent that leaves has run, and the `onEnter` of the next has begun. */
export const left = (s: State, handoff: Handoff): Left<void> => {
  const out = input(s, () => Agents.enterAgent(s, handoff))
  if (handoff.jobs.length > 0) input(s, () => Jobs.close(s, handoff.jobs))
  return out
}

/** A hand-off from outside, from its beginning to its end. */
export const handOver = (s: State, to: Activity): Left<void> => {
  const handoff = handoffTo(to)
  input(s, () => Agents.requestHandoff(s, handoff))
  return left(s, handoff)
}

// ------------------------------------------------------------------------------------------------------------- shown

const json = (value: unknown): string => (value instanceof Phrase ? "a phrase" : JSON.stringify(value)) ?? "undefined"

export const showItem = (item: ChatItem): string => {
  switch (item._tag) {
    case "Message":
      return `${item.role}${item.interrupted ? " (cut)" : ""}: ${item.text}`
    case "Reasoning":
      return `reasoning: ${item.text}`
    case "FunctionCall":
      return `call ${item.callId}`
    case "FunctionCallOutput":
      return `${item.isError ? "error" : "output"} ${item.callId}: ${json(item.output)}`
    case "AgentHandoff":
      return `handoff ${item.from} ${item.to}`
  }
}

export const history = (s: State): ReadonlyArray<string> => s.history.map(showItem)

export const showEvent = (e: SessionEvent): string => {
  switch (e._tag) {
    case "UserTurnPartial":
      return `the user: ${e.text}`
    case "UserStateChanged":
      return `user ${e.state}`
    case "AgentStateChanged":
      return `agent ${e.state}`
    case "SpeechCreated":
      return `${e.speechId} created: ${e.source}`
    case "SpeechEnded":
      return `${e.speechId} ${e.interrupted ? "cut" : "ended"}`
    case "StepEnded":
      return `${e.speechId} step ended: ${e.finishReason ?? "-"} ${json(e.usage ?? {})}`
    case "TextDelta":
    case "ReasoningDelta":
      return `${e.speechId} ${e._tag}: ${e.text}`
    case "ToolInputDelta":
      return `${e.speechId} ${e._tag} ${e.callId}: ${e.text}`
    case "ItemAdded":
      return `+ ${showItem(e.item)}`
    case "ToolCallStarted":
      return `${e.call.callId} started`
    case "ToolCallUpdated":
      return `${e.id} updated: ${json(e.message)}`
    case "ToolCallProgress":
      return `${e.callId} progress: ${json(e.value)}`
    case "ToolCallReleased":
      return `${e.callId} released by ${e.by}`
    case "ToolCallMessaged":
      return `${e.callId} messaged by ${e.from}: ${json(e.message)}`
    case "ToolCallMessagesLost":
      return `${e.callId} lost ${e.count} messages`
    case "ApprovalRequested":
      return `${e.call.callId} waits for approval${e.reason === undefined ? "" : `: ${e.reason}`}`
    case "ApprovalDecided":
      return `${e.callId} ${e.decision}${e.by === undefined ? "" : ` by ${e.by}`}`
    case "ToolCallEnded":
      return `${e.id} ${e.status}: ${json(e.output)}`
    case "ReplyScheduled":
      return `${e.replyId} scheduled: ${e.updateIds.join(" ")}`
    case "ReplyEnded":
      return `${e.replyId} ${e.status}: ${e.updateIds.join(" ")}`
    case "UpdateDropped":
      return `${e.id} dropped`
    case "AgentHandoff":
      return `${e.from} hands over to ${e.to}`
    case "SessionError":
      return `error ${e.error.tag}`
    case "EventsMissed":
    case "SessionClosed":
      return e._tag
  }
}

const showRun = (run: Run): string => run.calls.map((one) => one.callId).join("+")
const showRuns = (runs: ReadonlyArray<Run>): string => `[${runs.map(showRun).join(" ")}]`
const showChoice = (step: Step): string =>
  typeof step.toolChoice === "string" ? step.toolChoice : `tool ${step.toolChoice.tool}`

export const showCommand = (c: Command): string => {
  switch (c._tag) {
    case "StartRun":
    case "InterruptRun":
      return `${c._tag} ${showRun(c.run)}`
    case "Decode":
      return `Decode ${c.call.callId}`
    case "Compare":
      return `Compare ${c.admission.call.callId} ${showRuns(c.runs)}`
    case "AskPolicy":
      return `AskPolicy ${c.admission.call.callId} ${showRuns(c.running)}`
    case "StopPolicy":
      return `StopPolicy ${c.admission.call.callId}`
    case "AskApproval":
    case "StopApproval":
      return `${c._tag} ${showRun(c.approval.run)}`
    case "AskModel":
      return `AskModel ${c.step.speech.id} ${showChoice(c.step)}`
    case "ReadText":
    case "StopReading":
      return `${c._tag} ${c.step.speech.id}`
    case "Play":
    case "StopPlaying":
    case "PausePlaying":
    case "ResumePlaying":
      return `${c._tag} ${c.entry.step.speech.id}`
    case "StartTimer":
    case "StopTimer":
      return `${c._tag} ${c.timer.kind._tag} ${c.timer.millis}`
    case "SayFiller":
      return `SayFiller ${c.filler.call.callId}`
    case "LeaveAgent":
      return `LeaveAgent ${c.from.name}`
    case "EnterAgent":
    case "StopEntering":
    case "CloseAgent":
      return `${c._tag} ${c.activity.name}`
    case "LogFailure":
      return `LogFailure ${c.agent.name} ${c.failure.tag}`
    case "Log":
      return `Log ${c.level}`
    case "Wake":
    case "Drained":
      return c._tag
  }
}

export const ids = (speeches: Iterable<Speech>): ReadonlyArray<string> => Array.from(speeches, (speech) => speech.id)
