/**
 * The calls of the model: their arguments, what decides about duplicates, their handlers, and what is said meanwhile.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import { RunContext } from "../../Tags.js"
import * as Calls from "../machine/calls.js"
import * as Fillers from "../machine/fillers.js"
import * as Machine from "../machine/pump.js"
import type * as State from "../machine/state.js"
import { type BoundTool, errorTypeOf, RefusedResult, toDecode, unexpected } from "../scope/tool.js"
import { canonical } from "../values/json.js"
import { fork, start } from "./fibers.js"
import { HandlerContext } from "./handlerContext.js"
import { type Host, interrupt, log } from "./host.js"
import { withService } from "./overlay.js"

export const startRun = (host: Host, run: State.Run): void => {
  const { stop, tool } = run
  // stopped before it began: nothing of it runs
  if (stop !== undefined) return host.transact((s) => Machine.runEnded(s, run, { _tag: "Interrupted", reason: stop }))
  const owner = run.calls[0] as State.Call
  const context = withService(tool.context, RunContext, new HandlerContext(host, run, owner))
  const place = host.telemetry.inCall(owner, { context, fiberRefs: tool.fiberRefs })
  // the machine's `runs` own it: closing waits for them, or gives them up
  const fiber = start(host, tool.work, place)
  run.fiber = fiber
  fiber.addObserver((exit) => {
    const outcome = outcomeOf(host, run, exit)
    host.transact((s) => Machine.runEnded(s, run, outcome))
  })
  // asked to stop while it started
  if (run.stop !== undefined) interrupt(fiber)
}

const outcomeOf = (host: Host, run: State.Run, exit: Exit.Exit<State.Outcome, RefusedResult>): State.Outcome => {
  const named = (what: string): string => `${Calls.nameOf(run)} ${what}`
  if (Exit.isSuccess(exit)) {
    if (exit.value._tag === "Failure" && run.tool.kind === "user") {
      const { output } = exit.value
      log(host, "warning", named(`failed: ${typeof output === "string" ? output : JSON.stringify(output)}`))
    }
    return exit.value
  }
  const { cause } = exit
  const interrupted = Cause.isInterruptedOnly(cause)
  if (run.stop !== undefined || interrupted) {
    if (!interrupted) log(host, "error", named("failed while it was being stopped."), cause)
    return { _tag: "Interrupted", reason: run.stop ?? "cancelled" }
  }
  const refused = [...Cause.failures(cause), ...Cause.defects(cause)].find((e) => e instanceof RefusedResult)
  if (refused !== undefined) {
    log(host, "error", named(`returned what its own schema refuses: ${(refused as RefusedResult).detail}`))
  } else {
    log(host, "error", named("failed unexpectedly."), cause)
  }
  return defect(run.tool.name, cause)
}

export const decode = (host: Host, call: State.Call, tool: BoundTool, confirmed: boolean): void => {
  const decoding = Effect.gen(function* () {
    const params = yield* Effect.either(
      tool.codec.decode(toDecode(tool, call.call.arguments as Record<string, unknown>))
    )
    if (!Calls.needsKey(tool) || Either.isLeft(params)) return { params, key: undefined }
    // what cannot be encoded is compared as it was sent
    const encoded = yield* Effect.exit(tool.codec.encodeParams(params.right))
    return { params, key: Exit.isSuccess(encoded) ? canonical(encoded.value) : undefined }
  })
  const run = call.run as State.Run
  run.fiber = fork(host, decoding, tool, (exit) => {
    if (Exit.isSuccess(exit)) {
      const { key, params } = exit.value
      host.transact((s) => Calls.decodedArguments(s, call, confirmed, params, key))
      return
    }
    if (!Cause.isInterruptedOnly(exit.cause)) log(host, "error", `${tool.name} failed unexpectedly.`, exit.cause)
    host.transact((s) => Machine.runEnded(s, run, defect(tool.name, exit.cause)))
  })
}

export const askPolicy = (host: Host, admission: State.Admission): void => {
  const { policy } = admission.run.tool
  if (policy._tag !== "Custom" || admission.run.phase !== "admitting") return
  const running = Calls.callsOf(admission.asked)
  const decide = Effect.suspend(() => policy.policy.decide(admission.call.call, running))
  const place = host.telemetry.inCall(admission.call, admission.run.tool)
  admission.fiber = fork(host, decide, place, (exit) => {
    if (Exit.isSuccess(exit)) return host.transact((s) => Calls.policyDecided(s, admission, exit.value))
    if (!Cause.isInterruptedOnly(exit.cause)) {
      log(host, "error", `The duplicate policy of ${admission.run.tool.name} failed.`, exit.cause)
    }
    host.transact((s) => Calls.policyFailed(s, admission))
  })
}

export const sayFiller = (host: Host, filler: State.Filler): void => {
  let text: string | undefined
  try {
    text = filler.say(filler.step)
  } catch (cause) {
    log(host, "error", "The text of a filler failed.", cause)
  }
  host.transact((s) => Fillers.say(s, filler, text))
}

/** A bug of the tool. What kind of error it was is told; all that the model is shown is that there was one. */
const defect = (tool: string, cause: Cause.Cause<unknown>): State.Outcome => {
  const error = Cause.squash(cause)
  const errorType = error instanceof RefusedResult ? "invalid_result" : errorTypeOf(error)
  return { _tag: "Failure", output: unexpected(tool), how: "defect", errorType, cause }
}
