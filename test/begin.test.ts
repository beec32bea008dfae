/**
 * A session that is used before it has begun: by layers of its tools and of its first agent.
 */
import { Context, Effect, Exit, Fiber, Layer, type Scope } from "effect"
import { Agent, AgentSession, AsyncToolset, type ChatContext } from "effect-meantime"
import { ScriptedModel, TestSession } from "effect-meantime/testing"
import { describe, expect } from "vitest"
import { agent, logs, talk, toolset } from "./support/scopes.js"
import { it } from "./support/virtual.js"

type Use = (session: AgentSession.Service) => Effect.Effect<unknown, unknown, Scope.Scope>

/** A layer that uses the session itself, or in a fiber that it starts. */
const using = (use: Use) =>
  Layer.scopedDiscard(Effect.orDie(Effect.flatMap(AgentSession.AgentSession, use)) as Effect.Effect<void, never, never>)
const starting = (use: Use) => using((session) => Effect.forkScoped(use(session)))

const first = (layer: Layer.Layer<never, never, AgentSession.AgentSession>, options = {}) =>
  agent("first", options).pipe(Agent.provide(layer)) as Agent.Agent<never>

const script = ScriptedModel.layer(["One.", "Two.", "Three.", "Four."])

const places: Record<
  string,
  (layer: Layer.Layer<never, never, AgentSession.AgentSession>) => Parameters<typeof talk>[0]
> = {
  "the first agent": (layer) => ({ agent: first(layer) }),
  "a toolset of the first agent": (layer) => ({
    agent: agent("first", { sets: [toolset("set", {}).pipe(AsyncToolset.provide(layer)) as never] })
  }),
  "a toolset of the session": (layer) => ({
    agent: agent("first"),
    tools: [toolset("set", {}).pipe(AsyncToolset.provide(layer)) as never]
  })
}

for (const [place, options] of Object.entries(places)) {
  describe(`a layer of ${place}`, () => {
    it.scoped("[L2] [S4] starts a fiber that hands over: the other agent takes over, and the session stands", () =>
      Effect.gen(function* () {
        let ended: Exit.Exit<unknown, unknown> | undefined
        const { agentName, asked, handoffs, say, said } = yield* talk(
          options(
            starting((session) =>
              Effect.onExit(session.handoff(agent("second")), (exit) => Effect.sync(() => (ended = exit)))
            )
          )
        )
        // with its agent goes what a layer of it has started
        expect(ended).toSatisfy((exit: Exit.Exit<unknown>) => Exit.isSuccess(exit) || Exit.isInterrupted(exit))
        if (place === "a toolset of the session") expect(ended).toEqual(Exit.void)
        expect(yield* handoffs).toEqual([["first", "second"]])
        expect(yield* agentName).toBe("second")
        yield* say("Hello")
        expect(yield* said).toEqual(["One."])
        expect(yield* asked).toEqual(["second"])
      }).pipe(Effect.provide(script))
    )

    it.scoped("[L2] says something itself: it is said once the session has begun", () =>
      Effect.gen(function* () {
        let spoken: ReadonlyArray<unknown> = []
        const { said, session } = yield* talk(
          options(
            using((session) =>
              Effect.gen(function* () {
                const speech = yield* session.say("Welcome.")
                spoken = [yield* speech.done, yield* session.currentAgent, yield* session.runningTools]
              })
            )
          )
        )
        expect(spoken).toEqual([false, { name: "first" }, []])
        expect(yield* said).toEqual(["Welcome."])
        yield* session.waitForIdle
      }).pipe(Effect.provide(script))
    )

    it.scoped("[L2] [R1] starts fibers that send, run, generate and wait: all of it is done, in order", () =>
      Effect.gen(function* () {
        const done: Array<string> = []
        const { asked, said, session, transcript } = yield* talk(
          options(
            Layer.mergeAll(
              using((session) => session.send("From the layer")),
              starting((session) =>
                Effect.map(session.run("From a fiber"), ({ text }) => void done.push(`run: ${text}`))
              ),
              starting((session) => Effect.map(session.waitForIdle, () => void done.push("idle"))),
              starting((session) =>
                session.generateReply().pipe(
                  Effect.flatMap((speech) => speech.wait),
                  Effect.tap(() => Effect.sync(() => done.push("reply")))
                )
              )
            )
          )
        )
        yield* TestSession.settle
        expect(yield* said).toEqual(["One.", "Two.", "Three."])
        expect(new Set(yield* asked)).toEqual(new Set(["first"]))
        expect(done.toSorted()).toEqual(["idle", "reply", "run: Two."])
        expect(done.at(-1)).toBe("idle")
        expect(yield* transcript).toContain("user: From the layer")
        yield* session.waitForIdle
      }).pipe(Effect.provide(script))
    )
  })
}

describe("a session that is used before it has begun", () => {
  it.scoped("[L2] [N2] what is said stands behind the conversation that was given", () =>
    Effect.gen(function* () {
      const history: ChatContext.ChatContext = {
        items: [{ _tag: "Message", id: "item_7", createdAt: 0, role: "user", text: "Before", interrupted: false }]
      }
      const { session } = yield* talk({ agent: first(using((session) => session.send("After"))), history })
      const { items } = yield* session.history
      expect(items.map((item) => (item._tag === "Message" ? [item.id, item.text] : []))).toEqual([
        ["item_7", "Before"],
        ["item_8", "After"],
        ["item_9", "One."]
      ])
    }).pipe(Effect.provide(script))
  )

  it.scoped("[L2] [S6] an agent that begins without the conversation so far is shown what was said to it", () =>
    Effect.gen(function* () {
      const history: ChatContext.ChatContext = {
        items: [{ _tag: "Message", id: "item_7", createdAt: 0, role: "user", text: "Before", interrupted: false }]
      }
      const { transcript } = yield* talk({
        agent: first(
          using((session) => session.send("After")),
          { context: "empty" }
        ),
        history
      })
      const shown = yield* transcript
      expect(shown).toContain("After")
      expect(shown).not.toContain("Before")
    }).pipe(Effect.provide(script))
  )

  it.scoped("[L2] who waits while layers take their time may give up, or interrupt", () =>
    Effect.gen(function* () {
      const making = yield* Effect.fork(
        talk({
          agent: first(
            Layer.mergeAll(
              starting((session) => Effect.timeout(session.handoff(agent("second")), "1 second")),
              starting((session) =>
                Effect.gen(function* () {
                  const speech = yield* session.say("Never said.")
                  yield* speech.interrupt()
                  yield* session.say("Said.")
                })
              ),
              using(() => Effect.sleep("3 seconds"))
            )
          )
        })
      )
      yield* TestSession.advance("5 seconds")
      const { agentName, said } = yield* Fiber.join(making)
      expect(yield* said).toEqual(["Said."])
      expect(yield* agentName).toBe("first")
    }).pipe(Effect.provide(script))
  )

  it.effect("[L2] [L3] if it cannot be made, whoever waits for it is told that it is closed", () =>
    Effect.gen(function* () {
      const ended: Array<string> = []
      const told = (name: string, use: Use): Layer.Layer<never, never, AgentSession.AgentSession> =>
        using((session) =>
          Effect.forkDaemon(
            Effect.scoped(use(session)).pipe(
              Effect.flip,
              Effect.tap((error) =>
                Effect.sync(() => ended.push(`${name} ${(error as { readonly _tag: string })._tag}`))
              )
            )
          )
        )
      const making = Effect.scoped(
        AgentSession.make({
          agent: first(
            Layer.mergeAll(
              told("handoff", (session) => session.handoff(agent("second"))),
              told("run", (session) => session.run("Hello")),
              told("idle", (session) => session.waitForIdle),
              Layer.effectDiscard(Effect.zipRight(Effect.sleep("1 second"), Effect.die("no")))
            )
          )
        })
      )
      const exit = yield* Effect.fork(Effect.exit(making))
      yield* TestSession.advance("2 seconds")
      expect(Exit.isFailure(yield* Fiber.join(exit))).toBe(true)
      yield* TestSession.settle
      expect(ended.toSorted()).toEqual(["handoff SessionClosed", "idle SessionClosed", "run SessionClosed"])
    }).pipe(Effect.provide([script, logs().layer]), Effect.provide(Context.empty()))
  )
})
