import { execFile } from "node:child_process"
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { promisify } from "node:util"
import { describe, expect, it } from "@effect/vitest"
import { ConfigProvider, Console, Context, Effect, Layer, TestContext } from "effect"
import * as Meantime from "effect-meantime"
import { ScriptedModel, TestSession } from "effect-meantime/testing"
import * as aiSdk from "../../examples/ai-sdk.js"
import * as askHalfWay from "../../examples/ask-half-way.js"
import * as bankTransfer from "../../examples/bank-transfer.js"
import * as dayLongJob from "../../examples/day-long-job.js"
import * as handOff from "../../examples/hand-off.js"
import * as inUse from "../../examples/in-use.js"
import * as overriding from "../../examples/overriding.js"
import * as scopes from "../../examples/scopes.js"
import { shown } from "../support/guide.js"
import { bundled, root } from "../support/programs.js"
import * as Behind from "../wire/Behind.js"
import * as Providers from "../wire/Providers.js"

const handOffProgram = bundled("hand-off.ts")

interface Example {
  readonly title: string
  readonly program: Effect.Effect<void, unknown>
  readonly lines: ReadonlyArray<string>
}

/** What each example prints, line by line. */
const examples: Record<string, Example> = {
  "hand-off": {
    title: "[S1] [S4] [D7] hand-off: the booking tool works on, and support voices its result",
    program: handOff.program,
    lines: [
      "00:00:00  user     My flight was cancelled! The booking is AB12.",
      '00:00:00           · rebook (call_1) starts {"booking":"AB12"}',
      "00:00:00           · rebook (call_1) reports: Looking for another flight for AB12.",
      "00:00:00  desk     I am looking for another flight for you.",
      "00:00:05  user     And you have charged me twice for it.",
      "00:00:05  desk     That is one for my colleagues.",
      "00:00:05           · escalate (call_2) starts {}",
      "00:00:05           · escalate (call_2) done: escalate has ended; there is nothing to report.",
      "00:00:05           ⇒ desk hands over to support",
      "00:00:05  support  This is support. AB12 was charged twice, to a Visa and to an Amex. Which one shall I refund?",
      "00:00:15  user     The Visa.",
      "00:00:15  support  Done: the money is back on your Visa in three days.",
      "00:00:30           · rebook (call_1) done: AB12 is now on PX 31, tomorrow at 9:10.",
      "00:00:30  support  And your new flight is booked: PX 31, tomorrow at 9:10."
    ]
  },
  "ai-sdk": {
    title: "[U1] [U3] ai-sdk: a tool in the background, with a model of the AI SDK",
    program: aiSdk.program,
    lines: [
      "00:00:00  user     Bake me a chocolate cake, please.",
      '00:00:00           · bake (call_1) starts {"cake":"chocolate cake"}',
      "00:00:00           · bake (call_1) reports: The chocolate cake is in the oven.",
      "00:00:00  baker    It is in the oven. That takes a while.",
      "00:40:00           · bake (call_1) done: The chocolate cake is done.",
      "00:40:00  baker    Your cake is ready!"
    ]
  },
  "ask-half-way": {
    title: "[S7] [F5] ask-half-way: a tool asks for an e-mail address and goes on with it",
    program: askHalfWay.program,
    lines: [
      "00:00:00  user     Book a flight to Tokyo, and tell me when Rome gets cheaper.",
      '00:00:00           · book_flight (call_1) starts {"to":"Tokyo"}',
      "00:00:00           · book_flight (call_1) reports: Searching flights to Tokyo.",
      '00:00:00           · watch_price (call_2) starts {"to":"Rome"}',
      "00:00:00           · watch_price (call_2) reports: Watching the price of flights to Rome.",
      "00:00:00  travel   I am on both.",
      "00:00:05           ⇒ travel hands over to clerk",
      "00:00:05  clerk    Which e-mail address shall I send the ticket to?",
      "00:00:08  user     ada at example",
      '00:00:08           · complete (call_3) starts {"email":"ada at example"}',
      "00:00:08           · complete (call_3) error: Invalid arguments for complete: email: not an e-mail address. Correct them and call the tool again.",
      "00:00:08  clerk    Sorry, that was no address. Could you spell it for me?",
      "00:00:10           · watch_price (call_2) done: Flights to Rome are 40 euros cheaper than an hour ago.",
      "00:00:12  user     ada@example.org",
      '00:00:12           · complete (call_4) starts {"email":"ada@example.org"}',
      "00:00:12           · complete (call_4) done: complete has ended; there is nothing to report.",
      "00:00:12           ⇒ clerk hands over to travel",
      "00:00:12  travel   Thank you. By the way: flights to Rome are 40 euros cheaper than an hour ago.",
      "00:00:17           · book_flight (call_1) done: Flight to Tokyo booked, the ticket goes to ada@example.org.",
      "00:00:17  travel   Your flight to Tokyo is booked. The ticket goes to ada@example.org."
    ]
  },
  "bank-transfer": {
    title: "[C1] [C1b] [C7] bank-transfer: stopped before, during and after the point of no return",
    program: bankTransfer.program,
    lines: [
      '--- "Stop!" before anything has happened',
      "00:00:00  user     Send 200 euros to Grete.",
      '00:00:00           · transfer (call_1) starts {"euros":200,"to":"Grete"}',
      "00:00:00           · transfer (call_1) reports: Sending 200 euros to Grete.",
      "00:00:00  bank     The money is on its way.",
      "00:00:01  user     Stop! That is the wrong Grete.",
      '00:00:01           · cancel_task (call_2) starts {"call_id":"call_1"}',
      "00:00:01           · transfer (call_1) cancelled: transfer was cancelled and has stopped.",
      "00:00:01           · cancel_task (call_2) done: transfer (call_1) was cancelled.",
      "00:00:01  bank     I stopped it. Your money is where it was.",
      '--- "Stop!" while the banks talk',
      "00:00:11  user     Send 200 euros to Grete.",
      '00:00:11           · transfer (call_1) starts {"euros":200,"to":"Grete"}',
      "00:00:11           · transfer (call_1) reports: Sending 200 euros to Grete.",
      "00:00:11  bank     The money is on its way.",
      "00:00:14           · transfer (call_1) … the limits allow it",
      "00:00:15           · transfer (call_1) … 200 euros reserved",
      "00:00:17           · transfer (call_1) … the other bank knows the payer",
      "00:00:18  user     Stop! That is the wrong Grete.",
      '00:00:18           · cancel_task (call_2) starts {"call_id":"call_1"}',
      "00:00:19           · transfer (call_1) … the other bank knows the payee",
      "00:00:20           · transfer (call_1) … the other bank is told to forget it",
      "00:00:21           · transfer (call_1) … the reservation is taken back",
      "00:00:21           · transfer (call_1) cancelled: transfer was cancelled and has stopped.",
      "00:00:21           · cancel_task (call_2) done: transfer (call_1) was cancelled.",
      "00:00:21  bank     I stopped it. Your money is where it was.",
      '--- "Stop!" while the other bank thinks',
      "00:00:28  user     Send 200 euros to Grete.",
      '00:00:28           · transfer (call_1) starts {"euros":200,"to":"Grete"}',
      "00:00:28           · transfer (call_1) reports: Sending 200 euros to Grete.",
      "00:00:28  bank     The money is on its way.",
      "00:00:31           · transfer (call_1) … the limits allow it",
      "00:00:32           · transfer (call_1) … 200 euros reserved",
      "00:00:34           · transfer (call_1) … the other bank knows the payer",
      "00:00:36           · transfer (call_1) … the other bank knows the payee",
      "00:00:38           · transfer (call_1) … the other bank knows the sum",
      "00:00:40  user     Stop! That is the wrong Grete.",
      '00:00:40           · cancel_task (call_2) starts {"call_id":"call_1"}',
      "00:00:41           · transfer (call_1) … the other bank is told to forget it",
      "00:00:42           · transfer (call_1) … the reservation is taken back",
      "00:00:42           · transfer (call_1) cancelled: transfer was cancelled and has stopped.",
      "00:00:42           · cancel_task (call_2) done: transfer (call_1) was cancelled.",
      "00:00:42  bank     I stopped it. Your money is where it was.",
      '--- "Stop!" after the point of no return',
      "00:00:50  user     Send 200 euros to Grete.",
      '00:00:50           · transfer (call_1) starts {"euros":200,"to":"Grete"}',
      "00:00:50           · transfer (call_1) reports: Sending 200 euros to Grete.",
      "00:00:50  bank     The money is on its way.",
      "00:00:53           · transfer (call_1) … the limits allow it",
      "00:00:54           · transfer (call_1) … 200 euros reserved",
      "00:00:56           · transfer (call_1) … the other bank knows the payer",
      "00:00:58           · transfer (call_1) … the other bank knows the payee",
      "00:01:00           · transfer (call_1) … the other bank knows the sum",
      "00:01:05           · transfer (call_1) … the other bank agrees",
      "00:01:07  user     Stop! That is the wrong Grete.",
      '00:01:07           · cancel_task (call_2) starts {"call_id":"call_1"}',
      "00:01:07           · cancel_task (call_2) error: It is too late to cancel call call_1: transfer is past its point of no return.",
      "00:01:07  bank     That is too late, I am afraid: it is being booked.",
      "00:01:09           · transfer (call_1) … the money is booked",
      "00:01:09           · transfer (call_1) done: Grete has 200 euros more.",
      "00:01:09  bank     Grete has her 200 euros."
    ]
  },
  overriding: {
    title: "[L1] [L2] [P5] [D1] overriding: what the model is shown in each scope",
    program: overriding.program,
    lines: [
      "00:00:00  user     Plan my trip.",
      "00:00:00           · weather (call_1) starts {}",
      "00:00:00           · weather (call_1) reports: looking",
      "00:00:00           · hotels (call_2) starts {}",
      "00:00:00           · hotels (call_2) reports: looking",
      "00:00:00           · trains (call_3) starts {}",
      "00:00:00           · trains (call_3) reports: looking",
      "00:00:00  planner  I am looking.",
      "00:00:01  user     Hurry up!",
      "00:00:01           · weather (call_4) starts {}",
      "00:00:01           · weather (call_4) done: session: no, weather runs",
      "00:00:01           · hotels (call_5) starts {}",
      "00:00:01           · hotels (call_5) done: agent: call_2 is at it, sure?",
      "00:00:01           · trains (call_6) starts {}",
      "00:00:01           · trains (call_6) done: agent: call_3 is at it, sure?",
      "00:00:01  planner  They are at it already.",
      "00:00:05           · weather (call_1) done: found",
      "00:00:06           · hotels (call_2) done: found",
      "00:00:07           · trains (call_3) done: found",
      "00:00:10  planner  The weather is found.",
      "00:00:10  planner  Hotels and trains are found.",
      "",
      "What the model was shown:",
      "              weather (session)               hotels (agent)                  trains (toolset of the agent)",
      "update        session: looking                session: looking                toolset: looking",
      "called again  session: no, weather runs       agent: call_2 is at it, sure?   agent: call_3 is at it, sure?",
      "to report     session: report                 agent: say what is new          agent: say what is new"
    ]
  },
  scopes: {
    title: "[S2b] [S2c] [D10] scopes: what becomes of four calls when their agent leaves",
    program: scopes.program,
    lines: [
      "00:00:00  user     Start everything.",
      "00:00:00           · book (call_1) starts {}",
      "00:00:00           · book (call_1) reports: at work",
      "00:00:00           · search (call_2) starts {}",
      "00:00:00           · search (call_2) reports: at work",
      "00:00:00           · pay (call_3) starts {}",
      "00:00:00           · pay (call_3) reports: at work",
      "00:00:00           · watch (call_4) starts {}",
      "00:00:00           · watch (call_4) reports: at work",
      "00:00:00  first    All four are under way.",
      "00:00:05  user     Let somebody else go on.",
      "00:00:05           · leave (call_5) starts {}",
      "00:00:05           · leave (call_5) done: leave has ended; there is nothing to report.",
      "00:00:05           ⇒ first hands over to second",
      "00:00:05  second   I am taking over.",
      "00:00:05           · search (call_2) cancelled: search was stopped before it could finish.",
      "00:00:10           · book (call_1) done: booked",
      "00:00:10  second   The booking is done.",
      "00:00:20           · pay (call_3) done: paid 180 euros",
      "00:00:25  user     Has it been paid?",
      "00:00:25  second   Yes, 180 euros.",
      "00:00:30           · watch (call_4) done: cheaper now",
      "00:00:30  second   It has become cheaper.",
      "          (the rates of the first agent are released)"
    ]
  },
  "day-long-job": {
    title: "[K1] [U7] day-long-job: a day takes milliseconds",
    program: dayLongJob.program,
    lines: [
      "00:00:00  user     Please move the archive.",
      "00:00:00           · migrate (call_1) starts {}",
      "00:00:00           · migrate (call_1) reports: Moving 2400 boxes, 100 an hour.",
      "00:00:00  archive  That takes a day. I will keep you posted.",
      '01:00:00           · migrate (call_1) reports: {"moved":100,"of":2400}',
      '02:00:00           · migrate (call_1) reports: {"moved":200,"of":2400}',
      '03:00:00           · migrate (call_1) reports: {"moved":300,"of":2400}',
      '04:00:00           · migrate (call_1) reports: {"moved":400,"of":2400}',
      '05:00:00           · migrate (call_1) reports: {"moved":500,"of":2400}',
      '06:00:00           · migrate (call_1) reports: {"moved":600,"of":2400}',
      "06:00:00  archive  So far 600 of 2400 boxes.",
      '07:00:00           · migrate (call_1) reports: {"moved":700,"of":2400}',
      '08:00:00           · migrate (call_1) reports: {"moved":800,"of":2400}',
      '09:00:00           · migrate (call_1) reports: {"moved":900,"of":2400}',
      '10:00:00           · migrate (call_1) reports: {"moved":1000,"of":2400}',
      '11:00:00           · migrate (call_1) reports: {"moved":1100,"of":2400}',
      '12:00:00           · migrate (call_1) reports: {"moved":1200,"of":2400}',
      "12:00:00  archive  So far 1200 of 2400 boxes.",
      '13:00:00           · migrate (call_1) reports: {"moved":1300,"of":2400}',
      '14:00:00           · migrate (call_1) reports: {"moved":1400,"of":2400}',
      '15:00:00           · migrate (call_1) reports: {"moved":1500,"of":2400}',
      "15:30:00  user     How far is it?",
      "15:30:00  archive  So far 1500 of 2400 boxes.",
      '16:00:00           · migrate (call_1) reports: {"moved":1600,"of":2400}',
      '17:00:00           · migrate (call_1) reports: {"moved":1700,"of":2400}',
      '18:00:00           · migrate (call_1) reports: {"moved":1800,"of":2400}',
      "18:00:00  archive  So far 1800 of 2400 boxes.",
      '19:00:00           · migrate (call_1) reports: {"moved":1900,"of":2400}',
      '20:00:00           · migrate (call_1) reports: {"moved":2000,"of":2400}',
      '21:00:00           · migrate (call_1) reports: {"moved":2100,"of":2400}',
      '22:00:00           · migrate (call_1) reports: {"moved":2200,"of":2400}',
      '23:00:00           · migrate (call_1) reports: {"moved":2300,"of":2400}',
      "24:00:00           · migrate (call_1) done: All 2400 boxes are in the new store.",
      "24:00:00  archive  All 2400 boxes are in the new store.",
      "24 hours of conversation took N ms."
    ]
  }
}

/** The scripts of each example's model. */
const scripts: Record<string, ReadonlyArray<ScriptedModel.Script>> = {
  "hand-off": [handOff.script],
  "ask-half-way": [askHalfWay.script],
  "bank-transfer": bankTransfer.scripts,
  overriding: [overriding.script],
  scopes: [scopes.script],
  "day-long-job": [dayLongJob.script]
}

/** The one thing that differs from run to run. */
const withoutRealTime = (line: string) => line.replace(/took \d+ ms/, "took N ms")

/** What a program prints to the console. */
const printed = <E>(program: Effect.Effect<void, E>): Effect.Effect<ReadonlyArray<string>, E> =>
  Effect.gen(function* () {
    const lines: Array<string> = []
    const outer = yield* Console.consoleWith(Effect.succeed)
    const log: Console.Console["log"] = (...args) => Effect.sync(() => void lines.push(...args.join(" ").split("\n")))
    yield* Effect.withConsole(program, { ...outer, log })
    return lines.map(withoutRealTime)
  })

describe("examples", () => {
  for (const { lines, program, title } of Object.values(examples)) {
    // as they run by hand, so with the default logger: a warning would be a line too many
    it(title, async () => {
      expect(await Effect.runPromise(printed(program).pipe(Effect.provide(TestContext.TestContext)))).toEqual(lines)
    })
  }

  it("run with one command, and then only", { timeout: 60_000 }, async () => {
    for (const name of Object.keys(examples)) {
      expect(readFileSync(`${root}examples/${name}.ts`, "utf8")).toMatch(
        /^export const program = [\s\S]*\nTranscript\.main\(import\.meta\.url, program\)\n$/m
      )
    }
    const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/_API_KEY$/.test(name)))
    const command = ["--import", "tsx", "examples/hand-off.ts"]
    const { stderr, stdout } = await promisify(execFile)(process.execPath, command, { cwd: root, env })
    expect(stderr).toBe("")
    expect(stdout.trimEnd().split("\n")).toEqual(examples["hand-off"]?.lines)
  })

  // the real package of a provider, over HTTP, to a server with the example's script behind it
  for (const provider of Providers.all) {
    const environment = (server: { readonly url: string }) => ({
      [`${provider.name.toUpperCase()}_API_KEY`]: "sk-test",
      [`${provider.name.toUpperCase()}_BASE_URL`]: server.url
    })
    for (const [name, { lines, program }] of Object.entries(examples)) {
      // it brings a model of its own
      if (scripts[name] === undefined) continue
      it.scopedLive(
        `${name}: the same lines through ${provider.name}`,
        () =>
          Effect.gen(function* () {
            const server = yield* provider.serve(yield* Behind.scripts(scripts[name] ?? [], provider.decode))
            const config = ConfigProvider.fromMap(new Map(Object.entries(environment(server))))
            const said = yield* Effect.promise(() =>
              Effect.runPromise(
                printed(program).pipe(Effect.withConfigProvider(config), Effect.provide(TestContext.TestContext))
              )
            )
            expect(server.violations).toEqual([])
            expect(server.requests.length).toBeGreaterThan(0)
            expect(said).toEqual(lines)
          }),
        { timeout: 60_000 }
      )
    }

    it.scopedLive(
      `run with one command through ${provider.name}, where the environment points`,
      () =>
        Effect.gen(function* () {
          const server = yield* provider.serve(yield* Behind.scripts([handOff.script], provider.decode))
          const clean = Object.entries(process.env).filter(([name]) => !/^(OPENAI|ANTHROPIC)_/.test(name))
          const { stderr, stdout } = yield* Effect.promise(() =>
            promisify(execFile)(process.execPath, [handOffProgram()], {
              cwd: root,
              env: { ...Object.fromEntries(clean), ...environment(server) }
            })
          )
          expect(stderr).toBe("")
          expect(server.violations).toEqual([])
          expect(stdout.trimEnd().split("\n")).toEqual(examples["hand-off"]?.lines)
        }),
      { timeout: 120_000 }
    )
  }

  it("are all in this test", () => {
    // one wants flights, one keys, and one is a server (`fortyLines.test.ts`)
    const others = ["forty-lines.ts", "in-use.ts", "providers.ts"]
    const files = readdirSync(`${root}examples`).filter((file) => file.endsWith(".ts") && !others.includes(file))
    expect(files.map((file) => file.replace(/\.ts$/, "")).sort()).toEqual(Object.keys(examples).sort())
  })
})

describe("in-use", () => {
  class Flights extends Context.Tag("Flights")<
    Flights,
    {
      readonly search: (
        from: string,
        to: string
      ) => Effect.Effect<ReadonlyArray<{ readonly airline: string; readonly price: number }>>
      readonly hold: (airline: string) => Effect.Effect<string>
      readonly release: (hold: string) => Effect.Effect<void>
      readonly book: (hold: string, email: string) => Effect.Effect<string>
    }
  >() {}

  it.effect("[L2] main: the booking is cancelled while it searches, and nothing is held", () =>
    Effect.gen(function* () {
      const held: Array<string> = []
      const flights = Layer.succeed(Flights, {
        search: () => Effect.as(Effect.sleep("1 minute"), [{ airline: "KLM", price: 180 }]),
        hold: (airline) => Effect.sync(() => void held.push(airline)).pipe(Effect.as("hold")),
        release: () => Effect.void,
        book: () => Effect.succeed("booked")
      })
      // a rule, not a script: whether the greeting gets as far as a request is up to the order of fibers
      const model = ScriptedModel.layer((request) => {
        const [update] = ScriptedModel.toolResults(request)
        if (update !== undefined) return `I am told: ${update.result}`
        if (!ScriptedModel.userTexts(request).some((text) => text.startsWith("Book"))) return "Hello!"
        return ScriptedModel.toolCall("book_flight", {
          origin: "Oslo",
          destination: "Tokyo",
          date: "2027-04-15",
          confirm_duplicate: null
        })
      })
      const items = yield* TestSession.drive(inUse.main.pipe(Effect.provide(flights), Effect.provide(model)))
      const shown = items.flatMap((item) => {
        switch (item._tag) {
          case "Message":
            return [`${item.role}: ${item.text}`]
          case "FunctionCallOutput":
            return [`${item.callId}: ${item.output}`]
          default:
            return []
        }
      })
      expect(shown.filter((line) => line !== "assistant: Hello!")).toEqual([
        "user: Book a flight from Oslo to Tokyo on 2027-04-15",
        // the toolset's template, not the session's
        "call_1: (Searching Oslo to Tokyo on 2027-04-15.)",
        "assistant: I am told: (Searching Oslo to Tokyo on 2027-04-15.)",
        "call_1_final: book_flight was cancelled and has stopped."
      ])
      expect(held).toEqual([])
    })
  )
})

describe("docs", () => {
  const docs = readdirSync(`${root}docs`)
    .filter((file) => file.endsWith(".md"))
    .map((file) => ({ file, text: readFileSync(`${root}docs/${file}`, "utf8") }))
  const blocks = (text: string) =>
    Array.from(text.matchAll(/^```(\w*)\n([\s\S]*?)^```/gm), ([, language, code = ""]) => ({ language, code }))
  const squeeze = (text: string) => text.replace(/\s+/g, " ").trim()

  // so it compiles, and does what is said of it; the code of other pages is compiled from the page
  it("have no code that is not in an example", () => {
    const sources = ["examples", "examples/server", "examples/start"].flatMap((folder) =>
      readdirSync(`${root}${folder}`)
        .filter((file) => file.endsWith(".ts"))
        .map((file) => squeeze(readFileSync(`${root}${folder}/${file}`, "utf8")))
    )
    for (const { file, text } of docs) {
      if (!shown.includes(file.replace(".md", ""))) continue
      for (const { code } of blocks(text).filter(({ language }) => language === "ts")) {
        expect(
          sources.some((source) => source.includes(squeeze(code))),
          `${file}:\n${code}`
        ).toBe(true)
      }
    }
  })

  it("have no output that no example prints", () => {
    const printed = new Set(Object.values(examples).flatMap(({ lines }) => lines))
    for (const { file, text } of docs) {
      // what that page shows is what the compiler says, which `mistakes.test.ts` checks
      if (file === "mistakes.md") continue
      for (const { code } of blocks(text).filter(({ code, language }) => language === "" && !code.includes("┌"))) {
        for (const line of code.trimEnd().split("\n")) expect(printed).toContain(line)
      }
    }
  })

  it("link to files that exist", () => {
    for (const { file, text } of docs) {
      for (const [, target = ""] of text.matchAll(/\]\((?!https?:)([^)#]+)/g)) {
        expect(existsSync(new URL(`../../docs/${target}`, import.meta.url)), `${file}: ${target}`).toBe(true)
      }
    }
  })

  it("[X3] name what the package has", () => {
    // of LiveKit, and types
    const theirs = [
      "AsyncToolset.create",
      "Agent.Agent",
      "AgentSession.Service",
      "Sessions.Handle",
      "SpeechHandle.wait",
      "SpeechHandle.wait_for_playout"
    ]
    const modules: Record<string, object> = { ...Meantime }
    for (const { file, text } of docs) {
      for (const [name, module = "", member = ""] of text.matchAll(/\b([A-Z]\w+)\.(\w+)/g)) {
        if (modules[module] === undefined || theirs.includes(name)) continue
        expect(modules[module], `${file}: ${name}`).toHaveProperty(member)
      }
    }
    const livekit = docs.find(({ file }) => file === "livekit.md")?.text ?? ""
    const named = (name: string) => expect(livekit).toContain(`\`${name}\``)
    for (const template of Object.keys(Meantime.ToolPrompts.defaults)) named(template)
    for (const name of ["userdata", "ToolFlag.IGNORE_ON_ENTER", "tool_execution_updated", "EventsMissed"]) named(name)
  })
})
