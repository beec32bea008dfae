/**
 * The same tool in three places, each of which overrides some of the words and the duplicate policy of the broader one;
 * what the model was shown is printed side by side. Run it:
 *
 *     node --import tsx examples/overriding.ts
 *
 * The model is scripted (no key, no network) and the time is virtual; everything else is as in production.
 */
import { Toolkit } from "@effect/ai"
import { Console, type Duration, Effect, Layer, Schema } from "effect"
import { Agent, AgentSession, AsyncTool, AsyncToolset, DuplicatePolicy, RunContext, ToolPrompts } from "effect-meantime"
import { ScriptedModel, TestSession } from "effect-meantime/testing"
import * as Model from "./shared/model.js"
import * as Transcript from "./shared/transcript.js"

// --- one tool under three names ---------------------------------------------------------------------------------------

const lookUp = <const Name extends string>(name: Name) => AsyncTool.make(name, { success: Schema.String })
const handler = (takes: Duration.DurationInput) => () =>
  RunContext.update("looking").pipe(Effect.zipRight(Effect.sleep(takes)), Effect.as("found"))

const OfSession = Toolkit.make(lookUp("weather"))
const OfAgent = Toolkit.make(lookUp("hotels"))
const OfToolset = Toolkit.make(lookUp("trains"))
const Handlers = Layer.mergeAll(
  OfSession.toLayer({ weather: handler("5 seconds") }),
  OfAgent.toLayer({ hotels: handler("6 seconds") }),
  OfToolset.toLayer({ trains: handler("7 seconds") })
)

// --- three scopes -----------------------------------------------------------------------------------------------------

// The narrowest: it names one template. For all the others, and for the policy, the next broader scope decides.
const trains = AsyncToolset.make("trains", OfToolset).pipe(
  AsyncToolset.provide(ToolPrompts.layer({ update: "toolset: {message}" }))
)

// In between: a policy and two templates. A template is a string, whose placeholders are checked, or a function of typed
// arguments.
const Planner = Agent.make("planner", { instructions: "You plan trips.", tools: [OfAgent, trains] }).pipe(
  Agent.provide(DuplicatePolicy.layer("confirm")),
  Agent.provide(
    ToolPrompts.layer({
      duplicateConfirm: ({ running }) => `agent: ${running[0]?.callId} is at it, sure?`,
      replyMaybeCovered: "agent: say what is new"
    })
  )
)

// The broadest: what is provided to the session holds wherever no other scope says otherwise.
const session = AgentSession.layer({ agent: Planner, tools: [OfSession] }).pipe(
  Layer.provide(Handlers),
  Layer.provide(DuplicatePolicy.layer("reject")),
  Layer.provide(
    ToolPrompts.layer({
      update: "session: {message}",
      duplicateReject: "session: no, {toolName} runs",
      replyMaybeCovered: "session: report"
    })
  )
)

// --- the conversation -------------------------------------------------------------------------------------------------

const all = ["weather", "hotels", "trains"].map((name) => ScriptedModel.toolCall(name))
export const script: ScriptedModel.Script = [
  all,
  "I am looking.",
  all, // all of them once more, while they run
  "They are at it already.",
  // One reply covers all that waits, where the scopes agree on its words: here the session's tool gets its own.
  "The weather is found.",
  "Hotels and trains are found."
]

export const program = Effect.gen(function* () {
  const session = yield* AgentSession.AgentSession
  yield* Transcript.print(session)
  yield* session.send("Plan my trip.")
  yield* TestSession.advance("1 second")
  yield* session.send("Hurry up!")
  // the answer is said
  yield* TestSession.settle
  // all three end while the user types the next message, so that their results wait for the same moment
  yield* Effect.scoped(Effect.zipRight(session.claimUserTurn, TestSession.advance("9 seconds")))
  yield* TestSession.settle

  const requests = yield* (yield* ScriptedModel.ScriptedModel).requests
  const results = requests.map((request) => ScriptedModel.toolResults(request).map((part) => String(part.result)))
  const notes = requests.map((request) => ScriptedModel.lastUserText(request).split("\n").at(-1))
  const row = (...cells: ReadonlyArray<string | undefined>) =>
    Console.log(
      cells
        .map((cell = "", i) => cell.padEnd(i === 0 ? 14 : 32))
        .join("")
        .trimEnd()
    )

  yield* Console.log("\nWhat the model was shown:")
  yield* row("", "weather (session)", "hotels (agent)", "trains (toolset of the agent)")
  yield* row("update", ...(results[1] ?? []))
  yield* row("called again", ...(results[3]?.slice(3) ?? []))
  yield* row("to report", notes[4], notes[5], notes[5])
}).pipe(Effect.provide(session), Effect.provide(Model.layer(script)), Effect.scoped)

Transcript.main(import.meta.url, program)
