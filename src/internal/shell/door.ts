/**
 * The door between the session and what is not its own: what models, handlers, schemas, policies and templates give is
 * looked at here and nowhere else, with care, and goes on as plain data. Nothing that it throws, whenever it is looked at,
 * leaves the door; so no foreign code runs within an input of the machine, nor in the observer of a fiber.
 */
import * as AiError from "@effect/ai/AiError"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type { ParseIssue } from "effect/ParseResult"
import type { Verdict as ApprovalVerdict } from "../../ApprovalPolicy.js"
import type { File, ToolCall } from "../../ChatContext.js"
import type { Verdict } from "../../DuplicatePolicy.js"
import type { UpdateOptions } from "../../RunContext.js"
import type { Prompts, Template } from "../../ToolPrompts.js"
import { needsKey } from "../machine/admission.js"
import type { Decoded, Described, Metadata, ModelEnd, ModelFailure, Part } from "../machine/protocol.js"
import type { Call, Input, Outcome, Run, Step } from "../machine/state.js"
import { unexpected } from "../machine/texts.js"
import { type Message, nameOf } from "../machine/updates.js"
import { fields as usageFields } from "../machine/usage.js"
import type { Usage } from "../machine/words.js"
import { asAiError, describeError, errorTypeOf, inSession, printable } from "../model/errors.js"
import type { Asks } from "../scope/approval.js"
import { describeIssue, RefusedResult } from "../scope/codec.js"
import { addedProblem, type BoundTool, boundOf, toDecode } from "../scope/tool.js"
import { jsonWithFiles, readFile, readFiles, unwrap } from "../values/files.js"
import { guarded, suspended } from "../values/guarded.js"
import { bounded, canonical, copyPlain, isRecord, plainArguments, toJson } from "../values/json.js"
import { mergeMetadata, ours } from "../values/metadata.js"
import { defaults, render } from "../values/templates.js"

/** What is to be logged of what came through the door. */
export type Log = (level: "warning" | "error", message: string, cause?: Cause.Cause<unknown>) => void

/** A cause that can be printed, of something that was thrown. */
export const thrownBy = (thrown: unknown): Cause.Cause<unknown> => printable(Cause.die(thrown))

// ------------------------------------------------------------------------------------------------- what a model gives

/** `deltas`: input of tools is told as it is written. */
export interface Reading {
  readonly deltas: boolean
  readonly maxFileBytes: number
}

/** The parts of a model's answer as the machine has them, without those that say nothing to the session. */
export const readParts = (step: Step, parts: ReadonlyArray<unknown>, reading: Reading): ReadonlyArray<Part> => {
  const known: Array<Part> = []
  for (const part of parts) {
    let plain: Part | undefined
    try {
      plain = read(step, part, reading)
    } catch {
      plain = unreadable
    }
    if (plain !== undefined) known.push(plain)
  }
  return known
}

const read = (step: Step, part: unknown, { deltas, maxFileBytes }: Reading): Part | undefined => {
  if (!isRecord(part)) return unreadable
  const { type } = part
  switch (type) {
    case "text-start":
    case "text-end":
    case "reasoning-start":
    case "reasoning-end": {
      const { id } = part
      return typeof id === "string" ? { type, id, metadata: metadataOf(part) } : unreadable
    }
    case "text-delta":
    case "reasoning-delta": {
      const { delta, id } = part
      if (typeof id !== "string" || typeof delta !== "string") return unreadable
      return { type, id, delta, metadata: metadataOf(part) }
    }
    case "tool-params-delta": {
      if (!deltas) return undefined
      const { delta, id } = part
      // it is told and no more: a call that cannot be read fails by itself
      return typeof id === "string" && typeof delta === "string" && delta !== ""
        ? { type: "input-delta", id, delta }
        : undefined
    }
    case "tool-call": {
      const { id, name } = part
      if (typeof id !== "string" || typeof name !== "string") return unreadable
      return part.providerExecuted === true ? providerCall(id, name, part) : toolCall(step, id, name, part)
    }
    case "tool-result": {
      const { id, name, result } = part
      if (typeof id !== "string" || typeof name !== "string") return unreadable
      if (part.providerExecuted !== true) return undefined
      const output = result === undefined ? null : toJson(result)
      return { type: "provider-result", id, name, output, isError: part.isFailure === true }
    }
    case "file": {
      const { data, mediaType } = part
      return { type: "file", file: readFile({ data, mediaType }, maxFileBytes), metadata: metadataOf(part) }
    }
    case "error":
      return { type: "failure", failure: failureOf(part.error) }
    case "finish":
      return finished(part)
    case "response-metadata":
      return describedBy(part)
    default:
      return undefined
  }
}

/** Provider by provider; what one attached and JSON cannot carry is left out. */
const metadataOf = ({ metadata }: Record<string, unknown>): Metadata => {
  if (!isRecord(metadata)) return undefined
  const providers = Object.keys(metadata)
  if (providers.length === 0) return undefined
  const out: Record<string, unknown> = {}
  for (const provider of providers) {
    const json = plainArguments({ value: metadata[provider] })
    if (json !== undefined && "value" in json) out[provider] = json.value
  }
  return out
}

/** Arguments are copied: what the history says of a call is nobody else's, whoever changes what they were given. */
const toolCall = (step: Step, id: string, name: string, part: Record<string, unknown>): Part => {
  const { params } = part
  const args = isRecord(params) ? plainArguments(params) : undefined
  const tool = step.toolChoice === "none" ? undefined : step.agent.tools.get(name)
  return {
    type: "tool-call",
    id,
    name,
    arguments: args ?? {},
    problem:
      args !== undefined
        ? undefined
        : isRecord(params)
          ? "they are nested too deeply, or no JSON"
          : "they are not a JSON object",
    decoded: tool === undefined || args === undefined ? undefined : decodeNow(boundOf(tool), args),
    metadata: mergeMetadata(undefined, metadataOf(part))
  }
}

const providerCall = (id: string, name: string, part: Record<string, unknown>): Part => ({
  type: "provider-call",
  id,
  name,
  arguments: part.params === undefined ? {} : toJson(part.params),
  metadata: {
    ...mergeMetadata(undefined, metadataOf(part)),
    [ours]: {
      providerExecuted: true,
      ...(typeof part.providerName === "string" ? { providerName: part.providerName } : {})
    }
  }
})

/** Parts that went through the schemas of `@effect/ai` have options. */
const textIn = (value: unknown): string | undefined => {
  const inner = Option.isOption(value) ? Option.getOrUndefined(value) : value
  return typeof inner === "string" ? inner : undefined
}

const describedBy = ({ id, modelId }: Record<string, unknown>): Described => ({
  type: "response-metadata",
  id: textIn(id),
  modelId: textIn(modelId)
})

/** Some tell a pause in their own words only. */
const isPause = (reason: string): boolean => /^pause(?:_turn)?$/i.test(reason)

const finished = (part: Record<string, unknown>): Described => {
  const reason = String(part.reason)
  return {
    type: "finish",
    reason: isPause(reason) ? "pause" : reason,
    usage: usageOf(part),
    failure: reason === "error" ? endedInError : undefined
  }
}

/** One that cannot be read leaves the others. */
const countIn = (usage: Readonly<Record<string, unknown>>, name: string): unknown => {
  try {
    return usage[name]
  } catch {
    return undefined
  }
}

/** What nobody reported is absent, and so is what is no count: an answer is not lost for what is said of its cost. */
const usageOf = (part: Record<string, unknown>): Usage | undefined =>
  guarded(
    () => {
      const { usage } = part
      if (!isRecord(usage)) return undefined
      let out: { -readonly [K in keyof Usage]: Usage[K] } | undefined
      for (const name of usageFields) {
        const count = countIn(usage, name)
        if (!Number.isSafeInteger(count) || (count as number) < 0) continue
        out ??= {}
        out[name] = count as number
      }
      return out
    },
    () => undefined
  )

// ---------------------------------------------------------------------------------------------- what a model fails with

const describe = (error: AiError.AiError, cause: Cause.Cause<unknown> | undefined): ModelFailure => ({
  tag: error._tag,
  message: describeError(error),
  errorType: cause === undefined ? errorTypeOfModel(error) : errorTypeOf(Cause.squash(cause)),
  malformed: error._tag === "MalformedOutput",
  error,
  cause
})

const errorTypeOfModel = (error: AiError.AiError): string =>
  guarded(
    () => (error._tag === "HttpResponseError" ? String(error.response.status) : error._tag),
    () => error._tag
  )

const failureOf = (error: unknown): ModelFailure => describe(asAiError(error), undefined)

/** A failure of an earlier life, as far as it was stored (rule Q19). */
export const failureTold = (told: Pick<ModelFailure, "tag" | "message" | "errorType" | "malformed">): ModelFailure => ({
  ...told,
  error: new AiError.UnknownError({ ...inSession, description: told.message }),
  cause: undefined
})

const unreadable: Part = {
  type: "failure",
  failure: describe(
    new AiError.MalformedOutput({ ...inSession, description: "The model sent a part that cannot be read." }),
    undefined
  )
}

/** The provider gives no other reason. */
const endedInError = failureOf(
  new AiError.UnknownError({ ...inSession, description: "The model ended its answer with an error." })
)

const noAnswer = failureOf(new AiError.UnknownError({ ...inSession, description: "The model's answer was empty." }))

/** How the fiber that read a model ended. An answer without any part is none. */
export const modelEnd = (exit: Exit.Exit<unknown, unknown>, empty: boolean): ModelEnd => {
  if (Exit.isSuccess(exit)) return empty ? { _tag: "Failed", failure: noAnswer } : done
  const error = Cause.failureOption(exit.cause)
  if (Option.isSome(error)) return { _tag: "Failed", failure: failureOf(error.value) }
  const died = new AiError.UnknownError({ ...inSession, description: "The model failed unexpectedly." })
  return Cause.isInterruptedOnly(exit.cause)
    ? { _tag: "Interrupted", failure: describe(died, undefined) }
    : { _tag: "Failed", failure: describe(died, printable(exit.cause)) }
}

const done: ModelEnd = { _tag: "Done" }

/** Neither an error that was expected nor an interruption. */
export const isDefect = (cause: Cause.Cause<unknown>): boolean =>
  Option.isNone(Cause.failureOption(cause)) && !Cause.isInterruptedOnly(cause)

// ---------------------------------------------------------------------------------------------------------- arguments

/** What the tool's schema makes of arguments, if it makes it at once. The handler gets a copy of its own. */
const decodeNow = (tool: BoundTool, args: Record<string, unknown>): Decoded | "later" => {
  const result = tool.codec.decode(toDecode(tool, ownCopy(args)))
  if (!Either.isEither(result)) return "later"
  const invalid = problemOf(tool, args, Either.isLeft(result) ? (result.left as ParseIssue) : undefined)
  if (invalid !== undefined) return invalid
  const params = Either.getOrThrow(result)
  if (!needsKey(tool)) return { _tag: "Decoded", params, key: undefined }
  const encoded = tool.codec.encodeParams(params)
  if (!Either.isEither(encoded)) return "later"
  return { _tag: "Decoded", params, key: keyOf(tool, args, encoded) }
}

/** The same for a schema that takes its time. */
export const decode = (tool: BoundTool, args: Record<string, unknown>): Effect.Effect<Decoded, never, any> =>
  Effect.matchEffect(
    Effect.suspend(() => tool.codec.decode(toDecode(tool, ownCopy(args)))),
    {
      onFailure: (issue) => Effect.succeed<Decoded>({ _tag: "Invalid", problem: describeArguments(tool, args, issue) }),
      onSuccess: (params) => {
        const invalid = problemOf(tool, args, undefined)
        if (invalid !== undefined) return Effect.succeed(invalid)
        return needsKey(tool)
          ? Effect.map(key(tool, params, args), (key): Decoded => ({ _tag: "Decoded", params, key }))
          : Effect.succeed<Decoded>({ _tag: "Decoded", params, key: undefined })
      }
    }
  )

/** Each bad field, of ours and of the tool's own; none if there is none. */
const problemOf = (
  tool: BoundTool,
  args: Record<string, unknown>,
  issue: ParseIssue | undefined
): Decoded | undefined =>
  issue === undefined && addedProblem(tool.added, args) === undefined
    ? undefined
    : { _tag: "Invalid", problem: describeArguments(tool, args, issue) }

const describeArguments = (tool: BoundTool, args: Record<string, unknown>, issue: ParseIssue | undefined): string =>
  [addedProblem(tool.added, args), issue === undefined ? undefined : describeIssue(issue)]
    .filter((problem) => problem !== undefined)
    .join("; ")

/**
 * The arguments of a running call in their canonical form, by which duplicates are compared. They are decoded anew: the
 * handler may have changed what it was given.
 */
export const keyOfRun = (run: Run): Effect.Effect<string, never, any> => {
  const tool = boundOf(run.tool)
  const args = argumentsOf(run.calls[0] as Call)
  return Effect.suspend(() => tool.codec.decode(toDecode(tool, ownCopy(args)))).pipe(
    Effect.flatMap((params) => key(tool, params, args)),
    Effect.catchAllCause(() => Effect.sync(() => keyOf(tool, args, Either.left(undefined))))
  )
}

const key = (tool: BoundTool, params: unknown, args: Record<string, unknown>): Effect.Effect<string, never, any> =>
  Effect.suspend(() => tool.codec.encodeParams(params)).pipe(
    Effect.either,
    Effect.catchAllCause(() => Effect.succeed(Either.left(undefined))),
    Effect.map((encoded) => keyOf(tool, args, encoded))
  )

/** What cannot be encoded as JSON is compared as it was sent. */
const keyOf = (tool: BoundTool, args: Record<string, unknown>, encoded: Either.Either<unknown, unknown>): string =>
  (Either.isRight(encoded) ? canonical(encoded.right) : undefined) ?? canonical(tool.ownArguments(args)) ?? ""

/** A call's arguments, as the history has them. */
export const argumentsOf = ({ call }: Call): Record<string, unknown> => call.arguments as Record<string, unknown>

/** The same for somebody who may change them. */
export const argumentsCopied = (call: Call): Record<string, unknown> => ownCopy(argumentsOf(call))

/** A call as foreign code is shown it: it may change what it was given. */
export const shown = (call: Call): ToolCall => shownCall(call.call)

const shownCall = (call: ToolCall): ToolCall => ({ ...call, arguments: copyPlain(call.arguments) })

/** A copy for somebody who may change it. */
const ownCopy = (args: Record<string, unknown>): Record<string, unknown> => copyPlain(args) as typeof args

// --------------------------------------------------------------------------------------- templates, policies, handlers

/** A template of the program that throws, or gives no text, must not stop the conversation: the default takes its place. */
export const textOf = (name: keyof Prompts, template: Template<never>, args: object, log: Log): string =>
  guarded(
    () => {
      const text: unknown = render(template as Template<object>, typeof template === "string" ? args : ownArgs(args))
      if (typeof text === "string") return text
      throw new TypeError(`a template gives text, not ${typeof text}`)
    },
    (thrown) => {
      log("error", `The template "${name}" failed; the default is used.`, thrownBy(thrown))
      return render(defaults[name] as Template<object>, args)
    }
  )

/** What a template is given of running calls it may change. */
const ownArgs = (args: object): object => {
  const { running } = args as { readonly running?: ReadonlyArray<ToolCall> }
  return running === undefined ? args : { ...args, running: running.map(shownCall) }
}

/** A value for the conversation, of at most `maxOutputLength` characters (rule U4). */
const limited = (run: Run, json: unknown, length: number, log: Log): unknown => {
  const { cut, value } = bounded(json, length)
  if (cut !== undefined) log("warning", `${nameOf(run)} gave a text of ${cut} characters. ${cutTo(length)}`)
  return value
}

export const cutTo = (length: number): string => `It was cut to ${length}, which is maxOutputLength.`

/** What of a call's making may be how long, or large. */
export interface Limits {
  readonly maxOutputLength: number
  readonly maxFileBytes: number
}

/** What is taken of files, and what is not is logged. */
const taken = (given: unknown, from: string, most: number, log: Log): ReadonlyArray<File> | undefined => {
  const files = readFiles(given, most)
  for (const { mediaType, name, omitted } of files ?? []) {
    if (omitted === undefined) continue
    log(
      "warning",
      `${from} gave a file (${name === undefined ? "" : `"${name}", `}${mediaType}) that is not taken. ${omitted}`
    )
  }
  return files
}

/** What a user says and sends. */
export const inputOf = (given: unknown, { maxFileBytes }: Limits, log: Log): Input => {
  if (typeof given === "string") return { text: given }
  const { files, text } = guarded(
    () => (isRecord(given) ? { files: given.files, text: given.text } : { files: undefined, text: undefined }),
    () => ({ files: undefined, text: undefined })
  )
  const read = taken(files, "The user's turn", maxFileBytes, log)
  const said = typeof text === "string" ? text : ""
  return read === undefined ? { text: said } : { text: said, files: read }
}

/** What a handler reports. */
export const messageOf = (
  run: Run,
  given: unknown,
  options: UpdateOptions | undefined,
  limits: Limits,
  log: Log
): Message => {
  const { files: outer, value: message } = unwrap(given)
  const { files, json } = jsonWithFiles(message, outer)
  const read = files === undefined ? undefined : taken(files, nameOf(run), limits.maxFileBytes, log)
  return {
    value: limited(run, json, limits.maxOutputLength, log),
    isText: typeof message === "string",
    ...(read === undefined ? {} : { files: read }),
    template: options?.template,
    mode: options?.delivery ?? "when-idle"
  }
}

/** What a duplicate policy gave, if it is a verdict. */
export const verdictOf = (u: unknown): Verdict | undefined =>
  guarded(
    () => {
      if (!isRecord(u)) return undefined
      const { _tag, message } = u
      if (_tag === "Refuse") return typeof message === "string" ? { _tag, message } : undefined
      return _tag === "Run" || _tag === "Replace" || _tag === "Join" ? { _tag } : undefined
    },
    () => undefined
  )

/** Asks what says whether a person is asked. */
export const askedOf = (
  asks: Asks,
  /** decoded for it */
  params: Effect.Effect<unknown, unknown, any>,
  call: () => ToolCall
): Effect.Effect<unknown, unknown, any> =>
  asks._tag === "Policy"
    ? suspended(() => asks.decide(call(), { ...asks.facts }))
    : Effect.flatMap(params, (args) => suspended(() => asks.needs(args, call())))

/** What says whether a person is asked gave, if it is a verdict: a policy, or a function of the tool's own. */
export const approvalVerdictOf = ({ _tag: of }: Asks, u: unknown): ApprovalVerdict | undefined =>
  guarded(
    () => {
      if (of === "Tool") return u === true ? { _tag: "Ask" } : u === false ? { _tag: "Run" } : undefined
      if (!isRecord(u)) return undefined
      const { _tag, reason } = u
      if (_tag === "Run") return { _tag }
      if (_tag === "Deny") return typeof reason === "string" ? { _tag, reason } : undefined
      if (_tag !== "Ask") return undefined
      return typeof reason === "string" ? { _tag, reason } : { _tag }
    },
    () => undefined
  )

/** A bug of the tool. What kind of error it was is told; all that the model is shown is that there was one. */
export const defect = (tool: string, cause: Cause.Cause<unknown>): Outcome => ({
  _tag: "Failure",
  output: unexpected(tool),
  how: "defect",
  errorType: refusedIn(cause) === undefined ? errorTypeOf(Cause.squash(cause)) : "invalid_result",
  cause: printable(cause)
})

/** A result that the tool's own schema refuses, if that is what went wrong. */
export const refusedIn = (cause: Cause.Cause<unknown>): RefusedResult | undefined => {
  for (const error of [...Cause.failures(cause), ...Cause.defects(cause)]) {
    if (
      guarded(
        () => error instanceof RefusedResult,
        () => false
      )
    ) {
      return error as RefusedResult
    }
  }
  return undefined
}

/** How a handler ended, and what the log is told of it. */
export const outcomeOf = (run: Run, exit: Exit.Exit<Outcome, unknown>, limits: Limits, log: Log): Outcome => {
  const named = (what: string): string => `${nameOf(run)} ${what}`
  if (Exit.isSuccess(exit)) {
    const outcome = exit.value
    if (outcome._tag !== "Success" && outcome._tag !== "Failure") return outcome
    const output = limited(run, outcome.output, limits.maxOutputLength, log)
    if (outcome._tag === "Failure" && run.tool.kind === "user") {
      log("warning", named(`failed: ${typeof output === "string" ? output : JSON.stringify(output)}`))
    }
    if (outcome._tag === "Success" && outcome.files !== undefined) {
      const { files: given, ...rest } = outcome
      const files = taken(given, nameOf(run), limits.maxFileBytes, log)
      return files === undefined ? { ...rest, output } : { ...rest, output, files }
    }
    return output === outcome.output ? outcome : { ...outcome, output }
  }
  const { cause } = exit
  const interrupted = Cause.isInterruptedOnly(cause)
  if (run.stop !== undefined || interrupted) {
    if (!interrupted) log("error", named("failed while it was being stopped."), cause)
    return { _tag: "Interrupted", reason: run.stop ?? "cancelled" }
  }
  const refused = refusedIn(cause)
  if (refused === undefined) log("error", named("failed unexpectedly."), cause)
  else log("error", named(`returned what its own schema refuses: ${refused.detail}`))
  return defect(run.tool.name, cause)
}
