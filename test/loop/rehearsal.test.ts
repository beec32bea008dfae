/**
 * The example `voice` with its real parts: a synthesizer, a voice detector and a recogniser, in real time. What is asserted
 * is what was said and heard; how long it took is printed, since a busy machine says nothing about the library.
 */
import { Effect } from "effect"
import { beforeAll, describe, expect, it } from "vitest"
import { weather } from "../../examples/voice/Agent.js"
import { type Outcome, rehearse } from "../../examples/voice/Rehearsal.js"

let outcome: Outcome

beforeAll(async () => {
  outcome = await Effect.runPromise(rehearse)
  const millis = (list: Outcome["answered"]) => list.map(({ millis, text }) => `${Math.round(millis)} ms (${text})`)
  console.log(outcome.transcript.join("\n"))
  console.log(`end of speech → first sound: ${millis(outcome.answered).join(", ")}`)
  console.log(`barge-in → silence: ${millis(outcome.silenced).join(", ")}`)
}, 100_000)

/** The agent's sound between two moments. */
const between = (from: number, to: number) => outcome.spoken.filter((sound) => sound.to > from && sound.from < to)

const said = (text: string) => outcome.said.find((said) => said.text === text)!

describe("a conversation by voice", () => {
  it("[O8] the user is understood, and is answered", () => {
    const users = outcome.messages.filter(({ role }) => role === "user").map(({ text }) => text)
    expect(users).toEqual(["book a flight to oslo please", "how is the weather in rome", "stop", "thank you"])
    expect(outcome.transcript[0]).toBe("agent: Hello, this is the travel desk. How can I help you?")
    expect(outcome.transcript.at(-1)).toBe("agent: You are welcome. Goodbye.")
    expect(outcome.answered.map(({ text }) => text)).toEqual(["book", "weather", "stop", "thanks"])
  })

  it("[O7] what is understood so far is told while the user speaks", () => {
    const partials = outcome.events.flatMap((event) => (event._tag === "UserTurnPartial" ? [event.text] : []))
    expect(partials).toContain("how is the weather")
    expect(partials).toContain("okay")
  })

  it("[O8] a backchannel makes the agent pause, and it goes on in the same sentence", () => {
    const okay = said("okay")
    const stop = said("stop")
    expect(outcome.silenced.map(({ text }) => text)).toEqual(["okay", "stop"])
    const parts = between(okay.from, stop.from)
    // before and after the pause, and no answer in between
    expect(parts.length).toBeGreaterThanOrEqual(2)
    const answers = outcome.events.filter(
      (event) => event._tag === "SpeechCreated" && event.at > okay.from && event.at < stop.from
    )
    expect(
      answers.flatMap((event) => (event._tag === "SpeechCreated" && event.source === "reply" ? [event] : []))
    ).toEqual([])
  })

  it("[F3, O2] the message that was cut is the model's own text, up to what was heard", () => {
    const cut = outcome.messages.filter(({ interrupted }) => interrupted)
    expect(cut).toHaveLength(1)
    const text = cut[0]!.text
    expect(weather("Rome").startsWith(text)).toBe(true)
    // 165 words a minute are about 14 characters a second
    const { to } = said("weather")
    const seconds = between(to, said("stop").to + 300).reduce((sum, sound) => sum + (sound.to - sound.from) / 1000, 0)
    expect(text.length).toBeGreaterThan(seconds * 8)
    expect(text.length).toBeLessThan(Math.min(seconds * 22, weather("Rome").length))
  })

  it("[O1, D6] the result that came in the meantime waits until nobody speaks", () => {
    const at = (pattern: RegExp) => outcome.transcript.findIndex((line) => pattern.test(line))
    expect(outcome.transcript[at(/is booked/)]).toBe("agent: Your flight to Oslo is booked. It leaves at nine.")
    expect(at(/is booked/)).toBe(at(/^user: stop/) + 2)
    const ended = outcome.events.find((event) => event._tag === "ToolCallEnded")!
    expect(ended.at).toBeLessThan(said("okay").from + 100)
    // nothing begins while the user speaks
    for (const { from, to } of outcome.said) {
      expect(outcome.spoken.filter((sound) => sound.from > from + 300 && sound.from < to)).toEqual([])
    }
  })
})
