import type * as Effect from "effect/Effect"
import type { Service } from "../RunContext.js"
import type { TaskResult } from "./state.js"

/** What the `RunContext` of a session can do beyond its interface. */
export interface TaskFinisher extends Service {
  readonly finishTask: (identity: object, result: TaskResult) => Effect.Effect<void>
}

export const finishTask = (context: Service, identity: object, result: TaskResult): Effect.Effect<void> =>
  (context as TaskFinisher).finishTask(identity, result)
