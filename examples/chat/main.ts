/**
 * A chat with the travel agent of the demo in the terminal: `npm run chat`.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { Cause, Effect, Exit, Option } from "effect"
import { choose, Settings } from "../demo/Providers.js"
import { flightsLayer } from "../demo/Travel.js"
import * as Keeping from "../shared/Keeping.js"
import * as Chat from "./Chat.js"
import * as Command from "./Command.js"
import * as Plain from "./Plain.js"

const usage = `Chat with a travel agent that books flights, pays bills and looks up the weather (all simulated).

  npm run chat                                              type; what runs is shown above the line that you type
  printf 'book a flight from Oslo to Tokyo\\n' | npm run chat   plain lines, up to the end of the conversation
  npm run chat -- --file talk.db                            keeps the conversation: kill the terminal in the middle of a
                                                            booking, and start again with the same file

${Command.help.join("\n")}

Up and down recall what you entered. Ctrl-C closes the session: what runs is cancelled. So does Ctrl-D in an empty line.
Piped lines are said one after another, each once the agent has finished speaking; at their end the chat waits for what
still runs, and not for what waits for you. With a file nothing is cancelled by leaving: it goes on the next time.

Environment: OPENAI_API_KEY, ANTHROPIC_API_KEY and DEMO_SPEED, as for npm run demo; without a key the agent answers
offline.

Exit status: 0 when the conversation ended, 1 when there was no input, it could not be read, or the model failed, 2 for
a wrong option or setting, 130 after Ctrl-C.
`

/** The terminal, where there is one whose rows can be drawn again. */
const terminal = process.stdin.isTTY === true && process.stdout.isTTY === true && process.env.TERM !== "dumb"

const conversation = Effect.fnUntraced(function* (file: string | undefined) {
  if (!terminal) return yield* Chat.converse(Plain.face, file)
  // the library for terminals is loaded only where there is one
  const { run } = yield* Effect.promise(() => import("./App.js"))
  // it would end the process at a signal, unless somebody else listens
  process.on("SIGINT", () => {})
  process.on("SIGTERM", () => {})
  return yield* run(process, () => process.exit(130), file)
})

const program = Effect.gen(function* () {
  const given = Keeping.given(process.argv.slice(2))
  if (typeof given === "string") return yield* new Chat.Trouble({ message: given, code: 2 })
  if (given.help) {
    process.stdout.write(usage)
    return
  }
  const settings = yield* Effect.mapError(Settings, (error) => new Chat.Trouble({ message: String(error), code: 2 }))
  const provider = choose(settings)
  process.stdout.write(`Talking through ${provider.name}.\n`)
  yield* conversation(given.file).pipe(
    Effect.provide(provider.layer),
    Effect.provide(flightsLayer({ pace: 1 / settings.speed }))
  )
})

// Where nothing can be written any more, the session is closed in order.
let unwritable: NodeJS.ErrnoException | undefined
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (unwritable === undefined) process.kill(process.pid, "SIGTERM")
  unwritable ??= error
})
process.once("SIGHUP", () => process.kill(process.pid, "SIGTERM"))

NodeRuntime.runMain(program, {
  disableErrorReporting: true,
  teardown: (exit, end) => {
    const [code, message] = outcome(exit)
    if (message !== "") process.stderr.write(`${message}\n`)
    end(code)
    process.exit(code)
  }
})

/** The exit code, and what there is to say about it. */
function outcome(exit: Exit.Exit<unknown, unknown>): readonly [code: number, message: string] {
  if (unwritable !== undefined) {
    return unwritable.code === "EPIPE" ? [0, ""] : [1, `Standard output cannot be written (${unwritable.message}).`]
  }
  if (Exit.isSuccess(exit)) return [0, ""]
  const trouble = Option.getOrUndefined(Cause.failureOption(exit.cause))
  if (trouble instanceof Chat.Trouble) return [trouble.code, trouble.message]
  return Cause.isInterruptedOnly(exit.cause) ? [130, ""] : [1, Cause.pretty(exit.cause)]
}
