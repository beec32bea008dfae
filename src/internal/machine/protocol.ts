/**
 * What goes in and out of the machine as data: the parts of a model's answer, read and made plain by the shell; timers;
 * the commands that the shell carries out; and what telemetry is told.
 */
import type { Metadata as Given } from "../values/metadata.js"
import type { Sent } from "./messages.js"
import type {
  Activity,
  Admission,
  Approval,
  Call,
  Delivery,
  DeliveryState,
  Ending,
  Filler,
  Handoff,
  Job,
  Playback,
  Reply,
  Run,
  Speech,
  Step,
  StopReason,
  TextEntry,
  Tool
} from "./state.js"
import type { ApprovalDecision, Cause, DeliveryMode, File, ModelError, SessionEvent, Usage, Verdict } from "./words.js"

// ------------------------------------------------------------------------------------------------------------- parts

/** What made a call leave its turn. */
export type ReleasedBy = Extract<SessionEvent, { readonly _tag: "ToolCallReleased" }>["by"]

export type Metadata = Given | undefined

/** A part of a model's answer. Everything in it is plain JSON that belongs to the machine. */
export type Part =
  | { readonly type: "text-start" | "text-end"; readonly id: string; readonly metadata: Metadata }
  | { readonly type: "text-delta"; readonly id: string; readonly delta: string; readonly metadata: Metadata }
  | { readonly type: "reasoning-start" | "reasoning-end"; readonly id: string; readonly metadata: Metadata }
  | { readonly type: "reasoning-delta"; readonly id: string; readonly delta: string; readonly metadata: Metadata }
  /** a piece of the arguments of a call that is still to come */
  | { readonly type: "input-delta"; readonly id: string; readonly delta: string }
  | CallPart
  | ProviderCallPart
  | ProviderResultPart
  | { readonly type: "file"; readonly file: File; readonly metadata: Metadata }
  | Described
  | { readonly type: "failure"; readonly failure: ModelFailure }

/** The model asks for a tool. */
export interface CallPart {
  readonly type: "tool-call"
  readonly id: string
  readonly name: string
  /** `{}` if the model sent none that can be used */
  readonly arguments: Record<string, unknown>
  /** why the arguments cannot be used */
  readonly problem: string | undefined
  /** by the tool's schema; "later": the schema takes its time; undefined: nobody has tried */
  readonly decoded: Decoded | "later" | undefined
  readonly metadata: Metadata
}

/** Arguments as the handler gets them, or in words why not. */
export type Decoded =
  | {
      readonly _tag: "Decoded"
      readonly params: unknown
      /** their canonical text, if duplicates are compared by it */
      readonly key: string | undefined
    }
  | { readonly _tag: "Invalid"; readonly problem: string }

/** A call that the provider runs itself. */
export interface ProviderCallPart {
  readonly type: "provider-call"
  readonly id: string
  readonly name: string
  readonly arguments: unknown
  readonly metadata: Metadata
}

export interface ProviderResultPart {
  readonly type: "provider-result"
  readonly id: string
  readonly name: string
  readonly output: unknown
  readonly isError: boolean
}

/** What a provider says of its answer. */
export type Described =
  | { readonly type: "response-metadata"; readonly id: string | undefined; readonly modelId: string | undefined }
  | {
      readonly type: "finish"
      readonly reason: string
      /** none: nothing of it was reported */
      readonly usage: Usage | undefined
      /** the reason is a failure */
      readonly failure: ModelFailure | undefined
    }

/** A failure of a model, in words and in full. */
export interface ModelFailure {
  /** the tag of the `AiError` */
  readonly tag: string
  /** what clients are told */
  readonly message: string
  /** one word for telemetry */
  readonly errorType: string
  /** the answer could not be read: it is asked for once more */
  readonly malformed: boolean
  readonly error: ModelError
  /** none: it was an `AiError`, and no bug of the model's layer */
  readonly cause: Cause | undefined
}

/** How the fiber that read a model ended. */
export type ModelEnd =
  | { readonly _tag: "Done" }
  | { readonly _tag: "Interrupted"; readonly failure: ModelFailure }
  | { readonly _tag: "Failed"; readonly failure: ModelFailure }

// ------------------------------------------------------------------------------------------------------------ timers

export type TimerKind =
  | { readonly _tag: "Release"; readonly call: Call }
  | { readonly _tag: "Timeout"; readonly run: Run }
  | { readonly _tag: "Replace"; readonly admission: Admission }
  | { readonly _tag: "Expire"; readonly approval: Approval }
  | { readonly _tag: "Filler"; readonly filler: Filler }
  | { readonly _tag: "Stop" | "Stall"; readonly entry: TextEntry; readonly playback: Playback }
  | { readonly _tag: "Drain" }
  | { readonly _tag: "GiveUp" }

// ---------------------------------------------------------------------------------------------------------- commands

/** What the machine wants done. Nothing here waits: the shell starts a fiber, interrupts one, or calls a function. */
export type Command =
  | { readonly _tag: "StartRun"; readonly run: Run }
  | { readonly _tag: "InterruptRun"; readonly run: Run }
  | { readonly _tag: "Decode"; readonly call: Call; readonly run: Run }
  /** the arguments of running calls are needed as text */
  | { readonly _tag: "Compare"; readonly admission: Admission; readonly runs: ReadonlyArray<Run> }
  | { readonly _tag: "AskPolicy"; readonly admission: Admission; readonly running: ReadonlyArray<Run> }
  | { readonly _tag: "StopPolicy"; readonly admission: Admission }
  /** is somebody to be asked? */
  | { readonly _tag: "AskApproval"; readonly approval: Approval }
  | { readonly _tag: "StopApproval"; readonly approval: Approval }
  | { readonly _tag: "AskModel"; readonly step: Step }
  | { readonly _tag: "ReadText"; readonly step: Step }
  | { readonly _tag: "StopReading"; readonly step: Step }
  | { readonly _tag: "Play"; readonly entry: TextEntry }
  | { readonly _tag: "StopPlaying"; readonly entry: TextEntry }
  | { readonly _tag: "PausePlaying"; readonly entry: TextEntry }
  | { readonly _tag: "ResumePlaying"; readonly entry: TextEntry }
  | { readonly _tag: "StartTimer"; readonly timer: Timer }
  | { readonly _tag: "StopTimer"; readonly timer: Timer }
  | { readonly _tag: "SayFiller"; readonly filler: Filler }
  | { readonly _tag: "Wake"; readonly resume: () => void }
  | { readonly _tag: "LeaveAgent"; readonly handoff: Handoff | undefined; readonly from: Activity }
  /** the shell tells once `onEnter` has run to its first wait */
  | { readonly _tag: "EnterAgent"; readonly activity: Activity; readonly jobs: ReadonlyArray<Job> }
  | { readonly _tag: "StopEntering"; readonly activity: Activity }
  | { readonly _tag: "CloseAgent"; readonly activity: Activity }
  /** nobody else is told of this failure */
  | { readonly _tag: "LogFailure"; readonly agent: Activity; readonly failure: ModelFailure }
  | { readonly _tag: "Log"; readonly level: "warning" | "error"; readonly message: string }
  | { readonly _tag: "Drained" }

export interface Timer {
  readonly kind: TimerKind
  readonly millis: number
  cancelled: boolean
  /** the shell's: the sleeping fiber */
  fiber: import("./words.js").Fiber | undefined
}

// ------------------------------------------------------------------------------------------------------ observations

/** What telemetry is told: the machine's own objects, in the order in which it happened. */
export type Observation =
  | { readonly _tag: "SpeechCreated"; readonly speech: Speech }
  | { readonly _tag: "SpeechSpoke"; readonly speech: Speech }
  | { readonly _tag: "SpeechEnded"; readonly speech: Speech }
  | { readonly _tag: "StepStarted"; readonly step: Step }
  | { readonly _tag: "StepAnswered"; readonly step: Step }
  | {
      readonly _tag: "StepDescribed"
      readonly step: Step
      readonly part: Extract<Described, { readonly type: "response-metadata" }>
    }
  | { readonly _tag: "StepFailed"; readonly step: Step; readonly failure: ModelFailure }
  /** the fiber that read the model has ended */
  | { readonly _tag: "StepEnded"; readonly step: Step; readonly end: ModelEnd }
  | { readonly _tag: "CallStarted"; readonly call: Call }
  | {
      readonly _tag: "CallDecided"
      readonly call: Call
      readonly tool: Tool
      readonly verdict: Verdict["_tag"]
      /** how many duplicates were running */
      readonly running: number
    }
  | { readonly _tag: "CallJoined"; readonly call: Call; readonly run: Run }
  | { readonly _tag: "ApprovalRequested"; readonly approval: Approval }
  | { readonly _tag: "ApprovalDecided"; readonly approval: Approval; readonly decision: ApprovalDecision }
  | {
      readonly _tag: "CallUpdated"
      readonly call: Call
      readonly id: string
      readonly message: unknown
      readonly mode: DeliveryMode
      readonly first: boolean
    }
  | { readonly _tag: "CallReleased"; readonly call: Call; readonly by: ReleasedBy }
  | { readonly _tag: "CallMessaged"; readonly call: Call; readonly from: Sent["from"]; readonly message: unknown }
  | { readonly _tag: "MessagesLost"; readonly call: Call; readonly count: number }
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
