import { type AiError, LanguageModel, type Prompt, type Response } from "@effect/ai"
import { Effect, Layer, Logger, Stream } from "effect"
import { type ChatContext, SessionModel } from "effect-meantime"
import { VirtualClock } from "effect-meantime/testing"

// ------------------------------------------------------------------------------------------------- the law of requests

/** What a provider would refuse in a request, in words; empty where it is in order (rules M3 and M5). */
export const problems = (prompt: Prompt.Prompt): ReadonlyArray<string> => {
  const out: Array<string> = []
  const messages = prompt.content
  const ids = new Set<string>()
  const last = messages.at(-1)
  if (messages.filter((message) => message.role !== "system").length === 0) out.push("no message")
  if (last?.role === "assistant") out.push("the last message is the assistant's")
  messages.forEach((message, i) => {
    if (message.content.length === 0) out.push(`message ${i} is empty`)
    if (message.role === "system") {
      if (i > 0) out.push(`message ${i} is a system message`)
      return
    }
    for (const part of message.content) {
      if (part.type === "text" && part.text === "") out.push(`message ${i} has an empty text`)
    }
    if (message.role === "assistant") {
      const open: Array<string> = []
      const own: Array<string> = []
      message.content.forEach((part, j) => {
        if (part.type === "tool-call") {
          if (ids.has(part.id)) out.push(`call ${part.id} is sent twice`)
          ids.add(part.id)
          if (typeof part.params !== "object" || part.params === null) out.push(`call ${part.id} has no object`)
          if (part.providerExecuted) own.push(part.id)
          else open.push(part.id)
        }
        if (part.type === "tool-result") {
          const k = own.indexOf(part.id)
          if (k < 0) out.push(`result ${part.id} answers no call before it`)
          else own.splice(k, 1)
        }
        if (part.type === "reasoning" && j === message.content.length - 1) out.push(`message ${i} ends with reasoning`)
      })
      for (const id of own) out.push(`call ${id} of the provider has no result`)
      const next = messages[i + 1]
      const results = next?.role === "tool" ? next.content.map((part) => part.id) : []
      if (open.join() !== results.join()) out.push(`calls [${open}] are answered by [${results}]`)
    }
    if (message.role === "tool") {
      if (messages[i - 1]?.role !== "assistant") out.push(`results in message ${i} follow no calls`)
      for (const part of message.content) {
        if (part.result === undefined) out.push(`result ${part.id} is undefined`)
      }
    }
  })
  return out
}

/** The problems of a whole conversation, with the place of each; some providers want the user's message first. */
export const allProblems = (
  prompts: ReadonlyArray<Prompt.Prompt>,
  options?: { readonly userFirst: boolean }
): ReadonlyArray<string> =>
  prompts.flatMap((prompt, i) => {
    const first = prompt.content.find((message) => message.role !== "system")
    const begins = options?.userFirst !== true || first?.role === "user"
    return [...(begins ? [] : ["the first message is not the user's"]), ...problems(prompt)].map(
      (problem) => `request ${i}: ${problem}\n${show(prompt)}`
    )
  })

/** A prompt as lines, one for each part. */
export const show = (prompt: Prompt.Prompt): string =>
  prompt.content
    .flatMap((message) =>
      message.role === "system"
        ? [`system: ${message.content}`]
        : message.content.map((part) => {
            switch (part.type) {
              case "tool-call":
                return `${message.role}: call ${part.id}`
              case "tool-result":
                return `${message.role}: result ${part.id} ${JSON.stringify(part.result)}`
              case "file":
                return `${message.role}: file`
              default:
                return `${message.role}: ${part.type} ${part.text}`
            }
          })
    )
    .join("\n")

/** Calls of a history that do not have exactly one output, and outputs without a call before them. */
export const unanswered = (context: ChatContext.ChatContext): ReadonlyArray<string> => {
  const outputs = new Map<string, number>()
  const out: Array<string> = []
  for (const item of context.items) {
    if (item._tag === "FunctionCall") {
      if (outputs.has(item.callId)) out.push(`${item.callId} is called twice`)
      outputs.set(item.callId, 0)
    }
    if (item._tag === "FunctionCallOutput") {
      const n = outputs.get(item.callId)
      if (n === undefined) out.push(`${item.callId} has an output before its call`)
      outputs.set(item.callId, (n ?? 0) + 1)
    }
  }
  for (const [id, n] of outputs) if (n !== 1) out.push(`${id} has ${n} outputs`)
  return out
}

// ----------------------------------------------------------------------------------------------------- a custom model

type Part = Response.StreamPartEncoded
export type Answer = ReadonlyArray<Part | Effect.Effect<unknown, AiError.AiError>>

/** A model behind `SessionModel` that records what it is asked; the `LanguageModel` beside it must not be used. */
export const directModel = (
  respond: (request: SessionModel.Request, index: number) => Answer | Stream.Stream<Part, AiError.AiError>
) => {
  const requests: Array<SessionModel.Request> = []
  const service: SessionModel.Service = {
    stream: (request) =>
      Stream.suspend(() => {
        const index = requests.push(request) - 1
        const answer = respond(request, index)
        if (!Array.isArray(answer)) return answer as Stream.Stream<Part, AiError.AiError>
        return Stream.fromIterable(answer as Answer).pipe(
          Stream.mapConcatEffect((piece) =>
            Effect.isEffect(piece) ? Effect.as(piece, []) : Effect.as(Effect.yieldNow(), [piece])
          )
        )
      })
  }
  const unused = Effect.dieMessage("the LanguageModel was used")
  return {
    requests,
    prompts: () => requests.map((request) => request.prompt),
    layer: Layer.merge(
      Layer.succeed(SessionModel.SessionModel, service),
      Layer.succeed(LanguageModel.LanguageModel, {
        generateText: () => unused,
        generateObject: () => unused,
        streamText: () => Stream.fromEffect(unused)
      } as unknown as LanguageModel.Service)
    )
  }
}

let texts = 0
export const textParts = (text: string, metadata?: Record<string, any>): ReadonlyArray<Part> => {
  const id = `t${++texts}`
  return [
    { type: "text-start", id, ...(metadata === undefined ? {} : { metadata }) },
    { type: "text-delta", id, delta: text },
    { type: "text-end", id }
  ]
}

export const callPart = (id: string, name: string, params: unknown = {}): Part => ({
  type: "tool-call",
  id,
  name,
  params
})

// --------------------------------------------------------------------------------------------------------------- logs

/** Collects what is logged at warning or above. */
export const collectLogs = () => {
  const messages: Array<string> = []
  const logger = Logger.make(({ logLevel, message }) => {
    if (logLevel.ordinal >= 30_000) messages.push(Array.isArray(message) ? String(message[0]) : String(message))
  })
  return { messages, layer: Logger.replace(Logger.defaultLogger, logger) }
}

export const silent = collectLogs().layer

// ------------------------------------------------------------------------------------------------------- virtual time

export interface Time {
  /** When those who sleep are due. An interrupted sleep is none (in `TestClock` it stays one). */
  readonly asleep: Effect.Effect<ReadonlyArray<number>>
  readonly settle: Effect.Effect<void>
  readonly advance: (millis: number) => Effect.Effect<void>
}

/** Runs a test on a virtual clock of its own, where moving the time is cheap. */
export const inVirtualTime = <A, E, R>(test: (time: Time) => Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.flatMap(VirtualClock.make(), (clock) =>
    test({
      asleep: Effect.map(clock.sleeps, (sleeps) => [...sleeps].toSorted((a, b) => a - b)),
      settle: clock.settle,
      advance: clock.advance
    }).pipe(Effect.withClock(clock), Effect.withScheduler(clock.scheduler))
  )
