/**
 * Dates in words: finding them in a sentence, and the calendar day that they mean.
 */
import { DateTime, Option } from "effect"

const months = [
  "january",
  "february",
  "march",
  "april",
  "may",
  "june",
  "july",
  "august",
  "september",
  "october",
  "november",
  "december"
]
const weekdays = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"]

const numbers: Readonly<Record<string, number>> = {
  a: 1,
  an: 1,
  one: 1,
  two: 2,
  three: 3,
  four: 4,
  five: 5,
  six: 6,
  seven: 7,
  eight: 8,
  nine: 9,
  ten: 10,
  couple: 2,
  few: 3
}

/** Words of dates, which a speller may correct. */
export const dateWords: ReadonlyArray<string> = [
  ...months.filter((name) => name.length > 4),
  ...weekdays,
  "tomorrow",
  "today",
  "weekend"
]

const monthOf = (word: string | undefined): string | undefined =>
  word === undefined || word.length < 3 ? undefined : months.find((name) => name === word || word === name.slice(0, 3))

/** "sat" and "sun" are words of their own: abbreviations count after "on", "next" or "this" only. */
const weekdayOf = (word: string | undefined, marked: boolean): string | undefined =>
  word === undefined
    ? undefined
    : weekdays.find(
        (name) =>
          word === name ||
          word === `${name}s` ||
          (marked && /^(sun|mon|tues?|wed|thur?s?|fri|sat)$/.test(word) && name.startsWith(word.slice(0, 3)))
      )

const ordinal = (word: string | undefined): number | undefined => {
  const match = /^(\d{1,2})(st|nd|rd|th)?$/.exec(word ?? "")
  const day = match === null ? 0 : Number(match[1])
  return day >= 1 && day <= 31 ? day : undefined
}

const yearOf = (word: string | undefined): string => (/^20\d\d$/.test(word ?? "") ? ` ${word}` : "")

const pad = (value: string | number) => String(value).padStart(2, "0")

const numeric = (word: string): string | undefined => {
  const iso = /^(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})$/.exec(word)
  if (iso !== null) return `${iso[1]}-${pad(iso[2] ?? "")}-${pad(iso[3] ?? "")}`
  const parts = /^(\d{1,2})([./])(\d{1,2})(?:[./](\d{4}|\d{2}))?\.?$/.exec(word)
  if (parts === null) return undefined
  let day = Number(parts[1])
  let month = Number(parts[3])
  // 4/15 cannot be a day and a month, so it is a month and a day
  if (month > 12 && day <= 12 && parts[2] === "/") [day, month] = [month, day]
  if (day < 1 || day > 31 || month < 1 || month > 12) return undefined
  const year = parts[4]
  if (year !== undefined) return `${year.length === 2 ? `20${year}` : year}-${pad(month)}-${pad(day)}`
  return `${day} ${months[month - 1]}`
}

export interface FoundDate {
  readonly date: string
  readonly length: number
}

/** The date that starts at a word, if one does, in a plain form that `resolveDate` understands. */
export const dateAt = (words: ReadonlyArray<string>, at: number): FoundDate | undefined => {
  const word = words[at] ?? ""
  const [next, after, third] = [words[at + 1], words[at + 2], words[at + 3]]
  const found = (date: string, length: number): FoundDate => ({ date, length })

  // "on the 15th of April", "by Friday": the preposition belongs to the date
  if (["on", "by", "the", "around", "at"].includes(word)) {
    // in "going on right now" it does not
    if (word === "on" && ["right", "today", "tonight", "tomorrow"].includes(next ?? "")) return undefined
    const inner = dateAt(words, at + 1)
    if (inner !== undefined) return found(inner.date, inner.length + 1)
    const weekday = weekdayOf(next, true)
    if (weekday !== undefined) return found(weekday, 2)
    const day = word === "the" && /^\d+(st|nd|rd|th)$/.test(next ?? "") ? ordinal(next) : undefined
    return day === undefined ? undefined : found(`the ${next}`, 2)
  }
  if (word === "day" && next === "after" && after === "tomorrow") return found("the day after tomorrow", 3)
  if (["today", "tonight", "tomorrow"].includes(word)) return found(word === "tonight" ? "today" : word, 1)
  if (word === "asap" || (word === "as" && next === "soon" && after === "as" && third === "possible")) {
    return found("the next possible day", word === "asap" ? 1 : 4)
  }
  if (word === "right" && next === "now") return found("today", 2)
  if (word === "in") {
    const skip = after === "of" || (next === "a" && (after === "couple" || after === "few")) ? 1 : 0
    const amount = skip === 1 && next === "a" ? numbers[after ?? ""] : (numbers[next ?? ""] ?? ordinal(next))
    const of = words[at + 2 + skip] === "of" ? 1 : 0
    const unit = /^(day|week|month)s?$/.exec(words[at + 2 + skip + of] ?? "")
    if (amount !== undefined && unit !== null) {
      return found(`in ${amount} ${unit[1]}${amount === 1 ? "" : "s"}`, 3 + skip + of)
    }
    const month = monthOf(next)
    return month === undefined ? undefined : found(`${month}${yearOf(after)}`, yearOf(after) === "" ? 2 : 3)
  }
  if (word === "next" || word === "this" || word === "coming") {
    const weekday = weekdayOf(next, true)
    if (weekday !== undefined) return found(`${word === "next" ? "next " : ""}${weekday}`, 2)
    if (next === "weekend" || (next !== undefined && word === "next" && /^(week|month)$/.test(next))) {
      return found(`${word === "coming" ? "this" : word} ${next}`, 2)
    }
    return undefined
  }
  const weekday = weekdayOf(word, false)
  if (weekday !== undefined) {
    // "Friday 15 April" is the date
    const inner = dateAt(words, at + 1)
    return inner !== undefined && /\d/.test(inner.date) ? found(inner.date, inner.length + 1) : found(weekday, 1)
  }
  const asNumbers = numeric(word)
  if (asNumbers !== undefined) return found(asNumbers, 1)
  const day = ordinal(word)
  if (day !== undefined) {
    const of = next === "of" ? 1 : 0
    const month = monthOf(words[at + 1 + of])
    if (month === undefined) return undefined
    const year = yearOf(words[at + 2 + of])
    return found(`${day} ${month}${year}`, 2 + of + (year === "" ? 0 : 1))
  }
  const month = monthOf(word)
  if (month !== undefined) {
    const the = next === "the" ? 1 : 0
    const of = ordinal(words[at + 1 + the])
    if (of === undefined) return undefined
    const year = yearOf(words[at + 2 + the])
    return found(`${of} ${month}${year}`, 2 + the + (year === "" ? 0 : 1))
  }
  return undefined
}

const calendarDay = (year: number, month: number, day: number): Option.Option<DateTime.Utc> =>
  DateTime.make(`${year}-${pad(month)}-${pad(day)}T00:00:00Z`).pipe(
    Option.filter((date) => DateTime.getPartUtc(date, "day") === day)
  )

/**
 * The calendar day that a date means on a given day. None where it is no date ("2027-02-30", "whenever"); an empty text
 * is the next possible day.
 */
export const resolveDate = (text: string, today: DateTime.Utc): Option.Option<DateTime.Utc> => {
  const start = DateTime.removeTime(today)
  const later = (days: number) => Option.some(DateTime.add(start, { days }))
  const words = text
    .toLowerCase()
    .replace(/[,]/g, " ")
    .split(/\s+/)
    .filter((word) => word !== "")
  if (words.length === 0 || /(next|first|earliest) (possible|available)|asap|soon|any (day|time)/.test(text))
    return later(1)
  const plain = dateAt(words, 0)?.date ?? words.join(" ")

  const iso = /^(\d{4})-(\d\d)-(\d\d)$/.exec(plain)
  if (iso !== null) return calendarDay(Number(iso[1]), Number(iso[2]), Number(iso[3]))
  if (plain === "today") return later(0)
  if (plain === "tomorrow") return later(1)
  if (plain === "the day after tomorrow") return later(2)
  if (plain === "next week") return later(7)
  if (plain === "next month") return Option.some(DateTime.add(start, { months: 1 }))
  const ahead = /^in (\d+) (day|week|month)s?$/.exec(plain)
  if (ahead !== null) {
    const amount = Number(ahead[1])
    return Option.some(DateTime.add(start, { [`${ahead[2]}s`]: amount }))
  }
  const weekday = DateTime.getPartUtc(start, "weekDay")
  const untilNext = (target: number) => ((target - weekday + 6) % 7) + 1
  if (plain === "this weekend") return later(untilNext(6))
  if (plain === "next weekend") return later(untilNext(6) + 7)
  const named = weekdays.indexOf(plain.replace(/^next /, ""))
  if (named >= 0) return later(untilNext(named))

  const year = DateTime.getPartUtc(start, "year")
  const future = (month: number, day: number, given: string | undefined) => {
    if (given !== undefined) return calendarDay(Number(given), month, day)
    const date = calendarDay(year, month, day)
    return Option.isSome(date) && DateTime.lessThan(date.value, start) ? calendarDay(year + 1, month, day) : date
  }
  const dayOfMonth = /^the (\d{1,2})/.exec(plain)
  if (dayOfMonth !== null) {
    const month = DateTime.getPartUtc(start, "month")
    const date = calendarDay(year, month, Number(dayOfMonth[1]))
    if (Option.isSome(date) && DateTime.greaterThanOrEqualTo(date.value, start)) return date
    return calendarDay(month === 12 ? year + 1 : year, month === 12 ? 1 : month + 1, Number(dayOfMonth[1]))
  }
  const dayAndMonth = /^(\d{1,2}) ([a-z]+)(?: (\d{4}))?$/.exec(plain)
  if (dayAndMonth !== null) {
    const month = months.indexOf(dayAndMonth[2] ?? "") + 1
    return month === 0 ? Option.none() : future(month, Number(dayAndMonth[1]), dayAndMonth[3])
  }
  const month = /^([a-z]+)(?: (\d{4}))?$/.exec(plain)
  const monthNumber = months.indexOf(month?.[1] ?? "") + 1
  if (monthNumber > 0) {
    return monthNumber === DateTime.getPartUtc(start, "month") && month?.[2] === undefined
      ? later(1)
      : future(monthNumber, 1, month?.[2])
  }
  return Option.none()
}
