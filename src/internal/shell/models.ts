/**
 * What is said, as it comes: from the model, with the prompt that it is asked with, or from a text.
 */
import { ProviderName } from "@effect/ai/Model"
import * as Chunk from "effect/Chunk"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { ChatItem } from "../../ChatContext.js"
import type { Request } from "../../SessionModel.js"
import { ModelView, Telemetry } from "../../Tags.js"
import * as Parts from "../machine/incoming.js"
import type { ModelFailure, Part } from "../machine/protocol.js"
import type * as State from "../machine/state.js"
import { promptsOf } from "../machine/updates.js"
import * as PromptBuilder from "../model/prompt.js"
import type { Built } from "../scope/build.js"
import { suspended } from "../values/guarded.js"
import { isDefect, modelEnd, readParts, textOf } from "./door.js"
import { fork } from "./fibers.js"
import { type Host, interrupt, log, logOf, stillInHistory } from "./host.js"

const withDeltas = { deltas: true }

export const askModel = (host: Host, step: State.Step): void => {
  if (step.closed) return
  const { agent } = step
  const built = agent.built
  const { model, provider, toolkit } = built
  const toolChoice = step.toolChoice === "none" && provider.dropsToolsAtNone ? "auto" : step.toolChoice
  const { deltas } = host.state.options
  const reading = { deltas, maxFileBytes: host.maxFileBytes }
  const asked = deltas ? withDeltas : undefined
  let read: ReadonlyArray<Part>
  // made once: an answer may come in many pieces
  const take = (s: State.State): void => {
    for (const part of read) Parts.part(s, step, part)
  }
  const onParts = (parts: ReadonlyArray<unknown>): void => {
    // nothing of it counts any more: no schema of the program runs for it
    if (step.closed || step.streamEnded) return
    read = readParts(step, parts, reading)
    host.transact(take)
  }
  const ask = suspended(() => {
    const request: Request = { prompt: prompt(host, step), toolkit, toolChoice, ...asked }
    return model.run !== undefined
      ? model.run(request, onParts)
      : Stream.runForEachChunk(model.stream(request), (parts) =>
          Effect.sync(() => onParts(Chunk.toReadonlyArray(parts)))
        )
  })
  step.fiber = fork(host, ask, host.telemetry.inStep(step, built), (exit) => {
    if (Exit.isFailure(exit) && !step.closed && isDefect(exit.cause)) {
      log(host, "error", "The model failed unexpectedly.", exit.cause)
    }
    const end = modelEnd(exit, Parts.isEmpty(step))
    host.transact((s) => Parts.modelEnded(s, step, end))
  })
  if (step.closed) interrupt(step.fiber)
}

/** The view that leaves nothing out. */
const viewAll = Context.get(Context.empty(), ModelView)

const prompt = (host: Host, step: State.Step) => {
  const s = host.state
  const { agent } = step
  const built = agent.built
  const all = agent.since === 0 ? s.history : [...stillInHistory(host, agent.carried), ...s.history.slice(agent.since)]
  const whole = built.view === viewAll
  if (built.cache.removals !== s.historyRemovals) {
    built.cache = { ...PromptBuilder.makeCache(), removals: s.historyRemovals }
  }
  const made = PromptBuilder.build({
    items: whole ? all : built.view({ items: copyFor(host, built, all) }).items,
    all: whole ? undefined : all,
    cache: whole ? built.cache : undefined,
    instructions: agent.instructions,
    // worded since the input that made it
    note: step.note as string | undefined,
    answer: answerOf(step),
    request: true,
    provider: built.provider,
    placeholder: (callId) => placeholder(host, callId)
  })
  host.telemetry.asked(step, made)
  return made
}

/** The items of an answer that the model has paused, and goes on with. */
const answerOf = ({ continues, from, speech }: State.Step): ReadonlySet<string> | undefined =>
  continues === undefined ? undefined : new Set(speech.items.slice(continues, from).map((item) => item.id))

/** A failure of the model that nobody looks at (rule R3). */
export const logFailure = (host: Host, agent: State.Activity, failure: ModelFailure): void => {
  const { context } = agent.built
  const options = Context.get(context, Telemetry)
  const provider = options.provider ?? Option.getOrUndefined(Context.getOption(context, ProviderName))
  const known = [provider, options.model].filter((name) => name !== undefined)
  const model = known.length === 0 ? "The model" : `The model ${known.join(" ")}`
  log(host, "warning", `${model} of the agent "${agent.name}" failed: ${failure.message}`)
}

/**
 * What a view is given: a copy, so that one that changes it all the same does no harm to the history. It grows with the
 * conversation instead of being made for each step, as long as it is what it was.
 */
const copyFor = (host: Host, built: Built, all: ReadonlyArray<ChatItem>): ReadonlyArray<ChatItem> => {
  const { copy } = built
  const { items } = copy
  const last = copy.length - 1
  if (
    copy.removals !== host.state.historyRemovals ||
    items.length !== copy.length ||
    items[0] !== all[0] ||
    items[last] !== all[last]
  ) {
    items.length = 0
    copy.removals = host.state.historyRemovals
  }
  for (let i = items.length; i < all.length; i++) items.push(all[i] as ChatItem)
  copy.length = items.length
  return items
}

/** A call without output in the history: it still runs, or its output is held for an earlier one (rule M1). */
const placeholder = (host: Host, callId: string) => {
  const call = host.state.unrecorded.get(callId)
  if (call === undefined) return undefined
  const args = { toolName: call.call.name, callId: call.callId }
  return call.output ?? { value: textOf("inProgress", promptsOf(call).inProgress, args, logOf(host)), isError: false }
}

export const readText = (host: Host, step: State.Step): void => {
  if (step.closed) return
  const read = Effect.suspend(() =>
    Stream.runForEach(step.speech.text as Stream.Stream<string>, (part) =>
      Effect.sync(() => host.transact((s) => Parts.textRead(s, step, part)))
    )
  )
  step.fiber = fork(host, read, step.agent.built, (exit) => {
    if (Exit.isFailure(exit) && !step.closed) log(host, "error", "The text to say failed.", exit.cause)
    host.transact((s) => Parts.streamEnded(s, step))
  })
  if (step.closed) interrupt(step.fiber)
}
