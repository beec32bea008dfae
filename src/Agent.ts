/**
 * Agents: instructions, tools, and what happens when one takes over or leaves. A task is an agent that ends with a
 * typed value.
 *
 * ```ts
 * import { Agent, AgentSession } from "effect-meantime"
 * import { Schema } from "effect"
 *
 * const Support = Agent.make("support", {
 *   instructions: "You help with bookings that went wrong.",
 *   onEnter: AgentSession.generateReply({ instructions: "Say who you are." })
 * })
 *
 * const GetEmail = Agent.task("get_email", {
 *   instructions: "Ask for the user's e-mail address, then complete.",
 *   result: Schema.Struct({ email: Schema.String })
 * })
 * ```
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import type * as Layer from "effect/Layer"
import { type Pipeable, pipeArguments } from "effect/Pipeable"
import type * as Schema from "effect/Schema"
import type { AgentSession } from "./AgentSession.js"
import type { Expected } from "./AsyncTool.js"
import type { Entries, HandlersOf } from "./AsyncToolset.js"
import type { AgentDefinition as Definition } from "./internal/scope/definitions.js"
import { finishTask } from "./internal/shell/task.js"
import { RunContext } from "./RunContext.js"

/**
 * An agent. `R` is what its tools, layers and hooks still need.
 *
 * @since 0.1.0
 * @category models
 */
export interface Agent<out R> extends Pipeable {
  readonly _tag: "Agent"
  readonly name: string
  /** A phantom: what is still needed. */
  readonly _R: (_: never) => R
}

/**
 * What the agents of a list still need.
 *
 * @since 0.1.0
 * @category type-level
 */
export type RequirementsOf<A extends ReadonlyArray<Agent<any>>> = NeedsOf<A[number]>

/** A list without agents needs nothing. */
type NeedsOf<A> = A extends Agent<infer R> ? R : never

/**
 * An agent that ends with a value of type `A`; run it with `RunContext.runTask`.
 *
 * @since 0.1.0
 * @category models
 */
export interface AgentTask<in out A, out R> extends Pipeable {
  readonly _tag: "AgentTask"
  readonly name: string
  /** A phantom: the value. */
  readonly _A: (_: A) => A
  /** A phantom: what is still needed. */
  readonly _R: (_: never) => R
  /** Ends the task with a value; for handlers of the task's own tools. */
  readonly complete: (value: A) => Effect.Effect<void, never, RunContext>
  /** Ends the task without a value: `runTask` fails with a `ToolError` whose message is the reason. */
  readonly decline: (reason: string) => Effect.Effect<void, never, RunContext>
}

/**
 * What an agent is made of.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<T extends Entries, R1, R2> {
  /** The system message of every request; never inherited by another agent. */
  readonly instructions: string
  readonly tools?: T | undefined
  /** Does the agent see the conversation so far? Default: `inherit`, it does. */
  readonly context?: "inherit" | "empty" | undefined
  /**
   * Runs when the agent takes over, and is interrupted if the agent leaves before. If it fails, that is logged. Default:
   * nothing.
   */
  readonly onEnter?: Effect.Effect<unknown, unknown, R1> | undefined
  /** Runs before the next agent takes over. If it fails, that is logged. Default: nothing. */
  readonly onExit?: Effect.Effect<unknown, unknown, R2> | undefined
  /** Bounds the calls at work in the agent's own tools, at least 1; more of them wait in a queue. Default: no bound. */
  readonly maxConcurrency?: number | undefined
}

const proto = {
  pipe() {
    return pipeArguments(this, arguments)
  }
}

const taskProto = {
  ...proto,
  complete(this: Definition, value: unknown) {
    return Effect.flatMap(RunContext, (context) => finishTask(context, this.identity, { _tag: "Completed", value }))
  },
  decline(this: Definition, reason: string) {
    return Effect.flatMap(RunContext, (context) => finishTask(context, this.identity, { _tag: "Declined", reason }))
  }
}

const construct = (fields: Omit<Definition, "pipe">): any => {
  const self = Object.assign(Object.create(fields._tag === "Agent" ? proto : taskProto), fields)
  if (fields._tag === "AgentTask") {
    self.complete = self.complete.bind(self)
    self.decline = self.decline.bind(self)
  }
  return self
}

/**
 * Makes an agent.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <const T extends Entries = [], R1 = never, R2 = never>(
  name: string,
  options: Options<T, R1, R2>
): Agent<HandlersOf<T[number]> | Exclude<R1 | R2, AgentSession>> =>
  construct({
    _tag: "Agent",
    name,
    identity: {},
    options: options as Definition["options"],
    result: undefined,
    layers: []
  })

/**
 * Makes an agent that ends with a value: it gets a tool `complete` whose parameters are the fields of `result`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const task = <A, I extends Record<string, any>, const T extends Entries = [], R1 = never, R2 = never>(
  name: string,
  options: Options<T, R1, R2> & {
    readonly result:
      | Schema.Schema<A, I>
      | Expected<"a Schema.Struct of Effect: Schema.Struct({ email: Schema.String })">
  }
): AgentTask<A, HandlersOf<T[number]> | Exclude<R1 | R2, AgentSession>> =>
  construct({
    _tag: "AgentTask",
    name,
    identity: {},
    options: options as Definition["options"],
    result: options.result as Definition["result"],
    layers: []
  })

/**
 * What `provide` makes of an agent or a task: what the layer provides is no longer needed, what it needs is.
 *
 * @since 0.1.0
 * @category type-level
 */
export type Provided<S extends Agent<any> | AgentTask<any, any>, ROut, RIn> =
  S extends AgentTask<infer A, infer R>
    ? AgentTask<A, Exclude<R, ROut> | RIn>
    : S extends Agent<infer R>
      ? Agent<Exclude<R, ROut> | RIn>
      : never

/**
 * Attaches a layer to an agent or a task: handlers, services, prompts, a duplicate policy, a `LanguageModel`, an
 * output. It wins over the layers of the session. Its resources are released when the agent and the last of its calls
 * have ended.
 *
 * @since 0.1.0
 * @category layers
 */
export const provide: {
  <ROut, RIn>(
    layer: Layer.Layer<ROut, never, RIn>
  ): <S extends Agent<any> | AgentTask<any, any>>(self: S) => Provided<S, ROut, RIn>
  <S extends Agent<any> | AgentTask<any, any>, ROut, RIn>(
    self: S,
    layer: Layer.Layer<ROut, never, RIn>
  ): Provided<S, ROut, RIn>
} = dual(2, (self: Definition, layer: Layer.Layer<any, never, any>) => {
  const { identity, layers, name, options, result, _tag } = self
  return construct({ _tag, name, identity, options, result, layers: [...layers, layer] })
})
