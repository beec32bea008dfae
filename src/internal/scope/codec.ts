/**
 * What a tool's schemas and its handler do for a call: the one place where schemas of the program decode and encode, and
 * where a handler is called. All that they throw becomes a defect of the call.
 */
import * as Tool from "@effect/ai/Tool"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import { identity } from "effect/Function"
import * as ParseResult from "effect/ParseResult"
import type * as Schema from "effect/Schema"
import { isTypeLiteral, type ParseOptions } from "effect/SchemaAST"
import type { File } from "../../ChatContext.js"
import { RunContext, StopResponse, ToolError } from "../../Tags.js"
import type { Outcome } from "../machine/state.js"
import { errorTypeOf } from "../model/errors.js"
import { Content, jsonWithFiles, unwrap } from "../values/files.js"
import { die, given } from "../values/guarded.js"
import { toJson } from "../values/json.js"
import { withoutNulls } from "../values/schemas.js"
import { clip } from "../values/text.js"
import { givenOf } from "./dynamic.js"
import { jsonSchemaOf } from "./wire.js"

type Coder = (u: unknown) => Effect.Effect<unknown, ParseResult.ParseIssue, any>

interface Coders {
  readonly decode: Coder
  readonly encodeParams: Coder
  readonly encodeSuccess: Coder
  readonly encodeFailure: Coder
}

export interface Codec extends Coders {
  /** leaves out null for a parameter that is optional, as strict modes and many models send it; all, if there is none */
  readonly prepare: (args: Record<string, unknown>) => Record<string, unknown>
  /** what the end of a handler is to the conversation */
  readonly outcome: {
    readonly onSuccess: (value: unknown) => Effect.Effect<Outcome, RefusedResult, any>
    readonly onFailure: (error: unknown) => Effect.Effect<Outcome, RefusedResult, any>
  }
}

type Handler = (params: any) => Effect.Effect<unknown, unknown, any>

/** A schema, or a handler, that throws or gives no Effect is a defect of its call. */
export const total =
  <E>(f: (u: any) => Effect.Effect<unknown, E, any>): ((u: any) => Effect.Effect<unknown, E, any>) =>
  (u) =>
    given(() => f(u))

const codecs = new WeakMap<Tool.Any, Codec>()

/**
 * `ParseResult.decodeUnknown` is `decodeUnknownEither` with the option that lets a schema take its time, which it adds
 * anew for each value: half of what it costs to decode one.
 */
const inTime = { isEffectAllowed: true } as ParseOptions
export const all: ParseOptions = { ...inTime, errors: "all" }

/** A struct without fields takes any value as it is; others leave out what they do not have. */
const hasNoFields = ({ ast }: Schema.Schema.All): boolean =>
  isTypeLiteral(ast) && ast.propertySignatures.length === 0 && ast.indexSignatures.length === 0

const nothing = (): Record<string, unknown> => ({})

/** A schema of whatever types; what it needs of the context is there when it runs. */
const anySchema = (schema: Schema.Schema.All) => schema as Schema.Schema<any, any>

/** Compiled once for each tool, whoever binds it. */
export const codecOf = (tool: Tool.Any): Codec => {
  let codec = codecs.get(tool)
  if (codec === undefined) {
    const coders: Coders = {
      decode: total(ParseResult.decodeUnknownEither(anySchema(tool.parametersSchema), all)),
      encodeParams: total(ParseResult.encodeUnknownEither(anySchema(tool.parametersSchema), inTime)),
      encodeSuccess: total(ParseResult.encodeUnknownEither(anySchema(tool.successSchema), inTime)),
      encodeFailure: total(ParseResult.encodeUnknownEither(anySchema(tool.failureSchema), inTime))
    }
    codec = {
      ...coders,
      // as it was sent, if the tool has no schema but the one that the model was shown
      prepare:
        Tool.isProviderDefined(tool) || givenOf(tool) !== undefined
          ? identity
          : hasNoFields(tool.parametersSchema)
            ? nothing
            : (withoutNulls(jsonSchemaOf(tool, [])) ?? identity),
      outcome: { onFailure: failure(tool.name, coders), onSuccess: success(tool.name, coders) }
    }
    codecs.set(tool, codec)
  }
  return codec
}

const answers = new WeakMap<Tool.Any, Coder>()

/** What somebody gives in place of the tool, as the handler would have given it, files too; or what is wrong (rule A6). */
export const answerOf = (tool: Tool.Any, codec: Codec, output: unknown): Effect.Effect<Outcome, string, any> => {
  let decode = answers.get(tool)
  if (decode === undefined) {
    decode = total(ParseResult.decodeUnknownEither(anySchema(tool.successSchema), all))
    answers.set(tool, decode)
  }
  const { files, value } = unwrap(output)
  return Effect.mapError(decode(value), describeIssue).pipe(
    Effect.map((decoded) => (files === undefined ? decoded : new Content(decoded, files))),
    Effect.flatMap((whole) => Effect.mapError(codec.outcome.onSuccess(whole), ({ detail }) => detail))
  )
}

/** Names each bad field. */
export const describeIssue = (issue: ParseResult.ParseIssue): string => {
  try {
    const lines = ParseResult.ArrayFormatter.formatIssueSync(issue).map(
      ({ message, path }) => `${path.length === 0 ? "" : `${path.map(String).join(".")}: `}${clip(message, 240, "…")}`
    )
    return clip(Array.from(new Set(lines)).join("; "), 2000, "…")
  } catch {
    // a message of the schema's own that throws or takes time, or a value too deep to be shown
    return "they do not fit its schema"
  }
}

/** A result that the tool's own schema refuses: a bug of the tool. */
export class RefusedResult {
  readonly _tag = "RefusedResult"
  constructor(
    readonly tool: string,
    readonly detail: string
  ) {}
}

// ---------------------------------------------------------------------------------------------------------- the work

const stopped: Outcome = { _tag: "Nothing" }

const success =
  (name: string, codec: Coders) =>
  (given: unknown): Effect.Effect<Outcome, RefusedResult, any> => {
    const { files, value } = unwrap(given)
    const encoded = codec.encodeSuccess(value)
    return Either.isEither(encoded)
      ? Either.isRight(encoded)
        ? Effect.succeed(succeeded(encoded.right, files))
        : Effect.fail(new RefusedResult(name, describeIssue(encoded.left as ParseResult.ParseIssue)))
      : Effect.match(encoded, {
          onSuccess: (value) => succeeded(value, files),
          onFailure: (issue): Outcome => {
            throw new RefusedResult(name, describeIssue(issue))
          }
        })
  }

/** The files are the handler's own: who takes the outcome reads them, with a bound that a codec does not know. */
const succeeded = (encoded: unknown, given: unknown): Outcome => {
  if (encoded === undefined && given === undefined) return { _tag: "Nothing" }
  const { files, json } = jsonWithFiles(encoded === undefined ? null : encoded, given)
  return files === undefined
    ? { _tag: "Success", output: json }
    : { _tag: "Success", output: json, files: files as ReadonlyArray<File> }
}

const failure =
  (name: string, codec: Coders) =>
  (error: unknown): Effect.Effect<Outcome, RefusedResult, any> => {
    if (error instanceof StopResponse) return Effect.succeed(stopped)
    if (error instanceof ToolError) return Effect.succeed(failed("ToolError", toJson(error.message)))
    return Effect.matchEffect(codec.encodeFailure(error), {
      onSuccess: (encoded) => Effect.succeed(failed(errorTypeOf(error), toJson(encoded))),
      // a failure that the schema does not know was not expected
      onFailure: () => die(error ?? new RefusedResult(name, "failed with nothing"))
    })
  }

/** A failure that was to be expected. */
export const failed = (errorType: string, output: unknown): Outcome => ({
  _tag: "Failure",
  output,
  how: "failed",
  errorType
})

export type Work = Effect.Effect<Outcome, RefusedResult, any>

/** A handler and the encoding of what it ends with. Defects and interruption are left in the exit. */
export const work = (handled: Effect.Effect<unknown, unknown, any>, codec: Codec): Work =>
  Effect.matchEffect(handled, codec.outcome)

/** What the context of a call in a session has. */
interface AtWork {
  readonly run: { readonly params: unknown }
}

/**
 * The same effect for all calls of a tool, which finds its arguments in the call's context. So the frame that waits for
 * the end holds nothing of the call, and what the handler has done already need not be kept.
 */
export const workInSession = (handler: Handler, codec: Codec): Work => {
  const handle = total(handler)
  const handled = Effect.withFiberRuntime<unknown, unknown, any>((fiber) =>
    handle((fiber.currentContext.unsafeMap.get(RunContext.key) as AtWork).run.params)
  )
  return work(handled, codec)
}
