/**
 * Scopes: session ⊃ agent ⊃ toolset. Each is built once: its layers into a context on top of the broader one's, its
 * tools bound to the handlers, prompts and policies of that context (rules S1, S3, L, P5).
 */

import * as LanguageModel from "@effect/ai/LanguageModel"
import * as Tool from "@effect/ai/Tool"
import type * as Toolkit from "@effect/ai/Toolkit"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as ExecutionStrategy from "effect/ExecutionStrategy"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberRef from "effect/FiberRef"
import * as FiberRefs from "effect/FiberRefs"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import type { Service as Output } from "../../AgentOutput.js"
import type { Options } from "../../AsyncTool.js"
import type { AsyncToolset, Entry } from "../../AsyncToolset.js"
import type { ChatContext, ChatItem } from "../../ChatContext.js"
import type { Service as Model } from "../../SessionModel.js"
import {
  AgentOutput,
  DropsToolsAtNone,
  ModelView,
  SessionModel,
  StrictSchemas,
  ToolNameConflict,
  ToolOptionsError
} from "../../Tags.js"
import { takesMessages } from "../machine/messages.js"
import { defaultStopTimeout } from "../machine/speech.js"
import type { Activity, Executor, OutputTraits, Task } from "../machine/state.js"
import { cancelTaskName, getRunningTasksName, messageTaskName } from "../machine/texts.js"
import { rulesFor } from "../model/files.js"
import { type Cache, makeCache } from "../model/prompt.js"
import { type Provider, providerOf, toolProblem } from "../model/providers.js"
import { fromLanguageModel } from "../model/seam.js"
import { kept, suspended } from "../values/guarded.js"
import { check, errorInTool, ofCalls, ofOutput } from "../values/options.js"
import * as Templates from "../values/templates.js"
import * as Approval from "./approval.js"
import { codecOf, workInSession } from "./codec.js"
import type { AgentDefinition, ToolsetDefinition } from "./definitions.js"
import { inStrictForm } from "./dynamic.js"
import { handlerOf } from "./handlers.js"
import * as Mistakes from "./mistakes.js"
import { bind, DuplicatePolicy } from "./policy.js"
import { addedParameters, type BoundTool, optionsOf, ownArguments, ownParameters } from "./tool.js"
import { strictWireOf, wireOf } from "./wire.js"

export type AnyContext = Context.Context<any>

/** What the fibers of a scope run in. */
export interface Environment {
  readonly context: AnyContext
  readonly fiberRefs: FiberRefs.FiberRefs
}

export type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

/** What plays text as fast as it comes. */
const defaultOutput = Context.get(Context.empty(), AgentOutput)

/** What the machine has to know of an output; one that makes no sense fails the build (rule L3). */
const traitsOf = (output: Output, owner: string): Effect.Effect<OutputTraits> =>
  Effect.map(check(`the output of ${owner}`, output, ofOutput), () => ({
    stopTimeout: output.stopTimeout === undefined ? defaultStopTimeout : Duration.toMillis(output.stopTimeout),
    stallTimeout: millisOf(output.stallTimeout),
    // one that takes no speech cannot say so
    tellsStart: output.play.length > 2,
    canPause: output.pause !== undefined && output.resume !== undefined
  }))

/** Milliseconds; none for an infinite duration: it starts no timer. */
export const millisOf = (duration: Duration.DurationInput | undefined): number | undefined => {
  if (duration === undefined) return undefined
  const millis = Duration.toMillis(duration)
  return Number.isFinite(millis) ? millis : undefined
}

const makeExecutor = (id: string, activity: Activity | undefined, limit: number | undefined): Executor => ({
  id,
  activity,
  limit: limit ?? Number.POSITIVE_INFINITY,
  active: 0,
  queue: []
})

/**
 * A fiber is started with a context of its own. One that stands in the `FiberRefs` as well would be kept below it, and
 * compared with it, for each call.
 */
export const withoutContext = FiberRefs.delete(FiberRef.currentContext)

/** The first layer is the innermost: what it needs comes from the ones behind it. */
const provideLayers = (
  layers: ReadonlyArray<Layer.Layer<any, never, any>>,
  outer: Environment,
  scope: Scope.Scope
): Effect.Effect<Environment> => {
  if (layers.length === 0) return Effect.succeed({ context: outer.context, fiberRefs: outer.fiberRefs })
  const build = Effect.reduce(layers.toReversed(), outer.context, (context, layer) =>
    Effect.map(
      Effect.mapInputContext(Layer.buildWithScope(layer, scope), (_: Context.Context<never>) => context),
      (built): AnyContext => Context.merge(context, built)
    )
  )
  return inFiber(
    outer.fiberRefs,
    Effect.zipWith(
      build,
      Effect.getFiberRefs,
      (context, fiberRefs): Environment => ({ context, fiberRefs: withoutContext(fiberRefs) })
    )
  )
}

/** Layers may set FiberRefs, which hold in the scope and nowhere else; nor do those of who asks hold in it. */
const inFiber = <A>(fiberRefs: FiberRefs.FiberRefs, build: Effect.Effect<A>): Effect.Effect<A> =>
  Effect.updateFiberRefs(() => fiberRefs).pipe(
    Effect.zipRight(build),
    kept,
    Effect.fork,
    Effect.flatMap((fiber) => Effect.onInterrupt(Fiber.await(fiber), () => Fiber.interrupt(fiber))),
    Effect.flatten,
    Effect.flatten
  )

// ------------------------------------------------------------------------------------------------------------- tools

interface Place extends Environment {
  /** for messages: `agent "travel"`, `toolset "booking"` */
  readonly description: string
  /** what handlers work in, by the context that their layer was built in */
  readonly workplaces: Workplaces
  readonly executor: Executor
  /** the innermost one */
  readonly toolset: string | undefined
  readonly activity: Activity | undefined
  readonly scope: Scope.Scope
  readonly releaseAfter: number | undefined
  readonly startAfter: "call" | "step" | undefined
}

type Workplaces = Map<AnyContext, AnyContext>

/**
 * What the layer of a handler was built in, below what is in the place. All handlers of a layer share the one, and most
 * places have all of it: a context of its own for each tool would grow with the square of their number.
 */
const workplaceOf = ({ context, workplaces }: Place, captured: AnyContext): AnyContext => {
  let workplace = workplaces.get(captured)
  if (workplace === undefined) {
    const isContained = Array.from(captured.unsafeMap.keys()).every((key) => context.unsafeMap.has(key))
    workplace = isContained ? context : (Context.merge(captured, context) as AnyContext)
    workplaces.set(captured, workplace)
  }
  return workplace
}

type Tools = Map<string, { readonly bound: BoundTool; readonly place: string }>

const collect = (entries: ReadonlyArray<Entry>, place: Place, reserved: ReadonlyArray<string>): Effect.Effect<Tools> =>
  Effect.gen(function* () {
    const wrong = Mistakes.inEntries(place.description, entries)
    if (wrong !== undefined) return yield* Effect.die(wrong)
    const own: Tools = new Map()
    const inner: Tools = new Map()
    const add = (tools: Tools, name: string, bound: BoundTool, where: string) => {
      const other = tools.get(name)
      if (other !== undefined && other.bound.tool !== bound.tool) {
        return Effect.die(new ToolNameConflict({ tool: name, first: other.place, second: where }))
      }
      if (other === undefined) tools.set(name, { bound, place: where })
      return Effect.void
    }
    for (const entry of entries) {
      if ("_tag" in entry && entry._tag === "AsyncToolset") {
        const toolset = entry as ToolsetDefinition
        const nested = yield* collectToolset(toolset, place, reserved)
        for (const [name, { bound, place: where }] of nested) yield* add(inner, name, bound, where)
      } else {
        for (const tool of Object.values((entry as Toolkit.Any).tools)) {
          if (reserved.includes(tool.name)) {
            return yield* Effect.die(
              new ToolNameConflict({ tool: tool.name, first: place.description, second: "the session itself" })
            )
          }
          yield* add(own, tool.name, yield* bindTool(tool, place), place.description)
        }
      }
    }
    // the innermost that contains a tool owns it, and hides an outer one of the same name
    for (const [name, tool] of inner) own.set(name, tool)
    return own
  })

const collectToolset = (
  toolset: ToolsetDefinition,
  outer: Place,
  reserved: ReadonlyArray<string>
): Effect.Effect<Tools> =>
  Effect.gen(function* () {
    const description = `toolset "${toolset.id}"`
    yield* check(description, toolset, ofCalls)
    let context = outer.context
    const { fiberRefs } = outer
    if (toolset.onDuplicateCall !== undefined) {
      yield* Effect.logWarning(
        `The option onDuplicateCall of toolset "${toolset.id}" is deprecated: provide DuplicatePolicy.layer to it.`
      )
      context = Context.add(context, DuplicatePolicy, {
        _tag: "Mode",
        mode: toolset.onDuplicateCall,
        scope: undefined,
        allow: undefined
      })
    }
    const place: Place = {
      ...outer,
      description,
      ...(yield* provideLayers(toolset.layers, { context, fiberRefs }, outer.scope)),
      workplaces: new Map(),
      executor: makeExecutor(toolset.id, outer.activity, toolset.maxConcurrency),
      toolset: toolset.id
    }
    const entries = toolset.unwrap === undefined ? toolset.entries : [yield* unwrapped(toolset.unwrap, place)]
    return yield* collect(entries, place, reserved)
  })

/** The toolset that the program makes in this scope (rule B7). That it cannot is a defect of the scope's building. */
const unwrapped = (
  effect: () => Effect.Effect<AsyncToolset<any>, unknown, any>,
  { context, description, fiberRefs, scope }: Place
): Effect.Effect<AsyncToolset<any>> =>
  inFiber(
    fiberRefs,
    Effect.mapInputContext(
      Effect.orDie(suspended(effect)),
      (_: Context.Context<never>): AnyContext => Context.add(context, Scope.Scope, scope)
    )
  ).pipe(
    Effect.filterOrDie(
      (made) => Mistakes.isToolset(made),
      () => Mistakes.noToolset(description)
    )
  )

const contradiction = (options: Options): string | undefined => {
  if (options.allowCancellation === true) return undefined
  if (options.cancelOnInterruption === true) return "cancelOnInterruption needs allowCancellation."
  if (options.onHandoff === "cancel") return `onHandoff: "cancel" needs allowCancellation.`
  return undefined
}

const bindTool = (tool: Tool.Any, place: Place): Effect.Effect<BoundTool> =>
  Effect.gen(function* () {
    const options = optionsOf(tool)
    const odd = errorInTool(tool.name, options) ?? Mistakes.inTool(tool)
    if (odd !== undefined) return yield* Effect.die(odd)
    const problem = contradiction(options)
    if (problem !== undefined) return yield* Effect.die(new ToolOptionsError({ tool: tool.name, problem }))
    const provider = Tool.isProviderDefined(tool)
    const handler = handlerOf(tool, place.context)
    if (handler === undefined && !(Tool.isProviderDefined(tool) && !tool.requiresHandler)) {
      return yield* Effect.die(Mistakes.noHandler(tool.name, place.description))
    }
    const { decide, policy } = bind(tool, options, Context.get(place.context, DuplicatePolicy))
    const { approval, approvalTimeout, asks } = Approval.bind(
      tool,
      options,
      Context.get(place.context, Approval.ApprovalPolicy),
      place.toolset
    )
    const added = provider ? [] : addedParameters(policy._tag === "Mode" ? policy.mode : undefined, options)
    const taken = ownParameters(tool).find((name) => added.includes(name))
    if (taken !== undefined) {
      return yield* Effect.die(
        new ToolOptionsError({ tool: tool.name, problem: `the parameter "${taken}" is the session's own.` })
      )
    }
    const codec = codecOf(tool)
    const bound: BoundTool = {
      name: tool.name,
      tool,
      kind: provider && handler === undefined ? "provider" : "user",
      options,
      executor: place.executor,
      policy,
      decide,
      approval,
      approvalTimeout: millisOf(approvalTimeout),
      asks,
      prompts: Templates.inForce(place.context),
      wire: wireOf(tool, added),
      releaseAfter: options.releaseAfter === undefined ? place.releaseAfter : millisOf(options.releaseAfter),
      timeout: millisOf(options.timeout),
      afterStep: (options.startAfter ?? place.startAfter) === "step",
      added,
      ownArguments: ownArguments(added, codec),
      codec,
      fiberRefs: place.fiberRefs,
      context: handler === undefined ? place.context : workplaceOf(place, handler.context as AnyContext),
      work: workInSession(handler?.handler ?? (() => Effect.dieMessage(`${tool.name} is run by the provider.`)), codec)
    }
    return bound
  })

/** A tool of the session's own: never queued, released or counted. */
export const companion = (
  tool: Tool.Any,
  handler: (params: any) => Effect.Effect<unknown, unknown, any>,
  { context, fiberRefs }: Environment
): BoundTool => ({
  name: tool.name,
  tool,
  kind: "companion",
  options: {},
  executor: makeExecutor("companions", undefined, undefined),
  policy: { _tag: "Mode", mode: "allow", scope: "name" },
  decide: undefined,
  approval: undefined,
  approvalTimeout: undefined,
  asks: undefined,
  prompts: Templates.inForce(context),
  wire: wireOf(tool, []),
  releaseAfter: undefined,
  timeout: undefined,
  afterStep: false,
  added: [],
  ownArguments: codecOf(tool).prepare,
  codec: codecOf(tool),
  context,
  fiberRefs,
  work: workInSession(handler, codecOf(tool))
})

// ------------------------------------------------------------------------------------------------------------ session

export interface SessionScope extends Environment {
  readonly scope: Scope.CloseableScope
  readonly tools: Tools
  readonly companions: ReadonlyArray<BoundTool>
  /** the tool `message_task`, for an agent that can see these tools with messages */
  readonly messaging: (tools: ReadonlyArray<BoundTool>) => BoundTool
  readonly releaseAfter: number | undefined
  readonly startAfter: "call" | "step" | undefined
}

const reservedNames = [cancelTaskName, getRunningTasksName, messageTaskName]

export const buildSession = (options: {
  readonly context: AnyContext
  readonly fiberRefs: FiberRefs.FiberRefs
  readonly scope: Scope.CloseableScope
  readonly entries: ReadonlyArray<Entry>
  readonly companions: ReadonlyArray<BoundTool>
  readonly messaging: SessionScope["messaging"]
  readonly releaseAfter: number | undefined
  readonly startAfter: "call" | "step" | undefined
}): Effect.Effect<SessionScope> =>
  Effect.map(
    collect(
      options.entries,
      {
        description: "the session",
        workplaces: new Map(),
        context: options.context,
        fiberRefs: options.fiberRefs,
        executor: makeExecutor("session", undefined, undefined),
        toolset: undefined,
        activity: undefined,
        scope: options.scope,
        releaseAfter: options.releaseAfter,
        startAfter: options.startAfter
      },
      reservedNames
    ),
    (tools) => ({ ...options, tools })
  )

// -------------------------------------------------------------------------------------------------------------- agent

/** What the shell needs of an agent at work. */
export interface Built extends Environment {
  readonly definition: AgentDefinition
  readonly scope: Scope.CloseableScope
  readonly model: Model
  /** what its requests have to be, with these tools */
  provider: Provider
  readonly output: Output
  readonly view: (context: ChatContext) => ChatContext
  readonly toolkit: Toolkit.WithHandler<Record<string, Tool.Any>>
  /** the fiber of onEnter */
  entering: Fiber.RuntimeFiber<unknown, unknown> | undefined
  /** the messages of the conversation so far, as long as nothing was taken out of it */
  cache: Cache & { readonly removals: number }
  /** what a view of the conversation is given */
  readonly copy: { items: Array<ChatItem>; length: number; removals: number }
}

/** What is known of the provider, and what the user says of it. */
const providerIn = (context: AnyContext): Provider => {
  const provider = providerOf(context)
  return {
    ...provider,
    dropsToolsAtNone: Context.get(context, DropsToolsAtNone) ?? provider.dropsToolsAtNone,
    strict: Context.get(context, StrictSchemas) ?? provider.strict
  }
}

/** The tools as the agent's provider takes them; what it would refuse with every request is refused now. */
const wireTools = (tools: Map<string, BoundTool>, provider: Provider): Effect.Effect<Record<string, Tool.Any>> =>
  Effect.gen(function* () {
    const wire: Record<string, Tool.Any> = {}
    for (const [name, tool] of tools) {
      if (tool.kind !== "provider" && !Tool.isProviderDefined(tool.tool)) {
        const problem = toolProblem(provider, name, () =>
          Tool.getJsonSchemaFromSchemaAst(tool.wire.parametersSchema.ast)
        )
        if (problem !== undefined) return yield* Effect.die(new ToolOptionsError({ tool: name, problem }))
      }
      const sent = provider.strict ? strictWireOf(tool) : tool.wire
      if (typeof sent === "string") {
        return yield* Effect.die(
          new ToolOptionsError({
            tool: name,
            problem:
              `the model's provider checks parameters in strict mode, and ${sent}. Describe them more closely, or turn ` +
              "strict mode off, in the model's configuration and with SessionModel.StrictSchemas."
          })
        )
      }
      wire[name] = sent
      if (sent !== tool.wire) tools.set(name, inStrictForm(tool))
    }
    return wire
  })

/** The most specific one: a `LanguageModel` that an agent provides hides a `SessionModel` from around it (rule L2). */
const modelOf = (context: AnyContext, outer: AnyContext): Effect.Effect<Model> => {
  const own = Context.getOption(context, SessionModel)
  const model = Context.getOption(context, LanguageModel.LanguageModel)
  const hidden =
    Option.isSome(model) &&
    outer.unsafeMap.get(SessionModel.key) === context.unsafeMap.get(SessionModel.key) &&
    outer.unsafeMap.get(LanguageModel.LanguageModel.key) !== model.value
  if (Option.isSome(own) && !hidden) return Effect.succeed(own.value)
  return Option.isSome(model)
    ? Effect.succeed(fromLanguageModel(model.value))
    : Effect.dieMessage("A session needs a LanguageModel: provide one to it, or to each of its agents.")
}

/**
 * Builds an agent: a scope of its own, its layers, its tools over those of the session. Where that fails, what was
 * acquired is released.
 */
export const buildAgent = (options: {
  readonly id: string
  readonly definition: AgentDefinition
  readonly session: SessionScope
  /** the context to build on: the session's, with what a caller added to it */
  readonly outer: Environment
  readonly task: Task | undefined
  /** the tool `complete` of a task */
  readonly own: (place: Environment) => ReadonlyArray<BoundTool>
  /**
   * How the layers are made interruptible again, by those who ask in a region that is not: what comes back is theirs
   * from there on, and no interruption comes in between.
   */
  readonly restore?: Restore | undefined
}): Effect.Effect<Activity> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function* () {
      const { definition, session } = options
      const scope = yield* Scope.fork(session.scope, ExecutionStrategy.sequential)
      const build = Effect.gen(function* () {
        const description = `${definition._tag === "Agent" ? "agent" : "task"} "${definition.name}"`
        yield* check(description, definition.options, ofCalls)
        const place = yield* provideLayers(definition.layers, options.outer, scope)
        const { context } = place
        const prompts = Templates.inForce(context)
        const output = Context.get(context, AgentOutput)
        const tools = new Map<string, BoundTool>()
        const known = providerIn(context)
        const wire: Record<string, Tool.Any> = {}
        const built: Built = {
          definition,
          ...place,
          scope,
          model: yield* modelOf(context, options.outer.context),
          provider: known,
          output,
          view: Context.get(context, ModelView),
          toolkit: { tools: wire, handle: () => Effect.dieMessage("tool calls are resolved by the session") },
          entering: undefined,
          cache: { ...makeCache(), removals: 0 },
          copy: { items: [], length: 0, removals: 0 }
        }
        const activity: Activity = {
          id: options.id,
          name: definition.name,
          instructions: definition.options.instructions,
          tools,
          prompts,
          hasCompanions: false,
          instantOutput: output === defaultOutput,
          output: output === defaultOutput ? undefined : yield* traitsOf(output, description),
          context: definition.options.context ?? "inherit",
          built,
          task: options.task,
          state: "new",
          since: 0,
          carried: [],
          running: 0
        }
        const own = options.own(place)
        const agentTools = yield* collect(
          definition.options.tools ?? [],
          {
            description,
            workplaces: new Map(),
            ...place,
            executor: makeExecutor(definition.name, activity, definition.options.maxConcurrency),
            toolset: undefined,
            activity,
            scope,
            releaseAfter: session.releaseAfter,
            startAfter: session.startAfter
          },
          [...reservedNames, ...own.map((tool) => tool.name)]
        )
        for (const [name, { bound }] of session.tools) tools.set(name, bound)
        for (const [name, { bound }] of agentTools) tools.set(name, bound)
        for (const tool of own) tools.set(tool.name, tool)
        const cancellable = Array.from(tools.values()).some((tool) => tool.options.allowCancellation === true)
        if (cancellable) for (const tool of session.companions) tools.set(tool.name, tool)
        const told = Array.from(tools.values()).filter(takesMessages)
        if (told.length > 0) tools.set(messageTaskName, session.messaging(told))
        Object.assign(wire, yield* wireTools(tools, known))
        built.provider = {
          ...known,
          files: rulesFor(known.files, built.model),
          tellsCalls: known.callsNeedTools && Object.keys(wire).length === 0
        }
        activity.hasCompanions = cancellable
        return activity
      })
      return yield* (options.restore ?? restore)(build).pipe(
        Effect.tapErrorCause((cause) => Scope.close(scope, Exit.failCause(cause)))
      )
    })
  ) as Effect.Effect<Activity>
