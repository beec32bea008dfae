/**
 * The routes of the playground, and who may use them.
 */

import { isIP } from "node:net"
import {
  Headers,
  HttpIncomingMessage,
  HttpMiddleware,
  HttpRouter,
  HttpServerRequest,
  HttpServerResponse
} from "@effect/platform"
import { Duration, Effect, Option, Schedule, type Schema, Stream } from "effect"
import type { Asset } from "./Bundle.js"
import * as Protocol from "./Protocol.js"
import { Refused, Room } from "./Room.js"

export interface Options {
  readonly assets: ReadonlyMap<string, Asset>
  /** what the server listens on */
  readonly host: string
}

// --- who may ask ----------------------------------------------------------------------------------------------------

/** Only this machine reaches it. */
export const loopback = (name: string) => name === "localhost" || name === "::1" || /^127(\.\d+){3}$/.test(name)

/** The name in a `Host` header, without its port. */
const hostname = (host: string): string => {
  const name = host.replace(/:\d+$/, "").toLowerCase()
  return name.startsWith("[") && name.endsWith("]") ? name.slice(1, -1) : name
}

/**
 * Against DNS rebinding: a page of somewhere else can let its own name point here, but it cannot choose the `Host`
 * header. So a name is let in only where it is ours; an address is let in where we listen for others too.
 */
export const hostAllowed = (listening: string, host: string): boolean => {
  const name = hostname(host)
  if (loopback(name) || name === listening.toLowerCase()) return true
  return !loopback(listening) && isIP(name) !== 0
}

/** Against requests that other pages make a browser send: what comes from a page has to come from ours. */
export const originAllowed = (host: string, headers: Headers.Headers): boolean => {
  const origin = Option.getOrUndefined(Headers.get(headers, "origin"))
  if (origin !== undefined && origin !== `http://${host}` && origin !== `https://${host}`) return false
  const site = Option.getOrUndefined(Headers.get(headers, "sec-fetch-site"))
  return site === undefined || site === "same-origin" || site === "none"
}

const security = {
  "content-security-policy":
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; " +
    "require-trusted-types-for 'script'; trusted-types 'none'",
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
  "cache-control": "no-store"
}

const refuse = (status: number, message: string) =>
  HttpServerResponse.unsafeJson({ message } satisfies typeof Protocol.Refusal.Type, { status })

const guard = (listening: string) =>
  HttpMiddleware.make((app) =>
    Effect.gen(function* () {
      const { headers } = yield* HttpServerRequest.HttpServerRequest
      const host = headers.host ?? ""
      if (!hostAllowed(listening, host)) return refuse(403, `This server does not answer to the name ${host}.`)
      if (!originAllowed(host, headers)) return refuse(403, "Only the page of this server may ask this.")
      return yield* app
    }).pipe(Effect.map(HttpServerResponse.setHeaders(security)))
  )

// --- the routes -----------------------------------------------------------------------------------------------------

const body = <A, I>(schema: Schema.Schema<A, I>) =>
  Effect.gen(function* () {
    const { headers } = yield* HttpServerRequest.HttpServerRequest
    // a form of another page cannot send this type without being asked first
    if (!/^application\/json\b/.test(headers["content-type"] ?? "")) {
      return yield* new Refused({ message: "The request has to be JSON.", status: 415 })
    }
    return yield* HttpServerRequest.schemaBodyJson(schema)
  }).pipe(
    HttpIncomingMessage.withMaxBodySize(Option.some(65_536)),
    Effect.catchTags({
      ParseError: () => new Refused({ message: "The request does not say what it should.", status: 400 }),
      RequestError: () => new Refused({ message: "The request cannot be read, or it is too long.", status: 400 })
    })
  )

const asked = <A, I, R>(schema: Schema.Schema<A, I>, f: (request: A) => Effect.Effect<void, Refused, R>) =>
  body(schema).pipe(Effect.flatMap(f), Effect.as(HttpServerResponse.empty({ status: 204 })))

/** A line every now and then, so that a connection that is dead is found to be so. */
const heartbeat = Stream.schedule(Stream.forever(Stream.make(":\n\n")), Schedule.spaced(Duration.seconds(15)))

const events = Effect.gen(function* () {
  const room = yield* Room
  const { headers } = yield* HttpServerRequest.HttpServerRequest
  const frames = room
    .frames(headers["last-event-id"])
    .pipe(
      Stream.map(({ data, event, id }) => `${id === undefined ? "" : `id: ${id}\n`}event: ${event}\ndata: ${data}\n\n`)
    )
  // `retry`: how soon the page asks again when the connection is lost
  const text = Stream.concat(Stream.make("retry: 1000\n\n"), Stream.merge(frames, heartbeat, { haltStrategy: "left" }))
  return HttpServerResponse.stream(Stream.encodeText(text), {
    contentType: "text/event-stream",
    headers: { "x-accel-buffering": "no" }
  })
})

const routes = HttpRouter.empty.pipe(
  HttpRouter.get("/api/events", events),
  HttpRouter.post(
    "/api/say",
    Effect.flatMap(Room, (room) => asked(Protocol.Say, room.say))
  ),
  HttpRouter.post(
    "/api/speak",
    Effect.flatMap(Room, (room) => asked(Protocol.Speak, room.speak))
  ),
  HttpRouter.post(
    "/api/hush",
    Effect.flatMap(Room, (room) => asked(Protocol.Hush, room.hush))
  ),
  HttpRouter.post(
    "/api/cancel",
    Effect.flatMap(Room, (room) => asked(Protocol.Cancel, room.cancel))
  ),
  HttpRouter.post(
    "/api/approve",
    Effect.flatMap(Room, (room) => asked(Protocol.Approve, room.approve))
  ),
  HttpRouter.post(
    "/api/deny",
    Effect.flatMap(Room, (room) => asked(Protocol.Deny, room.deny))
  ),
  HttpRouter.post(
    "/api/tell",
    Effect.flatMap(Room, (room) => asked(Protocol.Tell, room.tell))
  ),
  HttpRouter.post(
    "/api/start",
    Effect.flatMap(Room, (room) => asked(Protocol.Start, ({ agent }) => room.start(agent)))
  ),
  HttpRouter.get(
    "/api/recording",
    Effect.flatMap(Room, (room) =>
      Effect.map(room.recording, ({ name, text }) =>
        HttpServerResponse.text(text, {
          contentType: "application/jsonl",
          headers: { "content-disposition": `attachment; filename="${name}"` }
        })
      )
    )
  ),
  HttpRouter.get(
    "/api/replay",
    Effect.flatMap(Room, (room) =>
      Effect.map(room.replay, (text) => HttpServerResponse.text(text, { contentType: "application/jsonl" }))
    )
  )
)

/** The whole application: routes, page, and the guard before all of it. */
export const app = ({ assets, host }: Options) => {
  let router = routes
  for (const [path, { body, type }] of assets) {
    router = HttpRouter.get(router, path as `/${string}`, HttpServerResponse.text(body, { contentType: type }))
  }
  return router.pipe(
    Effect.catchTags({
      Refused: ({ message, status }) => Effect.succeed(refuse(status, message)),
      RouteNotFound: () => Effect.succeed(refuse(404, "There is nothing here."))
    }),
    guard(host)
  )
}
