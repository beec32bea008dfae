/**
 * What a tool's `messages` schema makes of a message: the place where it decodes. What is sent is anybody's, and so is
 * the schema.
 */
import * as Tool from "@effect/ai/Tool"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as ParseResult from "effect/ParseResult"
import type * as Schema from "effect/Schema"
import type { AST } from "effect/SchemaAST"
import { guarded } from "../values/guarded.js"
import { copyPlain, isRecord, leaveOutProto, plainJson } from "../values/json.js"
import { all, describeIssue, total } from "./codec.js"
import type { BoundTool } from "./tool.js"

/** A message that fits: JSON for those who listen, and what the handler gets; or in words why it does not. */
export type Read = { readonly message: unknown; readonly value: unknown } | string

const noJson = "it is not JSON"

/** As a program gives it: the encoded form of the schema. */
export const readGiven = (tool: BoundTool, given: unknown): Effect.Effect<Read> =>
  Effect.suspend(() => {
    const message = plainJson(given)
    return message === undefined ? Effect.succeed(noJson) : decode(tool, message)
  })

/** As a model sends it: text, which is JSON if the schema takes no text (rule G1). */
export const readText = (tool: BoundTool, text: string): Effect.Effect<Read> =>
  Effect.suspend(() => {
    const schema = schemaOf(tool)
    if (schema === undefined) return Effect.succeed({ message: text, value: text })
    const json = parsed(text)
    if (!takesText(schema)) return json === undefined ? Effect.succeed(noJson) : decode(tool, json)
    return Effect.flatMap(decode(tool, text), (read) =>
      // a schema of words and of something else
      typeof read === "string" && json !== undefined && typeof json !== "string"
        ? Effect.map(decode(tool, json), (other) => (typeof other === "string" ? read : other))
        : Effect.succeed(read)
    )
  })

const schemaOf = ({ options }: BoundTool): Schema.Schema<any, any> | undefined =>
  options.messages === true ? undefined : options.messages

/** JSON itself; none: it is not. */
const parsed = (text: string): unknown =>
  guarded(
    () => plainJson(JSON.parse(text)),
    () => undefined
  )

const decode = (tool: BoundTool, message: unknown): Effect.Effect<Read> => {
  const schema = schemaOf(tool)
  // the event keeps the message, and the handler may change what it gets
  const own = leaveOutProto(copyPlain(message))
  if (schema === undefined) return Effect.succeed({ message, value: own })
  return Effect.map(Effect.either(decoderOf(schema)(own)), (result) =>
    Either.isLeft(result) ? describeIssue(result.left) : { message, value: result.right }
  )
}

type Decoder = (message: unknown) => Effect.Effect<unknown, ParseResult.ParseIssue>

const decoders = new WeakMap<Schema.Schema<any, any>, Decoder>()

/** Compiled once for each schema. */
const decoderOf = (schema: Schema.Schema<any, any>): Decoder => {
  const known = decoders.get(schema)
  if (known !== undefined) return known
  // its type says that it needs no services
  const decoder = total(ParseResult.decodeUnknownEither(schema, all)) as Decoder
  decoders.set(schema, decoder)
  return decoder
}

/** Does any text fit? A schema that cannot be looked at decides for itself. */
const takesText = ({ ast }: Schema.Schema<any, any>): boolean =>
  guarded(
    () => textFits(ast, new Set()),
    () => true
  )

const textFits = (ast: AST, seen: Set<AST>): boolean => {
  switch (ast._tag) {
    case "StringKeyword":
    case "TemplateLiteral":
    case "UnknownKeyword":
    case "AnyKeyword":
      return true
    case "Literal":
      return typeof ast.literal === "string"
    case "Enums":
      return ast.enums.some(([, value]) => typeof value === "string")
    case "Union":
      return ast.types.some((type) => textFits(type, seen))
    case "Refinement":
    case "Transformation":
      return textFits(ast.from, seen)
    case "Suspend": {
      if (seen.has(ast)) return false
      seen.add(ast)
      return textFits(ast.f(), seen)
    }
    default:
      return false
  }
}

/** How a model is to write messages that are no text: for each tool that takes such, what they have to fit. */
export const shapes = (tools: ReadonlyArray<BoundTool>): ReadonlyArray<string> =>
  tools.flatMap((tool) => {
    const schema = schemaOf(tool)
    if (schema === undefined || takesText(schema)) return []
    const json = guarded(
      () => Tool.getJsonSchemaFromSchemaAst(schema.ast) as unknown,
      () => undefined
    )
    // one that has no JSON Schema names what was wrong when something is sent
    if (!isRecord(json)) return []
    const { $schema: _, ...shape } = json
    return [`${tool.name}: ${JSON.stringify(shape)}`]
  })
