/**
 * Loaded before every test file: properties are tried on the same values each time, so that a run says something about
 * the change that was made. `SEED=5 npx vitest run` tries others, `SEED=random` others each time.
 */
import { FastCheck } from "effect"

const { SEED = "1" } = process.env

FastCheck.configureGlobal({ seed: SEED === "random" ? Math.floor(Math.random() * 2 ** 31) : Number(SEED) })
