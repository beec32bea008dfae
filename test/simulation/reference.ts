/**
 * A small model of the SPEC that follows a session from the outside. It is told every event in its order, what the
 * handlers are about to do (they announce it with `RunContext.progress`, so that it stands in the same order), and what
 * the model is asked and answers. It keeps a history of its own and says what may come next; whatever does not fit is a
 * violation that names the rule.
 */

import type { AgentSession, AsyncTool, ChatContext, RunContext, SessionEvent } from "effect-meantime"
import { check as checkPrompt } from "../checkers/prompt.js"
import type { Given } from "./given.js"
import type { Config, Place, ToolSpec } from "./program.js"

export class Violation extends Error {
  constructor(
    readonly rule: string,
    message: string
  ) {
    super(`[${rule}] ${message}`)
  }
}

type Event = SessionEvent.SessionEvent
type EventOf<Tag extends Event["_tag"]> = Extract<Event, { readonly _tag: Tag }>
type Item = ChatContext.ChatItem

// ------------------------------------------------------------------------------------------------------- what it knows

/** A text that somebody is going to say; its first word is its name. */
export interface Text {
  readonly name: string
  /** what the session was given so far */
  given: string
  /** what it had been given before the last chunk */
  before: string
  /** when it was given the last of it */
  at: number
  whole: boolean
  recorded: boolean
  /** some of it came while the user had the floor */
  held?: boolean
  readonly step: Step | undefined
  /** its place among the parts of the step */
  readonly place: number
}

export interface AskedCall {
  readonly wanted: string
  readonly name: string
  readonly args: unknown
  readonly place: number
  call: Call | undefined
}

/** One request to the model. */
export interface Step {
  readonly index: number
  readonly agent: Agent
  readonly toolChoice: unknown
  readonly note: string | undefined
  readonly asked: Array<AskedCall>
  readonly calls: Array<Call>
  readonly texts: Array<Text>
  parts: number
  state: "open" | "ended" | "failed" | "stopped"
  /** why the model ended it */
  finish?: string
  /** its end was told */
  over?: boolean
  /** its end was told without a reason: what the model had sent by then may have come too late */
  cut?: boolean
  /** it goes on with an answer that the model has paused */
  goesOn?: boolean
  /** the place of the part that was recorded last */
  recorded: number
  /** an output of it is in the history */
  answered: boolean
  speech: string | undefined
  /** the speeches that may have asked for it, until one is known */
  maybeOf: Set<string>
  /** the reply that it gives */
  reply: ReplyState | undefined
  /** how many of the user's turns came before the next step of the same reply, if there was one */
  followed: number | undefined
  /** how many of the user's turns came before */
  readonly turn: number
}

export interface Agent {
  readonly name: string
  readonly task: boolean
  /** the call that runs the task */
  readonly holder: Call | undefined
  state: "current" | "paused" | "ended"
  /** what it sees begins here, behind what was carried over */
  since: number
  carried: ReadonlyArray<Item>
  /** what may have been carried over, too: whether it waited is not known here */
  readonly maybeCarried: Set<string>
  readonly active: Map<string, number>
}

type Reason = "cancelled" | "replaced" | "drained" | "timeout"

export type End =
  | { readonly how: "value"; readonly value: unknown }
  | { readonly how: "nothing" | "stop" | "defect" | "foreign" }
  | { readonly how: "error"; readonly message: string }

interface Update {
  readonly message: unknown
  readonly delivery: RunContext.Delivery
  readonly template: boolean
  readonly foreign: boolean
}

export interface Run {
  readonly spec: ToolSpec
  readonly calls: Array<Call>
  readonly home: Agent | undefined
  owner: Agent | undefined
  readonly key: string
  phase: "admitting" | "working" | "ended"
  handler: number | undefined
  startedAt: number
  committed: boolean
  /** its handler has left the turn */
  releases: boolean
  /** how many hand-offs it has asked for that were not refused: a second one is, and the first stands */
  handoffs: number
  readonly stops: Set<Reason>
  readonly updates: Array<Update>
  /** how many of them the first call has got */
  done: number
  end: End | undefined
  endedAt: number | undefined
  /** what has become of it with those who may agree; none: nobody has been asked */
  approval: "waits" | SessionEvent.ApprovalDecided["decision"] | undefined
  expiresAt: number | undefined
  /** who decided */
  by: string | undefined
}

export interface Call {
  readonly id: string
  readonly name: string
  args: any
  readonly spec: ToolSpec | undefined
  readonly step: Step
  readonly startedAt: number
  readonly runningThen: ReadonlyArray<Run>
  /** without those that may share another's run */
  readonly surelyRunning: number
  readonly idTaken: boolean
  readonly gated: boolean
  run: Run | undefined
  owner: Agent | undefined
  state: "inline" | "background" | "ended"
  status: string | undefined
  output: { readonly value: unknown; readonly isError: boolean } | undefined
  callRecorded: boolean
  outputRecorded: boolean
  held: Array<Delivery>
  waiting: Array<Delivery>
  numbered: number
  /** which of the run's updates comes next */
  nextUpdate: number
  /** it shares the run of another */
  joined: boolean
  /** the next update is what that had reported last when it joined */
  catchesUp: boolean
  /** an output that a request showed before the event came that tells of it */
  shownBefore: unknown
  released: string | undefined
  /** what it was sent; its handler reads it in this order */
  readonly messages: Array<unknown>
  /** the place of the last one that was read */
  lastRead: number
  read: number
  lost: number
}

interface Delivery {
  readonly id: string
  readonly call: Call
  readonly kind: "update" | "final"
  readonly value: unknown
  readonly isError: boolean
  mode: RunContext.Delivery
  readonly act: boolean
  state: "held" | "waiting" | "silent" | "scheduled" | "ended" | "dropped"
  /** a silent one that a reply may have shown */
  maybeShown: boolean
  writtenAt: number | undefined
  endings: Array<string>
  interruptedAt: number | undefined
}

interface Speech {
  readonly id: string
  readonly source: "say" | "reply" | "tool-reply"
  agent: Agent
  reply: ReplyState | undefined
  acting: number
}

/** What an output has reported of a text; it may play it more than once. */
export interface Played {
  readonly before: string
  readonly pieces: Array<string>
  /** it reports nothing */
  readonly silent: boolean
}

interface ReplyState {
  readonly id: string
  readonly items: ReadonlyArray<Delivery>
  readonly act: boolean
}

/** What a foreign value is told as is not known here; the checkers of requests look at it. */
const anything = Symbol("anything")

/** What no request carries as it is: blanks, half characters, what looks like a note of the application. */
const isReworded = (value: unknown): boolean => {
  const json = JSON.stringify(value) ?? ""
  return (typeof value === "string" && value.trim() === "") || /note from the application|\\ud[89a-f]/i.test(json)
}

const same = (a: unknown, b: unknown): boolean =>
  a === b ||
  a === anything ||
  b === anything ||
  (typeof a !== "string" && typeof b !== "string" && JSON.stringify(a) === JSON.stringify(b))

const sameTexts = (a: ReadonlyArray<string>, b: ReadonlyArray<string>): boolean =>
  a.length === b.length && a.every((text, i) => text === b[i])
const show = (value: unknown): string => JSON.stringify(value) ?? String(value)

// ------------------------------------------------------------------------------------------------------- prompts

/** Templates that say which one they are. Calls of the `shared` toolset have reply templates of their own. */
export const templates = {
  update: "UPD {toolName} {callId} {message}",
  inProgress: "PROG {toolName} {callId}",
  released: "REL {toolName} {callId}",
  approvalPending: "PEND {toolName} {callId}",
  approvalEdited: "EDIT {toolName} {callId} {arguments}",
  approvalDenied: "DENY {toolName} {callId} {how} {reason}",
  ended: "END {toolName} {callId} {how}",
  duplicateReject: "REJ {toolName} {runningText}",
  duplicateConfirm: "CONF {toolName} {runningText}",
  replyAtTail: "TAIL {callIds}",
  replyMaybeCovered: "COVERED {callIds}"
}

export const sharedTemplates = { replyAtTail: "TAIL-SHARED {callIds}", replyMaybeCovered: "COVERED-SHARED {callIds}" }

export const ownTemplate = "OWN {callId} {message}"

const companions = new Set(["cancel_task", "get_running_tasks", "message_task", "complete"])

/** An agent's name has behind a # who asked for it. */
export const baseName = (agent: string): string => agent.split("#")[0] as string

const placesOf: { readonly [_ in string]: ReadonlyArray<Place> } = {
  first: ["session", "shared", "first", "firstSet"],
  second: ["session", "shared", "second"],
  task: ["session", "shared", "task"]
}

export const toolsOf = (config: Config, agent: string): ReadonlyArray<ToolSpec> =>
  config.tools.filter((tool) => placesOf[baseName(agent)]?.includes(tool.place) === true)

/** How a result is sent: the status stands in the value. */
const onWire = (value: unknown, isError: boolean): unknown =>
  isError ? { error: value } : value === undefined ? null : value

export interface Snapshot {
  readonly now: number
  readonly running: ReadonlyArray<AgentSession.RunningTool>
  readonly history: ReadonlyArray<Item>
  /** handlers that have begun and not ended, by number, and whether they cannot be stopped now */
  readonly alive: ReadonlyMap<number, { readonly callId: string; readonly blocked: boolean }>
  readonly streaming: number
  readonly playing: number
  /** onExit runs, a hand-off is being built */
  readonly switching: boolean
  /** `waitForIdle` from outside that has not come back */
  readonly waiters: number
  /** hand-offs from outside that have not come back */
  readonly handoffs: number
  /** handlers that wait for the floor */
  readonly floorWaiters: ReadonlyArray<string>
}

// ----------------------------------------------------------------------------------------------------- the reference

export class Reference {
  readonly history: Array<Item> = []
  readonly calls = new Map<string, Call>()
  readonly deliveries = new Map<string, Delivery>()
  readonly texts = new Map<string, Text>()
  /** calls that the program is about to release */
  readonly releaseRequests = new Set<string>()
  /** messages that the program has sent, and no event has told of */
  readonly tells = new Set<unknown>()
  /** by handler: how often it has begun to read, and has not said what */
  private readonly listening = new Map<number, number>()
  readonly steps: Array<Step> = []
  readonly agents: Array<Agent>
  /** user's turns that were sent and are not in the history */
  readonly sent: Array<string> = []
  /** those of them that come behind the turn that is under way */
  readonly behind = new Set<string>()
  readonly runs = new Set<Run>()
  readonly speeches = new Map<string, Speech>()
  readonly endedSpeeches = new Map<string, { readonly interrupted: boolean }>()
  readonly floors: Array<Call> = []
  readonly policies = new Map<string, string>()
  /** how many claims of the user there have been, and in which the message of a speech was sent */
  claims = 0
  readonly answers = new Map<string, number>()
  pending: Array<Delivery> = []
  closing = false
  closed = false
  turns = 0
  userState = "listening"
  private next: Array<(event: Event) => boolean> = []
  private itemIds = new Set<string>()
  /** While the user has the floor: it answers what was sent in the newest claim (rule O1). */
  private mayGoOn(speechId: string): boolean {
    return this.answers.get(speechId) === this.claims
  }

  /** Something of a speech begins now: a model is asked, or an output. */
  plays(what: string, at: number, speechId?: string): void {
    // what began in this moment may have been on its way
    if (this.userState !== "speaking" || this.config.languageModel || at === this.claimedAt) return
    const may =
      speechId === undefined
        ? Array.from(this.speeches.keys()).some((id) => this.mayGoOn(id) || this.mayAnswer.has(id))
        : this.mayGoOn(speechId) || this.mayAnswer.has(speechId) || this.heard.has(speechId)
    this.must(may, "O1", () => `${what} begins while the user has the floor`)
  }

  /** speeches that may answer what was sent in the newest claim: who has asked for them is not known */
  readonly mayAnswer = new Set<string>()

  /** The user begins to speak, or somebody else does. */
  claim(at: number): void {
    this.claims++
    this.claimedAt = at
    this.opening++
  }

  /** It is known to the session, too. */
  claimed(): void {
    this.opening--
  }

  private opening = 0
  private claimedAt = -1

  /** A speech answers what was sent in the claim that is the newest one. */
  answered(speechId: string, claim: number): void {
    if (this.opening === 0 && claim === this.claims) this.answers.set(speechId, claim)
  }

  /** speeches of which the output has reported something */
  readonly heard = new Set<string>()
  private readonly limbo = new Set<Delivery>()
  private readonly replies = new Map<string, ReplyState>()
  private readonly allReplies: Array<ReplyState> = []
  private readonly active = new Map<string, number>()
  private readonly cancelRequests = new Set<string>()
  private at = 0
  readonly counts = new Map<string, number>()

  constructor(readonly config: Config) {
    this.agents = [this.agent("first", undefined)]
  }

  count(what: string): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1)
  }

  private agent(name: string, holder: Call | undefined): Agent {
    return {
      name,
      task: baseName(name) === "task",
      holder,
      state: "current",
      since: 0,
      carried: [],
      maybeCarried: new Set(),
      active: new Map()
    }
  }

  get current(): Agent {
    return this.agents[this.agents.length - 1] as Agent
  }

  private must(ok: boolean, rule: string, message: () => string): void {
    if (!ok) throw new Violation(rule, message())
  }

  private call(id: string, rule: string): Call {
    const call = this.calls.get(id)
    if (call === undefined) throw new Violation(rule, `an event of an unknown call ${id}`)
    return call
  }

  private render(template: string, call: Call, more: Record<string, string> = {}): string {
    return template.replace(/\{(\w+)\}/g, (_, name: string) =>
      name === "toolName" ? call.name : name === "callId" ? call.id : (more[name] ?? "")
    )
  }

  // ---------------------------------------------------------------------------------------------------- told by others

  /** how many items it was given that may be anything: what is shown of those is for the checkers alone */
  private odd = 0
  private given = 0
  /** ids of the ends that a resumed session writes for calls of which it does not know */
  private readonly reopened = new Set<string>()

  /** The session begins behind what it was given. */
  opens({ agent, background, inline, items, resume, since }: Given, history: ReadonlyArray<Item>): void {
    this.count(resume ? "resumed" : "given anything")
    this.given = items.length
    if (!resume) this.odd = items.length
    for (const item of history.slice(0, items.length)) {
      this.must(!this.itemIds.has(item.id), "M3b", () => `two items that were given have the id ${item.id}`)
      this.itemIds.add(item.id)
      this.history.push(item)
    }
    this.agents[0] = this.agent(agent, undefined)
    if (agent === "second" && this.config.secondContext === "empty") this.agents[0].since = since
    // first the outputs of the turn, then the ends of what had left its turn
    for (const id of inline) this.expectLost(id, ["FunctionCallOutput"])
    for (const id of background) {
      this.reopened.add(`${id}_final`)
      this.expectLost(`${id}_final`, ["FunctionCall", "FunctionCallOutput"])
    }
  }

  private expectLost(callId: string, tags: ReadonlyArray<Item["_tag"]>): void {
    for (const tag of tags) {
      this.next.push(
        (event) =>
          event._tag === "ItemAdded" &&
          event.item._tag === tag &&
          (event.item as { readonly callId?: string }).callId === callId &&
          (event.item._tag !== "FunctionCallOutput" || event.item.isError)
      )
    }
  }

  /** A text that a pause has split is one (rule F7). */
  isSplit(items: ReadonlyArray<Item>, text: string): boolean {
    const said = items.flatMap((item) =>
      item._tag === "Message" && item.role === "assistant" && !item.text.startsWith("fill") ? [item.text] : []
    )
    let whole = ""
    const speech = this.stepOf(said.at(-1) ?? "")?.speech
    for (const part of said.reverse()) {
      // others may have spoken between two of its steps, which had given the mouth back to the user
      const of = this.stepOf(part)?.speech
      if (speech !== undefined && of !== undefined && of !== speech) continue
      if (whole !== "" && !this.isPaused(this.stepOf(part))) return false
      whole = part + whole
      if (whole === text) return true
    }
    return false
  }

  /** It is part of an answer that goes on: the model has paused it, or has failed as it went on. */
  private isPaused(step: Step | undefined): boolean {
    return step?.finish === "pause" || (step?.goesOn === true && step.state === "failed")
  }

  /** It may stand behind the note that asked for an answer which goes on. */
  private isOfAnswer(shown: string): boolean {
    if (!shown.startsWith("call ")) return this.isPaused(this.stepOf(shown.replace("assistant ", "")))
    const id = shown.slice(5)
    // what the turn's calls report comes with it
    return this.deliveries.has(id) || this.isPaused(this.calls.get(id)?.step)
  }

  private stepOf(text: string): Step | undefined {
    return this.texts.get(/^\S+/.exec(text)?.[0] ?? "")?.step
  }

  /** `onItems` has been given each item once, in order; with `complete` all that are there. */
  saved(items: ReadonlyArray<Item>, complete: boolean): void {
    const ids = new Set(items.map((item) => item.id))
    this.must(ids.size === items.length, "R7", () => "an item is given to onItems twice")
    const known = Array.from(this.itemIds).slice(this.given)
    this.must(
      sameTexts(
        known.filter((id) => ids.has(id)),
        items.map((item) => item.id)
      ),
      "R7",
      () => "onItems is given items in another order, or such as were not added"
    )
    const left = this.history.slice(this.given).filter((item) => !ids.has(item.id))
    this.must(!complete || left.length === 0, "R7", () => `${left.map((item) => item.id).join(" ")} are not saved`)
  }

  /** what somebody is about to decide, by the name that the event gives back */
  readonly deciding = new Map<string, { readonly what: string; readonly callId: string }>()

  cancelRequested(callId: string): void {
    this.cancelRequests.add(callId)
    this.calls.get(callId)?.run?.stops.add("cancelled")
  }

  /** The model is asked. `history` is what the session says it is at this moment. */
  asked(request: { readonly agent: string; readonly toolChoice: unknown; readonly note: string | undefined }): Step {
    const agent = this.agents.findLast((other) => other.name === request.agent) ?? this.current
    const step: Step = {
      index: this.steps.length,
      agent,
      toolChoice: request.toolChoice,
      note: request.note,
      asked: [],
      calls: [],
      texts: [],
      parts: 0,
      state: "open",
      recorded: -1,
      answered: false,
      speech: undefined,
      maybeOf: new Set(
        Array.from(this.speeches.values()).flatMap((speech) => (speech.source === "say" ? [] : [speech.id]))
      ),
      reply: undefined,
      followed: undefined,
      turn: this.turns
    }
    // an answer of which nothing was heard may go on, too, and others may have spoken between its steps
    const befores = [
      this.steps.findLast((other) => other.agent === agent),
      ...Array.from(step.maybeOf, (id) => this.steps.findLast((other) => other.speech === id))
    ]
    if (befores.some((other) => this.isPaused(other))) step.goesOn = true
    this.steps.push(step)
    for (const call of this.calls.values()) {
      call.waiting = call.waiting.filter((delivery) => {
        if (delivery.state !== "silent") return true
        // what was written in this moment may have come when the step had begun
        delivery.maybeShown = true
        return delivery.writtenAt === this.at
      })
    }
    const covered = /^(?:TAIL|COVERED)(?:-SHARED)? (.*)$/m.exec(request.note ?? "")
    if (covered !== null) {
      const reply = this.allReplies.findLast(
        ({ items }) => items.map((delivery) => delivery.id).join(", ") === covered[1]
      )
      this.must(
        reply !== undefined,
        "D3",
        () => `the model is asked to voice ${covered[1]}, which is no scheduled reply`
      )
      if (reply !== undefined) this.expectToolChoice(step, reply)
    }
    return step
  }

  /** A reply may act where one of its items may, and as long as the chain of such replies has steps left (rule D8). */
  private expectToolChoice(step: Step, reply: ReplyState): void {
    const before = this.steps.findLast((other) => other !== step && other.reply === reply)
    if (before !== undefined) before.followed ??= this.turns
    step.reply = reply
    const acted = this.steps.filter(
      (other) => other.reply?.act === true && other.toolChoice !== "none" && other.calls.length > 0
    )
    const own = acted.filter((other) => other.reply === reply).length
    // a step that was at work at the user's turn may count for the chain before or behind it
    const inChain = acted.filter(
      (other) =>
        other.turn === this.turns ||
        other.followed === this.turns ||
        (other.followed === undefined && this.replies.has(other.reply?.id ?? ""))
    )
    // one that the model has paused is none if its calls had nothing to say
    const counts = (other: Step) => other.finish !== "pause"
    const surely = inChain.filter((other) => counts(other) && other.turn === this.turns && other.followed !== undefined)
    const least = Math.max(acted.filter((other) => counts(other) && other.reply === reply).length, surely.length)
    const most = Math.max(own, inChain.length)
    const { toolChoice } = step
    this.must(
      toolChoice === "none" || (toolChoice === "auto" && reply.act && least < this.config.maxToolSteps),
      "D8",
      () =>
        `reply ${reply.id}${reply.act ? ", which may act," : ""} is asked for with ${show(toolChoice)} after ${least} steps`
    )
    this.must(
      toolChoice !== "none" || !reply.act || most >= this.config.maxToolSteps,
      "D8",
      () => `reply ${reply.id}, which may act, is asked for with "none" after ${most} steps`
    )
  }

  /** What the model should have been shown, from what the session says its history is. */
  expectPrompt(step: Step, messages: ReadonlyArray<any>, history: ReadonlyArray<Item> | undefined): void {
    const { agent } = step
    const last = messages[messages.length - 1]
    // the one request that ends with the assistant: the model goes on with an answer that it has paused (rule F7)
    const answer = last?.role === "assistant" ? last.content[last.content.length - 1] : undefined
    const goesOn = answer?.type === "text" && this.isPaused(this.stepOf(answer.text))
    if (goesOn) {
      step.goesOn = true
      this.count("goes on behind a pause")
    }
    const problems = checkPrompt({ content: messages }).filter(
      (problem) => !(goesOn && problem === "the last message is the assistant's")
    )
    this.must(problems.length === 0, "M3b", () => `a request that no provider takes: ${problems.join("; ")}`)
    this.must(
      messages.every((message, i) => (message.role === "system") === (i === 0)),
      "M5",
      () => `the roles of a request are ${messages.map((message) => message.role).join(" ")}`
    )
    this.must(
      messages.length > 1 && (last.role !== "assistant" || goesOn),
      "M5",
      () => `a request ends with ${last?.role}`
    )
    const shown: Array<string> = []
    const results = new Map<string, unknown>()
    messages.forEach((message, i) => {
      if (message.role === "user") shown.push(`user ${message.content.map((part: any) => part.text).join("")}`)
      if (message.role === "assistant") {
        const calls = message.content
          .filter((part: any) => part.type === "tool-call" && part.providerExecuted !== true)
          .map((part: any) => part.id)
        for (const part of message.content) {
          if (part.type === "text") shown.push(`assistant ${part.text}`)
          if (part.type === "tool-call") shown.push(`call ${part.id}`)
        }
        const after = messages[i + 1]
        const answers = after?.role === "tool" ? after.content : []
        this.must(
          same(
            answers.map((part: any) => part.id),
            calls
          ),
          "M3",
          () => `calls ${calls.join(" ")} are followed by results ${answers.map((part: any) => part.id).join(" ")}`
        )
        for (const part of answers) {
          this.must(!results.has(part.id), "M3", () => `call ${part.id} is in a request twice`)
          results.set(part.id, part.result)
        }
      }
      if (message.role === "tool") {
        this.must(messages[i - 1]?.role === "assistant", "M3", () => "results without calls")
      }
    })
    if (history === undefined) return
    const isOdd = agent.since < this.odd
    const from = isOdd ? this.odd : agent.since
    const items = from === 0 ? history : [...agent.carried, ...history.slice(from)]
    const seen = new Set<string>()
    const expected = items.flatMap((item) => {
      if (item._tag === "Message") {
        const by = item.author === undefined ? "" : `${item.author}: `
        return item.text === "" ? [] : [`${item.role} ${by}${item.text}`]
      }
      if (item._tag !== "FunctionCall" || seen.has(item.callId)) return []
      seen.add(item.callId)
      return [`call ${item.callId}`]
    })
    const isNote = (text: string | undefined) => text?.startsWith("user [Note from the application") === true
    // files of what was given are shown behind it
    const isMaybe = (text: string) => text.startsWith("call ") && agent.maybeCarried.has(text.slice(5))
    const rest = shown.filter(
      (text) => !isMaybe(text) && (!isOdd || !isNote(text) || !text.includes("You have sent these files"))
    )
    // the note that asked for an answer stays before it
    let at = rest.length - 1
    while (at > 0 && this.isOfAnswer(rest[at] as string)) at--
    if (isNote(rest[at]) && at >= rest.length - expected.length - 1) rest.splice(at, 1)
    this.must(
      sameTexts(isOdd ? rest.slice(Math.max(0, rest.length - expected.length)) : rest, expected),
      "M5",
      () => `a request shows\n  ${shown.join("\n  ")}\nwhere the history is\n  ${expected.join("\n  ")}`
    )
    const outputs = new Map(
      history.flatMap((item) => (item._tag === "FunctionCallOutput" ? [[item.callId, item] as const] : []))
    )
    for (const [id, result] of results) {
      const output = outputs.get(id)
      const call = this.calls.get(id)
      if (output !== undefined) {
        if (isOdd && call === undefined && !this.deliveries.has(id)) continue
        this.must(
          same(result, onWire(output.output, output.isError)) || (this.config.foreign > 0 && isReworded(output.output)),
          "M3",
          () => `call ${id} is shown with ${show(result)}`
        )
      } else {
        const held = call?.output
        // an id of what was given may be shown as another
        if (call === undefined && isOdd) continue
        if (call === undefined) throw new Violation("M1", `call ${id}, which nobody made, is shown`)
        if (result === this.render(templates.inProgress, call)) continue
        // the events of this moment may not have been told yet
        if (held === undefined && call.state === "inline") call.shownBefore = result
        else {
          this.must(
            held !== undefined &&
              (same(result, onWire(held.value, held.isError)) || (this.config.foreign > 0 && isReworded(held.value))),
            "M1",
            () => `call ${id}, which has no output yet, is shown with ${show(result)}`
          )
        }
      }
    }
  }

  // ------------------------------------------------------------------------------------------------------ told by events

  event(event: Event): void {
    this.must(!this.closed, "E1", () => `${event._tag} comes after SessionClosed`)
    this.must(event.at >= this.at, "K1", () => `${event._tag} at ${event.at} comes after something at ${this.at}`)
    this.at = event.at
    this.count(event._tag)
    // what a task drops as it ends comes between what it lets in, and before it says that it has ended
    const dropsAtEnd =
      event._tag === "ReplyEnded" &&
      event.status === "dropped" &&
      (this.closing ||
        event.updateIds.every((id) => {
          const delivery = this.deliveries.get(id)
          const target = delivery === undefined ? undefined : this.target(delivery)
          return target?.task === true && target.state !== "ended"
        }))
    if (event._tag !== "UpdateDropped" && !dropsAtEnd) {
      const expected = this.next.shift()
      if (expected !== undefined && !expected(event)) {
        throw new Violation("U2", `out of its place: ${show(event)}`)
      }
    }
    this.on(event)
  }

  private on(event: Event): void {
    switch (event._tag) {
      case "ItemAdded":
        return this.added(event.item)
      case "ToolCallStarted":
        return this.started(event)
      case "ToolCallProgress":
        return this.announced(this.call(event.callId, "U10"), event.value)
      case "ToolCallUpdated":
        return this.updated(event)
      case "ToolCallReleased":
        return this.released(event)
      case "ToolCallMessaged":
        return this.messaged(event)
      case "ToolCallMessagesLost":
        return this.messagesLost(event)
      case "ApprovalRequested":
        return this.approvalRequested(event)
      case "ApprovalDecided":
        return this.approvalDecided(event)
      case "ToolCallEnded":
        return this.ended(event)
      case "UpdateDropped":
        return this.dropped(event)
      case "SpeechCreated":
        return this.created(event)
      case "SpeechEnded": {
        const speech = this.speeches.get(event.speechId)
        this.must(speech !== undefined, "E1", () => `speech ${event.speechId} ended, but was not there`)
        this.speeches.delete(event.speechId)
        this.endedSpeeches.set(event.speechId, { interrupted: event.interrupted })
        this.must(
          event.interrupted || !this.beingCut.delete(event.speechId),
          "T2",
          () => `a call of ${event.speechId} did not run, since that was cut, and it was not`
        )
        this.count(`speech ${speech?.source} ${event.interrupted ? "interrupted" : "ended"}`)
        if (event.interrupted) {
          for (const call of this.calls.values()) {
            if (this.maybeOf(call.step, event.speechId) && call.spec?.options.cancelOnInterruption === true) {
              call.run?.stops.add("cancelled")
            }
          }
        }
        return
      }
      case "StepEnded":
        return this.stepEnded(event)
      case "ReplyScheduled":
        return this.scheduled(event)
      case "ReplyEnded":
        return this.replyEnded(event)
      case "UserStateChanged": {
        this.must(event.state !== this.userState, "E1", () => `the user is ${event.state} twice`)
        this.userState = event.state
        this.mayAnswer.clear()
        // what is paused has not played what it was given
        for (const text of this.texts.values()) if (text.step === undefined && !text.recorded) text.held = true
        // the session may not have seen yet what a model has sent
        for (const step of this.steps) if (!step.over) for (const text of step.texts) text.held = true
        return
      }
      case "AgentStateChanged": {
        const active = Array.from(this.speeches.values()).filter((speech) => speech.agent.state !== "paused")
        this.must(
          event.state !== "listening" || active.length === 0,
          "E1",
          () => `the agent listens while ${active.map((speech) => speech.id).join(" ")} are there`
        )
        return
      }
      case "AgentHandoff":
        return this.handedOff(event)
      case "SessionError": {
        this.count(`error ${event.error.tag}`)
        if (event.error.tag.startsWith("Output")) this.brokenAt = this.at
        return
      }
      case "EventsMissed":
        throw new Violation("E2", "events were missed")
      case "SessionClosed": {
        this.closed = true
        for (const call of this.calls.values()) {
          this.must(call.state === "ended", "S2", () => `call ${call.id} has not ended at SessionClosed`)
        }
        this.must(this.speeches.size === 0, "S2", () => `speeches have not ended at SessionClosed`)
        this.must(
          this.pending.length === 0,
          "D9",
          () => `${this.pending.map((d) => d.id).join(" ")} wait at SessionClosed`
        )
        for (const delivery of this.deliveries.values()) {
          this.must(
            delivery.state === "silent" || delivery.state === "ended" || delivery.state === "dropped",
            "D9",
            () => `${delivery.id} is ${delivery.state} at SessionClosed`
          )
        }
      }
    }
  }

  // ----------------------------------------------------------------------------------------------------- the history

  private added(item: Item): void {
    this.must(!this.itemIds.has(item.id), "E1", () => `two items have the id ${item.id}`)
    this.itemIds.add(item.id)
    this.must(item.createdAt === this.at, "K1", () => `item ${item.id} is of ${item.createdAt}, added at ${this.at}`)
    this.history.push(item)
    switch (item._tag) {
      case "Message": {
        if (item.role === "user") {
          const i = this.sent.indexOf(item.text)
          this.must(i >= 0, "F3", () => `${item.text} is recorded, and the user did not say it`)
          this.sent.splice(i, 1)
          this.turns++
          if (this.behind.delete(item.text)) this.isItsTurn(item.text)
          return
        }
        return this.said(item.text, item.interrupted)
      }
      case "FunctionCall": {
        const call = this.calls.get(item.callId)
        if (call === undefined) {
          if (this.reopened.delete(item.callId)) return
          const delivery = this.deliveries.get(item.callId)
          this.must(
            delivery !== undefined && item.name === delivery.call.name && same(item.arguments, delivery.call.args),
            "U2",
            () => `the call ${item.callId} is recorded, and nobody made it`
          )
          return
        }
        this.must(!call.callRecorded, "M3", () => `call ${call.id} is recorded twice`)
        this.must(same(item.arguments, call.args), "T3", () => `call ${call.id} is recorded with other arguments`)
        call.callRecorded = true
        const place = call.step.asked.find((asked) => asked.call === call)?.place ?? -1
        this.inPlace(call.step, place, `call ${call.id}`)
        this.must(!call.step.answered, "T2", () => `call ${call.id} is recorded behind an output of its step`)
        return
      }
      case "FunctionCallOutput": {
        const call = this.calls.get(item.callId)
        if (call === undefined) return
        this.must(!call.outputRecorded, "M3", () => `call ${call.id} has two outputs`)
        this.must(
          call.output !== undefined && same(call.output.value, item.output) && call.output.isError === item.isError,
          "T5",
          () => `call ${call.id} has the output ${show(item.output)}, and should have ${show(call.output)}`
        )
        this.must(
          call.shownBefore === undefined ||
            same(call.shownBefore, onWire(item.output, item.isError)) ||
            (this.config.foreign > 0 && isReworded(item.output)),
          "M1",
          () => `call ${call.id} was shown with ${show(call.shownBefore)}, and has the output ${show(item.output)}`
        )
        for (const other of call.step.calls) {
          this.must(other.callRecorded, "T2", () => `${call.id} has its output before call ${other.id} is recorded`)
          if (other === call) break
          this.must(other.outputRecorded, "T2", () => `${call.id} has its output before ${other.id}`)
        }
        call.outputRecorded = true
        call.step.answered = true
        for (const delivery of call.held.splice(0)) this.expectPair(delivery)
        return
      }
      case "AgentHandoff": {
        this.next.push((event) => event._tag === "AgentHandoff" && event.from === item.from && event.to === item.to)
        return
      }
      case "Reasoning":
        return
    }
  }

  private inPlace(step: Step, place: number, what: string): void {
    this.must(place > step.recorded, "T2", () => `${what} is recorded behind a later part of its step`)
    step.recorded = place
  }

  private said(text: string, interrupted: boolean): void {
    const name = /^\S+/.exec(text)?.[0] ?? ""
    const known = this.texts.get(name)
    if (known === undefined) throw new Violation("F3", `${show(text)} is recorded, and nobody said it`)
    this.must(!known.recorded, "F3", () => `${name} is recorded twice`)
    known.recorded = true
    this.must(
      interrupted ? known.given.startsWith(text) : known.given === text,
      "F3",
      () => `${show(known.given)} was said, and ${show(text)} is recorded${interrupted ? ", interrupted" : ""}`
    )
    if (interrupted && this.config.pace === undefined && !this.config.languageModel && known.held !== true) {
      this.must(
        text.length >= known.before.length,
        "F3",
        () => `${show(known.before)} was played, ${show(text)} is recorded`
      )
    }
    const played = this.played.get(name)
    if (this.config.pace !== undefined) {
      const { before, pieces, silent } = played ?? { before: "", pieces: [], silent: false }
      const longer = (heard: string): string => (heard.length < before.length ? before : heard)
      const all = silent ? known.given : longer(pieces.join(""))
      const most = longer(pieces.slice(0, -1).join(""))
      this.must(
        text === all || (interrupted && text === most),
        "F3",
        () => `${show(all)} was played, and ${show(text)} is recorded`
      )
    }
    this.count(interrupted ? "message cut" : "message")
    if (known.step !== undefined) this.inPlace(known.step, known.place, name)
  }

  /** what the output has played of each text */
  readonly played = new Map<string, Played>()
  /** when an output last failed */
  private brokenAt = Number.NEGATIVE_INFINITY

  /** What it played may end now: it has a second to say where it stopped (rule O4). */
  private get isBroken(): boolean {
    return this.at <= this.brokenAt + 1000
  }

  private expectPair(delivery: Delivery): void {
    const { id } = delivery
    this.next.push(
      (event) => event._tag === "ItemAdded" && event.item._tag === "FunctionCall" && event.item.callId === id,
      (event) => {
        if (event._tag !== "ItemAdded" || event.item._tag !== "FunctionCallOutput" || event.item.callId !== id)
          return false
        if (!same(event.item.output, delivery.value) || event.item.isError !== delivery.isError) return false
        this.written(delivery)
        return true
      }
    )
  }

  private written(delivery: Delivery): void {
    delivery.writtenAt = this.at
    if (delivery.mode === "silent") {
      delivery.state = "silent"
      delivery.maybeShown = this.modelSpeaks()
      return
    }
    delivery.state = "waiting"
    this.pending.push(delivery)
    if (this.closing) return
    // once its hand-off is under way, the call that asked belongs to the session
    if (this.target(delivery).state === "ended" && (delivery.call.run?.handoffs ?? 0) === 0) this.expectDrop(delivery)
  }

  private expectDrop(delivery: Delivery): void {
    this.next.unshift(
      (event) => event._tag === "ReplyEnded" && event.status === "dropped" && same(event.updateIds, [delivery.id])
    )
  }

  private modelSpeaks(): boolean {
    return Array.from(this.speeches.values()).some((speech) => speech.source !== "say")
  }

  // -------------------------------------------------------------------------------------------------------- calls

  private keyOf(spec: ToolSpec, args: any): string {
    const mode = spec.options.onDuplicate ?? "allow"
    const scope = spec.options.duplicateScope ?? (mode === "join" ? "name_and_args" : "name")
    return scope === "name" ? "" : `${args.k ?? null}`
  }

  private isDuplicate(spec: ToolSpec, args: any, other: Run): boolean {
    if (other.spec !== spec) return false
    return this.keyOf(spec, args) === "" || (other.calls[0]?.args.k ?? null) === (args.k ?? null)
  }

  /** Its calls begin once the step has ended well (rule T2). */
  private isHeld(spec: ToolSpec): boolean {
    return (spec.options.startAfter ?? this.config.startAfter) === "step"
  }

  private endedWell({ cut, finish, state }: Step): boolean {
    return state === "ended" && cut !== true && (finish === "stop" || finish === "pause")
  }

  /** Nothing may have stopped it, not even what leaves no event: its time limit, a hand-off that is due. */
  private surelyGoesOn(run: Run): boolean {
    const limit = Number(run.spec.options.timeout ?? Number.POSITIVE_INFINITY)
    return run.stops.size === 0 && this.at < run.startedAt + limit && !(this.handoffAsked && run.owner !== undefined)
  }

  private started(event: EventOf<"ToolCallStarted">): void {
    const { callId, name } = event.call
    const fits = (asked: AskedCall) =>
      asked.call === undefined &&
      asked.name === name &&
      (callId === asked.wanted || new RegExp(`^${asked.wanted}_\\d+$`).test(callId))
    const step = this.steps.findLast((other) => other.asked.some(fits))
    const asked = step?.asked.find(fits)
    if (step === undefined || asked === undefined) {
      throw new Violation("T2", `call ${callId} of ${name} started, and the model did not ask for it`)
    }
    this.must(!this.calls.has(callId) && !this.deliveries.has(callId), "T11", () => `call ${callId} started twice`)
    const object = typeof asked.args === "object" && asked.args !== null && !Array.isArray(asked.args)
    const args: any = object ? asked.args : {}
    this.must(same(event.call.arguments, args), "T3", () => `call ${callId} has other arguments than the model gave`)
    const first = this.calls.get(asked.wanted)
    const idTaken = first !== undefined && first.state !== "ended"
    this.must(
      (callId === asked.wanted) === !(first !== undefined || this.deliveries.has(asked.wanted)),
      "T11",
      () => `the model's call ${asked.wanted} became ${callId}`
    )
    const spec = toolsOf(this.config, step.agent.name).find((tool) => tool.name === name)
    const known = spec !== undefined || companions.has(name)
    const call: Call = {
      id: callId,
      name,
      args,
      spec,
      step,
      startedAt: event.at,
      runningThen: Array.from(this.runs),
      surelyRunning: Array.from(this.runs).filter((run) => run.handler !== undefined).length,
      idTaken,
      gated:
        spec !== undefined &&
        // it is decided once its step has ended, of what runs by then
        (this.isHeld(spec) ||
          Array.from(this.runs).some(
            (run) => run.spec === spec && run.phase === "admitting" && run.handler === undefined && !this.isQueued(run)
          )),
      run: undefined,
      owner: undefined,
      state: "inline",
      status: undefined,
      output: undefined,
      callRecorded: false,
      outputRecorded: false,
      held: [],
      waiting: [],
      numbered: 0,
      nextUpdate: 0,
      joined: false,
      catchesUp: false,
      shownBefore: undefined,
      released: undefined,
      messages: [],
      lastRead: -1,
      read: 0,
      lost: 0
    }
    this.calls.set(callId, call)
    // its speech is there as long as its calls start
    for (const id of step.maybeOf) if (!this.speeches.has(id)) step.maybeOf.delete(id)
    if (step.maybeOf.size === 1) step.speech ??= Array.from(step.maybeOf)[0]
    asked.call = call
    step.calls.push(call)
    this.count(`call ${spec?.place ?? (companions.has(name) ? name : "unknown")}`)
    if (!known || !object || idTaken || step.toolChoice === "none") return
    if (name === "cancel_task" && typeof args.call_id === "string") this.cancelRequested(args.call_id)
    if (spec === undefined || (args.k !== undefined && args.k !== null && typeof args.k !== "number")) return
    const local = spec.place !== "session" && spec.place !== "shared"
    call.owner = local ? step.agent : undefined
    call.run = {
      spec,
      calls: [call],
      home: call.owner,
      owner: call.owner,
      key: this.keyOf(spec, args),
      phase: "admitting",
      handler: undefined,
      startedAt: event.at,
      committed: false,
      releases: false,
      handoffs: 0,
      stops: new Set(this.cancelRequests.has(callId) ? ["cancelled"] : []),
      updates: [],
      done: 0,
      end: undefined,
      endedAt: undefined,
      approval: undefined,
      expiresAt: undefined,
      by: undefined
    }
    if (this.closing || call.owner?.state === "ended") call.run.stops.add("drained")
    if (this.userTurnCut(step)) call.run.stops.add("cancelled")
    this.runs.add(call.run)
    if (spec.options.onDuplicate === "join" && !call.gated) {
      const last = call.runningThen.filter((other) => this.isDuplicate(spec, args, other)).at(-1)
      if (last !== undefined && this.surelyGoesOn(last)) return this.joinRun(call, last)
    }
    // whoever takes the place of a running call may stop it
    if (spec.options.onDuplicate === "replace" || spec.slowPolicy) {
      for (const other of this.runs)
        if (other !== call.run && this.isDuplicate(spec, args, other)) other.stops.add("replaced")
    }
  }

  private maybeOf(step: Step, speechId: string): boolean {
    return step.speech === undefined ? step.maybeOf.has(speechId) : step.speech === speechId
  }

  /** From here on it is known whose step it was, also if its calls joined others. */
  private stepEnded({ agent, finishReason, speechId }: EventOf<"StepEnded">): void {
    // on its way through a LanguageModel a request may come after its end
    if (this.config.languageModel) return
    // one that has given the mouth back is read beside the next
    const open = this.steps.filter(
      (other) => !other.over && other.agent.name === agent && this.maybeOf(other, speechId)
    )
    const mine = open.filter((other) => other.finish === finishReason)
    // what the model sent once its speech was cut does not count, its reason to end neither
    const step = mine[0] ?? open[0]
    if (step === undefined) {
      // cut before the model was asked
      this.must(
        finishReason === undefined,
        "B4",
        () => `a step of ${agent} and ${speechId} ended, and the model was not asked`
      )
      return
    }
    if (mine.length > 1) {
      this.unclear.push({ finishReason, steps: mine })
      return
    }
    step.over = true
    if (finishReason === undefined) step.cut = true
    step.speech = speechId
    this.must(
      finishReason === undefined || finishReason === step.finish,
      "B4",
      () => `step ${step.index} ended with ${step.finish}, and ${finishReason} is told`
    )
  }

  /** ends that were told of one of several steps: of which shows once the models have stopped */
  private unclear: Array<{ readonly finishReason: string | undefined; readonly steps: ReadonlyArray<Step> }> = []

  private clear(): void {
    for (const { finishReason, steps } of this.unclear) {
      const step = steps.find((one) => one.over !== true && one.state !== "open")
      // cut before the model was asked
      this.must(step !== undefined || finishReason === undefined, "B4", () => `no step ended with ${finishReason}`)
      if (step === undefined) continue
      step.over = true
      if (finishReason === undefined) step.cut = true
    }
    this.unclear = []
  }

  private userTurnCut(step: Step): boolean {
    return step.speech !== undefined && this.endedSpeeches.get(step.speech)?.interrupted === true
  }

  private activeKey(run: Run): readonly [Map<string, number>, string, number] {
    const { place } = run.spec
    const limit =
      place === "shared" || place === "first" || place === "firstSet" ? this.config.concurrency[place] : Infinity
    return [run.home?.active ?? this.active, place, limit]
  }

  private isQueued(run: Run): boolean {
    const [active, place, limit] = this.activeKey(run)
    return run.phase === "admitting" && (active.get(place) ?? 0) >= limit
  }

  /** A handler says what it is about to do. */
  private announced(call: Call, value: any): void {
    if (typeof value !== "object" || value === null || !("handler" in value)) return
    this.must(call.state !== "ended", "U11", () => `progress of call ${call.id}, which has ended`)
    const run = call.run
    if (run === undefined) throw new Violation("T2", `call ${call.id}, which was refused, runs`)
    const { handler } = value
    // joined calls are told what the first one's handler says
    if (value.callId !== call.id) {
      if (run.handler !== handler) this.join(call, handler)
      return
    }
    this.must(
      run.handler === undefined || run.handler === handler,
      "P2b",
      () => `call ${call.id} runs in two handlers, ${run.handler} and ${handler}`
    )
    switch (value.what) {
      case "start":
        return this.begins(call, run, value)
      case "update": {
        run.updates.push(value.update.foreign ? { ...value.update, message: anything } : value.update)
        return
      }
      case "release": {
        run.releases = true
        return
      }
      case "commit": {
        run.committed = true
        return
      }
      case "read":
        return this.read(call, run, value.message)
      case "end": {
        run.end = value.end
        return
      }
      case "handoff": {
        this.handoffAsked = true
        run.handoffs++
        return
      }
      case "handoff-": {
        run.handoffs--
        return
      }
      case "floor?": {
        this.asking.add(run)
        return
      }
      case "floor+": {
        this.asking.delete(run)
        this.floors.push(call)
        return
      }
      case "floor-": {
        const i = this.floors.lastIndexOf(call)
        if (i >= 0) this.floors.splice(i, 1)
        this.releasing.add(run)
        return
      }
      default:
        return
    }
  }

  // ------------------------------------------------------------------------------------------------------- approval

  /** A person is to be asked of a call with these arguments. */
  private isAsked(run: Run): boolean {
    if (run.spec.approval === undefined) return false
    return run.spec.approval === "always" || (run.calls[0]?.args.k ?? null) !== 0
  }

  private approvalRequested(event: EventOf<"ApprovalRequested">): void {
    const call = this.call(event.call.callId, "A1")
    const run = call.run as Run
    this.must(
      run !== undefined && run.spec.approval !== undefined,
      "A3",
      () => `somebody is asked of ${call.id}, whose tool asks nobody`
    )
    this.must(run.approval === undefined, "A4", () => `somebody is asked of ${call.id} again`)
    this.must(
      run.handler === undefined && call.state !== "ended",
      "A1",
      () => `somebody is asked of ${call.id}, which runs`
    )
    this.must(
      run.stops.size === 0 || run.phase !== "ended",
      "A7",
      () => `somebody is asked of ${call.id}, which has ended`
    )
    const waiting = Array.from(this.runs).filter((other) => other.approval === "waits").length
    this.must(waiting < this.config.maxRunning, "A1", () => `${waiting} calls wait, and ${call.id} is one more`)
    this.must(same(event.call.arguments, call.args), "A4", () => `somebody is asked of other arguments of ${call.id}`)
    const millis = run.spec.options.approvalTimeout
    const expiresAt = millis === undefined ? undefined : this.at + Number(millis)
    this.must(event.expiresAt === expiresAt, "A6", () => `${call.id} expires at ${event.expiresAt}, not ${expiresAt}`)
    run.approval = "waits"
    run.expiresAt = expiresAt
    this.count("asks")
  }

  private approvalDecided(event: EventOf<"ApprovalDecided">): void {
    const call = this.call(event.callId, "A4")
    const run = call.run as Run
    this.must(run?.approval === "waits", "A4", () => `${call.id} is ${event.decision}, and does not wait`)
    const { by, decision } = event
    const given = by === undefined ? undefined : this.deciding.get(by)
    this.count(`approval ${decision}`)
    switch (decision) {
      case "expired": {
        this.must(this.at === run.expiresAt, "A6", () => `${call.id} expires at ${this.at}, not ${run.expiresAt}`)
        break
      }
      case "withdrawn":
        break
      default: {
        const names = { approve: "approved", edit: "edited", deny: "denied", respond: "answered" } as const
        this.must(
          given !== undefined &&
            names[given.what as keyof typeof names] === decision &&
            this.isShared(given.callId, run),
          "A4",
          () => `${call.id} is ${decision}, and nobody decided that`
        )
      }
    }
    run.approval = decision
    run.by = by
  }

  /** It is one of those that share the run, which may not have been told of yet. */
  private isShared(callId: string, run: Run): boolean {
    const call = this.calls.get(callId)
    return call?.run === run || (call?.spec === run.spec && call.run?.handler === undefined)
  }

  /** What the session itself reports of a call that waits, or that somebody has edited. */
  private reported(call: Call, event: EventOf<"ToolCallUpdated">): void {
    const message = String(event.message)
    const edited = message.startsWith("EDIT ")
    const run = this.ofApproval(call, edited ? "edited" : "waits")
    if (run === undefined) throw new Violation("A5", `${call.id} is told ${message}, and why is not known`)
    if (edited) call.args = JSON.parse(message.slice(this.render("EDIT {toolName} {callId} ", call).length))
    call.numbered++
    this.must(
      event.id === `${call.id}_update_${call.numbered}`,
      "U2",
      () => `update ${call.numbered} has the id ${event.id}`
    )
    this.accept({
      id: event.id,
      call,
      kind: "update",
      value: event.message,
      isError: false,
      mode: edited ? "silent" : "when-idle",
      act: false,
      state: "held",
      maybeShown: false,
      writtenAt: undefined,
      endings: [],
      interruptedAt: undefined
    })
  }

  /** Its run stands so with those who may agree; or that of another, which it turns out to share. */
  private ofApproval(call: Call, state: Run["approval"]): Run | undefined {
    const { run, spec } = call
    if (run === undefined || spec === undefined || run.approval === state) return run
    const other = Array.from(this.calls.values(), (one) => one.run).findLast(
      (one): one is Run =>
        one !== undefined &&
        one !== run &&
        one.approval === state &&
        (one.phase !== "ended" || one.endedAt === this.at) &&
        // its arguments are no longer those that it was joined by
        (state === "edited" ? one.spec === spec : this.isDuplicate(spec, call.args, one))
    )
    const joins = spec.options.onDuplicate === "join" || this.policies.get(call.id) === "Join"
    if (other === undefined || !joins || run.handler !== undefined || run.approval !== undefined) return undefined
    this.joinRun(call, other)
    return other
  }

  private begins(call: Call, run: Run, value: any): void {
    this.must(run.phase === "admitting", "P2b", () => `call ${call.id} starts a second time`)
    const { spec, step } = call
    const agreed = run.approval === "approved" || run.approval === "edited"
    this.must(
      run.approval === undefined ? !this.isAsked(run) : agreed,
      "A1",
      () => `call ${call.id} runs, and its approval is ${run.approval}`
    )
    if (agreed) this.count("runs when approved")
    if (spec !== undefined && this.isHeld(spec)) {
      // the rest of an answer is lost where it has a call of an unknown tool (rule T4)
      const lost = this.config.languageModel && step.asked.some(({ name }) => name === "nonsense")
      this.must(
        this.endedWell(step) || lost,
        "T2",
        () => `call ${call.id} begins, and its step is ${step.state} (${step.finish})`
      )
      this.count("begins after its step")
    }
    step.speech ??= value.speech
    this.must(
      step.speech === value.speech,
      "F2",
      () => `the speech of ${call.id} is ${step.speech}, its handler says ${value.speech}`
    )
    if (this.userTurnCut(step)) run.stops.add("cancelled")
    run.handler = value.handler
    run.phase = "working"
    run.startedAt = this.at
    const [active, place, limit] = this.activeKey(run)
    const now = (active.get(place) ?? 0) + 1
    active.set(place, now)
    this.must(now <= limit, "T12", () => `${now} calls are at work in ${place}, where ${limit} may be`)
    const mode = spec?.options.onDuplicate ?? "allow"
    const others = call.runningThen.filter((other) => this.isDuplicate(spec as ToolSpec, call.args, other))
    const running = Array.from(this.runs).filter((other) => other !== run && other.handler !== undefined).length
    this.must(
      running < this.config.maxRunning,
      "T12",
      () => `call ${call.id} runs, though ${running} run and ${this.config.maxRunning} may`
    )
    if (spec?.slowPolicy !== true && !call.gated && others.length > 0) {
      const refused = mode === "reject" || (mode === "confirm" && call.args.confirm_duplicate !== true)
      this.must(!refused, "P2", () => `call ${call.id} runs, though ${others[0]?.calls[0]?.id} ran`)
      if (mode === "replace") {
        const still = others.find((other) => other.phase !== "ended")
        this.must(
          still === undefined,
          "P2",
          () => `call ${call.id} runs before ${still?.calls[0]?.id}, which it replaces, has ended`
        )
      }
      if (mode === "join") {
        const joinable = others.find((other) => other.phase !== "ended" && this.surelyGoesOn(other))
        this.must(
          joinable === undefined,
          "P2b",
          () => `call ${call.id} runs instead of joining ${joinable?.calls[0]?.id}`
        )
      }
    }
    this.count("handler")
  }

  /** It turns out that a call shares the run of another. */
  private join(call: Call, handler: number | undefined): void {
    const own = call.run as Run
    const run = Array.from(this.runs).find((other) => other.handler === handler && other !== own) ?? own
    if (run === own) {
      this.must(
        handler === undefined,
        "P2b",
        () => `call ${call.id} is told of handler ${handler}, which is not its own`
      )
      return
    }
    const { spec } = call
    this.must(
      spec !== undefined &&
        (spec.options.onDuplicate === "join" || this.policies.get(call.id) === "Join") &&
        this.isDuplicate(spec, call.args, run),
      "P2b",
      () => `call ${call.id} shares a run with ${run.calls[0]?.id}`
    )
    this.joinRun(call, run)
  }

  private joinRun(call: Call, run: Run): void {
    const own = call.run as Run
    own.phase = "ended"
    this.runs.delete(own)
    for (const reason of own.stops) run.stops.add(reason)
    call.run = run
    call.joined = true
    call.owner = run.owner === run.home ? call.owner : run.owner
    call.nextUpdate = run.done > 0 ? run.done - 1 : 0
    call.catchesUp = run.done > 0
    run.calls.push(call)
    this.count("joined")
  }

  private updated(event: EventOf<"ToolCallUpdated">): void {
    const call = this.call(event.callId, "U1")
    this.must(call.state !== "ended", "U11", () => `call ${call.id} is updated after its end`)
    if (/^(PEND|EDIT) /.test(String(event.message))) return this.reported(call, event)
    let run = call.run as Run
    this.must(run !== undefined, "U1", () => `call ${call.id}, which was refused, is updated`)
    if (run.handler === undefined) {
      // what it joined tells it where it stands
      const other = Array.from(this.runs).findLast(
        (other) =>
          other !== run &&
          this.isDuplicate(run.spec, call.args, other) &&
          other.done > 0 &&
          same(other.updates[other.done - 1]?.message, event.message)
      )
      this.must(other !== undefined, "U1", () => `call ${call.id} is updated before it runs`)
      this.join(call, other?.handler)
      run = call.run as Run
    }
    const { catchesUp } = call
    call.catchesUp = false
    const update = run.updates[call.nextUpdate]
    this.must(
      update !== undefined && same(update.message, event.message),
      "U2",
      () => `call ${call.id} is updated with ${show(event.message)}, and its handler said ${show(update?.message)}`
    )
    if (update === undefined) return
    call.nextUpdate++
    run.done = Math.max(run.done, call.nextUpdate)
    const quiet = run.updates.slice(0, call.nextUpdate).every(({ delivery }) => delivery === "silent")
    const mode = !catchesUp ? update.delivery : quiet ? "silent" : "when-idle"
    const value =
      typeof update.message === "string"
        ? this.render(update.template ? ownTemplate : templates.update, call, { message: update.message })
        : update.message
    this.count(`update ${mode}`)
    if (call.output === undefined) {
      this.must(event.id === call.id, "U1", () => `the first update of ${call.id} has the id ${event.id}`)
      call.output = { value, isError: false }
      this.next.unshift((next) => next._tag === "ToolCallReleased" && next.callId === call.id && next.by === "update")
      return
    }
    call.numbered++
    this.must(
      event.id === `${call.id}_update_${call.numbered}`,
      "U2",
      () => `update ${call.numbered} has the id ${event.id}`
    )
    this.accept({
      id: event.id,
      call,
      kind: "update",
      value,
      isError: false,
      mode,
      act: false,
      state: "held",
      maybeShown: false,
      writtenAt: undefined,
      endings: [],
      interruptedAt: undefined
    })
  }

  private accept(delivery: Delivery): void {
    const { call } = delivery
    this.deliveries.set(delivery.id, delivery)
    if (delivery.kind === "update") call.waiting.push(delivery)
    if (call.outputRecorded) this.expectPair(delivery)
    else call.held.push(delivery)
  }

  private released(event: EventOf<"ToolCallReleased">): void {
    const call = this.call(event.callId, "U9")
    this.must(call.state === "inline" && call.released === undefined, "U9", () => `call ${call.id} is released twice`)
    call.state = "background"
    call.released = event.by
    this.count(`released ${event.by}`)
    if (event.by === "update") return
    if (event.by === "approval") {
      this.must(
        this.ofApproval(call, "waits") !== undefined,
        "A2",
        () => `call ${call.id} leaves its turn for approval, and nobody is asked`
      )
      call.output = { value: this.render(templates.approvalPending, call), isError: false }
      return
    }
    if (event.by === "handler") {
      const releasing = Array.from(this.runs).some(
        (run) => run.releases && (run === call.run || run.spec === call.spec)
      )
      this.must(releasing, "U9", () => `call ${call.id} is released by its handler, which did not ask for it`)
    }
    if (event.by === "program") {
      this.must(
        this.releaseRequests.has(call.id),
        "U9",
        () => `call ${call.id} is released by the program, which did not ask for it`
      )
    }
    this.must(call.output === undefined, "U9", () => `call ${call.id} is released though it has its output`)
    call.output = { value: this.render(templates.released, call), isError: false }
    if (event.by === "handler" || event.by === "program") return
    const { spec } = call
    if (event.by === "model") {
      this.must(
        spec?.options.background === "model" && call.args.run_in_background === true,
        "U9",
        () => `call ${call.id} is released by the model, which did not ask for it`
      )
      return
    }
    const after = spec?.options.releaseAfter ?? this.config.releaseAfter
    const millis = after === undefined ? Infinity : Number(after)
    const left = call.owner !== undefined && call.owner.state === "ended"
    this.must(
      this.at >= call.startedAt + millis || left || this.handoffAsked,
      "U9",
      () => `call ${call.id} is released by a timer at ${this.at}; it began at ${call.startedAt}`
    )
  }

  // ----------------------------------------------------------------------------------------------------- messages

  listens(handler: number, by: 1 | -1): void {
    this.listening.set(handler, (this.listening.get(handler) ?? 0) + by)
  }

  /** How many messages may have been taken by readers that were interrupted before they could say so. */
  private mayHaveTaken(call: Call): number {
    const handlers = new Set([call.run?.handler])
    // it may share a run without having been told anything by it
    for (const { handler, spec } of this.runs) if (spec === call.spec) handlers.add(handler)
    let sum = 0
    for (const handler of handlers) if (handler !== undefined) sum += this.listening.get(handler) ?? 0
    return sum
  }

  /** Sent, and neither read nor lost. */
  private unread(call: Call): number {
    return call.messages.length - call.read - call.lost
  }

  private messaged(event: EventOf<"ToolCallMessaged">): void {
    const call = this.call(event.callId, "G3")
    const { from, message } = event
    this.must(call.state !== "ended", "G3", () => `call ${call.id} is told ${show(message)} after its end`)
    this.must(
      call.spec?.options.messages !== undefined && call.run !== undefined,
      "G3",
      () => `call ${call.id} of ${call.name} is told ${show(message)}`
    )
    this.must(
      call.run?.approval !== "waits",
      "G1",
      () => `call ${call.id} waits for approval, and is told ${show(message)}`
    )
    const sent =
      from === "program"
        ? this.tells.delete(message)
        : Array.from(this.calls.values()).some(
            ({ args, name }) => name === "message_task" && args.call_id === call.id && args.message === message
          )
    this.must(sent, "G1", () => `call ${call.id} is told ${show(message)}, which nobody has sent`)
    call.messages.push(message)
    this.must(
      this.unread(call) <= this.config.maxMessages + this.mayHaveTaken(call),
      "G3",
      () => `call ${call.id} has ${this.unread(call)} unread messages, and ${this.config.maxMessages} may be`
    )
    this.count(`messaged by ${from}`)
  }

  /** The handler of a run has read a message, of whichever of its calls. */
  private read(of: Call, run: Run, message: unknown): void {
    const call = Array.from(this.calls.values()).find(({ messages }) => messages.includes(message))
    if (call === undefined) throw new Violation("G2", `call ${of.id} reads ${show(message)}, which was sent to no call`)
    const joins = call.spec?.options.onDuplicate === "join" || this.policies.get(call.id) === "Join"
    this.must(
      call === of || call.run === run || (joins && call.spec === of.spec),
      "G4",
      () => `call ${of.id} reads ${show(message)}, which was sent to ${call.id}`
    )
    const place = call.messages.indexOf(message)
    this.must(place > call.lastRead, "G2", () => `call ${of.id} reads ${show(message)} a second time, or too late`)
    call.lastRead = place
    call.read++
    this.count(call === of ? "read" : "read by a joined call")
  }

  private messagesLost({ callId, count }: EventOf<"ToolCallMessagesLost">): void {
    const call = this.call(callId, "G3")
    this.must(call.state !== "ended", "G3", () => `call ${callId} loses messages after its end`)
    this.must(call.lost === 0, "G3", () => `call ${callId} loses messages twice`)
    call.lost = count
    this.must(count > 0 && this.unread(call) >= 0, "G3", () => `call ${callId} loses ${count} messages, and has fewer`)
    this.count("messages lost")
  }

  /** Each message was read, or is told as lost before the end. */
  private settledMessages(call: Call): void {
    const unread = this.unread(call)
    this.must(
      unread >= 0 && unread <= this.mayHaveTaken(call),
      "G3",
      () => `call ${call.id} ended, and nobody knows of ${unread} of its messages`
    )
  }

  private readonly endedAt = new WeakMap<Call, number>()

  /** A message was refused. */
  notTold(callId: string, why: string): void {
    const call = this.calls.get(callId)
    const legal = (kind: string, ok: boolean): void => {
      this.must(ok, "G3", () => `call ${callId} takes no message, without a reason: ${why}`)
      this.count(`messageTool refused: ${kind}`)
    }
    if (why.startsWith("There is no call")) return legal("unknown", call === undefined)
    // a session that is stored answers once that is written, and tells of ends at such a moment, too; in any session it
    // may have ended before the one that was refused goes on
    const late = call !== undefined && (this.config.durable || this.endedAt.get(call) === this.at)
    if (why.includes("has already ended")) return legal("ended", call?.state === "ended" || late)
    if (why.includes("is not made for them")) return legal("no messages", call?.spec?.options.messages === undefined)
    if (why.includes("it is being stopped"))
      return legal("stopping", call?.run !== undefined && (call.state !== "ended" || late))
    if (why.includes("it waits for approval")) {
      return legal("waits for approval", call?.spec?.approval !== undefined && call.run?.handler === undefined)
    }
    legal("full", /takes no message now: \d+ wait/.test(why) && (call?.state !== "ended" || late))
  }

  private ended(event: EventOf<"ToolCallEnded">): void {
    const call = this.call(event.callId, "T9")
    this.must(call.state !== "ended", "T9", () => `call ${call.id} ended twice`)
    this.settledMessages(call)
    const inline = call.output === undefined
    const { output, status } = event
    this.must(
      event.id === (inline ? call.id : `${call.id}_final`),
      "U3",
      () => `the end of ${call.id} has the id ${event.id}`
    )
    const nothing = this.judge(call, status, output)
    call.state = "ended"
    call.status = status
    this.endedAt.set(call, this.at)
    const { run } = call
    if (run?.phase !== "ended" && run?.calls.every((other) => other.state === "ended") === true) {
      if (run.phase === "working") {
        const [active, place] = this.activeKey(run)
        active.set(place, (active.get(place) ?? 0) - 1)
      }
      run.phase = "ended"
      run.endedAt = this.at
      this.runs.delete(run)
    }
    const isError = status === "error"
    if (inline) {
      call.output = { value: output, isError }
      return
    }
    this.accept({
      id: event.id,
      call,
      kind: "final",
      value: output,
      isError,
      mode: nothing ? "silent" : (call.spec?.options.delivery ?? "when-idle"),
      act: call.spec?.options.onResult === "act",
      state: "held",
      maybeShown: false,
      writtenAt: undefined,
      endings: [],
      interruptedAt: undefined
    })
  }

  /** Is this an end that the call may have? True where there is nothing to voice. */
  private judge(call: Call, status: string, output: unknown): boolean {
    const { run, spec } = call
    const bad = (rule: string, why: string): never => {
      throw new Violation(rule, `call ${call.id} of ${call.name} ended as ${status} with ${show(output)}: ${why}`)
    }
    const text = typeof output === "string" ? output : ""
    const how = text.startsWith(this.render("END {toolName} {callId} ", call))
      ? (text.split(" ")[3] as string)
      : undefined
    if (how === "cancelled" || how === "replaced" || how === "drained") {
      this.count(`ended ${how}`)
      if (status !== "cancelled") return bad("C1", "it was stopped")
      if (run === undefined) return companions.has(call.name) ? true : bad("C1", "it never ran")
      if (run.handler === undefined && !call.joined && !run.stops.has(how)) this.adopt(call, how)
      const now = call.run as Run
      if (!now.stops.has(how)) this.adoptStopped(now, how)
      if (!now.stops.has(how)) {
        if (how === "drained" && (this.closing || this.handoffAsked)) return true
        // its speech was cut, and ends once the output has stopped
        const cut = spec?.options.cancelOnInterruption === true && this.config.pace !== undefined
        if (how === "cancelled" && cut) return true
        return bad("C1", `nobody asked for it; asked for: ${Array.from(now.stops).join(" ")}`)
      }
      if (now.committed && !this.closing) return bad("C1b", "it was past its point of no return")
      // nothing of it has begun
      const approving = spec?.approval !== undefined && now.handler === undefined
      if (how !== "drained" && spec?.options.allowCancellation !== true && !approving)
        return bad("C2", "it may not be cancelled")
      return true
    }
    if (status === "cancelled") return bad("C1", "that is no end of a call that was stopped")
    if (companions.has(call.name)) return how === "done"
    const declined = /^DENY \S+ \S+ (denied|expired) /.exec(text)?.[1]
    if (declined === "denied" || declined === "expired") {
      this.count(`ended ${declined}`)
      if (status !== "error") return bad("A6", "it was not approved")
      if (this.ofApproval(call, declined) === undefined) return bad("A6", "nobody said so")
      return false
    }
    if (/^answer d\d+$/.test(text)) {
      const answered = this.ofApproval(call, "answered")
      return status === "done" && text === `answer ${answered?.by}` ? false : bad("A6", "nobody answered so")
    }
    const refusal = this.refusal(call, status, text)
    if (refusal !== undefined) {
      this.count(`refused ${refusal}`)
      if (run !== undefined && refusal === "circular" && call.joined) {
        // it was taken for one that joins
        run.calls.splice(run.calls.indexOf(call), 1)
        call.run = undefined
      } else if (run !== undefined) {
        if (run.handler !== undefined) return bad("T9", "it ran")
        run.phase = "ended"
        this.runs.delete(run)
      }
      return false
    }
    if (run === undefined) return bad("T9", "it never ran")
    if (run.handler === undefined) this.adopt(call)
    const shared = call.run as Run
    if (text.startsWith(`${call.name} was stopped: it took longer`)) {
      this.count("timed out")
      const limit = Number(spec?.options.timeout ?? Infinity)
      if (status !== "error") return bad("T12", "a timeout is an error")
      if (this.at < shared.startedAt + limit)
        return bad("T12", `its limit is ${limit}, it began at ${shared.startedAt}`)
      if (shared.committed) return bad("C1b", "it was past its point of no return")
      return false
    }
    const { end } = shared
    this.count(`ended ${end?.how ?? "?"}`)
    switch (end?.how) {
      case "value":
        return status === "done" && same(output, end.value) ? false : bad("T5", `it returned ${show(end.value)}`)
      case "nothing":
      case "stop":
        return status === "done" && how === "done" ? true : bad("T7", "it had nothing to say")
      case "foreign":
        return how === "done"
      case "error":
        return status === "error" && output === end.message ? false : bad("T6", `it failed with ${end.message}`)
      case "defect":
        return status === "error" && text === `${call.name} failed because of an unexpected error.`
          ? false
          : bad("T8", "it died")
      default:
        return bad("T9", "its handler has not ended")
    }
  }

  /** A call that ended without a handler of its own shared another's. */
  private adopt(call: Call, how?: Reason): void {
    const { spec } = call
    if (spec === undefined || (spec.options.onDuplicate !== "join" && this.policies.get(call.id) !== "Join")) return
    const others = Array.from(this.calls.values(), ({ run }) => run).filter(
      (other): other is Run =>
        other !== undefined &&
        other !== call.run &&
        (other.phase !== "ended" || other.endedAt === this.at) &&
        this.isDuplicate(spec, call.args, other)
    )
    const other =
      (how === undefined ? undefined : others.findLast(({ stops }) => stops.has(how))) ??
      others.findLast(({ handler }) => handler !== undefined) ??
      // stopped before its handler began
      others.findLast(({ stops }) => stops.size > 0)
    if (other !== undefined) this.joinRun(call, other)
  }

  /** A run may have been stopped through a call that shares it, and has not been told anything by it yet. */
  private adoptStopped(run: Run, how: Reason): void {
    for (const call of this.calls.values()) {
      const { run: own, spec } = call
      if (call.state === "ended" || own === undefined || own === run || spec === undefined) continue
      if (own.handler !== undefined || !own.stops.has(how) || call.startedAt < (run.calls[0]?.startedAt ?? 0)) continue
      if (spec.options.onDuplicate !== "join" && this.policies.get(call.id) !== "Join") continue
      if (this.isDuplicate(spec, call.args, run)) return this.joinRun(call, run)
    }
  }

  /** speeches whose end as interrupted is still to be told */
  private readonly beingCut = new Set<string>()

  private refusal(call: Call, status: string, text: string): string | undefined {
    const { spec, step } = call
    const others =
      spec === undefined ? [] : call.runningThen.filter((other) => this.isDuplicate(spec, call.args, other))
    const mode = spec?.options.onDuplicate ?? "allow"
    const legal = (rule: string, kind: string, ok: boolean, expected: string): string => {
      this.must(
        ok && status === expected,
        rule,
        () => `call ${call.id} is refused (${kind}) as ${status} without a reason`
      )
      return kind
    }
    if (text.startsWith("Not run: a call with the id")) return legal("T11", "id", call.idTaken, "error")
    if (text.startsWith("Not run: no tools can be called"))
      return legal("M6", "none", step.toolChoice === "none", "error")
    if (text.startsWith("Not run: the answer that asked for it is not complete")) {
      const ended = step.speech === undefined || this.endedSpeeches.has(step.speech) || this.closing
      // cut between the last part of its answer and the end of that: its output may still have to stop
      if (!ended && step.speech !== undefined && this.endedWell(step)) this.beingCut.add(step.speech)
      const cut = ended || this.beingCut.has(step.speech ?? "")
      return legal("T2", "cut off", spec !== undefined && this.isHeld(spec) && (cut || !this.endedWell(step)), "error")
    }
    if (text.startsWith("There is no tool")) return legal("T4", "unknown", spec === undefined, "error")
    if (text.startsWith("Invalid arguments")) return legal("T3", "arguments", call.run === undefined, "error")
    if (/^Not run: \d+ calls wait for approval/.test(text)) {
      const waiting = Array.from(this.runs).filter((run) => run.approval === "waits")
      return legal("A1", "maxRunning wait", waiting.length >= this.config.maxRunning, "error")
    }
    if (/^Not run: \d+ calls are running/.test(text)) {
      // it is counted when it would start, which may be long after it was asked for
      const others = Array.from(this.runs).filter((run) => run !== call.run)
      return legal("T12", "maxRunning", others.length >= this.config.maxRunning, "error")
    }
    if (text.startsWith("Not run: it would have to wait for") || text.startsWith("Not run: the same call is running")) {
      return legal("P2b", "circular", this.asks > 0 || this.agents.some((agent) => agent.task), "error")
    }
    if (text.startsWith("REJ "))
      return legal("P2", "reject", mode === "reject" && (call.gated || others.length > 0), "done")
    if (text.startsWith("CONF ")) {
      return legal(
        "P2",
        "confirm",
        mode === "confirm" && call.args.confirm_duplicate !== true && (call.gated || others.length > 0),
        "done"
      )
    }
    if (text.startsWith("POLICY ")) return legal("P5", "policy", this.policies.get(call.id) === "Refuse", "done")
    if (text.startsWith("Not run: the running call cannot be replaced")) {
      const replace = mode === "replace" || this.policies.get(call.id) === "Replace"
      return legal(
        "P2",
        "not replaceable",
        replace && (call.gated || spec?.slowPolicy === true || others.length > 0),
        "error"
      )
    }
    if (text.startsWith("Not run: the call that it replaces is still stopping")) {
      return legal("P2", "still stopping", this.at >= call.startedAt + this.config.cancellationTimeout, "error")
    }
    return undefined
  }

  // ---------------------------------------------------------------------------------------------------- deliveries

  private dropped(event: EventOf<"UpdateDropped">): void {
    const delivery = this.deliveries.get(event.id)
    if (delivery === undefined) throw new Violation("U6", `${event.id} is dropped, and never was there`)
    const { call } = delivery
    if (this.maybeAgain.has(delivery)) this.isAgain(event.id)
    else if (call.waiting.length <= this.config.maxPendingUpdates) {
      for (const other of Array.from(this.maybeAgain).toReversed()) if (other.call === call) this.isAgain(other.id)
    }
    const speaks = this.modelSpeaks()
    const mayBeShown = (other: Delivery) => other.state === "silent" && (other.maybeShown || speaks)
    while (call.waiting.length > 0 && call.waiting[0] !== delivery && mayBeShown(call.waiting[0] as Delivery))
      call.waiting.shift()
    this.must(call.waiting[0] === delivery, "U6", () => `${event.id} is dropped, and ${call.waiting[0]?.id} is older`)
    this.must(
      call.waiting.length > this.config.maxPendingUpdates,
      "U6",
      () => `${event.id} is dropped, and only ${call.waiting.length} wait`
    )
    call.waiting.shift()
    call.held = call.held.filter((other) => other !== delivery)
    this.pending = this.pending.filter((other) => other !== delivery)
    this.must(
      delivery.endings.every((how) => how === "interrupted"),
      "D9",
      () => `${delivery.id} ended twice`
    )
    delivery.state = "dropped"
    for (let i = this.history.length - 1; i >= 0; i--) {
      const item = this.history[i] as Item
      if ("callId" in item && item.callId === delivery.id) {
        this.history.splice(i, 1)
        for (const agent of this.agents) if (agent.since > i) agent.since--
      }
    }
    for (const agent of this.agents) {
      agent.carried = agent.carried.filter((item) => !("callId" in item) || item.callId !== delivery.id)
    }
  }

  private target(delivery: Delivery): Agent {
    return delivery.call.owner ?? this.current
  }

  private created(event: EventOf<"SpeechCreated">): void {
    this.must(!this.closing || !this.closed, "S2", () => "a speech begins after the end")
    this.speeches.set(event.speechId, {
      id: event.speechId,
      source: event.source,
      agent: this.current,
      reply: undefined,
      acting: 0
    })
    if (event.source === "say") return
    if (event.source === "reply" && this.userState === "speaking") this.mayAnswer.add(event.speechId)
    for (const delivery of this.deliveries.values()) if (delivery.state === "silent") delivery.maybeShown = true
  }

  /**
   * What a promoted call of an inline hand-off's step ended with, before the hand-off: the call may have moved already.
   */
  private readonly unsure = new Set<Delivery>()

  /** handlers that wait for `session.run`: whose replies, calls and hand-offs are theirs is not known here */
  asks = 0

  /** It came behind the others: none of those that have begun is still under way, unless a handler may wait for it. */
  private isItsTurn(text: string): void {
    if (this.asks > 0) return
    for (const { speech: id } of this.steps) {
      const speech = id === undefined ? undefined : this.speeches.get(id)
      // a call that is queued behind the handler that runs the task waits for the user, who is to end it
      const waits =
        this.current.task &&
        this.steps.some(
          (step) => step.speech === id && step.calls.some(({ run }) => run !== undefined && this.isQueued(run))
        )
      this.must(
        speech === undefined || speech.agent.state === "paused" || waits,
        "R8",
        () => `${text} is recorded while ${id} is under way`
      )
    }
    this.count("turn behind others")
  }

  /** Nobody sleeps, and nothing more happens by itself: then nobody waits, but for the user who is to end a task. */
  goesOn(at: Snapshot): void {
    if (this.closing || this.userState === "speaking") return
    const active = Array.from(this.speeches.values()).filter((speech) => speech.agent.state !== "paused")
    if (this.current.task && active.length === 0) return
    this.must(
      active.length === 0 && at.alive.size === 0,
      "F5",
      () =>
        `neither idle nor able to move: ${active.map((speech) => speech.id).join(" ")}, handlers of ` +
        Array.from(at.alive.values(), ({ callId }) => callId).join(" ")
    )
  }

  /** calls that have asked for the floor: they may have got it before they can say so */
  private readonly asking = new Set<Run>()
  /** calls that have said that they give it back, and may still have it */
  private readonly releasing = new Set<Run>()

  /** A program holds the floor, for a task that it runs. */
  private get byProgram(): boolean {
    return this.agents.some((agent) => agent.task && agent.holder === undefined)
  }

  private mayVoice(delivery: Delivery): boolean {
    const holder = this.floors[this.floors.length - 1]
    if (this.target(delivery) !== this.current) return false
    // while a program holds the floor for its task, only what is the task's own
    if (holder === undefined && this.byProgram) return this.current.task && delivery.call.owner === this.current
    return (
      holder === undefined ||
      delivery.call.run === holder.run ||
      (this.current.holder === holder && delivery.call.owner === this.current)
    )
  }

  private templateOf(delivery: Delivery): boolean {
    return delivery.call.spec?.place === "shared"
  }

  private scheduled(event: EventOf<"ReplyScheduled">): void {
    for (const id of event.updateIds.toReversed()) this.isAgain(id)
    for (const id of event.updateIds) {
      const delivery = this.deliveries.get(id)
      if (delivery !== undefined && this.unsure.delete(delivery)) delivery.call.owner = undefined
    }
    // closing has not begun, after all; or its agent has left, and its call was promoted
    const again = Array.from(this.limbo).filter(({ id }) => event.updateIds.includes(id))
    for (const delivery of again) {
      this.limbo.delete(delivery)
      delivery.state = "waiting"
    }
    this.pending.unshift(...again)
    const surely = this.pending.filter((delivery) => this.mayVoice(delivery))
    // a call that has got the floor and not said so yet voices what it has reported itself
    const asker = this.deliveries.get(event.updateIds[0] ?? "")?.call.run
    const itsOwn = this.pending.filter(
      (delivery) => delivery.call.run === asker && this.target(delivery) === this.current
    )
    const onlyItsOwn =
      asker !== undefined &&
      (this.asking.has(asker) || this.releasing.has(asker)) &&
      same(
        event.updateIds,
        itsOwn.map((delivery) => delivery.id)
      )
    // what a call says that has asked for a hand-off waits for the new agent, unless that is there already
    const told = new Set(event.updateIds)
    const voiced = (onlyItsOwn ? itsOwn : surely).filter(
      ({ call, id }) => (call.run?.handoffs ?? 0) === 0 || told.has(id)
    )
    const first =
      this.asks > 0
        ? this.deliveries.get(event.updateIds[0] ?? "")
        : (voiced.find((delivery) => delivery.mode === "interrupt") ?? voiced[0])
    this.must(first !== undefined, "D1", () => `a reply to ${event.updateIds.join(" ")}, and nothing waits`)
    const due = voiced.filter((delivery) => this.templateOf(delivery) === this.templateOf(first as Delivery))
    // what was interrupted in this moment may wait again or not
    const items =
      this.limbo.size === 0 && this.asks === 0 ? due : event.updateIds.flatMap((id) => this.deliveries.get(id) ?? [])
    this.must(
      this.limbo.size > 0 ||
        this.asks > 0 ||
        same(
          event.updateIds,
          items.map((delivery) => delivery.id)
        ),
      "D1",
      () => `a reply covers ${event.updateIds.join(" ")}, and ${items.map((delivery) => delivery.id).join(" ")} wait`
    )
    this.must(this.userState === "listening", "F4", () => `reply ${event.replyId} starts while the user speaks`)
    const urgent = first?.mode === "interrupt"
    const holder = this.floors[this.floors.length - 1]
    // its own turn, and those of calls that share its run, perhaps without having been told anything yet
    const own = new Set(
      Array.from(this.calls.values()).flatMap(({ id, run, spec, state, step }) => {
        if (holder?.run === undefined || state !== "inline" || run === undefined) return []
        const joins = spec?.options.onDuplicate === "join" || this.policies.get(id) === "Join"
        const shares = run === holder.run || (run.handler === undefined && joins && spec === holder.spec)
        return shares ? [step.speech] : []
      })
    )
    const busy = Array.from(this.speeches.values()).filter(
      (speech) => speech.id !== event.speechId && !own.has(speech.id) && speech.agent.state !== "paused"
    )
    this.must(
      urgent || busy.length === 0 || this.asks > 0,
      "D2",
      () => `reply ${event.replyId} is scheduled while ${busy.map((speech) => speech.id).join(" ")} are there`
    )
    const reply: ReplyState = { id: event.replyId, items, act: items.some((delivery) => delivery.act) }
    this.replies.set(reply.id, reply)
    this.allReplies.push(reply)
    const speech = this.speeches.get(event.speechId ?? "")
    this.must(speech?.source === "tool-reply", "D5", () => `reply ${reply.id} has no speech`)
    if (speech !== undefined) speech.reply = reply
    const taken = new Set(items)
    this.pending = this.pending.filter((delivery) => !taken.has(delivery))
    for (const delivery of items) {
      delivery.state = "scheduled"
      delivery.call.waiting = delivery.call.waiting.filter((other) => other !== delivery)
    }
    this.count(`reply of ${items.length === 1 ? "1 item" : "several items"}${urgent ? ", urgent" : ""}`)
  }

  private replyEnded(event: EventOf<"ReplyEnded">): void {
    this.count(`reply ${event.status}`)
    for (const id of event.updateIds.toReversed()) if (event.status === "dropped") this.isAgain(id)
    if (event.status === "dropped") {
      for (const id of event.updateIds) {
        const delivery = this.deliveries.get(id)
        if (delivery === undefined) throw new Violation("D5", `${id} is dropped, and never was there`)
        this.must(
          this.pending.includes(delivery) || this.limbo.has(delivery),
          "D9",
          () => `${id} is dropped, and does not wait`
        )
        // a task that ends drops what it still had before it says that it has ended
        const target = this.target(delivery)
        if (target.task && target.state !== "ended") this.ending.add(target)
        this.must(
          this.closing || target.task || target.state === "ended",
          "D10",
          () => `${id} is dropped, and its agent is there`
        )
        this.end(delivery, "dropped")
      }
      return
    }
    const reply = this.replies.get(event.replyId)
    if (reply === undefined) throw new Violation("D5", `reply ${event.replyId} ended, and was not scheduled`)
    this.replies.delete(event.replyId)
    this.must(
      same(
        event.updateIds,
        reply.items.map((delivery) => delivery.id)
      ),
      "D5",
      () => `reply ${event.replyId} ends with other items than it began`
    )
    // what an output has failed waits for one that plays, and nobody is told so (rule O5)
    const broken = this.isBroken
    const known = this.hasBegun(reply)
    const begun = broken && known !== true ? undefined : known
    if (event.status === "interrupted") this.count(`reply cut, ${begun === false ? "not " : ""}begun`)
    const again: Array<Delivery> = []
    for (const delivery of reply.items) {
      const open = (event.status === "interrupted" || broken) && this.target(delivery).state !== "ended"
      const redeliver = open && !broken && (this.config.onInterruptedReply === "redeliver" || begun === false)
      if (redeliver && !this.closing) {
        delivery.state = "waiting"
        delivery.mode = "when-idle"
        delivery.endings.push("interrupted")
        delivery.interruptedAt = this.at
        again.push(delivery)
      } else {
        this.end(delivery, open && broken ? "interrupted" : event.status)
        if (open && (begun === undefined || broken)) this.maybeAgain.add(delivery)
        // closing began a moment ago, or is about to begin
        if (redeliver) this.limbo.add(delivery)
      }
    }
    this.pending.unshift(...again)
    for (const delivery of again.toReversed()) if (delivery.kind === "update") delivery.call.waiting.unshift(delivery)
  }

  /** What of a reply that was interrupted may wait again, since it is not known here whether anything was heard of it. */
  private readonly maybeAgain = new Set<Delivery>()

  /** Something of it was heard, or it has made a call (rule O5); undefined: that is not known here. */
  private hasBegun(reply: ReplyState): boolean | undefined {
    const steps = this.steps.filter((step) => step.reply === reply)
    if (steps.some((step) => step.calls.length > 0)) return true
    if (steps.some((step) => step.asked.length > 0) || this.config.languageModel) return undefined
    const texts = steps.flatMap((step) => step.texts).filter((text) => text.given !== "")
    if (texts.length === 0) return false
    // one that an output played without a report was heard, too
    if (texts.some(({ recorded }) => recorded)) return true
    // text that counts as played at once does so only while its speech may be played
    if (this.config.pace === undefined) return undefined
    const pieces = texts.flatMap((text) => this.played.get(text.name)?.pieces ?? [])
    return pieces.length === 0 ? false : pieces.length > 1 ? true : undefined
  }

  /** What an output has failed may wait, at rest too, until something is played (rule O5). */
  mayWait(id: string): boolean {
    return Array.from(this.maybeAgain).some((delivery) => delivery.id === id || delivery.call.id === id)
  }

  private isAgain(id: string): void {
    const delivery = this.deliveries.get(id)
    if (delivery === undefined || !this.maybeAgain.delete(delivery)) return
    delivery.state = "waiting"
    delivery.mode = "when-idle"
    this.pending.unshift(delivery)
    if (delivery.kind === "update") delivery.call.waiting.unshift(delivery)
  }

  private end(delivery: Delivery, how: string): void {
    this.must(
      delivery.endings.every((before) => before === "interrupted"),
      "D9",
      () => `${delivery.id} ended as ${delivery.endings.join(" ")} and ${how}`
    )
    delivery.endings.push(how)
    delivery.state = "ended"
    delivery.call.waiting = delivery.call.waiting.filter((other) => other !== delivery)
    this.pending = this.pending.filter((other) => other !== delivery)
  }

  // -------------------------------------------------------------------------------------------------------- agents

  handoffAsked = false
  private readonly ending = new Set<Agent>()

  private handedOff(event: EventOf<"AgentHandoff">): void {
    const from = this.current
    this.must(event.from === from.name, "S4", () => `${event.from} hands off, and ${from.name} is there`)
    this.count(`hand-off ${baseName(event.from ?? "")} → ${baseName(event.to)}`)
    this.handoffAsked = true
    if (baseName(event.to) === "task" && this.agents.every((agent) => agent.name !== event.to)) {
      from.state = "paused"
      const task = this.agent(event.to, this.floors[this.floors.length - 1])
      this.agents.push(task)
      return
    }
    from.state = "ended"
    if (from.task) {
      this.agents.pop()
      this.must(
        event.to === this.current.name,
        "S7",
        () => `the task ends, and ${event.to} is not ${this.current.name}`
      )
      this.current.state = "current"
      for (const speech of this.speeches.values()) if (speech.agent === from) speech.agent = this.current
    } else {
      const to = this.agent(event.to, undefined)
      if (baseName(event.to) === "second" && this.config.secondContext === "empty") {
        to.since = this.history.length - 1
        const ids = new Set(this.pending.map((delivery) => delivery.id))
        to.carried = this.history.filter((item) => "callId" in item && ids.has(item.callId))
        for (const { id } of this.maybeAgain) to.maybeCarried.add(id)
      }
      this.agents[this.agents.length - 1] = to
      for (const speech of this.speeches.values()) if (speech.agent === from) speech.agent = to
      const asked = /#h(\d+)\./.exec(event.to)?.[1]
      for (const call of this.calls.values()) {
        if (asked !== undefined && call.run?.handler === Number(asked)) this.toSession(call.run)
      }
    }
    // interrupted because its agent ends, a reply is not given again
    for (const delivery of this.pending.filter((other) => other.call.owner === from)) {
      if (delivery.endings.length === 0 || delivery.interruptedAt !== this.at) continue
      delivery.state = "ended"
      this.limbo.add(delivery)
      this.pending = this.pending.filter((other) => other !== delivery)
      delivery.call.waiting = delivery.call.waiting.filter((other) => other !== delivery)
    }
    for (const delivery of this.pending) {
      const { owner, run, spec } = delivery.call
      if (owner === from && spec?.options.onHandoff === "promote" && run?.phase === "ended") this.unsure.add(delivery)
    }
    for (const run of this.runs) {
      if (run.owner !== from) continue
      run.stops.add("drained")
      const how = run.spec.options.onHandoff ?? (run.spec.options.allowCancellation === true ? "cancel" : "await")
      if (how === "promote") this.toSession(run)
    }
  }

  private toSession(run: Run): void {
    for (const call of run.calls) call.owner = undefined
    run.owner = undefined
  }

  // ---------------------------------------------------------------------------------------------------------- at rest

  /** All fibers wait: what should have happened has happened. */
  settled(at: Snapshot): void {
    this.releasing.clear()
    this.must(this.tells.size === 0, "G1", () => `no event tells of ${Array.from(this.tells).map(show).join(" ")}`)
    this.must(this.next.length === 0, "U2", () => "something that had to come at once has not come")
    this.must(
      at.history.length === this.history.length && at.history.every((item, i) => item.id === this.history[i]?.id),
      "E1",
      () => `the history has other items than the events told`
    )
    const running = Array.from(this.calls.values()).filter((call) => call.state !== "ended" && call.run !== undefined)
    this.must(
      same(
        at.running.map((call) => call.callId),
        running.map((call) => call.id)
      ),
      "C4",
      () =>
        `runningTools are ${at.running.map((call) => call.callId).join(" ")}, and ${running.map((call) => call.id).join(" ")} run`
    )
    for (const tool of at.running) {
      const call = this.call(tool.callId, "C4")
      const run = call.run as Run
      // it may have joined another one
      if (run.handler === undefined) continue
      this.must(
        tool.allowCancellation === (run.spec.options.allowCancellation === true && !run.committed),
        "C4",
        () => `runningTools say of ${call.id} that allowCancellation is ${tool.allowCancellation}`
      )
      this.must(at.alive.has(run.handler), "C4", () => `call ${call.id} counts as running, and its handler has ended`)
    }
    for (const [handler, { callId }] of at.alive) {
      const call = this.calls.get(callId)
      this.must(
        call?.run?.handler === handler && call.run.phase === "working",
        "S2",
        () => `the handler of ${callId} is alive, and the call has ended`
      )
    }
    for (const task of this.ending) {
      this.must(task.state === "ended" || this.closing, "D10", () => `${task.name} dropped what waited, and goes on`)
    }
    this.clear()
    const untold = this.steps.find((step) => step.state !== "open" && step.over !== true)
    this.must(
      untold === undefined || this.config.languageModel,
      "B4",
      () => `step ${untold?.index} ended, and nothing tells of it`
    )
    // outputs that are due are in the history
    for (const step of this.steps) {
      if (step.state === "open" || step.calls.some((call) => !call.callRecorded)) continue
      // what was heard of a text that was cut comes first
      if (step.cut === true && at.playing > 0) continue
      for (const call of step.calls) {
        if (call.output === undefined) break
        this.must(call.outputRecorded, "T2", () => `the output of ${call.id} is not recorded`)
      }
    }
    for (const run of this.runs) {
      if (run.phase !== "admitting" || run.handler !== undefined) continue
      const [active, place, limit] = this.activeKey(run)
      const waits =
        (active.get(place) ?? 0) >= limit ||
        run.spec.slowPolicy ||
        run.spec.options.onDuplicate === "replace" ||
        run.spec.options.onDuplicate === "join" ||
        run.approval === "waits" ||
        // it may be that its policy has not said yet
        (run.spec.approval === "slow" && run.approval === undefined) ||
        run.calls.some((call) => call.gated)
      this.must(waits, "T12", () => `call ${run.calls[0]?.id} could run, and does not`)
    }
    for (const call of this.calls.values()) {
      const certain = call.waiting.filter((delivery) => !(delivery.state === "silent" && delivery.maybeShown))
      this.must(
        certain.length <= this.config.maxPendingUpdates,
        "U6",
        () => `${certain.map((delivery) => delivery.id).join(" ")} wait, and ${this.config.maxPendingUpdates} may`
      )
    }
    this.must(
      at.streaming <= 1 || this.config.languageModel || this.claims > 0,
      "F1",
      () => `${at.streaming} model steps are read at once`
    )
    this.must(at.playing <= 1, "F1", () => `${at.playing} speeches are played at once`)
    if (this.closing || at.switching) return
    this.progress(at)
  }

  /** Nothing stalls: what may go on has gone on. */
  private progress(at: Snapshot): void {
    const active = Array.from(this.speeches.values()).filter((speech) => speech.agent.state !== "paused")
    const mouth = at.streaming > 0 || at.playing > 0
    if (!mouth) {
      const inline = Array.from(this.calls.values()).filter((call) => call.output === undefined)
      // while the user has the floor only what was sent in it goes on (rule O1)
      const goingOn = this.userState === "speaking" ? active.filter((speech) => this.mayGoOn(speech.id)) : active
      const waiting = goingOn.filter((speech) => speech.source !== "say")
      // a hand-off waits for what has given the mouth back in the middle of a step, and so does the turn that asked
      const handing = this.claims > 0 && Array.from(this.calls.values()).some(({ run }) => (run?.handoffs ?? 0) > 0)
      this.must(
        (this.userState === "speaking" && handing) ||
          (goingOn.length === waiting.length && (waiting.length === 0 || inline.length > 0)),
        "F1",
        () => `nobody speaks, and ${goingOn.map((speech) => speech.id).join(" ")} wait for nothing`
      )
    }
    const unanswered = Array.from(this.calls.values()).some((call) => call.output === undefined)
    // one that waits for idle, where somebody holds the floor or the user speaks, comes first
    const held = this.floors.length > 0 || this.byProgram
    // so does what has given the mouth back to the user in the middle of a step
    const behind = this.userState === "speaking" || (this.handoffAsked && held)
    this.must(mouth || unanswered || behind || at.handoffs === 0, "S4", () => `nobody speaks, and a hand-off waits`)
    const idle = active.length === 0 && this.userState === "listening" && this.floors.length === 0 && !mouth
    if (!idle) return
    // what a call says that has asked for a hand-off is the new agent's, which comes once the task of a program has ended
    const voiced = this.pending.filter(
      (delivery) => this.mayVoice(delivery) && !(this.byProgram && (delivery.call.run?.handoffs ?? 0) > 0)
    )
    this.must(voiced.length === 0, "D2", () => `the session is idle, and ${voiced.map((d) => d.id).join(" ")} wait`)
    // a program holds the floor: others wait until its task has ended
    if (this.byProgram) return
    const lost = this.pending.filter((delivery) => this.target(delivery).state === "ended")
    this.must(lost.length === 0, "D10", () => `${lost.map((d) => d.id).join(" ")} wait for an agent that has ended`)
    this.must(at.waiters === 0, "F1", () => `the session is idle, and ${at.waiters} still wait for it`)
    this.must(
      at.floorWaiters.length === 0,
      "F5",
      () => `the session is idle, and ${at.floorWaiters.join(" ")} get no floor`
    )
  }
}

export type Options = AsyncTool.Options
