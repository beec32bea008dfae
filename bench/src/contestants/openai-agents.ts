import { Agent, type AgentInputItem, type Model, run, setTracingDisabled, tool, Usage } from "@openai/agents"
import { z } from "zod"
import type { Contestant } from "../contestant.js"
import * as work from "../work.js"

setTracingDisabled(true)

const usage = () => new Usage({ requests: 1, inputTokens: 1, outputTokens: 1, totalTokens: 2 })

const asksForCalls = (input: string | ReadonlyArray<AgentInputItem>) => {
  if (typeof input === "string") return true
  const last = input[input.length - 1] as any
  return last?.role === "user"
}

const model: Model = {
  getResponse: async ({ input }) => ({
    usage: usage(),
    output: asksForCalls(input)
      ? work.nextCalls().map(({ args, id }) => ({
          type: "function_call" as const,
          callId: id,
          name: work.toolName,
          arguments: JSON.stringify(args),
          status: "completed" as const
        }))
      : [
          {
            type: "message" as const,
            role: "assistant" as const,
            status: "completed" as const,
            content: [{ type: "output_text" as const, text: work.answer }]
          }
        ]
  }),
  getStreamedResponse: () => {
    throw new Error("not used")
  }
}

const worker = new Agent({
  name: "worker",
  instructions: work.instructions,
  model,
  tools: [
    tool({
      name: work.toolName,
      description: work.toolDescription,
      parameters: z.object({ n: z.number() }),
      execute: async ({ n }) => work.handle(n)
    })
  ]
})

/** It does not end when its calls are cancelled, so it is not asked to. */
export const contestant: Contestant = {
  name: "OpenAI Agents",
  packages: ["@openai/agents"],
  converse: async (turns) => {
    let history: Array<AgentInputItem> = []
    for (let i = 0; i < turns; i++) {
      const result = await run(worker, [...history, { role: "user", content: work.userText }])
      history = result.history
    }
  }
}
