/**
 * Durable sessions: what is stored, and how a session goes on in another life (rules Q).
 */
import { Effect, Exit, Layer, Stream } from "effect"
import { Agent, AgentOutput, type AsyncTool, RunContext, SessionStorage } from "effect-meantime"
import { ScriptedModel, TestSession } from "effect-meantime/testing"
import { describe, expect } from "vitest"
import { type LifeSetup, live, makeWorld, type World } from "./support/lives.js"
import { it } from "./support/virtual.js"

const { toolCall } = ScriptedModel
const { advance } = TestSession

/** Asks for a tool if the user names one, and says a word else. */
const asks =
  (...names: ReadonlyArray<string>): ScriptedModel.Respond =>
  (request) => {
    const last = request.prompt.content.at(-1)
    const text = last?.role === "user" ? ScriptedModel.lastUserText(request) : ""
    return names.includes(text) ? [toolCall(text, {}, { id: text })] : "Noted."
  }

const kinds = (world: World) =>
  Effect.map(world.rows(), (rows) => rows.map(({ kind }) => kind).filter((kind) => kind !== "item"))

describe("a call that is at work in a crash", () => {
  const setup = (options: AsyncTool.Options): LifeSetup => ({
    script: asks("trip"),
    tools: ({ does, note }) => ({
      trip: {
        ...options,
        run: () =>
          Effect.gen(function* () {
            yield* note("begins")
            yield* RunContext.update("Under way.")
            const one = yield* RunContext.step("one", does("one", 10))
            const two = yield* RunContext.step("two", does("two", 10))
            const attempt = yield* RunContext.attempt
            const key = yield* RunContext.idempotencyKey
            return { one, two, attempt, key }
          })
      }
    })
  })

  it.scoped("[Q7] [Q9] [Q10] [T9] runs again with its stored steps, and nothing of them is done twice", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      const first = yield* live(world, setup({ onRestart: "rerun" }))
      yield* first.session.send("trip")
      yield* advance("15 seconds")
      expect(yield* first.events.filter("ToolCallStarted")).toHaveLength(1)
      yield* first.crash
      const second = yield* live(world, setup({ onRestart: "rerun" }))
      yield* advance("20 seconds")
      expect(world.journal).toEqual(["0 begins", "10 one", "15 begins", "25 two"])
      expect(yield* second.lines).toEqual([
        "user: trip",
        "call trip",
        expect.stringContaining("Under way."),
        "assistant: Noted.",
        "call trip_final",
        'output trip_final: {"one":"one","two":"two","attempt":2,"key":"session/trip"}',
        "assistant: Noted."
      ])
      expect(yield* second.events.filter("ToolCallStarted")).toEqual([])
      expect(yield* second.events.filter("ToolCallEnded")).toHaveLength(1)
      expect(yield* kinds(world)).toEqual(["session"])
    })
  )

  it.scoped("[Q7] [Q8] does not run again by default: its outcome is not known, which is told once", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      const first = yield* live(world, setup({}))
      yield* first.session.send("trip")
      yield* advance("15 seconds")
      yield* first.crash
      const second = yield* live(world, setup({}))
      yield* advance("20 seconds")
      expect(world.journal).toEqual(["0 begins", "10 one"])
      expect((yield* second.lines).slice(4)).toEqual([
        "call trip_final",
        'error trip_final: "The outcome of trip is not known: it may have done its work, or not."',
        "assistant: Noted."
      ])
      expect((yield* second.events.filter("ToolCallEnded")).map(({ status }) => status)).toEqual(["error"])
      expect(yield* second.events.filter("ReplyScheduled")).toHaveLength(1)
      expect(yield* kinds(world)).toEqual(["session"])
      const third = yield* live(world, setup({}))
      yield* advance("20 seconds")
      expect(yield* third.lines).toEqual(yield* second.lines)
      expect(yield* third.events.filter("ToolCallEnded")).toEqual([])
    })
  )

  it.scoped("[Q8] an inline call gets its one output, and its turn goes on", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      const inline: LifeSetup = { script: asks("look"), tools: ({ does }) => ({ look: () => does("seen", 10) }) }
      const first = yield* live(world, inline)
      yield* first.session.send("look")
      yield* advance("5 seconds")
      yield* first.crash
      const second = yield* live(world, inline)
      yield* advance("20 seconds")
      expect(yield* second.lines).toEqual([
        "user: look",
        "call look",
        'error look: "The outcome of look is not known: it may have done its work, or not."',
        "assistant: Noted."
      ])
    })
  )

  it.scoped("[Q17] ends as unknown if its tool is gone, or takes its arguments no longer", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      const first = yield* live(world, setup({ onRestart: "rerun" }))
      yield* first.session.send("trip")
      yield* advance("15 seconds")
      yield* first.crash
      const second = yield* live(world, { script: asks() })
      yield* advance("20 seconds")
      expect(world.journal).toEqual(["0 begins", "10 one"])
      expect((yield* second.lines).slice(4, 6)).toEqual([
        "call trip_final",
        'error trip_final: "The outcome of trip is not known: it may have done its work, or not."'
      ])
      expect(yield* kinds(world)).toEqual(["session"])
    })
  )
})

describe("turns", () => {
  it.scoped("[Q6] a step that had made no calls is asked for again; a message is never lost, and starts one turn", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      const setup: LifeSetup = { script: [[ScriptedModel.wait("10 seconds"), "Hello."]] }
      const first = yield* live(world, setup)
      yield* first.session.send("Hi")
      yield* advance("5 seconds")
      yield* first.crash
      const second = yield* live(world, setup)
      yield* advance("20 seconds")
      expect(yield* second.lines).toEqual(["user: Hi", "assistant: Hello."])
      expect(yield* second.events.filter("SpeechCreated")).toEqual([])
      expect(yield* second.events.filter("SpeechEnded")).toHaveLength(1)
      expect(yield* kinds(world)).toEqual(["session"])
    })
  )

  it.scoped("[Q6] what had been played stays, marked as interrupted; once all was played, it counts as said", () =>
    Effect.gen(function* () {
      for (const seconds of [1, 2, 3, 4]) {
        const world = yield* makeWorld
        const setup: LifeSetup = { script: [["one two six ten"], ["one two six ten"]], pace: 5 }
        const first = yield* live(world, setup)
        yield* first.session.send("Hi")
        yield* advance(`${seconds * 1000 - 100} millis`)
        const played = yield* world.rows("answer")
        yield* first.crash
        const second = yield* live(world, setup)
        yield* advance("20 seconds")
        const lines = yield* second.lines
        expect(lines.at(-1)).toBe("assistant: one two six ten")
        const cut = lines.filter((line) => line.endsWith("[cut]"))
        const text = (played[0]?.data as { entries: ReadonlyArray<{ played: string }> } | undefined)?.entries[0]?.played
        if (text === undefined || text === "" || text === "one two six ten") expect(lines).toHaveLength(2)
        else expect(cut).toEqual([`assistant: ${text.trim()} [cut]`])
      }
    })
  )

  it.scoped("[Q19] a turn with an id is the same turn in the next life: while it runs, and after it has ended", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      const setup: LifeSetup = { script: ({ index }) => [ScriptedModel.wait("10 seconds"), `Answer ${index}.`] }
      const first = yield* live(world, setup)
      yield* first.session.send("Hi", { id: "t1" })
      yield* advance("5 seconds")
      yield* first.crash
      const second = yield* live(world, setup)
      const result = yield* TestSession.drive(second.session.run("Hi", { id: "t1" }))
      expect(result.text).toBe("Answer 0.")
      expect(result.items.map(({ _tag }) => _tag)).toEqual(["Message", "Message"])
      yield* second.crash
      const third = yield* live(world, setup)
      const again = yield* TestSession.drive(third.session.run("Hi", { id: "t1" }))
      expect(again).toEqual(result)
      expect(yield* third.lines).toEqual(["user: Hi", "assistant: Answer 0."])
      const handle = yield* third.session.send("Hi", { id: "t1" })
      expect(yield* handle.done).toBe(true)
      expect((yield* handle.items).map(({ id }) => id)).toEqual(result.items.map(({ id }) => id))
    })
  )

  it.scoped("[Q6] turns that wait behind another come in their order, each once", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      const setup: LifeSetup = { script: () => [ScriptedModel.wait("10 seconds"), "Well."] }
      const first = yield* live(world, setup)
      yield* first.session.send("one")
      yield* first.session.send("two", { interrupt: false, author: "Ann" })
      yield* first.session.send("three", { interrupt: false })
      yield* advance("5 seconds")
      yield* first.crash
      const second = yield* live(world, setup)
      yield* advance("60 seconds")
      expect(yield* second.lines).toEqual([
        "user: one",
        "assistant: Well.",
        "user: two",
        "assistant: Well.",
        "user: three",
        "assistant: Well."
      ])
      expect((yield* second.session.history).items[2]).toMatchObject({ author: "Ann" })
    })
  )
})

describe("deferred replies", () => {
  const setup = (more: Partial<LifeSetup> = {}): LifeSetup => ({
    script: (request) => {
      const last = request.prompt.content.at(-1)
      if (ScriptedModel.lastUserText(request) === "go" && request.index === 0) return [toolCall("go", {}, { id: "go" })]
      return last?.role === "user" && request.index > 0 ? "one two six ten" : "Noted."
    },
    tools: ({ does }) => ({
      go: {
        onRestart: "rerun",
        run: () => Effect.zipRight(RunContext.update("Going."), does("gone", 10))
      }
    }),
    pace: 5,
    ...more
  })

  it.scoped("[Q5] one that was being said counts as interrupted; by default it is not said again", () =>
    Effect.gen(function* () {
      for (const onInterruptedReply of ["drop", "redeliver"] as const) {
        const world = yield* makeWorld
        const first = yield* live(world, setup())
        yield* first.session.send("go")
        yield* advance("12.5 seconds")
        yield* first.crash
        const second = yield* live(world, setup({ onInterruptedReply }))
        yield* advance("20 seconds")
        const lines = yield* second.lines
        const after = lines.slice(lines.indexOf('output go_final: "gone"') + 1)
        const ended = (yield* second.events.filter("ReplyEnded")).map(({ status }) => status)
        if (onInterruptedReply === "drop") {
          expect(after).toEqual([expect.stringMatching(/^assistant: one.* \[cut\]$/)])
          expect(ended).toEqual(["interrupted"])
        } else {
          expect(after).toEqual([
            expect.stringMatching(/^assistant: one.* \[cut\]$/),
            expect.stringMatching(/^assistant: /)
          ])
          expect(ended).toEqual(["interrupted", "completed"])
        }
      }
    })
  )

  it.scoped("[Q5] one of which nothing was played is formed again, and one that waits is formed", () =>
    Effect.gen(function* () {
      // before the result, as it comes, and as its reply begins
      for (const millis of [9_900, 10_000, 10_400]) {
        const world = yield* makeWorld
        const first = yield* live(world, setup())
        yield* first.session.send("go")
        yield* advance(millis)
        yield* first.crash
        const second = yield* live(world, setup())
        yield* advance("30 seconds")
        const lines = yield* second.lines
        expect(lines.filter((line) => line.startsWith("call go_final"))).toHaveLength(1)
        expect(lines.at(-1)).toMatch(/^assistant: .*/)
        expect(lines.at(-1)).not.toContain("[cut]")
        expect((yield* second.events.filter("ReplyEnded")).map(({ status }) => status)).toEqual(["completed"])
        expect(yield* kinds(world)).toEqual(["session"])
      }
    })
  )
})

describe("approvals, hand-offs and agents", () => {
  it.scoped("[Q15] [A10] a call that waits for approval waits on under its id, and is asked for no second time", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      const setup: LifeSetup = {
        script: asks("pay"),
        tools: ({ does }) => ({ pay: { needsApproval: true, approvalTimeout: "1 hour", run: () => does("paid") } })
      }
      const first = yield* live(world, setup)
      yield* first.session.send("pay")
      yield* advance("5 seconds")
      const before = yield* first.session.approvals
      expect(before).toHaveLength(1)
      yield* first.crash
      const second = yield* live(world, setup)
      yield* advance("5 seconds")
      expect(yield* second.session.approvals).toEqual(before)
      expect(yield* second.events.filter("ApprovalRequested", "ToolCallStarted")).toEqual([])
      yield* second.session.approve("pay")
      yield* advance("5 seconds")
      expect(world.journal).toEqual(["10 paid"])
      yield* second.crash
      const third = yield* live(world, setup)
      yield* advance("2 hours")
      expect(world.journal).toEqual(["10 paid"])
      expect((yield* third.lines).filter((line) => line.includes("pay_final"))).toHaveLength(2)
    })
  )

  it.scoped("[A10] [Q14] the time limit of an approval goes on while the process is down", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      const setup: LifeSetup = {
        script: asks("pay"),
        tools: ({ does }) => ({ pay: { needsApproval: true, approvalTimeout: "1 minute", run: () => does("paid") } })
      }
      const first = yield* live(world, setup)
      yield* first.session.send("pay")
      yield* advance("5 seconds")
      yield* first.crash
      yield* advance("2 minutes")
      const second = yield* live(world, setup)
      yield* advance("1 second")
      expect(yield* second.session.approvals).toEqual([])
      expect((yield* second.events.filter("ApprovalDecided")).map(({ decision }) => decision)).toEqual(["expired"])
    })
  )

  it.scoped("[Q16] [Q18] a session finds itself with the agent that it was handed to; no hook runs twice", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      const entered: Array<string> = []
      const hooks = (name: string) => ({
        onEnter: Effect.sync(() => void entered.push(`${name} enters`)),
        onExit: Effect.sync(() => void entered.push(`${name} leaves`))
      })
      const Billing = Agent.make("billing", { instructions: "Bill.", ...hooks("billing") })
      const Other = Agent.make("other", { instructions: "Other." })
      const Front = Agent.make("front", { instructions: "Front.", ...hooks("front") })
      const setup: LifeSetup = { script: () => "Hi.", agent: Front, agents: [Billing] }
      const first = yield* live(world, setup)
      yield* first.session.handoff(Billing)
      yield* advance("1 second")
      expect(entered).toEqual(["front enters", "front leaves", "billing enters"])
      yield* first.crash
      const second = yield* live(world, setup)
      yield* advance("1 second")
      expect(yield* second.session.currentAgent).toEqual({ name: "billing" })
      expect(entered).toHaveLength(3)
      const strange = yield* Effect.exit(second.session.handoff(Other))
      expect(Exit.isFailure(strange) && String(strange.cause)).toContain('the agent "other"')
      yield* second.crash
      const gone = yield* Effect.flip(live(world, { script: () => "Hi.", agent: Front }))
      expect(gone).toMatchObject({ _tag: "StorageError", row: "session/state" })
      expect(gone.message).toContain('"billing"')
      const third = yield* live(world, setup)
      expect(yield* third.session.currentAgent).toEqual({ name: "billing" })
    })
  )
})

describe("the storage", () => {
  it.scoped(
    "[Q4] another opening takes the session over: the first one stops, says why once, and lets nothing out",
    () =>
      Effect.gen(function* () {
        const world = yield* makeWorld
        const setup: LifeSetup = {
          script: () => "Hi.",
          tools: ({ note }) => ({ go: { run: () => Effect.ensuring(Effect.never, note("stopped")) } })
        }
        const first = yield* live(world, { ...setup, script: asks("go") })
        yield* first.session.send("go")
        yield* advance("1 second")
        const second = yield* live(world, setup)
        yield* first.events.clear
        const failed = yield* Effect.flip(first.session.send("Are you there?"))
        expect(failed._tag).toBe("SessionClosed")
        yield* advance("10 seconds")
        expect(yield* first.events.tags).toEqual(["SessionError"])
        expect((yield* first.events.filter("SessionError")).map(({ error }) => error.tag)).toEqual(["Fenced"])
        expect(world.logs.filter((line) => line.startsWith("ERROR"))).toHaveLength(1)
        expect(world.journal).toEqual(["1 stopped"])
        expect((yield* Effect.flip(first.session.run("Hm?")))._tag).toBe("SessionClosed")
        yield* first.close
        yield* second.session.send("And you?")
        yield* advance("1 second")
        expect((yield* second.lines).filter((line) => line.startsWith("user"))).toEqual(["user: go", "user: And you?"])
      })
  )

  it.scoped("[Q17] a row that is unknown or damaged fails the opening, names the row, and nothing is overwritten", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      const setup: LifeSetup = { script: () => "Hi." }
      const first = yield* live(world, setup)
      yield* first.session.send("Hi")
      yield* advance("1 second")
      yield* first.crash
      const { epoch, rows } = yield* world.storage.open("session")
      for (const bad of [
        { kind: "call", id: "c1", data: { v: 2 } },
        { kind: "call", id: "c1", data: { v: 1, name: "x" } },
        { kind: "item", id: "0000000001", data: null },
        { kind: "ghost", id: "1", data: { v: 1 } },
        { kind: "speech", id: "s", data: "text" }
      ]) {
        const good = rows.find(({ id, kind }) => kind === bad.kind && id === bad.id)
        const epochNow = (yield* world.storage.open("session")).epoch
        yield* world.storage.write("session", epochNow, [bad], false)
        const error = yield* Effect.flip(live(world, setup))
        expect(error).toMatchObject({ _tag: "StorageError", row: `${bad.kind}/${bad.id}` })
        const after = yield* world.storage.open("session")
        expect(after.rows.find(({ id, kind }) => kind === bad.kind && id === bad.id)).toEqual(bad)
        yield* world.storage.write("session", after.epoch, [good ?? { ...bad, data: undefined }], false)
      }
      expect(epoch).toBeGreaterThan(1)
      const second = yield* live(world, setup)
      expect(yield* second.lines).toEqual(["user: Hi", "assistant: Hi."])
    })
  )

  it.scoped("[Q20] an outage is told once; nothing leaves meanwhile, and all of it once the storage is back", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      let down = false
      const flaky: World = {
        ...world,
        storage: {
          ...world.storage,
          write: (...args) =>
            Effect.suspend(() =>
              down ? Effect.fail(new SessionStorage.StorageError({ message: "down" })) : world.storage.write(...args)
            )
        }
      }
      const life = yield* live(flaky, { script: () => "Hi." })
      yield* life.session.send("one")
      yield* advance("1 second")
      yield* life.events.clear
      down = true
      const sent = yield* Effect.fork(life.session.send("two"))
      yield* advance("10 seconds")
      expect(yield* life.events.tags).toEqual(["SessionError"])
      expect(sent.unsafePoll()).toBeNull()
      expect(world.logs.filter((line) => line.startsWith("WARN"))).toHaveLength(1)
      down = false
      yield* advance("10 seconds")
      expect(sent.unsafePoll()).not.toBeNull()
      expect(yield* life.lines).toEqual(["user: one", "assistant: Hi.", "user: two", "assistant: Hi."])
      expect((yield* life.events.filter("ItemAdded")).length).toBe(2)
      expect(world.logs.filter((line) => line.startsWith("WARN"))).toHaveLength(1)
    })
  )

  it.scoped("[Q2] a quiet session keeps its items plus a constant, however long it was", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      const setup: LifeSetup = {
        script: asks("work"),
        tools: ({ does }) => ({
          work: {
            run: () =>
              Effect.gen(function* () {
                for (let n = 0; n < 5; n++) {
                  yield* RunContext.update(`Part ${n}.`)
                  yield* RunContext.step("part", does("part", 1))
                }
                yield* RunContext.commit(does("commit"))
                return "done"
              })
          }
        })
      }
      const life = yield* live(world, setup)
      for (let n = 0; n < 5; n++) {
        yield* life.session.send("work")
        yield* advance("30 seconds")
      }
      const { items } = yield* life.session.history
      const rows = yield* world.rows()
      expect(rows.filter(({ kind }) => kind === "item")).toHaveLength(items.length)
      expect(rows.filter(({ kind }) => kind !== "item").map(({ kind }) => kind)).toEqual(["session"])
      expect(JSON.stringify(rows.filter(({ kind }) => kind === "session")).length).toBeLessThan(400)
    })
  )

  it.scoped("[Q1] a session without an id writes nothing, and asks for no storage", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      const life = yield* live(world, { script: () => "Hi.", id: undefined })
      yield* life.session.send("Hi")
      yield* advance("1 second")
      expect(yield* life.lines).toEqual(["user: Hi", "assistant: Hi."])
      expect(life.writes()).toBe(0)
      expect(yield* world.rows()).toEqual([])
    })
  )
})

describe("suspending and ending", () => {
  const setup: LifeSetup = {
    script: asks("trip"),
    tools: ({ does, note }) => ({
      trip: {
        onRestart: "rerun",
        allowCancellation: true,
        run: () =>
          Effect.gen(function* () {
            yield* RunContext.update("Under way.")
            yield* RunContext.step("one", does("one", 10), { undo: () => note("undo one") })
            return yield* RunContext.step("two", does("two", 10))
          })
      }
    })
  }

  it.scoped(
    "[Q18] [Q12] closing the scope suspends: nothing ends, nothing is undone, and the next opening goes on",
    () =>
      Effect.gen(function* () {
        const world = yield* makeWorld
        const first = yield* live(world, setup)
        yield* first.session.send("trip")
        yield* advance("15 seconds")
        yield* first.events.clear
        const lines = yield* first.lines
        yield* first.close
        expect(yield* first.events.tags).toEqual(["SessionClosed"])
        const second = yield* live(world, setup)
        expect(yield* second.lines).toEqual(lines)
        yield* advance("20 seconds")
        expect(world.journal).toEqual(["10 one", "25 two"])
        expect((yield* second.lines).slice(4)).toEqual([
          "call trip_final",
          'output trip_final: "two"',
          "assistant: Noted."
        ])
      })
  )

  it.scoped("[Q18] end drains, ends for good, and keeps the history alone", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      const first = yield* live(world, setup)
      yield* first.session.send("trip")
      yield* advance("15 seconds")
      yield* TestSession.drive(first.session.end)
      expect(world.journal).toEqual(["10 one", "15 undo one"])
      expect((yield* first.events.filter("ToolCallEnded")).map(({ status }) => status)).toEqual(["cancelled"])
      expect(yield* kinds(world)).toEqual([])
      const lines = yield* first.lines
      expect(yield* world.storage.unfinished).toEqual([])
      const second = yield* live(world, setup)
      yield* advance("20 seconds")
      expect(yield* second.lines).toEqual(lines)
    })
  )

  it.scoped("[Q18] suspending waits for a commit in flight, and lets nothing else run on", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      const commits: LifeSetup = {
        script: asks("pay"),
        tools: ({ does }) => ({
          pay: {
            onRestart: "rerun",
            run: () =>
              Effect.gen(function* () {
                yield* RunContext.update("Paying.")
                const paid = yield* RunContext.commit(does("paid", 10))
                yield* does("after", 0)
                return paid
              })
          }
        })
      }
      const first = yield* live(world, commits)
      yield* first.session.send("pay")
      yield* advance("5 seconds")
      yield* first.close
      expect(world.journal).toEqual(["10 paid"])
      const second = yield* live(world, commits)
      yield* advance("20 seconds")
      expect(world.journal).toEqual(["10 paid", "10 after"])
      expect((yield* second.lines).slice(-2)).toEqual(['output pay_final: "paid"', "assistant: Noted."])
    })
  )
})

describe("an output that tells when sound begins", () => {
  it.scoped("[Q5] a reply is never voiced twice by an output that calls `started` before its first sound", () =>
    Effect.gen(function* () {
      // a crash behind each write of the reply's life
      for (let at = 1; at <= 24; at++) {
        const world = yield* makeWorld
        const layer = (note: (what: string) => Effect.Effect<void>) =>
          Layer.succeed(AgentOutput.AgentOutput, {
            play: (text, played, speech) =>
              Stream.runForEach(text, (piece) =>
                speech.started.pipe(
                  Effect.zipRight(note(`sound ${speech.covers.join()}`)),
                  Effect.zipRight(Effect.sleep("1 second")),
                  Effect.zipRight(played(piece))
                )
              )
          } satisfies AgentOutput.Service)
        let sound: (what: string) => Effect.Effect<void> = () => Effect.void
        const setup: LifeSetup = {
          script: ({ index, prompt }) =>
            index === 0 && prompt.content.length < 3 ? [toolCall("go", {}, { id: "go" })] : "News.",
          tools: ({ does, note }) => {
            sound = note
            return {
              go: { onRestart: "rerun", run: () => Effect.zipRight(RunContext.update("Going."), does("gone", 5)) }
            }
          },
          layer: layer((what) => Effect.suspend(() => sound(what)))
        }
        const first = yield* live(world, { ...setup, crash: { at, moment: "after" } })
        yield* Effect.exit(first.session.send("go", { id: "turn" }))
        yield* advance("20 seconds")
        const life = first.isOver() ? yield* live(world, setup) : first
        yield* Effect.exit(life.session.send("go", { id: "turn" }))
        yield* advance("30 seconds")
        const sounds = world.journal.filter((line) => line.endsWith("sound go_final"))
        expect(sounds.length).toBeLessThanOrEqual(1)
        expect((yield* life.session.history).items.some((item) => "callId" in item && item.callId === "go_final")).toBe(
          true
        )
      }
    })
  )
})
