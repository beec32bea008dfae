/**
 * A local HTTP server in the place of a provider: on the loopback interface, on a port that is free, for as long as the
 * scope lasts. It checks each request by the rules of its provider, answers what breaks one as the provider does, and
 * records everything.
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { Effect, Runtime, type Scope } from "effect"
import { type Answer, HttpError, type Piece, piecesOf, Raw, type Request, type Script } from "./Script.js"

export interface Recorded {
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  /** the bytes of the body */
  readonly bytes: Buffer
  /** the body, decoded */
  readonly body: any
  readonly status: number
  /** which rule the request broke; it was answered with 400 */
  readonly violation: string | undefined
}

export interface Server {
  /** what the provider's package takes as its base URL */
  readonly url: string
  readonly requests: ReadonlyArray<Recorded>
  /** the rules that were broken, in order; a test wants none */
  readonly violations: ReadonlyArray<string>
  /** requests whose answer is not complete and whose client is still there */
  readonly open: () => number
}

/** The part of a server that is its provider's own. */
export interface Dialect {
  /** what the base URL has behind host and port */
  readonly base: string
  /** where requests are posted */
  readonly path: string
  /** which documented rule the request breaks */
  readonly violation: (body: any, headers: Readonly<Record<string, string>>) => HttpError | undefined
  /** the body of an error response */
  readonly errorBody: (error: HttpError) => unknown
  /** the events of an answer, in order; a fault stands where it happens */
  readonly events: (pieces: ReadonlyArray<Piece>, body: any) => Iterable<WireEvent>
}

export type WireEvent =
  | { readonly _tag: "Event"; readonly name: string; readonly data: unknown }
  | { readonly _tag: "Drop" | "Cut" | "Stall" }

/** One block of a server-sent event stream. */
export const sse = (name: string, data: unknown): string => `event: ${name}\ndata: ${JSON.stringify(data)}\n\n`

const read = async (request: IncomingMessage): Promise<Buffer> => {
  const chunks: Array<Buffer> = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}

const headersOf = (request: IncomingMessage): Record<string, string> =>
  Object.fromEntries(Object.entries(request.headers).map(([name, value]) => [name, String(value)]))

const respond = (script: Script, request: Request): Effect.Effect<Answer> => {
  if (typeof script === "function") return lift(script(request))
  const step = script[request.index]
  if (step === undefined) {
    return Effect.succeed(
      new HttpError({ status: 500, message: `the script has no answer ${request.index}`, headers: {} })
    )
  }
  return typeof step === "function" ? lift(step(request)) : Effect.succeed(step)
}

const lift = (answer: Answer | Effect.Effect<Answer>): Effect.Effect<Answer> =>
  Effect.isEffect(answer) ? answer : Effect.succeed(answer)

export const make = (dialect: Dialect, script: Script): Effect.Effect<Server, never, Scope.Scope> =>
  Effect.gen(function* () {
    const runtime = yield* Effect.runtime<never>()
    const runPromise = Runtime.runPromise(runtime)
    const requests: Array<Recorded> = []
    const violations: Array<string> = []
    let scripted = 0
    let open = 0

    const fail = (response: ServerResponse, error: HttpError): void => {
      response.writeHead(error.status, { "content-type": "application/json", ...error.headers })
      response.end(JSON.stringify(dialect.errorBody(error)))
    }

    const stream = (response: ServerResponse, events: Iterable<WireEvent>): void => {
      response.writeHead(200, { "content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache" })
      for (const event of events) {
        switch (event._tag) {
          case "Event": {
            response.write(sse(event.name, event.data))
            break
          }
          case "Drop": {
            // what was written is on its way before the connection breaks
            response.write("", () => response.destroy())
            return
          }
          case "Cut": {
            response.end()
            return
          }
          case "Stall":
            return
        }
      }
      response.end()
    }

    const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
      const bytes = await read(request)
      const headers = headersOf(request)
      const url = request.url ?? ""
      const record = (body: unknown, status: number, violation: string | undefined) =>
        requests.push({ url, headers, bytes, body, status, violation })
      const refuse = (body: unknown, error: HttpError): void => {
        violations.push(error.message)
        record(body, error.status, error.message)
        fail(response, error)
      }
      if (request.method !== "POST" || url.split("?")[0] !== `${dialect.base}${dialect.path}`) {
        return refuse(
          undefined,
          new HttpError({ status: 404, message: `there is no ${request.method} ${url}`, headers: {} })
        )
      }
      let body: any
      try {
        body = JSON.parse(bytes.toString("utf8"))
      } catch {
        return refuse(undefined, new HttpError({ status: 400, message: "the body is not JSON", headers: {} }))
      }
      const violation = dialect.violation(body, headers)
      if (violation !== undefined) return refuse(body, violation)
      const answer = await runPromise(respond(script, { index: scripted++, url, headers, body }))
      if (answer instanceof HttpError) {
        record(body, answer.status, undefined)
        return fail(response, answer)
      }
      record(body, 200, undefined)
      if (answer instanceof Raw) {
        response.writeHead(200, { "content-type": "text/event-stream; charset=utf-8" })
        response.end(answer.body)
        return
      }
      stream(response, dialect.events(piecesOf(answer), body))
    }

    const server = createServer((request, response) => {
      open++
      response.once("close", () => {
        open--
      })
      handle(request, response).catch((cause: unknown) => {
        violations.push(`the server failed: ${String(cause)}`)
        response.destroy()
      })
    })
    yield* Effect.acquireRelease(
      Effect.async<void>((resume) => {
        server.listen(0, "127.0.0.1", () => resume(Effect.void))
      }),
      () =>
        Effect.async<void>((resume) => {
          server.close(() => resume(Effect.void))
          server.closeAllConnections()
        })
    )
    const { port } = server.address() as AddressInfo
    return { url: `http://127.0.0.1:${port}${dialect.base}`, requests, violations, open: () => open }
  })
