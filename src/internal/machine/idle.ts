/**
 * Idleness, and who waits for it: a program, a handler that wants the floor. The user's own turn is claimed here, too.
 */
import * as Behalf from "./behalf.js"
import * as Replies from "./replies.js"
import * as Speech from "./speech.js"
import {
  type Call,
  currentAgent,
  type Delivery,
  emit,
  type Floor,
  type FloorRequest,
  type IdleWaiter,
  type Run,
  type Speech as SpeechState,
  type State,
  wake
} from "./state.js"

// ------------------------------------------------------------------------------------------------------------ idleness

/**
 * Idle: the agent neither speaks nor thinks, nothing is queued, the user does not speak, nobody holds the floor. For
 * the handler of an inline call the waiting of its own turn, and its own hold of the floor, do not count; nor do turns
 * that wait for it in turn, unless a reply is to start (rule D2).
 */
export const isIdle = (s: State, caller: Call | undefined, strict = false): boolean =>
  hindrances(s, caller, strict)?.length === 0

/** Somebody has the mouth, or had it, and its output has not stopped. */
const isSpeaking = (s: State): boolean => s.mouth !== undefined || s.stopping !== undefined

/** A turn that waits counts, unless it waits for the caller: by its own call, or by one that waits for it in turn. */
const isInTheWay = (s: State, speech: SpeechState, caller: Call, strict: boolean): boolean =>
  !isInlineIn(caller, speech) &&
  speech.step?.calls.some(
    (call) =>
      call.run !== undefined &&
      Behalf.isAwaitedBy(call, speech) &&
      Behalf.worksFor(s, caller, call.run, { turns: !strict })
  ) !== true &&
  (strict || !isHeldUp(s, speech, caller))

/** What has to end before the session is idle for the caller; `undefined`: it is in the middle of something that will end. */
export const hindrances = (
  s: State,
  caller: Call | undefined,
  strict: boolean
): ReadonlyArray<SpeechState | Floor> | undefined => {
  if (s.phase !== "open" || isSpeaking(s) || s.userClaims > 0 || s.leavingSince !== undefined) return undefined
  // the session has not begun
  if (s.agents.length === 1 && s.agents[0]?.state === "paused") return undefined
  const found: Array<SpeechState | Floor> = s.floors.filter(
    (floor) => caller === undefined || !within(s, caller, floor.call)
  )
  for (const speech of s.speeches) {
    if (!Speech.isActive(speech)) continue
    // it cannot begin before the caller has ended
    if (caller !== undefined && Speech.before(s, speech).some((other) => isInlineIn(caller, other))) continue
    if (speech.state !== "waiting" || caller === undefined || isInTheWay(s, speech, caller, strict)) found.push(speech)
  }
  return found
}

/** A handler is inline in each turn that waits for it: those of calls that joined its run, too. */
export const isInlineIn = (caller: Call, speech: SpeechState): boolean =>
  callsBeside(caller).some((call) => call.state._tag === "Inline" && call.step.speech === speech)

const isInline = (caller: Call): boolean => callsBeside(caller).some((call) => call.state._tag === "Inline")

const callsBeside = (caller: Call): ReadonlyArray<Call> => caller.run?.calls ?? [caller]

/** Others who wait for idle or the floor wait for the caller: it holds the floor, or its own turn waits for it. */
const holdsUp = (s: State, caller: Call): boolean =>
  isInline(caller) || s.floors.some((floor) => floor.call.run === caller.run)

/**
 * A turn that goes on only once somebody else has found the session idle: its calls are queued behind such handlers (or
 * such as wait for this very turn, for one of the caller's, or for another that is held up), or, if these wait for the
 * caller in turn, are such handlers. It must not be waited for.
 */
const isHeldUp = (s: State, speech: SpeechState, caller: Call, seen = new Set<SpeechState>()): boolean => {
  if (seen.has(speech)) return true
  seen.add(speech)
  const byCaller = holdsUp(s, caller)
  const waits = (run: Run): boolean =>
    s.floorRequests.some((request) => request.call.run === run) ||
    Array.from(s.idleWaiters).some((waiter) => waiter.caller?.run === run) ||
    Array.from(s.speeches).some(
      (other) => waitsFor(other, run) && (isInlineIn(caller, other) || isHeldUp(s, other, caller, seen))
    )
  return (
    speech.step?.calls.every(
      ({ output, run }) =>
        output !== undefined || (run !== undefined && (isBehind(s, run, waits) || (byCaller && waits(run))))
    ) === true
  )
}

/** It is queued, and nobody who is at work there ends before what they wait for. */
const isBehind = (s: State, run: Run, waits: (run: Run) => boolean): boolean =>
  run.phase === "queued" &&
  Array.from(s.runs).every(
    (other) => other.tool.executor !== run.tool.executor || other.phase !== "working" || waits(other)
  )

/**
 * Nothing is open (rules R6, N2): no turn, no call at work, nothing that waits to be voiced, no hand-off, and the user does
 * not speak. An `onEnter` that goes on for ever does not count. It is asked after each input of a session that somebody
 * watches: the parts that are most likely to hinder come first, and nothing is made.
 */
export const isQuiet = (s: State): boolean =>
  s.speeches.size === 0 &&
  (s.runs.size === 0 || (s.durable !== undefined && onlyAsks(s))) &&
  s.pending.size === 0 &&
  s.phase === "open" &&
  // no task
  s.agents.length === 1 &&
  s.mouth === undefined &&
  s.userClaims === 0 &&
  s.jobs.size === 0 &&
  s.floors.length === 0 &&
  s.floorRequests.length === 0 &&
  s.handoff === undefined &&
  s.handoffWaiters.length === 0 &&
  s.leavingSince === undefined &&
  s.entering === undefined

/** All that is open waits for somebody to agree, and for no time: a durable session keeps it without being there. */
const onlyAsks = (s: State): boolean =>
  s.runs.size === s.approvals.length &&
  s.approvals.every(({ state }) => state._tag === "Waiting" && state.expiresAt === undefined)

/** For `onExit`, which waits while its agent leaves: nothing that may be spoken is left. */
const isSilent = (s: State): boolean =>
  !isSpeaking(s) && s.userClaims === 0 && !Array.from(s.speeches).some((speech) => Speech.mayGoOn(s, speech))

/** Is this call the one that holds the floor, or is it part of what that one waits for? */
const within = (s: State, call: Call, holder: Call): boolean =>
  call === holder || Behalf.worksFor(s, call, holder.run ?? holder)

// ---------------------------------------------------------------------------------------------------- who waits for it

export const addWaiter = (s: State, waiter: Omit<IdleWaiter, "leaving">): IdleWaiter => {
  const added: IdleWaiter = { ...waiter, leaving: s.leavingSince !== undefined }
  if (s.phase === "open") s.idleWaiters.add(added)
  else wake(s, () => added.resume(false))
  return added
}

export const removeWaiter = (s: State, waiter: IdleWaiter): void => {
  s.idleWaiters.delete(waiter)
}

/** Tells those whose moment has come. */
export const wakeWaiters = (s: State): void => {
  for (const waiter of s.idleWaiters) {
    if (isIdle(s, waiter.caller) || (waiter.leaving && isSilent(s))) tellWaiter(s, waiter)
  }
}

export const tellWaiter = (s: State, waiter: IdleWaiter): void => {
  s.idleWaiters.delete(waiter)
  wake(s, () => waiter.resume(true))
}

const waitsFor = (speech: SpeechState, run: Run): boolean => speech.waiters.some(({ caller }) => caller?.run === run)

/** The user has the floor: what has the mouth and has not begun gives it back (rule O1). */
export const claimUserTurn = (s: State): void => {
  s.claims++
  if (++s.userClaims === 1) emit(s, { _tag: "UserStateChanged", state: "speaking" })
  Speech.giveBack(s)
}

/** Once the floor is free, what was paused goes on (rule O7). */
export const releaseUserTurn = (s: State): void => {
  if (--s.userClaims > 0) return
  emit(s, { _tag: "UserStateChanged", state: "listening" })
  Speech.resume(s)
}

// ----------------------------------------------------------------------------------------------------------- the floor

/** The call that holds the floor: the last that was granted it. */
export const floorHolder = (s: State): Call | undefined => s.floors[s.floors.length - 1]?.call

export const requestFloor = (s: State, call: Call, resume: (granted: boolean) => void): FloorRequest => {
  const request: FloorRequest = { call, seq: ++s.seq, granted: false, resume }
  if (s.phase !== "open" || call.state._tag === "Ended") wake(s, () => resume(false))
  else s.floorRequests.push(request)
  return request
}

/** The effect that wanted the floor has ended, whether it had got it or not. */
export const leaveFloor = (s: State, request: FloorRequest): void => {
  if (request.granted) releaseFloor(s, request.call)
  else withdrawFloorRequest(s, request)
}

/** Of a handler that has ended: what a fiber that it leaked still holds, it holds no longer. */
export const leaveFloors = (s: State, run: Run): void => {
  for (const request of s.floorRequests.filter((other) => other.call.run === run)) {
    withdrawFloorRequest(s, request)
    wake(s, () => request.resume(false))
  }
  for (let i = s.floors.length - 1; i >= 0; i--) if (s.floors[i]?.call.run === run) s.floors.splice(i, 1)
}

const withdrawFloorRequest = (s: State, request: FloorRequest): void => {
  const i = s.floorRequests.indexOf(request)
  if (i >= 0) s.floorRequests.splice(i, 1)
}

const releaseFloor = (s: State, call: Call): void => {
  const i = s.floors.findLastIndex((floor) => floor.call === call)
  const floor = s.floors[i]
  if (floor === undefined) return
  if (--floor.depth === 0) s.floors.splice(i, 1)
}

/**
 * What may be voiced now: all that is the current agent's. While the floor is held, only what the call that holds it
 * reports, and the calls of what it waits for.
 */
export const deliverable = (s: State): ((delivery: Delivery) => boolean) => {
  const agent = currentAgent(s)
  const holder = floorHolder(s)
  return (delivery) =>
    Replies.target(s, delivery) === agent &&
    (holder === undefined ||
      delivery.call.run === holder.run ||
      (agent.task?.call === holder && delivery.call.owner === agent) ||
      Behalf.isFor(s, delivery.call.jobs, holder.run ?? holder))
}

/** The floor goes to the oldest request, once the own reports of its call are out; older reports go first (rule F5). */
export const grantFloor = (s: State): boolean => {
  for (const request of s.floorRequests) {
    const { call } = request
    const holder = s.floors[s.floors.length - 1]
    if (holder?.call === call) {
      holder.depth++
    } else {
      if (!isIdle(s, call)) continue
      if (isIdle(s, floorHolder(s), true)) {
        const may = deliverable(s)
        if (Array.from(s.pending).some((d) => may(d) && (d.call === call || d.seq < request.seq))) continue
      }
      s.floors.push({ call, depth: 1 })
    }
    granted(s, request)
    return true
  }
  return false
}

/** Of those who wait for each other, this one begins. */
export const giveFloor = (s: State, request: FloorRequest): void => {
  s.floors.push({ call: request.call, depth: 1 })
  granted(s, request)
}

const granted = (s: State, request: FloorRequest): void => {
  withdrawFloorRequest(s, request)
  request.granted = true
  wake(s, () => request.resume(true))
}
