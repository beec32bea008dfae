/**
 * The chat as plain lines: for pipes, and for terminals whose rows cannot be drawn again.
 */
import { fstatSync } from "node:fs"
import * as NodeStream from "@effect/platform-node/NodeStream"
import { Effect, Stream } from "effect"
import * as Chat from "./Chat.js"

const unreadable = (cause: unknown): Chat.Trouble =>
  new Chat.Trouble({
    message: `Standard input cannot be read (${cause instanceof Error ? cause.message : String(cause)}).`,
    code: 1
  })

const lines: Stream.Stream<string, Chat.Trouble> = Stream.unwrap(
  Effect.try({
    try: () => {
      // Node reads a directory as if it were empty
      if (fstatSync(0).isDirectory()) throw new Error("it is a directory")
      return NodeStream.fromReadable(() => process.stdin, unreadable).pipe(Stream.decodeText(), Stream.splitLines)
    },
    catch: unreadable
  })
)

const clock = (millis: number): string => new Date(millis).toTimeString().slice(0, 8)

export const face: Chat.Face<Chat.Trouble> = {
  lines,
  typed: false,
  entry: ({ at, label, text }) =>
    Effect.sync(() => {
      if (!process.stdout.destroyed) process.stdout.write(`${clock(at)} ${label.padEnd(7)} ${text}\n`)
    }),
  view: () => Effect.void,
  saying: () => Effect.void
}
