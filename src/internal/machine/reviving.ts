/**
 * A durable session that is opened again: the state is made of what is stored, and goes on from there (rules Q). Nothing is
 * told twice: what had a start event has none again. What is found to have ended is told once somebody listens.
 */
import * as Calls from "./calls.js"
import { type Durable, type Life, lifeOf, partId } from "./durable.js"
import * as History from "./history.js"
import * as Jobs from "./jobs.js"
import type { Decoded, ModelFailure } from "./protocol.js"
import * as Speech from "./speech.js"
import {
  type Activity,
  Background,
  type Call,
  command,
  type Delivery,
  emit,
  Inline,
  type Job,
  none,
  observe,
  type Reply,
  type Run,
  type Speech as SpeechState,
  type State,
  type Step,
  type Tool,
  type Turn,
  Waiting
} from "./state.js"
import type {
  Stored,
  StoredAnswer,
  StoredCall,
  StoredReport,
  StoredRun,
  StoredSession,
  StoredSpeech
} from "./stored.js"
import { invalidArguments, unknownTool } from "./texts.js"
import { lose, refuse } from "./updates.js"
import type { ChatItem } from "./words.js"

/** What the shell has made of what is stored. */
export interface Revival {
  readonly stored: Stored
  readonly session: StoredSession
  readonly base: Activity
  /** to whom the session is being handed */
  readonly next: Activity | undefined
  /** agents that have left, and whose calls go on */
  readonly others: ReadonlyMap<string, Activity>
  /** arguments by the schemas that there are now, by call; none: there is no such tool any more */
  readonly decoded: ReadonlyMap<string, Decoded>
  /** what calls were told, by run, as their handlers get it */
  readonly letters: ReadonlyMap<string, ReadonlyArray<{ readonly message: unknown; readonly value: unknown }>>
  readonly mayRerun: (tool: Tool) => boolean
  readonly isIdempotent: (tool: Tool) => boolean
  readonly failureOf: (stored: {
    readonly tag: string
    readonly message: string
    readonly errorType: string
    readonly malformed: boolean
  }) => ModelFailure
}

/** Before anything of the session is built: its history, and no id twice. */
export const recall = (s: State, durable: Durable, { items, session }: Stored): void => {
  History.restore(
    s,
    items.map(({ item }) => item)
  )
  for (const { item, number, turns } of items) {
    durable.numbers.push(number)
    durable.number = Math.max(durable.number, number)
    if (turns !== undefined) durable.turnsOf.set(item, turns)
  }
  durable.safe = s.history.length
  if (session === undefined) return
  s.itemId = Math.max(s.itemId, session.itemId)
  s.seq = session.seq
  s.speechId = session.speechId
  s.replyId = session.replyId
  s.actSteps = session.actSteps
}

/** The rows that the next look compares with, so that what is gone is deleted. */
export const remember = (
  durable: Durable,
  rows: ReadonlyArray<{ readonly kind: string; readonly id: string; readonly data: unknown }>
): void => {
  for (const { data, id, kind } of rows) {
    if (!looked.has(kind)) continue
    durable.live.set(`${kind}/${id}`, { kind, id, text: JSON.stringify(data), look: 0 })
  }
}

const looked: ReadonlySet<string> = new Set(["session", "speech", "answer", "call", "run", "report", "turn"])

/** Which tool a stored call has now. */
export const toolOf = (
  { home, name }: Pick<StoredCall, "home" | "name">,
  base: Activity,
  others: ReadonlyMap<string, Activity>
): Tool | undefined => {
  if (home === undefined || home === null) return undefined
  if (home === "session") {
    const tool = base.tools.get(name)
    return tool !== undefined && (tool.kind === "companion" || tool.executor.activity === undefined) ? tool : undefined
  }
  const agent = home.slice("agent ".length)
  const activity = agent === base.name ? base : others.get(agent)
  const tool = activity?.tools.get(name)
  return tool?.executor.activity === activity ? tool : undefined
}

/** The agents, beside the current one, whose calls are still at work. */
export const othersOf = ({ calls, session }: Stored): ReadonlySet<string> => {
  const names = new Set<string>()
  for (const { home, known } of calls.values())
    if (known && home?.startsWith("agent ") === true) names.add(home.slice(6))
  names.delete(session?.agents[0]?.name ?? "")
  return names
}

export const revive = (s: State, durable: Durable, given: Revival): void => new Revived(s, durable, given).revive()

class Revived {
  private readonly items = new Map<string, ChatItem>()
  private readonly jobs = new Map<string, Job>()
  private readonly speeches = new Map<string, SpeechState>()
  private readonly steps = new Map<string, Step>()
  private readonly calls = new Map<string, Call>()
  private readonly deliveries = new Map<string, Delivery>()
  private readonly runs = new Map<string, Run>()

  constructor(
    private readonly s: State,
    private readonly durable: Durable,
    private readonly given: Revival
  ) {}

  revive(): void {
    const { s } = this
    const { stored } = this.given
    for (const item of s.history) this.items.set(item.id, item)
    this.agents()
    for (const [id, turn] of stored.turns) {
      const job = Jobs.make()
      this.durable.turnOf.set(job, id)
      this.jobs.set(id, job)
      job.text = turn.text
      job.usage = turn.usage
      job.approvals = turn.approvals
      if (turn.failure !== undefined) job.failure = this.given.failureOf(turn.failure)
    }
    for (const item of s.history) {
      for (const id of this.durable.turnsOf.get(item) ?? none) this.jobs.get(id)?.items.push(item)
    }
    const speeches = Array.from(stored.speeches).sort(([, one], [, other]) => one.seq - other.seq)
    for (const [id, speech] of speeches) this.speech(id, speech)
    for (const [id, answer] of stored.answers) this.step(id, answer)
    const calls = Array.from(stored.calls).sort(([, one], [, other]) => one.order - other.order)
    for (const [id, call] of calls) this.call(id, call)
    for (const [id, answer] of stored.answers) {
      for (const callId of answer.calls) {
        const call = this.calls.get(callId)
        if (call !== undefined) this.steps.get(id)?.calls.push(call)
      }
    }
    const reports = Array.from(stored.reports).sort(([, one], [, other]) => one.seq - other.seq)
    for (const [id, report] of reports) this.report(id, report)
    for (const [id, speech] of speeches) this.reply(id, speech)
    this.turns()
    // all is open that is: what ends from here on ends its turns
    this.openJobs(calls)
    this.endTasks()
    this.handoff()
    s.unsaid = this.given.session.unsaid.map(({ author, turns, ...input }) => ({
      input,
      author,
      jobs: this.jobsOf(turns)
    }))
    for (const [id, speech] of speeches) this.goOn(id, speech)
    // what had ended, and waited for the end of its step
    for (const step of this.steps.values()) Speech.flushOutputs(s, step)
    const runs = Array.from(stored.runs).sort(([one], [other]) => this.orderOf(one) - this.orderOf(other))
    this.work(runs)
    for (const [id, call] of calls) this.without(id, call)
    for (const other of this.given.others.values()) {
      // else the last of its calls that was found to have ended has closed it
      const closes = s.commands.some((one) => one._tag === "CloseAgent" && one.activity === other)
      if (other.running === 0 && !closes) command(s, { _tag: "CloseAgent", activity: other })
    }
    for (const turn of s.turns.values()) {
      if (turn.endedAt !== undefined) continue
      Jobs.open([turn.job])
      Jobs.close(s, [turn.job])
    }
  }

  private orderOf(run: string): number {
    return this.given.stored.calls.get(run)?.order ?? 0
  }

  private jobsOf(turns: ReadonlyArray<string> | undefined): ReadonlyArray<Job> {
    if (turns === undefined) return none
    return turns.flatMap((id) => this.jobs.get(id) ?? [])
  }

  private agent(name: string | null | undefined): Activity | undefined {
    if (name === null || name === undefined) return undefined
    return name === this.given.base.name ? this.given.base : this.given.others.get(name)
  }

  // ------------------------------------------------------------------------------------------------------ agents

  private agents(): void {
    const { s } = this
    const { base, others, session } = this.given
    const [before] = s.agents.splice(0)
    s.agents.push(base)
    base.state = "current"
    const [first] = session.agents
    base.since = first?.since ?? 0
    base.carried = (first?.carried ?? none).flatMap((id) => this.items.get(id) ?? [])
    this.durable.entered = session.entered
    for (const other of others.values()) other.state = "ended"
    if (before !== undefined) for (const speech of s.speeches) if (speech.agent === before) speech.agent = base
    if (!session.entered) command(s, { _tag: "EnterAgent", activity: base, jobs: [] })
  }

  /** A task is begun again by its handler (rule Q16). */
  private endTasks(): void {
    const { agents } = this.given.session
    for (let i = agents.length - 1; i > 0; i--) {
      const from = agents[i]?.name
      const to = agents[i - 1]?.name as string
      History.add(this.s, { _tag: "AgentHandoff", from, to, task: true })
      emit(this.s, { _tag: "AgentHandoff", from, to })
    }
  }

  private handoff(): void {
    const { s } = this
    const { next, session } = this.given
    const { handoff } = session
    if (handoff === undefined || next === undefined) return
    const call = handoff.call === undefined ? undefined : this.calls.get(handoff.call)
    const jobs = this.jobsOf(handoff.turns)
    const when = call === undefined ? "now" : handoff.when
    const made = { to: next, call, when, jobs, resume: undefined }
    Jobs.open(jobs)
    if (!handoff.left) {
      s.handoff = made
      return
    }
    // neither does its `onExit` run again (rule Q18)
    s.leavingSince = ++s.seq
    s.entering = made
  }

  // ---------------------------------------------------------------------------------------------------- speeches

  private speech(id: string, stored: StoredSpeech): void {
    const { priority } = stored
    const speech = Speech.revived(this.s, id, stored.seq, {
      source: stored.source,
      agent: this.agent(stored.agent) ?? this.given.base,
      priority: typeof priority === "number" ? priority : priority === "NaN" ? 0 : Number(priority),
      allowInterruptions: stored.allowInterruptions,
      userTurn: stored.userTurn,
      opening: stored.opening === undefined ? undefined : { ...stored.opening, author: stored.opening.author },
      text: stored.text,
      instructions: stored.instructions,
      toolChoice: stored.toolChoice,
      jobs: this.jobsOf(stored.turns)
    })
    speech.toolSteps = stored.toolSteps
    speech.retried = stored.retried
    speech.refused = stored.refused
    speech.pauses = stored.pauses
    speech.continues = stored.continues
    speech.said = stored.said
    speech.begun = stored.begun
    speech.usage = stored.usage
    speech.items = stored.items.flatMap((item) => this.items.get(item) ?? [])
    this.speeches.set(id, speech)
    this.s.speeches.add(speech)
    observe(this.s, { _tag: "SpeechCreated", speech })
  }

  /** A speech that is over, of which calls are still open. */
  private past(id: string, agent: Activity): SpeechState {
    let speech = this.speeches.get(id)
    if (speech === undefined) {
      speech = Speech.revived(this.s, id, 0, { source: "reply", agent })
      speech.state = "ended"
      this.speeches.set(id, speech)
    }
    return speech
  }

  private step(id: string, stored: StoredAnswer): void {
    const agent = this.agent(stored.agent) ?? this.given.base
    const speech = this.past(stored.speech, agent)
    const step = Speech.revivedStep(speech, stored.index, stored.toolChoice, {
      agent,
      from: stored.from,
      continues: stored.continues,
      finish: stored.finish,
      complete: stored.complete,
      played: stored.played,
      handoff: stored.handoff,
      reasoningLost: stored.reasoningLost,
      nextOutput: stored.nextOutput,
      calls: []
    })
    this.steps.set(id, step)
    if (this.given.stored.speeches.get(stored.speech)?.step === id) speech.step = step
  }

  /** What had been played is recorded, and each speech goes on where it can (rules Q5, Q6). */
  private goOn(id: string, stored: StoredSpeech): void {
    const { s } = this
    const speech = this.speeches.get(id) as SpeechState
    const answer = stored.step === undefined ? undefined : this.given.stored.answers.get(stored.step)
    const step = stored.step === undefined ? undefined : this.steps.get(stored.step)
    if (answer === undefined || step === undefined) {
      // a stream cannot be said again
      if (speech.source === "say" && typeof speech.text !== "string") return this.cut(speech)
      return Speech.enqueue(s, speech)
    }
    const heard = this.record(speech, step, answer)
    const begun = heard.any || (stored.spoke && !answer.instant)
    if (stored.agent === null || stored.ends) return this.cut(speech)
    // it came back from its calls, and waits for the mouth
    if (stored.state === "queued" && answer.played) return Speech.enqueue(s, speech)
    if (answer.played || answer.calls.length > 0) {
      speech.state = "waiting"
      return
    }
    if (heard.whole && answer.streamEnded) return Speech.end(s, speech)
    // a reply that was being said (rule Q5)
    if (speech.reply !== undefined && begun) return this.cut(speech)
    if (speech.source === "say" && typeof speech.text !== "string") return this.cut(speech)
    for (const item of speech.items.slice(answer.from)) History.cut(s, item)
    speech.items = speech.items.map((item) => History.find(s, item.id) ?? item)
    this.askAgain(speech, step)
  }

  private cut(speech: SpeechState): void {
    speech.interrupted = true
    Speech.end(this.s, speech)
  }

  private askAgain(speech: SpeechState, step: Step): void {
    speech.step =
      step.index === 0
        ? undefined
        : Speech.revivedStep(speech, step.index - 1, step.toolChoice, {
            agent: step.agent,
            played: true,
            from: step.from
          })
    speech.continues = step.continues
    Speech.enqueue(this.s, speech)
  }

  /** The step is over: what was heard of it, and what it had asked for, is in the history from here on. */
  private record(speech: SpeechState, step: Step, answer: StoredAnswer): { any: boolean; whole: boolean } {
    const heard = { any: speech.items.length > answer.from, whole: true }
    if (answer.played) return heard
    const asked = new Set(answer.calls)
    let cut = false
    for (const entry of answer.entries) {
      if (entry._tag === "Text") {
        const said = !cut && entry.played.trim() !== ""
        if (said) {
          heard.any = true
          const metadata = entry.metadata === undefined ? {} : { metadata: entry.metadata }
          History.add(
            this.s,
            { _tag: "Message", role: "assistant", text: entry.played, interrupted: !entry.whole, ...metadata },
            speech
          )
        }
        if (!entry.whole) {
          heard.whole = false
          cut = true
        }
        // what the provider ran is asked for again with the step
      } else if (asked.size > 0) {
        // a call of the provider's own is known by nobody else
        if (!asked.has(entry.callId)) this.s.callIds.set(entry.callId, entry._tag === "Call" ? "provider" : "call")
        Speech.recordCall(this.s, step, entry._tag === "Call" ? { ...entry, metadata: entry.metadata } : entry)
      }
    }
    step.played = true
    return heard
  }

  // ------------------------------------------------------------------------------------------------------- calls

  private call(callId: string, stored: StoredCall): void {
    const { s } = this
    const { base, others } = this.given
    const agent = this.agent(stored.agent) ?? base
    const tool = toolOf(stored, base, others)
    const own = stored.step === undefined ? undefined : this.steps.get(stored.step)
    const step = own ?? this.pastStep(stored, agent)
    const { name } = stored
    const call: Call = {
      ...Calls.makeCall(s, step, { callId, name, arguments: stored.arguments }, tool, stored.metadata),
      startedAt: stored.startedAt,
      jobs: this.jobsOf(stored.turns),
      owner: stored.owner === undefined ? undefined : this.agent(stored.owner),
      state:
        stored.state === "Ended"
          ? { _tag: "Ended", status: stored.status ?? "error" }
          : stored.state === "Inline"
            ? Inline
            : Background,
      output:
        stored.output === undefined
          ? undefined
          : { ...stored.output, files: stored.output.files, open: stored.output.open },
      admitted: true,
      recorded: stored.recorded,
      updates: stored.updates,
      reported: stored.reported
    }
    this.calls.set(callId, call)
    if (own === undefined) step.calls.push(call)
    this.durable.orders.set(call, stored.order)
    this.durable.order = Math.max(this.durable.order, stored.order)
    if (stored.known) s.calls.set(callId, call)
    if (!stored.recorded) s.unrecorded.set(callId, call)
    if (!s.callIds.has(callId)) s.callIds.set(callId, "call")
    if (stored.known) observe(s, { _tag: "CallStarted", call })
  }

  /** Of a call that is in the history: its step is over. */
  private pastStep({ speech }: StoredCall, agent: Activity): Step {
    const more = { agent, played: true, complete: true, nextOutput: 1, calls: [] }
    return Speech.revivedStep(this.past(speech, agent), 0, "auto", more)
  }

  private report(id: string, stored: StoredReport): void {
    const { s } = this
    const call = this.calls.get(stored.call)
    if (call === undefined) return
    const delivery: Delivery = {
      id,
      call,
      kind: stored.kind,
      value: stored.value,
      isError: stored.isError,
      files: stored.files,
      mode: stored.mode,
      act: stored.act,
      seq: stored.seq,
      at: stored.at,
      state: stored.where === "silent" ? { _tag: "Ended", how: "silent" } : Waiting,
      cutTried: false,
      written: stored.written,
      voiced: false
    }
    s.callIds.set(id, "pair")
    this.deliveries.set(id, delivery)
    if (stored.waiting) call.waiting = [...call.waiting, delivery]
    if (stored.where === "held") call.held = [...call.held, delivery]
    else if (stored.where === "silent") s.silent.push(delivery)
    else if (stored.where === "parked") s.parked = [...s.parked, delivery]
    else if (stored.where === "pending") this.wait(delivery)
  }

  private wait(delivery: Delivery): void {
    this.s.pending.add(delivery)
    if (delivery.mode === "interrupt") this.s.urgent++
  }

  private reply(id: string, { reply: stored }: StoredSpeech): void {
    const speech = this.speeches.get(id) as SpeechState
    if (stored === undefined) return
    const items = stored.items.flatMap((item) => this.deliveries.get(item) ?? [])
    const reply: Reply = { id: stored.id, items, ids: stored.items, act: stored.act, speech }
    for (const delivery of items) delivery.state = { _tag: "Scheduled", reply }
    speech.reply = reply
  }

  // ------------------------------------------------------------------------------------------------------- turns

  private turns(): void {
    const { s } = this
    const numberOf = (speech: string): number => Number(speech.replace(/^\D*/, ""))
    const turns = Array.from(this.given.stored.turns.values()).sort(
      (one, other) => numberOf(one.speech) - numberOf(other.speech)
    )
    for (const { endedAt, id, input, speech } of turns) {
      const job = this.jobs.get(id) as Job
      const of = this.past(speech, this.given.base)
      if (of.state === "ended") {
        of.items = job.items.slice()
        of.failure = job.failure
      }
      const turn: Turn = { id, input, speech: of, job, endedAt }
      s.turns.set(id, turn)
    }
  }

  private openJobs(calls: ReadonlyArray<readonly [string, StoredCall]>): void {
    for (const speech of this.s.speeches) if (this.speeches.has(speech.id)) Jobs.open(speech.jobs)
    for (const [callId, stored] of calls) {
      const waits = stored.run !== undefined && this.given.stored.runs.get(stored.run)?.approval !== undefined
      if (stored.known && !waits) Jobs.open((this.calls.get(callId) as Call).jobs)
    }
    for (const delivery of this.deliveries.values()) {
      const { state } = delivery
      if (state._tag === "Scheduled" || this.s.pending.has(delivery)) Jobs.open(delivery.call.jobs)
    }
  }

  // -------------------------------------------------------------------------------------------------------- runs

  private work(all: ReadonlyArray<readonly [string, StoredRun]>): void {
    // who had begun is at work before anybody else begins, and who waits has its place before anybody is asked for
    const places = [
      (one: StoredRun) => one.phase === "working",
      (one: StoredRun) => one.phase === "queued",
      (one: StoredRun) => one.approval !== undefined
    ]
    const placeOf = (one: StoredRun): number => {
      const place = places.findIndex((is) => is(one))
      return place < 0 ? places.length : place
    }
    for (let place = 0; place <= places.length; place++) {
      for (const [id, stored] of all) if (placeOf(stored) === place) this.run(id, stored)
    }
  }

  private waitOn(run: Run, { expiresAt, reason, replaces, requestedAt }: NonNullable<StoredRun["approval"]>): void {
    const others = replaces.flatMap((id) => this.runs.get(id) ?? [])
    Calls.askAgain(this.s, run, others, {
      requestedAt,
      ...(reason === undefined ? {} : { reason }),
      ...(expiresAt === undefined ? {} : { expiresAt })
    })
  }

  private run(id: string, stored: StoredRun): void {
    const { s } = this
    const { decoded, isIdempotent, mayRerun } = this.given
    const calls = stored.calls.flatMap((callId) => this.calls.get(callId) ?? [])
    const [first] = calls
    const tool = first?.tool
    const args = decoded.get(id)
    if (first === undefined || tool === undefined || args?._tag !== "Decoded") {
      this.forget(id)
      return this.unfit(calls, stored, args)
    }
    const lost = stored.phase === "working" ? this.isLost(id, stored, tool, mayRerun(tool), isIdempotent(tool)) : false
    const timedOut =
      stored.phase === "working" && !stored.committed && tool.timeout !== undefined && stored.begunAt !== undefined
        ? s.now - stored.begunAt >= tool.timeout
        : false
    const stop = stored.stop ?? (timedOut ? "timeout" : undefined)
    const ends = stored.phase === "working" && (lost || (stop !== undefined && !this.hasSteps(id)))
    const goesOn = stored.phase === "working" || stored.phase === "queued"
    const run = Calls.enlist(s, calls, tool, {
      phase: stored.phase === "held" ? "held" : goesOn && !ends ? stored.phase : "admitting",
      owner: first.owner,
      params: args.params,
      argsKey: args.key,
      stop,
      committed: stored.committed,
      updated: stored.updated,
      silent: stored.silent,
      lastUpdate: stored.lastUpdate,
      lastIsText: stored.lastIsText,
      lastFiles: stored.lastFiles,
      lastTemplate: stored.lastTemplate,
      queuedAt: stored.queuedAt
    })
    this.runs.set(id, run)
    this.life(id, stored, run, stop !== undefined)
    // what one that does not go on was told it may have read
    if (!ends) this.letters(id, run)
    if (lost) return Calls.loseRun(s, run)
    if (ends) return Calls.endRun(s, run, { _tag: "Interrupted", reason: stop ?? "cancelled" })
    switch (stored.phase) {
      case "working":
        return Calls.workAgain(s, run)
      case "queued":
        return Calls.queueAgain(s, run)
      case "held": {
        first.admitted = false
        first.decoded = args
        if (!s.holding.includes(first.step)) s.holding = [...s.holding, first.step]
        return
      }
      default: {
        if (stored.approval !== undefined) return this.waitOn(run, stored.approval)
        // it is decided anew (rule Q15)
        first.admitted = false
        first.step.nextAdmission = 0
        Calls.decoded(s, first, args)
      }
    }
  }

  private isLost(id: string, stored: StoredRun, _tool: Tool, mayRerun: boolean, isIdempotent: boolean): boolean {
    if (stored.companion) return !mayRerun
    const commits = this.given.stored.commits.filter(({ run }) => run === id)
    const open = commits.some(({ ended, kept }) => !ended || kept === false)
    if (open && !isIdempotent) return true
    return !mayRerun
  }

  private hasSteps(id: string): boolean {
    return this.given.stored.steps.some(({ run }) => run === id)
  }

  /** Its tool is gone, or takes its arguments no longer (rules Q17, A10). */
  private unfit(calls: ReadonlyArray<Call>, stored: StoredRun, args: Decoded | undefined): void {
    const [first] = calls
    // nobody is to decide about it any more
    if (stored.approval !== undefined && first !== undefined) {
      emit(this.s, { _tag: "ApprovalDecided", callId: first.callId, decision: "withdrawn" })
    }
    for (const call of calls) {
      call.run = undefined
      if (stored.approval === undefined) lose(this.s, call)
      else if (args?._tag === "Invalid") {
        refuse(this.s, call, "invalid_arguments", invalidArguments(call.call.name, args.problem))
      } else refuse(this.s, call, "unknown_tool", unknownTool(call.call.name, Array.from(this.given.base.tools.keys())))
    }
  }

  private life(id: string, stored: StoredRun, run: Run, stops: boolean): void {
    const all = this.given.stored
    const life: Life = lifeOf(this.durable, run)
    life.attempt = stored.phase === "working" ? stored.attempt + 1 : stored.attempt
    life.begunAt = stored.begunAt
    life.replays = stops && stored.phase === "working"
    life.handoffs.push(...stored.handoffs)
    for (const told of all.told) if (told.run === id) life.told.push({ key: told.key, digest: told.of })
    for (const step of all.steps) {
      if (step.run === id) life.steps.set(step.name, "value" in step ? { value: step.value } : {})
    }
    for (const commit of all.commits) {
      if (commit.run !== id) continue
      life.commits[commit.n] = commit.ended
        ? { _tag: "Ended", kept: commit.kept === true, ...("value" in commit ? { value: commit.value } : {}) }
        : { _tag: "Begun" }
    }
    for (const { message } of this.given.letters.get(id) ?? none) life.letters.push(message)
  }

  /** A handler that runs again gets all of them again, in order (rule Q9). */
  private letters(id: string, run: Run): void {
    for (const letter of this.given.letters.get(id) ?? none) {
      run.inbox?.unread.push({ call: run.calls[0] as Call, ...letter })
    }
  }

  /** The parts of a run that is not made again. */
  private forget(id: string): void {
    const { rows } = this.durable
    const { commits, letters, steps, told } = this.given.stored
    for (const { n, run } of told) if (run === id) rows.push({ kind: "told", id: partId(id, n), data: undefined })
    for (const { name, run } of steps)
      if (run === id) rows.push({ kind: "step", id: partId(id, name), data: undefined })
    for (const { n, run } of commits) if (run === id) rows.push({ kind: "commit", id: partId(id, n), data: undefined })
    for (const { n, run } of letters) if (run === id) rows.push({ kind: "letter", id: partId(id, n), data: undefined })
  }

  /** A call that has not ended and has no run that is known: nothing is invented about it. */
  private without(callId: string, stored: StoredCall): void {
    const call = this.calls.get(callId) as Call
    if (stored.known && call.run === undefined && call.state._tag !== "Ended") lose(this.s, call)
  }
}
