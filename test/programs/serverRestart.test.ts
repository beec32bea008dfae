import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { describe, expect, it } from "vitest"
import { type Served, serve, visit } from "../support/server.js"
import { folder } from "../support/storages.js"

type Listener = ReturnType<Awaited<ReturnType<typeof visit>>["listen"]>

/** What became of seats, in all lives of the server: what an airline would know. */
const seats = (...lives: ReadonlyArray<Served>) =>
  lives.flatMap((life) =>
    life.logs().flatMap(({ annotations, message }) => (message === "seat" ? [annotations.change] : []))
  )

const updated = (listener: Listener, words: string) => () =>
  listener.events.some((event) => event._tag === "ToolCallUpdated" && JSON.stringify(event.message).includes(words))

const answered = (listener: Listener, words: string) => () =>
  listener.said("assistant").some((text) => text.includes(words))

const count = (items: ReadonlyArray<unknown>, words: string) =>
  items.filter((item) => JSON.stringify(item).includes(words)).length

describe.concurrent("the server of the examples, started again", () => {
  const place = folder()
  let files = 0
  /** Lives of a server one after another, with the same file. */
  const lives = async (body: (begin: (speed: number) => Promise<Served>) => Promise<void>) => {
    const file = join(place, `${++files}.db`)
    const begun: Array<Served> = []
    try {
      await body(async (speed) => {
        const served = await serve({ DEMO_SPEED: `${speed}` }, ["--file", file])
        begun.push(served)
        return served
      })
    } finally {
      for (const { child } of begun) child.kill("SIGKILL")
    }
  }

  it("[R6] [Q7] [Q9] [Q10] [A10] goes on after a crash: what was running is told, and nothing happens twice", async () => {
    await lives(async (begin) => {
      const first = await begin(2)
      const visitor = await visit(first)
      const before = visitor.listen()
      await visitor.post("say", { text: "Pay the visa of 80 euros", id: "1" })
      await before.until(() => before.events.some(({ _tag }) => _tag === "ApprovalRequested"))
      await before.until(answered(before, "You have to approve that"))
      await visitor.post("say", { text: "Book a flight from Oslo to Tokyo", id: "2" })
      await before.until(updated(before, "Searching"))
      const { callId } = before.events.findLast(({ _tag }) => _tag === "ToolCallStarted").call
      expect((await visitor.post("tell", { callId, text: "an aisle seat" })).status).toBe(204)
      await before.until(updated(before, "is held"))
      before.stop()
      await first.kill()
      expect(seats(first)).toEqual(["Held"])

      const second = await begin(5)
      // nobody has asked for the conversation
      const again = await visit(second, visitor.cookie)
      const after = again.listen(`?after=${before.items().at(-1).id}`)
      // a message that the page is not sure of
      await again.post("say", { text: "Book a flight from Oslo to Tokyo", id: "2" })
      await after.until(answered(after, "Booked: "))
      expect(seats(first, second)).toEqual(["Held", "Booked"])

      const approvals = await fetch(`${second.url}api/approvals`, { headers: { cookie: again.cookie } })
      const [visa] = (await approvals.json()) as Array<{ readonly callId: string }>
      expect((await again.post("approve", { callId: visa?.callId })).status).toBe(204)
      await after.until(answered(after, "Paid: visa, 80 euros"))
      after.stop()
      expect(after.items()).toEqual([...new Map(after.items().map((item) => [item.id, item])).values()])

      const all = again.listen()
      await all.until(answered(all, "Paid: visa, 80 euros"))
      expect(all.said("user")).toEqual(["Pay the visa of 80 euros", "Book a flight from Oslo to Tokyo"])
      const ids = all.items().map(({ id }) => id)
      expect(ids).toEqual([...new Set([...before.items(), ...after.items()].map(({ id }) => id))])
      const calls = all.items().flatMap((item) => (item._tag === "FunctionCall" ? [item.callId] : []))
      expect(calls).toEqual([...new Set(calls)])
      // that of the payment, and that of the booking
      expect(calls.filter((id) => !/_(update_\d+|final)$/.test(id))).toHaveLength(2)
      const outputs = all.items().filter(({ _tag }) => _tag === "FunctionCallOutput")
      expect(count(outputs, "Searching flights")).toBe(1)
      expect(count(outputs, "is held until")).toBe(1)
      // with what it was told in its first life
      expect(count(outputs, "The airline was told: an aisle seat.")).toBe(1)
      expect(after.events.filter((event) => event._tag === "ToolCallEnded" && event.callId === callId)).toHaveLength(1)
      all.stop()
    })
  }, 300_000)

  it("[Q8] a payment that was under way is not made again: its outcome is not known, and that is told", async () => {
    await lives(async (begin) => {
      const first = await begin(0.2)
      const visitor = await visit(first)
      const before = visitor.listen()
      await visitor.post("say", { text: "Pay the visa of 80 euros", id: "1" })
      await before.until(() => before.events.some(({ _tag }) => _tag === "ApprovalRequested"))
      const { callId } = before.events.find(({ _tag }) => _tag === "ApprovalRequested").call
      expect((await visitor.post("approve", { callId })).status).toBe(204)
      before.stop()
      await first.kill()

      const second = await begin(20)
      const again = await visit(second, visitor.cookie)
      const after = again.listen()
      await after.until(answered(after, "not known"))
      expect(after.said("assistant").join(" ")).not.toContain("Paid")
      await again.post("say", { text: "What are you doing?", id: "2" })
      await after.until(answered(after, "Nothing is running"))
      after.stop()
    })
  }, 300_000)

  it("[Q18] a server that is stopped in good order hands on what is running", async () => {
    await lives(async (begin) => {
      const first = await begin(2)
      const visitor = await visit(first)
      const before = visitor.listen()
      await visitor.post("say", { text: "Book a flight from Oslo to Rome", id: "1" })
      await before.until(updated(before, "is held"))
      expect(await first.end()).toBe(0)
      await before.ended
      expect(before.events.at(-1)._tag).toBe("SessionClosed")
      expect(before.events.some(({ _tag }) => _tag === "ToolCallEnded")).toBe(false)

      const second = await begin(20)
      const again = await visit(second, visitor.cookie)
      const after = again.listen(`?after=${before.items().at(-1).id}`)
      await after.until(answered(after, "Booked: "))
      expect(seats(first, second)).toEqual(["Held", "Booked"])
      after.stop()
    })
  }, 300_000)

  it("[R6] what its visitor has ended is forgotten", async () => {
    await lives(async (begin) => {
      const first = await begin(20)
      const visitor = await visit(first)
      const before = visitor.listen()
      await visitor.post("say", { text: "How is the weather in Lima?", id: "1" })
      await before.until(answered(before, "In Lima"))
      expect((await visitor.post("end")).status).toBe(204)
      await before.ended
      await first.kill()

      const second = await begin(20)
      const again = await visit(second, visitor.cookie)
      await again.post("say", { text: "How is the weather in Rome?", id: "1" })
      const after = again.listen()
      await after.until(answered(after, "In Rome"))
      expect(after.said("user")).toEqual(["How is the weather in Rome?"])
      after.stop()
    })
  }, 300_000)

  it("says what is wrong with its file and its options", async () => {
    const file = join(place, "no.db")
    writeFileSync(file, "not a database, but long enough to be looked at as one".repeat(40))
    await expect(serve({}, ["--file", file])).rejects.toThrow(/ended with 1.*no\.db/s)
    await expect(serve({}, ["--file"])).rejects.toThrow(/ended with 1.*path of a file/s)
    await expect(serve({}, ["--wat"])).rejects.toThrow(/ended with 1.*no option --wat/s)
  }, 300_000)
})
