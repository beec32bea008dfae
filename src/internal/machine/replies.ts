/**
 * Deliveries: updates and results on their way into the conversation (rules U2, U3, U6, D).
 */
import { withoutItemId } from "../values/metadata.js"
import * as History from "./history.js"
import * as Jobs from "./jobs.js"
import {
  type Activity,
  type Call,
  currentAgent,
  type Delivery,
  emit,
  follow,
  none,
  observe,
  type Reply,
  type Speech,
  type State,
  Waiting,
  without
} from "./state.js"
import type { ChatItem } from "./words.js"

/**
 * Who voices a delivery: the owner of its call, or whoever is current for what belongs to the session (rule D7). What a
 * call says that has asked for a hand-off is the new agent's from that moment on (rule S4).
 */
export const target = (s: State, { call }: Delivery): Activity => {
  const handoff = s.handoff
  if (handoff?.call !== undefined && handoff.call.run === call.run) return handoff.to
  return call.owner ?? currentAgent(s)
}

/** A delivery exists from here on: it waits, and the oldest waiting update of its call may have to go (rule U6). */
export const accept = (
  s: State,
  report: Pick<Delivery, "id" | "call" | "kind" | "value" | "isError" | "files" | "mode" | "act">
): void => {
  const { call } = report
  // the spread comes last, as in `History.add`
  const delivery: Delivery = {
    seq: ++s.seq,
    at: s.now,
    state: Waiting,
    cutTried: false,
    written: false,
    voiced: false,
    ...report
  }
  follow(delivery, "value")
  if (delivery.kind === "update") {
    call.waiting = [...call.waiting, delivery]
    bound(s, call)
  }
  if (call.recorded) write(s, delivery)
  else call.held = [...call.held, delivery]
}

const bound = (s: State, call: Call): void => {
  while (call.waiting.length > s.options.maxPendingUpdates) drop(s, call.waiting[0] as Delivery)
}

/** Writes the pair and queues it for a reply. */
export const write = (s: State, delivery: Delivery): void => {
  const { call } = delivery
  // a pair made by us carries its call's metadata (rule M2)
  const metadata = withoutItemId(call.metadata)
  const speech = call.step.speech
  History.add(
    s,
    {
      _tag: "FunctionCall",
      callId: delivery.id,
      name: call.call.name,
      arguments: call.call.arguments,
      ...(metadata === undefined ? {} : { metadata })
    },
    speech,
    call.jobs
  )
  History.add(
    s,
    {
      _tag: "FunctionCallOutput",
      callId: delivery.id,
      name: call.call.name,
      output: delivery.value,
      isError: delivery.isError,
      ...(delivery.files === undefined ? {} : { files: delivery.files })
    },
    speech,
    call.jobs
  )
  delivery.written = true
  if (delivery.mode === "silent") {
    delivery.state = { _tag: "Ended", how: "silent" }
    observe(s, { _tag: "DeliveryEnded", delivery, how: "silent" })
    if (delivery.kind === "update") s.silent.push(delivery)
    return
  }
  Jobs.open(call.jobs)
  queue(s, delivery)
  if (s.phase !== "open" || target(s, delivery).state === "ended") dropPending(s, [delivery])
}

const queue = (s: State, delivery: Delivery): void => {
  s.pending.add(delivery)
  if (delivery.mode === "interrupt") s.urgent++
}

const unqueue = (s: State, delivery: Delivery): boolean => {
  if (!s.pending.delete(delivery)) return false
  if (delivery.mode === "interrupt") s.urgent--
  return true
}

/** The oldest waiting update leaves the queue and the history. */
const drop = (s: State, delivery: Delivery): void => {
  forget(delivery)
  if (delivery.written) {
    History.removePair(s, delivery.id)
    if (unqueue(s, delivery)) Jobs.close(s, delivery.call.jobs)
    else s.parked = without(s.parked, delivery)
    const j = s.silent.indexOf(delivery)
    if (j >= 0) s.silent.splice(j, 1)
  } else {
    delivery.call.held = without(delivery.call.held, delivery)
  }
  s.callIds.delete(delivery.id)
  // a silent one has ended before, and is counted once
  if (delivery.state._tag !== "Ended") {
    delivery.state = { _tag: "Ended", how: "dropped" }
    observe(s, { _tag: "DeliveryEnded", delivery, how: "dropped" })
  }
  emit(s, { _tag: "UpdateDropped", id: delivery.id, callId: delivery.call.callId })
}

/** It no longer counts as waiting. */
const forget = (delivery: Delivery): void => {
  const { call } = delivery
  if (call.waiting.length > 0) call.waiting = without(call.waiting, delivery)
}

/** Waiting deliveries that nobody will voice; their items stay in the history (rules D5, D10). */
export const dropPending = (s: State, deliveries: ReadonlyArray<Delivery>): void => {
  if (deliveries.length === 0) return
  for (const delivery of deliveries) {
    unqueue(s, delivery)
    forget(delivery)
    delivery.state = { _tag: "Ended", how: "dropped" }
    observe(s, { _tag: "DeliveryEnded", delivery, how: "dropped" })
  }
  observe(s, { _tag: "ReplyEnded", reply: undefined, status: "dropped" })
  emit(s, {
    _tag: "ReplyEnded",
    replyId: `reply_${++s.replyId}`,
    updateIds: deliveries.map((delivery) => delivery.id),
    status: "dropped"
  })
  for (const delivery of deliveries) Jobs.close(s, delivery.call.jobs)
}

/** The next reply of any kind shows silent updates to the model: they wait no longer. */
export const silentShown = (s: State): void => {
  for (const delivery of s.silent) forget(delivery)
  s.silent = []
}

/**
 * Takes from the queue what one reply can cover now: of all that may be voiced, what has the reply templates of the
 * first, or of the first that interrupts (rules D1, U7).
 */
export const take = (s: State, may: (delivery: Delivery) => boolean, urgent: boolean): Reply | undefined => {
  const agent = currentAgent(s)
  const mine = Array.from(s.pending).filter(may)
  const first = urgent ? mine.find((delivery) => delivery.mode === "interrupt") : mine[0]
  if (first === undefined) return undefined
  const prompts = promptsOf(first.call, agent)
  const items = mine.filter((delivery) => {
    const other = promptsOf(delivery.call, agent)
    return other.replyAtTail === prompts.replyAtTail && other.replyMaybeCovered === prompts.replyMaybeCovered
  })
  const reply: Reply = {
    id: `reply_${++s.replyId}`,
    items,
    ids: items.map((delivery) => delivery.id),
    act: items.some((delivery) => delivery.act),
    speech: undefined
  }
  for (const delivery of items) {
    unqueue(s, delivery)
    forget(delivery)
    delivery.state = { _tag: "Scheduled", reply }
  }
  return reply
}

export const promptsOf = (call: Call, agent: Activity) => call.tool?.prompts ?? agent.prompts

/** The history's items of these deliveries. */
export const pairsOf = (s: State, deliveries: Iterable<Delivery>): ReadonlyArray<ChatItem> => {
  const ids = new Set(Array.from(deliveries, (delivery) => delivery.id))
  return ids.size === 0 ? [] : s.history.filter((item) => "callId" in item && ids.has(item.callId))
}

/** Is the newest of these items the last item of the conversation? */
export const atTail = (s: State, reply: Reply): boolean => {
  const last = s.history.findLast((item) => item._tag !== "AgentHandoff")
  const newest = reply.items[reply.items.length - 1]
  return last?._tag === "FunctionCallOutput" && newest !== undefined && last.callId === newest.id
}

export const endReply = (
  s: State,
  reply: Reply,
  status: "completed" | "interrupted" | "skipped" | "failed",
  { begun, broken }: Pick<Speech, "begun" | "broken">
): void => {
  emit(s, {
    _tag: "ReplyEnded",
    replyId: reply.id,
    ...(reply.speech === undefined ? {} : { speechId: reply.speech.id }),
    updateIds: reply.ids,
    status
  })
  observe(s, { _tag: "ReplyEnded", reply, status })
  // nothing of it was heard, so nothing is lost; else the session's option decides, after an interruption (rules D6, O5)
  const redeliver = status === "interrupted" && (!begun || s.options.onInterruptedReply === "redeliver")
  const again = s.phase === "open" && (redeliver || (broken !== undefined && !begun))
  const waiting: Array<Delivery> = []
  for (const delivery of reply.items) {
    if (again && target(s, delivery).state !== "ended") {
      delivery.state = Waiting
      // it is given again at idle, not before the turn that cut it (rule D6)
      delivery.mode = "when-idle"
      waiting.push(delivery)
    } else {
      delivery.state = { _tag: "Ended", how: status }
      observe(s, { _tag: "DeliveryEnded", delivery, how: status })
      Jobs.close(s, delivery.call.jobs)
    }
  }
  if (waiting.length === 0) return
  // they count again, among what waits by its age
  for (const delivery of waiting) {
    const { call } = delivery
    if (delivery.kind === "update") call.waiting = [...call.waiting, delivery].sort((a, b) => a.seq - b.seq)
  }
  if (broken === undefined) requeue(s, waiting)
  else park(s, waiting)
  for (const delivery of waiting) bound(s, delivery.call)
}

/** Nobody waits for an output that has failed: they wait for one that plays (rule O5). */
const park = (s: State, deliveries: ReadonlyArray<Delivery>): void => {
  s.parked = [...s.parked, ...deliveries]
  for (const { call } of deliveries) Jobs.close(s, call.jobs)
}

/** A speech has begun to be played: what an output has failed is tried again. */
export const unpark = (s: State): void => {
  const { parked } = s
  s.parked = none
  for (const { call } of parked) call.jobs = Jobs.reopen(call.jobs)
  requeue(s, parked)
  dropPending(
    s,
    parked.filter((delivery) => target(s, delivery).state === "ended")
  )
}

/** The session closes: their last reply was the one that failed them. */
export const endParked = (s: State): void => {
  for (const delivery of s.parked) {
    delivery.state = { _tag: "Ended", how: "interrupted" }
    observe(s, { _tag: "DeliveryEnded", delivery, how: "interrupted" })
  }
  s.parked = none
}

const requeue = (s: State, deliveries: ReadonlyArray<Delivery>): void => {
  const later = Array.from(s.pending)
  s.pending.clear()
  s.urgent = 0
  for (const delivery of deliveries.concat(later)) queue(s, delivery)
}
