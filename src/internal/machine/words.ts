/**
 * The words of the machine that others define: types only, and the one file of this folder that may look outside. What
 * is marked as the shell's or the recorder's is kept in the state for them; the machine never looks into it.
 */
import type * as AiError from "@effect/ai/AiError"
import type * as EffectCause from "effect/Cause"
import type * as EffectFiber from "effect/Fiber"
import type { Verdict as ApprovalVerdict, PendingApproval } from "../../ApprovalPolicy.js"
import type { ChatItem, File, ToolCall } from "../../ChatContext.js"
import type { DuplicateScope, Mode, Verdict } from "../../DuplicatePolicy.js"
import type { Delivery as DeliveryMode } from "../../RunContext.js"
import type { ApprovalDecided, SessionEvent, Usage } from "../../SessionEvent.js"
import type { Row } from "../../SessionStorage.js"
import type { Prompts, Template, UpdateArgs } from "../../ToolPrompts.js"
import type { Built } from "../scope/build.js"
import type { ApprovalTrace, CallTrace, StepTrace, TurnTrace } from "../telemetry/recorder.js"

export type {
  ApprovalVerdict,
  ChatItem,
  DeliveryMode,
  DuplicateScope,
  File,
  Mode,
  PendingApproval,
  Prompts,
  Row,
  SessionEvent,
  Template,
  ToolCall,
  UpdateArgs,
  Usage,
  Verdict
}

/** What has become of a call that waited for approval. */
export type ApprovalDecision = ApprovalDecided["decision"]

/** the shell's */
export type Fiber = EffectFiber.RuntimeFiber<any, any>

/** the shell's: what a failure is in full, for logs and spans */
export type Cause = EffectCause.Cause<unknown>

/** the shell's: what a model failed with, for `SpeechHandle.error` */
export type ModelError = AiError.AiError

/** the shell's: model, output, scope, hooks of an agent */
export type AgentParts = Built

/** the recorder's */
export type { ApprovalTrace, CallTrace, StepTrace, TurnTrace }
