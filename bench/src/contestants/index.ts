/** Each is loaded only where it is measured: a process of its own knows nothing of the others. */
import type { Load } from "../contestant.js"

export const contestants: Record<string, Load> = {
  promises: () => import("./promises.js").then((m) => m.contestant),
  effect: () => import("./effect.js").then((m) => m.contestant),
  "effect-ai-generate": () => import("./effect-ai.js").then((m) => m.generate),
  "effect-ai-stream": () => import("./effect-ai.js").then((m) => m.stream),
  "ai-sdk-generate": () => import("./ai-sdk.js").then((m) => m.generate),
  "ai-sdk-stream": () => import("./ai-sdk.js").then((m) => m.stream),
  "openai-agents": () => import("./openai-agents.js").then((m) => m.contestant),
  livekit: () => import("./livekit.js").then((m) => m.contestant),
  langgraph: () => import("./langgraph.js").then((m) => m.contestant),
  mastra: () => import("./mastra.js").then((m) => m.contestant),
  "meantime-language-model": () => import("./meantime.js").then((m) => m.throughLanguageModel),
  "meantime-seam": () => import("./meantime.js").then((m) => m.throughSeam),
  "meantime-background": () => import("./meantime.js").then((m) => m.inBackground),
  "meantime-sdk-generate": () => import("./meantime.js").then((m) => m.throughSdkGenerate),
  "meantime-sdk-stream": () => import("./meantime.js").then((m) => m.throughSdkStream)
}
