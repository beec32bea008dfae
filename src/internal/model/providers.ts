/**
 * What is known of the providers of `@effect/ai` and the AI SDK, by `Model.ProviderName`: what their APIs want, and what
 * their packages do. `docs/providers.md` tells it in words.
 */
import { ProviderName } from "@effect/ai/Model"
import * as Context from "effect/Context"
import * as Option from "effect/Option"
import { isRecord } from "../values/json.js"
import { hasReference } from "../values/schemas.js"
import { anyFile, commonFiles, type FileRules, fileRules } from "./files.js"
import type { Reading } from "./options.js"
import { type Alphabet, exactly, wordy } from "./wire.js"

/** A call that a provider ran itself, as the history has it. */
export interface Executed {
  readonly id: string
  /** as the package names the tool */
  readonly name: string
  /** as the provider itself does */
  readonly providerName: string
  readonly args: unknown
  readonly result: unknown
}

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
  /** a turn of a thinking model that begins with a call must begin with thinking, also if the call is one of ours */
  readonly thinkingFirst: boolean
  /** what a tool may be called; absent: not known */
  readonly toolName: RegExp | undefined
  /** which names of tools it takes in a history; absent: any */
  readonly names: Alphabet | undefined
  /** which ids of calls it takes; absent: any */
  readonly callId: Alphabet | undefined
  /** the package cannot send schemas that refer to definitions */
  readonly noReferences: boolean
  /** no message of the user comes right behind a result */
  readonly assistantAfterResults: boolean
  /** what comes behind an answer that was paused; `nothing`: the answer itself is last, `trimmed`: without blanks there */
  readonly goesOnBy: "note" | "nothing" | "trimmed"
  /** calls may stand in a history only if the request has tools */
  readonly callsNeedTools: boolean
  /** calls are told in words: the agent has no tools, and they would be needed */
  readonly tellsCalls: boolean
  /** what of files it takes */
  readonly files: FileRules
  /** what of the metadata it reads; absent: not known */
  readonly reads: Reading | undefined
  /** under which name a call that a provider ran itself goes back; nothing: it is told in words */
  readonly executed: (call: Executed) => string | undefined
}

const asItCame = ({ providerName }: Executed): string => providerName

/** The package would send the call without its result, or fail on it. */
const told = (): undefined => undefined

const unknown: Provider = {
  dropsToolsAtNone: false,
  userBegins: false,
  strict: false,
  objectResults: false,
  signedCalls: false,
  thinkingFirst: false,
  toolName: undefined,
  names: undefined,
  callId: undefined,
  noReferences: false,
  assistantAfterResults: false,
  goesOnBy: "nothing",
  callsNeedTools: false,
  tellsCalls: false,
  files: anyFile,
  reads: undefined,
  executed: asItCame
}

const name = /^[a-zA-Z0-9_-]{1,64}$/
const names = wordy(name, 64)

const named = { toolName: name, names }

/** None of those that pause. */
const other: Provider = { ...unknown, goesOnBy: "note" }

/** Its API knows its own calls by their ids, and wants what they found in the form in which it had sent it. */
const isClaudes = ({ args, id, result }: Executed): boolean =>
  /^(?:srv|mcp)toolu_\w+$/.test(id) && isRecord(args) && typeof result === "object" && result !== null

const claude: Provider = {
  ...unknown,
  goesOnBy: "trimmed",
  ...named,
  userBegins: true,
  thinkingFirst: true,
  files: fileRules.sdk.anthropic,
  callId: wordy(/^[a-zA-Z0-9_-]+$/, 64),
  callsNeedTools: true,
  reads: { provider: "anthropic" },
  executed: (call) => (isClaudes(call) ? call.providerName : undefined)
}

/** The package of `@effect/ai` reads its own names and no others. */
const claudeTools: Readonly<Record<string, string>> = {
  code_execution: "AnthropicCodeExecution",
  web_search: "AnthropicWebSearch"
}

const claudeTool = (call: Executed): string | undefined => {
  if (!isClaudes(call)) return undefined
  if (Object.values(claudeTools).includes(call.name)) return call.name
  return Object.hasOwn(claudeTools, call.providerName) ? claudeTools[call.providerName] : undefined
}

const openai: Provider = {
  ...other,
  ...named,
  callId: wordy(/^[\s\S]{1,64}$/, 64),
  files: fileRules.sdk.openai,
  reads: { provider: "openai" },
  // the package leaves them out, or refers to them by their ids
  executed: (call) => (/^[a-z]{2,5}_[\w-]{1,58}$/.test(call.id) ? call.providerName : undefined)
}

const known: Readonly<Record<string, Provider>> = {
  openai: { ...openai, strict: true, files: fileRules.openai },
  // its package leaves the tools out; that of the AI SDK does not
  anthropic: {
    ...claude,
    dropsToolsAtNone: true,
    reads: { provider: "anthropic", typed: true },
    files: fileRules.anthropic,
    executed: claudeTool
  },
  google: {
    ...other,
    userBegins: true,
    objectResults: true,
    signedCalls: true,
    toolName: /^[a-zA-Z_][a-zA-Z0-9_.:-]{0,63}$/,
    names: wordy(/^[a-zA-Z_][a-zA-Z0-9_.:-]{0,63}$/, 64),
    callId: names,
    noReferences: true,
    files: fileRules.google,
    reads: { provider: "google" },
    executed: told
  },
  "amazon-bedrock": {
    ...other,
    ...named,
    dropsToolsAtNone: true,
    userBegins: true,
    thinkingFirst: true,
    callId: names,
    callsNeedTools: true,
    files: fileRules.bedrock,
    reads: { provider: "bedrock", typed: true },
    executed: told
  },
  // behind it stand others, each with its own wants
  openrouter: {
    ...other,
    ...named,
    userBegins: true,
    strict: true,
    callId: names,
    callsNeedTools: true,
    files: fileRules.openrouter,
    executed: told
  },
  // as packages of the AI SDK name themselves
  "openai.responses": openai,
  "openai.chat": {
    ...other,
    ...named,
    callId: wordy(/^[\s\S]{1,40}$/, 40),
    files: fileRules.sdk.openaiChat,
    executed: told
  },
  "anthropic.messages": claude,
  "vertex.anthropic.messages": { ...claude, files: fileRules.sdk.hostedAnthropic },
  "bedrock.anthropic.messages": { ...claude, files: fileRules.sdk.hostedAnthropic },
  "google.generative-ai": { ...other, userBegins: true, files: fileRules.sdk.google },
  "google.generative-ai.interactions": { ...other, dropsToolsAtNone: true, files: fileRules.sdk.google },
  "google.vertex.chat": { ...other, userBegins: true, files: fileRules.sdk.google },
  "mistral.chat": {
    ...other,
    ...named,
    callId: exactly(9),
    assistantAfterResults: true,
    files: fileRules.sdk.mistral,
    executed: told
  }
}

/** Packages of the AI SDK have names with a point, and fail on a file that they do not take. */
const otherSdk: Provider = { ...unknown, files: commonFiles }

export const providerOf = (context: Context.Context<any>): Provider => {
  const named = Context.getOption(context, ProviderName)
  if (Option.isNone(named)) return unknown
  if (Object.hasOwn(known, named.value)) return known[named.value] as Provider
  return named.value.includes(".") ? otherSdk : unknown
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
