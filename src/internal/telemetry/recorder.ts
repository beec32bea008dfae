/**
 * What a session tells to tracing and metrics (rule E3). The machine says what happened (`Observation`); this keeps the
 * spans of what is open, and nothing of what has ended. Attributes are named by OpenTelemetry's conventions for
 * generative AI, with `effect_meantime.*` for what they have no name for.
 */
import { ProviderName } from "@effect/ai/Model"
import type * as Prompt from "@effect/ai/Prompt"
import * as Tool from "@effect/ai/Tool"
import * as Cause from "effect/Cause"
import type * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as DefaultServices from "effect/DefaultServices"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberId from "effect/FiberId"
import * as FiberRef from "effect/FiberRef"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Tracer from "effect/Tracer"
import { Telemetry } from "../../Tags.js"
import type { Options } from "../../Telemetry.js"
import type { ModelEnd, ModelFailure, Observation } from "../machine/protocol.js"
import type { Activity, Approval, Call, Ending, Entry, Speech, Step } from "../machine/state.js"
import type { ApprovalDecision } from "../machine/words.js"
import type { Environment } from "../scope/build.js"
import { boundOf } from "../scope/tool.js"
import * as Metrics from "./metrics.js"

/** A call: its span. */
export type CallTrace = Tracer.Span

/** A call that waits for approval: the span of its waiting. */
export interface ApprovalTrace {
  readonly at: number
  readonly span: Tracer.Span | undefined
}

/** A turn: its span begins when the speech was asked for, and exists once it asks a model. */
export interface TurnTrace {
  readonly at: number
  readonly nanos: bigint
  span: Tracer.Span | undefined
  agent: string
  steps: number
  spoke: boolean
  status: string | undefined
}

export interface StepTrace {
  readonly at: number
  readonly span: Tracer.Span | undefined
  readonly model: Model
  /** one that came as a part of the answer */
  failure: ModelFailure | undefined
  /** the parts of the answer, if contents are recorded; the step forgets those that are in the history */
  answer: ReadonlyArray<Entry>
  ended: boolean
}

/** What is known of the model of an agent, and what it counts with once there is something to count. */
interface Model {
  readonly provider: string
  readonly name: string | undefined
  readonly recordContent: boolean
  duration: Metrics.Member | undefined
  firstChunk: Metrics.Member | undefined
  inputTokens: Metrics.Member | undefined
  outputTokens: Metrics.Member | undefined
}

/** Provider names of Effect's packages for which the conventions have another. */
const providers: Record<string, string> = { "amazon-bedrock": "aws.bedrock", google: "gcp.gemini" }

/** An error in a span if contents are not recorded: its kind, and nothing of what it is about. */
class SpanError extends Error {
  constructor(name: string, message: string) {
    super(message)
    this.name = name
    this.stack = `${name}: ${message}`
  }
}

const interrupted = Exit.interrupt(FiberId.none)

const nativeTracer = Context.get(DefaultServices.liveServices, Tracer.Tracer)

/** For what is logged inside a session: a log line becomes an event of the span around it, with its cause. */
export const outsideSpans = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.mapInputContext(effect, (context: Context.Context<R>) => withoutSpan(context) as Context.Context<R>)

const descriptionOf = (tool: Tool.Any): string | undefined =>
  tool.description ?? Tool.getDescriptionFromSchemaAst(tool.parametersSchema.ast)

const withoutSpan = Context.omit(Tracer.ParentSpan) as (context: Context.Context<any>) => Context.Context<any>

const propagated = (span: Tracer.AnySpan | undefined): Tracer.AnySpan | undefined => {
  if (span === undefined || !Context.get(span.context, Tracer.DisablePropagation)) return span
  return span._tag === "Span" ? propagated(Option.getOrUndefined(span.parent)) : undefined
}

/** Makes spans and ends them; it knows which are open. */
class Spans {
  private readonly open = new Set<Tracer.Span>()

  constructor(
    private readonly tracer: Tracer.Tracer,
    readonly clock: Clock.Clock,
    private readonly parent: Tracer.AnySpan | undefined,
    private readonly annotations: Iterable<readonly [string, unknown]>,
    private readonly links: ReadonlyArray<Tracer.SpanLink>,
    readonly conversationId: string,
    readonly options: Options
  ) {}

  session!: Tracer.Span

  start(
    name: string,
    kind: Tracer.SpanKind,
    options: {
      readonly parent?: Tracer.AnySpan | undefined
      readonly root?: boolean
      readonly links?: ReadonlyArray<Tracer.SpanLink>
      readonly at?: bigint
    }
  ): Tracer.Span {
    const { at = this.clock.unsafeCurrentTimeNanos(), links = [], parent, root = false } = options
    const span = this.tracer.span(
      name,
      Option.fromNullable(parent),
      Context.empty(),
      links.concat(this.links),
      at,
      kind,
      root ? { root } : undefined
    )
    for (const [key, value] of this.annotations) span.attribute(key, value)
    span.attribute("gen_ai.conversation.id", this.conversationId)
    this.open.add(span)
    return span
  }

  isOpen(span: Tracer.Span): boolean {
    return this.open.has(span)
  }

  event(span: Tracer.Span, name: string, attributes?: Record<string, unknown>): void {
    if (this.open.has(span)) span.event(name, this.clock.unsafeCurrentTimeNanos(), attributes)
  }

  end(span: Tracer.Span, exit: Exit.Exit<unknown, unknown>): void {
    if (this.open.delete(span)) span.end(this.clock.unsafeCurrentTimeNanos(), exit)
  }

  openSession(agent: string): void {
    this.session = this.start("effect_meantime.session", "internal", { parent: this.parent })
    this.session.attribute("gen_ai.agent.name", agent)
  }

  /** Whatever is left ends with the session. */
  close(): void {
    for (const span of Array.from(this.open)) if (span !== this.session) this.end(span, interrupted)
    this.end(this.session, Exit.void)
  }
}

const set = (span: Tracer.Span, attributes: Record<string, unknown>): void => {
  for (const key in attributes) if (attributes[key] !== undefined) span.attribute(key, attributes[key])
}

const link = (span: Tracer.AnySpan, to: "call" | "turn" | "run" | "session"): Tracer.SpanLink => ({
  _tag: "SpanLink",
  span,
  attributes: { "effect_meantime.link": to }
})

/** A name that a model invented is no name of a tool; as a tag it would have no bounds. */
const toolName = (call: Call): string => call.tool?.name ?? "_OTHER"

const recordsContent = (context: Context.Context<any>): boolean =>
  Context.get(context, Telemetry).recordContent === true

/** Telemetry of one session. */
export class Recorder {
  private readonly models = new WeakMap<Activity, Model>()
  private failed = false

  constructor(
    private readonly now: () => number,
    private readonly metrics: Metrics.Metrics,
    /** none: nobody listens */
    private readonly spans: Spans | undefined,
    private readonly onFailure: (cause: unknown) => void
  ) {}

  /** A tracer that throws must not stop the conversation: it is told of once. */
  private safely(f: () => void): void {
    try {
      f()
    } catch (cause) {
      this.fail(cause)
    }
  }

  private fail(cause: unknown): void {
    if (this.failed) return
    this.failed = true
    this.onFailure(cause)
  }

  readonly start = (agent: string): void => this.safely(() => this.spans?.openSession(agent))

  readonly close = (): void => this.safely(() => this.spans?.close())

  // ------------------------------------------------------------------------------------------------------- contexts

  /** The context of the session's scopes: what is done in them is a part of the session. */
  readonly inSession = <R>(context: Context.Context<R>): Context.Context<R> =>
    this.spans?.session === undefined
      ? context
      : (Context.add(context, Tracer.ParentSpan, this.spans.session) as Context.Context<any>)

  readonly inCall = (call: Call, place: Environment): Environment => within(call.trace, place)
  readonly inStep = (step: Step, place: Environment): Environment => within(step.trace?.span, place)
  readonly inTurn = (speech: Speech, place: Environment): Environment => within(speech.trace?.span, place)

  // ---------------------------------------------------------------------------------------------------- observations

  readonly observe = (o: Observation): void => {
    try {
      this.record(o)
    } catch (cause) {
      this.fail(cause)
    }
  }

  private record(o: Observation): void {
    switch (o._tag) {
      case "SpeechCreated":
        return this.speechCreated(o.speech)
      case "SpeechSpoke":
        return this.speechSpoke(o.speech)
      case "SpeechEnded":
        return this.speechEnded(o.speech)
      case "StepStarted":
        return this.stepStarted(o.step)
      case "StepAnswered":
        return this.stepAnswered(o.step)
      case "StepDescribed":
        return this.stepDescribed(o.step, o.part)
      case "StepFailed": {
        const step = o.step.trace
        if (step !== undefined) step.failure = o.failure
        return
      }
      case "StepEnded":
        return this.stepEnded(o.step, o.end)
      case "CallStarted":
        return this.callStarted(o.call)
      case "CallDecided": {
        const { call, running, verdict } = o
        const { policy } = o.tool
        const mode = policy._tag === "Mode" ? policy.mode : "custom"
        this.metrics.duplicates.add(1, toolName(call), mode, verdict.toLowerCase())
        const span = call.trace
        if (span === undefined) return
        return set(span, {
          "effect_meantime.duplicate.mode": mode,
          "effect_meantime.duplicate.verdict": verdict.toLowerCase(),
          "effect_meantime.duplicate.running": running
        })
      }
      case "CallJoined": {
        const span = o.call.trace
        const run = o.run.calls[0] === undefined ? undefined : o.run.calls[0].trace
        if (span !== undefined && run !== undefined) span.addLinks([link(run, "run")])
        return
      }
      case "ApprovalRequested":
        return this.approvalRequested(o.approval)
      case "ApprovalDecided":
        return this.approvalDecided(o.approval, o.decision)
      case "CallUpdated": {
        const { call } = o
        this.metrics.updates.add(1, toolName(call))
        if (o.first) this.metrics.timeToFirstUpdate.add(this.since(call.startedAt), toolName(call))
        return this.callEvent(call, "update", () => ({
          "effect_meantime.update.id": o.id,
          "effect_meantime.update.delivery": o.mode,
          ...(this.contentOf(call) ? { "effect_meantime.update.message": asText(o.message) } : {})
        }))
      }
      case "CallReleased": {
        const span = o.call.trace
        if (span !== undefined) span.attribute("effect_meantime.call.background", true)
        return this.callEvent(o.call, "released", () => ({ "effect_meantime.released.by": o.by }))
      }
      case "CallMessaged": {
        const { call, from } = o
        this.metrics.messages.add(1, toolName(call), from)
        return this.callEvent(call, "message", () => ({
          "effect_meantime.message.from": from,
          ...(this.contentOf(call) ? { "effect_meantime.message.content": asText(o.message) } : {})
        }))
      }
      case "MessagesLost": {
        this.metrics.messagesLost.add(o.count, toolName(o.call))
        return this.callEvent(o.call, "messages_lost", () => ({ "effect_meantime.message.count": o.count }))
      }
      case "CallEnded":
        return this.callEnded(o.call, o.ending, o.output)
      case "RunQueued": {
        for (const call of o.run.calls) this.callEvent(call, "queued")
        return
      }
      case "RunStarted": {
        const { run } = o
        if (run.tool.kind !== "companion" && Number.isFinite(run.tool.executor.limit)) {
          this.metrics.queueTime.add(this.since(run.queuedAt ?? this.now()), run.tool.name)
        }
        if (run.queuedAt !== undefined) for (const call of run.calls) this.callEvent(call, "started")
        return
      }
      case "RunCommitted": {
        for (const call of o.run.calls) this.callEvent(call, "committed")
        return
      }
      case "StopAsked": {
        this.metrics.cancellations.add(1, o.run.tool.name, o.reason)
        for (const call of o.run.calls) {
          this.callEvent(call, "cancellation_requested", () => ({ "effect_meantime.cancellation.reason": o.reason }))
        }
        return
      }
      case "DeliveryEnded": {
        const { call, kind } = o.delivery
        return this.metrics.deliveries.add(1, toolName(call), kind === "final" ? "result" : "update", o.how)
      }
      case "ReplyEnded": {
        this.metrics.replies.add(1, o.status)
        const turn = o.reply?.speech === undefined ? undefined : o.reply.speech.trace
        if (turn !== undefined) turn.status = o.status
        return
      }
      case "HandedOff": {
        if (this.spans === undefined) return
        return this.spans.event(this.spans.session, "effect_meantime.handoff", {
          "effect_meantime.handoff.from": o.from,
          "effect_meantime.handoff.to": o.to
        })
      }
    }
  }

  /** Seconds. */
  private since(at: number): number {
    return (this.now() - at) / 1000
  }

  // ----------------------------------------------------------------------------------------------------------- turns

  private speechCreated(speech: Speech): void {
    if (speech.source === "say") return
    speech.trace = {
      at: this.now(),
      nanos: this.spans?.clock.unsafeCurrentTimeNanos() ?? 0n,
      span: undefined,
      agent: speech.agent.name,
      steps: 0,
      spoke: false,
      status: undefined
    }
  }

  private startTurn(speech: Speech, turn: TurnTrace): void {
    const { spans } = this
    turn.agent = speech.agent.name
    if (spans === undefined) return
    const links: Array<Tracer.SpanLink> = []
    const linked = new Set<Tracer.Span | undefined>([undefined])
    const lead = (span: Tracer.Span | undefined, to: "call" | "turn"): void => {
      if (!linked.has(span)) links.push(link(span as Tracer.Span, to))
      linked.add(span)
    }
    for (const { call } of speech.reply?.items ?? []) {
      lead(call.trace, "call")
      lead(call.step.speech.trace?.span, "turn")
    }
    // the turns of a task belong to the call that runs it
    const call = speech.agent.task?.call === undefined ? undefined : speech.agent.task.call.trace
    const ofCall = call !== undefined && spans.isOpen(call) ? call : undefined
    const own = spans.options.trace === "turn" && ofCall === undefined
    if (own) links.push(link(spans.session, "session"))
    const span = spans.start(`invoke_agent ${turn.agent}`, "internal", {
      parent: own ? undefined : (ofCall ?? spans.session),
      root: own,
      links,
      at: turn.nanos
    })
    turn.span = span
    set(span, {
      "gen_ai.operation.name": "invoke_agent",
      "gen_ai.provider.name": this.modelOf(speech.agent).provider,
      "gen_ai.agent.name": turn.agent,
      "gen_ai.request.model": this.modelOf(speech.agent).name,
      "effect_meantime.speech.id": speech.id,
      "effect_meantime.speech.source": speech.source,
      "effect_meantime.reply.id": speech.reply?.id,
      "effect_meantime.reply.items": speech.reply?.ids.join(" ")
    })
  }

  private speechSpoke(speech: Speech): void {
    const turn = speech.trace
    if (turn === undefined || turn.spoke) return
    turn.spoke = true
    if (turn.span !== undefined) this.spans?.event(turn.span, "effect_meantime.speaking")
    for (const delivery of speech.reply?.items ?? []) {
      if (delivery.kind === "update" || delivery.voiced) continue
      delivery.voiced = true
      this.metrics.resultToReply.add(this.since(delivery.at), toolName(delivery.call))
    }
  }

  private speechEnded(speech: Speech): void {
    const turn = speech.trace
    if (turn === undefined || turn.steps === 0) return
    const { failure } = speech
    if (speech.step !== undefined) this.endStep(speech.step, failure, failure === undefined)
    const errorType = failure?.errorType
    this.metrics.turnDuration.add(this.since(turn.at), turn.agent, errorType)
    if (turn.span === undefined) return
    set(turn.span, {
      "gen_ai.usage.input_tokens": speech.usage?.inputTokens,
      "gen_ai.usage.output_tokens": speech.usage?.outputTokens,
      "effect_meantime.turn.steps": turn.steps,
      "effect_meantime.turn.interrupted": speech.interrupted ? true : undefined,
      "effect_meantime.reply.status": turn.status,
      "error.type": errorType
    })
    const exit =
      failure !== undefined
        ? modelFailure(failure, this.modelOf(speech.agent).recordContent)
        : speech.interrupted
          ? interrupted
          : Exit.void
    this.spans?.end(turn.span, exit)
  }

  // ----------------------------------------------------------------------------------------------------- model steps

  private modelOf(agent: Activity): Model {
    let model = this.models.get(agent)
    if (model === undefined) {
      const { context } = agent.built
      const options = Context.get(context, Telemetry)
      const known = Option.getOrUndefined(Context.getOption(context, ProviderName))
      model = {
        provider: options.provider ?? (known === undefined ? "unknown" : (providers[known] ?? known)),
        name: options.model,
        recordContent: options.recordContent === true,
        duration: undefined,
        firstChunk: undefined,
        inputTokens: undefined,
        outputTokens: undefined
      }
      this.models.set(agent, model)
    }
    return model
  }

  private stepStarted(step: Step): void {
    const { agent, speech } = step
    const turn = speech.trace
    if (turn === undefined) return
    if (turn.steps++ === 0) this.startTurn(speech, turn)
    const model = this.modelOf(agent)
    const name = model.name === undefined ? "chat" : `chat ${model.name}`
    const span = this.spans?.start(name, "client", { parent: turn.span })
    step.trace = {
      at: this.now(),
      span,
      model,
      failure: undefined,
      answer: span !== undefined && model.recordContent ? step.entries : [],
      ended: false
    }
    if (span === undefined) return
    set(span, {
      "gen_ai.operation.name": "chat",
      "gen_ai.provider.name": model.provider,
      "gen_ai.request.model": model.name,
      "gen_ai.request.stream": true,
      "gen_ai.agent.name": agent.name,
      "effect_meantime.step.index": step.index,
      "effect_meantime.step.tool_choice":
        typeof step.toolChoice === "string" ? step.toolChoice : `tool ${step.toolChoice.tool}`
    })
  }

  /** What the model is sent, if contents are recorded. */
  readonly asked = (step: Step, prompt: Prompt.Prompt): void => {
    const { model, span } = step.trace ?? {}
    if (span === undefined || model?.recordContent !== true) return
    this.safely(() => {
      const system = prompt.content.flatMap((message) => (message.role === "system" ? [textPart(message.content)] : []))
      set(span, {
        "gen_ai.system_instructions": system.length === 0 ? undefined : JSON.stringify(system),
        "gen_ai.input.messages": JSON.stringify(inputMessages(prompt))
      })
    })
  }

  private stepAnswered(step: Step): void {
    const own = step.trace
    if (own === undefined) return
    const seconds = this.since(own.at)
    const { model } = own
    model.firstChunk ??= this.metrics.timeToFirstChunk.member("chat", model.provider, model.name)
    model.firstChunk.update(seconds)
    if (own.span !== undefined) own.span.attribute("gen_ai.response.time_to_first_chunk", seconds)
  }

  private stepDescribed(step: Step, part: Extract<Observation, { _tag: "StepDescribed" }>["part"]): void {
    const own = step.trace
    if (own?.span === undefined) return
    set(own.span, { "gen_ai.response.id": part.id, "gen_ai.response.model": part.modelId })
  }

  private stepEnded(step: Step, end: ModelEnd): void {
    if (end._tag === "Failed") this.endStep(step, end.failure, false)
    else this.endStep(step, step.trace?.failure, end._tag === "Interrupted")
  }

  private endStep(step: Step, failure: ModelFailure | undefined, cut: boolean): void {
    const own = step.trace
    if (own === undefined || own.ended) return
    own.ended = true
    const { model, span } = own
    const errorType = failure?.errorType
    const seconds = this.since(own.at)
    if (errorType === undefined) {
      model.duration ??= this.metrics.operationDuration.member("chat", model.provider, model.name)
      model.duration.update(seconds)
    } else {
      this.metrics.operationDuration.add(seconds, "chat", model.provider, model.name, errorType)
    }
    const { cachedInputTokens, inputTokens, outputTokens, reasoningTokens } = step.usage ?? {}
    if (inputTokens !== undefined) {
      model.inputTokens ??= this.metrics.tokenUsage.member("chat", model.provider, model.name, "input")
      model.inputTokens.update(inputTokens)
    }
    if (outputTokens !== undefined) {
      model.outputTokens ??= this.metrics.tokenUsage.member("chat", model.provider, model.name, "output")
      model.outputTokens.update(outputTokens)
    }
    if (span === undefined) return
    set(span, {
      "gen_ai.response.finish_reasons": step.finish === undefined ? undefined : [step.finish],
      "gen_ai.usage.input_tokens": inputTokens,
      "gen_ai.usage.output_tokens": outputTokens,
      "gen_ai.usage.cache_read.input_tokens": cachedInputTokens,
      "gen_ai.usage.reasoning.output_tokens": reasoningTokens,
      "error.type": errorType,
      "effect_meantime.step.interrupted": cut && failure === undefined ? true : undefined
    })
    if (model.recordContent) {
      span.attribute("gen_ai.output.messages", JSON.stringify([outputMessage(own.answer, step.finish)]))
      own.answer = []
    }
    const exit = failure !== undefined ? modelFailure(failure, model.recordContent) : cut ? interrupted : Exit.void
    this.spans?.end(span, exit)
  }

  // ----------------------------------------------------------------------------------------------------------- calls

  private contentOf(call: Call): boolean {
    return recordsContent(call.tool === undefined ? call.step.agent.built.context : boundOf(call.tool).context)
  }

  private callEvent(call: Call, name: string, attributes?: () => Record<string, unknown>): void {
    const span = call.trace
    if (span !== undefined) this.spans?.event(span, `effect_meantime.${name}`, attributes?.())
  }

  private callStarted(call: Call): void {
    const { spans } = this
    if (spans === undefined) return
    const { tool } = call
    const content = this.contentOf(call)
    const span = spans.start(`execute_tool ${toolName(call)}`, "internal", {
      parent: call.step.speech.trace?.span ?? spans.session
    })
    call.trace = span
    set(span, {
      "gen_ai.operation.name": "execute_tool",
      "gen_ai.tool.name": content ? call.call.name : toolName(call),
      "gen_ai.tool.call.id": call.callId,
      "gen_ai.tool.type": "function",
      "gen_ai.tool.description": tool === undefined ? undefined : descriptionOf(boundOf(tool).tool),
      "gen_ai.agent.name": call.step.agent.name,
      "gen_ai.tool.call.arguments": content ? asText(call.call.arguments) : undefined,
      "effect_meantime.toolset": tool?.executor.id,
      "effect_meantime.step.index": call.step.index
    })
  }

  /** A person may take days: the waiting is a span of its own, so that nobody takes it for work. */
  private approvalRequested(approval: Approval): void {
    const [call] = approval.run.calls
    const { state } = approval
    if (call === undefined || state._tag !== "Waiting") return
    const span =
      call.trace === undefined
        ? undefined
        : this.spans?.start(`approve_tool ${toolName(call)}`, "internal", { parent: call.trace })
    approval.trace = { at: this.now(), span }
    if (span === undefined) return
    set(span, {
      "gen_ai.tool.name": toolName(call),
      "gen_ai.tool.call.id": call.callId,
      "effect_meantime.approval.reason": this.contentOf(call) ? state.reason : undefined
    })
  }

  private approvalDecided(approval: Approval, decision: ApprovalDecision): void {
    const { run, trace } = approval
    const { name } = run.tool
    this.metrics.approvals.add(1, name, decision)
    if (trace === undefined) return
    this.metrics.approvalTime.add(this.since(trace.at), name, decision)
    if (trace.span !== undefined) {
      trace.span.attribute("effect_meantime.approval.decision", decision)
      this.spans?.end(trace.span, decision === "withdrawn" ? interrupted : Exit.void)
    }
    if (decision !== "edited") return
    for (const call of run.calls) {
      if (call.trace !== undefined) call.trace.attribute("effect_meantime.approval.edited", true)
    }
  }

  private callEnded(call: Call, { cause, errorType, how }: Ending, output: unknown): void {
    const name = toolName(call)
    this.metrics.calls.add(1, name, how)
    this.metrics.callDuration.add(this.since(call.startedAt), name, how, errorType)
    const span = call.trace
    if (span === undefined) return
    const content = this.contentOf(call)
    set(span, {
      "effect_meantime.call.outcome": how,
      "error.type": errorType,
      "gen_ai.tool.call.result": content && errorType === undefined ? asText(output) : undefined
    })
    const exit =
      errorType !== undefined
        ? content && Cause.isCause(cause)
          ? Exit.failCause(cause)
          : Exit.fail(new SpanError(errorType, content ? asText(output) : endings[how]))
        : how === "done" || how === "duplicate"
          ? Exit.void
          : interrupted
    this.spans?.end(span, exit)
  }
}

const endings: Record<Ending["how"], string> = {
  done: "The call has ended.",
  duplicate: "The call was answered by the duplicate policy.",
  refused: "The call was not run.",
  denied: "The call was not approved.",
  expired: "The call was not approved in time.",
  failed: "The tool failed.",
  defect: "The tool failed unexpectedly.",
  timeout: "The tool took longer than its time limit.",
  cancelled: "The call was cancelled.",
  replaced: "The call was replaced.",
  drained: "The call ended with its scope."
}

const within = (span: Tracer.Span | undefined, place: Environment): Environment =>
  span === undefined
    ? place
    : { context: Context.add(place.context, Tracer.ParentSpan, span), fiberRefs: place.fiberRefs }

// ---------------------------------------------------------------------------------------------------------- contents

const modelFailure = ({ cause, error, errorType }: ModelFailure, recordContent: boolean): Exit.Exit<never, unknown> =>
  recordContent
    ? cause === undefined
      ? Exit.fail(error)
      : Exit.failCause(cause)
    : Exit.fail(new SpanError(errorType, cause === undefined ? "The model failed." : "The model failed unexpectedly."))

const asText = (value: unknown): string => (typeof value === "string" ? value : (JSON.stringify(value) ?? ""))

const textPart = (content: string) => ({ type: "text", content })

/** Messages in the form that the conventions give them. */
const inputMessages = (prompt: Prompt.Prompt): ReadonlyArray<unknown> =>
  prompt.content.flatMap((message) => {
    if (message.role === "system") return []
    const parts: ReadonlyArray<Prompt.Part> = message.content
    return [{ role: message.role, parts: parts.map(inputPart) }]
  })

const inputPart = (part: Prompt.Part): unknown => {
  switch (part.type) {
    case "text":
      return textPart(part.text)
    case "reasoning":
      return { type: "reasoning", content: part.text }
    case "tool-call":
      return { type: "tool_call", id: part.id, name: part.name, arguments: part.params }
    case "tool-result":
      return { type: "tool_call_response", id: part.id, response: part.result }
    case "file":
      // never its data
      return { type: "file", mime_type: part.mediaType }
    default:
      return part
  }
}

/** What the model answered, as far as it got. */
const outputMessage = (answer: ReadonlyArray<Entry>, finishReason: string | undefined): unknown => ({
  role: "assistant",
  parts: answer.map(outputPart),
  finish_reason: finishReasons[finishReason ?? ""] ?? finishReason ?? "unknown"
})

const finishReasons: Record<string, string> = { "tool-calls": "tool_call", "content-filter": "content_filter" }

const outputPart = (entry: Entry): unknown => {
  switch (entry._tag) {
    case "Text":
      return textPart(entry.text)
    case "Reasoning":
      return { type: "reasoning", content: entry.text }
    case "File":
      return { type: "file", mime_type: entry.file.mediaType }
    case "Call":
      return { type: "tool_call", id: entry.callId, name: entry.name, arguments: entry.arguments }
    case "Result":
      return { type: "tool_call_response", id: entry.callId, response: entry.output }
  }
}

// -------------------------------------------------------------------------------------------------------------- make

const conversationId = Effect.map(
  Effect.replicateEffect(Random.nextIntBetween(0, 0x10000), 8),
  (parts) => `conv_${parts.map((part) => part.toString(16).padStart(4, "0")).join("")}`
)

/** Reads what a session finds around it. With Effect's own tracer nobody listens, and there are no spans. */
export const make = (
  now: () => number,
  clock: Clock.Clock,
  onFailure: (cause: unknown) => void
): Effect.Effect<Recorder> =>
  Effect.gen(function* () {
    const tracer = yield* Effect.tracer
    const enabled = yield* FiberRef.get(FiberRef.currentTracerEnabled)
    const metrics = Metrics.make(yield* Effect.metricLabels)
    if (tracer === nativeTracer || !enabled) return new Recorder(now, metrics, undefined, onFailure)
    const options = yield* Telemetry
    const outer = yield* Effect.context<never>()
    const spans = new Spans(
      tracer,
      clock,
      propagated(Option.getOrUndefined(Context.getOption(outer, Tracer.ParentSpan))),
      Array.from(yield* Effect.spanAnnotations),
      Array.from(yield* Effect.spanLinks),
      options.conversationId ?? (yield* conversationId),
      options
    )
    return new Recorder(now, metrics, spans, onFailure)
  })
