import { FastCheck as fc } from "effect"
import { expect, it } from "vitest"
import { times } from "../support/times.js"
import { World } from "./world.js"

const numbers = fc.array(fc.nat({ max: 0xffff }), { minLength: 20, maxLength: 250, size: "max" })

const play = (given: ReadonlyArray<number>): World => {
  const world = new World(given)
  while (!world.over && world.wrong.length === 0) world.next()
  return world
}

it("[T9] [T2] [D9] [U6] [F1] [F5] [R1] [A4] [A7] [G3] whatever comes in, all comes to its one end, in order", () => {
  fc.assert(
    fc.property(numbers, (given) => {
      const world = play(given)
      world.finish()
      expect(world.wrong.slice(0, 3)).toEqual([])
    }),
    { numRuns: times(200, 1_000) }
  )
})

it("[S2] a session that closes at any moment comes to its end, and is silent then", () => {
  fc.assert(
    fc.property(numbers, (given) => {
      const world = play(given)
      world.close()
      world.finish()
      expect(world.wrong.slice(0, 3)).toEqual([])
      expect(world.s.phase).toBe("closed")
      world.close()
      for (let n = 0; n < 20; n++) world.next()
      expect(world.wrong.slice(0, 3)).toEqual([])
    }),
    { numRuns: times(100, 600) }
  )
})

it("[Q2] [Q5] [Q6] [T9] [D9] a process that dies at any moment: another one goes on, and all comes to its one end", () => {
  fc.assert(
    fc.property(numbers, fc.array(fc.nat({ max: 60 }), { minLength: 1, maxLength: 4 }), (given, lives) => {
      let world = new World(given, undefined, true)
      for (const inputs of lives) {
        for (let n = 0; n < inputs && !world.over && world.wrong.length === 0; n++) world.next()
        expect(world.wrong.slice(0, 3)).toEqual([])
        world = world.reborn()
      }
      while (!world.over && world.wrong.length === 0) world.next()
      world.finish()
      expect(world.wrong.slice(0, 3)).toEqual([])
      const kinds = Array.from(world.rows.values(), ({ kind }) => kind)
      expect(kinds.filter((kind) => kind !== "item" && kind !== "session" && kind !== "turn")).toEqual([])
    }),
    { numRuns: times(100, 400) }
  )
})

it("[K1] the same inputs give the same events", () => {
  fc.assert(
    fc.property(numbers, (given) => {
      const first = play(given)
      const second = play(given)
      expect(second.events).toEqual(first.events)
      expect(second.s.history).toEqual(first.s.history)
    }),
    { numRuns: times(50, 500) }
  )
})
