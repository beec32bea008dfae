import { type ChildProcess, spawn } from "node:child_process"
import { createServer, type Server as HttpServerOfNode } from "node:http"
import { fileURLToPath } from "node:url"
import { Toolkit } from "@effect/ai"
import { HttpServer } from "@effect/platform"
import { NodeContext, NodeHttpServer } from "@effect/platform-node"
import { Deferred, Effect, Exit, Layer, Option, Schema, Scope, Stream } from "effect"
import { Agent, AgentSession, AsyncTool, RunContext } from "effect-meantime"
import { ScriptedModel } from "effect-meantime/testing"
import type { Browser, BrowserContext, BrowserContextOptions, Locator, Page, Route } from "playwright-core"
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest"
import { toolInfos } from "../../examples/playground/agents.js"
import * as Bundle from "../../examples/playground/Bundle.js"
import * as Room from "../../examples/playground/Room.js"
import * as Server from "../../examples/playground/Server.js"
import { launch } from "./chromium.js"

// --- an agent that works on when the test says so -------------------------------------------------------------------

const Work = AsyncTool.make("work", {
  description: "Works.",
  parameters: { what: Schema.String },
  success: Schema.String,
  allowCancellation: true,
  messages: true
})
const Pay = AsyncTool.make("pay", {
  description: "Pays.",
  parameters: {
    what: Schema.String,
    euros: Schema.Number.annotations({ description: "how much" }),
    how: Schema.Literal("card", "transfer"),
    note: Schema.optional(Schema.String)
  },
  success: Schema.String,
  needsApproval: true
})
const Look = AsyncTool.make("look", {
  description: "Looks.",
  parameters: { at: Schema.String },
  success: Schema.String
})
const Kit = Toolkit.make(Work, Look, Pay)

/** Each piece of work goes on to its half and to its end when its gates are opened. */
interface Gates {
  readonly half: Deferred.Deferred<void>
  readonly end: Deferred.Deferred<void>
}
let gates: Map<string, Gates>
let released: Array<string>
/** what the payments were called with */
let paid: Array<unknown>

const gatesOf = (what: string): Gates => {
  const known = gates.get(what)
  if (known !== undefined) return known
  const made = { half: Deferred.unsafeMake<void>({} as never), end: Deferred.unsafeMake<void>({} as never) }
  gates.set(what, made)
  return made
}
const open = (what: string, gate: keyof Gates) => Effect.runSync(Deferred.succeed(gatesOf(what)[gate], undefined))

const kitLive = Kit.toLayer({
  work: ({ what }) =>
    Effect.scoped(
      Effect.gen(function* () {
        yield* Effect.addFinalizer(() => Effect.sync(() => released.push(what)))
        yield* RunContext.update(`begun: ${what}`)
        yield* Deferred.await(gatesOf(what).half)
        yield* RunContext.progress({ percent: 50 })
        yield* RunContext.update(`half of ${what}`)
        yield* Deferred.await(gatesOf(what).end)
        const wish = yield* Stream.runHead(RunContext.messages).pipe(Effect.when(() => what === "cake"))
        return `made: ${what}${Option.isSome(Option.flatten(wish)) ? ` with ${Option.getOrThrow(Option.flatten(wish))}` : ""}`
      })
    ),
  pay: (params) =>
    Effect.sync(() => {
      paid.push(params)
      return `paid: ${params.what} for ${params.euros} by ${params.how}`
    }),
  look: ({ at }) =>
    at === "nothing" ? new AsyncTool.ToolError({ message: "There is nothing to see." }) : Effect.succeed(`seen: ${at}`)
})

/** Writes a word, and more of them once its gates are opened. */
const slowly = (what: string) => [
  ScriptedModel.part({ type: "text-start", id: "slow" }),
  ScriptedModel.part({ type: "text-delta", id: "slow", delta: "First " }),
  ScriptedModel.effect(Deferred.await(gatesOf(what).half)),
  ScriptedModel.part({ type: "text-delta", id: "slow", delta: "second third " }),
  ScriptedModel.effect(Deferred.await(gatesOf(what).end)),
  ScriptedModel.part({ type: "text-delta", id: "slow", delta: "fourth" }),
  ScriptedModel.part({ type: "text-end", id: "slow" })
]

const model = ScriptedModel.layer((asked) => {
  const text = ScriptedModel.lastUserText(asked)
  const result = ScriptedModel.toolResults(asked).at(-1)?.result
  if (asked.prompt.content.at(-1)?.role === "tool" || /not (come )?from the user/.test(text)) {
    return `It says: ${typeof result === "string" ? result.split("\n")[0] : JSON.stringify(result)}`
  }
  const [, tool, rest = ""] = /^(work|look|pay|slow) (.+)$/s.exec(text) ?? []
  if (tool === "slow") return slowly(rest)
  if (tool === "work") return ScriptedModel.toolCall("work", { what: rest })
  if (tool === "look") return ScriptedModel.toolCall("look", { at: rest })
  if (tool === "pay") return ScriptedModel.toolCall("pay", { what: rest, euros: 900, how: "card" })
  return `You said: ${text}`
})

const agent = (name: string, title: string) => ({
  name,
  title,
  about: "It works on when the test says so.",
  suggestions: ["work bread", "look nothing"],
  model: "script",
  rate: 1,
  tools: toolInfos(Kit),
  open: Effect.flatMap(Layer.build(Layer.merge(model, kitLive)), (context) =>
    AgentSession.make({
      agent: Agent.make(name, { instructions: "You work.", tools: [Kit] }),
      onInterruptedReply: "redeliver"
    }).pipe(Effect.provide(context))
  )
})

// --- server and browser ---------------------------------------------------------------------------------------------

/** how long a busy machine may take for one thing */
const patience = 60_000

let browser: Browser
let scope: Scope.CloseableScope
let server: HttpServerOfNode
let origin: string
let context: BrowserContext
let page: Page
/** what the browser complained about, and whom it asked */
let complaints: Array<string>
let asked: Set<string>

let assets: ReadonlyMap<string, Bundle.Asset>
beforeAll(async () => {
  browser = await launch()
  assets = await Effect.runPromise(Bundle.assets)
})
afterAll(() => browser?.close())

beforeEach(async () => {
  gates = new Map()
  released = []
  paid = []
  scope = Effect.runSync(Scope.make())
  server = createServer()
  const layer = Layer.merge(
    Room.layer({ agents: [agent("worker", "Worker"), agent("other", "Other one")] }),
    NodeHttpServer.layer(() => server, { host: "127.0.0.1", port: 0 })
  ).pipe(Layer.provideMerge(NodeContext.layer))
  await Effect.runPromise(
    Effect.gen(function* () {
      const context = yield* Layer.build(layer)
      yield* Effect.provide(HttpServer.serveEffect(Server.app({ assets, host: "127.0.0.1" })), context)
      yield* Effect.addFinalizer(() => Effect.sync(() => server.closeAllConnections()))
    }).pipe(Scope.extend(scope))
  )
  const address = server.address()
  origin = `http://127.0.0.1:${typeof address === "object" && address !== null ? address.port : 0}`
})
afterEach(async () => {
  await context?.close()
  await Effect.runPromise(Scope.close(scope, Exit.void))
})

const visit = async (options: BrowserContextOptions = {}) => {
  context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options })
  context.setDefaultTimeout(patience)
  page = await context.newPage()
  complaints = []
  asked = new Set()
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") complaints.push(message.text())
  })
  page.on("pageerror", (error) => complaints.push(error.message))
  page.on("request", (request) => asked.add(new URL(request.url()).origin))
  await page.goto(origin)
  await page.getByRole("textbox", { name: "Message" }).waitFor()
}

const say = async (text: string) => {
  await page.getByRole("textbox", { name: "Message" }).fill(text)
  await page.getByRole("textbox", { name: "Message" }).press("Enter")
}
/** Holds requests up until the function that it returns is called: then they go on, or are answered with this. */
const hold = async (url: string, answer?: Parameters<Route["fulfill"]>[0]) => {
  let release: () => void = () => undefined
  const released = new Promise<void>((resolve) => {
    release = resolve
  })
  await page.route(url, async (route) => {
    await released
    await (answer === undefined ? route.continue() : route.fulfill(answer))
  })
  return release
}
const log = () => page.getByRole("log")
const timeline = () => page.getByRole("region", { name: "Timeline" })
const row = (name: string) => timeline().getByRole("button", { name, expanded: false })
/** Waits for a text in the conversation. */
const heard = (text: string) => log().getByText(text, { exact: true }).first().waitFor()
const asUser = (text: string) => heard(`You: ${text}`)
const said = () => log().locator(".said").allInnerTexts()
/** Waits until there are so many: what an event shows is drawn a moment after the event before it. */
const count = (what: Locator, times: number) => expect.poll(() => what.count()).toBe(times)

const clean = () => {
  expect(complaints).toEqual([])
  expect([...asked]).toEqual([origin])
}

// --- tests ----------------------------------------------------------------------------------------------------------

describe("the playground in a browser", () => {
  it("shows what one types, the updates of a call, how it ended, and the replies that covered it", async () => {
    await visit()
    await timeline().getByText("Nothing has been called yet.").waitFor()
    await say("work bread")
    await asUser("work bread")
    await heard("It says: begun: bread")
    await row("work").waitFor()
    await count(timeline().locator(".call.running .part.background"), 1)
    await count(timeline().locator(".call .mark"), 1)
    await count(timeline().locator(".call .answer"), 1)

    open("bread", "half")
    await heard("It says: half of bread")
    await timeline().locator(".call .mark").nth(1).waitFor()
    await timeline().locator(".call .cover.completed").waitFor()
    await count(timeline().locator(".call .progress"), 1)

    open("bread", "end")
    await heard("It says: made: bread")
    await timeline().locator(".call.done .end").waitFor()
    await count(timeline().locator(".call .cover.completed"), 2)
    // the reply in the conversation leads to its call
    await log().getByRole("button", { name: "work call_1" }).last().click()
    await timeline().getByText("made: bread").waitFor()
    expect(await timeline().locator(".details").innerText()).toMatch(/begun: bread\s*told in the turn/)
    clean()
  })

  it("[O7] shows who has the floor, what is typed, and how far each message was heard", async () => {
    await visit()
    const field = page.getByRole("textbox", { name: "Message" })
    const hold = page.getByRole("button", { name: "Hold the floor" })
    const conversation = page.getByRole("region", { name: "Conversation" })
    const saying = conversation.locator(".saying")
    const floor = (text: string) => page.getByText(text, { exact: true }).waitFor()
    await floor("The floor is free")
    // the first word of the answer comes, and the rest when the test says so
    await say("slow bread")
    await saying.locator(".played", { hasText: "First" }).waitFor()
    await floor("The agent has the floor")
    await hold.click()
    await floor("You have the floor")
    expect(await hold.getAttribute("aria-pressed")).toBe("true")
    await field.pressSequentially("wa")
    await conversation.locator(".partial", { hasText: "wa" }).waitFor()
    // it is written on while it is paused, and not played
    open("bread", "half")
    await saying.locator(".rest", { hasText: "second third" }).waitFor()
    await page.getByRole("status").getByText("paused").waitFor()
    await saying.getByText("paused").waitFor()
    expect(await saying.locator(".played").innerText()).toMatch(/^First\s*$/)
    // nothing was said after all
    await hold.click()
    await saying.locator(".played", { hasText: "First second third" }).waitFor()
    await floor("The agent has the floor")
    await count(conversation.locator(".partial"), 0)
    await count(saying.getByText("paused"), 0)
    open("bread", "end")
    await heard("First second third fourth")
    await floor("The floor is free")

    await field.fill("")

    // what is typed holds it, too; what is sent is the end of the turn, and what was not heard is shown as such
    await say("slow cake")
    await saying.locator(".played", { hasText: "First" }).waitFor()
    await field.pressSequentially("hel")
    await floor("You have the floor")
    open("cake", "half")
    await saying.locator(".rest", { hasText: "second third" }).waitFor()
    await say("hello")
    await heard("You said: hello")
    await log().locator(".cut del", { hasText: "second third" }).waitFor()
    expect(await log().locator(".cut").innerText()).toMatch(/^First second third\s+— interrupted$/)
    // where the other lines are
    const boxes = await Promise.all(
      [log().locator(".cut"), log().locator(".said.agent").last()].map((line) => line.boundingBox())
    )
    expect(boxes[0]?.x).toBe(boxes[1]?.x)
    await timeline().locator(".lane .cut").waitFor()
    await timeline().locator(".lane .floor").first().waitFor()
    // what is cleared gives the floor back
    await field.pressSequentially("no")
    await floor("You have the floor")
    await field.fill("")
    await floor("The floor is free")

    // a recording has the turns and the cuts; the rest of a message is in no event
    const [download] = await Promise.all([
      page.waitForEvent("download"),
      page.getByRole("link", { name: "Download the recording" }).click()
    ])
    await page.getByLabel("Recording", { exact: true }).setInputFiles(await download.path())
    await page.getByRole("region", { name: "Replay" }).waitFor()
    await timeline().locator(".lane .cut").waitFor()
    await timeline().locator(".lane .floor").first().waitFor()
    expect(await log().locator(".cut").innerText()).toMatch(/^First\s+— interrupted$/)
    await count(hold, 0)
    clean()
  })

  it("cancels a call at the press of a button", async () => {
    await visit()
    await say("work bread")
    await page.getByRole("button", { name: "Cancel work call_1" }).click()
    await timeline().locator(".call.cancelled .end").waitFor()
    expect(released).toEqual(["bread"])
    await count(page.getByRole("button", { name: "Cancel work call_1" }), 0)
    await say("look nothing")
    await timeline().locator(".call.error .end").waitFor()
    clean()
  })

  it("[A4] [A5] [A6] a payment waits, is edited in a form and approved; another is denied", async () => {
    await visit()
    const asks = page.getByRole("region", { name: "Waiting for you" })
    await say("pay rent")
    await asks.getByRole("article", { name: "pay call_1" }).waitFor()
    await heard(
      "It says: pay has not been run: it waits until a person approves it. There is no need to call it again for this."
    )
    await timeline().locator(".call.waiting .part.waiting").waitFor()
    // the talk goes on meanwhile
    await say("look mountain")
    await heard("It says: seen: mountain")
    expect(paid).toEqual([])

    // a form for its arguments, from the schema of its tool
    await asks.getByRole("button", { name: "Edit pay call_1" }).click()
    const form = asks.getByRole("form", { name: "Arguments of pay call_1" })
    expect(await form.locator("label").allInnerTexts()).toEqual(["what", "euros", "how", "note"])
    const euros = form.getByLabel("euros")
    expect(await euros.inputValue()).toBe("900")
    const approve = form.getByRole("button", { name: "Approve pay call_1 as edited" })
    await euros.fill("a lot")
    await approve.click()
    await form.getByText("euros has to be a number").waitFor()
    expect(paid).toEqual([])
    await euros.fill("90")
    await form.getByLabel("how").selectOption("transfer")
    await approve.click()
    await heard("It says: paid: rent for 90 by transfer")
    expect(paid).toEqual([{ what: "rent", euros: 90, how: "transfer" }])
    await count(asks, 0)
    await row("pay").click()
    const story = () => timeline().locator(".details").innerText()
    await timeline().getByText("approved with other arguments by playground").waitFor()
    expect(await story()).toMatch(/"euros": 90/)
    await timeline().getByRole("button", { name: /^pay/, expanded: true }).click()

    await say("pay yacht")
    await asks.getByRole("textbox", { name: "Why not pay call_3" }).fill("we have one")
    await asks.getByRole("button", { name: "Deny pay call_3" }).click()
    await log().getByText("it was not approved (reason: we have one)").waitFor()
    await timeline().locator(".call.error .end").waitFor()
    await count(asks, 0)

    // as it is, after a reload
    await say("pay tax")
    await asks.getByRole("article", { name: "pay call_4" }).waitFor()
    await page.reload()
    await asks.getByRole("button", { name: "Approve pay call_4" }).click()
    await heard("It says: paid: tax for 900 by card")
    expect(paid.slice(1)).toEqual([{ what: "tax", euros: 900, how: "card" }])
    clean()
  })

  it("[A4] [A5] what the session refuses is shown, and the call waits on; two pages decide once", async () => {
    await visit()
    const asks = page.getByRole("region", { name: "Waiting for you" })
    await say("pay rent")
    await asks.getByRole("article", { name: "pay call_1" }).waitFor()
    const other = await context.newPage()
    await other.goto(origin)
    const theirs = other.getByRole("button", { name: "Approve pay call_1" })
    await theirs.waitFor()
    // the page takes the field for text, the tool does not take it empty
    await asks.getByRole("button", { name: "Edit pay call_1" }).click()
    await asks.getByRole("form").getByLabel("euros").fill("")
    await asks.getByRole("button", { name: "Approve pay call_1 as edited" }).click()
    await asks.getByText("euros is missing").waitFor()
    await asks.getByRole("button", { name: "Edit pay call_1" }).click()
    // the second one comes too late, before its page has been told
    const release = await hold("**/api/deny")
    await asks.getByRole("button", { name: "Deny pay call_1" }).click()
    await theirs.click()
    await heard("It says: paid: rent for 900 by card")
    release()
    await page.getByRole("alert").getByText("Call call_1 has already ended.").waitFor()
    expect(paid).toHaveLength(1)
    await count(asks, 0)
    await count(other.getByRole("region", { name: "Waiting for you" }), 0)
  })

  it("[G1] tells a running call something", async () => {
    await visit()
    await say("work cake")
    await heard("It says: begun: cake")
    await row("work").click()
    await timeline().getByRole("textbox", { name: "Tell work call_1" }).fill("cherries")
    await timeline().getByRole("button", { name: "Tell", exact: true }).click()
    await timeline().getByText("told by the program: cherries").waitFor()
    open("cake", "half")
    open("cake", "end")
    await heard("It says: made: cake with cherries")
    await count(timeline().getByRole("textbox", { name: "Tell work call_1" }), 0)
    clean()
  })

  it("has caught up after a reload, and after the connection was lost", async () => {
    await visit()
    await say("work bread")
    await heard("It says: begun: bread")
    await say("look mountain")
    await heard("It says: seen: mountain")
    const before = await said()
    await page.reload()
    await heard("It says: seen: mountain")
    expect(await said()).toEqual(before)
    await count(timeline().locator(".call"), 2)

    // the page goes on where it was: nothing twice, nothing left out
    server.closeAllConnections()
    open("bread", "half")
    open("bread", "end")
    await heard("It says: made: bread")
    await page.getByRole("status").getByText("listening").waitFor()
    await count(timeline().locator(".call"), 2)
    const again = await said()
    expect(again.slice(0, before.length)).toEqual(before)
    await page.reload()
    await heard("It says: made: bread")
    expect(await said()).toEqual(again)
    expect([...asked]).toEqual([origin])
  })

  it("turns to another agent, and to a new conversation", async () => {
    await visit()
    await say("work bread")
    await row("work").waitFor()
    await page.getByRole("combobox", { name: "Agent" }).selectOption("other")
    await page.getByRole("heading", { name: "Other one" }).waitFor()
    await timeline().getByText("Nothing has been called yet.").waitFor()
    await expect.poll(() => released).toEqual(["bread"])
    await page.getByRole("button", { name: "look nothing" }).click()
    await timeline().locator(".call.error .end").waitFor()
    await page.getByRole("button", { name: "Start a new conversation" }).click()
    await timeline().getByText("Nothing has been called yet.").waitFor()
    clean()
  })

  it("shows markup that people, models and tools say as the text that it is", async () => {
    await visit()
    const evil = `<img src=x onerror="window.pwned=1"><script>window.pwned=1</script><b>bold</b>`
    await say(`work ${evil}`)
    await asUser(`work ${evil}`)
    await heard(`It says: begun: ${evil}`)
    open(evil, "half")
    open(evil, "end")
    await heard(`It says: made: ${evil}`)
    await row("work").click()
    await timeline().getByText(`made: ${evil}`, { exact: false }).first().waitFor()
    expect(await page.evaluate("window.pwned")).toBeUndefined()
    await count(page.locator("main img, main script, main b:text-is('bold')"), 0)
    // and if there were markup, the browser would not obey it
    const refused = await page.evaluate(`(() => {
      try { document.body.innerHTML = "<img src=x onerror=1>"; return false } catch { return true }
    })()`)
    expect(refused).toBe(true)
  })

  it("is light or dark as the system is, or as one chose", async () => {
    await visit({ colorScheme: "dark" })
    const brightness = async () => {
      const colour = await page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
      return Number(/\d+/.exec(String(colour))?.[0])
    }
    await expect.poll(brightness).toBeLessThan(60)
    await page.emulateMedia({ colorScheme: "light" })
    await expect.poll(brightness).toBeGreaterThan(200)
    await page.getByRole("button", { name: "Switch to dark" }).click()
    await expect.poll(brightness).toBeLessThan(60)
    await page.reload()
    // from its first row on, it is as one chose
    await page.getByRole("button", { name: "Switch to light" }).waitFor()
    expect(await brightness()).toBeLessThan(60)
    clean()
  })

  it("sends what one typed before the conversation was there", async () => {
    await visit()
    const connect = await hold("**/api/events")
    await page.reload()
    const field = page.getByRole("textbox", { name: "Message" })
    await say("work bread")
    await field.fill("and then")
    connect()
    await asUser("work bread")
    await page.getByText("listening").first().waitFor()
    expect(await field.inputValue()).toBe("and then")
    clean()
  })

  it("begins a new conversation for who asked before the old one was there", async () => {
    await visit()
    await say("work bread")
    await row("work").waitFor()
    const connect = await hold("**/api/events")
    await page.reload()
    await page.getByRole("button", { name: "Start a new conversation" }).click()
    connect()
    await expect.poll(() => released).toEqual(["bread"])
    await count(timeline().locator(".call"), 0)
    expect(await page.getByRole("alert").innerText()).toBe("")
    clean()
  })

  it("gives back what was refused, and leaves what one typed meanwhile", async () => {
    await visit()
    const field = page.getByRole("textbox", { name: "Message" })
    const refuse = (message: string) => hold("**/api/say", { status: 409, json: { message } })
    let answer = await refuse("Not now.")
    await say("work bread")
    answer()
    await page.getByRole("alert").getByText("Not now.").waitFor()
    await expect.poll(() => field.inputValue()).toBe("work bread")
    answer = await refuse("Not so.")
    await say("work cake")
    await field.fill("and then")
    answer()
    await page.getByRole("alert").getByText("Not so.").waitFor()
    expect(await field.inputValue()).toBe("and then")
    await count(timeline().locator(".call"), 0)
  })

  it("fits on a phone", async () => {
    await visit({ viewport: { width: 360, height: 640 }, hasTouch: true, isMobile: true })
    const overflow = () => page.evaluate("document.documentElement.scrollWidth - innerWidth")
    await say(`work ${"a very long name of a thing ".repeat(8)}${"x".repeat(200)}`)
    await page.getByRole("list", { name: "Running calls" }).waitFor()
    expect(await timeline().isVisible()).toBe(false)
    expect(await overflow()).toBe(0)
    await page.getByRole("button", { name: /^Timeline/ }).click()
    await row("work").waitFor()
    expect(await log().isVisible()).toBe(false)
    expect(await overflow()).toBe(0)
    await row("work").click()
    expect(await overflow()).toBe(0)
    await page.getByRole("button", { name: "Conversation", exact: true }).click()
    await say(`pay ${"a very long name of a thing ".repeat(8)}${"x".repeat(200)}`)
    await page.getByRole("button", { name: "Edit pay call_2" }).click()
    await page.getByRole("form", { name: "Arguments of pay call_2" }).waitFor()
    expect(await overflow()).toBe(0)
    await page.getByRole("button", { name: "Deny pay call_2" }).click()
    await page.getByRole("list", { name: "Running calls" }).getByRole("button", { name: "Cancel work call_1" }).click()
    await expect.poll(() => released.length).toBe(1)
    clean()
  })

  it("is used with the keyboard alone", async () => {
    await visit()
    const field = page.getByRole("textbox", { name: "Message" })
    await field.focus()
    await page.keyboard.type("work bread")
    await page.keyboard.press("Enter")
    await row("work").waitFor()
    await page.keyboard.press("ArrowUp")
    await expect.poll(() => field.inputValue()).toBe("work bread")
    await page.keyboard.press("ArrowDown")
    await expect.poll(() => field.inputValue()).toBe("")
    // all that one can stop at is there
    await heard("It says: begun: bread")
    await page.getByRole("button", { name: "Cancel work call_1" }).waitFor()
    // on through the page: every stop has a name
    const seen: Array<string> = []
    for (let n = 0; n < 40 && !seen.some((name) => name.startsWith("Cancel work")); n++) {
      await page.keyboard.press("Tab")
      const name = await page.evaluate(
        "(document.activeElement.getAttribute('aria-label') || document.activeElement.innerText || document.activeElement.labels?.[0]?.innerText || '').trim()"
      )
      const body = await page.evaluate("document.activeElement === document.body")
      if (body !== true) {
        expect(name).not.toBe("")
        seen.push(String(name))
      }
    }
    await page.keyboard.press("Enter")
    await timeline().locator(".call.cancelled").waitFor()
    await page.keyboard.press("Shift+Tab")
    await page.keyboard.press("Enter")
    await timeline().getByText("begun: bread").waitFor()
    clean()
  })

  it("gives the conversation out as a file, and plays such a file", async () => {
    await visit()
    // so that the recording has a beginning before the call
    await say("hello")
    await heard("You said: hello")
    await say("work bread")
    await heard("It says: begun: bread")
    open("bread", "half")
    open("bread", "end")
    await heard("It says: made: bread")
    await page.getByRole("status").getByText("listening").waitFor()
    const lines = (await log().innerText()).split("\n")
    const [download] = await Promise.all([
      page.waitForEvent("download"),
      page.getByRole("link", { name: "Download the recording" }).click()
    ])
    expect(download.suggestedFilename()).toMatch(/^worker-.*\.jsonl$/)
    const path = await download.path()

    await page.getByRole("button", { name: "Start a new conversation" }).click()
    await timeline().getByText("Nothing has been called yet.").waitFor()
    await page.getByLabel("Recording", { exact: true }).setInputFiles(path)
    const replay = page.getByRole("region", { name: "Replay" })
    await replay.waitFor()
    // all of it, without the name that only the server knows
    await timeline().locator(".call.done .end").waitFor()
    const shown = (await log().innerText()).split("\n")
    expect(shown.map((line) => line.replace("Agent", "Worker"))).toEqual(lines)
    await count(page.getByRole("textbox", { name: "Message" }), 0)
    // its beginning
    await replay.getByRole("slider", { name: "Position" }).press("Home")
    await timeline().getByText("No call has been made at this moment.").waitFor()
    // and from there on, on its own
    await replay.getByRole("combobox", { name: "Speed" }).selectOption("16×")
    await replay.getByRole("button", { name: "Play" }).click()
    await timeline().locator(".call.done .end").waitFor()
    await replay.getByRole("button", { name: "Back to live" }).click()
    await page.getByRole("textbox", { name: "Message" }).waitFor()

    await page.getByLabel("Recording", { exact: true }).setInputFiles({
      name: "broken.jsonl",
      mimeType: "application/jsonl",
      buffer: Buffer.from('{"_tag":"Nonsense"}\n')
    })
    await page.getByRole("alert").getByText("broken.jsonl cannot be shown. Line 1 is no event").waitFor()
    clean()
  })
})

describe("npm run playground", () => {
  let child: ChildProcess | undefined
  afterEach(() => child?.kill("SIGINT"))

  it("starts, talks, and ends on Ctrl-C", async () => {
    const root = fileURLToPath(new URL("../..", import.meta.url))
    const env = Object.fromEntries(
      Object.entries({ ...process.env, DEMO_SPEED: "4" }).filter(([name]) => !/^(OPENAI|ANTHROPIC)/.test(name))
    )
    const started = spawn(process.execPath, ["--import", "tsx", "examples/playground/main.ts", "--port", "0"], {
      cwd: root,
      env
    })
    child = started
    const ended = new Promise<number | null>((resolve) => started.on("close", resolve))
    origin = await new Promise<string>((resolve, reject) => {
      let out = ""
      started.stdout.on("data", (data) => {
        out += data
        const at = /http:\/\/127\.0\.0\.1:\d+(?=\/)/.exec(out)
        if (at !== null) resolve(at[0])
      })
      started.on("close", () => reject(new Error(`It ended: ${out}`)))
    })
    await visit()
    await log().getByText("Hello, I am your travel agent.").waitFor()
    await page.getByRole("button", { name: "Book a flight from Oslo to Tokyo" }).click()
    await log()
      .getByText(/^Searching flights from Oslo to Tokyo/)
      .waitFor()
    await log()
      .getByText(/^Booked: /)
      .waitFor()
    await timeline().locator(".call.done .end").waitFor()
    clean()
    started.kill("SIGINT")
    expect(await ended).toBe(130)
  })
})
