/** The pages of the guide, which are programs (see `test/programs/docs.test.ts`). */
export const guide = [
  "first-tool",
  "background",
  "duplicates",
  "cancellation",
  "layers",
  "handing-over",
  "tools-from-elsewhere",
  "testing",
  "models",
  "events",
  "content",
  "telemetry",
  "mistakes"
]

/** Pages whose code is type-checked, but prints nothing. */
export const checked = ["sessions"]
