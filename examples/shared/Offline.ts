/**
 * Models for the agents of the examples that answer offline, from a few rules: enough to talk to them without a key.
 * Each answer is read from the conversation alone, as with any model.
 */
import { LanguageModel } from "@effect/ai"
import { type Duration, Effect, Layer, Predicate } from "effect"
import type { ChatContext } from "effect-meantime"
import { ScriptedModel } from "effect-meantime/testing"

export interface Call extends ChatContext.ToolCall {
  readonly arguments: Readonly<Record<string, unknown>>
}

/** What is known when the user has said something. */
export interface Heard {
  readonly text: string
  /** what the agent said last */
  readonly before: string
  /** the calls so far, the newest last */
  readonly calls: ReadonlyArray<Call>
  /** those in the background that have not ended */
  readonly running: ReadonlyArray<Call>
  readonly offers: (tool: string) => boolean
}

export type Answer = string | { readonly text?: string; readonly calls: ReadonlyArray<readonly [string, object]> }

export interface Rules {
  /** what to say where nobody has said anything */
  readonly greet: (heard: Heard) => string
  readonly hear: (heard: Heard) => Answer
  /** a result in words; by default its text */
  readonly tell?: (tool: string, result: unknown) => string | undefined
}

/** How long an answer takes; by default no time. */
export interface Pace {
  /** before it begins */
  readonly thinking?: Duration.DurationInput | undefined
  readonly perWord?: Duration.DurationInput | undefined
}

/** A note of the application: in the user's role, in a frame that says that the user did not say it. */
const isNote = (text: string): boolean => /^\s*\[/.test(text) && /not (come )?from the user/i.test(text)

const parent = (id: string): string => id.replace(/_(?:update_\d+|final)$/, "")

interface Result {
  readonly name: string
  readonly value: unknown
  told: boolean
}

/** What a tool returned as data: itself, or in JSON as some providers have it. */
export const data = (value: unknown): unknown => {
  if (typeof value !== "string" || !/^\s*[[{]/.test(value)) return value
  try {
    return JSON.parse(value)
  } catch {
    return value
  }
}

/** The first line of a text is what the tool said; what follows is a note for the model. */
export const words = (value: unknown): string | undefined => {
  // what failed says why
  const failed = data(value)
  if (Predicate.hasProperty(failed, "error")) return words(failed.error)
  if (typeof value !== "string") return undefined
  const line = value.split("\n")[0] ?? ""
  return /still running|nothing to report|works in the background|was cancelled and has stopped/.test(line)
    ? undefined
    : line
}

const read = (request: ScriptedModel.Request, tell: (name: string, value: unknown) => string | undefined) => {
  const results = new Map<string, Result>()
  const calls = new Map<string, Call>()
  const ended = new Set<string>()
  let before = ""
  let user: string | undefined
  for (const message of request.prompt.content) {
    if (message.role === "system") continue
    if (message.role === "user") {
      const text = message.content.flatMap((part) => (part.type === "text" ? [part.text] : [])).join("\n")
      if (!isNote(text)) user = text
      continue
    }
    for (const part of message.content) {
      if (part.type === "text" && part.text.trim() !== "") {
        before = part.text
        user = undefined
        for (const result of results.values()) result.told ||= before.includes(tell(result.name, result.value) ?? "")
      }
      if (part.type === "tool-call") {
        user = undefined
        if (parent(part.id) === part.id) {
          const args = typeof part.params === "object" && part.params !== null ? part.params : {}
          calls.set(part.id, { callId: part.id, name: part.name, arguments: args as Record<string, unknown> })
        }
      }
      if (part.type === "tool-result") {
        user = undefined
        const id = parent(part.id)
        results.delete(id)
        results.set(id, { name: part.name, value: part.result, told: false })
        const background =
          typeof part.result === "string"
            ? /is still running|waits until a person approves/.test(part.result)
            : id !== part.id
        // nobody waits any more for what a cancelled call told
        const cancelled = part.name === "cancel_task" ? calls.get(id)?.arguments.call_id : undefined
        if (typeof cancelled === "string" && /was cancelled/.test(JSON.stringify(part.result))) {
          ended.add(cancelled)
          results.delete(cancelled)
        }
        if (part.id.endsWith("_final") || (id === part.id && !background)) ended.add(id)
      }
    }
  }
  const heard: Heard = {
    text: user ?? "",
    before,
    calls: [...calls.values()],
    running: [...calls.values()].filter(({ callId }) => !ended.has(callId)),
    offers: (tool) => request.tools.some(({ name }) => name === tool)
  }
  const news = [...results.values()].flatMap(({ name, told, value }) => {
    const text = told ? undefined : tell(name, value)
    return text === undefined || text === "" ? [] : [text]
  })
  // the ids that it gives go on behind those of the conversation, which an earlier process may have begun
  const given = Math.max(0, ...[...calls.keys()].map((id) => Number(/^call_(\d+)/.exec(id)?.[1] ?? 0)))
  return { given, heard, news, spoken: user !== undefined, began: before !== "" || calls.size > 0 }
}

const script = (rules: Rules, { perWord = 0, thinking = 0 }: Pace): ScriptedModel.Respond => {
  const tell = rules.tell ?? ((_, value) => words(value))
  const said = (text: string) => ScriptedModel.text(text, { pace: perWord, chunks: text.match(/\S+\s*/g) ?? [] })
  let count = 0
  return (request) => {
    const { began, given, heard, news, spoken } = read(request, tell)
    const answer: Answer = spoken
      ? rules.hear(heard)
      : news.length > 0
        ? [...new Set(news)].join(" ")
        : began && !/say|greet|who you are/i.test(ScriptedModel.lastUserText(request))
          ? ""
          : rules.greet(heard)
    const { calls = [], text } = typeof answer === "string" ? { text: answer } : answer
    count = Math.max(count, given)
    const runs = request.toolChoice === "none" ? [] : calls
    return [
      ScriptedModel.wait(thinking),
      ...(text === undefined || text === "" ? [] : [said(text)]),
      ...runs.map(([name, params]) => ScriptedModel.toolCall(name, params, { id: `call_${++count}` }))
    ]
  }
}

/** A model that follows the rules. */
export const make = (rules: Rules, pace: Pace = {}): Effect.Effect<LanguageModel.Service> =>
  Effect.map(ScriptedModel.make(script(rules, pace)), ({ languageModel }) => languageModel)

export const layer = (rules: Rules, pace: Pace = {}): Layer.Layer<LanguageModel.LanguageModel> =>
  Layer.effect(LanguageModel.LanguageModel, make(rules, pace))

/** What most agents do with "cancel it": the newest call, or the one whose arguments the user names. */
export const cancel = (heard: Heard): Answer | undefined => {
  if (!/\b(cancel|stop|abort|forget|never mind|don't)\b/i.test(heard.text)) return undefined
  const named = heard.running.filter((call) =>
    Object.values(call.arguments).some(
      (value) => typeof value === "string" && heard.text.toLowerCase().includes(value.toLowerCase())
    )
  )
  const found = named.length > 0 ? named : heard.running.slice(-1)
  if (found.length === 0) return "There is nothing to stop: nothing is running."
  return { calls: found.map(({ callId }) => ["cancel_task", { call_id: callId }] as const) }
}

/** "call_1 was cancelled" and the like, in the words of an agent. */
export const tellCancelled = (tool: string, value: unknown, stopped: string): string | undefined => {
  if (tool !== "cancel_task") return words(value)
  const text = typeof value === "string" ? value : JSON.stringify(value)
  if (/was cancelled/.test(text)) return stopped
  return /too late|no longer|committed|point of no return/i.test(text)
    ? "That is too late, I am afraid: it cannot be stopped any more."
    : "I could not stop it."
}

/** A name that the user says after a word, with capitals. */
export const place = (text: string, after: RegExp): string | undefined => {
  const name = after.exec(text)?.[1]?.trim()
  return name === undefined || name === ""
    ? undefined
    : name.replace(/(?<!\p{L})\p{Ll}/gu, (letter) => letter.toUpperCase())
}
