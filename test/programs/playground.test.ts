import { createServer, type IncomingHttpHeaders, type IncomingMessage, request } from "node:http"
import { Toolkit } from "@effect/ai"
import { FileSystem, HttpServer } from "@effect/platform"
import { NodeContext, NodeHttpServer } from "@effect/platform-node"
import { describe, expect, it } from "@effect/vitest"
import { Deferred, Effect, Either, Exit, Layer, Schema } from "effect"
import { Agent, AgentSession, AsyncTool, RunContext } from "effect-meantime"
import { ScriptedModel, TestSession } from "effect-meantime/testing"
import { agents, toolInfos } from "../../examples/playground/agents.js"
import * as Bundle from "../../examples/playground/Bundle.js"
import { EventLog } from "../../examples/playground/EventLog.js"
import * as Protocol from "../../examples/playground/Protocol.js"
import * as Room from "../../examples/playground/Room.js"
import * as Server from "../../examples/playground/Server.js"
import * as Form from "../../examples/shared/Form.js"
import * as Recording from "../../examples/shared/Recording.js"
import * as View from "../../examples/shared/View.js"

// --- a server with an agent of its own ------------------------------------------------------------------------------

const Work = AsyncTool.make("work", {
  description: "Works for ten seconds.",
  parameters: { what: Schema.String },
  success: Schema.String,
  allowCancellation: true,
  messages: true
})
const Pay = AsyncTool.make("pay", {
  parameters: { what: Schema.String, euros: Schema.Number },
  success: Schema.String,
  needsApproval: true,
  approvalTimeout: "1 hour"
})
const Flood = AsyncTool.make("flood", { parameters: { times: Schema.Number }, success: Schema.String })
const Kit = Toolkit.make(Work, Flood, Pay)

interface Probe {
  released: number
  flooded: Deferred.Deferred<void>
}

const kitLive = (probe: Probe) =>
  Kit.toLayer({
    work: ({ what }) =>
      Effect.scoped(
        Effect.gen(function* () {
          yield* Effect.addFinalizer(() => Effect.sync(() => probe.released++))
          yield* RunContext.update(`begun: ${what}`)
          yield* Effect.sleep("5 seconds")
          yield* RunContext.update({ half: what })
          yield* Effect.sleep("5 seconds")
          return `made: ${what}`
        })
      ),
    pay: ({ euros, what }) => Effect.succeed(`paid ${euros} for ${what}`),
    flood: ({ times }) =>
      Effect.gen(function* () {
        yield* RunContext.update("open the gates")
        const water = "~".repeat(8000)
        for (let n = 0; n < times; n++) {
          yield* RunContext.progress({ n, water })
          if (n % 32 === 31) yield* Effect.yieldNow()
        }
        yield* Deferred.succeed(probe.flooded, undefined)
        return "dry"
      })
  })

const worker = (probe: Probe, name = "worker") => {
  const model = ScriptedModel.layer((asked) => {
    const text = ScriptedModel.lastUserText(asked)
    const result = ScriptedModel.toolResults(asked).at(-1)
    if (asked.prompt.content.at(-1)?.role === "tool" || /not (come )?from the user/.test(text)) {
      return String(typeof result?.result === "string" ? result.result.split("\n")[0] : JSON.stringify(result?.result))
    }
    const [, tool, rest] = /^(work|flood|pay) (.+)$/s.exec(text) ?? []
    if (tool === "work") return ScriptedModel.toolCall("work", { what: rest })
    if (tool === "flood") return ScriptedModel.toolCall("flood", { times: Number(rest) })
    if (tool === "pay") return ScriptedModel.toolCall("pay", { what: rest, euros: 900 })
    return ScriptedModel.text(`You said: ${text}`, { pace: "100 millis", chunks: ["You said: ", text] })
  })
  return {
    name,
    title: `The ${name}`,
    about: "It works.",
    suggestions: [],
    model: "script",
    rate: 1,
    tools: toolInfos(Kit),
    open: Effect.flatMap(Layer.build(Layer.merge(model, kitLive(probe))), (context) =>
      AgentSession.make({ agent: Agent.make(name, { instructions: "You work.", tools: [Kit] }) }).pipe(
        Effect.provide(context)
      )
    )
  }
}

const page = new Map([["/", { type: "text/html; charset=utf-8", body: "<!doctype html><title>page</title>" }]])

const serve = (options: Omit<Room.Options, "agents"> = {}, listening = "127.0.0.1") =>
  Effect.gen(function* () {
    const probe: Probe = { released: 0, flooded: yield* Deferred.make<void>() }
    const server = createServer()
    const layer = Layer.merge(
      Room.layer({ agents: [worker(probe), worker(probe, "other")], ...options }),
      NodeHttpServer.layer(() => server, { host: "127.0.0.1", port: 0 })
    )
    const context = yield* Layer.build(layer.pipe(Layer.provideMerge(NodeContext.layer)))
    yield* Effect.provide(HttpServer.serveEffect(Server.app({ assets: page, host: listening })), context)
    yield* Effect.addFinalizer(() => Effect.sync(() => server.closeAllConnections()))
    const address = server.address()
    const port = typeof address === "object" && address !== null ? address.port : 0

    const ask = (method: "GET" | "POST", path: string, body?: unknown, headers: Record<string, string> = {}) =>
      Effect.tryPromise(
        () =>
          new Promise<{ status: number; headers: IncomingHttpHeaders; text: string }>((resolve, reject) => {
            const asked = request(
              {
                host: "127.0.0.1",
                port,
                method,
                path,
                headers: { ...(method === "POST" ? { "content-type": "application/json" } : {}), ...headers }
              },
              (response) => {
                let text = ""
                response.setEncoding("utf8")
                response.on("data", (piece) => {
                  text += piece
                })
                response.on("end", () => resolve({ status: response.statusCode ?? 0, headers: response.headers, text }))
              }
            )
            asked.on("error", reject)
            asked.end(body === undefined ? undefined : typeof body === "string" ? body : JSON.stringify(body))
          })
      )
    return { port, probe, ask }
  })

interface Frame {
  readonly id: string | undefined
  readonly event: string
  readonly data: string
}

/** Who waits for what comes over a wire: a test may compare what came over two of them. */
let waiting: ReadonlyArray<() => void> = []

/** Listens to the stream of events as a page does. */
const listen = (port: number, lastEventId?: string) =>
  Effect.acquireRelease(
    Effect.promise(
      () =>
        new Promise<{ response: IncomingMessage; close: () => void }>((resolve, reject) => {
          const asked = request(
            {
              host: "127.0.0.1",
              port,
              path: "/api/events",
              headers: lastEventId === undefined ? {} : { "last-event-id": lastEventId }
            },
            (response) => resolve({ response, close: () => asked.destroy() })
          )
          asked.on("error", reject)
          asked.end()
        })
    ),
    ({ close }) => Effect.sync(close)
  ).pipe(
    Effect.map(({ close, response }) => {
      const frames: Array<Frame> = []
      let text = ""
      response.setEncoding("utf8")
      response.on("error", () => {})
      const read = () =>
        response.on("data", (piece) => {
          text += piece
          const blocks = text.split("\n\n")
          text = blocks.pop() ?? ""
          for (const block of blocks) {
            const lines = block.split("\n")
            const field = (name: string) => lines.find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2)
            const data = field("data")
            if (data !== undefined) frames.push({ id: field("id"), event: field("event") ?? "", data })
          }
          for (const look of waiting) look()
        })
      const events = () =>
        frames
          .filter(({ event }) => event === "happened")
          .map(({ data }) => Schema.decodeUnknownSync(Protocol.frames.happened)(data))
      const hellos = () =>
        frames
          .filter(({ event }) => event === "hello")
          .map(({ data }) => Schema.decodeUnknownSync(Protocol.frames.hello)(data))
      const statuses = () =>
        frames
          .filter(({ event }) => event === "status")
          .map(({ data }) => Schema.decodeUnknownSync(Protocol.frames.status)(data))
      /** Waits for what comes over the wire, however long that takes. */
      const until = (holds: () => boolean) =>
        Effect.promise(
          () =>
            new Promise<void>((resolve) => {
              const look = () => {
                if (!holds()) return
                waiting = waiting.filter((other) => other !== look)
                resolve()
              }
              waiting = [...waiting, look]
              look()
            })
        )
      /** How many events of the conversation there have been up to the newest one that came. */
      const newest = () => Number(frames.findLast(({ id }) => id !== undefined)?.id?.split("/")[1] ?? 0)
      return { response, read, close, frames, events, hellos, statuses, newest, until, view: () => View.fold(events()) }
    })
  )

const reading = (port: number, lastEventId?: string) => Effect.tap(listen(port, lastEventId), (reader) => reader.read())

const talkTo = (app: Effect.Effect.Success<ReturnType<typeof serve>>, conversation: string) => (text: string) =>
  Effect.gen(function* () {
    const { status } = yield* app.ask("POST", "/api/say", { conversation, text })
    expect(status).toBe(204)
  })

const timeout = 60_000

// --- tests ----------------------------------------------------------------------------------------------------------

describe("the server of the playground", () => {
  it.scoped(
    "tells the conversation from its beginning, and what is being said meanwhile",
    () =>
      Effect.gen(function* () {
        const app = yield* serve()
        const reader = yield* reading(app.port)
        yield* reader.until(() => reader.hellos().length > 0)
        const [hello] = reader.hellos()
        expect(hello).toMatchObject({ agent: "worker", model: "script", resumed: false, rate: 1, recording: false })
        expect(hello?.agents.map(({ name }) => name)).toEqual(["worker", "other"])

        const say = talkTo(app, hello?.conversation ?? "")
        yield* say("  hello  ")
        yield* TestSession.advance("100 millis")
        yield* reader.until(() => reader.statuses().at(-1)?.saying?.text === "You said: ")
        yield* TestSession.advance("100 millis")
        yield* reader.until(() => reader.view().lines.length === 2 && reader.statuses().at(-1)?.saying === null)
        expect(reader.view().lines).toMatchObject([
          { who: "user", text: "hello" },
          { who: "agent", text: "You said: hello" }
        ])
        expect(reader.response.headers["content-type"]).toBe("text/event-stream")
      }),
    timeout
  )

  it.scoped(
    "[O7] pauses for what is being typed, goes on if it is cleared, and shows what was not heard once it is sent",
    () =>
      Effect.gen(function* () {
        const app = yield* serve({ charactersPerSecond: 10 })
        const reader = yield* reading(app.port)
        yield* reader.until(() => reader.hellos().length > 0)
        const conversation = reader.hellos()[0]?.conversation ?? ""
        const say = talkTo(app, conversation)
        const speak = (text: string) => app.ask("POST", "/api/speak", { conversation, text })
        const hush = app.ask("POST", "/api/hush", { conversation })
        const saying = () => reader.statuses().at(-1)?.saying
        const is = (text: string, played: number, paused: boolean) =>
          reader.until(() => {
            const now = saying()
            return now?.text === text && now.played === played && now.paused === paused
          })
        const turnsTold = () => reader.events().flatMap((event) => (event._tag === "UserTurnPartial" ? event.text : []))

        yield* say("hello")
        yield* TestSession.advance("700 millis")
        // written to its end, and played to the middle of its second word
        yield* is("You said: hello", 4, false)
        expect((yield* speak("wa")).status).toBe(204)
        yield* is("You said: hello", 4, true)
        yield* reader.until(() => reader.view().partial === "wa")
        expect(View.floor(reader.view())).toBe("user")
        // each word of the page keeps the floor for a while; what has not changed is told once
        yield* TestSession.advance("10 seconds")
        expect((yield* speak("wa")).status).toBe(204)
        yield* TestSession.advance("10 seconds")
        expect(saying()).toMatchObject({ played: 4, paused: true })
        expect((yield* hush).status).toBe(204)
        yield* is("You said: hello", 10, false)
        expect(turnsTold()).toEqual(["wa"])
        yield* TestSession.advance("1 second")
        yield* reader.until(() => reader.view().lines.length === 2 && saying() === null)
        expect(reader.view().lines[1]).toMatchObject({ text: "You said: hello", interrupted: false })
        expect(reader.statuses().at(-1)?.unheard).toEqual([])

        // what is sent is the end of the turn
        yield* say("and more")
        yield* TestSession.advance("700 millis")
        yield* is("You said: and more", 4, false)
        yield* speak("st")
        yield* is("You said: and more", 4, true)
        yield* say("stop")
        yield* TestSession.advance("5 seconds")
        yield* reader.until(() => reader.view().lines.length === 6 && saying() === null)
        expect(reader.view().lines.slice(2)).toMatchObject([
          { who: "user", text: "and more" },
          { who: "agent", text: "You ", interrupted: true },
          { who: "user", text: "stop" },
          { who: "agent", text: "You said: stop", interrupted: false }
        ])
        const [, , , cut] = reader.view().lines
        const itemId = cut?._tag === "Said" ? cut.id : ""
        expect(reader.statuses().at(-1)?.unheard).toEqual([{ itemId, text: "said: and more" }])
        expect([View.floor(reader.view()), reader.view().partial]).toEqual(["nobody", undefined])
      }),
    timeout
  )

  it.scoped(
    "[O7] gives the floor back if no page tells of it any more, and there is none in a conversation that is over",
    () =>
      Effect.gen(function* () {
        const app = yield* serve({ charactersPerSecond: 10 })
        const reader = yield* reading(app.port)
        yield* reader.until(() => reader.hellos().length > 0)
        const conversation = reader.hellos()[0]?.conversation ?? ""
        yield* talkTo(app, conversation)("hello")
        yield* TestSession.advance("700 millis")
        yield* app.ask("POST", "/api/speak", { conversation, text: "" })
        yield* reader.until(() => reader.statuses().at(-1)?.saying?.paused === true)
        yield* TestSession.advance("14 seconds")
        expect(View.floor(reader.view())).toBe("user")
        yield* TestSession.advance("2 seconds")
        yield* reader.until(() => View.floor(reader.view()) !== "user")
        yield* TestSession.advance("2 seconds")
        yield* reader.until(() => reader.view().lines.length === 2)
        expect(reader.view().lines[1]).toMatchObject({ text: "You said: hello", interrupted: false })

        yield* app.ask("POST", "/api/speak", { conversation, text: "still" })
        yield* reader.until(() => View.floor(reader.view()) === "user")
        const [{ text }] = yield* Effect.all([
          app.ask("POST", "/api/start", { agent: "other" }),
          reader.until(() => reader.hellos().length === 2)
        ])
        expect(text).toBe("")
        for (const path of ["/api/speak", "/api/hush"]) {
          const { status } = yield* app.ask("POST", path, { conversation, text: "late" })
          expect(status).toBe(409)
        }
        const fresh = reader.hellos()[1]?.conversation ?? ""
        yield* app.ask("POST", "/api/hush", { conversation: fresh })
        yield* talkTo(app, fresh)("anew")
        yield* TestSession.advance("3 seconds")
        yield* reader.until(() =>
          reader
            .events()
            .some((event) => event._tag === "ItemAdded" && JSON.stringify(event).includes("You said: anew"))
        )
      }),
    timeout
  )

  it.scoped(
    "goes on after the last event that a page had, and begins anew for an id of another conversation",
    () =>
      Effect.gen(function* () {
        const app = yield* serve()
        const first = yield* reading(app.port)
        yield* first.until(() => first.hellos().length > 0)
        const say = talkTo(app, first.hellos()[0]?.conversation ?? "")
        yield* say("work bread")
        yield* TestSession.advance("1 second")
        yield* first.until(() => first.view().calls[0]?.answeredAt !== undefined)
        const before = first.events()
        const lastId = first.frames.findLast(({ id }) => id !== undefined)?.id
        first.close()

        // nobody listens
        yield* TestSession.advance("10 seconds")
        const { text } = yield* app.ask("GET", "/api/recording")
        const all = Either.getOrThrow(Recording.decode(text)).length

        const second = yield* reading(app.port, lastId)
        yield* second.until(() => second.newest() === all)
        expect(second.hellos()[0]?.resumed).toBe(true)

        const whole = yield* reading(app.port)
        yield* whole.until(() => whole.newest() === all)
        expect(whole.events()).toEqual([...before, ...second.events()])
        expect(whole.hellos()[0]?.resumed).toBe(false)
        expect(View.fold([...before, ...second.events()])).toEqual(whole.view())
        expect(whole.view().calls[0]).toMatchObject({ name: "work", ended: { status: "done" } })

        for (const odd of ["someone-else/3", `${lastId}9`, "nonsense", "\u00e9"]) {
          const stranger = yield* reading(app.port, odd)
          yield* stranger.until(() => stranger.events().length === whole.events().length)
          expect(stranger.hellos()[0]?.resumed).toBe(false)
        }
      }),
    timeout
  )

  it.scoped(
    "keeps nothing for a slow reader, and tells it how many events it missed",
    () =>
      Effect.gen(function* () {
        const app = yield* serve({ capacity: 100 })
        const quick = yield* reading(app.port)
        yield* quick.until(() => quick.hellos().length > 0)
        // it asks and does not read
        const slow = yield* listen(app.port)
        yield* talkTo(app, quick.hellos()[0]?.conversation ?? "")("flood 4000")
        yield* TestSession.advance("1 second")
        yield* Deferred.await(app.probe.flooded)
        yield* TestSession.settle

        slow.read()
        const ended = () => slow.view().calls[0]?.ended !== undefined
        yield* slow.until(ended)
        // what it heard and what it missed is all there was
        const missed = (reader: typeof slow) =>
          reader.events().reduce((sum, event) => (event._tag === "EventsMissed" ? sum + event.count : sum), 0)
        const heard = (reader: typeof slow) => reader.events().filter((event) => event._tag !== "EventsMissed").length
        expect(missed(slow)).toBeGreaterThan(0)
        expect(missed(slow) + heard(slow)).toBe(slow.newest())
        // nor is more kept for one that comes later
        const late = yield* reading(app.port)
        yield* late.until(() => late.view().calls[0]?.ended !== undefined)
        expect(missed(late) + heard(late)).toBe(late.newest())
        expect(heard(late)).toBeLessThanOrEqual(200)
        expect(slow.view().calls[0]).toMatchObject({ name: "flood", ended: { status: "done" } })
      }),
    timeout
  )

  it.scoped(
    "[A4] [A5] [A6] [G1] takes decisions and messages, says what waits, and why it does not do what it is asked for",
    () =>
      Effect.gen(function* () {
        const app = yield* serve()
        const reader = yield* reading(app.port)
        yield* reader.until(() => reader.hellos().length > 0)
        const [hello] = reader.hellos()
        const conversation = hello?.conversation ?? ""
        expect(hello?.tools.map(({ name, takesMessages }) => [name, takesMessages])).toEqual([
          ["work", true],
          ["flood", false],
          ["pay", false]
        ])
        const say = talkTo(app, conversation)
        const post = (path: string, body: object) =>
          Effect.map(app.ask("POST", `/api/${path}`, { conversation, ...body }), ({ status, text }) => [
            status,
            text === "" ? "" : String(JSON.parse(text).message)
          ])
        const waiting = () =>
          reader
            .statuses()
            .at(-1)
            ?.approvals.map(({ callId }) => callId)
        const waits = (...ids: ReadonlyArray<string>) =>
          reader.until(() => JSON.stringify(waiting()) === JSON.stringify(ids))
        yield* say("pay rent")
        yield* TestSession.settle
        yield* waits("call_1")
        expect(reader.statuses().at(-1)?.approvals).toEqual([
          { callId: "call_1", name: "pay", arguments: { what: "rent", euros: 900 }, expiresAt: expect.any(Number) }
        ])
        yield* say("pay tax")
        yield* TestSession.settle
        yield* waits("call_1", "call_2")

        expect(yield* post("approve", { callId: "call_1", arguments: { what: "rent" } })).toEqual([
          409,
          expect.stringContaining("euros")
        ])
        expect(yield* post("approve", { callId: "call_1", arguments: "all" })).toEqual([409, expect.anything()])
        expect(yield* post("approve", {})).toEqual([400, expect.anything()])
        expect(yield* post("approve", { callId: "call_1", arguments: { what: "rent", euros: 90 } })).toEqual([204, ""])
        expect(yield* post("approve", { callId: "call_1" })).toEqual([409, expect.stringContaining("call_1")])
        expect(yield* post("deny", { callId: "call_2", reason: "never" })).toEqual([204, ""])
        expect(yield* post("deny", { callId: "call_2" })).toEqual([409, expect.stringContaining("call_2")])
        expect(yield* post("deny", { callId: "nobody", conversation: "old" })).toEqual([
          409,
          expect.stringContaining("over")
        ])
        yield* TestSession.settle
        yield* waits()
        yield* reader.until(() => reader.view().calls.every(({ ended }) => ended !== undefined))
        expect(reader.view().calls).toMatchObject([
          {
            arguments: { euros: 90 },
            approval: { decided: { decision: "edited", by: "playground" } },
            ended: { output: "paid 90 for rent" }
          },
          { approval: { decided: { decision: "denied", reason: "never" } }, ended: { status: "error" } }
        ])

        yield* say("work bread")
        yield* TestSession.settle
        expect(yield* post("tell", { callId: "call_3", text: " with cherries " })).toEqual([204, ""])
        expect(yield* post("tell", { callId: "call_3", text: " " })).toEqual([400, expect.anything()])
        expect(yield* post("tell", { callId: "call_1", text: "hurry" })).toEqual([
          409,
          "Call call_1 has already ended."
        ])
        yield* reader.until(() => reader.view().calls[2]?.messages[0]?.message === "with cherries")
        // a page of elsewhere decides nothing
        const foreign = { origin: "https://example.com" }
        expect((yield* app.ask("POST", "/api/approve", { conversation, callId: "call_1" }, foreign)).status).toBe(403)
      }),
    timeout
  )

  it.scoped(
    "cancels a call, says which ones it may, and why it does not",
    () =>
      Effect.gen(function* () {
        const app = yield* serve()
        const reader = yield* reading(app.port)
        yield* reader.until(() => reader.hellos().length > 0)
        const conversation = reader.hellos()[0]?.conversation ?? ""
        yield* talkTo(app, conversation)("work bread")
        yield* TestSession.advance("1 second")
        yield* reader.until(() => reader.statuses().at(-1)?.cancellable.includes("call_1") === true)
        const { status } = yield* app.ask("POST", "/api/cancel", { conversation, callId: "call_1" })
        expect(status).toBe(204)
        expect(app.probe.released).toBe(1)
        yield* reader.until(() => reader.view().calls[0]?.ended !== undefined)
        expect(reader.view().calls[0]?.ended?.status).toBe("cancelled")
        yield* reader.until(() => reader.statuses().at(-1)?.cancellable.length === 0)

        const again = yield* app.ask("POST", "/api/cancel", { conversation, callId: "call_1" })
        expect(again.status).toBe(409)
        expect(JSON.parse(again.text).message).toMatch(/call_1/)
        const other = yield* app.ask("POST", "/api/cancel", { conversation: "old", callId: "call_1" })
        expect(other.status).toBe(409)
        expect(JSON.parse(other.text).message).toMatch(/over/)
      }),
    timeout
  )

  it.scoped(
    "turns to another agent in the same stream, and closes what was",
    () =>
      Effect.gen(function* () {
        const app = yield* serve()
        const reader = yield* reading(app.port)
        yield* reader.until(() => reader.hellos().length > 0)
        yield* talkTo(app, reader.hellos()[0]?.conversation ?? "")("work bread")
        yield* TestSession.advance("1 second")
        expect((yield* app.ask("POST", "/api/start", { agent: "nobody" })).status).toBe(404)
        expect((yield* app.ask("POST", "/api/start", { agent: "other" })).status).toBe(204)
        yield* reader.until(() => reader.hellos().length === 2)
        expect(reader.hellos()[1]).toMatchObject({ agent: "other", resumed: false })
        yield* TestSession.settle
        expect(app.probe.released).toBe(1)
        yield* talkTo(app, reader.hellos()[1]?.conversation ?? "")("hi")
        yield* TestSession.advance("1 second")
        const after = () => {
          const last = reader.frames.findLastIndex(({ event }) => event === "hello")
          return reader.frames.slice(last).filter(({ data }) => data.includes("You said: hi")).length
        }
        yield* reader.until(() => after() > 0)
        // a page that was away gets the new conversation, from its beginning
        const late = yield* reading(app.port, reader.frames.find(({ id }) => id !== undefined)?.id)
        yield* late.until(() => late.view().lines.length >= 2)
        expect(late.hellos()).toMatchObject([{ agent: "other", resumed: false }])
      }),
    timeout
  )

  it.scoped(
    "lets nobody in under another name, and no other page ask for anything",
    () =>
      Effect.gen(function* () {
        const app = yield* serve()
        const own = `127.0.0.1:${app.port}`
        const status = (headers: Record<string, string>, method: "GET" | "POST" = "GET", path = "/") =>
          Effect.map(app.ask(method, path, method === "POST" ? {} : undefined, headers), ({ status }) => status)
        expect(yield* status({ host: own })).toBe(200)
        expect(yield* status({ host: `localhost:${app.port}` })).toBe(200)
        expect(yield* status({ host: `[::1]:${app.port}` })).toBe(200)
        for (const host of ["evil.example", `evil.example:${app.port}`, "127.0.0.1.evil.example", "10.0.0.1", "::1]"]) {
          expect(yield* status({ host })).toBe(403)
          expect(yield* status({ host }, "GET", "/api/events")).toBe(403)
          expect(yield* status({ host }, "POST", "/api/say")).toBe(403)
        }
        for (const foreign of [
          { origin: "http://evil.example" },
          { origin: "null" },
          { origin: `http://localhost:${app.port + 1}` },
          { "sec-fetch-site": "cross-site" },
          { "sec-fetch-site": "same-site" }
        ]) {
          expect(yield* status({ host: own, ...foreign } as Record<string, string>, "POST", "/api/start")).toBe(403)
          expect(yield* status({ host: own, ...foreign } as Record<string, string>, "GET", "/api/recording")).toBe(403)
        }
        // ours may: this one only says too little
        expect(
          yield* status({ host: own, origin: `http://${own}`, "sec-fetch-site": "same-origin" }, "POST", "/api/say")
        ).toBe(400)
      }),
    timeout
  )

  it("answers to addresses where it listens for others, and to no foreign name", () => {
    expect(Server.hostAllowed("0.0.0.0", "192.168.1.7:4141")).toBe(true)
    expect(Server.hostAllowed("0.0.0.0", "[fe80::1]:4141")).toBe(true)
    expect(Server.hostAllowed("studio.local", "Studio.local:4141")).toBe(true)
    expect(Server.hostAllowed("0.0.0.0", "evil.example")).toBe(false)
    expect(Server.hostAllowed("127.0.0.1", "192.168.1.7")).toBe(false)
  })

  it.scoped(
    "refuses what is too long, no JSON, or says nothing",
    () =>
      Effect.gen(function* () {
        const app = yield* serve()
        const say = (body: unknown, headers?: Record<string, string>) =>
          Effect.map(app.ask("POST", "/api/say", body, headers), ({ status }) => status)
        expect(yield* say({ conversation: "x", text: "hi" }, { "content-type": "text/plain" })).toBe(415)
        expect(yield* say("{")).toBe(400)
        expect(yield* say({ conversation: "x", text: "  " })).toBe(400)
        expect(yield* say({ conversation: "x", text: "a".repeat(8001) })).toBe(400)
        // what is far too long is not read to its end
        expect(yield* Effect.exit(say({ conversation: "x", text: "a".repeat(5_000_000) }))).toSatisfy(Exit.isFailure)
        expect(yield* say({ conversation: "x", text: "hi" })).toBe(409)
        expect((yield* app.ask("GET", "/nowhere")).status).toBe(404)
        expect((yield* app.ask("GET", "/api/say")).status).toBe(404)
      }),
    timeout
  )

  it.scoped(
    "hands what people, models and tools say on as data: it is neither markup nor a frame of its own",
    () =>
      Effect.gen(function* () {
        const app = yield* serve()
        const reader = yield* reading(app.port)
        yield* reader.until(() => reader.hellos().length > 0)
        const evil = 'x <img src=x onerror=alert(1)>\n\nevent: hello\ndata: {"agent":"evil"}\n\n\u2028</script>'
        yield* talkTo(app, reader.hellos()[0]?.conversation ?? "")(`work ${evil}`)
        yield* TestSession.advance("20 seconds")
        yield* reader.until(() => reader.view().calls[0]?.ended !== undefined)
        expect(reader.hellos()).toHaveLength(1)
        expect(reader.view().lines[0]).toMatchObject({ text: `work ${evil}` })
        expect(reader.view().calls[0]).toMatchObject({ arguments: { what: evil }, ended: { output: `made: ${evil}` } })

        for (const path of ["/", "/api/recording", "/api/events", "/nowhere"]) {
          const headers = path === "/api/events" ? reader.response.headers : (yield* app.ask("GET", path)).headers
          expect(headers["x-content-type-options"]).toBe("nosniff")
          expect(headers["content-security-policy"]).toMatch(/default-src 'none'; script-src 'self'; style-src 'self'/)
          expect(headers["content-security-policy"]).toMatch(/frame-ancestors 'none'/)
          expect(headers["access-control-allow-origin"]).toBeUndefined()
        }
      }),
    timeout
  )

  it.scoped(
    "gives the conversation out as a recording, and writes it to a file up to its end",
    () =>
      Effect.gen(function* () {
        const fs = yield* FileSystem.FileSystem
        const directory = yield* fs.makeTempDirectoryScoped()
        yield* Effect.scoped(
          Effect.gen(function* () {
            const app = yield* serve({ record: `${directory}/talk.jsonl` })
            const reader = yield* reading(app.port)
            yield* reader.until(() => reader.hellos().length > 0)
            yield* talkTo(app, reader.hellos()[0]?.conversation ?? "")("work bread")
            yield* TestSession.advance("2 seconds")
            yield* reader.until(
              () =>
                reader.view().calls[0]?.answeredAt !== undefined &&
                !reader.view().speeches.length &&
                reader.view().agentState === "listening"
            )
            const { headers, text } = yield* app.ask("GET", "/api/recording")
            expect(headers["content-disposition"]).toMatch(/^attachment; filename="worker-[\w-]+\.jsonl"$/)
            // what the reader has may still be on the wire
            const told = Either.getOrThrow(Recording.decode(text))
            yield* reader.until(() => reader.events().length >= told.length)
            expect(View.fold(told)).toEqual(reader.view())
            expect((yield* app.ask("GET", "/api/replay")).status).toBe(404)
            yield* app.ask("POST", "/api/start", { agent: "other" })
            yield* TestSession.settle
          })
        )
        const written = Either.getOrThrow(Recording.decode(yield* fs.readFileString(`${directory}/talk.jsonl`)))
        expect(View.fold(written)).toMatchObject({
          closed: true,
          calls: [{ name: "work", ended: { status: "cancelled" } }]
        })
        // another conversation has a file of its own
        const other = Either.getOrThrow(Recording.decode(yield* fs.readFileString(`${directory}/talk-2.jsonl`)))
        expect(other.at(-1)?._tag).toBe("SessionClosed")

        const replaying = yield* serve({ replay: written })
        const { text } = yield* replaying.ask("GET", "/api/replay")
        expect(Recording.decode(text)).toEqual(Either.right(written))
      }).pipe(Effect.provide(NodeContext.layer)),
    timeout
  )
})

describe("the log of a conversation", () => {
  it("gives every event once, or counts it among the missed, whatever a reader does", () => {
    const log = new EventLog(10)
    const readers = [1, 3, 7, 40].map((every) => ({ every, seq: 0, heard: 0, missed: 0 }))
    for (let n = 1; n <= 200; n++) {
      log.append({ _tag: "SessionClosed", at: n })
      for (const reader of readers) {
        if (n % reader.every !== 0) continue
        for (const { event, seq } of log.after(reader.seq, 4)) {
          if (event._tag === "EventsMissed") reader.missed += event.count
          else {
            expect(event.at).toBe(seq)
            reader.heard++
          }
          reader.seq = seq
        }
        expect(reader.heard + reader.missed).toBe(reader.seq)
      }
    }
    expect(log.newest).toBe(200)
    expect(readers.map(({ missed }) => missed > 0)).toEqual([false, false, true, true])
    expect(log.after(0, Number.POSITIVE_INFINITY).length).toBeLessThanOrEqual(20)
  })
})

describe("the form of a call", () => {
  const Kind = Schema.Literal("a", "b").annotations({ identifier: "Kind" })
  const tool = AsyncTool.make("odd", {
    parameters: {
      text: Schema.String.annotations({ description: "words" }),
      count: Schema.Number,
      flag: Schema.Boolean,
      kind: Kind,
      list: Schema.Array(Schema.Number),
      maybe: Schema.optional(Schema.String),
      none: Schema.NullOr(Schema.Number)
    }
  })
  const schema = toolInfos(Toolkit.make(tool))[0]?.schema
  const value = { text: "x", count: 1, flag: true, kind: "a", list: [1, 2], none: 5, other: { kept: 1 } }
  const read = (changed: Record<string, string>, of: unknown = value, by = schema) =>
    Form.read(Form.fields(by, of), new Map(Object.entries(changed)), of)
  const problems = (changed: Record<string, string>) => {
    const result = read(changed)
    return result._tag === "Problems" ? Object.fromEntries(result.problems) : undefined
  }

  it("[A5] has a field for each parameter, and shows what the call has", () => {
    const fields = Form.fields(schema, value)
    expect(fields[0]?.description).toBe("words")
    expect(
      fields.map(({ choices, empty, kind, name, text }) => [
        name,
        kind,
        text.replace(/\s+/g, ""),
        empty,
        choices.join("|")
      ])
    ).toEqual([
      ["text", "text", "x", "text", ""],
      ["count", "number", "1", "missing", ""],
      ["flag", "flag", "true", "missing", ""],
      ["kind", "choice", "a", "missing", "a|b"],
      ["list", "json", "[1,2]", "missing", ""],
      ["maybe", "text", "", "absent", ""],
      ["none", "number", "5", "null", ""]
    ])
  })

  it("[A5] gives what was changed, and leaves the rest as it is", () => {
    expect(read({})).toEqual({ _tag: "Arguments", arguments: value })
    expect(read({ text: "", count: " 2.5 ", flag: "false", kind: "b", list: "[3]", maybe: "m", none: "" })).toEqual({
      _tag: "Arguments",
      arguments: { ...value, text: "", count: 2.5, flag: false, kind: "b", list: [3], maybe: "m", none: null }
    })
    expect(read({ maybe: "" }, { ...value, maybe: "m" })).toEqual({ _tag: "Arguments", arguments: value })
    // what nobody touches stays, even if the schema takes it in no such form
    const odd = { ...value, count: "1", text: null, list: "1" }
    expect(read({ flag: "false" }, odd)).toEqual({ _tag: "Arguments", arguments: { ...odd, flag: false } })
    expect(problems({ count: "many", list: "[", flag: "" })).toEqual({
      count: "has to be a number",
      list: "has to be JSON",
      flag: "is missing"
    })
  })

  it("[A5] is JSON for a tool without such a schema, and for arguments that are no object", () => {
    for (const [by, of] of [
      [null, value],
      [{ type: "object" }, value],
      [{ $ref: "#/$defs/x" }, { a: 1 }],
      [schema, [1]],
      [schema, null]
    ] as const) {
      expect(Form.fields(by, of)).toMatchObject([{ name: "", kind: "json", text: JSON.stringify(of, undefined, 2) }])
      expect(read({ "": '{"b":2}' }, of, by)).toEqual({ _tag: "Arguments", arguments: { b: 2 } })
      expect(read({}, of, by)).toEqual({ _tag: "Arguments", arguments: of })
      expect(read({ "": "{" }, of, by)._tag).toBe("Problems")
    }
    // names that objects have of their own are names like others
    const named = JSON.parse('{"type":"object","properties":{"__proto__":{"type":"string"}}}') as unknown
    expect(Form.read(Form.fields(named, {}), new Map([["__proto__", "x"]]), {})).toEqual({
      _tag: "Arguments",
      arguments: JSON.parse('{"__proto__":"x"}')
    })
  })
})

describe("the page", () => {
  it.effect(
    "comes whole from the server",
    () =>
      Effect.gen(function* () {
        const assets = yield* Bundle.assets
        const html = assets.get("/")?.body ?? ""
        const links = [...html.matchAll(/(?:src|href)="([^"]*)"/g)].map(([, link]) => link)
        expect(links.length).toBeGreaterThan(0)
        for (const link of links) expect(assets.has(link ?? "")).toBe(true)
        // nothing that the policy would refuse
        expect(html).not.toMatch(/<script(?![^>]*src=)|<style|style=|\son\w+=/)
        expect(assets.get("/page.css")?.body).not.toMatch(/url\(|@import/)
        expect(assets.get("/page.js")?.body.length).toBeGreaterThan(100_000)
      }),
    timeout
  )
})

describe("the agents of the playground", () => {
  const settings = {
    openai: { key: undefined, model: undefined, url: undefined },
    anthropic: { key: undefined, model: undefined, url: undefined },
    speed: 1
  }
  for (const { name, open, suggestions } of agents(settings)) {
    it.scoped(`${name} answers to what the page suggests, offline`, () =>
      Effect.gen(function* () {
        const session = yield* open
        yield* TestSession.advance("5 seconds")
        for (const text of suggestions) {
          yield* session.send(text)
          yield* TestSession.advance(name === "archive" ? "3 hours" : "6 seconds")
        }
        yield* TestSession.advance("25 hours")
        const { items } = yield* session.history
        const calls = items.filter(({ _tag }) => _tag === "FunctionCall")
        expect(calls.length).toBeGreaterThan(1)
        const said = items.flatMap((item) => (item._tag === "Message" && item.role === "assistant" ? [item.text] : []))
        expect(said.length).toBeGreaterThanOrEqual(suggestions.length)
        expect(said.join("\n")).not.toMatch(/undefined|\[object|still running in the background/)
      })
    )
  }
})
