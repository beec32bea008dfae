/**
 * One call outside any session (rule U8).
 */
import type * as Toolkit from "@effect/ai/Toolkit"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Runtime from "effect/Runtime"
import type { Executed, ExecuteOptions } from "../../AsyncTool.js"
import type { File, ToolCall } from "../../ChatContext.js"
import { RunContext } from "../../Tags.js"
import type { Prompts } from "../../ToolPrompts.js"
import type { Outcome } from "../machine/state.js"
import { invalidArguments, timedOut, unexpected } from "../machine/texts.js"
import { printable } from "../model/errors.js"
import * as Approval from "../scope/approval.js"
import { millisOf } from "../scope/build.js"
import { codecOf, describeIssue, failed, type RefusedResult, total, work } from "../scope/codec.js"
import { handlerOf } from "../scope/handlers.js"
import * as Mistakes from "../scope/mistakes.js"
import { addedParameters, addedProblem, optionsOf, ownArguments, toDecode } from "../scope/tool.js"
import { defaultFileBytes, jsonWithFiles, readFiles, unwrap } from "../values/files.js"
import { guarded, suspended } from "../values/guarded.js"
import { bounded, copyPlain, isRecord, plainArguments, toJson } from "../values/json.js"
import { defaultOutputLength, errorIn, errorInTool, ofListeners } from "../values/options.js"
import { inForce } from "../values/templates.js"
import { approvalVerdictOf, askedOf, cutTo, type Log, refusedIn, textOf, thrownBy } from "./door.js"
import * as Outside from "./outside.js"
import { Undoing } from "./undoing.js"

export const execute = (
  toolkit: Toolkit.Any,
  call: { readonly callId?: string | undefined; readonly name: string; readonly arguments: unknown },
  listeners?: ExecuteOptions
): Effect.Effect<Executed, never, any> =>
  Effect.contextWithEffect((context: Context.Context<any>) => {
    const oddListener = errorIn("AsyncTool.execute", listeners, ofListeners)
    if (oddListener !== undefined) return Effect.die(oddListener)
    const updates: Array<unknown> = []
    const updateFiles: Array<ReadonlyArray<File>> = []
    const withFiles = (): Pick<Executed, "updateFiles"> =>
      updateFiles.some((files) => files.length > 0) ? { updateFiles } : {}
    const bound = (value: unknown): Effect.Effect<unknown> => {
      const { cut, value: kept } = bounded(value, defaultOutputLength)
      if (cut === undefined) return Effect.succeed(kept)
      return Effect.as(
        Effect.logWarning(`${call.name} gave a text of ${cut} characters. ${cutTo(defaultOutputLength)}`),
        kept
      )
    }
    const fail = (output: unknown): Executed => ({ output, isError: true, updates, ...withFiles() })
    const tool = Object.hasOwn(toolkit.tools, call.name) ? toolkit.tools[call.name] : undefined
    if (tool === undefined) {
      return Effect.succeed(
        fail(`There is no tool "${call.name}". The tools are: ${Object.keys(toolkit.tools).join(", ")}.`)
      )
    }
    const options = optionsOf(tool)
    const wrong = errorInTool(tool.name, options) ?? Mistakes.inTool(tool)
    if (wrong !== undefined) return Effect.die(wrong)
    const handler = handlerOf(tool, context)
    if (handler === undefined) return Effect.die(Mistakes.noHandler(tool.name, "the context of AsyncTool.execute"))
    const codec = codecOf(tool)
    if (!isRecord(call.arguments)) {
      return Effect.succeed(fail(invalidArguments(call.name, "they are not a JSON object")))
    }
    const args = plainArguments(call.arguments)
    if (args === undefined) {
      return Effect.succeed(fail(invalidArguments(call.name, "they are nested too deeply, or no JSON")))
    }
    const undoing = new Undoing()
    const service = Outside.make({
      // the handler may change what it is given: its parameters are another copy
      call: { callId: call.callId ?? "call", name: call.name, arguments: copyPlain(args) },
      update: (given) =>
        Effect.suspend(() => {
          const { files: outer, value } = unwrap(given)
          const { files, json } = jsonWithFiles(value, outer)
          const read = readFiles(files, defaultFileBytes) ?? []
          return Effect.flatMap(bound(json), (kept) =>
            Effect.suspend(() => {
              updates.push(kept)
              updateFiles.push(read)
              return tell("onUpdate", listeners?.onUpdate, kept)
            })
          )
        }),
      progress: (value) => Effect.suspend(() => tell("onProgress", listeners?.onProgress, toJson(unwrap(value).value))),
      step: undoing.step,
      commit: undoing.commit
    })
    const timeout = millisOf(options.timeout)
    const added = addedParameters(options.onDuplicate, options)
    const odd = addedProblem(added, args)
    const invalid = (problem: string): Effect.Effect<Outcome> =>
      Effect.succeed(failed("invalid_arguments", invalidArguments(call.name, problem)))
    const within = (handled: Effect.Effect<Outcome, RefusedResult, any>) =>
      timeout === undefined
        ? handled
        : Effect.timeoutTo(handled, {
            duration: timeout,
            onTimeout: () => failed("timeout", timedOut(call.name, timeout)),
            onSuccess: (outcome) => outcome
          })
    const { approval, asks } = Approval.bind(tool, options, Context.get(context, Approval.ApprovalPolicy), undefined)
    const shown = (): ToolCall => ({
      callId: call.callId ?? "call",
      name: call.name,
      arguments: copyPlain(args)
    })
    const approved =
      approval === undefined
        ? undefined
        : Effect.suspend(() => approvalOf({ asks, decide: listeners?.decide, params: decoded, prompts, shown }))
    const decoded = Effect.suspend(() =>
      codec.decode(toDecode({ ownArguments: ownArguments(added, codec) }, copyPlain(args) as typeof args))
    )
    const prompts = inForce(context)
    const begun = (params: unknown): Effect.Effect<Outcome, RefusedResult, any> => {
      // its time is that of the handler, of which nothing runs before
      const handled = Effect.suspend(() => within(work(total(handler.handler)(params), codec)))
      if (approved === undefined) return handled
      return Effect.flatMap(approved, (denied) =>
        denied === undefined ? handled : Effect.succeed(failed("denied", denied))
      )
    }
    const run: Effect.Effect<Outcome, RefusedResult, any> = Effect.matchEffect(decoded, {
      onFailure: (issue) => invalid([odd, describeIssue(issue)].filter((problem) => problem !== undefined).join("; ")),
      onSuccess: (params) => (odd === undefined ? begun(params) : invalid(odd))
    })
    return run.pipe(
      Effect.onExit((exit) =>
        Exit.isSuccess(exit) && exit.value._tag !== "Failure" ? Effect.void : undoing.all(call.name)
      ),
      Effect.flatMap((outcome): Effect.Effect<Executed> => {
        if (outcome._tag !== "Success" && outcome._tag !== "Failure") {
          return Effect.succeed({ output: undefined, isError: false, updates, ...withFiles() })
        }
        const isError = outcome._tag === "Failure"
        const read = outcome._tag === "Success" ? readFiles(outcome.files, defaultFileBytes) : undefined
        const files = read === undefined ? {} : { files: read }
        return Effect.map(bound(outcome.output), (output) => ({ output, isError, updates, ...files, ...withFiles() }))
      }),
      Effect.catchAllCause((cause) =>
        Cause.isInterruptedOnly(cause)
          ? Effect.interrupt
          : Effect.as(logDefect(call.name, cause), fail(unexpected(call.name)))
      ),
      Effect.provide(Context.add(Context.merge(handler.context, context), RunContext, service) as Context.Context<any>)
    )
  })

/** A listener of the program that throws is told of in the log; the call goes on. It gets a copy of what is kept. */
const tell = (
  name: "onUpdate" | "onProgress",
  listener: ((value: unknown) => void) | undefined,
  value: unknown
): Effect.Effect<void> =>
  listener === undefined
    ? Effect.void
    : guarded(
        () => {
          listener(copyPlain(value))
          return Effect.void
        },
        (thrown) => Effect.logError(`${name} of AsyncTool.execute failed.`, thrownBy(thrown))
      )

const logDefect = (name: string, cause: Cause.Cause<unknown>): Effect.Effect<void> => {
  const refused = refusedIn(cause)
  return refused === undefined
    ? Effect.logError(`${name} failed unexpectedly.`, printable(cause))
    : Effect.logError(`${name} returned what its own schema refuses: ${refused.detail}`)
}

/** Why the call may not run, in the words of its scope; none: it may (rule A10). */
const approvalOf = ({
  asks,
  decide,
  params,
  prompts,
  shown
}: {
  readonly asks: Approval.Asks | undefined
  readonly decide: ExecuteOptions["decide"]
  readonly params: Effect.Effect<unknown, unknown, any>
  readonly prompts: Prompts
  readonly shown: () => ToolCall
}): Effect.Effect<string | undefined, never, any> =>
  Effect.gen(function* () {
    const call = shown()
    const log: Log = (level, message, cause) =>
      Runtime.runSync(runtime, level === "error" ? Effect.logError(message, cause) : Effect.logWarning(message, cause))
    const runtime = yield* Effect.runtime<never>()
    const denied = (reason: string) =>
      textOf(
        "approvalDenied",
        prompts.approvalDenied,
        { toolName: call.name, callId: call.callId, reason, how: "denied" },
        log
      )
    if (asks !== undefined) {
      const asked = yield* Effect.exit(askedOf(asks, params, shown))
      if (Exit.isFailure(asked) && Cause.isInterruptedOnly(asked.cause)) return yield* Effect.failCause(asked.cause)
      const verdict = Exit.isSuccess(asked) ? approvalVerdictOf(asks, asked.value) : undefined
      if (verdict?._tag === "Run") return undefined
      if (verdict?._tag === "Deny") return denied(verdict.reason)
      if (Exit.isFailure(asked)) log("error", `The approval policy of ${call.name} failed.`, printable(asked.cause))
      else if (verdict === undefined) log("error", `The approval policy of ${call.name} gave no verdict.`)
    }
    if (decide === undefined) return denied("")
    const decided = yield* Effect.exit(suspended(() => decide(shown())))
    if (Exit.isSuccess(decided)) return (decided.value as unknown) === "approve" ? undefined : denied("")
    if (Cause.isInterruptedOnly(decided.cause)) return yield* Effect.failCause(decided.cause)
    log("error", "decide of AsyncTool.execute failed: the call is denied.", printable(decided.cause))
    return denied("")
  }) as Effect.Effect<string | undefined, never, any>
