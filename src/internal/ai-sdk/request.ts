/**
 * From a prompt and tools of `@effect/ai` to the call options of a language model of the AI SDK. What does not change
 * from one request to the next is converted once: messages and tools are remembered by their identity.
 */
import type {
  JSONObject,
  LanguageModelV3CallOptions,
  LanguageModelV3FilePart,
  LanguageModelV3FunctionTool,
  LanguageModelV3Message,
  LanguageModelV3Prompt,
  LanguageModelV3ProviderTool,
  LanguageModelV3ToolChoice,
  LanguageModelV3ToolResultOutput
} from "@ai-sdk/provider"
import type * as LanguageModel from "@effect/ai/LanguageModel"
import type * as Prompt from "@effect/ai/Prompt"
import * as Tool from "@effect/ai/Tool"
import type * as AST from "effect/SchemaAST"
import type { Settings } from "../../ai-sdk/AiSdkModel.js"
import type { ToolOptions } from "../../ai-sdk/AiSdkTool.js"
import { filesOfPart, type ResultContent, withoutFiles } from "../model/files.js"
import type { Call } from "./ask.js"
import { Options as ToolOptionsReference } from "./toolOptions.js"

// ------------------------------------------------------------------------------------------------------------ prompt

type ProviderOptions = NonNullable<LanguageModelV3CallOptions["providerOptions"]>

/** Sent as they are, and left out if there are none. */
const optionsOf = (options: Prompt.ProviderOptions): { providerOptions?: ProviderOptions } => {
  const theirs = withoutFiles(options)
  for (const _ in theirs) return { providerOptions: theirs as ProviderOptions }
  return {}
}

/** Version 4 of the interface says what kind of data it is. */
type FileData = (data: Prompt.FilePart["data"]) => LanguageModelV3FilePart["data"]

const fileDataV3: FileData = (data) => data

const fileDataV4: FileData = (data) =>
  // the types here are those of version 3, which has no such object
  (data instanceof URL ? { type: "url", url: data } : { type: "data", data }) as unknown as string

const fileOf = (part: Prompt.FilePart, fileData: FileData): LanguageModelV3FilePart => ({
  type: "file",
  mediaType: part.mediaType,
  data: fileData(part.data),
  ...(part.fileName === undefined ? {} : { filename: part.fileName }),
  ...optionsOf(part.options)
})

/** The text, unless there is none, and the files behind it. */
const contentOf = (result: unknown, files: ReadonlyArray<ResultContent>): LanguageModelV3ToolResultOutput => {
  const text =
    typeof result === "string" ? result : result === null || result === undefined ? "" : JSON.stringify(result)
  const words: ReadonlyArray<ResultContent> = text.trim() === "" ? [] : [{ type: "text", text }]
  return { type: "content", value: [...words, ...files] }
}

const outputOf = ({ isFailure, options, result }: Prompt.ToolResultPart): LanguageModelV3ToolResultOutput => {
  const files = filesOfPart(options)
  if (files !== undefined) return contentOf(result, files)
  if (typeof result === "string") return { type: isFailure ? "error-text" : "text", value: result }
  return { type: isFailure ? "error-json" : "json", value: (result ?? null) as never }
}

const resultOf = (part: Prompt.ToolResultPart) => ({
  type: "tool-result" as const,
  toolCallId: part.id,
  toolName: part.name,
  output: outputOf(part),
  ...optionsOf(part.options)
})

type AssistantPart = Extract<LanguageModelV3Message, { role: "assistant" }>["content"][number]

const assistantPartOf = (part: Prompt.AssistantMessagePart, fileData: FileData): AssistantPart => {
  switch (part.type) {
    case "text":
    case "reasoning":
      return { type: part.type, text: part.text, ...optionsOf(part.options) }
    case "file":
      return fileOf(part, fileData)
    case "tool-call":
      return {
        type: "tool-call",
        toolCallId: part.id,
        toolName: part.name,
        input: part.params,
        ...(part.providerExecuted ? { providerExecuted: true } : {}),
        ...optionsOf(part.options)
      }
    case "tool-result":
      return resultOf(part)
  }
}

const messageOf = (message: Prompt.Message, fileData: FileData): LanguageModelV3Message => {
  const options = optionsOf(message.options)
  switch (message.role) {
    case "system":
      return { role: "system", content: message.content, ...options }
    case "user":
      return {
        role: "user",
        content: message.content.map((part) =>
          part.type === "text" ? { type: "text", text: part.text, ...optionsOf(part.options) } : fileOf(part, fileData)
        ),
        ...options
      }
    case "assistant":
      return { role: "assistant", content: message.content.map((part) => assistantPartOf(part, fileData)), ...options }
    case "tool":
      return { role: "tool", content: message.content.map(resultOf), ...options }
  }
}

export type ToPrompt = (messages: ReadonlyArray<Prompt.Message>, conversation?: Conversation) => LanguageModelV3Prompt

/** What of a session's requests was converted: the tools, and the messages of the last one. */
export interface Conversation {
  readonly tools: Array<SdkTool>
  from: ReadonlyArray<Prompt.Message>
  to: LanguageModelV3Prompt
}

/** The messages that a session has settled are the same objects in each request, and stand at its beginning. */
const makeToPrompt =
  (fileData: FileData): ToPrompt =>
  (messages, conversation) => {
    if (conversation === undefined) return messages.map((message) => messageOf(message, fileData))
    const { from, to } = conversation
    const same: LanguageModelV3Prompt = []
    // the system message is made anew each time
    const first = messages[0]
    const old = from[0]
    let i = 0
    if (first?.role === "system" && old?.role === "system" && first.content === old.content) {
      same.push(to[0] as LanguageModelV3Message)
      i = 1
    }
    for (; i < from.length && from[i] === messages[i]; i++) same.push(to[i] as LanguageModelV3Message)
    for (; i < messages.length; i++) same.push(messageOf(messages[i] as Prompt.Message, fileData))
    conversation.from = messages
    // the model may keep what it is given
    conversation.to = same.slice()
    return same
  }

export const toPrompt: { readonly v3: ToPrompt; readonly v4: ToPrompt } = {
  v3: makeToPrompt(fileDataV3),
  v4: makeToPrompt(fileDataV4)
}

// ------------------------------------------------------------------------------------------------------------- tools

type SdkTool = LanguageModelV3FunctionTool | LanguageModelV3ProviderTool

const toolOptions = (tool: Tool.Any): ToolOptions =>
  tool.annotations === undefined
    ? {}
    : ((tool.annotations.unsafeMap.get(ToolOptionsReference.key) as ToolOptions | undefined) ?? {})

const functionToolOf = (tool: Tool.Any): LanguageModelV3FunctionTool => {
  const schema = tool.parametersSchema.ast
  const description = tool.description ?? Tool.getDescriptionFromSchemaAst(schema)
  const { inputExamples, providerOptions, strict } = toolOptions(tool)
  return {
    type: "function",
    name: tool.name,
    ...(description === undefined ? {} : { description }),
    inputSchema: Tool.getJsonSchemaFromSchemaAst(schema) as LanguageModelV3FunctionTool["inputSchema"],
    ...(inputExamples === undefined
      ? {}
      : { inputExamples: inputExamples.map((input) => ({ input: input as JSONObject })) }),
    ...(strict === undefined ? {} : { strict }),
    ...(providerOptions === undefined ? {} : { providerOptions: providerOptions as ProviderOptions })
  }
}

const toolOf = (tool: Tool.Any): SdkTool =>
  Tool.isProviderDefined(tool)
    ? { type: "provider", id: tool.id as `${string}.${string}`, name: tool.name, args: { ...tool.args } }
    : functionToolOf(tool)

const knownTools = new WeakMap<Tool.Any, SdkTool>()

const known = (tool: Tool.Any): SdkTool => {
  let converted = knownTools.get(tool)
  if (converted === undefined) {
    converted = toolOf(tool)
    knownTools.set(tool, converted)
  }
  return converted
}

export const toTools = (tools: ReadonlyArray<Tool.Any>): Array<SdkTool> => tools.map(known)

/** Conversations by their tools, which are the same object in each request of an agent of a session. */
export const makeConversations = (): ((tools: Record<string, Tool.Any>) => Conversation) => {
  const known = new WeakMap<Record<string, Tool.Any>, Conversation>()
  return (tools) => {
    let conversation = known.get(tools)
    if (conversation === undefined) {
      conversation = { tools: toTools(Object.values(tools)), from: [], to: [] }
      known.set(tools, conversation)
    }
    return conversation
  }
}

const auto: LanguageModelV3ToolChoice = { type: "auto" }
const none: LanguageModelV3ToolChoice = { type: "none" }
const required: LanguageModelV3ToolChoice = { type: "required" }

/** `oneOf` is in the tools already: those that may not be called are not among them. */
const toToolChoice = (choice: LanguageModel.ToolChoice<string>): LanguageModelV3ToolChoice => {
  if (typeof choice === "object") {
    if ("tool" in choice) return { type: "tool", toolName: choice.tool }
    return choice.mode === "required" ? required : auto
  }
  return choice === "auto" ? auto : choice === "none" ? none : required
}

// ------------------------------------------------------------------------------------------------------------ format

const knownSchemas = new WeakMap<AST.AST, unknown>()

export const toResponseFormat = (
  format: LanguageModel.ProviderOptions["responseFormat"]
): LanguageModelV3CallOptions["responseFormat"] => {
  if (format.type === "text") return undefined
  let schema = knownSchemas.get(format.schema.ast)
  if (schema === undefined) {
    schema = Tool.getJsonSchemaFromSchemaAst(format.schema.ast)
    knownSchemas.set(format.schema.ast, schema)
  }
  return { type: "json", name: format.objectName, schema: schema as never }
}

// ---------------------------------------------------------------------------------------------------------- the call

/** The options of one call. The signal is made when somebody looks at it. */
export const toCall =
  (
    settings: Settings,
    prompt: LanguageModelV3Prompt,
    tools: Array<SdkTool>,
    toolChoice: LanguageModel.ToolChoice<string>,
    responseFormat?: LanguageModelV3CallOptions["responseFormat"]
  ): Call =>
  (abort) => {
    const options: LanguageModelV3CallOptions =
      tools.length === 0
        ? {
            prompt,
            get abortSignal() {
              return abort.signal
            }
          }
        : {
            prompt,
            tools,
            toolChoice: toToolChoice(toolChoice),
            get abortSignal() {
              return abort.signal
            }
          }
    if (settings !== noSettings) Object.assign(options, settings)
    if (responseFormat !== undefined) options.responseFormat = responseFormat
    return options
  }

// ---------------------------------------------------------------------------------------------------------- settings

/** The one that stands for none. */
export const noSettings: Settings = {}

const isEmpty = (settings: Settings): boolean => {
  for (const _ in settings) return false
  return true
}

/** The second one wins; options for different providers, and headers, are put together. */
export const mergeSettings = (a: Settings, b: Settings): Settings => {
  if (isEmpty(b)) return a
  if (isEmpty(a)) return b
  const merged: { -readonly [K in keyof Settings]: Settings[K] } = { ...a, ...b }
  if (a.headers !== undefined && b.headers !== undefined) merged.headers = { ...a.headers, ...b.headers }
  if (a.providerOptions !== undefined && b.providerOptions !== undefined) {
    const all: Record<string, Record<string, unknown>> = { ...a.providerOptions }
    for (const [provider, options] of Object.entries(b.providerOptions))
      all[provider] = { ...all[provider], ...options }
    merged.providerOptions = all
  }
  return merged
}
