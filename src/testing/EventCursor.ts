/**
 * A cursor over the events of a session. A test says what happens next, and skips on purpose what does not matter. An
 * expectation that fails prints the events around, with a mark at the one that was looked at.
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Agent } from "effect-meantime"
 * import { expectEvents, ScriptedModel, TestSession } from "effect-meantime/testing"
 *
 * const program = Effect.gen(function* () {
 *   const { session } = yield* TestSession.make({ agent: Agent.make("greeter", { instructions: "You greet." }) })
 *   const events = yield* expectEvents(session)
 *   yield* session.send("Hi")
 *   yield* events.skipTo("ItemAdded", { item: { _tag: "Message", role: "user" } })
 *   const { speechId } = yield* events.skipTo("SpeechCreated", { source: "reply" })
 *   yield* events.skipTo("SpeechEnded", { speechId, interrupted: false })
 * }).pipe(Effect.scoped, Effect.provide(ScriptedModel.layer(["Hello!"])))
 * ```
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import type * as Scope from "effect/Scope"
import type * as AgentSession from "../AgentSession.js"
import { isMatcher, isPlain, itemLine, oneLine, short } from "../internal/testing/lines.js"
import { check, ofCursor } from "../internal/values/options.js"
import type { SessionEvent } from "../SessionEvent.js"
import { collect } from "./TestSession.js"

// -------------------------------------------------------------------------------------
// models
// -------------------------------------------------------------------------------------

/**
 * Some of the fields of a value, and some of those of what is in it. An array stands for all of its elements.
 *
 * @since 0.1.0
 * @category models
 */
export type DeepPartial<T> = unknown extends T
  ? T
  : T extends ReadonlyArray<infer Element>
    ? ReadonlyArray<DeepPartial<Element>>
    : T extends object
      ? { readonly [Key in keyof T]?: DeepPartial<T[Key]> | undefined }
      : T

/**
 * The events with this tag.
 *
 * @since 0.1.0
 * @category models
 */
export type EventOf<Tag extends SessionEvent["_tag"]> = Extract<SessionEvent, { readonly _tag: Tag }>

/**
 * The fields that an event is expected to have.
 *
 * @since 0.1.0
 * @category models
 */
export type EventFields<Tag extends SessionEvent["_tag"]> = DeepPartial<Omit<EventOf<Tag>, "_tag">>

/**
 * An event as it is expected: its tag, or some of its fields and its tag among them.
 *
 * @since 0.1.0
 * @category models
 */
export type ExpectedEvent =
  | SessionEvent["_tag"]
  | { [Tag in SessionEvent["_tag"]]: { readonly _tag: Tag } & EventFields<Tag> }[SessionEvent["_tag"]]

/**
 * A place in the events of a session. Each of the effects first lets the session settle: the clock stands still, and
 * what can happen now has happened. If one fails with `EventMismatch`, the cursor stays where it was.
 *
 * In the fields that are expected, a record stands for all that have these fields with such values; an array for one of
 * the same length; `undefined` for a field that is undefined or absent; a matcher of Vitest or Jest, such as
 * `expect.stringContaining("Oslo")`, for what it matches; any other value for an equal one.
 *
 * @since 0.1.0
 * @category models
 */
export interface EventCursor {
  /** The next event, if it has this tag and these fields. */
  readonly next: <Tag extends SessionEvent["_tag"]>(
    tag: Tag,
    fields?: EventFields<Tag>
  ) => Effect.Effect<EventOf<Tag>, EventMismatch>
  /** Skips so many events. If there are fewer, that is a defect, an `EventMismatch`. */
  readonly skip: (count: number) => Effect.Effect<void>
  /** The first event from here on that has this tag and these fields; those before it are skipped. */
  readonly skipTo: <Tag extends SessionEvent["_tag"]>(
    tag: Tag,
    fields?: EventFields<Tag>
  ) => Effect.Effect<EventOf<Tag>, EventMismatch>
  /** The next events are these, as many, in any order. */
  readonly inAnyOrder: (expected: ReadonlyArray<ExpectedEvent>) => Effect.Effect<void, EventMismatch>
  /** No event follows. */
  readonly nothingMore: Effect.Effect<void, EventMismatch>
}

// -------------------------------------------------------------------------------------
// errors
// -------------------------------------------------------------------------------------

/**
 * What happened is not what was expected. The message has the events around the one that was looked at.
 *
 * @since 0.1.0
 * @category errors
 */
export class EventMismatch extends Data.TaggedError("EventMismatch")<{ readonly message: string }> {}

// -------------------------------------------------------------------------------------
// constructors
// -------------------------------------------------------------------------------------

/**
 * A cursor over the events of a session from now on, until the surrounding scope closes.
 *
 * @since 0.1.0
 * @category constructors
 */
export const expectEvents = (
  session: Pick<AgentSession.Service, "events">
): Effect.Effect<EventCursor, never, Scope.Scope> =>
  Effect.map(collect(session), ({ all }): EventCursor => {
    let position = 0

    /** What to do with the events; a problem is told with the place at which it was asked for. */
    const look = <A>(
      from: Function,
      at: (events: ReadonlyArray<SessionEvent>) => A | Problem
    ): Effect.Effect<A, EventMismatch> => {
      const site = siteOf(from)
      return Effect.flatMap(all, (events) => {
        const found = at(events)
        return found instanceof Problem ? Effect.fail(mismatch(events, found, site)) : Effect.succeed(found)
      })
    }

    const next = (tag: string, fields?: object) =>
      look(next, (events) => {
        const event = events[position]
        const difference = differenceOf(event, { ...fields, _tag: tag })
        if (event === undefined || difference !== undefined) {
          return new Problem(
            position,
            `Expected the next event to be ${expectation(tag, fields)}, but ${difference ?? "it is none"}.`
          )
        }
        position++
        return event
      })

    const skipTo = (tag: string, fields?: object) =>
      look(skipTo, (events) => {
        const expected = { ...fields, _tag: tag }
        const at = events.findIndex((event, i) => i >= position && differenceOf(event, expected) === undefined)
        if (at < 0) {
          const { marked, why } = miss(events, position, expected)
          return new Problem(marked, `Expected an event ${expectation(tag, fields)}, but ${why}.`)
        }
        position = at + 1
        return events[at] as SessionEvent
      })

    const skip = (count: number) =>
      Effect.zipRight(
        check("EventCursor.skip", { count }, ofCursor),
        look(skip, (events): void | Problem => {
          const left = events.length - position
          if (count > left)
            return new Problem(events.length, `Expected ${count} events to skip, but there are ${left}.`)
          position += count
        })
      ).pipe(Effect.orDie)

    const inAnyOrder = (expected: ReadonlyArray<ExpectedEvent>) =>
      look(inAnyOrder, (events): void | Problem => {
        const wanted = expected.map((one) => (typeof one === "string" ? { _tag: one } : one))
        const found = events.slice(position, position + wanted.length)
        const { missing, unmatched } = assign(wanted, found)
        if (missing.length > 0) {
          const list = missing.map(({ _tag, ...fields }) => `\n  ${expectation(_tag, fields)}`).join("")
          return new Problem(
            position + (unmatched ?? found.length),
            `Expected the next ${wanted.length} events to be, in any order, those of a list, but some are missing:${list}`
          )
        }
        position += wanted.length
      })

    const nothingMore = () =>
      look(nothingMore, (events): void | Problem => {
        const left = events.length - position
        return left === 0 ? undefined : new Problem(position, `Expected no more events, but there are ${left}.`)
      })

    const cursor: Omit<EventCursor, "nothingMore"> = {
      next: next as EventCursor["next"],
      skipTo: skipTo as EventCursor["skipTo"],
      skip,
      inAnyOrder
    }
    // a getter knows who asks
    return Object.defineProperty(cursor, "nothingMore", { get: nothingMore, enumerable: true }) as EventCursor
  })

/** What is wrong, and with which event. */
class Problem {
  constructor(
    readonly marked: number,
    readonly text: string
  ) {}
}

const mismatch = (events: ReadonlyArray<SessionEvent>, { marked, text }: Problem, site: string): EventMismatch => {
  const error = new EventMismatch({ message: `${text}\n\n${trace(events, marked)}\n` })
  // the line of the test, and not where the effect was run
  if (site !== "") error.stack = `${error.name}: ${error.message}\n${site}`
  return error
}

/** The frames of who called, where the platform has them. */
const siteOf = (called: Function): string => {
  const here: { stack?: unknown } = {}
  const { captureStackTrace } = Error as { readonly captureStackTrace?: (target: object, above: Function) => void }
  captureStackTrace?.(here, called)
  return typeof here.stack === "string" ? here.stack.replace(/^.*\n?/, "") : ""
}

/** Why none of the events is the one that is expected; the first of the same tag is marked. */
const miss = (events: ReadonlyArray<SessionEvent>, position: number, expected: Wanted) => {
  const rest = events.slice(position)
  const alike = rest.filter((event) => event._tag === expected._tag)
  const [first] = alike
  if (first === undefined) {
    return {
      marked: position,
      why: rest.length === 0 ? "no event follows" : `the next ${rest.length} have another tag`
    }
  }
  return {
    marked: position + rest.indexOf(first),
    why:
      `${alike.length === 1 ? "in the only one" : `it is none of ${alike.length}; in the first`}, ` +
      differenceOf(first, expected)
  }
}

// -------------------------------------------------------------------------------------
// matching
// -------------------------------------------------------------------------------------

interface Wanted {
  readonly _tag: string
}

const expectation = (tag: string, fields: object | undefined): string =>
  fields === undefined || Object.keys(fields).length === 0 ? tag : `${tag} ${short(fields, 400)}`

/** What is wrong with the event, in words that follow "but"; nothing, if it is as it is expected. */
const differenceOf = (event: SessionEvent | undefined, expected: Wanted): string | undefined =>
  event === undefined
    ? "no event follows"
    : event._tag === expected._tag
      ? difference(event, expected, "")
      : `it is ${event._tag}`

const difference = (actual: unknown, expected: unknown, path: string): string | undefined => {
  const is = (what: string) => `${path === "" ? "it" : path} is ${what}`
  if (isMatcher(expected))
    return expected.asymmetricMatch(actual) ? undefined : is(`${short(actual)}, not ${short(expected)}`)
  if (Array.isArray(expected) && Array.isArray(actual)) {
    if (actual.length !== expected.length) {
      return is(`an array of ${actual.length}, not of ${expected.length}: ${short(actual)}`)
    }
    for (const [i, part] of expected.entries()) {
      const found = difference(actual[i], part, `${path}[${i}]`)
      if (found !== undefined) return found
    }
    return undefined
  }
  if (isPlain(expected) && isPlain(actual)) {
    for (const key of Object.keys(expected)) {
      const part = Object.hasOwn(actual, key) ? actual[key] : undefined
      const found = difference(part, expected[key], path === "" ? key : `${path}.${key}`)
      if (found !== undefined) return found
    }
    return undefined
  }
  return Object.is(actual, expected) || actual === expected || Equal.equals(actual, expected)
    ? undefined
    : is(`${short(actual)}, not ${short(expected)}`)
}

/**
 * Gives each event to one of those that are expected. One with fewer fields may fit several events, so an event that is
 * given away may be taken back for another one.
 */
const assign = (wanted: ReadonlyArray<Wanted>, events: ReadonlyArray<SessionEvent>) => {
  const fits = wanted.map((one) => events.flatMap((event, i) => (differenceOf(event, one) === undefined ? [i] : [])))
  /** by event: which of those that are expected has it */
  const taken = new Map<number, number>()
  const place = (w: number, tried: Set<number>): boolean => {
    for (const e of fits[w] as ReadonlyArray<number>) {
      if (tried.has(e)) continue
      tried.add(e)
      const other = taken.get(e)
      if (other === undefined || place(other, tried)) {
        taken.set(e, w)
        return true
      }
    }
    return false
  }
  const missing = wanted.filter((_, w) => !place(w, new Set()))
  const unmatched = events.findIndex((_, e) => !taken.has(e))
  return { missing, unmatched: unmatched < 0 ? undefined : unmatched }
}

// -------------------------------------------------------------------------------------
// printing
// -------------------------------------------------------------------------------------

const before = 6
const after = 6

/** The events around a place, which may be behind the last one. */
const trace = (events: ReadonlyArray<SessionEvent>, marked: number): string => {
  const from = Math.max(0, marked - before)
  const to = Math.min(events.length, marked + after + 1)
  const start = events[0]?.at ?? 0
  const width = String(to + 1).length
  const line = (i: number, text: string) => `${i === marked ? ">" : " "} ${String(i + 1).padStart(width)}  ${text}`
  const lines = events.slice(from, to).map((event, i) => line(from + i, eventLine(event, start)))
  if (marked >= events.length) lines.push(line(marked, "(no event)"))
  if (from > 0) lines.unshift(`  … ${from} before`)
  if (to < events.length) lines.push(`  … ${events.length - to} more`)
  return lines.join("\n")
}

/** When it came, after the first event, and what it is; of any event, also of one of a kind that is not known here. */
const eventLine = (event: SessionEvent, start: number): string => {
  const { _tag, at, ...fields } = event
  const shown = Object.entries(fields).map(([key, value]) =>
    key === "item" && event._tag === "ItemAdded" ? itemLine(event.item) : `${key}: ${short(value, 100)}`
  )
  return oneLine(`${`+${(at - start) / 1000}s`.padEnd(7)} ${_tag}  ${shown.join(", ")}`.trimEnd(), 160)
}
