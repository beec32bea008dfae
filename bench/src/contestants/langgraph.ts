import { BaseChatModel } from "@langchain/core/language_models/chat_models"
import { AIMessage, type BaseMessage, HumanMessage } from "@langchain/core/messages"
import { tool } from "@langchain/core/tools"
import { createReactAgent } from "@langchain/langgraph/prebuilt"
import { z } from "zod"
import type { Contestant } from "../contestant.js"
import * as work from "../work.js"

class ScriptedModel extends BaseChatModel {
  _llmType(): string {
    return "scripted"
  }
  override bindTools(): any {
    return this
  }
  async _generate(messages: Array<BaseMessage>) {
    const message =
      messages[messages.length - 1]?.getType() === "human"
        ? new AIMessage({
            content: "",
            tool_calls: work.nextCalls().map(({ args, id }) => ({ id, name: work.toolName, args, type: "tool_call" }))
          })
        : new AIMessage(work.answer)
    return { generations: [{ text: "", message }] }
  }
}

const graphWith = (execute: (n: number, signal: AbortSignal | undefined) => Promise<number>) =>
  createReactAgent({
    llm: new ScriptedModel({}),
    prompt: work.instructions,
    tools: [
      tool(async ({ n }: { n: number }, config: any) => execute(n, config?.signal), {
        name: work.toolName,
        description: work.toolDescription,
        schema: z.object({ n: z.number() })
      }) as any
    ]
  })

const graph = graphWith(async (n) => work.handle(n))
const waiting = {
  listening: graphWith((_, signal) => work.waitForAbort(signal)),
  deaf: graphWith(() => work.waitForEver())
}

export const contestant: Contestant = {
  name: "LangGraph",
  packages: ["@langchain/langgraph", "@langchain/core"],
  converse: async (turns) => {
    let messages: Array<BaseMessage> = []
    for (let i = 0; i < turns; i++) {
      messages = (await graph.invoke({ messages: [...messages, new HumanMessage(work.userText)] })).messages
    }
  },
  fly: async (handlers) => {
    const controller = new AbortController()
    const done = waiting[handlers]
      .invoke({ messages: [new HumanMessage(work.userText)] }, { signal: controller.signal })
      .then(
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
