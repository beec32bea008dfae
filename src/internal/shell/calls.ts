/**
 * The calls of the model: their arguments, what decides about duplicates, their handlers, and what is said meanwhile.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { RunContext } from "../../Tags.js"
import * as Calls from "../machine/calls.js"
import * as Fillers from "../machine/fillers.js"
import * as Machine from "../machine/pump.js"
import type * as State from "../machine/state.js"
import { boundOf } from "../scope/tool.js"
import { guarded, suspended } from "../values/guarded.js"
import * as Door from "./door.js"
import { DurableContext } from "./durableContext.js"
import { fork, start } from "./fibers.js"
import { HandlerContext } from "./handlerContext.js"
import { type Host, interrupt, log } from "./host.js"
import { withService } from "./overlay.js"

export const startRun = (host: Host, run: State.Run): void => {
  const { stop } = run
  const owner = run.calls[0] as State.Call
  const { storing } = host
  const { durable } = host.state
  const stored =
    storing === undefined || durable === undefined ? undefined : new DurableContext(host, run, owner, storing, durable)
  // stopped before it began: nothing of it runs, but to take back what it did in an earlier life of the session
  if (stop !== undefined && stored?.replays !== true) {
    return host.transact((s) => Machine.runEnded(s, run, { _tag: "Interrupted", reason: stop }))
  }
  const tool = boundOf(run.tool)
  const handler = stored ?? new HandlerContext(host, run, owner)
  const context = withService(tool.context, RunContext, handler)
  const place = host.telemetry.inCall(owner, { context, fiberRefs: tool.fiberRefs })
  // the machine's `runs` own it: closing waits for them, or gives them up
  run.fiber = start(host, tool.work, place, (exit) => {
    const undo = handler.undoing(exit)
    if (undo === undefined) return ended(host, run, handler, exit)
    run.fiber = start(host, undo, place, () => ended(host, run, handler, exit))
  })
  // asked to stop while it started
  if (stored?.replays === true ? stored.over : run.stop !== undefined) interrupt(run.fiber)
}

const ended = (host: Host, run: State.Run, handler: HandlerContext, exit: Exit.Exit<State.Outcome, unknown>): void => {
  // it goes on in the next life of the session
  if (host.storing?.stopped === true) return
  const outcome = handler.outcome(exit)
  host.transact((s) => Machine.runEnded(s, run, outcome))
}

export const decode = (host: Host, call: State.Call, run: State.Run): void => {
  const tool = boundOf(run.tool)
  run.fiber = fork(host, Door.decode(tool, Door.argumentsOf(call)), tool, (exit) => {
    if (Exit.isSuccess(exit)) return host.transact((s) => Calls.decoded(s, call, exit.value))
    if (!Cause.isInterruptedOnly(exit.cause)) log(host, "error", `${tool.name} failed unexpectedly.`, exit.cause)
    const outcome = Door.defect(tool.name, exit.cause)
    host.transact((s) => Machine.runEnded(s, run, outcome))
  })
}

export const compare = (host: Host, admission: State.Admission, runs: ReadonlyArray<State.Run>): void => {
  // each with the services of its own scope, which need not be those of the new call
  const keys = Effect.forEach(runs, (run) =>
    Effect.map(Effect.provide(Door.keyOfRun(run), boundOf(run.tool).context), (key) => [run, key] as const)
  )
  const { name } = admission.run.tool
  admission.fiber = fork(host, keys, boundOf(admission.run.tool), (exit) => {
    if (Exit.isSuccess(exit)) return host.transact((s) => Calls.compared(s, admission, new Map(exit.value)))
    if (!Cause.isInterruptedOnly(exit.cause)) {
      log(host, "error", `The arguments of ${name} cannot be compared.`, exit.cause)
    }
    host.transact((s) => Calls.notCompared(s, admission))
  })
}

export const askPolicy = (host: Host, admission: State.Admission, running: ReadonlyArray<State.Run>): void => {
  const tool = boundOf(admission.run.tool)
  const { decide } = tool
  if (decide === undefined || admission.run.phase !== "admitting") return
  const asked = suspended(() =>
    decide(
      Door.shown(admission.call),
      running.flatMap((run) => run.calls.map(Door.shown))
    )
  )
  admission.fiber = fork(host, asked, host.telemetry.inCall(admission.call, tool), (exit) => {
    const verdict = Exit.isSuccess(exit) ? Door.verdictOf(exit.value) : undefined
    if (Exit.isFailure(exit)) {
      if (!Cause.isInterruptedOnly(exit.cause)) {
        log(host, "error", `The duplicate policy of ${tool.name} failed.`, exit.cause)
      }
    } else if (verdict === undefined) {
      log(host, "error", `The duplicate policy of ${tool.name} gave no verdict.`)
    }
    host.transact((s) => Calls.policyDecided(s, admission, verdict))
  })
}

export const sayFiller = (host: Host, filler: State.Filler): void => {
  const text = guarded(
    () => filler.say(filler.step),
    (thrown) => {
      log(host, "error", "The text of a filler failed.", Door.thrownBy(thrown))
      return undefined
    }
  )
  host.transact((s) => Fillers.say(s, filler, text))
}
