/**
 * The state of a session as types: two state machines (a call, a delivery), the speeches that take turns, and what
 * the machine asks the shell to do. Only inputs of the machine change it; nothing here or there runs an Effect.
 */
import type * as AiError from "@effect/ai/AiError"
import type * as Response from "@effect/ai/Response"
import type * as Either from "effect/Either"
import type * as Exit from "effect/Exit"
import type * as ParseResult from "effect/ParseResult"
import type { ChatItem, ToolCall } from "../../ChatContext.js"
import type { Verdict } from "../../DuplicatePolicy.js"
import type { Delivery as DeliveryMode } from "../../RunContext.js"
import type { SessionEvent } from "../../SessionEvent.js"
import type { Prompts, Template, UpdateArgs } from "../../ToolPrompts.js"
import type { BoundTool } from "../scope/tool.js"

// ---------------------------------------------------------------------------------------------------------- calls

/**
 * The first state machine: what a call is to the conversation.
 *
 *     Inline ──first update, release──▶ Background ──▶ Ended
 *        └────────────────────────────────────────────▶ Ended
 */
export type CallState =
  | { readonly _tag: "Inline" }
  | { readonly _tag: "Background" }
  | { readonly _tag: "Ended"; readonly status: "done" | "error" | "cancelled" }

export const Inline: CallState = { _tag: "Inline" }
export const Background: CallState = { _tag: "Background" }

/** Why a run is being stopped. The first reason stays. */
export type StopReason = "cancelled" | "replaced" | "drained" | "timeout"

/** How the fiber of a run ended, seen from the conversation. */
export type Outcome =
  | { readonly _tag: "Success"; readonly output: unknown }
  | { readonly _tag: "Nothing" }
  | {
      readonly _tag: "Failure"
      readonly output: unknown
      readonly how: "failed" | "defect"
      /** what kind of error it was, in one word */
      readonly errorType: string
      /** the shell's: the cause of a defect */
      readonly cause?: unknown
    }
  | { readonly _tag: "Interrupted"; readonly reason: StopReason }

/** How a call ended, for those who count: more exact than its status. */
export interface Ending {
  readonly how: "done" | "duplicate" | "refused" | "failed" | "defect" | "timeout" | Exclude<StopReason, "timeout">
  readonly errorType: string | undefined
  readonly cause?: unknown
}

/** The output of a call, known but perhaps not yet in the history. */
export interface Output {
  readonly value: unknown
  readonly isError: boolean
  /** the model is asked to reply to it in the same turn */
  readonly reply: boolean
}

/** A call of the model, from the moment it streams in until its last item is in the history. */
export interface Call {
  readonly callId: string
  readonly call: ToolCall
  readonly metadata: Record<string, unknown> | undefined
  readonly tool: BoundTool | undefined
  readonly step: Step
  readonly startedAt: number
  readonly jobs: ReadonlyArray<Job>
  state: CallState
  /** what the handler works on; joined calls share one */
  run: Run | undefined
  /** the agent that voices it; none: whoever is current */
  owner: Activity | undefined
  /** arguments that are decoded, but wait for an earlier call of the tool */
  decoded: Decoded | undefined
  /** its arguments went on to the duplicate check */
  admitted: boolean
  output: Output | undefined
  /** the output is in the history */
  recorded: boolean
  /** later items, held until the output is in the history */
  held: ReadonlyArray<Delivery>
  /** n of the next `<callId>_update_<n>` */
  updates: number
  /** it has had an update */
  reported: boolean
  /** updates that wait for delivery, oldest first (bounded by `maxPendingUpdates`) */
  waiting: ReadonlyArray<Delivery>
  releaseTimer: Timer | undefined
  /** the shell's: its span */
  span: unknown
}

export interface Decoded {
  readonly params: Either.Either<unknown, ParseResult.ParseIssue>
  readonly confirmed: boolean
}

/** One execution of a handler. */
export interface Run {
  readonly tool: BoundTool
  readonly calls: Array<Call>
  /** the agent whose leaving concerns this run; none: the session's */
  owner: Activity | undefined
  /** decoded arguments */
  params: unknown
  /** canonical text of the arguments, once somebody compared them */
  argsKey: string | undefined
  phase: "admitting" | "queued" | "working" | "ended"
  stop: StopReason | undefined
  committed: boolean
  updated: boolean
  /** all that was reported so far was silent */
  quiet: boolean
  lastUpdate: unknown
  lastIsText: boolean
  /** the template of the last update, for those who join later */
  lastTemplate: Template<UpdateArgs> | undefined
  /** since when it waits for its executor */
  queuedAt: number | undefined
  timeoutTimer: Timer | undefined
  /** told once the run has ended */
  endWaiters: Waiters
  /** told once cancellation has been asked for */
  stopWaiters: Waiters
  /** the shell's: the fiber */
  fiber: unknown
}

/** Calls with one key are admitted one after the other. */
export interface Admission {
  readonly key: string
  readonly run: Run
  readonly call: Call
  readonly confirmed: boolean
  /** what the policy was asked about */
  asked: ReadonlyArray<Run>
  /** what a replacement waits for */
  replacing: Set<Run> | undefined
  timer: Timer | undefined
  /** the shell's: the policy that decides */
  fiber: unknown
}

export interface Executor {
  readonly id: string
  /** undefined: the session's */
  readonly activity: Activity | undefined
  readonly limit: number
  active: number
  readonly queue: Array<Run>
}

// ------------------------------------------------------------------------------------------------------ deliveries

/**
 * The second state machine: what becomes of an update or a result that is to be voiced.
 *
 *     Waiting ──idle──▶ Scheduled ──▶ Ended (completed, interrupted, skipped, failed)
 *        ├──silent──▶ Ended (silent)
 *        └─────────▶ Ended (dropped)
 */
export type DeliveryState =
  | { readonly _tag: "Waiting" }
  | { readonly _tag: "Scheduled"; readonly reply: Reply }
  | {
      readonly _tag: "Ended"
      readonly how: "completed" | "interrupted" | "skipped" | "failed" | "dropped" | "silent"
    }

export const Waiting: DeliveryState = { _tag: "Waiting" }

export interface Delivery {
  readonly id: string
  readonly call: Call
  readonly kind: "update" | "final"
  readonly value: unknown
  readonly isError: boolean
  mode: DeliveryMode
  readonly act: boolean
  readonly seq: number
  readonly at: number
  state: DeliveryState
  /** it has tried to cut the current speech */
  cutTried: boolean
  /** the pair is in the history */
  written: boolean
  /** the recorder's: a reply to it has begun to speak */
  voiced: boolean
}

export interface Reply {
  readonly id: string
  readonly items: ReadonlyArray<Delivery>
  readonly ids: ReadonlyArray<string>
  readonly act: boolean
  speech: Speech | undefined
}

// -------------------------------------------------------------------------------------------------------- speeches

export type ToolChoice = "auto" | "none" | "required" | { readonly tool: string }

/** One speech: a text, or a turn of model steps. It holds the mouth only while it generates and plays. */
export interface Speech {
  readonly id: string
  readonly source: "say" | "reply" | "tool-reply"
  readonly seq: number
  readonly priority: number
  readonly userTurn: boolean
  readonly text: unknown
  readonly instructions: string | undefined
  readonly toolChoice: ToolChoice
  reply: Reply | undefined
  readonly jobs: ReadonlyArray<Job>
  readonly filler: Filler | undefined
  /** who speaks; the rest of a turn passes to the new agent at a hand-off */
  agent: Activity
  state: "queued" | "holding" | "waiting" | "ended"
  allowInterruptions: boolean
  interrupted: boolean
  /** model steps that called tools */
  toolSteps: number
  /** the current step was asked for once more */
  retried: boolean
  /** calls were made where none were allowed, and got one more step */
  refused: boolean
  spoke: boolean
  /** a first update that interrupts let it go on (rule U7) */
  urgent: boolean
  step: Step | undefined
  items: Array<ChatItem>
  error: AiError.AiError | undefined
  waiters: ReadonlyArray<SpeechWaiter>
  /** the shell's: its span */
  trace: unknown
}

/** Who waits for the end of a speech; told as well when that waits for them. */
export interface SpeechWaiter {
  readonly caller: Call | undefined
  readonly resume: (circular: boolean) => void
}

/** One model step (or one said text): its parts in the order in which they came, played and recorded in that order. */
export interface Step {
  readonly speech: Speech
  readonly agent: Activity
  readonly index: number
  /** what was decided; a provider may be asked for something weaker */
  readonly toolChoice: ToolChoice
  readonly note: string | undefined
  /** those that are not in the history yet, and before the step has been played those that are, too */
  entries: Array<Entry>
  /** the first entry that is not yet in the history */
  cursor: number
  readonly calls: Array<Call>
  /** the first call whose output is not yet in the history */
  nextOutput: number
  /** calls before this one are admitted, or never will be */
  nextAdmission: number
  streamEnded: boolean
  /** cut: nothing that still streams in counts */
  closed: boolean
  /** text and calls are all in the history */
  played: boolean
  readonly openText: Map<string, TextEntry>
  readonly openReasoning: Map<string, ReasoningEntry>
  /** the ids that the provider's own calls got */
  readonly providerCalls: Map<string, string>
  /** reasoning that waits for the part it came with */
  reasoning: Array<ReasoningEntry>
  /** some was dropped, with the part it came with */
  reasoningLost: boolean
  /** a hand-off was asked for in this step */
  handoff: boolean
  playWaiters: Array<{ readonly before: number; readonly resume: () => void }>
  /** a part of the model's answer has come */
  answered: boolean
  /** the shell's: the fiber that reads the model, its span */
  fiber: unknown
  trace: unknown
}

export type Entry = TextEntry | ReasoningEntry | CallEntry | ResultEntry

export interface TextEntry {
  readonly _tag: "Text"
  readonly step: Step
  text: string
  /** how much of it has been played */
  played: string
  ended: boolean
  play: "idle" | "playing" | "done"
  metadata: Record<string, unknown> | undefined
  /** the shell's: text not yet handed to the output, and whom to tell */
  unread: Array<string>
  notify: (() => void) | undefined
  fiber: unknown
}

export interface ReasoningEntry {
  readonly _tag: "Reasoning"
  text: string
  ended: boolean
  metadata: Record<string, unknown> | undefined
}

export interface CallEntry {
  readonly _tag: "Call"
  readonly callId: string
  readonly name: string
  readonly arguments: unknown
  readonly metadata: Record<string, unknown> | undefined
}

/** A result that the provider itself produced. */
export interface ResultEntry {
  readonly _tag: "Result"
  readonly callId: string
  readonly name: string
  readonly output: unknown
  readonly isError: boolean
}

// ---------------------------------------------------------------------------------------------------- agents, floor

/** An agent at work: what was built of it, and where it stands. */
export interface Activity {
  readonly id: string
  readonly name: string
  readonly instructions: string
  /** what the model may call, by name; the same for the whole life of the activity (rule C3) */
  readonly tools: ReadonlyMap<string, BoundTool>
  readonly prompts: Prompts
  /** `cancel_task` and `get_running_tasks` are among them */
  hasCompanions: boolean
  /** text counts as played as it comes */
  readonly instantOutput: boolean
  readonly context: "inherit" | "empty"
  /** the shell's: model, output, scope, onEnter and onExit */
  readonly built: unknown
  readonly task: Task | undefined
  state: "new" | "current" | "paused" | "ended"
  /** this agent is shown the history from this index on */
  since: number
  /** and what was still to be voiced when it took over without the conversation so far (rule D7) */
  carried: ReadonlyArray<ChatItem>
  /** runs that keep its scope open */
  running: number
}

export interface Task {
  /** the call whose handler waits for the value */
  readonly call: Call | undefined
  readonly resume: (result: TaskResult) => void
  /** the call that ended the task, and with what */
  done: { readonly call: Call | undefined; readonly result: TaskResult } | undefined
}

export type TaskResult =
  | { readonly _tag: "Completed"; readonly value: unknown }
  | { readonly _tag: "Declined"; readonly reason: string }
  | { readonly _tag: "SessionClosed" }

export interface Handoff {
  readonly to: Activity
  /** the call that asked; none: from outside */
  readonly call: Call | undefined
  /** inline: with the step of the call; idle: at the next idle moment; now: when the mouth is free */
  readonly when: "inline" | "idle" | "now"
  /** of the turn that asked: the hand-off, and what the new agent begins with, are part of it (rule R1) */
  readonly jobs: ReadonlyArray<Job>
  readonly resume: ((done: boolean) => void) | undefined
}

export interface FloorRequest {
  readonly call: Call
  readonly seq: number
  granted: boolean
  readonly resume: (granted: boolean) => void
}

export interface Floor {
  readonly call: Call
  depth: number
}

export interface Filler {
  readonly call: Call
  readonly delay: number
  readonly interval: number | undefined
  readonly maxSteps: number
  readonly say: (step: number) => string | undefined
  step: number
  timer: Timer | undefined
  speech: Speech | undefined
  /** its time has come; the text is being asked for */
  due: boolean
  ended: boolean
}

export interface IdleWaiter {
  /** it asked while an agent was leaving */
  readonly leaving: boolean
  readonly caller: Call | undefined
  readonly resume: (idle: boolean) => void
}

/** What `session.run` waits for: how many speeches, calls, deliveries and hand-offs of its turn are still open. */
export interface Job {
  open: number
  readonly items: Array<ChatItem>
  text: string
  resume: ((closed: boolean) => void) | undefined
}

// --------------------------------------------------------------------------------------------------- machine ↔ shell

export type TimerKind =
  | { readonly _tag: "Release"; readonly call: Call }
  | { readonly _tag: "Timeout"; readonly run: Run }
  | { readonly _tag: "Replace"; readonly admission: Admission }
  | { readonly _tag: "Filler"; readonly filler: Filler }
  | { readonly _tag: "Drain" }
  | { readonly _tag: "GiveUp" }

export interface Timer {
  readonly kind: TimerKind
  readonly millis: number
  cancelled: boolean
  /** the shell's: the sleeping fiber */
  fiber: unknown
}

/** What the machine wants done. Nothing here waits: the shell starts a fiber, interrupts one, or calls a function. */
export type Command =
  | { readonly _tag: "StartRun"; readonly run: Run }
  | { readonly _tag: "InterruptRun"; readonly run: Run }
  | { readonly _tag: "Decode"; readonly call: Call; readonly tool: BoundTool; readonly confirmed: boolean }
  | { readonly _tag: "AskPolicy"; readonly admission: Admission }
  | { readonly _tag: "StopPolicy"; readonly admission: Admission }
  | { readonly _tag: "AskModel"; readonly step: Step }
  | { readonly _tag: "ReadText"; readonly step: Step }
  | { readonly _tag: "StopReading"; readonly step: Step }
  | { readonly _tag: "Play"; readonly entry: TextEntry }
  | { readonly _tag: "StopPlaying"; readonly entry: TextEntry }
  | { readonly _tag: "StartTimer"; readonly timer: Timer }
  | { readonly _tag: "StopTimer"; readonly timer: Timer }
  | { readonly _tag: "SayFiller"; readonly filler: Filler }
  | { readonly _tag: "Wake"; readonly resume: () => void }
  | { readonly _tag: "LeaveAgent"; readonly handoff: Handoff | undefined; readonly from: Activity }
  /** the shell tells once `onEnter` has run to its first wait */
  | { readonly _tag: "EnterAgent"; readonly activity: Activity; readonly jobs: ReadonlyArray<Job> }
  | { readonly _tag: "StopEntering"; readonly activity: Activity }
  | { readonly _tag: "CloseAgent"; readonly activity: Activity }
  | { readonly _tag: "Log"; readonly level: "warning" | "error"; readonly message: string; readonly cause?: unknown }
  | { readonly _tag: "Drained" }

/** What telemetry is told: the machine's own objects, in the order in which it happened. */
export type Observation =
  | { readonly _tag: "SpeechCreated"; readonly speech: Speech }
  | { readonly _tag: "SpeechSpoke"; readonly speech: Speech }
  | { readonly _tag: "SpeechEnded"; readonly speech: Speech }
  | { readonly _tag: "StepStarted"; readonly step: Step }
  | { readonly _tag: "StepAnswered"; readonly step: Step }
  | { readonly _tag: "StepDescribed"; readonly step: Step; readonly part: Described }
  | { readonly _tag: "StepFailed"; readonly step: Step; readonly error: AiError.AiError }
  /** the fiber that read the model has ended */
  | { readonly _tag: "StepEnded"; readonly step: Step; readonly exit: Exit.Exit<unknown, unknown> }
  | { readonly _tag: "CallStarted"; readonly call: Call }
  | { readonly _tag: "CallDecided"; readonly admission: Admission; readonly verdict: Verdict["_tag"] }
  | { readonly _tag: "CallJoined"; readonly call: Call; readonly run: Run }
  | {
      readonly _tag: "CallUpdated"
      readonly call: Call
      readonly id: string
      readonly message: unknown
      readonly mode: DeliveryMode
      readonly first: boolean
    }
  | { readonly _tag: "CallReleased"; readonly call: Call; readonly by: "update" | "timer" | "model" }
  | { readonly _tag: "CallEnded"; readonly call: Call; readonly ending: Ending; readonly output: unknown }
  | { readonly _tag: "RunQueued"; readonly run: Run }
  | { readonly _tag: "RunStarted"; readonly run: Run }
  | { readonly _tag: "RunCommitted"; readonly run: Run }
  | { readonly _tag: "StopAsked"; readonly run: Run; readonly reason: StopReason }
  | {
      readonly _tag: "DeliveryEnded"
      readonly delivery: Delivery
      readonly how: Extract<DeliveryState, { readonly _tag: "Ended" }>["how"]
    }
  | {
      readonly _tag: "ReplyEnded"
      /** none: it was dropped before it was formed */
      readonly reply: Reply | undefined
      readonly status: "completed" | "interrupted" | "skipped" | "failed" | "dropped"
    }
  | { readonly _tag: "HandedOff"; readonly from: string; readonly to: string }

export type Described = Extract<Part, { readonly type: "finish" | "response-metadata" }>

export interface Options {
  readonly maxToolSteps: number
  readonly maxPendingUpdates: number
  readonly maxRunning: number
  /** milliseconds, as all durations in here; none: never */
  readonly releaseAfter: number | undefined
  readonly drainTimeout: number
  readonly cancellationTimeout: number
  readonly onInterruptedReply: "drop" | "redeliver"
}

export interface State {
  readonly options: Options
  /** set before each transition */
  now: number
  phase: "open" | "closing" | "closed"
  seq: number
  itemId: number
  speechId: number
  replyId: number

  readonly history: Array<ChatItem>
  /** counts what left the history again */
  historyRemovals: number
  /** every call id of the history and of the calls at work; `provider`: a call of the provider's own without result */
  readonly callIds: Map<string, "call" | "pair" | "provider">
  /** where to look for the next free `<callId>_<n>` */
  readonly nextSuffix: Map<string, number>

  /** the agents from the first to the current one; those below the last are paused by a task */
  readonly agents: Array<Activity>
  readonly calls: Map<string, Call>
  /** calls whose output is not in the history yet, ended ones too */
  readonly unrecorded: Map<string, Call>
  readonly runs: Set<Run>
  /** runs of users' tools that have been admitted, queued ones too */
  running: number
  readonly admissions: Map<string, { current: Admission | undefined; readonly queue: Array<Admission> }>

  /** deliveries that wait for a reply, oldest first */
  readonly pending: Set<Delivery>
  /** how many of them interrupt */
  urgent: number
  /** silent updates that no reply has shown to the model yet */
  silent: Array<Delivery>
  /** tool steps of replies that may act, since the user's last turn */
  actSteps: number

  mouth: Speech | undefined
  readonly queue: Array<Speech>
  /** every speech that has not ended */
  readonly speeches: Set<Speech>
  userClaims: number
  readonly floors: Array<Floor>
  readonly floorRequests: Array<FloorRequest>
  readonly fillers: Set<Filler>
  handoff: Handoff | undefined
  /** hand-offs from outside that come after the one under way */
  handoffWaiters: Waiters
  /** since when an agent leaves: its `onExit` runs */
  leavingSince: number | undefined
  /** `onExit` has run; the last words may still be spoken */
  entering: Handoff | undefined
  readonly idleWaiters: Set<IdleWaiter>
  readonly jobs: Set<Job>
  agentState: "listening" | "thinking" | "speaking"
  drainTimer: Timer | undefined

  events: Array<SessionEvent>
  observations: Array<Observation>
  commands: Array<Command>
}

export const make = (options: Options): State => ({
  options,
  now: 0,
  phase: "open",
  seq: 0,
  itemId: 0,
  speechId: 0,
  replyId: 0,
  history: [],
  historyRemovals: 0,
  callIds: new Map(),
  nextSuffix: new Map(),
  agents: [],
  calls: new Map(),
  unrecorded: new Map(),
  runs: new Set(),
  running: 0,
  admissions: new Map(),
  pending: new Set(),
  urgent: 0,
  silent: [],
  actSteps: 0,
  mouth: undefined,
  queue: [],
  speeches: new Set(),
  userClaims: 0,
  floors: [],
  floorRequests: [],
  fillers: new Set(),
  handoff: undefined,
  handoffWaiters: none,
  leavingSince: undefined,
  entering: undefined,
  idleWaiters: new Set(),
  jobs: new Set(),
  agentState: "listening",
  drainTimer: undefined,
  events: [],
  observations: [],
  commands: []
})

// ------------------------------------------------------------------------------------------------------------ basics

type Unstamped<E> = E extends unknown ? Omit<E, "at"> : never

export const emit = (s: State, event: Unstamped<SessionEvent>): void => {
  s.events.push({ at: s.now, ...event } as SessionEvent)
}

export const command = (s: State, c: Command): void => {
  s.commands.push(c)
}

export const observe = (s: State, o: Observation): void => {
  s.observations.push(o)
}

/** Most calls never have any: an array for each would be a good part of what a call in flight costs. */
export const none: ReadonlyArray<never> = []

export const wake = (s: State, resume: () => void): void => {
  s.commands.push({ _tag: "Wake", resume })
}

export type Waiters = ReadonlyArray<() => void>

export const addWaiter = <K extends string, W>(of: Record<K, ReadonlyArray<NoInfer<W>>>, list: K, waiter: W): void => {
  of[list] = [...of[list], waiter]
}

/** It waits no longer. */
export const removeWaiter = <K extends string, W>(
  of: Record<K, ReadonlyArray<NoInfer<W>>>,
  list: K,
  waiter: W
): void => {
  of[list] = without(of[list], waiter)
}

/** Tells all of them; nobody waits then. */
export const allWoken = (s: State, waiters: Waiters): ReadonlyArray<never> => {
  for (const resume of waiters) wake(s, resume)
  return none
}

export const without = <A>(all: ReadonlyArray<A>, one: A): ReadonlyArray<A> => {
  const left = all.filter((other) => other !== one)
  return left.length === 0 ? none : left
}

export const currentAgent = (s: State): Activity => s.agents[s.agents.length - 1] as Activity

export const startTimer = (s: State, kind: TimerKind, millis: number): Timer => {
  const timer: Timer = { kind, millis, cancelled: false, fiber: undefined }
  s.commands.push({ _tag: "StartTimer", timer })
  return timer
}

export const stopTimer = (s: State, timer: Timer | undefined): undefined => {
  if (timer !== undefined && !timer.cancelled) {
    timer.cancelled = true
    s.commands.push({ _tag: "StopTimer", timer })
  }
  return undefined
}

/** The parts of a model's stream that the machine understands. */
export type Part = Response.StreamPartEncoded

export type { Prompts, Template, UpdateArgs }
