/**
 * The options of a turn, read before the input: an object of the program may do anything when it is looked at.
 */
import type { ReplyOptions } from "../../AgentSession.js"
import type * as Turns from "../machine/turns.js"

export const noOptions: Turns.UserTurnOptions = {}

export const turnOptions = (options: ReplyOptions | undefined): Turns.TurnOptions => {
  if (options === undefined) return noOptions
  const { allowInterruptions, instructions, priority, toolChoice } = options
  return {
    allowInterruptions,
    instructions,
    priority,
    toolChoice: typeof toolChoice === "object" ? { tool: toolChoice.tool } : toolChoice
  }
}
