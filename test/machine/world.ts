/**
 * All that is outside the machine, as random numbers decide it: models that stream, handlers, policies, an output, timers,
 * programs. It keeps to what the shell keeps to, and looks at the state after each input.
 */

import { needsKey } from "../../src/internal/machine/admission.js"
import * as Agents from "../../src/internal/machine/agents.js"
import * as Approvals from "../../src/internal/machine/approval.js"
import * as Calls from "../../src/internal/machine/calls.js"
import * as Closing from "../../src/internal/machine/closing.js"
import * as Durable from "../../src/internal/machine/durable.js"
import * as Fillers from "../../src/internal/machine/fillers.js"
import * as Idle from "../../src/internal/machine/idle.js"
import * as Incoming from "../../src/internal/machine/incoming.js"
import * as Jobs from "../../src/internal/machine/jobs.js"
import * as Messages from "../../src/internal/machine/messages.js"
import type { Command, Decoded, Timer } from "../../src/internal/machine/protocol.js"
import { pump, runEnded, timerFired } from "../../src/internal/machine/pump.js"
import * as Reviving from "../../src/internal/machine/reviving.js"
import * as Rows from "../../src/internal/machine/rows.js"
import * as Speech from "../../src/internal/machine/speech.js"
import {
  type Activity,
  type Admission,
  type Approval,
  addWaiter,
  type Call,
  type Delivery,
  type Executor,
  type Filler,
  type FloorRequest,
  type Handoff,
  type Job,
  type JobWaiter,
  make,
  type Options,
  type Outcome,
  type Run,
  type Speech as SpeechState,
  type SpeechWaiter,
  type State,
  type Step,
  type TextEntry,
  type Tool
} from "../../src/internal/machine/state.js"
import * as Stored from "../../src/internal/machine/stored.js"
import * as Turns from "../../src/internal/machine/turns.js"
import * as Updates from "../../src/internal/machine/updates.js"
import type { ApprovalVerdict, DeliveryMode, Row, SessionEvent, Verdict } from "../../src/internal/machine/words.js"
import { agent, callPart, decodedOf, executor, failure, input, options, type ToolPlan } from "./support.js"

const modes = ["allow", "reject", "replace", "confirm", "join"] as const
const deliveries = ["when-idle", "interrupt", "silent"] as const satisfies ReadonlyArray<DeliveryMode>
const toolNames = ["book", "book", "book", "find", "send", "complete", "complete", "nothing"]
/** of a model that forgets which it has given */
const callIds = ["a", "b", "a_1", "b_update_1"]

/** What the handler of a run is doing. */
interface Handler {
  readonly run: Run
  readonly owner: Call
  /** it waits for the floor, for idle, for a speech, for a task: it does nothing else until it is told */
  waits: boolean
  floor: FloorRequest | undefined
  asks: Waiter | undefined
  filler: Filler | undefined
  /** a hand-off that it has claimed; its agent is being built */
  claimed: "inline" | "idle" | undefined
  task: Activity | undefined
}

interface Waiter {
  readonly what: string
  /** how often it was told */
  times: number
  left: boolean
  readonly resume: () => void
}

export class World {
  readonly s: State
  readonly session: Executor
  readonly events: Array<SessionEvent> = []
  /** what is wrong */
  readonly wrong: Array<string> = []

  private readonly asked = new Set<Step>()
  private readonly reading = new Set<Step>()
  private readonly playing = new Set<TextEntry>()
  private readonly handlers = new Map<Run, Handler>()
  private readonly decoding = new Set<Call>()
  private readonly comparing = new Map<Admission, ReadonlyArray<Run>>()
  private readonly policies = new Map<Admission, ReadonlyArray<Run>>()
  private readonly ruling = new Set<Approval>()
  /** whose fiber was stopped, and may have come to its end all the same */
  private readonly ruledLate: Array<Approval> = []
  private readonly timers = new Map<Timer, number>()
  private readonly filling = new Set<Filler>()
  private readonly leaving: Array<{ readonly from: Activity; readonly handoff: Handoff | undefined }> = []
  private readonly entering: Array<ReadonlyArray<Job>> = []
  private readonly commands: Array<Command> = []
  private readonly claims: Array<true> = []
  private readonly speeches: Array<SpeechState> = []
  private readonly runs: Array<Run> = []
  private readonly outside: Array<{ readonly handoff: Handoff; readonly again: () => void; readonly asks: Waiter }> = []
  private readonly jobs: Array<Job> = []
  private readonly waiters: Array<Waiter> = []
  private readonly closedAgents = new Map<Activity, number>()
  private readonly built: Array<Activity> = []
  private readonly discarded = new Set<Activity>()
  private readonly deliveries = new Set<Delivery>()
  private readonly started = new Map<string, Call>()
  /** calls of earlier lives */
  private readonly before = new Set<string>()
  /** calls that have not ended, or are not in the history */
  private readonly alive = new Set<Call>()
  private readonly ended = new Map<string, number>()
  private readonly delivered = new Map<Delivery, string>()
  private readonly steps = new Set<Step>()
  /** calls that wait until somebody agrees, and what was decided of those that did */
  private readonly asking = new Set<string>()
  private readonly decided = new Map<string, string>()
  /** what is written of a call from some place of the history on has these arguments */
  private readonly edited = new Map<string, { readonly from: number; readonly args: unknown }>()
  private sent = 0
  /** calls that had begun, or waited for their executor, in an earlier life */
  private readonly through = new Set<string>()
  /** messages to one handler that it gets again */
  private again = 0
  private taken = 0
  private lost = 0
  private stepEnds = 0
  private used = 0
  private drained = 0
  private names = 0
  private calls = 0
  private draining = false
  private at = 0

  constructor(
    private readonly numbers: ReadonlyArray<number>,
    /** whose conversation this is: its process has died */
    earlier?: World,
    durable = false
  ) {
    if (earlier !== undefined) {
      this.s = make(earlier.s.options)
      this.session = executor("session", undefined, earlier.session.limit)
      this.wakeUp(earlier)
      return
    }
    const given: Options = {
      ...options,
      maxToolSteps: 1 + this.pick(3),
      maxPendingUpdates: 1 + this.pick(3),
      maxRunning: [64, 2, 4][this.pick(3)]!,
      maxMessages: [32, 1, 2][this.pick(3)]!,
      drainTimeout: [30_000, 0, Number.POSITIVE_INFINITY][this.pick(3)]!,
      onInterruptedReply: this.pick(2) === 0 ? "drop" : "redeliver",
      deltas: true
    }
    this.s = make(given)
    if (durable) this.s.durable = Durable.make()
    this.session = executor("session", undefined, [Number.POSITIVE_INFINITY, 1, 2][this.pick(3)])
    const first = this.agent()
    this.input((s) => Agents.startSession(s, first))
  }

  // ------------------------------------------------------------------------------------------------------ another life

  /** what is stored of a durable session */
  readonly rows = new Map<string, Row>()

  private store(): void {
    const { s } = this
    if (s.durable === undefined) return
    for (const row of Rows.changes(s, s.durable).rows) {
      const key = `${row.kind}/${row.id}`
      if (row.data === undefined) this.rows.delete(key)
      // as a database gives it back
      else this.rows.set(key, JSON.parse(JSON.stringify(row)))
    }
  }

  /** The process dies, and another one goes on with what is stored. */
  reborn(): World {
    const next = new World(this.numbers.slice(this.at), this)
    // what is dropped leaves the history (rule U6)
    const dropped = new Set(next.events.flatMap((event) => (event._tag === "UpdateDropped" ? [event.id] : [])))
    const before = this.s.history.filter((item) => !("callId" in item && dropped.has(item.callId))).map(({ id }) => id)
    const after = next.s.history.slice(0, before.length).map(({ id }) => id)
    if (before.join() !== after.join()) next.wrong.push(`[Q2] ${before.join()} became ${after.join()}`)
    for (const callId of next.started.keys()) {
      if (this.ended.has(callId)) next.wrong.push(`[T9] ${callId} had ended`)
    }
    return next
  }

  private wakeUp(earlier: World): void {
    const { s } = this
    s.now = earlier.s.now
    this.names = earlier.names
    this.calls = earlier.calls
    for (const callId of [...earlier.before, ...earlier.started.keys()]) this.before.add(callId)
    for (const callId of earlier.asking) this.asking.add(callId)
    for (const [callId, decision] of earlier.decided) this.decided.set(callId, decision)
    for (const [callId, args] of earlier.edited) this.edited.set(callId, args)
    for (const [key, row] of earlier.rows) this.rows.set(key, row)
    const rows = Array.from(earlier.rows.values())
    const stored = Stored.read(rows)
    if (Stored.isDamaged(stored)) throw new Error(`${stored.row}: ${stored.message}`)
    const { session } = stored
    if (session === undefined) throw new Error("no session is stored")
    const durable = Durable.make()
    s.durable = durable
    Reviving.recall(s, durable, stored)
    Reviving.remember(durable, rows)
    const again = (name: string): Activity => {
      const one = earlier.built.find((other) => other.name === name)
      if (one === undefined) throw new Error(`no agent ${name}`)
      const tools = new Map<string, Tool>()
      const made: Activity = { ...one, tools, task: undefined, state: "new", since: 0, carried: [], running: 0 }
      const limit = Array.from(one.tools.values()).find(({ executor }) => executor.activity === one)?.executor.limit
      const home = executor(name, made, limit)
      for (const tool of one.tools.values()) {
        tools.set(tool.name, { ...tool, executor: tool.executor.activity === one ? home : this.session })
      }
      this.built.push(made)
      return made
    }
    const base = again(session.agents[0]!.name)
    const others = new Map(Array.from(Reviving.othersOf(stored), (name) => [name, again(name)] as const))
    const next = session.handoff === undefined ? undefined : again(session.handoff.to)
    const decoded = new Map<string, Decoded>()
    const letters = new Map<string, ReadonlyArray<{ readonly message: unknown; readonly value: unknown }>>()
    for (const [id, run] of stored.runs) {
      if (run.phase === "working" || run.phase === "queued") this.through.add(id)
      const call = stored.calls.get(id)
      const tool = call === undefined ? undefined : Reviving.toolOf(call, base, others)
      if (call === undefined || tool === undefined) continue
      const params = tool.ownArguments(call.arguments)
      decoded.set(id, { _tag: "Decoded", params, key: needsKey(tool) ? JSON.stringify(params) : undefined })
      letters.set(
        id,
        stored.letters.filter(({ run }) => run === id).map(({ message }) => ({ message, value: message }))
      )
    }
    this.again = Math.max(0, ...Array.from(letters.values(), ({ length }) => length))
    this.input((state) =>
      Reviving.revive(state, durable, {
        stored,
        session,
        base,
        next,
        others,
        decoded,
        letters,
        mayRerun: ({ name }) => name !== "send",
        isIdempotent: ({ name }) => name === "find",
        failureOf: (told) => ({ ...failure(false).failure, ...told })
      })
    )
    // those of a call that ends as it is found are lost at once
    this.sent += this.lost
    for (const { inbox } of s.runs) this.sent += inbox?.unread.length ?? 0
  }

  // ---------------------------------------------------------------------------------------------------------- numbers

  get over(): boolean {
    return this.at >= this.numbers.length
  }

  private pick(n: number): number {
    return (this.numbers[this.at++] ?? 0) % n
  }

  private chance(of: number): boolean {
    return this.pick(of) === of - 1
  }

  private oneOf<A>(all: Iterable<A>): A | undefined {
    const list = Array.from(all)
    return list.length === 0 ? undefined : list[this.pick(list.length)]
  }

  private agent(task?: Activity["task"]): Activity {
    const plan = (name: string): ToolPlan => {
      // one number for each plan: many cases are to be short
      const n = this.pick(1 << 16)
      // other bits of the same number
      const m = Math.imul(n, 0x9e3779b1) >>> 16
      const allowCancellation = (n & 1) === 1
      return {
        name,
        mode: modes[(n >> 1) % 5]!,
        scope: (n >> 4) % 2 === 0 ? "name" : "name_and_args",
        custom: (n >> 5) % 6 === 5,
        allowCancellation,
        cancelOnInterruption: allowCancellation && (n >> 6) % 3 === 2,
        delivery: deliveries[(n >> 7) % 3],
        onResult: (n >> 8) % 3 === 2 ? "act" : "speak",
        onHandoff: ([undefined, "await", "promote"] as const)[(n >> 9) % 3],
        ...((n >> 10) % 4 === 3 ? { releaseAfter: [0, 50][(n >> 12) % 2]! } : {}),
        ...((n >> 11) % 4 === 3 ? { timeout: 80 } : {}),
        afterStep: (n >> 14) % 3 === 2,
        approval: (["always", "policy", undefined, undefined] as const)[m % 4],
        ...((m >> 2) % 3 === 2 ? { approvalTimeout: [40, 200][(m >> 4) % 2]! } : {}),
        ...((m >> 5) % 3 > 0 ? { messages: true } : {}),
        ...((n >> 13) % 2 === 1 ? { in: this.session } : {})
      }
    }
    const n = this.pick(1 << 8)
    const made = agent(`agent_${++this.names}`, {
      tools: [plan("book"), plan("find"), plan("send"), { name: "complete", kind: "companion" }],
      limit: [Number.POSITIVE_INFINITY, 1, 2][n % 3]!,
      context: (n >> 2) % 2 === 0 ? "inherit" : "empty",
      plays: (n >> 3) % 2 === 1,
      ...(task === undefined ? {} : { task })
    })
    this.built.push(made)
    return made
  }

  // ----------------------------------------------------------------------------------------------------------- inputs

  /** One input: its commands are carried out at once, and an input that comes meanwhile waits for none of them. */
  input<A>(f: (s: State) => A, later = 1): A {
    const { s } = this
    const closed = s.phase === "closed"
    // in the order in which they happened: who is told gives inputs of their own
    const { result } = input(s, f, s.now + later, (raw) => {
      for (const event of raw.events) {
        // the user speaks on while the last resources are released (rule F4)
        if (closed && event._tag !== "UserStateChanged") this.wrong.push(`[S2] a closed session emits ${event._tag}`)
        this.heard(event)
      }
      for (const observed of raw.observations) {
        if (observed._tag === "DeliveryEnded") {
          if (this.delivered.has(observed.delivery)) this.wrong.push(`[D9] ${observed.delivery.id} ended twice`)
          this.delivered.set(observed.delivery, observed.how)
        } else if (observed._tag === "CallStarted") {
          this.started.set(observed.call.callId, observed.call)
          this.alive.add(observed.call)
        } else if (observed._tag === "StepStarted") this.steps.add(observed.step)
      }
      this.commands.push(...raw.commands)
    })
    if (!this.draining) {
      this.draining = true
      for (let next = this.commands.shift(); next !== undefined; next = this.commands.shift()) this.carryOut(next)
      this.draining = false
      this.look()
    }
    return result
  }

  private heard(event: SessionEvent): void {
    this.events.push(event)
    if (event._tag === "StepEnded") {
      this.stepEnds++
      this.used += event.usage?.outputTokens ?? 0
    }
    this.heardOfApproval(event)
    if (event._tag === "ToolCallMessaged") this.sent++
    if (event._tag === "ToolCallMessagesLost") this.lost += event.count
    if (event._tag === "ToolCallEnded") this.ended.set(event.callId, (this.ended.get(event.callId) ?? 0) + 1)
  }

  /** Each call is asked for once, and decided once, before it ends (rules A4, A6, A7). */
  private heardOfApproval(event: SessionEvent): void {
    switch (event._tag) {
      case "ApprovalRequested": {
        const { callId } = event.call
        if (this.asking.has(callId) || this.decided.has(callId)) this.wrong.push(`[A4] ${callId} is asked for twice`)
        this.asking.add(callId)
        return
      }
      case "ApprovalDecided": {
        const { callId, decision } = event
        if (!this.asking.delete(callId)) this.wrong.push(`[A4] ${callId} is ${decision}, and does not wait`)
        this.decided.set(callId, decision)
        return
      }
      case "ToolCallEnded":
        if (this.asking.has(event.callId)) this.wrong.push(`[A7] ${event.callId} ends while it waits`)
        return
    }
  }

  /** Nothing but a person lets a call run that has to be approved (rules A1, A4, A7). */
  private mayStart({ calls, tool }: Run): void {
    // it was let through in an earlier life
    if (this.through.has(calls[0]?.callId ?? "")) return
    const decisions = calls.map(({ callId }) => this.decided.get(callId)).filter((decision) => decision !== undefined)
    const approved = decisions.some((decision) => decision === "approved" || decision === "edited")
    const asked = tool.approval === "always" || decisions.length > 0
    if (asked && !approved)
      this.wrong.push(`[A4] ${calls[0]?.callId} runs, and is ${decisions.join(", ") || "not asked for"}`)
  }

  private carryOut(c: Command): void {
    switch (c._tag) {
      case "StartRun": {
        const { run } = c
        this.mayStart(run)
        this.runs.push(run)
        if (run.stop !== undefined) {
          const reason = run.stop
          return this.input((s) => runEnded(s, run, { _tag: "Interrupted", reason }))
        }
        this.handlers.set(run, {
          run,
          owner: run.calls[0]!,
          waits: false,
          floor: undefined,
          asks: undefined,
          filler: undefined,
          claimed: undefined,
          task: undefined
        })
        return
      }
      case "Decode":
        this.decoding.add(c.call)
        return
      case "Compare":
        this.comparing.set(c.admission, c.runs)
        return
      case "AskPolicy":
        if (c.admission.run.phase === "admitting") this.policies.set(c.admission, c.running)
        return
      case "StopPolicy":
        this.policies.delete(c.admission)
        this.comparing.delete(c.admission)
        return
      case "AskApproval":
        if (c.approval.state._tag === "Asking") this.ruling.add(c.approval)
        return
      case "StopApproval":
        this.ruling.delete(c.approval)
        this.ruledLate.push(c.approval)
        return
      case "AskModel":
      case "ReadText":
        if (c.step.closed) return
        if (c._tag === "AskModel") this.asked.add(c.step)
        else this.reading.add(c.step)
        return
      case "Play":
        if (!c.entry.step.closed) this.playing.add(c.entry)
        return
      case "StartTimer":
        if (!c.timer.cancelled) this.timers.set(c.timer, this.s.now + c.timer.millis)
        return
      case "StopTimer":
        this.timers.delete(c.timer)
        return
      case "SayFiller":
        this.filling.add(c.filler)
        return
      case "LeaveAgent":
        this.leaving.push(c)
        return
      case "EnterAgent":
        if (c.jobs.length > 0) this.entering.push(c.jobs)
        return
      case "CloseAgent":
        this.closedAgents.set(c.activity, (this.closedAgents.get(c.activity) ?? 0) + 1)
        return
      case "Drained":
        this.drained++
        return
      case "Wake":
      case "InterruptRun":
      case "StopReading":
      case "StopPlaying":
      case "StopEntering":
      case "Log":
        return
    }
  }

  /** Somebody waits, and is to be told exactly once, or never if it leaves before. */
  private waiter(what: string, then: () => void = () => undefined): Waiter {
    const waiter: Waiter = {
      what,
      times: 0,
      left: false,
      resume: () => {
        waiter.times++
        then()
      }
    }
    this.waiters.push(waiter)
    return waiter
  }

  /** It waits no longer. */
  private leaves(waiter: Waiter | undefined): void {
    if (waiter !== undefined) waiter.left = true
  }

  // ------------------------------------------------------------------------------------------------ what may come next

  /** One thing that happens outside. */
  next(): void {
    const n = this.pick(32)
    if (n < 9) return this.model()
    if (n < 18) return this.handler()
    if (n < 21) return this.answered()
    if (n < 24) return this.time()
    if (n < 26) return this.plays()
    if (n < 31) return this.program()
    if (this.chance(24)) this.close()
  }

  private model(): void {
    const step = this.oneOf(this.asked) ?? this.oneOf(this.reading)
    if (step === undefined) {
      if (this.s.mouth === undefined) this.send()
      return
    }
    const n = this.pick(16)
    if (n < 4 || this.reading.has(step)) {
      if (this.reading.has(step)) {
        return n < 8 ? this.input((s) => Incoming.textRead(s, step, "word ")) : this.modelDone(step)
      }
      return this.input((s) =>
        Incoming.part(s, step, {
          type: "text-delta",
          id: `t${n % 2}`,
          delta: n < 3 ? "word " : "",
          metadata: undefined
        })
      )
    }
    if (n < 10) {
      const name = toolNames[this.pick(toolNames.length)]!
      const args: Record<string, unknown> = { seat: this.pick(2) }
      if (this.chance(4)) args.confirm_duplicate = true
      if (this.chance(6)) args.run_in_background = true
      const id = this.chance(4) ? callIds[this.pick(callIds.length)]! : `call_${++this.calls}`
      const part = callPart(step, id, name, args)
      const how = this.pick(8)
      // its input may have been told before
      if (this.chance(3)) this.input((s) => Incoming.part(s, step, { type: "input-delta", id, delta: "{" }))
      return this.input((s) =>
        Incoming.part(s, step, {
          ...part,
          ...(how >= 6 ? { decoded: "later" as const } : {}),
          ...(how === 5 ? { problem: "no object" } : {}),
          ...(how === 4 ? { decoded: { _tag: "Invalid" as const, problem: "seat" } } : {})
        })
      )
    }
    switch (n) {
      case 10:
        return this.input((s) => Incoming.part(s, step, { type: "text-end", id: "t0", metadata: undefined }))
      case 11: {
        const id = `p${this.pick(2)}`
        return this.chance(2)
          ? this.input((s) =>
              Incoming.part(s, step, { type: "provider-call", id, name: "web", arguments: {}, metadata: undefined })
            )
          : this.input((s) =>
              Incoming.part(s, step, { type: "provider-result", id, name: "web", output: 1, isError: false })
            )
      }
      case 12: {
        if (this.chance(3)) {
          const file = { data: "YQ==", mediaType: "text/plain" }
          return this.input((s) => Incoming.part(s, step, { type: "file", file, metadata: undefined }))
        }
        const type = (["reasoning-start", "reasoning-end"] as const)[this.pick(2)]!
        return this.input((s) => Incoming.part(s, step, { type, id: "r", metadata: undefined }))
      }
      case 13: {
        if (!this.chance(3)) return this.modelDone(step)
        this.asked.delete(step)
        const end = failure(this.chance(2))
        return this.input((s) => Incoming.modelEnded(s, step, end))
      }
      default:
        return this.modelDone(step)
    }
  }

  private modelDone(step: Step): void {
    if (this.reading.delete(step)) return this.input((s) => Incoming.streamEnded(s, step))
    if (this.chance(2)) {
      const reason = (["stop", "length", "content-filter", "pause", "error"] as const)[this.pick(5)]!
      const problem = reason === "error" ? failure().failure : undefined
      this.input((s) =>
        Incoming.part(s, step, { type: "finish", reason, usage: { outputTokens: 1 }, failure: problem })
      )
    }
    this.asked.delete(step)
    this.input((s) =>
      Incoming.modelEnded(s, step, step.closed ? { ...failure(), _tag: "Interrupted" } : { _tag: "Done" })
    )
  }

  private outcome(run: Run): Outcome {
    if (run.stop !== undefined && !this.chance(3)) return { _tag: "Interrupted", reason: run.stop }
    const n = this.pick(6)
    if (n === 5) return { _tag: "Nothing" }
    return n === 4
      ? { _tag: "Failure", output: "no", how: "failed", errorType: "no" }
      : { _tag: "Success", output: { seat: n } }
  }

  private handler(): void {
    // one that was asked to stop, or whose call has ended, is not held up by what it waits for
    const handler = this.oneOf(this.handlers.values())
    if (handler === undefined) return this.model()
    const { owner, run } = handler
    const n = this.pick(24)
    if (handler.waits && run.stop === undefined) return n < 10 ? this.model() : this.answered()
    if (n < 6) {
      const mode = deliveries[this.pick(3)]!
      const isText = this.chance(2)
      const value = isText ? "so far" : n
      return this.input((s) => Updates.update(s, run, { value, isText, template: undefined, mode }))
    }
    if (n < 10) return this.endRun(handler)
    switch (n) {
      case 10:
        return void this.input((s) => Calls.commit(s, run))
      case 11:
        return this.input((s) => Updates.progress(s, run, n))
      case 12:
      case 13: {
        if (handler.floor === undefined) {
          handler.waits = true
          const asks = this.waiter("floor", () => {
            handler.waits = false
          })
          handler.asks = asks
          handler.floor = this.input((s) => Idle.requestFloor(s, owner, asks.resume))
          return
        }
        return this.chance(3) ? this.leaveFloor(handler) : this.task(handler)
      }
      case 14: {
        handler.waits = true
        const { resume } = this.waiter("idle", () => {
          handler.waits = false
        })
        return void this.input((s) => Idle.addWaiter(s, { caller: owner, resume }))
      }
      case 15: {
        if (handler.filler !== undefined) return this.endFiller(handler)
        const filler: Filler = {
          call: owner,
          delay: 10,
          interval: this.chance(2) ? 10 : undefined,
          maxSteps: 2,
          say: () => "one moment",
          step: 0,
          timer: undefined,
          speech: undefined,
          due: false,
          ended: false
        }
        handler.filler = filler
        return this.input((s) => Fillers.start(s, filler))
      }
      case 16:
      case 17: {
        if (handler.claimed === undefined) {
          handler.claimed = this.input((s) => Agents.claimHandoff(s, owner))
          return
        }
        const when = handler.claimed
        handler.claimed = undefined
        if (this.chance(4)) return this.input((s) => Agents.unclaimHandoff(s, owner, when))
        const to = this.agent()
        const handoff: Handoff = { to, call: owner, when, jobs: Jobs.ofRun(owner), resume: undefined }
        if (!this.input((s) => Agents.requestHandoff(s, handoff))) this.discarded.add(to)
        return
      }
      case 18:
        return this.task(handler)
      case 20:
      case 21:
      case 22:
      case 23:
        return this.read(run)
      default: {
        const own = owner.step.agent
        if (own.task !== undefined) {
          return this.input((s) => Agents.finishTask(s, own, owner, { _tag: "Completed", value: 1 }))
        }
        const speech = this.oneOf(this.speeches)
        if (speech === undefined || speech.state === "ended" || Idle.isInlineIn(owner, speech)) return
        handler.waits = true
        const { resume } = this.waiter("speech", () => {
          handler.waits = false
        })
        return this.input(() => addWaiter<"waiters", SpeechWaiter>(speech, "waiters", { caller: owner, resume }))
      }
    }
  }

  /** A fiber of the handler takes a message, or waits for one. */
  private read(run: Run): void {
    const { inbox } = run
    if (inbox === undefined) return this.model()
    const waiting = inbox.unread.length
    const letter = this.input(() => Messages.take(inbox))
    if (letter !== undefined) this.taken++
    if ((letter !== undefined) !== waiting > 0) this.wrong.push("[G2] a message is there and cannot be read")
    if (letter !== undefined || run.phase === "ended") return
    const { resume } = this.waiter("message")
    this.input(() => addWaiter<"readers", () => void>(inbox, "readers", resume))
  }

  /** A task runs under the floor. */
  private task(handler: Handler): void {
    const { floor, owner, task: before } = handler
    if (floor?.granted !== true || before !== undefined) return
    handler.waits = true
    const asks = this.waiter("task", () => {
      handler.waits = false
      handler.task = undefined
    })
    const task = this.agent({ call: owner, done: undefined, resume: asks.resume })
    handler.task = task
    if (this.input((s) => Agents.startTask(s, task))) return
    this.leaves(asks)
    this.discarded.add(task)
    handler.task = undefined
    handler.waits = false
  }

  private leaveFloor(handler: Handler): void {
    const { floor } = handler
    if (floor === undefined) return
    handler.floor = undefined
    if (handler.asks?.times === 0) this.leaves(handler.asks)
    this.input((s) => Idle.leaveFloor(s, floor))
  }

  private endFiller(handler: Handler): void {
    const { filler } = handler
    if (filler === undefined) return
    handler.filler = undefined
    this.input((s) => Fillers.end(s, filler))
  }

  /** A handler leaves what it holds before it ends, unless it left a fiber behind. */
  private endRun(handler: Handler): void {
    const { run } = handler
    const leaks = this.chance(8)
    if (!leaks) {
      this.leaveFloor(handler)
      this.endFiller(handler)
      const { claimed, task } = handler
      if (claimed !== undefined) this.input((s) => Agents.unclaimHandoff(s, handler.owner, claimed))
      if (task !== undefined) this.input((s) => Agents.abandonTask(s, task))
    }
    this.handlers.delete(run)
    const outcome = this.outcome(run)
    this.input((s) => runEnded(s, run, outcome))
  }

  /** Decoding, policies, comparing, `onExit`, `onEnter`: what was asked of the shell comes back. */
  private answered(): void {
    const call = this.oneOf(this.decoding)
    if (call !== undefined && this.chance(2)) return this.decoded(call)
    const approval = this.oneOf(this.ruling)
    if (approval !== undefined && this.chance(2)) return this.ruled(approval)
    const admission = this.oneOf(this.policies.keys()) ?? this.oneOf(this.comparing.keys())
    if (admission !== undefined) return this.admitted(admission)
    if (approval !== undefined) return this.ruled(approval)
    const late = this.ruledLate.pop()
    if (late !== undefined) return this.ruled(late)
    const jobs = this.entering.shift()
    if (jobs !== undefined) return this.input((s) => Jobs.close(s, jobs))
    const gone = this.leaving.shift()
    if (gone !== undefined) return this.gone(gone)
    if (call !== undefined) return this.decoded(call)
    this.handler()
  }

  private decoded(call: Call): void {
    this.decoding.delete(call)
    // the fiber was interrupted
    if (call.run?.phase !== "admitting" && call.run?.phase !== "held") return
    const args = decodedOf(call.step, call.call.name, call.call.arguments as Record<string, unknown>)
    const invalid = this.chance(5)
    this.input((s) => Calls.decoded(s, call, invalid ? { _tag: "Invalid", problem: "seat" } : args))
  }

  private admitted(admission: Admission): void {
    const runs = this.comparing.get(admission)
    if (runs !== undefined) {
      this.comparing.delete(admission)
      const keys = new Map(runs.map((run) => [run, JSON.stringify(run.params ?? {})] as const))
      return this.input((s) => Calls.compared(s, admission, keys))
    }
    this.policies.delete(admission)
    const verdicts: ReadonlyArray<Verdict | undefined> = [
      { _tag: "Run" },
      { _tag: "Replace" },
      { _tag: "Join" },
      { _tag: "Refuse", message: "no" },
      undefined
    ]
    const verdict = verdicts[this.pick(5)]
    this.input((s) => Calls.policyDecided(s, admission, verdict))
  }

  private ruled(approval: Approval): void {
    this.ruling.delete(approval)
    const verdicts: ReadonlyArray<ApprovalVerdict | undefined> = [
      { _tag: "Run" },
      { _tag: "Ask", reason: "dear" },
      { _tag: "Deny", reason: "no" },
      // it has failed: a person is asked
      undefined
    ]
    const asked = approval.state._tag === "Asking"
    const events = this.events.length
    this.input((s) => Calls.approvalRuled(s, approval, verdicts[this.pick(4)]))
    if (!asked && this.events.length > events) this.wrong.push("[A7] a policy that was stopped decides")
  }

  /** A person decides about a call, which may have been decided, or have ended, or be unknown. */
  private decides(): void {
    const waiting = Approvals.pending(this.s).map(({ callId }) => callId)
    const callId = (this.chance(3) ? undefined : this.oneOf(waiting)) ?? this.oneOf(this.started.keys())
    if (callId !== undefined) this.decide(callId)
  }

  private decide(callId: string): void {
    const { s } = this
    const run = s.calls.get(callId)?.run
    const approval = s.approvals.find((one) => one.run === run && one.state._tag === "Waiting")
    const n = this.pick(5)
    const args = { seat: n }
    const given: Calls.ByPerson =
      n === 0
        ? { _tag: "Deny", by: "ann", reason: "no" }
        : n === 1
          ? { _tag: "Answer", by: undefined, outcome: { _tag: "Success", output: "by hand" } }
          : n === 2 && run !== undefined
            ? { _tag: "Edit", by: "ann", arguments: args, decoded: this.editedFor(run, args) }
            : { _tag: "Approve", by: "ann" }
    const from = s.history.length
    const before = this.events.length
    const problem = this.input(() => Calls.decideBy(s, callId, given))
    const told = this.events.slice(before).filter((event) => event._tag === "ApprovalDecided")
    // one that it replaces may wait, too, and is withdrawn
    const times = told.filter((event) => event.decision !== "withdrawn").length
    // who comes second is told, and nothing else happens
    if ((problem === undefined) !== (approval !== undefined)) this.wrong.push(`[A4] ${callId} is told: ${problem}`)
    if (times !== (approval === undefined ? 0 : 1)) this.wrong.push(`[A4] ${callId} is decided ${times} times`)
    if (problem === undefined && given._tag === "Edit") {
      for (const call of approval?.run.calls ?? []) this.edited.set(call.callId, { from, args })
    }
  }

  private editedFor({ tool }: Run, args: Record<string, unknown>) {
    const params = tool.ownArguments(args)
    return { _tag: "Decoded" as const, params, key: needsKey(tool) ? JSON.stringify(params) : undefined }
  }

  /** A call is told something, or whoever tells it is told why not (rules G1, G3). */
  private tell(): void {
    const { s } = this
    const open = Array.from(s.calls.values()).flatMap(({ callId, run }) => (run?.inbox === undefined ? [] : [callId]))
    const callId = (this.chance(4) ? undefined : this.oneOf(open)) ?? this.oneOf(this.started.keys())
    if (callId === undefined) return
    const run = s.calls.get(callId)?.run
    const room = s.options.maxMessages - (run?.inbox?.unread.length ?? s.options.maxMessages)
    const takes = run !== undefined && run.stop === undefined && run.phase !== "approving" && room > 0
    const before = this.sent
    const problem = this.input(() => Calls.message(s, callId, { from: "program", message: "hurry", value: "hurry" }))
    if ((problem === undefined) !== takes) this.wrong.push(`[G3] ${callId} is told: ${problem}`)
    if (this.sent - before !== (takes ? 1 : 0)) this.wrong.push(`[G1] ${callId} was told ${this.sent - before} times`)
  }

  private gone({ from, handoff }: World["leaving"][number]): void {
    this.input((s) => (handoff === undefined ? Agents.exitTask(s, from) : Agents.enterAgent(s, handoff)))
  }

  /** The next timer fires. */
  private time(): void {
    const filler = this.oneOf(this.filling)
    if (filler !== undefined) {
      this.filling.delete(filler)
      const text = this.chance(4) ? undefined : "one moment"
      return this.input((s) => Fillers.say(s, filler, text))
    }
    const [first] = Array.from(this.timers).sort((a, b) => a[1] - b[1])
    if (first === undefined) return this.handler()
    const [timer, due] = first
    this.timers.delete(timer)
    this.input((s) => timerFired(s, timer), Math.max(1, due - this.s.now))
  }

  private plays(): void {
    const entry = this.oneOf(this.playing)
    if (entry === undefined) return this.model()
    if (this.chance(2)) {
      return this.input((s) => Incoming.played(s, entry, entry.unread.splice(0).join("")))
    }
    // an output plays to the end, or dies
    if (!entry.ended && !entry.step.closed) {
      if (!this.chance(8)) return this.model()
      this.playing.delete(entry)
      return this.input((s) => Incoming.playEnded(s, entry, true))
    }
    this.playing.delete(entry)
    this.input((s) => Incoming.playEnded(s, entry, false))
  }

  private turnOptions(): Turns.TurnOptions {
    const n = this.pick(12)
    return {
      allowInterruptions: n !== 0,
      ...(n === 1 ? { priority: 1 } : {}),
      ...(n === 2 ? { toolChoice: "none" as const } : {}),
      ...(n === 3 ? { instructions: "be brief" } : {})
    }
  }

  private userTurnOptions(): Turns.UserTurnOptions {
    const given = this.turnOptions()
    const n = this.pick(9)
    return {
      ...given,
      ...(n < 3 ? { interrupt: false } : {}),
      ...(n === 2 || n === 3 ? { id: `turn${this.pick(4)}` } : {}),
      ...(n === 4 ? { author: "Bo" } : {})
    }
  }

  private send(): void {
    const given = this.userTurnOptions()
    if (this.s.phase !== "open") return
    if (!this.chance(3)) {
      this.speeches.push(this.input((s) => Turns.send(s, { text: "hi" }, given, [])))
      return
    }
    const { resume } = this.waiter("job")
    const waiter: JobWaiter = { caller: undefined, resume: () => resume() }
    const { id } = given
    if (id !== undefined) {
      const joined = this.input((s) => Turns.runOnce(s, id, { text: "hi" }, given, waiter, []))
      if (!this.jobs.includes(joined)) this.jobs.push(joined)
      return
    }
    const job = Jobs.make(waiter)
    this.jobs.push(job)
    this.speeches.push(this.input((s) => Turns.run(s, { text: "hi" }, given, job, [])))
  }

  private program(): void {
    const n = this.pick(22)
    if (this.s.phase !== "open") return this.handler()
    switch (n) {
      case 0:
      case 1:
        return this.send()
      case 2:
        return void this.speeches.push(this.input((s) => Turns.generateReply(s, this.turnOptions(), [])))
      case 3:
      case 4: {
        // a text is a stream of the shell's, or there at once
        const text = n === 3 ? "a word" : Object.freeze({})
        return void this.speeches.push(this.input((s) => Turns.say(s, text, this.turnOptions(), [])))
      }
      case 5: {
        if (this.claims.pop() !== undefined) return this.input(Idle.releaseUserTurn)
        this.claims.push(true)
        return this.input(Idle.claimUserTurn)
      }
      case 6:
        return void this.input((s) => Turns.interruptAll(s, this.chance(3)))
      case 7: {
        const speech = this.oneOf(this.speeches)
        if (speech === undefined) return
        return this.chance(2)
          ? this.input((s) => Turns.interrupt(s, speech))
          : this.input((s) => Speech.setAllowInterruptions(s, speech, this.chance(2)))
      }
      case 8:
      case 9: {
        const callId = this.oneOf(this.started.keys())
        return callId === undefined ? undefined : void this.input((s) => Calls.cancel(s, callId))
      }
      case 10: {
        const { resume } = this.waiter("idle")
        return void this.input((s) => Idle.addWaiter(s, { caller: undefined, resume }))
      }
      case 11: {
        const speech = this.oneOf(this.speeches)
        if (speech === undefined || speech.state === "ended") return
        const { resume } = this.waiter("speech")
        return this.input(() => addWaiter<"waiters", SpeechWaiter>(speech, "waiters", { caller: undefined, resume }))
      }
      case 12:
        return this.handOff()
      case 14:
      case 15:
      case 16:
      case 17:
        return this.decides()
      case 18:
      case 19:
      case 20:
      case 21:
        return this.tell()
      default: {
        const one = this.outside.shift()
        if (one === undefined) return
        if (this.input((s) => Agents.withdrawHandoff(s, one.handoff, one.again))) {
          this.discarded.add(one.handoff.to)
          this.leaves(one.asks)
        }
      }
    }
  }

  private handOff(): void {
    const to = this.agent()
    const asks = this.waiter("handoff")
    const handoff: Handoff = { to, call: undefined, when: "now", jobs: [], resume: asks.resume }
    const again = (): void => {
      if (this.input((s) => Agents.requestHandoffInTurn(s, handoff, again))) return
      this.discarded.add(to)
      asks.resume()
    }
    this.outside.push({ handoff, again, asks })
    again()
  }

  close(): void {
    this.input(Closing.close)
  }

  // ------------------------------------------------------------------------------------------------------- and the end

  /** All that is outside comes to its end; what holds up for ever is told. */
  finish(): void {
    for (let n = 0; n < 2_000; n++) if (!this.finishOne()) break
    const { s } = this
    const open: Record<string, number> = {
      calls: s.calls.size,
      unrecorded: s.unrecorded.size,
      runs: s.runs.size,
      running: s.running,
      gates: s.gates.size,
      approvals: s.approvals.length,
      asking: this.asking.size,
      ruling: this.ruling.size,
      pending: s.pending.size,
      urgent: s.urgent,
      queue: s.queue.length,
      speeches: s.speeches.size,
      mouth: s.mouth === undefined ? 0 : 1,
      userClaims: s.userClaims,
      floors: s.phase === "open" ? s.floors.length : 0,
      floorRequests: s.floorRequests.length,
      handoff: s.handoff === undefined && s.entering === undefined ? 0 : 1,
      leaving: s.leavingSince === undefined ? 0 : 1,
      handoffWaiters: s.handoffWaiters.length,
      idleWaiters: s.idleWaiters.size,
      jobs: s.jobs.size,
      fillers: s.fillers.size,
      timers: this.timers.size,
      tasks: s.agents.length - 1,
      notListening: s.phase === "open" && s.agentState !== "listening" ? 1 : 0
    }
    for (const [what, left] of Object.entries(open)) if (left !== 0) this.wrong.push(`${left} left: ${what}`)
    if (s.phase === "closing") this.wrong.push("closing has no end")
    for (const [callId, call] of this.started) {
      const times = this.ended.get(callId) ?? 0
      if (times !== 1) this.wrong.push(`[T9] ${callId} ended ${times} times`)
      if (call.state._tag !== "Ended" || !call.recorded) this.wrong.push(`[T2] ${callId} has no output`)
    }
    for (const delivery of this.deliveries) {
      if (delivery.state._tag !== "Ended") this.wrong.push(`[D9] ${delivery.id} is ${delivery.state._tag}`)
      if (!this.delivered.has(delivery)) this.wrong.push(`[D9] ${delivery.id} has no end`)
    }
    for (const { left, times, what } of this.waiters) {
      if (times !== (left ? 0 : 1)) this.wrong.push(`who waited for ${what} was told ${times} times`)
    }
    for (const one of this.jobs) if (one.open !== 0 && s.phase === "open") this.wrong.push(`[R1] a job is ${one.open}`)
    for (const one of this.built) {
      const times = (this.closedAgents.get(one) ?? 0) + (this.discarded.has(one) ? 1 : 0)
      const expected = s.agents.includes(one) ? 0 : 1
      if (times !== expected) this.wrong.push(`[S2b] ${one.name} was closed ${times} times, and not ${expected}`)
    }
    this.orders()
    this.writtenAsEdited()
    if (this.sent !== this.taken + this.lost) {
      this.wrong.push(`[G3] ${this.sent} messages: ${this.taken} were read, ${this.lost} told as lost`)
    }
    if (s.phase === "closed" && this.drained !== 1) this.wrong.push(`[S2] drained ${this.drained} times`)
  }

  private finishOne(): boolean {
    if (this.claims.pop() !== undefined) this.input(Idle.releaseUserTurn)
    for (const step of [...this.asked, ...this.reading]) {
      this.modelDone(step)
      return true
    }
    for (const entry of this.playing) {
      this.playing.delete(entry)
      this.input((s) => Incoming.playEnded(s, entry, false))
      return true
    }
    for (const call of this.decoding) {
      this.decoded(call)
      return true
    }
    for (const admission of [...this.policies.keys(), ...this.comparing.keys()]) {
      this.admitted(admission)
      return true
    }
    for (const approval of this.ruling) {
      this.ruled(approval)
      return true
    }
    const [waiting] = Approvals.pending(this.s)
    if (waiting !== undefined) {
      this.decide(waiting.callId)
      return true
    }
    const late = this.ruledLate.pop()
    if (late !== undefined) {
      this.ruled(late)
      return true
    }
    const jobs = this.entering.shift()
    if (jobs !== undefined) {
      this.input((s) => Jobs.close(s, jobs))
      return true
    }
    const gone = this.leaving.shift()
    if (gone !== undefined) {
      this.gone(gone)
      return true
    }
    for (const handler of this.handlers.values()) {
      const { run, task } = handler
      if (task?.task !== undefined && isCurrent(this.s, task) && task.task.done === undefined) {
        this.input((s) => Agents.finishTask(s, task, undefined, { _tag: "Declined", reason: "enough" }))
        return true
      }
      if (handler.waits && run.stop === undefined) continue
      this.endRun(handler)
      return true
    }
    for (const filler of this.filling) {
      this.filling.delete(filler)
      this.input((s) => Fillers.say(s, filler, undefined))
      return true
    }
    if (this.timers.size > 0) {
      this.time()
      return true
    }
    return false
  }

  // --------------------------------------------------------------------------------------------------------- the state

  /** What always holds. */
  private look(): void {
    const { s } = this
    this.store()
    const wrong = (what: string): void => void this.wrong.push(what)
    let running = 0
    for (const { phase, tool } of s.runs) {
      if (phase === "ended") wrong("a run that has ended is in the books")
      if (tool.kind === "companion") continue
      if (phase !== "admitting" && phase !== "held" && phase !== "approving") running++
      this.executor(tool.executor)
    }
    if (running !== s.running) wrong(`[T12] ${running} are running, and not ${s.running}`)
    if (s.running > s.options.maxRunning) wrong("[T12] more than `maxRunning`")
    for (const [key, { current, queue }] of s.gates) {
      const state = current?.state._tag
      if (state === undefined || state === "Queued" || state === "Over") wrong(`[P4] the gate ${key} is ${state}`)
      for (const one of current === undefined ? queue : [current, ...queue]) {
        if (one.run.phase !== "admitting") wrong(`[P4] ${one.call.callId} is ${one.run.phase} in a gate`)
      }
    }
    this.approvals()
    let urgent = 0
    for (const delivery of s.pending) {
      if (delivery.mode === "interrupt") urgent++
      if (delivery.state._tag !== "Waiting" || !delivery.written) wrong(`[D9] ${delivery.id} does not wait`)
      this.deliveries.add(delivery)
    }
    if (urgent !== s.urgent) wrong(`[U7] ${urgent} are urgent, not ${s.urgent}`)
    const bound = s.options.maxPendingUpdates
    for (const call of this.alive) {
      if (call.state._tag === "Ended" && call.recorded) this.alive.delete(call)
      if (call.waiting.length > bound) wrong(`[U6] ${call.waiting.length} updates of ${call.callId} wait`)
      for (const delivery of call.held) this.deliveries.add(delivery)
      // its result may be held behind them
      if (call.held.length > bound + 1) wrong(`[U6] ${call.held.length} updates of ${call.callId} are held`)
      if (s.calls.has(call.callId) === (call.state._tag === "Ended")) wrong(`${call.callId} is in the wrong books`)
      if (s.unrecorded.has(call.callId) === call.recorded) wrong(`${call.callId} is recorded wrongly`)
      if (call.recorded && call.held.length > 0) wrong(`[T2] ${call.callId} holds back what could be written`)
      if (call.releaseTimer !== undefined && call.state._tag !== "Inline") wrong(`[U9] ${call.callId} has a timer`)
    }
    for (const speech of s.speeches) {
      if (speech.state === "ended") wrong(`${speech.id} has ended`)
      if ((speech.state === "holding") !== (s.mouth === speech)) wrong(`[F1] ${speech.id} is ${speech.state}`)
      const places = s.queue.filter((other) => other === speech).length
      if (places !== (speech.state === "queued" ? 1 : 0)) wrong(`[F1] ${speech.id} is ${places} times in the queue`)
      // its output may take its time to stop (rule O4)
      if (s.stopping !== speech && !s.agents.includes(speech.agent)) wrong(`${speech.id} is of an agent that has gone`)
    }
    for (const step of this.steps) {
      if (step.told !== step.streamEnded)
        wrong(`[B4] a step of ${step.speech.id} has ended and is not told, or told early`)
      if (step.streamEnded && step.inputs !== undefined) wrong("[B6] an id is kept for a call that cannot come")
    }
    if (s.mouth !== undefined && !s.speeches.has(s.mouth)) wrong("[F1] the mouth is not a speech's")
    for (const speech of s.queue) if (!s.speeches.has(speech)) wrong("[F1] the queue holds what has ended")
    for (const { call, depth } of s.floors) {
      if (depth < 1 || (s.phase === "open" && call.run?.phase === "ended"))
        wrong(`[F5] ${call.callId} holds the floor and has ended`)
    }
    for (const { call, granted } of s.floorRequests) {
      if (granted || call.run?.phase === "ended")
        wrong(`[F5] ${call.callId} asks for the floor and has it, or has ended`)
    }
    for (const one of this.jobs) if (one.open < 0) wrong("[R1] a job is below 0")
    for (const [i, one] of s.agents.entries()) {
      if (one.state !== (i === s.agents.length - 1 ? "current" : "paused")) wrong(`[S7] ${one.name} is ${one.state}`)
      let own = 0
      for (const { tool } of s.runs) if (tool.executor.activity === one && tool.kind === "user") own++
      if (own !== one.running) wrong(`[S2b] ${one.name} has ${own} runs, not ${one.running}`)
    }
    // all that has become possible was done
    pump(s)
    if (s.events.length + s.commands.length + s.phrases.length > 0) wrong("there was more to do")
  }

  /** What waits is a run of the books, has left its turn, and is bounded (rules A1, A2). */
  private approvals(): void {
    const { s } = this
    const wrong = (what: string): void => void this.wrong.push(what)
    const approving = Array.from(s.runs).filter(({ phase }) => phase === "approving")
    if (approving.length !== s.approvals.length) wrong(`[A1] ${approving.length} wait, not ${s.approvals.length}`)
    for (const { run, state } of s.approvals) {
      const [first] = run.calls
      if (!approving.includes(run) || state._tag === "Over")
        wrong(`[A1] ${first?.callId} is ${run.phase}, ${state._tag}`)
      if (state._tag !== "Waiting") continue
      if (first !== undefined && !this.asking.has(first.callId))
        wrong(`[A2] ${first.callId} waits, and nobody is asked`)
      for (const call of run.calls) {
        if (call.state._tag !== "Background") wrong(`[A2] ${call.callId} waits, and is ${call.state._tag}`)
      }
    }
    const waiting = s.approvals.filter(Approvals.isWaiting).length
    if (waiting > s.options.maxRunning) wrong(`[A1] ${waiting} wait`)
    for (const { inbox } of s.runs) {
      // what a handler gets again was within the bound as it came (rule Q9)
      if ((inbox?.unread.length ?? 0) > Math.max(s.options.maxMessages, this.again)) wrong("[G3] an inbox is too full")
    }
  }

  /** From an edit on a call has the arguments that a person gave (rule A5). */
  private writtenAsEdited(): void {
    for (const [callId, { args, from }] of this.edited) {
      for (const item of this.s.history.slice(from)) {
        if (item._tag !== "FunctionCall") continue
        // another call may have an id that looks like that of a report
        const rest = item.callId.startsWith(callId) && !this.isCall(item.callId) ? item.callId.slice(callId.length) : ""
        const own = item.callId === callId || /^_(update_\d+|final)$/.test(rest)
        if (own && JSON.stringify(item.arguments) !== JSON.stringify(args)) {
          this.wrong.push(`[A5] ${item.callId} has ${JSON.stringify(item.arguments)}`)
        }
      }
    }
  }

  /** A model may give a call the id that a report would have. */
  private isCall(callId: string): boolean {
    return this.started.has(callId) || this.before.has(callId)
  }

  private executor(executor: Executor): void {
    let working = 0
    for (const run of this.s.runs) {
      if (run.tool.executor !== executor || run.tool.kind === "companion") continue
      if (run.phase === "working") working++
      if ((run.phase === "queued") !== executor.queue.includes(run))
        this.wrong.push("[T12] somebody is lost in a queue")
    }
    const { active, limit, queue } = executor
    if (active !== working || working > limit) this.wrong.push(`[T12] ${working} work of ${limit}, and not ${active}`)
    if (queue.length > 0 && working < limit) this.wrong.push("[T12] somebody is queued without need")
  }

  /** The order of the history (T2, M3): each call once, then its output once; those of a step in its order. */
  private orders(): void {
    const over = Array.from(this.steps).filter((step) => step.told)
    const used = over.reduce((sum, { usage }) => sum + (usage?.outputTokens ?? 0), 0)
    if (over.length !== this.stepEnds || used !== this.used) {
      this.wrong.push(`[B4] ${over.length} steps used ${used}; told are ${this.stepEnds} and ${this.used}`)
    }
    const called = new Map<string, number>()
    const answered = new Map<string, number>()
    const itemIds = new Set<string>()
    for (const [i, item] of this.s.history.entries()) {
      if (itemIds.has(item.id)) this.wrong.push(`[M3b] two items are ${item.id}`)
      itemIds.add(item.id)
      if (item._tag === "FunctionCall") {
        if (called.has(item.callId)) this.wrong.push(`[T11] two calls are ${item.callId}`)
        called.set(item.callId, i)
      } else if (item._tag === "FunctionCallOutput") {
        if (answered.has(item.callId)) this.wrong.push(`[M3] ${item.callId} is answered twice`)
        if (!called.has(item.callId)) this.wrong.push(`[M3] ${item.callId} is answered and was not called`)
        answered.set(item.callId, i)
      }
    }
    for (const [callId, call] of this.started) {
      if (!called.has(callId) || !answered.has(callId)) this.wrong.push(`[M3] ${callId} is not in the history`)
      // its items behind its own output, in their order
      for (let n = 1, last = answered.get(callId) ?? 0; n <= call.updates; n++) {
        const at = called.get(`${callId}_update_${n}`)
        if (at === undefined || this.isCall(`${callId}_update_${n}`)) continue
        if (at < last) this.wrong.push(`[U2] ${callId}_update_${n} comes too early`)
        last = at
      }
    }
    for (const { calls } of this.steps) {
      const places = calls.map(({ callId }) => answered.get(callId) ?? -1)
      if (places.some((place, i) => i > 0 && place < places[i - 1]!)) this.wrong.push("[T2] outputs are out of order")
    }
  }
}

const isCurrent = (s: State, agent: Activity): boolean => s.agents[s.agents.length - 1] === agent
