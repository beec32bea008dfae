/**
 * One turn that the user speaks: what has been heard of it, and what is due. Nothing here waits: the time comes from
 * outside.
 */
import type { Heard } from "../../voice/Audio.js"

/** Times in milliseconds. */
export interface Policy {
  readonly after: number
  readonly minWords: number
  readonly falseAfter: number
  readonly silence: number
  readonly maxSilence: number
  /** somebody says whether a text is complete */
  readonly asks: boolean
}

export type Due =
  /** the agent's speech is to stop */
  | "cut"
  /** the turn is over, and something was said */
  | "commit"
  /** nothing was said */
  | "discard"
  /** whether the text is complete is to be asked */
  | "ask"

/** What is to be done now, or at which time something is. */
export type Step = { readonly due: Due } | { readonly at: number }

const spaceless =
  /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}]/u

const joined = (parts: ReadonlyArray<string>): string =>
  parts.reduce(
    (all, part) =>
      all === "" || (spaceless.test(all.slice(-1)) && spaceless.test(part.slice(0, 1))) ? all + part : `${all} ${part}`,
    ""
  )

let segmenter: Intl.Segmenter | undefined

const countWords = (text: string, enough: number): number => {
  segmenter ??= new Intl.Segmenter(undefined, { granularity: "word" })
  let count = 0
  for (const { isWordLike } of segmenter.segment(text)) if (isWordLike === true && ++count >= enough) break
  return count
}

export class Hearing {
  private readonly finals: Array<string> = []
  /** what was understood since the last final */
  private partial = ""
  private speakingSince: number | undefined = undefined
  /** how long the user has spoken before that */
  private spoken = 0
  private endedAt: number | undefined = undefined
  /** a final is still to come for what has been spoken to its end */
  private owed = false
  /** what is spoken now has got its final already */
  private settled = false
  /** the agent's speech has been told to stop */
  cut = false
  /** whether the text was complete; undefined: nobody knows yet */
  private complete: boolean | undefined = undefined
  private asked = false
  private unanswerable = false
  /** grows with all that makes an answer about the text obsolete */
  round = 0

  constructor(private readonly policy: Policy) {}

  /** All that was understood. */
  get text(): string {
    return joined(this.partial === "" ? this.finals : [...this.finals, this.partial])
  }

  heard(heard: Heard, now: number): void {
    switch (heard._tag) {
      case "SpeechStarted":
        if (this.speakingSince !== undefined) return
        this.speakingSince = now
        this.endedAt = undefined
        this.settled = false
        return this.changed()
      case "SpeechEnded":
        if (this.speakingSince === undefined) return
        this.spoken += now - this.speakingSince
        this.speakingSince = undefined
        this.endedAt = now
        this.owed ||= !this.settled
        return this.changed()
      case "Partial":
        this.partial = heard.text.trim()
        if (this.speakingSince === undefined) this.owed = true
        else this.settled = false
        return this.changed()
      case "Final": {
        const text = heard.text.trim()
        if (text !== "") this.finals.push(text)
        this.partial = ""
        // while the next words are spoken, the final of those before may come
        if (this.speakingSince !== undefined && !this.owed) this.settled = true
        this.owed = false
        // a recogniser without a detector
        this.endedAt ??= this.speakingSince === undefined ? now : undefined
        return this.changed()
      }
    }
  }

  /** The answer about the text, if it is still the same; undefined: there is none, as if nobody were asked. */
  answered(round: number, complete: boolean | undefined): void {
    if (round !== this.round) return
    this.complete = complete
    this.unanswerable = complete === undefined
  }

  private changed(): void {
    this.round++
    this.complete = undefined
    this.asked = false
    this.unanswerable = false
  }

  /** What is next. */
  next(now: number): Step {
    const cut = this.cutAt(now)
    if (cut <= now) return { due: "cut" }
    if (this.endedAt === undefined) return { at: cut }
    const end = this.ending(this.endedAt)
    if (end.at <= now) return { due: end.due }
    if (this.policy.asks && !this.asked && !this.owed && this.finals.length > 0) return { due: "ask" }
    return { at: Math.min(cut, end.at) }
  }

  /** Is some of the text what a final that has not come will say as well? */
  get isLate(): boolean {
    return this.owed && this.partial !== ""
  }

  /** The question is on its way. */
  asks(): void {
    this.asked = true
  }

  private cutAt(now: number): number {
    const { after, minWords } = this.policy
    if (this.cut || (minWords > 0 && countWords(this.text, minWords) < minWords)) return Number.POSITIVE_INFINITY
    const spoken = this.spoken + (this.speakingSince === undefined ? 0 : now - this.speakingSince)
    if (spoken >= after) return now
    return this.speakingSince === undefined ? Number.POSITIVE_INFINITY : now + after - spoken
  }

  private ending(endedAt: number): { readonly at: number; readonly due: "commit" | "discard" } {
    const { asks, falseAfter, maxSilence, silence } = this.policy
    if (this.text === "") return { at: endedAt + falseAfter, due: "discard" }
    if (this.owed) {
      // what was said last may have been no words at all: then those before it are the turn
      return { at: endedAt + (this.partial === "" ? Math.min(falseAfter, maxSilence) : maxSilence), due: "commit" }
    }
    const wait = this.complete === true ? 0 : asks && !this.unanswerable ? maxSilence : silence
    return { at: endedAt + Math.min(wait, maxSilence), due: "commit" }
  }
}
