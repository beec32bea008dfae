/**
 * Options that are numbers: counts, times and rates. They are looked at when what has them is built, so that a number
 * that makes no sense cannot turn a bound off unseen (rule L3).
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import { OptionsError, ToolOptionsError } from "../../Tags.js"

/** What is wrong with a value, in words that follow the name of its option. */
type Check = (value: unknown) => string | undefined

/** The options of one thing that are to be looked at. One that is absent or undefined has its default. */
export type Checks = Readonly<Record<string, Check>>

const shown = (value: unknown): string => {
  switch (typeof value) {
    case "number":
    case "boolean":
      return String(value)
    case "bigint":
      return `${value}n`
    case "string":
      return JSON.stringify(value.slice(0, 80))
    case "object":
      return value === null ? "null" : "an object"
    default:
      return `a ${typeof value}`
  }
}

/** `most: "memory"`: the count bounds what is kept, so it has to be one; else Infinity means that there is no bound. */
const count =
  (least: number, most: "memory" | "none"): Check =>
  (value) => {
    if (Number.isSafeInteger(value) && (value as number) >= least) return undefined
    if (most === "none") {
      return value === Number.POSITIVE_INFINITY
        ? undefined
        : `has to be a whole number of at least ${least}, or Infinity for no bound, not ${shown(value)}`
    }
    return (
      `has to be a whole number of at least ${least}, not ${shown(value)}` +
      (value === Number.POSITIVE_INFINITY ? ": it bounds what is kept in memory" : "")
    )
  }

/** Effect takes what is less than nothing, and NaN, for nothing. */
const isNegative = (value: unknown): boolean => {
  if (typeof value === "number") return !(value >= 0)
  if (typeof value === "bigint") return value < 0n
  if (typeof value === "string") return value.startsWith("-")
  if (!Array.isArray(value)) return false
  const [seconds, nanos] = value as ReadonlyArray<number>
  return !((seconds as number) * 1_000_000_000 + (nanos as number) >= 0)
}

const millisOf = (value: unknown): number | undefined => {
  try {
    return isNegative(value) ? undefined : Duration.toMillis(value as Duration.DurationInput)
  } catch {
    // no duration, or a value that cannot be looked at
    return undefined
  }
}

/** Infinity: none, or never. */
const time: Check = (value) =>
  millisOf(value) === undefined
    ? `has to be a time of at least 0, as milliseconds or as text such as "5 seconds", not ${shown(value)}`
    : undefined

const someTime: Check = (value) => {
  const millis = millisOf(value)
  return millis === undefined || millis === 0
    ? `has to be a time of more than 0, as milliseconds or as text such as "5 seconds", not ${shown(value)}`
    : undefined
}

const rate: Check = (value) =>
  typeof value === "number" && value > 0 && Number.isFinite(1000 / value)
    ? undefined
    : `has to be a number of more than 0, not ${shown(value)}`

const finite: Check = (value) => (Number.isFinite(value) ? undefined : `has to be a number, not ${shown(value)}`)

const whole: Check = (value) =>
  Number.isSafeInteger(value) ? undefined : `has to be a whole number, not ${shown(value)}`

const flag: Check = (value) => (typeof value === "boolean" ? undefined : `has to be true or false, not ${shown(value)}`)

const oneOf =
  (...words: ReadonlyArray<string>): Check =>
  (value) =>
    words.some((word) => word === value)
      ? undefined
      : `has to be ${words.map((word) => JSON.stringify(word)).join(" or ")}, not ${shown(value)}`

const identifier: Check = (value) =>
  typeof value === "string" && value.trim() !== ""
    ? undefined
    : `has to be a text that is not blank, not ${shown(value)}`

const flagOrFunction: Check = (value) =>
  typeof value === "boolean" || typeof value === "function"
    ? undefined
    : `has to be true, false or a function, not ${shown(value)}`

const callback: Check = (value) =>
  typeof value === "function" ? undefined : `has to be a function, not ${shown(value)}`

/** As they were stored: what is wrong with one of them is told before anything of the session is there. */
const pendingApprovals: Check = (value) => {
  if (!Array.isArray(value)) return `has to be a list of what session.approvals gave, not ${shown(value)}`
  const fits = value.every((one: unknown) => {
    const { callId, expiresAt, name, reason, requestedAt } = (
      typeof one === "object" && one !== null ? one : {}
    ) as Readonly<Record<string, unknown>>
    return (
      typeof callId === "string" &&
      typeof name === "string" &&
      Number.isFinite(requestedAt) &&
      (expiresAt === undefined || Number.isFinite(expiresAt)) &&
      (reason === undefined || typeof reason === "string")
    )
  })
  return fits ? undefined : "has something in it that session.approvals did not give"
}

// ------------------------------------------------------------------------------------------------------ who has which

/** Characters of an update, a result or a failure, if nobody says how many. */
export const defaultOutputLength = 400_000

export const ofSession: Checks = {
  id: identifier,
  // 0: no step with calls
  maxToolSteps: count(0, "none"),
  maxPendingUpdates: count(1, "memory"),
  maxMessages: count(1, "memory"),
  maxRunning: count(1, "memory"),
  eventBuffer: count(1, "memory"),
  maxOutputLength: count(1, "memory"),
  maxFileBytes: count(1, "memory"),
  deltas: flag,
  // 0: before the handler starts
  releaseAfter: time,
  startAfter: oneOf("call", "step"),
  // 0: closing waits for nothing that it may interrupt
  drainTimeout: time,
  cancellationTimeout: time,
  resume: flag,
  approvals: pendingApprovals,
  onItems: callback
}

export const ofSessions: Checks = {
  // 0: as soon as nothing is open
  idleAfter: time,
  maxSessions: count(1, "memory"),
  maxKept: count(0, "memory"),
  durable: flag
}

/** With 0 none would ever be opened. */
export const ofRecovery: Checks = { concurrency: count(1, "none") }

const tablePrefix: Check = (value) =>
  typeof value === "string" && /^[a-z_][a-z0-9_]{0,39}$/.test(value)
    ? undefined
    : `has to be up to 40 small letters, digits and "_", and no digit in front, not ${shown(value)}`

export const ofSqlStorage: Checks = { prefix: tablePrefix }

const path: Check = (value) => {
  if (typeof value !== "string" || value === "" || value.startsWith("file:") || value.includes("\0")) {
    return `has to be the path of a file, not ${shown(value)}`
  }
  return value.startsWith(":")
    ? `has to be the path of a file, not ${shown(value)}: SessionStorage.layerMemory keeps sessions in memory`
    : undefined
}

export const ofSqliteStorage: Checks = { file: path, synchronous: oneOf("full", "normal") }

/** Of agents and toolsets. With 0 each call would wait for ever; the calls that wait count for `maxRunning`. */
export const ofUi: Checks = {
  keep: count(1, "memory"),
  wait: time,
  onDisconnect: oneOf("continue", "interrupt")
}

export const ofCalls: Checks = { maxConcurrency: count(1, "none") }

const messages: Check = (value) =>
  value === true || Schema.isSchema(value)
    ? undefined
    : `has to be true or a Schema of Effect, such as Schema.String, not ${shown(value)}`

const ofTool: Checks = {
  releaseAfter: time,
  timeout: someTime,
  startAfter: oneOf("call", "step"),
  onRestart: oneOf("rerun", "unknown"),
  messages,
  needsApproval: flagOrFunction,
  // 0: nobody could ever agree
  approvalTimeout: someTime
}

export const ofApprovals: Checks = { mode: oneOf("never", "always", "destructive"), timeout: someTime }

export const ofDuplicates: Checks = {
  mode: oneOf("allow", "reject", "replace", "confirm", "join"),
  scope: oneOf("name", "name_and_args"),
  allow: oneOf("idempotent")
}

export const ofFiller: Checks = {
  delay: time,
  // 0: fillers without an end, in no time
  interval: someTime,
  maxSteps: count(0, "none")
}

const effect: Check = (value) => (Effect.isEffect(value) ? undefined : `has to be an Effect, not ${shown(value)}`)

export const ofOutput: Checks = {
  pause: effect,
  resume: effect,
  // 0: each output would stall
  stallTimeout: someTime,
  // 0: it may report nothing once it is interrupted
  stopTimeout: time
}

export const ofUserTurn: Checks = { speech: oneOf("keep", "pause", "interrupt") }

export const ofPace: Checks = { charactersPerSecond: rate }

const repeats: Check = (value) => (Schedule.isSchedule(value) ? undefined : count(0, "none")(value))

export const ofRequests: Checks = { maxRetries: count(0, "none"), retry: repeats, maxRetryAfter: time }

export const ofListeners: Checks = { onUpdate: callback, onProgress: callback, decide: callback }

// 2: a character may have as many units
export const ofSentences: Checks = { maxLength: count(2, "none") }

// 0: the next sentence is asked for when the one before it has been played
export const ofVoice: Checks = {
  ahead: count(0, "memory"),
  maxLength: count(2, "none"),
  stallTimeout: someTime,
  stopTimeout: time
}

export const ofBargeIn: Checks = {
  after: time,
  minWords: count(0, "none"),
  isBackchannel: callback,
  speech: oneOf("pause", "interrupt"),
  falseAfter: time
}

export const ofEndpoint: Checks = { silence: time, maxSilence: time, isComplete: callback }

export const ofSynthesizer: Checks = {
  outputFormat: oneOf("wav", "pcm"),
  sampleRate: count(1, "memory"),
  frame: someTime
}

export const ofScript: Checks = { pace: time, duration: time }

const transport: Check = (value) => {
  const { command, open, type, url } = (typeof value === "object" && value !== null ? value : {}) as Readonly<
    Record<string, unknown>
  >
  if (type === "stdio") return typeof command === "string" ? undefined : "needs a command, which is a text"
  if (type === "http") {
    return (typeof url === "string" && URL.canParse(url)) || url instanceof URL ? undefined : "needs a url"
  }
  if (type === "custom") return typeof open === "function" ? undefined : "needs open, which is a function"
  return `has to be of the type "stdio", "http" or "custom", not ${shown(value)}`
}

const text: Check = (value) => (typeof value === "string" ? undefined : `has to be a text, not ${shown(value)}`)

export const ofMcpClient: Checks = { transport, tools: callback, prefix: text, connect: oneOf("fail", "without") }

export const ofMcpTool: Checks = {
  onProgress: oneOf("progress", "update", "ignore"),
  idleTimeout: someTime,
  tasks: oneOf("auto", "never"),
  retry: oneOf("unsent", "idempotent")
}

const texts: Check = (value) =>
  Array.isArray(value) && value.every((one: unknown) => typeof one === "string")
    ? undefined
    : `has to be a list of texts, not ${shown(value)}`

export const ofMcpServer: Checks = {
  name: text,
  version: text,
  wait: someTime,
  allowedHosts: texts,
  allowedOrigins: texts
}

// 0: it stays where it is
export const ofCursor: Checks = { count: count(0, "none") }

export const ofClock: Checks = { now: finite, seed: whole }

// ---------------------------------------------------------------------------------------------------------- the check

const firstProblem = (
  options: object | undefined,
  checks: Checks
): { readonly option: string; readonly problem: string } | undefined => {
  if (options === undefined) return undefined
  // with each session and each agent: no list of entries, and few of the many options are given
  for (const option in Object.getPrototypeOf(options) === Object.prototype ? options : checks) {
    if (!Object.hasOwn(checks, option)) continue
    const value = (options as Readonly<Record<string, unknown>>)[option]
    const problem = value === undefined ? undefined : checks[option]?.(value)
    if (problem !== undefined) return { option, problem }
  }
  return undefined
}

export const errorIn = (owner: string, options: object | undefined, checks: Checks): OptionsError | undefined => {
  const found = firstProblem(options, checks)
  return found === undefined ? undefined : new OptionsError({ owner, ...found })
}

/** Dies with the first option that makes no sense. */
export const check = (owner: string, options: object | undefined, checks: Checks): Effect.Effect<void> =>
  Effect.suspend(() => {
    const error = errorIn(owner, options, checks)
    return error === undefined ? Effect.void : Effect.die(error)
  })

export const errorInTool = (tool: string, options: object): ToolOptionsError | undefined => {
  const found = firstProblem(options, ofTool)
  return found === undefined
    ? undefined
    : new ToolOptionsError({ tool, problem: `the option ${found.option} ${found.problem}.` })
}
