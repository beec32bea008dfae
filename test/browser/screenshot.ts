/**
 * Takes the pictures of the playground that the docs show, in the middle of a conversation with the agent of the demo:
 *
 *     node --import tsx test/browser/screenshot.ts
 *
 * It takes half a minute. The pictures are best where the fonts Inter and JetBrains Mono are installed.
 */
import { spawn } from "node:child_process"
import { fileURLToPath } from "node:url"
import { launch } from "./chromium.js"

const root = fileURLToPath(new URL("../..", import.meta.url))
const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(OPENAI|ANTHROPIC|DEMO)/.test(name)))
const child = spawn(process.execPath, ["--import", "tsx", "examples/playground/main.ts", "--port", "0"], {
  cwd: root,
  env
})
const origin = await new Promise<string>((resolve, reject) => {
  let out = ""
  child.stdout.on("data", (data) => {
    out += data
    const at = /http:\/\/127\.0\.0\.1:\d+/.exec(out)
    if (at !== null) resolve(at[0])
  })
  child.on("close", () => reject(new Error(`The playground ended: ${out}`)))
})

const browser = await launch()
try {
  const page = await browser.newPage({
    viewport: { width: 1240, height: 760 },
    deviceScaleFactor: 1.5,
    colorScheme: "light"
  })
  await page.goto(origin)
  const log = page.getByRole("log")
  const quiet = () => page.getByRole("status").getByText("listening").waitFor()
  const say = async (text: string, answer: RegExp) => {
    await page.getByRole("textbox", { name: "Message" }).fill(text)
    await page.getByRole("textbox", { name: "Message" }).press("Enter")
    await log.getByText(answer).last().waitFor()
    await quiet()
  }
  await log.getByText(/^Hello, I am your travel agent/).waitFor()
  await quiet()
  await say("Book a flight from Oslo to Tokyo on 2020-01-01", /past/)
  await say("Oh, then book the next possible one", /^Searching flights from Oslo to Tokyo/)
  await say("How is the weather in Tokyo?", /^In Tokyo it is/)
  await log.getByText(/^Found /).waitFor()
  await quiet()
  await say("Book another one to Paris", /as well\?$/)
  await say("Yes, please", /^Searching flights from Oslo to Paris/)
  await page.waitForTimeout(3500)
  await say("Cancel the one to Paris", /^I have cancelled/)
  await log.getByText(/^Booked: /).waitFor()
  await quiet()
  await say("Book a flight from Oslo to Lisbon, too", /^Searching flights from Oslo to Lisbon/)
  await page.locator(".call.running .progress").waitFor()
  await page.waitForTimeout(3500)
  // the agent is in the middle of a sentence, and the user takes the floor
  await page.getByRole("textbox", { name: "Message" }).fill("How is the weather in Lisbon?")
  await page.getByRole("textbox", { name: "Message" }).press("Enter")
  await page.locator(".saying .played", { hasText: "Lisbon" }).waitFor()
  await page.getByRole("textbox", { name: "Message" }).pressSequentially("And in Par")
  await page.locator(".saying.paused").waitFor()
  await page.locator(".partial", { hasText: "And in Par" }).waitFor()
  for (const scheme of ["light", "dark"] as const) {
    await page.emulateMedia({ colorScheme: scheme })
    await page.screenshot({ path: `${root}docs/playground${scheme === "dark" ? "-dark" : ""}.png` })
  }
} finally {
  await browser.close()
  child.kill("SIGINT")
}
