/**
 * One call of a server's tool, from the arguments to the output (rules J3–J9).
 */
import { isInputRequiredResult, type Tool as Listed } from "@modelcontextprotocol/client"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Runtime from "effect/Runtime"
import type { Service } from "../../RunContext.js"
import { RunContext, ToolError } from "../../Tags.js"
import { describeError } from "../model/errors.js"
import { Content } from "../values/files.js"
import type { Connection } from "./connection.js"
import { outputOf } from "./content.js"
import { type Answer, type InFlight, isLost, type Link, noTimeout, type Question, questionOf } from "./link.js"
import { isTask, runTask } from "./tasks.js"

export interface CallOptions {
  readonly onProgress: "progress" | "update" | "ignore"
  /** in milliseconds; none: a server may be silent for as long as it likes */
  readonly idleTimeout: number | undefined
  readonly tasks: "auto" | "never"
  readonly retry: "unsent" | "idempotent"
}

/** Who answers a question of the server. */
export type Answering = (question: Question) => Effect.Effect<Answer, never, RunContext>

/** Why a request came to nothing. */
export type Trouble =
  | { readonly _tag: "Lost"; readonly unsent: boolean; readonly message: string }
  | { readonly _tag: "Silent"; readonly millis: number }
  | { readonly _tag: "Refused"; readonly message: string }

/** What may be asked of a link on behalf of one call. */
export interface Asking {
  readonly link: Link
  readonly context: Service
  readonly inFlight: InFlight
  /** One request. Interruption aborts it and does not wait for the server. With `mayBeSilent` it waits without a bound. */
  readonly request: (
    send: (options: RequestOptions) => Promise<unknown>,
    mayBeSilent?: boolean
  ) => Effect.Effect<unknown, Trouble>
  /** The server has told something of the call. */
  readonly told: (progress: { readonly message?: string | undefined }) => Effect.Effect<void>
}

export interface RequestOptions {
  readonly signal: AbortSignal
  readonly timeout: number
  readonly onprogress: (progress: { readonly message?: string | undefined }) => void
}

/** Links that one call may use up. */
const maxLinks = 3

/** Rounds of questions in one call. */
const maxRounds = 100

/** Different messages of progress of one call that are remembered. */
const maxMessages = 1000

export const callOf =
  (
    connection: Connection,
    tool: Listed,
    options: CallOptions,
    answering: Answering
  ): ((args: Record<string, unknown>) => Effect.Effect<unknown, ToolError, RunContext>) =>
  (args) => {
    const { server } = connection
    const told = toldBy(options)
    const attempt = (links: number): Effect.Effect<unknown, ToolError, RunContext> =>
      connection.link.pipe(
        Effect.mapError(({ message }) => new ToolError({ message })),
        Effect.flatMap((link) =>
          Effect.catchAll(onLink(link, tool, { args, answering, options, told }), (trouble) => {
            if (trouble._tag === "Lost") {
              link.retire()
              if (links < maxLinks && (trouble.unsent || options.retry === "idempotent")) return attempt(links + 1)
            }
            return Effect.fail(new ToolError({ message: messageFor(server, tool.name, trouble) }))
          })
        )
      )
    return Effect.flatMap(attempt(1), (result) => {
      const { files, isError, value } = outputOf(result)
      if (!isError) return Effect.succeed(files.length === 0 ? value : new Content(value, files))
      return Effect.fail(new ToolError({ message: value === "" ? `${tool.name} failed.` : String(value) }))
    })
  }

const messageFor = (server: string, tool: string, trouble: Trouble): string => {
  switch (trouble._tag) {
    case "Lost":
      return (
        `The connection to the MCP server "${server}" was lost: ${trouble.message} ` +
        (trouble.unsent ? `${tool} was not called.` : `It is not known whether ${tool} has done its work.`)
      )
    case "Silent":
      return `The MCP server "${server}" told nothing of ${tool} for ${Duration.format(trouble.millis)}, so the call was given up.`
    case "Refused":
      return `The MCP server "${server}" refused ${tool}: ${trouble.message}`
  }
}

type Told = (context: Service, progress: { readonly message?: string | undefined }) => Effect.Effect<void>

/** Progress, or updates of those with a message: equal ones once. */
const toldBy = ({ onProgress }: CallOptions): Told => {
  if (onProgress === "ignore") return () => Effect.void
  const seen = new Set<string>()
  return (context, progress) => {
    const { message } = progress
    if (onProgress === "progress" || message === undefined || message === "") return context.progress(progress)
    if (seen.has(message)) return Effect.void
    if (seen.size < maxMessages) seen.add(message)
    return context.update(message)
  }
}

const troubleOf = (error: unknown, inFlight: InFlight): Trouble =>
  isLost(error)
    ? { _tag: "Lost", unsent: !inFlight.sent, message: describeError(error) }
    : { _tag: "Refused", message: describeError(error) }

const onLink = (
  link: Link,
  tool: Listed,
  {
    answering,
    args,
    options,
    told
  }: {
    readonly args: Record<string, unknown>
    readonly answering: Answering
    readonly options: CallOptions
    readonly told: Told
  }
): Effect.Effect<unknown, Trouble, RunContext> =>
  Effect.gen(function* () {
    const context = yield* RunContext
    const runtime = yield* Effect.runtime<RunContext>()
    const clock = yield* Effect.clock
    const asking = new Set<Fiber.RuntimeFiber<unknown, unknown>>()
    const losing = new Set<() => void>()
    let heard = clock.unsafeCurrentTimeMillis()
    const inFlight: InFlight = {
      sent: false,
      lost: () => {
        for (const lose of losing) lose()
      },
      ask: (question, signal) =>
        new Promise((resolve) => {
          const fiber = Runtime.runFork(runtime)(answering(question))
          asking.add(fiber)
          signal.addEventListener("abort", () => fiber.unsafeInterruptAsFork(fiber.id()), { once: true })
          fiber.addObserver((exit) => {
            asking.delete(fiber)
            heard = clock.unsafeCurrentTimeMillis()
            resolve(exit._tag === "Success" ? exit.value : { action: "cancel" })
          })
        })
    }
    /** Fails once the server has been silent for too long; a question that the user has not answered yet is no silence. */
    const silence = (millis: number): Effect.Effect<never, Trouble> =>
      Effect.suspend(() => {
        const left = asking.size > 0 ? millis : heard + millis - clock.unsafeCurrentTimeMillis()
        if (left <= 0) return Effect.fail({ _tag: "Silent", millis } as const)
        return Effect.zipRight(Effect.sleep(left), silence(millis))
      })
    const request: Asking["request"] = (send, mayBeSilent = false) => {
      const sent = Effect.async<unknown, Trouble>((resume) => {
        const controller = new AbortController()
        inFlight.sent = false
        const lose = (): void => {
          resume(Effect.fail({ _tag: "Lost", unsent: false, message: "The answer was cut off." }))
          controller.abort()
        }
        losing.add(lose)
        heard = clock.unsafeCurrentTimeMillis()
        const onprogress = (progress: { readonly message?: string | undefined }): void => {
          if (controller.signal.aborted) return
          heard = clock.unsafeCurrentTimeMillis()
          Runtime.runFork(runtime)(told(context, progress))
        }
        send({ signal: controller.signal, timeout: noTimeout, onprogress })
          .finally(() => losing.delete(lose))
          .then(
            (result) => resume(Effect.succeed(result)),
            (error: unknown) => resume(Effect.fail(troubleOf(error, inFlight)))
          )
        return Effect.sync(() => controller.abort())
      })
      return mayBeSilent || options.idleTimeout === undefined
        ? sent
        : Effect.raceFirst(sent, silence(options.idleTimeout))
    }
    const ask: Asking = { link, context, inFlight, request, told: (progress) => told(context, progress) }
    link.begin(inFlight)
    return yield* calling(ask, tool, args, options, answering).pipe(
      Effect.ensuring(
        Effect.suspend(() => {
          link.end(inFlight)
          return asking.size === 0 ? Effect.void : Fiber.interruptAll(asking)
        })
      )
    )
  })

const calling = (
  ask: Asking,
  tool: Listed,
  args: Record<string, unknown>,
  options: CallOptions,
  answering: Answering
): Effect.Effect<unknown, Trouble, RunContext> =>
  Effect.gen(function* () {
    const { inFlight, link } = ask
    if (options.tasks === "auto" && isTask(link, tool)) return yield* runTask(ask, tool, args)
    let more: Record<string, unknown> = {}
    for (let round = 0; round < maxRounds; round++) {
      // an object of its own for each request: by it the link knows whose it is
      const own = { ...args }
      link.own(own, inFlight)
      const result = yield* ask.request((sending) =>
        link.client.callTool(
          { name: tool.name, arguments: own, ...more },
          { ...sending, allowInputRequired: true, toolDefinition: tool }
        )
      )
      if (!isInputRequiredResult(result)) return result
      const inputResponses: Record<string, Answer> = {}
      for (const [key, { method, params }] of Object.entries(result.inputRequests ?? {})) {
        if (method !== "elicitation/create") {
          return yield* Effect.fail<Trouble>({
            _tag: "Refused",
            message: `It asks for ${method}, which is not offered.`
          })
        }
        inputResponses[key] = yield* answering(questionOf(params))
      }
      more = { inputResponses, ...(result.requestState === undefined ? {} : { requestState: result.requestState }) }
    }
    return yield* Effect.fail<Trouble>({ _tag: "Refused", message: `It asked more than ${maxRounds} times.` })
  })
