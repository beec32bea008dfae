import { initializeLogger, llm, voice } from "@livekit/agents"
import { z } from "zod"
import type { Contestant } from "../contestant.js"
import * as work from "../work.js"

initializeLogger({ pretty: false, level: "silent" })

class ScriptedStream extends llm.LLMStream {
  protected async run(): Promise<void> {
    const { items } = this.chatCtx
    const last = items[items.length - 1]
    if (last?.type === "message" && last.role === "user") {
      const toolCalls = work
        .nextCalls()
        .map(({ args, id }) => llm.FunctionCall.create({ callId: id, name: work.toolName, args: JSON.stringify(args) }))
      this.queue.put({ id: "scripted", delta: { role: "assistant", toolCalls } })
    } else {
      for (const content of work.words) this.queue.put({ id: "scripted", delta: { role: "assistant", content } })
    }
  }
}

class ScriptedModel extends llm.LLM {
  label(): string {
    return "scripted"
  }
  chat({ chatCtx, toolCtx, connOptions }: any): llm.LLMStream {
    return new ScriptedStream(this, {
      chatCtx,
      toolCtx,
      connOptions: connOptions ?? { maxRetry: 0, retryIntervalMs: 0, timeoutMs: 60_000 }
    })
  }
}

const agentWith = (execute: (n: number, signal: AbortSignal | undefined) => Promise<number>) =>
  new voice.Agent({
    instructions: work.instructions,
    tools: [
      llm.tool({
        name: work.toolName,
        description: work.toolDescription,
        parameters: z.object({ n: z.number() }),
        execute: ({ n }: { n: number }, options: any) => execute(n, options.abortSignal)
      } as any)
    ]
  } as any)

const start = async (agent: voice.Agent) => {
  const session = new voice.AgentSession({ llm: new ScriptedModel(), vad: null } as any)
  await session.start({ agent })
  return session
}

/** Its session without room, speech recognition or voice. */
export const contestant: Contestant = {
  name: "LiveKit Agents session",
  packages: ["@livekit/agents"],
  converse: async (turns) => {
    const session = await start(agentWith(async (n) => work.handle(n)))
    for (let i = 0; i < turns; i++) await session.run({ userInput: work.userText }).wait()
    await session.close()
  },
  fly: async (handlers) => {
    const session = await start(
      agentWith((_, signal) => (handlers === "listening" ? work.waitForAbort(signal) : work.waitForEver()))
    )
    const speech = session.generateReply({ userInput: work.userText })
    return {
      cancel: async () => {
        speech.interrupt()
        await speech.waitForPlayout()
      }
    }
  }
}
