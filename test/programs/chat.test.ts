import { spawn } from "node:child_process"
import { join } from "node:path"
import { PassThrough } from "node:stream"
import { stripVTControlCharacters } from "node:util"
import { describe, expect, it } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, FastCheck as fc, Layer, TestClock } from "effect"
import type { SessionEvent } from "effect-meantime"
import { TestSession } from "effect-meantime/testing"
import { run } from "../../examples/chat/App.js"
import * as Chat from "../../examples/chat/Chat.js"
import * as Command from "../../examples/chat/Command.js"
import * as Editor from "../../examples/chat/Editor.js"
import * as OfflineModel from "../../examples/demo/OfflineModel.js"
import { flightsLayer, type SeatChange } from "../../examples/demo/Travel.js"
import * as View from "../../examples/shared/View.js"
import { bundled, root } from "../support/programs.js"
import { folder } from "../support/storages.js"

// --- on a terminal --------------------------------------------------------------------------------------------------

const keys = {
  up: "\u001b[A",
  down: "\u001b[B",
  left: "\u001b[D",
  enter: "\r",
  erase: "\u007f",
  ctrlC: "\u0003",
  ctrlD: "\u0004"
}

/** A terminal of a person who types and looks. */
const terminal = () => {
  const stdin = Object.assign(new PassThrough(), {
    isTTY: true,
    isRaw: false,
    setRawMode(raw: boolean) {
      stdin.isRaw = raw
      return stdin
    },
    ref: () => stdin,
    unref: () => stdin
  })
  const frames: Array<string> = []
  const stdout = Object.assign(new PassThrough(), { isTTY: true, columns: 100, rows: 40 })
  stdout.on("data", (data) => frames.push(stripVTControlCharacters(String(data))))
  const screen = () => frames.findLast((frame) => frame.trim() !== "") ?? ""
  const look = Effect.fnUntraced(function* (what: string | RegExp) {
    const seen = () => (typeof what === "string" ? screen().includes(what) : what.test(screen()))
    for (let patience = 0; !seen(); patience++) {
      if (patience === 500) return yield* Effect.die(new Error(`Not on the screen: ${what}\n${screen()}`))
      yield* TestSession.settle
    }
  })
  return {
    stdin,
    screen,
    look,
    type: (text: string) =>
      Effect.zipRight(
        Effect.sync(() => stdin.write(text)),
        TestSession.settle
      ),
    real: { stdin, stdout, debug: true } as unknown as Parameters<typeof run>[0]
  }
}

const chatting = Effect.gen(function* () {
  yield* TestClock.setTime(Date.UTC(2027, 2, 10, 12))
  const seats: Array<SeatChange["_tag"]> = []
  let left = 0
  const tty = terminal()
  const layer = Layer.merge(
    OfflineModel.layer({ thinking: "300 millis", perWord: "20 millis" }),
    flightsLayer({ watch: ({ _tag }) => Effect.sync(() => void seats.push(_tag)) })
  )
  const fiber = yield* Effect.fork(
    Effect.provide(
      run(tty.real, () => left++),
      layer
    )
  )
  yield* TestSession.settle
  yield* TestSession.advance("3 seconds")
  yield* tty.look("Where would you like to go?")
  yield* tty.look("say something, or /help")
  return { ...tty, fiber, seats, left: () => left }
})

const timeout = 60_000

describe("the chat on a terminal", () => {
  it.scoped(
    "shows what is said, and the calls that run below it: their time, and what they told last",
    () =>
      Effect.gen(function* () {
        const tty = yield* chatting
        yield* tty.type(`book a flight from Oslo to Tokyo${keys.enter}`)
        yield* tty.look(/^you {5}book a flight from Oslo to Tokyo$/m)
        yield* TestSession.advance("700 millis")
        // what is being said grows word by word
        yield* tty.look(/^agent +Searching flights(?!.*meanwhile\.)/m)
        yield* TestSession.advance("1 second")
        yield* tty.look(/^agent +Searching flights from Oslo to Tokyo on .*/m)
        yield* tty.look(/^● book_flight \(call_1\) +[\d.]+ s +Searching flights from Oslo to Tokyo/m)
        yield* TestSession.advance("6 seconds")
        yield* tty.look(/^● book_flight \(call_1\) +7\.\d s +25 %$/m)

        yield* tty.type(`/tasks${keys.enter}`)
        yield* tty.look(/^· +book_flight \(call_1\) +7\.\d s +25 %$/m)

        yield* TestSession.advance("20 seconds")
        yield* tty.look(/^✓ +book_flight \(call_1\) Booked: /m)
        yield* tty.look(/^agent +Booked: /m)
        expect(tty.screen()).not.toMatch(/^●/m)
        expect(tty.seats).toEqual(["Held", "Booked"])
        yield* tty.type(`/tasks${keys.enter}`)
        yield* tty.look("Nothing is running.")
        yield* tty.type(`/quit${keys.enter}`)
        expect(Exit.isSuccess(yield* Fiber.await(tty.fiber))).toBe(true)
        expect(tty.stdin.isRaw).toBe(false)
      }),
    timeout
  )

  it.scoped(
    "[A4] [A5] [G1] asks for what waits, and takes decisions and messages while the talk goes on",
    () =>
      Effect.gen(function* () {
        const tty = yield* chatting
        const enter = (text: string) =>
          Effect.zipRight(tty.type(`${text}${keys.enter}`), TestSession.advance("3 seconds"))
        yield* enter("pay the hotel deposit of 300 euros")
        yield* tty.look(/^\? +pay \(call_1\) waits for you: \/approve call_1 or \/deny call_1$/m)
        yield* tty.look(/^agent +You have to approve that/m)
        yield* tty.look(/^● pay \(call_1\) +[\d.]+ s +waits for you$/m)
        yield* enter("pay the visa of 80 euros")
        yield* tty.look(/^\? +pay \(call_2\) waits for you/m)
        yield* enter("/approve")
        yield* tty.look("Which one? call_1 (pay), call_2 (pay)")
        yield* enter("/approve call_1 [1]")
        yield* tty.look("The arguments have to be a JSON object")
        yield* enter('/approve call_1 {"euros":-1}')
        yield* tty.look(/^· +The arguments for pay cannot be used: euros: /m)
        yield* enter('/approve call_1 {"euros":250}')
        yield* tty.look(/^\? +pay \(call_1\) edited by you$/m)
        yield* tty.look(/^✓ +pay \(call_1\) Paid: hotel deposit, 250 euros/m)
        yield* tty.look(/^agent +Paid: hotel deposit, 250 euros/m)
        yield* enter("/deny call_2 too early")
        yield* tty.look(/^\? +pay \(call_2\) denied by you: too early$/m)
        yield* tty.look(/^agent +I have not paid it/m)
        yield* enter("/deny")
        yield* tty.look("Nothing waits for you.")

        yield* enter("book a flight from Oslo to Tokyo")
        yield* enter("/tell call_3 an aisle seat")
        yield* tty.look(/^⋯ +book_flight \(call_3\) was told: an aisle seat$/m)
        yield* enter("/tell call_2 hurry")
        yield* tty.look("Call call_2 has already ended.")
        yield* TestSession.advance("20 seconds")
        yield* tty.look("The airline was told: an aisle seat.")
        yield* enter("pay the insurance of 20 euros")
        yield* tty.type(`/quit${keys.enter}`)
        // it has not run
        expect(Exit.isSuccess(yield* Fiber.await(tty.fiber))).toBe(true)
        yield* tty.look(/^\? +pay \(call_4\) withdrawn$/m)
      }),
    timeout
  )

  it.scoped(
    "cancels a call by its id, or the only one there is, and says why not",
    () =>
      Effect.gen(function* () {
        const tty = yield* chatting
        yield* tty.type(`/cancel${keys.enter}`)
        yield* tty.look("Nothing runs that may be cancelled.")
        yield* tty.type(`book a flight from Oslo to Tokyo${keys.enter}`)
        yield* TestSession.advance("6 seconds")
        yield* tty.type(`/cancel call_9${keys.enter}`)
        yield* tty.look(/^· +.*call_9/m)
        expect(tty.seats).toEqual(["Held"])
        yield* tty.type(`/cancel${keys.enter}`)
        yield* tty.look(/^■ +book_flight \(call_1\)/m)
        expect(tty.seats).toEqual(["Held", "Released"])
        yield* tty.type(`/cancle call_1${keys.enter}`)
        yield* tty.look("There is no command /cancle; see /help.")
        yield* tty.type(`/help${keys.enter}`)
        yield* tty.look("/cancel [ID]")
        yield* tty.type(keys.ctrlD)
        expect(Exit.isSuccess(yield* Fiber.await(tty.fiber))).toBe(true)
      }),
    timeout
  )

  it.scoped(
    "recalls and edits what was entered, and enters pasted lines one after another",
    () =>
      Effect.gen(function* () {
        const tty = yield* chatting
        yield* tty.type(`/nope${keys.enter}`)
        yield* tty.look("There is no command /nope")
        yield* tty.type("a draft")
        yield* tty.type(keys.up)
        yield* tty.look(/^› \/nope/m)
        yield* tty.type(keys.down)
        yield* tty.look(/^› a draft/m)
        yield* tty.type(`${keys.up}${keys.left}${keys.left}${keys.erase}i${keys.enter}`)
        yield* tty.look("There is no command /nipe")
        yield* tty.type("/one\r/two\rthree")
        yield* tty.look("There is no command /two")
        yield* tty.look(/^› three/m)
        expect(tty.screen()).toMatch(/\/one;[\s\S]*\/two;/)
        // all keys at once, as from a fast typist
        yield* tty.type("\u0015/four\r")
        yield* tty.look("There is no command /four")
        yield* tty.type(keys.ctrlC)
        yield* Fiber.await(tty.fiber)
      }),
    timeout
  )

  it.scoped(
    "closes in order on Ctrl-C: what runs is cancelled and still shown; a second one leaves at once",
    () =>
      Effect.gen(function* () {
        const tty = yield* chatting
        yield* tty.type(`book a flight from Oslo to Tokyo${keys.enter}`)
        yield* TestSession.advance("6 seconds")
        expect(tty.seats).toEqual(["Held"])
        yield* tty.type(keys.ctrlC)
        const exit = yield* Fiber.await(tty.fiber)
        expect(Exit.isFailure(exit) && Cause.isInterruptedOnly(exit.cause)).toBe(true)
        expect(tty.seats).toEqual(["Held", "Released"])
        expect(tty.screen()).toMatch(/^■ +book_flight \(call_1\)[\s\S]*the session is closed/m)
        expect(tty.left()).toBe(0)
      }),
    timeout
  )

  it.scoped(
    "leaves at the second Ctrl-C, while what is booked cannot be cancelled any more",
    () =>
      Effect.gen(function* () {
        const tty = yield* chatting
        yield* tty.type(`book a flight from Oslo to Tokyo${keys.enter}`)
        // the seat is being booked: there is no way back
        yield* TestSession.advance("16.8 seconds")
        yield* tty.type(keys.ctrlC)
        yield* tty.look("closing; Ctrl-C ends at once")
        yield* tty.type(keys.ctrlC)
        expect(tty.left()).toBe(1)
        yield* TestSession.advance("10 seconds")
        yield* Fiber.await(tty.fiber)
        expect(tty.seats).toEqual(["Held", "Booked"])
      }),
    timeout
  )
})

// --- its parts ------------------------------------------------------------------------------------------------------

describe("what a line means", () => {
  it("is a command after a slash, and otherwise said", () => {
    expect(Command.parse("  hello there ")).toEqual({ _tag: "Say", text: "hello there" })
    expect(Command.parse("   ")).toBeUndefined()
    expect(Command.parse("/tasks")).toEqual({ _tag: "Tasks" })
    expect(Command.parse("/cancel  call_1 ")).toEqual({ _tag: "Cancel", callId: "call_1" })
    expect(Command.parse("/cancel")).toEqual({ _tag: "Cancel", callId: undefined })
    expect(Command.parse("/QUIT")).toEqual({ _tag: "Quit" })
    expect(Command.parse("/help me")).toEqual({ _tag: "Help" })
    expect(Command.parse("/what")).toEqual({ _tag: "Unknown", name: "what" })
    for (const [line, command] of [
      ["/approve", { _tag: "Approve", callId: undefined, arguments: undefined }],
      ["/APPROVE call_1", { _tag: "Approve", callId: "call_1", arguments: undefined }],
      ['/approve  call_1  {"a": 1}', { _tag: "Approve", callId: "call_1", arguments: '{"a": 1}' }],
      ["/deny", { _tag: "Deny", callId: undefined, reason: undefined }],
      ["/deny call_1  much too  dear ", { _tag: "Deny", callId: "call_1", reason: "much too  dear" }],
      ["/tell call_1 a window seat", { _tag: "Tell", callId: "call_1", text: "a window seat" }],
      ["/tell", { _tag: "Tell", callId: "", text: "" }]
    ] as const) {
      expect(Command.parse(line)).toEqual({ _tag: "Decide", command })
    }
  })
})

describe("the line that is edited", () => {
  const write = (text: string) => Editor.press(Editor.empty, { _tag: "Insert", text })

  it("is edited by the characters that a person sees", () => {
    const family = write("a👨‍👩‍👧é")
    expect(family.cursor).toBe(3)
    expect(Editor.press(Editor.press(family, { _tag: "Left" }), { _tag: "Erase" }).text).toBe("aé")
    expect(write("x\u001b[31m\u0007y").text).toBe("x[31my")
  })

  it("goes by words and to its ends", () => {
    const line = write("book a flight")
    expect(Editor.press(line, { _tag: "EraseWord" }).text).toBe("book a ")
    const back = Editor.press(Editor.press(line, { _tag: "WordLeft" }), { _tag: "WordLeft" })
    expect(back.cursor).toBe(5)
    expect(Editor.press(back, { _tag: "EraseAfter" }).text).toBe("book ")
    expect(Editor.press(back, { _tag: "EraseBefore" }).text).toBe("a flight")
    expect(Editor.press(back, { _tag: "WordRight" }).cursor).toBe(6)
  })

  it("keeps its cursor inside, and loses nothing of what was entered", () => {
    const key = fc.oneof(
      fc.record({ _tag: fc.constant("Insert" as const), text: fc.string({ unit: "grapheme", maxLength: 4 }) }),
      fc
        .constantFrom(
          "Erase",
          "EraseAhead",
          "EraseWord",
          "Left",
          "Right",
          "WordLeft",
          "WordRight",
          "Home",
          "End",
          "Up",
          "Down"
        )
        .map((_tag) => ({ _tag }) as Editor.Key),
      fc.constant("enter" as const)
    )
    fc.assert(
      fc.property(fc.array(key, { maxLength: 60 }), (pressed) => {
        let editor = Editor.empty
        const entered: Array<string> = []
        for (const one of pressed) {
          if (one === "enter") {
            const line = editor.text.trim()
            if (line !== "" && line !== entered.at(-1)) entered.push(line)
            editor = Editor.enter(editor)
          } else {
            editor = Editor.press(editor, one)
          }
          expect(editor.cursor).toBeGreaterThanOrEqual(0)
          expect(editor.cursor).toBeLessThanOrEqual(Editor.characters(editor.text).length)
          expect(editor.history).toEqual(entered)
        }
      })
    )
  })
})

describe("what is shown of an event", () => {
  it("holds nothing that a terminal would obey", () => {
    const event: SessionEvent.SessionEvent = {
      _tag: "ToolCallUpdated",
      at: 0,
      id: "call_1",
      callId: "call_1",
      message: "red \u001b[31m, bell \u0007, up \u001b[A\u009b1A, gone \u001b]0;title\u0007 done"
    }
    const [entry] = Chat.entries(View.fold([event]), event)
    expect(entry?.text).not.toMatch(/\p{Cc}/u)
    expect(entry?.text).toMatch(/red .* done$/)
  })
})

// --- through a pipe -------------------------------------------------------------------------------------------------

/** Fails the process where the library for terminals, or React, is loaded. */
const noInk = `data:text/javascript,${encodeURIComponent(
  `import { register } from "node:module"
   register("data:text/javascript," + encodeURIComponent(
     'export const resolve = (name, context, next) => {' +
     ' if (/^(ink|react)(\\\\/|$)/.test(name)) throw new Error("loaded " + name); return next(name, context) }'
   ))`
)}`

const program = bundled("chat/main.ts")

const piped = (input: string, args: ReadonlyArray<string> = [], speed = "20", killedAt?: RegExp) =>
  new Promise<{ code: number | null; out: string; err: string }>((resolve, reject) => {
    const env = Object.fromEntries(
      Object.entries({ ...process.env, DEMO_SPEED: speed }).filter(([name]) => !/^(OPENAI|ANTHROPIC)/.test(name))
    )
    const command = ["--import", noInk, program(), ...args]
    const child = spawn(process.execPath, command, { cwd: root, env })
    let out = ""
    let err = ""
    child.stdout.on("data", (data) => {
      out += data
      if (killedAt?.test(out) === true) child.kill("SIGKILL")
    })
    child.stderr.on("data", (data) => {
      err += data
    })
    child.on("error", reject)
    child.on("close", (code) => resolve({ code, out, err }))
    // there may be more to come when it is killed
    if (killedAt === undefined) child.stdin.end(input)
    else child.stdin.write(input)
  })

describe.concurrent("the chat through a pipe", () => {
  const place = folder()
  it("holds the conversation in plain lines, waits for what runs, and ends with 0", { timeout }, async () => {
    const { code, err, out } = await piped("book a flight from Oslo to Tokyo\n/tasks\nhow is the weather in Tokyo?\n")
    expect(err).toBe("")
    expect(code).toBe(0)
    expect(out).not.toContain("\u001b")
    const lines = [
      /^\d\d:\d\d:\d\d agent +Hello, I am your travel agent/m,
      /^\d\d:\d\d:\d\d you +book a flight from Oslo to Tokyo$/m,
      /^\d\d:\d\d:\d\d ▶ +book_flight \(call_1\)/m,
      /^\d\d:\d\d:\d\d agent +Searching flights/m,
      /^\d\d:\d\d:\d\d you +how is the weather in Tokyo\?$/m,
      /the session is closed$/m
    ].map((line) => out.search(line))
    expect(lines).not.toContain(-1)
    expect(lines).toEqual([...lines].sort((a, b) => a - b))
    expect(out).toMatch(/^\d\d:\d\d:\d\d agent +Booked: /m)
  })

  it("[R6] [Q7] --file goes on after a kill: what is running is listed, and told", { timeout: 240_000 }, async () => {
    const args = ["--file", join(place, "talk.db")]
    const killed = await piped("book a flight from Oslo to Tokyo\n", args, "3", /⋯ +book_flight \(call_1\) Found/)
    expect(killed.code).toBe(null)
    const { code, err, out } = await piped("/tasks\n", args, "3")
    expect(err).toBe("")
    expect(code).toBe(0)
    const lines = [
      /^\d\d:\d\d:\d\d you +book a flight from Oslo to Tokyo$/m,
      /^\d\d:\d\d:\d\d ▶ +book_flight \(call_1\)/m,
      /^\d\d:\d\d:\d\d · +book_flight \(call_1\) /m,
      /^\d\d:\d\d:\d\d ✓ +book_flight \(call_1\) Booked: /m,
      /^\d\d:\d\d:\d\d agent +(?:.* )?Booked: /m,
      /it goes on with --file .*talk\.db$/m
    ].map((line) => out.search(line))
    expect(lines).not.toContain(-1)
    expect(lines).toEqual([...lines].sort((a, b) => a - b))
    expect((killed.out + out).match(/⋯ +book_flight \(call_1\) Found/g)).toHaveLength(1)
    expect(out.match(/you +book a flight/g)).toHaveLength(1)
  })

  it("closes at once on /quit, and cancels what runs", { timeout }, async () => {
    const { code, out } = await piped("book a flight from Oslo to Tokyo\n/quit\nnever said\n", [], "1")
    expect(code).toBe(0)
    expect(out).toMatch(/^\d\d:\d\d:\d\d ■ +book_flight \(call_1\)/m)
    expect(out).not.toContain("never said")
  })

  it("tells that there was nothing to read, and what it does not know", { timeout }, async () => {
    const empty = await piped("")
    expect(empty.err).toMatch(/^There was nothing to read on standard input.*\n$/)
    expect(empty.code).toBe(1)
    expect(await piped("", ["--wat"])).toMatchObject({ code: 2, err: expect.stringContaining("--wat") })
  })
})
