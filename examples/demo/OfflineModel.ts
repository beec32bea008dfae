/**
 * A language model that answers offline, by keywords, so that the demo needs no key. It is a `LanguageModel` like any
 * provider's: it sees the prompt, the tools and the tool choice of a request, and nothing else.
 */
import { Predicate } from "effect"
import * as Offline from "../shared/Offline.js"
import { anyDay } from "./Travel.js"

const greeting =
  "Hello, I am your travel agent. I book flights, pay bills and look up the weather, and meanwhile you can ask what is " +
  "running or cancel it. Where would you like to go?"

const help =
  'I did not understand that. Say for instance "book a flight from Oslo to Tokyo", "how is the weather in Tokyo?", ' +
  '"pay the hotel deposit of 300 euros", "what are you doing?", "cancel it", or "I want to complain".'

/** A city, up to the word or the mark that ends its name; "I want to fly" names none. */
const after = (word: string) =>
  new RegExp(`\\b${word} (?!fly\\b|book\\b)([\\p{L}' -]+?)(?= (?:from|to|on|in|at|too|please)\\b|[^\\p{L}' -]|$)`, "iu")

const book = ({ calls, text }: Offline.Heard): Offline.Answer => {
  const last = calls.findLast(({ name }) => name === "book_flight")?.arguments
  const origin = Offline.place(text, after("from")) ?? last?.origin
  const destination = Offline.place(text, after("to")) ?? last?.destination
  if (origin === undefined || destination === undefined) return "From where to where would you like to fly?"
  const date = /\b\d{4}-\d\d-\d\d\b/.exec(text)?.[0] ?? anyDay
  return { calls: [["book_flight", { origin, destination, date, confirm_duplicate: null }]] }
}

const weather = ({ text }: Offline.Heard): Offline.Answer => {
  const city = Offline.place(text, after("in"))
  return city === undefined ? 'For which city? Say "weather in Tokyo".' : { calls: [["weather", { city }]] }
}

const pay = ({ text }: Offline.Heard): Offline.Answer => {
  const euros = Number(/(\d+(?:\.\d+)?)\s*(?:euros?|€)/i.exec(text)?.[1])
  const what = /\bpay (?:for )?(?:the |my )?(.+?)(?= (?:of|for) \d|[:,.!?]|$)/i.exec(text)?.[1]?.trim()
  return what === undefined || !Number.isFinite(euros)
    ? 'What shall I pay, and how much? Say "pay the hotel deposit of 300 euros".'
    : { calls: [["pay", { what, euros }]] }
}

/** What the user wishes for, of a booking that runs. */
const wish = ({ running, text }: Offline.Heard): Offline.Answer | undefined => {
  const booking = running.findLast(({ name }) => name === "book_flight")
  const words = /\b(?:with|want|like|prefer) (an? [\p{L} -]*(?:seat|meal)[\p{L} -]*)/iu.exec(text)?.[1]?.trim()
  return booking === undefined || words === undefined || /\b(book|fly) /i.test(text)
    ? undefined
    : { calls: [["message_task", { call_id: booking.callId, message: words }]] }
}

/** What is done at a keyword; the first that fits counts. */
const table: ReadonlyArray<readonly [RegExp, (heard: Offline.Heard) => Offline.Answer]> = [
  [/\b(weather|rain|umbrella)/, weather],
  [/\bpay\b/, pay],
  [/\b(what are you doing|running|status)\b/, () => ({ calls: [["get_running_tasks", {}]] })],
  [/\b(complain|complaint|support)\b/, () => ({ calls: [["ask_support", {}]] })],
  [/\b(book|flight|fly)\b/, book],
  [/\b(thanks|thank you)\b/, () => "You are welcome."],
  [/\bbye\b/, () => "Goodbye, and have a good trip!"]
]

const task = (value: unknown): string => {
  if (!Predicate.hasProperty(value, "call_id")) return String(value)
  const args = Predicate.hasProperty(value, "arguments") ? value.arguments : undefined
  const route =
    Predicate.hasProperty(args, "origin") && Predicate.hasProperty(args, "destination")
      ? ` from ${args.origin} to ${args.destination}`
      : ""
  const update = Predicate.hasProperty(value, "last_update") ? Offline.words(value.last_update) : undefined
  if (Predicate.hasProperty(value, "waits_for_approval")) {
    const what = Predicate.hasProperty(args, "what") ? ` of ${args.what}` : ""
    return `A payment${what} (${value.call_id}) that waits until you approve it.`
  }
  return `A booking${route} (${value.call_id})${update === undefined ? "" : `: ${update}`}`
}

const rules: Offline.Rules = {
  greet: (heard) =>
    heard.offers("ask_support") ? greeting : "This is support. Your bookings go on meanwhile. What went wrong?",
  hear: (heard) => {
    const said = heard.text.toLowerCase()
    if (!heard.offers("ask_support")) return "I am sorry to hear that. I have written it down."
    const asked = heard.calls.findLast(({ name }) => name === "book_flight")?.arguments
    if (heard.before.endsWith("as well?") && asked !== undefined) {
      if (/^(yes|ok|sure|go ahead)\b/.test(said))
        return { calls: [["book_flight", { ...asked, confirm_duplicate: true }]] }
      if (/^no\b/.test(said)) return "All right, then I leave it at that."
    }
    return Offline.cancel(heard) ?? wish(heard) ?? table.find(([words]) => words.test(said))?.[1](heard) ?? help
  },
  tell: (tool, value) => {
    const data = Offline.data(value)
    if (tool === "weather" && Predicate.hasProperty(data, "city") && Predicate.hasProperty(data, "celsius")) {
      const sky = Predicate.hasProperty(data, "sky") ? ` with ${data.sky}` : ""
      return `In ${data.city} it is ${data.celsius} °C${sky} (simulated).`
    }
    if (tool === "get_running_tasks" && Array.isArray(data)) {
      return data.length === 0 ? "Nothing is running at the moment." : data.map(task).join(" ")
    }
    if (tool === "book_flight" && String(value).includes("confirm_duplicate")) {
      return "A booking is already under way. Shall I book this one as well?"
    }
    if (tool === "message_task") return "I have passed it on."
    if (tool === "pay") {
      const line = Offline.words(value) ?? ""
      if (/waits until a person approves/.test(line)) {
        return "You have to approve that; I pay once you have. We can talk meanwhile."
      }
      // what comes of the payment says it all
      if (/^A person has approved/.test(line)) return undefined
      const denied = /was not approved(.*?)\.?$/.exec(line)
      if (denied !== null) return `I have not paid it, as you did not approve it${denied[1]}.`
    }
    const text = Offline.tellCancelled(tool, value, "I have cancelled it.")
    return text?.startsWith("Searching") ? `${text} I will tell you when there is news; we can talk meanwhile.` : text
  }
}

export const make = (pace?: Offline.Pace) => Offline.make(rules, pace)

export const layer = (pace?: Offline.Pace) => Offline.layer(rules, pace)
