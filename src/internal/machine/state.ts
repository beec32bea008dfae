/**
 * The state of a session as types: two state machines (a call, a delivery), the speeches that take turns, and what
 * the machine asks the shell to do. Only inputs of the machine change it; nothing here or there runs an Effect.
 */
import type { Durable } from "./durable.js"
import type { Inbox } from "./messages.js"
import type { Command, Decoded, Metadata, ModelFailure, Observation, Timer, TimerKind } from "./protocol.js"
import type { Saving } from "./saving.js"
import type {
  AgentParts,
  ApprovalTrace,
  CallTrace,
  Cause,
  ChatItem,
  DeliveryMode,
  DuplicateScope,
  Fiber,
  File,
  Mode,
  PendingApproval,
  Prompts,
  SessionEvent,
  StepTrace,
  Template,
  ToolCall,
  TurnTrace,
  UpdateArgs,
  Usage
} from "./words.js"

// ---------------------------------------------------------------------------------------------------------- tools

/** What the machine knows of a tool that a scope has bound. */
export interface Tool {
  readonly name: string
  readonly kind: "user" | "companion" | "provider"
  readonly options: ToolOptions
  readonly executor: Executor
  readonly policy: ToolPolicy
  /** a person is asked of each call, or a policy of the program says whether; none: its calls run (rule A3) */
  readonly approval: "always" | "policy" | undefined
  /** milliseconds after which nobody is asked any longer; none: never */
  readonly approvalTimeout: number | undefined
  readonly prompts: Prompts
  /** milliseconds */
  readonly releaseAfter: number | undefined
  readonly timeout: number | undefined
  /** its calls begin once the step has ended well (rule T2) */
  readonly afterStep: boolean
  /** parameters of ours, which the handler never sees */
  readonly added: ReadonlyArray<string>
  /** plain arguments without what is ours, and without null for what is left out */
  readonly ownArguments: (args: Record<string, unknown>) => Record<string, unknown>
}

export interface ToolOptions {
  readonly allowCancellation?: boolean | undefined
  readonly cancelOnInterruption?: boolean | undefined
  readonly delivery?: DeliveryMode | undefined
  readonly onResult?: "speak" | "act" | undefined
  readonly onHandoff?: "cancel" | "await" | "promote" | undefined
  /** what its calls are told while they run; none: nothing (rule G1) */
  readonly messages?: unknown
}

export type ToolPolicy =
  | { readonly _tag: "Mode"; readonly mode: Mode; readonly scope: DuplicateScope }
  /** a policy of the program's own, which the shell asks */
  | { readonly _tag: "Custom"; readonly scope: DuplicateScope }

// ---------------------------------------------------------------------------------------------------------- calls

/**
 * The first state machine: what a call is to the conversation.
 *
 *     Inline ──first update, release──▶ Background ──▶ Ended
 *        └────────────────────────────────────────────▶ Ended
 */
type CallState =
  | { readonly _tag: "Inline" }
  | { readonly _tag: "Background" }
  | { readonly _tag: "Ended"; readonly status: "done" | "error" | "cancelled" }

export const Inline: CallState = { _tag: "Inline" }
export const Background: CallState = { _tag: "Background" }

/** Why a run is being stopped. The first reason stays. */
export type StopReason = "cancelled" | "replaced" | "drained" | "timeout"

/** How the fiber of a run ended, seen from the conversation. */
export type Outcome =
  | { readonly _tag: "Success"; readonly output: unknown; readonly files?: ReadonlyArray<File> | undefined }
  | { readonly _tag: "Nothing" }
  | {
      readonly _tag: "Failure"
      readonly output: unknown
      readonly how: "failed" | "defect"
      /** what kind of error it was, in one word */
      readonly errorType: string
      /** the cause of a defect */
      readonly cause?: Cause
    }
  | { readonly _tag: "Interrupted"; readonly reason: StopReason }

/** How a call ended, for those who count: more exact than its status. */
export interface Ending {
  readonly how:
    | "done"
    | "duplicate"
    | "refused"
    | "denied"
    | "expired"
    | "failed"
    | "defect"
    | "timeout"
    | Exclude<StopReason, "timeout">
  readonly errorType: string | undefined
  readonly cause?: Cause
}

/** The output of a call, known but perhaps not yet in the history. */
export interface Output {
  /** JSON, or a text that is being worded */
  value: unknown
  readonly isError: boolean
  readonly files?: ReadonlyArray<File> | undefined
  /** the model is asked to reply to it in the same turn */
  readonly reply: boolean
  /** the call goes on, or waits until somebody agrees: its end comes as `<callId>_final` */
  open: "running" | "approval" | undefined
}

/** A call of the model, from the moment it streams in until its last item is in the history. */
export interface Call {
  readonly callId: string
  /** with the arguments that a person has edited, once somebody has (rule A5) */
  call: ToolCall
  readonly metadata: Metadata
  readonly tool: Tool | undefined
  readonly step: Step
  readonly startedAt: number
  /** those that have ended while it waited for approval are gone */
  jobs: ReadonlyArray<Job>
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
  /** the recorder's */
  trace: CallTrace | undefined
}

/** One execution of a handler. */
export interface Run {
  readonly tool: Tool
  readonly calls: Array<Call>
  /** the agent whose leaving concerns this run; none: the session's */
  owner: Activity | undefined
  /** decoded arguments, for the handler alone */
  params: unknown
  /** canonical text of the arguments, once somebody compared them */
  argsKey: string | undefined
  /**
   * `held` until the step that asks has ended; then it is admitted, or does not run:
   *
   *     held ──▶ admitting ──▶ approving ──▶ queued ──▶ working ──▶ ended
   *                  ▲────────────┘
   *
   * Each but the last may be passed over, and each may be followed by the last. One that is approved, and takes the place
   * of others, is admitted once more until these have stopped.
   */
  phase: "held" | "admitting" | "approving" | "queued" | "working" | "ended"
  stop: StopReason | undefined
  committed: boolean
  updated: boolean
  /** all that was reported so far was silent */
  silent: boolean
  lastUpdate: unknown
  lastIsText: boolean
  /** what came with the last update */
  lastFiles: ReadonlyArray<File> | undefined
  /** the template of the last update, for those who join later */
  lastTemplate: Template<UpdateArgs> | undefined
  /** since when it waits for its executor */
  queuedAt: number | undefined
  timeoutTimer: Timer | undefined
  /** told once the run has ended */
  endWaiters: Waiters
  /** told once cancellation has been asked for */
  stopWaiters: Waiters
  /** none: it takes no messages */
  readonly inbox: Inbox | undefined
  /** the shell's */
  fiber: Fiber | undefined
}

/**
 * The way of a call from its decoded arguments to its start:
 *
 *     Queued ──▶ Comparing ──▶ Asking ──▶ Replacing ──▶ Over (runs, joins, is refused, is withdrawn)
 *
 * Each state but the last may be passed over. Calls with one key are admitted one after the other.
 */
export type AdmissionState =
  /** another of its key is being admitted */
  | { readonly _tag: "Queued" }
  /** the arguments of running calls are made text */
  | { readonly _tag: "Comparing" }
  /** a policy of the program's own decides, of these duplicates */
  | { readonly _tag: "Asking"; readonly running: ReadonlyArray<Run> }
  /** it waits until these have stopped */
  | { readonly _tag: "Replacing"; readonly left: Set<Run>; timer: Timer | undefined }
  | { readonly _tag: "Over" }

export interface Admission {
  readonly key: string
  readonly run: Run
  readonly call: Call
  state: AdmissionState
  /** how many duplicates there were when it was last looked */
  running: number
  /** somebody has agreed that it takes the place of these: nothing else is decided any more */
  readonly approved: ReadonlyArray<Run> | undefined
  /** the shell's: the policy that decides */
  fiber: Fiber | undefined
}

/** The calls of one key: the one that is being admitted, and those behind it. */
interface Gate {
  current: Admission | undefined
  readonly queue: Array<Admission>
}

/**
 * A call that may not run before somebody agrees (rules A):
 *
 *     Asking ──▶ Waiting ──▶ Over (runs, is denied, is answered, has expired, is withdrawn)
 *
 * Each state but the last may be passed over.
 */
export type ApprovalState =
  /** a policy of the program says whether somebody is to be asked */
  | { readonly _tag: "Asking" }
  | {
      readonly _tag: "Waiting"
      readonly reason: string | undefined
      readonly requestedAt: number
      readonly expiresAt: number | undefined
      timer: Timer | undefined
    }
  | { readonly _tag: "Over" }

export interface Approval {
  readonly run: Run
  /** the running calls that are to stop for it, once somebody has agreed */
  readonly replaces: ReadonlyArray<Run>
  state: ApprovalState
  /** the shell's: the policy that decides */
  fiber: Fiber | undefined
  /** the recorder's */
  trace: ApprovalTrace | undefined
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
  /** JSON, or a text that is being worded */
  value: unknown
  readonly isError: boolean
  readonly files?: ReadonlyArray<File> | undefined
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
  /** the user's message, which is recorded once the turn begins; none: it is */
  opening: Opening | undefined
  /** of `say`: a text, or a stream of it, which is the shell's */
  readonly text: unknown
  /** what this reply adds to the conversation */
  instructions: Text | undefined
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
  /** calls were made although none were allowed, and got one more step */
  refused: boolean
  /** how often in a row the model has paused */
  pauses: number
  /** the next step goes on with an answer that was paused: the first of its items, among those of the speech */
  continues: number | undefined
  /** what its last answer said; a text that a pause has split is one */
  said: string
  /** the output has reported something of the step (rule O3) */
  spoke: boolean
  /** and that a word of it was heard, or that sound has begun */
  heard: boolean
  /** the output has reported something of it, or it has made a call, in any of its steps (rule O5) */
  begun: boolean
  /** its output has failed it */
  broken: "died" | "stalled" | undefined
  /** the claim in which its message was sent, by number: in that one it is played (rule O1); 0: in none */
  readonly claim: number
  /** a first update that interrupts let it go on (rule U7) */
  urgent: boolean
  step: Step | undefined
  items: Array<ChatItem>
  failure: ModelFailure | undefined
  /** the sum of its steps; none: no model has reported any */
  usage: Usage | undefined
  /** somebody has asked whether it failed, before it ended */
  watched: boolean
  waiters: ReadonlyArray<SpeechWaiter>
  /** the recorder's */
  trace: TurnTrace | undefined
}

/** Somebody who waits for the end of a speech; is called as well if the speech waits for them. */
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
  note: Text | undefined
  /** its first item, among those of the speech */
  readonly from: number
  /** it goes on with an answer that was paused, whose first item this is */
  readonly continues: number | undefined
  /** why the model ended it; none: it has not said so */
  finish: string | undefined
  /** as the model calls itself, if it does */
  model: string | undefined
  /** what the model says that the step has cost, if it does */
  usage: Usage | undefined
  /** its end was told */
  told: boolean
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
  /** the model has said all that it had to say (rule T2) */
  complete: boolean
  /** cut: nothing that still streams in counts */
  closed: boolean
  /** text and calls are all in the history */
  played: boolean
  openText: ReadonlyMap<string, TextEntry>
  openReasoning: ReadonlyMap<string, ReasoningEntry>
  /** the ids that the provider's own calls got */
  providerCalls: ReadonlyMap<string, string>
  /** by the model's own id: the ids of calls whose input is being told; they are reserved until the call is there */
  inputs: Map<string, string> | undefined
  /** reasoning that waits for the part it came with */
  reasoning: Array<ReasoningEntry>
  /** some was dropped, with the part it came with */
  reasoningLost: boolean
  /** a hand-off was asked for in this step */
  handoff: boolean
  playWaiters: Array<{ readonly before: number; readonly resume: () => void }>
  /** a part of the model's answer has come */
  answered: boolean
  /** the shell's: what reads the model */
  fiber: Fiber | undefined
  /** the recorder's */
  trace: StepTrace | undefined
}

export type Entry = TextEntry | ReasoningEntry | FileEntry | CallEntry | ResultEntry

export interface TextEntry {
  readonly _tag: "Text"
  readonly step: Step
  text: string
  /** what was heard of it, by offsets or pieces (rule O2) */
  played: string
  ended: boolean
  /**
   * idle ──▶ playing ──▶ stopping ──▶ done. What is only held goes from `stopping` back to `idle`, and is played once
   * more from the sentence that was interrupted.
   */
  play: "idle" | "playing" | "stopping" | "done"
  /** the call of the output that plays it, or was the last to; none: it was never asked to */
  playback: Playback | undefined
  metadata: Metadata
  /** the shell's: text not yet handed to the output, and whom to tell */
  unread: Array<string>
  notify: (() => void) | undefined
  fiber: Fiber | undefined
  /** the output has been asked to play it, and does not wait for another to stop */
  begun: boolean
}

/** One call of the output's `play`. */
export interface Playback {
  /** where in the text of the entry its own text begins */
  readonly from: number
  /** what had been heard before it */
  readonly before: string
  /** the pieces that it has reported; none: no piece yet */
  pieces: string | undefined
  /** it has reported an offset: pieces do not count any more */
  offsets: boolean
  /** it ended by itself and has reported nothing: all of its text was played (rule O4) */
  whole: boolean
  /** what comes once it has stopped; none: nobody has stopped it */
  stop: Stopping | undefined
  /** while it plays: of an output that may stall; while it stops: how long it may report */
  timer: Timer | undefined
  /** of an output that may stall: since when it has reported nothing, and that it waits for text */
  quietSince: number
  starved: boolean
}

/** The speech ends; its step is asked for again; or it waits until the user no longer has the floor, and goes on. */
export type Stopping = "end" | "retry" | "hold"

/** What the machine has to know of an output that plays. */
export interface OutputTraits {
  /** milliseconds in which it may still report where it stopped (rule O4) */
  readonly stopTimeout: number
  /** milliseconds that it may be without a report; none: for ever (rule O6) */
  readonly stallTimeout: number | undefined
  readonly canPause: boolean
  /** it knows when sound begins: before that, a speech can be taken back unheard (rule O1) */
  readonly tellsStart: boolean
}

export interface ReasoningEntry {
  readonly _tag: "Reasoning"
  text: string
  ended: boolean
  metadata: Metadata
}

export interface FileEntry {
  readonly _tag: "File"
  readonly file: File
  readonly metadata: Metadata
}

export interface CallEntry {
  readonly _tag: "Call"
  readonly callId: string
  readonly name: string
  arguments: unknown
  readonly metadata: Metadata
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

/** An agent at work: what was built of it, and its state. */
export interface Activity {
  readonly id: string
  readonly name: string
  readonly instructions: string
  /** what the model may call, by name; the same for the whole life of the activity (rule C3) */
  readonly tools: ReadonlyMap<string, Tool>
  readonly prompts: Prompts
  /** `cancel_task` and `get_running_tasks` are among them */
  hasCompanions: boolean
  /** text counts as played as it comes */
  readonly instantOutput: boolean
  /** none: it needs no time */
  readonly output: OutputTraits | undefined
  readonly context: "inherit" | "empty"
  /** the shell's */
  readonly built: AgentParts
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
  /** what `session.runTask` asks of it (rule B5) */
  readonly asked?: AskedTask | undefined
}

export interface AskedTask {
  /** what the user says to it */
  readonly text: string | undefined
  readonly files?: ReadonlyArray<File> | undefined
  said: boolean
  /** its result was asked for, since its turn had ended without */
  pressed: boolean
  /** a model failed in it */
  failure: ModelFailure | undefined
}

export type TaskResult =
  | { readonly _tag: "Completed"; readonly value: unknown }
  | { readonly _tag: "Declined"; readonly reason: string }
  | { readonly _tag: "Failed"; readonly failure: ModelFailure }
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
  /** the first failure of a model in it */
  failure: ModelFailure | undefined
  /** calls of it that waited for approval when it ended: it did not wait for them (rule A9) */
  approvals: ReadonlyArray<PendingApproval>
  /** the sum of the model steps in it; none: no model has reported any */
  usage?: Usage | undefined
  /** who waits for it; several, if a turn has an id */
  waiters: ReadonlyArray<JobWaiter>
}

export interface JobWaiter {
  /** the call whose handler waits; none: a program does */
  readonly caller: Call | undefined
  /** `circular`: it waits for itself */
  readonly resume: (how: "done" | "closed" | "circular") => void
}

/** What a user says and sends. */
export interface Input {
  readonly text: string
  readonly files?: ReadonlyArray<File> | undefined
}

/** A turn that a program has given an id: the same id is the same turn (rule Q19). */
export interface Turn {
  readonly id: string
  readonly input: Input
  readonly speech: Speech
  readonly job: Job
  /** none: it is under way */
  endedAt: number | undefined
}

/** What the user has said while the output of what it cut was stopping: it comes behind what was heard of that. */
export interface Unsaid {
  readonly input: Input
  readonly author: string | undefined
  readonly jobs: ReadonlyArray<Job>
}

/** What the user says, as long as the turn that it begins has not begun (rule R8). */
export interface Opening extends Input {
  readonly author: string | undefined
  /** those who would have to end first wait for it: it begins beside them */
  urged: boolean
}

// ------------------------------------------------------------------------------------------------------------ texts

/** A text that is there, or one that is being worded. */
export type Text = string | Phrase

/**
 * A text by a template. Templates may be functions of the program, and none of these runs within an input: the machine
 * says which template, with which arguments; the shell words it once the input is over, before anything leaves. All
 * places that hold the phrase then hold the text.
 */
export class Phrase {
  private places: Array<{ readonly holder: object; readonly key: string }> = []

  constructor(
    readonly name: keyof Prompts,
    readonly template: Template<never>,
    readonly args: object
  ) {}

  /** This field will hold the text. */
  stands<K extends string>(holder: { readonly [k in K]?: unknown }, key: K): void {
    this.places.push({ holder, key })
  }

  word(text: string): void {
    for (const { holder, key } of this.places) Reflect.set(holder, key, text)
    this.places = []
  }
}

/** Where a value may be a phrase: the field follows it. */
export const follow = <K extends string, H extends { readonly [k in K]?: unknown }>(holder: H, key: K): H => {
  const value = holder[key]
  if (value instanceof Phrase) value.stands(holder, key)
  return holder
}

export const phrase = <K extends keyof Prompts>(
  s: State,
  prompts: Prompts,
  name: K,
  args: Prompts[K] extends Template<infer Args> ? Args & object : never,
  template: Template<any> = prompts[name]
): Phrase => {
  const made = new Phrase(name, template, args)
  s.phrases.push(made)
  return made
}

// ------------------------------------------------------------------------------------------------------------ state

export interface Options {
  readonly maxToolSteps: number
  readonly maxPendingUpdates: number
  readonly maxMessages: number
  readonly maxRunning: number
  /** milliseconds, as all durations in here; none: never */
  readonly releaseAfter: number | undefined
  readonly drainTimeout: number
  readonly cancellationTimeout: number
  readonly onInterruptedReply: "drop" | "redeliver"
  /** what is written is told as it is written (rule B6) */
  readonly deltas: boolean
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
  /** how far `onItems` has come; none: nobody saves */
  saving: Saving | undefined
  /** what is stored of it; none: it is not durable */
  durable: Durable | undefined
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
  readonly gates: Map<string, Gate>
  /** steps whose end calls wait for */
  holding: ReadonlyArray<Step>
  /** calls that wait until somebody agrees, oldest first */
  approvals: ReadonlyArray<Approval>

  /** deliveries that wait for a reply, oldest first */
  readonly pending: Set<Delivery>
  /** how many of them interrupt */
  urgent: number
  /** deliveries whose output has failed them: they wait until a speech begins (rule O5) */
  parked: ReadonlyArray<Delivery>
  /** silent updates that no reply has shown to the model yet */
  silent: Array<Delivery>
  /** tool steps of replies that may act, since the user's last turn */
  actSteps: number

  mouth: Speech | undefined
  /** it ends once its output has stopped; the next may have the mouth, and begins then (rule O4) */
  stopping: Speech | undefined
  /** the speech that has the mouth is to begin its step then */
  starting: boolean
  readonly queue: Array<Speech>
  /** every speech that has not ended */
  readonly speeches: Set<Speech>
  /** how many claims and turns of the user are open, and how many there have been */
  userClaims: number
  claims: number
  /** the speech is paused that has the mouth, or had it: with the play of this text, if there is one (rule O7) */
  paused: { readonly entry: TextEntry | undefined } | undefined
  unsaid: ReadonlyArray<Unsaid>
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
  /** those that somebody waits for */
  readonly jobs: Set<Job>
  /** by their ids, oldest first; of those that have ended so many as are kept */
  readonly turns: Map<string, Turn>
  agentState: "listening" | "thinking" | "speaking"
  drainTimer: Timer | undefined

  /** texts that this input made and that are to be worded */
  phrases: Array<Phrase>
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
  saving: undefined,
  durable: undefined,
  callIds: new Map(),
  nextSuffix: new Map(),
  agents: [],
  calls: new Map(),
  unrecorded: new Map(),
  runs: new Set(),
  running: 0,
  gates: new Map(),
  holding: none,
  approvals: none,
  pending: new Set(),
  urgent: 0,
  parked: none,
  silent: [],
  actSteps: 0,
  mouth: undefined,
  stopping: undefined,
  starting: false,
  queue: [],
  speeches: new Set(),
  userClaims: 0,
  claims: 0,
  paused: undefined,
  unsaid: none,
  floors: [],
  floorRequests: [],
  fillers: new Set(),
  handoff: undefined,
  handoffWaiters: none,
  leavingSince: undefined,
  entering: undefined,
  idleWaiters: new Set(),
  jobs: new Set(),
  turns: new Map(),
  agentState: "listening",
  drainTimer: undefined,
  phrases: [],
  events: [],
  observations: [],
  commands: []
})

// ------------------------------------------------------------------------------------------------------------ basics

type Unstamped<E> = E extends unknown ? Omit<E, "at"> : never

/**
 * Gives the event that listeners will get, for the texts in it that are still to be worded. The event is new, made for
 * this call, so that its time is put on it: a copy of each event was a tenth of what the machine costs.
 */
export const emit = <E extends Unstamped<SessionEvent>>(s: State, event: E): E => {
  const stamped = event as { at?: number }
  stamped.at = s.now
  // an event without its time, and its time
  s.events.push(stamped as unknown as SessionEvent)
  return event
}

export const command = (s: State, c: Command): void => {
  s.commands.push(c)
}

export const observe = (s: State, o: Observation): void => {
  s.observations.push(o)
}

/** Most calls never have any: an array for each would be a good part of what a call in flight costs. */
export const none: ReadonlyArray<never> = []

/** Most steps have no reasoning and no calls of the provider's own. */
export const nothing: ReadonlyMap<string, never> = new Map<string, never>()

/** The map with one more; the shared empty one stays empty. */
export const put = <V>(map: ReadonlyMap<string, V>, key: string, value: V): ReadonlyMap<string, V> =>
  map === nothing ? new Map([[key, value]]) : (map as Map<string, V>).set(key, value)

export const drop = (map: ReadonlyMap<string, unknown>, key: string): void => {
  if (map.size > 0) (map as Map<string, unknown>).delete(key)
}

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
