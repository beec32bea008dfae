/**
 * Calls that are cancelled, by the program or by the model.
 */
import * as Tool from "@effect/ai/Tool"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { RunningTool } from "../../AgentSession.js"
import { ToolError } from "../../Tags.js"
import * as Calls from "../machine/calls.js"
import { isApproving } from "../machine/cancelling.js"
import type * as State from "../machine/state.js"
import { addWaiter, removeWaiter } from "../machine/state.js"
import { cancelTaskName, getRunningTasksName } from "../machine/texts.js"
import { companion, type Environment } from "../scope/build.js"
import type { BoundTool } from "../scope/tool.js"
import { atMostInSession } from "./fibers.js"
import { type Host, refused } from "./host.js"

export const cancelTool = (host: Host, callId: string): Effect.Effect<void, ToolError> =>
  Effect.suspend(() => {
    const call = host.state.calls.get(callId)
    const run = host.transact((s) => Calls.cancel(s, callId))
    if (typeof run === "string") return refused(run)
    return Effect.zipRight(
      ended(host, run, callId),
      Effect.suspend(() =>
        call?.state._tag === "Ended" && call.state.status !== "cancelled"
          ? refused(`Call ${callId} has already ended: it was done before it could stop.`)
          : Effect.void
      )
    )
  })

const ended = (host: Host, run: State.Run, callId: string): Effect.Effect<void, ToolError> =>
  atMostInSession<void, ToolError>(host, {
    millis: host.state.options.cancellationTimeout,
    begin: (done) => {
      const waiter = () => done(Effect.void)
      if (run.phase === "ended") waiter()
      else host.transact(() => addWaiter(run, "endWaiters", waiter))
      return () => host.transact(() => removeWaiter(run, "endWaiters", waiter))
    },
    late: () => refused(`Call ${callId} is still stopping: it ends once its clean-up is done.`)
  })

/** The calls at work, as a program sees them. */
export const runningTools = ({ state }: Host): ReadonlyArray<RunningTool> =>
  Calls.running(state).map((call) => ({
    ...call.call,
    startedAt: call.startedAt,
    lastUpdate: call.run?.lastUpdate,
    allowCancellation:
      call.run !== undefined &&
      (isApproving(call.run) || (call.tool?.options.allowCancellation === true && !call.run.committed))
  }))

const isWaiting = ({ state }: Host, callId: string): boolean => {
  const run = state.calls.get(callId)?.run
  return run !== undefined && isApproving(run)
}

const cancelTask = Tool.make(cancelTaskName, {
  description: "Cancels a task that is running in the background.",
  parameters: {
    call_id: Schema.String.annotations({ description: "The call id of the task, as get_running_tasks shows it." })
  },
  success: Schema.String,
  failure: ToolError
})

const getRunningTasks = Tool.make(getRunningTasksName, {
  description: "Lists the tasks that are running and can be cancelled.",
  success: Schema.Unknown
})

export const companions = (host: Host, place: Environment): ReadonlyArray<BoundTool> => [
  companion(
    cancelTask,
    ({ call_id }: { readonly call_id: string }) => {
      const name = host.state.calls.get(call_id)?.call.name
      return Effect.as(cancelTool(host, call_id), `${name} (${call_id}) was cancelled.`)
    },
    place
  ),
  companion(
    getRunningTasks,
    () =>
      Effect.sync(() =>
        runningTools(host)
          .filter((tool) => tool.allowCancellation)
          .map((tool) => ({
            call_id: tool.callId,
            name: tool.name,
            arguments: Calls.shownArguments(host.state.calls.get(tool.callId) as State.Call),
            started_at: DateTime.formatIso(DateTime.unsafeMake(tool.startedAt)),
            last_update: tool.lastUpdate ?? null,
            ...(isWaiting(host, tool.callId) ? { waits_for_approval: true } : {})
          }))
      ),
    place
  )
]
