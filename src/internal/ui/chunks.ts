/**
 * The words of the AI SDK's UI message stream, as far as they are used here.
 */

/** What the last chunk of a message says of it (rule V9). */
export interface MessageMetadata {
  /** The agent that spoke last. */
  readonly agent?: string
  /** What the model calls itself. */
  readonly model?: string
  /** The sum of the model's steps in this message, in tokens; what nobody reported is absent. */
  readonly usage?: Readonly<Record<string, number>>
}

/** How a call stands that an earlier message has shown. */
export interface CallData {
  readonly toolCallId: string
  readonly toolName: string
  readonly state: "approval-requested" | "output-available" | "output-error" | "output-denied"
  /** only if a person has edited it */
  readonly input?: unknown
  readonly output?: unknown
  readonly preliminary?: boolean
  readonly errorText?: string
  readonly approval?: { readonly id: string; readonly descriptor?: unknown }
}

export type UiChunk =
  | { readonly type: "start"; readonly messageId?: string }
  | { readonly type: "start-step" }
  | { readonly type: "finish-step" }
  | { readonly type: "text-start" | "text-end" | "reasoning-start" | "reasoning-end"; readonly id: string }
  | { readonly type: "text-delta" | "reasoning-delta"; readonly id: string; readonly delta: string }
  | { readonly type: "file"; readonly url: string; readonly mediaType: string }
  | {
      readonly type: "tool-input-available"
      readonly toolCallId: string
      readonly toolName: string
      readonly input: unknown
    }
  | {
      readonly type: "tool-approval-request"
      readonly approvalId: string
      readonly toolCallId: string
      readonly approvalDescriptor?: unknown
    }
  | {
      readonly type: "tool-output-available"
      readonly toolCallId: string
      readonly output: unknown
      readonly preliminary?: boolean
    }
  | { readonly type: "tool-output-error"; readonly toolCallId: string; readonly errorText: string }
  | { readonly type: "tool-output-denied"; readonly toolCallId: string }
  | { readonly type: "data-call"; readonly id: string; readonly data: CallData; readonly transient: true }
  | {
      readonly type: "data-progress"
      readonly id: string
      readonly data: { readonly toolCallId: string; readonly value: unknown }
      readonly transient: true
    }
  | { readonly type: "error"; readonly errorText: string }
  | {
      readonly type: "finish"
      readonly finishReason?: "stop" | "length" | "content-filter" | "tool-calls" | "error" | "other"
      readonly messageMetadata?: MessageMetadata
    }

/** A message of the protocol (`UIMessage` of `ai`). */
export interface UIMessage {
  readonly id: string
  readonly role: "user" | "assistant" | "system"
  readonly metadata?: MessageMetadata
  readonly parts: ReadonlyArray<UIPart>
}

export type UIPart =
  | { readonly type: "step-start" }
  | { readonly type: "text" | "reasoning"; readonly text: string; readonly state: "done" }
  | { readonly type: "file"; readonly mediaType: string; readonly url: string; readonly filename?: string }
  | ToolPart

/** `tool-<name>` */
export interface ToolPart {
  readonly type: `tool-${string}`
  readonly toolCallId: string
  readonly state:
    | "input-available"
    | "approval-requested"
    | "approval-responded"
    | "output-available"
    | "output-error"
    | "output-denied"
  readonly input: unknown
  readonly output?: unknown
  readonly preliminary?: boolean
  readonly errorText?: string
  readonly approval?: {
    readonly id: string
    readonly approved?: boolean
    readonly reason?: string
    readonly descriptor?: unknown
  }
}
