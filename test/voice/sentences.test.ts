/**
 * Text to sentences, whole and as it streams.
 */
import { describe, expect } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, FastCheck as fc, Queue, Stream } from "effect"
import { TestSession } from "effect-meantime/testing"
import * as Voice from "effect-meantime/voice"
import { times } from "../support/times.js"
import { it } from "../support/virtual.js"

const { settle } = TestSession

const collected = (pieces: Iterable<string>, options?: { readonly maxLength?: number }) =>
  Effect.map(Stream.runCollect(Voice.sentences(Stream.fromIterable(pieces), options)), (all) => Array.from(all))

/** As in one piece, and the same letter by letter. */
const split = (text: string, options?: { readonly maxLength?: number }) =>
  Effect.gen(function* () {
    const whole = yield* collected([text], options)
    // halves of a pair come one by one as well
    expect(yield* collected(text.split(""), options)).toEqual(whole)
    return whole.map((sentence) => sentence.text)
  })

const examples: Record<string, ReadonlyArray<string>> = {
  plain: ["Hello there. ", "How are you? ", "Fine! ", "And you"],
  "titles and initials": ["Dr. Smith met J. R. Jones of the U.S. Army. ", "Prof. Ann Lee came, too."],
  "short words": ["Take e.g. this one, i.e. that one, etc. and so on. ", "Or approx. five."],
  "a small word behind a stop": ["It is at 5 p.m. today. ", "Come at 6."],
  numbers: ["Pay $3.50 for v2.0 of node.js, i.e. 1.5 % more. ", "It was 1984. ", "I was 5. ", "Then I left."],
  "numbers of things": ["See fig. 3 and No. 5 of vol. 2. ", "No. ", "I will not."],
  "a list": ["1. Eggs\n", "2. Milk and 3.5 l of oil\n\n", "That is all."],
  "lines without marks": ["# Title\n", "First line\n", "second line"],
  "line ends of Windows": ["One\r\n", "two"],
  quotes: ["“Hi.” ", "She said “No.” and left. ", "‘Why?’ he asked. ", "He left. ", "“Fine.”"],
  "straight quotes": ['He said "Hi." ', '"Really?" she asked. ', 'Then "Bye!" ', "(He left.) ", "So."],
  "several marks": ["What?! ", "No... ", "Well... maybe. ", "Hmm… ", "So… then what?"],
  "marks behind a space": ["Ça va ?! ", "Oui ! ", "Bon."],
  markup: ["**Bold.** ", "_Done!_ ", "Yes."],
  pictures: ["Hi!😀 ", "Family.👨‍👩‍👧‍👦 ", "Wave!👋🏽 ", "🇳🇴 is Norway."],
  Chinese: ["你好。", "今天3.5度！", "他说：“好的。”", "然后「走吧。」", "走了"],
  "a quote that opens right behind a mark": ["他停了。", "“好，”他说。"],
  Japanese: ["こんにちは。", "元気ですか？", "「はい！」", "よかった…", "ね．"],
  Hindi: ["नमस्ते। ", "आप कैसे हैं? ", "ठीक।"],
  Arabic: ["مرحبا. ", "كيف حالك؟ ", "بخير"],
  German: ["Das ist am 3. Mai um 8 Uhr. ", "Hr. Müller zahlt ca. 5 Euro, z.B. bar. ", "Er geht."],
  "an address": ["See example.com/?a=1.2 and a@b.com. ", "Or call."],
  "blanks in front": ["  \n Hello. ", "You."],
  "nothing but marks": ["...!"],
  "a half": ["a\ud83d. ", "B\udc00"]
}

describe("sentences", () => {
  for (const [name, parts] of Object.entries(examples)) {
    it.scoped(`[O8] ${name}`, () =>
      Effect.gen(function* () {
        expect(yield* split(parts.join(""))).toEqual(parts)
      })
    )
  }

  it.scoped("[O8] of no text there are none", () =>
    Effect.gen(function* () {
      expect(yield* collected([])).toEqual([])
      expect(yield* collected(["", ""])).toEqual([])
    })
  )

  it.scoped("[O8] too long: cut behind a clause, a word, or a character", () =>
    Effect.gen(function* () {
      expect(yield* split("First this, then that and so on", { maxLength: 20 })).toEqual([
        "First this, ",
        "then that and so on"
      ])
      expect(yield* split("one two three four five", { maxLength: 12 })).toEqual(["one two ", "three four ", "five"])
      expect(yield* split("aaaaaaaaaa", { maxLength: 4 })).toEqual(["aaaa", "aaaa", "aa"])
      // Thai has no spaces between its words: สวัสดี, ครับ
      expect(yield* split("สวัสดีครับสวัสดีครับ", { maxLength: 12 })).toEqual(["สวัสดีครับ", "สวัสดีครับ"])
      expect(yield* split("😀😀😀", { maxLength: 3 })).toEqual(["😀", "😀", "😀"])
      expect(yield* split("👨‍👩‍👧👨‍👩‍👧", { maxLength: 10 })).toEqual(["👨‍👩‍👧", "👨‍👩‍👧"])
      expect(yield* split("Ok.                Yes", { maxLength: 10 })).toEqual(["Ok.       ", "         ", "Yes"])
    })
  )

  it.scoped("[O8] each comes as soon as the character that decides", () =>
    Effect.gen(function* () {
      const text = yield* Queue.unbounded<string>()
      const got: Array<string> = []
      const fiber = yield* Effect.forkScoped(
        Stream.runForEach(Voice.sentences(Stream.fromQueue(text)), ({ text }) => Effect.sync(() => got.push(text)))
      )
      const fed = (piece: string) => Effect.map(Effect.zipRight(Queue.offer(text, piece), settle), () => got.splice(0))
      expect(yield* fed("Hello")).toEqual([])
      expect(yield* fed(" there.")).toEqual([])
      expect(yield* fed(" ")).toEqual([])
      expect(yield* fed("How")).toEqual(["Hello there. "])
      expect(yield* fed(" are you?\nI")).toEqual(["How are you?\n"])
      expect(yield* fed(" paid 3.")).toEqual([])
      expect(yield* fed("5. 你好。")).toEqual(["I paid 3.5. "])
      expect(yield* fed("好")).toEqual(["你好。"])
      yield* Queue.shutdown(text)
      yield* Fiber.join(fiber)
    })
  )

  it.scoped(
    "[O8] every text, every cut: together they are the text, each stands where it says, the cuts change nothing",
    () =>
      Effect.sync(() => {
        const char = fc.oneof(
          { weight: 6, arbitrary: fc.constantFrom(..."abcABC  \n") },
          { weight: 4, arbitrary: fc.constantFrom(..."..!?…,;:\"'()0123。！“”「」") },
          { weight: 2, arbitrary: fc.constantFrom("Dr", "e.g", "No", " ", "\r\n", "ก", "語", "é", "e\u0301", "Mai") },
          { weight: 2, arbitrary: fc.constantFrom("😀", "👨‍👩‍👧", "👋🏽", "\ud83d", "\udc00", "\u200d") },
          { weight: 1, arbitrary: fc.string({ unit: "binary", maxLength: 3 }) }
        )
        const texts = fc.array(char, { maxLength: 60 }).map((parts) => parts.join(""))
        const lengths = fc.oneof(
          fc.integer({ min: 2, max: 40 }),
          fc.constant(300),
          fc.constant(Number.POSITIVE_INFINITY)
        )
        fc.assert(
          fc.property(texts, fc.array(fc.nat(60)), lengths, (text, cuts, maxLength) => {
            const sentences = Effect.runSync(collected([text], { maxLength }))
            expect(sentences.map((sentence) => sentence.text).join("")).toBe(text)
            let at = 0
            for (const { from, text: part, to } of sentences) {
              expect(from).toBe(at)
              expect(part).toBe(text.slice(from, to))
              expect(part).not.toBe("")
              expect(part.length).toBeLessThanOrEqual(maxLength)
              at = to
              // no pair is cut
              expect(/[\ud800-\udbff]$/.test(part) && /^[\udc00-\udfff]/.test(text.slice(to))).toBe(false)
            }
            const edges = [0, ...cuts.filter((cut) => cut < text.length).sort((a, b) => a - b), text.length]
            const pieces = edges.slice(1).map((edge, i) => text.slice(edges[i], edge))
            expect(Effect.runSync(collected(pieces, { maxLength }))).toEqual(sentences)
          }),
          { numRuns: times(500, 5000) }
        )
      })
  )

  it.scoped("[O8] a length that makes no sense is told", () =>
    Effect.gen(function* () {
      for (const maxLength of [0, 1, -1, 2.5, Number.NaN]) {
        const exit = yield* Effect.exit(collected(["Hi."], { maxLength }))
        expect(Exit.isFailure(exit) && Cause.pretty(exit.cause)).toMatch(
          /The option maxLength of voice.sentences has to be/
        )
      }
    })
  )
})
