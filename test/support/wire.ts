/**
 * What the tests of providers share: a session's events in real time, and requests in one form for all providers.
 */
import { Effect, Option, type Scope, Stream } from "effect"
import type { AgentSession, SessionEvent } from "effect-meantime"
import { expect } from "vitest"
import type { Provider } from "../wire/Providers.js"
import type { Server } from "../wire/Server.js"

/** A request as lines: who says what, calls and results with their ids. */
const lines = (provider: Provider, body: any): ReadonlyArray<string> => {
  const out: Array<string> = []
  for (const message of provider.decode(body).prompt.content) {
    if (message.role === "system") {
      out.push(`system: ${message.content}`)
      continue
    }
    for (const part of message.content as ReadonlyArray<any>) {
      switch (part.type) {
        case "text":
          out.push(`${message.role}: ${part.text}`)
          break
        case "reasoning":
          out.push(`reasoning: ${part.text}`)
          break
        case "tool-call":
          out.push(`call ${part.id}: ${part.name} ${JSON.stringify(part.params)}`)
          break
        case "tool-result":
          out.push(`result ${part.id}: ${typeof part.result === "string" ? part.result : JSON.stringify(part.result)}`)
          break
      }
    }
  }
  return out
}

const note = "[Note from the application, not from the user: nobody said this in the conversation.]\n"

/** What is said in a request, without the system message; a note of the application is one word. */
export const talk = (provider: Provider, request: { readonly body: any } | undefined): ReadonlyArray<string> =>
  lines(provider, request?.body)
    .filter((line) => !line.startsWith("system: "))
    .map((line) => (line.startsWith(`user: ${note}`) ? "note" : line))

/** What holds for every request of a session with one agent. */
export const expectSound = (provider: Provider, server: Server): void => {
  expect(server.violations).toEqual([])
  const first = server.requests[0]?.body
  for (const { body, bytes } of server.requests) {
    // tools and system prompt are the same bytes in each request: a prompt cache stays warm
    if (first.tools !== undefined) expect(bytes.toString("utf8")).toContain(JSON.stringify(first.tools))
    expect(JSON.stringify(body.tools)).toBe(JSON.stringify(first.tools))
    expect(JSON.stringify(provider.system(body))).toBe(JSON.stringify(provider.system(first)))
    const systems = lines(provider, body).filter((line) => line.startsWith("system: "))
    expect(systems).toHaveLength(1)
    expect(lines(provider, body)[0]).toBe(systems[0])
  }
}

export interface Log {
  readonly events: ReadonlyArray<SessionEvent.SessionEvent>
  /** Waits until so many events have been of this kind. */
  readonly until: (tag: SessionEvent.SessionEvent["_tag"], count?: number) => Effect.Effect<void>
}

/** Collects what happens in a session, from now on. */
export const log = (session: AgentSession.Service): Effect.Effect<Log, never, Scope.Scope> =>
  Effect.gen(function* () {
    const events: Array<SessionEvent.SessionEvent> = []
    const waiting = new Set<() => void>()
    yield* session.events.pipe(
      Stream.runForEach((event) =>
        Effect.sync(() => {
          events.push(event)
          for (const look of waiting) look()
        })
      ),
      Effect.forkScoped
    )
    yield* Effect.yieldNow()
    return {
      events,
      until: (tag, count = 1) =>
        Effect.async<void>((resume) => {
          const look = () => {
            if (events.filter((event) => event._tag === tag).length < count) return
            waiting.delete(look)
            resume(Effect.void)
          }
          waiting.add(look)
          look()
          return Effect.sync(() => waiting.delete(look))
        })
    }
  })

export const said = (session: AgentSession.Service): Effect.Effect<ReadonlyArray<string>> =>
  Effect.map(session.history, ({ items }) =>
    items.flatMap((item) => (item._tag === "Message" && item.role === "assistant" ? [item.text] : []))
  )

/** The error that a turn ended with. */
export const failure = (session: AgentSession.Service, text: string) =>
  Effect.gen(function* () {
    const speech = yield* session.send(text)
    yield* speech.wait
    return Option.getOrUndefined(yield* speech.error)
  })
