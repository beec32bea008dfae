/**
 * What a line of the user means to the chat.
 */

import * as Deciding from "../shared/Deciding.js"

export type Command =
  | { readonly _tag: "Decide"; readonly command: Deciding.Command }
  | { readonly _tag: "Say"; readonly text: string }
  | { readonly _tag: "Tasks" }
  | { readonly _tag: "Cancel"; readonly callId: string | undefined }
  | { readonly _tag: "Help" }
  | { readonly _tag: "Quit" }
  | { readonly _tag: "Unknown"; readonly name: string }

export const help = [
  "/tasks                 what runs in the background",
  "/cancel [ID]           cancel a running call; without an id the only one there is",
  ...Deciding.help,
  "/help                  this",
  "/quit                  close the conversation; what runs is cancelled",
  "Everything else is said to the agent."
]

/** Undefined for an empty line. */
export const parse = (line: string): Command | undefined => {
  const text = line.trim()
  if (text === "") return undefined
  if (!text.startsWith("/")) return { _tag: "Say", text }
  const [name = "", argument] = text.slice(1).split(/\s+/)
  const command = Deciding.parse(name.toLowerCase(), text.slice(1 + name.length))
  if (command !== undefined) return { _tag: "Decide", command }
  switch (name.toLowerCase()) {
    case "tasks":
      return { _tag: "Tasks" }
    case "cancel":
      return { _tag: "Cancel", callId: argument }
    case "help":
      return { _tag: "Help" }
    case "quit":
    case "exit":
    case "q":
      return { _tag: "Quit" }
    default:
      return { _tag: "Unknown", name }
  }
}
