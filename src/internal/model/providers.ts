/**
 * What is known of the providers of `@effect/ai` and the AI SDK, by `Model.ProviderName`: what their APIs want, and what
 * their packages do. `docs/providers.md` tells it in words.
 */
import { ProviderName } from "@effect/ai/Model"
import * as Context from "effect/Context"
import * as Option from "effect/Option"
import { hasReference } from "../values/schemas.js"

export interface Provider {
  /** the package leaves the tools out at tool choice `none` */
  readonly dropsToolsAtNone: boolean
  /** a conversation must begin with the user */
  readonly userBegins: boolean
  /** tools are sent with `strict: true` */
  readonly strict: boolean
  /** results of tools must be JSON objects */
  readonly objectResults: boolean
  /** a call of a signing model must carry a signature, also one that the model did not make */
  readonly signedCalls: boolean
  /** a turn of a thinking model that begins with a call must begin with thinking, also where the call is one of ours */
  readonly thinkingFirst: boolean
  /** what a tool may be called; absent: not known */
  readonly toolName: RegExp | undefined
  /** which ids of calls it takes; absent: any */
  readonly callId: RegExp | undefined
  /** the package cannot send schemas that refer to definitions */
  readonly noReferences: boolean
}

const unknown: Provider = {
  dropsToolsAtNone: false,
  userBegins: false,
  strict: false,
  objectResults: false,
  signedCalls: false,
  thinkingFirst: false,
  toolName: undefined,
  callId: undefined,
  noReferences: false
}

const name = /^[a-zA-Z0-9_-]{1,64}$/

const claude: Provider = {
  ...unknown,
  userBegins: true,
  thinkingFirst: true,
  toolName: name,
  callId: /^[a-zA-Z0-9_-]+$/
}

const openai: Provider = { ...unknown, toolName: name, callId: /^[\s\S]{1,64}$/ }

const known: Readonly<Record<string, Provider>> = {
  openai: { ...openai, strict: true },
  // its package leaves them out; that of the AI SDK does not
  anthropic: { ...claude, dropsToolsAtNone: true },
  google: {
    ...unknown,
    userBegins: true,
    objectResults: true,
    signedCalls: true,
    toolName: /^[a-zA-Z_][a-zA-Z0-9_.:-]{0,63}$/,
    noReferences: true
  },
  "amazon-bedrock": {
    ...unknown,
    dropsToolsAtNone: true,
    userBegins: true,
    thinkingFirst: true,
    toolName: name,
    callId: name
  },
  openrouter: { ...unknown, userBegins: true, strict: true, toolName: name },
  // as packages of the AI SDK name themselves
  "openai.responses": openai,
  "anthropic.messages": claude,
  "vertex.anthropic.messages": claude,
  "bedrock.anthropic.messages": claude,
  "google.generative-ai": { ...unknown, userBegins: true },
  "google.generative-ai.interactions": { ...unknown, dropsToolsAtNone: true },
  "google.vertex.chat": { ...unknown, userBegins: true }
}

export const providerOf = (context: Context.Context<any>): Provider => {
  const named = Context.getOption(context, ProviderName)
  return Option.isSome(named) ? (known[named.value] ?? unknown) : unknown
}

/** Why the provider would refuse every request with this tool. */
export const toolProblem = (
  provider: Provider,
  tool: string,
  schemaOf: () => Record<string, any>
): string | undefined => {
  if (provider.toolName === undefined) return undefined
  if (!provider.toolName.test(tool)) {
    return `the model's provider refuses this name. It takes ${provider.toolName.source}.`
  }
  const schema = schemaOf()
  if (schema.type !== "object") {
    return "the model's provider wants parameters that are one object, not a choice of several."
  }
  if (provider.noReferences && hasReference(schema)) {
    return "the model's provider cannot be sent parameters that are recursive or refer to a named definition."
  }
  return undefined
}
