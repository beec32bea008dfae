/**
 * The conversations of all pages, each behind its `Ui`.
 */
import * as Effect from "effect/Effect"
import * as ExecutionStrategy from "effect/ExecutionStrategy"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import { type SessionClosed, Sessions, UiRequestError } from "../../Tags.js"
import { isRecord } from "../values/record.js"
import { answered, jsonOf, respondWith } from "./responses.js"
import { type Options, open, type Ui } from "./ui.js"

export interface HandlerOptions<R> extends Options {
  readonly authorize: (chatId: string, request: Request) => Effect.Effect<void, UiRequestError, R>
}

interface Entry {
  readonly ui: Ui
  /** its session is open, or somebody reads */
  readonly inUse: () => boolean
  readonly scope: Scope.CloseableScope
}

const badId = new UiRequestError({ message: "The request does not say which conversation it is about." })

const isId = (id: unknown): id is string => typeof id === "string" && id !== "" && id.length <= 256

/** How many are kept whose session has closed: what waits in them for a page is lost beyond that. */
const maxKept = 1000

/** `/…/<id>/stream` of a GET, `/…/<id>` of a DELETE. */
const idInUrl = (request: Request): Effect.Effect<string, UiRequestError> =>
  Effect.suspend(() => {
    const parts = new URL(request.url).pathname.split("/").filter((part) => part !== "")
    if (parts[parts.length - 1] === "stream") parts.pop()
    try {
      const id = decodeURIComponent(parts[parts.length - 1] ?? "")
      return isId(id) ? Effect.succeed(id) : Effect.fail(badId)
    } catch {
      return Effect.fail(badId)
    }
  })

export const handler = <R>(
  options: HandlerOptions<R>
): Effect.Effect<(request: Request) => Effect.Effect<Response, never, R>, never, Sessions | Scope.Scope> =>
  Effect.gen(function* () {
    const sessions = yield* Sessions
    const scope = yield* Effect.scope
    const entries = new Map<string, Entry>()
    const lock = Effect.unsafeMakeSemaphore(1)

    /** Those whose session has closed, the oldest first. */
    const forget = Effect.suspend(() => {
      const gone = Array.from(entries).filter(([, entry]) => !entry.inUse())
      return Effect.forEach(
        gone.slice(0, Math.max(0, gone.length - maxKept)),
        ([id, entry]) => {
          entries.delete(id)
          return Scope.close(entry.scope, Exit.void)
        },
        { discard: true }
      )
    })

    const uiOf = (chatId: string): Effect.Effect<Ui, UiRequestError> =>
      Effect.suspend(() => {
        const known = entries.get(chatId)
        if (known !== undefined) return Effect.succeed(known.ui)
        // a session that is slow to open keeps nobody else waiting, and who waits for it may go
        return Effect.flatMap(sessions.get(chatId), (handle) =>
          lock.withPermits(1)(
            Effect.suspend(() => {
              const other = entries.get(chatId)
              if (other !== undefined) return Effect.succeed(other.ui)
              return Effect.uninterruptible(
                Effect.gen(function* () {
                  if (entries.size >= maxKept) yield* forget
                  const own = yield* Scope.fork(scope, ExecutionStrategy.sequential)
                  const { inUse, ui } = yield* Scope.extend(open(handle, options), own)
                  entries.set(chatId, { ui, inUse, scope: own })
                  return ui
                })
              )
            })
          )
        )
      }).pipe(
        Effect.catchTag("SessionsError", () =>
          Effect.fail(new UiRequestError({ message: "The conversation cannot be had now.", status: 503 }))
        )
      )

    const answer = (request: Request): Effect.Effect<Response, UiRequestError | SessionClosed, R> => {
      const post = request.method === "POST"
      return Effect.gen(function* () {
        const body = post ? yield* jsonOf(request) : undefined
        const chatId = post ? (isRecord(body) && isId(body.id) ? body.id : yield* badId) : yield* idInUrl(request)
        yield* options.authorize(chatId, request)
        const ui = yield* uiOf(chatId)
        return yield* respondWith(ui, request, Effect.succeed(body))
      })
    }
    return (request) => answered(answer(request))
  })
