/**
 * What model steps cost: each step tells it once, with its end, and every sum is made there (rule B4).
 */
import { emit, type State, type Step } from "./state.js"
import type { Usage } from "./words.js"

/** What a model may tell of one step. */
export const fields = ["inputTokens", "outputTokens", "totalTokens", "reasoningTokens", "cachedInputTokens"] as const

/** Field by field: what nobody reported stays absent. */
export const add = (sum: Usage | undefined, usage: Usage): Usage => {
  // with each step: what a step reports is never changed, so that it can be the first sum
  if (sum === undefined) return usage
  const out: { -readonly [K in keyof Usage]: Usage[K] } = { ...sum }
  for (const field of fields) {
    const count = usage[field]
    if (count !== undefined) out[field] = (out[field] ?? 0) + count
  }
  return out
}

/**
 * Nothing of the model's answer counts from here on: it is complete, has failed, or was cut. What the model had reported
 * by then is told, and added to the speech and to those who wait for its turn. A text that is said is no model step.
 */
export const stepEnded = (s: State, step: Step): void => {
  const { finish, model, speech, usage } = step
  if (step.told || speech.source === "say") return
  step.told = true
  if (usage !== undefined) {
    speech.usage = add(speech.usage, usage)
    for (const job of speech.jobs) job.usage = add(job.usage, usage)
  }
  emit(s, {
    _tag: "StepEnded",
    speechId: speech.id,
    agent: step.agent.name,
    ...(model === undefined ? {} : { model }),
    ...(finish === undefined ? {} : { finishReason: finish }),
    ...(usage === undefined ? {} : { usage })
  })
}
