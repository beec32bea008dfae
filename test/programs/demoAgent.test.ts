import { expect, it } from "@effect/vitest"
import { Effect, Layer, TestClock } from "effect"
import type { AgentSession } from "effect-meantime"
import { TestSession } from "effect-meantime/testing"
import * as OfflineModel from "../../examples/demo/OfflineModel.js"
import { Flights, flightsLayer, type SeatChange, TravelAgent } from "../../examples/demo/Travel.js"

/** The whole agent of the demo in virtual time: what is said, and what becomes of the seats. */
const talk = <A, E, R>(
  body: (test: {
    readonly session: AgentSession.Service
    readonly close: Effect.Effect<void>
    readonly seats: ReadonlyArray<SeatChange["_tag"]>
    /** says a line; returns what the agent answered to it */
    readonly say: (line: string) => Effect.Effect<string>
    /** what the agent has said since the last look */
    readonly news: Effect.Effect<string>
    readonly wait: (time: string) => Effect.Effect<string>
  }) => Effect.Effect<A, E, R>,
  pace?: Parameters<typeof OfflineModel.layer>[0]
) => {
  const seats: Array<SeatChange["_tag"]> = []
  const watch = (change: SeatChange) => Effect.sync(() => void seats.push(change._tag))
  return Effect.gen(function* () {
    yield* TestClock.setTime(Date.UTC(2027, 2, 10, 12))
    const { close, session } = yield* TestSession.make({ agent: TravelAgent, onInterruptedReply: "redeliver" })
    yield* TestSession.settle
    let seen = 0
    const news = Effect.gen(function* () {
      yield* TestSession.settle
      const all = yield* TestSession.said(session)
      const text = all.slice(seen).join(" ")
      seen = all.length
      return text
    })
    const say = (line: string) =>
      Effect.gen(function* () {
        yield* news
        const speech = yield* Effect.orDie(session.send(line))
        yield* Effect.orDie(speech.wait)
        return yield* news
      })
    const wait = (time: string) => Effect.zipRight(TestSession.advance(time as "1 second"), news)
    return yield* body({ session, close, seats, say, news, wait })
  }).pipe(Effect.provide(Layer.merge(OfflineModel.layer(pace), flightsLayer({ watch }))))
}

it.scoped("the demo greets, books, and reports each step", () =>
  talk(({ news, say, seats, session, wait }) =>
    Effect.gen(function* () {
      expect(yield* news).toMatch(/^Hello, I am your travel agent/)
      expect(yield* say("I'd like to fly from Oslo to Tokyo on 2027-04-15")).toMatch(
        /^Searching flights from Oslo to Tokyo on Thursday,? 15 April 2027\. I will tell you/
      )
      expect(yield* wait("4 seconds")).toMatch(/^Found .* from Oslo to Tokyo .* euros; seat \w+ is held/)
      expect(seats).toEqual(["Held"])
      expect(yield* wait("13 seconds")).toMatch(/^Booked: .* reference \w+\.$/)
      expect(seats).toEqual(["Held", "Booked"])
      expect(yield* session.runningTools).toEqual([])
      expect(yield* say("what are you doing?")).toBe("Nothing is running at the moment.")
      expect(yield* say("cancel it")).toMatch(/nothing is running/)
    })
  )
)

it.scoped("the demo answers about the weather at once, while a booking runs", () =>
  talk(({ say, session }) =>
    Effect.gen(function* () {
      yield* say("book a flight from Oslo to Tokyo")
      expect(yield* say("how is the weather in Tokyo?")).toMatch(/^In Tokyo it is -?\d+ °C with .* \(simulated\)\.$/)
      expect((yield* session.runningTools).map(({ name }) => name)).toEqual(["book_flight"])
    })
  )
)

it.scoped("the demo asks before it books twice, lists what runs, and releases the seat of what is cancelled", () =>
  talk(({ say, seats, session, wait }) =>
    Effect.gen(function* () {
      yield* say("book a flight from Oslo to Tokyo")
      yield* wait("4 seconds")
      expect(yield* say("book another one to Paris")).toBe(
        "A booking is already under way. Shall I book this one as well?"
      )
      expect(yield* session.runningTools).toHaveLength(1)
      expect(yield* say("yes, go ahead")).toMatch(/^Searching flights from Oslo to Paris/)
      expect(yield* session.runningTools).toHaveLength(2)
      yield* wait("4 seconds")
      expect(seats).toEqual(["Held", "Held"])
      expect(yield* say("what are you doing?")).toMatch(
        /^A booking from Oslo to Tokyo \(call_1\): Found .* A booking from Oslo to Paris \(call_3\): Found /
      )
      expect(yield* say("cancel the one to Tokyo")).toBe("I have cancelled it.")
      expect(seats).toEqual(["Held", "Held", "Released"])
      expect(yield* wait("20 seconds")).toMatch(/^Booked: .* to Paris/)
      expect(seats).toEqual(["Held", "Held", "Released", "Booked"])
    })
  )
)

it.scoped("the demo leaves it at one booking when told so", () =>
  talk(({ say, session }) =>
    Effect.gen(function* () {
      yield* say("book a flight from Oslo to Tokyo")
      expect(yield* say("book another one")).toMatch(/as well\?$/)
      expect(yield* say("no, leave it")).toMatch(/leave it/)
      expect(yield* session.runningTools).toHaveLength(1)
    })
  )
)

it.scoped("the demo hands over to support, which tells what comes of the booking that was begun before", () =>
  talk(({ say, seats, session, wait }) =>
    Effect.gen(function* () {
      yield* say("book a flight from Oslo to Tokyo")
      expect(yield* say("I want to complain")).toMatch(/This is support\./)
      expect((yield* session.currentAgent).name).toBe("support")
      expect((yield* session.runningTools).map(({ name }) => name)).toEqual(["book_flight"])
      expect(yield* say("You are slow.")).toMatch(/^I am sorry/)
      expect(yield* wait("20 seconds")).toMatch(/Booked: /)
      expect(seats).toEqual(["Held", "Booked"])
    })
  )
)

it.scoped("[A1] [A2] the demo waits for a person before it pays, and talks on meanwhile", () =>
  talk(({ news, say, session, wait }) =>
    Effect.gen(function* () {
      expect(yield* say("pay the hotel deposit of 300 euros")).toBe(
        "You have to approve that; I pay once you have. We can talk meanwhile."
      )
      expect(yield* session.approvals).toMatchObject([
        { callId: "call_1", name: "pay", arguments: { what: "hotel deposit", euros: 300 }, agent: "travel" }
      ])
      expect(yield* say("what are you doing?")).toMatch(/^A payment of hotel deposit \(call_1\) that waits/)
      expect(yield* say("how is the weather in Tokyo?")).toMatch(/^In Tokyo it is/)
      expect(yield* say("book a flight from Oslo to Tokyo")).toMatch(/^Searching flights/)
      expect(yield* wait("20 seconds")).toMatch(/Booked: /)
      expect(yield* session.approvals).toHaveLength(1)
      yield* session.approve("call_1", { by: "you" })
      expect(yield* wait("2 seconds")).toMatch(/^Paid: hotel deposit, 300 euros, receipt \w+\.$/)
      expect(yield* session.runningTools).toEqual([])

      yield* say("pay the visa of 80 euros")
      const [visa] = yield* session.approvals
      yield* session.deny(visa?.callId ?? "", { reason: "too early" })
      expect(yield* news).toBe("I have not paid it, as you did not approve it (reason: too early).")

      yield* say("pay for the transfer of 60 euros")
      const [transfer] = yield* session.approvals
      yield* session.approve(transfer?.callId ?? "", { arguments: { what: "transfer", euros: 45 } })
      expect(yield* wait("2 seconds")).toMatch(/^Paid: transfer, 45 euros, receipt \w+\.$/)

      yield* say("pay the insurance of 20 euros")
      expect(yield* say("cancel it")).toBe("I have cancelled it.")
      expect(yield* session.approvals).toEqual([])
      expect(yield* say("pay it")).toMatch(/^What shall I pay, and how much\?/)
    })
  )
)

it.scoped("[G1] [G2] the demo passes on what the user wishes of a booking that runs", () =>
  talk(({ say, session, wait }) =>
    Effect.gen(function* () {
      yield* say("book a flight from Oslo to Tokyo")
      expect(yield* say("I want a window seat")).toBe("I have passed it on.")
      yield* session.messageTool("call_1", "no nuts")
      expect(yield* wait("20 seconds")).toMatch(
        /Booked: .* reference \w+\. The airline was told: a window seat; no nuts\.$/
      )
    })
  )
)

it.scoped("the demo says what it needs, and what it understands", () =>
  talk(({ say }) =>
    Effect.gen(function* () {
      expect(yield* say("book a flight to Tokyo")).toMatch(/^From where to where/)
      expect(yield* say("how is the weather?")).toMatch(/^For which city/)
      expect(yield* say("tell me a joke")).toMatch(/^I did not understand that\. Say for instance/)
      expect(yield* say("Thanks!")).toBe("You are welcome.")
    })
  )
)

it.scoped("the demo tells why a booking did not work out", () =>
  talk(({ say }) =>
    Effect.gen(function* () {
      expect(yield* say("book a flight from Oslo to Tokyo on 2020-01-01")).toMatch(
        /^2020-01-01 is in the past: today is 2027-03-10\./
      )
      expect(yield* say("book a flight from Oslo to Tokyo on 2027-02-30")).toMatch(
        /^"2027-02-30" is no day; .* Today is 2027-03-10\./
      )
    })
  )
)

it.scoped("the demo says it when it is too late to cancel", () =>
  talk(({ say, seats, wait }) =>
    Effect.gen(function* () {
      yield* say("book a flight from Oslo to Tokyo")
      yield* wait("4 seconds")
      yield* wait("12 seconds")
      expect(yield* say("stop!")).toMatch(/^That is too late/)
      expect(yield* wait("2 seconds")).toMatch(/Booked/)
      expect(seats).toEqual(["Held", "Booked"])
    })
  )
)

for (const [line, again] of [
  ["how is the weather in Rome?", true],
  ["cancel it", false]
] as const) {
  it.scoped(
    `the demo tells ${again ? "news once more that the user talked over" : "no news that are none any more"}`,
    () =>
      talk(
        ({ seats, session, wait }) =>
          Effect.gen(function* () {
            yield* wait("10 seconds")
            yield* session.send("book a flight from Oslo to Tokyo")
            expect(yield* wait("3500 millis")).toMatch(/^Searching/)
            // after the search and the hold, at 4 seconds, the news begin to be said; they are cut
            yield* wait("1 second")
            yield* session.send(line)
            const said = yield* wait("8 seconds")
            expect(said).toMatch(again ? /In Rome it is/ : /I have cancelled/)
            expect(/Found .* is held until the airline confirms it\./.test(said)).toBe(again)
            expect(seats).toEqual(again ? ["Held"] : ["Held", "Released"])
          }),
        { perWord: "100 millis" }
      )
  )
}

it.scoped("the demo gives held seats back when its session is closed", () =>
  talk(({ close, say, seats, wait }) =>
    Effect.gen(function* () {
      yield* say("book a flight from Oslo to Tokyo")
      yield* wait("5 seconds")
      expect(seats).toEqual(["Held"])
      yield* close
      expect(seats).toEqual(["Held", "Released"])
    })
  )
)

it.effect("a seat is held once for a key, released once, and not once it is booked", () => {
  const changes: Array<SeatChange["_tag"]> = []
  return Effect.gen(function* () {
    const flights = yield* Flights
    const [offer] = yield* TestSession.drive(flights.search("Oslo", "Tokyo", "2027-04-15"))
    const [first, second] = yield* TestSession.drive(Effect.all([flights.hold(offer!, "a"), flights.hold(offer!, "b")]))
    expect(yield* TestSession.drive(flights.hold(offer!, "a"))).toEqual(first)
    expect(yield* flights.held).toHaveLength(2)
    yield* flights.release(first)
    yield* flights.release(first)
    yield* TestSession.drive(flights.book(second))
    yield* flights.release(second)
    expect(yield* flights.held).toEqual([])
    expect(changes).toEqual(["Held", "Held", "Released", "Booked"])
    // held by a process that is gone
    yield* flights.release({ ...first, id: "c" })
    yield* flights.release({ ...first, id: "c" })
    expect(changes.slice(4)).toEqual(["Released"])
  }).pipe(Effect.provide(flightsLayer({ watch: (change) => Effect.sync(() => void changes.push(change._tag)) })))
})
