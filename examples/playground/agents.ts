/**
 * The agents that one can talk to in the playground: that of the demo, and some of the examples.
 */
import { type LanguageModel, Tool } from "@effect/ai"
import { Context, Duration, Effect, Layer, type Scope } from "effect"
import { AgentSession, AsyncTool } from "effect-meantime"
import * as askHalfWay from "../ask-half-way.js"
import * as bankTransfer from "../bank-transfer.js"
import * as dayLongJob from "../day-long-job.js"
import { choose, type Settings } from "../demo/Providers.js"
import { flightsLayer, Travel, TravelAgent } from "../demo/Travel.js"
import * as handOff from "../hand-off.js"
import * as Offline from "../shared/Offline.js"
import type { AgentInfo, ToolInfo } from "./Protocol.js"

export interface Agent extends AgentInfo {
  /** the language model, for people */
  readonly model: string
  /** how much faster than real time its conversations go; whoever opens one sees to the clock */
  readonly rate: number
  /** tools that the page has forms for */
  readonly tools?: ReadonlyArray<ToolInfo>
  readonly open: Effect.Effect<AgentSession.Service, never, Scope.Scope>
}

interface Options {
  readonly agent: AgentInfo
  readonly rate?: number
  readonly rules: Offline.Rules
  readonly session: Effect.Effect<AgentSession.Service, never, Scope.Scope | LanguageModel.LanguageModel>
}

/** What the page needs to know of tools: the form of their arguments, and whether they can be told something. */
export const toolInfos = (toolkit: { readonly tools: Readonly<Record<string, Tool.Any>> }): ReadonlyArray<ToolInfo> =>
  Object.values(toolkit.tools).map((tool) => ({
    name: tool.name,
    schema: Tool.getJsonSchemaFromSchemaAst(tool.parametersSchema.ast),
    takesMessages: Context.get(tool.annotations, AsyncTool.Annotations).messages !== undefined
  }))

/** How long the playground waits for what may not be cancelled when one turns to another agent. */
const drainTimeout = "3 seconds"

/** The layer lives as long as the session does. */
const withLayer = <A, R, ROut, RIn>(session: Effect.Effect<A, never, R>, layer: Layer.Layer<ROut, never, RIn>) =>
  Effect.flatMap(Layer.build(layer), (context) => Effect.provide(session, context))

const desk: Options = {
  agent: {
    name: "desk",
    title: "Travel desk",
    about: "Rebooks flights, and hands complaints to support while what it has begun goes on.",
    suggestions: [
      "My flight was cancelled! The booking is AB12.",
      "And you have charged me twice.",
      "Please rebook CD34 too."
    ]
  },
  rules: {
    greet: (heard) =>
      heard.offers("escalate")
        ? "Hello, this is the travel desk. Which booking is it about?"
        : "This is support. I have seen what was said so far. Which card shall I refund?",
    hear: (heard) => {
      const stop = Offline.cancel({ ...heard, text: heard.text.replace(/was cancel\w+/gi, "") })
      if (stop !== undefined) return stop
      const booking = /\b([a-z]{2}\d{2,4})\b/i.exec(heard.text)?.[1]?.toUpperCase()
      if (booking !== undefined) return { calls: [["rebook", { booking }]] }
      if (!heard.offers("escalate")) return "Done: the money is back on your card in three days."
      return /charg|refund|complain|twice|support|human|angry/i.test(heard.text)
        ? { text: "That is one for my colleagues.", calls: [["escalate", {}]] }
        : "Tell me the booking, for instance AB12, and I look for another flight; complaints go to support."
    },
    tell: (tool, value) => Offline.tellCancelled(tool, value, "I have stopped looking.")
  },
  session: withLayer(
    AgentSession.make({
      agent: handOff.Desk,
      tools: [handOff.bookings],
      onInterruptedReply: "redeliver",
      drainTimeout
    }),
    handOff.BookingsLive
  )
}

const bank: Options = {
  agent: {
    name: "bank",
    title: "Bank",
    about: "Sends money through a point of no return: before it a transfer can be stopped, and takes everything back.",
    suggestions: ["Send 200 euros to Grete.", "Stop! That is the wrong Grete.", "Send 50 euros to Ada."]
  },
  rules: {
    greet: () => "Hello, this is your bank. To whom shall I send money?",
    hear: (heard) => {
      const euros = Number(/(\d+(?:\.\d+)?)/.exec(heard.text)?.[1])
      const to = Offline.place(heard.text, /\bto ([\p{L} -]+)/iu)
      if (/\b(send|transfer|pay)\b/i.test(heard.text) && Number.isFinite(euros) && to !== undefined) {
        return { calls: [["transfer", { euros, to }]] }
      }
      return Offline.cancel(heard) ?? "Say for instance: send 200 euros to Grete. I can stop it for some seconds."
    },
    tell: (tool, value) => Offline.tellCancelled(tool, value, "I stopped it. Your money is where it was.")
  },
  session: withLayer(
    AgentSession.make({ agent: bankTransfer.Teller, onInterruptedReply: "redeliver", drainTimeout }),
    bankTransfer.BankingLive
  )
}

const clerk: Options = {
  agent: {
    name: "clerk",
    title: "Booking clerk",
    about: "Needs your e-mail address in the middle of a booking: the tool takes the floor, asks, and goes on.",
    suggestions: ["Book a flight to Tokyo, and tell me when Rome gets cheaper.", "ada at example", "ada@example.org"]
  },
  rules: {
    greet: () => "Hello! I book flights, and I watch prices.",
    hear: (heard) => {
      if (heard.offers("complete")) {
        const email = /\S+@\S+\.\w+/.exec(heard.text)?.[0].replace(/[.,!?]+$/, "")
        return { calls: [["complete", { email: email ?? heard.text }]] }
      }
      const calls: Array<readonly [string, object]> = []
      const to = Offline.place(heard.text, /\bto (\p{L}+)/iu)
      const watched = Offline.place(
        heard.text,
        /(?:\b(?:when|if) (\p{L}+) (?:gets|becomes|is)\b|watch (?:the price of )?(?:flights )?(?:to )?(\p{L}+))/iu
      )
      if (/book|fly/i.test(heard.text) && to !== undefined) calls.push(["book_flight", { to }])
      if (watched !== undefined) calls.push(["watch_price", { to: watched }])
      return calls.length > 0
        ? { calls }
        : "Say for instance: book a flight to Tokyo, and tell me when Rome gets cheaper."
    },
    tell: (tool, value) =>
      tool === "complete"
        ? /has ended/.test(String(value))
          ? undefined
          : "Sorry, that was no e-mail address. Could you spell it for me?"
        : Offline.tellCancelled(tool, value, "I have stopped it.")
  },
  session: withLayer(
    AgentSession.make({ agent: askHalfWay.TravelAgent, onInterruptedReply: "redeliver", drainTimeout }),
    askHalfWay.TravelLive
  )
}

const archive: Options = {
  agent: {
    name: "archive",
    title: "Archivist",
    about: "Moves an archive for a day, an hour in two seconds. The model hears of it every hour, you every sixth.",
    suggestions: ["Please move the archive.", "How far is it?", "Stop it."]
  },
  rate: 1800,
  rules: {
    greet: () => "Hello, I look after the archive. Shall I move it to the new store?",
    hear: (heard) => {
      const job = heard.running.find(({ name }) => name === "migrate")
      if (/\b(how far|progress|status|ready|done)\b/i.test(heard.text)) {
        return job === undefined ? "Nothing is being moved." : { calls: [["get_running_tasks", {}]] }
      }
      const stop = Offline.cancel(heard)
      if (stop !== undefined) return stop
      if (!/move|archive|start|yes|migrat/i.test(heard.text)) return "I can move the archive, and tell how far it is."
      return job === undefined ? { calls: [["migrate", {}]] } : "I am at it already."
    },
    tell: (tool, value) => {
      const text = typeof value === "string" ? value : JSON.stringify(value)
      const moved = /"moved":(\d+),"of":(\d+)/.exec(text.replaceAll("\\", ""))
      if (moved !== null) return `So far ${moved[1]} of ${moved[2]} boxes.`
      if (tool === "get_running_tasks") return "It has only just begun."
      if (/^Moving/.test(text)) return "That takes a day. I will keep you posted."
      return Offline.tellCancelled(tool, value, "I have stopped moving it.")
    }
  },
  session: withLayer(
    AgentSession.make({ agent: dayLongJob.Archivist, onInterruptedReply: "redeliver", drainTimeout }),
    dayLongJob.ArchiveLive
  )
}

/** All agents, with the language model that the settings choose. */
export const agents = (settings: Settings): ReadonlyArray<Agent> => {
  const provider = choose(settings)
  const offline = settings.openai.key === undefined && settings.anthropic.key === undefined
  const named = offline ? "embedded offline model" : provider.name

  const travel: Agent = {
    name: "travel",
    title: "Travel agent",
    about:
      "Books flights in the background, pays bills once you agree, and talks about the weather meanwhile. The agent of the " +
      "demo.",
    suggestions: [
      "Book a flight from Oslo to Tokyo",
      "I want a window seat",
      "Pay the hotel deposit of 300 euros",
      "How is the weather in Tokyo?",
      "Book another one to Paris",
      "What are you doing?",
      "Cancel it"
    ],
    model: named,
    rate: 1,
    tools: toolInfos(Travel),
    open: withLayer(
      AgentSession.make({ agent: TravelAgent, onInterruptedReply: "redeliver", drainTimeout }),
      Layer.merge(provider.layer, flightsLayer({ pace: 1 / settings.speed }))
    )
  }

  const examples = [desk, bank, clerk, archive].map(({ agent, rate = 1, rules, session }): Agent => {
    const pace = { thinking: Duration.times("300 millis", rate), perWord: Duration.times("35 millis", rate) }
    const open = withLayer(session, offline ? Offline.layer(rules, pace) : provider.layer)
    return { ...agent, model: named, rate: rate * settings.speed, open }
  })
  return [travel, ...examples]
}
