import * as Effect from "effect/Effect"
import type { Service } from "../../RunContext.js"
import type { TaskResult } from "../machine/state.js"

/** What the `RunContext` of a session can do beyond its interface. */
export interface TaskFinisher extends Service {
  readonly finishTask: (identity: object, result: TaskResult) => Effect.Effect<void>
}

/** A context of one's own, as a unit test may give a handler, has no task to end. */
export const finishTask = (context: Service, identity: object, result: TaskResult): Effect.Effect<void> =>
  (context as Partial<TaskFinisher>).finishTask?.(identity, result) ?? Effect.void
