/**
 * Prints a conversation as it happens: when, who, what. Nothing in here is needed to use the library.
 */
import { existsSync, realpathSync } from "node:fs"
import { fileURLToPath } from "node:url"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { Console, Effect, Stream, TestContext } from "effect"
import type { AgentSession, SessionEvent } from "effect-meantime"
import { TestSession } from "effect-meantime/testing"

/** Hours, minutes and seconds since the start: a `TestClock` starts at 0. */
const time = (millis: number) => {
  const seconds = Math.floor(millis / 1000)
  const parts = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60]
  return parts.map((part) => String(part).padStart(2, "0")).join(":")
}
const show = (value: unknown) => (typeof value === "string" ? value : JSON.stringify(value))

/** Prints what is said, by the name of whoever says it, and what the tools do. */
export const print = (session: AgentSession.Service) =>
  Effect.gen(function* () {
    let agent = (yield* session.currentAgent).name
    const names = new Map<string, string>()
    const line = (event: SessionEvent.SessionEvent): ReadonlyArray<string> => {
      const said = (who: string, text: string) => [`${time(event.at)}  ${who.padEnd(8)} ${text}`]
      const tool = (callId: string, text: string) => said("", `· ${names.get(callId)} (${callId}) ${text}`)
      switch (event._tag) {
        case "ItemAdded":
          if (event.item._tag !== "Message") return []
          return said(event.item.role === "user" ? "user" : agent, event.item.text)
        case "ToolCallStarted":
          names.set(event.call.callId, event.call.name)
          return tool(event.call.callId, `starts ${show(event.call.arguments)}`)
        case "ToolCallUpdated":
          return tool(event.callId, `reports: ${show(event.message)}`)
        case "ToolCallProgress":
          return tool(event.callId, `… ${show(event.value)}`)
        case "ToolCallEnded":
          return tool(event.callId, `${event.status}: ${show(event.output)}`)
        case "AgentHandoff": {
          const lines = said("", `⇒ ${agent} hands over to ${event.to}`)
          agent = event.to
          return lines
        }
        case "SessionError":
          return said("", `! ${event.error.message}`)
        default:
          return []
      }
    }
    yield* session.events.pipe(
      Stream.mapConcat(line),
      Stream.runForEach((text) => Console.log(text)),
      Effect.forkScoped
    )
    yield* TestSession.settle
  })

/** Runs a program in virtual time, where its file is the one that was started; imported, it does nothing. */
export const main = (url: string, program: Effect.Effect<void, unknown>): void => {
  const started = process.argv[1]
  if (started === undefined || !existsSync(started) || realpathSync(started) !== fileURLToPath(url)) return
  NodeRuntime.runMain(program.pipe(Effect.provide(TestContext.TestContext)))
}
