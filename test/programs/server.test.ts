import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { type Served, serve, visit } from "../support/server.js"

describe("the server of the examples", () => {
  let server: Served
  beforeAll(async () => {
    server = await serve()
  }, 60_000)
  afterAll(() => void server.child.kill("SIGKILL"))

  it("[R6] holds 200 conversations at once, each its own, streamed as they are written", async () => {
    const cities = ["Tokyo", "Paris", "Rome", "Lima"]
    const talks = await Promise.all(
      Array.from({ length: 200 }, async (_, n) => {
        const visitor = await visit(server)
        const listener = visitor.listen()
        await listener.opened
        const city = cities[n % cities.length] as string
        const told = await visitor.post("say", { text: `Book a flight from Oslo to ${city}`, id: "1" })
        expect(told.status).toBe(202)
        await listener.until(() => listener.events.some(({ _tag }) => _tag === "ToolCallStarted"))
        await listener.until(() => listener.events.some(({ _tag }) => _tag === "ToolCallEnded"))
        const ended = listener.events.findIndex(({ _tag }) => _tag === "ToolCallEnded")
        // the result is told in a reply of its own
        await listener.until(() =>
          listener.events.slice(ended).some(({ _tag, status }) => _tag === "ReplyEnded" && status === "completed")
        )
        listener.stop()
        return { listener, city }
      })
    )
    for (const { city, listener } of talks) {
      expect(listener.said("user")).toEqual([`Book a flight from Oslo to ${city}`])
      const spoken = listener.said("assistant").join("\n")
      expect(spoken).toContain(city)
      for (const other of cities.filter((name) => name !== city)) expect(spoken).not.toContain(other)
      const written = listener.events.flatMap((event) => (event._tag === "TextDelta" ? [event.text] : [])).join("")
      expect(written).toBe(listener.said("assistant").join(""))
    }
  }, 300_000)

  it("[R6] [N7] a page that comes back goes on behind the last item that it has", async () => {
    const visitor = await visit(server)
    const first = visitor.listen()
    await visitor.post("say", { text: "How is the weather in Tokyo?", id: "1" })
    await first.until(() => first.said("assistant").length > 0)
    first.stop()
    const known = first.items()
    await visitor.post("say", { text: "How is the weather in Rome?", id: "2" })
    const again = visitor.listen("", { "last-event-id": known.at(-1).id })
    await again.until(() => again.said("assistant").length > 0)
    const fresh = visitor.listen(`?after=${known[0].id}`)
    await fresh.until(() => fresh.items().length >= again.items().length + known.length - 1)
    const all = visitor.listen()
    await all.until(() => all.items().length >= again.items().length + known.length)
    const ids = (items: ReadonlyArray<{ readonly id: string }>) => items.map(({ id }) => id)
    expect(ids(all.items())).toEqual([...ids(known), ...ids(again.items())])
    expect(ids(fresh.items())).toEqual(ids(all.items()).slice(1))
    for (const listener of [again, fresh, all]) listener.stop()
  }, 60_000)

  it("[R8] a message that is sent twice counts once; a talk can be ended and begun anew", async () => {
    const visitor = await visit(server)
    const listener = visitor.listen()
    for (const _ of [1, 2]) expect((await visitor.post("say", { text: "Hello", id: "same" })).status).toBe(202)
    await listener.until(() => listener.said("assistant").length > 0)
    expect(listener.said("user")).toEqual(["Hello"])
    expect((await visitor.post("end")).status).toBe(204)
    await listener.ended
    expect(listener.events.at(-1)._tag).toBe("SessionClosed")
    await visitor.post("say", { text: "Hello again", id: "same" })
    const next = visitor.listen()
    await next.until(() => next.said("assistant").length > 0)
    expect(next.said("user")).toEqual(["Hello again"])
    next.stop()
  }, 60_000)

  it("[C2] a running call is listed and can be cancelled", async () => {
    const visitor = await visit(server)
    const listener = visitor.listen()
    await visitor.post("say", { text: "Book a flight from Oslo to Tokyo", id: "1" })
    await listener.until(() => listener.events.some(({ _tag }) => _tag === "ToolCallUpdated"))
    const response = await fetch(`${server.url}api/running`, { headers: { cookie: visitor.cookie } })
    const calls = (await response.json()) as Array<{ readonly callId: string }>
    expect(calls).toEqual([expect.objectContaining({ name: "book_flight", allowCancellation: true })])
    expect((await visitor.post("cancel", { callId: calls[0]?.callId })).status).toBe(204)
    await listener.until(() =>
      listener.events.some((event) => event._tag === "ToolCallEnded" && event.status === "cancelled")
    )
    expect((await visitor.post("cancel", { callId: calls[0]?.callId })).status).toBe(409)
    listener.stop()
  }, 60_000)

  it("[R6] [A4] [A5] [A6] a person decides about payments; the talk goes on meanwhile", async () => {
    const visitor = await visit(server)
    const listener = visitor.listen()
    const waiting = async () => {
      const response = await fetch(`${server.url}api/approvals`, { headers: { cookie: visitor.cookie } })
      return (await response.json()) as Array<Record<string, any>>
    }
    const asked = (n: number) => () => listener.events.filter(({ _tag }) => _tag === "ApprovalRequested").length === n
    const answered = (text: string) => () => listener.said("assistant").some((said) => said.includes(text))
    await visitor.post("say", { text: "Pay the hotel deposit of 300 euros", id: "1" })
    await listener.until(asked(1))
    await visitor.post("say", { text: "Pay the visa of 80 euros", id: "2" })
    await listener.until(asked(2))
    await visitor.post("say", { text: "How is the weather in Tokyo?", id: "3" })
    await listener.until(answered("(simulated)"))
    const [hotel, visa] = await waiting()
    expect([hotel, visa]).toEqual([
      {
        callId: expect.any(String),
        name: "pay",
        arguments: { what: "hotel deposit", euros: 300 },
        expiresAt: expect.any(Number)
      },
      { callId: expect.any(String), name: "pay", arguments: { what: "visa", euros: 80 }, expiresAt: expect.any(Number) }
    ])
    const status = async (what: string, body: unknown) => (await visitor.post(what, body)).status
    const callId = hotel?.callId
    expect(await status("approve", { callId, arguments: { what: "hotel deposit", euros: "much" } })).toBe(409)
    expect(await status("approve", {})).toBe(400)
    expect(await status("deny", { callId: visa?.callId, reason: "x".repeat(9000) })).toBe(400)
    expect((await visitor.post("approve", { callId }, { "sec-fetch-site": "cross-site" })).status).toBe(403)
    // another one has no such call
    const other = await visit(server)
    expect((await other.post("approve", { callId })).status).toBe(409)
    expect(await waiting()).toHaveLength(2)

    expect(await status("approve", { callId, arguments: { what: "hotel deposit", euros: 250 } })).toBe(204)
    expect(await status("approve", { callId })).toBe(409)
    expect(await status("deny", { callId: visa?.callId, reason: "too early" })).toBe(204)
    await listener.until(answered("Paid: hotel deposit, 250 euros"))
    await listener.until(answered("too early"))
    expect(await waiting()).toEqual([])
    expect(
      listener.events.flatMap((event) => (event._tag === "ApprovalDecided" ? [[event.decision, event.by]] : []))
    ).toEqual([
      ["edited", "visitor"],
      ["denied", "visitor"]
    ])
    expect(listener.said("assistant").join(" ")).not.toContain("Paid: visa")
    listener.stop()
  }, 60_000)

  it("[R6] [G1] a running call is told something", async () => {
    const visitor = await visit(server)
    const listener = visitor.listen()
    await visitor.post("say", { text: "Book a flight from Oslo to Tokyo", id: "1" })
    await listener.until(() => listener.events.some(({ _tag }) => _tag === "ToolCallUpdated"))
    const { callId } = listener.events.find(({ _tag }) => _tag === "ToolCallStarted").call
    expect((await visitor.post("tell", { callId, text: "an aisle seat" })).status).toBe(204)
    expect((await visitor.post("tell", { callId: "nobody", text: "an aisle seat" })).status).toBe(409)
    expect((await visitor.post("tell", { callId, text: " " })).status).toBe(400)
    await listener.until(() => listener.said("assistant").some((said) => said.includes("told: an aisle seat")))
    listener.stop()
  }, 60_000)

  it("refuses what is too long, too often, unknown, from elsewhere, or without a cookie", async () => {
    const visitor = await visit(server)
    expect(visitor.page.headers.get("set-cookie")).toMatch(/HttpOnly; SameSite=Strict$/)
    expect(visitor.page.headers.get("content-security-policy")).toMatch(/script-src 'sha256-[^']+';/)
    expect(visitor.page.headers.get("content-security-policy")).not.toContain("unsafe")
    const status = async (response: Promise<Response>) => (await response).status
    expect(await status(visitor.post("say", { text: "x".repeat(9000), id: "1" }))).toBe(400)
    expect(await status(visitor.post("say", { text: "x".repeat(200_000), id: "1" }))).toBe(413)
    expect(await status(visitor.post("say", { text: "  ", id: "1" }))).toBe(400)
    expect(await status(visitor.post("say", "{"))).toBe(400)
    expect(await status(visitor.post("say", "null"))).toBe(400)
    expect(await status(visitor.post("end", {}, { "sec-fetch-site": "cross-site" }))).toBe(403)
    expect(await status(visitor.post("end", {}, { origin: "https://elsewhere.example" }))).toBe(403)
    expect(await status(visitor.post("end", {}, { cookie: "session=../../etc/passwd" }))).toBe(401)
    expect(await status(fetch(`${server.url}api/events`))).toBe(401)
    expect(await status(fetch(`${server.url}.env`))).toBe(404)
    const often = await Promise.all(
      Array.from({ length: 20 }, (_, n) => visitor.post("say", { text: "Hello", id: `often ${n}` }))
    )
    const refused = often.filter((response) => response.status === 429)
    expect(refused.length).toBeGreaterThanOrEqual(10)
    expect(Number(refused[0]?.headers.get("retry-after"))).toBeGreaterThan(0)
    // another one is not held up by it
    const other = await visit(server)
    expect((await other.post("say", { text: "Hello", id: "1" })).status).toBe(202)
  }, 60_000)

  it("[S2] [R6] ends in good order in memory: what is running is told to its page, then the streams end", async () => {
    const server = await serve({}, ["--memory"])
    const visitor = await visit(server)
    const listener = visitor.listen()
    await visitor.post("say", { text: "Book a flight from Oslo to Lima", id: "secret words" })
    await listener.until(() => listener.events.some(({ _tag }) => _tag === "ToolCallUpdated"))
    expect(await server.end()).toBe(0)
    await listener.ended
    expect(listener.events.at(-1)._tag).toBe("SessionClosed")
    expect(listener.events.some(({ _tag }) => _tag === "ToolCallEnded")).toBe(true)
    const messages = server.logs().map(({ message }) => message)
    expect(messages).toContain("drained")
    expect(messages.indexOf("draining")).toBeGreaterThan(messages.indexOf("listening"))
    // structured, without what was said, and without what lets one in
    expect(server.logs().find(({ message }) => message === "request")?.annotations).toMatchObject({
      method: "GET",
      path: "/"
    })
    expect(server.text()).not.toContain(visitor.cookie.split("=")[1])
    expect(server.text()).not.toMatch(/Lima|secret words/)
    expect(server.logs().filter(({ logLevel }) => logLevel === "ERROR")).toEqual([])
  }, 60_000)
})

describe("the server of the examples with a key", () => {
  it("[R3] a model that cannot be reached is told to the page; neither page nor log has the key", async () => {
    const key = "sk-test-0123456789abcdef0123456789abcdef"
    const server = await serve({ OPENAI_API_KEY: key, OPENAI_BASE_URL: "http://127.0.0.1:9" })
    try {
      const visitor = await visit(server)
      const listener = visitor.listen()
      await visitor.post("say", { text: "Hello", id: "1" })
      await listener.until(() => listener.events.some(({ _tag }) => _tag === "SessionError"))
      expect(JSON.stringify(listener.events)).not.toContain(key)
      expect(await server.end()).toBe(0)
      await listener.ended
      expect(server.text()).not.toContain(key)
    } finally {
      server.child.kill("SIGKILL")
    }
  }, 120_000)
})
