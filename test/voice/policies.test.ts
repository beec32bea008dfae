/**
 * The policies of `listen`, against a session that only notes what is done with it.
 */
import { describe, expect } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, FastCheck as fc, Option, Queue, type Scope, Stream } from "effect"
import { AgentSession, AsyncTool, type SessionEvent } from "effect-meantime"
import { TestSession, VirtualClock } from "effect-meantime/testing"
import * as Voice from "effect-meantime/voice"
import { now } from "../support/talk.js"
import { times } from "../support/times.js"
import { it } from "../support/virtual.js"
import { final, heard, partial } from "../support/voice.js"

const { advance } = TestSession

/** A session that has turns of the user, states of the agent, and nothing else. */
const noting = (options: { readonly closedAfter?: number } = {}) =>
  Effect.gen(function* () {
    const done: Array<string> = []
    const partials: Array<string> = []
    const events = yield* Queue.unbounded<SessionEvent.SessionEvent>()
    let open = 0
    let turns = 0
    const note = (what: string) => Effect.map(now, (at) => void done.push(`${at} ${what}`))
    const userTurn: AgentSession.Service["userTurn"] = ({ speech = "keep" } = {}) =>
      Effect.gen(function* () {
        if (turns >= (options.closedAfter ?? Number.POSITIVE_INFINITY)) return yield* new AgentSession.SessionClosed()
        turns++
        open++
        let over = false
        const end = (what: Effect.Effect<void>) =>
          Effect.suspend(() => {
            if (over) return Effect.void
            over = true
            open--
            return what
          })
        yield* note(speech)
        const discard = end(Effect.suspend(() => (open === 0 ? note("discard") : note("let go"))))
        yield* Effect.addFinalizer(() => discard)
        return {
          partial: (text) => Effect.map(now, (at) => void partials.push(`${at} ${text}`)),
          commit: (input) =>
            over
              ? Effect.fail(new AsyncTool.ToolError({ message: "It is over." }))
              : Effect.as(end(note(`commit ${String(input)}`)), {} as never),
          discard
        } satisfies AgentSession.UserTurn
      })
    const session = {
      userTurn,
      events: Stream.fromQueue(events)
    } as Partial<AgentSession.Service> as AgentSession.Service
    const agent = (state: "speaking" | "listening") =>
      Effect.flatMap(now, (at) => Queue.offer(events, { _tag: "AgentStateChanged", at, state }))
    return { session, done, partials, agent, open: () => open }
  })

/** What is done with a session while a user is heard. */
const listened = (script: Stream.Stream<Voice.Heard>, options?: Voice.ListenOptions) =>
  Effect.gen(function* () {
    const noted = yield* noting()
    // the stream stays open: its end would end the turn
    const fiber = yield* Effect.forkScoped(Voice.listen(noted.session, Stream.concat(script, Stream.never), options))
    yield* advance("1 minute")
    expect(noted.open()).toBe(0)
    expect(Option.isNone(yield* Fiber.poll(fiber))).toBe(true)
    return noted
  })

describe("listen: the end of a turn", () => {
  it.scoped("[O8] the floor is the user's from the start of speech on; the turn is sent after the silence", () =>
    Effect.gen(function* () {
      const { done, partials } = yield* listened(
        heard(
          [100, "start"],
          [200, partial("book")],
          [100, partial("book a flight")],
          [50, "end"],
          [20, final("Book a flight.")]
        )
      )
      expect(done).toEqual(["100 keep", "1150 commit Book a flight."])
      expect(partials).toEqual(["300 book", "400 book a flight"])
    })
  )

  it.scoped("[O8] speech that goes on within the silence is the same turn; its finals are joined", () =>
    Effect.gen(function* () {
      const { done, partials } = yield* listened(
        heard(
          [0, "start"],
          [300, "end"],
          [100, final("Book a flight")],
          [500, "start"],
          [100, partial("to")],
          [200, "end"],
          [100, final(" to Oslo. ")]
        ),
        { bargeIn: { after: "10 seconds" } }
      )
      expect(done).toEqual(["0 keep", "1900 commit Book a flight to Oslo."])
      expect(partials).toEqual(["1000 Book a flight to"])
    })
  )

  it.scoped("[O8] words of scripts without spaces are joined without one", () =>
    Effect.gen(function* () {
      const { done } = yield* listened(
        heard([0, "start"], [10, "end"], [10, final("你好")], [10, final("世界")], [10, final("ok")])
      )
      expect(done).toEqual(["0 keep", "710 commit 你好世界 ok"])
    })
  )

  it.scoped("[O8] a final that comes later than the silence ends the turn at once", () =>
    Effect.gen(function* () {
      const { done } = yield* listened(
        heard([0, "start"], [100, partial("hi")], [100, "end"], [1500, final("Hi there.")])
      )
      expect(done).toEqual(["0 keep", "1700 commit Hi there."])
    })
  )

  it.scoped("[O8] at the latest after the longest silence, with what was understood; its final then adds nothing", () =>
    Effect.gen(function* () {
      const script = heard(
        [0, "start"],
        [100, partial("hi")],
        [100, "end"],
        [5000, final("Hi there.")],
        [1000, "start"],
        [100, "end"],
        [100, final("Bye.")]
      )
      expect((yield* listened(script)).done).toEqual(["0 keep", "3200 commit hi", "6200 keep", "7000 commit Bye."])
    })
  )

  it.scoped("[O8] the longest silence bounds the silence; a longer silence alone is the longest", () =>
    Effect.gen(function* () {
      const script = () => heard([0, "start"], [100, "end"], [0, final("Hi.")])
      const bounded = { endpoint: { silence: "5 seconds", maxSilence: "1 second" } } as const
      expect((yield* listened(script(), bounded)).done).toEqual(["0 keep", "1100 commit Hi."])
      const from = yield* now
      const long = yield* listened(script(), { endpoint: { silence: "5 seconds" } })
      expect(long.done).toEqual([`${from} keep`, `${from + 5100} commit Hi.`])
    })
  )

  it.scoped("[O8] a final in the middle of speech is no end; that of words before is not that of those after", () =>
    Effect.gen(function* () {
      const middle = yield* listened(
        heard([0, "start"], [300, final("One.")], [100, partial("two")], [50, "end"], [1000, final("Two.")]),
        { bargeIn: { after: "1 hour" } }
      )
      expect(middle.done).toEqual(["0 keep", "1450 commit One. Two."])
      const at = yield* now
      // it comes while the next words are spoken: theirs is still to come
      const before = yield* listened(
        heard([0, "start"], [300, "end"], [300, "start"], [100, final("One.")], [200, "end"], [900, final("Two.")]),
        { bargeIn: { after: "1 hour" } }
      )
      expect(before.done).toEqual([`${at} keep`, `${at + 1800} commit One. Two.`])
    })
  )

  it.scoped("[O8] noise behind the words does not swallow them", () =>
    Effect.gen(function* () {
      const { done } = yield* listened(
        heard([0, "start"], [300, "end"], [10, final("One.")], [300, "start"], [200, "end"]),
        { bargeIn: { after: "1 hour" } }
      )
      expect(done).toEqual(["0 keep", "2810 commit One."])
    })
  )

  it.scoped("[O8] without a detector, finals alone make turns", () =>
    Effect.gen(function* () {
      const { done } = yield* listened(
        heard([0, partial("one")], [100, final("One.")], [300, final("Two.")], [5000, final("Three.")])
      )
      expect(done).toEqual(["100 keep", "800 commit One. Two.", "5400 keep", "6100 commit Three."])
    })
  )

  it.scoped("[O8] what a detector says twice, or out of order, changes nothing", () =>
    Effect.gen(function* () {
      const { done } = yield* listened(
        heard(
          [0, "end"],
          [100, "start"],
          [100, "start"],
          [100, "end"],
          [50, "end"],
          [0, final("Hi.")],
          [2000, "end"],
          [0, final(" ")]
        )
      )
      expect(done).toEqual(["100 keep", "1000 commit Hi."])
    })
  )
})

describe("listen: isComplete", () => {
  it.scoped("[O8] ends the turn at once where it says so, and is asked when the words are there", () =>
    Effect.gen(function* () {
      const asked: Array<string> = []
      const { done } = yield* listened(
        heard([0, "start"], [100, final("A flight")], [300, "end"], [50, final("to Oslo.")]),
        {
          endpoint: {
            isComplete: (text) =>
              Effect.map(now, (at) => {
                asked.push(`${at} ${text}`)
                return text.endsWith(".")
              })
          }
        }
      )
      expect(asked).toEqual(["400 A flight", "450 A flight to Oslo."])
      expect(done).toEqual(["0 keep", "450 commit A flight to Oslo."])
    })
  )

  it.scoped("[O8] with no, the user has until the longest silence", () =>
    Effect.gen(function* () {
      const no = { endpoint: { isComplete: () => Effect.succeed(false), maxSilence: "2 seconds" } } as const
      const { done } = yield* listened(heard([0, "start"], [100, "end"], [100, final("A flight to")]), no)
      expect(done).toEqual(["0 keep", "2100 commit A flight to"])
      const at = yield* now
      const more = yield* listened(
        heard(
          [0, "start"],
          [100, "end"],
          [100, final("A flight to")],
          [1500, "start"],
          [100, "end"],
          [10, final("Oslo")]
        ),
        no
      )
      expect(more.done).toEqual([`${at} keep`, `${at + 3800} commit A flight to Oslo`])
    })
  )

  it.scoped("[O8] an answer about a text that has changed does not count, and nobody waits for it", () =>
    Effect.gen(function* () {
      let stopped = 0
      const { done } = yield* listened(
        heard([0, "start"], [100, "end"], [0, final("One")], [500, "start"], [2000, "end"], [0, final("two")]),
        {
          bargeIn: { after: "1 hour" },
          endpoint: {
            isComplete: (text) =>
              Effect.as(Effect.sleep("1 second"), text === "One").pipe(
                Effect.onInterrupt(() => Effect.sync(() => void stopped++))
              )
          }
        }
      )
      expect(done).toEqual(["0 keep", "5600 commit One two"])
      expect(stopped).toBe(1)
    })
  )

  it.scoped("[O8] if it dies, throws or gives no effect, the silence decides", () =>
    Effect.gen(function* () {
      const odd: ReadonlyArray<() => Effect.Effect<boolean>> = [
        () => Effect.die("no"),
        () => {
          throw new Error("no")
        },
        () => true as unknown as Effect.Effect<boolean>
      ]
      for (const isComplete of odd) {
        const at = yield* now
        const { done } = yield* listened(heard([0, "start"], [100, "end"], [100, final("Hi")]), {
          endpoint: { isComplete }
        })
        expect(done).toEqual([`${at} keep`, `${at + 800} commit Hi`])
      }
    })
  )

  it.scoped("[O8] an answer that never comes is a no, and is given up with the turn", () =>
    Effect.gen(function* () {
      let stopped = 0
      const { done } = yield* listened(heard([0, "start"], [100, "end"], [100, final("Hi")]), {
        endpoint: { isComplete: () => Effect.onInterrupt(Effect.never, () => Effect.sync(() => void stopped++)) }
      })
      expect(done).toEqual(["0 keep", "3100 commit Hi"])
      expect(stopped).toBe(1)
    })
  )
})

describe("listen: barge-in", () => {
  it.scoped(
    "[O8] the agent's speech pauses once the user has spoken for half a second; the floor is never free in between",
    () =>
      Effect.gen(function* () {
        const { done } = yield* listened(heard([0, "start"], [900, "end"], [0, final("Stop.")]))
        expect(done).toEqual(["0 keep", "500 pause", "500 let go", "1600 commit Stop."])
      })
  )

  it.scoped("[O8] `after` counts all that was spoken in the turn, no silence", () =>
    Effect.gen(function* () {
      const { done } = yield* listened(
        heard(
          [0, "start"],
          [300, "end"],
          [400, "start"],
          [100, "end"],
          [400, "start"],
          [300, "end"],
          [0, final("Stop.")]
        ),
        { bargeIn: { speech: "interrupt" } }
      )
      expect(done).toEqual(["0 keep", "1300 interrupt", "1300 let go", "2200 commit Stop."])
    })
  )

  it.scoped("[O8] `minWords`: not before so many are understood, also if that is later", () =>
    Effect.gen(function* () {
      const two = { bargeIn: { minWords: 2 } }
      const { done } = yield* listened(
        heard(
          [0, "start"],
          [600, partial("well")],
          [200, partial("well, stop")],
          [100, "end"],
          [0, final("Well, stop.")]
        ),
        two
      )
      expect(done).toEqual(["0 keep", "800 pause", "800 let go", "1600 commit Well, stop."])
      const at = yield* now
      const late = yield* listened(heard([0, "start"], [600, "end"], [300, final("你好世界")]), two)
      expect(late.done).toEqual([
        `${at} keep`,
        `${at + 900} pause`,
        `${at + 900} let go`,
        `${at + 1300} commit 你好世界`
      ])
      const short = yield* now
      const enough = yield* listened(
        heard([0, "start"], [300, partial("stop it")], [700, "end"], [0, final("Stop it.")]),
        two
      )
      expect(enough.done[1]).toBe(`${short + 500} pause`)
    })
  )

  it.scoped("[O8] `after: 0` stops it at once", () =>
    Effect.gen(function* () {
      const { done } = yield* listened(heard([5, "start"], [100, "end"], [0, final("Stop.")]), {
        bargeIn: { after: 0 }
      })
      expect(done).toEqual(["5 keep", "5 pause", "5 let go", "805 commit Stop."])
    })
  )

  it.scoped("[O8] with nothing understood within two seconds of the end, there was no turn", () =>
    Effect.gen(function* () {
      const { done } = yield* listened(heard([0, "start"], [900, "end"], [100, final(" ")], [100, partial("  ")]))
      expect(done).toEqual(["0 keep", "500 pause", "500 let go", "2900 discard"])
      const at = yield* now
      const brief = yield* listened(heard([0, "start"], [900, "end"]), {
        bargeIn: { falseAfter: 0, after: "1 second" }
      })
      expect(brief.done).toEqual([`${at} keep`, `${at + 900} discard`])
    })
  )

  it.scoped("[O8] words that come after that are a turn after all", () =>
    Effect.gen(function* () {
      const { done } = yield* listened(heard([0, "start"], [100, "end"], [2500, final("Hello?")]))
      expect(done).toEqual(["0 keep", "2100 discard", "2600 keep", "3300 commit Hello?"])
    })
  )

  it.scoped("[O8] speech that begins again gives the words their time", () =>
    Effect.gen(function* () {
      const { done } = yield* listened(
        heard([0, "start"], [100, "end"], [1900, "start"], [100, "end"], [1900, final("Hello?")])
      )
      expect(done).toEqual(["0 keep", "4000 commit Hello?"])
    })
  )
})

describe("listen: backchannels", () => {
  const isBackchannel = (text: string) => /^(mhm|yes|okay)\W*$/i.test(text)
  const said = (text: string) => heard([1000, "start"], [600, "end"], [100, final(text)])

  const while_ = (
    states: ReadonlyArray<readonly [at: number, state: "speaking" | "listening"]>,
    script: Stream.Stream<Voice.Heard>,
    bargeIn: Voice.BargeIn = { isBackchannel }
  ) =>
    Effect.gen(function* () {
      const from = yield* now
      const noted = yield* noting()
      yield* Effect.forkScoped(Voice.listen(noted.session, Stream.concat(script, Stream.never), { bargeIn }))
      for (const [at, state] of states) {
        yield* Effect.forkScoped(Effect.zipRight(Effect.sleep(at), noted.agent(state)))
      }
      yield* advance("1 minute")
      expect(noted.open()).toBe(0)
      return noted.done.map((line) => line.replace(/^\d+/, (at) => String(Number(at) - from)))
    })

  it.scoped("[O8] said while the agent speaks, it is no turn: the whole text decides", () =>
    Effect.gen(function* () {
      expect(yield* while_([[0, "speaking"]], said("Mhm."))).toEqual([
        "1000 keep",
        "1500 pause",
        "1500 let go",
        "2300 discard"
      ])
      expect(yield* while_([[0, "speaking"]], said("Yes, but stop."))).toEqual([
        "1000 keep",
        "1500 pause",
        "1500 let go",
        "2300 commit Yes, but stop."
      ])
      // "okay" was the beginning of something else
      const more = heard(
        [1000, "start"],
        [100, partial("okay")],
        [500, final("Okay")],
        [100, "end"],
        [100, final("book it")]
      )
      expect((yield* while_([[0, "speaking"]], more)).at(-1)).toBe("2400 commit Okay book it")
    })
  )

  it.scoped("[O8] said while the agent listens, it is an answer", () =>
    Effect.gen(function* () {
      expect((yield* while_([], said("Yes."))).at(-1)).toBe("2300 commit Yes.")
      expect(
        (yield* while_(
          [
            [0, "speaking"],
            [900, "listening"]
          ],
          said("Yes.")
        )).at(-1)
      ).toBe("2300 commit Yes.")
    })
  )

  it.scoped("[O8] said into the agent's last word, it is an answer, too", () =>
    Effect.gen(function* () {
      const short = heard([1000, "start"], [300, "end"], [100, final("Yes.")])
      expect(
        (yield* while_(
          [
            [0, "speaking"],
            [1200, "listening"]
          ],
          short
        )).at(-1)
      ).toBe("2000 commit Yes.")
      // what it was told to stop is not over
      expect(
        (yield* while_(
          [
            [0, "speaking"],
            [1500, "listening"]
          ],
          said("Yes.")
        )).at(-1)
      ).toBe("2300 discard")
    })
  )

  it.scoped("[O8] a function that throws says no", () =>
    Effect.gen(function* () {
      const bargeIn = {
        isBackchannel: () => {
          throw new Error("no")
        }
      }
      expect((yield* while_([[0, "speaking"]], said("Mhm."), bargeIn)).at(-1)).toBe("2300 commit Mhm.")
    })
  )
})

describe("listen: its own end", () => {
  it.scoped("[O8] a turn that is open when the stream ends is discarded, and listen ends", () =>
    Effect.gen(function* () {
      for (const script of [
        heard([0, "start"], [600, partial("hi")]),
        heard([0, "start"], [100, "end"], [0, final("Hi.")])
      ]) {
        const { done, open, session } = yield* noting()
        const fiber = yield* Effect.forkScoped(Voice.listen(session, script))
        yield* advance("1 minute")
        expect(yield* Fiber.join(fiber)).toBe(undefined)
        expect(done.at(-1)).toMatch(/discard$/)
        expect(open()).toBe(0)
      }
    })
  )

  it.scoped("[O8] interrupted, it gives the floor back at once", () =>
    Effect.gen(function* () {
      for (const at of [0, 300, 500, 700, 1300]) {
        const { done, open, session } = yield* noting()
        const script = Stream.concat(heard([0, "start"], [900, "end"], [0, final("Hi")]), Stream.never)
        const fiber = yield* Effect.forkScoped(Voice.listen(session, script))
        yield* advance(at)
        yield* Fiber.interrupt(fiber)
        expect(open()).toBe(0)
        expect(done.at(-1)).toMatch(/discard$/)
      }
    })
  )

  it.scoped("[O8] a stream that dies takes listen with it, and the floor is free", () =>
    Effect.gen(function* () {
      const { open, session } = yield* noting()
      const fiber = yield* Effect.forkScoped(
        Voice.listen(session, Stream.concat(heard([0, "start"]), Stream.die("no microphone")))
      )
      yield* advance("1 second")
      const exit = yield* Fiber.await(fiber)
      expect(Exit.isFailure(exit) && Cause.pretty(exit.cause)).toMatch(/no microphone/)
      expect(open()).toBe(0)
    })
  )

  it.scoped("[O8] a closed session is told", () =>
    Effect.gen(function* () {
      for (const closedAfter of [0, 1]) {
        const { open, session } = yield* noting({ closedAfter })
        const fiber = yield* Effect.forkScoped(
          Voice.listen(session, Stream.concat(heard([0, "start"], [900, "end"], [0, final("Hi")]), Stream.never))
        )
        yield* advance("1 minute")
        const exit = yield* Fiber.await(fiber)
        expect(Exit.isFailure(exit) && Cause.failureOption(exit.cause)).toEqual(
          Option.some(new AgentSession.SessionClosed())
        )
        expect(open()).toBe(0)
      }
    })
  )

  it.scoped("[O8] options that make no sense are told", () =>
    Effect.gen(function* () {
      const { session } = yield* noting()
      for (const options of [
        { bargeIn: { after: -1 } },
        { bargeIn: { minWords: 0.5 } },
        { bargeIn: { falseAfter: "soon" as never } },
        { bargeIn: { speech: "stop" as never } },
        { bargeIn: { isBackchannel: "mhm" as never } },
        { endpoint: { silence: Number.NaN } },
        { endpoint: { maxSilence: -5 } },
        { endpoint: { isComplete: true as never } }
      ]) {
        const exit = yield* Effect.exit(Voice.listen(session, Stream.empty, options))
        expect(Exit.isFailure(exit) && Cause.pretty(exit.cause)).toMatch(
          /The option \w+ of voice.listen: \w+ has to be/
        )
      }
    })
  )

  it.scoped(
    "[O8] whatever is heard, and whenever it ends: the floor is given back, and no word is sent twice or lost",
    () =>
      Effect.promise(() => {
        const words = fc.oneof(
          { weight: 3, arbitrary: fc.constantFrom<"start" | "end">("start", "end") },
          { weight: 2, arbitrary: fc.constantFrom("p", "pp", "").map(partial) },
          { weight: 3, arbitrary: fc.constantFrom("f", "").map(final) }
        )
        const script = fc.array(fc.tuple(fc.constantFrom(0, 10, 200, 500, 700, 2000, 3000), words), { maxLength: 14 })
        const options = fc.record({
          after: fc.constantFrom(0, 500),
          minWords: fc.nat(1),
          falseAfter: fc.constantFrom(0, 2000),
          silence: fc.constantFrom(0, 700),
          maxSilence: fc.constantFrom(500, 3000),
          verdict: fc.constantFrom(undefined, true, false, "late", "never"),
          cut: fc.option(fc.nat(8000), { nil: undefined })
        })
        return fc.assert(
          fc.asyncProperty(script, options, (raw, { cut, falseAfter, maxSilence, minWords, silence, after, verdict }) =>
            Effect.gen(function* () {
              let finals = 0
              // each final has a word of its own
              const numbered = raw.map(
                ([at, word]) =>
                  [
                    at,
                    typeof word === "object" && "text" in word && word.text === "f" ? final(`f${finals++}`) : word
                  ] as const
              )
              const { done, open, session } = yield* noting()
              const isComplete = () =>
                verdict === "never"
                  ? Effect.never
                  : verdict === "late"
                    ? Effect.as(Effect.sleep(300), true)
                    : Effect.succeed(verdict === true)
              const listening: Effect.Effect<void, unknown, Scope.Scope> = Voice.listen(
                session,
                Stream.concat(heard(...numbered), Stream.never),
                {
                  bargeIn: { after, minWords, falseAfter },
                  endpoint: { silence, maxSilence, ...(verdict === undefined ? {} : { isComplete }) }
                }
              )
              const fiber = yield* Effect.forkScoped(listening)
              if (cut !== undefined)
                yield* Effect.forkScoped(Effect.zipRight(Effect.sleep(cut), Fiber.interrupt(fiber)))
              // nobody speaks for ever
              yield* advance("2 minutes")
              const speaking = numbered.reduce(
                (now, [, word]) => (word === "start" ? true : word === "end" ? false : now),
                false
              )
              if (cut !== undefined || !speaking) expect(open()).toBe(0)
              const sent = done.flatMap((line) => / commit (.*)$/.exec(line)?.slice(1) ?? [])
              const said = sent.flatMap((text) => text.split(" "))
              const numbers = said.filter((word) => word.startsWith("f"))
              expect(new Set(numbers).size).toBe(numbers.length)
              for (const text of sent) expect(text).not.toBe("")
              // a partial that was sent stands for the final that comes after it
              const guessed = numbered.some(
                ([, word]) => typeof word === "object" && "text" in word && /p/.test(word.text)
              )
              if (cut === undefined && !speaking && !guessed) expect(numbers.length).toBe(finals)
              // each turn ends once, after it began
              expect(done.filter((line) => /commit|discard/.test(line)).length).toBe(
                done.filter((line) => line.endsWith("keep")).length - open()
              )
              yield* Fiber.interrupt(fiber)
              expect(open()).toBe(0)
            }).pipe(Effect.scoped, Effect.provide(VirtualClock.layer()), Effect.runPromise)
          ),
          { numRuns: times(200, 3000) }
        )
      })
  )
})
