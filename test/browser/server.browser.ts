import { createServer, type Server as HttpServerOfNode } from "node:http"
import { Toolkit } from "@effect/ai"
import { HttpServer } from "@effect/platform"
import { NodeHttpServer } from "@effect/platform-node"
import { Context, Deferred, Effect, Exit, Layer, Schema, Scope } from "effect"
import { Agent, AsyncTool, RunContext, Sessions } from "effect-meantime"
import { ScriptedModel } from "effect-meantime/testing"
import type { Browser, BrowserContext, Page } from "playwright-core"
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest"
import { app, chatLayer } from "../../examples/server/App.js"
import * as Limits from "../../examples/server/Limits.js"
import { launch } from "./chromium.js"

/** What a page must not take for HTML. */
const nasty = `<img src=x onerror="document.title='broken'"><script>document.title='broken'</script>`

const Work = AsyncTool.make("work", { success: Schema.String, allowCancellation: true, messages: true })
const Pay = AsyncTool.make("pay", { parameters: { what: Schema.String }, success: Schema.String, needsApproval: true })
const Kit = Toolkit.make(Work, Pay)
let gate: Deferred.Deferred<void>

const kitLive = Kit.toLayer({
  work: () =>
    Effect.gen(function* () {
      yield* RunContext.update(`begun ${nasty}`)
      yield* Deferred.await(gate)
      return `made ${nasty}`
    }),
  pay: ({ what }) => Effect.succeed(`paid ${what}`)
})

const usage = ScriptedModel.finish("stop", { inputTokens: 10, outputTokens: 3 })
const model = ScriptedModel.layer((asked) => {
  const text = ScriptedModel.lastUserText(asked)
  if (asked.prompt.content.at(-1)?.role === "tool") return ["It has begun.", usage]
  if (/not (come )?from the user/.test(text)) return ["News.", usage]
  if (text === "pay") return [ScriptedModel.toolCall("pay", { what: nasty })]
  return text === "work" ? [ScriptedModel.toolCall("work", {})] : [`You said ${text}`, usage]
})

let browser: Browser
let scope: Scope.CloseableScope
let server: HttpServerOfNode
let sessions: Sessions.Service
let origin: string
let context: BrowserContext
let page: Page
let complaints: Array<string>

beforeAll(async () => {
  browser = await launch()
})
afterAll(() => browser?.close())

beforeEach(async () => {
  gate = Deferred.unsafeMake<void>({} as never)
  scope = Effect.runSync(Scope.make())
  server = createServer()
  const agent = Agent.make("worker", { instructions: "You work.", tools: [Kit] })
  const layer = Layer.mergeAll(
    Layer.provideMerge(
      chatLayer,
      Sessions.layer(() => Effect.succeed({ agent, deltas: true })).pipe(Layer.provide([model, kitLive]))
    ),
    Limits.layer({ burst: 20, every: 1 }),
    NodeHttpServer.layer(() => server, { host: "127.0.0.1", port: 0 })
  )
  await Effect.runPromise(
    Effect.gen(function* () {
      const built = yield* Layer.build(layer)
      sessions = Context.get(built, Sessions.Sessions)
      yield* Effect.provide(HttpServer.serveEffect(app), built)
      yield* Effect.addFinalizer(() => Effect.sync(() => server.closeAllConnections()))
    }).pipe(Scope.extend(scope))
  )
  const address = server.address()
  origin = `http://127.0.0.1:${typeof address === "object" && address !== null ? address.port : 0}`
  context = await browser.newContext()
  context.setDefaultTimeout(60_000)
  page = await context.newPage()
  complaints = []
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") complaints.push(message.text())
  })
  page.on("pageerror", (error) => complaints.push(error.message))
  await page.goto(origin)
  await page.locator("#state", { hasText: "listening" }).waitFor()
})
afterEach(async () => {
  await context?.close()
  await Effect.runPromise(Scope.close(scope, Exit.void))
})

const say = async (text: string) => {
  await page.getByRole("textbox", { name: "Message" }).fill(text)
  await page.getByRole("textbox", { name: "Message" }).press("Enter")
}
const talk = () => page.locator("#talk p:not(.writing)").allInnerTexts()
const talks = (...lines: ReadonlyArray<string>) => expect.poll(talk).toEqual(lines)
const waiting = () => page.locator("#waiting li span").allInnerTexts()
const running = () => page.locator("#running li span").allInnerTexts()

describe("the page of the server in a browser", () => {
  it("shows what is said, what runs, and what it has used; text is never HTML", async () => {
    await say(nasty)
    await talks(nasty, `You said ${nasty}`)
    await page.getByText("10 tokens in, 3 out").waitFor()
    await say("work")
    await talks(nasty, `You said ${nasty}`, "work", "It has begun.")
    await expect.poll(running).toEqual([`work: begun ${nasty}`])
    Effect.runSync(Deferred.succeed(gate, undefined))
    await talks(nasty, `You said ${nasty}`, "work", "It has begun.", "News.")
    await expect.poll(running).toEqual([])
    expect(await page.title()).toBe("Travel desk")
    expect(await page.locator("img").count()).toBe(0)
    expect(complaints).toEqual([])
  })

  it("cancels a call; goes on after a reload with what was said and what runs", async () => {
    await say("work")
    await talks("work", "It has begun.")
    await page.reload()
    await talks("work", "It has begun.")
    await expect.poll(running).toEqual(["work"])
    await page.getByRole("button", { name: "Cancel" }).click()
    await expect.poll(running).toEqual([])
    await say("still there?")
    await expect.poll(talk).toContain("You said still there?")
    expect(complaints).toEqual([])
  })

  it("[A4] [A7] asks a person about calls that wait, after a reload too, and tells calls what one writes", async () => {
    const shown = `pay ${JSON.stringify({ what: nasty })}`
    await say("pay")
    await expect.poll(waiting).toEqual([shown])
    await page.reload()
    await expect.poll(waiting).toEqual([shown])
    await talks("pay", "It has begun.")
    await page.getByRole("button", { name: "Approve" }).click()
    await talks("pay", "It has begun.", "News.")
    await expect.poll(waiting).toEqual([])

    await say("pay")
    await expect.poll(waiting).toEqual([shown])
    // somebody else is first, and this page has not heard of it
    await page.route("**/api/deny", async (route) => {
      const [id] = await Effect.runPromise(sessions.ids)
      const handle = await Effect.runPromise(sessions.get(id as string))
      const [call] = await Effect.runPromise(handle.approvals)
      await Effect.runPromise(handle.deny(call?.callId as string))
      await route.continue()
    })
    const late = page.waitForResponse((response) => response.url().endsWith("/api/deny"))
    await page.getByRole("button", { name: "Deny" }).click()
    expect((await late).status()).toBe(409)
    await expect.poll(waiting).toEqual([])

    await say("work")
    await expect.poll(running).toEqual([`work: begun ${nasty}`])
    await page.getByRole("textbox", { name: "Message" }).fill("hurry")
    await page.getByRole("button", { name: "Tell" }).click()
    await expect.poll(running).toEqual(["work: was told: hurry"])
    expect(await page.getByRole("textbox", { name: "Message" }).inputValue()).toBe("")
    Effect.runSync(Deferred.succeed(gate, undefined))
    await expect.poll(running).toEqual([])
  })

  it("comes back by itself if the connection is lost, without a gap and without doubles", async () => {
    await say("one")
    await talks("one", "You said one")
    server.closeAllConnections()
    await say("two")
    await talks("one", "You said one", "two", "You said two")
    await say("three")
    await talks("one", "You said one", "two", "You said two", "three", "You said three")
  })

  it("rests once the session has closed, and the next message opens it again", async () => {
    await say("one")
    await talks("one", "You said one")
    const [id] = await Effect.runPromise(sessions.ids)
    await Effect.runPromise(sessions.close(id as string))
    await page.getByText("resting").waitFor()
    expect(await Effect.runPromise(sessions.ids)).toEqual([])
    await say("two")
    await talks("one", "You said one", "two", "You said two")
    await page.getByRole("button", { name: "New talk" }).click()
    await talks()
    await say("three")
    await talks("three", "You said three")
    expect(complaints).toEqual([])
  })
})

describe("the page with useChat in a browser", () => {
  beforeEach(async () => {
    await page.goto(`${origin}/chat`)
    await page.locator(".state", { hasText: "ready" }).waitFor()
  })
  const lines = () => page.locator("#talk p:not(.usage)").allInnerTexts()
  const shows = (...expected: ReadonlyArray<string>) => expect.poll(lines).toEqual(expected)

  it("[V2] [V4] [V6] [V9] shows a call in progress, its late result, usage; a reload loses nothing; text is never HTML", async () => {
    await say("work")
    await shows("work", `work {}: in progress: begun ${nasty}`, "It has begun.")
    expect(await page.locator(".usage").first().innerText()).toMatch(/^worker, 10 tokens in, 3 out$/)
    await page.reload()
    await page.locator(".state", { hasText: "ready" }).waitFor()
    expect((await lines()).at(-1)).toBe("It has begun.")
    Effect.runSync(Deferred.succeed(gate, undefined))
    await expect.poll(lines).toContain(`work {}: done: made ${nasty}`)
    await expect.poll(lines).toContain("News.")
    await page.locator(".state", { hasText: "ready" }).waitFor()
    await say(nasty)
    await expect.poll(async () => (await lines()).at(-1)).toBe(`You said ${nasty}`)
    expect(await page.title()).toBe("Travel desk")
    expect(await page.locator("img").count()).toBe(0)
    expect(complaints).toEqual([])
  })

  it("[V7] asks for an approval, takes other arguments, and asks again if they do not fit", async () => {
    await say("pay")
    const field = page.getByRole("textbox", { name: "Arguments" })
    await expect.poll(() => field.inputValue()).toBe(JSON.stringify({ what: nasty }))
    await page.locator(".state", { hasText: "ready" }).waitFor()
    await field.fill(JSON.stringify({ what: 7 }))
    await page.getByRole("button", { name: "Approve" }).click()
    await page.getByRole("alert").waitFor()
    await field.fill(JSON.stringify({ what: "a little" }))
    await page.getByRole("button", { name: "Approve" }).click()
    await expect.poll(lines).toContain(`pay ${JSON.stringify({ what: "a little" })}: done: paid a little`)
    await page.locator(".state", { hasText: "ready" }).waitFor()
    await say("pay")
    await page.getByRole("button", { name: "Deny" }).click()
    await expect.poll(lines).toContain(`pay ${JSON.stringify({ what: nasty })}: denied`)
    expect(complaints).toEqual([])
  })
})
