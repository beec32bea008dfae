/**
 * What holds of `Sessions` whichever layer runs them: a suite that is given the layer. What only a local layer can show
 * (who owns a scope, `local`, fibers) is in `Sessions.test.ts`.
 */
import { LanguageModel, Toolkit } from "@effect/ai"
import { Context, Effect, Exit, Fiber, Layer, Schema, Scope, Stream } from "effect"
import {
  Agent,
  type AgentSession,
  AsyncTool,
  type ChatContext,
  RunContext,
  type SessionEvent,
  Sessions
} from "effect-meantime"
import { ScriptedModel, TestSession } from "effect-meantime/testing"
import { describe, expect } from "vitest"
import { now } from "./talk.js"
import { it } from "./virtual.js"

export type Options = AgentSession.Options<any, ReadonlyArray<any>, ReadonlyArray<Agent.Agent<any>>>

/** A layer of sessions to try. What it needs beside is in it, but for the model. */
export type LayerOf = (
  options: (sessionId: string) => Effect.Effect<Options, unknown, Scope.Scope>,
  settings?: Sessions.Settings
) => Layer.Layer<Sessions.Sessions, never, LanguageModel.LanguageModel>

const Slow = AsyncTool.make("slow", { success: Schema.String, allowCancellation: true })
const Wait = AsyncTool.make("wait", { success: Schema.String, allowCancellation: true, messages: true })
const Stay = AsyncTool.make("stay", { success: Schema.String })
const Pay = AsyncTool.make("pay", {
  success: Schema.String,
  parameters: { amount: Schema.optional(Schema.Number) },
  needsApproval: true
})
const kit = Toolkit.make(Slow, Wait, Stay, Pay)
const kitLive = kit.toLayer({
  slow: () => Effect.zipRight(RunContext.update("at it"), Effect.as(Effect.sleep("10 seconds"), "slow is done")),
  wait: () => Effect.as(Effect.sleep("1 hour"), "waited"),
  // may not be cancelled
  stay: () => Effect.as(Effect.sleep("1 hour"), "stayed"),
  pay: ({ amount = 900 }) => Effect.succeed(`paid ${amount}`)
})

const Billing = Agent.make("billing", { instructions: "I am billing." })
export const Front = Agent.make("front", { instructions: "I am front.", tools: [kit] }).pipe(Agent.provide(kitLive))
const Broken = Agent.make("broken", { instructions: "I am broken." }).pipe(
  Agent.provide(Layer.effectDiscard(Effect.die(new Error("no database"))))
)

/** Says back what it hears, and calls a tool by its name. */
const respond: ScriptedModel.Respond = ({ prompt, tools }) => {
  const last = prompt.content.at(-1)
  const said = last?.role === "user" ? last.content.map((part) => (part.type === "text" ? part.text : "")).join("") : ""
  if (tools.some(({ name }) => name === said))
    return [ScriptedModel.toolCall(said, {}, { id: `call_${prompt.content.length}` })]
  return last?.role === "tool" ? "I look." : said.startsWith("<") || said.length > 40 ? "News." : `You said ${said}.`
}

export interface World {
  readonly sessions: Sessions.Service
  /** closes the layer while the clock moves */
  readonly close: Effect.Effect<void>
  readonly model: ScriptedModel.Service
}

/** Sessions of a layer, which closes with the test. */
export const open = (
  layerOf: LayerOf,
  options: (sessionId: string) => Effect.Effect<Partial<Options>, unknown, Scope.Scope> = () => Effect.succeed({}),
  settings?: Sessions.Settings
): Effect.Effect<World, never, Scope.Scope> =>
  Effect.gen(function* () {
    const { languageModel, service: model } = yield* ScriptedModel.make(respond)
    const scope = yield* Scope.make()
    const close = TestSession.drive(Effect.uninterruptible(Scope.close(scope, Exit.void)))
    yield* Effect.addFinalizer(() => close)
    const layer = layerOf(
      (id) => Effect.map(options(id), (given) => ({ agent: Front, agents: [Billing, Broken], ...given })),
      settings
    )
    const context = yield* Layer.buildWithScope(layer, scope).pipe(
      Effect.provideService(LanguageModel.LanguageModel, languageModel)
    )
    return { sessions: Context.get(context, Sessions.Sessions), close, model }
  })

export const lines = ({ items }: ChatContext.ChatContext): ReadonlyArray<string> =>
  items.map((item) =>
    item._tag === "Message"
      ? item.text.trim()
      : "callId" in item
        ? `${item._tag === "FunctionCall" ? "?" : "!"}${item.callId}`
        : `to ${item._tag === "AgentHandoff" ? item.to : item._tag}`
  )

const shown = (event: SessionEvent.SessionEvent): string =>
  event._tag === "ItemAdded" ? (lines({ items: [event.item] })[0] as string) : event._tag

/** Collects what a stream gives, from now on. */
export const listen = (stream: Stream.Stream<SessionEvent.SessionEvent, Sessions.SessionsError>) =>
  Effect.gen(function* () {
    const events: Array<SessionEvent.SessionEvent> = []
    const fiber = yield* Effect.forkScoped(
      Effect.exit(Stream.runForEach(stream, (event) => Effect.sync(() => events.push(event))))
    )
    yield* TestSession.settle
    return {
      events,
      items: () => events.flatMap((event) => (event._tag === "ItemAdded" ? [shown(event)] : [])),
      shown: () => events.map(shown),
      ended: Effect.map(Effect.zipRight(TestSession.settle, Fiber.poll(fiber)), (exit) => exit._tag === "Some")
    }
  })

export const sessionsSuite = (name: string, layerOf: LayerOf): void => {
  describe(`${name}: sessions by id`, () => {
    it.scoped("[R6] get makes a session, or finds it; ids lists the open ones", () =>
      Effect.gen(function* () {
        const made: Array<string> = []
        const { sessions } = yield* open(layerOf, (id) =>
          Effect.as(
            Effect.sync(() => made.push(id)),
            {}
          )
        )
        expect(yield* sessions.ids).toEqual([])
        const one = yield* sessions.get("one")
        expect(one.id).toBe("one")
        const { text } = yield* one.run("hello").pipe(TestSession.drive)
        expect(text).toBe("You said hello.")
        const again = yield* sessions.get("one")
        expect(lines(yield* again.history)).toEqual(["hello", "You said hello."])
        yield* sessions.get("two")
        expect((yield* sessions.ids).toSorted()).toEqual(["one", "two"])
        expect(made).toEqual(["one", "two"])
        expect(lines(yield* (yield* sessions.get("two")).history)).toEqual([])
      })
    )

    it.scoped("[R6] ids may be any text", () =>
      Effect.gen(function* () {
        const { sessions } = yield* open(layerOf)
        const odd = ["", "__proto__", "a/b?c=d", "😀", " "]
        for (const id of odd) yield* (yield* sessions.get(id)).run(`I am ${id}`).pipe(TestSession.drive)
        for (const id of odd) expect(lines(yield* (yield* sessions.get(id)).history)[0]).toBe(`I am ${id}`.trim())
        expect((yield* sessions.ids).length).toBe(odd.length)
      })
    )

    it.scoped("[R6] of many who ask at once one session is made", () =>
      Effect.gen(function* () {
        let made = 0
        const { sessions } = yield* open(layerOf, () =>
          Effect.zipRight(
            Effect.sleep("5 seconds"),
            Effect.sync(() => {
              made++
              return {}
            })
          )
        )
        const all = yield* Effect.forkScoped(
          Effect.forEach(Array.from({ length: 20 }), () => sessions.get("one"), { concurrency: "unbounded" })
        )
        yield* TestSession.advance("5 seconds")
        expect(yield* Fiber.join(all)).toHaveLength(20)
        expect(made).toBe(1)
      })
    )

    it.scoped("[R6] [R8] send takes its options, and ends once the session has the message", () =>
      Effect.gen(function* () {
        const { sessions } = yield* open(layerOf)
        const one = yield* sessions.get("one")
        yield* one.send("hello", { author: "Ann", id: "t1" })
        yield* one.send("hello", { author: "Ann", id: "t1" })
        yield* TestSession.advance("1 second")
        expect(lines(yield* one.history)).toEqual(["hello", "You said Ann: hello."])
        expect((yield* one.history).items[0]).toMatchObject({ author: "Ann" })
      })
    )

    it.scoped(
      "[R6] [U9] [G1] runningTools, release, messageTool, cancelTool and interrupt are those of the session",
      () =>
        Effect.gen(function* () {
          const { sessions } = yield* open(layerOf)
          const one = yield* sessions.get("one")
          yield* one.send("wait")
          yield* TestSession.settle
          const [running] = yield* one.runningTools
          expect(running?.name).toBe("wait")
          yield* one.release(running?.callId as string)
          expect((yield* Effect.flip(one.release("nobody")))._tag).toBe("ToolError")
          yield* one.messageTool(running?.callId as string, { hurry: true })
          expect((yield* Effect.flip(one.messageTool("nobody", "hurry")))._tag).toBe("ToolError")
          yield* one.cancelTool(running?.callId as string)
          expect(yield* one.runningTools).toEqual([])
          expect((yield* Effect.flip(one.cancelTool("nobody")))._tag).toBe("ToolError")
          yield* TestSession.settle
          yield* one.interrupt
          yield* one.send("wait", { allowInterruptions: false })
          yield* TestSession.settle
          const error = yield* Effect.flip(one.interrupt)
          expect(error).toMatchObject({ _tag: "SessionsError", sessionId: "one" })
          expect(error.message).toContain("interrupt")
        })
    )

    it.scoped("[R6] [A4] [A5] [A6] approvals, approve, deny and respond are those of the session", () =>
      Effect.gen(function* () {
        const { sessions } = yield* open(layerOf)
        const one = yield* sessions.get("one")
        /** asks for one more payment, which waits: its id */
        const asked = Effect.gen(function* () {
          yield* one.send("pay")
          yield* TestSession.settle
          return (yield* one.approvals).at(-1)?.callId as string
        })
        const told = yield* listen(one.events())
        expect(yield* one.approvals).toEqual([])
        const first = yield* asked
        expect(yield* one.approvals).toEqual([
          { callId: first, name: "pay", arguments: {}, agent: "front", requestedAt: expect.any(Number) }
        ])
        // what is given is a copy, and what is decided is decided of the session's own call
        ;((yield* one.approvals)[0] as { arguments: unknown }).arguments = { amount: 1_000_000 }
        yield* one.approve(first, { by: "ann" })
        const second = yield* asked
        const unfit = yield* Effect.flip(one.approve(second, { arguments: { amount: "much" } }))
        expect(unfit).toMatchObject({ _tag: "ToolError", message: expect.stringContaining("amount") })
        yield* one.approve(second, { arguments: { amount: 90 } })
        const third = yield* asked
        yield* one.deny(third, { by: "bob", reason: "too much" })
        const fourth = yield* asked
        expect((yield* Effect.flip(one.respond(fourth, 5)))._tag).toBe("ToolError")
        yield* one.respond(fourth, "paid by hand", { by: "bob" })
        yield* TestSession.settle
        expect(yield* one.approvals).toEqual([])
        const outputs = (yield* one.history).items.flatMap((item) =>
          item._tag === "FunctionCallOutput" && item.callId.endsWith("_final") ? [item.output] : []
        )
        expect(outputs).toEqual(["paid 900", "paid 90", expect.stringContaining("too much"), "paid by hand"])
        expect(
          told.events.flatMap((event) =>
            event._tag === "ApprovalDecided" ? [[event.callId, event.decision, event.by]] : []
          )
        ).toEqual([
          [first, "approved", "ann"],
          [second, "edited", undefined],
          [third, "denied", "bob"],
          [fourth, "answered", "bob"]
        ])
        // the first decision has won, and nobody decides about what does not wait
        for (const callId of [first, third, "nobody"]) {
          expect((yield* Effect.flip(one.approve(callId)))._tag).toBe("ToolError")
          expect((yield* Effect.flip(one.deny(callId)))._tag).toBe("ToolError")
          expect((yield* Effect.flip(one.respond(callId, "paid")))._tag).toBe("ToolError")
        }
      })
    )

    it.scoped("[R6] [A4] a call of one conversation is none of another's", () =>
      Effect.gen(function* () {
        const { sessions } = yield* open(layerOf)
        const [one, two] = [yield* sessions.get("one"), yield* sessions.get("two")]
        for (const session of [one, two]) yield* session.send("pay")
        yield* TestSession.settle
        const [mine] = yield* one.approvals
        // the model gave both the same id: the handle says whose it is
        expect((yield* two.approvals)[0]?.callId).toBe(mine?.callId)
        yield* two.deny(mine?.callId as string)
        expect(yield* two.approvals).toEqual([])
        expect(yield* one.approvals).toEqual([mine])
      })
    )

    it.scoped("[R6] [A9] run comes back without a decision, and tells what waits", () =>
      Effect.gen(function* () {
        const { sessions } = yield* open(layerOf)
        const one = yield* sessions.get("one")
        const { approvals, text } = yield* one.run("pay").pipe(TestSession.drive)
        expect(text).toBe("I look.")
        expect(approvals).toEqual(yield* one.approvals)
        expect(approvals).toHaveLength(1)
      })
    )

    it.scoped("[R6] handoff is by name, among the session's agents", () =>
      Effect.gen(function* () {
        const { sessions } = yield* open(layerOf)
        const one = yield* sessions.get("one")
        yield* one.handoff("billing")
        expect(lines(yield* one.history)).toEqual(["to billing"])
        const unknown = yield* Effect.flip(one.handoff("nobody"))
        expect(unknown._tag).toBe("ToolError")
        expect(unknown.message).toContain('"nobody"')
        const broken = yield* Effect.flip(one.handoff("broken"))
        expect(broken).toMatchObject({ _tag: "ToolError", message: 'The agent "broken" is not available.' })
        yield* one.handoff("front")
        expect(lines(yield* one.history)).toEqual(["to billing", "to front"])
      })
    )

    it.scoped("[R6] [R3] a failing model fails run", () =>
      Effect.gen(function* () {
        const { sessions } = yield* open(layerOf, () =>
          Effect.gen(function* () {
            const { languageModel } = yield* ScriptedModel.make([])
            return { agent: Front.pipe(Agent.provide(Layer.succeed(LanguageModel.LanguageModel, languageModel))) }
          })
        )
        const one = yield* sessions.get("one")
        const error = yield* Effect.flip(one.run("hello"))
        expect(error._tag).not.toBe("SessionsError")
        expect(lines(yield* one.history)).toEqual(["hello"])
      })
    )
  })

  describe(`${name}: what a listener is told`, () => {
    it.scoped(
      "[R6] [N7] with after, what comes behind that item first, then what happens; nothing is lost or told twice",
      () =>
        Effect.gen(function* () {
          const { sessions } = yield* open(layerOf)
          const one = yield* sessions.get("one")
          for (const text of ["a", "b"]) yield* one.run(text).pipe(TestSession.drive)
          const { items } = yield* one.history
          for (const [after, expected] of [
            [items[1]?.id, ["b", "You said b.", "c", "You said c."]],
            [items[3]?.id, ["c", "You said c."]],
            ["", ["a", "You said a.", "b", "You said b.", "c", "You said c."]],
            ["unknown", ["a", "You said a.", "b", "You said b.", "c", "You said c."]]
          ] as const) {
            const session = yield* sessions.get(`copy of ${after}`)
            for (const text of ["a", "b"]) yield* session.run(text).pipe(TestSession.drive)
            const listener = yield* listen(session.events({ after }))
            yield* session.run("c").pipe(TestSession.drive)
            yield* TestSession.settle
            expect(listener.items()).toEqual(expected)
          }
        })
    )

    it.scoped(
      "[R6] [N7] whenever a listener comes, in the middle of turns too, it has each item once and in order",
      () =>
        Effect.gen(function* () {
          const { sessions } = yield* open(layerOf, () => Effect.succeed({ maxToolSteps: 5 }))
          const one = yield* sessions.get("one")
          const listeners: Array<Effect.Effect.Success<ReturnType<typeof listen>>> = []
          for (const text of ["a", "slow", "b", "wait", "c", "slow", "d"]) {
            yield* one.send(text)
            for (let i = 0; i < 3; i++) {
              listeners.push(yield* listen(one.events({ after: "" })))
              yield* TestSession.advance("2 seconds")
            }
          }
          yield* TestSession.advance("2 hours")
          const { items } = yield* one.history
          expect(items.length).toBeGreaterThan(20)
          for (const { events } of listeners) {
            expect(events.flatMap((event) => (event._tag === "ItemAdded" ? [event.item.id] : []))).toEqual(
              items.map(({ id }) => id)
            )
          }
        })
    )

    it.scoped("[R6] [N7] a listener that comes back goes on where it was, over a close of the session", () =>
      Effect.gen(function* () {
        const { sessions } = yield* open(layerOf)
        const one = yield* sessions.get("one")
        const first = yield* listen(one.events({ after: "" }))
        yield* one.run("a").pipe(TestSession.drive)
        yield* sessions.close("one").pipe(TestSession.drive)
        expect(yield* first.ended).toBe(true)
        expect(first.shown().at(-1)).toBe("SessionClosed")
        const last = first.events.findLast((event) => event._tag === "ItemAdded")
        yield* one.run("b").pipe(TestSession.drive)
        const second = yield* listen(one.events({ after: last?._tag === "ItemAdded" ? last.item.id : "" }))
        yield* one.run("c").pipe(TestSession.drive)
        yield* TestSession.settle
        expect(first.items().concat(second.items())).toEqual(lines(yield* one.history))
      })
    )

    it.scoped("[R6] [E1] without after it is told what happens", () =>
      Effect.gen(function* () {
        const { sessions } = yield* open(layerOf)
        const one = yield* sessions.get("one")
        yield* one.run("a").pipe(TestSession.drive)
        const before = yield* listen(one.events())
        const listener = yield* listen(one.events())
        yield* one.run("b").pipe(TestSession.drive)
        yield* TestSession.settle
        expect(listener.items()).toEqual(["b", "You said b."])
        expect(before.items().slice(-2)).toEqual(["b", "You said b."])
        expect(listener.shown()).toContain("SpeechCreated")
      })
    )
  })

  describe(`${name}: the end of a session`, () => {
    it.scoped(
      "[R6] [R5] close ends it and keeps its history; an old handle goes on with it, without a second greeting",
      () =>
        Effect.gen(function* () {
          let greetings = 0
          const Greeter = Agent.make("greeter", {
            instructions: "I greet.",
            onEnter: Effect.sync(() => void greetings++)
          })
          const { sessions } = yield* open(layerOf, () => Effect.succeed({ agent: Greeter }))
          const one = yield* sessions.get("one")
          yield* one.run("a").pipe(TestSession.drive)
          yield* one.handoff("billing")
          yield* sessions.close("one").pipe(TestSession.drive)
          expect(yield* sessions.ids).toEqual([])
          yield* one.run("b").pipe(TestSession.drive)
          expect(yield* sessions.ids).toEqual(["one"])
          expect(lines(yield* one.history)).toEqual(["a", "You said a.", "to billing", "b", "You said b."])
          expect(greetings).toBe(1)
          // the agent is the one to whom it was handed
          yield* one.handoff("greeter")
          expect(lines(yield* one.history).at(-1)).toBe("to greeter")
        })
    )

    it.scoped("[R6] end closes it for good; whoever asks for it later gets a new one", () =>
      Effect.gen(function* () {
        const { sessions } = yield* open(layerOf)
        const one = yield* sessions.get("one")
        yield* one.run("a").pipe(TestSession.drive)
        yield* one.end.pipe(TestSession.drive)
        expect(yield* sessions.ids).toEqual([])
        expect(lines(yield* one.history)).toEqual([])
        yield* one.run("b").pipe(TestSession.drive)
        yield* sessions.close("one").pipe(TestSession.drive)
        // it does not open what is closed
        yield* one.end
        expect(yield* sessions.ids).toEqual([])
        expect(lines(yield* one.history)).toEqual([])
      })
    )

    it.scoped("[R6] close and end of an id that nobody asked for do nothing", () =>
      Effect.gen(function* () {
        const { sessions } = yield* open(layerOf)
        yield* sessions.close("nobody")
        expect(yield* sessions.ids).toEqual([])
      })
    )

    it.scoped("[R6] a session that closes in the middle fails run", () =>
      Effect.gen(function* () {
        const { sessions } = yield* open(layerOf)
        const one = yield* sessions.get("one")
        const run = yield* Effect.forkScoped(Effect.flip(one.run("wait")))
        yield* TestSession.settle
        yield* sessions.close("one").pipe(TestSession.drive)
        expect((yield* Fiber.join(run))._tag).toBe("SessionClosed")
      })
    )

    it.scoped("[R6] idleAfter: a session with nothing open is closed after that time, and comes back", () =>
      Effect.gen(function* () {
        const { sessions } = yield* open(layerOf, undefined, { idleAfter: "10 minutes" })
        const one = yield* sessions.get("one")
        yield* one.run("a").pipe(TestSession.drive)
        const listener = yield* listen(one.events())
        yield* TestSession.advance("9 minutes")
        expect(yield* sessions.ids).toEqual(["one"])
        // being asked for starts the time anew
        yield* one.history
        yield* TestSession.advance("9 minutes")
        expect(yield* sessions.ids).toEqual(["one"])
        yield* TestSession.advance("1 minute")
        expect(yield* sessions.ids).toEqual([])
        expect(yield* listener.ended).toBe(true)
        yield* one.run("b").pipe(TestSession.drive)
        expect(lines(yield* one.history)).toEqual(["a", "You said a.", "b", "You said b."])
      })
    )

    it.scoped("[R6] a call at work, a reply that waits, keep it open", () =>
      Effect.gen(function* () {
        const { sessions } = yield* open(layerOf, undefined, { idleAfter: "1 second" })
        const one = yield* sessions.get("one")
        yield* one.send("slow")
        yield* TestSession.advance("9 seconds")
        expect(yield* sessions.ids).toEqual(["one"])
        // its result is voiced before the time begins
        yield* TestSession.advance("1500 millis")
        expect(yield* sessions.ids).toEqual(["one"])
        yield* TestSession.advance("1 second")
        expect(yield* sessions.ids).toEqual([])
        expect(lines(yield* one.history).at(-1)).toBe("News.")
      })
    )

    it.scoped("[R6] [A6] a call that waits for approval keeps it open, until it has been decided", () =>
      Effect.gen(function* () {
        const { sessions } = yield* open(layerOf, undefined, { idleAfter: "1 second" })
        const one = yield* sessions.get("one")
        yield* one.send("pay")
        yield* TestSession.advance("30 days")
        expect(yield* sessions.ids).toEqual(["one"])
        const [waiting] = yield* one.approvals
        yield* one.deny(waiting?.callId as string)
        yield* TestSession.advance("1100 millis")
        expect(yield* sessions.ids).toEqual([])
        expect(lines(yield* one.history).at(-1)).toBe("News.")
      })
    )

    it.scoped("[R6] [A7] [A10] close withdraws what waits: whoever comes back finds that it has not run", () =>
      Effect.gen(function* () {
        const { sessions } = yield* open(layerOf)
        const one = yield* sessions.get("one")
        yield* one.send("pay")
        yield* TestSession.settle
        const [waiting] = yield* one.approvals
        const listener = yield* listen(one.events())
        yield* sessions.close("one").pipe(TestSession.drive)
        expect(listener.events.flatMap((event) => (event._tag === "ApprovalDecided" ? [event.decision] : []))).toEqual([
          "withdrawn"
        ])
        expect(yield* one.approvals).toEqual([])
        expect((yield* Effect.flip(one.approve(waiting?.callId as string)))._tag).toBe("ToolError")
        expect(lines(yield* one.history).at(-1)).toBe(`!${waiting?.callId}_final`)
      })
    )

    it.scoped("[R6] a handle that is being used keeps it open", () =>
      Effect.gen(function* () {
        const { sessions } = yield* open(layerOf, undefined, { idleAfter: "1 second" })
        const one = yield* sessions.get("one")
        const run = yield* Effect.forkScoped(one.run("wait"))
        yield* TestSession.advance("59 minutes")
        expect(yield* sessions.ids).toEqual(["one"])
        yield* TestSession.advance("1 minute")
        expect((yield* Fiber.join(run)).text).toBe("I look.")
      })
    )

    it.scoped("[R6] without idleAfter none is closed for being idle", () =>
      Effect.gen(function* () {
        const { sessions } = yield* open(layerOf)
        yield* sessions.get("one")
        yield* TestSession.advance("1000 days")
        expect(yield* sessions.ids).toEqual(["one"])
      })
    )

    it.scoped("[R6] closing the layer closes all, side by side; nothing can be had of it any more", () =>
      Effect.gen(function* () {
        const { close, sessions } = yield* open(layerOf, () => Effect.succeed({ drainTimeout: "10 seconds" }))
        const handles = yield* Effect.forEach(["one", "two", "three"], (id) => sessions.get(id))
        yield* Effect.forEach(handles, (handle) => handle.send("stay"))
        yield* TestSession.settle
        const listeners = yield* Effect.forEach(handles, (handle) => listen(handle.events({ after: "" })))
        const before = yield* now
        yield* close
        expect((yield* now) - before).toBe(10_000)
        for (const { ended, items } of listeners) {
          expect(yield* ended).toBe(true)
          expect(items().at(-1)).toMatch(/^!call/)
        }
        expect(yield* sessions.ids).toEqual([])
        const error = yield* Effect.flip(sessions.get("one"))
        expect(error).toMatchObject({ _tag: "SessionsError", sessionId: "one" })
        expect((yield* Effect.flip((handles[0] as Sessions.Handle).history))._tag).toBe("SessionsError")
        expect((yield* Effect.flip((handles[0] as Sessions.Handle).approve("call")))._tag).toBe("SessionsError")
      })
    )
  })
}
