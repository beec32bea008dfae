/**
 * What a line of the user asks for. A line may ask for several things ("book … and tell me the weather there"); what is
 * said here does not depend on the conversation: that is up to the model.
 */
import { dateAt, dateWords } from "./Dates.js"
import { distance, fold, nearPlace, placeAt, placeName } from "./Places.js"

export interface Route {
  readonly origin?: string | undefined
  readonly destination?: string | undefined
  readonly date?: string | undefined
}

/** What a request says of places, dates and of which thing it means. */
export interface Details {
  readonly route: Route
  /** places with nothing that tells where they belong */
  readonly cities: ReadonlyArray<string>
  /** "the first", "the second one"; -1 is the last */
  readonly ordinal?: number | undefined
  readonly all: boolean
  /** call ids, as a person may have read them off the screen */
  readonly ids: ReadonlyArray<string>
  /** "another one", "again", "the same" */
  readonly again: boolean
  /** "instead": it takes the place of what is running */
  readonly instead: boolean
  /** "there": the place that was spoken of */
  readonly there: boolean
  /** "to Tokyo and Paris": where else to */
  readonly also: ReadonlyArray<string>
}

export type Intent = Details & {
  readonly _tag:
    | "Book"
    | "Offer"
    | "Weather"
    | "Status"
    | "Cancel"
    | "Change"
    | "Keep"
    | "Other"
    | "Greet"
    | "Thanks"
    | "Help"
    | "Bye"
    | "Details"
    | "Unknown"
}

export interface Understood {
  readonly intents: ReadonlyArray<Intent>
  /** how the line begins, as an answer to a question */
  readonly answer: "yes" | "no" | undefined
  /** it only drops what was being talked about: "never mind" */
  readonly dismissal: boolean
  /** nothing but "cancel" or "stop", with nothing that says what */
  readonly bareCancel: boolean
}

interface Token {
  readonly raw: string
  readonly key: string
  readonly kind: "word" | "mark" | "date"
}

// --- words ---------------------------------------------------------------------------------------------------------

const contractions: ReadonlyArray<readonly [RegExp, string]> = [
  [/\b(can)(?:not|['’]?t)\b/gi, "can not"],
  [/\bwon['’]?t\b/gi, "will not"],
  [/\b(do|does|did|is|are|was|has|have|would|should|could)n['’]?t\b/gi, "$1 not"],
  [/\b(i|you|we|they|it|he|she|that|there)['’](d|ll)\b/gi, "$1 would"],
  [/\b(i)['’]?m\b/gi, "$1 am"],
  [/\b(you|we|they)['’]re\b/gi, "$1 are"],
  [/\b(i|you|we|they)['’]ve\b/gi, "$1 have"],
  [/\b(what|how|where|who|it|that|there|here|when)['’]s\b/gi, "$1 is"],
  [/\b(what|how|where|that)s\b/gi, "$1 is"],
  [/\blet['’]?s\b/gi, "let us"],
  [/\bnevermind\b/gi, "never mind"],
  [/\b(gonna)\b/gi, "going to"],
  [/\b(wanna)\b/gi, "want to"],
  [/\b(gimme)\b/gi, "give me"],
  [/\bst\.\s/gi, "St "]
]

/** What a speller may correct a word to. */
const vocabulary = [
  "weather",
  "forecast",
  "temperature",
  "umbrella",
  "flight",
  "flights",
  "ticket",
  "tickets",
  "reserve",
  "reservation",
  "booking",
  "cancel",
  "status",
  "running",
  "raining",
  "snowing",
  "thanks",
  "please",
  ...dateWords
]
const correct = new Set([
  ...vocabulary,
  "statue",
  "ruining",
  "sunny",
  "friday",
  "rainy",
  "training",
  "draining",
  "looking"
])

const spelled = (key: string): string => {
  if (/^(bok|boook|bokk|boko|booc)$/.test(key)) return "book"
  if (key.length < 5 || correct.has(key)) return key
  for (const word of vocabulary) {
    if (word[0] === key[0] && distance(key, word) <= (word.length >= 8 ? 2 : 1)) return word
  }
  return key
}

const wordPattern =
  /\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[./]\d{1,2}(?:[./]\d{2,4})?|\d+(?:st|nd|rd|th)?(?![\p{L}_])|[\p{L}\p{M}\d_]+(?:['’-][\p{L}\p{M}\d_]+)*|\S/gu

/** Nobody says more in one breath; a longer line is cut. */
const longest = 1000

const joined = (text: string): string =>
  text
    .slice(0, longest)
    .normalize("NFC")
    .replace(/\s*(?:→|[-=]+>|»)\s*/g, " to ")
    .replace(/(?<=\p{L})[–—](?=\p{L})/gu, " - ")
    .replace(/["“”«()[\]]/g, " ")
    // "15. april" and "April 15, 2027" are dates, not ends of sentences
    .replace(/\b(\d{1,2})\.\s+(?=\p{L}{3})/gu, "$1 ")
    .replace(/(\d{1,2}(?:st|nd|rd|th)?),\s+(20\d\d)\b/gu, "$1 $2")

const tokenize = (text: string): ReadonlyArray<Token> => {
  const plain = contractions.reduce((line, [from, to]) => line.replace(from, to), joined(text))
  const words = (plain.match(wordPattern) ?? []).flatMap((word) => {
    // "Oslo-Tokyo" is two places, "Clermont-Ferrand" is one
    const parts = word.split("-")
    return parts.length === 2 && /^\p{L}+$/u.test(parts.join("")) && parts.some((part) => placeAt([part], 0, true))
      ? placeAt([word], 0, true) === undefined
        ? [parts[0] ?? "", "-", parts[1] ?? ""]
        : [word]
      : [word]
  })
  const keys = words.map((word) => spelled(fold(word)))
  const tokens: Array<Token> = []
  for (let at = 0; at < words.length; at++) {
    const raw = words[at] ?? ""
    const date = /[\p{L}\d]/u.test(raw)
      ? dateAt(
          keys.map((key, index) => (key === "" ? (words[index] ?? "") : key)),
          at
        )
      : undefined
    // fold takes the dots out of 15.04.2027: such a word is read as it was written
    const written = date ?? (/^\d/.test(raw) ? dateAt(words, at) : undefined)
    if (written !== undefined) {
      tokens.push({ raw: written.date, key: written.date, kind: "date" })
      at += written.length - 1
    } else {
      tokens.push({ raw, key: keys[at] ?? "", kind: /[\p{L}\p{N}]/u.test(raw) ? "word" : "mark" })
    }
  }
  return tokens
}

const sentence = (tokens: ReadonlyArray<Token>): string =>
  ` ${tokens
    .map((token) => (token.kind === "word" ? token.key : token.kind === "date" ? "<date>" : ""))
    .filter((key) => key !== "")
    .join(" ")} `

// --- intents -------------------------------------------------------------------------------------------------------

const has = (pattern: RegExp) => (text: string) => pattern.test(text)

const isKeep = has(
  / (do|please) not (cancel|stop|abort|drop)| never cancel| not (be )?cancel+ed| keep (it|them|both|the|my|that|going)| let it (run|go on)| do nothing /
)
const isCancel = (text: string): boolean =>
  / (cancel|cancel+ed|cancel+ing|cancellation|abort|revoke|withdraw|halt|scrap|scratch|undo|unbook|quit (it|that|the)|call (it|them|that|this|the \w+) off|call off|get rid of|kill (it|that|the|call|call_\w+))\b/.test(
    text
  ) ||
  / (forget|drop) (it|that|this|them|about|the|my|all|both|everything)\b/.test(text) ||
  / never mind\b/.test(text) ||
  / (changed|change) my mind\b/.test(text) ||
  / (do|does|will|would|can) not (want|need|book|fly|go|travel|wish|make)\b.* (any ?more|any longer|anymore)\b/.test(
    text
  ) ||
  / (do|would) not (want|need|wish) (it|that|this|them|the|to|my|a|any)\b/.test(text) ||
  / (do|please) not (book|reserve|buy)\b/.test(text) ||
  / no longer (want|need|wish|going|interested)\b/.test(text) ||
  (/ stop\b/.test(text) && !/ (non|one|no|a|without|single|two|any) stop\b/.test(text))
const isStatus = has(
  / (running|status|progress|pending|ongoing|underway|busy|in flight at the moment)\b| (what|which|how) (are|is|were) you (doing|up to|working|at|busy)\b| you (are|still) (doing|working)\b| (are|is) you doing (anything|something)\b| (are|is) you (still )?(working|done|finished|ready|busy)\b| how far\b| (is|are) (it|that|they|the \w+|my \w+)( \w+)? (done|finished|ready|complete|completed|booked) | (are|is) (it|we) (done|finished|ready)\b| (any|some|the) (news|update|updates|progress)\b| going on\b| (is|are) happening\b| still (at it|searching|looking|booking|working)\b| (what|how) about (my|the) (flight|flights|booking|bookings|ticket|tickets|reservation)\b| (how|where) (is|are) (it|things|my \w+|the (booking|bookings|ticket|tickets|reservation))\b(?! (in|like))| (my|all|show|list|the|which|what) (bookings|reservations|tasks|jobs|calls)\b| (what|which) (have|did) you (book|booked|do|done|reserve|find|found)\b| (did|have|has) (you|it|that) (book|booked|find|found|finish|finished|work|worked|already|go through|gone through)\b| (tasks|jobs)\b| state of\b| when (will|is|are) (it|my|the|that|you)\b.* (done|ready|finished|booked|complete)\b| taking so long\b| (anything|something) (open|left|else (open|running))\b| how long (will|does|is|until)\b/
)
const isWeatherWord = has(
  / (weather|forecast|temperature|temperatures|umbrella|raincoat|sunscreen|rain|rains|raining|rainy|snow|snows|snowing|snowy|sunny|sunshine|degrees|celsius|fahrenheit|climate|windy|cloudy|cloud|clouds|humid|storm|stormy|foggy|freezing|drizzle)\b/
)
const isWeather = (text: string): boolean =>
  (/ (hot|cold|warm|wet|dry|nice|mild|chilly|cool|sun|wind)\b/.test(text) && / (how|is|are|will|be)\b/.test(text)) ||
  / (what|how) (is|will) (it|things) (be )?(like )?(in|at|over|around|there)\b/.test(text) ||
  / what (is|will) it (be )?like\b/.test(text) ||
  / what (should|shall|do|to) (i )?(wear|pack)\b/.test(text) ||
  / need (a|my|an) (jacket|coat|umbrella|sweater|raincoat|hat)\b/.test(text)
const isOffer = (text: string): boolean =>
  (/ (price|prices|cost|costs|fare|fares|expensive|how much)\b/.test(text) ||
    / (is|are) there (a |any |some )?(\w+ )?(flight|flights|plane|planes|connection|seats|tickets)\b/.test(text) ||
    / do you (have|know|see|sell|offer)\b.* (flight|flights|plane|seats|tickets)\b/.test(text) ||
    / (which|what) flights\b| (list|show) (me )?(the |all |some )?flights\b| flights (are|go) (there|available)\b/.test(
      text
    ) ||
    / how (can|do|could|would) (i|one|we) (get|go|travel|fly)\b/.test(text)) &&
  !/ (book|reserve|buy)\b/.test(text)
const isBook = has(
  / (book|books|booked|booking|reserve|reservation|flight|flights|fly|ticket|tickets|plane|airplane|seat|seats)\b| (travel|get|go|trip|journey|take me|bring me|fly me|send me|jet|return) (me )?(back )?(to|from)\b| (need|want|have|like) to be in\b| (need|want|like|have) to travel\b/
)
/** Of these, nobody asks for a booking who asks for something else in the same breath. */
const isWeakBook = has(
  / (flying|going|travelling|traveling|trip|visiting|visit|leaving|landing|arriving|arrive|land)\b/
)

const isGreet = has(/^ (hi|hello|hey|hiya|howdy|greetings|good (morning|afternoon|evening|day)|moin|yo)\b/)
const isThanks = has(
  / (thanks|thank you|thx|ty|cheers|great|perfect|wonderful|awesome|excellent|lovely|brilliant|super|cool|nice)\b/
)
const isHelp = has(
  / (help|what can you|what do you do|who are you|what are you|(what|which) tools|how does this work|capabilities|instructions|commands|options)\b/
)
const isBye = has(/ (bye|goodbye|good bye|farewell|see you|ciao|good night|that is all|that would be all|i am done)\b/)

const lead = / (oh|well|um|uh|hmm|hm|so|ah|and|please|actually|ok then|then|i think|hey)(?= )/
const stripLead = (text: string): string => {
  let rest = text
  while (lead.exec(rest)?.index === 0) rest = rest.replace(lead, "")
  return rest
}

const answerOf = (text: string): "yes" | "no" | undefined => {
  const rest = stripLead(text)
  if (/^ (absolutely|certainly|definitely|of course|sure|probably|maybe|perhaps|please) (do )?not\b/.test(rest))
    return "no"
  if (
    /^ (no|nope|nah|n|negative|leave (it|that)|not|do not|rather not|better not|skip|one is enough|enough|i would rather not|i do not want|keep|just (the )?one|only one)\b/.test(
      rest
    )
  ) {
    return "no"
  }
  if (
    /^ (yes|yeah|yep|yup|ya|y|sure|ok|okay|k|aye|go ahead|go on|go for it|please do|do (it|so|that)|do$|of course|certainly|absolutely|definitely|right|correct|confirm|confirmed|why not|sounds good|that is fine|fine|all right|alright|let us (do|go)|i do|i would(?! like)|i confirm|another|a second|second one|both|book (it|that|a second|another|both|one)|by all means|true|indeed|exactly|please)\b/.test(
      rest
    )
  ) {
    return "yes"
  }
  return / (yes|go ahead|do it anyway|book it anyway|anyway)\b/.test(rest) ? "yes" : undefined
}

type Kind = "Cancel" | "Change" | "Keep" | "Other" | "Status" | "Weather" | "Offer" | "Book"

const isChange = (text: string): boolean =>
  / (change|switch|reschedule|postpone|rebook|move|modify|alter) (it|that|this|the|my)\b/.test(text) ||
  / make (it|that) (to |for |on )?(?!quick|fast|snappy)/.test(text)
const isOther = (text: string): boolean =>
  / (book|reserve|rent|hire|order|need|want|find|get)\b.* (hotel|hotels|hostel|room|rooms|apartment|car|cars|train|trains|bus|restaurant|table|cruise|ferry|taxi|boat|bike|pizza)\b/.test(
    text
  ) && !/ (flight|flights|fly|plane|airport)\b/.test(text)

const kindOf = (text: string): Kind | undefined => {
  if (isKeep(text)) return "Keep"
  if (isCancel(text)) return "Cancel"
  if (isWeatherWord(text)) return "Weather"
  if (isStatus(text) && !/ (book|reserve) (me )?(a|an|another|the|two)\b/.test(text)) return "Status"
  if (isWeather(text)) return "Weather"
  if (isChange(text)) return "Change"
  if (isOther(text)) return "Other"
  if (isOffer(text)) return "Offer"
  if (isBook(text)) return "Book"
  return undefined
}

const minorKindOf = (text: string): "Greet" | "Thanks" | "Help" | "Bye" | undefined => {
  if (isBye(text)) return "Bye"
  if (isHelp(text)) return "Help"
  if (isThanks(text)) return "Thanks"
  if (isGreet(text)) return "Greet"
  return undefined
}

// --- details -------------------------------------------------------------------------------------------------------

/** Words that no place begins with and at which an unknown name ends. */
const common = new Set(
  (
    "a about abroad again airport all also am an and another any anymore anyone anything anyway are around as asap at available away back be because been " +
    "before best book booking both business but buy by call can cancel change cheap cheapest check city class could currently day days degrees depart departing destination did " +
    "direct do does doing done dont early economy either else evening every everything find first fine fly flying flight flights for forget from get give go going good great had have " +
    "hello help her here hey hi him his holiday home hot hour how i if in instead into is it its job just keep kind know last late later leave " +
    "leaving let like look looking make many may maybe me meanwhile mind month more morning much my name near need new next nice night no non none noon not now of ok okay " +
    "on once one only or other our out over passenger passengers people person plan plane please possible price put rain reserve return right same say schedule seat second see set should show " +
    "so some someone something somewhere soon spend stay still stop such sure sun take talk tell ticket tickets than thank thanks that the their them then there these they thing " +
    "think third this those time to today tomorrow tonight too travel trip two umbrella under until up us use vacation via visit wait want was way we wear weather week well were what when where " +
    "whether which while who why will window with without work would yes yet you your afternoon midnight one-way oneway round roundtrip round-trip nonstop non-stop weekend warm cold wet " +
    "status running outside moment general advance celsius fahrenheit hurry future mean time case fact place town country world call_1 anywhere wherever elsewhere"
  ).split(/\s+/)
)
/** The verbs that follow "to": "I want to reserve …". */
const verbs = new Set(
  (
    "book reserve fly go get travel be buy see know have make take check ask hear cancel stop find do come visit arrive leave depart look tell use start finish talk attend meet work " +
    "catch plan schedule order purchase change move pay switch head spend return return wait return try keep bring enjoy relax sleep eat learn understand speak say"
  ).split(/\s+/)
)

const numbers: Readonly<Record<string, number>> = {
  first: 1,
  "1st": 1,
  former: 1,
  earlier: 1,
  older: 1,
  oldest: 1,
  second: 2,
  "2nd": 2,
  latter: 2,
  third: 3,
  "3rd": 3,
  fourth: 4,
  "4th": 4,
  fifth: 5,
  "5th": 5,
  last: -1,
  latest: -1,
  newest: -1,
  newer: -1,
  later: -1
}

const detailsOf = (tokens: ReadonlyArray<Token>, named: boolean): Details => {
  const text = sentence(tokens)
  const raws = tokens.map((token) => (token.kind === "word" ? token.raw : ""))
  const shouted = !raws.some((raw) => /\p{Ll}/u.test(raw))
  let origin: string | undefined
  let destination: string | undefined
  let date: string | undefined
  const cities: Array<string> = []
  const names: Array<string> = []
  const also: Array<string> = []

  const key = (at: number) => (tokens[at]?.kind === "word" ? (tokens[at]?.key ?? "") : "")

  /** A place that a preposition announces: a known one, or whatever stands there and is no common word. */
  const read = (at: number, strict: boolean): { readonly name: string; readonly length: number } | undefined => {
    const found = placeAt(raws, at, true)
    if (found !== undefined) return found
    if (key(at) === "the") {
      const inner = read(at + 1, true)
      return inner === undefined ? undefined : { name: inner.name, length: inner.length + 1 }
    }
    const words: Array<string> = []
    for (let index = at; index < tokens.length && words.length < 4; index++) {
      const word = key(index)
      const raw = raws[index] ?? ""
      if (word === "city" && words.length > 0) {
        words.push(raw)
        continue
      }
      if (word === "" || common.has(word) || (words.length === 0 && verbs.has(word)) || /^\d/.test(word)) break
      const capital = /^\p{Lu}/u.test(raw)
      const first = words[0]
      if (first === undefined ? strict && (!capital || shouted) : /^\p{Lu}/u.test(first) && !capital && !shouted) break
      // a known place ends the unknown one: "gotham paris"
      if (words.length > 0 && placeAt(raws, index, false) !== undefined) break
      words.push(raw)
    }
    if (words.length === 0) return undefined
    return { name: nearPlace(words) ?? placeName(words), length: words.length }
  }

  for (let at = 0; at < tokens.length; at++) {
    const token = tokens[at]
    if (token === undefined || token.kind === "mark") continue
    if (token.kind === "date") {
      date ??= token.raw
      continue
    }
    const before = `${key(at - 2)} ${key(at - 1)}`
    let role: "origin" | "destination" | "place" | "skip" | undefined
    let start = at + 1
    switch (token.key) {
      case "from":
      case "departing":
      case "starting":
      case "leaving":
      case "depart":
      case "leave":
      case "origin":
        role = "origin"
        if (["from", "in", "at", "is", "out", "of", ""].includes(key(start)) && key(start) !== "") start++
        if (key(start) === "of") start++
        if (key(start) === "for" || key(start) === "to") role = undefined
        break
      case "out":
        role = key(start) === "of" ? "origin" : undefined
        start++
        break
      case "between":
        role = "origin"
        break
      case "to":
      case "towards":
      case "toward":
      case "into":
      case "destination":
      case "visit":
      case "visiting":
        role = "destination"
        if (["is", "in"].includes(key(start))) start++
        break
      case "for":
        role =
          / (flight|ticket|plane|seat|flights|tickets)$| (leave|leaving|departing|depart|bound|headed|heading)$/.test(
            ` ${key(at - 1)}`
          )
            ? "destination"
            : "place"
        break
      case "in":
      case "at":
      case "near":
      case "around":
      case "over":
      case "of":
      case "about":
      case "like":
        role = /\b(am|live|living|based|currently|now|staying|start)$/.test(before.trim())
          ? "origin"
          : /\b(to be|arrive|arriving|land|landing|touch down)$/.test(before.trim())
            ? "destination"
            : "place"
        break
      case "via":
        role = "skip"
        break
    }
    if (role !== undefined) {
      // "From: Oslo"
      if (tokens[start]?.raw === ":" || tokens[start]?.raw === "=") start++
      const strict = role === "place" && !(named && ["in", "at", "for", "near", "around"].includes(token.key))
      const found = start < tokens.length ? read(start, strict) : undefined
      if (found === undefined) continue
      if (role === "origin") origin ??= found.name
      else if (role === "destination" && destination === undefined) destination = found.name
      else if (role !== "skip") cities.push(found.name)
      at = start + found.length - 1
      // "to Tokyo and Paris"
      while (role === "destination" && (key(at + 1) === "and" || tokens[at + 1]?.raw === ",")) {
        const other = placeAt(raws, at + 2, false)
        if (other === undefined || ["to", "is", "from"].includes(key(at + 2 + other.length))) break
        also.push(other.name)
        at += 1 + other.length
      }
      // "between Oslo and Tokyo", "from Oslo - Tokyo"
      if (token.key === "between" && key(at + 1) === "and") {
        const other = read(at + 2, false)
        if (other !== undefined) {
          destination ??= other.name
          at += 1 + other.length
        }
      }
      continue
    }
    const loose = placeAt(raws, at, false)
    if (loose !== undefined) {
      cities.push(loose.name)
      at += loose.length - 1
      continue
    }
    // a name in the middle of a sentence
    const startsSentence = at === 0 || tokens[at - 1]?.kind === "mark"
    if (
      !shouted &&
      !startsSentence &&
      /^\p{Lu}\p{Ll}/u.test(token.raw) &&
      !common.has(token.key) &&
      !verbs.has(token.key)
    ) {
      const found = read(at, true)
      if (found !== undefined) {
        names.push(found.name)
        at += found.length - 1
      }
    }
  }

  // any name in the middle of a sentence may be a place, where there is no better one
  if (origin === undefined && destination === undefined && cities.length === 0) cities.push(...names)
  const ordinalWord = text.split(" ").find((word) => word in numbers)
  const ids = raws.filter((raw) => /^[\p{L}\d]+_[\p{L}\d_]+$/u.test(raw))
  return {
    route: { origin, destination, date },
    cities: [...new Set(cities)],
    ordinal:
      ordinalWord === undefined || (ordinalWord === "second" && / a second\b/.test(text))
        ? undefined
        : numbers[ordinalWord],
    all: / (all|both|everything|every|each|them)\b/.test(text),
    ids,
    there: / there /.test(text) && !/ (is|are|will|was) there (a|an|any|some|be|\w+s) /.test(text),
    also,
    instead: / (instead|rather)\b/.test(text),
    again:
      !/ any ?more\b/.test(text) &&
      / (again|another|same|second|one more|once more|repeat|too|as well|also|additional|extra|more|instead|duplicate)\b/.test(
        text
      )
  }
}

// --- lines ---------------------------------------------------------------------------------------------------------

const separators = new Set(["and", "also", "then", "but", "plus", "meanwhile"])

/** What a text of the user asks for, in order. */
export const understand = (text: string): Understood => {
  const tokens = tokenize(text)
  const whole = sentence(tokens)

  // cut at conjunctions and punctuation, then join the pieces that ask for nothing by themselves to their neighbours
  const pieces: Array<Array<Token>> = [[]]
  for (const token of tokens) {
    const cut = token.kind === "mark" ? /[.,;:?!]/.test(token.raw) : token.kind === "word" && separators.has(token.key)
    if (cut) pieces.push([])
    pieces.at(-1)?.push(token)
  }
  interface Part {
    tokens: Array<Token>
    kind: Kind | undefined
  }
  const parts: Array<Part> = []
  let pending: Array<Token> = []
  for (const piece of pieces) {
    const kind = kindOf(sentence(piece))
    const previous = parts.at(-1)
    if (kind === undefined) {
      if (previous === undefined) pending = [...pending, ...piece]
      else previous.tokens.push(...piece)
      continue
    }
    const here = detailsOf(piece, kind === "Weather")
    const there = previous === undefined ? undefined : detailsOf(previous.tokens, false)
    const conflict =
      here.route.destination !== undefined &&
      there?.route.destination !== undefined &&
      here.route.destination !== there.route.destination
    // "Cancel it, I do not need it any more" is one request, "book to Rome, book to Paris" are two
    if (previous !== undefined && previous.kind === kind && !conflict) previous.tokens.push(...piece)
    else {
      parts.push({ tokens: [...pending, ...piece], kind })
      pending = []
    }
  }
  if (pending.length > 0) {
    const kind = isWeakBook(sentence(pending)) ? "Book" : undefined
    parts.push({ tokens: pending, kind })
  }

  const intents = parts.flatMap(({ kind, tokens }): ReadonlyArray<Intent> => {
    const details = detailsOf(tokens, kind === "Weather")
    if (kind !== undefined) return [{ _tag: kind, ...details }]
    const { cities, ids, ordinal, route } = details
    const said = sentence(tokens)
    const minor = minorKindOf(said)
    if (
      route.origin !== undefined ||
      route.destination !== undefined ||
      route.date !== undefined ||
      cities.length > 0
    ) {
      return [{ _tag: "Details", ...details }]
    }
    if (minor !== undefined) return [{ _tag: minor, ...details }]
    if (ids.length > 0 || ordinal !== undefined || details.all || details.again)
      return [{ _tag: "Details", ...details }]
    return [{ _tag: "Unknown", ...details }]
  })
  return {
    intents,
    answer: answerOf(whole),
    dismissal:
      /^( (never mind|forget (it|that|about it)|drop it|leave it|skip it|no|nah|nope|none|nothing|neither)( thanks| thank you| please| then)*)+ $/.test(
        stripLead(whole)
      ),
    bareCancel: /^ (cancel|stop|abort)( it| that| this)?( thanks| thank you| please| then)* $/.test(stripLead(whole))
  }
}

/** A place given in answer to the question for one: an unknown name too, in any case. */
export const plainPlace = (text: string): string | undefined => {
  const tokens = tokenize(text).filter((token) => token.kind === "word")
  const words = tokens.filter((token) => !common.has(token.key)).map((token) => token.raw)
  if (words.length === 0 || words.length > 3 || tokens.length > 6 || words.some((word) => /\d/.test(word)))
    return undefined
  if (words.some((word) => verbs.has(fold(word)))) return undefined
  return nearPlace(words) ?? placeName(words)
}
