/**
 * One conversation behind `useChat` (rules V): a fiber takes the session's events to the board, and readers take messages
 * from it. All that waits here waits for the board to change.
 */
import * as Chunk from "effect/Chunk"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Service } from "../../AgentSession.js"
import type { ChatContext, ChatItem } from "../../ChatContext.js"
import type { SessionEvent } from "../../SessionEvent.js"
import type { Handle } from "../../Sessions.js"
import { type SessionClosed, type SessionsError, UiRequestError } from "../../Tags.js"
import { fromSession } from "../shell/sessionHandle.js"
import { check, ofUi } from "../values/options.js"
import * as Board from "./board.js"
import { type Asked, type Decision, readBody } from "./body.js"
import type { UiChunk } from "./chunks.js"

export interface Options {
  readonly keep?: number | undefined
  readonly onDisconnect?: "continue" | "interrupt" | undefined
}

export interface Ui {
  readonly post: (body: unknown) => Effect.Effect<Stream.Stream<UiChunk>, UiRequestError | SessionClosed>
  readonly get: (options?: {
    readonly wait?: Duration.DurationInput | undefined
  }) => Effect.Effect<Option.Option<Stream.Stream<UiChunk>>>
  readonly stop: Effect.Effect<void>
}

export const isHandle = (session: Service | Handle): session is Handle => "id" in session

/** How long an answer to a decision waits for what comes of it. */
const patience = "2 seconds"

/** Ids of messages that were sent, so that none is sent twice. */
const maxSent = 1024

interface Sent {
  readonly text: string
  readonly message: Board.Message
}

export const make = (session: Service | Handle, options?: Options): Effect.Effect<Ui, never, Scope.Scope> =>
  Effect.map(open(session, options), ({ ui }) => ui)

/** `inUse`: its session is open, or somebody reads. */
export const open = (
  session: Service | Handle,
  options?: Options
): Effect.Effect<{ readonly ui: Ui; readonly inUse: () => boolean }, never, Scope.Scope> =>
  Effect.gen(function* () {
    yield* check("the page", options, ofUi)
    const page = new Page(isHandle(session) ? session : fromSession(session), yield* Effect.scope, {
      keep: options?.keep ?? 20,
      interrupts: options?.onDisconnect === "interrupt"
    })
    // a session that cannot be had now is asked for again by the first request
    yield* Effect.ignore(page.listen)
    const ui: Ui = {
      post: (body) => page.post(body),
      get: (how) => page.get(how?.wait ?? "25 seconds"),
      stop: page.stop
    }
    return { ui, inUse: () => page.inUse }
  })

class Page {
  private readonly board: Board.Board
  private readonly waiters = new Set<() => void>()
  /** of the board, so far */
  private changes = 0
  private readonly sent = new Map<string, Sent>()
  private listening: Fiber.RuntimeFiber<void> | undefined = undefined

  constructor(
    private readonly handle: Handle,
    private readonly scope: Scope.Scope,
    private readonly options: { readonly keep: number; readonly interrupts: boolean }
  ) {
    this.board = Board.make(options.keep, undefined)
  }

  get inUse(): boolean {
    return (
      this.listening !== undefined || this.waiters.size > 0 || this.board.messages.some(({ readers }) => readers > 0)
    )
  }

  /** Changes the board, and wakes whoever waits for it. */
  private change<A>(f: (board: Board.Board) => A): A {
    const made = f(this.board)
    this.changes++
    for (const wake of Array.from(this.waiters)) wake()
    return made
  }

  /** Ends once the board is another one than it was `at`: a fiber may be put off between its look and its wait. */
  private changed(at: number): Effect.Effect<void> {
    return Effect.async((resume) => {
      if (this.changes !== at) return resume(Effect.void)
      const wake = (): void => {
        this.waiters.delete(wake)
        resume(Effect.void)
      }
      this.waiters.add(wake)
      return Effect.sync(() => this.waiters.delete(wake))
    })
  }

  /** Until the board says so. */
  private until<A>(look: () => A | undefined): Effect.Effect<A> {
    return Effect.suspend(() => {
      const { changes } = this
      const found = look()
      return found === undefined ? Effect.zipRight(this.changed(changes), this.until(look)) : Effect.succeed(found)
    })
  }

  // ------------------------------------------------------------------------------------------------------- the session

  /** From here on nothing of the session is missed. It is asked for again once it has closed. */
  readonly listen: Effect.Effect<void, SessionsError> = Effect.suspend(() => {
    if (this.listening !== undefined) return Effect.void
    const { approvals, history, runningTools } = this.handle
    return Effect.flatMap(Effect.all([history, runningTools, approvals]), ([{ items }, running, waiting]) =>
      Effect.suspend(() => {
        if (this.listening !== undefined) return Effect.void
        // what becomes of calls that were made before is told as well
        for (const { callId, name } of [...running, ...waiting]) Board.know(this.board, callId, name)
        this.board.lastItem = items[items.length - 1]?.id
        const ready = Deferred.unsafeMake<void>(FiberId.none)
        // behind the subscription comes the sign that it is there
        const events = Stream.merge(
          Stream.chunks(this.handle.events()),
          Stream.drain(Stream.fromEffect(Deferred.succeed(ready, undefined))),
          { haltStrategy: "left" }
        )
        return Effect.flatMap(
          Effect.forkIn(
            Stream.runForEach(events, (told) => Effect.sync(() => this.take(told))).pipe(
              // who asks may be in the middle of something that is not to be interrupted
              Effect.interruptible,
              Effect.ignore,
              Effect.ensuring(Effect.sync(() => this.closed()))
            ),
            this.scope
          ),
          (fiber) => {
            this.listening = fiber
            return Deferred.await(ready)
          }
        )
      })
    )
  })

  private take(events: Chunk.Chunk<SessionEvent>): void {
    this.change((board) => Board.tellAll(board, Chunk.toReadonlyArray(events)))
  }

  private closed(): void {
    this.listening = undefined
    this.change(Board.close)
  }

  // ----------------------------------------------------------------------------------------------------------- readers

  /** A message from there on. It counts as delivered once all of it was taken. */
  private read(message: Board.Message, from: number, startId?: string): Stream.Stream<UiChunk> {
    let at = from
    let started = false
    const release = Effect.suspend(() => {
      const whole = this.change(() => {
        message.readers--
        return message.delivered
      })
      return whole || message.done || !this.options.interrupts || this.board.turn?.message !== message
        ? Effect.void
        : this.stop
    })
    const next: Effect.Effect<Chunk.Chunk<UiChunk>, Option.Option<never>> = Effect.suspend(() => {
      const { changes } = this
      const taken: Array<UiChunk> = []
      if (!started && message.begun) {
        started = true
        // of what is nothing but data a page makes no message
        taken.push(message.silent ? { type: "start" } : { type: "start", messageId: startId ?? message.id })
      }
      while (started && at < message.chunks.length) taken.push(message.chunks[at++] as UiChunk)
      if (taken.length > 0) return Effect.succeed(Chunk.unsafeFromArray(taken))
      if (message.done) {
        message.delivered = true
        return Effect.fail(Option.none())
      }
      return Effect.zipRight(this.changed(changes), next)
    })
    return Stream.ensuring(Stream.repeatEffectChunkOption(next), release)
  }

  /** The reader is there before its stream is run: no GET takes what a POST has asked for. */
  private reserved(message: Board.Message, from: number, startId?: string): Stream.Stream<UiChunk> {
    message.readers++
    return this.read(message, from, startId)
  }

  get(wait: Duration.DurationInput): Effect.Effect<Option.Option<Stream.Stream<UiChunk>>> {
    return Effect.gen(this, function* () {
      yield* check("the page", { wait }, ofUi)
      yield* Effect.ignore(this.listen)
      const due = yield* Effect.forkIn(Effect.sleep(wait), this.scope)
      const over = () => due.unsafePoll() !== null
      const wake = (): void => void this.change(() => undefined)
      due.addObserver(wake)
      return yield* this.until(() => {
        const message = Board.waiting(this.board)
        if (message !== undefined) return Option.some(this.reserved(message, 0))
        // while a page reads an answer, it is told nothing that would look like the end of it
        if ((over() && !Board.isAnswering(this.board)) || this.listening === undefined) {
          return Option.some(undefined)
        }
        return undefined
      }).pipe(
        Effect.map((found) => Option.flatMap(found, Option.fromNullable)),
        Effect.ensuring(
          Effect.suspend(() => {
            due.removeObserver(wake)
            return Fiber.interruptFork(due)
          })
        )
      )
    })
  }

  readonly stop: Effect.Effect<void> = Effect.ignore(Effect.suspend(() => this.handle.interrupt))

  // ---------------------------------------------------------------------------------------------------------- requests

  post(body: unknown): Effect.Effect<Stream.Stream<UiChunk>, UiRequestError | SessionClosed> {
    return Effect.flatMap(
      Effect.suspend(() => readBody(body)),
      (asked) =>
        Effect.zipRight(
          this.listen,
          Effect.suspend(() => this.answer(asked))
        ).pipe(
          Effect.catchTag("SessionsError", () =>
            Effect.fail(new UiRequestError({ message: "The conversation cannot be had now.", status: 503 }))
          )
        )
    )
  }

  private answer(asked: Asked): Effect.Effect<Stream.Stream<UiChunk>, UiRequestError | SessionClosed | SessionsError> {
    const { message } = asked
    if (message === undefined) return this.decide(asked)
    const known = this.sent.get(message.id)
    if (known === undefined && message.again) {
      return Effect.fail(new UiRequestError({ message: "What was said cannot be edited." }))
    }
    if (known !== undefined && known.text !== message.text) {
      return Effect.fail(new UiRequestError({ message: "What was said cannot be edited." }))
    }
    if (known !== undefined) {
      return asked.target !== undefined && asked.decisions.length > 0
        ? this.decide(asked)
        : Effect.succeed(this.again(known))
    }
    return this.send(asked, message)
  }

  private send(
    asked: Asked,
    { files, id, text }: NonNullable<Asked["message"]>
  ): Effect.Effect<Stream.Stream<UiChunk>, UiRequestError | SessionClosed | SessionsError> {
    return Effect.uninterruptibleMask((restore) =>
      Effect.gen(this, function* () {
        const message = this.change((board) => Board.expect(board, text))
        const remembered = { text, message }
        this.sent.set(id, remembered)
        if (this.sent.size > maxSent) this.sent.delete(this.sent.keys().next().value as string)
        const stream = this.reserved(message, 0)
        yield* restore(
          Effect.zipRight(
            this.decideAll(asked.decisions, undefined),
            this.handle.send(files.length === 0 ? text : { text, files }, { id })
          )
        ).pipe(
          Effect.onError(() =>
            Effect.sync(() => {
              message.readers--
              if (this.sent.get(id) === remembered && !message.begun) this.sent.delete(id)
              this.change((board) => Board.withdraw(board, message))
            })
          )
        )
        // the session may know the message from another life of this page: nothing comes of it then
        yield* this.patiently(
          () => message.begun,
          (board) => Board.endUnanswered(board, message)
        )
        return stream
      })
    )
  }

  /** Does something unless it is no longer to be done after a while. */
  private patiently(over: () => boolean, otherwise: (board: Board.Board) => void): Effect.Effect<void> {
    if (over()) return Effect.void
    const waited = Effect.timeoutOption(
      this.until(() => (over() ? true : undefined)),
      patience
    )
    return Effect.asVoid(
      Effect.forkIn(
        // whoever asks may not be interrupted meanwhile
        Effect.interruptible(
          Effect.map(waited, (done) => {
            if (Option.isNone(done)) this.change(otherwise)
          })
        ),
        this.scope
      )
    )
  }

  /** What was sent before, under its id: its answer from the beginning, which takes the place of what the page has. */
  private again({ message }: Sent): Stream.Stream<UiChunk> {
    const kept = this.board.messages.includes(message)
    return kept ? this.reserved(message, 0) : Stream.make<Array<UiChunk>>({ type: "start" }, { type: "finish" })
  }

  private decide(asked: Asked): Effect.Effect<Stream.Stream<UiChunk>, UiRequestError | SessionClosed | SessionsError> {
    const { decisions, target, targetIsLast } = asked
    if (decisions.length === 0 || target === undefined) {
      return Effect.fail(new UiRequestError({ message: "There is nothing new in the request." }))
    }
    return Effect.gen(this, function* () {
      const context = yield* this.known(decisions)
      if (context.size === 0) {
        return yield* new UiRequestError({ message: "There is no such call to decide about." })
      }
      const shown = decisions.flatMap(({ callId, inTarget }) => {
        const call = context.get(callId)
        return inTarget && call !== undefined ? [{ callId, name: call.name }] : []
      })
      const { from, message } = this.change((board) => Board.beginDecision(board, target, shown))
      const stream = this.reserved(message, from, target)
      yield* this.decideAll(decisions, context).pipe(
        Effect.onError(() =>
          Effect.sync(() => {
            message.readers--
            this.change((board) => Board.withdraw(board, message))
          })
        )
      )
      const end = (board: Board.Board): void => Board.endDecision(board, message)
      // what is said of it behind what else was said since is a message of its own
      if (targetIsLast) yield* this.patiently(() => message.done, end)
      else this.change(end)
      this.change((board) => Board.tellAll(board, []))
      return stream
    })
  }

  /** The calls of these decisions that the session knows of: those that wait, and those of its history. */
  private known(decisions: ReadonlyArray<Decision>): Effect.Effect<ReadonlyMap<string, Known>, SessionsError> {
    return Effect.map(Effect.zip(this.handle.approvals, this.handle.history), ([approvals, history]) => {
      const ids = new Set(decisions.map(({ callId }) => callId))
      const found = new Map<string, Known>()
      for (const [callId, call] of callsIn(history)) if (ids.has(callId)) found.set(callId, { ...call, waits: false })
      for (const { callId, expiresAt, name, reason } of approvals) {
        if (!ids.has(callId)) continue
        found.set(callId, { name, how: undefined, waits: true, reason, expiresAt })
      }
      return found
    })
  }

  private decideAll(
    decisions: ReadonlyArray<Decision>,
    known: ReadonlyMap<string, Known> | undefined
  ): Effect.Effect<void, SessionsError> {
    if (decisions.length === 0) return Effect.void
    return Effect.flatMap(known === undefined ? this.known(decisions) : Effect.succeed(known), (context) =>
      Effect.forEach(
        decisions,
        (decision) => {
          const call = context.get(decision.callId)
          return call === undefined ? Effect.void : this.decideOne(decision, call)
        },
        { discard: true }
      )
    )
  }

  /** The session has the call and its arguments; the page says yes or no (rules V3, A4). */
  private decideOne({ approved, callId, edit, reason }: Decision, call: Known): Effect.Effect<void, SessionsError> {
    const { how, name } = call
    if (!call.waits) {
      return Effect.sync(() => {
        this.change((board) => Board.stands(board, callId, name, how ?? running))
      })
    }
    const decides = approved
      ? this.handle.approve(callId, edit ?? {})
      : this.handle.deny(callId, reason === undefined ? {} : { reason })
    // events may come before the answer
    this.change((board) => Board.deciding(board, callId, name))
    return Effect.matchEffect(decides, {
      onSuccess: () => Effect.sync(() => this.change((board) => Board.decided(board, callId, approved))),
      onFailure: (error) => {
        if (error._tag === "SessionsError") return Effect.fail(error)
        // other arguments that do not fit, or somebody was faster: the call waits on, or it does not
        return Effect.flatMap(this.known([{ approved, callId, edit, reason, inTarget: false }]), (again) =>
          Effect.sync(() => {
            const now = again.get(callId)
            this.change((board) => {
              if (now?.waits !== true) return Board.stands(board, callId, name, now?.how ?? running)
              const { expiresAt, reason: why } = now
              Board.askAgain(board, callId, name, {
                ...(why === undefined ? {} : { reason: why }),
                ...(expiresAt === undefined ? {} : { expiresAt }),
                problem: error.message
              })
            })
          })
        )
      }
    })
  }
}

interface Known {
  readonly name: string
  /** how it has ended */
  readonly how: ReturnType<typeof Board.outcome> | undefined
  readonly waits: boolean
  readonly reason?: string | undefined
  readonly expiresAt?: number | undefined
}

const running: ReturnType<typeof Board.outcome> = { state: "output-available", output: null, preliminary: true }

type Output = Extract<ChatItem, { readonly _tag: "FunctionCallOutput" }>

/** How the calls of a history stand. */
const callsIn = ({ items }: ChatContext): ReadonlyMap<string, Omit<Known, "waits">> => {
  const names = new Map<string, string>()
  const outputs = new Map<string, Output>()
  for (const item of items) {
    if (item._tag === "FunctionCall") names.set(item.callId, item.name)
    else if (item._tag === "FunctionCallOutput") outputs.set(item.callId, item)
  }
  const found = new Map<string, Omit<Known, "waits">>()
  for (const [callId, name] of names) {
    const own = outputs.get(callId)
    const final = outputs.get(`${callId}_final`) ?? (own?.open === undefined ? own : undefined)
    found.set(callId, {
      name,
      how: final === undefined ? undefined : Board.outcome(final.isError ? "error" : "done", final.output)
    })
  }
  return found
}
