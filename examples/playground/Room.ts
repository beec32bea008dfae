/**
 * The one conversation that the playground is in: the agent, its session, and the log of its events. Who looks on gets
 * frames of it, from wherever they had been.
 */
import type { FileSystem, Error as PlatformError } from "@effect/platform"
import {
  Chunk,
  type Clock,
  Context,
  Data,
  Effect,
  ExecutionStrategy,
  Exit,
  FiberSet,
  Layer,
  PubSub,
  Queue,
  Ref,
  Schema,
  Scope,
  Stream,
  SynchronizedRef
} from "effect"
import { AgentOutput, type AgentSession, type AsyncTool, type ChatContext, type SessionEvent } from "effect-meantime"
import * as Recording from "../shared/Recording.js"
import * as RecordingFile from "../shared/RecordingFile.js"
import * as ScaledClock from "../shared/ScaledClock.js"
import type { Agent } from "./agents.js"
import { EventLog } from "./EventLog.js"
import * as Protocol from "./Protocol.js"
import * as Speaking from "./Speaking.js"
import * as UserTurn from "./UserTurn.js"

// --- models ---------------------------------------------------------------------------------------------------------

/** What the playground is asked for and does not do, with the reason. */
export class Refused extends Data.TaggedError("Refused")<{ readonly message: string; readonly status: number }> {}

/** One server-sent event. */
export interface Frame {
  readonly event: keyof typeof Protocol.frames
  readonly id?: string
  readonly data: string
}

interface Conversation {
  readonly id: string
  readonly agent: Agent
  readonly session: AgentSession.Service
  readonly scope: Scope.CloseableScope
  readonly clock: Clock.Clock
  readonly log: EventLog
  /** the turn that the user is speaking, if there is one */
  readonly turn: UserTurn.Service
  saying: Protocol.Saying | null
  unheard: ReadonlyArray<Protocol.Unheard>
}

export interface Options {
  readonly agents: ReadonlyArray<Agent>
  /** the agent to begin with; by default the first */
  readonly first?: string | undefined
  /** where to record conversations: the first in this file, later ones beside it */
  readonly record?: string | undefined
  /** a recording for the page to show */
  readonly replay?: ReadonlyArray<SessionEvent.SessionEvent> | undefined
  /** events kept of a conversation; default 20 000 */
  readonly capacity?: number | undefined
  /** how fast the agents speak; default: as fast as they write */
  readonly charactersPerSecond?: number | undefined
}

export interface Service {
  /** Begins a new conversation; the old one is closed in order, while the new one has begun. */
  readonly start: (agent: string) => Effect.Effect<void, Refused>
  readonly say: (request: typeof Protocol.Say.Type) => Effect.Effect<void, Refused>
  /** The user has the floor, and is about to say this. */
  readonly speak: (request: typeof Protocol.Speak.Type) => Effect.Effect<void, Refused>
  /** The user says nothing after all. */
  readonly hush: (request: typeof Protocol.Hush.Type) => Effect.Effect<void, Refused>
  readonly cancel: (request: typeof Protocol.Cancel.Type) => Effect.Effect<void, Refused>
  readonly approve: (request: typeof Protocol.Approve.Type) => Effect.Effect<void, Refused>
  readonly deny: (request: typeof Protocol.Deny.Type) => Effect.Effect<void, Refused>
  readonly tell: (request: typeof Protocol.Tell.Type) => Effect.Effect<void, Refused>
  /** Frames from after this `id` on, or from the beginning of the conversation. A slow reader costs no memory. */
  readonly frames: (after?: string) => Stream.Stream<Frame>
  /** What the log has of the current conversation, as a recording. */
  readonly recording: Effect.Effect<{ readonly name: string; readonly text: string }>
  /** The recording that the playground was started with. */
  readonly replay: Effect.Effect<string, Refused>
}

export class Room extends Context.Tag("playground/Room")<Room, Service>() {}

// --- helpers --------------------------------------------------------------------------------------------------------

/** `talk.jsonl`, `talk-2.jsonl`, … */
const numbered = (path: string, n: number): string =>
  n === 1 ? path : /\.[^./\\]+$/.test(path) ? path.replace(/\.[^./\\]+$/, `-${n}$&`) : `${path}-${n}`

/** What was not heard is kept of so many messages, and of each so much. */
const cuts = 50
const cutLength = 2000

/** This conversation, after a message of its agent: it is no longer being said, and what was not heard of it is known. */
const written = (conversation: Conversation, message: ChatContext.Message): void => {
  const { saying, unheard } = conversation
  // another text may be played by now
  if (saying === null || message.text === "" || !saying.text.startsWith(message.text)) return
  conversation.saying = null
  const rest = saying.text.slice(message.text.length, message.text.length + cutLength)
  if (message.interrupted && rest.trim() !== "") {
    conversation.unheard = [...unheard, { itemId: message.id, text: rest }].slice(-cuts)
  }
}

/** How many events a reader is given at once. */
const batch = 256

const encodeHello = Schema.encodeSync(Protocol.frames.hello)
const encodeStatus = Schema.encodeSync(Protocol.frames.status)
const encodeEvent = Schema.encodeSync(Protocol.frames.happened)

// --- the room -------------------------------------------------------------------------------------------------------

export const make = (options: Options): Effect.Effect<Service, Refused, Scope.Scope | FileSystem.FileSystem> =>
  Effect.gen(function* () {
    const { agents, capacity = 20_000, charactersPerSecond, record, replay } = options
    const scope = yield* Effect.scope
    // rung when there is something new; a reader that has not looked since needs no second ring. It is the last to go:
    // what happens while everything is closed rings, too
    const bell = yield* Effect.acquireRelease(PubSub.sliding<void>(1), PubSub.shutdown)
    const ring = PubSub.publish(bell, undefined)
    // whoever keeps the events of a conversation stays until it is closed, and so knows how it ended
    const keepers = yield* FiberSet.make()
    yield* Effect.addFinalizer(() => FiberSet.awaitEmpty(keepers))
    const fs = yield* Effect.context<FileSystem.FileSystem>()
    const count = yield* Ref.make(0)
    const born = (yield* Effect.clockWith((clock) => clock.currentTimeMillis)).toString(36)

    const open = Effect.fnUntraced(function* (name: string) {
      const agent = agents.find((agent) => agent.name === name)
      if (agent === undefined) return yield* new Refused({ message: `There is no agent "${name}".`, status: 404 })
      const number = yield* Ref.updateAndGet(count, (n) => n + 1)
      const inner = yield* Scope.fork(scope, ExecutionStrategy.sequential)
      const clock = agent.rate === 1 ? yield* Effect.clock : yield* ScaledClock.make(agent.rate)
      let conversation: Conversation | undefined
      const output = Speaking.make({
        // so fast for those who look on, however fast the time of the conversation passes
        millisPerCharacter: charactersPerSecond === undefined ? undefined : (1000 / charactersPerSecond) * agent.rate,
        tell: (saying) =>
          Effect.suspend(() => {
            if (conversation !== undefined) conversation.saying = saying
            return ring
          })
      })
      const session = yield* agent.open.pipe(
        Effect.provideService(AgentOutput.AgentOutput, output),
        Effect.withClock(clock),
        Scope.extend(inner)
      )
      const current: Conversation = {
        id: `${born}-${number}`,
        agent,
        session,
        scope: inner,
        clock,
        log: new EventLog(capacity),
        turn: yield* UserTurn.make(session).pipe(Scope.extend(inner)),
        saying: null,
        unheard: []
      }
      conversation = current
      const keep = (event: SessionEvent.SessionEvent) =>
        Effect.suspend(() => {
          current.log.append(event)
          // what was said is in the log from here on
          if (event._tag === "SpeechEnded" && event.speechId === current.saying?.speech) current.saying = null
          if (event._tag === "ItemAdded" && event.item._tag === "Message" && event.item.role === "assistant") {
            written(current, event.item)
          }
          return ring
        })
      const events = Stream.tap(session.events, keep)
      yield* (
        record === undefined
          ? Stream.runDrain(events)
          : RecordingFile.write(events, numbered(record, number)).pipe(
              Effect.catchAll((error: PlatformError.PlatformError) =>
                Effect.logError(`The conversation cannot be recorded any more: ${error.message}`)
              ),
              // the page goes on without the file
              Effect.zipRight(Stream.runDrain(events))
            )
      ).pipe(Effect.provide(fs), FiberSet.run(keepers))
      return current
    })

    const first = yield* open(options.first ?? agents[0]?.name ?? "")
    const current = yield* SynchronizedRef.make(first)
    const conversationOf = (id: string) =>
      Effect.flatMap(SynchronizedRef.get(current), (conversation) =>
        conversation.id === id
          ? Effect.succeed(conversation)
          : Effect.fail(new Refused({ message: "This conversation is over; another one has begun.", status: 409 }))
      )
    /** What the session says against it is told to whoever asked. */
    const withSession = (
      id: string,
      f: (session: AgentSession.Service) => Effect.Effect<void, AsyncTool.ToolError>
    ): Effect.Effect<void, Refused> =>
      Effect.flatMap(conversationOf(id), ({ session }) =>
        Effect.mapError(f(session), ({ message }) => new Refused({ message, status: 409 }))
      )
    const isOver = () => new Refused({ message: "The conversation is closed.", status: 409 })

    const hello = (conversation: Conversation, resumed: boolean) =>
      Effect.map(conversation.clock.currentTimeMillis, (now): Frame => {
        const { agent, id } = conversation
        const data = encodeHello({
          conversation: id,
          agent: agent.name,
          agents: agents.map(({ about, name, suggestions, title }) => ({ name, title, about, suggestions })),
          tools: agent.tools ?? [],
          model: agent.model,
          resumed,
          now,
          rate: agent.rate,
          recording: replay !== undefined
        })
        return { event: "hello", data }
      })

    const status = (conversation: Conversation) =>
      Effect.zipWith(conversation.session.runningTools, conversation.session.approvals, (running, waiting) => ({
        saying: conversation.saying,
        unheard: conversation.unheard,
        cancellable: running.filter(({ allowCancellation }) => allowCancellation).map(({ callId }) => callId),
        approvals: waiting.map(
          ({ arguments: args, callId, expiresAt, name, reason }): Protocol.Waiting => ({
            callId,
            name,
            arguments: args,
            ...(reason === undefined ? {} : { reason }),
            ...(expiresAt === undefined ? {} : { expiresAt })
          })
        )
      }))

    const frames = (after?: string): Stream.Stream<Frame> =>
      Stream.unwrapScoped(
        Effect.gen(function* () {
          const rings = yield* PubSub.subscribe(bell)
          const [, id, number] = /^(.+)\/(\d+)$/.exec(after ?? "") ?? []
          let seen: { readonly id: string; seq: number } | undefined
          let told = ""

          const look: Effect.Effect<ReadonlyArray<Frame>> = Effect.gen(function* () {
            const conversation = yield* SynchronizedRef.get(current)
            const found: Array<Frame> = []
            if (seen?.id !== conversation.id) {
              const seq = Number(number)
              const resumed = seen === undefined && id === conversation.id && seq <= conversation.log.newest
              seen = { id: conversation.id, seq: resumed ? seq : 0 }
              told = ""
              found.push(yield* hello(conversation, resumed))
            }
            for (const { event, seq } of conversation.log.after(seen.seq, batch)) {
              seen.seq = seq
              found.push({ event: "happened", id: `${seen.id}/${seq}`, data: encodeEvent(event) })
            }
            const state = yield* status(conversation)
            const text = JSON.stringify(state)
            if (text !== told) {
              told = text
              found.push({
                event: "status",
                data: encodeStatus({ ...state, now: yield* conversation.clock.currentTimeMillis })
              })
            }
            return found
          })
          const next: Effect.Effect<Chunk.Chunk<Frame>> = Effect.flatMap(look, (found) =>
            found.length > 0 ? Effect.succeed(Chunk.unsafeFromArray(found)) : Effect.zipRight(Queue.take(rings), next)
          )
          return Stream.repeatEffectChunk(next)
        })
      )

    return Room.of({
      start: (name) =>
        SynchronizedRef.updateEffect(current, (old) =>
          // not interruptible from its very beginning: when everything is closed right after, this is waited for
          Effect.tap(open(name), () => Effect.uninterruptible(Effect.forkIn(Scope.close(old.scope, Exit.void), scope)))
        ).pipe(Effect.zipRight(ring)),
      say: ({ conversation, text }) =>
        Effect.flatMap(conversationOf(conversation), ({ turn }) => Effect.mapError(turn.say(text.trim()), isOver)),
      speak: ({ conversation, text }) =>
        Effect.flatMap(conversationOf(conversation), ({ turn }) => Effect.mapError(turn.speak(text), isOver)),
      hush: ({ conversation }) => Effect.flatMap(conversationOf(conversation), ({ turn }) => turn.hush),
      cancel: ({ callId, conversation }) => withSession(conversation, (session) => session.cancelTool(callId)),
      // the arguments are those of the session, unless the page says which others
      approve: ({ arguments: args, callId, conversation }) =>
        withSession(conversation, (session) =>
          session.approve(callId, { by: "playground", ...(args === undefined ? {} : { arguments: args }) })
        ),
      deny: ({ callId, conversation, reason }) =>
        withSession(conversation, (session) => session.deny(callId, { by: "playground", reason })),
      tell: ({ callId, conversation, text }) =>
        withSession(conversation, (session) => session.messageTool(callId, text.trim())),
      frames,
      recording: Effect.map(SynchronizedRef.get(current), ({ agent, id, log }) => ({
        name: `${agent.name}-${id}.jsonl`,
        text: log
          .after(0, Number.POSITIVE_INFINITY)
          .map(({ event }) => Recording.encode(event))
          .join("")
      })),
      replay: Effect.suspend(() =>
        replay === undefined
          ? Effect.fail(new Refused({ message: "The playground was started without a recording.", status: 404 }))
          : Effect.succeed(replay.map(Recording.encode).join(""))
      )
    })
  })

export const layer = (options: Options): Layer.Layer<Room, Refused, FileSystem.FileSystem> =>
  Layer.scoped(Room, make(options))
