import { Agent } from "@mastra/core/agent"
import { createTool } from "@mastra/core/tools"
import { z } from "zod"
import type { Contestant } from "../contestant.js"
import * as work from "../work.js"
import { mock } from "./ai-sdk.js"

const agentWith = (execute: (n: number, signal: AbortSignal | undefined) => Promise<number>) =>
  new Agent({
    id: "worker",
    name: "worker",
    instructions: work.instructions,
    model: mock() as any,
    tools: {
      work: createTool({
        id: work.toolName,
        description: work.toolDescription,
        inputSchema: z.object({ n: z.number() }),
        execute: (input: any, context: any) => execute(input.n, context?.abortSignal) as any
      })
    }
  })

const agent = agentWith(async (n) => work.handle(n))
const waiting = {
  listening: agentWith((_, signal) => work.waitForAbort(signal)),
  deaf: agentWith(() => work.waitForEver())
}

const turn = async (of: typeof agent, messages: Array<any>, abortSignal?: AbortSignal): Promise<Array<any>> => {
  const result: any = await of.generate(messages, { maxSteps: 5, ...(abortSignal && { abortSignal }) } as any)
  return result.response?.messages ?? []
}

export const contestant: Contestant = {
  name: "Mastra",
  packages: ["@mastra/core"],
  converse: async (turns) => {
    const messages: Array<any> = []
    for (let i = 0; i < turns; i++) {
      messages.push({ role: "user", content: work.userText })
      messages.push(...(await turn(agent, messages)))
    }
  },
  fly: async (handlers) => {
    const controller = new AbortController()
    const done = turn(waiting[handlers], [{ role: "user", content: work.userText }], controller.signal).then(
      () => {},
      () => {}
    )
    return {
      cancel: () => {
        controller.abort()
        return done
      }
    }
  }
}
