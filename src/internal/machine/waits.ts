/**
 * Who waits for whom. Handlers wait for turns, jobs, tasks, idleness and the floor; these wait for calls; calls wait for
 * handlers, and for room. As long as somebody can move, waiting ends by itself. Those who wait for each other in a circle
 * would wait for ever: one of them is told (rules F2, F5).
 */
import * as Behalf from "./behalf.js"
import * as Calls from "./calls.js"
import * as Idle from "./idle.js"
import * as Jobs from "./jobs.js"
import * as Replies from "./replies.js"
import * as Speech from "./speech.js"
import {
  type Activity,
  type Call,
  currentAgent,
  type Delivery,
  type Executor,
  type FloorRequest,
  type IdleWaiter,
  type Job,
  type JobWaiter,
  type Run,
  removeWaiter,
  type Speech as SpeechState,
  type SpeechWaiter,
  type State,
  wake
} from "./state.js"

/** Something that somebody waits for, and what it needs itself before it comes to an end. */
interface Node {
  need: Need
  /** it does by itself */
  moves: boolean
}

type Need = Node | { readonly every: ReadonlyArray<Need> } | { readonly some: ReadonlyArray<Need> }

const nothing: Need = { every: [] }

/** What a handler waits for. */
type Wait = { readonly run: Run } & (
  | { readonly _tag: "Speech"; readonly speech: SpeechState; readonly waiter: SpeechWaiter }
  | { readonly _tag: "Idle"; readonly waiter: IdleWaiter }
  | { readonly _tag: "Floor"; readonly request: FloorRequest }
  | { readonly _tag: "Job"; readonly job: Job; readonly waiter: JobWaiter }
  | { readonly _tag: "Task"; readonly agent: Activity }
)

/** A fiber that an ended handler left behind holds up nobody, nor does a program. */
const atWork = (call: Call | undefined): Run | undefined => (call?.run?.phase === "working" ? call.run : undefined)

/** Nearly each input finds no handler that waits: it is to cost no more than a look. */
const mayWait = (s: State): boolean => {
  if (s.floorRequests.length > 0 || s.idleWaiters.size > 0 || s.jobs.size > 0 || s.agents.length > 1) return true
  for (const { waiters } of s.speeches) if (waiters.length > 0) return true
  return false
}

const waitsIn = (s: State): ReadonlyArray<Wait> => {
  const waits: Array<Wait> = []
  const add = (call: Call | undefined, wait: (run: Run) => Wait): void => {
    const run = atWork(call)
    if (run !== undefined) waits.push(wait(run))
  }
  for (const speech of s.speeches) {
    for (const waiter of speech.waiters) add(waiter.caller, (run) => ({ _tag: "Speech", run, speech, waiter }))
  }
  for (const waiter of s.idleWaiters) add(waiter.caller, (run) => ({ _tag: "Idle", run, waiter }))
  for (const request of s.floorRequests) add(request.call, (run) => ({ _tag: "Floor", run, request }))
  for (const job of s.jobs) {
    for (const waiter of job.waiters) add(waiter.caller, (run) => ({ _tag: "Job", run, job, waiter }))
  }
  for (const agent of s.agents) add(agent.task?.call, (run) => ({ _tag: "Task", run, agent }))
  return waits
}

// ------------------------------------------------------------------------------------------------------------ the graph

class Graph {
  private readonly nodes = new Map<object, Node>()
  private readonly byRun = new Map<Run, Array<Wait>>()

  constructor(
    private readonly s: State,
    waits: ReadonlyArray<Wait>
  ) {
    for (const wait of waits) {
      const others = this.byRun.get(wait.run)
      if (others === undefined) this.byRun.set(wait.run, [wait])
      else others.push(wait)
    }
    for (const { run } of waits) this.run(run)
    // a wait that needs nothing moves, then one that needs only such, and so on
    let more = true
    while (more) {
      more = false
      for (const node of this.nodes.values()) {
        if (node.moves || !isMet(node.need)) continue
        node.moves = true
        more = true
      }
    }
  }

  private node(of: object, need: () => Need): Node {
    const known = this.nodes.get(of)
    if (known !== undefined) return known
    const node: Node = { need: nothing, moves: false }
    this.nodes.set(of, node)
    node.need = need()
    return node
  }

  /** Its handler goes on, and ends. */
  run(run: Run): Node {
    return this.node(run, () => {
      if (run.phase === "queued") return this.room(run.tool.executor)
      const waits = run.phase === "working" ? this.byRun.get(run) : undefined
      return waits === undefined ? nothing : { some: waits.map((wait) => this.wait(wait)) }
    })
  }

  /** One of those who are at work there ends. */
  private room(executor: Executor): Node {
    return this.node(executor, () => {
      const there = Array.from(this.s.runs).filter((run) => run.tool.executor === executor && run.phase === "working")
      return { some: there.map((run) => this.run(run)) }
    })
  }

  /** Somebody waits for it in turn. */
  has(run: Run): boolean {
    return this.nodes.has(run)
  }

  /** It waits for itself. */
  isStuck(speech: SpeechState): boolean {
    const node = this.nodes.get(speech)
    return node !== undefined && !node.moves && leadsTo(node.need, node)
  }

  wait(wait: Wait): Need {
    switch (wait._tag) {
      case "Speech":
        return this.speech(wait.speech)
      case "Idle":
        return wait.waiter.leaving ? nothing : this.idle(wait.waiter.caller, false)
      case "Floor":
        return Idle.floorHolder(this.s) === wait.request.call ? nothing : this.idle(wait.request.call, false)
      case "Job":
        return this.job(wait.job)
      case "Task":
        return this.task(wait.agent)
    }
  }

  /** It ends once its calls have their outputs, its agent is no longer paused, and what comes before it has ended. */
  private speech(speech: SpeechState): Node {
    return this.node(speech, () => {
      const needs: Array<Need> = this.isPausedBy(speech.agent)
      for (const other of Speech.before(this.s, speech)) needs.push(this.speech(other))
      if (speech.state === "waiting") {
        for (const call of speech.step?.calls ?? []) {
          if (call.run !== undefined && Behalf.isAwaitedBy(call, speech) && call.releaseTimer === undefined) {
            needs.push(this.run(call.run))
          }
        }
      }
      return { every: needs }
    })
  }

  private isPausedBy(agent: Activity): Array<Need> {
    const task = this.s.agents[this.s.agents.indexOf(agent) + 1]
    return agent.state === "paused" && task !== undefined ? [this.task(task)] : []
  }

  /** Somebody completes it: the user, as long as no turn of it is at work, or one of its turns and calls. */
  private task(task: Activity): Node {
    return this.node(task, () => {
      const { s } = this
      const done = task.task?.done
      if (done !== undefined) {
        return done.call?.run === undefined || done.call.output !== undefined ? nothing : this.run(done.call.run)
      }
      const inside = new Set(s.agents.slice(s.agents.indexOf(task)))
      const needs: Array<Need> = []
      for (const speech of s.speeches) if (inside.has(speech.agent)) needs.push(this.speech(speech))
      if (needs.length === 0) return nothing
      for (const call of s.calls.values()) {
        if (inside.has(call.step.agent) && call.run !== undefined && call.output !== undefined)
          needs.push(this.run(call.run))
      }
      return { some: needs }
    })
  }

  private job(job: Job): Node {
    return this.node(job, () => {
      const { s } = this
      const needs: Array<Need> = []
      for (const speech of s.speeches) if (speech.jobs.includes(job)) needs.push(this.speech(speech))
      for (const call of s.calls.values()) {
        if (call.run !== undefined && call.jobs.includes(job)) needs.push(this.run(call.run))
      }
      for (const delivery of s.pending) if (delivery.call.jobs.includes(job)) needs.push(this.delivery(delivery))
      if (s.handoff?.when === "idle" && s.handoff.jobs.includes(job)) {
        needs.push({ some: [undefined, ...Behalf.callersOf(s, s.handoff.jobs)].map((one) => this.idle(one, true)) })
      }
      return { every: needs }
    })
  }

  /** It is voiced once its agent may, and the session is idle for it. */
  private delivery(delivery: Delivery): Node {
    return this.node(delivery, () => {
      const { s } = this
      const { call } = delivery
      const holder = Idle.floorHolder(s)
      const target = Replies.target(s, delivery)
      const needs: Array<Need> = target === currentAgent(s) ? [] : this.isPausedBy(target)
      if (holder !== undefined && needs.length === 0 && !Idle.deliverable(s)(delivery)) {
        needs.push(this.floor(holder))
      } else {
        needs.push({ some: [holder, ...Behalf.callersOf(s, call.jobs)].map((one) => this.idle(one, true)) })
      }
      return { every: needs }
    })
  }

  private idle(caller: Call | undefined, strict: boolean): Need {
    const found = Idle.hindrances(this.s, caller, strict) ?? []
    return {
      every: found.map((one) => ("depth" in one ? this.floor(one.call) : this.speech(one)))
    }
  }

  /** A program holds it for a task. */
  private floor(holder: Call): Need {
    if (holder.run !== undefined) return this.run(holder.run)
    const task = this.s.agents.find((agent) => agent.task?.call === holder)
    return task === undefined ? nothing : this.task(task)
  }
}

const isMet = (need: Need): boolean => {
  if ("every" in need) return need.every.every(isMet)
  if ("some" in need) return need.some.some(isMet)
  return need.moves
}

/** Does it need, by what does not move, this node? */
const leadsTo = (need: Need, node: Node, seen = new Set<Need>()): boolean => {
  if (need === node) return true
  if (seen.has(need) || isMet(need)) return false
  seen.add(need)
  const of = "every" in need ? need.every : "some" in need ? need.some : [need.need]
  return of.some((one) => leadsTo(one, node, seen))
}

// ------------------------------------------------------------------------------------------------------------ a circle

/**
 * Opens a circle, if there is one. Who waits for a turn is told that it waits for itself, the youngest call first. If
 * nobody does, the session counts as idle for who waits for that, the oldest first; else a call that is queued is refused.
 */
export const breakCircle = (s: State): boolean => {
  if (s.runs.size === 0 || !mayWait(s)) return false
  const waits = waitsIn(s)
  if (waits.length === 0) return false
  const graph = new Graph(s, waits)
  const circular = waits.filter((wait) => {
    const run = graph.run(wait.run)
    return !run.moves && leadsTo(graph.wait(wait), run)
  })
  const order = Array.from(s.runs)
  circular.sort((one, other) => order.indexOf(one.run) - order.indexOf(other.run))
  const speech = circular.findLast((wait) => wait._tag === "Speech")
  if (speech !== undefined) {
    removeWaiter(speech.speech, "waiters", speech.waiter)
    wake(s, () => speech.waiter.resume(true))
    return true
  }
  for (const wait of circular) {
    if (wait._tag === "Idle") Idle.tellWaiter(s, wait.waiter)
    else if (wait._tag === "Floor") Idle.giveFloor(s, wait.request)
    else continue
    return true
  }
  // a turn that is to come behind one that waits for it begins beside that one
  for (const other of s.queue) {
    // one that was urged, and still cannot begin, waits for something else
    if (other.opening === undefined || other.opening.urged || !graph.isStuck(other)) continue
    other.opening.urged = true
    return true
  }
  const queued = order.findLast((run) => {
    if (run.phase !== "queued" || !graph.has(run)) return false
    const node = graph.run(run)
    return !node.moves && leadsTo(node.need, node)
  })
  if (queued !== undefined) {
    Calls.refuseQueued(s, queued)
    return true
  }
  // a turn that was asked for before, by its id
  const joined = circular.findLast((wait) => wait._tag === "Job")
  if (joined === undefined) return false
  Jobs.refuse(s, joined.job, joined.waiter)
  return true
}
