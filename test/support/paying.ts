/**
 * Talks in which the model pays, which a person has to approve.
 */
import { Effect } from "effect"
import type { AsyncTool, RunContext } from "effect-meantime"
import { type ScriptedModel, TestSession } from "effect-meantime/testing"
import { type Setup, type Talk, talk, toolCall } from "./talk.js"

/** A handler that says that it ran, and with what. */
export const noted =
  (log: Array<unknown>, effect: Effect.Effect<unknown, any, RunContext.RunContext> = Effect.succeed("paid")) =>
  (params: unknown) =>
    Effect.zipRight(
      Effect.sync(() => void log.push(params)),
      effect
    )

export const failure = <A>(effect: Effect.Effect<A, AsyncTool.ToolError>) =>
  Effect.map(Effect.flip(effect), ({ message }) => message)

/** What was told of approvals, in order. */
export const told = (t: Talk) =>
  Effect.map(t.events.filter("ApprovalRequested", "ApprovalDecided", "ToolCallEnded"), (events) =>
    events.map((event) => {
      if (event._tag === "ApprovalRequested") return `asks ${event.call.callId}`
      if (event._tag === "ToolCallEnded") return `${event.id} ${event.status}`
      return `${event.decision} ${event.callId}${event.by === undefined ? "" : ` by ${event.by}`}`
    })
  )

export const outputs = (t: Talk) =>
  Effect.map(TestSession.outputs(t.session), (all) =>
    all.map(({ callId, isError, output }) => `${callId}${isError ? "!" : ":"} ${output}`)
  )

export const ask = toolCall("pay", { n: 1 }, { id: "p" })

interface Paying extends Omit<Setup, "script"> {
  readonly script?: ScriptedModel.Script
  readonly log?: Array<unknown>
  readonly pay?: AsyncTool.Options & { readonly run?: Handler }
}

type Handler = (params: any) => Effect.Effect<unknown, any, RunContext.RunContext>

export const words = ["It waits.", "So.", "And so.", "On.", "On and on."]

/** The model pays once, and talks. */
export const paying = ({ log = [], pay = {}, script = [ask, ...words], tools = {}, ...setup }: Paying = {}) =>
  talk({
    pace: "instant",
    ...setup,
    script,
    tools: { pay: { needsApproval: true, run: noted(log), ...pay }, ...tools }
  })

export const sent = (t: Talk, text = "Pay") => Effect.zipRight(t.session.send(text), TestSession.settle)
