import { existsSync } from "node:fs"
import { type Browser, chromium } from "playwright-core"

const executablePath = process.env.CHROMIUM_PATH ?? "/usr/bin/chromium"

/** Debian's Chromium, with a new profile, that talks to nobody but the page it is shown. */
export const launch = (): Promise<Browser> => {
  if (!existsSync(executablePath)) {
    throw new Error(`There is no browser at ${executablePath}: install chromium, or set CHROMIUM_PATH.`)
  }
  return chromium.launch({
    executablePath,
    args: [
      "--headless",
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync"
    ]
  })
}
