/**
 * The user's turns of a session, from what was heard: one loop takes what was heard, what has become due, and answers
 * about whether a text is complete, one after the other.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type * as AgentSession from "../../AgentSession.js"
import type { SessionClosed } from "../../Tags.js"
import type { Heard } from "../../voice/Audio.js"
import { guarded, suspended } from "../values/guarded.js"
import { Hearing, type Policy } from "./hearing.js"

export interface Settings extends Policy {
  /** what a barge-in does to the agent's speech */
  readonly speech: "pause" | "interrupt"
  readonly isBackchannel: ((text: string) => boolean) | undefined
  readonly isComplete: ((text: string) => Effect.Effect<boolean>) | undefined
}

type Input =
  | Heard
  | { readonly _tag: "Due" }
  | { readonly _tag: "Answered"; readonly turn: Turn; readonly round: number; readonly complete: boolean | undefined }
  | { readonly _tag: "Over"; readonly exit: Exit.Exit<void> }

interface Turn {
  readonly hearing: Hearing
  /** the agent was speaking when the user began */
  readonly bargedIn: boolean
  /** who is asked about the text, and about which */
  question: { readonly round: number; readonly fiber: Fiber.RuntimeFiber<unknown> } | undefined
  /** what holds the floor */
  held: { readonly turn: AgentSession.UserTurn; readonly scope: Scope.CloseableScope }
}

/** How much may have been heard while one input is carried out. */
const capacity = 64

const hold = (session: AgentSession.Service, speech: "keep" | "pause" | "interrupt") =>
  Effect.uninterruptible(
    Effect.flatMap(Scope.make(), (scope) =>
      session.userTurn({ speech }).pipe(
        Scope.extend(scope),
        Effect.map((turn) => ({ turn, scope })),
        Effect.onError(() => Scope.close(scope, Exit.void))
      )
    )
  )

/** `late`: what was sent last still lacks its final, which says the same. */
const beginsTurn = (heard: Heard, late: boolean): boolean =>
  heard._tag === "SpeechStarted" || (heard._tag === "Final" && !late && heard.text.trim() !== "")

const letGo = ({ scope, turn }: Turn["held"]): Effect.Effect<void> =>
  Effect.zipRight(turn.discard, Scope.close(scope, Exit.void))

export const listen = (
  session: AgentSession.Service,
  heard: Stream.Stream<Heard>,
  settings: Settings
): Effect.Effect<void, SessionClosed> =>
  Effect.scoped(
    Effect.gen(function* () {
      const inbox = yield* Queue.bounded<Input>(capacity)
      const scope = yield* Effect.scope
      let turn: Turn | undefined
      let timer: Fiber.RuntimeFiber<unknown> | undefined
      let agentSpeaks = false
      /** a turn was sent before its final had come */
      let late = false

      yield* Effect.addFinalizer(() => (turn === undefined ? Effect.void : letGo(turn.held)))

      const { isBackchannel, isComplete } = settings
      if (isBackchannel !== undefined) {
        yield* session.events.pipe(
          Stream.runForEach((event) =>
            Effect.sync(() => {
              if (event._tag === "AgentStateChanged") agentSpeaks = event.state === "speaking"
            })
          ),
          Effect.forkScoped
        )
      }
      yield* heard.pipe(
        Stream.runForEach((heard) => Queue.offer(inbox, heard)),
        Effect.exit,
        Effect.flatMap((exit) => Queue.offer(inbox, { _tag: "Over", exit })),
        Effect.forkScoped
      )

      const begin = Effect.uninterruptible(
        Effect.map(hold(session, "keep"), (held): Turn => {
          turn = { hearing: new Hearing(settings), bargedIn: agentSpeaks, question: undefined, held }
          return turn
        })
      )

      /** The floor stays the user's: the new hold begins before the old one ends. */
      const cut = (of: Turn) =>
        Effect.uninterruptible(
          Effect.flatMap(hold(session, settings.speech), (held) => {
            const before = of.held
            of.held = held
            return letGo(before)
          })
        )

      const ask = (of: Turn, isComplete: (text: string) => Effect.Effect<boolean>): Effect.Effect<void> => {
        const { hearing } = of
        const { round, text } = hearing
        hearing.asks()
        const question = suspended(() => isComplete(text)).pipe(
          Effect.map((complete): boolean | undefined => complete === true),
          // the silence decides
          Effect.catchAllCause((cause) =>
            Effect.as(Effect.logWarning("Whether the user's turn is complete could not be told.", cause), undefined)
          ),
          Effect.flatMap((complete) => Queue.offer(inbox, { _tag: "Answered", turn: of, round, complete })),
          Effect.forkIn(scope)
        )
        return Effect.map(question, (fiber) => {
          of.question = { round, fiber }
        })
      }

      const isNothing = (of: Turn): Effect.Effect<boolean> =>
        Effect.suspend(() => {
          // the agent has ended by itself: what the user says is an answer
          if (isBackchannel === undefined || !of.bargedIn || !(of.hearing.cut || agentSpeaks)) {
            return Effect.succeed(false)
          }
          return guarded<Effect.Effect<boolean>>(
            () => Effect.succeed(isBackchannel(of.hearing.text) === true),
            (thrown) => Effect.as(Effect.logWarning("Whether the user only agreed could not be told.", thrown), false)
          )
        })

      const over = (of: Turn, end: Effect.Effect<unknown, SessionClosed>): Effect.Effect<void, SessionClosed> =>
        Effect.zipRight(
          Effect.ensuring(
            end,
            Effect.suspend(() => {
              turn = undefined
              return Scope.close(of.held.scope, Exit.void)
            })
          ),
          of.question === undefined ? Effect.void : Fiber.interruptFork(of.question.fiber)
        )

      /** Does what is due, and sets the timer for what will be. */
      const settle: Effect.Effect<void, SessionClosed> = Effect.gen(function* () {
        if (timer !== undefined) yield* Fiber.interruptFork(timer)
        timer = undefined
        while (turn !== undefined) {
          const of: Turn = turn
          if (of.question !== undefined && of.question.round !== of.hearing.round) {
            yield* Fiber.interruptFork(of.question.fiber)
            of.question = undefined
          }
          const now = yield* Clock.currentTimeMillis
          const step = of.hearing.next(now)
          if ("at" in step) {
            if (step.at === Number.POSITIVE_INFINITY) return
            timer = yield* Effect.sleep(step.at - now).pipe(
              Effect.zipRight(Queue.offer(inbox, { _tag: "Due" })),
              Effect.forkIn(scope)
            )
            return
          }
          switch (step.due) {
            case "cut":
              of.hearing.cut = true
              yield* cut(of)
              break
            case "ask":
              if (isComplete !== undefined) yield* ask(of, isComplete)
              break
            case "discard":
              yield* over(of, of.held.turn.discard)
              break
            case "commit":
              late = of.hearing.isLate
              yield* over(
                of,
                Effect.flatMap(isNothing(of), (nothing) =>
                  nothing
                    ? of.held.turn.discard
                    : // there is text: a turn that is none is refused
                      Effect.catchTag(of.held.turn.commit(of.hearing.text), "ToolError", () => Effect.void)
                )
              )
          }
        }
      })

      while (true) {
        const input = yield* Queue.take(inbox)
        switch (input._tag) {
          case "Over":
            return yield* input.exit
          case "Due":
            break
          case "Answered":
            if (input.turn === turn) turn.hearing.answered(input.round, input.complete)
            break
          default: {
            if (turn === undefined && !beginsTurn(input, late)) {
              if (input._tag === "Final") late = false
              break
            }
            late = false
            const of: Turn = turn ?? (yield* begin)
            of.hearing.heard(input, yield* Clock.currentTimeMillis)
            if (input._tag === "Partial") yield* of.held.turn.partial(of.hearing.text)
          }
        }
        yield* settle
      }
    })
  )
