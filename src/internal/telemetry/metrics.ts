/**
 * The metrics of all sessions (rule E3), named by the conventions of OpenTelemetry if these have a name. An update
 * costs one look-up. A tagged `Metric` of Effect makes and hashes its key anew each time: measured, 10,000 updates take
 * 120 to 250 ms that way and 0.6 ms this way, and a call that is cancelled makes about five of them.
 */
import * as Metric from "effect/Metric"
import * as MetricBoundaries from "effect/MetricBoundaries"
import type * as MetricHook from "effect/MetricHook"
import * as MetricKey from "effect/MetricKey"
import * as MetricLabel from "effect/MetricLabel"

type Labels = ReadonlyArray<MetricLabel.MetricLabel>

export type Member = MetricHook.MetricHook<number, unknown>

type Keys = readonly [string, string?, string?, string?]

/** A metric and its members, one for each combination of tags. */
class Family {
  private readonly members = new Map<string, Member>()

  constructor(
    private readonly base: MetricKey.MetricKey<any>,
    private readonly unit: string,
    private readonly keys: Keys,
    private readonly labels: Labels
  ) {}

  add(value: number, a: string, b = "", c = "", d = ""): void {
    this.member(a, b, c, d).update(value)
  }

  /** The member with these values of the keys; a key without value is left out. */
  member(a: string, b = "", c = "", d = ""): Member {
    const id = `${a}\n${b}\n${c}\n${d}`
    let member = this.members.get(id)
    if (member === undefined) {
      member = this.make([a, b, c, d])
      this.members.set(id, member)
    }
    return member
  }

  private make(values: ReadonlyArray<string>): Member {
    const tags = [...this.labels, MetricLabel.make("unit", this.unit)]
    for (const [i, value] of values.entries()) {
      const key = this.keys[i]
      if (key !== undefined && value !== "") tags.push(MetricLabel.make(key, value))
    }
    return Metric.globalMetricRegistry.get(MetricKey.taggedWithLabels(this.base, tags) as MetricKey.MetricKey<any>)
  }
}

const doubling = (start: number, count: number) =>
  MetricBoundaries.fromIterable(Array.from({ length: count }, (_, i) => Number((start * 2 ** i).toPrecision(12))))

// the conventions' boundaries; a tool may take a day, and theirs end at a minute and a half
const ofRequests = doubling(0.01, 14)
const ofTools = doubling(0.01, 24)
const ofTurns = doubling(0.1, 20)
const ofTokens = MetricBoundaries.fromIterable(Array.from({ length: 14 }, (_, i) => 4 ** i))

const tool = "gen_ai.tool.name"
const agent = "gen_ai.agent.name"
const errorType = "error.type"
const ofModel = ["gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model"] as const

const families = (labels: Labels) => {
  const counter = (name: string, unit: string, description: string, ...keys: Keys) =>
    new Family(MetricKey.counter(name, { description, incremental: true }), unit, keys, labels)
  const histogram = (
    name: string,
    unit: string,
    boundaries: MetricBoundaries.MetricBoundaries,
    description: string,
    ...keys: Keys
  ) => new Family(MetricKey.histogram(name, boundaries, description), unit, keys, labels)
  return {
    operationDuration: histogram(
      "gen_ai.client.operation.duration",
      "s",
      ofRequests,
      "How long a model step took.",
      ...ofModel,
      errorType
    ),
    timeToFirstChunk: histogram(
      "gen_ai.client.operation.time_to_first_chunk",
      "s",
      ofRequests,
      "How long a model took until the first part of its answer.",
      ...ofModel
    ),
    tokenUsage: histogram(
      "gen_ai.client.token.usage",
      "{token}",
      ofTokens,
      "Tokens of a model step.",
      ...ofModel,
      "gen_ai.token.type"
    ),
    turnDuration: histogram(
      "gen_ai.invoke_agent.duration",
      "s",
      ofTurns,
      "How long a turn took, with the calls that it waited for.",
      agent,
      errorType
    ),
    callDuration: histogram(
      "gen_ai.execute_tool.duration",
      "s",
      ofTools,
      "How long a call took, its background part included.",
      tool,
      "effect_meantime.call.outcome",
      errorType
    ),
    calls: counter(
      "effect_meantime.tool.calls",
      "{call}",
      "Calls that have ended.",
      tool,
      "effect_meantime.call.outcome"
    ),
    queueTime: histogram(
      "effect_meantime.tool.queue_time",
      "s",
      ofTools,
      "How long a call of a scope with maxConcurrency waited for its turn.",
      tool
    ),
    timeToFirstUpdate: histogram(
      "effect_meantime.tool.time_to_first_update",
      "s",
      ofTools,
      "From a call to its first update.",
      tool
    ),
    resultToReply: histogram(
      "effect_meantime.tool.time_from_result_to_reply",
      "s",
      ofTools,
      "From the result of a background call to the first words of a reply to it.",
      tool
    ),
    updates: counter("effect_meantime.tool.updates", "{update}", "Updates that handlers made.", tool),
    messages: counter(
      "effect_meantime.tool.messages",
      "{message}",
      "Messages that running calls got.",
      tool,
      "effect_meantime.message.from"
    ),
    messagesLost: counter(
      "effect_meantime.tool.messages_lost",
      "{message}",
      "Messages that nobody had read when their call ended.",
      tool
    ),
    deliveries: counter(
      "effect_meantime.tool.deliveries",
      "{delivery}",
      "What became of later updates and of results of background calls.",
      tool,
      "effect_meantime.delivery.kind",
      "effect_meantime.delivery.outcome"
    ),
    cancellations: counter(
      "effect_meantime.tool.cancellations",
      "{request}",
      "Running calls that were asked to stop.",
      tool,
      "effect_meantime.cancellation.reason"
    ),
    duplicates: counter(
      "effect_meantime.tool.duplicates",
      "{call}",
      "Calls for which the same was running.",
      tool,
      "effect_meantime.duplicate.mode",
      "effect_meantime.duplicate.verdict"
    ),
    approvals: counter(
      "effect_meantime.tool.approvals",
      "{call}",
      "Calls that waited for approval, by what was decided.",
      tool,
      "effect_meantime.approval.decision"
    ),
    approvalTime: histogram(
      "effect_meantime.tool.approval_time",
      "s",
      ofTools,
      "How long a call waited for approval.",
      tool,
      "effect_meantime.approval.decision"
    ),
    replies: counter(
      "effect_meantime.replies",
      "{reply}",
      "Deferred replies that have ended, and items that were dropped together before one.",
      "effect_meantime.reply.status"
    )
  }
}

export type Metrics = ReturnType<typeof families>

const known = new WeakMap<Labels, Metrics>()

/** The metrics with the labels that a session is made with. */
export const make = (labels: Labels): Metrics => {
  let metrics = known.get(labels)
  if (metrics === undefined) {
    metrics = families(labels)
    known.set(labels, metrics)
  }
  return metrics
}
