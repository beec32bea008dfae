/** A process that does one job and says what it found. */
import { writeSync } from "node:fs"
import { type Job, perform } from "./jobs.js"

// listeners for an abort signal beyond ten are no leak here
process.removeAllListeners("warning")
const answer = await perform(JSON.parse(process.argv[2] as string) as Job)
writeSync(3, JSON.stringify(answer))
// what never ends is part of some of the jobs
process.exit(0)
