/**
 * The routes of the server. A visitor has a secret in a cookie: whoever has it has the conversation.
 */
import { createHash, randomUUID } from "node:crypto"
import { readFileSync } from "node:fs"
import {
  type HttpApp,
  HttpIncomingMessage,
  HttpMiddleware,
  HttpRouter,
  HttpServerRequest,
  HttpServerResponse
} from "@effect/platform"
import { Clock, Context, Data, Effect, Layer, Option, Schema } from "effect"
import { SessionStorage, Sessions } from "effect-meantime"
import * as Ui from "effect-meantime/ui"
import { Limits } from "./Limits.js"
import * as Page from "./Page.js"

// --- who asks -------------------------------------------------------------------------------------------------------

/** What a request is answered with, in place of what it asked for. */
class Refused extends Data.TaggedError("Refused")<{
  readonly status: number
  readonly message: string
  readonly retryAfter?: number
}> {}

const cookie = "session"
const isSecret = (text: string | undefined): text is string => text !== undefined && /^[\da-f-]{36}$/.test(text)

/** The id of the session is a hash of the secret: it is in logs and traces, and lets nobody in. */
const idOf = (secret: string): string => createHash("sha256").update(secret).digest("base64url")

const visitor = Effect.flatMap(HttpServerRequest.HttpServerRequest, ({ cookies }) => {
  const secret = cookies[cookie]
  return isSecret(secret) ? Effect.succeed(idOf(secret)) : new Refused({ status: 401, message: "Open the page first." })
})

const session = Effect.gen(function* () {
  const id = yield* visitor
  yield* Effect.annotateLogsScoped({ session: id })
  const sessions = yield* Sessions.Sessions
  return yield* sessions.get(id)
})

/** Another page can make a browser send a request, but not one that says that it comes from here. */
const guard = <E, R>(app: HttpApp.Default<E, R>) =>
  Effect.flatMap(HttpServerRequest.HttpServerRequest, ({ headers, method }): HttpApp.Default<E | Refused, R> => {
    const from = headers["sec-fetch-site"]
    const own = from === undefined ? headers.origin === undefined : from === "same-origin" || from === "none"
    return own || method === "GET"
      ? app
      : new Refused({ status: 403, message: "Only the page of this server may ask." })
  })

// --- what is asked for ----------------------------------------------------------------------------------------------

const maxBody = 65_536

const body = <A, I>(schema: Schema.Schema<A, I>) =>
  Effect.gen(function* () {
    const { headers } = yield* HttpServerRequest.HttpServerRequest
    if (Number(headers["content-length"] ?? 0) > maxBody) {
      return yield* new Refused({ status: 413, message: "The request is too long." })
    }
    return yield* HttpServerRequest.schemaBodyJson(schema)
  }).pipe(
    // one that does not say how long it is
    HttpIncomingMessage.withMaxBodySize(Option.some(maxBody)),
    Effect.catchTags({
      ParseError: () => new Refused({ status: 400, message: "The request does not say what it should." }),
      RequestError: () => new Refused({ status: 400, message: "The request cannot be read, or it is too long." })
    })
  )

const limited = Effect.gen(function* () {
  const { take } = yield* Limits
  const wait = yield* take(yield* visitor)
  if (wait > 0) {
    return yield* new Refused({ status: 429, message: "That is too much at once.", retryAfter: Math.ceil(wait / 1000) })
  }
})

const done = HttpServerResponse.empty({ status: 204 })

/** The page sends the id again if it does not know whether the message has arrived: it counts once. */
const Say = Schema.Struct({
  text: Schema.NonEmptyTrimmedString.pipe(Schema.maxLength(8000)),
  id: Schema.String.pipe(Schema.maxLength(64))
})
const Cancel = Schema.Struct({ callId: Schema.String })
/** The arguments are those that the session has of the call, unless the person has given others. */
const Approve = Schema.Struct({ callId: Schema.String, arguments: Schema.optional(Schema.Unknown) })
const Deny = Schema.Struct({
  callId: Schema.String,
  reason: Schema.optional(Schema.String.pipe(Schema.maxLength(2000)))
})
const Tell = Schema.Struct({ callId: Schema.String, text: Schema.NonEmptyTrimmedString.pipe(Schema.maxLength(8000)) })

const say = Effect.gen(function* () {
  yield* limited
  const { id, text } = yield* body(Say)
  yield* (yield* session).send(text, { id })
  return HttpServerResponse.empty({ status: 202 })
})

const cancel = Effect.gen(function* () {
  const { callId } = yield* body(Cancel)
  yield* (yield* session).cancelTool(callId)
  return done
})

/** Who decides: an application with accounts has a name. */
const by = "visitor"

const approve = Effect.gen(function* () {
  const { arguments: args, callId } = yield* body(Approve)
  yield* (yield* session).approve(callId, args === undefined ? { by } : { arguments: args, by })
  return done
})

const deny = Effect.gen(function* () {
  const { callId, reason } = yield* body(Deny)
  yield* (yield* session).deny(callId, { by, reason })
  return done
})

const approvals = Effect.gen(function* () {
  const calls = yield* (yield* session).approvals
  return HttpServerResponse.unsafeJson(
    calls.map(({ arguments: args, callId, expiresAt, name, reason }) => ({
      arguments: args,
      callId,
      expiresAt,
      name,
      reason
    }))
  )
})

const tell = Effect.gen(function* () {
  yield* limited
  const { callId, text } = yield* body(Tell)
  yield* (yield* session).messageTool(callId, text)
  return done
})

const running = Effect.gen(function* () {
  const calls = yield* (yield* session).runningTools
  return HttpServerResponse.unsafeJson(
    calls.map(({ allowCancellation, callId, name }) => ({ allowCancellation, callId, name }))
  )
})

/** Its calls end, and then nothing of it is kept. */
const end = Effect.gen(function* () {
  const handle = yield* session
  yield* handle.end
  const storage = yield* Effect.serviceOption(SessionStorage.SessionStorage)
  if (Option.isNone(storage)) return done
  const { epoch } = yield* storage.value.open(handle.id)
  yield* storage.value.remove(handle.id, epoch)
  return done
})

/** From the last item that the page has: a browser that connects again says so itself. */
const events = Effect.gen(function* () {
  const { headers, url } = yield* HttpServerRequest.HttpServerRequest
  const after = headers["last-event-id"] ?? new URL(url, "http://localhost").searchParams.get("after") ?? undefined
  return HttpServerResponse.stream(Sessions.serverSentEvents(yield* session, { after }), {
    contentType: "text/event-stream",
    headers: { "x-accel-buffering": "no" }
  })
})

// --- the page with useChat -------------------------------------------------------------------------------------------

/** One conversation for each visitor, on whichever page: the id that a page gives has to be the visitor's own. */
const authorize = (chatId: string, request: Request) => {
  const secret = /(?:^|;\s*)session=([^;]*)/.exec(request.headers.get("cookie") ?? "")?.[1]
  return isSecret(secret) && idOf(secret) === chatId
    ? Effect.void
    : new Ui.UiRequestError({ message: "Open the page first.", status: 401 })
}

/** The route behind `useChat`, and the page, which is built once. */
export class Chat extends Context.Tag("server/Chat")<
  Chat,
  {
    readonly handle: (request: Request) => Effect.Effect<Response>
    readonly page: Effect.Effect<ReadonlyMap<string, Page.Asset>, Page.BuildFailed>
  }
>() {}

export const chatLayer: Layer.Layer<Chat, never, Sessions.Sessions> = Layer.scoped(
  Chat,
  Effect.all({ handle: Ui.handler({ authorize }), page: Effect.cached(Page.build) })
)

const chat = Effect.gen(function* () {
  const request = yield* HttpServerRequest.HttpServerRequest
  if (request.method === "POST") yield* limited
  const { handle } = yield* Chat
  return HttpServerResponse.fromWeb(yield* handle(yield* HttpServerRequest.toWeb(request)))
})

const history = Effect.gen(function* () {
  const id = yield* visitor
  return HttpServerResponse.unsafeJson({ id, messages: Ui.toMessages(yield* (yield* session).history) })
})

const asset = (name: string) =>
  Effect.gen(function* () {
    const found = (yield* (yield* Chat).page).get(name)
    if (found === undefined) return yield* new Refused({ status: 404, message: "There is nothing here." })
    return HttpServerResponse.text(found.body, {
      contentType: found.type,
      headers: {
        "content-security-policy":
          "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; " +
          "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
      }
    })
  })

const files = Effect.flatMap(HttpRouter.params, (params) => asset(params["*"] ?? ""))

// --- the page -------------------------------------------------------------------------------------------------------

const html = readFileSync(new URL("./page.html", import.meta.url), "utf8")
const sourceOf = (tag: string) => {
  const text = html.slice(html.indexOf(`<${tag}>`) + tag.length + 2, html.indexOf(`</${tag}>`))
  return `'sha256-${createHash("sha256").update(text).digest("base64")}'`
}

const security = {
  "content-security-policy":
    `default-src 'none'; script-src ${sourceOf("script")}; style-src ${sourceOf("style")}; connect-src 'self'; img-src data:; ` +
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  "cross-origin-resource-policy": "same-origin",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
  "cache-control": "no-store"
}

/** A visitor who is new gets a secret. */
const withCookie = (response: HttpServerResponse.HttpServerResponse) =>
  Effect.flatMap(HttpServerRequest.HttpServerRequest, ({ cookies, headers }) => {
    if (isSecret(cookies[cookie])) return Effect.succeed(response)
    const secure = headers["x-forwarded-proto"] === "https"
    return Effect.orDie(
      HttpServerResponse.setCookie(response, cookie, randomUUID(), {
        httpOnly: true,
        path: "/",
        sameSite: "strict",
        secure
      })
    )
  })

const page = Effect.suspend(() => withCookie(HttpServerResponse.html(html)))
const chatPage = Effect.flatMap(asset("index.html"), withCookie)

// --- the application ------------------------------------------------------------------------------------------------

const routes = HttpRouter.empty.pipe(
  HttpRouter.get("/", page),
  HttpRouter.get("/health", Effect.succeed(HttpServerResponse.text("ok"))),
  HttpRouter.get("/chat", chatPage),
  HttpRouter.get("/chat/*", files),
  HttpRouter.all("/api/chat*", chat),
  HttpRouter.get("/api/history", history),
  HttpRouter.get("/api/events", events),
  HttpRouter.get("/api/running", running),
  HttpRouter.get("/api/approvals", approvals),
  HttpRouter.post("/api/say", say),
  HttpRouter.post("/api/cancel", cancel),
  HttpRouter.post("/api/approve", approve),
  HttpRouter.post("/api/deny", deny),
  HttpRouter.post("/api/tell", tell),
  HttpRouter.post(
    "/api/interrupt",
    Effect.as(
      Effect.flatMap(session, (handle) => handle.interrupt),
      done
    )
  ),
  HttpRouter.post("/api/end", end)
)

const refuse = (status: number, message: string, retryAfter?: number) =>
  HttpServerResponse.unsafeJson(
    { message },
    { status, headers: retryAfter === undefined ? {} : { "retry-after": `${retryAfter}` } }
  )

/** One line for each request: no text of a conversation, no secret, no query. */
const logged = HttpMiddleware.make((app) =>
  Effect.gen(function* () {
    const { method, url } = yield* HttpServerRequest.HttpServerRequest
    const start = yield* Clock.currentTimeMillis
    const response = yield* app
    const millis = (yield* Clock.currentTimeMillis) - start
    yield* Effect.annotateLogs(Effect.log("request"), {
      method,
      path: url.split("?", 1)[0]?.slice(0, 100),
      status: response.status,
      millis
    })
    return response
  })
)

export const app = guard(routes).pipe(
  Effect.catchTags({
    Refused: ({ message, retryAfter, status }) => Effect.succeed(refuse(status, message, retryAfter)),
    RouteNotFound: () => Effect.succeed(refuse(404, "There is nothing here.")),
    ToolError: ({ message }) => Effect.succeed(refuse(409, message)),
    // no room, or the server is about to end: somebody else may have room
    SessionsError: ({ message }) => Effect.as(Effect.logWarning(message), refuse(503, "Not now.", 5)),
    SessionClosed: () => Effect.succeed(refuse(503, "Not now.", 1)),
    BuildFailed: ({ message }) => Effect.as(Effect.logError(message), refuse(500, "The page could not be built.")),
    RequestError: () => Effect.succeed(refuse(400, "The request cannot be read.")),
    StorageError: ({ message }) => Effect.as(Effect.logError(message), refuse(503, "Not now.", 5)),
    // another one has opened it meanwhile, and so it goes on
    Fenced: () => Effect.succeed(refuse(409, "The conversation goes on elsewhere."))
  }),
  Effect.catchAllDefect((defect) => Effect.as(Effect.logError("request failed", defect), refuse(500, "That failed."))),
  logged,
  Effect.map((response) => HttpServerResponse.setHeaders(response, { ...security, ...response.headers })),
  Effect.scoped
)
