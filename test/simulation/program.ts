/**
 * A random program as data, all of it from one seed: how the session is set up, and what its user does. What the model
 * answers and what the handlers do is drawn from the same seed while the program runs, each from a stream of its own,
 * so that a program with some actions taken out is still much the same.
 */
import type { AsyncTool, RunContext } from "effect-meantime"
import * as Random from "./random.js"

export type Place = "session" | "shared" | "first" | "firstSet" | "second" | "task"

/** Where a tool is, and its options. */
export interface ToolSpec {
  readonly name: string
  readonly place: Place
  readonly options: AsyncTool.Options
  /** a duplicate policy that takes its time */
  readonly slowPolicy: boolean
  /** of which of its calls a person is asked: of all, or of those whose `k` is not 0, which may take a while to be said */
  readonly approval?: "always" | "some" | "slow"
}

export interface Config {
  readonly tools: ReadonlyArray<ToolSpec>
  readonly shuffled: boolean
  /** characters a second; none: text counts as played at once */
  readonly pace: number | undefined
  /** what an output that plays does, beside to play */
  readonly outputs: ReadonlyArray<"dies" | "stalls" | "late" | "silent" | "offsets" | "pauses">
  /** how often the user speaks in turns */
  readonly spoken: number
  /** through a `LanguageModel` instead of the seam */
  readonly languageModel: boolean
  /** the model's answers are streams, and the library's own output plays: that costs several times as much */
  readonly streams: boolean
  /** a history that the session is given: any at all, or one of ours that it goes on with */
  readonly given: "nothing" | "anything" | "resumed"
  /** how often the model pauses its answer */
  readonly pauses: number
  /** how often a handler gives values that are no JSON, or do something when they are looked at */
  readonly foreign: number
  /** how many tools ask before their calls run */
  readonly approvals: number
  /** it is stored, and goes on to behave as if it was not */
  readonly durable: boolean
  /** what `onItems` does; `fails`: now and then it dies */
  readonly saves: "nothing" | "all" | "fails"
  readonly maxToolSteps: number
  readonly maxPendingUpdates: number
  readonly maxRunning: number
  readonly maxMessages: number
  readonly releaseAfter: number | undefined
  readonly startAfter: "call" | "step"
  readonly drainTimeout: number
  readonly cancellationTimeout: number
  readonly onInterruptedReply: "drop" | "redeliver"
  readonly concurrency: { readonly shared: number; readonly first: number; readonly firstSet: number }
  readonly secondContext: "inherit" | "empty"
  readonly onEnter: "nothing" | "say" | "reply" | "sleep"
  readonly onExit: "nothing" | "say" | "wait" | "sleep"
}

export interface Turn {
  readonly allowInterruptions?: boolean
  readonly priority?: number
  readonly toolChoice?: "auto" | "none" | "required"
  readonly instructions?: string
}

/** How a user's turn is given. */
export interface Said extends Turn {
  readonly interrupt?: false
  readonly author?: string
}

export type Action = { readonly pause: number } & (
  | { readonly kind: "send" | "run"; readonly n: number; readonly options: Said }
  | { readonly kind: "say"; readonly n: number; readonly options: Turn; readonly stream: boolean }
  | { readonly kind: "reply"; readonly n: number; readonly options: Turn }
  | { readonly kind: "interrupt"; readonly force: boolean }
  | { readonly kind: "claim"; readonly millis: number; readonly send: number | undefined }
  | {
      readonly kind: "turn"
      readonly n: number
      readonly millis: number
      readonly partials: number
      readonly speech: "keep" | "pause" | "interrupt"
      readonly ends: "commit" | "discard" | "close"
    }
  | {
      readonly kind: "tell"
      readonly n: number
      readonly times: number
      readonly which: number
      readonly who: "running" | "any" | "unknown"
    }
  | { readonly kind: "cancel" | "release"; readonly which: number; readonly who: "running" | "any" | "unknown" }
  | { readonly kind: "handoff"; readonly to: "first" | "second" }
  | { readonly kind: "waitForIdle" }
  | { readonly kind: "task"; readonly n: number; readonly text: boolean }
  | {
      readonly kind: "speech"
      readonly which: number
      readonly what: "interrupt" | "force" | "allow" | "disallow" | "wait"
    }
  | { readonly kind: "advance" }
  | {
      readonly kind: "decide"
      readonly which: number
      readonly what: "approve" | "edit" | "bad edit" | "deny" | "respond"
      /** somebody else decides at the same instant */
      readonly twice: boolean
      readonly who: "waiting" | "any"
    }
)

export interface Program {
  readonly seed: number
  readonly config: Config
  readonly actions: ReadonlyArray<Action>
  /** closes in the middle of things; else once all has come to rest */
  readonly abrupt: boolean
}

export const deliveries: ReadonlyArray<RunContext.Delivery> = ["when-idle", "interrupt", "silent"]

export const pauses = [0, 0, 0, 1, 20, 100, 100, 250, 500, 1000, 3000] as const

const option = <K extends string, A>(
  random: Random.Random,
  p: number,
  key: K,
  value: () => A
): { readonly [_ in K]?: A } => (random.chance(p) ? { [key]: value() } : {}) as any

const toolSpec = (random: Random.Random, name: string, place: Place): ToolSpec => {
  const { chance, int, pick } = random
  const allowCancellation = chance(0.6)
  const slowPolicy = place === "session" && chance(0.25)
  return {
    name,
    place,
    slowPolicy,
    options: {
      ...(slowPolicy
        ? {}
        : option(random, 0.65, "onDuplicate", () =>
            pick("allow", "reject", "replace", "replace", "confirm", "join", "join")
          )),
      ...option(random, 0.3, "duplicateScope", () => pick("name", "name_and_args")),
      allowCancellation,
      ...(allowCancellation ? option(random, 0.4, "cancelOnInterruption", () => true) : {}),
      ...option(random, 0.3, "delivery", () => pick(...deliveries)),
      ...option(random, 0.25, "onResult", () => "act" as const),
      ...option(random, 0.2, "releaseAfter", () => pick(0, 100, 1000)),
      ...option(random, 0.2, "background", () => "model" as const),
      ...option(random, 0.3, "onHandoff", () =>
        allowCancellation ? pick("cancel", "await", "promote") : pick("await", "promote")
      ),
      ...option(random, 0.3, "startAfter", () => pick("step", "step", "call")),
      ...option(random, 0.25, "timeout", () => pick(100, 1000, 1 + int(4000))),
      ...option(random.fork(`messages of ${name}`), 0.6, "messages", () => true as const)
    }
  }
}

const turn = (random: Random.Random): Turn => ({
  ...option(random, 0.2, "allowInterruptions", () => false),
  ...option(random, 0.15, "priority", () => random.pick(-1, 1, 2)),
  ...option(random, 0.1, "toolChoice", () => random.pick("none", "required", "auto"))
})

const action = (random: Random.Random, n: number): Action => {
  const { chance, int, pick } = random
  const pause = chance(0.35) ? 0 : pick(...pauses)
  const kind = random.weighted({
    send: 30,
    run: 5,
    say: 7,
    reply: 7,
    interrupt: 8,
    claim: 6,
    cancel: 10,
    release: 4,
    tell: 14,
    handoff: 4,
    waitForIdle: 4,
    task: 3,
    speech: 8,
    advance: 12
  })
  switch (kind) {
    case "send":
    case "run":
      return {
        pause,
        kind,
        n,
        options: {
          ...turn(random),
          ...option(random, 0.25, "interrupt", () => false as const),
          ...option(random.fork("author", n), 0.1, "author", () => "Ann")
        }
      }
    case "reply":
      return {
        pause,
        kind,
        n,
        options: { ...turn(random), ...option(random, 0.5, "instructions", () => `instructions ${n}`) }
      }
    case "say": {
      const { toolChoice: _, ...options } = turn(random)
      return { pause, kind, n, options, stream: chance(0.4) }
    }
    case "interrupt":
      return { pause, kind, force: chance(0.4) }
    case "claim":
      return { pause, kind, millis: pick(...pauses), send: chance(0.3) ? n : undefined }
    case "cancel":
    case "release":
      return { pause, kind, which: int(1000), who: pick("running", "running", "running", "running", "any", "unknown") }
    case "tell":
      return {
        pause,
        kind,
        n,
        times: pick(1, 1, 2, 5),
        which: int(1000),
        who: pick("running", "running", "running", "running", "any", "unknown")
      }
    case "handoff":
      return { pause, kind, to: pick("first", "second") }
    case "waitForIdle":
      return { pause, kind }
    case "task":
      return { pause, kind, n, text: chance(0.6) }
    case "speech":
      return { pause, kind, which: int(1000), what: pick("interrupt", "force", "allow", "disallow", "wait") }
    case "advance":
      return { pause: pick(100, 500, 1000, 5000, 20_000), kind }
  }
}

/** Now and then the user speaks in a turn of its own. */
const spoken = (random: Random.Random, n: number, often: number): ReadonlyArray<Action> =>
  random.chance(often)
    ? [
        {
          pause: random.chance(0.4) ? 0 : random.pick(...pauses),
          kind: "turn",
          n: 1000 + n,
          millis: random.pick(...pauses),
          partials: random.pick(0, 1, 1, 2),
          speech: random.pick("keep", "pause", "pause", "interrupt"),
          ends: random.pick("commit", "commit", "discard", "close")
        }
      ]
    : []

/** Now and then somebody decides about a call that waits. */
const decision = (random: Random.Random): ReadonlyArray<Action> =>
  random.chance(0.45)
    ? [
        {
          pause: random.chance(0.4) ? 0 : random.pick(...pauses),
          kind: "decide",
          which: random.int(1000),
          what: random.pick("approve", "approve", "approve", "edit", "bad edit", "deny", "respond"),
          twice: random.chance(0.3),
          who: random.pick("waiting", "waiting", "waiting", "any")
        }
      ]
    : []

export const make = (seed: number): Program => {
  const random = Random.make(seed)
  const { chance, int, pick } = random
  const places: ReadonlyArray<Place> = [
    "session",
    "session",
    "shared",
    "shared",
    "first",
    "first",
    "firstSet",
    "firstSet",
    "second",
    "second",
    "task"
  ]
  const specs = random.fork("tools")
  const more = random.fork("more")
  const heard = random.fork("heard")
  const outputs = (["dies", "stalls", "late", "silent", "offsets", "pauses"] as const).filter(() => heard.chance(0.15))
  const broken = outputs.includes("dies") || outputs.includes("stalls")
  const config: Config = {
    tools: places.map((place, i) => toolSpec(specs, `t${i}`, place)),
    shuffled: chance(0.6),
    pace: chance(0.6) ? pick(5, 20, 50) : undefined,
    languageModel: chance(0.02),
    streams: more.chance(0.1),
    given: more.chance(0.25) ? more.pick("anything", "resumed") : "nothing",
    pauses: more.chance(0.3) ? more.pick(0.1, 0.3, 0.9) : 0,
    foreign: more.chance(0.2) ? 0.4 : 0,
    saves: more.chance(0.2) ? more.pick("all", "fails") : "nothing",
    durable: random.fork("durable").chance(0.25),
    approvals: more.chance(0.35) ? more.pick(0.3, 0.8) : 0,
    maxToolSteps: pick(1, 2, 3, 3, 3, 8),
    maxPendingUpdates: pick(1, 2, 3, 32),
    maxRunning: pick(2, 4, 64, 64, 64),
    maxMessages: random.fork("maxMessages").pick(1, 2, 3, 32),
    releaseAfter: chance(0.15) ? pick(0, 500, 2000) : undefined,
    startAfter: chance(0.12) ? "step" : "call",
    drainTimeout: pick(0, 100, 1000, 30_000, 3_600_000),
    cancellationTimeout: pick(50, 500, 5000),
    onInterruptedReply: pick("drop", "redeliver"),
    concurrency: { shared: pick(1, 2, 100), first: pick(1, 2, 100), firstSet: pick(1, 2, 100) },
    // what a failed output leaves is shown to the next agent, and not known to the reference
    secondContext: pick("inherit", "empty") === "empty" && !broken ? "empty" : "inherit",
    outputs,
    spoken: heard.chance(0.4) ? heard.pick(0.1, 0.4) : 0,
    onEnter: pick("nothing", "nothing", "say", "reply", "sleep"),
    onExit: pick("nothing", "nothing", "nothing", "say", "wait", "sleep")
  }
  const asking = random.fork("approval")
  const asks = (spec: ToolSpec): ToolSpec => {
    if (!asking.chance(config.approvals)) return spec
    return {
      ...spec,
      approval: asking.pick("always", "some", "slow"),
      options: {
        ...spec.options,
        ...option(asking, 0.5, "approvalTimeout", () => asking.pick(100, 500, 1000, 3000, 20_000))
      }
    }
  }
  const actions = random.fork("actions")
  const length = pick(4, 12, 30, 60, 90)
  const planned = Array.from({ length: 2 + int(length) }, (_, i) => action(actions, i + 1))
  const speaking = random.fork("spoken")
  return {
    seed,
    config: { ...config, tools: config.tools.map(asks) },
    actions: planned.flatMap((one, i) => [
      one,
      ...(config.approvals === 0 ? [] : decision(asking)),
      ...spoken(speaking, i, config.spoken)
    ]),
    abrupt: chance(0.35)
  }
}
