import { describe, expect } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { RunContext } from "effect-meantime"
import { ScriptedModel, TestSession } from "effect-meantime/testing"
import { talk, toolCall } from "./support/df.js"
import { scoped } from "./support/virtual.js"

/** The same numbers for the same seed. */
const random = (seed: number) => {
  let state = seed * 2654435761 + 1
  const next = () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
  const int = (n: number) => Math.floor(next() * n)
  return { int, pick: <A>(...all: ReadonlyArray<A>): A => all[int(all.length)]!, chance: (p: number) => next() < p }
}

const words = ["This ", "will ", "take ", "some ", "time ", "now."]
const deliveries = ["when-idle", "interrupt", "silent"] as const

const conversation = (seed: number) =>
  Effect.gen(function* () {
    const { chance, int, pick } = random(seed)
    const voiced = new Set<string>()
    const pause = Effect.suspend(() => Effect.sleep(int(12) * 250))
    const update = Effect.gen(function* () {
      const delivery = pick(...deliveries)
      yield* RunContext.update(`${delivery} ${int(1000)}`, { delivery })
    })
    const reports = Effect.suspend(() => Effect.repeatN(Effect.zipRight(pause, update), int(3)))
    const ends = Effect.suspend(() => {
      const how = int(10)
      return how === 0 ? Effect.die("a defect") : how === 1 ? Effect.void : Effect.succeed("the result")
    })
    const tools = {
      inline: () => Effect.zipRight(pause, ends),
      careful: {
        allowCancellation: true,
        cancelOnInterruption: true,
        run: () => Effect.zipRight(pause, ends)
      },
      background: { allowCancellation: true, run: () => Effect.zipRight(reports, Effect.zipRight(pause, ends)) },
      urgent: { delivery: "interrupt" as const, run: () => Effect.zipRight(reports, Effect.zipRight(pause, ends)) },
      acting: { onResult: "act" as const, run: () => Effect.zipRight(update, Effect.zipRight(pause, ends)) },
      holding: {
        allowCancellation: true,
        run: () =>
          Effect.gen(function* () {
            if (chance(0.5)) yield* update
            yield* Effect.catchTag(
              RunContext.foreground(Effect.zipRight(pause, reports)),
              "SessionClosed",
              () => Effect.void
            )
            return yield* ends
          })
      },
      filling: () =>
        RunContext.withFiller(Effect.zipRight(Effect.zipRight(pause, pause), ends), {
          say: "Wait.",
          delay: 250 * int(8),
          ...(chance(0.5) ? { interval: 500 } : {})
        })
    }
    const names = Object.keys(tools)
    let asked = 0
    const { close, events, lines, model, session } = yield* talk({
      script: ({ toolChoice }) => {
        const step: Array<string | ScriptedModel.Content> = []
        if (++asked > 60) return "Enough."
        if (chance(0.9)) step.push(words.slice(0, 1 + int(words.length)).join(""))
        if (toolChoice === "auto" && chance(0.5)) {
          for (let i = 1 + int(2); i > 0; i--) step.push(toolCall(pick(...names)))
        }
        if (chance(0.3)) step.push(ScriptedModel.wait(250 * int(6)))
        if (chance(0.05)) step.push(ScriptedModel.fail("broken"))
        return step
      },
      tools,
      pace: pick<"instant" | number>("instant", 5, 20),
      maxPendingUpdates: pick(1, 2, 32),
      onInterruptedReply: pick("drop", "redeliver"),
      logs: [/failed unexpectedly/]
    })
    for (let turns = 12; turns > 0; turns--) {
      yield* TestSession.advance(int(8) * 500)
      switch (int(6)) {
        case 0:
        case 1:
        case 2:
          yield* session.send("Go", { allowInterruptions: chance(0.8) })
          break
        case 3:
          yield* chance(0.5) ? session.say("Look here.") : session.generateReply()
          break
        case 4:
          yield* Effect.ignore(session.interrupt({ force: chance(0.5) }))
          break
        case 5:
          yield* Effect.forkScoped(Effect.scoped(Effect.zipRight(session.claimUserTurn, pause)))
      }
    }
    const idle = yield* Effect.fork(session.waitForIdle)
    if (chance(0.7)) {
      yield* TestSession.drive(Fiber.join(idle))
      yield* TestSession.advance("10 minutes")
      expect(yield* session.runningTools).toEqual([])
      yield* session.waitForIdle
    }
    yield* close
    const all = yield* events.all
    for (const event of all) {
      if (
        event._tag === "ToolCallUpdated" &&
        event.id !== event.callId &&
        !String(event.message).startsWith("silent")
      ) {
        voiced.add(event.id)
      }
    }
    const dropped = all.flatMap((event) => (event._tag === "UpdateDropped" ? [event.id] : []))
    const covered = new Set(all.flatMap((event) => (event._tag === "ReplyEnded" ? event.updateIds : [])))
    expect([...voiced].filter((id) => !covered.has(id) && !dropped.includes(id))).toEqual([])
    const history = yield* lines
    const count = (pattern: RegExp) => history.flatMap((line) => pattern.exec(line)?.[1] ?? []).sort()
    expect(count(/^call (\S+)/)).toEqual(count(/^(?:output|error) ([^:]+):/))
    expect(new Set(count(/^call (\S+)/)).size).toBe(count(/^call (\S+)/).length)
    expect((yield* model.requests).length).toBeLessThan(200)
  })

describe("conversations of all kinds", () => {
  for (let seed = 1; seed <= Number(process.env.SEEDS ?? 6); seed++) {
    scoped(`[D9, T9, M3] what begins ends once, and what is reported is told or dropped (${seed})`, () =>
      conversation(seed)
    )
  }
})
