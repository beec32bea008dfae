import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { LanguageModel } from "@effect/ai"
import { describe, expect, it } from "@effect/vitest"
import { Context, Effect, Exit, Layer, Scope } from "effect"
import { Agent, Sessions } from "effect-meantime"
import { ScriptedModel, TestSession, VirtualClock } from "effect-meantime/testing"
import * as Random from "../simulation/random.js"
import { Alive } from "../support/alive.js"

setFlagsFromString("--expose-gc")
const gc = runInNewContext("gc") as () => void

const collected = Effect.gen(function* () {
  for (let i = 0; i < 6; i++) {
    yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
    yield* Effect.sync(gc)
  }
})

const host = Agent.make("host", { instructions: "I am the host." })

const open = (
  options: (id: string) => Effect.Effect<{ readonly agent: Agent.Agent<never> }, unknown, Scope.Scope>,
  settings: Sessions.Settings
) =>
  Effect.gen(function* () {
    const { languageModel } = yield* ScriptedModel.make(() => "Well.")
    const scope = yield* Scope.make()
    const context = yield* Layer.buildWithScope(Sessions.layer(options, settings), scope).pipe(
      Effect.provideService(LanguageModel.LanguageModel, languageModel)
    )
    return {
      sessions: Context.get(context, Sessions.Sessions),
      close: TestSession.drive(Effect.uninterruptible(Scope.close(scope, Exit.void)))
    }
  })

describe("sessions that come and go", () => {
  it.effect("[R6] [S2] of 2,000 that were opened and closed nothing stays: no fiber, no session, no resource", () =>
    Effect.gen(function* () {
      const alive = new Alive()
      let resources = 0
      const { close, sessions } = yield* open(
        () =>
          Effect.as(
            Effect.acquireRelease(
              Effect.sync(() => resources++),
              () => Effect.sync(() => resources--)
            ),
            { agent: host }
          ),
        { idleAfter: "1 minute", maxSessions: 100, maxKept: 50 }
      ).pipe(Effect.supervised(alive))
      const witnesses: Array<WeakRef<object>> = []
      for (let n = 0; n < 2000; n++) {
        const session = yield* sessions.get(`s${n}`)
        yield* session.send("Hello").pipe(Effect.zipRight(VirtualClock.settle))
        yield* Effect.scoped(
          Effect.flatMap(sessions.local(`s${n}`), (local) => Effect.sync(() => witnesses.push(new WeakRef(local))))
        )
        if (n % 10 === 0) yield* sessions.close(`s${n}`)
        if (n % 500 === 499) yield* VirtualClock.advance("1 hour")
      }
      expect(yield* sessions.ids).toEqual([])
      expect(resources).toBe(0)
      expect(alive.fibers.size).toBe(0)
      yield* collected
      // a register or the stack may still hold the last one
      expect(witnesses.filter((ref) => ref.deref() !== undefined).length).toBeLessThan(3)
      yield* close
    }).pipe(Effect.provide(VirtualClock.layer()))
  )

  it.effect("[R6] whatever is asked for in whatever order, there are never too many, and each talk is whole", () =>
    Effect.gen(function* () {
      for (let seed = 1; seed <= 40; seed++) {
        const below = Random.make(seed).int
        const alive = new Alive()
        const open_ = new Map<string, number>()
        let most = 0
        const { close, sessions } = yield* open(
          (id) =>
            Effect.gen(function* () {
              yield* Effect.acquireRelease(
                Effect.sync(() => {
                  open_.set(id, (open_.get(id) ?? 0) + 1)
                  // of one id there is one at a time
                  if (open_.get(id) !== 1) throw new Error(`seed ${seed}: ${id} is open twice`)
                  most = Math.max(most, open_.size)
                }),
                () =>
                  Effect.zipRight(
                    Effect.sleep(below(3) * 100),
                    Effect.sync(() => open_.delete(id))
                  )
              )
              if (below(10) === 0) return yield* Effect.fail(new Error("no"))
              if (below(20) === 0) return yield* Effect.never
              yield* Effect.sleep(below(3) * 100)
              return { agent: host }
            }),
          { idleAfter: 1000, maxSessions: 4 }
        ).pipe(Effect.supervised(alive))
        // what a program was told that was said, of each life of an id
        const said = new Map<string, number>()
        const steps = Effect.forEach(
          Array.from({ length: 60 }),
          () => {
            const id = `s${below(7)}`
            const kind = below(10)
            const handle = Effect.flatMap(sessions.get(id), (session) =>
              kind < 5
                ? Effect.flatMap(session.run("Hi"), () => Effect.sync(() => said.set(id, (said.get(id) ?? 0) + 1)))
                : kind < 6
                  ? session.history
                  : kind < 7
                    ? Effect.zipRight(
                        Effect.sync(() => said.delete(id)),
                        Effect.ensuring(
                          session.end,
                          Effect.sync(() => said.delete(id))
                        )
                      )
                    : kind < 8
                      ? sessions.close(id)
                      : Effect.void
            )
            const asked = kind === 9 ? Effect.timeout(handle, below(4) * 100) : Effect.timeout(handle, "10 seconds")
            return Effect.zipRight(Effect.sleep(below(500)), Effect.exit(asked))
          },
          { concurrency: 8, discard: true }
        )
        yield* steps.pipe(TestSession.drive)
        expect(most, `seed ${seed}`).toBeLessThan(5)
        yield* TestSession.advance("1 minute")
        for (const [id, turns] of said) {
          const history = yield* Effect.flatMap(sessions.get(id), (session) => session.history).pipe(
            Effect.timeout("1 minute"),
            Effect.retry({ times: 100 }),
            TestSession.drive
          )
          // one that is cut by the next may have no answer
          const heard = history.items.filter((item) => item._tag === "Message" && item.role === "user")
          expect(heard.length, `seed ${seed}, ${id}`).toBeGreaterThanOrEqual(turns)
        }
        yield* close
        expect(open_.size, `seed ${seed}`).toBe(0)
        yield* VirtualClock.settle
        expect(alive.fibers.size, `seed ${seed}`).toBe(0)
      }
    }).pipe(Effect.provide(VirtualClock.layer()))
  )
})
