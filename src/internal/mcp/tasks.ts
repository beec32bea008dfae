/**
 * A tool that its server runs as a task, in the protocol of 2025-11-25: the task is created, looked at until it is no longer
 * at work, and asked for its result, with which questions come (rule J5).
 */
import type { Tool as Listed, StandardSchemaV1 } from "@modelcontextprotocol/client"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { isRecord } from "../values/record.js"
import type { Asking, Trouble } from "./call.js"
import { type Link, noTimeout } from "./link.js"

/** What a server gives is read here, not by the client's package. */
const anything: StandardSchemaV1<unknown, unknown> = {
  "~standard": { version: 1, vendor: "effect-meantime", validate: (value) => ({ value }) }
}

/** Does the server run this tool as a task, for those who ask? */
export const isTask = (link: Link, { execution }: Listed): boolean => {
  const support = execution?.taskSupport
  if (link.isModern || (support !== "required" && support !== "optional")) return false
  const { tasks } = (link.client.getServerCapabilities() ?? {}) as { readonly tasks?: unknown }
  const requests = isRecord(tasks) && isRecord(tasks.requests) ? tasks.requests : undefined
  return isRecord(requests?.tools) && requests.tools.call !== undefined
}

interface Task {
  readonly taskId: string
  readonly status: string
  readonly statusMessage: string | undefined
  readonly pollInterval: number
}

/** Between two looks, if the server says nothing of it. */
const defaultInterval = 1_000

const taskOf = (value: unknown): Task | undefined => {
  if (!isRecord(value) || typeof value.taskId !== "string" || typeof value.status !== "string") return undefined
  const { pollInterval, status, statusMessage, taskId } = value
  return {
    taskId,
    status,
    statusMessage: typeof statusMessage === "string" ? statusMessage : undefined,
    pollInterval: typeof pollInterval === "number" && pollInterval >= 1 ? pollInterval : defaultInterval
  }
}

/** A status from which nothing comes any more. */
const isOver = (status: string): boolean => status === "completed" || status === "failed" || status === "cancelled"

const refused = (message: string): Trouble => ({ _tag: "Refused", message })

export const runTask = (ask: Asking, tool: Listed, args: Record<string, unknown>): Effect.Effect<unknown, Trouble> =>
  Effect.gen(function* () {
    const { context, inFlight, link, request } = ask
    const own = { ...args }
    link.own(own, inFlight)
    const created = yield* request((sending) =>
      link.client.request(
        { method: "tools/call", params: { name: tool.name, arguments: own, task: {} } },
        anything,
        sending
      )
    )
    const task = isRecord(created) ? taskOf(created.task) : undefined
    // a server need not make a task of it
    if (task === undefined) return created
    link.ownTask(task.taskId, inFlight)
    return yield* Effect.zipRight(context.release ?? Effect.void, following(ask, task)).pipe(
      // the task is there: what is lost of it now may have had its effect
      Effect.mapError((trouble): Trouble => (trouble._tag === "Lost" ? { ...trouble, unsent: false } : trouble)),
      Effect.onInterrupt(() =>
        Effect.sync(() => {
          // nobody waits for the answer
          link.client
            .request({ method: "tasks/cancel", params: { taskId: task.taskId } }, anything, { timeout: noTimeout })
            .catch(() => {})
        })
      )
    )
  })

const following = (ask: Asking, created: Task): Effect.Effect<unknown, Trouble> =>
  Effect.gen(function* () {
    const { link, request } = ask
    const { taskId } = created
    let last: string | undefined
    const tell = (task: Task): Effect.Effect<void> => {
      const told = `${task.status} ${task.statusMessage ?? ""}`
      if (told === last) return Effect.void
      last = told
      return ask.told({
        ...{ status: task.status },
        ...(task.statusMessage === undefined ? {} : { message: task.statusMessage })
      })
    }
    /** Looks at the task until its status is one of those wanted. */
    const look = (task: Task, wanted: (status: string) => boolean): Effect.Effect<Task, Trouble> =>
      Effect.suspend(() => {
        if (wanted(task.status)) return Effect.as(tell(task), task)
        return tell(task).pipe(
          Effect.zipRight(Effect.sleep(task.pollInterval)),
          Effect.zipRight(
            request(({ signal, timeout }) =>
              link.client.request({ method: "tasks/get", params: { taskId } }, anything, { signal, timeout })
            )
          ),
          Effect.flatMap((value) => {
            const next = taskOf(value)
            return next === undefined
              ? Effect.fail(refused("It does not know its own task any more."))
              : look(next, wanted)
          })
        )
      })
    const idle = yield* look(created, (status) => status !== "working")
    if (idle.status === "cancelled") {
      return yield* Effect.fail(refused(idle.statusMessage ?? "It has cancelled its task."))
    }
    const result = (mayBeSilent: boolean) =>
      request(
        ({ signal, timeout }) =>
          link.client.request({ method: "tasks/result", params: { taskId } }, anything, { signal, timeout }),
        mayBeSilent
      )
    if (isOver(idle.status)) return yield* result(false)
    // it waits for the user, whom it asks through the request for the result; what becomes of the task is told meanwhile
    const watching = yield* Effect.fork(look(idle, isOver))
    const lost = Effect.matchEffect(Fiber.join(watching), { onFailure: Effect.fail, onSuccess: () => Effect.never })
    return yield* Effect.ensuring(Effect.raceFirst(result(true), lost), Fiber.interrupt(watching))
  })
