import { AiError } from "@effect/ai"
import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { RunContext } from "effect-meantime"
import {
  type Answer,
  callPart,
  finishPart,
  firstThen,
  goesOn,
  lawful,
  type Part,
  TestSession,
  type Tools,
  turn
} from "./support/law.js"

const broken = new AiError.UnknownError({ module: "Test", method: "streamText", description: "broken" })
const malformed = new AiError.MalformedOutput({ module: "Test", method: "streamText", description: "no JSON" })

// ------------------------------------------------------------------------------------------------- a model that fails

/** A stream with all there is: reasoning, text, calls that answer inline, report, and fail. */
const whole: ReadonlyArray<Part> = [
  { type: "reasoning-start", id: "r" },
  { type: "reasoning-delta", id: "r", delta: "Hm. " },
  { type: "reasoning-end", id: "r", metadata: { test: { signature: "s" } } },
  { type: "text-start", id: "t" },
  { type: "text-delta", id: "t", delta: "Let me " },
  { type: "text-delta", id: "t", delta: "look." },
  { type: "text-end", id: "t" },
  callPart("c1", "inline"),
  { type: "text-start", id: "u" },
  { type: "text-delta", id: "u", delta: "And there." },
  callPart("c2", "reporting"),
  { type: "text-end", id: "u" },
  callPart("c3", "failing"),
  callPart("c4", "slow"),
  finishPart
]

const tools: Tools = {
  inline: () => Effect.succeed("at once"),
  reporting: () =>
    Effect.gen(function* () {
      yield* RunContext.update("on it")
      yield* Effect.sleep("5 seconds")
      yield* RunContext.update("half way")
      yield* Effect.sleep("5 seconds")
      return "found"
    }),
  failing: () => Effect.die(new Error("secret")),
  slow: () => Effect.as(Effect.sleep("20 seconds"), "at last")
}

const endings: Record<string, ReadonlyArray<unknown>> = {
  "a typed failure": [Effect.fail(broken)],
  "output that cannot be read": [Effect.fail(malformed)],
  "a defect": [Effect.die(new Error("a bug"))],
  "an error part": [{ type: "error", error: new Error("broken") }],
  "a silent end": [],
  "a stall": [Effect.never]
}

describe("a model that fails at each point of its stream", () => {
  for (const [seam, output] of [
    ["direct", "paced"],
    ["LanguageModel", undefined]
  ] as const) {
    for (const [name, ending] of Object.entries(endings)) {
      it.scoped(`[F7] [T9] [M3] ${name}, ${seam}: what was called counts, the session goes on`, () =>
        Effect.forEach(
          Array.from({ length: whole.length + 1 }, (_, i) => i),
          (n) =>
            lawful({ seam, tools, model: firstThen([...whole.slice(0, n), ...ending]), output }, (talk) =>
              Effect.gen(function* () {
                yield* turn(talk.session, "Go")
                yield* TestSession.advance("1 minute")
                yield* goesOn(talk)
                const asked = whole.slice(0, n).flatMap((part) => (part.type === "tool-call" ? [part.id] : []))
                const started = yield* talk.events.filter("ToolCallStarted")
                expect(started.map((event) => event.call.callId)).toEqual(asked)
                expect((yield* talk.ends).length).toBe(asked.length)
                expect(yield* talk.session.runningTools).toEqual([])
                if (asked.includes("c1")) expect(yield* talk.output("c1")).toBe("at once")
                if (asked.includes("c2")) expect(yield* talk.output("c2_final")).toBe("found")
                if (asked.includes("c4")) expect(yield* talk.output("c4")).toBe("at last")
              })
            ),
          { discard: true }
        )
      )
    }
  }
})

// -------------------------------------------------------------------------------------------------------- broken parts

const text: ReadonlyArray<Part> = [
  { type: "text-start", id: "t" },
  { type: "text-delta", id: "t", delta: "Fine. " },
  { type: "text-end", id: "t" }
]

/** Each in the middle of a stream that is otherwise sound. */
const junk: Record<string, Answer> = {
  "no part at all": [null],
  "a number": [5],
  "a string": ["text"],
  "an array": [[]],
  "a part without type": [{}],
  "a type that is no string": [{ type: 5 }],
  "an unknown type": [{ type: "hologram", id: "h" }],
  "an inherited type": [Object.create({ type: "tool-call", id: "x", name: "work", params: {} })],
  "a text without id": [{ type: "text-start" }, { type: "text-delta", delta: "x" }, { type: "text-end" }],
  "a delta without start": [{ type: "text-delta", id: "lost", delta: "Lost. " }],
  "a delta without text": [
    { type: "text-start", id: "q" },
    { type: "text-delta", id: "q" }
  ],
  "a delta that is a number": [{ type: "text-delta", id: "q", delta: 5 }],
  "a delta that is null": [{ type: "text-delta", id: "q", delta: null }],
  "a delta that is an object": [{ type: "text-delta", id: "q", delta: {} }],
  "a delta after its end": [...text, { type: "text-delta", id: "t", delta: "More. " }],
  "a text begun twice": [
    { type: "text-start", id: "q" },
    { type: "text-delta", id: "q", delta: "One. " },
    { type: "text-start", id: "q" },
    { type: "text-delta", id: "q", delta: "Two. " },
    { type: "text-end", id: "q" }
  ],
  "a text begun after its delta": [
    { type: "text-delta", id: "q", delta: "One. " },
    { type: "text-start", id: "q" },
    { type: "text-end", id: "q" }
  ],
  "a text that never ends": [
    { type: "text-start", id: "q" },
    { type: "text-delta", id: "q", delta: "Open. " }
  ],
  "a text ended twice": [...text, { type: "text-end", id: "t" }],
  "an end without start": [{ type: "text-end", id: "nobody" }],
  "reasoning without id": [{ type: "reasoning-start" }, { type: "reasoning-delta" }, { type: "reasoning-end" }],
  "reasoning without text": [{ type: "reasoning-delta", id: "r" }],
  "reasoning ended twice": [
    { type: "reasoning-start", id: "r" },
    { type: "reasoning-end", id: "r" },
    { type: "reasoning-end", id: "r" }
  ],
  "reasoning begun twice": [
    { type: "reasoning-start", id: "r" },
    { type: "reasoning-start", id: "r" },
    { type: "reasoning-delta", id: "r", delta: "Hm." }
  ],
  "metadata that is null": [{ type: "text-start", id: "q", metadata: null }],
  "metadata that is text": [{ type: "text-start", id: "q", metadata: "mine" }],
  "metadata that is a list": [{ type: "reasoning-end", id: "q", metadata: [1] }],
  "a call without id": [{ type: "tool-call", name: "work", params: {} }],
  "a call with a number for its id": [{ type: "tool-call", id: 7, name: "work", params: {} }],
  "a call without name": [{ type: "tool-call", id: "j", params: {} }],
  "a call with null for its name": [{ type: "tool-call", id: "j", name: null, params: {} }],
  "a call without arguments": [{ type: "tool-call", id: "j", name: "work" }],
  "a call with null for arguments": [{ type: "tool-call", id: "j", name: "work", params: null }],
  "a call with a list for arguments": [{ type: "tool-call", id: "j", name: "work", params: [1, 2] }],
  "a call with text for arguments": [{ type: "tool-call", id: "j", name: "work", params: "n: 1" }],
  "a call with metadata that is null": [{ type: "tool-call", id: "j", name: "work", params: {}, metadata: null }],
  "a call with metadata that is text": [{ type: "tool-call", id: "j", name: "work", params: {}, metadata: "mine" }],
  "a call id twice": [callPart("j", "work"), callPart("j", "work")],
  "a provider's call without arguments": [{ type: "tool-call", id: "p", name: "search", providerExecuted: true }],
  "a provider's call without result": [
    { type: "tool-call", id: "p", name: "search", params: {}, providerExecuted: true }
  ],
  "a provider's result without call": [
    { type: "tool-result", id: "nobody", name: "search", result: 1, isFailure: false, providerExecuted: true }
  ],
  "a provider's result twice": [
    { type: "tool-call", id: "p", name: "search", params: {}, providerExecuted: true },
    { type: "tool-result", id: "p", name: "search", result: 1, isFailure: false, providerExecuted: true },
    { type: "tool-result", id: "p", name: "search", result: 2, isFailure: false, providerExecuted: true }
  ],
  "a provider's result for a call of ours": [
    callPart("j", "work"),
    { type: "tool-result", id: "j", name: "work", result: "forged", isFailure: false, providerExecuted: true }
  ],
  "a result without anything": [{ type: "tool-result", providerExecuted: true }],
  "a result that the provider did not produce": [
    { type: "tool-result", id: "j", name: "work", result: 1, isFailure: false }
  ],
  "an end in the middle": [finishPart],
  "two ends": [finishPart, finishPart],
  "an error without error": [{ type: "error" }],
  "an error that is no error": [{ type: "error", error: 5 }]
}

describe("a model that sends broken parts", () => {
  for (const [name, parts] of Object.entries(junk)) {
    it.scoped(`[T9] [M3] [F7] ${name}: nothing hangs, nothing is made up, the session goes on`, () =>
      lawful(
        {
          tools: { work: () => Effect.as(Effect.sleep("1 second"), "worked") },
          output: "paced",
          model: firstThen([...text, callPart("before", "work"), ...parts, callPart("after", "work"), finishPart])
        },
        (talk) =>
          Effect.gen(function* () {
            const speech = yield* turn(talk.session, "Go")
            yield* TestSession.advance("1 minute")
            expect(yield* speech.done).toBe(true)
            yield* goesOn(talk)
            expect(yield* talk.output("before")).toBe("worked")
            expect(talk.logs).toEqual([])
            const items = JSON.stringify((yield* talk.session.history).items)
            expect(items).not.toMatch(/undefined|\[object|NaN|forged/)
          })
      )
    )
  }
})
