/**
 * Calls that a host has asked for. A call may be interrupted by a question to the host's person: then the host asks for it
 * again, with the answer, and the same fiber goes on, so nothing of it happens twice (rules J11, J12).
 */
import type { CallToolResult, InputRequiredResult, Server, ServerContext } from "@modelcontextprotocol/server"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import type * as Scope from "effect/Scope"
import { printable } from "../model/errors.js"
import { isRecord } from "../values/record.js"
import { type Approval, approvalText, type Decision, errorResult, growing, type Offered } from "./offered.js"

type Result = CallToolResult | InputRequiredResult

/** How long an open question is kept for a host that does not come back with an answer. */
const patience = "15 minutes"

interface Run {
  readonly name: string
  /** who is told of progress: the request that waits now */
  context: ServerContext
  /** the end of the request that waits now */
  step: Deferred.Deferred<Result>
  decision: Deferred.Deferred<Decision> | undefined
  fiber: Fiber.RuntimeFiber<unknown> | undefined
}

/** Can questions be put to the person behind this client? */
const canAskOf = (server: Server): boolean => {
  const elicitation: unknown = server.getClientCapabilities()?.elicitation
  if (!isRecord(elicitation)) return false
  // an empty object stands for forms
  return elicitation.form !== undefined || Object.keys(elicitation).length === 0
}

const questionFor = (approval: Approval, requestState: string): InputRequiredResult => ({
  resultType: "input_required",
  requestState,
  inputRequests: {
    approval: {
      method: "elicitation/create",
      params: {
        mode: "form",
        message: approvalText(approval),
        requestedSchema: {
          type: "object",
          properties: { approve: { type: "boolean", title: "Run it", description: "May the call run?" } },
          required: ["approve"]
        }
      }
    }
  }
})

/** Only a clear yes is one. */
const decisionIn = (answer: unknown): Decision => {
  if (!isRecord(answer) || answer.action === "cancel") return "later"
  return answer.action === "accept" && isRecord(answer.content) && answer.content.approve === true ? "approve" : "deny"
}

export interface Runs {
  readonly call: (
    server: Server,
    offered: Offered,
    args: Record<string, unknown>,
    context: ServerContext
  ) => Effect.Effect<Result>
}

export const make = (scope: Scope.Scope, makeId: () => string): Runs => {
  /** by the state that the host is to bring back; nobody can guess it */
  const open = new Map<string, Run>()

  const ask = (run: Run, approval: Approval): Effect.Effect<Decision> =>
    Effect.suspend(() => {
      const state = makeId()
      const decision = Deferred.unsafeMake<Decision>(FiberId.none)
      run.decision = decision
      open.set(state, run)
      return Effect.zipRight(
        Deferred.succeed(run.step, questionFor(approval, state)),
        Effect.timeoutTo(Deferred.await(decision), {
          duration: patience,
          onSuccess: (decided) => decided,
          onTimeout: (): Decision => "later"
        })
      ).pipe(Effect.ensuring(Effect.sync(() => open.delete(state))))
    })

  const start = (server: Server, offered: Offered, args: Record<string, unknown>, context: ServerContext) =>
    Effect.gen(function* () {
      const run: Run = {
        name: offered.listed.name,
        context,
        step: yield* Deferred.make<Result>(),
        decision: undefined,
        fiber: undefined
      }
      const progress = growing()
      const told = (value: unknown): void => {
        const { mcpReq } = run.context
        const token = mcpReq._meta?.progressToken
        if (token === undefined) return
        const params = { progressToken: token, ...progress(value) }
        // a client that has gone hears nothing, and the end of its request ends the call
        mcpReq.notify({ method: "notifications/progress", params }).catch(() => {})
      }
      const canAsk = canAskOf(server)
      const work = offered.call(args, {
        told,
        canAsk,
        ask: (approval) => (canAsk ? ask(run, approval) : Effect.succeed("later"))
      })
      run.fiber = yield* work.pipe(
        Effect.catchAllCause((cause) =>
          Effect.as(
            Effect.logError(`${run.name} failed unexpectedly.`, printable(cause)),
            errorResult(`${run.name} failed unexpectedly.`)
          )
        ),
        Effect.onExit((exit) =>
          // the step that waits when it ends, which need not be the first
          Effect.suspend(() =>
            Exit.isSuccess(exit) ? Deferred.succeed(run.step, exit.value) : Deferred.interrupt(run.step)
          )
        ),
        Effect.interruptible,
        Effect.forkIn(scope)
      )
      return run
    }).pipe(Effect.uninterruptible)

  const waiting = (run: Run): Effect.Effect<Result> =>
    Effect.onInterrupt(Deferred.await(run.step), () =>
      run.fiber === undefined ? Effect.void : Fiber.interruptFork(run.fiber)
    )

  return {
    call: (server, offered, args, context) =>
      Effect.suspend(() => {
        const state = context.mcpReq.requestState()
        if (state === undefined) return Effect.flatMap(start(server, offered, args, context), waiting)
        const run = open.get(String(state))
        if (run?.decision === undefined || run.name !== offered.listed.name) {
          return Effect.succeed(
            errorResult("The question is no longer open. Call the tool again if it is still wanted.")
          )
        }
        open.delete(String(state))
        const { decision } = run
        run.context = context
        run.step = Deferred.unsafeMake<Result>(FiberId.none)
        run.decision = undefined
        return Effect.zipRight(
          Deferred.succeed(decision, decisionIn(context.mcpReq.inputResponses?.approval)),
          waiting(run)
        )
      })
  }
}
