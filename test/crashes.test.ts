/**
 * Scripted conversations whose process dies before, after and during each of their writes (rules Q): whatever was lost, the
 * next life goes on, and what must hold of a conversation holds over all its lives.
 */
import { Effect, Exit, Schema, type Scope } from "effect"
import { Agent, AgentSession, RunContext, type SessionEvent, type SessionStorage } from "effect-meantime"
import { ScriptedModel, TestSession } from "effect-meantime/testing"
import { describe, expect } from "vitest"
import { type Crash, type Life, type LifeSetup, live, type Moment, makeWorld, type World } from "./support/lives.js"
import { times } from "./support/times.js"
import { it } from "./support/virtual.js"

const { toolCall } = ScriptedModel

/** What a user does, at which second. */
type Act =
  | { readonly at: number; readonly say: string; readonly interrupt?: boolean }
  | { readonly at: number; readonly approve: string }
  | { readonly at: number; readonly cancel: string }

interface Story {
  readonly setup: LifeSetup
  readonly acts: ReadonlyArray<Act>
  readonly seconds: number
}

interface Told {
  readonly world: World
  readonly life: Life
  readonly events: ReadonlyArray<SessionEvent.SessionEvent>
  readonly writes: number
  readonly crashed: boolean
}

/** Tells the story; the user does again what the process did not take. */
const tell = (story: Story, crashes: ReadonlyArray<Crash>): Effect.Effect<Told, never, Scope.Scope> =>
  Effect.gen(function* () {
    const world = yield* makeWorld
    const left = [...crashes]
    const events: Array<SessionEvent.SessionEvent> = []
    let writes = 0
    let crashed = false
    const begin = Effect.suspend(() => {
      const crash = left.shift()
      return Effect.orDie(live(world, crash === undefined ? story.setup : { ...story.setup, crash }))
    })
    let life = yield* begin
    const goOn = Effect.gen(function* () {
      while (life.isOver()) {
        crashed = true
        events.push(...(yield* life.events.all))
        writes += life.writes()
        life = yield* begin
        yield* TestSession.settle
        for (const late of world.late.splice(0)) yield* late
      }
    })
    const clock = yield* Effect.clock
    const start = clock.unsafeCurrentTimeMillis()
    const until = (millis: number): Effect.Effect<void, never, Scope.Scope> =>
      Effect.gen(function* () {
        const left = () => start + millis - clock.unsafeCurrentTimeMillis()
        while (left() > 0) {
          yield* TestSession.advance(Math.min(1000, left()))
          yield* goOn
        }
      })
    const act = (one: Act): Effect.Effect<unknown, unknown> => {
      const { session } = life
      if ("say" in one) return session.send(one.say, { id: one.say, interrupt: one.interrupt ?? true })
      return "approve" in one ? session.approve(one.approve) : session.cancelTool(one.cancel)
    }
    for (const one of story.acts) {
      yield* until(one.at * 1000)
      for (let tries = 0; tries < 5; tries++) {
        const before = life
        const fiber = yield* Effect.fork(Effect.exit(Effect.suspend(() => act(one))))
        yield* TestSession.settle
        yield* goOn
        if (before === life || ("say" in one && Exit.isSuccess(yield* fiber))) break
      }
    }
    yield* until(story.seconds * 1000)
    events.push(...(yield* life.events.all))
    writes += life.writes()
    return { world, life, events, writes, crashed }
  })

const count = <A>(all: ReadonlyArray<A>, is: (one: A) => boolean): number => all.filter(is).length

const twice = (all: ReadonlyArray<string>): ReadonlyArray<string> => all.filter((one, i) => all.indexOf(one) !== i)

/** What must hold of each conversation, whatever has happened to its process. */
const expectLawful = (
  { events, life, world }: Told,
  again: ReadonlyArray<string> = []
): Effect.Effect<void, SessionStorage.StorageError> =>
  Effect.gen(function* () {
    const { items } = yield* life.session.history
    expect(twice(items.map(({ id }) => id))).toEqual([])
    const calls = items.flatMap((item) => (item._tag === "FunctionCall" ? [item.callId] : []))
    const outputs = items.flatMap((item) => (item._tag === "FunctionCallOutput" ? [item.callId] : []))
    expect(twice(calls)).toEqual([])
    expect([...outputs].sort()).toEqual([...calls].sort())
    expect(
      twice(items.flatMap((item) => (item._tag === "Message" && item.role === "user" ? [item.text] : [])))
    ).toEqual([])
    // a text that was said in full is said once: the model never says the same
    const said = items.flatMap((item) =>
      item._tag === "Message" && item.role === "assistant" && !item.interrupted ? [item.text] : []
    )
    expect(twice(said).filter((text) => !again.includes(text))).toEqual([])
    const of = (tag: SessionEvent.SessionEvent["_tag"], field: string) =>
      events.flatMap((event) =>
        event._tag === tag ? [String((event as unknown as Record<string, unknown>)[field])] : []
      )
    expect(twice(events.flatMap((event) => (event._tag === "ToolCallStarted" ? [event.call.callId] : [])))).toEqual([])
    expect(twice(of("ToolCallEnded", "callId"))).toEqual([])
    expect(twice(of("ReplyEnded", "replyId"))).toEqual([])
    expect(twice(of("ReplyScheduled", "replyId"))).toEqual([])
    expect(twice(of("SpeechEnded", "speechId"))).toEqual([])
    expect(twice(events.flatMap((event) => (event._tag === "ItemAdded" ? [event.item.id] : [])))).toEqual([])
    expect(twice(of("ToolCallUpdated", "id"))).toEqual([])
    // all is quiet, and nothing is kept but what a quiet session keeps
    expect(
      (yield* world.rows()).map(({ kind }) => kind).filter((kind) => !["item", "session", "turn"].includes(kind))
    ).toEqual([])
    expect(yield* world.storage.unfinished).toEqual([])
    for (const line of world.logs) expect(line).toMatch(/^(WARN|INFO): /)
  })

/** Calls what the user's words stand for, and says else what it was told of: never the same twice. */
const echo =
  (calls: Readonly<Record<string, ReadonlyArray<string>>>): ScriptedModel.Respond =>
  (request) => {
    const { content } = request.prompt
    // what a request adds stands in a frame
    const asked = content
      .flatMap((message) => (message.role === "user" ? message.content : []))
      .flatMap((part) => (part.type === "text" && !part.text.startsWith("[Note") ? [part.text] : []))
      .at(-1) as string
    const made = new Set(ScriptedModel.toolCalls(request).map(({ id }) => id))
    const last = content.at(-1)
    const told = /\(([^)]*)\)/.exec(JSON.stringify(last?.role === "user" ? last.content : ""))?.[1]
    if (last?.role === "tool") return `Saw ${last.content.map((part) => part.id).join(" ")}.`
    if (told !== undefined) return `News ${told}.`
    const names = (calls[asked] ?? []).filter((name) => !made.has(`${name}_${asked}`))
    // asked to go on with what was cut
    const isAsked = last?.role === "user" && JSON.stringify(last.content).includes(asked)
    if (!isAsked && names.length === 0) return `More ${content.length}.`
    return [`On ${asked}.`, ...names.map((name) => toolCall(name, {}, { id: `${name}_${asked}` }))]
  }

const moments: ReadonlyArray<Moment> = ["before", "after", "late"]

/** The same in each place, one after the other, from the first write to the last. */
const everywhere = (
  story: Story,
  alsoHolds: (told: Told) => Effect.Effect<void> = () => Effect.void,
  /** what is said again if it is begun again */
  again: ReadonlyArray<string> = []
) =>
  Effect.gen(function* () {
    const whole = yield* Effect.scoped(
      Effect.tap(tell(story, []), (told) => Effect.zipRight(expectLawful(told, again), alsoHolds(told)))
    )
    for (let at = 1; at <= whole.writes; at += times(6, 2)) {
      for (const moment of moments.slice(0, times(1, 3)).map((_, i) => moments[(at + i) % 3] as Moment)) {
        yield* Effect.scoped(
          Effect.gen(function* () {
            const told = yield* tell(story, [{ at, moment }])
            yield* Effect.zipRight(expectLawful(told, again), alsoHolds(told)).pipe(
              Effect.catchAllDefect((defect) => {
                const lines = told.world.journal.join("\n")
                return Effect.flatMap(told.life.lines, (history) =>
                  Effect.die(new Error(`at write ${at}, ${moment}\n${lines}\n${history.join("\n")}\n${String(defect)}`))
                )
              })
            )
          })
        )
      }
    }
    return whole.writes
  })

const journalOf = ({ world }: Told) => world.journal.map((line) => line.replace(/^\S+ /, ""))

describe("a process that dies at any write", () => {
  const trip: LifeSetup = {
    script: echo({ trip: ["trip"], hello: [] }),
    pace: 20,
    tools: ({ does, note }) => ({
      trip: {
        onRestart: "rerun",
        run: () =>
          Effect.gen(function* () {
            yield* RunContext.update("Searching.")
            yield* RunContext.step("search", does("search", 2), { undo: () => note("undo") })
            yield* RunContext.update("Found one.")
            yield* RunContext.sleep("nap", "2 seconds")
            yield* RunContext.update("Booking.", { delivery: "silent" })
            const paid = yield* RunContext.commit(does("pay", 1))
            yield* RunContext.step("mail", does("mail", 1))
            return paid
          })
      }
    })
  }

  it.scoped(
    "[Q2] to [Q11]: steps, updates, sleeps and a commit; turns beside it",
    () =>
      Effect.gen(function* () {
        const story: Story = {
          setup: trip,
          acts: [
            { at: 0, say: "trip" },
            { at: 3, say: "hello" }
          ],
          seconds: 40
        }
        const writes = yield* everywhere(story, (told) =>
          Effect.gen(function* () {
            const done = journalOf(told)
            expect(count(done, (line) => line === "pay")).toBeLessThanOrEqual(1)
            expect(done).not.toContain("undo")
            const { items } = yield* told.life.session.history
            const updates = items.flatMap((item) =>
              item._tag === "FunctionCall" && item.callId.startsWith("trip_trip") ? [item.callId] : []
            )
            expect(updates.slice(0, 1)).toEqual(["trip_trip"])
            expect(updates.at(-1)).toBe("trip_trip_final")
            const last = items.find((item) => item._tag === "FunctionCallOutput" && item.callId === "trip_trip_final")
            if (last?._tag !== "FunctionCallOutput") throw new Error("no end")
            if (last.isError) {
              // nobody knows of the commit
              expect(last.output).toMatch(/^The outcome of trip is not known/)
            } else {
              expect(last.output).toBe("pay")
              expect(count(done, (line) => line === "pay")).toBe(1)
              expect(updates).toEqual(["trip_trip", "trip_trip_update_1", "trip_trip_update_2", "trip_trip_final"])
            }
            expect(items.filter((item) => item._tag === "Message" && item.role === "user")).toHaveLength(2)
          })
        )
        expect(writes).toBeGreaterThan(20)
      }),
    300_000
  )

  it.scoped(
    "[Q12] [Q13] a call that is cancelled: its steps are undone, in whichever life",
    () =>
      Effect.gen(function* () {
        const setup: LifeSetup = {
          script: echo({ hold: ["hold"] }),
          tools: ({ does, note }) => ({
            hold: {
              onRestart: "rerun",
              allowCancellation: true,
              run: () =>
                Effect.gen(function* () {
                  yield* RunContext.update("Holding.")
                  yield* RunContext.step("one", does("one", 1), { undo: () => note("undo one") })
                  yield* RunContext.step("two", does("two", 1), { undo: () => note("undo two") })
                  yield* does("never", 1000)
                })
            }
          })
        }
        const story: Story = {
          setup,
          acts: [
            { at: 0, say: "hold" },
            { at: 5, cancel: "hold_hold" }
          ],
          seconds: 30
        }
        yield* everywhere(story, (told) =>
          Effect.gen(function* () {
            const done = journalOf(told)
            expect(done.slice(-2)).toEqual(["undo two", "undo one"])
            const { items } = yield* told.life.session.history
            const last = items.find((item) => item._tag === "FunctionCallOutput" && item.callId === "hold_hold_final")
            expect(last).toMatchObject({ output: "hold was cancelled and has stopped." })
          })
        )
      }),
    300_000
  )

  it.scoped(
    "[Q7] [Q8] [Q15] [A10] inline calls, a call that waits for approval, and calls that do not run again",
    () =>
      Effect.gen(function* () {
        const setup: LifeSetup = {
          script: echo({ both: ["look", "slow"], pay: ["pay"] }),
          pace: 20,
          tools: ({ does }) => ({
            look: { onRestart: "rerun", run: () => does("look", 1) },
            slow: { run: () => does("slow", 3) },
            pay: { needsApproval: true, onRestart: "rerun", run: () => RunContext.step("pay", does("pay", 2)) }
          })
        }
        const story: Story = {
          setup,
          acts: [
            { at: 0, say: "both" },
            { at: 6, say: "pay" },
            { at: 9, approve: "pay_pay" }
          ],
          seconds: 40
        }
        yield* everywhere(story, (told) =>
          Effect.gen(function* () {
            const { items } = yield* told.life.session.history
            const of = (callId: string) =>
              items.flatMap((item) =>
                item._tag === "FunctionCallOutput" && item.callId === callId ? [item.output] : []
              )
            expect(of("look_both")).toEqual(["look"])
            // a call that had not come when the process died was never made
            expect(of("slow_both")[0] ?? "slow").toMatch(/^slow$|^The outcome of slow is not known/)
            expect(of("pay_pay_final")).toEqual(["pay"])
          })
        )
      }),
    300_000
  )

  it.scoped(
    "[Q15] [Q16] [Q18] a hand-off with hooks, and what the old agent leaves behind",
    () =>
      Effect.gen(function* () {
        const Billing = Agent.make("billing", { instructions: "Bill." })
        const setup: LifeSetup = {
          script: echo({ move: ["move"], bye: [] }),
          agents: [Billing],
          pace: 20,
          tools: ({ does }) => ({
            move: {
              onRestart: "rerun",
              run: () =>
                Effect.gen(function* () {
                  yield* RunContext.handoff(Billing)
                  yield* RunContext.update("Moving.")
                  yield* RunContext.step("pack", does("pack", 2))
                  return "moved"
                })
            }
          })
        }
        const story: Story = {
          setup,
          acts: [
            { at: 0, say: "move" },
            { at: 6, say: "bye" }
          ],
          seconds: 30
        }
        yield* everywhere(story, (told) =>
          Effect.gen(function* () {
            expect(yield* told.life.session.currentAgent).toEqual({ name: "billing" })
            const { items } = yield* told.life.session.history
            expect(count(items, (item) => item._tag === "AgentHandoff")).toBe(1)
            expect(items.some((item) => item._tag === "FunctionCallOutput" && item.output === "moved")).toBe(true)
          })
        )
      }),
    300_000
  )

  const Email = Agent.task("email", {
    instructions: "Ask for the address.",
    result: Schema.Struct({ email: Schema.String }),
    onEnter: AgentSession.say("Which address?")
  })

  it.scoped(
    "[Q15] [Q16] a task is begun again by its handler, and what the user said to it stays",
    () =>
      Effect.gen(function* () {
        const plain = echo({ ask: ["ask"] })
        const setup: LifeSetup = {
          script: (request, index) => {
            const answers =
              request.prompt.content.at(-1)?.role === "user" &&
              JSON.stringify(request.prompt.content.at(-1)).includes("me@x")
            return answers && request.tools.some(({ name }) => name === "complete")
              ? [toolCall("complete", { email: "me@x" }, { id: `complete_${request.prompt.content.length}` })]
              : plain(request, index)
          },
          pace: 20,
          tools: ({ does }) => ({
            ask: {
              onRestart: "rerun",
              run: () =>
                Effect.gen(function* () {
                  yield* RunContext.update("Asking.")
                  const { email } = yield* RunContext.foreground(RunContext.runTask(Email))
                  yield* RunContext.step("mail", does("mail", 1))
                  return email
                })
            }
          })
        }
        const story: Story = {
          setup,
          acts: [
            { at: 0, say: "ask" },
            { at: 8, say: "me@x" },
            // a task that has begun again asks again
            { at: 20, say: "again me@x" }
          ],
          seconds: 60
        }
        yield* everywhere(
          story,
          (told) =>
            Effect.gen(function* () {
              expect(yield* told.life.session.currentAgent).toEqual({ name: "helper" })
              const { items } = yield* told.life.session.history
              const last = items.find((item) => item._tag === "FunctionCallOutput" && item.callId === "ask_ask_final")
              expect(last).toMatchObject({ output: "me@x" })
              const moves = items.flatMap((item) => (item._tag === "AgentHandoff" ? [item.to] : []))
              // in and out, as often as it was begun
              expect(moves.filter((to) => to === "email").length).toBe(moves.filter((to) => to === "helper").length)
              expect(count(items, (item) => item._tag === "Message" && item.role === "user")).toBe(3)
            }),
          ["Which address?"]
        )
      }),
    300_000
  )

  it.scoped(
    "[Q15] [Q9] calls that join, that replace others, and that are told something",
    () =>
      Effect.gen(function* () {
        const setup: LifeSetup = {
          script: echo({ one: ["join", "slow"], two: ["join", "slow"] }),
          pace: 20,
          tools: ({ does, note }) => ({
            join: {
              onRestart: "rerun",
              onDuplicate: "join",
              run: () => Effect.zipRight(RunContext.update("Joined."), RunContext.step("join", does("join", 6)))
            },
            slow: {
              onRestart: "rerun",
              onDuplicate: "replace",
              allowCancellation: true,
              run: () =>
                Effect.gen(function* () {
                  yield* RunContext.update("Slow.")
                  yield* RunContext.step("begin", does("begin", 1), { undo: () => note("undo") })
                  return yield* RunContext.step("slow", does("slow", 6))
                })
            }
          })
        }
        const story: Story = {
          setup,
          acts: [
            { at: 0, say: "one" },
            { at: 4, say: "two" }
          ],
          seconds: 60
        }
        yield* everywhere(story, (told) =>
          Effect.gen(function* () {
            const { items } = yield* told.life.session.history
            const final = (callId: string) =>
              items.flatMap((item) =>
                item._tag === "FunctionCallOutput" && item.callId === `${callId}_final` ? [item.output] : []
              )
            for (const id of ["join_one", "join_two"])
              if (items.some((item) => "callId" in item && item.callId === id)) expect(final(id)).toEqual(["join"])
            if (items.some((item) => "callId" in item && item.callId === "slow_two"))
              expect(final("slow_two")).toEqual(["slow"])
            const done = journalOf(told)
            // what was replaced is undone, once for each time that this was begun
            if (final("slow_one")[0] !== "slow" && final("slow_one").length > 0) expect(done).toContain("undo")
          })
        )
      }),
    300_000
  )

  it.scoped(
    "[Q2] a process that dies again and again, at any of its writes",
    () =>
      Effect.gen(function* () {
        const story: Story = {
          setup: trip,
          acts: [
            { at: 0, say: "trip" },
            { at: 3, say: "hello" },
            { at: 9, say: "bye" }
          ],
          seconds: 90
        }
        for (let seed = 1; seed <= times(2, 40); seed++) {
          let state = seed * 2654435761
          const next = (most: number) => {
            state = (Math.imul(state, 1664525) + 1013904223) >>> 0
            return (state >>> 8) % most
          }
          const crashes = Array.from({ length: 2 + next(6) }, () => ({
            at: 1 + next(8),
            moment: moments[next(3)] as Moment
          }))
          yield* Effect.scoped(
            Effect.gen(function* () {
              const told = yield* tell(story, crashes)
              expect(count(journalOf(told), (line) => line === "pay")).toBeLessThanOrEqual(1)
              yield* expectLawful(told)
            }).pipe(
              Effect.catchAllDefect((defect) => Effect.die(new Error(`${JSON.stringify(crashes)}\n${String(defect)}`)))
            )
          )
        }
      }),
    300_000
  )
})
