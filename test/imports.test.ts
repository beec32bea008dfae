/**
 * Does the check of imports find what it is there for? Each test plants one import into a small tree that is in order.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { check } from "../scripts/imports.js"

/** A source tree with a module in each place that the rules tell apart. */
const sound: Readonly<Record<string, string>> = {
  "Tags.ts": 'import * as Context from "effect/Context"\nexport const tag = Context.GenericTag("tag")\n',
  "Session.ts":
    'import type { Tool } from "./Tool.js"\nimport { open } from "./internal/shell/session.js"\n' +
    "export interface Session { readonly tool: Tool }\nexport const make = open\n",
  "Tool.ts":
    'import type { Session } from "./Session.js"\nexport interface Tool { readonly of: Session }\nexport const x = 1\n',
  "internal/shell/session.ts":
    'import * as Effect from "effect/Effect"\nimport type { Session } from "../../Session.js"\n' +
    'import { tag } from "../../Tags.js"\nimport { step } from "../machine/pump.js"\n' +
    "export const open = (session: Session) => Effect.sync(() => [step(1), tag, session])\n",
  "internal/machine/pump.ts":
    'import * as Option from "effect/Option"\nimport { one } from "./state.js"\n' +
    "export const step = (n: number) => Option.some(n + one)\n",
  "internal/machine/state.ts": "export const one = 1\nexport interface State { readonly n: number }\n"
}

describe("the check of imports", () => {
  let root = ""
  const write = (file: string, text: string): void => {
    mkdirSync(dirname(join(root, file)), { recursive: true })
    writeFileSync(join(root, file), text)
  }
  /** What is wrong when a line is put at the beginning of a module. */
  const planted = (file: string, line: string): ReadonlyArray<string> => {
    write(file, `${line}\n${sound[file]}`)
    return check(root)
  }
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), "effect-meantime-"))
    for (const [file, text] of Object.entries(sound)) write(file, text)
  })
  afterEach(() => rmSync(root, { recursive: true, force: true }))

  it("finds nothing in a tree that is in order, with types in a circle", () => {
    expect(check(root)).toEqual([])
  })

  it("finds modules that load each other, in a circle of any length", () => {
    expect(planted("Tool.ts", 'import { make } from "./Session.js"')).toEqual([])
    expect(planted("Session.ts", 'import { x } from "./Tool.js"')).toEqual([
      "a cycle of values: Session.ts → Tool.ts → Session.ts"
    ])
    write("Session.ts", sound["Session.ts"] ?? "")
    expect(planted("internal/machine/state.ts", 'export * from "./pump.js"')).toEqual([
      "a cycle of values: internal/machine/pump.ts → internal/machine/state.ts → internal/machine/pump.ts"
    ])
  })

  it("takes `import { type X }` for what it is: it loads the module", () => {
    write("Tool.ts", `import { type Session } from "./Session.js"\nexport const x: Session | undefined = undefined\n`)
    expect(planted("Session.ts", 'import { type Tool as T } from "./Tool.js"')).toEqual([
      "a cycle of values: Session.ts → Tool.ts → Session.ts"
    ])
  })

  it("finds Effect in the machine, of which only Either and Option may be there", () => {
    expect(planted("internal/machine/state.ts", 'import * as Either from "effect/Either"')).toEqual([])
    for (const line of [
      'import * as Effect from "effect/Effect"',
      'import { Effect } from "effect"',
      'export type { Effect } from "effect/Effect"',
      'type Later = import("effect/Effect").Effect<void>'
    ]) {
      expect(planted("internal/machine/state.ts", line), line).toEqual([
        expect.stringMatching(/^internal\/machine\/state\.ts may not import (types of )?effect(\/Effect)?: .*machine/)
      ])
    }
  })

  it("finds types from outside in the machine", () => {
    for (const [from, name] of [
      ["../../Tool.js", "Tool.ts"],
      ["../shell/session.js", "internal/shell/session.ts"]
    ] as const) {
      expect(planted("internal/machine/state.ts", `import type { A } from "${from}"`)).toEqual([
        expect.stringContaining(`internal/machine/state.ts may not import types of ${name}`)
      ])
    }
  })

  it("finds a public module that is loaded from inside, the leaf of errors and tags aside", () => {
    expect(planted("internal/shell/session.ts", 'import type { Tool } from "../../Tool.js"')).toEqual([])
    for (const line of [
      'import { x } from "../../Tool.js"',
      'export { x } from "../../Tool.js"',
      'export const later = () => import("../../Tool.js")'
    ]) {
      expect(planted("internal/shell/session.ts", line), line).toEqual([
        expect.stringContaining("internal/shell/session.ts may not import Tool.ts")
      ])
    }
  })

  it("finds what the leaf may not load", () => {
    expect(planted("Tags.ts", 'import { one } from "./internal/machine/state.js"')).toEqual([
      expect.stringContaining("Tags.ts may not import internal/machine/state.ts")
    ])
  })
})
