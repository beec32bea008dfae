/**
 * A conversation by voice.
 *
 *     npm run voice                        # a rehearsal: a synthesized user talks to the agent
 *     npm run voice -- --record talk.wav   # to listen to it: left the user, right the agent
 *     npm run voice -- --live              # with a microphone and headphones
 */
import { writeFileSync } from "node:fs"
import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect } from "effect"
import { VoiceError } from "effect-meantime/voice"
import { missing } from "./Voices.js"

const args = process.argv.slice(2)
const live = args.includes("--live")
const file = args.includes("--record") ? args[args.indexOf("--record") + 1] : undefined

const millis = (list: ReadonlyArray<{ readonly text: string; readonly millis: number }>): string =>
  list.map(({ millis, text }) => `${Math.round(millis)} ms (${text})`).join(", ")

const main = Effect.gen(function* () {
  const lacking = yield* missing("espeak-ng", ...(live ? ["arecord", "aplay"] : ["flite"]))
  if (lacking.length > 0) {
    return yield* new VoiceError({ message: `Not installed: ${lacking.join(", ")}. See the README of this example.` })
  }
  if (live) {
    const { live } = yield* Effect.promise(() => import("./Live.js"))
    return yield* live
  }
  const { rehearse } = yield* Effect.promise(() => import("./Rehearsal.js"))
  const outcome = yield* rehearse
  yield* Console.log(outcome.transcript.join("\n"))
  yield* Console.log(`\nend of speech → first sound: ${millis(outcome.answered)}`)
  yield* Console.log(`barge-in → silence: ${millis(outcome.silenced)}`)
  if (file !== undefined) writeFileSync(file, outcome.recording)
})

NodeRuntime.runMain(main)
