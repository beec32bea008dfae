/**
 * An output of speech that is heard, in virtual time.
 */
import { describe, expect } from "@effect/vitest"
import { Cause, Deferred, Effect, Exit, Fiber, FastCheck as fc, Layer, Queue, Stream } from "effect"
import { AgentOutput } from "effect-meantime"
import { contract, TestSession, VirtualClock } from "effect-meantime/testing"
import * as Voice from "effect-meantime/voice"
import { now } from "../support/talk.js"
import { times } from "../support/times.js"
import { it, scoped } from "../support/virtual.js"
import * as Parts from "../support/voice.js"

const { advance, settle } = TestSession

type Options = Partial<Voice.OutputOptions>

/** An output on its own, with parts that note all they do. */
const setup = (options: Options & { readonly synthesize?: Voice.Synthesizer["synthesize"] } = {}) =>
  Effect.gen(function* () {
    const { synthesize, ...rest } = options
    const synthesizer = Parts.synthesizer(synthesize)
    const sink = Parts.sink()
    const output = yield* AgentOutput.AgentOutput.pipe(
      Effect.provide(Voice.output({ synthesizer: synthesizer.service, sink: sink.service, ...rest }))
    )
    const speech = Parts.speech()
    const play = (text: Stream.Stream<string> | string, of = speech) =>
      Effect.forkScoped(output.play(typeof text === "string" ? Stream.make(text) : text, () => Effect.void, of.service))
    return { output, synthesizer, sink, speech, play }
  })

const causeOf = (exit: Exit.Exit<unknown, unknown>): string => (Exit.isFailure(exit) ? Cause.pretty(exit.cause) : "")

describe("output", () => {
  it.scoped("[O8] says that sound begins, then how far it has come with each frame, by its share of the sentence", () =>
    Effect.gen(function* () {
      const { play, speech } = yield* setup()
      const fiber = yield* play("Abc. De.")
      yield* advance("10 seconds")
      expect(yield* Fiber.join(fiber)).toBe(undefined)
      expect(speech.reports).toEqual([
        { at: 0, what: "started" },
        { at: 100, what: 1 },
        { at: 200, what: 2 },
        { at: 300, what: 3 },
        { at: 400, what: 4 },
        // the space behind the sentence
        { at: 400, what: 5 },
        { at: 500, what: 6 },
        { at: 600, what: 7 },
        { at: 700, what: 8 },
        { at: 700, what: 8 }
      ])
    })
  )

  it.scoped("[O8] by the offsets of the frames, if there are some: what sounds is not yet heard", () =>
    Effect.gen(function* () {
      const { play, speech } = yield* setup({
        synthesize: (text) =>
          Stream.make(
            Parts.frame(300, 0),
            Parts.frame(100),
            Parts.frame(100, 4),
            // what makes no sense is kept within the sentence
            Parts.frame(100, 999),
            Parts.frame(100, -3),
            Parts.frame(100, Number.NaN)
          ).pipe(Stream.take(text.startsWith("One") ? 3 : 6))
      })
      yield* play("One two. Six ten.")
      yield* advance("10 seconds")
      expect(speech.reports).toEqual([
        { at: 0, what: "started" },
        { at: 400, what: 4 },
        { at: 500, what: 9 },
        { at: 500, what: 9 },
        { at: 900, what: 13 },
        { at: 1000, what: 17 },
        { at: 1100, what: 9 },
        { at: 1300, what: 17 }
      ])
    })
  )

  it.scoped(
    "[O8] while the end of a sentence is not made yet, its length is guessed by how fast the voice speaks",
    () =>
      Effect.gen(function* () {
        // 10 characters a second, made as it is played
        const paced = (text: string) =>
          Stream.fromIterable(Parts.spelled(text)).pipe(Stream.tap(({ samples }) => Effect.sleep(samples.length)))
        const { play, speech } = yield* setup({ synthesize: paced })
        const text = "Twenty characters ok."
        yield* play(text)
        yield* advance("600 millis")
        const early = speech.offsets().at(-1) as number
        // 15 a second are guessed at first
        expect(early).toBe(7)
        yield* advance("10 seconds")
        expect(speech.offsets().at(-1)).toBe(text.length)
        const second = Parts.speech()
        yield* play(text, second)
        yield* advance("1100 millis")
        // it has learned: ten characters have been played
        expect(Math.abs((second.offsets().at(-1) as number) - 10)).toBeLessThanOrEqual(3)
      })
  )

  it.scoped("[O8] asks for the next sentence when the one before it begins to sound", () =>
    Effect.gen(function* () {
      const { play, synthesizer } = yield* setup()
      yield* play("Aaaa. Bbbb. Cccc. Dddd.")
      yield* advance("10 seconds")
      expect(synthesizer.asked).toEqual([
        { at: 0, text: "Aaaa. " },
        { at: 0, text: "Bbbb. " },
        { at: 500, text: "Cccc. " },
        { at: 1000, text: "Dddd." }
      ])
    })
  )

  it.scoped("[O8] `ahead`: none, or two, and never before the first one sounds", () =>
    Effect.gen(function* () {
      const late = (text: string) => Stream.fromIterableEffect(Effect.as(Effect.sleep(50), Parts.spelled(text)))
      const at = (ahead: number) =>
        Effect.gen(function* () {
          const from = yield* now
          const { play, synthesizer } = yield* setup({ ahead, synthesize: late })
          yield* play("Aaaa. Bbbb. Cccc. Dddd.")
          yield* advance("10 seconds")
          return synthesizer.asked.map((asked) => asked.at - from)
        })
      expect(yield* at(0)).toEqual([0, 550, 1100, 1650])
      expect(yield* at(1)).toEqual([0, 50, 550, 1050])
      expect(yield* at(2)).toEqual([0, 50, 50, 550])
    })
  )

  it.scoped("[O8] speaks a sentence while the rest of the text is still to come, and waits for it", () =>
    Effect.gen(function* () {
      const { play, speech, synthesizer } = yield* setup()
      const text = yield* Queue.unbounded<string>()
      const fiber = yield* play(Stream.fromQueue(text))
      yield* Queue.offer(text, "One. T")
      yield* advance("5 seconds")
      expect(synthesizer.asked).toEqual([{ at: 0, text: "One. " }])
      expect(speech.offsets().at(-1)).toBe(5)
      yield* Queue.offer(text, "wo.")
      yield* settle
      yield* Queue.shutdown(text)
      yield* advance("5 seconds")
      expect(synthesizer.asked.at(-1)).toEqual({ at: 5000, text: "Two." })
      expect(yield* Fiber.join(fiber)).toBe(undefined)
    })
  )

  it.scoped("[O8] interrupted: the sink is cleared at once, nothing more is asked for or played", () =>
    Effect.gen(function* () {
      const stopped: Array<number> = []
      const { play, sink, speech, synthesizer } = yield* setup({
        synthesize: (text) =>
          Stream.concat(Stream.fromIterable(Parts.spelled(text)), Stream.never).pipe(
            Stream.ensuring(Effect.map(now, (at) => void stopped.push(at)))
          )
      })
      const fiber = yield* play("Abcdef. Ghi.")
      yield* advance("250 millis")
      yield* Fiber.interrupt(fiber)
      expect(yield* now).toBe(250)
      expect(sink.cleared).toEqual([250])
      expect(stopped).toEqual([250, 250])
      expect(speech.offsets()).toEqual([1, 2])
      yield* advance("10 seconds")
      expect(sink.begun).toEqual([0, 100, 200])
      expect(synthesizer.asked).toHaveLength(2)
      expect(speech.offsets()).toEqual([1, 2])
    })
  )

  it.scoped("[O8] stops within one frame, if the sink does not let go of it; only what was played before counts", () =>
    Effect.gen(function* () {
      const sink = Parts.sink()
      const { play, speech } = yield* setup({
        sink: { ...sink.service, write: (frame) => Effect.uninterruptible(sink.service.write(frame)) }
      })
      const fiber = yield* play("Abcdef.")
      yield* advance("250 millis")
      const stopping = yield* Effect.fork(Fiber.interrupt(fiber))
      yield* advance("50 millis")
      yield* Fiber.join(stopping)
      expect(sink.cleared).toEqual([300])
      expect(speech.reports.at(-1)).toEqual({ at: 200, what: 2 })
    })
  )

  it.scoped("[O8] pauses between two frames, and goes on from there", () =>
    Effect.gen(function* () {
      const { output, play, sink, speech } = yield* setup()
      yield* play("Abcdef. Ghi.")
      yield* advance("250 millis")
      yield* output.pause as Effect.Effect<void>
      yield* advance("10 seconds")
      expect(sink.begun).toEqual([0, 100, 200])
      expect(speech.reports.at(-1)).toEqual({ at: 300, what: 3 })
      expect(sink.cleared).toEqual([])
      yield* output.resume as Effect.Effect<void>
      yield* advance("150 millis")
      expect(sink.begun.slice(3)).toEqual([10_250, 10_350])
      yield* advance("10 seconds")
      expect(speech.offsets().at(-1)).toBe(12)
    })
  )

  it.scoped("[O8] paused before it began, it has not begun; cut while it is paused, it says no more", () =>
    Effect.gen(function* () {
      const { output, play, sink, speech } = yield* setup()
      yield* output.pause as Effect.Effect<void>
      // twice is once
      yield* output.pause as Effect.Effect<void>
      const fiber = yield* play("Abc.")
      yield* advance("1 second")
      expect(speech.reports).toEqual([])
      yield* Fiber.interrupt(fiber)
      expect(sink.cleared).toEqual([])
      yield* output.resume as Effect.Effect<void>
      const next = Parts.speech()
      yield* play("De.", next)
      yield* advance("1 second")
      expect(next.offsets().at(-1)).toBe(3)
      expect(speech.reports).toEqual([])
    })
  )

  it.scoped("[O8] what has no sound is not asked for, and begins nothing", () =>
    Effect.gen(function* () {
      const { play, sink, speech, synthesizer } = yield* setup()
      expect(yield* Fiber.join(yield* play(" \n\n"))).toBe(undefined)
      expect(yield* Fiber.join(yield* play(""))).toBe(undefined)
      expect(yield* Fiber.join(yield* play(Stream.empty))).toBe(undefined)
      expect(synthesizer.asked).toEqual([])
      expect(speech.reports).toEqual([])
      expect(sink.begun).toEqual([])
    })
  )

  it.scoped("[O8] a sentence that makes no sound is passed over", () =>
    Effect.gen(function* () {
      const { play, speech, synthesizer } = yield* setup({
        synthesize: (text) => (text.startsWith("…") ? Stream.empty : Stream.fromIterable(Parts.spelled(text)))
      })
      const fiber = yield* play("… Abc.\n… De.")
      yield* advance("1 second")
      expect(yield* Fiber.join(fiber)).toBe(undefined)
      expect(synthesizer.asked.map(({ text }) => text)).toEqual(["… ", "Abc.\n", "… ", "De."])
      expect(speech.reports[0]).toEqual({ at: 0, what: "started" })
      expect(speech.offsets()).toEqual([3, 4, 5, 6, 7, 9, 10, 11, 12, 12])
    })
  )

  it.scoped("[O8] half a character is not given to the synthesizer, and the offsets stay", () =>
    Effect.gen(function* () {
      const { play, speech, synthesizer } = yield* setup()
      yield* play("a\ud83d. B")
      yield* advance("1 second")
      expect(synthesizer.asked.map(({ text }) => text)).toEqual(["a\ufffd. ", "B"])
      expect(speech.offsets()).toEqual([1, 2, 3, 4, 5, 5])
    })
  )

  it.scoped("[O8] a synthesizer that fails: what came before it is played, then the speech ends with the error", () =>
    Effect.gen(function* () {
      const { play, speech } = yield* setup({
        synthesize: (text) =>
          text.startsWith("No")
            ? Stream.concat(
                Stream.make(Parts.frame(100)),
                Stream.fail(new Voice.VoiceError({ message: "There is no voice." }))
              )
            : Stream.fromIterable(Parts.spelled(text))
      })
      const fiber = yield* play("Abc. No. De.")
      yield* advance("10 seconds")
      expect(causeOf(yield* Fiber.await(fiber))).toMatch(/There is no voice/)
      expect(speech.reports.at(-1)?.at).toBe(500)
      expect(speech.offsets().at(-1)).toBeLessThan(8)
    })
  )

  it.scoped("[O8] parts that throw, give no effect, or a sink that fails: the speech ends with it", () =>
    Effect.gen(function* () {
      const ended = (options: Parameters<typeof setup>[0], pattern: RegExp) =>
        Effect.gen(function* () {
          const { play } = yield* setup(options)
          const fiber = yield* play("Abc. De.")
          yield* advance("10 seconds")
          expect(causeOf(yield* Fiber.await(fiber))).toMatch(pattern)
        })
      const clear = Effect.void
      yield* ended(
        {
          synthesize: () => {
            throw new Error("odd")
          }
        },
        /odd/
      )
      yield* ended({ synthesize: () => Stream.die(new Error("dead")) }, /dead/)
      yield* ended({ sink: { write: () => new Voice.VoiceError({ message: "no device" }), clear } }, /no device/)
      yield* ended(
        {
          sink: {
            write: () => {
              throw new Error("thrown")
            },
            clear
          }
        },
        /thrown/
      )
      yield* ended({ sink: { write: () => undefined as unknown as Effect.Effect<void>, clear } }, /is none/)
    })
  )

  it.scoped("[O8] the fibers that make sound end with the speech, also where it fails", () =>
    Effect.gen(function* () {
      let open = 0
      const never = yield* Deferred.make<void>()
      const { play } = yield* setup({
        ahead: 3,
        synthesize: (text) =>
          text.startsWith("A")
            ? Stream.concat(Stream.make(Parts.frame(100)), Stream.die("gone"))
            : Stream.fromEffect(Effect.as(Deferred.await(never), Parts.frame(1))).pipe(
                Stream.onStart(Effect.sync(() => open++)),
                Stream.ensuring(Effect.sync(() => open--))
              )
      })
      const fiber = yield* play("Aa. Bb. Cc. Dd.")
      yield* advance("50 millis")
      expect(open).toBe(3)
      yield* advance("1 second")
      yield* Fiber.await(fiber)
      expect(open).toBe(0)
    })
  )

  it.scoped("[O8] options that make no sense are told when the layer is built", () =>
    Effect.gen(function* () {
      for (const [option, value] of [
        ["ahead", -1],
        ["ahead", 1.5],
        ["maxLength", 1],
        ["stallTimeout", 0],
        ["stopTimeout", -1]
      ] as const) {
        const parts = { synthesizer: Parts.synthesizer().service, sink: Parts.sink().service, [option]: value }
        const exit = yield* Effect.exit(Effect.scoped(Layer.build(Voice.output(parts))))
        expect(causeOf(exit)).toMatch(`The option ${option} of voice.output has to be`)
      }
    })
  )

  it.scoped("[O8] its limits are those of an output", () =>
    Effect.gen(function* () {
      const { output } = yield* setup({ stallTimeout: "9 seconds", stopTimeout: "2 seconds" })
      expect(output.stallTimeout).toBe("9 seconds")
      expect(output.stopTimeout).toBe("2 seconds")
      expect(Object.keys((yield* setup()).output).sort()).toEqual(["pause", "play", "resume"])
    })
  )

  it.scoped(
    "[O8] every text, every cut, pauses and interruptions at any time: offsets never say more than was played",
    () =>
      Effect.promise(() => {
        const texts = fc
          .array(fc.constantFrom("Ab", "c. ", "Dé! ", "F", " g", "\n", "😀", "3.5 ", "你好。", "e.g. ", " "), {
            maxLength: 14
          })
          .map((parts) => parts.join(""))
        const script = fc.record({
          text: texts,
          cuts: fc.array(fc.nat(30), { maxLength: 5 }),
          ahead: fc.nat(3),
          marked: fc.boolean(),
          // when it pauses, for how long, and when it is cut
          pause: fc.option(fc.tuple(fc.nat(1500), fc.nat(800)), { nil: undefined }),
          cut: fc.option(fc.nat(3000), { nil: undefined })
        })
        return fc.assert(
          fc.asyncProperty(script, ({ ahead, cut, cuts, marked, pause, text }) =>
            Effect.gen(function* () {
              const { output, play, sink, speech, synthesizer } = yield* setup({
                ahead,
                synthesize: (sentence) => Stream.fromIterable(Parts.spelled(sentence, marked))
              })
              const edges = [0, ...cuts.filter((at) => at < text.length).sort((a, b) => a - b), text.length]
              const fiber = yield* play(
                Stream.fromIterable(edges.slice(1).map((edge, i) => text.slice(edges[i], edge)))
              )
              if (pause !== undefined) {
                const [after, long] = pause
                yield* Effect.sleep(after).pipe(
                  Effect.zipRight(output.pause as Effect.Effect<void>),
                  Effect.zipRight(Effect.sleep(long)),
                  Effect.zipRight(output.resume as Effect.Effect<void>),
                  Effect.forkScoped
                )
              }
              if (cut !== undefined)
                yield* Effect.forkScoped(Effect.zipRight(Effect.sleep(cut), Fiber.interrupt(fiber)))
              yield* advance("20 seconds")
              const exit = yield* Fiber.await(fiber)
              const offsets = speech.offsets()
              // it only goes on, from a beginning
              expect(speech.reports.filter(({ what }) => what === "started").length).toBe(sink.begun.length > 0 ? 1 : 0)
              expect([...offsets].sort((a, b) => a - b)).toEqual(offsets)
              // each character was a frame: what counts as heard has been played, but for what has no sound
              const heard = text.slice(0, offsets.at(-1) ?? 0)
              const sounds = Array.from(heard.trimEnd()).length
              const played = sink.played.length
              const silent = Array.from(heard).length - Array.from(heard.replaceAll(/\s/g, "")).length
              expect(sounds - silent).toBeLessThanOrEqual(played)
              if (Exit.isSuccess(exit)) {
                if (sink.begun.length > 0) expect(offsets.at(-1)).toBe(text.length)
                expect(
                  synthesizer.asked
                    .map((asked) => asked.text)
                    .join("")
                    .replaceAll(/\s/g, "")
                ).toBe(text.replaceAll(/\s/g, ""))
              }
              // no frame beside another
              sink.played.forEach((at, i) => {
                expect(sink.begun[i + 1] ?? at).toBeGreaterThanOrEqual(at)
              })
            }).pipe(Effect.scoped, Effect.provide(VirtualClock.layer()), Effect.runPromise)
          ),
          { numRuns: times(150, 2000) }
        )
      })
  )
})

const virtual: contract.It = { effect: (name, self) => scoped(name, self) }

for (const [name, synthesize, ahead] of [
  ["by the share of the sound", (text: string) => Stream.fromIterable(Parts.spelled(text)), 1],
  ["by the offsets of the frames", (text: string) => Stream.fromIterable(Parts.spelled(text, true)), 0],
  [
    "with sound that is made as it is played",
    (text: string) => Stream.tap(Stream.fromIterable(Parts.spelled(text)), () => Effect.sleep(120)),
    2
  ]
] as const) {
  describe(`[K5] [O8] output, ${name}`, () => {
    contract.agentOutput(
      () =>
        Voice.output({
          synthesizer: Parts.synthesizer(synthesize).service,
          sink: Parts.sink().service,
          ahead,
          maxLength: 40
        }),
      { it: virtual }
    )
  })
}
