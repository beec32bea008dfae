/**
 * Messages to calls at work, from the program and from the model; and the stream that their handlers read (rules G).
 */
import * as Tool from "@effect/ai/Tool"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { ToolError } from "../../Tags.js"
import * as Calls from "../machine/calls.js"
import * as Messages from "../machine/messages.js"
import type * as State from "../machine/state.js"
import { messageTaskName, takers, unfitMessage } from "../machine/texts.js"
import { companion, type Environment } from "../scope/build.js"
import { readGiven, readText, shapes } from "../scope/messages.js"
import { type BoundTool, boundOf } from "../scope/tool.js"
import { doneUnless, type Host, refused, waitIn } from "./host.js"

/** What a call is told, until it has ended. */
export const messagesTo = (host: Host, run: State.Run): Stream.Stream<unknown> => {
  const { inbox } = run
  return inbox === undefined ? Stream.empty : Stream.repeatEffectOption(next(host, run, inbox))
}

/** One message: who is interrupted while it waits has taken none. */
const next = (host: Host, run: State.Run, inbox: Messages.Inbox): Effect.Effect<unknown, Option.Option<never>> =>
  Effect.suspend(() => {
    const letter = host.transact(() => Messages.take(inbox))
    if (letter !== undefined) return Effect.succeed(letter.value)
    if (run.phase === "ended") return Effect.fail(Option.none())
    const over = () => inbox.unread.length > 0 || run.phase === "ended"
    // all readers are told, and another one may have been first
    return Effect.zipRight(waitIn(host, inbox, "readers", over), next(host, run, inbox))
  })

export function messageTool(host: Host, callId: string, from: "program", given: unknown): Effect.Effect<void, ToolError>
export function messageTool(host: Host, callId: string, from: "model", given: string): Effect.Effect<void, ToolError>
export function messageTool(
  host: Host,
  callId: string,
  from: Messages.Sent["from"],
  given: unknown
): Effect.Effect<void, ToolError> {
  return Effect.suspend(() => {
    const call = Calls.toMessage(host.state, callId)
    if (typeof call === "string") return refused(call)
    const tool = boundOf(call.tool as State.Tool)
    const read = from === "model" ? readText(tool, given as string) : readGiven(tool, given)
    return Effect.flatMap(read, (sent) => {
      if (typeof sent === "string") return refused(unfitMessage(callId, tool.name, sent))
      // a schema may have taken its time
      return doneUnless(host.transact((s) => Calls.message(s, callId, { from, ...sent })))
    })
  })
}

const toolWith = (more: ReadonlyArray<string>) =>
  Tool.make(messageTaskName, {
    description: "Tells a running task something, such as a change of what was asked for.",
    parameters: {
      call_id: Schema.String.annotations({ description: "The call id of the task." }),
      message: Schema.String.annotations({
        description:
          more.length === 0 ? "What to tell it." : `What to tell it; for these tasks as JSON. ${more.join(" ")}`
      })
    },
    success: Schema.String,
    failure: ToolError
  })

/** The same for all agents whose tools take text. */
const inWords = toolWith([])

export const messageTask = (host: Host, place: Environment, tools: ReadonlyArray<BoundTool>): BoundTool => {
  const more = shapes(tools)
  return companion(
    more.length === 0 ? inWords : toolWith(more),
    ({ call_id, message }: { readonly call_id: string; readonly message: string }) => {
      const name = host.state.calls.get(call_id)?.call.name
      return Effect.as(messageTool(host, call_id, "model", message), `${name} (${call_id}) was told.`).pipe(
        Effect.mapError((error) =>
          name === undefined ? new ToolError({ message: `${error.message} ${takers(takersIn(host))}` }) : error
        )
      )
    },
    place
  )
}

const takersIn = ({ state }: Host): ReadonlyArray<string> =>
  Calls.running(state)
    .filter((call) => Messages.whyNotNow(state, call) === undefined)
    .map(({ call, callId }) => `${call.name} (${callId})`)
