import { AiError, LanguageModel, Model, Prompt, Tool, Toolkit } from "@effect/ai"
import { describe, expect } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, FastCheck as fc, Layer, Option, Schema, Stream, TestClock } from "effect"
import {
  Agent,
  AgentOutput,
  AgentSession,
  AsyncTool,
  AsyncToolset,
  ChatContext,
  RunContext,
  SessionModel,
  ToolPrompts
} from "effect-meantime"
import { ScriptedModel, TestSession } from "effect-meantime/testing"
import {
  type Answer,
  allProblems,
  callPart,
  collectLogs,
  directModel,
  inVirtualTime,
  problems,
  silent,
  type Time,
  textParts,
  unanswered
} from "./support/requests.js"
import { times } from "./support/times.js"
import { it } from "./support/virtual.js"

const { fail, reasoning, text, toolCall, wait } = ScriptedModel

// ---------------------------------------------------------------------------------------------------------------- kit

const seconds = { seconds: Schema.Number }
const Look = AsyncTool.make("look", { description: "Takes a while.", parameters: seconds, success: Schema.String })
const Watch = AsyncTool.make("watch", {
  description: "Reports, then works.",
  parameters: seconds,
  success: Schema.String,
  allowCancellation: true
})
const kit = Toolkit.make(Look, Watch)
const Worker = Agent.make("worker", { instructions: "You work.", tools: [kit] })
const kitLive = kit.toLayer({
  look: ({ seconds }) => Effect.as(Effect.sleep(`${seconds} seconds`), "seen"),
  watch: ({ seconds }) =>
    RunContext.update("watching").pipe(
      Effect.zipRight(Effect.sleep(`${seconds} seconds`)),
      Effect.zipRight(RunContext.update("half")),
      Effect.zipRight(Effect.sleep(`${seconds} seconds`)),
      Effect.as("watched")
    )
})

const prompts = Effect.flatMap(ScriptedModel.ScriptedModel, (model) => model.prompts)
const requests = Effect.flatMap(ScriptedModel.ScriptedModel, (model) => model.requests)
const at = <A>(all: ReadonlyArray<A>, index: number): A => {
  const found = all.at(index)
  if (found === undefined) throw new Error(`there is no element ${index} of ${all.length}`)
  return found
}
const partsOf = (prompt: Prompt.Prompt) =>
  prompt.content.flatMap((message): ReadonlyArray<Prompt.Part> => (message.role === "system" ? [] : message.content))
const resultOf = (prompt: Prompt.Prompt, id: string) =>
  partsOf(prompt).find((part) => part.type === "tool-result" && part.id === id) as Prompt.ToolResultPart | undefined

const working =
  (script: ScriptedModel.Script) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    Effect.provide(effect, [ScriptedModel.layer(script), kitLive, silent])

const named = (provider: string) => Layer.succeed(Model.ProviderName, provider)

const malformed = new AiError.MalformedOutput({ module: "Test", method: "streamText", description: "not JSON" })

// ----------------------------------------------------------------------------------------------------------------- M1

describe("what of a running call the model sees", () => {
  it.scoped("[M1] a reply beside a running inline call shows it as in progress, and stores nothing", () =>
    Effect.gen(function* () {
      const { session } = yield* TestSession.make({ agent: Worker })
      yield* session.send("Look, please")
      yield* TestSession.advance("1 second")
      yield* session.generateReply({ instructions: "Say something." })
      yield* TestSession.settle
      const prompt = at(yield* prompts, -1)
      expect(resultOf(prompt, "c1")?.result).toBe("look is still running; there is no result yet.")
      expect(problems(prompt)).toEqual([])
      expect(yield* TestSession.outputs(session)).toEqual([])
      yield* TestSession.advance("1 minute")
      expect(yield* TestSession.outputs(session)).toMatchObject([{ callId: "c1", output: "seen" }])
      expect(resultOf(at(yield* prompts, -1), "c1")?.result).toBe("seen")
      expect(JSON.stringify(yield* session.history)).not.toContain("still running")
    }).pipe(working([toolCall("look", { seconds: 10 }, { id: "c1" }), "Meanwhile.", "Seen."]))
  )

  it.scoped("[M1] the placeholder comes from the inProgress template of the tool's scope", () =>
    Effect.gen(function* () {
      const toolset = AsyncToolset.make("set", kit).pipe(
        AsyncToolset.provide(ToolPrompts.layer({ inProgress: "{toolName}/{callId} goes on" }))
      )
      const { session } = yield* TestSession.make({ agent: Agent.make("a", { instructions: "A.", tools: [toolset] }) })
      yield* session.send("Look, please")
      yield* TestSession.advance("1 second")
      yield* session.generateReply()
      yield* TestSession.settle
      expect(resultOf(at(yield* prompts, -1), "c1")?.result).toBe("look/c1 goes on")
    }).pipe(working([toolCall("look", { seconds: 10 }, { id: "c1" }), "Meanwhile.", "Seen."]))
  )

  it.scoped("[M1] after an interruption the user's next turn is shown the call that still runs", () =>
    Effect.gen(function* () {
      const { session } = yield* TestSession.make({ agent: Worker })
      yield* session.send("Look, please")
      yield* TestSession.advance("1 second")
      yield* session.send("Never mind, hello")
      yield* TestSession.settle
      const prompt = at(yield* prompts, -1)
      expect(resultOf(prompt, "c1")?.result).toContain("still running")
      yield* TestSession.advance("1 minute")
      yield* session.send("And now?")
      yield* TestSession.settle
      expect(resultOf(at(yield* prompts, -1), "c1")?.result).toBe("seen")
      expect(allProblems(yield* prompts)).toEqual([])
    }).pipe(working([["Well.", toolCall("look", { seconds: 10 }, { id: "c1" })], "Hello.", "Seen."]))
  )

  it.scoped("[M1] a call whose output is held for an earlier one is shown with that output", () =>
    Effect.gen(function* () {
      const { session } = yield* TestSession.make({ agent: Worker })
      yield* session.send("Look twice, please")
      yield* TestSession.advance("2 seconds")
      yield* session.generateReply()
      yield* TestSession.settle
      const prompt = at(yield* prompts, -1)
      expect(resultOf(prompt, "slow")?.result).toContain("still running")
      expect(resultOf(prompt, "fast")?.result).toBe("seen")
      expect(problems(prompt)).toEqual([])
      expect(yield* TestSession.outputs(session)).toEqual([])
      yield* TestSession.advance("1 minute")
      expect((yield* TestSession.outputs(session)).map((output) => output.callId)).toEqual(["slow", "fast"])
    }).pipe(
      working([
        [toolCall("look", { seconds: 10 }, { id: "slow" }), toolCall("look", { seconds: 1 }, { id: "fast" })],
        "Meanwhile.",
        "Seen."
      ])
    )
  )
})

// ----------------------------------------------------------------------------------------------------------------- M2

describe("what providers attach", () => {
  it.scoped("[M2] metadata of start, deltas and end is merged and goes back on the same parts", () =>
    Effect.gen(function* () {
      const { session } = yield* TestSession.make({ agent: Worker })
      yield* session.send("Look")
      yield* TestSession.advance("1 minute")
      const assistant = at(yield* prompts, -1).content.filter((message) => message.role === "assistant")
      expect(assistant).toHaveLength(1)
      expect(at(assistant, 0).content.map((part) => [part.type, part.options])).toEqual([
        [
          "reasoning",
          { openai: { itemId: "rs_1", encryptedContent: "enc" }, anthropic: { type: "thinking", signature: "sig" } }
        ],
        ["text", { openai: { itemId: "msg_1", phase: "end" }, other: { x: 1 } }],
        ["tool-call", { openai: { itemId: "fc_1" }, google: { thoughtSignature: "ts" } }]
      ])
      expect(at(assistant, 0).content[0]).toMatchObject({ text: "Let me think." })
    }).pipe(
      working([
        [
          reasoning("Let me think.", {
            metadata: { openai: { itemId: "rs_1" }, anthropic: { type: "thinking" } },
            deltaMetadata: { anthropic: { signature: "sig" } },
            endMetadata: { openai: { encryptedContent: "enc" } }
          }),
          text("I look.", {
            metadata: { openai: { itemId: "msg_1", phase: "start" } },
            deltaMetadata: { other: { x: 1 } },
            endMetadata: { openai: { phase: "end" } }
          }),
          toolCall(
            "look",
            { seconds: 1 },
            { id: "c1", metadata: { openai: { itemId: "fc_1" }, google: { thoughtSignature: "ts" } } }
          )
        ],
        "Seen."
      ])
    )
  )

  it.scoped("[M2] a later part takes nothing away from what an earlier one attached", () =>
    Effect.gen(function* () {
      const { session } = yield* TestSession.make({ agent: Worker })
      yield* session.run("Hi")
      yield* session.run("Again")
      const [first] = at(yield* prompts, -1).content.filter((message) => message.role === "assistant")
      expect(first?.content).toMatchObject([
        { type: "text", text: "Hello.", options: { google: { thoughtSignature: "ts" } } }
      ])
    }).pipe(
      working([
        [
          text("Hello.", {
            metadata: { google: { thoughtSignature: "ts" } },
            deltaMetadata: { google: { thoughtSignature: undefined } },
            endMetadata: { google: {} }
          })
        ],
        "Yes?"
      ])
    )
  )

  it.scoped("[M2] reasoning without text is kept where the provider attached something to it", () =>
    Effect.gen(function* () {
      const { session } = yield* TestSession.make({ agent: Worker })
      yield* session.send("Hi")
      yield* TestSession.settle
      yield* session.send("Again")
      yield* TestSession.settle
      const [first] = at(yield* prompts, -1).content.filter((message) => message.role === "assistant")
      expect(first?.content).toMatchObject([
        { type: "reasoning", text: "", options: { anthropic: { type: "redacted_thinking", redactedData: "xyz" } } },
        { type: "text", text: "Hello." }
      ])
    }).pipe(
      working([
        [reasoning("", { metadata: { anthropic: { type: "redacted_thinking", redactedData: "xyz" } } }), "Hello."],
        "Yes?"
      ])
    )
  )

  it.scoped("[M2] our pairs carry the metadata of their call, without OpenAI's itemId", () =>
    Effect.gen(function* () {
      const { session } = yield* TestSession.make({ agent: Worker })
      yield* session.send("Watch")
      yield* TestSession.advance("1 minute")
      yield* session.send("And?")
      yield* TestSession.settle
      const calls = partsOf(at(yield* prompts, -1)).filter((part) => part.type === "tool-call")
      expect(calls.map((part) => [part.id, part.options])).toEqual([
        ["c1", { openai: { itemId: "fc_1", extra: 1 }, google: { thoughtSignature: "ts" } }],
        ["c1_update_1", { openai: { extra: 1 }, google: { thoughtSignature: "ts" } }],
        ["c1_final", { openai: { extra: 1 }, google: { thoughtSignature: "ts" } }]
      ])
      expect(calls.map((part) => part.params)).toEqual([{ seconds: 1 }, { seconds: 1 }, { seconds: 1 }])
    }).pipe(
      working([
        toolCall(
          "watch",
          { seconds: 1 },
          { id: "c1", metadata: { openai: { itemId: "fc_1", extra: 1 }, google: { thoughtSignature: "ts" } } }
        ),
        "Watching.",
        "Half.",
        "Done.",
        "That is all."
      ])
    )
  )

  it.scoped("[M2] no item id of a provider is sent twice, whatever pairs were made", () =>
    Effect.gen(function* () {
      const { session } = yield* TestSession.make({ agent: Worker })
      yield* session.run("Watch").pipe(TestSession.drive)
      for (const prompt of yield* prompts) {
        const ids = partsOf(prompt).flatMap((part) => {
          const id = (part.options as any).openai?.itemId
          return id === undefined ? [] : [id]
        })
        expect(new Set(ids).size).toBe(ids.length)
      }
    }).pipe(
      working([
        [
          reasoning("Hm.", { metadata: { openai: { itemId: "rs_1" } } }),
          toolCall("watch", { seconds: 1 }, { id: "a", metadata: { openai: { itemId: "fc_1" } } }),
          toolCall("watch", { seconds: 2 }, { id: "b", metadata: { openai: { itemId: "fc_2" } } })
        ],
        "Watching.",
        "More.",
        "More.",
        "More.",
        "More."
      ])
    )
  )

  it.scoped("[M2] where the text behind the reasoning was never played, neither is sent", () =>
    Effect.gen(function* () {
      const { session } = yield* TestSession.make({ agent: Worker })
      yield* session.send("Hi")
      yield* TestSession.advance("10 millis")
      yield* session.send("Stop")
      yield* TestSession.advance("1 minute")
      const prompt = at(yield* prompts, -1)
      expect(partsOf(prompt).filter((part) => part.type === "reasoning")).toEqual([])
      expect(partsOf(prompt).map((part) => (part.type === "text" ? part.text : part.type))).toEqual(["Hi", "Stop"])
      expect(JSON.stringify(yield* session.history)).not.toContain("Thinking")
    }).pipe(
      working([[reasoning("Thinking.", { metadata: { openai: { itemId: "rs_1" } } }), "Unheardofword!"], "Yes."]),
      Effect.provide(AgentOutput.layerPaced())
    )
  )

  it.scoped("[M2] reasoning behind a text that was cut goes, the one before it stays", () =>
    Effect.gen(function* () {
      const { session } = yield* TestSession.make({ agent: Worker })
      yield* session.send("Hi")
      yield* TestSession.advance("1 second")
      yield* session.send("Stop")
      yield* TestSession.advance("1 minute")
      const prompt = at(yield* prompts, -1)
      expect(
        partsOf(prompt).map((part) => (part.type === "text" || part.type === "reasoning" ? part.text : ""))
      ).toEqual(["Hi", "First thought.", "One two ", "Stop"])
      const history = yield* session.history
      expect(history.items[2]).toMatchObject({ role: "assistant", interrupted: true })
    }).pipe(
      working([
        [reasoning("First thought."), "One two three four.", reasoning("Second thought."), "Five six."],
        "Yes."
      ]),
      Effect.provide(AgentOutput.layerPaced({ charactersPerSecond: 8 }))
    )
  )

  it.scoped("[M2] reasoning that nothing followed is not sent", () =>
    Effect.gen(function* () {
      const { session } = yield* TestSession.make({ agent: Worker })
      yield* session.send("Hi")
      yield* TestSession.settle
      yield* session.send("Again")
      yield* TestSession.settle
      expect(partsOf(at(yield* prompts, -1)).filter((part) => part.type === "reasoning")).toEqual([])
      expect(allProblems(yield* prompts)).toEqual([])
    }).pipe(working([["Hello.", reasoning("And then nothing.")], "Yes."]))
  )

  it.scoped("[M2] reasoning of a provider's call that never got its result goes with that call", () =>
    Effect.gen(function* () {
      const Search = Tool.providerDefined({
        id: "test.search",
        toolkitName: "Search",
        providerName: "search",
        args: {},
        success: Schema.Struct({ hits: Schema.Number })
      })({})
      const searching = Agent.make("s", { instructions: "S.", tools: [Toolkit.make(Search as any)] })
      const { session } = yield* TestSession.make({ agent: searching as Agent.Agent<never> })
      yield* session.send("Hi")
      yield* TestSession.settle
      yield* session.send("Again")
      yield* TestSession.settle
      const prompt = at(yield* prompts, -1)
      expect(problems(prompt)).toEqual([])
      expect(partsOf(prompt).map((part) => part.type)).toEqual(["text", "text", "text"])
    }).pipe(
      working([
        [
          reasoning("I search.", { metadata: { openai: { itemId: "rs_1" } } }),
          toolCall("Search", {}, { providerExecuted: true, providerName: "search" }),
          "Nothing came."
        ],
        "Yes."
      ])
    )
  )

  it.scoped("[M2] calls of one step stay together in one message, a call of the provider's own among them", () =>
    Effect.gen(function* () {
      const Search = Tool.providerDefined({
        id: "test.search",
        toolkitName: "Search",
        providerName: "search",
        args: {},
        success: Schema.Struct({ hits: Schema.Number })
      })({})
      const agent = Agent.make("s", { instructions: "S.", tools: [Toolkit.make(Search as any), kit] })
      const { session } = yield* TestSession.make({ agent: agent as Agent.Agent<any> })
      yield* session.send("Hi")
      yield* TestSession.advance("1 minute")
      const prompt = at(yield* prompts, -1)
      expect(problems(prompt)).toEqual([])
      expect(prompt.content.map((message) => [message.role, message.content.length])).toEqual([
        ["system", "S.".length],
        ["user", 1],
        ["assistant", 4],
        ["tool", 2]
      ])
    }).pipe(
      working([
        [
          toolCall("Search", {}, { id: "p", providerExecuted: true, providerName: "search" }),
          ScriptedModel.toolResult("Search", { hits: 3 }, { providerName: "search" }),
          toolCall("look", { seconds: 1 }, { id: "a" }),
          toolCall("look", { seconds: 1 }, { id: "b" })
        ],
        "Yes."
      ])
    )
  )
})

// ----------------------------------------------------------------------------------------------------------------- M3

interface Scene {
  readonly name: string
  readonly steps: ReadonlyArray<ScriptedModel.Step>
  readonly play: (session: AgentSession.Service, time: Time) => Effect.Effect<unknown, unknown, any>
}

const say = (session: AgentSession.Service, text: string) => Effect.zipLeft(session.send(text), TestSession.settle)
const send = (session: AgentSession.Service, { settle }: Time, text: string) =>
  Effect.zipLeft(session.send(text), settle)
const look = (id: string, seconds: number) => toolCall("look", { seconds }, { id })
const watch = (id: string, seconds: number) => toolCall("watch", { seconds }, { id })

const scenes: ReadonlyArray<Scene> = [
  {
    name: "the model fails in the middle of a text",
    steps: [["One ", fail("overloaded"), "two"]],
    play: (s, t) => send(s, t, "Hi")
  },
  {
    name: "the model fails before anything",
    steps: [fail("overloaded")],
    play: (s, t) => send(s, t, "Hi")
  },
  {
    name: "the model fails after a call has started",
    steps: [["Well.", look("c1", 5), fail("overloaded")]],
    play: (s, t) => Effect.zipRight(send(s, t, "Hi"), t.advance(60000))
  },
  {
    name: "the model fails while an early call goes on",
    steps: [[look("c1", 500), fail("overloaded")]],
    play: (s, t) => send(s, t, "Hi")
  },
  {
    name: "the model fails in the second step of a turn",
    steps: [[look("c1", 1), look("c2", 2)], fail("overloaded")],
    play: (s, t) => Effect.zipRight(send(s, t, "Hi"), t.advance(60000))
  },
  {
    name: "an error part comes behind a call",
    steps: [[look("c1", 1), ScriptedModel.part({ type: "error", error: "boom" }), look("c2", 1)]],
    play: (s, t) => Effect.zipRight(send(s, t, "Hi"), t.advance(60000))
  },
  {
    name: "output is malformed twice behind a call",
    steps: [
      [look("c1", 1), fail(malformed)],
      [look("c2", 1), fail(malformed)]
    ],
    play: (s, t) => Effect.zipRight(send(s, t, "Hi"), t.advance(60000))
  },
  {
    name: "the user interrupts while the call streams in",
    steps: [["One ", look("c1", 3), wait("5 seconds"), "two", look("c2", 1)]],
    play: (s, t) => Effect.zipRight(send(s, t, "Hi"), t.advance(1000))
  },
  {
    name: "the user interrupts the reply to a call",
    steps: [look("c1", 1), ["Seen. ", wait("1 minute"), "More."]],
    play: (s, t) => Effect.zipRight(send(s, t, "Hi"), t.advance(2000))
  },
  {
    name: "the turn is interrupted twice while its calls run",
    steps: [[look("c1", 30), look("c2", 20)], [look("c3", 10)]],
    play: (s, t) => Effect.all([send(s, t, "Hi"), t.advance(1000), send(s, t, "Stop"), t.advance(1000), s.interrupt()])
  },
  {
    name: "a background call is cancelled before its second update",
    steps: [watch("c1", 5), "Watching."],
    play: (s, t) => Effect.all([send(s, t, "Hi"), t.advance(1000), s.cancelTool("c1"), t.settle])
  },
  {
    name: "a background call is cancelled while an earlier one holds its output",
    steps: [[look("c1", 30), watch("c2", 5)]],
    play: (s, t) => Effect.all([send(s, t, "Hi"), t.advance(1000), s.cancelTool("c2"), t.settle])
  },
  {
    name: "updates and a result come while an earlier inline call runs",
    steps: [[look("c1", 60), watch("c2", 5)]],
    play: (s, t) => Effect.all([send(s, t, "Hi"), t.advance(20000)])
  },
  {
    name: "deferred pairs come while an inline call of a later turn runs",
    steps: [watch("c1", 5), "Watching.", [look("c2", 60)]],
    play: (s, t) => Effect.all([send(s, t, "Hi"), t.advance(1000), send(s, t, "Look"), t.advance(20000)])
  },
  {
    name: "the turn that holds outputs is interrupted",
    steps: [[look("c1", 60), watch("c2", 1), look("c3", 1)]],
    play: (s, t) => Effect.all([send(s, t, "Hi"), t.advance(2000), s.interrupt(), t.settle])
  },
  {
    name: "a deferred reply is interrupted",
    steps: [watch("c1", 5), "Watching.", ["Half ", wait("1 minute"), "of it."]],
    play: (s, t) => Effect.all([send(s, t, "Hi"), t.advance(6000)])
  },
  {
    name: "a deferred reply fails",
    steps: [watch("c1", 5), "Watching.", ["Half ", fail("overloaded")]],
    play: (s, t) => Effect.all([send(s, t, "Hi"), t.advance(6000)])
  },
  {
    name: "there is a call of an unknown tool between two others",
    steps: [[look("c1", 1), toolCall("nope", {}, { id: "c2" }), look("c3", 1)], "Sorry."],
    play: (s, t) => Effect.all([send(s, t, "Hi"), t.advance(60000)])
  },
  {
    name: "arguments are no object",
    steps: [[toolCall("look", "ten", { id: "c1" }), toolCall("look", [1], { id: "c2" })], "Sorry."],
    play: (s, t) => Effect.all([send(s, t, "Hi"), t.advance(60000)])
  },
  {
    name: "arguments do not fit",
    steps: [[toolCall("look", { seconds: "ten" }, { id: "c1" }), look("c2", 1)], "Sorry."],
    play: (s, t) => Effect.all([send(s, t, "Hi"), t.advance(60000)])
  },
  {
    name: "ids come twice, in one step and over turns",
    steps: [[look("c1", 1), look("c1", 2)], "Seen.", look("c1", 1), "Seen."],
    play: (s, t) => Effect.all([send(s, t, "Hi"), t.advance(60000), send(s, t, "Again"), t.advance(60000)])
  },
  {
    name: "an id is that of an update that exists",
    steps: [watch("c1", 5), "Watching.", "Half.", look("c1_update_1", 1), "Seen.", "Done."],
    play: (s, t) => Effect.all([send(s, t, "Hi"), t.advance(6000), send(s, t, "Look"), t.advance(60000)])
  },
  {
    name: "a call is made where tool choice is none",
    steps: [watch("c1", 1), "Watching.", look("c2", 1), "Sorry."],
    play: (s, t) => Effect.all([send(s, t, "Hi"), t.advance(2000)])
  },
  {
    name: "the model says nothing at all",
    steps: [[], []],
    play: (s, t) => Effect.all([send(s, t, "Hi"), s.generateReply(), t.settle])
  },
  {
    name: "text comes between calls",
    steps: [["First ", look("c1", 1), "then ", look("c2", 1), "and last."], "Seen."],
    play: (s, t) => Effect.all([send(s, t, "Hi"), t.advance(60000)])
  },
  {
    name: "the assistant speaks first and alone",
    steps: ["Hello.", "Still here.", "And again."],
    play: (s, t) =>
      Effect.all([
        s.say("Welcome."),
        t.settle,
        s.generateReply(),
        t.settle,
        s.generateReply({ toolChoice: "none" }),
        t.settle
      ])
  },
  {
    name: "the user says nothing",
    steps: ["Hm?", "Hm?"],
    play: (s, t) => Effect.all([send(s, t, ""), s.generateReply(), t.settle])
  }
]

describe("what a provider never sees", () => {
  for (const { name, play, steps } of scenes) {
    for (const paced of name.includes("interrupt") ? [false, true] : [false]) {
      const title = `every call is answered once, right after it: ${name}${paced ? ", with speech that takes time" : ""}`
      it.scoped(`[M3] ${title}`, () =>
        inVirtualTime((time) =>
          Effect.gen(function* () {
            const { close, session } = yield* TestSession.make({ agent: Worker })
            yield* play(session, time)
            const model = yield* ScriptedModel.ScriptedModel
            const before = (yield* model.requests).length
            yield* model.push(...Array.from({ length: 20 }, () => "All right."))
            yield* send(session, time, "And now?")
            expect((yield* model.requests).length).toBeGreaterThan(before)
            yield* time.advance(600_000)
            yield* send(session, time, "At last?")
            yield* time.advance(60_000)
            expect(allProblems(yield* prompts)).toEqual([])
            yield* close
            const history = yield* session.history
            expect(unanswered(history)).toEqual([])
            const stored = problems(ChatContext.toPrompt(history))
            expect(stored.filter((problem) => !problem.startsWith("the last"))).toEqual([])
          })
        ).pipe(
          working(steps),
          Effect.provide(paced ? AgentOutput.layerPaced({ charactersPerSecond: 20 }) : Layer.empty)
        )
      )
    }
  }

  it.scoped("[M3] a call without output in a history that was given is shown as of unknown outcome", () =>
    Effect.gen(function* () {
      const call = (callId: string): ChatContext.ChatItem => ({
        _tag: "FunctionCall",
        id: `i_${callId}`,
        callId,
        name: "look",
        arguments: { seconds: 1 },
        createdAt: 0
      })
      const output = (callId: string): ChatContext.ChatItem => ({
        _tag: "FunctionCallOutput",
        id: `o_${callId}`,
        callId,
        name: "look",
        output: `output of ${callId}`,
        isError: false,
        createdAt: 0
      })
      const { session } = yield* TestSession.make({
        agent: Worker,
        history: { items: [call("a"), call("b"), output("b"), call("c"), output("lost")] }
      })
      yield* say(session, "And?")
      const prompt = at(yield* prompts, -1)
      expect(problems(prompt)).toEqual([])
      expect(JSON.stringify(resultOf(prompt, "a")?.result)).toContain("not known")
      expect(resultOf(prompt, "a")?.isFailure).toBe(true)
      expect(resultOf(prompt, "b")?.result).toBe("output of b")
      expect(JSON.stringify(resultOf(prompt, "c")?.result)).toContain("not known")
      expect(resultOf(prompt, "lost")).toBeUndefined()
      expect((yield* session.history).items.filter((item) => item._tag === "FunctionCallOutput")).toHaveLength(2)
    }).pipe(working(["Well."]))
  )
})

// ------------------------------------------------------------------------------------------------------------- M4, F7

describe("models", () => {
  it.scoped("[M4] each agent speaks with the LanguageModel that is provided to it, else with the session's", () =>
    Effect.gen(function* () {
      const own = yield* ScriptedModel.make(["Hello from the second."])
      const Second = Agent.make("second", { instructions: "Second." }).pipe(
        Agent.provide(Layer.succeed(LanguageModel.LanguageModel, own.languageModel))
      )
      const { session } = yield* TestSession.make({ agent: Worker })
      yield* say(session, "Hi")
      yield* session.handoff(Second)
      yield* say(session, "Hi again")
      expect(yield* TestSession.said(session)).toEqual(["Hello from the first.", "Hello from the second."])
      expect(yield* own.service.requests).toHaveLength(1)
      expect(yield* requests).toHaveLength(1)
    }).pipe(working(["Hello from the first."]))
  )

  it.scoped("[M4] a session without a model of any kind dies with a message", () =>
    Effect.gen(function* () {
      const build = Effect.scoped(AgentSession.make({ agent: Agent.make("a", { instructions: "A." }) }))
      const exit = yield* Effect.exit(build as Effect.Effect<unknown>)
      expect(String(exit)).toContain("A session needs a LanguageModel")
    })
  )

  it.scoped(
    "[F7] [M3] a failure in the middle of a stream keeps what was said and called, and the session goes on",
    () =>
      Effect.gen(function* () {
        const { session } = yield* TestSession.make({ agent: Worker })
        const events = yield* TestSession.collect(session)
        const speech = yield* session.send("Look")
        yield* TestSession.settle
        expect(Option.getOrThrow(yield* speech.error)).toMatchObject({
          _tag: "UnknownError",
          description: "overloaded"
        })
        expect(yield* speech.done).toBe(true)
        expect(yield* events.filter("SessionError")).toMatchObject([{ error: { tag: "UnknownError" } }])
        expect((yield* events.filter("SessionError"))[0]?.error.message).toContain("overloaded")
        expect(yield* TestSession.said(session)).toEqual(["One "])
        yield* TestSession.advance("10 seconds")
        expect(yield* requests).toHaveLength(1)
        yield* say(session, "And?")
        expect(yield* TestSession.said(session)).toEqual(["One ", "Fine again."])
        expect(resultOf(at(yield* prompts, -1), "c1")?.result).toBe("seen")
        expect(allProblems(yield* prompts)).toEqual([])
      }).pipe(
        working([["One ", toolCall("look", { seconds: 5 }, { id: "c1" }), fail("overloaded"), "two"], "Fine again."])
      )
  )

  it.scoped("[F7] an error part of the stream is a failure, and nothing behind it counts", () =>
    Effect.gen(function* () {
      const { session } = yield* TestSession.make({ agent: Worker })
      const events = yield* TestSession.collect(session)
      const speech = yield* session.send("Hi")
      yield* TestSession.advance("1 minute")
      expect((yield* speech.error)._tag).toBe("Some")
      expect(yield* events.filter("SessionError")).toHaveLength(1)
      expect(yield* TestSession.said(session)).toEqual(["One "])
      expect(yield* TestSession.calls(session)).toEqual([])
    }).pipe(
      working([
        [
          "One ",
          ScriptedModel.part({ type: "error", error: new Error("boom") }),
          "two",
          toolCall("look", { seconds: 1 }),
          ScriptedModel.part({ type: "error", error: "again" })
        ]
      ])
    )
  )

  it.scoped("[F7] a failure ends only its own speech: what is queued is said", () =>
    Effect.gen(function* () {
      const { session } = yield* TestSession.make({ agent: Worker })
      yield* session.send("Hi")
      yield* session.say("Something else.")
      yield* TestSession.advance("1 minute")
      expect(yield* TestSession.said(session)).toEqual(["Something else."])
    }).pipe(working([[wait("1 second"), fail("overloaded")]]))
  )

  it.scoped("[T3] output that cannot be read is asked for once more, with the same request", () =>
    Effect.gen(function* () {
      const { session } = yield* TestSession.make({ agent: Worker })
      const events = yield* TestSession.collect(session)
      const speech = yield* session.generateReply({ toolChoice: "required", instructions: "Look at it." })
      yield* TestSession.advance("1 minute")
      const [first, second] = yield* requests
      expect(second?.prompt).toEqual(first?.prompt)
      expect(first?.toolChoice).toBe("required")
      expect(second?.toolChoice).toBe("required")
      expect((yield* speech.error)._tag).toBe("None")
      expect(yield* events.filter("SessionError")).toEqual([])
      expect(yield* TestSession.said(session)).toEqual(["Seen."])
    }).pipe(working([fail(malformed), toolCall("look", { seconds: 1 }), "Seen."]))
  )

  it.scoped("[T3] [F7] output that cannot be read twice ends the speech with the error", () =>
    Effect.gen(function* () {
      const { session } = yield* TestSession.make({ agent: Worker })
      const events = yield* TestSession.collect(session)
      const speech = yield* session.send("Hi")
      yield* TestSession.settle
      expect(yield* requests).toHaveLength(2)
      expect(Option.getOrThrow(yield* speech.error)._tag).toBe("MalformedOutput")
      expect(yield* events.filter("SessionError")).toMatchObject([{ error: { tag: "MalformedOutput" } }])
      yield* say(session, "And?")
      expect(yield* TestSession.said(session)).toEqual(["Fine again."])
    }).pipe(working([fail(malformed), fail(malformed), "Fine again."]))
  )

  it.scoped("[T3] each step of a turn may be asked for once more", () =>
    Effect.gen(function* () {
      const { session } = yield* TestSession.make({ agent: Worker })
      const speech = yield* session.send("Look")
      yield* TestSession.advance("1 minute")
      expect((yield* speech.error)._tag).toBe("None")
      expect(yield* TestSession.said(session)).toEqual(["Seen."])
      expect(yield* requests).toHaveLength(4)
    }).pipe(working([fail(malformed), toolCall("look", { seconds: 1 }), fail(malformed), "Seen."]))
  )

  it.scoped("[T3] a call that came before what cannot be read counts, and the model goes on from it", () =>
    Effect.gen(function* () {
      const { session } = yield* TestSession.make({ agent: Worker })
      const speech = yield* session.send("Look")
      yield* TestSession.advance("1 minute")
      expect((yield* speech.error)._tag).toBe("None")
      expect(yield* TestSession.outputs(session)).toMatchObject([{ callId: "c1", output: "seen" }])
      expect(yield* TestSession.said(session)).toEqual(["Seen."])
      expect(allProblems(yield* prompts)).toEqual([])
    }).pipe(working([[toolCall("look", { seconds: 1 }, { id: "c1" }), fail(malformed)], "Seen."]))
  )
})

// ----------------------------------------------------------------------------------------------------------------- M5

describe("what a request adds", () => {
  it.scoped("[M5] the instructions are the one system message, the first, the same every time", () =>
    Effect.gen(function* () {
      const { session } = yield* TestSession.make({
        agent: Worker,
        history: {
          items: [{ _tag: "Message", id: "m", role: "system", text: "Be nice.", interrupted: false, createdAt: 0 }]
        }
      })
      yield* say(session, "Watch")
      yield* session.generateReply({ instructions: "Say hello." })
      yield* TestSession.advance("1 minute")
      yield* say(session, "And?")
      const all = yield* prompts
      expect(all.length).toBeGreaterThan(4)
      for (const prompt of all) {
        expect(prompt.content.map((message) => message.role).lastIndexOf("system")).toBe(0)
        expect(prompt.content[0]).toMatchObject({ role: "system", content: "You work." })
      }
      expect(allProblems(all)).toEqual([])
      expect(ScriptedModel.userTexts(at(yield* requests, 0))[0]).toMatch(/not from the user[\s\S]*Be nice\./)
    }).pipe(working((request) => (request.index === 0 ? toolCall("watch", { seconds: 1 }) : "Fine.")))
  )

  it.scoped("[M5] what a reply adds is last, framed as not the user's, in each of its steps, and never stored", () =>
    Effect.gen(function* () {
      const { session } = yield* TestSession.make({ agent: Worker })
      yield* session.send("Hello", { instructions: "Answer in French." })
      yield* TestSession.advance("1 minute")
      yield* session.generateReply({ instructions: "Say goodbye." })
      yield* TestSession.settle
      const all = yield* requests
      const last = all.map(ScriptedModel.lastUserText)
      expect(last).toHaveLength(3)
      expect(last[0]).toContain("Answer in French.")
      expect(last[1]).toContain("Answer in French.")
      expect(last[2]).toContain("Say goodbye.")
      for (const text of last) expect(text).toMatch(/not from the user/)
      expect(ScriptedModel.userTexts(at(all, 0))).toHaveLength(2)
      expect(ScriptedModel.userTexts(at(all, 2))).toEqual(["Hello", last[2]])
      expect(all.map(({ prompt }) => at(prompt.content, -1).role)).toEqual(["user", "user", "user"])
      expect(JSON.stringify(yield* session.history)).not.toMatch(/French|goodbye/)
    }).pipe(working([toolCall("look", { seconds: 1 }), "Bonjour.", "Goodbye."]))
  )

  it.scoped("[M5] [D3] the text of a deferred reply is the last message, framed and never stored", () =>
    Effect.gen(function* () {
      const { session } = yield* TestSession.make({ agent: Worker })
      yield* session.run("Watch").pipe(TestSession.drive)
      const all = yield* requests
      expect(all).toHaveLength(4)
      for (const request of all.slice(2)) {
        expect(ScriptedModel.lastUserText(request)).toMatch(/not from the user[\s\S]*NEWS/)
        expect(at(request.prompt.content, -1).role).toBe("user")
      }
      expect(JSON.stringify(yield* session.history)).not.toContain("NEWS")
      expect(ScriptedModel.userTexts(at(all, -1))).toHaveLength(2)
    }).pipe(
      working([toolCall("watch", { seconds: 1 }), "Watching.", "Half.", "Done."]),
      Effect.provide(ToolPrompts.layer({ replyAtTail: "NEWS", replyMaybeCovered: "NEWS" }))
    )
  )

  it.scoped("[M5] a request is never without messages and never ends with the assistant's", () =>
    Effect.gen(function* () {
      const { session } = yield* TestSession.make({ agent: Worker })
      yield* session.generateReply()
      yield* TestSession.settle
      yield* session.generateReply()
      yield* TestSession.settle
      yield* session.say("And this.")
      yield* TestSession.settle
      yield* session.generateReply({ toolChoice: "none" })
      yield* TestSession.settle
      const all = yield* prompts
      expect(all).toHaveLength(3)
      expect(allProblems(all)).toEqual([])
      expect(all.map((prompt) => prompt.content.map((message) => message.role))).toEqual([
        ["system", "user"],
        ["system", "assistant", "user"],
        ["system", "assistant", "user"]
      ])
      expect(yield* TestSession.heard(session)).toEqual([])
    }).pipe(working(["One.", "Two.", "Three."]))
  )

  it.scoped("[M5] an agent without instructions has no system message: some providers refuse an empty one", () =>
    Effect.gen(function* () {
      const { session } = yield* TestSession.make({ agent: Agent.make("plain", { instructions: "" }) })
      yield* say(session, "Hi")
      const all = yield* prompts
      expect(all.map((prompt) => prompt.content.map((message) => message.role))).toEqual([["user"]])
      expect(allProblems(all)).toEqual([])
    }).pipe(working(["Hello."]))
  )
})

describe("who begins", () => {
  const user = (text: string): ChatContext.ChatItem => ({
    _tag: "Message",
    id: `u_${text}`,
    role: "user",
    text,
    interrupted: false,
    createdAt: 0
  })
  const assistant: ChatContext.ChatItem = { ...(user("Welcome.") as any), id: "a", role: "assistant" }
  const call = { _tag: "FunctionCall", id: "i", callId: "c", name: "look", arguments: {}, createdAt: 0 } as const
  const output = { ...call, _tag: "FunctionCallOutput", id: "o", output: "seen", isError: false } as const
  const handoff = { _tag: "AgentHandoff", id: "h", from: "a", to: "b", createdAt: 0 } as const
  const begin = Effect.fnUntraced(function* (items: ReadonlyArray<ChatContext.ChatItem>) {
    const { session } = yield* TestSession.make({ agent: Worker, history: { items } })
    yield* session.generateReply()
    yield* TestSession.settle
    expect(allProblems(yield* prompts, { userFirst: true })).toEqual([])
    return at(yield* requests, -1)
  })

  for (const [name, items] of [
    ["the assistant's message", [assistant]],
    ["a call", [call, output]],
    ["a hand-off and the assistant's message", [handoff, assistant]],
    ["a user's message that is empty and the assistant's", [user(""), assistant]],
    ["an output without its call and the assistant's message", [output, assistant]],
    ["nothing", []]
  ] as ReadonlyArray<readonly [string, ReadonlyArray<ChatContext.ChatItem>]>) {
    it.scoped(`[M5] Anthropic is sent a user's message first, framed, where the conversation begins with ${name}`, () =>
      Effect.gen(function* () {
        const request = yield* begin(items)
        expect(ScriptedModel.userTexts(request)[0]).toMatch(/not from the user/)
      }).pipe(working(["Hello."]), Effect.provide(named("anthropic")))
    )
  }

  it.scoped("[M5] nothing is put before a user's message", () =>
    Effect.gen(function* () {
      const request = yield* begin([user("Hi"), assistant])
      expect(ScriptedModel.userTexts(request)[0]).toBe("Hi")
    }).pipe(working(["Hello."]), Effect.provide(named("anthropic")))
  )
})

// ----------------------------------------------------------------------------------------------------------------- M6

describe("tool choice none", () => {
  const deferred = [toolCall("watch", { seconds: 1 }, { id: "c1" }), "Watching."]

  it.scoped("[M6] the same tools are sent with none, and no call is run", () =>
    Effect.gen(function* () {
      const { session } = yield* TestSession.make({ agent: Worker })
      const events = yield* TestSession.collect(session)
      yield* session.generateReply({ toolChoice: "none" })
      yield* TestSession.advance("1 minute")
      const all = yield* requests
      expect(all.map((request) => request.toolChoice)).toEqual(["none", "none"])
      expect(all.map(ScriptedModel.toolNames)).toEqual([
        ["look", "watch", "cancel_task", "get_running_tasks"],
        ["look", "watch", "cancel_task", "get_running_tasks"]
      ])
      expect(all[1]?.tools).toEqual(all[0]?.tools)
      expect(yield* TestSession.outputs(session)).toMatchObject([{ callId: "c1", isError: true }])
      expect(yield* events.filter("ToolCallEnded")).toMatchObject([{ callId: "c1", status: "error" }])
      expect(yield* TestSession.said(session)).toEqual(["Then not."])
    }).pipe(working([toolCall("look", { seconds: 1 }, { id: "c1" }), "Then not."]))
  )

  for (const [provider, expected] of [
    ["anthropic", "auto"],
    ["openai", "none"]
  ] as const) {
    it.scoped(`[M6] ${provider} is sent ${expected} for none, with the same tools as ever`, () =>
      Effect.gen(function* () {
        const { session } = yield* TestSession.make({ agent: Worker })
        yield* session.run("Watch").pipe(TestSession.drive)
        const all = yield* requests
        expect(all.map((request) => request.toolChoice)).toEqual(["auto", "auto", expected, expected])
        for (const request of all) expect(request.tools).toEqual(all[0]?.tools)
      }).pipe(working([...deferred, "Half.", "Done."]), Effect.provide(named(provider)))
    )

    it.scoped(`[M6] a call that ${provider} makes at none gets an error output and one more step`, () =>
      Effect.gen(function* () {
        const { session } = yield* TestSession.make({ agent: Worker })
        yield* session.generateReply({ toolChoice: "none" })
        yield* TestSession.advance("1 minute")
        expect(yield* requests).toHaveLength(2)
        expect(yield* TestSession.outputs(session)).toMatchObject([
          { callId: "c1", isError: true },
          { callId: "c2", isError: true }
        ])
        expect(yield* session.runningTools).toEqual([])
        expect(yield* TestSession.said(session)).toEqual([])
        yield* say(session, "And?")
        expect(allProblems(yield* prompts)).toEqual([])
      }).pipe(
        working([
          toolCall("look", { seconds: 1 }, { id: "c1" }),
          toolCall("watch", { seconds: 1 }, { id: "c2" }),
          "Well."
        ]),
        Effect.provide(named(provider))
      )
    )
  }

  it.scoped("[M6] the reference overrides what the provider's name implies, both ways", () =>
    Effect.gen(function* () {
      for (const [provider, drops, expected] of [
        ["anthropic", false, "none"],
        ["openai", true, "auto"]
      ] as const) {
        const model = yield* ScriptedModel.make(["Hello."])
        yield* Effect.gen(function* () {
          const { session } = yield* TestSession.make({ agent: Worker })
          yield* session.generateReply({ toolChoice: "none" })
          yield* TestSession.settle
        }).pipe(
          Effect.scoped,
          Effect.provide([
            Layer.succeed(LanguageModel.LanguageModel, model.languageModel),
            Layer.succeed(SessionModel.DropsToolsAtNone, drops) as Layer.Layer<never>,
            named(provider),
            kitLive
          ])
        )
        expect((yield* model.service.requests).map((request) => request.toolChoice)).toEqual([expected])
      }
    })
  )

  it.scoped("[M6] an agent's own provider decides, not the session's", () =>
    Effect.gen(function* () {
      const own = yield* ScriptedModel.make(["Hello."])
      const Claude = Agent.make("claude", { instructions: "C.", tools: [kit] }).pipe(
        Agent.provide(kitLive),
        Agent.provide(Model.make("anthropic", Layer.succeed(LanguageModel.LanguageModel, own.languageModel)))
      )
      const { session } = yield* TestSession.make({ agent: Claude })
      yield* session.generateReply({ toolChoice: "none" })
      yield* TestSession.settle
      expect((yield* own.service.requests).map((request) => request.toolChoice)).toEqual(["auto"])
    }).pipe(working([]), Effect.provide(named("openai")))
  )

  it.scoped("[M6] [T10] past the step limit none is sent, or auto where tools would be dropped, and nothing runs", () =>
    Effect.gen(function* () {
      const { session } = yield* TestSession.make({ agent: Worker, maxToolSteps: 1 })
      const events = yield* TestSession.collect(session)
      yield* session.send("Look")
      yield* TestSession.advance("1 minute")
      expect((yield* requests).map((request) => request.toolChoice)).toEqual(["auto", "auto", "auto"])
      expect((yield* events.filter("ToolCallEnded")).map((event) => event.status)).toEqual(["done", "error"])
      expect(yield* TestSession.said(session)).toEqual(["Enough."])
    }).pipe(
      working([toolCall("look", { seconds: 1 }), toolCall("look", { seconds: 1 }), "Enough."]),
      Effect.provide(named("anthropic"))
    )
  )
})

// ----------------------------------------------------------------------------------------------------- a custom model

const custom = (respond: Parameters<typeof directModel>[0]) => {
  const model = directModel(respond)
  return { ...model, layers: Layer.mergeAll(model.layer, kitLive, silent) }
}

describe("a SessionModel in place of a LanguageModel", () => {
  it.scoped("[M4] is asked instead, with the tools and the conversation", () => {
    const model = custom((_, index) => (index === 0 ? [callPart("c1", "look", { seconds: 1 })] : textParts("Seen.")))
    return Effect.gen(function* () {
      const { session } = yield* TestSession.make({ agent: Worker })
      const { text } = yield* session.run("Look").pipe(TestSession.drive)
      expect(text).toBe("Seen.")
      expect(model.requests.map((request) => request.toolChoice)).toEqual(["auto", "auto"])
      expect(Object.keys(at(model.requests, 0).toolkit.tools)).toEqual([
        "look",
        "watch",
        "cancel_task",
        "get_running_tasks"
      ])
      expect(at(model.requests, 1).toolkit).toBe(at(model.requests, 0).toolkit)
      expect(allProblems(model.prompts())).toEqual([])
    }).pipe(Effect.provide(model.layers))
  })

  it.scoped("[M4] may answer synchronously, in one chunk, with deltas that nobody opened or ended", () => {
    const model = custom((_, index) =>
      Stream.fromIterable(
        index === 0
          ? ([
              { type: "text-delta", id: "x", delta: "Let me " },
              { type: "text-delta", id: "x", delta: "look." },
              callPart("c1", "look", { seconds: 0 })
            ] as const)
          : textParts("Seen.")
      )
    )
    return Effect.gen(function* () {
      const { session } = yield* TestSession.make({ agent: Worker })
      yield* session.run("Look").pipe(TestSession.drive)
      expect(yield* TestSession.said(session)).toEqual(["Let me look.", "Seen."])
      expect(allProblems(model.prompts())).toEqual([])
    }).pipe(Effect.provide(model.layers))
  })

  it.scoped("[M4] is interrupted with its speech", () => {
    let stopped = 0
    const model = custom(() => [
      ...textParts("One "),
      Effect.onInterrupt(Effect.never, () => Effect.sync(() => void stopped++))
    ])
    return Effect.gen(function* () {
      const { session } = yield* TestSession.make({ agent: Worker })
      yield* say(session, "Hi")
      expect(stopped).toBe(0)
      yield* session.interrupt()
      yield* TestSession.settle
      expect(stopped).toBe(1)
      expect(yield* TestSession.said(session)).toEqual(["One "])
    }).pipe(Effect.provide(model.layers))
  })

  it.scoped("[M4] that dies, in its function or in its stream, ends the speech with an error and is logged", () => {
    const logs = collectLogs()
    const model = custom((_, index) => {
      if (index === 0) throw new Error("in the function")
      return index === 1 ? [Effect.die("in the stream")] : textParts("Fine again.")
    })
    return Effect.gen(function* () {
      const { session } = yield* TestSession.make({ agent: Worker })
      for (let i = 0; i < 2; i++) {
        const speech = yield* say(session, "Hi")
        expect(Option.getOrThrow(yield* speech.error)._tag).toBe("UnknownError")
      }
      yield* say(session, "Hi")
      expect(yield* TestSession.said(session)).toEqual(["Fine again."])
      expect(logs.messages).toEqual(["The model failed unexpectedly.", "The model failed unexpectedly."])
    }).pipe(Effect.provide(Layer.provideMerge(model.layers, logs.layer)), Effect.provide(logs.layer))
  })

  it.scoped("[M4] that is provided to an agent takes the place of the session's LanguageModel", () => {
    const model = directModel(() => textParts("Direct."))
    return Effect.gen(function* () {
      const Direct = Agent.make("direct", { instructions: "D." }).pipe(Agent.provide(model.layer))
      const { session } = yield* TestSession.make({ agent: Worker })
      yield* say(session, "Hi")
      yield* session.handoff(Direct)
      yield* say(session, "Hi")
      expect(yield* TestSession.said(session)).toEqual(["Scripted.", "Direct."])
      expect(model.requests).toHaveLength(1)
    }).pipe(working(["Scripted."]))
  })
})

describe("which of the two an agent asks", () => {
  it.scoped("[L2] a LanguageModel that is provided to an agent takes the place of the session's SessionModel", () => {
    const model = directModel(() => textParts("Direct."))
    const inner = Layer.effect(
      LanguageModel.LanguageModel,
      LanguageModel.make({
        generateText: () => Effect.dieMessage("not streamed"),
        streamText: () => Stream.fromIterable(textParts("Inner."))
      })
    )
    return Effect.gen(function* () {
      const Inner = Agent.make("inner", { instructions: "I." }).pipe(Agent.provide(inner))
      const Plain = Agent.make("plain", { instructions: "P." })
      const { session } = yield* TestSession.make({ agent: Plain })
      for (const agent of [Inner, Plain]) {
        yield* say(session, "Hi")
        yield* session.handoff(agent)
      }
      yield* say(session, "Hi")
      expect(yield* TestSession.said(session)).toEqual(["Direct.", "Inner.", "Direct."])
    }).pipe(Effect.provide(model.layer), Effect.provide(silent))
  })
})

// ------------------------------------------------------------------------------------------------------ the push form

type OnParts = Parameters<SessionModel.Run>[1]

/** A model in its push form, in place of the `LanguageModel`, which must not be used. */
const pushing = (run: (index: number, onParts: OnParts) => Effect.Effect<void, AiError.AiError>) => {
  const requests: Array<SessionModel.Request> = []
  const layer = SessionModel.layer({
    run: (request, onParts) => Effect.suspend(() => run(requests.push(request) - 1, onParts))
  })
  return { requests, layers: Layer.mergeAll(directModel(() => []).layer, layer, kitLive, silent) }
}

describe("a SessionModel that pushes", () => {
  it.scoped("[M4] is asked with the conversation and the tools, and its parts are taken as they come", () => {
    const model = pushing((index, onParts) =>
      index === 0
        ? Effect.sync(() => onParts([...textParts("Let me look."), callPart("c1", "look", { seconds: 2 })]))
        : Effect.gen(function* () {
            for (const part of textParts("Seen.")) {
              yield* Effect.sleep("1 second")
              onParts([part])
            }
          })
    )
    return Effect.gen(function* () {
      const { session } = yield* TestSession.make({ agent: Worker })
      yield* session.send("Look")
      yield* TestSession.advance("3 seconds")
      expect(yield* TestSession.said(session)).toEqual(["Let me look."])
      yield* TestSession.advance("2 seconds")
      expect(yield* TestSession.said(session)).toEqual(["Let me look.", "Seen."])
      expect(at(model.requests, 1).toolkit).toBe(at(model.requests, 0).toolkit)
      expect(allProblems(model.requests.map((request) => request.prompt))).toEqual([])
    }).pipe(Effect.provide(model.layers))
  })

  it.scoped("[M4] is interrupted with its speech; what it hands over after that, or after its end, is ignored", () => {
    const late: Array<OnParts> = []
    let stopped = 0
    const model = pushing((index, onParts) => {
      late.push(onParts)
      onParts(textParts(`One ${index}.`))
      return index === 0 ? Effect.onInterrupt(Effect.never, () => Effect.sync(() => void stopped++)) : Effect.void
    })
    return Effect.gen(function* () {
      const { session } = yield* TestSession.make({ agent: Worker })
      yield* say(session, "Hi")
      expect(stopped).toBe(0)
      yield* session.interrupt()
      yield* TestSession.settle
      expect(stopped).toBe(1)
      yield* say(session, "Hi")
      for (const onParts of late) onParts([...textParts("Too late."), callPart("c1", "look", { seconds: 1 })])
      yield* TestSession.settle
      expect(yield* TestSession.said(session)).toEqual(["One 0.", "One 1."])
      expect((yield* session.history).items.filter((item) => item._tag !== "Message")).toEqual([])
    }).pipe(Effect.provide(model.layers))
  })

  it.scoped("[M4] [F7] that fails ends the speech with its error; one that dies is logged, too", () => {
    const logs = collectLogs()
    const model = pushing((index, onParts) => {
      if (index === 0) {
        onParts(textParts("Half."))
        return Effect.fail(new AiError.UnknownError({ module: "M", method: "m", description: "overloaded" }))
      }
      if (index === 1) throw new Error("in the function")
      return index === 2 ? Effect.die("in the effect") : Effect.sync(() => onParts(textParts("Fine again.")))
    })
    return Effect.gen(function* () {
      const { session } = yield* TestSession.make({ agent: Worker })
      const errors: Array<string> = []
      for (let i = 0; i < 3; i++) {
        const speech = yield* say(session, "Hi")
        errors.push(Option.getOrThrow(yield* speech.error).message)
      }
      yield* say(session, "Hi")
      expect(errors[0]).toContain("overloaded")
      expect(yield* TestSession.said(session)).toEqual(["Half.", "Fine again."])
      expect(logs.messages).toEqual([
        'The model of the agent "worker" failed: overloaded',
        "The model failed unexpectedly.",
        "The model failed unexpectedly."
      ])
    }).pipe(Effect.provide(Layer.provideMerge(model.layers, logs.layer)), Effect.provide(logs.layer))
  })

  it.effect("[M4] has a stream, too: the same parts, the same end, and interrupted together", () =>
    Effect.gen(function* () {
      const parts = textParts("One.")
      let stopped = 0
      const model = SessionModel.make({
        run: (request, onParts) =>
          Effect.gen(function* () {
            onParts(parts)
            yield* Effect.sleep("1 second")
            onParts([callPart("c1", "look")])
            if (request.toolChoice === "none") {
              return yield* new AiError.UnknownError({ module: "M", method: "m", description: "none" })
            }
            if (request.toolChoice === "required") yield* Effect.never
          }).pipe(Effect.onInterrupt(() => Effect.sync(() => void stopped++)))
      })
      const request = (toolChoice: "auto" | "none" | "required"): SessionModel.Request => ({
        prompt: Prompt.make("Hi"),
        toolkit: { tools: {}, handle: () => Effect.never } as any,
        toolChoice
      })
      const collect = (toolChoice: "auto" | "none" | "required") =>
        Effect.gen(function* () {
          const seen: Array<unknown> = []
          const exit = yield* model.stream(request(toolChoice)).pipe(
            Stream.runForEach((part) => Effect.sync(() => seen.push(part))),
            Effect.timeoutOption("1 minute"),
            Effect.exit,
            Effect.fork
          )
          yield* TestClock.adjust("2 minutes")
          return [seen, yield* Fiber.join(exit)] as const
        })
      const all = [...parts, callPart("c1", "look")]
      const [seen, exit] = yield* collect("auto")
      expect(seen).toEqual(all)
      expect(Exit.isSuccess(exit)).toBe(true)
      expect(stopped).toBe(0)
      const [before, failed] = yield* collect("none")
      expect(before).toEqual(all)
      expect(Exit.isFailure(failed) && Cause.pretty(failed.cause)).toContain("none")
      const [, late] = yield* collect("required")
      expect(late).toEqual(Exit.succeed(Option.none()))
      expect(stopped).toBe(1)
    })
  )
})

// ------------------------------------------------------------------------------------------------- M3, random scripts

const Hard = AsyncTool.make("hard", { parameters: seconds, success: Schema.String })
const Single = AsyncTool.make("single", {
  parameters: seconds,
  success: Schema.String,
  allowCancellation: true,
  cancelOnInterruption: true,
  onDuplicate: "replace",
  releaseAfter: "3 seconds"
})
const Shared = AsyncTool.make("shared", { parameters: seconds, success: Schema.String, onDuplicate: "join" })
const Act = AsyncTool.make("act", {
  parameters: seconds,
  success: Schema.Struct({ left: Schema.Number }),
  onResult: "act",
  delivery: "interrupt"
})
const Break = AsyncTool.make("break", { parameters: seconds, failure: Schema.Struct({ why: Schema.String }) })
const Quiet = AsyncTool.make("quiet", { parameters: seconds, timeout: "8 seconds" })
const anyKit = Toolkit.make(Look, Watch, Hard, Single, Shared, Act, Break, Quiet)
const sleep = (seconds: number) => Effect.sleep(`${seconds} seconds`)
const anyKitLive = anyKit.toLayer({
  look: ({ seconds }) => Effect.as(sleep(seconds), "seen"),
  watch: ({ seconds }) =>
    RunContext.update("watching").pipe(
      Effect.zipRight(sleep(seconds)),
      Effect.zipRight(RunContext.update({ half: true }, { delivery: "silent" })),
      Effect.zipRight(sleep(seconds)),
      Effect.as("watched")
    ),
  hard: ({ seconds }) => Effect.as(Effect.uninterruptible(sleep(seconds)), "hard"),
  single: ({ seconds }) => Effect.as(sleep(seconds * 2), "single"),
  shared: ({ seconds }) =>
    Effect.zipRight(RunContext.update("shared", { delivery: "interrupt" }), Effect.as(sleep(seconds), "shared")),
  act: ({ seconds }) => Effect.zipRight(RunContext.update("acting"), Effect.as(sleep(seconds), { left: seconds })),
  break: ({ seconds }) =>
    seconds % 2 === 0 ? Effect.fail({ why: "even" }) : Effect.zipRight(sleep(seconds), Effect.die("odd")),
  quiet: ({ seconds }) =>
    seconds > 9
      ? Effect.zipRight(RunContext.update("quiet"), Effect.zipRight(sleep(seconds), new AsyncTool.StopResponse()))
      : sleep(seconds)
})

const names = Object.keys(anyKit.tools)
const piece = fc.oneof(
  { weight: 4, arbitrary: fc.record({ say: fc.constantFrom("Well.", "One two three four five.", " ") }) },
  { weight: 1, arbitrary: fc.record({ think: fc.constant("Hm.") }) },
  {
    weight: 8,
    arbitrary: fc.record({
      call: fc.constantFrom(...names, "cancel_task", "get_running_tasks", "nope"),
      id: fc.constantFrom(...Array.from({ length: 12 }, (_, i) => `c${i}`), "c1_update_1", "c2_final"),
      params: fc.oneof(
        { weight: 8, arbitrary: fc.record({ seconds: fc.integer({ min: 0, max: 12 }) }) },
        { weight: 1, arbitrary: fc.constantFrom<unknown>({}, "x", null, { seconds: "1" }, { call_id: "c1" }) }
      )
    })
  },
  { weight: 1, arbitrary: fc.record({ provider: fc.boolean(), id: fc.constantFrom("p1", "p2", "c3") }) },
  { weight: 3, arbitrary: fc.record({ pause: fc.integer({ min: 1, max: 4 }) }) },
  { weight: 1, arbitrary: fc.record({ trouble: fc.constantFrom("fail", "error", "malformed", "die", "never") }) }
)
type Piece = typeof piece extends fc.Arbitrary<infer P> ? P : never
const action = fc.oneof(
  { weight: 5, arbitrary: fc.record({ send: fc.constantFrom("Hi", "And?", ""), firm: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ say: fc.constant("By the way.") }) },
  {
    weight: 1,
    arbitrary: fc.record({ reply: fc.constantFrom("auto" as const, "none" as const, "required" as const) })
  },
  { weight: 1, arbitrary: fc.record({ interrupt: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ cancel: fc.nat({ max: 5 }) }) },
  { weight: 1, arbitrary: fc.record({ handoff: fc.constantFrom("inherit" as const, "empty" as const) }) },
  { weight: 6, arbitrary: fc.record({ wait: fc.integer({ min: 1, max: 9 }) }) }
)
type Action = typeof action extends fc.Arbitrary<infer A> ? A : never

const answerOf = (pieces: ReadonlyArray<Piece>): Answer =>
  pieces.flatMap((piece): Answer => {
    if ("say" in piece) return textParts(piece.say)
    if ("think" in piece) {
      return [
        { type: "reasoning-start", id: "r" },
        { type: "reasoning-delta", id: "r", delta: piece.think },
        { type: "reasoning-end", id: "r" }
      ]
    }
    if ("call" in piece) return [callPart(piece.id, piece.call, piece.params)]
    if ("provider" in piece) {
      const { id, provider } = piece
      return [
        { type: "tool-call", id, name: "search", params: {}, providerExecuted: true },
        ...(provider
          ? [{ type: "tool-result", id, name: "search", result: 1, isFailure: false, providerExecuted: true } as const]
          : [])
      ]
    }
    if ("pause" in piece) return [sleep(piece.pause)]
    switch (piece.trouble) {
      case "fail":
        return [Effect.fail(new AiError.UnknownError({ module: "m", method: "m", description: "overloaded" }))]
      case "error":
        return [{ type: "error", error: "boom" }]
      case "malformed":
        return [Effect.fail(malformed)]
      case "die":
        return [Effect.die("a bug of the model")]
      default:
        return [Effect.never]
    }
  })

const act = (session: AgentSession.Service, action: Action): Effect.Effect<unknown> => {
  const done: Effect.Effect<unknown, unknown, any> =
    "send" in action
      ? session.send(action.send, { allowInterruptions: !action.firm })
      : "say" in action
        ? session.say(action.say)
        : "reply" in action
          ? session.generateReply({ toolChoice: action.reply })
          : "interrupt" in action
            ? session.interrupt({ force: action.interrupt })
            : "cancel" in action
              ? Effect.flatMap(session.runningTools, (tools) =>
                  Effect.forkDaemon(Effect.exit(session.cancelTool(tools[action.cancel]?.callId ?? "none")))
                )
              : "handoff" in action
                ? Effect.forkDaemon(
                    Effect.exit(
                      session.handoff(
                        Agent.make("other", { instructions: "Other.", tools: [anyKit], context: action.handoff })
                      )
                    )
                  )
                : Effect.void
  return Effect.ignore(done) as Effect.Effect<unknown>
}

/** Plays actions against a model that gives these answers in turn; what the provider saw, and what was recorded. */
const playRandom = (
  answers: ReadonlyArray<ReadonlyArray<Piece>>,
  actions: ReadonlyArray<Action>,
  paced: boolean,
  provider: string,
  view?: (context: ChatContext.ChatContext) => ChatContext.ChatContext
) =>
  inVirtualTime((time) =>
    Effect.gen(function* () {
      const model = directModel((_, index) =>
        answers.length === 0 ? [] : answerOf(at(answers, index % answers.length))
      )
      const layers = Layer.mergeAll(
        model.layer,
        anyKitLive,
        silent,
        named(provider),
        paced ? AgentOutput.layerPaced() : Layer.empty,
        view === undefined ? Layer.empty : (Layer.succeed(ChatContext.ModelView, view) as Layer.Layer<never>)
      )
      return yield* Effect.gen(function* () {
        const Any = Agent.make("any", { instructions: "Any.", tools: [anyKit] })
        const { close, session } = yield* TestSession.make({ agent: Any, drainTimeout: "20 seconds" })
        const ended: Array<string> = []
        const started: Array<string> = []
        yield* session.events.pipe(
          Stream.runForEach((event) =>
            Effect.sync(() => {
              if (event._tag === "ToolCallStarted") started.push(event.call.callId)
              if (event._tag === "ToolCallEnded") ended.push(event.callId)
            })
          ),
          Effect.forkScoped
        )
        for (const action of actions) {
          yield* act(session, action)
          yield* time.advance("wait" in action ? action.wait * 1000 : 0)
        }
        yield* close
        yield* time.settle
        return { prompts: model.prompts(), requests: model.requests, history: yield* session.history, started, ended }
      }).pipe(Effect.scoped, Effect.provide(layers))
    })
  )

const script = {
  answers: fc.array(fc.array(piece, { maxLength: 5 }), { minLength: 1, maxLength: 6 }),
  actions: fc.array(action, { minLength: 1, maxLength: 14 }),
  paced: fc.boolean(),
  provider: fc.constantFrom("anthropic", "openai")
}

/** The same scripts on each run; `RUNS` and `SEED` look at others. */
const fastCheck = (numRuns: number) => ({
  numRuns: Number(process.env.RUNS ?? times(numRuns, 20 * numRuns))
})

describe("whatever happens", () => {
  it.effect.prop(
    "[M3] [M5] every request is in order, and every call of the history is answered once",
    script,
    ({ actions, answers, paced, provider }) =>
      Effect.map(playRandom(answers, actions, paced, provider), ({ ended, history, prompts, started }) => {
        expect(allProblems(prompts, { userFirst: provider === "anthropic" })).toEqual([])
        expect(ended.toSorted()).toEqual(started.toSorted())
        expect(unanswered(history).filter((problem) => !/^(p\d|c3)/.test(problem))).toEqual([])
        const restored = Schema.decodeUnknownSync(ChatContext.ChatContext)(
          JSON.parse(JSON.stringify(Schema.encodeSync(ChatContext.ChatContext)(history)))
        )
        expect(restored).toEqual(history)
        const stored = problems(ChatContext.toPrompt(restored))
        expect(stored.filter((problem) => !/last|no message/.test(problem))).toEqual([])
      }),
    { fastCheck: fastCheck(10), timeout: 600_000 }
  )

  it.effect.prop(
    "[M3] [M7] every request is in order, whatever the view leaves out",
    { ...script, mask: fc.array(fc.boolean(), { minLength: 1, maxLength: 7 }), backwards: fc.boolean() },
    ({ actions, answers, backwards, mask, paced, provider }) =>
      Effect.map(
        playRandom(answers, actions, paced, provider, ({ items }) => {
          const kept = items.filter((_, i) => mask[i % mask.length] === true)
          return { items: backwards ? kept.toReversed() : kept }
        }),
        ({ prompts }) => {
          expect(allProblems(prompts, { userFirst: provider === "anthropic" })).toEqual([])
        }
      ),
    { fastCheck: fastCheck(8), timeout: 600_000 }
  )
})
