/**
 * Requests and responses of the web, as the default transport of `useChat` makes and takes them.
 */
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { type SessionClosed, UiRequestError } from "../../Tags.js"
import { printable } from "../model/errors.js"
import type { AgUiEvent } from "./agui.js"
import type { UiChunk } from "./chunks.js"
import type { Ui } from "./ui.js"

const headers = {
  "content-type": "text/event-stream",
  "cache-control": "no-cache, no-transform",
  "x-vercel-ai-ui-message-stream": "v1",
  // a proxy that collects would hold the words back
  "x-accel-buffering": "no"
}

/** JSON has no line breaks, so a chunk is one line. */
export const encoded = (chunks: Stream.Stream<UiChunk>): Stream.Stream<Uint8Array> =>
  Stream.encodeText(
    Stream.concat(
      Stream.map(chunks, (chunk) => `data: ${JSON.stringify(chunk)}\n\n`),
      Stream.make("data: [DONE]\n\n")
    )
  )

export const toResponse = (chunks: Stream.Stream<UiChunk>): Effect.Effect<Response> =>
  Effect.map(Stream.toReadableStreamEffect(encoded(chunks)), (body) => new Response(body, { headers }))

export const toHttpServerResponse = (
  chunks: Stream.Stream<UiChunk>
): Effect.Effect<HttpServerResponse.HttpServerResponse> =>
  Effect.succeed(HttpServerResponse.stream(encoded(chunks), { headers }))

export const agUiResponse = (events: Stream.Stream<AgUiEvent>): Effect.Effect<Response> =>
  Effect.map(
    Stream.toReadableStreamEffect(
      Stream.encodeText(Stream.map(events, (event) => `data: ${JSON.stringify(event)}\n\n`))
    ),
    (body) =>
      new Response(body, {
        headers: {
          "content-type": headers["content-type"],
          "cache-control": headers["cache-control"],
          "x-accel-buffering": headers["x-accel-buffering"]
        }
      })
  )

/** Bytes of a request: a page sends the whole conversation, of which little is read. */
const maxBody = 16_000_000

const tooLong = new UiRequestError({ message: "The request is too long.", status: 413 })

const noJson = new UiRequestError({ message: "The request has to be application/json.", status: 415 })

/** The body as JSON, and no more of it than is allowed, whatever its length is said to be. */
export const jsonOf = (request: Request): Effect.Effect<unknown, UiRequestError> =>
  Effect.tryPromise({
    try: async () => {
      // a page of somebody else can send a text with the user's cookies, unasked; JSON it cannot
      if (!/^application\/json\b/i.test(request.headers.get("content-type") ?? "")) throw noJson
      if (Number(request.headers.get("content-length") ?? 0) > maxBody) throw tooLong
      const decoder = new TextDecoder()
      let text = ""
      let length = 0
      const reader = request.body?.getReader()
      for (let read = await reader?.read(); read?.done === false; read = await reader?.read()) {
        length += read.value.byteLength
        if (length > maxBody) {
          await reader?.cancel()
          throw tooLong
        }
        text += decoder.decode(read.value, { stream: true })
      }
      return JSON.parse(text + decoder.decode())
    },
    catch: (error) =>
      error instanceof UiRequestError ? error : new UiRequestError({ message: "The request is no JSON." })
  })

export const refused = ({ message, status }: UiRequestError): Response =>
  new Response(message, { status, headers: { "content-type": "text/plain; charset=utf-8" } })

const nothing = (): Response => new Response(null, { status: 204 })

/** What any request is answered with if it fails; a defect is nobody's on a page. */
export const answered = <R>(
  response: Effect.Effect<Response, UiRequestError | SessionClosed, R>
): Effect.Effect<Response, never, R> =>
  response.pipe(
    Effect.catchTags({
      UiRequestError: (error) => Effect.succeed(refused(error)),
      SessionClosed: () =>
        Effect.succeed(refused(new UiRequestError({ message: "The conversation is closed.", status: 503 })))
    }),
    Effect.catchAllCause((cause) =>
      Cause.isInterruptedOnly(cause)
        ? Effect.failCause(cause)
        : Effect.as(
            Effect.logError("A request of a page failed.", printable(Cause.squash(cause))),
            refused(new UiRequestError({ message: "That failed.", status: 500 }))
          )
    )
  )

export const respondWith = (
  ui: Ui,
  request: Request,
  body: Effect.Effect<unknown, UiRequestError>
): Effect.Effect<Response, UiRequestError | SessionClosed> => {
  switch (request.method) {
    case "POST":
      return Effect.flatMap(Effect.flatMap(body, ui.post), toResponse)
    case "GET":
      return Effect.flatMap(ui.get(), Option.match({ onNone: () => Effect.sync(nothing), onSome: toResponse }))
    case "DELETE":
      return Effect.map(ui.stop, nothing)
    default:
      return Effect.fail(new UiRequestError({ message: "A chat takes POST, GET and DELETE.", status: 405 }))
  }
}

export const respond = (ui: Ui, request: Request): Effect.Effect<Response> =>
  answered(respondWith(ui, request, jsonOf(request)))
