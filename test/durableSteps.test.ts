/**
 * What handlers of durable sessions store: steps, sleeps, commits, updates, messages, hand-offs; and what takes them back
 * (rules Q9 to Q15).
 */
import { Toolkit } from "@effect/ai"
import { Effect, Schema, Stream } from "effect"
import { Agent, AsyncTool, RunContext, type SessionStorage } from "effect-meantime"
import { ScriptedModel, TestSession } from "effect-meantime/testing"
import { describe, expect } from "vitest"
import { type Life, type LifeSetup, live, makeWorld, type World } from "./support/lives.js"
import { started, talk } from "./support/talk.js"
import { it } from "./support/virtual.js"

const { toolCall } = ScriptedModel
const { advance } = TestSession

type Doing = Pick<Life, "note" | "does">
type Handler = (life: Doing) => Effect.Effect<unknown, any, RunContext.RunContext>

/** The model calls `go` in the first turn, and says a word to all else. */
const script: ScriptedModel.Respond = ({ index }) => (index === 0 ? [toolCall("go", {}, { id: "go" })] : "Noted.")
const quiet: ScriptedModel.Respond = () => "Noted."

const going = (handler: Handler, options: AsyncTool.Options = {}): LifeSetup => ({
  script,
  tools: (life) => ({ go: { onRestart: "rerun", ...options, run: () => handler(life) } })
})

/** From `at` seconds on in another life, for as long as it takes. */
const crashedAt = (world: World, setup: LifeSetup, at: number, then: Partial<LifeSetup> = {}) =>
  Effect.gen(function* () {
    const first = yield* live(world, setup)
    yield* first.session.send("go")
    yield* advance(`${at} seconds`)
    yield* first.crash
    return yield* live(world, { ...setup, script: quiet, ...then })
  })

const lastOutput = (life: Life) =>
  Effect.map(life.session.history, ({ items }) => {
    const last = items.findLast((item) => item._tag === "FunctionCallOutput")
    return last?._tag === "FunctionCallOutput" ? last.output : undefined
  })

describe("step", () => {
  it.scoped("[Q10] names are counted, failures are not stored, undefined is a value", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      let tries = 0
      const setup = going(({ does, note }) =>
        Effect.gen(function* () {
          const poll = () => RunContext.step("poll", does("poll", 1))
          yield* poll()
          yield* poll()
          // its own name is taken by the second poll
          yield* RunContext.step("poll#2", does("other"))
          yield* RunContext.step("nothing", Effect.asVoid(note("nothing")))
          yield* Effect.ignore(RunContext.step("fails", Effect.zipRight(note(`try ${++tries}`), Effect.fail("no"))))
          yield* does("waits", 10)
          return "end"
        })
      )
      const second = yield* crashedAt(world, setup, 5)
      yield* advance("20 seconds")
      expect(world.journal).toEqual(["1 poll", "2 poll", "2 other", "2 nothing", "2 try 1", "5 try 2", "15 waits"])
      expect(yield* lastOutput(second)).toBe("end")
    })
  )

  it.scoped(
    "[Q10] a value goes through its schema; without one JSON has to carry it, else the step dies by its name",
    () =>
      Effect.gen(function* () {
        const world = yield* makeWorld
        const seen: Array<unknown> = []
        const setup = going(({ does }) =>
          Effect.gen(function* () {
            const at = yield* RunContext.step("at", Effect.succeed(new Date(5)), { success: Schema.Date })
            const plain = yield* RunContext.step("plain", Effect.succeed({ a: [1, null, "x"], b: undefined }))
            seen.push(at, plain)
            yield* does("waits", 10)
            return yield* RunContext.step("bad", Effect.succeed(new Map([[1, 2]])))
          })
        )
        const second = yield* crashedAt(world, setup, 5)
        yield* advance("20 seconds")
        expect(seen).toEqual([new Date(5), { a: [1, null, "x"], b: undefined }, new Date(5), { a: [1, null, "x"] }])
        expect(yield* lastOutput(second)).toBe("go failed because of an unexpected error.")
        expect(world.logs.some((line) => line.includes("failed unexpectedly"))).toBe(true)
      })
  )

  it.scoped("[Q10] sleep ends when it was to end, whatever came in between", () =>
    Effect.gen(function* () {
      for (const [down, at] of [
        [2, 10],
        [30, 35]
      ] as const) {
        const world = yield* makeWorld
        const setup = going(({ does }) =>
          Effect.gen(function* () {
            yield* RunContext.sleep("nap", "10 seconds")
            return yield* does("awake")
          })
        )
        const before = (yield* Effect.clock).unsafeCurrentTimeMillis() / 1000
        const first = yield* live(world, setup)
        yield* first.session.send("go")
        yield* advance("5 seconds")
        yield* first.crash
        yield* advance(`${down} seconds`)
        yield* live(world, { ...setup, script: quiet })
        yield* advance("60 seconds")
        expect(world.journal).toEqual([`${before + at} awake`])
      }
    })
  )

  it.scoped("[Q10] [Q12] in a session that is not durable it is the effect itself, with its undo", () =>
    Effect.gen(function* () {
      const done: Array<string> = []
      const undo = (value: string) => Effect.sync(() => void done.push(`undo ${value}`))
      const { session } = yield* talk({
        script: ({ index }) =>
          index === 0
            ? [
                toolCall("fails", {}, { id: "a" }),
                toolCall("commits", {}, { id: "b" }),
                toolCall("ends", {}, { id: "c" })
              ]
            : "Noted.",
        tools: {
          fails: () =>
            Effect.gen(function* () {
              yield* RunContext.step("one", Effect.succeed("one"), { undo })
              yield* RunContext.step("two", Effect.succeed("two"), { undo: () => Effect.die("no") })
              yield* RunContext.step("three", Effect.succeed("three"), { undo })
              yield* RunContext.sleep("nap", "1 second")
              return yield* new AsyncTool.ToolError({ message: "It failed." })
            }),
          commits: () =>
            Effect.gen(function* () {
              yield* RunContext.step("four", Effect.succeed("four"), { undo })
              yield* RunContext.commit(Effect.succeed(1))
              yield* RunContext.step("five", Effect.succeed("five"), { undo })
              expect(yield* RunContext.attempt).toBe(1)
              expect(yield* RunContext.idempotencyKey).toMatch(/^[a-z0-9]+-[a-z0-9]+\/b$/)
              return yield* new AsyncTool.ToolError({ message: "It failed." })
            }),
          ends: () => RunContext.step("six", Effect.succeed("six"), { undo })
        },
        logs: [/^WARN: (fails|commits) \([ab]\) failed/, /^ERROR: An undo of fails \(a\) failed/]
      })
      yield* session.send("go")
      yield* advance("10 seconds")
      expect(done).toEqual(["undo five", "undo three", "undo one"])
    })
  )
})

describe("commit", () => {
  const paying = (tool: Partial<AsyncTool.Options> = {}) =>
    going(
      ({ does }) =>
        Effect.gen(function* () {
          yield* RunContext.update("Paying.")
          const paid = yield* RunContext.commit(does("paid", 10))
          yield* does("after", 10)
          return paid
        }),
      tool
    )

  it.scoped("[Q11] found begun and not ended, the call ends as unknown; found ended, its value is given back", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      const second = yield* crashedAt(world, paying(), 5)
      yield* advance("60 seconds")
      expect(world.journal).toEqual([])
      expect(yield* lastOutput(second)).toMatch(/^The outcome of go is not known/)

      const other = yield* makeWorld
      const third = yield* crashedAt(other, paying(), 15)
      yield* advance("60 seconds")
      expect(other.journal.map((line) => line.replace(/^\S+ /, ""))).toEqual(["paid", "after"])
      expect(yield* lastOutput(third)).toBe("paid")
    })
  )

  it.scoped("[Q11] is stored before it begins", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      const setup = paying()
      const first = yield* live(world, setup)
      const stored = first.writes
      yield* first.session.send("go")
      expect(stored()).toBeGreaterThan(0)
      yield* advance("1 second")
      expect(yield* world.rows("commit")).toMatchObject([{ data: { ended: false } }])
    })
  )

  it.scoped("[Q11] one whose value cannot be stored is done all the same, and counts as not ended after a crash", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      const setup = going(({ does }) =>
        Effect.gen(function* () {
          yield* RunContext.update("Paying.")
          const paid = yield* RunContext.commit(Effect.as(does("paid"), new Map([[1, 1]])))
          yield* does("after", 10)
          return paid.size
        })
      )
      const second = yield* crashedAt(world, setup, 5)
      yield* advance("20 seconds")
      expect(world.journal).toEqual(["0 paid"])
      expect(yield* lastOutput(second)).toMatch(/^The outcome of go is not known/)
      const other = yield* makeWorld
      const whole = yield* live(other, setup)
      yield* whole.session.send("go")
      yield* advance("20 seconds")
      expect(yield* lastOutput(whole)).toBe(1)
    })
  )
})

describe("undo", () => {
  const holding = (then: Handler, options: AsyncTool.Options = {}) =>
    going(
      (life) =>
        Effect.gen(function* () {
          yield* RunContext.update("Holding.")
          yield* RunContext.step("one", life.does("one", 1), { undo: (value) => life.note(`undo ${value}`) })
          yield* RunContext.step("two", life.does("two", 1), { undo: (value) => life.note(`undo ${value}`) })
          return yield* then(life)
        }),
      { allowCancellation: true, ...options }
    )
  const what = (world: World) => world.journal.map((line) => line.replace(/^\S+ /, ""))

  it.scoped(
    "[Q12] runs in a later life too, the last step first; once a commit has ended, not for what was before",
    () =>
      Effect.gen(function* () {
        const world = yield* makeWorld
        const second = yield* crashedAt(
          world,
          holding(({ does }) => does("never", 1000)),
          5
        )
        yield* advance("1 second")
        yield* second.session.cancelTool("go")
        expect(what(world)).toEqual(["one", "two", "undo two", "undo one"])
        expect((yield* second.events.filter("ToolCallEnded")).map(({ status }) => status)).toEqual(["cancelled"])

        const other = yield* makeWorld
        const third = yield* crashedAt(
          other,
          holding(({ does }) =>
            Effect.gen(function* () {
              yield* RunContext.commit(does("commit"))
              yield* does("wait", 10)
              return yield* new AsyncTool.ToolError({ message: "It failed." })
            })
          ),
          5
        )
        yield* advance("60 seconds")
        expect(what(other)).toEqual(["one", "two", "commit", "wait"])
        expect(yield* lastOutput(third)).toBe("It failed.")
      })
  )

  it.scoped(
    "[Q13] a call that was asked to stop before the crash replays its steps, undoes them, and ends as cancelled",
    () =>
      Effect.gen(function* () {
        const world = yield* makeWorld
        // it takes its time to stop
        const setup = holding(({ does, note }) =>
          Effect.onInterrupt(does("never", 1000), () => Effect.zipRight(Effect.sleep("20 seconds"), note("cleaned")))
        )
        const first = yield* live(world, setup)
        yield* first.session.send("go")
        yield* advance("5 seconds")
        yield* started(first.session.cancelTool("go"))
        yield* advance("2 seconds")
        yield* first.crash
        const second = yield* live(world, { ...setup, script: quiet })
        yield* advance("30 seconds")
        expect(what(world)).toEqual(["one", "two", "undo two", "undo one"])
        expect((yield* second.events.filter("ToolCallEnded")).map(({ status }) => status)).toEqual(["cancelled"])
        expect((yield* world.rows()).filter(({ kind }) => kind !== "item").map(({ kind }) => kind)).toEqual(["session"])
      })
  )

  it.scoped("[Q13] without a stored step it ends so at once; one that does not run again ends as unknown", () =>
    Effect.gen(function* () {
      for (const onRestart of ["rerun", "unknown"] as const) {
        const world = yield* makeWorld
        const setup = going(
          ({ does, note }) =>
            Effect.zipRight(
              RunContext.update("Going."),
              Effect.onInterrupt(does("never", 1000), () =>
                Effect.zipRight(Effect.sleep("20 seconds"), note("cleaned"))
              )
            ),
          { allowCancellation: true, onRestart }
        )
        const first = yield* live(world, setup)
        yield* first.session.send("go")
        yield* advance("5 seconds")
        yield* started(first.session.cancelTool("go"))
        yield* advance("2 seconds")
        yield* first.crash
        const second = yield* live(world, { ...setup, script: quiet })
        yield* advance("1 second")
        expect((yield* second.events.filter("ToolCallEnded")).map(({ status }) => status)).toEqual([
          onRestart === "rerun" ? "cancelled" : "error"
        ])
        expect(world.journal).toEqual([])
      }
    })
  )

  it.scoped(
    "[Q14] a timeout counts from the first start; one that passed while the process was down undoes the steps",
    () =>
      Effect.gen(function* () {
        for (const down of [1, 100]) {
          const world = yield* makeWorld
          const setup = holding(({ does }) => does("never", 1000), { timeout: "20 seconds" })
          const first = yield* live(world, setup)
          yield* first.session.send("go")
          yield* advance("10 seconds")
          yield* first.crash
          yield* advance(`${down} seconds`)
          const second = yield* live(world, { ...setup, script: quiet })
          const left = down === 1 ? 9 : 0
          yield* advance(`${left * 1000 - (left === 0 ? 0 : 100)} millis`)
          if (left > 0) expect(what(world)).toEqual(["one", "two"])
          yield* advance("1 second")
          expect(what(world)).toEqual(["one", "two", "undo two", "undo one"])
          expect((yield* second.events.filter("ToolCallEnded")).map(({ status }) => status)).toEqual(["error"])
          expect(yield* lastOutput(second)).toContain("it took longer than its time limit of 20 seconds")
        }
      })
  )

  it.scoped("[Q14] releaseAfter counts from the first start", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      const setup = going(({ does }) => does("done", 30), { releaseAfter: "10 seconds" })
      const second = yield* crashedAt(world, setup, 6)
      yield* advance("3.9 seconds")
      expect(yield* second.events.filter("ToolCallReleased")).toEqual([])
      yield* advance("0.2 seconds")
      expect((yield* second.events.filter("ToolCallReleased")).map(({ by }) => by)).toEqual(["timer"])
    })
  )

  it.scoped("[Q12] [Q8] a call of unknown outcome runs no undo", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      const second = yield* crashedAt(
        world,
        holding(({ does }) => does("never", 1000), { onRestart: "unknown" }),
        5
      )
      yield* advance("60 seconds")
      expect(what(world)).toEqual(["one", "two"])
      expect(yield* lastOutput(second)).toMatch(/^The outcome of go is not known/)
    })
  )
})

describe("what a handler tells and is told", () => {
  it.scoped(
    "[Q9] updates by number and by key are told once; another text for one is a warning, and the first stays",
    () =>
      Effect.gen(function* () {
        const world = yield* makeWorld
        let life = 0
        const setup = going(({ does }) =>
          Effect.gen(function* () {
            life++
            yield* RunContext.update("one")
            yield* RunContext.update("keyed", { key: "k" })
            yield* RunContext.update(life === 1 ? "two" : "another two")
            // the same key once more
            yield* RunContext.update("keyed", { key: "k" })
            yield* does("wait", 10)
            yield* RunContext.update("three")
            return "end"
          })
        )
        const second = yield* crashedAt(world, setup, 5)
        yield* advance("30 seconds")
        const outputs = (yield* TestSession.outputs(second.session)).map(({ output }) => String(output).split("\n")[0])
        expect(outputs).toEqual(["one", "keyed", "two", "three", "end"])
        expect(world.logs.filter((line) => line.startsWith("WARN"))).toEqual([
          expect.stringMatching(/The update number 2 of go \(go\) was told before with another text/)
        ])
      })
  )

  it.scoped("[Q9] [G2] a handler that runs again gets all messages again, in order", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      const setup = going(
        ({ note }) => Stream.runForEach(RunContext.messages, (message) => note(`got ${String(message)}`)),
        { messages: true, releaseAfter: 0 }
      )
      const first = yield* live(world, setup)
      yield* first.session.send("go")
      yield* advance("1 second")
      yield* first.session.messageTool("go", "a")
      yield* first.session.messageTool("go", "b")
      yield* advance("1 second")
      yield* first.crash
      const second = yield* live(world, { ...setup, script: quiet })
      yield* advance("1 second")
      yield* second.session.messageTool("go", "c")
      yield* advance("1 second")
      expect(world.journal.map((line) => line.slice(2))).toEqual(["got a", "got b", "got a", "got b", "got c"])
    })
  )

  it.scoped(
    "[Q15] a hand-off that was asked for is stored and takes place; asked for again, it is the stored one",
    () =>
      Effect.gen(function* () {
        const world = yield* makeWorld
        const Billing = Agent.make("billing", { instructions: "Bill." })
        const Ghost = Agent.make("ghost", { instructions: "Boo." })
        const setup: LifeSetup = {
          ...going(({ does, note }) =>
            Effect.gen(function* () {
              yield* RunContext.update("Going.")
              const refused = yield* Effect.flip(RunContext.handoff(Ghost))
              yield* note(refused.message.slice(0, 17))
              yield* RunContext.handoff(Billing)
              yield* does("wait", 10)
              return "end"
            })
          ),
          agents: [Billing],
          pace: 5,
          script: ({ index }) => (index === 0 ? [toolCall("go", {}, { id: "go" })] : "one two six ten")
        }
        const second = yield* crashedAt(world, setup, 1, { script: quiet })
        expect(yield* second.session.currentAgent).toEqual({ name: "helper" })
        yield* advance("30 seconds")
        expect(yield* second.session.currentAgent).toEqual({ name: "billing" })
        const { items } = yield* second.session.history
        expect(items.filter((item) => item._tag === "AgentHandoff")).toHaveLength(1)
        expect(yield* lastOutput(second)).toBe("end")
      })
  )

  it.scoped("[Q15] joined calls share their run again; a replacement waits anew", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      const joins: LifeSetup = {
        script: ({ index }) =>
          index < 1 ? [toolCall("go", {}, { id: "a" }), toolCall("go", {}, { id: "b" })] : "Noted.",
        tools: ({ does }) => ({ go: { onRestart: "rerun", onDuplicate: "join", run: () => does("went", 10) } })
      }
      const second = yield* crashedAt(world, joins, 5, { script: quiet })
      yield* advance("30 seconds")
      expect(world.journal).toEqual(["15 went"])
      expect((yield* second.events.filter("ToolCallEnded")).map(({ callId }) => callId)).toEqual(["a", "b"])
      expect((yield* second.lines).slice(-3)).toEqual(['output a: "went"', 'output b: "went"', "assistant: Noted."])
    })
  )

  it.scoped("[Q3] update, step and send return once they are stored", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      const gates: Array<() => void> = []
      let held = false
      const slow: SessionStorage.Service = {
        ...world.storage,
        write: (...args) =>
          Effect.suspend(() =>
            held
              ? Effect.zipRight(
                  Effect.async<void>((resume) => void gates.push(() => resume(Effect.void))),
                  world.storage.write(...args)
                )
              : world.storage.write(...args)
          )
      }
      const life = yield* live(
        { ...world, storage: slow },
        going(({ note }) =>
          Effect.gen(function* () {
            held = true
            yield* RunContext.update("Under way.")
            yield* note("updated")
            yield* RunContext.step("one", note("one"))
            yield* note("stepped")
            return "end"
          })
        )
      )
      const open = Effect.zipRight(
        Effect.sync(() => {
          for (const gate of gates.splice(0)) gate()
        }),
        advance("1 second")
      )
      yield* life.session.send("go")
      yield* advance("1 second")
      yield* life.events.clear
      expect(world.journal).toEqual([])
      yield* open
      expect(world.journal.map((line) => line.slice(2))).toEqual(["updated", "one"])
      expect((yield* life.events.tags).includes("ToolCallUpdated")).toBe(true)
      // what came before the step is written first
      for (let n = 0; n < 3 && (yield* world.rows("step")).length === 0; n++) {
        expect(world.journal.map((line) => line.slice(2))).toEqual(["updated", "one"])
        yield* open
      }
      expect(world.journal.map((line) => line.slice(2))).toEqual(["updated", "one", "stepped"])
      held = false
      yield* open
    })
  )
})

describe("outside of any session", () => {
  it.scoped("[Q12] [U8] execute undoes the steps of a call that fails, but none before a commit", () =>
    Effect.gen(function* () {
      const done: Array<string> = []
      const Go = AsyncTool.make("go", {
        parameters: { commits: Schema.Boolean, fails: Schema.Boolean },
        success: Schema.String
      })
      const kit = Toolkit.make(Go)
      const undo = (value: string) => Effect.sync(() => void done.push(`undo ${value}`))
      const layer = kit.toLayer({
        go: ({ commits, fails }) =>
          Effect.gen(function* () {
            yield* RunContext.step("one", Effect.succeed("one"), { undo })
            if (commits) yield* RunContext.commit(Effect.void)
            yield* RunContext.step("two", Effect.succeed("two"), { undo })
            yield* RunContext.sleep("nap", 0)
            if (fails) return yield* new AsyncTool.ToolError({ message: "It failed." })
            return `${yield* RunContext.idempotencyKey} ${yield* RunContext.attempt}`
          })
      })
      const run = (commits: boolean, fails: boolean) =>
        AsyncTool.execute(kit, { callId: "c", name: "go", arguments: { commits, fails } }).pipe(Effect.provide(layer))
      expect((yield* run(false, false)).output).toBe("c 1")
      expect(done).toEqual([])
      yield* run(true, true)
      expect(done).toEqual(["undo two"])
      yield* run(false, true)
      expect(done).toEqual(["undo two", "undo two", "undo one"])
    })
  )
})
