import { readFileSync } from "node:fs"
import { join } from "node:path"
import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { ScriptedModel } from "effect-meantime/testing"
import { serve } from "../support/onePort.js"
import { root } from "../support/programs.js"
import * as Behind from "../wire/Behind.js"
import * as Providers from "../wire/Providers.js"

const source = readFileSync(join(root, "examples/forty-lines.ts"), "utf8")

describe("the application of forty lines", () => {
  it("has no more lines than that, and is in the README as it is", () => {
    expect(source.trimEnd().split("\n").length).toBeLessThanOrEqual(40)
    expect(readFileSync(join(root, "README.md"), "utf8")).toContain(`\`\`\`ts\n${source}\`\`\`\n`)
  })

  it.scopedLive("[R6] [B6] answers, streams, and goes on while the tool does", () =>
    Effect.gen(function* () {
      const { languageModel } = yield* ScriptedModel.make([
        ScriptedModel.toolCall("bake", { cake: "chocolate cake" }),
        "It is in the oven.",
        "You are welcome."
      ])
      const wire = yield* Providers.openai.serve(Behind.model(languageModel, Providers.openai.decode))
      const { address } = yield* serve(source, wire.url)
      yield* Effect.promise(async () => {
        const say = (text: string) =>
          fetch(`${address}/chat/ann`, {
            method: "POST",
            headers: { "content-type": "application/json" },
            body: JSON.stringify({ text })
          })
        const stop = new AbortController()
        const response = await fetch(`${address}/chat/ann`, { signal: stop.signal })
        expect(response.headers.get("content-type")).toBe("text/event-stream")
        expect((await say("A chocolate cake, please.")).status).toBe(202)
        let text = ""
        let asked = false
        for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
          text += Buffer.from(chunk).toString("utf8")
          if (!asked && /"role":"assistant","text":"It is in the oven\."/.test(text)) {
            asked = true
            await say("Thanks!")
          }
          if (/"role":"assistant","text":"You are welcome\."/.test(text)) break
        }
        stop.abort()
        expect(text).toContain('"_tag":"TextDelta"')
        expect(text).toContain("The chocolate cake is in the oven.")
        expect(text).toMatch(/^id: item_/m)
        // the cake is still in the oven
        expect(text).not.toContain('"_tag":"ToolCallEnded"')
      })
      expect(wire.violations).toEqual([])
    })
  )
})
