import { spawn } from "node:child_process"
import { join } from "node:path"
import { Effect } from "effect"
import { describe, expect, it } from "vitest"
import * as OfflineModel from "../../examples/demo/OfflineModel.js"
import { bundled, root } from "../support/programs.js"
import { folder } from "../support/storages.js"
import * as Behind from "../wire/Behind.js"
import * as Providers from "../wire/Providers.js"

const program = bundled("demo/main.ts")
const env = Object.fromEntries(
  Object.entries({ ...process.env, DEMO_SPEED: "20" }).filter(
    ([name]) => !/^(OPENAI|ANTHROPIC|NO_COLOR|FORCE_COLOR)/.test(name)
  )
)

interface Ran {
  readonly code: number | null
  readonly out: string
  readonly err: string
}

/**
 * Runs the demo in a process of its own. `input` is piped in; null closes standard input. `stop` ends it with Ctrl-C.
 * `sources`: from its sources, as `npm run demo` does.
 */
const demo = (options: {
  readonly input?: string | null
  readonly args?: ReadonlyArray<string>
  readonly env?: Record<string, string>
  readonly stop?: RegExp
  /** how it is ended then */
  readonly signal?: "SIGINT" | "SIGKILL"
  readonly sources?: boolean
}): Promise<Ran> =>
  new Promise((resolve, reject) => {
    const { args = [], input = "", signal = "SIGINT", sources = false, stop } = options
    const main = sources ? ["--import", "tsx", "examples/demo/main.ts"] : [program()]
    const command = [process.execPath, ...main, ...args]
    const child =
      input === null
        ? spawn("sh", ["-c", 'exec "$@" <&-', "sh", ...command], { cwd: root, env: { ...env, ...options.env } })
        : spawn(command[0]!, command.slice(1), { cwd: root, env: { ...env, ...options.env } })
    let out = ""
    let err = ""
    let stopped = false
    child.stdout.on("data", (data) => {
      out += data
      if (stop !== undefined && !stopped && stop.test(out)) {
        stopped = true
        child.kill(signal)
      }
    })
    child.stderr.on("data", (data) => {
      err += data
    })
    child.on("error", reject)
    child.on("close", (code) => resolve({ code, out, err }))
    if (stop === undefined) child.stdin.end(input)
    else child.stdin.write(input)
  })

const inOrder = (out: string, lines: ReadonlyArray<RegExp>): void => {
  const at = lines.map((line) => out.search(line))
  expect(at).not.toContain(-1)
  expect(at).toEqual([...at].sort((a, b) => a - b))
}

/** A line of the agent with these words. What comes in together is told together: on a busy machine others stand there too. */
const says = (words: string): RegExp => new RegExp(`^\\d\\d:\\d\\d:\\d\\d agent {2}(?:.* )?${words}`, "m")

const weather = "In Tokyo it is -?\\d+ °C with .* \\(simulated\\)\\.(?: |$)"

describe.concurrent("npm run demo", () => {
  const place = folder()
  it("holds a piped conversation and ends with 0", { timeout: 120_000 }, async () => {
    const { code, err, out } = await demo({ input: "book a flight from Oslo to Tokyo\nhow is the weather in Tokyo?\n" })
    expect(err).toBe("")
    expect(code).toBe(0)
    const begins = [
      /^\d\d:\d\d:\d\d agent {2}Hello, I am your travel agent/m,
      /^\d\d:\d\d:\d\d you {4}book a flight from Oslo to Tokyo$/m,
      /^\d\d:\d\d:\d\d {3}▶ {4}book_flight\(call_1\) origin: Oslo, destination: Tokyo/m,
      /^\d\d:\d\d:\d\d {3}⋯ {4}book_flight\(call_1\) Searching flights/m
    ]
    // on a busy machine the booking may be done before the weather is told
    inOrder(out, [
      ...begins,
      /^\d\d:\d\d:\d\d agent {2}Searching flights from Oslo to Tokyo/m,
      /^\d\d:\d\d:\d\d you {4}how is the weather in Tokyo\?$/m,
      says(weather),
      /the session is closed$/m
    ])
    inOrder(out, [
      ...begins,
      /^\d\d:\d\d:\d\d {3}◆ {4}held: seat/m,
      /^\d\d:\d\d:\d\d {3}✓ {4}book_flight\(call_1\) Booked:/m,
      says("Booked: "),
      /the session is closed$/m
    ])
  })

  it("[A1] [A4] waits for a person before it pays, and the talk goes on meanwhile", { timeout: 120_000 }, async () => {
    const { code, err, out } = await demo({
      input: [
        "/deny",
        "pay the hotel deposit of 300 euros",
        "pay the visa of 80 euros",
        "how is the weather in Tokyo?",
        "/approve",
        '/approve call_1 {"euros":250}',
        "/approve call_1",
        "/deny call_2 too early",
        "pay the insurance of 20 euros",
        ""
      ].join("\n")
    })
    expect(err).toBe("")
    // what nobody has decided about does not keep it from ending
    expect(code).toBe(0)
    const line = (sign: string, text: string) => new RegExp(`^\\d\\d:\\d\\d:\\d\\d {3}${sign} {4}${text}$`, "m")
    inOrder(out, [
      line("!", "Nothing waits for you\\."),
      line("\\?", "pay\\(call_1\\) waits for you: /approve call_1 or /deny call_1"),
      says("You have to approve that"),
      line("\\?", "pay\\(call_2\\) waits for you: .*"),
      says(weather),
      line("!", "Which one\\? call_1 \\(pay\\), call_2 \\(pay\\)"),
      line("\\?", "pay\\(call_1\\) edited by you"),
      line("\\?", "pay\\(call_2\\) denied by you: too early"),
      line("✗", "pay\\(call_2\\) pay was not run: it was not approved \\(reason: too early\\)\\."),
      says("I have not paid it, as you did not approve it \\(reason: too early\\)"),
      line("\\?", "pay\\(call_\\d\\) withdrawn"),
      /the session is closed$/m
    ])
    inOrder(out, [
      line("\\?", "pay\\(call_1\\) edited by you"),
      line("✓", "pay\\(call_1\\) Paid: hotel deposit, 250 euros, receipt \\w+\\."),
      says("Paid: hotel deposit, 250 euros")
    ])
    // the first decision has won
    expect(out).toMatch(line("!", "Call call_1 (?:does not wait for approval|has already ended)\\."))
    expect(out).not.toMatch(/Paid: hotel deposit, 300/)
    expect(out).not.toMatch(/Paid: (visa|insurance)/)
  })

  it("[G1] tells a running call something", { timeout: 120_000 }, async () => {
    const { code, err, out } = await demo({
      input: "book a flight from Oslo to Tokyo\n/tell call_1 an aisle seat\n/tell call_7 a drink\n/tell\n",
      env: { DEMO_SPEED: "5" }
    })
    expect(err).toBe("")
    expect(code).toBe(0)
    expect(out).toMatch(/⋯ {4}book_flight\(call_1\) was told: an aisle seat$/m)
    expect(out).toMatch(/! {4}There is no call with the id "call_7"\.$/m)
    expect(out).toMatch(/! {4}Say which call, and what/)
    expect(out).toMatch(/✓ {4}book_flight\(call_1\) Booked: .* The airline was told: an aisle seat\.$/m)
  })

  it("releases what is held on Ctrl-C", { timeout: 120_000 }, async () => {
    const { code, out } = await demo({
      input: "book a flight from Oslo to Tokyo\n",
      stop: /held: seat/,
      env: { DEMO_SPEED: "5" }
    })
    expect(out).toMatch(/■ {4}book_flight\(call_1\)/)
    expect(out).toMatch(/released: seat/)
    expect(out).toMatch(/the session is closed/)
    expect(code).toBe(130)
  })

  it("[R6] [Q7] [Q18] --file goes on after a kill, and after Ctrl-C: the booking is told, and made once", {
    timeout: 240_000
  }, async () => {
    const args = ["--file", join(place, "talk.db")]
    const killed = await demo({
      args,
      input: "book a flight from Oslo to Tokyo\n",
      stop: /⋯ {4}book_flight\(call_1\) Found/,
      signal: "SIGKILL",
      env: { DEMO_SPEED: "3" }
    })
    expect(killed.code).toBe(null)
    expect(killed.out).toMatch(/◆ {4}held: seat/)

    const interrupted = await demo({ args, input: "\n", stop: / 25 %/, env: { DEMO_SPEED: "3" } })
    expect(interrupted.code).toBe(130)
    inOrder(interrupted.out, [
      /you {4}book a flight from Oslo to Tokyo$/m,
      /▶ {4}book_flight\(call_1\) origin: Oslo/,
      /book_flight\(call_1\) 25 %/,
      /it goes on with --file .*talk\.db$/m
    ])

    // nobody says anything: it waits for what still runs
    const { code, err, out } = await demo({ args, input: "" })
    expect(err).toBe("")
    expect(code).toBe(0)
    inOrder(out, [
      /you {4}book a flight from Oslo to Tokyo$/m,
      /◆ {4}booked: seat/,
      /✓ {4}book_flight\(call_1\) Booked:/,
      says("Booked: ")
    ])
    const all = killed.out + interrupted.out + out
    for (const what of [/held: seat/g, /booked: seat/g, /book_flight\(call_1\) Found/g, /✓ {4}book_flight/g]) {
      expect(all.match(what)).toHaveLength(1)
    }
    expect(all).not.toMatch(/released: seat|■/)

    const later = await demo({ args, input: "what are you doing?\n" })
    expect(later.out).toMatch(says("Nothing is running at the moment\\."))
    // each is there once, and there is no second greeting
    for (const what of [/Hello, I am your travel agent/g, /you {4}book a flight/g, /Booked: /g]) {
      expect(later.out.match(what)).toHaveLength(1)
    }
  })

  for (const [title, input] of [
    ["empty", ""],
    ["closed", null]
  ] as const) {
    it(`tells that its input is ${title}`, { timeout: 120_000 }, async () => {
      const { code, err } = await demo({ input })
      expect(err).toMatch(/^There was nothing to read on standard input.*\n$/)
      expect(code).toBe(1)
    })
  }

  it("explains itself, and knows what it does not know", { timeout: 120_000 }, async () => {
    expect(await demo({ args: ["--help"], sources: true })).toMatchObject({
      code: 0,
      out: expect.stringContaining("npm run demo")
    })
    expect(await demo({ args: ["--wat"] })).toMatchObject({ code: 2, err: expect.stringContaining("--wat") })
    expect(await demo({ args: ["--file"] })).toMatchObject({ code: 2, err: expect.stringContaining("path of a file") })
    const nowhere = join(place, "no folder", "talk.db")
    expect(await demo({ args: ["--file", nowhere] })).toMatchObject({
      code: 1,
      err: expect.stringMatching(/^The file .*talk\.db cannot be used for sessions.*\n$/)
    })
  })

  for (const provider of Providers.all) {
    it(`holds the same conversation through ${provider.name}, where the environment points`, { timeout: 120_000 }, () =>
      Effect.gen(function* () {
        const server = yield* provider.serve(Behind.model(yield* OfflineModel.make(), provider.decode))
        const name = provider.name.toUpperCase()
        const { code, err, out } = yield* Effect.promise(() =>
          demo({
            input: "book a flight from Oslo to Tokyo\nhow is the weather in Tokyo?\n",
            env: { [`${name}_API_KEY`]: "sk-test", [`${name}_BASE_URL`]: server.url }
          })
        )
        expect(err).toBe("")
        expect(server.violations).toEqual([])
        expect(code).toBe(0)
        inOrder(out, [
          provider.name === "openai" ? /talking through OpenAI/ : /talking through Anthropic/,
          /agent {2}Hello, I am your travel agent/,
          /you {4}book a flight from Oslo to Tokyo$/m,
          /▶ {4}book_flight\(\w+\) origin: Oslo, destination: Tokyo/,
          /held: seat/,
          /✓ {4}book_flight\(\w+\) Booked:/,
          says("Booked: "),
          /the session is closed$/m
        ])
        expect(out).toMatch(says(weather))
        // each request carries the tools, in the same bytes
        const tools = new Set(server.requests.map(({ body }) => JSON.stringify(body.tools)))
        expect(server.requests.length).toBeGreaterThan(4)
        expect(tools.size).toBe(1)
      }).pipe(Effect.scoped, Effect.runPromise)
    )
  }
})
