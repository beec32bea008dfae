/**
 * What the offline model answers: rules over the conversation, and nothing else. It keeps no state; each request is
 * read from its beginning, so a conversation may be stored, resumed, or begun by another model.
 */
import type { Prompt } from "@effect/ai"
import type { Details, Intent, Route } from "./Understanding.js"
import { plainPlace, understand } from "./Understanding.js"

export interface Call {
  readonly name: string
  readonly params: Readonly<Record<string, unknown>>
}

export interface Answer {
  readonly text: string
  readonly calls: ReadonlyArray<Call & { readonly id: string }>
}

export interface Request {
  readonly prompt: Prompt.Prompt
  /** the names of the tools that may be called; with the names of the parameters that each one has */
  readonly tools: ReadonlyMap<string, ReadonlySet<string>>
  /** "required": some tool has to be called */
  readonly toolChoice: "auto" | "none" | "required"
}

// --- the conversation as a list of events ---------------------------------------------------------------------------

type Event =
  | { readonly _tag: "User"; readonly text: string }
  | { readonly _tag: "Note"; readonly text: string }
  | { readonly _tag: "Said"; readonly text: string }
  | { readonly _tag: "Called"; readonly id: string; readonly name: string; readonly params: Record<string, unknown> }
  | { readonly _tag: "Returned"; readonly id: string; readonly name: string; readonly outcome: Outcome }

interface Outcome {
  readonly isError: boolean
  readonly text: string
  readonly json: unknown
}

/** A note of the application: in the user's role, in a frame that says that the user did not say it. */
export const isNote = (text: string): boolean => /^\s*\[/.test(text) && /not (come )?from the user/i.test(text)

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value)

const asRecord = (value: unknown): Record<string, unknown> => (isRecord(value) ? value : {})

const parse = (text: string): unknown => {
  if (!/^\s*[[{]/.test(text)) return undefined
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** Objects of one field that only wrap a text, as some providers want them. */
const wrappers = ["result", "output", "message", "value", "text", "content"]

const outcomeOf = (result: unknown, isFailure: boolean): Outcome => {
  if (typeof result === "string") {
    const json = parse(result)
    return json === undefined ? { isError: isFailure, text: result.trim(), json } : outcomeOf(json, isFailure)
  }
  if (!isRecord(result)) {
    return { isError: isFailure, text: Array.isArray(result) ? "" : String(result ?? ""), json: result }
  }
  const keys = Object.keys(result).filter((key) => key !== "isError" && key !== "status" && key !== "_tag")
  const failed = isFailure || result.isError === true || result.status === "error" || result.error !== undefined
  if (failed) {
    const inner = result.error ?? result.message ?? result.result ?? result.output
    const text = isRecord(inner) ? String(inner.message ?? JSON.stringify(inner)) : String(inner ?? "it failed")
    return { isError: true, text, json: result }
  }
  const [only] = keys
  if (keys.length === 1 && only !== undefined && wrappers.includes(only)) return outcomeOf(result[only], false)
  return { isError: false, text: "", json: result }
}

const eventsOf = (prompt: Prompt.Prompt): ReadonlyArray<Event> => {
  const events: Array<Event> = []
  for (const message of prompt.content) {
    if (message.role === "system") continue
    if (message.role === "user") {
      const text = message.content.flatMap((part) => (part.type === "text" ? [part.text] : [])).join("\n")
      if (text.trim() !== "") events.push({ _tag: isNote(text) ? "Note" : "User", text })
      continue
    }
    for (const part of message.content) {
      if (part.type === "text" && part.text.trim() !== "") events.push({ _tag: "Said", text: part.text })
      if (part.type === "tool-call") {
        events.push({ _tag: "Called", id: part.id, name: part.name, params: asRecord(part.params) })
      }
      if (part.type === "tool-result") {
        events.push({ _tag: "Returned", id: part.id, name: part.name, outcome: outcomeOf(part.result, part.isFailure) })
      }
    }
  }
  return events
}

/** The call that an update or a final result belongs to; none for a call that the model asked for itself. */
const parentOf = (id: string): string | undefined => /^(.+)_(?:update_\d+|final)$/.exec(id)?.[1]

// --- what the conversation has come to ------------------------------------------------------------------------------

interface Flight {
  readonly origin: string
  readonly destination: string
  readonly date: string
}

interface Booking {
  readonly id: string
  readonly flight: Flight
  readonly status: "running" | "done" | "failed" | "cancelled" | "refused"
  readonly text: string
}

type Question =
  | { readonly _tag: "Slot"; readonly route: Route; readonly need: "origin" | "destination" }
  | { readonly _tag: "City" }
  | { readonly _tag: "Which" }
  | { readonly _tag: "Offer"; readonly route: Route }
  | { readonly _tag: "Purpose"; readonly city: string }
  | { readonly _tag: "Duplicate"; readonly flights: ReadonlyArray<Flight> }

interface State {
  readonly bookings: ReadonlyArray<Booking>
  readonly question: Question | undefined
  /** the place that "there" means */
  readonly place: string | undefined
  /** the last thing that was asked for was the weather: "and in Paris?" */
  readonly weather: boolean
}

interface Plan {
  readonly state: State
  readonly first: ReadonlyArray<Call>
  /** calls that have to wait until the first ones have returned */
  readonly then: ReadonlyArray<Call>
  readonly say: ReadonlyArray<string>
}

const start: State = { bookings: [], question: undefined, place: undefined, weather: false }

export const anyDate = "the next possible day"

const flightOf = (params: Record<string, unknown>): Flight => ({
  origin: String(params.origin ?? "?"),
  destination: String(params.destination ?? "?"),
  date: String(params.date ?? anyDate)
})

const named = (flight: Route): string => `from ${flight.origin} to ${flight.destination}`
const dated = (flight: Route): string =>
  flight.date === undefined || flight.date === anyDate || flight.date === ""
    ? named(flight)
    : `${named(flight)} (${flight.date})`

const isOpen = (booking: Booking) => booking.status === "running"

const listed = (parts: ReadonlyArray<string>, last: "and" | "or" = "and"): string =>
  parts.length < 2 ? parts.join("") : `${parts.slice(0, -1).join(", ")} ${last} ${parts.at(-1)}`

// --- answering the user ---------------------------------------------------------------------------------------------

const abilities =
  'I can book a flight ("book a flight from Oslo to Tokyo next Friday"), look up the weather ("how is the weather ' +
  'in Tokyo?"), tell you what is running ("what are you doing?"), and cancel it ("cancel the flight to Tokyo").'

const greeting =
  "Hello, I am your travel agent. I book flights and look up the weather, and meanwhile you can ask what is running " +
  "or cancel it. Where would you like to go?"

const askFor = (question: Question): string => {
  switch (question._tag) {
    case "Slot": {
      const { destination, origin } = question.route
      if (question.need === "origin") return `Where would you like to fly to ${destination} from?`
      return origin === undefined ? "Where would you like to fly to?" : `Where would you like to fly to from ${origin}?`
    }
    case "City":
      return "For which city?"
    case "Which":
      return "Which one shall I cancel?"
    case "Offer":
      return `I see offers and prices while I book. Shall I book a flight ${dated(question.route)}?`
    case "Purpose":
      return `${question.city}: shall I look up the weather there, or book a flight?`
    case "Duplicate":
      return `Shall I book ${question.flights.length > 1 ? "them" : "it"} as well?`
  }
}

class Planner {
  private readonly first: Array<Call> = []
  private readonly later: Array<Call> = []
  private readonly said: Array<string> = []
  private asking: Question | undefined

  constructor(
    private state: State,
    private readonly tools: Request["tools"]
  ) {
    this.asking = state.question
  }

  plan(): Plan {
    return {
      state: { ...this.state, question: this.asking },
      first: this.first,
      then: this.later,
      say: this.asking !== undefined && this.reask ? [...this.said, askFor(this.asking)] : this.said
    }
  }

  /** the open question is put (again) at the end of the answer */
  private reask = false

  private ask(question: Question): void {
    this.asking = question
    this.reask = true
  }

  private say(text: string): void {
    this.said.push(text)
  }

  private settle(): void {
    this.asking = undefined
    this.reask = false
  }

  private call(name: string, params: Record<string, unknown>): boolean {
    const known = this.tools.get(name)
    if (known === undefined) return false
    const call = { name, params: known.has("confirm_duplicate") ? { confirm_duplicate: null, ...params } : params }
    // the booking that takes the place of a cancelled one must not find it still running
    if (this.first.some((other) => other.name === "cancel_task") && name === "book_flight") this.later.push(call)
    else this.first.push(call)
    return true
  }

  hear(text: string): void {
    const { answer, bareCancel, dismissal, intents } = understand(text)
    const question = this.asking
    const only = intents.length === 1 ? intents[0] : undefined
    if (question !== undefined) {
      if (dismissal || (bareCancel && question._tag !== "Which" && !this.state.bookings.some(isOpen))) {
        this.settle()
        this.say(question._tag === "Duplicate" ? "All right, then I leave it at that." : "All right, never mind.")
        return
      }
      if (only !== undefined && this.answered(question, only, answer, text)) return
    }
    for (const intent of intents) this.follow(intent, answer, intents.length === 1)
  }

  /** Takes a line as the answer to a question, where it is one. */
  private answered(question: Question, intent: Intent, answer: "yes" | "no" | undefined, text: string): boolean {
    const { route } = intent
    switch (question._tag) {
      case "Slot": {
        if (intent._tag === "Details" || intent._tag === "Book") {
          const filled = this.fill(question, intent)
          if (filled === undefined) return false
          this.settle()
          this.book(filled, intent.also)
          return true
        }
        if (intent._tag === "Unknown" && answer === "no") {
          this.settle()
          this.say("All right, then I book nothing.")
          return true
        }
        if (intent._tag === "Unknown") {
          const place = answer === undefined ? plainPlace(text) : undefined
          if (place === undefined) {
            this.say("I did not catch a place.")
            this.reask = true
          } else {
            this.settle()
            this.book({ ...question.route, [question.need]: place }, [])
          }
          return true
        }
        return false
      }
      case "City": {
        const place =
          intent.cities[0] ?? route.destination ?? (intent._tag === "Unknown" ? plainPlace(text) : undefined)
        if (place === undefined || !["Details", "Unknown", "Weather"].includes(intent._tag)) return false
        this.settle()
        this.weather(intent.cities.length > 1 ? intent.cities : [place])
        return true
      }
      case "Which": {
        if (intent._tag !== "Details" && intent._tag !== "Cancel") {
          if (answer === undefined || intent._tag !== "Unknown") return false
          if (answer === "yes") this.ask(question)
          else {
            this.settle()
            this.say("All right, I cancel nothing.")
          }
          return true
        }
        this.cancel(intent)
        return true
      }
      case "Offer": {
        if (answer === "no") {
          this.settle()
          this.say("All right, then I book nothing.")
          return true
        }
        if (answer === "yes" || intent._tag === "Details") {
          this.settle()
          this.book(this.merge(question.route, intent), intent.also)
          return true
        }
        return false
      }
      case "Purpose": {
        if (intent._tag === "Weather" && intent.cities.length === 0) {
          this.settle()
          this.weather([question.city])
          return true
        }
        if (intent._tag === "Book" || (intent._tag === "Details" && route.origin !== undefined)) {
          this.settle()
          this.book({ destination: question.city, ...defined(this.merge({}, intent)) }, [])
          return true
        }
        return false
      }
      case "Duplicate": {
        const [flight] = question.flights
        const elsewhere = route.destination !== undefined || route.origin !== undefined || intent.cities.length > 0
        if (answer === "no" || intent._tag === "Keep") {
          this.settle()
          if (intent._tag === "Book" && elsewhere) this.book({ ...flight, ...defined(this.merge({}, intent)) }, [])
          else if (intent._tag === "Cancel") return false
          else this.say("All right, then I leave it at that.")
          return true
        }
        if (
          intent._tag === "Cancel" ||
          intent._tag === "Status" ||
          intent._tag === "Weather" ||
          intent._tag === "Offer"
        ) {
          if (intent._tag === "Cancel") this.settle()
          return false
        }
        if (answer === "yes" || (intent._tag === "Details" && (intent.all || intent.again))) {
          this.settle()
          for (const one of question.flights) {
            const wanted = elsewhere || route.date !== undefined ? { ...one, ...defined(this.merge({}, intent)) } : one
            if (!this.call("book_flight", { ...wanted, confirm_duplicate: true }))
              this.say("I cannot book flights here.")
          }
          return true
        }
        if (intent._tag === "Unknown") {
          this.say("Please say yes or no.")
          this.reask = true
          return true
        }
        return false
      }
    }
  }

  /** Puts places where they belong: two loose ones are a route, one is where to. */
  private merge(route: Route, { cities, route: said, there }: Details): Route {
    const loose = cities.filter((city) => city !== said.origin && city !== said.destination)
    let origin = said.origin
    let destination = said.destination
    if (origin === undefined && destination === undefined && loose.length >= 2) [origin, destination] = loose
    else if (destination === undefined && loose.length > 0) destination = loose[0]
    else if (origin === undefined && destination !== undefined && loose.length > 0) origin = loose[0]
    if (destination === undefined && there) destination = this.state.place
    return { ...route, ...defined({ origin, destination, date: said.date }) }
  }

  private fill(question: Question & { _tag: "Slot" }, intent: Intent): Route | undefined {
    const { cities, route } = intent
    const [city] = cities
    if (route.origin === undefined && route.destination === undefined && cities.length === 1 && city !== undefined) {
      return { ...question.route, ...defined({ date: route.date }), [question.need]: city }
    }
    if (intent._tag === "Book" && intent.again && question.route.destination === undefined) return undefined
    return this.merge(question.route, intent)
  }

  private follow(intent: Intent, answer: "yes" | "no" | undefined, alone: boolean) {
    if (this.asking !== undefined) {
      // the question stays open while something else is asked, and is put again where it was for the missing part
      if (["Book", "Cancel", "Change", "Offer", "Details"].includes(intent._tag)) this.settle()
      else this.reask = this.asking._tag === "Slot" && ["Weather", "Status"].includes(intent._tag)
    }
    const wasWeather = this.state.weather
    this.state = { ...this.state, weather: intent._tag === "Weather" }
    switch (intent._tag) {
      case "Book": {
        const last = this.state.bookings.at(-1)
        const said = this.merge({}, intent)
        if (intent.instead && this.first.length === 0 && this.state.bookings.some(isOpen)) return this.change(intent)
        const repeated: Route =
          last === undefined || !intent.again
            ? {}
            : said.destination === undefined && said.origin === undefined
              ? last.flight
              : { origin: last.flight.origin }
        return this.book({ ...repeated, ...defined(said) }, intent.also)
      }
      case "Offer": {
        const route = this.merge({}, intent)
        if (route.origin !== undefined && route.destination !== undefined) {
          this.state = { ...this.state, place: route.destination }
          return this.ask({ _tag: "Offer", route })
        }
        this.say("I see offers and prices while I book.")
        return this.ask({ _tag: "Slot", route, need: route.destination === undefined ? "destination" : "origin" })
      }
      case "Weather": {
        const cities = [...new Set([...intent.cities, ...defined([intent.route.destination]), ...intent.also])]
        const [city] = cities
        const from = city ?? (intent.there || this.state.place !== undefined ? this.state.place : intent.route.origin)
        if (from === undefined) return this.ask({ _tag: "City" })
        return this.weather(cities.length > 0 ? cities.slice(0, 5) : [from])
      }
      case "Status":
        return this.status()
      case "Cancel":
        return this.cancel(intent)
      case "Change":
        return this.change(intent)
      case "Other":
        return this.say(`I cannot do that. ${abilities}`)
      case "Keep":
        return this.say(
          this.state.bookings.some(isOpen)
            ? "All right, I let it go on."
            : "All right. Nothing is running at the moment."
        )
      case "Details":
        return this.details(intent, wasWeather)
      case "Thanks":
        return this.say("You are welcome.")
      case "Greet":
        return this.say("Hello! Where would you like to go?")
      case "Bye":
        return this.say("Goodbye, and have a good trip!")
      case "Help":
        return this.say(abilities)
      case "Unknown": {
        if (!alone) return
        if (answer !== undefined) return this.say(answer === "yes" ? "All right." : "All right, then not.")
        return this.say(`I am sorry, I did not understand that. ${abilities}`)
      }
    }
  }

  /** Another flight in the place of the one that is being booked. */
  private change(intent: Intent) {
    const open = this.state.bookings.filter(isOpen)
    const said = this.merge({}, intent)
    const [only] = open
    if (only === undefined) {
      if (this.state.bookings.length > 0 && intent._tag === "Change") {
        return this.say("Nothing is running that I could change. You can book another flight.")
      }
      return this.book(said, intent.also)
    }
    if (open.length > 1) {
      this.say("Several bookings are running: cancel one of them first.")
      return this.ask({ _tag: "Which" })
    }
    if (Object.keys(said).length === 0) return this.say('Tell me the new place or day: "change it to Paris".')
    this.cancel({ ...intent, all: false, cities: [], ids: [], ordinal: undefined, route: {} })
    return this.book({ ...only.flight, ...said }, intent.also)
  }

  private details(intent: Intent, wasWeather: boolean) {
    const { again, all, cities, route } = intent
    const places = [...cities, ...defined([route.destination])]
    const [city] = places
    if (intent.instead && this.state.bookings.some(isOpen)) return this.change(intent)
    if (wasWeather && route.origin === undefined && city !== undefined) return this.weather(places)
    if (route.origin !== undefined || route.destination !== undefined || cities.length > 1) {
      return this.book(this.merge({}, intent), intent.also)
    }
    if (city !== undefined) return this.ask({ _tag: "Purpose", city })
    const last = this.state.bookings.at(-1)
    if (again && last !== undefined) return this.book({ ...last.flight, ...defined({ date: route.date }) }, [])
    if (route.date !== undefined) {
      return this.say("A date alone tells me too little. Say from where to where you would like to fly on that day.")
    }
    this.say(`I am not sure what you mean${all ? " by all of them" : ""}. ${abilities}`)
  }

  private book(route: Route, also: ReadonlyArray<string>) {
    if (!this.tools.has("book_flight")) return this.say("I cannot book flights here.")
    const { date, destination, origin } = route
    if (destination !== undefined) this.state = { ...this.state, place: destination }
    if (origin === undefined || destination === undefined) {
      return this.ask({ _tag: "Slot", route, need: destination === undefined ? "destination" : "origin" })
    }
    if (origin === destination) {
      this.say(`That would be from ${origin} to ${origin}.`)
      return this.ask({ _tag: "Slot", route: { ...defined({ date }), origin }, need: "destination" })
    }
    for (const to of [destination, ...also.filter((city) => city !== origin)]) {
      this.call("book_flight", { origin, destination: to, date: date ?? anyDate })
    }
  }

  private weather(cities: ReadonlyArray<string>) {
    if (!this.tools.has("weather")) return this.say("I cannot look up the weather here.")
    this.state = { ...this.state, place: cities.at(-1), weather: true }
    for (const city of cities) this.call("weather", { city })
  }

  private status() {
    const open = this.state.bookings.filter(isOpen)
    if (!this.call("get_running_tasks", {})) {
      this.say(
        open.length === 0
          ? "Nothing is running at the moment."
          : `I am working on the ${open.length > 1 ? "bookings" : "booking"} ${listed(open.map(({ flight }) => named(flight)))}.`
      )
    }
    const done = this.state.bookings.filter((booking) => booking.status === "done" && booking.text !== "")
    if (done.length > 0) this.say(done.map((booking) => booking.text).join(" "))
  }

  private cancel({ all, cities, ids, ordinal, route }: Details) {
    this.settle()
    const open = this.state.bookings.filter(isOpen)
    const places = [...cities, ...defined([route.destination, route.origin])]
    const [unknown] = ids
    if (unknown !== undefined) {
      for (const id of ids) if (!this.call("cancel_task", { call_id: id })) this.say("I cannot cancel anything here.")
      return
    }
    if (open.length === 0) {
      const done = this.state.bookings.filter((booking) => booking.status === "done")
      return this.say(
        done.length === 0
          ? "There is nothing running that I could cancel."
          : "Nothing is running any more: what is booked is booked, I cannot cancel that."
      )
    }
    let chosen: ReadonlyArray<Booking> = open
    if (places.length > 0) {
      chosen = open.filter(({ flight }) =>
        places.every((city) => city === flight.destination || city === flight.origin)
      )
      if (chosen.length === 0) {
        chosen = open.filter(({ flight }) => places.includes(flight.destination))
      }
      if (chosen.length === 0) {
        return this.say(
          `No booking for ${listed(places, "or")} is running. Running: ${listed(open.map(({ flight }) => named(flight)))}.`
        )
      }
    }
    if (ordinal !== undefined) chosen = chosen.slice(ordinal < 0 ? -1 : ordinal - 1, ordinal < 0 ? undefined : ordinal)
    if (chosen.length === 0) return this.say(`There are only ${open.length} bookings running.`)
    if (chosen.length > 1 && !all) {
      const same = new Set(chosen.map(({ flight }) => named(flight))).size < chosen.length
      this.say(
        `${chosen.length} bookings are running: ${listed(
          chosen.map(({ flight, id }, index) => `${index + 1}. ${named(flight)}${same ? ` (${id})` : ""}`)
        )}.`
      )
      return this.ask({ _tag: "Which" })
    }
    for (const { id } of chosen) {
      if (!this.call("cancel_task", { call_id: id })) return this.say("I cannot cancel anything here.")
    }
  }
}

/** Without the fields (or elements) that are undefined. */
function defined<A>(value: ReadonlyArray<A | undefined>): Array<A>
function defined(value: Route): Route
function defined(value: ReadonlyArray<unknown> | Route): unknown {
  return Array.isArray(value)
    ? value.filter((part) => part !== undefined)
    : Object.fromEntries(Object.entries(value).filter(([, part]) => part !== undefined))
}

const planFor = (state: State, texts: ReadonlyArray<string>, tools: Request["tools"]): Plan => {
  let plan: Plan = { state, first: [], then: [], say: [] }
  for (const text of texts) {
    const planner = new Planner(plan.state, tools)
    planner.hear(text)
    const next = planner.plan()
    const open = plan.state.question
    // a question that the next line answered need not be put any more
    const before =
      open !== undefined && next.state.question !== open ? plan.say.filter((said) => said !== askFor(open)) : plan.say
    plan = {
      state: next.state,
      first: [...plan.first, ...next.first],
      then: [...plan.then, ...next.then],
      say: [...before.filter((said) => !next.say.includes(said)), ...next.say]
    }
  }
  return plan
}

// --- reading the conversation ---------------------------------------------------------------------------------------

const wantsConfirmation = ({ text }: Outcome) => text.includes("confirm_duplicate")

const change = (state: State, id: string, status: Booking["status"], text: string): State => ({
  ...state,
  bookings: state.bookings.map((booking) => (booking.id === id ? { ...booking, status, text } : booking))
})

const noticed = (state: State, event: Event, calls: ReadonlyMap<string, Called>): State => {
  if (event._tag === "Called" && event.name === "book_flight" && parentOf(event.id) === undefined) {
    const booking: Booking = { id: event.id, flight: flightOf(event.params), status: "running", text: "" }
    return { ...state, bookings: [...state.bookings, booking] }
  }
  if (event._tag !== "Returned") return state
  const { id, outcome } = event
  if (event.name === "cancel_task") {
    const target = calls.get(id)?.params.call_id
    return outcome.isError || typeof target !== "string" ? state : change(state, target, "cancelled", outcome.text)
  }
  if (event.name !== "book_flight") return state
  const parent = parentOf(id)
  if (parent !== undefined) {
    if (!id.endsWith("_final")) return state
    if (outcome.isError) return change(state, parent, "failed", outcome.text)
    return stopped(outcome.text)
      ? change(state, parent, "cancelled", outcome.text)
      : change(state, parent, "done", outcome.text)
  }
  if (outcome.isError) return change(state, id, "failed", outcome.text)
  if (stopped(outcome.text)) return change(state, id, "cancelled", outcome.text)
  if (!wantsConfirmation(outcome))
    return /^Not started/.test(outcome.text) ? change(state, id, "refused", outcome.text) : state
  const flight = flightOf(calls.get(id)?.params ?? {})
  const flights = state.question?._tag === "Duplicate" ? [...state.question.flights, flight] : [flight]
  return { ...change(state, id, "refused", outcome.text), question: { _tag: "Duplicate", flights } }
}

type Called = Extract<Event, { _tag: "Called" }>
type Returned = Extract<Event, { _tag: "Returned" }>

const stopped = (text: string): boolean => /\bwas (cancelled|stopped)\b/i.test(text) && text.length < 200

interface Reading {
  readonly events: ReadonlyArray<Event>
  readonly calls: ReadonlyMap<string, Called>
  /** the turn that is being answered: where it starts, and what it plans */
  readonly turn: { readonly start: number; readonly plan: Plan } | undefined
}

const read = (request: Request): Reading => {
  const events = eventsOf(request.prompt)
  const calls = new Map<string, Called>()
  for (const event of events) if (event._tag === "Called") calls.set(event.id, event)
  let state = start
  let turn: Reading["turn"]
  let texts: Array<string> = []
  let before = state
  let answered = true
  events.forEach((event, index) => {
    if (event._tag === "User") {
      // lines that came in before anything was answered are one request
      if (answered) {
        texts = []
        before = state
      }
      texts.push(event.text)
      const plan = planFor({ ...before, bookings: state.bookings }, texts, request.tools)
      turn = { start: answered || turn === undefined ? index : turn.start, plan }
      state = plan.state
      answered = false
      return
    }
    if (event._tag === "Said" || (event._tag === "Called" && parentOf(event.id) === undefined)) answered = true
    state = noticed(state, event, calls)
  })
  return { events, calls, turn }
}

// --- saying what tools returned -------------------------------------------------------------------------------------

const readable = (value: unknown): string => {
  if (Array.isArray(value)) return value.map(readable).join(", ")
  if (isRecord(value)) {
    return Object.entries(value)
      .map(([key, part]) => `${key.replace(/_/g, " ")}: ${readable(part)}`)
      .join(", ")
  }
  return String(value)
}

const sentenceOf = (text: string): string => {
  const line = text.trim().replace(/\s+/g, " ")
  return line === "" || /[.!?…]$/.test(line) ? line : `${line}.`
}

/** What a tool said for people, without the lines in parentheses that were added for the model. */
const messageOf = (outcome: Outcome): string =>
  sentenceOf(
    outcome.text !== ""
      ? outcome.text
          .split("\n")
          .filter((line) => !/^\s*\(.*\)\s*$/.test(line))
          .join(" ")
      : readable(outcome.json)
  )

const lower = (text: string) => text.replace(/^\p{Lu}(?=\p{Ll})/u, (letter) => letter.toLowerCase())

/** No message yet: a call that is shown as running, or that left the turn with nothing to say. */
const isPlaceholder = ({ text }: Outcome): boolean =>
  /^\S+ (is still running|works in the background)[^\n]*$/.test(text.trim())

const tasksIn = (value: unknown): ReadonlyArray<unknown> | undefined => {
  if (Array.isArray(value)) return value
  return isRecord(value)
    ? Object.values(value)
        .map(tasksIn)
        .find((list) => list !== undefined)
    : undefined
}

const task = (value: unknown): string => {
  const record = asRecord(value)
  const params = asRecord(record.arguments ?? record.params)
  const text = record.last_update ?? record.lastUpdate
  const update = typeof text === "string" ? text : isRecord(text) ? readable(text) : undefined
  const id = record.call_id ?? record.callId ?? "?"
  const what =
    record.name === "book_flight" && params.origin !== undefined
      ? `booking a flight ${named(flightOf(params))} (${id})`
      : `${record.name ?? "a call"} (${id})`
  const last = update === undefined ? "" : messageOf({ isError: false, text: update, json: undefined })
  return last === "" ? `${what}.` : `${what}: ${lower(last)}`
}

/** One result in words. It depends on the call and its result alone, so that what has been said can be recognised. */
const voiced = (event: Returned, calls: Reading["calls"]): string => {
  const { id, name, outcome } = event
  const parent = parentOf(id)
  const params = calls.get(parent ?? id)?.params ?? {}
  if (name === "weather") {
    const city = String(params.city ?? "that place")
    if (outcome.isError) return `I could not look up the weather in ${city}: ${lower(sentenceOf(outcome.text))}`
    const json = asRecord(outcome.json)
    if (typeof json.celsius !== "number") return `The weather in ${city}: ${messageOf(outcome)}`
    const sky = json.sky ?? json.description
    return (
      `In ${json.city ?? city} it is ${json.celsius} °C${sky === undefined ? "" : ` with ${sky}`}` +
      `${json.advice === undefined ? "" : `: ${json.advice}`}${json.simulated === true ? " (simulated)" : ""}.`
    )
  }
  if (name === "get_running_tasks") {
    if (outcome.isError) return `I could not look that up: ${lower(sentenceOf(outcome.text))}`
    const tasks = tasksIn(outcome.json)
    if (tasks === undefined) return messageOf(outcome)
    if (tasks.length === 0) return "Nothing is running at the moment."
    if (tasks.length === 1) return `I am ${task(tasks[0])}`
    return `${tasks.length} things are running. ${tasks.map((one, index) => `${index + 1}. ${sentenceCase(task(one))}`).join(" ")}`
  }
  if (name === "cancel_task") {
    const flight = calls.get(String(params.call_id ?? ""))
    const what = flight === undefined ? String(params.call_id ?? "it") : `the booking ${named(flightOf(flight.params))}`
    return outcome.isError
      ? `I could not cancel ${what}: ${lower(sentenceOf(outcome.text))}`
      : `I have cancelled ${what}.`
  }
  if (name === "book_flight") {
    const flight = flightOf(params)
    if (outcome.isError) return `The booking ${named(flight)} did not work out: ${lower(sentenceOf(outcome.text))}`
    if (isPlaceholder(outcome)) return `I am working on the booking ${named(flight)}.`
    if (stopped(outcome.text)) return `The booking ${named(flight)} was stopped.`
    if (parent !== undefined) return messageOf(outcome)
    if (wantsConfirmation(outcome)) {
      const other = [...calls.values()].find(
        (call) => call.name === name && call.id !== id && new RegExp(`\\b${call.id}\\b`).test(outcome.text)
      )
      const running = other === undefined ? "A booking" : `A booking ${named(flightOf(other.params))}`
      return `${running} is already under way. Shall I book a flight ${dated(flight)} as well?`
    }
    return /^Not started/.test(outcome.text)
      ? `I have not started the booking ${named(flight)}: one is already under way.`
      : `${messageOf(outcome)} I will tell you when there is news; we can talk meanwhile.`
  }
  return outcome.isError ? `${name} failed: ${lower(sentenceOf(outcome.text))}` : messageOf(outcome)
}

const sentenceCase = (text: string) => text.replace(/^\p{Ll}/u, (letter) => letter.toUpperCase())

const saidAfter = (events: ReadonlyArray<Event>, index: number, text: string): boolean =>
  events.some((event, at) => at > index && event._tag === "Said" && event.text.includes(text))

/** The results of a turn's own calls that have not been told. */
const untold = ({ calls, events, turn }: Reading): ReadonlyArray<string> =>
  events.flatMap((event, index) => {
    if (event._tag !== "Returned" || parentOf(event.id) !== undefined) return []
    const asked = events.findIndex((other) => other._tag === "Called" && other.id === event.id)
    const silent = !events.some((other, at) => at > index && other._tag === "Said")
    if (!silent && (turn === undefined || asked < turn.start)) return []
    const text = voiced(event, calls)
    return text === "" || saidAfter(events, index, text) ? [] : [text]
  })

/** The answer to a note of the application: what background calls have reported, or what it asks to be said. */
const noteAnswer = (note: string, { calls, events }: Reading): string => {
  const reported = events.flatMap((event, index) =>
    event._tag === "Returned" && parentOf(event.id) !== undefined ? [{ event, index, parent: parentOf(event.id) }] : []
  )
  const mentioned = reported.filter(({ event }) => new RegExp(`(?<!\\w)${event.id}(?!\\w)`).test(note))
  const news = (mentioned.length > 0 ? mentioned : reported).filter(
    // of several reports of one call the last one tells where it stands, also where it is not to be told
    ({ event, index, parent }) =>
      !reported.some((other) => other.index > index && other.parent === parent) &&
      (mentioned.length > 0 || !stopped(event.outcome.text))
  )
  const texts = news
    .map(({ event, index }) => ({ text: voiced(event, calls), index }))
    .filter(({ index, text }) => text !== "" && !saidAfter(events, index, text))
    .map(({ text }) => text)
  if (texts.length > 0) return texts.join(" ")
  if (mentioned.length > 0) return ""
  if (/\b(greet|welcome|say hello|introduce yourself|who you are)\b/i.test(note)) {
    return greeting
  }
  return /\b(say goodbye|farewell)\b/i.test(note) ? "Goodbye, and have a good trip!" : ""
}

// --- the answer -----------------------------------------------------------------------------------------------------

const withIds = (calls: ReadonlyArray<Call>, reading: Reading): Answer["calls"] => {
  let last = 0
  for (const id of reading.calls.keys()) last = Math.max(last, Number(/^call_(\d+)/.exec(id)?.[1] ?? 0))
  return calls.map((call, index) => ({ ...call, id: `call_${last + index + 1}` }))
}

export const answer = (request: Request): Answer => {
  const reading = read(request)
  const { events, turn } = reading
  const last = events.at(-1)
  const say = (text: string): Answer => ({ text, calls: [] })
  if (last?._tag === "Note") return say(noteAnswer(last.text, reading))
  if (turn === undefined) return say(last === undefined ? greeting : "")

  const { plan } = turn
  const own = events.filter(
    (event, index) => event._tag === "Called" && index > turn.start && parentOf(event.id) === undefined
  ).length
  const due = own === 0 ? plan.first : own === plan.first.length ? plan.then : []
  if (due.length > 0 && request.toolChoice !== "none") return { text: "", calls: withIds(due, reading) }
  if (own === 0 && request.toolChoice === "required" && request.tools.has("get_running_tasks")) {
    return { text: "", calls: withIds([{ name: "get_running_tasks", params: {} }], reading) }
  }
  const told = own > 0 || last?._tag === "User" ? untold(reading) : []
  const missed = due.length > 0 ? ["I cannot do that just now; please ask me again."] : []
  return say([...told, ...missed, ...plan.say].join(" "))
}
