import { NodeSdk } from "@effect/opentelemetry"
import { type Attributes, SpanKind, SpanStatusCode } from "@opentelemetry/api"
import { DataPointType, MetricReader } from "@opentelemetry/sdk-metrics"
import {
  InMemorySpanExporter,
  type ReadableSpan,
  SimpleSpanProcessor,
  type SpanProcessor
} from "@opentelemetry/sdk-trace-base"

/** Metrics are collected when a test asks. */
class Reader extends MetricReader {
  protected override onForceFlush = () => Promise.resolve()
  protected override onShutdown = () => Promise.resolve()
}

export interface Point {
  readonly metric: string
  readonly attributes: Attributes
  readonly unit: string
  /** of a counter */
  readonly value: number
  /** of a histogram */
  readonly count: number
  readonly sum: number
}

/** Spans and metrics of OpenTelemetry's SDK, in memory. */
export const recorder = () => {
  const exporter = new InMemorySpanExporter()
  const reader = new Reader()
  const started: Array<string> = []
  const order: SpanProcessor = {
    onStart: (span) => void started.push(span.spanContext().spanId),
    onEnd: () => {},
    forceFlush: () => Promise.resolve(),
    shutdown: () => Promise.resolve()
  }
  const layer = NodeSdk.layer(() => ({
    resource: { serviceName: "test" },
    spanProcessor: [order, new SimpleSpanProcessor(exporter)],
    metricReader: reader
  }))
  return {
    layer,
    /** those that have ended, in the order in which they began; the exporter forgets them when its layer is released */
    spans: (): ReadonlyArray<ReadableSpan> => {
      const at = (span: ReadableSpan) => started.indexOf(span.spanContext().spanId)
      return exporter.getFinishedSpans().toSorted((a, b) => at(a) - at(b))
    },
    /** every point of every metric */
    points: async (): Promise<ReadonlyArray<Point>> => {
      const { resourceMetrics } = await reader.collect()
      const all = resourceMetrics.scopeMetrics.flatMap(({ metrics }) => metrics)
      return all.flatMap((data) =>
        data.dataPoints.map((point): Point => {
          const { value } = point
          const histogram = data.dataPointType === DataPointType.HISTOGRAM ? (value as any) : undefined
          const { unit: _, ...attributes } = point.attributes
          return {
            metric: data.descriptor.name,
            attributes,
            unit: data.descriptor.unit,
            value: histogram === undefined ? (value as number) : Number.NaN,
            count: histogram?.count ?? Number.NaN,
            sum: histogram?.sum ?? Number.NaN
          }
        })
      )
    }
  }
}

const seconds = ([seconds, nanos]: readonly [number, number]) => seconds + nanos / 1e9

export const duration = (span: ReadableSpan) => seconds(span.duration)
export const startedAt = (span: ReadableSpan) => seconds(span.startTime)
export const kind = (span: ReadableSpan) => SpanKind[span.kind]
export const status = (span: ReadableSpan) => SpanStatusCode[span.status.code]
export const parentOf = (span: ReadableSpan, all: ReadonlyArray<ReadableSpan>) =>
  all.find((other) => other.spanContext().spanId === span.parentSpanContext?.spanId)
export const linksOf = (span: ReadableSpan, all: ReadonlyArray<ReadableSpan>) =>
  span.links.map(({ attributes, context }) => ({
    to: attributes?.["effect_meantime.link"],
    span: all.find((other) => other.spanContext().spanId === context.spanId)?.name,
    id: context.spanId
  }))
/** every value that a span carries, as text */
export const everything = (span: ReadableSpan): string =>
  JSON.stringify([span.name, span.attributes, span.events, span.status, span.links.map(({ attributes }) => attributes)])

/** One trace as a tree: from when to when, with events, links and what went wrong. */
export const tree = (all: ReadonlyArray<ReadableSpan>): string => {
  const names = new Map(all.map((span) => [span.spanContext().spanId, span.name]))
  const lines: Array<string> = []
  const show = (span: ReadableSpan, indent: string): void => {
    const error = span.attributes["error.type"]
    const outcome = span.attributes["effect_meantime.call.outcome"]
    lines.push(
      `${indent}${span.name}  ${startedAt(span)}–${seconds(span.endTime)} s` +
        (error === undefined ? "" : `  error.type=${error}`) +
        (outcome === undefined ? "" : `  ${outcome}`)
    )
    for (const event of span.events) lines.push(`${indent}  · ${event.name} at ${seconds(event.time)} s`)
    for (const { attributes, context } of span.links) {
      lines.push(`${indent}  → ${attributes?.["effect_meantime.link"]}: ${names.get(context.spanId)}`)
    }
    const children = all.filter((other) => other.parentSpanContext?.spanId === span.spanContext().spanId)
    for (const child of children) show(child, `${indent}  `)
  }
  for (const span of all) if (!names.has(span.parentSpanContext?.spanId ?? "")) show(span, "")
  return lines.join("\n")
}
